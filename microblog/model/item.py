"""XEP-0060 §4.1: items, and pages of them (XEP-0059)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from microblog.model.jid import JID


class Audience(StrEnum):
    """Who an item is for, from widest to narrowest."""

    PUBLIC = "public"
    FOLLOWERS = "followers"
    DIRECT = "direct"
    LOCAL = "local"


class Proof(StrEnum):
    """How we know that an item is its author's: written here, or by what its stream was authenticated with."""

    LOCAL = "local"
    CERTIFICATE = "certificate"
    DIALBACK = "dialback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A published item. ``payload`` is self-contained XML text or empty; ``position`` orders items of a node.

    A post of a feed ``stands`` in timelines at a time of its own, whenever it came and however often it is edited.
    ``thread``, ``answers``, ``via``: as in ``Entry``. ``key`` is the store's own name for it, 0 until it is stored.
    """

    id: str
    publisher: JID
    payload: str
    published: datetime
    updated: datetime
    position: int = 0
    audience: Audience = Audience.PUBLIC
    proof: Proof = Proof.LOCAL
    key: int = 0
    stands: datetime | None = None
    thread: str = ""
    answers: str = ""
    via: str = ""
    expires: datetime | None = None

    def under(self, key: int) -> "Item":
        """This item under the store's name for it; every post is given one, and ``replace`` takes twice as long."""
        return Item(
            id=self.id,
            publisher=self.publisher,
            payload=self.payload,
            published=self.published,
            updated=self.updated,
            position=self.position,
            audience=self.audience,
            proof=self.proof,
            key=key,
            stands=self.stands,
            thread=self.thread,
            answers=self.answers,
            via=self.via,
            expires=self.expires,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """XEP-0059 §2: what part of a list is asked for. ``max`` 0 asks for the count only."""

    max: int | None = None
    after: str | None = None
    before: str | None = None
    last_page: bool = False
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some items in the order they are sent, the index of the first of them, and how many there are in all."""

    items: tuple[Item, ...]
    count: int
    index: int | None = None
