"""XEP-0033: one notification for many readers of a server that takes addresses, where the administrator wants it."""

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.model.errors import RemoteServerTimeout
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.wire import ns, stanza
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.multicast import ITEMS_MAX, LATE_SECONDS, Multicast
from microblog.xep.outbox import Outbox
from tests.conftest import Time
from tests.xep.square import FEED, Square, option, publishes, told
from tests.xep.test_outbox import CAPULET, ROMEO, backlog, followed_by
from tests.xmltext import read

MULTICAST = f"multicast.{CAPULET}"
GUESTS = [f"guest{number}@{CAPULET}" for number in range(5)]


class Service:
    """Capulet says who takes addresses for it, and how many; mute, it says nothing.

    ``items``: what it names as its services; ``at``: the one that takes them.
    """

    def __init__(
        self, limit: int | None = 2, feature: str = ns.ADDRESS, *, at: str = CAPULET, items: Sequence[str] = ()
    ) -> None:
        self.limit, self.feature, self.at, self.items = limit, feature, at, items
        self.mute = False
        self.asked: list[str] = []

    async def request(self, type_: str, from_: JID, to: JID, payload: Element, *, seconds: float) -> Stanza:
        self.asked.append(str(to))
        if self.mute:
            raise RemoteServerTimeout("no answer in time")
        asked = stanza.iq(type_, from_, to, "x", payload)
        if payload.is_(ns.DISCO_ITEMS, "query"):
            items = "".join(f"<item jid='{jid}'/>" for jid in self.items)
            return asked.result(read(f"<query xmlns='{ns.DISCO_ITEMS}'>{items}</query>"))
        if str(to) != self.at:
            return asked.result(read(f"<query xmlns='{ns.DISCO_INFO}'><feature var='{ns.DISCO_INFO}'/></query>"))
        form = ""
        if self.limit is not None:
            form = (
                f"<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>"
                f"<value>{ns.ADDRESS}</value></field><field var='message'><value>{self.limit}</value></field></x>"
            )
        return asked.result(read(f"<query xmlns='{ns.DISCO_INFO}'><feature var='{self.feature}'/>{form}</query>"))


def component(**how: Any) -> Service:
    """As ejabberd has it: a service beside others."""
    return Service(at=MULTICAST, items=[f"conference.{CAPULET}", MULTICAST], **how)


def serves(square: Square, service: Service, *named: str) -> None:
    """An outbox that knows the service; Capulet's guests follow."""
    multicast = Multicast("montague.example", service.request, square.clock, named)
    square.outbox = Outbox(square.database, square.world, square.clock, square.tasks, multicast=multicast)
    square.notifications._wake = square.outbox.wake
    square.messages.error_listeners.append(square.outbox.bounced)
    followed_by(square, *GUESTS)


def comes_back(square: Square, messages: list[Element], by: str) -> None:
    """Each with the author's address, as whoever works off addresses says it (XEP-0033 §6)."""
    for message in messages:
        square.inject(
            f"<message type='error' from='{by}' to='{ROMEO}' id='{message.get('id')}'>"
            f"<error type='cancel'><forbidden xmlns='{ns.STANZAS}'/></error></message>"
        )


def addressed(messages: list[Element]) -> list[tuple[str, list[str]]]:
    """To whom each goes, and whom else it is for."""
    found = []
    for message in messages:
        addresses = message.find(ns.ADDRESS, "addresses")
        named = [] if addresses is None else list(addresses.find_all(ns.ADDRESS, "address"))
        assert all(one.get("type") == "bcc" for one in named)
        found.append((message.attributes["to"], [one.attributes["jid"] for one in named]))
    return found


def test_one_for_as_many_as_the_service_takes(square: Square) -> None:
    serves(square, Service(), CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    messages = square.world.hears()
    assert addressed(messages) == [(CAPULET, GUESTS[:2]), (CAPULET, GUESTS[2:4]), (CAPULET, GUESTS[4:])]
    assert told(messages) == [(ROMEO, CAPULET, "1")] * 3
    assert backlog(square) == {}


def test_a_service_that_states_no_limit(square: Square) -> None:
    serves(square, Service(None), CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    assert addressed(square.world.hears()) == [(CAPULET, GUESTS)]


@pytest.mark.parametrize(
    ("service", "named"),
    [
        (Service(), "verona.example"),
        (Service(feature="urn:other"), CAPULET),
        (Service(0), CAPULET),
        (Service(1), CAPULET),
    ],
)
def test_one_by_one_for_all_others(square: Square, service: Service, named: str) -> None:
    serves(square, service, named)
    publishes(square.online("romeo", "orchard"), "1")
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]


def test_a_mute_server_holds_nothing_up(square: Square, time: Time) -> None:
    service = Service()
    service.mute = True
    serves(square, service, CAPULET)
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    publishes(romeo, "2")
    assert [to for to, _ in addressed(square.world.hears())] == GUESTS * 2
    assert len(service.asked) == 1
    service.mute = False
    time.advance(30_000)
    publishes(romeo, "3")
    assert len(square.world.hears()) == 3


def test_what_is_not_for_everybody_goes_one_by_one(square: Square) -> None:
    serves(square, Service(), CAPULET)
    romeo = square.online("romeo", "orchard")
    few = "<audience xmlns='urn:x-microblog:audience:0'>followers</audience>"
    romeo.sends(
        f"<iq type='set' id='p'><pubsub xmlns='{ns.PUBSUB}'><publish node='{FEED}'><item id='1'>"
        f"<entry xmlns='{ns.ATOM}'><title>few</title>{few}</entry></item></publish></pubsub></iq>"
    )
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]
    publishes(romeo, "2", "a", node="urn:tune", options=option("access_model", "presence"))
    for guest in GUESTS:
        square.makes_contact("romeo", guest, "from")
    followed_by(square, *GUESTS, node="urn:tune")
    publishes(romeo, "3", "b", node="urn:tune")
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]


@pytest.mark.parametrize("service", [Service(), component()], ids=["domain", "component"])
def test_what_comes_back_is_told_one_by_one(square: Square, service: Service) -> None:
    serves(square, service, CAPULET)
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    messages = square.world.hears(service.at)
    assert len(messages) == 3
    comes_back(square, messages, service.at)
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]
    publishes(romeo, "2")
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]
    assert square.world.hears(MULTICAST) == []
    assert backlog(square) == {}


def test_a_service_beside_others_is_found(square: Square) -> None:
    """Asked as XEP-0033 §2.2 says, once; the limit that it states counts."""
    service = component()
    serves(square, service, CAPULET)
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    messages = square.world.hears(MULTICAST)
    assert addressed(messages) == [(MULTICAST, GUESTS[:2]), (MULTICAST, GUESTS[2:4]), (MULTICAST, GUESTS[4:])]
    assert told(messages) == [(ROMEO, MULTICAST, "1")] * 3
    assert service.asked == [CAPULET, CAPULET, f"conference.{CAPULET}", MULTICAST]
    publishes(romeo, "2")
    assert len(square.world.hears(MULTICAST)) == 3
    assert square.world.hears() == []
    assert len(service.asked) == 4
    assert backlog(square) == {}


@pytest.mark.parametrize("stranger", ["multicast.verona.example", "example", "xcapulet.example", f"a@{CAPULET}"])
def test_addresses_go_to_no_other_domain(square: Square, stranger: str) -> None:
    service = Service(at=stranger, items=[stranger])
    serves(square, service, CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]
    assert service.asked == [CAPULET, CAPULET]
    assert square.world.taken == []


@pytest.mark.parametrize("proof", [Proof.DIALBACK, Proof.CERTIFICATE])
def test_a_service_is_to_prove_what_its_domain_has_proved(
    square: Square, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    demanded: dict[str, Proof] = {}
    deliver = square.world.deliver

    async def demanding(domain: str, stanzas: Sequence[bytes], minimum_proof: Proof = Proof.DIALBACK) -> None:
        demanded[domain] = minimum_proof
        await deliver(domain, stanzas, minimum_proof)

    monkeypatch.setattr(square.world, "deliver", demanding)
    square.world.proofs[CAPULET] = proof
    serves(square, component(), CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    assert demanded[MULTICAST] is proof


def test_a_few_services_are_asked_and_no_more(square: Square) -> None:
    service = Service(at=MULTICAST, items=["", *(f"s{number}.{CAPULET}" for number in range(500)), MULTICAST])
    serves(square, service, CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    assert len(service.asked) == 2 + ITEMS_MAX
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]


def test_a_service_that_cannot_be_reached_costs_nobody_a_post(square: Square) -> None:
    serves(square, component(), CAPULET)
    square.world.down.add(MULTICAST)
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]
    publishes(romeo, "2")
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]
    assert square.world.attempts.count(MULTICAST) == 1
    assert backlog(square) == {}


def test_what_comes_back_before_it_was_confirmed(square: Square) -> None:
    """The error comes by a stream of its own: it may be here before the answer that says that all was read."""
    serves(square, component(), CAPULET)
    confirmed = square.world.silent[MULTICAST] = Deferred()
    publishes(square.online("romeo", "orchard"), "1")
    assert square.world.hears() == []
    seq = square.database.run(lambda tx: tx.outbox.owed(CAPULET, frozenset(Audience), limit=1)[0].seq)
    comes_back(square, [Element(ns.CLIENT, "message", {"id": f"event-{seq}"})], MULTICAST)
    assert square.world.hears() == []
    confirmed.callback(None)
    assert len(square.world.hears(MULTICAST)) == 3
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]
    assert backlog(square) == {}


def test_a_part_of_a_long_list_comes_back(square: Square) -> None:
    """The rest of it is owed still: it goes to all from the beginning."""
    serves(square, component(limit=100), CAPULET)
    many = [f"reader{number}@{CAPULET}" for number in range(250)]
    followed_by(square, *many)
    confirmed = square.world.silent[MULTICAST] = Deferred()
    publishes(square.online("romeo", "orchard"), "1")
    seq = square.database.run(lambda tx: tx.outbox.owed(CAPULET, frozenset(Audience), limit=1)[0].seq)
    comes_back(square, [Element(ns.CLIENT, "message", {"id": f"event-{seq}"})], MULTICAST)
    confirmed.callback(None)
    assert len(square.world.hears(MULTICAST)) == 2
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS + many]
    assert backlog(square) == {}


def test_it_comes_back_once(square: Square, time: Time) -> None:
    """Nobody has a post sent again and again by returning it, and it is not entrusted to the service again."""
    serves(square, component(), CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    messages = square.world.hears(MULTICAST)
    comes_back(square, messages, f"conference.{CAPULET}")
    comes_back(square, messages, "verona.example")
    assert square.world.hears() == []
    for _ in range(3):
        comes_back(square, messages, MULTICAST)
    assert len(square.world.hears()) == len(GUESTS)
    time.advance(5000)
    comes_back(square, messages, MULTICAST)
    assert square.world.hears() == []


def test_it_does_not_come_back_for_ever(square: Square, time: Time) -> None:
    serves(square, component(), CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    messages = square.world.hears(MULTICAST)
    time.advance(LATE_SECONDS + 1)
    comes_back(square, messages, MULTICAST)
    assert square.world.hears() == []


def test_what_was_sent_before_a_restart_comes_back(square: Square) -> None:
    serves(square, component(), CAPULET)
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    messages = square.world.hears(MULTICAST)
    square.messages.error_listeners.remove(square.outbox.bounced)
    again = Multicast("montague.example", component().request, square.clock, [CAPULET])
    square.outbox = Outbox(square.database, square.world, square.clock, square.tasks, multicast=again)
    square.messages.error_listeners.append(square.outbox.bounced)
    comes_back(square, messages, MULTICAST)
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]
    assert square.world.hears(MULTICAST) == []
