"""Lines of chat that wait for their reader, when readers were there, and what they want no lines of for a while."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Select, and_, bindparam, delete, func, or_, select, update

from microblog.model.jid import JID
from microblog.model.uri import ItemAddress
from microblog.store import tables
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

# What shows no item.
LINE: Final = "line"
SOME_MAX: Final = 500
_HELD = tables.held_lines
_H = _HELD.c
_ABSENCES = tables.absences
_A = _ABSENCES.c
_PAUSED = tables.paused_sources
_P = _PAUSED.c
_TRACKS = tables.tracks
_HITS = tables.track_hits
_SHOWN = tables.shown.c

_ACCOUNT = _H.account_id == bindparam("account")
_ITEM = (_H.service == bindparam("of_service"), _H.node == bindparam("of_node"), _H.item_id == bindparam("of_item"))
_OF_ITEM = select(_H.account_id).where(*_ITEM)
_ANY = select(_H.id).limit(1)
_WAITS = _ANY.where(_ACCOUNT)
_COLUMNS = select(_H.id, _H.kind, _H.service, _H.node, _H.item_id, _H.text, _H.created).where(_ACCOUNT)
_DUE = _COLUMNS.where(or_(_H.id > bindparam("after"), _H.kind == LINE)).order_by(_H.id).limit(bindparam("limit"))
_ITEMS = _COLUMNS.where(_H.id > bindparam("after"), _H.kind != LINE).order_by(_H.id).limit(bindparam("limit"))
_COUNTS = (
    select(_H.kind, func.count())
    .where(_ACCOUNT, _H.id > bindparam("after"), _H.created <= bindparam("upto", type_=_H.created.type))
    .group_by(_H.kind)
)
_LAST = select(func.max(_H.id)).where(_ACCOUNT)
_TOO_MANY = (
    select(_H.account_id, func.count())
    .where(_H.account_id.in_(bindparam("accounts", expanding=True)))
    .group_by(_H.account_id)
    .having(func.count() > bindparam("most"))
)
_OLDEST = select(_H.id).where(_ACCOUNT).order_by(_H.id).limit(bindparam("limit"))
_THERE = select(_H.id).where(_ACCOUNT, _H.id.in_(bindparam("ids", expanding=True)))
_DROP = delete(_HELD).where(_H.account_id == bindparam("account"), _H.id.in_(bindparam("ids", expanding=True)))
_SETTLE = delete(_HELD).where(_ACCOUNT, *_ITEM)
_SETTLE_ALL = delete(_HELD).where(_ACCOUNT)
_OLD = select(_H.id).where(_H.created < bindparam("before", type_=_H.created.type)).limit(bindparam("limit"))
_FORGET = delete(_HELD).where(_H.id.in_(_OLD))

_ABSENCE = select(_A.since, _A.seen, _A.missed, _A.announced).where(_A.account_id == bindparam("account"))
_SEEN = update(_ABSENCES).where(_A.since.is_(None)).values(seen=bindparam("now"))
_GONE = update(_ABSENCES).where(_A.since.is_(None)).values(since=_A.seen)
_LAST_SHOWN = select(func.max(_SHOWN.shown)).where(_SHOWN.account_id == bindparam("account"))

_PAUSES = select(_P.source, _P.until).where(
    _P.account_id == bindparam("account"),
    or_(_P.until.is_(None), _P.until > bindparam("now", type_=_P.until.type)),
)
_RESUME = delete(_PAUSED).where(_P.account_id == bindparam("account"), _P.source == bindparam("of_source"))
_ENDED = delete(_PAUSED).where(_P.until <= bindparam("now", type_=_P.until.type))

_OF_TRACK = and_(_HITS.c.track_id == _TRACKS.c.id, _TRACKS.c.account_id == bindparam("account"))
_MATCHES = (
    select(func.count())
    .select_from(_HITS)
    .join(_TRACKS, _OF_TRACK)
    .where(_HITS.c.created > bindparam("since", type_=_HITS.c.created.type))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A line that waits. ``address``: of the item, None for a line without one. ``text``: what stands before the item,
    or the line itself."""

    key: int
    kind: str
    address: ItemAddress | None
    text: str
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """When somebody was there. ``since``: when they went; None: they are there, or the server died.

    ``missed``, ``announced``: since when there were no lines, and up to which held line, as the last digest said.
    """

    since: datetime | None
    seen: datetime
    missed: datetime | None = None
    announced: int = 0


class DeferredLines:
    """By the account's key."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now
        self._new_id = transaction.new_id

    # lines that wait

    def hold(self, lines: Iterable[tuple[int, str, str]], address: ItemAddress | None, most: int) -> None:
        """A line waits for each of these: account, kind, and text; unless that of its item waits already.

        No more than ``most`` wait for anybody: the oldest go.
        """
        rows = [self._row(account, kind, address, text) for account, kind, text in lines]
        self._connection.execute(insert(self._connection, _HELD).on_conflict_do_nothing(), rows)
        accounts = [row["account_id"] for row in rows]
        for start in range(0, len(accounts), SOME_MAX):
            some = {"accounts": accounts[start : start + SOME_MAX], "most": most}
            for account, count in self._connection.execute(_TOO_MANY, some).all():
                oldest = self._connection.execute(_OLDEST, {"account": account, "limit": count - most}).scalars().all()
                self.drop(account, oldest)

    def _row(self, account: int, kind: str, address: ItemAddress | None, text: str) -> dict[str, Any]:
        service, node, item_id = ("", "", self._new_id()) if address is None else address
        return {
            "account_id": account,
            "kind": kind,
            "service": str(service),
            "node": node,
            "item_id": item_id,
            "text": text,
            "created": self._now,
        }

    def of(self, address: ItemAddress) -> frozenset[int]:
        """The accounts for whom the line of an item waits."""
        if not self._any:
            return frozenset()
        return frozenset(self._connection.execute(_OF_ITEM, _item(address)).scalars())

    @property
    def _any(self) -> bool:
        return self._connection.execute(_ANY).first() is not None

    def waits(self, account: int) -> bool:
        """Does a line wait for somebody?"""
        return self._connection.execute(_WAITS, {"account": account}).first() is not None

    def due(self, account: int, after: int, limit: int) -> list[Held]:
        """So many of the lines that wait behind one, and of those without an item also before it; the oldest first."""
        return self._page(_DUE, account, after, limit)

    def items(self, account: int, after: int, limit: int) -> list[Held]:
        """So many of those that show an item, behind one; the oldest first."""
        return self._page(_ITEMS, account, after, limit)

    def _page(self, statement: Select[Any], account: int, after: int, limit: int) -> list[Held]:
        rows = self._connection.execute(statement, {"account": account, "after": after, "limit": limit})
        return [
            Held(
                key=row[0],
                kind=row[1],
                address=None if row[1] == LINE else ItemAddress(JID.parse(row[2]), row[3], row[4]),
                text=row[5],
                created=row[6],
            )
            for row in rows
        ]

    def counts(self, account: int, after: int, upto: datetime | None = None) -> dict[str, int]:
        """How many wait, by kind; ``upto``: since then or before."""
        where = {"account": account, "after": after, "upto": upto or self._now}
        rows = self._connection.execute(_COUNTS, where)
        return {kind: count for kind, count in rows}

    def last(self, account: int) -> int:
        """The key of the last line that waits; 0 if there is none."""
        return int(self._connection.execute(_LAST, {"account": account}).scalar_one() or 0)

    def drop(self, account: int, keys: Collection[int]) -> frozenset[int]:
        """These lines do not wait any more; those that did until now."""
        if not keys:
            return frozenset()
        values = {"account": account, "ids": list(keys)}
        there = frozenset(self._connection.execute(_THERE, values).scalars())
        if there:
            self._connection.execute(_DROP, values)
        return there

    def settle(self, account: int, address: ItemAddress) -> None:
        """Somebody has seen an item: its line needs not wait."""
        self._connection.execute(_SETTLE, {"account": account, **_item(address)})

    def settle_all(self, account: int) -> int:
        """Somebody has seen, or wants to see, nothing of what waits; how many lines that were."""
        return int(self._connection.execute(_SETTLE_ALL, {"account": account}).rowcount)

    def forget(self, before: datetime, limit: int) -> int:
        """Forget lines that waited too long; how many."""
        return int(self._connection.execute(_FORGET, {"before": before, "limit": limit}).rowcount)

    def matches(self, account: int, since: datetime) -> int:
        """How many matches the tracks of somebody had since then."""
        return int(self._connection.execute(_MATCHES, {"account": account, "since": since}).scalar_one())

    # who was there

    def absence(self, account: int) -> Absence | None:
        """When somebody was there; None if that was never written down."""
        row = self._connection.execute(_ABSENCE, {"account": account}).one_or_none()
        return None if row is None else Absence(since=row[0], seen=row[1], missed=row[2], announced=row[3])

    def put_absence(self, account: int, absence: Absence) -> None:
        """Write it down."""
        values = {
            "since": absence.since,
            "seen": absence.seen,
            "missed": absence.missed,
            "announced": absence.announced,
        }
        statement = insert(self._connection, _ABSENCES).values(account_id=account, **values)
        self._connection.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))

    def still_there(self) -> None:
        """Everybody who was there is there now."""
        self._connection.execute(_SEEN, {"now": self._now})

    def nobody_there(self) -> None:
        """Everybody who was there is gone: since they were seen last."""
        self._connection.execute(_GONE)

    def last_shown(self, account: int) -> datetime | None:
        """When somebody was shown an item last."""
        shown: datetime | None = self._connection.execute(_LAST_SHOWN, {"account": account}).scalar_one()
        return shown

    # what they want no lines of

    def pauses(self, account: int) -> dict[str, datetime | None]:
        """What somebody wants no lines of now, each until when; None: until they say so."""
        rows = self._connection.execute(_PAUSES, {"account": account, "now": self._now})
        return {source: until for source, until in rows}

    def pause(self, account: int, source: str, until: datetime | None) -> None:
        """No lines of a source; of an empty one: none at all."""
        statement = insert(self._connection, _PAUSED).values(account_id=account, source=source, until=until)
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["account_id", "source"], set_={"until": until})
        )

    def resume(self, account: int, source: str) -> bool:
        """Lines of a source again; False if it was not paused."""
        return bool(self._connection.execute(_RESUME, {"account": account, "of_source": source}).rowcount)

    def forget_pauses(self) -> None:
        """Forget pauses that are over."""
        self._connection.execute(_ENDED, {"now": self._now})


def _item(address: ItemAddress) -> dict[str, object]:
    return {"of_service": str(address.service), "of_node": address.node, "of_item": address.item_id}
