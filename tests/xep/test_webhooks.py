"""Webhooks: what is called, in which order, again and again, and what is not called at all."""

import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import pytest
from twisted.internet.defer import Deferred

from microblog.http import Answer, CallFailed
from microblog.model.account import ScramKeys
from microblog.model.errors import Conflict, ItemNotFound, ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.program import Source
from microblog.store.database import Database
from microblog.store.webhooks import Webhook
from microblog.usecases import calling, hooking, informing, noticing, registering
from microblog.usecases.informing import Make
from microblog.wire import notification
from microblog.wire import webhook as signing
from microblog.xep.administration import Administration
from microblog.xep.waking import Waking
from microblog.xep.webhooks import Calls, Webhooks
from microblog.xmpp.resolve import IPAddress, Unreachable
from tests.conftest import Time
from tests.usecases.pubsub import BENVOLIO, ROMEO
from tests.usecases.timelines import writes
from tests.xep.square import Square, asks

URL = "https://ci.montague.example/hook"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Program:
    """Somewhere else: takes calls, unless it is to answer something else."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Mapping[str, str], bytes, Sequence[str]]] = []
        self.answers: list[int | Answer | CallFailed | Deferred[Answer]] = []
        self.addresses: dict[str, list[str]] = {"ci.montague.example": ["8.8.8.8"]}
        self.asked: list[str] = []

    async def lookup(self, host: str) -> Sequence[IPAddress]:
        self.asked.append(host)
        if host not in self.addresses:
            raise Unreachable(f"{host} does not exist")
        return [ip_address(one) for one in self.addresses[host]]

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, at: Sequence[str]) -> Answer:
        self.calls.append((url, headers, body, at))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Deferred):
            return await answer
        if isinstance(answer, CallFailed):
            raise answer
        return answer if isinstance(answer, Answer) else Answer(answer)

    def hears(self) -> list[str]:
        """The ids of the posts it was called with since it was last asked."""
        calls, self.calls = self.calls, []
        return [json.loads(body)["item"]["id"] for _, _, body, _ in calls]


class Stage:
    """Romeo's webhook is told of what he posts."""

    def __init__(self, square: Square, *, private: bool = False) -> None:
        self.square, self.database = square, square.database
        self.program = Program()
        self.given_up: list[Webhook] = []
        self.romeo = square.online("romeo", "orchard")
        self.private = private
        self.restart()

    def restart(self) -> None:
        """As after a crash: what there is, is in the database."""
        if hasattr(self, "webhooks"):
            self.webhooks.stop()
            self.waking.stop()
            self.database.listeners.remove(self.waking.hear)
        clock, tasks = self.square.clock, self.square.tasks
        self.waking = Waking(self.database, clock, tasks)
        calls = Calls(self.program, self.program.post, clock, private=self.private)
        self.webhooks = Webhooks(self.database, self.waking, calls, clock, tasks)
        self.webhooks.told = self.given_up.append
        self.database.listeners.append(self.waking.hear)
        self.waking.start()
        self.webhooks.start()

    def add(self, name: str = "ci", url: str = URL, sources: tuple[Source, ...] = (Source.OWN,)) -> Webhook:
        def make(tx):
            return hooking.add(tx, registering.get_account(tx, "romeo"), name, url, SECRET, sources)

        made = self.database.run(make)
        self.webhooks.changed()
        return made

    def do(self, function, name: str = "ci"):
        done = self.database.run(lambda tx: function(tx, registering.get_account(tx, "romeo"), name))
        self.webhooks.changed()
        return done

    def look(self) -> Webhook:
        found = self.database.run(hooking.everybodys)
        return found[0][0]

    def posts(self, *ids: str, audience: Audience | None = None) -> None:
        for id_ in ids:
            self.database.run(writes, ROMEO, id_, audience=audience)


def passes(time: Time, seconds: int) -> None:
    """A second at a time: what is due happens when it is due."""
    for _ in range(seconds):
        time.advance(1)


@pytest.fixture
def stage(square: Square) -> Stage:
    return Stage(square)


def test_a_post_is_a_signed_call(stage: Stage, time: Time) -> None:
    stage.add()
    stage.posts("1")
    time.advance(1)
    ((url, headers, body, at),) = stage.program.calls
    assert (url, at) == (URL, ["8.8.8.8"])
    told = json.loads(body)
    assert told["kind"] == "published"
    assert told["author"] == "romeo@montague.example"
    assert told["item"]["text"] == "1"
    assert headers["webhook-id"] == told["id"]
    signed = f"{told['id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.digest(b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + b64encode(digest).decode()
    assert abs(int(headers["webhook-timestamp"]) - stage.square.clock.now().timestamp()) < 2


def test_calls_come_in_order_and_once(stage: Stage, time: Time) -> None:
    stage.add()
    stage.posts(*map(str, range(1, 26)))
    time.advance(1)
    assert stage.program.hears() == [str(number) for number in range(1, 26)]
    time.advance(600)
    stage.restart()
    time.advance(600)
    assert stage.program.hears() == []


def test_nothing_of_before_it_was_there(stage: Stage, time: Time) -> None:
    stage.posts("before")
    stage.add()
    stage.posts("after")
    time.advance(1)
    assert stage.program.hears() == ["after"]


def test_what_is_not_taken_is_called_again_later_and_later_and_what_follows_waits(stage: Stage, time: Time) -> None:
    stage.add()
    stage.program.answers = [500, CallFailed("no answer"), 302, 404]
    stage.posts("1", "2")
    time.advance(1)
    assert stage.program.hears() == ["1"]
    pauses = []
    for _ in range(4):
        waited = 0
        while not stage.program.calls and waited < 100:
            time.advance(1)
            waited += 1
        pauses.append(waited)
        if len(pauses) < 4:
            assert stage.program.hears() == ["1"]
    assert pauses == [5, 10, 20, 40]
    assert stage.program.hears() == ["1", "2"]
    assert (stage.look().failures, stage.look().problem, stage.look().next_attempt) == (0, "", None)


def test_why_it_fails_is_kept_for_its_owner(stage: Stage, time: Time) -> None:
    stage.add()
    stage.program.answers = [503]
    stage.posts("1")
    time.advance(1)
    assert stage.look().problem == "the answer is 503"
    assert stage.look().failures == 1


def test_a_program_may_say_when_to_come_again(stage: Stage, time: Time) -> None:
    stage.add()
    stage.program.answers = [Answer(429, retry_after=100)]
    stage.posts("1")
    passes(time, 99)
    assert stage.program.hears() == ["1"]
    passes(time, 3)
    assert stage.program.hears() == ["1"]


def test_but_not_for_weeks(stage: Stage, time: Time) -> None:
    stage.add()
    stage.program.answers = [Answer(429, retry_after=999_999)]
    stage.posts("1")
    passes(time, hooking.PAUSE_MAX_SECONDS + 5)
    assert stage.program.hears() == ["1", "1"]


def test_the_schedule_outlives_a_crash(stage: Stage, time: Time) -> None:
    stage.add()
    stage.program.answers = [500, 500, 500, 500]
    stage.posts("1", "2")
    for seconds in (1, 5, 10, 20):
        time.advance(seconds)
    assert stage.program.hears() == ["1"] * 4
    stage.restart()
    time.advance(30)
    assert stage.program.hears() == []
    time.advance(15)
    assert stage.program.hears() == ["1", "2"]


def test_a_crash_between_the_call_and_the_acknowledgement_repeats_one_under_the_same_id(
    stage: Stage, time: Time
) -> None:
    stage.add()
    under_way: Deferred[Answer] = Deferred()
    stage.program.answers = [under_way]
    stage.posts("1", "2")
    time.advance(1)
    stage.restart()
    time.advance(1)
    ids = [headers["webhook-id"] for _, headers, _, _ in stage.program.calls]
    assert ids[0] == ids[1]
    assert stage.program.hears() == ["1", "1", "2"]


def test_days_of_failures_end_it_and_its_owner_hears(stage: Stage, time: Time) -> None:
    stage.add()
    stage.program.answers = [500] * 1000
    stage.posts("1")
    days = 0
    while not stage.given_up and days < 14:
        for _ in range(24):
            time.advance(3601)
        days += 1
    assert days == 6  # hardly more than five, but for the steps of this clock
    assert [webhook.name for webhook in stage.given_up] == ["ci"]
    assert len(stage.program.hears()) == hooking.FAILURES_MAX
    time.advance(90_000)
    stage.restart()
    time.advance(90_000)
    assert stage.program.hears() == []
    stage.program.answers = []
    stage.do(hooking.resume)
    time.advance(1)
    assert stage.program.hears() == ["1"]
    assert not stage.look().is_given_up


def test_who_is_gone_says_so_once(stage: Stage, time: Time) -> None:
    stage.add()
    stage.program.answers = [410]
    stage.posts("1")
    time.advance(7200)
    assert stage.program.hears() == ["1"]
    assert stage.look().is_given_up
    assert len(stage.given_up) == 1


def test_removed_while_it_is_called(stage: Stage, time: Time) -> None:
    stage.add()
    under_way: Deferred[Answer] = Deferred()
    stage.program.answers = [under_way]
    stage.posts("1", "2")
    time.advance(1)
    stage.do(hooking.remove)
    under_way.callback(Answer(200))
    stage.posts("3")
    time.advance(3600)
    assert stage.program.hears() == ["1"]
    assert stage.square.tasks.names() == []


def test_what_comes_in_its_place_is_not_told_to_it(stage: Stage, time: Time) -> None:
    """The server has not heard yet that it was removed beside it, and somebody else has a program by now."""
    stage.add()
    account = stage.database.run(registering.get_account, "romeo")
    stage.database.run(hooking.remove, account, "ci")
    other = stage.database.run(registering.get_account, "benvolio")
    wanted = Make(account=other, name="ci", sources=frozenset((Source.OWN,)))
    stage.database.run(informing.make, wanted)
    stage.database.run(writes, BENVOLIO, "1")
    passes(time, 70)
    assert stage.program.calls == []


def test_its_owner_is_removed_while_it_is_called(stage: Stage, time: Time) -> None:
    stage.add()
    under_way: Deferred[Answer] = Deferred()
    stage.program.answers = [under_way]
    stage.posts("1", "2")
    time.advance(1)
    stage.database.run(lambda tx: registering.remove_account(tx, "romeo", notification))
    under_way.callback(Answer(500))
    time.advance(3600)
    assert stage.program.hears() == ["1"]


def test_one_that_hangs_holds_up_no_other(stage: Stage, time: Time) -> None:
    stage.add("ci")
    stage.add("other")
    under_way: Deferred[Answer] = Deferred()
    stage.program.answers = [under_way]
    stage.posts("1", "2")
    time.advance(1)
    assert stage.program.hears() == ["1", "1", "2"]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["192.168.0.1"],
        ["172.16.0.1"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["0.0.0.0"],
        ["255.255.255.255"],
        ["224.0.0.1"],
        ["::1"],
        ["::"],
        ["fe80::1"],
        ["fd00::1"],
        ["ff02::1"],
        ["::ffff:127.0.0.1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        [],
    ],
)
def test_what_is_inside_is_not_called(stage: Stage, time: Time, addresses: list[str]) -> None:
    stage.program.addresses["ci.montague.example"] = addresses
    stage.add()
    stage.posts("1")
    time.advance(1)
    assert stage.program.calls == []
    assert stage.look().problem == "ci.montague.example has no address that may be called"


def test_a_name_that_leads_inside_as_well_is_called_outside_only(stage: Stage, time: Time) -> None:
    stage.program.addresses["ci.montague.example"] = ["127.0.0.1", "8.8.4.4", "10.0.0.1"]
    stage.add()
    stage.posts("1")
    time.advance(1)
    assert [at for *_, at in stage.program.calls] == [["8.8.4.4"]]


def test_a_name_that_changes_its_mind_is_looked_at_each_time(stage: Stage, time: Time) -> None:
    """DNS rebinding: what was looked at is what is connected to."""
    stage.add()
    stage.posts("1")
    time.advance(1)
    stage.program.addresses["ci.montague.example"] = ["169.254.169.254"]
    stage.posts("2")
    time.advance(1)
    assert stage.program.hears() == ["1"]


@pytest.mark.parametrize(
    "url",
    [
        "http://ci.montague.example/",
        "https://ci.montague.example:22/",
        "https://ci.montague.example:6379/",
        "https://[::1]/",
        "https://unknown.example/",
    ],
)
def test_neither_plain_nor_other_services(stage: Stage, time: Time, url: str) -> None:
    stage.program.addresses["::1"] = ["::1"]
    stage.add(url=url)
    stage.posts("1")
    time.advance(1)
    assert stage.program.calls == []
    assert stage.look().problem


def test_what_is_for_this_node_only_does_not_go_outside(stage: Stage, time: Time) -> None:
    stage.add()
    stage.posts("secret", audience=Audience.LOCAL)
    stage.posts("2")
    time.advance(1)
    assert stage.program.hears() == ["2"]
    asks(stage.romeo, "set", "<retract node='urn:xmpp:microblog:0' notify='true'><item id='secret'/></retract>")
    time.advance(1)
    assert stage.program.calls == []


def test_where_private_addresses_are_allowed_a_program_inside_is_told_it(square: Square, time: Time) -> None:
    stage = Stage(square, private=True)
    stage.program.addresses["ci.montague.example"] = ["10.0.0.1"]
    stage.add(url="http://ci.montague.example/")
    stage.posts("secret", audience=Audience.LOCAL)
    time.advance(1)
    assert stage.program.hears() == ["secret"]
    # One of its addresses is outside: then all of it is.
    stage.program.addresses["ci.montague.example"] = ["10.0.0.1", "8.8.8.8"]
    stage.posts("secret2", audience=Audience.LOCAL)
    stage.posts("3")
    time.advance(1)
    assert stage.program.hears() == ["3"]


def test_many_events_that_are_not_for_it_are_passed_over(stage: Stage, time: Time) -> None:
    stage.add(sources=(Source.CALLS, Source.MENTIONS))
    before = stage.database.run(hooking.everybodys)[0][1].position
    stage.posts(*map(str, range(600)))
    passes(time, 62)
    assert stage.program.calls == []
    after = stage.database.run(hooking.everybodys)[0][1].position
    assert after.seq > before.seq


def test_what_a_rule_calls_out(stage: Stage, time: Time) -> None:
    stage.add(sources=(Source.CALLS,))
    stage.posts("1")
    account = stage.database.run(registering.get_account, "romeo")
    payload = {"rule": 2, "text": "The day is hot \u2600"}
    assert stage.database.run(calling.call, account.key, "ci", payload)
    stage.waking.wake(ROMEO)
    time.advance(1)
    ((_, headers, body, _),) = stage.program.calls
    told = json.loads(body)
    assert (told["kind"], told["source"], told["call"]) == ("called", "calls", payload)
    assert headers["webhook-id"] == told["id"] == "c1"
    passes(time, 70)
    assert len(stage.program.calls) == 1


def test_what_a_rule_calls_out_of_a_local_post_stays_here(stage: Stage, time: Time) -> None:
    stage.add(sources=(Source.CALLS,))
    account = stage.database.run(registering.get_account, "romeo")
    stage.database.run(calling.call, account.key, "ci", {"text": "secret", "audience": "local"})
    stage.database.run(calling.call, account.key, "ci", {"text": "public", "audience": "public"})
    passes(time, 62)
    assert [json.loads(body)["call"]["text"] for _, _, body, _ in stage.program.calls] == ["public"]


def test_an_edit_is_told_as_it_is_and_a_retraction_without_its_words(stage: Stage, time: Time) -> None:
    stage.add()
    stage.posts("1")
    time.advance(1)
    stage.program.calls.clear()
    stage.database.run(writes, ROMEO, "1", -1, title="Second thoughts")
    time.advance(1)
    assert json.loads(stage.program.calls.pop()[2])["item"]["text"] == "Second thoughts"
    asks(stage.romeo, "set", "<retract node='urn:xmpp:microblog:0' notify='true'><item id='1'/></retract>")
    time.advance(1)
    told = json.loads(stage.program.calls.pop()[2])
    assert (told["kind"], "item" in told) == ("retracted", False)
    assert told["address"].endswith(";item=1")


def test_a_post_that_went_before_it_could_be_told_is_not_told(stage: Stage, time: Time) -> None:
    stage.add()
    stage.program.answers = [500]
    stage.posts("1", "2")
    time.advance(1)
    stage.program.calls.clear()
    asks(stage.romeo, "set", "<retract node='urn:xmpp:microblog:0' notify='true'><item id='1'/></retract>")
    passes(time, 10)
    kinds = [json.loads(body)["kind"] for _, _, body, _ in stage.program.calls]
    assert kinds == ["published", "retracted"]


def test_so_many_and_no_more(stage: Stage) -> None:
    for number in range(hooking.EACH_MAX):
        stage.add(f"ci{number}")
    with pytest.raises(ResourceConstraint):
        stage.add("another")
    with pytest.raises(Conflict):
        stage.add("ci0")
    with pytest.raises(ItemNotFound):
        stage.do(hooking.remove, "another")


def test_another_secret_cannot_be_guessed_from_calls(database: Database) -> None:
    assert signing.new_secret() != signing.new_secret()


def test_the_webhook_of_somebody_who_was_disabled_goes_on_when_they_are_not(stage: Stage, time: Time) -> None:
    stage.add()
    square = stage.square

    async def derive(password: str) -> tuple[ScramKeys, ...]:
        return ()

    async def cancel(account: JID) -> None:
        return None

    house = Administration(stage.database, derive, square.sessions, cancel, square.clock)
    house.enabled = stage.webhooks.changed
    square.tasks.spawn(house.set_disabled(ROMEO, True), "disabled")
    stage.posts("sun")
    time.advance(1)
    assert stage.program.hears() == []
    square.tasks.spawn(house.set_disabled(ROMEO, False), "enabled")
    passes(time, 1)
    assert stage.program.hears() == ["sun"]
    # And by the command line.
    stage.database.run(lambda tx: registering.disable(tx, "romeo", disabled=False, outside=True))
    taken = stage.database.run(noticing.take)
    assert taken is not None and taken.webhooks
