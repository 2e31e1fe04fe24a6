"""Whom our people have blocked (XEP-0191).

``blocked_by`` is asked with every question of who is what at a node: somebody whom the node's owner blocked is an
outcast there. As long as that owner has blocked nobody it is one step in an index.
"""

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, exists, func, or_, select

from microblog.model.jid import JID
from microblog.model.quiet import Blocks as Blocked
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.store import tables
from microblog.store.prepared import Prepared
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_BLOCKS = tables.blocks
_B = _BLOCKS.c
_A = tables.accounts.c
_L = tables.linked_addresses.c
_ACCOUNT = _B.account_id == bindparam("account")


def _text(name: str) -> ColumnElement[str]:
    return bindparam(name, type_=_B.jid.type)


def blocked_by(owner: Any) -> ColumnElement[bool]:
    """Has an account blocked somebody? Parameters ``jid`` (bare), ``domain``, and ``name``: of an account here, or "".

    Whoever blocked an address elsewhere of somebody here has blocked them.
    """
    asked_for = or_(_B.jid.in_([_text("jid"), _text("domain")]), _B.jid.in_(_linked()))
    return exists().where(_B.account_id == owner, asked_for)


def _linked() -> Any:
    """The addresses elsewhere of the account of a name."""
    owner = tables.accounts.alias("linking")
    return (
        select(_L.jid)
        .join(owner, owner.c.id == _L.account_id)
        .where(owner.c.localpart == _text("name"), _L.confirmed)
        .correlate(None)
    )


_OF = select(_B.jid).where(_ACCOUNT).order_by(_B.created, _B.jid)
_OF_NAME = Prepared(
    select(_B.jid).join(tables.accounts, _A.id == _B.account_id).where(_A.localpart == _text("localpart"))
)
_ALL = select(_A.localpart, _B.jid).join(tables.accounts, _A.id == _B.account_id)
# Somebody here, blocked by an address of theirs elsewhere; and the addresses elsewhere of somebody blocked by name.
_OTHER = tables.accounts.alias("other")
_HERE = (
    select(_A.localpart, _OTHER.c.localpart)
    .join(_BLOCKS, _B.account_id == _A.id)
    .join(tables.linked_addresses, and_(_L.jid == _B.jid, _L.confirmed))
    .join(_OTHER, _OTHER.c.id == _L.account_id)
)
_ELSEWHERE = (
    select(_A.localpart, _L.jid)
    .join(_BLOCKS, _B.account_id == _A.id)
    .join(
        _OTHER,
        and_(
            _OTHER.c.localpart == func.replace(_B.jid, _text("at_domain"), ""),
            # What is replaced may be anywhere, in the name of a longer domain as well.
            _B.jid == _OTHER.c.localpart.concat(_text("at_domain")),
        ),
    )
    .join(tables.linked_addresses, and_(_L.account_id == _OTHER.c.id, _L.confirmed))
)
_ELSEWHERE_OF_NAME = Prepared(_ELSEWHERE.where(_A.localpart == _text("localpart")))
_HERE_OF_NAME = Prepared(_HERE.where(_A.localpart == _text("localpart")))
_BY_ANYBODY = Prepared(
    select(_A.localpart)
    .join(tables.accounts, _A.id == _B.account_id)
    .where(or_(_B.jid.in_([_text("jid"), _text("domain")]), _B.jid.in_(_linked())))
    .distinct()
)
_OWNED = tables.accounts.alias("owned")
_OWNER = select(_OWNED.c.id).where(_OWNED.c.localpart == _text("localpart")).scalar_subquery()
_HAS = Prepared(select(case((blocked_by(_OWNER), 1), else_=0)))
# Most people have nothing of all this, and that is asked before each page that they read.
_MUTES = tables.mutes.c
_ANY = Prepared(
    select(
        case((exists().where(_MUTES.account_id == _OWNER), 1), else_=0),
        case((exists().where(_B.account_id == _OWNER), 1), else_=0),
        case((exists().where(or_(_B.jid.in_([_text("jid"), _text("domain")]), _B.jid.in_(_linked()))), 1), else_=0),
    )
)
_COUNT = select(func.count()).where(_ACCOUNT)
_REMOVE = delete(_BLOCKS).where(_ACCOUNT, _B.jid == bindparam("address"))

_S = tables.subscriptions.c
_N = tables.nodes.c
_SUBSCRIBERS = (
    select(_N.name, _S.subscriber, _S.state, _S.subid)
    .join(tables.subscriptions, _S.node_id == _N.id)
    .where(_N.service == bindparam("service"), _S.domain == bindparam("domain"))
    .order_by(_S.id)
    .limit(bindparam("limit"))
)
_INTERESTS = tables.interests
_LOSE_INTERESTS = delete(_INTERESTS).where(
    _INTERESTS.c.service == bindparam("at"), _INTERESTS.c.domain == bindparam("of")
)


class Blocks:
    """By the account's key, or its name."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._domain = transaction.domain
        self._now = transaction.now

    def of(self, account: int) -> list[JID]:
        """The addresses that somebody blocked, the oldest first."""
        return [JID.parse(row[0]) for row in self._connection.execute(_OF, {"account": account})]

    def of_name(self, localpart: str) -> Blocked:
        """The same, by the account's name; with the other addresses of somebody here."""
        rows = _OF_NAME.rows(self._connection, {"localpart": localpart})
        if not rows:
            return Blocked()
        others = [
            str(JID(row[1], self._domain)) for row in _HERE_OF_NAME.rows(self._connection, {"localpart": localpart})
        ]
        named = {"localpart": localpart, "at_domain": f"@{self._domain}"}
        others += [row[1] for row in _ELSEWHERE_OF_NAME.rows(self._connection, named)]
        return Blocked.of(map(JID.parse, (*(row[0] for row in rows), *others)))

    def all(self) -> list[tuple[JID, JID]]:
        """Who blocked which address; with the other addresses of somebody here."""
        execute, domain = self._connection.execute, self._domain
        found = [(JID(name, domain), JID.parse(jid)) for name, jid in execute(_ALL)]
        found += [(JID(name, domain), JID(other, domain)) for name, other in execute(_HERE)]
        elsewhere = execute(_ELSEWHERE, {"at_domain": f"@{domain}"})
        return found + [(JID(name, domain), JID.parse(jid)) for name, jid in elsewhere]

    def by_anybody(self, jid: JID) -> frozenset[JID]:
        """Who here has blocked somebody."""
        rows = _BY_ANYBODY.rows(self._connection, asked(jid, self._domain))
        return frozenset(JID(row[0], self._domain) for row in rows)

    def any(self, reader: JID) -> tuple[bool, bool, bool]:
        """Has somebody muted anything, blocked anybody, been blocked by anybody?"""
        here = reader.localpart if reader.domainpart == self._domain else ""
        row = _ANY.first(self._connection, {"localpart": here, **asked(reader, self._domain)})
        assert row is not None
        return bool(row[0]), bool(row[1]), bool(row[2])

    def has(self, owner: JID, jid: JID) -> bool:
        """Has somebody here blocked somebody?"""
        if owner.domainpart != self._domain or not owner.localpart:
            return False
        values = {"localpart": owner.localpart, **asked(jid, self._domain)}
        return bool(_HAS.scalar(self._connection, values))

    def between(self, one: JID, other: JID) -> bool:
        """Has one of two blocked the other?"""
        return self.has(one, other) or self.has(other, one)

    def count(self, account: int) -> int:
        """How many somebody has."""
        return int(self._connection.execute(_COUNT, {"account": account}).scalar_one())

    def add(self, account: int, jid: JID) -> bool:
        """Block an address; False if it is."""
        statement = insert(self._connection, _BLOCKS).on_conflict_do_nothing()
        values = {"account_id": account, "jid": str(jid), "created": self._now}
        return bool(self._connection.execute(statement, values).rowcount)

    def remove(self, account: int, jid: JID) -> bool:
        """Unblock an address; False if it was not blocked."""
        return bool(self._connection.execute(_REMOVE, {"account": account, "address": str(jid)}).rowcount)

    def subscribers_at(self, service: JID, domain: str, limit: int) -> list[Subscription]:
        """Subscriptions to the nodes of a service that people of a domain have."""
        rows = self._connection.execute(_SUBSCRIBERS, {"service": str(service), "domain": domain, "limit": limit})
        return [
            Subscription(
                service=service, node=row[0], jid=JID.parse(row[1]), state=SubscriptionState(row[2]), subid=row[3]
            )
            for row in rows
        ]

    def lose_interests(self, service: JID, domain: str) -> None:
        """Nobody of a domain wants to hear of a service any more."""
        self._connection.execute(_LOSE_INTERESTS, {"at": str(service), "of": domain})


def asked(jid: JID, domain: str) -> dict[str, str]:
    """The parameters of ``blocked_by``."""
    name = jid.localpart if jid.domainpart == domain else ""
    return {"jid": str(jid.bare), "domain": jid.domainpart, "name": name}
