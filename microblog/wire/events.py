"""docs/protocol/events.md: events for programs, in XML and in JSON.

An item is told with its payload as it is stored. In JSON what an Atom entry says is beside it in plain fields, for
programs that are not to know Atom.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from microblog.model.entry import Entry
from microblog.model.errors import BadRequest
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.program import Position, Program, ProgramEvent, Source, is_name, read_cursor
from microblog.model.uri import item_uri, node_uri
from microblog.wire import atom, ns, stanza
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, Raw, stamp, to_text

WINDOW: Final = 50
WINDOW_MAX: Final = 200
FROM_NOW: Final = "now"
FROM_START: Final = "start"
# Why a stream of events ends that its program did not close.
TAKEN: Final = "taken"
DELETED: Final = "deleted"
LOST: Final = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A program comes for its events. No sources: those that it has. ``start``: a new one begins with the log."""

    name: str
    window: int = WINDOW
    sources: frozenset[Source] = frozenset()
    start: bool = False


# what programs say


def read_open(element: Element) -> Open:
    """Raises BadRequest."""
    window = element.get("window") or str(WINDOW)
    if not (window.isascii() and window.isdigit() and len(window) <= 9 and int(window) > 0):
        raise BadRequest("a window is a positive number")
    begin = element.get("from") or FROM_NOW
    if begin not in (FROM_NOW, FROM_START):
        raise BadRequest("events come from now or from the start")
    children = list(element.find_all(ns.EVENTS, "source"))
    try:
        sources = frozenset(Source(child.text.strip()) for child in children)
    except ValueError:
        raise BadRequest(f"sources are {', '.join(Source)}") from None
    return Open(
        name=read_name(element), window=min(int(window), WINDOW_MAX), sources=sources, start=begin == FROM_START
    )


def read_name(element: Element) -> str:
    """Of the program that is meant. Raises BadRequest."""
    name = element.get("name") or ""
    if not is_name(name):
        raise BadRequest("a program's name is of small letters, digits, dots and hyphens")
    return name


def read_ack(element: Element) -> tuple[str, Position]:
    """The program, and up to where it has done with what it was told. Raises BadRequest."""
    position = read_cursor(element.get("cursor") or "")
    if position is None:
        raise BadRequest("not a cursor of this service")
    return read_name(element), position


# what they are told


def write_opened(program: Program, window: int) -> Element:
    """It is open, behind this cursor."""
    attributes = {"name": program.name, "cursor": str(program.position), "window": str(window)}
    return Element(ns.EVENTS, "opened", attributes, *_sources(program))


def write_list(programs: Iterable[Program], readers: Mapping[str, JID]) -> Element:
    """All programs of somebody; ``readers``: by name, who reads its events now."""
    answer = Element(ns.EVENTS, "list")
    for program in programs:
        attributes = {"name": program.name, "cursor": str(program.position)}
        if program.acknowledged is not None:
            attributes["acknowledged"] = stamp(program.acknowledged)
        if program.name in readers:
            attributes["jid"] = str(readers[program.name])
        if program.url:
            attributes["webhook"] = "true"
        answer.append(Element(ns.EVENTS, "program", attributes, *_sources(program)))
    return answer


def _sources(program: Program) -> Sequence[Element]:
    return [Element(ns.EVENTS, "source", None, source.value) for source in Source if source in program.sources]


def write_closed(name: str, reason: str) -> Element:
    """No more events come here."""
    return Element(ns.EVENTS, "closed", {"name": name, "reason": reason})


def write_message(from_: JID, to: JID, content: Element) -> Stanza:
    """To whoever holds a stream of events; never kept for somebody who has gone."""
    hint = Element(ns.HINTS, "no-store")
    return stanza.message("headline", from_, to, content, hint)


def write_events(name: str, events: Iterable[ProgramEvent]) -> Element:
    """Some events, in order."""
    return Element(ns.EVENTS, "events", {"name": name}, *map(write_event, events))


def write_event(event: ProgramEvent) -> Element:
    """One event."""
    attributes = {
        "id": event.id,
        "cursor": str(event.cursor),
        "kind": event.kind.value,
        "source": event.source.value,
        "time": stamp(event.time),
    }
    if event.gap:
        attributes["gap"] = "true"
    if event.author is not None:
        attributes["author"] = str(event.author)
    if event.node is not None:
        attributes["uri"] = _uri(event)
    if event.track is not None:
        attributes["track"] = str(event.track)
    element = Element(ns.EVENTS, "event", attributes)
    if event.item is not None:
        payload = Raw(event.item.payload) if event.item.payload else None
        element.append(Element(ns.EVENTS, "item", _stated(event.item), payload))
    if event.payload:
        element.append(Element(ns.JSON, "json", None, event.payload))
    return element


def _uri(event: ProgramEvent) -> str:
    assert event.node is not None
    if not event.item_id:
        return node_uri(event.node.service, event.node.name)
    return item_uri(event.node.service, event.node.name, event.item_id)


# the same in JSON


def to_json(event: ProgramEvent) -> dict[str, Any]:
    """One event, for what speaks HTTP."""
    told: dict[str, Any] = {
        "id": event.id,
        "cursor": str(event.cursor),
        "kind": event.kind.value,
        "source": event.source.value,
        "time": stamp(event.time),
    }
    if event.gap:
        told["gap"] = True
    if event.author is not None:
        told["author"] = str(event.author)
    if event.node is not None:
        told["address"] = _uri(event)
    if event.track is not None:
        told["track"] = event.track
    if event.item is not None:
        told["item"] = _item(_stated(event.item), event.item.payload, atom.read_text(event.item.payload))
    if event.payload:
        told["call"] = json.loads(event.payload)
    return told


def read_json(event: Element) -> dict[str, Any]:
    """The same from what came as XML. Raises BadRequest."""
    attributes = event.attributes
    if not all(attributes.get(name) for name in ("id", "cursor", "kind", "source", "time")):
        raise BadRequest("an event without its cursor, or what it is")
    told: dict[str, Any] = {name: attributes[name] for name in ("id", "cursor", "kind", "source", "time")}
    if attributes.get("gap") in ("true", "1"):
        told["gap"] = True
    if "author" in attributes:
        told["author"] = attributes["author"]
    if "uri" in attributes:
        told["address"] = attributes["uri"]
    item, call = event.find(ns.EVENTS, "item"), event.find(ns.JSON, "json")
    try:
        if "track" in attributes:
            told["track"] = int(attributes["track"])
        if call is not None:
            told["call"] = json.loads(call.text)
    except (ValueError, RecursionError):
        raise BadRequest("an event that makes no sense") from None
    if item is not None:
        payload = item.first()
        written = "" if payload is None else to_text(payload)
        told["item"] = _item(item.attributes, written, None if payload is None else atom.read_entry(payload))
    return told


def _stated(item: Item) -> dict[str, str]:
    return {
        "id": item.id,
        "audience": item.audience.value,
        "published": stamp(item.published),
        "updated": stamp(item.updated),
    }


def _item(stated: Mapping[str, str], payload: str, entry: Entry | None) -> dict[str, Any]:
    told: dict[str, Any] = {**stated, "payload": payload}
    return told if entry is None else told | _entry(entry)


def _entry(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = {"title": entry.title, "text": entry.text}
    more = {
        "tags": list(entry.tags),
        "mentions": list(map(str, entry.mentions)),
        "answers": entry.answers,
        "repeats": entry.via,
        "language": entry.language,
        "warning": entry.warning,
    }
    told |= {name: value for name, value in more.items() if value}
    where = entry.location
    if where is not None and where.latitude is not None and where.longitude is not None:
        told["location"] = {"latitude": where.latitude, "longitude": where.longitude}
    return told
