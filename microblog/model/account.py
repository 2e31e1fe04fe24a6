"""Accounts, the keys that stand for their passwords (RFC 5802), and invitations.

Passwords are never kept. ``ScramKeys`` are what SCRAM needs to recognise one: whoever steals them can neither log in
here with SCRAM nor see the password, only try guesses, each at the price of ``iterations`` hashes.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.password import new_password, readings

SHA_1: Final = "SHA-1"
SHA_256: Final = "SHA-256"
HASHES: Final = {SHA_1: "sha1", SHA_256: "sha256"}
ITERATIONS: Final = 10_000
ITERATIONS_MIN: Final = 4096
ITERATIONS_MAX: Final = 1_000_000
SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who lives here; ``key`` is the store's own name for it."""

    key: int
    localpart: str
    admin: bool = False
    disabled: bool = False
    audience: Audience = Audience.PUBLIC
    created: datetime

    def jid(self, domain: str) -> JID:
        """The account's address."""
        return JID(self.localpart, domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """An invitation that can be used once, until it expires. The token itself is not kept."""

    admin: bool
    created: datetime
    expires: datetime
    used_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ScramKeys:
    """RFC 5802 §3: StoredKey and ServerKey for one hash."""

    hash_name: str
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    @staticmethod
    def derive(password: str, hash_name: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> "ScramKeys":
        """Make keys; ``password`` is prepared already. Takes milliseconds, on purpose."""
        if not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
            raise ValueError(f"{iterations} iterations")
        salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
        digest = HASHES[hash_name]
        salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", digest)
        return ScramKeys(
            hash_name=hash_name,
            salt=salt,
            iterations=iterations,
            stored_key=hashlib.new(digest, client_key).digest(),
            server_key=hmac.digest(salted, b"Server Key", digest),
        )

    def verify(self, password: str) -> bool:
        """Is it this password, as a client sent it? Takes milliseconds."""
        # At least one derivation, so that a password that cannot be one takes as long as a wrong one.
        return any(
            [
                hmac.compare_digest(
                    self.derive(reading, self.hash_name, self.salt, self.iterations).stored_key, self.stored_key
                )
                for reading in readings(password) or ("",)
            ]
        )

    def __repr__(self) -> str:
        return f"ScramKeys({self.hash_name})"


def derive_keys(password: str) -> tuple[ScramKeys, ...]:
    """Keys of every hash for a new password. Takes milliseconds: not on the reactor's thread.

    Raises: NotAcceptable: the password is empty, too long, or ambiguous.
    """
    prepared = new_password(password)
    return tuple(ScramKeys.derive(prepared, name) for name in HASHES)
