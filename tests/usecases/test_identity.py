"""docs/protocol/fanout.md §8.2: who another domain is."""

import pytest

from microblog.store.database import Transaction
from microblog.usecases import identity
from microblog.usecases.identity import Answer, Learned

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
