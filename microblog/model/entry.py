"""XEP-0277, XEP-0472, RFC 4287: what a post says, as far as the rules, the timelines and the pages need it.

The payload itself is kept as it came; this is a reading of it. All text is plain text, never markup.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from microblog.model.item import Audience
from microblog.model.jid import JID

# What a like is in Movim: a comment of this title.
HEART: Final = "♥"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """RFC 4287 §4.2.7, and ``thr:in-reply-to`` (RFC 4685 §3), where ``ref`` is the id of what is answered."""

    href: str = ""
    rel: str = "alternate"
    type: str = ""
    title: str = ""
    ref: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """XEP-0080, as much of it as is shown. Degrees."""

    latitude: float | None = None
    longitude: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An Atom entry. ``id`` is the Atom id, which is not the item's id.

    ``tags``: its categories, folded; ``mentions``: whom it names (links with rel ``mentioned``). ``thread``,
    ``answers``, ``via``: canonical URIs, empty if there is none: the comments node it belongs to (link rel
    ``replies``), the item it answers, the item it repeats. ``audience``: None, or what it says of itself.
    ``labels``: its security labels (XEP-0258), as displayed. ``automatic``: a rule made it, nobody wrote it.
    """

    id: str = ""
    title: str = ""
    updated: datetime | None = None
    published: datetime | None = None
    author_name: str = ""
    author_uri: str = ""
    summary: str = ""
    content: str = ""
    links: tuple[Link, ...] = ()
    categories: tuple[str, ...] = ()
    in_reply_to: Link | None = None
    language: str = ""
    tags: tuple[str, ...] = ()
    mentions: tuple[JID, ...] = ()
    thread: str = ""
    answers: str = ""
    via: str = ""
    warning: str = ""
    location: Location | None = None
    audience: Audience | None = None
    expires: datetime | None = None
    labels: tuple[str, ...] = ()
    automatic: bool = False

    @property
    def text(self) -> str:
        """The words of it: the content if it says more than the title."""
        if not self.content or self.content == self.title:
            return self.title or self.summary
        # The title may be its beginning, the last words (what is said to a quotation), or what it is warned of.
        title = self.title.rstrip("…")
        if self.content.startswith(title) or self.content.endswith(title) or self.title == self.warning:
            return self.content
        return f"{self.title}\n{self.content}"

    @property
    def enclosures(self) -> tuple[Link, ...]:
        """What is attached."""
        return tuple(link for link in self.links if link.rel == "enclosure")

    @property
    def is_heart(self) -> bool:
        """A comment that says no more than that somebody likes the post."""
        return self.title == HEART and not self.content.strip(HEART)


# All that clients send for a heart, without what only says how it is drawn.
_HEARTS: Final = frozenset((HEART, "\u2764", "<3"))
_DRAWN: Final = str.maketrans("", "", "\ufe0e\ufe0f")


def fold_reaction(text: str) -> str:
    """A reaction as it is counted: one heart is like another."""
    text = text.strip()
    return HEART if text.translate(_DRAWN) in _HEARTS else text


def fold_tag(tag: str) -> str:
    """A tag as it is compared: without ``#``, case and surrounding space."""
    return tag.strip().lstrip("#").casefold()
