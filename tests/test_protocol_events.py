"""docs/protocol/events.md: what is written there is what is spoken here."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from microblog.model.errors import BadRequest
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node, NodeConfig
from microblog.model.program import EventKind, Position, Program, ProgramEvent, Source, read_cursor
from microblog.usecases import calling, forgetting, informing, tracking
from microblog.wire import events, ns
from microblog.wire.xml import Element, parse, serialize
from microblog.xep.events import SILENT_SECONDS
from tests.protocols import FOLDER, Protocol, examples, name
from tests.xmltext import read_all, read_stanza

ROOT = Path(__file__).parent.parent
PROTOCOL = Protocol("events", ns.EVENTS)
PAGE, EXAMPLES, ours, check = PROTOCOL.page, PROTOCOL.examples, PROTOCOL.ours, PROTOCOL.check
IN_JSON = [json.loads(text) for text in examples(PAGE, "json")]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROMEO = JID.parse("romeo@montague.example")
FEED = Node(key=1, service=ROMEO, name=MICROBLOG, config=NodeConfig())
ENTRY = (
    f"<entry xmlns='{ns.ATOM}' xml:lang='en'><title>What light? @juliet@capulet.example #light</title>"
    "<category term='light'/><link rel='mentioned' href='xmpp:juliet@capulet.example'/>"
    f"<geoloc xmlns='{ns.GEOLOC}'><lat>45.44</lat><lon>10.99</lon></geoloc></entry>"
)
ITEM = Item(id="window", publisher=ROMEO, payload=ENTRY, published=NOON, updated=NOON)


def an_event(**more: Any) -> ProgramEvent:
    fields: dict[str, Any] = {
        "id": "e7",
        "cursor": Position(7, 1, 0),
        "kind": EventKind.PUBLISHED,
        "source": Source.HOME,
        "time": NOON,
        "node": FEED,
        "item_id": "window",
        "item": ITEM,
        "author": ROMEO,
    }
    return ProgramEvent(**fields | more)


CALLED: dict[str, Any] = {"kind": EventKind.CALLED, "source": Source.CALLS, "node": None, "item": None, "author": None}
KINDS = [
    an_event(),
    an_event(gap=True, kind=EventKind.MATCHED, source=Source.TRACK, track=3),
    an_event(kind=EventKind.RETRACTED, item=None),
    an_event(kind=EventKind.PURGED, item=None, item_id=""),
    an_event(**CALLED, item_id="", payload=json.dumps({"text": "<&>\"'\x00\ud800", "n": 1.5})),
    an_event(item=Item(id="a & 'b'", publisher=ROMEO, payload="", published=NOON, updated=NOON)),
]
PROGRAM = Program(
    key=1,
    account=1,
    name="ci",
    sources=frozenset(Source),
    position=Position(4, 0, 0),
    acknowledged=NOON,
    created=NOON,
    url="https://example.org/",
)


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_every_example_is_valid(example: str) -> None:
    PROTOCOL.check_example(example)


def test_the_examples_show_every_element_kind_and_reason() -> None:
    assert not PROTOCOL.undocumented()
    for word in (*EventKind, *Source, events.TAKEN, events.DELETED, events.LOST):
        assert f"`{word}`" in PAGE


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_every_example_is_understood(example: str) -> None:
    stanza = read_stanza(example)
    for element in ours(stanza.element):
        match element.name:
            case "open":
                asked = events.read_open(element)
                assert (asked.name, asked.window, asked.sources) == ("ci", 20, frozenset((Source.HOME, Source.CALLS)))
            case "ack":
                assert events.read_ack(element) == ("ci", Position(4111))
            case "close" | "delete":
                assert events.read_name(element) == "ci"
            case "events":
                for event in element.elements():
                    told = events.read_json(event)
                    assert (
                        read_cursor(told["cursor"]) is not None and EventKind(told["kind"]) and Source(told["source"])
                    )
            case "opened" | "closed" | "list":
                pass
            case other:
                raise AssertionError(other)


def test_the_same_event_in_xml_and_in_json() -> None:
    told = [
        events.read_json(event)
        for example in EXAMPLES
        for element in ours(read_stanza(example).element)
        if element.name == "events"
        for event in element.elements()
    ]
    for example in IN_JSON:
        (same,) = [event for event in told if event["id"] == example["id"]]
        more = {"tags", "mentions", "answers", "language", "location", "payload"}
        assert {key: value for key, value in example.items() if key != "item"} == {
            key: value for key, value in same.items() if key != "item"
        }
        assert {key for key in example.get("item", {}) if key not in more} == same.get("item", {}).keys() - {"payload"}


@pytest.mark.parametrize("event", KINDS, ids=lambda event: event.kind)
def test_what_is_written_here_is_valid_and_reads_as_the_json(event: ProgramEvent) -> None:
    text = serialize(events.write_events("ci", [event]))
    check(text)
    (read,) = read_all(text)
    (told,) = map(events.read_json, read.elements())
    assert told == json.loads(json.dumps(events.to_json(event)))


def test_fields_of_an_entry_in_json() -> None:
    told = events.to_json(an_event())["item"]
    assert told.keys() <= {*IN_JSON[0]["item"]}
    assert (told["tags"], told["mentions"], told["language"]) == (["light"], ["juliet@capulet.example"], "en")
    assert told["location"] == {"latitude": 45.44, "longitude": 10.99}
    assert told["payload"] == ENTRY and "audience" in told
    assert events.to_json(an_event(item=Item(id="x", publisher=ROMEO, payload="<x/>", published=NOON, updated=NOON)))[
        "item"
    ].keys() == {"id", "audience", "published", "updated", "payload"}


@pytest.mark.parametrize(
    "element",
    [
        events.write_opened(PROGRAM, 50),
        events.write_list([PROGRAM], {"ci": ROMEO.with_resource("ci")}),
        events.write_list([], {}),
        *(events.write_closed("ci", reason) for reason in (events.TAKEN, events.DELETED, events.LOST)),
    ],
    ids=lambda element: element.name,
)
def test_answers_are_valid(element: Element) -> None:
    check(serialize(element))


@pytest.mark.parametrize(
    "text",
    [
        "<open xmlns='{0}' name='ci' window='0'><source>home</source></open>",
        "<open xmlns='{0}' name='CI'><source>home</source></open>",
        "<open xmlns='{0}' name='ci' from='then'/>",
        "<open xmlns='{0}' name='ci'><source>nowhere</source></open>",
        "<ack xmlns='{0}' name='ci'/>",
        "<ack xmlns='{0}' cursor='1.2.3'/>",
        "<close xmlns='{0}'/>",
        "<event xmlns='{0}' id='e1' cursor='1.0.0' kind='published' source='home'/>",
        "<event xmlns='{0}' id='e1' cursor='1.0.0' kind='matched' source='track' time='x' track='many'/>",
    ],
)
def test_schema_and_reader_refuse_the_same(text: str) -> None:
    with pytest.raises(etree.DocumentInvalid):
        check(text.format(ns.EVENTS))
    (element,) = read_all(text.format(ns.EVENTS))
    reader: Any = {
        "open": events.read_open,
        "ack": events.read_ack,
        "close": events.read_name,
        "event": events.read_json,
    }[element.name]
    with pytest.raises(BadRequest):
        reader(element)


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "nul", '{"a": '])
def test_a_call_that_is_no_json_is_refused_by_who_reads_it(text: str) -> None:
    event = events.write_event(an_event(**CALLED, item_id="", payload="{}"))
    (call,) = event.elements()
    call.children = [text]
    with pytest.raises(BadRequest):
        events.read_json(event)


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    assert f"at most {events.WINDOW_MAX})" in PAGE and f"and {events.WINDOW} if" in PAGE
    assert f"{forgetting.DAYS} days, and {informing.CALL_DAYS} days for calls and matches" in PAGE
    assert f"here: {calling.WAITING_MAX:,})" in PAGE and f"(here: {informing.PROGRAMS_MAX})" in PAGE
    assert tracking.KEPT.days == informing.CALL_DAYS and tracking.KEPT_MAX == calling.WAITING_MAX
    assert SILENT_SECONDS == 300 and "for five minutes" in PAGE


def test_each_threat_has_its_tests() -> None:
    table = PAGE.partition("| threat | test |")[2].partition("##")[0]
    named = re.findall(r"`(test_\w+)`", table)
    files = [ROOT / "tests" / "xep" / "test_events.py", ROOT / "tests" / "usecases" / "test_informing.py"]
    text = "".join(path.read_text() for path in files)
    assert named and all(f"def {one}(" in text for one in named)


def test_audiences_are_those_of_items() -> None:
    schema = (FOLDER / "events.xsd").read_text()
    assert all(f"value='{audience}'" in schema for audience in Audience)
    assert parse(ENTRY).is_(ns.ATOM, "entry")
