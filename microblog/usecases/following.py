"""Following from here: our people's subscriptions to remote nodes, as the other side has confirmed them.

What a remote service grants or takes back is written down beside our one copy of the feed. By that row we know whose
posts to take in, and for whom. Subscriptions to our own nodes are made by ``subscribing`` and are follows as well.

Our copy is for whom the feed is for: for everybody if its service says that the feed is open, else for those who follow
it. Until the service has said so it is not open.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from microblog.model.access import audience_of
from microblog.model.errors import Blocking, TooManySubscriptions
from microblog.model.event import SubscriptionChanged
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.naming import check_node_name
from microblog.model.node import MICROBLOG, AccessModel, Node, is_feed, profile
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.store.subscriptions import Follow as Known
from microblog.store.transaction import Transaction
from microblog.usecases.retracting import retract_all_repeats

WIDENED_MAX: Final = 100
PUBLIC_LISTS: Final = "public-lists"
LIST_MAX: Final = 1000
# What an item says that its author meant for fewer people than the feed has.
_MARKER: Final = "urn:x-microblog:audience:0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """A remote service says that an account of ours has a subscription in this state.

    ``public``: whether everybody may know of it (XEP-0465); None leaves that as it is.
    """

    account: JID
    service: JID
    node: str
    state: SubscriptionState
    subid: str = ""
    public: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfollow:
    """A remote service says that an account of ours has no subscription any more.

    ``notice``: the stanza that tells the service, which could not be asked.
    """

    account: JID
    service: JID
    node: str
    notice: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A remote service says who may read one of its nodes; None if it does not say."""

    service: JID
    node: str
    access_model: AccessModel | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A feed that an account follows; ``implicit``: because it is a contact's, not by a subscription.

    ``checked`` and ``problem``: how it is with a remote one, as in ``store.subscriptions.Follow``.
    """

    node: Node
    state: SubscriptionState
    subid: str = ""
    implicit: bool = False
    public: bool = False
    checked: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Numbers about an account; ``waiting`` for its decision, ``pending`` for others'."""

    following: int
    pending: int
    troubled: int
    followers: int
    waiting: int
    posts: int
    tracks: int = 0


def may_follow(tx: Transaction, account: JID, service: JID | None = None, node: str = "") -> None:
    """May an account subscribe to a node that it is perhaps subscribed to? Raises TooManySubscriptions, Blocking."""
    if service is not None and tx.blocks.has(account.bare, service):
        raise Blocking("you have blocked them: unblock them first")
    known = None if service is None else find(tx, account, service, node)
    if known is None and tx.subscriptions.count_of(account) >= tx.limits.follows_total:
        raise TooManySubscriptions("you follow as many as one may")


def find(tx: Transaction, account: JID, service: JID, node: str) -> Followed | None:
    """What is known of an account's subscription to a node, here or elsewhere."""
    known = (one for one in tx.subscriptions.follows_at(service, account) if one.node.name == node)
    return next((_followed(one) for one in known if one.subscription.jid == account.bare), None)


def opted_in(tx: Transaction, account: JID, stated: bool | None) -> bool | None:
    """May everybody know of a subscription? As stated (None: as it was), or because that is set for all of them."""
    known = tx.accounts.get(account.localpart) if account.domainpart == tx.domain and not stated else None
    set_for_all = known is not None and tx.preferences.get(known.key, PUBLIC_LISTS) == "on"
    return stated or set_for_all or stated


def record_subscribe(tx: Transaction, request: Follow) -> bool:
    """Write down what a remote service said of a subscription; True if from now on posts are to come.

    Raises TooManySubscriptions, BadRequest, Blocking if they have been blocked since they were asked.
    """
    if request.state is SubscriptionState.NONE:
        record_unsubscribe(tx, Unfollow(account=request.account, service=request.service, node=request.node))
        return False
    check_node_name(request.node)
    if request.service.domainpart == tx.domain or request.account.domainpart != tx.domain:
        return False
    node = remote_node(tx, request.service, request.node)
    account = request.account.bare
    subscription = Subscription(
        service=node.service, node=node.name, jid=account, state=request.state, subid=request.subid
    )
    public = opted_in(tx, account, request.public)
    known = tx.subscriptions.find(node, account)
    if known is None:
        may_follow(tx, account, node.service, node.name)
        tx.subscriptions.add(node, subscription, public=bool(public), checked=tx.now)
    else:
        tx.subscriptions.change(node, subscription)
        tx.subscriptions.set_health(node, account, tx.now, "")
        if public is not None:
            tx.subscriptions.set_public(node, account, public)
    subscribed = request.state is SubscriptionState.SUBSCRIBED
    return subscribed and (known is None or known.state is not SubscriptionState.SUBSCRIBED)


def record_unsubscribe(tx: Transaction, request: Unfollow) -> None:
    """Forget a subscription at a remote service; our copy of the feed stays for those who still follow."""
    if request.service.domainpart == tx.domain:
        return
    node = tx.nodes.find(request.service, request.node)
    if node is None:
        return
    tx.subscriptions.remove(node, request.account.bare)
    domains: tuple[str, ...] = ()
    if request.notice is not None:
        domains = (request.service.domainpart,)
        tx.outbox.add_stanza(request.service.domainpart, request.notice)
    ended = SubscriptionState.NONE.value
    tx.emit(
        SubscriptionChanged(
            seq=tx.events.last(), node=node, domains=domains, subscriber=request.account.bare, state=ended
        )
    )


def follows(tx: Transaction, account: JID) -> tuple[Followed, ...]:
    """What an account follows, here and elsewhere."""
    return tuple(map(_followed, tx.subscriptions.follows(account)))


def _followed(known: Known) -> Followed:
    return Followed(
        node=known.node,
        state=known.subscription.state,
        subid=known.subscription.subid,
        implicit=known.implicit,
        public=known.public,
        checked=known.checked,
        problem=known.problem,
    )


def followed_domains(tx: Transaction) -> frozenset[str]:
    """The other domains that somebody here follows somebody of."""
    return frozenset(service.domainpart for service in tx.subscriptions.services_of(tx.domain)) - {tx.domain}


def remote_node(tx: Transaction, service: JID, name: str) -> Node:
    """Our copy of a remote feed, made if need be; it keeps everything it is sent."""
    known = tx.nodes.find(service, name)
    if known is not None:
        return known
    config = profile(name)
    if is_feed(name):
        config = replace(config, access_model=AccessModel.AUTHORIZE)
    return tx.nodes.create(service, name, config)


def audience_elsewhere(tx: Transaction, service: JID, name: str) -> Audience | None:
    """Whom a node elsewhere is for, as far as we know; None for threads that nothing is known of."""
    node = tx.nodes.find(service, name)
    if node is None or (name != MICROBLOG and node.config.access_model is not AccessModel.OPEN):
        return None
    return audience_of(node.config)


def describe(tx: Transaction, request: Described) -> None:
    """Write down for whom our copy of a remote feed is.

    When that becomes more people, the newest items go with it, but for those whose author said otherwise.
    """
    node = tx.nodes.find(request.service, request.node)
    if node is None or request.service.domainpart == tx.domain or request.access_model is None:
        return
    if node.config.access_model is request.access_model:
        return
    changed = tx.nodes.configure(node, replace(node.config, access_model=request.access_model))
    old, new = audience_of(node.config), audience_of(changed.config)
    if old is Audience.PUBLIC and new is not old:
        tx.items.set_audience(node.key, old, new)
        retract_all_repeats(tx, changed)
    elif new is Audience.PUBLIC and new is not old:
        for item in tx.items.newest(node.key, WIDENED_MAX):
            if item.audience is old and _MARKER not in item.payload:
                tx.items.put(node.key, replace(item, audience=new), replaces=True)


def stats(tx: Transaction, account: JID) -> Stats:
    """How many an account follows, and so on."""
    followed = [one for one in follows(tx, account) if one.node.name == MICROBLOG]
    feed = tx.nodes.find(account, MICROBLOG)
    subscribed = [one for one in followed if one.state is SubscriptionState.SUBSCRIBED]
    waiting = () if feed is None else tx.subscriptions.in_state(feed, SubscriptionState.PENDING, limit=LIST_MAX)
    return Stats(
        following=len(subscribed),
        pending=len(followed) - len(subscribed),
        troubled=sum(1 for one in followed if one.problem),
        followers=0 if feed is None else tx.subscriptions.count(feed),
        waiting=len(waiting),
        posts=0 if feed is None else tx.items.count(feed.key),
        tracks=len(tx.tracks.of(account)),
    )
