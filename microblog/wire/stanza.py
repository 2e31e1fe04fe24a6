"""RFC 6120 §8: stanzas as the house hands them around.

A ``Stanza`` is a checked header beside the element it came from: kind, type, id and the two addresses as ``JID``
values. Whoever accepted the stream has stamped and verified ``from``; inside the house it is believed. ``Iq`` has
exactly one payload when it is a request (§8.2.3). Replies are new stanzas; nothing is edited in place.
"""

from dataclasses import dataclass
from typing import Literal

from microblog.model.errors import BadRequest, PolicyViolation, Refusal
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.errors import error_element
from microblog.wire.xml import Element, serialize

Kind = Literal["iq", "message", "presence"]
ID_MAX_CHARACTERS = 1023
_IQ_TYPES = frozenset(("get", "set", "result", "error"))
_MESSAGE_TYPES = frozenset(("normal", "chat", "groupchat", "headline", "error"))
_PRESENCE_TYPES = frozenset(
    ("available", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error")
)


@dataclass(frozen=True, slots=True)
class Stanza:
    """One stanza: header, and the element (in ``jabber:client``, whatever stream it came by).

    ``proof``: how the sender's domain was authenticated.
    """

    kind: Kind
    type: str
    id: str | None
    from_: JID
    to: JID
    element: Element
    proof: Proof = Proof.LOCAL

    @property
    def payload(self) -> Element | None:
        """The first child element: of an IQ request, its payload."""
        return self.element.first()

    @property
    def is_request(self) -> bool:
        """True for an IQ get or set, which is owed an answer."""
        return self.kind == "iq" and (self.type == "get" or self.type == "set")

    @property
    def is_response(self) -> bool:
        """True for an IQ result or error."""
        return self.kind == "iq" and (self.type == "result" or self.type == "error")

    def to_bytes(self) -> bytes:
        """As written on a stream, client or server: an unqualified stanza takes the stream's namespace."""
        return serialize(self.element, ns.CLIENT).encode()

    def result(self, payload: Element | None = None) -> "Stanza":
        """The answer to an IQ request."""
        return iq("result", self.to, self.from_, self.id, payload)

    def error(self, refusal: Refusal, *, by: JID | None = None) -> "Stanza":
        """The error that answers this stanza (§8.3); an IQ's payload is not repeated."""
        return build(self.kind, "error", by or self.to, self.from_, self.id, error_element(refusal))

    def readdressed(self, *, from_: JID | None = None, to: JID | None = None) -> "Stanza":
        """The same stanza with other addresses."""
        sender, addressee = from_ or self.from_, to or self.to
        element = self.element.replaced(**{"from": str(sender), "to": str(addressee)})
        return Stanza(self.kind, self.type, self.id, sender, addressee, element, self.proof)


def read(element: Element, *, from_: JID, to: JID, proof: Proof = Proof.LOCAL) -> Stanza:
    """Check a stanza's header and put the verified addresses on it.

    Raises BadRequest: an IQ without id, of unknown type, or a request without exactly one child (§8.2.3).
    PolicyViolation: an overlong id. Unknown message types become ``normal`` (RFC 6121 §5.2.2), unknown presence
    types are refused.
    """
    kind = element.name
    type_ = element.get("type")
    id_ = element.get("id")
    if id_ is not None and len(id_) > ID_MAX_CHARACTERS:
        raise PolicyViolation("the id is longer than 1023 characters")
    if kind == "iq":
        if type_ not in _IQ_TYPES or not id_:
            raise BadRequest("an iq needs an id and a type of get, set, result or error")
        if type_ in ("get", "set") and sum(1 for _ in element.elements()) != 1:
            raise BadRequest("an iq request has exactly one child element")
    elif kind == "message":
        if type_ not in _MESSAGE_TYPES:
            type_ = "normal"
    elif type_ is None:
        type_ = "available"
    elif type_ not in _PRESENCE_TYPES or type_ == "available":
        raise BadRequest("unknown presence type")
    stamped = Element(ns.CLIENT, kind, {**element.attributes, "from": str(from_), "to": str(to)})
    stamped.children = element.children
    return Stanza(kind, type_, id_, from_, to, stamped, proof)  # type: ignore[arg-type]  # callers pass the three kinds


def build(
    kind: Kind, type_: str, from_: JID, to: JID, id_: str | None = None, *children: Element | str | None
) -> Stanza:
    """Make a stanza of ours. ``normal`` messages and ``available`` presence carry no type attribute."""
    attributes = {"from": str(from_), "to": str(to)}
    if id_ is not None:
        attributes["id"] = id_
    if type_ not in ("normal", "available"):
        attributes["type"] = type_
    return Stanza(kind, type_, id_, from_, to, Element(ns.CLIENT, kind, attributes, *children))


def iq(type_: str, from_: JID, to: JID, id_: str | None, payload: Element | None = None) -> Stanza:
    """Make an IQ of ours."""
    return build("iq", type_, from_, to, id_, payload)


def message(type_: str, from_: JID, to: JID, *children: Element | str | None, id_: str | None = None) -> Stanza:
    """Make a message of ours."""
    return build("message", type_, from_, to, id_, *children)


def presence(type_: str, from_: JID, to: JID, *children: Element | str | None, id_: str | None = None) -> Stanza:
    """Make a presence of ours."""
    return build("presence", type_, from_, to, id_, *children)
