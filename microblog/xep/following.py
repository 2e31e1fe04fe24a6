"""Following people of other services: XEP-0060 from the subscriber's side.

A client subscribes elsewhere by asking the other service itself. On its way out the request becomes one of this node's
own (``follows``), so that the answer passes here: what the other side granted is written down before the client hears
of it, and by that we know whose posts to take in.

Notifications that come are stored once and told to their recipient through the database (``notifications``): whoever
followed but was not there gets them later, and nobody gets them twice. The sender is the domain that its stream was
authenticated for. What nobody asked for is dropped.

While nothing can be stored - the disk is full, the database has too much to do - what a domain sends waits here, in
its order, and with it the answer to the ping that would confirm it: for longer than its sender waits for that answer.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from microblog.model.errors import InvalidJID, Refusal, ResourceConstraint
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.runtime import Clock, Tasks
from microblog.store.crashpoint import crashpoint
from microblog.store.database import Database
from microblog.usecases import copying, receiving, tending
from microblog.usecases.copying import ReceivedItem
from microblog.usecases.following import Follow
from microblog.usecases.receiving import Receipt, Received
from microblog.usecases.tending import Due
from microblog.wire import atom, notification, ns, pubsub
from microblog.wire.notification import Notice
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, to_text
from microblog.xep.follows import Follows, received_item
from microblog.xep.rates import PersonalRates
from microblog.xep.readers import Readers
from microblog.xmpp.dispatch import At, Extension, MessageRoute, PassOn, Route
from microblog.xmpp.router import Router

# More than remote.BARRIER_SECONDS: what is given up after that was never confirmed, and comes again.
STORE_SECONDS: Final = 120
STORE_RETRY_MAX_SECONDS: Final = 30
FETCHES_MAX: Final = 50
WAITING_MAX: Final = 1000


class Following(Extension):
    """Our people's subscriptions elsewhere, and what comes of them. ``dropped`` counts what nobody asked for."""

    _log = Logger()

    def __init__(
        self,
        router: Router,
        database: Database,
        readers: Readers,
        rates: PersonalRates,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._router = router
        self._database = database
        self._readers = readers
        self._rates = rates
        self._clock = clock
        self._tasks = tasks
        self.follows = Follows(router, database, readers, rates, tasks)
        self._stuck: dict[str, DeferredLock] = {}  # by domain, what waits until something can be stored again
        self._fetching: dict[tuple[JID, str, tuple[str, ...]], list[Stanza]] = {}
        self.dropped = 0
        self.taken: Callable[[str, Notice], Notice] = lambda domain, notice: notice
        # Domains whose word counts without a certificate for what is not for everybody as well.
        self.dialback_suffices: Callable[[str], bool] = lambda domain: False
        self.moved: Callable[[Stanza, Notice], None] = lambda message, notice: None
        self.tracked: Callable[[Stanza, Notice], Awaitable[bool]] | None = None

    def routes(self) -> Iterable[Route]:
        """Requests of our people to services elsewhere."""
        yield Route.set(ns.PUBSUB, "pubsub", self.request, at=At.REMOTE)

    def messages(self) -> Iterable[MessageRoute]:
        """Notifications from there."""
        yield MessageRoute(ns.PUBSUB_EVENT, "event", self.event, overlapping=True)

    # what our people want

    async def request(self, request: Stanza) -> Element | None:
        """Subscribe and unsubscribe in the client's name; everything else goes its way, a comment with a note of it."""
        try:
            asked = pubsub.verb(request)
            if asked.name == "publish":
                await self._note_comment(request, pubsub.read_publish(asked))
                raise PassOn
            jid = pubsub.jid_required(asked)
        except Refusal:
            raise PassOn from None
        # A single resource is the client's own business; its notifications are not kept for it.
        if asked.name not in ("subscribe", "unsubscribe") or not jid.is_bare or not request.to.is_bare:
            raise PassOn
        if jid != request.from_.bare:
            raise InvalidJID("one subscribes oneself")
        node = pubsub.node_required(asked)
        if node == ns.TRACK and not request.to.localpart:
            raise PassOn  # whose track another node looks after says so by ``@domain`` at our own
        payload = request.payload
        assert payload is not None
        if asked.name == "subscribe":
            self._rates.follow(jid)
            return await self.follows.subscribe(request.from_, request.to, node, payload)
        return await self.follows.unsubscribe(request.from_, request.to, node, payload)

    async def _note_comment(self, request: Stanza, comment: pubsub.Publish) -> None:
        """Somebody here comments on a post elsewhere: by this we know it for theirs when the thread is read."""
        if not comment.node.startswith(COMMENTS_PREFIX) or comment.item_id is None or comment.payload is None:
            return
        self._rates.post(request.from_.bare)
        said = copying.SaidElsewhere(
            author=request.from_.bare,
            service=request.to.bare,
            node=comment.node,
            item=ReceivedItem(
                id=comment.item_id,
                payload=to_text(comment.payload),
                publisher=request.from_.bare,
                entry=atom.read_entry(comment.payload),
            ),
        )
        await self._database.write(copying.said_elsewhere, said)

    # what others tell them

    async def event(self, message: Stanza) -> bool:
        """Take in a notification; False for one that its recipient's client may make of what it wants."""
        service, event = message.from_, message.element.find(ns.PUBSUB_EVENT, "event")
        if event is None or not service.is_bare or not message.to.localpart or message.proof is Proof.LOCAL:
            return False
        notice = notification.read_notice(event)
        if notice.node == ns.TRACK and not service.localpart and self.tracked is not None:
            return await self.tracked(message, notice)
        if notice.configured:
            return False
        if notice.subscription is not None:
            await self._state_changed(message, notice)
            return False
        if notice.node == ns.MOVED:
            self.moved(message, notice)
        crashpoint("K8")
        receipt = await self._receive(message, notice)
        crashpoint("K9")
        if receipt.ignored:
            if message.to.resourcepart:
                return False
            self.dropped += 1
            self._log.debug("A notification from {service} was dropped: {why}", service=service, why=receipt.ignored)
            return True
        if receipt.missing:
            self._fetch(message, notice, receipt.missing)
        if receipt.first and notice.node == MICROBLOG:
            self.follows.fill(message.to.bare, message.from_, notice.node)
        return True

    async def _receive(self, message: Stanza, notice: Notice, *, live: bool = True) -> Receipt:
        notice = self.taken(message.from_.domainpart, notice)
        received = Received(
            service=message.from_,
            node=notice.node,
            recipient=message.to,
            sender_domain=message.from_.domainpart,
            proof=message.proof,
            published=tuple(map(received_item, notice.items)),
            retracted=notice.retracted,
            purged=notice.purged,
            deleted=notice.deleted,
            live=live,
            dialback_suffices=self.dialback_suffices(message.from_.domainpart),
        )
        until = self._clock.monotonic() + STORE_SECONDS
        domain = received.sender_domain
        await self._readers.backlog.room(received.service)
        if domain not in self._stuck:
            try:
                return await self._database.write(receiving.receive, received)
            except ResourceConstraint:
                # What was under way with it may be stored before it.
                received = replace(received, live=False)
        turn = self._stuck.setdefault(domain, DeferredLock())
        await turn.acquire()
        try:
            return await self._persist(received, until)
        finally:
            turn.release()
            if not turn.locked and self._stuck.get(domain) is turn:
                del self._stuck[domain]

    async def _persist(self, received: Received, until: float) -> Receipt:
        """Try again and again until a time. Raises ResourceConstraint."""
        seconds = 1
        while True:
            try:
                return await self._database.write(receiving.receive, received)
            except ResourceConstraint:
                if self._clock.monotonic() + seconds > until:
                    raise
            await self._clock.sleep(seconds)
            seconds = min(2 * seconds, STORE_RETRY_MAX_SECONDS)

    async def _state_changed(self, message: Stanza, notice: Notice) -> None:
        """The other side approved, denied or ended a subscription (§8.6, §8.8.4) that there is."""
        assert notice.subscription is not None
        account, state = notice.subscription
        if account != message.to.bare:
            return
        follow = Follow(account=account, service=message.from_, node=notice.node, state=state)
        await self.follows.changed(follow)

    def _fetch(self, message: Stanza, notice: Notice, item_ids: tuple[str, ...]) -> None:
        """Some services tell only that there is something; what it is has to be asked for, once for all followers."""
        key = (message.from_, notice.node, item_ids)
        waiting = self._fetching.get(key)
        if waiting is not None:
            if len(waiting) < WAITING_MAX:
                waiting.append(message)
        elif len(self._fetching) < FETCHES_MAX:
            self._fetching[key] = [message]
            self._tasks.spawn(self._fetch_items(*key), f"items of {message.from_}")

    async def _fetch_items(self, service: JID, node: str, item_ids: tuple[str, ...]) -> None:
        key = (service, node, item_ids)
        asker = self._fetching[key][0].to.bare
        try:
            answer = await self._router.request("get", asker, service, pubsub.items_request(node, item_ids))
            if answer.type != "result":
                await self._suspect(asker, service)
                return
            items = pubsub.read_answered_items(answer.payload)
            wanted = tuple(item for item in items if item.id in item_ids and item.payload is not None)
            for message in self._fetching[key] if wanted else ():
                await self._receive(message, Notice(node=node, items=wanted), live=False)
        except Refusal as refusal:
            self._log.debug("Items of {service} could not be had: {why}", service=service, why=refusal.text)
        finally:
            del self._fetching[key]

    async def _suspect(self, account: JID, service: JID) -> None:
        """A service tells of what it then does not show: it may have ended the subscription."""
        await self._database.write(tending.suspect, Due(account, service))
