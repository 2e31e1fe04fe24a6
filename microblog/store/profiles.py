"""What our people say of themselves: one row, from which every form is made."""

import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, select

from microblog.model.profile import Avatar, Profile, Property
from microblog.store import tables
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_PROFILES = tables.profiles
_P = _PROFILES.c
_A = tables.accounts.c

_GET = select(_P.nickname, _P.bio, _P.fields, _P.avatar, _P.avatar_type).where(_P.account_id == bindparam("account"))
_HASH = (
    select(_P.avatar_hash).join(tables.accounts, _A.id == _P.account_id).where(_A.localpart == bindparam("localpart"))
)
_CHANGED: Final = ("nickname", "bio", "fields", "avatar", "avatar_type", "avatar_hash", "updated")


class Profiles:
    """By the account's key."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now

    def get(self, account: int) -> Profile:
        """What somebody says of themselves; an empty profile if nothing."""
        row = self._connection.execute(_GET, {"account": account}).one_or_none()
        if row is None:
            return Profile()
        fields: dict[str, Any] = json.loads(row.fields)
        return Profile(
            nickname=row.nickname,
            bio=row.bio,
            properties=tuple(
                Property(name, tuple(values), tuple(kinds)) for name, values, kinds in fields.get("properties", ())
            ),
            others=tuple((form, text) for form, text in fields.get("others", ())),
            avatar=None if row.avatar is None else Avatar(bytes(row.avatar), row.avatar_type),
        )

    def put(self, account: int, profile: Profile) -> None:
        """Write it down, in place of what was there."""
        avatar = profile.avatar
        fields = {"properties": profile.properties, "others": profile.others}
        statement = insert(self._connection, _PROFILES)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["account_id"], set_={name: statement.excluded[name] for name in _CHANGED}
            ),
            {
                "account_id": account,
                "nickname": profile.nickname,
                "bio": profile.bio,
                "fields": json.dumps(fields, ensure_ascii=False),
                "avatar": None if avatar is None else avatar.data,
                "avatar_type": "" if avatar is None else avatar.type,
                "avatar_hash": "" if avatar is None else avatar.hash,
                "updated": self._now,
            },
        )

    def avatar_hash(self, localpart: str) -> str:
        """The name of somebody's picture; empty if there is none."""
        return self._connection.execute(_HASH, {"localpart": localpart}).scalar_one_or_none() or ""
