"""The node of tracks: what a client, and somebody elsewhere, asks and is told."""

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from microblog.model.errors import ResourceConstraint
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import Node, profile
from microblog.model.uri import ItemAddress
from microblog.store.database import Database, Transaction
from microblog.usecases import chatting, leasing, matching, policing, tracking
from microblog.wire import ns
from microblog.wire import track as wire
from microblog.wire.track import Options
from microblog.wire.xml import Element
from microblog.xep.rates import PersonalRates
from microblog.xep.track import Tracks
from microblog.xep.tracknode import TrackNode
from tests.conftest import Time
from tests.im.town import Client, done
from tests.im.town import result as done_with
from tests.xep.parlour import NODE, Parlour
from tests.xep.square import asks, error, result
from tests.xmltext import read_all

BENVOLIO = "benvolio@montague.example"
PARIS = "paris@capulet.example"


class House(Parlour):
    """The parlour, with tracks."""

    def __init__(self, database: Database, time: Time) -> None:
        super().__init__(database, time.clock)
        self.time = time
        rates = PersonalRates(time.clock, database.limits)
        self.tracks = Tracks(self.router, database, self.sessions, self.lines, time.clock, self.tasks, self.outbox.wake)
        node = self.pubsub.tracks = TrackNode(self.tracks, database, rates, time.clock, self.tasks)
        self.following.tracked = self.tracks.leases.event
        database.listeners.append(self.tracks.hear)
        self.disco.extensions = (*self.disco.extensions, node)
        self.tracks.start()
        self.passes()

    def passes(self) -> None:
        for _ in range(5):
            self.time.advance(0.05)

    def posts(self, name: str, text: str, **more: object) -> None:
        self.publishes(name, text, **more)
        self.passes()


@pytest.fixture
def house(database: Database, time: Time) -> House:
    return House(database, time)


def form(**fields: str) -> str:
    lines = "".join(
        f"<field var='{name if name == 'FORM_TYPE' else name.replace('_', '#')}'><value>{value}</value></field>"
        for name, value in {"FORM_TYPE": ns.PUBSUB_SUBSCRIBE_OPTIONS, **fields}.items()
    )
    return f"<x xmlns='{ns.DATA}' type='submit'>{lines}</x>"


def subscribe(jid: str = BENVOLIO, **fields: str) -> str:
    both = f"node='{ns.TRACK}' jid='{jid}'"
    options = f"<options {both}>{form(**fields)}</options>" if fields else ""
    return f"<subscribe {both}/>{options}"


def tracks(client: Client, **fields: str) -> str:
    """Its SubID."""
    answer = result(asks(client, "set", subscribe(str(client.session.jid.bare), **fields), to=NODE))
    assert answer is not None
    subscription = answer.find(ns.PUBSUB, "subscription")
    assert subscription is not None and subscription.get("subscription") == "subscribed"
    return subscription.attributes["subid"]


def notified(heard: list[Element]) -> list[tuple[str, str, str, list[str]]]:
    """From whom, the item and its publisher, and for which subscriptions."""
    found = []
    for message in heard:
        event = message.find(ns.PUBSUB_EVENT, "event")
        headers = message.find(ns.SHIM, "headers")
        if event is None or headers is None:
            continue
        items = event.find(ns.PUBSUB_EVENT, "items")
        assert items is not None and items.get("node") == ns.TRACK and message.get("type") == "headline"
        (item,) = items.elements()
        subids = [header.text for header in headers.elements() if header.get("name") == "SubID"]
        found.append((message.attributes["from"], item.attributes["id"], item.get("publisher") or item.name, subids))
    return found


def abroad(house: House, type_: str, content: str, from_: str = f"{PARIS}/phone") -> Element:
    """Somebody elsewhere asks."""
    house.inject(
        f"<iq type='{type_}' id='ask' from='{from_}' to='{NODE}'><pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub></iq>"
    )
    return next(answer for answer in house.world_hears() if answer.get("id") == "ask")


def told(house: House) -> list[Element]:
    """What capulet.example was sent by the outbox."""
    house.passes()
    return house.world.hears()


def values(form_: Element | None) -> Mapping[str, str]:
    assert form_ is not None
    return {
        field.attributes["var"]: field.child_text(ns.DATA, "value") or "" for field in form_.find_all(ns.DATA, "field")
    }


# a client


def test_a_subscription_says_what_is_looked_for(house: House) -> None:
    benvolio = house.online("benvolio", "street")
    lift = tracks(benvolio, microblog_query="lift")
    back = tracks(benvolio, microblog_query='"is back" from romeo')
    assert tracks(benvolio, microblog_query="Lift") == lift
    house.posts("romeo", "The lift is back", item_id="p1")
    assert notified(benvolio.hears()) == [(NODE, "p1", "romeo@montague.example", [lift, back])]
    house.posts("mercutio", "The lift is back", item_id="m1")
    assert notified(benvolio.hears()) == [(NODE, "m1", "mercutio@montague.example", [lift])]
    house.posts("romeo", "The stairs are gone", item_id="p2")
    house.posts("benvolio", "My lift", item_id="b1")
    assert notified(benvolio.hears()) == []


def test_all_sessions_are_told_and_those_who_come_later_read_it(house: House) -> None:
    street, home = house.online("benvolio", "street"), house.online("benvolio", "home")
    lift = tracks(street, microblog_query="lift")
    house.posts("romeo", "lift", item_id="p1")
    assert notified(home.hears()) == notified(street.hears()) == [(NODE, "p1", "romeo@montague.example", [lift])]
    home.leaves()
    street.leaves()
    house.posts("romeo", "lift again", item_id="p2")
    later = house.online("benvolio", "later")
    assert notified(later.hears()) == []
    items = result(asks(later, "get", f"<items node='{ns.TRACK}'/>", to=NODE))
    assert items is not None and [item.get("id") for item in next(items.elements()).elements()] == ["p2", "p1"]


def test_what_was_found_is_read_in_pages(house: House) -> None:
    benvolio, mercutio = house.online("benvolio", "street"), house.online("mercutio", "street")
    lift, stairs = tracks(benvolio, microblog_query="lift"), tracks(benvolio, microblog_query="stairs")
    for number in range(3):
        house.posts("romeo", "lift", item_id=f"p{number}")
    house.posts("romeo", "lift and stairs", item_id="both")

    def read(client: Client, rsm: str = "", attributes: str = "") -> tuple[list[str], str]:
        page = f"<set xmlns='{ns.RSM}'>{rsm}</set>" if rsm else ""
        answer = result(asks(client, "get", f"<items node='{ns.TRACK}' {attributes}/>{page}", to=NODE))
        assert answer is not None
        items = answer.find(ns.PUBSUB, "items")
        said = answer.find(ns.RSM, "set")
        assert items is not None
        return [item.attributes["id"] for item in items.elements()], (
            said.child_text(ns.RSM, "last") if said else ""
        ) or ""

    ids, last = read(benvolio, "<max>2</max>")
    assert ids == ["both", "p2"]
    assert read(benvolio, f"<max>2</max><after>{last}</after>")[0] == ["p1", "p0"]
    assert read(benvolio, "", f"subid='{stairs}'")[0] == ["both"]
    assert read(benvolio, "", f"subid='{lift}' max_items='1'")[0] == ["both"]
    assert read(mercutio)[0] == []
    for rsm in ("<max>2</max><after>nonsense</after>", "<max>2</max><after>1.1.1</after>"):
        asked = f"<items node='{ns.TRACK}'/><set xmlns='{ns.RSM}'>{rsm}</set>"
        assert error(asks(benvolio, "get", asked, to=NODE))[0] == "item-not-found"
    asked = f"<items node='{ns.TRACK}'/><set xmlns='{ns.RSM}'><index>3</index></set>"
    assert error(asks(benvolio, "get", asked, to=NODE))[0] == "feature-not-implemented"
    assert error(asks(benvolio, "get", f"<items node='{ns.TRACK}' subid='no'/>", to=NODE)) == (
        "not-acceptable",
        "invalid-subid",
    )


def test_options_are_read_and_changed(house: House) -> None:
    benvolio = house.online("benvolio", "street")
    subid = tracks(benvolio, microblog_query="lift", microblog_language="de", microblog_urgent="1")
    both = f"node='{ns.TRACK}' jid='{BENVOLIO}'"

    def options() -> Mapping[str, str]:
        answer = result(asks(benvolio, "get", f"<options {both}/>", to=NODE))
        assert answer is not None
        said = answer.find(ns.PUBSUB, "options")
        assert said is not None and said.get("subid") == subid
        return values(said.find(ns.DATA, "x"))

    assert options()["microblog#query"] == "lift lang:de" and options()["microblog#urgent"] in ("1", "true")
    assert options()["pubsub#deliver"] in ("1", "true")
    result(asks(benvolio, "set", f"<options {both}>{form(pubsub_deliver='0')}</options>", to=NODE))
    assert options()["microblog#query"] == "lift lang:de" and options()["pubsub#deliver"] in ("0", "false")
    result(asks(benvolio, "set", f"<options {both}>{form(microblog_query='stairs')}</options>", to=NODE))
    house.posts("romeo", "stairs", item_id="p1")
    assert notified(benvolio.hears()) == []
    result(asks(benvolio, "set", f"<options {both}>{form(pubsub_deliver='1')}</options>", to=NODE))
    house.posts("romeo", "stairs, again", item_id="p2")
    assert [item for _, item, _, _ in notified(benvolio.hears())] == ["p2"]
    default = result(asks(benvolio, "get", f"<default node='{ns.TRACK}'/>", to=NODE))
    assert default is not None
    shown = next(default.elements()).find(ns.DATA, "x")
    assert set(values(shown)) == {
        "FORM_TYPE",
        "microblog#query",
        "microblog#language",
        "microblog#near",
        "microblog#urgent",
        "pubsub#deliver",
        "pubsub#expire",
    }


def test_what_is_looked_for_can_be_said_later(house: House) -> None:
    """XEP-0060 §12.19 subscribes first and configures then."""
    benvolio = house.online("benvolio", "street")
    answer = result(asks(benvolio, "set", subscribe(), to=NODE))
    assert answer is not None
    subscription = next(answer.elements())
    assert subscription.get("subscription") == "unconfigured"
    assert next(subscription.elements()).find(ns.PUBSUB, "required") is not None
    house.posts("romeo", "lift", item_id="p1")
    assert notified(benvolio.hears()) == []
    both = f"node='{ns.TRACK}' jid='{BENVOLIO}' subid='{subscription.attributes['subid']}'"
    assert error(asks(benvolio, "set", f"<options {both}>{form(microblog_query='!')}</options>", to=NODE))[1] == (
        "invalid-options"
    )
    result(asks(benvolio, "set", f"<options {both}>{form(microblog_query='lift')}</options>", to=NODE))
    house.posts("romeo", "lift", item_id="p2")
    assert [item for _, item, _, _ in notified(benvolio.hears())] == ["p2"]
    house.time.advance(2 * 3600)
    house.posts("romeo", "lift", item_id="p3")
    assert [item for _, item, _, _ in notified(benvolio.hears())] == ["p3"]


def test_what_nobody_configures_goes(house: House) -> None:
    result(abroad(house, "set", subscribe(PARIS)))
    for _ in range(8):
        house.time.advance(601)
    assert house.database.run(tracking.tracks_of, JID.parse(PARIS)) == ()


def test_a_lease_is_as_long_as_was_asked_for_and_not_longer(house: House) -> None:
    def until(asked: str) -> str:
        result(abroad(house, "set", subscribe(PARIS, microblog_query="lift", pubsub_expire=asked)))
        answer = result(abroad(house, "get", f"<options node='{ns.TRACK}' jid='{PARIS}'/>"))
        assert answer is not None
        return values(next(answer.elements()).find(ns.DATA, "x"))["pubsub#expire"]

    assert until("2026-01-02T12:00:00Z") == "2026-01-02T12:00:00Z"
    assert until("2036-01-02T12:00:00Z").startswith("2026-01-08T12:00:")


def test_subscriptions_are_listed_and_ended_by_subid(house: House) -> None:
    benvolio = house.online("benvolio", "street")
    lift, stairs = tracks(benvolio, microblog_query="lift"), tracks(benvolio, microblog_query="stairs")

    def listed(content: str) -> list[str | None]:
        answer = result(asks(benvolio, "get", content, to=NODE))
        assert answer is not None
        return [one.get("subid") for one in next(answer.elements()).elements()]

    assert listed(f"<subscriptions node='{ns.TRACK}'/>") == listed("<subscriptions/>") == [lift, stairs]
    both = f"node='{ns.TRACK}' jid='{BENVOLIO}'"
    assert error(asks(benvolio, "set", f"<unsubscribe {both}/>", to=NODE)) == ("bad-request", "subid-required")
    assert error(asks(benvolio, "set", f"<unsubscribe {both} subid='no'/>", to=NODE))[1] == "invalid-subid"
    result(asks(benvolio, "set", f"<unsubscribe {both} subid='{lift}'/>", to=NODE))
    house.posts("romeo", "lift", item_id="p1")
    assert notified(benvolio.hears()) == [] and listed("<subscriptions/>") == [stairs]
    result(asks(benvolio, "set", f"<unsubscribe {both}/>", to=NODE))
    assert error(asks(benvolio, "set", f"<unsubscribe {both}/>", to=NODE)) == ("unexpected-request", "not-subscribed")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (subscribe(microblog_query="x", pubsub_expire="soon"), ("bad-request", "invalid-options")),
        (subscribe(microblog_query=""), ("bad-request", "invalid-options")),
        (subscribe(microblog_query="from nobody"), ("bad-request", "invalid-options")),
        (subscribe(microblog_near="nowhere 5km"), ("bad-request", "invalid-options")),
        (subscribe(microblog_language="!"), ("bad-request", "invalid-options")),
        (subscribe(microblog_query="x" * 501), ("bad-request", "invalid-options")),
        (subscribe(microblog_query="x", microblog_urgent="perhaps"), ("bad-request", "invalid-options")),
        (subscribe(microblog_query="x", microblog_other="1"), ("bad-request", "invalid-options")),
        (subscribe(microblog_query="x", pubsub_other="1"), ("bad-request", "invalid-options")),
        (subscribe(microblog_query="x", other="1"), ("not-acceptable", None)),
        (subscribe("romeo@montague.example", microblog_query="x"), ("bad-request", "invalid-jid")),
        (subscribe(f"{BENVOLIO}/street", microblog_query="x"), ("bad-request", "invalid-jid")),
        (f"<publish node='{ns.TRACK}'><item><x xmlns='x'/></item></publish>", ("forbidden", None)),
        (f"<create node='{ns.TRACK}'/>", ("forbidden", None)),
        (f"<retract node='{ns.TRACK}'><item id='x'/></retract>", ("forbidden", None)),
    ],
)
def test_what_is_refused(house: House, content: str, expected: tuple[str, str | None]) -> None:
    benvolio = house.online("benvolio", "street")
    assert error(asks(benvolio, "set", content, to=NODE)) == expected


def test_what_is_tracked_in_chat_comes_as_lines_and_to_who_asks_for_it(house: House) -> None:
    benvolio = house.online("benvolio", "street")
    benvolio.sends(f"<message type='chat' to='{NODE}'><body>help</body></message>")
    benvolio.hears()
    done(house.tracks.begin(JID.parse(BENVOLIO), "lift"))
    house.posts("romeo", "The lift is back", item_id="p1")
    heard = benvolio.hears()
    assert notified(heard) == []
    (line,) = [one.child_text(ns.CLIENT, "body") for one in heard if one.get("type") == "chat"]
    assert line is not None and line.startswith("[~lift] romeo: The lift is back")
    house.readers.interest(benvolio.session, frozenset({ns.TRACK}))
    benvolio.session.notify = frozenset({ns.TRACK})
    house.posts("romeo", "Another lift", item_id="p2")
    heard = benvolio.hears()
    assert [item for _, item, _, _ in notified(heard)] == ["p2"]


def test_what_was_not_told_before_a_crash_is_told_after_it(house: House, database: Database) -> None:
    benvolio = house.online("benvolio", "street")
    lift = tracks(benvolio, microblog_query="lift")
    house.passes()
    house.tracks.stop()
    database.listeners.remove(house.tracks.hear)
    house.posts("romeo", "lift", item_id="p1")
    assert notified(benvolio.hears()) == []
    again = Tracks(
        house.router,
        database,
        house.sessions,
        house.lines,
        house.clock,
        house.tasks,
        house.outbox.wake,
    )
    again.start()
    house.passes()
    assert notified(benvolio.hears()) == [(NODE, "p1", "romeo@montague.example", [lift])]
    again.start()
    house.passes()
    assert notified(benvolio.hears()) == []


def test_while_the_database_is_busy_nothing_is_lost_nor_told_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    benvolio = house.online("benvolio", "street")
    benvolio.sends(f"<message type='chat' to='{NODE}'><body>help</body></message>")
    benvolio.hears()
    tracks(benvolio, microblog_query="lift")
    write = house.database.write
    refusals = [ResourceConstraint("busy")] * 3

    def busy(fn: Any, *args: Any, **more: Any) -> Deferred[Any]:
        if fn in (chatting.tell, matching.told) and refusals:
            return fail(refusals.pop())
        return write(fn, *args, **more)

    monkeypatch.setattr(house.database, "write", busy)
    house.posts("romeo", "The lift is back", item_id="p1")
    for _ in range(10):
        house.time.advance(1)
    heard = benvolio.hears()
    assert [item for _, item, _, _ in notified(heard)] == ["p1"]
    (line,) = [one.child_text(ns.CLIENT, "body") for one in heard if one.get("type") == "chat"]
    assert line is not None and line.startswith("[~lift] romeo: The lift is back") and not refusals
    house.posts("romeo", "The lift again", item_id="p2")
    assert [item for _, item, _, _ in notified(benvolio.hears())] == ["p2"]


def test_what_cannot_be_read_keeps_nothing_back(house: House) -> None:
    benvolio = house.online("benvolio", "street")
    tracks(benvolio, microblog_query="lift")
    juliet = ItemAddress(JID.parse("juliet@capulet.example"), ns.MICROBLOG, "n1")

    def broken(tx: Transaction) -> None:
        payload = f"<entry xmlns='{ns.ATOM}'><title"
        tx.tracks.hit([track.key for track in tx.tracks.after(0, 9)], juliet, told=False, payload=payload)

    house.database.run(broken)
    house.posts("romeo", "The lift is back", item_id="p1")
    assert [item for _, item, _, _ in notified(benvolio.hears())] == ["p1"]
    assert house.database.run(lambda tx: tx.tracks.untold(0, 9)) == []


def test_clients_are_told_of_what_is_to_be_delivered(house: House) -> None:
    benvolio = house.online("benvolio", "street")
    lift, back = tracks(benvolio, microblog_query="lift"), tracks(benvolio, microblog_query="back", pubsub_deliver="0")
    house.posts("romeo", "The lift is back", item_id="p1")
    house.posts("romeo", "Nobody is back", item_id="p2")
    assert notified(benvolio.hears()) == [(NODE, "p1", "romeo@montague.example", [lift])]
    benvolio.session.notify = frozenset({ns.TRACK})
    house.posts("romeo", "back at the lift", item_id="p3")
    assert [subids for _, _, _, subids in notified(benvolio.hears())] == [[lift, back]]


def test_the_node_is_found(house: House) -> None:
    benvolio = house.online("benvolio", "street")
    benvolio.sends(f"<iq type='get' id='d' to='{NODE}'><query xmlns='{ns.DISCO_ITEMS}'/></iq>")
    (answer,) = benvolio.hears()
    assert ns.TRACK in [item.get("node") for item in next(answer.elements()).elements()]
    benvolio.sends(f"<iq type='get' id='d' to='{NODE}'><query xmlns='{ns.DISCO_INFO}' node='{ns.TRACK}'/></iq>")
    (answer,) = benvolio.hears()
    features = {feature.get("var") for feature in next(answer.elements()).find_all(ns.DISCO_INFO, "feature")}
    assert f"{ns.PUBSUB}#multi-subscribe" in features and f"{ns.PUBSUB}#leased-subscription" in features


# somebody elsewhere


def test_somebody_elsewhere_tracks_what_is_for_all(house: House) -> None:
    answer = result(abroad(house, "set", subscribe(PARIS, microblog_query="lift")))
    assert answer is not None
    subid = next(answer.elements()).attributes["subid"]
    house.posts("romeo", "local lift", item_id="p1", audience=Audience.LOCAL)
    house.posts("romeo", "The lift is back", item_id="p2")
    heard = told(house)
    assert notified(heard) == [(NODE, "p2", "romeo@montague.example", [subid])]
    assert [one.get("to") for one in heard] == [PARIS]
    items = result(abroad(house, "get", f"<items node='{ns.TRACK}'/>"))
    assert items is not None and [item.get("id") for item in next(items.elements()).elements()] == ["p2"]
    shown = result(abroad(house, "get", f"<options node='{ns.TRACK}' jid='{PARIS}'/>"))
    assert shown is not None
    assert values(next(shown.elements()).find(ns.DATA, "x"))["pubsub#expire"].startswith("2026-01-08T")
    result(abroad(house, "set", f"<unsubscribe node='{ns.TRACK}' jid='{PARIS}' subid='{subid}'/>"))
    house.posts("romeo", "lift", item_id="p3")
    assert notified(told(house)) == []


def test_others_subscriptions_are_nobodys_business(house: House) -> None:
    benvolio = house.online("benvolio", "street")
    subid = tracks(benvolio, microblog_query="lift")
    other = f"node='{ns.TRACK}' jid='{BENVOLIO}' subid='{subid}'"
    assert error(abroad(house, "set", f"<unsubscribe {other}/>"))[0] == "forbidden"
    assert error(abroad(house, "get", f"<options {other}/>"))[0] == "forbidden"
    mine = f"node='{ns.TRACK}' jid='{PARIS}' subid='{subid}'"
    assert error(abroad(house, "set", f"<unsubscribe {mine}/>"))[1] == "not-subscribed"
    assert error(abroad(house, "get", f"<items node='{ns.TRACK}' subid='{subid}'/>"))[1] == "not-subscribed"
    assert error(abroad(house, "set", subscribe(microblog_query="x"))) == ("bad-request", "invalid-jid")
    assert error(abroad(house, "set", subscribe("capulet.example", microblog_query="x"), "capulet.example"))[0] == (
        "forbidden"
    )


def test_a_domain_that_asks_without_end_has_to_wait(house: House) -> None:
    for number in range(600):
        who = f"p{number}@capulet.example"
        abroad(house, "get", f"<default node='{ns.TRACK}'/>", f"{who}/phone")
    refused = abroad(house, "set", subscribe(PARIS, microblog_query="lift"))
    assert error(refused)[0] == "resource-constraint"
    count = "count@verona.example"
    result(abroad(house, "set", subscribe(count, microblog_query="lift"), f"{count}/phone"))


def test_a_domain_of_which_only_tracks_are_here_is_among_those_present(house: House) -> None:
    result(abroad(house, "set", subscribe("mab@queens.example", microblog_query="lift"), "mab@queens.example/phone"))
    assert "queens.example" in house.database.run(policing.present)


def test_a_domain_that_is_refused_tracks_nothing(house: House) -> None:
    result(abroad(house, "set", subscribe(PARIS, microblog_query="lift")))
    house.tracks.severed("capulet.example")
    assert len(house.tracks.index) == 0
    house.posts("romeo", "lift", item_id="p1")
    assert told(house) == []


# what is written


def test_a_place_is_one_in_a_form_as_well() -> None:
    assert Options(query="lift", near="52.52,13.40 5km").text == 'lift near "52.52,13.40" 5km'
    assert Options(near="the big tower 200m").text == 'near "the big tower" 200m'
    assert Options(near='the "big" tower').text == 'near "the big tower"'
    assert Options(near="  ").text == ""
    assert Options(query="lift", language="de").text == "lift lang:de"


def test_subids_are_read_as_far_as_there_are_any() -> None:
    (element,) = read_all(
        f"<message><headers xmlns='{ns.SHIM}'><header name='SubID'>one</header><header name='Other'>x</header>"
        f"<header name='SubID'> </header><header name='SubID'>{'y' * 2000}</header></headers></message>"
    )
    assert wire.read_subids(element) == {"one"}
    (element,) = read_all("<message/>")
    assert wire.read_subids(element) == frozenset()


def test_whose_it_was_is_said_of_what_is_gone() -> None:
    juliet = JID.parse("juliet@capulet.example")
    node = Node(key=1, service=juliet, name=ns.MICROBLOG, config=profile(ns.MICROBLOG))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    item = Item(id="n1", publisher=juliet, payload="", published=now, updated=now)
    (gone,) = read_all(wire.retraction(JID("", "capulet.example"), JID.parse(BENVOLIO), ["s1"], node, item))
    assert wire.read_publishers(gone) == {"n1": {juliet}} and wire.read_subids(gone) == {"s1"}
    # Also of what somebody else put into the feed: by that it is addressed.
    other = replace(item, publisher=JID.parse("nurse@capulet.example"), payload=f"<entry xmlns='{ns.ATOM}'/>")
    told_of = wire.notification(JID("", "capulet.example"), JID.parse(BENVOLIO), ["s1"], node, other)
    assert notified(list(read_all(told_of))) == [("capulet.example", "n1", str(juliet), ["s1"])]
    (odd,) = read_all(
        f"<message><event xmlns='{ns.PUBSUB_EVENT}'><items node='{ns.TRACK}'><retract id='a'/>"
        "<retract id='b' publisher='no@@body'/><retract publisher='juliet@capulet.example'/></items></event></message>"
    )
    assert wire.read_publishers(odd) == {"b": frozenset()}
    assert wire.read_publishers(read_all("<message/>")[0]) == {}


def test_names_are_those_of_the_wire() -> None:
    assert tracking.NODE == ns.TRACK


def test_whatever_is_asked_for_is_answered(house: House) -> None:
    """Signs of every kind, at random: a subscription, or a refusal, and posts go on being told."""
    chance = random.Random(7)
    pieces = [
        "lift",
        '"',
        "#",
        "@",
        "from",
        "near",
        "lang:",
        ":",
        "5km",
        "45.4,10.9",
        "-91,0",
        "é",
        "東",
        "\u202e",
        "~1",
    ]
    pieces += [
        "NEAR(",
        "*",
        "OR",
        "%",
        "_",
        "\\",
        "'",
        "a" * 70,
        "\U0001f600",
        "romeo",
        "romeo@",
        "@x",
        "İ",
        "&lt;",
        "\t",
    ]
    benvolio = house.online("benvolio", "street")
    for number in range(120):
        text = " ".join(chance.choice(pieces) for _ in range(chance.randrange(1, 9)))
        fields = {"microblog_query": text.replace("'", "&apos;")}
        if number % 3 == 0:
            fields["microblog_near"] = chance.choice(pieces)
        if number % 5 == 0:
            fields["microblog_language"] = chance.choice(pieces)
        answer = asks(benvolio, "set", subscribe(**fields), to=NODE)
        if answer.get("type") == "error":
            assert error(answer)[0] in ("bad-request", "policy-violation"), text
    tracks(benvolio, microblog_query="lift stairs")
    house.posts("romeo", "lift stairs " + " ".join(pieces), item_id="p1")
    assert notified(benvolio.hears())


@pytest.mark.parametrize(
    "event",
    [
        f"<items node='{ns.TRACK}'/>",
        f"<items node='{ns.TRACK}'><item id='x'/></items>",
        f"<items node='{ns.TRACK}'><item id='x' publisher='no@@body'><entry xmlns='{ns.ATOM}'/></item></items>",
        f"<items node='{ns.TRACK}'><item id='x' publisher='juliet@capulet.example'><x xmlns='urn:x'/></item></items>",
        f"<items node='{ns.TRACK}'><retract id='x'/><retract/></items>",
        f"<purge node='{ns.TRACK}'/>",
        f"<delete node='{ns.TRACK}'/>",
        f"<configuration node='{ns.TRACK}'/>",
        f"<subscription node='{ns.TRACK}' jid='{BENVOLIO}' subscription='none'/>",
    ],
)
def test_whatever_a_node_elsewhere_sends_does_no_harm(house: House, event: str) -> None:
    benvolio = house.online("benvolio", "street")
    jid = JID.parse(BENVOLIO)
    begun = done_with(house.tracks.begin(jid, "night @capulet.example", deliver=True))
    house.database.run(leasing.granted, begun.tracks[0], "lease")
    headers = f"<headers xmlns='{ns.SHIM}'><header name='SubID'>lease</header></headers>"
    house.inject(
        f"<message from='capulet.example' to='{BENVOLIO}' type='headline'>"
        f"<event xmlns='{ns.PUBSUB_EVENT}'>{event}</event>{headers}</message>"
    )
    house.passes()
    assert notified(benvolio.hears()) == [] and not house.world_hears()
    house.inject(
        f"<message from='capulet.example' to='{BENVOLIO}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>"
        f"<items node='{ns.TRACK}'><item id='n1' publisher='juliet@capulet.example'><entry xmlns='{ns.ATOM}'>"
        f"<title>Good night</title></entry></item></items></event>{headers}</message>"
    )
    house.passes()
    assert [(item, by) for _, item, by, _ in notified(benvolio.hears())] == [("n1", "juliet@capulet.example")]


def test_a_node_that_answers_slowly_is_asked_for_the_rest_later(house: House) -> None:
    jid = JID.parse(BENVOLIO)
    for word in ("night", "day", "lark"):
        done(house.tracks.begin(jid, f"{word} @capulet.example"))

    def asked() -> list[str]:
        return [one.attributes["id"] for one in house.world_hears() if one.get("type") == "set"]

    def answers(id_: str, subid: str) -> None:
        house.inject(
            f"<iq type='result' id='{id_}' from='capulet.example' to='{BENVOLIO}'><pubsub xmlns='{ns.PUBSUB}'>"
            f"<subscription node='{ns.TRACK}' jid='{BENVOLIO}' subscription='subscribed' subid='{subid}'/>"
            "</pubsub></iq>"
        )

    house.time.advance(60)
    for subid in ("one", "two"):
        (id_,) = asked()
        house.time.advance(31)
        assert not asked()
        answers(id_, subid)
    leases = [track.lease for track in house.database.run(tracking.tracks_of, jid)]
    assert leases == ["one", "two", ""] and not asked()
    house.time.advance(60)
    (id_,) = asked()
    answers(id_, "three")
    assert [track.lease for track in house.database.run(tracking.tracks_of, jid)] == ["one", "two", "three"]


def test_only_the_domain_itself_tells_of_what_it_found(house: House) -> None:
    benvolio = house.online("benvolio", "street")
    begun = done_with(house.tracks.begin(JID.parse(BENVOLIO), "night @capulet.example", deliver=True))
    house.database.run(leasing.granted, begun.tracks[0], "lease")
    for sender in ("juliet@capulet.example", "verona.example", "x.capulet.example"):
        house.inject(
            f"<message from='{sender}' to='{BENVOLIO}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>"
            f"<items node='{ns.TRACK}'><item id='n1' publisher='juliet@capulet.example'><entry xmlns='{ns.ATOM}'>"
            f"<title>Good night</title></entry></item></items></event>"
            f"<headers xmlns='{ns.SHIM}'><header name='SubID'>lease</header></headers></message>"
        )
    house.passes()
    assert len(house.database.run(lambda tx: tx.tracks.hits(JID.parse(BENVOLIO), limit=9))) == 0
    assert [one for one in notified(benvolio.hears()) if one[0] == NODE] == []


def test_what_one_may_not_see_any_more_the_other_is_told_of(house: House) -> None:
    benvolio, mercutio = house.online("benvolio", "street"), house.online("mercutio", "street")
    for client in (benvolio, mercutio):
        tracks(client, microblog_query="lift")
    house.passes()
    post = house.publishes("romeo", "stairs", audience=Audience.DIRECT, readers=(mercutio.session.jid.bare,))
    address = ItemAddress(JID.parse("romeo@montague.example"), ns.MICROBLOG, post.id)

    def met(tx: Transaction) -> None:
        tx.tracks.hit([track.key for track in tx.tracks.after(0, 9)], address, told=False)

    house.database.run(met)
    house.tracks._tell_soon()
    assert notified(benvolio.hears()) == []
    assert [item for _, item, _, _ in notified(mercutio.hears())] == [post.id]
    assert house.database.run(lambda tx: tx.tracks.untold(0, 9)) == []
