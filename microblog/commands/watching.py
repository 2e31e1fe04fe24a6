"""``watch`` and ``unwatch``: the replies in a thread, as they come."""

from collections.abc import Awaitable, Iterable
from typing import Final, Protocol

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person, Post
from microblog.commands.texts import say
from microblog.model.access import audiences_allowed
from microblog.model.entry import Entry
from microblog.model.errors import (
    ItemNotFound,
    NotSubscribed,
    Refusal,
    RemoteServerNotFound,
    RemoteServerTimeout,
    ResourceConstraint,
)
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.uri import ItemAddress
from microblog.store.database import Database, Transaction
from microblog.usecases import conversing, watching
from microblog.wire import atom

_GROUP: Final = "following"
_ALL: Final = "all"
_SHOWN: Final = 20


class Watches(Protocol):
    """How threads are watched (``xep.follows``)."""

    def watch(self, account: JID, thread: ItemAddress) -> Awaitable[None]:
        """Watch one. Raises Refusal."""

    def unwatch(self, account: JID, thread: ItemAddress) -> Awaitable[None]:
        """Watch it no longer. Raises NotSubscribed."""


class WatchWords:
    """The commands."""

    def __init__(self, database: Database, watches: Watches) -> None:
        self._database = database
        self._watches = watches

    def commands(self) -> Iterable[Command]:
        """Both."""
        item = Parameter(name="item", kinds=(Kind.ITEM,), required=False)
        which = Parameter(name="item", kinds=(Kind.CHOICE, Kind.ITEM), choices=(_ALL,))
        yield Command(name="watch", group=_GROUP, function=self.watch, parameters=(item,))
        yield Command(name="unwatch", group=_GROUP, function=self.unwatch, parameters=(which,))

    async def watch(self, call: Call) -> Answer:
        """``watch #ID``; alone, what is watched."""
        person, address = call.person, call.get("item")
        if address is None:
            return await self._watched(person)
        thread = await self._thread(person, address)
        try:
            await self._watches.watch(person.jid, thread)
        except ResourceConstraint:
            raise ResourceConstraint(_text(person, "watch_full", number=watching.WATCHED_MAX)) from None
        except (RemoteServerNotFound, RemoteServerTimeout):
            raise RemoteServerNotFound(_text(person, "away", name=thread.service)) from None
        except Refusal as refusal:
            raise type(refusal)(_text(person, "watch_not")) from None
        return Answer(text=_text(person, "watched"))

    async def unwatch(self, call: Call) -> Answer:
        """``unwatch #ID``, ``unwatch all``."""
        person, address = call.person, call.arguments["item"]
        if address == _ALL:
            roots = await self._database.read(watching.watched, person.jid)
            for root in roots:
                await self._end(person, await self._thread(person, root))
            return Answer(text=_text(person, "unwatched_all", number=len(roots)))
        if not await self._end(person, await self._thread(person, address)):
            raise NotSubscribed(_text(person, "not_watched"))
        return Answer(text=_text(person, "unwatched"))

    async def _end(self, person: Person, thread: ItemAddress) -> bool:
        try:
            await self._watches.unwatch(person.jid, thread)
        except (NotSubscribed, ItemNotFound):
            return False
        return True

    async def _thread(self, person: Person, address: ItemAddress) -> ItemAddress:
        try:
            return await self._database.read(watching.thread_of, person.jid, address)
        except ItemNotFound:
            raise ItemNotFound(_text(person, "watch_not")) from None

    async def _watched(self, person: Person) -> Answer:
        roots = await self._database.read(watching.watched, person.jid)
        if not roots:
            return Answer(text=_text(person, "watched_none"))
        audiences = audiences_allowed(person.address.domainpart, local_domain=self._database.domain)
        posts = await self._database.read(_posts, person.jid, roots[-_SHOWN:], audiences)
        hidden = len(roots) - len(posts)
        parts = [_text(person, "watched_all", number=len(roots))]
        parts += [_text(person, "watched_more", number=hidden)] if hidden else []
        return Answer(text=" ".join(parts), posts=posts)


def _posts(
    tx: Transaction, reader: JID, roots: Iterable[ItemAddress], audiences: frozenset[Audience]
) -> tuple[Post, ...]:
    """Those posts that are here and may be shown."""
    found = []
    for root in roots:
        try:
            seen = conversing.see(tx, reader, root, audiences=audiences)
        except ItemNotFound:
            continue
        if seen is not None:
            entry = atom.read_text(seen.item.payload) or Entry()
            found.append(Post(node=seen.node, item=seen.item, entry=entry))
    return tuple(found)


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{_GROUP}.{text}", **values)
