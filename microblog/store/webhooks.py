"""Programs that are called: where, how it is signed, and how that went. They are rows of ``programs`` with a URL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, false, func, null, select, update

from microblog.store import tables

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_PROGRAMS = tables.programs
_P, _A = _PROGRAMS.c, tables.accounts.c
_SELECT = (
    select(
        _P.id,
        _A.localpart,
        _P.name,
        _P.url,
        _P.secret,
        _P.failures,
        _P.next_attempt,
        _P.problem,
        _P.acknowledged,
        _P.created,
    )
    .join_from(_PROGRAMS, tables.accounts, _A.id == _P.account_id)
    .where(_P.url != "")
)
_ALL = _SELECT.where(_A.disabled == false()).order_by(_A.localpart, _P.name)
_GET = _SELECT.where(_P.id == bindparam("program"))
_COUNT = select(func.count()).select_from(_PROGRAMS).where(_P.url != "")
_COUNT_OF = _COUNT.where(_P.account_id == bindparam("account"))
_KEY = update(_PROGRAMS).where(_P.id == bindparam("program"))
_SET_SECRET = _KEY.values(secret=bindparam("key"))
_FAILED = _KEY.values(failures=_P.failures + 1, next_attempt=bindparam("again"), problem=bindparam("why"))
_WELL = _KEY.where(_P.failures > 0).values(failures=0, next_attempt=null(), problem="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """``localpart``: of whose it is. ``failures``: since the last success.

    ``next_attempt``: None if there was no failure, or if it was given up.
    """

    key: int
    localpart: str
    name: str
    url: str
    secret: str
    failures: int
    next_attempt: datetime | None
    problem: str
    acknowledged: datetime | None
    created: datetime

    @property
    def is_given_up(self) -> bool:
        """It is not called any more, until somebody says so."""
        return self.failures > 0 and self.next_attempt is None


class Webhooks:
    """By the program's key."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection

    def all(self) -> list[Webhook]:
        """All of accounts that may log in, by owner and name."""
        return [_read(row) for row in self._connection.execute(_ALL)]

    def get(self, key: int) -> Webhook | None:
        """One of them."""
        row = self._connection.execute(_GET, {"program": key}).first()
        return None if row is None else _read(row)

    def count(self, account: int | None = None) -> int:
        """How many there are, or how many somebody has."""
        if account is None:
            return int(self._connection.execute(_COUNT).scalar_one())
        return int(self._connection.execute(_COUNT_OF, {"account": account}).scalar_one())

    def set_secret(self, key: int, secret: str) -> None:
        """What its calls are signed with."""
        self._connection.execute(_SET_SECRET, {"program": key, "key": secret})

    def failed(self, key: int, next_attempt: datetime | None, problem: str) -> None:
        """A call was not taken; None: it is given up."""
        self._connection.execute(_FAILED, {"program": key, "again": next_attempt, "why": problem})

    def well(self, key: int) -> None:
        """A call was taken, or whatever was wrong is forgotten."""
        self._connection.execute(_WELL, {"program": key})


def _read(row: Sequence[Any]) -> Webhook:
    return Webhook(
        key=row[0],
        localpart=row[1],
        name=row[2],
        url=row[3],
        secret=row[4],
        failures=row[5],
        next_attempt=row[6],
        problem=row[7],
        acknowledged=row[8],
        created=row[9],
    )
