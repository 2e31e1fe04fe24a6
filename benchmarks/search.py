"""What a search costs, and what indexing a post costs: from the use case to a page of posts.

    python benchmarks/search.py [--accounts 1000] [--items 100000] [--url URL] [--searches 20]

Posts of words whose frequencies are those of a language (Zipf's law), by authors of whom few write much, are written
straight into the tables of a new SQLite database, or of an empty PostgreSQL one; then they are indexed as a server does
that has them from before the index was, and looked for: what is rare, what is in nearly every post, what is in none,
phrases, tags, authors, places, and words of posts that one may not read. Each page is read by a reader of its own
words, so that no answer is in a cache.
"""

import argparse
import random
import statistics
import tempfile
import time
from bisect import bisect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.query import Query, parse
from microblog.store import tables
from microblog.store.database import Database, open_database
from microblog.usecases import indexing, searching
from microblog.wire import atom

DOMAIN = "montague.example"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
YEARS = timedelta(days=730)
VOCABULARY = 50_000
PAYLOAD = (
    "<entry xmlns='http://www.w3.org/2005/Atom' xml:lang='{lang}'><title>{text}</title>"
    "<category term='{tag}'/><geoloc xmlns='http://jabber.org/protocol/geoloc'><lat>{lat:.4f}</lat><lon>{lon:.4f}</lon>"
    "</geoloc></entry>"
)
TOGETHER = 5_000


class Words:
    """Draws words: ``w0`` is in nearly every post, ``w49999`` in hardly any."""

    def __init__(self, chance: random.Random) -> None:
        self._sums = list(accumulate(1 / (n + 1) for n in range(VOCABULARY)))
        self._chance = chance

    def draw(self) -> str:
        return f"w{bisect(self._sums, self._chance.random() * self._sums[-1])}"


def fill(database: Database, accounts: int, items: int) -> None:
    """Accounts with their feeds, and the posts; a tenth is for followers, and nobody follows."""
    chance = random.Random(1)
    words = Words(chance)
    connection = database._engine.connect()
    connection.execute(
        insert(tables.accounts),
        [
            {"id": n + 1, "localpart": name(n), "audience": "public", "created": NOW, "roster_version": 0}
            for n in range(accounts)
        ],
    )
    connection.execute(
        insert(tables.nodes),
        [
            {
                "id": n + 1,
                "service": f"{name(n)}@{DOMAIN}",
                "name": MICROBLOG,
                "access_model": "open",
                "config": "{}",
                "created": NOW,
            }
            for n in range(accounts)
        ],
    )
    made = posts(accounts, items, words, chance)
    while some := list(islice(made, TOGETHER)):
        connection.execute(insert(tables.items), some)
    connection.commit()
    connection.close()


def name(account: int) -> str:
    return f"servant{account}"


def posts(accounts: int, items: int, words: Words, chance: random.Random) -> Iterator[dict[str, Any]]:
    step = YEARS / items
    for number in range(items):
        account = min(int(chance.paretovariate(0.5)) - 1, accounts - 1) if number % 2 else number % accounts
        said = " ".join(words.draw() for _ in range(chance.randint(5, 40)))
        if number % 10 == 0:
            said += f" hidden w{number}"
        payload = PAYLOAD.format(
            text=said,
            tag=f"t{chance.randint(0, 999)}",
            lang=chance.choice(("en", "de")),
            lat=chance.uniform(-60, 60),
            lon=chance.uniform(-180, 180),
        )
        stands = NOW - YEARS + number * step
        yield {
            "id": number + 1,
            "node_id": account + 1,
            "item_id": f"item{number}",
            "position": number + 1,
            "publisher": f"{name(account)}@{DOMAIN}",
            "payload": payload,
            "audience": "followers" if number % 10 == 0 else "public",
            "published": stands,
            "updated": stands,
            "stands": stands,
        }


def index(database: Database, items: int) -> None:
    """As a server does behind its publishing, a step at a time; the longest says how long a publish may wait for it."""
    slowest, started, before = 0.0, time.perf_counter(), time.process_time()
    more = True
    while more:
        begun = time.perf_counter()
        more = database.run(indexing.step)
        slowest = max(slowest, time.perf_counter() - begun)
    wall, cpu = time.perf_counter() - started, time.process_time() - before
    print(
        f"indexing: {1e6 * cpu / items:5.0f} µs CPU and {1e6 * wall / items:5.0f} µs a post,"
        f" the longest step {1000 * slowest:.0f} ms"
    )


def measure(database: Database, what: str, searches: int, queries: Callable[[random.Random], str | Query]) -> None:
    """First pages of so many different searches."""
    chance, walls, found, unfinished = random.Random(7), [], 0, 0
    before = time.process_time()
    for _ in range(searches):
        wanted = queries(chance)
        query = parse(wanted, person=JID.parse) if isinstance(wanted, str) else wanted
        reader = JID(name(chance.randint(500, 999)), DOMAIN)
        started = time.perf_counter()
        page = answered(database.read(searching.search, searching.Search(actor=reader, query=query)))
        walls.append(time.perf_counter() - started)
        found += len(page.posts)
        unfinished += page.upto is not None
    cpu = 1000 * (time.process_time() - before) / searches
    walls.sort()
    print(
        f"{what:28} {cpu:6.1f} ms CPU a page; p50 {1000 * statistics.median(walls):6.1f} ms,"
        f" longest {1000 * walls[-1]:6.1f} ms; {found / searches:4.1f} found, {unfinished} not to the end"
    )


def answered(deferred: Any) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def word(chance: random.Random, low: int, high: int) -> str:
    return f"w{chance.randint(low, high)}"


SEARCHES: dict[str, Callable[[random.Random], str | Query]] = {
    "a rare word": lambda chance: word(chance, 10_000, 49_999),
    "a word of one post in 100": lambda chance: word(chance, 200, 300),
    "the commonest words": lambda chance: word(chance, 0, 5),
    "two common words": lambda chance: f"{word(chance, 0, 20)} {word(chance, 0, 20)}",
    "common and none": lambda chance: f"w0 w1 nowhere{chance.random()}",
    "common and rare": lambda chance: f"w0 w1 {word(chance, 10_000, 49_999)}",
    "a common phrase": lambda chance: f'"w0 w{chance.randint(0, 5)}"',
    "a rare phrase": lambda chance: f'"{word(chance, 50, 100)} {word(chance, 50, 100)}"',
    "a phrase that is nowhere": lambda chance: '"w0 w0 w0 w0 w0 w0 w0"',
    "a tag": lambda chance: f"#t{chance.randint(0, 999)}",
    "an author": lambda chance: f"from {name(chance.randint(0, 999))}@{DOMAIN}",
    "a language": lambda chance: "lang:de",
    "near, 50 km": lambda chance: f"near {chance.uniform(-50, 50):.3f},{chance.uniform(-170, 170):.3f} 50km",
    "near, 500 km, and a word": lambda chance: (
        f"w0 near {chance.uniform(-50, 50):.3f},{chance.uniform(0, 99):.3f} 500km"
    ),
    "what one may not read": lambda chance: "hidden",
    "sixteen words": lambda chance: " ".join(f"w{number}" for number in range(16)),
}


def main() -> None:
    """Make the database, index, search, print."""
    parser = argparse.ArgumentParser(description="CPU and latency of searches, and of the index.")
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--url", default="", help="of an empty PostgreSQL database")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        url = arguments.url or f"sqlite:///{Path(temporary) / 'search.sqlite'}"
        database = open_database(url, domain=DOMAIN, now=lambda: NOW, create=True)
        database.read_entry = atom.read_text
        database.run(indexing.step)
        fill(database, arguments.accounts, arguments.items)
        database.run(lambda tx: tx.trails.reach(indexing.PAST, arguments.items + 1))
        index(database, arguments.items)
        if arguments.url:
            database.run(lambda tx: tx.connection.execute(text("ANALYZE")) and None)
        for what, queries in SEARCHES.items():
            measure(database, what, arguments.searches, queries)
        database.close()


if __name__ == "__main__":
    main()
