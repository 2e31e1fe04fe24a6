"""What waits for other domains: states, attempts now, dropping, and of what administrators are told."""

from datetime import timedelta

import pytest

from microblog.model.errors import ItemNotFound
from microblog.store.transaction import Transaction
from microblog.usecases import delivering, queueing
from microblog.usecases.queueing import Alarms, State
from tests.usecases.pubsub import JULIET, PARIS, an_account, post, subscribe

CAPULET, VERONA = "capulet.example", "verona.example"


def later(tx: Transaction, **time: float) -> None:
    tx.now += timedelta(**time)


def fails(tx: Transaction, domain: str = CAPULET, *, permanent: bool = False) -> float | None:
    """One more attempt fails; how many days until the next."""
    state = delivering.failed(tx, domain, "nobody answers", 0, permanent)
    return None if state.next_attempt is None else (state.next_attempt - tx.now) / timedelta(days=1)


def test_states_one_after_the_other(tx: Transaction) -> None:
    assert queueing.state(tx, CAPULET) is State.UNKNOWN
    delivering.succeeded(tx, CAPULET)
    assert queueing.state(tx, CAPULET) is State.OK
    for days, state in ((0, State.RETRYING), (1, State.BACKLOGGED), (28, State.BACKLOGGED), (1, State.DORMANT)):
        later(tx, days=days)
        fails(tx)
        assert queueing.state(tx, CAPULET) is state
    delivering.succeeded(tx, CAPULET)
    assert queueing.state(tx, CAPULET) is State.OK


def test_a_name_that_does_not_exist_for_three_days_is_looked_at_once_a_week(tx: Transaction) -> None:
    for hours in (0, 30, 41):
        later(tx, hours=hours)
        due = fails(tx, permanent=True)
        assert due is not None and due < 1
        assert queueing.state(tx, CAPULET) is not State.DORMANT
    later(tx, hours=1)
    assert fails(tx, permanent=True) == 7
    assert queueing.state(tx, CAPULET) is State.DORMANT
    for _ in range(3):
        later(tx, days=7)
        assert fails(tx, permanent=True) == 7
    later(tx, days=7)
    assert fails(tx, permanent=True) is None


def test_two_looks_are_not_enough_and_a_passing_failure_begins_anew(tx: Transaction) -> None:
    fails(tx, permanent=True)
    later(tx, days=4)
    assert fails(tx, permanent=True) == 0.25
    fails(tx)
    later(tx, days=1)
    assert fails(tx, permanent=True) == 0.25


@pytest.fixture
def verona(tx: Transaction) -> Transaction:
    """Two domains are owed posts of Romeo's, one of them fails."""
    an_account(tx)
    subscribe(tx, JULIET)
    subscribe(tx, PARIS)
    post(tx, "1")
    post(tx, "2")
    tx.outbox.add_stanza(CAPULET, "<message/>")
    fails(tx)
    return tx


def test_what_waits_is_listed_the_longest_first(verona: Transaction) -> None:
    fails(verona, "mantua.example")
    first, *others = queueing.queues(verona)
    # A subscription that was granted is told, too.
    assert (first.domain, first.state, first.failures) == (CAPULET, State.RETRYING, 1)
    assert first == queueing.queue(verona, CAPULET)
    assert first.rows > others[0].rows > others[1].rows == 0
    assert [one.domain for one in others] == [VERONA, "mantua.example"]
    assert first.since == verona.now and first.last_error == "nobody answers"


def test_an_attempt_now(verona: Transaction) -> None:
    queueing.retry(verona, CAPULET, outside=True)
    assert verona.outside_changes.take(5) == [("retry", {"domain": CAPULET})]
    with pytest.raises(ItemNotFound):
        queueing.retry(verona, "mantua.example")


def test_a_queue_is_dropped_and_others_stay(verona: Transaction) -> None:
    before = verona.outbox.count(VERONA)
    assert not queueing.drop(verona, CAPULET)
    assert verona.outbox.count(CAPULET) == 0
    assert verona.outbox.count(VERONA) == before > 0


def test_numbers_that_were_given_stay_and_have_nothing_behind_them(verona: Transaction) -> None:
    """The other node is told that there is nothing, and its cursor moves on."""
    from sqlalchemy import insert, select

    from microblog.store import tables

    log = tables.delivery_log
    rows = [
        {"domain": CAPULET, "number": number, "node_id": 1, "kind": "published", "item_id": "1", "event_seq": 1}
        for number in (1, 2, 3)
    ]
    common = {"audience": "public", "created": verona.now}
    verona.connection.execute(insert(log), [row | common for row in rows])
    verona.peers.set(CAPULET, fanout=True, number=3, acknowledged=1)
    assert queueing.queue(verona, CAPULET).sent == 2
    queueing.drop(verona, CAPULET)
    found = verona.connection.execute(select(log.c.number, log.c.item_id).order_by(log.c.number))
    assert [tuple(row) for row in found] == [(1, "1"), (2, None), (3, None)]


def test_administrators_hear_of_each_domain_once(tx: Transaction) -> None:
    assert queueing.alarms(tx) == Alarms()
    fails(tx)
    later(tx, hours=3)
    fails(tx, VERONA, permanent=True)
    assert queueing.alarms(tx) == Alarms()
    later(tx, hours=1)
    assert queueing.alarms(tx) == Alarms(failing=(CAPULET,))
    later(tx, hours=3)
    assert queueing.alarms(tx) == Alarms(failing=(VERONA,))
    later(tx, hours=72)
    assert queueing.alarms(tx) == Alarms(dormant=(VERONA,))
    delivering.succeeded(tx, VERONA)
    later(tx, days=30)
    assert queueing.alarms(tx) == Alarms(dormant=(CAPULET,))
    assert queueing.alarms(tx) == Alarms()


def test_who_is_back_is_not_spoken_of(tx: Transaction) -> None:
    queueing.alarms(tx)
    fails(tx)
    later(tx, hours=3)
    delivering.succeeded(tx, CAPULET)
    later(tx, hours=2)
    assert queueing.alarms(tx) == Alarms()
