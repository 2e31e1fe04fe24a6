"""Our copies of what is elsewhere: one of each item, however many here read it.

A copy is for no more people than its author says, or its node lets in. Beside what feeds send by themselves
(``receiving``, ``accepting``) there is what they had before somebody here followed them or while nothing came
(``refilling``), and what our people say in nodes elsewhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from microblog.model.access import audience_of, narrower
from microblog.model.entry import Entry
from microblog.model.errors import BadRequest, ItemRequired, NotAcceptable, ResourceConstraint
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.naming import check_item_id, check_node_name
from microblog.model.node import Node
from microblog.store import events
from microblog.store.transaction import Transaction
from microblog.usecases import storing
from microblog.usecases.addressing import is_shown
from microblog.usecases.following import remote_node
from microblog.usecases.placing import place, write_down
from microblog.usecases.publishing import clamp_instant


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedItem:
    """An item of a notification. ``payload`` is self-contained XML text, empty if none came."""

    id: str
    payload: str = ""
    publisher: JID | None = None
    entry: Entry | None = None


def received_audience(node: Node, entry: Entry | None) -> Audience:
    """Whom our copy of an item is for: not more people than its author says, or its node lets in."""
    stated = entry.audience if entry is not None else None
    return narrower(audience_of(node.config), stated or Audience.PUBLIC)


def keep(
    tx: Transaction,
    node: Node,
    received: ReceivedItem,
    old: Item | None,
    *,
    published: datetime,
    updated: datetime,
    proof: Proof,
    audience: Audience | None = None,
    readers: Iterable[JID] = (),
) -> Item:
    """Store an item in our copy of its node, or in the place of its older version, and where it is found.

    ``audience``: whom it is for, if that is known better than from itself and its node; ``readers``: who they are, if
    it is direct.
    """
    entry = received.entry
    if audience is None:
        audience = old.audience if old else received_audience(node, entry)
    seq = tx.events.record(node.key, events.PUBLISHED, item_id=received.id, audience=audience)
    published = old.published if old else published
    where = place(tx, node, received.id, published, entry)
    item = Item(
        id=received.id,
        publisher=(received.publisher or node.service).bare,
        payload=received.payload,
        published=published,
        updated=updated,
        position=seq,
        audience=audience,
        proof=proof,
        key=old.key if old else 0,
        stands=old.stands if old else where.stands,
        thread=where.thread,
        answers=where.answers,
        via=where.via,
        expires=where.expires,
    )
    item = replace(item, key=tx.items.put(node.key, item, replaces=old is not None))
    if entry is not None:
        write_down(tx, node, item, entry, readers=readers, again=old is not None)
    storing.count(tx, node, item, old)
    return item


class Version(NamedTuple):
    """An item as it is stored now; None if what came is not to be told to anybody.

    ``equivocal``: something else is known for the same time, and nobody can tell which is newer.
    """

    item: Item | None
    equivocal: bool = False


def take_version(
    tx: Transaction,
    node: Node,
    received: ReceivedItem,
    old: Item | None,
    *,
    proof: Proof,
    live: bool,
    ordered: bool = False,
    audience: Audience | None = None,
    readers: Iterable[JID] = (),
) -> Version:
    """Store what came, unless it is known or older than what is. ``live``: it came in the order in which it was said;
    ``ordered``: nothing else can have come in between, so that it is the newest whatever its time is.

    Raises ResourceConstraint when nothing can be stored.
    """
    stated = received.entry.updated if received.entry else None
    if old is not None:
        if old.payload == received.payload:
            return Version(old)
        if not ordered and stated is not None and stated < old.updated:
            return Version(None)
        if stated == old.updated and not live and not ordered:
            return Version(None, equivocal=True)
    try:
        updated = clamp_instant(tx, stated)
        published = clamp_instant(tx, received.entry.published if received.entry else None)
    except NotAcceptable:
        return Version(None)
    if tx.disk_low:
        raise ResourceConstraint("the server's disk is full")
    new = keep(
        tx,
        node,
        received,
        old,
        published=published,
        updated=updated,
        proof=proof,
        audience=audience,
        readers=readers,
    )
    if old is None and node.config.max_items is not None:
        tx.items.trim(node.key, node.config.max_items)
    return Version(new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """Items that were fetched from a feed, oldest first; ``proof``: of the stream they came by."""

    service: JID
    node: str
    proof: Proof
    items: tuple[ReceivedItem, ...]


def backfill(tx: Transaction, request: Backfill) -> int:
    """Take in what a feed had before somebody here followed it, at its own dates, and tell nobody; how many were new.

    What we have is replaced by what is newer: it may have been edited while nobody here followed. What we know to be
    retracted stays so.
    """
    node = tx.nodes.find(request.service, request.node)
    if node is None or request.service.domainpart == tx.domain or tx.disk_low:
        return 0
    new = 0
    for received in request.items:
        found = tx.nodes.look_up(request.service, request.node, received.id)
        if found is None or found.retracted or not acceptable(tx, request.service, received):
            continue
        if found.item is not None:
            private = found.item.audience is not Audience.PUBLIC and found.item.proof is not Proof.DIALBACK
            if request.proof is not Proof.DIALBACK or not private:
                take_version(tx, node, received, found.item, proof=request.proof, live=False)
            continue
        entry = received.entry
        try:
            published = clamp_instant(tx, entry.published or entry.updated if entry else None)
            updated = clamp_instant(tx, entry.updated if entry else None)
        except NotAcceptable:
            continue
        keep(tx, node, received, None, published=published, updated=updated, proof=request.proof)
        new += 1
    return new


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidElsewhere:
    """One of our people, the item's publisher, sends a comment to a node elsewhere."""

    author: JID
    service: JID
    node: str
    item: ReceivedItem


def said_elsewhere(tx: Transaction, request: SaidElsewhere) -> None:
    """Keep it, so that nobody else can put words into their mouth there. Raises ItemRequired, BadRequest."""
    check_node_name(request.node)
    check_item_id(request.item.id)
    if request.service.domainpart == tx.domain or request.author.domainpart != tx.domain or tx.disk_low:
        return
    if len(request.item.payload.encode()) > tx.limits.payload_max_bytes:
        return
    node = remote_node(tx, request.service, request.node)
    found = tx.nodes.look_up(request.service, request.node, request.item.id)
    old = None if found is None else found.item
    if old is not None and old.publisher != request.author:
        return
    keep(tx, node, request.item, old, published=tx.now, updated=tx.now, proof=Proof.LOCAL)


def vouched(tx: Transaction, service: JID, node: str, said: Iterable[tuple[JID, str]]) -> frozenset[tuple[JID, str]]:
    """Of what a thread elsewhere has under our people's names, by publisher and id, what they really said there."""
    known = set()
    for publisher, item_id in said:
        found = tx.nodes.look_up(service, node, item_id)
        if found is not None and found.item is not None and found.item.publisher == publisher:
            known.add((publisher, item_id))
    return frozenset(known)


def acceptable(tx: Transaction, service: JID, item: ReceivedItem) -> bool:
    """May an item that was fetched from a service be stored?"""
    try:
        check_item_id(item.id)
    except (ItemRequired, BadRequest):
        return False
    publisher = item.publisher or service
    size = len(item.payload.encode())
    return (
        bool(item.payload)
        and publisher.domainpart == service.domainpart
        and size <= tx.limits.payload_max_bytes
        and is_shown(tx, item.entry)
    )
