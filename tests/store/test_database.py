"""What a transaction is, run inline, on both databases."""

import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import IntegrityError
from twisted.python.failure import Failure

from microblog.config import Limits
from microblog.model.errors import Forbidden, ResourceConstraint
from microblog.model.event import NodePurged
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.store import crashpoint, migrate, tables
from microblog.store.database import (
    Database,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseLocked,
    DatabaseOutdated,
    DatabaseReadOnly,
    DatabaseTooNew,
    Transaction,
    open_database,
)
from tests.conftest import DOMAIN

NODE = Node(key=1, service=JID.parse("romeo@montague.example"), name="n")


def event(seq: int) -> NodePurged:
    return NodePurged(seq=seq, node=NODE)


def put(tx: Transaction, name: str, value: str = "") -> str:
    tx.settings.set(name, value)
    return name


def get(tx: Transaction, name: str) -> str | None:
    return tx.settings.get(name)


def outcome(deferred: object) -> object:
    found: list[object] = []
    deferred.addBoth(found.append)  # type: ignore[attr-defined]
    (result,) = found
    if isinstance(result, Failure):
        result.raiseException()
    return result


# Transactions


def test_what_was_written_is_read(database: Database) -> None:
    assert database.run(put, "a", "1") == "a"
    assert database.run(get, "a") == outcome(database.read(get, "a")) == "1"
    assert outcome(database.write(put, "b", value="2")) == "b"
    assert outcome(database.read(get, name="b")) == "2"


def test_a_refusal_leaves_nothing_behind(database: Database) -> None:
    heard: list[object] = []
    database.listeners.append(heard.append)

    def refuse(tx: Transaction) -> None:
        tx.settings.set("a", "1")
        tx.emit(event(1))
        raise Forbidden("no")

    with pytest.raises(Forbidden):
        database.run(refuse)
    assert database.run(get, "a") is None and heard == []


def test_a_fault_leaves_nothing_behind(database: Database) -> None:
    def fail(tx: Transaction) -> None:
        tx.settings.set("a", "1")
        tx.connection.execute(tables.settings.insert().values(name="a", value="2"))

    with pytest.raises(IntegrityError):
        database.run(fail)
    assert database.run(get, "a") is None


def test_events_are_heard_in_order_and_one_deaf_listener_harms_nobody(database: Database) -> None:
    heard: list[int] = []

    def deaf(_: object) -> None:
        raise RuntimeError("deaf")

    database.listeners += [deaf, lambda heard_event: heard.append(heard_event.seq)]

    def emit(tx: Transaction) -> None:
        tx.emit(event(1))
        tx.emit(event(2))

    database.run(emit)
    assert heard == [1, 2]


def test_a_listener_sees_what_was_committed(database: Database) -> None:
    seen: list[str | None] = []
    database.listeners.append(lambda _: seen.append(database.run(get, "a")))

    def write(tx: Transaction) -> None:
        tx.settings.set("a", "1")
        tx.emit(event(1))

    database.run(write)
    assert seen == ["1"]


@pytest.mark.parametrize(
    "live",
    [
        lambda tx: tx.connection.execute(select(tables.settings)),
        lambda tx: tx.connection.execute(select(tables.settings)).scalars(),
        lambda tx: tx.connection.execute(select(tables.settings)).mappings(),
        lambda tx: tx.connection.execute(select(tables.settings)).first(),
        lambda tx: tx.connection.execute(select(tables.settings)).all(),
        lambda tx: tuple(tx.connection.execute(select(tables.settings)).mappings().all()),
    ],
)
def test_no_row_leaves_the_store(database: Database, live: Callable[[Transaction], object]) -> None:
    database.run(put, "a")
    for way in (database.write, database.read):
        with pytest.raises(TypeError, match="live"):
            outcome(way(live))


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(ResourceConstraint):
        outcome(database.read(put, "a"))
    database.run(put, "b")
    assert database.run(get, "a") is None


def test_a_reader_emits_nothing(database: Database) -> None:
    with pytest.raises(TypeError):
        outcome(database.read(lambda tx: tx.emit(event(1))))


def test_ids_are_long_and_random(tx: Transaction) -> None:
    ids = {tx.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(id_) == 26 and set(id_) <= set("abcdefghijklmnopqrstuvwxyz234567") for id_ in ids)


def test_a_transaction_has_one_instant(tx: Transaction, time: object) -> None:
    assert tx.now == datetime(2026, 1, 1, 12, tzinfo=UTC) and tx.domain == DOMAIN


def test_instants_keep_their_microseconds(tx: Transaction) -> None:
    moment = datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    tx.connection.execute(tables.removed_accounts.insert().values(localpart="romeo", removed=moment))
    assert tx.connection.execute(select(tables.removed_accounts.c.removed)).scalar_one() == moment


def test_foreign_keys_hold(database: Database) -> None:
    def orphan(tx: Transaction) -> None:
        tx.connection.execute(
            tables.contacts.insert().values(account_id=99, jid="juliet@capulet.example", subscription="none")
        )

    with pytest.raises(IntegrityError):
        database.run(orphan)


def test_a_secret_of_the_logins_is_there_from_the_start(database: Database) -> None:
    assert outcome(database.read(get, "secret.login")) is not None


# SQLite in a file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    migrate.upgrade(f"sqlite:///{tmp_path}/microblog.db")
    return tmp_path / "microblog.db"


def opened(path: Path, **more: object) -> Database:
    return open_database(f"sqlite:///{path}", domain=DOMAIN, now=lambda: datetime.now(UTC), **more)  # type: ignore[arg-type]


def test_sqlite_is_set_to_lose_nothing(path: Path) -> None:
    database = opened(path)

    def settings(tx: Transaction) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [tx.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert database.run(settings) == outcome(database.read(settings)) == ["wal", 2, 1, 5000]
    database.close()


def test_low_disk(path: Path) -> None:
    database = opened(path, limits=Limits(free_disk_min_bytes=0))
    assert database.run(lambda tx: tx.disk_low) is False
    database.close()
    database = opened(path, limits=Limits(free_disk_min_bytes=1 << 62))
    assert database.run(lambda tx: tx.disk_low) is True
    database.close()


def one_sentence(error: BaseException) -> str:
    said = str(error)
    assert "\n" not in said and said.endswith((".", "`.")) and said[0].isupper()
    return said


def refused(expected: type[DatabaseError], path: Path, **more: object) -> str:
    with pytest.raises(DatabaseError) as caught:
        opened(path, **more)
    assert type(caught.value) is expected, caught.value
    return one_sentence(caught.value)


def test_no_file_yet(tmp_path: Path) -> None:
    assert "upgrade" in refused(DatabaseOutdated, tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    assert "upgrade" in refused(DatabaseOutdated, tmp_path / "empty.db")


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Wherefore art thou Romeo? " * 100)
    assert "backup" in refused(DatabaseCorrupt, tmp_path / "letter")


def test_a_newer_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "9999" in refused(DatabaseTooNew, path)


def test_a_missing_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE outbox")
    connection.close()
    assert "outbox" in refused(DatabaseCorrupt, path)


def test_a_corrupted_page(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_items_node_id_position_audience'"
        )
        (size,) = connection.execute("PRAGMA page_size")
    connection.close()
    with open(path, "r+b") as file:
        file.seek((root[0] - 1) * size[0])
        file.write(b"\xff" * size[0])
    assert "backup" in refused(DatabaseCorrupt, path, exclusive=True)


def test_two_servers(path: Path) -> None:
    database = opened(path, exclusive=True)
    assert "Another server" in refused(DatabaseLocked, path, exclusive=True)
    # Administration may.
    opened(path).close()
    database.close()
    opened(path, exclusive=True).close()


def test_the_lock_dies_with_its_holder(path: Path) -> None:
    child = os.fork()
    if child == 0:
        opened(path, exclusive=True)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    opened(path, exclusive=True).close()


def told(path: Path, **more: object) -> str:
    """What the opening says to somebody without root's rights, for whom nothing is read-only."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            opened(path, **more)
        except Exception as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading, "rb") as answer:
        return answer.read().decode()


@pytest.fixture
def place(path: Path) -> Iterator[Path]:
    """A folder that others can reach."""
    place = Path(tempfile.mkdtemp(prefix="microblog-"))
    shutil.copy(path, place / "microblog.db")
    yield place
    place.chmod(0o755)
    shutil.rmtree(place)


@pytest.mark.parametrize(("folder", "exclusive"), [(0o777, False), (0o777, True), (0o555, False), (0o555, True)])
def test_a_read_only_database(place: Path, folder: int, exclusive: bool) -> None:
    (place / "microblog.db").chmod(0o444)
    place.chmod(folder)
    assert told(place / "microblog.db", exclusive=exclusive).startswith(f"{DatabaseReadOnly.__name__}: The ")


def test_a_read_only_folder(place: Path) -> None:
    """SQLite could write the file, but not its log beside it."""
    (place / "microblog.db").chmod(0o666)
    place.chmod(0o555)
    assert told(place / "microblog.db").startswith(f"{DatabaseReadOnly.__name__}: The ")


def test_a_database_of_somebody_else(place: Path) -> None:
    (place / "microblog.db").chmod(0o600 if os.geteuid() == 0 else 0)
    place.chmod(0o755)
    assert told(place / "microblog.db").startswith(f"{DatabaseError.__name__}: The ")


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://localhost/x", "postgresql://romeo:secret@127.0.0.1:1/x"],
)
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        open_database(url, domain=DOMAIN, now=lambda: datetime.now(UTC))
    assert "secret" not in one_sentence(caught.value)


# PostgreSQL


def test_two_servers_on_postgresql(postgresql_url: Callable[[], str]) -> None:
    url = postgresql_url()
    migrate.upgrade(url)

    def open_(exclusive: bool) -> Database:
        return open_database(url, domain=DOMAIN, now=lambda: datetime.now(UTC), exclusive=exclusive)

    database = open_(True)
    with pytest.raises(DatabaseLocked):
        open_(True)
    open_(False).close()
    database.close()
    open_(True).close()


def test_postgresql_without_tables_and_with_one_missing(postgresql_url: Callable[[], str]) -> None:
    url = postgresql_url()
    for expected in (DatabaseOutdated, DatabaseCorrupt):
        with pytest.raises(expected) as caught:
            open_database(url, domain=DOMAIN, now=lambda: datetime.now(UTC))
        one_sentence(caught.value)
        migrate.upgrade(url)
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE IF EXISTS outbox"))
        engine.dispose()


# Kill points (K5 needs the reactor: see test_threads)


@pytest.mark.parametrize(("point", "stored"), [("K1", False), ("K3", False), ("K4", True)])
def test_killed_at(path: Path, point: str, stored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if child == 0:
        try:
            database = opened(path)
            monkeypatch.setattr(crashpoint, "_name", point)
            monkeypatch.setattr(crashpoint, "_file", str(path))
            database.run(put, "a", "1")
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    database = opened(path)
    assert database.run(get, "a") == ("1" if stored else None)
    database.close()
