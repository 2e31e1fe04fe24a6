"""Streams that other servers open to us, all of them (one of them: ``s2s_accept``)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol

from microblog.model.item import Proof
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.xmpp.admission import Admission
from microblog.xmpp.reception import FromServer, Reception, Settled
from microblog.xmpp.remote import AGE_MAX_SECONDS
from microblog.xmpp.s2s import Federation
from microblog.xmpp.s2s_accept import Incoming
from microblog.xmpp.s2s_out import Servers
from microblog.xmpp.stream import Stream

ALL_CLAIMS_MAX: Final = 100  # of domains that wait for the answer of the domain itself


@dataclass(frozen=True, slots=True)
class IncomingStatus:
    """What ``status`` shows of an incoming stream."""

    address: str
    domains: dict[str, Proof]
    idle_seconds: float


class ServerStreams:
    """All streams that other servers opened to us.

    ``from_server``, ``settled`` and ``followed`` are for the ``Reception`` of this node, which streams that we open
    ourselves share.
    """

    def __init__(
        self,
        federation: Federation,
        servers: Servers,
        from_server: FromServer,
        settled: Settled,
        followed: Callable[[str], bool] = lambda domain: False,
    ) -> None:
        self.federation = federation
        self.servers = servers
        self.reception = servers.reception = Reception(federation, from_server, settled, followed, servers.send)
        self.claims = 0
        self._streams: set[Incoming] = set()
        self._by_domain: dict[str, list[Incoming]] = {}
        self._sweep = federation.clock.every(60, self._close_idle)

    def listener(self, *, direct_tls: bool = False) -> Factory:
        """A factory to listen with, for STARTTLS or for TLS from the first byte (XEP-0368)."""
        return _Listener(self, direct_tls)

    @property
    def claims_exhausted(self) -> bool:
        """True if no more domains can be asked for the truth at the moment."""
        return self.claims >= ALL_CLAIMS_MAX

    def serve(self, stream: Stream, direct_tls: bool, on_settled: Callable[[], None]) -> None:
        """Take a connection that was just made; ``on_settled`` is called when it has proved a domain, or ended."""
        incoming = Incoming(self, stream, on_settled)
        self._streams.add(incoming)
        stream.on_closed.append(lambda _: self._left(incoming))
        self.federation.tasks.spawn(incoming.serve(direct_tls), f"server stream from {stream.peer}")

    def admitted(self, domain: str, incoming: Incoming) -> None:
        """A stream speaks for a domain now. One too many ends the oldest: it may be dead without knowing."""
        streams = self._by_domain.setdefault(domain, [])
        streams.append(incoming)
        if len(streams) > self.federation.limits.s2s_streams_in_per_domain:
            streams[0].stream.fail(StreamError("conflict", "replaced by a newer stream"))
        self.servers.contact(domain)

    def end_refused(self) -> None:
        """End the streams that speak for a domain that is refused (by now)."""
        for domain in [domain for domain in self._by_domain if self.federation.refuses(domain)]:
            for incoming in list(self._by_domain.get(domain, ())):
                incoming.stream.fail(StreamError("policy-violation", f"this node refuses {domain}"))

    def status(self) -> list[IncomingStatus]:
        """The streams that speak for a domain."""
        now = self.federation.clock.monotonic()
        return [
            IncomingStatus(one.stream.peer, dict(one.proofs), now - one.last_used)
            for one in self._streams
            if one.proofs
        ]

    def stop(self) -> None:
        """End all streams."""
        self._sweep.stop()
        for incoming in list(self._streams):
            incoming.acks.tell()
            incoming.stream.fail(StreamError("system-shutdown"))

    def _left(self, incoming: Incoming) -> None:
        incoming.settled()
        self._streams.discard(incoming)
        for domain in incoming.proofs:
            streams = self._by_domain.get(domain, [])
            if incoming in streams:
                streams.remove(incoming)
            if not streams:
                self._by_domain.pop(domain, None)

    def _close_idle(self) -> None:
        now = self.federation.clock.monotonic()
        idle = self.federation.limits.s2s_idle_seconds
        for incoming in list(self._streams):
            if incoming.proofs and (now - incoming.last_used > idle or now - incoming.began > AGE_MAX_SECONDS):
                incoming.acks.close()


class _Listener(Factory):
    noisy = False

    def __init__(self, streams: ServerStreams, direct_tls: bool) -> None:
        self._streams = streams
        self._direct_tls = direct_tls
        self._admission = Admission(streams.federation.clock, streams.federation.limits)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """A stream, or nothing: the connection is closed at once."""
        host = getattr(addr, "host", "")
        if not self._admission.admit(host):
            return None
        federation = self._streams.federation
        stream = Stream(
            clock=federation.clock,
            limits=federation.limits,
            content=ns.SERVER,
            stanza_max_bytes=federation.limits.s2s_stanza_max_bytes,
            initiating=False,
            name=federation.domain,
        )
        stream.on_connected = lambda: self._streams.serve(
            stream, self._direct_tls, lambda: self._admission.settled(host)
        )
        return stream
