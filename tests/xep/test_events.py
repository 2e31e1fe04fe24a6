"""docs/protocol/events.md over client streams, and from addresses elsewhere."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update
from twisted.internet.defer import Deferred, fail

from microblog.model.errors import ResourceConstraint
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.model.program import Position, Program, Source
from microblog.runtime import Clock
from microblog.store import tables
from microblog.store.database import Database, Transaction
from microblog.usecases import calling, informing, registering
from microblog.wire import ns
from microblog.wire.events import read_json, to_json
from microblog.wire.xml import Element
from microblog.xep import events as streams
from microblog.xep import waking
from microblog.xep.events import EventStreams
from microblog.xep.people import People
from microblog.xep.waking import LOOK_SECONDS, TOGETHER_SECONDS, Waking
from tests.conftest import Time
from tests.im.town import Client
from tests.usecases.pubsub import JULIET
from tests.usecases.timelines import arrives
from tests.xep.square import FEED, Square, asks, publishes

NODE = "montague.example"
EVENTS = "urn:x-microblog:events:0"
ABROAD = "benvolio@capulet.example/ci"


class Post:
    """A square with programs."""

    def __init__(self, square: Square, database: Database, clock: Clock, time: Time) -> None:
        self.square, self.database, self.time = square, database, time
        self.people = People(database, NODE)
        self.waking = Waking(database, clock, square.tasks)
        self.events = EventStreams(square.router, database, self.people, self.waking, clock, square.tasks)
        database.listeners.append(self.waking.hear)
        square.messages.error_listeners.append(self.events.bounced)
        square.install(self.events)
        self.waking.start()
        self.events.start()
        self.romeo = square.login("romeo", "orchard")
        self.program = square.login("benvolio", "ci")
        self.follow("benvolio")

    def follow(self, name: str, whom: str = "romeo") -> None:
        client = self.square.login(name, "follower")
        asks(client, "set", f"<subscribe node='{FEED}' jid='{name}@{NODE}'/>", to=f"{whom}@{NODE}")
        client.leaves()

    def asks(self, verb: str, *, client: Client | None = None, type_: str = "set") -> Element:
        """A request to the node, and its answer; what else came is left to be heard."""
        client = client or self.program
        client.sends(f"<iq type='{type_}' id='q' to='{NODE}'>{verb}</iq>")
        heard = client.hears()
        (answer,) = [element for element in heard if element.name == "iq"]
        assert heard[0] is answer, "events before their answer"
        return answer

    def opens(self, *sources: str, client: Client | None = None, **more: str) -> Element:
        answer = self.asks(opening(*sources or ("home",), **more), client=client)
        self.later(0)
        assert answer.get("type") == "result", answer
        payload = answer.first()
        assert payload is not None
        return payload

    def acks(self, cursor: str, client: Client | None = None) -> str | None:
        answer = self.asks(f"<ack xmlns='{EVENTS}' name='ci' cursor='{cursor}'/>", client=client)
        self.later(0)
        return answer.get("type") if answer.get("type") == "result" else condition(answer)

    def later(self, seconds: float = TOGETHER_SECONDS) -> None:
        self.time.advance(seconds)

    def told(self, client: Client | None = None) -> list[dict[str, Any]]:
        """The events that came."""
        self.later()
        return read_events((client or self.program).hears())

    def items(self, client: Client | None = None) -> list[str]:
        return [event["item"]["id"] for event in self.told(client)]


def opening(*sources: str, name: str = "ci", window: str = "", begin: str = "") -> str:
    attributes = (f" window='{window}'" if window else "") + (f" from='{begin}'" if begin else "")
    inside = "".join(f"<source>{source}</source>" for source in sources)
    return f"<open xmlns='{EVENTS}' name='{name}'{attributes}>{inside}</open>"


def read_events(heard: list[Element]) -> list[dict[str, Any]]:
    found = []
    for message in heard:
        assert message.name == "message" and message.get("type") == "headline"
        assert message.find(ns.HINTS, "no-store") is not None
        told = message.find(EVENTS, "events")
        assert told is not None, message
        assert told.get("name") == "ci" and message.get("from") == NODE
        found += [read_json(event) for event in told.elements()]
    return found


def condition(answer: Element) -> str | None:
    error = answer.find(ns.CLIENT, "error")
    assert error is not None
    first = error.first()
    assert first is not None
    return first.name


def closed(client: Client) -> list[str | None]:
    return [
        told.get("reason")
        for message in client.hears()
        if (told := message.find(EVENTS, "closed")) is not None and told.get("name") == "ci"
    ]


@pytest.fixture
def post(square: Square, database: Database, clock: Clock, time: Time) -> Iterator[Post]:
    made = Post(square, database, clock, time)
    yield made
    made.events.stop()
    made.waking.stop()


# opening, being told, acknowledging


def test_a_program_opens_and_is_told_of_what_happens(post: Post) -> None:
    opened = post.opens("home", "own", window="7")
    assert opened.is_(EVENTS, "opened") and opened.get("window") == "7"
    assert [child.text for child in opened.elements()] == ["own", "home"]
    publishes(post.romeo, "sun", "What light?")
    (event,) = post.told()
    assert event["kind"] == "published" and event["source"] == "home" and event["author"] == f"romeo@{NODE}"
    assert event["item"]["id"] == "sun" and event["item"]["text"] == "What light?"
    assert event["address"] == "xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=sun"
    assert post.acks(event["cursor"]) == "result"
    assert post.told() == []


def test_what_happens_while_a_program_is_away_waits_for_it(post: Post) -> None:
    post.opens("home")
    publishes(post.romeo, "one")
    publishes(post.romeo, "two")
    one, _ = post.told()
    assert post.acks(one["cursor"]) == "result"
    post.program.leaves()
    publishes(post.romeo, "three")
    again = post.square.login("benvolio", "ci-2")
    assert post.opens(client=again).get("cursor") == one["cursor"]
    assert post.items(again) == ["two", "three"]


def test_what_was_forgotten_is_said_although_what_came_before_it_was_under_way(post: Post) -> None:
    post.opens("calls", window="1")
    call(post, "{}")
    [first] = post.told()

    def forgets(tx: Transaction) -> None:
        tx.connection.execute(update(tables.programs).values(missed=True))

    post.database.run(forgets)
    call(post, "{}")
    assert post.acks(first["cursor"]) == "result"
    [second] = post.told()
    assert "gap" not in first and second["gap"]
    call(post, "{}")
    assert post.acks(second["cursor"]) == "result"
    [third] = post.told()
    assert "gap" not in third


def call(post: Post, said: str) -> None:
    def calls(tx: Transaction) -> None:
        found = tx.accounts.get("benvolio")
        assert found is not None and calling.call(tx, found.key, "ci", {"said": said})

    post.database.run(calls)
    post.waking.called()


def test_no_more_than_the_window_is_under_way(post: Post) -> None:
    post.opens("home", window="2")
    for n in range(5):
        publishes(post.romeo, f"post{n}")
    first = post.told()
    assert [event["item"]["id"] for event in first] == ["post0", "post1"]
    assert post.told() == []
    assert post.acks(first[0]["cursor"]) == "result"
    third = post.told()
    assert [event["item"]["id"] for event in third] == ["post2"]
    # One acknowledgement is good for all that was told before.
    assert post.acks(third[0]["cursor"]) == "result"
    assert post.items() == ["post3", "post4"]


def test_a_window_has_its_bounds(post: Post) -> None:
    assert post.opens(window="100000").get("window") == "200"
    for window in ("0", "-1", "many", "1" * 10, "\u0663"):
        assert condition(post.asks(opening("home", window=window))) == "bad-request"


def test_only_what_was_told_can_be_acknowledged(post: Post) -> None:
    post.opens("home")
    publishes(post.romeo, "sun")
    (event,) = post.told()
    for cursor in ("", "x", "1.2", "999999.0.0", "0.0.1", event["cursor"] + "0"):
        assert post.acks(cursor) == "bad-request"
    assert post.acks(event["cursor"]) == "result"
    # Said twice it is said.
    assert post.acks(event["cursor"]) == "result"


def test_what_was_retracted_is_told(post: Post) -> None:
    post.opens("home")
    publishes(post.romeo, "sun")
    post.told()
    asks(post.romeo, "set", f"<retract node='{FEED}' notify='1'><item id='sun'/></retract>")
    (event,) = post.told()
    assert event["kind"] == "retracted" and event["address"].endswith("item=sun") and "item" not in event


def test_calls_of_rules_are_told_when_they_are_woken_for(post: Post) -> None:
    post.opens("calls")
    account = post.database.run(lambda tx: tx.accounts.get("benvolio"))
    assert account is not None
    assert post.database.run(calling.call, account.key, "ci", {"rule": 1, "text": "<lift & 2>"})
    assert post.told() == []
    post.waking.wake(JID("benvolio", NODE))
    (event,) = post.told()
    assert (event["kind"], event["source"], event["call"]) == ("called", "calls", {"rule": 1, "text": "<lift & 2>"})


def test_rules_wake_the_programs_that_they_called_and_no_others(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "CALLS_MAX", 2)
    woken: list[str] = []

    def there(key: int, name: str, *sources: Source) -> None:
        now = post.database.run(lambda tx: tx.now)
        program = Program(
            key=key,
            account=key,
            name="ci",
            sources=frozenset(sources),
            position=Position(),
            acknowledged=None,
            created=now,
        )
        post.waking.add(program, JID(name, NODE), lambda: woken.append(name))

    there(1001, "mercutio", Source.CALLS)
    there(1002, "romeo", Source.HOME, Source.TRACK)
    post.opens("calls")
    post.waking.called()
    post.later()
    assert woken == []
    call(post, "once")
    assert len(post.told()) == 1 and woken == []
    for _ in range(3):
        call(post, "again")
    post.later()
    assert len(post.told()) == 3 and "romeo" not in woken


def test_a_wake_that_was_missed_costs_a_minute(post: Post) -> None:
    post.opens("calls")
    account = post.database.run(lambda tx: tx.accounts.get("benvolio"))
    assert account is not None
    post.database.run(calling.call, account.key, "ci", {})
    post.later(LOOK_SECONDS)
    assert len(post.told()) == 1


def test_mentions_and_followed_tags_wake(post: Post) -> None:
    post.opens("mentions")
    mention = f"<link xmlns='{ns.ATOM}' rel='mentioned' href='xmpp:benvolio@{NODE}'/>"
    mercutio = post.square.login("mercutio", "street")
    asks(
        mercutio,
        "set",
        f"<publish node='{FEED}'><item id='hot'><entry xmlns='{ns.ATOM}'><title>Benvolio!</title>{mention}</entry>"
        "</item></publish>",
    )
    (event,) = post.told()
    assert event["source"] == "mentions" and event["item"]["mentions"] == [f"benvolio@{NODE}"]


def test_the_local_timeline_wakes(post: Post) -> None:
    post.opens("local")
    publishes(post.square.login("mercutio", "street"), "mab")
    assert post.items() == ["mab"]


def test_whom_one_follows_later_is_told_of(post: Post) -> None:
    post.opens("home")
    mercutio = post.square.login("mercutio", "street")
    publishes(mercutio, "one")
    assert post.told() == []
    post.follow("benvolio", "mercutio")
    publishes(mercutio, "two")
    assert post.items() == ["one", "two"], "it follows the feed now, and the log has it"


def test_long_events_are_sent_apart_and_short_ones_together(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MESSAGE_MAX_CHARACTERS", 2000)
    post.opens("home")
    for n in range(3):
        publishes(post.romeo, f"short{n}")
    post.later()
    assert len(post.program.hears()) == 1
    for n in range(3):
        publishes(post.romeo, f"long{n}", "x" * 500)
    post.later()
    assert [len(read_events([message])) for message in post.program.hears()] == [2, 1]


# programs


def test_a_program_begins_with_the_log_if_it_wants(post: Post) -> None:
    publishes(post.romeo, "old")
    post.opens("home", begin="start")
    assert post.items() == ["old"]
    assert condition(post.asks(opening("home", begin="yesterday"))) == "bad-request"


def test_a_later_stream_takes_the_program_and_the_former_hears_it(post: Post) -> None:
    post.opens("home")
    other = post.square.login("benvolio", "other")
    post.opens("home", client=other)
    assert closed(post.program) == ["taken"]
    publishes(post.romeo, "sun")
    (event,) = post.told(other)
    assert post.told() == []
    assert post.acks(event["cursor"]) == "unexpected-request"
    assert condition(post.asks(f"<close xmlns='{EVENTS}' name='ci'/>")) == "unexpected-request"
    # Opened anew by the same, nobody is told that it was closed.
    post.opens("home", client=other)
    assert closed(other) == []


def test_who_closes_comes_back(post: Post) -> None:
    post.opens("home")
    assert post.asks(f"<close xmlns='{EVENTS}' name='ci'/>").get("type") == "result"
    publishes(post.romeo, "sun")
    assert post.told() == []
    post.opens()
    assert post.items() == ["sun"]


def test_who_deletes_does_not(post: Post) -> None:
    post.opens("home")
    other = post.square.login("benvolio", "other")
    assert post.asks(f"<delete xmlns='{EVENTS}' name='ci'/>", client=other).get("type") == "result"
    assert closed(post.program) == ["deleted"]
    assert condition(post.asks(f"<delete xmlns='{EVENTS}' name='ci'/>")) == "item-not-found"
    assert condition(post.asks(opening())) == "bad-request"


def test_programs_are_listed_with_who_reads_them(post: Post) -> None:
    post.opens("home", "calls")
    post.asks(opening("own", name="other"), client=post.program)
    post.asks(f"<close xmlns='{EVENTS}' name='other'/>")
    answer = post.asks(f"<list xmlns='{EVENTS}'/>", type_="get").first()
    assert answer is not None and answer.is_(EVENTS, "list")
    listed = [(one.get("name"), one.get("jid"), [child.text for child in one.elements()]) for one in answer.elements()]
    assert listed == [("ci", f"benvolio@{NODE}/ci", ["home", "calls"]), ("other", None, ["own"])]
    romeos = post.asks(f"<list xmlns='{EVENTS}'/>", type_="get", client=post.romeo).first()
    assert romeos is not None and not list(romeos.elements())


def test_other_sources_hold_from_then_on(post: Post) -> None:
    post.opens("own")

    def change(tx: Transaction) -> Any:
        account = tx.accounts.get("benvolio")
        assert account is not None
        return informing.make(tx, informing.Make(account=account, name="ci", sources=frozenset({Source.LOCAL})))

    post.events.changed(JID("benvolio", NODE), post.database.run(change))
    publishes(post.romeo, "sun")
    assert post.items() == ["sun"]


def test_a_program_that_is_removed_otherwise_is_told_so(post: Post) -> None:
    post.opens("home")
    account = post.database.run(lambda tx: tx.accounts.get("benvolio"))
    assert account is not None
    post.database.run(informing.remove, account, "ci")
    post.events.removed(JID("benvolio", NODE), "ci")
    assert closed(post.program) == ["deleted"]


def test_a_program_that_is_removed_beside_the_server_is_told_so_at_the_next_event(post: Post) -> None:
    post.opens("home")
    account = post.database.run(lambda tx: tx.accounts.get("benvolio"))
    assert account is not None
    post.database.run(informing.remove, account, "ci")
    publishes(post.romeo, "sun")
    post.later()
    assert closed(post.program) == ["deleted"]


def test_the_programs_of_a_disabled_account_are_told_nothing(post: Post) -> None:
    post.opens("home")
    post.database.run(registering.disable, "benvolio")
    publishes(post.romeo, "sun")
    post.later()
    assert closed(post.program) == ["deleted"]
    assert condition(post.asks(opening())) == "forbidden"


@pytest.mark.parametrize(
    "verb",
    [
        opening("home", name="CI"),
        opening("home", name=""),
        opening("home", name="x" * 65),
        opening("everything"),
        opening(),
        f"<ack xmlns='{EVENTS}'/>",
        f"<ack xmlns='{EVENTS}' name='ci'/>",
        f"<close xmlns='{EVENTS}'/>",
        f"<delete xmlns='{EVENTS}' name='../'/>",
    ],
)
def test_what_makes_no_sense_is_refused(post: Post, verb: str) -> None:
    assert condition(post.asks(verb)) == "bad-request"


def test_nothing_else_is_offered(post: Post) -> None:
    assert condition(post.asks(f"<open xmlns='{EVENTS}' name='ci'/>", type_="get")) == "service-unavailable"
    post.program.sends(f"<iq type='set' id='q' to='romeo@{NODE}'>{opening('home')}</iq>")
    (answer,) = post.program.hears()
    assert condition(answer) == "service-unavailable"


def test_programs_are_of_one_account(post: Post) -> None:
    post.opens("home")
    publishes(post.romeo, "sun")
    (event,) = post.told()
    assert post.acks(event["cursor"], client=post.romeo) == "unexpected-request"
    for verb in ("close", "delete"):
        answer = post.asks(f"<{verb} xmlns='{EVENTS}' name='ci'/>", client=post.romeo)
        assert condition(answer) in ("unexpected-request", "item-not-found")
    # A program of the same name of somebody else is another one.
    post.opens("own", client=post.romeo)
    assert closed(post.program) == []


# what breaks


def test_whose_session_has_gone_is_not_told_and_not_remembered(post: Post) -> None:
    post.opens("home")
    post.program.leaves()
    again = post.square.login("benvolio", "ci")
    publishes(post.romeo, "sun")
    assert post.told(again) == [], "a session of the same name has not opened anything"
    assert not post.events._streams and not post.waking._programs and not post.waking._followers


def test_streams_of_sessions_that_have_gone_are_looked_for(post: Post) -> None:
    post.opens("own")
    post.program.leaves()
    post.later(streams.SWEEP_SECONDS)
    assert not post.events._streams and not post.waking._owners


def test_the_end_of_a_long_log_of_others_is_remembered(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PASSED_OVER", 2)
    cursor = post.opens("own").get("cursor")
    for n in range(5):
        publishes(post.romeo, f"post{n}")
    post.later(LOOK_SECONDS)
    post.later()
    assert post.opens("own").get("cursor") != cursor


def test_the_cursor_of_a_program_that_is_told_nothing_does_not_age(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SWEEPS_TO_PASS_OVER", 3)
    cursor = post.opens("own").get("cursor")
    publishes(post.romeo, "sun")
    for _ in range(4):
        post.later(streams.SWEEP_SECONDS)
        post.later()
    post.program.leaves()
    assert post.opens("own", client=post.square.login("benvolio", "again")).get("cursor") != cursor
    assert not read_events(post.program.hears())


def test_without_programs_nothing_is_done(post: Post) -> None:
    publishes(post.romeo, "sun")
    assert post.waking._call is None and not post.waking._items


# from elsewhere


def link(post: Post) -> None:
    def both(tx: Transaction) -> None:
        found = tx.accounts.get("benvolio")
        assert found is not None
        tx.linked.add(JID.parse(ABROAD).bare, found.key, asked_there=True)
        tx.linked.confirm(JID.parse(ABROAD).bare, found.key)

    post.database.run(both)


def from_abroad(post: Post, verb: str, type_: str = "set", proof: Proof = Proof.CERTIFICATE) -> Element:
    post.square.inject(f"<iq type='{type_}' id='q' from='{ABROAD}' to='{NODE}'>{verb}</iq>", proof)
    (answer,) = post.square.world_hears()
    post.later(0)
    return answer


def test_a_linked_address_elsewhere_has_programs_too(post: Post) -> None:
    assert condition(from_abroad(post, opening("home"))) == "forbidden"
    link(post)
    assert condition(from_abroad(post, opening("home"), proof=Proof.DIALBACK)) == "forbidden"
    assert from_abroad(post, opening("home")).get("type") == "result"
    publishes(post.romeo, "sun")
    publishes(post.romeo, "house", options="<field var='microblog#audience'><value>local</value></field>")
    publishes(post.romeo, "moon")
    post.later()
    found = read_events(post.square.world_hears())
    assert [event["item"]["id"] for event in found] == ["sun", "moon"]
    assert from_abroad(post, f"<ack xmlns='{EVENTS}' name='ci' cursor='{found[1]['cursor']}'/>").get("type") == "result"


def test_an_address_that_is_no_longer_linked_is_told_nothing_more(post: Post) -> None:
    link(post)
    assert from_abroad(post, opening("home")).get("type") == "result"
    publishes(post.romeo, "sun")
    post.later()
    assert len(read_events(post.square.world_hears())) == 1

    def unlink(tx: Transaction) -> None:
        found = tx.accounts.get("benvolio")
        assert found is not None
        tx.linked.remove(JID.parse(ABROAD).bare, found.key)

    post.database.run(unlink)
    publishes(post.romeo, "moon")
    post.later()
    [message] = post.square.world_hears()
    ended = message.find(EVENTS, "closed")
    assert ended is not None and ended.get("reason") == "deleted"


def test_what_comes_back_from_elsewhere_ends_the_stream(post: Post) -> None:
    link(post)
    from_abroad(post, opening("home"))
    error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZAS}'/></error>"
    post.square.inject(f"<message type='error' from='{ABROAD}' to='{NODE}'>{error}</message>")
    assert not post.events._streams
    # The program comes again and misses nothing.
    publishes(post.romeo, "sun")
    from_abroad(post, opening("home"))
    assert len(read_events(post.square.world_hears())) == 1


def test_who_is_silent_elsewhere_has_gone(post: Post) -> None:
    link(post)
    from_abroad(post, opening("home"))
    for _ in range(10):
        post.later(streams.SWEEP_SECONDS)
    assert post.events._streams, "there was nothing to acknowledge"
    publishes(post.romeo, "sun")
    for _ in range(4):
        post.later(streams.SWEEP_SECONDS)
    assert post.events._streams
    for _ in range(4):
        post.later(streams.SWEEP_SECONDS)
    assert not post.events._streams
    last = post.square.world_hears()[-1].find(EVENTS, "closed")
    assert last is not None and last.get("reason") == "lost"


def test_what_is_read_from_xml_is_what_json_says(post: Post) -> None:
    post.opens("home")
    publishes(post.romeo, "sun", "What light?")
    (event,) = post.told()
    account = post.database.run(lambda tx: tx.accounts.get("benvolio"))
    assert account is not None
    program = post.database.run(informing.find, account, "ci")
    page = post.database.run(informing.next_events, informing.Next(program=program.key, limit=9))
    assert json.loads(json.dumps(to_json(page.events[0]))) == event


# at the same time


class Slowly:
    """The database, whose answers come when the test says so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.domain = database.domain
        self.waiting: list[tuple[Deferred[Any], Deferred[Any]]] = []

    def read(self, fn: Any, *args: Any) -> Deferred[Any]:
        if fn is not informing.next_events:
            return self._database.read(fn, *args)
        waiting: Deferred[Any] = Deferred()
        self.waiting.append((waiting, self._database.read(fn, *args)))
        return waiting

    def write(self, fn: Any, *args: Any) -> Deferred[Any]:
        return self._database.write(fn, *args)

    def answers(self) -> None:
        waiting, found = self.waiting.pop(0)
        found.chainDeferred(waiting)


@pytest.fixture
def slowly(post: Post) -> Slowly:
    slowly = Slowly(post.database)
    post.events._database = slowly  # type: ignore[assignment]  # as much of it as is used
    return slowly


def test_what_is_read_for_a_stream_that_was_taken_goes_to_the_one_that_took_it(post: Post, slowly: Slowly) -> None:
    post.opens("home")
    publishes(post.romeo, "sun")
    slowly.answers()
    post.later()
    other = post.square.login("benvolio", "other")
    post.opens("home", client=other)
    while slowly.waiting:
        slowly.answers()
        post.later()
    assert closed(post.program) == ["taken"]
    assert [event["item"]["id"] for event in read_events(other.hears())] == ["sun"]


def test_what_is_read_for_a_session_that_has_gone_is_not_sent_to_its_namesake(post: Post, slowly: Slowly) -> None:
    post.opens("home")
    publishes(post.romeo, "sun")
    post.later()
    post.program.leaves()
    namesake = post.square.login("benvolio", "ci")
    while slowly.waiting:
        slowly.answers()
        post.later()
    assert namesake.hears() == [] and not post.events._streams


def test_a_program_that_is_deleted_while_it_is_read_for_is_told_nothing_more(post: Post, slowly: Slowly) -> None:
    post.opens("home")
    publishes(post.romeo, "sun")
    post.later()
    assert post.asks(f"<delete xmlns='{EVENTS}' name='ci'/>").get("type") == "result"
    while slowly.waiting:
        slowly.answers()
        post.later()
    assert post.program.hears() == []


def test_one_page_is_read_at_a_time_for_all(post: Post, slowly: Slowly) -> None:
    clients = [post.square.login("benvolio", f"ci-{number}") for number in range(5)]
    for number, client in enumerate(clients):
        post.asks(opening("home", name=f"p{number}"), client=client)
    post.later()
    assert len(slowly.waiting) == 1
    publishes(post.romeo, "sun")
    for _ in range(20):
        post.later()
        assert len(slowly.waiting) <= 1
        if slowly.waiting:
            post.later(0.2)
            slowly.answers()
    post.later(1)
    while slowly.waiting:
        slowly.answers()
        post.later(1)
    assert [len(client.hears()) for client in clients] == [1] * 5


def test_a_busy_database_is_asked_again(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    post.opens("home")
    refusals = [ResourceConstraint("busy")] * 3
    read = post.database.read

    def busy(fn: Any, *args: Any) -> Deferred[Any]:
        return fail(refusals.pop()) if fn is informing.next_events and refusals else read(fn, *args)

    monkeypatch.setattr(post.database, "read", busy)
    publishes(post.romeo, "sun")
    for _ in range(8):
        post.later(1)
    assert post.items() == ["sun"]


def test_an_account_that_goes_while_its_program_comes(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    person = post.people.person

    async def late(stanza: Any) -> Any:
        found = await person(stanza)
        assert found is not None
        post.database.run(lambda tx: tx.accounts.remove(found.account))
        return found

    monkeypatch.setattr(post.people, "person", late)
    assert condition(post.asks(opening("home"))) == "forbidden"
    assert not post.events._streams


def test_programs_wake_for_tags_and_for_whom_their_owner_follows_elsewhere(post: Post) -> None:
    post.square.readers.reloaded = post.waking.reload
    post.opens("home")

    def follow_tag(tx: Transaction) -> None:
        account = tx.accounts.get("benvolio")
        assert account is not None
        tx.followed_tags.add(account.key, "verona")

    post.database.run(follow_tag)
    post.square.readers.reload(JID("benvolio", NODE))
    mercutio = post.square.login("mercutio", "street")
    asks(
        mercutio,
        "set",
        f"<publish node='{FEED}'><item id='hot'><entry xmlns='{ns.ATOM}'><title>O</title><category term='Verona'/>"
        "</entry></item></publish>",
    )
    (event,) = post.told()
    assert event["source"] == "home" and event["item"]["tags"] == ["verona"]
    post.database.run(arrives, JULIET, "before")
    post.square.readers.reload(JID("benvolio", NODE))
    post.database.run(arrives, JULIET, "name")
    assert post.items() == ["before", "name"]


def test_a_thousand_programs_cost_a_post_nothing_that_is_not_about_them(post: Post) -> None:
    woken: list[int] = []

    def program(number: int) -> Program:
        return Program(
            key=1000 + number,
            account=1,
            name=f"p{number}",
            sources=frozenset({Source.OWN, Source.HOME}),
            position=Position(),
            acknowledged=None,
            created=post.database.run(lambda tx: tx.now),
        )

    for number in range(1000):
        post.waking.add(program(number), JID("mercutio" if number % 2 else "benvolio", NODE), lambda: woken.append(1))
    publishes(post.square.login("mercutio", "street"), "mab")
    post.later()
    assert len(woken) == 500
    publishes(post.romeo, "sun")
    post.later()
    assert len(woken) == 1000
    for number in range(1000):
        post.waking.remove(1000 + number)
    assert not post.waking._programs and not post.waking._owners and not post.waking._followers
