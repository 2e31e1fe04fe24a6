"""Lines of chat that waited: given out when their reader has time for them.

To those who are away in one go after some minutes; to those who come back to their desk, at once and in order; if that
would be very much, one line says how much it is, and ``more`` shows it. Whoever was off line is told with one line how
much they missed. What comes while somebody is given what waited, waits behind it.

Lines stop to wait in the transaction that gives them their numbers (``deferring.give``): after that they go to those
clients that are there, and are never given again. If the server dies in that moment, ``home`` still has them.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from microblog.commands.texts import say
from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.model.when import Pace
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import deferring
from microblog.usecases.chatting import Lines
from microblog.usecases.deferring import Missed, Waiting
from microblog.xep.linemaking import Said, Shown
from microblog.xep.listeners import Listener, Listeners

AT_ONCE: Final = 20
RETRY_SECONDS: Final = 30
WELCOME_SECONDS: Final = 1
Made = Shown | Said


class Giver(Protocol):
    """What makes lines of what waited and writes them (``chatlines``)."""

    def made(self, listener: Listener, waiting: Sequence[Waiting]) -> Sequence[Made | None]:
        """A line of each; None for what is not to be told any more."""

    def write_lines(self, made: Sequence[Made | None], told: Lines) -> None:
        """They wait no more: write them."""

    async def tell(self, listener: Listener, text: str, *, hold: bool) -> None:
        """Say something, now or when they have time. Raises ResourceConstraint."""


class HeldLines:
    """``giver`` writes the lines."""

    _log = Logger()
    giver: Giver

    def __init__(self, listeners: Listeners, database: Database, clock: Clock, tasks: Tasks) -> None:
        self._listeners = listeners
        self._database = database
        self._clock = clock
        self._tasks = tasks
        # Those to whom something is given just now; those for whom something may wait; when it is time for these.
        self._giving: set[JID] = set()
        self._waiting: set[JID] = set()
        self._batches: dict[JID, IDelayedCall] = {}

    def stop(self) -> None:
        """Forget the time."""
        for call in self._batches.values():
            call.cancel()
        self._batches.clear()

    def pace(self, account: JID) -> Pace:
        """How a new line comes to somebody."""
        pace = self._listeners.pace(account)
        return Pace.URGENT if pace is Pace.NOW and account in self._giving else pace

    # occasions

    def came(self, listener: Listener) -> None:
        """Somebody begins to listen."""
        self._begin(listener.account, arriving=True)

    def went(self, listener: Listener) -> None:
        """Somebody is gone."""
        self._forget(listener.account)
        self._tasks.spawn(self._write_leave(listener), f"absence of {listener.account}")

    def changed(self, account: JID) -> None:
        """Somebody may have another pace."""
        if account in self._waiting:
            self._look(account)

    def waits(self, accounts: Iterable[JID]) -> None:
        """A line waits for them now."""
        for account in accounts:
            # Who went meanwhile is asked for what waits when they come.
            if self._listeners.has(account):
                self._waiting.add(account)
                self._look(account)

    def _look(self, account: JID) -> None:
        if account in self._giving:
            return
        pace = self._listeners.pace(account)
        if pace is Pace.NOW:
            self._begin(account)
        elif pace is Pace.BATCH:
            self._wait_for_batch(account)
        else:
            self._cancel(account)

    def _wait_for_batch(self, account: JID) -> None:
        listener = self._listeners.get(account)
        if account not in self._batches and listener is not None:
            seconds = 60 * listener.when.minutes
            self._batches[account] = self._clock.later(seconds, self._batch, account)

    def _batch(self, account: JID) -> None:
        del self._batches[account]
        if account not in self._giving and self._listeners.pace(account) <= Pace.BATCH:
            self._begin(account, batch=True)

    def _cancel(self, account: JID) -> None:
        call = self._batches.pop(account, None)
        if call is not None:
            call.cancel()

    def _forget(self, account: JID) -> None:
        self._cancel(account)
        self._waiting.discard(account)

    async def _write_leave(self, listener: Listener) -> None:
        # If not, they were there until they were shown something last.
        with suppress(Refusal):
            await self._database.write(deferring.leave, listener.key)

    # giving

    def _begin(self, account: JID, *, arriving: bool = False, batch: bool = False) -> None:
        self._cancel(account)
        self._giving.add(account)
        self._tasks.spawn(self._give_all(account, arriving, batch), f"lines that waited for {account}")

    async def _give_all(self, account: JID, arriving: bool, batch: bool) -> None:
        left = False
        try:
            while True:
                try:
                    if arriving:
                        await self._welcome(account)
                        arriving = False
                    self._waiting.discard(account)
                    left = await self._give(account, Pace.BATCH if batch else Pace.NOW)
                    break
                except Refusal:
                    self._log.warn("What waited for {account} has to wait: the database is busy", account=account)
                    await self._clock.sleep(RETRY_SECONDS)
        except CancelledError:
            raise
        except Exception:
            self._log.failure("What waited for {account} cannot be given", account=account)
        finally:
            self._giving.discard(account)
        if left:
            self._waiting.add(account)
        # Something may have begun to wait since it was last looked.
        self.changed(account)

    async def _welcome(self, account: JID) -> None:
        returned = await self._database.read(deferring.look, account.localpart)
        if returned is None:
            return
        if returned.missed is not None:
            # Until it is known of a new client whether it asks for feeds (XEP-0115): such are told nothing here.
            await self._clock.sleep(WELCOME_SECONDS)
            if not self._listeners.has(account):
                return
        missed = await self._database.write(deferring.arrive, returned)
        listener = self._listeners.get(account)
        if missed and listener is not None:
            text = say(listener.language, "delivery.missed", what=_much(listener.language, missed))
            pace = self._listeners.pace(account)
            await self.giver.tell(listener, text, hold=pace.holds(urgent=False))

    async def _give(self, account: JID, up_to: Pace) -> bool:
        """Give what waits; True if something is left that they do not want now."""
        while True:
            listener = self._listeners.get(account)
            if listener is None:
                return False
            found = await self._database.read(deferring.due, listener.key, account, AT_ONCE + 1)
            if not found or self._listeners.pace(account) > up_to:
                return bool(found)
            if len(found) > AT_ONCE:
                await self._announce(listener)
                found = [one for one in found if one.address is None]
            made = self.giver.made(listener, found)
            wanted = [
                (waiting.held.key, None if one is None else one.wanted)
                for waiting, one in zip(found, made, strict=True)
            ]
            self.giver.write_lines(made, await self._database.write(deferring.give, listener.key, wanted))

    async def _announce(self, listener: Listener) -> None:
        missed = await self._database.write(deferring.announce, listener.key)
        if missed:
            text = say(listener.language, "delivery.busy", what=_much(listener.language, missed))
            await self.giver.tell(listener, text, hold=False)


def _much(language: str, missed: Missed) -> str:
    """``14 posts, 2 to you, 1 track``."""
    numbers = {"posts": missed.posts, "to_you": missed.mentions, "tracks": missed.tracks}
    parts = []
    for name, number in numbers.items():
        if number is None:
            parts.append(say(language, f"delivery.{name}_many"))
        elif number == 1:
            parts.append(say(language, f"delivery.{name}_one"))
        elif number:
            parts.append(say(language, f"delivery.{name}", number=number))
    return ", ".join(parts)
