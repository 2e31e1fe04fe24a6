"""A node that nobody can call, as behind NAT: whoever is followed from there is heard all the same, and at once."""

from pathlib import Path

import pytest

from tests.federation.nodes import Authority
from tests.federation.twins import CAPULET, MONTAGUE, Twins


class Verona:
    """Juliet is at a node that cannot be called; Romeo is not."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.twins = Twins(authority, folder, hidden=CAPULET)
        self.romeo, self.juliet = self.twins.montague.talker("romeo"), self.twins.capulet.talker("juliet")

    def wait(self, minutes: int, step: int = 5) -> None:
        for _ in range(minutes // step):
            self.twins.time.advance(step * 60)
            self.twins.settle()

    @property
    def is_there_a_way(self) -> bool:
        """Does Romeo's node have one to hers?"""
        return self.twins.montague.servers.proof(CAPULET) is not None

    def posts(self, words: str) -> bool:
        """Romeo says something; does she hear it at once?"""
        self.romeo.says(words)
        return any(words in heard for heard in self.juliet.hears())


@pytest.fixture
def verona(authority: Authority, tmp_path: Path) -> Verona:
    made = Verona(authority, tmp_path)
    made.juliet.says("follow romeo@montague.example")
    made.wait(5)
    return made


def test_posts_come_at_once_however_long_nothing_was_said(verona: Verona) -> None:
    # Servers of other kinds have no log that one could ask for every hour.
    verona.twins.capulet.intake.stop()
    assert verona.posts("It is the east")
    verona.wait(180)
    assert verona.posts("and Juliet is the sun")
    # A stream is replaced after a day.
    verona.wait(25 * 60, step=15)
    assert verona.posts("Arise, fair sun")


def test_when_the_net_is_back_all_comes_without_anybody_doing_anything(verona: Verona) -> None:
    verona.twins.part()
    assert not verona.posts("with love's light wings")
    verona.wait(60)
    verona.twins.down = False
    verona.wait(10)
    assert any("light wings" in heard for heard in verona.juliet.hears())
    assert verona.posts("did I o'er-perch these walls")


def test_a_stream_to_a_domain_that_nobody_follows_is_not_kept(verona: Verona) -> None:
    verona.juliet.says("unfollow romeo@montague.example")
    verona.wait(5)
    assert verona.is_there_a_way
    verona.wait(120)
    assert not verona.is_there_a_way


def test_a_node_that_can_be_called_keeps_no_stream(authority: Authority, tmp_path: Path) -> None:
    twins = Twins(authority, tmp_path)
    twins.montague.talker("romeo")
    twins.capulet.talker("juliet").says("follow romeo@montague.example")
    assert not twins.capulet.keeping.keeps(MONTAGUE)
    assert twins.capulet.servers.proof(MONTAGUE) is not None
    for _ in range(24):
        twins.time.advance(300)
        twins.settle()
    assert twins.capulet.servers.proof(MONTAGUE) is None
