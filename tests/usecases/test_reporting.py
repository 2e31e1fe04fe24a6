"""Where posts went, and where one would go."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from microblog.model.errors import Forbidden, ItemNotFound
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.uri import item_uri
from microblog.store.database import open_database
from microblog.store.transaction import Transaction
from microblog.usecases import delivering, publishing, reporting, subscribing
from microblog.usecases.reporting import Preview, Reach, State, Where
from tests.conftest import DOMAIN, Time
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    NURSE,
    PARIS,
    PHONE,
    ROMEO,
    a_contact,
    an_account,
    an_entry,
    configure,
    post,
    subscribe,
)

CAPULET, VERONA = "capulet.example", "verona.example"


def report(tx: Transaction, actor: JID = ROMEO, item_id: str = "1") -> reporting.Report:
    return reporting.where(tx, Where(actor=actor.with_resource(PHONE), service=ROMEO, node=MICROBLOG, item_id=item_id))


def states(tx: Transaction) -> dict[str, State]:
    return {one.domain: one.state for one in report(tx).domains}


def preview(tx: Transaction, audience: Audience | None = None, **more: object) -> Reach:
    return reporting.preview(tx, Preview(account=ROMEO, audience=audience, **more))  # type: ignore[arg-type]


def deliver(tx: Transaction, domain: str) -> None:
    delivering.done(tx, delivering.next_batch(tx, domain, True).deliveries)


def test_a_report_says_what_became_of_a_post_at_each_domain(tx: Transaction) -> None:
    an_account(tx)
    for follower in (JULIET, PARIS, BENVOLIO):
        subscribe(tx, follower)
    post(tx, "1")
    assert states(tx) == {CAPULET: State.PENDING, VERONA: State.PENDING}
    deliver(tx, CAPULET)
    delivering.failed(tx, VERONA, "connection refused", 0)
    assert states(tx) == {CAPULET: State.STORED, VERONA: State.PENDING}
    [stored, pending] = report(tx).domains
    assert stored.since == tx.now and not stored.why
    assert pending.why == "connection refused" and pending.next_attempt is not None
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    tx.holders.refuse(node.key, "1", JULIET, "not-allowed")
    assert (report(tx).domains[0].state, report(tx).domains[0].why) == (State.REFUSED, "not-allowed")


def test_an_edit_that_is_on_its_way_is_pending(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    deliver(tx, CAPULET)
    post(tx, "1", "edited", minutes=1)
    assert states(tx) == {CAPULET: State.PENDING}
    deliver(tx, CAPULET)
    assert states(tx) == {CAPULET: State.STORED}


def test_a_local_post_is_nowhere(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    subscribe(tx, BENVOLIO)
    post(tx, "1", audience=Audience.LOCAL)
    assert report(tx).item.audience is Audience.LOCAL
    assert states(tx) == {}


def test_a_direct_post_is_where_its_readers_are(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(
        tx,
        "it's%1",
        audience=Audience.DIRECT,
        readers=(PARIS, BENVOLIO),
        mention=lambda jid, node, item: f"<m to='{jid}'>{item_uri(ROMEO, MICROBLOG, item.id)}</m>",
    )
    of = reporting.where(tx, Where(actor=ROMEO, service=ROMEO, node=MICROBLOG, item_id="it's%1"))
    assert [(one.domain, one.state) for one in of.domains] == [(VERONA, State.PENDING)]
    deliver(tx, VERONA)
    of = reporting.where(tx, Where(actor=ROMEO, service=ROMEO, node=MICROBLOG, item_id="it's%1"))
    assert [(one.domain, one.state) for one in of.domains] == [(VERONA, State.STORED)]


def test_only_the_author_may_know(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    with pytest.raises(Forbidden):
        report(tx, BENVOLIO)
    with pytest.raises(ItemNotFound):
        report(tx, item_id="2")


def test_whoever_comments_learns_no_more_than_that_it_is_there(tx: Transaction) -> None:
    """Which domains read somebody is theirs to know."""
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    node = COMMENTS_PREFIX + "1"
    request = publishing.Publish(service=ROMEO, node=node, actor=BENVOLIO, item_id="c1", **an_entry("yes"))
    comments = publishing.publish(tx, request).node
    subscribe(tx, JULIET, node=node)
    tx.holders.hold([(comments.key, "c1", PARIS)])
    wanted = Where(actor=BENVOLIO, service=ROMEO, node=node, item_id="c1")
    told = reporting.where(tx, wanted)
    assert told.item.id == "c1" and not told.owned and not told.domains
    owner = reporting.where(tx, replace(wanted, actor=ROMEO))
    assert owner.owned and [one.domain for one in owner.domains] == [VERONA]


def test_what_is_owed_is_found_in_one_question(tx: Transaction) -> None:
    an_account(tx)
    readers = tuple(JID("paris", f"verona{number}.example") for number in range(20))
    post(
        tx,
        "1",
        audience=Audience.DIRECT,
        readers=readers,
        mention=lambda jid, node, item: f"<m to='{jid}'>{item_uri(ROMEO, MICROBLOG, item.id)}</m>",
    )
    deliver(tx, "verona7.example")
    asked: list[str] = []
    event.listen(tx.connection, "before_cursor_execute", lambda *given: asked.append(given[2]))
    found = states(tx)
    assert found.pop("verona7.example") is State.STORED
    assert len(found) == 19 and set(found.values()) == {State.PENDING}
    assert sum("LIKE" in statement for statement in asked) == 1


def test_a_preview_counts_people_and_domains(tx: Transaction) -> None:
    an_account(tx)
    for follower in (JULIET, NURSE, PARIS, BENVOLIO):
        subscribe(tx, follower)
    assert preview(tx) == Reach(audience=Audience.PUBLIC, people=4, here=1, domains=(CAPULET, VERONA))
    assert preview(tx, Audience.FOLLOWERS).domains == (CAPULET, VERONA)
    assert preview(tx, Audience.LOCAL) == Reach(audience=Audience.LOCAL, people=1, here=1, domains=())
    assert preview(tx, ceiling=Audience.LOCAL).domains == ()
    direct = preview(tx, Audience.DIRECT, named=(PARIS,))
    assert direct == Reach(audience=Audience.DIRECT, people=1, here=0, domains=(VERONA,))
    assert preview(tx, named=(JID.parse("tybalt@mantua.example"),)).domains == (CAPULET, "mantua.example", VERONA)
    assert preview(tx, Audience.LOCAL, named=(PARIS,)).domains == ()


def test_who_may_not_read_is_not_counted(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, NURSE)
    for follower in (JULIET, NURSE, PARIS):
        subscribe(tx, follower)
    configure(tx, access_model="presence")
    assert preview(tx) == Reach(audience=Audience.FOLLOWERS, people=1, here=0, domains=(CAPULET,))


def test_contacts_who_want_to_know_are_counted_once(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET)
    a_contact(tx, ROMEO, PARIS)
    subscribe(tx, JULIET)
    for jid in (JULIET.with_resource("a"), PARIS.with_resource("a"), PARIS.with_resource("b")):
        subscribing.presence_interest(tx, subscribing.Interest(service=ROMEO, jid=jid, nodes=frozenset([MICROBLOG])))
    assert preview(tx) == Reach(audience=Audience.PUBLIC, people=2, here=0, domains=(CAPULET, VERONA))


def test_counting_ends_and_every_domain_is_listed(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "PEOPLE_MAX", 3)
    an_account(tx)
    for name in ("a", "b", "c", "d", "e"):
        subscribe(tx, JID(name, CAPULET))
    subscribe(tx, PARIS)
    assert preview(tx) == Reach(audience=Audience.PUBLIC, people=3, here=0, domains=(CAPULET, VERONA), more=True)


PEOPLE = [JULIET, NURSE, PARIS, BENVOLIO, JID.parse("tybalt@mantua.example")]


@given(
    followers=st.sets(st.sampled_from(PEOPLE)),
    contacts=st.sets(st.sampled_from(PEOPLE)),
    named=st.lists(st.sampled_from(PEOPLE), max_size=2),
    audience=st.sampled_from(Audience),
    access=st.sampled_from(["open", "presence", "whitelist"]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_previewed_is_what_is_owed(
    followers: set[JID], contacts: set[JID], named: list[JID], audience: Audience, access: str
) -> None:
    """The domains of the preview are those that are sent something then."""
    database = open_database("sqlite://", domain=DOMAIN, now=Time().now)
    with database.trial() as tx:
        an_account(tx)
        for jid in contacts:
            a_contact(tx, ROMEO, jid)
        for jid in followers:
            subscribe(tx, jid)
        configure(tx, access_model=access)
        if audience is Audience.DIRECT and not named:
            return
        readers = tuple(named) if audience is Audience.DIRECT else ()
        previewed = preview(tx, audience, named=readers)
        before = set(tx.outbox.backlog())
        post(tx, "1", audience=audience, readers=readers, mention=lambda jid, node, item: f"<message to='{jid}'/>")
        sent = {
            domain
            for domain in set(tx.outbox.backlog()) - before | set(previewed.domains)
            for delivery in delivering.next_batch(tx, domain, True).deliveries
            if delivery.recipients or delivery.stanza
        }
        assert sent == set(previewed.domains)
    database.close()
