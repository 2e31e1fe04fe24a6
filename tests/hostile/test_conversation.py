"""Group I, what is said to others' posts: I158 odd answers, I159 repetitions of what is not for all."""

from collections.abc import Callable

import pytest

from microblog.model.entry import Entry
from microblog.model.errors import ItemNotFound, NotAllowed
from microblog.model.event import ItemPublished
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.model.uri import ItemAddress, item_uri, node_uri
from microblog.store.transaction import Transaction
from microblog.usecases import copying, following, publishing, reading, receiving
from microblog.usecases.publishing import Publish
from microblog.usecases.reading import Thread
from tests.usecases.pubsub import BENVOLIO, JULIET, ROMEO, an_account, post, retract

DEEP = 150


def says(tx: Transaction, item_id: str, by: JID = ROMEO, **entry: str) -> None:
    request = Publish(
        service=by,
        node=MICROBLOG,
        actor=by,
        item_id=item_id,
        payload=f"<entry>{item_id}</entry>",
        entry=Entry(title=item_id, **entry),  # type: ignore[arg-type]
    )
    publishing.publish(tx, request)


def thread(tx: Transaction, item_id: str, reader: JID = ROMEO, service: JID = ROMEO) -> list[str]:
    address = ItemAddress(service, MICROBLOG, item_id)
    return [placed.item.id for placed in reading.thread(tx, Thread(address=address, actor=reader)).posts]


def comments(item_id: str, service: JID = ROMEO) -> str:
    return node_uri(service, COMMENTS_PREFIX + item_id)


@pytest.fixture(autouse=True)
def people(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)


@pytest.mark.parametrize("thread_uri", ["", comments("none"), comments("1"), node_uri(ROMEO, MICROBLOG), "xmpp:"])
def test_i158_an_answer_to_what_is_not_there(tx: Transaction, thread_uri: str) -> None:
    says(tx, "1", answers=item_uri(ROMEO, MICROBLOG, "none"), thread=thread_uri)
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None and tx.items.get(node.key, "1") is not None
    if thread_uri != "xmpp:":
        assert "1" in thread(tx, "1")


def test_i158_an_answer_to_itself(tx: Transaction) -> None:
    says(tx, "1", answers=item_uri(ROMEO, MICROBLOG, "1"), thread=comments("1"))
    assert thread(tx, "1") == ["1"]


def test_i158_answers_in_a_circle_come_once_each(tx: Transaction) -> None:
    for one, other in (("1", "2"), ("2", "3"), ("3", "1")):
        says(tx, one, answers=item_uri(ROMEO, MICROBLOG, other), thread=comments("1"))
    assert sorted(thread(tx, "2")) == ["1", "2", "3"]


def test_i158_a_thread_is_as_deep_as_you_like(tx: Transaction) -> None:
    says(tx, "0-0", thread=comments("0-0"))
    for number in range(1, DEEP):
        says(tx, f"0-{number}", answers=item_uri(ROMEO, MICROBLOG, f"0-{number - 1}"), thread=comments("0-0"))
    assert len(thread(tx, "0-0")) == DEEP


def test_i158_an_answer_to_a_private_post_tells_nobody_of_it(tx: Transaction) -> None:
    says(tx, "1", thread=comments("1"))
    post(tx, "private", audience=Audience.DIRECT, readers=(JULIET,))
    says(tx, "2", by=BENVOLIO, answers=item_uri(ROMEO, MICROBLOG, "private"), thread=comments("private"))
    node = tx.nodes.find(BENVOLIO, MICROBLOG)
    assert node is not None
    item = tx.items.get(node.key, "2")
    assert item is not None and item.audience is Audience.DIRECT
    assert "private" not in thread(tx, "2", reader=BENVOLIO, service=BENVOLIO)
    assert tx.outbox.owed("capulet.example", frozenset(Audience), limit=10) == []


def delete(tx: Transaction) -> None:
    post(tx, "1")
    retract(tx, "1")


def never(tx: Transaction) -> None:
    pass


def for_followers(tx: Transaction) -> None:
    post(tx, "1", audience=Audience.FOLLOWERS)


def for_this_node(tx: Transaction) -> None:
    post(tx, "1", audience=Audience.LOCAL)


def private(tx: Transaction) -> None:
    post(tx, "1", audience=Audience.DIRECT, readers=(JULIET,))


PREPARATIONS = [delete, never, for_followers, for_this_node, private]


@pytest.mark.parametrize("prepare", PREPARATIONS)
def test_i159_what_is_private_or_gone_is_not_repeated(tx: Transaction, prepare: Callable[[Transaction], None]) -> None:
    prepare(tx)
    with pytest.raises((NotAllowed, ItemNotFound)):
        says(tx, "r1", by=BENVOLIO, via=item_uri(ROMEO, MICROBLOG, "1"))
    node = tx.nodes.find(BENVOLIO, MICROBLOG)
    assert node is not None and tx.items.count(node.key) == 0


@pytest.mark.parametrize("prepare", PREPARATIONS)
def test_i159_who_repeats_it_elsewhere_is_not_shown_here(
    tx: Transaction, prepare: Callable[[Transaction], None]
) -> None:
    prepare(tx)
    receive(tx, "r1", via=item_uri(ROMEO, MICROBLOG, "1"))
    receive(tx, "r2")
    assert kept(tx) == ["r2"]
    assert [event.item.id for event in tx.emitted if isinstance(event, ItemPublished)][-1] == "r2"


def test_i159_what_was_public_elsewhere_and_is_gone_is_not_shown_either(tx: Transaction) -> None:
    receive(tx, "1")
    receive(tx, "r1", via=item_uri(JULIET, MICROBLOG, "1"))
    receive(tx, "", retracted=("1",))
    receive(tx, "r2", via=item_uri(JULIET, MICROBLOG, "1"))
    assert kept(tx) == ["r1"]


def test_i159_what_is_fetched_is_looked_at_alike(tx: Transaction) -> None:
    delete(tx)
    receive(tx, "2")
    item = copying.ReceivedItem(
        id="r1", payload="<entry/>", entry=Entry(title="look", via=item_uri(ROMEO, MICROBLOG, "1"))
    )
    request = copying.Backfill(service=JULIET, node=MICROBLOG, proof=Proof.CERTIFICATE, items=(item,))
    copying.backfill(tx, request)
    assert kept(tx) == ["2"]


def receive(tx: Transaction, item_id: str, retracted: tuple[str, ...] = (), **entry: str) -> None:
    """Something comes from Juliet's feed, which Romeo follows."""
    follow = following.Follow(account=ROMEO, service=JULIET, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
    following.record_subscribe(tx, follow)
    said = Entry(title=item_id, **entry)  # type: ignore[arg-type]
    item = copying.ReceivedItem(id=item_id, payload=f"<entry>{item_id}</entry>", entry=said)
    request = receiving.Received(
        service=JULIET,
        node=MICROBLOG,
        recipient=ROMEO,
        sender_domain="capulet.example",
        proof=Proof.CERTIFICATE,
        published=(item,) if item_id else (),
        retracted=retracted,
    )
    receiving.receive(tx, request)


def kept(tx: Transaction) -> list[str]:
    node = tx.nodes.find(JULIET, MICROBLOG)
    assert node is not None
    return [item.id for item in tx.items.newest(node.key, 10)]
