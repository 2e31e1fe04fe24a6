"""The outbox: what goes to whom, decided when it goes."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.event import ItemPublished, ItemRetracted, NodeConfigured, NodePurged
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import Affiliation
from microblog.store.transaction import Transaction
from microblog.usecases import delivering, owning, subscribing
from microblog.usecases.delivering import Batch, Schedule, next_batch, retry_at
from microblog.usecases.subscribing import Interest, SetOptions
from tests.conftest import Time
from tests.usecases.pubsub import (
    JULIET,
    MOOD,
    NOON,
    NURSE,
    PARIS,
    ROMEO,
    a_contact,
    affiliate,
    an_account,
    configure,
    post,
    put,
    retract,
    subscribe,
)

CAPULET = "capulet.example"
BALCONY = JULIET.with_resource("balcony")


def batch(tx: Transaction, *, trusted: bool = True, domain: str = CAPULET, rows: int = 50, stanzas: int = 200) -> Batch:
    return next_batch(tx, domain, trusted, rows, stanzas)


def told(found: Batch) -> list[tuple[str, tuple[JID, ...]]]:
    """Item ids and whom they go to."""
    return [
        (delivery.event.item.id, delivery.recipients)
        for delivery in found.deliveries
        if isinstance(delivery.event, ItemPublished)
    ]


def done(tx: Transaction, found: Batch) -> None:
    delivering.done(tx, found.deliveries)


def test_a_post_goes_to_all_its_followers_of_a_domain(tx: Transaction) -> None:
    an_account(tx)
    for jid in (JULIET, NURSE, PARIS):
        subscribe(tx, jid)
    post(tx, "1")
    assert told(batch(tx)) == [("1", (JULIET, NURSE))]
    assert told(batch(tx, domain="verona.example")) == [("1", (PARIS,))]
    assert batch(tx, domain="mantua.example") == Batch(deliveries=())


def test_what_was_not_confirmed_goes_again_and_what_was_does_not(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    first = batch(tx)
    assert batch(tx) == first
    done(tx, first)
    assert batch(tx) == Batch(deliveries=())
    assert tx.outbox.domains() == []


def test_posts_go_in_order(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    for n in range(5):
        post(tx, str(n), str(n))
    assert [name for name, _ in told(batch(tx))] == ["0", "1", "2", "3", "4"]
    first = batch(tx, rows=2)
    assert [name for name, _ in told(first)] == ["0", "1"]
    done(tx, first)
    assert [name for name, _ in told(batch(tx, rows=2))] == ["2", "3"]


def people(tx: Transaction, count: int) -> list[JID]:
    found = [JID.parse(f"p{n}@{CAPULET}") for n in range(count)]
    for jid in found:
        subscribe(tx, jid)
    return found


def pages(tx: Transaction, stanzas: int, **more: int) -> list[list[tuple[str, tuple[JID, ...]]]]:
    """What goes in each batch until nothing is owed."""
    found, progress = [], None
    while (page := next_batch(tx, CAPULET, True, 50, stanzas, progress=progress, **more)).deliveries:
        found.append(told(page))
        done(tx, page)
        progress = page.progress
    assert tx.outbox.backlog() == {}
    return found


def test_a_batch_has_so_many_stanzas_or_a_page_more(tx: Transaction) -> None:
    an_account(tx)
    everybody = people(tx, 7)
    for n in range(3):
        post(tx, str(n), str(n))
    first = batch(tx, stanzas=5)
    assert told(first) == [("0", tuple(everybody[:5]))]
    assert [one.ids for one in first.deliveries] == [()]
    assert [name for name, _ in told(batch(tx, stanzas=8))] == ["0", "1"]


@pytest.mark.parametrize("count", [9, 10, 11])
def test_many_followers_are_told_page_by_page_in_order(tx: Transaction, count: int) -> None:
    an_account(tx)
    everybody = people(tx, count)
    for n in range(2):
        post(tx, str(n), str(n))
    assert [pair for page in pages(tx, 5) for pair in page if pair[1]] == [
        (str(n), tuple(everybody[at : at + 5])) for n in range(2) for at in range(0, count, 5)
    ]


def test_a_long_post_goes_to_fewer_at_a_time(tx: Transaction) -> None:
    """More than a stream takes at once would end it, now and at each further attempt."""
    an_account(tx)
    everybody = people(tx, 10)
    post(tx, "1", "x" * 60_000)
    sizes = [len(recipients) for page in pages(tx, 200, limit_bytes=200_000) for _, recipients in page if recipients]
    assert max(sizes) <= 3 and sum(sizes) == len(everybody)


def test_contacts_come_behind_subscribers_on_their_own_pages(tx: Transaction) -> None:
    an_account(tx)
    everybody = people(tx, 3)
    for n in range(5):
        jid = JID.parse(f"p{n}@{CAPULET}")
        a_contact(tx, ROMEO, jid, "from")
        full = jid.with_resource("balcony")
        subscribing.presence_interest(tx, Interest(service=ROMEO, jid=full, nodes=frozenset([MICROBLOG])))
        everybody += [full] if n > 2 else []
    post(tx, "1")
    assert [jid for page in pages(tx, 2) for _, recipients in page for jid in recipients] == everybody


def test_an_edit_between_two_pages(tx: Transaction) -> None:
    """The others need not hear of what was there before."""
    an_account(tx)
    everybody = people(tx, 4)
    post(tx, "1", "one")
    first = batch(tx, stanzas=2)
    done(tx, first)
    post(tx, "1", "one, better", minutes=1)
    second = next_batch(tx, CAPULET, True, progress=first.progress)
    assert told(second) == [("1", tuple(everybody))]
    done(tx, second)
    assert tx.outbox.backlog() == {}


def test_a_contact_that_is_none_any_more_hears_nothing(tx: Transaction) -> None:
    """The roster has changed and the interest has not been taken away yet."""
    an_account(tx)
    a_contact(tx, ROMEO, JULIET, "from")
    subscribing.presence_interest(tx, Interest(service=ROMEO, jid=BALCONY, nodes=frozenset([MICROBLOG])))
    post(tx, "1")
    a_contact(tx, ROMEO, JULIET, "none")
    assert told(batch(tx)) == [("1", ())]


@pytest.mark.parametrize("how", ["unsubscribed", "outcast", "deliver"])
def test_who_is_not_to_be_told_any_more_is_not_told(tx: Transaction, how: str) -> None:
    """Access is looked at when it goes, not only when it was queued."""
    an_account(tx)
    for jid in (JULIET, NURSE):
        subscribe(tx, jid)
    post(tx, "1")
    if how == "unsubscribed":
        request = subscribing.Unsubscribe(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET)
        subscribing.unsubscribe(tx, request)
    elif how == "outcast":
        node = tx.nodes.find(ROMEO, MICROBLOG)
        assert node
        tx.affiliations.set(node, JULIET, Affiliation.OUTCAST)
    else:
        options = {"deliver": ["0"]}
        subscribing.set_options(
            tx, SetOptions(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET, options=options)
        )
    assert told(batch(tx)) == [("1", (NURSE,))]


def test_who_lost_the_presence_is_not_told(tx: Transaction) -> None:
    an_account(tx)
    configure(tx, access_model="presence")
    for jid in (JULIET, NURSE):
        a_contact(tx, ROMEO, jid, "from")
        subscribe(tx, jid)
    post(tx, "1")
    a_contact(tx, ROMEO, JULIET, "none")
    assert told(batch(tx)) == [("1", (NURSE,))]


def test_a_row_without_recipients_is_settled_all_the_same(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    affiliate(tx, JULIET, Affiliation.OUTCAST)
    found = batch(tx)
    assert told(found) == [("1", ())]
    done(tx, found)
    assert tx.outbox.backlog() == {}


def test_a_node_that_was_closed_since_keeps_its_posts_in(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    configure(tx, access_model="whitelist")
    assert told(batch(tx)) == [("1", ())]
    assert batch(tx, trusted=False).deliveries == ()


def test_a_node_that_became_local_settles_its_rows_unsent(tx: Transaction) -> None:
    node = an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    tx.nodes.configure(node, replace(node.config, audience=Audience.LOCAL))
    (delivery,) = batch(tx).deliveries
    assert delivery.event is None and delivery.recipients == () and delivery.stanza is None


def test_an_edited_item_goes_once_and_new(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1", "one")
    post(tx, "2", "two")
    post(tx, "1", "one, better", minutes=1)
    found = batch(tx)
    assert told(found) == [("2", (JULIET,)), ("1", (JULIET,))]
    payloads = [one.event.item.payload for one in found.deliveries if isinstance(one.event, ItemPublished)]
    assert "better" in payloads[1]
    done(tx, found)
    assert tx.outbox.backlog() == {}


def test_an_edit_that_a_domain_is_not_owed_still_goes_in_its_newest_form(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1", "one")
    subscribing.unsubscribe(tx, subscribing.Unsubscribe(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET))
    post(tx, "1", "one, better", minutes=1)
    subscribe(tx, JULIET)
    (delivery,) = batch(tx).deliveries
    assert isinstance(delivery.event, ItemPublished) and "better" in delivery.event.item.payload


def test_a_retracted_item_goes_only_as_retraction(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    retract(tx, "1")
    found = batch(tx)
    assert told(found) == []
    (event,) = [one.event for one in found.deliveries if one.event]
    assert isinstance(event, ItemRetracted) and event.item_id == "1"
    done(tx, found)
    assert tx.outbox.backlog() == {}


def test_trimmed_items_are_passed_over(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET, "from")
    subscribing.presence_interest(tx, Interest(service=ROMEO, jid=BALCONY, nodes=frozenset([MOOD])))
    for n in range(3):
        put(tx, MOOD, str(n), f"<x>{n}</x>")
    assert told(batch(tx)) == [("2", (BALCONY,))]


def test_purges_and_configurations_go_too(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    owning.purge(tx, owning.Purge(service=ROMEO, node=MICROBLOG, actor=ROMEO))
    configure(tx, title="x", notify_config="1")
    found = [(type(one.event), one.recipients) for one in batch(tx).deliveries]
    assert found == [(NodePurged, (JULIET,)), (NodeConfigured, (JULIET,))]


def test_notices_of_a_deleted_node_go_as_they_are(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    owning.delete(
        tx, owning.Delete(service=ROMEO, node=MICROBLOG, actor=ROMEO, notice=lambda jid: f"<message to='{jid}'/>")
    )
    for trusted in (True, False):
        assert [one.stanza for one in batch(tx, trusted=trusted).deliveries] == [f"<message to='{JULIET}'/>"]


def test_an_interested_contact_is_told_but_nobody_twice(tx: Transaction) -> None:
    an_account(tx)
    for jid in (JULIET, NURSE):
        a_contact(tx, ROMEO, jid, "from")
        interest = Interest(service=ROMEO, jid=jid.with_resource("balcony"), nodes=frozenset([MICROBLOG]))
        subscribing.presence_interest(tx, interest)
    subscribe(tx, JULIET)
    post(tx, "1")
    assert told(batch(tx)) == [("1", (JULIET, NURSE.with_resource("balcony")))]


def test_only_public_posts_go_to_a_domain_without_proof(tx: Transaction) -> None:
    """What is for followers waits for a certificate, and does not hold up what is public."""
    an_account(tx)
    a_contact(tx, ROMEO, JULIET, "from")
    put(tx, "diary", "x", options={"max_items": ["max"]})
    subscribe(tx, JULIET, "diary")
    put(tx, "diary", "secret", "<x/>")
    found = batch(tx, trusted=False)
    assert found == Batch(deliveries=(), held=1)
    subscribe(tx, JULIET)
    post(tx, "1")
    assert told(batch(tx, trusted=False)) == [("1", (JULIET,))]
    assert [name for name, _ in told(batch(tx))] == ["secret", "1"]


def test_many_held_rows_do_not_hide_a_public_one(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET, "from")
    put(tx, "diary", "x", options={"max_items": ["max"]})
    subscribe(tx, JULIET, "diary")
    for n in range(10):
        put(tx, "diary", str(n), f"<x>{n}</x>")
    subscribe(tx, JULIET)
    post(tx, "public")
    assert told(batch(tx, trusted=False, rows=3)) == [("public", (JULIET,))]


# Failing domains


def test_a_domain_that_fails_is_tried_again_later(tx: Transaction, time: Time) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    subscribe(tx, PARIS)
    post(tx, "1")
    state = delivering.failed(tx, CAPULET, "no route to host", 0.0)
    assert (state.failures, state.failing_since, state.last_error) == (1, tx.now, "no route to host")
    assert state.next_attempt == tx.now + timedelta(seconds=30)
    state = delivering.failed(tx, CAPULET, "x" * 10_000, 1.0)
    assert state.failures == 2 and len(state.last_error) == 500
    assert state.next_attempt == tx.now + timedelta(seconds=75)
    due = {state.domain: state.next_attempt for state in delivering.domains_due(tx)}
    assert due == {CAPULET: state.next_attempt, "verona.example": None}
    delivering.succeeded(tx, CAPULET)
    state = tx.domains.get(CAPULET)
    assert (state.failures, state.failing_since, state.next_attempt) == (0, None, None)
    assert state.last_success == tx.now


def test_a_clock_that_went_back_makes_nobody_wait(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    tomorrow = tx.now + timedelta(days=1)
    tx.domains.failed(CAPULET, "no route to host", tomorrow + timedelta(seconds=30))
    (state,) = delivering.domains_due(tx)
    assert state.next_attempt == tx.now + timedelta(seconds=37.5)


def test_the_backlog_is_counted_by_domain(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    subscribe(tx, PARIS)
    post(tx, "2")
    assert delivering.backlog(tx) == {CAPULET: 2, "verona.example": 1}


def attempts(jitter: float) -> list[datetime]:
    """When a domain is tried that never answers."""
    now, failures, made = NOON, 0, []
    while True:
        failures += 1
        made.append(now)
        due = retry_at(now, NOON, failures, jitter, Schedule())
        if due is None:
            return made
        now = due


def test_the_schedule_is_what_was_promised() -> None:
    """About 78 attempts in 30 days: half minutes at first, then hours, quarter days, days."""
    made = attempts(0)
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(made)]
    assert gaps[:8] == [30, 60, 120, 240, 480, 960, 1920, 3600]
    assert 70 <= len(made) <= 85
    assert made[-1] - NOON >= timedelta(days=30)
    assert {gap for gap in gaps} == {30, 60, 120, 240, 480, 960, 1920, 3600, 6 * 3600, 24 * 3600}


@given(st.integers(1, 10**6), st.floats(0, 29.9), st.floats(-1, 1))
def test_the_next_attempt_is_within_a_day_and_a_quarter(failures: int, days: float, jitter: float) -> None:
    now = NOON + timedelta(days=days)
    due = retry_at(now, NOON, failures, jitter, Schedule())
    assert due is not None
    assert timedelta(seconds=22) <= due - now <= timedelta(hours=30)


def test_after_thirty_days_nothing_is_tried() -> None:
    assert retry_at(NOON + timedelta(days=30), NOON, 78, 0, Schedule()) is None
