"""Time and tasks: the only door to the reactor's clock, and the only place where coroutines are started.

`Clock` tells the time and promises to call back later; it stands over any IReactorTime, so that a test hands
in `twisted.internet.task.Clock` and decides when a minute is over. `Tasks` starts coroutines that nobody
awaits: each has a name, none fails in silence, and all of them end when the service stops.

A wall clock may jump; deadlines and back-off must not. Twisted's reactor schedules by `time.time`, which is
why the server calls `keep_steady_time` before it schedules anything.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

T = TypeVar("T")


def keep_steady_time(reactor: Any) -> None:
    """Let the reactor count time on the monotonic clock; only before the first call is scheduled."""
    reactor.seconds = time.monotonic


class Repetition:
    """A function called at intervals until `stop`; a failure is logged and the next call still comes."""

    log = Logger()

    def __init__(self, clock: "Clock", seconds: float, f: Callable[[], object]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._f = f
        self._call: IDelayedCall | None = clock.later(seconds, self._run)

    def _run(self) -> None:
        self._call = self._clock.later(self._seconds, self._run)
        try:
            self._f()
        except Exception:
            self.log.failure("A repeated call failed: {call}", call=self._f)

    def stop(self) -> None:
        """Call no more; may be said twice."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()


class Clock:
    """Now, later, every and at most. With `start`, `now` too is the reactor's: `start` and its seconds."""

    def __init__(self, reactor: IReactorTime, *, start: datetime | None = None) -> None:
        self.reactor = reactor
        self._start = start

    def now(self) -> datetime:
        """The date and time in UTC. For stamps; never for measuring how long something took."""
        if self._start is None:
            return datetime.now(UTC)
        return self._start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Seconds since some moment: differences only."""
        return self.reactor.seconds()

    def later(self, seconds: float, f: Callable[..., object], *args: object) -> IDelayedCall:
        """Call once; the answer can `cancel()`."""
        return self.reactor.callLater(seconds, f, *args)

    def every(self, seconds: float, f: Callable[[], object]) -> Repetition:
        """Call at intervals, the first time after one interval."""
        return Repetition(self, seconds, f)

    def sleep(self, seconds: float) -> Deferred[None]:
        """Await this to wait; cancelling it forgets the timer."""
        woken: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self.later(seconds, woken.callback, None)
        return woken

    async def deadline(self, awaitable: Awaitable[T], seconds: float) -> T:
        """The awaitable's result, unless it takes longer: then it is cancelled.

        Raises: TimeoutError: the time is over. (The built-in one, whatever the cancelled code raised.)
        """
        deferred = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(_awaited(awaitable))
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            deferred.cancel()

        call = self.later(seconds, expire)
        try:
            return await deferred
        except Exception as error:
            if expired:
                raise TimeoutError(f"nothing after {seconds:g} seconds") from error
            raise
        finally:
            if call.active():
                call.cancel()


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


class Tasks:
    """The coroutines that run on their own."""

    log = Logger()

    def __init__(self) -> None:
        self._running: dict[Deferred[None], str] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, coroutine: Coroutine[Any, Any, object], name: str) -> Deferred[None]:
        """Start it now. The answer fires with None when it has ended in whatever way, and can `cancel()`."""
        if self._stopped:
            coroutine.close()
            return succeed(None)
        task = Deferred.fromCoroutine(self._watched(coroutine, name))
        if not task.called:
            self._running[task] = name
            task.addBoth(lambda _: self._running.pop(task, None) and None)
        return task

    def names(self) -> list[str]:
        """What is running, for status pages and for tests that want nothing left."""
        return sorted(self._running.values())

    def stop(self) -> Deferred[None]:
        """Cancel all of them; fires when the last has ended. What is spawned later does not start."""
        self._stopped = True
        running = list(self._running)
        ended: Deferred[None] = Deferred()
        DeferredList(running).addCallback(lambda _: ended.callback(None))
        for task in running:
            task.cancel()
        return ended

    async def _watched(self, coroutine: Coroutine[Any, Any, object], name: str) -> None:
        try:
            await coroutine
        except CancelledError:
            pass
        except Exception:
            self.log.failure("Task {name} failed", name=name)
