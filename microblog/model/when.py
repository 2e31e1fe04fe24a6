"""When people want lines of chat: by what their presence says of them (RFC 6121 §4.7.2.1).

The policies are words of ``when``. ``away 15``, which holds until something else is said: at once to those who are
there, in batches to those who are away for a while, only what is for oneself or urgent to those who do not want to be
disturbed. ``online``: the same, and nothing to those who are away. ``always``: at once, whatever the presence says.
``never``: nothing by itself. Who is off line is told nothing in any case, and how much it was when they come back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

MINUTES: Final = 15
MINUTES_MAX: Final = 24 * 60


class Show(StrEnum):
    """What presence says; ``online`` is that which says nothing, as in XEP-0060's ``show-values``."""

    ONLINE = "online"
    CHAT = "chat"
    AWAY = "away"
    XA = "xa"
    DND = "dnd"


class Policy(StrEnum):
    """What somebody said."""

    AWAY = "away"
    ONLINE = "online"
    ALWAYS = "always"
    NEVER = "never"


class Pace(IntEnum):
    """How lines come: at once; together after some minutes; only what is direct or urgent; not at all."""

    NOW = 0
    BATCH = 1
    URGENT = 2
    NOTHING = 3

    def holds(self, *, urgent: bool) -> bool:
        """Does a line wait for better times?"""
        return self in (Pace.BATCH, Pace.URGENT) and not urgent


# The best first: one who is there with one client is there.
_BEST: Final = (Show.CHAT, Show.ONLINE, Show.AWAY, Show.XA, Show.DND)


def show_of(text: str) -> Show:
    """What a ``<show/>`` says; what is unknown says nothing."""
    text = text.strip()
    return Show(text) if text in ("chat", "away", "xa", "dnd") else Show.ONLINE


def best(shows: Iterable[Show]) -> Show | None:
    """What somebody with several clients is; None if there is none."""
    found = set(shows)
    return next((show for show in _BEST if show in found), None)


@dataclass(frozen=True, slots=True)
class When:
    """What somebody said of when they want lines."""

    policy: Policy = Policy.AWAY
    minutes: int = MINUTES

    def __str__(self) -> str:
        """As it is kept."""
        return f"{self.policy} {self.minutes}" if self.policy is Policy.AWAY else str(self.policy)

    def pace(self, show: Show | None) -> Pace:
        """How lines come to somebody who is like that; None: off line."""
        if show is None or self.policy is Policy.NEVER:
            return Pace.NOTHING
        if self.policy is Policy.ALWAYS or show in (Show.ONLINE, Show.CHAT):
            return Pace.NOW
        return Pace.BATCH if self.policy is Policy.AWAY and show is not Show.DND else Pace.URGENT


DEFAULT: Final = When()


def read_when(text: str | None) -> When:
    """What was kept; the default for what makes no sense."""
    word, _, number = (text or "").partition(" ")
    if word not in set(Policy):
        return DEFAULT
    minutes = int(number) if number.isascii() and number.isdigit() and len(number) <= 4 else MINUTES
    return When(Policy(word), max(1, min(minutes, MINUTES_MAX)))
