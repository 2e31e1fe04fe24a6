"""docs/protocol/events.md as the program speaks it: what it asks, and what it is told.

What is told becomes the JSON of a webhook, so that a program behind a tap and one that is called by its node read the
same.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from microblog.model.errors import BadRequest
from microblog.model.program import ProgramEvent, Source
from microblog.wire import events, ns
from microblog.wire.xml import Element, to_text

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
        return Told(id_, cursor, _written(events.read_json(element)))
    except (BadRequest, ValueError):
        return Told(id_, cursor, _written({**element.attributes, "xml": to_text(element)}))


def as_json(event: ProgramEvent) -> bytes:
    """The body of a call."""
    return _written(events.to_json(event))


def _written(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
