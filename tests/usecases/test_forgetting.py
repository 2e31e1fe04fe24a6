"""What is old goes; what somebody still waits for stays."""

from collections.abc import Iterator
from typing import Any

import pytest

from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import delivering, forgetting, reading, subscribing
from microblog.usecases.forgetting import DAYS, Forgotten, forget
from tests.conftest import Time
from tests.usecases.pubsub import JULIET, ROMEO, an_account, ids, post, retract, retrieve, subscribe

DAY = 86_400


@pytest.fixture
def verona(database: Database, time: Time) -> Iterator[Database]:
    """Juliet follows Romeo, whose first post was retracted and whose second was not."""

    def write(tx: Transaction) -> None:
        an_account(tx)
        subscribe(tx, JULIET)
        post(tx, "1")
        post(tx, "2")
        retract(tx, "1")

    database.run(write)
    yield database


def owed(tx: Transaction) -> dict[str, int]:
    return delivering.backlog(tx)


def takes_all(tx: Transaction) -> None:
    rows = delivering.next_batch(tx, "capulet.example", True).deliveries
    delivering.done(tx, rows)


def test_nothing_goes_early(verona: Database, time: Time) -> None:
    time.advance((DAYS - 1) * DAY)
    assert verona.run(forget) == Forgotten()
    assert verona.run(owed) == {"capulet.example": 3}


def test_events_that_everybody_has_heard_go_and_items_stay(verona: Database, time: Time) -> None:
    verona.run(takes_all)
    time.advance((DAYS + 1) * DAY)
    assert verona.run(forget) == Forgotten(events=3, tombstones=1)
    assert verona.run(forget) == Forgotten()
    assert ids(verona.run(lambda tx: retrieve(tx, ROMEO))) == ["2"]


def test_sequence_numbers_never_come_again(verona: Database, time: Time) -> None:
    verona.run(takes_all)
    last = verona.run(lambda tx: tx.events.last())
    time.advance((DAYS + 1) * DAY)
    verona.run(forget)
    assert verona.run(lambda tx: post(tx, "3")).position > last


def test_a_domain_that_took_nothing_is_given_up(verona: Database, time: Time) -> None:
    time.advance((DAYS + 1) * DAY)
    verona.run(lambda tx: post(tx, "3"))
    assert verona.run(forget) == Forgotten(events=3, owed=3, tombstones=1)
    assert verona.run(owed) == {"capulet.example": 1}


def test_a_little_at_a_time(verona: Database, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "ROWS_MAX", 2)
    time.advance((DAYS + 1) * DAY)
    found: list[Any] = []
    while not found or found[-1].more:
        found.append(verona.run(forget))
    assert sum(one.owed for one in found) == 3 and sum(one.events for one in found) == 3
    assert all(one.owed <= 2 and one.events <= 2 for one in found)


def test_the_event_of_a_row_that_stays_stays(verona: Database, time: Time) -> None:
    """A clock that was put back makes a row younger than the one before it."""

    def younger(tx: Transaction) -> None:
        tx.connection.exec_driver_sql("UPDATE outbox SET created = created + 8640000000000 * 2")

    verona.run(younger)
    time.advance((DAYS + 1) * DAY)
    assert verona.run(forget) == Forgotten(tombstones=1)
    assert verona.run(owed) == {"capulet.example": 3}


def test_tags_that_nobody_subscribes_to_any_more_go(verona: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else that is the domain's: neither the tags of others nor the local timeline."""
    host = JID("", ROMEO.domainpart)
    names = [reading.tag_node(f"tag{number}") for number in range(4)]

    def subscribed(tx: Transaction) -> None:
        for name in (*names, reading.LOCAL):
            reading.subscribe(tx, subscribing.Subscribe(service=host, node=name, actor=ROMEO, jid=ROMEO))
        for name in (*names[1:], reading.LOCAL):
            subscribing.unsubscribe(tx, subscribing.Unsubscribe(service=host, node=name, actor=ROMEO, jid=ROMEO))

    def left(tx: Transaction) -> list[str]:
        return [node.name for node in tx.nodes.of(host)]

    verona.run(subscribed)
    assert len(verona.run(left)) == 5
    monkeypatch.setattr(forgetting, "ROWS_MAX", 2)
    assert verona.run(forget).more and len(verona.run(left)) == 3
    assert not verona.run(forget).more and verona.run(left) == [reading.LOCAL, names[0]]
    assert verona.run(lambda tx: len(retrieve(tx, ROMEO).page.items)) == 1
