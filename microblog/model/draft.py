"""A post as a person means it, before it is an Atom entry: what was written, for whom, in answer to what.

``wire.drafting.write_entry`` makes the entry of it.
"""

from dataclasses import dataclass
from datetime import datetime

from microblog.model.entry import Entry, Link, Location
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.uri import item_uri, node_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A post that another one answers or repeats.

    ``uri``: its address, canonical; ``thread``: the comments node it belongs to, empty if there is none; ``id``: its
    Atom id; ``payload``: the entry itself as text, needed only for what is repeated.
    """

    uri: str
    author: JID
    author_name: str = ""
    thread: str = ""
    id: str = ""
    payload: str = ""

    @staticmethod
    def to(node: Node, item: Item, entry: Entry) -> "Reference":
        """The reference to an item, its own reading given."""
        own = node.name == MICROBLOG
        uri = item_uri(node.service, node.name, item.id)
        thread = item.thread or entry.thread
        if not own:
            thread = node_uri(node.service, node.name)
        return Reference(
            uri=uri,
            author=node.service if own else item.publisher.bare,
            author_name=entry.author_name,
            thread="" if thread == uri else thread,
            id=entry.id,
            payload=item.payload,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """``text`` may have simple markup (XEP-0393), ``@names`` and ``#tags``; with ``via`` it is a comment on what is
    repeated, or empty. ``audience`` None: the author's default. ``mentions``, ``tags``: beyond those in the text.
    ``automatic``: a rule makes it.
    """

    text: str = ""
    audience: Audience | None = None
    enclosures: tuple[Link, ...] = ()
    warning: str = ""
    location: Location | None = None
    language: str = ""
    expires: datetime | None = None
    reply_to: Reference | None = None
    via: Reference | None = None
    mentions: tuple[JID, ...] = ()
    tags: tuple[str, ...] = ()
    automatic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Byline:
    """Who publishes a draft, as which item, and when. An edit has the ``published`` of the first version."""

    author: JID
    item_id: str
    published: datetime
    updated: datetime
    name: str = ""
