"""XEP-0060 §8: what owners do: make, configure, empty and remove nodes, and say who may what there.

An account owns the nodes of its own address, always. A configuration that changes who may read changes with it whom the
items are for; who lost the right to read is told that the subscription has ended.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from microblog.model.access import WIDTH, audience_of, readable
from microblog.model.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    MaxNodesExceeded,
    NotAcceptable,
    NotAllowed,
    PersistentItemsUnsupported,
    ResourceConstraint,
)
from microblog.model.event import NodeConfigured, NodeDeleted, NodePurged
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.naming import check_node_name
from microblog.model.node import MICROBLOG, Node, NodeConfig, Options, configured, for_audience, is_feed
from microblog.model.subscription import Affiliated, Affiliation, Subscription, SubscriptionState
from microblog.model.uri import ItemAddress
from microblog.store import events
from microblog.store.transaction import Transaction
from microblog.usecases import depending
from microblog.usecases.retracting import retract_all_repeats, take_out
from microblog.usecases.subscribing import change_state, owned_node

AFFILIATIONS_PER_NODE = 10_000
LIST_MAX = 5_000
CHANGES_PER_REQUEST = 500
ANSWERS_MAX = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """§8.1; without ``node`` it gets a name from us (instant node)."""

    service: JID
    actor: JID
    node: str | None = None
    options: Options | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRequest:
    """Somebody who says to be an owner wants something of a node."""

    service: JID
    node: str
    actor: JID


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration(OwnerRequest):
    """§8.2.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure(OwnerRequest):
    """§8.2.4."""

    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultConfiguration:
    """§8.3: the defaults, for a node of a certain name if it has one that says something."""

    service: JID
    actor: JID
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(OwnerRequest):
    """§8.4. ``notice``: the stanza that tells a remote subscriber, who cannot be looked up afterwards; ``withdraw``:
    the one that takes an answer out of a thread elsewhere.
    """

    redirect: str | None = None
    notice: Callable[[JID], str] | None = None
    withdraw: Callable[[JID, str, Item], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge(OwnerRequest):
    """§8.5. ``withdraw``: as in ``Delete``."""

    withdraw: Callable[[JID, str, Item], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Affiliations(OwnerRequest):
    """§8.9.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAffiliations(OwnerRequest):
    """§8.9.2. ``notice``: the stanza for a remote subscriber whose subscription is decided by this."""

    changes: tuple[tuple[JID, Affiliation], ...]
    notice: Callable[[Subscription], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriptions(OwnerRequest):
    """§8.8.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSubscriptions(OwnerRequest):
    """§8.8.2: address, state, and subid if one was named. ``notice``: the stanza for a remote subscriber."""

    changes: tuple[tuple[JID, SubscriptionState, str | None], ...]
    notice: Callable[[Subscription], str] | None = None


def create(tx: Transaction, request: Create) -> Node:
    """Make a node (§8.1).

    Raises: Forbidden (§8.1.1), Conflict if it is there, MaxNodesExceeded, NotAcceptable and UnsupportedAccessModel for
    its options, BadRequest.
    """
    name = tx.new_id() if request.node is None else request.node
    check_node_name(name)
    if depending.is_attachments(name) or depending.is_summary(name):
        raise NotAllowed("what is attached to items has its nodes by itself")
    if request.actor.bare != request.service or request.service.domainpart != tx.domain:
        raise Forbidden("you may not make nodes here")
    if tx.nodes.find(request.service, name) is not None:
        raise Conflict("the node is there already")
    config = configured(tx.nodes.defaults(request.service, name), request.options or {})
    if tx.nodes.count(request.service, dependent=depending.is_dependent(name)) >= tx.limits.nodes_per_account:
        raise MaxNodesExceeded("this account has as many nodes as it may have")
    return tx.nodes.create(request.service, name, config)


def create_microblog_node(tx: Transaction, service: JID, audience: Audience) -> Node:
    """The feed that an account has from its first moment; again, and it stays what it is."""
    known = tx.nodes.find(service, MICROBLOG)
    return known or tx.nodes.create(service, MICROBLOG, for_audience(MICROBLOG, audience))


def configuration(tx: Transaction, request: Configuration) -> Node:
    """A node with its configuration, for its owner (§8.2). Raises ItemNotFound, Forbidden."""
    return owned_node(tx, request.service, request.node, request.actor)


def default_configuration(tx: Transaction, request: DefaultConfiguration) -> NodeConfig:
    """What a new node gets (§8.3). Raises Forbidden."""
    if request.actor.bare != request.service or request.service.domainpart != tx.domain:
        raise Forbidden("you may not make nodes here")
    return tx.nodes.defaults(request.service, request.node)


def configure(tx: Transaction, request: Configure) -> Node:
    """Change a node's configuration (§8.2.5).

    Raises: ItemNotFound, Forbidden, NotAcceptable, UnsupportedAccessModel.
    """
    node = owned_node(tx, request.service, request.node, request.actor)
    config = configured(node.config, request.options)
    if config == node.config:
        return node
    old, new = audience_of(node.config), audience_of(config)
    changed = tx.nodes.configure(node, config)
    if WIDTH[new] < WIDTH[old] or (old is not new and not is_feed(node.name)):
        # Posts never become wider: their authors chose. Other items have no audience but their node's.
        tx.items.set_audience(node.key, old, new)
    if WIDTH[new] > WIDTH[old]:
        tx.marks.widened(node.key)
    if WIDTH[new] < WIDTH[old]:
        # Only what is for all is repeated.
        retract_all_repeats(tx, changed)
    keep = config.max_items if config.persist_items else 1
    if keep is not None and keep != node.config.max_items:
        tx.items.trim(node.key, keep)
    seq = tx.events.record(node.key, events.CONFIGURED, audience=new)
    told = config.notify_config and config.deliver_notifications
    domains = tx.fan_outs.owe(changed, seq, new) if told else ()
    tx.emit(NodeConfigured(seq=seq, node=changed, domains=domains))
    return changed


def delete(tx: Transaction, request: Delete) -> Node:
    """Remove a node and all it has (§8.4). Raises ItemNotFound, Forbidden."""
    node = owned_node(tx, request.service, request.node, request.actor)
    domains: set[str] = set()
    told = node.config.notify_delete and node.config.deliver_notifications
    if told and request.notice is not None:
        remote = tx.subscriptions.elsewhere(node, tx.domain)
        told_elsewhere = dict.fromkeys(remote + tx.interests.of_node(node) + tx.holders.witnesses(node.key))
        tx.outbox.add_stanzas((jid.domainpart, request.notice(jid)) for jid in told_elsewhere)
        domains.update(jid.domainpart for jid in told_elsewhere)
    subscribers = tuple(tx.subscriptions.here(node, tx.domain)) if told else ()
    seq = tx.events.record(node.key, events.PURGED)
    domains.update(_take_out_answers(tx, node, _answers(tx, node), request.withdraw))
    depending.end_all(tx, node)
    retract_all_repeats(tx, node)
    tx.nodes.delete(node)
    tx.emit(
        NodeDeleted(
            seq=seq,
            node=node,
            domains=tuple(sorted(domains)),
            subscribers=subscribers,
            redirect=request.redirect,
        )
    )
    return node


def purge(tx: Transaction, request: Purge) -> Node:
    """Remove all items (§8.5). Raises ItemNotFound, Forbidden, PersistentItemsUnsupported."""
    node = owned_node(tx, request.service, request.node, request.actor)
    if not node.config.persist_items:
        raise PersistentItemsUnsupported("this node keeps no items")
    audience = audience_of(node.config)
    seq = tx.events.record(node.key, events.PURGED, audience=audience)
    answers = _answers(tx, node)
    tx.items.purge(node.key)
    domains = tx.fan_outs.owe(node, seq, audience) if node.config.deliver_notifications else ()
    if node.config.deliver_notifications and is_feed(node.name):
        domains += tx.holders.owe_all(node.key, seq)
    domains += _take_out_answers(tx, node, answers, request.withdraw)
    tx.emit(NodePurged(seq=seq, node=node, domains=domains))
    depending.end_all(tx, node)
    retract_all_repeats(tx, node)
    return node


def _answers(tx: Transaction, node: Node) -> list[tuple[Item, ItemAddress]]:
    """What a feed says in others' threads, as far back as anybody is likely to look."""
    items = tx.items.answering(node.key, ANSWERS_MAX) if node.name == MICROBLOG else ()
    threads = ((item, depending.thread_of(tx, node, item)) for item in items)
    return [(item, thread) for item, thread in threads if thread is not None]


def _take_out_answers(
    tx: Transaction,
    node: Node,
    answers: list[tuple[Item, ItemAddress]],
    withdraw: Callable[[JID, str, Item], str] | None,
) -> tuple[str, ...]:
    """Take them out of there; the domains that are owed the news."""
    domains: set[str] = set()
    for item, thread in answers:
        # The node's own threads go with it.
        if thread.service != node.service:
            domains.update(take_out(tx, item, thread, withdraw))
    return tuple(sorted(domains))


def affiliations(tx: Transaction, request: Affiliations) -> tuple[Affiliated, ...]:
    """Everybody who is something at a node (§8.9.1). Raises ItemNotFound, Forbidden, ResourceConstraint."""
    node = owned_node(tx, request.service, request.node, request.actor)
    found = tx.affiliations.of_node(node, LIST_MAX + 1)
    if len(found) > LIST_MAX:
        raise ResourceConstraint("too many for one list")
    return tuple(found)


def set_affiliations(tx: Transaction, request: SetAffiliations) -> None:
    """Make people something or nothing at a node (§8.9.2); all of it or none.

    Raises: ItemNotFound, Forbidden, BadRequest if somebody is named twice, NotAcceptable for taking a node from its
    last owner, ResourceConstraint.
    """
    node = owned_node(tx, request.service, request.node, request.actor)
    changes = {jid.bare: affiliation for jid, affiliation in request.changes}
    if len(changes) != len(request.changes) or len(changes) > CHANGES_PER_REQUEST:
        raise BadRequest("everybody once, and not too many")
    if changes.get(node.service, Affiliation.OWNER) is not Affiliation.OWNER:
        raise NotAcceptable("an account owns its own nodes")
    if not node.service.localpart:
        _check_owner_left(tx, node, changes)
    if tx.affiliations.count(node) + len(changes) > AFFILIATIONS_PER_NODE:
        raise ResourceConstraint("too many affiliations")
    for jid, affiliation in changes.items():
        if jid != node.service:
            tx.affiliations.set(node, jid, affiliation)
            _settle(tx, node, jid, affiliation, request.notice)


def _check_owner_left(tx: Transaction, node: Node, changes: dict[JID, Affiliation]) -> None:
    owners = {known.jid for known in tx.affiliations.of_node(node, LIST_MAX) if known.affiliation is Affiliation.OWNER}
    for jid, affiliation in changes.items():
        owners = owners | {jid} if affiliation is Affiliation.OWNER else owners - {jid}
    if not owners:
        raise NotAcceptable("a node needs an owner")


def _settle(
    tx: Transaction,
    node: Node,
    jid: JID,
    affiliation: Affiliation,
    notice: Callable[[Subscription], str] | None,
) -> None:
    """An affiliation decides what waits, and ends what it does not allow any more (§8.7)."""
    welcome = (Affiliation.OWNER, Affiliation.PUBLISHER, Affiliation.MEMBER)
    for subscription in tx.subscriptions.of_bare(node, jid):
        if subscription.state is SubscriptionState.PENDING:
            if affiliation in welcome:
                change_state(tx, node, subscription, True, notice)
            elif affiliation is Affiliation.OUTCAST:
                change_state(tx, node, subscription, False, notice)
        elif not readable(node.config, tx.affiliations.facts(node, jid)):
            change_state(tx, node, subscription, False, notice)


def subscriptions(tx: Transaction, request: Subscriptions) -> tuple[Subscription, ...]:
    """Everybody who is subscribed to a node (§8.8.1). Raises ItemNotFound, Forbidden, ResourceConstraint."""
    node = owned_node(tx, request.service, request.node, request.actor)
    found = tx.subscriptions.in_state(node, SubscriptionState.SUBSCRIBED, limit=LIST_MAX + 1)
    if len(found) > LIST_MAX:
        raise ResourceConstraint("too many for one list")
    return tuple(found)


def set_subscriptions(tx: Transaction, request: SetSubscriptions) -> tuple[Subscription, ...]:
    """Approve or end others' subscriptions (§8.8.2); all of it or none.

    Nobody is subscribed who has not asked.

    Raises: ItemNotFound, Forbidden, BadRequest, NotAcceptable for an address that is not subscribed.
    """
    node = owned_node(tx, request.service, request.node, request.actor)
    if len(request.changes) > CHANGES_PER_REQUEST:
        raise BadRequest("not so many at once")
    if len({jid for jid, _, _ in request.changes}) != len(request.changes):
        raise BadRequest("every address once")
    found = []
    for jid, state, subid in request.changes:
        subscription = tx.subscriptions.find(node, jid)
        if subscription is None or (subid and subid != subscription.subid):
            raise NotAcceptable(f"{jid} is not subscribed")
        if state is SubscriptionState.PENDING and subscription.state is not SubscriptionState.PENDING:
            raise NotAcceptable(f"{jid} does not wait any more")
        found.append((subscription, state))
    return tuple(
        subscription
        if state is subscription.state
        else change_state(tx, node, subscription, state is SubscriptionState.SUBSCRIBED, request.notice)
        for subscription, state in found
    )
