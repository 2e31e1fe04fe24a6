"""What an administrator does on the command line, made true in the running server (``usecases.noticing``).

Streams of accounts whose password was changed, who may not log in any more, or who are gone, are ended; contacts of
theirs who are on line see it in their rosters; readers of nodes that are gone are told; the outbox sends what is owed,
tries a domain at once, or forgets it; federation policy and webhooks are read anew.
"""

from collections.abc import Callable, Collection
from typing import Final, Protocol

from microblog.im.roster import Rosters
from microblog.model.errors import Refusal
from microblog.model.event import NodeEvent
from microblog.model.jid import JID
from microblog.runtime import Clock, Repetition, Tasks
from microblog.store.database import Database
from microblog.usecases import noticing
from microblog.usecases.noticing import Moved, Taken
from microblog.wire import stanza as stanzas
from microblog.xmpp.sessions import Sessions

LOOK_SECONDS: Final = 5


class Streams(Protocol):
    """The streams of clients (``Clients``)."""

    def recheck(self, accounts: Collection[JID]) -> None:
        """End the streams of these accounts that logged in with what is not good any more."""


class Outside:
    """Looks every few seconds. ``hear``: who hears of nodes; ``wake``: the outbox's.

    What is done to queues, policy and webhooks is set by the composition root, where there are such.
    """

    def __init__(
        self,
        database: Database,
        streams: Streams,
        sessions: Sessions,
        rosters: Rosters,
        hear: Callable[[NodeEvent], None],
        wake: Callable[[str], None],
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._streams = streams
        self._sessions = sessions
        self._rosters = rosters
        self._hear = hear
        self._wake = wake
        self._clock = clock
        self._tasks = tasks
        self._repetition: Repetition | None = None
        self._looking = False
        self.spread: Callable[[], None] = lambda: None
        self.retry: Callable[[str], None] = lambda domain: None
        self.dropped: Callable[[str], None] = lambda domain: None
        self.policy_changed: Callable[[], None] = lambda: None
        self.webhooks_changed: Callable[[], None] = lambda: None

    def start(self) -> None:
        """From now on."""
        self._repetition = self._clock.every(LOOK_SECONDS, self.look)

    def stop(self) -> None:
        """No more."""
        if self._repetition is not None:
            self._repetition.stop()

    def look(self) -> None:
        """Was anything done?"""
        if not self._looking:
            self._looking = True
            self._tasks.spawn(self._look(), "changes from outside")

    async def _look(self) -> None:
        try:
            if await self._database.read(noticing.anything):
                while (taken := await self._database.write(noticing.take)) is not None:
                    self._apply(taken)
        except Refusal:
            pass  # The database has too much to do. At the next look, then.
        finally:
            self._looking = False

    def _apply(self, taken: Taken) -> None:
        """At once, so that no later change is overtaken."""
        for moved in taken.contacts:
            self._move(moved)
        for event in taken.nodes:
            self._hear(event)
        for domain in taken.dropped:
            self.dropped(domain)
        for domain in taken.retry:
            self.retry(domain)
        for domain in taken.owed:
            self._wake(domain)
        self.spread()
        if taken.policy:
            self.policy_changed()
        if taken.webhooks:
            self.webhooks_changed()
        if taken.keys:
            self._streams.recheck(taken.keys)

    def _move(self, moved: Moved) -> None:
        """RFC 6121 §3.2.3, §3.3.3: the stanza to those who keep the roster, then the push."""
        change = moved.change
        for session in self._sessions.of(change.owner):
            if session.interested:
                session.send(stanzas.presence(moved.type, change.jid, change.owner))
        self._rosters.changed(change)
