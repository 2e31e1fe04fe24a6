"""What a page of a home timeline costs at the size of a large node: from the use case to the bytes of the answer.

    python benchmarks/home_page.py [--accounts 350000] [--items 5000000] [--follows 1000] [--tags 0]
        [--folder DIRECTORY]

Accounts, a follow graph in which followers are distributed by a power law, and posts by authors of whom likewise few
write much, are written straight into SQLite; a folder keeps the database for the next run. Then people who follow as
many feeds as is said read their home timeline: the first page, a page half way down, and the page before that one,
with and without the number of all posts. With ``--tags`` they follow so many tags as well, of 1,000 that one post in
three has, few of them often. Each reader reads each page twice: "cold" is the first time, when nothing of
what they follow is in SQLite's own cache. CPU is that of the whole process.
"""

import argparse
import random
import resource
import sqlite3
import statistics
import tempfile
import time
from bisect import bisect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from microblog.model.item import PageRequest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store import tables
from microblog.store.database import Database, open_database
from microblog.usecases import reading
from microblog.usecases.reading import HOME, Reading, TimelinePage
from microblog.wire import ns
from microblog.wire.xml import serialize
from microblog.xep.timelines import write_page

DOMAIN = "montague.example"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEARS = timedelta(days=730)
TEXT = "But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun. " * 4
PAYLOAD = (
    "<entry xmlns='http://www.w3.org/2005/Atom'><title>{text}</title><id>tag:montague.example,2026:{number}</id>"
    "<author><name>{author}</name><uri>xmpp:{author}@montague.example</uri></author>"
    "<published>2026-01-01T12:00:00Z</published><updated>2026-01-01T12:00:00Z</updated></entry>"
)
SEEN = 1 << 40  # keys are made here


class Crowd:
    """Draws numbers below ``size``: small ones often, by a power law."""

    def __init__(self, size: int, exponent: float, chance: random.Random) -> None:
        self._sums = list(accumulate((n + 1) ** -exponent for n in range(size)))
        self._chance = chance

    def draw(self) -> int:
        return bisect(self._sums, self._chance.random() * self._sums[-1])


def fill(path: Path, accounts: int, items: int, follows: int, tags: int, readers: int) -> None:
    """Write it all into the tables; the indexes that can be made afterwards are."""
    engine = create_engine(f"sqlite:///{path}")
    tables.metadata.create_all(engine)
    engine.dispose()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4000000", "foreign_keys = OFF"):
        connection.execute(f"PRAGMA {pragma}")
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        " AND tbl_name IN ('items', 'subscriptions', 'nodes')"
    ).fetchall()
    for index, _ in indexes:
        connection.execute(f"DROP INDEX {index}")
    chance = random.Random(1)
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO accounts (id, localpart, admin, disabled, audience, roster_version, created)"
        " VALUES (?, ?, 0, 0, 'public', 0, 0)",
        ((n + 1, name(n)) for n in range(accounts)),
    )
    connection.executemany(
        "INSERT INTO nodes (id, service, name, access_model, config, created) VALUES (?, ?, ?, 'open', '{}', 0)",
        ((n + 1, f"{name(n)}@{DOMAIN}", MICROBLOG) for n in range(accounts)),
    )
    connection.executemany(
        "INSERT INTO subscriptions (node_id, subscriber, bare, domain, state, subid, options, created, received,"
        " delivered, public, problem) VALUES (?, ?, ?, ?, 'subscribed', 'x', '{}', 0, 0, 0, 0, '')",
        graph(accounts, follows, readers, chance),
    )
    connection.executemany(
        "INSERT INTO items (id, node_id, item_id, position, publisher, payload, audience, proof, published, updated,"
        " stands, thread, answers, via, expires) VALUES (?, ?, ?, ?, ?, ?, ?, 'local', ?, ?, ?, '', '', '', NULL)",
        posts(accounts, items, chance),
    )
    if tags:
        connection.executemany("INSERT INTO item_tags (tag, stands, item) VALUES (?, ?, ?)", tagged(items, chance))
        connection.executemany(
            "INSERT INTO followed_tags (account_id, tag, created) VALUES (?, ?, 0)",
            ((reader + 1, f"tag{tag}") for reader in range(readers) for tag in range(tags)),
        )
    for _, statement in indexes:
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.close()


def name(account: int) -> str:
    return f"servant{account}"


def graph(accounts: int, follows: int, readers: int, chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Who follows whom: everybody a few, by a power law; the readers as many as is said."""
    popular = Crowd(accounts, 0.8, chance)
    for account in range(accounts):
        wanted = follows if account < readers else min(int(chance.paretovariate(1.1)) + 1, follows)
        chosen: set[int] = set()
        while len(chosen) < min(wanted, accounts - 1):
            # The most popular are not the first accounts, who are the readers.
            followed = (popular.draw() * 7919 + readers) % accounts
            if followed != account:
                chosen.add(followed)
        subscriber = f"{name(account)}@{DOMAIN}"
        for followed in chosen:
            yield followed + 1, subscriber, subscriber, DOMAIN


def posts(accounts: int, items: int, chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Posts over two years, in the order in which they were written."""
    busy = Crowd(accounts, 0.8, chance)
    start, step = (NOW - YEARS - EPOCH) // timedelta(microseconds=1), YEARS // items // timedelta(microseconds=1)
    for number in range(items):
        account = (busy.draw() * 7919 + 13) % accounts
        author = name(account)
        stands = start + number * step
        audience = "followers" if number % 10 == 0 else "local" if number % 10 == 1 else "public"
        payload = PAYLOAD.format(text=TEXT, number=number, author=author)
        yield (
            number + 1,
            account + 1,
            f"item{number}",
            number + 1,
            f"{author}@{DOMAIN}",
            payload,
            audience,
            stands,
            stands,
            stands,
        )


def tagged(items: int, chance: random.Random) -> Iterator[tuple[str, int, int]]:
    """The tags of every third post."""
    common = Crowd(1000, 1.0, chance)
    start, step = (NOW - YEARS - EPOCH) // timedelta(microseconds=1), YEARS // items // timedelta(microseconds=1)
    for number in range(0, items, 3):
        yield f"tag{common.draw()}", start + number * step, number + 1


def page(database: Database, reader: JID, request: PageRequest, *, counted: bool) -> TimelinePage:
    """Read and render, as a request through pubsub does."""
    found: TimelinePage = answered(database.read(reading.home, Reading(actor=reader, page=request, counted=counted)))
    serialize(write_page(HOME, found, paged=True), ns.CLIENT).encode()
    return found


def answered(deferred: Any) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def measure(what: str, readers: list[JID], read: Callable[[JID], object]) -> None:
    """Every reader twice; print the figures of the first and the second time."""
    for label in ("cold", "warm"):
        walls, before = [], time.process_time()
        for reader in readers:
            started = time.perf_counter()
            read(reader)
            if label == "warm":
                read(reader)
            walls.append((time.perf_counter() - started) / (2 if label == "warm" else 1))
        pages = len(readers) * (2 if label == "warm" else 1)
        cpu = 1000 * (time.process_time() - before) / pages
        walls.sort()
        print(
            f"{what:32} {label}: {cpu:6.2f} ms CPU a page; p50 {1000 * statistics.median(walls):6.2f} ms,"
            f" p99 {1000 * walls[int(0.99 * len(walls))]:6.2f} ms"
        )


def main() -> None:
    """Make the database if need be, measure, print."""
    parser = argparse.ArgumentParser(description="CPU and latency of home pages at the size of a large node.")
    parser.add_argument("--accounts", type=int, default=350_000)
    parser.add_argument("--items", type=int, default=5_000_000)
    parser.add_argument("--follows", type=int, default=1000)
    parser.add_argument("--tags", type=int, default=0)
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--max", type=int, default=20, help="items a page")
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        tags = f"-{arguments.tags}" if arguments.tags else ""
        path = folder / f"home-{arguments.accounts}-{arguments.items}-{arguments.follows}{tags}.sqlite"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            unfinished = path.with_suffix(".unfinished")
            unfinished.unlink(missing_ok=True)
            fill(
                unfinished,
                arguments.accounts,
                arguments.items,
                arguments.follows,
                arguments.tags,
                arguments.readers,
            )
            unfinished.rename(path)
            print(f"made in {time.monotonic() - started:.0f} s, {path.stat().st_size / 2**30:.1f} GiB")
        database = open_database(f"sqlite:///{path}", domain=DOMAIN, now=lambda: NOW, create=True)
        show(database, arguments)
        database.close()


def show(database: Database, arguments: argparse.Namespace) -> None:
    """The figures."""
    readers = [JID(name(n), DOMAIN) for n in range(arguments.readers)]
    size = arguments.max
    print(
        f"{arguments.accounts:,} accounts, {arguments.items:,} items; {arguments.follows:,} feeds"
        f"{f', {arguments.tags} tags' if arguments.tags else ''}, {size} posts a page"
    )
    half = (NOW - YEARS / 2 - EPOCH) // timedelta(microseconds=1)
    anchor = f"{half}.{SEEN}"
    first, deep, back = (
        PageRequest(max=size),
        PageRequest(max=size, after=anchor),
        PageRequest(max=size, before=anchor),
    )
    found = page(database, readers[0], first, counted=True)
    assert len(found.posts) == size, "the reader's feeds have too few posts"
    pages = {"first page": first, "page after half": deep, "page before half": back}
    for label, counted in (("", True), (", without count", False)):
        for what, request in pages.items():
            measure(f"{what}{label}", readers, partial(page, database, request=request, counted=counted))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
