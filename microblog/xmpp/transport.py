"""RFC 6120 §3: one TCP connection with or without TLS, and what it may cost.

A write to a peer that keeps up goes to its socket at once, in the same turn of the reactor: one TLS record, one
``send``. What the socket does not take is left to Twisted's buffer, and all that comes after waits here as plain bytes
until the socket has room again, when it leaves in as few records as possible.

Three things make a connection stop reading: it reads faster than its rate, its work is still waiting, or it does not
take what we send. A reader that stays behind is closed after a while; one that goes on asking for more, at once.
"""

from collections.abc import Callable
from enum import Flag, auto
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPullProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from microblog.config import Limits
from microblog.runtime import Clock
from microblog.xmpp.tlslayer import TLSFailure, TLSInfo, TLSLayer

# Above this many times the permitted backlog nobody waits for the deadline.
_HARD_CAP: Final = 4
_RESUME_BYTES: Final = 65_536
# How long a peer may take to read our last bytes and close its side.
LINGER_SECONDS: Final = 5


class Hold(Flag):
    """Why reading is paused."""

    NOTHING = 0
    RATE = auto()
    WORK = auto()
    BACKLOG = auto()


class ConnectionGone(Exception):
    """The connection ended while something was waited for."""


@implementer(IPullProducer)
class Connection(Protocol):
    """Bytes to and from one peer. Subclasses say what to do with ``received`` bytes and when it is ``lost``."""

    transport: Any  # ITCPTransport, IConsumer and IPushProducer in one

    def __init__(self, *, clock: Clock, limits: Limits, bytes_per_second: int | None) -> None:
        self.clock = clock
        self.limits = limits
        self.peer = "?"
        self.host = "?"  # the peer's address without its port
        self.tls: TLSInfo | None = None
        self.last_received = clock.monotonic()
        self._writable = False
        self._connected = False
        self._finishing = False
        self._shut = False
        # writing
        self._socket_send: Callable[[bytes], int] | None = None
        self._blocked = False
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._in_transport = 0
        self._stall_call: IDelayedCall | None = None
        self._linger_call: IDelayedCall | None = None
        # reading
        self._holds = Hold.NOTHING
        self._rate = bytes_per_second
        self._tokens = 0.0 if bytes_per_second is None else float(bytes_per_second * limits.read_burst_seconds)
        self._tokens_at = self.last_received
        self._rate_call: IDelayedCall | None = None
        # TLS
        self._layer: TLSLayer | None = None
        self._handshaken: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.peer}>"

    @property
    def log(self) -> Logger:
        """Says which connection it is about, and does not keep it alive in whatever keeps the log."""
        return Logger("microblog.xmpp.stream", source=repr(self))

    # for subclasses

    def made(self) -> None:
        """The connection is made."""

    def received(self, data: bytes) -> None:
        """Plain bytes have come."""

    def lost(self, reason: str) -> None:
        """The connection is gone."""

    # Twisted

    def connectionMade(self) -> None:
        """Twisted: the connection is there."""
        transport = self.transport
        peer = transport.getPeer()
        self.host = getattr(peer, "host", "?")
        self.peer = f"{self.host}:{getattr(peer, 'port', '?')}"
        socket = getattr(transport, "socket", None)
        if socket is not None:
            self._socket_send = socket.send
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        # A pull producer is asked for more whenever the transport holds nothing any more.
        transport.registerProducer(self, False)
        self._connected = self._writable = True
        self.made()

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes have come."""
        now = self.last_received = self.clock.monotonic()
        if self._finishing:
            return
        rate = self._rate
        if rate is not None:
            burst = rate * self.limits.read_burst_seconds
            self._tokens = min(burst, self._tokens + (now - self._tokens_at) * rate) - len(data)
            self._tokens_at = now
            if self._tokens < 0 and self._rate_call is None:
                self.hold(Hold.RATE)
                self._rate_call = self.clock.later(-self._tokens / rate, self._rate_kept)
        layer = self._layer
        if layer is not None:
            try:
                data = layer.receive(data)
            except TLSFailure as failure:
                self._tls_failed(str(failure))
                return
            if self._handshaken is not None:
                self._shaking(layer)
            if layer.closed_by_peer:
                if data:
                    self.received(data)
                self.finish("the peer closed its TLS session")
                return
        if data:
            self.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: the connection is gone."""
        self._connected = self._writable = False
        for call in (self._stall_call, self._linger_call, self._rate_call):
            if call is not None and call.active():
                call.cancel()
        self._stall_call = self._linger_call = self._rate_call = None
        self._pending.clear()
        self._pending_bytes = self._in_transport = 0
        self._socket_send = None
        text = reason.getErrorMessage()
        self._wake(ConnectionGone(text))
        self.lost(text)

    # writing

    @property
    def backlog(self) -> int:
        """Bytes that the peer has not taken yet."""
        return self._pending_bytes + self._in_transport

    def write(self, data: bytes) -> None:
        """Send plain bytes; never blocks. Nothing happens once the connection is closing."""
        if not self._writable:
            return
        if self._blocked:
            self._queue(data)
            return
        self._protect(data)

    def _protect(self, data: bytes) -> None:
        layer = self._layer
        if layer is not None:
            try:
                data = layer.encrypt(data)
            except TLSFailure as failure:
                self.abort(f"TLS: {failure}")
                return
        self._transmit(data)

    def _transmit(self, data: bytes) -> None:
        send = self._socket_send
        if send is not None:
            try:
                sent = send(data)
            except OSError:  # no room, or a dead connection, which the transport notices itself
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
            self._blocked = True
            self._in_transport = len(data)
            if self.backlog > self.limits.send_buffer_max_bytes:
                self._fell_behind()
        self.transport.write(data)

    def _queue(self, data: bytes) -> None:
        backlog = self.backlog
        if backlog > _HARD_CAP * self.limits.send_buffer_max_bytes:
            self.abort("does not read what it asks for")
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if backlog + len(data) > self.limits.send_buffer_max_bytes:
            self._fell_behind()

    def _fell_behind(self) -> None:
        if self._stall_call is None:
            self.hold(Hold.BACKLOG)
            self._stall_call = self.clock.later(
                self.limits.send_stalled_seconds, self.abort, "does not read what was sent"
            )

    def stopProducing(self) -> None:
        """The transport takes no more."""
        self._writable = False

    def resumeProducing(self) -> None:
        """The socket has taken everything: send what waits here."""
        self._blocked = False
        self._in_transport = 0
        pending = self._pending
        while pending and not self._blocked and self._connected:
            taken = size = 0
            while taken < len(pending) and size < _RESUME_BYTES:
                size += len(pending[taken])
                taken += 1
            data = b"".join(pending[:taken])
            del pending[:taken]
            self._pending_bytes -= size
            self._protect(data)
        call = self._stall_call
        if call is not None and self.backlog <= self.limits.send_buffer_max_bytes // 2:
            self._stall_call = None
            if call.active():
                call.cancel()
            self.release(Hold.BACKLOG)
        if self._finishing and not self.backlog:
            self._shut_down()

    # reading

    def hold(self, why: Hold) -> None:
        """Stop reading for a reason; every reason has to be released again."""
        if not self._holds and not self._finishing and self._connected:
            self.transport.pauseProducing()
        self._holds |= why

    def release(self, why: Hold) -> None:
        """A reason to stop reading is gone."""
        if not self._holds & why:
            return
        self._holds &= ~why
        if not self._holds and not self._finishing and self._connected:
            self.transport.resumeProducing()

    def read_rate(self, bytes_per_second: int | None) -> None:
        """Change how fast the peer may send; None means as fast as it likes."""
        self._rate = bytes_per_second
        if bytes_per_second is not None:
            self._tokens = float(bytes_per_second * self.limits.read_burst_seconds)
        elif self._rate_call is not None:
            self._rate_call.cancel()
            self._rate_kept()

    def _rate_kept(self) -> None:
        self._rate_call = None
        self.release(Hold.RATE)

    # TLS

    async def shake_hands(self, context: SSL.Context, *, server: bool, name: str | None, alpn: bytes | None) -> None:
        """Put TLS under everything that follows. Raises ConnectionGone if that fails."""
        if not self._connected or self._finishing:
            raise ConnectionGone("closed")
        layer = self._layer = TLSLayer(context, server=server, name=name, alpn=alpn)
        self._writable = False
        waiting = self._handshaken = Deferred()
        timer = self.clock.later(
            self.limits.tls_handshake_seconds, self._tls_failed, "no TLS handshake within the time allowed"
        )
        try:
            if not server:
                self._transmit(layer.start())
            await waiting
        finally:
            self._handshaken = None
            if timer.active():
                timer.cancel()

    def _shaking(self, layer: TLSLayer) -> None:
        out = layer.outgoing()
        if out:
            if self._blocked:
                self._tls_failed("does not read during the TLS handshake")
                return
            self._transmit(out)
        if layer.established:
            self.tls = layer.info()
            self._writable = True
            self._wake(None)

    def _wake(self, failure: ConnectionGone | None) -> None:
        waiting, self._handshaken = self._handshaken, None
        if waiting is not None and not waiting.called:
            if failure is None:
                waiting.callback(None)
            else:
                waiting.errback(failure)

    def _tls_failed(self, reason: str) -> None:
        layer = self._layer
        alert = b"" if layer is None else layer.outgoing()
        if alert and not self._blocked:
            self._transmit(alert)
        self._layer = None
        self.finish(f"TLS: {reason}")

    # closing

    def finish(self, reason: str) -> None:
        """Send what waits, close our side, and give the peer a moment to close its own."""
        if self._finishing or not self._connected:
            return
        self._finishing = True
        self._writable = False
        if self._holds:
            self._holds = Hold.NOTHING
            self.transport.resumeProducing()
        self._linger_call = self.clock.later(LINGER_SECONDS, self.abort, reason)
        self._wake(ConnectionGone(reason))
        if not self.backlog:
            self._shut_down()

    def abort(self, reason: str) -> None:
        """Close at once."""
        self._finishing = True
        self._writable = False
        if self._connected:
            self.log.debug("{log_source}: closing, {reason}", reason=reason)
            self._wake(ConnectionGone(reason))
            self.transport.unregisterProducer()
            self.transport.abortConnection()

    def _shut_down(self) -> None:
        if self._shut or not self._connected:
            return
        self._shut = True
        layer = self._layer
        if layer is not None:
            notify = layer.shutdown()
            if notify:
                self._transmit(notify)
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()
