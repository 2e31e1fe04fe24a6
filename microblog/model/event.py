"""XEP-0060 §4.3: what happened at a node, as the house tells itself.

An event is emitted inside the transaction that made it true and is heard after that transaction was committed.
``seq`` is its place in the log: one author's events are told to everybody in that order.
"""

from dataclasses import dataclass, field

from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEvent:
    """Something that happened at a node. ``domains``: remote domains that have an outbox row for it."""

    seq: int
    node: Node
    domains: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPublished(NodeEvent):
    """An item was published or published again (§7.1). ``recipients``: None, or the only local readers to be told.

    ``besides``: readers here who are told of what is for all who subscribed, though they did not.
    ``said``: the reactions to another item that it says and did not say before (XEP-0470).
    ``spreads``: further domains are still to be owed it.
    """

    item: Item
    recipients: tuple[JID, ...] | None = None
    besides: tuple[JID, ...] = ()
    said: tuple[str, ...] = field(default=(), compare=False)
    spreads: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRetracted(NodeEvent):
    """An item was retracted (§7.2); told only if ``notify``. ``actor``: by whom, if it was somebody here."""

    item_id: str
    notify: bool = True
    recipients: tuple[JID, ...] | None = None
    actor: JID | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePurged(NodeEvent):
    """All items were removed (§8.5). ``recipients``: None, or the only local readers to be told."""

    recipients: tuple[JID, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDeleted(NodeEvent):
    """The node is gone (§8.4); those here who subscribed are named, as nobody can be asked any more."""

    subscribers: tuple[JID, ...] = ()
    redirect: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfigured(NodeEvent):
    """The node's configuration changed (§8.2); told only if the node says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionChanged(NodeEvent):
    """A subscription was made, approved, denied or ended (§6, §8.6): who hears of the node changed.

    ``tell_subscriber``: it was not the subscriber's own doing. With ``domains`` the outbox has the stanza that tells.
    ``shows``: what the subscriber's presence has to say for them to be told; empty: whatever it says.
    """

    subscriber: JID
    state: str
    tell_subscriber: bool = False
    shows: tuple[str, ...] = field(default=(), compare=False)


Event = NodeEvent
