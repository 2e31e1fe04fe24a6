"""RFC 6120 §10.4: stanzas to other domains, batches and their barrier, and what happens when a domain is down."""

import pytest

from microblog.model.item import Proof
from microblog.xmpp.remote import DeliveryFailed
from tests.federation.nodes import FederationTestCase, text


class TwoNodes(FederationTestCase):
    async def test_a_message_and_its_answer_by_certificate(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        capulet.servers.send(capulet.message("romeo@montague.example"))
        came = await montague.arrival()
        assert (text(came), came.proof, str(came.from_)) == ("hello", Proof.CERTIFICATE, "juliet@capulet.example")
        montague.servers.send(montague.message("romeo@capulet.example", "yes?"))
        assert text(await capulet.arrival()) == "yes?"
        assert capulet.servers.proof("montague.example") is Proof.CERTIFICATE
        assert capulet.contacts == ["montague.example"]

    async def test_dialback_with_self_signed_certificates(self) -> None:
        capulet, montague = (self.node(f"{name}.example", certificate="self-signed") for name in ("capulet", "montague"))
        capulet.servers.send(capulet.message("romeo@montague.example"))
        came = await montague.arrival()
        assert came.proof is Proof.DIALBACK
        await capulet.servers.deliver("montague.example", [montague_bytes(capulet)])
        assert text(await montague.arrival()) == "hello"
        assert capulet.servers.proof("montague.example") is Proof.DIALBACK
        with pytest.raises(DeliveryFailed, match="certificate"):
            await capulet.servers.deliver("montague.example", [montague_bytes(capulet)], Proof.CERTIFICATE)


def montague_bytes(node) -> bytes:
    return node.message("romeo@montague.example").to_bytes()
