"""A program at an address elsewhere that is linked to an account: its stream of events goes from server to server."""

from pathlib import Path
from typing import Any

import pytest

from microblog.store.transaction import Transaction
from microblog.wire import ns
from microblog.wire.events import read_json
from microblog.wire.xml import Element
from microblog.xep.events import SILENT_SECONDS, SWEEP_SECONDS
from tests.federation.nodes import Authority
from tests.federation.twins import MONTAGUE, Twins
from tests.xmltext import read_all


class Verona:
    """Juliet's address at Capulet's is linked to Romeo's account at Montague's, and her program reads there."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.twins = Twins(authority, folder)
        self.romeo = self.twins.montague.talker("romeo")
        self.juliet = self.twins.capulet.talker("juliet")

        def link(tx: Transaction) -> None:
            account = tx.accounts.get("romeo")
            assert account is not None
            tx.linked.add(self.juliet.jid, account.key, asked_there=True, confirmed=True)

        self.twins.montague.database.run(link)

    def asks(self, content: str) -> Element:
        """A request from the program; what else came stays to be heard."""
        self.juliet._sends(f"<iq type='set' id='q' to='{MONTAGUE}'>{content}</iq>")
        self.wait(1)
        written, self.juliet.line.written = self.juliet.line.written, []
        heard = read_all(b"".join(written).decode())
        self.came = [element for element in heard if element.name == "message"]
        (answer,) = [element for element in heard if element.name == "iq"]
        return answer

    def opens(self) -> str:
        answer = self.asks(f"<open xmlns='{ns.EVENTS}' name='ci'><source>own</source></open>")
        opened = answer.find(ns.EVENTS, "opened")
        assert opened is not None, answer
        return opened.attributes["cursor"]

    def told(self) -> list[dict[str, Any]]:
        messages = self.came + self.juliet.receives()
        self.came = []
        found = (message.find(ns.EVENTS, "events") for message in messages)
        return [read_json(event) for events in found if events is not None for event in events.elements()]

    def wait(self, seconds: float) -> None:
        self.twins.time.advance(seconds)
        self.twins.settle()


@pytest.fixture
def verona(authority: Authority, tmp_path: Path) -> Verona:
    return Verona(authority, tmp_path)


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [event["item"]["text"] for event in events]


def test_events_go_to_a_linked_address_and_what_is_for_the_house_does_not(verona: Verona) -> None:
    verona.opens()
    verona.romeo.says("post O, she doth teach the torches to burn bright!")
    verona.romeo.says("local Supper is at eight")
    verona.romeo.says("post Did my heart love till now?")
    verona.wait(1)
    found = verona.told()
    assert texts(found) == ["O, she doth teach the torches to burn bright!", "Did my heart love till now?"]
    acked = verona.asks(f"<ack xmlns='{ns.EVENTS}' name='ci' cursor='{found[0]['cursor']}'/>")
    assert acked.get("type") == "result"
    assert verona.opens() == found[0]["cursor"]
    verona.wait(1)
    assert texts(verona.told()) == ["Did my heart love till now?"]


def test_what_is_lost_on_the_way_comes_when_the_program_comes_again(verona: Verona) -> None:
    cursor = verona.opens()
    verona.twins.part()
    verona.romeo.says("post Did my heart love till now?")
    for _ in range(int(SILENT_SECONDS / SWEEP_SECONDS) + 2):
        verona.wait(SWEEP_SECONDS)
    assert verona.told() == []
    assert not verona.twins.montague.events._streams, "nobody has acknowledged what was sent"
    verona.twins.meet()
    assert verona.opens() == cursor
    verona.wait(1)
    assert texts(verona.told()) == ["Did my heart love till now?"]
