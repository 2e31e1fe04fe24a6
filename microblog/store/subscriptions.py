"""Subscriptions, on both sides: others at our nodes, and our people at remote nodes.

For the latter a row also says what came for its subscriber (``received``) and what was written to a session of theirs
(``delivered``), both as sequence numbers of events of the node.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    update,
)

from microblog.model.access import Facts
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.subscription import SHOWS, SubscribeOptions, Subscription, SubscriptionState
from microblog.store import tables
from microblog.store.affiliations import ACCOUNT, FACT_COLUMNS, account_of, read_facts
from microblog.store.items import ITEM_COLUMNS, read_item
from microblog.store.nodes import NODE_COLUMNS, LookUp, read_node
from microblog.store.policies import at_domain
from microblog.store.prepared import Prepared

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

IMPLICIT = '{"implicit": true}'
SILENT = '{"deliver": false}'
AT_ONCE = 500  # addresses in one statement
_SUBSCRIPTIONS = tables.subscriptions
_AFFILIATIONS = tables.affiliations
_CONTACTS = tables.contacts
_NODES = tables.nodes
_ITEMS = tables.items
_TOMBSTONES = tables.tombstones
_SUBSCRIBED = _SUBSCRIPTIONS.c.state == literal(SubscriptionState.SUBSCRIBED.value)
_NODE = _SUBSCRIPTIONS.c.node_id == bindparam("node_id")
_DOMAIN = _SUBSCRIPTIONS.c.domain == bindparam("domain")

_COLUMNS: tuple[ColumnElement[Any], ...] = (
    _SUBSCRIPTIONS.c.subscriber,
    _SUBSCRIPTIONS.c.state,
    _SUBSCRIPTIONS.c.subid,
    _SUBSCRIPTIONS.c.options,
)
_FIND = select(*_COLUMNS).where(_NODE, _SUBSCRIPTIONS.c.subscriber == bindparam("subscriber"))
_OF_BARE = (
    select(*_COLUMNS).where(_NODE, _SUBSCRIPTIONS.c.bare == bindparam("bare")).order_by(_SUBSCRIPTIONS.c.subscriber)
)
_IN_STATE = (
    select(*_COLUMNS)
    .where(
        _NODE,
        _SUBSCRIPTIONS.c.state == bindparam("state"),
        _SUBSCRIPTIONS.c.subscriber > bindparam("after"),
    )
    .order_by(_SUBSCRIPTIONS.c.subscriber)
    .limit(bindparam("limit"))
)
_AT_SERVICE = (
    select(_NODES.c.name, *_COLUMNS)
    .join(_NODES, _NODES.c.id == _SUBSCRIPTIONS.c.node_id)
    .where(_SUBSCRIPTIONS.c.bare == bindparam("bare"), _NODES.c.service == bindparam("service"))
    .order_by(_NODES.c.name, _SUBSCRIPTIONS.c.subscriber)
)
_FOLLOW_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *NODE_COLUMNS,
    *_COLUMNS,
    _SUBSCRIPTIONS.c.received,
    _SUBSCRIPTIONS.c.delivered,
    _SUBSCRIPTIONS.c.public,
    _SUBSCRIPTIONS.c.checked,
    _SUBSCRIPTIONS.c.problem,
)
_FOLLOWS = (
    select(*_FOLLOW_COLUMNS)
    .join(_NODES, _NODES.c.id == _SUBSCRIPTIONS.c.node_id)
    .where(_SUBSCRIPTIONS.c.bare == bindparam("bare"))
    .order_by(_NODES.c.id)
)
_FOLLOWS_AT = _FOLLOWS.where(_NODES.c.service == bindparam("service"))
_PUBLIC_FOLLOWS = _FOLLOWS.where(_SUBSCRIPTIONS.c.public, _SUBSCRIBED).limit(bindparam("limit"))
_PUBLIC_SUBSCRIBERS = (
    select(_SUBSCRIPTIONS.c.bare)
    .where(_NODE, _SUBSCRIPTIONS.c.public, _SUBSCRIBED)
    .order_by(_SUBSCRIPTIONS.c.id)
    .limit(bindparam("limit"))
)
_UNTOLD = (
    select(*NODE_COLUMNS, _SUBSCRIPTIONS.c.received, _SUBSCRIPTIONS.c.delivered, _SUBSCRIPTIONS.c.state)
    .join(_NODES, _NODES.c.id == _SUBSCRIPTIONS.c.node_id)
    .where(
        _SUBSCRIPTIONS.c.bare == bindparam("bare"),
        _SUBSCRIPTIONS.c.received > _SUBSCRIPTIONS.c.delivered,
    )
)
# Asked once in a while and not for each stanza: it reads all subscriptions of a domain.
_SERVICES_OF = (
    select(_NODES.c.service)
    .join(_SUBSCRIPTIONS, _NODES.c.id == _SUBSCRIPTIONS.c.node_id)
    .where(_SUBSCRIPTIONS.c.domain == bindparam("domain"))
    .distinct()
)
_MARKS = Prepared(
    select(
        _SUBSCRIPTIONS.c.id,
        _SUBSCRIPTIONS.c.state,
        _SUBSCRIPTIONS.c.received,
        _SUBSCRIPTIONS.c.delivered,
        _SUBSCRIPTIONS.c.options,
    ).where(_NODE, _SUBSCRIPTIONS.c.subscriber == bindparam("subscriber"))
)
# All that has to be known when something comes from elsewhere for somebody.
_ARRIVAL = Prepared(
    select(
        *NODE_COLUMNS,
        _SUBSCRIPTIONS.c.id.label("key"),
        _SUBSCRIPTIONS.c.state,
        _SUBSCRIPTIONS.c.received,
        _SUBSCRIPTIONS.c.delivered,
        _SUBSCRIPTIONS.c.options,
        _TOMBSTONES.c.retracted,
        *ITEM_COLUMNS,
    )
    .select_from(_NODES)
    .outerjoin(
        _SUBSCRIPTIONS,
        (_SUBSCRIPTIONS.c.node_id == _NODES.c.id) & (_SUBSCRIPTIONS.c.subscriber == bindparam("subscriber")),
    )
    .outerjoin(_ITEMS, (_ITEMS.c.node_id == _NODES.c.id) & (_ITEMS.c.item_id == bindparam("item_id")))
    .outerjoin(
        _TOMBSTONES,
        (_TOMBSTONES.c.node_id == _NODES.c.id) & (_TOMBSTONES.c.item_id == bindparam("item_id")),
    )
    .where(_NODES.c.service == bindparam("service"), _NODES.c.name == bindparam("name"))
)
_SET_MARKS = Prepared(
    update(_SUBSCRIPTIONS)
    .where(_SUBSCRIPTIONS.c.id == bindparam("key"))
    .values(received=bindparam("received_"), delivered=bindparam("delivered_"))
)
# So many places; fewer are repeated. A list of varying length costs more than all the rest.
_PLACES = [f"jid_{n}" for n in range(100)]
_DELIVERED = Prepared(
    update(_SUBSCRIPTIONS)
    .where(
        _SUBSCRIPTIONS.c.node_id == bindparam("key"),
        _SUBSCRIPTIONS.c.subscriber.in_([bindparam(name) for name in _PLACES]),
        _SUBSCRIPTIONS.c.delivered < bindparam("seq"),
    )
    .values(delivered=bindparam("seq"))
)
# Those of ours who follow a node elsewhere by a subscription of their own.
_OURS = (
    _SUBSCRIPTIONS.c.node_id == bindparam("of_node"),
    _SUBSCRIPTIONS.c.domain == bindparam("ours"),
    _SUBSCRIBED,
    _SUBSCRIPTIONS.c.options != literal_column(f"'{IMPLICIT}'"),
)
_FOLLOWED = Prepared(select(_SUBSCRIPTIONS.c.id).where(*_OURS).limit(1))
_FOLLOWERS = Prepared(select(_SUBSCRIPTIONS.c.bare).where(*_OURS))
# Not now: this clock may have gone back since somebody began to follow.
_WHENEVER = datetime.max.replace(tzinfo=UTC)
_UNTOLD_OF = Prepared(
    select(_SUBSCRIPTIONS.c.bare).where(
        *_OURS, _SUBSCRIPTIONS.c.received < bindparam("seq"), _SUBSCRIPTIONS.c.created <= bindparam("since")
    )
)
# What happened in between was for others; only an event that is still to be written keeps the mark back.
_SEQ = bindparam("seq", type_=_SUBSCRIPTIONS.c.received.type)
_TOLD = {
    "received": _SEQ,
    "delivered": case(
        (_SUBSCRIPTIONS.c.delivered >= _SUBSCRIPTIONS.c.received, _SEQ - literal_column("1")),
        else_=_SUBSCRIPTIONS.c.delivered,
    ),
}
_TOLD_ALL = Prepared(update(_SUBSCRIPTIONS).where(*_OURS, _SUBSCRIPTIONS.c.received < _SEQ).values(_TOLD))
_TOLD_SOME = (
    update(_SUBSCRIPTIONS)
    .where(
        _SUBSCRIPTIONS.c.node_id == bindparam("key"),
        _SUBSCRIPTIONS.c.subscriber.in_(bindparam("jids", expanding=True)),
        _SUBSCRIPTIONS.c.received < _SEQ,
    )
    .values(_TOLD)
)
_ANY_AT = (
    select(_SUBSCRIPTIONS.c.id)
    .join(_NODES, _NODES.c.id == _SUBSCRIPTIONS.c.node_id)
    .where(_NODES.c.service == bindparam("service"), _DOMAIN)
    .limit(1)
)
_FEEDS_AT = (
    select(*NODE_COLUMNS, func.min(_SUBSCRIPTIONS.c.bare))
    .join(_SUBSCRIPTIONS, _NODES.c.id == _SUBSCRIPTIONS.c.node_id)
    .where(
        (_NODES.c.service == bindparam("at")) | _NODES.c.service.like(bindparam("there"), escape="\\"),
        _DOMAIN,
        _SUBSCRIBED,
        _SUBSCRIPTIONS.c.options != literal_column(f"'{IMPLICIT}'"),
        _NODES.c.id > bindparam("after"),
    )
    .group_by(*NODE_COLUMNS)
    .order_by(_NODES.c.id)
    .limit(bindparam("limit"))
)
# The rows a domain has at a node, each with what the access rules must know of its subscriber.
_READERS = (
    select(_SUBSCRIPTIONS.c.subscriber, _SUBSCRIPTIONS.c.options, _SUBSCRIPTIONS.c.state, *FACT_COLUMNS)
    .select_from(_SUBSCRIPTIONS)
    .outerjoin(
        _AFFILIATIONS,
        and_(
            _AFFILIATIONS.c.node_id == _SUBSCRIPTIONS.c.node_id,
            _AFFILIATIONS.c.jid == _SUBSCRIPTIONS.c.bare,
        ),
    )
    .outerjoin(_CONTACTS, and_(_CONTACTS.c.account_id == ACCOUNT, _CONTACTS.c.jid == _SUBSCRIPTIONS.c.bare))
    .where(_NODE, _DOMAIN, _SUBSCRIBED)
)
_READERS_PAGE = (
    _READERS.where(_SUBSCRIPTIONS.c.id > bindparam("after"))
    .add_columns(_SUBSCRIPTIONS.c.id)
    .order_by(_SUBSCRIPTIONS.c.id)
    .limit(bindparam("limit"))
)
_ELSEWHERE = (
    select(_SUBSCRIPTIONS.c.subscriber)
    .where(_NODE, _SUBSCRIPTIONS.c.domain != bindparam("domain"))
    .order_by(_SUBSCRIPTIONS.c.id)
)
_HERE = select(_SUBSCRIPTIONS.c.subscriber).where(_NODE, _DOMAIN).order_by(_SUBSCRIPTIONS.c.id)
# Only our people's subscriptions elsewhere have a time in ``checked``; an index has just them.
_DUE = (
    select(_SUBSCRIPTIONS.c.bare, _NODES.c.service)
    .join(_NODES, _NODES.c.id == _SUBSCRIPTIONS.c.node_id)
    .where(_SUBSCRIPTIONS.c.checked.is_not(None), _SUBSCRIPTIONS.c.checked < bindparam("before"))
    .order_by(_SUBSCRIPTIONS.c.checked)
    .limit(bindparam("limit"))
)
_DUE_AGAIN = _DUE.where(
    _SUBSCRIPTIONS.c.problem != literal_column("''"), _SUBSCRIPTIONS.c.problem == bindparam("problem")
)
_ADOPT = (
    update(_SUBSCRIPTIONS)
    .where(
        _SUBSCRIPTIONS.c.checked.is_(None),
        _SUBSCRIPTIONS.c.domain == bindparam("ours"),
        _SUBSCRIPTIONS.c.options != literal_column(f"'{IMPLICIT}'"),
        _SUBSCRIPTIONS.c.node_id.in_(
            select(_NODES.c.id).where(
                _NODES.c.service != bindparam("ours"), _NODES.c.service.not_like(bindparam("here"), escape="\\")
            )
        ),
    )
    .values(checked=_SUBSCRIPTIONS.c.created)
)
_SET_PUBLIC = (
    update(_SUBSCRIPTIONS)
    .where(_SUBSCRIPTIONS.c.node_id == bindparam("key"), _SUBSCRIPTIONS.c.subscriber == bindparam("jid"))
    .values(public=bindparam("public_"))
)
_SET_ALL_PUBLIC = (
    update(_SUBSCRIPTIONS)
    .where(_SUBSCRIPTIONS.c.bare == bindparam("jid"), _SUBSCRIPTIONS.c.options != literal_column(f"'{IMPLICIT}'"))
    .values(public=bindparam("public_"))
)
_SET_HEALTH = (
    update(_SUBSCRIPTIONS)
    .where(_SUBSCRIPTIONS.c.node_id == bindparam("key"), _SUBSCRIPTIONS.c.subscriber == bindparam("jid"))
    .values(checked=bindparam("checked_"), problem=bindparam("problem_"))
)
# From one domain one hops to the next in the index: the cost is in domains, not in followers.
_DOMAINS_OF = text(
    """
WITH RECURSIVE follower (domain) AS (
  SELECT min(domain) FROM subscriptions WHERE node_id = :node_id
  UNION ALL
  SELECT (SELECT min(s.domain) FROM subscriptions s WHERE s.node_id = :node_id AND s.domain > follower.domain)
  FROM follower WHERE follower.domain IS NOT NULL
)
SELECT domain FROM follower WHERE domain IS NOT NULL LIMIT :limit
"""
).columns(_SUBSCRIPTIONS.c.domain)
_COUNT_NODE = select(func.count()).where(_NODE, _SUBSCRIBED)
_COUNT_BARE = select(func.count()).where(_SUBSCRIPTIONS.c.bare == bindparam("bare"))
_COUNT_DOMAIN = select(func.count()).where(_DOMAIN)
_INSERT = insert(_SUBSCRIPTIONS).inline()
_UPDATE = (
    update(_SUBSCRIPTIONS)
    .where(_SUBSCRIPTIONS.c.node_id == bindparam("key"), _SUBSCRIPTIONS.c.subscriber == bindparam("jid"))
    .values(state=bindparam("state"), subid=bindparam("subid"), options=bindparam("options"))
)
_DELETE = delete(_SUBSCRIPTIONS).where(_NODE, _SUBSCRIPTIONS.c.subscriber == bindparam("subscriber"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A subscriber and what the access rules have to know of them; ``id`` is for paging."""

    jid: JID
    facts: Facts
    deliver: bool
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """How far a subscriber of ours has been told of a remote node's events; ``implicit``: by presence, never asked."""

    key: int
    state: SubscriptionState
    received: int
    delivered: int
    implicit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """A subscription of somebody of ours with its node and marks; ``implicit``: by presence, never asked for.

    ``public``: for everybody to know. At a remote node, ``checked``: when its service was last asked about it, and
    ``problem``: why it does not work now, as an error condition.
    """

    node: Node
    subscription: Subscription
    received: int
    delivered: int
    implicit: bool
    public: bool = False
    checked: datetime | None = None
    problem: str = ""


def _write_options(options: SubscribeOptions) -> str:
    if not options.is_picky:
        return "{}" if options.deliver else SILENT
    return json.dumps({"deliver": options.deliver, "show": options.show_values})


def _read_options(text: str) -> SubscribeOptions:
    if text == "{}":
        return SubscribeOptions()
    kept = json.loads(text)
    return SubscribeOptions(deliver=kept.get("deliver", True), show_values=tuple(kept.get("show", SHOWS)))


def _read(service: JID, node: str, row: Sequence[Any]) -> Subscription:
    return Subscription(
        service=service,
        node=node,
        jid=JID.parse(row[0]),
        state=SubscriptionState(row[1]),
        subid=row[2],
        options=_read_options(row[3]),
    )


def _read_follow(row: Sequence[Any]) -> Follow:
    width = len(NODE_COLUMNS)
    node = read_node(row)
    return Follow(
        node=node,
        subscription=_read(node.service, node.name, tuple(row)[width:]),
        received=row[width + 4],
        delivered=row[width + 5],
        implicit=row[width + 3] == IMPLICIT,
        public=row[width + 6],
        checked=row[width + 7],
        problem=row[width + 8],
    )


def _read_marks(row: Sequence[Any], at: int = 0) -> Marks:
    return Marks(
        key=row[at],
        state=SubscriptionState(row[at + 1]),
        received=row[at + 2],
        delivered=row[at + 3],
        implicit=row[at + 4] == IMPLICIT,
    )


def _batched(names: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while some := list(islice(rest, size)):
        yield some


class Subscriptions:
    """By node and subscriber."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def find(self, node: Node, jid: JID) -> Subscription | None:
        """The subscription of exactly this address."""
        row = self._connection.execute(_FIND, {"node_id": node.key, "subscriber": str(jid)}).first()
        return None if row is None else _read(node.service, node.name, row)

    def of_bare(self, node: Node, jid: JID) -> list[Subscription]:
        """All subscriptions of somebody, bare and with resources."""
        rows = self._connection.execute(_OF_BARE, {"node_id": node.key, "bare": str(jid.bare)})
        return [_read(node.service, node.name, row) for row in rows]

    def in_state(self, node: Node, state: SubscriptionState, *, after: str = "", limit: int) -> list[Subscription]:
        """The subscriptions in a state, by address."""
        rows = self._connection.execute(
            _IN_STATE, {"node_id": node.key, "state": state.value, "after": after, "limit": limit}
        )
        return [_read(node.service, node.name, row) for row in rows]

    def at_service(self, service: JID, jid: JID) -> list[Subscription]:
        """Somebody's subscriptions to the nodes of a service."""
        rows = self._connection.execute(_AT_SERVICE, {"service": str(service), "bare": str(jid.bare)})
        return [_read(service, row[0], tuple(row)[1:]) for row in rows]

    def follows(self, jid: JID) -> list[Follow]:
        """Everything that somebody subscribed to, here and elsewhere."""
        return [_read_follow(row) for row in self._connection.execute(_FOLLOWS, {"bare": str(jid.bare)})]

    def follows_at(self, service: JID, jid: JID) -> list[Follow]:
        """What somebody subscribed to at a service."""
        values = {"bare": str(jid.bare), "service": str(service)}
        return [_read_follow(row) for row in self._connection.execute(_FOLLOWS_AT, values)]

    def public_follows(self, jid: JID, limit: int) -> list[Follow]:
        """What somebody subscribed to and does not mind everybody to know of."""
        values = {"bare": str(jid.bare), "limit": limit}
        return [_read_follow(row) for row in self._connection.execute(_PUBLIC_FOLLOWS, values)]

    def public_subscribers(self, node: Node, limit: int) -> list[JID]:
        """Who subscribed to a node and does not mind everybody to know of it."""
        rows = self._connection.execute(_PUBLIC_SUBSCRIBERS, {"node_id": node.key, "limit": limit})
        return [JID.parse(bare) for (bare,) in rows]

    def untold(self, jid: JID) -> list[tuple[Node, int, int, bool]]:
        """The nodes of which more came for somebody than was written to a session.

        Node, received, delivered, and whether the subscription is one still.
        """
        rows = self._connection.execute(_UNTOLD, {"bare": str(jid.bare)})
        width, subscribed = len(NODE_COLUMNS), SubscriptionState.SUBSCRIBED.value
        return [(read_node(row), row[width], row[width + 1], row[width + 2] == subscribed) for row in rows]

    def services_of(self, domain: str) -> list[JID]:
        """The services that anybody of a domain is subscribed at."""
        return [JID.parse(row[0]) for row in self._connection.execute(_SERVICES_OF, {"domain": domain})]

    def readers_page(self, node: Node, domain: str, *, after: int, limit: int) -> list[Reader]:
        """The subscribers that a domain has at a node, in order of ``Reader.id``."""
        rows = self._connection.execute(
            _READERS_PAGE,
            {"node_id": node.key, "domain": domain, "account": account_of(node), "after": after, "limit": limit},
        )
        return [self._reader(node, row, row[6]) for row in rows]

    def _reader(self, node: Node, row: Sequence[Any], key: int) -> Reader:
        jid = JID.parse(row[0])
        facts = read_facts(node, jid, self._transaction.domain, row[2], row[3], row[4], row[5])
        return Reader(jid=jid, facts=facts, deliver=_read_options(row[1]).deliver, id=key)

    def domains(self, node: Node, limit: int) -> list[str]:
        """The domains that have subscribers at a node, by name."""
        rows = self._connection.execute(_DOMAINS_OF, {"node_id": node.key, "limit": limit})
        return list(rows.scalars())

    def elsewhere(self, node: Node, domain: str) -> list[JID]:
        """All subscribers, in whatever state, that are not of a domain."""
        rows = self._connection.execute(_ELSEWHERE, {"node_id": node.key, "domain": domain})
        return [JID.parse(subscriber) for (subscriber,) in rows]

    def here(self, node: Node, domain: str) -> list[JID]:
        """All subscribers, in whatever state, of a domain."""
        rows = self._connection.execute(_HERE, {"node_id": node.key, "domain": domain})
        return [JID.parse(subscriber) for (subscriber,) in rows]

    def count(self, node: Node) -> int:
        """How many subscriptions a node has."""
        return int(self._connection.execute(_COUNT_NODE, {"node_id": node.key}).scalar_one())

    def count_of(self, jid: JID) -> int:
        """How many subscriptions somebody has."""
        return int(self._connection.execute(_COUNT_BARE, {"bare": str(jid.bare)}).scalar_one())

    def count_of_domain(self, domain: str) -> int:
        """How many subscriptions all people of a domain have."""
        return int(self._connection.execute(_COUNT_DOMAIN, {"domain": domain}).scalar_one())

    def due(self, before: datetime, limit: int) -> list[tuple[JID, JID]]:
        """Subscribers of ours and the services elsewhere that were not asked about them since a time; oldest first."""
        return self._due(_DUE, {"before": before, "limit": limit})

    def due_again(self, problem: str, before: datetime, limit: int) -> list[tuple[JID, JID]]:
        """The same of those that have a problem."""
        return self._due(_DUE_AGAIN, {"problem": problem, "before": before, "limit": limit})

    def _due(self, query: Any, values: dict[str, Any]) -> list[tuple[JID, JID]]:
        rows = self._connection.execute(query, values)
        return [(JID.parse(bare), JID.parse(service)) for bare, service in rows]

    def adopt(self, domain: str) -> None:
        """Take those of a domain's subscriptions elsewhere that were never checked for checked when they were made."""
        here = domain.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
        self._connection.execute(_ADOPT, {"ours": domain, "here": f"%@{here}"})

    def set_public(self, node: Node, jid: JID, public: bool) -> None:
        """May everybody know of it?"""
        self._connection.execute(_SET_PUBLIC, {"key": node.key, "jid": str(jid), "public_": public})

    def set_all_public(self, jid: JID, public: bool) -> None:
        """May everybody know of all that somebody subscribed to?"""
        self._connection.execute(_SET_ALL_PUBLIC, {"jid": str(jid.bare), "public_": public})

    def set_health(self, node: Node, jid: JID, checked: datetime, problem: str) -> None:
        """How it is with a subscription of ours at a remote node."""
        values = {"key": node.key, "jid": str(jid), "checked_": checked, "problem_": problem}
        self._connection.execute(_SET_HEALTH, values)

    def set_health_at(self, domain: str, checked: datetime, problem: str) -> None:
        """The same of all of ours at the services of a domain. Reads all feeds: not for every day."""
        at = select(_NODES.c.id).where(at_domain(_NODES.c.service, domain))
        ours = update(_SUBSCRIPTIONS).where(
            _SUBSCRIPTIONS.c.domain == self._transaction.domain,
            _SUBSCRIPTIONS.c.checked.is_not(None),
            _SUBSCRIPTIONS.c.node_id.in_(at),
        )
        self._connection.execute(ours.values(checked=checked, problem=problem))

    def add(
        self,
        node: Node,
        subscription: Subscription,
        *,
        implicit: bool = False,
        public: bool = False,
        checked: datetime | None = None,
    ) -> None:
        """Write down a subscription that is not there yet. ``checked``: only of ours at a remote node."""
        jid = subscription.jid
        self._connection.execute(
            _INSERT,
            {
                "node_id": node.key,
                "subscriber": str(jid),
                "bare": str(jid.bare),
                "domain": jid.domainpart,
                "state": subscription.state.value,
                "subid": subscription.subid,
                "options": IMPLICIT if implicit else _write_options(subscription.options),
                "created": self._transaction.now,
                "public": public,
                "checked": checked,
            },
        )

    def change(self, node: Node, subscription: Subscription) -> None:
        """Write down the state and options of a subscription that is there."""
        self._connection.execute(
            _UPDATE,
            {
                "key": node.key,
                "jid": str(subscription.jid),
                "state": subscription.state.value,
                "subid": subscription.subid,
                "options": _write_options(subscription.options),
            },
        )

    def remove(self, node: Node, jid: JID) -> None:
        """Remove the subscription of exactly this address."""
        self._connection.execute(_DELETE, {"node_id": node.key, "subscriber": str(jid)})

    def marks(self, node: Node, jid: JID) -> Marks | None:
        """How far somebody of ours has been told of a remote node's events."""
        row = _MARKS.first(self._connection, {"node_id": node.key, "subscriber": str(jid.bare)})
        return None if row is None else _read_marks(row)

    def arrival(self, service: JID, name: str, jid: JID, item_id: str) -> tuple[LookUp, Marks | None] | None:
        """A node, one of its items, and how far somebody of ours has been told of it, in one question."""
        row = _ARRIVAL.first(
            self._connection, {"service": str(service), "name": name, "subscriber": str(jid.bare), "item_id": item_id}
        )
        if row is None:
            return None
        width = len(NODE_COLUMNS)
        item = None if row[width + 6] is None else read_item(row, width + 6)
        marks = None if row[width] is None else _read_marks(row, width)
        return LookUp(read_node(row), item, row[width + 5] is not None), marks

    def set_marks(self, marks: Marks) -> None:
        """Write the marks down."""
        _SET_MARKS.run(self._connection, {"key": marks.key, "received_": marks.received, "delivered_": marks.delivered})

    def delivered(self, told: Iterable[tuple[int, JID, int]]) -> None:
        """Node key, subscriber, sequence number: everything up to it was written to a session. Never goes back.

        Those who were told of the same are written down together.
        """
        groups: dict[tuple[int, int], list[str]] = {}
        for key, jid, seq in told:
            groups.setdefault((key, seq), []).append(str(jid.bare))
        for (key, seq), jids in groups.items():
            for some in _batched(jids, len(_PLACES)):
                named = zip(_PLACES, chain(some, repeat(some[0])), strict=False)
                _DELIVERED.run(self._connection, {"key": key, "seq": seq, **dict(named)})

    # all of ours who follow a node elsewhere, by subscriptions of their own

    def followed(self, node: Node) -> bool:
        """Does anybody here follow a node elsewhere?"""
        values = {"of_node": node.key, "ours": self._transaction.domain}
        return _FOLLOWED.first(self._connection, values) is not None

    def followers(self, node: Node) -> frozenset[JID]:
        """All of ours who follow a node elsewhere."""
        values = {"of_node": node.key, "ours": self._transaction.domain}
        return frozenset(JID.parse(bare) for (bare,) in _FOLLOWERS.rows(self._connection, values))

    def told_all(self, node: Node, seq: int) -> None:
        """An event is for all of ours who follow."""
        _TOLD_ALL.run(self._connection, {"of_node": node.key, "ours": self._transaction.domain, "seq": seq})

    def told_some(self, node: Node, jids: Iterable[JID], seq: int) -> None:
        """An event is for these of ours, as far as they have marks."""
        for some in _batched((str(jid.bare) for jid in jids), AT_ONCE):
            self._connection.execute(_TOLD_SOME, {"key": node.key, "jids": some, "seq": seq})

    def untold_of(self, node: Node, seq: int, since: datetime | None) -> list[JID]:
        """Those of ours for whom nothing came of a node from an event on; if there is a time, who followed by then."""
        since = since or _WHENEVER
        values = {"of_node": node.key, "ours": self._transaction.domain, "seq": seq, "since": since}
        return [JID.parse(bare) for (bare,) in _UNTOLD_OF.rows(self._connection, values)]

    def any_at(self, service: JID) -> bool:
        """Does anybody here follow any node of a service, in whatever way?"""
        values = {"service": str(service), "domain": self._transaction.domain}
        return self._connection.execute(_ANY_AT, values).first() is not None

    def feeds_at(self, domain: str, *, after: int, limit: int) -> list[tuple[Node, JID]]:
        """The nodes of another domain that somebody here follows, each with one who does; by the nodes' keys."""
        there = domain.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
        values = {"at": domain, "there": f"%@{there}", "domain": self._transaction.domain}
        rows = self._connection.execute(_FEEDS_AT, values | {"after": after, "limit": limit})
        return [(read_node(row), JID.parse(row[len(NODE_COLUMNS)])) for row in rows]
