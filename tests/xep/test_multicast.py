"""XEP-0033: one notification for many readers of a server that takes addresses, where the administrator wants it."""

import pytest

from microblog.model.errors import RemoteServerTimeout
from microblog.model.jid import JID
from microblog.wire import ns, stanza
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.multicast import Multicast
from microblog.xep.outbox import Outbox
from tests.conftest import Time
from tests.xep.square import FEED, Square, option, publishes, told
from tests.xep.test_outbox import CAPULET, ROMEO, backlog, followed_by
from tests.xmltext import read

GUESTS = [f"guest{number}@{CAPULET}" for number in range(5)]


class Service:
    """Capulet says what it takes; mute, it says nothing."""

    def __init__(self, limit: int | None = 2, feature: str = ns.ADDRESS) -> None:
        self.limit, self.feature = limit, feature
        self.mute = False
        self.asked = 0

    async def request(self, type_: str, from_: JID, to: JID, payload: Element) -> Stanza:
        self.asked += 1
        if self.mute:
            raise RemoteServerTimeout("no answer in time")
        form = ""
        if self.limit is not None:
            form = (
                f"<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>"
                f"<value>{ns.ADDRESS}</value></field><field var='message'><value>{self.limit}</value></field></x>"
            )
        info = read(f"<query xmlns='{ns.DISCO_INFO}'><feature var='{self.feature}'/>{form}</query>")
        return stanza.iq(type_, from_, to, "x", payload).result(info)


def serves(square: Square, service: Service, *named: str) -> None:
    """An outbox that knows the service; Capulet's guests follow."""
    multicast = Multicast("montague.example", service.request, square.clock, named)
    square.outbox = Outbox(square.database, square.world, square.clock, square.tasks, multicast=multicast)
    square.notifications._wake = square.outbox.wake
    square.messages.error_listeners.append(square.outbox.bounced)
    followed_by(square, *GUESTS)


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
    assert service.asked == 1
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


def test_what_comes_back_is_told_one_by_one(square: Square) -> None:
    serves(square, Service(), CAPULET)
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    for message in square.world.hears():
        square.inject(
            f"<message type='error' from='{CAPULET}' to='{ROMEO}' id='{message.get('id')}'>"
            f"<error type='cancel'><forbidden xmlns='{ns.STANZAS}'/></error></message>"
        )
    messages = square.world.hears()
    assert {to for to, _ in addressed(messages)} == set(GUESTS)
    publishes(romeo, "2")
    assert addressed(square.world.hears()) == [(guest, []) for guest in GUESTS]
