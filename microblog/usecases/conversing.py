"""Talking to each other: reactions (XEP-0470), what may be repeated, direct messages, nudges.

What somebody reacts to elsewhere is published there, and our own copy of that attachment stays here, so that it is
known what they said before. Somebody elsewhere may know likes as comments only (a heart, as Movim writes them): they
get both, and one who does both counts once.

Answers need nothing of this: they are posts (``publishing``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import bindparam, delete, select

from microblog.model.access import audiences_readable
from microblog.model.entry import HEART
from microblog.model.errors import (
    Blocking,
    Conflict,
    ItemNotFound,
    NotAllowed,
    ResourceConstraint,
    ServiceUnavailable,
)
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.subscription import SubscriptionState
from microblog.model.uri import ItemAddress, read_uri
from microblog.store import events, tables
from microblog.store.reactions import Reactions
from microblog.store.transaction import Transaction
from microblog.store.upsert import insert
from microblog.usecases import depending, identity
from microblog.usecases.following import remote_node
from microblog.usecases.publishing import Publish, publish
from microblog.usecases.retracting import Retract, retract

NUDGE_SECONDS = 86_400
REACTIONS_MAX = 20
EVERYTHING = frozenset(Audience)
_NUDGES = tables.nudges
_FORGET_NUDGES = delete(_NUDGES).where(_NUDGES.c.nudged < bindparam("before", type_=_NUDGES.c.nudged.type))
_NUDGED = select(_NUDGES.c.nudged).where(_NUDGES.c.account_id == bindparam("account"), _NUDGES.c.jid == bindparam("to"))


# looking


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An item that somebody may read, and the node that it is in."""

    node: Node
    item: Item

    @property
    def address(self) -> ItemAddress:
        """Where it is."""
        return ItemAddress(self.node.service, self.node.name, self.item.id)


def see(
    tx: Transaction, reader: JID, address: ItemAddress, *, audiences: frozenset[Audience] = EVERYTHING
) -> Seen | None:
    """An item of ours or our copy of it, for one of our people; None if we have none.

    ``audiences``: of what may go to where they read it. Raises ItemNotFound for what they may not read or what is gone.
    """
    if tx.blocks.between(reader.bare, address.service):
        raise ItemNotFound("no such item")
    found = tx.nodes.look_up(address.service, address.node, address.item_id or "")
    here = address.service.domainpart == tx.domain
    if found is None or found.item is None:
        if here or (found is not None and found.retracted):
            raise ItemNotFound("no such item")
        return None
    audiences = identity.leaving(tx, reader, audiences)
    if found.item.audience not in audiences or not _reads(tx, found.node, found.item, reader.bare, here):
        raise ItemNotFound("no such item")
    return Seen(node=found.node, item=found.item)


def _reads(tx: Transaction, node: Node, item: Item, reader: JID, here: bool) -> bool:
    if item.publisher == reader:
        return True
    if tx.blocks.between(reader, item.publisher):
        return False
    if item.audience is Audience.DIRECT:
        return tx.items.mentioned(item.key).get(reader, False)
    if here:
        node, facts = depending.stand(tx, node, reader)
        return item.audience in audiences_readable(node.config, facts)
    if item.audience is Audience.PUBLIC:
        return True
    follow = tx.subscriptions.find(node, reader)
    return follow is not None and follow.state is SubscriptionState.SUBSCRIBED


def repeatable(tx: Transaction, reader: JID, address: ItemAddress) -> Seen:
    """What somebody repeats: the item, or what that one repeats, if we have it.

    Raises: ItemNotFound for what is gone or not known here, NotAllowed for what is not public, Conflict for what they
    have repeated already.
    """
    seen = see(tx, reader, address)
    if seen is None:
        raise ItemNotFound("no such item")
    original = read_uri(seen.item.via) if seen.item.via else None
    if original is not None and original.item_id is not None:
        seen = see(tx, reader, original) or seen
    if seen.item.audience is not Audience.PUBLIC:
        raise NotAllowed("only public posts are repeated")
    return seen


def repeated_by(tx: Transaction, author: JID, uri: str) -> ItemAddress | None:
    """The post in which somebody repeats an item."""
    feed = tx.nodes.find(author.bare, MICROBLOG)
    for node_key, item in tx.items.repeats(uri):
        if feed is not None and node_key == feed.key:
            return ItemAddress(feed.service, feed.name, item.id)
    return None


# reactions


@dataclass(frozen=True, slots=True, kw_only=True)
class React:
    """Somebody changes what they say to an item in emoji.

    ``change``: what they say now, to what they said before. ``attach`` writes that into what they attached before
    (empty: there is nothing left). For items elsewhere: ``send`` and ``withdraw`` make the stanzas that publish an item
    there and delete it: service, node, item id, and payload; ``heart`` is the comment that is a like, ``thread`` the
    address of the comments on the item, if the item is not kept here.
    """

    actor: JID
    address: ItemAddress
    change: Callable[[tuple[str, ...]], tuple[str, ...]]
    attach: Callable[[str, tuple[str, ...]], str]
    send: Callable[[JID, str, str, str], str]
    withdraw: Callable[[JID, str, str], str]
    heart: str = ""
    thread: str = ""
    audiences: frozenset[Audience] = EVERYTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Reacted:
    """``domains``: those that are owed something now."""

    reactions: tuple[str, ...]
    new: bool
    domains: tuple[str, ...] = ()


def react(tx: Transaction, request: React) -> Reacted:
    """Say something to an item in emoji, or say it no more (XEP-0470 §4.1).

    Raises: ItemNotFound, ResourceConstraint for too many, and as ``publishing.publish``.
    """
    seen = see(tx, request.actor, request.address, audiences=request.audiences)
    address, actor = request.address, request.actor.bare
    before = _attached(tx, address, actor)
    said = Reactions(tx).of(before.key) if before is not None else ()
    reactions = tuple(dict.fromkeys(request.change(said)))
    if len(reactions) > REACTIONS_MAX:
        raise ResourceConstraint(f"at most {REACTIONS_MAX} reactions to one post")
    if reactions == said:
        return Reacted(reactions=said, new=False)
    payload = request.attach(before.payload if before is not None else "", reactions)
    name = depending.attachments_of(address)
    if address.service.domainpart != tx.domain:
        return _react_elsewhere(tx, request, seen, before, payload, said, reactions)
    if payload:
        wanted = Publish(
            service=address.service, node=name, actor=actor, item_id=str(actor), payload=payload, reactions=reactions
        )
        publish(tx, wanted)
    elif before is not None:
        retract(tx, Retract(service=address.service, node=name, actor=actor, item_id=str(actor), notify=True))
    return Reacted(reactions=reactions, new=True)


def _attached(tx: Transaction, address: ItemAddress, actor: JID) -> Item | None:
    found = tx.nodes.look_up(address.service, depending.attachments_of(address), str(actor))
    return None if found is None else found.item


def _react_elsewhere(
    tx: Transaction,
    request: React,
    seen: Seen | None,
    before: Item | None,
    payload: str,
    said: tuple[str, ...],
    reactions: tuple[str, ...],
) -> Reacted:
    address, actor = request.address, request.actor.bare
    service, name = address.service, depending.attachments_of(address)
    # It goes to where the item is from, whatever that one calls whom it is for.
    public = seen is None or seen.item.audience is Audience.PUBLIC
    audience = Audience.PUBLIC if public else Audience.FOLLOWERS
    attached = request.send(service, name, str(actor), payload) if payload else None
    owed = [(service.domainpart, attached or request.withdraw(service, name, str(actor)))]
    comments = _comments(request, seen)
    if comments is not None and comments.service.domainpart != tx.domain:
        heart, there = _heart_id(address, actor), comments.service
        if HEART in reactions and HEART not in said and request.heart:
            owed.append((there.domainpart, request.send(there, comments.node, heart, request.heart)))
        elif HEART in said and HEART not in reactions:
            owed.append((there.domainpart, request.withdraw(there, comments.node, heart)))
    tx.outbox.add_stanzas(owed, audience)
    _keep(tx, address, actor, before, payload, reactions)
    return Reacted(reactions=reactions, new=True, domains=tuple(sorted({domain for domain, _ in owed})))


def _comments(request: React, seen: Seen | None) -> ItemAddress | None:
    """The node of comments on the item itself: what is an answer is in the thread of another."""
    if depending.is_comments(request.address.node) or (seen is not None and (seen.item.answers or seen.item.via)):
        return None
    thread = read_uri(seen.item.thread if seen is not None else request.thread)
    return thread if thread is not None and thread.item_id is None and depending.is_comments(thread.node) else None


def _heart_id(address: ItemAddress, actor: JID) -> str:
    """The same for the same, so that it can be taken back."""
    return f"heart-{sha256(f'{actor} {address.uri}'.encode()).hexdigest()[:32]}"


def _keep(
    tx: Transaction, address: ItemAddress, actor: JID, before: Item | None, payload: str, reactions: tuple[str, ...]
) -> None:
    """Our own copy of what is attached to an item elsewhere."""
    name = depending.attachments_of(address)
    node = remote_node(tx, address.service, name)
    if not payload:
        tx.items.retract(node.key, str(actor))
        tx.items.unbury(node.key, str(actor))
        return
    item = Item(
        id=str(actor),
        publisher=actor,
        payload=payload,
        published=before.published if before is not None else tx.now,
        updated=tx.now,
        position=tx.events.record(node.key, events.PUBLISHED, item_id=str(actor), audience=Audience.LOCAL),
        audience=Audience.LOCAL,
        key=before.key if before is not None else 0,
    )
    key = tx.items.put(node.key, item, replaces=before is not None)
    Reactions(tx).set(key, reactions, again=before is not None)


def reactions(tx: Transaction, address: ItemAddress) -> Mapping[str, int]:
    """How many people say what to an item, the most frequent first; of items elsewhere only what ours said."""
    comments = depending.comments_of(address) if address.node == MICROBLOG else ""
    return Reactions(tx).counts(address.service, depending.attachments_of(address), comments)


# from one to another


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """A message from one person to another. ``message`` makes the stanza for an address."""

    actor: JID
    to: JID
    message: Callable[[JID], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directed:
    """``here``: the account whose sessions are to be given it; ``domains``: those that are owed it.

    ``language``: the one that the addressee chose.
    """

    here: JID | None = None
    domains: tuple[str, ...] = ()


def direct(tx: Transaction, request: Direct) -> Directed:
    """Send a message to somebody, here or elsewhere; at all addresses of theirs.

    Raises: ItemNotFound, Blocking for whom they have blocked; who is blocked hears that it cannot be delivered.
    """
    to = request.to.bare
    if tx.blocks.has(request.actor.bare, to):
        raise Blocking("you have blocked them: unblock them first")
    if tx.blocks.has(to, request.actor):
        raise ServiceUnavailable("this cannot be delivered")
    if to.domainpart != tx.domain:
        tx.outbox.add_stanza(to.domainpart, request.message(to), Audience.DIRECT)
        return Directed(domains=(to.domainpart,))
    account = tx.accounts.get(to.localpart)
    if account is None or account.disabled:
        raise ItemNotFound("there is nobody of that name")
    addresses = [link.jid for link in tx.linked.of(account.key) if link.confirmed]
    tx.outbox.add_stanzas(((jid.domainpart, request.message(jid)) for jid in addresses), Audience.DIRECT)
    return Directed(here=to, domains=tuple(sorted({jid.domainpart for jid in addresses})))


def nudge(tx: Transaction, account: int, request: Direct) -> Directed:
    """Ask for somebody's attention, once a day. Raises ItemNotFound, NotAllowed for oneself, Conflict."""
    to = request.to.bare
    if to == request.actor.bare:
        raise NotAllowed("that is you")
    key = {"account": account, "to": str(to)}
    last = tx.connection.execute(_NUDGED, key).scalar_one_or_none()
    if last is not None and tx.now - last < timedelta(seconds=NUDGE_SECONDS):
        raise Conflict("they have been nudged today")
    directed = direct(tx, request)
    statement = insert(tx.connection, _NUDGES)
    statement = statement.on_conflict_do_update(
        index_elements=["account_id", "jid"], set_={"nudged": statement.excluded.nudged}
    )
    tx.connection.execute(statement, {"account_id": account, "jid": str(to), "nudged": tx.now})
    return directed


def forget(tx: Transaction) -> int:
    """Forget nudges that keep nobody from another one; how many."""
    before = tx.now - timedelta(seconds=NUDGE_SECONDS)
    return int(tx.connection.execute(_FORGET_NUDGES, {"before": before}).rowcount)
