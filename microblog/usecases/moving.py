"""XEP-0283: people who have another address now.

Who leaves says so at the old account, in a statement that they publish there. Their followers, here and elsewhere, are
told the new address; that is all: nobody is made to follow it. Of others' moves we take the word of the old account's
own server, and only of accounts that somebody here follows.

Who moved and then ended the old account is still found, if all could read their feed: whoever asks for it is told
where they went.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from microblog.model.access import audience_of
from microblog.model.contact import Contact
from microblog.model.errors import Conflict, NotAcceptable, ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.transaction import Transaction
from microblog.usecases import identity, noticing, publishing, retracting, rostering
from microblog.usecases.publishing import Publish
from microblog.usecases.retracting import Retract

AGAIN: Final = timedelta(minutes=10)  # so often one's followers can be told
TOLD_AGAIN: Final = timedelta(days=1)  # so often people here are told of one account elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An account of ours moves. ``statement``: the payload that says so, ``notice``: tells a follower elsewhere.

    ``outside``: beside the running server.
    """

    account: JID
    to: JID
    node: str
    item_id: str
    statement: str
    notice: Callable[[JID, JID, JID], str]
    outside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """A statement of one of ours has been published; ``notice`` as in ``Move``."""

    account: JID
    to: JID
    notice: Callable[[JID, JID, JID], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Followers here to be told, and the domains that are owed it."""

    here: tuple[JID, ...] = ()
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The server of ``old`` says that it is ``new`` now; None: that it is where it was."""

    old: JID
    new: JID | None


def move(tx: Transaction, request: Move) -> Announced:
    """Publish the statement and tell the followers. Raises NotAcceptable, Conflict, ResourceConstraint."""
    account, to = request.account, request.to
    if not to.localpart or not to.is_bare or to == account:
        raise NotAcceptable("say the address you have now")
    known = tx.moved.get(account)
    if known is not None and known.to == to:
        raise Conflict("this is known already")
    if _was_told(tx, account, AGAIN):
        raise ResourceConstraint("you moved a moment ago")
    wanted = Publish(
        service=account, node=request.node, actor=account, item_id=request.item_id, payload=request.statement
    )
    publishing.publish(tx, wanted)
    announced = announce(tx, Announce(account=account, to=to, notice=request.notice))
    for domain in announced.domains if request.outside else ():
        noticing.owed(tx, domain)
    return announced


def announce(tx: Transaction, request: Announce) -> Announced:
    """Tell the followers of an account of ours, once. Nobody at all if that is known already."""
    account, to = request.account, request.to
    known = tx.moved.get(account)
    if to == account or (known is not None and known.to == to) or _was_told(tx, account, AGAIN):
        return Announced()
    tx.moved.set(account, to)
    node = tx.nodes.find(account, MICROBLOG)
    if node is None:
        return Announced()
    told: dict[str, list[JID]] = {}
    for follower in tx.subscriptions.elsewhere(node, tx.domain):
        told.setdefault(follower.domainpart, []).append(follower)
    for domain, followers in told.items():
        # Another node of our kind tells all of its people who follow.
        some = followers[:1] if tx.peers.get(domain).fanout else followers
        tx.outbox.add_stanzas((domain, request.notice(account, to, follower)) for follower in some)
    here = tuple(dict.fromkeys(follower.bare for follower in tx.subscriptions.here(node, tx.domain)))
    return Announced(here=here, domains=tuple(told))


def take_back(tx: Transaction, account: JID, node: str, item_id: str) -> bool:
    """An account of ours is where it was after all; False if it had not moved. Nobody is told by this."""
    if tx.moved.get(account) is None:
        return False
    tx.moved.remove(account)
    found = tx.nodes.look_up(account, node, item_id)
    if found is not None and found.item is not None:
        retracting.retract(tx, Retract(service=account, node=node, actor=account, item_id=item_id, notify=True))
    return True


def ending(tx: Transaction, account: JID) -> None:
    """An account of ours is about to end. Where its owner went is said to everybody only if all could read them."""
    node = tx.nodes.find(account, MICROBLOG)
    if node is None or audience_of(node.config) is not Audience.PUBLIC:
        tx.moved.remove(account)


def learn(tx: Transaction, request: Learned) -> tuple[JID, ...]:
    """An account elsewhere has moved, says its own server; those here who follow it, if they are to be told now.

    A server that may have another owner is not asked.
    """
    old, new = request.old.bare, request.new
    if old.domainpart == tx.domain or old == new or not identity.trusts(tx, old.domainpart):
        return ()
    known = tx.moved.get(old)
    if new is None:
        tx.moved.remove(old)
        return ()
    if known is not None and known.to == new:
        return ()
    node = tx.nodes.find(old, MICROBLOG)
    followers = [] if node is None else tx.subscriptions.here(node, tx.domain)
    if not followers:
        return ()
    if _was_told(tx, old, TOLD_AGAIN):
        # Whoever asks hears the last; but nobody is called again and again.
        tx.moved.set(old, new, tx.moved.last(old))
        return ()
    tx.moved.set(old, new)
    return tuple(dict.fromkeys(follower.bare for follower in followers if follower.bare != new))


def _was_told(tx: Transaction, account: JID, within: timedelta) -> bool:
    last = tx.moved.last(account)
    return last is not None and tx.now - last < within


def is_account(tx: Transaction, account: JID) -> bool:
    """Is there still such an account here?"""
    return tx.accounts.exists(account.localpart)


def moved(tx: Transaction, addresses: Iterable[JID]) -> dict[JID, JID]:
    """Those who moved, with where they are now."""
    return tx.moved.among(addresses)


def may_vouch(tx: Transaction, account: JID, old: JID) -> Contact | None:
    """Has an old address a right here that may pass to a new one (§4.4: it sees the account's presence)?

    None of a domain that may have another owner has.
    """
    if not identity.trusts(tx, old.domainpart):
        return None
    contact = tx.contacts.get(account, old)
    return contact if contact is not None and contact.sees_us else None


def pass_right(tx: Transaction, account: JID, old: JID, new: JID) -> Contact | None:
    """The old address vouched for the new one, which asks now; the contact that it was until now.

    None if it has lost its right while it was asked: then nothing is written down.
    """
    before = may_vouch(tx, account, old)
    if before is not None:
        rostering.receive_subscription(tx, account, new, "subscribe")
    return before
