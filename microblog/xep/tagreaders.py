"""Who gets lines of chat of what has the tags that they follow.

Of those who are on line that is in memory with their subscriptions (``readers``); here it is of those who get lines at
an address elsewhere. Whether somebody may read a post is asked where the line is made.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from microblog.model.entry import Entry
from microblog.model.errors import Refusal
from microblog.model.event import ItemPublished
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database, Transaction
from microblog.xep.readers import Readers

LOOK_SECONDS: Final = 300


class TagReaders:
    """``besides`` is for ``ChatLines``."""

    def __init__(self, readers: Readers, database: Database, clock: Clock, tasks: Tasks) -> None:
        self._readers = readers
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._away: Mapping[str, frozenset[JID]] = {}

    def start(self) -> None:
        """Read who follows tags elsewhere, now and from time to time."""
        self.look_again()
        self._look = self._clock.every(LOOK_SECONDS, self.look_again)

    def stop(self) -> None:
        """Read it no more."""
        self._look.stop()

    def look_again(self) -> None:
        """Somebody linked an address, or follows other tags."""
        self._tasks.spawn(self._read(), "tags that are followed elsewhere")

    async def _read(self) -> None:
        try:
            self._away = await self._database.read(_away)
        except Refusal:
            return  # until the next look

    def besides(self, event: ItemPublished, entry: Entry) -> Iterable[JID]:
        """Who follows a tag of a post."""
        here, away = self._readers.tags, self._away
        if event.node.name != MICROBLOG or not entry.tags or not (here or away):
            return ()
        found: set[JID] = set()
        for tag in entry.tags:
            found.update(here.get(tag, ()))
            found.update(away.get(tag, ()))
        return found


def _away(tx: Transaction) -> Mapping[str, frozenset[JID]]:
    found: dict[str, set[JID]] = {}
    for tag, account in tx.followed_tags.of_linked():
        found.setdefault(tag, set()).add(account)
    return {tag: frozenset(accounts) for tag, accounts in found.items()}
