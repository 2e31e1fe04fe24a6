"""An entry without what is to be looked at or listened to: words and links stay.

Enclosures (RFC 4287 §4.2.7.2) go, and links that say that they lead to media; so do pictures in XHTML, and what other
specifications attach to an entry or a message: media-sharing references (XEP-0385), shared files (XEP-0447), addresses
out of band (XEP-0066), Media RSS. HTML as text becomes XHTML on the way, as it is known for what it is only then.
"""

from typing import Final

from microblog.wire import html, ns
from microblog.wire.xml import Element

_CONSTRUCTS: Final = frozenset(("title", "summary", "content", "rights", "subtitle"))
_MEDIA_RELATIONS: Final = frozenset(("enclosure", "preview", "icon", "photo"))
_MEDIA_TYPES: Final = ("image/", "audio/", "video/")
_XHTML_MEDIA: Final = frozenset(
    ("img", "picture", "video", "audio", "source", "track", "svg", "object", "embed", "iframe", "canvas", "map")
)
_FOREIGN: Final = frozenset(
    (
        "urn:xmpp:sims:1",
        "urn:xmpp:sfs:0",
        "urn:xmpp:file:metadata:0",
        "urn:xmpp:bob",
        "urn:xmpp:http:upload:0",
        "http://search.yahoo.com/mrss/",
        ns.OUT_OF_BAND,
        ns.REFERENCE,
    )
)


def without_media(entry: Element) -> Element:
    """The entry without media; the very same if there are none, or it is no entry."""
    if not entry.is_(ns.ATOM, "entry"):
        return entry
    kept: list[Element | str] = []
    changed = False
    for child in entry.children:
        clean = child if isinstance(child, str) else _clean(child)
        changed = changed or clean is not child
        if clean is not None:
            kept.append(clean)
    if not changed:
        return entry
    plain = entry.replaced()
    plain.children = kept
    return plain


def _clean(child: Element) -> Element | None:
    if child.uri in _FOREIGN:
        return None
    if child.uri != ns.ATOM:
        return child
    if child.name == "link":
        medium = (child.get("type") or "").strip().lower().startswith(_MEDIA_TYPES)
        return None if medium or (child.get("rel") or "").lower() in _MEDIA_RELATIONS else child
    if child.name in ("logo", "icon"):
        return None
    if child.name in _CONSTRUCTS:
        return _text(child)
    return child


def _text(child: Element) -> Element | None:
    kind = child.get("type") or "text"
    if kind == "html":
        div = html.sanitised(child.text)
        return None if div is None else Element(ns.ATOM, child.name, {**child.attributes, "type": "xhtml"}, _bare(div))
    if kind == "xhtml":
        return _bare(child)
    # Media of any other type, or somewhere else, are no text.
    return child if kind == "text" and "src" not in child.attributes else None


def _bare(element: Element) -> Element:
    """XHTML without pictures and what plays; the very same if there are none."""
    kept: list[Element | str] = []
    changed = False
    for child in element.children:
        if isinstance(child, str):
            kept.append(child)
        elif child.name.lower() in _XHTML_MEDIA:
            changed = True
        else:
            clean = _bare(child)
            changed = changed or clean is not child
            kept.append(clean)
    if not changed:
        return element
    bare = element.replaced()
    bare.children = kept
    return bare
