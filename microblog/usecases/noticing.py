"""How a running server learns what was done beside it: an administrator's command line is another process.

What such a command does is in the database at once, and so is true for whoever asks the database. But a server also
holds things in memory and open: sessions, the contacts of those who are on line, who reads which node, timers of the
outbox. So a use case that is told that it runs ``outside`` writes down, in its own transaction, what a server would
have heard of it (``keys_changed``, ``contact_moved``, ``nodes_deleted``, ``owed``, ``policy_changed``, ``retry``,
``dropped``, ``webhooks_changed``); and the server looks from time to time whether there is ``anything`` and does
``take`` it. It takes it as a writer does, so what it is told is newer than all it has written before and older than
what it writes next. A server that starts has nothing in memory and may ``forget``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from microblog.model.event import NodeDeleted
from microblog.model.jid import JID
from microblog.model.node import Node, NodeConfig
from microblog.store import outside
from microblog.store.transaction import Transaction
from microblog.usecases.rostering import Change

TAKEN_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A contact of an account of ours is not what it was; ``type``: the presence stanza that did it, without it."""

    change: Change
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What happened: accounts that have other keys or are gone, contacts, nodes, domains with something to be sent.

    ``policy``: rules for other domains changed. ``retry``: domains to be tried now. ``dropped``: those owed nothing.
    ``webhooks``: there are others than before, or they are to be called again.
    """

    keys: frozenset[JID] = frozenset()
    contacts: tuple[Moved, ...] = ()
    nodes: tuple[NodeDeleted, ...] = ()
    owed: frozenset[str] = frozenset()
    policy: bool = False
    retry: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()
    webhooks: bool = False


# Outside


def keys_changed(tx: Transaction, localpart: str) -> None:
    """An account has another password, none that fits any more, or is gone."""
    tx.outside_changes.add(outside.KEYS, localpart=localpart)


def contact_moved(tx: Transaction, change: Change, type_: str) -> None:
    """What a presence stanza did to a contact of an account of ours."""
    if change.route or change.push:
        tx.outside_changes.add(outside.CONTACT, localpart=change.owner.localpart, jid=str(change.jid), type=type_)


def nodes_deleted(tx: Transaction) -> None:
    """The nodes that this transaction has deleted."""
    for event in tx.emitted:
        if isinstance(event, NodeDeleted):
            node = event.node
            tx.outside_changes.add(
                outside.NODE,
                seq=event.seq,
                key=node.key,
                service=str(node.service),
                name=node.name,
                told=node.config.notify_delete and node.config.deliver_notifications,
                type=node.config.notification_type,
                domains=event.domains,
            )


def owed(tx: Transaction, domain: str) -> None:
    """Something was put into the outbox for a domain."""
    tx.outside_changes.add(outside.OWED, domain=domain)


def policy_changed(tx: Transaction) -> None:
    """The rules for other domains, or the lists that are followed, are not what they were."""
    tx.outside_changes.add(outside.POLICY)


def retry(tx: Transaction, domain: str) -> None:
    """A domain is to be tried now, in whatever state it is."""
    tx.outside_changes.add(outside.RETRY, domain=domain)


def dropped(tx: Transaction, domain: str) -> None:
    """A domain is owed nothing any more."""
    tx.outside_changes.add(outside.DROPPED, domain=domain)


def webhooks_changed(tx: Transaction) -> None:
    """There are other webhooks than before, or one is to be called again."""
    tx.outside_changes.add(outside.PROGRAM)


# The server


def anything(tx: Transaction) -> bool:
    """Was anything done?"""
    return tx.outside_changes.any()


def forget(tx: Transaction) -> None:
    """Nothing of it matters to a server that starts."""
    tx.outside_changes.clear()


def take(tx: Transaction) -> Taken | None:
    """What was done, the oldest first and not too much of it at once; None if there is nothing."""
    changes = tx.outside_changes.take(TAKEN_AT_ONCE)
    if not changes:
        return None
    of_kind = {kind: [detail for other, detail in changes if other == kind] for kind, _ in changes}
    return Taken(
        keys=frozenset(JID(detail["localpart"], tx.domain) for detail in of_kind.get(outside.KEYS, ())),
        contacts=tuple(_moved(tx, **detail) for detail in of_kind.get(outside.CONTACT, ())),
        nodes=tuple(_deleted(**detail) for detail in of_kind.get(outside.NODE, ())),
        owed=_domains(of_kind.get(outside.OWED, ())),
        policy=outside.POLICY in of_kind,
        retry=_domains(of_kind.get(outside.RETRY, ())),
        dropped=_domains(of_kind.get(outside.DROPPED, ())),
        webhooks=outside.PROGRAM in of_kind,
    )


def _domains(details: Iterable[dict[str, Any]]) -> frozenset[str]:
    return frozenset(detail["domain"] for detail in details)


def _moved(tx: Transaction, localpart: str, jid: str, type: str) -> Moved:
    """As the contact is by now."""
    owner, address = JID(localpart, tx.domain), JID.parse(jid)
    after = tx.contacts.get(owner, address)
    change = Change(
        owner=owner,
        jid=address,
        before=None,
        after=after,
        version=tx.contacts.version(owner),
        push=after is not None and after.listed,
    )
    return Moved(change=change, type=type)


def _deleted(seq: int, key: int, service: str, name: str, told: bool, type: str, domains: list[str]) -> NodeDeleted:
    config = NodeConfig(notify_delete=told, notification_type=type)
    node = Node(key=key, service=JID.parse(service), name=name, config=config)
    return NodeDeleted(seq=seq, node=node, domains=tuple(domains))
