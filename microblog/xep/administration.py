"""XEP-0133: what administrators do to accounts and to those who are on line, made true at once.

The forms are in ``commands.administration``; here is what they need of sessions, presence and keys.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence

from microblog.commands.texts import say
from microblog.model.account import Account, ScramKeys
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import registering
from microblog.wire import ns
from microblog.wire import stanza as stanzas
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element
from microblog.xmpp.dispatch import Extension, Spec
from microblog.xmpp.sessions import Sessions


class Administration(Extension):
    """``cancel`` ends an account and its streams (``Registration``); ``derive`` makes the keys of a password."""

    specs = (Spec(133, "1.3.1", "partial"), Spec(401, "0.6.0", "partial"))

    def __init__(
        self,
        database: Database,
        derive: Callable[[str], Awaitable[Sequence[ScramKeys]]],
        sessions: Sessions,
        cancel: Callable[[JID], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._database = database
        self._derive = derive
        self._sessions = sessions
        self._cancel = cancel
        self._clock = clock
        self._host = JID("", database.domain)
        # What rested while its owner was disabled goes on.
        self.enabled: Callable[[], None] = lambda: None

    async def add(self, name: str, password: str) -> Account:
        """A new account. Raises as ``registering.create_account``."""
        keys = await self._derive(password)
        return await self._database.write(registering.create_account, name, keys)

    async def remove(self, account: JID) -> None:
        """End an account. Raises NotAllowed for the last administrator."""
        await self._cancel(account)

    async def set_disabled(self, account: JID, disabled: bool) -> None:
        """May it log in? Raises NotAllowed for the last administrator."""
        await self._database.write(registering.disable, account.localpart, disabled=disabled)
        if disabled:
            self._end(account, "the account was disabled")
        else:
            self.enabled()

    async def change_password(self, account: JID, password: str) -> None:
        """Another password; whoever knew the old one has to know the new one."""
        await self._database.write(registering.change_password, account.localpart, await self._derive(password))
        self._end(account, "the password was changed")

    def end_sessions(self, account: JID) -> int:
        """End its sessions, and say how many."""
        return self._end(account, "an administrator ended the session")

    def online(self) -> Collection[JID]:
        """The accounts that have sessions."""
        return {session.jid.bare for session in self._sessions.all()}

    def announce(self, text: str) -> int:
        """Tell everybody who is on line, and say how many."""
        subject = Element(ns.CLIENT, "subject", {}, say("en", "administration.subject"))
        body = Element(ns.CLIENT, "body", {}, text)
        told = [session for session in self._sessions.all() if session.available]
        for session in told:
            session.send(stanzas.message("normal", self._host, session.jid, subject, body))
        return len({session.jid.bare for session in told})

    def _end(self, account: JID, why: str) -> int:
        """The answer to whoever does this goes out first: it may be their own stream."""
        sessions = list(self._sessions.of(account))
        for session in sessions:
            self._clock.later(0, session.stream.fail, StreamError("not-authorized", why))
        return len(sessions)
