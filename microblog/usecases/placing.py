"""Where a post is found: in timelines, in its thread, under its tags, and by those whom it names.

The same for what is published here and for our copies of what comes from elsewhere. Only items of feeds have a place;
a comment is in its thread and is found by whom it names, but stands in no timeline.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from microblog.model.entry import Entry
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node, is_feed
from microblog.model.uri import item_uri, node_uri
from microblog.store.transaction import Transaction

# XEP-0277 §3.2: the item that describes the feed itself.
FEED_ITEM = "0"
MENTIONS_MAX = 20


class Place(NamedTuple):
    """The fields of an ``Item`` that say where it is found."""

    stands: datetime | None
    thread: str
    answers: str
    via: str
    expires: datetime | None


NOWHERE = Place(None, "", "", "", None)


def place(tx: Transaction, node: Node, item_id: str, published: datetime, entry: Entry | None) -> Place:
    """Where an item belongs."""
    if entry is None or not is_feed(node.name) or item_id == FEED_ITEM:
        return NOWHERE
    if node.name == MICROBLOG:
        thread = entry.thread or item_uri(node.service, node.name, item_id)
        return Place(min(published, tx.now), thread, entry.answers, entry.via, entry.expires)
    return Place(None, node_uri(node.service, node.name), entry.answers, entry.via, entry.expires)


def write_down(
    tx: Transaction, node: Node, item: Item, entry: Entry | None, *, readers: Iterable[JID] = (), again: bool = False
) -> None:
    """Write down the tags of an item that is stored, and whom of our people it names.

    A comment also names the owner of the post that is commented; but a heart is no news to be read (XEP-0470 says it).
    """
    if entry is None or not item.thread:
        return
    heart = item.stands is None and entry.is_heart
    named = () if heart else entry.mentions[:MENTIONS_MAX]
    mentions = {jid.bare for jid in named if jid.domainpart == tx.domain}
    if not heart and item.stands is None and node.service.domainpart == tx.domain and item.publisher != node.service:
        mentions.add(node.service)
    tags = entry.tags if item.stands is not None else ()
    if again or tags or mentions or readers:
        tx.items.place(item, tags=tags, mentions=mentions, readers=readers, again=again)
