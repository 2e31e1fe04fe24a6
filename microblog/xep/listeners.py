"""Who gets lines of chat now, and how: accounts with a client on line, and addresses elsewhere that are linked to one.

Whoever has talked to the node, and did not say ``off``, listens from their first available presence on. What their
presence says decides the pace (``model.when``): the best of those of their clients that take lines, which are not
those that ask for feeds (``+notify``) or want no messages. Of an address elsewhere it is known only if it shows its
presence to the node or to the account; else they count as there.

All of it is in memory: a post asks nobody, and whoever is off line is not here at all.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from twisted.internet.interfaces import IDelayedCall

from microblog.im.show import show_of_presence
from microblog.model.contact import Contact
from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.model.when import DEFAULT, Pace, Policy, Show, When, best
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import chatting, deferring
from microblog.usecases.chatting import EVERYTHING, Delivery
from microblog.wire import ns
from microblog.wire.stanza import Stanza, presence
from microblog.xmpp.sessions import Session, Sessions

ELSEWHERE_SECONDS: Final = 300
RETRY_MAX_SECONDS: Final = 30
RESOURCES_MAX: Final = 10
_CALM: Final = (Show.ONLINE, Show.CHAT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """An account that wants lines, the address they come from, their language, when, and of what none."""

    key: int
    account: JID
    sender: JID
    language: str = "en"
    when: When = DEFAULT
    paused: Mapping[str, datetime | None] = field(default_factory=dict)


class Listeners:
    """A presence listener. ``came``, ``went`` and ``changed`` hear of accounts that begin to listen, that are gone, and
    that may have another pace now; ``ask`` takes the node's requests to see somebody's presence."""

    def __init__(self, sessions: Sessions, database: Database, clock: Clock, tasks: Tasks) -> None:
        self._sessions = sessions
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self.here: dict[JID, Listener] = {}
        self.away: dict[JID, tuple[Listener, tuple[JID, ...]]] = {}
        self.came: Callable[[Listener], None] = lambda listener: None
        self.went: Callable[[Listener], None] = lambda listener: None
        self.changed: Callable[[JID], None] = lambda account: None
        self.ask: Callable[[Stanza], None] = lambda stanza: None
        # Who has a client that is away or does not want to be disturbed: only of these it is asked which.
        self._busy: set[JID] = set()
        # Who wants no lines of something, and who wants none by themselves.
        self.picky: set[JID] = set()
        self.silent: set[JID] = set()
        self._linked: dict[JID, JID] = {}
        self._abroad: dict[JID, dict[str, Show]] = {}
        self._resuming: dict[JID, IDelayedCall] = {}

    def start(self) -> None:
        """Nobody is there yet; read who wants lines elsewhere, now and from time to time."""
        self._tasks.spawn(self._start(), "who listens in chat")
        self._look = self._clock.every(ELSEWHERE_SECONDS, self._look_again)

    def stop(self) -> None:
        """Read it no more."""
        self._look.stop()
        for call in self._resuming.values():
            call.cancel()
        self._resuming.clear()

    async def _start(self) -> None:
        # If not, what people missed is counted from when they were shown something last.
        with suppress(Refusal):
            await self._database.write(deferring.begin)
        await self.look_elsewhere()

    def _look_again(self) -> None:
        self._tasks.spawn(self._still_there(), "who listens in chat")

    async def _still_there(self) -> None:
        if self.here:
            with suppress(Refusal):
                await self._database.write(deferring.still_there)
        await self.look_elsewhere()

    # who

    def has(self, account: JID) -> bool:
        """Does somebody get lines, here or elsewhere?"""
        return account in self.here or account in self.away

    def get(self, account: JID) -> Listener | None:
        """Somebody who gets lines."""
        here = self.here.get(account)
        return here if here is not None or account not in self.away else self.away[account][0]

    def addresses(self, account: JID) -> tuple[JID, ...]:
        """The addresses elsewhere to which somebody's lines go as well."""
        return self.away[account][1] if account in self.away else ()

    def all(self) -> Iterable[JID]:
        """All who get lines."""
        return self.here.keys() | self.away.keys()

    def any(self) -> bool:
        """Is there anybody?"""
        return bool(self.here or self.away)

    def paused(self, listener: Listener, sources: Iterable[str]) -> bool:
        """Does somebody want no lines of one of these sources?"""
        now = self._clock.now()
        for source in sources:
            if source in listener.paused:
                until = listener.paused[source]
                if until is None or until > now:
                    return True
        return False

    # how

    def pace(self, account: JID) -> Pace:
        """How lines come to somebody just now."""
        listener = self.get(account)
        if listener is None:
            return Pace.NOTHING
        if account in self.here and account not in self._busy and account not in self.away:
            return listener.when.pace(Show.ONLINE)
        return listener.when.pace(self._show(account))

    def _show(self, account: JID) -> Show | None:
        if account not in self._busy and self._sessions.available(account):
            return Show.ONLINE
        known = [show_of_presence(session.presence) for session in self.sessions(account) if session.presence]
        unknown = False
        for address in self.addresses(account):
            if address in self._abroad:
                known += self._abroad[address].values()
            else:
                unknown = True
        return best(known) or (Show.ONLINE if unknown else None)

    def sessions(self, account: JID) -> list[Session]:
        """The sessions that take lines."""
        return [
            session
            for session in self._sessions.available(account)
            if session.priority >= 0 and ns.MICROBLOG not in session.notify
        ]

    # presence

    def session_presence(self, session: Session, stanza: Stanza, initial: bool) -> None:
        """Somebody comes, goes, or is like something else now."""
        account = session.jid.bare
        available = self._sessions.available(account)
        if any(one.presence is not None and show_of_presence(one.presence) not in _CALM for one in available):
            self._busy.add(account)
        else:
            self._busy.discard(account)
        if not available:
            self.leave(account)
        elif account in self.here:
            self.changed(account)
        elif initial and session.available:
            self.begin(account)

    def contact_presence(self, account: JID, contact: Contact, stanza: Stanza) -> None:
        """Presence listener: an address elsewhere may be linked to the account that sees it."""
        if self._linked.get(stanza.from_.bare) == account:
            self.presence_elsewhere(stanza)

    def contact_changed(self, account: JID, before: Contact | None, after: Contact | None) -> None:
        """Presence listener: nothing to do."""

    def presence_elsewhere(self, stanza: Stanza) -> None:
        """Somebody elsewhere shows their presence, to the node or to their account here."""
        address = stanza.from_.bare
        account = self._linked.get(address)
        if account is None:
            return
        if stanza.type == "subscribe":
            # Who wants to see the node may show themselves to it.
            self.ask(presence("subscribe", stanza.to.bare, address))
            return
        was_there = self._show(account) is not None
        known = self._abroad.setdefault(address, {})
        if stanza.type == "unavailable":
            known.pop(stanza.from_.resourcepart, None)
        elif stanza.from_.resourcepart in known or len(known) < RESOURCES_MAX:
            known[stanza.from_.resourcepart] = show_of_presence(stanza)
        listener, is_there = self.get(account), self._show(account) is not None
        if listener is None:
            return
        if account in self.here or was_there == is_there:
            self.changed(account)
        elif is_there:
            self.came(listener)
        else:
            self.went(listener)

    # beginning and ending

    def begin(self, account: JID) -> None:
        """Somebody may want lines, or others than before."""
        self._tasks.spawn(self.load(account), f"chat delivery of {account}")

    def talks(self, account: JID, key: int, sender: JID) -> None:
        """Somebody talks to the node, at that address of it."""
        if account in self.here:
            self.here[account] = replace(self.here[account], sender=sender)
        self.begin(account)

    def leave(self, account: JID) -> None:
        """Somebody gets no lines any more."""
        listener = self.here.pop(account, None)
        self._mind(account)
        if listener is not None:
            self.went(listener)

    async def load(self, account: JID) -> None:
        """Read how somebody who is there wants lines."""
        seconds = 1
        while self._sessions.available(account):
            try:
                found = await self._database.read(chatting.delivery, account.localpart)
            except Refusal:
                await self._clock.sleep(seconds)
                seconds = min(2 * seconds, RETRY_MAX_SECONDS)
                continue
            if self._sessions.available(account):
                self._loaded(account, found)
            return

    def _loaded(self, account: JID, found: Delivery | None) -> None:
        if found is None or EVERYTHING in found.paused:
            self.leave(account)
            if found is not None:
                self._resume_at(account, found.paused[EVERYTHING])
            return
        fresh = account not in self.here
        listener = self.here[account] = self._listener(account, found)
        self._mind(account)
        if fresh:
            self.came(listener)
        else:
            self.changed(account)

    def _listener(self, account: JID, found: Delivery) -> Listener:
        return Listener(
            key=found.key,
            account=account,
            sender=JID(found.sender, self._database.domain),
            language=found.language,
            when=found.when,
            paused=found.paused,
        )

    def _mind(self, account: JID) -> None:
        listener = self.get(account)
        _put(self.picky, account, listener is not None and bool(listener.paused))
        _put(self.silent, account, listener is not None and listener.when.policy is Policy.NEVER)

    def _resume_at(self, account: JID, until: datetime | None) -> None:
        """A pause of everything is over some time."""
        known = self._resuming.pop(account, None)
        if known is not None and known.active():
            known.cancel()
        if until is not None:
            seconds = max(0.0, (until - self._clock.now()).total_seconds()) + 1
            self._resuming[account] = self._clock.later(seconds, self._resume, account)

    def _resume(self, account: JID) -> None:
        del self._resuming[account]
        self.begin(account)
        self._look_again()

    async def look_elsewhere(self) -> None:
        """Read who wants lines at an address elsewhere."""
        try:
            rows = await self._database.read(chatting.elsewhere)
        except Refusal:
            return  # until the next look
        found: dict[JID, tuple[Listener, tuple[JID, ...]]] = {}
        for row in rows:
            if EVERYTHING not in row.paused:
                listener = self._listener(row.account, row)
                found[row.account] = (listener, (*found.get(row.account, (listener, ()))[1], row.address))
        self.away = found
        for account in self.picky | self.silent | found.keys():
            self._mind(account)
        self._linked = {row.address: row.account for row in rows}
        self._abroad = {address: known for address, known in self._abroad.items() if address in self._linked}


def _put(accounts: set[JID], account: JID, there: bool) -> None:
    if there:
        accounts.add(account)
    else:
        accounts.discard(account)
