"""What the node must remember about itself: its secrets, its epoch."""

import base64
import secrets
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from microblog.store import tables
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_SETTINGS = tables.settings
# Made when the database is opened, because those who log in are only readers.
LOGIN_SECRET: Final = "login"


class Settings:
    """Names and values."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def get(self, name: str) -> str | None:
        """The value, if there is one."""
        value: str | None = self._connection.execute(
            select(_SETTINGS.c.value).where(_SETTINGS.c.name == name)
        ).scalar_one_or_none()
        return value

    def set(self, name: str, value: str) -> None:
        """Remember a value, in place of an earlier one."""
        statement = insert(self._connection, _SETTINGS).values(name=name, value=value)
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_={"value": statement.excluded.value})
        )

    def secret(self, name: str) -> bytes:
        """256 random bits that stay the same ever after; made when first asked for, so first ask in a write."""
        known = self.get(f"secret.{name}")
        if known is None:
            known = base64.b64encode(secrets.token_bytes(32)).decode("ascii")
            self.set(f"secret.{name}", known)
        return base64.b64decode(known)
