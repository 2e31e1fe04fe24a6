"""XEP-0060 §7: what publishers do. XEP-0163 §3: a node is made by publishing to it.

Everything is checked before anything is written. A publish to a node that is there costs four statements: look up the
node with the item of that id, write the event, write the item, owe the event to the domains of the followers
(SQLite is asked first whether there are any; very many of them are read first, and owed it in parts).

Publishing under an id that is there is an edit. The same again by the same publisher is what a client does that never
saw our answer, and succeeds without telling anybody twice; so does an edit older than what is there.

Whom a post is for is ``addressing``'s to say. An answer is a post of its author's, and under the same id a comment in
the thread that it belongs to; they are edited and deleted together.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from microblog.model.access import (
    NO_SUCH_NODE,
    Action,
    Facts,
    check,
    publishable,
    readable,
)
from microblog.model.entry import HEART, Entry, fold_reaction
from microblog.model.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    InvalidPayload,
    ItemForbidden,
    ItemNotFound,
    ItemRequired,
    MaxNodesExceeded,
    NotAcceptable,
    PayloadRequired,
    PayloadTooBig,
    PreconditionNotMet,
    ResourceConstraint,
)
from microblog.model.event import ItemPublished
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.naming import check_item_id, check_node_name
from microblog.model.node import (
    BadOption,
    Node,
    NodeConfig,
    Options,
    is_feed,
    read_options,
)
from microblog.model.subscription import Affiliation
from microblog.model.uri import ItemAddress
from microblog.store import events
from microblog.store.crashpoint import crashpoint
from microblog.store.fan_outs import NOBODY
from microblog.store.nodes import LookUp
from microblog.store.reactions import Reactions
from microblog.store.transaction import Transaction
from microblog.usecases import depending
from microblog.usecases.addressing import edited_audience, new_audience, tell_mentioned
from microblog.usecases.depending import Dependent
from microblog.usecases.placing import FEED_ITEM, NOWHERE, place, write_down
from microblog.usecases.retracting import readers_of, take_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """§7.1.1. ``payload`` is self-contained XML text; ``entry`` is its reading, if it is an Atom entry.

    ``proof``: how a remote publisher's stream was authenticated. ``audience``: whom it shall be for, ``ceiling``: the
    widest that it may be for, ``readers``: those it is for if it is direct. ``mark`` writes an audience that is not
    public into a payload; ``mention`` makes the stanza that tells somebody elsewhere, who would not hear of it
    otherwise, that the item names them: their address, and the item. ``copy`` makes the stanza that puts a copy of the
    item into a thread elsewhere: the thread's service and node, and the item; ``withdraw`` the one that takes it out
    of there. ``reactions``: what an attachment says.
    """

    service: JID
    node: str
    actor: JID
    item_id: str | None = None
    payload: str = ""
    entry: Entry | None = None
    options: Options | None = None
    has_item: bool = True
    proof: Proof = Proof.LOCAL
    audience: Audience | None = None
    ceiling: Audience | None = None
    readers: tuple[JID, ...] = ()
    mark: Callable[[str, Audience], str] | None = None
    mention: Callable[[JID, Node, Item], str] | None = None
    copy: Callable[[JID, str, Item], str] | None = None
    withdraw: Callable[[JID, str, Item], str] | None = None
    reactions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The item as it is now; ``new`` is False if nothing had to be done."""

    node: Node
    item: Item
    new: bool


def publish(tx: Transaction, request: Publish) -> Published:
    """Publish an item, or publish it again (§7.1).

    Raises: Forbidden (§7.1.3.1), PayloadTooBig (§7.1.3.5), InvalidPayload (§7.1.3.6), ItemRequired, ItemForbidden,
    PayloadRequired (§7.1.3.7), PreconditionNotMet (§7.1.5), NodeIDRequired, BadRequest, MaxNodesExceeded,
    ResourceConstraint, NotAcceptable for a direct post without readers, NotAllowed to repeat what is not public.
    """
    check_node_name(request.node)
    if depending.is_dependent(request.node):
        request = replace(request, node=depending.canonical_name(request.node))
        there = depending.named(tx, request.service, request.node)
        if there is not None:
            return _publish_dependent(tx, request, there)
        if depending.is_attachments(request.node):
            raise ItemNotFound(NO_SUCH_NODE)
    owner = request.actor.bare == request.service and request.service.domainpart == tx.domain
    item_id = _item_id(tx, request)
    found = tx.nodes.look_up(request.service, request.node, item_id)
    if found is None:
        if not owner:
            raise Forbidden("you may not publish here")
        config = _new_config(tx, request)
        _check_content(tx, request, config)
        if tx.nodes.count(request.service, dependent=depending.is_dependent(request.node)) >= (
            tx.limits.nodes_per_account
        ):
            raise MaxNodesExceeded("this account has as many nodes as it may have")
        _check_disk(tx)
        found = LookUp(tx.nodes.create(request.service, request.node, config), None, False)
    else:
        facts = Facts(affiliation=Affiliation.OWNER, here=True) if owner else _facts(tx, found.node, request)
        check(Action.PUBLISH, found.node.config, facts)
        _check_preconditions(found.node.config, request.options)
        _check_content(tx, request, found.node.config)
        _check_rewrite(found.item, request, facts)
        if found.node.config.persist_items and _nothing_new(found.item, request):
            assert found.item is not None
            return Published(node=found.node, item=found.item, new=False)
        if found.retracted and request.actor.domainpart != tx.domain:
            raise Conflict("an item of this id was retracted")
        _check_disk(tx)
    return _write(tx, request, found, item_id)


def _publish_dependent(tx: Transaction, request: Publish, there: Dependent) -> Published:
    """Publish where others' comments and attachments are; the node is made, if it was not used before."""
    item_id = _item_id(tx, request)
    node, facts = there.node, there.facts(request.actor)
    if depending.is_attachments(node.name):
        if not readable(node.config, facts):
            raise ItemNotFound(NO_SUCH_NODE)
        # XEP-0470 §4.2.3; by §4.2.1 options are passed over.
        if item_id != str(request.actor.bare):
            raise BadRequest("the id of what is attached is the address of who attaches it")
        request = replace(request, options=None)
    check(Action.PUBLISH, node.config, facts)
    found = tx.nodes.look_up(request.service, request.node, item_id)
    old, retracted = (found.item, found.retracted) if found else (None, False)
    if found is not None:
        _check_preconditions(node.config, request.options)
    _check_content(tx, request, node.config)
    _check_rewrite(old, request, facts)
    if _nothing_new(old, request):
        assert old is not None
        return Published(node=node, item=old, new=False)
    if retracted and request.actor.domainpart != tx.domain and not depending.is_attachments(node.name):
        raise Conflict("an item of this id was retracted")
    _check_disk(tx)
    return _write(tx, replace(request, readers=there.readers()), LookUp(node, old, retracted), item_id)


def _write(tx: Transaction, request: Publish, found: LookUp, item_id: str) -> Published:
    node, old, retracted = found
    entry = request.entry
    audience, readers = (edited_audience(tx, request, old), ()) if old else new_audience(tx, node, request)
    hung = depending.is_dependent(node.name)
    if hung:
        node = depending.written(tx, node)
    seq = tx.events.record(node.key, events.PUBLISHED, item_id=item_id, audience=audience)
    published = old.published if old else clamp_instant(tx, entry.published if entry else None)
    where = place(tx, node, item_id, published, entry)
    item = Item(
        id=item_id,
        publisher=request.actor.bare,
        payload=_marked(request, audience),
        published=published,
        updated=clamp_instant(tx, entry.updated if entry else None),
        position=seq,
        audience=audience,
        proof=Proof.LOCAL if request.actor.domainpart == tx.domain else request.proof,
        key=old.key if old else 0,
        stands=old.stands if old else where.stands,
        thread=where.thread,
        answers=where.answers,
        via=where.via,
        expires=ending(node.config, where.expires, tx.now),
    )
    item = item.under(tx.items.put(node.key, item, replaces=old is not None))
    if where is not NOWHERE:
        if old is not None and audience is Audience.DIRECT:
            readers = readers_of(tx, old)
        write_down(tx, node, item, entry, readers=readers, again=old is not None)
    said = _reactions(tx, request, item, again=old is not None) if hung else ()
    if retracted:
        tx.items.unbury(node.key, item_id)
    keep = node.config.max_items if node.config.persist_items else 1
    if keep is not None and old is None:
        tx.items.trim(node.key, keep)
    crashpoint("K2")
    told = node.config.deliver_notifications
    # Who has the old version is to have the new one, whoever follows by now.
    again = item_id if old is not None and audience is Audience.PUBLIC else ""
    domains, spreads = tx.fan_outs.begin(node, seq, audience, again) if told else NOBODY
    if old is not None and told and audience is Audience.DIRECT:
        domains += tx.holders.owe(node.key, item_id, seq)
    thread = depending.thread_of(tx, node, item)
    # Nothing is sent from here in the name of somebody elsewhere.
    ours = item.publisher.domainpart == tx.domain
    if request.mention is not None and request.entry is not None and old is None and ours:
        # Who keeps the thread themselves hear of the answer there.
        aware = thread.service if thread is not None and request.copy is not None else None
        domains += tell_mentioned(tx, request, node, item, readers, aware)
    if thread is not None and request.copy is not None and thread.service.domainpart != tx.domain:
        domains += _send_copy(tx, request.copy, item, thread)
    before = None if old is None else depending.thread_of(tx, node, old)
    if old is not None and before is not None and before != thread:
        domains += take_out(tx, old, before, request.withdraw)
    recipients = None
    if audience is Audience.DIRECT:
        recipients = (node.service, *(jid for jid in readers if jid.domainpart == tx.domain))
    tx.emit(
        ItemPublished(seq=seq, node=node, domains=domains, spreads=spreads, item=item, recipients=recipients, said=said)
    )
    if thread is not None and thread.service.domainpart == tx.domain:
        _copy(tx, request, item, thread)
    return Published(node=node, item=item, new=True)


def _reactions(tx: Transaction, request: Publish, item: Item, *, again: bool) -> tuple[str, ...]:
    """Write down what an item says to the one that its node depends on; what of it was not said before."""
    heart = request.entry is not None and request.entry.is_heart
    said = (HEART,) if heart else tuple(dict.fromkeys(map(fold_reaction, request.reactions)))
    before = Reactions(tx).of(item.key) if again else ()
    if said != before:
        Reactions(tx).set(item.key, said, again=again)
    return tuple(reaction for reaction in said if reaction not in before)


def _send_copy(
    tx: Transaction, copy: Callable[[JID, str, Item], str], item: Item, thread: ItemAddress
) -> tuple[str, ...]:
    """Owe an answer to its thread elsewhere; not to one of somebody whom its author blocked."""
    if tx.blocks.has(item.publisher, thread.service):
        return ()
    tx.outbox.add_stanza(thread.service.domainpart, copy(thread.service, thread.node, item), item.audience)
    return (thread.service.domainpart,)


def _copy(tx: Transaction, request: Publish, item: Item, thread: ItemAddress) -> None:
    """Put an answer into its thread here, if its author may write there; nothing is refused any more."""
    there = depending.named(tx, thread.service, thread.node)
    if there is None or not publishable(there.node.config, there.facts(item.publisher)):
        return
    found = tx.nodes.look_up(thread.service, thread.node, item.id) or LookUp(there.node, None, False)
    # What the thread's owner removed stays removed.
    if found.retracted or (found.item is not None and found.item.publisher != item.publisher):
        return
    copied = replace(
        request,
        service=thread.service,
        node=thread.node,
        audience=item.audience,
        # An edit is for whom the first version was.
        ceiling=there.parent.item.audience if found.item is None else None,
        mention=None,
        copy=None,
    )
    _write(tx, copied, LookUp(there.node, found.item, False), item.id)


def _marked(request: Publish, audience: Audience) -> str:
    if audience is Audience.PUBLIC or request.mark is None or request.entry is None:
        return request.payload
    return request.mark(request.payload, audience)


def ending(config: NodeConfig, stated: datetime | None, now: datetime) -> datetime | None:
    """When an item that is published now ends: as its author says, or its node, whichever is earlier."""
    if config.item_expire is None:
        return stated
    latest = now + timedelta(seconds=config.item_expire)
    return latest if stated is None else min(stated, latest)


def clamp_instant(tx: Transaction, instant: datetime | None) -> datetime:
    """A stated time, but not the future: a little ahead is taken as it is, more as now.

    Raises: NotAcceptable for a time so far ahead that the clock must be wrong.
    """
    if instant is None:
        return tx.now
    if instant <= tx.now:
        return instant
    ahead = instant - tx.now
    if ahead <= timedelta(seconds=tx.limits.clock_ahead_accepted_seconds):
        return instant
    if ahead <= timedelta(seconds=tx.limits.clock_ahead_clamped_seconds):
        return tx.now
    raise NotAcceptable("the entry's time is in the future: check the clock")


def _item_id(tx: Transaction, request: Publish) -> str:
    if request.item_id is None:
        return tx.new_id()
    check_item_id(request.item_id)
    return request.item_id


def _facts(tx: Transaction, node: Node, request: Publish) -> Facts:
    if request.service.domainpart != tx.domain:
        raise Forbidden("this node is kept elsewhere")
    return tx.affiliations.facts(node, request.actor)


def _new_config(tx: Transaction, request: Publish) -> NodeConfig:
    """The defaults, and what the publisher expects beyond them (§7.1.5)."""
    try:
        return replace(tx.nodes.defaults(request.service, request.node), **read_options(request.options or {}))
    except BadOption as error:
        raise PreconditionNotMet(str(error)) from error


def _check_preconditions(config: NodeConfig, options: Options | None) -> None:
    if not options:
        return
    try:
        expected = read_options(options)
    except BadOption as error:
        raise PreconditionNotMet(str(error)) from error
    for name, value in expected.items():
        if getattr(config, name) != value:
            raise PreconditionNotMet(f"{name} is different here")


def _check_content(tx: Transaction, request: Publish, config: NodeConfig) -> None:
    limit = min(tx.limits.payload_max_bytes, config.max_payload_size or tx.limits.payload_max_bytes)
    if len(request.payload) > limit or len(request.payload.encode()) > limit:
        raise PayloadTooBig(f"a payload has at most {limit} bytes")
    transient_notice = not config.persist_items and not config.deliver_payloads
    if transient_notice and request.has_item:
        raise ItemForbidden("this node only tells that something happened")
    if not transient_notice and not request.has_item:
        raise ItemRequired("an item is missing")
    if config.deliver_payloads and not request.payload:
        raise PayloadRequired("a payload is missing")
    if is_feed(request.node) and request.entry is None and request.item_id != FEED_ITEM:
        raise InvalidPayload("an Atom entry is expected")
    if request.entry is not None:
        clamp_instant(tx, request.entry.published)
        clamp_instant(tx, request.entry.updated)


def _check_rewrite(old: Item | None, request: Publish, facts: Facts) -> None:
    """Only an owner or the publisher may put something else in an item's place."""
    if old is not None and old.publisher != request.actor.bare and not facts.capability.own:
        raise Forbidden("the item is somebody else's")


def _nothing_new(old: Item | None, request: Publish) -> bool:
    if old is None or old.publisher != request.actor.bare:
        return False
    if old.payload == _marked(request, old.audience):
        return True
    updated = request.entry.updated if request.entry else None
    return updated is not None and updated < old.updated


def _check_disk(tx: Transaction) -> None:
    if tx.disk_low:
        raise ResourceConstraint("the server's disk is full")
