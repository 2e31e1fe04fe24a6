"""Nodes elsewhere that look for something in the name of somebody here.

What they give is a lease, asked for again every day. What they find is theirs to send and not to judge: it is taken
from the node that was asked only, by the name that it gave the lease, of people of its domain only, and only if it is
what was looked for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from microblog.model.entry import Entry
from microblog.model.errors import BadRequest, ItemRequired
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.naming import check_item_id
from microblog.model.node import MICROBLOG
from microblog.model.query import content
from microblog.model.uri import ItemAddress
from microblog.store.tracks import Track
from microblog.store.transaction import Transaction
from microblog.usecases import identity
from microblog.usecases.tracking import is_there

RENEW: Final = timedelta(days=1)
RETRY: Final = timedelta(hours=1)
DUE_OF_EACH: Final = 50  # tracks at one node, at a time
# What is wrong with a track that a node elsewhere is to look for.
UNREACHABLE: Final = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A post of elsewhere as a node sends it that looks for somebody here."""

    id: str
    publisher: JID
    payload: str
    entry: Entry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What a node elsewhere tells ``owner``. ``leases``: by which it names the tracks.

    ``publishers``: of what was retracted, by ids; of one that is not there anybody's of that domain is meant.
    """

    owner: JID
    domain: str
    leases: frozenset[str]
    found: tuple[Found, ...] = ()
    retracted: tuple[str, ...] = ()
    publishers: Mapping[str, frozenset[JID]] = field(default_factory=dict)


def due(tx: Transaction, limit: int) -> tuple[Track, ...]:
    """The tracks that nodes elsewhere are to be asked for: again every day, every hour while they cannot be reached."""
    return tuple(tx.tracks.due(tx.now - RENEW, tx.now - RETRY, UNREACHABLE, limit, DUE_OF_EACH))


def granted(tx: Transaction, track: Track, lease: str) -> bool:
    """A node elsewhere looks for it, and knows it as ``lease``; False if it is not wanted any more."""
    if not is_there(tx, track):
        return False
    tx.tracks.change(track.key, lease=lease, checked=tx.now, problem="")
    return True


def troubled(tx: Transaction, track: Track, problem: str) -> None:
    """A node elsewhere does not look for it."""
    if is_there(tx, track):
        tx.tracks.change(track.key, checked=tx.now, problem=problem)


def is_lease(tx: Transaction, request: Arrived) -> bool:
    """Was that node asked in the owner's name, and not by a client of theirs on its own?"""
    return bool(_leased(tx, request))


def _leased(tx: Transaction, request: Arrived) -> list[Track]:
    return [
        track
        for track in tx.tracks.of(request.owner)
        if track.service == request.domain and track.lease and track.lease in request.leases
    ]


def accept(tx: Transaction, request: Arrived) -> list[tuple[Track, Found]]:
    """What is to be taken of what a node elsewhere sent: each post with a track that it meets.

    Also forgets what is gone there.
    """
    if request.domain == tx.domain or not identity.trusts(tx, request.domain):
        return []
    tracks = _leased(tx, request)
    if not tracks:
        return []
    if request.retracted:
        tx.tracks.gone(
            key
            for key, address in tx.tracks.found_elsewhere([track.key for track in tracks], request.retracted)
            if address.service.domainpart == request.domain
            and address.service in request.publishers.get(address.item_id or "", (address.service,))
        )
    return [(track, found) for found in request.found if _is_taken(tx, request, found) for track in _met(tracks, found)]


def _is_taken(tx: Transaction, request: Arrived, found: Found) -> bool:
    publisher, entry = found.publisher, found.entry
    if publisher.domainpart != request.domain or not publisher.localpart or entry is None:
        return False
    if entry.audience not in (None, Audience.PUBLIC) or len(found.payload.encode()) > tx.limits.payload_max_bytes:
        return False
    try:
        check_item_id(found.id)
    except (BadRequest, ItemRequired):
        return False
    known = tx.nodes.look_up(publisher.bare, MICROBLOG, found.id)
    return known is None or not known.retracted


def _met(tracks: Iterable[Track], found: Found) -> list[Track]:
    """It is for the owner to say what they look for, and not for who found it."""
    assert found.entry is not None
    said = content(found.entry, found.publisher)
    return [track for track in tracks if track.query.matches(said)]


def address_of(found: Found) -> ItemAddress:
    """Where a post is that was found elsewhere."""
    return ItemAddress(found.publisher.bare, MICROBLOG, found.id)
