"""XEP-0080, as far as people speak of it: places with names, and where somebody is.

Nobody is known more exactly than to a thousandth of a degree, about a hundred metres: what says more is rounded before
it is kept. Coordinates are microdegrees.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from microblog.model.query import Circle

# XEP-0080 §4.1: the node at which a client says where its owner is.
GEOLOC: Final = "http://jabber.org/protocol/geoloc"
# Where somebody is who speaks of it.
HERE: Final = "here"
TITLE_MAX_CHARACTERS: Final = 64
METRES: Final = 500
METRES_MIN: Final = 100
METRES_MAX: Final = 100_000
ROUNDED_TO: Final = 1000
# After so long nobody is sure to be where they said.
FRESH: Final = timedelta(hours=12)
_TITLE: Final = re.compile(r'[^\W\d_][^:"#@~]*\Z')


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """``title``: as it was written. ``shared``: an administrator named it for everybody here."""

    title: str
    latitude: int
    longitude: int
    metres: int = METRES
    shared: bool = False

    @property
    def circle(self) -> Circle:
        """What counts as being there."""
        return Circle(latitude=self.latitude, longitude=self.longitude, metres=self.metres, name=self.title)


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where somebody is. ``text``: as they call it. ``shared``: their client says it, not they themselves."""

    latitude: int
    longitude: int
    text: str = ""
    shared: bool = False
    updated: datetime

    def is_in(self, circle: Circle, now: datetime) -> bool:
        """Are they there, as far as that is sure?"""
        return now - self.updated <= FRESH and circle.contains(self.latitude, self.longitude)


def rounded(micro: int) -> int:
    """As exact as it is kept."""
    return round(micro / ROUNDED_TO) * ROUNDED_TO


def fold_place(name: str) -> str:
    """A name as it is compared."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def title_of(name: str) -> str | None:
    """A name as it is shown; None if nothing can be called so."""
    title = " ".join(name.split())
    visible = not any(unicodedata.category(character).startswith("C") for character in title)
    fits = len(title) <= TITLE_MAX_CHARACTERS and len(fold_place(title)) <= 2 * TITLE_MAX_CHARACTERS
    return title if visible and fits and _TITLE.match(title) and fold_place(title) != HERE else None
