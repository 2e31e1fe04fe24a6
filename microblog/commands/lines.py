"""The lines in which posts are shown in chat: who says what, to whom, and the number to speak of it.

``juliet@capulet.example: Good night! #12``; people of this domain go by their names alone. Whatever a post contains, it
stays inside its own line: the second line of a text is indented, and what would turn its direction is left out.
"""

from collections.abc import Mapping
from typing import Final

from microblog.commands.command import Post
from microblog.commands.texts import say
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress, read_uri

TEXT_MAX_CHARACTERS: Final = 1000
ENCLOSURES_MAX: Final = 4
# Overrides and isolates of direction, and what separates lines without being a line break.
_TURNS: Final = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C))
_BREAKS: Final = {0x2028: "\n", 0x2029: "\n", 0x0B: "\n", 0x0C: "\n", 0x85: "\n", 0x0D: "\n"}


def name_of(jid: JID, domain: str) -> str:
    """How somebody is called: people of this domain by name, others by address."""
    return jid.localpart if jid.localpart and jid.domainpart == domain else str(jid.bare)


def author_of(post: Post) -> JID:
    """Whose post it is: a feed's owner's, whatever stands in it; a comment is its publisher's."""
    return post.node.service if post.node.name == MICROBLOG else post.item.publisher.bare


def answered_by(post: Post) -> ItemAddress | None:
    """The item that a post answers."""
    address = read_uri(post.entry.answers) if post.entry.answers else None
    return address if address is not None and address.item_id is not None else None


def line(
    post: Post, number: int, numbers: Mapping[ItemAddress, int], *, reader: JID, domain: str, language: str
) -> str:
    """A post as one line for somebody. ``numbers``: of other items that they have been shown."""
    return f"{_head(post, numbers, reader, domain, language)}: {_content(post, language)}  #{number}"


def _head(post: Post, numbers: Mapping[ItemAddress, int], reader: JID, domain: str, language: str) -> str:
    author = name_of(author_of(post), domain)
    marks = {Audience.DIRECT: "chat.private", Audience.LOCAL: "chat.local"}
    mark = marks.get(post.item.audience)
    head = f"{say(language, mark)} {author}" if mark else author
    via = read_uri(post.entry.via) if post.entry.via else None
    if via is not None:
        original = name_of(via.service, domain)
        head = f"{say(language, mark)} {original}" if mark else original
        return say(language, "chat.via", name=head, by=author)
    answered = answered_by(post)
    if answered is not None:
        head = f"{head} > {_answered(post, answered, numbers, reader, domain, language)}"
    return head


def _answered(
    post: Post, answered: ItemAddress, numbers: Mapping[ItemAddress, int], reader: JID, domain: str, language: str
) -> str:
    number = numbers.get(answered)
    mine = answered.service == reader and answered.node == MICROBLOG
    if mine:
        name = say(language, "chat.you")
    elif answered.node == MICROBLOG:
        name = name_of(answered.service, domain)
    else:
        # A comment: its node says whose post is commented, not whose comment this answers.
        name = "" if number is not None else name_of(answered.service, domain)
    return " ".join(part for part in (name, f"#{number}" if number is not None else "") if part)


def _content(post: Post, language: str) -> str:
    entry = post.entry
    text = plain(entry.text)
    if len(text) > TEXT_MAX_CHARACTERS:
        text = text[: TEXT_MAX_CHARACTERS - 1].rstrip() + "…"
    parts = [f"[{' '.join(plain(entry.warning).split())}]"] if entry.warning else []
    parts.append(text)
    links = [link.href for link in entry.enclosures[:ENCLOSURES_MAX] if link.href not in entry.text]
    parts.extend(" ".join(plain(href).split()) for href in links)
    return " ".join(part for part in parts if part).replace("\n", "\n  ")


def plain(text: str) -> str:
    """A text without what would break out of its line."""
    return text.translate(_TURNS).replace("\r\n", "\n").translate(_BREAKS)


def brief(text: str, most: int) -> str:
    """The beginning of a text on one line, in its direction."""
    text = " ".join(text.translate(_TURNS).split())
    return text if len(text) <= most else text[: most - 1] + "…"
