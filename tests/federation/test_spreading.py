"""A post for more domains than are owed it at once: between two nodes, with others that are not there."""

from pathlib import Path

import pytest

from microblog.config import Limits
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.database import Transaction
from microblog.usecases.subscribing import Subscribe, subscribe
from tests.federation.nodes import Authority
from tests.federation.twins import MONTAGUE, Twins

ROMEO = JID("romeo", MONTAGUE)
# Before the other node by name, so that it has to wait for them.
DEAD = [f"b{number}.example" for number in range(5)]


class Verona(Twins):
    """Romeo, whom Juliet follows, and somebody at each of the domains that are not there."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        super().__init__(authority, folder)
        self.montague.database.limits = Limits(rates=False, fan_out_domains=2)
        self.romeo = self.montague.talker("romeo")
        self.juliet = self.capulet.talker("juliet")
        self.juliet.says("follow romeo@montague.example")
        self.settle()
        self.juliet.hears()
        self.montague.database.run(_followed)


def _followed(tx: Transaction) -> None:
    for domain in DEAD:
        paris = JID("paris", domain)
        subscribe(tx, Subscribe(service=ROMEO, node=MICROBLOG, actor=paris, jid=paris))


@pytest.fixture
def verona(authority: Authority, tmp_path: Path) -> Verona:
    return Verona(authority, tmp_path)


def test_it_comes_to_all_of_them_by_itself(verona: Verona) -> None:
    verona.romeo.says("But soft!")
    verona.settle()
    assert any("But soft!" in line for line in verona.juliet.hears())


def test_what_was_left_is_taken_up_at_the_start(verona: Verona) -> None:
    spreading = verona.montague.spreading
    spreading._awake = True  # it dies before it begins
    verona.romeo.says("But soft!")
    verona.settle()
    assert verona.juliet.hears() == []
    spreading._awake = False
    spreading.wake()
    verona.settle()
    assert any("But soft!" in line for line in verona.juliet.hears())
