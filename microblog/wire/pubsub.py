"""XEP-0060 §5 to §8, XEP-0059: requests and answers of publish-subscribe.

A request is read in two moves. ``verb`` says which it is, after having checked that the ``<pubsub/>`` has the shape
its verb allows; then the verb's own ``read_`` function gives its parts. What form alone can tell is refused here with
the error that the specification names; what it means is for the use cases.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from microblog.model.errors import (
    BadRequest,
    FeatureNotImplemented,
    Gone,
    InvalidJID,
    InvalidPayload,
    ItemRequired,
    JIDMalformed,
    JIDRequired,
    NodeIDRequired,
    Refusal,
    ServiceUnavailable,
)
from microblog.model.item import Page, PageRequest
from microblog.model.jid import JID
from microblog.model.node import Node, NodeConfig
from microblog.model.subscription import Affiliated, Affiliation, Subscription, SubscriptionState
from microblog.wire import forms, ns
from microblog.wire.errors import TABLE, read_condition
from microblog.wire.notification import NoticedItem, write_item
from microblog.wire.notification import read_items as read_items_in
from microblog.wire.notification import write_subscription as _write_subscription
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element

NAME_MAX_CHARACTERS: Final = 1023
LIST_MAX: Final = 1000
Options = dict[str, tuple[str, ...]]
T = TypeVar("T")

# What may stand beside a verb: other elements of the same namespace, and whether RSM may.
_BESIDE: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    (ns.PUBSUB, "publish"): ("publish-options",),
    (ns.PUBSUB, "create"): ("configure",),
    (ns.PUBSUB, "subscribe"): ("options",),
}
_PAGED: Final = frozenset(("items", "subscriptions", "affiliations"))
_VERBS: Final = {
    (ns.PUBSUB, "get"): frozenset(("items", "subscriptions", "affiliations", "options", "default")),
    (ns.PUBSUB, "set"): frozenset(("publish", "retract", "subscribe", "unsubscribe", "options", "create")),
    (ns.PUBSUB_OWNER, "get"): frozenset(("configure", "default", "affiliations", "subscriptions")),
    (ns.PUBSUB_OWNER, "set"): frozenset(("configure", "delete", "purge", "affiliations", "subscriptions")),
}


_REFUSALS: Final = {(condition.name, condition.application): kind for kind, condition in reversed(TABLE.items())}


class Verb(NamedTuple):
    """What is asked: the element that asks it, and the ``<pubsub/>`` around it."""

    name: str
    element: Element
    pubsub: Element


def verb(request: Stanza) -> Verb:
    """Find the verb of a request. Raises BadRequest, FeatureNotImplemented for verbs that nobody here knows."""
    pubsub = request.payload
    if pubsub is None:
        raise BadRequest("no request")
    ours = [child for child in pubsub.elements() if child.uri == pubsub.uri]
    if not ours:
        raise BadRequest("the pubsub element is empty")
    # COMPAT: some put <options/> before <subscribe/>, <configure/> before <create/>.
    chosen = next((child for child in ours if (pubsub.uri, child.name) in _BESIDE), ours[0])
    known = _VERBS[pubsub.uri, request.type]
    if chosen.name not in known:
        if any(chosen.name in verbs for (_, _), verbs in _VERBS.items()):
            raise BadRequest(f"{chosen.name} is not for iq {request.type} in this namespace")
        raise FeatureNotImplemented(f"{chosen.name} is unknown here")
    beside = [child.name for child in ours if child is not chosen]
    allowed = _BESIDE.get((pubsub.uri, chosen.name), ())
    if any(name not in allowed for name in beside) or len(set(beside)) != len(beside):
        raise BadRequest("one request in one pubsub element")
    sets = [child for child in pubsub.elements() if child.is_(ns.RSM, "set")]
    if len(sets) > (1 if chosen.name in _PAGED else 0) or any(child.find(ns.RSM, "set") for child in ours):
        raise BadRequest("a result set is not asked for here")
    return Verb(chosen.name, chosen, pubsub)


# parts


def _name(text: str | None, what: str) -> str | None:
    if not text:
        return None
    if len(text) > NAME_MAX_CHARACTERS:
        raise BadRequest(f"the {what} is longer than {NAME_MAX_CHARACTERS} characters")
    return text


def node_of(asked: Verb) -> str | None:
    """The node asked about; None if there is none."""
    return _name(asked.element.get("node"), "node")


def node_required(asked: Verb) -> str:
    """The node asked about. Raises NodeIDRequired."""
    node = node_of(asked)
    if node is None:
        raise NodeIDRequired("the node attribute is missing")
    return node


def jid_required(asked: Verb, refusal: type[Refusal] = JIDRequired) -> JID:
    """The ``jid`` of a subscription. Raises JIDRequired (or the given refusal), InvalidJID."""
    text = asked.element.get("jid")
    if not text:
        raise refusal("the jid attribute is missing")
    return _jid(text)


def _jid(text: str) -> JID:
    try:
        return JID.parse(text)
    except JIDMalformed as error:
        raise InvalidJID("the jid is not an address") from error


def subid_of(asked: Verb) -> str | None:
    """The subscription's identifier, if it was given."""
    return _name(asked.element.get("subid"), "subid")


def _number(text: str, what: str, *, least: int) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) < least:
        raise BadRequest(f"{what} is a number from {least} up")
    return int(text)


def read_page(asked: Verb) -> PageRequest | None:
    """The part of the list that is asked for (XEP-0059); None if all of it is. Raises BadRequest."""
    rsm = asked.pubsub.find(ns.RSM, "set")
    if rsm is None:
        return None
    texts = {child.name: child.text for child in rsm.elements() if child.uri == ns.RSM}
    if len(texts) != sum(1 for child in rsm.elements() if child.uri == ns.RSM) or {"after", "before"} <= texts.keys():
        raise BadRequest("a result set is asked for in one way at a time")
    return PageRequest(
        max=_number(texts["max"], "max", least=0) if "max" in texts else None,
        after=_name(texts.get("after"), "after"),
        before=_name(texts.get("before"), "before"),
        last_page="before" in texts and not texts["before"],
        index=_number(texts["index"], "index", least=0) if "index" in texts else None,
    )


def _form(parent: Element | None, form_type: str) -> Options | None:
    """The options in an element that needs to have a form; None if it was cancelled."""
    form = None if parent is None else forms.find_form(parent)
    if form is None:
        raise BadRequest("a data form is missing")
    return forms.read_options(form, form_type)


# requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """§7.1: ``payload`` None where the item is empty, ``has_item`` False where there is none at all."""

    node: str
    item_id: str | None
    payload: Element | None
    options: Options | None
    has_item: bool


def read_publish(asked: Verb) -> Publish:
    """Raises NodeIDRequired, InvalidPayload, BadRequest (several items: this service takes one at a time)."""
    node = node_required(asked)
    items = list(asked.element.find_all(ns.PUBSUB, "item"))
    if len(items) > 1:
        raise BadRequest("one item in one request")
    payload: Element | None = None
    if items:
        payloads = list(items[0].elements())
        if len(payloads) > 1:
            raise InvalidPayload("an item has one payload element")
        if not payloads and items[0].text.strip():
            raise InvalidPayload("the payload of an item is an element")
        payload = payloads[0] if payloads else None
        if payload is not None and not payload.uri:
            raise InvalidPayload("the payload has no namespace")
    beside = asked.pubsub.find(ns.PUBSUB, "publish-options")
    return Publish(
        node=node,
        item_id=_name(items[0].get("id"), "item's id") if items else None,
        payload=payload,
        options=None if beside is None else _form(beside, ns.PUBSUB_PUBLISH_OPTIONS),
        has_item=bool(items),
    )


class Retract(NamedTuple):
    """§7.2."""

    node: str
    item_id: str
    notify: bool


def read_retract(asked: Verb) -> Retract:
    """Raises NodeIDRequired, ItemRequired, BadRequest."""
    node = node_required(asked)
    items = list(asked.element.find_all(ns.PUBSUB, "item"))
    if len(items) > 1:
        raise BadRequest("one item in one request")
    item_id = _name(items[0].get("id"), "item's id") if items else None
    if item_id is None:
        raise ItemRequired("the item's id is missing")
    return Retract(node, item_id, asked.element.get("notify") in ("1", "true"))


class Items(NamedTuple):
    """§6.5."""

    node: str
    item_ids: tuple[str, ...]
    max_items: int | None
    page: PageRequest | None
    subid: str | None


def read_items(asked: Verb) -> Items:
    """Raises NodeIDRequired, BadRequest."""
    node = node_required(asked)
    text = asked.element.get("max_items")
    children = _bounded(asked.element.find_all(ns.PUBSUB, "item"))
    ids = [_name(child.get("id"), "item's id") for child in children]
    if None in ids:
        raise BadRequest("an item that is asked for has an id")
    return Items(
        node=node,
        item_ids=tuple(id_ for id_ in ids if id_),
        max_items=None if text is None else _number(text, "max_items", least=1),
        page=read_page(asked),
        subid=subid_of(asked),
    )


class Subscribe(NamedTuple):
    """§6.1, with options (§6.3.7); ``public``: for everybody to know (XEP-0465)."""

    node: str
    jid: JID
    options: Options | None
    public: bool = False


def read_subscribe(asked: Verb) -> Subscribe:
    """Raises NodeIDRequired, InvalidJID, BadRequest."""
    node = node_required(asked)
    options = asked.pubsub.find(ns.PUBSUB, "options")
    return Subscribe(
        node,
        jid_required(asked, InvalidJID),
        None if options is None else _form(options, ns.PUBSUB_SUBSCRIBE_OPTIONS),
        asked.element.find(ns.PUBLIC_SUBSCRIPTIONS, "public") is not None,
    )


def read_options(asked: Verb) -> Options | None:
    """The options that a subscriber wants (§6.3.5); None if the form was cancelled. Raises BadRequest."""
    return _form(asked.element, ns.PUBSUB_SUBSCRIBE_OPTIONS)


def read_create(asked: Verb) -> tuple[str | None, Options | None]:
    """The node's name (None: any) and configuration (None: the default). Raises BadRequest."""
    configure = asked.pubsub.find(ns.PUBSUB, "configure")
    if configure is None or forms.find_form(configure) is None:
        return node_of(asked), None
    return node_of(asked), _form(configure, ns.PUBSUB_NODE_CONFIG)


def read_configure(asked: Verb) -> Options | None:
    """A node's new configuration; None if the form was cancelled. Raises BadRequest, NotAcceptable."""
    return _form(asked.element, ns.PUBSUB_NODE_CONFIG)


def read_redirect(asked: Verb) -> str | None:
    """Where those who had subscribed to a deleted node are sent (§8.4.2)."""
    redirect = asked.element.find(ns.PUBSUB_OWNER, "redirect")
    uri = None if redirect is None else redirect.get("uri")
    if uri is not None and not uri.startswith("xmpp:"):
        raise BadRequest("a redirection is an xmpp: address")
    return _name(uri, "address")


def read_affiliations(asked: Verb) -> tuple[tuple[JID, Affiliation], ...]:
    """The affiliations an owner sets (§8.9.2). Raises BadRequest, InvalidJID."""
    return tuple(
        (_jid(child.get("jid") or ""), _state(Affiliation, child.get("affiliation")))
        for child in _bounded(asked.element.find_all(ns.PUBSUB_OWNER, "affiliation"))
    )


def read_subscriptions(asked: Verb) -> tuple[tuple[JID, SubscriptionState, str | None], ...]:
    """The subscriptions an owner sets (§8.8.2). Raises BadRequest, InvalidJID."""
    return tuple(
        (
            _jid(child.get("jid") or ""),
            _state(SubscriptionState, child.get("subscription")),
            _name(child.get("subid"), "subid"),
        )
        for child in _bounded(asked.element.find_all(ns.PUBSUB_OWNER, "subscription"))
    )


def _state(kind: type[T], text: str | None) -> T:
    try:
        return kind(text)  # type: ignore[call-arg]  # both are enumerations of text
    except ValueError as error:
        raise BadRequest("unknown affiliation or subscription state") from error


def _bounded(children: Iterable[Element]) -> list[Element]:
    found = list(children)
    if len(found) > LIST_MAX:
        raise BadRequest(f"more than {LIST_MAX} at once")
    return found


# answers


def _pubsub(*children: Element | None, uri: str = ns.PUBSUB) -> Element:
    return Element(uri, "pubsub", None, *children)


def write_published(node: str, item_id: str) -> Element:
    """§7.1.2: the id under which an item was published."""
    item = Element(ns.PUBSUB, "item", {"id": item_id})
    return _pubsub(Element(ns.PUBSUB, "publish", {"node": node}, item))


def write_items(node: Node, page: Page, *, paged: bool) -> Element:
    """§6.5: items with their payloads; with what XEP-0059 says of the page if ``paged``."""
    items = Element(ns.PUBSUB, "items", {"node": node.name})
    for item in page.items:
        items.append(write_item(ns.PUBSUB, node, item, payload=True))
    return _pubsub(items, write_page(page) if paged else None)


def write_page(page: Page) -> Element:
    """What XEP-0059 says of a page of items."""
    rsm = Element(ns.RSM, "set")
    if page.items:
        index = {} if page.index is None else {"index": str(page.index)}
        rsm.append(Element(ns.RSM, "first", index, page.items[0].id))
        rsm.append(Element(ns.RSM, "last", None, page.items[-1].id))
    return rsm.append(Element(ns.RSM, "count", None, str(page.count)))


def write_subscription(subscription: Subscription) -> Element:
    """§6.1.2, §6.2.2: a subscription as it is now."""
    return _pubsub(_write_subscription(ns.PUBSUB, subscription))


def write_subscription_options(subscription: Subscription) -> Element:
    """§6.3.2: a subscription's options."""
    attributes = {"node": subscription.node, "jid": str(subscription.jid)}
    if subscription.subid:
        attributes["subid"] = subscription.subid
    return _pubsub(Element(ns.PUBSUB, "options", attributes, forms.write_subscribe_options(subscription.options)))


def write_default_options(node: str | None, form: Element) -> Element:
    """§6.4: the options that a new subscription has."""
    return _pubsub(Element(ns.PUBSUB, "default", {"node": node} if node else {}, form))


def write_my_subscriptions(node: str | None, subscriptions: Sequence[Subscription]) -> Element:
    """§5.6: the asker's subscriptions at this service, or at one node."""
    children = (_write_subscription(ns.PUBSUB, one) for one in subscriptions)
    return _pubsub(Element(ns.PUBSUB, "subscriptions", {"node": node} if node else {}, *children))


def write_my_affiliations(node: str | None, affiliations: Sequence[Affiliated]) -> Element:
    """§5.7: the asker's affiliations at this service, or with one node."""
    children = (
        Element(ns.PUBSUB, "affiliation", {"node": one.node, "affiliation": str(one.affiliation)})
        for one in affiliations
    )
    return _pubsub(Element(ns.PUBSUB, "affiliations", {"node": node} if node else {}, *children))


def write_created(node: str) -> Element:
    """§8.1.2: the name of a node that the service chose."""
    return _pubsub(Element(ns.PUBSUB, "create", {"node": node}))


def write_configuration(node: Node) -> Element:
    """§8.2.1: the form to configure a node with."""
    configure = Element(ns.PUBSUB_OWNER, "configure", {"node": node.name}, forms.write_node_config(node.config))
    return _pubsub(configure, uri=ns.PUBSUB_OWNER)


def write_default_configuration(config: NodeConfig) -> Element:
    """§8.3: what a new node is like."""
    return _pubsub(Element(ns.PUBSUB_OWNER, "default", None, forms.write_node_config(config)), uri=ns.PUBSUB_OWNER)


def write_affiliations(node: str, affiliations: Sequence[Affiliated]) -> Element:
    """§8.9.1: everybody's affiliations with a node, for its owner."""
    children = (
        Element(ns.PUBSUB_OWNER, "affiliation", {"jid": str(one.jid), "affiliation": str(one.affiliation)})
        for one in affiliations
    )
    return _pubsub(Element(ns.PUBSUB_OWNER, "affiliations", {"node": node}, *children), uri=ns.PUBSUB_OWNER)


def write_subscriptions(node: str, subscriptions: Sequence[Subscription]) -> Element:
    """§8.8.1: everybody's subscriptions to a node, for its owner."""
    children = (_write_subscription(ns.PUBSUB_OWNER, one, node=False) for one in subscriptions)
    return _pubsub(Element(ns.PUBSUB_OWNER, "subscriptions", {"node": node}, *children), uri=ns.PUBSUB_OWNER)


# asking others


def subscribe_request(node: str, subscriber: JID) -> Element:
    """A request of ours to subscribe somebody here elsewhere."""
    return _pubsub(Element(ns.PUBSUB, "subscribe", {"node": node, "jid": str(subscriber)}))


def items_request(node: str, item_ids: Iterable[str]) -> Element:
    """A request of ours for items elsewhere."""
    items = (Element(ns.PUBSUB, "item", {"id": item_id}) for item_id in item_ids)
    return _pubsub(Element(ns.PUBSUB, "items", {"node": node}, *items))


def read_answered_items(answer: Element | None) -> tuple[NoticedItem, ...]:
    """The items in another service's answer. Raises BadRequest."""
    items = None if answer is None else answer.find(ns.PUBSUB, "items")
    return () if items is None else read_items_in(items)


def read_refusal(answer: Stanza) -> Refusal:
    """What another service's error says, as a refusal of ours, to be passed on."""
    error = answer.element.find(ns.CLIENT, "error")
    name, _ = read_condition(answer.element)
    children = [] if error is None else list(error.elements())
    application = next((child.name for child in children if child.uri == ns.PUBSUB_ERRORS), None)
    text = next((child.text for child in children if child.is_(ns.STANZAS, "text")), "")
    kind = _REFUSALS.get((name, application)) or _REFUSALS.get((name, None)) or ServiceUnavailable
    if kind is Gone:
        uri = next((child.text for child in children if child.is_(ns.STANZAS, "gone")), "")
        return Gone(text[:NAME_MAX_CHARACTERS], uri=uri.strip()[:NAME_MAX_CHARACTERS])
    return kind(text[:NAME_MAX_CHARACTERS])


def read_subscription(answer: Element | None) -> tuple[SubscriptionState, str] | None:
    """State and identifier in another service's answer to a subscription; None if it says nothing (§6.1.2)."""
    subscription = None if answer is None else answer.find(ns.PUBSUB, "subscription")
    if subscription is None:
        return None
    try:
        state = SubscriptionState(subscription.get("subscription") or "subscribed")
    except ValueError:
        # "unconfigured" (§6.1.2): subscribed, but nothing comes until its options are set.
        state = SubscriptionState.PENDING
    return state, (subscription.get("subid") or "")[:NAME_MAX_CHARACTERS]
