"""Accounts, their keys, the names of those that are gone, and invitations."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select, update

from microblog.model.account import Account, Invite, ScramKeys
from microblog.model.item import Audience
from microblog.store import tables, upsert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_A = tables.accounts.c
_C = tables.credentials.c
_I = tables.invites.c
_R = tables.removed_accounts.c

ACCOUNT_COLUMNS: tuple[ColumnElement[Any], ...] = (
    _A.id,
    _A.localpart,
    _A.admin,
    _A.disabled,
    _A.audience,
    _A.created,
)
_ACCOUNT = select(*ACCOUNT_COLUMNS)
_GET = _ACCOUNT.where(_A.localpart == bindparam("account"))
_ALL = _ACCOUNT.order_by(_A.localpart)
_EXISTS = select(_A.id).where(_A.localpart == bindparam("account"))
_COUNT = select(func.count()).select_from(tables.accounts)
_ADMINS = select(func.count()).where(_A.admin, ~_A.disabled)
_KEYS = (
    select(_C.hash, _C.salt, _C.iterations, _C.stored_key, _C.server_key)
    .join(tables.accounts, _A.id == _C.account_id)
    .where(_A.localpart == bindparam("account"), _C.hash == bindparam("hash_name"))
)
_REMOVED = select(_R.localpart).where(_R.localpart == bindparam("account"))
_INVITE = select(_I.admin, _I.created, _I.expires, _I.used_by).where(_I.token_hash == bindparam("hash_of_token"))
_OPEN_INVITES = select(func.count()).where(_I.used_by.is_(None), _I.expires > bindparam("now", type_=tables.Instant))
_FORGET_SUBSCRIPTIONS = delete(tables.subscriptions).where(tables.subscriptions.c.bare == bindparam("address"))
_FORGET_AFFILIATIONS = delete(tables.affiliations).where(tables.affiliations.c.jid == bindparam("address"))


class Accounts:
    """Our people, by localpart."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now
        self._domain = transaction.domain

    def get(self, localpart: str) -> Account | None:
        """The account of that name."""
        row = self._connection.execute(_GET, {"account": localpart}).one_or_none()
        return None if row is None else read_account(row)

    def exists(self, localpart: str) -> bool:
        """Is there such an account (disabled or not)?"""
        return self._connection.execute(_EXISTS, {"account": localpart}).scalar() is not None

    def all(self) -> tuple[Account, ...]:
        """All of them, by name."""
        return tuple(read_account(row) for row in self._connection.execute(_ALL))

    def count(self) -> int:
        """How many."""
        return int(self._connection.execute(_COUNT).scalar_one())

    def count_admins(self) -> int:
        """How many may administer and are not disabled."""
        return int(self._connection.execute(_ADMINS).scalar_one())

    def add(self, localpart: str, keys: Iterable[ScramKeys], *, admin: bool, audience: Audience) -> Account:
        """A new account; the name must be free."""
        statement = (
            insert(tables.accounts)
            .values(localpart=localpart, admin=admin, audience=audience.value, created=self._now)
            .returning(_A.id)
        )
        key = int(self._connection.execute(statement).scalar_one())
        self._put_keys(key, keys)
        return Account(key=key, localpart=localpart, admin=admin, audience=audience, created=self._now)

    def remove(self, account: Account) -> None:
        """Delete it and what hangs on it, and remember the name. Its nodes are ``Nodes``' to delete."""
        address = str(account.jid(self._domain))
        self._connection.execute(_FORGET_SUBSCRIPTIONS, {"address": address})
        self._connection.execute(_FORGET_AFFILIATIONS, {"address": address})
        self._connection.execute(delete(tables.accounts).where(_A.id == account.key))
        statement = upsert.insert(self._connection, tables.removed_accounts)
        self._connection.execute(
            statement.values(localpart=account.localpart, removed=self._now).on_conflict_do_nothing()
        )

    def was_removed(self, localpart: str) -> bool:
        """The name was somebody's."""
        return self._connection.execute(_REMOVED, {"account": localpart}).scalar() is not None

    def keys(self, localpart: str, hash_name: str) -> ScramKeys | None:
        """The keys for a hash, disabled or not."""
        row = self._connection.execute(_KEYS, {"account": localpart, "hash_name": hash_name}).one_or_none()
        if row is None:
            return None
        return ScramKeys(
            hash_name=row.hash,
            salt=bytes(row.salt),
            iterations=row.iterations,
            stored_key=bytes(row.stored_key),
            server_key=bytes(row.server_key),
        )

    def set_keys(self, account: Account, keys: Iterable[ScramKeys]) -> None:
        """Another password: none of the old keys remains."""
        self._connection.execute(delete(tables.credentials).where(_C.account_id == account.key))
        self._put_keys(account.key, keys)

    def _put_keys(self, key: int, keys: Iterable[ScramKeys]) -> None:
        rows = [
            {
                "account_id": key,
                "hash": each.hash_name,
                "salt": each.salt,
                "iterations": each.iterations,
                "stored_key": each.stored_key,
                "server_key": each.server_key,
            }
            for each in keys
        ]
        if rows:
            self._connection.execute(insert(tables.credentials), rows)

    def set_disabled(self, account: Account, disabled: bool) -> None:
        """May it log in?"""
        self._connection.execute(update(tables.accounts).where(_A.id == account.key).values(disabled=disabled))

    # Invitations

    def add_invite(self, token_hash: bytes, *, admin: bool, expires: datetime) -> None:
        """A new invitation."""
        self._connection.execute(
            insert(tables.invites).values(token_hash=token_hash, admin=admin, created=self._now, expires=expires)
        )

    def invite(self, token_hash: bytes) -> Invite | None:
        """The invitation with that token, used or expired or not."""
        row = self._connection.execute(_INVITE, {"hash_of_token": token_hash}).one_or_none()
        if row is None:
            return None
        return Invite(admin=row.admin, created=row.created, expires=row.expires, used_by=row.used_by)

    def count_open_invites(self) -> int:
        """How many could be used now."""
        return int(self._connection.execute(_OPEN_INVITES, {"now": self._now}).scalar_one())

    def use_invite(self, token_hash: bytes, localpart: str) -> None:
        """Burn it."""
        self._connection.execute(update(tables.invites).where(_I.token_hash == token_hash).values(used_by=localpart))

    def forget_invites(self, before: datetime) -> None:
        """Delete those that expired before."""
        self._connection.execute(delete(tables.invites).where(_I.expires < before))


def read_account(row: Sequence[Any]) -> Account:
    """An account from a row that begins with ACCOUNT_COLUMNS."""
    return Account(
        key=row[0],
        localpart=row[1],
        admin=bool(row[2]),
        disabled=bool(row[3]),
        audience=Audience(row[4]),
        created=row[5],
    )
