"""The migrations make what `tables` says, on both databases, however often they are interrupted."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text

from microblog.store import migrate, tables
from microblog.store.engine import (
    SERVE_LOCK,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseLocked,
    DatabaseOutdated,
    DatabaseTooNew,
    lock_file,
    parse_url,
)

MakeUrl = Callable[[], str]


@pytest.fixture(params=["sqlite", "postgresql"])
def make_url(request: pytest.FixtureRequest, tmp_path: Path) -> MakeUrl:
    """Names new databases."""
    if request.param == "postgresql":
        made: MakeUrl = request.getfixturevalue("postgresql_url")
        return made
    names = iter(range(100))
    return lambda: f"sqlite:///{tmp_path}/{next(names)}.db"


@pytest.fixture
def url(make_url: MakeUrl) -> str:
    return make_url()


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_the_head_is_the_newest_script() -> None:
    assert ScriptDirectory.from_config(migrate.config()).get_current_head() == migrate.head()


def test_an_empty_database_gets_our_tables(url: str, connection: Connection) -> None:
    assert migrate.current(url) is None
    assert migrate.upgrade(url) is True
    assert migrate.current(url) == migrate.head()
    options = {"compare_type": True, "compare_server_default": True, "include_name": not_the_index}
    context = MigrationContext.configure(connection, opts=options)
    assert compare_metadata(context, tables.metadata) == []


def not_the_index(name: str | None, kind: str, parents: object) -> bool:
    """Not what the full text index is made of: that is no table of ours, and is compared below."""
    return not (name or "").startswith("item_index")


def test_constraints_are_those_of_the_tables(make_url: MakeUrl) -> None:
    """What alembic does not compare: checks, deletion by cascade, counting up."""
    migrated, made = make_url(), make_url()
    migrate.upgrade(migrated)
    engine = create_engine(made)
    tables.metadata.create_all(engine)
    engine.dispose()
    assert definitions(migrated) == definitions(made)


POSTGRESQL_DEFINITIONS = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
"""


_TOP_COMMA = re.compile(r",(?![^()]*\))")


def definitions(url: str) -> set[tuple[str, str]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
            # A column that was added later stands behind the others, in their line.
            found = {(name, part.strip(" ()\n\t")) for name, sql in rows for part in _TOP_COMMA.split(sql)}
        else:
            rows = connection.execute(text(POSTGRESQL_DEFINITIONS)).all()
            found = {(name, definition) for name, definition in rows}
    engine.dispose()
    return {row for row in found if "alembic_version" not in row[0]}


def test_there_is_nothing_to_do_twice(url: str) -> None:
    migrate.upgrade(url)
    assert migrate.upgrade(url) is False


def test_a_database_of_a_newer_program_is_left_alone(url: str, connection: Connection) -> None:
    migrate.upgrade(url)
    connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    connection.commit()
    with pytest.raises(DatabaseTooNew, match="9999"):
        migrate.upgrade(url)
    with pytest.raises(DatabaseTooNew):
        migrate.check(connection)
    assert migrate.current(url) == "9999"


def test_an_older_database_is_told_from_a_newer(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(url)
    ours = migrate.head()
    monkeypatch.setattr(migrate, "HEAD", "later")
    with pytest.raises(DatabaseOutdated, match=ours):
        migrate.check(connection)


@pytest.mark.parametrize("after", [1, 3, 8, 15, 25, 33, 60, 75])
def test_an_upgrade_that_was_killed_is_run_again(url: str, after: int, connection: Connection) -> None:
    """kill -9 before some statement of it: no revision is left half done, and nothing stands in the way."""
    killed_after(after, migrate.upgrade, url)
    connection.rollback()
    found = set(inspect(connection).get_table_names())
    connection.rollback()
    if migrate.current(url) is None:
        assert found <= {"alembic_version"}
    else:
        assert migrate.current(url) == "0001"
        assert "outbox" in found and "profiles" not in found
    migrate.upgrade(url)
    assert migrate.current(url) == migrate.head()


def test_posts_of_the_first_tables_get_their_place(url: str, connection: Connection) -> None:
    upgrade_to("0001", connection)
    connection.execute(
        text(
            "INSERT INTO nodes (id, service, name, access_model, config, created) VALUES"
            " (1, 'romeo@montague.example', 'urn:xmpp:microblog:0', 'open', '{}', 1),"
            " (2, 'romeo@montague.example', 'storage:bookmarks', 'whitelist', '{}', 1)"
        )
    )
    for number, (node, item_id) in enumerate([(1, "a"), (1, "0"), (2, "current")]):
        connection.execute(
            text(
                "INSERT INTO items (node_id, item_id, position, publisher, payload, audience, proof, published,"
                " updated) VALUES (:node, :item, :at, 'romeo@montague.example', '<entry/>', 'public', 'local',"
                " :at, :at)"
            ),
            {"node": node, "item": item_id, "at": 1000 + number},
        )
    connection.commit()
    with pytest.raises(DatabaseOutdated, match="0001"):
        migrate.check(connection)
    connection.rollback()
    migrate.upgrade(url)
    places = connection.execute(text("SELECT item_id, stands, thread FROM items ORDER BY position")).all()
    assert [tuple(row) for row in places] == [("a", 1000, ""), ("0", None, ""), ("current", None, "")]


def upgrade_to(revision: str, connection: Connection) -> None:
    configuration = migrate.config()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, revision)
    connection.commit()


def killed_after(statements: int, function: Callable[..., object], *arguments: object) -> None:
    """Run it in a process that dies before that many statements and one have been executed."""
    child = os.fork()
    if child == 0:
        left = statements

        def count(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            event.listen(Engine, "before_cursor_execute", count)
            function(*arguments)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_no_upgrade_under_a_running_server(url: str, connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        descriptor = lock_file(parse_url(url))
        with pytest.raises(DatabaseLocked):
            migrate.upgrade(url)
        os.close(descriptor)
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({SERVE_LOCK})")
        with pytest.raises(DatabaseLocked):
            migrate.upgrade(url)
        connection.exec_driver_sql(f"SELECT pg_advisory_unlock({SERVE_LOCK})")
    assert migrate.upgrade(url) is True


def test_what_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    path.write_text("To be, or not to be, that is the question. " * 100)
    for function in (migrate.current, migrate.upgrade):
        with pytest.raises(DatabaseCorrupt, match="damaged"):
            function(f"sqlite:///{path}")


@pytest.mark.parametrize("bad", ["", "nonsense", "mysql://localhost/x", "sqlite:////nowhere/at/all.db"])
def test_urls_that_lead_nowhere(bad: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        migrate.upgrade(bad)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
