"""Long backlogs: what a domain has not taken for a day, or ten thousand times, is kept as one mark for each feed.

A row for each post and domain would grow with every post for as long as a domain is gone. Its items are all still
there: so it is enough to know how far the domain came with each feed. When it is there again it is told from the
items themselves, in their order, as they are then and to those who may read them then, as it would be told from rows;
of each feed at most the newest (``Limits.backlog_items_per_feed``). Until then a post costs no row for a domain that
has been failing for so long: its marks are open.

Rows that say that something is gone, or that are ready stanzas, stay rows, and go first. What happens at the feed
after a collapse has rows again, which go behind its mark, until they are collapsed into it. Collapsing is one
transaction: whatever happens in it, each post is owed by a row or by a mark, or is still on its way through the domains
(``store.fan_outs``).
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from microblog.model.access import audience_of
from microblog.model.item import Audience, Item
from microblog.store import events
from microblog.store.domains import DomainState
from microblog.store.marks import Mark
from microblog.store.outbox import Owed, Place, Step
from microblog.store.transaction import Transaction
from microblog.usecases import depending

ROWS_MAX: Final = 2000  # at once: others want to write too
_GONE: Final = 0  # the parts in the order in which they go
_MARKS: Final = 1
_POSTS: Final = 2


def long(tx: Transaction) -> tuple[str, ...]:
    """The domains whose backlog is to be collapsed."""
    limits = tx.limits
    return tuple(tx.marks.long(limits.backlog_max_rows, tx.now - timedelta(seconds=limits.backlog_max_seconds)))


def collapse(tx: Transaction, domain: str) -> bool:
    """Collapse a domain's backlog, the oldest rows first and not all at once; is there more?"""
    if tx.marks.collapse(domain, ROWS_MAX) == ROWS_MAX:
        return True
    if _is_gone(tx, tx.domains.get(domain)):
        tx.marks.open(domain)
    return False


def failed(tx: Transaction, state: DomainState) -> None:
    """A domain took nothing again: it may be time to collapse."""
    if _is_gone(tx, state) or tx.outbox.count(state.domain) > tx.limits.backlog_max_rows:
        collapse(tx, state.domain)


def _is_gone(tx: Transaction, state: DomainState) -> bool:
    """Has a domain been failing for so long that nothing is kept for it but marks?"""
    since = state.failing_since
    return since is not None and tx.now - since >= timedelta(seconds=tx.limits.backlog_max_seconds)


def owed(
    tx: Transaction, domain: str, audiences: frozenset[Audience], *, after: Place | None = None, limit: int
) -> list[Owed]:
    """What a domain is owed of these audiences, in the order in which it goes; behind the ``place`` of another.

    Fewer than the limit: there is no more. Without marks these are its rows; with marks first those rows that are not
    of posts, then the items of the marks, then the rows of posts. A mark under which nothing is left gives one without
    an item, to be settled.
    """
    if not tx.marks.any(domain):
        return tx.outbox.owed(domain, audiences, after=0 if after is None else after.number, limit=limit)
    place = after or Place(_GONE, 0, 0)
    found: list[Owed] = []
    if place.part == _GONE:
        found = tx.outbox.owed(domain, audiences, after=place.number, limit=limit, posts=False)
        place = Place(_MARKS, 0, 0)
    if place.part == _MARKS and len(found) < limit:
        found += _of_marks(tx, domain, audiences, place, limit - len(found))
        place = Place(_POSTS, 0, 0)
    if len(found) < limit:
        rows = tx.outbox.owed(domain, audiences, after=place.number, limit=limit - len(found), posts=True)
        found += [row._replace(place=Place(_POSTS, 0, row.id)) for row in rows]
    return found


def _of_marks(tx: Transaction, domain: str, audiences: frozenset[Audience], place: Place, limit: int) -> list[Owed]:
    narrow = Audience.FOLLOWERS in audiences
    found: list[Owed] = []
    node, behind = place.node_key, place.number
    while len(found) < limit:
        marks = tx.marks.of(domain, from_node=node, narrow=narrow, limit=limit)
        for mark in marks:
            if len(found) < limit:
                begin = behind if mark.node.key == node else 0
                found += _of_mark(tx, domain, mark, audiences, begin, limit - len(found))
        if len(marks) < limit:
            break
        node, behind = marks[-1].node.key + 1, 0
    return found


def _of_mark(
    tx: Transaction, domain: str, mark: Mark, audiences: frozenset[Audience], behind: int, limit: int
) -> list[Owed]:
    end = tx.marks.end(mark)
    if behind >= end:
        return []
    mark = mark._replace(upto=end)
    narrow = Audience.FOLLOWERS in audiences
    hung = depending.dependent(tx, mark.node)
    ceiling = audience_of(mark.node.config if hung is None else hung.node.config)
    items: list[Item] = []
    if ceiling in audiences:
        newest = tx.limits.backlog_items_per_feed
        items = tx.marks.items(mark, behind=behind, narrow=narrow, newest=newest, limit=limit)
    elif ceiling is not Audience.LOCAL:
        return []  # it waits for a certificate
    if not items and not narrow and mark.after >= end:
        return []
    told: list[tuple[int, Item | None]] = [(item.position, item) for item in items]
    if len(items) < limit:
        # Behind the last of them the mark is done.
        told[-1:] = [(end, items[-1] if items else None)]
    return [_one(domain, mark, narrow, position, item) for position, item in told]


def _one(domain: str, mark: Mark, narrow: bool, position: int, item: Item | None) -> Owed:
    seq = position if item is None else item.position
    return Owed(
        id=-seq,
        stanza=None,
        seq=seq,
        kind=events.PUBLISHED,
        item_id=None if item is None else item.id,
        audience=Audience.PUBLIC if item is None else item.audience,
        node=mark.node,
        item=item,
        superseded=False,
        place=Place(_MARKS, mark.node.key, position),
        step=Step(domain, mark.node.key, mark.after, mark.narrow_after, position, narrow),
    )


def settle(tx: Transaction, owed: Iterable[Owed]) -> None:
    """These are not owed any more; of each mark nothing that came before them either."""
    settled = list(owed)
    tx.outbox.done([one.id for one in settled if one.step is None])
    tx.marks.advance([one.step for one in settled if one.step is not None])
