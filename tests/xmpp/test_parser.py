"""RFC 6120 §11: what the parser takes, what it refuses and how, and what refusing costs."""

import time
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element, serialize
from microblog.xmpp import parser as parser_module
from microblog.xmpp.parser import Parser, XMLLimits

LIMITS = XMLLimits(element_bytes=262_144, header_bytes=10_000, depth=64, attributes=64, elements=4096)
HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" to='montague.example' version='1.0'>"
)
PUBLISH = """<iq type='set' id='p1' to='romeo@montague.example'><pubsub
xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:microblog:0'><item id='abc'><entry
xmlns='http://www.w3.org/2005/Atom' xml:lang='de' xmlns:x='urn:x' x:y='ü&lt;'><title type='text'>Grüße &amp; mehr
&#x1F600;<![CDATA[<b>&amp;</b>]]></title><x:t/><published>2026-01-01T00:00:00Z</published></entry></item></publish></pubsub>
</iq>""".encode()


class Read:
    """What a parser found, and the condition of the error that ended it."""

    def __init__(self, limits: XMLLimits = LIMITS) -> None:
        self.headers: list[Element] = []
        self.elements: list[Element] = []
        self.ended = 0
        self.error: str | None = None
        self.parser = Parser(limits, self.headers.append, self.elements.append, self._end)

    def _end(self) -> None:
        self.ended += 1

    def feed(self, *pieces: bytes) -> "Read":
        for piece in pieces:
            try:
                self.parser.feed(piece)
            except StreamError as error:
                assert self.error is None, "a second error"
                self.error = error.condition
        return self


def read(data: bytes, limits: XMLLimits = LIMITS) -> Read:
    return Read(limits).feed(data)


def after_header(data: bytes, limits: XMLLimits = LIMITS) -> Read:
    return Read(limits).feed(HEADER, data)


def nested(levels: int) -> bytes:
    return b"<a>" * levels + b"</a>" * levels


def prefixes_again_and_again(count: int) -> bytes:
    declarations = "".join(f" xmlns:p{n}='urn:{n}'" for n in range(100))
    return f"<message>{f'<e{declarations}/>' * count}</message>".encode()


def test_a_header_elements_and_the_end() -> None:
    found = read(HEADER + b"<message to='a'><body>hi</body></message> \n <presence/></stream:stream>  ")
    assert found.error is None
    assert found.headers == [Element(ns.STREAM, "stream", {"to": "montague.example", "version": "1.0"})]
    assert found.parser.namespaces == {None: ns.CLIENT, "stream": ns.STREAM}
    assert found.elements == [
        Element(ns.CLIENT, "message", {"to": "a"}, Element(ns.CLIENT, "body", None, "hi")),
        Element(ns.CLIENT, "presence"),
    ]
    assert found.ended == 1


def test_server_streams_speak_the_vocabulary_of_the_house() -> None:
    header = HEADER.replace(b"jabber:client", b"jabber:server")
    found = read(header + b"<iq type='error'><error/></iq>")
    assert found.parser.namespaces[None] == ns.SERVER
    assert found.elements == [Element(ns.CLIENT, "iq", {"type": "error"}, Element(ns.CLIENT, "error"))]


def test_attributes_in_a_namespace() -> None:
    found = after_header(b"<message xml:lang='en' xmlns:p='urn:p' p:q='1' q='2'/>")
    assert found.elements[0].attributes == {"{" + ns.XML + "}lang": "en", "{urn:p}q": "1", "q": "2"}


def test_cdata_becomes_escaped_text() -> None:
    found = after_header(b"<message><body>a<![CDATA[<b>&amp;</b>]]>c</body></message>")
    assert serialize(found.elements[0], ns.CLIENT) == ("<message><body>a&lt;b&gt;&amp;amp;&lt;/b&gt;c</body></message>")


BAD_HEADERS = {
    "C36 document type": (b"<!DOCTYPE a>" + HEADER[21:], "restricted-xml"),
    "C37 entity bomb": (
        b"<!DOCTYPE a [<!ENTITY a 'ha'>"
        + b"".join(b"<!ENTITY %c '&%c;&%c;'>" % (n, n - 1, n - 1) for n in range(98, 118)),
        "restricted-xml",
    ),
    "C38 external entity": (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>" + HEADER[21:], "restricted-xml"),
    "C39 comment": (b"<!-- x -->" + HEADER[21:], "restricted-xml"),
    "C40 processing instruction": (b"<?php x?>" + HEADER[21:], "restricted-xml"),
    "C42 UTF-16 with mark": (HEADER.decode().encode("utf-16"), "unsupported-encoding"),
    "C42 UTF-16 big endian": (HEADER.decode().encode("utf-16-be"), "unsupported-encoding"),
    "C42 ISO-8859-1": (b"<?xml version='1.0' encoding='ISO-8859-1'?>", "unsupported-encoding"),
    "C42 UTF-16 declared": (b"<?xml version='1.0' encoding='UTF-16'?>", "unsupported-encoding"),
    "C42 UTF-7": (b"<?xml version='1.0' encoding='UTF-7'?>", "unsupported-encoding"),
    "byte order mark": (b"\xef\xbb\xbf" + HEADER, "not-well-formed"),
    "C43 XML 1.1": (b"<?xml version='1.1'?>" + HEADER[21:], "not-well-formed"),
    "C29 a header of a mebibyte": (HEADER[:-1] + b" a='" + b"x" * 1_048_576, "policy-violation"),
    "C29 and one just too big": (HEADER[:-1] + b" a='" + b"x" * 10_000 + b"'>", "policy-violation"),
    "C53 attributes of the header": (
        HEADER[:-1] + b"".join(b" a%d=''" % n for n in range(65)) + b">",
        "policy-violation",
    ),
    "A5 a TLS ClientHello": (bytes.fromhex("160301020001000001fc0303"), "not-well-formed"),
    "A6 HTTP": (b"GET / HTTP/1.1\r\nHost: montague.example\r\n\r\n", "not-well-formed"),
    "A19 PROXY protocol": (b"PROXY TCP4 192.0.2.1 192.0.2.2 5222 5222\r\n" + HEADER, "not-well-formed"),
    "text first": (b"hello" + HEADER, "not-well-formed"),
}

BAD_ELEMENTS = {
    "C36 document type": (b"<!DOCTYPE a>", "not-well-formed"),  # XML has it nowhere but at the start
    "C39 comment": (b"<!-- x -->", "restricted-xml"),
    "C39 comment in a stanza": (b"<message><!-- x --></message>", "restricted-xml"),
    "C40 processing instruction": (b"<message><?php x?></message>", "restricted-xml"),
    "C41 undefined entity": (b"<message>&foo;</message>", "not-well-formed"),
    "C44 a second declaration": (b"<?xml version='1.0'?>", "not-well-formed"),
    "C45 bad UTF-8": (b"<message>\xff</message>", "not-well-formed"),
    "C45 overlong": (b"<message>\xc0\xbc</message>", "not-well-formed"),
    "C45 surrogate": (b"<message>\xed\xa0\x80</message>", "not-well-formed"),
    "C46 NUL": (b"<message>&#0;</message>", "not-well-formed"),
    "C46 control character": (b"<message>&#x1F;</message>", "not-well-formed"),
    "C46 control character, raw": (b"<message>\x0b</message>", "not-well-formed"),
    "C46 U+FFFE": (b"<message>&#xFFFE;</message>", "not-well-formed"),
    "C47 unbound prefix": (b"<p:message/>", "bad-namespace-prefix"),
    "C47 unbound prefix of an attribute": (b"<message p:q=''/>", "bad-namespace-prefix"),
    "C48 attribute twice": (b"<message a='1' a='2'/>", "not-well-formed"),
    "C48 attribute twice by two prefixes": (
        b"<message xmlns:p='urn:p' xmlns:q='urn:p' p:a='1' q:a='2'/>",
        "not-well-formed",
    ),
    "C49 space in a namespace": (b"<message xmlns='jabber:client evil'/>", "not-well-formed"),
    "C49 newline in a namespace": (b"<p:message xmlns:p='jabber:client&#10;message'/>", "not-well-formed"),
    "C49 space in the namespace of an attribute": (b"<message xmlns:p='a b' p:q=''/>", "not-well-formed"),
    "C49 our separator": (b"<message xmlns='jabber:client&#12;message'/>", "not-well-formed"),
    "C50 text between stanzas": (b"<message/>x<message/>", "invalid-xml"),
    "C50 a no-break space between stanzas": ("<message/>\u00a0".encode(), "invalid-xml"),
    "C52 65 levels": (nested(65), "policy-violation"),
    "C53 65 attributes": (
        b"<message" + b"".join(b" a%d=''" % n for n in range(65)) + b"/>",
        "policy-violation",
    ),
    "C53 4097 elements": (b"<message>" + b"<a/>" * 4096 + b"</message>", "policy-violation"),
    "C55 too big": (b"<message>" + b"x" * 262_144 + b"</message>", "policy-violation"),
    "C55 too big and unfinished": (b"<message>" + b"x" * 262_144, "policy-violation"),
    "C55 an attribute too big": (b"<message a='" + b"x" * 262_144, "policy-violation"),
    "C57 xml prefix": (b"<message xmlns:xml='urn:evil'/>", "not-well-formed"),
    "C57 xmlns prefix": (b"<message xmlns:xmlns='urn:evil'/>", "not-well-formed"),
    "C57 another prefix for xml": (b"<message xmlns:p='http://www.w3.org/XML/1998/namespace'/>", "not-well-formed"),
    "wrong nesting": (b"<message><a></message></a>", "not-well-formed"),
    "wrong end": (b"</message>", "not-well-formed"),
}

GOOD_ELEMENTS = {
    "64 levels": nested(64),
    "64 attributes": b"<message" + b"".join(b" a%d=''" % n for n in range(64)) + b"/>",
    "4096 elements": b"<message>" + b"<a/>" * 4095 + b"</message>",
    "the largest": b"<message>" + b"x" * (262_144 - 9 - 10) + b"</message>",
}


@pytest.mark.parametrize(("data", "condition"), BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_bad_headers(data: bytes, condition: str) -> None:
    found = read(data)
    assert (found.error, found.elements) == (condition, [])


@pytest.mark.parametrize(("data", "condition"), BAD_ELEMENTS.values(), ids=BAD_ELEMENTS.keys())
def test_bad_elements(data: bytes, condition: str) -> None:
    found = after_header(data)
    assert found.error == condition
    before = list(found.elements)
    assert found.feed(b"<presence/>").elements == before, "read on after an error"


@pytest.mark.parametrize("data", GOOD_ELEMENTS.values(), ids=GOOD_ELEMENTS.keys())
def test_at_the_limit(data: bytes) -> None:
    found = after_header(data)
    assert (found.error, len(found.elements)) == (None, 1)


SPLIT = {
    **{f"header: {name}": data for name, (data, _) in BAD_HEADERS.items() if len(data) < 20_000},
    **{name: HEADER + data for name, (data, _) in BAD_ELEMENTS.items() if len(data) < 2_000},
    "good": HEADER + PUBLISH + b"\n" + PUBLISH + b"<presence/></stream:stream>",
}


@pytest.mark.parametrize("data", SPLIT.values(), ids=SPLIT.keys())
def test_c58_split_at_every_byte(data: bytes) -> None:
    """However the bytes are cut, the same is found: once byte by byte, and once at each place."""
    whole = read(data)
    expected = (whole.headers, whole.elements, whole.ended, whole.error)
    drip = Read().feed(*(data[n : n + 1] for n in range(len(data))))
    assert (drip.headers, drip.elements, drip.ended, drip.error) == expected
    for cut in range(1, min(len(data), 1500)):
        found = Read().feed(data[:cut], data[cut:])
        assert (found.headers, found.elements, found.ended, found.error) == expected, data[:cut]


_NOT_XML = [chr(n) for n in (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF)]
_text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=_NOT_XML))
_trees = st.recursive(
    st.builds(lambda text: Element("urn:a", "leaf", {"k": text}, text), _text),
    lambda children: st.builds(
        lambda kids, text: Element(ns.CLIENT, "branch", {"{urn:q}k": text}, *kids),
        st.lists(children, max_size=4),
        _text,
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(tree=_trees, cuts=st.lists(st.integers(min_value=0, max_value=2000), max_size=6))
def test_what_we_write_we_read(tree: Element, cuts: list[int]) -> None:
    data = serialize(tree, ns.CLIENT).encode()
    places = sorted(min(cut, len(data)) for cut in cuts)
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    found = Read().feed(HEADER, *pieces)
    assert (found.error, found.elements) == (None, [tree])


def test_x4_whitespace_between_stanzas_never_adds_up() -> None:
    found = Read().feed(HEADER)
    for _ in range(100):
        found.feed(b" " * 100_000 + b"\n")
    found.feed(b"<presence/>")
    assert (found.error, len(found.elements)) == (None, 1)


def test_bytes_count_from_the_first_of_each_stanza() -> None:
    small = XMLLimits(element_bytes=100, header_bytes=10_000, depth=64, attributes=64, elements=4096)
    found = Read(small).feed(HEADER)
    for _ in range(50):
        found.feed(b"<message><body>", b"x" * 60, b"</body></message>")
    assert (found.error, len(found.elements)) == (None, 50)
    # An unfinished tag counts from its first byte too, and so does one after another stanza in the same piece.
    assert found.feed(b"<presence/><message a='", b"x" * 50, b"x" * 50).error == "policy-violation"
    assert len(found.elements) == 51


def test_limits_can_be_raised_between_stanzas() -> None:
    small = XMLLimits(element_bytes=100, header_bytes=10_000, depth=64, attributes=64, elements=4096)
    found = Read(small).feed(HEADER, b"<auth/>")
    found.parser.limits = LIMITS
    assert found.feed(b"<message>" + b"x" * 1000 + b"</message>").error is None
    assert len(found.elements) == 2


def test_idle_means_that_nothing_was_kept_back() -> None:
    found = Read().feed(HEADER)
    assert found.parser.idle
    for piece, idle in (
        (b"<", False),
        (b"iq", False),
        (b" a='>'", False),
        (b">", False),
        (b"</iq>", True),
        (b" ", True),
    ):
        assert found.feed(piece).parser.idle is idle, piece


def cpu(data: bytes, pieces: int = 1) -> float:
    """Processor seconds to read a stanza in so many pieces; the best of three."""
    size = -(-len(data) // pieces)
    best = 1e9
    for _ in range(3):
        found = Read().feed(HEADER)
        cut = [data[n : n + size] for n in range(0, len(data), size)]
        before = time.process_time()
        found.feed(*cut)
        best = min(best, time.process_time() - before)
    return best


@pytest.mark.parametrize(
    "content",
    [b"\n" * 262_100, b"&lt;" * 65_500, b"<a/>" * 4095, b"x" * 262_100, b"<![CDATA[]]>" * 20_000],
    ids=["newlines", "references", "elements", "text", "cdata"],
)
def test_c54_cost_of_a_legal_stanza(content: bytes) -> None:
    """Quadratic joining took 500 ms for the first, 1 s for the second (X2)."""
    assert cpu(b"<message>" + content + b"</message>") < 0.05


def test_c37_cost_of_an_entity_bomb() -> None:
    best = 1e9
    for _ in range(3):
        before = time.process_time()
        assert read(BAD_HEADERS["C37 entity bomb"][0]).error == "restricted-xml"
        best = min(best, time.process_time() - before)
    assert best < 0.01


def test_c56_cost_of_redeclared_prefixes_is_linear() -> None:
    few, many = cpu(prefixes_again_and_again(20)), cpu(prefixes_again_and_again(100))
    assert many < 12 * few + 0.01


@pytest.mark.parametrize("filler", [b"x", b">"], ids=["held back", "seems to end"])
def test_x5_a_tag_byte_by_byte(filler: bytes) -> None:
    """expat scans an unfinished tag again with each piece: 34,000 million characters for the first of these."""
    before = time.process_time()
    found = Read().feed(HEADER, b"<message a='", *([filler] * 262_000), b"'/>")
    assert time.process_time() - before < 2
    if filler == b"x":
        assert (found.error, len(found.elements)) == (None, 1)
    else:
        assert found.error == "policy-violation"


def test_a_long_tag_in_packets_is_no_offence() -> None:
    attribute = quoteattr("a>b" * 20_000).encode()
    data = b"<message a=" + attribute + b"/>"
    found = Read().feed(HEADER, *(data[n : n + 1400] for n in range(0, len(data), 1400)))
    assert (found.error, len(found.elements)) == (None, 1)


def test_expat_is_replaced_before_it_remembers_too_much() -> None:
    """Prefixes of the header go on to hold, stanzas in pieces are not torn, and the end tag still fits."""
    header = HEADER[:-1] + b" xmlns:m='urn:m&amp;&#39;'>"
    found = Read().feed(header)
    first = found.parser._expat
    stanza = b"<m:message %s='%%d'>" % (b"q" * 50_000) + b"<stream:x/></m:message>"
    for n in range(100):
        data = stanza % n
        found.feed(data[:70], data[70:])
    assert found.error is None
    assert found.parser._expat is not first
    assert found.parser._fed < parser_module._RENEW_BYTES + 100_000
    assert [element.uri for element in found.elements] == ["urn:m&'"] * 100
    assert [element.first() for element in found.elements] == [Element(ns.STREAM, "x")] * 100
    assert found.feed(b"</stream:stream>").ended == 1


def test_the_cache_of_names_is_bounded() -> None:
    found = Read().feed(HEADER)
    for n in range(3 * parser_module._NAMES_MAX):
        found.feed(b"<a%d/>" % n)
    assert found.error is None
    assert len(parser_module._names) <= parser_module._NAMES_MAX
    found.feed(b"<" + b"b" * 1000 + b"/>")
    assert all(len(name) <= parser_module._NAME_MAX_CHARACTERS for name in parser_module._names)
