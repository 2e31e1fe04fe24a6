"""XEP-0198 between servers, against a clock: what is counted, asked and answered, and what ends a stream."""

import re
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.model.jid import JID
from microblog.runtime import Tasks
from microblog.wire import ns, stanza
from microblog.wire.stanza import Stanza
from microblog.xmpp import acknowledging
from microblog.xmpp.acknowledging import Acknowledging
from microblog.xmpp.dialback import Keys
from microblog.xmpp.s2s import Federation
from microblog.xmpp.stream import StreamClosed
from microblog.xmpp.transport import Hold
from tests.xmpp.lines import Rig, result, start

ASK = "<r xmlns='urn:xmpp:sm:3'/>"


class Counted:
    """A stream that counts; `settled` is what the answer to a question waits for."""

    def __init__(self) -> None:
        self.rig = Rig(content=ns.SERVER).open()
        self.bounced: list[Stanza] = []
        self.waiting: list[Deferred[None]] = []
        self.at_once = True
        federation = Federation(
            domain="montague.example",
            clock=self.rig.stream.clock,
            tasks=Tasks(),
            limits=self.rig.limits,
            certificates=None,  # type: ignore[arg-type]  # nobody shakes hands here
            keys=Keys(bytes(32)),
        )
        self.acks = Acknowledging(self.rig.stream, federation, self._settled, self.bounced.append)
        self.rig.stream.on_stanza = self._element
        self.acks.start()

    async def _settled(self) -> None:
        if not self.at_once:
            self.waiting.append(Deferred())
            await self.waiting[-1]

    def _element(self, element: Any) -> None:
        if element.uri == ns.STREAM_MANAGEMENT:
            self.acks.take(element)
        else:
            self.acks.received += 1

    def write(self, number: int = 1, size: int = 0, *, people: bool = False) -> str:
        """Send so many stanzas; what went out."""
        for n in range(number):
            message = stanza.message(
                "chat", JID("juliet", "a.example"), JID("romeo", "b.example"), "x" * size, id_=str(n)
            )
            self.acks.write(message.to_bytes(), message if people else None)
        return self.rig.line.take()

    def hears(self, text: str) -> str:
        """The peer says something; what is answered."""
        self.rig.line.deliver(text.encode())
        return self.rig.line.take()

    def acknowledges(self, h: int) -> str:
        return self.hears(f"<a xmlns='urn:xmpp:sm:3' h='{h}'/>")

    def pass_(self, seconds: float) -> str:
        self.rig.time.advance(seconds)
        return self.rig.line.take()

    @property
    def error(self) -> str | None:
        """The stream error that we ended the stream with."""
        return self.rig.closed[0].removeprefix("stream error ") if self.rig.closed else None


def test_after_ten_stanzas_the_peer_is_asked():
    counted = Counted()
    assert ASK not in counted.write(9)
    assert counted.write(1).endswith(ASK)
    assert counted.write(25).count(ASK) == 2


def test_after_five_seconds_the_peer_is_asked():
    counted = Counted()
    counted.write(3)
    assert counted.pass_(4.9) == ""
    assert counted.pass_(0.1) == ASK
    assert counted.pass_(20) == ""


def test_after_large_stanzas_the_peer_is_asked_sooner():
    counted = Counted()
    assert ASK not in counted.write(1, 40_000)
    assert ASK in counted.write(1, 40_000)


def test_what_was_written_is_confirmed_when_all_of_it_is():
    counted = Counted()
    counted.write(12)
    confirmed = start(counted.acks.confirm())
    assert counted.rig.line.take() == ASK
    counted.acknowledges(10)
    assert confirmed == []
    counted.write(1)
    counted.acknowledges(12)
    assert confirmed == [None]
    later = start(counted.acks.confirm())
    counted.acknowledges(13)
    assert later == [None]
    # Nothing is waited for now, so nothing is late.
    counted.pass_(1000)
    assert counted.error is None


def test_with_nothing_on_its_way_there_is_nothing_to_confirm():
    counted = Counted()
    result(counted.acks.confirm())
    assert counted.rig.line.take() == ""


def test_no_more_than_a_window_is_on_its_way():
    counted = Counted()
    counted.write(199)
    result(counted.acks.room())
    counted.write(1)
    assert counted.acks.is_full
    room = start(counted.acks.room())
    counted.acknowledges(0)
    assert room == []
    counted.acknowledges(10)
    assert room == [None]
    assert not counted.acks.is_full


def test_k173_a_peer_that_never_acknowledges_loses_its_stream():
    counted = Counted()
    counted.write(2, people=True)
    confirmed = start(counted.acks.confirm())
    counted.pass_(29.9)
    # The same count again is no answer.
    counted.acknowledges(0)
    assert counted.error is None
    assert "<connection-timeout" in counted.pass_(0.1)
    assert isinstance(confirmed[0].value, StreamClosed)
    assert [one.id for one in counted.bounced] == ["0", "1"]


def test_k173_each_step_gives_it_more_time():
    counted = Counted()
    counted.write(30)
    for h in (10, 20, 29):
        counted.pass_(29)
        counted.acknowledges(h)
    counted.pass_(29)
    assert counted.error is None
    counted.pass_(1)
    assert counted.error == "connection-timeout"


def test_what_we_have_not_read_ourselves_is_not_held_against_the_peer():
    counted = Counted()
    counted.write(10)
    counted.rig.stream.hold(Hold.RATE)
    counted.pass_(60)
    assert counted.error is None
    counted.rig.stream.release(Hold.RATE)
    counted.pass_(30)
    assert counted.error == "connection-timeout"


def test_but_not_for_ever():
    counted = Counted()
    counted.write(10)
    counted.rig.stream.hold(Hold.RATE)
    for _ in range(11):
        assert counted.error is None
        counted.pass_(30)
    assert counted.error == "connection-timeout"


def test_k174_more_than_was_sent():
    counted = Counted()
    counted.write(8, people=True)
    counted.acknowledges(3)
    said = counted.acknowledges(9)
    assert "<undefined-condition" in said
    assert re.search(r"<handled-count-too-high xmlns=.urn:xmpp:sm:3. h=.9. send-count=.8./>", said)
    assert [one.id for one in counted.bounced] == ["3", "4", "5", "6", "7"]


def test_k174_less_than_before():
    counted = Counted()
    counted.write(8)
    confirmed = start(counted.acks.confirm())
    counted.acknowledges(5)
    said = counted.acknowledges(4)
    assert "<undefined-condition" in said and "handled-count-too-high" not in said
    assert isinstance(confirmed[0].value, StreamClosed)


@pytest.mark.parametrize("h", ["", "-1", "1.0", "0x1", "one", "4294967296", "00000000001"])
def test_k174_no_count_at_all(h):
    counted = Counted()
    counted.write(2)
    assert "<bad-format" in counted.hears(f"<a xmlns='urn:xmpp:sm:3' h='{h}'/>")


def test_counts_begin_again_at_two_to_the_32nd():
    counted = Counted()
    counted.acks.sent = counted.acks.confirmed = 2**32 - 3
    counted.acks.received = 2**32 + 7
    counted.write(6)
    counted.acknowledges(1)
    assert counted.acks.confirmed == 2**32 + 1
    assert "h='7'" in counted.hears(ASK)
    assert "<undefined-condition" in counted.acknowledges(2**32 - 1)


def test_stanzas_of_people_that_were_not_confirmed_come_back():
    counted = Counted()
    counted.write(3, people=True)
    counted.write(2)
    counted.acknowledges(2)
    counted.rig.line.lose()
    assert [one.id for one in counted.bounced] == ["2"]
    assert counted.rig.time.getDelayedCalls() == []
    with pytest.raises(StreamClosed):
        result(counted.acks.confirm())


def test_no_more_of_them_are_kept_than_are_on_their_way():
    counted = Counted()
    for n in range(1000):
        while counted.acks.is_full:
            counted.acknowledges(n - 100)
        counted.write(1, people=True)
        assert len(counted.acks._kept) <= acknowledging.WINDOW_STANZAS


def test_a_question_is_answered_when_what_came_before_is_done():
    counted = Counted()
    counted.at_once = False
    assert counted.hears("<message/><message/>" + ASK) == ""
    # Meanwhile more comes, and more is asked.
    assert counted.hears("<message/>" + ASK + "<message/>" + ASK) == ""
    counted.waiting[0].callback(None)
    assert counted.rig.line.take() == "<a xmlns='urn:xmpp:sm:3' h='2'/>"
    counted.waiting[1].callback(None)
    assert counted.rig.line.take() == "<a xmlns='urn:xmpp:sm:3' h='4'/>"
    assert len(counted.waiting) == 2


def test_the_last_thing_said_is_how_far_we_came():
    counted = Counted()
    counted.hears("<message/><message/>")
    counted.at_once = False
    counted.acks.close()
    assert counted.rig.line.take() == ""
    counted.waiting[0].callback(None)
    assert counted.rig.line.take() == "<a xmlns='urn:xmpp:sm:3' h='2'/></stream:stream>"
    # Unless it has been said.
    counted = Counted()
    counted.hears("<message/>" + ASK)
    counted.acks.close()
    assert counted.rig.line.take() == "</stream:stream>"
