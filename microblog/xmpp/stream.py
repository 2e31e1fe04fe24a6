"""RFC 6120 §4: XML streams.

A stream is read one event after the other with ``read``: linear code negotiates. When negotiation is over either the
same code goes on reading, or ``on_stanza`` is set and called for each stanza, one at a time and in order. What
arrives faster than it is worked off waits here, and when much waits the peer is not read from.

A stream error is said once and is the last word: nothing that came with it or after it is handed on. When the peer
closes its stream, ours is closed too. Restarting a stream (§4.3.3) forgets everything of the old one; if bytes of the
old one have come already, as when somebody slips commands in behind ``<starttls/>``, the connection ends.
"""

import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall

from microblog.config import Limits
from microblog.runtime import Clock
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element
from microblog.xmpp import framing
from microblog.xmpp.framing import Header as Header
from microblog.xmpp.parser import Parser
from microblog.xmpp.transport import LINGER_SECONDS, Connection, ConnectionGone, Hold

WAITING_MAX: Final = 32
_SLICE_BYTES: Final = 8192

OnStanza = Callable[[Element], Awaitable[None] | None]


class StreamClosed(Exception):
    """The stream has ended; ``reason`` says how."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _End:
    """What stands in the queue after the last element."""

    def __init__(self, reason: str, *, by_peer: bool) -> None:
        self.reason = reason
        self.by_peer = by_peer


class Stream(Connection):
    """One stream of either role and either content namespace.

    ``name``: our domain, for the header that has to precede an error. ``on_closed``: called once, with the reason.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        limits: Limits,
        content: str,
        stanza_max_bytes: int,
        initiating: bool,
        name: str | None = None,
    ) -> None:
        rate = limits.c2s_read_bytes_per_second if content == ns.CLIENT else limits.s2s_read_bytes_per_second
        super().__init__(clock=clock, limits=limits, bytes_per_second=limits.rate(rate))
        self.content = content
        self.initiating = initiating
        self.name = name
        self.id: str | None = None
        self.opened: Header | None = None
        self.on_connected: Callable[[], None] | None = None
        self.on_closed: list[Callable[[str], None]] = []
        self._stanza_max_bytes = stanza_max_bytes
        self._authenticated = False
        self._elements = 0
        self._parser = self._new_parser()
        self._waiting: deque[Header | Element | StreamError | _End] = deque()
        self._unparsed = b""
        self._reader: Deferred[None] | None = None
        self._on_stanza: OnStanza | None = None
        self._header_sent = False
        self._footer_sent = False
        self._concluded: str | None = None
        self._deadline_call: IDelayedCall | None = None

    def __repr__(self) -> str:
        kind = "c2s" if self.content == ns.CLIENT else "s2s"
        return f"<{kind} {'to' if self.initiating else 'from'} {self.peer} {self.id or '-'}>"

    # reading

    async def read_header(self) -> Header:
        """Wait for the peer's stream header. Raises StreamError, StreamClosed."""
        event = await self._next()
        if not isinstance(event, Header):
            raise StreamError("not-well-formed")
        return event

    async def read(self) -> Element:
        """Wait for the next first-level element. Raises StreamError, StreamClosed."""
        event = await self._next()
        if not isinstance(event, Element):
            raise StreamError("bad-format", "a stream header where an element was expected")
        return event

    async def _next(self) -> Header | Element:
        waiting = self._waiting
        if not waiting:
            if self._concluded is not None:
                raise StreamClosed(self._concluded)
            reader = self._reader = Deferred()
            try:
                await reader
            finally:
                self._reader = None
        if not waiting:
            raise StreamClosed(self._concluded or "closed")
        event = waiting.popleft()
        if self._holds & Hold.WORK and len(waiting) <= WAITING_MAX // 2:
            self._read_on()
        if isinstance(event, _End):
            self._ended(event)
            raise StreamClosed(event.reason)
        if isinstance(event, StreamError):
            raise event
        return event

    @property
    def on_stanza(self) -> OnStanza | None:
        """Called with each stanza from now on; the next one comes when what it returned is done."""
        return self._on_stanza

    @on_stanza.setter
    def on_stanza(self, function: OnStanza) -> None:
        first = self._on_stanza is None
        self._on_stanza = function
        if first:
            Deferred.fromCoroutine(self._lane())

    async def _lane(self) -> None:
        try:
            while True:
                element = await self.read()
                assert self._on_stanza is not None
                doing = self._on_stanza(element)
                if doing is not None:
                    await doing
        except StreamClosed:
            pass
        except StreamError as error:
            self.fail(error)
        except CancelledError:
            self.fail(StreamError("system-shutdown"))
        except Exception:
            self.log.failure("{log_source}: a stanza could not be handled")
            self.fail(StreamError("internal-server-error"))

    def received(self, data: bytes) -> None:
        """Plain bytes have come."""
        if self._unparsed:
            self._unparsed += data
            return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        try:
            while len(data) > _SLICE_BYTES:
                parser.feed(data[:_SLICE_BYTES])
                data = data[_SLICE_BYTES:]
                if len(self._waiting) > WAITING_MAX:
                    self._unparsed = data
                    break
            else:
                parser.feed(data)
        except StreamError as error:
            self._waiting.append(error)
        if len(self._waiting) > WAITING_MAX:
            self.hold(Hold.WORK)
        if self._waiting and self._reader is not None and not self._reader.called:
            self._reader.callback(None)

    def _read_on(self) -> None:
        data, self._unparsed = self._unparsed, b""
        if data:
            self._parse(data)
        if len(self._waiting) <= WAITING_MAX:
            self.release(Hold.WORK)

    def _new_parser(self) -> Parser:
        return Parser(
            framing.xml_limits(self.limits, self._stanza_max_bytes if self._authenticated else None),
            self._on_header,
            self._on_element,
            self._on_end,
        )

    def _on_header(self, element: Element) -> None:
        header = framing.read_header(element, self._parser.namespaces, self.content)
        self.opened = header
        if self.initiating:
            self.id = header.id
        self._waiting.append(header)

    def _on_element(self, element: Element) -> None:
        if element.uri == ns.STREAM and element.name == "stream":
            raise StreamError("bad-format", "a second stream header")
        if not self._authenticated:
            self._elements += 1
            if self._elements > self.limits.preauth_max_elements:
                raise StreamError("policy-violation", "too many elements before authentication")
        self._waiting.append(element)

    def _on_end(self) -> None:
        self._waiting.append(_End("the peer closed the stream", by_peer=True))

    def authenticated(self) -> None:
        """The peer has proved who it is: the limits of stanzas hold now, and no deadline."""
        self._authenticated = True
        self._parser.limits = framing.xml_limits(self.limits, self._stanza_max_bytes)
        self.deadline(None)

    def restart(self) -> None:
        """Expect a new stream on the same connection. Raises StreamClosed if more of the old one has come."""
        if self._waiting or self._unparsed or not self._parser.idle:
            self._conclude("bytes of the old stream after its end")
            self.finish("bytes of the old stream after its end")
            raise StreamClosed("bytes of the old stream after its end")
        self._parser = self._new_parser()
        self._header_sent = False
        self.opened = None

    async def start_tls(
        self, context: SSL.Context, *, server: bool, name: str | None = None, alpn: bytes | None = None
    ) -> None:
        """Put TLS under the stream and expect a new one; ``alpn`` for direct TLS. Raises StreamClosed."""
        self.restart()
        try:
            await self.shake_hands(context, server=server, name=name, alpn=alpn)
        except ConnectionGone as gone:
            self._conclude(str(gone))
            raise StreamClosed(str(gone)) from None

    # writing

    def send_header(
        self, *, to: str | None, from_: str | None, id: str | None = None, features: Element | None = None
    ) -> None:
        """Open our side. A receiving stream gets an id that nobody can guess, unless one is given.

        ``features`` go out with the header, in one packet.
        """
        if not self.initiating:
            id = self.id = id or secrets.token_urlsafe(18)
        self._header_sent = True
        header = framing.header(self.content, id=id, from_=from_, to=to)
        self.write(header if features is None else header + framing.serialized(features))

    def send(self, element: Element) -> None:
        """Send an element; one in the house's content namespace takes the stream's."""
        self.write(framing.serialized(element))

    def deadline(self, seconds: float | None, condition: str = "connection-timeout") -> None:
        """Fail the stream at a fixed time from now; replaces the one before. None: no deadline."""
        call, self._deadline_call = self._deadline_call, None
        if call is not None and call.active():
            call.cancel()
        if seconds is not None and self._concluded is None:
            self._deadline_call = self.clock.later(seconds, self._too_late, condition)

    def _too_late(self, condition: str) -> None:
        self._deadline_call = None
        self.fail(StreamError(condition))

    # the end

    @property
    def closed(self) -> bool:
        """True when nothing can be sent any more."""
        return self._concluded is not None or self._footer_sent

    @property
    def is_behind(self) -> bool:
        """True if something has come, or may have, that was not worked off yet."""
        return bool(self._waiting) or self._holds is not Hold.NOTHING

    def fail(self, error: StreamError) -> None:
        """End the stream with an error; nothing that has come and waits is handed on."""
        if self._concluded is not None:
            return
        self.log.debug("{log_source}: {condition} {text}", condition=error.condition, text=error.text)
        self._waiting.clear()
        self._unparsed = b""
        if self._handshaken is None and not self._footer_sent:
            if not self._header_sent:
                self.send_header(to=None, from_=self.name)
            self.write(framing.stream_error(error))
            self._send_footer()
        self._conclude(f"stream error {error.condition}")
        self.finish(error.condition)

    def close(self) -> None:
        """Close our side; what the peer sends until it closes its own is still handed on."""
        if self._concluded is not None or self._footer_sent:
            return
        if self._header_sent and self._handshaken is None:
            self._send_footer()
            self.deadline(None)
            self._deadline_call = self.clock.later(LINGER_SECONDS, self._close_unanswered)
        else:
            self._close_unanswered()

    def _close_unanswered(self) -> None:
        self._conclude("closed")
        self.finish("closed")

    def _send_footer(self) -> None:
        self.write(framing.FOOTER)
        self._footer_sent = True
        self._writable = False

    def _ended(self, end: _End) -> None:
        """The last event was reached."""
        if end.by_peer and not self._footer_sent:
            if not self._header_sent:
                self.send_header(to=None, from_=self.name)
            self._send_footer()
        self._conclude(end.reason)
        self.finish(end.reason)

    def made(self) -> None:
        """The connection is made."""
        if self.on_connected is not None:
            self.on_connected()

    def finish(self, reason: str) -> None:
        """Send what waits, and close the connection and with it the stream."""
        super().finish(reason)
        # The stream cannot go on without its connection, whoever closed that.
        if self._concluded is None:
            self._connection_ended(reason)

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        if self._concluded is None:
            self._connection_ended(reason)

    def _connection_ended(self, reason: str) -> None:
        self._unparsed = b""
        if self._waiting:
            # What came whole is still worked off, if somebody does.
            self._waiting.append(_End(reason, by_peer=False))
            self.deadline(None)
            self._deadline_call = self.clock.later(LINGER_SECONDS, self._conclude, reason)
        else:
            self._conclude(reason)

    def _conclude(self, reason: str) -> None:
        if self._concluded is not None:
            return
        self._concluded = reason
        self.deadline(None)
        self._waiting.clear()
        callbacks, self.on_closed = self.on_closed, []
        for callback in callbacks:
            callback(reason)
        reader = self._reader
        if reader is not None and not reader.called:
            reader.callback(None)
