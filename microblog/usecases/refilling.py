"""docs/protocol/fanout.md, the receiving end: what is missing of a domain's feeds when its log does not reach back.

Then the feeds themselves are read, from their newest items back to what was known before. What they have is stored at
its own dates and told to nobody, as it is no news any more. What is newer replaces what we have; what is known to be
retracted stays so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from microblog.model.event import ItemRetracted
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.model.uri import item_uri
from microblog.store import events
from microblog.store.transaction import Transaction
from microblog.usecases import copying, depending, storing
from microblog.usecases.agreeing import Feed
from microblog.usecases.copying import ReceivedItem, take_version
from microblog.usecases.receiving import is_guarded
from microblog.usecases.retracting import retract_repeats

_LOST = "lost."  # a setting for each domain of whose retractions some may be missing
FEEDS_MAX = 500
HELD_MAX = 500


class Followed(NamedTuple):
    """A feed elsewhere with one of ours who follows it; ``key``: for the next page."""

    feed: Feed
    reader: JID
    key: int


def feeds(tx: Transaction, domain: str, after: int = 0) -> tuple[Followed, ...]:
    """The feeds of a domain that somebody here follows, in pages."""
    found = tx.subscriptions.feeds_at(domain, after=after, limit=FEEDS_MAX)
    return tuple(Followed(Feed(node.service, node.name), reader, node.key) for node, reader in found)


def behind(tx: Transaction, domain: str) -> datetime | None:
    """Since when a domain's feeds have to be fetched; None also while it is not sure whose they are."""
    peer = tx.peers.get(domain)
    return peer.behind if peer.doubted is None else None


def lose(tx: Transaction, domain: str) -> None:
    """Retractions of a domain's may be missing as well."""
    tx.settings.set(_LOST + domain, "1")


def has_lost(tx: Transaction, domain: str) -> bool:
    """May there be copies of what is gone?"""
    return bool(tx.settings.get(_LOST + domain))


def level(tx: Transaction, domain: str, since: datetime) -> None:
    """All that was missing since then has been fetched."""
    if tx.peers.get(domain).behind == since:
        tx.peers.set(domain, behind=None)
        if has_lost(tx, domain):
            tx.settings.set(_LOST + domain, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOfFeed:
    """Some items of a feed, oldest first; ``since``: when it began that something may be missing.

    ``trusted``: they came under a certificate, or the administrator does without.
    ``asked``: the last event here when the feed was asked (``last``): what came before is not newer than what the
    feed said then, whatever the clocks of either say. 0: that is not sure.
    """

    feed: Feed
    proof: Proof
    items: tuple[ReceivedItem, ...]
    since: datetime
    asked: int
    trusted: bool


def last(tx: Transaction, domain: str) -> int:
    """The last event here; 0 if a domain may have been restored from a backup, and know less than we do."""
    peer = tx.peers.get(domain)
    level = peer.fanout and peer.epoch == peer.received_epoch and peer.behind is None
    return tx.events.last() if level else 0


def take_page(tx: Transaction, page: PageOfFeed) -> bool:
    """Store what is missing; True if there is something on the page that was known before, as it is now.

    Raises ResourceConstraint when nothing can be stored.
    """
    node = tx.nodes.find(*page.feed)
    if node is None or page.feed.author.domainpart == tx.domain:
        return True
    reached = False
    for received in page.items:
        found = tx.nodes.look_up(*page.feed, received.id)
        if found is None or found.retracted or not copying.acceptable(tx, page.feed.author, received):
            continue
        old = found.item
        if old is not None and is_guarded(old) and not page.trusted:
            continue
        ordered = old is not None and old.position <= page.asked
        version = take_version(tx, node, received, old, proof=page.proof, live=False, ordered=ordered)
        if old is not None and version.item is old:
            created = tx.events.created(old.position)
            reached = reached or created is None or created < page.since
    return reached


class Held(NamedTuple):
    """An item of a feed that we have; ``private``: it is not for everybody."""

    id: str
    private: bool


def held(tx: Transaction, feed: Feed) -> tuple[Held, ...]:
    """The newest items that we have of a feed, as far as anybody who follows may read them."""
    node = tx.nodes.find(*feed)
    if node is None:
        return ()
    items = tx.items.newest(node.key, HELD_MAX, audiences=(Audience.PUBLIC, Audience.FOLLOWERS))
    return tuple(Held(item.id, item.audience is not Audience.PUBLIC) for item in items if item.proof is not Proof.LOCAL)


def gone(tx: Transaction, feed: Feed, ids: Sequence[str]) -> None:
    """The feed has these items no more: their retraction is part of what is missing."""
    node = tx.nodes.find(*feed)
    if node is None:
        return
    for item_id in ids:
        item = tx.items.get(node.key, item_id)
        if item is None:
            continue
        seq = tx.events.record(node.key, events.RETRACTED, item_id=item_id, audience=item.audience)
        storing.uncount(tx, node, item)
        tx.items.retract(node.key, item_id)
        retract_repeats(tx, item_uri(node.service, node.name, item_id))
        depending.end(tx, node, item_id)
        tx.subscriptions.told_all(node, seq)
        tx.emit(ItemRetracted(seq=seq, node=node, item_id=item_id))
