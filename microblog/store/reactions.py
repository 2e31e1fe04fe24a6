"""XEP-0470: what people attached to items, by the attachment or comment that says it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, distinct, func, insert, select

from microblog.store import tables
from microblog.store.prepared import Prepared

if TYPE_CHECKING:
    from microblog.model.jid import JID
    from microblog.store.transaction import Transaction

_REACTIONS = tables.reactions
_ITEMS = tables.items
_NODES = tables.nodes

_ADD = insert(_REACTIONS).inline()
_FORGET = delete(_REACTIONS).where(_REACTIONS.c.item == bindparam("key"))
_OF = select(_REACTIONS.c.reaction).where(_REACTIONS.c.item == bindparam("key")).order_by(_REACTIONS.c.place)
# Somebody who says it in an attachment and in a comment says it once.
_COUNTS = Prepared(
    select(_REACTIONS.c.reaction, func.count(distinct(_ITEMS.c.publisher)))
    .select_from(_NODES)
    .join(_ITEMS, _ITEMS.c.node_id == _NODES.c.id)
    .join(_REACTIONS, _REACTIONS.c.item == _ITEMS.c.id)
    .where(
        _NODES.c.service == bindparam("service"), _NODES.c.name.in_([bindparam("attachments"), bindparam("comments")])
    )
    .group_by(_REACTIONS.c.reaction)
    .order_by(func.count(distinct(_ITEMS.c.publisher)).desc(), _REACTIONS.c.reaction)
)
# An attachment is one item of one person; a text in it has no such bracket.
_NOTICED = Prepared(
    select(func.count())
    .select_from(_NODES)
    .join(_ITEMS, _ITEMS.c.node_id == _NODES.c.id)
    .where(
        _NODES.c.service == bindparam("service"),
        _NODES.c.name == bindparam("attachments"),
        _ITEMS.c.payload.contains("<noticed"),
    )
)


class Reactions:
    """By the key of the item that says them."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection

    def of(self, key: int) -> tuple[str, ...]:
        """What one item says."""
        return tuple(self._connection.execute(_OF, {"key": key}).scalars())

    def set(self, key: int, reactions: Iterable[str], *, again: bool) -> None:
        """Write down what an item says; ``again``: instead of what it said before."""
        if again:
            self._connection.execute(_FORGET, {"key": key})
        rows = [{"item": key, "place": n, "reaction": each} for n, each in enumerate(dict.fromkeys(reactions))]
        if rows:
            self._connection.execute(_ADD, rows)

    def counts(self, service: "JID", attachments: str, comments: str) -> dict[str, int]:
        """How many people say what in two nodes, the most frequent first."""
        where = {"service": str(service), "attachments": attachments, "comments": comments}
        return {row[0]: int(row[1]) for row in _COUNTS.rows(self._connection, where)}

    def noticed(self, service: "JID", attachments: str) -> int:
        """How many people say in a node that they noticed the item."""
        return int(_NOTICED.scalar(self._connection, {"service": str(service), "attachments": attachments}))
