"""RFC 6120 §4.7, §5, §6: what is said before the first stanza, as values.

Headers are checked here, features are made here, and SASL gets its frame: what a mechanism computes is in
``microblog.xmpp.sasl``, how its messages travel, how often somebody may try and how long a failure takes is here.
"""

import base64
import binascii
import re
from collections.abc import Callable, Collection, Iterable
from typing import Final

from microblog.config import Limits
from microblog.model import jid
from microblog.model.errors import JIDMalformed
from microblog.runtime import Clock
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element
from microblog.xmpp.admission import LoginFailures
from microblog.xmpp.sasl import Attempt, SaslFailure, Success
from microblog.xmpp.stream import Header, Stream

KINDS: Final = frozenset(("iq", "message", "presence"))
_VERSION: Final = re.compile(r"0*([1-9][0-9]*)\.[0-9]+\Z")


def check_header(header: Header, domain: str) -> None:
    """Check whom a stream header is for, and its version (§4.7.1, §4.7.5). Raises StreamError."""
    if header.to is None:
        raise StreamError("improper-addressing", "the stream header says to whom")
    try:
        to = jid.domain(header.to)
    except JIDMalformed as error:
        raise StreamError("improper-addressing", "the stream header names something that is no domain") from error
    if to != domain:
        raise StreamError("host-unknown")
    if header.version is None or not _VERSION.match(header.version):
        raise StreamError("unsupported-version")


def is_stanza(element: Element) -> bool:
    """True for iq, message and presence."""
    return element.uri == ns.CLIENT and element.name in KINDS


def refuse(element: Element, condition: str) -> StreamError:
    """The error for an element that has no place here: ``condition`` if it is a stanza."""
    return StreamError(condition if is_stanza(element) else "unsupported-stanza-type")


# features


def features(*children: Element | None) -> Element:
    """Stream features."""
    return Element(ns.STREAM, "features", None, *children)


def starttls() -> Element:
    """TLS, required (§5.3.1)."""
    return Element(ns.TLS, "starttls", None, Element(ns.TLS, "required"))


def mechanisms(names: Iterable[str]) -> Element:
    """SASL mechanisms, the best first (§6.3.3)."""
    return Element(ns.SASL, "mechanisms", None, *(Element(ns.SASL, "mechanism", None, name) for name in names))


def channel_bindings(types: Iterable[str]) -> Element:
    """XEP-0440: the types of channel binding we can check."""
    children = (Element(ns.CHANNEL_BINDING, "channel-binding", {"type": type_}) for type_ in types)
    return Element(ns.CHANNEL_BINDING, "sasl-channel-binding", None, *children)


def stream_limits(max_bytes: int, idle_seconds: int | None) -> Element:
    """XEP-0478: what we take."""
    limits = Element(ns.LIMITS, "limits", None, Element(ns.LIMITS, "max-bytes", None, str(max_bytes)))
    if idle_seconds is not None:
        limits.append(Element(ns.LIMITS, "idle-seconds", None, str(idle_seconds)))
    return limits


def bidirectional(limits: Limits) -> Element:
    """XEP-0288: whoever is called may send as well; XEP-0478 §2.2: and so much."""
    return Element(ns.BIDI, "bidi", None, stream_limits(limits.s2s_stanza_max_bytes, limits.s2s_idle_seconds))


# SASL


class Authentication:
    """Lets a client try to log in on one stream, in the frame of RFC 6120 §6.4."""

    def __init__(
        self,
        stream: Stream,
        clock: Clock,
        limits: Limits,
        failures: LoginFailures,
        offered: Collection[str],
        begin: Callable[[str], Attempt],
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._limits = limits
        self._failures = failures
        self._offered = offered
        self._begin = begin
        self._tries = 0

    async def try_(self, auth: Element) -> str | None:
        """Work off an ``<auth/>``: the localpart of who logged in, or None if it failed and was told so.

        Raises StreamError when it was one try too many, StreamClosed.
        """
        if self._tries >= self._limits.sasl_tries_per_stream:
            raise StreamError("policy-violation", "too many tries to log in")
        self._tries += 1
        host = self._stream.host
        localpart = None
        try:
            if self._failures.refused(host):
                raise SaslFailure("temporary-auth-failure")
            name = auth.get("mechanism")
            if name is None or name not in self._offered:
                raise SaslFailure("invalid-mechanism")
            attempt = self._begin(name)
            data = _decoded(auth.text) if auth.children else await self._challenge(b"")
            while True:
                try:
                    step = await attempt.step(data)
                finally:
                    localpart = attempt.localpart
                    delay = self._failures.delay(localpart)
                    if delay:
                        await self._clock.sleep(delay)
                if isinstance(step, Success):
                    self._stream.send(Element(ns.SASL, "success", None, _encoded(step.data) if step.data else None))
                    return step.localpart
                data = await self._challenge(step.data)
        except SaslFailure as failure:
            if failure.condition == "not-authorized":
                self._failures.failed(host, localpart)
            self._stream.log.debug("{log_source}: login failed, {condition}", condition=failure.condition)
            self._stream.send(Element(ns.SASL, "failure", None, Element(ns.SASL, failure.condition)))
            return None

    async def _challenge(self, data: bytes) -> bytes:
        self._stream.send(Element(ns.SASL, "challenge", None, _encoded(data) if data else None))
        element = await self._stream.read()
        if element.uri != ns.SASL:
            raise refuse(element, "not-authorized")
        if element.name == "response":
            return _decoded(element.text)
        raise SaslFailure("aborted" if element.name == "abort" else "malformed-request")


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    """§6.4.2: an empty message is written as an equals sign."""
    if text == "=":
        return b""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise SaslFailure("incorrect-encoding") from None
