"""Requests of other servers, so many in a second: what comes faster waits, and so does all that its stream brings next.

One budget for all streams of a domain, however many people there ask. Nothing is refused and nothing is lost; who asks
too much is read more slowly. What a domain needs to deliver (XEP-0199's ping, the delivery log) is not counted; what it
asks of our logs is.
"""

from collections import OrderedDict
from typing import Final

from microblog.config import Limits
from microblog.runtime import Clock
from microblog.wire import ns
from microblog.wire.xml import Element

DOMAINS_MAX: Final = 10_000
_UNCOUNTED: Final = frozenset(((ns.PING, "ping"), (ns.FANOUT, "deliver")))


class Pacing:
    """A bucket of tokens for each domain; one that is forgotten is full."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._rate = limits.rate(limits.s2s_requests_per_second)
        self._burst = limits.s2s_requests_burst
        # What is left, and since when; the domain that asked longest ago first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds(self, domain: str) -> float:
        """Take one token; how long to wait until it is there."""
        if self._rate is None:
            return 0.0
        now = self._clock.monotonic()
        left, since = self._buckets.pop(domain, (float(self._burst), now))
        left = min(self._burst, left + (now - since) * self._rate) - 1
        self._buckets[domain] = left, now
        if len(self._buckets) > DOMAINS_MAX:
            self._buckets.popitem(last=False)
        return max(0.0, -left / self._rate)

    async def turn(self, domain: str, element: Element) -> None:
        """Return when a stanza of a domain is to be looked at."""
        if element.name != "iq" or element.get("type") not in ("get", "set"):
            return
        payload = element.first()
        if payload is not None and (payload.uri, payload.name) in _UNCOUNTED:
            return
        seconds = self.seconds(domain)
        if seconds > 0:
            await self._clock.sleep(seconds)
