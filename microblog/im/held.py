"""XEP-0160: Best Practices for Handling Offline Messages.

What people say (type ``chat`` or ``normal``, with a body, or with the hint to store it) to an account is kept when none
of its sessions can take it, stamped with the time at which it came (XEP-0203), and handed over to the first session
that says it is there, with a priority that is not negative. It is removed once it was written; if the server ends in
between, it comes again. The hint ``no-store`` (XEP-0334) is respected.

Whoever may not know that there is an account does not learn it from this either: nothing of theirs is kept, and they
hear what they would hear if there were none (``usecases.holding``).
"""

from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import holding
from microblog.usecases.holding import Hold
from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, serialize, stamp
from microblog.xmpp.dispatch import Extension, Spec
from microblog.xmpp.router import Router
from microblog.xmpp.sessions import Session


class HeldMessages(Extension):
    """Keeps messages (``im.message``) and, as a presence listener, hands them over."""

    specs = (Spec(160, "1.0.1"), Spec(203, "2.0"))
    features = (ns.OFFLINE_MESSAGES,)

    def __init__(self, router: Router, database: Database, clock: Clock, tasks: Tasks) -> None:
        self._router = router
        self._database = database
        self._clock = clock
        self._tasks = tasks
        # Sessions that are there, but not for messages to the account.
        self._negative: set[JID] = set()
        # Accounts whose messages are being handed over; True if somebody came meanwhile.
        self._under_way: dict[JID, bool] = {}

    async def keep(self, message: Stanza) -> bool:
        """Keep a message that no session could take; False if it is not one to be kept, or there is no room."""
        account = message.to.bare
        if not account.localpart or not _is_to_be_kept(message):
            return False
        element = message.element.replaced()
        when = stamp(self._clock.now())
        element.append(Element(ns.DELAY, "delay", {"from": self._router.domain, "stamp": when}, "Offline Storage"))
        text = serialize(element, ns.CLIENT)
        try:
            held = await self._database.write(holding.hold, Hold(account=account, sender=message.from_, stanza=text))
        except Refusal:
            return False
        if held and self._session(account) is not None:
            # They came while it was being written down.
            self.hand_over(account)
        return held

    # presence

    def session_presence(self, session: Session, stanza: Stanza, initial: bool) -> None:
        """Somebody has come, or can take messages from now on."""
        if not session.available:
            self._negative.discard(session.jid)
        elif session.priority < 0:
            self._negative.add(session.jid)
        elif initial or session.jid in self._negative:
            self._negative.discard(session.jid)
            self.hand_over(session.jid.bare)

    def contact_presence(self, account: JID, contact: object, stanza: Stanza) -> None:
        """Nothing to do."""

    def contact_changed(self, account: JID, before: object, after: object) -> None:
        """Nothing to do."""

    def hand_over(self, account: JID) -> None:
        """Write what is kept for somebody to a session of theirs, if there is one."""
        if account in self._under_way:
            self._under_way[account] = True
            return
        self._under_way[account] = False
        self._tasks.spawn(self._deliver_all(account), f"messages held for {account}")

    async def _deliver_all(self, account: JID) -> None:
        try:
            await self._deliver(account)
            while self._under_way[account]:
                self._under_way[account] = False
                await self._deliver(account)
        except Refusal:
            pass  # They stay where they are until somebody comes again.
        finally:
            del self._under_way[account]

    async def _deliver(self, account: JID) -> None:
        messages = await self._database.read(holding.waiting, account)
        session = self._session(account)
        if not messages or session is None:
            return
        for message in messages:
            session.write(message.stanza.encode())
        keys = tuple(message.key for message in messages)
        await self._database.write(holding.delivered, account, keys)

    def _session(self, account: JID) -> Session | None:
        """A session that takes messages to the account; of several the most wanted."""
        sessions = [session for session in self._router.sessions.available(account) if session.priority >= 0]
        return max(sessions, key=lambda session: session.priority, default=None)


def _is_to_be_kept(message: Stanza) -> bool:
    if message.type not in ("chat", "normal"):
        return False
    if message.to.resourcepart and message.type != "chat":
        return False
    element = message.element
    if element.find(ns.HINTS, "no-store") is not None:
        return False
    return element.find(ns.CLIENT, "body") is not None or element.find(ns.HINTS, "store") is not None
