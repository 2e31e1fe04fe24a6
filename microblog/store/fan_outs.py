"""Which domains are owed an event: every remote domain that has a follower of its node gets a row of the outbox.

The domains are gone through by name. A post, or an edit of one, that more of them follow than one transaction should
write rows for is owed to the first of them in its own transaction; how far it came is kept in that transaction too, and
the others follow part by part (``xep.spreading``). Of several on their way the one with the fewest parts comes first,
and of one node always the oldest. What says that something is gone, or that a node is not what it was, is owed to all
domains at once: then it is never written behind a post that came after it.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Boolean, Integer, Text, bindparam, column, delete, exists, insert, select, text, update

from microblog.model.access import may_leave
from microblog.model.item import Audience
from microblog.model.node import Node
from microblog.store import tables
from microblog.store.crashpoint import crashpoint
from microblog.store.outbox import OPEN
from microblog.store.prepared import Prepared

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_OUTBOX = tables.outbox
_NODES = tables.nodes
_FAN_OUTS = tables.fan_outs
_HOLDERS = tables.holders

_ALL = (1 << 31) - 1
# Most feeds are read by nobody elsewhere: to know that costs SQLite a quarter of what the owing costs.
_ELSEWHERE = Prepared(
    text(
        """
SELECT EXISTS (SELECT 1 FROM subscriptions WHERE node_id = :node_id AND domain < :local)
  OR EXISTS (SELECT 1 FROM subscriptions WHERE node_id = :node_id AND domain > :local)
  OR EXISTS (SELECT 1 FROM interests WHERE service = :service AND node = :node)
  OR EXISTS (SELECT 1 FROM holders WHERE node_id = :node_id AND item_id = :again)
"""
    )
    .bindparams(
        bindparam("node_id", type_=_NODES.c.id.type),
        bindparam("service", type_=_NODES.c.service.type),
        bindparam("node", type_=_NODES.c.name.type),
        bindparam("again", type_=_HOLDERS.c.item_id.type),
        bindparam("local", type_=_OUTBOX.c.domain.type),
    )
    .columns(column("elsewhere", Boolean))
)
# From each domain with a subscriber one hops to the next in the index: the cost is in domains, not in followers. These
# are the next domains behind ``after``, as many as ``most`` of each kind.
_READERS = """
WITH RECURSIVE follower (domain, place) AS (
  SELECT min(domain), 1 FROM subscriptions WHERE node_id = :node_id AND domain > :after
  UNION ALL
  SELECT (SELECT min(s.domain) FROM subscriptions s WHERE s.node_id = :node_id AND s.domain > follower.domain),
    follower.place + 1
  FROM follower WHERE follower.domain IS NOT NULL AND follower.place < :most
), interested (domain, place) AS (
  SELECT min(domain), 1 FROM interests WHERE service = :service AND node = :node AND domain > :after
  UNION ALL
  SELECT (SELECT min(i.domain) FROM interests i
          WHERE i.service = :service AND i.node = :node AND i.domain > interested.domain), interested.place + 1
  FROM interested WHERE interested.domain IS NOT NULL AND interested.place < :most
), holder (domain) AS (
  SELECT domain FROM holders WHERE node_id = :node_id AND item_id = :again AND domain > :after
  ORDER BY domain LIMIT :most
), reader (domain, wants) AS (
  SELECT domain, EXISTS (
    SELECT 1 FROM subscriptions s
    WHERE s.node_id = :node_id AND s.domain = follower.domain AND s.state = 'subscribed')
  FROM follower WHERE domain IS NOT NULL
  UNION ALL
  SELECT domain, TRUE FROM interested WHERE domain IS NOT NULL
  UNION ALL
  SELECT domain, TRUE FROM holder
)
"""
# A mark that was made of later posts alone does not stand for one that is still on its way.
_IS_OWED = """
wants AND domain <> :local AND NOT EXISTS (
    SELECT 1 FROM backlog_marks m
    WHERE m.domain = reader.domain AND m.node_id = :node_id AND m.upto = :open
      AND m.after < :seq AND m.narrow_after < :seq
  ) AND NOT EXISTS (
    SELECT 1 FROM outbox o WHERE o.event_seq = :seq AND o.domain = reader.domain AND o.domain > :after
  )
"""
_IS_BUSY = "EXISTS (SELECT 1 FROM fan_outs f WHERE f.node_id = :node_id)"
_BINDS = (
    bindparam("node_id", type_=_NODES.c.id.type),
    bindparam("service", type_=_NODES.c.service.type),
    bindparam("node", type_=_NODES.c.name.type),
    bindparam("again", type_=_HOLDERS.c.item_id.type),
    bindparam("after", type_=_OUTBOX.c.domain.type),
    bindparam("most", type_=Integer),
    bindparam("seq", type_=_OUTBOX.c.event_seq.type),
    bindparam("local", type_=_OUTBOX.c.domain.type),
    bindparam("open", type_=tables.backlog_marks.c.upto.type),
)
# The next domains by name, of each whether it is to be owed the event now, and whether another post of the node is on
# its way.
_NEXT = Prepared(
    text(
        f"{_READERS} SELECT domain, max(CASE WHEN {_IS_OWED} THEN 1 ELSE 0 END), {_IS_BUSY}"
        " FROM reader GROUP BY domain ORDER BY domain LIMIT :most"
    )
    .bindparams(*_BINDS)
    .columns(_OUTBOX.c.domain, column("owed", Integer), column("before", Boolean))
)
# What nearly every post needs: all of them in one statement, if they are few and nothing is on its way.
_OWE_FEW = Prepared(
    text(
        f"INSERT INTO outbox (domain, event_seq, created) {_READERS} SELECT DISTINCT domain, :seq, :now FROM reader"
        f" WHERE {_IS_OWED} AND NOT {_IS_BUSY} AND (SELECT count(*) FROM reader) < :most RETURNING domain"
    )
    .bindparams(*_BINDS, bindparam("now", type_=_OUTBOX.c.created.type))
    .columns(_OUTBOX.c.domain)
)
_INSERT = "INSERT INTO outbox (domain, event_seq, created) SELECT value, :seq, :now FROM "
_OWE = {
    dialect: Prepared(
        text(_INSERT + domains).bindparams(
            bindparam("seq", type_=_OUTBOX.c.event_seq.type),
            bindparam("now", type_=_OUTBOX.c.created.type),
            bindparam("domains", type_=Text),
        )
    )
    for dialect, domains in (
        ("sqlite", "json_each(:domains)"),
        ("postgresql", "json_array_elements_text(CAST(:domains AS json))"),
    )
}
_EARLIER = _FAN_OUTS.alias()
_OLDEST = (
    select(_FAN_OUTS.c.event_seq, _FAN_OUTS.c.after, _FAN_OUTS.c.again, _NODES.c.id, _NODES.c.service, _NODES.c.name)
    .join(_NODES, _NODES.c.id == _FAN_OUTS.c.node_id)
    .where(~exists().where(_EARLIER.c.node_id == _FAN_OUTS.c.node_id, _EARLIER.c.event_seq < _FAN_OUTS.c.event_seq))
    .order_by(_FAN_OUTS.c.parts, _FAN_OUTS.c.event_seq)
    .limit(1)
)
_OLDEST_OF = _OLDEST.where(_FAN_OUTS.c.node_id == bindparam("node_id"))
_IS_OPEN = select(_FAN_OUTS.c.event_seq).where(_FAN_OUTS.c.event_seq == bindparam("of_seq"))
_ADD = insert(_FAN_OUTS).inline()
_STEP = (
    update(_FAN_OUTS)
    .where(_FAN_OUTS.c.event_seq == bindparam("of_seq"))
    .values(after=bindparam("last"), parts=_FAN_OUTS.c.parts + 1)
)
_END = delete(_FAN_OUTS).where(_FAN_OUTS.c.event_seq == bindparam("of_seq"))


# Domain, is it to be owed the event, is another post on its way.
_Next = Sequence[Sequence[Any]]


class Begun(NamedTuple):
    """The domains that are owed a post now; ``spreads``: others are still to be."""

    domains: tuple[str, ...]
    spreads: bool


NOBODY = Begun((), spreads=False)


class FanOuts:
    """By event."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def owe(self, node: Node, seq: int, audience: Audience) -> tuple[str, ...]:
        """Owe an event to every remote domain that has a follower of the node; those.

        What is for this domain only is owed to nobody, and what is for named readers not to all followers.
        """
        feed = self._read_elsewhere(node, audience)
        return () if feed is None else self._owe(seq, self._next(feed, seq, "", _ALL, -1))

    def begin(self, node: Node, seq: int, audience: Audience, again: str = "") -> Begun:
        """Owe what was published likewise; where very many follow, to the first of them (``Limits.fan_out_domains``).

        Where an earlier post of the node is not owed to all yet, to nobody before that one is; what is for named
        readers, who are few and whom the caller knows, has that one owed to all at once. It needs no row where an open
        mark stands for all that comes. ``again``: the id of a public item that was there before; whoever has that is to
        have the new one, whoever follows by now.
        """
        if audience is Audience.DIRECT:
            return Begun(self._finish(node), spreads=False)
        feed = self._read_elsewhere(node, audience, again)
        if feed is None:
            return NOBODY
        most = self._transaction.limits.fan_out_domains
        values = self._values(feed, seq, "", most, OPEN)
        few = _OWE_FEW.rows(self._connection, {**values, "now": self._transaction.now})
        if few:
            return Begun(tuple(sorted(row[0] for row in few)), spreads=False)
        found: _Next = _NEXT.rows(self._connection, values)
        if found and found[0][2]:
            self._add(node, seq, "", again)
            return Begun((), spreads=True)
        spreads = len(found) == most
        if spreads:
            self._add(node, seq, found[-1][0], again)
        return Begun(self._owe(seq, found), spreads)

    def proceed(self) -> tuple[str, ...] | None:
        """Owe a post that is not owed to all yet to the next domains; those. None: there is no such post."""
        found = self._connection.execute(_OLDEST).first()
        return None if found is None else self._proceed(found)

    def _finish(self, node: Node) -> tuple[str, ...]:
        domains: tuple[str, ...] = ()
        while (found := self._connection.execute(_OLDEST_OF, {"node_id": node.key}).first()) is not None:
            domains += self._proceed(found)
        return domains

    def _proceed(self, found: Sequence[Any]) -> tuple[str, ...]:
        seq, after, again, node_key, service, name = found
        feed = {"node_id": node_key, "service": service, "node": name, "again": again}
        most = self._transaction.limits.fan_out_domains
        part = self._next(feed, seq, after, most, OPEN)
        domains = self._owe(seq, part)
        crashpoint("K22")
        if len(part) < most:
            self._connection.execute(_END, {"of_seq": seq})
        else:
            self._connection.execute(_STEP, {"of_seq": seq, "last": part[-1][0]})
        return domains

    def _read_elsewhere(self, node: Node, audience: Audience, again: str = "") -> dict[str, object] | None:
        """What says which node it is, if other domains are to be told of it."""
        local = self._transaction.domain
        if audience is Audience.DIRECT or not may_leave(audience, "", local_domain=local):
            return None
        feed: dict[str, object] = {
            "node_id": node.key,
            "service": str(node.service),
            "node": node.name,
            "again": again,
        }
        if self._connection.dialect.name == "sqlite" and not _ELSEWHERE.scalar(
            self._connection, {**feed, "local": local}
        ):
            return None
        return feed

    def is_open(self, seq: int) -> bool:
        """Are there domains that a post is not owed to yet and will be?"""
        return self._connection.execute(_IS_OPEN, {"of_seq": seq}).first() is not None

    def _next(self, feed: dict[str, object], seq: int, after: str, most: int, open_: int) -> _Next:
        return _NEXT.rows(self._connection, self._values(feed, seq, after, most, open_))

    def _values(self, feed: dict[str, object], seq: int, after: str, most: int, open_: int) -> dict[str, object]:
        local = self._transaction.domain
        return {**feed, "after": after, "most": most, "seq": seq, "local": local, "open": open_}

    def _owe(self, seq: int, found: _Next) -> tuple[str, ...]:
        domains = tuple(domain for domain, owed, _ in found if owed)
        if domains:
            statement = _OWE[self._connection.dialect.name]
            values = {"seq": seq, "now": self._transaction.now, "domains": json.dumps(domains)}
            statement.run(self._connection, values)
        return domains

    def _add(self, node: Node, seq: int, after: str, again: str) -> None:
        values = {"event_seq": seq, "node_id": node.key, "after": after, "again": again, "parts": 0}
        self._connection.execute(_ADD, values)
