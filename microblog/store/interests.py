"""Remote contacts that are present and want notifications of certain nodes (XEP-0163 §4.3.2), by full JID.

They outlive a restart: a contact's server tells us of its presence once and believes that we remember.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, exists, insert, literal, or_, select

from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.subscription import SubscriptionState
from microblog.store import tables
from microblog.store.affiliations import ACCOUNT, FACT_COLUMNS, account_of, read_facts
from microblog.store.subscriptions import SILENT, Reader

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_INTERESTS = tables.interests
_AFFILIATIONS = tables.affiliations
_CONTACTS = tables.contacts
_SUBSCRIPTIONS = tables.subscriptions
_SERVICE = _INTERESTS.c.service == bindparam("service")
_JID = _INTERESTS.c.jid == bindparam("jid")

_OF = select(_INTERESTS.c.node).where(_JID, _SERVICE)
_RESOURCES = (
    select(_INTERESTS.c.jid)
    .where(_INTERESTS.c.bare == bindparam("bare"), _SERVICE, _INTERESTS.c.jid != bindparam("jid"))
    .distinct()
    .order_by(_INTERESTS.c.jid)
)
_GONE = delete(_INTERESTS).where(_JID)
_GONE_HERE = _GONE.where(_SERVICE)
_NOT_ANY_MORE = _GONE_HERE.where(_INTERESTS.c.node == bindparam("node"))
_LOST = delete(_INTERESTS).where(_INTERESTS.c.bare == bindparam("bare"), _SERVICE)
_INSERT = insert(_INTERESTS)
_OF_NODE = select(_INTERESTS.c.jid).where(_SERVICE, _INTERESTS.c.node == bindparam("node")).order_by(_INTERESTS.c.jid)
_READERS = (
    select(_INTERESTS.c.jid, *FACT_COLUMNS)
    .select_from(_INTERESTS)
    .outerjoin(
        _AFFILIATIONS,
        and_(_AFFILIATIONS.c.node_id == bindparam("node_id"), _AFFILIATIONS.c.jid == _INTERESTS.c.bare),
    )
    .outerjoin(_CONTACTS, and_(_CONTACTS.c.account_id == ACCOUNT, _CONTACTS.c.jid == _INTERESTS.c.bare))
    .where(
        _SERVICE,
        _INTERESTS.c.node == bindparam("node"),
        _INTERESTS.c.domain == bindparam("domain"),
        _INTERESTS.c.jid > bindparam("after"),
        ~exists().where(
            _SUBSCRIPTIONS.c.node_id == bindparam("node_id"),
            or_(_SUBSCRIPTIONS.c.subscriber == _INTERESTS.c.jid, _SUBSCRIPTIONS.c.subscriber == _INTERESTS.c.bare),
            _SUBSCRIPTIONS.c.state == literal(SubscriptionState.SUBSCRIBED.value),
            _SUBSCRIPTIONS.c.options != literal(SILENT),
        ),
    )
    .order_by(_INTERESTS.c.jid)
    .limit(bindparam("limit"))
)


class Interests:
    """By service, node and full JID."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._domain = transaction.domain

    def of(self, service: JID, jid: JID) -> frozenset[str]:
        """The nodes of a service that a full JID wants to hear of."""
        return frozenset(self._connection.execute(_OF, {"service": str(service), "jid": str(jid)}).scalars().all())

    def of_node(self, node: Node) -> list[JID]:
        """Everybody who wants to hear of a node."""
        where = {"service": str(node.service), "node": node.name}
        return [JID.parse(jid) for jid in self._connection.execute(_OF_NODE, where).scalars()]

    def other_resources(self, service: JID, jid: JID) -> tuple[JID, ...]:
        """With which other resources the same contact has an interest in a service."""
        where = {"service": str(service), "jid": str(jid), "bare": str(jid.bare)}
        return tuple(JID.parse(found) for found in self._connection.execute(_RESOURCES, where).scalars())

    def set(self, service: JID, jid: JID, nodes: Collection[str]) -> frozenset[str]:
        """Replace the nodes a full JID wants to hear of; the answer is those that are new."""
        known = self.of(service, jid)
        names = {"service": str(service), "jid": str(jid)}
        gone = [names | {"node": node} for node in sorted(known.difference(nodes))]
        new = sorted(set(nodes) - known)
        if gone:
            self._connection.execute(_NOT_ANY_MORE, gone)
        if new:
            where = names | {"bare": str(jid.bare), "domain": jid.domainpart}
            self._connection.execute(_INSERT, [where | {"node": node} for node in new])
        return frozenset(new)

    def gone(self, jid: JID, service: JID | None = None) -> None:
        """A full JID is not present any more, to one service or to all."""
        if service is None:
            self._connection.execute(_GONE, {"jid": str(jid)})
        else:
            self._connection.execute(_GONE_HERE, {"jid": str(jid), "service": str(service)})

    def lost(self, service: JID, jid: JID) -> None:
        """A contact is not one any more."""
        self._connection.execute(_LOST, {"bare": str(jid.bare), "service": str(service)})

    def readers_page(self, node: Node, domain: str, *, after: str, limit: int) -> list[Reader]:
        """The interested of a domain who are not told as subscribers, with what the access rules must know of them.

        By full JID; ``after``: the last of the page before.
        """
        rows = self._connection.execute(
            _READERS,
            {
                "service": str(node.service),
                "node": node.name,
                "node_id": node.key,
                "domain": domain,
                "account": account_of(node),
                "after": after,
                "limit": limit,
            },
        )
        readers = []
        for row in rows:
            jid = JID.parse(row[0])
            facts = read_facts(node, jid, self._domain, None, row[1], row[2], row[3])
            readers.append(Reader(jid=jid, facts=facts, deliver=True))
        return readers
