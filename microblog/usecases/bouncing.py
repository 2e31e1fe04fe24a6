"""Notifications that come back: what an error that a reader's server answers with says about the reader.

Each error is believed only of an address of the domain that sent it, and only for an event of a node that the address
is subscribed to; nobody can end a subscription but their own. What it then means:

- *wait* (``remote-server-timeout``, ``resource-constraint``, ``recipient-unavailable``, whatever says to wait): the
  reader is told again what came since, on the schedule of a domain that fails, and stays a reader;
- *absent* (``item-not-found``, ``service-unavailable``, ``jid-malformed``): three of them over three days or more, and
  the subscription is suspended;
- *unwanted* (``forbidden``, ``not-authorized``): the third suspends it;
- *gone*: it is suspended at once; where the person is now is shown, and never followed by itself;
- anything else, ``policy-violation`` among it, is about the item (``delivering.refused``) and not about the reader.

A suspended subscription is none: who subscribes again is subscribed, and begins without a past.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from sqlalchemy import bindparam, delete, select, update

from microblog.model.access import audiences_readable
from microblog.model.event import ItemPublished, ItemRetracted, NodeEvent, SubscriptionChanged
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.subscription import SubscriptionState
from microblog.store import tables
from microblog.store.transaction import Transaction
from microblog.store.upsert import insert
from microblog.usecases import depending
from microblog.usecases.delivering import Schedule, refused, retry_at

SUSPENDED_AFTER = 3
ABSENT_FOR = timedelta(hours=72)
FORGOTTEN_AFTER = timedelta(days=30)
DUE_AT_ONCE = 100
TOLD_AGAIN_MAX = 50
_WAIT = frozenset(("remote-server-timeout", "resource-constraint", "recipient-unavailable"))
_ABSENT = frozenset(("item-not-found", "service-unavailable", "jid-malformed"))
_UNWANTED = frozenset(("forbidden", "not-authorized"))
_B = tables.bounces
_GET = select(_B).where(_B.c.node_id == bindparam("key"), _B.c.jid == bindparam("by"))


class Kind(Enum):
    """What an error says of the reader; ITEM: nothing."""

    WAIT = auto()
    ABSENT = auto()
    UNWANTED = auto()
    GONE = auto()
    ITEM = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounce:
    """An error that answers the notification of an event. ``type``: as in RFC 6120 §8.3.2; ``moved_to``: a new address
    that a *gone* names."""

    service: JID
    by: JID
    seq: int
    condition: str
    type: str = "cancel"
    moved_to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """Somebody elsewhere whose subscription ended, and why."""

    node: Node
    jid: JID
    reason: str
    moved_to: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    count: int
    since: datetime
    last: datetime
    reason: str
    seq: int = 0
    due: datetime | None = None
    suspended: datetime | None = None
    moved_to: str = ""


def kind_of(condition: str, type_: str) -> Kind:
    """What an error says of the reader."""
    if condition == "gone":
        return Kind.GONE
    if condition in _WAIT or type_ == "wait":
        return Kind.WAIT
    if condition in _ABSENT:
        return Kind.ABSENT
    return Kind.UNWANTED if condition in _UNWANTED else Kind.ITEM


def bounced(tx: Transaction, bounce: Bounce) -> Suspended | None:
    """A notification came back; the subscription that ended with that, if one did."""
    found = tx.events.item_of(bounce.seq)
    node = None if found is None else tx.nodes.get(found[0])
    if node is None or node.service != bounce.service or bounce.by.domainpart == tx.domain:
        return None
    kind = kind_of(bounce.condition, bounce.type)
    if kind is not Kind.WAIT:
        refused(tx, bounce.service, bounce.by, bounce.seq, bounce.condition)
    if kind is Kind.ITEM or not tx.subscriptions.of_bare(node, bounce.by):
        return None
    known = _count(tx, node, bounce, kind)
    if kind is Kind.WAIT:
        _wait(tx, node, bounce, known)
        return None
    _write(tx, node, bounce.by, known)
    return _suspend(tx, node, bounce, known) if _is_enough(kind, known) else None


def _count(tx: Transaction, node: Node, bounce: Bounce, kind: Kind) -> _Known:
    row = tx.connection.execute(_GET, {"key": node.key, "by": str(bounce.by.bare)}).first()
    fresh = _Known(count=1, since=tx.now, last=tx.now, reason=bounce.condition)
    known = None if row is None else _Known(**{name: row._mapping[name] for name in _Known.__dataclass_fields__})
    if known is None or known.suspended is not None or tx.now - known.last > FORGOTTEN_AFTER:
        return fresh
    if kind_of(known.reason, "cancel") is not kind:
        # Another reason begins anew; what was to be told again still is.
        return replace(fresh, seq=known.seq, due=known.due)
    return replace(known, count=known.count + 1, last=tx.now, reason=bounce.condition)


def _is_enough(kind: Kind, known: _Known) -> bool:
    if kind is Kind.GONE:
        return True
    if known.count < SUSPENDED_AFTER:
        return False
    return kind is Kind.UNWANTED or known.last - known.since >= ABSENT_FOR


def _wait(tx: Transaction, node: Node, bounce: Bounce, known: _Known) -> None:
    due = retry_at(tx.now, known.since, known.count, 0, Schedule.of(tx.limits))
    if due is None:
        refused(tx, bounce.service, bounce.by, bounce.seq, bounce.condition)
        mine = delete(_B).where(_B.c.node_id == node.key, _B.c.jid == str(bounce.by.bare))
        tx.connection.execute(mine)
        return
    # The first that was not taken; all that came behind it is told with it.
    first = min(known.seq or bounce.seq, bounce.seq)
    reason = bounce.condition if bounce.condition in _WAIT else "recipient-unavailable"
    _write(tx, node, bounce.by, replace(known, seq=first, due=known.due or due, reason=reason))


def _suspend(tx: Transaction, node: Node, bounce: Bounce, known: _Known) -> Suspended:
    for subscription in tx.subscriptions.of_bare(node, bounce.by):
        tx.subscriptions.remove(node, subscription.jid)
        ended = SubscriptionState.NONE.value
        tx.emit(SubscriptionChanged(seq=tx.events.last(), node=node, subscriber=subscription.jid, state=ended))
    known = replace(known, suspended=tx.now, moved_to=bounce.moved_to, seq=0, due=None)
    _write(tx, node, bounce.by, known)
    return Suspended(node=node, jid=bounce.by.bare, reason=bounce.condition, moved_to=bounce.moved_to, since=tx.now)


def _write(tx: Transaction, node: Node, by: JID, known: _Known) -> None:
    values = {name: getattr(known, name) for name in _Known.__dataclass_fields__}
    statement = insert(tx.connection, _B).values(node_id=node.key, jid=str(by.bare), **values)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["node_id", "jid"], set_=values))


def suspended(tx: Transaction, service: JID) -> tuple[Suspended, ...]:
    """Those whose subscriptions to an account's nodes ended so, the last first."""
    found = []
    for node in tx.nodes.of(service):
        rows = select(_B).where(_B.c.node_id == node.key, _B.c.suspended.is_not(None))
        for row in tx.connection.execute(rows):
            jid = JID.parse(row.jid)
            if not tx.subscriptions.of_bare(node, jid):
                found.append(
                    Suspended(node=node, jid=jid, reason=row.reason, moved_to=row.moved_to, since=row.suspended)
                )
    return tuple(sorted(found, key=lambda one: one.since, reverse=True))


def is_anything_due(tx: Transaction) -> bool:
    """Is there somebody to be told again?"""
    return tx.connection.execute(select(_B.c.jid).where(_B.c.due <= tx.now).limit(1)).first() is not None


def tell_again(tx: Transaction, write: Callable[[NodeEvent, JID], str]) -> tuple[str, ...]:
    """Owe those who were to be waited for what they did not take; their domains. ``write`` makes the stanza, if
    there is one."""
    due = select(_B.c.node_id, _B.c.jid, _B.c.seq).where(_B.c.due <= tx.now).order_by(_B.c.due).limit(DUE_AT_ONCE)
    domains = set()
    for key, address, seq in tx.connection.execute(due).all():
        node, reader = tx.nodes.get(key), JID.parse(address)
        if node is not None:
            domains |= _tell(tx, node, reader, seq, write)
        again = update(_B).where(_B.c.node_id == key, _B.c.jid == address)
        tx.connection.execute(again.values(due=None, seq=0))
    return tuple(sorted(domains))


def _tell(tx: Transaction, node: Node, reader: JID, seq: int, write: Callable[[NodeEvent, JID], str]) -> set[str]:
    told = set()
    hung = depending.dependent(tx, node)
    config = node.config if hung is None else hung.node.config
    readable = audiences_readable(config, tx.affiliations.facts(node, reader) if hung is None else hung.facts(reader))
    for subscription in tx.subscriptions.of_bare(node, reader):
        if subscription.state is not SubscriptionState.SUBSCRIBED or not subscription.options.deliver:
            continue
        last = tx.events.last()
        events: list[NodeEvent] = [
            ItemPublished(seq=item.position, node=node, item=item)
            for item in tx.items.between(node.key, seq - 1, last, TOLD_AGAIN_MAX)
            if item.audience in readable
        ]
        events += [
            ItemRetracted(seq=number, node=node, item_id=item_id)
            for number, item_id in tx.events.retractions(node.key, seq - 1, last, TOLD_AGAIN_MAX)
            if tx.events.audience(number) in readable
        ]
        for event in sorted(events, key=lambda event: event.seq):
            audience = event.item.audience if isinstance(event, ItemPublished) else tx.events.audience(event.seq)
            stanza = write(event, subscription.jid)
            if stanza:
                tx.outbox.add_stanza(reader.domainpart, stanza, audience)
                told.add(reader.domainpart)
    return told
