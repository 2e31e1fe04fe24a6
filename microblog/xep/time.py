"""XEP-0202: Entity Time. The node lives in UTC."""

from collections.abc import Iterable

from microblog.runtime import Clock
from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, stamp
from microblog.xmpp.dispatch import At, Extension, Route, Spec


class Time(Extension):
    """Tells the time."""

    specs = (Spec(202, "2.0"),)
    features = (ns.TIME,)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def routes(self) -> Iterable[Route]:
        """One request, at the node."""
        yield Route.get(ns.TIME, "time", self.time, at=At.HOST)

    async def time(self, request: Stanza) -> Element:
        """The time to the second and our offset from UTC, which is none (§3)."""
        return Element(
            ns.TIME,
            "time",
            {},
            Element(ns.TIME, "tzo", {}, "+00:00"),
            Element(ns.TIME, "utc", {}, stamp(self._clock.now().replace(microsecond=0))),
        )
