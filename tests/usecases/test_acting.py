"""Rules act: on posts behind the log, on people who come and go, and each only so often."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from microblog.model.account import Account
from microblog.model.entry import Location
from microblog.model.errors import Forbidden, ItemNotFound, NotAcceptable, ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.place import GEOLOC, Located, Place
from microblog.model.query import Circle
from microblog.model.rule import Then
from microblog.store.database import Database
from microblog.store.places import Consent
from microblog.store.transaction import Transaction
from microblog.usecases import acting, informing, locating, publishing, ruling
from microblog.usecases.acting import Watched
from microblog.usecases.ruling import Make
from microblog.wire import atom, ns
from tests.conftest import START, Time
from tests.usecases.pubsub import BENVOLIO, JULIET, PHONE, ROMEO, an_account, subscribe
from tests.usecases.timelines import arrives

MERCUTIO = JID.parse("mercutio@montague.example")
SQUARE = Place(title="Square", latitude=45_438_000, longitude=10_992_000, metres=500)
INSIDE = (45_438_400, 10_992_300)
OUTSIDE = (45_500_000, 11_100_000)


class Verona:
    """Three people, a square, and rules."""

    def __init__(self, database: Database, time: Time) -> None:
        self.database, self.time = database, time
        self.watched = Watched()
        self.number = 0
        database.run(self._people)
        self.run(acting.step, self.watched, atom.read_geoloc)

    @staticmethod
    def _people(tx: Transaction) -> None:
        for jid in (ROMEO, BENVOLIO, MERCUTIO):
            an_account(tx, jid)
            locating.name_place(tx, account_of(tx, jid), SQUARE)

    def run(self, fn: Any, *args: Any, **more: Any) -> Any:
        return self.database.run(fn, *args, **more)

    def account(self, jid: JID) -> Account:
        return self.run(account_of, jid)  # type: ignore[no-any-return]  # what the use case gives

    def rule(self, text: str, by: JID = ROMEO) -> ruling.Made:
        made = self.run(ruling.make, Make(account=self.account(by), text=text))
        assert isinstance(made, ruling.Made)
        return made

    def posts(self, by: JID, text: str, at: tuple[int, int] | None = None, inside: str = "", **more: Any) -> str:
        self.number += 1
        item_id = more.pop("item_id", f"post-{self.number}")
        where = ""
        if at is not None:
            lat, lon = at[0] / 1e6, at[1] / 1e6
            where = f"<geoloc xmlns='{ns.GEOLOC}'><lat>{lat}</lat><lon>{lon}</lon></geoloc>"
        tags = "".join(f"<category term='{word[1:]}'/>" for word in text.split() if word.startswith("#"))
        payload = f"<entry xmlns='{ns.ATOM}'><title>{text}</title>{tags}{where}{inside}</entry>"
        request = publishing.Publish(
            service=by,
            node=MICROBLOG,
            actor=by.with_resource(PHONE),
            item_id=item_id,
            payload=payload,
            entry=atom.read_text(payload),
            **more,
        )
        self.run(publishing.publish, request)
        return item_id  # type: ignore[no-any-return]  # as given

    def shares(self, by: JID, at: tuple[int, int] | None, payload: str = "") -> None:
        """A client says where its owner is (XEP-0080)."""
        if not payload:
            inside = "" if at is None else f"<lat>{at[0] / 1e6}</lat><lon>{at[1] / 1e6}</lon>"
            payload = f"<geoloc xmlns='{ns.GEOLOC}'>{inside}</geoloc>"
        request = publishing.Publish(
            service=by, node=GEOLOC, actor=by.with_resource(PHONE), item_id="current", payload=payload
        )
        self.run(publishing.publish, request)

    def lets_share(self, who: JID) -> None:
        self.watched.sharing = True
        self.run(acting.share, self.account(who), True, atom.read_geoloc)

    def moves(self, who: JID, at: tuple[int, int]) -> None:
        located = Located(latitude=at[0], longitude=at[1], updated=self.time.now())
        self.run(acting.move, self.account(who), located)

    def steps(self) -> None:
        while self.run(acting.step, self.watched, atom.read_geoloc):
            pass

    def fired(self) -> list[tuple[JID, int, str]]:
        """What is due now, and then done: whose rule, which, and the post."""
        self.steps()
        found = []
        while due := self.run(acting.due):
            for one in due:
                found.append((one.rule.owner, one.rule.number, one.post[1].id if one.post else ""))
                self.run(acting.done, one.key)
        return found

    def located(self, who: JID) -> tuple[int, int] | None:
        located = self.run(lambda tx: tx.locations.of(account_of(tx, who).key))
        return None if located is None else (located.latitude, located.longitude)


def account_of(tx: Transaction, jid: JID) -> Account:
    account = tx.accounts.get(jid.localpart)
    assert account is not None
    return account


@pytest.fixture
def verona(database: Database, time: Time) -> Verona:
    return Verona(database, time)


# posts


def test_a_rule_fires_for_what_it_is_about(verona: Verona) -> None:
    verona.rule("when benvolio posts then tell me")
    verona.rule("when #feast appears near Square then tell me")
    verona.rule("when masks torches then tell me")
    verona.posts(BENVOLIO, "Part, fools")
    verona.posts(MERCUTIO, "At the #feast", INSIDE)
    verona.posts(MERCUTIO, "At the #feast", OUTSIDE)
    verona.posts(MERCUTIO, "Torches and MASKS")
    verona.posts(MERCUTIO, "Nay, gentle Romeo")
    assert verona.fired() == [(ROMEO, 1, "post-1"), (ROMEO, 2, "post-2"), (ROMEO, 3, "post-4")]
    assert verona.fired() == []


def test_what_was_posted_before_a_rule_was_made_does_not_fire_it(verona: Verona) -> None:
    verona.posts(BENVOLIO, "news")
    verona.time.advance(1)
    verona.rule("when news then tell me")
    assert verona.fired() == []
    verona.posts(BENVOLIO, "news again")
    assert len(verona.fired()) == 1


def test_an_edit_does_not_fire_a_rule_again(verona: Verona) -> None:
    verona.rule("when #feast appears then tell me")
    verona.posts(BENVOLIO, "#feast", item_id="a")
    assert len(verona.fired()) == 1
    verona.posts(BENVOLIO, "the #feast is over", item_id="a")
    assert verona.fired() == []


def test_anyone_is_whom_one_follows(verona: Verona) -> None:
    verona.run(subscribe, ROMEO, service=BENVOLIO)
    verona.rule("when anyone posts near Square then tell me")
    verona.posts(BENVOLIO, "Here", INSIDE)
    verona.posts(MERCUTIO, "Here", INSIDE)
    assert verona.fired() == [(ROMEO, 1, "post-1")]


def test_here_is_where_one_is(verona: Verona) -> None:
    verona.run(subscribe, ROMEO, service=BENVOLIO)
    verona.moves(ROMEO, INSIDE)
    verona.rule("when anyone posts near here 1km then tell me")
    verona.posts(BENVOLIO, "Here", INSIDE)
    assert verona.fired() == [(ROMEO, 1, "post-1")]
    verona.moves(ROMEO, OUTSIDE)
    verona.posts(BENVOLIO, "Still here", INSIDE)
    verona.posts(BENVOLIO, "And there", OUTSIDE)
    assert verona.fired() == [(ROMEO, 1, "post-3")]
    verona.run(acting.leave, verona.account(ROMEO))
    verona.posts(BENVOLIO, "Where are you?", OUTSIDE)
    assert verona.fired() == []
    verona.moves(ROMEO, INSIDE)
    verona.time.advance(13 * 3600)
    verona.posts(BENVOLIO, "Long ago", INSIDE)
    assert verona.fired() == [], "nobody is sure any more where Romeo is"


def test_what_one_may_not_read_fires_nothing(verona: Verona) -> None:
    verona.rule("when #feast appears then tell me")
    verona.posts(BENVOLIO, "#feast", audience=Audience.FOLLOWERS)
    verona.posts(BENVOLIO, "#feast", audience=Audience.DIRECT, readers=(MERCUTIO,))
    assert verona.fired() == []
    verona.posts(BENVOLIO, "#feast", audience=Audience.DIRECT, readers=(ROMEO,))
    verona.posts(BENVOLIO, "#feast", audience=Audience.LOCAL)
    assert verona.fired() == [(ROMEO, 1, "post-3"), (ROMEO, 1, "post-4")]


def test_what_is_not_to_be_read_any_more_when_it_is_told_is_not_told(verona: Verona) -> None:
    verona.rule("when #feast appears then tell me")
    verona.posts(BENVOLIO, "#feast")
    verona.steps()
    verona.run(lambda tx: tx.blocks.add(account_of(tx, BENVOLIO).key, str(ROMEO)))
    assert verona.fired() == [(ROMEO, 1, "")]


def test_own_posts_fire_nothing(verona: Verona) -> None:
    verona.rule("when #feast appears then post at the #feast")
    verona.posts(ROMEO, "#feast")
    assert verona.fired() == []


def test_a_post_that_a_rule_made_fires_nothing_here_or_from_elsewhere(verona: Verona) -> None:
    verona.rule("when #feast appears then post #feast")
    verona.rule("when #feast appears then post #feast", by=MERCUTIO)
    verona.posts(BENVOLIO, "#feast", inside=f"<automatic xmlns='{ns.RULES}'/>")
    assert verona.fired() == []
    verona.posts(BENVOLIO, "#feast", inside=f"<other xmlns='{ns.RULES}'/>")
    assert {owner for owner, *_ in verona.fired()} == {ROMEO, MERCUTIO}


def test_posts_of_elsewhere_fire_too_and_old_ones_do_not(verona: Verona) -> None:
    verona.rule("when juliet@capulet.example posts then tell me")
    verona.run(arrives, JULIET, "now", 1)
    verona.run(arrives, JULIET, "long-ago", 25 * 60)
    assert verona.fired() == [(ROMEO, 1, "now")]


def test_rules_that_are_ended_fire_nothing(verona: Verona) -> None:
    verona.rule("when #feast appears then tell me")
    verona.rule("when #feast appears then tell me", by=MERCUTIO)
    verona.posts(BENVOLIO, "#feast")
    assert len(verona.fired()) == 2
    verona.run(ruling.end, verona.account(ROMEO), 1)
    verona.run(lambda tx: tx.accounts.remove(account_of(tx, MERCUTIO)))
    verona.posts(BENVOLIO, "#feast")
    assert verona.fired() == [] and len(verona.watched) == 0
    assert verona.run(lambda tx: tx.rules.due(10)) == []


def test_the_rules_of_somebody_disabled_rest(verona: Verona) -> None:
    verona.rule("when #feast appears then tell me")
    verona.run(lambda tx: tx.accounts.set_disabled(account_of(tx, ROMEO), True))
    verona.posts(BENVOLIO, "#feast")
    assert verona.fired() == []
    verona.run(lambda tx: tx.accounts.set_disabled(account_of(tx, ROMEO), False))
    verona.posts(BENVOLIO, "#feast")
    assert verona.fired() == [(ROMEO, 1, "post-2")]


def test_another_server_goes_on_where_one_died(verona: Verona) -> None:
    verona.rule("when #feast appears then tell me")
    verona.steps()
    verona.posts(BENVOLIO, "#feast")
    verona.watched = Watched()
    assert verona.fired() == [(ROMEO, 1, "post-1")]
    verona.posts(BENVOLIO, "#feast")
    verona.steps()
    verona.watched = Watched()
    verona.steps()
    assert verona.fired() == [(ROMEO, 1, "post-2")], "decided before, and once"


def test_without_rules_the_log_is_not_read(verona: Verona) -> None:
    verona.posts(BENVOLIO, "#feast")
    verona.steps()
    verona.rule("when #feast appears then tell me")
    assert verona.fired() == [], "what was before the rule does not fire it"


def test_a_rule_fires_only_so_often(verona: Verona) -> None:
    verona.rule("when #feast appears then post At the feast!")
    for _ in range(3):
        verona.posts(BENVOLIO, "#feast")
    assert len(verona.fired()) == 1
    verona.time.advance(61)
    verona.posts(BENVOLIO, "#feast")
    assert len(verona.fired()) == 1
    [listed] = verona.run(ruling.own, verona.account(ROMEO))
    assert (listed.kept.fired, listed.kept.skipped) == (2, 2)
    most = acting.OFTEN[Then.POST][1]
    for _ in range(most + 5):
        verona.time.advance(61)
        verona.posts(BENVOLIO, "#feast")
        verona.steps()
        verona.fired()
    [listed] = verona.run(ruling.own, verona.account(ROMEO))
    assert listed.kept.fired == most
    verona.time.advance(24 * 3600)
    verona.posts(BENVOLIO, "#feast")
    assert len(verona.fired()) == 1


def test_very_many_rules_about_one_post_are_not_done_at_once(verona: Verona, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "RULES_AT_ONCE", 3)
    for by in (ROMEO, MERCUTIO):
        for _ in range(4):
            verona.rule("when #feast appears then tell me", by)
    for text in ("#feast", "no more", "another #feast"):
        verona.posts(BENVOLIO, text)
    steps = 1
    while verona.run(acting.step, verona.watched, atom.read_geoloc):
        steps += 1
        if steps % 2:
            verona.watched = Watched()  # another server
    assert steps == 6
    every = [(owner, number) for owner in (ROMEO, MERCUTIO) for number in (1, 2, 3, 4)]
    found = verona.fired()
    assert [(owner, number) for owner, number, item in found if item == "post-1"] == every
    assert [(owner, number) for owner, number, item in found if item == "post-3"] == every
    assert len(found) == 16


def test_what_nobody_does_does_not_grow(verona: Verona, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "WAITING_MAX", 2)
    verona.rule("when #feast appears then tell me")
    for _ in range(5):
        verona.posts(BENVOLIO, "#feast")
    assert len(verona.fired()) == 2


# people


def test_who_enters_and_leaves_fires_rules_they_allowed(verona: Verona) -> None:
    made = verona.rule("when benvolio enters Square then tell me")
    verona.rule("when benvolio leaves Square then tell me")
    assert made.asks == BENVOLIO
    verona.moves(BENVOLIO, INSIDE)
    assert verona.fired() == [], "nobody allowed it"
    verona.moves(BENVOLIO, OUTSIDE)
    verona.run(locating.answer, verona.account(BENVOLIO), ROMEO, True)
    verona.moves(BENVOLIO, INSIDE)
    assert verona.fired() == [(ROMEO, 1, "")]
    verona.moves(BENVOLIO, (INSIDE[0] + 1000, INSIDE[1]))
    assert verona.fired() == [], "still there"
    verona.moves(BENVOLIO, OUTSIDE)
    assert verona.fired() == [(ROMEO, 2, "")]


def test_who_denies_ends_the_rules_and_is_not_asked_again(verona: Verona) -> None:
    verona.rule("when benvolio enters Square then tell me")
    verona.rule("when benvolio posts near Square then tell me")
    assert verona.run(locating.answer, verona.account(BENVOLIO), ROMEO, False) == 1
    assert [one.kept.number for one in verona.run(ruling.own, verona.account(ROMEO))] == [2]
    with pytest.raises(Forbidden, match="does not allow"):
        verona.rule("when benvolio leaves Square then tell me")


def test_one_is_asked_once(verona: Verona) -> None:
    assert verona.rule("when benvolio enters Square then tell me").asks == BENVOLIO
    again = verona.rule("when benvolio leaves Square then tell me")
    assert again.asks is None and again.waits == BENVOLIO


def test_nobody_asks_the_whole_town(verona: Verona, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locating, "ASKED_PER_DAY", 1)
    verona.rule("when benvolio enters Square then tell me")
    with pytest.raises(ResourceConstraint, match="asked many"):
        verona.rule("when mercutio enters Square then tell me")
    verona.time.advance(25 * 3600)
    verona.rule("when mercutio enters Square then tell me")


def test_one_need_not_ask_oneself(verona: Verona) -> None:
    assert verona.rule("when I enter Square then post I am here").asks is None
    verona.moves(ROMEO, INSIDE)
    assert verona.fired() == [(ROMEO, 1, "")]


def test_where_people_of_elsewhere_are_nobody_knows(verona: Verona) -> None:
    with pytest.raises(ItemNotFound, match="not known here"):
        verona.rule("when juliet@capulet.example enters Square then tell me")


def test_who_is_blocked_neither_asks_nor_hears(verona: Verona) -> None:
    verona.rule("when benvolio enters Square then tell me")
    verona.run(locating.answer, verona.account(BENVOLIO), ROMEO, True)
    verona.run(lambda tx: tx.blocks.add(account_of(tx, BENVOLIO).key, str(ROMEO)))
    verona.moves(BENVOLIO, INSIDE)
    assert verona.fired() == []
    with pytest.raises(Forbidden):
        verona.rule("when benvolio leaves Square then tell me")


def test_others_rules_about_one_are_shown_and_can_be_ended(verona: Verona) -> None:
    verona.rule("when benvolio enters Square then tell me")
    verona.rule("when benvolio posts then tell me")
    verona.rule("when mercutio posts then tell me")
    verona.rule("when I enter Square then tell me", by=BENVOLIO)
    about = verona.run(ruling.about, verona.account(BENVOLIO))
    assert [(one.kept.owner, one.kept.number, one.waits) for one in about] == [(ROMEO, 1, True), (ROMEO, 2, False)]
    with pytest.raises(ItemNotFound):
        verona.run(ruling.end, verona.account(BENVOLIO), 3, ROMEO)
    verona.run(ruling.end, verona.account(BENVOLIO), 1, ROMEO)
    assert [one.kept.number for one in verona.run(ruling.own, verona.account(ROMEO))] == [2, 3]


def test_nobody_knows_anybody_more_exactly_than_a_hundred_metres(verona: Verona) -> None:
    verona.moves(ROMEO, (45_438_499, 10_992_501))
    assert verona.located(ROMEO) == (45_438_000, 10_993_000)


# XEP-0080


def test_where_a_client_says_one_is_counts_only_if_one_shares_it(verona: Verona) -> None:
    verona.rule("when I enter Square then tell me")
    verona.shares(ROMEO, INSIDE)
    assert verona.fired() == [] and verona.located(ROMEO) is None
    verona.lets_share(ROMEO)
    assert verona.fired() == [(ROMEO, 1, "")], "what it said before"
    verona.shares(ROMEO, OUTSIDE)
    verona.steps()
    assert verona.located(ROMEO) == (45_500_000, 11_100_000)
    verona.run(acting.share, verona.account(ROMEO), False, atom.read_geoloc)
    assert verona.located(ROMEO) is None
    verona.shares(ROMEO, INSIDE)
    assert verona.fired() == [] and verona.located(ROMEO) is None


def test_a_client_that_says_nothing_any_more_is_believed(verona: Verona) -> None:
    verona.lets_share(ROMEO)
    verona.shares(ROMEO, INSIDE)
    verona.steps()
    assert verona.located(ROMEO) is not None
    verona.shares(ROMEO, None)
    verona.steps()
    assert verona.located(ROMEO) is None


@pytest.mark.parametrize(
    "inside",
    [
        "<lat>91</lat><lon>0</lon>",
        "<lat>nan</lat><lon>0</lon>",
        "<lat>1e400</lat><lon>0</lon>",
        "<lat>45</lat>",
        "<lat>forty</lat><lon>ten</lon>",
    ],
)
def test_a_place_that_is_none_is_nowhere(verona: Verona, inside: str) -> None:
    verona.lets_share(ROMEO)
    verona.shares(ROMEO, None, f"<geoloc xmlns='{ns.GEOLOC}'>{inside}</geoloc>")
    verona.steps()
    assert verona.located(ROMEO) is None


def test_what_one_said_oneself_is_not_undone_by_an_older_word_of_the_client(verona: Verona) -> None:
    verona.lets_share(ROMEO)
    verona.shares(ROMEO, OUTSIDE)
    verona.time.advance(1)
    verona.moves(ROMEO, INSIDE)
    verona.steps()
    assert verona.located(ROMEO) == (45_438_000, 10_992_000)


# on line


def test_coming_on_line_fires_perhaps_only_at_a_place(verona: Verona) -> None:
    verona.rule("when I come online then post Good morning")
    verona.rule("when I come online at Square then tell me")
    assert verona.run(acting.come, "romeo") is True
    assert verona.fired() == [(ROMEO, 1, "")]
    verona.moves(ROMEO, INSIDE)
    verona.run(acting.come, "romeo")
    assert verona.fired() == [(ROMEO, 2, "")], "the other fired just now"
    verona.time.advance(601)
    verona.run(acting.come, "romeo")
    assert len(verona.fired()) == 2
    assert verona.run(acting.come, "nobody") is False


# programs


def test_a_program_is_called_with_what_happened(verona: Verona) -> None:
    with pytest.raises(ItemNotFound, match="no program called bell"):
        verona.rule("when #feast appears then call bell")
    make = informing.Make(account=verona.account(ROMEO), name="bell", sources=frozenset((informing.Source.CALLS,)))
    program = verona.run(informing.make, make)
    verona.rule("when #feast appears then call bell")
    verona.posts(BENVOLIO, "The #feast begins", audience=Audience.LOCAL)
    assert verona.fired() == []
    page = verona.run(informing.next_events, informing.Next(program=program.key, limit=10))
    [event] = page.events
    assert '"rule": 1' in event.payload and '"text": "The #feast begins"' in event.payload
    assert '"audience": "local"' in event.payload and '"author": "benvolio@montague.example"' in event.payload
    verona.run(informing.remove, verona.account(ROMEO), "bell")
    verona.posts(BENVOLIO, "#feast")
    assert verona.fired() == []


@pytest.mark.parametrize("letter", ["x", "羅", "🗡"])
def test_a_long_post_calls_a_program_with_its_beginning(verona: Verona, letter: str) -> None:
    make = informing.Make(account=verona.account(ROMEO), name="bell", sources=frozenset((informing.Source.CALLS,)))
    program = verona.run(informing.make, make)
    verona.rule("when benvolio posts then call bell")
    verona.posts(BENVOLIO, letter * (65_000 // len(letter.encode())))
    assert verona.fired() == []
    [event] = verona.run(informing.next_events, informing.Next(program=program.key, limit=10)).events
    text = json.loads(event.payload)["text"]
    assert text and not text.strip(letter)


def test_where_another_is_is_told_to_programs_of_this_domain_only(verona: Verona) -> None:
    make = informing.Make(account=verona.account(ROMEO), name="bell", sources=frozenset((informing.Source.CALLS,)))
    program = verona.run(informing.make, make)
    verona.rule("when benvolio enters Square then call bell")
    verona.rule("when I enter Square then call bell")
    verona.run(locating.answer, verona.account(BENVOLIO), ROMEO, True)
    for who in (BENVOLIO, ROMEO):
        verona.moves(who, INSIDE)
    everywhere, beyond = (
        verona.run(informing.next_events, informing.Next(program=program.key, limit=10, audiences=audiences)).events
        for audiences in (frozenset(Audience), frozenset(Audience) - {Audience.LOCAL})
    )
    assert ["benvolio@" in event.payload for event in everywhere] == [True, False]
    assert ["romeo@" in event.payload for event in beyond] == [True]


# bounds and refusals


def test_rules_are_so_many_and_have_to_be_rules(verona: Verona, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruling, "RULES_MAX", 2)
    with pytest.raises(NotAcceptable, match="A rule is written"):
        verona.rule("of thumb")
    assert verona.rule("when a then tell me").number == 1
    assert verona.rule("when b then tell me").number == 2
    with pytest.raises(ResourceConstraint, match="2 rules"):
        verona.rule("when c then tell me")
    assert len(verona.run(ruling.end_all, verona.account(ROMEO))) == 2
    with pytest.raises(ItemNotFound):
        verona.run(ruling.end, verona.account(ROMEO), 1)


def test_a_post_that_a_rule_decided_is_made_once(verona: Verona) -> None:
    verona.rule("when #feast appears then post At the feast")
    verona.posts(BENVOLIO, "#feast")
    verona.steps()
    [due] = verona.run(acting.due)
    payload = f"<entry xmlns='{ns.ATOM}'><title>At the feast</title></entry>"
    request = publishing.Publish(
        service=ROMEO,
        node=MICROBLOG,
        actor=ROMEO,
        item_id="made",
        payload=payload,
        entry=atom.read_text(payload),
    )
    post = partial(verona.run, acting.post, due.key, due.account.key)
    assert post(request) is not None
    assert post(replace(request, item_id="made-again")) is None
    assert verona.run(acting.due) == ()


# places


def test_places_are_ones_own_or_everybodys(verona: Verona) -> None:
    account = verona.account(ROMEO)
    globe = Place(title="The Globe", latitude=51_508_076, longitude=-97_194, metres=300)
    with pytest.raises(Forbidden):
        verona.run(locating.name_place, account, replace(globe, shared=True))
    kept = verona.run(locating.name_place, replace(account, admin=True), replace(globe, shared=True))
    assert (kept.latitude, kept.longitude) == (51_508_000, -97_000)
    circle = verona.run(locating.find, verona.account(BENVOLIO).key, "the  globe")
    assert circle == Circle(latitude=51_508_000, longitude=-97_000, metres=300)
    verona.run(locating.name_place, verona.account(BENVOLIO), replace(globe, metres=100))
    assert verona.run(locating.find, verona.account(BENVOLIO).key, "The Globe").metres == 100, (
        "one's own before others'"
    )
    assert verona.run(locating.find, verona.account(MERCUTIO).key, "The Globe").metres == 300
    verona.run(locating.forget_place, verona.account(BENVOLIO), "THE GLOBE")
    with pytest.raises(ItemNotFound):
        verona.run(locating.forget_place, verona.account(BENVOLIO), "The Globe")
    assert verona.run(locating.find, 0, "nowhere") is None
    assert verona.run(locating.find, 0, "1.23456,2") == Circle(latitude=1_235_000, longitude=2_000_000, metres=5000)


def test_places_are_so_many_and_so_wide(verona: Verona, monkeypatch: pytest.MonkeyPatch) -> None:
    account = verona.account(ROMEO)
    for metres in (0, 99, 100_001, 1 << 40):
        with pytest.raises(NotAcceptable):
            verona.run(locating.name_place, account, replace(SQUARE, metres=metres))
    monkeypatch.setattr(locating, "PLACES_MAX", 1)
    verona.run(locating.name_place, account, replace(SQUARE, metres=200))
    with pytest.raises(ResourceConstraint):
        verona.run(locating.name_place, account, replace(SQUARE, title="Other"))


def test_consents_are_of_people_here(verona: Verona, monkeypatch: pytest.MonkeyPatch) -> None:
    for nobody in (JULIET, JID.parse("nobody@montague.example")):
        with pytest.raises(ItemNotFound):
            verona.run(locating.answer, verona.account(ROMEO), nobody, True)
    monkeypatch.setattr(locating, "CONSENTS_MAX", 1)
    verona.run(locating.answer, verona.account(ROMEO), BENVOLIO, True)
    verona.run(locating.answer, verona.account(ROMEO), BENVOLIO, False)
    with pytest.raises(ResourceConstraint):
        verona.run(locating.answer, verona.account(ROMEO), MERCUTIO, True)
    known = verona.run(locating.known, verona.account(ROMEO))
    assert known.consents == ((BENVOLIO, Consent.DENIED),)


def test_where_somebody_was_is_forgotten(verona: Verona) -> None:
    verona.moves(ROMEO, INSIDE)
    verona.rule("when benvolio enters Square then tell me")
    verona.time.advance(29 * 86_400)
    verona.run(locating.forget)
    assert verona.located(ROMEO) is not None
    verona.time.advance(2 * 86_400)
    verona.run(locating.forget)
    assert verona.located(ROMEO) is None
    assert verona.run(locating.known, verona.account(BENVOLIO)).consents == ()


def test_what_is_near_is_found_newest_first_as_far_as_one_may_see_it(
    verona: Verona, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locating, "_NEAR_LOOKED_AT", 3)
    for number in range(8):
        verona.posts(BENVOLIO, f"at {number}", INSIDE if number % 2 else OUTSIDE)
    verona.posts(BENVOLIO, "secret", INSIDE, audience=Audience.FOLLOWERS)
    verona.run(_placed)
    wanted = locating.Near(actor=ROMEO, circle=SQUARE.circle, most=3)
    page = verona.run(locating.near, wanted)
    assert [item.id for _, item in page.posts] == ["post-8", "post-6", "post-4"]
    rest = verona.run(locating.near, replace(wanted, before=page.more))
    assert [item.id for _, item in rest.posts] == ["post-2"] and rest.more is None
    monkeypatch.setattr("microblog.store.places._FEW", 1)
    many = verona.run(locating.near, replace(wanted, most=99))
    assert [item.id for _, item in many.posts] == ["post-8", "post-6", "post-4", "post-2"]
    own = verona.run(locating.near, replace(wanted, actor=BENVOLIO, most=1))
    assert own.posts[0][1].id == "post-9"


def test_who_looks_too_long_for_what_is_near_looks_no_more(verona: Verona, monkeypatch: pytest.MonkeyPatch) -> None:
    if verona.run(lambda tx: tx.connection.dialect.name) == "postgresql":
        pytest.skip("that a statement takes long can only be arranged in SQLite")
    verona.posts(BENVOLIO, "here", INSIDE)
    verona.run(_placed)
    wanted = locating.Near(actor=ROMEO, circle=SQUARE.circle, most=3)
    monkeypatch.setattr(locating, "NEAR_SECONDS", -1.0)
    monkeypatch.setattr("microblog.store.search._PROGRESS_STEPS", 1)
    with pytest.raises(ResourceConstraint, match="too long"):
        verona.run(locating.near, wanted)
    monkeypatch.undo()
    assert len(verona.run(locating.near, wanted).posts) == 1


def _placed(tx: Transaction) -> None:
    """As the indexer of search does it."""
    from sqlalchemy import insert

    from microblog.store import tables

    node = tx.nodes.find(BENVOLIO, MICROBLOG)
    assert node is not None
    for item in tx.items.newest(node.key, 99):
        entry = atom.read_text(item.payload)
        where = entry.location if entry is not None else None
        assert isinstance(where, Location) and where.latitude is not None and where.longitude is not None
        values = {"item": item.key, "latitude": round(where.latitude * 1e6), "longitude": round(where.longitude * 1e6)}
        tx.connection.execute(insert(tables.item_places), values)


def test_very_many_rules_are_read_piece_by_piece(verona: Verona, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "READ_AT_ONCE", 2)
    for number in range(5):
        verona.rule(f"when #feast{number} appears then tell me")
    verona.steps()
    for number in range(5):
        verona.posts(BENVOLIO, f"#feast{number}")
    verona.watched = Watched()
    assert verona.run(acting.step, verona.watched, atom.read_geoloc) and len(verona.watched) == 2
    assert [number for _, number, _ in verona.fired()] == [1, 2, 3, 4, 5]
    verona.watched.ended(verona.run(lambda tx: [kept.key for kept in tx.rules.of(account_of(tx, ROMEO).key)]))
    assert len(verona.watched) == 0


def test_a_clock_that_is_set_back_loses_no_rule(verona: Verona) -> None:
    verona.time.advance(1000)
    verona.rule("when #first appears then tell me")
    verona.steps()
    verona.time.clock.now = lambda: START  # type: ignore[method-assign]  # it is set back
    verona.rule("when #second appears then tell me")
    verona.posts(BENVOLIO, "#second")
    verona.posts(BENVOLIO, "#first")
    assert [number for _, number, _ in verona.fired()] == [2, 1]
