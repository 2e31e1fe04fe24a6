"""`twistd microblog tap`: events from a node to a program behind a firewall, through a stream that goes outwards.

It runs where the program runs, logs in as an account, opens a durable subscription
(docs/protocol/events.md), and makes of each event one HTTP POST to a local address. What the program has taken (2xx)
is acknowledged, and never comes again; what it has not is tried again until it is, in order, and whatever
happens meanwhile waits at the node. Nothing is kept here: killed at any moment, it goes on where it was, and then an
event may come twice, with the same ``webhook-id``.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Final

from twisted.internet.defer import CancelledError, Deferred

from microblog.http import CallFailed
from microblog.model.jid import JID
from microblog.model.program import Source
from microblog.runtime import Clock, Tasks
from microblog.terminal import Failure
from microblog.wire import events, ns, tapped
from microblog.wire.stanza import ID_MAX_CHARACTERS
from microblog.wire.tapped import Told
from microblog.wire.xml import Element
from microblog.xmpp.c2s_open import LoginFailed
from microblog.xmpp.resolve import Unreachable
from microblog.xmpp.s2s import peer_error
from microblog.xmpp.stream import Stream, StreamClosed

ANSWER_SECONDS: Final = 30
PING_SECONDS: Final = 60
RECONNECT_MAX_SECONDS: Final = 120
RETRY_MAX_SECONDS: Final = 60
_ENDED: Final = {
    events.TAKEN: "Somebody else hears as {name} now.",
    events.DELETED: "The subscription {name} was deleted.",
}
_RANDOM: Final = SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What is asked of the node."""

    name: str
    sources: Sequence[Source]
    window: int
    start: bool = False  # of a new one: with all that the node still has


class Refused(Exception):
    """The node does not do what it was asked; the text says why."""


class Session:
    """One stream to the node, after the login."""

    def __init__(self, stream: Stream, jid: JID, clock: Clock, hear: Callable[[Element], None]) -> None:
        self.jid = jid
        self._stream = stream
        self._clock = clock
        self._hear = hear
        self._node = JID("", jid.domainpart)
        self._asked: dict[str, Deferred[Element]] = {}
        self._count = 0

    async def request(self, kind: str, payload: Element) -> Element:
        """Ask the node and wait for its result. Raises Refused, StreamClosed, TimeoutError."""
        self._count += 1
        id_ = f"t{self._count}"
        answer = self._asked[id_] = Deferred()
        attributes = {"type": kind, "id": id_, "to": str(self._node)}
        self._stream.send(Element(ns.CLIENT, "iq", attributes, payload))
        try:
            element = await self._clock.deadline(answer, ANSWER_SECONDS)
        finally:
            del self._asked[id_]
        if element.get("type") == "error":
            raise Refused(_why(element))
        return element

    async def serve(self) -> str:
        """Until the stream ends; the reason."""
        look = self._clock.every(PING_SECONDS, self._look_for_life)
        try:
            while True:
                element = await self._stream.read()
                if element.is_(ns.STREAM, "error"):
                    condition, text = peer_error(element)
                    return f"{condition}: {text}" if text else condition
                self._take(element)
        except StreamClosed as closed:
            return closed.reason
        finally:
            look.stop()
            self._stream.close()
            for answer in list(self._asked.values()):
                if not answer.called:
                    answer.errback(StreamClosed("the stream ended"))

    def _take(self, element: Element) -> None:
        from_ = element.get("from")
        if from_ is not None and from_ not in (str(self._node), str(self.jid.bare)):
            if element.name == "iq" and element.get("type") in ("get", "set"):
                self._answer(element)
            return  # from people: it is not for a program
        if element.name == "iq":
            if element.get("type") in ("get", "set"):
                self._answer(element)
                return
            answer = self._asked.get(element.get("id") or "")
            if answer is not None and not answer.called:
                answer.callback(element)
        elif element.name == "message" and from_ == str(self._node) and element.get("type") != "error":
            self._hear(element)

    def _answer(self, request: Element) -> None:
        attributes = {"id": (request.get("id") or "")[:ID_MAX_CHARACTERS]}
        if (from_ := request.get("from")) is not None:
            attributes["to"] = from_
        if request.find(ns.PING, "ping") is not None:
            self._stream.send(Element(ns.CLIENT, "iq", attributes | {"type": "result"}))
            return
        condition = Element(ns.STANZAS, "service-unavailable")
        error = Element(ns.CLIENT, "error", {"type": "cancel"}, condition)
        self._stream.send(Element(ns.CLIENT, "iq", attributes | {"type": "error"}, error))

    def _look_for_life(self) -> None:
        Deferred.fromCoroutine(self._ping())

    async def _ping(self) -> None:
        try:
            await self.request("get", Element(ns.PING, "ping"))
        except (Refused, StreamClosed, CancelledError):
            pass
        except TimeoutError:
            self._stream.abort("the node does not answer")

    def close(self) -> None:
        """Say good-bye."""
        self._stream.close()


class Courier:
    """Hands events to the program one by one, in order, until each is taken; ``taken`` is called with each that was."""

    def __init__(
        self,
        post: Callable[[Told], Awaitable[None]],
        taken: Callable[[Told], None],
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self._post = post
        self._taken = taken
        self._clock = clock
        self._say = say
        self._waiting: deque[Told] = deque()
        self._current: Told | None = None
        self._current_is_old = False  # told on a stream that is gone, and not again yet
        self._done: dict[str, str] = {}  # the cursors of what was taken and is not acknowledged yet, by id
        self._news: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, event: Told) -> None:
        """One more. One that was taken and could not be acknowledged is acknowledged; one under way is known."""
        if event.id in self._done:
            self._taken(event)
        elif self._current is not None and self._current.id == event.id:
            self._current_is_old = False
        else:
            self._waiting.append(event)
            news, self._news = self._news, None
            if news is not None and not news.called:
                news.callback(None)

    def acknowledged(self, cursor: str) -> None:
        """The node will not tell again what was taken up to there."""
        if cursor in self._done.values():
            for id_ in list(self._done):
                if self._done.pop(id_) == cursor:
                    break

    def clear(self) -> None:
        """The stream is gone: what waits comes again."""
        self._waiting.clear()
        self._current_is_old = True

    async def run(self) -> None:
        """For ever."""
        while True:
            while not self._waiting:
                self._news = Deferred()
                await self._news
            event = self._current = self._waiting.popleft()
            self._current_is_old = False
            await self._deliver(event)
            self._current = None
            self._done[event.id] = event.cursor
            if not self._current_is_old:
                self._taken(event)

    async def _deliver(self, event: Told) -> None:
        pause = 1.0
        failed = 0
        while True:
            try:
                await self._post(event)
            except CallFailed as failure:
                failed += 1
                if failed in (1, 2, 4) or failed % 10 == 0:
                    self._say(f"Event {event.id} is not taken ({failed} tries): {failure}; again in {pause:.0f} s")
                await self._clock.sleep(_about(pause))
                pause = min(2 * pause, RETRY_MAX_SECONDS)
            else:
                if failed:
                    self._say(f"Event {event.id} is taken, after {failed} tries in vain")
                return


class Tap:
    """``connect`` makes a logged-in stream; ``post`` hands an event to the program."""

    def __init__(
        self,
        subscription: Subscription,
        connect: Callable[[], Awaitable[tuple[Stream, JID]]],
        post: Callable[[Told], Awaitable[None]],
        clock: Clock,
        tasks: Tasks,
        say: Callable[[str], None],
    ) -> None:
        self._subscription = subscription
        self._connect = connect
        self._clock = clock
        self._tasks = tasks
        self._say = say
        self._courier = Courier(post, self._taken, clock, say)
        self._session: Session | None = None
        self._opened = False
        self._ended: str | None = None
        self._to_acknowledge: str | None = None
        self._acknowledging = False
        self.has_worked = False

    async def run(self) -> None:
        """Until nothing is left to do here. Raises Failure."""
        courier = self._tasks.spawn(self._courier.run(), "courier")
        courier.addCallback(lambda _: self._stuck())
        pause = 1.0
        try:
            while True:
                reason = await self._try()
                if self._opened:
                    pause = 1.0
                self._opened = False
                self._say(f"No stream: {reason}; again in {pause:.0f} s")
                await self._clock.sleep(_about(pause))
                pause = min(2 * pause, RECONNECT_MAX_SECONDS)
        finally:
            courier.cancel()
            if self._session is not None:
                self._session.close()

    def _stuck(self) -> None:
        """It runs for ever, unless we have made a mistake: then whoever started us should know, and start us again."""
        self._ended = self._ended or "An event could not be handed over: the log says why"
        self._close()

    async def _try(self) -> str:
        """One stream from its beginning to its end; why it ended. Raises Failure if trying again is of no use."""
        if self._ended is not None:
            raise Failure(self._ended)
        try:
            stream, jid = await self._connect()
        except (LoginFailed, Unreachable) as error:
            # What was good once may be so again; what never was is somebody's mistake.
            if error.permanent and not self.has_worked:
                raise Failure(f"The node cannot be used: {error.reason}") from error
            return error.reason
        session = self._session = Session(stream, jid, self._clock, self._hear)
        opening = self._tasks.spawn(self._open(session), "opening")
        try:
            reason = await session.serve()
        finally:
            opening.cancel()
            self._session = None
            self._courier.clear()
            self._to_acknowledge = None
        if self._ended is not None:
            raise Failure(self._ended)
        return reason

    async def _open(self, session: Session) -> None:
        subscription = self._subscription
        request = tapped.write_open(
            subscription.name, subscription.sources, subscription.window, start=subscription.start
        )
        try:
            await session.request("set", request)
        except Refused as error:
            if not self.has_worked:
                self._ended = f"The node refuses the subscription: {error}"
            else:
                self._say(f"The node refuses the subscription: {error}")
            session.close()
        except (StreamClosed, TimeoutError):
            session.close()
        except Exception:
            session.close()
            raise
        else:
            self._opened = self.has_worked = True
            self._say(f"{session.jid} hears as {subscription.name}")

    def _hear(self, message: Element) -> None:
        """The node says something on this stream."""
        try:
            heard = tapped.read_message(message)
        except ValueError as error:
            self._say(f"The node says what cannot be understood: {error}")
            self._close()
            return
        if heard is None or heard.name != self._subscription.name:
            return
        if heard.closed in tapped.FINAL:
            self._ended = _ENDED[heard.closed].format(name=heard.name)
        if heard.closed or len(self._courier) > 2 * self._subscription.window:
            # The node has lost count, or does not keep to the window: from the last acknowledgement, then.
            self._close()
            return
        for event in heard.events:
            self._courier.add(event)

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()

    def _taken(self, event: Told) -> None:
        self._to_acknowledge = event.cursor
        if not self._acknowledging:
            self._acknowledging = True
            self._tasks.spawn(self._acknowledge(), "acknowledging")

    async def _acknowledge(self) -> None:
        """What was taken up to now, in one; what is taken while the node answers, in the next."""
        try:
            while self._to_acknowledge is not None and self._session is not None:
                cursor, self._to_acknowledge = self._to_acknowledge, None
                await self._session.request("set", tapped.write_ack(self._subscription.name, cursor))
                self._courier.acknowledged(cursor)
        except (StreamClosed, TimeoutError):
            pass  # It comes again, and is acknowledged then.
        except Refused as error:
            self._say(f"The node does not take an acknowledgement: {error}")
            self._close()
        finally:
            self._acknowledging = False


def _about(seconds: float) -> float:
    """More or less: not everybody comes back at the same moment."""
    return seconds * _RANDOM.uniform(0.75, 1.25)


def _why(answer: Element) -> str:
    error = answer.find(ns.CLIENT, "error")
    if error is None:
        return "it does not say why"
    text = error.child_text(ns.STANZAS, "text")
    condition = next((child.name for child in error.elements() if child.uri == ns.STANZAS and child.name != "text"), "")
    return " ".join((text or condition or "it does not say why").split())[:300]
