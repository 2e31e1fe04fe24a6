"""Who wants to follow whom, and what became of it, as lines of chat.

Clients that know nothing of feeds show no form by which an owner could decide (XEP-0060 §8.6), and no word of the
decision either. Whoever talks to the node is told both, and answers with ``allow`` and ``deny``. Who asks again and
again is told of once a day.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from twisted.logger import Logger

from microblog.commands.lines import name_of
from microblog.commands.texts import say
from microblog.model.errors import Refusal
from microblog.model.event import Event, NodeDeleted, SubscriptionChanged
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import bouncing, reaching
from microblog.usecases.bouncing import Suspended
from microblog.usecases.chatting import Delivery
from microblog.usecases.following import Follow
from microblog.usecases.reaching import Reach
from microblog.wire import chat
from microblog.wire.moved import read_gone
from microblog.wire.stanza import Stanza
from microblog.xep.rates import Rate

ASKED_PER_HOUR: Final = 20
_HOUR: Final = 3600
_DAY: Final = 86_400
_DECISIONS: Final = {SubscriptionState.SUBSCRIBED: "chat.follow_allowed", SubscriptionState.NONE: "chat.follow_denied"}

_ENDED: Final = {bouncing.Kind.GONE: "chat.follower_gone", bouncing.Kind.ABSENT: "chat.follower_absent"}


class FollowLines:
    """``hear`` is a database listener, ``decided`` hears of services elsewhere (``Follows.decided``). ``send`` takes
    stanzas to people here, ``wake`` is the outbox's."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        clock: Clock,
        tasks: Tasks,
        send: Callable[[Stanza], None],
        wake: Callable[[str], None],
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._send = send
        self._wake = wake
        self._asks = Rate(clock, 1, _DAY)
        self._asked = Rate(clock, ASKED_PER_HOUR, _HOUR)
        self.refuses: Callable[[str], bool] = lambda domain: False

    def hear(self, event: Event) -> None:
        """Somebody asks, or an owner here has decided; or there is an account elsewhere no more."""
        if isinstance(event, NodeDeleted) and event.node.name == MICROBLOG:
            refused = self.refuses(event.node.service.domainpart)
            self._each(event.subscribers, "chat.refused" if refused else "chat.gone", event.node.service)
        if not isinstance(event, SubscriptionChanged) or event.node.name != MICROBLOG:
            return
        owner, subscriber = event.node.service, event.subscriber.bare
        if event.state == SubscriptionState.PENDING:
            if self._asks.allow((owner, subscriber)) and self._asked.allow(owner):
                self._tell(owner, "chat.follow_asked", subscriber)
        elif event.tell_subscriber and event.state in _DECISIONS:
            self._tell(subscriber, _DECISIONS[SubscriptionState(event.state)], owner)

    def decided(self, follow: Follow) -> None:
        """An owner elsewhere has decided."""
        if follow.node == MICROBLOG and follow.state in _DECISIONS:
            self._tell(follow.account.bare, _DECISIONS[follow.state], follow.service)

    def suspended(self, ended: Suspended) -> None:
        """Somebody elsewhere follows no more, as what was sent to them came back."""
        if ended.node.name == MICROBLOG:
            why = _ENDED.get(bouncing.kind_of(ended.reason, "cancel"), "chat.follower_unwilling")
            new = read_gone(ended.moved_to)
            self._each((ended.node.service,), why if new is None else "chat.follower_moved", ended.jid, new)

    def moved(self, followers: Iterable[JID], old: JID, new: JID) -> None:
        """Somebody whom they follow has another address now."""
        self._each(followers, "chat.moved", old, new)

    def _each(self, accounts: Iterable[JID], text: str, other: JID, new: JID | None = None) -> None:
        told = tuple(dict.fromkeys(jid.bare for jid in accounts if jid.domainpart == self._database.domain))
        if told:
            self._tasks.spawn(self._say_each(told, text, other, new), f"what the followers of {other} are told")

    async def _say_each(self, accounts: Iterable[JID], text: str, other: JID, new: JID | None) -> None:
        for account in accounts:
            await self._say(account, text, other, new)

    def _tell(self, account: JID, text: str, other: JID) -> None:
        if account.domainpart == self._database.domain:
            self._tasks.spawn(self._say(account, text, other), f"what {account} is told of {other}")

    async def _say(self, account: JID, text: str, other: JID, new: JID | None = None) -> None:
        line = partial(self._line, text, other, new)
        wanted = Reach(account=account, write=lambda delivery, to: line(delivery, to).to_bytes().decode())
        try:
            reached = await self._database.write(reaching.reach, wanted)
        except Refusal as refusal:
            self._log.warn("{account} is not told of {other}: {why}", account=account, other=other, why=refusal.text)
            return
        if reached is None:
            return
        self._send(line(reached.delivery, account))
        for domain in reached.domains:
            self._wake(domain)

    def _line(self, text: str, other: JID, new: JID | None, delivery: Delivery, to: JID) -> Stanza:
        domain = self._database.domain
        now = "" if new is None else name_of(new, domain)
        said = say(delivery.language, text, name=name_of(other, domain), new=now)
        sender = JID(delivery.sender, self._database.domain)
        return chat.write(said, sender, to, language=delivery.language)
