"""Who does not want to hear of what, in memory: looked up for each post that is about to be told, and for each stanza.

Mutes are filed under what they are of, so that a post is looked up by what it has: its people and their domains, its
threads, its tags, its words. What others have muted costs it nothing. Blocks (XEP-0191) are by account, both ways. All
of it is read at the start, and again for whoever changes something.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.model.entry import Entry
from microblog.model.errors import Refusal
from microblog.model.event import ItemPublished
from microblog.model.jid import JID
from microblog.model.quiet import Blocks, Mute, MuteKind, Traits, traits
from microblog.runtime import Clock, Repetition, Tasks
from microblog.store.database import Database
from microblog.usecases import muting
from microblog.wire import atom

SWEEP_SECONDS: Final = 60
RETRY_SECONDS: Final = 5
REMEMBERED: Final = 200
_NOBODY: Final[frozenset[JID]] = frozenset()
_NOTHING: Final = Blocks()


class Quiet:
    """What everybody here does not want to hear of. ``load`` comes first."""

    _log = Logger()

    def __init__(self, database: Database, clock: Clock, tasks: Tasks) -> None:
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._look: Repetition | None = None
        self._mutes: dict[JID, tuple[Mute, ...]] = {}
        # When the first of somebody's mutes is over, of those who have such.
        self._ends: dict[JID, datetime] = {}
        # By what is muted, who mutes it, and until when.
        self._by: dict[tuple[MuteKind, str], dict[JID, datetime | None]] = {}
        # Words in a row, one behind the other; under "" how many mute what ends there.
        self._words: dict[str, Any] = {}
        self._tags = 0
        self._known: OrderedDict[tuple[JID, str, str, JID, str, bool], Traits] = OrderedDict()
        self._blocks: dict[JID, Blocks] = {}
        self._blocked_by: dict[JID, set[JID]] = {}  # by bare JID, or domain
        self._reloading = False
        self._again = False
        self._changes = 0

    def load(self) -> None:
        """Read everything, before anybody is served."""
        self._take(*self._database.run(muting.everything))

    def start(self) -> None:
        """From now on mutes are forgotten when their time is over."""
        self._look = self._clock.every(SWEEP_SECONDS, lambda: self._tasks.spawn(self._sweep(), "mutes that are over"))

    def stop(self) -> None:
        """No more."""
        if self._look is not None:
            self._look.stop()

    # what changes

    def set_mutes(self, account: JID, mutes: Iterable[Mute]) -> None:
        """Somebody mutes this, and nothing else."""
        self._changes += 1
        for mute in self._mutes.pop(account, ()):
            self._unfile(account, mute)
        found = tuple(mutes)
        self._ends.pop(account, None)
        ends = [one.until for one in found if one.until is not None]
        if ends:
            self._ends[account] = min(ends)
        if found:
            self._mutes[account] = found
        for mute in found:
            self._by.setdefault((mute.kind, mute.value), {})[account] = mute.until
            self._tags += mute.kind is MuteKind.TAG
            if mute.kind is MuteKind.WORD:
                rows = self._words
                for word in mute.value.split(" "):
                    rows = rows.setdefault(word, {})
                rows[""] = rows.get("", 0) + 1

    def _unfile(self, account: JID, mute: Mute) -> None:
        key = (mute.kind, mute.value)
        self._by[key].pop(account, None)
        if not self._by[key]:
            del self._by[key]
        self._tags -= mute.kind is MuteKind.TAG
        if mute.kind is MuteKind.WORD:
            rows, way = self._words, []
            for word in mute.value.split(" "):
                way.append((rows, word))
                rows = rows[word]
            rows[""] -= 1
            if not rows[""]:
                del rows[""]
            for rows, word in reversed(way):
                if rows[word]:
                    break
                del rows[word]

    def set_blocks(self, account: JID, found: Blocks) -> None:
        """Somebody blocks these, and nobody else."""
        self._changes += 1
        for key in _keys(self._blocks.pop(account, _NOTHING)):
            self._blocked_by[key].discard(account)
            if not self._blocked_by[key]:
                del self._blocked_by[key]
        if found:
            self._blocks[account] = found
        for key in _keys(found):
            self._blocked_by.setdefault(key, set()).add(account)

    def linked(self) -> None:
        """Somebody has other addresses than before."""
        if self._blocks:
            self.changed()

    def changed(self) -> None:
        """Something changed that is not only one account's: all of it is read again."""
        self._again = True
        if not self._reloading:
            self._reloading = True
            self._tasks.spawn(self._reload(), "mutes and blocks")

    async def _reload(self) -> None:
        try:
            while self._again:
                self._again = False
                before = self._changes
                try:
                    found = await self._database.read(muting.everything)
                except Refusal:
                    self._again = True
                    await self._clock.sleep(RETRY_SECONDS)
                    continue
                if before == self._changes:
                    self._take(*found)
                else:
                    # What was read may be older than what somebody said since.
                    self._again = True
        finally:
            self._reloading = False

    def _take(self, mutes: Iterable[tuple[JID, Mute]], blocks: Iterable[tuple[JID, JID]]) -> None:
        muted: dict[JID, list[Mute]] = {account: [] for account in self._mutes}
        for account, mute in mutes:
            muted.setdefault(account, []).append(mute)
        for account, some in muted.items():
            self.set_mutes(account, some)
        blocked: dict[JID, list[JID]] = {account: [] for account in self._blocks}
        for account, jid in blocks:
            blocked.setdefault(account, []).append(jid)
        for account, jids in blocked.items():
            self.set_blocks(account, Blocks.of(jids))

    async def _sweep(self) -> None:
        now = self._clock.now()
        over = [account for account, first in self._ends.items() if first <= now]
        if not over:
            return
        for account in over:
            self.set_mutes(account, [one for one in self._mutes[account] if one.until is None or one.until > now])
        try:
            await self._database.write(muting.forget)
        except CancelledError:
            raise
        except Refusal:
            self._log.debug("Mutes that are over stay for now: the database is busy")

    # what is asked

    def blocks(self, account: JID, other: JID) -> bool:
        """Has an account here blocked an address?"""
        found = self._blocks.get(account)
        return found is not None and found.match(other)

    def of(self, account: JID) -> Blocks:
        """Whom an account blocked."""
        return self._blocks.get(account, _NOTHING)

    def apart(self, one: JID, other: JID) -> bool:
        """Has one of two (bare) blocked the other?"""
        return self.blocks(one, other) or self.blocks(other, one)

    def hushes_author(self, account: JID, author: JID) -> bool:
        """Does somebody want nothing of somebody?"""
        if self.apart(account, author):
            return True
        for key in ((MuteKind.PERSON, str(author)), (MuteKind.DOMAIN, author.domainpart)):
            muting = self._by.get(key, {})
            if account in muting and self._lasts(muting[account]):
                return True
        return False

    def hushes(self, event: ItemPublished, entry: Entry | None = None) -> frozenset[JID]:
        """Who here does not want to hear of a post. ``entry``: what it says, if that is known already."""
        if not self._by and not self._blocks:
            return _NOBODY
        post = self._traits(event, entry)
        found = set(self._muting(post)) if self._by else set()
        for jid in post.people if self._blocks else ():
            found |= self._avoiding(jid)
        found.discard(post.author)
        return frozenset(found)

    def _traits(self, event: ItemPublished, entry: Entry | None) -> Traits:
        """What a post has. It is told in several ways, and looked at for each."""
        node, item = event.node, event.item
        reads = bool(self._words or self._tags)
        key = (node.service, node.name, item.id, item.publisher, item.payload, reads)
        post = self._known.get(key)
        if post is None:
            if entry is None and reads:
                entry = atom.read_text(item.payload)
            post = self._known[key] = traits(node.service, node.name, item, entry)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return post

    def _muting(self, post: Traits) -> Iterable[JID]:
        keys = [(MuteKind.PERSON, str(jid)) for jid in post.people]
        keys += [(MuteKind.DOMAIN, domain) for domain in post.domains]
        keys += [(MuteKind.THREAD, thread) for thread in post.threads]
        keys += [(MuteKind.TAG, tag) for tag in post.tags]
        keys += [(MuteKind.WORD, row) for row in self._rows(post.words)] if self._words else ()
        for key in keys:
            for account, until in self._by.get(key, {}).items():
                if self._lasts(until):
                    yield account

    def _rows(self, words: Sequence[str]) -> Iterable[str]:
        """The muted words in a row that are among words, however many others are muted."""
        found: dict[int, str] = {}
        for place, word in enumerate(words):
            rows, end = self._words.get(word), place + 1
            while rows is not None:
                if "" in rows and id(rows) not in found:
                    found[id(rows)] = " ".join(words[place:end])
                rows = rows.get(words[end]) if end < len(words) else None
                end += 1
        return found.values()

    def _lasts(self, until: datetime | None) -> bool:
        return until is None or until > self._clock.now()

    def _avoiding(self, jid: JID) -> set[JID]:
        """Who here has blocked somebody, or is blocked by them."""
        found = self._blocked_by.get(jid, set()) | self._blocked_by.get(JID("", jid.domainpart), set())
        return found | {one for one in self.of(jid).people if one.domainpart == self._database.domain}


def _keys(blocks: Blocks) -> Iterable[JID]:
    yield from blocks.people
    for domain in blocks.domains:
        yield JID("", domain)
