"""XEP-0033: one notification with many addresses, for domains that the administrator named.

It is for what everybody may read, and for servers that are no nodes: they say that they take addresses, and perhaps how
many at once, and give each of their people a copy. Nobody of them sees who else was addressed. Nothing says whether
they did, so it is not done where nobody asked for it.

The service is the domain itself or, as at ejabberd, one of those it names (§2.2, by XEP-0030), if that is below it:
addresses of its people go to no other domain. A service that cannot be reached, and one from which something comes
back, is left alone for hours, and what came back is told one by one.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from microblog.model.access import audience_of
from microblog.model.errors import JIDMalformed, Refusal
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
ITEMS_MAX: Final = 8
ANSWER_SECONDS: Final = 10
ASK_AGAIN_SECONDS: Final = 21_600
LATE_SECONDS: Final = 3600  # for so long something may come back
RETURNED_MAX: Final = 1000
_END: Final = b"</message>"


class Service(NamedTuple):
    """Who takes addresses for a domain, and how many at once."""

    domain: str
    limit: int


class _Known(NamedTuple):
    service: Service  # with the limit 0 its domain is told one by one
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
        # What was sent before the last start can come back as well.
        self._started = clock.monotonic()
        self._sent: dict[str, float] = {}
        self._returned: dict[tuple[str, int], None] = {}

    async def service(self, domain: str) -> Service | None:
        """Who takes addresses for a domain; None: it is told one by one. Who does not answer takes none."""
        if domain not in self._named:
            return None
        known = self._known.get(domain)
        if known is None or self._clock.monotonic() - known.since > ASK_AGAIN_SECONDS:
            known = self._remember(domain, await self._find(domain))
        return known.service if known.service.limit > 1 else None

    def may_tell(self, domain: str, event: NodeEvent | None) -> bool:
        """May a service be given an event? Not what is for some only, and nothing a second time that came back."""
        return event is not None and is_for_all(event) and (domain, event.seq) not in self._returned

    def sent(self, domain: str) -> None:
        """The service of a domain is given something now."""
        self._sent[domain] = self._clock.monotonic()

    def failed(self, domain: str) -> None:
        """The service of a domain is of no use for now."""
        known = self._known.get(domain)
        if known is not None and known.service.limit:
            self._log.warn("{domain} is told one by one: its service failed", domain=domain)
            self._remember(domain, Service(known.service.domain, 0))

    def returned(self, by: str, seq: int) -> str | None:
        """An event came back from a domain: whose people are to be told of it one by one.

        None if nothing of the kind was sent there, or if they have been told: an event comes back once.
        """
        domain = next((named for named in self._named if _serves(by, named) and self._may_be_from(by, named)), None)
        if domain is None or (domain, seq) in self._returned:
            return None
        if len(self._returned) >= RETURNED_MAX:
            del self._returned[next(iter(self._returned))]
        self._returned[domain, seq] = None
        self.failed(domain)
        return domain

    def _may_be_from(self, by: str, domain: str) -> bool:
        known = self._known.get(domain)
        late = self._clock.monotonic() - self._sent.get(domain, self._started) > LATE_SECONDS
        return not late and (known is None or known.service.domain == by)

    def _remember(self, domain: str, service: Service) -> _Known:
        known = self._known[domain] = _Known(service, self._clock.monotonic())
        return known

    async def _find(self, domain: str) -> Service:
        """XEP-0033 §2.2: the domain itself, or else the first of its services that takes addresses."""
        query = await self._query(domain, ns.DISCO_INFO)
        if query is None:
            return Service(domain, 0)
        limit = _limit(query)
        if limit is not None:
            return Service(domain, limit)
        services = await self._services(domain)
        # All at once, as those that say nothing hold up what is for the domain.
        limits = await gatherResults([Deferred.fromCoroutine(self._ask(service)) for service in services])
        found = zip(services, limits, strict=True)
        return next((Service(service, limit) for service, limit in found if limit is not None), Service(domain, 0))

    async def _ask(self, domain: str) -> int | None:
        query = await self._query(domain, ns.DISCO_INFO)
        return None if query is None else _limit(query)

    async def _services(self, domain: str) -> list[str]:
        query = await self._query(domain, ns.DISCO_ITEMS)
        items = () if query is None else query.find_all(ns.DISCO_ITEMS, "item")
        found: dict[str, None] = {}
        for item in items:
            try:
                jid = JID.parse(item.get("jid") or "")
            except JIDMalformed:
                continue
            if jid.is_domain and not item.get("node") and jid.domainpart != domain and _serves(jid.domainpart, domain):
                found[jid.domainpart] = None
                if len(found) >= ITEMS_MAX:
                    break
        return list(found)

    async def _query(self, domain: str, uri: str) -> Element | None:
        try:
            answer = await self._request(
                "get", self._host, JID("", domain), Element(uri, "query"), seconds=ANSWER_SECONDS
            )
        except Refusal as refusal:
            self._log.info("{domain} does not say whether it takes addresses: {why}", domain=domain, why=refusal.text)
            return None
        query = answer.payload
        return None if answer.type == "error" or query is None or not query.is_(uri, "query") else query


def _serves(service: str, domain: str) -> bool:
    return service == domain or service.endswith(f".{domain}")


def _limit(query: Element) -> int | None:
    """How many addresses are taken by who says this; None if none are."""
    info = disco.read_info(query)
    if ns.ADDRESS not in info.features:
        return None
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
    if not isinstance(event, ItemPublished) or event.node.name != MICROBLOG:
        return False
    return audience_of(event.node.config) is Audience.PUBLIC and event.item.audience is Audience.PUBLIC


def write(splice: Splice, service: Service, recipients: Sequence[JID]) -> list[bytes]:
    """A notification for many, so many at once."""
    whole = splice.to(JID("", service.domain)).removesuffix(_END)
    chunks = (recipients[begin : begin + service.limit] for begin in range(0, len(recipients), service.limit))
    return [whole + _addresses(some) + _END for some in chunks]


def _addresses(recipients: Iterable[JID]) -> bytes:
    each = (Element(ns.ADDRESS, "address", {"type": "bcc", "jid": str(jid)}) for jid in recipients)
    return serialize(Element(ns.ADDRESS, "addresses", None, *each), ns.CLIENT).encode()
