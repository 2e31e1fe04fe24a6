"""XEP-0092: Software Version.

Name and version, never the operating system: that is nobody's business (§4).
"""

from collections.abc import Iterable

import microblog
from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.dispatch import At, Extension, Route, Spec


class Version(Extension):
    """Says what this node runs."""

    specs = (Spec(92, "1.1"),)
    features = (ns.VERSION,)

    def routes(self) -> Iterable[Route]:
        """One request, at the node."""
        yield Route.get(ns.VERSION, "query", self.version, at=At.HOST)

    async def version(self, request: Stanza) -> Element:
        """Name and version (§2)."""
        return Element(
            ns.VERSION,
            "query",
            {},
            Element(ns.VERSION, "name", {}, "Microblog"),
            Element(ns.VERSION, "version", {}, microblog.__version__),
        )
