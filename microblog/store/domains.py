"""How we get on with other domains: what failed, since when, and when to try again."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select

from microblog.store import tables
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_DOMAINS = tables.remote_domains
_ALL = select(
    _DOMAINS.c.domain,
    _DOMAINS.c.failures,
    _DOMAINS.c.failing_since,
    _DOMAINS.c.next_attempt,
    _DOMAINS.c.last_error,
    _DOMAINS.c.last_success,
    _DOMAINS.c.permanent_since,
)
_GET = _ALL.where(_DOMAINS.c.domain == bindparam("name"))
_FAILING = _ALL.where(_DOMAINS.c.failures > 0)
ERROR_MAX_CHARACTERS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainState:
    """A remote domain. ``next_attempt`` None while failing: dormant, tried only when it shows itself or one asks.

    ``permanent_since``: since when every failure was one that waiting does not heal.
    """

    domain: str
    failures: int = 0
    failing_since: datetime | None = None
    next_attempt: datetime | None = None
    last_error: str = ""
    last_success: datetime | None = None
    permanent_since: datetime | None = None


class Domains:
    """By domain."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def get(self, domain: str) -> DomainState:
        """What is known of a domain."""
        row = self._connection.execute(_GET, {"name": domain}).first()
        return DomainState(domain=domain) if row is None else DomainState(**row._mapping)

    def failing(self) -> dict[str, DomainState]:
        """The domains whose last attempt failed."""
        return {row.domain: DomainState(**row._mapping) for row in self._connection.execute(_FAILING)}

    def failed(
        self, domain: str, reason: str, next_attempt: datetime | None, *, permanent_since: datetime | None = None
    ) -> None:
        """An attempt failed."""
        statement = insert(self._connection, _DOMAINS)
        new = statement.excluded
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["domain"],
                set_={
                    "failures": _DOMAINS.c.failures + 1,
                    "failing_since": func.coalesce(_DOMAINS.c.failing_since, new.failing_since),
                    "next_attempt": new.next_attempt,
                    "last_error": new.last_error,
                    "permanent_since": new.permanent_since,
                },
            ),
            {
                "domain": domain,
                "failures": 1,
                "failing_since": self._transaction.now,
                "next_attempt": next_attempt,
                "last_error": reason[:ERROR_MAX_CHARACTERS],
                "last_success": None,
                "permanent_since": permanent_since,
            },
        )

    def succeeded(self, domain: str) -> None:
        """It took what we sent."""
        statement = insert(self._connection, _DOMAINS)
        new = statement.excluded
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["domain"],
                set_={
                    "failures": 0,
                    "failing_since": None,
                    "next_attempt": None,
                    "last_error": "",
                    "last_success": new.last_success,
                    "permanent_since": None,
                },
            ),
            {
                "domain": domain,
                "failures": 0,
                "failing_since": None,
                "next_attempt": None,
                "last_error": "",
                "last_success": self._transaction.now,
                "permanent_since": None,
            },
        )
