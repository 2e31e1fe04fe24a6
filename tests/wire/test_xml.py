"""Elements, and how they are written."""

from datetime import UTC, datetime, timedelta, timezone
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.wire import ns
from microblog.wire.xml import Element, Raw, clean, read_stamp, serialize, stamp, to_text

XML_TEXT = st.text(st.characters(exclude_categories=("Cs",)).filter(lambda c: clean(c) == c), max_size=30)


def test_a_stanza_takes_the_namespace_of_its_stream() -> None:
    body = Element(ns.CLIENT, "body", {}, "hi")
    assert (
        serialize(Element(ns.CLIENT, "message", {"to": "a"}, body), ns.CLIENT)
        == "<message to='a'><body>hi</body></message>"
    )


def test_raw_payload_is_spliced_unchanged() -> None:
    item = Element(ns.PUBSUB_EVENT, "item", {"id": "1"}, Raw("<entry xmlns='x'>&amp;</entry>"))
    assert to_text(item).endswith("<entry xmlns='x'>&amp;</entry></item>")
    assert item.text == ""


@given(XML_TEXT, XML_TEXT)
def test_what_is_written_reads_back_the_same(text: str, value: str) -> None:
    written = to_text(Element("urn:a", "a", {"x": value, "{urn:b}y": value}, text, Element("urn:c", "c")))
    read = ElementTree.fromstring(written)
    assert read.tag == "{urn:a}a"
    assert (read.text or "") == text
    assert read.attrib == {"x": value, "{urn:b}y": value}
    assert [child.tag for child in read] == ["{urn:c}c"]


@pytest.mark.parametrize("bad", ["\0", "\x0b", "\ud800", "\ufffe"])
def test_what_xml_cannot_carry_is_never_written(bad: str) -> None:
    with pytest.raises(ValueError, match="cannot carry"):
        to_text(Element("urn:a", "a", {}, bad))
    assert clean("x" + bad + "y") == "xy"


def test_stamps() -> None:
    noon = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    assert stamp(noon) == "2026-11-22T12:00:00Z"
    assert stamp(noon.astimezone(timezone(timedelta(hours=2)))) == "2026-11-22T12:00:00Z"
    assert read_stamp("2026-11-22T14:00:00.5+02:00") == noon + timedelta(seconds=0.5)
    for bad in (
        "yesterday",
        "2026-11-22",
        "2026-13-22T14:00:00Z",
        "2026-11-22T14:00:00",
        "2026-11-22T14:00:00+99:99",
    ):
        with pytest.raises(ValueError, match=r"."):
            read_stamp(bad)
