"""RFC 4287 §3.1, §8.1: an entry without what could do something by itself.

Text is text; HTML and XHTML are what ``wire.html`` leaves of them, as XHTML; content of any other type, or that is
somewhere else, is nothing that XEP-0277 knows, and is left out. So are markup where none belongs and links that do not
lead anywhere. All that costs only where there is something of it: nearly every post is handed on as it came.
"""

from collections.abc import Iterator
from typing import Final

from microblog.wire import html, ns
from microblog.wire.xml import Element

_CONSTRUCTS: Final = frozenset(("title", "summary", "content", "rights", "subtitle"))
_PLAIN: Final = frozenset(("id", "author", "published", "updated", "category", "contributor", "generator"))
_FOREIGN_MARKUP: Final = frozenset(
    (ns.XHTML, "http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML", "http://www.w3.org/1999/html")
)


def sanitised(entry: Element) -> Element:
    """The entry without what could do something by itself; the very same if there is nothing of it, or it is none."""
    if not entry.is_(ns.ATOM, "entry"):
        return entry
    for child in entry.children:
        if isinstance(child, str) or (child.uri == ns.ATOM and child.name in _PLAIN):
            continue
        if _is_suspicious(child):
            break
    else:
        return entry
    clean = entry.replaced()
    clean.children = [
        kept for child in entry.children for kept in ((child,) if isinstance(child, str) else _harmless(child))
    ]
    return clean


def _is_suspicious(child: Element) -> bool:
    if child.uri == ns.ATOM:
        name = child.name
        if name == "link":
            return not html.is_safe_address((child.attributes.get("href") or "").strip())
        if name in _CONSTRUCTS:
            attributes = child.attributes
            if attributes and ("src" in attributes or attributes.get("type", "text") != "text"):
                return True
            return any(map(_is_element, child.children))
        return name == "source"
    return child.uri in _FOREIGN_MARKUP


def _is_element(child: Element | str) -> bool:
    return child.__class__ is Element


def _harmless(child: Element) -> Iterator[Element]:
    if not _is_suspicious(child):
        yield child
    elif child.uri == ns.ATOM and child.name == "source":
        # RFC 4287 §4.2.11: of which feed an entry was. Nobody shows more of it than what it is called.
        kept = [part for part in child.elements() if part.is_(ns.ATOM, "id") or not _is_suspicious(part)]
        yield Element(ns.ATOM, "source", None, *kept)
    elif child.uri == ns.ATOM and child.name in _CONSTRUCTS and "src" not in child.attributes:
        kind = child.get("type") or "text"
        if kind == "text":
            yield Element(ns.ATOM, child.name, child.attributes, child.text)
        elif kind in ("html", "xhtml"):
            div = html.sanitised(child.text) if kind == "html" else html.sanitised_xhtml(child)
            if div is not None:
                yield Element(ns.ATOM, child.name, {**child.attributes, "type": "xhtml"}, div)


def rich_texts(entry: Element) -> tuple[str, ...]:
    """The words of all that is markup in an entry."""
    return tuple(
        html.xhtml_to_text(child)
        for child in entry.elements()
        if child.uri == ns.ATOM and child.name in _CONSTRUCTS and child.get("type") == "xhtml"
    )
