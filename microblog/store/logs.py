"""docs/protocol/fanout.md: what another node was or is being told of, in the order of its numbers.

The log of a domain has a number for everything that it was told, without gaps, and keeps nothing but which event that
was: what is sent is the item as it is when it is sent. Only so many entries as go into one delivery are numbered before
they are acknowledged; what waits behind them is in the outbox. So the log is as short for a domain that cannot be
reached as for any other, and what is forgotten of it are entries that were acknowledged long ago.

``follower_sets`` says by which version a domain knows who of it reads a feed.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, bindparam, delete, exists, func, insert, null, or_, select, tuple_, update

from microblog.model.item import Audience, Item
from microblog.model.node import Node
from microblog.store import tables
from microblog.store.items import ITEM_COLUMNS, read_item
from microblog.store.nodes import NODE_COLUMNS, read_node
from microblog.store.upsert import insert as upsert

if TYPE_CHECKING:
    from datetime import datetime

    from microblog.store.outbox import Owed
    from microblog.store.transaction import Transaction

_LOG = tables.delivery_log
_OUTBOX = tables.outbox
_EVENTS = tables.events
_NODES = tables.nodes
_ITEMS = tables.items
_PEERS = tables.peers
_SETS = tables.follower_sets
_DOMAIN = _LOG.c.domain == bindparam("of_domain")

_LATER = _LOG.alias("later")
_SUPERSEDED = and_(
    _ITEMS.c.position > _LOG.c.event_seq,
    or_(
        exists().where(_OUTBOX.c.event_seq == _ITEMS.c.position, _OUTBOX.c.domain == _LOG.c.domain),
        exists().where(
            _LATER.c.event_seq == _ITEMS.c.position,
            _LATER.c.domain == _LOG.c.domain,
            _LATER.c.number > _LOG.c.number,
        ),
    ),
).label("superseded")
_ENTRIES = (
    select(
        *NODE_COLUMNS,
        *ITEM_COLUMNS,
        _SUPERSEDED,
        _LOG.c.number,
        _LOG.c.event_seq,
        _LOG.c.kind,
        _LOG.c.item_id,
        _LOG.c.audience.label("event_audience"),
    )
    .select_from(_LOG)
    .outerjoin(_NODES, _NODES.c.id == _LOG.c.node_id)
    .outerjoin(_ITEMS, (_ITEMS.c.node_id == _LOG.c.node_id) & (_ITEMS.c.item_id == _LOG.c.item_id))
    .where(_DOMAIN, _LOG.c.number > bindparam("after"))
    .order_by(_LOG.c.number)
    .limit(bindparam("limit"))
)
_FIRST = select(func.min(_LOG.c.number)).where(_DOMAIN)
_ADD = insert(_LOG).inline()
_VOID = (
    update(_LOG)
    .where(_LOG.c.domain == bindparam("of_domain"), _LOG.c.number > bindparam("after"))
    .values(node_id=null(), item_id=null())
)
_LAST_ROW = select(func.max(_OUTBOX.c.id)).where(_OUTBOX.c.domain == bindparam("of_domain"))
_COLUMNS = ["domain", "event_seq", "stanza", "created", "audience"]
_GIVE_BACK = insert(_OUTBOX).from_select(
    _COLUMNS,
    select(_LOG.c.domain, _LOG.c.event_seq, null(), _LOG.c.created, bindparam("public", type_=_OUTBOX.c.audience.type))
    .join(_EVENTS, _EVENTS.c.seq == _LOG.c.event_seq)
    .where(_DOMAIN, _LOG.c.number > bindparam("after"), _LOG.c.node_id.is_not(None))
    .order_by(_LOG.c.number),
    include_defaults=False,
)
_BEHIND = insert(_OUTBOX).from_select(
    _COLUMNS,
    select(*(_OUTBOX.c[name] for name in _COLUMNS))
    .where(_OUTBOX.c.domain == bindparam("of_domain"), _OUTBOX.c.id <= bindparam("last"))
    .order_by(_OUTBOX.c.id),
    include_defaults=False,
)
_MOVED = delete(_OUTBOX).where(_OUTBOX.c.domain == bindparam("of_domain"), _OUTBOX.c.id <= bindparam("last"))
_ACKNOWLEDGED = select(_PEERS.c.acknowledged).where(_PEERS.c.domain == _LOG.c.domain).scalar_subquery()
_OLD = (
    select(_LOG.c.domain, _LOG.c.number)
    .where(_LOG.c.created < bindparam("before"), _LOG.c.number <= _ACKNOWLEDGED)
    .order_by(_LOG.c.created)
    .limit(bindparam("limit"))
)
_FORGET = delete(_LOG).where(tuple_(_LOG.c.domain, _LOG.c.number).in_(_OLD))
_SET = select(_SETS.c.version, _SETS.c.digest, _SETS.c.told).where(
    _SETS.c.node_id == bindparam("node_id"), _SETS.c.domain == bindparam("of_domain")
)
_TOLD = (
    update(_SETS)
    .where(_SETS.c.node_id == bindparam("key"), _SETS.c.domain == bindparam("of_domain"))
    .values(told=bindparam("at"))
)


class LogEntry(NamedTuple):
    """An entry with its node and, if they are still there, its item; ``superseded``: a later one tells more."""

    number: int
    seq: int
    kind: str
    item_id: str | None
    audience: Audience
    node: Node | None
    item: Item | None
    superseded: bool


class KnownSet(NamedTuple):
    """A set of followers as a domain was told of it; ``told``: when it last took an entry that names it."""

    version: int = 0
    digest: str = ""
    told: "datetime | None" = None


class Logs:
    """By domain and number."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def append(self, domain: str, number: int, rows: Iterable["Owed"]) -> int:
        """Give events the numbers behind one; the last that was given."""
        values = []
        for row in rows:
            number += 1
            values.append(
                {
                    "domain": domain,
                    "number": number,
                    "node_id": None if row.node is None else row.node.key,
                    "kind": row.kind,
                    "item_id": row.item_id,
                    "event_seq": row.seq,
                    "audience": row.audience.value,
                    "created": self._transaction.now,
                }
            )
        if values:
            self._connection.execute(_ADD, values)
        return number

    def entries(self, domain: str, after: int, limit: int) -> list[LogEntry]:
        """The entries behind a number, in order."""
        rows = self._connection.execute(_ENTRIES, {"of_domain": domain, "after": after, "limit": limit})
        return [_read(row) for row in rows]

    def first(self, domain: str) -> int | None:
        """The smallest number that is kept."""
        number: int | None = self._connection.execute(_FIRST, {"of_domain": domain}).scalar_one()
        return number

    def give_back(self, domain: str, after: int) -> None:
        """Owe a domain the events of the entries behind a number, before all else; nothing stands behind these numbers
        any more.
        """
        where = {"of_domain": domain, "after": after}
        last = self._connection.execute(_LAST_ROW, {"of_domain": domain}).scalar_one()
        self._connection.execute(_GIVE_BACK, where | {"public": Audience.PUBLIC.value})
        if last is not None:
            # What is owed goes in the order of its rows: the others follow anew.
            self._connection.execute(_BEHIND, {"of_domain": domain, "last": last})
            self._connection.execute(_MOVED, {"of_domain": domain, "last": last})
        self._connection.execute(_VOID, where)

    def forget(self, before: "datetime", limit: int) -> int:
        """Remove so many of the entries that are older and acknowledged; how many."""
        return int(self._connection.execute(_FORGET, {"before": before, "limit": limit}).rowcount)

    # who follows

    def followers(self, node_key: int, domain: str) -> KnownSet:
        """The set of a domain's followers of a feed as it was last told to the domain."""
        row = self._connection.execute(_SET, {"node_id": node_key, "of_domain": domain}).first()
        return KnownSet() if row is None else KnownSet(*row)

    def set_followers(self, node_key: int, domain: str, known: KnownSet) -> None:
        """Another set; ``told``: when the domain was told of it."""
        values = {"node_id": node_key, "domain": domain, **known._asdict()}
        statement: Any = upsert(self._connection, _SETS).values(values)
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["node_id", "domain"], set_=known._asdict())
        )

    def told(self, node_key: int, domain: str, at: "datetime | None") -> None:
        """When the domain last took an entry that names its set; None: it is to be told again."""
        self._connection.execute(_TOLD, {"key": node_key, "of_domain": domain, "at": at})


def _read(row: Any) -> LogEntry:
    at = len(NODE_COLUMNS)
    rest = at + len(ITEM_COLUMNS)
    return LogEntry(
        superseded=bool(row[rest]),
        number=row[rest + 1],
        seq=row[rest + 2],
        kind=row[rest + 3],
        item_id=row[rest + 4],
        audience=Audience(row[rest + 5]),
        node=None if row[0] is None else read_node(row),
        item=None if row[at] is None else read_item(row, at),
    )
