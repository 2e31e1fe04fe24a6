"""What authors do with posts of their own: they look them up to edit them, or take the last one back."""

from dataclasses import dataclass
from datetime import timedelta

from microblog.model.errors import Forbidden, ItemNotFound
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.uri import ItemAddress
from microblog.store.transaction import Transaction
from microblog.usecases import publishing, reporting
from microblog.usecases.placing import FEED_ITEM
from microblog.usecases.publishing import Publish, Published
from microblog.usecases.reporting import Reach
from microblog.usecases.sight import Sight

UNDO_SECONDS = 300
# An edit makes an old post the newest of its node; among so many the one that was written last is found.
_LOOKED_AT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A post that was published, and the number by which its author knows it."""

    published: Published
    number: int


def post(tx: Transaction, account: int, request: Publish) -> Posted:
    """Publish, for an author who will speak of the post by its number. Raises what ``publishing.publish`` raises."""
    done = publishing.publish(tx, request)
    address = ItemAddress(done.node.service, done.node.name, done.item.id)
    return Posted(published=done, number=tx.shown.assign(account, [address])[address])


def reached(tx: Transaction, done: Published, named: tuple[JID, ...]) -> Reach:
    """Whom a post that was published goes to."""
    if done.item.audience is Audience.DIRECT:
        named = tuple(jid for jid, reader in tx.items.mentioned(done.item.key).items() if reader)
    return reporting.reach(tx, done.node, done.item.audience, named)


def own(tx: Transaction, author: JID, address: ItemAddress) -> tuple[Node, Item]:
    """An item that somebody published here. Raises ItemNotFound, Forbidden."""
    found = tx.nodes.look_up(address.service, address.node, address.item_id or "")
    if found is None or found.item is None:
        raise ItemNotFound("no such item")
    if found.item.publisher != author.bare or address.service.domainpart != tx.domain:
        if Sight(tx, author).readable(found.node.key, found.item) is None:
            raise ItemNotFound("no such item")
        raise Forbidden("the item is somebody else's")
    return found.node, found.item


def last(tx: Transaction, author: JID, within_seconds: int | None = None) -> tuple[Node, Item]:
    """What somebody posted last, edited or not. Raises ItemNotFound if there is nothing, or nothing so new."""
    node = tx.nodes.find(author.bare, MICROBLOG)
    items = [] if node is None else tx.items.newest(node.key, _LOOKED_AT)
    posts = [item for item in items if item.stands is not None and item.id != FEED_ITEM]
    newest = max(posts, key=lambda item: (item.published, item.key), default=None)
    if node is None or newest is None:
        raise ItemNotFound("there is no post")
    if within_seconds is not None and tx.now - newest.published > timedelta(seconds=within_seconds):
        raise ItemNotFound("the last post is older")
    return node, newest
