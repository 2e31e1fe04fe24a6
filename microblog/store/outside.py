"""What was changed beside the running server, written down for it; the server takes it and thereby deletes it."""

import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, delete, insert, select

from microblog.store import tables

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

# The kinds; what their details are is for the use cases to know.
KEYS: Final = "keys"
CONTACT: Final = "contact"
NODE: Final = "node"
OWED: Final = "owed"
POLICY: Final = "policy"
RETRY: Final = "retry"
DROPPED: Final = "dropped"
PROGRAM: Final = "program"

_O = tables.outside_changes.c
_ANY = select(_O.id).limit(1)
_FIRST = select(_O.id, _O.kind, _O.detail).order_by(_O.id).limit(bindparam("count"))
_UPTO = delete(tables.outside_changes).where(_O.id <= bindparam("last"))
_ALL = delete(tables.outside_changes)


class OutsideChanges:
    """A list, oldest first."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection

    def add(self, kind: str, **detail: Any) -> None:
        """Write one down."""
        self._connection.execute(insert(tables.outside_changes).values(kind=kind, detail=json.dumps(detail)))

    def any(self) -> bool:
        """Is there one?"""
        return self._connection.execute(_ANY).first() is not None

    def take(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """The oldest, which are then no longer here."""
        rows = self._connection.execute(_FIRST, {"count": count}).all()
        if rows:
            self._connection.execute(_UPTO, {"last": rows[-1].id})
        return [(row.kind, json.loads(row.detail)) for row in rows]

    def clear(self) -> None:
        """Forget them all."""
        self._connection.execute(_ALL)
