"""Tracks: what somebody wants to be told of as it is written, whoever writes it.

People here track everything that they may see. Somebody elsewhere may track as well, by the node ``NODE`` of this
domain, what is written here for everybody: for ``LEASE``, unless they ask again. In the other direction a track that
names a domain (``@north.example``) is looked for by that domain's node too (``leasing``).

Whoever asks once more for what they track already has the track that they have, with its time begun anew.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from microblog.model.errors import (
    BadRequest,
    FeatureNotImplemented,
    InvalidSubID,
    NotAcceptable,
    NotSubscribed,
    SubIDRequired,
    TooManySubscriptions,
)
from microblog.model.item import Audience, Item, PageRequest, Proof
from microblog.model.jid import JID
from microblog.model.node import Node, profile
from microblog.model.query import Circle, Query, parse
from microblog.store.timelines import Place
from microblog.store.tracks import Hit, Track, written
from microblog.store.transaction import Transaction
from microblog.usecases import locating, muting
from microblog.usecases.reading import Placed, Reading, TimelinePage, read_anchor
from microblog.usecases.sight import Sight

NODE: Final = "urn:x-microblog:track:0"
TRAIL: Final = "track"
TRACKS_MAX: Final = 100  # of one account
GUEST_TRACKS_MAX: Final = 20  # of one person elsewhere
DOMAIN_TRACKS_MAX: Final = 2000  # of all people of one domain elsewhere
GUESTS_TRACKS_MAX: Final = 20_000
LEASE: Final = timedelta(days=7)
UNCONFIGURED: Final = timedelta(hours=1)
KEPT: Final = timedelta(days=30)
KEPT_MAX: Final = 1000  # of one track
TRIMMED_EVERY: Final = 100
LABEL_MAX_CHARACTERS: Final = 30
ROUNDS_MAX: Final = 20
READ_ON: Final = 100  # matches at once where many of them are not shown
COUNT_MAX: Final = 1000
NOTHING: Final = Query()


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """``owner`` (bare) wants to be told of what meets a query. ``account``: None for somebody elsewhere.

    ``deliver``: by notifications. ``until``: for no longer than that. Without a query it is said later what is looked
    for (XEP-0060 §12.19): until then nothing meets it, and it does not stay for long.
    """

    owner: JID
    account: int | None
    query: Query = NOTHING
    urgent: bool = False
    deliver: bool = True
    until: datetime | None = None


class Begun(NamedTuple):
    """The tracks that there are now: one for each node that is to look. ``new``: there were not all of them before."""

    tracks: tuple[Track, ...]
    new: bool


class Ended(NamedTuple):
    """The tracks that are gone, and the domains that have something to be told of that."""

    tracks: tuple[Track, ...]
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieve:
    """What has met somebody's tracks, or the one of a ``subid``. ``audiences``: of what may go to where they read."""

    owner: JID
    subid: str | None = None
    page: PageRequest
    audiences: frozenset[Audience] = frozenset(Audience)


def label(track: Track) -> str:
    """What is looked for, in short: as it stands before a post that met it."""
    text = str(replace(track.query, domains=()) if track.service else track.query) or str(track.query)
    return text if len(text) <= LABEL_MAX_CHARACTERS else f"{text[:LABEL_MAX_CHARACTERS].rstrip()}…"


# queries


def read_query(tx: Transaction, account: int | None, text: str) -> Query:
    """A query as somebody wrote it. Raises NotAcceptable with a sentence for them."""

    def person(name: str) -> JID | None:
        jid = JID.parse(name.removeprefix("@") if "@" in name[1:] else f"{name.removeprefix('@')}@{tx.domain}").bare
        return None if jid.domainpart == tx.domain and not tx.accounts.exists(jid.localpart) else jid

    def place(name: str) -> Circle | None:
        return None if account is None else locating.find(tx, account, name)

    try:
        return parse(text, person=person, place=place)
    except ValueError as error:
        raise NotAcceptable(str(error)) from error


def for_elsewhere(query: Query) -> str:
    """A query for the node of its domain: that its authors are of there goes without saying, our names are unknown."""
    circle = None if query.circle is None else replace(query.circle, name="")
    return str(replace(query, domains=(), circle=circle))


# tracks


def begin(tx: Transaction, request: Begin) -> Begun:
    """Track. Raises TooManySubscriptions, NotAcceptable."""
    if not tx.tracks.any():
        # As long as nobody tracks anything nobody reads the log for it.
        tx.trails.reach(TRAIL, tx.events.last())
    known = {(written(track.query), track.service): track for track in tx.tracks.of(request.owner)}
    wanted = _parts(tx, request)
    missing = [one for one in wanted if (written(one[0]), one[1]) not in known]
    if missing:
        _check_number(tx, request, len(known) + len(missing))
    expires = _expires(tx, request)
    tracks = []
    for query, service in wanted:
        track = known.get((written(query), service))
        if track is None:
            track = tx.tracks.add(
                request.owner,
                query,
                account=request.account,
                subid=tx.new_id(),
                urgent=request.urgent,
                deliver=request.deliver,
                service=service,
                expires=expires,
            )
        else:
            track = _change(tx, track, urgent=request.urgent, deliver=request.deliver or track.deliver, expires=expires)
        tracks.append(track)
    return Begun(tuple(tracks), bool(missing))


def _expires(tx: Transaction, request: Begin) -> datetime | None:
    """When it ends by itself."""
    if request.query == NOTHING:
        return tx.now + UNCONFIGURED
    if request.account is not None:
        return request.until
    return min(request.until or tx.now + LEASE, tx.now + LEASE)


def is_configured(track: Track) -> bool:
    """Is it known what is looked for?"""
    return track.query != NOTHING


def _parts(tx: Transaction, request: Begin) -> list[tuple[Query, str]]:
    """The queries that it takes, each with the node elsewhere that is to look too."""
    query = request.query
    elsewhere = [domain for domain in query.domains if domain != tx.domain]
    if request.account is None or not elsewhere:
        return [(query, "")]
    if query.authors or not for_elsewhere(query):
        # With authors it is one or the other, which is nothing to ask one node for; and nobody asks for everything.
        return [(query, "")]
    parts = [(replace(query, domains=(domain,)), domain) for domain in elsewhere]
    return parts + ([(replace(query, domains=(tx.domain,)), "")] if tx.domain in query.domains else [])


def _check_number(tx: Transaction, request: Begin, number: int) -> None:
    if request.account is not None:
        if number > TRACKS_MAX:
            raise TooManySubscriptions(f"You track as much as one may: {TRACKS_MAX}.")
        return
    if number > GUEST_TRACKS_MAX:
        raise TooManySubscriptions(f"you track as much here as one may: {GUEST_TRACKS_MAX}")
    if tx.tracks.count_of_guests(request.owner.domainpart) >= DOMAIN_TRACKS_MAX:
        raise TooManySubscriptions("your server's people track as much here as they may")
    if tx.tracks.count_of_guests() >= GUESTS_TRACKS_MAX:
        raise TooManySubscriptions("as much is tracked here as may be")


def _change(tx: Transaction, track: Track, **columns: object) -> Track:
    changed = replace(track, **columns)  # type: ignore[arg-type]  # fields of several types
    if changed != track:
        tx.tracks.change(track.key, **columns)
    return changed


def tracks_of(tx: Transaction, owner: JID) -> tuple[Track, ...]:
    """Somebody's tracks, by number."""
    return tuple(tx.tracks.of(owner))


def subscription(tx: Transaction, owner: JID, subid: str | None) -> Track:
    """The track of a subid (XEP-0060 §6.2.3).

    Raises NotSubscribed, SubIDRequired where there are several and none was named, InvalidSubID.
    """
    known = tx.tracks.of(owner)
    if not known:
        raise NotSubscribed("you track nothing here")
    if not subid:
        if len(known) > 1:
            raise SubIDRequired("you track several things here: which of them?")
        return known[0]
    found = next((track for track in known if track.subid == subid), None)
    if found is None:
        raise InvalidSubID("there is no subscription of this subid")
    return found


def is_there(tx: Transaction, track: Track) -> bool:
    """Is it tracked still? Another may have its key by now."""
    found = tx.tracks.get((track.key,)).get(track.key)
    return found is not None and found.subid == track.subid


def configure(tx: Transaction, track: Track, request: Begin) -> Track:
    """Change what a track looks for, and how (§6.3.5). Raises NotAcceptable, InvalidSubID if it has ended."""
    if not is_there(tx, track):
        raise InvalidSubID("there is no subscription of this subid")
    if not tx.tracks.any():
        tx.trails.reach(TRAIL, tx.events.last())
    if request.query != track.query:
        if track.service or [service for _, service in _parts(tx, request)] != [""]:
            raise NotAcceptable("for another node another subscription is made")
        tx.tracks.change(track.key, query=written(request.query))
    expires = _expires(tx, request)
    changed = _change(tx, track, urgent=request.urgent, deliver=request.deliver, expires=expires)
    return replace(changed, query=request.query)


def end(tx: Transaction, owner: JID, keys: Iterable[int], notice: Callable[[Track], str]) -> Ended:
    """Track these no more. ``notice``: the ready stanza that tells the node that looks for it."""
    wanted = set(keys)
    known = tx.tracks.of(owner)
    gone = tuple(track for track in known if track.key in wanted)
    # What is the same to a node elsewhere has one lease there, which does not end with the first of them.
    kept = {(track.service, track.lease) for track in known if track.key not in wanted}
    leases: dict[tuple[str, str], Track] = {}
    for track in gone:
        tx.tracks.remove(track.key)
        if track.service and track.lease and (track.service, track.lease) not in kept:
            leases.setdefault((track.service, track.lease), track)
    for track in leases.values():
        tx.outbox.add_stanza(track.service, notice(track))
    return Ended(gone, tuple(dict.fromkeys(track.service for track in leases.values())))


def named(tx: Transaction, owner: JID, account: int, text: str) -> tuple[Track, ...]:
    """The tracks that somebody means by ``~2``, by ``all``, or by what they look for. Raises NotSubscribed."""
    known = tx.tracks.of(owner)
    text = text.strip()
    digits = text.removeprefix("~")
    if text.casefold() == "all" and known:
        return tuple(known)
    if digits.isascii() and digits.isdigit() and len(digits) < 10:
        found = [track for track in known if track.number == int(digits)]
        if found or text != digits:
            return _some(found)
    label_ = digits.casefold()
    found = [track for track in known if label_ in (str(track.query).casefold(), label(track).casefold())]
    if not found:
        try:
            query = read_query(tx, account, digits)
        except NotAcceptable:
            raise NotSubscribed from None
        parts = _parts(tx, Begin(owner=owner, account=account, query=query))
        found = [track for track in known if (track.query, track.service) in parts]
    return _some(found)


def _some(found: list[Track]) -> tuple[Track, ...]:
    if not found:
        raise NotSubscribed
    return tuple(found)


# what has met them


def retrieve(tx: Transaction, request: Retrieve) -> TimelinePage:
    """A page of it, newest first, as far as its owner may still see it (XEP-0059).

    Raises ItemNotFound for a page that begins nowhere, BadRequest, FeatureNotImplemented, InvalidSubID.
    """
    page = request.page
    if sum((page.after is not None, page.before is not None, page.last_page, page.index is not None)) > 1:
        raise BadRequest("after, before or index: one of them")
    if page.index is not None:
        raise FeatureNotImplemented("no pages by index")
    if page.max is not None and page.max < 0:
        raise BadRequest("no negative numbers")
    limit = min(tx.limits.rsm_page_items if page.max is None else page.max, tx.limits.rsm_page_max_items)
    track = None if request.subid is None else subscription(tx, request.owner, request.subid).key
    if limit == 0:
        count = len(tx.tracks.hits(request.owner, track=track, limit=COUNT_MAX + 1))
        return TimelinePage(posts=(), count=count if count <= COUNT_MAX else None, more=count > 0)
    oldest = page.before is not None or page.last_page
    before = read_anchor(page.after).item if page.after is not None else None
    after = read_anchor(page.before).item if page.before is not None else None
    sight = Sight(tx, request.owner, request.audiences)
    posts: list[Placed] = []
    more = True
    wanted = limit + 1
    for _ in range(ROUNDS_MAX):
        hits = tx.tracks.hits(request.owner, track=track, before=before, after=after, limit=wanted, oldest=oldest)
        for hit in hits:
            seen = see(tx, sight, hit)
            if seen is not None and not muting.hides(tx, sight.quiet, *seen):
                posts.append(Placed(*seen, Place(0, hit.key)))
                if len(posts) > limit:
                    break
        more = len(hits) == wanted
        if not more or len(posts) > limit:
            break
        before, after = (before, hits[-1].key) if oldest else (hits[-1].key, after)
        wanted = max(limit + 1, READ_ON)
    more, posts = more or len(posts) > limit, posts[:limit]
    return TimelinePage(posts=tuple(reversed(posts)) if oldest else tuple(posts), more=more)


def timeline(tx: Transaction, account: int, which: str, request: Reading) -> TimelinePage:
    """What has met somebody's track ``~2``, or any (``~all``). Raises NotSubscribed, and as ``retrieve``."""
    owner, subid = request.actor.bare, None
    if which.casefold() != "~all":
        subid = named(tx, owner, account, which)[0].subid
    return retrieve(tx, Retrieve(owner=owner, subid=subid, page=request.page, audiences=request.audiences))


def see(tx: Transaction, sight: Sight, hit: Hit) -> tuple[Node, Item] | None:
    """The post that met a track, as it is now; None if it is gone, or not for the reader any more."""
    address = hit.address
    found = tx.nodes.look_up(address.service, address.node, address.item_id or "")
    if found is not None and found.item is not None:
        return (found.node, found.item) if sight.readable(found.node.key, found.item) else None
    if not hit.payload or (found is not None and found.retracted):
        return None
    return of_elsewhere(hit)


def of_elsewhere(hit: Hit) -> tuple[Node, Item]:
    """A post of which there is no copy here."""
    address = hit.address
    node = Node(key=0, service=address.service, name=address.node, config=profile(address.node))
    item = Item(
        id=address.item_id or "",
        publisher=address.service,
        payload=hit.payload,
        published=hit.created,
        updated=hit.created,
        proof=Proof.DIALBACK,
    )
    return node, item


def forget(tx: Transaction, limit: int, notice: Callable[[Track], str]) -> tuple[Ended, bool]:
    """Forget tracks whose time is over, and what has met tracks long ago; whether there may be more."""
    by_owner: dict[JID, list[int]] = {}
    for track in tx.tracks.expired(limit):
        by_owner.setdefault(track.owner, []).append(track.key)
    ended = [end(tx, owner, keys, notice) for owner, keys in by_owner.items()]
    gone = tuple(track for one in ended for track in one.tracks)
    old = tx.tracks.forget(tx.now - KEPT, limit)
    return Ended(gone, tuple({domain for one in ended for domain in one.domains})), limit in (len(gone), old)


def trim(tx: Transaction, tracks: Iterable[Track], times: int = 1) -> None:
    """They have been met so often since they were read: from time to time forget the oldest of what has met them."""
    for track in tracks:
        met = track.hits + times
        if met > KEPT_MAX and met // TRIMMED_EVERY > track.hits // TRIMMED_EVERY:
            tx.tracks.trim(track.key, KEPT_MAX)
