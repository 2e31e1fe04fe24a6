"""XEP-0160: messages to people who are not there are kept until they come, not too many and not for ever.

They are kept for those who may know that there is such an account: who may know of its feed, whom its presence goes to
or comes from, whose posts it follows. To anybody else it is as if there were none.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from microblog.model.access import visible
from microblog.model.account import Account
from microblog.model.contact import Subscription
from microblog.model.errors import ResourceConstraint
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.held import HeldMessage
from microblog.store.transaction import Transaction

MESSAGES_MAX: Final = 100  # of one account
CHARACTERS_MAX: Final = 300_000  # of them together, so that a stream takes them all at once
DAYS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """``stanza``: the message as it is to be delivered."""

    account: JID
    sender: JID
    stanza: str


def hold(tx: Transaction, request: Hold) -> bool:
    """Keep a message for somebody; False if there is nobody, or no room. Raises ResourceConstraint for a full disk."""
    account = tx.accounts.get(request.account.localpart)
    if account is None or account.disabled or not _may_know(tx, account, request.sender.bare):
        return False
    count, characters = tx.held.size(account.key)
    if count >= MESSAGES_MAX or characters + len(request.stanza) > CHARACTERS_MAX:
        return False
    if tx.disk_low:
        raise ResourceConstraint("the server's disk is full")
    tx.held.add(account.key, request.stanza)
    return True


def _may_know(tx: Transaction, account: Account, sender: JID) -> bool:
    """May they know that there is this account?"""
    address = account.jid(tx.domain)
    if sender in (address, JID("", tx.domain)):
        return True
    feed = tx.nodes.find(address, MICROBLOG)
    if feed is not None and visible(feed.config, tx.affiliations.facts(feed, sender)):
        return True
    contact = tx.contacts.get(address, sender)
    if contact is not None and (contact.subscription is not Subscription.NONE or contact.ask):
        return True
    link = tx.linked.find(sender, account.key)
    if link is not None and link.confirmed:
        return True
    followed = tx.nodes.find(sender, MICROBLOG)
    return followed is not None and tx.subscriptions.find(followed, address) is not None


def add(tx: Transaction, account: JID, stanza: str) -> int | None:
    """Keep a message that is known to be wanted; its key, None if there is nobody or no room."""
    known = tx.accounts.get(account.localpart) if account.domainpart == tx.domain else None
    if known is None or known.disabled:
        return None
    count, characters = tx.held.size(known.key)
    if count >= MESSAGES_MAX or characters + len(stanza) > CHARACTERS_MAX:
        return None
    return tx.held.add(known.key, stanza)


def take_back(tx: Transaction, account: JID, sender: JID, words: str) -> bool:
    """Remove messages of a sender's that nobody has read and that have these words in them; were there any?"""
    known = tx.accounts.get(account.localpart) if account.domainpart == tx.domain else None
    if known is None:
        return False
    by = f"from='{sender}'"
    held = tx.held.of(known.key, MESSAGES_MAX)
    keys = [one.key for one in held if words in one.stanza and by in one.stanza.partition(">")[0]]
    if keys:
        tx.held.remove(known.key, keys)
    return bool(keys)


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
