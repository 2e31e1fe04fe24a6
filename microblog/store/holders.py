"""Which domains were given which post: where its retraction has to go, and what the delivery report says.

A domain holds a post from the moment it confirmed that it was told of it until it confirmed that the post is gone,
whoever follows there meanwhile. For each of them somebody there who was told is remembered, the witness: to them the
retraction goes when nobody else at their domain follows any more.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, delete, exists, func, insert, null, select, tuple_

from microblog.model.jid import JID
from microblog.store import tables
from microblog.store.upsert import insert as upsert

if TYPE_CHECKING:
    from datetime import datetime

    from microblog.store.transaction import Transaction

DOMAINS_MAX = 1000
_HOLDERS = tables.holders
_OUTBOX = tables.outbox
_TOMBSTONES = tables.tombstones
_ITEM = (_HOLDERS.c.node_id == bindparam("node_id"), _HOLDERS.c.item_id == bindparam("of_id"))
_HELD = (*_ITEM, _HOLDERS.c.domain == bindparam("of_domain"))
_OF = (
    select(_HOLDERS.c.domain, _HOLDERS.c.witness, _HOLDERS.c.refused, _HOLDERS.c.since)
    .where(*_ITEM)
    .order_by(_HOLDERS.c.domain)
    .limit(bindparam("limit"))
)
_WITNESS = select(_HOLDERS.c.witness).where(*_HELD)
_LET_GO = delete(_HOLDERS).where(*_HELD)
_OWE = (
    insert(_OUTBOX)
    .from_select(
        ["domain", "event_seq", "stanza", "created"],
        select(
            _HOLDERS.c.domain,
            bindparam("seq", type_=_OUTBOX.c.event_seq.type),
            null(),
            bindparam("now", type_=_OUTBOX.c.created.type),
        ).where(
            *_ITEM,
            _HOLDERS.c.domain != bindparam("local"),
            ~exists().where(_OUTBOX.c.event_seq == bindparam("seq"), _OUTBOX.c.domain == _HOLDERS.c.domain),
        ),
        include_defaults=False,
    )
    .returning(_OUTBOX.c.domain)
)
# Of each domain that has anything of a node somebody.
_WITNESSES = (
    select(func.min(_HOLDERS.c.witness))
    .where(_HOLDERS.c.node_id == bindparam("node_id"))
    .group_by(_HOLDERS.c.domain)
    .order_by(_HOLDERS.c.domain)
)
_WITNESS_AT = (
    select(_HOLDERS.c.witness)
    .where(_HOLDERS.c.node_id == bindparam("node_id"), _HOLDERS.c.domain == bindparam("of_domain"))
    .limit(1)
)
_OWED = select(_OUTBOX.c.domain).where(_OUTBOX.c.event_seq == bindparam("seq"))
_FORGET = delete(_HOLDERS).where(
    tuple_(_HOLDERS.c.node_id, _HOLDERS.c.item_id).in_(
        select(_TOMBSTONES.c.node_id, _TOMBSTONES.c.item_id).where(_TOMBSTONES.c.retracted < bindparam("before"))
    )
)


class Holder(NamedTuple):
    """A domain that has an item; ``refused``: why it did not take it, empty if it did."""

    domain: str
    witness: JID
    refused: str
    since: "datetime"


class Holders:
    """By node key, item id and domain."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def hold(self, told: Iterable[tuple[int, str, JID]]) -> None:
        """Node key, item id, somebody elsewhere: their domain confirmed that they were told of the item."""
        rows = [self._row(node_key, item_id, witness) for node_key, item_id, witness in told]
        if not rows:
            return
        statement: Any = upsert(self._connection, _HOLDERS)
        # A refusal of the same witness may have overtaken the confirmation: it stands.
        same = _HOLDERS.c.witness == statement.excluded.witness
        statement = statement.on_conflict_do_update(
            index_elements=[_HOLDERS.c.node_id, _HOLDERS.c.item_id, _HOLDERS.c.domain],
            set_={"witness": statement.excluded.witness, "refused": ""},
            where=~same,
        )
        self._connection.execute(statement, rows)

    def refuse(self, node_key: int, item_id: str, witness: JID, reason: str) -> None:
        """A domain did not take an item."""
        statement: Any = upsert(self._connection, _HOLDERS)
        statement = statement.on_conflict_do_update(
            index_elements=[_HOLDERS.c.node_id, _HOLDERS.c.item_id, _HOLDERS.c.domain],
            set_={"witness": statement.excluded.witness, "refused": statement.excluded.refused},
        )
        self._connection.execute(statement, self._row(node_key, item_id, witness) | {"refused": reason})

    def _row(self, node_key: int, item_id: str, witness: JID) -> dict[str, Any]:
        return {
            "node_id": node_key,
            "item_id": item_id,
            "domain": witness.domainpart,
            "witness": str(witness.bare),
            "refused": "",
            "since": self._transaction.now,
        }

    def of(self, node_key: int, item_id: str) -> list[Holder]:
        """The domains that were given an item, by name."""
        rows = self._connection.execute(_OF, {"node_id": node_key, "of_id": item_id, "limit": DOMAINS_MAX})
        return [Holder(row[0], JID.parse(row[1]), row[2], row[3]) for row in rows]

    def witnesses(self, node_key: int) -> list[JID]:
        """Somebody of each domain that was given items of a node."""
        rows = self._connection.execute(_WITNESSES, {"node_id": node_key}).scalars()
        return [JID.parse(witness) for witness in rows]

    def witness_of_any(self, node_key: int, domain: str) -> JID | None:
        """Somebody of a domain who was told of an item of a node."""
        found = self._connection.execute(_WITNESS_AT, {"node_id": node_key, "of_domain": domain}).scalar_one_or_none()
        return None if found is None else JID.parse(found)

    def witness(self, node_key: int, item_id: str, domain: str) -> JID | None:
        """Somebody of a domain who was told of an item; None if it was not given the item."""
        found = self._connection.execute(
            _WITNESS, {"node_id": node_key, "of_id": item_id, "of_domain": domain}
        ).scalar_one_or_none()
        return None if found is None else JID.parse(found)

    def let_go(self, node_key: int, item_id: str, domain: str) -> None:
        """A domain confirmed that an item is gone."""
        self._connection.execute(_LET_GO, {"node_id": node_key, "of_id": item_id, "of_domain": domain})

    def owe(self, node_key: int, item_id: str, seq: int) -> tuple[str, ...]:
        """Owe the event of an item's retraction to every holder that is not owed it yet; those domains."""
        values = {"node_id": node_key, "of_id": item_id, "seq": seq}
        common = {"now": self._transaction.now, "local": self._transaction.domain}
        return tuple(sorted(self._connection.execute(_OWE, values | common).scalars().all()))

    def owe_all(self, node_key: int, seq: int) -> tuple[str, ...]:
        """Owe the event of a node's purge to every domain that holds anything of it; those that were not owed it."""
        owed = set(self._connection.execute(_OWED, {"seq": seq}).scalars()) | {self._transaction.domain}
        domains = sorted({witness.domainpart for witness in self.witnesses(node_key)} - owed)
        if domains:
            now = self._transaction.now
            rows = [{"domain": name, "event_seq": seq, "stanza": None, "created": now} for name in domains]
            self._connection.execute(insert(_OUTBOX).inline(), rows)
        return tuple(domains)

    def forget(self, before: "datetime") -> int:
        """Remove what is known of items that were retracted so long ago that nobody is waited for; how many rows."""
        return int(self._connection.execute(_FORGET, {"before": before}).rowcount)
