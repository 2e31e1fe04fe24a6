"""Who holds a post: written down when it is confirmed, told when it is retracted, whoever follows by then."""

from datetime import timedelta

import pytest

from microblog.model.event import ItemPublished, ItemRetracted, NodePurged
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.transaction import Transaction
from microblog.usecases import copying, delivering, forgetting, owning, receiving, subscribing
from microblog.usecases.delivering import Batch, Delivery, next_batch
from tests.conftest import Time
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    MOOD,
    NURSE,
    PARIS,
    ROMEO,
    a_contact,
    an_account,
    an_entry,
    configure,
    post,
    put,
    retract,
    subscribe,
)

CAPULET = "capulet.example"


def deliver(tx: Transaction, domain: str = CAPULET) -> Batch:
    """Everything that a domain is owed goes and is confirmed."""
    batch = next_batch(tx, domain, True)
    delivering.done(tx, batch.deliveries)
    return batch


def unsubscribe(tx: Transaction, jid: JID = JULIET) -> None:
    subscribing.unsubscribe(tx, subscribing.Unsubscribe(service=ROMEO, node=MICROBLOG, actor=jid, jid=jid))


def told(batch: Batch) -> list[tuple[type, tuple[JID, ...]]]:
    return [(type(one.event), one.recipients) for one in batch.deliveries if one.recipients]


def holders(tx: Transaction, item_id: str = "1") -> dict[str, tuple[JID, str]]:
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    return {holder.domain: (holder.witness, holder.refused) for holder in tx.holders.of(node.key, item_id)}


def test_a_domain_holds_what_it_confirmed(tx: Transaction) -> None:
    an_account(tx)
    for follower in (JULIET, NURSE, PARIS, BENVOLIO):
        subscribe(tx, follower)
    post(tx, "1")
    assert holders(tx) == {}
    deliver(tx)
    assert holders(tx) == {CAPULET: (JULIET, "")}
    deliver(tx, "verona.example")
    assert holders(tx) == {CAPULET: (JULIET, ""), "verona.example": (PARIS, "")}


def test_a_retraction_reaches_a_domain_where_nobody_follows_any_more(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    deliver(tx)
    unsubscribe(tx)
    retract(tx, "1")
    assert tx.emitted[-1].domains == (CAPULET,)
    assert told(deliver(tx)) == [(ItemRetracted, (JULIET,))]
    assert holders(tx) == {}
    assert tx.outbox.count(CAPULET) == 0


def test_where_somebody_follows_the_witness_is_not_bothered(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    deliver(tx)
    unsubscribe(tx)
    subscribe(tx, NURSE)
    retract(tx, "1")
    assert told(deliver(tx)) == [(ItemRetracted, (NURSE,))]


def test_who_was_never_told_is_not_told_of_the_retraction(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    unsubscribe(tx)
    deliver(tx)
    retract(tx, "1")
    assert tx.outbox.count(CAPULET) == 0


def test_a_post_that_was_retracted_before_its_confirmation_came(tx: Transaction) -> None:
    """It was on its way when its author took it back and the only follower left."""
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    on_its_way = next_batch(tx, CAPULET, True)
    unsubscribe(tx)
    retract(tx, "1")
    assert tx.outbox.count(CAPULET) == 1
    delivering.done(tx, on_its_way.deliveries)
    assert told(deliver(tx)) == [(ItemRetracted, (JULIET,))]


def test_a_node_that_was_deleted_before_the_confirmation_came(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    on_its_way = next_batch(tx, CAPULET, True)
    owning.delete(tx, owning.Delete(service=ROMEO, node=MICROBLOG, actor=ROMEO))
    delivering.done(tx, on_its_way.deliveries)
    assert tx.outbox.count(CAPULET) == 0


def test_some_pages_of_followers_are_enough_to_hold(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    subscribe(tx, NURSE)
    post(tx, "1")
    first = next_batch(tx, CAPULET, True, limit_stanzas=1)
    assert first.deliveries[0].ids == ()
    delivering.done(tx, first.deliveries)
    assert holders(tx) == {CAPULET: (JULIET, "")}


@pytest.mark.parametrize("purged", [True, False])
def test_a_purge_and_a_deletion_reach_the_holders(tx: Transaction, purged: bool) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    deliver(tx)
    unsubscribe(tx)
    if purged:
        owning.purge(tx, owning.Purge(service=ROMEO, node=MICROBLOG, actor=ROMEO))
        assert told(deliver(tx)) == [(NodePurged, (JULIET,))]
    else:
        gone = owning.Delete(service=ROMEO, node=MICROBLOG, actor=ROMEO, notice=lambda jid: f"<gone to='{jid}'/>")
        owning.delete(tx, gone)
        assert [one.stanza for one in next_batch(tx, CAPULET, True).deliveries] == [
            "<gone to='juliet@capulet.example'/>"
        ]


def test_only_posts_are_remembered(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET)
    put(tx, MOOD)
    subscribe(tx, JULIET, MOOD)
    put(tx, MOOD, "current", "<y/>")
    deliver(tx)
    node = tx.nodes.find(ROMEO, MOOD)
    assert node is not None and tx.holders.of(node.key, "current") == []


def published(tx: Transaction) -> int:
    """The event of the last post."""
    return next(event.seq for event in reversed(tx.emitted) if isinstance(event, ItemPublished))


def test_a_refusal_is_said_when_nobody_is_left_who_took_it(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    subscribe(tx, NURSE)
    post(tx, "1")
    deliver(tx)
    delivering.refused(tx, ROMEO, JULIET, published(tx), "item-not-found")
    assert holders(tx) == {CAPULET: (NURSE, "")}
    delivering.refused(tx, ROMEO, NURSE, published(tx), "not-allowed")
    assert holders(tx) == {CAPULET: (NURSE, "not-allowed")}


def test_a_refusal_that_overtakes_the_confirmation_stands(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    delivering.refused(tx, ROMEO, JULIET, published(tx), "not-allowed")
    deliver(tx)
    assert holders(tx) == {CAPULET: (JULIET, "not-allowed")}


def test_a_stranger_cannot_refuse(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    subscribe(tx, JULIET)
    post(tx, "1")
    deliver(tx)
    for service, by in ((ROMEO, PARIS), (ROMEO, NURSE), (BENVOLIO, JULIET)):
        delivering.refused(tx, service, by, published(tx), "not-allowed")
    delivering.refused(tx, ROMEO, JULIET, 10**15, "not-allowed")
    assert holders(tx) == {CAPULET: (JULIET, "")}


def test_what_can_never_be_sent_is_refused(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    [delivery] = next_batch(tx, CAPULET, True).deliveries
    never = Delivery(ids=delivery.ids, event=delivery.event, recipients=delivery.recipients, refused="too large")
    delivering.done(tx, [never])
    assert holders(tx) == {CAPULET: (JULIET, "too large")}


def test_what_is_known_of_retracted_posts_is_forgotten_in_time(tx: Transaction, time: Time) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1")
    post(tx, "2")
    deliver(tx)
    retract(tx, "1")
    tx.now += timedelta(days=forgetting.DAYS + 1)
    forgetting.forget(tx)
    assert holders(tx) == {}
    assert holders(tx, "2") == {CAPULET: (JULIET, "")}


def test_what_was_for_fewer_stays_for_fewer_when_its_node_opens(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1", audience=Audience.FOLLOWERS)
    post(tx, "2")
    configure(tx, access_model="presence")
    configure(tx, access_model="open")
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    assert [item.audience for item in tx.items.newest(node.key, 9)] == [Audience.FOLLOWERS, Audience.FOLLOWERS]


# the other side


def receive(tx: Transaction, recipient: JID, **more: object) -> receiving.Receipt:
    values = {"service": JULIET, "node": MICROBLOG, "sender_domain": CAPULET, "proof": Proof.DIALBACK, **more}
    return receiving.receive(tx, receiving.Received(recipient=recipient, **values))  # type: ignore[arg-type]


def ours(tx: Transaction) -> list[str]:
    """Our copies of Juliet's posts."""
    node = tx.nodes.find(JULIET, MICROBLOG)
    return [] if node is None else [item.id for item in tx.items.newest(node.key, 9)]


@pytest.fixture
def copies(tx: Transaction) -> None:
    """Romeo follows Juliet, and has two posts of hers; Benvolio does not follow."""
    an_account(tx)
    an_account(tx, BENVOLIO)
    a_contact(tx, ROMEO, JULIET, "to")
    for item_id in ("1", "2"):
        receive(tx, ROMEO, published=(copying.ReceivedItem(id=item_id, **an_entry(item_id)),))
    assert ours(tx) == ["1", "2"]


@pytest.mark.usefixtures("copies")
def test_a_retraction_is_heeded_whoever_is_told(tx: Transaction) -> None:
    assert not receive(tx, BENVOLIO, retracted=("1", "unknown")).ignored
    assert ours(tx) == ["2"]
    receive(tx, ROMEO, published=(copying.ReceivedItem(id="1", **an_entry("1")),))
    assert ours(tx) == ["2"]


@pytest.mark.usefixtures("copies")
def test_a_retraction_from_elsewhere_is_not_heeded(tx: Transaction) -> None:
    assert receive(tx, BENVOLIO, retracted=("1",), sender_domain="verona.example").ignored
    assert receive(tx, BENVOLIO, retracted=("1",), service=PARIS, sender_domain="verona.example").ignored
    assert ours(tx) == ["1", "2"]


@pytest.mark.usefixtures("copies")
def test_a_post_for_somebody_who_does_not_follow_is_not_taken(tx: Transaction) -> None:
    assert receive(tx, BENVOLIO, published=(copying.ReceivedItem(id="3", **an_entry("3")),)).ignored
    assert ours(tx) == ["1", "2"]


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("how", ["purged", "deleted"])
def test_a_purge_and_a_deletion_are_heeded_too(tx: Transaction, how: str) -> None:
    receive(tx, BENVOLIO, **{how: True})
    assert ours(tx) == []
