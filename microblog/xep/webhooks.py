"""Webhooks: what happens, as signed HTTP calls to programs that can be reached (docs/programs.md).

Each webhook has one worker and one timer. A call that is not answered by 2xx is made again, later and later, and what
comes after it waits: events come in order, at least once. How far a webhook is, and when it is tried next, is in the
database; killed at any moment, it goes on where it was.

Everybody with an account can have the node call something, so what is called is looked at first: the addresses of its
host have to be public ones, the connection is made to those very addresses, and nobody is redirected. What is for this
node only is told to none of them. Where the administrator allows private addresses, a program inside is told that, too.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol
from urllib.parse import urlsplit

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall

from microblog.http import Answer, CallFailed, check_url
from microblog.model.errors import Forbidden, ItemNotFound, Refusal
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.program import Position, Program, ProgramEvent
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.store.webhooks import Webhook
from microblog.usecases import hooking, informing
from microblog.usecases.informing import EventPage, Next
from microblog.wire import tapped
from microblog.wire import webhook as signing
from microblog.xmpp.resolve import ADDRESSES_MAX, IPAddress, Unreachable, is_public, may_use

PAGE: Final = 10
CALLS_AT_ONCE: Final = 100
CALL_SECONDS: Final = 15
AGAIN_SECONDS: Final = 30  # when the database was busy
PASSED_OVER: Final = 500  # events that are not for it, until that is written down
GONE: Final = 410
ABROAD: Final = frozenset(Audience) - {Audience.LOCAL}

Post = Callable[..., Awaitable[Answer]]


class Waking(Protocol):
    """Who knows when there may be something for a program."""

    def add(self, program: Program, account: JID, wake: Callable[[], None]) -> None:
        """Call ``wake`` from now on."""

    def remove(self, key: int) -> None:
        """No more."""


class Lookup(Protocol):
    """Who knows the addresses of a host (``Resolver``)."""

    async def lookup(self, host: str) -> Sequence[IPAddress]:
        """All of them. Raises Unreachable."""


class Calls:
    """What may be called, and how. ``post``: of a ``Caller``. ``private``: private addresses may be, and plain http."""

    def __init__(self, lookup: Lookup, post: Post, clock: Clock, *, private: bool) -> None:
        self._lookup = lookup
        self._post = post
        self._clock = clock
        self._private = private
        self._turn = DeferredSemaphore(CALLS_AT_ONCE)

    async def addresses(self, url: str) -> tuple[list[str], bool]:
        """Where to call, and whether all that is outside. Raises CallFailed."""
        try:
            check_url(url, plain=self._private)
        except ValueError as error:
            raise CallFailed(str(error)) from error
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            found = await self._lookup.lookup(host)
        except Unreachable as error:
            raise CallFailed(error.reason) from error
        port = parts.port or (443 if parts.scheme == "https" else 80)
        allowed = [one for one in found if self._private or (is_public(one) and may_use(port))]
        allowed = [one for one in allowed if not one.is_multicast and not one.is_unspecified]
        if not allowed:
            raise CallFailed(f"{host} has no address that may be called")
        return [str(one) for one in allowed[:ADDRESSES_MAX]], any(is_public(one) for one in allowed)

    async def call(self, webhook: Webhook, id_: str, body: bytes, at: Sequence[str]) -> Answer:
        """Make one call. Raises CallFailed."""
        headers = signing.headers(id_, self._clock.now(), body, signing.read_secret(webhook.secret))
        await self._turn.acquire()
        try:
            return await self._post(webhook.url, body, headers, at=at)
        finally:
            self._turn.release()


class Webhooks:
    """All of the node. ``told`` hears of one that was given up."""

    def __init__(self, database: Database, waking: Waking, calls: Calls, clock: Clock, tasks: Tasks) -> None:
        self.database = database
        self.calls = calls
        self.clock = clock
        self.tasks = tasks
        self.told: Callable[[Webhook], None] = lambda webhook: None
        self._waking = waking
        self._workers: dict[int, Worker] = {}
        self._reading = False
        self._again = False

    def start(self) -> None:
        """Begin."""
        self.changed()

    def stop(self) -> None:
        """Begin no more calls."""
        for worker in self._workers.values():
            worker.stop()
        self._workers.clear()

    def changed(self) -> None:
        """There are others than before, or one is to be called again."""
        self._again = True
        if not self._reading:
            self._reading = True
            self.tasks.spawn(self._read(), "webhooks")

    async def _read(self) -> None:
        try:
            while self._again:
                self._again = False
                try:
                    webhooks = await self.database.read(hooking.everybodys)
                except Refusal:
                    self._again = True
                    await self.clock.sleep(AGAIN_SECONDS)
                    continue
                self._take({webhook.key: (webhook, program) for webhook, program in webhooks})
        finally:
            self._reading = False

    def _take(self, webhooks: dict[int, tuple[Webhook, Program]]) -> None:
        for key in self._workers.keys() - webhooks.keys():
            self.forget(key)
        for key, (webhook, program) in webhooks.items():
            worker = self._workers.get(key)
            if worker is None:
                worker = self._workers[key] = Worker(self, webhook)
                owner = JID(webhook.localpart, self.database.domain)
                self._waking.add(program, owner, worker.wake)
            worker.look_again(webhook)

    def forget(self, key: int) -> None:
        """There is no such webhook any more."""
        worker = self._workers.pop(key, None)
        if worker is not None:
            worker.stop()
            self._waking.remove(key)


class Worker:
    """One webhook."""

    def __init__(self, house: Webhooks, webhook: Webhook) -> None:
        self._house = house
        self._webhook = webhook
        self._running = False
        self._again = False
        self._stopped = False
        self._timer: IDelayedCall | None = None
        self._paused = False  # until the timer, or until somebody says so

    def look_again(self, webhook: Webhook) -> None:
        """This is what the database says of it by now."""
        self._webhook = webhook
        self._set_timer(None)
        self._paused = webhook.is_given_up
        if webhook.next_attempt is not None:
            pause = (webhook.next_attempt - self._house.clock.now()).total_seconds()
            if pause > 0:
                self._pause(pause)
        self.wake()

    def wake(self) -> None:
        """There may be something."""
        self._again = True
        if not self._running and not self._paused and not self._stopped:
            self._running = True
            self._house.tasks.spawn(self._run(), f"webhook {self._webhook.name} of {self._webhook.localpart}")

    def stop(self) -> None:
        """Call it no more."""
        self._stopped = True
        self._set_timer(None)

    def _set_timer(self, timer: IDelayedCall | None) -> None:
        old, self._timer = self._timer, timer
        if old is not None and old.active():
            old.cancel()

    def _pause(self, seconds: float) -> None:
        self._paused = True
        self._set_timer(self._house.clock.later(seconds, self._go_on))

    def _go_on(self) -> None:
        self._timer = None
        self._paused = False
        self.wake()

    @property
    def _goes(self) -> bool:
        return self._again and not self._paused and not self._stopped

    async def _run(self) -> None:
        try:
            while self._goes:
                self._again = False
                await self._work()
        except (ItemNotFound, Forbidden):
            self._house.forget(self._webhook.key)
        except Refusal:
            if not self._stopped:
                self._pause(AGAIN_SECONDS)
        finally:
            self._running = False

    async def _work(self) -> None:
        """All there is, or until a call fails."""
        after: Position | None = None
        more = True
        while more and not self._paused and not self._stopped:
            page = await self._page(after, frozenset(Audience))
            if page.events:
                try:
                    at, outside = await self._house.calls.addresses(self._webhook.url)
                except CallFailed as failure:
                    await self._failed(str(failure))
                    return
                if outside:
                    page = await self._page(after, ABROAD)
            for event in page.events:
                if self._stopped or not await self._deliver(event, at):
                    return
            after = None if page.events else await self._pass_over(page)
            more = page.more

    async def _pass_over(self, page: EventPage) -> Position | None:
        """Nothing there was for it; where to go on."""
        if page.position.seq - page.program.position.seq < PASSED_OVER:
            return page.position
        await self._house.database.write(informing.pass_over, self._webhook.key, page.position)
        return None

    async def _page(self, after: Position | None, audiences: frozenset[Audience]) -> EventPage:
        request = Next(program=self._webhook.key, limit=PAGE, after=after, audiences=audiences)
        return await self._house.database.read(informing.next_events, request)

    async def _deliver(self, event: ProgramEvent, at: Sequence[str]) -> bool:
        """Call with one event; True if it was taken."""
        try:
            answer = await self._house.calls.call(self._webhook, event.id, tapped.as_json(event), at)
        except CallFailed as failure:
            await self._failed(str(failure))
            return False
        if answer.is_success:
            await self._house.database.write(hooking.taken, self._webhook.key, event.cursor, gap=event.gap)
            return True
        await self._failed(f"the answer is {answer.status}", pause=answer.retry_after, final=answer.status == GONE)
        return False

    async def _failed(self, problem: str, *, pause: float | None = None, final: bool = False) -> None:
        webhook = await self._house.database.write(
            lambda tx: hooking.failed(tx, self._webhook.key, problem, pause=pause, final=final)
        )
        if self._stopped:
            return
        self.look_again(webhook)
        if webhook.is_given_up:
            self._house.told(webhook)
