"""XEP-0012: Last Activity, of the node only (§5): for how long it has been running.

When a person was last on line is not told: presence is for those who may see it.
"""

from collections.abc import Iterable

from microblog.runtime import Clock
from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.dispatch import At, Extension, Route, Spec


class Last(Extension):
    """Tells the uptime, counted from its making."""

    specs = (Spec(12, "2.0", "partial"),)
    features = (ns.LAST,)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()

    def routes(self) -> Iterable[Route]:
        """One request, at the node."""
        yield Route.get(ns.LAST, "query", self.last, at=At.HOST)

    async def last(self, request: Stanza) -> Element:
        """Whole seconds of uptime (§5)."""
        return Element(ns.LAST, "query", {"seconds": str(int(self._clock.monotonic() - self._started))})
