"""Two whole nodes in memory, joined by real streams with certificates: what one says the other hears, and stores.

People speak to their node in chat, as they would with any client, and hear what it says.
"""

from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectError

from microblog import app
from microblog.config import parse
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.uri import ItemAddress
from microblog.runtime import Clock
from microblog.store.database import Transaction, open_database
from microblog.store.watermark import Watermark
from microblog.usecases import registering
from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xmpp import tls
from microblog.xmpp.resolve import Address
from microblog.xmpp.stream import Stream
from tests.conftest import START
from tests.federation.abroad import Pipe
from tests.federation.nodes import Authority
from tests.im.town import Line
from tests.xmltext import read_all
from tests.xmpp.lines import start

MONTAGUE, CAPULET = "montague.example", "capulet.example"
_ROUTES = {MONTAGUE: "127.0.0.2:5269", CAPULET: "127.0.0.3:5269"}


class Talker:
    """Somebody with a chat client."""

    def __init__(self, twin: "Twin", name: str) -> None:
        self.twin, self.jid, self.line = twin, JID(name, twin.domain), Line()
        self.session = twin.sessions.bind(self.jid, "phone", self.line)
        self._said = 0
        self._sends("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>")
        self.hears()

    def _sends(self, text: str) -> None:
        for element in read_all(text):
            start(self.twin.router.from_client(self.session, element))
        self.twin.twins.settle()

    def says(self, text: str) -> list[str]:
        """Something to the node; what comes of it is heard."""
        self._said += 1
        self._sends(f"<message type='chat' id='m{self._said}' to='{self.twin.domain}'><body>{text}</body></message>")
        return self.hears()

    def reacts(self, message_id: str, *emoji: str) -> None:
        """XEP-0444."""
        said = "".join(f"<reaction>{one}</reaction>" for one in emoji)
        self._said += 1
        self._sends(
            f"<message type='chat' id='m{self._said}' to='{self.twin.domain}'>"
            f"<reactions xmlns='{ns.REACTIONS}' id='{message_id}'>{said}</reactions></message>"
        )

    def receives(self) -> list[Element]:
        """The messages that have come, of whomever."""
        written, self.line.written = self.line.written, []
        return [stanza for stanza in read_all(b"".join(written).decode()) if stanza.name == "message"]

    def hears(self) -> list[str]:
        """Their words."""
        said = (stanza.child_text(ns.CLIENT, "body") for stanza in self.receives())
        return [words for words in said if words]


class Twin(app.Node):
    """One of the two."""

    def __init__(self, twins: "Twins", domain: str, certificates: tls.Certificates, folder: Path, hidden: bool) -> None:
        values: dict[str, Any] = {
            "node": {"domain": domain, "data": str(folder)},
            "limits": {"rates": False},
            "s2s": {"routes": {name: route for name, route in _ROUTES.items() if name != domain}},
        }
        if hidden:
            values["s2s"]["listen"] = []
        super().__init__(parse(values, folder), twins.time)
        self.twins, self.domain = twins, domain
        self.clock = Clock(twins.time, start=START)
        self.certificates = certificates
        self.database = open_database(
            "sqlite://",
            domain=domain,
            now=self.clock.now,
            limits=self.config.limits,
            audience=self.config.accounts.audience,
        )
        self.database.start = lambda reactor: None  # type: ignore[method-assign]  # what runs inline needs no threads
        self.watermark = Watermark(folder / f"{domain}.watermark")
        self.compose()
        self._certificate_stamp = tuple  # type: ignore[method-assign, assignment]  # they are no files here
        self.startService()

    async def _connect(self, address: Address, stream: Stream) -> None:
        self.twins.connect(stream, self)

    def talker(self, name: str) -> Talker:
        """Somebody with an account who comes on line."""
        self.database.run(registering.create_account, name, "secret")
        return Talker(self, name)

    def items(self, service: JID, node: str) -> list[Item]:
        """What is kept here of a node, oldest first."""

        def read(tx: Transaction) -> list[Item]:
            found = tx.nodes.find(service, node)
            return [] if found is None else tx.items.newest(found.key, 100)

        return self.database.run(read)

    def newest(self, service: JID, node: str) -> ItemAddress:
        """Where the newest item is."""
        return ItemAddress(service, node, self.items(service, node)[-1].id)


class Twins:
    """Both, in one time; a ``hidden`` one cannot be called."""

    def __init__(self, authority: Authority, folder: Path, hidden: str = "") -> None:
        self.time = task.Clock()
        self._pipes: list[Pipe] = []
        self.down = False
        self.montague, self.capulet = (
            Twin(self, domain, authority.certificates(domain), folder, domain == hidden)
            for domain in (MONTAGUE, CAPULET)
        )
        self.settle()

    def connect(self, stream: Stream, by: Twin) -> None:
        """One calls the other."""
        other = self.capulet if by is self.montague else self.montague
        if self.down or not other.config.s2s.listen:
            raise ConnectError("nobody listens")
        theirs = other.server_streams.listener().buildProtocol(IPv4Address("TCP", "192.0.2.7", 49152))
        assert isinstance(theirs, Stream)
        self._pipes.append(Pipe(stream, theirs))

    def part(self) -> None:
        """They cannot reach each other any more."""
        self.down = True
        for pipe in self._pipes:
            for line in pipe.lines:
                if line.protocol is not None:
                    line.lose()
        self.settle()

    def meet(self) -> None:
        """They can again, and some time has gone by."""
        self.down = False
        for _ in range(10):
            self.time.advance(60)
            self.settle()

    def settle(self) -> None:
        """Until nobody has anything more to say at this moment."""
        for _ in range(5000):
            moved = [pipe.pump() for pipe in self._pipes]
            due = [call for call in self.time.getDelayedCalls() if call.getTime() <= self.time.seconds()]
            if due:
                self.time.advance(0)
            elif not any(moved):
                self._pipes = [pipe for pipe in self._pipes if any(line.protocol for line in pipe.lines)]
                return
        raise AssertionError("they do not stop talking")
