"""XEP-0470 §4.2.4: the summary of what people attached to the items of a node, for each item that somebody may read.

It is kept nowhere: the reactions are counted when somebody asks. Hearts in comments count as well.
"""

from collections.abc import Mapping
from typing import NamedTuple

from microblog.model.errors import ItemNotFound
from microblog.model.item import Item, Page
from microblog.model.node import Node
from microblog.model.uri import ItemAddress
from microblog.store.reactions import Reactions
from microblog.store.transaction import Transaction
from microblog.usecases import conversing, depending, retrieving


class Summed(NamedTuple):
    """An item with how many people noticed it, and how many say what to it."""

    item: Item
    noticed: int
    reactions: Mapping[str, int]


class Summaries(NamedTuple):
    """The items of a page of a node with their summaries; ``truncated``: there are more."""

    node: Node
    page: Page
    summed: tuple[Summed, ...]
    truncated: bool


def retrieve(tx: Transaction, request: retrieving.Retrieve) -> Summaries:
    """Summaries of the items that ``retrieving.retrieve`` finds in the node, and raises as that.

    Raises: ItemNotFound for what nothing is attached to.
    """
    if depending.is_attachments(request.node) or depending.is_summary(request.node):
        raise ItemNotFound("nothing is attached to attachments")
    found = retrieving.retrieve(tx, request)
    node = found.node
    summed = []
    for item in found.page.items:
        address = ItemAddress(node.service, node.name, item.id)
        noticed = Reactions(tx).noticed(node.service, depending.attachments_of(address))
        summed.append(Summed(item, noticed, conversing.reactions(tx, address)))
    return Summaries(node=node, page=found.page, summed=tuple(summed), truncated=found.truncated)
