"""XEP-0060 §7.2: items that are taken back, by their publishers or by the owners of their nodes.

With an item goes what hangs on it, its copy in the thread that it answers in, and what repeats it. Everybody who was
told of it hears that it is gone, and whoever holds it though nobody follows there any more (``store.holders``).
"""

from collections.abc import Callable
from dataclasses import dataclass

from microblog.model.access import NO_SUCH_NODE, publishable, visible
from microblog.model.errors import Forbidden, ItemNotFound, ItemRequired, PersistentItemsUnsupported
from microblog.model.event import ItemRetracted
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.naming import check_node_name
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG, Node, is_feed
from microblog.model.uri import ItemAddress, item_uri, node_uri
from microblog.store import events
from microblog.store.transaction import Transaction
from microblog.usecases import depending
from microblog.usecases.placing import MENTIONS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Retract:
    """§7.2.1. ``withdraw`` makes the stanza that takes what ``copy`` put there out of a thread elsewhere; ``unsay``
    the one that takes back from a direct reader elsewhere what ``mention`` told them: author, reader, and the position
    that the item had then.
    """

    service: JID
    node: str
    actor: JID
    item_id: str
    notify: bool = False
    withdraw: Callable[[JID, str, Item], str] | None = None
    unsay: Callable[[JID, JID, int], str] | None = None


def retract(tx: Transaction, request: Retract) -> None:
    """Delete an item (§7.2).

    Raises: NodeIDRequired, ItemRequired (§7.2.3.4), ItemNotFound, Forbidden (§7.2.3.1), PersistentItemsUnsupported.
    """
    check_node_name(request.node)
    if not request.item_id:
        raise ItemRequired("which item?")
    found = tx.nodes.look_up(request.service, depending.canonical_name(request.node), request.item_id)
    if found is None or request.service.domainpart != tx.domain:
        raise ItemNotFound(NO_SUCH_NODE)
    node, facts = depending.stand(tx, found.node, request.actor)
    own = found.item is not None and found.item.publisher == request.actor.bare
    # What one said of others' posts one may take back even when one may not read them any more.
    if not (own and depending.is_dependent(node.name)):
        if not visible(node.config, facts):
            raise ItemNotFound(NO_SUCH_NODE)
        if not publishable(node.config, facts):
            raise Forbidden("you may not delete items here")
    if not node.config.persist_items:
        raise PersistentItemsUnsupported("this node keeps no items")
    if found.item is None:
        raise ItemNotFound("no such item")
    if not facts.capability.delete_any_item and found.item.publisher != request.actor.bare:
        raise Forbidden("the item is somebody else's")
    retract_repeats(tx, *_remove(tx, node, found.item, request))


def _remove(tx: Transaction, node: Node, item: Item, request: Retract) -> list[str]:
    """Delete an item with all that hangs on it, and tell everybody; nothing is refused any more.

    The URIs of what has gone and is not to be repeated any longer.
    """
    audience = item.audience
    # They are forgotten with the item.
    readers = readers_of(tx, item) if audience is Audience.DIRECT else ()
    notify = request.notify or node.config.notify_retract
    seq = tx.events.record(node.key, events.RETRACTED, item_id=item.id, audience=audience)
    tx.items.retract(node.key, item.id)
    told = notify and node.config.deliver_notifications
    domains = tx.fan_outs.owe(node, seq, audience) if told else ()
    if (told or audience is Audience.DIRECT) and is_feed(node.name):
        domains += tx.holders.owe(node.key, item.id, seq)
    thread = depending.thread_of(tx, node, item)
    if thread is not None and thread.service.domainpart != tx.domain:
        domains += take_out(tx, item, thread, request.withdraw)
    recipients = None
    if audience is Audience.DIRECT:
        recipients = (node.service, *(jid for jid in readers if jid.domainpart == tx.domain))
        domains += _unsay(tx, node, item, readers, request)
    tx.emit(
        ItemRetracted(
            seq=seq,
            node=node,
            domains=domains,
            item_id=item.id,
            notify=told,
            recipients=recipients,
            actor=request.actor.bare,
        )
    )
    gone = [item_uri(node.service, node.name, item.id)] if is_feed(node.name) else []
    if thread is not None and thread.service.domainpart == tx.domain:
        gone += _withdraw(tx, item, thread)
    gone += depending.comments_on(tx, node, item.id)
    depending.end(tx, node, item.id)
    return gone


def readers_of(tx: Transaction, item: Item) -> tuple[JID, ...]:
    """Those whom a direct item is for."""
    return tuple(jid for jid, reader in tx.items.mentioned(item.key).items() if reader)


def _unsay(tx: Transaction, node: Node, item: Item, readers: tuple[JID, ...], request: Retract) -> tuple[str, ...]:
    """Owe direct readers elsewhere the news that what they were told is taken back; their domains.

    Other nodes, which have the item itself, or are about to be given it, are told as of any item.
    """
    if request.unsay is None or item.publisher.domainpart != tx.domain:
        return ()
    first = tx.events.first_of(node.key, item.id) or item.position
    by_log = {holder.domain for holder in tx.holders.of(node.key, item.id)}
    for seq in (first, item.position):
        by_log.update(tx.outbox.owing(seq, MENTIONS_MAX))
    by_log = {domain for domain in by_log if tx.peers.get(domain).fanout}
    elsewhere = [jid for jid in readers if jid.domainpart not in (tx.domain, *by_log)]
    for jid in elsewhere:
        tx.outbox.add_stanza(jid.domainpart, request.unsay(item.publisher, jid, first), Audience.DIRECT)
    return tuple(jid.domainpart for jid in elsewhere)


def take_out(
    tx: Transaction,
    item: Item,
    thread: ItemAddress,
    withdraw: Callable[[JID, str, Item], str] | None = None,
) -> tuple[str, ...]:
    """An answer has gone: so has its copy in the thread, if it is there. The domains that are owed the news."""
    if thread.service.domainpart == tx.domain:
        retract_repeats(tx, *_withdraw(tx, item, thread))
        return ()
    if withdraw is None:
        return ()
    tx.outbox.add_stanza(thread.service.domainpart, withdraw(thread.service, thread.node, item), item.audience)
    return (thread.service.domainpart,)


def _withdraw(tx: Transaction, item: Item, thread: ItemAddress) -> list[str]:
    found = tx.nodes.look_up(thread.service, thread.node, item.id)
    if found is None or found.item is None or found.item.publisher != item.publisher:
        return []
    node, _ = depending.stand(tx, found.node, item.publisher)
    return _remove(tx, node, found.item, _taking(node, item.publisher, item.id))


def retract_repeats(tx: Transaction, *gone: str) -> None:
    """What was retracted, here or elsewhere, is not repeated by our people any longer, nor are the repetitions.

    Whatever their nodes are like now: nobody can keep it from being deleted.
    """
    uris = list(gone)
    while uris:
        repeated = uris.pop()
        while found := tx.items.repeats(repeated):
            for node_key, item in found:
                node = tx.nodes.get(node_key)
                if node is None or tx.items.position(node_key, item.id) is None:
                    continue  # it went with another
                uris += _remove(tx, node, item, _taking(node, node.service, item.id))


def retract_all_repeats(tx: Transaction, node: Node) -> None:
    """The same for all that a node ever had, and for the comments on it."""
    _retract_repeats_of_all(tx, f"{node_uri(node.service, node.name)};item=")
    if node.name == MICROBLOG:
        _retract_repeats_of_all(tx, node_uri(node.service, COMMENTS_PREFIX))


def _retract_repeats_of_all(tx: Transaction, prefix: str) -> None:
    while uris := tx.items.repeated(prefix):
        for uri in uris:
            retract_repeats(tx, uri)


def _taking(node: Node, actor: JID, item_id: str) -> Retract:
    return Retract(service=node.service, node=node.name, actor=actor, item_id=item_id, notify=True)
