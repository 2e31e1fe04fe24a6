"""Who is there to be told: the subscriptions of accounts that are on line, in memory.

An account's subscriptions are read when its first session becomes available and forgotten when its last one goes, so
people who are off line cost nothing when somebody publishes. While they are being read, telling waits (``loaded``):
nobody may be left out only because it is not known yet what they read.

An address has its sessions at hand, kept as sessions come and go, so that telling a crowd asks for nothing.

Who wants to be told only while their presence says so (XEP-0060 §6.3, ``show-values``) has an address of their own for
that subscription: it has sessions while they match, and remembers what was missed while none does.

Beside subscriptions there are interests (XEP-0163 §4.3.2): nodes by name, of whoever lets one read them.
"""

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from microblog.im.show import show_of_presence
from microblog.model.contact import Contact
from microblog.model.errors import Refusal, ResourceConstraint
from microblog.model.event import ItemPublished, ItemRetracted, NodeEvent, SubscriptionChanged
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.subscription import SHOWS, SubscriptionState
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database, Transaction
from microblog.usecases import receiving
from microblog.usecases.reading import is_timeline
from microblog.wire import notification
from microblog.wire.stanza import Stanza
from microblog.xmpp.sessions import Session, Sessions

EVENTS_MAX: Final = 200
MISSED_MAX: Final = 200
ROOM_SECONDS: Final = 90
RETRY_MAX_SECONDS: Final = 30
Missed = OrderedDict[tuple[int, str], tuple[int, bool]]
Arrived = Callable[[JID, receiving.Undelivered], None]
_NOTHING: Final = receiving.Undelivered(events=(), marks=())


@dataclass(slots=True, eq=False)
class Address:
    """An address as subscribed, as it is written in a stanza, and the sessions that are told under it now."""

    jid: JID
    written: bytes
    sessions: tuple[Session, ...]


@dataclass(slots=True, eq=False)
class PickyAddress(Address):
    """An address that is told of a node only while presence says one of ``shows``.

    ``missed``: by the item, the last event of those that were not told, and whether it was published in it. The item's
    node is another one if that of the address is a timeline.
    ``giving``: they are being told just now, and until then nothing else is.
    """

    node_key: int
    shows: frozenset[str]
    missed: Missed = field(default_factory=OrderedDict)
    giving: bool = False

    def miss(self, event: NodeEvent) -> None:
        """An event is not told now; of very many, the newest will be."""
        if isinstance(event, ItemPublished):
            item_id, published = event.item.id, True
        elif isinstance(event, ItemRetracted):
            item_id, published = event.item_id, False
        else:
            return
        key = (event.node.key, item_id)
        self.missed.pop(key, None)
        self.missed[key] = (event.seq, published)
        if len(self.missed) > MISSED_MAX:
            self.missed.popitem(last=False)

    def miss_again(self, key: tuple[int, str], seq: int, published: bool) -> None:
        """It could not be told after all."""
        if key not in self.missed:
            self.missed[key] = (seq, published)
            self.missed.move_to_end(key, last=False)


@dataclass(slots=True, eq=False)
class _Reader:
    """``feeds``: node key to the addresses subscribed. ``changes``: None, or what was heard while they are read.

    ``picky``: those that look at presence, by node and JID; ``missed``: what such were not told before they were read.

    ``tags``: those that the account follows.

    ``waiting``: those who wait until they have been read.
    """

    feeds: dict[int, set[JID]] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    addresses: dict[JID, Address] = field(default_factory=dict)
    picky: dict[tuple[int, JID], PickyAddress] = field(default_factory=dict)
    missed: dict[tuple[int, JID], Missed] = field(default_factory=dict)
    changes: list[SubscriptionChanged] | None = field(default_factory=list)
    waiting: list[Deferred[None]] = field(default_factory=list)


class Backlog:
    """Events of each service that have yet to be told. When they are many, whoever would add to them waits: they are
    kept in memory, and none may be left out.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: dict[JID, int] = {}
        self._waiting: dict[JID, list[Deferred[None]]] = {}

    def add(self, service: JID) -> None:
        """One more."""
        self._events[service] = self._events.get(service, 0) + 1

    def done(self, service: JID) -> None:
        """One less."""
        left = self._events[service] = self._events[service] - 1
        if not left:
            del self._events[service]
        if left < EVENTS_MAX:
            for waiting in self._waiting.pop(service, ()):
                waiting.callback(None)

    async def room(self, service: JID) -> None:
        """Wait until there is room for more. Raises ResourceConstraint."""
        if self._events.get(service, 0) < EVENTS_MAX:
            return
        here = self._waiting.setdefault(service, [])
        waiting: Deferred[None] = Deferred(here.remove)
        here.append(waiting)
        try:
            await self._clock.deadline(waiting, ROOM_SECONDS)
        except TimeoutError as error:
            raise ResourceConstraint("what was published there has yet to be told; try again later") from error


class Readers:
    """A presence listener. ``arrived`` is called when an account's subscriptions are known, with its account and the
    events it should have been told before.
    """

    _log = Logger()
    arrived: Arrived
    # Called when somebody's presence is what they wanted, and they missed something.
    resumed: Callable[[PickyAddress], None]

    def __init__(self, sessions: Sessions, database: Database, clock: Clock, tasks: Tasks) -> None:
        self.backlog = Backlog(clock)
        self._sessions = sessions
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._readers: dict[JID, _Reader] = {}
        self._loading: dict[JID, _Reader] = {}
        self._subscribed: dict[int, dict[JID, Address]] = {}
        self._picky: dict[int, dict[JID, PickyAddress]] = {}
        # Timelines that somebody who is on line subscribed to, by name and service: the key of their node.
        self.computed: dict[str, dict[JID, int]] = {}
        self._computed: dict[int, Node] = {}
        # Hears when somebody begins or ends to be told of a timeline: whose it is, or the domain, and its name.
        self.timeline_wanted: Callable[[JID, str, bool], None] = lambda service, name, is_wanted: None
        # Hears that somebody, on line or not, is told of other nodes or tags than before.
        self.reloaded: Callable[[JID], None] = lambda account: None
        # Tags, with the accounts that are on line and follow them.
        self.tags: dict[str, set[JID]] = {}
        self._interested: dict[str, set[Session]] = {}
        self._interests: dict[Session, frozenset[str]] = {}

    def subscribed(self, node_key: int) -> Mapping[JID, Address]:
        """The addresses that are subscribed to a node, of accounts that are on line, by JID."""
        return self._subscribed.get(node_key, {})

    def picky(self, node_key: int) -> Mapping[JID, PickyAddress]:
        """The addresses that are subscribed to a node and look at presence; as a rule there are none."""
        return self._picky.get(node_key, {})

    def matching(self, address: PickyAddress) -> list[Session]:
        """The sessions of an address whose presence is what it should be."""
        return [
            session
            for session in self.at(address.jid)
            if session.presence is not None and show_of_presence(session.presence) in address.shows
        ]

    def timeline(self, node_key: int) -> Node | None:
        """The timeline of a node, if it is one."""
        return self._computed.get(node_key)

    def caught_up(self, address: PickyAddress) -> None:
        """What was missed has been told, as far as presence let it."""
        address.giving = False
        self._look(address)

    def _look(self, address: PickyAddress) -> None:
        if address.giving:
            return
        sessions = tuple(self.matching(address))
        if sessions and address.missed:
            # What comes now is told behind it.
            address.giving, address.sessions = True, ()
            self.resumed(address)
        else:
            address.sessions = sessions

    def interested(self, node: str) -> Iterable[Session]:
        """The sessions that want to hear of nodes of that name."""
        return self._interested.get(node, ())

    def at(self, address: JID) -> list[Session]:
        """The sessions that are told under an address: the one, or all that want messages (RFC 6121 §8.5.2.1.1)."""
        if address.resourcepart:
            session = self._sessions.get(address)
            return [session] if session is not None and session.available else []
        return [session for session in self._sessions.available(address) if session.priority >= 0]

    @property
    def is_loading(self) -> bool:
        """Is there somebody of whom it is not known yet what they read?"""
        return bool(self._loading)

    async def loaded(self, accounts: Container[JID] | None = None) -> None:
        """Wait until the subscriptions are known of everybody who is there now, or of these accounts."""
        loading = [reader for account, reader in self._loading.items() if accounts is None or account in accounts]
        for reader in loading:
            if reader.changes is not None:
                waiting: Deferred[None] = Deferred(reader.waiting.remove)
                reader.waiting.append(waiting)
                await waiting

    # presence

    def session_presence(self, session: Session, stanza: Stanza, initial: bool) -> None:
        """A reader comes or goes."""
        account = session.jid.bare
        if not session.available:
            self.interest(session, frozenset())
            if not self._sessions.available(account):
                self._forget(account)
        elif account not in self._readers:
            self._begin(account, _Reader(), replay=True)
        reader = self._readers.get(account)
        if reader is not None:
            for address in reader.addresses.values():
                address.sessions = tuple(self.at(address.jid))
            for picky in reader.picky.values():
                self._look(picky)

    def contact_presence(self, account: JID, contact: Contact, stanza: Stanza) -> None:
        """Remote readers are the outbox's."""

    def contact_changed(self, account: JID, before: Contact | None, after: Contact | None) -> None:
        """Who is a contact is looked up when there is something to tell."""

    def interest(self, session: Session, nodes: frozenset[str]) -> None:
        """A session wants to hear of these nodes and no others."""
        old = self._interests.pop(session, frozenset())
        for node in old - nodes:
            self._interested[node].discard(session)
            if not self._interested[node]:
                del self._interested[node]
        for node in nodes - old:
            self._interested.setdefault(node, set()).add(session)
        if nodes:
            self._interests[session] = nodes

    # subscriptions

    def changed(self, event: SubscriptionChanged) -> None:
        """A subscription was made or ended."""
        reader = self._readers.get(event.subscriber.bare)
        if reader is None:
            return
        if reader.changes is not None:
            reader.changes.append(event)
        elif event.state == SubscriptionState.SUBSCRIBED:
            self._add(reader, event.node, event.subscriber, event.shows)
        else:
            self._remove(reader, event.node.key, event.subscriber)

    def deleted(self, node_key: int) -> None:
        """A node is gone."""
        for address in list(self.subscribed(node_key)):
            self._remove(self._readers[address.bare], node_key, address)

    def reload(self, account: JID) -> None:
        """The options of an account's subscriptions, or what it follows elsewhere, have changed."""
        self.reloaded(account)
        reader = self._readers.get(account)
        if reader is not None:
            missed = reader.missed | {key: address.missed.copy() for key, address in reader.picky.items()}
            self._forget(account)
            self._begin(account, _Reader(missed=missed), replay=False)

    def _begin(self, account: JID, reader: _Reader, *, replay: bool) -> None:
        self._readers[account] = self._loading[account] = reader
        self._tasks.spawn(self._load(account, reader, replay), f"subscriptions of {account}")

    async def _load(self, account: JID, reader: _Reader, replay: bool) -> None:
        untold = _NOTHING
        try:
            untold = await self._read(account, reader, replay)
        finally:
            changes, reader.changes = reader.changes or [], None
            if self._readers.get(account) is reader:
                del self._loading[account]
                for event in changes:
                    self.changed(event)
                self.arrived(account, untold)
            self._go_on(reader)

    async def _read(self, account: JID, reader: _Reader, replay: bool) -> receiving.Undelivered:
        seconds = 1
        while self._readers.get(account) is reader:
            try:
                feeds, tags, untold = await self._database.read(_read_feeds, account, replay)
            except Refusal:
                self._log.warn("The subscriptions of {account} cannot be read just now", account=account)
                await self._clock.sleep(seconds)
                seconds = min(2 * seconds, RETRY_MAX_SECONDS)
                # What was heard before is in what will be read.
                reader.changes = []
                continue
            if self._readers.get(account) is reader:
                for node, jid, shows in feeds:
                    self._add(reader, node, jid, shows)
                reader.missed = {}
                reader.tags = tags
                for tag in tags:
                    self.tags.setdefault(tag, set()).add(account)
                return untold
        return _NOTHING

    def _go_on(self, reader: _Reader) -> None:
        waiting, reader.waiting = reader.waiting, []
        for one in waiting:
            one.callback(None)

    def _add(self, reader: _Reader, node: Node, jid: JID, shows: Iterable[str]) -> None:
        missed = reader.missed.pop((node.key, jid), None)
        self._remove_picky(reader, node.key, jid)
        address = reader.addresses.get(jid)
        if shows or missed:
            address = self._add_picky(reader, node, jid, frozenset(shows or SHOWS), missed)
        elif address is None:
            address = reader.addresses[jid] = Address(jid, notification.written(jid), tuple(self.at(jid)))
        reader.feeds.setdefault(node.key, set()).add(jid)
        self._subscribed.setdefault(node.key, {})[jid] = address
        if is_timeline(node.service, node.name):
            self._computed[node.key] = node
            self.computed.setdefault(node.name, {})[node.service] = node.key
            self.timeline_wanted(node.service, node.name, True)

    def _remove_picky(self, reader: _Reader, node_key: int, jid: JID) -> None:
        address = reader.picky.pop((node_key, jid), None)
        if address is not None:
            address.missed.clear()
            del self._picky[node_key][jid]
            if not self._picky[node_key]:
                del self._picky[node_key]

    def _add_picky(
        self,
        reader: _Reader,
        node: Node,
        jid: JID,
        shows: frozenset[str],
        missed: Missed | None,
    ) -> PickyAddress:
        address = PickyAddress(jid, notification.written(jid), (), node.key, shows, missed or OrderedDict())
        reader.picky[node.key, jid] = address
        self._picky.setdefault(node.key, {})[jid] = address
        self._look(address)
        return address

    def _remove(self, reader: _Reader, node_key: int, address: JID) -> None:
        addresses = reader.feeds.get(node_key)
        if addresses is None or address not in addresses:
            return
        addresses.discard(address)
        self._remove_picky(reader, node_key, address)
        if not addresses:
            del reader.feeds[node_key]
        subscribed = self._subscribed[node_key]
        del subscribed[address]
        if not subscribed:
            del self._subscribed[node_key]
            timeline = self._computed.pop(node_key, None)
            if timeline is not None:
                del self.computed[timeline.name][timeline.service]
                if not self.computed[timeline.name]:
                    del self.computed[timeline.name]
                self.timeline_wanted(timeline.service, timeline.name, False)

    def _forget(self, account: JID) -> None:
        reader = self._readers.pop(account, None)
        if reader is not None:
            if self._loading.get(account) is reader:
                del self._loading[account]
            for node_key, addresses in list(reader.feeds.items()):
                for address in list(addresses):
                    self._remove(reader, node_key, address)
            for tag in reader.tags:
                self.tags[tag].discard(account)
                if not self.tags[tag]:
                    del self.tags[tag]


def _read_feeds(
    tx: Transaction, account: JID, replay: bool
) -> tuple[list[tuple[Node, JID, tuple[str, ...]]], tuple[str, ...], receiving.Undelivered]:
    """What an account is to be told of from now on, with what its presence has to say for that; the tags that it
    follows; and what it should have been told."""
    feeds = [
        (
            follow.node,
            follow.subscription.jid,
            follow.subscription.options.show_values if follow.subscription.options.is_picky else (),
        )
        for follow in tx.subscriptions.follows(account)
        if follow.subscription.state is SubscriptionState.SUBSCRIBED
        and follow.subscription.options.deliver
        and not follow.implicit
    ]
    untold = receiving.undelivered(tx, account) if replay else _NOTHING
    return feeds, tuple(tx.followed_tags.of(account)), untold
