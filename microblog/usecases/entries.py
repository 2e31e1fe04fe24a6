"""docs/protocol/fanout.md: what an entry of another node's delivery log is when it is sent.

An entry is made anew each time: it tells the item as it is then, to those who are entitled then, and nothing at all (it
is void) if nobody is to be told any more. To whom it is told is for the other node to find out among its own people,
whatever their number: here it is enough to know that there is somebody. For what is not for everybody it is told the
set of those who may read, by version and digest, and can ask for it; for what is, once a day, so that what differs on
the two sides is found and repaired. Who is named (``to``) is told without following.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from microblog.model.access import audience_of, audiences_allowed, audiences_readable, narrower
from microblog.model.event import ItemPublished, ItemRetracted, NodeEvent, NodePurged
from microblog.model.fanout import Told, set_digest
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.store.logs import KnownSet, LogEntry
from microblog.store.outbox import Owed
from microblog.store.transaction import Transaction
from microblog.usecases import delivering
from microblog.usecases.addressing import Named, named_elsewhere

NAMED_MAX: Final = 1000
READERS: Final = 500  # are read at once
TELL_SET_AGAIN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry as it is to be sent; void without ``event``.

    ``version`` and ``digest``: of the set of followers that it names, if it does. ``to``: who is named beside them.
    ``witness``: somebody there who is told. ``private``: not for everybody.
    """

    number: int
    event: NodeEvent | None = None
    told: Told = Told.PUBLIC
    version: int | None = None
    digest: str = ""
    to: tuple[JID, ...] = ()
    witness: JID | None = None
    private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """Entries without a gap behind ``prev``. ``last``: the newest number there is.

    ``changed``: sets of followers, by node key, that are to be written down before the domain is told of them.
    ``beyond``: the receiver has numbers that were never given.
    """

    epoch: str
    prev: int
    entries: tuple[Entry, ...] = ()
    last: int = 0
    changed: Mapping[int, KnownSet] = field(default_factory=dict)
    beyond: bool = False

    @property
    def private(self) -> bool:
        """Is any of it not for everybody?"""
        return any(entry.private for entry in self.entries)


class Maker:
    """What entries for a domain are now, and who there reads which of our feeds."""

    def __init__(self, tx: Transaction, domain: str, trusted: bool, named: Named) -> None:
        self.audiences = audiences_allowed(domain, local_domain=tx.domain, trusted=trusted)
        self.changed: dict[int, KnownSet] = {}
        self._tx = tx
        self._domain = domain
        self._named = named
        self._first: dict[tuple[int, Audience], JID | None] = {}
        self._others: dict[tuple[int, Audience], tuple[JID, ...]] = {}
        self._sets: dict[int, KnownSet] = {}
        self._entitled: dict[int, frozenset[JID]] = {}
        self._due: set[int] = set()

    def may_go(self, row: LogEntry) -> bool:
        """False if it has to wait for a certificate."""
        event = delivering.event_of(row)
        return event is None or _audience(row, event) in (*self.audiences, Audience.LOCAL)

    def of(self, number: int, row: Owed | LogEntry, *, sets: bool = True) -> Entry | None:
        """A row as an entry, void if there is nothing to tell; None if it has to wait. ``sets``: with who may read."""
        tx, void = self._tx, Entry(number=number)
        event = delivering.event_of(row)
        if event is None:
            return void
        audience = _audience(row, event)
        if audience is Audience.LOCAL:
            return void
        if audience not in self.audiences:
            return None
        node, private = event.node, audience is not Audience.PUBLIC
        if not isinstance(event, ItemPublished):
            gone = self._gone(event, audience)
            if gone is None and isinstance(row, LogEntry):
                # It was told once, and must be told again to one who asks because it was lost there.
                gone = JID("", self._domain)
            if gone is None:
                return void
            return Entry(number=number, event=event, told=Told.HOLDERS, witness=gone, private=private)
        item = event.item
        again = row.seq if isinstance(row, LogEntry) else 0
        named = named_elsewhere(tx, node, item, self._domain, self._named, again=again)
        if audience is Audience.DIRECT:
            to = named
            if not to:
                return void
            return Entry(number=number, event=event, told=Told.DIRECT, to=to, witness=to[0], private=True)
        first, to = self.first(node, audience), self.others(node, audience)
        if audience is Audience.PUBLIC:
            to = tuple(dict.fromkeys((*to, *named)))
            if first is None and not to:
                holder = tx.holders.witness(node.key, item.id, self._domain)
                return void if holder is None else Entry(number=number, event=event, told=Told.HOLDERS, witness=holder)
        witness = first or next(iter(to), None)
        if witness is None:
            return void
        known = None
        if sets and (private or (first is not None and self._is_due(node))):
            known = self.known_set(node)
        return Entry(
            number=number,
            event=event,
            told=Told.FOLLOWERS if private else Told.PUBLIC,
            version=None if known is None else known.version,
            digest="" if known is None else known.digest,
            to=to[:NAMED_MAX],
            witness=witness,
            private=private,
        )

    def _gone(self, event: NodeEvent, audience: Audience) -> JID | None:
        """Who there is to hear that something is gone: somebody who was told of it, or who would have been."""
        holders, node = self._tx.holders, event.node
        if isinstance(event, ItemRetracted):
            witness = holders.witness(node.key, event.item_id, self._domain)
        elif isinstance(event, NodePurged) and node.config.notify_retract:
            witness = holders.witness_of_any(node.key, self._domain)
        else:
            return None
        return witness or self.first(node, audience) or next(iter(self.others(node, audience)), None)

    # who reads

    def first(self, node: Node, audience: Audience) -> JID | None:
        """One of the domain's subscribers who may read; it is looked for no further than that."""
        key = node.key, audience
        if key not in self._first:
            self._first[key] = next(self._subscribers(node, audience, 1), None)
        return self._first[key]

    def _subscribers(self, node: Node, audience: Audience, limit: int) -> Iterator[JID]:
        after = 0
        while True:
            page = self._tx.subscriptions.readers_page(node, self._domain, after=after, limit=limit)
            for reader in page:
                if audience in audiences_readable(node.config, reader.facts):
                    yield reader.jid.bare
            if len(page) < limit:
                return
            after, limit = page[-1].id, READERS

    def others(self, node: Node, audience: Audience) -> tuple[JID, ...]:
        """The domain's people who are told because they are contacts."""
        key = node.key, audience
        if key not in self._others:
            page = self._tx.interests.readers_page(node, self._domain, after="", limit=NAMED_MAX)
            self._others[key] = tuple(
                dict.fromkeys(
                    reader.jid.bare
                    for reader in page
                    if reader.facts.presence and audience in audiences_readable(node.config, reader.facts)
                )
            )
        return self._others[key]

    def entitled(self, node: Node) -> frozenset[JID]:
        """All of the domain's subscribers who may read what is for followers."""
        if node.key not in self._entitled:
            self._entitled[node.key] = frozenset(self._subscribers(node, Audience.FOLLOWERS, READERS))
        return self._entitled[node.key]

    def known_set(self, node: Node) -> KnownSet:
        """The set of them, under the version that the domain knows, or is to know."""
        known = self._sets.get(node.key)
        if known is None:
            known, digest = self._tx.logs.followers(node.key, self._domain), set_digest(self.entitled(node))
            if known.digest != digest:
                known = self.changed[node.key] = KnownSet(known.version + 1, digest)
            self._sets[node.key] = known
        return known

    def _is_due(self, node: Node) -> bool:
        """Is the domain to be told of the set, though the item is for everybody? Once is enough."""
        if node.key in self._due:
            return False
        self._due.add(node.key)
        told = self._tx.logs.followers(node.key, self._domain).told
        return told is None or self._tx.now - told > TELL_SET_AGAIN


def _audience(row: Owed | LogEntry, event: NodeEvent) -> Audience:
    audience = narrower(row.audience, audience_of(event.node.config))
    return audience if row.item is None else narrower(audience, row.item.audience)


def without_gaps(rows: Iterable[LogEntry], after: int, upto: int) -> Iterable[tuple[int, LogEntry | None]]:
    """Each number with its entry, if it is still known."""
    found = {row.number: row for row in rows}
    return ((number, found.get(number)) for number in range(after + 1, upto + 1))
