"""What other domains have yet to be told: one row for each domain and event.

The row says only that the domain is owed the event. Who there is told, and with what, is found out when it is sent,
for an item may have been edited or retracted and a reader removed by then. Where nobody can be asked any more (a node
was deleted) the row has the stanza itself. What goes to another node is given a number there and moves from here into
its log (``logs``); a long backlog becomes marks (``marks``). The rows of what happened are written in its own
transaction; those of a post that very many domains follow, part by part (``fan_outs``).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, case, delete, exists, func, insert, or_, select, text

from microblog.model.access import may_leave
from microblog.model.item import Audience, Item
from microblog.model.node import AccessModel, Node
from microblog.store import tables
from microblog.store.events import PUBLISHED
from microblog.store.items import ITEM_COLUMNS, read_item
from microblog.store.nodes import NODE_COLUMNS, read_node

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Select

    from microblog.store.transaction import Transaction

_OUTBOX = tables.outbox
_EVENTS = tables.events
_NODES = tables.nodes
_ITEMS = tables.items
_LOG = tables.delivery_log
_PEERS = tables.peers
_MARKS = tables.backlog_marks
_FAN_OUTS = tables.fan_outs
_FOLLOWERS = tables.subscriptions

# Where the mark of a domain ends that is told nothing for now: later than every event.
OPEN = 1 << 62

_DOMAINS = text(
    """
WITH RECURSIVE owed (domain) AS (
  SELECT min(domain) FROM outbox
  UNION ALL
  SELECT (SELECT min(o.domain) FROM outbox o WHERE o.domain > owed.domain) FROM owed WHERE owed.domain IS NOT NULL
)
SELECT domain FROM owed WHERE domain IS NOT NULL
UNION
SELECT domain FROM backlog_marks
UNION
SELECT domain FROM peers WHERE number > acknowledged
"""
).columns(_OUTBOX.c.domain)
_LATER = _OUTBOX.alias("later")
# An item goes at the place of its newest version: for that there is a later row, or will be one for who follows.
_SUPERSEDED = or_(
    exists().where(
        _LATER.c.event_seq == _ITEMS.c.position,
        _LATER.c.domain == _OUTBOX.c.domain,
        _LATER.c.id > _OUTBOX.c.id,
    ),
    exists().where(
        _EVENTS.c.seq < _ITEMS.c.position,
        _FAN_OUTS.c.event_seq == _ITEMS.c.position,
        _FAN_OUTS.c.after < _OUTBOX.c.domain,
        _FOLLOWERS.c.node_id == _ITEMS.c.node_id,
        _FOLLOWERS.c.domain == _OUTBOX.c.domain,
        _FOLLOWERS.c.state == "subscribed",
    ),
).label("superseded")
_ROWS = (
    select(
        *NODE_COLUMNS,
        *ITEM_COLUMNS,
        _SUPERSEDED,
        _OUTBOX.c.id,
        _OUTBOX.c.stanza,
        _EVENTS.c.seq,
        _EVENTS.c.kind,
        _EVENTS.c.item_id,
        _EVENTS.c.audience,
    )
    .select_from(_OUTBOX)
    .outerjoin(_EVENTS, _EVENTS.c.seq == _OUTBOX.c.event_seq)
    .outerjoin(_NODES, _NODES.c.id == _EVENTS.c.node_id)
    .outerjoin(_ITEMS, (_ITEMS.c.node_id == _EVENTS.c.node_id) & (_ITEMS.c.item_id == _EVENTS.c.item_id))
    .where(_OUTBOX.c.domain == bindparam("domain"), _OUTBOX.c.id > bindparam("after"))
    .order_by(_OUTBOX.c.id)
    .limit(bindparam("limit"))
)


def _of_audiences(rows: "Select[Any]", audiences: Iterable[Audience]) -> "Select[Any]":
    """Only what may leave: an event's audience, and not more than its node's access model grants today."""
    allowed = set(audiences)
    condition: ColumnElement[bool] = _EVENTS.c.audience.in_([audience.value for audience in sorted(allowed)])
    if Audience.FOLLOWERS not in allowed:
        condition = condition & (_NODES.c.access_model == AccessModel.OPEN.value)
    stanza = _OUTBOX.c.stanza.is_not(None) & _OUTBOX.c.audience.in_([audience.value for audience in sorted(allowed)])
    return rows.where(or_(stanza, condition))


_ROWS_FOR: dict[tuple[frozenset[Audience], bool | None], "Select[Any]"] = {}
_POSTS = _EVENTS.c.kind == PUBLISHED
_COUNT = select(func.count()).where(_OUTBOX.c.domain == bindparam("domain"))
_COUNT_MARKS = select(func.count()).where(_MARKS.c.domain == bindparam("domain"))
# What was numbered in a domain's log and is not acknowledged.
_PENDING = _PEERS.c.number - _PEERS.c.acknowledged
_COUNT_PENDING = select(_PENDING).where(_PEERS.c.domain == bindparam("domain"))
_BACKLOG_PENDING = select(_PEERS.c.domain, _PENDING).where(_PEERS.c.number > _PEERS.c.acknowledged)
_BACKLOG = select(_OUTBOX.c.domain, func.count()).group_by(_OUTBOX.c.domain)
# What a mark stands for: items that may leave and were not told.
_BACKLOG_MARKS = (
    select(_MARKS.c.domain, func.count(_ITEMS.c.id))
    .select_from(_MARKS)
    .outerjoin(
        _ITEMS,
        (_ITEMS.c.node_id == _MARKS.c.node_id)
        & (_ITEMS.c.position <= _MARKS.c.upto)
        & (
            ((_ITEMS.c.audience == Audience.PUBLIC.value) & (_ITEMS.c.position > _MARKS.c.after))
            | ((_ITEMS.c.audience == Audience.FOLLOWERS.value) & (_ITEMS.c.position > _MARKS.c.narrow_after))
        ),
    )
    .group_by(_MARKS.c.domain)
)
_MORE = select(_OUTBOX.c.id).where(_OUTBOX.c.domain == bindparam("domain")).offset(bindparam("most")).limit(1)
_DONE = delete(_OUTBOX).where(_OUTBOX.c.id.in_(bindparam("ids", expanding=True)))
_OLDEST = select(_OUTBOX.c.id, _OUTBOX.c.created).order_by(_OUTBOX.c.id).limit(bindparam("limit")).subquery()
_FORGET = delete(_OUTBOX).where(_OUTBOX.c.id.in_(select(_OLDEST.c.id).where(_OLDEST.c.created < bindparam("before"))))
_ADD = insert(_OUTBOX).inline()
_OWING = (
    select(_OUTBOX.c.domain)
    .where(_OUTBOX.c.event_seq == bindparam("seq"))
    .union(
        select(_MARKS.c.domain)
        .join(_EVENTS, _EVENTS.c.node_id == _MARKS.c.node_id)
        .where(
            _EVENTS.c.seq == bindparam("seq"),
            _EVENTS.c.kind == PUBLISHED,
            _EVENTS.c.seq <= _MARKS.c.upto,
            _EVENTS.c.seq
            > case((_EVENTS.c.audience == Audience.PUBLIC.value, _MARKS.c.after), else_=_MARKS.c.narrow_after),
        ),
        select(_LOG.c.domain)
        .join(_PEERS, _PEERS.c.domain == _LOG.c.domain)
        .where(_LOG.c.event_seq == bindparam("seq"), _LOG.c.number > _PEERS.c.acknowledged),
    )
    .limit(bindparam("limit"))
)


class Step(NamedTuple):
    """How far a mark comes when an item is told: from where it was to a position; ``narrow``: not only public items."""

    domain: str
    node_key: int
    start: int
    narrow_start: int
    position: int
    narrow: bool


class Place(NamedTuple):
    """Where something stands among all that a domain is owed: in its part, there under its node, there by number."""

    part: int
    node_key: int
    number: int


class Owed(NamedTuple):
    """A row of the outbox: a stanza, or an event with its node and, if it is still there, its item.

    With a ``step`` it is of a backlog mark: what is left to tell of a feed; its ``id`` is negative then.
    """

    id: int
    stanza: str | None
    seq: int
    kind: str
    item_id: str | None
    audience: Audience
    node: Node | None
    item: Item | None
    superseded: bool
    place: Place = Place(0, 0, 0)
    step: Step | None = None


class Outbox:
    """By domain, in order."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def add_stanza(self, domain: str, stanza: str, audience: Audience = Audience.PUBLIC) -> None:
        """Owe a domain a stanza that is ready; one that shows an item has the item's audience."""
        self.add_stanzas([(domain, stanza)], audience)

    def add_stanzas(self, stanzas: Iterable[tuple[str, str]], audience: Audience = Audience.PUBLIC) -> None:
        """Owe domains stanzas that are ready. Raises ValueError for one that may not leave."""
        local = self._transaction.domain
        common = {"event_seq": None, "created": self._transaction.now, "audience": audience.value}
        rows = []
        for domain, stanza in stanzas:
            if not may_leave(audience, domain, local_domain=local):
                raise ValueError("what is for this domain only leaves for no other")
            rows.append({"domain": domain, "stanza": stanza, **common})
        if rows:
            self._connection.execute(_ADD, rows)

    def owes(self, domain: str, most: int) -> bool:
        """Is a domain owed more rows than so many?"""
        return self._connection.execute(_MORE, {"domain": domain, "most": most}).first() is not None

    def owed(
        self, domain: str, audiences: frozenset[Audience], *, after: int = 0, limit: int, posts: bool | None = None
    ) -> list[Owed]:
        """The oldest rows of a domain whose events have one of these audiences.

        ``posts``: only what was published, or only everything else.
        """
        statement = _ROWS_FOR.get((audiences, posts))
        if statement is None:
            statement = _of_audiences(_ROWS, audiences)
            if posts is not None:
                statement = statement.where(_POSTS if posts else or_(_OUTBOX.c.stanza.is_not(None), ~_POSTS))
            _ROWS_FOR[audiences, posts] = statement
        rows = self._connection.execute(statement, {"domain": domain, "after": after, "limit": limit})
        return [_read(row) for row in rows]

    def count(self, domain: str) -> int:
        """How many rows a domain has, and entries that are pending in its log; a mark counts as one."""
        counts = (_COUNT, _COUNT_MARKS, _COUNT_PENDING)
        return sum(self._connection.execute(count, {"domain": domain}).scalar() or 0 for count in counts)

    def owe(self, domains: Iterable[str], seq: int) -> tuple[str, ...]:
        """Owe an event to domains that are not owed it yet; those."""
        wanted = set(domains) - {self._transaction.domain}
        if not wanted:
            return ()
        owed = select(_OUTBOX.c.domain).where(_OUTBOX.c.event_seq == seq, _OUTBOX.c.domain.in_(sorted(wanted)))
        new = sorted(wanted.difference(self._connection.execute(owed).scalars()))
        common = {"event_seq": seq, "stanza": None, "created": self._transaction.now, "audience": Audience.PUBLIC.value}
        if new:
            self._connection.execute(_ADD, [{"domain": domain, **common} for domain in new])
        return tuple(new)

    def owing(self, seq: int, limit: int) -> list[str]:
        """The domains that have yet to be told of an event."""
        return list(self._connection.execute(_OWING, {"seq": seq, "limit": limit}).scalars())

    def mentioning(self, domains: Iterable[str], text: str) -> list[str]:
        """Those of some domains that are owed a stanza in which a text stands."""
        among = _OUTBOX.c.domain.in_(sorted(domains))
        found = select(_OUTBOX.c.domain).distinct().where(among, _OUTBOX.c.stanza.contains(text, autoescape=True))
        return list(self._connection.execute(found).scalars())

    def domains(self) -> list[str]:
        """The domains that have rows, or marks that stand for rows, or entries that are pending in their logs."""
        return list(self._connection.execute(_DOMAINS).scalars().all())

    def backlog(self) -> dict[str, int]:
        """How many rows and pending entries each domain has, and items for which its marks stand."""
        found: dict[str, int] = {}
        for counts in (_BACKLOG, _BACKLOG_MARKS, _BACKLOG_PENDING):
            for domain, count in self._connection.execute(counts):
                found[domain] = found.get(domain, 0) + count
        return dict(sorted(found.items()))

    def done(self, ids: Sequence[int]) -> None:
        """Remove rows."""
        if ids:
            self._connection.execute(_DONE, {"ids": list(ids)})

    def forget(self, before: "datetime", limit: int) -> int:
        """Of so many of the oldest rows remove those that are older; how many."""
        return int(self._connection.execute(_FORGET, {"before": before, "limit": limit}).rowcount)


def _read(row: Any) -> Owed:
    at = len(NODE_COLUMNS)
    rest = at + len(ITEM_COLUMNS)
    return Owed(
        superseded=bool(row[rest]),
        place=Place(0, 0, row[rest + 1]),
        id=row[rest + 1],
        stanza=row[rest + 2],
        seq=row[rest + 3] or 0,
        kind=row[rest + 4] or "",
        item_id=row[rest + 5],
        audience=Audience(row[rest + 6] or "public"),
        node=None if row[0] is None else read_node(row),
        item=None if row[at] is None else read_item(row, at),
    )
