"""The tap and a node that is moved by a test: order, acknowledgements, and what nodes may do to it."""

import json
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from microblog import tapping
from microblog.http import CallFailed
from microblog.model.jid import JID
from microblog.model.program import Source
from microblog.tapping import Subscription, Tap
from microblog.terminal import Failure
from microblog.wire import ns
from microblog.wire.tapped import Told
from microblog.wire.xml import Element
from microblog.xmpp import tls
from microblog.xmpp.c2s_open import Login, LoginFailed
from microblog.xmpp.resolve import Unreachable
from microblog.xmpp.stream import Stream, StreamClosed
from tests.xmpp.hosts import ADDRESS, DOMAIN, LIMITS, ROMEO, Host, Opening


class Visit:
    """One stream of the tap, seen from the node."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.acked: list[str] = []
        self.heard: list[Element] = []

    async def next(self) -> Element:
        return await self.host.stream.clock.deadline(self.host.stream.read(), 10)

    async def opened(self, *, answer: bool = True) -> Element:
        request = await self.next()
        assert request.find(ns.EVENTS, "open")
        if answer:
            self.result(request)
        return request

    def result(self, request: Element) -> None:
        self.host.write(f"<iq type='result' from='{DOMAIN}' id='{request.get('id')}'/>")

    def tell(self, *numbers: int, from_: str = DOMAIN, name: str = "ci") -> None:
        told = "".join(
            f"<event id='e{n}' cursor='{n}.0.0' kind='published' source='home' time='2026-02-14T21:30:00Z'/>"
            for n in numbers
        )
        events = f"<events xmlns='{ns.EVENTS}' name='{name}'>{told}</events>"
        self.host.write(f"<message type='headline' from='{from_}'>{events}</message>")

    async def acknowledged(self, cursor: str) -> None:
        """Answer acknowledgements until this one has come."""
        while cursor not in self.acked:
            request = await self.next()
            ack = request.find(ns.EVENTS, "ack")
            assert ack is not None, request
            self.acked.append(ack.get("cursor") or "")
            self.result(request)


class TapCase(Opening):
    def setUp(self) -> None:
        super().setUp()
        self.patch(tapping, "_about", lambda seconds: 0.01)
        self.posted: list[str] = []
        self.trouble: list[Exception] = []
        self.said: list[str] = []
        self.visits: list[Deferred[Visit]] = [Deferred() for _ in range(5)]
        self.waiting: Deferred[None] | None = None
        self.arrivals = 0
        self.ends: list[Deferred[None]] = []

    async def arrive(self, host: Host) -> None:
        """The script of the node: log the tap in, then it is for the test."""
        await host.secure()
        await host.authenticate()
        await host.bind()
        end: Deferred[None] = Deferred()
        self.ends.append(end)
        visit, self.arrivals = self.visits[self.arrivals], self.arrivals + 1
        visit.callback(Visit(host))
        await end

    async def post(self, event: Told) -> None:
        self.posted.append(json.loads(event.body)["id"])
        if self.waiting is not None:
            await self.waiting
        if self.trouble:
            raise self.trouble.pop(0)

    def tap(self, *, window: int = 10, connect: Callable[[], object] | None = None) -> Tap:
        port = self.listen(self.arrive, self.authority.certificates(DOMAIN))

        async def derive(function: Callable[[bytes], bytes], data: bytes) -> bytes:
            return function(data)

        login = Login(ROMEO, "wherefore", tls.anonymous_context(self.authority.path), derive)

        async def dial() -> tuple[Stream, JID]:
            stream = login.stream(self.clock, LIMITS)
            self.streams.append(stream)
            await connectProtocol(TCP4ClientEndpoint(reactor_(), ADDRESS, port), stream)
            return stream, await login.log_in(stream, direct_tls=False)

        asked = Subscription(name="ci", sources=[Source.HOME], window=window)
        return Tap(asked, connect or dial, self.post, self.clock, self.tasks, self.said.append)

    def start(self, **how: int) -> Deferred[None]:
        """The tap runs; the answer fires with the Failure that ends it."""
        self.running = Deferred.fromCoroutine(self.tap(**how).run())
        self.running.addErrback(lambda failure: self.ended.append(failure.value))
        self.ended: list[BaseException] = []
        return self.running

    async def tearDown(self) -> None:
        if hasattr(self, "running"):
            self.running.cancel()
        for end in self.ends:
            end.cancel()
        await super().tearDown()

    async def until(self, what: Callable[[], object]) -> None:
        for _ in range(1000):
            if what():
                return
            await self.clock.sleep(0.01)
        raise AssertionError((self.posted, self.said))


def reactor_() -> object:
    from twisted.internet import reactor

    return reactor


class Work(TapCase):
    async def test_in_order_and_acknowledged_when_taken(self) -> None:
        self.start()
        visit = await self.visits[0]
        request = await visit.opened()
        asked = request.find(ns.EVENTS, "open")
        assert asked is not None
        assert (asked.get("name"), asked.get("window")) == ("ci", "10")
        visit.tell(1, 2)
        visit.tell(3)
        await visit.acknowledged("3.0.0")
        assert self.posted == ["e1", "e2", "e3"]

    async def test_what_is_not_taken_is_not_acknowledged(self) -> None:
        self.start()
        visit = await self.visits[0]
        await visit.opened()
        self.trouble = [CallFailed("refused")] * 3
        visit.tell(1, 2)
        await visit.acknowledged("2.0.0")
        assert self.posted == ["e1"] * 4 + ["e2"]
        assert any("not taken" in line for line in self.said)

    async def test_after_the_stream_ended_it_comes_again_and_what_was_taken_is_not_posted_again(self) -> None:
        self.start()
        visit = await self.visits[0]
        await visit.opened()
        visit.tell(1, 2)
        await self.until(lambda: self.posted == ["e1", "e2"])
        visit.host.stream.abort("cut")  # before anything was acknowledged
        again = await self.visits[1]
        await again.opened()
        again.tell(1, 2, 3)
        await again.acknowledged("3.0.0")
        assert self.posted == ["e1", "e2", "e3"]

    async def test_what_was_under_way_is_acknowledged_when_the_node_has_told_it_again(self) -> None:
        self.start()
        self.waiting = Deferred()
        visit = await self.visits[0]
        await visit.opened()
        visit.tell(1, 2)
        await self.until(lambda: self.posted == ["e1"])
        visit.host.stream.abort("cut")
        again = await self.visits[1]
        await again.opened()
        waiting, self.waiting = self.waiting, None
        waiting.callback(None)
        await self.clock.sleep(0.05)
        again.tell(1, 2)
        await again.acknowledged("2.0.0")
        assert self.posted == ["e1", "e2"]
        assert again.acked[0] == "1.0.0"

    async def test_a_stream_that_is_lost_to_the_node_is_opened_again(self) -> None:
        self.start()
        visit = await self.visits[0]
        await visit.opened()
        visit.host.write(f"<message from='{DOMAIN}'><closed xmlns='{ns.EVENTS}' name='ci' reason='lost'/></message>")
        again = await self.visits[1]
        await again.opened()
        assert not self.ended

    async def test_pings_are_answered_and_other_requests_refused(self) -> None:
        self.start()
        visit = await self.visits[0]
        await visit.opened()
        visit.host.write(f"<iq type='get' id='p' from='{DOMAIN}'><ping xmlns='{ns.PING}'/></iq>")
        answer = await visit.next()
        assert (answer.get("type"), answer.get("id"), answer.get("to")) == ("result", "p", DOMAIN)
        visit.host.write(
            "<iq type='get' id='q' from='juliet@capulet.example/x'><query xmlns='jabber:iq:version'/></iq>"
        )
        answer = await visit.next()
        assert (answer.get("type"), answer.get("id"), answer.get("to")) == ("error", "q", "juliet@capulet.example/x")

    async def test_a_node_that_does_not_answer_a_ping_is_left(self) -> None:
        self.patch(tapping, "PING_SECONDS", 0.2)
        self.patch(tapping, "ANSWER_SECONDS", 0.3)
        self.start()
        visit = await self.visits[0]
        await visit.opened()
        ping = await visit.next()
        assert ping.find(ns.PING, "ping")
        again = await self.visits[1]
        await again.opened()


class Ends(TapCase):
    async def test_taken_over(self) -> None:
        for reason in ("taken", "deleted"):
            self.arrivals = 0
            self.visits = [Deferred()]
            running = self.start()
            visit = await self.visits[0]
            await visit.opened()
            visit.host.write(
                f"<message from='{DOMAIN}'><closed xmlns='{ns.EVENTS}' name='ci' reason='{reason}'/></message>"
            )
            with pytest.raises(StreamClosed):
                await visit.next()
            await running
            (failure,) = self.ended
            assert isinstance(failure, Failure)

    async def test_refused_at_first(self) -> None:
        running = self.start()
        visit = await self.visits[0]
        request = await visit.opened(answer=False)
        visit.host.write(
            f"<iq type='error' from='{DOMAIN}' id='{request.get('id')}'><error type='cancel'>"
            f"<conflict xmlns='{ns.STANZAS}'/><text xmlns='{ns.STANZAS}'>there is a webhook of this name</text>"
            "</error></iq>"
        )
        with pytest.raises(StreamClosed):
            await visit.next()
        await running
        assert "there is a webhook of this name" in str(self.ended[0])

    async def test_a_bug_of_ours_does_not_leave_it_standing_there(self) -> None:
        running = self.start()
        self.trouble = [ZeroDivisionError("ours")]
        visit = await self.visits[0]
        await visit.opened()
        visit.tell(1)
        with pytest.raises(StreamClosed):
            await visit.next()
        await running
        assert "could not be handed over" in str(self.ended[0])
        assert self.flushLoggedErrors(ZeroDivisionError)

    async def test_mistakes_end_it_before_it_has_worked_and_outages_do_not(self) -> None:
        problems: list[Exception] = [
            Unreachable("the name server failed"),
            LoginFailed("the stream ended"),
            LoginFailed("no such password", permanent=True),
        ]

        async def connect() -> tuple[Stream, JID]:
            raise problems.pop(0)

        with pytest.raises(Failure, match="no such password"):
            await self.tap(connect=connect).run()
        assert not problems

    async def test_once_it_has_worked_it_goes_on_trying_for_ever(self) -> None:
        problems: list[Exception] = [LoginFailed("no such password", permanent=True)] * 5
        tap = self.tap()
        tap.has_worked = True
        dial = tap._connect

        async def connect() -> tuple[Stream, JID]:
            if problems:
                raise problems.pop(0)
            return await dial()

        tap._connect = connect
        self.ended = []
        self.running = Deferred.fromCoroutine(tap.run())
        self.running.addErrback(lambda failure: self.ended.append(failure.value))
        await (await self.visits[0]).opened()
        assert not self.ended


class Hostile(TapCase):
    async def test_events_from_anybody_but_the_node_are_none(self) -> None:
        self.start()
        visit = await self.visits[0]
        await visit.opened()
        for from_ in ("juliet@capulet.example", "capulet.example", f"juliet@{DOMAIN}", f"x.{DOMAIN}", str(ROMEO)):
            visit.tell(7, from_=from_)
        visit.tell(8, name="another")
        visit.tell(1)
        await visit.acknowledged("1.0.0")
        assert self.posted == ["e1"]

    async def test_an_answer_from_somebody_else_is_none(self) -> None:
        self.start()
        visit = await self.visits[0]
        request = await visit.opened(answer=False)
        visit.host.write(f"<iq type='error' from='juliet@capulet.example' id='{request.get('id')}'/>")
        visit.result(request)
        visit.tell(1)
        await visit.acknowledged("1.0.0")

    async def test_a_node_that_does_not_keep_to_the_window_is_left(self) -> None:
        self.start(window=5)
        self.waiting = Deferred()
        visit = await self.visits[0]
        await visit.opened()
        for number in range(40):
            visit.tell(number)
        again = await self.visits[1]
        await again.opened()
        assert self.posted == ["e0"]

    async def test_what_cannot_be_understood_is_not_acknowledged(self) -> None:
        self.start()
        visit = await self.visits[0]
        await visit.opened()
        visit.host.write(
            f"<message from='{DOMAIN}'><events xmlns='{ns.EVENTS}' name='ci'><event id='x'/></events></message>"
        )
        again = await self.visits[1]
        await again.opened()
        assert self.posted == []
        assert any("cannot be understood" in line for line in self.said)

    async def test_a_stream_error_is_said(self) -> None:
        self.start()
        visit = await self.visits[0]
        await visit.opened()
        visit.host.write(f"<stream:error><system-shutdown xmlns='{ns.STREAMS}'/></stream:error></stream:stream>")
        await (await self.visits[1]).opened()
        assert any("system-shutdown" in line for line in self.said)

    async def test_an_acknowledgement_that_is_refused_begins_anew(self) -> None:
        self.start()
        visit = await self.visits[0]
        await visit.opened()
        visit.tell(1)
        request = await visit.next()
        visit.host.write(f"<iq type='error' from='{DOMAIN}' id='{request.get('id')}'><error type='cancel'/></iq>")
        again = await self.visits[1]
        await again.opened()
        again.tell(1, 2)
        await again.acknowledged("2.0.0")
        assert self.posted == ["e1", "e2"]
