"""Programs of our people: a durable subscription to what happens, how far it has come, and what it is told.

A program reads three logs side by side: what happened at nodes, what matched its owner's tracks, and what their rules
call out. How far it has come is a place in each; as a text that is the cursor, which means nothing to anybody else.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import Node

NAME_MAX_CHARACTERS: Final = 64
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
_CURSOR: Final = re.compile(r"(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})", re.ASCII)


class Source(StrEnum):
    """Where events come from. The same post is told once, as of the first of these that has it."""

    OWN = "own"
    MENTIONS = "mentions"
    HOME = "home"
    LOCAL = "local"
    TRACK = "track"
    CALLS = "calls"


class EventKind(StrEnum):
    """What happened: at a node, to a track, or in a rule."""

    PUBLISHED = "published"
    RETRACTED = "retracted"
    PURGED = "purged"
    MATCHED = "matched"
    CALLED = "called"


class Position(NamedTuple):
    """The last event, call and match that were told, or acknowledged."""

    seq: int = 0
    call: int = 0
    hit: int = 0

    def __str__(self) -> str:
        """As a cursor."""
        return f"{self.seq}.{self.call}.{self.hit}"

    def reaches(self, other: "Position") -> bool:
        """Is all that stands before the other also before this one?"""
        return self.seq >= other.seq and self.call >= other.call and self.hit >= other.hit

    def beyond(self, other: "Position") -> "Position":
        """What is before either of them."""
        return Position(*map(max, self, other))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A durable subscription. ``position``: what it acknowledged; ``missed``: some of what came then was forgotten.

    ``url``: of a webhook; without one it comes for its events.
    """

    key: int
    account: int
    name: str
    sources: frozenset[Source]
    position: Position
    acknowledged: datetime | None
    created: datetime
    missed: bool = False
    url: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramEvent:
    """One thing that happened. ``id``: always the same for the same event; ``cursor``: what acknowledges it.

    ``gap``: before it there was more, which is forgotten. ``node`` and ``item_id``: of what; ``item``: as it is now.
    ``track``: by which number the owner knows the track that it matched. ``payload``: JSON, of a call.
    """

    id: str
    cursor: Position
    kind: EventKind
    source: Source
    time: datetime
    gap: bool = False
    node: Node | None = None
    item_id: str = ""
    item: Item | None = None
    author: JID | None = None
    track: int | None = None
    payload: str = ""


def is_name(text: str) -> bool:
    """May a program be called that?"""
    return len(text) <= NAME_MAX_CHARACTERS and _NAME.fullmatch(text) is not None


def read_cursor(text: str) -> Position | None:
    """A position from its text; None if it is none."""
    match = _CURSOR.fullmatch(text)
    return None if match is None else Position(*map(int, match.groups()))
