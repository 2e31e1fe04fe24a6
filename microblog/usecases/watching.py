"""Threads that people watch: subscriptions to the comments of the post that began them, here or elsewhere.

Whoever watches a thread hears of its replies as of the posts of those they follow, by chat and by feed; in no timeline
of theirs are they for that. Which threads somebody watches is not for others to see, whatever they have said of whom
they follow.
"""

from typing import Final

from microblog.model.errors import ItemNotFound, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.uri import ItemAddress, read_uri
from microblog.store.transaction import Transaction
from microblog.usecases.depending import comments_of, depends_on, is_comments
from microblog.usecases.sight import Sight

WATCHED_MAX: Final = 100


def thread_of(tx: Transaction, reader: JID, address: ItemAddress) -> ItemAddress:
    """The comments in which the thread of a post is kept. Raises ItemNotFound for what the reader may not see."""
    found = _thread_of(tx, reader, address)
    if found is None:
        raise ItemNotFound("this belongs to no thread")
    return found


def _thread_of(tx: Transaction, reader: JID, address: ItemAddress) -> ItemAddress | None:
    found = tx.nodes.look_up(address.service, address.node, address.item_id or "")
    item = None if found is None else found.item
    if found is None or item is None or Sight(tx, reader).readable(found.node.key, item) is None:
        if address.service.domainpart == tx.domain:
            raise ItemNotFound("no such post")
        # Its author's service knows.
        return _comments(address)
    return _comments(read_uri(item.thread)) or _comments(address)


def _comments(address: ItemAddress | None) -> ItemAddress | None:
    """The comments that a post is in, or those on it; None for what is neither."""
    if address is None or (address.item_id is None and not is_comments(address.node)):
        return None
    node = address.node if is_comments(address.node) else comments_of(address)
    return ItemAddress(address.service, node) if depends_on(address.service, node) is not None else None


def may_watch(tx: Transaction, account: JID, thread: ItemAddress) -> None:
    """May somebody watch one more, if it is one? Raises ResourceConstraint."""
    known = _watched(tx, account)
    if thread not in known and len(known) >= WATCHED_MAX:
        raise ResourceConstraint(f"you watch {WATCHED_MAX} threads already")


def keep_private(tx: Transaction, account: JID, thread: ItemAddress) -> None:
    """Others do not see that somebody watches a thread."""
    node = tx.nodes.find(thread.service, thread.node)
    if node is not None and tx.subscriptions.find(node, account) is not None:
        tx.subscriptions.set_public(node, account, False)


def watched(tx: Transaction, account: JID) -> tuple[ItemAddress, ...]:
    """The threads that somebody watches, by the posts that began them."""
    return tuple(_watched(tx, account).values())


def _watched(tx: Transaction, account: JID) -> dict[ItemAddress, ItemAddress]:
    """The threads, with the posts that began them; without those whose posts are gone."""
    found = {}
    for one in tx.subscriptions.follows(account):
        root = depends_on(one.node.service, one.node.name) if is_comments(one.node.name) else None
        if root is not None and one.subscription.jid == account.bare and not _is_gone(tx, root):
            found[ItemAddress(one.node.service, one.node.name)] = root
    return found


def _is_gone(tx: Transaction, root: ItemAddress) -> bool:
    found = tx.nodes.look_up(root.service, root.node, root.item_id or "")
    if root.service.domainpart == tx.domain:
        return found is None or found.item is None
    return found is not None and found.retracted
