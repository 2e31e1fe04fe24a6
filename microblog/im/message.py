"""RFC 6121 §8.5: messages that arrive for this domain.

What people say to the node itself, at the domain or at ``post@``, is for the chat (``node``). An extension may claim a
message by one of its children (a pubsub notification to an account); what is left goes to people. To a full JID it goes
to that session. To an account, ``chat`` and ``normal`` go to every available session whose priority is not negative; so
does a ``headline``, which is dropped when there is none. When there is no such session, ``keep`` may take it until
there is one (``held``), from those who may know of the account. What is left is answered with ``service-unavailable``,
the same for an account without sessions and for no account at all, so that nothing is lost in silence and nobody learns
who exists. An error is never answered.

On the way in, a message loses what only this server may say in it (``microblog.wire.stamps``).
"""

from collections.abc import Awaitable, Callable

from microblog.model.errors import Refusal, ServiceUnavailable
from microblog.wire import ns
from microblog.wire.stamps import without_false_stamps
from microblog.wire.stanza import Stanza
from microblog.xmpp.router import Router


class Messages:
    """What happens to messages for this domain.

    ``node`` is offered what is addressed to the node itself, and says whether it took it. ``error_listeners`` hear
    the errors that come back to an account or to the node: bounces of what was sent in their name. ``admit`` refuses
    what strangers elsewhere write to people here.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self.node: Callable[[Stanza], Awaitable[bool]] | None = None
        self.error_listeners: list[Callable[[Stanza], None]] = []
        self.keep: Callable[[Stanza], Awaitable[bool]] | None = None
        self.admit: Callable[[Stanza], Awaitable[None]] | None = None

    async def inbound(self, message: Stanza) -> None:
        """Take a message addressed to this domain."""
        if message.type == "error":
            self._error(message)
            return
        message = without_false_stamps(message, self._router.domain)
        if message.to.localpart and self._router.blocks(message.to.bare, message.from_):
            await self._from_blocked(message)
            return
        try:
            if await self._router.dispatch.message(message):
                return
            if self.node is not None and self._router.is_node(message.to) and await self.node(message):
                return
            if self.admit is not None and message.from_.domainpart != self._router.domain and message.to.localpart:
                await self.admit(message)
        except Refusal as refusal:
            self._router.bounce(message, refusal)
            return
        if self._deliver(message) or message.type == "headline":
            return
        if self.keep is None or self._router.is_node(message.to) or not await self.keep(message):
            self._router.bounce(message, ServiceUnavailable())

    async def _from_blocked(self, message: Stanza) -> None:
        """It does not arrive (XEP-0191 §3.3.3): its sender hears what they would hear if there were nobody.

        What happens at a feed elsewhere is for our copy of it, whomever it was sent to.
        """
        if message.element.find(ns.PUBSUB_EVENT, "event") is not None:
            await self._router.dispatch.message(message)
        elif message.type not in ("headline", "groupchat"):
            self._router.bounce(message, ServiceUnavailable())

    def _deliver(self, message: Stanza) -> bool:
        """Write it to the sessions that RFC 6121 §8.5.4 names; False if there are none."""
        to = message.to
        if to.resourcepart:
            session = self._router.sessions.get(to)
            if session is not None:
                session.send(message)
                return True
            if message.type != "chat":
                return False
        elif message.type == "groupchat":
            return False
        data = message.to_bytes()
        sessions = [session for session in self._router.sessions.available(to.bare) if session.priority >= 0]
        for session in sessions:
            session.write(data)
        return bool(sessions)

    def _error(self, message: Stanza) -> None:
        if message.element.find(ns.CLIENT, "error") is None:
            return
        if message.to.resourcepart and self._router.blocks(message.to.bare, message.from_):
            return
        if not message.to.resourcepart:
            for listener in self.error_listeners:
                listener(message)
            return
        session = self._router.sessions.get(message.to)
        if session is not None:
            session.send(message)
