"""XML elements as this server reads, builds and writes them.

``Element`` is what the parser yields and the codecs build: a name in a namespace, attributes, and children that are
elements or text. It is read once at the edge and never mutated after it was handed on. ``serialize`` writes an
element as it stands inside a parent whose default namespace is given, so the same stanza fits a client stream and
a server stream; ``to_text`` writes it self-contained, which is how payloads are stored. ``Raw`` is such a stored
text put back into a tree without parsing it again.

Attributes in a namespace are named ``{uri}local``; the only prefix that is ever written is ``xml:`` and, for other
namespaced attributes, one declared on the spot.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from xml.parsers import expat

from microblog.wire import ns

# XML 1.0 §2.2: what may not stand in a document at all, however it is escaped (X14 of every relayed stanza).
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEXT_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_ATTRIBUTE_ESCAPES: Final = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "'": "&apos;",
        '"': "&quot;",
        "\t": "&#9;",
        "\n": "&#10;",
        "\r": "&#13;",
    }
)
_ATTRIBUTE_SPECIAL: Final = re.compile("[&<>'\"\t\n\r]")
# Not an XML character, so no name has it.
_SEPARATOR: Final = "\x0c"


class Raw(str):
    """Well-formed, self-contained XML text standing in for an element in a tree."""

    __slots__ = ()


class Element:
    """An XML element: ``uri`` and ``name``, attributes, and children (elements, ``Raw`` XML or plain text)."""

    __slots__ = ("attributes", "children", "name", "uri")

    def __init__(
        self, uri: str, name: str, attributes: dict[str, str] | None = None, *children: "Element | str | None"
    ) -> None:
        self.uri = uri
        self.name = name
        self.attributes: dict[str, str] = {} if attributes is None else attributes
        self.children: list[Element | str] = [child for child in children if child is not None]

    def is_(self, uri: str, name: str) -> bool:
        """True if the element has this namespace and name."""
        return self.name == name and self.uri == uri

    def get(self, attribute: str, default: str | None = None) -> str | None:
        """The value of an attribute."""
        return self.attributes.get(attribute, default)

    def elements(self) -> Iterator["Element"]:
        """The child elements, in order (text and ``Raw`` are passed over)."""
        return (child for child in self.children if isinstance(child, Element))

    def find(self, uri: str, name: str) -> "Element | None":
        """The first child element of that name."""
        for child in self.children:
            if isinstance(child, Element) and child.name == name and child.uri == uri:
                return child
        return None

    def find_all(self, uri: str, name: str) -> Iterator["Element"]:
        """All child elements of that name, in order."""
        return (child for child in self.elements() if child.name == name and child.uri == uri)

    def first(self) -> "Element | None":
        """The first child element."""
        return next(self.elements(), None)

    @property
    def text(self) -> str:
        """The element's own character data, joined."""
        if len(self.children) == 1 and self.children[0].__class__ is str:
            return self.children[0]
        return "".join(child for child in self.children if isinstance(child, str) and not isinstance(child, Raw))

    def child_text(self, uri: str, name: str) -> str | None:
        """The text of the first child of that name; None if there is no such child."""
        child = self.find(uri, name)
        return None if child is None else child.text

    def append(self, child: "Element | str") -> "Element":
        """Add a child while building; returns self."""
        self.children.append(child)
        return self

    def replaced(self, **attributes: str | None) -> "Element":
        """A copy that shares the children, with some attributes set (or removed by None)."""
        merged = {**self.attributes, **attributes}
        copy = Element(self.uri, self.name, {k: v for k, v in merged.items() if v is not None})
        copy.children = self.children
        return copy

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Element):
            return NotImplemented
        return (self.uri, self.name, self.attributes, _joined(self)) == (
            other.uri,
            other.name,
            other.attributes,
            _joined(other),
        )

    __hash__ = None  # type: ignore[assignment]  # mutable while it is built

    def __repr__(self) -> str:
        return f"<Element {to_text(self)}>"


def _joined(element: Element) -> list[Element | str]:
    joined: list[Element | str] = []
    for child in element.children:
        if isinstance(child, str) and joined and isinstance(joined[-1], str):
            joined[-1] += child
        elif child != "":
            joined.append(child)
    return joined


def serialize(element: Element, default_uri: str = "") -> str:
    """Write an element as it stands where ``default_uri`` is the default namespace.

    Raises ValueError for characters that XML 1.0 has no way to write.
    """
    out: list[str] = []
    _write(element, default_uri, out)
    text = "".join(out)
    if _NOT_XML.search(text):
        raise ValueError("text that XML cannot carry")
    return text


def to_text(element: Element) -> str:
    """Write an element self-contained: its namespace declared on itself."""
    return serialize(element)


def _write(element: Element, default_uri: str, out: list[str]) -> None:
    # Every stanza goes through here: few pieces, and no call that is not needed.
    name, uri = element.name, element.uri
    start = "<" + name if uri == default_uri else f"<{name} xmlns='{escape_attribute(uri)}'"
    for key, value in element.attributes.items():
        if key[0] == "{":
            key, declared = _attribute_name(key, len(start))
            start += declared
        if _ATTRIBUTE_SPECIAL.search(value):
            value = value.translate(_ATTRIBUTE_ESCAPES)
        start = f"{start} {key}='{value}'"
    children = element.children
    if not children:
        out.append(start + "/>")
        return
    out.append(start + ">")
    for child in children:
        if isinstance(child, Element):
            _write(child, uri, out)
        elif child.__class__ is Raw:
            out.append(child)
        # Four searches for a letter take a tenth of the time of one for a pattern.
        elif "&" in child or "<" in child or ">" in child or "\r" in child:
            out.append(child.translate(_TEXT_ESCAPES))
        else:
            out.append(child)
    out.append(f"</{name}>")


def _attribute_name(key: str, number: int) -> tuple[str, str]:
    """The name of an attribute in a namespace, and what declares its prefix; no two in an element get one number."""
    uri, _, local = key[1:].partition("}")
    if uri == ns.XML:
        return "xml:" + local, ""
    return f"a{number}:{local}", f" xmlns:a{number}='{escape_attribute(uri)}'"


def parse(text: str) -> Element:
    """Read self-contained XML that this house wrote, such as a stored payload. Not for what a stranger sends: that is
    what ``xmpp.parser`` is for. Raises ValueError."""
    stack: list[Element] = []
    top = Element("", "")
    parser = expat.ParserCreate("UTF-8", _SEPARATOR, None)
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        uri, _, local = name.rpartition(_SEPARATOR)
        if attributes and _SEPARATOR in "".join(attributes):
            attributes = {_clark(key): value for key, value in attributes.items()}
        element = Element(uri, local, attributes)
        (stack[-1] if stack else top).children.append(element)
        stack.append(element)

    def end(name: str) -> None:
        stack.pop()

    def text_(data: str) -> None:
        stack[-1].children.append(data)

    def forbidden(*_: object) -> None:
        raise ValueError("a document type")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text_
    parser.StartDoctypeDeclHandler = forbidden
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise ValueError(f"not XML: {error}") from None
    only = top.children[0]
    assert isinstance(only, Element)
    return only


def _clark(name: str) -> str:
    uri, separator, local = name.rpartition(_SEPARATOR)
    return f"{{{uri}}}{local}" if separator else name


def escape_attribute(text: str) -> str:
    """Escape a text for use between either kind of quotes."""
    return text.translate(_ATTRIBUTE_ESCAPES) if _ATTRIBUTE_SPECIAL.search(text) else text


def escape_text(text: str) -> str:
    """Escape a text for use between tags."""
    return text.translate(_TEXT_ESCAPES)


def clean(text: str) -> str:
    """The text without what XML cannot carry: for text that comes from the web, a file or the command line."""
    return _NOT_XML.sub("", text)


def stamp(when: datetime) -> str:
    """XEP-0082 DateTime in UTC with seconds (microseconds only if there are any)."""
    utc = when.astimezone(UTC)
    text = utc.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{utc.microsecond:06d}Z" if utc.microsecond else text + "Z"


_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)\Z")


def read_stamp(text: str) -> datetime:
    """Read a XEP-0082 DateTime. Raises ValueError."""
    match = _STAMP.match(text.strip())
    if not match:
        raise ValueError("not a XEP-0082 DateTime")
    seconds, fraction, zone = match.groups()
    micros = (fraction or "0")[:6].ljust(6, "0")
    return datetime.fromisoformat(f"{seconds}.{micros}{'+00:00' if zone == 'Z' else zone}").astimezone(UTC)
