"""Rules at work (XEP-0080 and our own): behind the log of events, at presence, and what they decided is done.

A rule decides in a transaction (``usecases.acting``); what is to be said or posted is read from there and done, after a
crash as well: a post is made in the transaction that strikes it off, a line is said and then struck off. As long as
nobody has a rule and nobody shares where they are, a post costs nothing here.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.commands.command import Call, Person, Post
from microblog.commands.lines import name_of, plain
from microblog.commands.posting import Posting
from microblog.commands.texts import say
from microblog.model.contact import Contact
from microblog.model.draft import Draft
from microblog.model.entry import Entry
from microblog.model.errors import Refusal, ResourceConstraint
from microblog.model.event import Event, ItemPublished, ItemRetracted, NodeDeleted, NodePurged
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.place import GEOLOC
from microblog.model.rule import Then, What
from microblog.model.when import Pace
from microblog.runtime import Clock, Tasks
from microblog.store.crashpoint import crashpoint
from microblog.store.database import Database, Transaction
from microblog.usecases import acting, reaching
from microblog.usecases.acting import Due, Watched
from microblog.usecases.chatting import Delivery
from microblog.usecases.reaching import Reach
from microblog.wire import atom, chat
from microblog.wire.stanza import Stanza
from microblog.xep.chatlines import ChatLines
from microblog.xep.trail import Trail
from microblog.xmpp.sessions import Session, Sessions

IDLE_SECONDS: Final = 60
RETRY_SECONDS: Final = 30
BACK_SECONDS: Final = 2
WHEN_SHOWN_CHARACTERS: Final = 100
BACK_TRIES: Final = 3
PUT_OFF_MAX: Final = 1000
# What could not be posted for so long is not news any more.
POST_WITHIN: Final = timedelta(hours=1)


class Rules:
    """A database listener (``hear``) and a presence listener. ``called`` is told that programs were called.

    ``send`` takes stanzas to people here, ``wake`` is the outbox's.
    """

    _log = Logger()

    def __init__(
        self,
        sessions: Sessions,
        database: Database,
        posting: Posting,
        lines: ChatLines,
        clock: Clock,
        tasks: Tasks,
        *,
        send: Callable[[Stanza], None],
        wake: Callable[[str], None],
    ) -> None:
        self.called: Callable[[], None] = lambda: None
        self._sessions = sessions
        self._database = database
        self._posting = posting
        self._lines = lines
        self._send = send
        self._wake = wake
        self._clock = clock
        self._tasks = tasks
        self._watched = Watched()
        self._trail = Trail(acting.TRAIL, self._step, database, clock, tasks)
        self._trail.done = self.act
        self._running = False
        self._behind = False
        self._acting = False
        self._again = False
        # Who has rules for when they come on line, by name.
        self._coming: frozenset[str] = frozenset()
        self._learning = self._learn_again = False
        # Rules that are not to post just now, by their keys.
        self._put_off: set[int] = set()
        # For whom something waits that could not be told.
        self._absent: set[str] = set()

    def start(self) -> None:
        """Go on where the last server stopped."""
        self._running = True
        self.changed()
        self.act()
        self._idle_look = self._clock.every(IDLE_SECONDS, self._look)

    def stop(self) -> None:
        """No more looking."""
        self._running = False
        self._idle_look.stop()

    def changed(self) -> None:
        """Somebody made a rule, or is elsewhere now."""
        self._learn()
        self._trail.wake()

    def _learn(self) -> None:
        """One look at a time: what was found first must not be taken for what is so now."""
        self._learn_again = True
        if not self._learning:
            self._learning = True
            self._tasks.spawn(self._read_coming(), "who has rules for coming on line")

    def ended(self, keys: Iterable[int]) -> None:
        """Somebody ended rules, by their keys."""
        self._watched.ended(keys)
        self.changed()

    def sharing(self) -> None:
        """Somebody is about to share where they are."""
        self._watched.sharing = True

    def _step(self, tx: Transaction) -> bool:
        return acting.step(tx, self._watched, atom.read_geoloc)

    async def _read_coming(self) -> None:
        try:
            while self._learn_again:
                self._learn_again = False
                self._coming = await self._database.read(lambda tx: tx.rules.coming())
                self._absent |= await self._database.read(lambda tx: tx.rules.absent())
        except Refusal:
            self._learn_again = True  # in a minute, then
            self._log.warn("It is not known who has rules for coming on line: the database is busy")
        finally:
            self._learning = False

    async def tell(self, account: JID, text: str) -> None:
        """Somebody is told of a rule that is about them, or that theirs was ended; kept for who is not there."""

        def written(delivery: Delivery, to: JID) -> Stanza:
            return chat.write(text, JID(delivery.sender, self._database.domain), to, language=delivery.language)

        reach = Reach(account=account, write=lambda delivery, to: written(delivery, to).to_bytes().decode())
        try:
            reached = await self._database.write(reaching.reach, reach)
        except Refusal as refusal:
            self._log.warn("{account} is not told of a rule: {why}", account=account, why=refusal.text)
            return
        if reached is not None:
            self._send(written(reached.delivery, account))
            for domain in reached.domains:
                self._wake(domain)

    # what happens

    def hear(self, event: Event) -> None:
        """Database listener: something was published or retracted, or a client says no more where its owner is."""
        if isinstance(event, NodeDeleted):
            if event.node.name == GEOLOC and event.node.service.domainpart == self._database.domain:
                self._tasks.spawn(self._unsaid(event.node.service), f"where {event.node.service} is")
            return
        if not isinstance(event, ItemPublished | ItemRetracted | NodePurged):
            return
        if event.node.name not in (MICROBLOG, GEOLOC):
            return
        if self._watched or self._watched.sharing:
            self._trail.wake()
        else:
            self._behind = True

    async def _unsaid(self, account: JID) -> None:
        try:
            await self._database.write(acting.unsaid, account.localpart)
        except Refusal:
            self._log.warn("Where {account} is is known still: the database is busy", account=account)

    def _look(self) -> None:
        """With nothing to look for the log is read on only now and then."""
        if self._learn_again:
            self._learn()
        if self._behind:
            self._behind = False
            self._trail.wake()
        for name in tuple(self._absent):
            self._return(JID(name, self._database.domain), 1)

    def session_presence(self, session: Session, stanza: Stanza, initial: bool) -> None:
        """Presence listener: somebody comes on line with their first client."""
        account = session.jid.bare
        if not initial or not session.available:
            return
        if account.localpart in self._absent:
            # It takes a moment until it is known whether they want lines.
            self._clock.later(BACK_SECONDS, self._return, account)
        if account.localpart in self._coming and len(self._sessions.available(account)) == 1:
            self._tasks.spawn(self._come(account), f"rules of {account}")

    def contact_presence(self, account: JID, contact: Contact, stanza: Stanza) -> None:
        """Presence listener: nothing to do."""

    def contact_changed(self, account: JID, before: Contact | None, after: Contact | None) -> None:
        """Presence listener: nothing to do."""

    async def _come(self, account: JID) -> None:
        try:
            fired = await self._database.write(acting.come, account.localpart)
        except Refusal:
            self._log.warn("{account} came, and their rules were not asked: the database is busy", account=account)
            return
        if fired:
            self.act()

    def _return(self, account: JID, tries: int = BACK_TRIES) -> None:
        if account.localpart not in self._absent or not self._running:
            return
        if self._lines.listens(account):
            self._tasks.spawn(self._come_back(account), f"what rules have to tell {account}")
        elif tries > 1 and self._sessions.available(account):
            self._clock.later(BACK_SECONDS, self._return, account, tries - 1)

    async def _come_back(self, account: JID) -> None:
        try:
            here = not self._is_elsewhere(account)
            found = await self._database.write(acting.come_back, account.localpart, here=here)
        except Refusal:
            return  # in a minute, then
        if not found.waits:
            self._absent.discard(account.localpart)
        for missed in found.missed:
            values = {"number": missed.number, "when": _shortened(missed.when), "times": missed.times}
            text = say(missed.language, "places.fired.missed", **values)
            await self._say(account, text, here=missed.of_another)
        self.act()

    # what is done

    def act(self) -> None:
        """Rules may have decided something."""
        self.called()
        self._again = True
        if not self._acting:
            self._acting = True
            self._tasks.spawn(self._act(), "what rules decided")

    def _act_again(self) -> None:
        self._put_off.clear()
        if self._running:
            self.act()

    async def _act(self) -> None:
        try:
            while self._again:
                self._again = False
                for due in await self._database.read(acting.due, tuple(self._put_off)):
                    if due.rule.key not in self._put_off:
                        await self._do(due)
                    self._again = True
        except Refusal as refusal:
            self._log.warn("What rules decided is not done yet: {why}", why=refusal.text)
            self._clock.later(RETRY_SECONDS, self._act_again)
        except CancelledError:
            raise
        except Exception:
            self._log.failure("What rules decided cannot be done")
        finally:
            self._acting = False

    async def _do(self, due: Due) -> None:
        """One thing, once. Raises Refusal if everything has to be tried again."""
        crashpoint("K20")
        if due.rule.rule.then is Then.POST:
            await self._post(due)
            return
        if not self._lines.listens(due.rule.owner):
            await self._wait(due)
            if self._sessions.available(due.rule.owner):
                # They have just come.
                self._clock.later(BACK_SECONDS, self._return, due.rule.owner)
            return
        if due.rule.tells_of_another and self._is_elsewhere(due.rule.owner):
            await self._wait(due)
            return
        await self._tell(due)
        crashpoint("K21")
        await self._database.write(acting.done, due.key)

    async def _wait(self, due: Due) -> None:
        await self._database.write(acting.wait, due.key)
        self._absent.add(due.rule.owner.localpart)

    def _is_elsewhere(self, account: JID) -> bool:
        """Would somebody be told at an address elsewhere, and cannot be told here just now?"""
        listeners = self._lines.listeners
        away = bool(listeners.addresses(account))
        return away and (account not in listeners.here or self._lines.pace(account) not in (Pace.NOW, None))

    async def _say(self, account: JID, text: str, *, here: bool) -> None:
        """A line. ``here``: where others are, and what is local, is said to clients of this node and nowhere else."""
        listeners = self._lines.listeners
        listener = listeners.here.get(account)
        if not here or not listeners.addresses(account):
            await self._lines.say(account, text)
        elif listener is not None and self._lines.pace(account) is Pace.NOW:
            line = chat.write(text, listener.sender, account, language=listener.language).to_bytes()
            for session in listeners.sessions(account):
                session.write(line)

    async def _tell(self, due: Due) -> None:
        kept = due.rule
        rule = kept.rule
        values = {"number": kept.number, "when": _shortened(rule.when)}
        if not due.allowed:
            return
        if rule.what is not What.POST:
            who = name_of(rule.who or kept.owner, self._database.domain)
            place = rule.circle.name if rule.circle is not None else ""
            named = "there" if rule.circle is not None and not place else "place" if place else "nowhere"
            text = say(due.language, f"places.fired.{rule.what}.{named}", name=who, place=place, **values)
            await self._say(kept.owner, text, here=kept.tells_of_another)
        elif due.post is not None and due.number is not None:
            # It came by itself; that the rule is about it has yet to be said.
            text = say(due.language, "places.fired.shown", post=due.number, **values)
            await self._say(kept.owner, text, here=due.post[1].audience is Audience.LOCAL)
        elif due.post is not None:
            node, item = due.post
            shown = Post(node=node, item=item, entry=atom.read_text(item.payload) or Entry())
            mark = say(due.language, "places.fired.mark", **values)
            await self._lines.show(shown, {kept.owner: mark}, kind="track")

    async def _post(self, due: Due) -> None:
        kept = due.rule
        call = Call(
            person=Person(account=due.account, jid=kept.owner, address=kept.owner, language=due.language),
        )
        young = self._clock.now() - due.decided < POST_WITHIN
        posts_too_much = True
        try:
            request = self._posting.request(call, Draft(text=kept.rule.text, automatic=True))
            posts_too_much = False
            await self._database.write(acting.post, due.key, due.account.key, request)
        except Refusal as refusal:
            if young and isinstance(refusal, ResourceConstraint):
                if not posts_too_much or len(self._put_off) >= PUT_OFF_MAX:
                    raise
                # Others need not wait for somebody who posts too much.
                if not self._put_off:
                    self._clock.later(RETRY_SECONDS, self._act_again)
                self._put_off.add(kept.key)
                return
            await self._database.write(acting.done, due.key)
            text = say(due.language, "places.fired.failed", number=kept.number, why=refusal.text)
            await self._lines.say(kept.owner, text)


def _shortened(when: str) -> str:
    text = " ".join(plain(when).split())
    return text if len(text) <= WHEN_SHOWN_CHARACTERS else text[: WHEN_SHOWN_CHARACTERS - 1].rstrip() + "…"
