"""RFC 6120 §8 and §10: what becomes of a stanza, well formed or not."""

from collections.abc import Iterable

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as ReactorClock
from twisted.logger import LogLevel, capturedLogs

from microblog.model.errors import Forbidden, RemoteServerTimeout
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.wire import ns
from microblog.wire.errors import StreamError, read_condition
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.dispatch import At, Dispatch, Extension, MessageRoute, PassOn, Route
from microblog.xmpp.router import Router
from microblog.xmpp.sessions import Session, Sessions

ROMEO = JID.parse("romeo@montague.example")
JULIET = JID.parse("juliet@capulet.example/balcony")


class Line:
    """A stream that remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.failed: StreamError | None = None

    def write(self, data: bytes) -> None:
        self.sent.append(data.decode())

    def fail(self, error: StreamError) -> None:
        self.failed = error


class House(Extension):
    """Presence, messages and other servers, as lists of what came; and some requests to answer."""

    def __init__(self) -> None:
        self.presences: list[tuple[str, Stanza | Session]] = []
        self.taken: list[Stanza] = []
        self.outwards: list[Stanza] = []
        self.later: Deferred[Element | None] = Deferred()

    async def broadcast(self, session: Session, stanza: Stanza) -> None:
        self.presences.append(("broadcast", stanza))

    async def directed(self, session: Session, stanza: Stanza) -> None:
        self.presences.append(("directed", stanza))

    async def gone(self, session: Session) -> None:
        self.presences.append(("gone", session))

    async def inbound(self, stanza: Stanza) -> None:
        if stanza.kind == "presence":
            self.presences.append(("inbound", stanza))
        else:
            self.taken.append(stanza)

    def send(self, stanza: Stanza, minimum_proof: Proof = Proof.DIALBACK) -> None:
        self.outwards.append(stanza)

    async def good(self, iq: Stanza) -> Element:
        return Element("urn:a", "good")

    async def bad(self, iq: Stanza) -> None:
        raise Forbidden("not you")

    async def broken(self, iq: Stanza) -> None:
        raise RuntimeError("secret detail")

    async def elsewhere(self, iq: Stanza) -> Element | None:
        if iq.element.find("urn:a", "elsewhere").get("mine"):  # type: ignore[union-attr]
            return await self.later
        raise PassOn

    def routes(self) -> Iterable[Route]:
        yield Route.get("urn:a", "good", self.good, at=At.HOST | At.ACCOUNT)
        yield Route.get("urn:a", "bad", self.bad, at=At.HOST)
        yield Route.get("urn:a", "broken", self.broken, at=At.HOST)
        yield Route.set("urn:a", "elsewhere", self.elsewhere, at=At.REMOTE)


class Node:
    def __init__(self) -> None:
        self.time = ReactorClock()
        self.house = House()
        dispatch = Dispatch(Clock(self.time), 90)
        dispatch.install([self.house])
        self.sessions = Sessions(2)
        self.router = Router("montague.example", self.sessions, dispatch, Tasks())
        self.router.presence = self.router.messages = self.router.servers = self.house
        self.line = Line()
        self.session = self.sessions.bind(ROMEO, "orchard", self.line)

    def client(self, element: Element) -> None:
        done(self.router.from_client(self.session, element))

    def answers(self) -> list[str]:
        sent, self.line.sent = self.line.sent, []
        return sent


def done(coroutine: object) -> None:
    result: list[object] = []
    Deferred.fromCoroutine(coroutine).addBoth(result.append)  # type: ignore[arg-type]
    assert result, "it waits for something"
    if hasattr(result[0], "raiseException"):
        result[0].raiseException()


@pytest.fixture
def node() -> Node:
    return Node()


def iq(type_: str | None, *children: Element, id_: str | None = "1", **attributes: str) -> Element:
    header = {k: v for k, v in (("type", type_), ("id", id_)) if v is not None}
    return Element(ns.CLIENT, "iq", {**header, **attributes}, *children)


GOOD = Element("urn:a", "good")


@pytest.mark.parametrize(
    ("element", "condition"),
    [
        (iq("get", GOOD, id_=None), "bad-request"),
        (iq(None, GOOD), "bad-request"),
        (iq("ask", GOOD), "bad-request"),
        (iq("get"), "bad-request"),
        (iq("set", GOOD, GOOD), "bad-request"),
        (iq("get", Element("urn:unknown", "x")), "service-unavailable"),
        (iq("get", Element("urn:unknown", "x"), to="montague.example"), "service-unavailable"),
        (iq("get", GOOD, to="romeo@montague.example/nowhere"), "service-unavailable"),
        (iq("get", GOOD, to="@@"), "jid-malformed"),
        (Element(ns.CLIENT, "message", {"to": "a..b"}), "jid-malformed"),
        (Element(ns.CLIENT, "message", {"id": "x" * 102_400}), "policy-violation"),
        (iq("get", Element("urn:a", "bad"), to="montague.example"), "forbidden"),
    ],
    ids=repr,
)
def test_what_is_wrong_gets_the_error_its_specification_names(node: Node, element: Element, condition: str) -> None:
    node.client(element)
    (answer,) = node.answers()
    assert f"<{condition} xmlns='{ns.STANZAS}'/>" in answer
    assert "type='error'" in answer


@pytest.mark.parametrize(
    "element",
    [
        iq("result", id_="nobody-asked"),
        iq("error", id_="nobody-asked"),
        iq("error", GOOD, id_=None),
        Element(ns.CLIENT, "message", {"type": "error", "to": "a..b"}),
    ],
    ids=repr,
)
def test_what_is_an_answer_is_never_answered(node: Node, element: Element) -> None:
    node.client(element)
    assert node.answers() == []


def test_a_request_is_answered_to_the_full_jid(node: Node) -> None:
    node.client(iq("get", GOOD, to="montague.example"))
    assert node.answers() == [
        "<iq from='montague.example' to='romeo@montague.example/orchard' id='1' type='result'>"
        "<good xmlns='urn:a'/></iq>"
    ]


@pytest.mark.parametrize("claimed", ["tybalt@capulet.example", "romeo@montague.example/other", "montague.example", "@"])
def test_a_false_sender_ends_the_stream(node: Node, claimed: str) -> None:
    with pytest.raises(StreamError) as raised:
        node.client(iq("get", GOOD, **{"from": claimed}))
    assert raised.value.condition == "invalid-from"


def test_the_true_sender_may_be_said(node: Node) -> None:
    for claimed in ("romeo@montague.example", "ROMEO@montague.example/orchard"):
        node.client(iq("get", GOOD, **{"from": claimed}))
        assert "<good" in node.answers()[0]


def test_an_answer_from_another_address_is_not_the_answer(node: Node) -> None:
    """The right id from the wrong sender (CVE-2013-6483)."""
    waiting = Deferred.fromCoroutine(
        node.router.request("get", node.router.host, JID.parse("capulet.example"), Element(ns.PING, "ping"))
    )
    (asked,) = node.house.outwards
    for sender in ("tybalt@capulet.example", "capulet.example.evil.example"):
        forged = iq("result", id_=asked.id)
        done(node.router.from_server(forged, JID.parse(sender), node.router.host, Proof.CERTIFICATE))
        assert not waiting.called
    done(node.router.from_server(iq("result", id_=asked.id), asked.to, node.router.host, Proof.CERTIFICATE))
    assert waiting.called


def test_a_request_of_ours_ends_at_its_deadline(node: Node) -> None:
    waiting = Deferred.fromCoroutine(
        node.router.request("get", node.router.host, JID.parse("capulet.example"), Element(ns.PING, "ping"))
    )
    node.time.advance(90)
    failure: list[object] = []
    waiting.addErrback(lambda f: failure.append(f.value))
    assert isinstance(failure[0], RemoteServerTimeout)
    sooner = Deferred.fromCoroutine(
        node.router.request("get", node.router.host, JID.parse("capulet.example"), Element(ns.PING, "ping"), seconds=5)
    )
    node.time.advance(5)
    sooner.addErrback(lambda f: failure.append(f.value))
    assert isinstance(failure[1], RemoteServerTimeout)


def test_our_bug_is_an_internal_error_without_detail(node: Node) -> None:
    node.client(iq("get", Element("urn:a", "broken"), to="montague.example"))
    (answer,) = node.answers()
    assert "internal-server-error" in answer
    assert "secret" not in answer


def test_a_request_that_is_cancelled_is_no_bug(node: Node) -> None:
    """As when the house closes: nobody is answered, and no incident is logged."""
    node.client(iq("set", Element("urn:a", "elsewhere", {"mine": "1"}), to="juliet@capulet.example"))
    with capturedLogs() as logged:
        node.house.later.cancel()
    assert node.answers() == []
    assert not [event for event in logged if event["log_level"] is LogLevel.critical]


def test_a_message_that_meets_our_bug_is_answered_and_the_stream_goes_on(node: Node) -> None:
    async def broken(stanza: Stanza) -> None:
        raise RuntimeError("secret detail")

    node.house.inbound = broken  # type: ignore[method-assign]
    for kind, answers in (("chat", 1), ("error", 0)):
        message = Element(ns.CLIENT, "message", {"to": "romeo@montague.example", "type": kind, "id": kind})
        done(node.router.from_server(message, JULIET, ROMEO, Proof.CERTIFICATE))
        assert len(node.house.outwards) == answers
        node.house.outwards.clear()


def test_presence_with_and_without_an_addressee(node: Node) -> None:
    node.client(Element(ns.CLIENT, "presence"))
    node.client(Element(ns.CLIENT, "presence", {"to": "juliet@capulet.example", "type": "subscribe"}))
    assert [kind for kind, _ in node.house.presences] == ["broadcast", "directed"]


def test_stanzas_for_elsewhere_go_out_with_their_sender(node: Node) -> None:
    node.client(Element(ns.CLIENT, "message", {"to": "juliet@capulet.example"}))
    (message,) = node.house.outwards
    assert (str(message.from_), str(message.to)) == (
        "romeo@montague.example/orchard",
        "juliet@capulet.example",
    )


def test_a_request_for_elsewhere_may_be_answered_here_without_holding_up_the_stream(node: Node) -> None:
    ours = iq("set", Element("urn:a", "elsewhere", {"mine": "1"}), to="juliet@capulet.example")
    node.client(ours)
    node.client(iq("get", GOOD, id_="2", to="montague.example"))
    assert "id='2'" in node.answers()[0]
    node.house.later.callback(None)
    assert node.answers() == [
        "<iq from='juliet@capulet.example' to='romeo@montague.example/orchard' id='1' type='result'/>"
    ]
    node.client(iq("set", Element("urn:a", "elsewhere"), to="juliet@capulet.example", id_="3"))
    assert [stanza.id for stanza in node.house.outwards] == ["3"]


def test_a_bounce_tells_the_sender_but_answers_no_answer(node: Node) -> None:
    node.client(Element(ns.CLIENT, "message", {"to": "juliet@capulet.example", "id": "m"}))
    node.client(iq("result", id_="r", to="juliet@capulet.example/balcony"))
    for stanza in node.house.outwards:
        node.router.bounce(stanza, RemoteServerTimeout())
    (answer,) = node.answers()
    assert "from='juliet@capulet.example'" in answer
    assert "<remote-server-timeout" in answer


def test_malformed_stanzas_from_another_server_are_answered_there(node: Node) -> None:
    done(node.router.from_server(iq("get"), JULIET, ROMEO, Proof.DIALBACK))
    (answer,) = node.house.outwards
    assert answer.to == JULIET
    assert read_condition(answer.element) == ("bad-request", "modify")


def test_the_proof_stays_with_what_came(node: Node) -> None:
    done(node.router.from_server(Element(ns.CLIENT, "message"), JULIET, ROMEO, Proof.DIALBACK))
    assert node.house.taken[0].proof is Proof.DIALBACK


def test_a_new_session_of_the_same_name_ends_the_old_one(node: Node) -> None:
    newer = node.sessions.bind(ROMEO, "orchard", Line())
    assert node.line.failed is not None
    assert node.line.failed.condition == "conflict"
    done(node.router.session_ended(node.session))
    assert node.sessions.get(newer.jid) is newer


def test_too_many_sessions_are_refused(node: Node) -> None:
    from microblog.model.errors import ResourceConstraint

    node.sessions.bind(ROMEO, None, Line())
    with pytest.raises(ResourceConstraint):
        node.sessions.bind(ROMEO, "third", Line())


def test_two_extensions_cannot_claim_one_request() -> None:
    dispatch = Dispatch(Clock(ReactorClock()), 90)
    with pytest.raises(ValueError, match="two routes"):
        dispatch.install([House(), House()])


def test_a_message_goes_to_the_extension_that_claims_its_child() -> None:
    taken: list[Stanza] = []

    class Events(Extension):
        def messages(self) -> Iterable[MessageRoute]:
            yield MessageRoute("urn:e", "event", self.event)

        async def event(self, message: Stanza) -> bool:
            taken.append(message)
            return True

    dispatch = Dispatch(Clock(ReactorClock()), 90)
    dispatch.install([Events()])
    body = Element(ns.CLIENT, "body", {}, "hi")
    plain = Stanza("message", "chat", None, JULIET, ROMEO, Element(ns.CLIENT, "message", {}, body))
    event = Element(ns.CLIENT, "message", {}, body, Element("urn:e", "event"))
    assert result(dispatch.message(plain)) is False
    assert result(dispatch.message(Stanza("message", "headline", None, JULIET, ROMEO, event))) is True
    assert len(taken) == 1


def test_events_overlap_and_everything_else_waits_for_them(node: Node) -> None:
    """What a domain sends after its events, a ping above all, is taken up when they are stored."""
    started: list[tuple[str | None, Deferred[bool]]] = []

    class Events(Extension):
        def messages(self) -> Iterable[MessageRoute]:
            yield MessageRoute("urn:e", "event", self.event, overlapping=True)

        async def event(self, message: Stanza) -> bool:
            started.append((message.id, Deferred()))
            return await started[-1][1]

    async def inbound(stanza: Stanza) -> None:
        await node.router.dispatch.message(stanza)

    node.router.dispatch.install([Events()])
    node.house.inbound = inbound  # type: ignore[method-assign]
    for id_ in ("1", "2", "3"):
        event = Element(ns.CLIENT, "message", {"id": id_}, Element("urn:e", "event"))
        done(node.router.from_server(event, JULIET, ROMEO, Proof.CERTIFICATE))
    assert [id_ for id_, _ in started] == ["1", "2", "3"]
    ping = iq("get", GOOD)
    answered = Deferred.fromCoroutine(node.router.from_server(ping, JULIET, node.router.host, Proof.CERTIFICATE))
    done(node.router.from_server(ping, JID.parse("nurse@verona.example"), node.router.host, Proof.CERTIFICATE))
    assert len(node.house.outwards) == 1, "another domain does not wait"
    gone = Deferred.fromCoroutine(node.router.from_server(ping, JULIET, node.router.host, Proof.CERTIFICATE))
    stopped: list[object] = []
    gone.addErrback(stopped.append)
    gone.cancel()
    assert len(stopped) == 1
    assert not started[0][1].called, "an event is not stopped because somebody does not wait for it any more"
    for _, event_done in started:
        assert not answered.called
        event_done.callback(True)
    assert answered.called
    assert len(node.house.outwards) == 2


def result(coroutine: object) -> object:
    results: list[object] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)  # type: ignore[arg-type]
    return results[0]
