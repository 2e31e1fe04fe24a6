"""Which programs to wake when something happens: those for whom there may be something new, and only now and then more.

A program reads what it is told out of the database (``usecases.informing``); that nothing is left out is seen to there.
Here is decided only when it looks. So it may be woken for nothing, and a wake that is missed costs a minute. What
happens is gathered for a moment; an event that no program can be about costs a few looks into dictionaries, and if
there are no programs, nothing.

Whom the owner of a program follows is in memory while the program is there. Whom an item names, and what tags it has,
is looked up for all that has gathered together, if anybody wants to know.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from twisted.internet.interfaces import IDelayedCall

from microblog.model.errors import Refusal
from microblog.model.event import Event, ItemPublished, ItemRetracted, NodePurged, SubscriptionChanged
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.program import Program, Source
from microblog.runtime import Clock, Repetition, Tasks
from microblog.store.database import Database
from microblog.usecases import informing
from microblog.usecases.informing import Concerned

Key = TypeVar("Key", int, str)
TOGETHER_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 60
# So many calls at once are looked at; if there are more, all are woken whom rules may call.
CALLS_MAX: Final = 500
# So many items at once are looked up; if more come in a moment, everybody is woken.
GATHERED_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class _Program:
    account: JID
    sources: frozenset[Source]
    wake: Callable[[], None]


@dataclass(slots=True, eq=False)
class _Owner:
    """Somebody with programs that are there. ``feeds``, ``tags``: what they follow; None until it is known.

    ``asked``: how often that was looked up.
    """

    key: int
    programs: set[int] = field(default_factory=set)
    feeds: frozenset[int] | None = None
    tags: frozenset[str] = frozenset()
    asked: int = 0


class Waking:
    """``hear`` is a database listener; ``reload`` hears that somebody follows others than before."""

    def __init__(self, database: Database, clock: Clock, tasks: Tasks) -> None:
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._programs: dict[int, _Program] = {}
        self._owners: dict[JID, _Owner] = {}
        self._followers: dict[int, set[JID]] = {}
        self._tagged: dict[str, set[JID]] = {}
        self._local: set[int] = set()
        self._naming = 0
        self._calling = 0
        # The last call of which those were woken whom it is for.
        self._called = 0
        self._asking = self._ask_again = False
        self._due: set[int] = set()
        self._items: list[int] = []
        self._call: IDelayedCall | None = None
        self._look: Repetition | None = None

    def start(self) -> None:
        """Wake everybody now and then."""
        self._look = self._clock.every(LOOK_SECONDS, self.wake_all)

    def stop(self) -> None:
        """Wake nobody any more."""
        if self._look is not None:
            self._look.stop()
        if self._call is not None and self._call.active():
            self._call.cancel()

    # programs

    def add(self, program: Program, account: JID, wake: Callable[[], None]) -> None:
        """A program is there, and is to be woken like that; in place of what was said of it before."""
        self.remove(program.key)
        self._programs[program.key] = _Program(account, program.sources, wake)
        if Source.LOCAL in program.sources:
            self._local.add(program.key)
        self._naming += Source.MENTIONS in program.sources
        self._calling += Source.CALLS in program.sources
        owner = self._owners.get(account)
        if owner is None:
            owner = self._owners[account] = _Owner(program.account)
        owner.programs.add(program.key)
        if Source.HOME in program.sources and owner.feeds is None:
            self.reload(account)

    def remove(self, key: int) -> None:
        """It is not there any more."""
        program = self._programs.pop(key, None)
        if program is None:
            return
        self._local.discard(key)
        self._due.discard(key)
        self._naming -= Source.MENTIONS in program.sources
        self._calling -= Source.CALLS in program.sources
        owner = self._owners[program.account]
        owner.programs.discard(key)
        if not owner.programs:
            self._forget(program.account, owner)
            del self._owners[program.account]

    def reload(self, account: JID) -> None:
        """Somebody follows others than before."""
        owner = self._owners.get(account)
        if owner is not None:
            owner.asked += 1
            self._tasks.spawn(self._read(account, owner, owner.asked), f"what {account} follows")

    async def _read(self, account: JID, owner: _Owner, asked: int) -> None:
        try:
            feeds, tags = await self._database.read(informing.followed, owner.key, account)
        except Refusal:
            return  # they are woken every minute
        if self._owners.get(account) is not owner or owner.asked != asked:
            return  # it was looked up again since
        self._forget(account, owner)
        owner.feeds, owner.tags = feeds, tags
        for feed in feeds:
            self._followers.setdefault(feed, set()).add(account)
        for tag in tags:
            self._tagged.setdefault(tag, set()).add(account)

    def _forget(self, account: JID, owner: _Owner) -> None:
        for feed in owner.feeds or ():
            _discard(self._followers, feed, account)
        for tag in owner.tags:
            _discard(self._tagged, tag, account)

    # what happens

    def hear(self, event: Event) -> None:
        """Something happened and was committed."""
        if not self._programs:
            return
        if isinstance(event, SubscriptionChanged):
            self.reload(event.subscriber.bare)
        elif isinstance(event, ItemPublished | ItemRetracted | NodePurged):
            if event.node.name == MICROBLOG:
                self._of_feed(event.node.key, event.node.service)
            if isinstance(event, ItemPublished) and (self._naming or self._tagged):
                self._gather(event.item)

    def _of_feed(self, node_key: int, service: JID) -> None:
        if service in self._owners:
            self._wake_of((service,), Source.OWN)
        if node_key in self._followers:
            self._wake_of(self._followers[node_key], Source.HOME)
        if self._local and service.domainpart == self._database.domain:
            self._later(self._local)

    def _gather(self, item: Item) -> None:
        if len(self._items) < GATHERED_MAX:
            self._items.append(item.key)
            self._later(())
        else:
            self.wake_all()

    def wake(self, account: JID) -> None:
        """Something may be there for the programs of somebody: a match, a call."""
        owner = self._owners.get(account)
        if owner is not None:
            self._later(owner.programs)

    def called(self) -> None:
        """Rules may have called programs, whosever."""
        self._ask_again = True
        if self._calling and not self._asking:
            self._asking = True
            self._tasks.spawn(self._ask_called(), "whom rules called")

    async def _ask_called(self) -> None:
        try:
            while self._ask_again:
                self._ask_again = False
                calls = await self._database.read(informing.calls_behind, self._called, CALLS_MAX)
                if calls:
                    self._called = calls[-1].id
                if len(calls) < CALLS_MAX:
                    self._wake_of({call.account for call in calls}, Source.CALLS)
                else:
                    self._ask_again = True
                    self._later(key for key, program in self._programs.items() if Source.CALLS in program.sources)
        except Refusal:
            return  # they are woken every minute
        finally:
            self._asking = False

    def wake_all(self) -> None:
        """Something may be there for anybody."""
        self._later(self._programs)

    def _wake_of(self, accounts: Iterable[JID], source: Source) -> None:
        self._later(self._listening(accounts, source))

    def _listening(self, accounts: Iterable[JID], source: Source) -> list[int]:
        """The programs of some people that are told of a source."""
        owners = (self._owners[account] for account in accounts if account in self._owners)
        return [key for owner in owners for key in owner.programs if source in self._programs[key].sources]

    def _later(self, keys: Iterable[int]) -> None:
        self._due.update(keys)
        if (self._due or self._items) and self._call is None:
            self._call = self._clock.later(TOGETHER_SECONDS, self._now)

    def _now(self) -> None:
        self._call = None
        due, self._due = self._due, set()
        items, self._items = self._items, []
        self._wake(due)
        if items:
            self._tasks.spawn(self._ask(items), "whom posts name")

    def _wake(self, keys: Iterable[int]) -> None:
        for key in keys:
            program = self._programs.get(key)
            if program is not None:
                program.wake()

    async def _ask(self, items: list[int]) -> None:
        try:
            concerned: Concerned = await self._database.read(informing.concerned, items, bool(self._tagged))
        except Refusal:
            return  # they are woken every minute
        self._wake(self._listening(concerned.named, Source.MENTIONS))
        for tag in concerned.tags:
            self._wake(self._listening(self._tagged.get(tag, ()), Source.HOME))


def _discard(sets: dict[Key, set[JID]], key: Key, account: JID) -> None:
    of_key = sets.get(key)
    if of_key is not None:
        of_key.discard(account)
        if not of_key:
            del sets[key]
