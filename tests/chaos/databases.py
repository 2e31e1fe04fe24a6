"""The nodes' databases, read by plain SQL: what a run is judged by does not ask the code that it judges."""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.interop.microblogging import MICROBLOG

_TITLE = re.compile(r"(tok\w+) version (\d+)")


@dataclass(frozen=True, slots=True)
class Stored:
    """An item of a microblog at one node."""

    feed: str
    item: str
    token: str
    number: int
    audience: str
    proof: str
    publisher: str
    position: int
    updated: int


@dataclass(frozen=True, slots=True)
class Follow:
    """A subscription at a node: to a feed that is its own, or of its own people elsewhere."""

    feed: str
    reader: str
    state: str
    problem: str


class Database:
    """One node's, as it is now."""

    def __init__(self, path: Path) -> None:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)
        try:
            connection.execute("BEGIN")
            read = connection.execute
            self.items: dict[tuple[str, str], Stored] = {}
            rows = read(
                "SELECT n.service, i.item_id, i.payload, i.audience, i.proof, i.publisher, i.position, i.updated"
                " FROM items i JOIN nodes n ON n.id = i.node_id WHERE n.name = ?",
                (MICROBLOG,),
            )
            for feed, item, payload, *rest in rows:
                title = _TITLE.search(payload)
                token, number = (title[1], int(title[2])) if title else ("", -1)
                self.items[feed, item] = Stored(feed, item, token, number, *rest)
            self.graves = set(
                read(
                    "SELECT n.service, t.item_id FROM tombstones t JOIN nodes n ON n.id = t.node_id WHERE n.name = ?",
                    (MICROBLOG,),
                )
            )
            self.follows = [
                Follow(*row)
                for row in read(
                    "SELECT n.service, s.bare, s.state, s.problem FROM subscriptions s JOIN nodes n ON n.id = s.node_id"
                    " WHERE n.name = ? AND s.options NOT LIKE '%implicit%'",
                    (MICROBLOG,),
                )
            ]
            self.owed: dict[str, int] = dict(read("SELECT domain, count(*) FROM outbox GROUP BY domain"))
            for domain, count in self._unacknowledged(connection):
                self.owed[domain] = self.owed.get(domain, 0) + count
            self.on_their_way: list[int] = [row[0] for row in read("SELECT event_seq FROM fan_outs")]
            self.marks = dict(read("SELECT domain, count(*) FROM backlog_marks GROUP BY domain"))
            self.behind = [row[0] for row in read("SELECT domain FROM peers WHERE behind IS NOT NULL")]
            self.waiting = [
                f"{domain}: {error}"
                for domain, error in read("SELECT domain, last_error FROM remote_domains WHERE failures > 0")
            ]
            self.log_numbers = {
                row[0]: row[1:]
                for row in read("SELECT domain, number, acknowledged, received, epoch, received_epoch FROM peers")
            }
            self.epoch = next(iter(read("SELECT value FROM settings WHERE name = 'epoch'")), ("",))[0]
            self.rows = {
                table: next(read(f"SELECT count(*) FROM {table}"))[0]
                for table in ("items", "events", "outbox", "delivery_log", "subscriptions", "tombstones")
            }
            self.sound = next(read("PRAGMA quick_check"))[0] == "ok"
        finally:
            connection.close()

    @staticmethod
    def _unacknowledged(connection: sqlite3.Connection) -> Iterable[tuple[str, int]]:
        yield from connection.execute("SELECT domain, number - acknowledged FROM peers WHERE number > acknowledged")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`at` lists a follower of its feed at `other` that is unknown there; or the other way round, if not `listed`."""

    at: str
    other: str
    feed: str
    reader: str
    listed: bool


def disagreements(databases: dict[str, Database]) -> Iterator[Disagreement]:
    """Where two nodes have not the same followers."""
    for at, database in databases.items():
        for other, there in databases.items():
            if at != other:
                listed, believed = (_between(one, at, other) for one in (database, there))
                for feed, reader in sorted(listed ^ believed):
                    yield Disagreement(at, other, feed, reader, (feed, reader) in listed)


def _between(database: Database, at: str, other: str) -> set[tuple[str, str]]:
    return {
        (one.feed, one.reader)
        for one in database.follows
        if one.feed.endswith(f"@{at}") and one.reader.endswith(f"@{other}") and one.state == "subscribed"
    }


def grep(paths: Iterable[Path], words: Iterable[str]) -> dict[str, str]:
    """Which of the words are in files, and in which file: bytes are compared, whatever the file is."""
    wanted = {word.encode(): word for word in words}
    if not wanted:
        return {}
    pattern = re.compile(b"|".join(map(re.escape, sorted(wanted, key=len, reverse=True))))
    found: dict[str, str] = {}
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError:
            continue
        for match in pattern.finditer(data):
            found.setdefault(wanted[match[0]], path.name)
    return found
