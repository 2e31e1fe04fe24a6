"""Where the posts of a timeline come from: one feed, many feeds merged, or one index of them all.

A source is read in spans, in either direction, and leaves out what its reader may not see; ``reading`` makes pages of
what it finds.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.timelines import LAST, Place, Span, Standing
from microblog.store.transaction import Transaction
from microblog.usecases import muting
from microblog.usecases.sight import Sight

# How many posts are looked at, for one page, that the reader may not see.
SCAN_MAX: Final = 2000
# How many feeds are looked at first for each post of a page: more than one, as of some all may be for others.
FEEDS_MORE: Final = 2
# How many posts are taken from them at once for each post of a page, before it is seen which of them are needed.
BUSY: Final = 10
# How many posts are looked at one by one, to count those that somebody wants to see.
WANTED_COUNT_MAX: Final = 300
# How many feeds are looked into one by one, to count what has to be counted that way.
LOOKED_INTO_MAX: Final = 100
# How many posts under followed tags are looked at, to count them.
TAGGED_MAX: Final = 500


class Count(NamedTuple):
    """How many posts there are, and how many of them above a mark."""

    posts: int
    above: int


class Source(Protocol):
    """A timeline without its pages."""

    def scan(self, span: Span, limit: int) -> list[Standing]:
        """What may be read of a span, in its direction."""

    def count(self, span: Span, limit: int, mark: Place = LAST) -> Count | None:
        """How much that is; None if it is as much as a limit, or cannot be said without much ado."""


class Feed:
    """One feed."""

    def __init__(self, tx: Transaction, node_key: int, reader: JID, sight: Sight) -> None:
        self._tx = tx
        self._key = node_key
        self._reader = reader.bare
        found = sight.at(node_key)
        self._allowed = found[1] if found else None

    def scan(self, span: Span, limit: int) -> list[Standing]:
        """What may be read of a span."""
        if self._allowed is None:
            return []
        return self._tx.timelines.of_feed(self._key, self._reader, span, limit, self._allowed)

    def count(self, span: Span, limit: int, mark: Place = LAST) -> Count | None:
        """How much that is."""
        if self._allowed is None:
            return Count(0, 0)
        return _count_feed(self._tx, self._key, self._reader, span, limit, mark, self._allowed)


class _Feeds:
    """Many feeds: ``reaching`` says which, in the order in which they reach into a span.

    Once a page is full, no feed that begins behind its last post can change it, nor any feed after that one. ``own`` is
    the key of the reader's feed, which is there even if it is not among them, or if it is but not ``with_own``, is not.
    """

    def __init__(
        self,
        tx: Transaction,
        reader: JID,
        sight: Sight,
        reaching: Callable[[Span, int], list[tuple[int, int]]],
        *,
        own: int = 0,
        with_own: bool = False,
    ) -> None:
        self._tx = tx
        self._reader = reader.bare
        self._sight = sight
        self._followed = reaching
        self._own = own
        self._with_own = with_own

    def scan(self, span: Span, limit: int) -> list[Standing]:
        """What may be read of a span."""
        best: list[Standing] = []
        if self._own and self._with_own:
            self._take(best, self._own, span, limit)
        feeds = FEEDS_MORE * limit
        followed = self._followed(span, feeds)
        seen = {self._own, *self._take_first(best, self._shown(followed)[:limit], span, limit)}
        while True:
            for node_key, edge in followed:
                if len(best) == limit and _behind(edge, best[-1], span.descending):
                    return best
                if node_key not in seen:
                    seen.add(node_key)
                    self._take(best, node_key, span, limit)
            if len(followed) < feeds:
                return best
            # Many of them have nothing for this reader.
            feeds *= 10
            followed = self._followed(span, feeds)

    def _shown(self, followed: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Without the feeds of those whom the reader muted or blocked."""
        if not self._sight.shuns_some:
            return followed
        self._sight.look([node_key for node_key, _ in followed])
        return [(node_key, edge) for node_key, edge in followed if (found := self._sight.at(node_key)) and found[1]]

    def _take_first(self, best: list[Standing], first: list[tuple[int, int]], span: Span, limit: int) -> Iterable[int]:
        """Take as many feeds as a page has posts at once, as far as to where the last of them begins.

        Likely that fills the page, and what is behind is not needed. The keys of those that are done with; nothing is
        taken and none is done with if the page is not filled.
        """
        keys = [node_key for node_key, _ in first if node_key != self._own]
        if len(first) < limit or not keys:
            return ()
        edge = first[-1][1]
        self._sight.look(keys)
        if span.descending:
            near = span._replace(low=max(span.low, Place(edge, -1)))
        else:
            near = span._replace(high=min(span.high, Place(edge, LAST.stands)))
        rows = self._tx.timelines.of_feeds(keys, self._reader, near, BUSY * limit)
        if rows is None:
            return ()
        found = sorted((*best, *filter(self._sight.admits, rows)), key=by_place, reverse=span.descending)
        if len(found) < limit or _beyond(edge, found[limit - 1], span.descending):
            # Filled by what stands behind that edge, before which the feeds may have more.
            return ()
        best[:] = found[:limit]
        return keys

    def _take(self, best: list[Standing], node_key: int, span: Span, limit: int) -> None:
        found = self._sight.at(node_key)
        if found is None or found[1] is None:
            return
        span = _before(best, span, limit)
        best += self._tx.timelines.of_feed(node_key, self._reader, span, limit, found[1])
        best.sort(key=by_place, reverse=span.descending)
        del best[limit:]

    def _count_each(self, keys: Iterable[int], span: Span, limit: int, mark: Place) -> Count | None:
        """How much the feeds of these keys have together; None if it is as much as a limit."""
        found = Count(0, 0)
        for key in keys:
            seen = self._sight.at(key)
            if seen is not None and seen[1] is not None:
                count = _count_feed(self._tx, key, self._reader, span, limit, mark, seen[1])
                if count is None:
                    return None
                found = Count(found.posts + count.posts, found.above + count.above)
                if found.posts >= limit:
                    return None
        return found


class Listed(_Feeds):
    """The feeds of those who are in a list."""

    def __init__(self, tx: Transaction, reader: JID, name: str, sight: Sight) -> None:
        def reaching(span: Span, feeds: int) -> list[tuple[int, int]]:
            return tx.timelines.listed(reader.bare, name, span, feeds)

        super().__init__(tx, reader, sight, reaching)

    def count(self, span: Span, limit: int, mark: Place = LAST) -> Count | None:
        """How much that is."""
        keys = [node_key for node_key, _ in self._followed(span, LOOKED_INTO_MAX + 1)]
        if len(keys) > LOOKED_INTO_MAX:
            return None
        self._sight.look(keys)
        return self._count_each(keys, span, limit, mark)


class Home(_Feeds):
    """The feeds somebody follows, and their own; and what has the tags that they follow."""

    def __init__(self, tx: Transaction, reader: JID, sight: Sight, *, own: bool) -> None:
        def reaching(span: Span, feeds: int) -> list[tuple[int, int]]:
            return tx.timelines.followed(reader.bare, span, feeds)

        node = tx.nodes.find(reader.bare, MICROBLOG)
        super().__init__(tx, reader, sight, reaching, own=node.key if node else 0, with_own=own)
        self._tags = bool(tx.followed_tags.of(self._reader))

    def scan(self, span: Span, limit: int) -> list[Standing]:
        """What may be read of a span."""
        best = super().scan(span, limit)
        if not self._tags:
            return best
        # Likely there are not many posts before where the feeds have filled the page.
        rows = self._by_tags(_before(best, span, limit), BUSY * limit)
        if rows is not None:
            self._add(best, rows, span, limit)
            return best
        # The tags come in the order in which they reach into the span, as the feeds do.
        for tag, edge in self._tx.timelines.followed_tags(self._reader, span):
            if len(best) == limit and _behind(edge, best[-1], span.descending):
                break
            self._add(best, self._under(tag).scan(_before(best, span, limit), limit), span, limit)
        return best

    def _add(self, best: list[Standing], rows: Iterable[Standing], span: Span, limit: int) -> None:
        found = {one.place.item: one for one in (*best, *rows)}
        best[:] = sorted(found.values(), key=by_place, reverse=span.descending)[:limit]

    def _by_tags(self, span: Span, limit: int) -> list[Standing] | None:
        """What the tags bring beside the feeds; None if that is as much as a limit."""
        rows = self._tx.timelines.by_tags(self._reader, self._own, span, limit, self._sight.everybodys)
        if rows is None:
            return None
        self._sight.look({row.node for row in rows})
        return [row for row in rows if self._sight.admits(row)]

    def _under(self, tag: str) -> "Filtered":
        timelines, reader, audiences = self._tx.timelines, self._reader, self._sight.everybodys
        without = 0 if self._with_own else self._own
        return Filtered(self._sight, lambda span, n: timelines.tagged(tag, reader, span, n, audiences), without=without)

    def count(self, span: Span, limit: int, mark: Place = LAST) -> Count | None:
        """How much that is."""
        found = self._count_feeds(span, limit, mark)
        if found is None or not self._tags:
            return found
        rows = self._by_tags(span, TAGGED_MAX)
        if rows is None:
            return None
        places = {row.place for row in rows}
        count = Count(found.posts + len(places), found.above + sum(place > mark for place in places))
        return count if count.posts < limit else None

    def _count_feeds(self, span: Span, limit: int, mark: Place) -> Count | None:
        audiences = self._sight.everybodys | ({Audience.FOLLOWERS} & self._sight.audiences)
        counts = self._tx.timelines.counts(self._reader, self._own, span, mark, limit, audiences)
        if counts is None:
            return None
        found = [Count(one.posts, one.above) for one in counts if one.plain]
        keys = [one.node for one in counts if not one.plain]
        if len(keys) > LOOKED_INTO_MAX:
            return None
        self._sight.look(keys)
        each = self._count_each([self._own] * (self._with_own and bool(self._own)) + keys, span, limit, mark)
        if each is None:
            return None
        found.append(each)
        count = Count(sum(one.posts for one in found), sum(one.above for one in found))
        return count if count.posts < limit else None


def _count_feed(
    tx: Transaction, node_key: int, reader: JID, span: Span, limit: int, mark: Place, audiences: frozenset[Audience]
) -> Count | None:
    posts = tx.timelines.count_feed(node_key, reader, span, limit, audiences)
    if posts >= limit:
        return None
    if mark == LAST:
        return Count(posts, 0)
    above = tx.timelines.count_feed(node_key, reader, span._replace(low=max(mark, span.low)), limit, audiences)
    return Count(posts, above)


def _before(best: list[Standing], span: Span, limit: int) -> Span:
    """Where a post would change a page."""
    if len(best) < limit:
        return span
    last = best[-1].place
    return span._replace(low=last) if span.descending else span._replace(high=last)


def _beyond(edge: int, last: Standing, descending: bool) -> bool:
    return last.place.stands < edge if descending else last.place.stands > edge


def _behind(edge: int, last: Standing, descending: bool) -> bool:
    return edge < last.place.stands if descending else edge > last.place.stands


def by_place(standing: Standing) -> Place:
    """The key to order posts by."""
    return standing.place


class Filtered:
    """Posts of all kinds of nodes, of which what the reader may not see is left out.

    ``at_most``: what there is at most, where that is known for less. ``without``: the key of a node that is left out.
    """

    def __init__(
        self,
        sight: Sight,
        rows: Callable[[Span, int], list[Standing]],
        at_most: Callable[[Span, int], int] | None = None,
        without: int = 0,
    ) -> None:
        self._without = without
        self._sight = sight
        self._rows = rows
        self._at_most = at_most

    def scan(self, span: Span, limit: int) -> list[Standing]:
        """What may be read of a span."""
        return _fill(self._rows, self._seen, span, limit)

    def count(self, span: Span, limit: int, mark: Place = LAST) -> Count | None:
        """How much that is."""
        if self._at_most is not None and self._at_most(span, limit) >= limit:
            return None
        rows = self._rows(span, limit)
        if len(rows) >= limit:
            return None
        found = self._seen(rows)
        return Count(len(found), sum(one.place > mark for one in found))

    def _seen(self, rows: list[Standing]) -> list[Standing]:
        self._sight.look({row.node for row in rows})
        return [row for row in rows if row.node != self._without and self._sight.admits(row)]


class Wanted:
    """A timeline without what its reader muted, or what is of those whom they blocked."""

    def __init__(self, tx: Transaction, source: Source, sight: Sight) -> None:
        self._tx = tx
        self._source = source
        self._sight = sight

    def scan(self, span: Span, limit: int) -> list[Standing]:
        """What is wanted of a span."""
        return _fill(self._source.scan, self._wanted, span, limit)

    def count(self, span: Span, limit: int, mark: Place = LAST) -> Count | None:
        """How much that is: all of it is looked at, and so not of very much."""
        limit = min(limit, WANTED_COUNT_MAX)
        found = self.scan(span, limit)
        return None if len(found) >= limit else Count(len(found), sum(one.place > mark for one in found))

    def _wanted(self, rows: list[Standing]) -> list[Standing]:
        items = self._tx.timelines.items([row.place.item for row in rows])
        return [row for row in rows if (found := items.get(row.place.item)) and not self._hidden(row.node, found[1])]

    def _hidden(self, node_key: int, item: Item) -> bool:
        node = self._sight.node(node_key)
        return node is None or muting.hides(self._tx, self._sight.quiet, node, item)


def _fill(
    rows_of: Callable[[Span, int], list[Standing]],
    keep: Callable[[list[Standing]], list[Standing]],
    span: Span,
    limit: int,
) -> list[Standing]:
    """So many of those that are kept, of a span that is read on until there are; but of no more than ``SCAN_MAX``."""
    found: list[Standing] = []
    scanned = 0
    while len(found) < limit and scanned < SCAN_MAX:
        wanted = limit - len(found)
        rows = rows_of(span, wanted)
        found += keep(rows)
        scanned += len(rows)
        if len(rows) < wanted:
            break
        last = rows[-1].place
        span = span._replace(high=last) if span.descending else span._replace(low=last)
    return found
