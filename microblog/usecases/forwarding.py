"""docs/protocol/fanout.md, the origin: what another node is told, once for all who read there, in a log with numbers.

A row of the outbox says that a domain is owed an event. For a domain that keeps up a delivery log the oldest rows that
may go are given the next numbers, in one transaction with their removal from the outbox: from then on they are pending
in the log until the domain has acknowledged them. No more are numbered before that. What each is when it is sent is
decided then (``entries``).

Only feeds are in the log. What else there is to tell goes as to any other server, and in the same order.

An epoch stands for the log of a pair of domains. It is another one as soon as the receiver has more than was ever given
here: then we were restored from a backup, and our numbers mean nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from microblog.model.event import ItemPublished, ItemRetracted
from microblog.model.fanout import Told
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store import events
from microblog.store.logs import KnownSet
from microblog.store.outbox import Owed
from microblog.store.peers import Peer
from microblog.store.transaction import Transaction
from microblog.usecases import collapsing, delivering, identity
from microblog.usecases.addressing import Named
from microblog.usecases.delivering import Batch, Progress
from microblog.usecases.entries import Entries, Entry, Maker, without_gaps

PAGES_MAX: Final = 20
_KINDS: Final = (events.PUBLISHED, events.RETRACTED, events.PURGED)
_EPOCH_OF: Final = "epoch."


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """It is a domain's turn. ``trusted``, ``progress``: as in ``delivering.next_batch``."""

    domain: str
    trusted: bool
    named: Named
    max_entries: int = 50
    max_bytes: int = 262_144
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What comes next: entries of the log, pending or to be looked for once more; or what goes as to any other server;
    else so many rows wait."""

    pending: bool = False
    batch: Batch | None = None
    held: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a domain says of entries: all up to a number is stored there, but for what it refused, and why.

    ``beyond``: before that it had more than it was ever given.
    """

    upto: int
    beyond: bool = False
    unwanted: tuple[JID, ...] = ()
    refused: Mapping[int, str] = field(default_factory=dict)


def next_entries(tx: Transaction, turn: Turn) -> Next:
    """Give the oldest rows that may go the next numbers, unless there are entries pending, or something else first."""
    domain, peer = turn.domain, tx.peers.get(turn.domain)
    trusted = turn.trusted and identity.trusts(tx, domain)
    entries = Maker(tx, domain, trusted, turn.named)
    if peer.number > peer.acknowledged:
        rows = tx.logs.entries(domain, peer.acknowledged, turn.max_entries)
        if all(entries.may_go(row) for row in rows):
            return Next(pending=True)
        # They were numbered when the domain had proved more than now.
        back_to_outbox(tx, domain)
        peer = tx.peers.get(domain)
    numbered: list[Owed] = []
    settled: list[Owed] = []
    place, size, batch = None, 0, None
    for _ in range(PAGES_MAX):
        rows_owed = collapsing.owed(tx, domain, entries.audiences, after=place, limit=turn.max_entries)
        for row in rows_owed:
            place = row.place
            if not in_log(tx, row):
                if numbered:
                    return _numbered(tx, peer, numbered, settled)
                if batch is None:
                    batch = _others(tx, turn, trusted)
                if batch.deliveries:
                    collapsing.settle(tx, settled)
                    return Next(batch=batch)
                continue  # they wait
            entry = entries.of(0, row, sets=False)
            if entry is None:
                continue
            if entry.event is None:
                settled.append(row)
                continue
            numbered.append(row)
            if entry.told is Told.DIRECT and entry.witness is not None and row.item is not None:
                # From now on it may be there, whatever is answered: no follower would hear that it was taken back.
                tx.holders.hold([(entry.event.node.key, row.item.id, entry.witness)])
            size += delivering.size_of(entry.event)
            if len(numbered) >= turn.max_entries or size >= turn.max_bytes:
                return _numbered(tx, peer, numbered, settled)
        if numbered or len(rows_owed) < turn.max_entries:
            break
    if numbered:
        return _numbered(tx, peer, numbered, settled)
    collapsing.settle(tx, settled)
    # Where so many rows had nothing to tell, what is behind them has not been looked at yet.
    more = bool(settled) and len(rows_owed) == turn.max_entries
    return Next(pending=more, held=tx.outbox.count(domain))


def _numbered(tx: Transaction, peer: Peer, numbered: list[Owed], settled: list[Owed]) -> Next:
    identity.epoch(tx)  # is made with the first number, if it was not
    number = tx.logs.append(peer.domain, peer.number, numbered)
    tx.peers.set(peer.domain, number=number)
    collapsing.settle(tx, [*settled, *numbered])
    return Next(pending=True)


def _others(tx: Transaction, turn: Turn, trusted: bool) -> Batch:
    """What is not in the log, up to the next that is."""
    return delivering.next_batch(
        tx, turn.domain, trusted, progress=turn.progress, stop=lambda row: in_log(tx, row), named=turn.named
    )


def in_log(tx: Transaction, row: Owed) -> bool:
    """Is it for the log? What happens at our people's feeds."""
    node = row.node
    return (
        row.stanza is None
        and node is not None
        and node.name == MICROBLOG
        and node.service.domainpart == tx.domain
        and row.kind in _KINDS
    )


def pending(tx: Transaction, turn: Turn) -> Entries:
    """The oldest entries that were not acknowledged, as they are to be sent now; none if what is first has to wait."""
    peer = tx.peers.get(turn.domain)
    trusted = turn.trusted and identity.trusts(tx, turn.domain)
    made = Maker(tx, turn.domain, trusted, turn.named)
    entries = []
    rows = tx.logs.entries(turn.domain, peer.acknowledged, turn.max_entries)
    for number, row in without_gaps(rows, peer.acknowledged, min(peer.number, peer.acknowledged + turn.max_entries)):
        entry = Entry(number=number) if row is None else made.of(number, row)
        if entry is None:
            break
        entries.append(entry)
    return Entries(
        epoch=epoch(tx, turn.domain),
        prev=peer.acknowledged,
        entries=tuple(entries),
        last=peer.number,
        changed=made.changed,
    )


def write_down(tx: Transaction, domain: str, changed: Mapping[int, KnownSet]) -> None:
    """Remember sets of followers before the domain is told of them."""
    for node_key, known in changed.items():
        if tx.nodes.get(node_key) is not None:
            tx.logs.set_followers(node_key, domain, known)


def acknowledged(tx: Transaction, domain: str, sent: Entries, taken: Taken) -> bool:
    """A domain has stored entries, and holds what it was told of. False: it has more than it was ever given.

    What it does not want, as nobody there reads it, it does not hold: it is told next time whom we know as followers
    there, so that it can say which of them do not follow any more.
    """
    peer = tx.peers.get(domain)
    if taken.beyond or taken.upto > peer.number:
        renew(tx, domain)
        return False
    held: dict[tuple[int, str], JID] = {}
    number = peer.acknowledged
    for entry in sent.entries:
        if entry.number > taken.upto:
            break
        number = max(number, entry.number)
        event = entry.event
        if event is None or entry.witness is None:
            continue
        node, refused = event.node, taken.refused.get(entry.number)
        if entry.digest and tx.nodes.get(node.key) is not None:
            tx.logs.told(node.key, domain, tx.now)
        if isinstance(event, ItemRetracted):
            held.pop((node.key, event.item_id), None)
            tx.holders.let_go(node.key, event.item_id, domain)
        elif isinstance(event, ItemPublished) and delivering.still_there(tx, event, entry.witness):
            if refused:
                tx.holders.refuse(node.key, event.item.id, entry.witness, refused)
            elif entry.told is Told.HOLDERS or node.service not in taken.unwanted:
                held[node.key, event.item.id] = entry.witness
                delivering.owe_edit(tx, event, domain)
    tx.holders.hold((*key, witness) for key, witness in held.items())
    for author in taken.unwanted:
        node_of = tx.nodes.find(author, MICROBLOG) if author.domainpart == tx.domain else None
        if node_of is not None:
            tx.logs.told(node_of.key, domain, None)
    if number > peer.acknowledged:
        tx.peers.set(domain, acknowledged=number)
    return True


def back_to_outbox(tx: Transaction, domain: str) -> None:
    """What is pending is owed as before it was numbered: the domain keeps no log any more, or may not be told now.

    The numbers stay, and nothing stands behind them; who misses them can fetch that.
    """
    peer = tx.peers.get(domain)
    if peer.number > peer.acknowledged:
        # Of what was told from marks the events may be forgotten.
        tx.marks.give_back(domain, peer.acknowledged)
        tx.logs.give_back(domain, peer.acknowledged)
        tx.peers.set(domain, acknowledged=peer.number)
        if tx.marks.any(domain):
            # Marks go before rows of posts: what came before them is to become part of them.
            collapsing.collapse(tx, domain)


def is_pending(tx: Transaction, domain: str) -> bool:
    """Has the domain's log entries that were not acknowledged?"""
    peer = tx.peers.get(domain)
    return peer.number > peer.acknowledged


# the epoch


def epoch(tx: Transaction, domain: str) -> str:
    """What the log of a domain is known by."""
    return f"{tx.settings.get('epoch') or ''}{tx.settings.get(_EPOCH_OF + domain) or ''}"


def renew(tx: Transaction, domain: str) -> None:
    """From now on it is another log: only for that domain, as only its own word stands against ours."""
    identity.epoch(tx)
    tx.settings.set(_EPOCH_OF + domain, f"-{tx.new_id()[:8]}")
