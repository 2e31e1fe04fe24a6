"""Who is what at a node, and everything else that the access rules have to know of somebody."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, func, literal, select

from microblog.model.access import Facts
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.subscription import Affiliated, Affiliation, SubscriptionState
from microblog.store import tables
from microblog.store.blocks import asked, blocked_by
from microblog.store.prepared import Prepared
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_AFFILIATIONS = tables.affiliations
_SUBSCRIPTIONS = tables.subscriptions
_CONTACTS = tables.contacts
_ACCOUNTS = tables.accounts
_NODES = tables.nodes

# The owner's account, by which its roster is found; none where the service is no account of ours.
ACCOUNT = select(_ACCOUNTS.c.id).where(_ACCOUNTS.c.localpart == bindparam("account")).scalar_subquery()
FACT_COLUMNS: tuple[ColumnElement[Any], ...] = (
    _AFFILIATIONS.c.affiliation,
    _CONTACTS.c.subscription.label("presence"),
    _CONTACTS.c.groups,
)


def _facts_query(jids: Any, *, blocks: bool) -> Any:
    # 'subscribed' is the greater word of the two states.
    state = (
        select(func.max(_SUBSCRIPTIONS.c.state))
        .where(_SUBSCRIPTIONS.c.node_id == bindparam("node_id"), _SUBSCRIPTIONS.c.bare == jids.c.jid)
        .scalar_subquery()
    )
    return (
        select(jids.c.jid, state, *FACT_COLUMNS, case((blocked_by(ACCOUNT), 1), else_=0) if blocks else literal(0))
        .select_from(jids)
        .outerjoin(
            _AFFILIATIONS,
            and_(_AFFILIATIONS.c.node_id == bindparam("node_id"), _AFFILIATIONS.c.jid == jids.c.jid),
        )
        .outerjoin(_CONTACTS, and_(_CONTACTS.c.account_id == ACCOUNT, _CONTACTS.c.jid == jids.c.jid))
    )


_ASKED = select(bindparam("jid", type_=_AFFILIATIONS.c.jid.type).label("jid")).subquery()
_FACTS = Prepared(_facts_query(_ASKED, blocks=True))
_FACTS_UNBLOCKED = Prepared(_facts_query(_ASKED, blocks=False))
_OF_NODE = (
    select(_AFFILIATIONS.c.jid, _AFFILIATIONS.c.affiliation)
    .where(_AFFILIATIONS.c.node_id == bindparam("node_id"))
    .order_by(_AFFILIATIONS.c.jid)
    .limit(bindparam("limit"))
)
_OF_JID = (
    select(_NODES.c.name, _AFFILIATIONS.c.affiliation)
    .join(_NODES, _NODES.c.id == _AFFILIATIONS.c.node_id)
    .where(_AFFILIATIONS.c.jid == bindparam("jid"), _NODES.c.service == bindparam("service"))
    .order_by(_NODES.c.name)
)
_OWNERS = (
    select(_AFFILIATIONS.c.jid)
    .where(
        _AFFILIATIONS.c.node_id == bindparam("node_id"),
        _AFFILIATIONS.c.affiliation == literal(Affiliation.OWNER.value),
    )
    .limit(100)
)
_COUNT = select(func.count()).where(_AFFILIATIONS.c.node_id == bindparam("node_id"))
_DELETE = delete(_AFFILIATIONS).where(
    _AFFILIATIONS.c.node_id == bindparam("node_id"), _AFFILIATIONS.c.jid == bindparam("jid")
)


def read_facts(
    node: Node, jid: JID, local_domain: str, state: str | None, affiliation: str | None, presence: Any, groups: Any
) -> Facts:
    """What the columns say. The account whose service it is owns its nodes whatever else is written."""
    return Facts(
        affiliation=Affiliation.OWNER if jid.bare == node.service else Affiliation(affiliation or "none"),
        subscribed=SubscriptionState(state or "none"),
        presence=presence in ("from", "both"),
        groups=frozenset(json.loads(groups)) if groups and groups != "[]" else frozenset(),
        here=jid.domainpart == local_domain,
    )


class Affiliations:
    """By node and bare JID."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def facts(self, node: Node, jid: JID) -> Facts:
        """What the access rules have to know of somebody at a node."""
        return self._facts(_FACTS, node, jid)

    def _facts(self, query: Prepared, node: Node, jid: JID) -> Facts:
        values = {"node_id": node.key, "account": account_of(node), **asked(jid, self._transaction.domain)}
        row = query.first(self._connection, values)
        assert row is not None
        facts = self._read(node, jid, row)
        # Whom the node's owner has blocked has no business there (XEP-0191).
        return replace(facts, affiliation=Affiliation.OUTCAST) if row[5] else facts

    def facts_of(self, node: Node, jids: Iterable[JID]) -> Mapping[JID, Facts]:
        """The same of several, by bare JID."""
        owner_blocks = self._transaction.blocks.any(node.service)[1]
        query = _FACTS if owner_blocks else _FACTS_UNBLOCKED
        return {jid.bare: self._facts(query, node, jid) for jid in {jid.bare for jid in jids}}

    def _read(self, node: Node, jid: JID, row: Sequence[Any]) -> Facts:
        return read_facts(node, jid, self._transaction.domain, row[1], row[2], row[3], row[4])

    def of_node(self, node: Node, limit: int) -> list[Affiliated]:
        """Everybody who is something at a node, the service's account first."""
        found = [
            Affiliated(service=node.service, node=node.name, jid=JID.parse(jid), affiliation=Affiliation(affiliation))
            for jid, affiliation in self._connection.execute(_OF_NODE, {"node_id": node.key, "limit": limit})
            if jid != str(node.service)
        ]
        if node.service.localpart:
            owner = Affiliated(service=node.service, node=node.name, jid=node.service, affiliation=Affiliation.OWNER)
            found.insert(0, owner)
        return found

    def of_jid(self, service: JID, jid: JID) -> list[Affiliated]:
        """What somebody is at the nodes of a service."""
        rows = self._connection.execute(_OF_JID, {"service": str(service), "jid": str(jid.bare)})
        return [
            Affiliated(service=service, node=name, jid=jid.bare, affiliation=Affiliation(affiliation))
            for name, affiliation in rows
        ]

    def owners(self, node: Node) -> tuple[JID, ...]:
        """Who owns a node."""
        rows = self._connection.execute(_OWNERS, {"node_id": node.key}).scalars()
        return tuple(dict.fromkeys([node.service] * bool(node.service.localpart) + [JID.parse(jid) for jid in rows]))

    def count(self, node: Node) -> int:
        """How many affiliations are written down."""
        return int(self._connection.execute(_COUNT, {"node_id": node.key}).scalar_one())

    def set(self, node: Node, jid: JID, affiliation: Affiliation) -> None:
        """Make somebody something, or nothing."""
        key = {"node_id": node.key, "jid": str(jid.bare)}
        if affiliation is Affiliation.NONE:
            self._connection.execute(_DELETE, key)
            return
        statement = insert(self._connection, _AFFILIATIONS)
        statement = statement.on_conflict_do_update(
            index_elements=["node_id", "jid"], set_={"affiliation": statement.excluded.affiliation}
        )
        self._connection.execute(statement, key | {"affiliation": affiliation.value})


def account_of(node: Node) -> str:
    """The localpart of the account whose node it is, for ACCOUNT; nothing for a domain's nodes."""
    return node.service.localpart
