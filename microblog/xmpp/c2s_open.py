"""RFC 6120 §4-7 as the client that begins: from the first byte to a bound resource.

For programs of ours that hold a stream to a node as clients do. TLS always; the certificate has to prove the domain of
the account, whatever name DNS led to, unless its fingerprint was pinned; SCRAM only, so that nobody is ever shown the
password.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Final

from OpenSSL import SSL

from microblog.config import Limits
from microblog.model.jid import JID
from microblog.model.password import readings
from microblog.runtime import Clock
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element
from microblog.xmpp import tls
from microblog.xmpp.s2s import leave, peer_error
from microblog.xmpp.scram import Scram, ScramFailed, choose
from microblog.xmpp.stream import Stream, StreamClosed

SERVICES: Final = ("_xmpp-client", "_xmpps-client")
PORT: Final = 5222
_BIND_ID: Final = "bind"


class LoginFailed(Exception):
    """No stream for this account; ``permanent`` if trying again is of no use until somebody changes something."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


class Login:
    """Makes a connected stream one of an account.

    ``fingerprint``: SHA-256 of the only certificate that is taken, in hexadecimal; empty: one that proves the domain.
    ``derive`` runs what takes milliseconds in a thread.
    """

    def __init__(
        self,
        account: JID,
        password: str,
        context: SSL.Context,
        derive: Callable[[Callable[[bytes], bytes], bytes], Awaitable[bytes]],
        *,
        fingerprint: str = "",
        resource: str = "",
    ) -> None:
        self.account = account
        self._password = (readings(password) or (password,))[0]
        self._context = context
        self._derive = derive
        self._fingerprint = fingerprint
        self._resource = resource

    def stream(self, clock: Clock, limits: Limits) -> Stream:
        """A stream to connect with, and then to hand to ``log_in``."""
        return Stream(
            clock=clock,
            limits=limits,
            content=ns.CLIENT,
            stanza_max_bytes=limits.c2s_stanza_max_bytes,
            initiating=True,
        )

    async def log_in(self, stream: Stream, *, direct_tls: bool) -> JID:
        """The address that was bound. Raises LoginFailed; the stream is then closed."""
        try:
            stream.deadline(stream.limits.c2s_auth_seconds)
            return await self._log_in(stream, direct_tls)
        except StreamError as error:
            stream.fail(error)
            raise LoginFailed(error.text or error.condition) from error
        except StreamClosed as error:
            raise LoginFailed(f"the stream ended: {error.reason}") from error
        except ScramFailed as error:
            leave(stream)
            raise LoginFailed(str(error), permanent=True) from error
        except BaseException:
            leave(stream)
            raise

    async def _log_in(self, stream: Stream, direct_tls: bool) -> JID:
        domain = self.account.domainpart
        if direct_tls:
            await stream.start_tls(self._context, server=False, name=domain, alpn=tls.XMPP_CLIENT)
        else:
            features = await self._open(stream)
            if features.find(ns.TLS, "starttls") is None:
                raise LoginFailed("the server offers no TLS", permanent=True)
            stream.send(Element(ns.TLS, "starttls"))
            if not (await self._read(stream)).is_(ns.TLS, "proceed"):
                raise LoginFailed("the server refuses TLS")
            await stream.start_tls(self._context, server=False, name=domain)
        self._judge(stream)
        await self._authenticate(stream, await self._open(stream))
        stream.restart()
        features = await self._open(stream)
        if features.find(ns.BIND, "bind") is None:
            raise LoginFailed("the server binds no resource")
        bound = await self._bind(stream)
        stream.authenticated()
        return bound

    async def _open(self, stream: Stream) -> Element:
        stream.send_header(to=self.account.domainpart, from_=None)
        await stream.read_header()
        features = await self._read(stream)
        if not features.is_(ns.STREAM, "features"):
            raise LoginFailed("the server does not say what it offers")
        return features

    async def _read(self, stream: Stream) -> Element:
        element = await stream.read()
        if element.is_(ns.STREAM, "error"):
            condition, text = peer_error(element)
            reason = f"{condition}: {text}" if text else condition
            raise LoginFailed(reason, permanent=condition in ("host-unknown", "host-gone"))
        return element

    def _judge(self, stream: Stream) -> None:
        info, domain = stream.tls, self.account.domainpart
        assert info is not None
        if self._fingerprint:
            if tls.fingerprint(info) != self._fingerprint:
                raise LoginFailed(f"the certificate is another one: its fingerprint is {tls.fingerprint(info)}")
        elif not tls.trusted_for(info, domain, SERVICES[0]):
            raise LoginFailed(
                f"the certificate does not prove {domain}; if you know it, pin it: {tls.fingerprint(info)}",
                permanent=True,
            )

    async def _authenticate(self, stream: Stream, features: Element) -> None:
        mechanisms = features.find(ns.SASL, "mechanisms")
        offered = _texts(mechanisms, ns.SASL, "mechanism", None)
        bindings = _texts(
            features.find(ns.CHANNEL_BINDING, "sasl-channel-binding"), ns.CHANNEL_BINDING, "channel-binding", "type"
        )
        info = stream.tls
        # RFC 9266 §4.2: in TLS 1.2 the exporter is good only with an extension that we cannot see.
        exporter = info.exporter() if info is not None and info.version == "TLSv1.3" else None
        mechanism = choose(offered, bindings, exporter)
        if mechanism is None:
            raise LoginFailed("the server offers no SCRAM to log in with", permanent=True)
        scram = Scram(mechanism, self.account.localpart, self._password, offered=offered, exporter=exporter)
        stream.send(Element(ns.SASL, "auth", {"mechanism": mechanism}, _encoded(scram.first)))
        challenge = await self._step(stream, "challenge")
        stream.send(Element(ns.SASL, "response", None, _encoded(await self._derive(scram.answer, challenge))))
        final = await self._read(stream)
        if final.is_(ns.SASL, "challenge"):
            # What the server proves may come before its success, which is then empty.
            scram.verify(_decoded(final))
            stream.send(Element(ns.SASL, "response"))
            await self._step(stream, "success", final=True)
        else:
            scram.verify(self._expected(final, "success"))

    async def _step(self, stream: Stream, name: str, *, final: bool = False) -> bytes:
        element = await self._read(stream)
        data = self._expected(element, name)
        return b"" if final else data

    def _expected(self, element: Element, name: str) -> bytes:
        if element.is_(ns.SASL, name):
            return _decoded(element)
        if element.is_(ns.SASL, "failure"):
            condition = next((child.name for child in element.elements() if child.name != "text"), "failure")
            if condition == "not-authorized":
                raise LoginFailed(f"the password of {self.account} is another one", permanent=True)
            raise LoginFailed(f"the server does not let us log in: {condition}")
        raise LoginFailed("the server says something else while we log in")

    async def _bind(self, stream: Stream) -> JID:
        resource = Element(ns.BIND, "resource", None, self._resource) if self._resource else None
        payload = Element(ns.BIND, "bind", None, resource)
        stream.send(Element(ns.CLIENT, "iq", {"type": "set", "id": _BIND_ID}, payload))
        while True:
            element = await self._read(stream)
            if element.is_(ns.CLIENT, "iq") and element.get("id") == _BIND_ID:
                break
        bind = element.find(ns.BIND, "bind")
        text = bind.child_text(ns.BIND, "jid") if bind is not None else None
        if element.get("type") != "result" or not text:
            raise LoginFailed("the server binds no resource")
        try:
            bound = JID.parse(text)
        except ValueError:
            raise LoginFailed("the server bound what is no address") from None
        if bound.bare != self.account:
            raise LoginFailed(f"the server bound {bound}")
        return bound


def _texts(parent: Element | None, uri: str, name: str, attribute: str | None) -> list[str]:
    if parent is None:
        return []
    return [(child.text if attribute is None else child.get(attribute)) or "" for child in parent.find_all(uri, name)]


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(element: Element) -> bytes:
    try:
        return base64.b64decode(element.text.strip().encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ScramFailed("the server's challenge is malformed") from None
