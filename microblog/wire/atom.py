"""RFC 4287, RFC 4685, XEP-0277, XEP-0472: a post as an Atom entry, read, and completed by its service.

Reading is lenient: what is missing stays empty, what is repeated counts once, what is unknown is passed over. The
payload itself is kept as it came, but for what ``wire.harmless`` leaves out.

What Atom and XEP-0277 have no word for is said with others': a content warning is a spoiler (XEP-0382), a place is
XEP-0080, a security label XEP-0258, the end of a post's life ``age:expires``. Who is named is a link of relation
``mentioned``; whom a post that is not public is for, an element of our own.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from microblog.model.entry import Entry, Link, Location, fold_tag
from microblog.model.errors import InvalidPayload, JIDMalformed
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.uri import canonical
from microblog.wire import html, markup, ns
from microblog.wire.markup import MENTIONS_MAX, TAG_MAX_CHARACTERS, TAGS_MAX, address_uri
from microblog.wire.xml import Element, parse, read_stamp, stamp

LINKS_MAX: Final = 50
CATEGORIES_MAX: Final = 20
LABELS_MAX: Final = 20
# What an entry with a warning that says nothing is called.
UNNAMED_WARNING: Final = "…"
_OLDEST_YEAR: Final = 1970
LANG: Final = "{" + ns.XML + "}lang"
_MARK: Final = re.compile(rf"<audience xmlns='{re.escape(ns.AUDIENCE)}'>[a-z]*</audience>")
_END: Final = "</entry>"
# Marks above and below a letter beyond what any script needs, and what turns the direction of all that follows.
_ABOVE: Final = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_HEAPED: Final = re.compile(f"({_ABOVE}{{4}}){_ABOVE}+")
_TURNING: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_REMEMBERED_MAX_CHARACTERS: Final = 8192


def is_entry(payload: Element) -> bool:
    """True for an Atom entry."""
    return payload.name == "entry" and payload.uri == ns.ATOM


def check_post(payload: Element, item_id: str | None) -> None:
    """What the microblog node takes (XEP-0277 §2): an Atom entry; in item ``0`` also the feed's own description.

    Raises InvalidPayload.
    """
    if is_entry(payload) or (item_id == "0" and payload.is_(ns.ATOM, "feed")):
        return
    raise InvalidPayload("this node takes Atom entries")


# reading


def read_text(payload: str) -> Entry | None:
    """What a stored payload says; None if it is no Atom entry."""
    return _read_remembered(payload) if len(payload) <= _REMEMBERED_MAX_CHARACTERS else _read_stored(payload)


def _read_stored(payload: str) -> Entry | None:
    return read_entry(parse(payload)) if payload.startswith(f"<entry xmlns='{ns.ATOM}'") else None


# The newest posts are shown to many.
_read_remembered: Final = lru_cache(maxsize=1024)(_read_stored)


def read_entry(payload: Element) -> Entry | None:
    """What an Atom entry says; None for any other payload."""
    if not is_entry(payload):
        return None
    # Looked at once for all: every post that is published or comes in is read here.
    atoms: dict[str, list[Element]] = {}
    others: dict[str, list[Element]] = {}
    for child in payload.children:
        if isinstance(child, str):
            continue
        if child.uri == ns.ATOM:
            atoms.setdefault(child.name, []).append(child)
        else:
            others.setdefault(child.uri, []).append(child)
    author = atoms.get("author", (None,))[0]
    links, mentions, thread, via = _links(atoms["link"]) if "link" in atoms else ((), (), "", "")
    categories, tags = _categories(atoms["category"]) if "category" in atoms else ((), ())
    published, updated = atoms.get("published"), atoms.get("updated")
    first = _instant(published)
    same = published is not None and updated is not None and published[0].text == updated[0].text
    entry = Entry(
        id=_line(atoms.get("id")),
        title=_text(atoms.get("title")),
        updated=first if same else _instant(updated),
        published=first,
        author_name="" if author is None else _contained((author.child_text(ns.ATOM, "name") or "").strip()),
        author_uri="" if author is None else (author.child_text(ns.ATOM, "uri") or "").strip(),
        summary=_text(atoms["summary"]) if "summary" in atoms else "",
        content=_text(atoms["content"]) if "content" in atoms else "",
        links=links,
        categories=categories,
        language=payload.attributes.get(LANG, ""),
        tags=tags,
        mentions=mentions,
        thread=thread,
        via=via,
    )
    return replace(entry, **_extended(others)) if others else entry


def _extended(others: dict[str, list[Element]]) -> dict[str, Any]:
    """What an entry says in words that are not Atom's."""
    found: dict[str, Any] = {}
    for uri, children in others.items():
        reader = _EXTENSIONS.get(uri)
        if reader is not None:
            found.update(reader(children))
    return found


def _line(found: Sequence[Element] | None) -> str:
    return found[0].text.strip() if found else ""


def _instant(found: Sequence[Element] | None) -> datetime | None:
    try:
        instant = read_stamp(found[0].text) if found else None
    except (ValueError, OverflowError):
        return None
    return instant if instant is not None and instant.year >= _OLDEST_YEAR else None


def _text(found: Sequence[Element] | None) -> str:
    """A text construct as plain text; of several, one that is text already."""
    best: Element | None = None
    for child in found or ():
        kind = child.attributes.get("type") or "text"
        if kind not in ("text", "html", "xhtml") or "src" in child.attributes:
            continue
        if best is None or (kind == "text" and best.attributes.get("type") not in (None, "text")):
            best = child
    if best is None:
        return ""
    match best.attributes.get("type"):
        case "xhtml":
            return _contained(html.xhtml_to_text(best))
        case "html":
            return _contained(html.html_to_text(best.text))
        case _:
            return _contained(best.text.strip())


def _contained(text: str) -> str:
    """Text that stays where it is shown: it neither heaps up marks nor turns the direction of what follows."""
    return text if text.isascii() else _TURNING.sub("", _HEAPED.sub(r"\1", text))


def _links(elements: Iterable[Element]) -> tuple[tuple[Link, ...], tuple[JID, ...], str, str]:
    """All links; whom they mention, the comments node, what is repeated."""
    found: list[Link] = []
    mentions: dict[JID, None] = {}
    thread = via = ""
    for child in elements:
        get = child.attributes.get
        href, rel = (get("href") or "").strip(), get("rel") or "alternate"
        if len(found) == LINKS_MAX or not html.is_safe_address(href):
            continue
        found.append(Link(href=href, rel=rel, type=get("type", ""), title=get("title", ""), ref=get("ref", "")))
        if rel == "alternate" or not href.startswith("xmpp:"):
            continue
        # COMPAT: XEP-0277 breaks long addresses into lines.
        if rel == "replies" and not thread:
            thread = canonical(href)
        elif rel == "via" and not via:
            via = canonical(href)
        elif rel == "mentioned" and len(mentions) < MENTIONS_MAX:
            jid = _address(href)
            if jid is not None:
                mentions[jid] = None
    return tuple(found), tuple(mentions), thread, via


def _address(uri: str) -> JID | None:
    try:
        return JID.parse(unquote(uri.removeprefix("xmpp:").partition("?")[0].strip("/"))).bare
    except JIDMalformed:
        return None


def _categories(elements: Iterable[Element]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    terms: dict[str, None] = {}
    for child in elements:
        term = (child.attributes.get("term") or "").strip()
        if term and len(terms) < CATEGORIES_MAX:
            terms[term] = None
    folded = (fold_tag(term) for term in terms if len(term) <= TAG_MAX_CHARACTERS)
    return tuple(terms), tuple(dict.fromkeys(tag for tag in folded if tag))[:TAGS_MAX]


def _in_reply_to(elements: Iterable[Element]) -> dict[str, Any]:
    """Of several, the one that is an XMPP address (XEP-0472 §3.4)."""
    found = [
        Link(
            href=(child.get("href") or "").strip(),
            rel="in-reply-to",
            type=child.get("type") or "",
            ref=child.get("ref") or "",
        )
        for child in elements
        if child.name == "in-reply-to" and (child.get("href") or child.get("ref"))
    ]
    for link in found:
        # Some name what they answer by nothing but its id, which then is its address.
        for uri in (link.href, link.ref):
            if uri.startswith("xmpp:"):
                return {"in_reply_to": link, "answers": canonical(uri)}
    return {"in_reply_to": found[0]} if found else {}


def _location(elements: Sequence[Element]) -> dict[str, Any]:
    said = {child.name: child.text.strip() for child in elements[0].elements() if child.uri == ns.GEOLOC}
    latitude, longitude = _degrees(said.get("lat"), 90), _degrees(said.get("lon"), 180)
    if latitude is None or longitude is None:
        latitude = longitude = None
    place = ("building", "street", "area", "locality", "region", "country")
    text = said.get("text") or said.get("description") or ", ".join(said[name] for name in place if said.get(name))
    if latitude is None and not text:
        return {}
    return {"location": Location(latitude=latitude, longitude=longitude, text=_contained(text))}


def _degrees(text: str | None, most: int) -> float | None:
    try:
        degrees = float(text or "")
    except ValueError:
        return None
    return degrees if math.isfinite(degrees) and abs(degrees) <= most else None


def _warning(elements: Sequence[Element]) -> dict[str, Any]:
    return {"warning": _contained(elements[0].text.strip()) or UNNAMED_WARNING}


def _audience(elements: Sequence[Element]) -> dict[str, Any]:
    try:
        return {"audience": Audience(elements[0].text.strip())}
    except ValueError:
        # Not public: nobody says so of a public one.
        return {"audience": Audience.DIRECT}


def _expires(elements: Sequence[Element]) -> dict[str, Any]:
    return {"expires": _instant([child for child in elements if child.name == "expires"])}


def _labels(elements: Sequence[Element]) -> dict[str, Any]:
    names = (child.child_text(ns.SECURITY_LABEL, "displaymarking") or "" for child in elements[:LABELS_MAX])
    return {"labels": tuple(name.strip() for name in names)}


def _automatic(elements: Sequence[Element]) -> dict[str, Any]:
    return {"automatic": any(child.name == "automatic" for child in elements)}


def read_geoloc(payload: str) -> Location | None:
    """Where somebody is who publishes that (XEP-0080); None if it says nothing of it."""
    try:
        element = parse(payload)
    except ValueError:
        return None
    if not element.is_(ns.GEOLOC, "geoloc"):
        return None
    location: Location | None = _location((element,)).get("location")
    return location


_EXTENSIONS: Final[dict[str, Callable[[list[Element]], dict[str, Any]]]] = {
    ns.THREADING: _in_reply_to,
    ns.GEOLOC: _location,
    ns.SPOILER: _warning,
    ns.AUDIENCE: _audience,
    ns.AGE: _expires,
    ns.SECURITY_LABEL: _labels,
    ns.RULES: _automatic,
}


# what a service adds


def with_links(entry: Element, *, own: str, replies: str) -> Element:
    """The entry with a link to itself by XMPP if it has none (XEP-0472 §3.3), and, if it begins a conversation, one to
    the comments on it (XEP-0277 §3), if there is an address for them and it has none."""
    missing = []
    linked = begins = True
    for child in entry.children:
        if isinstance(child, str):
            continue
        if child.uri == ns.ATOM:
            if child.name == "link":
                rel = child.attributes.get("rel") or "alternate"
                if rel == "alternate":
                    linked = linked and not (child.attributes.get("href") or "").startswith("xmpp:")
                elif rel in ("replies", "via"):
                    begins = False
        elif child.uri == ns.THREADING:
            begins = False
    if linked:
        missing.append(Element(ns.ATOM, "link", {"rel": "alternate", "href": own}))
    if begins and replies:
        missing.append(replies_link(replies))
    return _with(entry, missing) if missing else entry


def with_names(post: Element, entry: Entry, author: JID) -> Element:
    """The post with the tags and mentions in its text as Atom has them, if its client wrote none."""
    words = entry.text
    tagged, naming = not entry.categories and "#" in words, not entry.mentions and "@" in words
    if not (tagged or naming):
        return post
    styled = markup.style(words, author.domainpart)
    found = [category(tag) for tag in styled.tags] if tagged else []
    if naming:
        found += [mentioned_link(jid) for jid in styled.mentions if jid != author]
    return _with(post, found) if found else post


def replies_link(uri: str) -> Element:
    """To the comments on it (XEP-0277 §3)."""
    return Element(ns.ATOM, "link", {"rel": "replies", "title": "comments", "href": uri})


def category(tag: str) -> Element:
    """A tag."""
    return Element(ns.ATOM, "category", {"term": tag.lstrip("#")})


def mentioned_link(jid: JID) -> Element:
    """To somebody who is named."""
    return Element(ns.ATOM, "link", {"rel": "mentioned", "href": address_uri(jid)})


def with_expiry(entry: Element, expires: datetime) -> Element:
    """The entry with the end of its life."""
    kept = [child for child in entry.children if isinstance(child, str) or child.uri != ns.AGE]
    ending = entry.replaced()
    ending.children = [*kept, Element(ns.AGE, "expires", None, stamp(expires))]
    return ending


def _with(entry: Element, children: Iterable[Element]) -> Element:
    more = entry.replaced()
    more.children = [*entry.children, *children]
    return more


def unmarked(entry: Element) -> Element:
    """The entry without an audience of its own."""
    kept = [child for child in entry.children if isinstance(child, str) or child.uri != ns.AUDIENCE]
    if len(kept) == len(entry.children):
        return entry
    bare = entry.replaced()
    bare.children = kept
    return bare


def mark(payload: str, audience: Audience) -> str:
    """An entry as it is stored, with whom it is for; nothing is said of a public one."""
    payload = _MARK.sub("", payload)
    if audience is Audience.PUBLIC:
        return payload
    said = f"<audience xmlns='{ns.AUDIENCE}'>{audience}</audience>"
    if payload.endswith(_END):
        return f"{payload[: -len(_END)]}{said}{_END}"
    return f"{payload[:-2]}>{said}{_END}" if payload.startswith("<entry") and payload.endswith("/>") else payload
