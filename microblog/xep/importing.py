"""Following whom a list names (XEP-0330, XEP-0465): a few feeds at once, and waited for no longer than people wait."""

from typing import Final

from twisted.internet.defer import Deferred, DeferredSemaphore

from microblog.commands.following import Imported
from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import following
from microblog.xep.follows import Follows

FEEDS_MAX: Final = 300
AT_ONCE: Final = 5
PATIENCE_SECONDS: Final = 20


class _Progress:
    """What has become of each feed so far; ``over`` fires when all are done, or nobody waits any longer."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.followed = 0
        self.pending = 0
        self.failed: list[JID] = []
        self.over: Deferred[None] = Deferred()

    def one_done(self) -> None:
        self.left -= 1
        if not self.left:
            self.stop_waiting()

    def stop_waiting(self) -> None:
        if not self.over.called:
            self.over.callback(None)


class FollowImporter:
    """Follows lists of feeds. What is under way when it answers goes on."""

    def __init__(self, database: Database, follows: Follows, clock: Clock, tasks: Tasks) -> None:
        self._database = database
        self._follows = follows
        self._clock = clock
        self._tasks = tasks

    async def take(self, account: JID, address: JID) -> Imported:
        """Follow the people whom somebody says they follow. Raises the refusals of ``Follows.listed``."""
        listed = await self._follows.listed(account, address)
        known = {one.node.service for one in await self._database.read(following.follows, account)} | {account}
        feeds = [one.service for one in listed if one.node == MICROBLOG]
        new = [service for service in feeds if service not in known][:FEEDS_MAX]
        progress = _Progress(len(new))
        at_once = DeferredSemaphore(AT_ONCE)
        for service in new:
            self._tasks.spawn(self._follow(account, service, at_once, progress), f"import of {account}")
        if progress.left:
            timer = self._clock.later(PATIENCE_SECONDS, progress.stop_waiting)
            try:
                await progress.over
            finally:
                if timer.active():
                    timer.cancel()
        return Imported(
            followed=progress.followed,
            pending=progress.pending,
            known=sum(1 for service in feeds if service in known),
            failed=tuple(progress.failed),
            left=progress.left,
        )

    async def _follow(self, account: JID, service: JID, at_once: DeferredSemaphore, progress: _Progress) -> None:
        await at_once.acquire()
        try:
            followed = await self._follows.follow(account, service)
            if followed.state is SubscriptionState.PENDING:
                progress.pending += 1
            else:
                progress.followed += 1
        except Refusal:
            progress.failed.append(service)
        finally:
            at_once.release()
            progress.one_done()
