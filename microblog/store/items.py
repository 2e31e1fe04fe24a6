"""Items and tombstones. Items of a node are in the order of the events that last published them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, literal_column, select, update

from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.store import tables
from microblog.store.prepared import Prepared, insertion
from microblog.store.upsert import insert as upsert

if TYPE_CHECKING:
    from datetime import datetime

    from microblog.store.transaction import Transaction

_ITEMS = tables.items
_TOMBSTONES = tables.tombstones
ITEM_COLUMNS: tuple[ColumnElement[Any], ...] = (
    _ITEMS.c.item_id.label("item_item_id"),
    _ITEMS.c.position,
    _ITEMS.c.publisher,
    _ITEMS.c.payload,
    _ITEMS.c.audience.label("item_audience"),
    _ITEMS.c.proof,
    _ITEMS.c.published,
    _ITEMS.c.updated,
    _ITEMS.c.id.label("item_key"),
    _ITEMS.c.stands,
    _ITEMS.c.thread,
    _ITEMS.c.answers,
    _ITEMS.c.via,
    _ITEMS.c.expires,
)
ALL = frozenset(Audience)
_AUDIENCES = {audience.value: audience for audience in Audience}
_PROOFS = {proof.value: proof for proof in Proof}
_LAST = 1 << 62

_NODE = _ITEMS.c.node_id == bindparam("node_id")
# Four places for the four audiences there are; fewer are repeated. A list of varying length costs more.
_READABLE = _ITEMS.c.audience.in_([bindparam(f"audience_{n}") for n in range(len(Audience))])
_BETWEEN = (_ITEMS.c.position > bindparam("after"), _ITEMS.c.position < bindparam("before"))
_PAGE = select(*ITEM_COLUMNS).where(_NODE, _READABLE, *_BETWEEN)
_FIRST = Prepared(_PAGE.order_by(_ITEMS.c.position).limit(bindparam("limit")).offset(bindparam("offset")))
_NEWEST = Prepared(_PAGE.order_by(_ITEMS.c.position.desc()).limit(bindparam("limit")))
_IDS = select(_ITEMS.c.item_id).where(_NODE)
_ANSWERS = select(*ITEM_COLUMNS).where(_NODE, _ITEMS.c.answers != "").order_by(_ITEMS.c.position.desc())
_COUNT = Prepared(select(func.count()).select_from(_ITEMS).where(_NODE, _READABLE, *_BETWEEN))
_GET = Prepared(select(*ITEM_COLUMNS).where(_NODE, _ITEMS.c.item_id == bindparam("item_id")))
_SOME = (
    select(*ITEM_COLUMNS)
    .where(_NODE, _READABLE, _ITEMS.c.item_id.in_(bindparam("item_ids", expanding=True)))
    .order_by(_ITEMS.c.position)
)
_POSITION = Prepared(select(_ITEMS.c.position).where(_NODE, _READABLE, _ITEMS.c.item_id == bindparam("item_id")))
_INSERT = insertion(
    _ITEMS,
    "node_id",
    "item_id",
    "position",
    "publisher",
    "payload",
    "audience",
    "proof",
    "published",
    "updated",
    "stands",
    "thread",
    "answers",
    "via",
    "expires",
)
_UPDATE = Prepared(
    update(_ITEMS)
    .where(_ITEMS.c.node_id == bindparam("key"), _ITEMS.c.item_id == bindparam("of_id"))
    .values(
        position=bindparam("position"),
        publisher=bindparam("publisher"),
        payload=bindparam("payload"),
        audience=bindparam("audience"),
        proof=bindparam("proof"),
        updated=bindparam("updated"),
        thread=bindparam("thread"),
        answers=bindparam("answers"),
        via=bindparam("via"),
        expires=bindparam("expires"),
    )
)
_REPEATS = (
    select(_ITEMS.c.node_id, *ITEM_COLUMNS)
    .where(
        _ITEMS.c.via == bindparam("uri"),
        _ITEMS.c.via != literal_column("''"),
        _ITEMS.c.proof == Proof.LOCAL.value,
    )
    .limit(bindparam("limit"))
)
_REPEATED = (
    select(_ITEMS.c.via)
    .distinct()
    .where(
        func.substr(_ITEMS.c.via, 1, bindparam("length")) == bindparam("prefix"),
        _ITEMS.c.via != literal_column("''"),
        _ITEMS.c.proof == Proof.LOCAL.value,
    )
    .limit(bindparam("limit"))
)
_EXPIRED = (
    select(_ITEMS.c.node_id, _ITEMS.c.item_id)
    .where(_ITEMS.c.expires.is_not(None), _ITEMS.c.expires <= bindparam("now", type_=_ITEMS.c.expires.type))
    .order_by(_ITEMS.c.expires)
    .limit(bindparam("limit"))
)
_ADD_TAG = insert(tables.item_tags).inline()
_ADD_MENTION = insert(tables.item_mentions).inline()
_FORGET_TAGS = delete(tables.item_tags).where(tables.item_tags.c.item == bindparam("key"))
_FORGET_MENTIONS = delete(tables.item_mentions).where(tables.item_mentions.c.item == bindparam("key"))
_MENTIONED = select(tables.item_mentions.c.jid, tables.item_mentions.c.reader).where(
    tables.item_mentions.c.item == bindparam("key")
)
_SET_AUDIENCE = (
    update(_ITEMS)
    .where(_ITEMS.c.node_id == bindparam("key"), _ITEMS.c.audience == bindparam("old"))
    .values(audience=bindparam("new"))
)
_DELETE = delete(_ITEMS).where(_NODE, _ITEMS.c.item_id == bindparam("item_id"))
_TRIM = Prepared(
    delete(_ITEMS).where(
        _NODE,
        _ITEMS.c.position
        <= select(_ITEMS.c.position)
        .where(_NODE)
        .order_by(_ITEMS.c.position.desc())
        .limit(1)
        .offset(bindparam("keep"))
        .scalar_subquery(),
    )
)
_CLEAR = delete(_ITEMS).where(_NODE)
_BURY_ALL = insert(_TOMBSTONES).from_select(
    ["node_id", "item_id", "retracted"],
    select(
        _ITEMS.c.node_id,
        _ITEMS.c.item_id,
        bindparam("now", type_=_TOMBSTONES.c.retracted.type),
    ).where(_NODE),
)
_TOMBSTONES_OF = select(func.count()).select_from(
    select(_TOMBSTONES.c.node_id)
    .where(_TOMBSTONES.c.node_id == bindparam("node_id"))
    .limit(bindparam("limit"))
    .subquery()
)
_UNBURY = Prepared(
    delete(_TOMBSTONES).where(
        _TOMBSTONES.c.node_id == bindparam("node_id"), _TOMBSTONES.c.item_id == bindparam("item_id")
    )
)
_FORGET = delete(_TOMBSTONES).where(_TOMBSTONES.c.retracted < bindparam("before"))


def read_item(row: Sequence[Any], at: int = 0) -> Item:
    """An item from a row that has ITEM_COLUMNS at a place."""
    return Item(
        id=row[at],
        position=row[at + 1],
        publisher=JID.parse(row[at + 2]),
        payload=row[at + 3],
        audience=_AUDIENCES[row[at + 4]],
        proof=_PROOFS[row[at + 5]],
        published=row[at + 6],
        updated=row[at + 7],
        key=row[at + 8],
        stands=row[at + 9],
        thread=row[at + 10],
        answers=row[at + 11],
        via=row[at + 12],
        expires=row[at + 13],
    )


def _audiences(audiences: Iterable[Audience]) -> dict[str, str]:
    names = [audience.value for audience in audiences]
    return {f"audience_{n}": names[n % len(names)] for n in range(len(Audience))}


class Items:
    """By node key and item id. ``audiences``: which items the asker may read; never empty."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection

    def get(self, node_key: int, item_id: str) -> Item | None:
        """One item, whoever may read it."""
        row = _GET.first(self._connection, {"node_id": node_key, "item_id": item_id})
        return None if row is None else read_item(row)

    def some(self, node_key: int, item_ids: Sequence[str], audiences: Iterable[Audience] = ALL) -> list[Item]:
        """The items of these ids that are there, oldest first."""
        rows = self._connection.execute(
            _SOME, {"node_id": node_key, "item_ids": list(item_ids), **_audiences(audiences)}
        )
        return [read_item(row) for row in rows]

    def position(self, node_key: int, item_id: str, audiences: Iterable[Audience] = ALL) -> int | None:
        """Where an item stands."""
        position: int | None = _POSITION.scalar(
            self._connection, {"node_id": node_key, "item_id": item_id, **_audiences(audiences)}
        )
        return position

    def first(
        self,
        node_key: int,
        limit: int,
        *,
        after: int = -1,
        skip: int = 0,
        audiences: Iterable[Audience] = ALL,
    ) -> list[Item]:
        """The oldest items behind a position, oldest first."""
        where = {"node_id": node_key, "after": after, "before": _LAST, "limit": limit, "offset": skip}
        return [read_item(row) for row in _FIRST.rows(self._connection, where | _audiences(audiences))]

    def newest(
        self, node_key: int, limit: int, *, before: int = _LAST, audiences: Iterable[Audience] = ALL
    ) -> list[Item]:
        """The newest items before a position, oldest first."""
        where = {"node_id": node_key, "after": -1, "before": before, "limit": limit}
        items = [read_item(row) for row in _NEWEST.rows(self._connection, where | _audiences(audiences))]
        items.reverse()
        return items

    def between(self, node_key: int, after: int, upto: int, limit: int) -> list[Item]:
        """The newest items behind a position and up to another, oldest first, whoever may read them."""
        where = {"node_id": node_key, "after": after, "before": upto + 1, "limit": limit}
        items = [read_item(row) for row in _NEWEST.rows(self._connection, where | _audiences(ALL))]
        items.reverse()
        return items

    def ids(self, node_key: int) -> list[str]:
        """The ids of all items of a node."""
        return list(self._connection.execute(_IDS, {"node_id": node_key}).scalars())

    def answering(self, node_key: int, limit: int) -> list[Item]:
        """The newest items of a node that answer others, newest first."""
        rows = self._connection.execute(_ANSWERS.limit(limit), {"node_id": node_key})
        return [read_item(row) for row in rows]

    def count(self, node_key: int, *, before: int = _LAST, audiences: Iterable[Audience] = ALL) -> int:
        """How many items there are before a position."""
        where = {"node_id": node_key, "after": -1, "before": before}
        return int(_COUNT.scalar(self._connection, where | _audiences(audiences)))

    def put(self, node_key: int, item: Item, *, replaces: bool) -> int:
        """Store an item; its key.

        ``replaces``: it stands in the place of the item whose key it has; its first publication, and where it stands in
        timelines, stay what they were.
        """
        values = {
            "position": item.position,
            "publisher": str(item.publisher),
            "payload": item.payload,
            "audience": item.audience.value,
            "proof": item.proof.value,
            "updated": item.updated,
            "thread": item.thread,
            "answers": item.answers,
            "via": item.via,
            "expires": item.expires,
        }
        if replaces:
            _UPDATE.run(self._connection, values | {"key": node_key, "of_id": item.id})
            return item.key
        new = {"node_id": node_key, "item_id": item.id, "published": item.published, "stands": item.stands}
        return _INSERT.insert(self._connection, values | new)

    def place(
        self,
        item: Item,
        *,
        tags: Iterable[str] = (),
        mentions: Iterable[JID] = (),
        readers: Iterable[JID] = (),
        again: bool = False,
    ) -> None:
        """Write down under which tags and for whom an item is found; ``again``: instead of what it was before."""
        if again:
            self._connection.execute(_FORGET_TAGS, {"key": item.key})
            self._connection.execute(_FORGET_MENTIONS, {"key": item.key})
        at = {"item": item.key, "stands": item.stands or item.published}
        tagged = [{"tag": tag, **at} for tag in dict.fromkeys(tags)]
        if tagged:
            self._connection.execute(_ADD_TAG, tagged)
        reading = {reader.bare for reader in readers}
        named = [{"jid": str(jid), "reader": jid in reading, **at} for jid in {jid.bare for jid in mentions} | reading]
        if named:
            self._connection.execute(_ADD_MENTION, named)

    def mentioned(self, key: int) -> dict[JID, bool]:
        """Whom an item names, and whether it is a direct item for them."""
        return {JID.parse(jid): reader for jid, reader in self._connection.execute(_MENTIONED, {"key": key})}

    def repeats(self, uri: str, limit: int = 1000) -> list[tuple[int, Item]]:
        """Our people's items that repeat an item, each with its node's key."""
        rows = self._connection.execute(_REPEATS, {"uri": uri, "limit": limit})
        return [(row[0], read_item(row, 1)) for row in rows]

    def repeated(self, prefix: str, limit: int = 1000) -> list[str]:
        """The URIs that begin like that of what our people's items repeat."""
        values = {"prefix": prefix, "length": len(prefix), "limit": limit}
        return list(self._connection.execute(_REPEATED, values).scalars())

    def expired(self, now: "datetime", limit: int) -> list[tuple[int, str]]:
        """Items whose time has come, by node key and id; the oldest first."""
        rows = self._connection.execute(_EXPIRED, {"now": now, "limit": limit})
        return [(row[0], row[1]) for row in rows]

    def set_audience(self, node_key: int, old: Audience, new: Audience) -> None:
        """Give another audience to all items that have this one."""
        self._connection.execute(_SET_AUDIENCE, {"key": node_key, "old": old.value, "new": new.value})

    def trim(self, node_key: int, keep: int) -> None:
        """Remove all but the newest."""
        _TRIM.run(self._connection, {"node_id": node_key, "keep": keep})

    def count_tombstones(self, node_key: int, most: int) -> int:
        """How many retracted items of a node are remembered, up to a number."""
        return int(self._connection.execute(_TOMBSTONES_OF, {"node_id": node_key, "limit": most}).scalar_one())

    def retract(self, node_key: int, item_id: str) -> None:
        """Remove an item and leave a tombstone."""
        self._connection.execute(_DELETE, {"node_id": node_key, "item_id": item_id})
        statement = upsert(self._connection, _TOMBSTONES).on_conflict_do_nothing()
        self._connection.execute(
            statement, {"node_id": node_key, "item_id": item_id, "retracted": self._transaction.now}
        )

    def purge(self, node_key: int) -> None:
        """Remove all items and leave tombstones."""
        self._connection.execute(_BURY_ALL, {"node_id": node_key, "now": self._transaction.now})
        self._connection.execute(_CLEAR, {"node_id": node_key})

    def clear(self, node_key: int) -> None:
        """Remove all items; they may come again."""
        self._connection.execute(_CLEAR, {"node_id": node_key})

    def unbury(self, node_key: int, item_id: str) -> None:
        """Forget that an item was retracted: its own author publishes it again."""
        _UNBURY.run(self._connection, {"node_id": node_key, "item_id": item_id})

    def forget_tombstones(self, before: "datetime") -> int:
        """Remove tombstones older than every queue; how many."""
        return int(self._connection.execute(_FORGET, {"before": before}).rowcount)
