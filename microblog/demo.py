"""`twistd microblog demo`: two nodes in one process, a person on each, following each other.

The nodes are whole ones, with a folder, a database and a certificate each, and speak with each other over real
streams on loopback, by dialback inside TLS since nobody vouches for their certificates. The two people are ordinary
clients (Twisted's), which follow each other, post, and print what arrives. Other clients can log in beside them.
"""

import secrets
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.words.protocols.jabber import client, xmlstream
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element

from microblog import config
from microblog.app import Node
from microblog.config import Config
from microblog.runtime import Clock, keep_steady_time
from microblog.terminal import Failure, Options
from microblog.usecases import registering
from microblog.wire import ns

ADDRESS = "127.0.0.1"
MICROBLOG = "urn:xmpp:microblog:0"
ARRIVAL_SECONDS = 30
DOMAINS = ("montague.example", "capulet.example")


class Person:
    """Somebody with a client."""

    def __init__(self, clock: Clock, name: str, domain: str, port: int, say: Callable[[str], None]) -> None:
        self.address = f"{name}@{domain}"
        self.name = name
        self.port = port
        self.password = secrets.token_urlsafe(9)
        self.arrived: Deferred[str] = Deferred()
        self._clock = clock
        self._say = say
        self._stream: Any = None
        self._factory: Any = None

    async def connect(self, reactor: Any) -> None:
        """Log in, and be available."""
        ready: Deferred[Any] = Deferred()
        # Whoever runs the demo has just seen the certificate being made; there is nobody to verify it with.
        tls = CertificateOptions()
        self._factory = client.XMPPClientFactory(JID(f"{self.address}/demo"), self.password, configurationForTLS=tls)
        self._factory.maxRetries = 0
        self._factory.addBootstrap(xmlstream.STREAM_CONNECTED_EVENT, xmlstream.upgradeWithIQResponseTracker)
        self._factory.addBootstrap(xmlstream.STREAM_AUTHD_EVENT, ready.callback)
        self._factory.addBootstrap(xmlstream.INIT_FAILED_EVENT, ready.errback)
        connector = reactor.connectTCP(ADDRESS, self.port, self._factory)
        try:
            self._stream = await self._clock.deadline(ready, ARRIVAL_SECONDS)
        except Exception:
            connector.disconnect()
            raise
        self._stream.addObserver("/message/event[@xmlns='http://jabber.org/protocol/pubsub#event']", self._hear)
        self._stream.send(Element((None, "presence")))

    async def follow(self, other: "Person") -> None:
        """Subscribe to somebody's microblog (XEP-0060 §6.1)."""
        request = self._request("set")
        subscribe = request.addElement((ns.PUBSUB, "pubsub")).addElement("subscribe")
        subscribe["node"] = MICROBLOG
        subscribe["jid"] = self.address
        await self._clock.deadline(request.send(other.address), ARRIVAL_SECONDS)
        self._say(f"{self.address} follows {other.address}")

    async def post(self, text: str) -> None:
        """Publish to one's own microblog (XEP-0277)."""
        request = self._request("set")
        publish = request.addElement((ns.PUBSUB, "pubsub")).addElement("publish")
        publish["node"] = MICROBLOG
        item = publish.addElement("item")
        item["id"] = secrets.token_hex(8)
        now = self._clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")
        entry = item.addElement(("http://www.w3.org/2005/Atom", "entry"))
        for name, content in (("title", text), ("id", f"urn:{item['id']}"), ("published", now), ("updated", now)):
            entry.addElement(name, content=content)
        await self._clock.deadline(request.send(), ARRIVAL_SECONDS)
        self._say(f'{self.address} posts "{text}"')

    def disconnect(self) -> None:
        """Log out."""
        if self._factory is not None:
            self._factory.stopTrying()
        if self._stream is not None:
            self._stream.sendFooter()
            self._stream.transport.loseConnection()

    def _request(self, type_: str) -> Any:
        return xmlstream.IQ(self._stream, type_)

    def _hear(self, message: Any) -> None:
        author = str(message.getAttribute("from", "")).partition("/")[0]
        for item in message.event.items.elements() if message.event.items else ():
            if item.name != "item" or item.entry is None:
                continue
            text = str(item.entry.title or "")
            self._say(f'{self.address} hears from {author}: "{text}"')
            if author != self.address and not self.arrived.called:
                self.arrived.callback(text)


class Demo:
    """Two nodes and two people, from the first line to Ctrl-C."""

    def __init__(self, reactor: Any, folder: Path, port: int, *, once: bool) -> None:
        self._reactor = reactor
        self._once = once
        self._clock = Clock(reactor)
        self.configs = [node_config(folder, number, port) for number in (0, 1)]
        self._nodes = [Node(each, reactor) for each in self.configs]
        self._people = [
            Person(self._clock, name, domain, each.c2s.listen[0].port, self._say)
            for name, domain, each in zip(("romeo", "juliet"), DOMAINS, self.configs, strict=True)
        ]
        self._started: list[Node] = []
        self._ending = False
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Until somebody interrupts; `failure` says whether anything went wrong."""
        self._reactor.callWhenRunning(lambda: Deferred.fromCoroutine(self._play()))
        self._reactor.addSystemEventTrigger("before", "shutdown", self._end)
        self._reactor.run()

    async def _play(self) -> None:
        try:
            self._open()
            self._introduce()
            romeo, juliet = self._people
            for person in (romeo, juliet):
                await person.connect(self._reactor)
            await romeo.follow(juliet)
            await juliet.follow(romeo)
            await juliet.post("Thou knowest the mask of night is on my face.")
            await self._clock.deadline(romeo.arrived, ARRIVAL_SECONDS)
            await romeo.post("With love's light wings did I o'erperch these walls.")
            await self._clock.deadline(juliet.arrived, ARRIVAL_SECONDS)
        except Exception as error:
            if not self._ending:
                self.failure = error
                self._reactor.stop()
            return
        if self._once:
            self._reactor.stop()
        else:
            print("\nLog in beside them, post, and see it arrive here. Ctrl-C ends the demo.\n", flush=True)

    def _open(self) -> None:
        for node, person in zip(self._nodes, self._people, strict=True):
            node.open()
            node.database.run(registering.create_account, person.name, person.password)
            node.startService()
            self._started.append(node)

    def _introduce(self) -> None:
        print("Two nodes on this machine, which know nobody but each other:\n")
        for each, person in zip(self.configs, self._people, strict=True):
            (starttls,), (direct,) = each.c2s.listen, each.c2s.direct_tls
            print(f"  {each.node.domain}")
            print(f"    log in as    {person.address}   password   {person.password}")
            print(f"    server       {starttls} (STARTTLS) or {direct} (TLS); the certificate is self-signed")
            print(f"    for servers  {each.s2s.listen[0]}\n", flush=True)

    def _say(self, text: str) -> None:
        moment = self._clock.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
        shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
        print(f"{moment}  {shown}", flush=True)

    async def _stop_nodes(self) -> None:
        for person in self._people:
            person.disconnect()
        for node in self._started:
            await node.stopService()

    def _end(self) -> Deferred[None]:
        self._ending = True
        return Deferred.fromCoroutine(self._stop_nodes())


def node_config(folder: Path, number: int, port: int) -> Config:
    """One of the two: all on loopback, with a route to the other."""
    base, other = port + 100 * number, port + 100 * (1 - number)
    mapping = {
        "node": {"domain": DOMAINS[number], "data": DOMAINS[number]},
        "c2s": {"listen": [f"{ADDRESS}:{base}"], "direct_tls": [f"{ADDRESS}:{base + 1}"]},
        "s2s": {
            "listen": [f"{ADDRESS}:{base + 47}"],
            "routes": {DOMAINS[1 - number]: f"{ADDRESS}:{other + 47}"},
        },
        # It is a demonstration on any machine, however full its disk.
        "limits": {"free_disk_min_bytes": 0},
    }
    return config.parse(mapping, folder)


def demo(options: Options) -> int:
    """Run it; the exit status."""
    from twisted.internet import reactor

    keep_steady_time(reactor)
    errors = LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)
    log = FilteringLogObserver(textFileLogObserver(sys.stdout), [errors])
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    with tempfile.TemporaryDirectory(prefix="microblog-demo-") as folder:
        play = Demo(reactor, Path(folder), options["port"], once=bool(options["once"]))
        play.run()
    if isinstance(play.failure, TimeoutError):
        raise Failure("Something did not arrive within half a minute.") from play.failure
    if play.failure is not None:
        raise play.failure
    return 0
