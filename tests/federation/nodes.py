"""Nodes in one process, joined over loopback by real streams: everything between the socket and the router.

A `Node` has the real listener, servers, router and dispatch; presence and messages are lists of what came. A `Peer` is
the other end of a stream with a script in place of a server.
"""

import ipaddress
import itertools
import os
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory
from twisted.names import dns, error
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from microblog.config import Endpoint, Limits
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.wire import ns, stanza
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp import tls
from microblog.xmpp.dialback import Keys
from microblog.xmpp.dispatch import At, Dispatch, Extension, Route
from microblog.xmpp.resolve import Address, Resolver
from microblog.xmpp.router import Router
from microblog.xmpp.s2s import DialbackPolicy, Federation, leave
from microblog.xmpp.s2s_in import ServerStreams
from microblog.xmpp.s2s_out import Servers
from microblog.xmpp.sessions import Sessions
from microblog.xmpp.stream import Header, Stream, StreamClosed
from tests.interop.ca import CertificateAuthority

_addresses = itertools.count(1)
FAST = Limits(s2s_auth_seconds=10, connect_seconds=3, dns_seconds=2, iq_seconds=5)


def free_address() -> str:
    """An address of loopback that no other test uses."""
    number = next(_addresses)
    return str(ipaddress.IPv4Address(f"127.77.{os.getpid() % 200 + 1}.0") + number % 250 + 1)


class Anonymous(tls.Certificates):
    """Certificates of a server that shows none when it connects to others."""

    def client_context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_verify(SSL.VERIFY_PEER, tls._record)
        self._trust(context)
        return context


class Authority(CertificateAuthority):
    """The authority of a test, in a folder that goes with it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="microblog-federation-"))
        super().__init__(self.folder)

    def certificates(self, domain: str, kind: str = "valid", **options: Any) -> tls.Certificates:
        """`kind`: valid; missing (none is shown to servers that we connect to); self-signed, expired, wrong name."""
        name = "elsewhere.example" if kind == "wrong name" else domain
        issued = self.issue(name, self_signed=kind == "self-signed", expired=kind == "expired", **options)
        folder = self.folder / secrets.token_hex(4)
        certificate, key = issued.write(folder)
        return (Anonymous if kind == "missing" else tls.Certificates)(domain, certificate, key, self.path, folder)

    def remove(self) -> None:
        shutil.rmtree(self.folder)


class Zone:
    """A resolver in memory. A name whose record is an exception fails so; one whose record is None never answers."""

    def __init__(self) -> None:
        self.records: dict[str, list[dns.Record_SRV | dns.Record_A] | Exception | None] = {}
        self.silent: list[Deferred[Any]] = []

    def serve(self, domain: str, address: str, port: int, *, direct_tls: bool = False) -> None:
        """Publish where a domain is."""
        host = f"host-{address.replace('.', '-')}.example"
        service = "_xmpps-server" if direct_tls else "_xmpp-server"
        self.records[f"{service}._tcp.{domain}"] = [dns.Record_SRV(0, 0, port, host.encode())]
        self.records[host] = [dns.Record_A(address)]

    def _lookup(self, name: bytes, timeout: object) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        records = self.records.get(name.decode(), error.DNSNameError(name))
        if records is None:
            self.silent.append(answer)
        elif isinstance(records, Exception):
            answer.errback(Failure(records))
        else:
            answer.callback(([dns.RRHeader(name, one.TYPE, dns.IN, 60, one) for one in records], [], []))
        return answer

    lookupService = lookupAddress = lookupIPV6Address = _lookup


class Pings(Extension):
    """XEP-0199, and nothing else."""

    def routes(self) -> list[Route]:
        async def pong(request: Stanza) -> None:
            return None

        return [Route.get(ns.PING, "ping", pong, at=At.HOST)]


class Node:
    """One node: the streams between servers and the router, without people."""

    def __init__(
        self,
        domain: str,
        zone: Zone,
        authority: Authority,
        *,
        certificate: str = "valid",
        dialback: DialbackPolicy = "public",
        limits: Limits = FAST,
        **policy: Callable[[str], bool],
    ) -> None:
        self.domain, self.zone = domain, zone
        self.address = free_address()
        self.clock, self.tasks = Clock(reactor), Tasks()
        self.host = JID("", domain)
        self.messages: list[Stanza] = []
        self._awaited: list[Deferred[Stanza]] = []
        self.contacts: list[str] = []
        self.federation = Federation(
            domain=domain,
            clock=self.clock,
            tasks=self.tasks,
            limits=limits,
            certificates=authority.certificates(domain, certificate),
            keys=Keys(secrets.token_bytes(32)),
            dialback=dialback,
            **policy,
        )
        own = [Endpoint(self.address, 5269)]
        self.resolver = Resolver(zone, self.clock, limits, routes={}, own=own)
        self.servers = Servers(self.federation, self.resolver, self._connect)
        self.servers.on_contact.append(self.contacts.append)
        self.dispatch = Dispatch(self.clock, limits.iq_seconds)
        self.dispatch.install([Pings()])
        self.router = Router(domain, Sessions(limits), self.dispatch, self.tasks)
        self.router.presence = self.router.messages = self  # type: ignore[assignment]  # both are `inbound` below
        self.router.servers = self.servers
        self.servers.request, self.servers.bounce = self.router.request, self.router.bounce
        self.streams = ServerStreams(self.federation, self.servers, self.router.from_server, self.router.settled)
        self.connects = 0
        self._ports: list[Any] = []

    async def inbound(self, stanza: Stanza) -> None:
        """Messages and presence to somebody here."""
        if self._awaited:
            self._awaited.pop(0).callback(stanza)
        else:
            self.messages.append(stanza)

    def arrival(self) -> Awaitable[Stanza]:
        """The next message or presence."""
        if self.messages:
            arrived: Deferred[Stanza] = Deferred()
            arrived.callback(self.messages.pop(0))
            return arrived
        self._awaited.append(Deferred())
        return self.clock.deadline(self._awaited[-1], 15)

    def message(self, to: str, text: str = "hello", **attributes: str) -> Stanza:
        """A message of somebody here."""
        body = Element(ns.CLIENT, "body", {}, text)
        return stanza.message(attributes.get("type", "chat"), JID("juliet", self.domain), JID.parse(to), body, id_="m1")

    def start(self, *, direct_tls: bool = False) -> None:
        """Listen, and let the others know."""
        factory = self.streams.listener(direct_tls=direct_tls)
        port = reactor.listenTCP(0, factory, interface=self.address)
        self.port = port.getHost().port
        self._ports.append(port)
        self.zone.serve(self.domain, self.address, self.port, direct_tls=direct_tls)

    async def stop_listening(self) -> None:
        """Refuse connections from now on."""
        ports, self._ports = self._ports, []
        for port in ports:
            await port.stopListening()

    async def stop(self) -> None:
        """End everything, and see that nothing is left."""
        self.servers.stop()
        self.streams.stop()
        await self.stop_listening()
        await self.tasks.stop()

    async def _connect(self, address: Address, stream: Stream) -> None:
        self.connects += 1
        endpoint = TCP4ClientEndpoint(reactor, address.host, address.port, timeout=3, bindAddress=(self.address, 0))
        await connectProtocol(endpoint, stream)


class Peer:
    """One end of a server stream, moved by a test."""

    def __init__(self, stream: Stream, domain: str | None, certificates: tls.Certificates | None = None) -> None:
        self.stream = stream
        self.domain = domain
        self.certificates = certificates

    @staticmethod
    def new_stream(initiating: bool) -> Stream:
        return Stream(
            clock=Clock(reactor),
            limits=FAST,
            content=ns.SERVER,
            stanza_max_bytes=600_000,
            initiating=initiating,
        )

    @staticmethod
    async def connect(
        node: Node, domain: str | None, certificates: tls.Certificates | None = None, *, secure: bool = True
    ) -> "Peer":
        """A server connects to the node; with `secure` up to the features under TLS."""
        peer = Peer(Peer.new_stream(True), domain, certificates)
        await connectProtocol(TCP4ClientEndpoint(reactor, node.address, node.port, timeout=3), peer.stream)
        await peer.open(node.domain)
        features = await peer.read()
        assert features.find(ns.TLS, "starttls")
        if secure:
            assert certificates is not None
            peer.stream.send(Element(ns.TLS, "starttls"))
            assert (await peer.read()).is_(ns.TLS, "proceed")
            await peer.stream.start_tls(certificates.client_context(), server=False, name=node.domain)
            await peer.open(node.domain)
            peer.features = await peer.read()
        return peer

    features: Element

    async def open(self, to: str) -> Header:
        self.stream.send_header(to=to, from_=self.domain)
        return await self.stream.read_header()

    def write(self, text: str) -> None:
        self.stream.write(text.encode())

    async def read(self) -> Element:
        return await self.stream.clock.deadline(self.stream.read(), 15)

    async def external(self, to: str, authzid: str = "=") -> None:
        """Authenticate by certificate."""
        self.write(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>{authzid}</auth>")
        assert (await self.read()).is_(ns.SASL, "success")
        self.stream.restart()
        await self.open(to)
        self.features = await self.read()
        self.stream.authenticated()

    async def accept(self, features: str = "") -> None:
        """As the server that was called: take the other's certificate for proof."""
        limits = f"<limits xmlns='{ns.LIMITS}'>{features}</limits>" if features else ""
        mechanisms = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
        self.write(f"<stream:features>{mechanisms}</stream:features>")
        assert (await self.read()).is_(ns.SASL, "auth")
        self.write(f"<success xmlns='{ns.SASL}'/>")
        self.stream.restart()
        header = await self.stream.read_header()
        self.stream.send_header(to=header.from_, from_=self.domain)
        self.write(f"<stream:features>{limits}</stream:features>")
        self.stream.authenticated()

    async def ending(self) -> str:
        """The stream error that ends the stream, or "closed"."""
        while True:
            try:
                element = await self.stream.clock.deadline(self.stream._next(), 15)
            except StreamClosed:
                return "closed"
            if isinstance(element, Element) and element.is_(ns.STREAM, "error"):
                [condition] = [one.name for one in element.elements() if one.uri == ns.STREAMS and one.name != "text"]
                self.stream.close()
                return condition

    async def gone(self) -> None:
        """Forget the stream and wait until its connection is away."""
        leave(self.stream)
        self.stream.abort("end of the test")
        while self.stream._connected:
            await self.stream.clock.sleep(0.01)


Script = Callable[[Peer], Awaitable[None]]


class Listener(Factory):
    """A server that follows a script on each connection; the script starts behind TLS unless told otherwise."""

    noisy = False

    def __init__(
        self, domain: str, certificates: tls.Certificates | None, script: Script, *, secure: bool = True
    ) -> None:
        self.domain, self.certificates, self.script, self.secure = domain, certificates, script, secure
        self.tasks = Tasks()
        self.connections = 0
        self.peers: list[Peer] = []

    def listen(self, zone: Zone) -> Any:
        """Start, and be found."""
        address = free_address()
        port = reactor.listenTCP(0, self, interface=address)
        zone.serve(self.domain, address, port.getHost().port)
        return port

    def buildProtocol(self, addr: object) -> Stream:
        stream = Peer.new_stream(False)
        self.connections += 1
        peer = Peer(stream, self.domain, self.certificates)
        self.peers.append(peer)
        stream.on_connected = lambda: self.tasks.spawn(self._run(peer), "script") and None
        return stream

    async def _run(self, peer: Peer) -> None:
        try:
            if self.secure:
                header = await peer.stream.read_header()
                peer.stream.send_header(to=header.from_, from_=self.domain)
                starttls = Element(ns.TLS, "starttls", {}, Element(ns.TLS, "required"))
                peer.stream.send(Element(ns.STREAM, "features", {}, starttls))
                assert (await peer.read()).is_(ns.TLS, "starttls")
                peer.stream.send(Element(ns.TLS, "proceed"))
                assert self.certificates is not None
                await peer.stream.start_tls(self.certificates.server_context(s2s=True), server=True)
                header = await peer.stream.read_header()
                peer.stream.send_header(to=header.from_, from_=self.domain)
            await self.script(peer)
        except StreamClosed:
            pass


class FederationTestCase(TestCase):
    """Nodes and scripts, cleaned up in the right order."""

    timeout = 60

    def setUp(self) -> None:
        self.authority = Authority()
        self.zone = Zone()
        self.nodes: list[Node] = []
        self.peers: list[Peer] = []
        self.listeners: list[tuple[Listener, Any]] = []

    async def tearDown(self) -> None:
        await DeferredList([Deferred.fromCoroutine(node.stop()) for node in self.nodes], fireOnOneErrback=True)
        for listener, port in self.listeners:
            await port.stopListening()
            self.peers += listener.peers
            await listener.tasks.stop()
        for peer in self.peers:
            await peer.gone()
        while any(isinstance(getattr(reader, "protocol", None), Stream) for reader in reactor.getReaders()):
            await Clock(reactor).sleep(0.01)
        self.authority.remove()

    def node(self, domain: str, *, direct_tls: bool = False, listening: bool = True, **options: Any) -> Node:
        node = Node(domain, self.zone, self.authority, **options)
        self.nodes.append(node)
        if listening:
            node.start(direct_tls=direct_tls)
        return node

    async def peer(self, node: Node, domain: str | None, kind: str | None = "valid", *, secure: bool = True) -> Peer:
        certificates = self.authority.certificates(domain or "nobody.example", kind) if kind else None
        peer = await Peer.connect(node, domain, certificates, secure=secure)
        self.peers.append(peer)
        return peer

    async def authenticated(self, node: Node, domain: str) -> Peer:
        """A server that has proved its domain by certificate."""
        peer = await self.peer(node, domain)
        await peer.external(node.domain)
        return peer

    def script(self, domain: str, script: Script, *, kind: str = "valid", secure: bool = True) -> Listener:
        listener = Listener(domain, self.authority.certificates(domain, kind), script, secure=secure)
        self.listeners.append((listener, listener.listen(self.zone)))
        return listener


def authority(verdict: str, **changes: str) -> Script:
    """A server that answers every question about a key the same way; `changes` are other attributes than due."""

    async def script(peer: Peer) -> None:
        peer.write(f"<stream:features><dialback xmlns='{ns.DIALBACK_FEATURE}'/></stream:features>")
        while True:
            element = await peer.read()
            if element.is_(ns.DIALBACK, "verify"):
                attributes = {name: element.get(name) or "" for name in ("from", "to", "id")}
                answer = {"from": attributes["to"], "to": attributes["from"], "id": attributes["id"], **changes}
                if verdict:
                    answer["type"] = verdict
                peer.stream.send(Element(ns.DIALBACK, "verify", answer))

    return script


def text(stanza_: Stanza) -> str | None:
    """The body of a message."""
    return stanza_.element.child_text(ns.CLIENT, "body")
