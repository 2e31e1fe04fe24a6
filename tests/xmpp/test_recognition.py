"""docs/protocol/fanout.md §8.2: what comes under another key waits until it is known whose key that is."""

from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred

from microblog.model.errors import ResourceConstraint
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xmpp import recognition
from microblog.xmpp.remote import DeliveryFailed
from tests.federation.nodes import FederationTestCase, Node, Peer, authority, text
from tests.xmpp.test_s2s_in import HELLO, claim, verdict
from tests.xmpp.test_s2s_two_way import BIDI, JULIET, batch, carrier, key_of

ENABLE = "<enable xmlns='urn:xmpp:sm:3'/>"
ASK = "<r xmlns='urn:xmpp:sm:3'/>"
PING = f"<iq type='get' id='{{}}' from='capulet.example' to='montague.example'><ping xmlns='{ns.PING}'/></iq>"


class Judge:
    """Who is asked whose a key is."""

    def __init__(self, node: Node) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answers: list[Deferred[bool]] = []
        node.streams.reception.recognises = self

    def __call__(self, domain: str, key: str) -> Awaitable[bool]:
        self.asked.append((domain, key))
        self.answers.append(Deferred())
        return self.answers[-1]


async def seen(node: Node, peer: Peer, number: int = 1) -> None:
    """All that a peer has written so far has been looked at: a question about our keys goes past everything."""
    for n in range(number):
        question = {"from": "capulet.example", "to": node.domain, "id": f"q{n}"}
        peer.stream.send(Element(ns.DIALBACK, "verify", question, "key"))
        answer = await peer.read()
        assert answer.is_(ns.DIALBACK, "verify") and answer.get("id") == f"q{n}", answer


def hellos(*bodies: str) -> str:
    return "".join(HELLO.format("romeo@capulet.example").replace("hello", body) for body in bodies)


class Recognising(FederationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.montague = self.node("montague.example")
        self.judge = Judge(self.montague)

    async def test_what_comes_is_held_in_order_and_not_acknowledged(self) -> None:
        montague, judge = self.montague, self.judge
        peer = await self.authenticated(montague, "capulet.example")
        [(domain, key)] = judge.asked
        assert peer.certificates is not None
        assert (domain, key) == ("capulet.example", key_of_certificates(peer.certificates))
        peer.write(ENABLE)
        assert (await peer.read()).name == "enabled"
        peer.write(hellos("1", "2", "3") + ASK + PING.format("p"))
        await seen(montague, peer)
        assert montague.messages == []
        judge.answers[0].callback(True)
        assert [text(await montague.arrival()) for _ in range(3)] == ["1", "2", "3"]
        acknowledged = await peer.read()
        assert (acknowledged.name, acknowledged.get("h")) == ("a", "3")
        peer.write(hellos("4"))
        assert text(await montague.arrival()) == "4"
        assert len(judge.asked) == 1

    async def test_who_is_not_recognised_is_not_heard_and_may_come_again(self) -> None:
        montague, judge = self.montague, self.judge
        for answer in (False, ResourceConstraint("busy"), ValueError("a bug")):
            peer = await self.authenticated(montague, "capulet.example")
            peer.write(ENABLE + hellos("1") + ASK)
            assert (await peer.read()).name == "enabled"
            await seen(montague, peer)
            (judge.answers[-1].callback if answer is False else judge.answers[-1].errback)(answer)  # type: ignore[arg-type]
            wanted = "internal-server-error" if isinstance(answer, ValueError) else "remote-connection-failed"
            assert await ending(peer) == ([], wanted)
            assert montague.messages == []
        self.flushLoggedErrors(ValueError)
        peer = await self.authenticated(montague, "capulet.example")
        judge.answers[-1].callback(True)
        peer.write(hellos("again"))
        assert text(await montague.arrival()) == "again"

    async def test_who_this_node_is_may_be_asked_meanwhile(self) -> None:
        """And what others answer to that question comes through: both may be asking it of each other."""
        montague, judge = self.montague, self.judge
        peer = await self.peer(montague, "capulet.example")
        peer.write(BIDI)
        await peer.external(montague.domain)
        query = Element(ns.DISCO_INFO, "query")
        asking = Deferred.fromCoroutine(
            montague.router.request("get", montague.host, JID("", "capulet.example"), query)
        )
        pinging = Deferred.fromCoroutine(
            montague.router.request("get", montague.host, JID("", "capulet.example"), Element(ns.PING, "ping"))
        )
        asked, pinged = await peer.read(), await peer.read()
        for request, payload in ((pinged, ""), (asked, f"<query xmlns='{ns.DISCO_INFO}'/>")):
            addresses = "from='capulet.example' to='montague.example'"
            peer.write(f"<iq type='result' id='{request.get('id')}' {addresses}>{payload}</iq>")
        assert (await asking).type == "result"
        assert not pinging.called
        peer.write(
            "<iq type='get' id='who' from='capulet.example' to='montague.example'>"
            f"<query xmlns='{ns.DISCO_INFO}'/></iq>" + PING.format("p")
        )
        assert (await peer.read()).get("id") == "who"
        judge.answers[0].callback(True)
        assert (await pinging).type == "result"
        assert (await peer.read()).get("id") == "p"

    async def test_one_who_sends_much_is_not_read_on(self) -> None:
        self.patch(recognition, "HELD_MAX", 3)
        montague, judge = self.montague, self.judge
        peer = await self.authenticated(montague, "capulet.example")
        peer.write(hellos("1", "2"))
        await seen(montague, peer)
        peer.write(hellos("3", "4"))
        waiting = Deferred.fromCoroutine(seen(montague, peer))
        await montague.clock.sleep(0.1)
        assert not waiting.called and montague.messages == []
        judge.answers[0].callback(True)
        await waiting
        assert [text(await montague.arrival()) for _ in range(4)] == ["1", "2", "3", "4"]

    async def test_each_domain_on_a_stream_has_its_own_key(self) -> None:
        """Of what another server vouches for by dialback it is that server's; without a certificate there is none."""
        montague, judge = self.montague, self.judge
        friend = self.script("friend.example", authority("valid"))
        self.script("weak.example", authority("valid"), kind="self-signed")
        peer = await self.authenticated(montague, "capulet.example")
        for domain in ("friend.example", "weak.example"):
            peer.write(claim(domain))
            assert await verdict(peer) == ("valid", None)
        assert friend.certificates is not None
        assert judge.asked[1:] == [("friend.example", key_of_certificates(friend.certificates))]
        peer.write("".join(HELLO.format(f"romeo@{name}.example") for name in ("capulet", "friend", "weak")))
        arrived = await montague.arrival()
        assert (str(arrived.from_), arrived.proof) == ("romeo@weak.example", Proof.DIALBACK)
        judge.answers[1].callback(True)
        assert str((await montague.arrival()).from_) == "romeo@friend.example"
        judge.answers[0].callback(True)
        assert str((await montague.arrival()).from_) == "romeo@capulet.example"

    async def test_what_comes_back_on_a_stream_of_ours_waits_as_well(self) -> None:
        capulet = self.node("capulet.example", listening=False)
        judge = Judge(capulet)
        await self._recognised(capulet, judge)
        [(domain, key)] = judge.asked
        assert (domain, key) == ("montague.example", key_of(self.montague))
        self.montague.servers.send(self.montague.message(JULIET, "1"))
        delivering = Deferred.fromCoroutine(
            self.montague.servers.deliver("capulet.example", batch(self.montague, JULIET, "2"))
        )
        await capulet.clock.sleep(0.1)
        assert capulet.messages == [] and not delivering.called
        judge.answers[0].callback(True)
        assert [text(await capulet.arrival()) for _ in range(2)] == ["1", "2"]
        await delivering

    async def test_what_is_not_recognised_on_a_stream_of_ours_was_not_delivered(self) -> None:
        capulet = self.node("capulet.example", listening=False)
        judge = Judge(capulet)
        await self._recognised(capulet, judge)
        delivering = Deferred.fromCoroutine(
            self.montague.servers.deliver("capulet.example", batch(self.montague, JULIET, "secret"))
        )
        judge.answers[0].callback(False)
        with self.assertRaises(DeliveryFailed):
            await delivering
        assert capulet.messages == []

    async def _recognised(self, capulet: Node, judge: Judge) -> None:
        """Capulet dials; Montague has nothing against it."""
        Deferred.fromCoroutine(capulet.servers.deliver("montague.example", ()))
        while not (self.judge.answers and judge.answers):
            await capulet.clock.sleep(0.01)
        self.judge.answers[0].callback(True)
        while self.montague.servers.proof("capulet.example") is None:
            await capulet.clock.sleep(0.01)


class Leaving(FederationTestCase):
    """Streams on which a domain has shown another key."""

    async def test_a_stream_of_ours(self) -> None:
        montague, capulet = self.node("montague.example"), self.node("capulet.example")
        await montague.servers.deliver("capulet.example", ())
        montague.servers.leave("capulet.example", key_of(capulet))
        await montague.servers.deliver("capulet.example", batch(montague, JULIET, "1"))
        assert montague.connects == 1
        montague.servers.leave("capulet.example", "another")
        montague.servers.send(montague.message(JULIET, "2"))
        await montague.servers.deliver("capulet.example", batch(montague, JULIET, "3"))
        assert [text(await capulet.arrival()) for _ in range(3)] == ["1", "2", "3"]
        assert montague.connects == 2
        montague.servers.leave("nobody.example", "another")

    async def test_streams_of_theirs(self) -> None:
        """What was there before is used no more, and the one with that key is, or they are called."""
        montague = self.node("montague.example")
        old, new = [await self._two_way(montague) for _ in range(2)]
        assert carrier(montague, "capulet.example").stream.id == old.stream.id
        assert new.certificates is not None
        montague.servers.leave("capulet.example", key_of_certificates(new.certificates))
        montague.servers.send(montague.message(JULIET))
        assert text_of(await new.read()) == "hello"
        capulet = self.node("capulet.example")
        montague.servers.leave("capulet.example", key_of(capulet))
        assert montague.servers.proof("capulet.example") is None
        montague.servers.send(montague.message(JULIET, "again"))
        assert text(await capulet.arrival()) == "again"
        # They may still say something there.
        old.write(hellos("still here"))
        assert text(await montague.arrival()) == "still here"

    async def _two_way(self, node: Node) -> Peer:
        peer = await self.peer(node, "capulet.example")
        peer.write(BIDI)
        await peer.external(node.domain)
        return peer


def text_of(element: Element) -> str | None:
    return element.child_text(ns.SERVER, "body") or element.child_text(ns.CLIENT, "body")


async def ending(peer: Peer) -> tuple[list[str], str]:
    """What comes before the end, by name, and the error that ends the stream."""
    before: list[str] = []
    while True:
        element: Any = await peer.read()
        if element.is_(ns.STREAM, "error"):
            [condition] = [one.name for one in element.elements() if one.name != "text"]
            peer.stream.close()
            return before, condition
        before.append(element.name)


def key_of_certificates(certificates: Any) -> str:
    """Of somebody who has no node."""
    return key_of(SimpleNamespace(federation=SimpleNamespace(certificates=certificates)))  # type: ignore[arg-type]
