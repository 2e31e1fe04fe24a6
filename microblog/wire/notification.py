"""XEP-0060 §4.3, §7.1.2: event notifications.

Rendered once however many read them: the bytes before and after the one thing that differs, the address. They fit a
client stream and a server stream alike, as an unqualified stanza takes the stream's namespace. ``render`` also says
whether there is anything to tell at all, which the node's configuration decides.

Read, a notification is a ``Notice``: what another service says has happened at one of its nodes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from microblog.model.errors import BadRequest, JIDMalformed
from microblog.model.event import (
    ItemPublished,
    ItemRetracted,
    NodeConfigured,
    NodeDeleted,
    NodeEvent,
    NodePurged,
    SubscriptionChanged,
)
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.wire import elsewhere, ns
from microblog.wire.forms import write_node_config
from microblog.wire.harmless import sanitised
from microblog.wire.stanza import Stanza, message, presence
from microblog.wire.xml import Element, Raw, escape_attribute, serialize, stamp, to_text

ITEMS_MAX: Final = 100
_EVENT_ID: Final = "event-"


class Splice(NamedTuple):
    """A stanza with a hole where the address belongs."""

    head: bytes
    tail: bytes

    def to(self, address: JID) -> bytes:
        """The stanza for one address."""
        return self.head + written(address) + self.tail

    def at(self, address: bytes) -> bytes:
        """The stanza for one address that is written already."""
        return self.head + address + self.tail


def written(address: JID) -> bytes:
    """An address as it stands in an attribute."""
    # Only a resource can have what an attribute cannot.
    return (escape_attribute(str(address)) if address.resourcepart else str(address)).encode()


def publisher(node: Node, item: Item) -> str | None:
    """Whose address stands with an item (``pubsub#itemreply``)."""
    match node.config.itemreply:
        case "publisher":
            return str(item.publisher.bare)
        case "owner":
            return str(node.service)
        case _:
            return None


def write_item(uri: str, node: Node, item: Item, *, payload: bool) -> Element:
    """An ``<item/>``, in an event or in an answer."""
    attributes = {"id": item.id}
    by = publisher(node, item)
    if by is not None:
        attributes["publisher"] = by
    return Element(uri, "item", attributes, Raw(item.payload) if payload and item.payload else None)


def is_told(event: NodeEvent) -> bool:
    """Does the node tell of an event?"""
    return _told(event) is not None


def render(event: NodeEvent, *, body: str | None = None) -> Splice | None:
    """The notification of an event; None if the node does not tell of it.

    ``body``: text for clients that know nothing of publish-subscribe.
    """
    told = _told(event)
    if told is None:
        return None
    children = [Element(ns.CLIENT, "body", None, body)] if body else []
    return _splice(event.node, event.seq, *children, Element(ns.PUBSUB_EVENT, "event", None, told))


def write_event(event: NodeEvent) -> Raw | None:
    """The ``<event/>`` alone, for a delivery log; None if the node does not tell of it."""
    told = _told(event)
    return None if told is None else Raw(to_text(Element(ns.PUBSUB_EVENT, "event", None, told)))


def render_last(node: Node, item: Item) -> Splice | None:
    """The last published item for one of our own who has just come (§6.1.7), stamped with when it was published."""
    children = _last(node, item)
    return _splice(node, item.position, *children) if children else None


def last_message(node: Node, item: Item, to: JID) -> Stanza | None:
    """The same for somebody elsewhere."""
    children = _last(node, item)
    kind = node.config.notification_type
    return message(kind, node.service, to, *children, id_=f"{_EVENT_ID}{item.position}") if children else None


def _last(node: Node, item: Item) -> tuple[Element, ...]:
    told = _told(ItemPublished(seq=item.position, node=node, item=item))
    if told is None:
        return ()
    delay = Element(ns.DELAY, "delay", {"from": str(node.service), "stamp": stamp(item.updated)})
    return Element(ns.PUBSUB_EVENT, "event", None, told), delay


def _told(event: NodeEvent) -> Element | None:
    config, name = event.node.config, event.node.name
    if not config.deliver_notifications:
        return None
    match event:
        case ItemPublished(item=item):
            payload = config.deliver_payloads
            return Element(
                ns.PUBSUB_EVENT,
                "items",
                {"node": name},
                write_item(ns.PUBSUB_EVENT, event.node, item, payload=payload),
            )
        case ItemRetracted(item_id=item_id, notify=True):
            retract = Element(ns.PUBSUB_EVENT, "retract", {"id": item_id})
            return Element(ns.PUBSUB_EVENT, "items", {"node": name}, retract)
        case NodePurged() if config.notify_retract:
            return Element(ns.PUBSUB_EVENT, "purge", {"node": name})
        case NodeDeleted(redirect=redirect) if config.notify_delete:
            return _delete(name, redirect)
        case NodeConfigured() if config.notify_config:
            form = write_node_config(config, kind="result") if config.deliver_payloads else None
            return Element(ns.PUBSUB_EVENT, "configuration", {"node": name}, form)
        case _:
            return None


def _splice(node: Node, seq: int, *children: Element) -> Splice:
    attributes = {"from": str(node.service), "id": f"{_EVENT_ID}{seq}"}
    if node.config.notification_type != "normal":
        attributes["type"] = node.config.notification_type
    opening = "".join(f" {name}='{escape_attribute(value)}'" for name, value in attributes.items())
    content = "".join(serialize(child, ns.CLIENT) for child in children)
    return Splice(f"<message{opening} to='".encode(), f"'>{content}</message>".encode())


def sequence_number(message_id: str | None) -> int | None:
    """Of which event a message is the notification, by its id; None if it is none of ours."""
    digits = (message_id or "").removeprefix(_EVENT_ID)
    return int(digits) if message_id != digits and digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def subscription_change(event: SubscriptionChanged) -> Splice:
    """A subscription's new state, for the subscriber or for an owner who wants to know (§8.6, §8.8.1)."""
    attributes = {"node": event.node.name, "jid": str(event.subscriber), "subscription": event.state}
    told = Element(ns.PUBSUB_EVENT, "event", None, Element(ns.PUBSUB_EVENT, "subscription", attributes))
    return _splice(event.node, event.seq, told)


def deletion(service: JID, node: str, redirect: str | None = None) -> Callable[[JID], str]:
    """For each subscriber the ready stanza that says a node is gone (§8.4.2)."""
    event = Element(ns.PUBSUB_EVENT, "event", None, _delete(node, redirect))
    return lambda subscriber: _ready(service, subscriber, event)


def withdraw(service: JID, node: str, item: Item) -> str:
    """The ready stanza that takes an answer out of a thread elsewhere."""
    return elsewhere.withdraw(service, node, item)


def presence_change(type_: str, from_: JID, to: JID) -> str:
    """RFC 6121 §3: the ready stanza that starts or ends a presence subscription."""
    return presence(type_, from_, to).to_bytes().decode()


def decision(subscription: Subscription) -> str:
    """The ready stanza that tells a subscriber of an owner's decision (§8.6, §8.8.4)."""
    event = Element(ns.PUBSUB_EVENT, "event", None, write_subscription(ns.PUBSUB_EVENT, subscription))
    return _ready(subscription.service, subscription.jid, event)


def write_subscription(uri: str, subscription: Subscription, *, node: bool = True) -> Element:
    """A ``<subscription/>``, in an event or in an answer."""
    attributes = {"jid": str(subscription.jid), "subscription": str(subscription.state)}
    if node:
        attributes = {"node": subscription.node, **attributes}
    if subscription.subid and subscription.state is not SubscriptionState.NONE:
        attributes["subid"] = subscription.subid
    return Element(uri, "subscription", attributes)


def _ready(service: JID, to: JID, event: Element) -> str:
    attributes = {"from": str(service), "to": str(to), "type": "headline"}
    return serialize(Element(ns.CLIENT, "message", attributes, event), ns.CLIENT)


def _delete(node: str, redirect: str | None) -> Element:
    uri = Element(ns.PUBSUB_EVENT, "redirect", {"uri": redirect}) if redirect else None
    return Element(ns.PUBSUB_EVENT, "delete", {"node": node}, uri)


# reading


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticedItem:
    """An item as another service tells of it; no payload where it sent none."""

    id: str
    publisher: JID | None
    payload: Element | None

    @property
    def payload_text(self) -> str:
        """The payload as it is stored."""
        return "" if self.payload is None else to_text(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a notification says. ``subscription``: whose subscription changed, and to what."""

    node: str
    items: tuple[NoticedItem, ...] = ()
    retracted: tuple[str, ...] = ()
    purged: bool = False
    deleted: bool = False
    configured: bool = False
    subscription: tuple[JID, SubscriptionState] | None = None


def read_notice(event: Element) -> Notice:
    """Read an ``<event/>``. Raises BadRequest for what is none."""
    told = next((child for child in event.elements() if child.uri == ns.PUBSUB_EVENT), None)
    node = None if told is None else told.get("node")
    if told is None or not node:
        raise BadRequest("an event names its node")
    match told.name:
        case "items":
            return Notice(node=node, items=read_items(told), retracted=_retracted(told))
        case "purge":
            return Notice(node=node, purged=True)
        case "delete":
            return Notice(node=node, deleted=True)
        case "configuration":
            return Notice(node=node, configured=True)
        case "subscription":
            return Notice(node=node, subscription=_subscription(told))
        case _:
            raise BadRequest("not an event of XEP-0060")


def read_items(items: Element) -> tuple[NoticedItem, ...]:
    """The items in an event, or in the answer to a request for them. Raises BadRequest."""
    found = [child for child in items.find_all(items.uri, "item") if child.get("id")]
    if len(found) > ITEMS_MAX:
        raise BadRequest("too many items at once")
    return tuple(_item(child) for child in found)


def _item(child: Element) -> NoticedItem:
    payloads = list(child.elements())
    return NoticedItem(
        id=child.attributes["id"],
        publisher=_address(child.get("publisher")),
        # Whatever way it came, nothing of elsewhere is stored or shown with markup that could do harm.
        payload=sanitised(payloads[0]) if len(payloads) == 1 else None,
    )


def _retracted(told: Element) -> tuple[str, ...]:
    ids = tuple(id_ for child in told.find_all(ns.PUBSUB_EVENT, "retract") if (id_ := child.get("id")))
    if len(ids) > ITEMS_MAX:
        raise BadRequest("too many items in one event")
    return ids


def _address(text: str | None) -> JID | None:
    try:
        return JID.parse(text) if text else None
    except JIDMalformed:
        return None


def _subscription(told: Element) -> tuple[JID, SubscriptionState]:
    subscriber = _address(told.get("jid"))
    try:
        state = SubscriptionState(told.get("subscription") or "none")
    except ValueError as error:
        raise BadRequest("unknown state of a subscription") from error
    if subscriber is None:
        raise BadRequest("the subscriber's address is missing")
    return subscriber, state
