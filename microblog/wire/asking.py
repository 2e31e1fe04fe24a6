"""XEP-0060 §5.4, §5.6, §6, from the subscriber's side: what we ask other services about feeds, and what they answer.

XEP-0330 and XEP-0465: the lists in which people tell whom they follow. Answers come from strangers: what is no address,
or too much, is passed over.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID
from microblog.model.node import AccessModel
from microblog.model.subscription import SubscriptionState
from microblog.wire import ns
from microblog.wire.pubsub import NAME_MAX_CHARACTERS
from microblog.wire.xml import Element

LISTED_MAX: Final = 1000
# What XEP-0330 lists are written in, beside the name of their node.
_LIST_PAYLOADS: Final = (ns.ACTIVITY_LIST + ":0", ns.ACTIVITY_LIST)


class Listed(NamedTuple):
    """A subscription that a service says somebody has (§5.6)."""

    node: str
    jid: JID
    state: SubscriptionState
    subid: str


class Listing(NamedTuple):
    """A feed that somebody says they follow."""

    service: JID
    node: str


def subscribe_request(node: str, subscriber: JID, *, public: bool = False) -> Element:
    """§6.1; ``public``: for everybody to know (XEP-0465)."""
    said = Element(ns.PUBLIC_SUBSCRIPTIONS, "public") if public else None
    return _pubsub(Element(ns.PUBSUB, "subscribe", {"node": node, "jid": str(subscriber)}, said))


def unsubscribe_request(node: str, subscriber: JID, subid: str = "") -> Element:
    """§6.2."""
    attributes = {"node": node, "jid": str(subscriber)} | ({"subid": subid} if subid else {})
    return _pubsub(Element(ns.PUBSUB, "unsubscribe", attributes))


def subscriptions_request() -> Element:
    """§5.6: what the asker has subscribed to at a service."""
    return _pubsub(Element(ns.PUBSUB, "subscriptions"))


def newest_request(node: str, number: int) -> Element:
    """§6.5.7: the newest items.

    Not by a page of XEP-0059: services do not agree on which end of a feed its last page is.
    """
    return _pubsub(Element(ns.PUBSUB, "items", {"node": node, "max_items": str(number)}))


def page_before_request(node: str, number: int, before: str = "") -> Element:
    """XEP-0059 §2.3: the page before an item, or the last one. For services whose pages are known to begin at the
    oldest item.
    """
    page = Element(
        ns.RSM, "set", None, Element(ns.RSM, "max", None, str(number)), Element(ns.RSM, "before", None, before or None)
    )
    return Element(ns.PUBSUB, "pubsub", None, Element(ns.PUBSUB, "items", {"node": node}), page)


def is_there_more(answer: Element | None, had: int) -> bool:
    """Does an answer to a request for a page say, or leave open, that there is more than what one had until now?"""
    page = None if answer is None else answer.find(ns.RSM, "set")
    if page is None:
        return False  # the service knows no pages: that is all
    count = page.child_text(ns.RSM, "count") or ""
    return not (count.isascii() and count.isdigit() and len(count) < 10 and int(count) <= had)


def metadata_request(node: str) -> Element:
    """§5.4."""
    return Element(ns.DISCO_INFO, "query", {"node": node})


def is_public(payload: Element | None) -> bool:
    """Is this a request for a subscription that everybody may know of (XEP-0465 §4.1)?"""
    subscribe = None if payload is None else payload.find(ns.PUBSUB, "subscribe")
    return subscribe is not None and subscribe.find(ns.PUBLIC_SUBSCRIPTIONS, "public") is not None


def read_access_model(answer: Element | None) -> AccessModel | None:
    """The access model in a node's metadata; None if it says none that we know."""
    for form in () if answer is None else answer.find_all(ns.DATA, "x"):
        for field in form.find_all(ns.DATA, "field"):
            if field.get("var") == "pubsub#access_model":
                said = field.child_text(ns.DATA, "value") or ""
                return AccessModel(said) if said in set(AccessModel) else None
    return None


def read_subscriptions(answer: Element | None, node: str = "") -> tuple[Listed, ...]:
    """The asker's subscriptions in another service's answer. ``node``: where one was asked about."""
    found = None if answer is None else answer.find(ns.PUBSUB, "subscriptions")
    if found is None:
        return ()
    listed = []
    for child in list(found.find_all(ns.PUBSUB, "subscription"))[:LISTED_MAX]:
        jid, name = _address(child.get("jid")), child.get("node") or found.get("node") or node
        if jid is None or not name:
            continue
        try:
            state = SubscriptionState(child.get("subscription") or "subscribed")
        except ValueError:
            state = SubscriptionState.PENDING  # "unconfigured"
        listed.append(Listed(name, jid, state, (child.get("subid") or "")[:NAME_MAX_CHARACTERS]))
    return tuple(listed)


def read_follow_list(answer: Element | None) -> tuple[Listing, ...]:
    """The feeds in somebody's list of what they follow, each once."""
    items = None if answer is None else answer.find(ns.PUBSUB, "items")
    return () if items is None else tuple(dict.fromkeys(_listings(items)))


def read_listing(payload: Element) -> Listing | None:
    """A feed in such a list: ``server`` by XEP-0330, ``jid`` by XEP-0465."""
    if payload.name != "subscription":
        return None
    if payload.uri in _LIST_PAYLOADS:
        service = _address(payload.get("server"))
    elif payload.uri == ns.PUBLIC_SUBSCRIPTIONS:
        service = _address(payload.get("jid"))
    else:
        return None
    node = payload.get("node")
    return None if service is None or not node or len(node) > NAME_MAX_CHARACTERS else Listing(service.bare, node)


def _listings(items: Element) -> Iterator[Listing]:
    for item in list(items.find_all(ns.PUBSUB, "item"))[:LISTED_MAX]:
        payload = item.first()
        listing = None if payload is None else read_listing(payload)
        if listing is not None:
            yield listing


def _address(text: str | None) -> JID | None:
    try:
        return JID.parse(text) if text else None
    except JIDMalformed:
        return None


def _pubsub(child: Element) -> Element:
    return Element(ns.PUBSUB, "pubsub", None, child)
