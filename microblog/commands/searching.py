"""Looking back: ``search``.

Who looks for something in what millions have written keeps the database busy for longer than others do. So each person
looks for one thing at a time, and all of them together never take all of the database's readers.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from twisted.internet.defer import DeferredSemaphore

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person, Post
from microblog.commands.lines import plain
from microblog.commands.texts import say
from microblog.model.access import audiences_allowed
from microblog.model.entry import Entry
from microblog.model.errors import ResourceConstraint
from microblog.model.query import Query
from microblog.store.database import READERS, Database, Transaction
from microblog.usecases import searching
from microblog.usecases.settling import SETTINGS
from microblog.wire import atom

_GROUP: Final = "realtime"
_LIMIT: Final = "limit"
# A page that found nothing yet goes on by itself so often.
_PAGES_MAX: Final = 5
TOGETHER_MAX: Final = READERS // 2


class SearchWords:
    """The command."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = DeferredSemaphore(TOGETHER_MAX)
        self._looking: set[int] = set()

    def commands(self) -> Iterable[Command]:
        """It."""
        yield Command(
            name="search",
            group=_GROUP,
            function=self.search,
            parameters=(Parameter(name="words", kinds=(Kind.TEXT,)),),
        )

    async def search(self, call: Call) -> Answer:
        """``search WORDS``: what there is, the newest at the bottom."""
        person = call.person
        query, most = await self._database.read(_asked, person, call.arguments["words"])
        return await self._page(query, most, "", call)

    async def _page(self, query: Query, most: int, before: str, call: Call) -> Answer:
        person = call.person
        wanted = searching.Search(
            actor=person.jid,
            query=query,
            most=most,
            before=before,
            audiences=audiences_allowed(person.address.domainpart, local_domain=self._database.domain),
        )
        account = person.account.key
        if account in self._looking:
            raise ResourceConstraint(_text(person, "busy"))
        self._looking.add(account)
        try:
            found = await self._find(wanted)
        finally:
            self._looking.discard(account)
        more: Callable[[Call], Awaitable[Answer]] | None = None
        said = []
        if found.before:
            more = partial(self._page, query, most, found.before)
            if found.upto is None or found.posts:
                said.append(say(person.language, "reading.older"))
            else:
                said.append(_text(person, "so_far", upto=f"{found.upto:%Y-%m-%d %H:%M}"))
        elif not found.posts:
            said.append(
                say(person.language, "reading.empty") if before else _text(person, "nothing", query=_written(query))
            )
        if not found.complete:
            said.append(_text(person, "incomplete"))
        return Answer(text=" ".join(said), posts=tuple(reversed(tuple(_posts(found)))), more=more)

    async def _find(self, wanted: searching.Search) -> searching.Found:
        await self._turn.acquire()
        try:
            found = await self._database.read(searching.search, wanted)
            for _ in range(_PAGES_MAX):
                if found.posts or not found.before:
                    break
                found = await self._database.read(searching.search, replace(wanted, before=found.before))
        finally:
            self._turn.release()
        return found


def _asked(tx: Transaction, person: Person, words: str) -> tuple[Query, int]:
    limit = SETTINGS[_LIMIT]
    most = int(tx.preferences.get(person.account.key, _LIMIT) or limit.default)
    return searching.query(tx, person.account, words), max(1, min(most, limit.most))


def _written(query: Query) -> str:
    return " ".join(plain(str(query)).split())


def _posts(found: searching.Found) -> Iterable[Post]:
    for one in found.posts:
        yield Post(node=one.node, item=one.item, entry=atom.read_text(one.item.payload) or Entry())


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{_GROUP}.search.{text}", **values)
