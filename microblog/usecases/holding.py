"""XEP-0160: messages to people who are not there are kept until they come, not too many and not for ever."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import Final

from microblog.model.errors import ResourceConstraint
from microblog.model.jid import JID
from microblog.store.held import HeldMessage
from microblog.store.transaction import Transaction

MESSAGES_MAX: Final = 100  # of one account
CHARACTERS_MAX: Final = 300_000  # of them together, so that a stream takes them all at once
DAYS: Final = 30


class Held(Enum):
    """What became of a message."""

    KEPT = auto()
    FULL = auto()
    NOBODY = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """``stanza``: the message as it is to be delivered."""

    account: JID
    stanza: str


def hold(tx: Transaction, request: Hold) -> Held:
    """Keep a message for somebody. Raises ResourceConstraint when the disk is full, whoever it is for."""
    if tx.disk_low:
        raise ResourceConstraint("the server's disk is full")
    account = tx.accounts.get(request.account.localpart)
    if account is None or account.disabled:
        return Held.NOBODY
    count, characters = tx.held.size(account.key)
    if is_full(count + 1, characters + len(request.stanza)):
        return Held.FULL
    tx.held.add(account.key, request.stanza)
    return Held.KEPT


def is_full(count: int, characters: int) -> bool:
    """Is that more than is kept for one?"""
    return count > MESSAGES_MAX or characters > CHARACTERS_MAX


def waiting(tx: Transaction, account: JID) -> tuple[HeldMessage, ...]:
    """What there is for somebody who has come, the oldest first."""
    known = tx.accounts.get(account.localpart)
    return () if known is None else tuple(tx.held.of(known.key, MESSAGES_MAX))


def delivered(tx: Transaction, account: JID, keys: tuple[int, ...]) -> None:
    """They were written to a session."""
    known = tx.accounts.get(account.localpart)
    if known is not None:
        tx.held.remove(known.key, keys)


def forget(tx: Transaction, limit: int) -> int:
    """Forget what nobody came for in time; how many, at most ``limit``."""
    return tx.held.forget(tx.now - timedelta(days=DAYS), limit)
