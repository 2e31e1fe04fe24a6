"""What programs are told, out of the logs: of events those that may concern somebody, and the matches of their tracks.

The log of events is looked through a stretch at a time, so that a look costs the same however much of it is somebody
else's. What an event is to whom, and whether they may know of it, is said by the rules (``usecases.informing``).
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, exists, func, literal_column, or_, select

from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.program import Source
from microblog.store import tables
from microblog.store.events import PURGED, RETRACTED
from microblog.store.prepared import Prepared

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

STRETCH: Final = 2000  # events that are looked at in one go

_E, _N, _I = tables.events.c, tables.nodes.c, tables.items.c
_S, _M, _T, _F = tables.subscriptions.c, tables.item_mentions.c, tables.item_tags.c, tables.followed_tags.c
_H, _TRACKS = tables.track_hits.c, tables.tracks.c


def _number(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=BigInteger)


def _text(name: str) -> ColumnElement[str]:
    return bindparam(name, type_=_N.name.type)


def _wants(source: Source) -> ColumnElement[bool]:
    return _number(source.value) == literal_column("1")


_NEXT = select(_E.seq).where(_E.seq > _number("after")).order_by(_E.seq).limit(literal_column(str(STRETCH))).subquery()
_END = Prepared(select(func.max(_NEXT.c.seq), func.count()))
_READER = _text("reader")
_FEED = _N.name == literal_column(f"'{MICROBLOG}'")
_SINCE = (
    select(func.min(_S.created))
    .where(_S.bare == _READER, _S.node_id == _E.node_id, _S.state == literal_column("'subscribed'"))
    .correlate(tables.events)
    .scalar_subquery()
)
_TAGGED_SINCE = (
    select(func.min(_F.created))
    .where(_T.item == _I.id, _F.tag == _T.tag, _F.account_id == _number("account"))
    .correlate(tables.items)
    .scalar_subquery()
)
_MENTIONED = exists().where(_M.item == _I.id, _M.jid == _READER)
_OF_DOMAIN = _N.service != func.replace(_N.service, _text("at_domain"), "")
_LOG = Prepared(
    select(
        _E.seq,
        _E.kind,
        _E.node_id,
        _E.item_id,
        _E.audience,
        _E.created,
        _N.service,
        _N.name,
        _I.id,
        _SINCE.label("followed"),
        _TAGGED_SINCE.label("tagged"),
    )
    .select_from(tables.events)
    .join(tables.nodes, _N.id == _E.node_id)
    # Of an item that was published several times the last is told, and of one that is gone that it is gone.
    .outerjoin(tables.items, and_(_I.node_id == _E.node_id, _I.item_id == _E.item_id, _I.position == _E.seq))
    .where(
        _E.seq > _number("after"),
        _E.seq <= _number("upto"),
        or_(_I.id.is_not(None), *(_E.kind == literal_column(f"'{kind}'") for kind in (RETRACTED, PURGED))),
        or_(
            and_(_wants(Source.OWN), _FEED, _N.service == _READER),
            and_(_wants(Source.HOME), _FEED, or_(_SINCE.is_not(None), _TAGGED_SINCE.is_not(None))),
            and_(_wants(Source.LOCAL), _FEED, _OF_DOMAIN),
            and_(_wants(Source.MENTIONS), _MENTIONED),
        ),
    )
    .order_by(_E.seq)
    .limit(_number("limit"))
)
_HITS = Prepared(
    select(_H.id, _TRACKS.number, _H.service, _H.node, _H.item_id, _H.payload, _H.created)
    .join_from(tables.tracks, tables.track_hits, _H.track_id == _TRACKS.id)
    .where(_TRACKS.account_id == _number("account"), _H.id > _number("after"))
    .order_by(_H.id)
    .limit(_number("limit"))
)
_LAST_HIT = Prepared(select(func.max(_H.id)))

_BATCH: Final = 50
_KEYS = [_number(f"key_{n}") for n in range(_BATCH)]
_NAMED = Prepared(select(_M.jid).distinct().where(_M.item.in_(_KEYS)))
_TAGS = Prepared(select(_T.tag).distinct().where(_T.item.in_(_KEYS)))
_FEEDS = Prepared(select(_S.node_id).where(_S.bare == _READER, _S.state == literal_column("'subscribed'")))
_FOLLOWED_TAGS = Prepared(select(_F.tag).where(_F.account_id == _number("account")))


class Logged(NamedTuple):
    """An event that may concern somebody. ``item``: the key of what was published in it and is there still.

    ``followed``, ``tagged``: since when they follow the node, or a tag of what was published.
    """

    seq: int
    kind: str
    node: int
    item_id: str
    audience: Audience
    created: datetime
    service: JID
    name: str
    item: int | None
    followed: datetime | None
    tagged: datetime | None


class Stretch(NamedTuple):
    """A part of the log: what in it may concern somebody, and the last event that was looked at; is there more?"""

    events: list[Logged]
    end: int
    more: bool


class Hit(NamedTuple):
    """A match of a track, which its owner knows by a number. ``payload``: of an item that is not kept here."""

    id: int
    track: int
    service: JID
    node: str
    item_id: str
    payload: str
    created: datetime


class ProgramLogs:
    """For somebody, by the account's key."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._domain = transaction.domain

    def events(self, account: int, reader: JID, after: int, sources: AbstractSet[Source], limit: int) -> Stretch:
        """What comes behind an event, from these sources; so many at most."""
        found = _END.first(self._connection, {"after": after})
        assert found is not None
        upto, looked_at = found[0] or after, found[1]
        more = looked_at == STRETCH
        if not looked_at or sources <= {Source.TRACK, Source.CALLS}:
            # Nothing is looked for: what is there is passed over at once.
            return Stretch([], upto, more)
        parameters: dict[str, Any] = {source.value: int(source in sources) for source in Source}
        del parameters[Source.TRACK], parameters[Source.CALLS]
        parameters |= {"account": account, "reader": str(reader), "at_domain": f"@{self._domain}"}
        rows = _LOG.rows(self._connection, parameters | {"after": after, "upto": upto, "limit": limit})
        events = [
            Logged(
                seq=row[0],
                kind=row[1],
                node=row[2],
                item_id=row[3] or "",
                audience=Audience(row[4]),
                created=row[5],
                service=JID.parse(row[6]),
                name=row[7],
                item=row[8],
                followed=row[9],
                tagged=row[10],
            )
            for row in rows
        ]
        if len(events) == limit:
            return Stretch(events, events[-1].seq, True)
        return Stretch(events, upto, more)

    def hits(self, account: int, after: int, limit: int) -> list[Hit]:
        """What matched somebody's tracks behind a match, in order."""
        rows = _HITS.rows(self._connection, {"account": account, "after": after, "limit": limit})
        return [Hit(row[0], row[1], JID.parse(row[2]), *row[3:]) for row in rows]

    def named(self, items: Sequence[int]) -> set[str]:
        """The addresses that some items name, by the items' keys."""
        return {row[0] for batch in _batches(items) for row in _NAMED.rows(self._connection, batch)}

    def tags(self, items: Sequence[int]) -> set[str]:
        """The tags that some items are under, by the items' keys."""
        return {row[0] for batch in _batches(items) for row in _TAGS.rows(self._connection, batch)}

    def feeds(self, reader: JID) -> frozenset[int]:
        """The nodes that somebody is subscribed to, by key."""
        return frozenset(row[0] for row in _FEEDS.rows(self._connection, {"reader": str(reader)}))

    def followed_tags(self, account: int) -> frozenset[str]:
        """The tags that somebody follows."""
        return frozenset(row[0] for row in _FOLLOWED_TAGS.rows(self._connection, {"account": account}))

    def last_hit(self) -> int:
        """The number of the last match of anybody's track; 0 before the first."""
        return int(_LAST_HIT.scalar(self._connection, {}) or 0)


def _batches(keys: Sequence[int]) -> Iterator[dict[str, int]]:
    """Keys as parameters, so many at a time; what is left over is repeated."""
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        yield {f"key_{n}": batch[n % len(batch)] for n in range(_BATCH)}
