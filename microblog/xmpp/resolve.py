"""RFC 6120 §3.2 and XEP-0368: where the server of a domain is.

A route from the configuration wins over everything. Otherwise the SRV records ``_xmpp-server`` (STARTTLS) and
``_xmpps-server`` (TLS from the first byte) are mixed by priority and weight (RFC 2782); without any, the domain's
own addresses and port 5269 are tried. All questions go to an ``IResolver`` that is handed in.

Whoever controls a domain's DNS decides what we connect to, so an answer is distrusted: targets are limited in
number and form, and neither private addresses, nor our own, nor the ports of other services are taken from it. A
route is the administrator's word and is not filtered.

A name that does not exist is a permanent failure; a name server that does not answer is a passing one.
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Final

from twisted.internet.defer import DeferredList
from twisted.names import dns, error
from twisted.python.failure import Failure

from microblog.config import Endpoint, Limits
from microblog.runtime import Clock

PORT: Final = 5269
SERVICES: Final = ("_xmpp-server", "_xmpps-server")
TARGETS_MAX: Final = 16
ADDRESSES_MAX: Final = 8  # of one target
_ALIASES_MAX: Final = 8
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\Z"
)
# Of the ports below 1024 only that of HTTPS, through which some servers are reached; above, none of a well-known
# service that would take a line of text for a command.
_LOW_PORTS: Final = frozenset((443,))
# fmt: off
_FOREIGN_PORTS: Final = frozenset((
    1433, 1521, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5060, 5061, 5432, 5672, 5900, 5984, 6000,
    6379, 6380, 6443, 6667, 8500, 9042, 9092, 9200, 9300, 10250, 11211, 15672, 27017, 27018,
))
# fmt: on
_NO_SUCH_NAME: Final = (error.DNSNameError, error.AuthoritativeDomainError)

_RANDOM: Final = SystemRandom()

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Unreachable(Exception):
    """A domain's server cannot be had; ``permanent`` if trying again soon is of no use."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Target:
    """A host that serves a domain; ``routed`` by the configuration."""

    host: str
    port: int
    direct_tls: bool = False
    routed: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """What to connect to: an IP address and a port."""

    host: str
    port: int
    direct_tls: bool = False

    def __str__(self) -> str:
        return str(Endpoint(self.host, self.port))


class Resolver:
    """Finds the targets of a domain and their addresses, in the order in which to try them.

    ``own``: where this node itself listens. A node on loopback may reach others on loopback.
    """

    def __init__(
        self,
        dns_resolver: Any,  # IResolver; Twisted's interface is declared for str names, its classes want bytes
        clock: Clock,
        limits: Limits,
        *,
        routes: Mapping[str, Endpoint],
        own: Collection[Endpoint] = (),
        private_addresses: bool = False,
        choose: Callable[[int], int] = _RANDOM.randrange,
        services: tuple[str, str] = SERVICES,
        port: int = PORT,
    ) -> None:
        self._dns = dns_resolver
        self._clock = clock
        self._limits = limits
        self._routes = routes
        self._own = frozenset((endpoint.host, endpoint.port) for endpoint in own)
        self._private = private_addresses
        self._loopback = any(ipaddress.ip_address(endpoint.host).is_loopback for endpoint in own if endpoint.is_address)
        self._choose = choose
        self._names = services
        self._port = port

    async def targets(self, domain: str) -> list[Target]:
        """The hosts that serve a domain (in canonical form), at least one. Raises Unreachable."""
        route = self._routes.get(domain)
        if route is not None:
            return [Target(route.host, route.port, route.direct_tls, routed=True)]
        if _literal(domain) is not None:
            return [Target(domain.strip("[]"), self._port)]
        starttls, direct = await self._services(domain)
        records = [(record, False) for record in starttls] + [(record, True) for record in direct]
        if not records:
            return [Target(domain, self._port)]
        found = [target for target in (_target(*pair) for pair in self._ordered(records)) if target is not None]
        if found:
            return found[:TARGETS_MAX]
        if all(bytes(record.target.name).strip(b".") == b"" for record in starttls):
            if starttls:
                raise Unreachable('the domain offers no XMPP service (SRV target ".")', permanent=True)
            return [Target(domain, self._port)]  # XEP-0368: "." for _xmpps-server says nothing of _xmpp-server
        raise Unreachable("none of the SRV targets may be connected to", permanent=True)

    async def addresses(self, target: Target) -> list[Address]:
        """The addresses of a target, at least one. Raises Unreachable."""
        found = await self.lookup(target.host)
        allowed = [one for one in found if target.routed or self._may_connect(one, target.port)]
        if not allowed:
            raise Unreachable(f"{target.host} has only addresses that this node does not connect to", permanent=True)
        return [Address(str(one), target.port, target.direct_tls) for one in allowed[:ADDRESSES_MAX]]

    async def lookup(self, host: str) -> list[IPAddress]:
        """All addresses of a host, whatever they are (``is_public`` says). Raises Unreachable."""
        literal = _literal(host)
        return [literal] if literal is not None else await self._host(host)

    # the questions

    async def _services(self, domain: str) -> tuple[list[Any], list[Any]]:
        """The records of both services. A failure counts as none: the fallback is then tried (RFC 6120 §3.2.1)."""
        names = [f"{service}._tcp.{domain}".encode() for service in self._names]
        starttls, direct = await self._ask([(name, dns.SRV) for name in names])
        return (
            [] if isinstance(starttls, Unreachable) else starttls,
            [] if isinstance(direct, Unreachable) else direct,
        )

    async def _host(self, host: str) -> list[IPAddress]:
        name = host.encode()
        a, aaaa = await self._ask([(name, dns.A), (name, dns.AAAA)])
        found: list[IPAddress] = []
        if not isinstance(a, Unreachable):
            found += [ipaddress.IPv4Address(record.address) for record in a]
        if not isinstance(aaaa, Unreachable):
            found += [ipaddress.IPv6Address(record.address) for record in aaaa]
        if found:
            return found
        for outcome in (a, aaaa):
            if isinstance(outcome, Unreachable):
                raise outcome
        raise Unreachable(f"{host} does not exist or has no address", permanent=True)

    async def _ask(self, questions: Sequence[tuple[bytes, int]]) -> list[Any]:
        """The payloads for each question, or Unreachable when the name server failed."""
        seconds = self._limits.dns_seconds
        deferreds = [self._query(name, type_) for name, type_ in questions]
        try:
            # The resolver keeps time itself; this is for one that does not.
            outcomes = await self._clock.deadline(DeferredList(deferreds, consumeErrors=True), 2 * seconds + 1)
        except TimeoutError:
            return [Unreachable("the name server did not answer in time")] * len(questions)
        return [
            await self._records(name, type_, result) if good else _failure(result)
            for (name, type_), (good, result) in zip(questions, outcomes, strict=True)
        ]

    def _query(self, name: bytes, type_: int) -> Any:
        lookup = {
            dns.SRV: self._dns.lookupService,
            dns.A: self._dns.lookupAddress,
            dns.AAAA: self._dns.lookupIPV6Address,
        }[type_]
        return lookup(name, timeout=(self._limits.dns_seconds, self._limits.dns_seconds))

    async def _records(self, name: bytes, type_: int, answers: Any) -> list[Any] | Unreachable:
        """Pick the records out of an answer, going along aliases; ask again where the answer ends at one."""
        name = name.lower()
        asked = name
        for _ in range(_ALIASES_MAX):
            aliases: dict[bytes, bytes] = {}
            found = []
            for header in answers[0]:
                if header.type == dns.CNAME:
                    aliases[bytes(header.name.name).lower()] = bytes(header.payload.name.name).lower()
            for _ in range(_ALIASES_MAX):
                found = [
                    header.payload
                    for header in answers[0]
                    if header.type == type_ and bytes(header.name.name).lower() == name
                ]
                if found or name not in aliases:
                    break
                name = aliases[name]
            if found or name == asked:
                return found
            if not _HOST.match(name.decode("ascii", "replace")):
                return []
            asked = name
            [(good, answers)] = await DeferredList([self._query(name, type_)], consumeErrors=True)
            if not good:
                return _failure(answers)
        return Unreachable(f"too many aliases behind {name.decode('ascii', 'replace')}", permanent=True)

    # the answers

    def _ordered(self, records: Sequence[tuple[Any, bool]]) -> list[tuple[Any, bool]]:
        """RFC 2782: by priority, and within it drawn by weight."""
        ordered = []
        by_priority: dict[int, list[tuple[Any, bool]]] = {}
        for pair in records[: 16 * TARGETS_MAX]:
            by_priority.setdefault(pair[0].priority, []).append(pair)
        for _, same in sorted(by_priority.items()):
            # Those of weight 0 stand first, so that they have a very small chance beside the others.
            same.sort(key=lambda pair: pair[0].weight != 0)
            while same:
                drawn = self._choose(sum(pair[0].weight for pair in same) + 1)
                for position, pair in enumerate(same):
                    drawn -= pair[0].weight
                    if drawn <= 0:
                        ordered.append(same.pop(position))
                        break
        return ordered

    def _may_connect(self, address: IPAddress, port: int) -> bool:
        if (str(address), port) in self._own or not may_use(port):
            return False
        if self._private:
            return not address.is_multicast and not address.is_unspecified
        inner = _embedded(address)
        if inner.is_loopback:
            return self._loopback and inner is address
        return is_public(address)


def is_public(address: IPAddress) -> bool:
    """True of what anybody on the Internet could reach; whatever the form in which it is written."""
    inner = _embedded(address)
    return inner.is_global and not inner.is_multicast and address.is_global


def _failure(failure: Failure) -> list[Any] | Unreachable:
    if isinstance(failure.value, _NO_SUCH_NAME):
        return []
    return Unreachable(f"the name server failed ({type(failure.value).__name__})")


def _target(record: Any, direct_tls: bool) -> Target | None:
    try:
        host = bytes(record.target.name).decode("ascii").rstrip(".").lower()
    except UnicodeDecodeError:
        return None
    if not _HOST.match(host) or _literal(host) is not None or not may_use(record.port):
        return None
    return Target(host, record.port, direct_tls)


def may_use(port: int) -> bool:
    """True if nobody but those who serve what we ask for is likely to listen there."""
    return port in _LOW_PORTS if port < 1024 else port not in _FOREIGN_PORTS


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _embedded(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 address stands for, where it is of such a kind."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in ipaddress.IPv6Network("64:ff9b::/96"):
        return ipaddress.IPv4Address(address.packed[12:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address
