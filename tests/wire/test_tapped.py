"""What a program is told, read from XML: the same JSON as a webhook has, and what a later node may say."""

import json

import pytest

from microblog.model.program import Source
from microblog.wire import events, ns, tapped
from microblog.wire.xml import Element
from tests.xmltext import read_all

EVENT = (
    "<event id='e1' cursor='1.0.0' kind='published' source='home' time='2026-02-14T21:30:00Z' "
    "author='romeo@montague.example' uri='xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=a'>"
    "<item id='a' audience='public' published='2026-02-14T21:30:00Z' updated='2026-02-14T21:30:00Z'>"
    f"<entry xmlns='{ns.ATOM}'><title>Arise, fair sun</title></entry></item></event>"
)


def message(content: str) -> Element:
    (found,) = read_all(f"<message xmlns='{ns.CLIENT}' from='montague.example'>{content}</message>")
    return found


def heard(*told: str, name: str = "ci") -> tapped.Heard:
    found = tapped.read_message(message(f"<events xmlns='{ns.EVENTS}' name='{name}'>{''.join(told)}</events>"))
    assert found is not None
    return found


def test_an_event_in_json() -> None:
    (told,) = heard(EVENT).events
    body = json.loads(told.body)
    assert (told.id, told.cursor) == ("e1", "1.0.0")
    assert body["item"]["text"] == "Arise, fair sun"
    assert body["address"].endswith(";item=a")


def test_several_come_in_order() -> None:
    found = heard(*(EVENT.replace("e1", f"e{number}") for number in range(5)), name="builds")
    assert [told.id for told in found.events] == [f"e{number}" for number in range(5)]
    assert found.name == "builds"


def test_what_a_later_node_may_say_is_handed_on_as_it_is() -> None:
    (told,) = heard(
        EVENT.replace("kind='published'", "kind='moderated'").replace("source='home'", "source='moon'")
    ).events
    assert json.loads(told.body)["kind"] == "moderated"
    (told,) = heard("<event id='x' cursor='whatever'><new xmlns='urn:new'>1 &lt; 2</new></event>").events
    body = json.loads(told.body)
    assert body["id"] == "x"
    assert "1 &lt; 2" in body["xml"]


@pytest.mark.parametrize(
    "event",
    [
        "<event/>",
        "<event id='e1'/>",
        "<event cursor='1.0.0'/>",
        "<event id='a&#10;X-Header: b' cursor='1.0.0'/>",
        "<event id='' cursor=''/>",
        "<event id='\u2665' cursor='1.0.0'/>",
        f"<event id='{'x' * 300}' cursor='1.0.0'/>",
    ],
)
def test_what_cannot_be_acknowledged_or_named_in_a_header_is_no_event(event: str) -> None:
    with pytest.raises(ValueError, match="without its id or cursor"):
        heard(event)


@pytest.mark.parametrize("call", ["{", "[" * 100_000, "NaN-", "\\ud800"])
def test_a_call_that_is_no_json_is_handed_on_as_it_is(call: str) -> None:
    (told,) = heard(
        "<event id='c1' cursor='0.1.0' kind='called' source='calls' time='2026-02-14T21:30:00Z'>"
        f"<json xmlns='{ns.JSON}'>{call}</json></event>"
    ).events
    assert "xml" in json.loads(told.body)


def test_half_a_character_does_not_stop_a_call() -> None:
    (told,) = heard(
        "<event id='c1' cursor='0.1.0' kind='called' source='calls' time='2026-02-14T21:30:00Z'>"
        f'<json xmlns=\'{ns.JSON}\'>{{"text": "\\ud83d"}}</json></event>'
    ).events
    assert json.loads(told.body)["call"] == {"text": "?"}


def test_the_end() -> None:
    for reason, final in ((events.TAKEN, True), (events.DELETED, True), (events.LOST, False)):
        found = tapped.read_message(message(f"<closed xmlns='{ns.EVENTS}' name='ci' reason='{reason}'/>"))
        assert found == tapped.Heard("ci", closed=reason)
        assert (found.closed in tapped.FINAL) is final


def test_other_messages_say_nothing() -> None:
    assert tapped.read_message(message("<body>hello</body>")) is None


def test_what_is_asked_is_what_a_node_reads() -> None:
    asked = events.read_open(tapped.write_open("ci", [Source.HOME, Source.CALLS], 20, start=True))
    assert asked == events.Open(name="ci", window=20, sources=frozenset((Source.HOME, Source.CALLS)), start=True)
    assert events.read_ack(tapped.write_ack("ci", "1.2.3"))[0] == "ci"
