"""XEP-0060 §6: what subscribers do, and what their owners say to it. XEP-0163 §4.3: interest by presence.

One address has one subscription to a node. A subscription to a node with ``authorize`` waits for an owner.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from microblog.model.access import (
    NO_SUCH_NODE,
    Action,
    Facts,
    audiences_readable,
    check,
    readable,
    subscription_verdict,
    visible,
)
from microblog.model.errors import (
    Blocking,
    Forbidden,
    Gone,
    InvalidJID,
    InvalidOptions,
    InvalidSubID,
    ItemNotFound,
    NotSubscribed,
    PendingSubscription,
    ResourceConstraint,
    TooManySubscriptions,
)
from microblog.model.event import SubscriptionChanged
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.naming import check_node_name
from microblog.model.node import MICROBLOG, Node, Options, SendLast
from microblog.model.subscription import SubscribeOptions, Subscription, SubscriptionState
from microblog.model.uri import account_uri
from microblog.store.transaction import Transaction
from microblog.usecases import depending, following, identity, muting

INTERESTS_PER_RESOURCE = 100
RESOURCES_PER_CONTACT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """§6.1.1: ``actor`` wants ``jid`` to be told. ``public``: whether everybody may know (XEP-0465); None: as it is."""

    service: JID
    node: str
    actor: JID
    jid: JID
    options: Options | None = None
    public: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """``last``: an item to send to the subscriber now (§6.1.7). ``new``: there was no subscription before."""

    node: Node
    subscription: Subscription
    last: Item | None
    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """§6.2.1."""

    service: JID
    node: str
    actor: JID
    jid: JID
    subid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOptions:
    """§6.3.2."""

    service: JID
    node: str
    actor: JID
    jid: JID
    subid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOptions(GetOptions):
    """§6.3.5."""

    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide:
    """§8.6: an owner lets a pending subscriber in, or not. ``notice``: the stanza that tells a remote subscriber."""

    service: JID
    node: str
    actor: JID
    jid: JID
    allow: bool
    subid: str | None = None
    notice: Callable[[Subscription], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """§8.7: who waits at an owner's nodes, or at one of them."""

    service: JID
    actor: JID
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Followers:
    """A page of the subscribers of an account's feed, by address."""

    service: JID
    node: str = MICROBLOG
    after: str = ""
    max: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """XEP-0163 §4.3.2: a remote contact is present and wants to hear of these nodes of one of ours."""

    service: JID
    jid: JID
    nodes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastItems:
    """XEP-0163 §4.3.4: somebody came on line and wants the last items of these nodes of these services."""

    reader: JID
    services: tuple[JID, ...]
    nodes: frozenset[str]


def subscribe(tx: Transaction, request: Subscribe) -> Subscribed:
    """Subscribe (§6.1); again, and the subscription is as it was, with the options that are given now.

    Raises: InvalidJID (§6.1.3.1), the refusals of ``subscription_verdict``, PendingSubscription (§6.1.3.7),
    TooManySubscriptions (§6.1.3.9), ItemNotFound (§6.1.3.12), InvalidOptions (§6.3.7.2); Blocking of whom they blocked.
    """
    if request.jid.bare != request.actor.bare:
        raise InvalidJID("one subscribes oneself")
    if request.actor.domainpart == tx.domain and tx.blocks.has(request.actor.bare, request.service):
        raise Blocking("you have blocked them: unblock them first")
    node, facts = standing(tx, request.service, request.node, request.actor)
    state = subscription_verdict(node.config, facts)
    old = tx.subscriptions.find(node, request.jid)
    options = _changed(tx, request.jid, old.options if old else SubscribeOptions(), request.options or {})
    public = following.opted_in(tx, request.jid, request.public)
    if old is not None:
        again = _subscribe_again(tx, node, old, options, state)
        if public is not None:
            tx.subscriptions.set_public(node, request.jid, public)
        return again
    _check_number(tx, request)
    if depending.is_dependent(node.name):
        node = depending.written(tx, node)
    subscription = Subscription(
        service=node.service, node=node.name, jid=request.jid, state=state, subid=tx.new_id(), options=options
    )
    tx.subscriptions.add(node, subscription, public=bool(public))
    _tell(tx, node, subscription)
    return Subscribed(node=node, subscription=subscription, last=_last(tx, node, subscription), new=True)


def _changed(tx: Transaction, jid: JID, old: SubscribeOptions, options: Options) -> SubscribeOptions:
    changed = old.changed(options)
    if changed.is_picky and jid.domainpart != tx.domain:
        raise InvalidOptions("show-values: the presence of people elsewhere is not known here")
    return changed


def _subscribe_again(
    tx: Transaction, node: Node, old: Subscription, options: SubscribeOptions, state: SubscriptionState
) -> Subscribed:
    if old.state is SubscriptionState.PENDING and state is SubscriptionState.PENDING:
        raise PendingSubscription("the node's owner has not decided yet")
    # What was granted once stays granted; what waited may have become free.
    new = replace(old, options=options, state=SubscriptionState.SUBSCRIBED)
    if new != old:
        tx.subscriptions.change(node, new)
    if new.state is not old.state:
        _tell(tx, node, new)
    return Subscribed(node=node, subscription=new, last=_last(tx, node, new), new=new.state is not old.state)


def _check_number(tx: Transaction, request: Subscribe) -> None:
    if request.jid.domainpart == tx.domain:
        if tx.subscriptions.count_of(request.jid) >= tx.limits.follows_total:
            raise TooManySubscriptions("you follow as many as one may")
    elif tx.subscriptions.count_of_domain(request.jid.domainpart) >= tx.limits.subscriptions_per_remote_domain:
        raise TooManySubscriptions("your server's people have as many subscriptions here as they may have")


def _last(tx: Transaction, node: Node, subscription: Subscription) -> Item | None:
    wanted = node.config.send_last_published_item is not SendLast.NEVER and node.config.deliver_notifications
    if not wanted or subscription.state is not SubscriptionState.SUBSCRIBED or not subscription.options.deliver:
        return None
    facts = replace(depending.stand(tx, node, subscription.jid)[1], subscribed=subscription.state)
    return _newest(tx, node, facts, subscription.jid)


def _newest(tx: Transaction, node: Node, facts: Facts, reader: JID) -> Item | None:
    audiences = identity.leaving(tx, reader, audiences_readable(node.config, facts))
    items = tx.items.newest(node.key, 1, audiences=audiences) if audiences else []
    return items[0] if items else None


def unsubscribe(tx: Transaction, request: Unsubscribe) -> Subscription:
    """End a subscription (§6.2).

    Raises: Forbidden (§6.2.3.3), ItemNotFound (§6.2.3.4), NotSubscribed (§6.2.3.2), InvalidSubID (§6.2.3.5).
    """
    node, subscription = _own_subscription(tx, request)
    tx.subscriptions.remove(node, subscription.jid)
    ended = replace(subscription, state=SubscriptionState.NONE)
    _tell(tx, node, ended)
    return ended


def get_options(tx: Transaction, request: GetOptions) -> Subscription:
    """A subscription with its options (§6.3). Raises as ``unsubscribe``."""
    return _own_subscription(tx, request)[1]


def set_options(tx: Transaction, request: SetOptions) -> Subscription:
    """Change the options of a subscription (§6.3.5). Raises as ``unsubscribe``, and InvalidOptions."""
    node, subscription = _own_subscription(tx, request)
    changed = replace(subscription, options=_changed(tx, request.jid, subscription.options, request.options))
    if changed != subscription:
        tx.subscriptions.change(node, changed)
    return changed


def _own_subscription(tx: Transaction, request: Unsubscribe | GetOptions) -> tuple[Node, Subscription]:
    if request.jid.bare != request.actor.bare:
        raise Forbidden("the subscription is somebody else's")
    node = local_node(tx, request.service, request.node)
    subscription = tx.subscriptions.find(node, request.jid)
    if subscription is None:
        node, facts = depending.stand(tx, node, request.actor)
        if not visible(node.config, facts):
            raise ItemNotFound(NO_SUCH_NODE)
        raise NotSubscribed("there is no such subscription")
    if request.subid and request.subid != subscription.subid:
        raise InvalidSubID("there is no subscription of this subid")
    return node, subscription


def decide(tx: Transaction, request: Decide) -> Subscription:
    """Approve or deny a pending subscription (§8.6).

    Raises: ItemNotFound, Forbidden, NotSubscribed if nobody of this address waits.
    """
    node = owned_node(tx, request.service, request.node, request.actor)
    subscription = tx.subscriptions.find(node, request.jid)
    if subscription is None or (request.subid and request.subid != subscription.subid):
        raise NotSubscribed("there is no such subscription")
    if subscription.state is not SubscriptionState.PENDING:
        raise NotSubscribed("the subscription does not wait for a decision")
    return change_state(tx, node, subscription, request.allow, request.notice)


def change_state(
    tx: Transaction,
    node: Node,
    subscription: Subscription,
    allow: bool,
    notice: Callable[[Subscription], str] | None,
) -> Subscription:
    """Make a subscription subscribed or end it by an owner's word, and tell the subscriber (§8.8.4)."""
    if allow:
        changed = replace(subscription, state=SubscriptionState.SUBSCRIBED)
        tx.subscriptions.change(node, changed)
    else:
        changed = replace(subscription, state=SubscriptionState.NONE)
        tx.subscriptions.remove(node, subscription.jid)
    domains: tuple[str, ...] = ()
    if notice is not None and changed.jid.domainpart != tx.domain:
        domains = (changed.jid.domainpart,)
        tx.outbox.add_stanza(changed.jid.domainpart, notice(changed))
    _tell(tx, node, changed, tell_subscriber=True, domains=domains)
    return changed


def pending(tx: Transaction, request: Pending) -> tuple[Subscription, ...]:
    """Who waits for a decision (§8.7). Raises ItemNotFound, Forbidden."""
    if request.node is not None:
        nodes = [owned_node(tx, request.service, request.node, request.actor)]
    else:
        if request.actor.bare != request.service:
            raise Forbidden("only an owner may")
        nodes = tx.nodes.of(request.service)
    found: list[Subscription] = []
    for node in nodes:
        found += tx.subscriptions.in_state(node, SubscriptionState.PENDING, limit=tx.limits.rsm_page_max_items)
    return tuple(found)


def followers(tx: Transaction, request: Followers) -> tuple[JID, ...]:
    """The subscribers of a node, by address; for the account's own eyes."""
    node = local_node(tx, request.service, request.node)
    limit = min(request.max, tx.limits.rsm_page_max_items)
    found = tx.subscriptions.in_state(node, SubscriptionState.SUBSCRIBED, after=request.after, limit=limit)
    return tuple(subscription.jid for subscription in found)


def may_read(tx: Transaction, node_key: int, jids: Iterable[JID]) -> frozenset[JID]:
    """Those of these (bare) who may be told of a node's items now."""
    node = tx.nodes.get(node_key)
    if node is None:
        return frozenset()
    hung = depending.dependent(tx, node)
    if hung is not None:
        return frozenset(jid for jid in jids if readable(hung.node.config, hung.facts(jid)))
    found = tx.affiliations.facts_of(node, jids)
    return frozenset(jid for jid, facts in found.items() if readable(node.config, facts))


def presence_interest(tx: Transaction, request: Interest) -> tuple[tuple[Node, Item], ...]:
    """Note what a remote contact that is present wants to hear of; the last items to send to it now.

    Who is not subscribed to the account's presence has no interest. Bounded in nodes and resources.

    Raises: ResourceConstraint for one resource too many; some of the others may be gone without a word.
    """
    if request.jid.domainpart == tx.domain or request.service.domainpart != tx.domain:
        return ()
    contact = tx.contacts.get(request.service, request.jid.bare)
    if contact is None or not contact.sees_us:
        return ()
    if request.nodes and len(interested_resources(tx, request.service, request.jid)) >= RESOURCES_PER_CONTACT:
        raise ResourceConstraint("this contact has too many resources")
    wanted = sorted(request.nodes)[:INTERESTS_PER_RESOURCE]
    new = tx.interests.set(request.service, request.jid, wanted)
    if not new:
        return ()
    return last_items(tx, LastItems(reader=request.jid, services=(request.service,), nodes=new))


def interested_resources(tx: Transaction, service: JID, jid: JID) -> tuple[JID, ...]:
    """The other resources of a contact that wanted to hear of an account."""
    return tx.interests.other_resources(service, jid)


def presence_gone(tx: Transaction, jid: JID, service: JID | None = None) -> None:
    """A remote full JID is not present any more, to one of ours or to all."""
    tx.interests.gone(jid, service)


def contact_lost(tx: Transaction, service: JID, jid: JID) -> None:
    """Somebody is not subscribed to an account's presence any more, and so not to what depends on it (§12.1)."""
    tx.interests.lost(service, jid)
    for subscription in tx.subscriptions.at_service(service, jid):
        node = local_node(tx, service, subscription.node)
        now, facts = depending.stand(tx, node, jid)
        if not readable(now.config, facts):
            tx.subscriptions.remove(node, subscription.jid)
            _tell(tx, node, replace(subscription, state=SubscriptionState.NONE), tell_subscriber=True)


def subscriber_gone(tx: Transaction, service: JID, jid: JID) -> None:
    """There is no such account elsewhere any more, its own server says (§7.1.3.8): its subscriptions end."""
    if jid.domainpart == tx.domain:
        return
    for subscription in tx.subscriptions.at_service(service, jid):
        node = tx.nodes.find(service, subscription.node)
        if node is not None:
            tx.subscriptions.remove(node, subscription.jid)
            _tell(tx, node, replace(subscription, state=SubscriptionState.NONE))


def last_items(tx: Transaction, request: LastItems) -> tuple[tuple[Node, Item], ...]:
    """The last items of nodes that send them on presence, as far as the reader may have them."""
    found = []
    quiet = muting.quiet(tx, request.reader)
    for service in request.services:
        if service.domainpart != tx.domain or quiet.hides_all_of(service):
            continue  # its own server tells the reader; or they do not want it
        for node in tx.nodes.of(service):
            if node.name not in request.nodes or not node.config.deliver_notifications:
                continue
            if node.config.send_last_published_item is not SendLast.ON_SUB_AND_PRESENCE:
                continue
            item = _newest(tx, node, tx.affiliations.facts(node, request.reader), request.reader)
            if item is not None and not muting.hides(tx, quiet, node, item):
                found.append((node, item))
    return tuple(found)


def local_node(tx: Transaction, service: JID, name: str) -> Node:
    """One of our own nodes. Raises ItemNotFound, NodeIDRequired, Gone for that of an account that moved and ended."""
    check_node_name(name)
    node = tx.nodes.find(service, depending.canonical_name(name)) if service.domainpart == tx.domain else None
    if node is None:
        moved = tx.moved.get(service) if service.domainpart == tx.domain else None
        if moved is not None and not tx.accounts.exists(service.localpart):
            raise Gone("who was here has another address now", uri=account_uri(moved.to))
        raise ItemNotFound(NO_SUCH_NODE)
    return node


def standing(tx: Transaction, service: JID, name: str, actor: JID) -> tuple[Node, Facts]:
    """One of our own nodes, and how somebody stands to it; a node that depends on an item need not be used yet.

    Raises: ItemNotFound, NodeIDRequired.
    """
    check_node_name(name)
    hung = depending.named(tx, service, depending.canonical_name(name)) if depending.is_dependent(name) else None
    if hung is not None:
        return hung.node, hung.facts(actor)
    node = local_node(tx, service, name)
    return node, tx.affiliations.facts(node, actor)


def owned_node(tx: Transaction, service: JID, name: str, actor: JID) -> Node:
    """A node that the actor owns. Raises ItemNotFound, Forbidden."""
    node = local_node(tx, service, name)
    check(Action.OWN, node.config, tx.affiliations.facts(node, actor))
    return node


def _tell(
    tx: Transaction,
    node: Node,
    subscription: Subscription,
    *,
    tell_subscriber: bool = False,
    domains: tuple[str, ...] = (),
) -> None:
    tx.emit(
        SubscriptionChanged(
            seq=tx.events.last(),
            node=node,
            domains=domains,
            subscriber=subscription.jid,
            state=subscription.state.value,
            tell_subscriber=tell_subscriber,
            shows=subscription.options.show_values if subscription.options.is_picky else (),
        )
    )
