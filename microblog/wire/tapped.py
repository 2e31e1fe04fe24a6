"""docs/protocol/events.md as the program speaks it: what it asks, and what it is told.

What was told in XML becomes the value from which a webhook's JSON is made, so that a program behind a tap and one that
is called by its node read the same.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from microblog.model.errors import JIDMalformed
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import Node, NodeConfig
from microblog.model.program import EventKind, ProgramEvent, Source, read_cursor
from microblog.model.uri import read_uri
from microblog.wire import atom, events, ns
from microblog.wire.xml import Element, read_stamp, to_text

# Why there are no more events, and opening the subscription again is not for the program to decide.
_WORD: Final = re.compile(r"[!-~]{1,200}")
FINAL: Final = (events.TAKEN, events.DELETED)


@dataclass(frozen=True, slots=True)
class Told:
    """One event. ``body``: as JSON."""

    id: str
    cursor: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """Events of a subscription, in order; or, with ``closed``, why no more come."""

    name: str
    events: tuple[Told, ...] = ()
    closed: str = ""


def write_open(name: str, sources: Sequence[Source], window: int, *, start: bool) -> Element:
    """Come for events."""
    attributes = {"name": name, "window": str(window), "from": events.FROM_START if start else events.FROM_NOW}
    return Element(ns.EVENTS, "open", attributes, *(Element(ns.EVENTS, "source", None, one.value) for one in sources))


def write_ack(name: str, cursor: str) -> Element:
    """All up to there is done with."""
    return Element(ns.EVENTS, "ack", {"name": name, "cursor": cursor})


def read_message(message: Element) -> Heard | None:
    """What a message says of a subscription; None if nothing. Raises ValueError."""
    found = message.find(ns.EVENTS, "events")
    if found is not None:
        told = tuple(read_event(child) for child in found.find_all(ns.EVENTS, "event"))
        return Heard(found.get("name") or "", told)
    closed = message.find(ns.EVENTS, "closed")
    if closed is not None:
        return Heard(closed.get("name") or "", closed=closed.get("reason") or events.LOST)
    return None


def read_event(element: Element) -> Told:
    """An event, as a webhook would have it. Raises ValueError: it has no id or no cursor.

    What we cannot read, as it may come from a later version of a node, the program gets as it is.
    """
    id_, cursor = element.get("id") or "", element.get("cursor") or ""
    if not _WORD.fullmatch(id_) or not _WORD.fullmatch(cursor):
        raise ValueError("an event without its id or cursor")
    try:
        return Told(id_, cursor, as_json(_read(element, id_, cursor)))
    except (ValueError, JIDMalformed):
        return Told(id_, cursor, _written({**element.attributes, "xml": to_text(element)}))


def as_json(event: ProgramEvent) -> bytes:
    """The body of a call."""
    return _written(events.to_json(event))


def _written(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _read(element: Element, id_: str, cursor: str) -> ProgramEvent:
    author, uri, track = element.get("author"), element.get("uri"), element.get("track")
    time = read_stamp(element.get("time") or "")
    position = read_cursor(cursor)
    if position is None:
        raise ValueError("a cursor of another kind")
    publisher = None if author is None else JID.parse(author)
    node, item_id = _place(uri)
    return ProgramEvent(
        id=id_,
        cursor=position,
        kind=EventKind(element.get("kind") or ""),
        source=Source(element.get("source") or ""),
        time=time,
        gap=element.get("gap") in ("true", "1"),
        node=node,
        item_id=item_id,
        item=_item(element.find(ns.EVENTS, "item"), publisher, time),
        author=publisher,
        track=None if track is None else int(track),
        payload=element.child_text(ns.JSON, "json") or "",
    )


def _place(uri: str | None) -> tuple[Node | None, str]:
    if uri is None:
        return None, ""
    address = read_uri(uri)
    if address is None:
        raise ValueError("an event at no address")
    return Node(key=0, service=address.service, name=address.node, config=NodeConfig()), address.item_id or ""


def _item(element: Element | None, publisher: JID | None, time: datetime) -> Item | None:
    if element is None:
        return None
    if publisher is None:
        raise ValueError("an item of nobody")
    payload = element.first()
    entry = None if payload is None else atom.read_entry(payload)
    published = time if entry is None else entry.published or time
    return Item(
        id=element.get("id") or "",
        publisher=publisher,
        payload="" if payload is None else to_text(payload),
        published=published,
        updated=published if entry is None else entry.updated or published,
        audience=Audience(element.get("audience") or ""),
    )
