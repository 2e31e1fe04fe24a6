"""Connections in memory, for tests of streams: a transport whose socket has as much room as the test says."""

from collections.abc import Coroutine
from typing import Any

from OpenSSL import SSL
from twisted.internet import task
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from microblog.config import Limits
from microblog.runtime import Clock
from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xmpp.stream import Stream
from microblog.xmpp.tlslayer import TLSLayer

HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" to='montague.example' version='1.0'>"
)
FOOTER = b"</stream:stream>"


class Line:
    """What Twisted's TCP transport is to a connection. ``room``: what the socket takes before it blocks."""

    def __init__(self, host: str = "192.0.2.1", room: int | None = None) -> None:
        self.room = room
        self.sent = b""
        self.sends: list[bytes] = []
        self.buffered = b""
        self.reading = True
        self.fin = False
        self.aborted = False
        self.socket = self
        self.producer: Any = None
        self.protocol: Any = None
        self._host = host
        self._closing = False

    # the socket

    def send(self, data: bytes) -> int:
        if self.aborted or self.fin:
            raise BrokenPipeError
        if self.room is not None:
            data = data[: self.room]
            self.room -= len(data)
            if not data:
                raise BlockingIOError
        self.sent += data
        self.sends.append(data)
        return len(data)

    # the transport

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self._host, 49152)

    def setTcpNoDelay(self, on: bool) -> None:
        pass

    def setTcpKeepAlive(self, on: bool) -> None:
        pass

    def registerProducer(self, producer: object, streaming: bool) -> None:
        assert not streaming and self.producer is None
        self.producer = producer
        self.producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        assert not self._closing
        self.buffered += data

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseWriteConnection(self) -> None:
        self._closing = True
        self.fin = not self.buffered

    def abortConnection(self) -> None:
        if not self.aborted:
            self.aborted = True
            self.lose()

    # the test

    def drain(self, room: int | None = None) -> None:
        """The peer reads: what is buffered goes out, and the socket has this much room again."""
        self.room = room
        while self.buffered and (self.room is None or self.room > 0):
            taken = self.send(self.buffered)
            self.buffered = self.buffered[taken:]
            if not self.buffered and self.producer is not None:
                self.producer.resumeProducing()
        self.fin = self.fin or (self._closing and not self.buffered)

    def deliver(self, data: bytes) -> None:
        """Bytes come from the peer."""
        assert self.reading, "the transport is paused"
        self.protocol.dataReceived(data)

    def lose(self, reason: Exception | None = None) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(reason or ConnectionDone()))

    def take(self) -> str:
        """What was sent since the last time."""
        text, self.sent = self.sent.decode(), b""
        return text


def plug(connection: Any, line: Line) -> Line:
    line.protocol = connection
    connection.makeConnection(line)
    return line


class Rig:
    """One incoming client stream on a line, with a clock."""

    def __init__(
        self,
        *,
        content: str = ns.CLIENT,
        room: int | None = None,
        limits: Limits | None = None,
        initiating: bool = False,
        stanza_max_bytes: int = 262_144,
    ) -> None:
        self.time = task.Clock()
        self.limits = limits or Limits()
        self.stream = Stream(
            clock=Clock(self.time),
            limits=self.limits,
            content=content,
            stanza_max_bytes=stanza_max_bytes,
            initiating=initiating,
            name="montague.example",
        )
        self.closed: list[str] = []
        self.stream.on_closed.append(self.closed.append)
        self.line = plug(self.stream, Line(room=room))

    def open(self) -> "Rig":
        """Exchange headers and pass for authenticated."""
        header = HEADER.replace(b"jabber:client", self.stream.content.encode())
        self.line.deliver(header)
        result(self.stream.read_header())
        self.stream.send_header(to=None, from_="montague.example")
        self.stream.authenticated()
        self.line.take()
        return self

    def listen(self) -> list[Element]:
        """Collect stanzas as they come."""
        heard: list[Element] = []
        self.stream.on_stanza = heard.append
        return heard


class Handler:
    """Takes stanzas and finishes with each when it is told to."""

    def __init__(self) -> None:
        self.begun: list[Element] = []
        self.waiting: Deferred[None] | None = None

    async def __call__(self, element: Element) -> None:
        self.begun.append(element)
        self.waiting = Deferred()
        await self.waiting

    def finish(self) -> None:
        waiting, self.waiting = self.waiting, None
        assert waiting is not None
        waiting.callback(None)


def result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns without having to wait, or raises."""
    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    assert outcome, "it waits"
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def start(coroutine: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run a coroutine; the list gets its result or Failure when it has ended."""
    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    return outcome


class TLSClient:
    """The other end of a line, with or without TLS: says text, hears text."""

    def __init__(self, line: Line, context: SSL.Context, *, alpn: bytes | None = None) -> None:
        self.line = line
        self.layer: TLSLayer | None = None
        self._context = context
        self._alpn = alpn

    def hear(self) -> str:
        """What has come since the last time."""
        data, self.line.sent = self.line.sent, b""
        if self.layer is not None and data:
            data = self.layer.receive(data)
        return data.decode()

    def say(self, text: str | bytes) -> str:
        """Send, and hear what comes back."""
        data = text if isinstance(text, bytes) else text.encode()
        self.line.deliver(data if self.layer is None else self.layer.encrypt(data))
        return self.hear()

    def shake_hands(self) -> None:
        layer = TLSLayer(self._context, server=False, name="montague.example", alpn=self._alpn)
        out = layer.start()
        for _ in range(4):
            if out:
                self.line.deliver(out)
            answer, self.line.sent = self.line.sent, b""
            if answer:
                layer.receive(answer)
            out = layer.outgoing()
        assert layer.established
        self.layer = layer
