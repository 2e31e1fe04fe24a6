"""XEP-0133: what administrators ask about accounts, and do to several at once.

Whether somebody may is for the caller to say.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select

from microblog.model.account import Account
from microblog.model.errors import ItemNotFound, NotAcceptable
from microblog.model.jid import JID
from microblog.store import tables
from microblog.store.transaction import Transaction

PAGE: Final = 200

_A = tables.accounts.c


def accounts(tx: Transaction, jids: Sequence[JID]) -> tuple[Account, ...]:
    """The accounts of these addresses, once each.

    Raises: NotAcceptable for one of another domain, ItemNotFound for one that is not there.
    """
    found = []
    for jid in dict.fromkeys(jid.bare for jid in jids):
        if jid.domainpart != tx.domain or not jid.localpart:
            raise NotAcceptable(f"{jid} is not of this domain")
        account = tx.accounts.get(jid.localpart)
        if account is None:
            raise ItemNotFound(f"there is no account {jid}")
        found.append(account)
    return tuple(found)


def administrators(tx: Transaction) -> tuple[JID, ...]:
    """Those who may administer."""
    asked = select(_A.localpart).where(_A.admin, ~_A.disabled).order_by(_A.localpart)
    return tuple(JID(name, tx.domain) for name in tx.connection.execute(asked).scalars())


def count(tx: Transaction, *, disabled: bool | None = None) -> int:
    """How many accounts there are, or how many are disabled or not."""
    asked = select(func.count()).select_from(tables.accounts)
    if disabled is not None:
        asked = asked.where(_A.disabled == disabled)
    return int(tx.connection.execute(asked).scalar_one())


def page(tx: Transaction, after: str, *, disabled: bool | None = None) -> tuple[str, ...]:
    """The names of some accounts, in order; fewer than ``PAGE`` if there are no more."""
    asked = select(_A.localpart).where(_A.localpart > after).order_by(_A.localpart).limit(PAGE)
    if disabled is not None:
        asked = asked.where(_A.disabled == disabled)
    return tuple(tx.connection.execute(asked).scalars())
