"""XEP-0191: people whom somebody does not want to have to do with, one by one or with all of their domain.

For those who are blocked whoever blocked them is not there: what they send does not arrive (``im``), and they are
outcasts at that one's nodes (``store.affiliations``). Neither sees anything of the other in any timeline
(``muting.quiet``). When a block is made, subscriptions end both ways; if there are many a slice at a time. Nobody is
told of a block; that a subscription has ended they are told.

Whoever has several addresses is blocked with all of them, as far as this node knows that they are one (``linking``).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from microblog.model.errors import NotAllowed, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.quiet import Blocks
from microblog.model.subscription import Subscription
from microblog.store.subscriptions import Follow
from microblog.store.transaction import Transaction
from microblog.usecases import following, subscribing

BLOCKS_MAX: Final = 1000
SLICE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """Stanzas that tell elsewhere that a subscription has ended. ``ended``: of somebody to one of our nodes; ``left``:
    of one of ours: the account, the service, the node and the subid."""

    ended: Callable[[Subscription], str]
    left: Callable[[JID, JID, str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Somebody blocks, or unblocks, these addresses: full, bare, or domains. ``own``: the node's own addresses."""

    account: int
    actor: JID
    jids: tuple[JID, ...]
    notices: Notices
    own: frozenset[JID] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """``new``: the addresses that were not blocked before; ``more``: those with which there is more to sever."""

    new: tuple[JID, ...]
    more: tuple[JID, ...] = ()


def blocked(tx: Transaction, account: int) -> tuple[JID, ...]:
    """Whom somebody blocked (§3.2)."""
    return tuple(tx.blocks.of(account))


def block(tx: Transaction, request: Block) -> Blocked:
    """Block addresses (§3.3), all or none. Raises NotAllowed for oneself and this node, ResourceConstraint."""
    for jid in request.jids:
        _check(tx, request, jid)
    known = set(tx.blocks.of(request.account))
    new = tuple(jid for jid in dict.fromkeys(request.jids) if jid not in known)
    if len(known) + len(new) > BLOCKS_MAX:
        raise ResourceConstraint(f"you have blocked as many as one may: {BLOCKS_MAX}")
    for jid in new:
        tx.blocks.add(request.account, jid)
    more = sever(tx, request.actor.bare, new, request.notices)
    return Blocked(new=new, more=new if more else ())


def _check(tx: Transaction, request: Block, jid: JID) -> None:
    linked = tx.linked.account_of(jid) if jid.localpart else None
    if jid.bare == request.actor.bare or (linked is not None and linked.key == request.account):
        raise NotAllowed("that is you")
    if jid.bare in request.own or (jid.domainpart == tx.domain and not jid.localpart):
        raise NotAllowed("this is your own server")


def unblock(tx: Transaction, account: int, jids: Iterable[JID]) -> tuple[JID, ...]:
    """Unblock addresses (§3.4); those that were blocked. What ended stays ended."""
    return tuple(jid for jid in dict.fromkeys(jids) if tx.blocks.remove(account, jid))


def unblock_all(tx: Transaction, account: int) -> tuple[JID, ...]:
    """Unblock everybody (§3.5)."""
    return unblock(tx, account, tx.blocks.of(account))


# what there was between them


def sever(tx: Transaction, account: JID, jids: Iterable[JID], notices: Notices) -> bool:
    """End the subscriptions between one of ours and whom they blocked, a slice; True if there may be more of them."""
    blocks = Blocks.of(name for jid in jids if not jid.resourcepart for name in _names(tx, jid))
    if not blocks:
        return False
    ended = 0
    for subscription in _subscribers(tx, account, blocks):
        if ended == SLICE:
            return True
        node = tx.nodes.find(account, subscription.node)
        if node is not None:
            subscribing.change_state(tx, node, subscription, False, notices.ended)
            ended += 1
    for name in blocks.people:
        tx.interests.lost(account, name)
    for domain in blocks.domains:
        tx.blocks.lose_interests(account, domain)
    left = 0
    for follow in tx.subscriptions.follows(account):
        service = follow.node.service
        if service == account or not blocks.match(service):
            continue
        if left == SLICE:
            return True
        left += 1
        _leave(tx, account, follow, notices)
    return False


def _names(tx: Transaction, jid: JID) -> set[JID]:
    """All addresses of whoever has this one, as far as we know."""
    if not jid.localpart:
        return {jid}
    here = tx.accounts.get(jid.localpart) if jid.domainpart == tx.domain else tx.linked.account_of(jid)
    if here is None:
        return {jid}
    return {jid, here.jid(tx.domain), *(link.jid for link in tx.linked.of(here.key) if link.confirmed)}


def _subscribers(tx: Transaction, account: JID, blocks: Blocks) -> Iterator[Subscription]:
    for name in blocks.people:
        yield from tx.subscriptions.at_service(account, name)
    for domain in blocks.domains:
        yield from tx.blocks.subscribers_at(account, domain, SLICE + 1)


def _leave(tx: Transaction, account: JID, follow: Follow, notices: Notices) -> None:
    node, subscription = follow.node, follow.subscription
    if node.service.domainpart == tx.domain:
        wanted = subscribing.Unsubscribe(service=node.service, node=node.name, actor=account, jid=subscription.jid)
        subscribing.unsubscribe(tx, wanted)
        return
    notice = None if follow.implicit else notices.left(account, node.service, node.name, subscription.subid)
    ended = following.Unfollow(account=account, service=node.service, node=node.name, notice=notice)
    following.record_unsubscribe(tx, ended)


def unfinished(tx: Transaction) -> dict[JID, tuple[JID, ...]]:
    """Whom each has blocked with whom there may be something left to sever: domains, and very many people."""
    found: dict[JID, list[JID]] = {}
    for account, jid in tx.blocks.all():
        if not jid.resourcepart:
            found.setdefault(account, []).append(jid)
    left = {
        account: tuple(jid for jid in jids if not jid.localpart or len(jids) > SLICE) for account, jids in found.items()
    }
    return {account: jids for account, jids in left.items() if jids}
