"""A block between two nodes: nothing passes, in either direction, and nobody is told that there is one."""

from pathlib import Path

import pytest

from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.database import Transaction
from microblog.usecases import following, subscribing
from tests.federation.nodes import Authority
from tests.federation.twins import CAPULET, MONTAGUE, Talker, Twin, Twins

ROMEO, JULIET = JID("romeo", MONTAGUE), JID("juliet", CAPULET)


class Verona(Twins):
    """Romeo here and Juliet there follow each other; the Nurse is there, too, and follows him."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        super().__init__(authority, folder)
        self.passes(1)
        self.romeo = self.montague.talker("romeo")
        self.juliet = self.capulet.talker("juliet")
        self.nurse = self.capulet.talker("nurse")
        self.romeo.says(f"follow {JULIET}")
        for somebody in (self.juliet, self.nurse):
            somebody.says(f"follow {ROMEO}")
        self.passes(2)
        self.hush()

    def passes(self, seconds: float) -> None:
        """Time, a little at a time."""
        for _ in range(int(seconds * 10)):
            self.time.advance(0.1)
            self.settle()

    def hush(self) -> None:
        for somebody in (self.romeo, self.juliet, self.nurse):
            somebody.hears()

    def told(self, somebody: Talker) -> str:
        """All that has come for somebody."""
        self.passes(2)
        return "\n".join(somebody.hears())


@pytest.fixture
def verona(authority: Authority, tmp_path: Path) -> Verona:
    return Verona(authority, tmp_path)


def followers(twin: Twin, author: JID) -> set[JID]:
    return set(twin.database.run(subscribing.followers, subscribing.Followers(service=author)))


def follows(twin: Twin, reader: JID) -> set[JID]:
    def read(tx: Transaction) -> set[JID]:
        return {one.node.service for one in following.follows(tx, reader) if one.node.name == MICROBLOG}

    return twin.database.run(read)


@pytest.mark.parametrize("whom", [str(JULIET), CAPULET])
def test_nothing_passes(verona: Verona, whom: str) -> None:
    romeo, juliet, nurse = verona.romeo, verona.juliet, verona.nurse
    juliet.says("o gentle romeo")
    assert "gentle" in verona.told(romeo)
    romeo.says(f"block {whom}")
    verona.passes(2)
    left = {JID("nurse", CAPULET)} if whom != CAPULET else set()
    assert followers(verona.montague, ROMEO) == left and follows(verona.montague, ROMEO) == set()
    assert follows(verona.capulet, JULIET) == set() and followers(verona.capulet, JULIET) == set()
    verona.hush()
    romeo.says("but soft")
    assert "but soft" not in verona.told(juliet)
    assert ("but soft" in verona.told(nurse)) is (whom != CAPULET)
    juliet.says("wherefore art thou")
    juliet.says(f"@{ROMEO} deny thy father")
    juliet.says(f"d {ROMEO} refuse thy name")
    assert verona.told(romeo) == ""
    assert "wherefore" not in " ".join(romeo.says("home")) and "deny" not in " ".join(romeo.says("mentions"))
    answer = " ".join(juliet.says(f"follow {ROMEO}"))
    assert answer and ROMEO not in follows(verona.capulet, JULIET)
    assert JULIET not in followers(verona.montague, ROMEO)
    assert "blocked" in " ".join(romeo.says(f"follow {JULIET}"))
    assert "blocked" in " ".join(romeo.says(f"d {JULIET} good night"))
    assert "wherefore" not in " ".join(romeo.says(f"get {JULIET}"))


def test_it_ends(verona: Verona) -> None:
    romeo, juliet = verona.romeo, verona.juliet
    romeo.says(f"block {JULIET}")
    verona.passes(2)
    romeo.says(f"unblock {JULIET}")
    romeo.says(f"follow {JULIET}")
    juliet.says(f"follow {ROMEO}")
    verona.passes(2)
    assert followers(verona.montague, ROMEO) >= {JULIET} and followers(verona.capulet, JULIET) == {ROMEO}
    verona.hush()
    juliet.says("good night, good night")
    assert "good night" in verona.told(romeo)


def test_others_there_read_on(verona: Verona) -> None:
    verona.romeo.says(f"block {JULIET}")
    verona.passes(2)
    verona.hush()
    verona.romeo.says("he jests at scars")
    assert "jests" in verona.told(verona.nurse)
    assert "jests" not in verona.told(verona.juliet)


def test_who_cannot_be_reached_is_told_later(verona: Verona) -> None:
    """That a follow has ended is owed to the other node."""
    verona.part()
    verona.romeo.says(f"block {JULIET}")
    assert followers(verona.montague, ROMEO) == {JID("nurse", CAPULET)}
    verona.meet()
    assert followers(verona.capulet, JULIET) == set() and follows(verona.capulet, JULIET) == set()


def test_what_is_muted_elsewhere_is_not_told(verona: Verona) -> None:
    romeo, juliet = verona.romeo, verona.juliet
    romeo.says("mute nightingale")
    juliet.says("it was the nightingale")
    juliet.says("and not the lark")
    said = verona.told(romeo)
    assert "lark" in said and "nightingale" not in said
    assert "nightingale" not in " ".join(romeo.says("home"))
    romeo.says(f"mute {JULIET} for 1h")
    juliet.says(f"@{ROMEO} believe me, love")
    assert verona.told(romeo) == ""
    assert followers(verona.capulet, JULIET) == {ROMEO}
