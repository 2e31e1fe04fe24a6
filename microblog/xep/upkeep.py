"""What is looked after from time to time because of other domains.

Administrators are told of domains that nothing could be delivered to for hours, or that are given up. Readers who are
to be waited for are told again. What is kept of each domain is measured, and what is too old goes.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from twisted.logger import Logger

from microblog.commands.texts import say
from microblog.model.errors import Refusal
from microblog.model.event import NodeEvent
from microblog.model.jid import JID
from microblog.runtime import Clock, Repetition, Tasks
from microblog.store.database import Database
from microblog.usecases import bouncing, queueing, storing
from microblog.wire import notification

ALARMS_SECONDS: Final = 300
AGAIN_SECONDS: Final = 30
STORAGE_SECONDS: Final = 3600
PAUSE_SECONDS: Final = 0.05  # between pieces: others want to read and write, too
NAMED_MAX: Final = 10


class Lines(Protocol):
    """Who tells administrators (``AdminLines``)."""

    def tell(self, text: str, **values: str) -> None:
        """Say a text to all of them."""


class Upkeep:
    """``wake`` is the outbox's."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        lines: Lines,
        wake: Callable[[str], None],
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._lines = lines
        self._wake = wake
        self._clock = clock
        self._tasks = tasks
        self._repetitions: list[Repetition] = []
        self._busy: set[str] = set()

    def start(self) -> None:
        """Begin."""
        for seconds, name, function in (
            (ALARMS_SECONDS, "alarms", self.alarm),
            (AGAIN_SECONDS, "readers to be told again", self.tell_again),
            (STORAGE_SECONDS, "storage of other domains", self.tidy),
        ):
            self._every(seconds, name, function)

    def _every(self, seconds: float, name: str, function: Callable[[], Awaitable[None]]) -> None:
        self._repetitions.append(self._clock.every(seconds, lambda: self._begin(name, function)))

    def _begin(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        if name not in self._busy:
            self._busy.add(name)
            self._tasks.spawn(self._run(name, function), name)

    async def _run(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        try:
            await function()
        except Refusal as refusal:
            # The next time, then.
            self._log.debug("{name}: {why}", name=name, why=refusal.text)
        finally:
            self._busy.discard(name)

    def stop(self) -> None:
        """Begin nothing any more."""
        for repetition in self._repetitions:
            repetition.stop()

    async def alarm(self) -> None:
        """Tell administrators what they should know."""
        alarms = await self._database.write(queueing.alarms)
        for text, domains in (("chat.domains_failing", alarms.failing), ("chat.domains_dormant", alarms.dormant)):
            if domains:
                self._lines.tell(text, domains=named(domains))

    async def tell_again(self) -> None:
        """Owe readers what they could not take before."""
        if await self._database.read(bouncing.is_anything_due):
            for domain in await self._database.write(bouncing.tell_again, _write):
                self._wake(domain)

    async def tidy(self) -> None:
        """Measure what is kept of other domains, and remove what is too much or too old."""
        for domain in await self._database.read(storing.to_measure):
            storage = await self._database.read(storing.measure, domain)
            await self._database.write(storing.measured, domain, storage)
        after: int | None = 0
        while after is not None:
            old = await self._database.read(storing.too_old, after)
            for start in range(0, len(old.keys), storing.REMOVED_AT_ONCE):
                await self._database.write(storing.remove_old, old.keys[start : start + storing.REMOVED_AT_ONCE])
                await self._clock.sleep(PAUSE_SECONDS)
            after = old.after


def named(domains: Sequence[str]) -> str:
    """Some domains as a text, the first by name."""
    first = ", ".join(domains[:NAMED_MAX])
    if len(domains) <= NAMED_MAX:
        return first
    return say("en", "chat.domains_more", domains=first, number=len(domains) - NAMED_MAX)


def _write(event: NodeEvent, to: JID) -> str:
    splice = notification.render(event)
    return "" if splice is None else splice.to(to).decode()
