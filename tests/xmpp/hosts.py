"""A server on loopback that is moved by a test, as far as clients log in, and somebody who logs in."""

import base64
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from microblog.config import Limits
from microblog.model.account import SHA_256, ScramKeys
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xmpp import sasl, tls
from microblog.xmpp.c2s_open import Login, LoginFailed
from microblog.xmpp.s2s import leave
from microblog.xmpp.sasl import Success
from microblog.xmpp.stream import Stream, StreamClosed
from tests.federation.nodes import Authority

DOMAIN = "montague.example"
ROMEO = JID("romeo", DOMAIN)
ADDRESS = f"127.77.{os.getpid() % 200 + 1}.9"
LIMITS = Limits(c2s_auth_seconds=3, tls_handshake_seconds=3)
FEATURES = "<stream:features>{}</stream:features>"
STARTTLS = f"<starttls xmlns='{ns.TLS}'><required/></starttls>"
BIND = f"<bind xmlns='{ns.BIND}'/>"


def mechanisms(*names: str, bindings: tuple[str, ...] = ()) -> str:
    listed = "".join(f"<mechanism>{name}</mechanism>" for name in names)
    found = "".join(f"<channel-binding type='{one}'/>" for one in bindings)
    offered = f"<sasl-channel-binding xmlns='{ns.CHANNEL_BINDING}'>{found}</sasl-channel-binding>" if bindings else ""
    return f"<mechanisms xmlns='{ns.SASL}'>{listed}</mechanisms>{offered}"


class Keys:
    """Romeo's password is "wherefore"."""

    keys_ = ScramKeys.derive("wherefore", SHA_256)

    async def keys(self, localpart: str, hash_name: str) -> ScramKeys:
        return self.keys_

    async def verify(self, keys: ScramKeys, password: str) -> bool:
        raise AssertionError("nobody shows the password")


class Host:
    """A server that is moved by a test."""

    def __init__(self, stream: Stream, certificates: tls.Certificates) -> None:
        self.stream, self.certificates = stream, certificates

    async def open(self, features: str) -> None:
        await self.stream.read_header()
        self.stream.send_header(to=None, from_=DOMAIN)
        self.write(FEATURES.format(features))

    def write(self, text: str) -> None:
        self.stream.write(text.encode())

    async def secure(self, features: str = "") -> None:
        """Up to the features under TLS."""
        await self.open(STARTTLS)
        assert (await self.stream.read()).is_(ns.TLS, "starttls")
        self.write(f"<proceed xmlns='{ns.TLS}'/>")
        await self.stream.start_tls(self.certificates.server_context(s2s=False), server=True)
        await self.open(features or mechanisms("SCRAM-SHA-256"))

    async def authenticate(self, *, offered: tuple[str, ...] = ("SCRAM-SHA-256",), forged: bytes | None = None) -> None:
        """Let them in; ``forged``: and say that instead of the proof that we know the password."""
        auth = await self.stream.read()
        self.mechanism = auth.get("mechanism")
        assert self.stream.tls is not None
        attempt = sasl.begin(self.mechanism or "", sasl.channel_bindings(self.stream.tls), offered, Keys(), DOMAIN)
        step = await attempt.step(base64.b64decode(auth.text))
        self.write(f"<challenge xmlns='{ns.SASL}'>{base64.b64encode(step.data).decode()}</challenge>")
        step = await attempt.step(base64.b64decode((await self.stream.read()).text))
        assert isinstance(step, Success)
        data = step.data if forged is None else forged
        self.write(f"<success xmlns='{ns.SASL}'>{base64.b64encode(data or b'').decode()}</success>")

    async def bind(self, jid: str = f"{ROMEO}/tap") -> Element:
        self.stream.restart()
        await self.open(BIND)
        request = await self.stream.read()
        self.write(f"<iq type='result' id='{request.get('id')}'><bind xmlns='{ns.BIND}'><jid>{jid}</jid></bind></iq>")
        self.stream.authenticated()
        return request


Script = Callable[[Host], Awaitable[object]]


class Opening(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.authority = Authority()
        self.addCleanup(self.authority.remove)
        self.tasks = Tasks()
        self.clock = Clock(reactor)
        self.streams: list[Stream] = []

    async def tearDown(self) -> None:
        for stream in self.streams:
            leave(stream)
            stream.abort("end of the test")
            while stream._connected:
                await self.clock.sleep(0.01)
        await self.tasks.stop()

    def listen(self, script: Script, certificates: tls.Certificates) -> int:
        case = self

        class Listener(Factory):
            noisy = False

            def buildProtocol(self, addr: object) -> Stream:
                stream = Stream(
                    clock=case.clock, limits=LIMITS, content=ns.CLIENT, stanza_max_bytes=262_144, initiating=False
                )
                case.streams.append(stream)
                stream.on_connected = lambda: case.tasks.spawn(case.run_(script, Host(stream, certificates)), "host")
                return stream

        port = reactor.listenTCP(0, Listener(), interface=ADDRESS)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    async def run_(self, script: Script, host: Host) -> None:
        with contextlib.suppress(StreamClosed):
            await script(host)

    async def log_in(self, script: Script, *, kind: str = "valid", password: str = "wherefore", **how: Any) -> JID:
        port = self.listen(script, self.authority.certificates(DOMAIN, kind))

        async def derive(function: Callable[[bytes], bytes], data: bytes) -> bytes:
            return function(data)

        login = Login(ROMEO, password, tls.anonymous_context(self.authority.path), derive, **how)
        stream = login.stream(self.clock, LIMITS)
        self.streams.append(stream)
        await connectProtocol(TCP4ClientEndpoint(reactor, ADDRESS, port), stream)
        try:
            return await login.log_in(stream, direct_tls=False)
        except LoginFailed:
            assert stream.closed
            raise

    async def fails(self, script: Script, reason: str, *, permanent: bool = False, **how: Any) -> None:
        with pytest.raises(LoginFailed, match=reason) as caught:
            await self.log_in(script, **how)
        assert caught.value.permanent is permanent
