"""docs/protocol/fanout.md: who of ours follows an author elsewhere, as we have written it down and as their node has.

The author's node decides. Whom it does not know as a follower does not follow any more: nothing that is not for
everybody is for them, until they are subscribed again, which ``tending`` sees to. Whom it believes to follow, and who
does not, is unsubscribed there. On what both agreed last is written down with its version.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from microblog.model.event import SubscriptionChanged
from microblog.model.fanout import set_digest
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.subscription import SubscriptionState
from microblog.store.logs import KnownSet
from microblog.store.transaction import Transaction

NOT_SUBSCRIBED: Final = "not-subscribed"
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Feed(NamedTuple):
    """A node of somebody elsewhere."""

    author: JID
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldSet:
    """An author's node has said who of ours follows, and by which version it knows that."""

    feed: Feed
    listed: frozenset[JID]
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """``demoted``: somebody does not follow any more. ``extra``: who is believed to follow and does not."""

    demoted: bool = False
    extra: tuple[JID, ...] = ()


def compare(tx: Transaction, told: ToldSet) -> Differences:
    """Go by what an author's node says."""
    node = tx.nodes.find(told.feed.author, told.feed.node)
    ours = frozenset() if node is None else tx.subscriptions.followers(node)
    demoted = node is not None and demote(tx, node, ours - told.listed)
    if node is not None and ours == told.listed:
        agree(tx, node, told.version, set_digest(ours))
    return Differences(demoted=demoted, extra=tuple(sorted(told.listed - ours, key=str)))


def demote(tx: Transaction, node: Node, jids: Iterable[JID]) -> bool:
    """These do not follow a node elsewhere, though we thought so; were there any?"""
    any_ = False
    for jid in sorted(jids, key=str):
        known = tx.subscriptions.find(node, jid)
        if known is None:
            continue
        any_ = True
        tx.subscriptions.change(node, replace(known, state=SubscriptionState.PENDING))
        # Checked long ago: they are looked after first.
        tx.subscriptions.set_health(node, jid, _LONG_AGO, NOT_SUBSCRIBED)
        ended = SubscriptionState.NONE.value
        tx.emit(SubscriptionChanged(seq=tx.events.last(), node=node, subscriber=jid, state=ended))
    return any_


def still_extra(tx: Transaction, feed: Feed, jid: JID) -> bool:
    """Does somebody still not follow a feed that its node believes they do?"""
    node = tx.nodes.find(feed.author, feed.node)
    return node is None or tx.subscriptions.find(node, jid) is None


def agree(tx: Transaction, node: Node, version: int, digest: str) -> None:
    """Both sides have the same set."""
    known = tx.logs.followers(node.key, tx.domain)
    if (known.version, known.digest) != (version, digest):
        tx.logs.set_followers(node.key, tx.domain, KnownSet(version, digest, tx.now))


def agreed(tx: Transaction, node: Node | None) -> int:
    """The version of the set that both had last; 0 for none."""
    return 0 if node is None else tx.logs.followers(node.key, tx.domain).version
