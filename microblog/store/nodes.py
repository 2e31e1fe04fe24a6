"""Nodes: our people's, and our copies of the remote feeds that somebody here follows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, insert, or_, select, update

from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import (
    ATTACHMENTS_PREFIX,
    COMMENTS_PREFIX,
    Node,
    NodeConfig,
    for_audience,
    profile,
    stored_config,
)
from microblog.store import tables
from microblog.store.items import ITEM_COLUMNS, read_item
from microblog.store.prepared import Prepared

if TYPE_CHECKING:
    from datetime import datetime

    from microblog.store.transaction import Transaction

_NODES = tables.nodes
_ITEMS = tables.items
_TOMBSTONES = tables.tombstones
NODE_COLUMNS: tuple[ColumnElement[Any], ...] = (
    _NODES.c.id,
    _NODES.c.service,
    _NODES.c.name,
    _NODES.c.access_model,
    _NODES.c.config,
)

_FIND = Prepared(
    select(*NODE_COLUMNS).where(_NODES.c.service == bindparam("service"), _NODES.c.name == bindparam("name"))
)
_GET = Prepared(select(*NODE_COLUMNS).where(_NODES.c.id == bindparam("key")))
_OF = select(*NODE_COLUMNS).where(_NODES.c.service == bindparam("service")).order_by(_NODES.c.name)
# Nodes that depend on items are as many as others make them: they are found by their names.
_INDEPENDENT = ~or_(_NODES.c.name.startswith(COMMENTS_PREFIX), _NODES.c.name.startswith(ATTACHMENTS_PREFIX))
_OWN = _OF.where(_INDEPENDENT)
_NAMES = select(_NODES.c.name).where(
    _NODES.c.service == bindparam("service"),
    func.substr(_NODES.c.name, 1, bindparam("length")) == bindparam("prefix"),
)
_COUNT = select(func.count()).where(_NODES.c.service == bindparam("service"))
_COUNT_OWN = _COUNT.where(_INDEPENDENT)
_CREATED = select(_NODES.c.created).where(_NODES.c.id == bindparam("key"))
_LOOK_UP = Prepared(
    select(*NODE_COLUMNS, _TOMBSTONES.c.retracted, *ITEM_COLUMNS)
    .select_from(_NODES)
    .outerjoin(_ITEMS, (_ITEMS.c.node_id == _NODES.c.id) & (_ITEMS.c.item_id == bindparam("item_id")))
    .outerjoin(
        _TOMBSTONES,
        (_TOMBSTONES.c.node_id == _NODES.c.id) & (_TOMBSTONES.c.item_id == bindparam("item_id")),
    )
    .where(_NODES.c.service == bindparam("service"), _NODES.c.name == bindparam("name"))
)
_AUDIENCE = select(tables.accounts.c.audience).where(tables.accounts.c.localpart == bindparam("localpart"))
_INSERT = insert(_NODES)
_UPDATE = (
    update(_NODES)
    .where(_NODES.c.id == bindparam("key"))
    .values(access_model=bindparam("access_model_"), config=bindparam("config_"))
)
_DELETE = delete(_NODES).where(_NODES.c.id == bindparam("key"))
_UNUSED = delete(_NODES).where(
    _NODES.c.id.in_(
        select(_NODES.c.id)
        .where(
            _NODES.c.service == bindparam("service"),
            func.substr(_NODES.c.name, 1, bindparam("length")) == bindparam("prefix"),
            ~exists().where(tables.subscriptions.c.node_id == _NODES.c.id),
        )
        .limit(bindparam("limit"))
    )
)


class LookUp(NamedTuple):
    """A node and what it has under one item id."""

    node: Node
    item: Item | None
    retracted: bool


def read_node(row: Sequence[Any]) -> Node:
    """A node from a row that begins with NODE_COLUMNS."""
    config = stored_config(row[2], row[4])
    return Node(key=row[0], service=JID.parse(row[1]), name=row[2], config=config)


class Nodes:
    """By service (bare JID) and name."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def find(self, service: JID, name: str) -> Node | None:
        """The node of this name."""
        row = _FIND.first(self._connection, {"service": str(service), "name": name})
        return None if row is None else read_node(row)

    def get(self, key: int) -> Node | None:
        """The node with the store's own key."""
        row = _GET.first(self._connection, {"key": key})
        return None if row is None else read_node(row)

    def look_up(self, service: JID, name: str, item_id: str) -> LookUp | None:
        """A node with one item and whether that item was retracted, in one question."""
        row = _LOOK_UP.first(self._connection, {"service": str(service), "name": name, "item_id": item_id})
        if row is None:
            return None
        width = len(NODE_COLUMNS)
        item = None if row[width + 1] is None else read_item(row, width + 1)
        return LookUp(read_node(row), item, row[width] is not None)

    def of(self, service: JID, *, dependent: bool = False) -> list[Node]:
        """All nodes of a service, by name; those that depend on items only if they are wanted."""
        statement = _OF if dependent else _OWN
        return [read_node(row) for row in self._connection.execute(statement, {"service": str(service)})]

    def count(self, service: JID, *, dependent: bool = False) -> int:
        """How many nodes a service has; those that depend on items only if they are to be counted."""
        statement = _COUNT if dependent else _COUNT_OWN
        return int(self._connection.execute(statement, {"service": str(service)}).scalar_one())

    def names(self, service: JID, prefix: str) -> list[str]:
        """The names of a service's nodes that begin so."""
        where = {"service": str(service), "prefix": prefix, "length": len(prefix)}
        return list(self._connection.execute(_NAMES, where).scalars())

    def created(self, node: Node) -> "datetime":
        """When the node was made."""
        created: datetime = self._connection.execute(_CREATED, {"key": node.key}).scalar_one()
        return created

    def defaults(self, service: JID, name: str) -> NodeConfig:
        """What a new node of this name gets at a service: its profile, no wider than its account's audience."""
        audience = self._connection.execute(_AUDIENCE, {"localpart": service.localpart}).scalar_one_or_none()
        return for_audience(name, Audience(audience or "public"))

    def create(self, service: JID, name: str, config: NodeConfig) -> Node:
        """Make a node that is not there yet."""
        result = self._connection.execute(
            _INSERT,
            {
                "service": str(service),
                "name": name,
                "access_model": config.access_model.value,
                "config": config.stored(profile(name)),
                "created": self._transaction.now,
            },
        )
        key = result.inserted_primary_key
        assert key is not None
        return Node(key=key[0], service=service, name=name, config=config)

    def configure(self, node: Node, config: NodeConfig) -> Node:
        """Give a node another configuration."""
        self._connection.execute(
            _UPDATE,
            {
                "key": node.key,
                "access_model_": config.access_model.value,
                "config_": config.stored(profile(node.name)),
            },
        )
        return Node(key=node.key, service=node.service, name=node.name, config=config)

    def delete(self, node: Node) -> None:
        """Remove a node with its items, subscriptions, affiliations, events and what the outbox has of them."""
        self._connection.execute(_DELETE, {"key": node.key})

    def forget_unused(self, service: JID, prefix: str, limit: int) -> int:
        """Remove nodes whose names begin so and that nobody is subscribed to; how many."""
        values = {"service": str(service), "prefix": prefix, "length": len(prefix), "limit": limit}
        return int(self._connection.execute(_UNUSED, values).rowcount)
