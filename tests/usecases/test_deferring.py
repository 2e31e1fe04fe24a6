"""Lines that wait, and what somebody missed."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from microblog.commands.delivery import read_waiting
from microblog.model.item import Audience
from microblog.model.node import MICROBLOG
from microblog.model.query import parse
from microblog.model.uri import ItemAddress
from microblog.model.when import DEFAULT, MINUTES_MAX, Pace, Policy, Show, When, best, read_when, show_of
from microblog.store.database import Database, Transaction
from microblog.usecases import chatting, deferring, muting, reading
from microblog.usecases.chatting import HELD_DAYS, HELD_MAX, Line, Reader, Spoken, Told
from microblog.usecases.deferring import Missed
from tests.conftest import Time
from tests.usecases.pubsub import BENVOLIO, JULIET, ROMEO, an_account, retract, subscribe
from tests.xep import parlour

MINUTE = 60
DAY = 86_400


@pytest.fixture
def key(database: Database) -> int:
    """Benvolio's account; he follows Romeo."""

    def make(tx: Transaction) -> int:
        an_account(tx)
        an_account(tx, BENVOLIO)
        subscribe(tx, BENVOLIO)
        account = tx.accounts.get("benvolio")
        assert account is not None
        return account.key

    return database.run(make)


def publish(tx: Transaction, item_id: str) -> None:
    parlour.publish(tx, ROMEO, "Ay me", item_id=item_id)


def address(item_id: str) -> ItemAddress:
    return ItemAddress(ROMEO, MICROBLOG, item_id)


def tells(database: Database, key: int, item_id: str, hold: str = "", **more: Any) -> list[Line]:
    reader = Reader(key=key, account=BENVOLIO, hold=hold, mark=more.pop("mark", ""))
    values: dict[str, Any] = {"copies": (), "answered": None, "audience": Audience.PUBLIC, "recent": True} | more
    told = Told(address=address(item_id), readers=(reader,), write=lambda line, to: "", **values)
    (lines,) = database.run(chatting.tell, [told]).lines
    return list(lines)


def due(database: Database, key: int, most: int = 100) -> list[tuple[str, str]]:
    found = database.run(deferring.due, key, BENVOLIO, most)
    return [(one.held.kind, one.item.id if one.item else one.held.text) for one in found]


def gives(database: Database, key: int) -> list[int]:
    """Give all that is due; the numbers of the lines."""
    found = database.run(deferring.due, key, BENVOLIO, 100)
    reader = Reader(key=key, account=BENVOLIO)
    wanted: list[tuple[int, Told | Spoken | None]] = []
    for one in found:
        if one.address is None:
            wanted.append((one.held.key, Spoken(readers=(reader,), text=one.held.text, write=lambda line, to: "")))
        elif one.is_there:
            told = Told(
                address=one.address,
                copies=(),
                answered=None,
                audience=Audience.PUBLIC,
                readers=(reader,),
                recent=True,
                write=lambda line, to: "",
            )
            wanted.append((one.held.key, told))
        else:
            wanted.append((one.held.key, None))
    lines = database.run(deferring.give, key, wanted)
    assert len(lines.lines) == len(wanted)
    assert all(not some for some in database.run(deferring.give, key, wanted).lines), "none is given twice"
    return [line.number for some in lines.lines for line in some]


def comes_back(database: Database, name: str) -> Missed | None:
    returned = database.run(deferring.look, name)
    return None if returned is None else database.run(deferring.arrive, returned)


# waiting


def test_a_line_waits_once_and_gets_its_number_when_it_is_given(database: Database, key: int) -> None:
    for name in ("a", "b"):
        database.run(publish, name)
    assert tells(database, key, "b", "post") == [] == tells(database, key, "a", "mention")
    assert tells(database, key, "b", "post") == [], "again"
    assert tells(database, key, "b") == [], "it comes when it is given"
    assert due(database, key) == [("post", "b"), ("mention", "a")]
    assert gives(database, key) == [1, 2]
    assert due(database, key) == []
    (again,) = tells(database, key, "b")
    assert again.again


def test_what_is_urgent_does_not_wait_any_more(database: Database, key: int) -> None:
    database.run(publish, "a")
    tells(database, key, "a", "track")
    (line,) = tells(database, key, "a", urgent=True)
    assert line.number == 1 and due(database, key) == []
    assert tells(database, key, "a", once=True) == []


def test_a_copy_of_what_waits_does_not_wait_too(database: Database, key: int) -> None:
    database.run(publish, "a")
    tells(database, key, "a", "post")
    assert tells(database, key, "x", "post", copies=(address("a"),)) == []
    assert due(database, key) == [("post", "a")]


def test_what_is_gone_is_passed_over(database: Database, key: int) -> None:
    for name in ("a", "b", "c"):
        database.run(publish, name)
        tells(database, key, name, "post")
    database.run(retract, "b")
    assert [kind for kind, _ in due(database, key)] == ["post"] * 3
    assert gives(database, key) == [1, 2]
    assert not database.run(lambda tx: tx.deferred.waits(key))


def test_what_is_shown_in_an_answer_is_settled(database: Database, key: int) -> None:
    for name in ("a", "b"):
        database.run(publish, name)
        tells(database, key, name, "post")
    answer = chatting.Answered(
        account=key, by=BENVOLIO, ids=("m",), became=None, done=None, posts=(address("a"),), answered=()
    )
    database.run(chatting.answered, answer)
    assert due(database, key) == [("post", "b")]


def test_who_has_read_everything_waits_for_nothing(database: Database, key: int) -> None:
    for name in ("a", "b"):
        database.run(publish, name)
        tells(database, key, name, "post")
    account = database.run(lambda tx: tx.accounts.get("benvolio"))
    assert account is not None
    database.run(reading.catch_up, reading.CatchUp(account=account, most=1, since=time_before(database)))
    assert due(database, key) == [("post", "b")]
    database.run(reading.read_all, account, reading.HOME)
    assert due(database, key) == []


def time_before(database: Database) -> datetime:
    return database.run(lambda tx: tx.now) - timedelta(hours=1)


def test_lines_that_nobody_fetches_are_forgotten(database: Database, key: int, time: Time) -> None:
    database.run(publish, "a")
    tells(database, key, "a", "post")
    time.advance((HELD_DAYS - 1) * DAY)
    database.run(chatting.forget, 100)
    assert len(due(database, key)) == 1
    time.advance(2 * DAY)
    assert database.run(chatting.forget, 100) == 1
    assert due(database, key) == []


def test_of_very_many_the_newest_wait(database: Database, key: int) -> None:
    def many(tx: Transaction) -> None:
        for number in range(HELD_MAX + 2):
            chatting.hold(tx, [(key, "line", str(number))], None)

    database.run(many)
    assert due(database, key, 1) == [("line", "2")]
    assert database.run(lambda tx: tx.deferred.counts(key, 0)) == {"line": HELD_MAX}


def test_a_digest_counts_what_waits_once(database: Database, key: int) -> None:
    for name, kind in (("a", "post"), ("b", "mention"), ("c", "track")):
        database.run(publish, name)
        tells(database, key, name, kind)
    database.run(chatting.hold, [(key, "line", "Juliet is near")], None)
    assert database.run(deferring.announce, key) == Missed(posts=2, mentions=1, tracks=1)
    assert due(database, key) == [("line", "Juliet is near")], "what shows no post is due as ever"
    assert not database.run(deferring.announce, key)
    database.run(publish, "d")
    tells(database, key, "d", "post")
    assert due(database, key) == [("line", "Juliet is near"), ("post", "d")]
    everything = frozenset(Audience)
    page = database.run(deferring.waiting, key, BENVOLIO, 2, 0, everything)
    assert [one.item.id for one in page if one.item] == ["a", "b"]
    page = database.run(deferring.waiting, key, BENVOLIO, 9, page[-1].held.key, everything)
    assert [one.item.id for one in page if one.item] == ["c", "d"]


def test_keys_are_never_used_again(database: Database, key: int) -> None:
    """What the digest counted is known by the last key: a new line must not be taken for an old one."""
    database.run(publish, "a")
    tells(database, key, "a", "post")
    database.run(deferring.announce, key)
    database.run(lambda tx: tx.deferred.settle_all(key))
    database.run(publish, "b")
    tells(database, key, "b", "post")
    assert due(database, key) == [("post", "b")]


# coming and going


def test_what_somebody_missed_is_counted_when_they_come(database: Database, key: int, time: Time) -> None:
    assert comes_back(database, "benvolio") is None
    database.run(publish, "before")
    time.advance(MINUTE)
    database.run(deferring.leave, key)
    time.advance(MINUTE)
    database.run(publish, "a")
    database.run(publish, "b")
    time.advance(MINUTE)
    assert comes_back(database, "benvolio") == Missed(posts=2, mentions=0, tracks=0)
    assert comes_back(database, "benvolio") is None


def test_absences_of_those_who_are_gone_for_good(database: Database, key: int) -> None:
    assert comes_back(database, "nobody") is None
    database.run(deferring.leave, key)
    assert database.run(lambda tx: tx.deferred.absence(key)) is None, "who never came does not leave"
    comes_back(database, "benvolio")
    database.run(lambda tx: tx.accounts.remove(tx.accounts.get("benvolio")))
    database.run(deferring.leave, key)
    assert database.run(lambda tx: tx.deferred.absence(key)) is None


def test_after_a_crash_people_were_there_until_they_were_seen_last(database: Database, key: int, time: Time) -> None:
    comes_back(database, "benvolio")
    time.advance(5 * MINUTE)
    database.run(deferring.still_there)
    time.advance(MINUTE)
    database.run(publish, "a")
    tells(database, key, "a")
    time.advance(MINUTE)
    database.run(deferring.begin)
    database.run(publish, "b")
    time.advance(MINUTE)
    assert comes_back(database, "benvolio") == Missed(posts=1, mentions=0, tracks=0), "a was shown"


def test_an_account_that_is_removed_while_it_comes(database: Database, key: int) -> None:
    returned = database.run(deferring.look, "benvolio")
    assert returned is not None
    database.run(lambda tx: tx.accounts.remove(tx.accounts.get("benvolio")))
    assert database.run(deferring.arrive, returned) is None
    assert database.run(lambda tx: tx.deferred.absence(key)) is None


def test_matches_of_tracks_are_counted_and_what_they_have_of_posts_elsewhere_is_shown(
    database: Database, key: int, time: Time
) -> None:
    comes_back(database, "benvolio")
    time.advance(MINUTE)
    database.run(deferring.leave, key)
    time.advance(MINUTE)
    abroad = ItemAddress(JULIET, MICROBLOG, "x")
    payload = "<entry xmlns='http://www.w3.org/2005/Atom'><title>The lift is back</title></entry>"

    def match(tx: Transaction) -> None:
        query = parse("lift", person=lambda name: None, place=lambda name: None)
        track = tx.tracks.add(BENVOLIO, query, account=key, subid="s")
        tx.tracks.hit([track.key], abroad, told=True, payload=payload)

    database.run(match)
    assert comes_back(database, "benvolio") == Missed(posts=0, mentions=0, tracks=1)
    database.run(chatting.hold, [(key, "track", "[~lift]")], abroad)
    (waiting,) = database.run(deferring.due, key, BENVOLIO, 9)
    assert waiting.payload == payload and waiting.held.text == "[~lift]"
    post = read_waiting(waiting)
    assert post is not None and post.entry.title == "The lift is back" and post.address == abroad


# what they want


def test_pauses_end_by_themselves(database: Database, key: int, time: Time) -> None:
    now = time.now()
    assert database.run(deferring.pause, key, "#ball", None)
    assert database.run(deferring.pause, key, str(ROMEO), now + timedelta(hours=2))
    assert database.run(deferring.pauses, key) == {"#ball": None, str(ROMEO): now + timedelta(hours=2)}
    assert database.run(deferring.pause, key, str(ROMEO), now + timedelta(hours=1)), "another time takes its place"
    time.advance(3600)
    assert database.run(deferring.pauses, key) == {"#ball": None}
    assert database.run(deferring.resume, key, "#ball")
    assert not database.run(deferring.resume, key, "#ball")


def test_pauses_are_bounded(database: Database, key: int, time: Time) -> None:
    until = time.now() + timedelta(hours=1)
    for number in range(deferring.PAUSES_MAX):
        assert database.run(deferring.pause, key, f"#{number}", until)
    assert not database.run(deferring.pause, key, "#more", None)
    assert database.run(deferring.pause, key, "#1", None), "what is there can be changed"
    time.advance(3601)
    assert database.run(deferring.pause, key, "#more", None)


# when


@pytest.mark.parametrize(
    ("text", "when"),
    [
        (None, DEFAULT),
        ("", DEFAULT),
        ("nonsense", DEFAULT),
        ("away 15", DEFAULT),
        ("away 5", When(Policy.AWAY, 5)),
        ("away 0", When(Policy.AWAY, 1)),
        ("away 9999", When(Policy.AWAY, MINUTES_MAX)),
        ("away 99999999999999999999", DEFAULT),
        ("away ٣", DEFAULT),
        ("online", When(Policy.ONLINE)),
        ("always", When(Policy.ALWAYS)),
        ("never", When(Policy.NEVER)),
    ],
)
def test_what_was_kept_is_read(text: str | None, when: When) -> None:
    assert read_when(text) == when
    assert read_when(str(when)) == when


@pytest.mark.parametrize("policy", list(Policy))
def test_paces(policy: Policy) -> None:
    paces = {show: When(policy).pace(show) for show in Show}
    assert When(policy).pace(None) is Pace.NOTHING
    here = Pace.NOTHING if policy is Policy.NEVER else Pace.NOW
    assert paces[Show.ONLINE] is paces[Show.CHAT] is here
    assert paces[Show.DND] is {Policy.ALWAYS: Pace.NOW, Policy.NEVER: Pace.NOTHING}.get(policy, Pace.URGENT)
    assert paces[Show.AWAY] is paces[Show.XA]


def test_the_best_presence_counts() -> None:
    assert best([]) is None
    assert best([Show.DND, Show.XA]) is Show.XA
    assert best([Show.AWAY, Show.ONLINE, Show.DND]) is Show.ONLINE
    assert show_of(" dnd ") is Show.DND
    assert show_of("sleeping") is show_of("online") is show_of("") is Show.ONLINE


def test_what_is_muted_while_it_waits_does_not_come(database: Database, key: int) -> None:
    for name in ("a", "b"):
        database.run(publish, name)
        tells(database, key, name, "post")
    thread = muting.MuteThis(account=key, actor=BENVOLIO, what=address("a"))
    database.run(muting.mute, thread)
    assert due(database, key) == [("post", ""), ("post", "b")]
    assert gives(database, key) == [1]
    tells(database, key, "a", "post")
    database.run(muting.unmute, thread)
    database.run(muting.mute, muting.MuteThis(account=key, actor=BENVOLIO, what=ROMEO))
    assert gives(database, key) == []
