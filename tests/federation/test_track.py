"""Track between two nodes: a person on one looks for a word on the other, and is told within a second."""

from pathlib import Path

import pytest

from microblog.model.jid import JID
from microblog.store.database import Transaction
from microblog.usecases import leasing, tracking
from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xep.track import Tracks
from tests.federation.nodes import Authority
from tests.federation.twins import CAPULET, MONTAGUE, Talker, Twin, Twins
from tests.xmltext import read_all

ROMEO = JID("romeo", MONTAGUE)


class Verona(Twins):
    """Romeo and Benvolio here, Juliet there; nobody follows anybody."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        super().__init__(authority, folder)
        self.passes(1)
        self.romeo = self.montague.talker("romeo")
        self.benvolio = self.montague.talker("benvolio")
        self.juliet = self.capulet.talker("juliet")
        for somebody in (self.romeo, self.benvolio, self.juliet):
            somebody.says("stats")

    def passes(self, seconds: float) -> None:
        """Time, a little at a time."""
        for _ in range(int(seconds * 10)):
            self.time.advance(0.1)
            self.settle()

    def restart(self, twin: Twin) -> None:
        """What is in memory of tracks is read again, as after a crash."""
        twin.tracks.stop()
        old = twin.tracks
        new = Tracks(twin.router, twin.database, twin.sessions, twin.lines, twin.clock, twin.tasks, old._wake)
        old.hear = lambda event: None  # type: ignore[method-assign]  # it is dead
        twin.database.listeners.append(new.hear)
        twin.tracks = new
        new.start()
        self.settle()


@pytest.fixture
def verona(authority: Authority, tmp_path: Path) -> Verona:
    return Verona(authority, tmp_path)


def tracks_at(twin: Twin, owner: JID = ROMEO) -> list[tuple[str, str, bool, str]]:
    """What somebody tracks, as a node has it."""

    def read(tx: Transaction) -> list[tuple[str, str, bool, str]]:
        return [(str(one.query), one.service, bool(one.lease), one.problem) for one in tracking.tracks_of(tx, owner)]

    return twin.database.run(read)


def one(lines: list[str]) -> str:
    (line,) = lines
    return line


def test_here(verona: Verona) -> None:
    assert one(verona.benvolio.says('track "lift 2"')) == 'You track ~1 "lift 2" now.'
    verona.romeo.says("Lift 2 is back!")
    verona.passes(1)
    line = one(verona.benvolio.hears())
    assert line.startswith('[~"lift 2"] romeo: Lift 2 is back!') and line.endswith("#1")
    assert one(verona.benvolio.says("tracks")) == 'You track 1:\n~1 "lift 2": 1 so far'
    assert one(verona.benvolio.says("timeline ~1")) == "romeo: Lift 2 is back!  #1"
    assert one(verona.benvolio.says("tracks ~1")) == "romeo: Lift 2 is back!  #1"
    assert one(verona.benvolio.says("tracks all")) == "romeo: Lift 2 is back!  #1"
    assert one(verona.benvolio.says("timeline ~all")) == "romeo: Lift 2 is back!  #1"
    assert one(verona.benvolio.says("tracks ~2")).startswith("You do not track ~2.")
    assert one(verona.benvolio.says("timeline ~2")).startswith("You do not track ~2.")
    assert one(verona.benvolio.says("untrack ~1")) == 'You do not track any more: ~1 "lift 2"'
    verona.romeo.says("Lift 2 is gone!")
    verona.passes(1)
    assert verona.benvolio.hears() == []


def test_a_word_on_the_other_node(verona: Verona) -> None:
    answer = one(verona.romeo.says("track night @capulet.example"))
    assert answer == "You track ~1 night @capulet.example now. capulet.example looks for it, too."
    assert tracks_at(verona.capulet) == [("night", "", False, "")]
    verona.juliet.says("Good night, good night!")
    verona.passes(1)
    line = one(verona.romeo.hears())
    assert line.startswith("[~night] juliet@capulet.example: Good night, good night!")
    verona.juliet.says("A thousand times good night!")
    verona.juliet.says("Good day")
    verona.juliet.says("local: night, between us")
    verona.passes(1)
    assert one(verona.romeo.hears()).startswith("[~night] juliet@capulet.example: A thousand times good night!")
    assert one(verona.romeo.says("tracks")) == "You track 1:\n~1 night @capulet.example: 2 so far"
    read = one(verona.romeo.says("timeline ~1")).split("\n")
    assert [line.partition("!")[0] for line in read] == [
        "juliet@capulet.example: Good night, good night",
        "juliet@capulet.example: A thousand times good night",
    ]
    verona.romeo.says("untrack night")
    verona.passes(1)
    assert tracks_at(verona.capulet) == []
    verona.juliet.says("night")
    verona.passes(1)
    assert verona.romeo.hears() == []


def test_who_follows_too_is_told_once(verona: Verona) -> None:
    verona.romeo.says("follow juliet@capulet.example")
    verona.passes(1)
    verona.romeo.says("track night @capulet.example")
    verona.juliet.says("Good night, good night!")
    verona.passes(1)
    assert len(verona.romeo.hears()) == 1


def test_while_the_other_node_is_away(verona: Verona) -> None:
    verona.part()
    answer = one(verona.romeo.says("track night @capulet.example"))
    assert "You track ~1" in answer
    verona.time.advance(200)
    verona.settle()
    assert tracks_at(verona.montague) == [("night @capulet.example", "capulet.example", False, leasing.UNREACHABLE)]
    verona.romeo.hears()
    assert "cannot be reached" in one(verona.romeo.says("tracks"))
    verona.meet()
    for _ in range(70):
        verona.time.advance(60)
        verona.settle()
    assert tracks_at(verona.montague) == [("night @capulet.example", "capulet.example", True, "")]
    verona.juliet.says("Good night")
    verona.passes(1)
    assert one(verona.romeo.hears()).startswith("[~night]")


def test_what_was_said_while_they_could_not_talk_comes_later(verona: Verona) -> None:
    verona.romeo.says("track night @capulet.example")
    verona.part()
    verona.juliet.says("Good night")
    verona.passes(1)
    assert verona.romeo.hears() == []
    verona.meet()
    assert one(verona.romeo.hears()).startswith("[~night]")


def test_after_a_restart_of_either(verona: Verona) -> None:
    verona.romeo.says("track night @capulet.example")
    verona.benvolio.says("track night")
    verona.restart(verona.capulet)
    verona.restart(verona.montague)
    verona.juliet.says("Good night")
    verona.passes(1)
    assert one(verona.romeo.hears()).startswith("[~night] juliet@capulet.example")
    assert tracks_at(verona.montague)[0][2]


def test_the_lease_is_asked_for_again_every_day(verona: Verona) -> None:
    verona.romeo.says("track night @capulet.example")

    def until(tx: Transaction) -> object:
        (track,) = tracking.tracks_of(tx, ROMEO)
        return track.expires

    before = verona.capulet.database.run(until)
    for _ in range(26):
        verona.time.advance(3600)
        verona.settle()
    after = verona.capulet.database.run(until)
    assert after > before  # type: ignore[operator]  # instants
    assert len(tracks_at(verona.capulet)) == 1


def test_what_is_taken_back_there_is_gone_here(verona: Verona) -> None:
    verona.romeo.says("track night @capulet.example")
    verona.juliet.says("Good night")
    verona.passes(1)
    verona.romeo.hears()
    verona.juliet.says("undo")
    verona.passes(1)

    def read(tx: Transaction) -> int:
        return len(tx.tracks.hits(ROMEO, limit=10))

    assert verona.montague.database.run(read) == 0


# a client at the other node's own


def asks(talker: Talker, type_: str, content: str, to: str) -> Element:
    talker._sends(f"<iq type='{type_}' id='ask' to='{to}'><pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub></iq>")
    written, talker.line.written = talker.line.written, []
    return next(stanza for stanza in read_all(b"".join(written).decode()) if stanza.get("id") == "ask")


def test_a_client_tracks_at_another_node_by_itself(verona: Verona) -> None:
    """Its own server knows nothing of that track and hands the notification on."""
    form = (
        f"<x xmlns='{ns.DATA}' type='submit'><field var='FORM_TYPE'>"
        f"<value>{ns.PUBSUB_SUBSCRIBE_OPTIONS}</value></field>"
        "<field var='microblog#query'><value>night</value></field></x>"
    )
    both = f"node='{ns.TRACK}' jid='{ROMEO}'"
    answer = asks(verona.romeo, "set", f"<subscribe {both}/><options {both}>{form}</options>", CAPULET)
    assert answer.get("type") == "result"
    assert tracks_at(verona.capulet) == [("night", "", False, "")] and tracks_at(verona.montague) == []
    verona.juliet.says("Good night")
    verona.passes(1)
    (told,) = verona.romeo.receives()
    assert told.attributes["from"] == CAPULET and told.find(ns.PUBSUB_EVENT, "event") is not None


# words


def test_words_are_answered_and_never_posted(verona: Verona) -> None:
    benvolio = verona.benvolio
    assert one(benvolio.says("track")).startswith("You track nothing yet.")
    assert "There is nobody called nobody" in one(benvolio.says("track from nobody"))
    assert "No place is called nowhere" in one(benvolio.says("track lift near nowhere 5km"))
    assert "nothing to look for" in one(benvolio.says("track !?"))
    assert one(benvolio.says("untrack lift")).startswith("You do not track lift.")
    assert one(benvolio.says("untrack")) and one(benvolio.says("tracks are nice"))
    assert one(benvolio.says("track urgent lift")) == "You track ~1 lift now."
    assert one(benvolio.says("tracks")) == "You track 1:\n~1 lift: 0 so far, urgent"
    assert one(benvolio.says("track lift")) == "You track that: ~1 lift."
    assert one(benvolio.says("tracking")) == "You track 1:\n~1 lift: 0 so far"
    benvolio.says("track stairs")
    assert one(benvolio.says("stats")).endswith("\nYou track: 2")
    assert one(benvolio.says("track off")) == "You do not track any more: ~1 lift, ~2 stairs"
    assert verona.montague.items(benvolio.jid, ns.MICROBLOG) == []


def test_near_a_place(verona: Verona) -> None:
    assert one(verona.benvolio.says("track near 45.442,10.998 2km")).startswith("You track ~1 near 45.442000,10.998000")
    verona.romeo.says("at 45.443,10.999: Who's there?")
    verona.romeo.says("at 45.500,10.999: And there?")
    verona.passes(1)
    assert "Who's there?" in one(verona.benvolio.hears())


def test_who_is_busy_is_told_of_what_is_urgent(verona: Verona) -> None:
    verona.benvolio.says("track urgent lift")
    verona.benvolio.says("track stairs")
    verona.benvolio._sends("<presence><show>dnd</show></presence>")
    verona.romeo.says("The stairs are closed")
    verona.romeo.says("The lift burns")
    verona.passes(1)
    assert "The lift burns" in one(verona.benvolio.hears())
    verona.benvolio._sends("<presence/>")
    verona.passes(1)
    assert any("The stairs are closed" in line for line in verona.benvolio.hears())


def test_who_was_away_is_told_how_much_was_found(verona: Verona) -> None:
    verona.benvolio.says("track lift")
    verona.benvolio._sends("<presence type='unavailable'/>")
    verona.romeo.says("The lift is back")
    verona.passes(1)
    verona.benvolio.hears()
    verona.benvolio._sends("<presence/>")
    verona.passes(1)
    assert any("1 track" in line for line in verona.benvolio.hears())
    assert "The lift is back" in one(verona.benvolio.says("tracks ~1"))
