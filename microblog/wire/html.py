"""RFC 4287 §3.1.1, XEP-0071: markup that came from somebody else, as plain text, and made harmless.

What is allowed is a list of elements, attributes and kinds of address; nh3 reads markup as browsers do and writes what
is on the list, so that what comes out is read the same by whoever reads it next. XHTML goes the same way: what is
harmless in XML may be something else to a browser that is given it as HTML.

Browsers repair what is not closed, and a few thousand tags can be made to grow into millions: markup of which that
cannot be excluded, or which is nested deeper than anybody writes, is read as plain text.
"""

import re
from collections.abc import Iterator
from html import unescape
from typing import Final
from urllib.parse import urlsplit

import nh3

from microblog.model.errors import JIDMalformed
from microblog.model.jid import domain
from microblog.wire import ns
from microblog.wire.xml import Element, clean, escape_attribute, escape_text, parse

BLOCKS: Final = frozenset(
    ("p", "div", "br", "li", "ul", "ol", "blockquote", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "dd", "dt")
)
# Where an address in a post may lead.
SCHEMES: Final = frozenset(
    ("http", "https", "xmpp", "mailto", "tel", "sms", "sip", "sips", "geo", "urn", "tag", "cid", "magnet", "aesgcm")
)
_ALLOWED_TAGS: Final = (
    "a abbr b blockquote br caption cite code dd del dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img ins "
    "kbd li mark ol p pre q s samp small span strike strong sub sup table tbody td tfoot th thead tr tt u ul var"
)
TAGS_MAX: Final = 3000
DEPTH_MAX: Final = 32
# Opened again in each block that follows, until they are closed; and in what they cannot be closed from outside.
_FORMATTING_TAGS: Final = "a b big code em font i nobr s small strike strong tt u"
_SCOPE_TAGS: Final = (
    "table caption td th tr select option button object applet marquee template svg math script style title textarea "
    "xmp iframe noembed noframes noscript plaintext frameset html body head form"
)
_FORMATTING: Final = frozenset(_FORMATTING_TAGS.split())
_SCOPES: Final = frozenset(_SCOPE_TAGS.split())
_REPAIRS_MAX: Final = 20_000
_VOID: Final = ("br", "hr", "img")
_HIDDEN: Final = frozenset(("script", "style", "template", "title", "head", "noscript", "iframe", "svg", "math"))
_CLEANER: Final = nh3.Cleaner(
    tags=set(_ALLOWED_TAGS.split()),
    clean_content_tags=set(_HIDDEN),
    attributes={
        "a": {"href", "title"},
        "img": {"src", "alt", "title", "width", "height"},
        "abbr": {"title"},
        "ol": {"start"},
        "td": {"colspan", "rowspan"},
        "th": {"colspan", "rowspan"},
        "*": {"lang", "dir"},
    },
    url_schemes=set(SCHEMES),
    url_relative="deny",
    link_rel="nofollow noopener noreferrer",
    strip_comments=True,
)
_OPEN_VOID: Final = re.compile(r"<(br|hr|img)((?: [a-z]+=\"[^\"<>]*\")*)>")
_SPACES: Final = re.compile(r"[ \t\r\n]+")
_TAG: Final = re.compile(r"<(/?)([A-Za-z!][A-Za-z0-9]*)([^<>]*)>")
_HREF: Final = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_SAFE: Final = re.compile(rf"(?:{'|'.join(sorted(SCHEMES))}):", re.IGNORECASE)
HREF_MAX_CHARACTERS: Final = 8192


def is_safe_address(href: str) -> bool:
    """An address that leads somewhere, and does nothing by itself."""
    return _SAFE.match(href) is not None and len(href) <= HREF_MAX_CHARACTERS


def sanitised(markup: str) -> Element | None:
    """HTML as a harmless XHTML ``<div/>``; None if nothing is left."""
    found = None if _is_costly(markup) else _cleaned(markup)
    if found is None:
        found = Element(ns.XHTML, "div", None, *paragraphs(clean(html_to_text(markup))))
    return found if found.children else None


def _is_costly(markup: str) -> bool:
    tags = _TAG.findall(markup)
    if len(tags) > TAGS_MAX:
        return True
    starts = re.findall("<[A-Za-z]+", markup)
    formatting = sum(start[1:].lower() in _FORMATTING for start in starts)
    if formatting * len(starts) <= _REPAIRS_MAX:
        return False
    if len(starts) > TAGS_MAX or len(tags) != markup.count("<"):
        return True
    # Every tag is plain to see, so what is closed is closed.
    open_ = most = 0
    for closing, name, _ in tags:
        name = name.lower()
        if name in _SCOPES:
            return True
        if name in _FORMATTING:
            open_ = max(open_ - 1, 0) if closing else open_ + 1
            most = max(most, open_)
    return most * len(starts) > _REPAIRS_MAX


def _cleaned(markup: str) -> Element | None:
    kept = clean(_CLEANER.clean(markup)).replace("&nbsp;", "&#160;")
    if len(kept) > 4 * len(markup) + 4096:
        return None
    closed = _OPEN_VOID.sub(r"<\1\2/>", kept)
    try:
        found = parse(f"<div xmlns='{ns.XHTML}'>{closed}</div>")
    except ValueError:
        return None
    level, depth = [found], 0
    while level and depth < DEPTH_MAX:
        for element in level:
            element.children = [child for child in element.children if not _is_empty(child)]
        level, depth = [child for element in level for child in element.elements()], depth + 1
    if level:
        return None
    only = found.first()
    # What was a div already need not be one twice.
    return only if only is not None and only.name == "div" and len(found.children) == 1 else found


def _is_empty(child: Element | str) -> bool:
    """A picture without an address, or nothing at all."""
    return not child if isinstance(child, str) else child.name == "img" and "src" not in child.attributes


def sanitised_xhtml(element: Element) -> Element | None:
    """The same for the content of a text construct of type xhtml."""
    out: list[str] = []
    for child in element.elements():
        _write_html(child, out)
    return sanitised("".join(out))


def _write_html(element: Element, out: list[str]) -> None:
    if element.uri not in (ns.XHTML, ns.ATOM) or element.name.lower() in _HIDDEN:
        return
    attributes = "".join(
        f' {name}="{escape_attribute(value)}"' for name, value in element.attributes.items() if name.isalpha()
    )
    out.append(f"<{element.name}{attributes}>")
    for child in element.children:
        if isinstance(child, Element):
            _write_html(child, out)
        else:
            out.append(escape_text(child))
    if element.name not in _VOID:
        out.append(f"</{element.name}>")


def paragraphs(text: str) -> Iterator[Element]:
    """Plain text as XHTML."""
    for paragraph in text.split("\n\n"):
        lines = [line for line in paragraph.split("\n") if line]
        if lines:
            yield Element(ns.XHTML, "p", None, *_broken(lines))


def _broken(lines: list[str]) -> Iterator[Element | str]:
    for number, line in enumerate(lines):
        if number:
            yield Element(ns.XHTML, "br")
        yield line


def xhtml_to_text(element: Element) -> str:
    """The plain text of XHTML; where a link's text hides where it leads, it is said."""
    return _tidy(_flat(element))


def _flat(element: Element) -> str:
    parts: list[str] = []
    for child in element.children:
        if isinstance(child, str):
            parts.append(_SPACES.sub(" ", child))
        elif child.name in _HIDDEN:
            continue
        elif child.name == "img":
            parts.append((child.get("alt") or "").strip())
        else:
            inner = _flat(child)
            if child.name == "a":
                inner += destination(inner, child.get("href") or "")
            parts.append(f"\n{inner}\n" if child.name in BLOCKS else inner)
    return "".join(parts)


def html_to_text(markup: str) -> str:
    """The plain text of HTML, without what scripts and styles contain. For reading, not for showing: no sanitiser."""
    parts: list[str] = []
    hidden = ""
    end = 0
    link: tuple[int, str] | None = None
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
        elif name == "a":
            if closing and link is not None:
                parts.append(destination(unescape("".join(parts[link[0] :])), link[1]))
            href = None if closing else _HREF.search(tag[3])
            link = None if href is None else (len(parts), unescape(href[1] or href[2] or href[3] or ""))
        elif name in BLOCKS:
            parts.append("\n")
    if not hidden:
        parts.append(_SPACES.sub(" ", markup[end:]))
    return _tidy(unescape("".join(parts)))


def destination(text: str, href: str) -> str:
    """What is put behind a link's text: where it leads, if the text does not say so."""
    href = href.strip()
    if not is_safe_address(href):
        return ""
    shown = ascii_host(href)
    if shown in text or (not href.lower().startswith("http") and text.strip()):
        return ""
    return f" <{shown}>"


def ascii_host(href: str) -> str:
    """A web address with its host as DNS has it: look-alikes of letters do not look alike there."""
    if href.isascii():
        return href
    try:
        parts = urlsplit(href)
        host = parts.hostname or ""
        return parts._replace(netloc=parts.netloc.replace(host, domain(host), 1)).geturl() if host else href
    except (ValueError, JIDMalformed):
        return href


def _tidy(text: str) -> str:
    lines = (line.strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
