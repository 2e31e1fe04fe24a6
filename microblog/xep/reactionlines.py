"""XEP-0470, XEP-0277: what others say in emoji to somebody's posts, as lines of chat.

Whoever talks to the node and has no client for feeds is told who likes what, by the number of the post; to answer the
line is to answer the post. A like that comes twice - as an attachment, and as the comment with a heart that Movim
writes - is told once, and so is one that is taken back and said again. A crowd is told of as far as anybody would read
that.
"""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from twisted.logger import Logger

from microblog.commands.lines import name_of
from microblog.commands.texts import say
from microblog.model.entry import HEART
from microblog.model.errors import Refusal
from microblog.model.event import Event, ItemPublished
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress
from microblog.model.when import Pace
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import depending, reaching
from microblog.usecases.chatting import Delivery
from microblog.usecases.reaching import Remark
from microblog.wire import chat, ns
from microblog.wire.stanza import Stanza
from microblog.xep.rates import Rate
from microblog.xmpp.sessions import Sessions

TOLD_PER_HOUR: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


class ReactionLines:
    """``hear`` is a database listener, ``wake`` is the outbox's."""

    _log = Logger()

    def __init__(
        self, sessions: Sessions, database: Database, clock: Clock, tasks: Tasks, wake: Callable[[str], None]
    ) -> None:
        self._sessions = sessions
        self._database = database
        self._tasks = tasks
        self._wake = wake
        # Does somebody want to hear nothing of somebody?
        self.hushes: Callable[[JID, JID], bool] = lambda account, author: False
        # How somebody gets lines, None: not at all; and what keeps one until they have time for it.
        self.pace: Callable[[JID], Pace | None] = lambda account: Pace.NOW
        self.keep: Callable[[JID, str], Awaitable[None]] | None = None
        self._again = Rate(clock, 1, _DAY)
        self._told = Rate(clock, TOLD_PER_HOUR, _HOUR)

    def hear(self, event: Event) -> None:
        """Somebody says something to an item here."""
        if not isinstance(event, ItemPublished) or not event.said:
            return
        about = depending.depends_on(event.node.service, event.node.name)
        if about is None or event.node.service.domainpart != self._database.domain:
            return
        by = event.item.publisher.bare
        if about.node == MICROBLOG and self.hushes(about.service, by):
            return
        said = tuple(one for one in event.said if self._again.allow((about, by, one)))
        if said and self._told.allow(about.service):
            self._tasks.spawn(self._tell(event, about, said), f"what {by} says to a post of {about.service}")

    async def _tell(self, event: ItemPublished, about: ItemAddress, said: Iterable[str]) -> None:
        by = event.item.publisher.bare
        try:
            author = await self._database.read(reaching.author, about)
        except Refusal:
            author = None
        # The author of a comment is another than who has the thread.
        if author is None or self.hushes(author, by):
            return
        pace = self.pace(author)
        if pace is None:
            return
        # What is for people here only is not kept, as it may not go to where they are then.
        local = event.item.audience is Audience.LOCAL
        later = self.keep is not None and pace.holds(urgent=False) and not local
        line = partial(self._line, by, said, event.seq)
        wanted = Remark(
            about=about,
            by=by,
            audience=event.item.audience,
            write=lambda delivery, number, to: line(delivery, number, to).to_bytes().decode(),
            later=later,
        )
        try:
            told = await self._database.write(reaching.remark, wanted)
        except Refusal as refusal:
            self._log.warn("{about} has a reaction that is not told: {why}", about=about.uri, why=refusal.text)
            return
        if told is None:
            return
        for domain in told.domains:
            self._wake(domain)
        stanza = line(told.delivery, told.number, told.author)
        if later and self.keep is not None:
            await self.keep(told.author, stanza.element.child_text(ns.CLIENT, "body") or "")
            return
        for session in self._sessions.available(told.author):
            # Clients for feeds show it themselves.
            if session.priority >= 0 and ns.MICROBLOG not in session.notify:
                session.send(stanza)

    def _line(self, by: JID, said: Iterable[str], seq: int, delivery: Delivery, number: int, to: JID) -> Stanza:
        name, others = name_of(by, self._database.domain), [one for one in said if one != HEART]
        texts = [say(delivery.language, "chat.likes", name=name, number=number)] if HEART in said else []
        if others:
            emoji = " ".join(others)
            texts.append(say(delivery.language, "chat.reacts", name=name, emoji=emoji, number=number))
        sender = JID(delivery.sender, self._database.domain)
        id_ = f"{chat.line_id(number)}-{seq}"
        return chat.write("\n".join(texts), sender, to, id_=id_, language=delivery.language)
