"""XEP-0060 §7.1.2, XEP-0163 §4.3: telling readers what happened.

What happened is heard from the database after it was committed, in order. Each event is rendered once; its local
readers are known from memory (``readers``); the address of each is spliced in and the bytes are written, a few hundred
at a time, then the reactor has a turn. Remote domains that are owed the event are woken; their rows are in the
database. Events of one node are told in order, one after the other; nodes do not wait for each other. None is left
out: while many events of a service wait, whoever would add to them waits too (``readers.Backlog``), and a database that
has too much to do is asked again.

Readers are of two kinds. Whoever subscribed is told under the address that was subscribed. Whoever is the owner, or a
contact who may see the owner's presence, and says ``+notify`` is told at that resource. Nobody is told twice.

Of feeds that are kept elsewhere the database knows how far each reader was told, so that what came while nobody was
there, or while this server was dying, is told at the next login.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.im.roster import ContactList
from microblog.model.contact import Contact
from microblog.model.errors import Refusal
from microblog.model.event import (
    Event,
    ItemPublished,
    ItemRetracted,
    NodeDeleted,
    NodeEvent,
    NodePurged,
    SubscriptionChanged,
)
from microblog.model.jid import JID
from microblog.model.node import AccessModel, Node, is_feed
from microblog.runtime import Clock, Tasks
from microblog.store.crashpoint import crashpoint
from microblog.store.database import Database
from microblog.usecases import receiving, subscribing
from microblog.wire import notification
from microblog.wire.notification import Splice
from microblog.xep.readers import Address, PickyAddress, Readers
from microblog.xmpp.sessions import Session

SLICE: Final = 500
REMEMBERED_MAX: Final = 20_000
RETRY_MAX_SECONDS: Final = 30
BUSY_SECONDS: Final = 5
_NOBODY: Final[frozenset[JID]] = frozenset()


class RosterSource(Protocol):
    """Where contacts are looked up."""

    async def of(self, account: JID) -> ContactList:
        """The contacts of an account of ours."""


class Notifications:
    """Hears what happened (``hear`` is a database listener) and tells it; ``wake`` is the outbox's.

    ``hushes``: who does not want to hear of a post.
    """

    _log = Logger()

    def __init__(
        self,
        readers: Readers,
        rosters: RosterSource,
        database: Database,
        clock: Clock,
        tasks: Tasks,
        wake: Callable[[str], None],
    ) -> None:
        self._readers = readers
        self._rosters = rosters
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._wake = wake
        self._queues: dict[int, deque[NodeEvent]] = {}
        # Who subscribed while events were waiting, and behind which event.
        self._fresh: dict[int, dict[JID, int]] = {}
        self._told = _Told()
        self._unmarked: dict[int, dict[JID, int]] = {}
        self.hushes: Callable[[ItemPublished], Container[JID]] = lambda event: _NOBODY
        self._marking = False
        readers.arrived = self._arrived
        readers.resumed = self._resumed

    def hear(self, event: Event) -> None:
        """Something happened and was committed."""
        for domain in event.domains:
            self._wake(domain)
        if isinstance(event, SubscriptionChanged):
            self._subscription_changed(event)
            return
        key = event.node.key
        self._readers.backlog.add(event.node.service)
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque((event,))
            self._tasks.spawn(self._tell_all(key), f"notifications of {event.node.service} {event.node.name}")
            return
        queue.append(event)

    def _subscription_changed(self, event: SubscriptionChanged) -> None:
        self._readers.changed(event)
        if event.node.key in self._queues:
            # What was published before they came is not told to them, or they would have the last item twice.
            self._fresh.setdefault(event.node.key, {})[event.subscriber] = event.seq
        to_subscriber = event.tell_subscriber and self._is_here(event.subscriber)
        if event.tell_subscriber and not to_subscriber:
            self._wake(event.subscriber.domainpart)
        to_owner = event.node.config.notify_sub and self._is_here(event.node.service)
        if to_subscriber or to_owner:
            splice = notification.subscription_change(event)
            if to_subscriber:
                self._write(splice, event.subscriber)
            if to_owner:
                self._write(splice, event.node.service)

    def _is_here(self, jid: JID) -> bool:
        return jid.domainpart == self._database.domain

    def _write(self, splice: Splice, address: JID) -> bool:
        sessions = self._readers.at(address)
        if sessions:
            data = splice.to(address)
            for session in sessions:
                session.write(data)
        return bool(sessions)

    # an event to everybody

    async def _tell_all(self, key: int) -> None:
        queue = self._queues[key]
        try:
            while queue:
                event = queue[0]
                try:
                    await self._tell(event)
                except CancelledError:
                    raise
                except Exception:
                    self._log.failure("An event of {node} cannot be told", node=event.node.name)
                queue.popleft()
                self._readers.backlog.done(event.node.service)
        finally:
            for event in queue:
                self._readers.backlog.done(event.node.service)
            del self._queues[key]
            self._fresh.pop(key, None)

    async def _tell(self, event: NodeEvent) -> None:
        if not self._is_here(event.node.service):
            crashpoint("K10")
        if notification.is_told(event):
            addresses, contacts = await self._audience(event)
            targets = _targets(addresses, contacts)
            hushed = self._hushed(event) if targets else _NOBODY
            if hushed:
                targets = {one: address for one, address in targets.items() if one.jid.bare not in hushed}
            # Many a post has no reader who is there just now.
            if targets:
                await self._write_all(event, targets)
            if self._readers.picky(event.node.key):
                for address in addresses:
                    if isinstance(address, PickyAddress) and not address.sessions:
                        address.miss(event)
            if not self._is_here(event.node.service):
                told = [address.jid for address in addresses if address.sessions]
                self._mark(event, (*told, *(session.jid.bare for session in contacts)))
        if isinstance(event, NodeDeleted):
            self._readers.deleted(event.node.key)

    async def _write_all(self, event: NodeEvent, targets: Mapping[Session, bytes]) -> None:
        splice = notification.render(event)
        if splice is None:
            return
        middle = (len(targets) + 1) // 2
        for number, (session, address) in enumerate(targets.items(), start=1):
            if session.available:
                session.write(splice.at(address))
            if number == middle:
                crashpoint("K11")
            if number % SLICE == 0:
                await self._clock.sleep(0)

    async def _audience(self, event: NodeEvent) -> tuple[list[Address], list[Session]]:
        """Who is told: addresses that subscribed, and sessions that say +notify."""
        seconds = 1
        while True:
            try:
                return await self._ask_audience(event)
            except Refusal:
                self._log.warn("Readers of {node} have to wait: the database is busy", node=event.node.name)
            await self._clock.sleep(seconds)
            seconds = min(2 * seconds, RETRY_MAX_SECONDS)

    async def _ask_audience(self, event: NodeEvent) -> tuple[list[Address], list[Session]]:
        only, key = _recipients(event), event.node.key
        if only is not None:
            await self._readers.loaded({recipient.bare for recipient in only})
            # What was waiting for them in the database has been told at their login.
            told = self._told.of(key)
            return self._named(event.node, [jid for jid in only if event.seq > told.get(jid.bare, 0)])
        await self._readers.loaded()
        addresses: Iterable[Address] = self._readers.subscribed(key).values()
        if not self._is_here(event.node.service):
            return self._all_elsewhere(event, addresses)
        fresh = self._fresh.get(key)
        if fresh:
            addresses = (address for address in addresses if fresh.get(address.jid, 0) < event.seq)
        return await self._allowed(event, list(addresses), await self._contacts(event.node))

    def _all_elsewhere(self, event: NodeEvent, addresses: Iterable[Address]) -> tuple[list[Address], list[Session]]:
        """All who follow a feed elsewhere, and contacts who are told besides."""
        told, seq = self._told.of(event.node.key), event.seq
        found = [address for address in addresses if told.get(address.jid, 0) < seq]
        besides = event.besides if isinstance(event, ItemPublished) else ()
        if not besides:
            return found, []
        more, contacts = self._named(event.node, [jid for jid in besides if told.get(jid, 0) < seq])
        return list(dict.fromkeys([*found, *more])), contacts

    def _named(self, node: Node, recipients: Iterable[JID]) -> tuple[list[Address], list[Session]]:
        """The readers a remote feed was meant for: those who subscribed, and contacts' sessions that say +notify."""
        subscribed = self._readers.subscribed(node.key)
        addresses = [subscribed[recipient] for recipient in recipients if recipient in subscribed]
        others = {recipient for recipient in recipients if recipient not in subscribed}
        interested = self._readers.interested(node.name) if others else ()
        return addresses, [session for session in interested if session.jid.bare in others]

    async def _contacts(self, node: Node) -> list[Session]:
        """The owner's and the owner's contacts' sessions that say +notify."""
        interested = list(self._readers.interested(node.name))
        if not interested:
            return []
        roster = await self._rosters.of(node.service)
        return [
            session
            for session in interested
            if session.jid.bare == node.service or _sees_owner(roster.get(session.jid.bare))
        ]

    async def _allowed(
        self, event: NodeEvent, addresses: list[Address], contacts: list[Session]
    ) -> tuple[list[Address], list[Session]]:
        """Those who may read the node now; the access of subscribers to an open node needs no second look."""
        node = event.node
        if isinstance(event, NodeDeleted):
            return addresses, contacts
        if node.config.access_model is AccessModel.OPEN and not contacts:
            return addresses, contacts
        asked = {address.jid.bare for address in addresses} | {session.jid.bare for session in contacts}
        allowed = await self._may_read(node, asked - {node.service}) | {node.service}
        return (
            [address for address in addresses if address.jid.bare in allowed],
            [session for session in contacts if session.jid.bare in allowed],
        )

    async def _may_read(self, node: Node, asked: set[JID]) -> frozenset[JID]:
        return await self._database.read(subscribing.may_read, node.key, sorted(asked, key=str)) if asked else _NOBODY

    # somebody who has just come

    def _arrived(self, account: JID, untold: receiving.Undelivered) -> None:
        for event in untold.events:
            if event.seq > self._told.of(event.node.key).get(account, 0):
                self._tell_one(event, [address for address in _recipients(event) or () if address.bare == account])
        if self._readers.at(account):
            for node_key, jid, seq in untold.marks:
                picky = self._readers.picky(node_key).get(jid)
                if picky is None or picky.sessions:
                    self._remember(node_key, (jid,), seq)

    def _tell_one(self, event: NodeEvent, addresses: Iterable[JID]) -> None:
        splice = notification.render(event)
        if splice is not None:
            # What somebody does not want to hear of counts as told.
            hushed = self._hushed(event)
            told = [one for one in addresses if one.bare in hushed or self._write_to(event, splice, one)]
            self._mark(event, told)

    def _hushed(self, event: NodeEvent) -> Container[JID]:
        """Who does not want to hear of a post."""
        if isinstance(event, ItemPublished) and is_feed(event.node.name):
            return self.hushes(event)
        return _NOBODY

    def _write_to(self, event: NodeEvent, splice: Splice, address: JID) -> bool:
        picky = self._readers.picky(event.node.key).get(address)
        if picky is None:
            return self._write(splice, address)
        if not picky.sessions:
            picky.miss(event)
        for session in picky.sessions:
            session.write(splice.at(picky.written))
        return bool(picky.sessions)

    # somebody whose presence is what they wanted

    def _resumed(self, address: PickyAddress) -> None:
        self._tasks.spawn(self._resume(address), f"what {address.jid} missed")

    async def _resume(self, address: PickyAddress) -> None:
        """Tell what was missed, in its order; then they are told of what comes."""
        try:
            while address.missed and self._readers.matching(address):
                key, (seq, published) = address.missed.popitem(last=False)
                wanted = receiving.Missed(
                    node_key=key[0], reader=address.jid.bare, item_id=key[1], seq=seq, published=published
                )
                try:
                    event = await self._database.read(receiving.missed, wanted)
                except Refusal:
                    address.miss_again(key, seq, published)
                    await self._clock.sleep(BUSY_SECONDS)
                    continue
                timeline = self._readers.timeline(address.node_key)
                if event is not None and timeline is not None:
                    event = replace(event, node=timeline)
                splice = None if event is None else notification.render(event)
                if event is None or splice is None:
                    continue
                sessions = self._readers.matching(address)
                if not sessions:
                    address.miss_again(key, seq, published)
                    continue
                hushed = address.jid.bare in self._hushed(event)
                for session in () if hushed else sessions:
                    session.write(splice.at(address.written))
                self._mark(event, (address.jid.bare,))
        finally:
            self._readers.caught_up(address)

    # how far readers of remote feeds were told

    def _mark(self, event: NodeEvent, accounts: Sequence[JID]) -> None:
        if accounts and not self._is_here(event.node.service):
            self._remember(event.node.key, accounts, event.seq)

    def _remember(self, node_key: int, accounts: Sequence[JID], seq: int) -> None:
        marked = self._told.add(node_key, accounts, seq)
        if marked:
            self._unmarked.setdefault(node_key, {}).update(marked)
        if self._unmarked and not self._marking:
            self._marking = True
            self._tasks.spawn(self._write_marks(), "marks of what was told")

    async def _write_marks(self) -> None:
        try:
            while self._unmarked:
                marked, self._unmarked = self._unmarked, {}
                try:
                    await self._database.write(
                        receiving.delivered,
                        [(key, account, seq) for key, accounts in marked.items() for account, seq in accounts.items()],
                    )
                except Refusal:
                    for key, accounts in marked.items():
                        self._unmarked[key] = accounts | self._unmarked.get(key, {})
                    await self._clock.sleep(BUSY_SECONDS)
        finally:
            self._marking = False


class _Told:
    """By node elsewhere and account, the last event that was written to a session: of so many, those told last."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[int, dict[JID, int]] = OrderedDict()
        self._count = 0

    def of(self, node_key: int) -> Mapping[JID, int]:
        """The accounts of a node."""
        return self._nodes.get(node_key, {})

    def add(self, node_key: int, accounts: Sequence[JID], seq: int) -> dict[JID, int]:
        """They were told of an event; those who were told of none that is later."""
        told = self._nodes.setdefault(node_key, {})
        before = len(told)
        # Events of a node are told in order; what is told at a login may be ahead.
        marked = dict.fromkeys([account for account in accounts if told.get(account, 0) < seq], seq)
        told.update(marked)
        self._count += len(told) - before
        self._nodes.move_to_end(node_key)
        while self._count > REMEMBERED_MAX and len(self._nodes) > 1:
            self._count -= len(self._nodes.popitem(last=False)[1])
        return marked


def _targets(addresses: Iterable[Address], contacts: Iterable[Session]) -> dict[Session, bytes]:
    """Each session once, with the address under which it is told."""
    targets: dict[Session, bytes] = {}
    for address in addresses:
        for session in address.sessions:
            targets.setdefault(session, address.written)
    for session in contacts:
        targets.setdefault(session, notification.written(session.jid))
    return targets


def _recipients(event: NodeEvent) -> tuple[JID, ...] | None:
    return event.recipients if isinstance(event, ItemPublished | ItemRetracted | NodePurged) else None


def _sees_owner(contact: Contact | None) -> bool:
    return contact is not None and contact.sees_us
