"""Following, for commands and forms as for clients: one way for feeds here and elsewhere.

Here it is a subscription by ``usecases.subscribing``. Elsewhere the other service is asked in the account's name; what
it granted is written down before anybody hears of it. Then, in the background, it is asked who may read the feed, so
that our copy is for nobody else, and for the newest posts, which are stored at their own dates: whoever follows finds
something to read. What the other side would not show is left out without a word.

Leaving always succeeds. A service that cannot be reached just now is told by the outbox.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from microblog.model.account import Account
from microblog.model.errors import (
    BadRequest,
    Blocking,
    ItemNotFound,
    NotSubscribed,
    Refusal,
    RemoteServerNotFound,
    RemoteServerTimeout,
    SubIDRequired,
    TooManySubscriptions,
)
from microblog.model.item import PageRequest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, AccessModel
from microblog.model.subscription import SubscriptionState
from microblog.model.uri import ItemAddress
from microblog.runtime import Tasks
from microblog.store.database import Database, Transaction
from microblog.usecases import copying, following, listing, retrieving, subscribing, tagging, watching
from microblog.usecases.copying import Backfill, ReceivedItem
from microblog.usecases.following import Described, Follow, Followed, Unfollow
from microblog.usecases.listing import PublicFollows
from microblog.wire import asking, atom, ns, pubsub
from microblog.wire.asking import Listing
from microblog.wire.notification import Notice, NoticedItem
from microblog.wire.stanza import Stanza, iq
from microblog.wire.xml import Element, parse
from microblog.xep.rates import PersonalRates
from microblog.xep.readers import Readers
from microblog.xmpp.router import Router

BACKFILL_ITEMS: Final = 20
GAP_ITEMS: Final = 100  # looked at where some of those should have come before
FILLS_MAX: Final = 1000
LIST_PAGE: Final = 100
LIST_PAGES_MAX: Final = 10
FILLS_AT_ONCE: Final = 5
# Where people tell whom they follow: XEP-0465, and before it XEP-0330.
_LISTS: Final = (ns.PUBLIC_FOLLOWS, ns.ACTIVITY_LIST)


class _Feed(NamedTuple):
    service: JID
    node: str


class Follows:
    """What people follow, and the asking that belongs to it. ``decided`` hears what owners elsewhere have decided,
    ``tags_changed`` that somebody follows other tags."""

    _log = Logger()

    def __init__(
        self, router: Router, database: Database, readers: Readers, rates: PersonalRates, tasks: Tasks
    ) -> None:
        self._router = router
        self._database = database
        self._readers = readers
        self._rates = rates
        self._tasks = tasks
        self.decided: Callable[[Follow], None] = lambda follow: None
        self.tags_changed: Callable[[], None] = lambda: None
        self.taken: Callable[[str, Notice], Notice] = lambda domain, notice: notice
        self._filling: set[_Feed] = set()
        self._filling_at_once = DeferredSemaphore(FILLS_AT_ONCE)

    async def follow(
        self, account: JID, service: JID, *, node: str = MICROBLOG, public: bool | None = None
    ) -> Followed:
        """Follow a feed; again, and nothing changes but ``public``: whether everybody may know (None: as it is).

        Raises the refusals of ``subscribing.subscribe``, or that of the other service.
        """
        self._rates.follow(account)
        if service.domainpart == self._router.domain:
            wanted = subscribing.Subscribe(service=service, node=node, actor=account, jid=account, public=public)
            done = await self._database.write(subscribing.subscribe, wanted)
            return Followed(node=done.node, state=done.subscription.state, subid=done.subscription.subid)
        public = await self._database.read(_public, account, service, node, public)
        await self.subscribe(account, service, node, asking.subscribe_request(node, account, public=public))
        followed = await self._database.read(following.find, account, service, node)
        if followed is None:
            raise ItemNotFound("the subscription has ended already")
        return followed

    async def subscribe(self, asker: JID, service: JID, node: str, payload: Element) -> Element | None:
        """Ask another service to subscribe the asker, and write down what it says; its answer. Raises its refusal."""
        account = asker.bare
        await self._database.read(following.may_follow, account, service, node)
        answer = await self._ask(asker, service, payload)
        state, subid = pubsub.read_subscription(answer.payload) or (SubscriptionState.SUBSCRIBED, "")
        follow = Follow(
            account=account,
            service=service,
            node=node,
            state=state,
            subid=subid,
            public=asking.is_public(payload),
        )
        await self._record(follow)
        return answer.payload

    async def _record(self, follow: Follow) -> None:
        try:
            await self._database.write(following.record_subscribe, follow)
        except (TooManySubscriptions, Blocking):
            # Asked for while others were under way, or they were blocked: what we do not take in is not to be sent.
            request = asking.unsubscribe_request(follow.node, follow.account)
            self._router.send(iq("set", follow.account, follow.service, secrets.token_urlsafe(12), request))
            raise
        if follow.state is SubscriptionState.SUBSCRIBED:
            self.approved(follow.account, follow.service, follow.node)

    def approved(self, account: JID, service: JID, node: str) -> None:
        """It is written down that posts of a remote feed come for an account from now on."""
        self._readers.reload(account)
        self.fill(account, service, node)

    async def changed(self, follow: Follow) -> bool:
        """Another service says that it has approved, denied or ended a subscription; False if there is none."""
        known = await self._database.read(following.find, follow.account, follow.service, follow.node)
        if known is None or known.state is follow.state:
            return False
        await self._record(replace(follow, subid=known.subid))
        self.decided(follow)
        return True

    async def unfollow(self, account: JID, service: JID, *, node: str = MICROBLOG) -> None:
        """Follow a feed no longer. Raises NotSubscribed; of feeds here the refusals of ``subscribing.unsubscribe``."""
        if service.domainpart == self._router.domain:
            wanted = subscribing.Unsubscribe(service=service, node=node, actor=account, jid=account)
            await self._database.write(subscribing.unsubscribe, wanted)
            return
        known = await self._database.read(following.find, account, service, node)
        if known is None or known.implicit:
            raise NotSubscribed("you do not follow this")
        request = asking.unsubscribe_request(node, account)
        try:
            try:
                await self.unsubscribe(account, service, node, request)
            except SubIDRequired:
                request = asking.unsubscribe_request(node, account, known.subid)
                await self.unsubscribe(account, service, node, request)
        except (NotSubscribed, ItemNotFound):
            return
        except Refusal:
            stanza = iq("set", account, service, secrets.token_urlsafe(12), request)
            ended = Unfollow(account=account, service=service, node=node, notice=stanza.to_bytes().decode())
            await self._database.write(following.record_unsubscribe, ended)

    async def unsubscribe(self, asker: JID, service: JID, node: str, payload: Element) -> Element | None:
        """Ask another service to end a subscription, and write that down; its answer. Raises its refusal."""
        refusal: Refusal | None = None
        answer: Element | None = None
        try:
            answer = (await self._ask(asker, service, payload)).payload
        except (NotSubscribed, ItemNotFound) as known:
            refusal = known
        ended = Unfollow(account=asker.bare, service=service, node=node)
        await self._database.write(following.record_unsubscribe, ended)
        if refusal is not None:
            raise refusal
        return answer

    async def watch(self, account: JID, thread: ItemAddress) -> None:
        """Hear of the replies in a thread, by the comments that it is kept in.

        Raises ResourceConstraint for too many, and as ``follow``.
        """
        self._rates.follow(account)
        service, node = thread.service, thread.node
        await self._database.read(watching.may_watch, account, thread)
        if service.domainpart == self._router.domain:
            wanted = subscribing.Subscribe(service=service, node=node, actor=account, jid=account)
            await self._database.write(subscribing.subscribe, wanted)
        else:
            await self.subscribe(account, service, node, asking.subscribe_request(node, account, public=False))
        await self._database.write(watching.keep_private, account, thread)

    async def unwatch(self, account: JID, thread: ItemAddress) -> None:
        """Hear of them no more. Raises NotSubscribed, ItemNotFound."""
        await self.unfollow(account, thread.service, node=thread.node)

    async def follow_tag(self, account: Account, tag: str) -> None:
        """Follow a tag. Raises NotAcceptable, ResourceConstraint."""
        await self._database.write(tagging.follow, account.key, tag)
        self._readers.reload(account.jid(self._router.domain))
        self.tags_changed()

    async def leave_tag(self, account: Account, tag: str) -> None:
        """Follow it no longer. Raises NotSubscribed."""
        await self._database.write(tagging.leave, account.key, tag)
        self._readers.reload(account.jid(self._router.domain))
        self.tags_changed()

    async def listed(self, account: JID, address: JID) -> tuple[Listing, ...]:
        """The feeds that somebody says they follow, as the account may see them, each once.

        Raises RemoteServerNotFound, RemoteServerTimeout and other refusals, if there is no list to be had.
        """
        if address.domainpart == self._router.domain:
            return await self._listed_here(account, address)
        refusal: Refusal = ItemNotFound("there is no list")
        found: dict[Listing, None] = {}
        for node in _LISTS:
            try:
                answer = await self._ask(account, address, pubsub.items_request(node, ()), type_="get")
            except Refusal as failed:
                refusal = failed
                continue
            found.update(dict.fromkeys(asking.read_follow_list(answer.payload)))
        if not found:
            raise refusal
        return tuple(found)

    async def _listed_here(self, account: JID, address: JID) -> tuple[Listing, ...]:
        found: dict[Listing, None] = {}
        refusal: Refusal | None = None
        try:
            nodes = await self._database.read(listing.public_follows, PublicFollows(account=address, asker=account))
            found.update(dict.fromkeys(Listing(node.service, node.name) for node in nodes))
        except Refusal as failed:
            refusal = failed
        try:
            payloads = await self._database.read(_list_here, account, address)
            found.update(dict.fromkeys(filter(None, map(asking.read_listing, map(parse, payloads)))))
        except Refusal as failed:
            refusal = failed
        if not found:
            raise refusal or ItemNotFound("there is no list")
        return tuple(found)

    async def _ask(self, asker: JID, service: JID, payload: Element, *, type_: str = "set") -> Stanza:
        answer = await self._router.request(type_, asker, service, payload)
        if answer.type == "error":
            raise pubsub.read_refusal(answer)
        return answer

    # what there was before

    def fill(self, account: JID, service: JID, node: str) -> None:
        """Learn in the background what a feed is and what was posted there lately, as one of its followers."""
        feed = _Feed(service, node)
        if feed not in self._filling and len(self._filling) < FILLS_MAX:
            self._filling.add(feed)
            self._tasks.spawn(self._fill(account, feed), f"what {service} posted before")

    async def refresh(self, account: JID, service: JID, node: str, *, gap: bool = False) -> int:
        """The same, waited for; how many posts were new. Raises the other service's refusal.

        ``gap``: posts should have been coming, so where some are new more may be missing.
        """
        feed = _Feed(service, node)
        await self._filling_at_once.acquire()
        try:
            await self._describe(account, feed)
            new = await self._backfill(account, feed, BACKFILL_ITEMS)
            if gap and new:
                new += await self._backfill(account, feed, GAP_ITEMS)
            return new
        finally:
            self._filling_at_once.release()

    async def describe(self, account: JID, service: JID, node: str) -> None:
        """Ask who may read a feed, so that our copy is for nobody else. Raises the other service's refusal."""
        await self._describe(account, _Feed(service, node))

    async def _fill(self, account: JID, feed: _Feed) -> None:
        try:
            await self.refresh(account, *feed)
        except Refusal as refusal:
            self._log.debug("The posts of {service} could not be had: {why}", service=feed.service, why=refusal.text)
        finally:
            self._filling.discard(feed)

    async def _describe(self, account: JID, feed: _Feed) -> None:
        said = asking.read_access_model(await self._optional(account, feed, asking.metadata_request(feed.node)))
        if said is None:
            # COMPAT: Prosody and ejabberd tell only contacts. What they show to a stranger is for everybody.
            shown = await self._optional(self._router.host, feed, asking.newest_request(feed.node, 1))
            said = AccessModel.OPEN if _shows_something(shown) else AccessModel.AUTHORIZE
        described = Described(service=feed.service, node=feed.node, access_model=said)
        await self._database.write(following.describe, described)

    async def _optional(self, asker: JID, feed: _Feed, payload: Element) -> Element | None:
        """What a service answers; None if it refuses. Raises RemoteServerNotFound, RemoteServerTimeout."""
        try:
            return (await self._ask(asker, feed.service, payload, type_="get")).payload
        except (RemoteServerNotFound, RemoteServerTimeout):
            raise
        except Refusal:
            return None

    async def _backfill(self, account: JID, feed: _Feed, number: int) -> int:
        answer = await self._ask(account, feed.service, asking.newest_request(feed.node, number), type_="get")
        notice = Notice(node=feed.node, items=pubsub.read_answered_items(answer.payload))
        taken = self.taken(feed.service.domainpart, notice).items
        items = [received_item(item) for item in taken if item.payload is not None]
        newest = sorted(items, key=_date)[-number:]
        found = Backfill(service=feed.service, node=feed.node, proof=answer.proof, items=tuple(newest))
        return await self._database.write(copying.backfill, found)


def _shows_something(payload: Element | None) -> bool:
    """Are there items? None at all is what some services show of a feed that is not for everybody."""
    try:
        return payload is not None and bool(pubsub.read_answered_items(payload))
    except BadRequest:
        return False


def _list_here(tx: Transaction, account: JID, address: JID) -> list[str]:
    """The payloads of the list that somebody here keeps by XEP-0330, as far as an account may read it."""
    payloads: list[str] = []
    after: str | None = None
    for _ in range(LIST_PAGES_MAX):
        page = PageRequest(max=LIST_PAGE, after=after)
        wanted = retrieving.Retrieve(service=address, node=ns.ACTIVITY_LIST, actor=account, page=page)
        items = retrieving.retrieve(tx, wanted).page.items
        payloads += [item.payload for item in items if item.payload]
        if len(items) < LIST_PAGE:
            break
        after = items[-1].id
    return payloads


def _public(tx: Transaction, account: JID, service: JID, node: str, stated: bool | None) -> bool:
    """May everybody know of a subscription, made anew or again?"""
    public = following.opted_in(tx, account, stated)
    known = following.find(tx, account, service, node) if public is None else None
    return bool(public) or (known is not None and known.public)


def received_item(item: NoticedItem) -> ReceivedItem:
    """An item as ``usecases.receiving`` takes it."""
    return ReceivedItem(
        id=item.id,
        payload=item.payload_text,
        publisher=item.publisher,
        entry=None if item.payload is None else atom.read_entry(item.payload),
    )


def _date(item: ReceivedItem) -> float:
    date = None if item.entry is None else item.entry.published or item.entry.updated
    return 0.0 if date is None else date.timestamp()
