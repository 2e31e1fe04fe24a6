"""Who may speak to whom: certificates of either kind and policies of either side, each combination tried for real.

The table is worked out by hand from the rules in `docs` and not by any code: a row is who begins, a column who is
called. A cell says how well each knows the other: what the called one is to the one who begins, then the other way
round. C is by certificate, D by dialback, a dash means that no stanza got across.

valid: a certificate of an authority both trust. missing: the same, but none is shown when connecting to others.
self-signed: one that nobody trusts.
"""

from twisted.internet.defer import Deferred

from microblog.wire.stanza import Stanza
from tests.federation.nodes import FederationTestCase, Node

TABLE = """
                    valid                missing              self-signed
                    never public always  never public always  never public always
valid       never   CC    CC     CC      CC    CC     CC      -     -      -
valid       public  CC    CC     CC      CC    CC     CC      DC    DC     DC
valid       always  CC    CC     CC      CC    CC     CC      DC    DC     DC
missing     never   -     -      -       -     -      -       -     -      -
missing     public  -     CC     CC      -     CC     CC      -     DC     DC
missing     always  -     CC     CC      -     CC     CC      -     DC     DC
self-signed never   -     -      -       -     -      -       -     -      -
self-signed public  -     CD     CD      -     CD     CD      -     DD     DD
self-signed always  -     CD     CD      -     CD     CD      -     DD     DD
"""
CERTIFICATES = ("valid", "missing", "self-signed")
POLICIES = ("never", "public", "always")


class Matrix(FederationTestCase):
    async def _row(self, certificate: str, policy: str) -> list[str]:
        cells = []
        for other_certificate in CERTIFICATES:
            for other_policy in POLICIES:
                calling = self.node("capulet.example", certificate=certificate, dialback=policy)
                called = self.node("montague.example", certificate=other_certificate, dialback=other_policy)
                cells.append(await self._cell(calling, called))
                for node in (calling, called):
                    self.nodes.remove(node)
                    await node.stop()
        return cells

    async def _cell(self, calling: Node, called: Node) -> str:
        outcome: Deferred[Stanza | None] = Deferred()
        calling.servers.bounce = lambda stanza, refusal: outcome.callback(None)
        called.inbound = _arrived(outcome)  # type: ignore[method-assign]  # the end of the way, in place of a list
        calling.servers.send(calling.message("romeo@montague.example"))
        came = await calling.clock.deadline(outcome, 15)
        if came is None:
            assert calling.servers.proof("montague.example") is None
            assert called.streams.status() == []
            return "-"
        proof = calling.servers.proof("montague.example")
        assert proof is not None
        return proof.name[0] + came.proof.name[0]

    async def _compare(self, certificate: str) -> None:
        for policy in POLICIES:
            [expected] = [row[2:] for row in map(str.split, TABLE.splitlines()) if row[:2] == [certificate, policy]]
            assert await self._row(certificate, policy) == expected, (certificate, policy)

    async def test_one_with_a_valid_certificate_begins(self) -> None:
        await self._compare("valid")

    async def test_one_without_a_certificate_begins(self) -> None:
        await self._compare("missing")

    async def test_one_with_a_self_signed_certificate_begins(self) -> None:
        await self._compare("self-signed")


def _arrived(outcome: "Deferred[Stanza | None]"):
    async def inbound(stanza: Stanza) -> None:
        outcome.callback(stanza)

    return inbound
