"""What people do not want to read, for ever or for a time: a person, a domain, a tag, words, a thread.

What is muted is in none of the timelines, found by no search and told by no line; it stays where it is, and whoever
asks for somebody's own posts gets them. Nobody else learns of it. ``quiet`` says all that one reader does not want,
with whom they blocked, and who blocked them: whoever shows posts of several people asks it of each.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from microblog.model.entry import fold_tag
from microblog.model.errors import BadRequest, ItemNotFound, NotAllowed, ResourceConstraint
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.quiet import Blocks, Mute, MuteKind, Quiet, Traits, muted_words, traits
from microblog.model.uri import ItemAddress
from microblog.store.transaction import Transaction

MUTES_MAX: Final = 1000
TAG_MAX_CHARACTERS: Final = 100
What = JID | ItemAddress | str


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteThis:
    """``what``: somebody or, without a name, a domain; an item, for its thread; ``#tag``; words."""

    account: int
    actor: JID
    what: What
    until: datetime | None = None


def mute(tx: Transaction, request: MuteThis) -> Mute:
    """Mute something; again, and only how long it lasts changes.

    Raises: NotAllowed for oneself and this domain, BadRequest, ItemNotFound, ResourceConstraint.
    """
    found = meant(tx, request.what, request.until)
    jids = (str(request.actor.bare), tx.domain)
    if found.kind in (MuteKind.PERSON, MuteKind.DOMAIN) and found.value in jids:
        raise NotAllowed("that is you")
    if found not in tx.mutes.of(request.account) and tx.mutes.count(request.account) >= MUTES_MAX:
        tx.mutes.forget()
        if tx.mutes.count(request.account) >= MUTES_MAX:
            raise ResourceConstraint(f"you have muted as much as one may: {MUTES_MAX}")
    tx.mutes.put(request.account, found)
    return found


def unmute(tx: Transaction, request: MuteThis) -> Mute:
    """Mute it no more. Raises ItemNotFound if it is not muted, BadRequest."""
    found = meant(tx, request.what)
    if not tx.mutes.remove(request.account, found.kind, found.value):
        raise ItemNotFound("it is not muted")
    return found


def unmute_all(tx: Transaction, account: int) -> int:
    """Mute nothing any more; how much that was."""
    return tx.mutes.remove_all(account)


def mutes(tx: Transaction, account: int) -> tuple[Mute, ...]:
    """What somebody muted."""
    return tuple(tx.mutes.of(account))


def meant(tx: Transaction, what: What, until: datetime | None = None) -> Mute:
    """What somebody means to mute. Raises BadRequest, ItemNotFound."""
    if isinstance(what, JID):
        kind, value = MuteKind.PERSON if what.localpart else MuteKind.DOMAIN, str(what.bare)
    elif isinstance(what, ItemAddress):
        kind, value = MuteKind.THREAD, _thread(tx, what)
    elif what.startswith("#"):
        kind, value = MuteKind.TAG, fold_tag(what)
        if not value or len(value) > TAG_MAX_CHARACTERS or " " in value:
            raise BadRequest("that is no tag")
    else:
        kind, value = MuteKind.WORD, muted_words(what)
        if not value:
            raise BadRequest("up to twelve words in a row can be muted")
    return Mute(kind=kind, value=value, until=until)


def _thread(tx: Transaction, address: ItemAddress) -> str:
    """The thread that an item belongs to, or that begins with it."""
    found = tx.nodes.look_up(address.service, address.node, address.item_id or "")
    if found is None or found.item is None:
        return address.uri
    return found.item.thread or address.uri


def forget(tx: Transaction) -> int:
    """Forget mutes whose time is over; how many."""
    return tx.mutes.forget()


def everything(tx: Transaction) -> tuple[list[tuple[JID, Mute]], list[tuple[JID, JID]]]:
    """What everybody muted, and whom they blocked."""
    return tx.mutes.all(), tx.blocks.all()


# what one reader does not want


def quiet(tx: Transaction, reader: JID, *, muting: bool = True) -> Quiet:
    """All that somebody does not want to read. ``muting``: also what they muted, not only whom they blocked.

    Of somebody elsewhere only who blocked them is known.
    """
    reader = reader.bare
    mutes, blocks, blocked = tx.blocks.any(reader)
    found: dict[MuteKind, set[str]] = {}
    for one in tx.mutes.of_name(reader.localpart) if muting and mutes else ():
        found.setdefault(one.kind, set()).add(one.value)
    return Quiet(
        reader=reader,
        people=frozenset(map(JID.parse, found.get(MuteKind.PERSON, ()))),
        domains=frozenset(found.get(MuteKind.DOMAIN, ())),
        tags=frozenset(found.get(MuteKind.TAG, ())),
        threads=frozenset(found.get(MuteKind.THREAD, ())),
        words=tuple(f" {words} " for words in found.get(MuteKind.WORD, ())),
        avoided=tx.blocks.of_name(reader.localpart) if blocks else Blocks(),
        avoiding=tx.blocks.by_anybody(reader) if blocked else frozenset(),
    )


def hides(tx: Transaction, quiet: Quiet, node: Node, item: Item) -> bool:
    """Is an item not shown to that reader?"""
    return bool(quiet) and quiet.hides(traits_of(tx, quiet, node, item))


def traits_of(tx: Transaction, quiet: Quiet, node: Node, item: Item) -> Traits:
    """The traits of an item, as far as it matters to that reader."""
    return traits(node.service, node.name, item, tx.read_entry(item.payload) if quiet.reads else None)
