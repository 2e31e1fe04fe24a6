"""docs/protocol/fanout.md, the receiving end: what other nodes' delivery logs bring, in order and answered when stored.

A delivery is answered after its transaction is committed (``usecases.accepting``), so what is not answered is sent
again. While nothing can be stored it is refused for now. Deliveries of one domain are taken one after the other. What
is missing before one is fetched first; a log that has been silent for an hour is asked whether there is more, and one
whose domain shows itself after a while as well. What no log has any more is read from the feeds (``refills``).

Whom an author's node knows as followers is asked for where both sides differ: at once if it decides who may read,
else in a while. Who is believed to follow and does not is unsubscribed, unless that was because they are just doing so.
"""

import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Final, TypeVar

from twisted.internet.defer import DeferredList, DeferredLock, DeferredSemaphore, succeed
from twisted.logger import Logger

from microblog.model.errors import (
    AnotherEpoch,
    BadRequest,
    BeyondHorizon,
    Forbidden,
    ItemNotFound,
    Refusal,
    RemoteServerNotFound,
    RemoteServerTimeout,
    ResourceConstraint,
    UnexpectedRequest,
)
from microblog.model.fanout import set_digest
from microblog.model.item import Item, Proof
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.runtime import Clock, Repetition, Tasks
from microblog.store.crashpoint import crashpoint
from microblog.store.database import Database, Transaction
from microblog.store.peers import Peer
from microblog.usecases import accepting, agreeing
from microblog.usecases.accepting import Accepted, Arrival, Delivery, Letter
from microblog.usecases.agreeing import Feed, ToldSet
from microblog.wire import asking, fanout, mention, ns, pubsub
from microblog.wire.fanout import Deliver, Entry, Stored
from microblog.wire.notification import Notice
from microblog.wire.stanza import Stanza, iq
from microblog.wire.xml import Element, serialize, stamp
from microblog.xep.follows import Follows, received_item
from microblog.xep.readers import Backlog
from microblog.xep.refills import Refills
from microblog.xmpp.dispatch import At, Extension, Route
from microblog.xmpp.router import Router

WAITING_MAX: Final = 4  # deliveries of one domain
CATCH_UP_SECONDS: Final = 40  # before a delivery is answered, whose sender waits a minute
POLL_SECONDS: Final = 60  # then others are asked; the rest with the next sweep
PAGES_MAX: Final = 1000
BEGINNINGS_MAX: Final = 3  # of a log, while it is caught up with
ROUNDS_MAX: Final = 4
SETS_PAGES_MAX: Final = 100
SWEEP_SECONDS: Final = 60
SILENT: Final = timedelta(hours=1)
CONTACT_SECONDS: Final = 300
SWEEP_MAX: Final = 1000
POLLS_AT_ONCE: Final = 20
AT_ONCE: Final = 5
REMEMBERED_MAX: Final = 10_000
AGAIN_SECONDS: Final = 600
GRACE_SECONDS: Final = 30
ENDING_MAX: Final = 1000
_END: Final = "</message>"
T = TypeVar("T", str, Feed)
_NOT_NOW: Final = (RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint)


class Intake(Extension):
    """``dialback_suffices``: domains of which more than what is public is taken without a certificate; ``taken``: how
    what a domain says is taken in (``Policy``). ``recognise``: see whether a domain is still the one that it was
    (``Peers``). ``suspect``: somebody's subscription is to be looked after. ``letters`` hears of messages that are kept
    for people who are named.
    """

    _log = Logger()

    def __init__(
        self,
        router: Router,
        database: Database,
        backlog: Backlog,
        follows: Follows,
        clock: Clock,
        tasks: Tasks,
        *,
        dialback_suffices: Callable[[str], bool] = lambda domain: False,
        refuses: Callable[[str], bool] = lambda domain: False,
        taken: Callable[[str, Notice], Notice] = lambda domain, notice: notice,
        recognise: Callable[[str], Awaitable[object]] = succeed,
        suspect: Callable[[], None] = lambda: None,
    ) -> None:
        self._router = router
        self._database = database
        self._backlog = backlog
        self._follows = follows
        self._clock = clock
        self._tasks = tasks
        self._dialback_suffices = dialback_suffices
        self._refuses = refuses
        self._taken = taken
        self._recognise = recognise
        self._suspect = suspect
        self.letters: Callable[[Sequence[Letter]], None] = lambda letters: None
        self._refills = Refills(router, database, follows, clock, dialback_suffices=dialback_suffices)
        self._turns: dict[str, DeferredLock] = {}
        self._polling = DeferredSemaphore(POLLS_AT_ONCE)
        self._reading = DeferredSemaphore(AT_ONCE)
        self._heard: OrderedDict[str, float] = OrderedDict()  # when a domain's log was last looked at
        self._compared: OrderedDict[Feed, float] = OrderedDict()
        self._ending: set[tuple[Feed, JID]] = set()
        self._refilling: set[str] = set()
        self._refilled: OrderedDict[str, float] = OrderedDict()
        self._sweeping = False
        self._timer: Repetition | None = None

    def routes(self) -> Iterable[Route]:
        """What other nodes deliver."""
        yield Route.set(ns.FANOUT, "deliver", self.deliver, at=At.HOST, waits=True)

    def start(self) -> None:
        """Look after silent logs from now on."""
        self._timer = self._clock.every(SWEEP_SECONDS, self._start_sweep)
        self._start_sweep()

    def stop(self) -> None:
        """Begin nothing any more."""
        if self._timer is not None:
            self._timer.stop()

    # what is delivered

    async def deliver(self, request: Stanza) -> Element:
        """Take a delivery in. Raises BadRequest, Forbidden; for now ResourceConstraint, UnexpectedRequest."""
        domain = request.from_.domainpart
        if not request.from_.is_domain or request.proof is Proof.LOCAL or self._refuses(domain):
            raise Forbidden("a delivery log is its own domain's")
        if request.payload is None:
            raise BadRequest("nothing is delivered")
        delivered = fanout.read_deliver(request.payload)
        crashpoint("K8")
        async with self._turn(domain):
            accepted = await self._take(domain, request.proof, delivered)
        crashpoint("K9")
        return fanout.write_stored(
            Stored(
                epoch=delivered.epoch,
                upto=accepted.upto,
                had=accepted.had,
                stale={feed.author: have for feed, have in accepted.stale.items() if feed.node == MICROBLOG},
                unwanted=accepted.unwanted,
                refused=accepted.refused,
            )
        )

    @asynccontextmanager
    async def _turn(self, domain: str) -> AsyncIterator[None]:
        """One after the other, and not too many that wait."""
        turn = self._turns.setdefault(domain, DeferredLock())
        if len(turn.waiting) >= WAITING_MAX:
            raise ResourceConstraint("one delivery after the other")
        await turn.acquire()
        try:
            yield
        finally:
            turn.release()
            if not turn.locked and self._turns.get(domain) is turn:
                del self._turns[domain]

    async def _take(self, domain: str, proof: Proof, delivered: Deliver) -> Accepted:
        """Store a delivery, and before it what is missing. Raises ResourceConstraint, UnexpectedRequest."""
        sets: dict[Feed, frozenset[JID] | None] = {}
        for _ in range(ROUNDS_MAX):
            accepted = await self._store(domain, proof, delivered, sets)
            if accepted.gap is not None:
                await self._fill_gap(domain, delivered.prev)
            elif accepted.ask:
                for feed in accepted.ask:
                    self._is_due(self._compared, feed, 0)
                    sets[feed] = await self._ask_set(feed)
            else:
                self._after(domain, accepted)
                return accepted
        raise UnexpectedRequest("what comes before it is missing")

    async def _store(
        self, domain: str, proof: Proof, delivered: Deliver, sets: Mapping[Feed, frozenset[JID] | None]
    ) -> Accepted:
        delivery = Delivery(
            domain=domain,
            proof=proof,
            trusted=proof is Proof.CERTIFICATE or self._dialback_suffices(domain),
            epoch=delivered.epoch,
            prev=delivered.prev,
            entries=tuple(self._arrival(domain, entry) for entry in delivered.entries),
            last=delivered.last,
            sets=sets,
            write=self._write,
            unsay=mention.write_unsaid,
        )
        for author in dict.fromkeys(entry.author for entry in delivery.entries if entry.author is not None):
            await self._backlog.room(author)
        return await self._database.write(accepting.accept, delivery)

    def _arrival(self, domain: str, entry: Entry) -> Arrival:
        if entry.event is None or entry.author is None or entry.audience is None:
            return Arrival(number=entry.number, problem=entry.problem)
        notice = self._taken(domain, entry.event)
        return Arrival(
            number=entry.number,
            author=entry.author,
            audience=entry.audience,
            version=entry.version,
            digest=entry.digest,
            to=entry.to,
            node=notice.node,
            published=received_item(notice.items[0]) if notice.items else None,
            retracted=notice.retracted[0] if notice.retracted else "",
            purged=notice.purged,
            deleted=notice.deleted,
            configured=notice.configured,
        )

    def _write(self, to: JID, node: Node, item: Item) -> str:
        """The words of a post as a message; when it came is said, as it may be read much later."""
        delay = Element(ns.DELAY, "delay", {"from": self._router.domain, "stamp": stamp(self._clock.now())})
        message = mention.write_mention(to, node, item)
        return message.removesuffix(_END) + serialize(delay, ns.CLIENT) + _END

    def _after(self, domain: str, accepted: Accepted) -> None:
        """What is to be done in the background, now that it is stored."""
        if accepted.level:
            self._looked_at(domain)
        if accepted.behind and self._is_due(self._refilled, domain, AGAIN_SECONDS):
            self._start_refill(domain)
        if accepted.letters:
            self.letters(accepted.letters)
        if accepted.missing:
            self._tasks.spawn(self._fetch_missing(domain, accepted.missing), f"items of {domain}")
        if accepted.demoted:
            self._suspect()
        for feed in accepted.configured:
            self._tasks.spawn(self._describe(feed), f"who may read {feed.author}")
        for feed in accepted.stale:
            if feed.node == MICROBLOG and self._is_due(self._compared, feed, AGAIN_SECONDS):
                self._tasks.spawn(self._compare(feed), f"followers of {feed.author}")
        self._end(accepted.extra)

    # catching up

    async def _fill_gap(self, domain: str, until: int) -> None:
        """Fetch what comes before a delivery. Raises ResourceConstraint, UnexpectedRequest."""
        try:
            await self._catch_up(domain, until=until, seconds=CATCH_UP_SECONDS)
        except (ResourceConstraint, UnexpectedRequest):
            raise
        except Refusal as refusal:
            raise UnexpectedRequest(f"what comes before it cannot be fetched: {refusal.text}") from refusal

    async def _catch_up(self, domain: str, *, until: int | None = None, seconds: float | None = None) -> None:
        """Fetch what a log has beyond what we have, or up to a number. Raises its node's refusal."""
        ends = None if seconds is None else self._clock.monotonic() + seconds
        beginnings = 0
        for _ in range(PAGES_MAX):
            peer = await self._database.read(_peer, domain)
            if not peer.received_epoch or (until is not None and peer.received >= until):
                return
            if ends is not None and self._clock.monotonic() > ends:
                raise ResourceConstraint("what comes before it is being fetched")
            answer = await self._ask(domain, fanout.write_fetch(peer.received_epoch, peer.received))
            if answer.type == "error":
                beginnings += 1
                if beginnings > BEGINNINGS_MAX:
                    raise ResourceConstraint("its log is another one each time")
                await self._begins_elsewhere(domain, peer, fanout.read_fetch_refusal(answer))
                continue
            if answer.payload is None:
                raise BadRequest("an empty answer to a fetch")
            page = fanout.read_page(answer.payload)
            if page.epoch != peer.received_epoch or page.prev != peer.received:
                raise BadRequest("another page than was asked for")
            accepted = await self._take(domain, answer.proof, page)
            if accepted.level or not page.entries:
                return
        raise ResourceConstraint("too much comes before it")

    async def _begins_elsewhere(self, domain: str, peer: Peer, refusal: Refusal) -> None:
        """A log does not reach back to what we have, or is another one now. Raises any other refusal."""
        if isinstance(refusal, BeyondHorizon) and refusal.number > peer.received:
            epoch, number = peer.received_epoch, refusal.number
        elif isinstance(refusal, AnotherEpoch) and refusal.epoch not in ("", peer.received_epoch):
            epoch, number = refusal.epoch, 0
        else:
            raise refusal
        self._log.info("The log of {domain} does not go on where we stopped: its feeds are read", domain=domain)
        await self._database.write(accepting.adopt, domain, epoch, number)
        self._start_refill(domain)

    async def _ask(self, domain: str, payload: Element) -> Stanza:
        return await self._router.request("get", self._router.host, JID("", domain), payload)

    # silent logs

    def contact(self, domain: str) -> None:
        """A domain has shown itself."""
        if self._is_due(self._heard, domain, CONTACT_SECONDS):
            self._tasks.spawn(self._poll(domain), f"log of {domain}")

    def _start_sweep(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._tasks.spawn(self._sweep(), "silent logs")

    async def _sweep(self) -> None:
        try:
            # Those that did not answer when they were asked come first, but not instead of the others.
            found = iter(await self._database.read(_silent, REMEMBERED_MAX))
            silent = (domain for domain in found if self._is_due(self._heard, domain, SILENT.total_seconds()))
            due = list(islice(silent, SWEEP_MAX))
            await DeferredList([self._tasks.spawn(self._poll(domain), f"log of {domain}") for domain in due])
        except Refusal:
            return  # in a minute, then
        finally:
            self._sweeping = False

    async def _poll(self, domain: str) -> None:
        """Is there more than a domain has told us of?"""
        if self._refuses(domain):
            return
        await self._polling.acquire()
        try:
            async with self._turn(domain):
                await self._recognise(domain)
                if not await self._catches_up(domain):
                    self._heard.pop(domain, None)
            if (await self._database.read(_peer, domain)).behind is not None:
                self._start_refill(domain)
        except Refusal as refusal:
            self._log.debug("The log of {domain} cannot be fetched: {why}", domain=domain, why=refusal.text)
        finally:
            self._polling.release()

    async def _catches_up(self, domain: str) -> bool:
        """False if there was something, and there is more. Raises its node's refusal."""
        before = await self._database.read(_peer, domain)
        try:
            await self._catch_up(domain, seconds=POLL_SECONDS)
        except ResourceConstraint:
            if await self._database.read(_peer, domain) == before:
                raise
            return False
        return True

    def _is_due(self, when: OrderedDict[T, float], what: T, seconds: float) -> bool:
        """Was something not done for so long? Then it is done now."""
        now, before = self._clock.monotonic(), when.get(what)
        if before is not None and now - before < seconds:
            return False
        when[what] = now
        when.move_to_end(what)
        if len(when) > REMEMBERED_MAX:
            when.popitem(last=False)
        return True

    def _looked_at(self, domain: str) -> None:
        self._is_due(self._heard, domain, 0)

    # what no log has

    def _start_refill(self, domain: str) -> None:
        if domain not in self._refilling:
            self._refilling.add(domain)
            self._tasks.spawn(self._refill(domain), f"feeds of {domain}")

    async def _refill(self, domain: str) -> None:
        await self._reading.acquire()
        try:
            await self._refills.refill(domain)
        except Refusal as refusal:
            # In an hour, with the next look at its log.
            self._log.debug("The feeds of {domain} cannot be read: {why}", domain=domain, why=refusal.text)
        finally:
            self._reading.release()
            self._refilling.discard(domain)

    async def _describe(self, feed: Feed) -> None:
        reader = next(iter(await self._database.read(_followers, feed)), None)
        if reader is not None:
            self._follows.fill(reader, *feed)

    async def _fetch_missing(self, domain: str, missing: Iterable[Arrival]) -> None:
        """Items that came without what they say."""
        for entry in missing:
            assert entry.author is not None and entry.published is not None
            feed = Feed(entry.author, entry.node)
            readers = entry.to or tuple(await self._database.read(_followers, feed))
            reader = next((jid for jid in readers if jid.domainpart == self._router.domain), None)
            if reader is None:
                continue
            try:
                request = pubsub.items_request(entry.node, (entry.published.id,))
                answer = await self._router.request("get", reader, entry.author, request)
                if answer.type != "result":
                    continue
                found = pubsub.read_answered_items(answer.payload)
                found = self._taken(domain, Notice(node=entry.node, items=found)).items
                items = [received_item(item) for item in found if item.id == entry.published.id and item.payload]
                await self._database.write(
                    accepting.complete,
                    Delivery(
                        domain=domain,
                        proof=answer.proof,
                        trusted=answer.proof is Proof.CERTIFICATE or self._dialback_suffices(domain),
                        epoch="",
                        prev=0,
                        entries=tuple(replace(entry, published=item) for item in items),
                    ),
                )
            except Refusal as refusal:
                self._log.debug("Items of {author} could not be had: {why}", author=feed.author, why=refusal.text)

    # sets of followers

    async def _ask_set(self, feed: Feed) -> frozenset[JID] | None:
        """Whom an author's node knows as followers here; None if it does not say. Raises refusals for now."""
        try:
            return (await self._told_set(feed)).listed
        except _NOT_NOW as refusal:
            raise ResourceConstraint(f"the followers of {feed.author} are not known just now") from refusal
        except Refusal as refusal:
            self._log.debug("{author}: its followers are not told: {why}", author=feed.author, why=refusal.text)
            return None

    async def _told_set(self, feed: Feed) -> ToldSet:
        """Whom an author's node knows as followers here. Raises its refusal."""
        listed: dict[JID, None] = {}
        after: JID | None = None
        digest = ""
        for _ in range(SETS_PAGES_MAX):
            answer = await self._ask(feed.author.domainpart, fanout.write_followers_query(feed.author, after))
            if answer.type == "error" or answer.payload is None:
                refusal = pubsub.read_refusal(answer)
                if isinstance(refusal, ItemNotFound):
                    return ToldSet(feed=feed, listed=frozenset())
                raise refusal
            page = fanout.read_follower_set(answer.payload, feed.author)
            if after is not None and page.digest != digest:
                # It is another set since the first page.
                listed, after = {}, None
                continue
            digest = page.digest
            listed.update((jid, None) for jid in page.jids)
            if not page.more or not page.jids:
                if set_digest(listed) != digest or any(jid.domainpart != self._router.domain for jid in listed):
                    raise BadRequest("not the set whose digest it is")
                return ToldSet(feed=feed, listed=frozenset(listed), version=page.version)
            after = page.jids[-1]
        raise BadRequest("a set of followers without an end")

    async def _compare(self, feed: Feed) -> None:
        """Repair what differs, where nothing depends on it at once."""
        try:
            found = await self._database.write(agreeing.compare, await self._told_set(feed))
        except Refusal as refusal:
            self._log.debug("{author}: its followers are not told: {why}", author=feed.author, why=refusal.text)
            return
        if found.demoted:
            self._suspect()
        self._end((feed, jid) for jid in found.extra)

    def _end(self, extra: Iterable[tuple[Feed, JID]]) -> None:
        for feed, jid in extra:
            if (feed, jid) in self._ending or len(self._ending) >= ENDING_MAX:
                continue
            self._ending.add((feed, jid))
            self._tasks.spawn(self._unsubscribe(feed, jid), f"{jid} does not follow {feed.author}")

    async def _unsubscribe(self, feed: Feed, jid: JID) -> None:
        """Somebody is believed to follow who does not: perhaps they have just begun to, and it is written down soon."""
        try:
            await self._clock.sleep(GRACE_SECONDS)
            if await self._database.read(agreeing.still_extra, feed, jid):
                request = asking.unsubscribe_request(feed.node, jid)
                self._router.send(iq("set", jid, feed.author, secrets.token_urlsafe(12), request))
        except Refusal:
            return  # with the next set, then
        finally:
            self._ending.discard((feed, jid))


def _peer(tx: Transaction, domain: str) -> Peer:
    return tx.peers.get(domain)


def _silent(tx: Transaction, limit: int) -> list[str]:
    return tx.peers.silent(tx.now - SILENT, limit)


def _followers(tx: Transaction, feed: Feed) -> list[JID]:
    node = tx.nodes.find(*feed)
    return [] if node is None else sorted(tx.subscriptions.followers(node), key=str)
