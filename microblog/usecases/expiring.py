"""Items that end by themselves: as their author said, or as their node does (``pubsub#item_expire``, XEP-0060 §16.4.4).

When an item's time has come it is retracted as if its owner had done it, so that everybody who has it hears of it. Our
copy of somebody else's item is dropped by itself: its origin's retraction may come late, or never.
"""

from collections.abc import Callable
from dataclasses import dataclass

from microblog.model.errors import Refusal
from microblog.model.event import ItemRetracted
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.uri import item_uri
from microblog.store import events
from microblog.store.transaction import Transaction
from microblog.usecases import retracting

ITEMS_MAX = 100  # at once: others want to write too

Withdraw = Callable[[JID, str, Item], str]
Unsay = Callable[[JID, JID, int], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """How many items went. ``more``: there may be more whose time has come."""

    items: int
    more: bool


def expire(tx: Transaction, withdraw: Withdraw | None = None, unsay: Unsay | None = None) -> Expired:
    """Retract what has come to its end, the oldest first and not all at once; the other two as in ``Retract``."""
    ended = tx.items.expired(tx.now, ITEMS_MAX)
    for node_key, item_id in ended:
        # One may have gone with another that it repeated or hung on.
        node, item = tx.nodes.get(node_key), tx.items.get(node_key, item_id)
        if node is not None and item is not None:
            _end(tx, node, item, withdraw, unsay)
    return Expired(items=len(ended), more=len(ended) == ITEMS_MAX)


def _end(tx: Transaction, node: Node, item: Item, withdraw: Withdraw | None, unsay: Unsay | None) -> None:
    if node.service.domainpart == tx.domain:
        wanted = retracting.Retract(
            service=node.service,
            node=node.name,
            actor=node.service,
            item_id=item.id,
            notify=True,
            withdraw=withdraw,
            unsay=unsay,
        )
        try:
            retracting.retract(tx, wanted)
            return
        except Refusal:
            # A node that keeps no items has one all the same, to be sent to those who come.
            pass
    seq = tx.events.record(node.key, events.RETRACTED, item_id=item.id, audience=item.audience)
    tx.items.retract(node.key, item.id)
    retracting.retract_repeats(tx, item_uri(node.service, node.name, item.id))
    tx.emit(ItemRetracted(seq=seq, node=node, item_id=item.id, notify=False, recipients=()))
