"""Lists of people: what those wrote who are in one is a timeline of its own (``reading.people``).

A list is its owner's and nobody else knows of it. Whoever is in it is not followed by that: of people here one reads
what one may read, of people elsewhere what is known here. It is there as long as somebody is in it.
"""

from dataclasses import dataclass
from typing import Final

from microblog.model.errors import ItemNotFound, NotAcceptable, ResourceConstraint
from microblog.model.event import NodeDeleted
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store import events
from microblog.store.transaction import Transaction
from microblog.usecases.reading import fold_list, list_node

LISTS_MAX: Final = 50
MEMBERS_MAX: Final = 500
PEOPLE_MAX: Final = 2000  # in all lists of somebody
# What other timelines are called.
RESERVED: Final = frozenset(("all", "home", "local", "mentions"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListChange:
    """``account``: whose list it is, by its key. ``jid``: who is put in or taken out; None for all."""

    owner: JID
    account: int
    name: str
    jid: JID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """``name``: as it is kept. ``people``: how many are in it now. ``heard``: what they write comes here."""

    name: str
    people: int
    heard: bool = True


def put(tx: Transaction, request: ListChange) -> Listed:
    """Put somebody into a list; again, and nothing changes. Raises NotAcceptable for its name, ResourceConstraint."""
    name, jid = fold_list(request.name), request.jid
    if name in RESERVED:
        raise NotAcceptable("another timeline is called that")
    if jid is None:
        raise NotAcceptable("who is put into it?")
    if tx.people_lists.add(request.account, name, jid.bare):
        names = dict(tx.people_lists.names(request.account))
        if names[name] > MEMBERS_MAX or len(names) > LISTS_MAX or sum(names.values()) > PEOPLE_MAX:
            tx.people_lists.remove(request.account, name, jid.bare)
            raise ResourceConstraint(
                f"no more than {LISTS_MAX} lists, {MEMBERS_MAX} people in each, {PEOPLE_MAX} in all"
            )
    people = dict(tx.people_lists.names(request.account))[name]
    return Listed(name=name, people=people, heard=_heard(tx, jid.bare))


def _heard(tx: Transaction, jid: JID) -> bool:
    if jid.domainpart == tx.domain:
        return True
    node = tx.nodes.find(jid, MICROBLOG)
    return node is not None and tx.subscriptions.count(node) > 0


def take_out(tx: Transaction, request: ListChange) -> Listed:
    """Take somebody out of a list, or everybody; the list ends with the last. Raises ItemNotFound, NotAcceptable."""
    name = fold_list(request.name)
    if request.jid is None:
        found = tx.people_lists.remove_all(request.account, name)
    else:
        found = tx.people_lists.remove(request.account, name, request.jid.bare)
    if not found:
        raise ItemNotFound("nobody like that is in it")
    people = dict(tx.people_lists.names(request.account)).get(name, 0)
    node = None if people else tx.nodes.find(request.owner.bare, list_node(name))
    if node is not None:
        subscribers = tuple(tx.subscriptions.here(node, tx.domain))
        seq = tx.events.record(node.key, events.PURGED)
        tx.nodes.delete(node)
        tx.emit(NodeDeleted(seq=seq, node=node, subscribers=subscribers))
    return Listed(name=name, people=people)


def lists(tx: Transaction, account: int) -> tuple[tuple[str, int], ...]:
    """Somebody's lists, with how many people are in each."""
    return tuple(tx.people_lists.names(account))


def exists(tx: Transaction, owner: JID, name: str) -> bool:
    """Has somebody a list of that name?"""
    try:
        return tx.people_lists.exists(owner, fold_list(name))
    except NotAcceptable:
        return False


def members(tx: Transaction, account: int, name: str) -> tuple[JID, ...]:
    """Who is in a list. Raises ItemNotFound, NotAcceptable."""
    found = tx.people_lists.members(account, fold_list(name))
    if not found:
        raise ItemNotFound("there is no such list")
    return tuple(found)
