"""Posts by what they say: ``item_words`` and the full text index over it, on both databases with the same answers.

What is indexed are our own tokens (``model.query``) and keys for everything else that a query can ask for, so that no
database has a say in where a word begins or what it is folded to. SQLite's FTS5 and PostgreSQL's GIN index tell which
posts have all of these; whether words stand side by side is read from the words themselves.

Posts are numbered by their place: the time at which they stand, and behind it bits that tell those of the same time
apart. So newest first is the order of the table, and of SQLite's index. What is asked for at once is bounded: so many
candidates. Where PostgreSQL finds very many it does not sort them all, but looks through the newest posts.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import BigInteger, bindparam, delete, func, insert, select, text, tuple_, update
from sqlalchemy.exc import DBAPIError

from microblog.model.errors import ResourceConstraint
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.query import Circle, Content, Query
from microblog.store import tables
from microblog.store.engine import sqlstate
from microblog.store.items import ITEM_COLUMNS, read_item
from microblog.store.prepared import Prepared

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# More than any place.
END: Final = (1 << 63) - 1
# Characters of an index entry; PostgreSQL takes a megabyte, and a letter may be four bytes.
WORDS_MAX_CHARACTERS: Final = 200_000
_BITS: Final = 10
# A crowd of one instant has the second behind it.
_BITS_MAX: Final = 30
_SPREAD: Final = 0x9E3779B1
_SUBTAGS_MAX: Final = 4
# Sides of the squares that the world is divided into, in microdegrees.
_SIDES: Final = (10_000, 100_000, 1_000_000, 10_000_000)
_SQUARES_MAX: Final = 16
_HALF: Final = 180_000_000
_WHOLE: Final = 360_000_000
_PLACED: Final = "_p"
# From so many hits on, PostgreSQL's are not sorted.
_MANY: Final = 5_000
_WINDOW: Final = 10_000
_WINDOWS_MAX: Final = 5
_PROGRESS_STEPS: Final = 20_000

_W = tables.item_words
_I = tables.items
_P = tables.item_places
_N = tables.nodes
_VECTOR: Final = "array_to_tsvector(string_to_array(btrim(words || keys), ' '))"

_TAKEN = Prepared(select(_W.c.item).where(_W.c.place == bindparam("at", type_=BigInteger)))
_KNOWN = select(_W.c.item).where(_W.c.item.in_(bindparam("item_keys", expanding=True)))
_SOME_TAKEN = select(_W.c.place).where(_W.c.place.in_(bindparam("places", expanding=True)))
_INSERT = insert(_W).inline()
_INSERT_PLACE = insert(_P).inline()
_UPDATE = (
    update(_W)
    .where(_W.c.item == bindparam("item_key"))
    .values(words=bindparam("new_words"), keys=bindparam("new_keys"))
)
_FORGET = delete(_W).where(_W.c.item.in_(bindparam("item_keys", expanding=True)))
_FORGET_PLACES = delete(_P).where(_P.c.item.in_(bindparam("item_keys", expanding=True)))
_POSTS = select(_N.c.service, *ITEM_COLUMNS).join(_N, _N.c.id == _I.c.node_id).where(_I.c.stands.is_not(None))
_PUBLISHED = _POSTS.where(tuple_(_I.c.node_id, _I.c.item_id).in_(bindparam("addresses", expanding=True)))
_PAST = _POSTS.where(_I.c.id < bindparam("before", type_=BigInteger)).order_by(_I.c.id.desc()).limit(bindparam("limit"))
_LAST = select(func.coalesce(func.max(_I.c.id), 0))
_COLUMNS: Final = "w.place, w.item, i.node_id, i.audience, p.latitude, p.longitude"
_JOINED: Final = "JOIN items i ON i.id = w.item LEFT JOIN item_places p ON p.item = w.item"
_WINDOW_END = text(
    "SELECT min(place), count(*) FROM"
    " (SELECT place FROM item_words WHERE place < :before ORDER BY place DESC LIMIT :window) newest"
)


class Candidate(NamedTuple):
    """A post that has the words and keys of a query. ``place``: where it stands in the index."""

    place: int
    item: int
    node: int
    audience: Audience


class Candidates(NamedTuple):
    """Newest first. ``before``: where to go on; None if that was all."""

    found: Sequence[Candidate]
    before: int | None


class Wanted(NamedTuple):
    """A query as the index is asked. ``groups``: of each one token has to be there; ``phrases``: with spaces around."""

    groups: tuple[tuple[str, ...], ...]
    phrases: tuple[str, ...] = ()
    circle: Circle | None = None


def wanted(query: Query) -> Wanted:
    """What the index is asked for a query; what is found still has to be looked at."""
    words = dict.fromkeys(word for term in query.terms for word in term)
    groups: list[tuple[str, ...]] = [(word,) for word in words]
    groups += [(_key("t", tag),) for tag in query.tags]
    if query.authors or query.domains:
        names = [_key("a", str(author)) for author in query.authors]
        groups.append((*names, *(_key("d", domain) for domain in query.domains)))
    if query.language:
        groups.append((_key("l", query.language),))
    if query.circle is not None:
        groups.append(_squares(query.circle))
    phrases = tuple(_line(term) for term in query.terms if len(term) > 1)
    return Wanted(tuple(groups), phrases, query.circle)


def stands(place: int) -> int:
    """The time of a place in microseconds since 1970."""
    return place >> _BITS


def _keys(content: Content) -> Iterator[str]:
    """What a post is found by beside its words."""
    for tag in sorted(content.tags):
        yield _key("t", tag)
    yield _key("a", str(content.author))
    yield _key("d", content.author.domainpart)
    subtags = content.language.split("-")[:_SUBTAGS_MAX] if content.language else []
    for count in range(1, len(subtags) + 1):
        yield _key("l", "-".join(subtags[:count]))
    if content.latitude is not None and content.longitude is not None:
        yield _PLACED
        for side in _SIDES:
            yield _square(side, content.latitude // side, content.longitude // side)


def _key(kind: str, value: str) -> str:
    # No word has an underscore. What a name is made of does not matter then, nor how long it is.
    return f"_{kind}{blake2b(value.encode('utf-8', 'surrogatepass'), digest_size=10).hexdigest()}"


def _square(side: int, row: int, column: int) -> str:
    # 180° west is 180° east.
    return f"_g{side}_{row + _HALF // side}_{(column + _HALF // side) % (_WHOLE // side)}"


def _squares(circle: Circle) -> tuple[str, ...]:
    """The squares that a circle lies in, of the smallest size with which they are few."""
    south, north, west, east = circle.box()
    width = east - west if west <= east else east - west + _WHOLE
    for side in _SIDES:
        rows = range(south // side, north // side + 1)
        columns = range(west // side, (west + width) // side + 1)
        if len(rows) * len(columns) <= _SQUARES_MAX:
            return tuple(_square(side, row, column) for row in rows for column in columns)
    return (_PLACED,)


def _line(words: Sequence[str]) -> str:
    return f" {' '.join(words)} "


def _words(content: Content) -> str:
    words = _line(content.words) if content.words else " "
    return words if len(words) <= WORDS_MAX_CHARACTERS else words[: words.rindex(" ", 0, WORDS_MAX_CHARACTERS) + 1]


def _joined_keys(content: Content) -> str:
    return "".join(f"{key} " for key in _keys(content))


def _start(item: Item) -> int:
    """The first place of its time."""
    assert item.stands is not None
    return ((item.stands - _EPOCH) // timedelta(microseconds=1)) << _BITS


class Search:
    """The index. What it holds of an item goes with the item."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._postgresql = self._connection.dialect.name == "postgresql"
        self._few: dict[Wanted, Sequence[int] | None] = {}

    # writing

    def put(self, posts: Sequence[tuple[Item, Content]]) -> None:
        """Posts, each once, are found by what they say now."""
        self._few.clear()
        if not posts:
            return
        keys = {"item_keys": [item.key for item, _ in posts]}
        known = set(self._connection.execute(_KNOWN, keys).scalars())
        if known:
            self._connection.execute(_FORGET_PLACES, keys)
        old = [(item, content) for item, content in posts if item.key in known]
        new = [(item, content) for item, content in posts if item.key not in known]
        changes = [
            {"item_key": item.key, "new_words": _words(content), "new_keys": _joined_keys(content)}
            for item, content in old
        ]
        rows = [
            {"place": place, "item": item.key, "words": _words(content), "keys": _joined_keys(content)}
            for place, (item, content) in zip(self._places_for([item for item, _ in new]), new, strict=True)
        ]
        placed = [
            {"item": item.key, "latitude": content.latitude, "longitude": content.longitude}
            for item, content in posts
            if content.latitude is not None and content.longitude is not None
        ]
        for statement, values in ((_UPDATE, changes), (_INSERT, rows), (_INSERT_PLACE, placed)):
            if values:
                self._connection.execute(statement, values)

    def remove(self, item_keys: Sequence[int]) -> None:
        """Posts are not found any more, as if they were gone."""
        self._few.clear()
        if item_keys:
            self._connection.execute(_FORGET, {"item_keys": item_keys})
            self._connection.execute(_FORGET_PLACES, {"item_keys": item_keys})

    def _places_for(self, items: Sequence[Item]) -> list[int]:
        """A place for each that is nobody's: of its own time, or of just after it if there is a crowd."""
        wanted = [_start(item) + item.key % (1 << _BITS) for item in items]
        taken = set(self._connection.execute(_SOME_TAKEN, {"places": wanted}).scalars()) if wanted else set()
        places = []
        for item, place in zip(items, wanted, strict=True):
            tries = 0
            while place in taken:
                # Spread by the item's key, so that it is the same place wherever it is made.
                tries += 1
                bits = min((tries + 1) * _BITS, _BITS_MAX)
                place = _start(item) + (item.key * _SPREAD + tries) % (1 << bits)
                if _TAKEN.scalar(self._connection, {"at": place}) is not None:
                    taken.add(place)
            taken.add(place)
            places.append(place)
        return places

    # what has to be indexed

    def last(self) -> int:
        """The key of the newest item."""
        return int(self._connection.execute(_LAST).scalar_one())

    def published(self, addresses: Sequence[tuple[int, str]]) -> list[tuple[JID, Item]]:
        """Those of these items, by their nodes' keys and their ids, that are posts, each with whose feed it is in."""
        rows = self._connection.execute(_PUBLISHED, {"addresses": addresses}) if addresses else ()
        return [(JID.parse(row[0]), read_item(row, 1)) for row in rows]

    def past(self, before: int, limit: int) -> list[tuple[JID, Item]]:
        """So many posts with smaller keys, newest first, each with whose feed it is in."""
        rows = self._connection.execute(_PAST, {"before": before, "limit": limit})
        return [(JID.parse(row[0]), read_item(row, 1)) for row in rows]

    # asking

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What is asked in here ends after so long at the latest. Raises ResourceConstraint then."""
        if self._postgresql:
            self._connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
        else:
            end = monotonic() + seconds
            driver: Any = self._connection.connection.driver_connection
            driver.set_progress_handler(lambda: monotonic() > end, _PROGRESS_STEPS)
        try:
            yield
        except DBAPIError as error:
            if not _was_interrupted(error):
                raise
            raise ResourceConstraint("that takes too long to look for: say more exactly what it is") from error
        finally:
            if not self._postgresql:
                driver.set_progress_handler(None, 0)
        if self._postgresql:
            self._connection.exec_driver_sql("SET LOCAL statement_timeout TO DEFAULT")

    def candidates(self, asked: Wanted, before: int, limit: int) -> Candidates:
        """So many of the newest posts with the words of a query, before a place; fewer, if it takes too much looking.

        All words are in them; the rest is to be looked at.
        """
        if self._postgresql:
            places, go_on = self._places(asked, before, limit)
            if not places:
                return Candidates((), go_on)
            rows = self._details("FROM item_words w", asked, "WHERE w.place = ANY(:places)", {"places": list(places)})
        else:
            found = (
                "FROM (SELECT rowid AS at FROM item_index WHERE item_index MATCH :match AND rowid < :before"
                " ORDER BY rowid DESC LIMIT :limit) f JOIN item_words w ON w.place = f.at"
            )
            match = " AND ".join(f"({' OR '.join(map(_quoted, group))})" for group in asked.groups)
            rows = self._details(found, asked, "", {"match": match, "before": before, "limit": limit})
            go_on = rows[-1][0] if len(rows) == limit else None
        kept = [Candidate(row[0], row[1], row[2], Audience(row[3])) for row in rows if row[6] and _is_in(asked, row)]
        return Candidates(kept, go_on)

    def _details(self, source: str, asked: Wanted, where: str, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        """The columns of candidates, and whether they have the phrases."""
        place_of = "strpos" if self._postgresql else "instr"
        phrases = {f"phrase_{number}": phrase for number, phrase in enumerate(asked.phrases)}
        said = " AND ".join(f"{place_of}(w.words, :{name}) > 0" for name in phrases) or "1 = 1"
        statement = f"SELECT {_COLUMNS}, {said} {source} {_JOINED} {where} ORDER BY w.place DESC"
        return self._connection.execute(text(statement), values | phrases).all()

    # PostgreSQL

    def _places(self, asked: Wanted, before: int, limit: int) -> tuple[Sequence[int], int | None]:
        """The next places, and where to go on."""
        if asked not in self._few:
            self._few[asked] = self._all_places(asked)
        few = self._few[asked]
        if few is None:
            return self._newest_places(asked, before, limit)
        places = [place for place in few if place < before]
        return places[:limit], (places[limit - 1] if len(places) > limit else None)

    def _all_places(self, asked: Wanted) -> Sequence[int] | None:
        """All places, newest first; None if they are very many. Found in the index, whatever the planner guesses."""
        query = " & ".join(f"({' | '.join(map(_lexeme, group))})" for group in asked.groups)
        statement = f"SELECT place FROM item_words WHERE {_VECTOR} @@ CAST(:query AS tsquery) LIMIT :many"
        self._connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        found = list(self._connection.execute(text(statement), {"query": query, "many": _MANY + 1}).scalars())
        self._connection.exec_driver_sql("SET LOCAL enable_seqscan TO DEFAULT")
        return None if len(found) > _MANY else sorted(found, reverse=True)

    def _newest_places(self, asked: Wanted, before: int, limit: int) -> tuple[Sequence[int], int | None]:
        """Of a query that so many posts fit, the newest, in windows over all posts."""
        values: dict[str, Any] = {"window": _WINDOW}
        conditions = []
        for group in asked.groups:
            names = {f"token_{len(values) + number}": f" {token} " for number, token in enumerate(group)}
            conditions.append(f"({' OR '.join(f'strpos(said, :{name}) > 0' for name in names)})")
            values |= names
        statement = text(
            "SELECT place FROM (SELECT place, words || keys AS said FROM item_words WHERE place < :before"
            f" ORDER BY place DESC LIMIT :window) newest WHERE {' AND '.join(conditions)}"
            " ORDER BY place DESC LIMIT :most"
        )
        places: list[int] = []
        for _ in range(_WINDOWS_MAX):
            end, posts = self._connection.execute(_WINDOW_END, {"before": before, "window": _WINDOW}).one()
            if end is None:
                return places, None
            asked_for = values | {"before": before, "most": limit + 1 - len(places)}
            places += self._connection.execute(statement, asked_for).scalars()
            if len(places) > limit:
                return places[:limit], places[limit - 1]
            if posts < _WINDOW:
                return places, None
            before = end
        return places, before


def _is_in(asked: Wanted, row: Sequence[Any]) -> bool:
    return asked.circle is None or (row[4] is not None and asked.circle.contains(row[4], row[5]))


def _quoted(token: str) -> str:
    return f'"{token}"'


def _lexeme(token: str) -> str:
    return f"'{token}'"


def _was_interrupted(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_INTERRUPT or sqlstate(error) == "57014"
