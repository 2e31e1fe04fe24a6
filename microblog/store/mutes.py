"""What our people do not want to read, by account; gone when its time is over."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, or_, select

from microblog.model.jid import JID
from microblog.model.quiet import Mute, MuteKind
from microblog.store import tables
from microblog.store.prepared import Prepared
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_MUTES = tables.mutes
_M = _MUTES.c
_A = tables.accounts.c
_ACCOUNT = _M.account_id == bindparam("account")
_NOW: Any = bindparam("now", type_=tables.Instant)
_LASTS = or_(_M.until.is_(None), _M.until > _NOW)

_OF = Prepared(select(_M.kind, _M.value, _M.until).where(_ACCOUNT, _LASTS).order_by(_M.created, _M.kind, _M.value))
_OF_NAME = Prepared(
    select(_M.kind, _M.value, _M.until)
    .join(tables.accounts, _A.id == _M.account_id)
    .where(_A.localpart == bindparam("localpart"), _LASTS)
)
_ALL = select(_A.localpart, _M.kind, _M.value, _M.until).join(tables.accounts, _A.id == _M.account_id).where(_LASTS)
_COUNT = select(func.count()).where(_ACCOUNT)
_REMOVE = delete(_MUTES).where(_ACCOUNT, _M.kind == bindparam("of"), _M.value == bindparam("what"))
_REMOVE_ALL = delete(_MUTES).where(_ACCOUNT)
_FORGET = delete(_MUTES).where(_M.until <= _NOW)


class Mutes:
    """By the account's key."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._domain = transaction.domain
        self._now = transaction.now

    def of(self, account: int) -> list[Mute]:
        """What somebody muted that still is, the oldest first."""
        return [_mute(row) for row in _OF.rows(self._connection, {"account": account, "now": self._now})]

    def of_name(self, localpart: str) -> list[Mute]:
        """The same, by the account's name."""
        rows = _OF_NAME.rows(self._connection, {"localpart": localpart, "now": self._now})
        return [_mute(row) for row in rows]

    def all(self) -> list[tuple[JID, Mute]]:
        """Everybody's."""
        rows = self._connection.execute(_ALL, {"now": self._now})
        return [(JID(row[0], self._domain), _mute(tuple(row)[1:])) for row in rows]

    def count(self, account: int) -> int:
        """How many somebody has."""
        return int(self._connection.execute(_COUNT, {"account": account}).scalar_one())

    def put(self, account: int, mute: Mute) -> None:
        """Mute something, in place of what was said of it before."""
        statement = insert(self._connection, _MUTES)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["account_id", "kind", "value"], set_={"until": statement.excluded.until}
            ),
            {
                "account_id": account,
                "kind": mute.kind.value,
                "value": mute.value,
                "until": mute.until,
                "created": self._now,
            },
        )

    def remove(self, account: int, kind: MuteKind, value: str) -> bool:
        """Mute it no more; False if it was not."""
        values = {"account": account, "of": kind.value, "what": value}
        return bool(self._connection.execute(_REMOVE, values).rowcount)

    def remove_all(self, account: int) -> int:
        """Mute nothing any more; how much it was."""
        return int(self._connection.execute(_REMOVE_ALL, {"account": account}).rowcount)

    def forget(self) -> int:
        """Forget what is over; how much that was."""
        return int(self._connection.execute(_FORGET, {"now": self._now}).rowcount)


def _mute(row: Sequence[Any]) -> Mute:
    until: datetime | None = row[2]
    return Mute(kind=MuteKind(row[0]), value=row[1], until=until)
