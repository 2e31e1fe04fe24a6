"""Which code answers a stanza: one table, one place that replies.

An ``Extension`` says what it speaks: routes and disco features. A route is found by the kind of addressee, the IQ
type and the payload's name, a dictionary look-up. A request's function returns the payload of the result, or raises
a ``Refusal``; ``Dispatch`` makes the reply. Anything else it raises is our bug: the peer gets
``internal-server-error`` with an incident number, the log gets the rest.

``request`` sends an IQ of our own and waits for its answer: random id, matched by id and sender, always a deadline.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Flag, auto

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from microblog.model.errors import Refusal, RemoteServerTimeout, ResourceConstraint, ServiceUnavailable
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.wire import stanza as stanzas
from microblog.wire.disco import Info, Item
from microblog.wire.errors import internal_error
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element

PENDING_MAX = 10_000

IqFunction = Callable[[Stanza], Awaitable[Element | None]]


class At(Flag):
    """Whom a request is addressed to.

    HOST: the node's own domain. ACCOUNT: a bare JID of this domain. REMOTE: anybody elsewhere, asked by somebody
    here; such a function answers in the other's name or raises ``PassOn`` to let the request go its way.
    """

    HOST = auto()
    ACCOUNT = auto()
    REMOTE = auto()


class PassOn(Exception):
    """Raised by a REMOTE function: not for us, route the request."""


@dataclass(frozen=True, slots=True)
class Route:
    """A request this server answers.

    ``waits``: for somebody elsewhere, perhaps; whatever else the asker sends is not to wait with it.
    """

    type: str
    uri: str
    name: str
    function: IqFunction
    at: At
    waits: bool = False

    @staticmethod
    def get(uri: str, name: str, function: IqFunction, *, at: At, waits: bool = False) -> "Route":
        """A route for iq get."""
        return Route("get", uri, name, function, at, waits)

    @staticmethod
    def set(uri: str, name: str, function: IqFunction, *, at: At, waits: bool = False) -> "Route":
        """A route for iq set."""
        return Route("set", uri, name, function, at, waits)


@dataclass(frozen=True, slots=True)
class MessageRoute:
    """Messages to our accounts with a child of that name; the function says whether it took the message.

    ``overlapping``: several that come from one domain may be under way at once. They are started in the order in which
    they came, and whatever else that domain sends waits until they are done.
    """

    uri: str
    name: str
    function: Callable[[Stanza], Awaitable[bool]]
    overlapping: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """A specification an extension implements, for docs/doap.xml."""

    xep: int
    version: str
    status: str = "complete"


class Extension:
    """What one extension adds: disco features of the node and of its accounts, and routes."""

    specs: tuple[Spec, ...] = ()
    features: tuple[str, ...] = ()
    account_features: tuple[str, ...] = ()

    def routes(self) -> Iterable[Route]:
        """The requests it answers."""
        return ()

    def messages(self) -> Iterable[MessageRoute]:
        """The messages to accounts here that it takes."""
        return ()

    def disco_forms(self) -> Iterable[Element]:
        """The forms that it adds to what this node says of itself (XEP-0128)."""
        return ()

    async def node_info(self, request: Stanza, node: str) -> Info | None:
        """What a disco node of its own is, at whom the request is addressed to; None if it has no such node."""
        return None

    async def node_items(self, request: Stanza, node: str) -> Sequence[Item] | None:
        """What a disco node of its own has; None if it has no such node."""
        return None

    def listed(self, request: Stanza) -> Sequence[Item]:
        """The nodes of its own that are listed at whom the request is addressed to."""
        return ()


class Dispatch:
    """The table of routes, and the IQs of our own that wait for an answer."""

    _log = Logger()

    def __init__(self, clock: Clock, iq_seconds: float) -> None:
        self._clock = clock
        self._iq_seconds = iq_seconds
        self._routes: dict[tuple[At, str, str, str], IqFunction] = {}
        self._waiting: set[tuple[At, str, str, str]] = set()
        self._messages: dict[tuple[str, str], MessageRoute] = {}
        self._pending: dict[str, tuple[JID, Deferred[Stanza]]] = {}

    def install(self, extensions: Iterable[Extension]) -> None:
        """Take the routes of the extensions. Raises ValueError if two claim the same request."""
        for extension in extensions:
            for route in extension.routes():
                for at in route.at:
                    key = (at, route.type, route.uri, route.name)
                    if key in self._routes:
                        raise ValueError(f"two routes for {key}")
                    self._routes[key] = route.function
                    if route.waits:
                        self._waiting.add(key)
            for message in extension.messages():
                if (message.uri, message.name) in self._messages:
                    raise ValueError(f"two routes for messages with {message.uri} {message.name}")
                self._messages[message.uri, message.name] = message

    async def message(self, message: Stanza) -> bool:
        """Offer a message to the extension that claims one of its children; True if it was taken."""
        route = self._claimed(message)
        return route is not None and await route.function(message)

    def overlaps(self, stanza: Stanza) -> bool:
        """True if the next stanza need not wait until this one is done."""
        route = self._claimed(stanza) if stanza.kind == "message" and stanza.type != "error" else None
        return route is not None and route.overlapping

    def _claimed(self, message: Stanza) -> MessageRoute | None:
        for child in message.element.elements():
            route = self._messages.get((child.uri, child.name))
            if route is not None:
                return route
        return None

    def find(self, request: Stanza, at: At) -> IqFunction | None:
        """The function that answers a request to that kind of addressee."""
        payload = request.payload
        return None if payload is None else self._routes.get((at, request.type, payload.uri, payload.name))

    def waits(self, request: Stanza, at: At) -> bool:
        """May it wait for somebody elsewhere?"""
        payload = request.payload
        return payload is not None and (at, request.type, payload.uri, payload.name) in self._waiting

    async def answer(self, request: Stanza, at: At) -> Stanza:
        """The reply to an IQ request."""
        function = self.find(request, at)
        return request.error(ServiceUnavailable()) if function is None else await self.reply(request, function)

    async def reply(self, request: Stanza, function: IqFunction) -> Stanza:
        """Run one function for a request and make the reply from what it returns or raises."""
        try:
            return request.result(await function(request))
        except Refusal as refusal:
            return request.error(refusal)
        except (PassOn, CancelledError):
            raise
        except Exception:
            return self.incident(request)

    def incident(self, stanza: Stanza) -> Stanza:
        """Called while handling an exception that is our bug: log it, and make the error that answers the stanza."""
        number = secrets.token_hex(4)
        self._log.failure(
            "incident {number}: a {kind} with {payload} from {sender} failed",
            number=number,
            kind=stanza.kind,
            payload=getattr(stanza.payload, "name", None),
            sender=stanza.from_,
        )
        return stanzas.build(stanza.kind, "error", stanza.to, stanza.from_, stanza.id, internal_error(number))

    async def request(
        self,
        send: Callable[[Stanza], None],
        type_: str,
        from_: JID,
        to: JID,
        payload: Element,
        *,
        seconds: float | None = None,
    ) -> Stanza:
        """Send an IQ of ours and wait for the answer, result or error; no longer than so many seconds.

        Raises RemoteServerTimeout, ResourceConstraint.
        """
        if len(self._pending) >= PENDING_MAX:
            raise ResourceConstraint("too many requests under way")
        id_ = secrets.token_urlsafe(12)
        waiting: Deferred[Stanza] = Deferred()
        self._pending[id_] = (to, waiting)
        seconds = self._iq_seconds if seconds is None else min(seconds, self._iq_seconds)
        timer = self._clock.later(seconds, waiting.errback, RemoteServerTimeout("no answer in time"))
        try:
            send(stanzas.iq(type_, from_, to, id_, payload))
            return await waiting
        finally:
            del self._pending[id_]
            if timer.active():
                timer.cancel()

    def response(self, answer: Stanza) -> bool:
        """Take an IQ result or error; False if nobody of ours waits for it from that sender."""
        pending = self._pending.get(answer.id or "")
        if pending is None or pending[0] != answer.from_ or pending[1].called:
            return False
        pending[1].callback(answer)
        return True
