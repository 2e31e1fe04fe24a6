"""Lists of people: who is in which of somebody's lists."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, select

from microblog.model.jid import JID
from microblog.store import tables
from microblog.store.prepared import Prepared
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_LISTS = tables.people_lists
_L = _LISTS.c
_A = tables.accounts.c
_ACCOUNT = _L.account_id == bindparam("account")
_NAMED = (_ACCOUNT, _L.name == bindparam("called"))
_NAMES = select(_L.name, func.count()).where(_ACCOUNT).group_by(_L.name).order_by(_L.name)
_MEMBERS = select(_L.jid).where(*_NAMED).order_by(_L.jid)
_EXISTS = Prepared(
    select(_L.jid)
    .join(tables.accounts, _A.id == _L.account_id)
    .where(_A.localpart == bindparam("localpart"), _L.name == bindparam("called"))
    .limit(1)
)
_OF = (
    select(_L.jid)
    .join(tables.accounts, _A.id == _L.account_id)
    .where(_A.localpart == bindparam("localpart"), _L.name == bindparam("called"))
)
_REMOVE = delete(_LISTS).where(*_NAMED, _L.jid == bindparam("who"))
_REMOVE_ALL = delete(_LISTS).where(*_NAMED)


class PeopleLists:
    """By account and folded name. A list is there as long as somebody is in it."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now

    def names(self, account: int) -> list[tuple[str, int]]:
        """Somebody's lists, and how many people are in each."""
        return [(name, number) for name, number in self._connection.execute(_NAMES, {"account": account})]

    def members(self, account: int, name: str) -> list[JID]:
        """Who is in a list."""
        rows = self._connection.execute(_MEMBERS, {"account": account, "called": name})
        return [JID.parse(jid) for jid in rows.scalars()]

    def add(self, account: int, name: str, jid: JID) -> bool:
        """Put somebody in; False if they were."""
        values = {"account_id": account, "name": name, "jid": str(jid), "created": self._now}
        statement = insert(self._connection, _LISTS).values(values)
        return self._connection.execute(statement.on_conflict_do_nothing().returning(_L.jid)).first() is not None

    def remove(self, account: int, name: str, jid: JID) -> bool:
        """Take somebody out; False if they were not in it."""
        wanted = {"account": account, "called": name, "who": str(jid)}
        return self._connection.execute(_REMOVE, wanted).rowcount > 0

    def remove_all(self, account: int, name: str) -> bool:
        """Take everybody out; False if there was no such list."""
        return self._connection.execute(_REMOVE_ALL, {"account": account, "called": name}).rowcount > 0

    def exists(self, owner: JID, name: str) -> bool:
        """Has somebody here a list of that name?"""
        return _EXISTS.first(self._connection, {"localpart": owner.localpart, "called": name}) is not None

    def of(self, owner: JID, name: str) -> Sequence[JID]:
        """Who is in a list of somebody here."""
        rows = self._connection.execute(_OF, {"localpart": owner.localpart, "called": name})
        return [JID.parse(jid) for jid in rows.scalars()]
