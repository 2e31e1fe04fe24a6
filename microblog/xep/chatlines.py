"""New posts as lines of chat, for people whose clients know nothing of feeds.

Whoever has talked to the node, and did not say ``off``, is told of new posts of those they follow, and of what mentions
or answers them, at each session that does not ask for the feed itself (``+notify``), and at their addresses elsewhere.
A line has a number to speak of it; an edit corrects it (XEP-0308), a retraction takes it back (XEP-0424).

Who of those is on line, and how they want their lines, is in memory (``listeners``): as long as nobody is, a post costs
nothing here. The numbers of all lines of what has just happened are given in one transaction, in which the lines for
addresses elsewhere go to the outbox, and those that nobody has time for now are put aside (``heldlines``).
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.commands.command import Post
from microblog.commands.delivery import read_waiting
from microblog.model.contact import Contact
from microblog.model.entry import Entry
from microblog.model.errors import Refusal
from microblog.model.event import Event, ItemPublished, ItemRetracted
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, AccessModel, is_feed
from microblog.model.uri import ItemAddress, read_uri
from microblog.model.when import Pace
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.store.deferred import LINE
from microblog.usecases import chatting, subscribing
from microblog.usecases.chatting import Line, Lines, Reader
from microblog.usecases.deferring import Waiting
from microblog.wire import atom, xml
from microblog.wire.stanza import Stanza
from microblog.xep.heldlines import HeldLines
from microblog.xep.linemaking import Gone, Made, Said, Shown
from microblog.xep.listeners import Listener, Listeners
from microblog.xep.readers import Readers
from microblog.xmpp.sessions import Session, Sessions

WAITING_MAX: Final = 5000
AT_ONCE: Final = 100
TAKEN_BACK_MAX: Final = 1000
REMEMBERED_NODES: Final = 10_000
_FEED_ITEM: Final = "0"
_NOBODY: Final[frozenset[JID]] = frozenset()


class ChatLines:
    """A database listener (``hear``) and a presence listener. ``wake``: the outbox's.

    ``silences``: domains of which only those hear who follow them. ``hushes``: who does not want to read a post.
    ``besides``: who is to be told of it like those who follow its author.
    """

    _log = Logger()

    def __init__(
        self,
        sessions: Sessions,
        readers: Readers,
        database: Database,
        clock: Clock,
        tasks: Tasks,
        wake: Callable[[str], None],
    ) -> None:
        self._readers = readers
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._wake = wake
        self.listeners = Listeners(sessions, database, clock, tasks)
        self._held = HeldLines(self.listeners, database, clock, tasks)
        self._held.giver = self
        self.listeners.came, self.listeners.went = self._held.came, self._held.went
        self.listeners.changed = self._held.changed
        self._events: deque[ItemPublished | ItemRetracted] = deque()
        self._telling = False
        self._taken_back: deque[int] = deque(maxlen=TAKEN_BACK_MAX)
        self.silences: Callable[[str], bool] = lambda domain: False
        self.hushes: Callable[[ItemPublished, Entry], Container[JID]] = lambda event, entry: _NOBODY
        self.besides: Callable[[ItemPublished, Entry], Iterable[JID]] = lambda event, entry: _NOBODY
        # By node, the last event: of a feed elsewhere one event comes for each of its followers here.
        self._last: OrderedDict[int, int] = OrderedDict()

    def start(self) -> None:
        """Find out who listens, now and from time to time."""
        self.listeners.start()

    def stop(self) -> None:
        """No more."""
        self.listeners.stop()
        self._held.stop()

    # who listens

    def changed(self, account: JID) -> None:
        """Somebody linked or unlinked an address, speaks another language, or turned lines on or off."""
        self.listeners.begin(account)
        self._tasks.spawn(self.listeners.look_elsewhere(), "addresses for chat")

    def began(self, account: JID, key: int, sender: JID) -> None:
        """Somebody talks to the node, at that address of it."""
        self.listeners.talks(account, key, sender)
        self._tasks.spawn(self.listeners.look_elsewhere(), "addresses for chat")

    async def refresh(self, account: JID) -> None:
        """Somebody wants lines, or others than before, from now on."""
        await self.listeners.load(account)
        await self.listeners.look_elsewhere()

    def listens(self, account: JID) -> bool:
        """Does somebody get lines now, here or elsewhere?"""
        return self.listeners.has(account)

    def language(self, account: JID) -> str:
        """In which language somebody is spoken to."""
        listener = self.listeners.get(account)
        return "en" if listener is None else listener.language

    def pace(self, account: JID) -> Pace | None:
        """How lines come to somebody; None: there is nobody, or they want none. Who is not known here gets them all."""
        if self.listeners.get(account) is None:
            return Pace.NOW
        pace = self._held.pace(account)
        return None if pace is Pace.NOTHING else pace

    def session_presence(self, session: Session, stanza: Stanza, initial: bool) -> None:
        """Presence listener: somebody comes or goes."""
        self.listeners.session_presence(session, stanza, initial)

    def contact_presence(self, account: JID, contact: Contact, stanza: Stanza) -> None:
        """Presence listener: perhaps of somebody's address elsewhere."""
        self.listeners.contact_presence(account, contact, stanza)

    def contact_changed(self, account: JID, before: Contact | None, after: Contact | None) -> None:
        """Presence listener: nothing to do."""

    # what others have to say

    async def show(
        self, post: Post, readers: Mapping[JID, str], *, kind: str = "post", urgent: bool = False, sure: bool = False
    ) -> None:
        """A post as a line to those of these accounts who get lines, each with what stands before it.

        ``kind``: post, mention, direct or track. Who has seen the post is not told again.
        Raises ResourceConstraint if whoever asks wants to be ``sure``, and tries again.
        """
        found = [account for account in readers if self.listeners.has(account)]
        if not found:
            return
        event = ItemPublished(seq=0, node=post.node, item=post.item)
        hushed = self.hushes(event, post.entry)
        wanted = {account: kind for account in found if account not in hushed}
        one = self._shown(post, wanted, seq=0, marks=readers, urgent=urgent, once=True)
        if one.wanted.readers:
            try:
                await self._write_all([one])
            except Refusal:
                if sure:
                    raise
                self._log.warn("Chat was not told of {item}: the database is busy", item=post.address.uri)

    async def say(self, account: JID, text: str, *, urgent: bool = False) -> None:
        """A line that shows no post, to somebody who gets lines."""
        listener = self.listeners.get(account)
        if listener is None:
            return
        pace = self._held.pace(account)
        if pace is Pace.NOTHING:
            return
        try:
            await self.tell(listener, text, hold=pace.holds(urgent=urgent))
        except Refusal:
            self._log.warn("{account} was not told something: the database is busy", account=account)

    async def tell(self, listener: Listener, text: str, *, hold: bool) -> None:
        """The same whatever they want, now or when they have time. Raises ResourceConstraint."""
        reader = self._of(listener, hold=LINE if hold else "")
        said = Said(self.listeners, self._database.domain, text, reader)
        if hold or reader.away:
            await self._write_all([said])
        else:
            self._write(said, Line(reader=reader, number=0, numbers={}, again=False))

    # what happened

    def hear(self, event: Event) -> None:
        """Database listener: something happened and was committed."""
        if not self.listeners.any():
            return
        if not isinstance(event, ItemPublished | ItemRetracted) or not is_feed(event.node.name):
            return
        if isinstance(event, ItemPublished) and event.item.id == _FEED_ITEM:
            return
        if len(self._events) >= WAITING_MAX:
            self._log.warn("So much happens that chat is not told of a post of {node}", node=event.node.service)
            return
        self._events.append(event)
        if not self._telling:
            self._telling = True
            self._tasks.spawn(self._tell_all(), "lines of chat")

    async def _tell_all(self) -> None:
        try:
            while self._events:
                events = [self._events.popleft() for _ in range(min(AT_ONCE, len(self._events)))]
                try:
                    await self._tell(events)
                except Refusal:
                    self._log.warn("Chat was not told of {count} posts: the database is busy", count=len(events))
                except CancelledError:
                    raise
                except Exception:
                    self._log.failure("Chat cannot be told of posts")
        finally:
            self._telling = False

    async def _tell(self, events: list[ItemPublished | ItemRetracted]) -> None:
        await self._readers.loaded()
        following_away = await self._following_away(events)
        made: list[Made] = await self._gone([event for event in events if isinstance(event, ItemRetracted)])
        gone = {(event.node.key, event.item_id): event.seq for event in events if isinstance(event, ItemRetracted)}
        for event in events:
            if isinstance(event, ItemRetracted) or event.seq < gone.get((event.node.key, event.item.id), 0):
                continue
            entry = _entry(event)
            if entry is None or entry.is_heart:
                continue
            readers = await self._audience(event, entry, following_away.get(event.node.key, set()))
            if readers:
                post = Post(node=event.node, item=event.item, entry=entry)
                one = self._shown(post, readers, seq=event.seq)
                if one.wanted.readers:
                    made.append(one)
        await self._write_all(made)

    async def _gone(self, events: list[ItemRetracted]) -> list[Made]:
        """What is gone and was shown to somebody who listens."""
        # A service elsewhere tells each of its followers here, and all of them hear it the first time.
        events = list({event.seq: event for event in events if event.seq not in self._taken_back}.values())
        if not events:
            return []
        self._taken_back.extend(event.seq for event in events)
        addresses = {event.seq: ItemAddress(event.node.service, event.node.name, event.item_id) for event in events}
        shown_to = await self._database.read(chatting.shown_to, tuple(addresses.values()))
        by_key = {reader.key: reader for reader in self._everybody()} if any(shown_to.values()) else {}
        found: list[Made] = []
        for event in events:
            address = addresses[event.seq]
            told = (by_key[key] for key in sorted(shown_to[address]) if key in by_key)
            # Who did it has been told so.
            readers = tuple(reader for reader in told if reader.account != event.actor)
            if readers:
                found.append(Gone(self.listeners, self._database.domain, event, address, readers))
        return found

    async def _following_away(self, events: Iterable[Event]) -> dict[int, set[int]]:
        """Which accounts that listen elsewhere follow which of these nodes; by their keys."""
        nodes = {event.node.key for event in events}
        away = self.listeners.away
        if not away or not nodes:
            return {}
        keys = [listener.key for listener, _ in away.values()]
        found: dict[int, set[int]] = {}
        for node, account in await self._database.read(chatting.followers_among, keys, nodes):
            found.setdefault(node, set()).add(account)
        return found

    async def _audience(self, event: ItemPublished, entry: Entry, away: set[int]) -> dict[JID, str]:
        """Those who get a line, and why: followers, and those whom it names or answers as far as they may read it."""
        item, node = event.item, event.node
        here, elsewhere = self.listeners.here, self.listeners.away
        listening = (here.keys() | elsewhere.keys()) - self.listeners.silent
        author = item.publisher.bare
        if not listening:
            return {}
        if item.audience is Audience.DIRECT:
            direct = (listening & {jid.bare for jid in event.recipients or ()}) - {author, node.service}
            return self._unhushed(event, entry, dict.fromkeys(direct, "direct"))
        first = self._is_first(event)
        if event.recipients is None:
            told = {jid.bare for jid in self._readers.subscribed(node.key)}.union(event.besides)
            followers = listening & (told & here.keys())
            followers |= {account for account, (listener, _) in elsewhere.items() if listener.key in away} & listening
        else:
            followers = listening & {jid.bare for jid in event.recipients}
        named = {jid.bare for jid in entry.mentions}
        answered = read_uri(entry.answers) if entry.answers else None
        if answered is not None:
            named.add(answered.service)
        if node.name != MICROBLOG:
            named.add(node.service)
        silenced = self.silences(author.domainpart)
        if silenced:
            # Nobody hears of it who does not follow; a guest was let in by whom the node belongs to.
            named &= followers | {node.service}
        named &= listening if first else followers
        asked = (followers | named) - {author}
        if item.audience in (Audience.PUBLIC, Audience.LOCAL) and first and not silenced:
            asked |= listening.intersection(self.besides(event, entry)) - {author}
        if node.service.domainpart == self._database.domain:
            # Followers may have lost the right since they subscribed, but not to what is for everybody.
            everybodys = node.config.access_model is AccessModel.OPEN and item.audience is Audience.PUBLIC
            sure = followers & asked if everybodys else set()
            if asked - sure:
                unsure = sorted(asked - sure, key=str)
                asked = sure.union(await self._database.read(subscribing.may_read, node.key, unsure))
        if item.audience is Audience.FOLLOWERS:
            asked &= followers | {node.service}
        wanted = {account: "mention" if account in named else "post" for account in sorted(asked - {author}, key=str)}
        return self._unhushed(event, entry, self._unpaused(event, entry, wanted))

    def _unhushed(self, event: ItemPublished, entry: Entry, wanted: dict[JID, str]) -> dict[JID, str]:
        """Without those who do not want to read it."""
        hushed = self.hushes(event, entry) if wanted else _NOBODY
        return {account: kind for account, kind in wanted.items() if account not in hushed}

    def _unpaused(self, event: ItemPublished, entry: Entry, wanted: dict[JID, str]) -> dict[JID, str]:
        """Without those who want no lines of its author, or of a tag, just now; unless it is for them."""
        picky = self.listeners.picky & wanted.keys() if self.listeners.picky else ()
        if picky:
            sources = (str(event.item.publisher.bare), str(event.node.service), *(f"#{tag}" for tag in entry.tags))
            for account in picky:
                listener = self.listeners.get(account)
                if listener is not None and wanted[account] == "post" and self.listeners.paused(listener, sources):
                    del wanted[account]
        return wanted

    def _is_first(self, event: ItemPublished) -> bool:
        """Whom a post names is told with the first of its events."""
        if event.node.service.domainpart == self._database.domain:
            return True
        first = event.seq > self._last.get(event.node.key, 0)
        if first:
            self._last[event.node.key] = event.seq
            self._last.move_to_end(event.node.key)
            if len(self._last) > REMEMBERED_NODES:
                self._last.popitem(last=False)
        return first

    # lines

    def _shown(
        self,
        post: Post,
        wanted: Mapping[JID, str],
        *,
        seq: int,
        marks: Mapping[JID, str] | None = None,
        urgent: bool = False,
        once: bool = False,
    ) -> Shown:
        """``wanted``: account to the kind of line; ``marks``: what stands before it."""
        readers = (
            self._reader(account, kind, marks.get(account, "") if marks else "", urgent=urgent)
            for account, kind in wanted.items()
        )
        found = [reader for reader in readers if reader is not None]
        return Shown(self.listeners, self._clock, self._database.domain, post, found, seq=seq, once=once, urgent=urgent)

    def _reader(self, account: JID, kind: str, mark: str, *, urgent: bool) -> Reader | None:
        """Somebody who gets a line of that kind, now or later."""
        listener = self.listeners.get(account)
        pace = self._held.pace(account)
        if listener is None or pace is Pace.NOTHING:
            return None
        hold = kind if pace.holds(urgent=urgent or kind == "direct") else ""
        return self._of(listener, hold=hold, mark=mark)

    def _of(self, listener: Listener, *, hold: str = "", mark: str = "") -> Reader:
        away = self.listeners.addresses(listener.account)
        return Reader(key=listener.key, account=listener.account, away=away, hold=hold, mark=mark)

    def _everybody(self) -> Iterable[Reader]:
        """All who listen."""
        found = (self.listeners.get(account) for account in self.listeners.all())
        return (self._of(listener) for listener in found if listener is not None)

    async def _write_all(self, made: Sequence[Made]) -> None:
        """Tell it all, now or later. Raises ResourceConstraint."""
        if not made:
            return
        try:
            told = await self._database.write(chatting.tell, [one.wanted for one in made])
        except (Refusal, CancelledError):
            raise
        except Exception:
            # Somebody's account was removed just now: the others are told.
            await self._without_removed(made)
            told = await self._database.write(chatting.tell, [one.wanted for one in made])
        self.write_lines(made, told)
        waits = {reader.account for one in made for reader in one.wanted.readers if reader.hold}
        if waits:
            self._held.waits(waits)

    async def _without_removed(self, made: Iterable[Made]) -> None:
        keys = {reader.key for one in made for reader in one.wanted.readers}
        there = await self._database.read(chatting.existing, keys)
        for one in made:
            one.keep(there)

    def write_lines(self, made: Sequence[Made | None], told: Lines) -> None:
        """What became of what was to be told, to those who are here."""
        for one, lines in zip(made, told.lines, strict=True):
            for line in lines:
                if one is not None:
                    self._write(one, line)
        for domain in told.domains:
            self._wake(domain)

    def _write(self, one: Made, line: Line) -> None:
        account = line.reader.account
        sessions = self.listeners.sessions(account) if account in self.listeners.here else ()
        if sessions:
            data = one.render(line, account).to_bytes()
            for session in sessions:
                session.write(data)

    # lines that waited

    def made(self, listener: Listener, waiting: Sequence[Waiting]) -> list[Shown | Said | None]:
        """Lines of what waited for somebody; None for what is gone or not for them any more."""
        return [self._made(listener, one) for one in waiting]

    def _made(self, listener: Listener, waiting: Waiting) -> Shown | Said | None:
        domain, text = self._database.domain, waiting.held.text
        if waiting.address is None:
            return Said(self.listeners, domain, text, self._of(listener))
        post = read_waiting(waiting)
        if post is None:
            return None
        event = ItemPublished(seq=0, node=post.node, item=post.item)
        if listener.account in self.hushes(event, post.entry):
            return None
        reader = self._of(listener, mark=text)
        return Shown(
            self.listeners, self._clock, domain, post, (reader,), seq=waiting.held.key, again=True, urgent=True
        )


def _entry(event: ItemPublished) -> Entry | None:
    try:
        return atom.read_entry(xml.parse(event.item.payload)) if event.item.payload else None
    except ValueError:
        return None
