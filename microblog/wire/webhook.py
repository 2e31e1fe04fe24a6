"""Standard Webhooks: the headers by which a service knows that a call is genuine, fresh, and not one it has had.

The signature is HMAC-SHA256 of ``id.timestamp.body``; the secret is written ``whsec_`` and base64. A call that is
made again has the same id.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
_SECRET_MIN_BYTES: Final = 24
_SECRET_MAX_BYTES: Final = 64


def new_secret() -> str:
    """One that nobody can guess."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def read_secret(text: str) -> bytes:
    """The key that a secret stands for. Raises ValueError with a sentence."""
    try:
        key = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        key = b""
    if not _SECRET_MIN_BYTES <= len(key) <= _SECRET_MAX_BYTES:
        raise ValueError('A secret is "whsec_" and 24 to 64 bytes in base64.')
    return key


def headers(id_: str, now: datetime, body: bytes, key: bytes | None) -> dict[str, str]:
    """Of one call; without a key it is not signed."""
    timestamp = str(int(now.timestamp()))
    found = {"Content-Type": "application/json", "webhook-id": id_, "webhook-timestamp": timestamp}
    if key is not None:
        found["webhook-signature"] = sign(id_, timestamp, body, key)
    return found


def sign(id_: str, timestamp: str, body: bytes, key: bytes) -> str:
    """The signature."""
    digest = hmac.digest(key, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()
