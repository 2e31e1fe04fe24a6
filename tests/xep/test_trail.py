"""What is done behind the publishing: soon, together, and after those who have something to write."""

import pytest

from microblog.model.event import NodePurged
from microblog.model.query import Query
from microblog.runtime import Tasks
from microblog.store.database import Database
from microblog.usecases import indexing, searching
from microblog.xep.trail import Trail
from tests.conftest import Time
from tests.usecases.pubsub import ROMEO, an_account
from tests.usecases.test_searching import says

LARK = Query(terms=(("lark",),))


class Behind:
    """A database whose posts are indexed, and how often a step was done."""

    def __init__(self, database: Database, time: Time) -> None:
        self.steps = 0
        self.database, self.tasks = database, Tasks()
        self.trail = Trail("search", indexing.step, database, time.clock, self.tasks, pause=0.25, patience=2)
        self.trail.done = self._done
        database.listeners.append(self.trail.hear)

    def _done(self) -> None:
        self.steps += 1

    def finds(self) -> int:
        page = self.database.run(searching.search, searching.Search(actor=ROMEO, query=LARK, most=50))
        return len(page.posts)


@pytest.fixture
def behind(database: Database, time: Time) -> Behind:
    database.run(an_account)
    made = Behind(database, time)
    made.trail.wake()
    time.advance(0.25)
    assert made.steps == 1
    return made


def test_what_is_published_together_is_indexed_together(behind: Behind, time: Time) -> None:
    for number in range(5):
        behind.database.run(says, "lark", f"p{number}")
    assert behind.finds() == 0
    time.advance(0.25)
    assert behind.finds() == 5
    assert behind.steps == 2
    time.advance(60)
    assert behind.steps == 2


def test_a_long_log_is_read_step_by_step(behind: Behind, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "EVENTS_MAX", 2)
    for number in range(5):
        behind.database.run(says, "lark", f"p{number}")
    found = []
    for _ in range(4):
        time.advance(0.25)
        found.append(behind.finds())
    assert found == [2, 4, 5, 5]


def test_who_has_something_to_write_goes_first_but_not_for_ever(behind: Behind, time: Time) -> None:
    behind.database.run(says, "lark", "a")
    behind.database._waiting_writes = 1
    for _ in range(8):
        time.advance(0.25)
        assert behind.finds() == 0
    time.advance(0.25)
    assert behind.finds() == 1
    behind.database.run(says, "lark", "b")
    time.advance(0.25)
    behind.database._waiting_writes = 0
    time.advance(0.25)
    assert behind.finds() == 2


def test_other_events_do_not_wake_it(behind: Behind, time: Time) -> None:
    node = behind.database.run(lambda tx: tx.nodes.of(ROMEO)[0])
    behind.trail.hear(NodePurged(seq=1, node=node))
    time.advance(60)
    assert behind.steps == 1
