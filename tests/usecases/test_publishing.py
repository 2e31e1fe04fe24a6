"""XEP-0060 §7, XEP-0163 §3."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select

from microblog.model.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    InvalidPayload,
    ItemForbidden,
    ItemNotFound,
    ItemRequired,
    MaxNodesExceeded,
    NodeIDRequired,
    NotAcceptable,
    PayloadRequired,
    PayloadTooBig,
    PersistentItemsUnsupported,
    PreconditionNotMet,
    Refusal,
)
from microblog.model.event import ItemPublished, ItemRetracted
from microblog.model.item import Audience
from microblog.model.node import MICROBLOG, AccessModel, SendLast
from microblog.model.subscription import Affiliation
from microblog.store import tables
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import retracting
from microblog.usecases.publishing import Publish, publish
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    KEYS,
    MOOD,
    NURSE,
    PARIS,
    PHONE,
    ROMEO,
    affiliate,
    an_account,
    an_entry,
    configure,
    ids,
    post,
    put,
    retract,
    retrieve,
    subscribe,
)

COMMENTS = MICROBLOG + ":comments/1"


def owed(tx: Transaction) -> list[tuple[str, int]]:
    rows = tx.connection.execute(select(tables.outbox.c.domain, tables.outbox.c.event_seq).order_by(tables.outbox.c.id))
    return [(row[0], row[1]) for row in rows]


def published(tx: Transaction) -> list[str]:
    return [event.item.id for event in tx.emitted if isinstance(event, ItemPublished)]


def test_a_post_is_kept_with_its_bare_publisher_and_told(tx: Transaction) -> None:
    node = an_account(tx)
    item = post(tx, "1")
    assert item.publisher == ROMEO
    assert tx.items.get(node.key, "1") == item
    assert tx.emitted == [ItemPublished(seq=item.position, node=node, item=item)]


def test_an_item_without_id_gets_one(tx: Transaction) -> None:
    an_account(tx)
    assert post(tx, None).id and post(tx, None, "other").id
    assert len(ids(retrieve(tx))) == 2


def test_each_domain_with_followers_is_owed_the_post_once(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    for jid in (JULIET, NURSE, PARIS, BENVOLIO, JULIET.with_resource("balcony")):
        subscribe(tx, jid)
    item = post(tx, "1")
    assert owed(tx) == [("capulet.example", item.position), ("verona.example", item.position)]
    assert tx.emitted[-1].domains == ("capulet.example", "verona.example")


def test_who_waits_for_approval_is_owed_nothing(tx: Transaction) -> None:
    an_account(tx)
    configure(tx, access_model="authorize")
    subscribe(tx, JULIET)
    post(tx, "1")
    assert owed(tx) == []


def test_what_is_for_this_domain_only_is_owed_to_nobody(tx: Transaction) -> None:
    node = an_account(tx)
    subscribe(tx, JULIET)
    tx.nodes.configure(node, replace(node.config, audience=Audience.LOCAL))
    assert post(tx, "1").audience is Audience.LOCAL
    assert owed(tx) == []


@pytest.mark.parametrize("model", [model for model in AccessModel if model is not AccessModel.OPEN])
def test_a_post_to_a_restricted_node_is_for_followers(tx: Transaction, model: AccessModel) -> None:
    an_account(tx)
    configure(tx, access_model=model.value)
    assert post(tx, "1").audience is Audience.FOLLOWERS


def test_the_same_again_is_success_and_told_once(tx: Transaction) -> None:
    an_account(tx)
    first = post(tx, "1")
    assert post(tx, "1") == first
    assert published(tx) == ["1"]


def test_publishing_under_a_known_id_is_an_edit(tx: Transaction) -> None:
    """§7.1.2: the older item is dropped; order is the order of publication."""
    an_account(tx)
    first = post(tx, "1", "one")
    post(tx, "2", "two")
    edit = post(tx, "1", "one, better", minutes=1)
    assert ids(retrieve(tx)) == ["2", "1"]
    assert "better" in edit.payload
    assert edit.published == first.published
    assert published(tx) == ["1", "2", "1"]


def test_an_older_version_is_ignored_with_success(tx: Transaction) -> None:
    an_account(tx)
    newer = post(tx, "1", "newer", minutes=2)
    assert post(tx, "1", "older", minutes=1) == newer
    assert published(tx) == ["1"]


def test_publishing_makes_the_node_with_its_profile(tx: Transaction) -> None:
    """XEP-0163 §3.1, XEP-0472."""
    put(tx, MOOD)
    post(tx, "1")
    mood, feed = tx.nodes.find(ROMEO, MOOD), tx.nodes.find(ROMEO, MICROBLOG)
    assert mood and feed
    assert (mood.config.access_model, mood.config.max_items) == (AccessModel.PRESENCE, 1)
    assert (feed.config.access_model, feed.config.max_items) == (AccessModel.OPEN, None)
    assert feed.config.send_last_published_item is SendLast.NEVER


def test_a_feed_made_by_publishing_is_no_wider_than_its_account(tx: Transaction) -> None:
    tx.accounts.add("romeo", (KEYS,), admin=False, audience=Audience.LOCAL)
    assert post(tx, "1", options={"access_model": ["open"]}).audience is Audience.LOCAL


def test_only_the_account_itself_makes_nodes_by_publishing(tx: Transaction) -> None:
    with pytest.raises(Forbidden):
        put(tx, MOOD, actor=JULIET.with_resource(PHONE))
    assert tx.nodes.find(ROMEO, MOOD) is None


def test_nodes_are_numbered_to_a_limit(tx: Transaction) -> None:
    limits = tx.limits.model_copy(update={"nodes_per_account": 2})
    tx.limits = limits
    put(tx, "a")
    put(tx, "b")
    with pytest.raises(MaxNodesExceeded):
        put(tx, "c")


OPTIONS = {
    "persist_items": ["true"],
    "max_items": ["max"],
    "notify_retract": ["1"],
    "send_last_published_item": ["never"],
    "access_model": ["open"],
    "itemreply": ["publisher"],
    "type": [MICROBLOG],
}


def test_publish_options_that_hold_are_no_matter(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1", options=OPTIONS)
    assert published(tx) == ["1"]


def test_a_new_node_is_made_with_the_publish_options(tx: Transaction) -> None:
    put(tx, MOOD, options={"access_model": ["whitelist"], "max_items": ["7"]})
    node = tx.nodes.find(ROMEO, MOOD)
    assert node and (node.config.access_model, node.config.max_items) == (AccessModel.WHITELIST, 7)


@pytest.mark.parametrize(
    "options",
    [
        {"access_model": ["presence"]},
        {"max_items": ["10"]},
        {"max_items": ["-1"]},
        {"persist_items": ["perhaps"]},
        {"colour": ["red"]},
        {"node_type": ["collection"]},
        {"title": ["a", "b"]},
        {"audience": ["public"]},
    ],
)
def test_publish_options_that_do_not_hold_refuse(tx: Transaction, options: dict[str, list[str]]) -> None:
    """§7.1.5: preconditions, unknown ones as well."""
    an_account(tx)
    with pytest.raises(PreconditionNotMet):
        post(tx, "1", options=options)
    assert ids(retrieve(tx)) == []


def test_unknown_publish_options_refuse_for_a_new_node_too(tx: Transaction) -> None:
    with pytest.raises(PreconditionNotMet):
        put(tx, MOOD, options={"colour": ["red"]})
    assert tx.nodes.find(ROMEO, MOOD) is None


def test_only_the_newest_items_are_kept(tx: Transaction) -> None:
    put(tx, MOOD, "1", options={"max_items": ["2"]})
    put(tx, MOOD, "2", "<y/>")
    put(tx, MOOD, "3", "<z/>")
    put(tx, MOOD, "2", "<yy/>")
    assert ids(retrieve(tx, node=MOOD)) == ["3", "2"]


@pytest.mark.parametrize(
    ("item_id", "refusal"),
    [("", ItemRequired), ("x" * 1024, BadRequest), ("é" * 512, BadRequest), ("a\0b", BadRequest)],
)
def test_item_ids_have_limits(tx: Transaction, item_id: str, refusal: type[Refusal]) -> None:
    an_account(tx)
    with pytest.raises(refusal):
        post(tx, item_id)


@pytest.mark.parametrize("item_id", ["a/b", "..", "' OR 1=1 --", "x" * 1023])
def test_item_ids_are_text_and_nothing_else(tx: Transaction, item_id: str) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, item_id, "mine")
    post(tx, item_id, "his", by=BENVOLIO)
    assert ids(retrieve(tx)) == [item_id]
    assert "mine" in retrieve(tx, item_ids=(item_id,)).page.items[0].payload


def test_a_node_has_a_name(tx: Transaction) -> None:
    for name, refusal in (("", NodeIDRequired), ("x" * 1024, BadRequest), ("a\0", BadRequest)):
        with pytest.raises(refusal):
            put(tx, name)


def test_a_payload_may_be_so_long_and_no_longer(tx: Transaction) -> None:
    limit = tx.limits.payload_max_bytes
    put(tx, MOOD, payload="x" * limit)
    with pytest.raises(PayloadTooBig):
        put(tx, MOOD, payload="x" * (limit + 1))
    with pytest.raises(PayloadTooBig):
        put(tx, MOOD, payload="é" * (limit // 2 + 1))
    with pytest.raises(PayloadTooBig):
        put(tx, "small", payload="x" * 11, options={"max_payload_size": ["10"]})


def test_a_feed_takes_atom_entries(tx: Transaction) -> None:
    an_account(tx)
    with pytest.raises(InvalidPayload):
        put(tx, MICROBLOG, "1", "<mood/>")
    # XEP-0277 §3.2: the feed's own description.
    put(tx, MICROBLOG, "0", "<feed xmlns='http://www.w3.org/2005/Atom'/>")


def test_missing_items_and_payloads(tx: Transaction) -> None:
    """§7.1.3.7."""
    with pytest.raises(ItemRequired):
        put(tx, MOOD, None, "", has_item=False)
    with pytest.raises(PayloadRequired):
        put(tx, MOOD, payload="")
    put(tx, "bell", None, "", has_item=False, options={"persist_items": ["0"], "deliver_payloads": ["0"]})
    with pytest.raises(ItemForbidden):
        put(tx, "bell", None, "<x/>")


def test_a_node_that_keeps_nothing_tells_the_same_again(tx: Transaction) -> None:
    put(tx, "news", "1", options={"persist_items": ["0"]})
    put(tx, "news", "1")
    assert published(tx) == ["1", "1"]


def test_strangers_may_not_publish(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    for options in ({}, {"access_model": "whitelist"}):
        configure(tx, **options)
        with pytest.raises(Forbidden):
            put(tx, MICROBLOG, "1", actor=JULIET.with_resource(PHONE), **{"entry": an_entry()["entry"]})


def test_publishers_may_publish_and_not_touch_what_is_not_theirs(tx: Transaction) -> None:
    an_account(tx)
    affiliate(tx, JULIET, Affiliation.PUBLISHER)
    post(tx, "1", "his")
    request = Publish(service=ROMEO, node=MICROBLOG, actor=JULIET.with_resource(PHONE), item_id="2", **an_entry("hers"))
    assert publish(tx, request).item.publisher == JULIET
    with pytest.raises(Forbidden):
        publish(tx, replace(request, item_id="1"))
    with pytest.raises(Forbidden):
        retract(tx, "1", by=JULIET)
    retract(tx, "2", by=JULIET)
    assert ids(retrieve(tx)) == ["1"]


def test_subscribers_publish_where_the_publish_model_says_so(tx: Transaction) -> None:
    put(tx, "wall", "1", options={"access_model": ["open"], "publish_model": ["subscribers"]})
    with pytest.raises(Forbidden):
        put(tx, "wall", "2", actor=JULIET.with_resource(PHONE))
    subscribe(tx, JULIET, "wall")
    put(tx, "wall", "2", actor=JULIET.with_resource(PHONE))
    affiliate(tx, JULIET, Affiliation.OUTCAST, "wall")
    with pytest.raises(Forbidden):
        put(tx, "wall", "3", actor=JULIET.with_resource(PHONE))


def test_a_retracted_item_is_gone_and_told(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    retract(tx, "1")
    event = tx.emitted[-1]
    assert isinstance(event, ItemRetracted) and event.notify and event.domains == ("capulet.example",)
    assert ids(retrieve(tx)) == []
    with pytest.raises(ItemNotFound):
        retract(tx, "1")


def test_its_author_may_use_the_id_of_a_retracted_item_again(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1", "one")
    retract(tx, "1")
    post(tx, "1", "another")
    assert ids(retrieve(tx)) == ["1"]
    retract(tx, "1")
    assert ids(retrieve(tx)) == []


def test_a_retracted_item_does_not_come_back_from_elsewhere(tx: Transaction) -> None:
    put(tx, COMMENTS, "1", entry=an_entry()["entry"])
    comment = Publish(service=ROMEO, node=COMMENTS, actor=JULIET.with_resource(PHONE), item_id="2", **an_entry("yes"))
    publish(tx, comment)
    retract(tx, "2", node=COMMENTS)
    with pytest.raises(Conflict):
        publish(tx, comment)


def test_a_quiet_retraction_is_told_to_nobody(tx: Transaction) -> None:
    an_account(tx)
    configure(tx, notify_retract="0")
    subscribe(tx, JULIET)
    post(tx, "1")
    before = owed(tx)
    retract(tx, "1", notify=False)
    assert owed(tx) == before
    assert not tx.emitted[-1].notify  # type: ignore[attr-defined]


def test_retracting_has_its_refusals(tx: Transaction) -> None:
    """§7.2.3."""
    an_account(tx)
    post(tx, "1")
    for request, refusal in (
        (retracting.Retract(service=ROMEO, node="", actor=ROMEO, item_id="1"), NodeIDRequired),
        (retracting.Retract(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id=""), ItemRequired),
        (retracting.Retract(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id="2"), ItemNotFound),
        (retracting.Retract(service=ROMEO, node="none", actor=ROMEO, item_id="1"), ItemNotFound),
        (retracting.Retract(service=ROMEO, node=MICROBLOG, actor=JULIET, item_id="1"), Forbidden),
        (retracting.Retract(service=ROMEO, node=MICROBLOG, actor=BENVOLIO, item_id="1"), Forbidden),
    ):
        with pytest.raises(refusal):
            retracting.retract(tx, request)
    put(tx, "news", "1", options={"persist_items": ["0"]})
    with pytest.raises(PersistentItemsUnsupported):
        retract(tx, "1", node="news")


def test_retracting_does_not_betray_a_hidden_node(tx: Transaction) -> None:
    put(tx, MOOD, options={"access_model": ["whitelist"]})
    with pytest.raises(ItemNotFound):
        retract(tx, "current", by=JULIET, node=MOOD)


def test_an_entry_is_not_from_the_future(tx: Transaction) -> None:
    an_account(tx)
    assert post(tx, "1", "a clock a little ahead", minutes=4).updated > tx.now
    assert post(tx, "2", "a clock ahead", minutes=60).updated == tx.now
    with pytest.raises(NotAcceptable):
        post(tx, "3", "a clock far ahead", minutes=60 * 25)


@contextmanager
def statements_of(database: Database) -> Iterator[list[str]]:
    """What is said to the database meanwhile, by the first word."""
    said: list[str] = []
    driver: Any = database._writer.connection.connection.driver_connection
    if database.url.get_backend_name() == "sqlite":
        driver.set_trace_callback(lambda text: said.append(text.split()[0]))
        yield said
        driver.set_trace_callback(None)
    else:
        sqlalchemy_event.listen(
            database._engine, "before_cursor_execute", lambda *args: said.append(str(args[2]).split()[0])
        )
        yield said


def test_a_refused_publish_writes_nothing(database: Database) -> None:
    database.run(an_account)
    heard: list[object] = []
    database.listeners.append(heard.append)
    with statements_of(database) as said:
        with pytest.raises(PreconditionNotMet):
            database.run(post, "1", options={"colour": ["red"]})
        with pytest.raises(Forbidden):
            database.run(post, "1", by=JULIET)
    assert "SELECT" in said and not {"INSERT", "UPDATE", "DELETE"} & set(said)
    assert heard == []


def test_a_publish_to_a_node_that_is_there_takes_four_statements(database: Database) -> None:
    database.run(an_account)
    database.run(subscribe, JULIET)
    with statements_of(database) as said:
        database.run(post, "1")
    assert [word for word in said if word in ("INSERT", "UPDATE", "DELETE")] == ["INSERT"] * 3
    # PostgreSQL's lock is a SELECT as well.
    assert said.count("SELECT") <= 2
