"""XEP-0277 §4, XEP-0470: nodes that depend on an item: its comments, and what people attach to it.

Such a node is there as soon as its item is; it is written down when somebody first uses it. Whoever may read the item
may read the node and publish there, and nobody else; what is published there is for no more people than the item is.
It is emptied when the item goes. None of this is decided by what the node was when it was made: the item is asked each
time, so an owner who narrows a feed narrows everything that hangs on it.

A node whose item is not there stands for itself, as any other node does.
"""

from dataclasses import replace
from typing import Final, NamedTuple

from microblog.model.access import Facts, audience_of, audiences_readable, narrower
from microblog.model.event import NodePurged
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import ATTACHMENTS_PREFIX, COMMENTS_PREFIX, MICROBLOG, AccessModel, Node, NodeConfig, profile
from microblog.model.subscription import Affiliation
from microblog.model.uri import ItemAddress, item_uri, read_uri
from microblog.store import events
from microblog.store.transaction import Transaction
from microblog.usecases.placing import FEED_ITEM

# XEP-0470 §4.2.4.
SUMMARY_PREFIX: Final = "urn:xmpp:pubsub-attachments:summary:1/"


def is_comments(name: str) -> bool:
    """A node of comments."""
    return name.startswith(COMMENTS_PREFIX)


def is_attachments(name: str) -> bool:
    """A node of attachments."""
    return name.startswith(ATTACHMENTS_PREFIX)


def is_dependent(name: str) -> bool:
    """A node that depends on an item, by its name."""
    return is_comments(name) or is_attachments(name)


def is_summary(name: str) -> bool:
    """A node of summaries of what is attached to the items of another."""
    return name.startswith(SUMMARY_PREFIX)


def comments_of(address: ItemAddress) -> str:
    """The name of the node of a post's comments, at the post's service."""
    return f"{COMMENTS_PREFIX}{address.item_id}"


def attachments_of(address: ItemAddress) -> str:
    """The name of the node of an item's attachments, at the item's service (XEP-0470 §4.1)."""
    return f"{ATTACHMENTS_PREFIX}{address.uri}"


def canonical_name(name: str) -> str:
    """One name for each node of attachments, however its item's address is written."""
    address = read_uri(name.removeprefix(ATTACHMENTS_PREFIX)) if is_attachments(name) else None
    return name if address is None else attachments_of(address)


def depends_on(service: JID, name: str) -> ItemAddress | None:
    """The item on which a node of a service depends; None for any other node."""
    if is_comments(name):
        address = ItemAddress(service, MICROBLOG, name.removeprefix(COMMENTS_PREFIX))
    elif is_attachments(name):
        found = read_uri(name.removeprefix(ATTACHMENTS_PREFIX))
        # Nothing is attached to what is attached.
        if found is None or found.service != service or is_attachments(found.node):
            return None
        address = found
    else:
        return None
    return address if address.item_id and address.item_id != FEED_ITEM else None


class Parent(NamedTuple):
    """An item on which nodes depend, and the node that it is in."""

    node: Node
    item: Item


class Dependent:
    """A node with its item; ``node`` has the configuration that the item gives it, and key 0 until it is used."""

    __slots__ = ("_tx", "node", "parent")

    def __init__(self, tx: Transaction, node: Node, parent: Parent) -> None:
        self._tx = tx
        self.parent = parent
        self.node = replace(node, config=_config(tx, node.config, parent))

    def facts(self, jid: JID) -> Facts:
        """What the access rules have to know of somebody: in effect, whether they may read the item."""
        if jid.bare == self.node.service:
            return Facts(affiliation=Affiliation.OWNER, here=True)
        own = self._tx.affiliations.facts(self.node, jid)
        node, above = stand(self._tx, self.parent.node, jid)
        if Affiliation.OUTCAST in (own.affiliation, above.affiliation):
            return Facts(affiliation=Affiliation.OUTCAST, here=own.here)
        if not self._reads(node, above, jid):
            return Facts(here=own.here)
        if own.affiliation is not Affiliation.NONE or self.node.config.access_model is AccessModel.OPEN:
            # Where everybody may read, one who only does that is no follower.
            return own
        return replace(own, affiliation=Affiliation.MEMBER)

    def _reads(self, node: Node, facts: Facts, jid: JID) -> bool:
        item = self.parent.item
        if item.publisher == jid.bare or item.audience in audiences_readable(node.config, facts):
            return True
        return item.audience is Audience.DIRECT and self._tx.items.mentioned(item.key).get(jid.bare, False)

    def readers(self) -> tuple[JID, ...]:
        """Those for whom an item here is, if the parent is direct."""
        item = self.parent.item
        if item.audience is not Audience.DIRECT:
            return ()
        named = (jid for jid, reader in self._tx.items.mentioned(item.key).items() if reader)
        return tuple(dict.fromkeys((item.publisher, *named)))


def _config(tx: Transaction, own: NodeConfig, parent: Parent) -> NodeConfig:
    """A node's own configuration, with the access that its item has."""
    hung = dependent(tx, parent.node)
    above = parent.node.config if hung is None else hung.node.config
    model, audience = above.access_model, parent.item.audience
    narrowed = audience is Audience.FOLLOWERS and audience_of(above) is not Audience.FOLLOWERS
    # Followers of the feed are not subscribers of this node: whether they may read is said by ``facts``.
    if narrowed or audience is Audience.DIRECT or model is AccessModel.AUTHORIZE:
        model = AccessModel.WHITELIST
    return replace(
        own,
        access_model=model,
        roster_groups_allowed=above.roster_groups_allowed,
        audience=narrower(above.audience, audience),
    )


def dependent(tx: Transaction, node: Node) -> Dependent | None:
    """A node with the item on which it depends; None if it stands for itself."""
    if not is_dependent(node.name):
        return None
    found = _parent(tx, node.service, node.name)
    return None if found is None else Dependent(tx, node, found)


def is_direct(tx: Transaction, node: Node) -> bool:
    """Does a node hang on an item for named readers, so that all in it is for them?"""
    found = dependent(tx, node)
    return found is not None and found.parent.item.audience is Audience.DIRECT


def named(tx: Transaction, service: JID, name: str) -> Dependent | None:
    """The dependent node of a name, if it was used or not; None if its item is not there."""
    found = _parent(tx, service, name)
    if found is None:
        return None
    node = tx.nodes.find(service, name)
    if node is None:
        node = Node(key=0, service=service, name=name, config=profile(name))
    return Dependent(tx, node, found)


def find(tx: Transaction, service: JID, name: str) -> Node | None:
    """The node of a name here, as it is or, if it depends on an item that is there, as it would be."""
    if is_dependent(name):
        found = named(tx, service, name)
        if found is not None:
            return found.node
    return tx.nodes.find(service, name)


def stand(tx: Transaction, node: Node, jid: JID) -> tuple[Node, Facts]:
    """A node as it is today, and what the access rules have to know of somebody there."""
    found = dependent(tx, node)
    return (node, tx.affiliations.facts(node, jid)) if found is None else (found.node, found.facts(jid))


def written(tx: Transaction, node: Node) -> Node:
    """A node that is about to be used: made, if it was not, and with the configuration that it has today."""
    known = tx.nodes.find(node.service, node.name)
    if known is None:
        return tx.nodes.create(node.service, node.name, node.config)
    return known if known.config == node.config else tx.nodes.configure(known, node.config)


def thread_of(tx: Transaction, node: Node, item: Item) -> ItemAddress | None:
    """The node of comments, here or elsewhere, that an answer in its author's feed has a copy in.

    Only what all may read of whoever reads the thread: an answer for followers is for its author's own, unless the post
    is for followers itself; one that is for this domain only stays here.
    """
    if not item.answers or node.name != MICROBLOG or node.service.domainpart != tx.domain:
        return None
    thread = read_uri(item.thread)
    if thread is None or thread.item_id is not None:
        return None
    root = depends_on(thread.service, thread.node)
    if root is None or root == (node.service, node.name, item.id):
        return None
    here = thread.service.domainpart == tx.domain
    if not here and item.publisher.domainpart != tx.domain:
        return None  # its author's own server is to send it
    above = _audience(tx, root) if here or item.audience is Audience.FOLLOWERS else None
    if item.audience is Audience.FOLLOWERS:
        return thread if above is Audience.FOLLOWERS else None
    if here:
        return thread if above not in (None, Audience.DIRECT) and item.audience is not Audience.DIRECT else None
    return thread if item.audience is Audience.PUBLIC else None


def _audience(tx: Transaction, address: ItemAddress) -> Audience | None:
    found = tx.nodes.look_up(address.service, address.node, address.item_id or "")
    return None if found is None or found.item is None else found.item.audience


def comments_on(tx: Transaction, node: Node, item_id: str) -> list[str]:
    """The URIs of all comments on an item that are kept here."""
    if node.name != MICROBLOG or node.service.domainpart != tx.domain:
        return []
    found = tx.nodes.find(node.service, comments_of(ItemAddress(node.service, node.name, item_id)))
    return [] if found is None else [item_uri(found.service, found.name, id_) for id_ in tx.items.ids(found.key)]


def end(tx: Transaction, node: Node, item_id: str) -> None:
    """An item has gone, and with it all that hung on it here."""
    address = ItemAddress(node.service, node.name, item_id)
    if node.name == MICROBLOG and node.service.domainpart == tx.domain:
        _empty(tx, node.service, comments_of(address))
    if not is_attachments(node.name):
        _empty(tx, node.service, attachments_of(address))


def end_all(tx: Transaction, node: Node) -> None:
    """All items of a node have gone."""
    for name in tx.nodes.names(node.service, f"{ATTACHMENTS_PREFIX}{ItemAddress(node.service, node.name).uri};item="):
        _empty(tx, node.service, name)
    for name in tx.nodes.names(node.service, COMMENTS_PREFIX) if node.name == MICROBLOG else ():
        _empty(tx, node.service, name)


def _empty(tx: Transaction, service: JID, name: str) -> None:
    node = tx.nodes.find(service, name)
    if node is None:
        return
    if is_comments(name):
        end_all(tx, node)
    if not tx.subscriptions.count(node):
        tx.nodes.delete(node)
        return
    # Those who subscribed elsewhere are told by an event, and events go with their node.
    audience = audience_of(node.config)
    seq = tx.events.record(node.key, events.PURGED, audience=audience)
    tx.items.purge(node.key)
    tx.emit(NodePurged(seq=seq, node=node, domains=tx.fan_outs.owe(node, seq, audience)))


def _parent(tx: Transaction, service: JID, name: str) -> Parent | None:
    address = depends_on(service, name)
    if address is None or address.item_id is None or service.domainpart != tx.domain:
        return None
    found = tx.nodes.look_up(service, address.node, address.item_id)
    return None if found is None or found.item is None else Parent(found.node, found.item)
