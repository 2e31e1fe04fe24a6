"""RFC 9112 as the client that says one thing: a POST, and how it was answered.

For calls to services that programs run: whatever they answer, it costs a bounded time and a bounded number of bytes,
nobody is redirected, and where the addresses of a host are not to be believed, whoever calls looks at them first and
the connection is made to what was looked at.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from microblog.runtime import Clock

URL_MAX: Final = 2000
ANSWER_MAX_BYTES: Final = 65_536
BODY_SECONDS: Final = 2
_URL: Final = re.compile(r"[\x21-\x7e]+\Z")


class CallFailed(Exception):
    """Nobody answered, or nothing that is HTTP; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``retry_after``: seconds, if the service named them."""

    status: int
    retry_after: int | None = None

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300


def check_url(text: str, *, plain: bool) -> str:
    """The text, if it can be called; ``plain``: http will do. Raises ValueError with a sentence."""
    if len(text) > URL_MAX or not _URL.match(text):
        raise ValueError("An address for calls is a URL of at most 2000 ASCII characters without blanks.")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f'"{text}" is no URL.') from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise ValueError(f'"{text}" is no URL that begins with https:// and a host.')
    if parts.scheme == "http" and not plain:
        raise ValueError("Only https:// addresses are called.")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("A URL for calls has no user name, password or fragment.")
    return text


class Caller:
    """``trust_roots``: as in the configuration."""

    def __init__(self, reactor: Any, clock: Clock, *, seconds: float, trust_roots: Path | None = None) -> None:
        self._reactor = reactor
        self._clock = clock
        self._seconds = seconds
        self._trust_roots = trust_roots

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, at: Sequence[str] | None = None
    ) -> Answer:
        """Say it once. ``at``: the addresses to connect to; without them the system says. Raises CallFailed."""
        try:
            return await self._clock.deadline(self._post(url, body, headers, at), self._seconds)
        except TimeoutError:
            raise CallFailed(f"no answer within {self._seconds:g} seconds") from None

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str], at: Sequence[str] | None) -> Answer:
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        addresses: Sequence[str | None] = [None] if at is None else at
        failure = CallFailed(f"{host} has no address")
        for address in addresses:
            endpoint = self._endpoint(host, port, address, secure)
            try:
                return await self._ask(endpoint, url, body, headers)
            except (ConnectError, DNSLookupError) as error:
                failure = CallFailed(f"{host}: {_said(error)}")
            except ConnectingCancelledError as error:
                raise CancelledError from error
            except ResponseFailed as error:
                said = _said(error.reasons[0].value) if error.reasons else "the connection ended"
                raise CallFailed(f"{host}: {said}") from error
            except (CancelledError, CallFailed):
                raise
            except Exception as error:  # what a broken server makes Twisted's parser raise is not documented
                raise CallFailed(f"{host}: {_said(error)}") from error
        raise failure

    def _endpoint(self, host: str, port: int, address: str | None, secure: bool) -> Any:
        endpoint: Any
        if address is None:
            endpoint = HostnameEndpoint(self._reactor, host, port, timeout=self._seconds)
        elif ":" in address:
            endpoint = TCP6ClientEndpoint(self._reactor, address, port, timeout=self._seconds)
        else:
            endpoint = TCP4ClientEndpoint(self._reactor, address, port, timeout=self._seconds)
        if not secure:
            return endpoint
        roots = None if self._trust_roots is None else trustRootFromCertificates(_certificates(self._trust_roots))
        return wrapClientTLS(optionsForClientTLS(host, trustRoot=roots), endpoint)

    async def _ask(self, endpoint: Any, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connecting = _Connecting(endpoint)
        agent = Agent.usingEndpointFactory(self._reactor, connecting)
        sent = Headers({name: [value] for name, value in headers.items()})
        try:
            response: Any = await agent.request(b"POST", url.encode("ascii"), sent, _Body(body))
            if not 200 <= response.code < 600:
                raise CallFailed("what it answers is no HTTP")
            (after,) = response.headers.getRawHeaders(b"retry-after", [b""])[:1]
            # What it has to say is nothing to us, but a server may want to say it before the connection ends.
            rest = _Rest()
            response.deliverBody(rest)
            with suppress(TimeoutError):
                await self._clock.deadline(rest.ended, BODY_SECONDS)
        finally:
            connecting.abort()
        return Answer(response.code, int(after) if after.isdigit() and len(after) < 7 else None)


class _Body(FileBodyProducer):
    """The bytes of a request."""

    def __init__(self, body: bytes) -> None:
        super().__init__(BytesIO(body))


class _Metered(ProtocolWrapper):
    """Ends a connection on which more comes than anybody has to say."""

    transport: Any
    _left = ANSWER_MAX_BYTES

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.transport.abortConnection()
        else:
            super().dataReceived(data)


class _Rest(Protocol):
    """Passes over what there is behind the headers."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended.called:
            self.ended.callback(None)


@implementer(IAgentEndpointFactory)
class _Connecting:
    """The one endpoint of a call, whatever is asked, and its connection."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint
        self._connection: Any = None

    def endpointForURI(self, uri: object) -> "_Connecting":
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._connect(factory))

    def abort(self) -> None:
        if self._connection is not None and self._connection.connected:
            self._connection.transport.abortConnection()

    async def _connect(self, factory: Any) -> Any:
        metering: Any = WrappingFactory(factory)
        metering.protocol = _Metered
        metering.noisy = False
        self._connection = await self._endpoint.connect(metering)
        return self._connection.wrappedProtocol


def _certificates(path: Path) -> list[Certificate]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found: list[Certificate] = []
    for file in files:
        try:
            found += map(_certificate, x509.load_pem_x509_certificates(file.read_bytes()))
        except ValueError:
            if not path.is_dir():
                raise CallFailed(f"the trust roots {file} are not PEM certificates") from None
    return found


def _certificate(certificate: x509.Certificate) -> Certificate:
    loaded: Certificate = Certificate.load(certificate.public_bytes(Encoding.DER))
    return loaded


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200].rstrip(".")
