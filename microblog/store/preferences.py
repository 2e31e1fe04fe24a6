"""What our people have set: names and values, by the account's key."""

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, select

from microblog.store import tables
from microblog.store.prepared import Prepared
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_PREFERENCES = tables.preferences
_P = _PREFERENCES.c
_A = tables.accounts.c

_GET = Prepared(select(_P.value).where(_P.account_id == bindparam("account"), _P.name == bindparam("name")))
_OF = select(_P.name, _P.value).where(_P.account_id == bindparam("account")).order_by(_P.name)
_ANY = select(_P.value).where(_P.name == bindparam("called"), _P.value == bindparam("set_to")).limit(1)
_REMOVE = delete(_PREFERENCES).where(_P.account_id == bindparam("account"), _P.name == bindparam("called"))


class Preferences:
    """By account and name."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection

    def get(self, account: int, name: str) -> str | None:
        """What was set; None if nothing was."""
        value: str | None = _GET.scalar(self._connection, {"account": account, "name": name})
        return value

    def set(self, account: int, name: str, value: str) -> None:
        """Set it, in place of what was set before."""
        statement = insert(self._connection, _PREFERENCES)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["account_id", "name"], set_={"value": statement.excluded.value}
            ),
            {"account_id": account, "name": name, "value": value},
        )

    def remove(self, account: int, name: str) -> None:
        """As if it had never been set."""
        self._connection.execute(_REMOVE, {"account": account, "called": name})

    def any(self, name: str, value: str) -> bool:
        """Has anybody set that?"""
        return self._connection.execute(_ANY, {"called": name, "set_to": value}).first() is not None

    def of(self, account: int) -> dict[str, str]:
        """All that somebody has set, by name."""
        return {name: value for name, value in self._connection.execute(_OF, {"account": account})}
