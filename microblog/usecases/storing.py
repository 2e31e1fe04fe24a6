"""How much of other domains is kept here: a quota for each, and a time after which copies go.

Copies are there to be read by those who follow; their origin has them all. Beyond a domain's quota its oldest go, and
what has been here for longer than ``Limits.remote_copies_days`` goes whatever the quota, but for the newest of each
feed. What somebody here likes, repeats or answers stays.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, delete, exists, func, or_, select

from microblog.model.item import Item, Proof
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.uri import ItemAddress
from microblog.store import tables
from microblog.store.policies import Storage, at_domain
from microblog.store.transaction import Transaction
from microblog.usecases import depending

# Looked at with every so many copies that are stored, of whomever: it costs, and then brings more.
LOOKED_AT_EVERY = 100
REMOVED_AT_ONCE = 500
PAGES_MAX = 4
ITEM_BYTES = 500  # what an item takes beside its payload, about
NEWEST_KEPT = 20
FEEDS_AT_ONCE = 500
MEASURED_MAX = 20
_I = tables.items
_N = tables.nodes
_OLDER = _I.alias("older")
_COPIES = (
    select(_I.c.id, _N.c.service, _N.c.name, _I.c.item_id, _I.c.thread, func.length(_I.c.payload))
    .join(_N, _N.c.id == _I.c.node_id)
    .where(_I.c.id.in_(bindparam("keys", expanding=True)), _I.c.proof != Proof.LOCAL.value)
)


class Copy(NamedTuple):
    """A copy of ours: its key, its address, its thread, and how much it takes."""

    key: int
    address: ItemAddress
    thread: str
    bytes: int


class Old(NamedTuple):
    """Keys of copies that are too old, and behind which node to go on; None at the end."""

    keys: tuple[int, ...]
    after: int | None


def count(tx: Transaction, node: Node, item: Item, old: Item | None) -> None:
    """A copy was stored; if there are too many of its domain now, the oldest go."""
    if item.proof is Proof.LOCAL:
        return
    domain = node.service.domainpart
    more = _size(item.payload) - (_size(old.payload) if old is not None else 0)
    tx.policies.stored(domain, 0 if old is not None else 1, more)
    if item.position % LOOKED_AT_EVERY == 0 and _is_over(tx, tx.policies.storage(domain)):
        make_room(tx, domain)


def uncount(tx: Transaction, node: Node, item: Item) -> None:
    """A copy goes because its origin has taken it back."""
    if item.proof is not Proof.LOCAL:
        tx.policies.gone(node.service.domainpart, 1, _size(item.payload))


def uncount_all(tx: Transaction, node: Node) -> None:
    """All copies of a feed's items go; while they are still there."""
    copies = select(func.count(), func.coalesce(func.sum(func.length(_I.c.payload)), 0))
    row = tx.connection.execute(copies.where(_I.c.node_id == node.key, _I.c.proof != Proof.LOCAL.value)).one()
    tx.policies.gone(node.service.domainpart, row[0], row[1] + ITEM_BYTES * row[0])


def _size(payload: str) -> int:
    return len(payload) + ITEM_BYTES


def _is_over(tx: Transaction, storage: Storage) -> bool:
    return storage.items > tx.limits.remote_storage_items or storage.bytes > tx.limits.remote_storage_bytes


def make_room(tx: Transaction, domain: str) -> int:
    """Remove some of the oldest copies of a domain's items that nobody here needs; how many."""
    after = gone = freed = 0
    for _ in range(PAGES_MAX):
        keys = _oldest(tx, domain, after)
        unneeded = list(_unneeded(tx, keys))
        _remove(tx, [copy.key for copy in unneeded])
        gone += len(unneeded)
        freed += sum(copy.bytes for copy in unneeded)
        if gone >= REMOVED_AT_ONCE // 2 or len(keys) < REMOVED_AT_ONCE:
            break
        after = keys[-1]
    tx.policies.gone(domain, gone, freed)
    return gone


def _oldest(tx: Transaction, domain: str, after: int) -> Sequence[int]:
    # Ids alone are in an index: what they say is read only of those that are wanted.
    feeds = select(_N.c.id).where(at_domain(_N.c.service, domain))
    found = select(_I.c.id).where(_I.c.node_id.in_(feeds), _I.c.id > after).order_by(_I.c.id).limit(REMOVED_AT_ONCE)
    return tx.connection.execute(found).scalars().all()


def _unneeded(tx: Transaction, keys: Iterable[int]) -> Iterator[Copy]:
    rows = tx.connection.execute(_COPIES, {"keys": list(keys)}).all()
    for key, service, name, item_id, thread, size in rows:
        copy = Copy(key, ItemAddress(JID.parse(service), name, item_id), thread, size + ITEM_BYTES)
        if not _is_needed(tx, copy):
            yield copy


def _is_needed(tx: Transaction, copy: Copy) -> bool:
    """Does somebody here like, repeat or answer it?"""
    address = copy.address
    if tx.items.repeats(address.uri, 1):
        return True
    hanging = [depending.attachments_of(address)]
    if address.node == MICROBLOG:
        hanging.append(depending.comments_of(address))
    said = exists().where(
        _N.c.service == str(address.service),
        _N.c.name.in_(hanging),
        _I.c.node_id == _N.c.id,
        _I.c.proof == Proof.LOCAL.value,
    )
    answered = exists().where(
        _OLDER.c.thread == copy.thread, _OLDER.c.answers != "", _OLDER.c.proof == Proof.LOCAL.value
    )
    wanted = or_(said, answered) if copy.thread else said
    return bool(tx.connection.execute(select(wanted)).scalar_one())


def _remove(tx: Transaction, keys: Sequence[int]) -> None:
    if keys:
        tx.connection.execute(delete(_I).where(_I.c.id.in_(keys)))


# in time


def too_old(tx: Transaction, after: int) -> Old:
    """Copies of posts that are too old, in some feeds. For a reader."""
    feeds = (
        select(_N.c.id)
        .where(_N.c.id > after, _N.c.name == MICROBLOG, ~at_domain(_N.c.service, tx.domain))
        .order_by(_N.c.id)
        .limit(FEEDS_AT_ONCE)
    )
    keys = tx.connection.execute(feeds).scalars().all()
    if not keys:
        return Old((), None)
    newest = (
        select(_OLDER.c.stands)
        .where(_OLDER.c.node_id == _I.c.node_id, _OLDER.c.stands.is_not(None))
        .order_by(_OLDER.c.stands.desc())
        .offset(NEWEST_KEPT - 1)
        .limit(1)
        .correlate(_I)
        .scalar_subquery()
    )
    before = tx.now - timedelta(days=tx.limits.remote_copies_days)
    found = (
        select(_I.c.id)
        .where(_I.c.node_id.in_(keys), _I.c.stands < before, _I.c.stands < newest, _I.c.proof != Proof.LOCAL.value)
        .limit(REMOVED_AT_ONCE * 10)
    )
    return Old(tuple(tx.connection.execute(found).scalars()), keys[-1])


def remove_old(tx: Transaction, keys: Sequence[int]) -> int:
    """Remove those that nobody here needs; how many."""
    unneeded = list(_unneeded(tx, keys))
    _remove(tx, [copy.key for copy in unneeded])
    for copy in unneeded:
        tx.policies.gone(copy.address.service.domainpart, 1, copy.bytes)
    return len(unneeded)


# what they really take


def to_measure(tx: Transaction) -> list[str]:
    """The domains that seem to take most: not all that goes is counted down."""
    return tx.policies.most(MEASURED_MAX)


def measure(tx: Transaction, domain: str) -> Storage:
    """What a domain's copies take. Reads them all: for a reader."""
    found = tx.policies.measure(domain)
    return Storage(found.items, found.bytes + ITEM_BYTES * found.items)


def measured(tx: Transaction, domain: str, storage: Storage) -> None:
    """Write it down, and make room if that is too much."""
    tx.policies.measured(domain, storage)
    if _is_over(tx, storage):
        make_room(tx, domain)
