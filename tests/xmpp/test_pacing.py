"""Requests of other servers, so many in a second."""

import pytest
from twisted.internet.defer import Deferred

from microblog.config import Limits
from microblog.wire.xml import Element, parse
from microblog.xmpp import pacing
from microblog.xmpp.pacing import Pacing
from tests.conftest import Time

CAPULET, VERONA = "capulet.example", "verona.example"
LIMITS = Limits(s2s_requests_per_second=10, s2s_requests_burst=5)
QUERY = parse("<iq xmlns='jabber:server' type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")


def asks(paced: Pacing, element: Element = QUERY, domain: str = CAPULET) -> bool:
    """Is it looked at at once?"""
    return Deferred.fromCoroutine(paced.turn(domain, element)).called


def test_so_many_at_once_and_then_each_waits_its_turn(time: Time) -> None:
    paced = Pacing(time.clock, LIMITS)
    assert [asks(paced) for _ in range(7)] == [True] * 5 + [False] * 2
    assert asks(paced, domain=VERONA)
    waiting = Deferred.fromCoroutine(paced.turn(CAPULET, QUERY))
    time.advance(0.25)
    assert not waiting.called
    time.advance(0.1)
    assert waiting.called
    time.advance(10)
    assert [asks(paced) for _ in range(6)] == [True] * 5 + [False]


@pytest.mark.parametrize(
    "text",
    [
        "<iq xmlns='jabber:server' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq xmlns='jabber:server' type='set' id='1'><deliver xmlns='urn:x-microblog:fanout:0'/></iq>",
        "<iq xmlns='jabber:server' type='result' id='1'/>",
        "<message xmlns='jabber:server'/>",
        "<presence xmlns='jabber:server'/>",
    ],
)
def test_what_is_no_request_or_belongs_to_delivering_waits_for_nothing(time: Time, text: str) -> None:
    paced = Pacing(time.clock, LIMITS)
    assert all(asks(paced, parse(text)) for _ in range(20))
    assert asks(paced)


@pytest.mark.parametrize("name", ["fetch", "followers"])
def test_questions_about_our_logs_are_requests(time: Time, name: str) -> None:
    question = parse(f"<iq xmlns='jabber:server' type='get' id='1'><{name} xmlns='urn:x-microblog:fanout:0'/></iq>")
    paced = Pacing(time.clock, LIMITS)
    assert [asks(paced, question) for _ in range(6)] == [True] * 5 + [False]


def test_without_rates_nothing_waits(time: Time) -> None:
    paced = Pacing(time.clock, LIMITS.model_copy(update={"rates": False}))
    assert all(asks(paced) for _ in range(20))


def test_names_are_free_and_only_so_many_are_remembered(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "DOMAINS_MAX", 3)
    paced = Pacing(time.clock, LIMITS)
    for number in range(10):
        asks(paced, domain=f"{number}.example")
    assert len(paced._buckets) == 3
