"""What never leaves: the administrator's words and labels, for which a post stays in the house whoever wants it out.

The text is compared as people read it: without case, compatibility forms folded, characters that nobody sees left out.
Words are whole words; a phrase is whole words with any space between them.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from microblog.model.entry import Entry
from microblog.model.item import Audience

# Soft hyphens, joiners, marks of direction and the like: they can stand in a word, and it looks the same.
_UNSEEN: Final = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")


@dataclass(frozen=True, slots=True)
class Border:
    """``words`` and phrases; ``labels``: names of security labels (XEP-0258) as displayed."""

    words: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.words or self.labels)

    def ceiling(self, entry: Entry, *texts: str) -> Audience | None:
        """The widest audience that a post may have; None: any. ``texts``: what it says besides its reading."""
        return Audience.LOCAL if self._labelled(entry.labels) or self._said(entry, texts) else None

    def _labelled(self, labels: Iterable[str]) -> bool:
        # A label that cannot be read is not known to be harmless.
        return bool(self.labels) and any(
            not label.strip() or _fold(label).strip() in _folded(self.labels) for label in labels
        )

    def _said(self, entry: Entry, texts: Iterable[str]) -> bool:
        pattern = _pattern(self.words)
        if pattern is None:
            return False
        said = [entry.title, entry.summary, entry.content, entry.warning, entry.author_name, *entry.categories, *texts]
        said.extend(part for link in entry.links for part in (link.title, link.href))
        if entry.location is not None:
            said.append(entry.location.text)
        return pattern.search(_fold("\n".join(said))) is not None


NO_BORDER: Final = Border()


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _UNSEEN.sub("", text)).casefold())


@lru_cache(maxsize=16)
def _folded(labels: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_fold(label).strip() for label in labels)


@lru_cache(maxsize=16)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str] | None:
    phrases = [r"\s+".join(map(re.escape, _fold(word).split())) for word in words]
    choice = "|".join(phrase for phrase in phrases if phrase)
    return re.compile(rf"(?<!\w)(?:{choice})(?!\w)") if choice else None
