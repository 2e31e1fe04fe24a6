"""One stream for both directions (XEP-0288), stanzas counted on it (XEP-0198), and its limits (XEP-0478)."""

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.errors import read_condition
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp import acknowledging, keeping, remote
from microblog.xmpp.carrier import Carrier
from microblog.xmpp.keeping import Keeping
from microblog.xmpp.remote import DeliveryFailed
from microblog.xmpp.s2s_out import StanzaTooLarge
from tests.federation.nodes import FAST, FederationTestCase, Node, Peer, text
from tests.xmpp.test_s2s_in import claim, verdict

ROMEO, JULIET = "romeo@montague.example", "juliet@capulet.example"
BIDI = "<bidi xmlns='urn:xmpp:bidi'/>"
MANAGED = "<sm xmlns='urn:xmpp:sm:3'/>"


def batch(node: Node, to: str, *texts: str) -> list[bytes]:
    return [node.message(to, each).to_bytes() for each in texts]


def carrier(node: Node, domain: str) -> Carrier:
    found = node.servers._remote(domain).carrier
    assert found is not None
    return found


def key_of(node: Node) -> str:
    certificate = x509.load_pem_x509_certificate(node.federation.certificates.certificate_path.read_bytes())
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


class BehindNAT(FederationTestCase):
    """Capulet dials out and cannot be dialled."""

    def setUp(self) -> None:
        super().setUp()
        self.montague = self.node("montague.example")
        self.capulet = self.node("capulet.example", listening=False)

    async def test_whoever_cannot_be_dialled_receives_everything(self) -> None:
        montague, capulet = self.montague, self.capulet
        with pytest.raises(DeliveryFailed):
            await montague.servers.deliver("capulet.example", batch(montague, JULIET, "too early"))
        await capulet.servers.deliver("montague.example", ())
        assert montague.contacts == ["capulet.example"]
        for n in range(300):
            montague.servers.send(montague.message(JULIET, str(n)))
        await montague.servers.deliver("capulet.example", batch(montague, JULIET, "300", "301"))
        assert [text(await capulet.arrival()) for _ in range(302)] == [str(n) for n in range(302)]
        answer = await montague.router.request("get", montague.host, capulet.host, Element(ns.PING, "ping"))
        assert (answer.type, answer.proof) == ("result", Proof.CERTIFICATE)
        assert montague.servers.proof("capulet.example") is Proof.CERTIFICATE
        assert montague.servers.key("capulet.example") == key_of(capulet)
        assert capulet.servers.key("montague.example") == key_of(montague)
        assert montague.connects == 0 and capulet.connects == 1

    async def test_what_is_restricted_goes_there_too(self) -> None:
        montague, capulet = self.montague, self.capulet
        await capulet.servers.deliver("montague.example", ())
        await montague.servers.deliver("capulet.example", batch(montague, JULIET, "secret"), Proof.CERTIFICATE)
        assert text(await capulet.arrival()) == "secret"

    async def test_what_waits_goes_as_soon_as_it_calls(self) -> None:
        """Somebody writes while nobody can be reached, which takes a while to be known."""
        montague, capulet = self.montague, self.capulet
        for name in ("_xmpp-server._tcp.", "_xmpps-server._tcp."):
            self.zone.records[f"{name}capulet.example"] = None  # the name server does not answer
        montague.servers.send(montague.message(JULIET))
        await capulet.servers.deliver("montague.example", ())
        assert text(await capulet.arrival()) == "hello"
        [status] = montague.servers.status()
        assert (status.state, status.queued) == ("open", 0)

    async def test_when_the_stream_is_gone_so_is_the_way(self) -> None:
        montague, capulet = self.montague, self.capulet
        await capulet.servers.deliver("montague.example", ())
        capulet.servers._remote("montague.example").retire()
        while montague.servers.proof("capulet.example"):
            await montague.clock.sleep(0.01)
        montague.servers.send(montague.message(JULIET))
        assert read_condition((await montague.arrival()).element)[0] == "remote-server-not-found"
        # It calls again.
        await capulet.servers.deliver("montague.example", ())
        montague.servers.send(montague.message(JULIET, "again"))
        assert text(await capulet.arrival()) == "again"

    async def _streams(self, number: int) -> None:
        """Capulet has opened so many streams."""
        while len(self.capulet.contacts) < number:
            await self.capulet.clock.sleep(0.01)

    async def test_a_stream_that_is_kept_is_opened_again_whatever_ends_it(self) -> None:
        self.patch(keeping, "AGAIN_SECONDS", 0.2)
        self.patch(remote, "SHORT_LIFE_SECONDS", 0)
        montague, capulet = self.montague, self.capulet
        kept = Keeping(capulet.servers)
        kept.keep({"montague.example"})
        await self._streams(1)
        for number, end in enumerate(
            (
                lambda: capulet.servers._remote("montague.example").retire(),
                lambda: montague.streams._by_domain["capulet.example"][0].stream.close(),
                lambda: montague.streams._by_domain["capulet.example"][0].stream.abort("the cable"),
            )
        ):
            kept.keep({"montague.example"})  # said again, as it is every minute
            end()
            await self._streams(number + 2)
            montague.servers.send(montague.message(JULIET, str(number)))
            assert text(await capulet.arrival()) == str(number)
        # Each time both have shown themselves.
        assert capulet.contacts == ["montague.example"] * 4
        assert montague.contacts == ["capulet.example"] * 4
        kept.keep(())
        capulet.servers._remote("montague.example").retire()
        await montague.clock.sleep(0.5)
        assert (capulet.connects, capulet.servers.proof("montague.example")) == (4, None)

    async def test_a_domain_that_fails_is_paused_before_the_stream_to_it_is_opened_again(self) -> None:
        self.patch(keeping, "AGAIN_SECONDS", 0.1)
        montague = self.montague
        # With rates the first pause is five seconds at least.
        limits = FAST.model_copy(update={"rates": False})
        capulet = self.capulet = self.node("capulet.example", listening=False, limits=limits)
        await montague.stop_listening()
        kept = Keeping(capulet.servers)
        kept.keep({"montague.example"})
        while not capulet.servers.pause("montague.example"):
            await capulet.clock.sleep(0.01)
        assert capulet.servers.pause("montague.example") > 0.9
        assert capulet.connects == 1
        await capulet.clock.sleep(0.5)
        assert capulet.connects == 1
        montague.start()
        await self._streams(1)
        assert capulet.connects == 2

    async def test_a_stream_that_is_kept_is_not_closed_for_silence(self) -> None:
        limits = FAST.model_copy(update={"idle_ping_seconds": 0.2, "s2s_idle_seconds": 1})
        there, here = self.node("mantua.example", limits=limits), self.node("verona.example", limits=limits)
        kept = Keeping(here.servers)
        kept.keep({"mantua.example"})
        while not there.contacts:
            await there.clock.sleep(0.01)
        for _ in range(10):
            await there.clock.sleep(0.3)
            there.streams._close_idle()
        assert here.connects == 1
        there.servers.send(there.message("romeo@verona.example"))
        assert text(await here.arrival()) == "hello"
        # Nobody is kept any more.
        kept.stop()
        while here.servers.proof("mantua.example"):
            await there.clock.sleep(0.05)

    async def test_a_stream_that_is_kept_and_dead_is_noticed(self) -> None:
        self.patch(keeping, "AGAIN_SECONDS", 0.1)
        self.patch(remote, "BARRIER_SECONDS", 0.5)
        self.patch(remote, "SHORT_LIFE_SECONDS", 0)
        limits = FAST.model_copy(update={"idle_ping_seconds": 0.2, "s2s_idle_seconds": 1})
        here = self.node("verona.example", limits=limits)
        asked: Deferred[Element] = Deferred()
        ending: Deferred[str] = Deferred()

        async def script(peer: Peer) -> None:
            bidi = f"<bidi xmlns='{ns.BIDI_FEATURE}'/>"
            mechanisms = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
            peer.write(f"<stream:features>{mechanisms}{bidi}</stream:features>")
            assert (await peer.read()).is_(ns.BIDI, "bidi")
            await peer.read()
            peer.write(f"<success xmlns='{ns.SASL}'/>")
            peer.stream.restart()
            header = await peer.stream.read_header()
            peer.stream.send_header(to=header.from_, from_=peer.domain)
            peer.write("<stream:features/>")
            peer.stream.authenticated()
            if not asked.called:
                asked.callback(await peer.read())
                ending.callback(await peer.ending())

        listener = self.script("mantua.example", script)
        kept = Keeping(here.servers)
        kept.keep({"mantua.example"})
        assert (await asked).find(ns.PING, "ping") is not None
        assert await ending == "connection-timeout"
        while listener.connections < 2:
            await here.clock.sleep(0.05)
        kept.stop()

    async def test_how_many_streams_are_kept_is_bounded(self) -> None:
        self.patch(keeping, "KEPT_MAX", 2)
        domains = [f"{name}.example" for name in ("padua", "mantua", "verona", "venice")]
        here = self.node("belmont.example", refuses=lambda domain: domain == "padua.example")
        for domain in domains:
            self.zone.records[f"_xmpp-server._tcp.{domain}"] = None
        kept = Keeping(here.servers)
        kept.keep(domains[2:3])
        with capturedLogs() as logged:
            kept.keep(domains)
            kept.keep(domains)
        # Who is kept stays; who is new comes by name.
        assert [domain for domain in domains if kept.keeps(domain)] == ["mantua.example", "verona.example"]
        [warning] = [event for event in logged if event["log_namespace"] == "microblog.xmpp.keeping.Keeping"]
        assert warning["more"] == 1
        assert sorted(one.domain for one in here.servers.status()) == ["mantua.example", "verona.example"]
        kept.keep(domains[:2])
        assert [domain for domain in domains if kept.keeps(domain)] == ["mantua.example"]
        assert sorted(one.domain for one in here.servers.status()) == ["mantua.example", "verona.example"]

    async def test_of_two_streams_the_other_goes_on(self) -> None:
        montague = self.montague
        peers = [await self._two_way(montague) for _ in range(2)]
        used = carrier(montague, "capulet.example").stream
        first, second = sorted(peers, key=lambda peer: peer.stream.id != used.id)
        first.stream.close()
        assert await first.ending() == "closed"
        while carrier(montague, "capulet.example").stream is used:
            await montague.clock.sleep(0.01)
        montague.servers.send(montague.message(JULIET))
        assert (await second.read()).name == "message"
        assert montague.connects == 0

    async def _two_way(self, node: Node, domain: str = "capulet.example", bidi: str = BIDI) -> Peer:
        peer = await self.peer(node, domain)
        peer.write(bidi)
        await peer.external(node.domain)
        return peer

    async def test_nothing_is_sent_before_the_proof_nor_to_another_domain(self) -> None:
        montague = self.montague
        montague.servers.send(montague.message(JULIET))
        peer = await self.peer(montague, "capulet.example")
        peer.write(BIDI)
        other = await self._two_way(montague, "mantua.example")
        montague.servers.send(montague.message("paris@verona.example"))
        assert {read_condition((await montague.arrival()).element)[0] for _ in range(2)} == {"remote-server-not-found"}
        montague.servers.send(montague.message("friar@mantua.example"))
        assert (await other.read()).get("to") == "friar@mantua.example"
        await peer.external(montague.domain)
        montague.servers.send(montague.message(JULIET))
        assert (await peer.read()).get("to") == JULIET

    async def test_without_being_asked_nothing_is_sent(self) -> None:
        montague = self.montague
        await self.authenticated(montague, "capulet.example")
        assert montague.servers.proof("capulet.example") is None
        montague.servers.send(montague.message(JULIET))
        assert read_condition((await montague.arrival()).element)[0] == "remote-server-not-found"

    async def test_the_limits_of_who_called(self) -> None:
        """XEP-0478 §2.2"""
        montague = self.montague
        limits = f"<limits xmlns='{ns.LIMITS}'><max-bytes>10000</max-bytes></limits>"
        await self._two_way(montague, bidi=BIDI.replace("/>", f">{limits}</bidi>"))
        with pytest.raises(StanzaTooLarge):
            await montague.servers.deliver("capulet.example", batch(montague, JULIET, "x" * 10_000))

    async def test_a_domain_that_is_followed_may_send_faster_on_our_stream_too(self) -> None:
        montague, capulet = self.montague, self.capulet
        capulet.streams.reception.followed = lambda domain: domain == "montague.example"
        await capulet.servers.deliver("montague.example", ())
        assert carrier(capulet, "montague.example").stream._rate == 100_000
        assert carrier(montague, "capulet.example").stream._rate == 30_000

    async def test_k181_a_stream_that_only_idles_is_closed(self) -> None:
        limits = FAST.model_copy(update={"idle_ping_seconds": 1, "s2s_idle_seconds": 1})
        node = self.node("mantua.example", limits=limits)
        peer = await self._two_way(node)
        await node.clock.sleep(0.7)
        # What we send counts as well as what comes.
        node.servers.send(node.message(JULIET))
        await peer.read()
        await node.clock.sleep(0.7)
        node.streams._close_idle()
        assert len(node.streams.status()) == 1
        await node.clock.sleep(0.5)
        node.streams._close_idle()
        assert await peer.ending() == "closed"


class Dialback(FederationTestCase):
    async def test_a_stream_of_theirs_is_used_when_they_cannot_be_dialled_any_more(self) -> None:
        montague = self.node("montague.example", certificate="self-signed")
        capulet = self.node("capulet.example", certificate="self-signed")
        await capulet.servers.deliver("montague.example", ())
        await montague.servers.deliver("capulet.example", ())
        await capulet.stop_listening()
        montague.servers._remote("capulet.example").retire()
        while montague.servers._remote("capulet.example")._own is not None:
            await montague.clock.sleep(0.01)
        assert montague.servers.proof("capulet.example") is None
        await montague.servers.deliver("capulet.example", batch(montague, JULIET, "hello"))
        assert text(await capulet.arrival()) == "hello"
        assert montague.servers.proof("capulet.example") is Proof.DIALBACK
        assert montague.servers.key("capulet.example") == ""
        with pytest.raises(DeliveryFailed, match="self-signed"):
            await montague.servers.deliver("capulet.example", batch(montague, JULIET, "secret"), Proof.CERTIFICATE)

    async def test_a_key_that_a_certificate_vouched_for_is_no_certificate(self) -> None:
        """Who carried the key may stand between us and the domain that made it."""
        montague = self.node("montague.example")
        capulet = self.node("capulet.example")
        peer = await self.peer(montague, "capulet.example", "self-signed")
        key = capulet.federation.keys.key(
            receiving="montague.example", originating="capulet.example", stream_id=peer.stream.id or ""
        )
        peer.write(BIDI + claim("capulet.example", key))
        assert await verdict(peer) == ("valid", None)
        await capulet.stop_listening()
        [incoming] = [one for one in montague.streams._streams if one.proofs]
        assert incoming.proofs == {"capulet.example": Proof.CERTIFICATE}
        assert incoming.carriers["capulet.example"].proof is Proof.DIALBACK
        # What is restricted goes by the stream that we opened ourselves.
        await montague.servers.deliver("capulet.example", batch(montague, JULIET, "secret"), Proof.CERTIFICATE)
        assert text(await capulet.arrival()) == "secret"

    async def test_the_answer_to_the_claim_comes_first(self) -> None:
        """XEP-0288 §2.2: not before its identity has been verified."""
        montague = self.node("montague.example")
        montague.servers.on_contact.append(lambda domain: montague.servers.send(montague.message(f"nurse@{domain}")))
        peer = await self.peer(montague, "capulet.example", "valid")
        peer.write(BIDI + claim("capulet.example"))
        assert await verdict(peer) == ("valid", None)
        assert (await peer.read()).get("to") == "nurse@capulet.example"

    async def test_their_certificate_is_better_than_our_dialback(self) -> None:
        """Another sits at the address; the domain itself has called us."""
        montague = self.node("montague.example")
        impostor = self.node("capulet.example", certificate="self-signed")
        await montague.servers.deliver("capulet.example", ())
        assert montague.servers.proof("capulet.example") is Proof.DIALBACK
        peer = await self.peer(montague, "capulet.example")
        peer.write(BIDI)
        await peer.external(montague.domain)
        assert montague.servers.proof("capulet.example") is Proof.CERTIFICATE
        montague.servers.send(montague.message(JULIET, "secret"), Proof.CERTIFICATE)
        assert (await peer.read()).child_text(ns.CLIENT, "body") == "secret"
        assert impostor.messages == []


class OurStreams(FederationTestCase):
    """What may come on a stream that we opened."""

    def _montague(self, sends: str, got: "Deferred[str]", reads: list[Element] | None = None) -> None:
        async def script(peer: Peer) -> None:
            bidi = f"<bidi xmlns='{ns.BIDI_FEATURE}'/>"
            mechanisms = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
            peer.write(f"<stream:features>{mechanisms}{bidi}</stream:features>")
            asked = await peer.read()
            assert asked.is_(ns.BIDI, "bidi")
            limits = asked.find(ns.LIMITS, "limits")
            assert limits and limits.child_text(ns.LIMITS, "max-bytes") == "524288"
            assert (await peer.read()).is_(ns.SASL, "auth")
            peer.write(f"<success xmlns='{ns.SASL}'/>")
            peer.stream.restart()
            header = await peer.stream.read_header()
            peer.stream.send_header(to=header.from_, from_=peer.domain)
            peer.write("<stream:features/>")
            peer.stream.authenticated()
            peer.write(sends)
            if reads is not None:
                reads.append(await peer.read())
            got.callback(await peer.ending())

        self.script("montague.example", script)

    async def _ends(self, node: Node, sends: str) -> str:
        got: Deferred[str] = Deferred()
        self._montague(sends, got)
        with pytest.raises(DeliveryFailed):
            await node.servers.deliver("montague.example", batch(node, ROMEO, "1"))
        return await got

    async def test_only_what_the_domain_says_to_us(self) -> None:
        ours = "capulet.example"
        for from_, to, condition in (
            ("romeo@mantua.example", JULIET, "invalid-from"),
            ("romeo@chat.montague.example", JULIET, "invalid-from"),
            (JULIET, JULIET, "invalid-from"),
            (ROMEO, "juliet@mantua.example", "host-unknown"),
            (ROMEO, "", "improper-addressing"),
        ):
            capulet = self.node(ours)
            message = f"<message from='{from_}' to='{to}'><body>spoofed</body></message>"
            assert await self._ends(capulet, message) == condition, from_
            assert capulet.messages == []

    async def test_for_other_domains_of_theirs_there_are_other_streams(self) -> None:
        capulet = self.node("capulet.example")
        got: Deferred[str] = Deferred()
        sends = claim("chat.montague.example", to="capulet.example") + "<hello xmlns='urn:x'/>"
        self._montague(sends, got, reads := [])
        with pytest.raises(DeliveryFailed):
            await capulet.servers.deliver("montague.example", batch(capulet, ROMEO, "1"))
        await got
        [answer] = [element for element in reads if element.is_(ns.DIALBACK, "result")]
        assert (answer.get("to"), answer.get("type")) == ("chat.montague.example", "error")

    async def test_nothing_else_either(self) -> None:
        for sends, condition in (
            ("<r xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type"),
            ("<enabled xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type"),
            ("<bidi xmlns='urn:xmpp:bidi'/>", "unsupported-stanza-type"),
            ("<hello xmlns='urn:x'/>", "unsupported-stanza-type"),
            ("<!-- -->", "restricted-xml"),
        ):
            assert await self._ends(self.node("capulet.example"), sends) == condition, sends


class Counted(FederationTestCase):
    """Batches count when they are acknowledged."""

    def _montague(self, script: object, offer: str = MANAGED) -> None:
        async def accepted(peer: Peer) -> None:
            mechanisms = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
            peer.write(f"<stream:features>{mechanisms}</stream:features>")
            assert (await peer.read()).is_(ns.SASL, "auth")
            peer.write(f"<success xmlns='{ns.SASL}'/>")
            peer.stream.restart()
            header = await peer.stream.read_header()
            peer.stream.send_header(to=header.from_, from_=peer.domain)
            peer.write(f"<stream:features>{offer}</stream:features>")
            peer.stream.authenticated()
            assert (await peer.read()).is_(ns.STREAM_MANAGEMENT, "enable")
            await script(peer)  # type: ignore[operator]  # a script

        self.script("montague.example", accepted)

    async def test_an_acknowledgement_confirms_and_no_ping_is_sent(self) -> None:
        capulet = self.node("capulet.example")
        got: list[str] = []

        async def script(peer: Peer) -> None:
            peer.write("<enabled xmlns='urn:xmpp:sm:3'/>")
            while True:
                element = await peer.read()
                got.append(element.name)
                if element.name == "r":
                    peer.write(f"<a xmlns='urn:xmpp:sm:3' h='{got.count('message')}'/>")

        self._montague(script)
        await capulet.servers.deliver("montague.example", batch(capulet, ROMEO, "1", "2"))
        assert got == ["message", "message", "r"]
        await capulet.servers.deliver("montague.example", batch(capulet, ROMEO, *map(str, range(500))))
        assert got.count("message") == 502 and "iq" not in got
        assert 50 <= got.count("r") <= 60

    async def test_a_peer_that_will_not_count_is_sent_a_ping(self) -> None:
        capulet = self.node("capulet.example")
        back = await self.authenticated(capulet, "montague.example")
        got: list[str] = []

        async def script(peer: Peer) -> None:
            peer.write(f"<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='{ns.STANZAS}'/></failed>")
            while True:
                element = await peer.read()
                got.append(element.name)
                if element.name == "iq":
                    back.write(
                        f"<iq type='result' id='{element.get('id')}' from='montague.example' to='capulet.example'/>"
                    )

        self._montague(script)
        await capulet.servers.deliver("montague.example", batch(capulet, ROMEO, "1"))
        assert got == ["message", "iq"]

    async def test_a_stream_that_ends_before_confirms_nothing_and_people_hear_of_theirs(self) -> None:
        capulet = self.node("capulet.example")

        async def script(peer: Peer) -> None:
            peer.write("<enabled xmlns='urn:xmpp:sm:3'/>")
            for _ in range(4):
                await peer.read()
            peer.write("<a xmlns='urn:xmpp:sm:3' h='1'/>")
            peer.stream.close()

        self._montague(script)
        await capulet.servers.deliver("montague.example", ())
        for n in range(2):
            capulet.servers.send(capulet.message(ROMEO, f"of people {n}", id=str(n)))
        with pytest.raises(DeliveryFailed, match="before the batch was confirmed"):
            await capulet.servers.deliver("montague.example", batch(capulet, ROMEO, "of the outbox"))
        error = await capulet.arrival()
        assert read_condition(error.element) == ("remote-server-timeout", "wait")
        assert (str(error.to), error.type) == (JULIET, "error")
        assert capulet.messages == []

    async def test_k173_a_peer_that_never_acknowledges(self) -> None:
        self.patch(acknowledging, "ANSWER_SECONDS", 0.3)
        capulet = self.node("capulet.example")
        ending: Deferred[str] = Deferred()

        async def script(peer: Peer) -> None:
            peer.write("<enabled xmlns='urn:xmpp:sm:3'/>")
            ending.callback(await peer.ending())

        self._montague(script)
        with pytest.raises(DeliveryFailed, match="before the batch was confirmed") as caught:
            await capulet.servers.deliver("montague.example", batch(capulet, ROMEO, "1"))
        assert not caught.value.permanent
        assert await ending == "connection-timeout"

    async def test_k174_a_peer_that_acknowledges_too_much_or_less_than_before(self) -> None:
        for counts in ((3,), (1, 0)):
            capulet = self.node("capulet.example")
            ending: Deferred[str] = Deferred()

            async def script(peer: Peer, counts: tuple[int, ...] = counts, ending: "Deferred[str]" = ending) -> None:
                peer.write("<enabled xmlns='urn:xmpp:sm:3'/>")
                while (await peer.read()).name != "r":
                    pass
                for count in counts:
                    peer.write(f"<a xmlns='urn:xmpp:sm:3' h='{count}'/>")
                ending.callback(await peer.ending())

            self._montague(script)
            with pytest.raises(DeliveryFailed, match="before the batch was confirmed"):
                await capulet.servers.deliver("montague.example", batch(capulet, ROMEO, "1", "2"))
            assert await ending == "undefined-condition"

    async def test_people_wait_while_the_window_is_full(self) -> None:
        capulet = self.node("capulet.example", limits=FAST.model_copy(update={"s2s_queue_max_stanzas": 50}))
        got: list[str | None] = []
        full: Deferred[None] = Deferred()
        go_on: Deferred[None] = Deferred()

        async def script(peer: Peer) -> None:
            peer.write("<enabled xmlns='urn:xmpp:sm:3'/>")
            while True:
                element = await peer.read()
                if element.name == "message":
                    got.append(element.child_text(ns.CLIENT, "body"))
                    if len(got) == 200:
                        full.callback(None)
                        await go_on
                elif go_on.called:
                    peer.write(f"<a xmlns='urn:xmpp:sm:3' h='{len(got)}'/>")

        self._montague(script)
        await capulet.servers.deliver("montague.example", ())
        for n in range(251):
            capulet.servers.send(capulet.message(ROMEO, str(n)))
        # One more than is kept and may be on its way.
        assert read_condition((await capulet.arrival()).element)[0] == "resource-constraint"
        await full
        assert capulet.servers.status()[0].queued == 50
        go_on.callback(None)
        await capulet.servers.deliver("montague.example", batch(capulet, ROMEO, "batch"))
        while len(got) < 251:
            await capulet.clock.sleep(0.01)
        assert sorted(got) == sorted([*map(str, range(250)), "batch"])
        assert [one for one in got if one != "batch"] == [str(n) for n in range(250)]

    async def test_two_nodes_count_in_both_directions(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        await capulet.servers.deliver("montague.example", batch(capulet, ROMEO, *map(str, range(25))))
        await montague.servers.deliver("capulet.example", batch(montague, JULIET, *map(str, range(15))))
        one, other = carrier(capulet, "montague.example").acks, carrier(montague, "capulet.example").acks
        assert (one.enabled, one.sent, one.confirmed, one.received) == (True, 25, 25, 15)
        assert (other.enabled, other.sent, other.confirmed, other.received) == (True, 15, 15, 25)

    async def test_dialback_streams_count_as_well(self) -> None:
        capulet = self.node("capulet.example", certificate="self-signed")
        montague = self.node("montague.example", certificate="self-signed")
        await capulet.servers.deliver("montague.example", batch(capulet, ROMEO, "1", "2"))
        acks = carrier(capulet, "montague.example").acks
        assert (acks.enabled, acks.confirmed) == (True, 2)
        assert len(montague.messages) == 2

    async def test_what_is_not_handled_to_its_end_is_not_acknowledged(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        handling: list[Deferred[None]] = []

        async def inbound(stanza: Stanza) -> None:
            handling.append(Deferred())
            await handling[-1]

        montague.inbound = inbound  # type: ignore[method-assign]
        # Several may be under way at once, as notifications are.
        montague.dispatch.overlaps = lambda stanza: stanza.kind == "message"  # type: ignore[method-assign]
        delivered = capulet.tasks.spawn(
            capulet.servers.deliver("montague.example", batch(capulet, ROMEO, *map(str, range(12)))), "delivery"
        )
        while len(handling) < 12:
            await capulet.clock.sleep(0.01)
        acks = carrier(capulet, "montague.example").acks
        for one in reversed(handling[1:]):
            one.callback(None)
        await capulet.clock.sleep(0.1)
        assert (acks.sent, acks.confirmed, delivered.called) == (12, 0, False)
        handling[0].callback(None)
        await delivered
        assert acks.confirmed == 12

    async def test_a_node_that_stops_says_how_far_it_came(self) -> None:
        """So nobody hears that something was lost which was not."""
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        await capulet.servers.deliver("montague.example", ())
        capulet.servers.send(capulet.message(ROMEO))
        await montague.arrival()
        montague.streams.stop()
        while capulet.servers.proof("montague.example"):
            await capulet.clock.sleep(0.01)
        assert capulet.messages == []

    async def test_a_peer_says_how_long_it_keeps_a_silent_stream(self) -> None:
        """XEP-0478: it is not silent for so long."""
        self.patch(remote, "_SPACE_MIN_SECONDS", 0.1)
        capulet = self.node("capulet.example")
        spaces: Deferred[None] = Deferred()

        async def script(peer: Peer) -> None:
            peer.write("<enabled xmlns='urn:xmpp:sm:3'/>")
            received = peer.stream.last_received
            await peer.stream.clock.sleep(0.9)
            assert peer.stream.last_received > received
            spaces.callback(None)
            await peer.ending()

        limits = f"<limits xmlns='{ns.LIMITS}'><idle-seconds>1</idle-seconds></limits>"
        self._montague(script, MANAGED + limits)
        await capulet.servers.deliver("montague.example", ())
        await spaces

    async def test_keys_are_those_of_certificates_that_prove_something(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        self.node("verona.example", certificate="self-signed")
        assert capulet.servers.key("montague.example") == ""
        await capulet.servers.deliver("montague.example", ())
        await capulet.servers.deliver("verona.example", ())
        assert capulet.servers.key("montague.example") == key_of(montague)
        assert capulet.servers.key("verona.example") == ""

    async def test_a_request_of_ours_is_answered_on_the_same_stream(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        answer = await capulet.router.request(
            "get", capulet.host, JID("", "montague.example"), Element(ns.PING, "ping")
        )
        assert answer.type == "result"
        assert (capulet.connects, montague.connects) == (1, 0)
