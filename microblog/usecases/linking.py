"""People who have an address elsewhere already, and use it: how they join, how addresses are linked to an account.

An address counts once both sides have said so. The account says ``link juliet@capulet.example``, the node writes to
that address, and from there comes ``link romeo``; or the other way round. Whoever joins with an invitation, or is
enrolled because the administrator named their domain, gets an account that has that address and no password: the
address is the only way into it, and so cannot be unlinked before there is another one.

An address that asks for an account is told nothing of it: not that it exists, nor that too many ask.

A linked address acts in its account's name (``acting``). It subscribes in its own, because that is where notifications
go; at its account's nodes it is listed as a member.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar

from microblog.model.account import SHA_256, Account
from microblog.model.errors import Conflict, ItemNotFound, NotAcceptable, NotAllowed
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.model.link import Link
from microblog.model.node import AccessModel
from microblog.model.subscription import Affiliation, Subscription
from microblog.store.transaction import Transaction
from microblog.usecases import identity, owning, registering, subscribing
from microblog.usecases.settling import LANGUAGE

PENDING_DAYS: Final = 2
ASK_AGAIN: Final = timedelta(minutes=10)
ADDRESSES_MAX: Final = 10  # of one account
ASKING_MAX: Final = 5  # addresses that ask one account, and accounts that one address asks for

T = TypeVar("T")
# Makes the stanza for somebody in their language, as text.
Notice = Callable[[JID, str], str]


class Acts(Protocol):
    """A request that somebody makes."""

    @property
    def actor(self) -> JID:
        """Who."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """``jid`` wants an account: with an invitation's ``token``, or ``enrolled`` by its domain's name.

    ``name``: how it is to be called; by default as the address.
    """

    jid: JID
    token: str | None = None
    name: str | None = None
    enrolled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAddress:
    """An account says that an address is its own. ``ask`` is written to the address, or ``tell`` if that confirms."""

    account: Account
    jid: JID
    ask: Notice
    tell: Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAccount:
    """An address says that an account is its own. ``ask`` is written to the account, or ``tell`` if that confirms.

    ``quiet``: the account was asked so often that it is not asked now.
    """

    jid: JID
    name: str
    ask: Notice
    tell: Notice
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """``confirmed``: it counts now. ``here``: a stanza for the account's sessions. ``domains`` are owed something."""

    confirmed: bool
    here: tuple[JID, str] | None = None
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlink:
    """One of the two does not want it any more. ``notice``: tells a subscription that ends with it."""

    account: Account
    jid: JID
    notice: Callable[[Subscription], str]


# Joining


def join(tx: Transaction, request: Join) -> Account:
    """Make an account without a password for an address.

    Raises: Conflict if the address is linked, NotAllowed for the invitation, and as ``registering.create_account``.
    """
    known = tx.linked.account_of(request.jid)
    if known is not None:
        raise Conflict(f"this address is {known.localpart}'s already")
    name = request.name or request.jid.localpart
    if request.token is None and not request.enrolled:
        raise NotAllowed("an invitation is needed here")
    account = registering.register(tx, name, (), request.token)
    tx.linked.add(request.jid, account.key, asked_there=True)
    tx.linked.confirm(request.jid, account.key)
    return account


def is_invitation(tx: Transaction, token: str) -> bool:
    """Is it an invitation that can be used?"""
    try:
        registering.check_invite(tx, token)
    except NotAllowed:
        return False
    return True


# Linking


def link_address(tx: Transaction, request: LinkAddress) -> Linked:
    """Raises: NotAcceptable, Conflict."""
    account, jid = request.account, request.jid.bare
    if not jid.localpart or jid.domainpart == tx.domain:
        raise NotAcceptable("link an address of somebody at another domain")
    known = _fresh(tx, tx.linked.find(jid, account.key))
    if known is not None and known.confirmed:
        raise Conflict("this address is linked already")
    if known is not None and known.asked_there and tx.linked.account_of(jid) is None:
        tx.linked.confirm(jid, account.key)
        return Linked(confirmed=True, domains=_write(tx, jid, request.tell, _language(tx, account)))
    mine = [link for link in tx.linked.of(account.key) if link.confirmed or not link.asked_there]
    if known is None and len(mine) >= ADDRESSES_MAX:
        raise Conflict(f"an account has at most {ADDRESSES_MAX} addresses")
    if not _ask(tx, known, jid, account, asked_there=False):
        return Linked(confirmed=False)
    return Linked(confirmed=False, domains=_write(tx, jid, request.ask, _language(tx, account)))


def link_account(tx: Transaction, request: LinkAccount) -> Linked:
    """Raises Conflict for an address that has an account."""
    jid = request.jid.bare
    known = tx.linked.account_of(jid)
    if known is not None:
        raise Conflict(f"this address is {known.localpart}'s already")
    account = tx.accounts.get(request.name)
    if account is None or account.disabled:
        return Linked(confirmed=False)
    link = _fresh(tx, tx.linked.find(jid, account.key))
    if link is not None and not link.asked_there:
        tx.linked.confirm(jid, account.key)
        return _tell_account(tx, account, request.tell, confirmed=True)
    if request.quiet:
        return Linked(confirmed=False)
    asking = [other for other in tx.linked.of(account.key) if other.asked_there and not other.confirmed]
    if link is None and max(len(asking), len(tx.linked.of_jid(jid))) >= ASKING_MAX:
        return Linked(confirmed=False)
    if not _ask(tx, link, jid, account, asked_there=True):
        return Linked(confirmed=False)
    return _tell_account(tx, account, request.ask, confirmed=False)


def unlink(tx: Transaction, request: Unlink) -> Linked:
    """End it, whether it counted or was only asked for.

    Raises: ItemNotFound if there is nothing between the two, NotAllowed for the last way into the account.
    """
    account, jid = request.account, request.jid.bare
    link = tx.linked.find(jid, account.key)
    if link is None:
        raise ItemNotFound("this address is not linked")
    if link.confirmed and tx.linked.count(account.key) == 1 and tx.accounts.keys(account.localpart, SHA_256) is None:
        raise NotAllowed("this address is the only way into the account: link another one first")
    tx.linked.remove(jid, account.key)
    domains = _strike(tx, account, jid, request.notice) if link.confirmed else ()
    return Linked(confirmed=False, domains=domains)


def refuse(tx: Transaction, jid: JID, name: str) -> None:
    """An address does not want to be an account's that asked for it. Says nothing, as ``link_account``."""
    account = tx.accounts.get(name)
    link = None if account is None else tx.linked.find(jid, account.key)
    if account is not None and link is not None and not link.confirmed:
        tx.linked.remove(jid.bare, account.key)


def addresses(tx: Transaction, account: Account) -> tuple[Link, ...]:
    """Those of an account, and those that would be."""
    return tuple(link for link in tx.linked.of(account.key) if _fresh(tx, link) is not None)


def forget(tx: Transaction) -> int:
    """Forget what was asked and not confirmed in time; how many."""
    return tx.linked.forget(tx.now - timedelta(days=PENDING_DAYS))


def _fresh(tx: Transaction, link: Link | None) -> Link | None:
    if link is None or link.confirmed or tx.now - link.created < timedelta(days=PENDING_DAYS):
        return link
    tx.linked.remove(link.jid, link.account)
    return None


def _ask(tx: Transaction, known: Link | None, jid: JID, account: Account, *, asked_there: bool) -> bool:
    """Write it down; False if the other side was asked a moment ago."""
    if known is not None:
        if known.asked_there == asked_there and tx.now - known.created < ASK_AGAIN:
            return False
        tx.linked.remove(jid, account.key)
    tx.linked.add(jid, account.key, asked_there=asked_there)
    return True


def _write(tx: Transaction, jid: JID, notice: Notice, language: str) -> tuple[str, ...]:
    tx.outbox.add_stanza(jid.domainpart, notice(jid, language))
    return (jid.domainpart,)


def _tell_account(tx: Transaction, account: Account, notice: Notice, *, confirmed: bool) -> Linked:
    """Write to all that is the account's: where it logs in, and its addresses elsewhere."""
    language, address = _language(tx, account), account.jid(tx.domain)
    domains: tuple[str, ...] = ()
    for link in tx.linked.of(account.key):
        if link.confirmed:
            domains += _write(tx, link.jid, notice, language)
    return Linked(confirmed=confirmed, here=(address, notice(address, language)), domains=domains)


def _language(tx: Transaction, account: Account) -> str:
    return tx.preferences.get(account.key, LANGUAGE) or "en"


# Acting


def owner(tx: Transaction, jid: JID) -> Account | None:
    """The account that an address acts for; none while its domain may have another owner than when it was linked."""
    return tx.linked.account_of(jid) if identity.trusts(tx, jid.domainpart) else None


def acting(tx: Transaction, use_case: Callable[[Transaction, Any], T], request: Acts) -> T:
    """The use case, done by the account whose address the actor's is, if it is anybody's.

    What it publishes is as good as written here: whoever it is was proven before this was called.
    """
    account = owner(tx, request.actor)
    if account is not None and not account.disabled:
        acts: dict[str, Any] = {"actor": account.jid(tx.domain)}
        if hasattr(request, "proof"):
            acts["proof"] = Proof.LOCAL
        request = replace(request, **acts)  # type: ignore[type-var]  # every request is a dataclass
    return use_case(tx, request)


def subscribe(tx: Transaction, request: subscribing.Subscribe) -> subscribing.Subscribed:
    """Subscribe in the address's own name, at its account's nodes as a member. Raises as ``subscribing.subscribe``."""
    account = owner(tx, request.actor)
    if account is not None and not account.disabled and request.service == account.jid(tx.domain):
        node = subscribing.local_node(tx, request.service, request.node)
        if tx.affiliations.facts(node, request.actor).affiliation is Affiliation.NONE:
            tx.affiliations.set(node, request.actor, Affiliation.MEMBER)
    return subscribing.subscribe(tx, request)


def _strike(tx: Transaction, account: Account, jid: JID, notice: Callable[[Subscription], str]) -> tuple[str, ...]:
    """It is a member at the account's nodes no more; its subscriptions end where that was its only right to them."""
    service = account.jid(tx.domain)
    struck = [known for known in tx.affiliations.of_jid(service, jid) if known.affiliation is Affiliation.MEMBER]
    for known in struck:
        owning.set_affiliations(
            tx,
            owning.SetAffiliations(
                service=service,
                node=known.node,
                actor=service,
                changes=((jid, Affiliation.NONE),),
                notice=notice,
            ),
        )
        node = tx.nodes.find(service, known.node)
        if node is not None and node.config.access_model is not AccessModel.OPEN:
            # Nobody let the address in for its own sake.
            for subscription in tx.subscriptions.of_bare(node, jid):
                subscribing.change_state(tx, node, subscription, False, notice)
    return (jid.domainpart,) if struck else ()
