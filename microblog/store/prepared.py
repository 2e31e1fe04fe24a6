"""Statements for every post and every page: written in SQLAlchemy Core, run without its bookkeeping.

Core costs some 60 µs for each statement however it is called, several times what SQLite takes for one. A prepared
statement is compiled by Core once, with its types, and from then on handed to SQLite's driver as it is. What the driver
complains of is wrapped as Core would. On PostgreSQL, where the way to the server is the cost, Core runs it as usual.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable, Table, bindparam, insert
from sqlalchemy.exc import DBAPIError

from microblog.store.tables import Instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Processor = Callable[[Any], Any]


class Prepared:
    """A statement with named parameters; all of them have to be given each time."""

    __slots__ = ("_binds", "_constants", "_error", "_names", "_results", "_sql", "_statement")

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._sql = ""
        self._names: tuple[str, ...] = ()
        self._constants: dict[str, Any] = {}
        self._binds: tuple[tuple[int, Processor], ...] = ()
        self._results: tuple[tuple[int, Processor], ...] = ()
        self._error: type[Exception] = Exception

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """All rows."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, dict(parameters)).all()
        cursor = self._run(connection, parameters)
        rows = cursor.fetchall()
        if not self._results:
            return rows  # type: ignore[no-any-return]  # what the driver gives
        return [self._read(row) for row in rows]

    def first(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[Any] | None:
        """The first row, if there is one."""
        rows = self.rows(connection, parameters)
        return rows[0] if rows else None

    def scalar(self, connection: Connection, parameters: Mapping[str, Any]) -> Any:
        """The first column of the first row, if there is one."""
        row = self.first(connection, parameters)
        return None if row is None else row[0]

    def insert(self, connection: Connection, parameters: Mapping[str, Any]) -> int:
        """Insert one row; its key."""
        if connection.dialect.name != "sqlite":
            result: CursorResult[Any] = connection.execute(self._statement, dict(parameters))
            key = result.inserted_primary_key
            assert key is not None
            return int(key[0])
        return int(self._run(connection, parameters).lastrowid)

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> None:
        """Change something."""
        if connection.dialect.name != "sqlite":
            connection.execute(self._statement, dict(parameters))
        else:
            self._run(connection, parameters)

    def _run(self, connection: Connection, parameters: Mapping[str, Any]) -> Any:
        if not self._sql:
            self._compile(connection)
        if self._constants:
            parameters = {**self._constants, **parameters}
        values = list(map(parameters.__getitem__, self._names))
        for place, processor in self._binds:
            values[place] = processor(values[place])
        try:
            return connection.connection.driver_connection.execute(self._sql, values)  # type: ignore[union-attr]  # SQLite's
        except self._error as error:
            raise DBAPIError.instance(
                self._sql, None, error, self._error, hide_parameters=True, dialect=connection.dialect
            ) from error

    def _read(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for place, processor in self._results:
            values[place] = processor(values[place])
        return values

    def _compile(self, connection: Connection) -> None:
        dialect = connection.dialect
        compiled: Any = self._statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every statement has it
        self._error = dialect.loaded_dbapi.Error
        self._names = tuple(compiled.positiontup)
        binds = compiled.binds
        self._constants = {name: binds[name].value for name in self._names if not binds[name].required}
        types = [binds[name].type for name in self._names]
        self._binds = _processors(
            _microseconds if isinstance(kind, Instant) else kind.bind_processor(dialect) for kind in types
        )
        results = compiled._result_columns or ()
        self._results = _processors(
            _instant if isinstance(column.type, Instant) else column.type.result_processor(dialect, None)
            for column in results
        )
        self._sql = str(compiled)


def insertion(table: Table, *columns: str) -> Prepared:
    """The insertion of one row, with a parameter for each of these columns."""
    return Prepared(insert(table).values({name: bindparam(name) for name in columns}))


def _microseconds(instant: datetime | None) -> int | None:
    # As ``Instant`` writes it; a post has six.
    return None if instant is None else (instant - _EPOCH) // _MICROSECOND


def _instant(microseconds: int | None) -> datetime | None:
    # As it reads it, without the calls around that; a page has two for each item.
    return None if microseconds is None else _EPOCH + timedelta(0, 0, microseconds)


def _processors(found: Any) -> tuple[tuple[int, Processor], ...]:
    return tuple((place, processor) for place, processor in enumerate(found) if processor is not None)
