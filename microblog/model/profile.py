"""What people say of themselves, whatever form they say it in (XEP-0054, 0292, 0172, 0084).

A property has the name that vCard 4 (RFC 6350) gives it, its values, and what kind it is of, such as ``work``. What has
no such name here is kept as it came, with the name of the form it came in, and shown in that form only.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

NICKNAME_MAX_CHARACTERS: Final = 100
BIO_MAX_CHARACTERS: Final = 2000

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


class Property(NamedTuple):
    """A property with a simple value; ``n`` and ``org`` have several."""

    name: str
    values: tuple[str, ...]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Avatar:
    """A picture."""

    data: bytes
    type: str

    @property
    def hash(self) -> str:
        """SHA-1, hexadecimal: what XEP-0084 and XEP-0153 call it by."""
        return hashlib.sha1(self.data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """``others``: the form that something came in, and its XML."""

    nickname: str = ""
    bio: str = ""
    properties: tuple[Property, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    avatar: Avatar | None = None

    @property
    def full_name(self) -> str:
        """As they write it."""
        return next((one.values[0] for one in self.properties if one.name == "fn" and one.values), "")

    @property
    def name(self) -> str:
        """What they want to be called; empty if they did not say."""
        return self.nickname or self.full_name

    def without_card(self) -> "Profile":
        """Only nickname and picture."""
        return replace(self, bio="", properties=(), others=())


def picture(data: bytes) -> Avatar | None:
    """A picture of a kind that every client shows; what it says to be is not believed. None if it is none."""
    for signature, type_ in _SIGNATURES:
        if data.startswith(signature):
            return Avatar(data, type_)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Avatar(data, "image/webp")
    return None
