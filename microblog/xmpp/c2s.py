"""RFC 6120 §4-8 as the server a client calls: from the connection to the last stanza.

One coroutine is one client: header, TLS, SASL, a resource, and then stanza after stanza to the router. Whatever
comes before its time gets the error that the specification names. Nobody stays long without having logged in, and
nobody stays for ever without a sign of life: whoever is silent is asked by a ping, and the answer counts.

``Clients`` is what all client connections share; its ``listener`` makes the factory for a port with STARTTLS, or with
TLS from the first byte (XEP-0368).
"""

import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol

from microblog.config import Limits
from microblog.model.account import ScramKeys
from microblog.model.errors import BadRequest, JIDMalformed, Refusal, ResourceConstraint
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.wire import ns
from microblog.wire.errors import StreamError, error_element
from microblog.wire.xml import Element
from microblog.xmpp import negotiation, sasl
from microblog.xmpp.admission import Admission, LoginFailures
from microblog.xmpp.negotiation import Authentication, check_header, is_stanza, refuse
from microblog.xmpp.sessions import Session, Sessions
from microblog.xmpp.stream import Stream, StreamClosed
from microblog.xmpp.tls import XMPP_CLIENT, Certificates
from microblog.xmpp.tlslayer import TLSInfo

_SWEEP_SECONDS: Final = 15
_ERRORS: Final = "urn:xmpp:errors"  # XEP-0205 §5


@dataclass(slots=True)
class Applicant:
    """Somebody on a stream who has not logged in: the address, and the invitation that was shown on this stream."""

    host: str
    invitation: str | None = None


Preauth = Callable[[Element, Applicant], Awaitable[Element | None]]


class ClientRouter(Protocol):
    """Where stanzas of clients go."""

    @property
    def sessions(self) -> Sessions:
        """The bound resources."""

    def from_client(self, session: Session, element: Element) -> Awaitable[None]:
        """Take a stanza. Raises StreamError."""

    def session_ended(self, session: Session) -> Awaitable[None]:
        """A client is gone."""


class Clients:
    """All client connections.

    ``preauth`` answers registration before authentication (XEP-0077), with None for what is none; ``preauth_features``
    say so. ``features``: what else to offer after authentication.
    """

    def __init__(
        self,
        *,
        domain: str,
        clock: Clock,
        tasks: Tasks,
        limits: Limits,
        certificates: Certificates,
        accounts: sasl.Accounts,
        router: ClientRouter,
        preauth: Preauth | None = None,
        preauth_features: Sequence[Element] = (),
        features: Sequence[Element] = (),
    ) -> None:
        self.domain = domain
        self.clock = clock
        self.tasks = tasks
        self.limits = limits
        self.certificates = certificates
        self.accounts = accounts
        self.router = router
        self.preauth = preauth
        self.preauth_features = preauth_features
        self.features = features
        self.failures = LoginFailures(clock, limits)
        self._clients: set[Client] = set()
        self._sweep = clock.every(_SWEEP_SECONDS, self._look_for_idle)

    def listener(self, *, direct_tls: bool = False) -> Factory:
        """A factory to listen with."""
        return _Listener(self, direct_tls)

    def serve(self, client: "Client") -> None:
        """Take a connection that was just made."""
        self._clients.add(client)
        client.stream.on_closed.append(lambda _: self._clients.discard(client))
        self.tasks.spawn(client.serve(), f"client {client.stream.peer}")

    def stop(self) -> None:
        """End all streams."""
        self._sweep.stop()
        for client in list(self._clients):
            client.stream.fail(StreamError("system-shutdown"))

    def recheck(self, accounts: Collection[JID]) -> None:
        """End the streams of these accounts that logged in with what is not good any more."""
        for client in list(self._clients):
            if client.session is not None and client.session.jid.bare in accounts:
                self.tasks.spawn(client.recheck(), f"login of {client.session.jid}")

    def __len__(self) -> int:
        return len(self._clients)

    def _look_for_idle(self) -> None:
        for client in list(self._clients):
            client.look_for_life()


class _Listener(Factory):
    noisy = False

    def __init__(self, clients: Clients, direct_tls: bool) -> None:
        self._clients = clients
        self._direct_tls = direct_tls
        self._admission = Admission(clients.clock, clients.limits)

    def buildProtocol(self, addr: IAddress | None) -> TwistedProtocol | None:
        """A stream, or nothing: the connection is closed at once."""
        if not self._admission.admit(getattr(addr, "host", "")):
            return None
        clients = self._clients
        stream = Stream(
            clock=clients.clock,
            limits=clients.limits,
            content=ns.CLIENT,
            stanza_max_bytes=clients.limits.c2s_stanza_max_bytes,
            initiating=False,
            name=clients.domain,
        )
        client = Client(clients, stream, self._direct_tls, self._admission)
        stream.on_connected = lambda: clients.serve(client)
        return stream


class Client:
    """One connection of a client."""

    def __init__(self, clients: Clients, stream: Stream, direct_tls: bool, admission: Admission) -> None:
        self.stream = stream
        self.session: Session | None = None
        self._applicant = Applicant(stream.host)
        self._clients = clients
        self._direct_tls = direct_tls
        self._admission: Admission | None = admission
        self._login = _Login(clients.accounts)
        self._asked_at: float | None = None  # the last sign of life when it was pinged

    async def serve(self) -> None:
        """From the connection to its end."""
        stream = self.stream
        self._applicant.host = stream.host
        stream.on_closed.append(lambda _: self._settled())
        try:
            stream.deadline(self._clients.limits.c2s_auth_seconds)
            await self._secure()
            account = await self._authenticate()
            self.session = await self._bind(account)
            # From now on it is found by whoever changes the password; here by whoever has done so meanwhile.
            await self._check_login()
            stream.deadline(None)
            await self._stanzas(self.session)
        except StreamError as error:
            stream.fail(error)
        except StreamClosed:
            pass
        except CancelledError:
            raise
        except Exception:
            stream.log.failure("{log_source}: the stream of a client failed")
            stream.fail(StreamError("internal-server-error"))
        finally:
            # Cancelled, when the house closes: whatever the reason, the stream does not outlive this.
            stream.fail(StreamError("system-shutdown"))
            if self.session is not None:
                await self._clients.router.session_ended(self.session)

    def _settled(self) -> None:
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.settled(self.stream.host)

    async def _open(self, *features: Element | None, account: JID | None = None) -> None:
        """Read the client's header, answer it, and offer features."""
        header = await self.stream.read_header()
        domain = self._clients.domain
        try:
            check_header(header, domain)
        except StreamError as error:
            if account is not None and error.condition == "host-unknown":
                raise StreamError("improper-addressing", "the domain of a stream does not change") from None
            raise
        if account is not None and header.from_ is not None and header.from_ != str(account):
            try:
                same = JID.parse(header.from_).bare == account
            except JIDMalformed:
                same = False
            if not same:
                raise StreamError("not-authorized", "this is not who logged in")
        self.stream.send_header(to=header.from_, from_=domain, features=negotiation.features(*features))

    # TLS

    async def _secure(self) -> None:
        stream = self.stream
        context = self._clients.certificates.server_context(s2s=False)
        if self._direct_tls:
            await stream.start_tls(context, server=True, alpn=XMPP_CLIENT)
            return
        await self._open(negotiation.starttls())
        while True:
            element = await stream.read()
            if element.is_(ns.TLS, "starttls"):
                break
            if not element.is_(ns.SASL, "auth"):
                raise refuse(element, "policy-violation")
            stream.send(Element(ns.SASL, "failure", None, Element(ns.SASL, "encryption-required")))
        stream.send(Element(ns.TLS, "proceed"))
        await stream.start_tls(context, server=True)

    def _starttls_again(self) -> None:
        self.stream.send(Element(ns.TLS, "failure"))
        self.stream.close()

    # SASL

    async def _authenticate(self) -> JID:
        clients, stream = self._clients, self.stream
        assert stream.tls is not None
        bindings = _bindings(stream.tls)
        offered = sasl.offered(bindings)
        await self._open(
            negotiation.mechanisms(offered),
            negotiation.channel_bindings(bindings) if bindings else None,
            *clients.preauth_features,
            negotiation.stream_limits(clients.limits.stream_header_max_bytes, None),
        )
        authentication = Authentication(
            stream,
            clients.clock,
            clients.limits,
            clients.failures,
            offered,
            lambda name: sasl.begin(name, bindings, offered, self._login, clients.domain),
        )
        while True:
            element = await stream.read()
            if element.is_(ns.SASL, "auth"):
                localpart = await authentication.try_(element)
                if localpart is not None:
                    break
            elif element.is_(ns.SASL, "abort"):
                stream.send(Element(ns.SASL, "failure", None, Element(ns.SASL, "aborted")))
            elif element.is_(ns.TLS, "starttls"):
                self._starttls_again()
            else:
                await self._before_authentication(element)
        self._settled()
        stream.restart()
        stream.authenticated()
        stream.deadline(clients.limits.c2s_auth_seconds)
        return JID(localpart, clients.domain)

    async def _check_login(self) -> None:
        """Raises StreamError: what it logged in with is not good any more, or nobody can tell."""
        try:
            good = await self._login.good()
        except Refusal:
            raise StreamError("resource-constraint") from None
        if not good:
            raise StreamError("not-authorized", "what you logged in with is not good any more")

    async def recheck(self) -> None:
        """End the stream if what it logged in with is not good any more."""
        try:
            await self._check_login()
        except StreamError as error:
            self.stream.fail(error)

    async def _before_authentication(self, element: Element) -> None:
        preauth = self._clients.preauth
        answer = await preauth(element, self._applicant) if preauth is not None and is_stanza(element) else None
        if answer is None:
            raise refuse(element, "not-authorized")
        self.stream.send(answer)

    # a resource

    async def _bind(self, account: JID) -> Session:
        clients, limits = self._clients, self._clients.limits
        await self._open(
            Element(ns.BIND, "bind"),
            Element(ns.SESSION, "session", None, Element(ns.SESSION, "optional")),
            negotiation.stream_limits(limits.c2s_stanza_max_bytes, limits.c2s_idle_seconds),
            *clients.features,
            account=account,
        )
        while True:
            element = await self.stream.read()
            if element.is_(ns.TLS, "starttls"):
                self._starttls_again()
                continue
            bind = element.find(ns.BIND, "bind")
            if element.name != "iq" or not is_stanza(element) or bind is None or element.get("type") != "set":
                raise refuse(element, "not-authorized")
            try:
                session = self._bound(account, element, bind)
            except Refusal as refusal:
                error = error_element(refusal)
                if isinstance(refusal, ResourceConstraint):
                    error.append(Element(_ERRORS, "resource-limit-exceeded"))
                self._answer(element, "error", error)
                continue
            jid = Element(ns.BIND, "jid", None, str(session.jid))
            self._answer(element, "result", Element(ns.BIND, "bind", None, jid))
            return session

    def _bound(self, account: JID, request: Element, bind: Element) -> Session:
        if not request.get("id"):
            raise BadRequest("an iq needs an id")
        resource = bind.child_text(ns.BIND, "resource")
        if resource == "":
            raise BadRequest("an empty resource")
        try:
            return self._clients.router.sessions.bind(account, resource, self.stream)
        except JIDMalformed as error:
            raise BadRequest(error.text) from error

    def _answer(self, request: Element, type_: str, payload: Element | None) -> None:
        attributes = {"type": type_}
        id_ = request.get("id")
        if id_ is not None:
            attributes["id"] = id_
        self.stream.send(Element(ns.CLIENT, "iq", attributes, payload))

    # stanzas

    async def _stanzas(self, session: Session) -> None:
        read, from_client = self.stream.read, self._clients.router.from_client
        while True:
            element = await read()
            if not is_stanza(element):
                raise StreamError("unsupported-stanza-type")
            if (
                element.name == "iq"
                and element.get("type") == "set"
                and element.find(ns.SESSION, "session") is not None
            ):
                # RFC 3921 §3: what was once a step of its own means nothing any more.
                self._answer(element, "result", None)
                continue
            await from_client(session, element)

    def look_for_life(self) -> None:
        """Ping a client that has been silent for long; end the stream of one that stays silent."""
        session = self.session
        if session is None or self.stream.closed:
            return
        limits, heard = self._clients.limits, self.stream.last_received
        silence = self._clients.clock.monotonic() - heard
        if silence >= limits.c2s_idle_seconds:
            self.stream.fail(StreamError("connection-timeout"))
        elif silence >= limits.idle_ping_seconds and self._asked_at != heard:
            self._asked_at = heard
            attributes = {
                "type": "get",
                "id": secrets.token_urlsafe(9),
                "from": self._clients.domain,
                "to": str(session.jid),
            }
            self.stream.send(Element(ns.CLIENT, "iq", attributes, Element(ns.PING, "ping")))


class _Login:
    """The accounts, as SASL asks for them, and the keys that it was told last: those somebody has logged in with."""

    def __init__(self, accounts: sasl.Accounts) -> None:
        self._accounts = accounts
        self._localpart = ""
        self._keys: ScramKeys | None = None

    async def keys(self, localpart: str, hash_name: str) -> ScramKeys:
        """The account's."""
        self._localpart, self._keys = localpart, await self._accounts.keys(localpart, hash_name)
        return self._keys

    async def verify(self, keys: ScramKeys, password: str) -> bool:
        """The account's."""
        return await self._accounts.verify(keys, password)

    async def good(self) -> bool:
        """Are those still the keys?"""
        known = self._keys
        return known is not None and await self._accounts.keys(self._localpart, known.hash_name) == known


def _bindings(tls: TLSInfo) -> dict[str, bytes]:
    """RFC 9266 §4.2: in TLS 1.2 the exporter is good only with an extension that we cannot see."""
    bindings = dict(sasl.channel_bindings(tls))
    if tls.version != "TLSv1.3":
        bindings.pop("tls-exporter", None)
    return bindings
