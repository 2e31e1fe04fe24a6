"""Addresses elsewhere of our people; asked of every request that comes from elsewhere.

An address belongs to one account at most. Until it is confirmed several may have asked for it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from microblog.model.account import Account
from microblog.model.jid import JID
from microblog.model.link import Link
from microblog.store import tables
from microblog.store.accounts import ACCOUNT_COLUMNS, read_account
from microblog.store.prepared import Prepared

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_LINKED = tables.linked_addresses
_L = _LINKED.c
_COLUMNS = (_L.jid, _L.account_id, _L.confirmed, _L.asked_there, _L.created)
_JID = _L.jid == bindparam("address")
_ACCOUNT = _L.account_id == bindparam("account")

_ACCOUNT_OF = Prepared(
    select(*ACCOUNT_COLUMNS).join(_LINKED, _L.account_id == tables.accounts.c.id).where(_JID, _L.confirmed)
)
_ANY = Prepared(select(_L.jid).where(_L.confirmed).limit(1))
_FIND = select(*_COLUMNS).where(_JID, _ACCOUNT)
_OF = select(*_COLUMNS).where(_ACCOUNT).order_by(_L.created, _L.jid)
_OF_JID = select(*_COLUMNS).where(_JID).order_by(_L.created, _L.account_id)
_COUNT = select(func.count()).where(_ACCOUNT, _L.confirmed)
_INSERT = insert(_LINKED)
_CONFIRM = update(_LINKED).where(_JID, _ACCOUNT).values(confirmed=True)
_OTHERS = delete(_LINKED).where(_JID, _L.account_id != bindparam("account"))
_REMOVE = delete(_LINKED).where(_JID, _ACCOUNT)
_FORGET = delete(_LINKED).where(~_L.confirmed, _L.created < bindparam("before", type_=tables.Instant))


class LinkedAddresses:
    """By bare JID and the account's key."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now

    def account_of(self, jid: JID) -> Account | None:
        """Whose address it is, confirmed from both sides."""
        row = _ACCOUNT_OF.first(self._connection, {"address": str(jid.bare)})
        return None if row is None else read_account(row)

    def any(self) -> bool:
        """Has anybody a confirmed address elsewhere?"""
        return _ANY.first(self._connection, {}) is not None

    def find(self, jid: JID, account: int) -> Link | None:
        """What there is between an address and an account."""
        row = self._connection.execute(_FIND, {"address": str(jid.bare), "account": account}).one_or_none()
        return None if row is None else _link(row)

    def of(self, account: int) -> tuple[Link, ...]:
        """All of an account, confirmed or not, the oldest first."""
        return tuple(_link(row) for row in self._connection.execute(_OF, {"account": account}))

    def of_jid(self, jid: JID) -> tuple[Link, ...]:
        """All of an address, confirmed or not, the oldest first."""
        return tuple(_link(row) for row in self._connection.execute(_OF_JID, {"address": str(jid.bare)}))

    def count(self, account: int) -> int:
        """How many confirmed ones an account has."""
        return int(self._connection.execute(_COUNT, {"account": account}).scalar_one())

    def add(self, jid: JID, account: int, *, asked_there: bool, confirmed: bool = False) -> None:
        """Write down who asked; there is nothing between the two yet."""
        self._connection.execute(
            _INSERT,
            {
                "jid": str(jid.bare),
                "account_id": account,
                "confirmed": confirmed,
                "asked_there": asked_there,
                "created": self._now,
            },
        )

    def confirm(self, jid: JID, account: int) -> None:
        """It is that account's, and nobody else's."""
        self._connection.execute(_OTHERS, {"address": str(jid.bare), "account": account})
        self._connection.execute(_CONFIRM, {"address": str(jid.bare), "account": account})

    def remove(self, jid: JID, account: int) -> None:
        """There is nothing between the two any more."""
        self._connection.execute(_REMOVE, {"address": str(jid.bare), "account": account})

    def forget(self, before: datetime) -> int:
        """Forget what was asked before and not confirmed; how many."""
        return self._connection.execute(_FORGET, {"before": before}).rowcount


def _link(row: Sequence[Any]) -> Link:
    return Link(jid=JID.parse(row[0]), account=row[1], confirmed=bool(row[2]), asked_there=bool(row[3]), created=row[4])
