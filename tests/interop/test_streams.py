"""What streams between servers can do beyond the usual, with Debian's Prosody at the other end.

One stream for both directions (XEP-0288), begun by either; stanzas counted (XEP-0198) in either direction, on the word
of Prosody's log; TLS from the first byte (XEP-0368) in either direction.
"""

import re
import signal
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.interop.client import Client
from tests.interop.microblogging import await_post, follow, publish
from tests.interop.network import Network, free_ports
from tests.interop.servers import MicroblogNode, Prosody

STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"

pytestmark = pytest.mark.interop


class Ends(NamedTuple):
    ours: MicroblogNode
    theirs: Prosody
    romeo: Client  # at our node
    juliet: Client  # at Prosody

    def write_to_juliet(self, text: str) -> None:
        self.romeo.send(f"<message to='{self.juliet.bare}' type='chat'><body>{text}</body></message>")
        self.juliet.message(text)

    def write_to_romeo(self, text: str) -> None:
        self.juliet.send(f"<message to='{self.romeo.bare}' type='chat'><body>{text}</body></message>")
        self.romeo.message(text)


def _ends(ours: MicroblogNode, theirs: Prosody) -> Iterator[Ends]:
    ours.account("romeo")
    theirs.account("juliet")
    ends = Ends(ours, theirs, ours.login("romeo"), theirs.login("juliet"))
    yield ends
    ends.romeo.close()
    ends.juliet.close()


@pytest.fixture(scope="module")
def we_dial(
    prosody: Callable[..., Prosody], microblog_node: Callable[..., MicroblogNode], network: Network
) -> Iterator[Ends]:
    """Nobody can find our node."""
    network.hide("montague-nat.example")
    theirs = prosody("capulet-here.example", modules=["s2s_bidi"], level="debug")
    yield from _ends(microblog_node("montague-nat.example", peers=["capulet-here.example"]), theirs)


@pytest.fixture(scope="module")
def they_dial(prosody: Callable[..., Prosody], microblog_node: Callable[..., MicroblogNode]) -> Iterator[Ends]:
    """Our node has no route to theirs, and real name servers have never heard of it."""
    theirs = prosody("capulet-nat.example", modules=["s2s_bidi"], level="debug")
    yield from _ends(microblog_node("montague-here.example"), theirs)


def test_who_dials_out_receives_on_that_stream(we_dial: Ends) -> None:
    we_dial.write_to_juliet("But soft!")
    for n in range(30):
        we_dial.write_to_romeo(f"Ay me! {n}")
    we_dial.theirs.logged("Requested bidirectional stream")


def test_who_is_dialled_answers_on_that_stream(they_dial: Ends) -> None:
    they_dial.write_to_romeo("Ay me!")
    for n in range(30):
        they_dial.write_to_juliet(f"She speaks {n}")
    they_dial.theirs.logged("Requesting bidirectional stream")


@pytest.mark.parametrize("dialling", ["we_dial", "they_dial"])
def test_posts_travel_both_ways_and_are_acknowledged(dialling: str, request: pytest.FixtureRequest) -> None:
    ends: Ends = request.getfixturevalue(dialling)
    if dialling == "we_dial":
        ends.write_to_juliet("wherefore")
    else:
        ends.write_to_romeo("art thou")
    publish(ends.juliet, "first", "Prosody makes the node")
    follow(ends.juliet, ends.romeo.bare)
    follow(ends.romeo, ends.juliet.bare)
    for n in range(12):
        publish(ends.romeo, f"p{n}", f"It is the east {n}")
        assert await_post(ends.juliet, ends.romeo.bare, f"p{n}") == f"It is the east {n}"
        publish(ends.juliet, f"q{n}", f"Parting {n}")
        assert await_post(ends.romeo, ends.juliet.bare, f"q{n}") == f"Parting {n}"
    # We asked and were answered; they asked, and took our answer for all that they had sent.
    ends.theirs.logged(r"Received ack request, acking for 1[2-9]|Received ack request, acking for [2-9]\d")
    ends.theirs.logged(r"#queue = 0 \(acked: ")
    text = (ends.theirs.folder / "server.log").read_text(errors="replace")
    assert "handled" in text and "The client says it handled" not in text


def test_stanzas_are_counted_on_streams_of_one_direction_too(
    prosody: Callable[..., Prosody], microblog_node: Callable[..., MicroblogNode]
) -> None:
    theirs = prosody("capulet-one.example", level="debug")
    for ends in _ends(microblog_node("montague-one.example", peers=["capulet-one.example"]), theirs):
        ends.write_to_juliet("But soft!")
        ends.write_to_romeo("Ay me!")
        follow(ends.juliet, ends.romeo.bare)
        publish(ends.romeo, "p1", "It is the east")
        await_post(ends.juliet, ends.romeo.bare, "p1")
        theirs.logged("Received ack request, acking for ")
        theirs.logged(r"s2sout\w+\s+debug\s+#queue = 0 \(acked: ")


def test_tls_from_the_first_byte(
    prosody: Callable[..., Prosody], microblog_node: Callable[..., MicroblogNode], network: Network
) -> None:
    montague, capulet = "montague-direct.example", "capulet-direct.example"
    there = network.place(capulet)
    here = network.place(montague)
    [port] = free_ports(here.address, 1)
    network.direct_tls[montague] = port
    s2s = {
        "direct_tls": [f"{here.address}:{port}"],
        "routes": {capulet: f"xmpps://{there.address}:{there.direct_tls_port}"},
    }
    theirs = prosody(capulet, s2s_direct_tls=True, level="debug")
    for ends in _ends(microblog_node(montague, settings={"s2s": s2s}), theirs):
        ends.write_to_juliet("But soft!")
        ends.write_to_romeo("Ay me!")
        text = (theirs.folder / "server.log").read_text(errors="replace")
        assert not re.search(r"s2s(in|out)\w+\s+debug\s+(Sending|Received)\S+ <(starttls|proceed)", text)
        theirs.logged(r"s2sin\w+\s+debug\s+certificate identity validation result: valid")
        theirs.logged(r"s2sout\w+\s+info\s+Stream encrypted")


def test_what_a_server_took_with_it_comes_back_to_its_sender(we_dial: Ends) -> None:
    """It stops in the middle of everything, as a machine does that has lost its power."""
    we_dial.write_to_juliet("before")
    theirs, romeo = we_dial.theirs, we_dial.romeo
    assert theirs.process is not None
    theirs.process.send_signal(signal.SIGSTOP)
    romeo.send(f"<message to='{we_dial.juliet.bare}' type='chat' id='lost'><body>lost</body></message>")
    # The answer to this comes after the message was written to the stream.
    romeo.ping()
    theirs.kill9()
    back = romeo.wait(lambda stanza: stanza.get("id") == "lost", what="the message that was lost")
    assert back.get("type") == "error"
    assert back.find(f".//{{{STANZAS}}}remote-server-timeout") is not None
