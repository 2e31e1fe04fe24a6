"""RFC 6120 §4: streams in memory, in order and within their limits."""

from typing import Any

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from microblog.config import Limits
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element
from microblog.xmpp.stream import WAITING_MAX, Header, StreamClosed
from tests.xmpp.lines import FOOTER, HEADER, Handler, Rig, result, start


def message(text: str) -> bytes:
    return f"<message><body>{text}</body></message>".encode()


def bodies(elements: list[Element]) -> list[str | None]:
    return [element.child_text(ns.CLIENT, "body") for element in elements]


# headers and negotiation


def test_headers_are_exchanged() -> None:
    rig = Rig()
    reading = start(rig.stream.read_header())
    rig.line.deliver(HEADER[:-1] + b" from='romeo@montague.example' xml:lang='de'>")
    assert reading == [
        Header("montague.example", "romeo@montague.example", None, "1.0", "de", "jabber:client", dialback=False)
    ]
    assert rig.stream.opened == reading[0]
    rig.stream.send_header(to="romeo@montague.example", from_="montague.example")
    assert rig.line.take() == (
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
        f" id='{rig.stream.id}' from='montague.example' to='romeo@montague.example' version='1.0' xml:lang='en'>"
    )


def test_a_server_stream_declares_dialback() -> None:
    rig = Rig(content=ns.SERVER, initiating=True)
    rig.stream.send_header(to="capulet.example", from_="montague.example")
    assert "xmlns='jabber:server'" in rig.line.sent.decode()
    assert "xmlns:db='jabber:server:dialback'" in rig.line.take()
    reading = start(rig.stream.read_header())
    rig.line.deliver(
        HEADER.replace(b"jabber:client'", b"jabber:server' xmlns:db='jabber:server:dialback' id='d1'"),
    )
    assert reading[0].dialback and rig.stream.id == "d1"
    rig.stream.send(Element(ns.DIALBACK, "result", {"to": "a'b"}, "key"))
    rig.stream.send(Element(ns.CLIENT, "message", {"to": "b"}))
    assert rig.line.take() == "<db:result to='a&apos;b'>key</db:result><message to='b'/>"


def test_b34_ids_cannot_be_guessed() -> None:
    ids = set()
    rig = Rig()
    for _ in range(2000):
        rig.stream.send_header(to=None, from_="montague.example")
        assert rig.stream.id is not None
        ids.add(rig.stream.id)
    assert len(ids) == 2000
    assert min(map(len, ids)) >= 22  # 132 bits in base64


BAD_STREAMS: dict[str, tuple[bytes, str]] = {
    "A5 TLS ClientHello": (bytes.fromhex("160301020001000001fc0303"), "not-well-formed"),
    "A6 HTTP": (b"GET / HTTP/1.1\r\n", "not-well-formed"),
    "B24 server namespace": (HEADER.replace(b"jabber:client", b"jabber:server"), "invalid-namespace"),
    "B24 no content namespace": (HEADER.replace(b"xmlns='jabber:client'", b""), "invalid-namespace"),
    "B25 stream namespace": (HEADER.replace(b"etherx", b"xerthe"), "invalid-namespace"),
    "B26 another root": (HEADER.replace(b"stream:stream", b"stream:wtream"), "invalid-xml"),
    "B26 a stanza first": (b"<message xmlns='jabber:client'/>", "invalid-xml"),
    "B28 a long language": (HEADER[:-1] + b" xml:lang='" + b"x" * 36 + b"'>", "invalid-xml"),
    "B29 a big header": (HEADER[:-1] + b" a='" + b"x" * 1_048_576, "policy-violation"),
    "C36 document type": (b"<!DOCTYPE a>", "restricted-xml"),
}


@pytest.mark.parametrize(("data", "condition"), BAD_STREAMS.values(), ids=BAD_STREAMS.keys())
def test_bad_streams(data: bytes, condition: str) -> None:
    """The error comes after a header of our own (§4.9.1.2), then the footer and the end of the connection."""
    rig = Rig()
    reading = start(rig.stream.read_header())
    rig.line.deliver(data)
    assert isinstance(reading[0], Failure)
    error = reading[0].value
    assert isinstance(error, StreamError)
    assert error.condition == condition
    rig.stream.fail(error)
    sent = rig.line.take()
    assert sent.startswith("<?xml version='1.0'?><stream:stream xmlns='jabber:client'")
    assert " from='montague.example'" in sent
    assert f"<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" in sent
    assert sent.endswith("</stream:error></stream:stream>")
    assert rig.line.fin
    assert rig.closed == [f"stream error {condition}"]


def test_b32_a_second_header() -> None:
    rig = Rig().open()
    heard = rig.listen()
    rig.line.deliver(HEADER[21:] + b"<message/>" + FOOTER)
    assert heard == []
    assert "<bad-format " in rig.line.take()


def test_preauth_elements_are_counted() -> None:
    rig = Rig(limits=Limits(preauth_max_elements=3))
    rig.line.deliver(HEADER + b"<a/>" * 4)
    result(rig.stream.read_header())
    for _ in range(3):
        result(rig.stream.read())
    with pytest.raises(StreamError, match="policy-violation"):
        result(rig.stream.read())


def test_limits_before_and_after_authentication() -> None:
    rig = Rig()
    rig.line.deliver(HEADER)
    result(rig.stream.read_header())
    rig.stream.authenticated()
    heard = rig.listen()
    rig.line.deliver(message("x" * 9_990))
    assert len(heard) == 1
    early = Rig()
    early.line.deliver(HEADER + message("x" * 9_990))
    result(early.stream.read_header())
    with pytest.raises(StreamError, match="policy-violation"):
        result(early.stream.read())


# stanzas in order, and waiting ones


def test_one_stanza_at_a_time() -> None:
    rig, handler = Rig().open(), Handler()
    rig.stream.on_stanza = handler
    rig.line.deliver(message("1") + message("2"))
    rig.line.deliver(message("3"))
    assert bodies(handler.begun) == ["1"]
    handler.finish()
    assert bodies(handler.begun) == ["1", "2"]
    handler.finish()
    handler.finish()
    rig.line.deliver(message("4"))
    assert bodies(handler.begun) == ["1", "2", "3", "4"]


def test_read_serves_as_well_as_on_stanza() -> None:
    rig = Rig().open()
    first = start(rig.stream.read())
    rig.line.deliver(message("1") + message("2"))
    assert bodies([*first, result(rig.stream.read())]) == ["1", "2"]


def test_x13_a_bug_in_a_handler_ends_the_stream_with_an_answer() -> None:
    rig = Rig().open()

    def handle(element: Element) -> None:
        raise KeyError("secret")

    rig.stream.on_stanza = handle
    rig.line.deliver(message("1") + message("2"))
    sent = rig.line.take()
    assert "<internal-server-error " in sent and "secret" not in sent
    assert rig.line.fin


def test_work_that_waits_stops_the_reading() -> None:
    limits = Limits(rates=False)
    rig, handler = Rig(limits=limits).open(), Handler()
    rig.stream.on_stanza = handler
    count = 0
    while rig.line.reading:
        rig.line.deliver(message(str(count)))
        count += 1
    assert count == WAITING_MAX + 2  # one in work, and one too many waits
    for _ in range(WAITING_MAX // 2):
        handler.finish()
    assert not rig.line.reading
    handler.finish()
    assert rig.line.reading
    for _ in range(count - WAITING_MAX // 2 - 1):
        handler.finish()
    assert bodies(handler.begun) == [str(n) for n in range(count)]


def test_one_big_read_is_parsed_in_parts() -> None:
    """Twisted hands on up to 64 KiB: as thousands of elements they would cost fifty times that."""
    rig, handler = Rig(limits=Limits(rates=False)).open(), Handler()
    rig.stream.on_stanza = handler
    data = b"".join(message(str(n)) for n in range(1500))
    assert 50_000 < len(data) < 65_536
    rig.line.deliver(data)
    assert len(rig.stream._waiting) < 300
    assert not rig.line.reading
    for _ in range(1500):
        handler.finish()
    assert bodies(handler.begun) == [str(n) for n in range(1500)]
    assert rig.line.reading


# the end


def test_x7_nothing_is_handed_on_after_an_error() -> None:
    rig = Rig().open()
    heard: list[Element] = []

    def handle(element: Element) -> None:
        heard.append(element)
        if len(heard) == 2:
            rig.stream.fail(StreamError("policy-violation"))

    rig.stream.on_stanza = handle
    rig.line.deliver(message("1") + message("2") + message("3"))
    rig.line.deliver(message("4"))
    assert bodies(heard) == ["1", "2"]
    assert rig.line.take().count("stream:error") == 2  # one element, written once
    rig.stream.write(b"<message/>")
    rig.stream.fail(StreamError("conflict"))
    assert rig.line.take() == ""
    assert rig.closed == ["stream error policy-violation"]


def test_what_came_before_bad_xml_is_handed_on_first() -> None:
    rig, handler = Rig().open(), Handler()
    rig.stream.on_stanza = handler
    rig.line.deliver(message("1") + message("2") + b"<!-- -->" + message("3"))
    handler.finish()
    assert rig.line.take() == ""
    handler.finish()
    assert bodies(handler.begun) == ["1", "2"]
    assert "<restricted-xml " in rig.line.take()


def test_x11_b33_the_peer_closes_and_gets_our_footer() -> None:
    rig = Rig().open()
    heard = rig.listen()
    rig.line.deliver(message("1") + FOOTER + message("2"))
    rig.line.deliver(message("3"))
    assert bodies(heard) == ["1"]
    assert rig.line.take() == FOOTER.decode()
    assert rig.line.fin
    assert rig.closed == ["the peer closed the stream"]
    rig.line.lose()
    assert len(rig.closed) == 1


def test_a_peer_that_closes_in_the_middle_of_negotiation() -> None:
    rig = Rig()
    rig.line.deliver(HEADER)
    result(rig.stream.read_header())
    reading = start(rig.stream.read())
    rig.line.deliver(FOOTER)
    with pytest.raises(StreamClosed, match="the peer closed the stream"):
        reading[0].raiseException()
    with pytest.raises(StreamClosed):
        result(rig.stream.read())
    assert rig.line.take().endswith(FOOTER.decode())


def test_a16_a_connection_lost_in_the_middle_of_a_stanza() -> None:
    rig = Rig().open()
    heard = rig.listen()
    rig.line.deliver(message("1") + b"<message><bo")
    rig.line.lose(ConnectionLost())
    assert bodies(heard) == ["1"]
    assert len(rig.closed) == 1
    assert rig.stream.closed
    rig.stream.write(b"<message/>")


def test_what_came_whole_is_worked_off_after_the_loss() -> None:
    rig, handler = Rig().open(), Handler()
    rig.stream.on_stanza = handler
    rig.line.deliver(message("1") + message("2"))
    rig.line.lose(ConnectionLost())
    assert rig.closed == []
    handler.finish()
    handler.finish()
    assert bodies(handler.begun) == ["1", "2"]
    assert len(rig.closed) == 1


def test_the_loss_is_told_even_if_nobody_reads() -> None:
    rig = Rig().open()
    rig.line.deliver(message("1"))
    rig.line.lose(ConnectionLost())
    assert rig.closed == []
    rig.time.advance(5)
    assert len(rig.closed) == 1


def test_close_hands_on_what_crosses_our_footer() -> None:
    rig = Rig().open()
    heard = rig.listen()
    rig.stream.close()
    assert rig.line.take() == FOOTER.decode()
    assert rig.stream.closed
    rig.line.deliver(message("1"))
    rig.stream.write(b"<message/>")
    rig.line.deliver(message("2") + FOOTER)
    assert bodies(heard) == ["1", "2"]
    assert rig.line.take() == ""
    assert rig.line.fin
    assert rig.closed == ["the peer closed the stream"]


def test_close_does_not_wait_for_ever() -> None:
    rig = Rig().open()
    rig.listen()
    rig.stream.close()
    rig.time.advance(4.9)
    assert rig.closed == []
    rig.time.advance(0.2)
    assert rig.closed == ["closed"]
    assert rig.line.fin
    rig.time.advance(5)
    assert rig.line.aborted


def test_a_peer_that_does_not_close_its_side_is_dropped() -> None:
    rig = Rig().open()
    rig.stream.fail(StreamError("conflict"))
    rig.line.deliver(b"x" * 60_000)
    assert not rig.line.aborted
    rig.time.advance(5)
    assert rig.line.aborted


# restarts


@pytest.mark.parametrize("more", [b"<message/>", b"<mess", HEADER], ids=["a stanza", "a part of one", "a header"])
def test_x6_bytes_of_the_old_stream(more: bytes) -> None:
    rig = Rig()
    rig.line.deliver(HEADER + b"<auth/>" + more)
    result(rig.stream.read_header())
    result(rig.stream.read())
    with pytest.raises(StreamClosed):
        rig.stream.restart()
    assert rig.line.fin
    assert len(rig.closed) == 1
    rig.line.deliver(message("x") + b"/>" + message("y"))
    with pytest.raises(StreamClosed):
        result(rig.stream.read())


def test_a_restart_expects_a_header() -> None:
    rig = Rig()
    rig.line.deliver(HEADER + b"<auth/>")
    result(rig.stream.read_header())
    result(rig.stream.read())
    rig.stream.restart()
    reading = start(rig.stream.read_header())
    rig.line.deliver(HEADER + b"<iq/>")
    assert isinstance(reading[0], Header)
    assert result(rig.stream.read()) == Element(ns.CLIENT, "iq")


# time


def test_a1_a2_the_deadline_is_absolute() -> None:
    rig = Rig()
    rig.stream.deadline(60)
    reading = start(rig.stream.read_header())
    for n in range(5):
        rig.line.deliver(HEADER[n : n + 1])
        rig.time.advance(10)
    assert rig.line.take() == ""
    rig.line.deliver(HEADER[5:6])
    rig.time.advance(10)
    assert "<connection-timeout " in rig.line.take()
    assert rig.line.fin
    with pytest.raises(StreamClosed):
        reading[0].raiseException()


def test_a_deadline_can_be_moved_and_lifted() -> None:
    rig = Rig().open()
    rig.stream.deadline(10)
    rig.stream.deadline(20)
    rig.time.advance(15)
    rig.stream.deadline(None)
    rig.time.advance(100)
    assert rig.closed == []


def test_reading_keeps_its_rate() -> None:
    limits = Limits(c2s_read_bytes_per_second=10_000, read_burst_seconds=2)
    rig = Rig(limits=limits).open()
    heard = rig.listen()
    stanza = message("x" * 968)
    assert len(stanza) == 1000
    delivered = 0
    for _ in range(600):
        while rig.line.reading:
            rig.line.deliver(stanza)
            delivered += 1
        rig.time.advance(0.1)
    assert len(heard) == delivered  # held back, never dropped
    assert 600 <= delivered <= 640
    assert rig.closed == []


def test_no_rate_when_rates_are_off() -> None:
    rig = Rig(limits=Limits(rates=False, c2s_read_bytes_per_second=1)).open()
    heard = rig.listen()
    for _ in range(100):
        rig.line.deliver(message("x" * 1000))
    assert len(heard) == 100


# writing


def test_a_write_goes_out_at_once() -> None:
    rig = Rig().open()
    rig.stream.write(b"<message/>")
    rig.stream.write(b"<presence/>")
    assert rig.line.sends[-2:] == [b"<message/>", b"<presence/>"]
    assert (rig.line.buffered, rig.stream.backlog) == (b"", 0)


def test_what_the_socket_does_not_take_waits_in_order() -> None:
    rig = Rig().open()
    rig.line.room = 5
    rig.stream.write(b"<message/>")
    rig.stream.write(b"<presence/>")
    rig.stream.write(b"<iq/>")
    assert rig.line.take() == "<mess"
    assert (rig.line.buffered, rig.stream.backlog) == (b"age/>", 21)
    rig.line.drain()
    assert rig.line.take() == "age/><presence/><iq/>"
    assert rig.line.sends[-1] == b"<presence/><iq/>"
    assert rig.stream.backlog == 0
    rig.stream.write(b"<a/>")
    assert rig.line.sends[-1] == b"<a/>"


def test_a_footer_waits_its_turn() -> None:
    rig = Rig().open()
    rig.line.room = 5
    rig.stream.write(b"<message/>")
    assert rig.line.sent == b"<mess"
    rig.stream.fail(StreamError("reset"))
    assert not rig.line.fin
    rig.line.drain()
    assert rig.line.take().endswith(
        "<reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
    )
    assert rig.line.fin


def test_a20_a_slow_reader_is_not_read_from_and_then_closed() -> None:
    rig = Rig(room=0)
    rig.stream.authenticated()
    for _ in range(11):
        rig.stream.write(b"x" * 100_000)
    assert not rig.line.reading
    assert rig.closed == []
    rig.time.advance(59)
    assert not rig.line.aborted
    rig.time.advance(1)
    assert rig.line.aborted
    assert len(rig.closed) == 1
    assert rig.stream.backlog == 0


def test_a20_a_reader_that_catches_up_is_forgiven() -> None:
    rig = Rig(room=0)
    for _ in range(11):
        rig.stream.write(b"x" * 100_000)
    rig.time.advance(30)
    rig.line.drain(room=500_000)
    assert not rig.line.reading
    rig.line.drain(room=100_000)
    assert rig.line.reading
    rig.time.advance(60)
    assert not rig.line.aborted


def test_a20_there_is_a_hard_limit() -> None:
    rig = Rig(room=0)
    for _ in range(100):
        rig.stream.write(b"x" * 100_000)
    assert rig.line.aborted
    assert len(rig.closed) == 1


def test_one_big_answer_is_no_offence() -> None:
    rig = Rig(room=300_000)
    rig.stream.write(b"x" * 8_000_000)
    assert not rig.line.aborted
    rig.line.drain()
    assert len(rig.line.sent) == 8_000_000
    assert rig.line.reading
    assert rig.closed == []


def test_every_end_is_told_once() -> None:
    ends: list[Any] = [
        lambda rig: rig.stream.fail(StreamError("reset")),
        lambda rig: rig.stream.abort("x"),
        lambda rig: rig.stream.finish("x"),
        lambda rig: rig.line.lose(),
        lambda rig: rig.line.deliver(FOOTER),
        lambda rig: rig.line.deliver(b"text"),
    ]
    for one in ends:
        for other in ends:
            rig = Rig().open()
            rig.listen()
            one(rig)
            if rig.line.protocol is not None:
                other(rig)
            rig.time.advance(100)
            rig.line.lose()
            assert len(rig.closed) == 1, (ends.index(one), ends.index(other))
            assert rig.time.getDelayedCalls() == []
