"""Accounts that moved to another address, ours and those elsewhere that somebody here follows."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, select, update

from microblog.model.jid import JID
from microblog.store import tables
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from datetime import datetime

    from microblog.store.transaction import Transaction

_MOVED = tables.moved_accounts
_GET = select(_MOVED.c.moved_to, _MOVED.c.since).where(_MOVED.c.jid == bindparam("old"))
_SOME = select(_MOVED.c.jid, _MOVED.c.moved_to).where(_MOVED.c.jid.in_(bindparam("old", expanding=True)))
_LAST = select(_MOVED.c.since).where(_MOVED.c.jid == bindparam("old"))
_REMOVE = update(_MOVED).where(_MOVED.c.jid == bindparam("old")).values(moved_to="")


class Move(NamedTuple):
    """Where somebody is now, and since when that is known here."""

    to: JID
    since: "datetime"


class MovedAccounts:
    """By the old address, which is bare."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def get(self, old: JID) -> Move | None:
        """Where somebody moved to."""
        row = self._connection.execute(_GET, {"old": str(old)}).first()
        return None if row is None or not row[0] else Move(JID.parse(row[0]), row[1])

    def last(self, old: JID) -> "datetime | None":
        """When somebody moved last, if that is true still or not."""
        since: datetime | None = self._connection.execute(_LAST, {"old": str(old)}).scalar_one_or_none()
        return since

    def among(self, addresses: Iterable[JID]) -> dict[JID, JID]:
        """Those who moved, with where they are now."""
        rows = self._connection.execute(_SOME, {"old": [str(jid) for jid in addresses]})
        return {JID.parse(old): JID.parse(new) for old, new in rows if new}

    def set(self, old: JID, new: JID, since: "datetime | None" = None) -> None:
        """Somebody moved; again, and the last is true."""
        values = {"jid": str(old), "moved_to": str(new), "since": since or self._transaction.now}
        statement = insert(self._connection, _MOVED).values(values)
        changed = {name: values[name] for name in ("moved_to", "since")}
        self._connection.execute(statement.on_conflict_do_update(index_elements=["jid"], set_=changed))

    def remove(self, old: JID) -> None:
        """Somebody is where they were. When they had moved stays known."""
        self._connection.execute(_REMOVE, {"old": str(old)})
