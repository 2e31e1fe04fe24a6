"""What people look for in posts: one language for search, for tracks and for rules.

Words, ``"phrases"``, ``#tags``, ``from NAME``, ``@domain``, ``lang:xx``, ``near PLACE 5km``: all of it has to be true
of a post. Words are compared folded (``tokens``), on both sides and by every database alike: without case and accents,
and in scripts that do not part words by spaces each character by itself.
"""

import math
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from microblog.model.entry import Entry, fold_tag
from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID, domain

QUERY_MAX_CHARACTERS: Final = 500
CONDITIONS_MAX: Final = 16
TOKEN_MAX_CHARACTERS: Final = 64
TOKENS_MAX: Final = 10_000
NEAR_METRES: Final = 5_000
NEAR_MAX_METRES: Final = 500_000
# Thai, Lao, Tibetan, Burmese, Khmer, and the scripts of China and Japan.
_UNPARTED: Final = (
    "\u0e01-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af"
)
_TOKEN: Final = re.compile(rf"[{_UNPARTED}]|[^\W_{_UNPARTED}]+")
_PIECE: Final = re.compile(r'"([^"]*)"|(\S+)')
_DISTANCE: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*(km|m)\Z", re.IGNORECASE)
_POINT: Final = re.compile(r"(-?[0-9]{1,2}(?:\.[0-9]{1,10})?),(-?[0-9]{1,3}(?:\.[0-9]{1,10})?)\Z")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,3}\Z")
_MICRO: Final = 1_000_000
_METRES_A_DEGREE: Final = 111_195.0
_EARTH_METRES: Final = 6_371_008.8


def tokens(text: str) -> tuple[str, ...]:
    """The words of a text as they are compared, in order; of an endless text the first ten thousand."""
    if not text.isascii():
        plain = unicodedata.normalize("NFKD", text)
        text = unicodedata.normalize("NFC", "".join(c for c in plain if not unicodedata.category(c).startswith("M")))
    found = (match.group()[:TOKEN_MAX_CHARACTERS] for match in _TOKEN.finditer(text.casefold()))
    return tuple(token for token, _ in zip(found, range(TOKENS_MAX), strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """A place and so many metres around it. Microdegrees. ``name``: as somebody called it."""

    latitude: int
    longitude: int
    metres: int
    name: str = field(default="", compare=False)

    def contains(self, latitude: int, longitude: int) -> bool:
        """Is that point (microdegrees) in it?"""
        here, there = math.radians(self.latitude / _MICRO), math.radians(latitude / _MICRO)
        across = math.radians((longitude - self.longitude) / _MICRO)
        chord = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * math.sin(across / 2) ** 2
        return 2 * _EARTH_METRES * math.asin(min(1.0, math.sqrt(chord))) <= self.metres

    def box(self) -> tuple[int, int, int, int]:
        """South, north, west, east of what it lies in, in microdegrees; west is greater than east across 180°."""
        high = math.ceil(self.metres / _METRES_A_DEGREE * _MICRO)
        south, north = self.latitude - high, self.latitude + high
        if south <= -90 * _MICRO or north >= 90 * _MICRO:
            return max(south, -90 * _MICRO), min(north, 90 * _MICRO), -180 * _MICRO, 180 * _MICRO
        narrowest = math.cos(math.radians(max(abs(south), abs(north)) / _MICRO))
        wide = math.ceil(high / narrowest)
        if wide >= 180 * _MICRO:
            return south, north, -180 * _MICRO, 180 * _MICRO
        return south, north, _around(self.longitude - wide), _around(self.longitude + wide)


def _around(longitude: int) -> int:
    return (longitude + 180 * _MICRO) % (360 * _MICRO) - 180 * _MICRO


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a post is, for who looks for it. ``words``: its tokens; ``tags``: folded; the place in microdegrees."""

    words: tuple[str, ...]
    tags: frozenset[str]
    author: JID
    language: str = ""
    latitude: int | None = None
    longitude: int | None = None

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The different words."""
        return frozenset(self.words)

    @cached_property
    def line(self) -> str:
        """The words with a space around each, for phrases."""
        return f" {' '.join(self.words)} "


def content(entry: Entry, author: JID) -> Content:
    """An entry, by its author, as it is looked for."""
    place = entry.location
    latitude, longitude = (None, None) if place is None else (place.latitude, place.longitude)
    placed = latitude is not None and longitude is not None
    said = (entry.warning, entry.text, place.text if place is not None else "")
    return Content(
        words=tokens("\n".join(said)),
        tags=frozenset(entry.tags),
        author=author.bare,
        language=entry.language.lower(),
        latitude=micro(latitude) if placed and latitude is not None else None,
        longitude=micro(longitude) if placed and longitude is not None else None,
    )


def micro(degrees: float) -> int:
    """Degrees as microdegrees."""
    return round(degrees * _MICRO)


@dataclass(frozen=True, kw_only=True)
class Query:
    """All that has to be true. ``terms``: tokens, several in a row if it is a phrase; ``domains``: of the author."""

    terms: tuple[tuple[str, ...], ...] = ()
    tags: tuple[str, ...] = ()
    authors: tuple[JID, ...] = ()
    domains: tuple[str, ...] = ()
    language: str = ""
    circle: Circle | None = None

    def matches(self, post: Content) -> bool:
        """Is all of it true of a post? One of several authors and domains is enough."""
        if not post.tags.issuperset(self.tags):
            return False
        if (self.authors or self.domains) and not (
            post.author in self.authors or post.author.domainpart in self.domains
        ):
            return False
        if self.language and post.language != self.language and not post.language.startswith(f"{self.language}-"):
            return False
        for term in self.terms:
            if not post.vocabulary.issuperset(term):
                return False
            if len(term) > 1 and f" {' '.join(term)} " not in post.line:
                return False
        if self.circle is None:
            return True
        if post.latitude is None or post.longitude is None:
            return False
        return self.circle.contains(post.latitude, post.longitude)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        kept: dict[str, Any] = {
            "terms": [list(term) for term in self.terms],
            "tags": list(self.tags),
            "authors": [str(author) for author in self.authors],
            "domains": list(self.domains),
            "language": self.language,
        }
        if self.circle is not None:
            circle = self.circle
            kept["circle"] = [circle.latitude, circle.longitude, circle.metres, circle.name]
        return {name: value for name, value in kept.items() if value}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Query":
        """As it was kept."""
        circle = kept.get("circle")
        return cls(
            terms=tuple(tuple(term) for term in kept.get("terms", ())),
            tags=tuple(kept.get("tags", ())),
            authors=tuple(JID.parse(author) for author in kept.get("authors", ())),
            domains=tuple(kept.get("domains", ())),
            language=kept.get("language", ""),
            circle=None
            if circle is None
            else Circle(latitude=circle[0], longitude=circle[1], metres=circle[2], name=circle[3]),
        )

    def __str__(self) -> str:
        """As somebody could write it."""
        said = [term[0] if len(term) == 1 and term[0] not in _WORDS else f'"{" ".join(term)}"' for term in self.terms]
        said += [f"#{tag}" for tag in self.tags]
        said += [f"from {author}" for author in self.authors]
        said += [f"@{domain}" for domain in self.domains]
        if self.language:
            said.append(f"lang:{self.language}")
        if self.circle is not None:
            circle = self.circle
            where = circle.name or f"{circle.latitude / _MICRO:.6f},{circle.longitude / _MICRO:.6f}"
            far = f"{circle.metres / 1000:g}km" if circle.metres >= 1000 else f"{circle.metres}m"
            said.append(f'near "{where}" {far}' if " " in where else f"near {where} {far}")
        return " ".join(said)


_WORDS: Final = frozenset(("from", "near"))


def parse(
    text: str, *, person: Callable[[str], JID | None], place: Callable[[str], Circle | None] = lambda name: None
) -> Query:
    """A query as somebody wrote it; ``person`` and ``place`` find whom and what they name.

    Raises ValueError with a sentence for who wrote it.
    """
    if len(text) > QUERY_MAX_CHARACTERS:
        raise ValueError(f"That is too long to look for: at most {QUERY_MAX_CHARACTERS} characters.")
    found = _Found()
    # Quoted pieces and words; a quotation mark that is alone is none.
    pieces = deque((piece[1] is not None, piece[1] or piece[2] or "") for piece in _PIECE.finditer(text))
    while pieces:
        quoted, piece = pieces.popleft()
        name = "" if quoted else piece.lower()
        if name in _WORDS:
            _named(found, name, pieces, person, place)
        elif not quoted:
            _said(found, piece)
        elif phrase := tokens(piece):
            found.terms.append(phrase)
    query = found.query()
    count = len(query.terms) + len(query.tags) + len(query.authors) + len(query.domains)
    if not count and not query.language and query.circle is None:
        raise ValueError("There is nothing to look for in that: it takes words, #tags, from NAME or near PLACE.")
    if count > CONDITIONS_MAX or sum(map(len, query.terms)) > 4 * CONDITIONS_MAX:
        raise ValueError(f"That is too much to look for at once: at most {CONDITIONS_MAX} words, tags and names.")
    return query


def point(text: str) -> tuple[int, int] | None:
    """``52.52,13.40`` as latitude and longitude in microdegrees; None if it is something else."""
    written = _POINT.match(text)
    if written is None:
        return None
    latitude, longitude = float(written[1]), float(written[2])
    return (micro(latitude), micro(longitude)) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def distance(text: str) -> int | None:
    """``5km``, ``200m`` in metres; None if it is something else, or none that is looked at."""
    written = _DISTANCE.match(text)
    if written is None:
        return None
    metres = round(float(written[1]) * (1000 if written[2].lower() == "km" else 1))
    return metres if 1 <= metres <= NEAR_MAX_METRES else None


# Whether it was quoted, and what it says.
_Pieces = deque[tuple[bool, str]]


@dataclass(slots=True)
class _Found:
    terms: list[tuple[str, ...]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    authors: list[JID] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    language: str = ""
    circle: Circle | None = None

    def query(self) -> Query:
        """Each thing once."""
        return Query(
            terms=tuple(dict.fromkeys(self.terms)),
            tags=tuple(dict.fromkeys(self.tags)),
            authors=tuple(dict.fromkeys(self.authors)),
            domains=tuple(dict.fromkeys(self.domains)),
            language=self.language,
            circle=self.circle,
        )


def _said(found: _Found, piece: str) -> None:
    """A word, a tag, a domain, a language."""
    if piece.startswith("#") and fold_tag(piece):
        found.tags.append(fold_tag(piece))
    elif piece.startswith("@") and len(piece) > 1:
        try:
            found.domains.append(domain(piece[1:]))
        except JIDMalformed as error:
            raise ValueError(f"{piece[:80]} is not the name of a node.") from error
    elif piece.lower().startswith("lang:"):
        if not _LANGUAGE.match(piece[5:]):
            raise ValueError('A language is written as in "lang:de".')
        found.language = piece[5:].lower()
    elif words := tokens(piece):
        # What is written in one piece, like on-line, is in one piece.
        found.terms.append(words)


def _named(
    found: _Found,
    word: str,
    pieces: _Pieces,
    person: Callable[[str], JID | None],
    place: Callable[[str], Circle | None],
) -> None:
    """Whom or what stands behind ``from`` or ``near``."""
    name = pieces.popleft()[1] if pieces else ""
    if not name:
        raise ValueError(f'Behind "{word}" there has to be a name. To look for the word itself, put it in "".')
    if word == "near":
        found.circle = _circle(name, pieces, place)
        return
    author = person(name)
    if author is None:
        raise ValueError(f'There is nobody called {name[:80]}. To look for the word "from", put it in "".')
    found.authors.append(author.bare)


def _circle(name: str, pieces: _Pieces, place: Callable[[str], Circle | None]) -> Circle:
    written = point(name)
    known = place(name) if written is None else Circle(latitude=written[0], longitude=written[1], metres=NEAR_METRES)
    if known is None:
        raise ValueError(f'No place is called {name[:80]}. To look for the word "near", put it in "".')
    metres = distance(pieces[0][1]) if pieces and not pieces[0][0] else None
    if metres is None:
        return known
    pieces.popleft()
    return Circle(latitude=known.latitude, longitude=known.longitude, metres=metres, name=known.name)
