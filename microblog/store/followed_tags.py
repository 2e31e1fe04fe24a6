"""Tags that our people follow: what has them is in their home timelines."""

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, select

from microblog.model.jid import JID
from microblog.store import tables
from microblog.store.prepared import Prepared
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_FOLLOWED = tables.followed_tags
_F = _FOLLOWED.c
_A = tables.accounts.c
_OF = Prepared(
    select(_F.tag)
    .join(tables.accounts, _A.id == _F.account_id)
    .where(_A.localpart == bindparam("name"))
    .order_by(_F.tag)
)
_COUNT = select(func.count()).where(_F.account_id == bindparam("account"))
_REMOVE = delete(_FOLLOWED).where(_F.account_id == bindparam("account"), _F.tag == bindparam("word"))
_OF_LINKED = (
    select(_F.tag, _A.localpart)
    .join(tables.accounts, _A.id == _F.account_id)
    .where(_F.account_id.in_(select(tables.linked_addresses.c.account_id).where(tables.linked_addresses.c.confirmed)))
)


class FollowedTags:
    """By account; tags are folded."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now
        self._domain = transaction.domain

    def of(self, reader: JID) -> list[str]:
        """The tags that somebody follows; none of somebody elsewhere."""
        if reader.domainpart != self._domain:
            return []
        return [row[0] for row in _OF.rows(self._connection, {"name": reader.localpart})]

    def count(self, account: int) -> int:
        """How many they are."""
        return int(self._connection.execute(_COUNT, {"account": account}).scalar_one())

    def add(self, account: int, tag: str) -> bool:
        """Somebody follows a tag; False if they did before."""
        statement = insert(self._connection, _FOLLOWED).values(account_id=account, tag=tag, created=self._now)
        return self._connection.execute(statement.on_conflict_do_nothing().returning(_F.tag)).first() is not None

    def remove(self, account: int, tag: str) -> bool:
        """Somebody follows a tag no longer; False if they did not."""
        return self._connection.execute(_REMOVE, {"account": account, "word": tag}).rowcount > 0

    def of_linked(self) -> list[tuple[str, JID]]:
        """The tags of those who have linked an address elsewhere."""
        return [(tag, JID(name, self._domain)) for tag, name in self._connection.execute(_OF_LINKED)]
