"""XEP-0277, XEP-0472: the microblog node, and what its service adds to a post.

What these say of a node's configuration is its profile (``model.node``), what they say of an entry's form is
``wire.atom``. Here is what happens at the moment of publishing: only an Atom entry becomes a post; markup is made
harmless; a post whose author's client could not name it gets a link to itself (XEP-0472 §3.3), and one that begins a
conversation a link to its comments (XEP-0277 §3). Most clients leave ``#tags`` and ``@names`` in the text: they are
written into the entry. What the administrator's words and labels keep in the house is recognised. Apart from that it is
stored as it came.

Publish-options may carry what is not of the node but of the item (XEP-0060 §7.1.5 knows both): ``microblog#audience``,
``microblog#reader``, ``microblog#expires``.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import quote

from microblog.model.border import NO_BORDER, Border
from microblog.model.entry import Entry
from microblog.model.errors import JIDMalformed, NotAcceptable, PayloadTooBig
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG, is_feed
from microblog.model.uri import item_uri
from microblog.wire import atom, harmless, ns
from microblog.wire.pubsub import Options, Publish
from microblog.wire.xml import read_stamp, to_text
from microblog.xmpp.dispatch import Extension, Spec

READERS_MAX: Final = 100
_PREFIX: Final = "microblog#"
# What follows the address of the microblog node in that of a comments node.
_COMMENTS: Final = quote(COMMENTS_PREFIX.removeprefix(MICROBLOG), safe="")


class Microblog(Extension):
    """Says that accounts have a microblog."""

    specs = (
        Spec(80, "1.10.0", "partial"),
        Spec(258, "1.1.1", "partial"),
        Spec(277, "0.6.5"),
        Spec(372, "0.5.0", "partial"),
        Spec(382, "0.2.0", "partial"),
        Spec(393, "1.1.1", "partial"),
        Spec(472, "0.2.1", "partial"),
    )
    account_features = (ns.MICROBLOG, ns.SOCIAL_FEED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a publisher wants for one item: whom it is for, who reads it if it is direct, when it ends."""

    audience: Audience | None = None
    readers: tuple[JID, ...] = ()
    expires: datetime | None = None


_NO_WISHES: Final = Wishes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A payload as it will be stored, what it says, and the id it will have (None: the store chooses).

    ``options``: what the publisher expects of the node; ``wishes``: what is wanted for the item; ``ceiling``: the
    widest audience that it may have for what it says (None: any).
    """

    item_id: str | None
    payload: str
    entry: Entry | None
    options: Options | None = None
    wishes: Wishes = _NO_WISHES
    ceiling: Audience | None = None


def prepare(service: JID, request: Publish, characters_max: int, *, border: Border = NO_BORDER) -> Prepared:
    """Make what a client published ready to be stored. Raises InvalidPayload, PayloadTooBig, NotAcceptable."""
    options, wishes = split_options(request.options)
    payload, item_id = request.payload, request.item_id
    if payload is None:
        return Prepared(item_id=item_id, payload="", entry=None, options=options, wishes=wishes)
    if is_feed(request.node):
        atom.check_post(payload, item_id)
    if not atom.is_entry(payload):
        return Prepared(item_id=item_id, payload=to_text(payload), entry=None, options=options, wishes=wishes)
    clean = harmless.sanitised(payload)
    texts = () if clean is payload else harmless.rich_texts(clean)
    payload = clean
    if is_feed(request.node):
        # The links need the id, so it is chosen here.
        item_id = item_id or secrets.token_hex(16)
        own = item_uri(service, request.node, item_id)
        post = request.node == MICROBLOG and item_id != "0"
        # The same as node_uri would say of that node, which is not worth remembering.
        comments = own.replace(";item=", _COMMENTS, 1) if post else ""
        payload = atom.with_links(payload, own=own, replies=comments)
    if wishes.expires is not None:
        payload = atom.with_expiry(payload, wishes.expires)
    entry = atom.read_entry(payload)
    assert entry is not None
    _check_length(entry, texts, characters_max)
    if request.node == MICROBLOG and not entry.via:
        named = atom.with_names(payload, entry, service)
        if named is not payload:
            payload, entry = named, atom.read_entry(named) or entry
    if entry.audience is not None:
        # What an entry says of itself is a wish like another; what it gets is written into it when it is known.
        payload = atom.unmarked(payload)
        wishes = wishes if wishes.audience is not None else replace(wishes, audience=entry.audience)
    return Prepared(
        item_id=item_id,
        payload=to_text(payload),
        entry=entry,
        options=options,
        wishes=wishes,
        ceiling=border.ceiling(entry, *texts) if border else None,
    )


def _check_length(entry: Entry, texts: tuple[str, ...], most: int) -> None:
    # Once what says the same twice.
    words = entry.text
    long = len(words) + (len(entry.summary) if entry.summary != words else 0)
    if long > most or any(len(text) > most for text in texts):
        raise PayloadTooBig(f"a post has at most {most} characters")


def split_options(options: Options | None) -> tuple[Options | None, Wishes]:
    """What publish-options expect of the node, and what they want for the item. Raises NotAcceptable."""
    if not options or not any(name.startswith(_PREFIX) for name in options):
        return options, _NO_WISHES
    rest = {name: values for name, values in options.items() if not name.startswith(_PREFIX)}
    ours = {name.removeprefix(_PREFIX): values for name, values in options.items() if name.startswith(_PREFIX)}
    unknown = ours.keys() - {"audience", "reader", "expires"}
    if unknown:
        raise NotAcceptable(f"{_PREFIX}{min(unknown)}: unknown field")
    return rest, Wishes(
        audience=_audience(ours.get("audience", ())),
        readers=_readers(ours.get("reader", ())),
        expires=_expires(ours.get("expires", ())),
    )


def _audience(values: tuple[str, ...]) -> Audience | None:
    try:
        return Audience(values[0]) if any(values) else None
    except ValueError as error:
        raise NotAcceptable(f"{_PREFIX}audience: one of {', '.join(Audience)}") from error


def _readers(values: tuple[str, ...]) -> tuple[JID, ...]:
    if len(values) > READERS_MAX:
        raise NotAcceptable(f"{_PREFIX}reader: at most {READERS_MAX}")
    try:
        return tuple(dict.fromkeys(JID.parse(value).bare for value in values if value))
    except JIDMalformed as error:
        raise NotAcceptable(f"{_PREFIX}reader: not an address") from error


def _expires(values: tuple[str, ...]) -> datetime | None:
    try:
        return read_stamp(values[0]) if any(values) else None
    except (ValueError, OverflowError) as error:
        raise NotAcceptable(f"{_PREFIX}expires: not a date and time (XEP-0082)") from error
