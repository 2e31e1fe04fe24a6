"""docs/protocol/fanout.md §8.2: who another domain is."""

import pytest

from microblog.model.account import derive_keys
from microblog.model.errors import Refusal
from microblog.model.item import Audience
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.model.uri import ItemAddress
from microblog.store.database import Transaction
from microblog.usecases import (
    conversing,
    delivering,
    depending,
    following,
    identity,
    linking,
    moving,
    owning,
    registering,
    subscribing,
)
from microblog.usecases.following import Follow
from microblog.usecases.identity import Answer, Learned
from tests.usecases.pubsub import (
    JULIET,
    PARIS,
    PHONE,
    ROMEO,
    a_contact,
    an_account,
    configure,
    ids,
    post,
    retrieve,
    subscribe,
)

CAPULET = "capulet.example"
NODE = Answer(fanout=True, max_bytes=100_000, max_entries=20, epoch="first")
RESTORED = Answer(fanout=True, max_bytes=100_000, max_entries=20, epoch="second")
STOCK = Answer()


def learn(tx: Transaction, key: str = "", answer: Answer | None = None) -> bool:
    return identity.learn(tx, Learned(domain=CAPULET, key=key, answer=answer))


def test_our_own_epoch_stays_until_there_is_a_new_one(tx: Transaction) -> None:
    first = identity.epoch(tx)
    assert first and identity.epoch(tx) == first
    second = identity.new_epoch(tx)
    assert second != first and identity.epoch(tx) == second


def test_what_a_node_says_is_written_down(tx: Transaction) -> None:
    assert not learn(tx, "k1", NODE)
    peer = tx.peers.get(CAPULET)
    assert (peer.asked, peer.fanout, peer.max_bytes, peer.max_entries, peer.epoch, peer.key) == (
        tx.now,
        True,
        100_000,
        20,
        "first",
        "k1",
    )
    identity.no_log(tx, CAPULET)
    assert not tx.peers.get(CAPULET).fanout


@pytest.mark.parametrize(
    ("key", "answer", "doubted"),
    [
        ("k1", NODE, False),
        ("k2", NODE, False),  # a renewed certificate
        ("k1", RESTORED, False),  # a restored backup
        ("k1", STOCK, False),  # another server of the same owner
        ("k2", RESTORED, True),
        ("k2", STOCK, True),  # somebody else, who has no log
    ],
)
def test_a_domain_is_doubted_if_key_and_epoch_are_other_ones(
    tx: Transaction, key: str, answer: Answer, doubted: bool
) -> None:
    learn(tx, "k1", NODE)
    assert learn(tx, key, answer) is doubted
    assert identity.trusts(tx, CAPULET) is not doubted
    assert tx.peers.get(CAPULET).key == key
    # Said once, and as long as nobody says otherwise.
    assert not learn(tx, key, answer)
    assert identity.trusts(tx, CAPULET) is not doubted


def test_an_administrator_ends_the_doubt(tx: Transaction) -> None:
    learn(tx, "k1", NODE)
    assert not identity.trust(tx, CAPULET)
    learn(tx, "k2", RESTORED)
    assert identity.trust(tx, CAPULET)
    assert identity.trusts(tx, CAPULET)
    assert not learn(tx, "k2", RESTORED)
    assert identity.trusts(tx, CAPULET)
    assert learn(tx, "k3", Answer(fanout=True, max_bytes=100_000, max_entries=20, epoch="third"))


def test_nothing_is_decided_while_the_domain_says_nothing(tx: Transaction) -> None:
    learn(tx, "k1", NODE)
    assert not learn(tx, "k2")
    assert tx.peers.get(CAPULET).key == "k1"
    assert learn(tx, "k2", RESTORED)


def test_a_server_without_a_log_may_have_any_key(tx: Transaction) -> None:
    assert not learn(tx, "k1", STOCK)
    assert not learn(tx, "k2")
    assert not learn(tx, "k3", STOCK)
    assert not learn(tx, "k4", NODE)  # it became a node
    assert identity.trusts(tx, CAPULET)


@pytest.mark.parametrize("steps", [[("", RESTORED), ("k2", RESTORED)], [("", STOCK), ("k2", RESTORED)]])
def test_nobody_changes_one_after_the_other_without_a_certificate(
    tx: Transaction, steps: list[tuple[str, Answer]]
) -> None:
    learn(tx, "k1", NODE)
    (first, second) = steps
    assert not learn(tx, *first)
    assert tx.peers.get(CAPULET).epoch == "first"
    assert learn(tx, *second)


# what a doubted domain gets of what is here


def doubt(tx: Transaction) -> None:
    learn(tx, "k1", NODE)
    assert learn(tx, "k2", RESTORED)


def test_a_doubted_domain_asks_in_vain_for_what_is_not_public(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1", "for all")
    post(tx, "2", "for followers", audience=Audience.FOLLOWERS)
    assert ids(retrieve(tx, JULIET)) == ids(retrieve(tx, JULIET, item_ids=("1", "2"))) == ["1", "2"]
    doubt(tx)
    assert ids(retrieve(tx, JULIET)) == ids(retrieve(tx, JULIET, item_ids=("1", "2"))) == ["1"]
    assert identity.trust(tx, CAPULET)
    assert ids(retrieve(tx, JULIET)) == ["1", "2"]


def test_a_doubted_domain_is_not_sent_last_items_that_are_not_public(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    a_contact(tx, ROMEO, JULIET)
    configure(tx, send_last_published_item="on_sub_and_presence")
    post(tx, "1", "for all")
    post(tx, "2", "for followers", audience=Audience.FOLLOWERS)
    doubt(tx)
    again = subscribing.Subscribe(service=ROMEO, node=MICROBLOG, actor=JULIET.with_resource(PHONE), jid=JULIET)
    last = subscribing.subscribe(tx, again).last
    assert last is not None and last.id == "1"
    interest = subscribing.Interest(service=ROMEO, jid=JULIET.with_resource(PHONE), nodes=frozenset([MICROBLOG]))
    assert [item.id for _, item in subscribing.presence_interest(tx, interest)] == ["1"]


def test_a_domain_that_becomes_doubted_is_not_sent_what_was_about_to_go(tx: Transaction) -> None:
    """Whether it was trusted was asked when the stream to it was opened."""
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1", "for followers", audience=Audience.FOLLOWERS)
    assert len(delivering.next_batch(tx, CAPULET, True).deliveries) == 1
    doubt(tx)
    batch = delivering.next_batch(tx, CAPULET, True)
    assert (batch.deliveries, batch.held) == ((), 1)


def test_what_hangs_on_a_private_post_is_not_shown_to_a_doubted_domain(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    post(tx, "1", "for followers", audience=Audience.FOLLOWERS)
    address = ItemAddress(ROMEO, MICROBLOG, "1")
    assert conversing.see(tx, JULIET, address) is not None
    assert retrieve(tx, JULIET, depending.attachments_of(address)).page.items == ()
    doubt(tx)
    with pytest.raises(Refusal):
        conversing.see(tx, JULIET, address)


def test_nobody_moves_by_the_word_of_a_doubted_domain(tx: Transaction) -> None:
    """Its new owner would pass on what the old addresses may see."""
    an_account(tx)
    a_contact(tx, ROMEO, JULIET)
    follow = Follow(account=ROMEO, service=JULIET, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
    following.record_subscribe(tx, follow)
    doubt(tx)
    assert moving.may_vouch(tx, ROMEO, JULIET) is None
    assert moving.learn(tx, moving.Learned(old=JULIET, new=PARIS)) == ()
    assert tx.moved.get(JULIET) is None
    assert identity.trust(tx, CAPULET)
    assert moving.may_vouch(tx, ROMEO, JULIET) is not None
    assert moving.learn(tx, moving.Learned(old=JULIET, new=PARIS)) == (ROMEO,)


def test_an_address_at_a_doubted_domain_does_not_act_for_its_account(tx: Transaction) -> None:
    registering.create_account(tx, "romeo", derive_keys("pencil"))
    account = linking.join(tx, linking.Join(jid=JULIET, token=registering.create_invite(tx), name="juliet"))
    wanted = owning.Configuration(service=account.jid(tx.domain), node=MICROBLOG, actor=JULIET)
    assert linking.acting(tx, owning.configuration, wanted).name == MICROBLOG
    doubt(tx)
    with pytest.raises(Refusal):
        linking.acting(tx, owning.configuration, wanted)
    assert linking.owner(tx, JULIET) is None
    assert identity.trust(tx, CAPULET)
    assert linking.owner(tx, JULIET) == account
