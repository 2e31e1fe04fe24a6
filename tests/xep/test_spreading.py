"""The parts of a post for very many domains: one after the other, whatever happens between them."""

import pytest

from microblog.config import Limits
from microblog.model.errors import ResourceConstraint
from microblog.runtime import Tasks
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import delivering
from microblog.xep.spreading import RETRY_SECONDS, Spreading
from tests.conftest import Time
from tests.usecases.pubsub import post
from tests.usecases.test_spreading import DOMAINS, begin


class Spread:
    """A database whose posts are owed two domains at a time, and which domains were told so."""

    def __init__(self, database: Database, time: Time) -> None:
        self.database, self.tasks = database, Tasks()
        database.limits = Limits(fan_out_domains=2)
        database.run(begin)
        self.owed: list[str] = []
        self.spreading = Spreading(database, self.owed.append, time.clock, self.tasks)
        database.listeners.append(self.spreading.hear)


@pytest.fixture
def spread(database: Database, time: Time) -> Spread:
    return Spread(database, time)


def test_the_others_follow_by_themselves(spread: Spread) -> None:
    spread.database.run(post, "1")
    assert spread.owed == DOMAINS[2:]
    spread.database.run(post, "2")
    assert spread.owed == DOMAINS[2:] * 2
    assert spread.tasks.names() == []


@pytest.mark.parametrize("error", [ResourceConstraint("too much to do"), RuntimeError("a bug")])
def test_whatever_goes_wrong_it_goes_on(
    spread: Spread, time: Time, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    part, left = delivering.spread, [None, error, error]

    def breaks(tx: Transaction) -> tuple[str, ...] | None:
        failure = left.pop(0) if left else None
        if failure is not None:
            raise failure
        return part(tx)

    monkeypatch.setattr(delivering, "spread", breaks)
    spread.database.run(post, "1")
    assert spread.owed == DOMAINS[2:4]
    time.advance(RETRY_SECONDS)
    assert spread.owed == DOMAINS[2:4]
    time.advance(RETRY_SECONDS)
    assert spread.owed == DOMAINS[2:]


def test_what_was_left_when_the_server_stopped_is_taken_up(spread: Spread, time: Time) -> None:
    spread.database.listeners.clear()
    spread.database.run(post, "1")
    assert spread.owed == []
    spread.spreading.wake()
    assert spread.owed == DOMAINS[2:]
