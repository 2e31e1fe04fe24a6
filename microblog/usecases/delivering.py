"""The outbox, read: what a remote domain is sent now, and what became of it. Reliability as promised:

- a row goes only when the other side has confirmed its batch, so a crash at any moment means at most once more;
- who is told, and of what, is decided when it is sent: nobody who was removed since, nothing retracted since, and an
  item that was edited since in its newest form, and as a rule once;
- a domain that confirmed that it was told of a post holds it, and hears of its retraction though nobody there follows
  any more: then one of those hears it who were told of the post;
- a batch is small, in stanzas and in bytes: an event for a hundred thousand followers at one domain goes to them page
  by page, and how far it came (``Progress``) is handed to the next call;
- a domain that fails is tried again after 30 s, doubling to an hour on the first day, then every 6 hours until day 7
  and every 24 hours until day 30. After that it is dormant: its rows stay for 90 days (``forgetting``), and nothing is
  tried until it shows itself or somebody asks for it;
- a domain whose name has not existed for three days, or that is as surely not there, is dormant by then, and only
  looked at once a week until day 30;
- a long backlog is told from marks (``collapsing``) instead of rows: the same, item by item.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from microblog.config import Limits
from microblog.model.access import audience_of, audiences_allowed, audiences_readable, narrower
from microblog.model.event import ItemPublished, ItemRetracted, NodeConfigured, NodeEvent, NodePurged
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node, is_feed
from microblog.store import events
from microblog.store.domains import DomainState
from microblog.store.logs import LogEntry
from microblog.store.outbox import Owed, Place, Step
from microblog.store.subscriptions import Reader
from microblog.store.transaction import Transaction
from microblog.usecases import collapsing, depending, identity
from microblog.usecases.addressing import Named, named_elsewhere
from microblog.usecases.collapsing import owed
from microblog.usecases.depending import Dependent

PAGES_MAX = 20
REFUSALS_MAX = 200
# A name that does not exist, a domain that says that it has no such service: for so long, and seen so often.
HOPELESS = timedelta(hours=72)
HOPELESS_FAILURES = 3
PROBE = timedelta(days=7)
STANZA_BYTES = 500  # what a notification has around its payload, about

# Behind which subscription the next page of followers begins, by its key; behind which interest, by its address.
After = int | str
_FROM_THE_START: After = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What settles rows of the outbox: an event for these recipients, a stanza, or nothing at all.

    Without ``ids`` it settles none: there are more recipients to come. ``step``: it settles so much of a mark instead.
    ``named``: who is told by a message that the item names them. ``refused``: why the domain will never take it.
    """

    ids: tuple[int, ...]
    step: Step | None = None
    event: NodeEvent | None = None
    recipients: tuple[JID, ...] = ()
    named: tuple[JID, ...] = ()
    stanza: str | None = None
    refused: str = ""

    @property
    def witness(self) -> JID | None:
        """One of those who are told."""
        return next(iter((*self.recipients, *self.named)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A row, or an item of a mark, whose event has gone to some of its recipients."""

    row: int
    after: After


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """``held``: nothing may go now, but so many rows wait for the domain to prove itself by certificate.

    ``progress``: what to ask with for what comes after it, once it is confirmed.
    """

    deliveries: tuple[Delivery, ...]
    held: int = 0
    progress: Progress | None = None


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


def next_batch(
    tx: Transaction,
    domain: str,
    trusted: bool,
    limit_rows: int = 50,
    limit_stanzas: int = 200,
    *,
    limit_bytes: int = 500_000,
    progress: Progress | None = None,
    stop: Callable[[Owed], bool] = lambda row: False,
    named: Named = lambda payload: (),
) -> Batch:
    """What a domain is to be sent now, oldest first.

    ``trusted``: it has proven itself by certificate, or the administrator does without that; else only what is public
    goes. ``progress``: of the last batch that was confirmed. A batch ends before it is twice as large as its limits,
    and behind a row that has more recipients than go into one. What ``stop`` says goes another way, after the batch.
    ``named``: whom a payload names.
    """
    trusted = trusted and identity.trusts(tx, domain)
    audiences = audiences_allowed(domain, local_domain=tx.domain, trusted=trusted)
    recipients = _Recipients(tx, domain, limit_stanzas, limit_bytes, named)
    deliveries: list[Delivery] = []
    stanzas = size = 0
    after: Place | None = None
    for _ in range(PAGES_MAX):
        rows = owed(tx, domain, audiences, after=after, limit=limit_rows)
        for row in rows:
            after = row.place
            if stop(row):
                if deliveries:
                    return Batch(deliveries=tuple(deliveries))
                continue
            start = progress.after if progress is not None and progress.row == row.id else _FROM_THE_START
            delivery, more = _delivery(row, audiences, recipients, start)
            if delivery is None:
                continue
            deliveries.append(delivery)
            if more is not None:
                return Batch(deliveries=tuple(deliveries), progress=Progress(row=row.id, after=more))
            stanzas += 1 if delivery.stanza else len(delivery.recipients) + len(delivery.named)
            size += len(delivery.stanza or "") + len(delivery.recipients) * size_of(delivery.event)
            if stanzas >= limit_stanzas or size >= limit_bytes or len(deliveries) >= limit_rows:
                return Batch(deliveries=tuple(deliveries))
        if deliveries or len(rows) < limit_rows:
            break
    return Batch(deliveries=tuple(deliveries), held=0 if deliveries else tx.outbox.count(domain))


def _delivery(
    row: Owed, audiences: frozenset[Audience], recipients: "_Recipients", start: After
) -> tuple[Delivery | None, After | None]:
    """What settles a row, or some of its recipients and where the others begin; None if it has to wait."""
    ids, step = (() if row.step else (row.id,)), row.step
    if row.stanza is not None:
        return Delivery(ids=ids, stanza=row.stanza), None
    event = event_of(row)
    if event is None:
        return Delivery(ids=ids, step=step), None
    hung = recipients.dependent(event.node)
    config = event.node.config if hung is None else hung.node.config
    audience = narrower(row.audience, audience_of(config))
    if row.item is not None:
        audience = narrower(audience, row.item.audience)
    if audience not in audiences:
        return (Delivery(ids=ids, step=step) if audience is Audience.LOCAL else None), None
    readers, more = recipients.page(event, start)
    told = [
        reader.jid
        for reader in readers
        if audience in audiences_readable(config, reader.facts if hung is None else hung.facts(reader.jid))
    ]
    if more is not None:
        return Delivery(ids=(), event=event, recipients=tuple(told)), more
    by_message = recipients.named(event) if hung is None and start == _FROM_THE_START else ()
    begins = start == _FROM_THE_START
    if not told and not by_message and (begins or isinstance(event, ItemRetracted | NodePurged)):
        told = recipients.witness(event, audience)
    return Delivery(ids=ids, step=step, event=event, recipients=tuple(told), named=by_message), None


def event_of(row: "Owed | LogEntry") -> NodeEvent | None:
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


def size_of(event: NodeEvent | None) -> int:
    """About how many bytes the notification of an event has."""
    return STANZA_BYTES + (len(event.item.payload.encode()) if isinstance(event, ItemPublished) else 0)


class _Recipients:
    """Who at a domain is told of events, in pages: first those who subscribed, then contacts that are interested.

    A contact who is told as a subscriber is not told a second time.
    """

    def __init__(self, tx: Transaction, domain: str, limit_stanzas: int, limit_bytes: int, named: Named) -> None:
        self._tx = tx
        self._named = named
        self._domain = domain
        self._limit_stanzas = limit_stanzas
        self._limit_bytes = limit_bytes
        self._first: dict[tuple[int, int], tuple[list[Reader], After | None]] = {}

    def dependent(self, node: Node) -> Dependent | None:
        """The node with the item on which it depends, if it does."""
        return depending.dependent(self._tx, node)

    def page(self, event: NodeEvent, start: After) -> tuple[list[Reader], After | None]:
        """The next of them, and where the page after that begins."""
        each, limit = size_of(event), self._limit_stanzas
        while limit > 1 and limit * each > self._limit_bytes:
            limit //= 2
        if start != _FROM_THE_START:
            return self._read(event.node, start, limit)
        # Usually all followers are one page, and the next event is of the same node.
        key = event.node.key, limit
        known = self._first.get(key)
        if known is None:
            known = self._first[key] = self._read(event.node, start, limit)
        return known

    def named(self, event: NodeEvent) -> tuple[JID, ...]:
        """Who is told by a message: an item went into another node's log, and the domain keeps none any more."""
        if not isinstance(event, ItemPublished) or event.node.name != MICROBLOG:
            return ()
        return named_elsewhere(self._tx, event.node, event.item, self._domain, self._named)

    def witness(self, event: NodeEvent, audience: Audience) -> list[JID]:
        """Who is told where nobody follows any more, but what is gone, or was for all and has changed, is held."""
        holders, key = self._tx.holders, event.node.key
        witness: JID | None = None
        if isinstance(event, ItemRetracted):
            witness = holders.witness(key, event.item_id, self._domain)
        elif isinstance(event, NodePurged):
            witness = holders.witness_of_any(key, self._domain)
        elif isinstance(event, ItemPublished) and audience is Audience.PUBLIC:
            witness = holders.witness(key, event.item.id, self._domain)
        # Where a log was kept it may be that nobody is known.
        return [] if witness is None or not witness.localpart else [witness]

    def _read(self, node: Node, start: After, limit: int) -> tuple[list[Reader], After | None]:
        readers: list[Reader] = []
        if isinstance(start, int):
            found = self._tx.subscriptions.readers_page(node, self._domain, after=start, limit=limit)
            readers = [reader for reader in found if reader.deliver]
            if len(found) == limit:
                return readers, found[-1].id
            start, limit = "", limit - len(found)
        found = self._tx.interests.readers_page(node, self._domain, after=start, limit=limit)
        # Of contacts that are none any more the row goes a moment after their presence subscription.
        readers += [reader for reader in found if reader.facts.presence]
        return readers, str(found[-1].jid) if len(found) == limit else None


def done(tx: Transaction, deliveries: Sequence[Delivery]) -> None:
    """The other side has confirmed these, and holds what it was told of."""
    held: dict[tuple[int, str], JID] = {}
    for delivery in deliveries:
        event, witness = delivery.event, delivery.witness
        if witness is None or event is None or not is_feed(event.node.name):
            continue
        if isinstance(event, ItemRetracted):
            held.pop((event.node.key, event.item_id), None)
            tx.holders.let_go(event.node.key, event.item_id, witness.domainpart)
        elif isinstance(event, ItemPublished) and still_there(tx, event, witness):
            if delivery.refused:
                tx.holders.refuse(event.node.key, event.item.id, witness, delivery.refused)
            else:
                held[event.node.key, event.item.id] = witness
                owe_edit(tx, event, witness.domainpart)
    tx.holders.hold((*key, witness) for key, witness in held.items())
    tx.outbox.done([id_ for delivery in deliveries for id_ in delivery.ids])
    tx.marks.advance([delivery.step for delivery in deliveries if delivery.step is not None])


def still_there(tx: Transaction, event: ItemPublished, witness: JID) -> bool:
    """Is an item that a domain has just confirmed still there? If it has gone meanwhile, the domain is to know."""
    node = event.node
    if tx.items.position(node.key, event.item.id) is not None:
        return True
    seq = tx.events.retracted_since(node.key, event.item.id, event.seq) or tx.events.purged_since(node.key, event.seq)
    if seq is not None:
        tx.holders.hold([(node.key, event.item.id, witness)])
        tx.outbox.owe((witness.domainpart,), seq)
    return False


def owe_edit(tx: Transaction, event: ItemPublished, domain: str) -> None:
    """A domain has just confirmed an item; when that was edited meanwhile it was perhaps not known that it would."""
    edited = tx.items.position(event.node.key, event.item.id) or 0
    if edited > event.item.position:
        tx.outbox.owe((domain,), edited)


def again(tx: Transaction, domain: str, service: JID, seq: int) -> bool:
    """A notification for many came back from a domain: owe it the event once more; False if that is nothing."""
    found = tx.events.item_of(seq)
    node = None if found is None else tx.nodes.get(found[0])
    if found is None or node is None or node.service != service:
        return False
    # It was sent there: nobody gets it owed by saying so.
    if tx.holders.witness(node.key, found[1], domain) is None:
        return False
    return bool(tx.outbox.owe((domain,), seq))


def refused(tx: Transaction, service: JID, by: JID, seq: int, reason: str) -> None:
    """Somebody elsewhere answered the notification of an event with an error.

    If it was the one by whom we know that their domain holds the item, the next of its followers there stands in; with
    none left, the domain did not take it.
    """
    found = tx.events.item_of(seq)
    node = None if found is None else tx.nodes.get(found[0])
    if found is None or node is None or node.service != service or not is_feed(node.name):
        return
    item_id, witness = found[1], tx.holders.witness(node.key, found[1], by.domainpart)
    if tx.items.position(node.key, item_id) is None or (witness is not None and witness.bare != by.bare):
        return
    followers = tx.subscriptions.readers_page(node, by.domainpart, after=0, limit=REFUSALS_MAX)
    if witness is None and by.bare not in [follower.jid.bare for follower in followers]:
        return
    later = [follower.jid.bare for follower in followers]
    later = later[later.index(by.bare) + 1 :] if by.bare in later else later
    if later:
        tx.holders.hold([(node.key, item_id, later[0])])
    else:
        tx.holders.refuse(node.key, item_id, by.bare, reason)


def failed(tx: Transaction, domain: str, reason: str, jitter: float, permanent: bool = False) -> DomainState:
    """An attempt failed; the answer says when the next one is due. ``jitter``: a random number from -1 to 1.

    ``permanent``: waiting does not heal it. Where that is so for days, a domain is only looked at once a week.
    """
    state = tx.domains.get(domain)
    schedule, failures = Schedule.of(tx.limits), state.failures + 1
    hopeless = (state.permanent_since or tx.now) if permanent else None
    due = retry_at(tx.now, state.failing_since or tx.now, failures, jitter, schedule)
    if due is not None and is_hopeless(tx, replace(state, permanent_since=hopeless, failures=failures)):
        due = tx.now + PROBE * (1 + jitter * schedule.jitter)
    tx.domains.failed(domain, reason, due, permanent_since=hopeless)
    state = tx.domains.get(domain)
    collapsing.failed(tx, state)
    return state


def is_hopeless(tx: Transaction, state: DomainState) -> bool:
    """Has a domain failed for days as one does that is not there any more?"""
    since = state.permanent_since
    return since is not None and tx.now - since >= HOPELESS and state.failures >= HOPELESS_FAILURES


def reached(tx: Transaction, domain: str) -> bool:
    """A domain can be reached and yet there is nothing that may go: True if something may have come meanwhile."""
    return tx.marks.close(domain)


def succeeded(tx: Transaction, domain: str) -> None:
    """A domain took what we sent: whatever failed is forgotten."""
    tx.domains.succeeded(domain)
    tx.marks.close(domain)


def domains_due(tx: Transaction) -> tuple[DomainState, ...]:
    """Every domain that is owed something, with when it is to be tried.

    That was written down by a clock that may have been wrong: nobody waits longer than from an attempt made now.
    """
    known = tx.domains.failing()
    return tuple(
        _no_later(tx, known[domain]) if domain in known else DomainState(domain=domain)
        for domain in tx.outbox.domains()
    )


def _no_later(tx: Transaction, state: DomainState) -> DomainState:
    since = min(state.failing_since or tx.now, tx.now)
    latest = retry_at(tx.now, since, max(1, state.failures), 1, Schedule.of(tx.limits))
    if state.next_attempt is None or latest is None or is_hopeless(tx, state) or state.next_attempt <= latest:
        return state
    return replace(state, next_attempt=latest)


def spread(tx: Transaction) -> tuple[str, ...] | None:
    """Owe the oldest post that is not owed to all its followers yet to the next domains; None: there is none."""
    return tx.fan_outs.proceed()


def backlog(tx: Transaction) -> dict[str, int]:
    """How much each domain is owed."""
    return tx.outbox.backlog()
