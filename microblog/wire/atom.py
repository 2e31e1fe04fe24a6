"""RFC 4287, RFC 4685, XEP-0277, XEP-0472: a post as an Atom entry, read and written.

Reading is lenient: what is missing stays empty, what is repeated counts once, what is unknown is passed over. The
payload itself is kept as it came, but for markup and addresses that could do something by themselves (``sanitised``).

What Atom and XEP-0277 have no word for is said with others': a content warning is a spoiler (XEP-0382), a place is
XEP-0080, a security label XEP-0258, the end of a post's life ``age:expires``. Who is named is a link of relation
``mentioned``; whom a post that is not public is for, an element of our own.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote

from microblog.model.draft import Byline as Byline
from microblog.model.draft import Draft as Draft
from microblog.model.draft import Reference as Reference
from microblog.model.entry import Entry, Link, Location, fold_tag
from microblog.model.errors import InvalidPayload, JIDMalformed
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.uri import canonical
from microblog.wire import html, markup, ns
from microblog.wire.markup import MENTIONS_MAX, TAG_MAX_CHARACTERS, TAGS_MAX, address_uri
from microblog.wire.xml import Element, clean, parse, read_stamp, stamp

LINKS_MAX: Final = 50
CATEGORIES_MAX: Final = 20
LABELS_MAX: Final = 20
# Longer texts have a title that is the beginning of them.
TITLE_MAX_CHARACTERS: Final = 300
_SHORT_TITLE_CHARACTERS: Final = 120
# What an entry with a warning that says nothing is called.
UNNAMED_WARNING: Final = "…"
_OLDEST_YEAR: Final = 1970
_LANG: Final = "{" + ns.XML + "}lang"
_CONSTRUCTS: Final = frozenset(("title", "summary", "content", "rights", "subtitle"))
_PLAIN: Final = frozenset(("id", "author", "published", "updated", "category", "contributor", "generator"))
_FOREIGN_MARKUP: Final = frozenset(
    (ns.XHTML, "http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML", "http://www.w3.org/1999/html")
)
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
        language=payload.attributes.get(_LANG, ""),
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
    link = next((link for link in found if link.href.startswith("xmpp:")), found[0] if found else None)
    if link is None:
        return {}
    return {"in_reply_to": link, "answers": canonical(link.href) if link.href.startswith("xmpp:") else ""}


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


_EXTENSIONS: Final[dict[str, Callable[[list[Element]], dict[str, Any]]]] = {
    ns.THREADING: _in_reply_to,
    ns.GEOLOC: _location,
    ns.SPOILER: _warning,
    ns.AUDIENCE: _audience,
    ns.AGE: _expires,
    ns.SECURITY_LABEL: _labels,
}


# making harmless


def sanitised(entry: Element) -> Element:
    """The entry without what could do something by itself; the very same if there is nothing of it, or it is none."""
    if not is_entry(entry):
        return entry
    for child in entry.children:
        if isinstance(child, str) or (child.uri == ns.ATOM and child.name in _PLAIN):
            continue
        if _is_suspicious(child):
            break
    else:
        return entry
    harmless = entry.replaced()
    harmless.children = [
        kept for child in entry.children for kept in ((child,) if isinstance(child, str) else _harmless(child))
    ]
    return harmless


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
        missing.append(_replies(replies))
    return _with(entry, missing) if missing else entry


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


# writing


def write_entry(draft: Draft, byline: Byline) -> Element:
    """The entry of a draft. Raises ValueError for a draft that says nothing."""
    styled = markup.style(clean(draft.text), byline.author.domainpart)
    repeated = None if draft.via is None else parse(draft.via.payload)
    if not styled.text.strip() and repeated is None and not draft.enclosures:
        raise ValueError("a post says something")
    mentions = dict.fromkeys((*styled.mentions, *draft.mentions))
    if draft.reply_to is not None:
        mentions = dict.fromkeys((draft.reply_to.author, *mentions))
    mentions.pop(byline.author, None)
    tags = {fold_tag(tag): tag for tag in (*draft.tags, *styled.tags)}
    entry = Element(ns.ATOM, "entry", {_LANG: draft.language} if draft.language else {})
    if repeated is not None and not styled.text:
        entry.children.extend(_repeated(repeated, draft))
    else:
        entry.append(_author(address_uri(byline.author), byline.name))
        entry.children.extend(_quoting(draft, styled, repeated) if repeated is not None else _said(draft, styled))
    tag = f"tag:{byline.author.domainpart},{byline.published:%Y-%m-%d}:{quote(byline.author.localpart, safe='')}"
    entry.append(Element(ns.ATOM, "id", None, f"{tag}/{quote(byline.item_id, safe='')}"))
    entry.append(Element(ns.ATOM, "published", None, stamp(byline.published)))
    entry.append(Element(ns.ATOM, "updated", None, stamp(byline.updated)))
    for tag in list(tags.values())[:TAGS_MAX]:
        entry.append(Element(ns.ATOM, "category", {"term": tag.lstrip("#")}))
    for jid in list(mentions)[:MENTIONS_MAX]:
        entry.append(Element(ns.ATOM, "link", {"rel": "mentioned", "href": address_uri(jid)}))
    for link in draft.enclosures[:LINKS_MAX]:
        entry.append(_enclosure(link))
    entry.children.extend(_related(draft))
    if draft.warning:
        entry.append(Element(ns.SPOILER, "spoiler", None, clean(draft.warning)))
    if draft.location is not None and (repeated is None or styled.text):
        entry.append(_geoloc(draft.location))
    return entry if draft.expires is None else with_expiry(entry, draft.expires)


def _author(uri: str, name: str) -> Element:
    named = Element(ns.ATOM, "name", None, clean(name)) if name else None
    return Element(ns.ATOM, "author", None, named, Element(ns.ATOM, "uri", None, uri))


def _construct(name: str, text: str) -> Element:
    return Element(ns.ATOM, name, {"type": "text"}, text)


def _said(draft: Draft, styled: markup.Styled) -> Iterator[Element]:
    """Title and content; a title alone if that says it all (XEP-0277 §2.3)."""
    text = styled.text
    if draft.warning:
        # Whoever knows no warnings shows the title.
        yield _construct("title", clean(draft.warning))
    elif styled.xhtml is None and "\n" not in text and len(text) <= TITLE_MAX_CHARACTERS:
        yield _construct("title", text or _file_names(draft))
        return
    else:
        yield _construct("title", shortened(text))
    yield from _content(text, styled.xhtml)


def _content(text: str, xhtml: Element | None) -> Iterator[Element]:
    yield _construct("content", text)
    if xhtml is not None:
        yield Element(ns.ATOM, "content", {"type": "xhtml"}, xhtml)


def _file_names(draft: Draft) -> str:
    names = (link.title or link.href.rpartition("/")[2] or link.href for link in draft.enclosures)
    return shortened(clean(", ".join(names)))


def shortened(text: str) -> str:
    """The beginning of a text, as a title."""
    line = next((line.strip() for line in text.split("\n") if line.strip()), "")
    if len(line) <= _SHORT_TITLE_CHARACTERS:
        return line if line == text.strip() else f"{line}…"
    head = line[:_SHORT_TITLE_CHARACTERS]
    return f"{head.rpartition(' ')[0].rstrip() or head}…"


def _repeated(original: Element, draft: Draft) -> Iterator[Element]:
    """XEP-0277 §2.6: the same post, with its author's name, but without the place where it was written."""
    assert draft.via is not None
    yield _author(address_uri(draft.via.author), draft.via.author_name)
    for child in sanitised(original).elements():
        is_file = child.is_(ns.ATOM, "link") and child.get("rel") == "enclosure"
        if (
            is_file
            or (child.uri == ns.ATOM and child.name in ("title", "summary", "content", "category", "rights"))
            or child.uri in (ns.SPOILER, ns.SECURITY_LABEL)
        ):
            yield child


def _quoting(draft: Draft, styled: markup.Styled, original: Element) -> Iterator[Element]:
    """XEP-0277 §2.6: the original in a quotation, and what is said to it below."""
    assert draft.via is not None
    entry = read_entry(original)
    words = entry.text if entry is not None else ""
    name = draft.via.author_name or str(draft.via.author)
    lines = "\n".join(f"> {line}" for line in f"{name}: {words}".split("\n"))
    quoted = Element(ns.XHTML, "blockquote", None, *html.paragraphs(f"{name}: {words}"))
    own = list(html.paragraphs(styled.text)) if styled.xhtml is None else styled.xhtml.children
    yield _construct("title", clean(draft.warning) if draft.warning else shortened(styled.text))
    yield from _content(f"{lines}\n\n{styled.text}", Element(ns.XHTML, "div", None, quoted, *own))


def _enclosure(link: Link) -> Element:
    attributes = {"rel": "enclosure", "href": link.href}
    attributes |= {name: clean(value) for name, value in (("type", link.type), ("title", link.title)) if value}
    return Element(ns.ATOM, "link", attributes)


def _replies(uri: str) -> Element:
    return Element(ns.ATOM, "link", {"rel": "replies", "title": "comments", "href": uri})


def _related(draft: Draft) -> Iterator[Element]:
    thread = ""
    if draft.via is not None:
        thread = draft.via.thread if not draft.text.strip() else ""
        attributes = {"rel": "via", "href": draft.via.uri}
        yield Element(ns.ATOM, "link", attributes | ({"ref": draft.via.id} if draft.via.id else {}))
    if draft.reply_to is not None:
        thread = draft.reply_to.thread
        ref = draft.reply_to.id or draft.reply_to.uri
        yield Element(ns.THREADING, "in-reply-to", {"ref": ref, "href": draft.reply_to.uri})
    if thread:
        yield _replies(thread)


def _geoloc(location: Location) -> Element:
    geoloc = Element(ns.GEOLOC, "geoloc")
    if location.latitude is not None and location.longitude is not None:
        # A hundred metres are near enough for everybody but a burglar.
        geoloc.append(Element(ns.GEOLOC, "lat", None, f"{location.latitude:.3f}"))
        geoloc.append(Element(ns.GEOLOC, "lon", None, f"{location.longitude:.3f}"))
    if location.text:
        geoloc.append(Element(ns.GEOLOC, "text", None, clean(location.text)))
    return geoloc
