"""RFC 6120 §10.4: stanzas to other domains, batches and their barrier, and what happens when a domain is down."""

from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock as ReactorClock
from twisted.names import dns, error
from twisted.trial.unittest import SynchronousTestCase

from microblog.config import Endpoint, Limits
from microblog.model.errors import Refusal, RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.wire import ns, stanza
from microblog.wire.errors import read_condition
from microblog.wire.stanza import Stanza
from microblog.xmpp import remote, s2s_out
from microblog.xmpp.dialback import DialbackFailed, Keys
from microblog.xmpp.remote import DeliveryFailed
from microblog.xmpp.resolve import Resolver
from microblog.xmpp.s2s import Federation
from microblog.xmpp.s2s_out import Servers, StanzaTooLarge
from tests.federation.nodes import FAST, FederationTestCase, Node, Peer, Zone, text

ROMEO = "romeo@montague.example"


def batch(node: Node, *texts: str) -> list[bytes]:
    return [node.message(ROMEO, each).to_bytes() for each in texts]


class TwoNodes(FederationTestCase):
    async def test_a_message_and_its_answer_by_certificate(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        capulet.servers.send(capulet.message(ROMEO))
        came = await montague.arrival()
        assert (text(came), came.proof, str(came.from_)) == ("hello", Proof.CERTIFICATE, "juliet@capulet.example")
        montague.servers.send(montague.message("juliet@capulet.example", "yes?"))
        assert text(await capulet.arrival()) == "yes?"
        assert capulet.servers.proof("montague.example") is Proof.CERTIFICATE
        # The answer came by the stream that the message took.
        assert (capulet.contacts, capulet.connects, montague.connects) == ([], 1, 0)

    async def test_dialback_with_self_signed_certificates(self) -> None:
        capulet = self.node("capulet.example", certificate="self-signed")
        montague = self.node("montague.example", certificate="self-signed")
        await capulet.servers.deliver("montague.example", batch(capulet, "hello"))
        assert (await montague.arrival()).proof is Proof.DIALBACK
        assert capulet.servers.proof("montague.example") is Proof.DIALBACK
        with pytest.raises(DeliveryFailed, match="certificate") as caught:
            await capulet.servers.deliver("montague.example", batch(capulet, "secret"), Proof.CERTIFICATE)
        assert not caught.value.permanent
        assert montague.messages == []

    async def test_what_needs_a_certificate_is_dropped_without_one(self) -> None:
        """Also when it waited while the stream was being opened."""
        capulet = self.node("capulet.example", certificate="self-signed")
        montague = self.node("montague.example", certificate="self-signed")
        for _ in range(2):
            capulet.servers.send(capulet.message(ROMEO, "secret"), Proof.CERTIFICATE)
            capulet.servers.send(capulet.message(ROMEO, "hello"))
            assert text(await montague.arrival()) == "hello"
        assert montague.messages == [] and capulet.messages == []

    async def test_what_needs_a_certificate_goes_with_one(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        capulet.servers.send(capulet.message(ROMEO, "secret"), Proof.CERTIFICATE)
        assert text(await montague.arrival()) == "secret"

    async def test_dialback_suffices_for_everything_where_the_administrator_says_so(self) -> None:
        capulet = self.node("capulet.example", certificate="self-signed", dialback="always")
        montague = self.node("montague.example", certificate="self-signed")
        await capulet.servers.deliver("montague.example", batch(capulet, "secret"), Proof.CERTIFICATE)
        assert text(await montague.arrival()) == "secret"

    async def test_two_that_dial_each_other_at_the_same_moment(self) -> None:
        capulet = self.node("capulet.example", certificate="self-signed")
        montague = self.node("montague.example", certificate="self-signed")
        capulet.servers.send(capulet.message(ROMEO))
        montague.servers.send(montague.message("juliet@capulet.example", "you too?"))
        assert text(await montague.arrival()) == "hello"
        assert text(await capulet.arrival()) == "you too?"
        assert (capulet.connects, montague.connects) == (1, 1)

    async def test_direct_tls(self) -> None:
        """XEP-0368"""
        capulet, montague = self.node("capulet.example"), self.node("montague.example", direct_tls=True)
        await capulet.servers.deliver("montague.example", batch(capulet, "hello"))
        assert (await montague.arrival()).proof is Proof.CERTIFICATE

    async def test_a_direct_tls_port_that_speaks_something_else_is_passed_over(self) -> None:
        """XEP-0368 §3: another protocol may live on that port."""
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        self.zone.serve("montague.example", montague.address, montague.port, direct_tls=True)
        record = self.zone.records["_xmpp-server._tcp.montague.example"]
        assert isinstance(record, list)
        record[0].priority = 9  # type: ignore[union-attr]  # it is the SRV record
        await capulet.servers.deliver("montague.example", batch(capulet, "hello"))
        assert capulet.connects == 2

    async def test_a_target_that_refuses_connections_is_passed_over(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        self.zone.records["_xmpp-server._tcp.montague.example"] = [
            dns.Record_SRV(1, 0, 5555, b"dead.example"),
            dns.Record_SRV(2, 0, montague.port, f"host-{montague.address.replace('.', '-')}.example".encode()),
        ]
        self.zone.records["dead.example"] = [dns.Record_A(montague.address)]
        await capulet.servers.deliver("montague.example", batch(capulet, "hello"))
        assert capulet.connects == 2

    async def test_order_is_kept_and_one_stream_does_for_all(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        for number in range(50):
            capulet.servers.send(capulet.message(ROMEO, str(number)))
        await capulet.servers.deliver("montague.example", batch(capulet, "50", "51"))
        capulet.servers.send(capulet.message(ROMEO, "52"))
        assert [text(await montague.arrival()) for _ in range(53)] == [str(number) for number in range(53)]
        assert capulet.connects == 1

    async def test_a_domain_that_shows_itself_is_listened_to(self) -> None:
        capulet = self.node("capulet.example")
        capulet.servers.send(capulet.message(ROMEO))
        error = await capulet.arrival()
        assert read_condition(error.element) == ("remote-server-not-found", "cancel")
        [status] = capulet.servers.status()
        assert (status.state, status.failures) == ("pausing", 1)
        montague = self.node("montague.example")
        montague.servers.send(montague.message("juliet@capulet.example"))
        await capulet.arrival()
        assert capulet.contacts == ["montague.example"]
        # The pause is over, the failure not forgotten: it is their stream that is used.
        [status] = capulet.servers.status()
        assert (status.state, status.failures) == ("open", 1)
        await capulet.servers.deliver("montague.example", batch(capulet, "hello"))
        assert capulet.connects == 0

    async def test_a_stream_that_nobody_uses_is_closed(self) -> None:
        limits = FAST.model_copy(update={"idle_ping_seconds": 1, "s2s_idle_seconds": 1})
        capulet, montague = self.node("capulet.example", limits=limits), self.node("montague.example")
        await capulet.servers.deliver("montague.example", batch(capulet, "hello"))
        while capulet.servers.proof("montague.example") is not None:
            await capulet.clock.sleep(0.05)
        # The next one opens another.
        await capulet.servers.deliver("montague.example", batch(capulet, "again"))
        assert [text(await montague.arrival()) for _ in range(2)] == ["hello", "again"]

    async def test_nothing_is_lost_when_a_stream_is_closed_in_good_order(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        expected = []
        for number in range(20):
            capulet.servers.send(capulet.message(ROMEO, f"before {number}"))
            expected.append(f"before {number}")
        await capulet.servers.deliver("montague.example", ())
        capulet.servers.send(capulet.message(ROMEO, "last"))
        capulet.servers._remote("montague.example").retire()
        assert capulet.servers.proof("montague.example") is None
        capulet.servers.send(capulet.message(ROMEO, "while it closes"))
        await capulet.servers.deliver("montague.example", batch(capulet, "batch"))
        expected += ["last", "while it closes", "batch"]
        assert [text(await montague.arrival()) for _ in expected] == expected
        assert capulet.connects == 2

    async def test_an_old_stream_is_replaced(self) -> None:
        """A certificate that was renewed, or lost, is looked at again."""
        self.patch(remote, "AGE_MAX_SECONDS", 0)
        limits = FAST.model_copy(update={"idle_ping_seconds": 1})
        capulet, montague = self.node("capulet.example", limits=limits), self.node("montague.example")
        await capulet.servers.deliver("montague.example", batch(capulet, "1"))
        while capulet.servers.proof("montague.example") is not None:
            await capulet.clock.sleep(0.05)
        await capulet.servers.deliver("montague.example", batch(capulet, "2"))
        assert [text(await montague.arrival()) for _ in range(2)] == ["1", "2"]

    async def test_what_is_restricted_is_not_sent_to_whoever_sits_at_the_address(self) -> None:
        """DNS was poisoned: somebody without the certificate answers in the name of the domain."""
        capulet, false_montague = self.node("capulet.example"), self.node("montague.example", certificate="self-signed")
        with pytest.raises(DeliveryFailed, match="certificate"):
            await capulet.servers.deliver("montague.example", batch(capulet, "secret"), Proof.CERTIFICATE)
        strict = self.node("strict.example", dialback="never")
        with pytest.raises(DeliveryFailed, match="it is self-signed"):
            await strict.servers.deliver("montague.example", batch(strict, "public"))
        assert false_montague.messages == []


class Barrier(FederationTestCase):
    """A batch counts when the ping behind it was answered on the stream that carried it."""

    def _montague(self, script: Any, features: str = "") -> None:
        async def accepted(peer: Peer) -> None:
            await peer.accept(features)
            await script(peer)

        self.script("montague.example", accepted)

    async def test_an_error_is_an_answer_too(self) -> None:
        capulet = self.node("capulet.example")
        back = await self.authenticated(capulet, "montague.example")
        got = []

        async def script(peer: Peer) -> None:
            while True:
                element = await peer.read()
                got.append(element.name)
                if element.name == "iq":
                    back.write(
                        f"<iq type='error' id='{element.get('id')}' from='montague.example' to='capulet.example'>"
                        f"<error type='cancel'><service-unavailable xmlns='{ns.STANZAS}'/></error></iq>"
                    )

        self._montague(script)
        await capulet.servers.deliver("montague.example", batch(capulet, "1", "2"))
        assert got == ["message", "message", "iq"]

    async def test_a_stream_that_ends_before_the_answer_confirms_nothing(self) -> None:
        capulet = self.node("capulet.example")

        async def script(peer: Peer) -> None:
            while (await peer.read()).name != "iq":
                pass
            peer.stream.close()

        self._montague(script)
        with pytest.raises(DeliveryFailed, match="before the batch was confirmed"):
            await capulet.servers.deliver("montague.example", batch(capulet, "1"))

    async def test_an_answer_that_comes_after_the_end_confirms_nothing(self) -> None:
        capulet = self.node("capulet.example")
        back = await self.authenticated(capulet, "montague.example")

        async def script(peer: Peer) -> None:
            while (element := await peer.read()).name != "iq":
                pass
            peer.stream.close()
            back.write(f"<iq type='result' id='{element.get('id')}' from='montague.example' to='capulet.example'/>")

        self._montague(script)
        with pytest.raises(DeliveryFailed, match="before the batch was confirmed"):
            await capulet.servers.deliver("montague.example", batch(capulet, "1"))

    async def test_a_peer_that_never_answers_loses_its_stream(self) -> None:
        self.patch(remote, "BARRIER_SECONDS", 0.3)
        capulet = self.node("capulet.example")
        ending: Deferred[str] = Deferred()

        async def script(peer: Peer) -> None:
            ending.callback(await peer.ending())

        self._montague(script)
        with pytest.raises(DeliveryFailed, match="did not answer the ping") as caught:
            await capulet.servers.deliver("montague.example", batch(capulet, "1"))
        assert not caught.value.permanent
        assert await ending == "connection-timeout"

    async def test_our_own_bounce_is_not_the_peers_answer(self) -> None:
        """If the ping itself comes back undeliverable, that is an error from the domain in form only."""
        capulet = self.node("capulet.example")

        async def script(peer: Peer) -> None:
            await peer.ending()

        self._montague(script)

        async def bounced(type_: str, from_: JID, to: JID, payload: object) -> Stanza:
            return stanza.iq("get", from_, to, "1").error(RemoteServerTimeout())

        capulet.servers.request = bounced
        with pytest.raises(DeliveryFailed, match="before the batch was confirmed"):
            await capulet.servers.deliver("montague.example", batch(capulet, "1"))

    async def test_nothing_is_sent_of_a_batch_with_a_stanza_too_large_for_the_peer(self) -> None:
        """XEP-0478"""
        capulet = self.node("capulet.example")
        got = []

        async def script(peer: Peer) -> None:
            while True:
                got.append(await peer.read())

        self._montague(script, "<max-bytes>10000</max-bytes>")
        with pytest.raises(StanzaTooLarge) as caught:
            await capulet.servers.deliver("montague.example", batch(capulet, "1", "x" * 10_000, "3"))
        assert (caught.value.position, caught.value.permanent) == (1, True)
        assert got == []
        capulet.servers.send(capulet.message(ROMEO, "x" * 10_000))
        assert read_condition((await capulet.arrival()).element)[0] == "policy-violation"


class Failing(FederationTestCase):
    async def _bounce(self, node: Node) -> str:
        node.servers.send(node.message(ROMEO))
        return read_condition((await node.arrival()).element)[0]

    async def test_a_domain_that_does_not_exist(self) -> None:
        capulet = self.node("capulet.example")
        assert await self._bounce(capulet) == "remote-server-not-found"
        with pytest.raises(DeliveryFailed) as caught:
            await capulet.servers.deliver("nobody.example", batch(capulet, "1"))
        assert caught.value.permanent

    async def test_a_domain_without_xmpp(self) -> None:
        capulet = self.node("capulet.example")
        self.zone.records["_xmpp-server._tcp.montague.example"] = [dns.Record_SRV(0, 0, 0, b"")]
        assert await self._bounce(capulet) == "remote-server-not-found"

    async def test_a_name_server_that_fails(self) -> None:
        capulet = self.node("capulet.example")
        for name in ("_xmpp-server._tcp.", "_xmpps-server._tcp.", ""):
            self.zone.records[f"{name}montague.example"] = error.DNSServerError()
        assert await self._bounce(capulet) == "remote-server-timeout"
        # At once, as long as the pause lasts; answers and errors never come back.
        capulet.servers.send(capulet.message(ROMEO, type="error"))
        capulet.servers.send(stanza.iq("result", capulet.host, JID.parse(ROMEO), "1"))
        assert await self._bounce(capulet) == "remote-server-timeout"
        assert capulet.messages == []

    async def test_a_server_that_refuses_connections(self) -> None:
        capulet, montague = self.node("capulet.example"), self.node("montague.example")
        await montague.stop_listening()
        assert await self._bounce(capulet) == "remote-server-timeout"
        with pytest.raises(DeliveryFailed, match="refused") as caught:
            await capulet.servers.deliver("montague.example", batch(capulet, "1"))
        assert not caught.value.permanent

    async def test_a_server_that_says_it_is_not_that_domain(self) -> None:
        capulet = self.node("capulet.example")

        async def script(peer: Peer) -> None:
            peer.write(f"<stream:error><host-unknown xmlns='{ns.STREAMS}'/></stream:error></stream:stream>")

        self.script("montague.example", script)
        with pytest.raises(DeliveryFailed, match="host-unknown") as caught:
            await capulet.servers.deliver("montague.example", batch(capulet, "1"))
        assert caught.value.permanent

    async def test_verification_at_a_domain_that_is_down(self) -> None:
        capulet = self.node("capulet.example")
        with pytest.raises(DialbackFailed) as caught:
            await capulet.servers.verify("montague.example", "id", "key")
        assert caught.value.condition == "remote-server-not-found"


class AgainstTheClock(SynchronousTestCase):
    """Pauses and queues, with a clock that stands still and connections that never come to anything."""

    def setUp(self) -> None:
        self.reactor = ReactorClock()
        self.clock, self.tasks = Clock(self.reactor), Tasks()
        self.connected: list[tuple[float, Deferred[None]]] = []
        self.bounced: list[tuple[Stanza, Refusal]] = []
        self.servers = self._servers(Limits(s2s_queue_max_stanzas=3))

    def _servers(self, limits: Limits) -> Servers:
        federation = Federation(
            domain="capulet.example",
            clock=self.clock,
            tasks=self.tasks,
            limits=limits,
            certificates=None,  # type: ignore[arg-type]  # it never comes to that
            keys=Keys(bytes(32)),
        )
        routes = {f"{name}.example": Endpoint("127.0.0.1", 1) for name in ("montague", "a", "b", "c")}
        resolver = Resolver(Zone(), self.clock, limits, routes=routes)
        servers = Servers(federation, resolver, self._connect)
        servers.bounce = lambda stanza, refusal: self.bounced.append((stanza, refusal))
        return servers

    def _connect(self, address: object, stream: object) -> Deferred[None]:
        connecting: Deferred[None] = Deferred()
        self.connected.append((self.reactor.seconds(), connecting))
        return connecting

    def _send(self, domain: str = "montague.example") -> None:
        self.servers.send(stanza.message("chat", JID("juliet", "capulet.example"), JID("romeo", domain)))

    def _refuse(self) -> None:
        self.connected[-1][1].errback(ConnectionRefusedError())

    def _ends(self, coroutine: Coroutine[Any, Any, object]) -> list[Any]:
        outcome: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
        return outcome

    def test_the_queue_is_bounded(self) -> None:
        for _ in range(5):
            self._send()
        assert [type(refusal) for _, refusal in self.bounced] == [ResourceConstraint] * 2
        [status] = self.servers.status()
        assert (status.state, status.queued, self.servers.queued) == ("connecting", 3, 3)
        self._refuse()
        assert [type(refusal) for _, refusal in self.bounced[2:]] == [RemoteServerTimeout] * 3
        assert self.servers.queued == 0

    def test_all_queues_together_are_bounded(self) -> None:
        self.patch(remote, "QUEUED_MAX", 2)
        for name in ("a", "b", "c"):
            self._send(f"{name}.example")
        assert [type(refusal) for _, refusal in self.bounced] == [ResourceConstraint]

    def test_the_number_of_domains_is_bounded(self) -> None:
        self.patch(s2s_out, "REMOTES_MAX", 2)
        self._send("a.example")
        self._send("b.example")
        self._send("c.example")
        assert [type(refusal) for _, refusal in self.bounced] == [ResourceConstraint]
        # One that is of no use makes room.
        self._refuse()
        self._send("c.example")
        assert sorted(status.domain for status in self.servers.status()) == ["a.example", "c.example"]

    def test_not_everybody_is_called_at_once(self) -> None:
        self.servers.connecting.limit = self.servers.connecting.tokens = 2
        for name in ("a", "b", "c"):
            self._send(f"{name}.example")
        assert len(self.connected) == 2
        self._refuse()
        assert len(self.connected) == 3

    def test_pauses_between_attempts_grow_and_are_drawn_at_random(self) -> None:
        """A domain with traffic every second is tried at most every five, and in the end every five minutes or so."""
        pauses = []
        for _ in range(6000):
            self._send()
            if self.connected and not self.connected[-1][1].called:
                self._refuse()
                pauses.append(self.servers.status()[0].pause_seconds)
            self.reactor.advance(1)
        for number, pause in enumerate(pauses):
            assert 5 <= pause <= min(300, 5 * 2 ** (number + 1)), number
        late = pauses[7:]
        assert len(set(late)) == len(late) > 10
        assert max(late) > 150 > min(late)
        assert {type(refusal) for _, refusal in self.bounced} == {RemoteServerTimeout}

    def test_the_outbox_may_try_during_the_pause_but_not_at_once(self) -> None:
        self._send()
        self._refuse()
        self.reactor.advance(1)
        outcome = self._ends(self.servers.deliver("montague.example", [b"<message/>"]))
        assert len(self.connected) == 1
        # People's stanzas wait with it now.
        self._send()
        assert len(self.bounced) == 1
        self.reactor.advance(4)
        assert [moment for moment, _ in self.connected] == [0, 5]
        self._refuse()
        assert isinstance(outcome[0].value, DeliveryFailed)
        assert len(self.bounced) == 2

    def test_an_attempt_has_an_end(self) -> None:
        outcome = self._ends(self.servers.deliver("montague.example", [b"<message/>"]))
        self._send()
        self.reactor.advance(89)
        assert outcome == []
        self.reactor.advance(1)
        assert "no stream after 90 seconds" in outcome[0].value.reason
        assert self.connected[0][1].called
        assert [type(refusal) for _, refusal in self.bounced] == [RemoteServerTimeout]

    def test_a_domain_is_forgotten_some_time_after_its_pause(self) -> None:
        self._send()
        self._refuse()
        assert len(self.servers.status()) == 1
        self.reactor.pump([300] * 3)
        assert self.servers.status() == []

    def test_a_bug_of_ours_does_not_leave_anybody_waiting(self) -> None:
        def broken(address: object, stream: object) -> Deferred[None]:
            raise RuntimeError("a bug")

        self.servers.connect = broken
        outcome = self._ends(self.servers.deliver("montague.example", [b"<message/>"]))
        assert isinstance(outcome[0].value, DeliveryFailed)
        assert len(self.flushLoggedErrors(RuntimeError)) == 1

    def test_a_permanent_failure_is_another_error(self) -> None:
        self._send("nobody.example")
        assert [type(refusal) for _, refusal in self.bounced] == [RemoteServerNotFound]

    def tearDown(self) -> None:
        self.servers.stop()
        self.tasks.stop()
        assert not [call for call in self.reactor.getDelayedCalls() if call.active()]
