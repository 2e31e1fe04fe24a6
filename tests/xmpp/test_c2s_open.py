"""Logging in as a client: what servers may do to somebody who does."""

import base64

import pytest
from twisted.internet.defer import Deferred

from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xmpp import sasl
from microblog.xmpp.c2s_open import LoginFailed
from tests.xmpp.hosts import DOMAIN, FEATURES, STARTTLS, Host, Opening, mechanisms


class Well(Opening):
    async def test_the_whole_way(self) -> None:
        async def script(host: Host) -> None:
            await host.secure()
            await host.authenticate()
            bound.callback(await host.bind())

        bound: Deferred[Element] = Deferred()
        assert await self.log_in(script, resource="tap") == JID("romeo", DOMAIN, "tap")
        bind = (await bound).find(ns.BIND, "bind")
        assert bind is not None
        assert bind.child_text(ns.BIND, "resource") == "tap"

    async def test_the_proof_is_bound_to_the_connection_where_that_is_offered(self) -> None:
        plus = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
        used = []

        async def script(host: Host) -> None:
            await host.secure(mechanisms(*plus, bindings=("tls-exporter",)))
            await host.authenticate(offered=plus)
            used.append(host.mechanism)
            await host.bind()

        await self.log_in(script)
        assert used == ["SCRAM-SHA-256-PLUS"]

    async def test_a_pinned_certificate_needs_nobody_who_vouches_for_it(self) -> None:
        shown: list[str] = []

        async def script(host: Host) -> None:
            await host.secure()
            await host.authenticate()
            await host.bind()

        certificates = self.authority.certificates(DOMAIN, "self-signed")
        self.authority.certificates = lambda *_: certificates  # type: ignore[method-assign]  # the same each time
        with pytest.raises(LoginFailed) as caught:
            await self.log_in(script)
        shown.append(caught.value.reason.rpartition(" ")[2])
        assert await self.log_in(script, fingerprint=shown[0])


class Pretenders(Opening):
    async def test_no_tls(self) -> None:
        await self.fails(lambda host: host.open(mechanisms("PLAIN")), "offers no TLS", permanent=True)

    async def test_tls_refused(self) -> None:
        async def script(host: Host) -> None:
            await host.open(STARTTLS)
            await host.stream.read()
            host.write(f"<failure xmlns='{ns.TLS}'/>")

        await self.fails(script, "refuses TLS")

    async def test_features_slipped_in_before_tls_are_forgotten(self) -> None:
        async def script(host: Host) -> None:
            await host.open(STARTTLS)
            await host.stream.read()
            host.write(f"<proceed xmlns='{ns.TLS}'/>" + FEATURES.format(mechanisms("PLAIN")))

        await self.fails(script, "the stream ended")

    async def test_certificates_that_prove_nothing(self) -> None:
        for kind in ("self-signed", "expired", "wrong name"):
            await self.fails(lambda host: host.secure(), "does not prove montague.example", permanent=True, kind=kind)

    async def test_another_certificate_than_the_pinned_one(self) -> None:
        await self.fails(lambda host: host.secure(), "another one", fingerprint="0" * 64)

    async def test_nobody_is_shown_the_password(self) -> None:
        for offer in (("PLAIN",), ("LOGIN", "X-OAUTH2"), ()):
            await self.fails(lambda host, offer=offer: host.secure(mechanisms(*offer)), "no SCRAM", permanent=True)

    async def test_who_does_not_know_the_password_is_not_who_they_say(self) -> None:
        for forged in (b"", b"v=AAAA", b"v=" + base64.b64encode(b"x" * 32)):

            async def script(host: Host, forged: bytes = forged) -> None:
                await host.secure()
                await host.authenticate(forged=forged)

            await self.fails(script, "malformed|not who it says", permanent=True)

    async def test_success_at_once(self) -> None:
        async def script(host: Host) -> None:
            await host.secure()
            await host.stream.read()
            host.write(f"<success xmlns='{ns.SASL}'/>")

        await self.fails(script, "something else while we log in")

    async def test_a_challenge_that_is_none(self) -> None:
        for text in ("", "%%%", "é", base64.b64encode(b"r=x").decode()):

            async def script(host: Host, text: str = text) -> None:
                await host.secure()
                await host.stream.read()
                host.write(f"<challenge xmlns='{ns.SASL}'>{text}</challenge>")

            await self.fails(script, "challenge", permanent=True)

    async def test_failures(self) -> None:
        for condition, reason, permanent in (
            ("not-authorized", "the password of romeo@montague.example is another one", True),
            ("temporary-auth-failure", "temporary-auth-failure", False),
            ("account-disabled", "account-disabled", False),
        ):

            async def script(host: Host, condition: str = condition) -> None:
                await host.secure()
                await host.stream.read()
                host.write(f"<failure xmlns='{ns.SASL}'><{condition}/></failure>")

            await self.fails(script, reason, permanent=permanent)

    async def test_a_wrong_password(self) -> None:
        async def script(host: Host) -> None:
            await host.secure()
            try:
                await host.authenticate()
            except sasl.SaslFailure as failure:
                host.write(f"<failure xmlns='{ns.SASL}'><{failure.condition}/></failure>")

        await self.fails(script, "is another one", permanent=True, password="therefore")

    async def test_bound_to_another_address(self) -> None:
        for jid in ("juliet@montague.example/x", "romeo@capulet.example/x", "@", "montague.example", ""):

            async def script(host: Host, jid: str = jid) -> None:
                await host.secure()
                await host.authenticate()
                await host.bind(jid)

            await self.fails(script, "bound|binds")

    async def test_a_stream_error_says_why(self) -> None:
        async def script(host: Host) -> None:
            await host.stream.read_header()
            host.stream.send_header(to=None, from_=DOMAIN)
            host.write(f"<stream:error><host-unknown xmlns='{ns.STREAMS}'/></stream:error></stream:stream>")

        await self.fails(script, "host-unknown", permanent=True)

    async def test_who_says_nothing_is_left_in_time(self) -> None:
        async def script(host: Host) -> None:
            await host.stream.read_header()

        await self.fails(script, "connection-timeout|ended")

    async def test_what_is_no_xmpp(self) -> None:
        async def script(host: Host) -> None:
            host.write("HTTP/1.1 400 Bad Request\r\n\r\n<html>")

        await self.fails(script, ".")

    async def test_many_elements_before_the_login(self) -> None:
        async def script(host: Host) -> None:
            await host.secure()
            await host.stream.read()
            host.write("<x xmlns='urn:x'/>" * 200)

        await self.fails(script, ".")
