"""RFC 6120 §4-6 as the server that begins: one outgoing stream, from its first byte until it may carry stanzas.

Header, STARTTLS (always), then proof of who we are: SASL EXTERNAL where the peer offers it (XEP-0178), else dialback
inside TLS (XEP-0220). We judge the peer in turn: its certificate must be valid for the domain that we dialled,
whatever name DNS led to; without that the stream is worth no more than ``Proof.DIALBACK``, and nothing at all if
this node's policy is "never".

Where the peer offers it, it may send to us on the same stream (XEP-0288): what it then sends is as good as what it has
proved, and goes the way of what comes on its own streams. And where it offers to count stanzas (XEP-0198), it does.

As soon as a stream is safe from being restarted, other streams may use it to ask whether a key is genuine, even
before our own proof is through: two servers that dial each other would otherwise wait for each other for ever.
"""

import base64
from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.defer import Deferred

from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp import acknowledging, dialback, negotiation, tls
from microblog.xmpp.acknowledging import Acknowledging
from microblog.xmpp.carrier import Carrier
from microblog.xmpp.dialback import Dialback, DialbackFailed
from microblog.xmpp.reception import Reception
from microblog.xmpp.recognition import Recognition
from microblog.xmpp.resolve import Address, Unreachable
from microblog.xmpp.s2s import Federation, header_domain, leave, mechanisms, peer_error
from microblog.xmpp.stream import Header, Stream, StreamClosed

VERIFICATIONS_MAX: Final = 32
# What a peer says when the domain is not, or no longer, its own (RFC 6120 §4.9.3).
_NOT_THERE: Final = frozenset(("host-unknown", "host-gone"))


class Refused(Unreachable):
    """A server was reached and the stream could not be negotiated: another address will not do better."""


class Outgoing(Carrier):
    """One outgoing stream. ``on_secured`` is called when ``verify`` may be used.

    ``reception`` takes what the peer sends; without one the stream goes one way. ``bounce`` is for `Acknowledging`.
    """

    def __init__(
        self,
        federation: Federation,
        domain: str,
        address: Address,
        on_secured: "Callable[[Outgoing], None]",
        reception: Reception | None,
        bounce: Callable[[Stanza], None],
    ) -> None:
        self.address = address
        self.heard = 0.0  # when the last stanza came
        self.is_retired = False  # we closed it, and not because anything was wrong
        self._federation = federation
        self._on_secured = on_secured
        self._reception = reception
        self._two_way = False
        self._is_another = False
        self._secured = False
        self._header: Header | None = None
        self._verifications: dict[str, Deferred[bool]] = {}
        self._enabling: Deferred[bool] | None = None
        limits = federation.limits
        stream = Stream(
            clock=federation.clock,
            limits=limits,
            content=ns.SERVER,
            stanza_max_bytes=limits.s2s_stanza_max_bytes,
            initiating=True,
            name=federation.domain,
        )
        self._recognition = Recognition(stream, federation.tasks)
        super().__init__(federation, domain, stream, Acknowledging(stream, federation, self._settled, bounce))

    @property
    def where(self) -> str:
        """The address, for people."""
        return str(self.address)

    @property
    def is_two_way(self) -> bool:
        """True if the peer may send on it."""
        return self._two_way

    async def negotiate(self) -> None:
        """Come to the point where stanzas may be sent. Raises Unreachable; the stream is then closed."""
        try:
            self.stream.deadline(self._federation.limits.s2s_auth_seconds)
            await self._negotiate()
        except StreamError as error:
            self.stream.fail(error)
            reason = f"{error.condition}: {error.text}" if error.text else error.condition
            raise Refused(reason, permanent=self._is_another) from error
        except StreamClosed as error:
            raise Refused(f"the stream ended while it was negotiated: {error.reason}") from error
        except BaseException:
            leave(self.stream)
            raise

    async def verify(self, stream_id: str, key: str) -> bool:
        """Ask the peer whether it made a key for a stream to us (XEP-0220 §2.1.2). Raises DialbackFailed."""
        if len(self._verifications) >= VERIFICATIONS_MAX or stream_id in self._verifications:
            raise DialbackFailed("resource-constraint")
        if self.ended is not None:
            raise DialbackFailed("remote-server-timeout")
        answer: Deferred[bool] = Deferred()
        self._verifications[stream_id] = answer
        try:
            ours = self._federation.domain
            self.stream.write(Dialback("verify", ours, self.domain, stream_id, key=key).to_bytes())
            return await self._federation.clock.deadline(answer, self._federation.limits.s2s_auth_seconds)
        except TimeoutError as error:
            raise DialbackFailed("remote-server-timeout") from error
        finally:
            del self._verifications[stream_id]

    # the negotiation

    async def _negotiate(self) -> None:
        federation = self._federation
        if self.address.direct_tls:
            await self._start_tls()
        features = await self._open()
        if self.stream.tls is None:
            if features.find(ns.TLS, "starttls") is None:
                raise StreamError("policy-violation", "this node speaks to servers over TLS only")
            self.stream.send(Element(ns.TLS, "starttls"))
            if not (await self._next()).is_(ns.TLS, "proceed"):
                raise Refused("the peer refused TLS")
            await self._start_tls()
            features = await self._open()
        self.judge()
        if not self.is_certified and federation.dialback == "never":
            shown = self.stream.tls
            # Valid, and for others: the domain may have another owner. Waiting does not heal that.
            self._is_another = shown is not None and shown.certificate is not None and not shown.verify_errors
            raise StreamError("policy-violation", self.doubt)
        if self._reception is not None and features.find(ns.BIDI_FEATURE, "bidi") is not None:
            self._two_way = True
            self.stream.send(negotiation.bidirectional(federation.limits))
        if "EXTERNAL" in mechanisms(features) and await self._external():
            features = await self._open()
        else:
            await self._dialback(features)
        self.read_limits(features)
        self.stream.authenticated()
        if self._reception is not None and self._two_way:
            self._reception.let_send(self.stream, self.domain)
            if self.is_certified:
                self._recognition.begin(self.domain, self.key, self._reception.recognises)
        self.stream.on_stanza = self._received
        self._be_secured()
        if features.find(ns.STREAM_MANAGEMENT, "sm") is not None:
            await self._count()

    async def _start_tls(self) -> None:
        context = self._federation.certificates.client_context()
        direct = self.address.direct_tls
        alpn = tls.XMPP_SERVER if direct else None
        try:
            await self.stream.start_tls(context, server=False, name=self.domain, alpn=alpn)
        except StreamClosed as error:
            if direct:  # perhaps another service answers on that port (XEP-0368 §3): the next target may do
                raise Unreachable(f"{self.address}: {error.reason}") from error
            raise

    async def _open(self) -> Element:
        """Exchange headers, check who answers, and read the features."""
        self.stream.send_header(to=self.domain, from_=self._federation.domain)
        header = await self.stream.read_header()
        if header_domain(header.from_) not in (None, self.domain):
            raise StreamError("invalid-from", "the answer comes from another domain than was asked for")
        if header_domain(header.to) not in (None, self._federation.domain):
            raise StreamError("improper-addressing", "the answer is meant for another domain")
        if not header.id:
            raise StreamError("bad-format", "a stream has an id")
        if header.version is None:
            raise StreamError("unsupported-version", "a server without stream features cannot do TLS")
        self._header = header
        features = await self._next()
        if not features.is_(ns.STREAM, "features"):
            raise StreamError("bad-format", "stream features are due")
        return features

    async def _external(self) -> bool:
        """Prove our domain by our certificate (XEP-0178 §3); False if the peer thinks otherwise."""
        authzid = base64.b64encode(self._federation.domain.encode()).decode()
        self.stream.send(Element(ns.SASL, "auth", {"mechanism": "EXTERNAL"}, authzid))
        answer = await self._next()
        if answer.is_(ns.SASL, "challenge"):
            self.stream.send(Element(ns.SASL, "response", None, authzid))
            answer = await self._next()
        if answer.is_(ns.SASL, "failure"):
            return False
        if not answer.is_(ns.SASL, "success"):
            raise StreamError("bad-format", "the outcome of the authentication is due")
        self.stream.restart()
        return True

    async def _dialback(self, features: Element) -> None:
        """Prove our domain by dialback (XEP-0220 §2.1.1)."""
        if self._federation.dialback == "never":
            raise StreamError("policy-violation", "this certificate was not accepted and dialback is not used here")
        assert self._header is not None and self._header.id is not None
        if not self._header.dialback and features.find(ns.DIALBACK_FEATURE, "dialback") is None:
            raise StreamError("policy-violation", "neither this certificate nor dialback is accepted")
        ours = self._federation.domain
        key = self._federation.keys.key(receiving=self.domain, originating=ours, stream_id=self._header.id)
        self._be_secured()
        self.stream.write(Dialback("result", ours, self.domain, key=key).to_bytes())
        while True:
            element = await self._next()
            if not dialback.is_dialback(element):
                continue
            outcome = self._answer(element)
            if outcome is None or outcome.name != "result":
                continue
            if outcome.type == "valid":
                return
            raise Refused(f"dialback: {outcome.condition or outcome.type}")

    async def _count(self) -> None:
        """Have stanzas counted (XEP-0198 §3). What the peer sends meanwhile is taken as ever."""
        if self.ended is not None:
            raise StreamClosed(self.ended)
        self._enabling = Deferred()
        self.stream.send(acknowledging.ENABLE)
        try:
            if await self._enabling:
                self.acks.start()
        finally:
            self._enabling = None

    async def _next(self) -> Element:
        """The next element that is neither an answer for ``verify`` nor the peer's farewell."""
        while True:
            element = await self.stream.read()
            if element.is_(ns.STREAM, "error"):
                condition, text = peer_error(element)
                raise Refused(f"{condition}: {text}" if text else condition, permanent=condition in _NOT_THERE)
            if dialback.is_dialback(element) and element.name == "verify":
                self._received(element)
                continue
            return element

    def _be_secured(self) -> None:
        if not self._secured:
            self._secured = True
            self._on_secured(self)

    # what the peer says on our stream

    def _received(self, element: Element) -> Awaitable[None] | None:
        if negotiation.is_stanza(element):
            return self._take(element)
        if element.is_(ns.STREAM, "error"):
            condition, text = peer_error(element)
            self.stream.log.info("The peer ended the stream: {condition} {text}", condition=condition, text=text)
            self.stream.close()
        elif element.uri == ns.STREAM_MANAGEMENT:
            if self._enabling is not None and element.name in ("enabled", "failed"):
                if not self._enabling.called:
                    self._enabling.callback(element.name == "enabled")
            else:
                self.acks.take(element)
        elif not dialback.is_dialback(element):
            raise StreamError("unsupported-stanza-type")
        elif (answer := self._answer(element)) is not None and answer.name == "verify":
            waiting = self._verifications.get(answer.id)
            if waiting is None or waiting.called:
                return None
            if answer.type == "error":
                waiting.errback(DialbackFailed("remote-server-not-found"))
            else:
                waiting.callback(answer.type == "valid")
        return None

    def _take(self, element: Element) -> Awaitable[None]:
        if self._reception is None or not self._two_way or self.proof is None:
            raise StreamError("not-authorized", "stanzas go the other way on this stream")
        self.heard = self._clock.monotonic()
        self.acks.received += 1
        return self._reception.take(element, {self.domain: self.proof}, self._recognition)

    async def _settled(self) -> None:
        if self._reception is not None:
            await self._recognition.settled()
            await self._reception.settled((self.domain,))

    def _answer(self, element: Element) -> Dialback | None:
        """An answer of this peer to us; anything else was not asked for and is ignored (§3.1)."""
        try:
            answer = dialback.read(element)
        except dialback.DialbackMalformed:
            return None
        ours = self._federation.domain
        if answer.type is None and self._two_way:
            # XEP-0288 §2.2: it may ask to send for more domains, and hear that one is enough.
            self.stream.write(answer.answer("error", "not-acceptable").to_bytes())
        return answer if answer.type and (answer.from_, answer.to) == (self.domain, ours) else None

    def _closed(self, reason: str) -> None:
        self.ended = reason
        for waiting in list(self._verifications.values()):
            if not waiting.called:
                waiting.errback(DialbackFailed("remote-server-timeout"))
        if self._enabling is not None and not self._enabling.called:
            self._enabling.errback(StreamClosed(reason))
        super()._closed(reason)
