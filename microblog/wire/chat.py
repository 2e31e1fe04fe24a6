"""What people say in chat: XEP-0308, XEP-0424, XEP-0444, XEP-0461, XEP-0066, and what is no saying at all.

A ``Saying`` is what one message means. Machines talk too: what says of itself that it is not to be kept (XEP-0334),
copies of other messages (XEP-0280), typing, receipts and markers mean nothing and are answered by nobody, so that two
machines never keep each other talking. Our own echoes are marked that way.

Text that stands in for something that a client does not know is left out, lest it be taken for a post.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire import stanza as stanzas
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, read_stamp

REACTIONS_MAX: Final = 10
REACTION_MAX_CHARACTERS: Final = 32
_ENCRYPTED: Final = frozenset(
    (
        (ns.OMEMO, "encrypted"),
        (ns.OMEMO_2, "encrypted"),
        (ns.OPENPGP, "openpgp"),
        (ns.OPENPGP_LEGACY, "x"),
        (ns.ENCRYPTION, "encryption"),
    )
)
_KEYED: Final = frozenset(((ns.OMEMO, "encrypted"), (ns.OMEMO_2, "encrypted")))
_OTR: Final = "?OTR"
# COMPAT: XEP-0424 before 0.4, which many clients still send.
_RETRACT_0: Final = "urn:xmpp:message-retract:0"
_FASTEN: Final = "urn:xmpp:fasten:0"
_LANG: Final = "{" + ns.XML + "}lang"
_LINK: Final = re.compile(r"https?://\S+", re.IGNORECASE)
_NUMBERED: Final = re.compile(r"n([0-9]{1,9})(?:-[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """What a message means. ``id``: by which the sender will refer to it.

    ``corrects``, ``retracts``, ``answers``, ``reacts_to``: the id of the message it is about; ``reactions``: all that
    the sender has for that one now. ``encrypted``: nobody here can read it. ``written``: when, if it comes late.
    """

    id: str | None = None
    text: str = ""
    corrects: str | None = None
    retracts: str | None = None
    answers: str | None = None
    reacts_to: str | None = None
    reactions: tuple[str, ...] = ()
    encrypted: bool = False
    written: datetime | None = None
    late: bool = False
    enclosures: tuple[str, ...] = ()


def read_saying(message: Stanza) -> Saying | None:
    """What a message means; None if nothing."""
    element = message.element
    if _is_noise(element):
        return None
    id_ = message.id or _id_of(element.find(ns.STANZA_ID, "origin-id"))
    if any((child.uri, child.name) in _ENCRYPTED for child in element.elements()):
        return Saying(id=id_, encrypted=True) if _has_content(element) else None
    retracts = _retracted(element)
    if retracts:
        return Saying(id=id_, retracts=retracts)
    reactions = element.find(ns.REACTIONS, "reactions")
    if reactions is not None:
        return Saying(id=id_, reacts_to=_id_of(reactions) or "", reactions=_reactions(reactions))
    reply = element.find(ns.REPLY, "reply")
    text = _body(element, without_quote=reply is not None).strip()
    if not text:
        return None
    if text.startswith(_OTR):
        return Saying(id=id_, encrypted=True)
    late, written = _delay(element)
    return Saying(
        id=id_,
        text=text,
        corrects=_id_of(element.find(ns.CORRECT, "replace")),
        answers=_id_of(reply),
        written=written,
        late=late,
        enclosures=_enclosures(element),
    )


def _is_noise(element: Element) -> bool:
    """Copies, and what asks not to be kept."""
    return any(
        (child.uri == ns.CARBONS and child.name in ("sent", "received"))
        or (child.uri == ns.HINTS and child.name == "no-store")
        or child.is_("urn:xmpp:mam:2", "result")
        for child in element.elements()
    )


def _has_content(element: Element) -> bool:
    """Keys are sent around without a word."""
    keyed = [child for child in element.elements() if (child.uri, child.name) in _KEYED]
    return not keyed or any(child.find(child.uri, "payload") is not None for child in keyed)


def _id_of(element: Element | None) -> str | None:
    return None if element is None else (element.get("id") or None)


def _retracted(element: Element) -> str | None:
    retract = element.find(ns.RETRACT, "retract")
    if retract is not None:
        return _id_of(retract)
    fastened = element.find(_FASTEN, "apply-to")
    if fastened is not None and fastened.find(_RETRACT_0, "retract") is not None:
        return _id_of(fastened)
    return None


def _reactions(element: Element) -> tuple[str, ...]:
    found = (child.text.strip() for child in element.find_all(ns.REACTIONS, "reaction"))
    return tuple(
        dict.fromkeys(reaction for reaction in found if reaction and len(reaction) <= REACTION_MAX_CHARACTERS)
    )[:REACTIONS_MAX]


def _body(element: Element, *, without_quote: bool) -> str:
    """The text; of several the one that says no language. Without what it quotes for clients that know no replies."""
    bodies = list(element.find_all(ns.CLIENT, "body"))
    if not bodies:
        return ""
    text = next((body for body in bodies if body.get(_LANG) is None), bodies[0]).text
    if not without_quote:
        return text
    for fallback in element.find_all(ns.FALLBACK, "fallback"):
        if fallback.get("for") != ns.REPLY:
            continue
        part = fallback.find(ns.FALLBACK, "body")
        try:
            start = 0 if part is None else int(part.get("start") or 0)
            end = len(text) if part is None else int(part.get("end") or len(text))
        except ValueError:
            continue
        if 0 <= start < end:
            text = text[:start] + text[end:]
    return text


def _delay(element: Element) -> tuple[bool, datetime | None]:
    """Was it kept somewhere on its way, and when was it written?"""
    stamps: list[datetime] = []
    delays = list(element.find_all(ns.DELAY, "delay"))
    for delay in delays:
        try:
            stamps.append(read_stamp(delay.get("stamp") or ""))
        except (ValueError, OverflowError):
            continue
    return bool(delays), min(stamps, default=None)


def _enclosures(element: Element) -> tuple[str, ...]:
    urls = (x.child_text(ns.OUT_OF_BAND, "url") or "" for x in element.find_all(ns.OUT_OF_BAND, "x"))
    return tuple(dict.fromkeys(url for url in (url.strip() for url in urls) if _LINK.fullmatch(url)))[:REACTIONS_MAX]


def number_of(message_id: str) -> int | None:
    """The number of the item that a line of ours showed, by the line's id."""
    numbered = _NUMBERED.fullmatch(message_id)
    return int(numbered[1]) if numbered else None


def line_id(number: int) -> str:
    """The id of the line that shows an item."""
    return f"n{number}"


def write(
    text: str,
    from_: JID,
    to: JID,
    *,
    type_: str = "chat",
    id_: str | None = None,
    language: str = "",
    echo: bool = False,
) -> Stanza:
    """A message of the node. ``echo``: not to be kept, and not to be answered by a machine."""
    hint = Element(ns.HINTS, "no-store") if echo else None
    return _said(stanzas.message(type_, from_, to, Element(ns.CLIENT, "body", None, text), hint, id_=id_), language)


def write_correction(text: str, from_: JID, to: JID, *, number: int, seq: int, language: str = "") -> Stanza:
    """XEP-0308: a line that takes the place of the one that showed the item before."""
    replace = Element(ns.CORRECT, "replace", {"id": line_id(number)})
    body = Element(ns.CLIENT, "body", None, text)
    return _said(stanzas.message("chat", from_, to, body, replace, id_=f"{line_id(number)}-{seq}"), language)


def write_retraction(text: str, from_: JID, to: JID, *, number: int, seq: int, language: str = "") -> Stanza:
    """XEP-0424: the line that showed the item is taken back. ``text``: for clients that cannot."""
    retract = Element(ns.RETRACT, "retract", {"id": line_id(number)})
    fallback = Element(ns.FALLBACK, "fallback", {"for": ns.RETRACT})
    body = Element(ns.CLIENT, "body", None, text)
    message = stanzas.message("chat", from_, to, retract, fallback, body, id_=f"r{number}-{seq}")
    return _said(message, language)


def _said(message: Stanza, language: str) -> Stanza:
    if not language:
        return message
    return Stanza(
        message.kind,
        message.type,
        message.id,
        message.from_,
        message.to,
        message.element.replaced(**{_LANG: language}),
        message.proof,
    )
