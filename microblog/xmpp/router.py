"""RFC 6120 §10, RFC 6121 §8: where a stanza goes.

Streams hand in elements; here they get their verified addresses and become stanzas. A stanza for another domain
goes to ``servers``; one for this domain goes to a session, or by its kind to presence, messages or the table of
routes. A malformed stanza is answered with the error its specification names and harms nothing else; an error is
never answered.

``presence``, ``messages`` and ``servers`` are set once by the composition root: they need the router themselves.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred

from microblog.model.errors import Blocking, JIDMalformed, Refusal, ServiceUnavailable
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Tasks
from microblog.wire import stanza as stanzas
from microblog.wire.errors import StreamError, error_element
from microblog.wire.stamps import without_false_stamps
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.dispatch import At, Dispatch, IqFunction, PassOn
from microblog.xmpp.sessions import Session, Sessions

OVERLAP_MAX = 200
# The node's own addresses: the domain, and one for clients that cannot write to a domain.
NODE_LOCALPARTS = frozenset(("", "post"))


class PresenceRules(Protocol):
    """RFC 6121 §3 and §4, as the router needs them."""

    def broadcast(self, session: Session, stanza: Stanza) -> Awaitable[None]:
        """Presence without an addressee, from a session of ours."""

    def directed(self, session: Session, stanza: Stanza) -> Awaitable[None]:
        """Presence with an addressee, from a session of ours."""

    def inbound(self, stanza: Stanza) -> Awaitable[None]:
        """Presence addressed to this domain."""

    def gone(self, session: Session) -> Awaitable[None]:
        """A session's stream has ended."""


class MessageRules(Protocol):
    """RFC 6121 §8.5, as the router needs it."""

    def inbound(self, stanza: Stanza) -> Awaitable[None]:
        """A message addressed to this domain."""


class RemoteServers(Protocol):
    """What carries stanzas to other domains."""

    def send(self, stanza: Stanza, minimum_proof: Proof = Proof.DIALBACK) -> None:
        """Send a stanza, or bounce it later; drop it if the domain has proved too little."""


class Router:
    """The meeting point of all streams of this node."""

    presence: PresenceRules
    messages: MessageRules
    servers: RemoteServers

    def __init__(self, domain: str, sessions: Sessions, dispatch: Dispatch, tasks: Tasks) -> None:
        self.domain = domain
        self.host = JID("", domain)
        self.sessions = sessions
        self.dispatch = dispatch
        self._tasks = tasks
        self._under_way: dict[str, deque[Deferred[None]]] = {}
        self._held: dict[str, set[Deferred[None]]] = {}
        # Has an account here blocked an address (XEP-0191)?
        self.blocks: Callable[[JID, JID], bool] = lambda account, other: False
        # They hear what is answered to requests that the outbox made.
        self.answer_listeners: list[Callable[[Stanza], None]] = []

    def is_node(self, jid: JID) -> bool:
        """Is it an address of the node itself?"""
        return jid.domainpart == self.domain and jid.localpart in NODE_LOCALPARTS and jid.is_bare

    # from streams

    async def from_client(self, session: Session, element: Element) -> None:
        """Take a stanza from one of our clients. Raises StreamError for a false ``from`` (RFC 6120 §8.1.2.1)."""
        self._check_sender(session, element.get("from"))
        to_text = element.get("to")
        try:
            to = session.jid.bare if to_text is None else JID.parse(to_text)
            stanza = stanzas.read(element, from_=session.jid, to=to)
        except Refusal as refusal:
            self._answer_malformed(element, refusal, session)
            return
        if to_text is not None and self.blocks(session.jid.bare, to):
            self.bounce(stanza, Blocking("you have blocked this address"))
            return
        if stanza.kind != "iq":
            stanza = without_false_stamps(stanza, self.domain)
        if stanza.kind != "presence":
            await self._guarded(stanza, self.route(stanza))
        elif to_text is None:
            await self._guarded(stanza, self.presence.broadcast(session, stanza))
        else:
            await self._guarded(stanza, self.presence.directed(session, stanza))

    async def from_server(self, element: Element, from_: JID, to: JID, proof: Proof) -> None:
        """Take a stanza from a stream that may speak for ``from_``'s domain to ours."""
        try:
            stanza = stanzas.read(element, from_=from_, to=to, proof=proof)
        except Refusal as refusal:
            if element.get("type") not in ("error", "result"):
                self.send(self._malformed(element, refusal, by=to, to=from_))
            return
        if self.dispatch.overlaps(stanza):
            await self._overlap(stanza)
        else:
            await self._settled(from_.domainpart)
            await self._guarded(stanza, self.route(stanza))

    async def _overlap(self, stanza: Stanza) -> None:
        """Start on a stanza whose work may go on while the stream is read: so many are committed together."""
        domain = stanza.from_.domainpart
        await self._settled(domain, OVERLAP_MAX - 1)
        task = self._tasks.spawn(self._guarded(stanza, self.route(stanza)), "overlapping")
        if task.called:
            return
        under_way = self._under_way.setdefault(domain, deque())
        under_way.append(task)

        def done(result: None) -> None:
            under_way.remove(task)
            if not under_way:
                self._under_way.pop(domain, None)

        task.addCallback(done)

    async def _settled(self, domain: str, at_most: int = 0) -> None:
        """Wait until no more than so many stanzas of a domain are under way."""
        while len(under_way := self._under_way.get(domain) or deque()) > at_most:
            # Not the task itself: whoever stops waiting for it must not stop it.
            waiting: Deferred[None] = Deferred(lambda it: None)
            under_way[0].addCallback(_wake, waiting)
            await waiting

    def hold(self, domain: str) -> Deferred[None]:
        """Something that a domain has sent is done later. Until the answer is called back, ``settled`` waits for it.

        What else the domain sends does not wait.
        """
        held: Deferred[None] = Deferred()
        holds = self._held.setdefault(domain, set())
        holds.add(held)

        def done(result: None) -> None:
            holds.discard(held)
            if not holds and self._held.get(domain) is holds:
                del self._held[domain]

        held.addCallback(done)
        return held

    async def settled(self, domain: str) -> None:
        """Return when all that a domain has sent so far is done."""
        for task in (*self._held.get(domain, ()), *reversed(self._under_way.get(domain, ()))):
            if not task.called:
                waiting: Deferred[None] = Deferred(lambda it: None)
                task.addCallback(_wake, waiting)
                await waiting

    async def _guarded(self, stanza: Stanza, handling: Awaitable[None]) -> None:
        """A stanza that meets a refusal, or a bug of ours, is answered; the stream and all others go on."""
        try:
            await handling
        except (StreamError, CancelledError):
            raise
        except Refusal as refusal:
            self.bounce(stanza, refusal)
        except Exception:
            incident = self.dispatch.incident(stanza)
            if stanza.type != "error" and not stanza.is_response:
                self.send(incident)

    async def session_ended(self, session: Session) -> None:
        """A client's stream is gone."""
        self.sessions.unbind(session)
        await self.presence.gone(session)

    # from inside the house

    def send(self, stanza: Stanza) -> None:
        """Send a stanza of ours to wherever its addressee is."""
        if stanza.to.domainpart != self.domain:
            self.servers.send(stanza)
            return
        session = self.sessions.get(stanza.to) if stanza.to.resourcepart else None
        if session is not None:
            session.send(stanza)
        else:
            self._tasks.spawn(self.route(stanza), "route")

    async def request(
        self,
        type_: str,
        from_: JID,
        to: JID,
        payload: Element,
        *,
        seconds: float | None = None,
        minimum_proof: Proof = Proof.DIALBACK,
    ) -> Stanza:
        """Send an IQ of our own and wait for the result or error.

        To a domain that has proved less than ``minimum_proof`` it is not sent. Raises RemoteServerTimeout,
        ResourceConstraint, and Blocking in the name of somebody who has blocked the addressee.
        """
        if self.blocks(from_.bare, to):
            raise Blocking("you have blocked this address")
        if to.domainpart == self.domain:
            return await self.dispatch.request(self.send, type_, from_, to, payload, seconds=seconds)
        send = partial(self.servers.send, minimum_proof=minimum_proof)
        return await self.dispatch.request(send, type_, from_, to, payload, seconds=seconds)

    def bounce(self, stanza: Stanza, refusal: Refusal) -> None:
        """A stanza could not be handed over: tell its sender, unless it was an answer itself."""
        if stanza.type != "error" and not stanza.is_response:
            self.send(stanza.error(refusal))

    async def route(self, stanza: Stanza) -> None:
        """Take a stanza with verified addresses to where it belongs."""
        if stanza.to.domainpart != self.domain:
            function = self.dispatch.find(stanza, At.REMOTE) if stanza.is_request else None
            if function is None:
                self.servers.send(stanza)
            else:
                # It may wait for a stranger: the lane of the stream it came by goes on meanwhile.
                self._tasks.spawn(self._ask_elsewhere(stanza, function), "remote request")
        elif stanza.kind == "iq":
            await self._iq(stanza)
        elif stanza.kind == "message":
            await self.messages.inbound(stanza)
        else:
            await self.presence.inbound(stanza)

    async def _iq(self, iq: Stanza) -> None:
        blocked = bool(iq.to.localpart) and self.blocks(iq.to.bare, iq.from_)
        if iq.is_response:
            if not self.dispatch.response(iq) and not blocked:
                self._unexpected(iq)
            return
        if blocked:
            # As if there were nobody (XEP-0191 §3.3.3).
            self.send(iq.error(ServiceUnavailable()))
            return
        if iq.to.resourcepart:
            session = self.sessions.get(iq.to)
            if session is None:
                self.send(iq.error(ServiceUnavailable()))
            else:
                session.send(iq)
            return
        at = At.ACCOUNT if iq.to.localpart else At.HOST
        if self.dispatch.waits(iq, at):
            self._tasks.spawn(self._answer(iq, at), "request that waits")
        else:
            await self._answer(iq, at)

    def _unexpected(self, answer: Stanza) -> None:
        if answer.to.is_bare:
            for listener in self.answer_listeners:
                listener(answer)
            return
        session = self.sessions.get(answer.to)
        if session is not None:
            session.send(answer)

    async def _answer(self, request: Stanza, at: At) -> None:
        self.send(await self.dispatch.answer(request, at))

    async def _ask_elsewhere(self, request: Stanza, function: IqFunction) -> None:
        try:
            self.send(await self.dispatch.reply(request, function))
        except PassOn:
            self.servers.send(request)

    # malformed stanzas

    def _check_sender(self, session: Session, from_text: str | None) -> None:
        if from_text is None:
            return
        try:
            sender = JID.parse(from_text)
        except JIDMalformed:
            sender = None
        if sender != session.jid and sender != session.jid.bare:
            raise StreamError("invalid-from")

    def _answer_malformed(self, element: Element, refusal: Refusal, session: Session) -> None:
        if element.get("type") not in ("error", "result"):
            session.send(self._malformed(element, refusal, by=session.jid.bare, to=session.jid))

    def _malformed(self, element: Element, refusal: Refusal, *, by: JID, to: JID) -> Stanza:
        id_ = element.get("id")
        if id_ is not None and len(id_) > stanzas.ID_MAX_CHARACTERS:
            id_ = None
        kind: stanzas.Kind = "iq" if element.name == "iq" else "message" if element.name == "message" else "presence"
        return stanzas.build(kind, "error", by, to, id_, error_element(refusal))


def _wake(result: None, waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)
