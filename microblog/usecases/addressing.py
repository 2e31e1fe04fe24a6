"""Whom a post is for, and who is told that it names them.

It is decided once, when the post is first published: what was asked for, or the node's default, but never more than
the node allows, what the post answers is for, or the administrator lets out. An edit changes nothing of it, and cannot
bring in what would be for fewer. Naming somebody lets nobody in.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from microblog.model.access import WIDTH, audience_of
from microblog.model.entry import Entry
from microblog.model.errors import ItemNotFound, NotAcceptable, NotAllowed
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.subscription import SubscriptionState
from microblog.model.uri import comments_uri, read_uri
from microblog.store.transaction import Transaction
from microblog.usecases import depending
from microblog.usecases.placing import MENTIONS_MAX
from microblog.usecases.sight import Sight

if TYPE_CHECKING:
    from microblog.usecases.publishing import Publish

# Whom an item's payload names: only who reads XML knows.
Named = Callable[[str], Iterable[JID]]


def edited_audience(tx: Transaction, request: "Publish", old: Item) -> Audience:
    """Whom an edit is for: the same as the first version. What would be for fewer cannot be brought in by an edit."""
    entry = request.entry
    bounds = [] if request.ceiling is None else [request.ceiling]
    if entry is not None and entry.via and entry.via != old.via:
        _check_repeat(tx, request.actor, entry.via)
    if entry is not None and (entry.answers, entry.thread) != (old.answers, old.thread):
        bounds += [audience for audience, _ in _answered(tx, request, entry)]
    if any(WIDTH[bound] < WIDTH[old.audience] for bound in bounds):
        raise NotAllowed("the post is for more people than this may be for: delete it and post anew")
    return old.audience


def new_audience(tx: Transaction, node: Node, request: "Publish") -> tuple[Audience, tuple[JID, ...]]:
    """Whom a new item is for, and who are its readers if it is direct."""
    entry = request.entry
    stated = entry.audience if entry is not None else None
    bounds = [audience_of(node.config), request.audience or stated or node.config.default_audience]
    if request.ceiling is not None:
        bounds.append(request.ceiling)
    readers = request.readers
    for audience, author in _answered(tx, request, entry) if entry is not None else ():
        bounds.append(audience)
        if audience is Audience.DIRECT and author is not None:
            readers = readers or (author,)
    if entry is not None and entry.via:
        _check_repeat(tx, request.actor, entry.via)
    if Audience.DIRECT not in bounds:
        return min(bounds, key=WIDTH.__getitem__), ()
    if Audience.LOCAL in bounds:
        # Nobody could tell any more that it stays here: its readers' other addresses, and answers to it, would not.
        raise NotAllowed("what stays on this node is not direct: send a message instead")
    readers = tuple(dict.fromkeys(jid.bare for jid in readers))[:MENTIONS_MAX]
    if not readers:
        raise NotAcceptable("a direct post names its readers")
    return Audience.DIRECT, readers


def _answered(tx: Transaction, request: "Publish", entry: Entry) -> Iterator[tuple[Audience, JID | None]]:
    """Whom what an item answers is for, and what its thread began with, if we know it; and whose it is."""
    if entry.answers:
        yield from _known(tx, entry.answers)
    if not entry.thread or _begins(request, entry):
        return
    thread = read_uri(entry.thread)
    root = None if thread is None else depending.depends_on(thread.service, thread.node)
    if root is not None and root.uri != entry.answers and root != (request.service, request.node, request.item_id):
        yield from _known(tx, root.uri)


def _begins(request: "Publish", entry: Entry) -> bool:
    # What begins a thread names it as well. That is what most posts do, and reading addresses takes its time.
    post = request.node == MICROBLOG and request.item_id is not None
    return post and entry.thread == comments_uri(request.service, request.item_id or "")


def _known(tx: Transaction, uri: str) -> Iterator[tuple[Audience, JID | None]]:
    """Whom an item is for, or was: somebody may answer it who has not heard yet that it is gone."""
    address = read_uri(uri)
    if address is None or address.item_id is None:
        return
    found = tx.nodes.look_up(address.service, address.node, address.item_id)
    if found is not None and found.item is not None:
        yield found.item.audience, found.item.publisher
    elif found is not None and found.retracted:
        yield tx.events.retracted_from(found.node.key, address.item_id) or Audience.LOCAL, None


def _check_repeat(tx: Transaction, actor: JID, via: str) -> None:
    """Only what is public is repeated, and nothing that is gone. What we have no copy of is not ours to judge.

    What they may not read is to them as if it were not there.
    """
    address = read_uri(via)
    if address is None or address.item_id is None:
        return
    found = tx.nodes.look_up(address.service, address.node, address.item_id)
    here = address.service.domainpart == tx.domain
    if found is not None and found.item is not None and Sight(tx, actor).readable(found.node.key, found.item) is None:
        found = None
    if (found is None or found.item is None) and (here or (found is not None and found.retracted)):
        raise ItemNotFound("what you repeat is not there any more")
    if found is not None and found.item is not None and found.item.audience is not Audience.PUBLIC:
        raise NotAllowed("only public posts are repeated")


def is_shown(tx: Transaction, entry: Entry | None) -> bool:
    """May what comes from elsewhere be shown? Not what repeats something of ours that is gone or was never for all, nor
    what repeats what we know to be gone.
    """
    address = read_uri(entry.via) if entry is not None and entry.via else None
    if address is None or address.item_id is None:
        return True
    found = tx.nodes.look_up(address.service, address.node, address.item_id)
    if address.service.domainpart == tx.domain:
        return found is not None and found.item is not None and found.item.audience is Audience.PUBLIC
    return found is None or found.item is not None or not found.retracted


def tell_mentioned(
    tx: Transaction, request: "Publish", node: Node, item: Item, readers: tuple[JID, ...], aware: JID | None
) -> tuple[str, ...]:
    """Owe people elsewhere the news that a post names them, unless they follow it or know anyway; their domains.

    Another node is owed the post, and is told whom it names when it is sent (``named_elsewhere``).
    """
    assert request.mention is not None and request.entry is not None
    if item.audience is Audience.DIRECT:
        told = set(readers)
    elif item.audience is Audience.PUBLIC:
        told = {jid.bare for jid in request.entry.mentions[:MENTIONS_MAX]}
    else:
        return ()
    by_log: set[str] = set()
    domains = []
    for jid in sorted(told, key=str):
        if jid.domainpart == tx.domain or jid in (item.publisher, aware) or tx.blocks.has(item.publisher, jid):
            continue
        follows = None if item.audience is Audience.DIRECT else tx.subscriptions.find(node, jid)
        if follows is not None and follows.state is SubscriptionState.SUBSCRIBED:
            continue
        if jid.domainpart in by_log or (node.name == MICROBLOG and tx.peers.get(jid.domainpart).fanout):
            by_log.add(jid.domainpart)
            continue
        tx.outbox.add_stanza(jid.domainpart, request.mention(jid, node, item), item.audience)
        if item.audience is Audience.PUBLIC:
            tx.holders.hold([(node.key, item.id, jid)])
        domains.append(jid.domainpart)
    return (*domains, *tx.outbox.owe(by_log, item.position))


def named_elsewhere(
    tx: Transaction, node: Node, item: Item, domain: str, named: Named, *, again: int = 0
) -> tuple[JID, ...]:
    """Who at a domain is to be told with the item itself that it names them: as long as the domain was not given it.

    ``again``: the event of what was told once; if it was the item's first, they are to be told as they were then.
    """
    if item.audience is Audience.DIRECT:
        readers = (jid for jid, reader in tx.items.mentioned(item.key).items() if reader and jid.domainpart == domain)
        return tuple(sorted((jid for jid in readers if not tx.blocks.has(item.publisher, jid)), key=str))
    if item.audience is not Audience.PUBLIC or node.name != MICROBLOG or f"@{domain}" not in item.payload:
        return ()
    if tx.holders.witness(node.key, item.id, domain) is not None and (
        not again or tx.events.first_of(node.key, item.id) != again
    ):
        return ()
    thread = depending.thread_of(tx, node, item)
    found = {}
    for jid in named(item.payload):
        # Who keeps the thread hears of the answer there.
        if jid.domainpart != domain or jid.bare == item.publisher or (thread and thread.service == jid.bare):
            continue
        if tx.blocks.has(item.publisher, jid):
            continue
        follows = tx.subscriptions.find(node, jid.bare)
        if follows is None or follows.state is not SubscriptionState.SUBSCRIBED:
            found[jid.bare] = True
    return tuple(found)
