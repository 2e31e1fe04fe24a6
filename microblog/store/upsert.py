"""INSERT … ON CONFLICT, which SQLite and PostgreSQL share and SQLAlchemy keeps in two dialects."""

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT with ``on_conflict_do_update`` and ``on_conflict_do_nothing``, for the connection's database."""
    if connection.dialect.name == "postgresql":
        # The same methods with the same arguments, as far as we use them.
        return postgresql.insert(table)  # type: ignore[return-value]
    return sqlite.insert(table)
