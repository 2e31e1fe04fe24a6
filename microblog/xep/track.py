"""Track: what is looked for is told as it is written (docs/protocol/track.md).

What meets which track is found behind the publishing (``usecases.matching``) and written down; from there it is told
here, and marked as told when it was: after a crash once more, but a line of chat only once. In chat tracks have numbers
(``commands.tracking``), and what meets them comes as lines; for clients they are subscriptions to a node
(``tracknode``), and it comes as notifications. Nodes elsewhere may look as well (``leases``).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.commands.command import Post
from microblog.commands.lines import plain
from microblog.model.entry import Entry
from microblog.model.errors import Forbidden, Refusal
from microblog.model.event import Event
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.track import Index
from microblog.model.uri import ItemAddress
from microblog.runtime import Clock, Repetition, Tasks
from microblog.store.database import Database, Transaction
from microblog.store.tracks import Track
from microblog.usecases import matching, tracking
from microblog.usecases.matching import Matcher
from microblog.usecases.tracking import Begin, Begun, Ended
from microblog.wire import atom, ns
from microblog.wire import track as wire
from microblog.xep.leases import Leases, ending
from microblog.xep.trail import Trail
from microblog.xmpp.router import Router
from microblog.xmpp.sessions import Sessions

SWEEP_SECONDS: Final = 60
FORGET_SECONDS: Final = 600
ROWS_MAX: Final = 500
TOLD_AT_ONCE: Final = 100
RETRY_MAX_SECONDS: Final = 30


class Lines(Protocol):
    """Lines of chat."""

    def show(
        self, post: Post, readers: Mapping[JID, str], *, kind: str, urgent: bool = False, sure: bool = False
    ) -> Awaitable[None]:
        """A post to those, with what stands before it. Raises Refusal if it is to be ``sure`` and cannot be."""


class Tracks:
    """Finds and tells. A database listener (``hear``). ``matched`` hears of whom there is something new for."""

    _log = Logger()

    def __init__(
        self,
        router: Router,
        database: Database,
        sessions: Sessions,
        lines: Lines,
        clock: Clock,
        tasks: Tasks,
        wake: Callable[[str], None],
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._lines = lines
        self._clock = clock
        self._tasks = tasks
        self._wake = wake
        self._domain = JID("", database.domain)
        self.index: Index[int] = Index()
        self.matcher = Matcher(
            self.index,
            atom.read_text,
            partial(wire.notification, self._domain),
            partial(wire.retraction, self._domain),
        )
        self._trail = Trail("track", self.matcher.step, database, clock, tasks)
        self._trail.done = self._stepped
        self.leases = Leases(router, database, self.matcher, clock, tasks, self._tell_soon)
        self.ask = self.leases.ask
        self.matched: Callable[[JID], None] = lambda owner: None
        self._telling = self._again = False
        # Of what is untold: what clients were notified of, whom the database was too busy to tell all.
        self._notified: set[int] = set()
        self._timers: list[Repetition] = []

    def start(self) -> None:
        """Read what is tracked, then look at what was published meanwhile."""
        self._tasks.spawn(self._load(), "tracks")
        self._timers = [
            self._clock.every(SWEEP_SECONDS, self.leases.sweep),
            self._clock.every(FORGET_SECONDS, lambda: self._tasks.spawn(self._forget(), "old tracks")),
        ]

    def stop(self) -> None:
        """Begin nothing any more."""
        for timer in self._timers:
            timer.stop()

    async def _load(self) -> None:
        after: int | None = 0
        seconds = 1
        while after is not None:
            try:
                after = await self._database.read(self.matcher.load, after)
                # Whoever waits for something else goes first.
                await self._clock.sleep(0)
                if after is None:
                    await self._database.write(self.matcher.begin)
            except Refusal:
                after = after or 0
                await self._clock.sleep(seconds)
                seconds = min(2 * seconds, RETRY_MAX_SECONDS)
        self._trail.wake()
        self._tell_soon()
        self.leases.sweep()

    # what happens

    def hear(self, event: Event) -> None:
        """Something happened and was committed."""
        if len(self.index):
            self._trail.hear(event)

    def _stepped(self) -> None:
        done = self.matcher.committed()
        if done is None:
            return
        for domain in done.domains:
            self._wake(domain)
        if done.told:
            self._tell_soon()

    def _tell_soon(self) -> None:
        self._again = True
        if not self._telling:
            self._telling = True
            self._tasks.spawn(self._tell_all(), "what met tracks")

    async def _tell_all(self) -> None:
        seconds = 1
        try:
            while self._again:
                self._again = False
                try:
                    while await self._tell_some():
                        pass
                except Refusal:
                    self._again = True
                    await self._clock.sleep(seconds)
                    seconds = min(2 * seconds, RETRY_MAX_SECONDS)
                except CancelledError:
                    raise
                except Exception:
                    self._log.failure("What met tracks cannot be told")
        finally:
            self._telling = False

    async def _tell_some(self) -> bool:
        """Tell some of what is untold, oldest first; False if that was all."""
        untold = await self._database.read(matching.untold, 0, TOLD_AT_ONCE)
        if not untold:
            return False
        posts: dict[ItemAddress, Post] = {}
        readers: dict[ItemAddress, dict[JID, list[Track]]] = {}
        fresh: dict[ItemAddress, dict[JID, list[Track]]] = {}
        for hit, track, seen in untold:
            if seen is None:
                continue  # it is gone, or not for them any more
            entry = None if hit.address in posts else self._entry(seen[1])
            if entry is not None:
                posts[hit.address] = Post(node=seen[0], item=seen[1], entry=entry)
            if hit.address in posts:
                readers.setdefault(hit.address, {}).setdefault(track.owner, []).append(track)
                if hit.key not in self._notified:
                    fresh.setdefault(hit.address, {}).setdefault(track.owner, []).append(track)
        for address, post in posts.items():
            for owner, tracks in fresh.get(address, {}).items():
                self._notify(owner, tracks, post)
        self._notified = {hit.key for hit, _, _ in untold}
        for address, post in posts.items():
            try:
                await self._show(post, readers[address])
            except (CancelledError, Refusal):
                raise
            except Exception:
                # What cannot be told is not to keep back everything after it.
                self._log.failure("{uri} met tracks and cannot be told", uri=address.uri)
        await self._database.write(matching.told, [hit.key for hit, _, _ in untold])
        self._notified = set()
        for owner in {track.owner for _, track, _ in untold}:
            self.matched(owner)
        return True

    def _entry(self, item: Item) -> Entry | None:
        try:
            return atom.read_text(item.payload)
        except Exception:
            # As below: what met tracks after it is told all the same.
            self._log.failure("{item} met tracks and cannot be read", item=item.id)
            return None

    async def _show(self, post: Post, readers: Mapping[JID, Sequence[Track]]) -> None:
        for urgent in (True, False):
            marks = {
                owner: _mark(tracks)
                for owner, tracks in readers.items()
                if any(track.urgent for track in tracks) is urgent
            }
            if marks:
                await self._lines.show(post, marks, kind="track", urgent=urgent, sure=True)

    def _notify(self, owner: JID, tracks: Sequence[Track], post: Post) -> None:
        """Notifications for the sessions that want them: all, or of what is to be delivered."""
        delivered = [track.subid for track in tracks if track.deliver]
        for session in self._sessions.available(owner):
            subids = [track.subid for track in tracks] if ns.TRACK in session.notify else delivered
            if session.priority >= 0 and subids:
                session.write(wire.notification(self._domain, session.jid, subids, post.node, post.item).encode())

    async def _forget(self) -> None:
        more = True
        while more:
            try:
                ended, more = await self._database.write(tracking.forget, ROWS_MAX, _withdrawal)
            except Refusal:
                return
            self._ended(ended)

    # tracking

    async def begin(self, owner: JID, text: str, *, urgent: bool = False, deliver: bool = False) -> Begun:
        """Somebody tracks what a query looks for; nodes elsewhere are asked next (``ask``).

        Raises NotAcceptable with a sentence, TooManySubscriptions.
        """
        done = await self._database.write(begin_written, owner, text, urgent, deliver)
        self.index_all(done.tracks)
        return done

    def index_all(self, tracks: Iterable[Track]) -> None:
        """From now on look for these."""
        for track in tracks:
            if tracking.is_configured(track):
                self.index.add(track.key, track.query)
        self._trail.wake()

    async def end(self, owner: JID, tracks: Iterable[Track]) -> Ended:
        """Somebody tracks these no more."""
        done = await self._database.write(tracking.end, owner, [track.key for track in tracks], _withdrawal)
        self._ended(done)
        return done

    def _ended(self, done: Ended) -> None:
        for track in done.tracks:
            self.index.remove(track.key)
        for domain in done.domains:
            self._wake(domain)

    def severed(self, domain: str) -> None:
        """A domain is refused now: its people track nothing here any more."""
        self._tasks.spawn(self._sever(domain), f"tracks of {domain}")

    async def _sever(self, domain: str) -> None:
        seconds = 1
        while True:
            try:
                gone = await self._database.write(_remove_of_guests, domain)
                break
            except Refusal:
                await self._clock.sleep(seconds)
                seconds = min(2 * seconds, RETRY_MAX_SECONDS)
        for key in gone:
            self.index.remove(key)


def _mark(tracks: Sequence[Track]) -> str:
    """What stands before a post that met tracks."""
    labels = dict.fromkeys(plain(tracking.label(track)) for track in tracks)
    return f"[{' '.join(f'~{label}' for label in list(labels)[:2])}]"


def _withdrawal(track: Track) -> str:
    return ending(track, track.lease).to_bytes().decode()


def begin_written(
    tx: Transaction, owner: JID, text: str | None, urgent: bool, deliver: bool, until: datetime | None = None
) -> Begun:
    """Track what somebody wrote; None: it is said later. Raises NotAcceptable, TooManySubscriptions."""
    account = tx.accounts.get(owner.localpart) if owner.domainpart == tx.domain else None
    if account is None and owner.domainpart == tx.domain:
        raise Forbidden("there is no such account")
    key = None if account is None else account.key
    query = tracking.NOTHING if text is None else tracking.read_query(tx, key, text)
    wanted = Begin(owner=owner, account=key, query=query, urgent=urgent, deliver=deliver, until=until)
    return tracking.begin(tx, wanted)


def _remove_of_guests(tx: Transaction, domain: str) -> list[int]:
    return tx.tracks.remove_of_guests(domain)
