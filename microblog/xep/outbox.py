"""Delivery to other domains: what the database says they are owed is sent until they have confirmed it.

Each domain that is owed something has one worker, or one timer while it cannot be reached, or nothing while it is
dormant. Memory holds the batch that is on its way and never a backlog. A batch that was not confirmed is sent again, so
another server may see a notification twice and never miss one; order is kept. An event for more followers than go into
a batch goes on behind the last one that was confirmed, and only after a restart from its beginning.

Whatever cannot be rendered is left out and said in the log; whatever else goes wrong here counts as a failure of that
domain, which is tried again: no domain's queue stands still for ever.

A stream is opened before it is decided what may go, because what may go depends on what the other side has proved.

Other nodes are told of posts once, however many read them there (``forwarding``), and of all else as any other server.
"""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import groupby
from random import SystemRandom
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from microblog.model.errors import Refusal
from microblog.model.event import ItemPublished
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.store.crashpoint import crashpoint
from microblog.store.database import Database, Transaction
from microblog.usecases import answering, bouncing, delivering
from microblog.usecases.answering import NotTaken
from microblog.usecases.bouncing import Bounce, Suspended
from microblog.usecases.delivering import Batch, Delivery, Progress
from microblog.wire import elsewhere, mention, notification
from microblog.wire.errors import new_address, read_condition
from microblog.wire.stanza import Stanza
from microblog.xep import multicast
from microblog.xep.forwarding import Forwarder, Sent, Way, named
from microblog.xep.multicast import Multicast, Service
from microblog.xmpp.remote import DeliveryFailed
from microblog.xmpp.s2s_out import StanzaTooLarge

OVERLOAD_SECONDS: Final = 5
HELD_SECONDS: Final = 3600
TRYING_MAX: Final = 50  # domains that did not answer the last time; those that do are to find room (CONNECTING_MAX)
_RANDOM: Final = SystemRandom()


class Carrier(Protocol):
    """What carries stanzas to other domains (``Servers``)."""

    def deliver(
        self, domain: str, stanzas: Sequence[bytes], minimum_proof: Proof = Proof.DIALBACK
    ) -> Coroutine[Any, Any, None]:
        """Write a batch and return when the domain has read it. Raises DeliveryFailed."""

    def proof(self, domain: str) -> Proof | None:
        """What the domain has proved to be on the stream to it; None without a stream."""


class Outbox:
    """One worker, or one timer, for each domain that is owed something.

    ``dialback_suffices``: to which domains the administrator sends what is not public though they have no valid
    certificate. ``refuses``: to which nothing goes at all. ``forwarder``: sends to nodes that keep a delivery log,
    ``multicast`` knows who takes one notification for many.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        servers: Carrier,
        clock: Clock,
        tasks: Tasks,
        *,
        forwarder: Forwarder | None = None,
        multicast: Multicast | None = None,
        dialback_suffices: Callable[[str], bool] = lambda domain: False,
        refuses: Callable[[str], bool] = lambda domain: False,
    ) -> None:
        self._database = database
        self._servers = servers
        self._clock = clock
        self._tasks = tasks
        self._forwarder = forwarder
        self._multicast = multicast
        self._dialback_suffices = dialback_suffices
        self._refuses = refuses
        self._running: dict[str, bool] = {}  # True: woken meanwhile, look again
        self._failing: dict[str, IDelayedCall | None] = {}  # the timer; None while dormant
        self._due: dict[str, None] = {}  # of the failing those whose time has come, in order
        self._trying: set[str] = set()
        self._held: dict[str, IDelayedCall] = {}
        self._progress: dict[str, Progress] = {}
        self._returned: dict[str, list[tuple[JID, int]]] = {}  # while a batch is under way
        self._stopped = False
        # They hear whose subscription ended because notifications came back.
        self.suspended: list[Callable[[Suspended], None]] = []

    async def start(self) -> None:
        """Take up what was left when the server stopped."""
        for state in await self._database.read(delivering.domains_due):
            if state.domain in self._running:
                # Something new came for it meanwhile: how that ends is newer than what was read.
                continue
            if not state.failures:
                self.wake(state.domain)
            elif state.next_attempt is None:
                self._failing[state.domain] = None
            elif state.next_attempt <= self._clock.now():
                self._is_due(state.domain)
            else:
                self._wait(state.domain, (state.next_attempt - self._clock.now()).total_seconds())

    def stop(self) -> None:
        """Start nothing any more."""
        self._stopped = True
        for domain in [*self._failing, *self._held]:
            self._cancel(domain)

    def wake(self, domain: str) -> None:
        """A domain is owed something new; one that failed is tried when it is time."""
        if domain in self._failing or self._stopped or self._refuses(domain):
            return
        if domain in self._running:
            self._running[domain] = True
            return
        self._running[domain] = False
        self._tasks.spawn(self._work(domain), f"outbox of {domain}")

    def contact(self, domain: str) -> None:
        """A domain has shown itself: if it is owed something, now is the time."""
        if domain in self._failing or domain in self._held:
            self._cancel(domain)
            self.wake(domain)

    def retry(self, domain: str) -> None:
        """An administrator wants an attempt now, in whatever state the domain is."""
        self._cancel(domain)
        self.wake(domain)

    def dropped(self, domain: str) -> None:
        """Nothing is owed to a domain any more."""
        self._cancel(domain)
        self._progress.pop(domain, None)

    def _wait(self, domain: str, seconds: float) -> None:
        if not self._stopped:
            self._failing[domain] = self._clock.later(seconds, self._is_due, domain)

    def _is_due(self, domain: str) -> None:
        """It is time to try a domain again, when not too many others are being tried."""
        self._failing[domain] = None
        self._due[domain] = None
        self._try()

    def _try(self) -> None:
        while self._due and len(self._trying) < TRYING_MAX and not self._stopped:
            domain = next(iter(self._due))
            self._cancel(domain)
            self._trying.add(domain)
            self.wake(domain)
            if domain not in self._running:
                self._trying.discard(domain)

    def _tried(self, domain: str) -> None:
        """It has answered, or not: another one's turn."""
        if domain in self._trying:
            self._trying.discard(domain)
            self._clock.later(0, self._try)

    def _hold(self, domain: str, rows: int) -> None:
        """Something waits for a certificate, which is no failure: what is public goes on as it comes."""
        if domain not in self._held and not self._stopped:
            self._log.warn(
                "{rows} items for {domain} wait until it has a valid certificate: they are not public",
                rows=rows,
                domain=domain,
            )
            self._held[domain] = self._clock.later(HELD_SECONDS, self.contact, domain)

    def _cancel(self, domain: str) -> None:
        self._due.pop(domain, None)
        for timer in (self._failing.pop(domain, None), self._held.pop(domain, None)):
            if timer is not None and timer.active():
                timer.cancel()

    async def _work(self, domain: str) -> None:
        try:
            again = True
            while again:
                self._running[domain] = False
                await self._drain(domain)
                again = self._running[domain]
        except DeliveryFailed as failure:
            await self._failed(domain, failure.reason, failure.permanent)
        except Refusal:
            # The database has too much to do.
            self._wait(domain, OVERLOAD_SECONDS)
        except CancelledError:
            raise
        except Exception as error:
            self._log.failure("Delivery to {domain} failed", domain=domain)
            await self._failed(domain, f"internal error ({type(error).__name__})")
        finally:
            del self._running[domain]
            self._tell_again(domain)
            self._tried(domain)

    async def _drain(self, domain: str) -> None:
        """Send until nothing is owed. Raises DeliveryFailed."""
        failing = True
        way: Way | None = None
        while True:
            if self._servers.proof(domain) is None:
                if not await self._database.read(_owes, domain):
                    return
                await self._servers.deliver(domain, ())
                self._tried(domain)
                way = None
            if way is None:
                way = await self._way(domain)
            batch = await self._next(domain, way, failing)
            if self._servers.proof(domain) is None:
                # Opening another stream takes a while, and then others may be entitled.
                continue
            if batch is Sent.LEVEL:
                return
            if isinstance(batch, Sent):
                failing = failing and batch is not Sent.TAKEN
                way = None if batch is Sent.NO_LOG else way
            elif batch.deliveries:
                sent = await self._send(domain, batch, Proof.CERTIFICATE if way.trusted else Proof.DIALBACK)
                crashpoint("K7")
                if batch.progress is not None:
                    self._progress[domain] = batch.progress
                await self._settle(domain, sent, failing)
                self._tell_again(domain)
                failing = False
            elif not failing or not await self._database.write(delivering.reached, domain):
                if batch.held:
                    self._hold(domain, batch.held)
                else:
                    self._progress.pop(domain, None)
                return

    async def _way(self, domain: str) -> Way:
        """How a domain is told, and how much it may be told of, with the stream open."""
        trusted = self._dialback_suffices(domain) or self._servers.proof(domain) is Proof.CERTIFICATE
        return Way(trusted) if self._forwarder is None else await self._forwarder.way(domain, trusted)

    async def _next(self, domain: str, way: Way, failing: bool) -> Batch | Sent:
        """What goes to each of its recipients now, if it is not something from the log that was sent."""
        progress = self._progress.get(domain)
        if self._forwarder is None or way.limits is None:
            return await self._database.read(delivering.next_batch, domain, way.trusted, progress=progress, named=named)
        return await self._forwarder.forward(domain, way, progress, failing)

    async def _settle(self, domain: str, sent: Sequence[Delivery], failing: bool) -> None:
        while True:
            try:
                await self._database.write(_settle, domain, sent, failing)
                return
            except Refusal:
                # They have been delivered: better to wait here than to send them a second time.
                await self._clock.sleep(OVERLOAD_SECONDS)

    async def _send(self, domain: str, batch: Batch, minimum: Proof) -> list[Delivery]:
        """Send a batch; what was sent of it, and what can never be sent."""
        service = None if self._multicast is None else await self._multicast.service(domain)
        if self._multicast is None or service is None:
            return await self._send_to_each(domain, batch.deliveries, minimum)
        sent: list[Delivery] = []
        failed = False
        for for_many, group in groupby(batch.deliveries, partial(_is_for_many, self._multicast, domain)):
            some = list(group)
            if for_many and not failed:
                failed = not await self._send_by(self._multicast, service, domain, some, minimum)
            if not for_many or failed:
                some = await self._send_to_each(domain, some, minimum)
            sent += some
        return sent

    async def _send_by(
        self, known: Multicast, service: Service, domain: str, some: Sequence[Delivery], minimum: Proof
    ) -> bool:
        """Send what a service gives to many; False: they are to be told one by one, though some may have it."""
        stanzas = [
            stanza
            for delivery in some
            if (splice := self._splice(delivery)) is not None
            for stanza in multicast.write(splice, service, delivery.recipients)
        ]
        known.sent(domain)
        try:
            await self._servers.deliver(service.domain, stanzas, minimum)
        except StanzaTooLarge:
            return False
        except DeliveryFailed as failure:
            if service.domain == domain:
                raise
            self._log.info("{service} took nothing: {reason}", service=service.domain, reason=failure.reason)
            known.failed(domain)
            return False
        return True

    async def _send_to_each(self, domain: str, some: Sequence[Delivery], minimum: Proof) -> list[Delivery]:
        deliveries = list(some)
        rendered = [self._render(delivery) for delivery in deliveries]
        while True:
            stanzas = [stanza for some in rendered for stanza in some]
            try:
                if stanzas:
                    # Started here and not only awaited: it writes before it waits for the confirmation.
                    sending = Deferred.fromCoroutine(self._servers.deliver(domain, stanzas, minimum))
                    crashpoint("K6")
                    await sending
            except StanzaTooLarge as failure:
                # What this peer will never take is not held against what comes after it.
                position = self._leave_out(domain, rendered, failure)
                deliveries[position] = replace(deliveries[position], refused=failure.reason)
                continue
            return deliveries

    def _render(self, delivery: Delivery) -> list[bytes]:
        if delivery.stanza is not None:
            return [delivery.stanza.encode()]
        event = delivery.event
        splice = self._splice(delivery)
        try:
            messages = (
                [mention.write_mention(jid, event.node, event.item).encode() for jid in delivery.named]
                if isinstance(event, ItemPublished)
                else []
            )
        except Exception:
            self._log.failure("An event of {node} cannot be told", node=event and event.node.name)
            return []
        return messages if splice is None else [*messages, *map(splice.to, delivery.recipients)]

    def _splice(self, delivery: Delivery) -> notification.Splice | None:
        event = delivery.event
        try:
            return None if event is None else notification.render(event)
        except Exception:
            self._log.failure("An event of {node} cannot be told", node=event and event.node.name)
            return None

    def _leave_out(self, domain: str, rendered: list[list[bytes]], failure: StanzaTooLarge) -> int:
        """Forget a stanza of a batch; to which delivery it belonged."""
        self._log.warn("A notification is too large for {domain}: {reason}", domain=domain, reason=failure.reason)
        position = failure.position
        for place, some in enumerate(rendered):
            if position < len(some):
                del some[position]
                return place
            position -= len(some)
        raise AssertionError("no such stanza") from failure

    # what was sent and not taken

    def bounced(self, message: Stanza) -> None:
        """An error came back to an account: if it answers a notification, its author is to know."""
        seq = notification.sequence_number(message.id)
        if seq is not None and message.from_.domainpart != self._database.domain and message.to.localpart:
            if message.from_.is_domain and self._multicast is not None:
                domain = self._multicast.returned(message.from_.domainpart, seq)
                if domain is not None:
                    self._came_back(domain, message.to.bare, seq)
                    return
            condition, type_ = read_condition(message.element)
            bounce = Bounce(
                service=message.to.bare,
                by=message.from_,
                seq=seq,
                condition=condition,
                type=type_,
                moved_to=new_address(message.element),
            )
            self._tasks.spawn(self._bounced(bounce), "notification that came back")

    def answered(self, answer: Stanza) -> None:
        """Something was answered to a request of the outbox: if it is that a copy was not taken, somebody is told."""
        seq = elsewhere.copied(answer.id or "")
        if seq is not None and answer.type == "error" and answer.from_.domainpart != self._database.domain:
            self._tasks.spawn(self._not_taken(answer.to, answer.from_, seq), "copy that was not taken")

    def _came_back(self, domain: str, service: JID, seq: int) -> None:
        """What many were to be told of by one stanza goes to them one by one."""
        if domain in self._running:
            # It may be of the batch that is not settled yet, and then it would not count as sent.
            self._returned.setdefault(domain, []).append((service, seq))
        else:
            self._tell_again(domain, (service, seq))

    def _tell_again(self, domain: str, *returned: tuple[JID, int]) -> None:
        for service, seq in (*returned, *self._returned.pop(domain, ())):
            # If it has gone to some and is owed still, it begins anew.
            self._progress.pop(domain, None)
            self._tasks.spawn(self._again(domain, service, seq), "one by one")

    async def _again(self, domain: str, service: JID, seq: int) -> None:
        while not self._stopped:
            try:
                if await self._database.write(delivering.again, domain, service, seq):
                    self.wake(domain)
                return
            except Refusal:
                await self._clock.sleep(OVERLOAD_SECONDS)

    async def _not_taken(self, author: JID, service: JID, seq: int) -> None:
        wanted = NotTaken(author=author, service=service, seq=seq, mention=mention.write_mention)
        with suppress(Refusal):
            if await self._database.write(answering.not_taken, wanted):
                self.wake(service.domainpart)

    async def _bounced(self, bounce: Bounce) -> None:
        with suppress(Refusal):
            found = await self._database.write(bouncing.bounced, bounce)
            if found is not None:
                for listener in self.suspended:
                    listener(found)

    async def _failed(self, domain: str, reason: str, permanent: bool = False) -> None:
        try:
            state = await self._database.write(delivering.failed, domain, reason, _RANDOM.uniform(-1, 1), permanent)
        except Refusal:
            self._wait(domain, OVERLOAD_SECONDS)
            return
        if state.next_attempt is None:
            self._log.warn("{domain} is dormant: {reason}", domain=domain, reason=reason)
            self._failing[domain] = None
            return
        seconds = max(0.0, (state.next_attempt - self._clock.now()).total_seconds())
        self._log.info(
            "{domain} took nothing; next attempt in {seconds:.0f} s: {reason}",
            domain=domain,
            seconds=seconds,
            reason=reason,
        )
        self._wait(domain, seconds)


def _is_for_many(known: Multicast, domain: str, delivery: Delivery) -> bool:
    return len(delivery.recipients) > 1 and not delivery.named and known.may_tell(domain, delivery.event)


def _owes(tx: Transaction, domain: str) -> bool:
    return tx.outbox.count(domain) > 0


def _settle(tx: Transaction, domain: str, sent: Sequence[Delivery], failing: bool) -> None:
    delivering.done(tx, sent)
    if failing:
        delivering.succeeded(tx, domain)
