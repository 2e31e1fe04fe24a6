"""RFC 6120 §4.7-4.9: how a stream begins, fails and ends, as bytes and as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from microblog.config import Limits
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element, escape_attribute, serialize
from microblog.xmpp.parser import XMLLimits

FOOTER: Final = b"</stream:stream>"
_LANG_MAX_CHARACTERS: Final = 35  # RFC 5646 §4.4.1
_PREFIXES: Final = {ns.STREAM: "stream", ns.DIALBACK: "db"}


@dataclass(frozen=True, slots=True)
class Header:
    """A peer's stream header as it was sent. ``content``: its content namespace; ``dialback``: declared or not."""

    to: str | None
    from_: str | None
    id: str | None
    version: str | None
    lang: str | None
    content: str
    dialback: bool


def read_header(element: Element, namespaces: Mapping[str | None, str], content: str) -> Header:
    """Check a stream header and read it. Raises StreamError: it opens no stream of this content namespace."""
    if element.name != "stream":
        raise StreamError("invalid-xml", "the first element must be a stream")
    if element.uri != ns.STREAM:
        raise StreamError("invalid-namespace")
    if namespaces.get(None) != content:
        raise StreamError("invalid-namespace", f"this is a stream of {content}")
    lang = element.get("{" + ns.XML + "}lang")
    if lang is not None and len(lang) > _LANG_MAX_CHARACTERS:
        raise StreamError("invalid-xml", "no language has so long a name")
    return Header(
        to=element.get("to"),
        from_=element.get("from"),
        id=element.get("id"),
        version=element.get("version"),
        lang=lang,
        content=content,
        dialback=ns.DIALBACK in namespaces.values(),
    )


def header(content: str, *, id: str | None, from_: str | None, to: str | None) -> bytes:
    """A stream header of ours."""
    attributes = {"id": id, "from": from_, "to": to, "version": "1.0", "xml:lang": "en"}
    text = "".join(f" {key}='{escape_attribute(value)}'" for key, value in attributes.items() if value)
    dialback = f" xmlns:db='{ns.DIALBACK}'" if content == ns.SERVER else ""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='{ns.STREAM}'{dialback}{text}>"
    ).encode()


def stream_error(error: StreamError) -> bytes:
    """What is said before a stream ends for a reason (§4.9)."""
    children = [Element(ns.STREAMS, error.condition)]
    if error.text:
        children.append(Element(ns.STREAMS, "text", {"{" + ns.XML + "}lang": "en"}, error.text))
    if error.application is not None:
        children.append(error.application)
    return serialized(Element(ns.STREAM, "error", None, *children))


@lru_cache(maxsize=64)
def xml_limits(limits: Limits, stanza_max_bytes: int | None) -> XMLLimits:
    """What the parser may let pass; without ``stanza_max_bytes``: before authentication."""
    return XMLLimits(
        element_bytes=stanza_max_bytes or limits.stream_header_max_bytes,
        header_bytes=limits.stream_header_max_bytes,
        depth=limits.xml_max_depth,
        attributes=limits.xml_max_attributes,
        elements=limits.xml_max_elements,
    )


def serialized(element: Element) -> bytes:
    """An element as it stands on a stream."""
    prefix = _PREFIXES.get(element.uri)
    if prefix is None:
        return serialize(element, ns.CLIENT).encode()
    # Peers expect these by their customary prefixes, which the header declares.
    attributes = "".join(f" {key}='{escape_attribute(value)}'" for key, value in element.attributes.items())
    name = f"{prefix}:{element.name}"
    inner = Element(ns.CLIENT, "x", None, *element.children)
    content = serialize(inner, ns.CLIENT)[3:-4] if element.children else ""
    return f"<{name}{attributes}>{content}</{name}>".encode()
