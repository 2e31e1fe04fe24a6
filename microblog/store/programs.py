"""Durable subscriptions of programs, and what rules call out to them, by the account's key."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import BigInteger, and_, bindparam, delete, exists, func, insert, select, true, update

from microblog.model.program import Position, Program, Source
from microblog.store import tables
from microblog.store.prepared import Prepared

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_PROGRAMS = tables.programs
_CALLS = tables.program_calls
_P, _C = _PROGRAMS.c, _CALLS.c
_A, _TRACKS, _H = tables.accounts.c, tables.tracks.c, tables.track_hits.c
_COLUMNS = (
    _P.id,
    _P.account_id,
    _P.name,
    _P.sources,
    _P.seq,
    _P.call,
    _P.hit,
    _P.acknowledged,
    _P.created,
    _P.missed,
    _P.url,
    _P.problem,
)
_ACCOUNT, _NAME, _KEY = (
    _P.account_id == bindparam("account"),
    _P.name == bindparam("called"),
    _P.id == bindparam("program"),
)
_GET = Prepared(select(*_COLUMNS).where(_KEY))
_FIND = select(*_COLUMNS).where(_ACCOUNT, _NAME)
_OF = select(*_COLUMNS).where(_ACCOUNT).order_by(_P.name)
_COUNT = select(func.count()).select_from(_PROGRAMS).where(_ACCOUNT)
# Asked each time that a program is told something.
_OWNED = Prepared(
    select(*_COLUMNS, _A.localpart, _A.disabled)
    .join_from(_PROGRAMS, tables.accounts, _A.id == _P.account_id)
    .where(_KEY)
)
_SET_SOURCES = update(_PROGRAMS).where(_KEY).values(sources=bindparam("listed"))
_MOVE = (
    update(_PROGRAMS)
    .where(_KEY)
    .values(seq=bindparam("to_seq"), call=bindparam("to_call"), hit=bindparam("to_hit"), missed=bindparam("lost"))
)
_ACKNOWLEDGE = update(_PROGRAMS).where(_KEY).values(acknowledged=bindparam("now"))
_REMOVE = delete(_PROGRAMS).where(_KEY)
_MISSED = update(_PROGRAMS).where(_P.seq < bindparam("forgotten"), ~_P.missed).values(missed=true())
_TOLD_OF_TRACKS = and_(~_P.missed, _P.sources.contains(json.dumps(Source.TRACK)))
_MISSED_MATCHES = (
    update(_PROGRAMS)
    .where(
        _TOLD_OF_TRACKS,
        exists().where(
            _TRACKS.account_id == _P.account_id,
            _H.track_id == _TRACKS.id,
            _H.id > _P.hit,
            _H.created < bindparam("before", type_=tables.Instant),
        ),
    )
    .values(missed=true())
)
_MISSED_OLDEST = (
    update(_PROGRAMS)
    .where(
        _TOLD_OF_TRACKS,
        _P.account_id == select(_TRACKS.account_id).where(_TRACKS.id == bindparam("track")).scalar_subquery(),
        _P.hit
        < select(_H.id)
        .where(_H.track_id == bindparam("track"))
        .order_by(_H.id.desc())
        .limit(1)
        .offset(bindparam("keep"))
        .scalar_subquery(),
    )
    .values(missed=true())
)
_MISSED_ONE = update(_PROGRAMS).where(_KEY).values(missed=true())

_CALLED = and_(_C.account_id == bindparam("account"), _C.program == bindparam("called"))
_COUNT_CALLS = select(func.count()).select_from(_CALLS).where(_CALLED)
_FIRST_CALL = select(func.min(_C.id)).where(_CALLED)
_CALLS_AFTER = Prepared(
    select(_C.id, _C.payload, _C.created)
    .where(_CALLED, _C.id > bindparam("after"))
    .order_by(_C.id)
    .limit(bindparam("limit"))
)
_CALLS_BEHIND = (
    select(_C.id, _A.localpart)
    .join_from(_CALLS, tables.accounts, _A.id == _C.account_id)
    .where(_C.id > bindparam("after", type_=BigInteger))
    .order_by(_C.id)
    .limit(bindparam("limit"))
)
_DONE = delete(_CALLS).where(_CALLED, _C.id <= bindparam("upto"))
_DONE_ALL = delete(_CALLS).where(_CALLED)
_OLD_CALLS = (
    select(_C.id, _C.account_id, _C.program)
    .where(_C.created < bindparam("before", type_=tables.Instant))
    .order_by(_C.created)
    .limit(bindparam("limit"))
)
_FORGET_CALLS = delete(_CALLS).where(_C.id.in_(bindparam("keys", expanding=True)))
_MISSED_CALL = (
    update(_PROGRAMS).where(_ACCOUNT, _NAME, _P.call < bindparam("forgotten", type_=BigInteger)).values(missed=true())
)


class CallRow(NamedTuple):
    """What a rule called out. ``payload``: JSON."""

    id: int
    payload: str
    created: datetime


class Programs:
    """By key, and by account and name."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def get(self, key: int) -> Program | None:
        """A program by its key."""
        row = _GET.first(self._connection, {"program": key})
        return None if row is None else _read(row)

    def find(self, account: int, name: str) -> Program | None:
        """A program by its name."""
        row = self._connection.execute(_FIND, {"account": account, "called": name}).first()
        return None if row is None else _read(row)

    def of(self, account: int) -> list[Program]:
        """All that somebody has, by name."""
        return [_read(row) for row in self._connection.execute(_OF, {"account": account})]

    def count(self, account: int) -> int:
        """How many somebody has."""
        return int(self._connection.execute(_COUNT, {"account": account}).scalar_one())

    def owned(self, key: int) -> tuple[Program, str, bool] | None:
        """A program, the localpart of whose it is, and whether that account is disabled."""
        row = _OWNED.first(self._connection, {"program": key})
        return None if row is None else (_read(row), row[-2], row[-1])

    def add(self, account: int, name: str, sources: Iterable[Source], position: Position, *, url: str = "") -> int:
        """Make one that has come so far; its key."""
        key = self._connection.execute(
            insert(_PROGRAMS),
            {
                "account_id": account,
                "name": name,
                "sources": _listed(sources),
                "seq": position.seq,
                "call": position.call,
                "hit": position.hit,
                "url": url,
                "created": self._transaction.now,
            },
        ).inserted_primary_key
        assert key is not None
        return int(key[0])

    def set_sources(self, key: int, sources: Iterable[Source]) -> None:
        """From now on it is told of these."""
        self._connection.execute(_SET_SOURCES, {"program": key, "listed": _listed(sources)})

    def move(self, key: int, position: Position, *, missed: bool) -> None:
        """It has done with all up to there."""
        values = {"to_seq": position.seq, "to_call": position.call, "to_hit": position.hit, "lost": missed}
        self._connection.execute(_MOVE, {"program": key, **values})

    def acknowledged(self, key: int) -> None:
        """It has said so itself."""
        self._connection.execute(_ACKNOWLEDGE, {"program": key, "now": self._transaction.now})

    def remove(self, key: int) -> None:
        """Forget one."""
        self._connection.execute(_REMOVE, {"program": key})

    def forgotten(self, seq: int) -> None:
        """Events up to and with this one are not in the log any more."""
        self._connection.execute(_MISSED, {"forgotten": seq})

    def matches_forgotten(self, before: datetime) -> None:
        """What matched before that time is about to be forgotten."""
        self._connection.execute(_MISSED_MATCHES, {"before": before})

    def oldest_forgotten(self, track: int, keep: int) -> None:
        """What matched a track is about to be forgotten, but for so much, the newest."""
        self._connection.execute(_MISSED_OLDEST, {"track": track, "keep": keep})

    # calls

    def call(self, account: int, name: str, payload: str) -> int:
        """Write down what is called out; its number."""
        values = {"account_id": account, "program": name, "payload": payload, "created": self._transaction.now}
        key = self._connection.execute(insert(_CALLS), values).inserted_primary_key
        assert key is not None
        return int(key[0])

    def calls(self, account: int, name: str, after: int, limit: int) -> list[CallRow]:
        """What was called out behind a number, in order."""
        where = {"account": account, "called": name, "after": after, "limit": limit}
        return [CallRow(*row) for row in _CALLS_AFTER.rows(self._connection, where)]

    def calls_behind(self, after: int, limit: int) -> list[tuple[int, str]]:
        """The numbers of everybody's calls behind one, in order, with the localpart of whose program it is."""
        rows = self._connection.execute(_CALLS_BEHIND, {"after": after, "limit": limit})
        return [(row[0], row[1]) for row in rows]

    def count_calls(self, account: int, name: str) -> int:
        """How many wait."""
        return int(self._connection.execute(_COUNT_CALLS, {"account": account, "called": name}).scalar_one())

    def called(self, account: int, name: str, upto: int | None = None) -> None:
        """Calls up to a number are done with, or all."""
        where = {"account": account, "called": name}
        if upto is None:
            self._connection.execute(_DONE_ALL, where)
        else:
            self._connection.execute(_DONE, where | {"upto": upto})

    def drop_oldest_call(self, program: Program) -> None:
        """Too many wait: the oldest is lost, and the program will hear that something was."""
        where = {"account": program.account, "called": program.name}
        oldest = self._connection.execute(_FIRST_CALL, where).scalar_one()
        if oldest is not None:
            self._connection.execute(_DONE, where | {"upto": oldest})
            self._connection.execute(_MISSED_ONE, {"program": program.key})

    def forget_calls(self, before: datetime, limit: int) -> int:
        """Forget calls that nobody came for, not all at once; how many."""
        rows = self._connection.execute(_OLD_CALLS, {"before": before, "limit": limit}).all()
        if rows:
            self._connection.execute(_FORGET_CALLS, {"keys": [row[0] for row in rows]})
        last: dict[tuple[int, str], int] = {}
        for key, account, name in rows:
            last[account, name] = max(key, last.get((account, name), 0))
        for (account, name), key in last.items():
            self._connection.execute(_MISSED_CALL, {"account": account, "called": name, "forgotten": key})
        return len(rows)


def _listed(sources: Iterable[Source]) -> str:
    return json.dumps(sorted(sources))


def _read(row: Sequence[Any]) -> Program:
    return Program(
        key=row[0],
        account=row[1],
        name=row[2],
        sources=frozenset(map(Source, json.loads(row[3]))),
        position=Position(row[4], row[5], row[6]),
        acknowledged=row[7],
        created=row[8],
        missed=row[9],
        url=row[10],
        problem=row[11],
    )
