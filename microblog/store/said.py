"""What our people said to the node in chat: each message is done once, and may be corrected or retracted later."""

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, delete, insert, or_, select, tuple_, update

from microblog.model.jid import JID
from microblog.store import tables
from microblog.store.prepared import Prepared

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_SAID = tables.chat_messages
_S = _SAID.c
_BY = (_S.account_id == bindparam("account"), _S.address == bindparam("by"))
_MESSAGE = (*_BY, _S.message_id == bindparam("of_id"))

_FIND = Prepared(select(_S.item_id).where(*_MESSAGE))
_SAME = (
    select(_S.message_id)
    .where(
        *_BY,
        _S.body_hash == bindparam("hash"),
        _S.created > bindparam("since", type_=_S.created.type),
        _S.item_id != "",
    )
    .limit(1)
)
_ADD = insert(_SAID)
_BECAME = update(_SAID).where(*_MESSAGE).values(item_id=bindparam("became"))
_OLDEST = (
    select(_S.account_id, _S.address, _S.message_id)
    .where(
        _S.created < bindparam("idle_before", type_=_S.created.type),
        or_(_S.item_id == "", _S.created < bindparam("before", type_=_S.created.type)),
    )
    .order_by(_S.created)
    .limit(bindparam("limit"))
)
_FORGET = delete(_SAID).where(tuple_(_S.account_id, _S.address, _S.message_id).in_(_OLDEST))


class Words(NamedTuple):
    """A message; ``item_id``: the post of the account that it became, or empty."""

    item_id: str


class Said:
    """By the account's key, the bare JID that said it, and the message's id."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now

    def find(self, account: int, by: JID, message_id: str) -> Words | None:
        """The message of that id."""
        row = _FIND.first(self._connection, {"account": account, "by": str(by), "of_id": message_id})
        return None if row is None else Words(row[0])

    def same(self, account: int, by: JID, body_hash: bytes, since: datetime) -> bool:
        """Did the same become a post since?"""
        values = {"account": account, "by": str(by), "hash": body_hash, "since": since}
        return self._connection.execute(_SAME, values).first() is not None

    def add(self, account: int, by: JID, message_id: str, body_hash: bytes) -> None:
        """Remember a message that is not known yet."""
        self._connection.execute(
            _ADD,
            {
                "account_id": account,
                "address": str(by),
                "message_id": message_id,
                "item_id": "",
                "body_hash": body_hash,
                "created": self._now,
            },
        )

    def became(self, account: int, by: JID, message_id: str, item_id: str) -> None:
        """A message became a post."""
        self._connection.execute(_BECAME, {"account": account, "by": str(by), "of_id": message_id, "became": item_id})

    def forget(self, before: datetime, idle_before: datetime, limit: int) -> int:
        """Forget messages that became posts before the one time, and all others before the other; how many."""
        values = {"before": before, "idle_before": idle_before, "limit": limit}
        return int(self._connection.execute(_FORGET, values).rowcount)
