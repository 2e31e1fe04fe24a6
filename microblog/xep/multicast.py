"""XEP-0033: one notification with many addresses, for domains that the administrator named.

It is for what everybody may read, and for servers that are no nodes: they say that they take addresses, and perhaps how
many at once, and give each of their people a copy. Nobody of them sees who else was addressed. Nothing says whether
they did, so it is not done where nobody asked for it; where such a notification comes back, its event is told one by
one.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

from twisted.logger import Logger

from microblog.model.access import audience_of
from microblog.model.errors import Refusal
from microblog.model.event import ItemPublished, NodeEvent
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.runtime import Clock
from microblog.wire import disco, ns
from microblog.wire.notification import Splice
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, serialize
from microblog.xmpp.dispatch import Extension, Spec

ADDRESSES: Final = 20  # XEP-0033 §6: what any service takes
ADDRESSES_MAX: Final = 200
ASK_AGAIN_SECONDS: Final = 21_600
ON_ITS_WAY_SECONDS: Final = 60
_END: Final = b"</message>"


class _Known(NamedTuple):
    limit: int
    since: float


class Multicast(Extension):
    """What is known of the domains that were named. ``request``: ``Router.request``."""

    specs = (Spec(33, "1.2.1", "partial"),)
    _log = Logger()

    def __init__(
        self, domain: str, request: Callable[..., Awaitable[Stanza]], clock: Clock, named: Iterable[str] = ()
    ) -> None:
        self._host = JID("", domain)
        self._request = request
        self._clock = clock
        self._named = frozenset(named)
        self._known: dict[str, _Known] = {}

    async def limit(self, domain: str) -> int:
        """How many addresses a domain takes at once; 0: it is told one by one. Who does not answer takes none."""
        if domain not in self._named:
            return 0
        known = self._known.get(domain)
        if known is None or self._clock.monotonic() - known.since > ASK_AGAIN_SECONDS:
            known = self._remember(domain, await self._ask(domain))
        return known.limit

    def failed(self, domain: str) -> bool:
        """Something that many were addressed by came back; False if nothing of the kind was sent."""
        known = self._known.get(domain)
        if known is None:
            return False
        if known.limit:
            self._remember(domain, 0)
            return True
        # What was on its way then.
        return self._clock.monotonic() - known.since < ON_ITS_WAY_SECONDS

    def _remember(self, domain: str, limit: int) -> _Known:
        known = self._known[domain] = _Known(limit, self._clock.monotonic())
        return known

    async def _ask(self, domain: str) -> int:
        try:
            answer = await self._request("get", self._host, JID("", domain), Element(ns.DISCO_INFO, "query"))
        except Refusal as refusal:
            self._log.info("{domain} does not say whether it takes addresses: {why}", domain=domain, why=refusal.text)
            return 0
        query = answer.payload
        if answer.type == "error" or query is None or not query.is_(ns.DISCO_INFO, "query"):
            return 0
        info = disco.read_info(query)
        return _limit(info) if ns.ADDRESS in info.features else 0


def _limit(info: disco.Info) -> int:
    for form in info.forms:
        values = {
            child.get("var"): child.child_text(ns.DATA, "value") or "" for child in form.find_all(ns.DATA, "field")
        }
        text = values.get("message", "")
        if values.get("FORM_TYPE") == ns.ADDRESS and text.isascii() and text.isdigit() and len(text) < 10:
            return min(int(text), ADDRESSES_MAX)
    return ADDRESSES


def is_for_all(event: NodeEvent) -> bool:
    """Is it a post that everybody may read?"""
    node = event.node
    if not isinstance(event, ItemPublished) or node.name != MICROBLOG:
        return False
    return audience_of(node.config) is Audience.PUBLIC and event.item.audience is Audience.PUBLIC


def write(splice: Splice, domain: str, recipients: Sequence[JID], limit: int) -> list[bytes]:
    """A notification for many, so many at once."""
    whole = splice.to(JID("", domain)).removesuffix(_END)
    chunks = (recipients[begin : begin + limit] for begin in range(0, len(recipients), limit))
    return [whole + _addresses(some) + _END for some in chunks]


def _addresses(recipients: Iterable[JID]) -> bytes:
    each = (Element(ns.ADDRESS, "address", {"type": "bcc", "jid": str(jid)}) for jid in recipients)
    return serialize(Element(ns.ADDRESS, "addresses", None, *each), ns.CLIENT).encode()
