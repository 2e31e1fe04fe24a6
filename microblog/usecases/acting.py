"""Rules act: behind the log of events, when somebody comes on line, and when somebody is elsewhere than before.

What a rule decides is written down in the transaction in which it decides, once for each post: a program is called
there and then, what is to be said or posted waits to be done (``due``). Posts are looked at by what they have
(``model.track``), so that rules that they do not meet cost nothing. A post that a rule made fires no rule, here or at
another node of ours; and however it comes, each rule fires only so often.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from microblog.model.account import Account
from microblog.model.entry import Entry, Location
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.place import FRESH, GEOLOC, Located, rounded
from microblog.model.query import Circle, content, micro
from microblog.model.rule import KeptRule, Then, What
from microblog.model.subscription import SubscriptionState
from microblog.model.track import Index
from microblog.model.uri import ItemAddress
from microblog.store import events
from microblog.store.rules import Counts
from microblog.store.trails import Happened
from microblog.store.transaction import Transaction
from microblog.usecases import authoring, calling, locating, muting
from microblog.usecases.authoring import Posted
from microblog.usecases.placing import FEED_ITEM
from microblog.usecases.publishing import Publish
from microblog.usecases.settling import LANGUAGE
from microblog.usecases.sight import Sight

TRAIL: Final = "rules"
# How far a rule of those that an event concerns was come to, by the rules' keys: of very many not all are done at once.
WITHIN: Final = "rules within"
EVENTS_AT_ONCE: Final = 100
RULES_AT_ONCE: Final = 50
READ_AT_ONCE: Final = 1000
DUE_AT_ONCE: Final = 20
# How often a rule fires in a minute, and in a day.
OFTEN: Final[Mapping[Then, tuple[int, int]]] = {Then.TELL: (10, 200), Then.POST: (1, 50), Then.CALL: (10, 1000)}
# Who loses their connection and comes back does not come.
ONLINE_AGAIN: Final = timedelta(minutes=10)
WAITING_MAX: Final = 100
WAITING_DAYS: Final = 7
# Who comes back is told so many firings of each rule.
BACK_MAX: Final = 3
CROSSING_MAX: Final = 500
# As JSON, where a letter is up to twelve. Of a longer text a program is told the beginning; it may read the rest.
TOLD_MAX_CHARACTERS: Final = 36_000
NEW: Final = timedelta(hours=24)
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
# What a payload of XEP-0080 says; None if it says no place.
Locate = Callable[[str], Location | None]


class Watched:
    """The rules about posts, in memory, as far as the database was read; only the writer's thread reads it.

    ``sharing``: some client may tell the node where somebody is.
    """

    def __init__(self) -> None:
        self.sharing = True
        self.index: Index[int] = Index()
        # Up to when all that changed is known; while everything is read, up to which key it is.
        self._read: datetime | None = None
        self._key: int | None = None

    def __len__(self) -> int:
        return len(self.index)

    def ended(self, keys: Iterable[int]) -> None:
        """Rules are no more. Of whom that is not said is found out when it matters."""
        for key in keys:
            self.index.remove(key)

    def refresh(self, tx: Transaction) -> bool:
        """Read what has changed; False if there is so much that it has to go on later."""
        if self._read is None or tx.now < self._read:
            if self._read is None:
                self.sharing = tx.preferences.any(locating.SHARING, locating.ON)
            self._read, self._key = tx.now, 0
        if self._key is not None:
            some = tx.rules.about_posts(self._key, READ_AT_ONCE)
            for kept in some:
                self._file(tx, kept)
            self._key = some[-1].key if len(some) == READ_AT_ONCE else None
            if self._key is not None:
                return False
        # What was changed in the same instant as it was last read is read again.
        for kept in tx.rules.changed(self._read):
            self._file(tx, kept)
        self._read = tx.now
        return True

    def _file(self, tx: Transaction, kept: KeptRule) -> None:
        query = kept.rule.query
        if query is None:
            return
        if kept.rule.here and query.circle is not None:
            # Where its owner is now; who is nowhere is near nothing.
            located = tx.locations.of(kept.account)
            if located is None:
                self.index.remove(kept.key)
                return
            query = replace(query, circle=_at(query.circle, located))
        self.index.add(kept.key, query)


def step(tx: Transaction, watched: Watched, locate: Locate) -> bool:
    """Look at what comes next in the log; True if there is more. A step of a trail."""
    if not watched.refresh(tx):
        return True
    position = tx.trails.position(TRAIL)
    if position is None or (not watched and not watched.sharing):
        tx.trails.reach(TRAIL, tx.events.last())
        tx.trails.reach(WITHIN, 0)
        return False
    happened = tx.trails.after(position, EVENTS_AT_ONCE)
    if not happened:
        return False
    log = _Log(tx, watched)
    looked_at: set[int] = set()
    for place, one in enumerate(happened):
        node = log.node(one.node)
        if node is not None and node.name == GEOLOC and one.node not in looked_at:
            looked_at.add(one.node)
            look(tx, node, locate)
        posted = node is not None and node.name == MICROBLOG and one.kind == events.PUBLISHED and watched
        if posted and node is not None and not log.published(node, one):
            if place:
                tx.trails.reach(TRAIL, happened[place - 1].seq)
            return True
    tx.trails.reach(TRAIL, happened[-1].seq)
    return len(happened) == EVENTS_AT_ONCE


# posts


class _Log:
    """A part of the log, as it is read in one transaction."""

    def __init__(self, tx: Transaction, watched: Watched) -> None:
        self._tx = tx
        self._watched = watched
        self._nodes: dict[int, Node | None] = {}
        self._sights: dict[JID, Sight] = {}
        self._left = RULES_AT_ONCE
        self._within = tx.trails.position(WITHIN) or 0

    def node(self, key: int) -> Node | None:
        """A node by its key."""
        if key not in self._nodes:
            self._nodes[key] = self._tx.nodes.get(key)
        return self._nodes[key]

    def published(self, node: Node, event: Happened) -> bool:
        """Something was published; False if that concerns so many rules that others have to wait."""
        tx = self._tx
        item = None if event.item_id == FEED_ITEM else tx.items.get(node.key, event.item_id)
        entry = None if item is None else tx.read_entry(item.payload)
        if item is None or entry is None or entry.automatic or item.stands is None or self._late(node, item.stands):
            self._reached(0)
            return True
        keys = [key for key in self._watched.index.matching(content(entry, node.service)) if key > self._within]
        # An edit is no new post.
        if not keys or tx.events.first_of(node.key, event.item_id) != event.seq:
            self._reached(0)
            return True
        keys.sort()
        some, rest = keys[: self._left], keys[self._left :]
        self._left -= len(some)
        there = {kept.key: kept for kept in tx.rules.some(some)}
        # The rules of somebody who is disabled rest.
        resting = tx.rules.existing(some) - there.keys() if len(there) < len(some) else frozenset()
        happened = tx.events.created(event.seq)
        for key in some:
            kept = there.get(key)
            if key in resting:
                continue
            if kept is None:
                self._watched.index.remove(key)
            elif happened is None or happened < kept.created:
                continue  # The log is read from before the first rule.
            elif kept.owner != node.service and _concerns(tx, kept, node, item, entry, self._sights):
                fire(tx, kept, _told(node, item, entry), ItemAddress(node.service, node.name, item.id))
        if not rest:
            self._reached(0)
        elif some:
            self._reached(some[-1])
        return not rest

    def _late(self, node: Node, stands: datetime) -> bool:
        """Does it come from elsewhere, and is no news? What is published here is, whatever a client's clock says."""
        return node.service.domainpart != self._tx.domain and self._tx.now - stands > NEW

    def _reached(self, rule: int) -> None:
        """The rules that an event concerns are done up to one, or all of them (0)."""
        if rule != self._within:
            self._tx.trails.reach(WITHIN, rule)
            self._within = rule


def _concerns(tx: Transaction, kept: KeptRule, node: Node, item: Item, entry: Entry, sights: dict[JID, Sight]) -> bool:
    """Is a post one for a rule, and may its owner read it?"""
    rule, owner = kept.rule, kept.owner
    query = rule.query
    if query is not None and rule.here and query.circle is not None:
        located = tx.locations.of(kept.account)
        if located is None or tx.now - located.updated > FRESH:
            return False
        query = replace(query, circle=_at(query.circle, located))
    if query is None or not query.matches(content(entry, node.service)):
        return False
    if rule.followed:
        facts = tx.timelines.at_nodes((node.key,), owner)[node.key][1]
        if facts.subscribed is not SubscriptionState.SUBSCRIBED:
            return False
    sight = sights.setdefault(owner, Sight(tx, owner))
    if sight.readable(node.key, item) is None:
        return False
    return not muting.hides(tx, muting.quiet(tx, owner), node, item)


def _told(node: Node, item: Item, entry: Entry) -> dict[str, Any]:
    """What a program is told of a post."""
    return {
        "address": ItemAddress(node.service, node.name, item.id).uri,
        "author": str(node.service),
        "text": _beginning(entry.text),
        calling.AUDIENCE: item.audience.value,
    }


def _beginning(text: str) -> str:
    return text if len(json.dumps(text)) <= TOLD_MAX_CHARACTERS else text[: TOLD_MAX_CHARACTERS // 12]


# people


def move(tx: Transaction, account: Account, located: Located) -> None:
    """Somebody is somewhere, as it will be known; rules that go by that fire."""
    located = replace(located, latitude=rounded(located.latitude), longitude=rounded(located.longitude))
    before = tx.locations.of(account.key)
    tx.locations.put(account.key, located)
    fresh = before is not None and tx.now - before.updated <= FRESH
    if fresh and before is not None and (before.latitude, before.longitude) == (located.latitude, located.longitude):
        return
    me = account.jid(tx.domain)
    for kept in tx.rules.crossing(account.key, me, CROSSING_MAX):
        circle = kept.rule.circle
        if circle is None:
            continue
        was, is_ = before is not None and before.is_in(circle, tx.now), located.is_in(circle, tx.now)
        wanted = (True, False) if kept.rule.what is What.LEAVES else (False, True)
        if (was, is_) == wanted and not (kept.owner != me and tx.blocks.between(kept.owner, me)):
            told = {"person": str(me), "place": circle.name}
            # Where others are is not told beyond this domain.
            fire(tx, kept, told if kept.owner == me else told | {calling.AUDIENCE: Audience.LOCAL.value})
    tx.rules.moved(account.key)


def leave(tx: Transaction, account: Account) -> bool:
    """Nobody is to know any more where somebody is; no rule hears of it. False if nobody knew."""
    known = locating.nowhere(tx, account)
    if known:
        tx.rules.moved(account.key)
    return known


def share(tx: Transaction, account: Account, on: bool, locate: Locate) -> None:
    """Somebody's client may tell the node where they are, or not any more; what it told is forgotten then."""
    if not on:
        tx.preferences.remove(account.key, locating.SHARING)
        located = tx.locations.of(account.key)
        if located is not None and located.shared:
            leave(tx, account)
        return
    tx.preferences.set(account.key, locating.SHARING, locating.ON)
    node = tx.nodes.find(account.jid(tx.domain), GEOLOC)
    if node is not None:
        look(tx, node, locate)


def look(tx: Transaction, node: Node, locate: Locate) -> None:
    """Somebody's client has said where they are; only who shares that with the node is looked at."""
    owner = node.service
    account = tx.accounts.get(owner.localpart) if owner.localpart and owner.domainpart == tx.domain else None
    if account is None or account.disabled or not locating.is_sharing(tx, account.key):
        return
    newest = tx.items.newest(node.key, 1)
    known = tx.locations.of(account.key)
    said = locate(newest[0].payload) if newest else None
    if said is None or said.latitude is None or said.longitude is None:
        # XEP-0080 §3: nothing is said any more.
        if known is not None and known.shared:
            leave(tx, account)
        return
    updated = newest[0].updated
    if known is not None and not known.shared and known.updated >= updated:
        return  # they have said something else since
    # What it says in words may be a street and a house: that is more exact than anybody is known here.
    located = Located(latitude=micro(said.latitude), longitude=micro(said.longitude), shared=True, updated=updated)
    move(tx, account, located)


def unsaid(tx: Transaction, localpart: str) -> None:
    """Nothing is there any more of what somebody's client said of where they are."""
    account = tx.accounts.get(localpart)
    located = None if account is None else tx.locations.of(account.key)
    if account is not None and located is not None and located.shared:
        leave(tx, account)


def come(tx: Transaction, localpart: str) -> bool:
    """Somebody comes on line; True if a rule of theirs fired."""
    account = tx.accounts.get(localpart)
    if account is None or account.disabled:
        return False
    fired = False
    for kept in tx.rules.online(account.key):
        circle = kept.rule.circle
        if kept.last_fired is not None and timedelta() <= tx.now - kept.last_fired < ONLINE_AGAIN:
            continue
        if circle is not None:
            located = tx.locations.of(account.key)
            if located is None or not located.is_in(circle, tx.now):
                continue
        told = {"person": str(account.jid(tx.domain)), "place": circle.name if circle is not None else ""}
        fired = fire(tx, kept, told) or fired
    return fired


# firing


def fire(tx: Transaction, kept: KeptRule, told: Mapping[str, Any], post: ItemAddress | None = None) -> bool:
    """A rule fires, if it did not too often. ``told``: what its program is told. Only for rules that may fire."""
    rule = kept.rule
    counts = _once_more(tx.rules.counts(kept.key), tx.now, *OFTEN[rule.then])
    if counts is None or (rule.then is not Then.CALL and tx.rules.waiting(kept.key) >= WAITING_MAX):
        tx.rules.skip(kept.key)
        return False
    if rule.then is Then.CALL:
        payload = {"rule": kept.number, "when": rule.when, "what": rule.what.value} | dict(told)
        if not calling.call(tx, kept.account, rule.text, payload):
            return False
    else:
        tx.rules.decide(kept.key, post)
    tx.rules.fire(kept.key, counts)
    return True


def _once_more(counts: Counts, now: datetime, most_in_minute: int, most_in_day: int) -> Counts | None:
    """Counted once more; None if that is too often. A clock that went back begins anew."""
    minute, in_minute = _window(counts.minute, counts.in_minute, now, _MINUTE)
    day, in_day = _window(counts.day, counts.in_day, now, _DAY)
    if in_minute >= most_in_minute or in_day >= most_in_day:
        return None
    return Counts(minute, in_minute + 1, day, in_day + 1)


def _window(began: datetime | None, count: int, now: datetime, length: timedelta) -> tuple[datetime, int]:
    if began is None or not timedelta() <= now - began < length:
        return now, 0
    return began, count


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a rule has decided and is to be done, and since when. ``allowed``: may its owner know of it still?

    ``post``: that made it so, if it may still be read; ``number``: by which the owner has been shown it.
    """

    key: int
    rule: KeptRule
    account: Account
    language: str
    decided: datetime
    post: tuple[Node, Item] | None = None
    number: int | None = None
    allowed: bool = True


def due(tx: Transaction, besides: Collection[int] = ()) -> tuple[Due, ...]:
    """The oldest of what is to be done, but for what some rules decided, by their keys."""
    found = []
    for firing in tx.rules.due(DUE_AT_ONCE, besides):
        post, number = None, None
        if firing.post is not None:
            at = tx.nodes.look_up(firing.post.service, firing.post.node, firing.post.item_id or "")
            if at is not None and at.item is not None:
                node = Sight(tx, firing.rule.owner).readable(at.node.key, at.item)
                post = None if node is None else (node, at.item)
                number = tx.shown.number(firing.account.key, firing.post)
        language = tx.preferences.get(firing.account.key, LANGUAGE) or "en"
        kept, subject = firing.rule, firing.rule.rule.who
        blocked = kept.tells_of_another and subject is not None and tx.blocks.between(subject, kept.owner)
        found.append(
            Due(
                key=firing.key,
                rule=firing.rule,
                account=firing.account,
                language=language,
                decided=firing.decided,
                post=post,
                number=number,
                allowed=not blocked,
            )
        )
    return tuple(found)


def done(tx: Transaction, key: int) -> None:
    """It is done, or not to be done any more."""
    tx.rules.done(key)


def wait(tx: Transaction, key: int) -> None:
    """Who is to be told is not there."""
    tx.rules.wait(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A rule that fired so often while its owner was away that only the last of it is told."""

    number: int
    when: str
    times: int
    language: str
    of_another: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """``waits``: something waits for them still."""

    missed: tuple[Missed, ...] = ()
    waits: bool = False


def come_back(tx: Transaction, localpart: str, *, here: bool = True) -> Back:
    """Somebody is there again: the last of what waits for them is to be told; of what rules there was more.

    ``here``: with a client of this node. Where others are is not told anywhere else.
    """
    account = tx.accounts.get(localpart)
    if account is None:
        return Back()
    language = tx.preferences.get(account.key, LANGUAGE) or "en"
    missed, waits = [], False
    waiting = tx.rules.waiting_for(account.key)
    for kept in tx.rules.some(waiting):
        if kept.tells_of_another and not here:
            waits = True
            continue
        firings = waiting[kept.key]
        if len(firings) > BACK_MAX:
            missed.append(
                Missed(
                    number=kept.number,
                    when=kept.rule.when,
                    times=len(firings),
                    language=language,
                    of_another=kept.tells_of_another,
                )
            )
            tx.rules.drop(firings[:-BACK_MAX])
        tx.rules.go_on(firings[-BACK_MAX:])
    return Back(missed=tuple(missed), waits=waits)


def forget(tx: Transaction) -> None:
    """What nobody came for in a week is no news any more."""
    tx.rules.forget(tx.now - timedelta(days=WAITING_DAYS))


def post(tx: Transaction, key: int, account: int, request: Publish) -> Posted | None:
    """Post what a rule has decided; None if that is done already. Raises what ``publishing.publish`` raises."""
    if not tx.rules.is_due(key):
        return None
    posted = authoring.post(tx, account, request)
    tx.rules.done(key)
    return posted


def _at(circle: Circle, located: Located) -> Circle:
    return replace(circle, latitude=located.latitude, longitude=located.longitude)
