"""What somebody does not want to read: what they muted, whom they blocked, and who blocked them (XEP-0191).

A ``Mute`` is of a person, a domain, a tag, a word or words in a row, or a thread, for ever or for a time. Nobody but
its owner ever hears of it. Whom somebody blocked is not there for them at all, and they are not there for that one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Final

from microblog.model.entry import Entry
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.query import tokens
from microblog.model.uri import item_uri, read_uri

WORDS_MAX: Final = 12
WORDS_MAX_CHARACTERS: Final = 100


class MuteKind(StrEnum):
    """Of what a mute is."""

    PERSON = "person"
    DOMAIN = "domain"
    TAG = "tag"
    WORD = "word"
    THREAD = "thread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute:
    """``value``: bare JID, domain, folded tag, folded words with a space between them, URI of a thread."""

    kind: MuteKind
    value: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The addresses that somebody blocked (XEP-0191): bare JIDs, full JIDs, domains."""

    people: frozenset[JID] = frozenset()
    full: frozenset[JID] = frozenset()
    domains: frozenset[str] = frozenset()

    @staticmethod
    def of(jids: Iterable[JID]) -> "Blocks":
        """From the addresses."""
        people, full, domains = set(), set(), set()
        for jid in jids:
            if jid.resourcepart:
                full.add(jid)
            elif jid.localpart:
                people.add(jid)
            else:
                domains.add(jid.domainpart)
        return Blocks(people=frozenset(people), full=frozenset(full), domains=frozenset(domains))

    def __bool__(self) -> bool:
        return bool(self.people or self.full or self.domains)

    def match(self, jid: JID) -> bool:
        """Is an address blocked, as it is or with all of its account or domain?"""
        return jid.domainpart in self.domains or jid.bare in self.people or (bool(self.full) and jid in self.full)


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What of a post somebody may not want. ``people``: its author, whose feed it is in, whose post it repeats."""

    author: JID
    people: frozenset[JID]
    threads: frozenset[str] = frozenset()
    entry: Entry | None = None

    @cached_property
    def domains(self) -> frozenset[str]:
        """Of the people."""
        return frozenset(jid.domainpart for jid in self.people)

    @cached_property
    def tags(self) -> frozenset[str]:
        """Folded."""
        return frozenset() if self.entry is None else frozenset(self.entry.tags)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Folded, in order."""
        return () if self.entry is None else tokens(f"{self.entry.warning}\n{self.entry.text}")

    @cached_property
    def line(self) -> str:
        """The words, each between spaces."""
        return f" {' '.join(self.words)} "


def traits(service: JID, node: str, item: Item, entry: Entry | None = None) -> Traits:
    """Those of an item of a node."""
    people = {item.publisher.bare, service}
    repeated = read_uri(item.via) if item.via else None
    if repeated is not None:
        people.add(repeated.service)
    threads = {item_uri(service, node, item.id), item.thread, item.answers} - {""}
    return Traits(author=item.publisher.bare, people=frozenset(people), threads=frozenset(threads), entry=entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """What one reader does not want. ``avoided``: whom they blocked; ``avoiding``: who here blocked them.

    ``words``: folded, each with spaces around and between them.
    """

    reader: JID
    people: frozenset[JID] = frozenset()
    domains: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    threads: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    avoided: Blocks = field(default_factory=Blocks)
    avoiding: frozenset[JID] = frozenset()

    def __bool__(self) -> bool:
        return bool(
            self.people or self.domains or self.tags or self.threads or self.words or self.avoided or self.avoiding
        )

    @property
    def reads(self) -> bool:
        """Does it depend on what posts say?"""
        return bool(self.tags or self.words)

    def avoids(self, jid: JID) -> bool:
        """Is one of the two blocked by the other?"""
        return jid in self.avoiding or self.avoided.match(jid)

    def hides_all_of(self, jid: JID) -> bool:
        """Is nothing shown of somebody?"""
        return jid != self.reader and (self.avoids(jid) or jid in self.people or jid.domainpart in self.domains)

    def hides(self, post: Traits) -> bool:
        """Is a post not shown? One's own always is."""
        if post.author == self.reader:
            return False
        if any(map(self.hides_all_of, post.people)):
            return True
        if not self.threads.isdisjoint(post.threads) or not self.tags.isdisjoint(post.tags):
            return True
        return any(words in post.line for words in self.words)


def muted_words(text: str) -> str:
    """Words as they are muted; empty if there are none, or too many."""
    found = tokens(text)
    folded = " ".join(found)
    return folded if 0 < len(found) <= WORDS_MAX and len(folded) <= WORDS_MAX_CHARACTERS else ""
