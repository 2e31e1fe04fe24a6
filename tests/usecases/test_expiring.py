"""Items that end by themselves."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from microblog.model.errors import PreconditionNotMet
from microblog.model.event import ItemRetracted
from microblog.model.item import Proof
from microblog.model.node import MICROBLOG
from microblog.store.transaction import Transaction
from microblog.usecases import copying, expiring, publishing, receiving
from microblog.usecases.expiring import Expired
from tests.usecases.pubsub import (
    JULIET,
    MOOD,
    NOON,
    ROMEO,
    a_contact,
    an_account,
    an_entry,
    configure,
    ids,
    post,
    put,
    retrieve,
    subscribe,
)


def post_until(tx: Transaction, item_id: str, expires: datetime) -> None:
    said = an_entry(item_id)
    said["entry"] = replace(said["entry"], expires=expires)
    publishing.publish(tx, publishing.Publish(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id=item_id, **said))


def later(tx: Transaction, **delta: float) -> Expired:
    """What goes when it is so much later."""
    tx.now += timedelta(**delta)
    return expiring.expire(tx)


def test_a_post_ends_when_its_author_said(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "stays")
    post_until(tx, "2", NOON + timedelta(hours=2))
    post_until(tx, "1", NOON + timedelta(hours=1))
    assert later(tx, minutes=59) == Expired(items=0, more=False)
    assert later(tx, minutes=1) == Expired(items=1, more=False)
    assert ids(retrieve(tx)) == ["stays", "2"]
    event = tx.emitted[-1]
    assert isinstance(event, ItemRetracted) and event.item_id == "1" and event.notify
    assert event.domains == ("capulet.example",)
    assert later(tx, hours=5).items == 1
    assert ids(retrieve(tx)) == ["stays"]


def test_an_edit_may_change_the_end(tx: Transaction) -> None:
    an_account(tx)
    post_until(tx, "1", NOON + timedelta(hours=1))
    post(tx, "1", "for ever", minutes=1)
    assert later(tx, hours=2).items == 0
    assert ids(retrieve(tx)) == ["1"]


def test_a_node_has_items_for_so_many_seconds(tx: Transaction) -> None:
    an_account(tx)
    configure(tx, item_expire="60")
    post(tx, "1")
    post_until(tx, "2", NOON + timedelta(seconds=30))
    post_until(tx, "3", NOON + timedelta(days=1))
    assert later(tx, seconds=30).items == 1
    assert ids(retrieve(tx)) == ["1", "3"]
    assert later(tx, seconds=30).items == 2


def test_an_item_that_is_published_again_stays_as_long_again(tx: Transaction) -> None:
    an_account(tx)
    put(tx, MOOD, options={"item_expire": ["60"]})
    tx.now += timedelta(seconds=50)
    put(tx, MOOD, payload="<y/>", options={"item_expire": ["60"]})
    assert later(tx, seconds=20).items == 0
    assert later(tx, seconds=40).items == 1
    assert ids(retrieve(tx, node=MOOD)) == []


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5", ""])
def test_only_a_number_of_seconds_is_one(tx: Transaction, value: str) -> None:
    an_account(tx)
    with pytest.raises(PreconditionNotMet):
        put(tx, MOOD, options={"item_expire": [value]})
    put(tx, MOOD, options={"item_expire": ["max"]})


def test_a_node_that_keeps_nothing_forgets_its_last_item(tx: Transaction) -> None:
    an_account(tx)
    put(tx, MOOD, options={"persist_items": ["0"], "item_expire": ["60"]})
    assert later(tx, minutes=2).items == 1
    assert later(tx, minutes=2).items == 0


def test_our_copy_of_a_post_ends_too(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET, "to")
    said = an_entry("night")
    said["entry"] = replace(said["entry"], expires=NOON + timedelta(hours=1))
    received = receiving.Received(
        service=JULIET,
        node=MICROBLOG,
        recipient=ROMEO,
        sender_domain="capulet.example",
        proof=Proof.CERTIFICATE,
        published=(copying.ReceivedItem(id="1", **said),),
    )
    receiving.receive(tx, received)
    node = tx.nodes.find(JULIET, MICROBLOG)
    assert node is not None and tx.items.get(node.key, "1") is not None
    assert later(tx, hours=1).items == 1
    assert tx.items.get(node.key, "1") is None
    assert tx.outbox.backlog() == {}
    receiving.receive(tx, received)
    assert tx.items.get(node.key, "1") is None


def test_not_all_at_once(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiring, "ITEMS_MAX", 2)
    an_account(tx)
    for number in range(1, 4):
        post_until(tx, str(number), NOON)
    assert later(tx, seconds=1) == Expired(items=2, more=True)
    assert later(tx, seconds=1) == Expired(items=1, more=False)
