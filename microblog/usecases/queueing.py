"""What waits for other domains, as administrators see it: states, backlogs, an attempt now, and an end to waiting.

A domain is *unknown* until something was sent there, *ok* while it takes what is sent, *retrying* from its first
failure, *backlogged* when that was a day ago, and *dormant* when it is tried no more, or only once a week.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update

from microblog.model.errors import ItemNotFound
from microblog.store import tables
from microblog.store.domains import DomainState
from microblog.store.transaction import Transaction
from microblog.usecases import noticing
from microblog.usecases.delivering import HOPELESS, is_hopeless

BACKLOGGED_AFTER = timedelta(days=1)
ALARM_AFTER = timedelta(hours=4)
DROPPED_AT_ONCE = 10_000
_OUTBOX = tables.outbox
_MARKS = tables.backlog_marks
_LOG = tables.delivery_log
_PEERS = tables.peers
_REMOTE = tables.remote_domains
_CHECKED = "alarms.checked"


class State(StrEnum):
    """How it is with a domain."""

    UNKNOWN = "unknown"
    OK = "ok"
    RETRYING = "retrying"
    BACKLOGGED = "backlogged"
    DORMANT = "dormant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What waits for a domain: notifications that are written down one by one, feeds that are to be told of from where
    it stopped (``feeds``), and what was sent and not confirmed (``sent``). ``since``: when the oldest of it came.
    """

    domain: str
    state: State
    rows: int = 0
    feeds: int = 0
    sent: int = 0
    since: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    last_error: str = ""
    last_success: datetime | None = None
    next_attempt: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """Domains of which administrators are to be told: they have failed for some hours, or are given up."""

    failing: tuple[str, ...] = ()
    dormant: tuple[str, ...] = ()


def state(tx: Transaction, domain: str) -> State:
    """How it is with a domain."""
    return state_of(tx, tx.domains.get(domain))


def state_of(tx: Transaction, known: DomainState) -> State:
    """The same of what is known of it."""
    if not known.failures or known.failing_since is None:
        return State.UNKNOWN if known.last_success is None else State.OK
    failing = tx.now - known.failing_since
    given_up = known.next_attempt is None or failing >= timedelta(days=tx.limits.outbox_retry_days)
    if given_up or is_hopeless(tx, known):
        return State.DORMANT
    return State.BACKLOGGED if failing >= BACKLOGGED_AFTER else State.RETRYING


def queues(tx: Transaction) -> list[Queue]:
    """Every domain that is owed something or fails, the longest backlog first."""
    rows = {
        domain: (count, since)
        for domain, count, since in tx.connection.execute(
            select(_OUTBOX.c.domain, func.count(), func.min(_OUTBOX.c.created)).group_by(_OUTBOX.c.domain)
        )
    }
    marks = {
        domain: (count, since)
        for domain, count, since in tx.connection.execute(
            select(_MARKS.c.domain, func.count(), func.min(_MARKS.c.created)).group_by(_MARKS.c.domain)
        )
    }
    pending = (_PEERS.c.number - _PEERS.c.acknowledged).label("pending")
    sent = {
        domain: count for domain, count in tx.connection.execute(select(_PEERS.c.domain, pending).where(pending > 0))
    }
    failing = tx.connection.execute(select(_REMOTE.c.domain).where(_REMOTE.c.failures > 0)).scalars()
    found = [
        _queue(tx, domain, *rows.get(domain, (0, None)), *marks.get(domain, (0, None)), sent.get(domain, 0))
        for domain in sorted({*rows, *marks, *sent, *failing})
    ]
    return sorted(found, key=lambda queue: -(queue.rows + queue.sent + queue.feeds))


def queue(tx: Transaction, domain: str) -> Queue:
    """What waits for one domain."""
    row = tx.connection.execute(
        select(func.count(), func.min(_OUTBOX.c.created)).where(_OUTBOX.c.domain == domain)
    ).one()
    mark = tx.connection.execute(
        select(func.count(), func.min(_MARKS.c.created)).where(_MARKS.c.domain == domain)
    ).one()
    peer = tx.peers.get(domain)
    return _queue(tx, domain, row[0], row[1], mark[0], mark[1], peer.number - peer.acknowledged)


def _queue(
    tx: Transaction, domain: str, rows: int, since: datetime | None, feeds: int, marked: datetime | None, sent: int
) -> Queue:
    known = tx.domains.get(domain)
    return Queue(
        domain=domain,
        state=state_of(tx, known),
        rows=rows,
        feeds=feeds,
        sent=sent,
        since=min((one for one in (since, marked) if one is not None), default=None),
        failures=known.failures,
        failing_since=known.failing_since,
        last_error=known.last_error,
        last_success=known.last_success,
        next_attempt=known.next_attempt,
    )


def retry(tx: Transaction, domain: str, *, outside: bool = False) -> Queue:
    """One attempt now, in whatever state it is. Raises ItemNotFound if nothing waits for it."""
    found = queue(tx, domain)
    if not (found.rows or found.feeds or found.sent):
        raise ItemNotFound(f"nothing waits for {domain}")
    if outside:
        noticing.retry(tx, domain)
    return found


def drop(tx: Transaction, domain: str, *, outside: bool = False) -> bool:
    """What waits for a domain is never sent, so many pieces of it at once; True if there is more."""
    first = select(_OUTBOX.c.id).where(_OUTBOX.c.domain == domain).order_by(_OUTBOX.c.id).limit(DROPPED_AT_ONCE)
    gone = tx.connection.execute(delete(_OUTBOX).where(_OUTBOX.c.id.in_(first))).rowcount
    tx.connection.execute(delete(_MARKS).where(_MARKS.c.domain == domain))
    # Numbers that were given stay, and nothing stands behind them: who misses them can fetch that.
    peer = tx.peers.get(domain)
    if peer.number > peer.acknowledged:
        pending = update(_LOG).where(_LOG.c.domain == domain, _LOG.c.number > peer.acknowledged)
        tx.connection.execute(pending.values(node_id=None, item_id=None))
        tx.peers.set(domain, acknowledged=peer.number)
    if gone == DROPPED_AT_ONCE:
        return True
    if outside:
        noticing.dropped(tx, domain)
    return False


def alarms(tx: Transaction) -> Alarms:
    """Of which domains administrators have not been told yet: those that cross the line since they were last told."""
    before = tx.settings.get(_CHECKED)
    since = datetime.fromisoformat(before) if before else tx.now
    tx.settings.set(_CHECKED, tx.now.isoformat())
    month = timedelta(days=tx.limits.outbox_retry_days)
    return Alarms(
        failing=_failing_between(tx, since - ALARM_AFTER, tx.now - ALARM_AFTER),
        dormant=tuple(
            sorted(
                {
                    *_failing_between(tx, since - month, tx.now - month),
                    *_failing_between(tx, since - HOPELESS, tx.now - HOPELESS, _REMOTE.c.permanent_since),
                }
            )
        ),
    )


def _failing_between(
    tx: Transaction, after: datetime, upto: datetime, began: ColumnElement[Any] = _REMOTE.c.failing_since
) -> tuple[str, ...]:
    found = (
        select(_REMOTE.c.domain).where(began > after, began <= upto, _REMOTE.c.failures > 0).order_by(_REMOTE.c.domain)
    )
    return tuple(tx.connection.execute(found).scalars())
