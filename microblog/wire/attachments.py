"""XEP-0470: what somebody attaches to an item: that it was noticed, and reactions to it; and the summary of it all.

Somebody's attachments are one item, replaced as a whole: whoever changes one publishes the others again, those that are
unknown here included. A client that says the same twice has said it once.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from microblog.wire import ns
from microblog.wire.xml import Element, stamp

REACTIONS_MAX: Final = 20
# Families and flags are many characters that are shown as one.
REACTION_MAX_CHARACTERS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What one person attached to an item."""

    noticed: bool = False
    reactions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How many people attached what to an item."""

    noticed: int = 0
    reactions: Mapping[str, int] = field(default_factory=dict)


def read_attachments(payload: Element) -> Attached | None:
    """What is attached; None for any other payload."""
    if not payload.is_(ns.ATTACHMENTS, "attachments"):
        return None
    found: dict[str, None] = {}
    for reactions in payload.find_all(ns.ATTACHMENTS, "reactions"):
        for reaction in _reactions(child.text for child in reactions.find_all(ns.ATTACHMENTS, "reaction")):
            if len(found) < REACTIONS_MAX:
                found[reaction] = None
    return Attached(noticed=payload.find(ns.ATTACHMENTS, "noticed") is not None, reactions=tuple(found))


def _reactions(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        reaction = text.strip()
        if is_reaction(reaction):
            yield reaction


def is_reaction(text: str) -> bool:
    """Something short that is neither words nor space nor invisible: an emoji, as far as can be known (XEP-0444)."""
    if not text or len(text) > REACTION_MAX_CHARACTERS:
        return False
    kinds = [unicodedata.category(character) for character in text]
    # Emoji that are newer than our tables are unassigned (Cn); digits stand in keycaps, joiners (Cf) and marks between.
    seen = any(kind[0] == "S" or kind in ("Cn", "Po") for kind in kinds) or any(kind == "Me" for kind in kinds)
    return seen and not any(kind[0] in "LZ" or kind == "Cc" for kind in kinds)


def write_attachments(attached: Attached, when: datetime, *, before: Element | None = None) -> Element:
    """Somebody's attachments. ``before``: what they had attached until now, of which stays what is unknown here."""
    children: list[Element] = []
    known = ("noticed", "reactions")
    for child in () if before is None else before.elements():
        if not (child.uri == ns.ATTACHMENTS and child.name in known):
            children.append(child)
    since = {"timestamp": stamp(when)}
    if attached.noticed:
        old = None if before is None else before.find(ns.ATTACHMENTS, "noticed")
        children.append(Element(ns.ATTACHMENTS, "noticed", since) if old is None else old)
    if attached.reactions:
        reactions = (Element(ns.ATTACHMENTS, "reaction", None, text) for text in dict.fromkeys(attached.reactions))
        children.append(Element(ns.ATTACHMENTS, "reactions", since, *reactions))
    return Element(ns.ATTACHMENTS, "attachments", None, *children)


def write_summary(summary: Summary) -> Element:
    """§4.6: an item of the summary node; a count of one is not said (§4.8.2)."""
    element = Element(ns.ATTACHMENTS_SUMMARY, "summary")
    if summary.noticed:
        element.append(Element(ns.ATTACHMENTS_SUMMARY, "noticed", {"count": str(summary.noticed)}))
    if summary.reactions:
        reactions = Element(ns.ATTACHMENTS_SUMMARY, "reactions")
        for text, count in summary.reactions.items():
            attributes = {"count": str(count)} if count > 1 else {}
            reactions.append(Element(ns.ATTACHMENTS_SUMMARY, "reaction", attributes, text))
        element.append(reactions)
    return element
