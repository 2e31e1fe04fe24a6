"""RFC 6120 §11: the only place where bytes from a stranger become XML.

expat does the reading; this module forbids what XMPP forbids (document types, entities, comments, processing
instructions, other encodings, text between stanzas) and bounds what one element may cost: bytes, depth, attributes,
elements. Bytes are counted from the first of a stanza to its last, an unfinished tag included, and anew for the next
one; so whitespace between stanzas may go on for years.

Two properties of expat need care. It scans an unfinished tag again with every piece that arrives, so a tag that comes
byte by byte would cost the square of its length: pieces that cannot end a tag are held back. And it remembers every
name it ever saw: after some mebibytes it is replaced, between two stanzas, by a new one that is told the same header.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from xml.parsers import expat

from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element, escape_attribute

# Not an XML character, not even as a reference: no name can smuggle it in (CVE-2022-25236).
_SEPARATOR: Final = "\x0c"
_WHITESPACE: Final = " \t\r\n"
# Shorter unfinished tags are not worth the trouble.
_HOLD_BYTES: Final = 512
_RENEW_BYTES: Final = 2 * 1024 * 1024
# How often, in bytes, unfinished tags of one stanza may be scanned again, as a multiple of the permitted size.
_RESCANS: Final = 64
_NAMES_MAX: Final = 4096
_NAME_MAX_CHARACTERS: Final = 256
_CONDITIONS: Final = {
    expat.errors.codes[expat.errors.XML_ERROR_UNBOUND_PREFIX]: "bad-namespace-prefix",
    expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING]: "unsupported-encoding",
    expat.errors.codes[expat.errors.XML_ERROR_INCORRECT_ENCODING]: "unsupported-encoding",
}

# Expanded name -> (uri, local name); emptied when full, so that strangers' names do not stay.
_names: dict[str, tuple[str, str]] = {}


@dataclass(frozen=True, slots=True)
class XMLLimits:
    """What one first-level element, and the stream header, may cost."""

    element_bytes: int
    header_bytes: int
    depth: int
    attributes: int
    elements: int


class Parser:
    """Turns the bytes of one stream into its header, its first-level elements and its end.

    ``jabber:server`` is read as ``jabber:client``: one vocabulary in the house. ``namespaces`` has the header's
    declarations as they were sent. ``limits`` may be replaced between two stanzas.
    """

    def __init__(
        self,
        limits: XMLLimits,
        on_header: Callable[[Element], object],
        on_element: Callable[[Element], object],
        on_end: Callable[[], object],
    ) -> None:
        self.limits = limits
        self.namespaces: dict[str | None, str] = {}
        self._on_header = on_header
        self._on_element = on_element
        self._on_end = on_end
        self._opened = False
        self._ended = False
        self._stack: list[Element] = []
        self._pieces: list[str] = []
        self._fed = 0  # bytes handed to this expat
        self._begin = 0  # where the open stanza begins in them
        self._count = 0  # its elements
        self._unfinished = 0  # bytes of a tag whose end has not come
        self._rescanned = 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._head = b""  # what came until the header was complete
        self._expat = self._create()
        self._expat.XmlDeclHandler = self._declaration
        self._expat.StartNamespaceDeclHandler = self._namespace

    @property
    def idle(self) -> bool:
        """True if not even a part of an element has come that was not handed on."""
        return not self._stack and not self._unfinished

    def feed(self, data: bytes) -> None:
        """Read some bytes. Raises StreamError; after that, and after the end of the stream, bytes are ignored."""
        if self._ended or not data:
            return
        try:
            if self._opened:
                self._feed(data)
            else:
                self._feed_header(data)
        except expat.ExpatError as error:
            self._ended = True
            raise StreamError(_CONDITIONS.get(error.code, "not-well-formed")) from None
        except StreamError:
            self._ended = True
            raise

    def _feed(self, data: bytes) -> None:
        if self._unfinished:
            if self._unfinished > _HOLD_BYTES and b">" not in data:
                self._hold(data)
                return
            if self._held:
                self._held.append(data)
                data = b"".join(self._held)
                self._held.clear()
                self._held_bytes = 0
        self._fed += len(data)
        parser = self._expat
        parser.Parse(data, False)
        if self._ended:
            return
        limit = self.limits.element_bytes
        index = parser.CurrentByteIndex
        unfinished = self._unfinished = self._fed - index
        if unfinished:
            if (self._fed - self._begin if self._stack else unfinished) > limit:
                raise StreamError("policy-violation", "stanza too big")
            self._rescanned += unfinished
            if self._rescanned > _RESCANS * limit:
                raise StreamError("policy-violation", "a tag in too many pieces")
        elif self._stack:
            if self._fed - self._begin > limit:
                raise StreamError("policy-violation", "stanza too big")
        elif self._fed > _RENEW_BYTES:
            self._renew()

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        size = self._held_bytes + (self._fed - self._begin if self._stack else self._unfinished)
        if size > self.limits.element_bytes:
            raise StreamError("policy-violation", "stanza too big")
        if len(self._held) > 512:
            self._held[:] = [b"".join(self._held)]

    # the header

    def _feed_header(self, data: bytes) -> None:
        if not self._head and data[0] in b"\xfe\xff\x00":
            raise StreamError("unsupported-encoding")
        if not self._head and data[0] == 0xEF:
            # RFC 6120 §11.6: a byte order mark is a character like any other, and none may come first.
            raise StreamError("not-well-formed")
        limit = self.limits.header_bytes
        room = limit - len(self._head)
        data, rest = data[:room], data[room:]
        self._head += data
        if self._unfinished > _HOLD_BYTES and b">" not in data:
            self._unfinished += len(data)
        else:
            new = self._head[self._fed :]
            self._fed = len(self._head)
            self._expat.Parse(new, False)
            self._unfinished = self._fed - self._expat.CurrentByteIndex
        if self._opened:
            if self._ended:
                return
            if rest:
                self._feed(rest)
            elif self._stack and self._fed - self._begin > self.limits.element_bytes:
                raise StreamError("policy-violation", "stanza too big")
        elif rest:
            raise StreamError("policy-violation", "stream header too big")

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if version != "1.0":
            raise StreamError("not-well-formed", "only XML 1.0")
        if encoding is not None and encoding.upper() != "UTF-8":
            raise StreamError("unsupported-encoding")

    def _namespace(self, prefix: str | None, uri: str) -> None:
        self.namespaces[prefix] = uri

    def _header(self, name: str, attributes: dict[str, str]) -> None:
        parser = self._expat
        parser.StartNamespaceDeclHandler = None
        parser.XmlDeclHandler = None
        self._opened = True
        start = parser.CurrentByteIndex
        tag = self._head[start + 1 :]
        self._head = tag[: min(found for end in b" \t\r\n/>" if (found := tag.find(end)) >= 0)]
        uri, local = _names.get(name) or _split(name)
        if len(attributes) > self.limits.attributes or len(self.namespaces) > self.limits.attributes:
            raise StreamError("policy-violation", "too many attributes")
        if _SEPARATOR in "".join(attributes):
            attributes = _qualified(attributes)
        self._on_header(Element(uri, local, attributes))

    def _renew(self) -> None:
        header = b"<" + self._head
        for prefix, uri in self.namespaces.items():
            if prefix != "xml":
                header += f" xmlns{':' + prefix if prefix else ''}='{escape_attribute(uri)}'".encode()
        header += b">"
        parser = self._create()
        parser.StartElementHandler = None
        parser.Parse(header, False)
        parser.StartElementHandler = self._start
        self._expat = parser
        self._fed = len(header)

    # what expat calls

    def _create(self) -> Any:
        # The encoding is fixed here, whatever a declaration says; None: expat's names are not interned for ever.
        parser = expat.ParserCreate("UTF-8", _SEPARATOR, None)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _restricted
        parser.EntityDeclHandler = _restricted
        parser.CommentHandler = _restricted
        parser.ProcessingInstructionHandler = _restricted
        return parser

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        stack = self._stack
        parts = _names.get(name) or _split(name)
        element = _new(Element)
        element.uri, element.name = parts
        element.attributes = attributes
        element.children = []
        limits = self.limits
        if stack:
            children = stack[-1].children
            if self._pieces:
                children.append(self._joined())
            children.append(element)
            self._count += 1
            if self._count > limits.elements or len(stack) >= limits.depth:
                raise StreamError("policy-violation", "too many elements or too deep")
        elif self._opened:
            self._begin = self._expat.CurrentByteIndex
            self._count = 1
            self._rescanned = 0
        else:
            self._header(name, attributes)
            return
        if attributes:
            if len(attributes) > limits.attributes:
                raise StreamError("policy-violation", "too many attributes")
            if _SEPARATOR in "".join(attributes):
                element.attributes = _qualified(attributes)
        stack.append(element)

    def _end(self, name: str) -> None:
        stack = self._stack
        if not stack:
            self._ended = True
            self._on_end()
            return
        element = stack.pop()
        if self._pieces:
            element.children.append(self._joined())
        if not stack:
            if self._expat.CurrentByteIndex - self._begin > self.limits.element_bytes:
                raise StreamError("policy-violation", "stanza too big")
            self._on_element(element)

    def _text(self, data: str) -> None:
        if self._stack:
            self._pieces.append(data)
        elif data.strip(_WHITESPACE):
            raise StreamError("invalid-xml", "text between stanzas")

    def _joined(self) -> str:
        pieces = self._pieces
        text = pieces[0] if len(pieces) == 1 else "".join(pieces)
        pieces.clear()
        return text


_new = Element.__new__


def _restricted(*_: object) -> None:
    raise StreamError("restricted-xml")


def _split(name: str) -> tuple[str, str]:
    uri, separator, local = name.partition(_SEPARATOR)
    if not separator:
        uri, local = "", name
    elif any(character in uri for character in _WHITESPACE):
        raise StreamError("not-well-formed", "whitespace in a namespace name")
    if uri == ns.SERVER:
        uri = ns.CLIENT
    if len(name) <= _NAME_MAX_CHARACTERS:
        if len(_names) >= _NAMES_MAX:
            _names.clear()
        _names[name] = uri, local
    return uri, local


def _qualified(attributes: dict[str, str]) -> dict[str, str]:
    qualified = {}
    for name, value in attributes.items():
        uri, separator, local = name.partition(_SEPARATOR)
        if separator and any(character in uri for character in _WHITESPACE):
            raise StreamError("not-well-formed", "whitespace in a namespace name")
        qualified["{" + uri + "}" + local if separator else name] = value
    return qualified
