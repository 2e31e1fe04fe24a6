"""XEP-0220 and XEP-0185: dialback, its keys and its elements.

A server that says it is ``capulet.example`` sends a key; whoever it says it to asks the real ``capulet.example``
whether it made that key for that stream. Keys are made from a secret and the three names of the dialogue, so that
the question is answered without remembering anything.

Every domain is in canonical form before it is compared or hashed; canonical domains have no spaces, so that no two
dialogues give the same text to hash. Elements are written with the prefix ``db:``, which some servers insist on.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, Literal

from microblog.model import jid
from microblog.model.errors import JIDMalformed
from microblog.wire import ns
from microblog.wire.xml import Element, escape_attribute, escape_text

ID_MAX_CHARACTERS: Final = 1023
KEY_MAX_CHARACTERS: Final = 1023
_TYPES: Final = ("valid", "invalid", "error")
# §2.4.2: the type of the error is its condition's in RFC 6120 §8.3.3.
_WAIT: Final = frozenset(("resource-constraint", "remote-server-timeout"))
_AUTH: Final = frozenset(("forbidden", "not-authorized"))

Name = Literal["result", "verify"]


class DialbackFailed(Exception):
    """A claim could be neither confirmed nor refuted; ``condition`` is what the peer is told (§2.4.2)."""

    def __init__(self, condition: str) -> None:
        super().__init__(condition)
        self.condition = condition


class DialbackMalformed(Exception):
    """A dialback element without the addresses that would tell which dialogue it belongs to."""


class Keys:
    """Makes and recognises this node's keys; the secret has at least 256 bits and survives restarts."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 32:
            raise ValueError("a dialback secret has at least 32 bytes")
        self._secret = hashlib.sha256(secret).hexdigest().encode()

    def key(self, *, receiving: str, originating: str, stream_id: str) -> str:
        """The key that shows to ``receiving`` that we are ``originating`` on that stream (XEP-0185 §2)."""
        text = f"{receiving} {originating} {stream_id}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()

    def made(self, key: str, *, receiving: str, originating: str, stream_id: str) -> bool:
        """True if we made that key for that stream."""
        right = self.key(receiving=receiving, originating=originating, stream_id=stream_id)
        return hmac.compare_digest(right.encode(), key.encode())


@dataclass(frozen=True, slots=True)
class Dialback:
    """A dialback element: a request has a key and no type, an answer a type."""

    name: Name
    from_: str
    to: str
    id: str = ""
    type: str | None = None
    key: str = ""
    condition: str | None = None

    def answer(self, type_: str, condition: str | None = None) -> "Dialback":
        """The answer to this request."""
        return Dialback(self.name, self.to, self.from_, self.id, type_, condition=condition)

    def to_bytes(self) -> bytes:
        """As written on a server stream."""
        id_ = f" id='{escape_attribute(self.id)}'" if self.id else ""
        type_ = f" type='{self.type}'" if self.type else ""
        start = f"<db:{self.name} from='{escape_attribute(self.from_)}' to='{escape_attribute(self.to)}'{id_}{type_}"
        content = escape_text(self.key)
        if self.condition:
            content = f"<error type='{_error_type(self.condition)}'><{self.condition} xmlns='{ns.STANZAS}'/></error>"
        return f"{start}>{content}</db:{self.name}>".encode() if content else f"{start}/>".encode()


def is_dialback(element: Element) -> bool:
    """True for ``<db:result/>`` and ``<db:verify/>``."""
    return element.uri == ns.DIALBACK and element.name in ("result", "verify")


def read(element: Element) -> Dialback:
    """Read a dialback element. Raises DialbackMalformed; what else may be wrong the dialogue itself finds out."""
    try:
        from_, to = (jid.domain(element.get(name) or "") for name in ("from", "to"))
    except JIDMalformed as error:
        raise DialbackMalformed from error
    type_ = element.get("type")
    id_ = element.get("id") or ""
    key = element.text.strip()
    if (type_ is not None and type_ not in _TYPES) or len(id_) > ID_MAX_CHARACTERS or len(key) > KEY_MAX_CHARACTERS:
        raise DialbackMalformed
    return Dialback("result" if element.name == "result" else "verify", from_, to, id_, type_, key, _condition(element))


def malformed(element: Element, *, by: str) -> bytes:
    """The answer to an element that ``read`` refused, where the stream has other dialogues to go on with."""
    to = f" to='{escape_attribute(text)}'" if (text := element.get("from")) else ""
    id_ = f" id='{escape_attribute(text)}'" if (text := element.get("id")) else ""
    return (
        f"<db:{element.name} from='{escape_attribute(by)}'{to}{id_} type='error'>"
        f"<error type='modify'><bad-request xmlns='{ns.STANZAS}'/></error></db:{element.name}>"
    ).encode()


def _condition(element: Element) -> str | None:
    for child in element.elements():
        if child.name == "error":
            return next((one.name for one in child.elements() if one.uri == ns.STANZAS and one.name != "text"), None)
    return None


def _error_type(condition: str) -> str:
    return "wait" if condition in _WAIT else "auth" if condition in _AUTH else "cancel"
