"""What our people follow elsewhere, as the other side confirmed it."""

import pytest

from microblog.model.errors import TooManySubscriptions
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases import following
from microblog.usecases.following import Follow, Unfollow
from tests.usecases.pubsub import BENVOLIO, JULIET, NURSE, PHONE, ROMEO, an_account, subscribe

SUBSCRIBED, PENDING, NONE = SubscriptionState.SUBSCRIBED, SubscriptionState.PENDING, SubscriptionState.NONE


def follow(tx: Transaction, service: JID = JULIET, state: SubscriptionState = SUBSCRIBED, account: JID = ROMEO) -> None:
    following.record_subscribe(tx, Follow(account=account, service=service, node=MICROBLOG, state=state, subid="s"))


def followed(tx: Transaction, account: JID = ROMEO) -> list[tuple[JID, SubscriptionState]]:
    return [(one.node.service, one.state) for one in following.follows(tx, account)]


def test_follows_here_and_elsewhere(tx: Transaction) -> None:
    an_account(tx, BENVOLIO)
    subscribe(tx, ROMEO, service=BENVOLIO)
    follow(tx)
    follow(tx, NURSE, PENDING)
    assert followed(tx) == [(BENVOLIO, SUBSCRIBED), (JULIET, SUBSCRIBED), (NURSE, PENDING)]
    assert followed(tx, BENVOLIO) == []


def test_a_follow_changes_with_what_the_other_side_says(tx: Transaction) -> None:
    follow(tx, state=PENDING)
    follow(tx, account=ROMEO.with_resource(PHONE))
    assert followed(tx) == [(JULIET, SUBSCRIBED)]
    follow(tx, state=NONE)
    assert followed(tx) == []
    follow(tx, state=NONE)


def test_unfollowing(tx: Transaction) -> None:
    follow(tx)
    follow(tx, account=BENVOLIO)
    following.record_unsubscribe(tx, Unfollow(account=ROMEO, service=JULIET, node=MICROBLOG))
    assert followed(tx) == [] and followed(tx, BENVOLIO) == [(JULIET, SUBSCRIBED)]
    following.record_unsubscribe(tx, Unfollow(account=ROMEO, service=NURSE, node=MICROBLOG))


def test_nobody_elsewhere_says_who_follows_our_own_feeds(tx: Transaction) -> None:
    an_account(tx, BENVOLIO)
    follow(tx, BENVOLIO)
    assert followed(tx) == []
    subscribe(tx, ROMEO, service=BENVOLIO)
    following.record_unsubscribe(tx, Unfollow(account=ROMEO, service=BENVOLIO, node=MICROBLOG))
    assert followed(tx) == [(BENVOLIO, SUBSCRIBED)]


def test_one_follows_only_so_many(tx: Transaction) -> None:
    tx.limits = tx.limits.model_copy(update={"follows_total": 1})
    following.may_follow(tx, ROMEO)
    follow(tx)
    follow(tx)
    with pytest.raises(TooManySubscriptions):
        following.may_follow(tx, ROMEO)
    with pytest.raises(TooManySubscriptions):
        follow(tx, NURSE)
    follow(tx, NURSE, account=BENVOLIO)


def test_the_domains_that_somebody_here_follows(tx: Transaction) -> None:
    an_account(tx, BENVOLIO)
    assert following.followed_domains(tx) == frozenset()
    follow(tx)
    subscribe(tx, ROMEO, service=BENVOLIO)
    assert following.followed_domains(tx) == {JULIET.domainpart}
