#!/usr/bin/env python3
"""What ten thousand dead domains cost a running node, and what those that live notice of them.

One node sends posts to two that live. One of its authors is followed at so many domains that are dead as well, and
posts twice a minute: half of the dead refuse the connection, the others take it and never say a word. Their backlogs
are written straight into the database, as the schedule of attempts would have left them. For each shape the node is
started and watched for so many seconds: how long it took until it listened, its memory and processor in each third of
the time, attempts that failed, and how long posts took to be stored at the living.

    none      no domain is dead
    fresh     failing since less than a day: a hundred rows each, a million in all; tried every hour
    marks     failing for a day to a month: a mark each, and what was posted since; tried every 6 or 24 hours
    overdue   as marks, but the node was off, and all of them are due at once when it starts

    PYTHONPATH=. python benchmarks/dead_domains.py [--dead 10000] [--seconds 120] [--rate 5] [SHAPE ...]

Traffic is on loopback only. The table is Markdown.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

SENDER, LIVING, DEAD = "montague.example", ("capulet.example", "verona.example"), "dead.example"
ADDRESSES = {SENDER: "127.61.0.1", LIVING[0]: "127.61.0.2", LIVING[1]: "127.61.0.3"}
POPULAR, LIVELY = "romeo", "benvolio"  # whom the dead follow as well; whom only the living follow
REFUSES, SILENT, PORT = "127.61.0.8", "127.61.0.9", 5269
ROWS = 100
SHAPES = ("none", "fresh", "marks", "overdue")
EVERY_DEAD_SECONDS = 30  # between posts that all the dead follow as well


# The three processes


def run(role: str, folder: Path, rate: float) -> None:
    """A node until it is told to stop; then what it has seen, as JSON."""
    started = time.monotonic()
    from twisted.internet import reactor
    from twisted.internet.defer import succeed
    from twisted.internet.protocol import Factory, Protocol
    from twisted.internet.task import LoopingCall
    from twisted.names import dns

    from microblog.app import Node
    from microblog.config import parse
    from microblog.model.event import ItemPublished
    from microblog.model.jid import JID
    from microblog.usecases import publishing
    from microblog.wire import ns

    clock: Any = reactor

    class Names:
        """Every name is that of a dead domain."""

        def lookupService(self, name: bytes, timeout: object) -> Any:
            host = b"silent.example" if int(name.split(b".")[2][1:]) % 2 else b"refuses.example"
            return answered(dns.SRV, name, dns.Record_SRV(0, 0, PORT, host))

        def lookupAddress(self, name: bytes, timeout: object) -> Any:
            return answered(dns.A, name, dns.Record_A(SILENT if name.startswith(b"silent") else REFUSES))

        def lookupIPV6Address(self, name: bytes, timeout: object) -> Any:
            return succeed(([], [], []))

    def answered(kind: int, name: bytes, record: Any) -> Any:
        return succeed(([dns.RRHeader(name, kind, dns.IN, 60, record)], [], []))

    class Watched(Node):
        def _names(self) -> Any:
            return Names()

    node = Watched(parse(json.loads((folder / "config.json").read_text()), folder), reactor)
    node.privilegedStartService()
    node.startService()
    seen: dict[str, Any] = {"start": time.monotonic() - started, "samples": [], "latencies": [], "failed": 0}

    def sample() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = pages * os.sysconf("SC_PAGE_SIZE") / 1_048_576
        connections = len(os.listdir("/proc/self/fd"))
        seen["samples"].append((time.monotonic(), memory, time.process_time(), seen["failed"], connections))

    def hear(event: Any) -> None:
        if isinstance(event, ItemPublished) and "<title>at " in event.item.payload:
            sent = float(event.item.payload.partition("<title>at ")[2].partition("<")[0])
            alone = event.node.service.localpart == LIVELY
            seen["latencies"].append((sent, time.monotonic() - sent, alone))

    def post(author: str) -> None:
        payload = f"<entry xmlns='{ns.ATOM}'><title>at {time.monotonic():.6f}</title></entry>"
        service = JID(author, SENDER)
        node.tasks.spawn(node.database.write(publishing.publish, entry(service, payload)), "a post")

    if role == SENDER:
        # Somebody who takes the call and never says a word.
        silence = Factory.forProtocol(Protocol)
        clock.listenTCP(PORT, silence, interface=SILENT)
        failed = node.outbox._failed

        async def counted(*state: Any) -> None:
            seen["failed"] += 1
            await failed(*state)

        node.outbox._failed = counted  # type: ignore[method-assign]  # counts attempts on the way
        LoopingCall(post, LIVELY).start(1 / rate)
        LoopingCall(post, POPULAR).start(EVERY_DEAD_SECONDS, now=False)
        LoopingCall(sample).start(1)
    else:
        node.database.listeners += (hear,)
    (folder / "up").write_text("")
    clock.run()
    (folder / "seen.json").write_text(json.dumps(seen))
    os._exit(0)  # threads and all


def entry(author: Any, payload: str) -> Any:
    """A post, as it is published."""
    from microblog.model.node import MICROBLOG
    from microblog.usecases.publishing import Publish
    from microblog.wire import atom

    return Publish(service=author, node=MICROBLOG, actor=author, payload=payload, entry=atom.read_text(payload))


# What they begin with


def configuration(domain: str, folder: Path) -> dict[str, Any]:
    return {
        "node": {"domain": domain, "data": str(folder)},
        "c2s": {"listen": [], "direct_tls": []},
        "s2s": {
            "listen": [f"{ADDRESSES[domain]}:{PORT}"],
            "direct_tls": [],
            "private_addresses": True,
            "routes": {name: f"{address}:{PORT}" for name, address in ADDRESSES.items() if name != domain},
        },
        "tls": {
            "certificate": str(folder / "server.crt"),
            "key": str(folder / "server.key"),
            "trust_roots": str(folder.parent / "authority.crt"),
        },
        "limits": {"rates": False},
    }


def prepare(folder: Path, shape: str, dead: int) -> None:
    """The folders of all three."""
    from tests.interop.ca import CertificateAuthority

    authority = CertificateAuthority(folder)
    for domain in ADDRESSES:
        own = folder / domain
        authority.issue(domain).write(own)
        (own / "config.json").write_text(json.dumps(configuration(domain, own)))
        _fill(own, domain, shape, dead)


def _fill(folder: Path, domain: str, shape: str, dead: int) -> None:
    from microblog.config import parse
    from microblog.model.jid import JID
    from microblog.model.node import MICROBLOG
    from microblog.model.subscription import SubscriptionState
    from microblog.store import migrate
    from microblog.store.database import open_database
    from microblog.store.transaction import Transaction
    from microblog.usecases import following, publishing, registering
    from microblog.usecases.subscribing import Subscribe, subscribe

    config = parse(configuration(domain, folder), folder)
    migrate.upgrade(config.database_url)
    database = open_database(config.database_url, domain=domain, now=lambda: datetime.now(UTC), limits=config.limits)
    authors = [JID(name, SENDER) for name in (POPULAR, LIVELY)]

    def here(tx: Transaction) -> None:
        registering.create_account(tx, "juliet", ())
        for author in authors:
            follow = following.Follow(
                account=JID("juliet", domain), service=author, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED
            )
            following.record_subscribe(tx, follow)

    def there(tx: Transaction) -> None:
        for author in authors:
            registering.create_account(tx, author.localpart, ())
        for number in range(ROWS):
            payload = f"<entry xmlns='http://www.w3.org/2005/Atom'><title>post {number}</title></entry>"
            publishing.publish(tx, entry(authors[0], payload))
        for author in authors:
            for living in LIVING:
                juliet = JID("juliet", living)
                subscribe(tx, Subscribe(service=author, node=MICROBLOG, actor=juliet, jid=juliet))
        node = tx.nodes.find(authors[0], MICROBLOG)
        assert node is not None
        _bury(tx, node.key, shape, dead if shape != "none" else 0)

    database.run(there if domain == SENDER else here)
    database.close()


def _bury(tx: Any, node_key: int, shape: str, dead: int) -> None:
    """The dead: followers, what is owed to them, and how it stands with them."""
    from microblog.store import tables
    from microblog.store.outbox import OPEN

    now, chance = tx.now, random.Random(1)
    names = [f"d{number}.{DEAD}" for number in range(dead)]
    if not names:
        return
    followers = [
        {
            "node_id": node_key,
            "subscriber": f"paris@{name}",
            "bare": f"paris@{name}",
            "domain": name,
            "state": "subscribed",
            "subid": "s",
            "created": now,
        }
        for name in names
    ]
    tx.connection.execute(insert(tables.subscriptions), followers)
    states, marks = [], []
    first = tx.connection.execute(text("SELECT min(seq) FROM events")).scalar_one()
    for name in names:
        days = chance.uniform(0.1, 0.9) if shape == "fresh" else chance.uniform(1.1, 29)
        wait = 3600 if days < 1 else 21_600 if days < 7 else 86_400
        due = -chance.uniform(0, 3600) if shape == "overdue" else chance.uniform(0, wait)
        states.append(
            {
                "domain": name,
                "failures": int(10 + days * 4),
                "failing_since": now - timedelta(days=days),
                "next_attempt": now + timedelta(seconds=due),
                "last_error": "connection refused",
            }
        )
        marks.append(
            {
                "domain": name,
                "node_id": node_key,
                "after": first - 1,
                "narrow_after": first - 1,
                "upto": OPEN,
                "created": now,
            }
        )
    tx.connection.execute(insert(tables.remote_domains), states)
    if shape == "fresh":
        tx.connection.execute(
            text(
                "INSERT INTO outbox (domain, event_seq, created) SELECT d.domain, e.seq, e.created"
                " FROM remote_domains d CROSS JOIN events e WHERE e.kind = 'published' ORDER BY e.seq, d.domain"
            )
        )
    else:
        tx.connection.execute(insert(tables.backlog_marks), marks)


# Watching


def measure(shape: str, dead: int, seconds: float, rate: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="dead-domains-") as name:
        folder = Path(name)
        prepare(folder, shape, dead)
        processes = {}
        for domain in (*LIVING, SENDER):
            own = folder / domain
            log = (own / "log").open("w")
            command = [sys.executable, __file__, "--role", domain, "--folder", str(own), "--rate", str(rate)]
            processes[domain] = subprocess.Popen(command, stdout=log, stderr=log)
            _await(own / "up", processes[domain], own / "log")
        time.sleep(seconds)
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            process.wait(60)
        seen = {domain: json.loads((folder / domain / "seen.json").read_text()) for domain in processes}
        seen[SENDER]["database"] = sum(path.stat().st_size for path in (folder / SENDER).glob("microblog.db*"))
    return seen


def _await(file: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    while not file.exists():
        if process.poll() is not None:
            raise SystemExit(log.read_text()[-2000:])
        time.sleep(0.05)


def row(shape: str, seen: dict[str, Any]) -> list[str]:
    sender = seen[SENDER]
    samples = sender["samples"]
    begin, end = samples[0][0], samples[-1][0]
    # The first tenth is for opening streams.
    settled = begin + (end - begin) / 10
    thirds: list[list[Any]] = [[], [], []]
    for sample in samples:
        thirds[min(2, int(3 * (sample[0] - begin) / (end - begin)))].append(sample)
    memory = " / ".join(f"{max(sample[1] for sample in third):.0f}" for third in thirds)
    cpu = " / ".join(f"{100 * (third[-1][2] - third[0][2]) / (third[-1][0] - third[0][0]):.0f}" for third in thirds)
    tried = " / ".join(f"{(third[-1][3] - third[0][3]) / (third[-1][0] - third[0][0]):.1f}" for third in thirds)
    posts = [(1000 * took, alone) for one in LIVING for at, took, alone in seen[one]["latencies"] if at > settled]
    latencies = sorted(took for took, _ in posts)
    others = sorted(took for took, alone in posts if alone)
    return [
        shape,
        f"{sender['start']:.1f}",
        memory,
        cpu,
        tried,
        str(max(sample[4] for sample in samples)),
        str(len(latencies)),
        f"{statistics.median(latencies):.1f}",
        f"{latencies[int(0.99 * len(latencies))]:.1f}",
        f"{latencies[-1]:.1f}",
        f"{others[int(0.99 * len(others))]:.1f}",
        f"{others[-1]:.1f}",
    ]


COLUMNS = (
    "dead domains",
    "start, s",
    "RSS in thirds, MiB",
    "CPU in thirds, %",
    "attempts/s in thirds",
    "files open, most",
    "posts stored by the living",
    "p50, ms",
    "p99, ms",
    "longest, ms",
    "p99 of posts that only the living follow, ms",
    "longest of these, ms",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", default=SHAPES, metavar="SHAPE")
    parser.add_argument("--dead", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rate", type=float, default=5)
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        run(options.role, options.folder, options.rate)
        return
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for shape in options.shapes:
        print(
            "| " + " | ".join(row(shape, measure(shape, options.dead, options.seconds, options.rate))) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
