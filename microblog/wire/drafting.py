"""RFC 4287, RFC 4685, XEP-0277, XEP-0472: the Atom entry of what a person wrote.

A short text without markup is a title and nothing else, as most clients do it; any other has a title that is its
beginning, the words as they were written, and if they are styled their XHTML. Whoever repeats a post publishes the same
under another name; whoever adds words of their own quotes it above them.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from microblog.model.draft import Byline, Draft
from microblog.model.entry import Link, Location, fold_tag
from microblog.wire import html, markup, ns
from microblog.wire.atom import (
    LANG,
    LINKS_MAX,
    category,
    mentioned_link,
    read_entry,
    replies_link,
    with_expiry,
)
from microblog.wire.harmless import sanitised
from microblog.wire.markup import MENTIONS_MAX, TAGS_MAX, address_uri
from microblog.wire.xml import Element, clean, parse, stamp

# Longer texts have a title that is the beginning of them.
TITLE_MAX_CHARACTERS: Final = 300
_SHORT_TITLE_CHARACTERS: Final = 120


def write_entry(draft: Draft, byline: Byline) -> Element:
    """The entry of a draft. Raises ValueError for a draft that says nothing."""
    styled = markup.style(clean(draft.text), byline.author.domainpart)
    repeated = None if draft.via is None else parse(draft.via.payload)
    if not styled.text.strip() and repeated is None and not draft.enclosures:
        raise ValueError("a post says something")
    if repeated is not None and not draft.warning:
        quoted = read_entry(repeated)
        draft = replace(draft, warning=quoted.warning if quoted is not None and styled.text else "")
    mentions = dict.fromkeys((*styled.mentions, *draft.mentions))
    if draft.reply_to is not None:
        mentions = dict.fromkeys((draft.reply_to.author, *mentions))
    mentions.pop(byline.author, None)
    tags = {fold_tag(tag): tag for tag in (*draft.tags, *styled.tags)}
    entry = Element(ns.ATOM, "entry", {LANG: draft.language} if draft.language else {})
    if repeated is not None and not styled.text:
        entry.children.extend(_repeated(repeated, draft))
    else:
        entry.append(_author(address_uri(byline.author), byline.name))
        entry.children.extend(_quoting(draft, styled, repeated) if repeated is not None else _said(draft, styled))
    tag = f"tag:{byline.author.domainpart},{byline.published:%Y-%m-%d}:{quote(byline.author.localpart, safe='')}"
    entry.append(Element(ns.ATOM, "id", None, f"{tag}/{quote(byline.item_id, safe='')}"))
    entry.append(Element(ns.ATOM, "published", None, stamp(byline.published)))
    entry.append(Element(ns.ATOM, "updated", None, stamp(byline.updated)))
    entry.children.extend(map(category, list(tags.values())[:TAGS_MAX]))
    entry.children.extend(map(mentioned_link, list(mentions)[:MENTIONS_MAX]))
    for link in draft.enclosures[:LINKS_MAX]:
        entry.append(_enclosure(link))
    entry.children.extend(_related(draft))
    if draft.warning:
        entry.append(Element(ns.SPOILER, "spoiler", None, clean(draft.warning)))
    if draft.location is not None and (repeated is None or styled.text):
        entry.append(_geoloc(draft.location))
    if draft.automatic:
        entry.append(Element(ns.RULES, "automatic"))
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
        yield replies_link(thread)


def _geoloc(location: Location) -> Element:
    geoloc = Element(ns.GEOLOC, "geoloc")
    if location.latitude is not None and location.longitude is not None:
        # A hundred metres are near enough for everybody but a burglar.
        geoloc.append(Element(ns.GEOLOC, "lat", None, f"{location.latitude:.3f}"))
        geoloc.append(Element(ns.GEOLOC, "lon", None, f"{location.longitude:.3f}"))
    if location.text:
        geoloc.append(Element(ns.GEOLOC, "text", None, clean(location.text)))
    return geoloc
