"""What stands for long backlogs: how far a domain came with each feed, instead of a row for each post.

A mark says that of a feed's items those are still to be told to a domain that stand behind ``after`` and up to
``upto``; what is not public, and may have to wait for a certificate while the rest goes on, behind ``narrow_after``.
Where an item stands moves when it is edited: what was edited since has a row of its own in the outbox. A mark of a
domain that cannot be reached is ``OPEN``: it stands for all that comes as well, until the domain has taken something.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Boolean, bindparam, case, delete, exists, func, or_, select, update

from microblog.model.item import Audience, Item
from microblog.model.node import Node
from microblog.store import tables
from microblog.store.crashpoint import crashpoint
from microblog.store.events import PUBLISHED
from microblog.store.items import ITEM_COLUMNS, read_item
from microblog.store.nodes import NODE_COLUMNS, read_node
from microblog.store.outbox import OPEN, Step
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from datetime import datetime

    from microblog.store.transaction import Transaction

# What is for named readers keeps its rows: it is for nobody whom a feed could name.
COLLAPSED = (Audience.PUBLIC.value, Audience.FOLLOWERS.value)
_MARKS = tables.backlog_marks
_OUTBOX = tables.outbox
_EVENTS = tables.events
_ITEMS = tables.items
_NODES = tables.nodes
_LOG = tables.delivery_log
_DOMAINS = tables.remote_domains
_POST = (_EVENTS.c.kind == PUBLISHED) & _EVENTS.c.audience.in_(COLLAPSED)

_POSTS = (
    select(_OUTBOX.c.id, _OUTBOX.c.event_seq, _EVENTS.c.node_id, _ITEMS.c.position)
    .join(_EVENTS, _EVENTS.c.seq == _OUTBOX.c.event_seq)
    .outerjoin(_ITEMS, (_ITEMS.c.node_id == _EVENTS.c.node_id) & (_ITEMS.c.item_id == _EVENTS.c.item_id))
    .where(_OUTBOX.c.domain == bindparam("domain"), _POST)
    .order_by(_OUTBOX.c.id)
    .limit(bindparam("limit"))
)
_FORGOTTEN = (
    select(_LOG.c.node_id, func.min(_LOG.c.event_seq), func.max(_LOG.c.event_seq))
    .where(
        _LOG.c.domain == bindparam("domain"),
        _LOG.c.number > bindparam("after"),
        _LOG.c.node_id.is_not(None),
        _LOG.c.kind == PUBLISHED,
        _LOG.c.audience.in_(COLLAPSED),
        ~exists().where(_EVENTS.c.seq == _LOG.c.event_seq),
    )
    .group_by(_LOG.c.node_id)
)
_PER_DOMAIN = (
    select(_OUTBOX.c.domain, func.count().label("number"), func.min(_OUTBOX.c.id).label("first"))
    .group_by(_OUTBOX.c.domain)
    .subquery()
)
_FIRST = _OUTBOX.alias("first")
_LONG = (
    select(_PER_DOMAIN.c.domain)
    .join(_FIRST, _FIRST.c.id == _PER_DOMAIN.c.first)
    .outerjoin(_DOMAINS, _DOMAINS.c.domain == _PER_DOMAIN.c.domain)
    .where(
        or_(
            _PER_DOMAIN.c.number > bindparam("rows"),
            _FIRST.c.created < bindparam("before", type_=_FIRST.c.created.type),
            _DOMAINS.c.failing_since < bindparam("before", type_=_FIRST.c.created.type),
        ),
        exists()
        .where(_OUTBOX.c.domain == _PER_DOMAIN.c.domain, _OUTBOX.c.event_seq == _EVENTS.c.seq, _POST)
        .correlate(_PER_DOMAIN),
    )
    .order_by(_PER_DOMAIN.c.domain)
)
_OF = (
    select(*NODE_COLUMNS, _MARKS.c.after, _MARKS.c.narrow_after, _MARKS.c.upto)
    .join(_NODES, _NODES.c.id == _MARKS.c.node_id)
    .where(
        _MARKS.c.domain == bindparam("domain"),
        _MARKS.c.node_id >= bindparam("node_id"),
        or_(bindparam("narrow", type_=Boolean), _MARKS.c.after < _MARKS.c.upto),
    )
    .order_by(_MARKS.c.node_id)
    .limit(bindparam("limit"))
)
_ANY = select(_MARKS.c.node_id).where(_MARKS.c.domain == bindparam("domain")).limit(1)
_PUBLIC_BEHIND = (_ITEMS.c.audience == Audience.PUBLIC.value) & (_ITEMS.c.position > bindparam("after"))
_NARROW_BEHIND = (_ITEMS.c.audience == Audience.FOLLOWERS.value) & (_ITEMS.c.position > bindparam("narrow_after"))
_WITHIN = (
    _ITEMS.c.node_id == bindparam("node_id"),
    _ITEMS.c.position > bindparam("least"),
    _ITEMS.c.position <= bindparam("upto"),
)
_ITEMS_OF = select(*ITEM_COLUMNS).where(*_WITHIN, or_(_PUBLIC_BEHIND, _NARROW_BEHIND)).order_by(_ITEMS.c.position)
_NTH_NEWEST = (
    select(_ITEMS.c.position)
    .where(*_WITHIN, _ITEMS.c.audience.in_(COLLAPSED))
    .order_by(_ITEMS.c.position.desc())
    .limit(1)
    .offset(bindparam("keep"))
)
_MARK = (_MARKS.c.domain == bindparam("of_domain"), _MARKS.c.node_id == bindparam("of_node"))
_ADVANCE = (
    update(_MARKS)
    .where(*_MARK, _MARKS.c.after >= bindparam("start"), _MARKS.c.narrow_after >= bindparam("narrow_start"))
    .values(
        after=case((_MARKS.c.after < bindparam("told"), bindparam("told")), else_=_MARKS.c.after),
        narrow_after=case(
            (_MARKS.c.narrow_after < bindparam("narrow_told"), bindparam("narrow_told")), else_=_MARKS.c.narrow_after
        ),
    )
)
_FINISH = delete(_MARKS).where(
    *_MARK,
    *(
        ~exists().where(
            _ITEMS.c.node_id == _MARKS.c.node_id,
            _ITEMS.c.position > after,
            _ITEMS.c.position <= _MARKS.c.upto,
            _ITEMS.c.audience == audience.value,
        )
        for after, audience in ((_MARKS.c.after, Audience.PUBLIC), (_MARKS.c.narrow_after, Audience.FOLLOWERS))
    ),
)
_TO_OPEN = update(_MARKS).where(_MARKS.c.domain == bindparam("of_domain")).values(upto=OPEN)
# Events are forgotten before items are.
_NEWEST = select(func.coalesce(func.max(_ITEMS.c.position), 0)).where(_ITEMS.c.node_id == bindparam("node_id"))
_ARE_OPEN = select(_MARKS.c.node_id).where(_MARKS.c.domain == bindparam("domain"), _MARKS.c.upto == OPEN)
_CLOSE = update(_MARKS).where(*_MARK).values(upto=bindparam("end"))
_WIDEN = update(_MARKS).where(_MARKS.c.node_id == bindparam("of_node")).values(after=_MARKS.c.narrow_after)
_REMOVE = delete(_OUTBOX).where(_OUTBOX.c.id.in_(bindparam("ids", expanding=True)))


class Mark(NamedTuple):
    """What a domain is to be told of a node."""

    node: Node
    after: int
    narrow_after: int
    upto: int


class BacklogMarks:
    """By domain and node."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def collapse(self, domain: str, limit: int) -> int:
        """Put marks in the place of a domain's oldest rows of what was published; how many rows went."""
        rows = self._connection.execute(_POSTS, {"domain": domain, "limit": limit}).all()
        if not rows:
            return 0
        marks: dict[int, tuple[int, int]] = {}
        for _, seq, node_key, position in rows:
            after, upto = marks.get(node_key, (seq - 1, seq))
            marks[node_key] = min(after, seq - 1), max(upto, seq, position or 0)
        self._put(domain, marks)
        crashpoint("K18")
        self._connection.execute(_REMOVE, {"ids": [row[0] for row in rows]})
        return len(rows)

    def give_back(self, domain: str, after: int) -> None:
        """Put marks in the place of what a delivery log has behind a number and the log of events has no more."""
        rows = self._connection.execute(_FORGOTTEN, {"domain": domain, "after": after}).all()
        if rows:
            self._put(domain, {node_key: (first - 1, last) for node_key, first, last in rows})

    def _put(self, domain: str, marks: dict[int, tuple[int, int]]) -> None:
        statement: Any = insert(self._connection, _MARKS)
        new = statement.excluded
        columns = _MARKS.c
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["domain", "node_id"],
                set_={
                    "after": case((columns.after > new.after, new.after), else_=columns.after),
                    "narrow_after": case(
                        (columns.narrow_after > new.narrow_after, new.narrow_after), else_=columns.narrow_after
                    ),
                    "upto": case((columns.upto < new.upto, new.upto), else_=columns.upto),
                },
            ),
            [
                {
                    "domain": domain,
                    "node_id": node_key,
                    "after": after,
                    "narrow_after": after,
                    "upto": upto,
                    "created": self._transaction.now,
                }
                for node_key, (after, upto) in marks.items()
            ],
        )

    def open(self, domain: str) -> None:
        """A domain's marks stand for all that comes, too."""
        self._connection.execute(_TO_OPEN, {"of_domain": domain})

    def close(self, domain: str) -> bool:
        """What comes from now on has rows again; False if it had."""
        nodes = self._connection.execute(_ARE_OPEN, {"domain": domain}).scalars().all()
        for node_key in nodes:
            mark = {"of_domain": domain, "of_node": node_key, "end": self._last(node_key)}
            self._connection.execute(_CLOSE, mark)
        return bool(nodes)

    def end(self, mark: Mark) -> int:
        """The last event for which a mark stands until now: what is published from now on is behind it."""
        return mark.upto if mark.upto < OPEN else self._last(mark.node.key)

    def _last(self, node_key: int) -> int:
        newest = self._connection.execute(_NEWEST, {"node_id": node_key}).scalar_one()
        return max(int(newest), self._transaction.events.last())

    def long(self, rows: int, before: "datetime") -> list[str]:
        """The domains with more rows than that, or that have waited or failed since then, and have posts among them."""
        return list(self._connection.execute(_LONG, {"rows": rows, "before": before}).scalars())

    def any(self, domain: str) -> bool:
        """Has a domain any marks?"""
        return self._connection.execute(_ANY, {"domain": domain}).first() is not None

    def of(self, domain: str, *, from_node: int, narrow: bool, limit: int) -> list[Mark]:
        """A domain's marks from a node on; not those that have only left what is not public, unless ``narrow``."""
        where = {"domain": domain, "node_id": from_node, "narrow": narrow, "limit": limit}
        at = len(NODE_COLUMNS)
        return [Mark(read_node(row), *row[at : at + 3]) for row in self._connection.execute(_OF, where)]

    def items(self, mark: Mark, *, behind: int, narrow: bool, newest: int, limit: int) -> list[Item]:
        """What is to be told by a mark, in order: items behind a position, of the newest only so many."""
        least = max(behind, min(mark.after, mark.narrow_after) if narrow else mark.after)
        within = {"node_id": mark.node.key, "least": least, "upto": mark.upto}
        if mark.upto - least > newest:
            oldest = self._connection.execute(_NTH_NEWEST, within | {"keep": newest}).scalar_one_or_none()
            within["least"] = max(least, oldest or 0)
        own = {"after": mark.after, "narrow_after": mark.narrow_after if narrow else mark.upto}
        rows = self._connection.execute(_ITEMS_OF.limit(limit), within | own)
        return [read_item(row) for row in rows]

    def advance(self, steps: Iterable[Step]) -> None:
        """Write down that so much was told, unless a mark has gone back meanwhile; a mark with nothing left goes."""
        furthest: dict[tuple[str, int], Step] = {}
        for step in steps:
            known = furthest.get(step[:2])
            if known is None or known.position < step.position:
                furthest[step[:2]] = step
        for step in furthest.values():
            mark = {"of_domain": step.domain, "of_node": step.node_key}
            told = {"told": step.position, "narrow_told": step.position if step.narrow else 0}
            starts = {"start": step.start, "narrow_start": step.narrow_start}
            self._connection.execute(_ADVANCE, mark | told | starts)
            self._connection.execute(_FINISH, mark)

    def widened(self, node_key: int) -> None:
        """What was not public of a node may be public now: it is told again."""
        self._connection.execute(_WIDEN, {"of_node": node_key})
