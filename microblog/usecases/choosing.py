"""Whom somebody may mean, for forms in which a person is chosen."""

from collections.abc import Iterable

from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.store.transaction import Transaction


def followed(tx: Transaction, account: JID, limit: int) -> tuple[JID, ...]:
    """Whose feeds an account follows, by name; those here first."""
    services = {follow.node.service for follow in tx.subscriptions.follows(account) if follow.node.name == MICROBLOG}
    return _sorted(tx, services - {account}, limit)


def followers(tx: Transaction, account: JID, limit: int) -> tuple[JID, ...]:
    """Who follows an account."""
    return _subscribers(tx, account, SubscriptionState.SUBSCRIBED, limit)


def pending(tx: Transaction, account: JID, limit: int) -> tuple[JID, ...]:
    """Who asked to follow an account and has no answer yet."""
    return _subscribers(tx, account, SubscriptionState.PENDING, limit)


def _subscribers(tx: Transaction, account: JID, state: SubscriptionState, limit: int) -> tuple[JID, ...]:
    node = tx.nodes.find(account, MICROBLOG)
    if node is None:
        return ()
    found = {subscription.jid.bare for subscription in tx.subscriptions.in_state(node, state, limit=limit)}
    return _sorted(tx, found, limit)


def _sorted(tx: Transaction, jids: Iterable[JID], limit: int) -> tuple[JID, ...]:
    return tuple(sorted(jids, key=lambda jid: (jid.domainpart != tx.domain, str(jid))))[:limit]
