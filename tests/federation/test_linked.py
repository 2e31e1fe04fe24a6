"""People elsewhere whose address is linked to an account here: what they say to the node is not lost without a word."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.transaction import Transaction
from microblog.wire import ns
from microblog.wire.errors import read_condition
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.chat import HELD_SECONDS
from microblog.xmpp.acknowledging import ANSWER_SECONDS, ASK_SECONDS
from tests.federation.nodes import Authority
from tests.federation.twins import CAPULET, MONTAGUE, Twin, Twins

ROMEO = JID("romeo", MONTAGUE)


class Held:
    """Writes that are not done before ``go_on``."""

    def __init__(self, twin: Twin) -> None:
        self._twin, self._write = twin, twin.database.write
        self._held: list[tuple[Deferred[Any], Any, Any]] = []
        twin.database.write = self._hold  # type: ignore[method-assign]  # holds writes back

    def _hold(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        self._held.append((Deferred(), args, kwargs))
        return self._held[-1][0]

    def go_on(self) -> None:
        self._twin.database.write = self._write  # type: ignore[method-assign]  # as it was
        for waiting, args, kwargs in self._held:
            self._write(*args, **kwargs).addCallbacks(waiting.callback, waiting.errback)
        self._twin.twins.settle()


class Verona:
    """Juliet's address at Capulet's is linked to Romeo's account at Montague's."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.twins = Twins(authority, folder)
        self.montague, self.capulet = self.twins.montague, self.twins.capulet
        self.montague.talker("romeo")
        self.capulet.talker("nurse")
        self.juliet = self.capulet.talker("juliet")

        def link(tx: Transaction) -> None:
            account = tx.accounts.get("romeo")
            assert account is not None
            tx.linked.add(self.juliet.jid, account.key, asked_there=True, confirmed=True)

        self.montague.database.run(link)

    def says(self, text: str, id_: str) -> None:
        self.juliet._sends(f"<message type='chat' id='{id_}' to='{MONTAGUE}'><body>{text}</body></message>")

    def wait(self, seconds: float) -> None:
        self.twins.time.advance(seconds)
        self.twins.settle()

    @property
    def unconfirmed(self) -> int:
        carrier = self.capulet.servers._carrier(MONTAGUE)
        assert carrier is not None and carrier.acks.enabled
        return carrier.acks.sent - carrier.acks.confirmed

    def posts(self) -> int:
        return len(self.montague.items(ROMEO, MICROBLOG))

    def ping(self) -> list[Stanza]:
        answers: list[Stanza] = []
        asked = self.capulet.router.request("get", JID("", CAPULET), JID("", MONTAGUE), Element(ns.PING, "ping"))
        Deferred.fromCoroutine(asked).addCallback(answers.append)
        self.twins.settle()
        return answers


@pytest.fixture
def verona(authority: Authority, tmp_path: Path) -> Verona:
    made = Verona(authority, tmp_path)
    made.says("O Romeo, Romeo!", "first")
    made.wait(ASK_SECONDS)
    assert (made.posts(), made.unconfirmed) == (1, 0)
    assert any("#1" in words for words in made.juliet.hears())
    return made


def test_a_post_is_not_acknowledged_before_it_is_stored(verona: Verona) -> None:
    held = Held(verona.montague)
    verona.says("Wherefore art thou Romeo?", "second")
    verona.wait(ASK_SECONDS)
    pinged = verona.ping()
    assert (verona.posts(), verona.unconfirmed) == (1, 2)  # the message, and the ping
    assert pinged == []
    held.go_on()
    assert (verona.posts(), verona.unconfirmed) == (2, 1)
    assert [answer.type for answer in pinged] == ["result"]
    assert any("#2" in words for words in verona.juliet.hears())


def test_what_a_node_that_dies_has_not_stored_comes_back(verona: Verona) -> None:
    Held(verona.montague)
    verona.says("Wherefore art thou Romeo?", "second")
    verona.wait(ASK_SECONDS)
    verona.juliet.hears()
    verona.twins.part()
    [back] = verona.juliet.receives()
    assert (back.get("id"), back.get("type")) == ("second", "error")
    assert read_condition(back)[0] == "remote-server-timeout"


def test_what_waits_for_somebody_elsewhere_holds_nothing_up_for_long(verona: Verona) -> None:
    async def never(request: Stanza) -> None:
        await Deferred()

    dispatch = verona.capulet.router.dispatch
    for key in [key for key in dispatch._routes if key[1] == "set"]:
        dispatch._routes[key] = never
        dispatch._waiting.add(key)  # all the rest goes on there
    verona.says("follow nurse@capulet.example", "follow")
    verona.wait(ASK_SECONDS)
    pinged = verona.ping()
    assert (verona.unconfirmed, pinged) == (2, [])
    # A peer waits longer than that for a word.
    assert HELD_SECONDS + ASK_SECONDS < ANSWER_SECONDS
    verona.wait(HELD_SECONDS - ASK_SECONDS)
    assert [answer.type for answer in pinged] == ["result"]
    verona.wait(ASK_SECONDS)
    assert verona.unconfirmed == 0
    assert verona.juliet.hears() == []  # she is still to be answered


def test_an_answer_that_comes_the_same_way_is_not_waited_for_in_vain(verona: Verona) -> None:
    verona.says("whois nurse@capulet.example", "who")
    assert any("nurse@capulet.example" in words for words in verona.juliet.hears())
    verona.wait(ASK_SECONDS)
    assert verona.unconfirmed == 0
