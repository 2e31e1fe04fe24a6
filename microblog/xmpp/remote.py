"""One other domain: its stream, or why there is none, and what waits for it (the story is in ``s2s_out``)."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
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
from microblog.xmpp.resolve import Address, Unreachable
from microblog.xmpp.s2s_open import Outgoing, Refused

if TYPE_CHECKING:
    from microblog.xmpp.s2s_out import Servers

ATTEMPT_GAP_SECONDS: Final = 5  # 1 where rates are off
PAUSE_MAX_SECONDS: Final = 300
SHORT_LIFE_SECONDS: Final = 30  # a stream that ends sooner counts as a failed attempt
BARRIER_SECONDS: Final = 60
AGE_MAX_SECONDS: Final = 86_400  # a certificate may be renewed, or lost, while its stream goes on
QUEUED_MAX: Final = 20_000  # stanzas of people for all domains together
_RANDOM: Final = SystemRandom()


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


class _Waiting:
    """Coroutines that wait for one outgoing stream."""

    def __init__(self) -> None:
        self._deferreds: list[Deferred[Outgoing]] = []

    def __bool__(self) -> bool:
        return bool(self._deferreds)

    def wait(self) -> Deferred[Outgoing]:
        waiting: Deferred[Outgoing] = Deferred(lambda it: self._deferreds.remove(it))
        self._deferreds.append(waiting)
        return waiting

    def succeed(self, outgoing: Outgoing) -> None:
        for waiting in self._take():
            waiting.callback(outgoing)

    def fail(self, error: Unreachable) -> None:
        for waiting in self._take():
            waiting.errback(error)

    def _take(self) -> list[Deferred[Outgoing]]:
        taken, self._deferreds = self._deferreds, []
        return taken


class Remote:
    """One other domain: its stream, or why there is none, and what waits for it."""

    log = Logger()

    def __init__(self, servers: "Servers", domain: str) -> None:
        self.domain = domain
        self.running = False
        self._servers = servers
        self._federation = servers.federation
        self._clock = servers.federation.clock
        self._queue: deque[tuple[Stanza, Proof]] = deque()
        self._established: Outgoing | None = None
        self._latest: Outgoing | None = None  # secured, and perhaps established
        self._retired = False
        self._for_secured = _Waiting()
        self._for_established = _Waiting()
        self._failures = 0
        self._error: Unreachable | None = None
        self._attempted: float | None = None
        self._pause_until = 0.0
        self._used = 0.0
        self._gap = ATTEMPT_GAP_SECONDS if servers.federation.limits.rates else 1

    @property
    def outgoing(self) -> Outgoing | None:
        """The stream that carries stanzas; one that is closing takes no more."""
        outgoing = self._established
        return None if outgoing is None or outgoing.stream.closed else outgoing

    def send(self, stanza: Stanza, minimum_proof: Proof = Proof.DIALBACK) -> None:
        """Write a stanza, keep it while the stream is being opened, or bounce it.

        What asks for more than the peer has proved to be is not sent, and nobody waits for it.
        """
        outgoing = self.outgoing
        if outgoing is not None and not self._federation.suffices(self.domain, outgoing.proof, minimum_proof):
            self.log.debug(
                "Something for {domain} needs a certificate: {doubt}", domain=self.domain, doubt=outgoing.doubt
            )
        elif outgoing is not None:
            data = stanza.to_bytes()
            limit = outgoing.max_bytes
            if limit is not None and len(data) > limit:
                self._servers.bounce(stanza, PolicyViolation(f"{self.domain} takes stanzas of up to {limit} bytes"))
            else:
                self.write(data)
        elif not self.running and self._clock.monotonic() < self._pause_until:
            self._servers.bounce(stanza, self._refusal())
        elif len(self._queue) >= self._federation.limits.s2s_queue_max_stanzas or self._servers.queued >= QUEUED_MAX:
            self._servers.bounce(stanza, ResourceConstraint(f"too much is waiting for {self.domain}; try again later"))
        else:
            self._queue.append((stanza, minimum_proof))
            self._servers.queued += 1
            self._start()

    def write(self, data: bytes) -> None:
        """Write to the stream there is; without one it is lost, and the barrier behind it fails."""
        outgoing = self.outgoing
        if outgoing is not None:
            self._used = self._clock.monotonic()
            outgoing.stream.write(data)

    async def established(self) -> Outgoing:
        """The stream that may carry stanzas. Raises Unreachable."""
        outgoing = self.outgoing
        if outgoing is not None:
            return outgoing
        waiting = self._for_established.wait()
        self._start()
        return await waiting

    async def secured(self) -> Outgoing:
        """A stream on which keys may be verified. Raises Unreachable."""
        if self._latest is not None and not self._latest.stream.closed:
            return self._latest
        waiting = self._for_secured.wait()
        self._start()
        return await waiting

    async def barrier(self, outgoing: Outgoing) -> None:
        """Return when all that was written to that stream has been read. Raises DeliveryFailed."""
        outcome: Deferred[Stanza] = Deferred()
        outgoing.barriers.add(outcome)
        try:
            self._federation.tasks.spawn(self._ping(outcome), f"ping {self.domain}")
            answer = await self._clock.deadline(outcome, BARRIER_SECONDS)
        except TimeoutError as error:
            outgoing.stream.fail(StreamError("connection-timeout", "no answer to a ping"))
            raise DeliveryFailed(f"{self.domain} took the batch and did not answer the ping after it") from error
        except Refusal as error:
            raise DeliveryFailed(error.text) from error
        except Unreachable as error:
            raise DeliveryFailed("the stream ended before the batch was confirmed") from error
        finally:
            outgoing.barriers.discard(outcome)
        # An error of our own, or an answer to a ping on a later stream, says nothing of this one.
        if answer.proof is Proof.LOCAL or outgoing.ended is not None or self.outgoing is not outgoing:
            raise DeliveryFailed("the stream ended before the batch was confirmed")

    def may_try(self) -> None:
        """Let the next stanza try, whatever the pause was."""
        self._pause_until = 0.0

    def status(self) -> RemoteStatus:
        """For people."""
        pause = max(0.0, self._pause_until - self._clock.monotonic())
        outgoing = self.outgoing
        state = "open" if outgoing else "connecting" if self.running else "pausing" if pause else "idle"
        return RemoteStatus(
            self.domain,
            state,
            outgoing.proof if outgoing else None,
            str(outgoing.address) if outgoing else None,
            len(self._queue),
            self._failures,
            self._error.reason if self._error and not outgoing else None,
            pause if state == "pausing" else 0.0,
        )

    @property
    def is_forgettable(self) -> bool:
        """Nothing runs, nothing waits, and the pause has been over for a while."""
        return not self.running and self._clock.monotonic() > self._pause_until + PAUSE_MAX_SECONDS

    def stop(self) -> None:
        """End the stream."""
        self._retired = True
        if self._latest is not None:
            self._latest.stream.close()

    def retire(self) -> None:
        """Close the stream in good order; what comes now waits for the next one."""
        outgoing = self.outgoing
        if outgoing is not None:
            self._retired = True
            outgoing.stream.close()

    # the life of a stream

    def _start(self) -> None:
        if not self.running:
            self.running = True
            self._federation.tasks.spawn(self._live(), f"stream to {self.domain}")

    async def _live(self) -> None:
        try:
            outgoing = await self._reach()
        except Unreachable as error:
            self._failed(error)
        except CancelledError:
            raise
        except Exception as error:
            self.log.failure("Opening a stream to {domain} failed", domain=self.domain)
            self._failed(Unreachable(f"internal error ({type(error).__name__})"))
        else:
            await self._serve(outgoing)

    async def _reach(self) -> Outgoing:
        if self._attempted is not None:
            gap = self._attempted + self._gap - self._clock.monotonic()
            if gap > 0:
                await self._clock.sleep(gap)
        await self._servers.connecting.acquire()
        try:
            self._attempted = self._clock.monotonic()
            seconds = self._federation.limits.s2s_auth_seconds
            return await self._clock.deadline(self._try_all(), seconds)
        except TimeoutError as error:
            raise Unreachable(f"no stream after {seconds} seconds") from error
        finally:
            self._servers.connecting.release()

    async def _try_all(self) -> Outgoing:
        failure: Unreachable | None = None
        for target in await self._servers.resolver.targets(self.domain):
            try:
                for address in await self._servers.resolver.addresses(target):
                    try:
                        return await self._try(address)
                    except Refused:
                        raise
                    except Unreachable as error:
                        failure = error
            except Refused:
                raise
            except Unreachable as error:
                # A passing failure says more than a permanent one: the target may be there tomorrow.
                failure = error if failure is None or failure.permanent else failure
        assert failure is not None
        raise failure

    async def _try(self, address: Address) -> Outgoing:
        outgoing = Outgoing(self._federation, self.domain, address, self._secured)
        try:
            await self._servers.connect(address, outgoing.stream)
        except ConnectError as error:
            raise Unreachable(f"{address}: {error}") from error
        await outgoing.negotiate()
        return outgoing

    def _secured(self, outgoing: Outgoing) -> None:
        self._latest = outgoing
        self._for_secured.succeed(outgoing)

    async def _serve(self, outgoing: Outgoing) -> None:
        """Carry what waits, then what comes, until the stream ends."""
        if outgoing.ended is None:
            since = self._used = self._clock.monotonic()
            self._established, self._error, self._retired = outgoing, None, False
            self.log.info("Stream to {domain} at {address}, proof: {proof}", **self._about(outgoing))
            for stanza, minimum_proof in self._take_queue():
                self.send(stanza, minimum_proof)
            self._for_established.succeed(outgoing)
            upkeep = self._clock.every(self._federation.limits.idle_ping_seconds, lambda: self._keep_up(since))
            try:
                reason = await outgoing.wait_end()
            finally:
                upkeep.stop()
            lived = self._clock.monotonic() - since
        else:
            reason, lived = outgoing.ended, 0.0
        self._established = self._latest = None
        self.log.info("Stream to {domain} ended: {reason}", domain=self.domain, reason=reason)
        if lived < SHORT_LIFE_SECONDS and not self._retired:
            self._failed(Unreachable(f"the stream ended after {lived:.0f} seconds: {reason}"))
            return
        self.running = False
        self._failures = 0
        self._attempted = None
        if self._queue or self._for_secured or self._for_established:
            # Somebody came while it was closing.
            self._start()

    def _failed(self, error: Unreachable) -> None:
        self.log.info("No stream to {domain}: {reason}", domain=self.domain, reason=error.reason)
        self.running = False
        self._established = self._latest = None
        self._error = error
        self._failures += 1
        longest = min(PAUSE_MAX_SECONDS, self._gap * 2 ** min(self._failures, 10))
        self._pause_until = self._clock.monotonic() + _RANDOM.uniform(self._gap, longest)
        for stanza, _ in self._take_queue():
            self._servers.bounce(stanza, self._refusal())
        self._for_secured.fail(error)
        self._for_established.fail(error)

    def _take_queue(self) -> Iterator[tuple[Stanza, Proof]]:
        taken, self._queue = self._queue, deque()
        self._servers.queued -= len(taken)
        return iter(taken)

    def _keep_up(self, since: float) -> None:
        """RFC 6120 §4.6: a space keeps the connection known to be alive; an unused or old stream is closed."""
        outgoing, now = self.outgoing, self._clock.monotonic()
        if outgoing is None:
            return
        idle = now - self._used >= self._federation.limits.s2s_idle_seconds
        if idle or (now - since >= AGE_MAX_SECONDS and not outgoing.barriers):
            self.retire()
        else:
            outgoing.stream.write(b" ")

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

    def _about(self, outgoing: Outgoing) -> dict[str, object]:
        return {"domain": self.domain, "address": outgoing.address, "proof": outgoing.proof}
