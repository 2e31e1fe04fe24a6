"""RFC 6120 §4-6 as the server that is called: one incoming stream, and which domains it may speak for.

TLS comes first. Then a domain is proved in one of two ways: SASL EXTERNAL for the domain of the stream header, when
the peer's certificate is valid for it (XEP-0178); or dialback, for any domain, any number of times on one stream
(XEP-0220): we ask the domain itself whether the key is its own. A claim made by dialback under a certificate that is
valid for that domain needs no question. A claim that fails harms neither the stream nor the domains proved on it.

From then on stanzas of proved domains are taken (``reception``), once it is known whose key that is (``recognition``).
A peer that wants it has them counted (XEP-0198); and
if it lets us send as well (XEP-0288), the stream is a way to each of its proved domains, nobody needs to dial them.

Questions about our own keys are answered at any time after TLS: they need no proof, and no memory either.
"""

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.model import jid
from microblog.model.errors import JIDMalformed
from microblog.model.item import Proof
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element
from microblog.xmpp import acknowledging, dialback, negotiation, tls
from microblog.xmpp.acknowledging import Acknowledging
from microblog.xmpp.carrier import Carrier, key_of
from microblog.xmpp.dialback import Dialback, DialbackFailed
from microblog.xmpp.recognition import Recognition
from microblog.xmpp.s2s import header_domain, leave, peer_error, why_not_trusted
from microblog.xmpp.stream import Stream, StreamClosed

if TYPE_CHECKING:
    from microblog.xmpp.s2s_in import ServerStreams

PAIRS_MAX: Final = 64  # on one stream
CLAIMS_MAX: Final = 8  # on one stream, waiting for an answer


class Incoming:
    """One incoming stream.

    ``proofs``: the domains it may speak for to ours, and how each was proved. ``carriers``: ways back to them.
    """

    log = Logger()

    def __init__(self, streams: "ServerStreams", stream: Stream, on_settled: Callable[[], None]) -> None:
        self.stream = stream
        self.proofs: dict[str, Proof] = {}
        self.carriers: dict[str, Carrier] = {}
        self._streams = streams
        self._federation = streams.federation
        self._domain = streams.federation.domain
        self.began = self.used = streams.federation.clock.monotonic()
        self._peer: str | None = None  # the domain in the stream header: a claim, not a proof
        self._claimed: set[str] = set()  # domains whose key is being verified
        self._tries = 0
        self._on_settled: Callable[[], None] | None = on_settled
        self._bidi: Element | None = None  # what allows us to send
        self._recognition = Recognition(stream, streams.federation.tasks)
        self.acks = Acknowledging(stream, streams.federation, self._all_done, streams.servers.unconfirmed)

    async def _all_done(self) -> None:
        await self._recognition.settled()
        await self._streams.reception.settled(self.proofs)

    def settled(self) -> None:
        """No stranger any more: it has proved a domain, or is gone."""
        on_settled, self._on_settled = self._on_settled, None
        if on_settled is not None:
            on_settled()

    @property
    def last_used(self) -> float:
        """When the last stanza came or went."""
        return max(self.used, *(carrier.used for carrier in self.carriers.values()), self.began)

    async def serve(self, direct_tls: bool) -> None:
        """From the connection to the first proved domain; after that ``_element`` is called for what comes."""
        try:
            self.stream.deadline(self._federation.limits.s2s_auth_seconds)
            await self._secure(direct_tls)
            await self._open()
            self._offer()
            while not self.proofs:
                element = await self.stream.read()
                if element.is_(ns.SASL, "auth"):
                    await self._external(element)
                else:
                    await self._element(element)
            self.stream.on_stanza = self._element
        except StreamError as error:
            self.stream.fail(error)
        except StreamClosed:
            pass
        except CancelledError:
            self.stream.fail(StreamError("system-shutdown"))
            raise
        except Exception:
            self.log.failure("A server's stream failed: {stream}", stream=self.stream)
            self.stream.fail(StreamError("internal-server-error"))

    # the negotiation

    async def _secure(self, direct_tls: bool) -> None:
        context = self._federation.certificates.server_context(s2s=True)
        if not direct_tls:
            await self._open()
            self.stream.send(negotiation.features(negotiation.starttls()))
            await self._read_starttls()
            self.stream.send(Element(ns.TLS, "proceed"))
        await self.stream.start_tls(context, server=True, alpn=tls.XMPP_SERVER if direct_tls else None)

    async def _read_starttls(self) -> None:
        while True:
            element = await self.stream.read()
            if element.is_(ns.TLS, "starttls"):
                return
            if element.is_(ns.SASL, "auth"):
                self.stream.send(Element(ns.SASL, "failure", None, Element(ns.SASL, "encryption-required")))
            elif dialback.is_dialback(element):
                self._answer_dialback(element, lambda asked: asked.answer("error", "policy-violation"))
            elif element.is_(ns.STREAM, "error"):
                self._farewell(element)
            else:
                raise negotiation.refuse(element, "policy-violation")

    async def _open(self) -> None:
        """Read the peer's header and answer it."""
        header = await self.stream.read_header()
        negotiation.check_header(header, self._domain)
        peer = header_domain(header.from_)
        if peer == self._domain:
            raise StreamError("invalid-from", "that is this node")
        if self._peer is not None and peer not in (None, self._peer):
            raise StreamError("not-authorized", "the domain of a stream does not change")
        if peer is not None and self._federation.refuses(peer):
            raise StreamError("policy-violation", f"this node does not speak with {peer}")
        self._peer = peer or self._peer
        self.stream.send_header(to=self._peer, from_=self._domain)

    def _offer(self) -> None:
        """The features under TLS. A stream that nothing could come of is refused at once."""
        features = negotiation.features()
        if not self.proofs and self._external_offered():
            features.append(negotiation.mechanisms(("EXTERNAL",)))
        elif not self.proofs:
            why = self._why_not()
            if self._federation.dialback == "never":
                raise StreamError("not-authorized", why)
            self.stream.log.info("{domain} has to prove itself by dialback: {why}", domain=self._peer, why=why)
        if self._federation.dialback != "never":
            errors = Element(ns.DIALBACK_FEATURE, "errors")
            features.append(Element(ns.DIALBACK_FEATURE, "dialback", None, errors))
        limits = self._federation.limits
        features.append(negotiation.stream_limits(limits.s2s_stanza_max_bytes, limits.s2s_idle_seconds))
        if not self.proofs:
            features.append(Element(ns.BIDI_FEATURE, "bidi"))
        if self.proofs or not self._external_offered():
            # Dialback is followed by no features of its own.
            features.append(acknowledging.FEATURE)
        self.stream.send(features)

    def _external_offered(self) -> bool:
        return self._peer is not None and self._trusted(self._peer)

    def _why_not(self) -> str:
        if self._peer is None or self.stream.tls is None:
            return "the stream header does not say who you are"
        return why_not_trusted(self.stream.tls, self._peer)

    def _trusted(self, domain: str) -> bool:
        return self.stream.tls is not None and tls.trusted_for(self.stream.tls, domain)

    async def _external(self, auth: Element) -> None:
        """XEP-0178 §3: the certificate is the proof, for the domain of the header and for no other."""
        peer = self._peer
        if auth.get("mechanism") != "EXTERNAL" or peer is None or not self._trusted(peer):
            self._fail_sasl("invalid-mechanism")
            return
        try:
            authzid = base64.b64decode(text.encode(), validate=True) if (text := auth.text) not in ("", "=") else b""
        except (binascii.Error, UnicodeError):
            self._fail_sasl("incorrect-encoding")
            return
        if authzid and not _is_domain(authzid, peer):
            self._fail_sasl("not-authorized")
            leave(self.stream)
            raise StreamClosed("the peer asked for another domain than its certificate has")
        self.stream.send(Element(ns.SASL, "success"))
        self.stream.restart()
        await self._open()
        self.proofs[peer] = Proof.CERTIFICATE
        self._offer()
        self._admitted(peer, key_of(self.stream))

    def _fail_sasl(self, condition: str) -> None:
        self.stream.send(Element(ns.SASL, "failure", None, Element(ns.SASL, condition)))
        self._tries += 1
        if self._tries >= self._federation.limits.sasl_tries_per_stream:
            raise StreamError("policy-violation", "too many attempts to authenticate")

    def _admit(self, claim: Dialback, proof: Proof, key: str) -> None:
        self.proofs[claim.from_] = proof
        self.stream.write(claim.answer("valid").to_bytes())
        self._admitted(claim.from_, key)

    def _admitted(self, domain: str, key: str) -> None:
        """A domain is proved, by a certificate with that key if by one, and knows it: now it may be sent something."""
        self.stream.authenticated()
        self.settled()
        self.stream.log.info("Stream from {domain}, proof: {proof}", domain=domain, proof=self.proofs[domain])
        self._streams.reception.let_send(self.stream, domain)
        self._carry(domain)
        self._streams.admitted(domain, self)
        if self.proofs[domain] is Proof.CERTIFICATE:
            self._recognition.begin(domain, key, self._streams.reception.recognises)

    def _carry(self, domain: str) -> None:
        """Use the stream for what goes to a domain, if that is allowed."""
        if self._bidi is not None and domain not in self.carriers:
            carrier = self.carriers[domain] = Carrier(self._federation, domain, self.stream, self.acks)
            carrier.judge()
            carrier.read_limits(self._bidi)
            self._streams.servers.returning(carrier)

    # what comes

    async def _element(self, element: Element) -> None:
        self.used = self._federation.clock.monotonic()
        if negotiation.is_stanza(element):
            if not self.proofs:
                raise StreamError("not-authorized", "no domain is proved on this stream yet")
            self.acks.received += 1
            await self._streams.reception.take(element, self.proofs, self._recognition, self._claimed)
        elif element.uri == ns.STREAM_MANAGEMENT:
            self._manage(element)
        elif self.stream.closed:
            return  # what was on its way when we closed is still taken, nothing new is begun
        elif dialback.is_dialback(element):
            self._answer_dialback(element, self._claim if element.name == "result" else self._question)
        elif element.is_(ns.BIDI, "bidi"):
            self._bidi = element
            for domain in tuple(self.proofs):
                self._carry(domain)
        elif element.is_(ns.STREAM, "error"):
            self._farewell(element)
        elif element.is_(ns.TLS, "starttls"):
            self.stream.send(Element(ns.TLS, "failure"))
            self.stream.close()
        else:
            raise StreamError("unsupported-stanza-type")

    def _manage(self, element: Element) -> None:
        """XEP-0198: what may be asked for is said in the features."""
        if element.name == "enable":
            allowed = bool(self.proofs) and not self.acks.enabled
            self.stream.send(acknowledging.ENABLED if allowed else acknowledging.failed("unexpected-request"))
            if allowed:
                self.acks.start()
        elif element.name == "resume":
            self.stream.send(acknowledging.failed("feature-not-implemented"))
        else:
            self.acks.take(element)

    def _farewell(self, element: Element) -> None:
        condition, text = peer_error(element)
        self.stream.log.info("The peer ended the stream: {condition} {text}", condition=condition, text=text)
        self.stream.close()

    # dialback

    def _answer_dialback(self, element: Element, function: Callable[[Dialback], Dialback | None]) -> None:
        try:
            asked = dialback.read(element)
        except dialback.DialbackMalformed as error:
            if not self.proofs:
                raise StreamError("improper-addressing", "dialback needs to know who and to whom") from error
            self.stream.write(dialback.malformed(element, by=self._domain))
            return
        if asked.type is not None:
            # An answer that we never asked for on this stream (XEP-0220 §3.1): of no consequence.
            self.stream.log.info("Unsolicited db:{name} from {domain}", name=asked.name, domain=asked.from_)
            return
        answer = function(asked)
        if answer is not None:
            self.stream.write(answer.to_bytes())

    def _question(self, asked: Dialback) -> Dialback:
        """§2.2.2: is that key ours?"""
        if asked.to != self._domain:
            return asked.answer("error", "item-not-found")
        made = self._federation.keys.made(asked.key, receiving=asked.from_, originating=asked.to, stream_id=asked.id)
        return asked.answer("valid" if made and asked.id else "invalid")

    def _claim(self, claim: Dialback) -> Dialback | None:
        """§2.2.1: a domain wants to speak to us; None if the answer comes later."""
        domain = claim.from_
        if claim.to != self._domain:
            return claim.answer("error", "item-not-found")
        if domain == self._domain or not claim.key:
            return claim.answer("error", "not-acceptable")
        if self._federation.refuses(domain):
            return claim.answer("error", "policy-violation")
        if domain in self._claimed:
            return None
        if domain in self.proofs:
            return claim.answer("valid")
        if len(self.proofs) >= PAIRS_MAX:
            return claim.answer("error", "resource-constraint")
        if self._trusted(domain):
            self._admit(claim, Proof.CERTIFICATE, key_of(self.stream))
            return None
        if self._federation.dialback == "never":
            return claim.answer("error", "not-authorized")
        if len(self._claimed) >= CLAIMS_MAX or self._streams.claims_exhausted:
            return claim.answer("error", "resource-constraint")
        self._federation.tasks.spawn(self._verify(claim, self.stream.id or ""), f"verify {domain}")
        return None

    async def _verify(self, claim: Dialback, stream_id: str) -> None:
        self._claimed.add(claim.from_)
        self._streams.claims += 1
        answer = None
        try:
            vouching = await self._streams.servers.verify(claim.from_, stream_id, claim.key)
        except DialbackFailed as error:
            vouching, answer = None, claim.answer("error", error.condition)
        finally:
            self._claimed.discard(claim.from_)
            self._streams.claims -= 1
        if self.stream.closed:
            return
        if vouching is not None:
            assert vouching.proof is not None
            self._admit(claim, vouching.proof, vouching.key)
            return
        if answer is None:
            answer = self._denied(claim)
        self.stream.write(answer.to_bytes())
        if answer.type == "invalid":
            self.stream.close()

    def _denied(self, claim: Dialback) -> Dialback:
        self.stream.log.warn("{domain} denies a key that {peer} claims", domain=claim.from_, peer=self.stream.peer)
        # "invalid" obliges us to end the stream (§2.2.1); others on it have done nothing.
        return claim.answer("error", "forbidden") if self.proofs or self._claimed else claim.answer("invalid")


def _is_domain(authzid: bytes, domain: str) -> bool:
    try:
        return jid.domain(authzid.decode()) == domain
    except (UnicodeDecodeError, JIDMalformed):
        return False
