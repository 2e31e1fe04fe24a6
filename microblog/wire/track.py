"""docs/protocol/track.md: what is written and read at the node of tracks.

A track is a subscription (XEP-0060 §6) whose options say what is looked for. Of several, a notification names those
that it is for by their SubIDs, as SHIM headers (§12.19, XEP-0131).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from microblog.model.errors import InvalidOptions, JIDMalformed
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.wire import ns
from microblog.wire._wokkel import Field, Form, write_form
from microblog.wire.pubsub import NAME_MAX_CHARACTERS
from microblog.wire.stanza import message
from microblog.wire.xml import Element, Raw, read_stamp, stamp

SUBIDS_MAX: Final = 100
UNCONFIGURED: Final = "unconfigured"
_PREFIX: Final = "microblog#"
_DELIVER: Final = "deliver"
_EXPIRE: Final = "expire"
_BOOLEANS: Final = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is looked for, and how it is told. What was not said is None."""

    query: str | None = None
    language: str | None = None
    near: str | None = None
    urgent: bool | None = None
    deliver: bool | None = None
    expire: datetime | None = None

    @property
    def looks(self) -> bool:
        """Is it said what is looked for?"""
        return (self.query, self.language, self.near) != (None, None, None)

    @property
    def text(self) -> str:
        """All that is looked for, as one query."""
        language = f"lang:{self.language}" if self.language else ""
        return " ".join(part for part in (self.query, language, _near(self.near or "")) if part)


def _near(near: str) -> str:
    """A place, which may be of several words, and how far around it."""
    place, _, far = near.rpartition(" ")
    if not place or not far[:1].isdigit():
        place, far = near, ""
    place = place.replace('"', "").strip()
    return f'near "{place}" {far}'.strip() if place else ""


def read_options(fields: Mapping[str, tuple[str, ...]]) -> Options:
    """The options in a form. Raises InvalidOptions."""
    found: dict[str, str | bool | datetime] = {}
    for name, values in fields.items():
        short = name.removeprefix(_PREFIX)
        if len(values) > 1 or not (name in (_DELIVER, _EXPIRE) or (name != short and short in _FIELDS)):
            raise InvalidOptions(f"{name}: unknown option, or too much of it")
        value = values[0].strip() if values else ""
        if short in (_DELIVER, "urgent"):
            if value not in _BOOLEANS:
                raise InvalidOptions(f"{name}: yes or no")
            found[short] = _BOOLEANS[value]
        elif short == _EXPIRE:
            if value:
                found[short] = _instant(value)
        else:
            found[short] = value
    return Options(**found)  # type: ignore[arg-type]  # fields of several types


def _instant(text: str) -> datetime:
    try:
        return read_stamp(text)
    except (ValueError, OverflowError) as error:
        raise InvalidOptions("pubsub#expire: a date and time (XEP-0082)") from error


_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "query": ("text-single", 'What to look for: words, "phrases", #tags, from NAME'),
    "language": ("text-single", "In which language"),
    "near": ("text-single", "Near a place: its name or latitude,longitude, and how far around it"),
    "urgent": ("boolean", "Whether to be told also when busy"),
}


def write_options(options: Options, *, kind: str = "form") -> Element:
    """A form with the options as they are."""
    form = Form(kind, formNamespace=ns.PUBSUB_SUBSCRIBE_OPTIONS)
    shown = kind == "form"
    for name, (type_, label) in _FIELDS.items():
        value = getattr(options, name)
        if shown or value is not None:
            text = _text(bool(value)) if type_ == "boolean" else value or ""
            form.addField(Field(type_, _PREFIX + name, value=text, label=label if shown else None))
    if shown or options.deliver is not None:
        label = "Whether to deliver event notifications"
        deliver = _text(options.deliver is not False)
        form.addField(Field("boolean", "pubsub#deliver", value=deliver, label=label if shown else None))
    if shown or options.expire is not None:
        label = "Until when, unless it is asked for again"
        expire = "" if options.expire is None else stamp(options.expire)
        form.addField(Field("text-single", "pubsub#expire", value=expire, label=label if shown else None))
    return write_form(form)


def _text(value: bool) -> str:
    return "1" if value else "0"


def write_unconfigured(owner: JID, subid: str) -> Element:
    """A new subscription of which is to be said what it looks for (§12.19)."""
    required = Element(ns.PUBSUB, "subscribe-options", None, Element(ns.PUBSUB, "required"))
    attributes = {"node": ns.TRACK, "jid": str(owner), "subscription": UNCONFIGURED, "subid": subid}
    return Element(ns.PUBSUB, "pubsub", None, Element(ns.PUBSUB, "subscription", attributes, required))


def subscribe_request(owner: JID, query: str) -> Element:
    """A request of ours to track in somebody's name elsewhere (§6.1, §6.3.7)."""
    attributes = {"node": ns.TRACK, "jid": str(owner)}
    form = write_options(Options(query=query), kind="submit")
    return Element(
        ns.PUBSUB,
        "pubsub",
        None,
        Element(ns.PUBSUB, "subscribe", attributes),
        Element(ns.PUBSUB, "options", attributes, form),
    )


def notification(from_: JID, to: JID, subids: Sequence[str], node: Node, item: Item) -> str:
    """The ready stanza that tells somebody of a post that meets their subscriptions, and whose feed it is in."""
    attributes = {"id": item.id, "publisher": str(node.service)}
    return _notification(from_, to, subids, Element(ns.PUBSUB_EVENT, "item", attributes, Raw(item.payload)))


def retraction(from_: JID, to: JID, subids: Sequence[str], node: Node, item: Item) -> str:
    """The ready stanza that tells somebody that a post is gone that they were told of."""
    attributes = {"id": item.id, "publisher": str(node.service)}
    return _notification(from_, to, subids, Element(ns.PUBSUB_EVENT, "retract", attributes))


def _notification(from_: JID, to: JID, subids: Iterable[str], told: Element) -> str:
    event = Element(ns.PUBSUB_EVENT, "event", None, Element(ns.PUBSUB_EVENT, "items", {"node": ns.TRACK}, told))
    headers = Element(
        ns.SHIM, "headers", None, *(Element(ns.SHIM, "header", {"name": "SubID"}, subid) for subid in subids)
    )
    return message("headline", from_, to, event, headers).to_bytes().decode()


def read_publishers(message: Element) -> Mapping[str, frozenset[JID]]:
    """Whose the items are that a notification says are gone, by their ids; of some it may not be said."""
    found: dict[str, frozenset[JID]] = {}
    event = message.find(ns.PUBSUB_EVENT, "event")
    items = None if event is None else event.find(ns.PUBSUB_EVENT, "items")
    for gone in () if items is None else items.find_all(ns.PUBSUB_EVENT, "retract"):
        item_id, publisher = gone.get("id"), gone.get("publisher")
        if not item_id or not publisher:
            continue
        try:
            found[item_id] = found.get(item_id, frozenset()) | {JID.parse(publisher).bare}
        except JIDMalformed:
            found.setdefault(item_id, frozenset())
    return found


def read_subids(message: Element) -> frozenset[str]:
    """The subscriptions that a notification is for."""
    headers = message.find(ns.SHIM, "headers")
    if headers is None:
        return frozenset()
    named = (header.text.strip() for header in headers.find_all(ns.SHIM, "header") if header.get("name") == "SubID")
    found = [subid for subid in named if 0 < len(subid) <= NAME_MAX_CHARACTERS]
    return frozenset(found[:SUBIDS_MAX])
