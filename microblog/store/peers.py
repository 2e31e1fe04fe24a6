"""Other domains as nodes: what they can do, who they prove to be, and how far each of us is with the other's log."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select, update

from microblog.store import tables
from microblog.store.prepared import Prepared
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_PEERS = tables.peers


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another domain; the columns are explained in ``tables.peers``. ``asked`` None: it was never asked."""

    domain: str
    asked: datetime | None = None
    fanout: bool = False
    max_bytes: int = 0
    max_entries: int = 0
    epoch: str = ""
    key: str = ""
    doubted: datetime | None = None
    number: int = 0
    acknowledged: int = 0
    received: int = 0
    received_epoch: str = ""
    heard: datetime | None = None
    behind: datetime | None = None
    first_seen: datetime | None = None


_FIELDS = tuple(Peer.__dataclass_fields__)
_GET = Prepared(select(*(_PEERS.c[name] for name in _FIELDS)).where(_PEERS.c.domain == bindparam("name")))
_RECEIVED = Prepared(
    update(_PEERS)
    .where(_PEERS.c.domain == bindparam("name"))
    .values(
        received=bindparam("received_"),
        received_epoch=bindparam("received_epoch_"),
        heard=bindparam("heard_"),
        behind=bindparam("behind_"),
    )
)
_NUMBERS = select(_PEERS.c.domain, _PEERS.c.number).where(_PEERS.c.number > 0)
_OWED = select(_PEERS.c.domain).where(_PEERS.c.number > _PEERS.c.acknowledged).order_by(_PEERS.c.domain)
_HEARD_BEFORE = (
    select(_PEERS.c.domain)
    .where(
        # Who has told us something, whatever we know of them besides.
        _PEERS.c.received_epoch != "",
        _PEERS.c.heard.is_(None) | (_PEERS.c.heard < bindparam("before")) | _PEERS.c.behind.is_not(None),
    )
    .order_by(_PEERS.c.heard)
    .limit(bindparam("limit"))
)
_DOUBTED = select(*(_PEERS.c[name] for name in _FIELDS)).where(_PEERS.c.doubted.is_not(None)).order_by(_PEERS.c.domain)


class Peers:
    """By domain."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def get(self, domain: str) -> Peer:
        """What is known of a domain."""
        row = _GET.first(self._connection, {"name": domain})
        return Peer(domain=domain) if row is None else Peer(**dict(zip(_FIELDS, row, strict=True)))

    def set(self, domain: str, **columns: Any) -> None:
        """Write some columns down, in place of what was known."""
        known = update(_PEERS).where(_PEERS.c.domain == domain).values(**columns)
        if not self._connection.execute(known).rowcount:
            values = {"domain": domain, "first_seen": self._transaction.now} | columns
            statement = insert(self._connection, _PEERS).values(values)
            self._connection.execute(statement.on_conflict_do_update(index_elements=["domain"], set_=columns))

    def received(self, peer: Peer) -> None:
        """How far we have come with a log. Of each delivery, of a domain that something is known of."""
        _RECEIVED.run(
            self._connection,
            {
                "name": peer.domain,
                "received_": peer.received,
                "received_epoch_": peer.received_epoch,
                "heard_": peer.heard,
                "behind_": peer.behind,
            },
        )

    def numbers(self) -> dict[str, int]:
        """How far the log of each domain has come."""
        return {domain: number for domain, number in self._connection.execute(_NUMBERS)}

    def owed(self) -> list[str]:
        """The domains that have not acknowledged all that our logs for them have."""
        return list(self._connection.execute(_OWED).scalars())

    def silent(self, before: datetime, limit: int) -> list[str]:
        """Nodes whose logs were not level with us since, or that we are behind of; longest first."""
        return list(self._connection.execute(_HEARD_BEFORE, {"before": before, "limit": limit}).scalars())

    def doubted(self) -> Iterable[Peer]:
        """Those that seem to be somebody else now."""
        return [Peer(**row._mapping) for row in self._connection.execute(_DOUBTED)]
