"""XEP-0060 §6.5, XEP-0059: items that somebody asks a node of ours for.

They are in the order of publication, so the last page has the newest; within a page the oldest comes first. What is for
named readers only is had by its id alone, by those who are named.
"""

from dataclasses import dataclass, replace

from microblog.model.access import Action, Facts, audiences_readable, check, reads_directly
from microblog.model.errors import BadRequest, InvalidSubID, ItemNotFound, PersistentItemsUnsupported
from microblog.model.item import Audience, Item, Page, PageRequest
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.store.transaction import Transaction
from microblog.usecases import depending, identity
from microblog.usecases.subscribing import standing

IDS_PER_REQUEST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieve:
    """§6.5: items by id, the newest ``max_items``, or a page; with nothing said, as many of the newest as go.

    What is for named readers only is among others' items for none of them: they know its id, and ask for it.

    ``audiences``: only items that are for one of these may leave for where the actor is.
    """

    service: JID
    node: str
    actor: JID
    item_ids: tuple[str, ...] = ()
    max_items: int | None = None
    page: PageRequest | None = None
    subid: str | None = None
    audiences: frozenset[Audience] = frozenset(Audience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """``truncated``: there are more than were asked for or may be had at once."""

    node: Node
    page: Page
    truncated: bool


def retrieve(tx: Transaction, request: Retrieve) -> Retrieved:
    """Retrieve items (§6.5, XEP-0059).

    Raises: ItemNotFound for no node, for one that the asker may know nothing of, and for a page that begins at an item
    that is not there; Forbidden (§6.5.9.11), EntityNotSubscribed (§6.5.9.3), InvalidSubID (§6.5.9.2), BadRequest.
    """
    node, facts = standing(tx, request.service, request.node, request.actor)
    request = replace(request, audiences=identity.leaving(tx, request.actor, request.audiences))
    direct = _for_them(tx, node, facts, request)
    if not direct:
        check(Action.RETRIEVE, node.config, facts)
    if request.subid and not any(
        request.subid == known.subid for known in tx.subscriptions.of_bare(node, request.actor)
    ):
        raise InvalidSubID("there is no subscription of this subid")
    audiences = audiences_readable(node.config, facts)
    if audiences and depending.is_direct(tx, node):
        # All of it is for those whom the item names that it hangs on.
        audiences |= {Audience.DIRECT}
    return _retrieve(tx, node, request, audiences & request.audiences, direct)


def _for_them(tx: Transaction, node: Node, facts: Facts, request: Retrieve) -> list[Item]:
    """Of the items that are asked for by id, the direct ones that name the asker."""
    if not request.item_ids or Audience.DIRECT not in request.audiences or not reads_directly(node.config, facts):
        return []
    asked, actor = request.item_ids[:IDS_PER_REQUEST], request.actor.bare
    direct = tx.items.some(node.key, asked, (Audience.DIRECT,))
    return [item for item in direct if item.publisher == actor or tx.items.mentioned(item.key).get(actor)]


def _retrieve(
    tx: Transaction, node: Node, request: Retrieve, audiences: frozenset[Audience], direct: list[Item]
) -> Retrieved:
    if not node.config.persist_items and (request.page or request.item_ids):
        raise PersistentItemsUnsupported("this node keeps no items")
    if request.item_ids:
        if len(request.item_ids) > IDS_PER_REQUEST:
            raise BadRequest(f"at most {IDS_PER_REQUEST} items by id at once")
        others = tx.items.some(node.key, request.item_ids, audiences) if audiences else []
        items = sorted({item.key: item for item in (*others, *direct)}.values(), key=lambda item: item.position)
        return Retrieved(node=node, page=Page(items=tuple(items), count=len(items)), truncated=False)
    if request.page is not None:
        if request.max_items is not None and request.page == PageRequest():
            return _newest_items(tx, node, request.max_items, audiences)
        return _page(tx, node, request.page, audiences)
    return _newest_items(tx, node, request.max_items, audiences)


def _newest_items(tx: Transaction, node: Node, wanted: int | None, audiences: frozenset[Audience]) -> Retrieved:
    most = tx.limits.rsm_page_max_items
    if wanted is not None and wanted < 1:
        raise BadRequest("max_items is a positive number")
    limit = most if wanted is None else min(wanted, most)
    items = tx.items.newest(node.key, limit + 1, audiences=audiences)
    if len(items) <= limit:
        return Retrieved(node=node, page=Page(items=tuple(items), count=len(items), index=0), truncated=False)
    count = tx.items.count(node.key, audiences=audiences)
    page = Page(items=tuple(items[1:]), count=count, index=count - limit)
    return Retrieved(node=node, page=page, truncated=True)


def _page(tx: Transaction, node: Node, page: PageRequest, audiences: frozenset[Audience]) -> Retrieved:
    if sum((page.after is not None, page.before is not None, page.last_page, page.index is not None)) > 1:
        raise BadRequest("after, before or index: one of them")
    if (page.max is not None and page.max < 0) or (page.index is not None and page.index < 0):
        raise BadRequest("no negative numbers")
    limit = min(tx.limits.rsm_page_items if page.max is None else page.max, tx.limits.rsm_page_max_items)
    count = tx.items.count(node.key, audiences=audiences)
    if limit == 0:
        return Retrieved(node=node, page=Page(items=(), count=count), truncated=count > 0)
    if page.last_page:
        items = tx.items.newest(node.key, limit, audiences=audiences)
    elif page.before is not None:
        end = _position(tx, node, page.before, audiences)
        items = tx.items.newest(node.key, limit, before=end, audiences=audiences)
    elif page.after is not None:
        start = _position(tx, node, page.after, audiences)
        items = tx.items.first(node.key, limit, after=start, audiences=audiences)
    else:
        skip = page.index or 0
        items = tx.items.first(node.key, limit, skip=skip, audiences=audiences) if skip < count else []
    index = tx.items.count(node.key, before=items[0].position, audiences=audiences) if items else None
    return Retrieved(node=node, page=Page(items=tuple(items), count=count, index=index), truncated=len(items) < count)


def _position(tx: Transaction, node: Node, item_id: str, audiences: frozenset[Audience]) -> int:
    position = tx.items.position(node.key, item_id, audiences)
    if position is None:
        raise ItemNotFound("no such item to go on from")
    return position
