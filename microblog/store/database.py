"""The database: one writer that commits in groups, a few readers, nothing of it on the reactor's thread.

``await database.write(fn, *args)`` runs ``fn(tx, *args)`` in a transaction on the writer's thread (see ``writer``);
``await database.read(fn, *args)`` runs it on one of the readers, which see what is committed and cannot write. What
comes back are model values. Once a group is committed, one call into the reactor's thread fires its results in order
and then tells the listeners, in order, what its functions emitted.

Before ``start`` and without it (administration, tests) everything is run at once where it is called: ``run`` is the
synchronous write, and ``read`` and ``write`` answer with Deferreds that have fired.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, inspect, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from microblog.config import Limits
from microblog.model.entry import Entry
from microblog.model.errors import ResourceConstraint
from microblog.model.event import Event
from microblog.model.item import Audience
from microblog.store import tables
from microblog.store.crashpoint import crashpoint
from microblog.store.engine import (
    DatabaseCorrupt,
    DatabaseError,
    DatabaseLocked,
    DatabaseOutdated,
    DatabaseReadOnly,
    DatabaseTooNew,
    Fault,
    fault,
    in_memory,
    is_file,
    line,
    lock_file,
    make_engine,
    opening_error,
    parse_url,
)
from microblog.store.settings import LOGIN_SECRET
from microblog.store.transaction import Transaction
from microblog.store.writer import Job, Writer

__all__ = [
    "Database",
    "DatabaseCorrupt",
    "DatabaseError",
    "DatabaseLocked",
    "DatabaseOutdated",
    "DatabaseReadOnly",
    "DatabaseTooNew",
    "Transaction",
    "open_database",
]

T = TypeVar("T")
P = ParamSpec("P")
READERS = 4
GROUP_MAX = 200
# A whole check reads the whole file; beyond this size damage shows when it is met.
CHECKED_MAX_BYTES = 1 << 30


class Database:
    """See the module. Made by ``open_database``; all methods are for the reactor's thread."""

    _log = Logger()

    def __init__(
        self,
        url: URL,
        *,
        domain: str,
        now: Callable[[], datetime],
        limits: Limits,
        audience: Audience = Audience.PUBLIC,
        exclusive: bool = False,
    ) -> None:
        self.url = url
        self.domain = domain
        self.limits = limits
        self.audience = audience
        self.listeners: list[Callable[[Event], None]] = []
        self.read_entry: Callable[[str], Entry | None] = lambda payload: None
        self._now = now
        self._folder = str(Path(url.database).parent) if is_file(url) and url.database else None
        self._lock_file = lock_file(url) if exclusive and is_file(url) else None
        self._engine = make_engine(url)
        self._read_engine = None if in_memory(url) else make_engine(url, read_only=True)
        self._writer = Writer(self._engine, self._transaction, exclusive=exclusive)
        self._reactor: Any = None
        self._stopping = False
        self._fresh: list[Job] = []
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._waiting_writes = 0
        self._waiting_reads = 0
        self._readers: ThreadPool | None = None
        self._reader = threading.local()
        self._reader_connections: list[Connection] = []
        self._stopped: Deferred[None] = Deferred()
        self._answered: Deferred[None] = Deferred()

    def _transaction(self, connection: Connection) -> Transaction:
        return Transaction(
            connection,
            now=self._now(),
            domain=self.domain,
            limits=self.limits,
            audience=self.audience,
            folder=self._folder,
            read_entry=self.read_entry,
        )

    # Anybody

    def write(self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run a use case; fires when what it did is on disk.

        Fires with ResourceConstraint when too much waits, or when the database cannot be written just now.
        """
        if self._reactor is None:
            try:
                return succeed(self.run(fn, *args, **kwargs))
            except Exception as error:
                return fail(error)
        if self._stopping or self._waiting_writes >= self.limits.write_queue_max:
            return fail(ResourceConstraint("this server has too much to do just now"))
        job = Job(fn, args, kwargs)
        job.deferred = Deferred()
        self._waiting_writes += 1
        if not self._fresh:
            # At the end of the reactor's turn: what came in with one poll is committed with one flush.
            self._reactor.callLater(0, self._hand_over)
        self._fresh.append(job)
        return job.deferred

    def _hand_over(self) -> None:
        fresh, self._fresh = self._fresh, []
        for job in fresh:
            self._queue.put(job)

    def read(self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Ask a question; what is committed when it is asked is seen."""
        job = Job(fn, args, kwargs)
        job.deferred = Deferred()
        if self._reactor is None or self._readers is None:
            self._read(job)
            self._fire_read(job)
        elif self._stopping or self._waiting_reads >= self.limits.write_queue_max:
            job.deferred.errback(ResourceConstraint("this server has too much to do just now"))
        else:
            self._waiting_reads += 1
            self._readers.callInThread(self._read_in_thread, job)
        return job.deferred

    def run(self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a use case here and now, for administration and tests; listeners hear of it before this returns."""
        if self._reactor is not None:
            raise RuntimeError("a database that serves is written through write()")
        job = Job(fn, args, kwargs)
        events = self._writer.commit([job])
        if job.error is not None:
            raise job.error
        self._tell(events)
        result: T = job.result
        return result

    @contextmanager
    def trial(self) -> Iterator[Transaction]:
        """A transaction that leaves nothing behind, for tests and for trying out."""
        with self._writer.trial() as transaction:
            yield transaction

    @property
    def waiting_writes(self) -> int:
        """How many writes are not yet committed."""
        return self._waiting_writes

    # Threads

    def start(self, reactor: Any) -> None:
        """From now on write and read in threads; ``reactor`` is where results are fired."""
        self._reactor = reactor
        self._readers = ThreadPool(minthreads=0, maxthreads=READERS, name="database-reader")
        self._readers.start()
        # A daemon, so that a reactor that crashed does not leave a process hanging; stop() lets it end its work.
        threading.Thread(target=self._write_in_thread, name="database-writer", daemon=True).start()

    async def stop(self) -> None:
        """Do what waits, then close. Nothing is accepted any more; may be said twice."""
        if self._stopping:
            return
        self._stopping = True
        if self._reactor is not None and self._readers is not None:
            self._hand_over()
            self._queue.put(None)
            await self._stopped
            if self._waiting_reads:
                await self._answered
            self._readers.stop()
        self.close()

    def close(self) -> None:
        """Close the connections of a database that was not started, or was stopped."""
        for connection in self._reader_connections:
            connection.close()
        self._reader_connections.clear()
        self._reader = threading.local()
        self._writer.close()
        self._engine.dispose()
        if self._read_engine is not None:
            self._read_engine.dispose()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _write_in_thread(self) -> None:
        go_on = True
        while go_on:
            group, go_on = self._next_group()
            if not group:
                continue
            try:
                events = self._writer.commit(group)
            except Exception as error:
                self._log.failure("The writer failed")
                events = []
                for job in group:
                    job.error = error
            self._reactor.callFromThread(self._fire, group, events)
        self._reactor.callFromThread(self._stopped.callback, None)

    def _next_group(self) -> tuple[list[Job], bool]:
        group: list[Job] = []
        job = self._queue.get()
        while job is not None:
            group.append(job)
            if len(group) == GROUP_MAX:
                return group, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return group, True
        return group, False

    def _fire(self, group: list[Job], events: list[Event]) -> None:
        self._waiting_writes -= len(group)
        for job in group:
            deferred = job.deferred
            if deferred is None:
                continue
            if job.error is not None:
                deferred.errback(job.error)
            else:
                deferred.callback(job.result)
        crashpoint("K5")
        self._tell(events)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            for listener in self.listeners:
                try:
                    listener(event)
                except Exception:
                    self._log.failure("A listener failed on {event}", event=type(event).__name__)

    def _read_in_thread(self, job: Job) -> None:
        self._read(job)
        self._reactor.callFromThread(self._fire_read_in_turn, job)

    def _fire_read_in_turn(self, job: Job) -> None:
        self._waiting_reads -= 1
        self._fire_read(job)
        if self._stopping and not self._waiting_reads and not self._answered.called:
            self._answered.callback(None)

    def _fire_read(self, job: Job) -> None:
        assert job.deferred is not None
        if job.error is not None:
            job.deferred.errback(job.error)
        else:
            job.deferred.callback(job.result)

    def _read(self, job: Job) -> None:
        for last_try in (False, True):
            try:
                self._read_once(job)
                return
            except Exception as error:
                what = fault(error)
                job.error = error
                if what is Fault.RESOURCE or (what is Fault.AGAIN and last_try):
                    self._log.critical("The database cannot be read: {error}", error=line(error))
                    job.error = ResourceConstraint("this server cannot look anything up just now")
                if what is not Fault.AGAIN:
                    return

    def _read_once(self, job: Job) -> None:
        if self._read_engine is None:
            self._writer.read(job)
            return
        connection: Connection | None = getattr(self._reader, "connection", None)
        if connection is None:
            connection = self._reader.connection = self._read_engine.connect()
            self._reader_connections.append(connection)
        try:
            job.read(self._transaction(connection))
        finally:
            try:
                connection.rollback()
                lost = connection.invalidated
            except DBAPIError:
                lost = True
            if lost:
                self._reader_connections.remove(connection)
                self._reader.connection = None
                connection.close()


def open_database(
    url: str | URL,
    *,
    domain: str,
    now: Callable[[], datetime],
    limits: Limits | None = None,
    audience: str = "public",
    exclusive: bool = False,
    create: bool = False,
) -> Database:
    """Open the database and see that it can be used.

    ``audience``: whom the posts of new accounts are for. ``exclusive``: for the server; refuses when another one
    serves this database, and looks for damage. ``create``: make the tables here and now, for tests; a SQLite database
    in memory always gets them.

    Raises: DatabaseError and its subclasses, each with one sentence.
    """
    parsed = parse_url(url)
    memory = in_memory(parsed)
    if is_file(parsed) and not create and not Path(parsed.database or "").is_file():
        raise DatabaseOutdated(f"There is no database {parsed.database} yet: make it with `db upgrade`.")
    database = Database(
        parsed,
        domain=domain,
        now=now,
        limits=limits or Limits(),
        audience=Audience(audience),
        exclusive=exclusive,
    )
    try:
        connection = database._writer.connection
        if memory:
            connection.connection.driver_connection.executescript(_tables_in_memory())  # type: ignore[union-attr]  # SQLite's
        elif create:
            tables.metadata.create_all(connection)
            connection.commit()
        else:
            _check(connection, parsed, thorough=exclusive)
        database.run(lambda tx: tx.settings.secret(LOGIN_SECRET))
    except DatabaseError:
        database.close()
        raise
    except (DBAPIError, OSError) as error:
        database.close()
        raise opening_error(error, parsed) from error
    return database


@cache
def _tables_in_memory() -> str:
    """The SQL that makes our tables, compiled once: many a test has a database of its own."""
    dialect = sqlite.dialect()
    made: list[DDLElement] = []
    for table in tables.metadata.sorted_tables:
        made += [
            CreateTable(table),
            *(CreateIndex(index) for index in sorted(table.indexes, key=lambda it: str(it.name))),
        ]
    return ";\n".join((*(str(statement.compile(dialect=dialect)) for statement in made), *tables.SEARCH["sqlite"]))


def _check(connection: Connection, url: URL, *, thorough: bool) -> None:
    """Refuse what cannot work: other versions, missing tables, damage, no right to write."""
    from microblog.store import migrate

    if thorough and is_file(url) and os.path.getsize(url.database or "") <= CHECKED_MAX_BYTES:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        connection.rollback()
        if found != "ok":
            found = " ".join(str(found).split())
            raise DatabaseCorrupt(f"The database {url.database} is damaged ({found}): restore it from a backup.")
    migrate.check(connection)
    missing = sorted(set(tables.metadata.tables) - set(inspect(connection).get_table_names()))
    if missing:
        raise DatabaseCorrupt(f"The database {url.database} has no table {missing[0]!r}: restore it from a backup.")
    connection.rollback()
    # A write that changes nothing, to learn whether one is possible.
    connection.execute(text("UPDATE settings SET value = value WHERE name = ''"))
    connection.rollback()
