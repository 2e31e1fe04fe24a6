"""XEP-0060 §5: what anybody may find out: nodes, what they are for, and one's own part in them.

What one may not read is not there.
"""

from dataclasses import dataclass
from datetime import datetime

from microblog.model.access import NO_SUCH_NODE, audiences_readable, visible
from microblog.model.errors import ItemNotFound
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.subscription import Affiliated, Affiliation, Subscription
from microblog.store.transaction import Transaction
from microblog.usecases import depending
from microblog.usecases.subscribing import local_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """§5.2."""

    service: JID
    asker: JID


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """§5.4."""

    service: JID
    node: str
    asker: JID


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMetadata:
    """``items``: how many the asker may read."""

    node: Node
    created: datetime
    owners: tuple[JID, ...]
    items: int
    subscribers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MySubscriptions:
    """§5.6: of one node, or of all nodes of a service."""

    service: JID
    actor: JID
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MyAffiliations:
    """§5.7: with one node, or with all nodes of a service."""

    service: JID
    actor: JID
    node: str | None = None


def nodes(tx: Transaction, request: Nodes) -> tuple[Node, ...]:
    """The nodes of a service that the asker may know of, by name."""
    if request.service.domainpart != tx.domain:
        return ()
    return tuple(
        node
        for node in tx.nodes.of(request.service)
        if visible(node.config, tx.affiliations.facts(node, request.asker))
    )


def metadata(tx: Transaction, request: Metadata) -> NodeMetadata:
    """What a node is. Raises ItemNotFound."""
    node, facts = depending.stand(tx, local_node(tx, request.service, request.node), request.asker)
    if not visible(node.config, facts):
        raise ItemNotFound(NO_SUCH_NODE)
    audiences = audiences_readable(node.config, facts)
    return NodeMetadata(
        node=node,
        created=tx.nodes.created(node),
        owners=tx.affiliations.owners(node),
        items=tx.items.count(node.key, audiences=audiences) if audiences else 0,
        subscribers=tx.subscriptions.count(node),
    )


def subscriptions(tx: Transaction, request: MySubscriptions) -> tuple[Subscription, ...]:
    """The asker's own subscriptions. Raises ItemNotFound for a node that is not there."""
    if request.node is not None:
        node = local_node(tx, request.service, request.node)
        found = tx.subscriptions.of_bare(node, request.actor)
        node, facts = depending.stand(tx, node, request.actor)
        if not found and not visible(node.config, facts):
            raise ItemNotFound(NO_SUCH_NODE)
        return tuple(found)
    if request.service.domainpart != tx.domain:
        return ()
    return tuple(tx.subscriptions.at_service(request.service, request.actor))


def affiliations(tx: Transaction, request: MyAffiliations) -> tuple[Affiliated, ...]:
    """The asker's own affiliations. Raises ItemNotFound for a node that is not there."""
    if request.service.domainpart != tx.domain:
        return ()
    if request.node is not None:
        node, facts = depending.stand(tx, local_node(tx, request.service, request.node), request.actor)
        if not visible(node.config, facts):
            raise ItemNotFound(NO_SUCH_NODE)
        return _affiliated(node, request.actor, facts.affiliation)
    if request.actor.bare == request.service:
        owned = (_affiliated(node, request.actor, Affiliation.OWNER) for node in tx.nodes.of(request.service))
        return tuple(one for some in owned for one in some)
    return tuple(tx.affiliations.of_jid(request.service, request.actor))


def _affiliated(node: Node, jid: JID, affiliation: Affiliation) -> tuple[Affiliated, ...]:
    if affiliation is Affiliation.NONE:
        return ()
    return (Affiliated(service=node.service, node=node.name, jid=jid.bare, affiliation=affiliation),)
