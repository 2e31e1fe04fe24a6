"""Which tracks a post meets: found behind the publishing, from the log of events, so that none is lost or found twice.

All tracks are in memory (``model.track``), read at the start; until then the log waits. A step (``xep.trail``) takes
some events, finds whose tracks each post meets, and writes down the matches together with how far it has come. What is
for people elsewhere is owed to their domains in the same transaction; people here are told afterwards
(``xep.track``), from what is written down.

People here hear of what they may see at that moment, people elsewhere of what is written here for everybody; nobody of
what they wrote themselves, nor of what was written before they asked. What would be too much in an hour is counted and
not told. An edit that meets a track is a match as well; a post is one only once.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from microblog.model.entry import Entry
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.query import Content, content
from microblog.model.track import Index
from microblog.model.uri import ItemAddress, read_uri
from microblog.store import events
from microblog.store.tracks import Hit, Track
from microblog.store.trails import Happened
from microblog.store.transaction import Transaction
from microblog.usecases import leasing, muting, reading, tracking
from microblog.usecases.placing import FEED_ITEM
from microblog.usecases.reading import HOME
from microblog.usecases.sight import Sight
from microblog.usecases.tracking import TRAIL

EVENTS_AT_ONCE: Final = 100
HITS_AT_ONCE: Final = 1000
PAGE: Final = 1000
LEARNED_EVENTS: Final = 1000
HITS_PER_HOUR: Final = 1000  # of one account
GUEST_HITS_PER_HOUR: Final = 300  # of one person elsewhere
DOMAIN_HITS_PER_HOUR: Final = 5000  # of all people of one domain elsewhere
# A domain that is owed so much already is told of nothing more: its people can read it when it is back.
OWED_MAX: Final = 10_000
# Of what is older it is no news that it was written, however it comes here.
NEWS: Final = timedelta(days=7)
SLACK: Final = timedelta(hours=1)
_HOUR: Final = timedelta(hours=1)

Write = Callable[[JID, Sequence[str], Node, Item], str]


@dataclass(slots=True, kw_only=True)
class Done:
    """What a step has done: the last event that it is done with, and of the next the last track; who is to be woken.

    ``forgotten``: tracks that are in memory and are there no more. ``full``: is a domain owed too much already?
    """

    seq: int
    track: int = 0
    more: bool = False
    told: bool = False
    domains: set[str] = field(default_factory=set)
    forgotten: list[int] = field(default_factory=list)
    full: dict[str, bool] = field(default_factory=dict)


class Rates:
    """How much has met the tracks of each in this hour. A use case that runs twice counts twice: no harm is done."""

    def __init__(self) -> None:
        self._began: datetime | None = None
        self._counts: dict[str, int] = {}

    def allow(self, tx: Transaction, *counted: tuple[str, int]) -> bool:
        """Count one more for each name; False if it is more than so many for one of them."""
        if self._began is None or not self._began <= tx.now < self._began + _HOUR:
            self._began = tx.now
            self._counts.clear()
        if any(self._counts.get(name, 0) >= most for name, most in counted if tx.limits.rate(most) is not None):
            return False
        for name, _ in counted:
            self._counts[name] = self._counts.get(name, 0) + 1
        return True


class Matcher:
    """Steps through the log. ``read``: what a payload says; ``write``: the ready stanza that tells somebody elsewhere
    of a post that met their subscriptions; ``withdraw``: that it is gone.
    """

    def __init__(self, index: Index[int], read: Callable[[str], Entry | None], write: Write, withdraw: Write) -> None:
        self.index = index
        self.rates = Rates()
        self._read = read
        self._write = write
        self._withdraw = withdraw
        self._loaded = False
        # What is done and committed, and what may be done when the transaction is.
        self._at: Done | None = None
        self.last: Done | None = None

    # at the start

    def load(self, tx: Transaction, after: int) -> int | None:
        """Read some tracks behind one; the last of them, or None if that was all."""
        if not after:
            self._learn(tx)
        found = tx.tracks.after(after, PAGE)
        for track in found:
            # What was asked for meanwhile is newer than what was read.
            if tracking.is_configured(track) and track.key not in self.index:
                self.index.add(track.key, track.query)
        if len(found) == PAGE:
            return found[-1].key
        return None

    def _learn(self, tx: Transaction) -> None:
        """What posts are like, by the last of them: what many have is no good to find a track by."""
        for happened in tx.trails.after(max(0, tx.events.last() - LEARNED_EVENTS), LEARNED_EVENTS):
            met = self._post(tx, happened)
            if met is not None:
                self.index.hear(met[2])

    def begin(self, tx: Transaction) -> None:
        """From now on the log is read; the first time from here on."""
        if tx.trails.position(TRAIL) is None:
            tx.trails.reach(TRAIL, tx.events.last())
        self._loaded = True

    # a step

    def step(self, tx: Transaction) -> bool:
        """Do some events; True if there are more."""
        self.last = None
        position = tx.trails.position(TRAIL) if self._loaded else None
        if position is None:
            return False
        done = self.last = Done(seq=position)
        left = HITS_AT_ONCE
        found = tx.trails.after(position, EVENTS_AT_ONCE)
        done.more = len(found) == EVENTS_AT_ONCE
        for happened in found:
            if happened.kind == events.PUBLISHED and len(self.index):
                keys, post = self._met(tx, happened)
                if self._at is not None and self._at.seq == done.seq:
                    # The last step has done some of this one.
                    keys = [key for key in keys if key > self._at.track]
                if post is not None and keys:
                    self._match(tx, post, keys[:left], done)
                    if len(keys) > left:
                        done.track, done.more = keys[left - 1], True
                        break
                    left -= len(keys)
            elif happened.kind == events.RETRACTED:
                self._gone(tx, happened, done)
            done.seq = happened.seq
            if left <= 0:
                done.more = True
                break
        if found:
            tx.trails.reach(TRAIL, done.seq)
        return done.more

    def committed(self) -> Done | None:
        """The last step is in the database: what it has done."""
        done, self._at = self.last, self.last
        for key in done.forgotten if done is not None else ():
            self.index.remove(key)
        return done

    def _post(self, tx: Transaction, happened: Happened) -> tuple[Node, Item, Content] | None:
        """The post that was published in an event, if it is one, and that is what it is now."""
        node = tx.nodes.get(happened.node)
        if node is None or node.name != MICROBLOG or happened.item_id in ("", FEED_ITEM):
            return None
        item = tx.items.get(node.key, happened.item_id)
        if item is None or item.position != happened.seq or item.stands is None or not item.payload:
            return None
        try:
            entry = self._read(item.payload)
        except ValueError:
            return None
        return None if entry is None else (node, item, content(entry, item.publisher))

    def _met(self, tx: Transaction, happened: Happened) -> tuple[list[int], tuple[Node, Item, Content] | None]:
        found = self._post(tx, happened)
        if found is None:
            return [], None
        _, item, post = found
        assert item.stands is not None
        if item.stands < tx.now - NEWS:
            return [], None
        keys = self.index.matching(post)
        if keys and _repeats_known(tx, item):
            return [], None
        return sorted(keys), found

    def _match(self, tx: Transaction, found: tuple[Node, Item, Content], keys: Sequence[int], done: Done) -> None:
        """Write down whose tracks a post has met that it had not met before."""
        node, item, post = found
        tracks = tx.tracks.get(keys)
        done.forgotten += [key for key in keys if key not in tracks]
        author = item.publisher.bare
        address = ItemAddress(node.service, node.name, item.id)
        known = tx.tracks.met(tracks, address)
        wanted = [
            track
            for track in tracks.values()
            if track.key not in known
            and track.owner != author
            and _is_news(track, item)
            and (track.expires is None or track.expires > tx.now)
            # In memory there may still be what it looked for once, or another whose key it has now.
            and tracking.is_configured(track)
            and track.query.matches(post)
        ]
        here = [track for track in wanted if track.account is not None]
        if here:
            owners = frozenset(track.owner for track in here)
            telling = reading.Telling(node=node, item=item, readers={HOME: owners})
            seen = reading.told(tx, telling).get(HOME, frozenset())
            wanting = _wanting(tx, node, item, [track for track in here if track.owner in seen])
            self._here(tx, address, wanting, done)
        guests = [track for track in wanted if track.account is None]
        if guests:
            self._elsewhere(tx, address, node, item, guests, done)

    def _here(self, tx: Transaction, address: ItemAddress, tracks: Iterable[Track], done: Done) -> None:
        taken: list[Track] = []
        counted: list[int] = []
        for track in tracks:
            if self.rates.allow(tx, (str(track.owner), HITS_PER_HOUR)):
                taken.append(track)
            else:
                counted.append(track.key)
        if tx.tracks.hit([track.key for track in taken], address, told=False):
            done.told = True
            tracking.trim(tx, taken)
        if counted:
            tx.tracks.count(counted)

    def _elsewhere(
        self, tx: Transaction, address: ItemAddress, node: Node, item: Item, tracks: Iterable[Track], done: Done
    ) -> None:
        """What is written here for everybody goes to people elsewhere: one notification for all their subscriptions."""
        if (
            item.audience is not Audience.PUBLIC
            or item.proof is not Proof.LOCAL
            or node.service.domainpart != tx.domain
        ):
            return
        by_owner: dict[JID, list[Track]] = {}
        for track in tracks:
            if track.expires is not None:
                by_owner.setdefault(track.owner, []).append(track)
        taken: list[Track] = []
        counted: list[int] = []
        stanzas: list[tuple[str, str]] = []
        for owner in _reading(tx, node, item, by_owner):
            theirs, domain = by_owner[owner], owner.domainpart
            if not self.rates.allow(tx, (str(owner), GUEST_HITS_PER_HOUR), (domain, DOMAIN_HITS_PER_HOUR)):
                counted += (track.key for track in theirs)
                continue
            taken += theirs
            subids = [track.subid for track in theirs if track.deliver]
            if subids and domain not in done.full:
                done.full[domain] = tx.outbox.owes(domain, OWED_MAX)
            if subids and not done.full[domain]:
                stanzas.append((domain, self._write(owner, subids, node, item)))
        if counted:
            tx.tracks.count(counted)
        if taken:
            tx.tracks.hit([track.key for track in taken], address, told=True)
            tracking.trim(tx, taken)
        tx.outbox.add_stanzas(stanzas)
        done.domains.update(domain for domain, _ in stanzas)

    def _gone(self, tx: Transaction, happened: Happened, done: Done) -> None:
        """What was retracted has met nothing any more; those elsewhere who were told of it are told that it is gone."""
        node = tx.nodes.get(happened.node)
        if node is None or node.name != MICROBLOG or not happened.item_id:
            return
        if tx.items.get(node.key, happened.item_id) is not None:
            return  # it was published again since
        found = tx.tracks.having(ItemAddress(node.service, node.name, happened.item_id))
        guests: dict[JID, list[str]] = {}
        for _, track in found:
            if track.account is None and track.deliver:
                guests.setdefault(track.owner, []).append(track.subid)
        if guests:
            item = _gone_item(node, happened, tx.now)
            for owner, subids in guests.items():
                tx.outbox.add_stanza(owner.domainpart, self._withdraw(owner, subids, node, item))
                done.domains.add(owner.domainpart)
        tx.tracks.gone(hit.key for hit, _ in found)

    # from elsewhere

    def take(self, tx: Transaction, request: leasing.Arrived) -> bool:
        """Take in what a node elsewhere has found; True if somebody here is to be told."""
        accepted = leasing.accept(tx, request)
        if not accepted:
            return False
        new = False
        owner, domain = request.owner, request.domain
        # What one domain sends leaves room for what the others find, and for what is found here.
        rates = (
            (str(owner), HITS_PER_HOUR),
            (f"{domain} to {owner}", GUEST_HITS_PER_HOUR),
            (f"{domain} to all", DOMAIN_HITS_PER_HOUR),
        )
        quiet = muting.quiet(tx, owner)
        times: dict[Track, int] = {}
        for track, found in accepted:
            address = leasing.address_of(found)
            if tx.tracks.met((track.key,), address):
                continue
            hit = Hit(key=0, track=track.key, address=address, payload=found.payload, created=tx.now)
            if muting.hides(tx, quiet, *tracking.of_elsewhere(hit)):
                continue
            if not self.rates.allow(tx, *rates):
                tx.tracks.count((track.key,))
                continue
            new |= bool(tx.tracks.hit((track.key,), address, told=False, payload=found.payload))
            times[track] = times.get(track, 0) + 1
        for track, number in times.items():
            tracking.trim(tx, (track,), number)
        return new


def _reading(tx: Transaction, node: Node, item: Item, owners: Iterable[JID]) -> list[JID]:
    """Those of people elsewhere who may read it."""
    telling = reading.Telling(node=node, item=item, readers={HOME: frozenset(owners)})
    seen = reading.told(tx, telling).get(HOME, frozenset())
    if tx.blocks.of_name(node.service.localpart):
        everybodys = frozenset({Audience.PUBLIC})
        seen = frozenset(owner for owner in seen if Sight(tx, owner, everybodys).readable(node.key, item) is not None)
    return [owner for owner in owners if owner in seen]


def _wanting(tx: Transaction, node: Node, item: Item, tracks: Sequence[Track]) -> list[Track]:
    """Those whose owners did not mute or block what it is, nor were blocked by its author."""
    author = item.publisher
    if author.domainpart == tx.domain and (item.via or tx.blocks.of_name(author.localpart)):
        asked = {track.owner for track in tracks}
    else:
        quiet = tx.tracks.quiet({track.account for track in tracks if track.account is not None})
        asked = {track.owner for track in tracks if track.account in quiet}
    hidden = {owner for owner in asked if muting.hides(tx, muting.quiet(tx, owner), node, item)}
    return [track for track in tracks if track.owner not in hidden]


def _is_news(track: Track, item: Item) -> bool:
    return item.stands is not None and item.stands >= track.created - SLACK


def _gone_item(node: Node, happened: Happened, now: datetime) -> Item:
    return Item(id=happened.item_id, publisher=node.service, payload="", published=now, updated=now)


def _repeats_known(tx: Transaction, item: Item) -> bool:
    """Does it only repeat a post that is here, and was looked at when it came?"""
    original = read_uri(item.via) if item.via else None
    if original is None or original.item_id is None:
        return False
    found = tx.nodes.look_up(original.service, original.node, original.item_id)
    return found is not None and found.item is not None and found.item.thread == item.thread


def untold(tx: Transaction, after: int, limit: int) -> list[tuple[Hit, Track, tuple[Node, Item] | None]]:
    """What people here have yet to be told, with the post as it is; None for one that they may not see any more."""
    sights: dict[JID, Sight] = {}
    found = []
    for hit, track in tx.tracks.untold(after, limit):
        sight = sights.setdefault(track.owner, Sight(tx, track.owner))
        found.append((hit, track, tracking.see(tx, sight, hit)))
    return found


def told(tx: Transaction, hits: Sequence[int]) -> None:
    """They have been told."""
    tx.tracks.told(hits)
