"""Following from here: our people's subscriptions to remote nodes, as the other side has confirmed them.

What a remote service grants or takes back is written down beside our one copy of the feed. By that row we know whose
posts to take in, and for whom. Subscriptions to our own nodes are made by ``subscribing`` and are follows as well.
"""

from dataclasses import dataclass

from microblog.model.errors import TooManySubscriptions
from microblog.model.jid import JID
from microblog.model.node import Node, profile
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases.publishing import check_node_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """A remote service says that an account of ours has a subscription in this state."""

    account: JID
    service: JID
    node: str
    state: SubscriptionState
    subid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfollow:
    """A remote service says that an account of ours has no subscription any more."""

    account: JID
    service: JID
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A feed that an account follows; ``implicit``: because it is a contact's, not by a subscription."""

    node: Node
    state: SubscriptionState
    subid: str = ""
    implicit: bool = False


def may_follow(tx: Transaction, account: JID) -> None:
    """Raises TooManySubscriptions."""
    if tx.subscriptions.count_of(account) >= tx.limits.follows_total:
        raise TooManySubscriptions("you follow as many as one may")


def record_subscribe(tx: Transaction, request: Follow) -> None:
    """Write down what a remote service said of a subscription. Raises TooManySubscriptions, BadRequest."""
    if request.state is SubscriptionState.NONE:
        record_unsubscribe(tx, Unfollow(account=request.account, service=request.service, node=request.node))
        return
    check_node_name(request.node)
    if request.service.domainpart == tx.domain or request.account.domainpart != tx.domain:
        return
    node = remote_node(tx, request.service, request.node)
    subscription = Subscription(
        service=node.service,
        node=node.name,
        jid=request.account.bare,
        state=request.state,
        subid=request.subid,
    )
    if tx.subscriptions.find(node, request.account.bare) is not None:
        tx.subscriptions.change(node, subscription)
    else:
        may_follow(tx, request.account)
        tx.subscriptions.add(node, subscription)


def record_unsubscribe(tx: Transaction, request: Unfollow) -> None:
    """Forget a subscription at a remote service; our copy of the feed stays for those who still follow."""
    if request.service.domainpart == tx.domain:
        return
    node = tx.nodes.find(request.service, request.node)
    if node is not None:
        tx.subscriptions.remove(node, request.account.bare)


def follows(tx: Transaction, account: JID) -> tuple[Followed, ...]:
    """What an account follows, here and elsewhere."""
    return tuple(
        Followed(
            node=follow.node,
            state=follow.subscription.state,
            subid=follow.subscription.subid,
            implicit=follow.implicit,
        )
        for follow in tx.subscriptions.follows(account)
    )


def followed_domains(tx: Transaction) -> frozenset[str]:
    """The other domains that somebody here follows somebody of."""
    return frozenset(service.domainpart for service in tx.subscriptions.services_of(tx.domain)) - {tx.domain}


def remote_node(tx: Transaction, service: JID, name: str) -> Node:
    """Our copy of a remote feed, made if need be; it keeps everything it is sent."""
    return tx.nodes.find(service, name) or tx.nodes.create(service, name, profile(name))
