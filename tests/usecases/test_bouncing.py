"""What notifications that come back say of those to whom they went."""

from datetime import timedelta

import pytest

from microblog.model.access import AccessModel
from microblog.model.event import NodeEvent, SubscriptionChanged
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.transaction import Transaction
from microblog.usecases import bouncing, delivering
from microblog.usecases.bouncing import Bounce, Suspended, bounced
from tests.usecases.pubsub import JULIET, NURSE, PARIS, ROMEO, an_account, post, retract, subscribe

CAPULET = "capulet.example"


@pytest.fixture
def verona(tx: Transaction) -> Transaction:
    """Juliet and her nurse follow Romeo, and all that was ever sent was confirmed."""
    an_account(tx)
    for follower in (JULIET, NURSE):
        subscribe(tx, follower)
    post(tx, "1")
    delivering.done(tx, delivering.next_batch(tx, CAPULET, True).deliveries)
    tx.emitted.clear()
    return tx


def seq(tx: Transaction, item_id: str = "1") -> int:
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    item = tx.items.get(node.key, item_id)
    assert item is not None
    return item.position


def comes_back(tx: Transaction, condition: str, type_: str = "cancel", **more: object) -> Suspended | None:
    values = {"service": ROMEO, "by": JULIET, "seq": seq(tx), "condition": condition, "type": type_} | more
    return bounced(tx, Bounce(**values))  # type: ignore[arg-type]  # fields of several types


def later(tx: Transaction, **time: float) -> None:
    tx.now += timedelta(**time)


def follows(tx: Transaction, who: JID = JULIET) -> bool:
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    return tx.subscriptions.find(node, who) is not None


@pytest.mark.parametrize("condition", ["item-not-found", "service-unavailable", "jid-malformed"])
def test_who_is_absent_for_three_days_is_suspended(verona: Transaction, condition: str) -> None:
    assert comes_back(verona, condition) is None
    later(verona, hours=71)
    for _ in range(5):
        assert comes_back(verona, condition) is None
    later(verona, hours=1)
    found = comes_back(verona, condition)
    assert found is not None and (found.jid, found.reason) == (JULIET, condition)
    assert not follows(verona) and follows(verona, NURSE)
    (ended,) = [event for event in verona.emitted if isinstance(event, SubscriptionChanged)]
    assert (ended.subscriber, ended.state) == (JULIET, "none")
    assert [one.jid for one in bouncing.suspended(verona, ROMEO)] == [JULIET]


def test_two_over_many_days_are_not_enough(verona: Transaction) -> None:
    for _ in range(2):
        assert comes_back(verona, "item-not-found") is None
        later(verona, days=20)
    later(verona, days=15)
    assert comes_back(verona, "item-not-found") is None
    assert follows(verona)


def test_who_does_not_want_it_is_suspended_at_the_third(verona: Transaction) -> None:
    assert [comes_back(verona, condition, "auth") for condition in ("forbidden", "not-authorized")] == [None, None]
    assert comes_back(verona, "forbidden", "auth") is not None
    assert not follows(verona)


def test_who_is_gone_is_suspended_at_once_and_not_followed_anywhere(verona: Transaction) -> None:
    found = comes_back(verona, "gone", moved_to="xmpp:juliet@mantua.example")
    assert found is not None and found.moved_to == "xmpp:juliet@mantua.example"
    assert not follows(verona)
    assert bouncing.suspended(verona, ROMEO)[0].moved_to == "xmpp:juliet@mantua.example"
    assert verona.outbox.domains() == []


def test_what_is_about_the_item_says_nothing_of_the_reader(verona: Transaction) -> None:
    for _ in range(5):
        assert comes_back(verona, "policy-violation", "modify") is None
        later(verona, days=1)
    assert follows(verona)
    node = verona.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    for reader in (JULIET, NURSE):
        comes_back(verona, "policy-violation", by=reader)
    (holder,) = verona.holders.of(node.key, "1")
    assert (holder.domain, holder.refused) == (CAPULET, "policy-violation")


def test_reasons_do_not_add_up(verona: Transaction) -> None:
    for condition in ("forbidden", "item-not-found", "not-authorized", "service-unavailable") * 2:
        assert comes_back(verona, condition) is None
        later(verona, days=2)
    assert follows(verona)


@pytest.mark.parametrize(
    "forged",
    [
        {"by": PARIS},
        {"by": JID.parse("tybalt@capulet.example")},
        {"service": JID.parse("benvolio@montague.example")},
        {"seq": 10_000},
        {"by": JID.parse("romeo@montague.example")},
    ],
)
def test_nobody_ends_the_subscription_of_another(verona: Transaction, forged: dict[str, object]) -> None:
    """Ids can be guessed: what was never sent to an address, or not by that account, does nothing."""
    for _ in range(5):
        assert comes_back(verona, "forbidden", "auth", **forged) is None
        assert comes_back(verona, "gone", **forged) is None
        later(verona, days=1)
    assert follows(verona) and follows(verona, NURSE)
    node = verona.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    assert [holder.refused for holder in verona.holders.of(node.key, "1")] == [""]


def test_who_subscribes_again_has_no_past(verona: Transaction) -> None:
    for _ in range(3):
        comes_back(verona, "forbidden", "auth")
    subscribe(verona, JULIET)
    assert bouncing.suspended(verona, ROMEO) == ()
    assert [comes_back(verona, "forbidden", "auth") for _ in range(2)] == [None, None]
    assert follows(verona)


# to wait for


def told_again(tx: Transaction) -> list[tuple[str, JID]]:
    told: list[tuple[str, JID]] = []

    def write(event: NodeEvent, to: JID) -> str:
        told.append((getattr(event, "item_id", "") or event.item.id, to))  # type: ignore[attr-defined]  # one of two kinds
        return "<message/>"

    bouncing.tell_again(tx, write)
    return told


def test_who_is_to_be_waited_for_is_told_again_when_it_is_time(verona: Transaction) -> None:
    assert comes_back(verona, "resource-constraint", "wait") is None
    post(verona, "2")
    assert comes_back(verona, "recipient-unavailable", seq=seq(verona, "2")) is None
    assert told_again(verona) == []
    later(verona, seconds=30)
    assert told_again(verona) == [("1", JULIET), ("2", JULIET)]
    assert verona.outbox.count(CAPULET) == 3
    assert told_again(verona) == []


def test_each_time_it_takes_longer_and_in_the_end_the_item_is_given_up(verona: Transaction) -> None:
    waits = []
    for _ in range(4):
        comes_back(verona, "remote-server-timeout", "wait")
        seconds = 0
        while not told_again(verona):
            later(verona, seconds=10)
            seconds += 10
        waits.append(seconds)
    assert waits == [30, 60, 120, 240]
    for _ in range(10):
        later(verona, days=4)
        comes_back(verona, "remote-server-timeout", "wait")
    assert follows(verona)
    node = verona.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    # Juliet could not take it; of the nurse nothing else is known.
    assert [holder.witness for holder in verona.holders.of(node.key, "1")] == [NURSE]


def test_what_was_retracted_is_told_as_gone_and_what_is_private_by_certificate_only(verona: Transaction) -> None:
    post(verona, "2", audience=Audience.FOLLOWERS)
    comes_back(verona, "resource-constraint", "wait")
    retract(verona, "1")
    delivering.done(verona, delivering.next_batch(verona, CAPULET, True).deliveries)
    later(verona, seconds=30)
    assert told_again(verona) == [("2", JULIET), ("1", JULIET)]
    public = delivering.next_batch(verona, CAPULET, False).deliveries
    assert len(public) == 1 and verona.outbox.count(CAPULET) == 2


def test_who_may_not_read_any_more_is_told_nothing(verona: Transaction) -> None:
    from tests.usecases.pubsub import configure

    comes_back(verona, "resource-constraint", "wait")
    configure(verona, access_model=AccessModel.WHITELIST.value)
    later(verona, days=1)
    assert told_again(verona) == []
