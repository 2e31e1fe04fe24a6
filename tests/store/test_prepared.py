"""A prepared statement answers as Core does."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import bindparam, select, text
from sqlalchemy.exc import DBAPIError

from microblog.store import tables
from microblog.store.prepared import Prepared, _instant, _microseconds, insertion
from microblog.store.transaction import Transaction

_DOMAINS = tables.remote_domains
_INSERT = insertion(_DOMAINS, "domain", "failures", "last_error", "last_success")
_FIND = select(_DOMAINS.c.domain, _DOMAINS.c.failing_since, _DOMAINS.c.last_success).where(
    _DOMAINS.c.domain == bindparam("name"), _DOMAINS.c.failures < 5
)
_PREPARED = Prepared(_FIND)
_ITEM = insertion(tables.tombstones, "node_id", "item_id", "retracted")
SOME = datetime(2026, 1, 1, 12, 0, 0, 123457, tzinfo=UTC)


def test_types_and_constants_are_those_of_core(tx: Transaction) -> None:
    values = {"domain": "capulet.example", "failures": 1, "last_error": "", "last_success": SOME}
    _INSERT.run(tx.connection, values)
    expected = tx.connection.execute(_FIND, {"name": "capulet.example"}).one()
    row = _PREPARED.first(tx.connection, {"name": "capulet.example"})
    assert row is not None and tuple(row) == tuple(expected) == ("capulet.example", None, SOME)
    assert _PREPARED.first(tx.connection, {"name": "verona.example"}) is None
    assert _PREPARED.scalar(tx.connection, {"name": "verona.example"}) is None


def test_what_the_driver_complains_of_is_wrapped(tx: Transaction) -> None:
    """The writer knows by it whether to try again, to refuse, or to look for a bug."""
    with pytest.raises(DBAPIError) as raised:
        _ITEM.run(tx.connection, {"node_id": 99, "item_id": "secret", "retracted": SOME})
    assert "secret" not in str(raised.value) or tx.connection.dialect.name != "sqlite"
    assert raised.value.orig is not None


def test_the_key_of_an_inserted_row(tx: Transaction) -> None:
    insert = insertion(tables.nodes, "service", "name", "access_model", "config", "created")
    keys = [
        insert.insert(
            tx.connection,
            {"service": "a@b", "name": name, "access_model": "open", "config": "{}", "created": SOME},
        )
        for name in ("one", "two")
    ]
    found = tx.connection.execute(text("SELECT id FROM nodes ORDER BY id")).scalars().all()
    assert keys == list(found)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2250, 1, 1), timezones=st.just(UTC)))
def test_instants_are_exact(instant: datetime) -> None:
    stored = tables.Instant().process_bind_param(instant, None)  # type: ignore[arg-type]
    assert stored == _microseconds(instant)
    assert _instant(stored) == instant
