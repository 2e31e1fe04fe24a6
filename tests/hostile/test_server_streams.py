"""Bad XML, and elements of extensions that are not spoken, between servers; each time the innocent is served."""

from twisted.internet.defer import Deferred, DeferredQueue

from microblog.wire import ns
from microblog.wire.errors import read_condition
from microblog.wire.xml import Element
from tests.federation.nodes import FAST, Peer
from tests.xmpp.test_hostile_servers import OURS, Hostile
from tests.xmpp.test_s2s_in import HELLO

AFTER = {
    "C36 document type": ("<!DOCTYPE a>", "not-well-formed"),
    "C39 comment": ("<!-- -->", "restricted-xml"),
    "C40 processing instruction": ("<message><?x y?></message>", "restricted-xml"),
    "C41 undefined entity": ("<message>&foo;</message>", "not-well-formed"),
    "C44 a second declaration": ("<?xml version='1.0'?>", "not-well-formed"),
    "C46 control character": ("<message>&#x1F;</message>", "not-well-formed"),
    "C47 unbound prefix": ("<x:message/>", "bad-namespace-prefix"),
    "C48 attribute twice": ("<message a='' a=''/>", "not-well-formed"),
    "C49 space in a namespace": ("<message xmlns='jabber:server x'/>", "not-well-formed"),
    "C50 text between stanzas": ("hello", "invalid-xml"),
    "C52 depth": ("<a>" * 65, "policy-violation"),
    "C53 attributes": ("<a" + "".join(f" a{n}=''" for n in range(65)) + "/>", "policy-violation"),
    "C53 elements": (f"<message>{'<a/>' * 4096}</message>", "policy-violation"),
    "C55 too big": (f"<message>{'x' * 20_000}</message>", "policy-violation"),
    "C57 xml prefix": ("<message xmlns:xml='urn:x'/>", "not-well-formed"),
    "D59 unknown": ("<hello xmlns='urn:x'/>", "unsupported-stanza-type"),
    "D73 asking for a count": ("<r xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type"),
    "D73 counting": ("<a xmlns='urn:xmpp:sm:3' h='1'/>", "unsupported-stanza-type"),
}


class ServerStreams(Hostile):
    async def test_bad_xml_and_unknown_elements_after_proof(self) -> None:
        limits = FAST.model_copy(update={"s2s_stanza_max_bytes": 20_000})
        node = self.node("mantua.example", limits=limits)
        for name, (text, condition) in AFTER.items():
            peer = await self.authenticated(node, "capulet.example")
            peer.write(text + HELLO.format("romeo@capulet.example").replace(OURS, node.domain))
            assert await peer.ending() == condition, name
            peer.stream.abort("the next one")
        assert node.messages == []

    async def test_bad_xml_before_proof(self) -> None:
        for name in ("C39 comment", "C47 unbound prefix", "C50 text between stanzas", "C52 depth", "D59 unknown"):
            text, condition = AFTER[name]
            peer = await self.peer(self.montague, "capulet.example", None, secure=False)
            peer.write(text)
            assert await peer.ending() == condition, name
            peer.stream.abort("the next one")
        peer = await self.stranger()
        peer.write(f"<message>{'x' * 10_000}</message>")
        assert await peer.ending() == "policy-violation"

    async def _asked(self, peer: Peer, text: str) -> str:
        """What is answered, and the condition within it."""
        peer.write(text)
        answer = await peer.read()
        assert answer.uri == ns.STREAM_MANAGEMENT
        condition = answer.first()
        return f"{answer.name} {condition.name}" if condition else answer.name

    async def test_d73_d74_counting_before_its_time_twice_and_of_another_stream(self) -> None:
        """XEP-0198 §3, §5: failed, and the stream goes on."""
        enable, resume = "<enable xmlns='urn:xmpp:sm:3'/>", "<resume xmlns='urn:xmpp:sm:3' h='0' previd='1'/>"
        peer = await self.stranger(kind="valid")
        assert await self._asked(peer, enable) == "failed unexpected-request"
        await peer.external(OURS)
        assert await self._asked(peer, resume) == "failed feature-not-implemented"
        assert await self._asked(peer, enable.replace("/>", " resume='true'/>")) == "enabled"
        assert await self._asked(peer, enable) == "failed unexpected-request"
        peer.write(HELLO.format("romeo@capulet.example"))
        await self.montague.arrival()

    async def test_d73_counts_that_cannot_be(self) -> None:
        for count, condition in (
            ("", "bad-format"),
            ("-1", "bad-format"),
            ("x", "bad-format"),
            ("9" * 10, "bad-format"),
            ("4294967295", "undefined-condition"),
            ("1", "undefined-condition"),
        ):
            peer = await self.authenticated(self.montague, "capulet.example")
            peer.write("<enable xmlns='urn:xmpp:sm:3'/>")
            await peer.read()
            peer.write(f"<a xmlns='urn:xmpp:sm:3' h='{count}'/>")
            assert await peer.ending() == condition, count
            peer.stream.abort("the next one")

    async def test_d73_a_thousand_questions_are_answered_by_few_words(self) -> None:
        peer = await self.authenticated(self.montague, "capulet.example")
        held: Deferred[None] = Deferred()
        self.montague.streams.reception._settled = lambda domain: held
        peer.write("<enable xmlns='urn:xmpp:sm:3'/>" + "<r xmlns='urn:xmpp:sm:3'/>" * 1000)
        peer.write(HELLO.format("romeo@capulet.example"))
        await self.montague.arrival()
        assert (await peer.read()).name == "enabled"
        held.callback(None)
        assert [(await peer.read()).get("h") for _ in range(2)] == ["0", "1"]
        assert self.montague.tasks.names().count("acknowledgement") == 0

    async def test_stanzas_after_the_end_of_the_stream(self) -> None:
        """B33"""
        peer = await self.authenticated(self.montague, "capulet.example")
        peer.write("</stream:stream>" + HELLO.format("romeo@capulet.example"))
        assert await peer.ending() == "closed"
        await self.nothing_came()

    async def test_malformed_requests_get_their_error_and_the_stream_goes_on(self) -> None:
        """D60 to D64, D67, D68: the answers go back on a stream of our own."""
        answers: DeferredQueue[Element] = DeferredQueue()

        async def script(peer: Peer) -> None:
            await peer.accept()
            while True:
                answers.put(await peer.stream.read())

        self.script("capulet.example", script)
        peer = await self.authenticated(self.montague, "capulet.example")
        await self._malformed(peer)
        found = []
        for _ in range(6):
            answer = await self.montague.clock.deadline(answers.get(), 15)
            found.append((answer.get("id"), read_condition(answer)[0]))
        assert found == [
            (None, "bad-request"),
            ("2", "bad-request"),
            ("3", "bad-request"),
            ("4", "bad-request"),
            ("5", "service-unavailable"),
            (None, "policy-violation"),
        ]
        assert (await self.montague.arrival()).type == "normal"
        peer.write(HELLO.format("romeo@capulet.example"))
        await self.montague.arrival()
        assert answers.pending == []

    async def _malformed(self, peer: Peer) -> None:
        addresses = f"from='romeo@capulet.example' to='{OURS}'"
        ping = "<ping xmlns='urn:xmpp:ping'/>"
        for text in (
            f"<iq type='get' {addresses}>{ping}</iq>",
            f"<iq type='ask' id='2' {addresses}>{ping}</iq>",
            f"<iq type='get' id='3' {addresses}/>",
            f"<iq type='set' id='4' {addresses}>{ping}{ping}</iq>",
            f"<iq type='get' id='5' {addresses}><x xmlns='urn:x'/></iq>",
            f"<iq type='result' id='6' {addresses}/>",
            f"<iq type='error' id='7' {addresses}/>",
            f"<message id='{'x' * 1024}' {addresses}/>",
            f"<message type='telegram' {addresses}/>",
        ):
            peer.write(text)
