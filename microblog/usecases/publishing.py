"""XEP-0060 §7: what publishers do. XEP-0163 §3: a node is made by publishing to it.

Everything is checked before anything is written. A publish to a node that is there costs four statements: look up the
node with the item of that id, write the event, write the item, owe the event to the domains of the followers.

Publishing under an id that is there is an edit. The same again by the same publisher is what a client does that never
saw our answer, and succeeds without telling anybody twice; so does an edit older than what is there.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from microblog.model.access import NO_SUCH_NODE, Action, Facts, audience_of, check, publishable, visible
from microblog.model.entry import Entry
from microblog.model.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    InvalidPayload,
    ItemForbidden,
    ItemNotFound,
    ItemRequired,
    MaxNodesExceeded,
    NodeIDRequired,
    NotAcceptable,
    PayloadRequired,
    PayloadTooBig,
    PersistentItemsUnsupported,
    PreconditionNotMet,
    ResourceConstraint,
)
from microblog.model.event import ItemPublished, ItemRetracted
from microblog.model.item import Item, Proof
from microblog.model.jid import JID
from microblog.model.node import (
    NODE_NAME_MAX_BYTES,
    BadOption,
    Node,
    NodeConfig,
    Options,
    is_feed,
    read_options,
)
from microblog.model.subscription import Affiliation
from microblog.store import events
from microblog.store.crashpoint import crashpoint
from microblog.store.nodes import LookUp
from microblog.store.transaction import Transaction

ITEM_ID_MAX_BYTES = 1023
# XEP-0277 §3.2: the item that describes the feed itself.
FEED_ITEM = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """§7.1.1. ``payload`` is self-contained XML text; ``entry`` is its reading, if it is an Atom entry.

    ``proof``: how a remote publisher's stream was authenticated.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The item as it is now; ``new`` is False if nothing had to be done."""

    node: Node
    item: Item
    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Retract:
    """§7.2.1."""

    service: JID
    node: str
    actor: JID
    item_id: str
    notify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retracted:
    """What is gone."""

    node: Node
    item_id: str


def publish(tx: Transaction, request: Publish) -> Published:
    """Publish an item, or publish it again (§7.1).

    Raises: Forbidden (§7.1.3.1), PayloadTooBig (§7.1.3.5), InvalidPayload (§7.1.3.6), ItemRequired, ItemForbidden,
    PayloadRequired (§7.1.3.7), PreconditionNotMet (§7.1.5), NodeIDRequired, BadRequest, MaxNodesExceeded,
    ResourceConstraint.
    """
    check_node_name(request.node)
    owner = request.actor.bare == request.service and request.service.domainpart == tx.domain
    item_id = _item_id(tx, request)
    found = tx.nodes.look_up(request.service, request.node, item_id)
    if found is None:
        if not owner:
            raise Forbidden("you may not publish here")
        config = _new_config(tx, request)
        _check_content(tx, request, config)
        if tx.nodes.count(request.service) >= tx.limits.nodes_per_account:
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


def _write(tx: Transaction, request: Publish, found: LookUp, item_id: str) -> Published:
    node, old, retracted = found
    entry = request.entry
    audience = audience_of(node.config)
    seq = tx.events.record(node.key, events.PUBLISHED, item_id=item_id, audience=audience)
    item = Item(
        id=item_id,
        publisher=request.actor.bare,
        payload=request.payload,
        published=old.published if old else clamp_instant(tx, entry.published if entry else None),
        updated=clamp_instant(tx, entry.updated if entry else None),
        position=seq,
        audience=audience,
        proof=request.proof,
    )
    tx.items.put(node.key, item, replaces=old is not None)
    if retracted:
        tx.items.unbury(node.key, item_id)
    keep = node.config.max_items if node.config.persist_items else 1
    if keep is not None and old is None:
        tx.items.trim(node.key, keep)
    crashpoint("K2")
    domains = tx.outbox.fan_out(node, seq, audience) if node.config.deliver_notifications else ()
    tx.emit(ItemPublished(seq=seq, node=node, domains=domains, item=item))
    return Published(node=node, item=item, new=True)


def retract(tx: Transaction, request: Retract) -> Retracted:
    """Delete an item (§7.2).

    Raises: NodeIDRequired, ItemRequired (§7.2.3.4), ItemNotFound, Forbidden (§7.2.3.1), PersistentItemsUnsupported.
    """
    check_node_name(request.node)
    if not request.item_id:
        raise ItemRequired("which item?")
    found = tx.nodes.look_up(request.service, request.node, request.item_id)
    if found is None or request.service.domainpart != tx.domain:
        raise ItemNotFound(NO_SUCH_NODE)
    node = found.node
    facts = tx.affiliations.facts(node, request.actor)
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
    audience = found.item.audience
    notify = request.notify or node.config.notify_retract
    seq = tx.events.record(node.key, events.RETRACTED, item_id=request.item_id, audience=audience)
    tx.items.retract(node.key, request.item_id)
    told = notify and node.config.deliver_notifications
    domains = tx.outbox.fan_out(node, seq, audience) if told else ()
    tx.emit(ItemRetracted(seq=seq, node=node, domains=domains, item_id=request.item_id, notify=told))
    return Retracted(node=node, item_id=request.item_id)


def check_node_name(name: str) -> None:
    """Raises NodeIDRequired, BadRequest."""
    if not name:
        raise NodeIDRequired("which node?")
    if "\0" in name or len(name.encode()) > NODE_NAME_MAX_BYTES:
        raise BadRequest(f"a node's name has at most {NODE_NAME_MAX_BYTES} bytes")


def check_item_id(item_id: str) -> None:
    """Raises ItemRequired for an empty id, BadRequest."""
    if not item_id:
        raise ItemRequired("an item's id cannot be empty")
    if "\0" in item_id or len(item_id.encode()) > ITEM_ID_MAX_BYTES:
        raise BadRequest(f"an item's id has at most {ITEM_ID_MAX_BYTES} bytes")


def clamp_instant(tx: Transaction, instant: datetime | None) -> datetime:
    """A stated time, but not the future: a little ahead is taken as it is, more as now.

    Raises: NotAcceptable for a time so far ahead that the clock must be wrong.
    """
    if instant is None:
        return tx.now
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
    if old.payload == request.payload:
        return True
    updated = request.entry.updated if request.entry else None
    return updated is not None and updated < old.updated


def _check_disk(tx: Transaction) -> None:
    if tx.disk_low:
        raise ResourceConstraint("the server's disk is full")
