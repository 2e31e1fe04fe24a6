"""RFC 6120 §4-6, XEP-0178, XEP-0220: servers that come to us and behave."""

import base64

from twisted.internet.defer import Deferred, DeferredList

from microblog.model.item import Proof
from microblog.wire import ns
from microblog.wire.xml import Element
from tests.federation.nodes import FAST, FederationTestCase, Node, Peer, authority, text

HELLO = "<message from='{}' to='juliet@montague.example'><body>hello</body></message>"


def names(features: Element) -> list[str]:
    return sorted(child.name for child in features.elements())


def claim(domain: str, key: str = "abc", to: str = "montague.example") -> str:
    return f"<db:result from='{domain}' to='{to}'>{key}</db:result>"


async def verdict(peer: Peer) -> tuple[str | None, str | None]:
    """Type and error condition of the next answer to a claim."""
    answer = await peer.read()
    assert answer.is_(ns.DIALBACK, "result"), answer
    error = answer.first()
    condition = error.first() if error else None
    return answer.get("type"), condition.name if condition else None


class Incoming(FederationTestCase):
    def montague(self, **options: object) -> Node:
        return self.node("montague.example", **options)

    async def test_what_is_offered_before_and_under_tls(self) -> None:
        node = self.montague()
        peer = await self.peer(node, "capulet.example", None, secure=False)
        assert peer.stream.opened is not None and peer.stream.opened.dialback
        assert (peer.stream.opened.from_, peer.stream.opened.to) == ("montague.example", "capulet.example")
        peer = await self.peer(node, "capulet.example")
        assert names(peer.features) == ["bidi", "dialback", "limits", "mechanisms"]
        limits = peer.features.find(ns.LIMITS, "limits")
        assert limits and limits.child_text(ns.LIMITS, "max-bytes") == "524288"
        assert limits.child_text(ns.LIMITS, "idle-seconds") == "3600"
        await peer.external(node.domain)
        assert names(peer.features) == ["dialback", "limits", "sm"]
        # Where nobody could prove anything by dialback, the second features come in any case.
        strict = self.node("strict.example", dialback="never")
        peer = await self.peer(strict, "capulet.example")
        assert names(peer.features) == ["bidi", "limits", "mechanisms"]

    async def test_external_is_offered_only_for_the_name_in_the_header(self) -> None:
        node = self.montague()
        for kind in ("self-signed", "expired", "wrong name", "missing"):
            peer = await self.peer(node, "capulet.example", kind)
            assert names(peer.features) == ["bidi", "dialback", "limits", "sm"], kind

    async def test_names_in_certificates(self) -> None:
        """RFC 6125 §6.4.3: a wildcard stands for one label, of three or more; the common name for nothing."""
        node = self.montague()
        for domain, issued, offered in (
            ("chat.capulet.example", {"domain": "*.capulet.example"}, True),
            ("a.chat.capulet.example", {"domain": "*.capulet.example"}, False),
            ("capulet.example", {"domain": "*.example"}, False),
            ("capulet.example", {"domain": "capulet.example", "common_name_only": True}, False),
            ("capulet.example", {"domain": "elsewhere.example", "others": ("capulet.example",)}, True),
            ("capulet.example", {"domain": "capulet.example", "client_auth": False}, True),
        ):
            issued = dict(issued)
            name, others = issued.pop("domain"), issued.pop("others", ())
            certificate, key = self.authority.issue(name, *others, **issued).write(self.authority.folder, name[-20:])
            certificates = type(node.federation.certificates)(
                name, certificate, key, self.authority.path, self.authority.folder
            )
            peer = await Peer.connect(node, domain, certificates)
            self.peers.append(peer)
            assert ("mechanisms" in names(peer.features)) is offered, (domain, issued)

    async def test_external_with_and_without_an_authorization_identity(self) -> None:
        node = self.montague()
        for number, authzid in enumerate(("", "=", base64.b64encode(b"capulet.example").decode())):
            peer = await self.peer(node, "capulet.example")
            await peer.external(node.domain, authzid)
            peer.write(HELLO.format("romeo@capulet.example"))
            came = await node.arrival()
            assert (text(came), came.proof) == ("hello", Proof.CERTIFICATE)
            assert len(node.streams.status()) == number + 1

    async def test_a_domain_is_known_by_its_canonical_form(self) -> None:
        node = self.montague()
        peer = await self.peer(node, "xn--strae-oqa.example")
        authzid = base64.b64encode("Straße.EXAMPLE.".encode()).decode()
        peer.write(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>{authzid}</auth>")
        assert (await peer.read()).is_(ns.SASL, "success")
        peer.stream.restart()
        await peer.open("MONTAGUE.example.")
        await peer.read()
        peer.write(HELLO.format("romeo@straße.example").replace("montague.example", "Montague.Example"))
        came = await node.arrival()
        assert (str(came.from_), str(came.to)) == ("romeo@xn--strae-oqa.example", "juliet@montague.example")

    async def test_several_domains_on_one_stream(self) -> None:
        """XEP-0220 §2.6"""
        node = self.montague()
        self.script("capulet.example", authority("valid"), kind="self-signed")
        self.script("chat.capulet.example", authority("valid"))
        peer = await self.peer(node, "capulet.example", "self-signed")
        peer.write(claim("capulet.example"))
        assert await verdict(peer) == ("valid", None)
        peer.write(claim("chat.capulet.example"))
        assert await verdict(peer) == ("valid", None)
        peer.write(claim("capulet.example", "again"))
        assert await verdict(peer) == ("valid", None)
        [status] = node.streams.status()
        # The second one's server has shown a certificate when it confirmed the key.
        assert status.domains == {"capulet.example": Proof.DIALBACK, "chat.capulet.example": Proof.CERTIFICATE}
        peer.write(HELLO.format("romeo@capulet.example") + HELLO.format("hall@chat.capulet.example/nurse"))
        assert [(await node.arrival()).proof for _ in range(2)] == [Proof.DIALBACK, Proof.CERTIFICATE]

    async def test_a_second_domain_beside_one_by_certificate(self) -> None:
        node = self.montague()
        self.script("friend.example", authority("valid"), kind="self-signed")
        peer = await self.authenticated(node, "capulet.example")
        peer.write(claim("friend.example"))
        assert await verdict(peer) == ("valid", None)
        peer.write(HELLO.format("romeo@friend.example") + HELLO.format("romeo@capulet.example"))
        assert [(await node.arrival()).proof for _ in range(2)] == [Proof.DIALBACK, Proof.CERTIFICATE]

    async def test_a_claim_under_a_valid_certificate_needs_no_question(self) -> None:
        """The domain has no server that could be asked."""
        node = self.montague(dialback="never")
        peer = await self.peer(node, "capulet.example")
        peer.write(claim("capulet.example"))
        assert await verdict(peer) == ("valid", None)
        peer.write(HELLO.format("romeo@capulet.example"))
        assert (await node.arrival()).proof is Proof.CERTIFICATE

    async def test_questions_about_our_keys_need_no_proof(self) -> None:
        """XEP-0220 §2.2.2"""
        node = self.montague()
        key = node.federation.keys.key(receiving="capulet.example", originating="montague.example", stream_id="s1")
        peer = await self.peer(node, None, "self-signed")
        for attributes, asked, expected in (
            ("from='capulet.example' to='montague.example' id='s1'", key, "valid"),
            ("from='capulet.example' to='montague.example' id='s2'", key, "invalid"),
            ("from='mantua.example' to='montague.example' id='s1'", key, "invalid"),
            ("from='capulet.example' to='montague.example' id='s1'", "", "invalid"),
            ("from='capulet.example' to='montague.example'", key, "invalid"),
            ("from='capulet.example' to='verona.example' id='s1'", key, "error"),
        ):
            peer.write(f"<db:verify {attributes}>{asked}</db:verify>")
            answer = await peer.read()
            assert answer.get("type") == expected, attributes
            assert answer.get("id") == ("s1" if "s1" in attributes else "s2" if "s2" in attributes else None)
            assert answer.get("to") in attributes and answer.get("from") in attributes

    async def test_order_is_kept_on_a_stream(self) -> None:
        node = self.montague()
        peer = await self.authenticated(node, "capulet.example")
        peer.write("".join(HELLO.format("romeo@capulet.example").replace("hello", str(n)) for n in range(200)))
        assert [text(await node.arrival()) for _ in range(200)] == [str(n) for n in range(200)]

    async def test_a_bug_of_ours_does_not_end_a_stream(self) -> None:
        node = self.montague()

        async def broken(*_: object) -> None:
            node.streams.reception.from_server = node.router.from_server
            raise RuntimeError("a bug")

        node.streams.reception.from_server = broken
        peer = await self.authenticated(node, "capulet.example")
        peer.write(HELLO.format("romeo@capulet.example") + HELLO.format("mercutio@capulet.example"))
        assert (await node.arrival()).from_.localpart == "mercutio"
        assert len(self.flushLoggedErrors(RuntimeError)) == 1

    async def test_one_stream_too_many_ends_the_oldest(self) -> None:
        node = self.montague(limits=FAST.model_copy(update={"s2s_streams_in_per_domain": 2}))
        peers = [await self.authenticated(node, "capulet.example") for _ in range(3)]
        other = await self.authenticated(node, "mantua.example")
        assert await peers[0].ending() == "conflict"
        for peer in (*peers[1:], other):
            peer.write(HELLO.format(f"romeo@{peer.domain}"))
            await node.arrival()

    async def test_the_same_limit_for_many_that_come_at_once(self) -> None:
        node = self.montague()
        coming = [Deferred.fromCoroutine(self.authenticated(node, "capulet.example")) for _ in range(8)]
        # Some see their stream end before they are through.
        await DeferredList(coming, consumeErrors=True)
        assert len(node.streams.status()) == 4

    async def test_idle_streams_are_closed(self) -> None:
        node = self.montague(limits=FAST.model_copy(update={"idle_ping_seconds": 1, "s2s_idle_seconds": 1}))
        peer = await self.authenticated(node, "capulet.example")
        node.streams._close_idle()
        assert len(node.streams.status()) == 1
        await node.clock.sleep(1.1)
        node.streams._close_idle()
        assert await peer.ending() == "closed"

    async def test_a_domain_that_is_followed_may_send_faster(self) -> None:
        node = self.montague()
        node.streams.reception.followed = lambda domain: domain == "capulet.example"
        await self.authenticated(node, "capulet.example")
        await self.authenticated(node, "mantua.example")
        rates = {next(iter(one.proofs)): one.stream._rate for one in node.streams._streams}
        assert rates == {"capulet.example": 100_000, "mantua.example": 30_000}

    async def test_everything_ends_with_the_node(self) -> None:
        node = self.montague()
        peers = [await self.authenticated(node, "capulet.example"), await self.peer(node, "mantua.example")]
        node.streams.stop()
        assert [await peer.ending() for peer in peers] == ["system-shutdown"] * 2
