"""What Twisted's own XMPP streams let pass, and that nothing of it is left here: the sixteen rows of the list in
docs/hostile-inputs.md that are not shown by a test of the module that replaced them."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from twisted.words.protocols.jabber import jid as twisted_jid

import microblog
from microblog.model import jid
from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID
from microblog.wire import forms, ns
from microblog.wire.xml import Element, to_text
from microblog.xmpp import stream
from tests.xmltext import read
from tests.xmpp.lines import HEADER, Rig
from tests.xmpp.test_stream import start

PACKAGE = Path(microblog.__file__).parent


def test_x1_x6_the_streams_of_twisted_are_not_used() -> None:
    """Neither its parser nor its streams, authenticators or addresses: whoever wants them back meets this test."""
    found = [
        (path.name, line)
        for path in PACKAGE.rglob("*.py")
        if path.name not in ("_wokkel.py", "demo.py")  # the fence, which parses nothing; and a client
        for line in path.read_text().splitlines()
        if re.search(r"^\s*(from|import) .*\b(twisted\.words|wokkel|domish|xmlstream)\b", line)
    ]
    assert found == [("jid.py", "from twisted.words.protocols.jabber.xmpp_stringprep import nodeprep")]


def test_x8_a_bad_address_in_a_header_is_no_exception() -> None:
    for to in ("a..b", "@", "@@", "/", "a@", "\u202e", "x" * 3000, "[::", "a@b@c", ".", "xn--", "xn--a"):
        with pytest.raises(JIDMalformed):
            jid.domain(to)


def test_x9_addresses_of_strangers_fill_no_table() -> None:
    """Twisted keeps every address it interns for ever; ours forget, and of forms wokkel interns nothing."""
    table = twisted_jid.__dict__["__internJIDs"]
    before = len(table)
    for n in range(200):
        form = read(
            f"""<x xmlns='jabber:x:data' type='submit'>
            <field var='FORM_TYPE' type='hidden'><value>{ns.PUBSUB_NODE_CONFIG}</value></field>
            <field var='pubsub#contact' type='jid-multi'><value>victim{n}@capulet.example</value></field>
            <field var='pubsub#owner' type='jid-single'><value>owner{n}@capulet.example/x</value></field></x>"""
        )
        options = forms.read_options(form, ns.PUBSUB_NODE_CONFIG)
        assert options is not None and options["contact"] == (f"victim{n}@capulet.example",)
        rig = Rig()
        start(rig.stream.read_header())
        rig.line.deliver(HEADER.replace(b"version", b"from='romeo%d@capulet.example' version" % n))
    assert len(table) == before
    for cache in (jid._parse, jid.domain):
        info = cache.cache_info()
        assert info.maxsize is not None and info.maxsize <= 16_384


def test_x9_the_table_of_addresses_stops_growing() -> None:
    for n in range(20_000):
        JID.parse(f"r{n}@capulet.example")
    assert jid._parse.cache_info().currsize <= 16_384
    jid._parse.cache_clear()


@pytest.mark.parametrize("value", ["a\nb", "a\tb", "a\rb", "\r\n\t", "'\"<&>"])
def test_x15_white_space_in_attributes_arrives_as_it_was(value: str) -> None:
    """Unescaped, a reader makes spaces of it."""
    written = to_text(Element("urn:a", "a", {"x": value}, value))
    assert ElementTree.fromstring(written).attrib["x"] == value
    assert read(written.replace("\n", "&#10;")).get("x") == value


def test_x14_no_stored_character_can_end_a_stream_that_carries_it() -> None:
    """What XML cannot carry is not read, so it cannot be stored; and is not written, so it cannot leave."""
    for bad in ("&#11;", "&#xD800;", "\x0b", "&#xFFFF;"):
        rig = Rig().open()
        heard = rig.listen()
        rig.line.deliver(f"<message><body>{bad}</body></message>".encode())
        assert heard == []
        assert "<not-well-formed " in rig.line.take()
    for bad in ("\x0b", "\udc80", "\uffff"):
        with pytest.raises(ValueError, match="cannot carry"):
            to_text(Element("urn:a", "a", {"x": bad}))


def test_x16_every_wait_of_a_stream_has_an_end() -> None:
    """Each of the limits in time is finite; that each bites is shown where it is used."""
    limits = Rig().limits
    names = [name for name in type(limits).model_fields if name.endswith("_seconds")]
    assert len(names) >= 12
    assert all(0 < getattr(limits, name) < 90 * 86_400 for name in names)
    assert 0 < stream.LINGER_SECONDS < 60
