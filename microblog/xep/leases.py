"""Nodes elsewhere that look for something in the name of somebody here (docs/protocol/track.md §7).

They are asked when it is tracked, and again every day, as what they give is a lease; while one cannot be reached, every
hour. What they find is taken in here (``usecases.matching``), and told as what was found here is.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import DeferredList, DeferredSemaphore

from microblog.model.errors import Refusal, RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.subscription import SubscriptionState
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.store.tracks import Track
from microblog.usecases import identity, leasing, tracking
from microblog.usecases.leasing import Found
from microblog.usecases.matching import Matcher
from microblog.wire import asking, atom, ns, pubsub
from microblog.wire import track as wire
from microblog.wire.errors import condition
from microblog.wire.notification import Notice
from microblog.wire.stanza import Stanza, iq
from microblog.xmpp.router import Router

ASKED_MAX: Final = 200
AT_ONCE: Final = 5
RETRY_MAX_SECONDS: Final = 30
STORE_SECONDS: Final = 60
# A node that answers slowly is asked for the rest of it when the others have had their turns.
TURN_SECONDS: Final = 60
_AWAY: Final = (RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint)


class Leases:
    """Asks, and takes in. ``found`` is called when there is something to tell; ``taken``: what policy leaves of it."""

    def __init__(
        self,
        router: Router,
        database: Database,
        matcher: Matcher,
        clock: Clock,
        tasks: Tasks,
        found: Callable[[], None],
    ) -> None:
        self._router = router
        self._database = database
        self._matcher = matcher
        self._clock = clock
        self._tasks = tasks
        self._found = found
        self._asking = DeferredSemaphore(AT_ONCE)
        self._sweeping = False
        self.taken: Callable[[str, Notice], Notice] = lambda domain, notice: notice

    # asking

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
                problem = leasing.UNREACHABLE
            except Refusal as refusal:
                problem = _name(refusal)
        if problem:
            await self._database.write(leasing.troubled, track, problem)
        elif not await self._database.write(leasing.granted, track, lease):
            # It was ended meanwhile.
            self._router.send(ending(track, lease))
        return problem

    def sweep(self) -> None:
        """Ask those that are due."""
        if not self._sweeping:
            self._sweeping = True
            self._tasks.spawn(self._sweep(), "tracks elsewhere")

    async def _sweep(self) -> None:
        try:
            by_service: dict[str, list[Track]] = {}
            for track in await self._database.read(leasing.due, ASKED_MAX):
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
        until = self._clock.monotonic() + TURN_SECONDS
        try:
            away = False
            for track in tracks:
                if self._clock.monotonic() >= until and not away:
                    return
                if away:
                    await self._database.write(leasing.troubled, track, leasing.UNREACHABLE)
                else:
                    away = await self.ask(track) == leasing.UNREACHABLE
        except Refusal:
            return
        finally:
            self._asking.release()

    # taking in

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
        arrived = leasing.Arrived(
            owner=message.to.bare,
            domain=domain,
            leases=wire.read_subids(message.element),
            found=found,
            retracted=notice.retracted,
            publishers=wire.read_publishers(message.element) if notice.retracted else {},
        )
        if not await self._database.read(leasing.is_lease, arrived):
            return False
        if await self._store(arrived):
            self._found()
        return True

    async def _store(self, arrived: leasing.Arrived) -> bool:
        """Raises ResourceConstraint if it cannot be stored for some time."""
        until = self._clock.monotonic() + STORE_SECONDS
        seconds = 1
        while True:
            try:
                return await self._database.write(self._matcher.take, arrived)
            except ResourceConstraint:
                if self._clock.monotonic() + seconds > until:
                    raise
            await self._clock.sleep(seconds)
            seconds = min(2 * seconds, RETRY_MAX_SECONDS)


def ending(track: Track, lease: str) -> Stanza:
    """The request that ends a lease."""
    request = asking.unsubscribe_request(ns.TRACK, track.owner, lease)
    return iq("set", track.owner, JID("", track.service), secrets.token_urlsafe(12), request)


def _name(refusal: Refusal) -> str:
    found = condition(type(refusal))
    return found.application or found.name
