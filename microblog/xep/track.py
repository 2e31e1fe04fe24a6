"""Track (docs/protocol/track.md, XEP-0060 §6): what is looked for is told as it is written.

The node ``urn:x-microblog:track:0`` of this domain takes any number of subscriptions of one address, each with what it
looks for as its options, and tells them apart by their SubIDs. What has met one's tracks can be read there, page by
page. In chat the same tracks have numbers (``commands.tracking``), and what meets them comes as lines.

What meets which track is found behind the publishing (``usecases.matching``) and written down; from there it is told
here, and marked as told when it was: after a crash once more, but a line of chat only once. Nodes elsewhere that look
for something in somebody's name are asked again every day, and what they send is taken in here.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, DeferredList, DeferredSemaphore
from twisted.logger import Logger

from microblog.commands.command import Post
from microblog.commands.lines import plain
from microblog.model.errors import (
    FeatureNotImplemented,
    Forbidden,
    InvalidJID,
    InvalidOptions,
    NotAcceptable,
    Refusal,
    RemoteServerNotFound,
    RemoteServerTimeout,
    ResourceConstraint,
)
from microblog.model.event import Event
from microblog.model.item import Audience, PageRequest
from microblog.model.jid import JID
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.model.track import Index
from microblog.model.uri import ItemAddress
from microblog.runtime import Clock, Repetition, Tasks
from microblog.store.database import Database, Transaction
from microblog.store.tracks import Track
from microblog.usecases import identity, matching, tracking
from microblog.usecases.matching import Matcher
from microblog.usecases.tracking import Begin, Begun, Ended, Found
from microblog.wire import asking, atom, forms, ns, pubsub
from microblog.wire import track as wire
from microblog.wire.disco import Identity, Info, Item
from microblog.wire.errors import condition
from microblog.wire.notification import Notice
from microblog.wire.pubsub import Verb
from microblog.wire.stanza import Stanza, iq
from microblog.wire.track import Options
from microblog.wire.xml import Element
from microblog.xep import timelines
from microblog.xep.rates import PersonalRates, Rate
from microblog.xep.trail import Trail
from microblog.xmpp.dispatch import Extension, Spec
from microblog.xmpp.router import Router
from microblog.xmpp.sessions import Sessions

SWEEP_SECONDS: Final = 60
FORGET_SECONDS: Final = 600
ROWS_MAX: Final = 500
ASKED_MAX: Final = 200
AT_ONCE: Final = 5
TOLD_AT_ONCE: Final = 100
RETRY_MAX_SECONDS: Final = 30
STORE_SECONDS: Final = 60
# Requests of people of one domain elsewhere: each may be a track.
GUESTS_PER_HOUR: Final = 600
_HOUR: Final = 3600
_TITLE: Final = "What is looked for"
_AWAY: Final = (RemoteServerNotFound, RemoteServerTimeout)
_FEATURES: Final = (
    "subscribe subscription-options multi-subscribe leased-subscription retrieve-subscriptions retrieve-default-sub "
    "retrieve-items item-ids"
)


class Lines(Protocol):
    """Lines of chat."""

    def show(self, post: Post, readers: Mapping[JID, str], *, kind: str, urgent: bool = False) -> Awaitable[None]:
        """A post to those, with what stands before it."""


class Tracks(Extension):
    """The node, and everything that tells. A database listener (``hear``); ``pubsub`` asks it (``answer``).

    ``matched`` hears of whom there is something new for.
    """

    _log = Logger()
    specs = (Spec(131, "1.2", "partial"),)
    features = (ns.TRACK,)

    def __init__(
        self,
        router: Router,
        database: Database,
        sessions: Sessions,
        lines: Lines,
        rates: PersonalRates,
        clock: Clock,
        tasks: Tasks,
        wake: Callable[[str], None],
    ) -> None:
        self._router = router
        self._database = database
        self._sessions = sessions
        self._lines = lines
        self._rates = rates
        self._clock = clock
        self._tasks = tasks
        self._wake = wake
        self._domain = JID("", database.domain)
        self._guests = Rate(clock, database.limits.rate(GUESTS_PER_HOUR), _HOUR)
        self.index: Index[int] = Index()
        self.matcher = Matcher(
            self.index,
            atom.read_text,
            partial(wire.notification, self._domain),
            partial(wire.retraction, self._domain),
        )
        self._trail = Trail("track", self.matcher.step, database, clock, tasks)
        self._trail.done = self._stepped
        self.matched: Callable[[JID], None] = lambda owner: None
        self.taken: Callable[[str, Notice], Notice] = lambda domain, notice: notice
        self._asking = DeferredSemaphore(AT_ONCE)
        self._sweeping = False
        self._telling = self._again = False
        self._timers: list[Repetition] = []
        self._verbs: dict[tuple[str, str], Callable[[Stanza, Verb], Awaitable[Element | None]]] = {
            ("set", "subscribe"): self._subscribe,
            ("set", "unsubscribe"): self._unsubscribe,
            ("get", "options"): self._options,
            ("set", "options"): self._set_options,
            ("get", "default"): self._default,
            ("get", "subscriptions"): self._subscriptions,
            ("get", "items"): self._items,
        }

    def start(self) -> None:
        """Read what is tracked, then look at what was published meanwhile."""
        self._tasks.spawn(self._load(), "tracks")
        self._timers = [
            self._clock.every(SWEEP_SECONDS, self._start_sweep),
            self._clock.every(FORGET_SECONDS, lambda: self._tasks.spawn(self._forget(), "old tracks")),
        ]

    def stop(self) -> None:
        """Begin nothing any more."""
        for timer in self._timers:
            timer.stop()

    async def _load(self) -> None:
        after: int | None = 0
        seconds = 1
        while after is not None:
            try:
                after = await self._database.read(self.matcher.load, after)
                # Whoever waits for something else goes first.
                await self._clock.sleep(0)
                if after is None:
                    await self._database.write(self.matcher.begin)
            except Refusal:
                after = after or 0
                await self._clock.sleep(seconds)
                seconds = min(2 * seconds, RETRY_MAX_SECONDS)
        self._trail.wake()
        self._tell_soon()
        self._start_sweep()

    # what happens

    def hear(self, event: Event) -> None:
        """Something happened and was committed."""
        if len(self.index):
            self._trail.hear(event)

    def _stepped(self) -> None:
        done = self.matcher.committed()
        if done is None:
            return
        for domain in done.domains:
            self._wake(domain)
        if done.told:
            self._tell_soon()

    def _tell_soon(self) -> None:
        self._again = True
        if not self._telling:
            self._telling = True
            self._tasks.spawn(self._tell_all(), "what met tracks")

    async def _tell_all(self) -> None:
        seconds = 1
        try:
            while self._again:
                self._again = False
                try:
                    while await self._tell_some():
                        pass
                except Refusal:
                    self._again = True
                    await self._clock.sleep(seconds)
                    seconds = min(2 * seconds, RETRY_MAX_SECONDS)
                except CancelledError:
                    raise
                except Exception:
                    self._log.failure("What met tracks cannot be told")
        finally:
            self._telling = False

    async def _tell_some(self) -> bool:
        """Tell some of what is untold, oldest first; False if that was all."""
        untold = await self._database.read(matching.untold, 0, TOLD_AT_ONCE)
        if not untold:
            return False
        posts: dict[ItemAddress, Post | None] = {}
        readers: dict[ItemAddress, dict[JID, list[Track]]] = {}
        for hit, track, seen in untold:
            if hit.address not in posts:
                entry = None if seen is None else atom.read_text(seen[1].payload)
                if seen is None or entry is None:
                    posts[hit.address] = None
                else:
                    posts[hit.address] = Post(node=seen[0], item=seen[1], entry=entry)
            if seen is not None:
                readers.setdefault(hit.address, {}).setdefault(track.owner, []).append(track)
        for address, post in posts.items():
            if post is None:
                continue
            try:
                await self._show(post, readers.get(address, {}))
            except (CancelledError, Refusal):
                raise
            except Exception:
                # What cannot be told is not to keep back everything after it.
                self._log.failure("{uri} met tracks and cannot be told", uri=address.uri)
        await self._database.write(matching.told, [hit.key for hit, _, _ in untold])
        for owner in {track.owner for _, track, _ in untold}:
            self.matched(owner)
        return True

    async def _show(self, post: Post, readers: Mapping[JID, Sequence[Track]]) -> None:
        for owner, tracks in readers.items():
            self._notify(owner, tracks, post)
        for urgent in (True, False):
            marks = {
                owner: _mark(tracks)
                for owner, tracks in readers.items()
                if any(track.urgent for track in tracks) is urgent
            }
            if marks:
                await self._lines.show(post, marks, kind="track", urgent=urgent)

    def _notify(self, owner: JID, tracks: Sequence[Track], post: Post) -> None:
        """Notifications for the sessions that want them."""
        delivered = any(track.deliver for track in tracks)
        subids = [track.subid for track in tracks]
        for session in self._sessions.available(owner):
            if session.priority >= 0 and (delivered or ns.TRACK in session.notify):
                session.write(wire.notification(self._domain, session.jid, subids, post.node, post.item).encode())

    async def _forget(self) -> None:
        more = True
        while more:
            try:
                expired, more = await self._database.write(tracking.forget, ROWS_MAX)
            except Refusal:
                return
            for key in expired:
                self.index.remove(key)

    # tracking, for commands and for the node

    async def begin(self, owner: JID, text: str, *, urgent: bool = False, deliver: bool = False) -> Begun:
        """Somebody tracks what a query looks for; nodes elsewhere are asked next (``ask``).

        Raises NotAcceptable with a sentence, TooManySubscriptions.
        """
        done = await self._database.write(_begin, owner, text, urgent, deliver)
        self._index(done.tracks)
        return done

    def _index(self, tracks: Iterable[Track]) -> None:
        for track in tracks:
            if tracking.is_configured(track):
                self.index.add(track.key, track.query)
        self._trail.wake()

    async def end(self, owner: JID, tracks: Iterable[Track]) -> Ended:
        """Somebody tracks these no more."""
        done = await self._database.write(tracking.end, owner, [track.key for track in tracks], _withdrawal)
        for track in done.tracks:
            self.index.remove(track.key)
        for domain in done.domains:
            self._wake(domain)
        return done

    def severed(self, domain: str) -> None:
        """A domain is refused now: its people track nothing here any more."""
        self._tasks.spawn(self._sever(domain), f"tracks of {domain}")

    async def _sever(self, domain: str) -> None:
        for key in await self._database.write(_remove_of_guests, domain):
            self.index.remove(key)

    # nodes elsewhere

    async def ask(self, track: Track, seconds: float | None = None) -> str:
        """Ask the node that is to look for a track; what is wrong, or nothing."""
        problem = ""
        lease = ""
        if not await self._database.read(identity.trusts, track.service):
            problem = identity.CHANGED
        else:
            request = wire.subscribe_request(track.owner, tracking.for_elsewhere(track.query))
            try:
                answer = await self._router.request(
                    "set", track.owner, JID("", track.service), request, seconds=seconds
                )
                if answer.type == "error":
                    raise pubsub.read_refusal(answer)
                state, lease = pubsub.read_subscription(answer.payload) or (SubscriptionState.NONE, "")
                if state is not SubscriptionState.SUBSCRIBED or not lease:
                    problem = "no-lease"
            except _AWAY:
                problem = tracking.UNREACHABLE
            except ResourceConstraint:
                problem = tracking.UNREACHABLE
            except Refusal as refusal:
                problem = _name(refusal)
        if problem:
            await self._database.write(tracking.troubled, track.key, problem)
        elif not await self._database.write(tracking.granted, track.key, lease):
            # It was ended meanwhile.
            self._router.send(_ending(track, lease))
        return problem

    def _start_sweep(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._tasks.spawn(self._sweep(), "tracks elsewhere")

    async def _sweep(self) -> None:
        try:
            by_service: dict[str, list[Track]] = {}
            for track in await self._database.read(tracking.due, ASKED_MAX):
                by_service.setdefault(track.service, []).append(track)
            turns = [
                self._tasks.spawn(self._turn(tracks), f"tracks at {service}") for service, tracks in by_service.items()
            ]
            await DeferredList(turns)
        except Refusal:
            return  # in a minute, then
        finally:
            self._sweeping = False

    async def _turn(self, tracks: Sequence[Track]) -> None:
        """Ask one node about all that is due; what cannot be reached is asked once."""
        await self._asking.acquire()
        try:
            away = False
            for track in tracks:
                if away:
                    await self._database.write(tracking.troubled, track.key, tracking.UNREACHABLE)
                else:
                    away = await self.ask(track) == tracking.UNREACHABLE
        except Refusal:
            return
        finally:
            self._asking.release()

    async def event(self, message: Stanza, notice: Notice) -> bool:
        """A node elsewhere tells somebody here of what they look for (``Following``); False: a client asked it to."""
        domain = message.from_.domainpart
        notice = self.taken(domain, notice)
        found = tuple(
            Found(
                id=item.id,
                publisher=item.publisher,
                payload=item.payload_text,
                entry=None if item.payload is None else atom.read_entry(item.payload),
            )
            for item in notice.items
            if item.publisher is not None
        )
        arrived = tracking.Arrived(
            owner=message.to.bare,
            domain=domain,
            leases=wire.read_subids(message.element),
            found=found,
            retracted=notice.retracted,
        )
        if not await self._database.read(tracking.is_lease, arrived):
            return False
        if await self._store(arrived):
            self._tell_soon()
        return True

    async def _store(self, arrived: tracking.Arrived) -> bool:
        """Raises ResourceConstraint if it cannot be stored for some time."""
        until = self._clock.monotonic() + STORE_SECONDS
        seconds = 1
        while True:
            try:
                return await self._database.write(self.matcher.take, arrived)
            except ResourceConstraint:
                if self._clock.monotonic() + seconds > until:
                    raise
            await self._clock.sleep(seconds)
            seconds = min(2 * seconds, RETRY_MAX_SECONDS)

    # the node

    def claims(self, request: Stanza, node: str | None) -> bool:
        """Is a request for the node?"""
        return node == ns.TRACK and not request.to.localpart

    async def answer(self, request: Stanza, asked: Verb) -> Element | None:
        """Do what is asked of the node."""
        function = self._verbs.get((request.type, asked.name))
        if asked.pubsub.uri != ns.PUBSUB or function is None:
            raise Forbidden("this node is there to subscribe to, with what is looked for")
        if not request.from_.localpart:
            raise Forbidden("one tracks as somebody")
        if request.from_.domainpart == self._database.domain:
            if request.type == "set":
                self._rates.follow(request.from_.bare)
        elif not self._guests.allow(request.from_.domainpart):
            raise ResourceConstraint("your server's people ask more than this server allows: wait a little")
        return await function(request, asked)

    async def mine(self, request: Stanza) -> list[Subscription]:
        """The asker's subscriptions to the node, for the list of all at this service (§5.6)."""
        if request.to.localpart:
            return []
        found = await self._database.read(tracking.tracks_of, request.from_.bare)
        return [self._subscription(track) for track in found if tracking.is_configured(track)]

    async def _subscribe(self, request: Stanza, asked: Verb) -> Element:
        _, jid, fields, _ = pubsub.read_subscribe(asked)
        if jid != request.from_.bare:
            raise InvalidJID("one tracks oneself, by a bare address")
        options = wire.read_options(fields or {})
        done = await self._database.write(_subscribe, jid, options)
        self._index(done.tracks)
        if not tracking.is_configured(done.tracks[0]):
            return wire.write_unconfigured(jid, done.tracks[0].subid)
        for track in done.tracks:
            if track.service and not track.lease:
                self._tasks.spawn(self.ask(track), f"a track at {track.service}")
        return pubsub.write_subscription(self._subscription(done.tracks[0]))

    async def _unsubscribe(self, request: Stanza, asked: Verb) -> Element:
        track = await self._own(request, asked)
        await self.end(track.owner, (track,))
        return pubsub.write_subscription(self._subscription(track, SubscriptionState.NONE))

    async def _own(self, request: Stanza, asked: Verb) -> Track:
        if pubsub.jid_required(asked) != request.from_.bare:
            raise Forbidden("the subscription is somebody else's")
        return await self._database.read(tracking.subscription, request.from_.bare, pubsub.subid_of(asked))

    async def _options(self, request: Stanza, asked: Verb) -> Element:
        track = await self._own(request, asked)
        attributes = {"node": ns.TRACK, "jid": str(track.owner), "subid": track.subid}
        form = wire.write_options(_options_of(track))
        return Element(ns.PUBSUB, "pubsub", None, Element(ns.PUBSUB, "options", attributes, form))

    async def _set_options(self, request: Stanza, asked: Verb) -> None:
        track = await self._own(request, asked)
        fields = pubsub.read_options(asked)
        if fields is None:
            return
        options = wire.read_options(fields)
        self._index((await self._database.write(_configure, track, options),))

    async def _default(self, request: Stanza, asked: Verb) -> Element:
        return pubsub.write_default_options(ns.TRACK, wire.write_options(Options(deliver=True)))

    async def _subscriptions(self, request: Stanza, asked: Verb) -> Element:
        return pubsub.write_my_subscriptions(ns.TRACK, await self.mine(request))

    async def _items(self, request: Stanza, asked: Verb) -> Element:
        read = pubsub.read_items(asked)
        if read.item_ids:
            raise FeatureNotImplemented("this is read in pages; ask its author for an item")
        page = read.page or PageRequest(max=read.max_items)
        here = request.from_.domainpart == self._database.domain
        wanted = tracking.Retrieve(
            owner=request.from_.bare,
            subid=read.subid,
            page=page,
            audiences=frozenset(Audience) if here else frozenset({Audience.PUBLIC}),
        )
        found = await self._database.read(tracking.retrieve, wanted)
        return timelines.write_page(ns.TRACK, found, paged=read.page is not None or found.more)

    def _subscription(self, track: Track, state: SubscriptionState = SubscriptionState.SUBSCRIBED) -> Subscription:
        return Subscription(service=self._domain, node=ns.TRACK, jid=track.owner, state=state, subid=track.subid)

    # discovery

    async def node_info(self, request: Stanza, node: str) -> Info | None:
        """What the node is."""
        if not self.claims(request, node):
            return None
        fields: dict[str, tuple[str, Sequence[str]]] = {
            "pubsub#type": ("text-single", [ns.MICROBLOG]),
            "pubsub#title": ("text-single", [_TITLE]),
        }
        return Info(
            identities=(Identity("pubsub", "leaf", _TITLE),),
            features=(ns.PUBSUB, ns.DISCO_INFO, *(f"{ns.PUBSUB}#{name}" for name in _FEATURES.split()), ns.RSM),
            forms=(forms.write_fields(ns.PUBSUB_META_DATA, fields),),
        )

    def listed(self, request: Stanza) -> Sequence[Item]:
        """The node, among those of the domain."""
        return () if request.to.localpart else [Item(self._domain, ns.TRACK, _TITLE)]


def _mark(tracks: Sequence[Track]) -> str:
    """What stands before a post that met tracks."""
    labels = dict.fromkeys(plain(tracking.label(track)) for track in tracks)
    return f"[{' '.join(f'~{label}' for label in list(labels)[:2])}]"


def _options_of(track: Track) -> Options:
    return Options(query=str(track.query), urgent=track.urgent, deliver=track.deliver, expire=track.expires)


def _name(refusal: Refusal) -> str:
    found = condition(type(refusal))
    return found.application or found.name


def _ending(track: Track, lease: str) -> Stanza:
    request = asking.unsubscribe_request(ns.TRACK, track.owner, lease)
    return iq("set", track.owner, JID("", track.service), f"track-{track.subid}", request)


def _withdrawal(track: Track) -> str:
    return _ending(track, track.lease).to_bytes().decode()


def _begin(
    tx: Transaction, owner: JID, text: str | None, urgent: bool, deliver: bool, until: datetime | None = None
) -> Begun:
    account = tx.accounts.get(owner.localpart) if owner.domainpart == tx.domain else None
    if account is None and owner.domainpart == tx.domain:
        raise Forbidden("there is no such account")
    key = None if account is None else account.key
    query = tracking.NOTHING if text is None else tracking.read_query(tx, key, text)
    wanted = Begin(owner=owner, account=key, query=query, urgent=urgent, deliver=deliver, until=until)
    return tracking.begin(tx, wanted)


def _subscribe(tx: Transaction, owner: JID, options: Options) -> Begun:
    text = options.text if options.looks else None
    try:
        return _begin(tx, owner, text, bool(options.urgent), options.deliver is not False, options.expire)
    except NotAcceptable as refusal:
        raise InvalidOptions(refusal.text) from refusal


def _configure(tx: Transaction, track: Track, options: Options) -> Track:
    query = track.query
    try:
        if options.looks:
            query = tracking.read_query(tx, track.account, options.text)
        wanted = Begin(
            owner=track.owner,
            account=track.account,
            query=query,
            urgent=track.urgent if options.urgent is None else options.urgent,
            deliver=track.deliver if options.deliver is None else options.deliver,
            until=options.expire or (track.expires if track.account and tracking.is_configured(track) else None),
        )
        return tracking.configure(tx, track, wanted)
    except NotAcceptable as refusal:
        raise InvalidOptions(refusal.text) from refusal


def _remove_of_guests(tx: Transaction, domain: str) -> list[int]:
    return tx.tracks.remove_of_guests(domain)
