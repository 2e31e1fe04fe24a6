"""What this node wants to have to do with other domains: grades, and the rules that give them.

A rule for a domain covers what stands below it as well: ``example.org`` is also ``pubsub.example.org``. Of several
that cover a domain the nearest one of the administrator's own counts, and whatever lists say besides. Where the
administrator has said nothing, the strictest of the lists that are followed counts. Lists can only restrict; and what
one says of a top-level domain is not said of all below it, or whoever keeps it could cut a node off from the world with
one line.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

# "open": every domain that is not refused; "allowlist": only those the administrator has named.
FederationMode = Literal["open", "allowlist"]


class Grade(StrEnum):
    """How much of a domain is let in, from everything to nothing.

    No media: what it sends is taken without images, enclosures and attachments. Silenced: its posts are for those who
    follow their authors, and are in no listing for everybody; nobody there can mention or write to somebody who does
    not follow them. Refused: no streams, nothing is sent or taken, and what we have of it is removed.
    """

    ALLOWED = "allowed"
    NO_MEDIA = "no-media"
    SILENCED = "silenced"
    REFUSED = "refused"


STRICTNESS = {grade: strictness for strictness, grade in enumerate(Grade)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What somebody says of a domain. ``grade`` None: nothing. ``source``: empty for the administrator, else a list.

    ``dialback``: what is not public may go there though it has no certificate.
    """

    domain: str
    grade: Grade | None = None
    dialback: bool = False
    reason: str = ""
    source: str = ""


def covering(domain: str) -> Iterator[str]:
    """The domain and all above it, nearest first."""
    yield domain
    while (dot := domain.find(".")) >= 0:
        domain = domain[dot + 1 :]
        yield domain


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules at one time."""

    mode: FederationMode = "open"
    own: Mapping[str, Grade] = field(default_factory=dict)
    listed: Mapping[str, Grade] = field(default_factory=dict)
    dialback: frozenset[str] = frozenset()

    @staticmethod
    def of(mode: FederationMode, rules: Iterable[Rule]) -> "Rules":
        """Of what is written down."""
        own: dict[str, Grade] = {}
        listed: dict[str, Grade] = {}
        dialback = set()
        for rule in rules:
            if rule.source:
                if rule.grade is not None:
                    known = listed.get(rule.domain, Grade.ALLOWED)
                    listed[rule.domain] = max(known, rule.grade, key=STRICTNESS.__getitem__)
                continue
            if rule.grade is not None:
                own[rule.domain] = rule.grade
            if rule.dialback:
                dialback.add(rule.domain)
        return Rules(mode, own, listed, frozenset(dialback))

    def grade(self, domain: str) -> Grade:
        """What counts for a domain."""
        strictest = Grade.ALLOWED
        for name in covering(domain):
            own = self.own.get(name)
            if own is not None:
                return own
            if "." in name or name == domain:
                strictest = max(strictest, self.listed.get(name, Grade.ALLOWED), key=STRICTNESS.__getitem__)
        return strictest if self.mode == "open" else Grade.REFUSED

    @property
    def refuses_any(self) -> bool:
        """Is there any domain that is refused?"""
        return self.mode != "open" or Grade.REFUSED in self.own.values() or Grade.REFUSED in self.listed.values()

    def refuses(self, domain: str) -> bool:
        """Nothing goes there, and nothing comes."""
        return self.grade(domain) is Grade.REFUSED

    def dialback_suffices(self, domain: str) -> bool:
        """May what is not public go there without a certificate?"""
        return bool(self.dialback) and not self.dialback.isdisjoint(covering(domain))
