"""What people say of themselves: one profile, from which vCards, nickname and picture are made, and which each changes.

A change comes by one form and is written into the others' nodes in the same transaction, the picture before what tells
of it. Only forms that say something else than before are published.

What somebody may not read at the node where it stands they are not told in another form either (XEP-0398 §7).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from microblog.model.access import audience_of, audiences_readable
from microblog.model.account import Account
from microblog.model.errors import ItemNotFound, PayloadTooBig, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.node import AVATAR_DATA, AVATAR_METADATA, IDENTITY_NODES, MICROBLOG, NICK, VCARD4, Node
from microblog.model.profile import Profile
from microblog.model.subscription import SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases import publishing
from microblog.usecases.publishing import Publish, Published


class Codec(Protocol):
    """How a profile stands in its nodes (``wire.vcard``)."""

    def write(self, profile: Profile) -> Mapping[str, tuple[str, str]]:
        """Of each node, the item's id and payload, which is empty if there is nothing to say."""

    def nothing(self, node: str) -> tuple[str, str]:
        """The item of a node that has nothing to say any more."""

    def read(self, node: str, payload: str, before: Profile, data: Callable[[str], str | None]) -> Profile:
        """The profile after its owner published a payload at a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An account changes its profile. Called ``become`` with the profile that there is."""

    account: JID
    become: Callable[[Profile], Profile]
    codec: Codec


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """How one of ours and somebody stand: states of subscriptions. ``here``: there is such an account here."""

    follows: SubscriptionState = SubscriptionState.NONE
    followed: SubscriptionState = SubscriptionState.NONE
    here: bool = False


def own(tx: Transaction, account: JID) -> Profile:
    """All that an account says of itself. Raises ItemNotFound."""
    return tx.profiles.get(_account(tx, account).key)


def seen(tx: Transaction, account: JID, asker: JID) -> Profile | None:
    """What an account says of itself to somebody; None if there is no such account."""
    found = tx.accounts.get(account.localpart) if account.domainpart == tx.domain else None
    if found is None:
        return None
    profile = tx.profiles.get(found.key)
    if asker.bare == account.bare:
        return profile
    if not _may_read(tx, account, VCARD4, asker):
        profile = profile.without_card()
    if not _may_read(tx, account, NICK, asker):
        profile = replace(profile, nickname="")
    if not (_may_read(tx, account, AVATAR_DATA, asker) and _may_read(tx, account, AVATAR_METADATA, asker)):
        profile = replace(profile, avatar=None)
    return profile


def change(tx: Transaction, request: Change) -> Profile:
    """Change a profile, and publish what is new of it.

    Raises: ItemNotFound, PayloadTooBig, ResourceConstraint for too many nodes or a full disk.
    """
    account = _account(tx, request.account)
    before = tx.profiles.get(account.key)
    after = request.become(before)
    if after == before:
        return after
    items = _items(tx, request.account, request.codec, before, after)
    for node, (_, payload) in items.items():
        if len(payload.encode()) > tx.limits.payload_max_bytes:
            what = "the picture" if node == AVATAR_DATA else "the profile"
            raise PayloadTooBig(f"{what} is too big: {tx.limits.payload_max_bytes} bytes at most, as it is sent")
    if tx.disk_low:
        raise ResourceConstraint("this server has no room for more just now")
    if _missing(tx, request.account, items) > tx.limits.nodes_per_account - tx.nodes.count(request.account):
        raise ResourceConstraint("this account has as many nodes as it may have")
    tx.profiles.put(account.key, after)
    _publish(tx, request.account, items)
    return after


def publish(tx: Transaction, request: Publish, codec: Codec) -> Published:
    """Publish at one of the nodes of a profile, and change the profile with it.

    What cannot be published elsewhere then is left as it was. Raises as ``publishing.publish``.
    """
    done = publishing.publish(tx, request)
    if request.node not in IDENTITY_NODES or request.service.domainpart != tx.domain:
        return done
    account = tx.accounts.get(request.service.localpart)
    if account is None:
        return done

    def data(item_id: str) -> str | None:
        found = tx.nodes.look_up(request.service, AVATAR_DATA, item_id)
        return None if found is None or found.item is None else found.item.payload

    before = tx.profiles.get(account.key)
    after = codec.read(request.node, request.payload, before, data)
    if after != before:
        tx.profiles.put(account.key, after)
        items = _items(tx, request.service, codec, before, after)
        told = {AVATAR_DATA, AVATAR_METADATA} if request.node == AVATAR_METADATA else {request.node}
        others = {node: item for node, item in items.items() if node not in told}
        room = tx.limits.nodes_per_account - tx.nodes.count(request.service)
        fits = all(len(payload.encode()) <= tx.limits.payload_max_bytes for _, payload in others.values())
        if fits and _missing(tx, request.service, others) <= room:
            _publish(tx, request.service, others)
    return done


def relation(tx: Transaction, account: JID, other: JID) -> Relation:
    """How an account and somebody stand."""
    here = other.domainpart == tx.domain and tx.accounts.exists(other.localpart)
    return Relation(
        follows=_subscription(tx, other.bare, account),
        followed=_subscription(tx, account, other.bare),
        here=here,
    )


def avatar_hash(tx: Transaction, account: JID) -> str:
    """XEP-0153: the name of an account's picture; empty if it has none, or none that everybody may see."""
    for name in (AVATAR_DATA, AVATAR_METADATA):
        node = tx.nodes.find(account, name)
        if node is not None and audience_of(node.config) != "public":
            return ""
    return tx.profiles.avatar_hash(account.localpart)


def _subscription(tx: Transaction, service: JID, subscriber: JID) -> SubscriptionState:
    node = tx.nodes.find(service, MICROBLOG)
    found = [] if node is None else tx.subscriptions.of_bare(node, subscriber)
    states = {subscription.state for subscription in found}
    for state in (SubscriptionState.SUBSCRIBED, SubscriptionState.PENDING):
        if state in states:
            return state
    return SubscriptionState.NONE


def _account(tx: Transaction, jid: JID) -> Account:
    account = tx.accounts.get(jid.localpart) if jid.domainpart == tx.domain else None
    if account is None:
        raise ItemNotFound("no such account")
    return account


def _may_read(tx: Transaction, service: JID, name: str, asker: JID) -> bool:
    node = tx.nodes.find(service, name)
    if node is None:
        # As it would be: nothing that is for this domain only is told elsewhere.
        node = Node(key=0, service=service, name=name, config=tx.nodes.defaults(service, name))
    facts = tx.affiliations.facts(node, asker)
    return audience_of(node.config) in audiences_readable(node.config, facts)


def _items(tx: Transaction, service: JID, codec: Codec, before: Profile, after: Profile) -> dict[str, tuple[str, str]]:
    """What is to be published of a change: of each node that says something else now, its item."""
    old, new = codec.write(before), codec.write(after)
    items = {}
    for node, item in new.items():
        if item == old.get(node):
            continue
        if item[1]:
            items[node] = item
        elif tx.nodes.find(service, node) is not None:
            items[node] = codec.nothing(node)
    return items


def _missing(tx: Transaction, service: JID, items: Mapping[str, object]) -> int:
    return sum(1 for node in items if tx.nodes.find(service, node) is None)


def _publish(tx: Transaction, service: JID, items: Mapping[str, tuple[str, str]]) -> None:
    for node, (item_id, payload) in items.items():
        publishing.publish(tx, Publish(service=service, node=node, actor=service, item_id=item_id, payload=payload))
