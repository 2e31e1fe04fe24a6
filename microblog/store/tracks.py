"""Tracks: saved searches of people here and elsewhere, and what has met them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, bindparam, delete, exists, func, or_, select, text, update

from microblog.model.jid import JID
from microblog.model.query import Query
from microblog.model.uri import ItemAddress
from microblog.store import tables
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_TRACKS = tables.tracks
_T = _TRACKS.c
_HITS = tables.track_hits
_H = _HITS.c
# As many parameters as a statement may have everywhere, and some to spare.
CHUNK: Final = 500

_COLUMNS = (
    _T.id,
    _T.owner,
    _T.account_id,
    _T.number,
    _T.query,
    _T.urgent,
    _T.deliver,
    _T.hits,
    _T.subid,
    _T.service,
    _T.lease,
    _T.checked,
    _T.problem,
    _T.expires,
    _T.created,
)
_HIT_COLUMNS = (_H.id, _H.track_id, _H.service, _H.node, _H.item_id, _H.payload, _H.created)
_ALL = select(*_COLUMNS)
_OF = _ALL.where(_T.owner == bindparam("owner")).order_by(_T.number)
_COUNT = select(func.count()).select_from(_TRACKS)
_GUESTS = _COUNT.where(_T.account_id.is_(None))
_NUMBER = select(func.max(_T.number)).where(_T.owner == bindparam("owner"))
_PAGE = _ALL.where(_T.id > bindparam("after")).order_by(_T.id).limit(bindparam("limit"))
_SOME = _ALL.where(_T.id.in_(bindparam("keys", expanding=True)))
_ANY = select(_T.id).where(_T.query != bindparam("nothing")).limit(1)
_REMOVE = delete(_TRACKS).where(_T.id == bindparam("key"))
_COUNTED = update(_TRACKS).where(_T.id == bindparam("key")).values(hits=_T.hits + 1)
_RANKED = (
    select(
        _T.id,
        func.row_number()
        .over(partition_by=_T.service, order_by=(_T.checked.is_not(None), _T.checked, _T.id))
        .label("rank"),
    )
    .where(
        _T.service > "",  # not equal would look at all that have none
        or_(
            _T.checked.is_(None),
            _T.checked < bindparam("before", type_=tables.Instant),
            and_(_T.problem == bindparam("away"), _T.checked < bindparam("soon", type_=tables.Instant)),
        ),
    )
    .subquery("ranked")
)
# Some of each node, so that none is kept from its turn by how much there is of another.
_DUE = (
    _ALL.join(_RANKED, _RANKED.c.id == _T.id)
    .where(_RANKED.c.rank <= bindparam("each"))
    .order_by(_RANKED.c.rank, _T.service)
    .limit(bindparam("limit"))
)
_EXPIRED = _ALL.where(_T.expires < bindparam("now", type_=tables.Instant)).limit(bindparam("limit"))
_UNTOLD = (
    select(*_HIT_COLUMNS, *(column.label(f"track_{column.name}") for column in _COLUMNS))
    .join(_TRACKS, _T.id == _H.track_id)
    # In these words, so that the index of them is found.
    .where(text("NOT track_hits.told"), _H.id > bindparam("after"))
    .order_by(_H.id)
    .limit(bindparam("limit"))
)
_ITEM = and_(_H.service == bindparam("service"), _H.node == bindparam("node"), _H.item_id == bindparam("item_id"))
_HIT_BY = select(_H.track_id).where(_ITEM, _H.track_id.in_(bindparam("keys", expanding=True)))
_FOUND_BY = select(_H.id, _H.service, _H.node, _H.item_id).where(
    _H.track_id.in_(bindparam("keys", expanding=True)),
    _H.item_id.in_(bindparam("ids", expanding=True)),
    _H.payload != "",
)
_HAVING = (
    select(*_HIT_COLUMNS, *(column.label(f"track_{column.name}") for column in _COLUMNS))
    .join(_TRACKS, _T.id == _H.track_id)
    .where(_ITEM)
    .order_by(_H.id)
)
_FIRST_HIT = _HITS.alias("first_hit")
_FIRST_TRACK = _TRACKS.alias("first_track")
# What several tracks of one owner have found is one thing.
_ONCE = ~exists().where(
    _FIRST_HIT.c.service == _H.service,
    _FIRST_HIT.c.node == _H.node,
    _FIRST_HIT.c.item_id == _H.item_id,
    _FIRST_HIT.c.id < _H.id,
    _FIRST_TRACK.c.id == _FIRST_HIT.c.track_id,
    _FIRST_TRACK.c.owner == bindparam("owner"),
)
_FORGET = delete(_HITS).where(
    _H.id.in_(select(_H.id).where(_H.created < bindparam("before", type_=tables.Instant)).limit(bindparam("limit")))
)
_TRIM = delete(_HITS).where(
    _H.track_id == bindparam("key"),
    _H.id
    <= select(_H.id)
    .where(_H.track_id == bindparam("key"))
    .order_by(_H.id.desc())
    .limit(1)
    .offset(bindparam("keep"))
    .scalar_subquery(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A saved search. ``owner``: bare JID, of somebody elsewhere if there is no ``account``.

    ``service``: the node elsewhere that looks as well, for somebody here, and knows it as ``lease``. ``deliver``: its
    owner is sent notifications. ``expires``: of somebody elsewhere.
    """

    key: int
    owner: JID
    account: int | None
    number: int
    query: Query
    urgent: bool = False
    deliver: bool = True
    hits: int = 0
    subid: str = ""
    service: str = ""
    lease: str = ""
    checked: datetime | None = None
    problem: str = ""
    expires: datetime | None = None
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A post that met a track. ``payload``: of one of which there is no copy here."""

    key: int
    track: int
    address: ItemAddress
    payload: str
    created: datetime


class Tracks:
    """By owner and number, or by the store's own name."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    # tracks

    def add(
        self,
        owner: JID,
        query: Query,
        *,
        account: int | None,
        subid: str,
        urgent: bool = False,
        deliver: bool = True,
        service: str = "",
        expires: datetime | None = None,
    ) -> Track:
        """Save a search."""
        number = int(self._connection.execute(_NUMBER, {"owner": str(owner)}).scalar_one() or 0) + 1
        values: dict[str, Any] = {
            "owner": str(owner),
            "account_id": account,
            "number": number,
            "query": written(query),
            "urgent": urgent,
            "deliver": deliver,
            "hits": 0,
            "subid": subid,
            "service": service,
            "expires": expires,
            "created": self._transaction.now,
        }
        key = self._connection.execute(_TRACKS.insert(), values).inserted_primary_key
        assert key is not None
        return Track(
            key=key[0],
            owner=owner,
            account=account,
            number=number,
            query=query,
            urgent=urgent,
            deliver=deliver,
            subid=subid,
            service=service,
            expires=expires,
            created=self._transaction.now,
        )

    def of(self, owner: JID) -> list[Track]:
        """Somebody's, by number."""
        return [read_track(row) for row in self._connection.execute(_OF, {"owner": str(owner)})]

    def get(self, keys: Iterable[int]) -> dict[int, Track]:
        """Those that there are of these."""
        wanted = list(keys)
        found: dict[int, Track] = {}
        for at in range(0, len(wanted), CHUNK):
            for row in self._connection.execute(_SOME, {"keys": wanted[at : at + CHUNK]}):
                found[row[0]] = read_track(row)
        return found

    def after(self, key: int, limit: int) -> list[Track]:
        """So many of all tracks behind one."""
        return [read_track(row) for row in self._connection.execute(_PAGE, {"after": key, "limit": limit})]

    def count_of_guests(self, domain: str | None = None) -> int:
        """How many people elsewhere have, or those of one domain."""
        statement = _GUESTS if domain is None else _GUESTS.where(_T.owner.endswith(f"@{domain}", autoescape=True))
        return int(self._connection.execute(statement).scalar_one())

    def change(self, key: int, **columns: Any) -> None:
        """Change something of a track."""
        self._connection.execute(update(_TRACKS).where(_T.id == key).values(**columns))

    def remove(self, key: int) -> None:
        """Forget a track and what met it."""
        self._connection.execute(_REMOVE, {"key": key})

    def remove_of_guests(self, domain: str) -> list[int]:
        """Forget what people of a domain elsewhere have saved; which it were."""
        theirs = and_(_T.account_id.is_(None), _T.owner.endswith(f"@{domain}", autoescape=True))
        keys = [int(key) for key in self._connection.execute(select(_T.id).where(theirs)).scalars()]
        for key in keys:
            self.remove(key)
        return keys

    def expired(self, limit: int) -> list[Track]:
        """So many of those whose time is over."""
        values = {"now": self._transaction.now, "limit": limit}
        return [read_track(row) for row in self._connection.execute(_EXPIRED, values)]

    def due(self, before: datetime, soon: datetime, away: str, limit: int, each: int) -> list[Track]:
        """Those that a node elsewhere looks for too and was not asked about since; sooner those with that problem.

        So many altogether, and of each node so many.
        """
        values = {"before": before, "soon": soon, "away": away, "limit": limit, "each": each}
        return [read_track(row) for row in self._connection.execute(_DUE, values)]

    def any(self) -> bool:
        """Does anybody track anything? Not who has yet to say what."""
        return self._connection.execute(_ANY, {"nothing": written(Query())}).first() is not None

    def domains_of_guests(self) -> set[str]:
        """Where those are who are elsewhere. Reads all of them: for a reader."""
        owners = self._connection.execute(select(_T.owner).where(_T.account_id.is_(None)).distinct()).scalars()
        return {JID.parse(owner).domainpart for owner in owners}

    def quiet(self, accounts: Iterable[int]) -> set[int]:
        """Those accounts that have muted or blocked anything."""
        wanted = list(accounts)
        found: set[int] = set()
        for at in range(0, len(wanted), CHUNK):
            for column in (tables.mutes.c.account_id, tables.blocks.c.account_id):
                some = select(column).where(column.in_(wanted[at : at + CHUNK])).distinct()
                found.update(self._connection.execute(some).scalars())
        return found

    # what met them

    def met(self, tracks: Iterable[int], address: ItemAddress) -> set[int]:
        """Of which of these it is known that a post has met them."""
        wanted = list(tracks)
        known: set[int] = set()
        for at in range(0, len(wanted), CHUNK):
            values = {**_item(address), "keys": wanted[at : at + CHUNK]}
            known.update(self._connection.execute(_HIT_BY, values).scalars())
        return known

    def hit(self, tracks: Sequence[int], address: ItemAddress, *, told: bool, payload: str = "") -> list[int]:
        """A post has met these; of which it was not known yet. They are counted."""
        known = self.met(tracks, address)
        new = [key for key in tracks if key not in known]
        if new:
            values = {**_item(address), "payload": payload, "told": told, "created": self._transaction.now}
            statement = insert(self._connection, _HITS).on_conflict_do_nothing()
            self._connection.execute(statement, [{"track_id": key, **values} for key in new])
            self.count(new)
        return new

    def count(self, tracks: Iterable[int]) -> None:
        """Something has met these."""
        self._connection.execute(_COUNTED, [{"key": key} for key in tracks])

    def untold(self, after: int, limit: int) -> list[tuple[Hit, Track]]:
        """What somebody here has yet to be told, oldest first."""
        rows = self._connection.execute(_UNTOLD, {"after": after, "limit": limit})
        return [(read_hit(row), read_track(row[len(_HIT_COLUMNS) :])) for row in rows]

    def told(self, hits: Sequence[int]) -> None:
        """They have been told."""
        for at in range(0, len(hits), CHUNK):
            some = hits[at : at + CHUNK]
            self._connection.execute(update(_HITS).where(_H.id.in_(some)).values(told=True))

    def having(self, address: ItemAddress) -> list[tuple[Hit, Track]]:
        """Which tracks a post has met."""
        rows = self._connection.execute(_HAVING, _item(address))
        return [(read_hit(row), read_track(row[len(_HIT_COLUMNS) :])) for row in rows]

    def found_elsewhere(self, tracks: Sequence[int], item_ids: Sequence[str]) -> list[tuple[int, ItemAddress]]:
        """What of these ids nodes elsewhere have found for these tracks."""
        found: list[tuple[int, ItemAddress]] = []
        for at in range(0, len(item_ids), CHUNK):
            rows = self._connection.execute(_FOUND_BY, {"keys": tracks, "ids": item_ids[at : at + CHUNK]})
            found += [(row[0], ItemAddress(JID.parse(row[1]), row[2], row[3])) for row in rows]
        return found

    def gone(self, hits: Iterable[int]) -> None:
        """Forget that something was met."""
        wanted = list(hits)
        for at in range(0, len(wanted), CHUNK):
            self._connection.execute(delete(_HITS).where(_H.id.in_(wanted[at : at + CHUNK])))

    def hits(
        self,
        owner: JID,
        *,
        track: int | None = None,
        before: int | None = None,
        after: int | None = None,
        limit: int,
        oldest: bool = False,
    ) -> list[Hit]:
        """What has met somebody's tracks, or one of them, each post once: newest first, or oldest first.

        ``before``, ``after``: only what is older or newer than that.
        """
        statement = select(*_HIT_COLUMNS).join(_TRACKS, _T.id == _H.track_id).where(_T.owner == str(owner))
        statement = statement.where(_ONCE) if track is None else statement.where(_H.track_id == track)
        if before is not None:
            statement = statement.where(_H.id < before)
        if after is not None:
            statement = statement.where(_H.id > after)
        statement = statement.order_by(_H.id if oldest else _H.id.desc()).limit(limit)
        values = {"owner": str(owner)} if track is None else {}
        return [read_hit(row) for row in self._connection.execute(statement, values)]

    def payload(self, account: int, address: ItemAddress) -> str:
        """What is kept of a post that met a track of an account and of which there is no copy here; or nothing."""
        statement = select(_H.payload).join(_TRACKS, _T.id == _H.track_id)
        statement = statement.where(_T.account_id == account, _ITEM, _H.payload != "").limit(1)
        return str(self._connection.execute(statement, _item(address)).scalar() or "")

    def forget(self, before: datetime, limit: int) -> int:
        """Forget so many of what met a track before that time; how many."""
        self._transaction.programs.matches_forgotten(before)
        return int(self._connection.execute(_FORGET, {"before": before, "limit": limit}).rowcount)

    def trim(self, track: int, most: int) -> None:
        """Of what has met a track keep so much, the newest."""
        self._transaction.programs.oldest_forgotten(track, most)
        self._connection.execute(_TRIM, {"key": track, "keep": most})


def written(query: Query) -> str:
    """A query as it is kept: equal queries are equal texts."""
    return json.dumps(query.to_json(), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _item(address: ItemAddress) -> Mapping[str, Any]:
    return {"service": str(address.service), "node": address.node, "item_id": address.item_id}


def read_track(row: Sequence[Any]) -> Track:
    """A track from a row that begins with its columns."""
    return Track(
        key=row[0],
        owner=JID.parse(row[1]),
        account=row[2],
        number=row[3],
        query=Query.from_json(json.loads(row[4])),
        urgent=row[5],
        deliver=row[6],
        hits=row[7],
        subid=row[8],
        service=row[9],
        lease=row[10],
        checked=row[11],
        problem=row[12],
        expires=row[13],
        created=row[14],
    )


def read_hit(row: Sequence[Any]) -> Hit:
    """A match from a row that begins with its columns."""
    address = ItemAddress(JID.parse(row[2]), row[3], row[4])
    return Hit(key=row[0], track=row[1], address=address, payload=row[5], created=row[6])
