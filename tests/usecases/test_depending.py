"""XEP-0277 §4, XEP-0470: comments and attachments, and answers as comments."""

from collections.abc import Iterable

import pytest

from microblog.model.access import NO_SUCH_NODE
from microblog.model.entry import HEART, Entry
from microblog.model.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    ItemNotFound,
    MaxNodesExceeded,
    NotAllowed,
    PresenceSubscriptionRequired,
    Refusal,
)
from microblog.model.event import ItemPublished, ItemRetracted, NodePurged
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG, AccessModel
from microblog.model.subscription import Affiliation, SubscriptionState
from microblog.model.uri import ItemAddress, item_uri, node_uri
from microblog.store.transaction import Transaction
from microblog.usecases import browsing, delivering, depending, owning, publishing, registering, retracting, subscribing
from microblog.usecases.publishing import Publish
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    NURSE,
    PARIS,
    PHONE,
    ROMEO,
    a_contact,
    affiliate,
    an_account,
    an_entry,
    configure,
    ids,
    post,
    retract,
    retrieve,
    subscribe,
)

POST = ItemAddress(ROMEO, MICROBLOG, "1")
COMMENTS = COMMENTS_PREFIX + "1"
ATTACHMENTS = "urn:xmpp:pubsub-attachments:1/xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1"
# The same, as Movim writes addresses.
UNESCAPED = "urn:xmpp:pubsub-attachments:1/xmpp:romeo@montague.example?;node=urn:xmpp:microblog:0;item=1"
ALL = (Audience.PUBLIC, Audience.FOLLOWERS, Audience.LOCAL)


def comment(tx: Transaction, by: JID, item_id: str = "c1", text: str = "yes", **more: object) -> Item:
    request = Publish(
        service=ROMEO,
        node=COMMENTS,
        actor=by.with_resource(PHONE),
        item_id=item_id,
        **an_entry(text) | more,
    )
    return publishing.publish(tx, request).item


def attach(tx: Transaction, by: JID, *reactions: str, node: str = ATTACHMENTS, item_id: str | None = None) -> Item:
    request = Publish(
        service=ROMEO,
        node=node,
        actor=by.with_resource(PHONE),
        item_id=item_id or str(by),
        payload=f"<attachments xmlns='urn:xmpp:pubsub-attachments:1'>{reactions}</attachments>",
        reactions=reactions,
    )
    return publishing.publish(tx, request).item


def answer(
    tx: Transaction,
    by: JID,
    item_id: str = "a1",
    to: ItemAddress = POST,
    thread: str = "",
    text: str = "so it is",
    **more: object,
) -> Item:
    """A post in one's own feed that answers another."""
    entry = Entry(title=text, answers=to.uri, thread=thread or node_uri(to.service, f"{COMMENTS_PREFIX}{to.item_id}"))
    request = Publish(
        service=by,
        node=MICROBLOG,
        actor=by.with_resource(PHONE),
        item_id=item_id,
        payload=f"<entry>{text}</entry>",
        entry=entry,
        copy=lambda service, node, item: f"copy of {item.id} for {service} {node}",
        **more,  # type: ignore[arg-type]
    )
    return publishing.publish(tx, request).item


def delete(tx: Transaction, by: JID, item_id: str) -> None:
    request = retracting.Retract(
        service=by,
        node=MICROBLOG,
        actor=by,
        item_id=item_id,
        withdraw=lambda service, node, item: f"withdrawal of {item.id} from {service} {node}",
    )
    retracting.retract(tx, request)


def comments(tx: Transaction, reader: JID = ROMEO) -> list[str]:
    return ids(retrieve(tx, reader, COMMENTS))


def owed(tx: Transaction, domain: str = "capulet.example", audiences: Iterable[Audience] = ALL) -> list[str | None]:
    return [row.stanza for row in tx.outbox.owed(domain, frozenset(audiences), limit=10)]


# names


@pytest.mark.parametrize(
    ("name", "item"),
    [
        (COMMENTS, POST),
        (ATTACHMENTS, POST),
        (UNESCAPED, POST),
        (COMMENTS_PREFIX + "0", None),
        (COMMENTS_PREFIX, None),
        (MICROBLOG, None),
        ("urn:xmpp:pubsub-attachments:1/nonsense", None),
        ("urn:xmpp:pubsub-attachments:1/xmpp:romeo@montague.example?;node=n", None),
        ("urn:xmpp:pubsub-attachments:1/xmpp:juliet@capulet.example?;node=n;item=1", None),
    ],
)
def test_what_a_node_depends_on_is_in_its_name(name: str, item: ItemAddress | None) -> None:
    assert depending.depends_on(ROMEO, name) == item


def test_nothing_is_attached_to_attachments() -> None:
    name = depending.attachments_of(ItemAddress(ROMEO, ATTACHMENTS, str(JULIET)))
    assert depending.depends_on(ROMEO, name) is None


def test_one_node_however_the_item_s_address_is_written(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    attach(tx, JULIET, HEART, node=UNESCAPED)
    assert ids(retrieve(tx, NURSE, ATTACHMENTS)) == ids(retrieve(tx, NURSE, UNESCAPED)) == [str(JULIET)]
    assert tx.nodes.find(ROMEO, UNESCAPED) is None


# made when they are used


def test_whoever_reads_a_post_may_comment_on_it(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    assert comments(tx, JULIET) == []
    assert tx.nodes.find(ROMEO, COMMENTS) is None
    item = comment(tx, JULIET)
    assert (item.publisher, item.audience) == (JULIET, Audience.PUBLIC)
    node = tx.nodes.find(ROMEO, COMMENTS)
    assert node is not None
    assert tx.emitted[-1] == ItemPublished(seq=item.position, node=node, item=item)
    assert comments(tx, NURSE) == ["c1"]


def test_where_there_is_no_post_there_is_nothing_to_comment_on(tx: Transaction) -> None:
    an_account(tx)
    with pytest.raises(Forbidden):
        comment(tx, JULIET)
    with pytest.raises(ItemNotFound):
        attach(tx, JULIET, HEART)
    with pytest.raises(ItemNotFound):
        attach(tx, ROMEO, HEART)
    assert tx.nodes.of(ROMEO, dependent=True) == tx.nodes.of(ROMEO)


def test_comments_are_not_counted_among_one_s_own_nodes(tx: Transaction) -> None:
    an_account(tx)
    before = tx.nodes.count(ROMEO)
    for number in range(3):
        post(tx, str(number + 1))
    comment(tx, JULIET)
    attach(tx, JULIET, HEART)
    assert tx.nodes.count(ROMEO) == before
    assert tx.nodes.count(ROMEO, dependent=True) == before + 2
    assert [node.name for node in browsing.nodes(tx, browsing.Nodes(service=ROMEO, asker=JULIET))] == [MICROBLOG]


def test_comments_nodes_without_posts_are_few(tx: Transaction) -> None:
    an_account(tx)
    with pytest.raises(MaxNodesExceeded):
        for number in range(tx.limits.nodes_per_account + 1):
            owning.create(tx, owning.Create(service=ROMEO, actor=ROMEO, node=f"{COMMENTS_PREFIX}none-{number}"))


@pytest.mark.parametrize("name", [ATTACHMENTS, "urn:xmpp:pubsub-attachments:summary:1/" + MICROBLOG])
def test_nobody_makes_nodes_of_attachments(tx: Transaction, name: str) -> None:
    an_account(tx)
    post(tx, "1")
    with pytest.raises(NotAllowed):
        owning.create(tx, owning.Create(service=ROMEO, actor=ROMEO, node=name))


# attachments


def test_an_attachment_is_under_the_address_of_who_attaches_it(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    with pytest.raises(BadRequest):
        attach(tx, JULIET, HEART, item_id=str(NURSE))
    attach(tx, JULIET, HEART)
    attach(tx, JULIET, "👷", "🔨")
    assert ids(retrieve(tx, ROMEO, ATTACHMENTS)) == [str(JULIET)]


def test_what_was_taken_back_can_be_attached_again(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    attach(tx, JULIET, HEART)
    retract(tx, str(JULIET), by=JULIET, node=UNESCAPED)
    assert ids(retrieve(tx, ROMEO, ATTACHMENTS)) == []
    attach(tx, JULIET, HEART)
    assert ids(retrieve(tx, ROMEO, ATTACHMENTS)) == [str(JULIET)]


def test_comments_have_attachments_too(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    comment(tx, JULIET)
    name = depending.attachments_of(ItemAddress(ROMEO, COMMENTS, "c1"))
    attach(tx, NURSE, HEART, node=name)
    assert ids(retrieve(tx, PARIS, name)) == [str(NURSE)]
    retract(tx, "c1", node=COMMENTS)
    with pytest.raises(ItemNotFound):
        retrieve(tx, PARIS, name)


# who may


def followers_post(tx: Transaction) -> None:
    """A post for followers on an open feed, which Juliet follows."""
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1", audience=Audience.FOLLOWERS)


def test_comments_are_for_those_who_may_read_the_post(tx: Transaction) -> None:
    followers_post(tx)
    assert comment(tx, JULIET).audience is Audience.FOLLOWERS
    assert comments(tx, JULIET) == comments(tx, ROMEO) == ["c1"]
    for stranger in (NURSE, PARIS):
        with pytest.raises(ItemNotFound, match=NO_SUCH_NODE):
            comments(tx, stranger)
        with pytest.raises(Forbidden):
            comment(tx, stranger, "c2")
        with pytest.raises(ItemNotFound, match=NO_SUCH_NODE):
            attach(tx, stranger, HEART)
        with pytest.raises(Refusal):
            subscribe(tx, stranger, COMMENTS)


def test_whoever_follows_no_longer_reads_no_comments_any_longer(tx: Transaction) -> None:
    followers_post(tx)
    comment(tx, JULIET)
    assert subscribe(tx, JULIET, COMMENTS) is SubscriptionState.SUBSCRIBED
    request = subscribing.Unsubscribe(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET)
    subscribing.unsubscribe(tx, request)
    with pytest.raises(ItemNotFound):
        comments(tx, JULIET)
    item = comment(tx, ROMEO, "c2")
    last = delivering.next_batch(tx, "capulet.example", True).deliveries[-1]
    assert last.event is not None
    assert (last.event.seq, last.recipients) == (item.position, ())
    node = tx.nodes.find(ROMEO, COMMENTS)
    assert node is not None
    assert subscribing.may_read(tx, node.key, (JULIET, ROMEO)) == {ROMEO}


def test_comments_go_to_followers_of_the_post_s_author_only_by_certificate(tx: Transaction) -> None:
    followers_post(tx)
    subscribe(tx, JULIET, COMMENTS)
    comment(tx, ROMEO)
    assert [one.recipients for one in delivering.next_batch(tx, "capulet.example", False).deliveries] == []
    assert [one.recipients for one in delivering.next_batch(tx, "capulet.example", True).deliveries][-1] == (JULIET,)


def test_what_is_said_to_a_local_post_stays_here(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1", audience=Audience.LOCAL)
    assert comment(tx, BENVOLIO).audience is Audience.LOCAL
    assert comments(tx, BENVOLIO) == ["c1"]
    with pytest.raises(ItemNotFound):
        comments(tx, JULIET)
    with pytest.raises(ItemNotFound):
        subscribe(tx, JULIET, COMMENTS)
    with pytest.raises(Forbidden):
        comment(tx, JULIET, "c2")


def test_what_is_said_to_a_direct_post_is_for_its_readers(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1", audience=Audience.DIRECT, readers=(BENVOLIO, JULIET))
    item = comment(tx, BENVOLIO)
    assert item.audience is Audience.DIRECT
    assert tx.items.mentioned(item.key) == {ROMEO: True, BENVOLIO: True, JULIET: True}
    with pytest.raises(Forbidden):
        comment(tx, NURSE, "c2")
    for reader in (ROMEO, BENVOLIO, JULIET):
        assert comments(tx, reader) == ["c1"]
        assert ids(retrieve(tx, reader, COMMENTS, item_ids=("c1",))) == ["c1"]
    untrusted = frozenset((Audience.PUBLIC,))
    assert ids(retrieve(tx, JULIET, COMMENTS, audiences=untrusted)) == []
    for wanted in ({}, {"item_ids": ("c1",)}):
        with pytest.raises(ItemNotFound):
            retrieve(tx, NURSE, COMMENTS, **wanted)


def test_an_owner_who_closes_the_feed_closes_what_hangs_on_it(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, NURSE)
    post(tx, "1")
    comment(tx, JULIET)
    configure(tx, access_model="presence")
    assert comments(tx, NURSE) == ["c1"]
    for attempt in (lambda: comments(tx, JULIET), lambda: comment(tx, JULIET, "c2")):
        with pytest.raises(Refusal):
            attempt()
    with pytest.raises(PresenceSubscriptionRequired):
        subscribe(tx, JULIET, COMMENTS)
    comment(tx, NURSE, "c3")
    node = tx.nodes.find(ROMEO, COMMENTS)
    assert node is not None and node.config.access_model is AccessModel.PRESENCE


def test_who_is_cast_out_of_the_feed_is_cast_out_of_the_comments(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    affiliate(tx, PARIS, Affiliation.OUTCAST)
    for attempt in (lambda: comments(tx, PARIS), lambda: comment(tx, PARIS), lambda: subscribe(tx, PARIS, COMMENTS)):
        with pytest.raises(Forbidden):
            attempt()


def test_the_owner_closes_a_thread_and_removes_comments(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    comment(tx, JULIET)
    configure(tx, COMMENTS, publish_model="publishers")
    with pytest.raises(Forbidden):
        comment(tx, NURSE, "c2")
    retract(tx, "c1", node=COMMENTS)
    assert comments(tx) == []
    with pytest.raises(Forbidden):
        retract(tx, "c1", by=NURSE, node=COMMENTS)


def test_one_s_own_comment_can_be_taken_back_always(tx: Transaction) -> None:
    followers_post(tx)
    comment(tx, JULIET)
    subscribing.unsubscribe(tx, subscribing.Unsubscribe(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET))
    retract(tx, "c1", by=JULIET, node=COMMENTS)
    assert comments(tx) == []


def test_nobody_edits_another_s_comment(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    comment(tx, JULIET)
    with pytest.raises(Forbidden):
        comment(tx, NURSE, "c1", "no")


def test_a_comment_that_was_removed_does_not_come_back(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    comment(tx, JULIET)
    retract(tx, "c1", node=COMMENTS)
    with pytest.raises(Conflict):
        comment(tx, JULIET)


# the end


def test_what_hangs_on_a_post_goes_with_it(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    comment(tx, JULIET)
    attach(tx, JULIET, HEART)
    name = depending.attachments_of(ItemAddress(ROMEO, COMMENTS, "c1"))
    attach(tx, NURSE, HEART, node=name)
    retract(tx, "1")
    assert [node.name for node in tx.nodes.of(ROMEO, dependent=True)] == [MICROBLOG]


def test_those_who_subscribed_to_comments_are_told_that_they_went(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    subscribe(tx, JULIET, COMMENTS)
    comment(tx, NURSE)
    retract(tx, "1")
    (purged,) = (event for event in tx.emitted if isinstance(event, NodePurged))
    assert (purged.node.name, purged.domains) == (COMMENTS, ("capulet.example",))
    assert comments(tx) == []


def test_a_purged_or_deleted_feed_leaves_no_comments(tx: Transaction) -> None:
    an_account(tx)
    for end in (
        lambda: owning.purge(tx, owning.Purge(service=ROMEO, node=MICROBLOG, actor=ROMEO)),
        lambda: owning.delete(tx, owning.Delete(service=ROMEO, node=MICROBLOG, actor=ROMEO)),
    ):
        post(tx, "1")
        comment(tx, JULIET)
        attach(tx, JULIET, HEART)
        end()
        assert [node.name for node in tx.nodes.of(ROMEO, dependent=True) if node.name != MICROBLOG] == []


def test_an_account_goes_with_the_comments_on_its_posts(tx: Transaction) -> None:
    class Notices:
        def deletion(self, service: JID, node: str) -> object:
            return lambda jid: f"{node} is gone"

        def withdraw(self, service: JID, node: str, item: object) -> str:
            return f"withdrawn from {node}"

        def presence_change(self, type_: str, from_: JID, to: JID) -> str:
            return type_

    an_account(tx)
    post(tx, "1")
    subscribe(tx, JULIET, COMMENTS)
    comment(tx, JULIET)
    attach(tx, JULIET, HEART)
    registering.remove_account(tx, "romeo", Notices())  # type: ignore[arg-type]
    assert tx.nodes.of(ROMEO, dependent=True) == []
    assert f"{COMMENTS} is gone" in owed(tx)


# answers


def test_an_answer_is_a_comment_as_well(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    answer(tx, BENVOLIO)
    (copy,) = retrieve(tx, JULIET, COMMENTS).page.items
    assert (copy.id, copy.publisher, copy.answers, copy.stands) == ("a1", BENVOLIO, POST.uri, None)
    assert owed(tx) == []


def test_an_answer_is_edited_and_deleted_with_its_copy(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    answer(tx, BENVOLIO)
    answer(tx, BENVOLIO, text="or not")
    assert [item.payload for item in retrieve(tx, JULIET, COMMENTS).page.items] == ["<entry>or not</entry>"]
    delete(tx, BENVOLIO, "a1")
    assert comments(tx) == []
    assert [event.node.service for event in tx.emitted if isinstance(event, ItemRetracted)] == [BENVOLIO, ROMEO]


def test_an_answer_is_edited_when_the_post_is_for_fewer_people_now(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    a_contact(tx, ROMEO, BENVOLIO)
    post(tx, "1")
    answer(tx, BENVOLIO)
    configure(tx, access_model="presence")
    answer(tx, BENVOLIO, text="or not")
    assert [item.payload for item in retrieve(tx, ROMEO, COMMENTS).page.items] == ["<entry>or not</entry>"]
    with pytest.raises(Refusal):
        comments(tx, JULIET)


def test_an_answer_to_an_answer_is_in_the_same_thread(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    answer(tx, BENVOLIO)
    thread = node_uri(ROMEO, COMMENTS)
    answer(tx, ROMEO, "a2", to=ItemAddress(BENVOLIO, MICROBLOG, "a1"), thread=thread)
    assert comments(tx, JULIET) == ["a1", "a2"]


def test_an_answer_to_somebody_elsewhere_is_sent_there(tx: Transaction) -> None:
    an_account(tx)
    there = ItemAddress(JULIET, MICROBLOG, "7")
    answer(tx, ROMEO, to=there)
    assert owed(tx) == [f"copy of a1 for {JULIET} {COMMENTS_PREFIX}7"]
    assert [event.domains for event in tx.emitted] == [("capulet.example",)]
    answer(tx, ROMEO, to=there, text="or not")
    delete(tx, ROMEO, "a1")
    assert owed(tx)[2:] == [f"withdrawal of a1 from {JULIET} {COMMENTS_PREFIX}7"]


@pytest.mark.parametrize("audience", [Audience.FOLLOWERS, Audience.LOCAL, Audience.DIRECT])
def test_an_answer_for_fewer_people_is_not_put_where_others_read(tx: Transaction, audience: Audience) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    readers = (ROMEO,) if audience is Audience.DIRECT else ()
    answer(tx, BENVOLIO, audience=audience, readers=readers)
    answer(tx, BENVOLIO, "a2", to=ItemAddress(JULIET, MICROBLOG, "7"), audience=audience, readers=readers)
    assert owed(tx) == []
    # Everybody here reads what is for everybody here.
    assert comments(tx, BENVOLIO) == (["a1"] if audience is Audience.LOCAL else [])
    assert comments(tx, JULIET) == []


def test_an_answer_to_a_post_for_followers_is_read_by_its_followers(tx: Transaction) -> None:
    followers_post(tx)
    an_account(tx, BENVOLIO)
    subscribe(tx, BENVOLIO)
    assert answer(tx, BENVOLIO).audience is Audience.FOLLOWERS
    assert comments(tx, JULIET) == ["a1"]
    with pytest.raises(ItemNotFound):
        comments(tx, NURSE)


def test_an_answer_where_one_may_not_write_stays_one_s_own(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    comment(tx, JULIET)
    configure(tx, COMMENTS, publish_model="publishers")
    answer(tx, BENVOLIO)
    assert comments(tx) == ["c1"]
    node = tx.nodes.find(BENVOLIO, MICROBLOG)
    assert node is not None and tx.items.get(node.key, "a1") is not None


def test_an_answer_that_the_thread_s_owner_removed_does_not_come_back_by_an_edit(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    answer(tx, BENVOLIO)
    retract(tx, "a1", node=COMMENTS)
    answer(tx, BENVOLIO, text="but")
    assert comments(tx) == []


def test_an_answer_does_not_take_the_place_of_another_s_comment(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    comment(tx, JULIET, "a1")
    answer(tx, BENVOLIO)
    (kept,) = retrieve(tx, ROMEO, COMMENTS).page.items
    assert kept.publisher == JULIET
    delete(tx, BENVOLIO, "a1")
    assert comments(tx) == ["a1"]


ODD_THREADS = {
    "a missing post": (ItemAddress(ROMEO, MICROBLOG, "none"), ""),
    "itself": (ItemAddress(BENVOLIO, MICROBLOG, "a1"), ""),
    "a feed for a thread": (POST, node_uri(ROMEO, MICROBLOG)),
    "an item for a thread": (POST, item_uri(ROMEO, COMMENTS, "c1")),
    "something of elsewhere": (POST, node_uri(JULIET, MICROBLOG)),
    "no address": (POST, "https://capulet.example/7"),
}


@pytest.mark.parametrize("odd", ODD_THREADS.values(), ids=ODD_THREADS.keys())
def test_an_answer_to_anything_odd_is_stored_and_nothing_else(tx: Transaction, odd: tuple[ItemAddress, str]) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    to, thread = odd
    answer(tx, BENVOLIO, to=to, thread=thread)
    node = tx.nodes.find(BENVOLIO, MICROBLOG)
    assert node is not None and tx.items.get(node.key, "a1") is not None
    assert owed(tx) == []
    assert {node.name for service in (ROMEO, BENVOLIO) for node in tx.nodes.of(service, dependent=True)} == {MICROBLOG}


def test_an_answer_to_what_is_private_is_no_wider(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1", audience=Audience.LOCAL)
    assert answer(tx, BENVOLIO, audience=Audience.PUBLIC).audience is Audience.LOCAL


def test_answers_in_a_circle(tx: Transaction) -> None:
    an_account(tx)
    one, two = ItemAddress(ROMEO, MICROBLOG, "one"), ItemAddress(ROMEO, MICROBLOG, "two")
    answer(tx, ROMEO, "one", to=two)
    answer(tx, ROMEO, "two", to=one)
    answer(tx, ROMEO, "one", to=two, text="again")
    delete(tx, ROMEO, "one")
    delete(tx, ROMEO, "two")
    assert [node.name for node in tx.nodes.of(ROMEO, dependent=True)] == [MICROBLOG]
