"""Streams of events at a node that is killed: nothing that was confirmed is left out, and cursors are kept.

The program is a plain XMPP client that knows nothing but docs/protocol/events.md.
"""

import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from tests.interop.client import CLIENT, Client, Refused
from tests.interop.microblogging import MICROBLOG, PUBSUB, follow, publish, retract
from tests.interop.servers import MicroblogNode

pytestmark = pytest.mark.interop
EVENTS = "urn:x-microblog:events:0"
E = f"{{{EVENTS}}}"
Make = Callable[..., MicroblogNode]


class Program:
    """Benvolio's, which does what it is told of once."""

    def __init__(self, node: MicroblogNode, window: int = 5, sources: Sequence[str] = ("home",)) -> None:
        self.node = node
        self.sources = sources
        self.window = window
        self.told: list[tuple[str, str]] = []  # id and what
        self.unacknowledged: list[str] = []
        self.comes()

    def comes(self, resource: str = "ci") -> str:
        """Log in and open; the cursor it goes on from."""
        self.client = self.node.login("benvolio", resource=resource)
        self.unacknowledged.clear()
        sources = "".join(f"<source>{source}</source>" for source in self.sources)
        answer = self.client.iq(
            "set",
            f"<open xmlns='{EVENTS}' name='ci' window='{self.window}'>{sources}</open>",
            to=self.node.domain,
        )
        opened = answer.find(f"{E}opened")
        assert opened is not None
        return opened.attrib["cursor"]

    def reads(self, upto: str, timeout: float = 20) -> None:
        """Read until it is told of that, and acknowledge it all along."""
        while not self.told or self.told[-1][1] != upto:
            self.hears(timeout)
            self.acks()

    def hears(self, timeout: float = 20) -> None:
        message = self.client.wait(lambda stanza: stanza.find(f"{E}events") is not None, timeout=timeout, what="events")
        for event in message.iter(f"{E}event"):
            address = event.attrib["uri"].rpartition("item=")[2]
            self.told.append((event.attrib["id"], f"{event.attrib['kind']} {address}"))
            self.unacknowledged.append(event.attrib["cursor"])
        assert len(self.unacknowledged) <= self.window

    def acks(self, number: int | None = None) -> str:
        """Acknowledge what was told, or the first of it."""
        number = len(self.unacknowledged) if number is None else number
        cursor = self.unacknowledged[number - 1]
        self.client.iq("set", f"<ack xmlns='{EVENTS}' name='ci' cursor='{cursor}'/>", to=self.node.domain)
        del self.unacknowledged[:number]
        return cursor


def a_node(make: Make, domain: str) -> tuple[MicroblogNode, Client]:
    node = make(domain)
    node.account("romeo")
    node.account("benvolio")
    romeo, benvolio = node.login("romeo"), node.login("benvolio")
    follow(benvolio, romeo.bare)
    benvolio.close()
    return node, romeo


def test_a_node_that_is_killed_loses_no_event_and_no_cursor(microblog_node: Make) -> None:
    node, romeo = a_node(microblog_node, "montague-events.zz")
    program = Program(node)
    for number in range(4):
        publish(romeo, f"first{number}", "What light?")
    while len(program.told) < 4:
        program.hears()
    cursor = program.acks(2)
    # While the program is full, and then while the node is told to die.
    for number in range(6):
        publish(romeo, f"second{number}", "It is the east")
    node.kill9()
    node.start()
    romeo = node.login("romeo")
    publish(romeo, "third", "and Juliet is the sun")
    retract(romeo, "first0")
    assert program.comes() == cursor
    before = list(program.told)
    program.reads("retracted first0")
    after = program.told[len(before) :]
    expected = [
        *(f"published first{number}" for number in (2, 3)),
        *(f"published second{number}" for number in range(6)),
        "published third",
        "retracted first0",
    ]
    assert [what for _, what in after] == expected, "what was acknowledged does not come again, the rest does, in order"
    # What comes again is known by its id.
    assert before[2][0] == after[0][0] and len({id_ for id_, _ in program.told}) == 4 + len(expected) - 2
    # Killed at once after an acknowledgement was confirmed.
    node.kill9()
    node.start()
    program.comes()
    program.client.ping()
    publish(node.login("romeo"), "fourth", "Arise, fair sun")
    program.hears()
    assert program.told[-1][1] == "published fourth"


def test_an_event_comes_within_a_second_and_a_slow_program_holds_up_nobody(microblog_node: Make) -> None:
    node, romeo = a_node(microblog_node, "verona-events.zz")
    program = Program(node, window=2)
    started = time.monotonic()
    publish(romeo, "sun", "It is the east")
    program.hears()
    assert time.monotonic() - started < 1
    for number in range(30):
        publish(romeo, f"p{number}", "O")
    # It has room for one more, and for nothing then.
    program.hears()
    program.client.ping()
    program.client.absent(lambda stanza: stanza.find(f"{E}events") is not None)
    program.acks()
    program.reads("published p29")
    assert [what for _, what in program.told] == ["published sun", *(f"published p{number}" for number in range(30))]


def test_rules_and_tracks_reach_a_program(microblog_node: Make) -> None:
    node, romeo = a_node(microblog_node, "padua-events.zz")
    benvolio = node.login("benvolio", resource="phone")
    for words in ("program ci track calls", "track lift", "rule when lift then call ci"):
        benvolio.send(f"<message type='chat' to='{node.domain}'><body>{words}</body></message>")
        answer = benvolio.wait(lambda one: one.findtext(f"{CLIENT}body"), what=f"the answer to {words}")
        assert not answer.findtext(f"{CLIENT}body", "").startswith("Nothing was"), ET.tostring(answer, "unicode")
    program = Program(node, sources=())
    says(romeo, "sun", "The sun is up")
    says(romeo, "lift", "The lift is back")
    events: list[ET.Element] = []
    while len(events) < 2:
        message = program.client.wait(lambda one: one.find(f"{E}events") is not None, timeout=20, what="events")
        events += message.iter(f"{E}event")
    assert sorted(event.attrib["kind"] for event in events) == ["called", "matched"]
    by_kind = {event.attrib["kind"]: event for event in events}
    assert by_kind["matched"].attrib["uri"].endswith("item=lift")
    call = json.loads(by_kind["called"].findtext("{urn:xmpp:json:0}json", ""))
    assert call["text"] == "The lift is back" and call["author"] == romeo.bare and call["audience"] == "public"


def test_a_program_that_comes_twice_is_one(microblog_node: Make) -> None:
    node, romeo = a_node(microblog_node, "mantua-events.zz")
    program = Program(node)
    former = program.client
    program.comes("elsewhere")
    closed = former.wait(lambda stanza: stanza.find(f"{E}closed") is not None, what="its end")
    assert [one.get("reason") for one in closed.iter(f"{E}closed")] == ["taken"]
    publish(romeo, "sun", "It is the east")
    program.reads("published sun")
    former.ping()
    former.absent(lambda stanza: stanza.find(f"{E}events") is not None)
    with pytest.raises(Refused) as refused:
        former.iq("set", f"<close xmlns='{EVENTS}' name='ci'/>", to=node.domain)
    assert refused.value.condition == "unexpected-request"
    features = {one.get("var") for one in info(former, node.domain).iter() if one.tag.endswith("feature")}
    assert EVENTS in features


def info(client: Client, domain: str) -> ET.Element:
    answer = client.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to=domain)
    assert answer.tag == f"{CLIENT}iq"
    return answer


def says(author: Client, ident: str, title: str) -> None:
    """Publish it as of now: what is old is no match."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    entry = (
        f"<entry xmlns='http://www.w3.org/2005/Atom'><title>{title}</title><published>{now}</published>"
        f"<updated>{now}</updated></entry>"
    )
    author.iq(
        "set",
        f"<pubsub xmlns='{PUBSUB}'><publish node='{MICROBLOG}'><item id='{ident}'>{entry}</item></publish></pubsub>",
    )
