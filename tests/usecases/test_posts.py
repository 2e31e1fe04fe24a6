"""Posts: whom they are for, where they are found, whom they name, and what repeats them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from microblog.model.entry import Entry
from microblog.model.errors import ItemNotFound, NotAcceptable, NotAllowed
from microblog.model.event import ItemPublished, ItemRetracted
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG, MICROBLOG_PROFILE, Node
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.model.uri import item_uri, node_uri
from microblog.store import tables
from microblog.store.transaction import Transaction
from microblog.usecases.copying import Backfill, ReceivedItem, backfill
from microblog.usecases.following import remote_node
from microblog.usecases.owning import create_microblog_node
from microblog.usecases.publishing import Publish, Published, publish
from microblog.usecases.receiving import Received, receive
from microblog.usecases.retracting import Retract, retract

ROMEO = JID.parse("romeo@montague.example")
BENVOLIO = JID.parse("benvolio@montague.example")
JULIET = JID.parse("juliet@capulet.example")
NURSE = JID.parse("nurse@capulet.example")


@pytest.fixture(autouse=True)
def feeds(tx: Transaction) -> None:
    for jid in (ROMEO, BENVOLIO):
        create_microblog_node(tx, jid, Audience.PUBLIC)


def post(tx: Transaction, actor: JID = ROMEO, item_id: str = "1", **said: object) -> Published:
    asked = {name: said.pop(name) for name in ("audience", "ceiling", "readers", "mark", "mention") if name in said}
    entry = Entry(title="But, soft!", **said)  # type: ignore[arg-type]
    return publish(
        tx,
        Publish(
            service=actor,
            node=MICROBLOG,
            actor=actor,
            item_id=item_id,
            payload=f"<entry>{item_id} {said}</entry>",
            entry=entry,
            **asked,  # type: ignore[arg-type]
        ),
    )


def follow(tx: Transaction, node: Node, jid: JID) -> None:
    tx.subscriptions.add(
        node, Subscription(service=node.service, node=node.name, jid=jid, state=SubscriptionState.SUBSCRIBED)
    )


def owed(tx: Transaction, domain: str, *audiences: Audience) -> list[str | None]:
    return [row.stanza for row in tx.outbox.owed(domain, frozenset(audiences or Audience), limit=10)]


# whom a post is for


@pytest.mark.parametrize("audience", [Audience.PUBLIC, Audience.FOLLOWERS, Audience.LOCAL])
def test_it_is_for_whom_its_author_says(tx: Transaction, audience: Audience) -> None:
    assert post(tx, audience=audience).item.audience is audience


def test_it_is_never_wider_than_its_node(tx: Transaction) -> None:
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    tx.nodes.configure(node, replace(node.config, audience=Audience.LOCAL))
    assert post(tx, audience=Audience.PUBLIC).item.audience is Audience.LOCAL


def test_a_node_has_a_default(tx: Transaction) -> None:
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    tx.nodes.configure(node, replace(node.config, default_audience=Audience.FOLLOWERS))
    assert post(tx).item.audience is Audience.FOLLOWERS
    assert post(tx, item_id="2", audience=Audience.PUBLIC).item.audience is Audience.PUBLIC


def test_the_border_is_a_ceiling(tx: Transaction) -> None:
    assert post(tx, audience=Audience.PUBLIC, ceiling=Audience.LOCAL).item.audience is Audience.LOCAL


def test_a_reply_is_never_wider_than_what_it_answers(tx: Transaction) -> None:
    post(tx, audience=Audience.LOCAL)
    reply = post(tx, BENVOLIO, "2", audience=Audience.PUBLIC, answers=item_uri(ROMEO, MICROBLOG, "1"))
    assert reply.item.audience is Audience.LOCAL


def test_an_edit_changes_nothing_of_it(tx: Transaction) -> None:
    post(tx, audience=Audience.LOCAL, summary="a")
    assert post(tx, audience=Audience.PUBLIC, summary="b").item.audience is Audience.LOCAL
    stored = tx.items.get(tx.nodes.find(ROMEO, MICROBLOG).key, "1")  # type: ignore[union-attr]
    assert stored is not None and stored.audience is Audience.LOCAL


def test_what_is_not_public_says_so_in_itself(tx: Transaction) -> None:
    def mark(payload: str, audience: Audience) -> str:
        return payload.replace("</entry>", f"[{audience}]</entry>")

    assert "[" not in post(tx, mark=mark).item.payload
    local = post(tx, item_id="2", audience=Audience.LOCAL, mark=mark)
    assert local.item.payload.endswith("[local]</entry>")
    # The same once more is what a client says that never saw our answer.
    assert post(tx, item_id="2", audience=Audience.LOCAL, mark=mark).new is False


# direct


def test_a_direct_post_is_for_its_readers(tx: Transaction) -> None:
    follow(tx, tx.nodes.find(ROMEO, MICROBLOG), NURSE)  # type: ignore[arg-type]
    tx.emitted.clear()
    done = post(tx, audience=Audience.DIRECT, readers=(BENVOLIO, JULIET), mention=lambda to, node, item: f"for {to}")
    assert done.item.audience is Audience.DIRECT
    assert tx.items.mentioned(done.item.key) == {BENVOLIO: True, JULIET: True}
    event = tx.emitted[0]
    assert isinstance(event, ItemPublished)
    assert event.recipients == (ROMEO, BENVOLIO)
    assert owed(tx, "capulet.example") == ["for juliet@capulet.example"]
    # Not by a stream that is proven by dialback only.
    assert owed(tx, "capulet.example", Audience.PUBLIC) == []


def test_a_direct_post_needs_readers(tx: Transaction) -> None:
    with pytest.raises(NotAcceptable):
        post(tx, audience=Audience.DIRECT)


def test_an_answer_to_a_direct_post_is_for_its_author_alone(tx: Transaction) -> None:
    post(tx, audience=Audience.DIRECT, readers=(BENVOLIO, JULIET))
    answer = post(tx, BENVOLIO, "2", answers=item_uri(ROMEO, MICROBLOG, "1"), mentions=(NURSE,))
    assert answer.item.audience is Audience.DIRECT
    assert {jid for jid, reader in tx.items.mentioned(answer.item.key).items() if reader} == {ROMEO}


@pytest.mark.parametrize("reader", [BENVOLIO, JULIET])
def test_what_stays_within_the_domain_is_not_direct(tx: Transaction, reader: JID) -> None:
    """A direct item goes to its readers' other addresses, and answers to it to theirs."""
    with pytest.raises(NotAllowed):
        post(tx, audience=Audience.DIRECT, ceiling=Audience.LOCAL, readers=(reader,))


@pytest.mark.parametrize("narrow", [Audience.FOLLOWERS, Audience.LOCAL])
def test_an_edit_does_not_bring_in_what_is_for_fewer(tx: Transaction, narrow: Audience) -> None:
    post(tx, item_id="narrow", audience=narrow)
    post(tx, item_id="1")
    uri = item_uri(ROMEO, MICROBLOG, "narrow")
    for name, value in (("answers", uri), ("via", uri), ("thread", node_uri(ROMEO, COMMENTS_PREFIX + "narrow"))):
        more: dict[str, Any] = {name: value}
        with pytest.raises(NotAllowed):
            post(tx, item_id="1", summary="b", **more)
    with pytest.raises(NotAllowed):
        post(tx, item_id="1", summary="c", ceiling=narrow)


@pytest.mark.parametrize("audience", [Audience.FOLLOWERS, Audience.LOCAL])
def test_who_answers_what_is_just_gone_answers_no_more_people(tx: Transaction, audience: Audience) -> None:
    post(tx, item_id="gone", audience=audience)
    retract(tx, Retract(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id="gone"))
    assert post(tx, answers=item_uri(ROMEO, MICROBLOG, "gone")).item.audience is audience


def test_what_joins_a_thread_is_for_no_more_than_what_it_began_with(tx: Transaction) -> None:
    post(tx, item_id="narrow", audience=Audience.LOCAL)
    assert post(tx, thread=node_uri(ROMEO, MICROBLOG + ":comments/narrow")).item.audience is Audience.LOCAL
    assert post(tx, item_id="2", thread=node_uri(ROMEO, MICROBLOG + ":comments/2")).item.audience is Audience.PUBLIC


def test_readers_stay_when_it_is_edited(tx: Transaction) -> None:
    post(tx, audience=Audience.DIRECT, readers=(BENVOLIO,), summary="a")
    done = post(tx, summary="b")
    assert tx.items.mentioned(done.item.key) == {BENVOLIO: True}


# where it is found


def test_a_post_has_its_place(tx: Transaction) -> None:
    then = tx.now - timedelta(days=3)
    item = post(tx, published=then, tags=("roses", "names"), mentions=(BENVOLIO, JULIET)).item
    assert item.stands == then
    assert item.thread == item_uri(ROMEO, MICROBLOG, "1")
    tags = tx.connection.execute(tables.item_tags.select()).all()
    assert {(row.tag, row.stands, row.item) for row in tags} == {("roses", then, item.key), ("names", then, item.key)}
    # People elsewhere are told; only ours look it up here.
    assert tx.items.mentioned(item.key) == {BENVOLIO: False}


def test_an_edit_leaves_it_where_it_stands(tx: Transaction) -> None:
    first = post(tx, tags=("roses",), mentions=(BENVOLIO,)).item
    edited = post(tx, tags=("names",), summary="again").item
    assert (edited.key, edited.stands) == (first.key, first.stands)
    assert edited.position > first.position
    assert [row.tag for row in tx.connection.execute(tables.item_tags.select())] == ["names"]
    assert tx.items.mentioned(edited.key) == {}


def test_a_reply_is_in_the_thread_of_what_it_answers(tx: Transaction) -> None:
    thread = node_uri(JULIET, COMMENTS_PREFIX + "7")
    answers = item_uri(JULIET, MICROBLOG, "7")
    item = post(tx, thread=thread, answers=answers).item
    assert (item.thread, item.answers) == (thread, answers)


def test_the_description_of_a_feed_stands_nowhere(tx: Transaction) -> None:
    assert post(tx, item_id="0").item.stands is None


def test_its_place_goes_with_it(tx: Transaction) -> None:
    post(tx, tags=("roses",), mentions=(BENVOLIO,))
    retract(tx, Retract(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id="1"))
    assert tx.connection.execute(tables.item_tags.select()).all() == []
    assert tx.connection.execute(tables.item_mentions.select()).all() == []


# whom it names


def test_who_does_not_follow_is_told_of_being_named(tx: Transaction) -> None:
    follow(tx, tx.nodes.find(ROMEO, MICROBLOG), NURSE)  # type: ignore[arg-type]
    told: list[tuple[JID, Item]] = []

    def mention(to: JID, node: Node, item: Item) -> str:
        told.append((to, item))
        return "<message/>"

    done = post(tx, mentions=(JULIET, NURSE, BENVOLIO, ROMEO), mention=mention)
    assert [to for to, _ in told] == [JULIET]
    assert None in owed(tx, "capulet.example") and "<message/>" in owed(tx, "capulet.example")
    event = tx.emitted[-1]
    assert isinstance(event, ItemPublished) and "capulet.example" in event.domains
    # Once: an edit names nobody again.
    post(tx, mentions=(JULIET,), mention=mention, summary="again")
    assert len(told) == 1
    assert done.item.audience is Audience.PUBLIC


@pytest.mark.parametrize("audience", [Audience.FOLLOWERS, Audience.LOCAL])
def test_naming_somebody_does_not_let_them_in(tx: Transaction, audience: Audience) -> None:
    post(tx, audience=audience, mentions=(JULIET,), mention=lambda to, node, item: "<message/>")
    assert owed(tx, "capulet.example") == []


def test_what_is_local_cannot_be_owed(tx: Transaction) -> None:
    with pytest.raises(ValueError, match="this domain only"):
        tx.outbox.add_stanza("capulet.example", "<message/>", Audience.LOCAL)


# what repeats it


def repeat(tx: Transaction) -> Item:
    return post(tx, BENVOLIO, "2", via=item_uri(ROMEO, MICROBLOG, "1")).item


def test_a_repeat_goes_with_what_it_repeats(tx: Transaction) -> None:
    post(tx)
    assert repeat(tx).via == item_uri(ROMEO, MICROBLOG, "1")
    tx.emitted.clear()
    retract(tx, Retract(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id="1"))
    gone = [event for event in tx.emitted if isinstance(event, ItemRetracted)]
    assert [(event.node.service, event.item_id) for event in gone] == [(ROMEO, "1"), (BENVOLIO, "2")]


@pytest.mark.parametrize("audience", [Audience.FOLLOWERS, Audience.LOCAL])
def test_only_what_is_public_is_repeated(tx: Transaction, audience: Audience) -> None:
    done = post(tx, audience=audience)
    follow(tx, done.node, BENVOLIO)
    with pytest.raises(NotAllowed):
        repeat(tx)


def test_what_is_gone_is_not_repeated(tx: Transaction) -> None:
    post(tx)
    retract(tx, Retract(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id="1"))
    with pytest.raises(ItemNotFound):
        repeat(tx)


def test_what_is_retracted_elsewhere_is_not_repeated_here(tx: Transaction) -> None:
    node = tx.nodes.configure(remote_node(tx, JULIET, MICROBLOG), MICROBLOG_PROFILE)
    follow(tx, node, BENVOLIO)
    received = Received(
        service=JULIET,
        node=MICROBLOG,
        recipient=BENVOLIO,
        sender_domain="capulet.example",
        proof=Proof.CERTIFICATE,
        published=(ReceivedItem(id="7", payload="<entry/>", entry=Entry(title="O Romeo", tags=("names",))),),
    )
    receive(tx, received)
    copy = tx.items.get(node.key, "7")
    assert copy is not None and copy.stands is not None
    post(tx, BENVOLIO, "2", via=item_uri(JULIET, MICROBLOG, "7"))
    receive(tx, replace(received, published=(), retracted=("7",)))
    assert tx.items.get(tx.nodes.find(BENVOLIO, MICROBLOG).key, "2") is None  # type: ignore[union-attr]


# what others say their posts are for


def test_our_copy_is_for_no_more_people_than_its_author_says(tx: Transaction) -> None:
    node = remote_node(tx, JULIET, MICROBLOG)
    follow(tx, node, BENVOLIO)
    entry = Entry(title="O Romeo", audience=Audience.FOLLOWERS)
    receive(
        tx,
        Received(
            service=JULIET,
            node=MICROBLOG,
            recipient=BENVOLIO,
            sender_domain="capulet.example",
            proof=Proof.CERTIFICATE,
            published=(ReceivedItem(id="7", payload="<entry/>", entry=entry),),
        ),
    )
    copy = tx.items.get(node.key, "7")
    assert copy is not None and copy.audience is Audience.FOLLOWERS


# what was there before


def test_old_posts_stand_at_their_own_dates_and_are_told_to_nobody(tx: Transaction) -> None:
    node = remote_node(tx, JULIET, MICROBLOG)
    then = tx.now - timedelta(days=30)
    old = ReceivedItem(id="7", payload="<entry/>", entry=Entry(title="O Romeo", published=then, tags=("names",)))
    undated = ReceivedItem(id="8", payload="<entry/>", entry=Entry(title="Wherefore", updated=then))
    forged = ReceivedItem(id="9", payload="<entry/>", publisher=ROMEO, entry=Entry(title="I am Romeo"))
    filled = Backfill(service=JULIET, node=MICROBLOG, proof=Proof.CERTIFICATE, items=(old, undated, forged))
    tx.emitted.clear()
    assert backfill(tx, filled) == 2
    assert backfill(tx, filled) == 0
    assert tx.emitted == []
    assert [tx.items.get(node.key, item_id).stands for item_id in "78"] == [then, then]  # type: ignore[union-attr]
    assert tx.items.get(node.key, "9") is None


def test_what_was_retracted_does_not_come_back(tx: Transaction) -> None:
    node = remote_node(tx, JULIET, MICROBLOG)
    tx.items.retract(node.key, "7")
    item = ReceivedItem(id="7", payload="<entry/>", entry=Entry(title="O Romeo"))
    assert backfill(tx, Backfill(service=JULIET, node=MICROBLOG, proof=Proof.CERTIFICATE, items=(item,))) == 0
