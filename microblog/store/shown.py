"""The short numbers by which people know items in chat: counted for each account, kept for 30 days after the last look.

An account's newest number is one more than its highest, which is kept however old it is: a number that was given out
never means another item.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, delete, exists, func, insert, select, tuple_, update

from microblog.model.jid import JID
from microblog.model.uri import ItemAddress
from microblog.store import tables
from microblog.store.prepared import Prepared

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

SOME_MAX = 500
_SHOWN = tables.shown
_S = _SHOWN.c
_LINKED = tables.linked_addresses.c
_PREFERENCES = tables.preferences.c
_A = tables.accounts.c
_SUBSCRIPTIONS = tables.subscriptions.c
_ACCOUNT = _S.account_id == bindparam("account")
_ITEM = (_S.service == bindparam("of_service"), _S.node == bindparam("of_node"), _S.item_id == bindparam("of_item"))

_NUMBER = Prepared(select(_S.number).where(_ACCOUNT, *_ITEM))
_FIND = Prepared(select(_S.service, _S.node, _S.item_id).where(_ACCOUNT, _S.number == bindparam("number")))
_NEWEST = (
    select(_S.service, _S.node, _S.item_id)
    .where(_ACCOUNT, _S.shown >= bindparam("since", type_=_S.shown.type))
    .order_by(_S.shown.desc(), _S.number.desc())
    .limit(1)
)
_LAST = Prepared(select(func.max(_S.number)).where(_ACCOUNT))
_TO = select(_S.account_id, _S.number).where(*_ITEM)
_TO_SOME = _TO.where(_S.account_id.in_(bindparam("accounts", expanding=True)))
_ADD = insert(_SHOWN)
_AGAIN = update(_SHOWN).where(_ACCOUNT, _S.number == bindparam("known")).values(shown=bindparam("now"))
_HIGHER = _SHOWN.alias("higher")
_OLDEST = (
    select(_S.account_id, _S.number)
    .where(
        _S.shown < bindparam("before", type_=_S.shown.type),
        exists().where(_HIGHER.c.account_id == _S.account_id, _HIGHER.c.number > _S.number),
    )
    .order_by(_S.shown)
    .limit(bindparam("limit"))
)
_FORGET = delete(_SHOWN).where(tuple_(_S.account_id, _S.number).in_(_OLDEST))
_ADDRESSES = (
    select(_A.id, _A.localpart, _LINKED.jid)
    .join(tables.linked_addresses, _LINKED.account_id == _A.id)
    .join(tables.preferences, _PREFERENCES.account_id == _A.id)
    .where(
        _LINKED.confirmed,
        ~_A.disabled,
        _PREFERENCES.name == bindparam("preference"),
        _PREFERENCES.value == bindparam("wanted"),
    )
    .order_by(_A.id, _LINKED.jid)
)
_EXISTING = select(_A.id).where(_A.id.in_(bindparam("accounts", expanding=True)))
_FOLLOWERS = (
    select(_SUBSCRIPTIONS.node_id, _A.id)
    .distinct()
    .join(tables.accounts, _SUBSCRIPTIONS.bare == _A.localpart + bindparam("at_domain", type_=_A.localpart.type))
    .where(
        _A.id.in_(bindparam("accounts", expanding=True)),
        _SUBSCRIPTIONS.node_id.in_(bindparam("nodes", expanding=True)),
        _SUBSCRIPTIONS.state == "subscribed",
    )
)


class Elsewhere(NamedTuple):
    """An account whose lines go to an address elsewhere."""

    key: int
    account: JID
    address: JID


class Shown:
    """By the account's key."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now
        self._domain = transaction.domain

    def assign(self, account: int, addresses: Iterable[ItemAddress]) -> dict[ItemAddress, int]:
        """Items are shown, the last of them last: the number of each, a new one if it has none."""
        numbers: dict[ItemAddress, int] = {}
        last: int | None = None
        for place, address in enumerate(dict.fromkeys(addresses)):
            # A moment between them, so that it is known which was the last.
            now = self._now + timedelta(microseconds=place)
            number = self.number(account, address)
            if number is not None:
                self._connection.execute(_AGAIN, {"account": account, "known": number, "now": now})
            else:
                if last is None:
                    last = int(_LAST.scalar(self._connection, {"account": account}) or 0)
                last = number = last + 1
                self._connection.execute(
                    _ADD,
                    {
                        "account_id": account,
                        "number": number,
                        "service": str(address.service),
                        "node": address.node,
                        "item_id": address.item_id,
                        "shown": now,
                    },
                )
            numbers[address] = number
        return numbers

    def number(self, account: int, address: ItemAddress) -> int | None:
        """The number of an item, if it has one."""
        number: int | None = _NUMBER.scalar(self._connection, {"account": account, **_item(address)})
        return number

    def find(self, account: int, number: int) -> ItemAddress | None:
        """The item of a number."""
        return _address(_FIND.first(self._connection, {"account": account, "number": number}))

    def newest(self, account: int, since: datetime) -> ItemAddress | None:
        """What was shown last, if that is not too long ago."""
        return _address(self._connection.execute(_NEWEST, {"account": account, "since": since}).one_or_none())

    def to(self, accounts: Iterable[int], address: ItemAddress) -> dict[int, int]:
        """Those of these accounts that were shown an item, with their numbers for it."""
        wanted = set(accounts)
        if len(wanted) > SOME_MAX:
            return {account: number for account, number in self.to_all(address).items() if account in wanted}
        rows = self._connection.execute(_TO_SOME, {"accounts": sorted(wanted), **_item(address)})
        return {account: number for account, number in rows}

    def to_all(self, address: ItemAddress) -> dict[int, int]:
        """All accounts that were shown an item, with their numbers for it."""
        return {account: number for account, number in self._connection.execute(_TO, _item(address))}

    def existing(self, accounts: Iterable[int]) -> frozenset[int]:
        """Those of these accounts that were not removed."""
        return frozenset(self._connection.execute(_EXISTING, {"accounts": sorted(accounts)}).scalars())

    def forget(self, before: datetime, limit: int) -> int:
        """Forget numbers that nobody saw since, but for the highest of each account; how many."""
        return int(self._connection.execute(_FORGET, {"before": before, "limit": limit}).rowcount)

    def elsewhere(self, preference: str, wanted: str) -> list[Elsewhere]:
        """The confirmed addresses elsewhere of all accounts with that preference."""
        rows = self._connection.execute(_ADDRESSES, {"preference": preference, "wanted": wanted})
        return [Elsewhere(row[0], JID(row[1], self._domain), JID.parse(row[2])) for row in rows]

    def followers(self, accounts: Iterable[int], nodes: Iterable[int]) -> list[tuple[int, int]]:
        """Which of these accounts subscribed to which of these nodes: the nodes' and the accounts' keys."""
        values = {"accounts": sorted(accounts), "nodes": sorted(nodes), "at_domain": f"@{self._domain}"}
        return [(node, account) for node, account in self._connection.execute(_FOLLOWERS, values)]


def _item(address: ItemAddress) -> dict[str, Any]:
    return {"of_service": str(address.service), "of_node": address.node, "of_item": address.item_id}


def _address(row: Sequence[Any] | None) -> ItemAddress | None:
    return None if row is None else ItemAddress(JID.parse(row[0]), row[1], row[2])
