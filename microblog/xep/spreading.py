"""A post that very many domains follow is owed to the first of them when it is published, and here to the others.

Part by part, each in a transaction of its own, between which others write. How far it came is in the database: after a
restart it goes on from there.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.model.errors import Refusal
from microblog.model.event import Event, ItemPublished
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import delivering

RETRY_SECONDS: Final = 5


class Spreading:
    """A database listener (``hear``). ``owed``: hears of each domain that is owed something now."""

    _log = Logger()

    def __init__(self, database: Database, owed: Callable[[str], None], clock: Clock, tasks: Tasks) -> None:
        self._database = database
        self._owed = owed
        self._clock = clock
        self._tasks = tasks
        self._awake = False
        self._again = False

    def hear(self, event: Event) -> None:
        """Something happened and was committed."""
        if isinstance(event, ItemPublished) and event.spreads:
            self.wake()

    def wake(self) -> None:
        """There may be such a post: at the start, and when one was published."""
        self._again = True
        if not self._awake:
            self._awake = True
            self._tasks.spawn(self._run(), "posts for very many domains")

    async def _run(self) -> None:
        try:
            while self._again:
                self._again = False
                try:
                    domains = await self._database.write(delivering.spread)
                except CancelledError:
                    raise
                except Exception as error:
                    # The database has too much to do, or something is wrong here: then posts wait, and are not lost.
                    if not isinstance(error, Refusal):
                        self._log.failure("A post for very many domains is not owed to all of them")
                    self._again = True
                    await self._clock.sleep(RETRY_SECONDS)
                    continue
                for domain in domains or ():
                    self._owed(domain)
                self._again = self._again or domains is not None
        finally:
            self._awake = False
