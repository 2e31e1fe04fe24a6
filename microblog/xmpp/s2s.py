"""RFC 6120 between servers: what streams in both directions share.

``Federation`` is what every stream between servers needs to know of this node. The rest is the small grammar of
the negotiation: addresses of a stream header, and the SASL and TLS elements.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from microblog.config import Limits
from microblog.model import jid
from microblog.model.errors import JIDMalformed
from microblog.model.item import Proof
from microblog.runtime import Clock, Tasks
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element
from microblog.xmpp import tls
from microblog.xmpp.dialback import Keys
from microblog.xmpp.stream import Stream
from microblog.xmpp.tls import Certificates
from microblog.xmpp.tlslayer import TLSInfo

# X509_verify_cert_error_string(3), the usual ones
_VERIFY_ERRORS: Final = {
    2: "its issuer is not known",
    9: "its time has not come yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "the authority at the end of its chain is not trusted",
    20: "its issuer is not known",
    21: "its chain is incomplete",
    23: "it was revoked",
}

DialbackPolicy = Literal["never", "public", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """This node as its streams to and from other servers see it.

    ``dialback``: "never" takes certificates only, "public" lets a domain without one carry what is public, "always"
    takes dialback for as good as a certificate. ``trusts_dialback`` says that of single domains, and ``refuses`` which
    are not spoken with at all; both may change at any time.
    """

    domain: str
    clock: Clock
    tasks: Tasks
    limits: Limits
    certificates: Certificates
    keys: Keys
    dialback: DialbackPolicy = "public"
    refuses: Callable[[str], bool] = lambda domain: False
    trusts_dialback: Callable[[str], bool] = lambda domain: False

    def suffices(self, domain: str, proof: Proof | None, minimum: Proof) -> bool:
        """True if what a domain has proved is enough for traffic that asks for ``minimum``."""
        if proof is None:
            return False
        if proof is Proof.CERTIFICATE or minimum is Proof.DIALBACK or self.dialback == "always":
            return True
        return self.trusts_dialback(domain)


def header_domain(text: str | None) -> str | None:
    """The canonical domain in a stream header's address, None if there is none.

    Raises StreamError: improper-addressing.
    """
    if text is None:
        return None
    try:
        return jid.domain(text)
    except JIDMalformed as error:
        raise StreamError("improper-addressing", "the stream header names something that is no domain") from error


def mechanisms(features: Element) -> set[str]:
    """The SASL mechanisms that stream features offer."""
    offered = features.find(ns.SASL, "mechanisms")
    return set() if offered is None else {one.text.strip() for one in offered.find_all(ns.SASL, "mechanism")}


def peer_error(element: Element) -> tuple[str, str]:
    """The condition and the text of a received ``<stream:error/>``."""
    text = " ".join((element.child_text(ns.STREAMS, "text") or "").split())
    conditions = [one.name for one in element.elements() if one.uri == ns.STREAMS and one.name != "text"]
    return (conditions[0] if conditions else "undefined-condition"), text[:200]


def why_not_trusted(info: TLSInfo, domain: str) -> str:
    """What is wrong with a peer's certificate, for the log and for the peer's administrator."""
    if info.certificate is None:
        return "no certificate was shown"
    if info.verify_errors:
        number = info.verify_errors[0][0]
        return f"the certificate is not valid for {domain}: {_VERIFY_ERRORS.get(number, f'OpenSSL error {number}')}"
    names = ", ".join(sorted(tls.identities(info.certificate))[:5]) or "nobody"
    return f"the certificate is not for {domain} but for {names}"


def leave(stream: Stream) -> None:
    """Close a stream that nobody reads any more, and let what still comes go by."""
    stream.close()
    stream.on_stanza = _pass_over


def _pass_over(element: Element) -> None:
    pass
