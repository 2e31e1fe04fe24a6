"""What is done behind the publishing: soon, together, and after those who have something to write."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from microblog.model.event import NodePurged
from microblog.model.query import Query
from microblog.runtime import Clock, Tasks
from microblog.store import migrate
from microblog.store.database import Database, open_database
from microblog.store.transaction import Transaction
from microblog.usecases import indexing, searching
from microblog.wire import atom
from microblog.xep.trail import BROKEN_SECONDS, Trail
from tests.conftest import DOMAIN, Time
from tests.usecases.pubsub import ROMEO, an_account, retract
from tests.usecases.test_searching import found, says

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


def test_a_step_that_fails_is_done_again_though_nothing_happens(
    behind: Behind, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [RuntimeError("once"), RuntimeError("twice")]

    def step(tx: Transaction) -> bool:
        if failures:
            raise failures.pop()
        return indexing.step(tx)

    monkeypatch.setattr(behind.trail, "_step", step)
    behind.database.run(says, "lark", "a")
    time.advance(0.25)
    assert behind.finds() == 0
    for _ in range(3):
        time.advance(BROKEN_SECONDS)
        time.advance(0.25)
    assert behind.finds() == 1 and not failures


class Threads(TestCase):
    """With a writer and readers in their threads: people publish, edit, retract and look for it all at once."""

    __test__ = False
    timeout = 120
    url: str

    def setUp(self) -> None:
        migrate.upgrade(self.url)
        self.database = open_database(self.url, domain=DOMAIN, now=lambda: datetime.now(UTC))
        self.database.read_entry = atom.read_text
        self.database.run(lambda tx: an_account(tx) and None)
        self.tasks = Tasks()
        self.database.start(reactor)

    async def tearDown(self) -> None:
        await self.tasks.stop()
        await self.database.stop()

    async def test_all_that_is_there_in_the_end_is_found_and_nothing_else(self) -> None:
        database = self.database
        trail = Trail("search", indexing.step, database, Clock(reactor), self.tasks, pause=0.01, patience=0.1)
        database.listeners.append(trail.hear)
        trail.wake()
        wanted = searching.Search(actor=ROMEO, query=LARK, most=50)
        jobs: list[Deferred[object]] = []
        for number in range(120):
            jobs.append(database.write(says, f"lark {number}", f"p{number}", ROMEO, number))
            if number % 3 == 1:
                jobs.append(database.write(says, "no bird", f"p{number}", ROMEO, number))
            if number % 3 == 2:
                jobs.append(database.write(retract, f"p{number}"))
            jobs.append(database.read(searching.search, wanted))
            if number % 20 == 0:
                await jobs[-1]
        await gatherResults(jobs)
        while await database.read(behind_the_log):
            step: Deferred[None] = Deferred()
            trail.done = lambda step=step: step.callback(None)
            trail.wake()
            await step
            trail.done = None
        assert await database.read(found, "lark") == [f"p{number}" for number in range(0, 120, 3)]
        assert await database.read(found, "bird") == [f"p{number}" for number in range(1, 120, 3)]


def behind_the_log(tx: Transaction) -> bool:
    return tx.trails.position(indexing.NAME) != tx.events.last() or not indexing.is_complete(tx)


class SQLiteThreads(Threads):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _url(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path}/microblog.db"


class PostgreSQLThreads(Threads):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _url(self, postgresql_url: Callable[[], str]) -> None:
        self.url = postgresql_url()
