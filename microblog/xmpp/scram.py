"""RFC 5802, RFC 7677, RFC 9266: SCRAM as the client that logs in.

The server proves that it knows the password as well: who only pretends to be it is found out before anything is
said. Where TLS has an exporter and the server takes it, the proof is bound to this very connection, and somebody
between the two cannot hand it on.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from typing import Final

from microblog.model.account import HASHES, ITERATIONS_MAX, ITERATIONS_MIN, SHA_1, SHA_256

_MECHANISMS: Final = {"SCRAM-SHA-256": SHA_256, "SCRAM-SHA-1": SHA_1}
_EXPORTER: Final = "tls-exporter"
_CHALLENGE: Final = re.compile(
    rb"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<iterations>[1-9][0-9]{0,6})(?:,.*)?\Z"
)


class ScramFailed(Exception):
    """Nobody is logged in; the text says why."""


def choose(offered: Collection[str], bindings: Collection[str], exporter: bytes | None) -> str | None:
    """The best mechanism of those offered; None if there is none of ours.

    ``bindings``: what the server can bind to (XEP-0440). ``exporter``: of the connection, if it has one.
    """
    for name in _MECHANISMS:
        for candidate in (f"{name}-PLUS", name):
            if candidate in offered and (candidate == name or (exporter is not None and _EXPORTER in bindings)):
                return candidate
    return None


class Scram:
    """One attempt: ``first`` is sent, ``answer`` makes of the challenge what is sent next, ``verify`` ends it.

    ``password`` is prepared already. ``offered`` is what the server offered.
    """

    def __init__(
        self,
        mechanism: str,
        name: str,
        password: str,
        *,
        offered: Collection[str],
        exporter: bytes | None,
        nonce: str | None = None,
    ) -> None:
        plus = mechanism.endswith("-PLUS")
        self._digest = HASHES[_MECHANISMS[mechanism.removesuffix("-PLUS")]]
        self._password = password.encode()
        self._nonce = (nonce or secrets.token_urlsafe(18)).encode()
        if plus:
            assert exporter is not None
            self._header, self._binding = b"p=tls-exporter,,", exporter
        else:
            # y: we could bind, and think that the server cannot. If it can, somebody has changed its offer.
            could = exporter is not None and not any(other.endswith("-PLUS") for other in offered)
            self._header, self._binding = (b"y,," if could else b"n,,"), b""
        self._bare = b"n=%b,r=%b" % (name.replace("=", "=3D").replace(",", "=2C").encode(), self._nonce)
        self._signature: bytes | None = None

    @property
    def first(self) -> bytes:
        """The client's first message."""
        return self._header + self._bare

    def answer(self, challenge: bytes) -> bytes:
        """The proof. Takes milliseconds, on purpose. Raises ScramFailed."""
        match = _CHALLENGE.match(challenge)
        if match is None:
            raise ScramFailed("the server's challenge is malformed")
        nonce, iterations = match["nonce"], int(match["iterations"])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ScramFailed("the server's challenge is not an answer to us")
        if not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
            raise ScramFailed(f"the server wants {iterations} iterations")
        try:
            salt = base64.b64decode(match["salt"], validate=True)
        except binascii.Error:
            raise ScramFailed("the server's challenge is malformed") from None
        digest = self._digest
        salted = hashlib.pbkdf2_hmac(digest, self._password, salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", digest)
        without_proof = b"c=%b,r=%b" % (base64.b64encode(self._header + self._binding), nonce)
        message = b",".join((self._bare, challenge, without_proof))
        signature = hmac.digest(hashlib.new(digest, client_key).digest(), message, digest)
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", digest), message, digest)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return without_proof + b",p=" + base64.b64encode(proof)

    def verify(self, final: bytes) -> None:
        """Does the server know the password? Raises ScramFailed."""
        known = self._signature is not None and hmac.compare_digest(
            final.partition(b",")[0], b"v=" + base64.b64encode(self._signature)
        )
        if not known:
            raise ScramFailed("the server does not know the password itself: it is not who it says")
