"""Servers that lie, confuse or flood, and the answer that each gets (RFC 6120, XEP-0178, XEP-0220, XEP-0205).

After each of them an innocent server must be served as before: `tearDown` sees to it.
"""

import base64

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.logger import globalLogPublisher

from microblog.model.item import Proof
from microblog.wire import ns
from microblog.wire.errors import read_condition
from microblog.xmpp.remote import DeliveryFailed
from microblog.xmpp.s2s_accept import CLAIMS_MAX
from microblog.xmpp.stream import StreamClosed
from tests.federation.nodes import FAST, FederationTestCase, Peer, authority, text
from tests.xmpp.test_s2s_in import HELLO, claim, verdict

OURS = "montague.example"


class Hostile(FederationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.montague = self.node(OURS)

    async def tearDown(self) -> None:
        innocent = await self.authenticated(self.montague, "innocent.example")
        innocent.write(HELLO.format("friar@innocent.example"))
        while str((await self.montague.arrival()).from_) != "friar@innocent.example":
            pass
        await super().tearDown()

    async def stranger(self, domain: str | None = "capulet.example", kind: str = "self-signed") -> Peer:
        """Under TLS, nothing proved."""
        return await self.peer(self.montague, domain, kind)

    async def nothing_came(self) -> None:
        """Nobody has got anything, after everything that was written has been read."""
        await self.montague.clock.sleep(0)
        assert self.montague.messages == []


class Openings(Hostile):
    """RFC 6120 §4.7"""

    async def _open(self, to: str | None, from_: str | None = "capulet.example", version: str = "version='1.0'") -> str:
        peer = Peer(Peer.new_stream(True), None)
        self.peers.append(peer)
        endpoint = TCP4ClientEndpoint(reactor, self.montague.address, self.montague.port)
        await connectProtocol(endpoint, peer.stream)
        addresses = "".join(f" {name}='{text}'" for name, text in (("to", to), ("from", from_)) if text is not None)
        peer.write(f"<stream:stream xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}'{addresses} {version}>")
        header = await peer.stream.read_header()
        assert header.from_ == OURS
        return await peer.ending()

    async def test_headers(self) -> None:
        assert await self._open(None) == "improper-addressing"
        assert await self._open("@@") == "improper-addressing"
        assert await self._open("verona.example") == "host-unknown"
        assert await self._open(OURS, "a..b") == "improper-addressing"
        assert await self._open(OURS, "romeo@capulet.example") == "improper-addressing"
        assert await self._open(OURS, OURS) == "invalid-from"
        assert await self._open(OURS, "MONTAGUE.example.") == "invalid-from"
        for version in ("", "version='0.9'", "version='x.y'", "version='-1.0'"):
            assert await self._open(OURS, version=version) == "unsupported-version", version

    async def test_a_domain_whose_dns_leads_to_us(self) -> None:
        """We call ourselves by that name, and both ends know that it is not ours; there is no loop."""
        self.zone.serve("evil.example", self.montague.address, self.montague.port)
        with pytest.raises(DeliveryFailed, match="another domain"):
            await self.montague.servers.deliver("evil.example", [b"<message/>"])
        assert self.montague.connects == 1

    async def test_another_domain_after_tls_or_after_authentication(self) -> None:
        peer = await self.peer(self.montague, "capulet.example", None, secure=False)
        peer.write(f"<starttls xmlns='{ns.TLS}'/>")
        await peer.read()
        certificates = self.authority.certificates("capulet.example")
        await peer.stream.start_tls(certificates.client_context(), server=False, name=OURS)
        peer.domain = "mantua.example"
        peer.stream.send_header(to=OURS, from_=peer.domain)
        assert await peer.ending() == "not-authorized"
        for to, from_, condition in (
            (OURS, "mantua.example", "not-authorized"),
            ("verona.example", "capulet.example", "host-unknown"),
        ):
            peer = await self.peer(self.montague, "capulet.example")
            peer.write(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>")
            assert (await peer.read()).is_(ns.SASL, "success")
            peer.stream.restart()
            peer.stream.send_header(to=to, from_=from_)
            assert await peer.ending() == condition

    async def test_before_tls(self) -> None:
        for sent, condition in (
            (HELLO.format("romeo@capulet.example"), "policy-violation"),
            ("<compress xmlns='http://jabber.org/protocol/compress'/>", "unsupported-stanza-type"),
            ("<db:result to='montague.example'>key</db:result>", "improper-addressing"),
        ):
            peer = await self.peer(self.montague, "capulet.example", None, secure=False)
            peer.write(sent)
            assert await peer.ending() == condition
        peer = await self.peer(self.montague, "capulet.example", None, secure=False)
        peer.write(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>")
        assert (await peer.read()).find(ns.SASL, "encryption-required")
        peer.write(claim("capulet.example"))
        assert await verdict(peer) == ("error", "policy-violation")

    async def test_commands_slipped_in_behind_starttls(self) -> None:
        """CVE-2011-0411"""
        peer = await self.peer(self.montague, "capulet.example", None, secure=False)
        peer.write(f"<starttls xmlns='{ns.TLS}'/>" + claim("capulet.example"))
        assert (await peer.read()).is_(ns.TLS, "proceed")
        assert await peer.ending() == "closed"
        assert self.montague.streams.status() == []

    async def test_tls_twice(self) -> None:
        peer = await self.stranger()
        peer.write(f"<starttls xmlns='{ns.TLS}'/>")
        assert (await peer.read()).is_(ns.TLS, "failure")
        assert await peer.ending() == "closed"

    async def test_nothing_is_proved_in_time(self) -> None:
        node = self.node("mantua.example", limits=FAST.model_copy(update={"s2s_auth_seconds": 1}))
        peer = await self.peer(node, "capulet.example", "self-signed")
        assert await peer.ending() == "connection-timeout"

    async def test_more_connections_than_one_address_may_have(self) -> None:
        """XEP-0205: closed without a word."""
        strangers = [await self.stranger(None) for _ in range(FAST.unauthenticated_per_address)]
        with pytest.raises(StreamClosed):
            await self.stranger(None)
        # One that leaves makes room.
        strangers[0].stream.close()
        assert await strangers[0].ending() == "closed"
        while len(self.montague.streams._streams) == len(strangers):
            await self.montague.clock.sleep(0.01)
        await self.authenticated(self.montague, "capulet.example")


class External(Hostile):
    """XEP-0178, RFC 6120 §6"""

    async def _auth(self, peer: Peer, text: str, mechanism: str = "EXTERNAL") -> str:
        peer.write(f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{text}</auth>")
        answer = await peer.read()
        assert answer.is_(ns.SASL, "failure")
        first = answer.first()
        assert first
        return first.name

    async def test_for_another_domain_than_the_certificate_has(self) -> None:
        for other in (b"mantua.example", b"chat.capulet.example", b"example", b"capulet.example\0", b"\xff"):
            peer = await self.stranger(kind="valid")
            assert await self._auth(peer, base64.b64encode(other).decode()) == "not-authorized"
            assert await peer.ending() == "closed"

    async def test_without_a_certificate_that_would_do(self) -> None:
        for kind in ("self-signed", "expired", "wrong name", "missing"):
            peer = await self.stranger(kind=kind)
            assert await self._auth(peer, "=") == "invalid-mechanism"

    async def test_g118_the_administrator_is_told_why(self) -> None:
        for kind, why in (
            ("expired", "it has expired"),
            ("wrong name", "is not for capulet.example but for elsewhere"),
        ):
            events: list[dict[str, object]] = []
            globalLogPublisher.addObserver(events.append)
            try:
                await self.stranger(kind=kind)
            finally:
                globalLogPublisher.removeObserver(events.append)
            assert any(why in str(event.get("why")) for event in events), kind

    async def test_other_mechanisms_bad_encoding_and_too_many_tries(self) -> None:
        peer = await self.stranger(kind="valid")
        assert await self._auth(peer, "AGEAYg==", "PLAIN") == "invalid-mechanism"
        assert await self._auth(peer, "?") == "incorrect-encoding"
        await self._auth(peer, "=x=")
        assert await peer.ending() == "policy-violation"

    async def test_a_node_that_takes_certificates_only(self) -> None:
        node = self.node("strict.example", dialback="never")
        certificates = self.authority.certificates("capulet.example", "self-signed")
        peer = Peer(Peer.new_stream(True), "capulet.example", certificates)
        self.peers.append(peer)
        await connectProtocol(TCP4ClientEndpoint(reactor, node.address, node.port), peer.stream)
        await peer.open(node.domain)
        await peer.read()
        peer.write(f"<starttls xmlns='{ns.TLS}'/>")
        await peer.read()
        await peer.stream.start_tls(certificates.client_context(), server=False, name=node.domain)
        await peer.open(node.domain)
        assert await peer.ending() == "not-authorized"
        # Nor by dialback for another domain, on a stream that has proved one.
        self.script("mantua.example", authority("valid"))
        peer = await self.authenticated(node, "capulet.example")
        peer.write(claim("mantua.example", to="strict.example"))
        assert await verdict(peer) == ("error", "not-authorized")


class Spoofing(Hostile):
    """RFC 6120 §8.1.2.2, §4.9.3"""

    async def _ends(self, *addresses: str) -> str:
        peer = await self.authenticated(self.montague, "capulet.example")
        peer.write(f"<message {' '.join(addresses)}><body>spoofed</body></message>")
        condition = await peer.ending()
        await self.nothing_came()
        return condition

    async def test_from_a_domain_that_is_not_proved(self) -> None:
        to = "to='juliet@montague.example'"
        for from_ in (
            "romeo@mantua.example",
            "romeo@chat.capulet.example",  # below
            "romeo@example",  # above
            "romeo@notcapulet.example",
            "romeo@montague.example",  # ours
            "capulet.example@mantua.example",
            "mantua.example/capulet.example",
            "romeo@xn--cpulet-bva.example",
        ):
            assert await self._ends(f"from='{from_}'", to) == "invalid-from", from_

    async def test_two_domains_that_look_alike(self) -> None:
        """straße.example is not strasse.example."""
        peer = await self.authenticated(self.montague, "strasse.example")
        peer.write(HELLO.format("romeo@straße.example"))
        assert await peer.ending() == "invalid-from"

    async def test_without_addresses(self) -> None:
        from_, to = "from='romeo@capulet.example'", "to='juliet@montague.example'"
        for addresses in ((from_,), (to,), (), (from_, "to=''"), ("from=''", to)):
            assert await self._ends(*addresses) == "improper-addressing", addresses

    async def test_with_addresses_that_name_no_domain(self) -> None:
        from_, to = "from='romeo@capulet.example'", "to='juliet@montague.example'"
        for bad in ("romeo@", "a..b", "romeo@cap ulet.example", "@"):
            assert await self._ends(f"from='{bad}'", to) == "improper-addressing", bad
            assert await self._ends(from_, f"to='{bad}'") == "improper-addressing", bad

    async def test_to_a_domain_that_is_not_ours(self) -> None:
        mantua = self.node("mantua.example")
        for to in ("romeo@mantua.example", "chat.montague.example", "romeo@nowhere.example"):
            assert await self._ends("from='romeo@capulet.example'", f"to='{to}'") == "host-unknown", to
        assert mantua.messages == [] and self.montague.connects == 0

    async def test_a_malformed_name_in_a_good_domain_ends_nothing(self) -> None:
        capulet = self.node("capulet.example")
        peer = await self.authenticated(self.montague, "capulet.example")
        for bad in (
            "@montague.example",
            "juliet@montague.example/",
            "ju liet@montague.example",
            "x" * 1024 + "@" + OURS,
        ):
            peer.write(f"<message id='1' from='romeo@capulet.example' to='{bad}'><body>a</body></message>")
            error = await capulet.arrival()
            assert read_condition(error.element) == ("jid-malformed", "modify")
            assert (str(error.to), error.id) == ("romeo@capulet.example", "1")
        # Nobody could be answered, or nobody may.
        peer.write("<message from='@capulet.example' to='juliet@montague.example'><body>b</body></message>")
        peer.write("<message type='error' from='romeo@capulet.example' to='@montague.example'/>")
        peer.write(HELLO.format("romeo@capulet.example"))
        assert text(await self.montague.arrival()) == "hello"
        assert capulet.messages == []

    async def test_elements_that_are_no_stanzas(self) -> None:
        for element in ("<presense/>", "<message xmlns='urn:example:other'/>", f"<auth xmlns='{ns.SASL}'/>"):
            peer = await self.authenticated(self.montague, "capulet.example")
            peer.write(element)
            assert await peer.ending() == "unsupported-stanza-type", element


class Dialback(Hostile):
    """XEP-0220"""

    async def test_elements_that_belong_to_no_dialogue(self) -> None:
        bad = ("<db:result to='montague.example'>k</db:result>", "<db:result from='capulet.example'>k</db:result>")
        for element in (*bad, "<db:verify from='a..b' to='montague.example' id='1'>k</db:verify>"):
            peer = await self.stranger()
            peer.write(element)
            assert await peer.ending() == "improper-addressing"
        # The stream of somebody who has proved a domain goes on.
        peer = await self.authenticated(self.montague, "capulet.example")
        for element in bad:
            peer.write(element)
            assert await verdict(peer) == ("error", "bad-request")
        peer.write(claim("mantua.example", key=""))
        assert await verdict(peer) == ("error", "not-acceptable")
        peer.write(HELLO.format("romeo@capulet.example"))
        await self.montague.arrival()

    async def test_answers_that_nobody_asked_for(self) -> None:
        """CVE-2012-3525"""
        peer = await self.stranger()
        for name, rest in (("result", ""), ("verify", " id='1'"), ("verify", f" id='{peer.stream.id}'")):
            for from_, to in (("capulet.example", OURS), (OURS, "capulet.example")):
                peer.write(f"<db:{name} from='{from_}' to='{to}'{rest} type='valid'/>")
        peer.write(HELLO.format("romeo@capulet.example"))
        assert await peer.ending() == "not-authorized"
        await self.nothing_came()

    async def test_answers_for_another_dialogue(self) -> None:
        """§3.1: from, to and id have to be those of the question."""
        for number, changes in enumerate(
            ({"id": "other"}, {"id": ""}, {"from": "elsewhere.example"}, {"to": "elsewhere.example"})
        ):
            domain = f"capulet{number}.example"
            self.script(domain, authority("valid", **changes))
            peer = await self.stranger(domain)
            peer.write(claim(domain))
            await self.montague.clock.sleep(0.2)
            assert self.montague.streams.status() == [], changes
            peer.write(HELLO.format(f"romeo@{domain}"))
            assert await peer.ending() == "not-authorized", changes

    async def test_an_answer_on_the_wrong_stream(self) -> None:
        """The peer answers our question itself, on the stream by which it came."""
        self.script("capulet.example", authority(""))  # it answers, but says nothing
        peer = await self.stranger()
        peer.write(claim("capulet.example"))
        for from_, to in (("capulet.example", OURS), (OURS, "capulet.example")):
            peer.write(f"<db:verify from='{from_}' to='{to}' id='{peer.stream.id}' type='valid'/>")
        peer.write(HELLO.format("romeo@capulet.example"))
        assert await peer.ending() == "not-authorized"

    async def test_a_claim_to_a_domain_that_is_not_ours(self) -> None:
        peer = await self.authenticated(self.montague, "capulet.example")
        peer.write(claim("capulet.example", to="verona.example"))
        assert await verdict(peer) == ("error", "item-not-found")
        peer.write(claim(OURS))
        assert await verdict(peer) == ("error", "not-acceptable")
        peer.write(HELLO.format("romeo@capulet.example"))
        await self.montague.arrival()

    async def test_a_key_made_for_another_stream(self) -> None:
        capulet = self.node("capulet.example", certificate="self-signed")

        def key(stream_id: str | None) -> str:
            return capulet.federation.keys.key(receiving=OURS, originating="capulet.example", stream_id=stream_id or "")

        first, second = await self.stranger(), await self.stranger()
        stolen = key(first.stream.id)
        second.write(claim("capulet.example", stolen))
        assert await verdict(second) == ("invalid", None)
        assert await second.ending() == "closed"
        first.write(claim("capulet.example", stolen))
        assert await verdict(first) == ("valid", None)

    async def test_a_denied_claim_beside_a_proved_one(self) -> None:
        """ "invalid" would oblige us to end the stream of a domain that has done nothing."""
        self.script("mantua.example", authority("invalid"))
        peer = await self.authenticated(self.montague, "capulet.example")
        peer.write(claim("mantua.example"))
        assert await verdict(peer) == ("error", "forbidden")
        peer.write(HELLO.format("romeo@capulet.example"))
        await self.montague.arrival()
        peer.write(HELLO.format("romeo@mantua.example"))
        assert await peer.ending() == "invalid-from"

    async def test_a_certificate_for_one_domain_and_a_claim_for_another(self) -> None:
        """CVE-2021-32919"""
        self.script("mantua.example", authority("invalid"))
        peer = await self.stranger("capulet.example", "valid")
        peer.write(claim("mantua.example"))
        assert await verdict(peer) == ("invalid", None)

    async def test_a_question_that_the_domain_answers_with_an_error(self) -> None:
        """§2.4.2"""
        self.script("capulet.example", authority("error"))
        peer = await self.stranger()
        peer.write(claim("capulet.example"))
        assert await verdict(peer) == ("error", "remote-server-not-found")
        peer.write(claim("nowhere.example"))
        assert await verdict(peer) == ("error", "remote-server-not-found")

    async def test_a_domain_that_hangs_up_when_asked(self) -> None:
        async def script(peer: Peer) -> None:
            peer.write(f"<stream:features><dialback xmlns='{ns.DIALBACK_FEATURE}'/></stream:features>")
            while not (await peer.read()).is_(ns.DIALBACK, "verify"):
                pass
            peer.stream.close()

        self.script("capulet.example", script)
        peer = await self.stranger()
        peer.write(claim("capulet.example"))
        assert await verdict(peer) == ("error", "remote-server-timeout")

    async def test_claims_for_a_thousand_domains(self) -> None:
        for number in range(1000):
            for service in ("_xmpp-server", "_xmpps-server"):
                self.zone.records[f"{service}._tcp.d{number}.example"] = None
        peer = await self.stranger()
        peer.write("".join(claim(f"d{number}.example") for number in range(20)))
        for _ in range(20 - CLAIMS_MAX):
            assert await verdict(peer) == ("error", "resource-constraint")
        # Before anything is proved a stream may not even say so much.
        peer.write("".join(claim(f"d{number}.example") for number in range(20)))
        assert await peer.ending() == "policy-violation"
        peer = await self.authenticated(self.montague, "capulet.example")
        peer.write("".join(claim(f"d{number}.example") for number in range(1000)))
        for _ in range(1000 - CLAIMS_MAX):
            assert await verdict(peer) == ("error", "resource-constraint")
        assert self.montague.streams.claims <= 2 * CLAIMS_MAX
        assert len(self.montague.servers.status()) <= 2 * CLAIMS_MAX

    async def test_a_victim_that_others_make_us_call(self) -> None:
        async def script(peer: Peer) -> None:
            peer.stream.close()

        victim = self.script("victim.example", script, secure=False)
        peers = [await self.stranger("victim.example") for _ in range(4)]
        for peer in peers:
            peer.write(claim("victim.example"))
        for peer in peers:
            assert await verdict(peer) == ("error", "remote-server-timeout")
        peers[0].write(claim("victim.example"))
        await self.montague.clock.sleep(0.5)
        assert victim.connections == 1

    async def test_stanzas_before_the_verdict(self) -> None:
        self.zone.records["_xmpp-server._tcp.mantua.example"] = self.zone.records[
            "_xmpps-server._tcp.mantua.example"
        ] = None
        peer = await self.stranger("mantua.example")
        peer.write(claim("mantua.example") + HELLO.format("romeo@mantua.example"))
        assert await peer.ending() == "not-authorized"
        peer = await self.authenticated(self.montague, "capulet.example")
        peer.write(claim("mantua.example") + HELLO.format("romeo@mantua.example"))
        assert await peer.ending() == "not-authorized"
        await self.nothing_came()


class Called(Hostile):
    """Servers that we call and that are not what they should be."""

    async def _fails(self, domain: str = "capulet.example") -> str:
        with pytest.raises(DeliveryFailed) as caught:
            await self.montague.servers.deliver(domain, [b"<message/>"])
        assert not caught.value.permanent
        return caught.value.reason

    async def test_a_server_that_answers_as_another(self) -> None:
        ending: Deferred[str] = Deferred()

        async def script(peer: Peer) -> None:
            header = await peer.stream.read_header()
            peer.stream.send_header(to=header.from_, from_="mantua.example")
            ending.callback(await peer.ending())

        self.script("capulet.example", script, secure=False)
        assert "invalid-from" in await self._fails()
        assert await ending == "invalid-from"

    async def test_a_server_that_becomes_another_under_tls(self) -> None:
        async def script(peer: Peer) -> None:
            raise AssertionError("it must not come to that")

        listener = self.script("capulet.example", script)
        listener.domain = "capulet.example"

        async def run(peer: Peer) -> None:
            header = await peer.stream.read_header()
            peer.stream.send_header(to=header.from_, from_="capulet.example")
            peer.write(f"<stream:features><starttls xmlns='{ns.TLS}'/></stream:features>")
            await peer.read()
            peer.write(f"<proceed xmlns='{ns.TLS}'/>")
            assert listener.certificates
            await peer.stream.start_tls(listener.certificates.server_context(s2s=True), server=True)
            await peer.stream.read_header()
            peer.stream.send_header(to=OURS, from_="mantua.example")
            await peer.ending()

        listener.secure, listener.script = False, run
        assert "invalid-from" in await self._fails()

    async def test_a_server_without_tls(self) -> None:
        async def script(peer: Peer) -> None:
            header = await peer.stream.read_header()
            peer.stream.send_header(to=header.from_, from_=peer.domain)
            peer.write(f"<stream:features><dialback xmlns='{ns.DIALBACK_FEATURE}'/></stream:features>")
            assert await peer.ending() == "policy-violation"

        self.script("capulet.example", script, secure=False)
        assert "policy-violation" in await self._fails()

    async def test_a_server_that_refuses_or_breaks_tls(self) -> None:
        for number, answer in enumerate((f"<failure xmlns='{ns.TLS}'/>", f"<proceed xmlns='{ns.TLS}'/><message/>")):

            async def script(peer: Peer, answer: str = answer) -> None:
                header = await peer.stream.read_header()
                peer.stream.send_header(to=header.from_, from_=peer.domain)
                peer.write(f"<stream:features><starttls xmlns='{ns.TLS}'/></stream:features>")
                await peer.read()
                peer.write(answer)
                await peer.ending()

            self.script(f"capulet{number}.example", script, secure=False)
            await self._fails(f"capulet{number}.example")

    async def test_a_server_that_takes_neither_certificate_nor_dialback(self) -> None:
        # The header of the script declares dialback: that counts as an offer, so the answer decides.
        async def denies(peer: Peer) -> None:
            peer.write("<stream:features/>")
            await peer.read()
            peer.write(f"<db:result from='capulet.example' to='{OURS}' type='invalid'/>")
            await peer.ending()

        self.script("capulet.example", denies)
        assert "dialback: invalid" in await self._fails()

    async def test_a_server_that_rejects_our_certificate_gets_dialback(self) -> None:
        async def script(peer: Peer) -> None:
            mechanisms = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
            peer.write(f"<stream:features>{mechanisms}</stream:features>")
            assert (await peer.read()).is_(ns.SASL, "auth")
            peer.write(f"<failure xmlns='{ns.SASL}'><not-authorized/></failure>")
            assert (await peer.read()).is_(ns.DIALBACK, "result")
            # Neither of these is the answer.
            peer.write(f"<db:result from='mantua.example' to='{OURS}' type='valid'/>")
            peer.write("<db:result from='capulet.example' to='verona.example' type='valid'/>")
            peer.write(f"<db:result from='capulet.example' to='{OURS}' type='error'><error type='auth'>")
            peer.write(f"<forbidden xmlns='{ns.STANZAS}'/></error></db:result>")
            await peer.ending()

        self.script("capulet.example", script)
        assert "dialback: forbidden" in await self._fails()

    async def test_stanzas_on_a_stream_that_we_opened(self) -> None:
        """They could come from anybody: without XEP-0288 nothing was proved in that direction."""
        ending: Deferred[str] = Deferred()

        async def script(peer: Peer) -> None:
            await peer.accept()
            peer.write(HELLO.format("romeo@capulet.example"))
            ending.callback(await peer.ending())

        self.script("capulet.example", script)
        await self._fails()
        assert await ending == "not-authorized"
        await self.nothing_came()

    async def test_a_flood_of_features(self) -> None:
        async def script(peer: Peer) -> None:
            peer.write("<stream:features>" + "<a xmlns='urn:example:a'/>" * 1000 + "</stream:features>")
            await peer.ending()

        self.script("capulet.example", script)
        assert "policy-violation" in await self._fails()

    async def test_a_server_that_closes_after_each_stanza(self) -> None:
        """It is not called more often for that."""

        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.read()
            peer.stream.close()

        listener = self.script("capulet.example", script)
        servers = self.montague.servers
        servers.send(self.montague.message("romeo@capulet.example"))
        while servers.status()[0].state != "pausing":
            await self.montague.clock.sleep(0.01)
        for _ in range(4):
            servers.send(self.montague.message("romeo@capulet.example"))
            error = await self.montague.arrival()
            assert read_condition(error.element)[0] == "remote-server-timeout"
        assert listener.connections == 1

    async def test_a_certificate_that_is_not_valid_is_remembered(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.accept()
            await peer.ending()

        for number, (kind, doubt) in enumerate(
            (
                ("expired", "it has expired"),
                ("wrong name", "is not for capulet1.example but for elsewhere.example"),
                ("self-signed", "it is self-signed"),
            )
        ):
            self.script(f"capulet{number}.example", script, kind=kind)
            outgoing = await self.montague.servers._remote(f"capulet{number}.example").established()
            assert outgoing.proof is Proof.DIALBACK, kind
            assert doubt in outgoing.doubt
