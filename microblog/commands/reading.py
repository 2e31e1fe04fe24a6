"""Words for reading: ``home``, ``timeline``, ``get``, ``thread``, ``mentions``, ``read``.

``home`` goes on where one was, oldest first, and what it shows is read then; the others show the newest and go back.
In chat the newest always stands at the bottom, where the eye is.

What is elsewhere and not sent here is fetched in the reader's name: the posts of somebody whom nobody here follows, and
the comments of a post from the service of its author, which keeps all of them. A comment that claims to be by one of
our own people, but that we know nothing of, is left out.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person, Post
from microblog.commands.lines import plain
from microblog.commands.texts import say
from microblog.model.access import audiences_allowed
from microblog.model.entry import Entry
from microblog.model.errors import ItemNotFound, NotAcceptable, NotSubscribed, Refusal, RemoteServerTimeout
from microblog.model.item import Audience, Item, PageRequest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node, profile
from microblog.model.uri import ItemAddress
from microblog.store.database import Database, Transaction
from microblog.store.timelines import Place
from microblog.usecases import copying, listing_people, muting, reading, tracking
from microblog.usecases.reading import HOME, LOCAL, MENTIONS, Placed, Reading, TimelinePage
from microblog.usecases.settling import SETTINGS
from microblog.wire import asking, atom, pubsub
from microblog.wire.notification import NoticedItem
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element

# Who waits in a chat does not wait for long.
ANSWER_SECONDS: Final = 5
_GROUP: Final = "reading"
_GET_MOST: Final = 5
_THREAD_MOST: Final = 20
_LIMIT: Final = "limit"
_TIMELINES: Final = ("home", "local", "mentions")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_AGO: Final = re.compile(r"([0-9]{1,4})([mhd])")
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
# An IQ of ours: type, from, to, payload.
Ask = Callable[[str, JID, JID, Element], Awaitable[Stanza]]
_At = tuple[datetime, int, str, str]
Read = Callable[[Transaction, Reading], TimelinePage]


class ReadingWords:
    """The commands. ``ask`` asks others; ``now`` is the clock's."""

    def __init__(self, database: Database, ask: Ask, now: Callable[[], datetime]) -> None:
        self._database = database
        self._ask = ask
        self._now = now

    def commands(self) -> Iterable[Command]:
        """All of them."""
        amount = Parameter(name="amount", kinds=(Kind.NUMBER,), required=False)
        since = Parameter(name="since", kinds=(Kind.FLAG,), required=False)
        when = Parameter(name="when", kinds=(Kind.WORD,), required=False)
        which = Parameter(name="which", kinds=(Kind.CHOICE, Kind.PERSON, Kind.WORD), choices=_TIMELINES, required=False)
        person = Parameter(name="person", kinds=(Kind.PERSON,))
        item = Parameter(name="item", kinds=(Kind.ITEM,), newest=True)
        everything = Parameter(name="which", kinds=(Kind.CHOICE,), choices=("all",), required=False)
        yield self._command("home", self.home, amount, since, when, aliases=("catchup", "missed"))
        yield self._command("timeline", self.timeline, which, amount)
        yield self._command("get", self.get, person, amount, aliases=("last",))
        yield self._command("thread", self.thread, item)
        yield self._command("mentions", self.mentions, amount)
        yield self._command("read", self.read, everything)

    def _command(
        self,
        name: str,
        function: Callable[[Call], Awaitable[Answer]],
        *parameters: Parameter,
        aliases: tuple[str, ...] = (),
    ) -> Command:
        return Command(name=name, group=_GROUP, function=function, parameters=parameters, aliases=aliases)

    # home

    async def home(self, call: Call) -> Answer:
        """``home [N] [since WHEN]``: what one has not read."""
        person, when = call.person, call.get("when")
        if bool(call.get("since")) != bool(when):
            raise NotAcceptable(_text(person, "when"))
        since = self._since(person, when) if when else None
        most = await self._most(person, call.get("amount"))
        return await self._catch_up(
            person,
            reading.CatchUp(account=person.account, most=most, since=since, audiences=self._audiences(person)),
        )

    async def _catch_up(self, person: Person, wanted: reading.CatchUp) -> Answer:
        most, again = wanted.most, wanted.after is not None
        found = await self._database.write(reading.catch_up, wanted)
        if not found.fresh:
            text = _text(person, "nothing_new" if found.page.posts else "nothing")
            return self._page(person, found.page, text, reading.home, most)
        posts, mentions = _number(person, found.unread), _number(person, found.mentions)
        text = _text(person, "left" if again else "new", posts=posts, mentions=mentions)
        if found.begun:
            return self._page(person, found.page, text, reading.home, most)
        more = partial(self._go_on, most, found.page.posts[0].place) if found.page.more else None
        return Answer(text=_with(text, _text(person, "more") if more else ""), posts=_shown(found.page), more=more)

    async def _go_on(self, most: int, after: Place, call: Call) -> Answer:
        person = call.person
        wanted = reading.CatchUp(account=person.account, most=most, after=after, audiences=self._audiences(person))
        return await self._catch_up(person, wanted)

    def _since(self, person: Person, text: str) -> datetime:
        """The latest instant that is meant by a time of day, or so long ago."""
        now = self._now()
        clock, ago = _CLOCK.fullmatch(text), _AGO.fullmatch(text.casefold())
        if clock is not None and int(clock[1]) < 24 and int(clock[2]) < 60:
            today = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
            return today if today <= now else today - timedelta(days=1)
        if ago is not None:
            return now - int(ago[1]) * _UNITS[ago[2]]
        raise NotAcceptable(_text(person, "when"))

    async def read(self, call: Call) -> Answer:
        """``read [all]``: what there is counts as read."""
        person, everything = call.person, call.get("which") is not None
        for timeline in (HOME, MENTIONS, LOCAL) if everything else (HOME,):
            await self._database.write(reading.read_all, person.account, timeline)
        return Answer(text=_text(person, "all_read" if everything else "counted_read"))

    # the newest

    async def timeline(self, call: Call) -> Answer:
        """``timeline [home|local|mentions|#TAG|~TRACK|LIST|NAME] [N]``. A list comes before somebody of its name."""
        which = call.get("which", "home")
        name = which if isinstance(which, str) else which.localpart if which.domainpart == self._database.domain else ""
        if name not in _TIMELINES and await self._database.read(listing_people.exists, call.person.jid, name):
            return await self._newest(call, lambda tx, wanted: reading.people(tx, name, wanted))
        if isinstance(which, JID):
            return await self._author(call.person, which, await self._most(call.person, call.get("amount")))
        if which == "mentions":
            return await self.mentions(call)
        if which.startswith("#") and reading.tag_of(reading.TAG_PREFIX + which) is not None:
            return await self._newest(call, lambda tx, wanted: reading.tag(tx, which, wanted))
        if which.startswith("~"):
            return await self._newest(call, partial(_tracked, call.person, which))
        if which not in _TIMELINES:
            raise ItemNotFound(_text(call.person, "no_timeline", word=which[:40]))
        return await self._newest(call, reading.home if which == "home" else reading.local)

    async def mentions(self, call: Call) -> Answer:
        """``mentions [N]``: what names one; then it is read."""
        person, most = call.person, await self._most(call.person, call.get("amount"))
        page = await self._database.read(reading.mentions, self._wanted(person, PageRequest(max=most)))
        if page.posts:
            await self._database.write(reading.read_to, person.account, MENTIONS, page.posts[0].place)
        return self._page(person, page, "", reading.mentions, most)

    async def get(self, call: Call) -> Answer:
        """``get NAME [N]``: somebody's newest posts, here or elsewhere."""
        amount = call.get("amount")
        most = _GET_MOST if amount is None else await self._most(call.person, amount)
        return await self._author(call.person, call.arguments["person"], most)

    async def _author(self, person: Person, service: JID, most: int) -> Answer:
        read = partial(_author, service)
        name = self._name(service)
        if service.domainpart != self._database.domain and not await self._database.read(reading.is_followed, service):
            fetched = await self._fetch(person, service, MICROBLOG, asking.newest_request(MICROBLOG, most))
            if fetched:
                newest = sorted(fetched, key=_published)[-most:]
                return Answer(posts=tuple(newest))
            if fetched is not None:
                raise ItemNotFound(_text(person, "empty"))
        try:
            page = await self._database.read(read, self._wanted(person, PageRequest(max=most)))
        except ItemNotFound:
            text = "closed" if service.domainpart == self._database.domain else "away"
            raise ItemNotFound(_text(person, text, name=name)) from None
        except Refusal as refusal:
            raise type(refusal)(_text(person, "closed", name=name)) from None
        return self._page(person, page, "", read, most)

    async def _newest(self, call: Call, read: Read) -> Answer:
        most = await self._most(call.person, call.get("amount"))
        page = await self._database.read(read, self._wanted(call.person, PageRequest(max=most)))
        return self._page(call.person, page, "", read, most)

    def _page(self, person: Person, page: TimelinePage, text: str, read: Read, most: int) -> Answer:
        """A page, and what is before it with ``more``."""
        if not page.posts:
            return Answer(text=text or _text(person, "empty"))
        more = partial(self._older, read, most, page.posts[-1].anchor) if page.more else None
        return Answer(text=_with(text, _text(person, "older") if more else ""), posts=_shown(page), more=more)

    async def _older(self, read: Read, most: int, after: str, call: Call) -> Answer:
        page = await self._database.read(read, self._wanted(call.person, PageRequest(max=most, after=after)))
        return self._page(call.person, page, "", read, most)

    # threads

    async def thread(self, call: Call) -> Answer:
        """``thread [#ID]``: a conversation from its beginning."""
        return await self._conversation(call.arguments["item"], None, call)

    async def _conversation(self, address: ItemAddress, after: _At | None, call: Call) -> Answer:
        """A part of it. What comes after is found again when it is wanted, not kept until then."""
        person = call.person
        found, posts = await self._thread(person, address)
        silent: set[JID] = set()
        if found.comments is not None and found.comments.service.domainpart != self._database.domain:
            service, node = found.comments.service, found.comments.node
            known = {_said_by(post) for post in posts}
            wanted = asking.newest_request(node, reading.THREAD_MAX // 2)
            comments = await self._fetch(person, service, node, wanted, silent)
            posts += await self._said(service, node, [post for post in comments or () if _said_by(post) not in known])
        root = [post for post in posts if post.address == found.root]
        others = [post for post in posts if post.address != found.root and not post.entry.is_heart]
        others.sort(key=_at)
        if after is not None:
            rest = [post for post in others if _at(post) > after]
            if not rest:
                raise ItemNotFound(_text(person, "empty"))
            return self._part(address, rest, "")
        if not root and found.root is not None and found.root.service not in silent:
            root = await self._fetch_item(person, found.root)
        thread = [*root[:1], *others]
        if not thread:
            raise ItemNotFound(_text(person, "no_thread"))
        text = "conversation" if len(thread) <= _THREAD_MOST else "conversation_more"
        return self._part(address, thread, _text(person, text, number=len(thread)))

    async def _said(self, service: JID, node: str, comments: Sequence[Post]) -> Sequence[Post]:
        """The comments of a thread elsewhere, without what it says in our people's names and they have not said."""
        ours = {_said_by(post) for post in comments if post.item.publisher.domainpart == self._database.domain}
        if ours:
            ours -= await self._database.read(copying.vouched, service, node, ours)
        return [post for post in comments if _said_by(post) not in ours]

    def _part(self, address: ItemAddress, posts: Sequence[Post], text: str) -> Answer:
        shown = tuple(posts[:_THREAD_MOST])
        more = partial(self._conversation, address, _at(shown[-1])) if len(posts) > _THREAD_MOST else None
        return Answer(text=text, posts=shown, more=more)

    async def _thread(self, person: Person, address: ItemAddress) -> tuple[reading.ThreadPage, list[Post]]:
        """What is here of it; of a post that is not, its author's service says where it belongs."""
        wanted = reading.Thread(address=address, actor=person.jid, audiences=self._audiences(person))
        try:
            found = await self._database.read(reading.thread, wanted)
        except ItemNotFound:
            fetched = await self._fetch_item(person, address)
            if not fetched:
                raise ItemNotFound(_text(person, "no_thread")) from None
            uri = fetched[0].entry.thread or address.uri
            wanted = reading.Thread(address=address, actor=person.jid, thread=uri, audiences=self._audiences(person))
            found = await self._database.read(reading.thread, wanted)
            return found, [*_posts(found.posts), *(post for post in fetched if post.address == found.root)]
        return found, _posts(found.posts)

    # elsewhere

    async def _fetch_item(self, person: Person, address: ItemAddress) -> list[Post]:
        if address.item_id is None or address.service.domainpart == self._database.domain:
            return []
        wanted = pubsub.items_request(address.node, (address.item_id,))
        fetched = await self._fetch(person, address.service, address.node, wanted)
        return [post for post in fetched or () if post.item.id == address.item_id]

    async def _fetch(
        self, person: Person, service: JID, node: str, wanted: Element, silent: set[JID] | None = None
    ) -> list[Post] | None:
        """Posts of a service elsewhere; None if it does not give them. ``silent``: those that do not answer at all."""
        quiet = await self._database.read(muting.quiet, person.jid, muting=False)
        if quiet.avoids(service):
            return None
        try:
            answer = await self._ask("get", person.jid, service, wanted)
            if answer.type != "result":
                return None
            items = pubsub.read_answered_items(answer.payload)
        except RemoteServerTimeout:
            if silent is not None:
                silent.add(service)
            return None
        except Refusal:
            return None
        feed = Node(key=0, service=service, name=node, config=profile(node))
        posts = [post for item in items if (post := _fetched(feed, item, answer)) is not None]
        return [post for post in posts if not quiet.avoids(post.item.publisher)]

    # parts

    def _wanted(self, person: Person, page: PageRequest) -> Reading:
        return Reading(actor=person.jid, page=page, audiences=self._audiences(person), counted=False)

    def _audiences(self, person: Person) -> frozenset[Audience]:
        """What may be sent to where somebody speaks from."""
        return audiences_allowed(person.address.domainpart, local_domain=self._database.domain)

    async def _most(self, person: Person, amount: int | None) -> int:
        """How many posts are shown at once."""
        if amount is None:
            amount = await self._database.read(_limit, person.account.key)
        return max(1, min(amount, SETTINGS[_LIMIT].most))

    def _name(self, jid: JID) -> str:
        return jid.localpart if jid.domainpart == self._database.domain else str(jid)


def _limit(tx: Transaction, account: int) -> int:
    return int(tx.preferences.get(account, _LIMIT) or SETTINGS[_LIMIT].default)


def _tracked(person: Person, which: str, tx: Transaction, wanted: Reading) -> TimelinePage:
    try:
        return tracking.timeline(tx, person.account.key, which, wanted)
    except NotSubscribed:
        raise NotSubscribed(say(person.language, "realtime.tracks.not_tracked", query=plain(which[:40]))) from None


def _author(service: JID, tx: Transaction, wanted: Reading) -> TimelinePage:
    return reading.author(tx, service, wanted)


def _fetched(feed: Node, noticed: NoticedItem, answer: Stanza) -> Post | None:
    entry = None if noticed.payload is None else atom.read_entry(noticed.payload)
    if entry is None:
        return None
    written = entry.published or entry.updated or _EPOCH
    item = Item(
        id=noticed.id,
        publisher=(noticed.publisher or feed.service).bare,
        payload=noticed.payload_text,
        published=written,
        updated=entry.updated or written,
        audience=entry.audience or Audience.PUBLIC,
        proof=answer.proof,
        thread=entry.thread,
        answers=entry.answers,
        via=entry.via,
    )
    return Post(node=feed, item=item, entry=entry)


def _posts(placed: Iterable[Placed]) -> list[Post]:
    return [Post(node=one.node, item=one.item, entry=atom.read_text(one.item.payload) or Entry()) for one in placed]


def _shown(page: TimelinePage) -> tuple[Post, ...]:
    """The newest at the bottom."""
    return tuple(reversed(_posts(page.posts)))


def _said_by(post: Post) -> tuple[JID, str]:
    return post.item.publisher, post.item.id


def _published(post: Post) -> tuple[datetime, int]:
    return post.item.published, post.item.key


def _at(post: Post) -> _At:
    """Where a post stands in its thread."""
    return post.item.published, post.item.key, str(post.item.publisher), post.item.id


def _number(person: Person, number: int | None) -> str:
    return _text(person, "many") if number is None else str(number)


def _with(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{_GROUP}.{text}", **values)
