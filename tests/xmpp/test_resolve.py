"""RFC 6120 §3.2, XEP-0368, RFC 2782: targets and addresses, from a zone in memory and from a real name server."""

import contextlib
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock as ReactorClock
from twisted.names import authority, client, dns, error, server
from twisted.names.common import ResolverBase
from twisted.names.dns import Record_A, Record_AAAA, Record_CNAME, Record_SRV
from twisted.trial.unittest import TestCase

from microblog.config import Endpoint, Limits
from microblog.runtime import Clock
from microblog.xmpp import names
from microblog.xmpp.names import Remembering
from microblog.xmpp.resolve import TARGETS_MAX, Address, Resolver, Target, Unreachable, is_public

SRV = "_xmpp-server._tcp.capulet.example"
SRVS = "_xmpps-server._tcp.capulet.example"


class Zone:
    """A resolver that knows some names; an exception as a record is that failure."""

    def __init__(self, records: dict[str, list[Any]], silent: bool = False) -> None:
        self.records = records
        self.silent = silent
        self.asked: list[tuple[str, int]] = []

    def _lookup(self, name: bytes, type_: int) -> Deferred[Any]:
        self.asked.append((name.decode(), type_))
        if self.silent:
            return Deferred()
        records = self.records.get(name.decode())
        if records is None:
            return fail(error.DNSNameError(name))
        if records and isinstance(records[0], Exception):
            return fail(records[0])
        found = [one for one in records if type_ == one.TYPE or one.TYPE == dns.CNAME]
        return succeed(([dns.RRHeader(name, one.TYPE, dns.IN, 60, one) for one in found], [], []))

    def lookupService(self, name: bytes, timeout: object) -> Deferred[Any]:
        return self._lookup(name, dns.SRV)

    def lookupAddress(self, name: bytes, timeout: object) -> Deferred[Any]:
        return self._lookup(name, dns.A)

    def lookupIPV6Address(self, name: bytes, timeout: object) -> Deferred[Any]:
        return self._lookup(name, dns.AAAA)


def resolver(records: dict[str, list[Any]], **options: Any) -> Resolver:
    zone = options.pop("zone", None) or Zone(records)
    options = {"routes": {}, "choose": lambda below: below - 1, **options}
    return Resolver(zone, Clock(ReactorClock()), Limits(), **options)


def now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    if hasattr(outcome[0], "raiseException"):
        outcome[0].raiseException()
    return outcome[0]


def answer_of(deferred: Deferred[Any]) -> Any:
    outcome: list[Any] = []
    deferred.addBoth(outcome.append)
    return outcome[0]


def srv(priority: int, weight: int, port: int, target: bytes) -> Record_SRV:
    return Record_SRV(priority, weight, port, target)


def test_a_route_wins_over_dns_and_is_not_filtered() -> None:
    records = {SRV: [srv(0, 0, 5269, b"elsewhere.example")]}
    found = resolver(records, routes={"capulet.example": Endpoint("10.0.0.1", 25)})
    [target] = now(found.targets("capulet.example"))
    assert target == Target("10.0.0.1", 25, routed=True)
    assert now(found.addresses(target)) == [Address("10.0.0.1", 25)]
    found = resolver(records, routes={"capulet.example": Endpoint("10.0.0.1", 5270, direct_tls=True)})
    [target] = now(found.targets("capulet.example"))
    assert now(found.addresses(target)) == [Address("10.0.0.1", 5270, direct_tls=True)]


def test_a_route_to_a_name_is_looked_up_and_not_filtered() -> None:
    found = resolver(
        {"inside.example": [Record_A("10.0.0.1")]}, routes={"capulet.example": Endpoint("inside.example", 5)}
    )
    [target] = now(found.targets("capulet.example"))
    assert now(found.addresses(target)) == [Address("10.0.0.1", 5)]


def test_both_services_are_mixed_by_priority() -> None:
    """XEP-0368 §3"""
    records = {
        SRV: [srv(20, 0, 5269, b"c.example"), srv(5, 0, 5269, b"a.example")],
        SRVS: [srv(10, 0, 5270, b"b.example")],
    }
    assert now(resolver(records).targets("capulet.example")) == [
        Target("a.example", 5269),
        Target("b.example", 5270, direct_tls=True),
        Target("c.example", 5269),
    ]


def test_the_weight_decides_how_often_a_target_comes_first() -> None:
    """RFC 2782"""
    records = {
        SRV: [
            srv(0, 90, 5269, b"often.example"),
            srv(0, 10, 5269, b"seldom.example"),
            srv(0, 0, 5269, b"hardly.example"),
        ]
    }
    first: Counter[str] = Counter()
    for drawn in range(101):
        # The first draw of each ordering is fixed, what follows takes the first that is left.
        numbers = iter((drawn, 0, 0))
        found = resolver(records, choose=lambda below, numbers=numbers: next(numbers))
        order = now(found.targets("capulet.example"))
        assert len(order) == 3
        first[order[0].host] += 1
    assert first == {"often.example": 90, "seldom.example": 10, "hardly.example": 1}


def test_without_srv_the_domain_itself_is_the_target() -> None:
    found = resolver({"capulet.example": [Record_A("198.51.100.1"), Record_AAAA("2001:4860:4860::8888")]})
    [target] = now(found.targets("capulet.example"))
    assert target == Target("capulet.example", 5269)
    # 198.51.100.0/24 is for documentation and not reachable.
    assert now(found.addresses(target)) == [Address("2001:4860:4860::8888", 5269)]


def test_clients_have_services_and_a_port_of_their_own() -> None:
    how: dict[str, Any] = {"services": ("_xmpp-client", "_xmpps-client"), "port": 5222}
    records = {
        "_xmpps-client._tcp.capulet.example": [srv(0, 0, 443, b"chat.capulet.example")],
        SRV: [srv(0, 0, 1, b"x")],
    }
    assert now(resolver(records, **how).targets("capulet.example")) == [Target("chat.capulet.example", 443, True)]
    assert now(resolver({}, **how).targets("capulet.example")) == [Target("capulet.example", 5222)]
    assert now(resolver({}, **how).targets("192.0.2.1")) == [Target("192.0.2.1", 5222)]


def test_all_addresses_of_a_host_whatever_they_are() -> None:
    found = resolver({"host.example": [Record_A("10.0.0.1"), Record_A("8.8.8.8"), Record_AAAA("::1")]})
    addresses = now(found.lookup("host.example"))
    assert [str(one) for one in addresses] == ["10.0.0.1", "8.8.8.8", "::1"]
    assert [is_public(one) for one in addresses] == [False, True, False]
    assert [str(one) for one in now(found.lookup("[::1]"))] == ["::1"]
    with pytest.raises(Unreachable):
        now(found.lookup("nowhere.example"))


def test_a_dot_refuses_the_service() -> None:
    with pytest.raises(Unreachable) as caught:
        now(resolver({SRV: [srv(0, 0, 5269, b"")]}).targets("capulet.example"))
    assert caught.value.permanent


def test_a_dot_for_one_service_leaves_the_other() -> None:
    """XEP-0368 §3"""
    both = {SRV: [srv(0, 0, 5269, b"")], SRVS: [srv(0, 0, 5270, b"a.example")]}
    assert now(resolver(both).targets("capulet.example")) == [Target("a.example", 5270, direct_tls=True)]
    direct_only = {SRVS: [srv(0, 0, 5270, b"")]}
    assert now(resolver(direct_only).targets("capulet.example")) == [Target("capulet.example", 5269)]


@pytest.mark.parametrize(("domain", "host"), [("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1")])
def test_a_literal_address_is_its_own_target(domain: str, host: str) -> None:
    zone = Zone({})
    assert now(resolver({}, zone=zone).targets(domain)) == [Target(host, 5269)]
    assert zone.asked == []


@pytest.mark.parametrize(
    "target", [b"a\0b.example", b"a b.example", b"\xff.example", b"-a.example", b"127.0.0.1", b"x" * 64 + b".example"]
)
def test_odd_targets_are_refused(target: bytes) -> None:
    record = srv(0, 0, 5269, b"good.example")
    record.target.name = target
    with pytest.raises(Unreachable) as caught:
        now(resolver({SRV: [record]}).targets("capulet.example"))
    assert caught.value.permanent
    assert now(resolver({SRV: [record, srv(1, 0, 5269, b"good.example")]}).targets("capulet.example")) == [
        Target("good.example", 5269)
    ]


@pytest.mark.parametrize("port", [0, 1, 22, 25, 53, 80, 6379, 11211, 27017])
def test_ports_of_other_services_are_refused(port: int) -> None:
    with pytest.raises(Unreachable):
        now(resolver({SRV: [srv(0, 0, port, b"a.example")]}).targets("capulet.example"))


def test_a_thousand_targets_are_sixteen() -> None:
    records = {SRV: [srv(index, 65535, 5269, b"a%d.example" % index) for index in range(1000)]}
    found = now(resolver(records).targets("capulet.example"))
    assert [target.host for target in found] == [f"a{index}.example" for index in range(TARGETS_MAX)]


# addresses

PUBLIC = ("1.1.1.1", "2606:4700:4700::1111")
PRIVATE = (
    "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
    "192.0.2.1", "fe80::1", "fc00::1", "fd12::1", "::", "ff02::1", "2001:db8::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
    "2002:a00:1::", "::ffff:127.0.0.1",
)  # fmt: skip
LOOPBACK = ("127.0.0.1", "127.8.9.10", "::1")


def record(address: str) -> Record_A | Record_AAAA:
    return Record_AAAA(address) if ":" in address else Record_A(address)


def addresses(address: str, **options: Any) -> list[str]:
    found = resolver({"a.example": [record(address)]}, **options)
    try:
        return [one.host for one in now(found.addresses(Target("a.example", 5269)))]
    except Unreachable as unreachable:
        assert unreachable.permanent
        return []


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address: str) -> None:
    assert addresses(address) == [address]


@pytest.mark.parametrize("address", PRIVATE + LOOPBACK)
def test_private_addresses_are_not_taken_from_dns(address: str) -> None:
    assert addresses(address, own=[Endpoint("192.0.2.7", 5269)]) == []


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1", "fd12::1"])
def test_private_addresses_can_be_allowed(address: str) -> None:
    assert addresses(address, private_addresses=True) == [address]


@pytest.mark.parametrize("address", LOOPBACK)
def test_a_node_on_loopback_reaches_loopback_and_nothing_else_that_is_private(address: str) -> None:
    own = [Endpoint("127.0.0.9", 5269)]
    assert addresses(address, own=own) == [address]
    assert addresses("10.1.2.3", own=own) == []


def test_our_own_address_is_refused() -> None:
    assert addresses("1.1.1.1", own=[Endpoint("1.1.1.1", 5269)]) == []
    assert addresses("127.0.0.9", own=[Endpoint("127.0.0.9", 5269)], private_addresses=True) == []


def test_forbidden_addresses_are_left_out_and_the_others_tried() -> None:
    found = resolver({"a.example": [Record_A("10.0.0.1"), Record_A("1.1.1.1")]})
    assert now(found.addresses(Target("a.example", 5270, direct_tls=True))) == [
        Address("1.1.1.1", 5270, direct_tls=True)
    ]


def test_aliases_are_followed_and_loops_end() -> None:
    records: dict[str, list[Any]] = {
        "a.example": [Record_CNAME(b"b.example")],
        "b.example": [Record_A("1.1.1.1")],
        "loop.example": [Record_CNAME(b"pool.example")],
        "pool.example": [Record_CNAME(b"loop.example")],
    }
    zone = Zone(records)
    found = resolver({}, zone=zone)
    assert now(found.addresses(Target("a.example", 5269))) == [Address("1.1.1.1", 5269)]
    with pytest.raises(Unreachable) as caught:
        now(found.addresses(Target("loop.example", 5269)))
    assert caught.value.permanent
    assert len(zone.asked) < 40


# failures


def test_a_name_that_does_not_exist_is_a_permanent_failure() -> None:
    found = resolver({})
    [target] = now(found.targets("capulet.example"))
    with pytest.raises(Unreachable) as caught:
        now(found.addresses(target))
    assert caught.value.permanent


@pytest.mark.parametrize(
    "failure", [error.DNSServerError(), error.DNSQueryTimeoutError(1), error.DNSQueryRefusedError()]
)
def test_a_name_server_that_fails_is_a_passing_failure(failure: Exception) -> None:
    """RFC 6120 §3.2.1: the fallback is tried, and fails the same way."""
    found = resolver({name: [failure] for name in (SRV, SRVS, "capulet.example")})
    [target] = now(found.targets("capulet.example"))
    with pytest.raises(Unreachable) as caught:
        now(found.addresses(target))
    assert not caught.value.permanent


def test_a_name_server_that_says_nothing_is_waited_for_a_bounded_time() -> None:
    reactor_clock = ReactorClock()
    found = Resolver(Zone({}, silent=True), Clock(reactor_clock), Limits(dns_seconds=10), routes={})
    outcome: list[Any] = []
    Deferred.fromCoroutine(found.addresses(Target("a.example", 5269))).addBoth(outcome.append)
    reactor_clock.advance(20)
    assert outcome == []
    reactor_clock.advance(2)
    assert not outcome[0].value.permanent
    assert reactor_clock.getDelayedCalls() == []


class NameServer(ResolverBase):
    """What a name server says, and for what it was asked (for IPv4). An exception is that failure."""

    def __init__(self) -> None:
        super().__init__()
        self.says: dict[bytes, Any] = {}
        self.asked: list[bytes] = []

    def _lookup(self, name: bytes, cls: int, type: int, timeout: object) -> Deferred[Any]:
        said = self.says[name]
        if type == dns.A:
            self.asked.append(name)
        if isinstance(said, Exception):
            return fail(said)
        records = [record for record in said[0] if record.type in (type, dns.CNAME)]
        return succeed((records, *said[1:]))


def rr(name: bytes, record: Any, ttl: int) -> dns.RRHeader:
    return dns.RRHeader(name, record.TYPE, dns.IN, ttl, record)


def soa(ttl: int, minimum: int) -> dns.RRHeader:
    """How long something is not there."""
    zone = dns.Record_SOA(mname=b"ns.example", rname=b"root.example", serial=1, minimum=minimum)
    return rr(b"example", zone, ttl)


def no_such_name(*authority: dns.RRHeader) -> Exception:
    message = dns.Message(rCode=dns.ENAME)
    message.authority = list(authority)
    return error.DNSNameError(message)


class Remembered:
    def __init__(self) -> None:
        self.time = ReactorClock()
        self.server = NameServer()
        self.names = Remembering(self.server, Clock(self.time))
        self.resolver = Resolver(self.names, Clock(self.time), Limits(), routes={})

    def address(self, host: str = "host.example") -> str:
        return now(self.resolver.addresses(Target(host, 5269)))[0].host

    def asks(self) -> int:
        """How often it asks for an address."""
        before = len(self.server.asked)
        with contextlib.suppress(Unreachable):
            self.address()
        return len(self.server.asked) - before


HOST = b"host.example"


def test_answers_are_remembered_as_long_as_they_are_true() -> None:
    it = Remembered()
    it.server.says[HOST] = ([rr(HOST, Record_A("1.1.1.1"), 60), rr(HOST, Record_AAAA("2606:4700::1"), 90)], [], [])
    assert (it.asks(), it.asks()) == (1, 0)
    it.server.says[HOST] = ([rr(HOST, Record_A("9.9.9.9"), 0)], [], [])
    it.time.advance(59.9)
    assert (it.address(), it.address("HOST.example")) == ("1.1.1.1", "1.1.1.1")
    it.time.advance(0.2)
    # What is true for no time at all is asked for each time.
    assert (it.address(), it.asks(), it.asks()) == ("9.9.9.9", 1, 1)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (no_such_name(soa(3600, 60)), 60),
        (no_such_name(soa(30, 3600)), 30),
        (no_such_name(soa(86_400, 86_400)), 300),
        (no_such_name(), 0),
        (error.DNSNameError(), 0),
        (([], [soa(3600, 86_400)], []), 300),
        (([], [], []), 0),
        # An alias of something that has no address.
        (([rr(HOST, Record_CNAME(b"host.example"), 3600)], [soa(3600, 45)], []), 45),
    ],
)
def test_g124_that_nothing_is_there_is_remembered_for_five_minutes_at_most(said: Any, seconds: int) -> None:
    """RFC 2308 §5"""
    it = Remembered()
    it.server.says[HOST] = said
    with pytest.raises(Unreachable) as caught:
        it.address()
    assert caught.value.permanent
    if seconds:
        it.time.advance(seconds - 0.1)
        assert it.asks() == 0
        with pytest.raises(Unreachable) as caught:
            it.address()
        assert caught.value.permanent
        it.time.advance(0.2)
    it.server.says[HOST] = ([rr(HOST, Record_A("1.1.1.1"), 60)], [], [])
    assert it.address() == "1.1.1.1"


@pytest.mark.parametrize(
    "failure",
    [error.DNSServerError(), error.DNSQueryTimeoutError(1), error.DNSQueryRefusedError(), error.DNSFormatError()],
)
def test_g124_a_name_server_that_fails_is_asked_again(failure: Exception) -> None:
    it = Remembered()
    it.server.says[HOST] = failure
    with pytest.raises(Unreachable) as caught:
        it.address()
    assert not caught.value.permanent
    it.server.says[HOST] = ([rr(HOST, Record_A("1.1.1.1"), 60)], [], [])
    assert it.address() == "1.1.1.1"


def test_what_is_remembered_is_bounded() -> None:
    it = Remembered()
    for number in range(names.REMEMBERED_MAX + 100):
        name = f"host-{number}.example"
        it.server.says[name.encode()] = ([rr(name.encode(), Record_A("1.1.1.1"), 3600)], [], [])
        assert answer_of(it.names.lookupAddress(name.encode()))[0]
    assert len(it.names) == names.REMEMBERED_MAX
    it.server.asked.clear()
    for number in (0, 101, names.REMEMBERED_MAX + 99):
        answer_of(it.names.lookupAddress(f"host-{number}.example".encode()))
    assert it.server.asked == [b"host-0.example"]
    # Very many records of one name are answered and not kept.
    it.server.says[HOST] = ([rr(HOST, Record_A(f"1.1.1.{n}"), 60) for n in range(100)], [], [])
    assert (it.asks(), it.asks()) == (1, 1)
    # Nothing is true for longer than a day.
    it.server.says[HOST] = ([rr(HOST, Record_A("1.1.1.1"), 2**31 - 1)], [], [])
    assert (it.asks(), it.asks()) == (1, 0)
    it.time.advance(86_401)
    assert it.asks() == 1


class OverTheWire(TestCase):
    """The same against a name server on loopback."""

    async def test_srv_alias_truncation_and_nxdomain(self) -> None:
        soa = dns.Record_SOA(
            mname=b"ns.example", rname=b"root.example", serial=1, refresh=1, retry=1, expire=1, minimum=1
        )
        many = [srv(index, 0, 5269, b"target-%02d-with-a-long-name.example" % index) for index in range(40)]
        zone = authority.FileAuthority.__new__(authority.FileAuthority)
        authority.common.ResolverBase.__init__(zone)
        zone.soa = (b"example", soa)
        zone.records = {
            b"example": [soa],
            SRV.encode(): [srv(0, 0, 5269, b"alias.example")],
            b"alias.example": [Record_CNAME(b"host.example", ttl=60)],
            b"host.example": [Record_A("127.77.0.1", ttl=60)],
            b"_xmpp-server._tcp.many.example": many,
        }
        factory = server.DNSServerFactory(authorities=[zone])
        protocol = dns.DNSDatagramProtocol(factory)
        udp = reactor.listenUDP(0, protocol, interface="127.77.0.53")
        self.addCleanup(udp.stopListening)
        tcp = reactor.listenTCP(udp.getHost().port, factory, interface="127.77.0.53")
        self.addCleanup(tcp.stopListening)
        stub = client.Resolver(servers=[("127.77.0.53", udp.getHost().port)])
        remembered = Remembering(stub, Clock(reactor))
        found = Resolver(remembered, Clock(reactor), Limits(dns_seconds=2), routes={}, own=[Endpoint("127.77.0.2", 1)])

        [target] = await found.targets("capulet.example")
        assert target == Target("alias.example", 5269)
        assert await found.addresses(target) == [Address("127.77.0.1", 5269)]
        # An answer that does not fit into a datagram is asked for again over TCP.
        assert len(await found.targets("many.example")) == TARGETS_MAX
        [target] = await found.targets("nobody.example")
        with pytest.raises(Unreachable) as caught:
            await found.addresses(target)
        assert caught.value.permanent
        # What was said is remembered when nobody is there to be asked any more.
        udp.stopListening()
        await tcp.stopListening()
        records, _, _ = await remembered.lookupAddress(b"alias.example", (1,))
        assert [record.payload.dottedQuad() for record in records if record.type == dns.A] == ["127.77.0.1"]
