"""docs/protocol/fanout.md, the origin: what another node asks about its log, and about who follows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from microblog.model.access import audience_of
from microblog.model.errors import AnotherEpoch, BeyondHorizon, Forbidden, ItemNotFound
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.logs import KnownSet
from microblog.store.transaction import Transaction
from microblog.usecases import identity
from microblog.usecases.addressing import Named
from microblog.usecases.entries import Entries, Entry, Maker, without_gaps
from microblog.usecases.forwarding import epoch

FOLLOWERS_MAX: Final = 1000  # in one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A domain asks for at most so many entries behind a number. ``given``: the last that it can have been given, if
    that is known."""

    domain: str
    epoch: str
    after: int
    max: int
    trusted: bool
    named: Named
    given: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Followers:
    """A domain asks who of its people we know as followers of an author; from behind an address on."""

    domain: str
    author: JID
    after: JID | None = None
    trusted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowersPage:
    """Some of them. ``known``: the whole set; ``changed``: it is another one than we wrote down last, of that node."""

    known: KnownSet
    jids: tuple[JID, ...]
    more: bool
    changed: Mapping[int, KnownSet] = field(default_factory=dict)


def fetch(tx: Transaction, asked: Asked) -> Entries:
    """What a domain misses. Raises AnotherEpoch, BeyondHorizon.

    To one without a certificate what is not for everybody is void, and nothing is sent beyond what is still pending.
    """
    peer, now = tx.peers.get(asked.domain), epoch(tx, asked.domain)
    if asked.epoch != now:
        raise AnotherEpoch(epoch=now)
    given = peer.number if asked.given is None else max(asked.given, peer.acknowledged)
    if asked.after > min(given, peer.number):
        return Entries(epoch=now, prev=asked.after, last=peer.number, beyond=True)
    if asked.after == peer.number:
        return Entries(epoch=now, prev=asked.after, last=peer.number)
    first = tx.logs.first(asked.domain)
    horizon = peer.number if first is None else first - 1
    if asked.after < horizon:
        raise BeyondHorizon(number=horizon)
    made = Maker(tx, asked.domain, asked.trusted and identity.trusts(tx, asked.domain), asked.named)
    entries: list[Entry] = []
    rows = tx.logs.entries(asked.domain, asked.after, asked.max)
    for number, row in without_gaps(rows, asked.after, min(peer.number, asked.after + asked.max)):
        entry = Entry(number=number) if row is None else made.of(number, row)
        if entry is None:
            if number > peer.acknowledged:
                break
            entry = Entry(number=number)
        entries.append(entry)
    return Entries(epoch=now, prev=asked.after, entries=tuple(entries), last=peer.number, changed=made.changed)


def followers(tx: Transaction, asked: Followers) -> FollowersPage:
    """Who of a domain reads an author's feed. Raises ItemNotFound, Forbidden to a domain without a certificate."""
    author = asked.author
    node = tx.nodes.find(author, MICROBLOG) if author.domainpart == tx.domain else None
    audience = Audience.LOCAL if node is None else audience_of(node.config)
    open_ = audience is Audience.PUBLIC
    if not open_ and not (asked.trusted and identity.trusts(tx, asked.domain)):
        # Whether there is such an author is not said either.
        raise Forbidden("this needs a certificate")
    if node is None or audience is Audience.LOCAL:
        raise ItemNotFound("no such author")
    made = Maker(tx, asked.domain, True, lambda _: ())
    jids = sorted(made.entitled(node), key=str)
    if not jids and not open_:
        raise ItemNotFound("no such author")
    known = made.known_set(node)
    rest = [jid for jid in jids if asked.after is None or str(jid) > str(asked.after)]
    return FollowersPage(
        known=known,
        jids=tuple(rest[:FOLLOWERS_MAX]),
        more=len(rest) > FOLLOWERS_MAX,
        # Of a domain where nobody ever followed nothing is written down, whatever it asks.
        changed=made.changed if jids or known.version > 1 else {},
    )
