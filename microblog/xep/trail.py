"""What is done with posts behind their publishing: the log of events is read by a durable mark, a step at a time.

Whoever publishes does not wait for it, and what was not done when the server died is done at its next start. A step is
a use case that does so many events in its transaction, with its own mark, and says whether there are more.
"""

from collections.abc import Callable

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.model.errors import Refusal
from microblog.model.event import Event, ItemPublished, ItemRetracted
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database, Transaction

TOGETHER_SECONDS = 0.05
RETRY_MAX_SECONDS = 30
BROKEN_SECONDS = 60


class Trail:
    """A database listener (``hear``). ``done``, if it is set, hears after each step that it was done.

    ``pause``: seconds between steps, in which others publish; what is published in them is done together.
    ``patience``: for so many seconds a step gives way to whoever has something to write.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        step: Callable[[Transaction], bool],
        database: Database,
        clock: Clock,
        tasks: Tasks,
        pause: float = TOGETHER_SECONDS,
        patience: float = 0,
    ) -> None:
        self.name = name
        self.done: Callable[[], None] | None = None
        self._step = step
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._pause = pause
        self._patience = patience
        self._awake = False
        self._again = False

    def hear(self, event: Event) -> None:
        """Something happened and was committed."""
        if isinstance(event, ItemPublished | ItemRetracted):
            self.wake()

    def wake(self) -> None:
        """There may be something to do: at the start, and when something happened."""
        self._again = True
        if not self._awake:
            self._awake = True
            self._tasks.spawn(self._run(), f"{self.name} behind the log")

    async def _run(self) -> None:
        seconds = 1
        try:
            while self._again:
                await self._clock.sleep(self._pause)
                waited = 0.0
                while waited < self._patience and self._database.waiting_writes:
                    await self._clock.sleep(self._pause)
                    waited += self._pause
                self._again = False
                try:
                    self._again = await self._database.write(self._step) or self._again
                except Refusal:
                    self._log.warn("{name} is behind: the database is busy", name=self.name)
                    self._again = True
                    await self._clock.sleep(seconds)
                    seconds = min(2 * seconds, RETRY_MAX_SECONDS)
                    continue
                except CancelledError:
                    raise
                except Exception:
                    # Perhaps it was only that something was removed meanwhile by another process.
                    self._log.failure("{name} cannot go on", name=self.name)
                    self._again = True
                    await self._clock.sleep(BROKEN_SECONDS)
                    continue
                seconds = 1
                if self.done is not None:
                    self.done()
        finally:
            self._awake = False
