"""docs/protocol/fanout.md §8.2: whether another domain is still the node that it was.

A domain can lapse and be registered by somebody else, who then has every right to its certificate. But a renewed
certificate keeps the epoch of the node's delivery log, and a node that was restored from a backup keeps its key: who
has another key and at once another epoch, or no log any more, has begun anew. Such a domain is doubted: what is not
public is held for it, and its word changes nothing that is already here, until an administrator says that it is
trusted.

It is only what was proved by certificate that is compared, and written down in the same transaction, so that the two
do not change one after the other without being noticed.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.store.transaction import Transaction

CHANGED: Final = "identity-changed"  # the problem of those who follow somebody there
_EPOCH: Final = "epoch"
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


def epoch(tx: Transaction) -> str:
    """Of our own delivery logs; made when first asked for, so first ask in a write."""
    return tx.settings.get(_EPOCH) or new_epoch(tx)


def new_epoch(tx: Transaction) -> str:
    """Our logs begin anew: what we have is older than what others were told."""
    made = secrets.token_urlsafe(12)
    tx.settings.set(_EPOCH, made)
    return made


def last_event(tx: Transaction) -> int:
    """How far the database has come."""
    return tx.events.last()


def restored(tx: Transaction, seen: int) -> bool:
    """Was the database further once than it is now? Then our logs begin anew."""
    if tx.events.last() >= seen:
        return False
    new_epoch(tx)
    return True


def trusts(tx: Transaction, domain: str) -> bool:
    """False while a domain seems to be somebody else now than it was."""
    return tx.peers.get(domain).doubted is None


def leaving(tx: Transaction, reader: JID, audiences: frozenset[Audience]) -> frozenset[Audience]:
    """Of what may go to a reader, that which goes there while it is not sure who they are: what is public."""
    here = reader.domainpart == tx.domain
    return audiences if here or trusts(tx, reader.domainpart) else audiences & {Audience.PUBLIC}


def trust(tx: Transaction, domain: str) -> bool:
    """The administrator knows who it is; False if there was no doubt."""
    if trusts(tx, domain):
        return False
    tx.peers.set(domain, doubted=None)
    tx.subscriptions.set_health_at(domain, _LONG_AGO, CHANGED)  # until it was asked, soon
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a domain says it can do; ``epoch`` is empty if it is no node with a log."""

    fanout: bool = False
    max_bytes: int = 0
    max_entries: int = 0
    epoch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """``key``: of the certificate it has proved itself with, empty without one; ``answer``: None if it gave none."""

    domain: str
    key: str = ""
    answer: Answer | None = None


def learn(tx: Transaction, request: Learned) -> bool:
    """Write down what a domain has shown; True if it is doubted from now on."""
    known, answer, key = tx.peers.get(request.domain), request.answer, request.key
    columns: dict[str, Any] = {}
    if answer is not None:
        columns |= {
            "asked": tx.now,
            "fanout": answer.fanout,
            "max_bytes": answer.max_bytes,
            "max_entries": answer.max_entries,
        }
    anew = bool(key and known.key and key != known.key)
    doubted = False
    if anew and known.epoch:
        if answer is None:
            # Whether it is only a new certificate cannot be said before it has answered.
            return False
        doubted = answer.epoch != known.epoch
    if key and key != known.key:
        columns["key"] = key
    # Without a certificate nobody changes one half of what is compared.
    if answer is not None and (key or not known.key) and (answer.epoch or doubted) and answer.epoch != known.epoch:
        columns["epoch"] = answer.epoch
    if doubted and known.doubted is None:
        columns["doubted"] = tx.now
        tx.subscriptions.set_health_at(request.domain, tx.now, CHANGED)
    if columns:
        tx.peers.set(request.domain, **columns)
    return doubted and known.doubted is None


def no_log(tx: Transaction, domain: str) -> None:
    """It refuses what a node with a delivery log takes."""
    tx.peers.set(domain, fanout=False, asked=tx.now)
