"""XEP-0277, XEP-0472, RFC 4287: what a post says, as far as the rules and the pages need it.

The payload itself is kept as it came; this is a reading of it. All text is plain text, never markup.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """RFC 4287 §4.2.7, and ``thr:in-reply-to`` (RFC 4685 §3), where ``ref`` is the id of what is answered."""

    href: str = ""
    rel: str = "alternate"
    type: str = ""
    title: str = ""
    ref: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An Atom entry. ``id`` is the Atom id, which is not the item's id."""

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
