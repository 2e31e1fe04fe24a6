"""Federation policy: what the administrator says of other domains, and what follows from it.

A domain that is refused is cut off: what waits for it is dropped, its followers and those who are present from there
are forgotten, our people's follows there end with our copies of what they followed, and what its people said in threads
here is taken back. Nothing of that comes back by itself when the domain is allowed again: who follows whom is to be
said anew. (What our people had already sent there, nobody can take back: no retraction is sent where nothing is sent.)
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, func, select, union

from microblog.model.errors import ItemNotFound, NotAcceptable, Refusal
from microblog.model.event import NodeDeleted
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.model.policy import FederationMode, Grade, Rule, Rules, covering
from microblog.store import events, tables
from microblog.store.nodes import NODE_COLUMNS, read_node
from microblog.store.policies import OWN, PolicyList, Storage, at_domain, source
from microblog.store.transaction import Transaction
from microblog.usecases import identity, noticing, queueing
from microblog.usecases.queueing import Queue
from microblog.usecases.retracting import Retract, retract, retract_all_repeats

FOLLOWERS_AT_ONCE = 5000
NODES_AT_ONCE = 20
SAID_MAX = 100_000
REASON_MAX_CHARACTERS = 500
LISTS_MAX = 20
LIST_ENTRIES_MAX = 20_000
_S = tables.subscriptions
_N = tables.nodes
_I = tables.items


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """All there is to say of a domain. ``rules``: those that cover it, the nearest first; ``grade``: what they come to.

    ``follows``, ``followers``: how many people here follow somebody there, and the other way round.
    """

    domain: str
    grade: Grade
    rules: tuple[Rule, ...]
    dialback: bool
    queue: Queue
    storage: Storage
    follows: int
    followers: int
    first_seen: datetime | None
    fanout: bool
    doubted: datetime | None


class Said(NamedTuple):
    """Something that somebody elsewhere said in a node here."""

    service: JID
    node: str
    item_id: str


# rules


def set_grade(tx: Transaction, domain: str, grade: Grade, reason: str = "", *, outside: bool = False) -> Rule:
    """Say how much of a domain, and of all below it, is let in. Raises NotAcceptable for our own."""
    if domain == tx.domain:
        raise NotAcceptable("that is this node's own domain")
    rule = replace(_own(tx, domain), grade=grade, reason=" ".join(reason.split())[:REASON_MAX_CHARACTERS])
    tx.policies.set(rule)
    _changed(tx, outside)
    return rule


def set_dialback(tx: Transaction, domain: str, allowed: bool, *, outside: bool = False) -> Rule:
    """Say whether what is not public may go to a domain that has no certificate. Raises NotAcceptable."""
    if domain == tx.domain:
        raise NotAcceptable("that is this node's own domain")
    rule = replace(_own(tx, domain), dialback=allowed)
    if rule.grade is None and not allowed:
        tx.policies.forget(domain)
    else:
        tx.policies.set(rule)
    _changed(tx, outside)
    return rule


def reset(tx: Transaction, domain: str, *, outside: bool = False) -> None:
    """Say nothing of a domain any more. Raises ItemNotFound if nothing had been said."""
    if not tx.policies.forget(domain):
        raise ItemNotFound(f"there is no rule for {domain}")
    _changed(tx, outside)


def trust(tx: Transaction, domain: str, *, outside: bool = False) -> None:
    """A domain that seemed to be somebody else is the same. Raises ItemNotFound if there was no doubt."""
    if not identity.trust(tx, domain):
        raise ItemNotFound(f"there is no doubt about {domain}")
    if outside:
        noticing.retry(tx, domain)


def _own(tx: Transaction, domain: str) -> Rule:
    known = [rule for rule in tx.policies.of(domain) if rule.source == OWN]
    return known[0] if known else Rule(domain=domain)


def _changed(tx: Transaction, outside: bool) -> None:
    if outside:
        noticing.policy_changed(tx)


def show(tx: Transaction, domain: str, mode: FederationMode) -> Shown:
    """All there is to say of a domain."""
    nearest = list(covering(domain))
    rules = tuple(sorted(tx.policies.covering(domain), key=lambda rule: (nearest.index(rule.domain), rule.source)))
    together = Rules.of(mode, rules)
    peer = tx.peers.get(domain)
    follows, followers = _between(tx, domain)
    return Shown(
        domain=domain,
        grade=together.grade(domain),
        rules=rules,
        dialback=together.dialback_suffices(domain),
        queue=queueing.queue(tx, domain),
        storage=tx.policies.storage(domain),
        follows=follows,
        followers=followers,
        first_seen=peer.first_seen,
        fanout=peer.fanout,
        doubted=peer.doubted,
    )


def _between(tx: Transaction, domain: str) -> tuple[int, int]:
    here = select(func.count()).select_from(_S).join(_N, _N.c.id == _S.c.node_id)
    follows = here.where(_S.c.domain == tx.domain, at_domain(_N.c.service, domain))
    followers = here.where(_S.c.domain == domain)
    return tx.connection.execute(follows).scalar_one(), tx.connection.execute(followers).scalar_one()


# lists


def add_list(tx: Transaction, service: JID, node: str, *, outside: bool = False) -> PolicyList:
    """Go by a list from now on. Raises NotAcceptable for one too many, or one that is followed already."""
    if len(tx.policies.lists()) >= LISTS_MAX:
        raise NotAcceptable(f"at most {LISTS_MAX} lists are followed")
    if not tx.policies.add_list(str(service), node):
        raise NotAcceptable("this list is followed already")
    _changed(tx, outside)
    return PolicyList(service=str(service), node=node, created=tx.now)


def remove_list(tx: Transaction, service: JID, node: str, *, outside: bool = False) -> None:
    """Go by it no more: what only it said counts no more. Raises ItemNotFound."""
    if not tx.policies.remove_list(str(service), node):
        raise ItemNotFound("this list is not followed")
    _changed(tx, outside)


def list_fetched(tx: Transaction, service: str, node: str, rules: Collection[Rule]) -> bool:
    """A list says this now; is that something else than before? One that is not followed any more says nothing."""
    if not any((known.service, known.node) == (service, node) for known in tx.policies.lists()):
        return False
    before = tx.policies.of_source(source(service, node))
    said, says = ({rule.domain: rule for rule in some} for some in (before, rules))
    tx.policies.fetched(
        service,
        node,
        gone=[domain for domain in said if domain not in says or says[domain] != said[domain]],
        new=[rule for domain, rule in says.items() if said.get(domain) != rule],
    )
    return said != says


def list_not_fetched(tx: Transaction, service: str, node: str, problem: str) -> None:
    """A list could not be had: what it said last goes on to count."""
    tx.policies.not_fetched(service, node, problem[:REASON_MAX_CHARACTERS])


# strangers


def is_known(tx: Transaction, account: JID, sender: JID) -> bool:
    """Does an account here have to do with somebody elsewhere, or follow them?"""
    contact = tx.contacts.get(account.bare, sender.bare)
    if contact is not None and (contact.is_seen or contact.sees_us):
        return True
    return bool(tx.subscriptions.follows_at(sender.bare, account.bare))


def take_stranger(tx: Transaction, domain: str) -> bool:
    """A stranger of a domain writes to somebody here: is there room left?"""
    return tx.policies.take_stranger(domain)


# what is refused goes


def present(tx: Transaction) -> list[str]:
    """All other domains that something here is from or for. Reads much: for a reader, once in a while."""
    queued = (tables.outbox, tables.backlog_marks, tables.interests, _S)
    named = union(*(select(table.c.domain).distinct() for table in queued))
    domains = {*tx.connection.execute(named).scalars(), *tx.peers.owed(), *tx.tracks.domains_of_guests()}
    services = select(_N.c.service).distinct()
    said = (
        select(_I.c.publisher)
        .join(_N, _N.c.id == _I.c.node_id)
        .where(_I.c.proof != Proof.LOCAL.value, at_domain(_N.c.service, tx.domain))
        .distinct()
    )
    for found in (services, said):
        domains.update(address.rpartition("@")[2] for address in tx.connection.execute(found).scalars())
    domains.discard(tx.domain)
    return sorted(domains)


def said_by(tx: Transaction, domain: str) -> list[Said]:
    """What people of a domain said in nodes here. Reads much: for a reader."""
    found = (
        select(_N.c.service, _N.c.name, _I.c.item_id)
        .select_from(_I.join(_N, _N.c.id == _I.c.node_id))
        .where(_I.c.proof != Proof.LOCAL.value, at_domain(_I.c.publisher, domain), at_domain(_N.c.service, tx.domain))
        .limit(SAID_MAX)
    )
    return [Said(JID.parse(row[0]), row[1], row[2]) for row in tx.connection.execute(found)]


def unsay(tx: Transaction, said: Said) -> bool:
    """Take back what somebody elsewhere said here, in the name of the node's owner."""
    try:
        retract(
            tx, Retract(service=said.service, node=said.node, actor=said.service, item_id=said.item_id, notify=True)
        )
    except Refusal:
        return False  # it has gone meanwhile
    return True


def sever(tx: Transaction, domain: str, *, outside: bool = False) -> bool:
    """Remove what is for or from a domain, so much at once; True if there is more."""
    if queueing.drop(tx, domain, outside=outside):
        return True
    some = select(_S.c.id).where(_S.c.domain == domain).limit(FOLLOWERS_AT_ONCE)
    if tx.connection.execute(delete(_S).where(_S.c.id.in_(some))).rowcount == FOLLOWERS_AT_ONCE:
        return True
    for table in (tables.follower_sets, tables.interests):
        tx.connection.execute(delete(table).where(table.c.domain == domain))
    tx.connection.execute(delete(tables.bounces).where(at_domain(tables.bounces.c.jid, domain)))
    copies = select(*NODE_COLUMNS).where(at_domain(_N.c.service, domain)).limit(NODES_AT_ONCE)
    nodes = [read_node(row) for row in tx.connection.execute(copies)]
    for node in nodes:
        subscribers = tuple(tx.subscriptions.here(node, tx.domain))
        seq = tx.events.record(node.key, events.PURGED)
        retract_all_repeats(tx, node)
        tx.nodes.delete(node)
        tx.emit(NodeDeleted(seq=seq, node=node, subscribers=subscribers))
    if outside:
        noticing.nodes_deleted(tx)
    if len(nodes) == NODES_AT_ONCE:
        return True
    tx.policies.measured(domain, Storage())
    return False
