"""XEP-0198 on streams between servers: how far the other side has come, counted in stanzas, both ways.

What comes: ``<r/>`` is answered when every stanza before it has been handled to its end, so that what it stored is
committed. Reading goes on meanwhile, and questions that come before the answer to an earlier one share the next.

What goes: the other side is asked now and then, and ``confirm`` returns when it has handled all that was written so
far. No more than a window of stanzas is on its way unconfirmed. Who does not say a word for too long loses the stream,
as does who counts what cannot be; stanzas of people that nobody confirmed then go back to their senders, and what the
outbox sent is sent again.

Streams are not resumed: after a new stream the outbox knows better than a counter what is still owed.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.s2s import Federation
from microblog.xmpp.stream import Stream, StreamClosed

ASK_STANZAS: Final = 10
ASK_BYTES: Final = 65_536  # so that a slow reader of large stanzas has something to say in time
ASK_SECONDS: Final = 5
WINDOW_STANZAS: Final = 200
ANSWER_SECONDS: Final = 30
# So many times the answer may be late because it waits in what we ourselves have not read yet.
_GRACES_MAX: Final = 10
_MODULUS: Final = 2**32
_ASK: Final = f"<r xmlns='{ns.STREAM_MANAGEMENT}'/>".encode()

FEATURE: Final = Element(ns.STREAM_MANAGEMENT, "sm")
ENABLE: Final = Element(ns.STREAM_MANAGEMENT, "enable")
ENABLED: Final = Element(ns.STREAM_MANAGEMENT, "enabled")


def failed(condition: str) -> Element:
    """The answer to ``<enable/>`` or ``<resume/>`` that cannot be (§6)."""
    return Element(ns.STREAM_MANAGEMENT, "failed", None, Element(ns.STANZAS, condition))


class Acknowledging:
    """The counters of one stream. ``settled`` returns when all that has come so far is handled to its end.

    ``received`` is counted by whoever takes the stanzas; ``bounce`` gets each stanza of people that was not confirmed.
    """

    def __init__(
        self,
        stream: Stream,
        federation: Federation,
        settled: Callable[[], Awaitable[None]],
        bounce: Callable[[Stanza], None],
    ) -> None:
        self.enabled = False
        self.received = 0
        self.sent = 0
        self.confirmed = 0
        self._stream = stream
        self._clock = federation.clock
        self._tasks = federation.tasks
        self._settled = settled
        self._bounce = bounce
        # what comes
        self._answering = False
        self._asked_again = False
        self._told = 0
        # what goes
        self._unasked = self._unasked_bytes = 0
        self._ask_call: IDelayedCall | None = None
        self._answer_call: IDelayedCall | None = None
        self._graces = 0
        self._kept: deque[tuple[int, Stanza]] = deque()
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()
        self._room: list[Deferred[None]] = []

    def start(self) -> None:
        """Count from here, both ways (§3)."""
        self.enabled = True
        self.received = self.sent = self.confirmed = self._told = 0
        self._stream.on_closed.append(self._ended)

    def take(self, element: Element) -> None:
        """An element of this extension that means something at any time. Raises StreamError."""
        if not self.enabled or element.name not in ("r", "a"):
            raise StreamError("unsupported-stanza-type")
        if element.name == "r":
            self._asked()
        else:
            self._answered(element)

    # what comes

    def _asked(self) -> None:
        if self._answering:
            self._asked_again = True
        else:
            self._answering = True
            self._tasks.spawn(self._answer(), "acknowledgement")

    async def _answer(self) -> None:
        try:
            while True:
                self._asked_again = False
                received = self.received
                await self._settled()
                self._tell(received)
                if not self._asked_again:
                    return
        finally:
            self._answering = False

    def _tell(self, received: int) -> None:
        self._told = received
        self._stream.write(f"<a xmlns='{ns.STREAM_MANAGEMENT}' h='{received % _MODULUS}'/>".encode())

    def tell(self) -> None:
        """Say how far we have come without being asked: the stream is about to end."""
        if self.enabled and self.received != self._told:
            self._asked()

    def close(self) -> None:
        """Close the stream; the last thing said on it is how far we have come."""
        if self.enabled and self.received != self._told and not self._stream.closed:
            self._tasks.spawn(self._conclude(), "last acknowledgement")
        else:
            self._stream.close()

    async def _conclude(self) -> None:
        received = self.received
        await self._settled()
        self._tell(received)
        self._stream.close()

    # what goes

    def write(self, data: bytes, stanza: Stanza | None = None) -> None:
        """Send a stanza; ``stanza`` is given if it is to go back to its sender when nobody confirms it."""
        if self.enabled:
            self.sent += 1
            self._unasked += 1
            self._unasked_bytes += len(data)
            if stanza is not None:
                self._kept.append((self.sent, stanza))
            if self._unasked >= ASK_STANZAS or self._unasked_bytes >= ASK_BYTES:
                self._asks()
                data += _ASK
            elif self._ask_call is None:
                self._ask_call = self._clock.later(ASK_SECONDS, self._ask_late)
        self._stream.write(data)

    @property
    def is_full(self) -> bool:
        """True if nothing more may be sent until something is confirmed."""
        return self.enabled and self.sent - self.confirmed >= WINDOW_STANZAS

    async def room(self) -> None:
        """Return when there is room for another stanza. Raises StreamClosed."""
        while self.is_full:
            self._ask()
            await self._wait(self._room.append)

    async def confirm(self) -> None:
        """Return when all that was written so far is handled. Raises StreamClosed."""
        if self.confirmed != self.sent:
            self._ask()
            position = self.sent
            await self._wait(lambda waiting: self._waiting.append((position, waiting)))

    async def _wait(self, enter: Callable[[Deferred[None]], None]) -> None:
        if self._stream.closed:
            raise StreamClosed("closed")
        waiting: Deferred[None] = Deferred(lambda it: None)
        enter(waiting)
        await waiting

    def forget(self) -> None:
        """Give nothing back: the node stops."""
        self._kept.clear()

    def _ask(self) -> None:
        if self._unasked:
            self._asks()
            self._stream.write(_ASK)

    def _ask_late(self) -> None:
        self._ask_call = None
        self._ask()

    def _asks(self) -> None:
        self._unasked = self._unasked_bytes = 0
        if self._answer_call is None:
            self._answer_call = self._clock.later(ANSWER_SECONDS, self._late)

    def _late(self) -> None:
        self._answer_call = None
        if self._stream.is_behind and self._graces < _GRACES_MAX:
            self._graces += 1
            self._answer_call = self._clock.later(ANSWER_SECONDS, self._late)
        else:
            self._stream.fail(StreamError("connection-timeout", "stanzas were not acknowledged"))

    def _answered(self, element: Element) -> None:
        text = element.get("h") or ""
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < _MODULUS):
            raise StreamError("bad-format", "an acknowledgement without a count")
        h = int(text)
        progress = (h - self.confirmed) % _MODULUS
        if progress > self.sent - self.confirmed:
            self._refuse(h)
        if not progress:
            return
        self.confirmed += progress
        self._graces = 0
        call = self._answer_call
        if call is not None:
            if self.sent - self.confirmed > self._unasked:
                call.reset(ANSWER_SECONDS)
            else:
                call.cancel()
                self._answer_call = None
        kept, waiting = self._kept, self._waiting
        while kept and kept[0][0] <= self.confirmed:
            kept.popleft()
        while waiting and waiting[0][0] <= self.confirmed:
            _wake(waiting.popleft()[1])
        if self._room:
            room, self._room = self._room, []
            for one in room:
                _wake(one)

    def _refuse(self, h: int) -> None:
        """§4: a count of what was never sent, or less than before."""
        if (self.confirmed - h) % _MODULUS < _MODULUS // 2:
            raise StreamError("undefined-condition", f"{h} stanzas handled, after {self.confirmed % _MODULUS}")
        sent = str(self.sent % _MODULUS)
        condition = Element(ns.STREAM_MANAGEMENT, "handled-count-too-high", {"h": str(h), "send-count": sent})
        raise StreamError("undefined-condition", f"{h} stanzas handled of {sent}", condition)

    def _ended(self, reason: str) -> None:
        for call in (self._ask_call, self._answer_call):
            if call is not None and call.active():
                call.cancel()
        self._ask_call = self._answer_call = None
        waiting = [*(one for _, one in self._waiting), *self._room]
        self._waiting.clear()
        self._room.clear()
        for one in waiting:
            if not one.called:
                one.errback(StreamClosed(reason))
        kept, self._kept = self._kept, deque()
        for _, stanza in kept:
            self._bounce(stanza)


def _wake(waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)
