"""docs/protocol/fanout.md, the receiving end: what another node's delivery log says, stored once for all of our people.

A delivery is one transaction: every item is stored once, the marks of all who follow are moved by one statement, one
event is emitted for them all, and the cursor stands where the delivery ends. What has been stored before is passed
over by its number. What is missing before it (``gap``) is fetched first, so that everything is taken in the order in
which it was said, however it came. A log that is another one now is followed from where it begins to be told; what may
be missing from before is fetched from the feeds themselves (``refilling``).

Nobody vouches for anybody: author, publisher and the author that an entry names are of the domain that the stream was
authenticated for. What is not for everybody is taken, changed and removed only at the word of a domain that has
proved itself by certificate, and is only for those whom the author's node knows as followers: where its set is not
ours, the node is asked for it first (``ask``), and who is not in it does not follow any more.

A retracted item does not come back. Which version of an item is the newest is said by the numbers and by no clock:
an entry tells the item as it was when it was sent, and later ones are sent later.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from microblog.model.access import narrower
from microblog.model.errors import BadRequest, ItemRequired, JIDMalformed, NodeIDRequired, NotAcceptable
from microblog.model.event import ItemPublished, ItemRetracted, NodePurged
from microblog.model.fanout import Told, set_digest
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.naming import check_item_id, check_node_name
from microblog.model.node import MICROBLOG, Node, is_feed
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.model.uri import item_uri
from microblog.store import events
from microblog.store.transaction import Transaction
from microblog.usecases import agreeing, depending, holding, muting, refilling, storing
from microblog.usecases.addressing import is_shown
from microblog.usecases.agreeing import Feed
from microblog.usecases.copying import ReceivedItem, received_audience, take_version
from microblog.usecases.following import remote_node
from microblog.usecases.publishing import clamp_instant
from microblog.usecases.receiving import clear_unguarded, delete_copy, has_guarded, is_guarded
from microblog.usecases.retracting import retract_all_repeats, retract_repeats

_NARROW = frozenset((Told.FOLLOWERS, Told.DIRECT))
_AUDIENCES = {
    Told.PUBLIC: Audience.PUBLIC,
    Told.HOLDERS: Audience.PUBLIC,
    Told.FOLLOWERS: Audience.FOLLOWERS,
    Told.DIRECT: Audience.DIRECT,
}
# Makes the message in which somebody's words are written to a reader, and the one that takes it back.
Write = Callable[[JID, Node, Item], str]
Unsay = Callable[[JID, JID, int], str]
FORBIDDEN = "forbidden"
BAD_REQUEST = "bad-request"
UNPROVEN = "not-authorized"
POLICY = "policy-violation"
UNACCEPTABLE = "not-acceptable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An entry of a log. Without ``author`` it only takes up its number.

    ``version`` and ``digest``: the set of followers that its author's node goes by; ``to``: others who are named.
    """

    number: int = 0
    author: JID | None = None
    audience: Told = Told.PUBLIC
    version: int | None = None
    digest: str = ""
    to: tuple[JID, ...] = ()
    node: str = ""
    published: ReceivedItem | None = None
    retracted: str = ""
    purged: bool = False
    deleted: bool = False
    configured: bool = False
    problem: str = ""


class Letter(NamedTuple):
    """A message that is kept for somebody who is named, until it is known that they were told in another way.

    ``direct``: who asks for feeds is told by an event.
    """

    account: JID
    key: int
    direct: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Entries behind ``prev`` of a domain's log. ``sets``: whom its node said that it knows as followers, as far as it
    was asked; None where it says nothing. ``trusted``: what is not public may come by such a stream.

    ``last``: the newest that the log has, if that is known.
    """

    domain: str
    proof: Proof
    trusted: bool
    epoch: str
    prev: int
    entries: tuple[Arrival, ...]
    last: int | None = None
    sets: Mapping[Feed, frozenset[JID] | None] = field(default_factory=dict)
    write: Write | None = None
    unsay: Unsay | None = None

    @property
    def upto(self) -> int:
        """The number of the last entry."""
        return self.prev + len(self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of a delivery. With ``gap`` or ``ask`` nothing did: what is behind that number is to be fetched
    before, or those sets are to be asked for.

    ``had``: what we had of that log before, if anything. ``behind``: feeds have to be fetched. ``missing``: came
    without what they say. ``configured``: feeds of which others may be let in now. ``stale``: sets that are not ours,
    with the version that was agreed on last. ``demoted``: who does not follow any more, as the author's node says;
    ``extra``: who it believes to follow and does not.
    """

    upto: int
    had: int | None = None
    gap: int | None = None
    ask: tuple[Feed, ...] = ()
    behind: bool = False
    level: bool = False
    missing: tuple[Arrival, ...] = ()
    configured: tuple[Feed, ...] = ()
    stale: Mapping[Feed, int] = field(default_factory=dict)
    unwanted: tuple[JID, ...] = ()
    refused: Mapping[int, str] = field(default_factory=dict)
    demoted: bool = False
    extra: tuple[tuple[Feed, JID], ...] = ()
    letters: tuple[Letter, ...] = ()


def accept(tx: Transaction, delivery: Delivery) -> Accepted:
    """Take a delivery in. Raises ResourceConstraint when nothing can be stored."""
    peer = tx.peers.get(delivery.domain)
    received, had, behind = delivery.prev, None, peer.behind
    if peer.received_epoch == delivery.epoch:
        received = had = peer.received
        if delivery.prev > received:
            return Accepted(upto=received, gap=received)
    elif peer.received_epoch:
        behind = tx.now
    elif delivery.prev:
        # It has told us before, and we know nothing of that: our database is an older one, or a new one.
        behind = tx.now
        refilling.lose(tx, delivery.domain)
    # A log that begins anew tells from its beginning on what it told before.
    again = behind is not None and delivery.last is not None
    taker = _Taker(tx, delivery, news=not again, doubted=peer.doubted is not None)
    fresh = [entry for entry in delivery.entries if entry.number > received]
    ask = taker.compare(fresh)
    if ask:
        return Accepted(upto=received, ask=ask)
    for entry in fresh:
        taker.take(entry)
    upto = max(received, delivery.upto)
    level = delivery.last is None or upto >= delivery.last
    if taker.missed:
        behind = behind or tx.now
        refilling.lose(tx, delivery.domain)
    if peer.first_seen is None:
        tx.peers.set(delivery.domain, received=0)
    heard = tx.now if level else peer.heard
    tx.peers.received(replace(peer, received=upto, received_epoch=delivery.epoch, heard=heard, behind=behind))
    return replace(taker.accepted(upto, level=level, behind=behind is not None), had=had)


def complete(tx: Transaction, delivery: Delivery) -> None:
    """What came without what it says was fetched. Raises ResourceConstraint."""
    doubted = tx.peers.get(delivery.domain).doubted is not None
    taker = _Taker(tx, delivery, live=False, news=False, doubted=doubted)
    for entry in delivery.entries:
        taker.take(entry)


def adopt(tx: Transaction, domain: str, epoch: str, number: int) -> None:
    """A log begins behind what we have of it, or is another one now: it is followed from there, and feeds fetched."""
    peer = tx.peers.get(domain)
    if peer.received_epoch == epoch and peer.received >= number:
        return
    if peer.received_epoch == epoch:
        # What was retracted meanwhile it does not say any more.
        refilling.lose(tx, domain)
    tx.peers.set(domain, received=number, received_epoch=epoch, behind=tx.now)


class _Readers(NamedTuple):
    """Who of ours reads an item: all who follow, if ``all``, and those who are named; ``refused``: why nobody does.

    ``written``: to whom it is also a message, as whoever knows nothing of feeds would get it.
    """

    all: bool = False
    named: tuple[JID, ...] = ()
    keeps: bool = False
    refused: str = ""
    written: tuple[JID, ...] = ()

    @property
    def anybody(self) -> bool:
        return self.all or self.keeps or bool(self.named)


class _Taker:
    """One delivery, while it is taken in."""

    def __init__(
        self, tx: Transaction, delivery: Delivery, *, live: bool = True, news: bool = True, doubted: bool = False
    ) -> None:
        self.missed = False  # what would be known, were it sure whose word it is
        self._tx = tx
        self._delivery = delivery
        self._live = live
        self._news = news
        self._doubted = doubted
        self._trusted = delivery.trusted and not doubted
        self._nodes: dict[Feed, Node | None] = {}
        self._followed: dict[Feed, bool] = {}
        self._missing: list[Arrival] = []
        self._configured: dict[Feed, None] = {}
        self._stale: dict[Feed, int] = {}
        self._unwanted: dict[JID, None] = {}
        self._refused: dict[int, str] = {}
        self._unknown: set[Feed] = set()
        self._demoted = False
        self._extra: list[tuple[Feed, JID]] = []
        self._letters: list[Letter] = []

    def accepted(self, upto: int, *, level: bool, behind: bool) -> Accepted:
        """What became of it."""
        # Of several nodes of theirs one may be read here.
        unwanted = tuple(author for author in self._unwanted if not self._tx.subscriptions.any_at(author))
        return Accepted(
            upto=upto,
            behind=behind,
            level=level,
            missing=tuple(self._missing),
            configured=tuple(self._configured),
            stale=self._stale,
            unwanted=unwanted,
            refused=self._refused,
            demoted=self._demoted,
            extra=tuple(self._extra),
            letters=tuple(self._letters),
        )

    # sets of followers

    def compare(self, entries: Iterable[Arrival]) -> tuple[Feed, ...]:
        """Hold the sets that entries name beside ours; those that are to be asked for before anything is stored."""
        ask: dict[Feed, None] = {}
        ours: dict[Feed, frozenset[JID]] = {}
        digests: dict[Feed, str] = {}
        for entry in () if self._doubted else entries:
            if entry.author is None or not entry.digest or entry.author.domainpart != self._delivery.domain:
                continue
            feed = Feed(entry.author, entry.node)
            node = self._node(feed)
            if feed not in ours:
                ours[feed] = frozenset() if node is None else self._tx.subscriptions.followers(node)
                digests[feed] = set_digest(ours[feed])
            if feed in self._delivery.sets:
                self._go_by(feed, node, ours[feed])
            elif digests[feed] != entry.digest:
                private = entry.audience is Told.FOLLOWERS and self._trusted
                if not private or not ours[feed]:
                    self._stale[feed] = agreeing.agreed(self._tx, node)
                elif feed.node == MICROBLOG:
                    ask[feed] = None
                else:
                    self._unknown.add(feed)  # nobody can be asked about other nodes
            elif node is not None:
                agreeing.agree(self._tx, node, entry.version or 0, entry.digest)
        return tuple(ask)

    def _go_by(self, feed: Feed, node: Node | None, ours: frozenset[JID]) -> None:
        """The author's node has said who follows."""
        known = self._delivery.sets[feed]
        if known is None:
            self._unknown.add(feed)
        elif known != ours and feed not in self._stale:
            self._stale[feed] = agreeing.agreed(self._tx, node)
            self._extra += [(feed, jid) for jid in sorted(known - ours, key=str)]
            if node is not None and agreeing.demote(self._tx, node, ours - known):
                self._demoted = True

    # entries

    def take(self, entry: Arrival) -> None:
        """Take one entry in, or say why not."""
        if entry.problem:
            self._refused[entry.number] = BAD_REQUEST
        if entry.author is None or entry.problem:
            return
        feed = Feed(entry.author, entry.node)
        refused = self._refusal(entry, feed)
        if refused:
            self._refused[entry.number] = refused
        elif entry.published is not None:
            self._publish(entry, feed, entry.published)
        else:
            node = self._node(feed)
            if node is None:
                self._unwanted[feed.author] = None
            elif entry.retracted:
                self._retract(node, entry, feed)
            elif (entry.purged or entry.deleted) and not self._trusted and has_guarded(self._tx, node):
                clear_unguarded(self._tx, node)
                self._refused[entry.number] = UNPROVEN
            elif entry.purged:
                self._purge(node, entry, feed)
            elif entry.deleted:
                delete_copy(self._tx, node)
                self._nodes[feed] = None
                self._followed.pop(feed, None)
            elif entry.configured and self._is_followed(feed):
                self._configured[feed] = None

    def _refusal(self, entry: Arrival, feed: Feed) -> str:
        domain, item = self._delivery.domain, entry.published
        if feed.author.domainpart != domain:
            return FORBIDDEN
        try:
            check_node_name(entry.node)
            if item is not None or entry.retracted:
                check_item_id(entry.retracted if item is None else item.id)
        except (NodeIDRequired, ItemRequired, BadRequest):
            return BAD_REQUEST
        if item is not None and ((item.publisher or feed.author).domainpart != domain or _forged(item, domain)):
            return FORBIDDEN
        if (entry.audience in _NARROW and not self._trusted) or (self._doubted and item is None):
            self.missed = self.missed or self._doubted
            return UNPROVEN
        if item is not None and not self._acceptable(item):
            return UNACCEPTABLE
        return FORBIDDEN if entry.audience is Told.FOLLOWERS and feed in self._unknown else ""

    def _acceptable(self, item: ReceivedItem) -> bool:
        tx = self._tx
        if len(item.payload.encode()) > tx.limits.payload_max_bytes:
            return False
        try:
            clamp_instant(tx, item.entry.updated if item.entry else None)
        except NotAcceptable:
            return False
        return True

    def _node(self, feed: Feed) -> Node | None:
        if feed not in self._nodes:
            self._nodes[feed] = self._tx.nodes.find(feed.author, feed.node)
        return self._nodes[feed]

    def _is_followed(self, feed: Feed) -> bool:
        if feed not in self._followed:
            node = self._node(feed)
            self._followed[feed] = node is not None and self._tx.subscriptions.followed(node)
        return self._followed[feed]

    # what is published

    def _publish(self, entry: Arrival, feed: Feed, received: ReceivedItem) -> None:
        tx = self._tx
        found = tx.nodes.look_up(feed.author, feed.node, received.id)
        old = None if found is None else found.item
        if found is not None and found.retracted:
            return
        if old is not None and not self._trusted and (self._doubted or old.audience is not Audience.PUBLIC):
            self.missed = self.missed or self._doubted
            self._refused[entry.number] = UNPROVEN
            return
        readers = self._readers(entry, feed, old)
        if readers.refused:
            self._refused[entry.number] = readers.refused
            return
        if not readers.anybody:
            self._unwanted[feed.author] = None
            return
        if not received.payload and is_feed(feed.node):
            self._missing.append(entry)
            return
        if not is_shown(tx, received.entry):
            return
        node = self._node(feed) or remote_node(tx, feed.author, feed.node)
        self._nodes[feed] = node
        audience = _audience(node, entry, received, old)
        direct = audience is Audience.DIRECT
        version = take_version(
            tx,
            node,
            received,
            old,
            proof=self._delivery.proof,
            live=self._live,
            ordered=self._live,
            audience=audience,
            readers=readers.named if direct else (),
        )
        if version.item is None:
            return
        if version.item is old:
            self._again(node, old, audience, readers)
            return
        self._tell(node, version.item, readers)
        if self._delivery.write is not None:
            for jid in readers.written:
                # What is said to somebody alone comes to them, whoever says it.
                if not direct and muting.hides(tx, muting.quiet(tx, jid), node, version.item):
                    continue
                self._keep_letter(jid, self._delivery.write(jid, node, version.item), direct=direct)

    def _keep_letter(self, account: JID, stanza: str, *, direct: bool) -> None:
        key = holding.add(self._tx, account, stanza)
        if key is not None:
            self._letters.append(Letter(account, key, direct))

    def _tell(self, node: Node, item: Item, readers: _Readers) -> None:
        seq = item.position
        if item.audience is Audience.DIRECT:
            self._tx.subscriptions.told_some(node, readers.named, seq)
            self._tx.emit(ItemPublished(seq=seq, node=node, item=item, recipients=readers.named))
            return
        if readers.all:
            self._tx.subscriptions.told_all(node, seq)
        besides = tuple(self._marked(node, readers.named))
        self._tx.subscriptions.told_some(node, besides, seq)
        self._tx.emit(ItemPublished(seq=seq, node=node, item=item, besides=besides))

    def _again(self, node: Node, item: Item, audience: Audience, readers: _Readers) -> None:
        """An item that is known came once more: perhaps by a page of its feed, which told nobody."""
        if audience is not item.audience:
            item = replace(item, audience=audience)
            self._tx.items.put(node.key, item, replaces=True)
        if item.audience is Audience.DIRECT or not readers.all:
            return
        # What is delivered is news. Of what is fetched those are not told who began to follow after it was written; but
        # when that was is the author's to say.
        late = self._tx.subscriptions.untold_of(node, item.position, None if self._news else item.updated)
        if late:
            self._tx.subscriptions.told_some(node, late, item.position)
            self._tx.emit(ItemPublished(seq=item.position, node=node, item=item, recipients=tuple(late)))

    def _readers(self, entry: Arrival, feed: Feed, old: Item | None) -> _Readers:
        """For whom of ours an item is."""
        if entry.audience is Told.HOLDERS:
            return _Readers(all=old is not None and self._is_followed(feed), keeps=old is not None)
        known, strangers = self._named(entry, feed)
        if entry.audience is Told.DIRECT:
            readers = self._direct(known, strangers)
            return readers if old is not None else readers._replace(written=readers.named)
        readers = _Readers(all=self._is_followed(feed), named=tuple(known), keeps=old is not None)
        if old is not None or entry.audience is not Told.PUBLIC:
            return readers
        mentioned = entry.published.entry.mentions if entry.published and entry.published.entry else ()
        named = tuple(jid for jid in strangers if jid in {jid.bare for jid in mentioned})
        if not named:
            return readers
        if self._tx.policies.take_stranger(self._delivery.domain, len(named)):
            return readers._replace(keeps=True, written=named)
        return readers if readers.anybody else _Readers(refused=POLICY)

    def _direct(self, known: list[JID], strangers: list[JID]) -> _Readers:
        if strangers and self._tx.policies.take_stranger(self._delivery.domain, len(strangers)):
            return _Readers(named=(*known, *strangers))
        return _Readers(named=tuple(known), refused=POLICY if strangers and not known else "")

    def _named(self, entry: Arrival, feed: Feed) -> tuple[list[JID], list[JID]]:
        """Of those whom an entry names the ones here who have to do with its author, and the others."""
        tx, known, strangers = self._tx, [], []
        for jid in entry.to:
            account = tx.accounts.get(jid.localpart) if jid.domainpart == tx.domain and jid.localpart else None
            if account is None or account.disabled or tx.blocks.has(jid, feed.author):
                continue
            contact = tx.contacts.get(jid, feed.author)
            node = self._node(feed)
            follows = None if node is None else tx.subscriptions.find(node, jid)
            subscribed = follows is not None and follows.state is SubscriptionState.SUBSCRIBED
            if contact is not None and contact.is_seen:
                known.append(jid)
            elif not subscribed:
                strangers.append(jid)
            elif entry.audience is Told.DIRECT:
                known.append(jid)
        return known, strangers

    def _marked(self, node: Node, jids: Iterable[JID]) -> Iterable[JID]:
        """Contacts who are told besides those who follow: each has a row to have marks in, as far as there is room."""
        tx = self._tx
        for jid in jids:
            marks = tx.subscriptions.marks(node, jid)
            if marks is not None and marks.state is SubscriptionState.SUBSCRIBED and not marks.implicit:
                continue  # told with all who follow
            if marks is None:
                if tx.subscriptions.count_of(jid) >= tx.limits.follows_total:
                    continue
                row = Subscription(service=node.service, node=node.name, jid=jid, state=SubscriptionState.SUBSCRIBED)
                tx.subscriptions.add(node, row, implicit=True)
            yield jid

    # what is gone

    def _retract(self, node: Node, entry: Arrival, feed: Feed) -> None:
        tx, item_id = self._tx, entry.retracted
        found = tx.nodes.look_up(feed.author, feed.node, item_id)
        if found is None or found.retracted:
            return
        if found.item is None:
            if self._is_followed(feed):
                # A page of the feed that has it may be on its way.
                tx.items.retract(node.key, item_id)
            return
        item = found.item
        if is_guarded(item) and not self._trusted:
            self._refused[entry.number] = UNPROVEN
            return
        mentioned = tx.items.mentioned(item.key)
        readers = [jid for jid, reads in mentioned.items() if reads]
        first = tx.events.first_of(node.key, item_id) or item.position
        seq = tx.events.record(node.key, events.RETRACTED, item_id=item_id, audience=item.audience)
        storing.uncount(tx, node, item)
        tx.items.retract(node.key, item_id)
        retract_repeats(tx, item_uri(node.service, node.name, item_id))
        depending.end(tx, node, item_id)
        recipients: tuple[JID, ...] | None = None
        if item.audience is Audience.DIRECT:
            recipients = tuple(readers)
            tx.subscriptions.told_some(node, recipients, seq)
        else:
            recipients = self._everybody(node, entry, feed, seq)
        tx.emit(ItemRetracted(seq=seq, node=node, item_id=item_id, recipients=recipients))
        words = f"uri='{item_uri(node.service, node.name, item_id)}'"
        for jid in mentioned:
            unread = holding.take_back(tx, jid, item.publisher, words)
            if not unread and jid in readers and self._delivery.unsay is not None:
                self._keep_letter(jid, self._delivery.unsay(item.publisher, jid, first), direct=True)

    def _purge(self, node: Node, entry: Arrival, feed: Feed) -> None:
        tx = self._tx
        if not tx.items.newest(node.key, 1):
            return
        seq = tx.events.record(node.key, events.PURGED)
        # Without tombstones: the same ids may be published again.
        storing.uncount_all(tx, node)
        tx.items.clear(node.key)
        retract_all_repeats(tx, node)
        tx.emit(NodePurged(seq=seq, node=node, recipients=self._everybody(node, entry, feed, seq)))

    def _everybody(self, node: Node, entry: Arrival, feed: Feed, seq: int) -> tuple[JID, ...] | None:
        """All who are told of what is gone, their marks moved; None: all who follow, and nobody else."""
        self._tx.subscriptions.told_all(node, seq)
        known, _ = self._named(entry, feed)
        besides = tuple(self._marked(node, known))
        if not besides:
            return None
        self._tx.subscriptions.told_some(node, besides, seq)
        return (*self._tx.subscriptions.followers(node), *besides)


def _audience(node: Node, entry: Arrival, received: ReceivedItem, old: Item | None) -> Audience:
    """Whom our copy is for: not more people than the log and the item itself say, nor, if direct, than before."""
    if entry.audience is Told.HOLDERS:
        return received_audience(node, received.entry) if old is None else old.audience
    stated = received.entry.audience if received.entry is not None else None
    audience = narrower(_AUDIENCES[entry.audience], stated or Audience.PUBLIC)
    return narrower(audience, old.audience) if old is not None and old.audience is Audience.DIRECT else audience


def _forged(item: ReceivedItem, domain: str) -> bool:
    """Does an entry name an author of another domain? Only what repeats another's words may."""
    entry = item.entry
    if entry is None or entry.via or not entry.author_uri.startswith("xmpp:"):
        return False
    try:
        return JID.parse(entry.author_uri.removeprefix("xmpp:").partition("?")[0]).domainpart != domain
    except JIDMalformed:
        return True
