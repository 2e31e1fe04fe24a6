"""An answer whose copy a thread elsewhere does not take.

Who keeps a thread hears of an answer there, and is not told again that it names them. But not every server has the
comments that its people's posts speak of: then they are told as is anybody else elsewhere who is named.
"""

from collections.abc import Callable
from dataclasses import dataclass

from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.subscription import SubscriptionState
from microblog.model.uri import read_uri
from microblog.store.transaction import Transaction
from microblog.usecases import depending


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTaken:
    """``service`` refused the copy of what the author published in an event. ``mention``: as in ``Publish``."""

    author: JID
    service: JID
    seq: int
    mention: Callable[[JID, Node, Item], str]


def not_taken(tx: Transaction, request: NotTaken) -> bool:
    """Tell who keeps the thread, once, and not of edits; False if there is nothing to tell them."""
    found = tx.events.item_of(request.seq)
    node = None if found is None else tx.nodes.get(found[0])
    if found is None or node is None or (node.service, node.name) != (request.author, MICROBLOG):
        return False
    item = tx.items.get(node.key, found[1])
    if item is None or item.audience is not Audience.PUBLIC:
        return False
    to, thread, answered = request.service.bare, depending.thread_of(tx, node, item), read_uri(item.answers)
    if thread is None or thread.service != to or to.domainpart == tx.domain:
        return False
    # What is said to somebody else in their thread was not for them to be told.
    if answered is None or answered.service != to:
        return False
    follows = tx.subscriptions.find(node, to)
    if follows is not None and follows.state is SubscriptionState.SUBSCRIBED:
        return False
    if tx.holders.witness(node.key, item.id, to.domainpart) == to:
        return False
    if tx.events.first_of(node.key, item.id) != request.seq:
        return False
    tx.outbox.add_stanza(to.domainpart, request.mention(to, node, item), item.audience)
    tx.holders.hold([(node.key, item.id, to)])
    return True
