"""RFC 7622: addresses.

One canonical form, made once at the edge and compared ever after: the localpart by PRECIS UsernameCaseMapped, the
resourcepart by OpaqueString, the domainpart as IDNA2008 A-labels in lower case without a trailing dot. Two
spellings of one address are equal; ``straße.example`` and ``strasse.example`` are two domains. Foreign text never
enters an unbounded table: parsing goes through one bounded cache.
"""

import ipaddress
import re
from dataclasses import dataclass, replace
from functools import lru_cache

import idna
from precis_i18n import get_profile
from twisted.words.protocols.jabber.xmpp_stringprep import nodeprep

from microblog.model.errors import JIDMalformed

PART_MAX_BYTES = 1023
_LOCALPART = get_profile("UsernameCaseMapped")
_RESOURCEPART = get_profile("OpaqueString")
# RFC 7622 §3.3.1: what PRECIS lets through and a localpart may not have.
_NOT_IN_LOCALPART = frozenset("\"&'/:<>@")
_PLAIN_LOCALPART = re.compile(r"[a-z0-9._\-]{1,255}\Z")
_PLAIN_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)
_PLAIN_RESOURCE = re.compile(r"[A-Za-z0-9._\-]{1,255}\Z")


@dataclass(frozen=True, slots=True)
class JID:
    """An address in canonical form. Build it with ``JID.parse`` from anything that came from outside."""

    localpart: str
    domainpart: str
    resourcepart: str = ""

    @staticmethod
    def parse(text: str) -> "JID":
        """Read an address. Raises JIDMalformed (RFC 7622 §3)."""
        return _parse(text)

    @property
    def bare(self) -> "JID":
        """The address without its resource."""
        return JID(self.localpart, self.domainpart) if self.resourcepart else self

    @property
    def is_bare(self) -> bool:
        """True for an account or a domain, without resource."""
        return not self.resourcepart

    @property
    def is_domain(self) -> bool:
        """True for a bare domain."""
        return not self.localpart and not self.resourcepart

    def with_resource(self, resource: str) -> "JID":
        """This address with an (already prepared) resource."""
        return replace(self, resourcepart=resource)

    def __str__(self) -> str:
        text = f"{self.localpart}@{self.domainpart}" if self.localpart else self.domainpart
        return f"{text}/{self.resourcepart}" if self.resourcepart else text


@lru_cache(maxsize=16384)
def _parse(text: str) -> JID:
    if len(text) > 3 * PART_MAX_BYTES + 2:
        raise JIDMalformed("address too long")
    rest, slash, resource_text = text.partition("/")
    local_text, at, domain_text = rest.partition("@")
    if not at:
        local_text, domain_text = "", rest
    elif not local_text:
        raise JIDMalformed("empty localpart")
    if slash and not resource_text:
        raise JIDMalformed("empty resourcepart")
    return JID(
        localpart(local_text) if local_text else "",
        domain(domain_text),
        resourcepart(resource_text) if resource_text else "",
    )


def localpart(text: str) -> str:
    """Prepare a localpart (§3.3). Raises JIDMalformed."""
    if _PLAIN_LOCALPART.match(text):
        return text
    if not text:
        raise JIDMalformed("empty localpart")
    try:
        prepared: str = _LOCALPART.enforce(text)
    except UnicodeError as error:
        raise JIDMalformed("localpart not allowed by RFC 7622") from error
    if _NOT_IN_LOCALPART.intersection(prepared):
        raise JIDMalformed("localpart has a character that RFC 7622 excludes")
    return _bounded(prepared)


def is_stable_localpart(text: str) -> bool:
    """True if software that still prepares by stringprep (RFC 6122) reads the same localpart."""
    try:
        return bool(nodeprep.prepare(text) == localpart(text))  # type: ignore[no-untyped-call]  # Twisted Words
    except UnicodeError:
        return False


def resourcepart(text: str) -> str:
    """Prepare a resourcepart (§3.4). Raises JIDMalformed."""
    if _PLAIN_RESOURCE.match(text):
        return text
    try:
        prepared: str = _RESOURCEPART.enforce(text)
    except UnicodeError as error:
        raise JIDMalformed("resourcepart not allowed by RFC 7622") from error
    return _bounded(prepared)


@lru_cache(maxsize=4096)
def domain(text: str) -> str:
    """The one canonical form of a domain: A-labels, lower case, no trailing dot (§3.2). Raises JIDMalformed."""
    if text.endswith("."):
        text = text[:-1]
    if _PLAIN_DOMAIN.match(text) and "xn--" not in text:
        return text
    if text.startswith("["):
        return _address_literal(text)
    if not text or len(text) > PART_MAX_BYTES:
        raise JIDMalformed("empty or overlong domainpart")
    try:
        # uts46 folds case and width; IDNA2008 then decides what a label may be.
        canonical = idna.encode(text, uts46=True, transitional=False, std3_rules=True).decode("ascii").lower()
    except (UnicodeError, IndexError) as error:
        raise JIDMalformed("domainpart is not a domain") from error
    if canonical.endswith(".") or not _PLAIN_DOMAIN.match(canonical):
        raise JIDMalformed("domainpart is not a domain")
    return canonical


def _address_literal(text: str) -> str:
    try:
        if not text.endswith("]"):
            raise ValueError(text)
        return f"[{ipaddress.IPv6Address(text[1:-1]).compressed}]"
    except ValueError as error:
        raise JIDMalformed("domainpart is not an address literal") from error


def _bounded(text: str) -> str:
    if not text or len(text.encode()) > PART_MAX_BYTES:
        raise JIDMalformed("part of the address is empty or longer than 1023 bytes")
    return text
