"""The outbox, read: what a remote domain is sent now, and what became of it. Reliability as promised:

- a row goes only when the other side has confirmed its batch, so a crash at any moment means at most once more;
- who is told, and of what, is decided when it is sent: nobody who was removed since, nothing retracted since, and an
  item that was edited since once, in its newest form;
- a domain that fails is tried again after 30 s, doubling to an hour on the first day, then every 6 hours until day 7
  and every 24 hours until day 30. After that it is dormant: its rows stay, and nothing is tried until it shows itself
  or somebody asks for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from microblog.config import Limits
from microblog.model.access import audience_of, audiences_allowed, audiences_readable, narrower
from microblog.model.event import ItemPublished, ItemRetracted, NodeConfigured, NodeEvent, NodePurged
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.store import events
from microblog.store.domains import DomainState
from microblog.store.outbox import Owed
from microblog.store.subscriptions import Reader
from microblog.store.transaction import Transaction

PAGES_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Rows of the outbox and what settles them: an event for these recipients, a stanza, or nothing at all."""

    ids: tuple[int, ...]
    event: NodeEvent | None = None
    recipients: tuple[JID, ...] = ()
    stanza: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """``held``: nothing may go now, but so many rows wait for the domain to prove itself by certificate."""

    deliveries: tuple[Delivery, ...]
    held: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When to try again; seconds, but for ``days``."""

    first: float = 30
    day: float = 3600
    week: float = 21_600
    month: float = 86_400
    days: float = 30
    jitter: float = 0.25

    @staticmethod
    def of(limits: Limits) -> "Schedule":
        """As the administrator wants it."""
        return Schedule(
            first=limits.outbox_retry_first_seconds,
            day=limits.outbox_retry_max_seconds,
            week=limits.outbox_retry_week_seconds,
            month=limits.outbox_retry_month_seconds,
            days=limits.outbox_retry_days,
            jitter=limits.outbox_retry_jitter_percent / 100,
        )


def retry_at(
    now: datetime, failing_since: datetime, failures: int, jitter: float, schedule: Schedule
) -> datetime | None:
    """When to try after so many failures in a row; None for never again. ``jitter`` from -1 to 1."""
    failing = (now - failing_since) / timedelta(days=1)
    if failing >= schedule.days:
        return None
    if failing < 1:
        seconds = min(schedule.first * 2.0 ** min(failures - 1, 30), schedule.day)
    else:
        seconds = schedule.week if failing < 7 else schedule.month
    return now + timedelta(seconds=seconds * (1 + jitter * schedule.jitter))


def next_batch(tx: Transaction, domain: str, trusted: bool, limit_rows: int = 50, limit_stanzas: int = 200) -> Batch:
    """What a domain is to be sent now, oldest first.

    ``trusted``: it has proven itself by certificate, or the administrator does without that; else only what is public
    goes. The first row is always whole, however many recipients it has.
    """
    audiences = audiences_allowed(domain, local_domain=tx.domain, trusted=trusted)
    deliveries: list[Delivery] = []
    readers: dict[int, list[Reader]] = {}
    stanzas = after = 0
    for _ in range(PAGES_MAX):
        rows = tx.outbox.owed(domain, audiences, after=after, limit=limit_rows)
        for row in rows:
            after = row.id
            delivery = _delivery(tx, domain, row, audiences, readers)
            if delivery is None:
                continue
            deliveries.append(delivery)
            stanzas += 1 if delivery.stanza else len(delivery.recipients)
            if stanzas >= limit_stanzas or len(deliveries) >= limit_rows:
                return Batch(deliveries=tuple(deliveries))
        if deliveries or len(rows) < limit_rows:
            break
    return Batch(deliveries=tuple(deliveries), held=0 if deliveries else tx.outbox.count(domain))


def _delivery(
    tx: Transaction, domain: str, row: Owed, audiences: frozenset[Audience], known: dict[int, list[Reader]]
) -> Delivery | None:
    """What settles a row; None if it has to wait."""
    if row.stanza is not None:
        return Delivery(ids=(row.id,), stanza=row.stanza)
    event = _event(row)
    if event is None:
        return Delivery(ids=(row.id,))
    audience = narrower(row.audience, audience_of(event.node.config))
    if row.item is not None:
        audience = narrower(audience, row.item.audience)
    if audience not in audiences:
        return Delivery(ids=(row.id,)) if audience is Audience.LOCAL else None
    if event.node.key not in known:
        known[event.node.key] = _readers(tx, event.node, domain)
    recipients = (
        reader.jid
        for reader in known[event.node.key]
        if audience in audiences_readable(event.node.config, reader.facts)
    )
    return Delivery(ids=(row.id,), event=event, recipients=tuple(recipients))


def _event(row: Owed) -> NodeEvent | None:
    """The event of a row as it is to be told now; None if there is nothing to tell any more."""
    node = row.node
    if node is None or not node.config.deliver_notifications:
        return None
    if row.kind == events.PUBLISHED:
        if row.item is None or row.superseded:
            return None
        return ItemPublished(seq=row.seq, node=node, item=row.item)
    if row.kind == events.RETRACTED and row.item_id is not None:
        return ItemRetracted(seq=row.seq, node=node, item_id=row.item_id)
    if row.kind == events.PURGED:
        return NodePurged(seq=row.seq, node=node)
    return NodeConfigured(seq=row.seq, node=node)


def _readers(tx: Transaction, node: Node, domain: str) -> list[Reader]:
    """Subscribers, and contacts that are interested and not told as subscribers already."""
    readers = [reader for reader in tx.subscriptions.readers(node, domain) if reader.deliver]
    told = {reader.jid for reader in readers}
    return readers + [
        reader
        for reader in tx.interests.readers(node, domain)
        if reader.jid not in told and reader.jid.bare not in told
    ]


def done(tx: Transaction, ids: Sequence[int]) -> None:
    """The other side has confirmed these rows."""
    tx.outbox.done(ids)


def failed(tx: Transaction, domain: str, reason: str, jitter: float) -> DomainState:
    """An attempt failed; the answer says when the next one is due. ``jitter``: a random number from -1 to 1."""
    state = tx.domains.get(domain)
    since = state.failing_since or tx.now
    due = retry_at(tx.now, since, state.failures + 1, jitter, Schedule.of(tx.limits))
    tx.domains.failed(domain, reason, due)
    return tx.domains.get(domain)


def succeeded(tx: Transaction, domain: str) -> None:
    """A domain took what we sent: whatever failed is forgotten."""
    tx.domains.succeeded(domain)


def domains_due(tx: Transaction) -> tuple[DomainState, ...]:
    """Every domain that is owed something, with when it is to be tried."""
    return tuple(tx.domains.get(domain) for domain in tx.outbox.domains())


def backlog(tx: Transaction) -> dict[str, int]:
    """How many rows each domain has."""
    return tx.outbox.backlog()
