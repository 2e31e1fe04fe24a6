"""Programs: what they are told, in which order, how often, and what they may not know."""

import json
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from microblog.model.access import audiences_allowed
from microblog.model.errors import BadRequest, Conflict, Forbidden, ItemNotFound, ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.program import EventKind, Position, Program, ProgramEvent, Source, read_cursor
from microblog.model.uri import node_uri
from microblog.store import tables
from microblog.store.transaction import Transaction
from microblog.usecases import calling, forgetting, informing, muting, owning
from microblog.usecases.informing import EventPage, Make, Next
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    ROMEO,
    a_contact,
    an_account,
    configure,
    retract,
    subscribe,
)
from tests.usecases.timelines import arrives, payload_of, writes

MERCUTIO = JID.parse("mercutio@montague.example")
ABROAD = audiences_allowed("capulet.example", local_domain="montague.example")


def a_program(tx: Transaction, *sources: str, of: JID = BENVOLIO, name: str = "ci", start: bool = False) -> Program:
    account = tx.accounts.get(of.localpart)
    assert account is not None
    wanted = frozenset(map(Source, sources or ("home",)))
    return informing.make(tx, Make(account=account, name=name, sources=wanted, start=start))


def page(tx: Transaction, program: Program, limit: int = 100, **more: Any) -> EventPage:
    return informing.next_events(tx, Next(program=program.key, limit=limit, **more))


def told(tx: Transaction, program: Program, **more: Any) -> list[str]:
    """Everything behind what it acknowledged, as short words."""
    return [words(event) for event in events(tx, program, **more)]


def events(tx: Transaction, program: Program, limit: int = 100, **more: Any) -> list[ProgramEvent]:
    found: list[ProgramEvent] = []
    after = None
    while True:
        one = page(tx, program, limit, after=after, **more)
        found += one.events
        after = one.position
        if not one.more:
            return found


def words(event: ProgramEvent) -> str:
    what = event.item_id or event.payload
    return f"{event.source} {event.kind} {what}".strip()


def people(tx: Transaction) -> None:
    for jid in (ROMEO, BENVOLIO, MERCUTIO):
        an_account(tx, jid)
    subscribe(tx, BENVOLIO)


# what it is told


def test_a_program_is_told_from_now_on_or_from_the_start(tx: Transaction) -> None:
    people(tx)
    writes(tx, ROMEO, "window")
    now, start = a_program(tx), a_program(tx, name="old", start=True)
    writes(tx, ROMEO, "sun")
    assert told(tx, now) == ["home published sun"]
    assert told(tx, start) == ["home published window", "home published sun"]


def test_each_event_comes_once_from_the_first_source_that_has_it(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home", "mentions", "own", "local")
    writes(tx, BENVOLIO, "mine")
    writes(tx, ROMEO, "sun")
    writes(tx, ROMEO, "named", mentions=(BENVOLIO,))
    writes(tx, MERCUTIO, "mab")
    arrives(tx, JULIET, "name")
    assert told(tx, program) == [
        "own published mine",
        "home published sun",
        "mentions published named",
        "local published mab",
        "home published name",
    ]


@pytest.mark.parametrize(
    ("source", "those"),
    [
        ("own", ["mine"]),
        ("mentions", ["named"]),
        ("home", ["sun", "named"]),
        ("local", ["mine", "sun", "named", "mab"]),
    ],
)
def test_each_source_alone(tx: Transaction, source: str, those: list[str]) -> None:
    people(tx)
    program = a_program(tx, source)
    writes(tx, BENVOLIO, "mine")
    writes(tx, ROMEO, "sun")
    writes(tx, ROMEO, "named", mentions=(BENVOLIO,))
    writes(tx, MERCUTIO, "mab")
    assert told(tx, program) == [f"{source} published {one}" for one in those]


def test_an_answer_to_a_post_is_told_once(tx: Transaction) -> None:
    people(tx)
    post = writes(tx, BENVOLIO, "root")
    program = a_program(tx, "mentions")
    thread = node_uri(BENVOLIO, COMMENTS_PREFIX + post.id)
    writes(tx, ROMEO, "answer", mentions=(BENVOLIO,), thread=thread, copy=lambda *_: "")
    assert told(tx, program) == ["mentions published answer"]


def test_what_a_followed_tag_is_on_is_home(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home")
    account = tx.accounts.get("benvolio")
    assert account is not None
    values = {"account_id": account.key, "tag": "verona", "created": tx.now}
    tx.connection.execute(insert(tables.followed_tags), values)
    writes(tx, MERCUTIO, "mab")
    writes(tx, MERCUTIO, "brawl", tags=("verona",))
    assert told(tx, program) == ["home published brawl"]


def test_what_was_written_before_its_owner_followed_is_no_news(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home")
    hours = 60
    arrives(tx, JULIET, "long ago", 50 * hours)
    arrives(tx, JULIET, "just before", 20 * hours)
    # However late it comes, what was written since is news.
    tx.now += timedelta(days=20)
    arrives(tx, JULIET, "late", -1)
    assert told(tx, program) == ["home published just before", "home published late"]


def test_neither_the_feed_itself_nor_other_nodes_are_posts(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home", "own", "local")
    writes(tx, ROMEO, "0")
    writes(tx, BENVOLIO, "mood", node="http://jabber.org/protocol/mood")
    assert told(tx, program) == []


def test_an_edit_is_told_and_what_it_replaced_is_not_any_more(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx)
    writes(tx, ROMEO, "sun", 5)
    (first,) = events(tx, program)
    writes(tx, ROMEO, "sun", 1, title="The sun")
    (second,) = events(tx, program)
    assert second.item is not None and second.item.payload == payload_of("The sun")
    assert second.id != first.id and second.cursor > first.cursor


def test_what_went_is_told_as_gone(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home", "local")
    writes(tx, ROMEO, "sun")
    retract(tx, "sun")
    (event,) = events(tx, program)
    assert (event.kind, event.item_id, event.item, event.author) == (EventKind.RETRACTED, "sun", None, ROMEO)
    owning.purge(tx, owning.Purge(service=ROMEO, node=MICROBLOG, actor=ROMEO))
    assert told(tx, program) == ["home retracted sun", "home purged"]


# what it may see


def test_what_its_owner_may_not_see_is_not_told(tx: Transaction) -> None:
    people(tx)
    for jid in (BENVOLIO, MERCUTIO):
        a_program(tx, "home", "local", "mentions", of=jid)
    writes(tx, ROMEO, "friends", audience=Audience.FOLLOWERS)
    writes(tx, ROMEO, "secret", audience=Audience.DIRECT, readers=(BENVOLIO,), mentions=(BENVOLIO,))
    writes(tx, ROMEO, "house", audience=Audience.LOCAL)
    benvolios, mercutios = (informing.find(tx, account(tx, jid), "ci") for jid in (BENVOLIO, MERCUTIO))
    assert told(tx, benvolios) == ["home published friends", "mentions published secret", "home published house"]
    assert told(tx, mercutios) == ["local published house"]
    for item_id in ("friends", "secret", "house"):
        retract(tx, item_id)
    assert told(tx, mercutios) == ["local retracted house"]
    assert told(tx, benvolios) == ["home retracted friends", "home retracted house"]


def test_what_is_for_this_domain_does_not_go_elsewhere(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home", "local", "calls")
    writes(tx, ROMEO, "house", audience=Audience.LOCAL)
    writes(tx, ROMEO, "sun")
    calling.call(tx, program.account, "ci", {"n": 1, "audience": "local"})
    calling.call(tx, program.account, "ci", {"n": 2, "audience": "public"})
    calling.call(tx, program.account, "ci", {"n": 3})
    assert len(told(tx, program)) == 5
    assert told(tx, program, audiences=ABROAD) == [
        "home published sun",
        'calls called {"n": 2, "audience": "public"}',
        'calls called {"n": 3}',
    ]
    retract(tx, "house")
    assert told(tx, program, audiences=ABROAD)[0] == "home published sun"


def test_rights_are_asked_when_it_is_told(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx)
    writes(tx, ROMEO, "friends", audience=Audience.FOLLOWERS)
    assert told(tx, program)
    configure(tx, access_model="presence")
    assert told(tx, program) == []
    a_contact(tx, ROMEO, BENVOLIO, "from")
    assert told(tx, program)


def test_the_program_of_a_disabled_account_is_told_nothing(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx)
    tx.accounts.set_disabled(account(tx, BENVOLIO), True)
    with pytest.raises(Forbidden):
        page(tx, program)


# cursors


def test_what_was_acknowledged_does_not_come_again_and_the_rest_does(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx)
    for n in range(5):
        writes(tx, ROMEO, f"post{n}")
    first = page(tx, program, 3)
    assert [event.item_id for event in first.events] == ["post0", "post1", "post2"] and first.more
    assert [event.item_id for event in page(tx, program, 3).events] == ["post0", "post1", "post2"]
    assert [event.item_id for event in page(tx, program, 3, after=first.position).events] == ["post3", "post4"]
    informing.acknowledge(tx, program.key, first.events[1].cursor)
    assert [event.item_id for event in page(tx, program).events] == ["post2", "post3", "post4"]
    # An acknowledgement that is late takes nothing back.
    moved = informing.acknowledge(tx, program.key, first.events[0].cursor)
    assert moved.position == first.events[1].cursor and moved.acknowledged == tx.now


def test_events_have_the_same_ids_whenever_they_come(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home", "calls")
    writes(tx, ROMEO, "one")
    calling.call(tx, program.account, "ci", {})
    writes(tx, ROMEO, "two")
    whole = [event.id for event in events(tx, program)]
    assert len(set(whole)) == 3
    assert whole == [event.id for event in events(tx, program, limit=1)]


def test_cursors_are_texts_that_others_cannot_make_up() -> None:
    assert read_cursor(str(Position(3, 2, 1))) == Position(3, 2, 1)
    for text in ("", "1", "1.2", "1.2.3.4", "-1.0.0", "01.0.0", "1.2.x", "\u0661.0.0", "1.2.3\n", "9" * 19 + ".0.0"):
        assert read_cursor(text) is None


def test_a_long_log_of_others_is_looked_through_in_stretches(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    people(tx)
    program = a_program(tx)
    node = tx.nodes.find(MERCUTIO, MICROBLOG)
    assert node is not None
    for n in range(2500):
        tx.events.record(node.key, "published", item_id=f"gone{n}")
    writes(tx, ROMEO, "sun")
    first = page(tx, program)
    assert first.events == () and first.more
    second = page(tx, program, after=first.position)
    assert [event.item_id for event in second.events] == ["sun"] and not second.more
    # Who has nothing unacknowledged need not look through that again.
    informing.pass_over(tx, program.key, first.position)
    assert [event.item_id for event in page(tx, program).events] == ["sun"]


def test_calls_and_matches_wait_for_what_happened_before(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home", "calls")
    writes(tx, ROMEO, "one")
    writes(tx, ROMEO, "two")
    tx.now += timedelta(seconds=1)
    calling.call(tx, program.account, "ci", {"n": 1})
    tx.now += timedelta(seconds=1)
    writes(tx, ROMEO, "three")
    expected = ["home published one", "home published two", 'calls called {"n": 1}', "home published three"]
    for limit in (1, 2, 3, 100):
        assert told(tx, program, limit=limit) == expected


# matches


def a_hit(tx: Transaction, owner: JID, service: JID, item_id: str, *, payload: str = "", number: int = 1) -> None:
    """As a track that matched writes it."""
    values = {
        "owner": str(owner),
        "account_id": account(tx, owner).key,
        "number": number,
        "query": "{}",
        "deliver": True,
    }
    key = tx.connection.execute(insert(tables.tracks), values | {"subid": f"{number}", "created": tx.now})
    hit = {"service": str(service), "node": MICROBLOG, "item_id": item_id, "payload": payload, "created": tx.now}
    track = key.inserted_primary_key
    assert track is not None
    tx.connection.execute(insert(tables.track_hits), hit | {"track_id": track[0], "told": True})


def test_matches_are_told_with_their_track(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "track")
    writes(tx, MERCUTIO, "mab")
    writes(tx, MERCUTIO, "friends", audience=Audience.FOLLOWERS)
    a_hit(tx, BENVOLIO, MERCUTIO, "mab", number=1)
    a_hit(tx, BENVOLIO, MERCUTIO, "friends", number=2)
    a_hit(tx, BENVOLIO, MERCUTIO, "gone", number=3)
    a_hit(tx, BENVOLIO, JULIET, "name", number=4, payload=payload_of("name"))
    a_hit(tx, ROMEO, MERCUTIO, "mab")
    found = events(tx, program)
    assert [(event.item_id, event.track, event.author) for event in found] == [
        ("mab", 1, MERCUTIO),
        ("name", 4, JULIET),
    ]
    assert found[1].item is not None and found[1].item.payload == payload_of("name")
    for event in found:
        informing.acknowledge(tx, program.key, event.cursor)
    assert told(tx, program) == []


def test_a_new_program_is_not_told_of_old_matches(tx: Transaction) -> None:
    people(tx)
    writes(tx, MERCUTIO, "mab")
    a_hit(tx, BENVOLIO, MERCUTIO, "mab")
    assert told(tx, a_program(tx, "track")) == []
    assert told(tx, a_program(tx, "track", name="old", start=True)) == ["track matched mab"]


# calls


def test_calls_wait_until_they_are_acknowledged_and_then_are_gone(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "calls")
    assert not calling.call(tx, program.account, "other", {})
    assert calling.exists(tx, program.account, "ci") and not calling.exists(tx, program.account, "other")
    for n in range(3):
        assert calling.call(tx, program.account, "ci", {"n": n})
    found = events(tx, program)
    assert [event.payload for event in found] == ['{"n": 0}', '{"n": 1}', '{"n": 2}']
    informing.acknowledge(tx, program.key, found[1].cursor)
    assert tx.programs.count_calls(program.account, "ci") == 1
    assert told(tx, program) == ['calls called {"n": 2}']


def test_calls_are_for_one_program_of_one_account(tx: Transaction) -> None:
    people(tx)
    mine, other = a_program(tx, "calls"), a_program(tx, "calls", name="other")
    theirs = a_program(tx, "calls", of=ROMEO)
    calling.call(tx, mine.account, "ci", {})
    assert (len(told(tx, mine)), len(told(tx, other)), len(told(tx, theirs))) == (1, 0, 0)


def test_too_many_calls_lose_the_oldest_and_that_is_said(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "WAITING_MAX", 3)
    people(tx)
    program = a_program(tx, "calls")
    for n in range(5):
        assert calling.call(tx, program.account, "ci", {"n": n})
    found = events(tx, program, told_gap=False, limit=100)
    assert [(event.payload, event.gap) for event in found] == [
        ('{"n": 2}', True),
        ('{"n": 3}', False),
        ('{"n": 4}', False),
    ]
    assert not any(event.gap for event in events(tx, program, told_gap=True))
    informing.acknowledge(tx, program.key, found[0].cursor, heard_gap=found[0].gap)
    assert not any(event.gap for event in events(tx, program))


def test_a_call_that_is_too_long_is_none(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "calls")
    assert not calling.call(tx, program.account, "ci", {"text": "x" * calling.PAYLOAD_MAX_CHARACTERS})
    assert calling.call(tx, program.account, "ci", {"text": "\x00\ud800￿"})
    (event,) = events(tx, program)
    assert event.payload.isascii() and event.payload.isprintable()


# what is forgotten


def test_if_the_log_does_not_reach_back_the_next_event_says_so(tx: Transaction) -> None:
    people(tx)
    program, idle = a_program(tx), a_program(tx, name="idle")
    writes(tx, ROMEO, "old")
    (event,) = events(tx, idle)
    informing.acknowledge(tx, idle.key, event.cursor)
    tx.now += timedelta(days=forgetting.DAYS + 1)
    forgetting.forget(tx)
    writes(tx, ROMEO, "new")
    assert [(event.item_id, event.gap) for event in events(tx, program)] == [("new", True)]
    assert [(event.item_id, event.gap) for event in events(tx, idle)] == [("new", False)]


def test_who_acknowledges_what_came_before_a_gap_hears_of_it_still(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx)
    for number in range(3):
        writes(tx, ROMEO, f"old{number}")
    (event,) = page(tx, program, 1).events
    tx.now += timedelta(days=forgetting.DAYS + 1)
    forgetting.forget(tx)
    writes(tx, ROMEO, "new")
    assert informing.acknowledge(tx, program.key, event.cursor, heard_gap=event.gap).missed
    (later,) = events(tx, program)
    assert later.item_id == "new" and later.gap
    assert not informing.acknowledge(tx, program.key, later.cursor, heard_gap=later.gap).missed


def test_calls_that_nobody_comes_for_are_forgotten(tx: Transaction) -> None:
    people(tx)
    program, other = a_program(tx, "calls"), a_program(tx, "calls", name="other")
    calling.call(tx, program.account, "ci", {"n": 1})
    tx.now += timedelta(days=informing.CALL_DAYS + 1)
    calling.call(tx, program.account, "ci", {"n": 2})
    calling.call(tx, program.account, "other", {"n": 3})
    forgetting.forget(tx)
    assert [(event.payload, event.gap) for event in events(tx, program)] == [('{"n": 2}', True)]
    assert [(event.payload, event.gap) for event in events(tx, other)] == [('{"n": 3}', False)]


# programs


def account(tx: Transaction, jid: JID) -> Any:
    return tx.accounts.get(jid.localpart)


def test_a_program_is_made_once_and_may_get_other_sources(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home")
    writes(tx, ROMEO, "sun")
    assert a_program(tx, "home", start=True) == program
    changed = a_program(tx, "own", "local")
    assert changed.key == program.key and changed.position == program.position
    assert informing.find(tx, account(tx, BENVOLIO), "ci").sources == {Source.OWN, Source.LOCAL}
    kept = informing.make(tx, Make(account=account(tx, BENVOLIO), name="ci"))
    assert kept.sources == {Source.OWN, Source.LOCAL}


def test_what_is_refused(tx: Transaction) -> None:
    people(tx)
    benvolio = account(tx, BENVOLIO)
    with pytest.raises(BadRequest):
        informing.make(tx, Make(account=benvolio, name="ci"))
    for name in ("", "CI", "a b", "-a", "x" * 65, "é", "a\n"):
        with pytest.raises(BadRequest):
            informing.make(tx, Make(account=benvolio, name=name, sources=frozenset(Source)))
    a_program(tx)
    with pytest.raises(Conflict):
        informing.make(tx, Make(account=benvolio, name="ci", sources=frozenset(Source), url="http://example/"))
    for n in range(informing.PROGRAMS_MAX - 1):
        a_program(tx, name=f"p{n}")
    with pytest.raises(ResourceConstraint):
        a_program(tx, name="more")
    with pytest.raises(ItemNotFound):
        informing.find(tx, account(tx, ROMEO), "ci")


def test_what_is_removed_leaves_nothing_and_may_be_made_anew(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "calls")
    calling.call(tx, program.account, "ci", {})
    informing.remove(tx, account(tx, BENVOLIO), "ci")
    for use in (
        lambda: page(tx, program),
        lambda: informing.acknowledge(tx, program.key, Position()),
        lambda: informing.remove(tx, account(tx, BENVOLIO), "ci"),
    ):
        with pytest.raises(ItemNotFound):
            use()
    informing.pass_over(tx, program.key, Position(1, 1, 1))
    assert told(tx, a_program(tx, "calls")) == []


def test_an_account_takes_its_programs_with_it(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "calls")
    calling.call(tx, program.account, "ci", {})
    tx.accounts.remove(account(tx, BENVOLIO))
    assert tx.programs.get(program.key) is None
    assert tx.programs.count_calls(program.account, "ci") == 0


def test_a_clock_that_was_set_back_loses_nothing(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home", "calls")
    calling.call(tx, program.account, "ci", {"n": 1})
    writes(tx, ROMEO, "one")
    tx.now -= timedelta(hours=5)
    writes(tx, ROMEO, "two", 360)
    calling.call(tx, program.account, "ci", {"n": 2})
    for limit in (1, 2, 100):
        assert sorted(told(tx, program, limit=limit)) == [
            'calls called {"n": 1}',
            'calls called {"n": 2}',
            "home published one",
            "home published two",
        ]
    order = [event.item_id for event in events(tx, program, limit=1) if event.item_id]
    assert order == ["one", "two"]


# quiet


def test_whom_and_what_its_owner_muted_is_not_told(tx: Transaction) -> None:
    people(tx)
    program = a_program(tx, "home", "local", "mentions", "track")
    benvolio = account(tx, BENVOLIO).key
    muting.mute(tx, muting.MuteThis(account=benvolio, actor=BENVOLIO, what=MERCUTIO))
    muting.mute(tx, muting.MuteThis(account=benvolio, actor=BENVOLIO, what="quarrel"))
    writes(tx, MERCUTIO, "mab", mentions=(BENVOLIO,))
    writes(tx, ROMEO, "worded", title="I hate a Quarrel")
    writes(tx, ROMEO, "sun")
    a_hit(tx, BENVOLIO, MERCUTIO, "mab")
    a_hit(tx, BENVOLIO, ROMEO, "sun", number=2)
    assert told(tx, program) == ["home published sun", "track matched sun"]
    muting.unmute_all(tx, benvolio)
    assert len(told(tx, program)) == 5


def test_between_those_who_blocked_each_other_nothing_is_told(tx: Transaction) -> None:
    people(tx)
    program, theirs = a_program(tx, "home", "local", "mentions"), a_program(tx, "local", of=ROMEO)
    tx.blocks.add(account(tx, BENVOLIO).key, ROMEO)
    writes(tx, ROMEO, "sun", mentions=(BENVOLIO,))
    writes(tx, BENVOLIO, "mine")
    assert told(tx, program) == ["local published mine"]
    assert told(tx, theirs) == ["local published sun"]


# whatever happens


@pytest.mark.parametrize("seed", range(8))
def test_who_does_what_it_is_told_knows_what_there_is(tx: Transaction, seed: int) -> None:
    """A program that is interrupted all the time, and told in pieces of any size, ends up with what is in the feeds."""
    random = Random(seed)
    people(tx)
    subscribe(tx, BENVOLIO, service=MERCUTIO)
    program = a_program(tx, "home", "calls")
    known: dict[str, str] = {}
    calls: list[int] = []
    cursors: list[Position] = []
    position: Position | None = None
    acknowledged = program.position
    there: dict[str, str] = {}
    made = 0

    def reads() -> bool:
        nonlocal position
        found = page(tx, program, random.choice((1, 2, 3, 50)), after=position)
        for event in found.events:
            if event.kind is EventKind.PUBLISHED:
                assert event.item is not None
                known[event.item_id] = event.item.payload
            elif event.kind is EventKind.RETRACTED:
                known.pop(event.item_id, None)
            else:
                assert event.cursor.call > acknowledged.call, "what was acknowledged came again"
                calls.append(json.loads(event.payload)["n"])
            cursors.append(event.cursor)
        assert sorted(cursors) == cursors, "in order"
        position = found.position
        return bool(found.events) or found.more

    for step in range(120):
        match random.choice(("publish", "edit", "retract", "call", "read", "read", "ack", "come again", "other")):
            case "publish":
                there[f"p{step}"] = payload_of(f"p{step}")
                writes(tx, ROMEO, f"p{step}")
            case "edit" if there:
                item_id = random.choice(sorted(there))
                there[item_id] = payload_of(f"edit {step}")
                writes(tx, ROMEO, item_id, -step / 1000, title=f"edit {step}")
            case "retract" if there:
                item_id = random.choice(sorted(there))
                del there[item_id]
                retract(tx, item_id)
            case "call":
                made += 1
                calling.call(tx, program.account, "ci", {"n": made})
            case "read":
                reads()
            case "ack" if cursors:
                done = random.randrange(len(cursors))
                acknowledged = informing.acknowledge(tx, program.key, cursors[done]).position
                del cursors[: done + 1]
            case "come again":
                position = None
                cursors.clear()
            case "other":
                writes(tx, BENVOLIO, f"mine{step}")
        tx.now += timedelta(milliseconds=random.randrange(3))
    while reads():
        pass
    assert known == there
    assert set(calls) == set(range(1, made + 1)), "each call came"


def test_matches_that_are_forgotten_before_they_were_told_leave_a_gap(tx: Transaction) -> None:
    people(tx)
    program, other = a_program(tx, "track"), a_program(tx, "track", of=ROMEO)
    fresh = a_program(tx, "home", name="fresh")
    for number in range(1, 4):
        writes(tx, MERCUTIO, f"mab{number}")
    a_hit(tx, BENVOLIO, MERCUTIO, "mab1")
    tx.now += timedelta(days=1)
    a_hit(tx, BENVOLIO, MERCUTIO, "mab2", number=2)
    tx.tracks.forget(tx.now, 100)
    assert [(event.item_id, event.gap) for event in events(tx, program)] == [("mab2", True)]
    informing.acknowledge(tx, program.key, events(tx, program)[0].cursor, heard_gap=True)
    # What was acknowledged is missed by nobody.
    tx.tracks.forget(tx.now + timedelta(seconds=1), 100)
    a_hit(tx, BENVOLIO, MERCUTIO, "mab3", number=3)
    (event,) = events(tx, program)
    assert not event.gap
    track = tx.connection.execute(select(func.max(tables.tracks.c.id))).scalar_one()
    tx.tracks.trim(track, 1)
    assert not events(tx, program)[0].gap
    tx.tracks.trim(track, 0)
    a_hit(tx, BENVOLIO, MERCUTIO, "mab2", number=4)
    assert [(event.item_id, event.gap) for event in events(tx, program)] == [("mab2", True)]
    assert not any(known.missed for one in (other, fresh) if (known := tx.programs.get(one.key)))
