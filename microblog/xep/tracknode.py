"""The node of tracks (docs/protocol/track.md, XEP-0060 §6): ``urn:x-microblog:track:0`` at this domain.

It takes any number of subscriptions of one address, each with what it looks for as its options (§12.19), and tells them
apart by their SubIDs. What has met one's tracks is read there, page by page. ``pubsub`` hands over what is asked of it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from microblog.model.errors import (
    FeatureNotImplemented,
    Forbidden,
    InvalidJID,
    InvalidOptions,
    NotAcceptable,
    ResourceConstraint,
)
from microblog.model.item import Audience, PageRequest
from microblog.model.jid import JID
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database, Transaction
from microblog.store.tracks import Track
from microblog.usecases import tracking
from microblog.usecases.tracking import Begin, Begun
from microblog.wire import forms, ns, pubsub
from microblog.wire import track as wire
from microblog.wire.disco import Identity, Info, Item
from microblog.wire.pubsub import Verb
from microblog.wire.stanza import Stanza
from microblog.wire.track import Options
from microblog.wire.xml import Element
from microblog.xep import timelines
from microblog.xep.rates import PersonalRates, Rate
from microblog.xep.track import Tracks, begin_written
from microblog.xmpp.dispatch import Extension, Spec

# Requests of people of one domain elsewhere: each may be a track.
GUESTS_PER_HOUR: Final = 600
_HOUR: Final = 3600
_TITLE: Final = "What is looked for"
_FEATURES: Final = (
    "subscribe subscription-options multi-subscribe leased-subscription retrieve-subscriptions retrieve-default-sub "
    "retrieve-items item-ids"
)


class TrackNode(Extension):
    """Answers for the node."""

    specs = (Spec(131, "1.2", "partial"),)
    features = (ns.TRACK,)

    def __init__(self, tracks: Tracks, database: Database, rates: PersonalRates, clock: Clock, tasks: Tasks) -> None:
        self._tracks = tracks
        self._database = database
        self._rates = rates
        self._tasks = tasks
        self._domain = JID("", database.domain)
        self._guests = Rate(clock, database.limits.rate(GUESTS_PER_HOUR), _HOUR)
        self._verbs: dict[tuple[str, str], Callable[[Stanza, Verb], Awaitable[Element | None]]] = {
            ("set", "subscribe"): self._subscribe,
            ("set", "unsubscribe"): self._unsubscribe,
            ("get", "options"): self._options,
            ("set", "options"): self._set_options,
            ("get", "default"): self._default,
            ("get", "subscriptions"): self._subscriptions,
            ("get", "items"): self._items,
        }

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
        self._tracks.index_all(done.tracks)
        if not tracking.is_configured(done.tracks[0]):
            return wire.write_unconfigured(jid, done.tracks[0].subid)
        for track in done.tracks:
            if track.service and not track.lease:
                self._tasks.spawn(self._tracks.ask(track), f"a track at {track.service}")
        return pubsub.write_subscription(self._subscription(done.tracks[0]))

    async def _unsubscribe(self, request: Stanza, asked: Verb) -> Element:
        track = await self._own(request, asked)
        await self._tracks.end(track.owner, (track,))
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
        self._tracks.index_all((await self._database.write(_configure, track, options),))

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


def _options_of(track: Track) -> Options:
    return Options(query=str(track.query), urgent=track.urgent, deliver=track.deliver, expire=track.expires)


def _subscribe(tx: Transaction, owner: JID, options: Options) -> Begun:
    text = options.text if options.looks else None
    try:
        return begin_written(tx, owner, text, bool(options.urgent), options.deliver is not False, options.expire)
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
