"""What it costs to write one stanza to each of many TLS clients.

    python benchmarks/micro_write.py [--connections 1000] [--rounds 50] [--bytes 910] [--way ours|twisted]

The server side runs here; a child process holds the other ends, reads, and counts. The figure is this process's
processor time (user and system) per stanza and connection. ``--way twisted`` measures Twisted's own TLS the same way.
"""

import argparse
import os
import resource
import socket
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ADDRESS = "127.8.9.1"


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def read_all(port: int, connections: int, ready: int) -> None:
    """The child: TLS clients that do nothing but read."""
    import selectors

    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_METHOD)
    selector = selectors.DefaultSelector()
    held = []
    for _ in range(connections):
        plain = socket.create_connection((ADDRESS, port))
        connection = SSL.Connection(context, plain)
        connection.set_connect_state()
        connection.do_handshake()
        held.append(connection)
        selector.register(plain, selectors.EVENT_READ)
    os.write(ready, b"x")
    while True:
        for key, _ in selector.select():
            if not key.fileobj.recv(262_144):  # type: ignore[union-attr]  # only sockets are registered
                return


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--connections", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=50)
    arguments.add_argument("--bytes", type=int, default=910)
    arguments.add_argument("--way", choices=("ours", "twisted"), default="ours")
    options = arguments.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(4096, 2 * options.connections + 100),) * 2)

    from twisted.internet import epollreactor

    epollreactor.install()
    from twisted.internet import reactor as the_reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
    from twisted.internet.protocol import Factory, Protocol
    from twisted.protocols.tls import TLSMemoryBIOFactory
    from zope.interface import implementer

    from microblog.config import Limits
    from microblog.runtime import Clock
    from microblog.xmpp.tls import Certificates
    from microblog.xmpp.transport import Connection

    reactor: Any = the_reactor
    folder = tempfile.TemporaryDirectory()
    data = Path(folder.name)
    certificates = Certificates("montague.example", None, None, None, data)
    certificates.ensure(datetime.now(UTC))
    context = certificates.server_context(s2s=False)
    writers: list[Any] = []

    class Ours(Connection):
        def made(self) -> None:
            Deferred.fromCoroutine(self.shake_hands(context, server=True, name=None, alpn=None))
            writers.append(self.write)

    class Theirs(Protocol):
        def connectionMade(self) -> None:
            assert self.transport is not None
            writers.append(self.transport.write)

    @implementer(IOpenSSLServerConnectionCreator)
    class Creator:
        def serverConnectionForTLS(self, protocol: object) -> Any:
            from OpenSSL import SSL

            return SSL.Connection(context, None)

    clock = Clock(reactor)
    limits = Limits(rates=False)
    factory: Any = Factory()
    if options.way == "ours":
        factory.buildProtocol = lambda address: Ours(clock=clock, limits=limits, bytes_per_second=None)
    else:
        factory.buildProtocol = lambda address: Theirs()
        factory = TLSMemoryBIOFactory(Creator(), False, factory)
    port = reactor.listenTCP(0, factory, backlog=1024, interface=ADDRESS)
    told, ready = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        number = port.getHost().port
        port.socket.close()
        read_all(number, options.connections, ready)
        os._exit(0)

    stanza = b"<message>" + b"x" * (options.bytes - 19) + b"</message>"
    rounds: list[float] = []

    def one_round() -> None:
        before = cpu()
        for write in writers:
            write(stanza)
        # Twisted writes in the turns that follow; ours is done, and the pause counts for both.
        reactor.callLater(0.05, end_round, before)

    def end_round(before: float) -> None:
        rounds.append((cpu() - before) / len(writers) * 1e6)
        if len(rounds) < options.rounds:
            one_round()
            return
        median, best = statistics.median(rounds), min(rounds)
        print(
            f"{options.way}: {median:.1f} us CPU per stanza (median of {len(rounds)} rounds, best {best:.1f}),"
            f" {len(writers)} connections, {options.bytes} bytes"
        )
        reactor.stop()

    class Ready:
        def fileno(self) -> int:
            return told

        def doRead(self) -> None:
            os.read(told, 1)
            reactor.removeReader(self)
            reactor.callLater(0.5, one_round)

        def connectionLost(self, reason: object) -> None:
            pass

        def logPrefix(self) -> str:
            return "ready"

    reactor.addReader(Ready())
    reactor.run()
    os.waitpid(child, 0)
    folder.cleanup()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
