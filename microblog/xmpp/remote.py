"""One other domain: the streams to it, or why there is none, and what waits for one (the story is in ``s2s_out``).

A stream that the domain opened and lets us use (XEP-0288) is as good a way as one of ours, if its certificate proves
the domain: then nobody is dialled. Without that it is taken when dialling has failed. Once in use, a stream is left
for another only if that one proves more: two that dial each other at the same moment keep both, and each uses one.
"""

from collections import deque
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from microblog.model.errors import (
    PolicyViolation,
    Refusal,
    RemoteServerNotFound,
    RemoteServerTimeout,
    ResourceConstraint,
)
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.carrier import Carrier
from microblog.xmpp.dialling import Dialler
from microblog.xmpp.resolve import Unreachable
from microblog.xmpp.s2s_open import Outgoing
from microblog.xmpp.stream import StreamClosed

if TYPE_CHECKING:
    from microblog.xmpp.s2s_out import Servers

PAUSE_MAX_SECONDS: Final = 300
SHORT_LIFE_SECONDS: Final = 30  # a stream that ends sooner counts as a failed attempt
BARRIER_SECONDS: Final = 60
AGE_MAX_SECONDS: Final = 86_400  # a certificate may be renewed, or lost, while its stream goes on
QUEUED_MAX: Final = 20_000  # stanzas of people for all domains together
_SPACE_MIN_SECONDS: Final = 5
_RANDOM: Final = SystemRandom()

C = TypeVar("C", bound=Carrier)


class DeliveryFailed(Exception):
    """A batch was not confirmed; some of it may have arrived. ``permanent``: trying again soon is of no use."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """What ``status`` shows of a domain; ``state`` is idle, connecting, open or pausing."""

    domain: str
    state: str
    proof: Proof | None
    address: str | None
    queued: int
    failures: int
    reason: str | None
    pause_seconds: float


class _Waiting(Generic[C]):
    """Coroutines that wait for a stream."""

    def __init__(self) -> None:
        self._deferreds: list[Deferred[C]] = []

    def __bool__(self) -> bool:
        return bool(self._deferreds)

    def wait(self) -> Deferred[C]:
        waiting: Deferred[C] = Deferred(lambda it: self._deferreds.remove(it))
        self._deferreds.append(waiting)
        return waiting

    def succeed(self, carrier: C) -> None:
        for waiting in self._take():
            waiting.callback(carrier)

    def fail(self, error: Unreachable) -> None:
        for waiting in self._take():
            waiting.errback(error)

    def _take(self) -> list[Deferred[C]]:
        taken, self._deferreds = self._deferreds, []
        return taken


class Remote:
    """One other domain: its stream, or why there is none, and what waits for it."""

    log = Logger()

    def __init__(self, servers: "Servers", domain: str) -> None:
        self.domain = domain
        self._servers = servers
        self._federation = servers.federation
        self._clock = servers.federation.clock
        self._queue: deque[tuple[Stanza, Proof]] = deque()
        self._dialling = False
        self._carrier: Carrier | None = None  # what stanzas go on
        self._own: Outgoing | None = None  # the stream that we dialled: secured, and perhaps established
        self._established = False  # and it is
        self._returning: list[Carrier] = []  # streams of theirs
        self._awaits_room = False
        self._for_secured = _Waiting[Outgoing]()
        self._for_established = _Waiting[Carrier]()
        self._failures = 0
        self._error: Unreachable | None = None
        self._dialler = Dialler(servers, domain, self._secured)
        self._pause_until = 0.0

    @property
    def carrier(self) -> Carrier | None:
        """The stream that carries stanzas; one that is closing takes no more."""
        carrier = self._carrier
        return None if carrier is None or carrier.stream.closed else carrier

    @property
    def running(self) -> bool:
        """True if there is a stream, or soon may be."""
        return self._dialling or self._own is not None or bool(self._returning)

    def send(self, stanza: Stanza, minimum_proof: Proof = Proof.DIALBACK) -> None:
        """Write a stanza, keep it while there is no stream or no room on it, or bounce it.

        What asks for more than the peer has proved to be is not sent, and nobody waits for it.
        """
        carrier = self.carrier
        if carrier is None:
            if not self._dialling and self._own is None and self._clock.monotonic() < self._pause_until:
                self._servers.bounce(stanza, self._refusal())
            elif self._enqueue(stanza, minimum_proof):
                self._dial()
        elif not self._federation.suffices(self.domain, carrier.proof, minimum_proof):
            self.log.debug(
                "Something for {domain} needs a certificate: {doubt}", domain=self.domain, doubt=carrier.doubt
            )
        elif self._queue or carrier.acks.is_full:
            if self._enqueue(stanza, minimum_proof) and not self._awaits_room:
                self._federation.tasks.spawn(self._flush_when_room(carrier), f"room on the stream to {self.domain}")
        else:
            data = stanza.to_bytes()
            limit = carrier.max_bytes
            if limit is not None and len(data) > limit:
                self._servers.bounce(stanza, PolicyViolation(f"{self.domain} takes stanzas of up to {limit} bytes"))
            else:
                carrier.write(data, stanza)

    def _enqueue(self, stanza: Stanza, minimum_proof: Proof) -> bool:
        if len(self._queue) >= self._federation.limits.s2s_queue_max_stanzas or self._servers.queued >= QUEUED_MAX:
            self._servers.bounce(stanza, ResourceConstraint(f"too much is waiting for {self.domain}; try again later"))
            return False
        self._queue.append((stanza, minimum_proof))
        self._servers.queued += 1
        return True

    async def _flush_when_room(self, carrier: Carrier) -> None:
        self._awaits_room = True
        try:
            await carrier.acks.room()
        except StreamClosed:
            return  # whoever comes after it takes the queue
        finally:
            self._awaits_room = False
        self._flush()

    def _flush(self) -> None:
        taken, self._queue = self._queue, deque()
        self._servers.queued -= len(taken)
        for stanza, minimum_proof in taken:
            self.send(stanza, minimum_proof)

    async def established(self) -> Carrier:
        """The stream that may carry stanzas. Raises Unreachable."""
        carrier = self.carrier
        if carrier is not None:
            if self._own is None and not carrier.is_certified and self._clock.monotonic() >= self._pause_until:
                self._dial()  # perhaps it proves more when it is called
            return carrier
        waiting = self._for_established.wait()
        self._dial()
        return await waiting

    async def secured(self) -> Outgoing:
        """A stream of ours, on which keys may be verified. Raises Unreachable."""
        if self._own is not None and not self._own.stream.closed:
            return self._own
        waiting = self._for_secured.wait()
        self._dial()
        return await waiting

    async def barrier(self, carrier: Carrier) -> None:
        """Return when all that was written to that stream has been taken. Raises DeliveryFailed."""
        if carrier.acks.enabled:
            try:
                await carrier.acks.confirm()
            except StreamClosed as error:
                raise DeliveryFailed("the stream ended before the batch was confirmed") from error
        else:
            await self._pinged(carrier)

    async def _pinged(self, carrier: Carrier) -> None:
        """Return when the peer has answered a ping on that stream. Raises DeliveryFailed."""
        outcome: Deferred[Stanza] = Deferred()
        carrier.barriers.add(outcome)
        try:
            self._federation.tasks.spawn(self._ping(outcome), f"ping {self.domain}")
            answer = await self._clock.deadline(outcome, BARRIER_SECONDS)
        except TimeoutError as error:
            carrier.stream.fail(StreamError("connection-timeout", "no answer to a ping"))
            raise DeliveryFailed(f"{self.domain} took the batch and did not answer the ping after it") from error
        except Refusal as error:
            raise DeliveryFailed(error.text) from error
        except Unreachable as error:
            raise DeliveryFailed("the stream ended before the batch was confirmed") from error
        finally:
            carrier.barriers.discard(outcome)
        # An error of our own, or an answer to a ping on a later stream, says nothing of this one.
        if answer.proof is Proof.LOCAL or carrier.ended is not None or self.carrier is not carrier:
            raise DeliveryFailed("the stream ended before the batch was confirmed")

    def may_try(self) -> None:
        """Let the next stanza try, whatever the pause was."""
        self._pause_until = 0.0

    @property
    def pause(self) -> float:
        """For how many seconds it is left alone, because it failed."""
        return max(0.0, self._pause_until - self._clock.monotonic())

    def status(self) -> RemoteStatus:
        """For people."""
        pause = self.pause
        carrier = self.carrier
        state = "open" if carrier else "connecting" if self._dialling else "pausing" if pause else "idle"
        return RemoteStatus(
            self.domain,
            state,
            carrier.proof if carrier else None,
            carrier.where if carrier else None,
            len(self._queue),
            self._failures,
            self._error.reason if self._error and not carrier else None,
            pause if state == "pausing" else 0.0,
        )

    @property
    def is_forgettable(self) -> bool:
        """Nothing runs, nothing waits, and the pause has been over for a while."""
        return not self.running and self._clock.monotonic() > self._pause_until + PAUSE_MAX_SECONDS

    def stop(self) -> None:
        """End the stream that is ours; theirs are ended where they came in."""
        if self._own is not None:
            self._own.is_retired = True
            self._own.acks.tell()
            self._own.stream.close()

    def retire(self) -> None:
        """Close our stream in good order; what comes now waits for the next one."""
        if self._own is not None:
            self._own.is_retired = True
            self._own.acks.close()

    # which stream

    def offer(self, carrier: Carrier) -> None:
        """The domain has opened a stream to us that we may use."""
        self._returning.append(carrier)
        carrier.on_end.append(self._ended)
        self._consider(carrier)

    def leave(self, key: str) -> None:
        """Use no stream any more on which the domain has shown another key; one that is being opened shows it anew."""
        if self._own is not None and self._established and self._own.key != key:
            self.stop()
        for carrier in [one for one in self._returning if one.key != key]:
            self._ended(carrier)
        another = self._another(any_proof=False) if self.carrier is None else None
        if another is not None:
            self._use(another)

    def _consider(self, carrier: Carrier) -> None:
        current = self.carrier
        if carrier.stream.closed:
            return
        if current is None:
            if carrier is self._own or carrier.is_certified:
                self._use(carrier)
        elif carrier.is_certified and not current.is_certified:
            self._use(carrier)

    def _use(self, carrier: Carrier) -> None:
        self._carrier, self._error = carrier, None
        self._flush()
        self._for_established.succeed(carrier)

    def _another(self, *, any_proof: bool) -> Carrier | None:
        """A stream in place of one that ended."""
        there = [one for one in reversed(self._returning) if not one.stream.closed]
        if self._own is not None and self._established and not self._own.stream.closed:
            there.insert(0, self._own)
        found = next((one for one in there if one.is_certified), None)
        if found is None and there and (any_proof or there[0] is self._own):
            return there[0]
        return found

    def _ended(self, carrier: Carrier) -> None:
        if carrier in self._returning:
            self._returning.remove(carrier)
        if self._carrier is not carrier:
            return
        self._carrier = None
        another = self._another(any_proof=False)
        if another is not None:
            self._use(another)
        elif self._queue or self._for_established:
            # Somebody came while it was closing.
            self._dial()

    # the life of a stream of ours

    def _dial(self) -> None:
        # While the last one is closing, this waits for its end: so order is kept.
        if not self._dialling and self._own is None:
            self._dialling = True
            self._federation.tasks.spawn(self._live(), f"stream to {self.domain}")

    async def _live(self) -> None:
        try:
            outgoing = await self._dialler.reach()
        except Unreachable as error:
            self._failed(error)
        except CancelledError:
            raise
        except Exception as error:
            self.log.failure("Opening a stream to {domain} failed", domain=self.domain)
            self._failed(Unreachable(f"internal error ({type(error).__name__})"))
        else:
            self._arrived(outgoing)

    def _secured(self, outgoing: Outgoing) -> None:
        self._own = outgoing
        self._for_secured.succeed(outgoing)

    def _arrived(self, outgoing: Outgoing) -> None:
        """Carry what waits, then what comes, until the stream ends."""
        self._dialling = False
        self._own, self._established = outgoing, True
        if outgoing.ended is not None:
            self._over(outgoing, 0.0)
            return
        since = outgoing.used = self._clock.monotonic()
        limits = self._federation.limits
        # A peer may say how long it keeps a stream on which nothing comes (XEP-0478).
        patience = max(_SPACE_MIN_SECONDS, (outgoing.idle_seconds or AGE_MAX_SECONDS) / 2)
        upkeep = self._clock.every(min(limits.idle_ping_seconds, patience), lambda: self._keep_up(outgoing, since))

        def over(_: Carrier) -> None:
            upkeep.stop()
            self._over(outgoing, self._clock.monotonic() - since)

        outgoing.on_end.append(over)
        self.log.info(
            "Stream to {domain} at {address}, proof: {proof}",
            domain=self.domain,
            address=outgoing.address,
            proof=outgoing.proof,
        )
        self._consider(outgoing)

    def _over(self, outgoing: Outgoing, lived: float) -> None:
        self._own, self._established = None, False
        self.log.info("Stream to {domain} ended: {reason}", domain=self.domain, reason=outgoing.ended)
        if lived < SHORT_LIFE_SECONDS and not outgoing.is_retired:
            self._failed(Unreachable(f"the stream ended after {lived:.0f} seconds: {outgoing.ended}"))
            return
        self._failures = 0
        self._dialler.attempted = None
        self._ended(outgoing)
        if self._for_secured:
            self._dial()

    def _failed(self, error: Unreachable) -> None:
        self.log.info("No stream to {domain}: {reason}", domain=self.domain, reason=error.reason)
        self._dialling = False
        self._own, self._established = None, False
        self._error = error
        self._failures += 1
        gap = self._dialler.gap
        longest = min(PAUSE_MAX_SECONDS, gap * 2 ** min(self._failures, 10))
        self._pause_until = self._clock.monotonic() + _RANDOM.uniform(gap, longest)
        self._for_secured.fail(error)
        if self.carrier is not None:
            return
        self._carrier = None
        another = self._another(any_proof=True)
        if another is not None:
            self._use(another)
            return
        refusal = self._refusal()
        taken, self._queue = self._queue, deque()
        self._servers.queued -= len(taken)
        for stanza, _ in taken:
            self._servers.bounce(stanza, refusal)
        self._for_established.fail(error)

    def _keep_up(self, outgoing: Outgoing, since: float) -> None:
        """RFC 6120 §4.6: a space keeps the connection known to be alive; an unused or old stream is closed."""
        now = self._clock.monotonic()
        silent = now - max(outgoing.used, outgoing.heard)
        patience = self._federation.limits.s2s_idle_seconds
        kept = outgoing.is_two_way and self._carrier is outgoing and self._servers.keeps(self.domain)
        idle = silent >= patience and not kept
        busy = outgoing.barriers or outgoing.acks.sent != outgoing.acks.confirmed
        if idle or now - since >= (2 * AGE_MAX_SECONDS if busy else AGE_MAX_SECONDS):
            self.retire()
            return
        outgoing.stream.write(b" ")
        if kept and silent >= patience / 2 and not busy:
            # Something is said, so that the peer keeps it as well; and so it is known that it is not dead.
            self._federation.tasks.spawn(self._ask_for_life(outgoing), f"sign of life from {self.domain}")

    async def _ask_for_life(self, outgoing: Outgoing) -> None:
        try:
            await self._pinged(outgoing)
        except DeliveryFailed as error:
            outgoing.stream.fail(StreamError("connection-timeout", error.reason))

    async def _ping(self, outcome: Deferred[Stanza]) -> None:
        ours, theirs = JID("", self._federation.domain), JID("", self.domain)
        try:
            answer = await self._servers.request("get", ours, theirs, Element(ns.PING, "ping"))
        except Refusal as refusal:
            if not outcome.called:
                outcome.errback(refusal)
        else:
            if not outcome.called:
                outcome.callback(answer)

    def _refusal(self) -> Refusal:
        error = self._error
        if error is None:
            return RemoteServerTimeout(f"{self.domain} is not reachable now; try again later")
        kind = RemoteServerNotFound if error.permanent else RemoteServerTimeout
        return kind(f"{self.domain} cannot be reached: {error.reason}")
