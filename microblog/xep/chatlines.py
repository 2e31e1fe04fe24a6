"""New posts as lines of chat, for people whose clients know nothing of feeds.

Whoever has talked to the node, and did not say ``off``, is told of new posts of those they follow, and of what mentions
or answers them, at each session that does not ask for the feed itself (``+notify``), and at their addresses elsewhere.
A line has a number to speak of it; an edit corrects it (XEP-0308), a retraction takes it back (XEP-0424).

Who of those is on line is in memory: as long as nobody is, a post costs nothing here. The numbers of all lines of what
has just happened are given in one transaction, in which the lines for addresses elsewhere go to the outbox.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.commands.command import Person, Post
from microblog.commands.lines import line as line_of
from microblog.commands.texts import say
from microblog.model.contact import Contact
from microblog.model.entry import Entry
from microblog.model.errors import Refusal
from microblog.model.event import Event, ItemPublished, ItemRetracted
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, is_feed
from microblog.model.uri import ItemAddress, read_uri
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import chatting, subscribing
from microblog.usecases.chatting import Line, Reader, Told, Withdrawn
from microblog.wire import atom, chat, ns, xml
from microblog.wire.stanza import Stanza
from microblog.xep.readers import Readers
from microblog.xmpp.sessions import Session, Sessions

WAITING_MAX: Final = 5000
AT_ONCE: Final = 100
TAKEN_BACK_MAX: Final = 1000
RECENT_HOURS: Final = 24
ELSEWHERE_SECONDS: Final = 300
RETRY_MAX_SECONDS: Final = 30
REMEMBERED_NODES: Final = 10_000
_FEED_ITEM: Final = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listener:
    """An account that wants lines, the address they come from, and their language."""

    key: int
    account: JID
    sender: JID
    language: str = "en"


class ChatLines:
    """A database listener (``hear``) and a presence listener. ``wake``: the outbox's."""

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
        self._sessions = sessions
        self._readers = readers
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._wake = wake
        self._here: dict[JID, _Listener] = {}
        self._away: dict[JID, tuple[_Listener, tuple[JID, ...]]] = {}
        self._events: deque[ItemPublished | ItemRetracted] = deque()
        self._telling = False
        self._taken_back: deque[int] = deque(maxlen=TAKEN_BACK_MAX)
        self.silences: Callable[[str], bool] = lambda domain: False
        # By node, the last event: of a feed elsewhere one event comes for each of its followers here.
        self._last: OrderedDict[int, int] = OrderedDict()

    def start(self) -> None:
        """Read who wants lines elsewhere, now and from time to time."""
        self._look_again()
        self._look = self._clock.every(ELSEWHERE_SECONDS, self._look_again)

    def stop(self) -> None:
        """Read it no more."""
        self._look.stop()

    # who listens

    def _look_again(self) -> None:
        self._tasks.spawn(self._look_elsewhere(), "addresses for chat")

    def changed(self, account: JID) -> None:
        """Somebody linked or unlinked an address, speaks another language, or turned lines on."""
        self._begin(account)
        self._look_again()

    def began(self, account: JID, key: int, sender: JID) -> None:
        """Somebody talks to the node, at that address of it."""
        if self._sessions.available(account):
            known = self._here.get(account) or _Listener(key=key, account=account, sender=sender)
            self._here[account] = replace(known, sender=sender)
        self.changed(account)

    def listens(self, account: JID) -> bool:
        """Does somebody get lines now, here or elsewhere?"""
        return account in self._here or account in self._away

    async def set_delivery(self, person: Person, on: bool) -> None:
        """Somebody wants lines, or none. Raises ResourceConstraint."""
        await self._database.write(chatting.set_delivery, person.account.key, on)
        if on:
            self._begin(person.jid)
        else:
            self._here.pop(person.jid, None)
        await self._look_elsewhere()

    def session_presence(self, session: Session, stanza: Stanza, initial: bool) -> None:
        """Presence listener: somebody comes or goes."""
        account = session.jid.bare
        if initial and session.available and account not in self._here:
            self._begin(account)
        elif not session.available and not self._sessions.available(account):
            self._here.pop(account, None)

    def contact_presence(self, account: JID, contact: Contact, stanza: Stanza) -> None:
        """Presence listener: nothing to do."""

    def contact_changed(self, account: JID, before: Contact | None, after: Contact | None) -> None:
        """Presence listener: nothing to do."""

    def _begin(self, account: JID) -> None:
        self._tasks.spawn(self._load(account), f"chat delivery of {account}")

    async def _load(self, account: JID) -> None:
        """Does somebody who has come want lines?"""
        seconds = 1
        while self._sessions.available(account):
            try:
                found = await self._database.read(chatting.delivery, account.localpart)
            except Refusal:
                await self._clock.sleep(seconds)
                seconds = min(2 * seconds, RETRY_MAX_SECONDS)
                continue
            if found is not None and self._sessions.available(account):
                sender = JID(found.sender, self._database.domain)
                self._here[account] = _Listener(key=found.key, account=account, sender=sender, language=found.language)
            return

    async def _look_elsewhere(self) -> None:
        try:
            rows = await self._database.read(chatting.elsewhere)
        except Refusal:
            return  # until the next look
        found: dict[JID, tuple[_Listener, tuple[JID, ...]]] = {}
        for row in rows:
            sender = JID(row.sender, self._database.domain)
            listener = _Listener(key=row.key, account=row.account, sender=sender, language=row.language)
            found[row.account] = (listener, (*found.get(row.account, (listener, ()))[1], row.address))
        self._away = found

    # what happened

    def hear(self, event: Event) -> None:
        """Database listener: something happened and was committed."""
        if not self._here and not self._away:
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
        shown: list[_Shown | _Gone] = await self._gone([event for event in events if isinstance(event, ItemRetracted)])
        gone = {(event.node.key, event.item_id): event.seq for event in events if isinstance(event, ItemRetracted)}
        for event in events:
            if isinstance(event, ItemRetracted) or event.seq < gone.get((event.node.key, event.item.id), 0):
                continue
            entry = _entry(event)
            if entry is None or entry.is_heart:
                continue
            readers = await self._audience(event, entry, following_away.get(event.node.key, set()))
            if readers:
                shown.append(_Shown(self, event, entry, readers))
        if not shown:
            return
        told = await self._database.write(chatting.tell, [one.wanted for one in shown])
        for one, lines in zip(shown, told.lines, strict=True):
            for line in lines:
                self._write(one, line)
        for domain in told.domains:
            self._wake(domain)

    async def _gone(self, events: list[ItemRetracted]) -> list["_Shown | _Gone"]:
        """What is gone and was shown to somebody who listens."""
        # A service elsewhere tells each of its followers here, and all of them hear it the first time.
        events = list({event.seq: event for event in events if event.seq not in self._taken_back}.values())
        if not events:
            return []
        self._taken_back.extend(event.seq for event in events)
        addresses = {event.seq: ItemAddress(event.node.service, event.node.name, event.item_id) for event in events}
        shown_to = await self._database.read(chatting.shown_to, tuple(addresses.values()))
        by_key = {reader.key: reader for reader in self._all()} if any(shown_to.values()) else {}
        found: list[_Shown | _Gone] = []
        for event in events:
            address = addresses[event.seq]
            told = (by_key[key] for key in sorted(shown_to[address]) if key in by_key)
            # Who did it has been told so.
            readers = tuple(reader for reader in told if reader.account != event.actor)
            if readers:
                found.append(_Gone(self, event, address, readers))
        return found

    async def _following_away(self, events: Iterable[Event]) -> dict[int, set[int]]:
        """Which accounts that listen elsewhere follow which of these nodes; by their keys."""
        nodes = {event.node.key for event in events}
        if not self._away or not nodes:
            return {}
        keys = [listener.key for listener, _ in self._away.values()]
        found: dict[int, set[int]] = {}
        for node, account in await self._database.read(chatting.followers_among, keys, nodes):
            found.setdefault(node, set()).add(account)
        return found

    async def _audience(self, event: ItemPublished, entry: Entry, away: set[int]) -> tuple[JID, ...]:
        """Those who get a line: followers, and those whom it names or answers as far as they may read it."""
        item, node = event.item, event.node
        listening = self._here.keys() | self._away.keys()
        author = item.publisher.bare
        if item.audience is Audience.DIRECT:
            return tuple((listening & {jid.bare for jid in event.recipients or ()}) - {author, node.service})
        first = self._is_first(event)
        if event.recipients is None:
            told = {jid.bare for jid in self._readers.subscribed(node.key)}.union(event.besides)
            followers = told & self._here.keys()
            followers |= {account for account, (listener, _) in self._away.items() if listener.key in away}
        else:
            followers = listening & {jid.bare for jid in event.recipients}
        named = {jid.bare for jid in entry.mentions}
        answered = read_uri(entry.answers) if entry.answers else None
        if answered is not None:
            named.add(answered.service)
        if node.name != MICROBLOG:
            named.add(node.service)
        if self.silences(author.domainpart):
            # Nobody hears of it who does not follow; a guest was let in by whom the node belongs to.
            named &= followers | {node.service}
        named &= listening if first else followers
        asked = (followers | named) - {author}
        if node.service.domainpart == self._database.domain and asked:
            # Also of followers: they may have lost the right since they subscribed.
            asked = set(await self._database.read(subscribing.may_read, node.key, sorted(asked, key=str)))
        if item.audience is Audience.FOLLOWERS:
            asked &= followers | {node.service}
        return tuple(sorted(asked - {author}, key=str))

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

    def is_recent(self, stood: datetime) -> bool:
        """Is it worth a line to those who have not seen it?"""
        return self._clock.now() - stood < timedelta(hours=RECENT_HOURS)

    def reader(self, account: JID) -> Reader | None:
        """Somebody who listens, with their addresses elsewhere."""
        listener = self._listener(account)
        if listener is None:
            return None
        away = self._away[account][1] if account in self._away else ()
        return Reader(key=listener.key, account=account, away=away)

    def _listener(self, account: JID) -> _Listener | None:
        here = self._here.get(account)
        return here if here is not None or account not in self._away else self._away[account][0]

    def _all(self) -> Iterable[Reader]:
        readers = (self.reader(account) for account in self._here.keys() | self._away.keys())
        return (reader for reader in readers if reader is not None)

    def render(self, shown: "_Shown | _Gone", line: Line, to: JID) -> Stanza:
        """A line as a message."""
        listener = self._listener(line.reader.account)
        sender = listener.sender if listener is not None else JID("", self._database.domain)
        language = listener.language if listener is not None else "en"
        seq = shown.event.seq
        if isinstance(shown, _Gone):
            text = say(language, "chat.deleted", number=line.number)
            return chat.write_retraction(text, sender, to, number=line.number, seq=seq, language=language)
        text = line_of(
            shown.post,
            line.number,
            line.numbers,
            reader=line.reader.account,
            domain=self._database.domain,
            language=language,
        )
        if line.again:
            return chat.write_correction(text, sender, to, number=line.number, seq=seq, language=language)
        return chat.write(text, sender, to, id_=chat.line_id(line.number), language=language)

    def _write(self, shown: "_Shown | _Gone", line: Line) -> None:
        account = line.reader.account
        if account not in self._here:
            return
        sessions = [
            session
            for session in self._sessions.available(account)
            if session.priority >= 0 and ns.MICROBLOG not in session.notify
        ]
        if sessions:
            data = self.render(shown, line, account).to_bytes()
            for session in sessions:
                session.write(data)


class _Shown:
    """A post that is shown."""

    __slots__ = ("event", "post", "wanted")

    def __init__(self, lines: ChatLines, event: ItemPublished, entry: Entry, accounts: Iterable[JID]) -> None:
        self.event = event
        self.post = Post(node=event.node, item=event.item, entry=entry)
        item = event.item
        answered = read_uri(entry.answers) if entry.answers else None
        stood = item.stands or item.published
        self.wanted = Told(
            address=self.post.address,
            copies=_copies(self.post),
            answered=answered if answered is not None and answered.item_id is not None else None,
            audience=item.audience,
            readers=tuple(reader for account in accounts if (reader := lines.reader(account)) is not None),
            recent=lines.is_recent(stood),
            write=lambda line, to: lines.render(self, line, to).to_bytes().decode(),
        )


class _Gone:
    """A post that is gone."""

    __slots__ = ("event", "wanted")

    def __init__(
        self, lines: ChatLines, event: ItemRetracted, address: ItemAddress, readers: tuple[Reader, ...]
    ) -> None:
        self.event = event
        self.wanted = Withdrawn(
            address=address,
            seq=event.seq,
            readers=readers,
            write=lambda line, to: lines.render(self, line, to).to_bytes().decode(),
        )


def _entry(event: ItemPublished) -> Entry | None:
    try:
        return atom.read_entry(xml.parse(event.item.payload)) if event.item.payload else None
    except ValueError:
        return None


def _copies(post: Post) -> tuple[ItemAddress, ...]:
    """Where else the same may have been seen: a reply is in its author's feed and in its thread."""
    id_ = post.item.id
    found = [ItemAddress(post.item.publisher.bare, MICROBLOG, id_)]
    thread = read_uri(post.entry.thread or post.item.thread)
    if thread is not None and thread.item_id is None:
        found.append(ItemAddress(thread.service, thread.node, id_))
    return tuple(address for address in found if address != post.address)
