"""XEP-0393: what people write in a chat line, as a post: the words, the XHTML, whom it names, its tags.

``*strong*``, ``_emphasis_``, ``~struck~`` and code between back quotes, lines that begin with ``>``, and blocks between
lines of three back quotes are styled as XEP-0393 says. Addresses become links (linkify-it), ``@name`` a mention of
somebody of the author's own domain, ``@name@domain`` of anybody, ``#word`` a tag. The words are kept as they were
written, so whoever shows no XHTML reads what the author typed.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from linkify_it import LinkifyIt  # type: ignore[import-untyped]  # it has no types

from microblog.model.entry import fold_tag
from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.xml import Element

TAGS_MAX: Final = 20
MENTIONS_MAX: Final = 20
TAG_MAX_CHARACTERS: Final = 100
_NAME_MAX_CHARACTERS: Final = 1023
_QUOTES_DEEP: Final = 8
_SPANS: Final = {"*": "strong", "_": "em", "~": "del", "`": "code"}
_FENCE: Final = "```"
# An address, and what is asked of it (RFC 5122).
_XMPP: Final = re.compile(r"""([^\s<>"'`|\\^{}:?]+)(?:\?[^\s<>"'`|\\^{}]*)?""")
# What joins the letters of a word in some scripts.
_JOINERS: Final = "\u200c\u200d\u00b7"


def _linkifier() -> Any:
    # Only what says that it is an address: a missing space after a full stop is none.
    found = LinkifyIt(options={"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    for scheme in ("//", "ftp:"):
        found.add(scheme, None)
    found.add("xmpp:", {"validate": _xmpp_length})
    return found


def _xmpp_length(_: Any, text: str, position: int) -> int:
    """How much of the text behind ``xmpp:`` belongs to the address."""
    found = _XMPP.match(text, position)
    return 0 if found is None or not ("." in found[1] or "@" in found[1]) else len(found[0].rstrip(".,:;!?)"))


_LINKS: Final = _linkifier()


@dataclass(frozen=True, slots=True, kw_only=True)
class Styled:
    """``xhtml``: None if plain text says it all. ``tags`` as they were written, ``links`` without mentions."""

    text: str
    xhtml: Element | None
    tags: tuple[str, ...]
    mentions: tuple[JID, ...]
    links: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    domain: str
    tags: dict[str, str] = field(default_factory=dict)
    mentions: dict[JID, None] = field(default_factory=dict)
    links: dict[str, None] = field(default_factory=dict)
    rich: bool = False


def style(text: str, domain: str) -> Styled:
    """Read a text that somebody of this domain wrote."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n").rstrip()
    found = _Found(domain)
    div = Element(ns.XHTML, "div", None, *_blocks(text.split("\n"), found, 0))
    return Styled(
        text=text,
        xhtml=div if found.rich else None,
        tags=tuple(found.tags.values())[:TAGS_MAX],
        mentions=tuple(found.mentions)[:MENTIONS_MAX],
        links=tuple(found.links),
    )


def _xhtml(name: str, *children: Element | str, **attributes: str) -> Element:
    return Element(ns.XHTML, name, attributes, *children)


def _broken(lines: list[list[Element | str]]) -> Iterator[Element | str]:
    for number, line in enumerate(lines):
        if number:
            yield _xhtml("br")
        yield from line


# blocks


def _blocks(lines: list[str], found: _Found, depth: int) -> Iterator[Element]:
    plain: list[list[Element | str]] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        quoted = line.startswith(">") and depth < _QUOTES_DEEP
        if not (quoted or line.startswith(_FENCE)):
            if line.strip():
                plain.append(list(_spans(line, found)))
            elif plain:
                yield _xhtml("p", *_broken(plain))
                plain = []
            at += 1
            continue
        if plain:
            yield _xhtml("p", *_broken(plain))
            plain = []
        end = at + 1
        if quoted:
            while end < len(lines) and lines[end].startswith(">"):
                end += 1
            inner = [one[2:] if one[1:2].isspace() else one[1:] for one in lines[at:end]]
            yield _xhtml("blockquote", *_blocks(inner, found, depth + 1))
        else:
            while end < len(lines) and lines[end].rstrip() != _FENCE:
                end += 1
            yield _xhtml("pre", "\n".join(lines[at + 1 : end]))
            end += 1
        found.rich = True
        at = end
    if plain:
        yield _xhtml("p", *_broken(plain))


# spans


def _spans(text: str, found: _Found) -> Iterator[Element | str]:
    """One pass over a line; where directives close is looked up, not searched for each time."""
    closers: dict[str, list[int]] = {}
    for at, character in enumerate(text):
        if character in _SPANS and at and not text[at - 1].isspace():
            closers.setdefault(character, []).append(at)
    if not closers:
        yield from _words(text, found)
        return
    done = at = 0
    while at < len(text):
        character = text[at]
        if character not in _SPANS or not _opens(text, at):
            at += 1
            continue
        candidates = closers.get(character, [])
        index = bisect_right(candidates, at)
        if index == len(candidates):
            at += 1
            continue
        end = candidates[index]
        if end == at + 1:
            # Nothing between the two: neither is a directive.
            at += 2
            continue
        if at > done:
            yield from _words(text[done:at], found)
        inner = text[at + 1 : end]
        found.rich = True
        yield _xhtml(_SPANS[character], *([inner] if character == "`" else _spans(inner, found)))
        done = at = end + 1
    if done < len(text):
        yield from _words(text[done:], found)


def _opens(text: str, at: int) -> bool:
    before = text[at - 1] if at else " "
    after = text[at + 1 : at + 2]
    return bool(after) and not after.isspace() and (before.isspace() or (before in _SPANS and before != text[at]))


# words


def _words(text: str, found: _Found) -> Iterator[Element | str]:
    if "://" not in text and "mailto:" not in text and "xmpp:" not in text:
        yield from _marks(text, found)
        return
    done = 0
    for match in _LINKS.match(text) or ():
        if match.index > done:
            yield from _marks(text[done : match.index], found)
        found.links[match.url] = None
        found.rich = True
        yield _xhtml("a", match.raw, href=match.url)
        done = match.last_index
    if done < len(text):
        yield from _marks(text[done:], found)


def _marks(text: str, found: _Found) -> Iterator[Element | str]:
    """Text with its mentions as links; tags are noted, and stay as they are."""
    if "#" not in text and "@" not in text:
        yield text
        return
    done = at = 0
    while at < len(text):
        character = text[at]
        if character not in "#@" or (at and (text[at - 1] in "#@&/." or _is_letter(text[at - 1]))):
            at += 1
            continue
        if character == "#":
            end = _tag(text, at, found)
        else:
            end, jid = _mention(text, at, found)
            if jid is not None:
                if at > done:
                    yield text[done:at]
                found.rich = True
                yield _xhtml("a", text[at:end], href=address_uri(jid))
                done = end
        at = end
    if done < len(text):
        yield text[done:]


def _tag(text: str, at: int, found: _Found) -> int:
    end = _word_end(text, at + 1, "")
    word = unicodedata.normalize("NFC", text[at + 1 : end]).strip(_JOINERS)
    # A number is that of an item, not a tag.
    if word.strip("_").replace("_", "").isdigit() or not word.strip("_") or len(word) > TAG_MAX_CHARACTERS:
        return end
    if len(found.tags) < TAGS_MAX:
        found.tags.setdefault(fold_tag(word), word)
    return end


def _mention(text: str, at: int, found: _Found) -> tuple[int, JID | None]:
    """The end of the mention at a place, and whom it is of."""
    end = _word_end(text, at + 1, ".-+=!~")
    if end - at > _NAME_MAX_CHARACTERS:
        return end, None
    name = text[at + 1 : end]
    domain = found.domain
    if text[end : end + 1] == "@":
        domain_end = _word_end(text, end + 1, ".-")
        domain = text[end + 1 : domain_end].rstrip(".-")
        whole = end + 1 + len(domain)
    else:
        name = name.rstrip(".-+=!~")
        whole = at + 1 + len(name)
    if not name or not domain:
        return max(end, at + 1), None
    try:
        jid = JID.parse(f"{name}@{domain}")
    except JIDMalformed:
        return max(whole, at + 1), None
    if jid not in found.mentions and len(found.mentions) >= MENTIONS_MAX:
        return whole, None
    found.mentions[jid] = None
    return whole, jid


def _is_letter(character: str) -> bool:
    return character == "_" or character.isalnum() or unicodedata.category(character)[0] == "M"


def _word_end(text: str, at: int, also: str) -> int:
    # Not \w: it does not know the marks that are half of the letters of many scripts.
    while at < len(text) and (_is_letter(text[at]) or text[at] in also or text[at] in _JOINERS):
        at += 1
    return at


def address_uri(jid: JID) -> str:
    """Somebody's address as a link (RFC 5122)."""
    local = f"{quote(jid.localpart, safe='')}@" if jid.localpart else ""
    return f"xmpp:{local}{jid.domainpart}"
