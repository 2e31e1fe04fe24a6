"""XEP-0199: XMPP Ping.

Anyone may ping the node and, as for any stanza to an account that its server answers, an account: whether the account
exists or somebody is on line makes no difference to the answer. Pings that go out are the streams' business.

Servers that do not count stanzas take the answer for the word that what they sent before has been handled, and so it
comes then: ``settled`` returns when that is true of a domain.
"""

from collections.abc import Awaitable, Callable, Iterable

from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.xmpp.dispatch import At, Extension, Route, Spec


class Ping(Extension):
    """Answers pings."""

    specs = (Spec(199, "2.0.1"),)
    features = (ns.PING,)
    account_features = (ns.PING,)

    def __init__(self, settled: Callable[[str], Awaitable[None]]) -> None:
        self._settled = settled

    def routes(self) -> Iterable[Route]:
        """One request, at the node and at accounts."""
        yield Route.get(ns.PING, "ping", self.ping, at=At.HOST | At.ACCOUNT, waits=True)

    async def ping(self, request: Stanza) -> None:
        """Answer with an empty result (§4.2)."""
        await self._settled(request.from_.domainpart)
