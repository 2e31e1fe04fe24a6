"""What stands between each pair of servers, and does to their streams what networks do.

A `Link` listens where a server was told that another one is, and forwards. It sees TCP and not TLS, so it cannot forge
or copy what is said; what can be done to a stream is done:

- `OPEN`      as if it were not there
- `REFUSED`   connections are reset, those that stand and each new one
- `DELAYED`   each piece arrives later, in order
- `TRICKLE`   pieces of a few bytes, in order
- `HELD`      accepted and acknowledged, and arrives when the link is healed (a long delay)
- `VANISHED`  accepted and acknowledged, and lost: the connection is reset when the link is healed (a black hole)
- `MUTE`      what the caller says arrives, what is answered vanishes: delivered and never acknowledged, so that it is
              sent again (half-open)
- `DEAF`      the other way round: the caller's words vanish, what is answered arrives
- `TRUNCATED` so many bytes more, then reset, in the middle of whatever it is; new connections the same

The reactor runs in a thread of its own, `Proxies`; its methods may be called from any other one.
"""

import enum
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import blockingCallFromThread

reactor: Any = the_reactor
HOLD_MAX_BYTES = 1_000_000
TRICKLE_BYTES, TRICKLE_SECONDS = 300, 0.02


class Mode(enum.Enum):
    """What a link does to what passes."""

    OPEN = "open"
    REFUSED = "refused"
    DELAYED = "delayed"
    TRICKLE = "trickle"
    HELD = "held"
    VANISHED = "vanished"
    MUTE = "mute"
    DEAF = "deaf"
    TRUNCATED = "truncated"


# What leaves a connection that can never be right again.
DEADLY = frozenset((Mode.VANISHED, Mode.MUTE, Mode.DEAF, Mode.TRUNCATED, Mode.REFUSED))


@dataclass(slots=True)
class Traffic:
    """What a link has seen."""

    connections: int = 0
    resets: int = 0
    carried: int = 0
    lost: int = 0


class _End(Protocol):
    """One of the two connections of a pair; `answering`: the one to the server that was called."""

    def __init__(self, link: "Link", answering: bool) -> None:
        self.link, self.answering = link, answering
        self.other: _End | None = None
        self.waiting = bytearray()  # what came from the other end and is not written yet
        self.timer: Any = None
        self.ended = False  # the other end has closed; so will this one, when all is written
        self.up = False
        self.early = b""  # what the caller says before the other side has been reached

    def connectionMade(self) -> None:
        self.up = True
        self.transport.setTcpNoDelay(True)
        if self.answering:
            self.flush()
        else:
            self.link.called(self)

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None:
            self.other.take(data)
        elif self.link.mode is Mode.VANISHED or len(self.early) > HOLD_MAX_BYTES:
            self.link.traffic.lost += len(data)
        else:
            self.early += data

    def connectionLost(self, reason: object = None) -> None:
        self.up = False
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.link.ends.discard(self)
        if self.other is not None:
            self.other.ended = True
            self.other.flush()

    def take(self, data: bytes) -> None:
        """Something for this end."""
        mode = self.link.mode
        # To the one who was called go the caller's words.
        if (
            mode is Mode.VANISHED
            or (mode is Mode.MUTE and not self.answering)
            or (mode is Mode.DEAF and self.answering)
        ):
            self.link.traffic.lost += len(data)
            return
        if len(self.waiting) > HOLD_MAX_BYTES:
            self.abort()
            return
        self.waiting += data
        self.flush()

    def flush(self) -> None:
        """Write what may be written now."""
        if not self.up:
            return
        mode = self.link.mode
        if mode is Mode.HELD or (self.timer is not None and self.timer.active()):
            return
        if mode is Mode.DELAYED:
            self.timer = reactor.callLater(self.link.seconds, self._write, len(self.waiting))
        elif mode is Mode.TRICKLE and self.waiting:
            self.timer = reactor.callLater(TRICKLE_SECONDS, self._write, TRICKLE_BYTES)
        else:
            self._write(len(self.waiting))

    def _write(self, count: int) -> None:
        self.timer = None
        data = bytes(self.waiting[:count])
        del self.waiting[:count]
        if self.link.mode is Mode.TRUNCATED:
            allowed = self.link.allowance
            self.link.allowance -= len(data)
            if len(data) > allowed:
                self.transport.write(data[: max(0, allowed)])
                self.abort()
                return
        if data:
            self.link.traffic.carried += len(data)
            self.transport.write(data)
        if self.waiting:
            self.flush()
        elif self.ended:
            self.transport.loseConnection()

    def abort(self) -> None:
        """Reset the pair, a moment later, so that what was written has a chance to arrive."""
        self.link.traffic.resets += 1
        for end in (self, self.other):
            if end is not None and end.up:
                reactor.callLater(0, end.transport.abortConnection)


class Link(Factory):
    """The way of one server to another."""

    noisy = False

    def __init__(self, source: str, target: str, address: str, port: int, to: tuple[str, int]) -> None:
        self.source, self.target, self.address, self.port, self.to = source, target, address, port, to
        self.mode = Mode.OPEN
        self.seconds = 0.0
        self.allowance = 0
        self.traffic = Traffic()
        self.ends: set[_End] = set()

    def buildProtocol(self, addr: object) -> _End:
        end = _End(self, answering=False)
        self.ends.add(end)
        return end

    def called(self, end: _End) -> None:
        """A connection came: call the other side."""
        self.traffic.connections += 1
        if self.mode is Mode.REFUSED:
            end.transport.abortConnection()
            return
        if self.mode is Mode.VANISHED:  # answered by a kernel, as far as the caller can see
            return
        answering = _End(self, answering=True)

        def connected(_: object) -> None:
            answering.other, end.other = end, answering
            if not end.up:
                answering.transport.loseConnection()
                return
            self.ends.add(answering)
            early, end.early = end.early, b""
            if early:
                answering.take(early)

        calling = connectProtocol(TCP4ClientEndpoint(reactor, *self.to, timeout=5), answering)
        calling.addCallbacks(connected, lambda _: end.up and end.transport.abortConnection())

    def set(self, mode: Mode, seconds: float = 0.0, allowance: int = 0) -> None:
        """From now on it is so."""
        before, self.mode = self.mode, mode
        self.seconds, self.allowance = seconds, allowance
        for end in list(self.ends):
            # What has lost bytes is not to go on as if nothing had been.
            if (mode is not before and before in DEADLY) or mode is Mode.REFUSED:
                end.abort()
            else:
                end.flush()

    def reset(self) -> None:
        """End every connection now, in the middle of it."""
        for end in list(self.ends):
            end.abort()


class Proxies:
    """All links, and the thread in which they live."""

    def __init__(self) -> None:
        self.links: dict[tuple[str, str], Link] = {}
        self._ports: list[Any] = []
        self._thread = threading.Thread(target=self._run, name="proxies", daemon=True)

    def _run(self) -> None:
        reactor.run(installSignalHandlers=False)

    def start(self) -> None:
        """Listen."""
        self._thread.start()

        def listen() -> None:
            for link in self.links.values():
                self._ports.append(reactor.listenTCP(link.port, link, interface=link.address))

        self._call(listen)

    def stop(self) -> None:
        """The end."""
        if self._thread.is_alive():
            reactor.callFromThread(reactor.stop)
            self._thread.join(5)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return blockingCallFromThread(reactor, function, *arguments)

    def set(self, source: str, target: str, mode: Mode, seconds: float = 0.0, allowance: int = 0) -> None:
        """Change one link."""
        self._call(self.links[source, target].set, mode, seconds, allowance)

    def reset(self, source: str, target: str) -> None:
        """End its connections."""
        self._call(self.links[source, target].reset)

    def heal(self) -> None:
        """All links as if they were not there."""
        for source, target in self.links:
            self.set(source, target, Mode.OPEN)


def draw(chance: random.Random) -> tuple[Mode, float, int]:
    """A fault: its mode, the delay, the bytes that still pass."""
    modes = [mode for mode in Mode if mode is not Mode.OPEN]
    return chance.choice(modes), chance.choice((0.05, 0.3, 1.0, 3.0)), chance.choice((0, 100, 1000, 5000, 20_000))
