"""The log of events, read behind the publishing: who has come how far, and what comes next."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select

from microblog.model.item import Audience
from microblog.store import tables
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_EVENTS = tables.events
_TRAILS = tables.trails
_POSITION = select(_TRAILS.c.seq).where(_TRAILS.c.name == bindparam("name"))
_FIRST = select(func.coalesce(func.min(_EVENTS.c.seq), 0))
_NEXT = (
    select(_EVENTS.c.seq, _EVENTS.c.kind, _EVENTS.c.node_id, _EVENTS.c.item_id, _EVENTS.c.audience)
    .where(_EVENTS.c.seq > bindparam("after"))
    .order_by(_EVENTS.c.seq)
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event as the log has it. ``kind``: a constant of ``store.events``; the item may be gone by now."""

    seq: int
    kind: str
    node: int
    item_id: str
    audience: Audience


class Trails:
    """By the name of who reads the log."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection

    def position(self, name: str) -> int | None:
        """The last event that a reader of the log has done with; None if it never began."""
        seq: int | None = self._connection.execute(_POSITION, {"name": name}).scalar_one_or_none()
        return seq

    def reach(self, name: str, seq: int) -> None:
        """A reader has done with all events up to and with this one."""
        statement = insert(self._connection, _TRAILS).values(name=name, seq=seq)
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_={"seq": statement.excluded.seq})
        )

    def begins(self) -> int:
        """The first event that is still in the log."""
        return int(self._connection.execute(_FIRST).scalar_one())

    def after(self, seq: int, limit: int) -> list[Happened]:
        """So many of the events behind one, in order."""
        rows = self._connection.execute(_NEXT, {"after": seq, "limit": limit})
        return [
            Happened(seq=row[0], kind=row[1], node=row[2], item_id=row[3] or "", audience=Audience(row[4]))
            for row in rows
        ]
