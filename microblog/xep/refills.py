"""docs/protocol/fanout.md, the receiving end: feeds are read back to what is known, where a log does not reach back.

``usecases.refilling`` says what is stored. Each feed is asked for as one of its followers, page by page (XEP-0059)
from its end; of each no more than ``ITEMS_PER_DAY`` items a day, however many its service says that there are. What is
left goes on from where it stopped.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from twisted.logger import Logger

from microblog.model.errors import ItemNotFound, Refusal, RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import refilling
from microblog.usecases.agreeing import Feed
from microblog.usecases.refilling import PageOfFeed
from microblog.wire import asking, pubsub
from microblog.wire.notification import Notice
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.follows import Follows, received_item
from microblog.xmpp.router import Router

PAGE: Final = 50
ITEMS_PER_DAY: Final = 5000
DAY_SECONDS: Final = 86_400
FEEDS_MAX: Final = 10_000
_NOT_NOW: Final = (RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint)


@dataclass(slots=True)
class _Progress:
    """``began``: when this day began; ``taken``: in it; ``before``: the item where the next page ends."""

    began: float
    taken: int = 0
    before: str = ""


class Refills:
    """What is under way is remembered until it is done or this node ends; then it begins anew.

    ``dialback_suffices``: domains that change what is not public without a certificate.
    """

    _log = Logger()

    def __init__(
        self,
        router: Router,
        database: Database,
        follows: Follows,
        clock: Clock,
        *,
        dialback_suffices: Callable[[str], bool] = lambda domain: False,
    ) -> None:
        self._router = router
        self._database = database
        self._follows = follows
        self._clock = clock
        self._dialback_suffices = dialback_suffices
        self._progress: OrderedDict[Feed, _Progress] = OrderedDict()

    async def refill(self, domain: str) -> None:
        """Read all feeds of a domain that are followed here. Raises RemoteServerNotFound and its like."""
        since = await self._database.read(refilling.behind, domain)
        if since is None:
            return
        thoroughly = await self._database.read(refilling.has_lost, domain)
        done, after = True, 0
        while found := await self._database.read(refilling.feeds, domain, after):
            for feed, reader, key in found:
                done = await self._feed(feed, reader, since, thoroughly) and done
                after = key
        if done:
            await self._database.write(refilling.level, domain, since)

    async def reread(self, feed: Feed, reader: JID, since: datetime) -> None:
        """Read one feed, whose posts and edits may not have come since then. Raises RemoteServerNotFound and its like.

        What it has no more stays here: it may have been lost there, or only the newest may be kept. Who holds a post
        hears of its retraction without following.
        """
        await self._feed(feed, reader, since, thoroughly=False)

    async def _feed(self, feed: Feed, reader: JID, since: datetime, thoroughly: bool) -> bool:
        try:
            await self._follows.describe(reader, *feed)
            done = await self._read_back(feed, reader, since)
            if done and thoroughly:
                await self._compare(feed, reader)
        except _NOT_NOW:
            raise
        except Refusal as refusal:
            # A feed that is not shown, or is gone: there is nothing more to be had of it.
            self._log.debug("{feed} cannot be read: {why}", feed=feed.author, why=refusal.text)
            done = True
        if done:
            self._progress.pop(feed, None)
        return done

    async def _read_back(self, feed: Feed, reader: JID, since: datetime) -> bool:
        """Page by page; False if there is more than may be had in a day."""
        progress = self._begin(feed)
        while progress.taken < ITEMS_PER_DAY:
            payload = asking.page_before_request(feed.node, PAGE, progress.before)
            asked = await self._database.read(refilling.last, feed.author.domainpart)
            try:
                answer = await self._ask(feed, reader, payload)
            except ItemNotFound:
                if not progress.before:
                    raise
                # Gone meanwhile. What is known already costs a look.
                progress.before, progress.taken = "", progress.taken + PAGE
                continue
            items = pubsub.read_answered_items(answer.payload)
            taken = self._follows.taken(feed.author.domainpart, Notice(node=feed.node, items=items)).items
            found = tuple(map(received_item, taken))
            page = PageOfFeed(
                feed=feed, proof=answer.proof, items=found, since=since, asked=asked, trusted=self._is_trusted(answer)
            )
            reached = await self._database.write(refilling.take_page, page)
            if reached or len(items) < PAGE or items[0].id == progress.before:
                return True
            progress.taken += len(items)
            progress.before = items[0].id
        return False

    def _begin(self, feed: Feed) -> _Progress:
        now = self._clock.monotonic()
        progress = self._progress.pop(feed, None) or _Progress(now)
        if now - progress.began >= DAY_SECONDS:
            progress.began, progress.taken = now, 0
        self._progress[feed] = progress
        if len(self._progress) > FEEDS_MAX:
            self._progress.popitem(last=False)
        return progress

    async def _compare(self, feed: Feed, reader: JID) -> None:
        """Is what we have still there? Where nothing is shown that is not public, that says nothing of such items."""
        held = await self._database.read(refilling.held, feed)
        there: set[str] = set()
        trusted = True
        for start in range(0, len(held), PAGE):
            asked = [item.id for item in held[start : start + PAGE]]
            answer = await self._ask(feed, reader, pubsub.items_request(feed.node, asked))
            trusted = trusted and self._is_trusted(answer)
            there.update(item.id for item in pubsub.read_answered_items(answer.payload))
        all_is_shown = trusted and any(item.private and item.id in there for item in held)
        lost = [item.id for item in held if item.id not in there and (all_is_shown or not item.private)]
        if lost:
            await self._database.write(refilling.gone, feed, lost)

    def _is_trusted(self, answer: Stanza) -> bool:
        return answer.proof is Proof.CERTIFICATE or self._dialback_suffices(answer.from_.domainpart)

    async def _ask(self, feed: Feed, reader: JID, payload: Element) -> Stanza:
        answer = await self._router.request("get", reader, feed.author, payload)
        if answer.type == "error":
            raise pubsub.read_refusal(answer)
        return answer
