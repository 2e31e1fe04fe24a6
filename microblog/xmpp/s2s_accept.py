"""RFC 6120 §4-6 as the server that is called: one incoming stream, and which domains it may speak for.

TLS comes first. Then a domain is proved in one of two ways: SASL EXTERNAL for the domain of the stream header, when
the peer's certificate is valid for it (XEP-0178); or dialback, for any domain, any number of times on one stream
(XEP-0220): we ask the domain itself whether the key is its own. A claim made by dialback under a certificate that is
valid for that domain needs no question. A claim that fails harms neither the stream nor the domains proved on it.

From then on every stanza must come from a proved domain and go to ours, and is handed on with the proof. What is not
a stanza of such a pair ends the stream with the error that RFC 6120 names.

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
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.errors import StreamError, error_element
from microblog.wire.stanza import ID_MAX_CHARACTERS, build
from microblog.wire.xml import Element
from microblog.xmpp import dialback, negotiation, tls
from microblog.xmpp.dialback import Dialback, DialbackFailed
from microblog.xmpp.s2s import header_domain, leave, peer_error, why_not_trusted
from microblog.xmpp.stream import Stream, StreamClosed

if TYPE_CHECKING:
    from microblog.xmpp.s2s_in import ServerStreams

PAIRS_MAX: Final = 64  # on one stream
CLAIMS_MAX: Final = 8  # on one stream, waiting for an answer


class Incoming:
    """One incoming stream. ``proofs``: the domains it may speak for to ours, and how each was proved."""

    log = Logger()

    def __init__(self, streams: "ServerStreams", stream: Stream, on_settled: Callable[[], None]) -> None:
        self.stream = stream
        self.proofs: dict[str, Proof] = {}
        self._streams = streams
        self._federation = streams.federation
        self._domain = streams.federation.domain
        self.began = self.used = streams.federation.clock.monotonic()
        self._peer: str | None = None  # the domain in the stream header: a claim, not a proof
        self._claimed: set[str] = set()  # domains whose key is being verified
        self._tries = 0
        self._on_settled: Callable[[], None] | None = on_settled

    def settled(self) -> None:
        """No stranger any more: it has proved a domain, or is gone."""
        on_settled, self._on_settled = self._on_settled, None
        if on_settled is not None:
            on_settled()

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
        elif not self.proofs and self._federation.dialback == "never":
            raise StreamError("not-authorized", self._why_not())
        if self._federation.dialback != "never":
            errors = Element(ns.DIALBACK_FEATURE, "errors")
            features.append(Element(ns.DIALBACK_FEATURE, "dialback", None, errors))
        limits = self._federation.limits
        features.append(negotiation.stream_limits(limits.s2s_stanza_max_bytes, limits.s2s_idle_seconds))
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
        self._admit(peer, Proof.CERTIFICATE)
        self._offer()

    def _fail_sasl(self, condition: str) -> None:
        self.stream.send(Element(ns.SASL, "failure", None, Element(ns.SASL, condition)))
        self._tries += 1
        if self._tries >= self._federation.limits.sasl_tries_per_stream:
            raise StreamError("policy-violation", "too many attempts to authenticate")

    def _admit(self, domain: str, proof: Proof) -> None:
        self.proofs[domain] = proof
        self.stream.authenticated()
        self.settled()
        self.stream.log.info("Stream from {domain}, proof: {proof}", domain=domain, proof=proof)
        if self._streams.followed(domain):
            limits = self._federation.limits
            self.stream.read_rate(limits.rate(limits.s2s_followed_read_bytes_per_second))
        self._streams.admitted(domain, self)

    # what comes

    async def _element(self, element: Element) -> None:
        self.used = self._federation.clock.monotonic()
        if negotiation.is_stanza(element):
            await self._stanza(element)
        elif self.stream.closed:
            return  # what was on its way when we closed is still taken, nothing new is begun
        elif dialback.is_dialback(element):
            self._answer_dialback(element, self._claim if element.name == "result" else self._question)
        elif element.is_(ns.STREAM, "error"):
            self._farewell(element)
        elif element.is_(ns.TLS, "starttls"):
            self.stream.send(Element(ns.TLS, "failure"))
            self.stream.close()
        else:
            raise StreamError("unsupported-stanza-type")

    async def _stanza(self, element: Element) -> None:
        """RFC 6120 §8.1.2.2, §10.3: from a proved domain, to ours, or the stream ends."""
        if not self.proofs:
            raise StreamError("not-authorized", "no domain is proved on this stream yet")
        from_text, to_text = element.get("from"), element.get("to")
        if not from_text or not to_text:
            raise StreamError("improper-addressing", "a stanza between servers has from and to")
        from_, from_domain = _parse(from_text)
        to, to_domain = _parse(to_text)
        proof = self.proofs.get(from_domain)
        if proof is None:
            raise StreamError("not-authorized" if from_domain in self._claimed else "invalid-from")
        if to_domain != self._domain:
            raise StreamError("host-unknown")
        if from_ is None:
            return  # nobody there could be answered
        if to is None:
            self._answer_malformed(element, from_)
            return
        try:
            await self._streams.from_server(element, from_, to, proof)
        except StreamError:
            raise
        except Exception:
            # A bug of ours must not end everybody's stream.
            self.log.failure("A {kind} from {domain} failed", kind=element.name, domain=from_domain)

    def _answer_malformed(self, element: Element, from_: JID) -> None:
        id_ = element.get("id")
        if element.get("type") in ("error", "result") or (id_ is not None and len(id_) > ID_MAX_CHARACTERS):
            return
        error = error_element(JIDMalformed("the address in to is not one"))
        kind = element.name
        # is_stanza has been asked, so the name is one of the three kinds
        self._streams.servers.send(build(kind, "error", JID("", self._domain), from_, id_, error))  # type: ignore[arg-type]  # the three kinds

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
            self._admit(domain, Proof.CERTIFICATE)
            return claim.answer("valid")
        if self._federation.dialback == "never":
            return claim.answer("error", "not-authorized")
        if len(self._claimed) >= CLAIMS_MAX or self._streams.claims_exhausted:
            return claim.answer("error", "resource-constraint")
        self._federation.tasks.spawn(self._verify(claim, self.stream.id or ""), f"verify {domain}")
        return None

    async def _verify(self, claim: Dialback, stream_id: str) -> None:
        self._claimed.add(claim.from_)
        self._streams.claims += 1
        try:
            proof = await self._streams.servers.verify(claim.from_, stream_id, claim.key)
        except DialbackFailed as error:
            answer = claim.answer("error", error.condition)
        else:
            answer = self._verdict(claim, proof)
        finally:
            self._claimed.discard(claim.from_)
            self._streams.claims -= 1
        if self.stream.closed:
            return
        self.stream.write(answer.to_bytes())
        if answer.type == "invalid":
            self.stream.close()

    def _verdict(self, claim: Dialback, proof: Proof | None) -> Dialback:
        if proof is None:
            self.stream.log.warn("{domain} denies a key that {peer} claims", domain=claim.from_, peer=self.stream.peer)
            # "invalid" obliges us to end the stream (§2.2.1); others on it have done nothing.
            others = self.proofs or self._claimed - {claim.from_}
            return claim.answer("error", "forbidden") if others else claim.answer("invalid")
        if not self.stream.closed:
            self._admit(claim.from_, proof)
        return claim.answer("valid")


def _parse(text: str) -> tuple[JID | None, str]:
    """An address, and its domain even where the rest of it is malformed. Raises StreamError."""
    try:
        parsed = JID.parse(text)
    except JIDMalformed:
        bare = text.partition("/")[0]
        try:
            return None, jid.domain(bare.partition("@")[2] if "@" in bare else bare)
        except JIDMalformed as error:
            raise StreamError("improper-addressing", "an address without a domain") from error
    return parsed, parsed.domainpart


def _is_domain(authzid: bytes, domain: str) -> bool:
    try:
        return jid.domain(authzid.decode()) == domain
    except (UnicodeDecodeError, JIDMalformed):
        return False
