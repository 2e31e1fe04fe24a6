"""What is done on the command line comes true in the running server."""

from collections.abc import Callable, Collection
from typing import Any

import pytest

from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.usecases import registering, subscribing
from microblog.wire import notification
from microblog.xep.outside import LOOK_SECONDS, Outside
from tests.conftest import Time
from tests.im.town import Client
from tests.xep.square import FEED, Square, address, asks, publishes, result, told

ROMEO = "romeo@montague.example"
BENVOLIO = address("benvolio")


class Streams:
    """What is asked of the streams."""

    def __init__(self) -> None:
        self.rechecked: list[Collection[JID]] = []

    def recheck(self, accounts: Collection[JID]) -> None:
        self.rechecked.append(accounts)


class Office:
    """A square, and an administrator who is not of its process."""

    def __init__(self, square: Square, time: Time) -> None:
        self.square = square
        self.time = time
        self.streams = Streams()
        self.outside = Outside(
            square.database,
            self.streams,
            square.sessions,
            square.rosters,
            square.notifications.hear,
            square.outbox.wake,
            square.clock,
            square.tasks,
        )
        self.outside.start()

    def does(self, use_case: Callable[..., object], *arguments: Any) -> None:
        """Another process: nobody here hears of it."""
        listeners, self.square.database.listeners = self.square.database.listeners, []
        self.square.database.run(use_case, *arguments, outside=True)
        self.square.database.listeners = listeners

    def removes_romeo(self) -> None:
        self.does(registering.remove_account, "romeo", notification)

    def looks(self) -> None:
        self.time.advance(LOOK_SECONDS)


@pytest.fixture
def office(square: Square, time: Time) -> Office:
    return Office(square, time)


def feed(square: Square) -> Node:
    node = square.database.run(lambda tx: tx.nodes.find(address("romeo"), FEED))
    assert node is not None
    return node


def follows(client: Client) -> None:
    result(asks(client, "set", f"<subscribe node='{FEED}' jid='{client.session.jid.bare}'/>", to=ROMEO))


def test_streams_are_checked_once_and_only_then(office: Office) -> None:
    office.looks()
    office.does(registering.change_password, "benvolio", "new")
    assert office.streams.rechecked == []
    office.looks()
    office.looks()
    assert office.streams.rechecked == [{BENVOLIO}]
    office.does(registering.disable, "benvolio")
    office.looks()
    assert office.streams.rechecked == [{BENVOLIO}] * 2
    office.outside.stop()
    office.does(registering.disable, "benvolio")
    office.looks()
    assert len(office.streams.rechecked) == 2


def test_contacts_here_see_that_an_account_is_gone(office: Office, square: Square) -> None:
    square.befriend("romeo", "benvolio")
    benvolio = square.online("benvolio", "street")
    office.removes_romeo()
    assert result_of(square, "benvolio") == "both"
    office.looks()
    assert office.streams.rechecked == [{address("romeo")}]
    heard = benvolio.hears()
    assert [element.get("type") for element in heard if element.name == "presence"] == ["unsubscribed", "unsubscribe"]
    pushes = [element.first() for element in heard if element.name == "iq"]
    assert [push.first().get("subscription") for push in pushes] == ["none"] * 2  # type: ignore[union-attr]
    assert result_of(square, "benvolio") == "none"
    (item,) = benvolio.asks_for_roster()
    assert (item.get("jid"), item.get("subscription")) == (ROMEO, "none")


def result_of(square: Square, name: str) -> str:
    """How the server that runs sees the subscription to Romeo."""
    return str(square.contact(name, ROMEO).subscription)


def test_a_later_change_is_not_overtaken(office: Office, square: Square) -> None:
    """Benvolio removes the contact before the server has heard of it."""
    square.befriend("romeo", "benvolio")
    benvolio = square.online("benvolio", "street")
    office.removes_romeo()
    item = f"<item jid='{ROMEO}' subscription='remove'/>"
    benvolio.sends(f"<iq type='set' id='1'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
    benvolio.hears()
    office.looks()
    assert [element for element in benvolio.hears() if element.name == "iq"] == []
    assert square.find_contact("benvolio", ROMEO) is None


def test_readers_here_are_told_that_a_node_is_gone(office: Office, square: Square) -> None:
    benvolio = square.online("benvolio", "street")
    follows(benvolio)
    key = feed(square).key
    assert square.readers.subscribed(key)
    office.removes_romeo()
    benvolio.hears()
    office.looks()
    (message,) = benvolio.hears()
    assert message.get("from") == ROMEO
    (event,) = message.elements()
    (delete,) = event.elements()
    assert (delete.name, delete.get("node")) == ("delete", FEED)
    assert not square.readers.subscribed(key)


def test_other_servers_are_told(office: Office, square: Square) -> None:
    juliet, rosaline = JID.parse("juliet@capulet.example"), JID.parse("rosaline@verona.example")
    square.makes_contact("romeo", str(juliet), "both")
    square.database.run(
        subscribing.subscribe,
        subscribing.Subscribe(service=address("romeo"), node=FEED, actor=rosaline, jid=rosaline),
    )
    square.world.hears("verona.example")
    office.removes_romeo()
    assert square.world.hears() == square.world.hears("verona.example") == []
    office.looks()
    assert [element.get("type") for element in square.world.hears()] == ["unsubscribed", "unsubscribe"]
    (message,) = square.world.hears("verona.example")
    assert message.get("to") == str(rosaline)


def test_others_go_on_as_before(office: Office, square: Square) -> None:
    benvolio, mercutio = square.online("benvolio", "street"), square.online("mercutio", "street")
    result(asks(mercutio, "set", f"<subscribe node='{FEED}' jid='{mercutio.session.jid.bare}'/>", to=str(BENVOLIO)))
    office.removes_romeo()
    office.looks()
    publishes(benvolio, "1")
    assert told(mercutio.hears()) == [(str(BENVOLIO), "mercutio@montague.example", "1")]
