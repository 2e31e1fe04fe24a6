"""RFC 6120 §8.1.2.2, §10.3: stanzas that other servers send, on their streams or on ours (XEP-0288).

Each must come from a domain that is proved on its stream and go to ours; it is handed on with the proof. What is not a
stanza of such a pair ends the stream with the error that RFC 6120 names. Who has another key than before waits until it
is known who that is (``recognition``).
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial

from twisted.internet.defer import succeed
from twisted.logger import Logger

from microblog.model import jid
from microblog.model.errors import JIDMalformed
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.wire.errors import StreamError, error_element
from microblog.wire.stanza import ID_MAX_CHARACTERS, Stanza, build
from microblog.wire.xml import Element
from microblog.xmpp.pacing import Pacing
from microblog.xmpp.recognition import Recognises, Recognition
from microblog.xmpp.s2s import Federation
from microblog.xmpp.stream import Stream

FromServer = Callable[[Element, JID, JID, Proof], Awaitable[None]]
Settled = Callable[[str], Awaitable[None]]


class Reception:
    """Where stanzas of other servers arrive.

    ``from_server`` is ``Router.from_server``, ``settled`` is ``Router.settled``; ``followed`` says whether people here
    follow somebody of a domain, which may then send faster. ``send`` takes answers to what is malformed.
    ``recognises`` is set by the composition root.
    """

    log = Logger()

    def __init__(
        self,
        federation: Federation,
        from_server: FromServer,
        settled: Settled,
        followed: Callable[[str], bool],
        send: Callable[[Stanza], None],
    ) -> None:
        self.from_server = from_server
        self.followed = followed
        self.recognises: Recognises = lambda domain, key: succeed(True)
        self._federation = federation
        self._pacing = Pacing(federation.clock, federation.limits)
        self._settled = settled
        self._send = send

    async def take(
        self, element: Element, proofs: Mapping[str, Proof], recognition: Recognition, claimed: Collection[str] = ()
    ) -> None:
        """Take a stanza; ``claimed`` are domains whose proof is under way. Raises StreamError."""
        from_text, to_text = element.get("from"), element.get("to")
        if not from_text or not to_text:
            raise StreamError("improper-addressing", "a stanza between servers has from and to")
        from_, from_domain = _parse(from_text)
        to, to_domain = _parse(to_text)
        proof = proofs.get(from_domain)
        if proof is None:
            raise StreamError("not-authorized" if from_domain in claimed else "invalid-from")
        if to_domain != self._federation.domain:
            raise StreamError("host-unknown")
        if from_ is None:
            return  # nobody there could be answered
        if to is None:
            self._answer_malformed(element, from_)
            return
        handing_on = partial(self._hand_on, element, from_, to, proof)
        if recognition.holds(from_domain, element, to):
            await recognition.hold(from_domain, handing_on)
        else:
            await handing_on()

    async def _hand_on(self, element: Element, from_: JID, to: JID, proof: Proof) -> None:
        await self._pacing.turn(from_.domainpart, element)
        try:
            await self.from_server(element, from_, to, proof)
        except StreamError:
            raise
        except Exception:
            # A bug of ours must not end everybody's stream.
            self.log.failure("A {kind} from {domain} failed", kind=element.name, domain=from_.domainpart)

    async def settled(self, domains: Iterable[str]) -> None:
        """Return when all that these domains have sent so far is handled to its end."""
        for domain in tuple(domains):
            await self._settled(domain)

    def let_send(self, stream: Stream, domain: str) -> None:
        """A domain may send on this stream from now on, faster if somebody here follows it."""
        if self.followed(domain):
            limits = self._federation.limits
            stream.read_rate(limits.rate(limits.s2s_followed_read_bytes_per_second))

    def _answer_malformed(self, element: Element, from_: JID) -> None:
        id_ = element.get("id")
        if element.get("type") in ("error", "result") or (id_ is not None and len(id_) > ID_MAX_CHARACTERS):
            return
        error = error_element(JIDMalformed("the address in to is not one"))
        kind = element.name
        # is_stanza has been asked, so the name is one of the three kinds
        self._send(build(kind, "error", JID("", self._federation.domain), from_, id_, error))  # type: ignore[arg-type]  # the three kinds


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
