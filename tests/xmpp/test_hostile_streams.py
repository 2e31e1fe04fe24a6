"""Hostile and unlucky peers over real sockets: what a fake transport cannot show.

The server runs in the reactor, on loopback addresses of its own; each peer is a blocking socket in a thread.
"""

import gc
import re
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from microblog.config import Limits
from microblog.runtime import Clock, Tasks
from microblog.wire.xml import Element
from microblog.xmpp.c2s import Clients
from microblog.xmpp.sessions import Session, Sessions
from microblog.xmpp.stream import Stream
from microblog.xmpp.tls import Certificates
from tests.xmpp.lines import FOOTER, HEADER
from tests.xmpp.test_c2s import NOW, STARTTLS, Collector, People, bind, plain

T = TypeVar("T")
ADDRESS = "127.8.31.1"
reactor: Any = the_reactor


class Peer:
    """A blocking socket that speaks XMPP as far as it is told to."""

    def __init__(self, port: int, source: str = ADDRESS, receive_buffer: int | None = None) -> None:
        self.socket: socket.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.bind((source, 0))
        self.socket.connect((ADDRESS, port))

    def say(self, data: bytes | str) -> None:
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def hear(self, until: str) -> str:
        """Read until something was said."""
        heard, end = bytearray(), until.encode()
        while end not in heard[-65_536 - len(end) :]:
            data = self.socket.recv(65_536)
            assert data, heard
            heard += data
        return heard.decode()

    def hear_all(self) -> bytes:
        """Read until the other end closes."""
        heard = []
        while data := self.socket.recv(262_144):
            heard.append(data)
        return b"".join(heard)

    def secure(self) -> "Peer":
        self.say(HEADER)
        self.hear("</stream:features>")
        self.say(STARTTLS)
        self.hear("<proceed")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_3
        self.socket = context.wrap_socket(self.socket, suppress_ragged_eofs=False)
        self.say(HEADER)
        self.hear("</stream:features>")
        return self

    def login(self, resource: str) -> "Peer":
        self.secure()
        self.say(plain())
        self.hear("<success")
        self.say(HEADER)
        self.hear("</stream:features>")
        self.say(bind(resource))
        self.hear("</iq>")
        return self

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class HostileStreams(TestCase):
    timeout = 60

    def serve(self, **limits: Any) -> int:
        limits.setdefault("rates", False)
        self.limits = Limits(**limits)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        certificates = Certificates("montague.example", None, None, None, Path(folder.name))
        certificates.ensure(NOW)
        self.tasks = Tasks()
        self.router = Collector(Sessions(1000))
        self.clients = Clients(
            domain="montague.example",
            clock=Clock(reactor),
            tasks=self.tasks,
            limits=self.limits,
            certificates=certificates,
            accounts=People(),
            router=self.router,
        )
        port = reactor.listenTCP(0, self.clients.listener(), interface=ADDRESS)
        self.addCleanup(self.tasks.stop)
        self.addCleanup(self.closed_down)
        self.addCleanup(self.clients.stop)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def closed_down(self) -> None:
        """Connections may linger; a test leaves none behind."""
        await self.until(lambda: not [reader for reader in reactor.getReaders() if hasattr(reader, "protocol")])

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to become true; the timeout of the test is the limit."""
        while not condition():
            await deferLater(reactor, 0.01)

    def session(self, resource: str) -> Session:
        return next(session for session in self.router.sessions.all() if session.jid.resourcepart == resource)

    def thread(self, f: Callable[..., T], *arguments: Any) -> "Deferred[T]":
        return deferToThread(f, *arguments)

    async def test_a_conversation(self) -> None:
        def answer(session: Session, element: Element) -> None:
            session.write(f"<message id='{element.get('id')}'/>".encode())

        def talk() -> str:
            peer = Peer(port).login("orchard")
            for n in range(200):
                peer.say(f"<message id='{n}'/>")
            heard = peer.hear("id='199'/>")
            peer.say(FOOTER)
            heard += peer.hear_all().decode()
            peer.socket.unwrap()
            return heard

        port = self.serve()
        self.router.answer = answer
        heard = await self.thread(talk)
        assert re.findall("id='(.*?)'", heard) == [str(n) for n in range(200)]
        assert heard.endswith("</stream:stream>")
        await self.until(lambda: self.router.ended)
        assert (len(self.clients), len(self.tasks)) == (0, 0)

    async def test_a16_a_reset_in_the_middle_of_a_stanza(self) -> None:
        def talk() -> None:
            peer = Peer(port).login("orchard")
            peer.say("<message id='1'/><message><body>half")
            time.sleep(0.05)
            peer.reset()

        port = self.serve()
        await self.thread(talk)
        await self.until(lambda: self.router.ended)
        assert [element.get("id") for _, element in self.router.stanzas] == ["1"]
        assert (len(self.clients), len(self.tasks)) == (0, 0)

    async def test_a20_a_slow_reader_gets_everything_in_order(self) -> None:
        """Far more than the kernel buffers: through our queue, Twisted's buffer and many records."""
        port = self.serve(send_buffer_max_bytes=20_000_000)
        peer = await self.thread(lambda: Peer(port, receive_buffer=65_536).login("orchard"))
        session = self.session("orchard")
        stream: Any = session.stream
        sent = [f"<message id='{n}'>{'x' * (n % 977)}</message>".encode() for n in range(20_000)]
        for stanza in sent:
            session.write(stanza)
        assert stream.backlog > 1_000_000
        reading = self.thread(peer.hear, "id='19999'")
        await self.until(lambda: stream.backlog == 0)
        session.write(b"<message id='19999'/>")
        heard = await reading
        assert heard.startswith(b"".join(sent).decode()[: len(heard)])
        assert len(heard) >= sum(map(len, sent[:-1]))
        stream.close()
        await self.thread(peer.hear, "</stream:stream>")
        peer.reset()

    async def test_a20_a_reader_that_has_stopped_is_closed(self) -> None:
        port = self.serve(send_buffer_max_bytes=100_000, send_stalled_seconds=1)
        peer = await self.thread(lambda: Peer(port, receive_buffer=4096).login("orchard"))
        other = await self.thread(lambda: Peer(port).login("balcony"))
        session = self.session("orchard")
        stream: Any = session.stream
        while stream.backlog <= 100_000:
            session.write(b"<message>" + b"x" * 50_000 + b"</message>")
        self.session("balcony").write(b"<message id='1'/>")
        await self.thread(other.hear, "id='1'")  # nobody else waits
        await self.until(lambda: self.router.ended)
        assert self.router.ended == ["romeo@montague.example/orchard"]
        peer.reset()
        other.reset()
        await self.until(lambda: len(self.clients) == 0)

    async def test_the_reason_arrives_though_more_was_said(self) -> None:
        """A socket closed with bytes unread is reset, and the peer never learns why."""

        def flood() -> bytes:
            peer = Peer(port).secure()
            peer.say(b"<!-- -->" + b"<message/>" * 20_000)
            return peer.hear_all()

        port = self.serve()
        for _ in range(5):
            heard = await self.thread(flood)
            assert b"<restricted-xml" in heard
            assert heard.endswith(b"</stream:stream>")

    async def test_a3_over_the_limit_is_closed_without_a_word(self) -> None:
        def knock() -> list[bytes]:
            peers = [Peer(port, "127.8.31.7") for _ in range(12)]
            for peer in peers[:10]:
                peer.say(HEADER)
                peer.hear("</stream:features>")
            heard = [peer.hear_all() for peer in peers[10:]]
            fine = Peer(port, "127.8.31.8").login("orchard")
            for peer in (*peers, fine):
                peer.reset()
            return heard

        port = self.serve(rates=True, connections_burst=1000)
        assert await self.thread(knock) == [b"", b""]
        await self.until(lambda: len(self.clients) == 0)

    async def test_a_flood_is_worked_off_in_turn(self) -> None:
        """Row 35: one client floods, another is answered meanwhile, and nothing is lost."""
        began, answered = threading.Event(), threading.Event()

        def flood() -> int:
            peer = Peer(port).login("flood")
            said = 0
            while not said or not answered.is_set():
                peer.say(b"<message/>" * 200)
                said += 200
                if said == 2000:
                    began.set()
            peer.say("<message id='end'/>")
            peer.hear("id='end'")
            peer.reset()
            return said

        def ask() -> None:
            try:
                peer = Peer(port).login("innocent")
                assert began.wait(20)
                for n in range(20):
                    peer.say(f"<message id='{n}'/>")
                    peer.hear(f"id='{n}'")
                peer.reset()
            finally:
                answered.set()

        def answer(session: Session, element: Element) -> None:
            id_ = element.get("id")
            if id_ is not None:
                session.write(f"<message id='{id_}'/>".encode())

        port = self.serve()
        self.router.answer = answer
        flooding = self.thread(flood)
        # The flood does not end before all of it is answered.
        await self.thread(ask)
        said = await flooding
        assert len(self.router.stanzas) == said + 1 + 20

    async def test_row_33_connections_leave_nothing_behind(self) -> None:
        def come_and_go() -> None:
            for n in range(60):
                peer = Peer(port)
                if n % 4 == 1:
                    peer.say(HEADER)
                elif n % 4 == 2:
                    peer.say(b"\x16\x03\x01 nonsense")
                elif n % 4 == 3:
                    peer.secure()
                peer.reset()

        port = self.serve()
        await self.thread(come_and_go)
        await self.until(lambda: len(self.clients) == 0)
        assert len(self.tasks) == 0
        await self.closed_down()
        gc.collect()
        left = [found for found in gc.get_objects() if isinstance(found, Stream) and found.limits is self.limits]
        assert left == []

    async def test_a_peer_that_closes_only_its_side(self) -> None:
        def talk() -> bytes:
            peer = Peer(port)
            peer.say(HEADER + b"</stream:stream>")
            peer.socket.shutdown(socket.SHUT_WR)
            return peer.hear_all()

        port = self.serve()
        heard = await self.thread(talk)
        assert heard.startswith(b"<?xml") and heard.endswith(b"</stream:stream>")
        await self.until(lambda: len(self.clients) == 0)

    async def test_a19_a_proxy_header_from_anybody(self) -> None:
        def talk() -> bytes:
            peer = Peer(port)
            peer.say(b"PROXY TCP4 192.0.2.1 192.0.2.2 5222 5222\r\n" + HEADER)
            return peer.hear_all()

        port = self.serve()
        assert b"<not-well-formed " in await self.thread(talk)

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
    async def test_a7_old_tls_over_the_wire(self) -> None:
        def talk() -> str:
            peer = Peer(port)
            peer.say(HEADER)
            peer.hear("</stream:features>")
            peer.say(STARTTLS)
            peer.hear("<proceed")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            try:
                context.wrap_socket(peer.socket)
            except ssl.SSLError as error:
                return str(error)
            return "accepted"

        port = self.serve()
        assert "PROTOCOL_VERSION" in (await self.thread(talk)).upper()
        await self.until(lambda: len(self.clients) == 0)
