"""Databases and time for every test.

`database` is SQLite in memory, run inline; tests of the store and of the use cases get it a second time as
PostgreSQL, from one cluster that is started when the first of them asks and emptied between them. `tx` is a transaction
on it that leaves nothing behind. `MICROBLOG_TEST_POSTGRESQL=0` leaves PostgreSQL out.
"""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, text
from twisted.internet import task

from microblog.runtime import Clock
from microblog.store import migrate, tables
from microblog.store.database import Database, Transaction, open_database
from microblog.store.engine import make_engine
from microblog.wire import atom
from tests.postgres import PACKAGE, postgresql_programs, start_postgresql

DOMAIN = "montague.example"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ON_BOTH = (Path(__file__).parent / "store", Path(__file__).parent / "usecases")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database_kind" not in metafunc.fixturenames:
        return
    kinds = ["sqlite"]
    both = any(metafunc.definition.path.is_relative_to(folder) for folder in ON_BOTH)
    if both and os.environ.get("MICROBLOG_TEST_POSTGRESQL") != "0":
        kinds.append("postgresql")
    metafunc.parametrize("database_kind", kinds, indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running cluster."""
    if postgresql_programs() is None:
        pytest.skip(PACKAGE)
    server = start_postgresql(tmp_path_factory.mktemp("postgresql"))
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def postgresql_tables(postgresql_server: str) -> Iterator[Engine]:
    """A database with our tables in it."""
    migrate.upgrade(postgresql_server)
    engine = create_engine(postgresql_server)
    yield engine
    engine.dispose()


@cache
def same_engine(url: URL, *, read_only: bool = False) -> Engine:
    """The engine for a database, always the same: one that is new compiles every statement anew."""
    return make_engine(url, read_only=read_only)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[Callable[[], str]]:
    """Makes new, empty databases."""
    engine = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def make() -> str:
        name = f"made_{os.urandom(6).hex()}"
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        made.append(name)
        return engine.url.set(database=name).render_as_string(hide_password=False)

    yield make
    with engine.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


class Time:
    """A clock that stands still until it is told to advance."""

    def __init__(self) -> None:
        self.reactor = task.Clock()
        self.clock = Clock(self.reactor, start=START)
        self.now = self.clock.now

    def advance(self, seconds: float) -> None:
        self.reactor.advance(seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def clock(time: Time) -> Clock:
    return time.clock


def empty(engine: Engine) -> None:
    """Delete everything and count from 1 again; for a few rows that is much faster than TRUNCATE."""
    statements = ["SET LOCAL synchronous_commit = off"]
    for table in reversed(tables.metadata.sorted_tables):
        statements.append(f"DELETE FROM {table.name}")
        for column in table.primary_key:
            if column.name in ("id", "seq"):
                statements.append(f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), 1, false)")
    with engine.begin() as connection:
        connection.exec_driver_sql("; ".join(statements))


@pytest.fixture
def database(
    database_kind: str, time: Time, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """An empty database with our tables, run inline."""
    if database_kind == "sqlite":
        opened = open_database("sqlite://", domain=DOMAIN, now=time.now)
        opened.read_entry = atom.read_text
        yield opened
    else:
        engine = request.getfixturevalue("postgresql_tables")
        with monkeypatch.context() as patched:
            patched.setattr("microblog.store.database.make_engine", same_engine)
            opened = open_database(engine.url, domain=DOMAIN, now=time.now)
        opened.read_entry = atom.read_text
        yield opened
        opened.close()
        empty(engine)
    opened.close()


@pytest.fixture
def tx(database: Database) -> Iterator[Transaction]:
    """A transaction that leaves nothing behind."""
    with database.trial() as transaction:
        yield transaction
