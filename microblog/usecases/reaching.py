"""Reaching somebody in chat with what is not a post: a text to a person, as far as they want to be told by chat.

At home the text is a message as any other, and is kept for who is not there; to their addresses elsewhere it is owed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from microblog.model.jid import JID
from microblog.store.transaction import Transaction
from microblog.usecases import chatting
from microblog.usecases.chatting import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """``write`` makes the stanza for an address elsewhere."""

    account: JID
    write: Callable[[Delivery, JID], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How it is said at home, and the domains that are owed it."""

    delivery: Delivery
    domains: tuple[str, ...]


def reach(tx: Transaction, request: Reach) -> Reached | None:
    """Tell somebody here something; None if they do not want to be told by chat."""
    account = tx.accounts.get(request.account.localpart)
    if request.account.domainpart != tx.domain or account is None or account.disabled:
        return None
    delivery = chatting.delivery(tx, account.localpart)
    if delivery is None:
        return None
    away = [link.jid for link in tx.linked.of(account.key) if link.confirmed]
    for jid in away:
        tx.outbox.add_stanza(jid.domainpart, request.write(delivery, jid))
    return Reached(delivery=delivery, domains=tuple(dict.fromkeys(jid.domainpart for jid in away)))
