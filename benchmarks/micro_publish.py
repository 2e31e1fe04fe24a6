"""What one publish costs without streams and XML: the use case through `Database.write`, flushed to disk.

    python benchmarks/micro_publish.py [--writers 8] [--publishes 20000] [--followers 0] [--folder DIRECTORY]

So many writers each publish their next post when the last one is on disk, as clients do. CPU is that of the whole
process: the writer's thread and the reactor's.
"""

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from twisted.internet.defer import Deferred

from microblog.model.entry import Entry
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.database import Database, open_database
from microblog.store.transaction import Transaction
from microblog.usecases.owning import create_microblog_node
from microblog.usecases.publishing import Publish, publish
from microblog.usecases.subscribing import Subscribe, subscribe

DOMAIN = "montague.example"
TEXT = "But, soft! what light through yonder window breaks? " * 10


def prepare(tx: Transaction, writers: int, followers: int) -> None:
    """Feeds, and followers at 20 other domains."""
    for n in range(writers):
        service = JID.parse(f"writer{n}@{DOMAIN}")
        create_microblog_node(tx, service, Audience.PUBLIC)
        for m in range(followers):
            jid = JID.parse(f"follower{m}@domain{m % 20}.example")
            subscribe(tx, Subscribe(service=service, node=MICROBLOG, actor=jid, jid=jid))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Publishes per second through the database alone.")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--publishes", type=int, default=20_000)
    parser.add_argument("--followers", type=int, default=0)
    parser.add_argument("--folder", default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "microblog.sqlite"
        database = open_database(f"sqlite:///{path}", domain=DOMAIN, now=lambda: datetime.now(UTC), create=True)
        database.run(prepare, arguments.writers, arguments.followers)
        measure(database, arguments.writers, arguments.publishes)


def measure(database: Database, writers: int, publishes: int) -> None:
    """Let the writers write."""
    from twisted.internet import reactor

    heard = 0
    left = publishes
    busy = writers
    started = (0.0, 0.0)

    def listen(_: object) -> None:
        nonlocal heard
        heard += 1

    def write(writer: int, number: int) -> None:
        nonlocal left, busy
        if left == 0:
            busy -= 1
            if busy == 0:
                report()
            return
        left -= 1
        service = JID.parse(f"writer{writer}@{DOMAIN}")
        entry = Entry(title=TEXT, updated=datetime.now(UTC))
        payload = f"<entry xmlns='http://www.w3.org/2005/Atom'><title>{TEXT}</title></entry>"
        request = Publish(
            service=service,
            node=MICROBLOG,
            actor=service.with_resource("phone"),
            item_id=f"{writer}-{number}",
            payload=payload,
            entry=entry,
        )
        database.write(publish, request).addCallbacks(lambda _: write(writer, number + 1), fail)

    def fail(failure: object) -> None:
        print(failure)
        os._exit(1)

    def report() -> None:
        seconds, cpu = time.monotonic() - started[0], time.process_time() - started[1]
        print(
            f"{publishes} publishes by {writers} writers: {publishes / seconds:,.0f}/s, "
            f"{1000 * cpu / publishes:.3f} ms CPU each, {heard} events heard"
        )
        Deferred.fromCoroutine(database.stop()).addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]  # the reactor is a module to mypy

    def start() -> None:
        nonlocal started
        database.listeners.append(listen)
        database.start(reactor)
        started = (time.monotonic(), time.process_time())
        for writer in range(writers):
            write(writer, 0)

    reactor.callWhenRunning(start)  # type: ignore[attr-defined]  # likewise
    reactor.run()  # type: ignore[attr-defined]  # likewise


if __name__ == "__main__":
    main()
