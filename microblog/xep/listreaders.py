"""Who is told of what the people in their lists write: the lists that are read as things happen, by who is in them.

Only lists are here whose owners are on line and subscribed to their timelines, so that a post costs one look-up however
many lists there are. Who is in them is read before the next post is told.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.store.database import Database, Transaction
from microblog.usecases.reading import list_node, list_of


class _List(NamedTuple):
    owner: JID
    node: str


class ListReaders:
    """Lists by those who are in them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._people: dict[_List, frozenset[JID]] = {}
        self._lists: dict[JID, set[_List]] = {}
        self._unread: set[_List] = set()
        self._reading: set[_List] = set()

    def __bool__(self) -> bool:
        return bool(self._people or self._unread)

    def wanted(self, owner: JID, node: str, is_wanted: bool) -> None:
        """Somebody begins or ends to be told of a timeline; of no other than a list's is anything known here."""
        if list_of(node) is None:
            return
        one = _List(owner, node)
        if is_wanted:
            self._unread.add(one)
        else:
            self._unread.discard(one)
            self._reading.discard(one)
            self._forget(one)

    def changed(self, owner: JID, name: str) -> None:
        """Others are in a list now."""
        one = _List(owner, list_node(name))
        if one in self._people or one in self._reading:
            self._unread.add(one)

    async def having(self, jid: JID) -> Mapping[str, frozenset[JID]]:
        """The lists that somebody is in: the names of their timelines, with their owners. Raises ResourceConstraint."""
        if self._unread:
            await self._read()
        found: dict[str, set[JID]] = {}
        for one in self._lists.get(jid, ()):
            found.setdefault(one.node, set()).add(one.owner)
        return {node: frozenset(owners) for node, owners in found.items()}

    async def _read(self) -> None:
        reading = self._reading = self._unread
        self._unread = set()
        try:
            read = await self._database.read(_people, tuple(reading))
        except Refusal:
            self._unread |= reading
            raise
        finally:
            self._reading = set()
        for one, people in read.items():
            if one not in reading:
                continue  # nobody wants it any more
            self._forget(one)
            self._people[one] = people
            for jid in people:
                self._lists.setdefault(jid, set()).add(one)

    def _forget(self, one: _List) -> None:
        for jid in self._people.pop(one, ()):
            lists = self._lists[jid]
            lists.discard(one)
            if not lists:
                del self._lists[jid]


def _people(tx: Transaction, lists: Iterable[_List]) -> dict[_List, frozenset[JID]]:
    return {one: frozenset(tx.people_lists.of(one.owner, list_of(one.node) or "")) for one in lists}
