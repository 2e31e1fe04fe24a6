"""Reaching somebody in chat with what is not a post: a text to a person, as far as they want to be told by chat.

At home the text is a message as any other, and is kept for who is not there; to their addresses elsewhere it is owed.

What others say to somebody's post in emoji is told its author like that, with the number by which they know the post.
"""

from collections.abc import Callable
from dataclasses import dataclass

from microblog.model.access import may_leave
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress
from microblog.store.transaction import Transaction
from microblog.usecases import chatting, depending
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
    if delivery is None or chatting.EVERYTHING in delivery.paused:
        return None
    away = [link.jid for link in tx.linked.of(account.key) if link.confirmed]
    for jid in away:
        tx.outbox.add_stanza(jid.domainpart, request.write(delivery, jid))
    return Reached(delivery=delivery, domains=tuple(dict.fromkeys(jid.domainpart for jid in away)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Somebody says something to an item, for those of an audience. ``write`` makes the stanza for an address
    elsewhere, with the number of the item; ``later``: nothing is written there now."""

    about: ItemAddress
    by: JID
    audience: Audience
    write: Callable[[Delivery, int, JID], str]
    later: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Remarked(Reached):
    """``author``: whose item it is; ``number``: by which they know it."""

    author: JID
    number: int


def author(tx: Transaction, about: ItemAddress) -> JID | None:
    """Whose post or comment that is; None if it is not here."""
    if about.node != MICROBLOG and not depending.is_comments(about.node):
        return None
    found = tx.nodes.look_up(about.service, about.node, about.item_id or "")
    if found is None or found.item is None:
        return None
    return about.service if about.node == MICROBLOG else found.item.publisher


def remark(tx: Transaction, request: Remark) -> Remarked | None:
    """Tell the author of a post or comment what is said to it; None if there is nobody to be told."""
    about, whose = request.about, author(tx, request.about)
    if whose is None:
        return None
    account = tx.accounts.get(whose.localpart) if whose.domainpart == tx.domain else None
    if account is None or account.disabled or whose == request.by.bare:
        return None
    delivery = chatting.delivery(tx, account.localpart)
    if delivery is None or chatting.EVERYTHING in delivery.paused:
        return None
    # A comment of theirs is known to them as the post in their own feed, if it is there.
    own = ItemAddress(whose, MICROBLOG, about.item_id)
    copied = tx.nodes.look_up(own.service, own.node, own.item_id or "")
    if copied is not None and copied.item is not None and copied.item.publisher == whose:
        about = own
    number = chatting.show(tx, account.key, [about], [])[about]
    domains = {}
    for link in tx.linked.of(account.key):
        if (
            not request.later
            and link.confirmed
            and may_leave(request.audience, link.jid.domainpart, local_domain=tx.domain)
        ):
            stanza = request.write(delivery, number, link.jid)
            tx.outbox.add_stanza(link.jid.domainpart, stanza, request.audience)
            domains[link.jid.domainpart] = True
    return Remarked(author=whose, delivery=delivery, number=number, domains=tuple(domains))
