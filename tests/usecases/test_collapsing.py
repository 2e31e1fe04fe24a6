"""Long backlogs: marks instead of rows, and nothing lost between the two."""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from microblog.config import Limits
from microblog.model.access import audiences_allowed
from microblog.model.event import ItemPublished, ItemRetracted, NodePurged
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store import crashpoint, migrate
from microblog.store.database import Database, open_database
from microblog.store.transaction import Transaction
from microblog.usecases import collapsing, delivering, forgetting, forwarding, owning, subscribing
from microblog.usecases.delivering import next_batch
from tests.conftest import DOMAIN, START, Time
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    NURSE,
    ROMEO,
    a_contact,
    an_account,
    configure,
    post,
    put,
    retract,
    subscribe,
)

CAPULET = "capulet.example"
HOUR = 3600


def collapse(tx: Transaction) -> None:
    while collapsing.collapse(tx, CAPULET):
        pass


def marks(tx: Transaction) -> list[tuple[int, int, int]]:
    rows = tx.connection.execute(text("SELECT after, narrow_after, upto FROM backlog_marks ORDER BY node_id"))
    return [(row[0], row[1], row[2]) for row in rows]


def rows(tx: Transaction) -> int:
    return int(tx.connection.execute(text("SELECT count(*) FROM outbox")).scalar_one())


def told(tx: Transaction, *, trusted: bool = True, each: int = 50, pages: int = 100) -> list[Any]:
    """Whatever is told, batch by batch and confirmed, until there is no more."""
    found: list[Any] = []
    progress = None
    for _ in range(pages):
        batch = next_batch(tx, CAPULET, trusted, each, 200, progress=progress)
        if not batch.deliveries:
            break
        for one in batch.deliveries:
            if isinstance(one.event, ItemPublished) and one.recipients:
                found.append(one.event.item.id)
            elif isinstance(one.event, ItemRetracted):
                found.append(f"-{one.event.item_id}")
            elif isinstance(one.event, NodePurged):
                found.append("purged")
            elif one.stanza is not None:
                found.append(one.stanza)
        delivering.done(tx, batch.deliveries)
        progress = batch.progress
    return found


def some_posts(tx: Transaction, count: int = 4, first: int = 0) -> list[str]:
    names = [str(n) for n in range(first, first + count)]
    for name in names:
        post(tx, name, name)
    return names


@pytest.fixture
def verona(tx: Transaction) -> Transaction:
    """Juliet follows Romeo."""
    an_account(tx)
    subscribe(tx, JULIET)
    return tx


def test_a_mark_for_each_feed_takes_the_place_of_its_rows(verona: Transaction) -> None:
    an_account(verona, BENVOLIO)
    subscribe(verona, NURSE, service=BENVOLIO)
    names = some_posts(verona)
    post(verona, "b", by=BENVOLIO)
    collapse(verona)
    assert rows(verona) == 0 and len(marks(verona)) == 2
    assert verona.outbox.domains() == [CAPULET]
    assert delivering.backlog(verona) == {CAPULET: 5}
    assert verona.outbox.count(CAPULET) == 2
    assert told(verona) == [*names, "b"]
    assert marks(verona) == [] and delivering.backlog(verona) == {}


@pytest.mark.parametrize("each", [1, 2, 3, 4, 5, 50])
def test_a_mark_is_told_page_by_page_in_order(verona: Transaction, each: int) -> None:
    names = some_posts(verona, 7)
    collapse(verona)
    later = some_posts(verona, 3, first=7)
    assert told(verona, each=each) == names + later
    assert delivering.backlog(verona) == {}


def test_a_mark_comes_as_far_as_was_confirmed(verona: Transaction) -> None:
    names = some_posts(verona, 5)
    collapse(verona)
    assert told(verona, each=2, pages=1) == names[:2]
    # What was not confirmed is told again.
    assert len(next_batch(verona, CAPULET, True, 2).deliveries) == 2
    assert told(verona) == names[2:]


def test_later_posts_have_rows_until_they_extend_the_mark(verona: Transaction) -> None:
    names = some_posts(verona, 3)
    collapse(verona)
    assert told(verona, each=2, pages=1) == names[:2]
    names += some_posts(verona, 2, first=3)
    ((after, _, upto),) = marks(verona)
    assert rows(verona) == 2
    collapse(verona)
    assert rows(verona) == 0
    ((same, _, further),) = marks(verona)
    assert same == after and further == upto + 2
    assert told(verona) == names[2:]


def test_what_is_gone_goes_before_what_is_new(verona: Transaction) -> None:
    post(verona, "old")
    assert told(verona) == ["old"]
    some_posts(verona)
    collapse(verona)
    some_posts(verona, 1, first=4)
    retract(verona, "old")
    retract(verona, "1")
    retract(verona, "4")
    assert told(verona) == ["-old", "-1", "-4", "0", "2", "3"]
    assert delivering.backlog(verona) == {}


def test_what_was_retracted_and_published_again_stands_at_the_end(verona: Transaction) -> None:
    names = some_posts(verona)
    retract(verona, "1")
    post(verona, "1", "again", minutes=1)
    collapse(verona)
    found = told(verona)
    assert found == ["-1", "0", "2", "3", "1"]
    assert set(found) - {"-1"} == set(names)


def test_an_edit_goes_once_and_new(verona: Transaction) -> None:
    some_posts(verona, 3)
    post(verona, "0", "better", minutes=1)
    collapse(verona)
    post(verona, "1", "better", minutes=1)
    deliveries = next_batch(verona, CAPULET, True).deliveries
    found = [one.event.item for one in deliveries if isinstance(one.event, ItemPublished)]
    assert [item.id for item in found] == ["2", "0", "1"]
    assert ["better" in item.payload for item in found] == [False, True, True]


def test_an_edit_that_the_domain_is_not_owed_is_within_the_mark(verona: Transaction) -> None:
    some_posts(verona, 1)
    request = subscribing.Unsubscribe(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET)
    subscribing.unsubscribe(verona, request)
    post(verona, "0", "better", minutes=1)
    subscribe(verona, JULIET)
    collapse(verona)
    assert told(verona) == ["0"]


def test_a_purge_leaves_nothing_under_the_mark(verona: Transaction) -> None:
    some_posts(verona)
    owning.purge(verona, owning.Purge(service=ROMEO, node=MICROBLOG, actor=ROMEO))
    collapse(verona)
    assert told(verona) == ["purged"]
    assert delivering.backlog(verona) == {}


def test_ready_stanzas_stay(verona: Transaction) -> None:
    some_posts(verona, 1)
    verona.outbox.add_stanza(CAPULET, "<message/>")
    collapse(verona)
    assert rows(verona) == 1
    assert told(verona) == ["<message/>", "0"]


def test_a_node_that_goes_takes_its_marks_along(verona: Transaction) -> None:
    some_posts(verona)
    collapse(verona)
    owning.delete(verona, owning.Delete(service=ROMEO, node=MICROBLOG, actor=ROMEO, notice=lambda jid: f"gone {jid}"))
    assert marks(verona) == []
    assert told(verona) == [f"gone {JULIET}"]


def test_who_may_not_read_any_more_is_not_told(verona: Transaction) -> None:
    """Who is told is asked when it goes, as with rows."""
    subscribe(verona, NURSE)
    some_posts(verona, 1)
    collapse(verona)
    subscribing.unsubscribe(verona, subscribing.Unsubscribe(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET))
    (delivery,) = next_batch(verona, CAPULET, True).deliveries
    assert delivery.recipients == (NURSE,)


def test_a_node_that_was_closed_since_keeps_its_posts_in(verona: Transaction) -> None:
    some_posts(verona, 3)
    collapse(verona)
    configure(verona, access_model="whitelist")
    assert next_batch(verona, CAPULET, False).deliveries == ()
    assert marks(verona) != []
    assert told(verona) == []
    assert marks(verona) == []


def test_a_node_that_became_local_settles_its_mark_unsent(verona: Transaction) -> None:
    some_posts(verona, 2)
    collapse(verona)
    node = verona.nodes.find(ROMEO, MICROBLOG)
    assert node
    verona.nodes.configure(node, replace(node.config, audience=Audience.LOCAL))
    assert told(verona) == []
    assert marks(verona) == []


def test_posts_for_followers_wait_for_a_certificate_and_hold_nothing_up(verona: Transaction) -> None:
    post(verona, "0", audience=Audience.FOLLOWERS)
    post(verona, "1")
    post(verona, "2", audience=Audience.FOLLOWERS)
    post(verona, "3")
    collapse(verona)
    assert told(verona, trusted=False, each=1) == ["1", "3"]
    assert next_batch(verona, CAPULET, False).held == 1
    assert delivering.backlog(verona) == {CAPULET: 2}
    post(verona, "4")
    assert told(verona, trusted=False) == ["4"]
    assert told(verona, each=1) == ["0", "2"]
    assert marks(verona) == []


def test_a_mark_without_anything_held_goes_without_a_certificate(verona: Transaction) -> None:
    names = some_posts(verona, 2)
    collapse(verona)
    assert told(verona, trusted=False) == names
    assert marks(verona) == []


def test_what_is_for_named_readers_stays_rows(verona: Transaction) -> None:
    node = verona.nodes.find(ROMEO, MICROBLOG)
    assert node
    seq = verona.events.record(node.key, "published", item_id="direct", audience=Audience.DIRECT)
    verona.connection.execute(
        text("INSERT INTO outbox (domain, event_seq, created) VALUES (:domain, :seq, 0)"),
        {"domain": CAPULET, "seq": seq},
    )
    collapse(verona)
    assert rows(verona) == 1 and marks(verona) == []


def test_a_feed_that_was_opened_again_is_told_from_where_it_was_not_public(verona: Transaction) -> None:
    a_contact(verona, ROMEO, JULIET, "from")
    put(verona, "diary", "0", options={"max_items": ["max"]})
    subscribe(verona, JULIET, "diary")
    put(verona, "diary", "1", "<x>1</x>")
    collapse(verona)
    assert told(verona, trusted=False) == []
    configure(verona, "diary", access_model="open")
    assert told(verona, trusted=False) == ["1"]


def test_of_each_feed_the_newest(verona: Transaction) -> None:
    verona.limits = Limits(backlog_items_per_feed=3)
    names = some_posts(verona, 8)
    collapse(verona)
    assert told(verona, each=2) == names[-3:]
    assert marks(verona) == []


def test_a_post_for_many_goes_on_behind_those_who_have_it(verona: Transaction) -> None:
    everybody = [JULIET]
    for n in range(5):
        everybody.append(JID.parse(f"p{n}@{CAPULET}"))
        subscribe(verona, everybody[-1])
    some_posts(verona, 2)
    collapse(verona)
    found, progress = [], None
    for _ in range(20):
        batch = next_batch(verona, CAPULET, True, 50, 2, progress=progress)
        if not batch.deliveries:
            break
        found += [(one.event.item.id, jid) for one in batch.deliveries if one.event for jid in one.recipients]  # type: ignore[attr-defined]  # only posts here
        delivering.done(verona, batch.deliveries)
        progress = batch.progress
    assert found == [(name, jid) for name in ("0", "1") for jid in everybody]
    assert marks(verona) == []


def test_a_mark_that_went_back_is_not_advanced(verona: Transaction) -> None:
    """Rows of earlier events came back and were collapsed while a batch was on its way."""
    names = some_posts(verona, 4)
    collapse(verona)
    batch = next_batch(verona, CAPULET, True, 2)
    verona.connection.execute(text("UPDATE backlog_marks SET after = after - 1, narrow_after = narrow_after - 1"))
    before = marks(verona)
    delivering.done(verona, batch.deliveries)
    assert marks(verona) == before
    assert told(verona) == names


# When


def test_a_domain_that_failed_for_a_day_collapses(database: Database, time: Time) -> None:
    def begin(tx: Transaction) -> None:
        an_account(tx)
        subscribe(tx, JULIET)
        some_posts(tx, 2)
        delivering.failed(tx, CAPULET, "no route to host", 0)

    database.run(begin)
    assert database.run(marks) == []
    time.advance(23 * HOUR)
    database.run(lambda tx: delivering.failed(tx, CAPULET, "no route to host", 0))
    assert database.run(marks) == [] and database.run(collapsing.long) == ()
    time.advance(1 * HOUR)
    database.run(lambda tx: delivering.failed(tx, CAPULET, "no route to host", 0))
    assert len(database.run(marks)) == 1 and database.run(rows) == 0
    # And one that is not tried any more, from the sweep: another feed's posts are owed to it now.
    time.advance(HOUR)

    def another(tx: Transaction) -> None:
        an_account(tx, BENVOLIO)
        subscribe(tx, NURSE, service=BENVOLIO)
        post(tx, "2", by=BENVOLIO)

    database.run(another)
    assert database.run(collapsing.long) == (CAPULET,)
    database.run(collapse)
    assert database.run(collapsing.long) == () and database.run(rows) == 0
    assert database.run(told) == ["0", "1", "2"]


def test_a_domain_that_is_owed_too_much_collapses(verona: Transaction) -> None:
    verona.limits = Limits(backlog_max_rows=3)
    names = some_posts(verona, 3)
    delivering.failed(verona, CAPULET, "no route to host", 0)
    assert marks(verona) == [] and collapsing.long(verona) == ()
    names += some_posts(verona, 1, first=3)
    assert collapsing.long(verona) == (CAPULET,)
    delivering.failed(verona, CAPULET, "no route to host", 0)
    assert len(marks(verona)) == 1 and told(verona) == names


def test_what_waits_for_a_certificate_for_a_day_collapses(database: Database, time: Time) -> None:
    def begin(tx: Transaction) -> None:
        an_account(tx)
        subscribe(tx, JULIET)
        post(tx, "0", audience=Audience.FOLLOWERS)

    database.run(begin)
    time.advance(25 * HOUR)
    assert database.run(collapsing.long) == (CAPULET,)


def test_a_dormant_domain_loses_nothing_but_old_retractions(database: Database, time: Time) -> None:
    def begin(tx: Transaction) -> None:
        an_account(tx)
        subscribe(tx, JULIET)
        some_posts(tx, 2)
        delivering.failed(tx, CAPULET, "no route to host", 0)

    database.run(begin)
    time.advance(400 * 24 * HOUR)
    for domain in database.run(collapsing.long):
        database.run(collapsing.collapse, domain)
    while database.run(forgetting.forget).more:
        pass
    assert database.run(delivering.backlog) == {CAPULET: 2}
    assert database.run(take, 1) == ["0"]
    assert database.run(told) == ["1"]


# Open marks


def die(database: Database, time: Time, count: int = 2) -> None:
    """Capulet has not been there for a day."""

    def begin(tx: Transaction) -> None:
        an_account(tx)
        subscribe(tx, JULIET)
        some_posts(tx, count)
        delivering.failed(tx, CAPULET, "no route to host", 0)

    database.run(begin)
    time.advance(25 * HOUR)
    database.run(lambda tx: delivering.failed(tx, CAPULET, "no route to host", 0))


def take(tx: Transaction, each: int = 50, trusted: bool = True) -> list[str]:
    """One batch, confirmed."""
    batch = next_batch(tx, CAPULET, trusted, each)
    delivering.done(tx, batch.deliveries)
    delivering.succeeded(tx, CAPULET)
    return [one.event.item.id for one in batch.deliveries if isinstance(one.event, ItemPublished)]


def test_who_is_gone_costs_no_row_for_a_post(database: Database, time: Time) -> None:
    die(database, time)
    database.run(lambda tx: some_posts(tx, 3, first=2))
    assert database.run(rows) == 0
    assert database.run(delivering.backlog) == {CAPULET: 5}
    (published,) = database.run(lambda tx: [post(tx, "5")])
    assert database.run(lambda tx: tx.outbox.owing(published.position, 10)) == [CAPULET]
    database.run(lambda tx: post(tx, "0", "better", minutes=1))
    database.run(lambda tx: retract(tx, "2"))
    assert database.run(rows) == 1
    assert database.run(told) == ["-2", "1", "3", "4", "5", "0"]
    assert database.run(marks) == [] and database.run(delivering.backlog) == {}


def test_who_comes_back_has_rows_again(database: Database, time: Time) -> None:
    die(database, time, 4)
    assert database.run(take, 2) == ["0", "1"]
    database.run(lambda tx: some_posts(tx, 2, first=4))
    assert database.run(rows) == 2
    assert database.run(told) == ["2", "3", "4", "5"]


def test_what_is_posted_while_the_last_batch_is_under_way_is_not_lost(database: Database, time: Time) -> None:
    die(database, time)
    batch = database.run(next_batch, CAPULET, True)
    database.run(lambda tx: some_posts(tx, 1, first=2))
    assert database.run(rows) == 0

    def confirmed(tx: Transaction) -> None:
        delivering.done(tx, batch.deliveries)
        delivering.succeeded(tx, CAPULET)

    database.run(confirmed)
    assert database.run(told) == ["2"]
    assert database.run(marks) == []


def test_an_open_mark_that_has_only_left_what_is_held(database: Database, time: Time) -> None:
    die(database, time, 1)
    database.run(lambda tx: post(tx, "private", audience=Audience.FOLLOWERS))
    assert database.run(take, 50, False) == ["0"]
    assert database.run(next_batch, CAPULET, False).deliveries == ()
    database.run(lambda tx: some_posts(tx, 1, first=1))
    assert database.run(rows) == 1
    assert database.run(take, 50, False) == ["1"]
    assert database.run(told) == ["private"]


def test_who_can_be_reached_and_may_hear_nothing_has_rows_again(database: Database, time: Time) -> None:
    """Or nobody would be called when there is something."""
    die(database, time, 0)
    database.run(lambda tx: post(tx, "private", audience=Audience.FOLLOWERS))
    database.run(collapse)
    database.run(lambda tx: delivering.done(tx, next_batch(tx, CAPULET, False).deliveries))
    assert database.run(next_batch, CAPULET, False).deliveries == ()
    # What comes in this moment has no row, and is found when it is looked again.
    database.run(lambda tx: some_posts(tx, 1))
    assert database.run(rows) == 0
    assert database.run(delivering.reached, CAPULET) is True
    assert database.run(take, 50, False) == ["0"]
    assert database.run(delivering.reached, CAPULET) is False
    database.run(lambda tx: some_posts(tx, 1, first=1))
    assert database.run(rows) == 1
    assert database.run(told) == ["private", "1"]


def test_an_edit_of_what_is_held_elsewhere_needs_no_row_either(database: Database, time: Time) -> None:
    def begin(tx: Transaction) -> None:
        an_account(tx)
        subscribe(tx, JULIET)
        some_posts(tx, 1)
        take(tx)

    database.run(begin)
    database.run(lambda tx: some_posts(tx, 1, first=1))
    database.run(lambda tx: delivering.failed(tx, CAPULET, "no route to host", 0))
    time.advance(25 * HOUR)
    database.run(lambda tx: delivering.failed(tx, CAPULET, "no route to host", 0))
    database.run(lambda tx: post(tx, "0", "better", minutes=1))
    assert database.run(rows) == 0
    assert database.run(told) == ["1", "0"]


def test_what_a_log_gives_back_of_what_is_long_ago_is_not_lost(database: Database, time: Time) -> None:
    """It was numbered from a mark, its event is forgotten, and the domain keeps no log any more."""
    die(database, time, 3)
    time.advance(100 * 24 * HOUR)
    while database.run(forgetting.forget).more:
        pass

    def number(tx: Transaction) -> None:
        numbered = collapsing.owed(tx, CAPULET, audiences_allowed(CAPULET, local_domain=DOMAIN), limit=2)
        tx.peers.set(CAPULET, number=tx.logs.append(CAPULET, 0, numbered))
        collapsing.settle(tx, numbered)

    database.run(number)
    database.run(forwarding.back_to_outbox, CAPULET)
    assert database.run(told) == ["0", "1", "2"]


# K18


def state(tx: Transaction) -> tuple[Any, ...]:
    outbox = tx.connection.execute(text("SELECT domain, event_seq FROM outbox ORDER BY id")).all()
    return tuple(tuple(row) for row in outbox), tuple(marks(tx))


def test_a_collapse_that_stops_at_any_statement_has_not_been(database: Database) -> None:
    def begin(tx: Transaction) -> None:
        an_account(tx)
        subscribe(tx, JULIET)
        some_posts(tx, 3)
        collapse(tx)
        some_posts(tx, 3, first=3)
        retract(tx, "4")

    database.run(begin)
    before = database.run(state)
    stopped = 0
    for last in range(20):

        def stops(tx: Transaction, last: int = last) -> None:
            count = 0

            def look(*_: Any) -> None:
                nonlocal count
                count += 1
                if count > last:
                    raise RuntimeError("the power is out")

            event.listen(tx.connection, "before_cursor_execute", look)
            try:
                collapsing.collapse(tx, CAPULET)
            finally:
                event.remove(tx.connection, "before_cursor_execute", look)

        try:
            database.run(stops)
        except RuntimeError:
            stopped += 1
            assert database.run(state) == before
        else:
            break
    assert stopped >= 3
    assert database.run(rows) == 1
    assert database.run(told) == ["-4", "0", "1", "2", "3", "5"]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "microblog.db"
    migrate.upgrade(f"sqlite:///{found}")
    yield found


def test_killed_between_marks_and_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened() -> Database:
        def now() -> datetime:
            return START

        return open_database(f"sqlite:///{path}", domain=DOMAIN, now=now)

    def begin(tx: Transaction) -> list[str]:
        an_account(tx)
        subscribe(tx, JULIET)
        return some_posts(tx, 3)

    child = os.fork()
    if child == 0:
        try:
            database = opened()
            database.run(begin)
            monkeypatch.setattr(crashpoint, "_name", "K18")
            monkeypatch.setattr(crashpoint, "_file", str(path))
            database.run(collapse)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    database = opened()
    assert database.run(rows) == 3 and database.run(marks) == []
    database.run(collapse)
    assert database.run(rows) == 0
    assert database.run(told) == ["0", "1", "2"]
    database.close()


# F39


def test_whatever_is_owed_is_found_by_an_index(tx: Transaction) -> None:
    """A million rows and ten thousand domains are no table to be read from its beginning."""
    if tx.connection.dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans by what it has counted, and here is nothing to count")
    an_account(tx)
    subscribe(tx, JULIET)
    some_posts(tx, 3)
    collapse(tx)
    some_posts(tx, 3, first=3)
    retract(tx, "1")
    said: list[tuple[str, Any]] = []

    def look(*args: Any) -> None:
        said.append((args[2], args[3]))

    event.listen(tx.connection, "before_cursor_execute", look)
    next_batch(tx, CAPULET, True)
    next_batch(tx, CAPULET, False)
    delivering.failed(tx, CAPULET, "no route to host", 0)
    delivering.domains_due(tx)
    collapsing.long(tx)
    collapse(tx)
    tx.marks.open(CAPULET)
    tx.marks.close(CAPULET)
    post(tx, "new")
    told(tx)
    event.remove(tx.connection, "before_cursor_execute", look)
    tables = "outbox|events|items|backlog_marks|subscriptions|delivery_log"
    for statement, parameters in said:
        plan = tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        whole = [line for *_, line in plan if re.fullmatch(rf"SCAN ({tables})( AS \w+)?", line)]
        assert whole == [], statement
    assert len(said) > 20
