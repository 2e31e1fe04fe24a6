"""SQLAlchemy engines for SQLite and PostgreSQL, and what their complaints mean for us.

Whoever writes holds the only pen: SQLite by ``BEGIN IMMEDIATE``, PostgreSQL by an advisory lock of the transaction, so
that rules checked inside a transaction stay true until its end and the order of sequence numbers is the order of
commits. Connections are kept by their owner (the writer, each reader), so there is no pool.
"""

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool

BUSY_SECONDS = 5
LINGERING_SECONDS = 2.0
# PostgreSQL advisory locks are numbers per database; these are "microblog" writing, and serving.
WRITE_LOCK = 0x6D6963726F01
SERVE_LOCK = 0x6D6963726F02

_SQLITE_RESOURCE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}
_POSTGRESQL_AGAIN = ("40001", "40P01", "25P03")
_POSTGRESQL_RESOURCE = ("08", "53", "55P03", "57", "58", "25006", "XX")


class DatabaseError(Exception):
    """The database cannot be used; the text is one sentence for the administrator."""


class DatabaseLocked(DatabaseError):
    """Another server uses it."""


class DatabaseTooNew(DatabaseError):
    """A newer version of this program has changed its tables."""


class DatabaseOutdated(DatabaseError):
    """Its tables are of an older version, or not there yet."""


class DatabaseCorrupt(DatabaseError):
    """It is damaged."""


class DatabaseReadOnly(DatabaseError):
    """It cannot be written."""


class Fault(Enum):
    """What to do about an exception from a transaction."""

    AGAIN = auto()  # through no fault of the jobs: run them again, for a while
    RESOURCE = auto()  # disk, lock, connection: tell the callers to come back later
    BUG = auto()  # whoever caused it


def parse_url(url: str | URL) -> URL:
    """Read a database URL. Raises DatabaseError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseError("The database URL cannot be read.") from None
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        return parsed
    raise DatabaseError(f"The database must be SQLite or PostgreSQL, not {parsed.get_backend_name()}.")


def in_memory(url: URL) -> bool:
    """A SQLite database that lives in one connection."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def is_file(url: URL) -> bool:
    """A SQLite database in a file."""
    return url.get_backend_name() == "sqlite" and not in_memory(url)


def lock_file(url: URL) -> int:
    """Lock a file beside a SQLite database; the lock goes with the process, however that ends.

    Raises: DatabaseLocked: another server has it. DatabaseReadOnly: there can be no such file.
    """
    name = f"{url.database}.lock"
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DatabaseReadOnly(f"The lock file {name} cannot be made: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise DatabaseLocked(f"Another server uses the database {url.database}.") from None
    return descriptor


def lock_session(connection: Connection) -> None:
    """Take the lock of the server that serves a PostgreSQL database; it goes with the connection.

    Raises: DatabaseLocked: another has it, and keeps it for longer than a connection takes to be noticed as gone.
    """
    started = time.monotonic()
    while True:
        locked = connection.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (SERVE_LOCK,)).scalar_one()
        connection.rollback()
        if locked:
            return
        if time.monotonic() - started > LINGERING_SECONDS:
            raise DatabaseLocked("Another server uses this database.")
        time.sleep(0.05)


def make_engine(url: URL, *, read_only: bool = False) -> Engine:
    """An engine whose connections are set up as the module says. Raises DatabaseError."""
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, read_only)
    options = (
        f"-c default_transaction_read_only={'on' if read_only else 'off'} -c synchronous_commit=on"
        f" -c lock_timeout={BUSY_SECONDS}s -c timezone=UTC"
    )
    try:
        engine = create_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT" if read_only else "READ COMMITTED",
            connect_args={"options": options, "connect_timeout": 5, "application_name": "microblog"},
        )
    except ModuleNotFoundError:
        raise DatabaseError(
            "For PostgreSQL the package psycopg is missing: pip install 'microblog[postgres]'."
        ) from None
    return engine


def _sqlite_engine(url: URL, read_only: bool) -> Engine:
    engine = create_engine(
        url,
        poolclass=StaticPool if in_memory(url) else NullPool,
        # The driver must not begin transactions by itself: it would begin them deferred. The writer says
        # BEGIN IMMEDIATE, and the driver's commit() and rollback() end that.
        connect_args={
            "isolation_level": None,
            "check_same_thread": False,
            "timeout": BUSY_SECONDS,
            "cached_statements": 512,
        },
    )

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, record: object) -> None:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    return engine


class WriteCount:
    """How much was written through an engine: a difference says whether somebody wrote."""

    def __init__(self, engine: Engine) -> None:
        self._statements = 0
        # SQLite counts by itself; SQLAlchemy's events would make every statement dearer by a quarter.
        self._sqlite = engine.dialect.name == "sqlite"
        if not self._sqlite:
            event.listen(engine, "after_cursor_execute", self._count)

    def of(self, connection: Connection) -> Callable[[], int]:
        """The counter of a connection."""
        if not self._sqlite:
            return lambda: self._statements
        driver = connection.connection.driver_connection
        return lambda: int(driver.total_changes)  # type: ignore[union-attr]  # SQLite's connection

    def _count(self, connection: Connection, cursor: Any, statement: str, *_: object) -> None:
        if statement[:6].upper() in ("INSERT", "UPDATE", "DELETE"):
            self._statements += 1


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code for an error, or nothing."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def lost_connection(error: BaseException) -> bool:
    """The connection is gone, and with it the knowledge of what became of a COMMIT under way."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def fault(error: BaseException) -> Fault:
    """What an exception that came out of a transaction means."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
        return Fault.RESOURCE
    if not isinstance(error, DBAPIError):
        return Fault.BUG
    if error.connection_invalidated:
        return Fault.AGAIN
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return Fault.RESOURCE if code & 0xFF in _SQLITE_RESOURCE else Fault.BUG
    state = sqlstate(error)
    # A connection that could not even be made has no code at all.
    if state.startswith(_POSTGRESQL_AGAIN) or (not state and isinstance(error, OperationalError)):
        return Fault.AGAIN
    return Fault.RESOURCE if state.startswith(_POSTGRESQL_RESOURCE) else Fault.BUG


def opening_error(error: BaseException, url: URL) -> DatabaseError:
    """The one sentence for a failure to open the database."""
    name = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    original = getattr(error, "orig", error)
    code = (getattr(original, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DatabaseCorrupt(f"The database {name} is damaged ({line(original)}): restore it from a backup.")
    if code == sqlite3.SQLITE_READONLY or sqlstate(error) == "25006":
        return DatabaseReadOnly(f"The database {name} cannot be written: check its owner and permissions.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DatabaseLocked(f"The database {name} is locked by another program.")
    if code == sqlite3.SQLITE_CANTOPEN or isinstance(original, PermissionError):
        return DatabaseError(f"The database {name} cannot be opened: check that its folder exists and is ours.")
    if code == sqlite3.SQLITE_FULL:
        return DatabaseError(f"The disk with the database {name} is full.")
    return DatabaseError(f"The database {name} cannot be used: {line(original).rstrip('.?')}.")


def line(error: BaseException) -> str:
    """The first line of what a database says, without the statement and its parameters: they are people's words."""
    return str(getattr(error, "orig", error)).partition("\n")[0].strip() or type(error).__name__
