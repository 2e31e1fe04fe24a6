"""Follow health (XEP-0060 §5.6): other services are asked what they know of our people's subscriptions, and what they
have forgotten is subscribed to again.

``usecases.tending`` says who is to be asked when. Every minute some are asked, a few at once; what a server that cannot
be reached would be asked is left for later with the first question that fails.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from twisted.internet.defer import DeferredList, DeferredSemaphore
from twisted.logger import Logger

from microblog.model.errors import Gone, Refusal, RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.runtime import Clock, Repetition, Tasks
from microblog.store.database import Database
from microblog.usecases import identity, tending
from microblog.usecases.agreeing import Feed
from microblog.usecases.tending import Broken, Due, Told
from microblog.wire import asking, pubsub
from microblog.wire.errors import condition
from microblog.xep.follows import Follows
from microblog.xep.refills import Refills
from microblog.xmpp.router import Router

SWEEP_SECONDS: Final = 60
SWEEP_MAX: Final = 200
AT_ONCE: Final = 5
FRESH_SECONDS: Final = 3000
FRESH_MAX: Final = 10_000
_AWAY: Final = (RemoteServerNotFound, RemoteServerTimeout)


class FollowHealth:
    """Asks, compares, repairs; ``start`` and ``stop`` with the house."""

    _log = Logger()

    def __init__(
        self,
        router: Router,
        database: Database,
        follows: Follows,
        clock: Clock,
        tasks: Tasks,
        *,
        dialback_suffices: Callable[[str], bool] = lambda domain: False,
    ) -> None:
        self._router = router
        self._database = database
        self._follows = follows
        self._clock = clock
        self._tasks = tasks
        self._refills = Refills(router, database, follows, clock, dialback_suffices=dialback_suffices)
        self._at_once = DeferredSemaphore(AT_ONCE)
        self._sweeping = False
        self._fresh: OrderedDict[JID, float] = OrderedDict()  # when the newest of a feed was fetched
        self._timer: Repetition | None = None
        self.gone: Callable[[JID, Gone], None] = lambda service, refusal: None

    def start(self) -> None:
        """Look after what is followed from now on."""
        self._tasks.spawn(self._begin(), "follow health")
        self._timer = self._clock.every(SWEEP_SECONDS, self.look)

    def stop(self) -> None:
        """Begin nothing any more."""
        if self._timer is not None:
            self._timer.stop()

    async def _begin(self) -> None:
        await self._database.write(tending.adopt)
        self.look()

    def look(self) -> None:
        """Ask those who are due."""
        if not self._sweeping:
            self._sweeping = True
            self._tasks.spawn(self._sweep(), "follow health")

    async def _sweep(self) -> None:
        try:
            away: set[str] = set()
            found = await self._database.read(tending.due, SWEEP_MAX)
            checks = [self._tasks.spawn(self._turn(due, away), f"follows of {due.account}") for due in found]
            await DeferredList(checks)
        except Refusal:
            return  # the database has too much to do: in a minute, then
        finally:
            self._sweeping = False

    async def _turn(self, due: Due, away: set[str]) -> None:
        await self._at_once.acquire()
        try:
            await self._check(due, away)
        except ResourceConstraint:
            return  # too much is under way here: it stays due
        finally:
            self._at_once.release()

    async def _check(self, due: Due, away: set[str]) -> None:
        """Ask one service about one account."""
        if due.service.domainpart in away:
            await self._database.write(tending.trouble, due, tending.UNREACHABLE)
            return
        if not await self._database.read(identity.trusts, due.service.domainpart):
            await self._database.write(tending.trouble, due, identity.CHANGED)
            return
        try:
            states = await self._ask(due)
        except _AWAY:
            away.add(due.service.domainpart)
            await self._database.write(tending.trouble, due, tending.UNREACHABLE)
            return
        except Gone as refusal:
            self.gone(due.service, refusal)
            await self._database.write(tending.trouble, due, _name(refusal))
            return
        told = Told(account=due.account, service=due.service, states=states)
        verdict = await self._database.write(tending.compare, told)
        for node in verdict.approved:
            self._follows.approved(due.account, due.service, node)
        for broken in verdict.broken:
            await self._repair(due, broken)
        if MICROBLOG in verdict.sound and self._is_stale(due.service):
            await self._refresh(due)

    def _is_stale(self, service: JID) -> bool:
        """Was a feed's newest not fetched lately for another of its followers?"""
        now = self._clock.monotonic()
        while self._fresh and (len(self._fresh) > FRESH_MAX or now - next(iter(self._fresh.values())) >= FRESH_SECONDS):
            self._fresh.popitem(last=False)
        if service in self._fresh:
            return False
        self._fresh[service] = now
        return True

    async def _refresh(self, due: Due) -> None:
        """Fetch what should have come; if anything did not, it is known that this service is silent."""
        try:
            missed = await self._follows.refresh(due.account, due.service, MICROBLOG, gap=True)
        except ResourceConstraint:
            raise
        except Refusal:
            return
        if missed:
            await self._database.write(tending.trouble, due, tending.SILENT, (MICROBLOG,))

    async def _ask(self, due: Due) -> dict[str, SubscriptionState] | None:
        """What a service says; None if it does not say such things."""
        answer = await self._router.request("get", due.account, due.service, asking.subscriptions_request())
        if answer.type == "error":
            refusal = pubsub.read_refusal(answer)
            if isinstance(refusal, (*_AWAY, Gone)):
                raise refusal
            return None
        listed = asking.read_subscriptions(answer.payload)
        return {one.node: one.state for one in listed if one.jid == due.account}

    async def _repair(self, due: Due, broken: Broken) -> None:
        node = broken.node
        request = asking.subscribe_request(node, due.account, public=broken.public)
        try:
            await self._follows.subscribe(due.account, due.service, node, request)
        except ResourceConstraint:
            raise
        except Refusal as refusal:
            if isinstance(refusal, Gone):
                self.gone(due.service, refusal)
            problem = tending.UNREACHABLE if isinstance(refusal, _AWAY) else _name(refusal)
            await self._database.write(tending.trouble, due, problem, (node,))
            return
        self._log.debug("{account} follows {service} again", account=due.account, service=due.service)
        if broken.since is not None and node == MICROBLOG and self._is_stale(due.service):
            # What was edited or retracted meanwhile was told to nobody here.
            with suppress(*_AWAY):
                await self._refills.reread(Feed(due.service, node), due.account, broken.since)


def _name(refusal: Refusal) -> str:
    """The most exact name there is for what went wrong."""
    found = condition(type(refusal))
    return found.application or found.name
