"""Domains that the administrator refuses: no streams to them and none from them, whenever that was said."""

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from microblog.model.errors import PolicyViolation
from microblog.model.item import Proof
from microblog.xmpp import dialback
from microblog.xmpp.dialback import Dialback
from microblog.xmpp.remote import DeliveryFailed
from tests.federation.nodes import FederationTestCase, Node, Peer, text

JULIET = "juliet@capulet.example"


class Refused(FederationTestCase):
    def refusing(self, *domains: str, certificate: str = "valid") -> tuple[Node, set[str]]:
        """A node that refuses some domains; more may be added."""
        refused = set(domains)
        node = self.node("montague.example", certificate=certificate, refuses=refused.__contains__)
        return node, refused

    async def test_nothing_is_sent_to_them_and_nobody_is_dialled(self) -> None:
        montague, _ = self.refusing("capulet.example")
        capulet = self.node("capulet.example")
        bounced: Deferred[tuple[str, str]] = Deferred()
        montague.servers.bounce = lambda stanza, refusal: bounced.callback((str(stanza.to), type(refusal)))
        montague.servers.send(montague.message(JULIET))
        assert await bounced == (JULIET, PolicyViolation)
        with pytest.raises(DeliveryFailed, match="does not speak") as caught:
            await montague.servers.deliver("capulet.example", [montague.message(JULIET).to_bytes()])
        assert caught.value.permanent
        assert montague.connects == 0 and capulet.messages == []

    async def test_who_wants_in_is_told_policy_violation(self) -> None:
        montague, _ = self.refusing("capulet.example")
        stream = Peer.new_stream(True)
        peer = Peer(stream, "capulet.example")
        self.peers.append(peer)
        await connectProtocol(TCP4ClientEndpoint(reactor, montague.address, montague.port, timeout=3), stream)
        await peer.open("montague.example")
        assert await peer.ending() == "policy-violation"

    async def test_a_claim_by_dialback_on_the_stream_of_another(self) -> None:
        montague, _ = self.refusing("capulet.example", certificate="self-signed")
        self.node("verona.example", certificate="self-signed")
        peer = await self.peer(montague, "verona.example", "self-signed")
        peer.write(Dialback("result", "capulet.example", "montague.example", key="0123").to_bytes().decode())
        answer = dialback.read(await peer.read())
        assert (answer.type, answer.condition) == ("error", "policy-violation")
        assert not peer.stream.closed

    async def test_f34_a_domain_that_is_refused_while_it_streams(self) -> None:
        montague, refused = self.refusing()
        capulet = self.node("capulet.example")
        capulet.servers.send(capulet.message("romeo@montague.example"))
        assert text(await montague.arrival()) == "hello"
        montague.servers.send(montague.message(JULIET))
        assert text(await capulet.arrival()) == "hello"
        refused.add("capulet.example")
        montague.servers.end_refused()
        montague.streams.end_refused()
        assert montague.streams.status() == []
        capulet.servers.send(capulet.message("romeo@montague.example", "again"))
        with pytest.raises(DeliveryFailed):
            await capulet.servers.deliver("montague.example", [capulet.message("romeo@montague.example").to_bytes()])
        with pytest.raises(DeliveryFailed, match="does not speak"):
            await montague.servers.deliver("capulet.example", [montague.message(JULIET).to_bytes()])
        # What was on its way to the refused domain comes back to its sender; nothing came from there.
        assert {each.proof for each in montague.messages} <= {Proof.LOCAL}

    async def test_others_go_on(self) -> None:
        montague, refused = self.refusing()
        verona = self.node("verona.example")
        verona.servers.send(verona.message("romeo@montague.example"))
        await montague.arrival()
        refused.add("capulet.example")
        montague.servers.end_refused()
        montague.streams.end_refused()
        await verona.servers.deliver("montague.example", [verona.message("romeo@montague.example", "on").to_bytes()])
        assert text(await montague.arrival()) == "on"

    async def test_dialback_is_enough_for_a_domain_of_which_that_was_said(self) -> None:
        capulet = self.node(
            "capulet.example", certificate="self-signed", trusts_dialback={"montague.example"}.__contains__
        )
        montague = self.node("montague.example", certificate="self-signed")
        self.node("verona.example", certificate="self-signed")
        secret = capulet.message("romeo@montague.example", "secret").to_bytes()
        await capulet.servers.deliver("montague.example", [secret], Proof.CERTIFICATE)
        assert text(await montague.arrival()) == "secret"
        with pytest.raises(DeliveryFailed, match="certificate"):
            await capulet.servers.deliver("verona.example", [secret], Proof.CERTIFICATE)


class AnotherOwner(FederationTestCase):
    async def test_a_valid_certificate_for_somebody_else_is_nothing_that_heals(self) -> None:
        strict = self.node("strict.example", dialback="never")
        for domain, certificate, permanent in (
            ("montague.example", "wrong name", True),
            ("capulet.example", "expired", False),
            ("verona.example", "self-signed", False),
        ):
            other = self.node(domain, certificate=certificate)
            with pytest.raises(DeliveryFailed, match="certificate") as caught:
                await strict.servers.deliver(domain, [strict.message(f"romeo@{domain}").to_bytes()])
            assert caught.value.permanent is permanent and other.messages == []
