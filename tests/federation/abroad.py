"""A whole node in memory, and the other servers it talks to over real streams: TLS, certificate or dialback, XML.

A `House` is what `app.Node` composes, with a database in memory, a clock that stands, and no sockets. An `Abroad` is
another server: its people say what a test makes them say, it answers what it is asked, and `heard` has every byte that
came to it, as it came out of TLS.
"""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.address import IPv4Address

from microblog import app
from microblog.config import Limits, parse
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.store.database import open_database
from microblog.store.watermark import Watermark
from microblog.usecases import registering
from microblog.wire import ns
from microblog.wire.xml import Element, to_text
from microblog.xmpp import tls
from microblog.xmpp.resolve import Address
from microblog.xmpp.sessions import Session
from microblog.xmpp.stream import Stream, StreamClosed
from tests.conftest import START
from tests.federation.nodes import Authority
from tests.xmltext import read_all
from tests.xmpp.lines import Line, plug, start

HOME = "montague.example"
# Nothing is to be refused for being too much; what is refused is not looked at.
LIMITS = {"rates": False}


class Pipe:
    """A connection in memory between two streams."""

    def __init__(self, one: Stream, other: Stream) -> None:
        self.lines = (Line(), Line())
        plug(one, self.lines[0])
        plug(other, self.lines[1])

    def pump(self) -> bool:
        """Carry what was written to the other side; False if nothing was."""
        moved = False
        for line, mate in (self.lines, self.lines[::-1]):
            data, line.sent = line.sent, b""
            if data and mate.protocol is not None and mate.reading:
                mate.deliver(data)
                moved = True
            elif data:
                line.sent = data + line.sent if mate.protocol is not None else b""
            if line.buffered:
                line.drain()
                moved = True
            if line.fin and not line.sent and mate.protocol is not None:
                mate.lose()
                moved = True
        return moved


class Person:
    """A client of somebody here: what is written to it is thrown away."""

    def __init__(self, house: "House", session: Session) -> None:
        self.house, self.session = house, session

    def says(self, text: str) -> None:
        for element in read_all(text):
            start(self.house.router.from_client(self.session, element))
        self.house.settle()


class Void:
    """The stream of a client that nobody looks at."""

    def write(self, data: bytes) -> None:
        pass

    def fail(self, error: object) -> None:
        pass

    def close(self) -> None:
        pass


class House(app.Node):
    """Our node, and the world around it."""

    def __init__(self, authority: Authority, certificates: tls.Certificates, folder: Path, **sections: Any) -> None:
        routes = {domain: f"127.0.0.{number}:5269" for number, domain in enumerate(DOMAINS, start=2)}
        values = {
            "node": {"domain": HOME, "data": str(folder)},
            "limits": LIMITS,
            "s2s": {"routes": routes},
            **sections,
        }
        self.time = task.Clock()
        super().__init__(parse(values, folder), self.time)
        self.authority = authority
        self.clock = Clock(self.time, start=START)
        self.certificates = certificates
        self.database = open_database(
            "sqlite://",
            domain=HOME,
            now=self.clock.now,
            limits=self.config.limits,
            audience=self.config.accounts.audience,
        )
        self.database.start = lambda reactor: None  # type: ignore[method-assign]  # what runs inline needs no threads
        self.watermark = Watermark(folder / "watermark")
        self.pipes: list[Pipe] = []
        self.world: dict[str, Abroad] = {}
        self.compose()
        self._certificate_stamp = tuple  # type: ignore[method-assign]  # they are no files here
        self.startService()
        self.settle()

    async def _connect(self, address: Address, stream: Stream) -> None:
        abroad = list(self.world.values())[int(address.host.rpartition(".")[2]) - 2]
        self.pipes.append(Pipe(stream, abroad.called()))

    def settle(self) -> None:
        """Until nobody has anything more to say at this moment."""
        for _ in range(2000):
            moved = [pipe.pump() for pipe in self.pipes]
            due = [call for call in self.time.getDelayedCalls() if call.getTime() <= self.time.seconds()]
            if due:
                self.time.advance(0)
            elif not any(moved) and any(abroad.waits for abroad in self.world.values()):
                for abroad in self.world.values():
                    if abroad.waits:
                        abroad.call()
            elif not any(moved):
                self.pipes = [pipe for pipe in self.pipes if any(line.protocol for line in pipe.lines)]
                return
        raise AssertionError("they do not stop talking")

    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.time.advance(seconds)
        self.settle()

    def account(self, name: str) -> JID:
        self.database.run(registering.create_account, name, "secret")
        return JID(name, HOME)

    def online(self, name: str) -> Person:
        person = Person(self, self.sessions.bind(JID(name, HOME), "phone", Void()))
        person.says("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>")
        return person


class Ear(Stream):
    """The end of a stream at another server."""

    abroad: "Abroad"

    def received(self, data: bytes) -> None:
        self.abroad.overhear(self, data)
        super().received(data)


class Abroad:
    """Another server. ``trusted``: its certificate is good; else it proves itself by dialback."""

    def __init__(self, house: House, domain: str, certificates: tls.Certificates, *, trusted: bool) -> None:
        self.house, self.domain, self.certificates, self.trusted = house, domain, certificates, trusted
        self.heard: dict[Ear, bytearray] = {}
        self.said = bytearray()
        self.stanzas: deque[Element] = deque(maxlen=1000)
        self.listeners: list[Callable[[Element], None]] = []
        self.features: tuple[str, ...] = (f"{ns.MICROBLOG}+notify", "http://jabber.org/protocol/mood+notify")
        self._mouth: Ear | None = None
        self._calling: Ear | None = None
        self._unsaid: list[str] = []
        self._numbers = iter(range(1, 1 << 30))
        house.world[domain] = self

    def overhear(self, ear: Ear, data: bytes) -> None:
        self.heard.setdefault(ear, bytearray()).extend(data)

    def bytes_heard(self) -> Iterator[bytes]:
        """All that came, by stream."""
        return (bytes(data) for data in self.heard.values())

    # streams

    def _stream(self, initiating: bool) -> Ear:
        ear = Ear(
            clock=self.house.clock,
            limits=Limits(rates=False),
            content=ns.SERVER,
            stanza_max_bytes=600_000,
            initiating=initiating,
            name=self.domain,
        )
        ear.abroad = self
        return ear

    def called(self) -> Ear:
        """Our node opens a stream."""
        ear = self._stream(False)

        def connected() -> None:
            start(self._answer_call(ear))

        ear.on_connected = connected
        return ear

    async def _answer_call(self, ear: Ear) -> None:
        try:
            await self._opened(ear)
            self._features(ear, Element(ns.TLS, "starttls", None, Element(ns.TLS, "required")))
            assert (await ear.read()).is_(ns.TLS, "starttls")
            ear.send(Element(ns.TLS, "proceed"))
            await ear.start_tls(self.certificates.server_context(s2s=True), server=True)
            await self._opened(ear)
            if self.trusted:
                external = Element(ns.SASL, "mechanism", None, "EXTERNAL")
                self._features(ear, Element(ns.SASL, "mechanisms", None, external))
            else:
                self._features(ear, Element(ns.DIALBACK_FEATURE, "dialback"))
            while True:
                element = await ear.read()
                if element.is_(ns.SASL, "auth"):
                    ear.send(Element(ns.SASL, "success"))
                    ear.restart()
                    await self._opened(ear)
                    self._features(ear)
                    ear.authenticated()
                elif element.uri == ns.DIALBACK:
                    # Whoever asks and whatever the key: this server believes, and is ours to believe.
                    answer = {"from": self.domain, "to": HOME, "type": "valid"}
                    if element.name == "verify":
                        answer["id"] = element.attributes["id"]
                    ear.send(Element(ns.DIALBACK, element.name, answer))
                    ear.authenticated()
                elif element.uri != ns.STREAM:
                    self._stanza(element)
        except StreamClosed:
            pass

    async def _opened(self, ear: Ear) -> None:
        header = await ear.read_header()
        ear.send_header(to=header.from_, from_=self.domain)

    @staticmethod
    def _features(ear: Ear, *features: Element) -> None:
        ear.send(Element(ns.STREAM, "features", None, *features))

    def call(self) -> None:
        """Open a stream to our node and prove who this is; what was to be said is said then."""
        ear = self._stream(True)
        self._calling = ear

        def connected() -> None:
            start(self._introduce(ear))

        ear.on_connected = connected
        theirs = self.house.server_streams.listener().buildProtocol(IPv4Address("TCP", "192.0.2.7", 49152))
        assert isinstance(theirs, Stream)
        self.house.pipes.append(Pipe(ear, theirs))

    @property
    def waits(self) -> bool:
        """Is there something to be said, and no stream to say it on, nor one on its way?"""
        return bool(self._unsaid) and (self._calling is None or self._calling.closed)

    async def _introduce(self, ear: Ear) -> None:
        async def opened() -> Element:
            ear.send_header(to=HOME, from_=self.domain)
            await ear.read_header()
            return await ear.read()

        await opened()
        ear.send(Element(ns.TLS, "starttls"))
        assert (await ear.read()).is_(ns.TLS, "proceed")
        await ear.start_tls(self.certificates.client_context(), server=False, name=HOME)
        features = await opened()
        if self.trusted:
            assert features.find(ns.SASL, "mechanisms") is not None
            ear.send(Element(ns.SASL, "auth", {"mechanism": "EXTERNAL"}, "="))
            assert (await ear.read()).is_(ns.SASL, "success")
            ear.restart()
            await opened()
        else:
            ear.send(Element(ns.DIALBACK, "result", {"from": self.domain, "to": HOME}, "key"))
            answer = await ear.read()
            assert answer.get("type") == "valid", to_text(answer)
        ear.authenticated()
        self._mouth, unsaid, self._unsaid = ear, self._unsaid, []
        for text in unsaid:
            ear.write(text.encode())

    # what is said

    def says(self, text: str) -> None:
        """A stanza of one of the people there."""
        self.mutters(text)
        self.house.settle()
        assert not self._unsaid

    def mutters(self, text: str) -> None:
        """The same, while somebody else is speaking."""
        self.said += text.encode()
        if self._mouth is None or self._mouth.closed:
            self._unsaid.append(text)
        else:
            self._mouth.write(text.encode())

    def hang_up(self) -> None:
        """All streams end."""
        for pipe in self.house.pipes:
            for line in pipe.lines:
                if isinstance(line.protocol, Ear) and line.protocol.abroad is self:
                    line.protocol.close()
        self.house.settle()

    def _stanza(self, element: Element) -> None:
        """Something came: questions are answered."""
        self.stanzas.append(element)
        for listener in self.listeners:
            listener(element)
        if element.name != "iq" or element.get("type") not in ("get", "set"):
            return
        asked = element.first()
        content, type_ = self._answer(asked), "result"
        if content is None:
            condition = f"<service-unavailable xmlns='{ns.STANZAS}'/>"
            content, type_ = f"<error type='cancel'>{condition}</error>", "error"
        from_, id_ = element.get("to") or self.domain, element.get("id") or ""
        to = element.get("from") or HOME
        self.mutters(f"<iq type='{type_}' id='{id_}' from='{from_}' to='{to}'>{content}</iq>")

    def _answer(self, asked: Element | None) -> str | None:
        if asked is None:
            return None
        if asked.is_(ns.PING, "ping"):
            return ""
        if asked.is_(ns.DISCO_INFO, "query"):
            node = f" node='{asked.get('node')}'" if asked.get("node") else ""
            features = "".join(f"<feature var='{feature}'/>" for feature in sorted(self.features))
            return (
                f"<query xmlns='{ns.DISCO_INFO}'{node}><identity category='client' type='pc'/>"
                f"<feature var='{ns.DISCO_INFO}'/>{features}</query>"
            )
        verb = asked.first() if asked.uri == ns.PUBSUB else None
        if verb is not None and verb.name == "subscribe":
            return (
                f"<pubsub xmlns='{ns.PUBSUB}'><subscription node='{verb.get('node')}' jid='{verb.get('jid')}'"
                " subscription='subscribed'/></pubsub>"
            )
        if verb is not None and verb.name == "publish":
            return ""
        if verb is not None and verb.name == "items":
            return f"<pubsub xmlns='{ns.PUBSUB}'><items node='{verb.get('node')}'/></pubsub>"
        return None


CAPULET, VERONA = "capulet.example", "verona.example"
DOMAINS = (CAPULET, VERONA)
