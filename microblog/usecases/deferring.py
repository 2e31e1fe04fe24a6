"""Lines of chat that wait until their reader has time for them, and what they missed while they were away.

What somebody does not want just now is written down where the line would have been (``chatting.tell``), and given out,
oldest first, when they have time: in one transaction it stops to wait and gets its number, so that nothing is given
twice. Of very much a digest says only how much it is. For those who are off line nothing is done at all until they come
back; how much they missed is counted then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from microblog.model.account import Account
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.uri import ItemAddress
from microblog.model.when import When, read_when
from microblog.store.deferred import LINE, Absence, Held
from microblog.store.transaction import Transaction
from microblog.usecases import chatting, muting, reading
from microblog.usecases.chatting import Lines, Spoken, Told
from microblog.usecases.reading import HOME, MENTIONS
from microblog.usecases.settling import DIGEST
from microblog.usecases.sight import Sight

PAUSES_MAX = 200
_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """How much somebody missed: posts, those of them that name them, matches of tracks. None: very many."""

    posts: int | None
    mentions: int | None
    tracks: int

    def __bool__(self) -> bool:
        return self.posts != 0 or self.mentions != 0 or self.tracks != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A line that waits. ``node``, ``item``: what it shows; ``payload``: or all that is known of it."""

    held: Held
    node: Node | None = None
    item: Item | None = None
    payload: str = ""

    @property
    def address(self) -> ItemAddress | None:
        """Of the item that it shows."""
        return self.held.address

    @property
    def is_there(self) -> bool:
        """Is there still something to show?"""
        return self.held.kind == LINE or self.item is not None or bool(self.payload)


# coming and going


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Somebody is there again: what they missed, None if that is nothing or not to be said. ``known``: what is written
    down of their absence; ``begun``, ``last``: since when, and up to which line that waited, ``missed`` is counted."""

    account: int
    known: Absence | None
    missed: Missed | None = None
    begun: datetime | None = None
    last: int = 0


def look(tx: Transaction, localpart: str) -> Return | None:
    """What somebody who comes has missed. It takes a while to count: nothing is written here.

    What waited since before they went is counted with it, and is not due any more then: they will ask for it.
    """
    account = tx.accounts.get(localpart)
    if account is None:
        return None
    known = tx.deferred.absence(account.key)
    if known is None or tx.preferences.get(account.key, DIGEST) == chatting.OFF:
        return Return(account=account.key, known=known)
    # What was shown later than that, they saw: the server died, or they read elsewhere.
    since = max(known.since or known.seen, tx.deferred.last_shown(account.key) or known.seen) + _MOMENT
    missed = _since(tx, account, since)
    if not missed:
        return Return(account=account.key, known=known)
    # What waits since then is of the posts since then: a server that died had not yet noted how long they were there.
    counts = tx.deferred.counts(account.key, known.announced, since)
    return Return(
        account=account.key,
        known=known,
        missed=_sum(missed, counts),
        begun=min(since, _first_waiting(tx, account.key, known.announced) or since),
        last=max(known.announced, tx.deferred.last(account.key)),
    )


def arrive(tx: Transaction, returned: Return) -> Missed | None:
    """Somebody is there, and what they missed is going to be said; None if that was done already."""
    if tx.deferred.absence(returned.account) != returned.known:
        return None
    known = returned.known or Absence(since=None, seen=tx.now)
    here = replace(known, since=None, seen=tx.now)
    if returned.missed is not None:
        here = replace(here, missed=returned.begun, announced=returned.last)
    # An account that was removed meanwhile has no absences.
    if tx.shown.existing((returned.account,)):
        tx.deferred.put_absence(returned.account, here)
    return returned.missed


def _since(tx: Transaction, account: Account, since: datetime) -> Missed:
    return Missed(
        posts=reading.count_after(tx, account, HOME, since),
        mentions=reading.count_after(tx, account, MENTIONS, since),
        tracks=tx.deferred.matches(account.key, since),
    )


def _sum(missed: Missed, counts: Mapping[str, int]) -> Missed:
    to_them = counts.get("mention", 0) + counts.get("direct", 0)
    posts = counts.get("post", 0) + to_them
    return Missed(
        posts=None if missed.posts is None else missed.posts + posts,
        mentions=None if missed.mentions is None else missed.mentions + to_them,
        tracks=missed.tracks + counts.get("track", 0),
    )


def _first_waiting(tx: Transaction, key: int, after: int) -> datetime | None:
    """Where the first of what waits stands."""
    for held in tx.deferred.items(key, after, 1):
        found = None if held.address is None else _look_up(tx, held.address)
        if found is not None:
            return min(held.created, found[1].stands or held.created) - _MOMENT
        return held.created
    return None


def leave(tx: Transaction, key: int) -> None:
    """Nobody is there any more."""
    known = tx.deferred.absence(key)
    # Who was never there, or is removed by now, is not away.
    if known is not None and known.since is None:
        tx.deferred.put_absence(key, replace(known, since=tx.now, seen=tx.now))


def still_there(tx: Transaction) -> None:
    """Whoever was there still is."""
    tx.deferred.still_there()


def begin(tx: Transaction) -> None:
    """The server starts: nobody is there."""
    tx.deferred.nobody_there()


# giving out


def due(tx: Transaction, key: int, reader: JID, most: int) -> list[Waiting]:
    """So many of the lines that wait for somebody, without what a digest has told them of."""
    known = tx.deferred.absence(key)
    return _found(tx, key, reader, tx.deferred.due(key, known.announced if known else 0, most))


def waiting(
    tx: Transaction, key: int, reader: JID, most: int, after: int, audiences: frozenset[Audience]
) -> list[Waiting]:
    """So many of the items that wait for somebody. ``audiences``: of what may go to where they read it."""
    return _found(tx, key, reader, tx.deferred.items(key, after, most), audiences)


def _found(
    tx: Transaction, key: int, reader: JID, rows: Sequence[Held], audiences: frozenset[Audience] = frozenset(Audience)
) -> list[Waiting]:
    sight = Sight(tx, reader, audiences)
    return [_with_item(tx, sight, key, held) for held in rows]


def _with_item(tx: Transaction, sight: Sight, key: int, held: Held) -> Waiting:
    if held.address is None:
        return Waiting(held=held)
    found = _look_up(tx, held.address)
    if found is None:
        return Waiting(held=held, payload=tx.tracks.payload(key, held.address))
    node = sight.readable(found[0].key, found[1])
    # It may have been muted since it waits.
    if node is None or muting.hides(tx, sight.quiet, *found):
        return Waiting(held=held)
    return Waiting(held=held, node=found[0], item=found[1])


def _look_up(tx: Transaction, address: ItemAddress) -> tuple[Node, Item] | None:
    found = tx.nodes.look_up(address.service, address.node, address.item_id or "")
    return None if found is None or found.item is None else (found.node, found.item)


def give(tx: Transaction, key: int, lines: Sequence[tuple[int, Told | Spoken | None]]) -> Lines:
    """Lines stop to wait and are told, as far as there is still something to tell: what becomes of each."""
    there = tx.deferred.drop(key, [held for held, _ in lines])
    told = [one if held in there else None for held, one in lines]
    done = chatting.tell(tx, [one for one in told if one is not None])
    found = iter(done.lines)
    return replace(done, lines=tuple(() if one is None else next(found) for one in told))


def announce(tx: Transaction, key: int) -> Missed:
    """A digest tells of all that waits: how much it is. It is not due any more."""
    known = tx.deferred.absence(key) or Absence(since=None, seen=tx.now)
    counts = tx.deferred.counts(key, known.announced)
    tx.deferred.put_absence(key, replace(known, announced=max(known.announced, tx.deferred.last(key))))
    return _sum(Missed(posts=0, mentions=0, tracks=0), counts)


# what they want


def when(tx: Transaction, key: int) -> When:
    """When somebody wants lines."""
    return read_when(tx.preferences.get(key, chatting.WHEN))


def set_when(tx: Transaction, key: int, wanted: When) -> None:
    """From now on."""
    tx.preferences.set(key, chatting.WHEN, str(wanted))


def pauses(tx: Transaction, key: int) -> dict[str, datetime | None]:
    """What somebody wants no lines of now, each until when."""
    return tx.deferred.pauses(key)


def pause(tx: Transaction, key: int, source: str, until: datetime | None) -> bool:
    """No lines of a source: a bare JID, a tag with its ``#``, or all for an empty one; False if there are too many."""
    tx.deferred.forget_pauses()
    paused = tx.deferred.pauses(key)
    if source not in paused and len(paused) >= PAUSES_MAX:
        return False
    if not source:
        leave(tx, key)
    tx.deferred.pause(key, source, until)
    return True


def resume(tx: Transaction, key: int, source: str) -> bool:
    """Lines of a source again; False if there were some all the time."""
    if not source:
        # Who did not want to hear is not told how much that was.
        known = tx.deferred.absence(key)
        if known is not None and known.since is not None:
            tx.deferred.put_absence(key, replace(known, since=tx.now))
    return tx.deferred.resume(key, source)
