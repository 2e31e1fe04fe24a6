"""How much one person may do in a time: posts, follows and invitations of our accounts, comments of guests.

Counted in memory, per account, in windows that begin with the first of them: a restart forgets, which costs nobody
anything. With ``rates = false`` in the configuration nothing is counted.
"""

from collections import OrderedDict
from typing import Final

from microblog.config import Limits
from microblog.model.errors import ResourceConstraint
from microblog.model.jid import JID
from microblog.runtime import Clock

COUNTED_MAX: Final = 10_000
INVITES_PER_DAY: Final = 20
# Each of them is a message to somebody who may not want it.
LINKS_PER_HOUR: Final = 10
# Comments and attachments of people of one other domain, whatever their names.
GUESTS_PER_HOUR: Final = 3000
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_POSTS_WINDOW: Final = 3 * 3600


class Rate:
    """At most so many of something for each of those who do it, in a window of time; None is no limit."""

    def __init__(self, clock: Clock, most: int | None, window_seconds: float) -> None:
        self._clock = clock
        self._most = most
        self._window_seconds = window_seconds
        # Oldest window first.
        self._counts: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def allow(self, who: object) -> bool:
        """Count one more; False if it is one too many."""
        if self._most is None:
            return True
        now = self._clock.monotonic()
        while self._counts:
            oldest, (began, _) = next(iter(self._counts.items()))
            if now - began < self._window_seconds and len(self._counts) <= COUNTED_MAX:
                break
            del self._counts[oldest]
        began, count = self._counts.get(who, (now, 0))
        self._counts[who] = (began, count + 1)
        return count < self._most


class PersonalRates:
    """What one account may do."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._burst = Rate(clock, limits.rate(limits.posts_burst_per_minute), _MINUTE)
        self._posts = Rate(clock, limits.rate(limits.posts_per_3_hours), _POSTS_WINDOW)
        # Apart from those of our own: names of elsewhere cost nothing, and there may be any number of them.
        self._guests_burst = Rate(clock, limits.rate(limits.posts_burst_per_minute), _MINUTE)
        self._guests_posts = Rate(clock, limits.rate(limits.posts_per_3_hours), _POSTS_WINDOW)
        self._guests = Rate(clock, limits.rate(GUESTS_PER_HOUR), _HOUR)
        self._follows = Rate(clock, limits.rate(limits.follows_per_day), _DAY)
        self._invites = Rate(clock, limits.rate(INVITES_PER_DAY), _DAY)
        self._links = Rate(clock, limits.rate(LINKS_PER_HOUR), _HOUR)
        self._asked = Rate(clock, limits.rate(LINKS_PER_HOUR), _HOUR)

    def post(self, account: JID) -> None:
        """Raises ResourceConstraint."""
        if not self._burst.allow(account) or not self._posts.allow(account):
            raise ResourceConstraint("you post more than this server allows: wait a little")

    def visit(self, guest: JID, *, post: bool = True) -> None:
        """Somebody from elsewhere says something here, a post or less than that. Raises ResourceConstraint."""
        few = self._guests_burst.allow(guest) and (not post or self._guests_posts.allow(guest))
        if not few or not self._guests.allow(guest.domainpart):
            raise ResourceConstraint("you say more here than this server allows: wait a little")

    def follow(self, account: JID) -> None:
        """Raises ResourceConstraint."""
        if not self._follows.allow(account):
            raise ResourceConstraint("you follow more in a day than this server allows: go on tomorrow")

    def invite(self, account: JID) -> None:
        """Raises ResourceConstraint."""
        if not self._invites.allow(account):
            raise ResourceConstraint("you invite more in a day than this server allows: go on tomorrow")

    def link(self, account: JID) -> None:
        """An account names an address elsewhere as its own. Raises ResourceConstraint."""
        if not self._links.allow(account):
            raise ResourceConstraint("you link more addresses in an hour than this server allows: wait a little")

    def asked(self, account: JID) -> bool:
        """Somebody elsewhere, by any name, says to be an account's: is that to be told there?"""
        return self._asked.allow(account)
