"""What is forgotten in time, so that nothing grows for ever.

The log of events is there for other domains that have yet to be told and for our people who were away; a tombstone
keeps a retracted item from being brought back by somebody who is late. After ``DAYS`` nobody is waited for any more:
what a domain has not taken by then, after thirty days of trying and two months without a sign of life, is given up. Not
so the posts of a long backlog, for which marks stand (``collapsing``). Items are never forgotten here, and copies of
others' are removed elsewhere (``storing``). Messages that nobody came for, links that nobody confirmed, and what the
chat remembers go after a time of their own, as does what other nodes have acknowledged; the node of a tag goes with its
last subscription.
"""

from dataclasses import dataclass
from datetime import timedelta

from microblog.store.transaction import Transaction
from microblog.usecases import (
    acting,
    chatting,
    conversing,
    holding,
    informing,
    linking,
    locating,
    reading,
    reporting_abuse,
)

DAYS = 90
LOG_DAYS = 30  # as nodes say to each other
ROWS_MAX = 1000  # at once: others want to write too


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How much went. ``more``: there may be more that is old enough."""

    events: int = 0
    owed: int = 0
    tombstones: int = 0
    more: bool = False


def forget(tx: Transaction) -> Forgotten:
    """Remove what is too old, the oldest first and not all at once."""
    before = tx.now - timedelta(days=DAYS)
    owed = tx.outbox.forget(before, ROWS_MAX)
    tx.holders.forget(before)
    logged = tx.logs.forget(tx.now - timedelta(days=LOG_DAYS), ROWS_MAX)
    events = 0
    if owed < ROWS_MAX:
        tx.programs.forgotten(tx.events.old(before, ROWS_MAX))
        events = tx.events.forget(before, ROWS_MAX)
    calls = informing.forget(tx, ROWS_MAX)
    held = holding.forget(tx, ROWS_MAX)
    linking.forget(tx)
    locating.forget(tx)
    acting.forget(tx)
    conversing.forget(tx)
    chat = chatting.forget(tx, ROWS_MAX)
    tags = reading.forget(tx, ROWS_MAX)
    reports = reporting_abuse.forget(tx, ROWS_MAX)
    return Forgotten(
        events=events,
        owed=owed,
        tombstones=tx.items.forget_tombstones(before),
        more=ROWS_MAX in (reports, owed, logged, events, held, chat, tags, calls),
    )
