"""RFC 4422, RFC 4616, RFC 5802, RFC 7677, RFC 9266: how a client proves who it is, without any framing.

``offered`` says which mechanisms to name on a stream, given what the stream's ``channel_bindings`` are. ``begin`` makes
the server's side of one attempt; its ``step`` takes what the client sent, decoded, and answers with a ``Challenge`` to
send or with ``Success``. Whatever is wrong raises ``SaslFailure`` with the condition of RFC 6120 §6.5 and ends the
attempt; to try again is to ``begin`` again.

Somebody who does not exist fails as a wrong password does: ``Accounts.keys`` always answers with keys, and the same is
computed with them. Which channel binding a client uses is known only from its first message.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from microblog.model.account import HASHES, ITERATIONS_MAX, ITERATIONS_MIN, SHA_1, SHA_256, ScramKeys
from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID, localpart
from microblog.model.password import PASSWORD_MAX_BYTES

PLAIN: Final = "PLAIN"
_SCRAM: Final = {"SCRAM-SHA-256": SHA_256, "SCRAM-SHA-1": SHA_1}
MESSAGE_MAX_BYTES: Final = 4096
NAME_MAX_BYTES: Final = 1023

ChannelBindings = Mapping[str, bytes]


class SaslFailure(Exception):
    """The attempt has failed; ``condition`` is an element name of RFC 6120 §6.5."""

    def __init__(self, condition: str) -> None:
        super().__init__(condition)
        self.condition = condition


@dataclass(frozen=True, slots=True)
class Challenge:
    """To be sent to the client."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Success:
    """The client is this account; the data go with the success, None if there are none."""

    data: bytes | None
    localpart: str


class Accounts(Protocol):
    """What the mechanisms ask of whoever knows the accounts."""

    async def keys(self, localpart: str, hash_name: str) -> ScramKeys:
        """Keys to check against: an account's, or such as no password fits."""

    async def verify(self, keys: ScramKeys, password: str) -> bool:
        """``keys.verify(password)``, in a thread: it takes milliseconds."""


class _TLS(Protocol):
    """What of a TLS session can be bound to."""

    def exporter(self) -> bytes:
        """RFC 9266."""

    def server_end_point(self) -> bytes | None:
        """RFC 5929 §4."""


def channel_bindings(tls: _TLS) -> ChannelBindings:
    """What a client may bind to, by type."""
    bindings = {"tls-exporter": tls.exporter()}
    end_point = tls.server_end_point()
    if end_point is not None:
        bindings["tls-server-end-point"] = end_point
    return bindings


def offered(bindings: ChannelBindings) -> tuple[str, ...]:
    """The mechanisms for a client on an encrypted stream, best first."""
    plus = [f"{name}-PLUS" for name in _SCRAM] if bindings else []
    return (*plus, *_SCRAM, PLAIN)


def begin(name: str, bindings: ChannelBindings, offered: Collection[str], accounts: Accounts, domain: str) -> "Attempt":
    """An attempt with a mechanism. Raises SaslFailure: it is not among those offered."""
    if name not in offered:
        raise SaslFailure("invalid-mechanism")
    if name == PLAIN:
        return _Plain(accounts, domain)
    plus = name.endswith("-PLUS")
    hash_name = _SCRAM.get(name.removesuffix("-PLUS"))
    if hash_name is None:
        raise SaslFailure("invalid-mechanism")
    plus_offered = any(other.endswith("-PLUS") for other in offered)
    return _Scram(hash_name, bindings if plus else None, plus_offered, accounts, domain)


class Attempt:
    """The server's side of one attempt. ``localpart``: whom the client claims to be, once it has said so."""

    def __init__(self, accounts: Accounts, domain: str) -> None:
        self.localpart: str | None = None
        self._accounts = accounts
        self._domain = domain
        self._next: Callable[[bytes], Awaitable[Challenge | Success]] | None = self._first

    async def step(self, data: bytes) -> Challenge | Success:
        """Take what the client sent. Raises SaslFailure."""
        # Once only: after a failure, or while a step is under way, there is no next one.
        take, self._next = self._next, None
        if take is None or len(data) > MESSAGE_MAX_BYTES:
            raise SaslFailure("malformed-request")
        return await take(data)

    async def _first(self, data: bytes) -> Challenge | Success:
        raise NotImplementedError

    async def _keys(self, name: str, hash_name: str) -> ScramKeys:
        keys = await self._accounts.keys(name, hash_name)
        if not ITERATIONS_MIN <= keys.iterations <= ITERATIONS_MAX:
            raise SaslFailure("temporary-auth-failure")
        return keys

    def _claim(self, name: str, authzid: str) -> str:
        """Note who it is said to be, and whom to act for. Raises SaslFailure."""
        self.localpart = name = _account_name(name)
        self._check_authzid(authzid, name)
        return name

    def _check_authzid(self, authzid: str, name: str) -> None:
        """Nobody acts for another: an authorization identity is one's own bare JID, or left out."""
        if not authzid or authzid == name:
            return
        try:
            if JID.parse(authzid) == JID(name, self._domain):
                return
        except JIDMalformed:
            pass
        raise SaslFailure("invalid-authzid")


def _account_name(name: str) -> str:
    """The localpart a client means; what cannot be one stays as it is, and is nobody's."""
    try:
        return localpart(name)
    except JIDMalformed:
        return name


class _Plain(Attempt):
    """RFC 4616."""

    async def _first(self, data: bytes) -> Challenge | Success:
        try:
            authzid, authcid, password = data.decode().split("\0")
        except ValueError:
            raise SaslFailure("malformed-request") from None
        if not authcid or not password:
            raise SaslFailure("malformed-request")
        if len(authcid.encode()) > NAME_MAX_BYTES or len(password.encode()) > PASSWORD_MAX_BYTES:
            raise SaslFailure("malformed-request")
        name = self._claim(authcid, authzid)
        keys = await self._keys(name, SHA_256)
        if not await self._accounts.verify(keys, password):
            raise SaslFailure("not-authorized")
        return Success(None, name)


# RFC 5802 §7. A nonce is printable without comma; reserved and mandatory extensions (m=) are not understood.
_CLIENT_FIRST: Final = re.compile(
    rb"(?P<header>(?P<flag>n|y|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>[^,\0]+))?,)"
    rb"(?P<bare>n=(?P<name>[^,\0]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,\0]+)*)\Z"
)
_CLIENT_FINAL: Final = re.compile(
    rb"(?P<without_proof>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,\0]+)*?)"
    rb",p=(?P<proof>[A-Za-z0-9+/=]+)\Z"
)


def _saslname(data: bytes) -> str:
    """§5.1: ``=2C`` is a comma and ``=3D`` an equals sign; any other ``=`` is a mistake."""
    if re.search(rb"=(?!2C|3D)", data):
        raise SaslFailure("malformed-request")
    try:
        return data.replace(b"=2C", b",").replace(b"=3D", b"=").decode()
    except UnicodeDecodeError:
        raise SaslFailure("malformed-request") from None


class _Scram(Attempt):
    """RFC 5802; ``bindings`` is None for the mechanisms without -PLUS."""

    def __init__(
        self,
        hash_name: str,
        bindings: ChannelBindings | None,
        plus_offered: bool,
        accounts: Accounts,
        domain: str,
    ) -> None:
        super().__init__(accounts, domain)
        self._hash_name = hash_name
        self._digest = HASHES[hash_name]
        self._bindings = bindings
        self._plus_offered = plus_offered
        self._name = ""
        self._nonce = b""
        self._binding = b""
        self._message = b""
        self._keys_used: ScramKeys

    async def _first(self, data: bytes) -> Challenge | Success:
        match = _CLIENT_FIRST.match(data)
        if match is None:
            raise SaslFailure("malformed-request")
        self._binding = match["header"] + self._bound(match["flag"], match["binding"])
        name = _saslname(match["name"])
        if len(name.encode()) > NAME_MAX_BYTES:
            raise SaslFailure("malformed-request")
        self._name = self._claim(name, _saslname(match["authzid"] or b""))
        keys = self._keys_used = await self._keys(self._name, self._hash_name)
        self._nonce = match["nonce"] + base64.b64encode(secrets.token_bytes(18))
        challenge = b"r=%b,s=%b,i=%d" % (self._nonce, base64.b64encode(keys.salt), keys.iterations)
        self._message = match["bare"] + b"," + challenge
        self._next = self._final
        return Challenge(challenge)

    def _bound(self, flag: bytes, type_: bytes | None) -> bytes:
        """§6: what binds this to the channel; nothing without -PLUS."""
        if self._bindings is None:
            if flag == b"y" and self._plus_offered:
                # The client did not see that we can: somebody between us has changed the offer.
                raise SaslFailure("not-authorized")
            if type_ is not None:
                raise SaslFailure("malformed-request")
            return b""
        if type_ is None:
            raise SaslFailure("malformed-request")
        data = self._bindings.get(type_.decode("ascii"))
        if data is None:
            raise SaslFailure("not-authorized")
        return data

    async def _final(self, data: bytes) -> Challenge | Success:
        match = _CLIENT_FINAL.match(data)
        if match is None:
            raise SaslFailure("malformed-request")
        proof = _decode_strictly(match["proof"])
        if len(proof) != hashlib.new(self._digest).digest_size:
            raise SaslFailure("malformed-request")
        keys = self._keys_used
        message = self._message + b"," + match["without_proof"]
        signature = hmac.digest(keys.stored_key, message, self._digest)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        known = hmac.compare_digest(hashlib.new(self._digest, client_key).digest(), keys.stored_key)
        same_nonce = hmac.compare_digest(match["nonce"], self._nonce)
        bound = hmac.compare_digest(_decode_strictly(match["binding"]), self._binding)
        if not (known and same_nonce and bound):
            raise SaslFailure("not-authorized")
        return Success(b"v=" + base64.b64encode(hmac.digest(keys.server_key, message, self._digest)), self._name)


def _decode_strictly(data: bytes) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise SaslFailure("malformed-request") from None
