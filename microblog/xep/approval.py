"""XEP-0060 §8.6, §8.7: asking owners about those who want to subscribe.

A node with access model ``authorize`` has subscriptions that wait for its owner. Each is brought to the owner as a data
form in a message: when it is made, if the owner is there, and whenever the owner comes on line. The answer is the same
form, submitted.
"""

from collections.abc import Iterable
from typing import Final

from microblog.model.contact import Contact
from microblog.model.errors import Refusal
from microblog.model.event import Event, SubscriptionChanged
from microblog.model.jid import JID
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.runtime import Tasks
from microblog.store.database import Database
from microblog.usecases import subscribing
from microblog.wire import forms, notification, ns, stanza
from microblog.wire.stanza import Stanza
from microblog.xmpp.dispatch import Extension, MessageRoute
from microblog.xmpp.sessions import Session, Sessions

ASKED_MAX: Final = 50


class Approval(Extension):
    """Hears of subscriptions that wait (``hear`` is a database listener), asks, and takes the answers."""

    def __init__(self, sessions: Sessions, database: Database, tasks: Tasks) -> None:
        self._sessions = sessions
        self._database = database
        self._tasks = tasks

    def messages(self) -> Iterable[MessageRoute]:
        """The answers."""
        yield MessageRoute(ns.DATA, "x", self.answer)

    def hear(self, event: Event) -> None:
        """Somebody waits."""
        if not isinstance(event, SubscriptionChanged) or event.state != SubscriptionState.PENDING:
            return
        owner = event.node.service
        if self._sessions.available(owner):
            self._tasks.spawn(self._ask(owner, event.node.name, event.subscriber), f"question to {owner}")

    def session_presence(self, session: Session, presence: Stanza, initial: bool) -> None:
        """Presence listener: an owner comes."""
        if initial and session.available:
            self._tasks.spawn(self._ask_all(session), f"questions to {session.jid}")

    def contact_presence(self, account: JID, contact: Contact, presence: Stanza) -> None:
        """Presence listener: nothing to do."""

    def contact_changed(self, account: JID, before: Contact | None, after: Contact | None) -> None:
        """Presence listener: nothing to do."""

    async def answer(self, message: Stanza) -> bool:
        """An owner's decision; False for a form of another kind. Raises as ``subscribing.decide``."""
        form = message.element.find(ns.DATA, "x")
        if form is None or not forms.is_authorization(form):
            return False
        decision = forms.read_authorization(form)
        if decision is not None:
            wanted = subscribing.Decide(
                service=message.to.bare,
                node=decision.node,
                actor=message.from_,
                jid=decision.subscriber,
                allow=decision.allow,
                subid=decision.subid,
                notice=notification.decision,
            )
            await self._database.write(subscribing.decide, wanted)
        return True

    async def _ask(self, owner: JID, node: str, subscriber: JID) -> None:
        for subscription in await self._pending(owner, node):
            if subscription.jid == subscriber:
                for session in self._sessions.available(owner):
                    session.send(_question(owner, subscription))

    async def _ask_all(self, session: Session) -> None:
        owner = session.jid.bare
        for subscription in (await self._pending(owner, None))[:ASKED_MAX]:
            if session.available:
                session.send(_question(owner, subscription))

    async def _pending(self, owner: JID, node: str | None) -> tuple[Subscription, ...]:
        wanted = subscribing.Pending(service=owner, actor=owner, node=node)
        try:
            return await self._database.read(subscribing.pending, wanted)
        except Refusal:
            return ()


def _question(owner: JID, waiting: Subscription) -> Stanza:
    form = forms.write_authorization(waiting.node, waiting.jid, waiting.subid)
    return stanza.message("normal", owner, owner, form, id_=f"approve-{waiting.subid}")
