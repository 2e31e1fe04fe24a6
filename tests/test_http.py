"""Calls to services: what is said, what comes back, and what servers that are none may cost."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.trial.unittest import TestCase

from microblog.http import ANSWER_MAX_BYTES, Answer, Caller, CallFailed, check_url
from microblog.runtime import Clock
from tests.interop.ca import CertificateAuthority

ADDRESS = f"127.77.{os.getpid() % 200 + 1}.7"


class Script(Protocol):
    """Hears a request to its end, then says something."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.heard = b""

    def connectionMade(self) -> None:
        self.server.open.append(self)
        if self.server.at_once:
            self.transport.write(self.server.says)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        head, end, body = self.heard.partition(b"\r\n\r\n")
        length = next(
            (int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: ")), 0
        )
        if end and len(body) == length:
            self.server.requests.append((head.decode(), body))
            if self.server.says is not None:
                self.transport.write(self.server.says)
                if self.server.ends:
                    self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:
        self.server.open.remove(self)
        if not self.server.open and self.server.emptied is not None:
            self.server.emptied.callback(None)


class Server(Factory):
    noisy = False

    def __init__(self, says: bytes | None, *, ends: bool = True, at_once: bool = False) -> None:
        self.says, self.ends, self.at_once = says, ends, at_once
        self.requests: list[tuple[str, bytes]] = []
        self.open: list[Script] = []
        self.emptied: Deferred[None] | None = None

    def buildProtocol(self, addr: object) -> Script:
        return Script(self)


class CallCase(TestCase):
    timeout = 30

    def serve(self, says: bytes | None, *, address: str = ADDRESS, tls: Any = None, **how: bool) -> Server:
        server = Server(says, **how)
        if tls is None:
            port = reactor.listenTCP(0, server, interface=address)
        else:
            port = reactor.listenSSL(0, server, tls, interface=address)
        self.addCleanup(self._end, server)
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        return server

    def _end(self, server: Server) -> Any:
        if not server.open:
            return None
        server.emptied = Deferred()
        for one in server.open:
            one.transport.abortConnection()
        return server.emptied

    def caller(self, seconds: float = 5, **how: Any) -> Caller:
        return Caller(reactor, Clock(reactor), seconds=seconds, **how)

    async def post(
        self, caller: Caller | None = None, host: str = ADDRESS, scheme: str = "http", at: list[str] | None = None
    ) -> Answer:
        url = f"{scheme}://{host}:{self.port}/hook?a=1"
        return await (caller or self.caller()).post(url, b'{"a": 1}', {"webhook-id": "e-1"}, at=at)

    async def fails(self, reason: str, **how: Any) -> None:
        with pytest.raises(CallFailed, match=reason):
            await self.post(**how)


class WhatIsSaid(CallCase):
    async def test_a_post_has_its_body_its_headers_and_its_host(self) -> None:
        server = self.serve(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert await self.post() == Answer(204)
        ((head, body),) = server.requests
        assert head.startswith("POST /hook?a=1 HTTP/1.1\r\n")
        assert body == b'{"a": 1}'
        lines = {line.lower() for line in head.split("\r\n")}
        assert {"webhook-id: e-1", f"host: {ADDRESS}:{self.port}", "connection: close"} <= lines

    async def test_every_answer_is_one(self) -> None:
        for status in (200, 202, 302, 404, 410, 500):
            self.serve(f"HTTP/1.1 {status} X\r\nLocation: http://{ADDRESS}:1/\r\nContent-Length: 2\r\n\r\nok".encode())
            answer = await self.post()
            assert answer == Answer(status)
            assert answer.is_success is (status < 300)

    async def test_when_to_come_again_is_heard_in_seconds_only(self) -> None:
        for said, heard in (("17", 17), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("9" * 40, None), ("-1", None)):
            self.serve(f"HTTP/1.1 503 X\r\nRetry-After: {said}\r\nContent-Length: 0\r\n\r\n".encode())
            assert (await self.post()).retry_after == heard


class WhatItMayCost(CallCase):
    async def test_whoever_does_not_answer_is_left(self) -> None:
        server = self.serve(None)
        await self.fails("no answer within 0.3 seconds", caller=self.caller(0.3))
        assert server.requests

    async def test_an_answer_that_does_not_end_is_an_answer_all_the_same(self) -> None:
        self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", ends=False)
        assert (await self.post()).status == 200

    async def test_headers_without_end_end_the_connection(self) -> None:
        flood = b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * (ANSWER_MAX_BYTES // 4)
        self.serve(flood, ends=False)
        await self.fails("aborted|closed|lost|non-clean|parse", host=ADDRESS)

    async def test_a_body_without_end_is_not_read(self) -> None:
        self.serve(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10 * ANSWER_MAX_BYTES, ends=False)
        assert (await self.post()).status == 200

    async def test_preliminary_answers_without_end_end_the_connection(self) -> None:
        self.serve(b"HTTP/1.1 103 Early Hints\r\n\r\n" * ANSWER_MAX_BYTES, ends=False)
        await self.fails(".")

    async def test_what_is_no_http_is_no_answer(self) -> None:
        for says in (b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\xff" * 100, b"HTTP/1.1 -1 x\r\n\r\n", b"HTTP/9.9\r\n\r\n"):
            self.serve(says)
            await self.fails(".")

    async def test_nobody_there(self) -> None:
        self.port = 1
        await self.fails("refused")


class WhereTo(CallCase):
    async def test_the_addresses_that_were_looked_at_are_tried_in_order(self) -> None:
        server = self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        answer = await self.post(host="montague.example", at=["127.77.255.254", ADDRESS])
        assert answer.status == 200
        assert f"Host: montague.example:{self.port}" in server.requests[0][0]

    async def test_nothing_is_called_without_an_address(self) -> None:
        server = self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await self.fails("no address", at=[])
        assert not server.requests

    async def test_a_certificate_has_to_prove_the_host(self) -> None:
        folder = TemporaryDirectory(prefix="microblog-http-")
        self.addCleanup(folder.cleanup)
        authority = CertificateAuthority(Path(folder.name))
        certificate, key = authority.issue("montague.example").write(Path(folder.name) / "m")
        pem = certificate.read_bytes() + key.read_bytes()
        self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", tls=PrivateCertificate.loadPEM(pem).options())
        trusting, at = self.caller(trust_roots=authority.path), [ADDRESS]
        assert (await self.post(trusting, "montague.example", "https", at)).status == 200
        await self.fails(".", caller=trusting, host="capulet.example", scheme="https", at=at)
        await self.fails(".", host="montague.example", scheme="https", at=at)


def test_what_may_be_called() -> None:
    for url in ("https://montague.example", "https://montague.example:8443/a?b=c", "https://[2001:db8::1]/"):
        assert check_url(url, plain=False) == url
    assert check_url("http://127.0.0.1:8080/", plain=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://montague.example/",
        "ftp://montague.example/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "montague.example",
        "https://romeo:secret@montague.example/",
        "https://@montague.example/",
        "https://montague.example:0/",
        "https://montague.example:99999/",
        "https://montague.example/#part",
        "https://montague.example/ HTTP/1.1\r\nX: y",
        "https://montague.example/\n",
        "https://montagué.example/",
        "https://[::1/",
        "https://montague.example/" + "a" * 2000,
        "",
    ],
)
def test_what_may_not_be_called(url: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        check_url(url, plain=False)
