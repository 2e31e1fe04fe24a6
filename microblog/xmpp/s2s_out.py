"""RFC 6120 §10.4: stanzas to other domains.

There is one ``Remote`` for each domain that somebody here wants something from. It has at most one stream that we
opened, and where the domain has opened one to us that goes both ways (XEP-0288) it needs none. Two kinds of traffic use
it:

- What people and clients send (``Servers.send``). It waits in memory, within bounds, while the stream is being
  opened, and comes back to its sender as an error when the domain cannot be had.
- What the outbox delivers (``Servers.deliver``). Its rows are in the database; here they are written in batches, and
  a batch counts as delivered when the domain has acknowledged its last stanza (XEP-0198). A domain that does not count
  is sent a ping (XEP-0199) after the batch on the same stream: streams keep order, so whoever answers the ping has read
  the batch. A stream between servers may die long after its last bytes were written, and nothing else tells how far the
  peer came.

A domain that fails is left alone: the pause before the next attempt is drawn at random from a range that doubles, so
that a thousand nodes do not come back to a restarted server at the same moment. Meanwhile people's stanzas bounce at
once. The outbox has its own, longer schedule and may try before the pause is over, as may a dialback question, but
never more often than every few seconds: nobody can use this node to knock at a stranger's door.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from twisted.internet.defer import DeferredSemaphore

from microblog.model.errors import PolicyViolation, Refusal, RemoteServerTimeout, ResourceConstraint
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.carrier import Carrier
from microblog.xmpp.dialback import DialbackFailed
from microblog.xmpp.reception import Reception
from microblog.xmpp.remote import PAUSE_MAX_SECONDS, DeliveryFailed, Remote, RemoteStatus
from microblog.xmpp.resolve import Address, Resolver, Unreachable
from microblog.xmpp.s2s import Federation
from microblog.xmpp.stream import Stream, StreamClosed

__all__ = ["DeliveryFailed", "RemoteStatus", "Servers", "StanzaTooLarge"]

REMOTES_MAX: Final = 10_000
CONNECTING_MAX: Final = 200

Connect = Callable[[Address, Stream], Awaitable[object]]
Request = Callable[[str, JID, JID, Element], Awaitable[Stanza]]
Bounce = Callable[[Stanza, Refusal], None]


class StanzaTooLarge(DeliveryFailed):
    """Nothing was sent, as the stanza at ``position`` is larger than the peer takes (XEP-0478)."""

    def __init__(self, position: int, max_bytes: int) -> None:
        super().__init__(f"a stanza exceeds the peer's limit of {max_bytes} bytes", permanent=True)
        self.position = position


class Servers:
    """All other domains.

    ``request`` sends an IQ of this node and waits for its answer (``Router.request``); ``bounce`` returns a stanza
    to its sender (``Router.bounce``). Both are set once by the composition root. ``reception`` takes what comes on our
    streams from the other side; it is that of ``ServerStreams``, and without one our streams go one way. ``keeps`` says
    to which domains a stream stays when nothing is said on it (``keeping``).
    """

    request: Request
    bounce: Bounce

    def __init__(self, federation: Federation, resolver: Resolver, connect: Connect) -> None:
        self.federation = federation
        self.resolver = resolver
        self.connect = connect
        self.on_contact: list[Callable[[str], None]] = []
        self.reception: Reception | None = None
        self.keeps: Callable[[str], bool] = lambda domain: False
        self._stopped = False
        self.connecting = DeferredSemaphore(CONNECTING_MAX)
        self.queued = 0
        self._remotes: dict[str, Remote] = {}
        self._sweep = federation.clock.every(PAUSE_MAX_SECONDS, self._forget_idle)

    def send(self, stanza: Stanza, minimum_proof: Proof = Proof.DIALBACK) -> None:
        """Send a stanza of people; it comes back through ``bounce`` if it cannot be handed over.

        To a domain that has proved less than ``minimum_proof`` it is not sent.
        """
        if self.federation.refuses(stanza.to.domainpart):
            self.bounce(stanza, PolicyViolation(f"this node does not speak with {stanza.to.domainpart}"))
            return
        try:
            remote = self._remote(stanza.to.domainpart)
        except ResourceConstraint as refusal:
            self.bounce(stanza, refusal)
        else:
            remote.send(stanza, minimum_proof)

    async def deliver(self, domain: str, stanzas: Sequence[bytes], minimum_proof: Proof = Proof.DIALBACK) -> None:
        """Write a batch and return when the domain has read it.

        Raises DeliveryFailed: also when what the peer proved to be is less than ``minimum_proof``.
        """
        if self.federation.refuses(domain):
            raise DeliveryFailed(f"this node does not speak with {domain}", permanent=True)
        try:
            remote = self._remote(domain)
            carrier = await remote.established()
        except Unreachable as error:
            raise DeliveryFailed(error.reason, permanent=error.permanent) from error
        except ResourceConstraint as error:
            raise DeliveryFailed(error.text) from error
        if not self.federation.suffices(domain, carrier.proof, minimum_proof):
            raise DeliveryFailed(f"this needs a certificate, and {carrier.doubt}")
        for position, data in enumerate(stanzas):
            if carrier.max_bytes is not None and len(data) > carrier.max_bytes:
                raise StanzaTooLarge(position, carrier.max_bytes)
        for data in stanzas:
            if carrier.acks.is_full:
                await self._room(carrier)
            carrier.write(data)
        await remote.barrier(carrier)

    async def _room(self, carrier: Carrier) -> None:
        try:
            await carrier.acks.room()
        except StreamClosed as error:
            raise DeliveryFailed("the stream ended before the batch was confirmed") from error

    async def open(self, domain: str) -> Carrier:
        """The stream to a domain, opened if need be. Raises Unreachable, ResourceConstraint."""
        return await self._remote(domain).established()

    def pause(self, domain: str) -> float:
        """For how many seconds a domain that failed is left alone."""
        remote = self._remotes.get(domain)
        return 0.0 if remote is None else remote.pause

    async def verify(self, domain: str, stream_id: str, key: str) -> Carrier | None:
        """Ask a domain whether a key for a stream to us is its own; the stream on which it says so, None if it says no.

        The answer proves as much as the certificate it came under. Raises DialbackFailed.
        """
        try:
            outgoing = await self._remote(domain).secured()
        except Unreachable as error:
            condition = "remote-server-not-found" if error.permanent else "remote-server-timeout"
            raise DialbackFailed(condition) from error
        except ResourceConstraint as error:
            raise DialbackFailed("resource-constraint") from error
        return outgoing if await outgoing.verify(stream_id, key) else None

    def contact(self, domain: str) -> None:
        """A domain has authenticated a stream to us: it is up. Its failures are forgotten only by a success."""
        remote = self._remotes.get(domain)
        if remote is not None:
            remote.may_try()
        for listener in self.on_contact:
            listener(domain)

    def returning(self, carrier: Carrier) -> None:
        """A domain has opened a stream to us and lets us send on it (XEP-0288)."""
        try:
            self._remote(carrier.domain).offer(carrier)
        except ResourceConstraint:
            return  # it is a stream for what comes, as others are

    def unconfirmed(self, stanza: Stanza) -> None:
        """A stanza of people was sent, and its stream ended before anybody said that it had come."""
        if not self._stopped:
            self.bounce(stanza, RemoteServerTimeout("the stream ended before this was acknowledged; it may have come"))

    def proof(self, domain: str) -> Proof | None:
        """What the domain has proved to be on the stream to it; None without a stream."""
        carrier = self._carrier(domain)
        return None if carrier is None else carrier.proof

    def key(self, domain: str) -> str:
        """SHA-256, in hexadecimal, of the key (SubjectPublicKeyInfo) in the certificate that proves the domain.

        Of the stream that carries stanzas to it; nothing without a stream, or without such a certificate.
        """
        carrier = self._carrier(domain)
        return "" if carrier is None else carrier.key

    def leave(self, domain: str, key: str) -> None:
        """Send a domain nothing more on streams on which it has shown another key than this."""
        remote = self._remotes.get(domain)
        if remote is not None:
            remote.leave(key)

    def max_bytes(self, domain: str) -> int | None:
        """How large a stanza the domain takes on the stream that carries them to it, if it has said so (XEP-0478)."""
        carrier = self._carrier(domain)
        return None if carrier is None else carrier.max_bytes

    def _carrier(self, domain: str) -> Carrier | None:
        remote = self._remotes.get(domain)
        return None if remote is None else remote.carrier

    def end_refused(self) -> None:
        """End the streams to domains that are refused (by now)."""
        for domain, remote in list(self._remotes.items()):
            if self.federation.refuses(domain):
                remote.stop()

    def status(self) -> list[RemoteStatus]:
        """All domains there is something to say about, by name."""
        return [remote.status() for _, remote in sorted(self._remotes.items())]

    def stop(self) -> None:
        """End all streams. What is still on its way is lost here, and in the outbox."""
        self._stopped = True
        self._sweep.stop()
        for remote in list(self._remotes.values()):
            remote.stop()

    def _remote(self, domain: str) -> Remote:
        remote = self._remotes.get(domain)
        if remote is None:
            if len(self._remotes) >= REMOTES_MAX:
                self._make_room()
            remote = self._remotes[domain] = Remote(self, domain)
        return remote

    def _make_room(self) -> None:
        idle = next((remote for remote in self._remotes.values() if not remote.running), None)
        if idle is None:
            raise ResourceConstraint("this node has streams to too many domains")
        del self._remotes[idle.domain]

    def _forget_idle(self) -> None:
        forgotten = [domain for domain, remote in self._remotes.items() if remote.is_forgettable]
        for domain in forgotten:
            del self._remotes[domain]
