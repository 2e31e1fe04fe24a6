"""What remote feeds send to our people: checked, stored once, told to each of them once.

From servers that are no nodes a notification comes once for every follower here (what other nodes deliver is for
``accepting``). The first copy is stored in our one copy of the feed; each copy is told to its own recipient, if that is
the first time for them. How far a recipient has been told stands beside their subscription: ``received`` is the last
event that came, ``delivered`` the last that was written to a session. What lies between was cut off by a crash, or
waits for the recipient to come on line.

Nobody vouches for anybody: the feed's domain, and that of the publisher, is the domain that the stream was
authenticated for. A retracted item does not come back, and an older version does not replace a newer one. Many clients
edit a post and leave its time as it was: what comes later on the feed's own stream, which keeps order, is then the
newer version; what comes by another way (``live`` is False) is not believed.

What came under a certificate and is not for everybody changes or goes only under a certificate as well: whoever can
deceive our resolver can answer a dialback.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, select

from microblog.model.errors import BadRequest, ItemRequired, NodeIDRequired
from microblog.model.event import ItemPublished, ItemRetracted, NodeDeleted, NodeEvent, NodePurged
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.naming import check_item_id, check_node_name
from microblog.model.node import Node, is_feed
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.model.uri import item_uri
from microblog.store import events, tables
from microblog.store.nodes import LookUp
from microblog.store.subscriptions import Marks
from microblog.store.transaction import Transaction
from microblog.usecases import depending, identity, storing
from microblog.usecases.addressing import is_shown
from microblog.usecases.copying import ReceivedItem, take_version
from microblog.usecases.following import remote_node
from microblog.usecases.retracting import retract_all_repeats, retract_repeats
from microblog.usecases.sight import Sight

_I = tables.items
_GUARDED = (
    select(_I.c.id)
    .where(_I.c.node_id == bindparam("key"))
    .where(_I.c.audience != Audience.PUBLIC.value, _I.c.proof != Proof.DIALBACK.value)
    .limit(1)
)
UNKNOWN_MAX = 1000  # of a feed's retractions, those of what is not known here
PAGE = 100
UNDELIVERED_MAX = 100
UNDELIVERED_MAX_BYTES = 500_000  # a stream takes no more at once from one who only begins to read


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An event notification (§7.1.2) from ``service`` to one of ours.

    ``sender_domain``: what the stream was authenticated for, ``proof``: by what; ``dialback_suffices``: dialback is as
    good as a certificate there. ``live``: it is looked at in the order in which the feed's service sent it.
    """

    service: JID
    node: str
    recipient: JID
    sender_domain: str
    proof: Proof
    published: tuple[ReceivedItem, ...] = ()
    retracted: tuple[str, ...] = ()
    purged: bool = False
    deleted: bool = False
    live: bool = True
    dialback_suffices: bool = False

    @property
    def trusted(self) -> bool:
        """May it change or remove what is guarded?"""
        return self.proof is not Proof.DIALBACK or self.dialback_suffices


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a notification.

    ``new``: ids the recipient is now told of. ``missing``: ids that came without payload and are to be fetched.
    ``equivocal``: ids under which something else is known for the same time, and nobody can tell which is newer.
    ``ignored``: why it was not taken in. ``first``: it is the first that a contact's feed brings the recipient.
    """

    new: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    equivocal: tuple[str, ...] = ()
    ignored: str = ""
    first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """Events to be written to a session, and then the marks to hand to ``delivered``."""

    events: tuple[NodeEvent, ...]
    marks: tuple[tuple[int, JID, int], ...]


def receive(tx: Transaction, request: Received) -> Receipt:
    """Take a notification in, for its recipient. Raises ResourceConstraint when nothing can be stored."""
    ignored = _unwanted(tx, request)
    if ignored:
        return Receipt(ignored=ignored)
    follow = _follow(tx, request)
    if follow is None:
        return _gone(tx, request)
    found, marks = follow
    if (request.purged or request.deleted) and not request.trusted and has_guarded(tx, found.node):
        clear_unguarded(tx, found.node)
        return Receipt()
    if request.deleted:
        delete_copy(tx, found.node)
        return Receipt()
    reader = _Reader(tx, found, request, marks)
    if request.purged:
        reader.purge()
    for item_id in request.retracted:
        reader.retract(item_id, request)
    for item in request.published:
        reader.publish(item, request)
    reader.write_marks()
    return Receipt(
        new=tuple(reader.new),
        missing=tuple(reader.missing),
        equivocal=tuple(reader.equivocal),
        first=marks.implicit and not marks.received,
    )


def _unwanted(tx: Transaction, request: Received) -> str:
    """Why a notification is not even looked at."""
    if request.service.domainpart != request.sender_domain or request.service.domainpart == tx.domain:
        return "the feed is not the sender's"
    if request.recipient.domainpart != tx.domain:
        return "the recipient is not one of ours"
    try:
        check_node_name(request.node)
        for item_id in (*request.retracted, *(item.id for item in request.published)):
            check_item_id(item_id)
    except (NodeIDRequired, ItemRequired, BadRequest) as error:
        return error.text
    if (request.deleted or request.purged or request.retracted) and not identity.trusts(tx, request.sender_domain):
        return "its domain may have another owner now"
    return ""


def _gone(tx: Transaction, request: Received) -> Receipt:
    """What is gone at its origin is gone here, though it was told to somebody who does not follow (any more)."""
    node = tx.nodes.find(request.service, request.node)
    if node is None or not (request.deleted or request.purged or request.retracted):
        return Receipt(ignored="the recipient does not follow this feed")
    if (request.purged or request.deleted) and not request.trusted and has_guarded(tx, node):
        clear_unguarded(tx, node)
        return Receipt()
    if request.deleted:
        delete_copy(tx, node)
        return Receipt()
    if request.purged and tx.items.newest(node.key, 1):
        tx.events.record(node.key, events.PURGED)
        storing.uncount_all(tx, node)
        tx.items.clear(node.key)
        retract_all_repeats(tx, node)
    for item_id in request.retracted:
        item = tx.items.get(node.key, item_id)
        if item is not None and (request.trusted or not is_guarded(item)):
            tx.events.record(node.key, events.RETRACTED, item_id=item_id, audience=item.audience)
            storing.uncount(tx, node, item)
            tx.items.retract(node.key, item_id)
            retract_repeats(tx, item_uri(node.service, node.name, item_id))
            depending.end(tx, node, item_id)
    return Receipt()


def _first_id(request: Received) -> str:
    """The item that is looked up together with everything else."""
    return request.published[0].id if request.published else request.retracted[0] if request.retracted else ""


def _follow(tx: Transaction, request: Received) -> tuple[LookUp, Marks] | None:
    """Our copy of the feed with the first item, and the recipient's marks there, if the recipient follows.

    Who sees the presence of a contact follows its feeds without a subscription (XEP-0163 §4.2), and gets a row to have
    marks in.
    """
    account = request.recipient.bare
    found, marks = tx.subscriptions.arrival(request.service, request.node, account, _first_id(request)) or (None, None)
    if found and marks and marks.state is SubscriptionState.SUBSCRIBED and not marks.implicit:
        return found, marks
    contact = tx.contacts.get(account, request.service)
    if contact is None or not contact.is_seen or tx.blocks.has(account, request.service):
        return None
    if found and marks:
        return found, marks
    if request.deleted or request.purged or not request.published:
        return None
    if tx.subscriptions.count_of(account) >= tx.limits.follows_total:
        return None
    node = found.node if found else remote_node(tx, request.service, request.node)
    implicit = Subscription(service=node.service, node=node.name, jid=account, state=SubscriptionState.SUBSCRIBED)
    tx.subscriptions.add(node, implicit, implicit=True)
    marks = tx.subscriptions.marks(node, account)
    assert marks is not None
    return found or LookUp(node, None, False), marks


class _Reader:
    """One recipient at our copy of one feed, while a notification is taken in."""

    def __init__(self, tx: Transaction, found: LookUp, request: Received, marks: Marks) -> None:
        self._tx = tx
        self._node = found.node
        self._jid = request.recipient.bare
        self._before = self._marks = marks
        self._found = {_first_id(request): found}
        self.new: list[str] = []
        self.missing: list[str] = []
        self.equivocal: list[str] = []

    def _look_up(self, item_id: str) -> LookUp | None:
        # What was looked up at first is good for one time: then it may have changed.
        return self._found.pop(item_id, None) or self._tx.nodes.look_up(self._node.service, self._node.name, item_id)

    def _told(self, seq: int) -> bool:
        """Move the marks to an event; False if the recipient has been told of it before."""
        marks = self._marks
        if seq <= marks.received:
            return False
        # What happened in between was for others; only an event that is still to be written keeps the mark back.
        delivered = seq - 1 if marks.delivered == marks.received else marks.delivered
        self._marks = replace(marks, received=seq, delivered=delivered)
        return True

    def write_marks(self) -> None:
        """Write down how far the recipient has come."""
        if self._marks != self._before:
            self._tx.subscriptions.set_marks(self._marks)

    def publish(self, item: ReceivedItem, request: Received) -> None:
        """An item was published at the feed."""
        tx, node = self._tx, self._node
        if (item.publisher or node.service).domainpart != request.sender_domain:
            return
        if len(item.payload.encode()) > tx.limits.payload_max_bytes:
            return
        found = self._look_up(item.id)
        if found is None or found.retracted:
            return
        if not item.payload and is_feed(node.name):
            if found.item is None or not self._known(found.item):
                self.missing.append(item.id)
            return
        if not is_shown(tx, item.entry):
            return
        stored = self._store(found, item, request)
        if stored is None or not self._told(stored.position):
            return
        self.new.append(item.id)
        tx.emit(ItemPublished(seq=stored.position, node=node, item=stored, recipients=(self._jid,)))

    def _known(self, item: Item) -> bool:
        return item.position <= self._marks.received

    def _store(self, found: LookUp, item: ReceivedItem, request: Received) -> Item | None:
        """The item as it is stored now; None if this version of it is not to be told to anybody."""
        old = found.item
        if old is not None and old.payload != item.payload:
            if is_guarded(old) and not request.trusted:
                return None
            if not identity.trusts(self._tx, request.sender_domain):
                return None
        version = take_version(self._tx, self._node, item, found.item, proof=request.proof, live=request.live)
        if version.equivocal:
            self.equivocal.append(item.id)
        return version.item

    def retract(self, item_id: str, request: Received) -> None:
        """An item was retracted at the feed."""
        tx, node = self._tx, self._node
        found = self._look_up(item_id)
        if found is None:
            return
        if found.item is not None and is_guarded(found.item) and not request.trusted:
            return
        if found.item is not None:
            seq = tx.events.record(node.key, events.RETRACTED, item_id=item_id, audience=found.item.audience)
            storing.uncount(tx, node, found.item)
            tx.items.retract(node.key, item_id)
            retract_repeats(tx, item_uri(node.service, node.name, item_id))
            depending.end(tx, node, item_id)
        elif found.retracted:
            known = tx.events.retracted_since(node.key, item_id, self._marks.received)
            if known is None:
                return
            seq = known
        else:
            if is_feed(node.name) and tx.items.count_tombstones(node.key, UNKNOWN_MAX) < UNKNOWN_MAX:
                # It may have come before its post: that is not to be shown then.
                tx.items.retract(node.key, item_id)
            return
        if self._told(seq):
            self.new.append(item_id)
            tx.emit(ItemRetracted(seq=seq, node=node, item_id=item_id, recipients=(self._jid,)))

    def purge(self) -> None:
        """The feed was purged."""
        tx, node = self._tx, self._node
        self._found.clear()
        if tx.items.newest(node.key, 1):
            seq = tx.events.record(node.key, events.PURGED)
            # Without tombstones: what follows the purge may come a second time after a crash of the origin's.
            storing.uncount_all(tx, node)
            tx.items.clear(node.key)
            retract_all_repeats(tx, node)
        else:
            known = tx.events.purged_since(node.key, self._marks.received)
            if known is None:
                return
            seq = known
        if self._told(seq):
            tx.emit(NodePurged(seq=seq, node=node, recipients=(self._jid,)))


def is_guarded(item: Item) -> bool:
    """May it be changed and removed only by who is proved by certificate?

    A copy of a feed that nothing is known of is for its followers, to be sure. If it came by dialback, it goes so.
    """
    return item.audience is not Audience.PUBLIC and item.proof is not Proof.DIALBACK


def has_guarded(tx: Transaction, node: Node) -> bool:
    """Is there such an item in a feed?"""
    return tx.connection.execute(_GUARDED, {"key": node.key}).first() is not None


def clear_unguarded(tx: Transaction, node: Node) -> None:
    """A feed was purged, or is gone, as somebody says whose word does not suffice for all that is in it.

    All who follow are told. As after every purge, the same ids may be published again.
    """
    before = tx.events.last() + 1  # what is stored later is not looked at
    while found := tx.items.newest(node.key, PAGE, before=before):
        before = found[0].position
        for item in found:
            if is_guarded(item):
                continue
            seq = tx.events.record(node.key, events.RETRACTED, item_id=item.id, audience=item.audience)
            storing.uncount(tx, node, item)
            tx.items.retract(node.key, item.id)
            tx.items.unbury(node.key, item.id)
            retract_repeats(tx, item_uri(node.service, node.name, item.id))
            depending.end(tx, node, item.id)
            tx.subscriptions.told_all(node, seq)
            tx.emit(ItemRetracted(seq=seq, node=node, item_id=item.id))


def delete_copy(tx: Transaction, node: Node) -> None:
    """The feed is gone, and with it our copy and everybody's subscription."""
    subscribers = tuple(tx.subscriptions.here(node, tx.domain))
    seq = tx.events.record(node.key, events.PURGED)
    retract_all_repeats(tx, node)
    storing.uncount_all(tx, node)
    tx.nodes.delete(node)
    tx.emit(NodeDeleted(seq=seq, node=node, subscribers=subscribers))


def delivered(tx: Transaction, told: Iterable[tuple[int, JID, int]]) -> None:
    """Node key, recipient, sequence number: everything up to there was written to a session of theirs."""
    tx.subscriptions.delivered(told)


def undelivered(tx: Transaction, recipient: JID, max: int = UNDELIVERED_MAX) -> Undelivered:
    """What came for somebody and was not written to a session, oldest first; the newest, if it is more than ``max``
    or very long.

    An item that was edited or retracted since is told as it is now.
    """
    account = recipient.bare
    found: list[NodeEvent] = []
    marks = []
    for node, upto, after, subscribed in tx.subscriptions.untold(account):
        marks.append((node.key, account, upto))
        for item in tx.items.between(node.key, after, upto, max):
            if _is_for(tx, item, account, subscribed):
                found.append(ItemPublished(seq=item.position, node=node, item=item, recipients=(account,)))
        for seq, item_id in tx.events.retractions(node.key, after, upto, max):
            found.append(ItemRetracted(seq=seq, node=node, item_id=item_id, recipients=(account,)))
    found.sort(key=lambda event: event.seq, reverse=True)
    events: list[NodeEvent] = []
    size = 0
    for event in found[:max]:
        size += len(event.item.payload.encode()) if isinstance(event, ItemPublished) else 0
        if size > UNDELIVERED_MAX_BYTES:
            break
        events.append(event)
    return Undelivered(events=tuple(reversed(events)), marks=tuple(marks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """An event of which somebody was not told. ``published``: it was no retraction."""

    node_key: int
    reader: JID
    item_id: str
    seq: int
    published: bool


def missed(tx: Transaction, wanted: Missed) -> ItemPublished | ItemRetracted | None:
    """The event as it is told now; None if there is nothing to tell any more, or not to this reader."""
    node = tx.nodes.get(wanted.node_key)
    sight = Sight(tx, wanted.reader)
    seen = sight.at(wanted.node_key)
    if node is None or seen is None or seen[1] is None:
        return None
    if not wanted.published:
        return ItemRetracted(seq=wanted.seq, node=node, item_id=wanted.item_id)
    item = tx.items.get(node.key, wanted.item_id)
    if item is None or sight.readable(node.key, item) is None:
        return None
    return ItemPublished(seq=wanted.seq, node=node, item=item)


def _is_for(tx: Transaction, item: Item, account: JID, subscribed: bool) -> bool:
    """Was an item meant for somebody for whom something came before and behind it?"""
    if item.audience is Audience.DIRECT:
        return bool(tx.items.mentioned(item.key).get(account))
    return subscribed or item.audience is Audience.PUBLIC
