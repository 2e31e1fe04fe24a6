"""Saved searches by what they need: which of very many are true of a post, without looking at the others.

Everything that a query says has to be true, so that one thing of it is enough to find it by: each is filed under the
condition that the fewest posts meet - a word, a tag, an author, a domain, else where it is, else its language. A post
is looked up by its own words, tags, author, place and language; only what is filed there is compared. Equal queries of
many people are one.

Which condition is rare is learned from the posts that are heard, and from how much is filed under it already. Places
are filed in squares: a circle lies in at most a few squares of the size that fits it, a post in one of each size.
"""

from collections.abc import Hashable, Iterable
from threading import Lock
from typing import Final, Generic, TypeVar

from microblog.model.query import Circle, Content, Query

HEARD_MAX: Final = 50_000
_MICRO: Final = 1_000_000
_AROUND: Final = 360 * _MICRO
# The side of the smallest square, two kilometres; each next is twice that, the last holds the world.
_SIDE: Final = 20_000
_LEVELS: Final = 16

Square = tuple[int, int, int]
Key = str | Square
K = TypeVar("K", bound=Hashable)


class _Group(Generic[K]):
    """Equal queries: whose they are, and under what they are filed."""

    __slots__ = ("filed", "owners", "query")

    def __init__(self, query: Query, owner: K) -> None:
        self.query = query
        self.owners: K | set[K] = owner
        self.filed: tuple[Key, ...] = ()


class Index(Generic[K]):
    """Queries by what posts need to have to meet them. Several threads may use it; a ``set`` is no name for a query."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_owner: dict[K, _Group[K]] = {}
        self._groups: dict[Query, _Group[K]] = {}
        # One group stands for itself: most conditions have no more.
        self._filed: dict[Key, _Group[K] | set[_Group[K]]] = {}
        self._levels: dict[int, int] = {}
        self._heard: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._by_owner)

    def __contains__(self, owner: object) -> bool:
        return owner in self._by_owner

    def add(self, owner: K, query: Query) -> None:
        """File a query under somebody's name for it, in place of what had that name."""
        with self._lock:
            known = self._by_owner.get(owner)
            if known is not None:
                if known.query == query:
                    return
                self._remove(owner)
            group = self._groups.get(query)
            if group is None:
                group = self._groups[query] = _Group(query, owner)
                self._file(group)
            elif isinstance(group.owners, set):
                group.owners.add(owner)
            else:
                group.owners = {group.owners, owner}
            self._by_owner[owner] = group

    def remove(self, owner: K) -> None:
        """Forget a query; nothing if there is none of that name."""
        with self._lock:
            self._remove(owner)

    def hear(self, post: Content) -> None:
        """Learn from a post what posts have."""
        with self._lock:
            self._learn(self._keys(post))

    def matching(self, post: Content) -> list[K]:
        """The names of all queries that are true of a post."""
        found: list[K] = []
        with self._lock:
            if not self._groups:
                return found
            keys = self._keys(post)
            self._learn(keys)
            met: set[_Group[K]] = set()
            for key in keys:
                filed = self._filed.get(key)
                if filed is None:
                    continue
                for group in filed if isinstance(filed, set) else (filed,):
                    if group not in met:
                        met.add(group)
                        if group.query.matches(post):
                            owners = group.owners
                            found.extend(owners) if isinstance(owners, set) else found.append(owners)
        return found

    # filing

    def _remove(self, owner: K) -> None:
        group = self._by_owner.pop(owner, None)
        if group is None:
            return
        if isinstance(group.owners, set):
            group.owners.discard(owner)
            if group.owners:
                return
        del self._groups[group.query]
        for key in group.filed:
            filed = self._filed[key]
            if isinstance(filed, set):
                filed.discard(group)
            if not isinstance(filed, set) or not filed:
                del self._filed[key]
            if isinstance(key, tuple):
                self._levels[key[0]] -= 1
                if not self._levels[key[0]]:
                    del self._levels[key[0]]

    def _file(self, group: _Group[K]) -> None:
        ways = _ways(group.query)
        group.filed = min(ways, key=self._cost) if len(ways) > 1 else ways[0]
        for key in group.filed:
            filed = self._filed.get(key)
            if filed is None:
                self._filed[key] = group
            elif isinstance(filed, set):
                filed.add(group)
            else:
                self._filed[key] = {filed, group}
            if isinstance(key, tuple):
                self._levels[key[0]] = self._levels.get(key[0], 0) + 1

    def _cost(self, way: tuple[Key, ...]) -> int:
        """How often something filed so would be compared in vain."""
        return sum((self._heard.get(key, 0) + 1) * (self._count(key) + 1) for key in way)

    def _count(self, key: Key) -> int:
        filed = self._filed.get(key)
        return len(filed) if isinstance(filed, set) else 0 if filed is None else 1

    # posts

    def _keys(self, post: Content) -> list[Key]:
        """Under what queries may be filed that are true of a post."""
        keys: list[Key] = [*post.vocabulary, f"={post.author}", f"@{post.author.domainpart}", ""]
        keys += (f"#{tag}" for tag in post.tags)
        language = post.language
        while language:
            keys.append(f":{language}")
            language = language.rpartition("-")[0]
        if post.latitude is not None and post.longitude is not None:
            keys += (_square(level, post.latitude, post.longitude) for level in self._levels)
        return keys

    def _learn(self, keys: Iterable[Key]) -> None:
        heard = self._heard
        for key in keys:
            heard[key] = heard.get(key, 0) + 1
        if len(heard) > HEARD_MAX:
            # What was rare is forgotten, and what was heard long ago counts less and less.
            self._heard = {key: half for key, count in heard.items() if (half := count // 2)}
            if len(self._heard) > HEARD_MAX // 2:
                self._heard.clear()


def _ways(query: Query) -> list[tuple[Key, ...]]:
    """The ways to find a query: a post that it is true of has one of the keys of each."""
    ways: list[tuple[Key, ...]] = [(word,) for term in query.terms for word in term]
    ways += ((f"#{tag}",) for tag in query.tags)
    if query.authors or query.domains:
        # One of several is enough, so that it is filed under all of them.
        ways.append((*(f"={author}" for author in query.authors), *(f"@{domain}" for domain in query.domains)))
    if query.circle is not None:
        ways.append(_squares(query.circle))
    if not ways:
        ways.append((f":{query.language}" if query.language else "",))
    return [tuple(dict.fromkeys(way)) for way in ways]


def _square(level: int, latitude: int, longitude: int) -> Square:
    side = _SIDE << level
    return level, (latitude + 90 * _MICRO) // side, ((longitude + 180 * _MICRO) % _AROUND) // side


def _squares(circle: Circle) -> tuple[Square, ...]:
    """The squares that a circle lies in."""
    south, north, west, east = circle.box()
    width = east - west if east >= west else east - west + _AROUND
    level = 0
    while level < _LEVELS and _SIDE << level < max(north - south, width):
        level += 1
    columns = {_square(level, 0, west)[2], _square(level, 0, east)[2]}
    if east < west:
        # The last column before 180° is not as wide as the others.
        columns |= {0, (_AROUND - 1) // (_SIDE << level)}
    rows = {_square(level, south, 0)[1], _square(level, north, 0)[1]}
    return tuple((level, row, column) for row in sorted(rows) for column in sorted(columns))
