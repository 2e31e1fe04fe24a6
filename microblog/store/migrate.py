"""Versions of the tables: alembic, without its configuration file.

A database carries the name of the last change made to its tables. One that carries a name we do not know was changed
by a newer program: we refuse it before touching anything.
"""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from microblog.store.engine import (
    DatabaseOutdated,
    DatabaseTooNew,
    is_file,
    lock_file,
    lock_session,
    make_engine,
    opening_error,
    parse_url,
)

if TYPE_CHECKING:
    from alembic.config import Config

# The newest revision, known without reading the scripts (and compared with them by a test).
HEAD: Final = "0005"


def head() -> str:
    """The revision this program works with."""
    return HEAD


def current(url: str) -> str | None:
    """The revision of a database, None if it is empty. Raises DatabaseError."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        return None
    engine = make_engine(parsed)
    try:
        with engine.connect() as connection:
            return revision(connection)
    except (DBAPIError, OSError) as error:
        raise opening_error(error, parsed) from error
    finally:
        engine.dispose()


def revision(connection: Connection) -> str | None:
    """The revision of an open database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    name: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return name


def check(connection: Connection) -> None:
    """Raises DatabaseOutdated or DatabaseTooNew unless the open database has our revision."""
    found = revision(connection)
    if found == HEAD:
        return
    if found is None or found in known():
        raise DatabaseOutdated(
            f"The database has {'no tables' if found is None else f'tables of version {found}'}: "
            "run `twistd microblog db upgrade`."
        )
    raise DatabaseTooNew(
        f"The database has tables of version {found}, which only a newer Microblog knows (this one knows {HEAD})."
    )


def known() -> frozenset[str]:
    """All revisions there are scripts for."""
    from alembic.script import ScriptDirectory

    return frozenset(script.revision for script in ScriptDirectory.from_config(config()).walk_revisions())


def upgrade(url: str) -> bool:
    """Bring a database to our revision, making it if need be; says whether there was anything to do.

    Interrupted, it is run again. Raises: DatabaseTooNew, DatabaseLocked (a server uses it), DatabaseError.
    """
    from alembic import command

    parsed = parse_url(url)
    engine = make_engine(parsed)
    if parsed.get_backend_name() == "sqlite":
        # Changes of tables belong into transactions too.
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.connect() as connection:
            if _is_current(connection):
                return False
            with _alone(connection, parsed):
                configuration = config()
                configuration.attributes["connection"] = connection
                # It would tell of each step in the log.
                logging.getLogger("alembic").setLevel(logging.WARNING)
                command.upgrade(configuration, "head")
                connection.commit()
            return True
    except (DBAPIError, OSError) as error:
        raise opening_error(error, parsed) from error
    finally:
        engine.dispose()


def _is_current(connection: Connection) -> bool:
    try:
        check(connection)
    except DatabaseOutdated:
        return False
    finally:
        connection.rollback()
    return True


@contextmanager
def _alone(connection: Connection, url: URL) -> Iterator[None]:
    """With the lock that servers hold, so that none sees its tables change. Raises DatabaseLocked."""
    if is_file(url):
        descriptor = lock_file(url)
        try:
            yield
        finally:
            os.close(descriptor)
    elif url.get_backend_name() == "postgresql":
        lock_session(connection)
        yield
    else:
        yield


def config() -> "Config":
    """Alembic's configuration, with the scripts where they are: in the package, or beside it in a source tree."""
    from alembic.config import Config

    configuration = Config()
    if importlib.util.find_spec("microblog.migrations") is not None:
        location = "microblog:migrations"
    else:
        location = str(Path(__file__).resolve().parents[2] / "migrations")
    configuration.set_main_option("script_location", location.replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    return configuration
