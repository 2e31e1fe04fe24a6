"""Messages to our people who were not there, by the account's key, the oldest first."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select

from microblog.store import tables

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_HELD = tables.held_messages
_H = _HELD.c
_ACCOUNT = _H.account_id == bindparam("account")

_SIZE = select(func.count(), func.coalesce(func.sum(func.length(_H.stanza)), 0)).where(_ACCOUNT)
_OF = select(_H.id, _H.stanza, _H.created).where(_ACCOUNT).order_by(_H.id).limit(bindparam("limit"))
_INSERT = insert(_HELD)
_REMOVE = delete(_HELD).where(_ACCOUNT, _H.id.in_(bindparam("keys", expanding=True)))
_OLD = select(_H.id).where(_H.created < bindparam("before", type_=tables.Instant)).limit(bindparam("limit"))
_FORGET = delete(_HELD).where(_H.id.in_(_OLD))


class HeldMessage(NamedTuple):
    """A message as it will be written to a client's stream."""

    key: int
    stanza: str
    created: datetime


class HeldMessages:
    """By account."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now

    def size(self, account: int) -> tuple[int, int]:
        """How many there are, and of how many characters."""
        count, characters = self._connection.execute(_SIZE, {"account": account}).one()
        return int(count), int(characters)

    def add(self, account: int, stanza: str) -> int:
        """Keep one more; its key."""
        values = {"account_id": account, "stanza": stanza, "created": self._now}
        key = self._connection.execute(_INSERT, values).inserted_primary_key
        assert key is not None
        return int(key[0])

    def of(self, account: int, limit: int) -> list[HeldMessage]:
        """The oldest of them."""
        return [HeldMessage(*row) for row in self._connection.execute(_OF, {"account": account, "limit": limit})]

    def remove(self, account: int, keys: Iterable[int]) -> None:
        """They were delivered."""
        self._connection.execute(_REMOVE, {"account": account, "keys": list(keys)})

    def forget(self, before: datetime, limit: int) -> int:
        """Forget those that nobody came for, not all at once; how many."""
        return self._connection.execute(_FORGET, {"before": before, "limit": limit}).rowcount
