"""Follow health: who is asked when, and what comes of the answer."""

from datetime import timedelta

from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, AccessModel
from microblog.model.subscription import SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases import following, tending
from microblog.usecases.following import Described, Follow, Stats
from microblog.usecases.tending import Broken, Due, Told
from tests.usecases.pubsub import BENVOLIO, JULIET, NURSE, PARIS, ROMEO, a_contact, an_account, post, subscribe

SUBSCRIBED, PENDING = SubscriptionState.SUBSCRIBED, SubscriptionState.PENDING


def follow(tx: Transaction, service: JID = JULIET, state: SubscriptionState = SUBSCRIBED, account: JID = ROMEO) -> None:
    following.record_subscribe(tx, Follow(account=account, service=service, node=MICROBLOG, state=state))


def later(tx: Transaction, **time: float) -> None:
    tx.now += timedelta(**time)


def problems(tx: Transaction) -> dict[JID, str]:
    return {one.node.service: one.problem for one in following.follows(tx, ROMEO)}


def test_the_longest_unasked_are_due_first_and_once_a_day(tx: Transaction) -> None:
    an_account(tx, BENVOLIO)
    subscribe(tx, ROMEO, service=BENVOLIO)
    follow(tx)
    later(tx, hours=1)
    follow(tx, NURSE)
    later(tx, hours=22)
    assert tending.due(tx, 10) == ()
    later(tx, hours=3)
    assert tending.due(tx, 10) == (Due(ROMEO, JULIET), Due(ROMEO, NURSE))
    assert tending.due(tx, 1) == (Due(ROMEO, JULIET),)
    told = Told(account=ROMEO, service=JULIET, states={MICROBLOG: SUBSCRIBED})
    assert tending.compare(tx, told) == tending.Verdict(sound=(MICROBLOG,))
    assert tending.due(tx, 10) == (Due(ROMEO, NURSE),)


def test_who_could_not_be_reached_is_due_in_an_hour(tx: Transaction) -> None:
    follow(tx)
    follow(tx, NURSE)
    tending.trouble(tx, Due(ROMEO, JULIET), tending.UNREACHABLE)
    tending.trouble(tx, Due(ROMEO, NURSE), "forbidden")
    assert problems(tx) == {JULIET: tending.UNREACHABLE, NURSE: "forbidden"}
    later(tx, minutes=61)
    assert tending.due(tx, 10) == (Due(ROMEO, JULIET),)


def test_who_is_suspected_is_due_at_once(tx: Transaction) -> None:
    follow(tx)
    tending.suspect(tx, Due(ROMEO, JULIET))
    assert tending.due(tx, 10) == (Due(ROMEO, JULIET),)


def test_what_the_other_side_does_not_know_is_broken(tx: Transaction) -> None:
    follow(tx)
    follow(tx, account=BENVOLIO)
    told = Told(account=ROMEO, service=JULIET, states={})
    made = tx.now
    later(tx, minutes=1500)
    assert tending.compare(tx, told) == tending.Verdict(broken=(Broken(MICROBLOG, False, since=made),))
    tending.trouble(tx, Due(ROMEO, JULIET), "forbidden")
    (broken,) = tending.compare(tx, told).broken
    assert broken.since == tx.now - tending.LONGEST
    told = Told(account=ROMEO, service=JULIET, states=None)
    assert tending.compare(tx, told).broken == (Broken(MICROBLOG, False),)
    assert tending.compare(tx, Told(account=PARIS, service=JULIET, states={})) == tending.Verdict()


def test_what_the_other_side_decided_is_learnt(tx: Transaction) -> None:
    follow(tx, state=PENDING)
    told = Told(account=ROMEO, service=JULIET, states={MICROBLOG: SUBSCRIBED})
    assert tending.compare(tx, told) == tending.Verdict(approved=(MICROBLOG,))
    told = Told(account=ROMEO, service=JULIET, states={MICROBLOG: PENDING})
    assert tending.compare(tx, told) == tending.Verdict()
    assert [one.state for one in following.follows(tx, ROMEO)] == [PENDING]


def test_a_follow_by_presence_is_nobodys_subscription(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET)
    node = following.remote_node(tx, JULIET, MICROBLOG)
    follow(tx)
    known = tx.subscriptions.find(node, ROMEO)
    assert known is not None
    tx.subscriptions.remove(node, ROMEO)
    tx.subscriptions.add(node, known, implicit=True)
    later(tx, days=2)
    tending.adopt(tx)
    tending.suspect(tx, Due(ROMEO, JULIET))
    assert tending.due(tx, 10) == ()
    assert tending.compare(tx, Told(account=ROMEO, service=JULIET, states={})) == tending.Verdict()


def test_adopting_leaves_out_what_is_here(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    subscribe(tx, ROMEO, service=BENVOLIO)
    subscribe(tx, JULIET)
    follow(tx)
    tx.connection.exec_driver_sql("UPDATE subscriptions SET checked = NULL")
    later(tx, days=2)
    tending.adopt(tx)
    assert tending.due(tx, 10) == (Due(ROMEO, JULIET),)


def test_a_copy_is_not_for_all_until_its_service_says_so(tx: Transaction) -> None:
    follow(tx)
    models = []
    for said in (None, AccessModel.OPEN, None, AccessModel.PRESENCE):
        following.describe(tx, Described(service=JULIET, node=MICROBLOG, access_model=said))
        node = tx.nodes.find(JULIET, MICROBLOG)
        assert node is not None
        models.append(node.config.access_model)
    assert models == [AccessModel.AUTHORIZE, AccessModel.OPEN, AccessModel.OPEN, AccessModel.PRESENCE]


def test_our_own_nodes_are_not_described_from_elsewhere(tx: Transaction) -> None:
    an_account(tx)
    following.describe(tx, Described(service=ROMEO, node=MICROBLOG, access_model=AccessModel.WHITELIST))
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None and node.config.access_model is AccessModel.OPEN


def test_numbers(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    subscribe(tx, ROMEO, service=BENVOLIO)
    follow(tx, JULIET, PENDING)
    follow(tx, NURSE)
    tending.trouble(tx, Due(ROMEO, NURSE), "forbidden")
    subscribe(tx, PARIS)
    post(tx, "1")
    assert following.stats(tx, ROMEO) == Stats(following=2, pending=1, troubled=1, followers=1, waiting=0, posts=1)
