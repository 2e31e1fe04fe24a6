"""The log of what happened, in order: the sequence number of an event is its place in it."""

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, exists, func, select

from microblog.model.item import Audience
from microblog.store import tables
from microblog.store.prepared import insertion

if TYPE_CHECKING:
    from datetime import datetime

    from microblog.store.transaction import Transaction

_EVENTS = tables.events
PUBLISHED = "published"
RETRACTED = "retracted"
PURGED = "purged"
CONFIGURED = "configured"

_INSERT = insertion(_EVENTS, "node_id", "kind", "item_id", "audience", "created")
_LAST_OF = select(func.max(_EVENTS.c.seq)).where(
    _EVENTS.c.node_id == bindparam("node_id"),
    _EVENTS.c.seq > bindparam("after"),
    _EVENTS.c.kind == bindparam("kind"),
    _EVENTS.c.item_id == bindparam("item_id"),
)
_FIRST_OF = select(func.min(_EVENTS.c.seq)).where(
    _EVENTS.c.node_id == bindparam("node_id"),
    _EVENTS.c.kind == PUBLISHED,
    _EVENTS.c.item_id == bindparam("item_id"),
)
_LAST = select(func.max(_EVENTS.c.seq))
_CREATED = select(_EVENTS.c.created).where(_EVENTS.c.seq == bindparam("seq"))
_ITEM_OF = select(_EVENTS.c.node_id, _EVENTS.c.item_id).where(
    _EVENTS.c.seq == bindparam("seq"), _EVENTS.c.kind == PUBLISHED
)
_AUDIENCE = select(_EVENTS.c.audience).where(_EVENTS.c.seq == bindparam("seq"))
_RETRACTIONS = (
    select(_EVENTS.c.seq, _EVENTS.c.item_id)
    .where(
        _EVENTS.c.node_id == bindparam("node_id"),
        _EVENTS.c.seq > bindparam("after"),
        _EVENTS.c.seq <= bindparam("upto"),
        _EVENTS.c.kind == RETRACTED,
    )
    .order_by(_EVENTS.c.seq.desc())
    .limit(bindparam("limit"))
)
# The oldest come first in the log: a look at its beginning is enough.
_OLDEST = select(_EVENTS.c.seq, _EVENTS.c.created).order_by(_EVENTS.c.seq).limit(bindparam("limit")).subquery()
_FORGET = delete(_EVENTS).where(
    _EVENTS.c.seq.in_(select(_OLDEST.c.seq).where(_OLDEST.c.created < bindparam("before"))),
    ~exists().where(tables.outbox.c.event_seq == _EVENTS.c.seq),
)
_OLD = select(func.max(_OLDEST.c.seq)).where(_OLDEST.c.created < bindparam("before", type_=tables.Instant))
_RETRACTED_FROM = (
    select(_EVENTS.c.audience)
    .where(
        _EVENTS.c.node_id == bindparam("node_id"),
        _EVENTS.c.kind == RETRACTED,
        _EVENTS.c.item_id == bindparam("item_id"),
    )
    .order_by(_EVENTS.c.seq.desc())
    .limit(1)
)
_LAST_KIND = (
    select(_EVENTS.c.seq)
    .where(
        _EVENTS.c.node_id == bindparam("node_id"),
        _EVENTS.c.seq > bindparam("after"),
        _EVENTS.c.kind == bindparam("kind"),
    )
    .order_by(_EVENTS.c.seq.desc())
    .limit(1)
)


class Events:
    """What happened at nodes."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def record(
        self, node_key: int, kind: str, *, item_id: str | None = None, audience: Audience = Audience.PUBLIC
    ) -> int:
        """Write an event down; its sequence number."""
        return _INSERT.insert(
            self._connection,
            {
                "node_id": node_key,
                "kind": kind,
                "item_id": item_id,
                "audience": audience.value,
                "created": self._transaction.now,
            },
        )

    def last(self) -> int:
        """The sequence number of the last event; 0 before the first."""
        return int(self._connection.execute(_LAST).scalar_one() or 0)

    def created(self, seq: int) -> "datetime | None":
        """When an event happened; None if it is forgotten."""
        created: datetime | None = self._connection.execute(_CREATED, {"seq": seq}).scalar_one_or_none()
        return created

    def item_of(self, seq: int) -> tuple[int, str] | None:
        """The node, by its key, and the id of the item that was published in an event."""
        row = self._connection.execute(_ITEM_OF, {"seq": seq}).first()
        return None if row is None else (row[0], row[1] or "")

    def first_of(self, node_key: int, item_id: str) -> int | None:
        """The first event that is known in which an item was published."""
        seq: int | None = self._connection.execute(_FIRST_OF, {"node_id": node_key, "item_id": item_id}).scalar_one()
        return seq

    def audience(self, seq: int) -> Audience:
        """Whom an event is for; this domain only if the event is forgotten."""
        audience = self._connection.execute(_AUDIENCE, {"seq": seq}).scalar_one_or_none()
        return Audience(audience or Audience.LOCAL)

    def retracted_since(self, node_key: int, item_id: str, after: int) -> int | None:
        """The event, later than another, in which an item was retracted."""
        seq: int | None = self._connection.execute(
            _LAST_OF, {"node_id": node_key, "after": after, "kind": RETRACTED, "item_id": item_id}
        ).scalar_one()
        return seq

    def retracted_from(self, node_key: int, item_id: str) -> Audience | None:
        """Whom an item was for that was retracted; None if nothing is known of that."""
        found = self._connection.execute(_RETRACTED_FROM, {"node_id": node_key, "item_id": item_id}).scalar()
        return None if found is None else Audience(found)

    def purged_since(self, node_key: int, after: int) -> int | None:
        """The last event, later than another, in which a node was purged."""
        seq: int | None = self._connection.execute(
            _LAST_KIND, {"node_id": node_key, "after": after, "kind": PURGED}
        ).scalar_one_or_none()
        return seq

    def retractions(self, node_key: int, after: int, upto: int, limit: int) -> list[tuple[int, str]]:
        """The newest retractions behind an event and up to another: sequence number and item id, oldest first."""
        where = {"node_id": node_key, "after": after, "upto": upto, "limit": limit}
        rows = self._connection.execute(_RETRACTIONS, where)
        return [(row[0], row[1]) for row in rows][::-1]

    def old(self, before: "datetime", limit: int) -> int:
        """The last of those that ``forget`` would look at and that are older; 0 if none is."""
        return int(self._connection.execute(_OLD, {"before": before, "limit": limit}).scalar_one() or 0)

    def forget(self, before: "datetime", limit: int) -> int:
        """Of so many of the oldest events remove those that are older and owed to nobody; how many."""
        return int(self._connection.execute(_FORGET, {"before": before, "limit": limit}).rowcount)
