"""One stream between servers as the way to a domain, whoever opened it (XEP-0288 lets either side send).

What the domain has proved here is what its certificate on this very connection proves: a dialback key may have been
vouched for under a certificate, but who carried it need not be who holds that certificate.
"""

import hashlib
from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred

from microblog.model.item import Proof
from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp import tls
from microblog.xmpp.acknowledging import Acknowledging
from microblog.xmpp.resolve import Unreachable
from microblog.xmpp.s2s import Federation, why_not_trusted
from microblog.xmpp.stream import Stream


def key_of(stream: Stream) -> str:
    """SHA-256 of the key in the peer's certificate, in hexadecimal, whatever it proves; nothing without one."""
    info = stream.tls
    if info is None or info.certificate is None:
        return ""
    try:
        public = info.certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return ""
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


class Carrier:
    """One stream that carries, or will carry, stanzas to a domain."""

    def __init__(self, federation: Federation, domain: str, stream: Stream, acks: Acknowledging) -> None:
        self.domain = domain
        self.stream = stream
        self.acks = acks
        self.proof: Proof | None = None
        self.doubt = ""  # why it is not Proof.CERTIFICATE
        self.max_bytes: int | None = None
        self.idle_seconds: int | None = None
        self.ended: str | None = None
        self.barriers: set[Deferred[Stanza]] = set()
        self.used = federation.clock.monotonic()
        self._clock = federation.clock
        self.on_end: list[Callable[[Carrier], None]] = []
        stream.on_closed.append(self._closed)

    @property
    def where(self) -> str:
        """The address, for people."""
        return self.stream.peer

    def judge(self) -> None:
        """See what the peer's certificate proves."""
        info = self.stream.tls
        assert info is not None
        trusted = tls.trusted_for(info, self.domain)
        self.proof = Proof.CERTIFICATE if trusted else Proof.DIALBACK
        self.doubt = "" if trusted else why_not_trusted(info, self.domain)

    @property
    def is_certified(self) -> bool:
        """True if it leads to who it should by certificate."""
        return self.proof is Proof.CERTIFICATE

    @property
    def key(self) -> str:
        """SHA-256 of the key in the peer's certificate, in hexadecimal; nothing if it proves nothing."""
        return key_of(self.stream) if self.is_certified else ""

    def read_limits(self, parent: Element) -> None:
        """XEP-0478: what the peer takes, and how long it keeps a stream on which nothing comes."""
        limits = parent.find(ns.LIMITS, "limits")
        if limits is not None:
            # RFC 6120 §13.12: below 10,000 bytes it is no XMPP server; a nonsensical limit is none.
            self.max_bytes = _number(limits.child_text(ns.LIMITS, "max-bytes"), 10_000)
            self.idle_seconds = _number(limits.child_text(ns.LIMITS, "idle-seconds"), 1)

    def write(self, data: bytes, stanza: Stanza | None = None) -> None:
        """Send a stanza; ``stanza`` is given if its sender is to hear of it when nobody confirms it."""
        self.used = self._clock.monotonic()
        self.acks.write(data, stanza)

    async def ending(self) -> None:
        """Return when the stream has ended."""
        if self.ended is None:
            waiting: Deferred[None] = Deferred(lambda it: None)
            self.on_end.append(lambda _: None if waiting.called else waiting.callback(None))
            await waiting

    def _closed(self, reason: str) -> None:
        self.ended = reason
        for barrier in list(self.barriers):
            if not barrier.called:
                barrier.errback(Unreachable(reason))
        on_end, self.on_end = self.on_end, []
        for function in on_end:
            function(self)


def _number(text: str | None, least: int) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and int(text[:12]) >= least else None
