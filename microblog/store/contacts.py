"""Rosters: RFC 6121 §2."""

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, Select, bindparam, delete, func, select, update

from microblog.model.contact import Contact, Subscription
from microblog.model.jid import JID
from microblog.store import tables
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_T = tables.contacts.c
_A = tables.accounts.c
_ACCOUNT = select(_A.id).where(_A.localpart == bindparam("account")).scalar_subquery()
_FIELDS = ("name", "groups", "subscription", "ask", "pending_in", "approved", "listed", "request")


def _select(*conditions: Any) -> Select[Any]:
    return (
        select(_T.jid, *(_T[field] for field in _FIELDS)).where(_T.account_id == _ACCOUNT, *conditions).order_by(_T.jid)
    )


_GET = _select(_T.jid == bindparam("contact"))
_ROSTER = _select(_T.listed)
_PENDING = _select(_T.pending_in)
_ALL = _select()
_JIDS = select(_T.jid).where(_T.account_id == _ACCOUNT, _T.subscription.in_((bindparam("one"), "both")))
_COUNT = select(func.count()).where(_T.account_id == _ACCOUNT, _T.listed == bindparam("listed"))
_VERSION = select(_A.roster_version).where(_A.localpart == bindparam("account"))
_NEXT_VERSION = (
    update(tables.accounts)
    .where(_A.localpart == bindparam("account"))
    .values(roster_version=_A.roster_version + 1)
    .returning(_A.roster_version)
)
_DELETE = delete(tables.contacts).where(_T.account_id == _ACCOUNT, _T.jid == bindparam("contact"))


class Contacts:
    """The contacts of our accounts; ``account`` is always a bare JID of ours."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection

    def get(self, account: JID, contact: JID) -> Contact | None:
        """One contact, listed or not."""
        row = self._connection.execute(_GET, {"account": account.localpart, "contact": str(contact.bare)}).one_or_none()
        return None if row is None else _contact(row)

    def roster(self, account: JID) -> tuple[Contact, ...]:
        """The listed contacts, by address."""
        return self._several(_ROSTER, account)

    def pending(self, account: JID) -> tuple[Contact, ...]:
        """Those whose request to see us is not answered."""
        return self._several(_PENDING, account)

    def all(self, account: JID) -> tuple[Contact, ...]:
        """Listed or not."""
        return self._several(_ALL, account)

    def seeing(self, account: JID) -> tuple[JID, ...]:
        """Who sees the account's presence (from, both)."""
        return self._jids(account, Subscription.FROM)

    def seen(self, account: JID) -> tuple[JID, ...]:
        """Whose presence the account sees (to, both)."""
        return self._jids(account, Subscription.TO)

    def count(self, account: JID, *, listed: bool = True) -> int:
        """How many contacts, or how many mere requests."""
        parameters = {"account": account.localpart, "listed": listed}
        return int(self._connection.execute(_COUNT, parameters).scalar_one())

    def put(self, account: JID, contact: Contact) -> None:
        """Keep a contact, in place of what was known of it."""
        statement = insert(self._connection, tables.contacts).values(account_id=_ACCOUNT)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["account_id", "jid"],
                set_={field: statement.excluded[field] for field in _FIELDS},
            ),
            {
                "account": account.localpart,
                "jid": str(contact.jid),
                "name": contact.name,
                "groups": json.dumps(contact.groups, ensure_ascii=False),
                "subscription": contact.subscription.value,
                "ask": contact.ask,
                "pending_in": contact.pending_in,
                "approved": contact.approved,
                "listed": contact.listed,
                "request": contact.request,
            },
        )

    def delete(self, account: JID, contact: JID) -> None:
        """Forget a contact."""
        self._connection.execute(_DELETE, {"account": account.localpart, "contact": str(contact)})

    def version(self, account: JID) -> int:
        """The roster's version (§2.6); 0 for nobody's account."""
        return int(self._connection.execute(_VERSION, {"account": account.localpart}).scalar() or 0)

    def next_version(self, account: JID) -> int:
        """Count it up and say what it is now."""
        return int(self._connection.execute(_NEXT_VERSION, {"account": account.localpart}).scalar_one())

    def _several(self, query: Select[Any], account: JID) -> tuple[Contact, ...]:
        rows = self._connection.execute(query, {"account": account.localpart})
        return tuple(_contact(row) for row in rows)

    def _jids(self, account: JID, one: Subscription) -> tuple[JID, ...]:
        rows = self._connection.execute(_JIDS, {"account": account.localpart, "one": one.value})
        return tuple(JID.parse(text) for text in rows.scalars())


def _contact(row: Row[Any]) -> Contact:
    return Contact(
        jid=JID.parse(row.jid),
        name=row.name,
        groups=tuple(json.loads(row.groups)),
        subscription=Subscription(row.subscription),
        ask=row.ask,
        pending_in=row.pending_in,
        approved=row.approved,
        listed=row.listed,
        request=row.request,
    )
