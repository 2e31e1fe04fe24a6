"""Looking back: the posts that fit a query and that somebody may see, newest first.

The index says which posts have the words; what each of them says decides (``Query.matches``), and who may read it is
asked as for a timeline (``Sight``). How much is looked through for one page is bounded. Where that ends before the
page is full, the page says how far it came, and goes on from there.

A post that was repeated here is found once: not again as the repeat of what is found itself. What somebody muted, and
whom they blocked, they do not find.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

from microblog.model.account import Account
from microblog.model.entry import Entry
from microblog.model.errors import ItemNotFound, JIDMalformed, NotAcceptable
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.query import Circle, Query, content, parse
from microblog.model.uri import read_uri
from microblog.store import search as index
from microblog.store.search import Candidate
from microblog.store.timelines import Place, Standing
from microblog.store.transaction import Transaction
from microblog.usecases import indexing, locating, muting
from microblog.usecases.reading import Placed
from microblog.usecases.sight import Sight

PAGE_MAX: Final = 50
CANDIDATES_MAX: Final = 2000
SECONDS: Final = 2.0
_BATCH: Final = 50
_TOGETHER: Final = 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A page of what fits a query. ``before``: where the last page ended; ``audiences``: of what may go to where it is
    read.
    """

    actor: JID
    query: Query
    most: int = 10
    before: str = ""
    audiences: frozenset[Audience] = frozenset(Audience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Posts, newest first. ``before``: where to go on; empty if that was all.

    ``upto``: how far was looked, if that is not so far as one could. ``complete``: the index has everything.
    """

    posts: tuple[Placed, ...]
    before: str = ""
    upto: datetime | None = None
    complete: bool = True


def query(tx: Transaction, account: Account, text: str) -> Query:
    """What somebody here wrote as a query. Raises NotAcceptable with a sentence."""

    def person(name: str) -> JID | None:
        if "@" in name[1:]:
            try:
                jid = JID.parse(name.removeprefix("@")).bare
            except JIDMalformed:
                return None
            return jid if jid.localpart and (jid.domainpart != tx.domain or _is_here(tx, jid)) else None
        try:
            jid = account.jid(tx.domain) if name.casefold() == "me" else JID(name.removeprefix("@"), tx.domain)
        except JIDMalformed:
            return None
        return jid if jid.localpart and _is_here(tx, jid) else None

    def place(name: str) -> Circle | None:
        return locating.find(tx, account.key, name)

    try:
        return parse(text, person=person, place=place)
    except ValueError as error:
        raise NotAcceptable(str(error)) from None


def search(tx: Transaction, request: Search) -> Found:
    """A page of it.

    Raises: ItemNotFound for a page that begins nowhere, ResourceConstraint if it takes too long.
    """
    with tx.search.within(SECONDS):
        return _Looking(tx, request).page()


class _Looking:
    """One page, while it is looked for."""

    def __init__(self, tx: Transaction, request: Search) -> None:
        self._tx = tx
        self._request = request
        self._asked = index.wanted(request.query)
        self._sight = Sight(tx, request.actor, request.audiences)
        self._quiet = muting.quiet(tx, request.actor.bare)
        self._found: list[tuple[int, Placed]] = []
        self._most = max(1, min(request.most, PAGE_MAX))
        self._end = monotonic() + SECONDS / 2

    def page(self) -> Found:
        """Look until the page is full, nothing is left, or it is enough for once."""
        complete = indexing.is_complete(self._tx)
        before: int | None = _read_place(self._request.before)
        looked, batch = 0, _BATCH
        while before is not None:
            candidates = self._tx.search.candidates(self._asked, before, batch)
            self._look(candidates.found)
            if len(self._found) > self._most:
                page = self._found[: self._most]
                return Found(posts=_posts(page), before=str(page[-1][0]), complete=complete)
            before = candidates.before
            looked += batch
            if looked >= CANDIDATES_MAX or monotonic() > self._end:
                break
            batch = min(2 * batch, CANDIDATES_MAX - looked)
        if before is None:
            return Found(posts=_posts(self._found), complete=complete)
        upto = _EPOCH + timedelta(microseconds=index.stands(before))
        return Found(posts=_posts(self._found), before=str(before), upto=upto, complete=complete)

    def _look(self, candidates: Sequence[Candidate]) -> None:
        self._sight.look({one.node for one in candidates})
        seen = [one for one in candidates if self._sight.admits(Standing(_place(one), one.node, one.audience))]
        for start in range(0, len(seen), _TOGETHER):
            if len(self._found) > self._most:
                return
            some = seen[start : start + _TOGETHER]
            items = self._tx.timelines.items([one.item for one in some])
            for candidate in some:
                placed = self._placed(candidate, items[candidate.item][1]) if candidate.item in items else None
                if placed is not None:
                    self._found.append((candidate.place, placed))

    def _placed(self, candidate: Candidate, item: Item) -> Placed | None:
        """A post that may be read and fits."""
        node = self._sight.readable(candidate.node, item)
        entry = self._tx.read_entry(item.payload) if node is not None else None
        if node is None or entry is None or not self._fits(node, entry):
            return None
        if self._quiet and muting.hides(self._tx, self._quiet, node, item):
            return None
        if item.via and self._is_found(item.via):
            return None
        return Placed(node, item, _place(candidate))

    def _fits(self, node: Node, entry: Entry) -> bool:
        return self._request.query.matches(content(entry, node.service))

    def _is_found(self, uri: str) -> bool:
        """Is that post found itself?"""
        address = read_uri(uri)
        if address is None or address.item_id is None:
            return False
        found = self._tx.nodes.look_up(address.service, address.node, address.item_id)
        if found is None or found.item is None or found.item.stands is None:
            return False
        node = self._sight.readable(found.node.key, found.item)
        if node is None or (self._quiet and muting.hides(self._tx, self._quiet, node, found.item)):
            return False
        entry = self._tx.read_entry(found.item.payload)
        return entry is not None and self._fits(node, entry)


def _place(candidate: Candidate) -> Place:
    return Place(index.stands(candidate.place), candidate.item)


def _posts(found: Sequence[tuple[int, Placed]]) -> tuple[Placed, ...]:
    return tuple(placed for _, placed in found)


def _read_place(text: str) -> int:
    """A place in the index, from the text that a page gave out. Raises ItemNotFound for any other."""
    if not text:
        return index.END
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= index.END):
        raise ItemNotFound("no such place to go on from")
    return int(text)


def _is_here(tx: Transaction, jid: JID) -> bool:
    return tx.accounts.exists(jid.localpart)
