"""RFC 4287, RFC 4685, XEP-0277, XEP-0472: what a post says, read from its Atom entry.

Reading is lenient: what is missing stays empty, what is repeated counts once, what is unknown is passed over. The
payload itself is kept as it came; only a link to the post itself is added when the author's client left it out.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from html import unescape
from typing import Final
from urllib.parse import quote, unquote

from microblog.model.entry import Entry, Link
from microblog.model.errors import InvalidPayload, JIDMalformed
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.xml import Element, read_stamp

LINKS_MAX: Final = 50
CATEGORIES_MAX: Final = 20
_LANG: Final = "{" + ns.XML + "}lang"
# What may stand in a node or an item of an xmpp: URI without being escaped (RFC 5122 §2.2, XEP-0147).
_SAFE: Final = "-._~!$'()*+,"
_SPACES: Final = re.compile(r"[ \t\r\n]+")
_TAG: Final = re.compile(r"<(/?)([A-Za-z!][A-Za-z0-9]*)[^<>]*>")
_BLOCKS: Final = frozenset(
    ("p", "div", "br", "li", "ul", "ol", "blockquote", "pre", "h1", "h2", "h3", "h4", "h5", "h6")
)


def is_entry(payload: Element) -> bool:
    """True for an Atom entry."""
    return payload.is_(ns.ATOM, "entry")


def check_post(payload: Element, item_id: str | None) -> None:
    """What the microblog node takes (XEP-0277 §2): an Atom entry; in item ``0`` also the feed's own description.

    Raises InvalidPayload.
    """
    if is_entry(payload) or (item_id == "0" and payload.is_(ns.ATOM, "feed")):
        return
    raise InvalidPayload("this node takes Atom entries")


def read_entry(payload: Element) -> Entry | None:
    """What an Atom entry says; None for any other payload."""
    if not is_entry(payload):
        return None
    # Looked at once for all: every post that is published or comes in is read here.
    atoms: dict[str, list[Element]] = {}
    replies: list[Element] = []
    for child in payload.children:
        if isinstance(child, str):
            continue
        if child.uri == ns.ATOM:
            atoms.setdefault(child.name, []).append(child)
        elif child.is_(ns.THREADING, "in-reply-to"):
            replies.append(child)
    author = atoms.get("author", (None,))[0]
    return Entry(
        id=_line(atoms.get("id")),
        title=_text(atoms.get("title")),
        updated=_instant(atoms.get("updated")),
        published=_instant(atoms.get("published")),
        author_name="" if author is None else (author.child_text(ns.ATOM, "name") or "").strip(),
        author_uri="" if author is None else (author.child_text(ns.ATOM, "uri") or "").strip(),
        summary=_text(atoms.get("summary")),
        content=_text(atoms.get("content")),
        links=tuple(_links(atoms.get("link", ()))),
        categories=_categories(atoms.get("category", ())),
        in_reply_to=_in_reply_to(replies) if replies else None,
        language=payload.get(_LANG) or "",
    )


def _line(found: Sequence[Element] | None) -> str:
    return found[0].text.strip() if found else ""


def _instant(found: Sequence[Element] | None) -> datetime | None:
    try:
        return read_stamp(found[0].text) if found else None
    except (ValueError, OverflowError):
        return None


def _text(found: Sequence[Element] | None) -> str:
    """A text construct as plain text; of several, one that is text already."""
    best: Element | None = None
    for child in found or ():
        kind = child.get("type") or "text"
        if "src" in child.attributes or kind not in ("text", "html", "xhtml"):
            continue
        if best is None or (kind == "text" and best.get("type") not in (None, "text")):
            best = child
    if best is None:
        return ""
    match best.get("type"):
        case "xhtml":
            return _tidy(_flat(best))
        case "html":
            return html_to_text(best.text)
        case _:
            return best.text.strip()


def _flat(element: Element) -> str:
    parts: list[str] = []
    for child in element.children:
        if isinstance(child, str):
            parts.append(_SPACES.sub(" ", child))
        elif child.name in ("script", "style"):
            continue
        else:
            inner = _flat(child)
            parts.append(f"\n{inner}\n" if child.name in _BLOCKS else inner)
    return "".join(parts)


def _tidy(text: str) -> str:
    lines = (line.strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def html_to_text(markup: str) -> str:
    """The plain text of HTML, without what scripts and styles contain. For reading, not for showing: no sanitiser."""
    parts: list[str] = []
    hidden = ""
    end = 0
    # Not html.parser: it is quadratic for markup made to be so.
    for tag in _TAG.finditer(markup):
        if not hidden:
            parts.append(_SPACES.sub(" ", markup[end : tag.start()]))
        end = tag.end()
        closing, name = tag[1], tag[2].lower()
        if hidden:
            hidden = "" if closing and name == hidden else hidden
        elif name in ("script", "style") and not closing:
            hidden = name
        elif name in _BLOCKS:
            parts.append("\n")
    if not hidden:
        parts.append(_SPACES.sub(" ", markup[end:]))
    return _tidy(unescape("".join(parts)))


def _links(elements: Iterable[Element]) -> list[Link]:
    found: list[Link] = []
    for child in elements:
        href = (child.get("href") or "").strip()
        if href and len(found) < LINKS_MAX:
            found.append(
                Link(
                    href=href,
                    rel=child.get("rel") or "alternate",
                    type=child.get("type") or "",
                    title=child.get("title") or "",
                    ref=child.get("ref") or "",
                )
            )
    return found


def _categories(elements: Iterable[Element]) -> tuple[str, ...]:
    terms = (child.get("term") for child in elements)
    return tuple(dict.fromkeys(term.strip() for term in terms if term and term.strip()))[:CATEGORIES_MAX]


def _in_reply_to(elements: Iterable[Element]) -> Link | None:
    """Of several, the one that is an XMPP address (XEP-0472 §3.4)."""
    found = [
        Link(
            href=(child.get("href") or "").strip(),
            rel="in-reply-to",
            type=child.get("type") or "",
            ref=child.get("ref") or "",
        )
        for child in elements
        if child.get("href") or child.get("ref")
    ]
    return next((link for link in found if link.href.startswith("xmpp:")), found[0] if found else None)


def item_uri(service: JID, node: str, item_id: str) -> str:
    """The address of an item (XEP-0277 §2.2, XEP-0060 §12.22)."""
    return f"{_node_uri(service, node)};item={quote(item_id, safe=_SAFE)}"


@lru_cache(maxsize=1024)
def _node_uri(service: JID, node: str) -> str:
    local = f"{quote(service.localpart, safe=_SAFE)}@" if service.localpart else ""
    return f"xmpp:{local}{service.domainpart}?;node={quote(node, safe=_SAFE)}"


def read_item_uri(uri: str) -> tuple[JID, str, str | None] | None:
    """The service, node and item of an ``xmpp:`` URI; None for any other.

    COMPAT: Movim does not escape the colons of the node, others do; both are read.
    """
    if not uri.startswith("xmpp:"):
        return None
    address, _, query = uri.removeprefix("xmpp:").partition("?")
    pairs = dict(pair.strip().partition("=")[::2] for pair in query.split(";"))
    node, item_id = unquote(pairs.get("node", "")), unquote(pairs.get("item", ""))
    try:
        service = JID.parse(unquote(address.strip("/")))
    except JIDMalformed:
        return None
    return (service, node, item_id or None) if node else None


def with_alternate(entry: Element, uri: str) -> Element:
    """The entry with a link to itself by XMPP, if it has none (XEP-0472 §3.3)."""
    for link in entry.find_all(ns.ATOM, "link"):
        if (link.get("rel") or "alternate") == "alternate" and (link.get("href") or "").startswith("xmpp:"):
            return entry
    linked = entry.replaced()
    linked.children = [*entry.children, Element(ns.ATOM, "link", {"rel": "alternate", "href": uri})]
    return linked
