"""Group commit: the only writer of a process.

Every commit is flushed to disk, and a flush costs the same for one job as for two hundred. So whatever jobs wait are
run in one transaction. No timer: groups form by themselves under load, and an idle server waits for nothing.

A job that refuses has checked first and written nothing, so its group is kept. Any other exception spoils the
group: it is rolled back and its jobs are run again one by one, each in its own transaction, so that only the bad one
fails. (Savepoints would cost half the rate.) A full disk, a lock held too long, a lost connection are nobody's
fault: the callers are told to try again later.

When PostgreSQL vanishes while a COMMIT is under way, nobody knows whether it happened. Running the jobs again could
then post twice. So the transaction's number is noted, and the server is asked about it when it is back.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import Result, Row, RowMapping
from sqlalchemy.engine.result import FilterResult
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from microblog.model.errors import Refusal, ResourceConstraint
from microblog.model.event import Event
from microblog.store.crashpoint import crashpoint
from microblog.store.engine import (
    WRITE_LOCK,
    DatabaseLocked,
    Fault,
    WriteCount,
    fault,
    in_memory,
    line,
    lock_session,
    lost_connection,
)
from microblog.store.transaction import Transaction

PATIENCE_SECONDS = 5.0
_LIVE = (Result, FilterResult, Row, RowMapping)


class Job:
    """A function of a transaction, and what became of it."""

    __slots__ = ("args", "deferred", "error", "fn", "kwargs", "result")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.deferred: Deferred[Any] | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, transaction: Transaction) -> None:
        """Call the function; what it returns must not need the database any more."""
        self.error = None
        self.result = self.fn(transaction, *self.args, **self.kwargs)
        assert_plain(self.result)

    def read(self, transaction: Transaction) -> None:
        """Call a function that only asks."""
        self.run(transaction)
        if transaction.emitted:
            raise TypeError("an event was emitted by a function that only reads")


def assert_plain(result: object) -> None:
    """Rows and results are the store's own; outside only model values are of use."""
    if isinstance(result, (list, tuple)) and not isinstance(result, Row):
        result = result[0] if result else None
    if isinstance(result, _LIVE):
        raise TypeError(f"a live {type(result).__name__} leaves the transaction")


class CommitUnknown(Exception):
    """The connection was lost during COMMIT and the database could not be asked what became of it."""


class _RefusedLate(Exception):
    """A job refused after it had written: what it wrote must go."""


class Writer:
    """One connection and the jobs that are run on it; to be used by one thread at a time."""

    _log = Logger()

    def __init__(
        self, engine: Engine, make_transaction: Callable[[Connection], Transaction], *, exclusive: bool = False
    ) -> None:
        self._engine = engine
        self._make_transaction = make_transaction
        self._exclusive = exclusive
        self._postgresql = engine.dialect.name == "postgresql"
        self._in_memory = in_memory(engine.url)
        self._writes = WriteCount(engine)
        self._connection: Connection | None = None
        self._txid: int | None = None

    @property
    def connection(self) -> Connection:
        """The connection, made if need be. Raises DatabaseLocked if another server serves this database."""
        if self._connection is None:
            connection = self._engine.connect()
            try:
                # Held by the session: whoever writes as a server is the only one, and a dead one lets go by itself.
                if self._exclusive and self._postgresql:
                    lock_session(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close the connection; the next use makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def commit(self, jobs: Sequence[Job]) -> list[Event]:
        """Run the jobs and set the result or error of each; the answer is what they emitted, in order."""
        started = time.monotonic()
        pause = 0.02
        while True:
            try:
                return self._attempt(jobs)
            except Exception as error:
                what = fault(error)
                if isinstance(error, (CommitUnknown, DatabaseLocked)):
                    what = Fault.RESOURCE
                if what is Fault.AGAIN and time.monotonic() - started < PATIENCE_SECONDS:
                    time.sleep(pause)
                    pause = min(2 * pause, 1.0)
                    continue
                if what is not Fault.BUG:
                    self._log.critical("The database cannot be written: {error}", error=line(error))
                    for job in jobs:
                        job.error = ResourceConstraint("this server cannot store anything just now")
                    return []
                if len(jobs) == 1:
                    jobs[0].error = error.__cause__ if isinstance(error, _RefusedLate) else error
                    return []
            events: list[Event] = []
            for job in jobs:
                events += self.commit([job])
            return events

    def read(self, job: Job) -> None:
        """Run one job in a transaction that must not write and is rolled back; raises what it raises."""
        connection = self.connection
        with connection.begin() as transaction:
            if self._postgresql:
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            else:
                connection.exec_driver_sql("PRAGMA query_only = ON")
            try:
                job.read(self._make_transaction(connection))
            finally:
                if not self._postgresql:
                    connection.exec_driver_sql("PRAGMA query_only = OFF")
                transaction.rollback()

    @contextmanager
    def trial(self) -> Iterator[Transaction]:
        """A transaction that is rolled back at the end."""
        try:
            yield self._begin()
        finally:
            self._roll_back()

    def _attempt(self, jobs: Sequence[Job]) -> list[Event]:
        crashpoint("K1")
        try:
            transaction = self._begin()
            self._run(jobs, transaction)
            crashpoint("K3")
            self._end(transaction.connection)
        except BaseException:
            self._roll_back()
            raise
        crashpoint("K4")
        return transaction.emitted

    def _begin(self) -> Transaction:
        connection = self.connection
        connection.begin()
        if not self._postgresql:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            self._txid = connection.exec_driver_sql(
                "SELECT txid_current(), pg_advisory_xact_lock(%s)", (WRITE_LOCK,)
            ).scalar_one()
        return self._make_transaction(connection)

    def _run(self, jobs: Sequence[Job], transaction: Transaction) -> None:
        emitted = transaction.emitted
        written = self._writes.of(transaction.connection)
        for job in jobs:
            told = len(emitted)
            before = written()
            try:
                job.run(transaction)
            except Refusal as refusal:
                if written() != before:
                    raise _RefusedLate from refusal
                job.error = refusal
                del emitted[told:]

    def _end(self, connection: Connection) -> None:
        try:
            connection.commit()
        except DBAPIError as error:
            if not self._postgresql or not lost_connection(error):
                raise
            self._drop()
            if not self._was_committed():
                raise

    def _was_committed(self) -> bool:
        started = time.monotonic()
        while time.monotonic() - started < PATIENCE_SECONDS:
            try:
                status = self.connection.exec_driver_sql("SELECT txid_status(%s)", (self._txid,)).scalar_one()
                self.connection.rollback()
            except (DBAPIError, DatabaseLocked):
                self._drop()
                status = None
            if status in ("committed", "aborted"):
                return bool(status == "committed")
            time.sleep(0.1)
        raise CommitUnknown("the connection was lost during COMMIT")

    def _roll_back(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            in_transaction = connection.in_transaction()
            connection.rollback()
            if not in_transaction or connection.invalidated:
                # COMMIT itself failed: what the driver thinks of the transaction is not to be relied on.
                self._drop()
        except DBAPIError:
            self._drop()

    def _drop(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if self._in_memory:
            connection.connection.rollback()  # this connection is the database
            return
        self._connection = None
        try:
            connection.invalidate()
            connection.close()
        except DBAPIError:
            pass  # it was broken already, which is why it is dropped
