"""XEP-0277, XEP-0472: the microblog node, and what its service adds to a post.

What these say of a node's configuration is its profile (``model.node``), what they say of an entry's form is
``wire.atom``. Here is what happens at the moment of publishing: only an Atom entry becomes a post, and one whose
author's client could not name it gets a link to itself (XEP-0472 §3.3). Apart from that it is stored as it came.
"""

import secrets
from dataclasses import dataclass

from microblog.model.entry import Entry
from microblog.model.errors import PayloadTooBig
from microblog.model.jid import JID
from microblog.model.node import is_feed
from microblog.wire import atom, ns
from microblog.wire.pubsub import Publish
from microblog.wire.xml import to_text
from microblog.xmpp.dispatch import Extension, Spec


class Microblog(Extension):
    """Says that accounts have a microblog."""

    specs = (Spec(277, "0.6.5"), Spec(472, "0.2.1", "partial"))
    account_features = (ns.MICROBLOG, ns.SOCIAL_FEED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A payload as it will be stored, what it says, and the id it will have (None: the store chooses)."""

    item_id: str | None
    payload: str
    entry: Entry | None


def prepare(service: JID, request: Publish, characters_max: int) -> Prepared:
    """Make what a client published ready to be stored. Raises InvalidPayload, PayloadTooBig."""
    payload, item_id = request.payload, request.item_id
    if payload is None:
        return Prepared(item_id=item_id, payload="", entry=None)
    if is_feed(request.node):
        atom.check_post(payload, item_id)
        if atom.is_entry(payload):
            # The link needs the id, so it is chosen here.
            item_id = item_id or secrets.token_hex(16)
            payload = atom.with_alternate(payload, atom.item_uri(service, request.node, item_id))
    entry = atom.read_entry(payload)
    if entry is not None and len(entry.title) + len(entry.summary) + len(entry.content) > characters_max:
        raise PayloadTooBig(f"a post has at most {characters_max} characters")
    return Prepared(item_id=item_id, payload=to_text(payload), entry=entry)
