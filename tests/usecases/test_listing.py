"""XEP-0465: what everybody may see of who follows whom."""

import pytest

from microblog.model.errors import ItemNotFound
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases import following, listing, subscribing
from microblog.usecases.following import Follow
from microblog.usecases.listing import PublicFollowers, PublicFollows
from tests.usecases.pubsub import BENVOLIO, JULIET, NURSE, PARIS, ROMEO, an_account


def follow(tx: Transaction, service: JID, who: JID = ROMEO, public: bool | None = True) -> None:
    if service.domainpart == tx.domain:
        request = subscribing.Subscribe(service=service, node=MICROBLOG, actor=who, jid=who, public=public)
        subscribing.subscribe(tx, request)
        return
    state = SubscriptionState.SUBSCRIBED
    following.record_subscribe(tx, Follow(account=who, service=service, node=MICROBLOG, state=state, public=public))


def followed(tx: Transaction, asker: JID = PARIS) -> list[JID]:
    return [node.service for node in listing.public_follows(tx, PublicFollows(account=ROMEO, asker=asker))]


def followers(tx: Transaction, asker: JID = PARIS, service: JID = BENVOLIO) -> tuple[JID, ...]:
    return listing.public_followers(tx, PublicFollowers(service=service, node=MICROBLOG, asker=asker))


def test_only_what_was_opted_in_to_is_seen(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    follow(tx, BENVOLIO)
    follow(tx, JULIET)
    follow(tx, NURSE, public=False)
    assert followed(tx) == [BENVOLIO, JULIET]
    assert followers(tx) == (ROMEO,)
    follow(tx, JULIET, public=False)
    follow(tx, BENVOLIO, public=None)
    assert followed(tx) == [BENVOLIO]


def test_people_elsewhere_opt_in_at_our_nodes(tx: Transaction) -> None:
    an_account(tx, BENVOLIO)
    follow(tx, BENVOLIO, JULIET)
    follow(tx, BENVOLIO, NURSE, public=None)
    assert followers(tx) == (JULIET,)


def test_nothing_to_see_and_nobody_there_are_the_same(tx: Transaction) -> None:
    an_account(tx)
    follow(tx, JULIET, public=False)
    said = set()
    for account in (ROMEO, JID.parse("tybalt@montague.example"), JULIET):
        with pytest.raises(ItemNotFound) as follows_refused:
            listing.public_follows(tx, PublicFollows(account=account, asker=PARIS))
        with pytest.raises(ItemNotFound) as followers_refused:
            followers(tx, service=account)
        said |= {follows_refused.value.text, followers_refused.value.text}
    assert len(said) == 1


def test_pending_is_not_following(tx: Transaction) -> None:
    an_account(tx)
    state = SubscriptionState.PENDING
    following.record_subscribe(tx, Follow(account=ROMEO, service=JULIET, node=MICROBLOG, state=state, public=True))
    with pytest.raises(ItemNotFound):
        followed(tx)


def test_what_is_for_this_domain_only_is_not_named_elsewhere(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO, Audience.LOCAL)
    follow(tx, BENVOLIO)
    assert followed(tx, asker=ROMEO) == [BENVOLIO]
    for ask in (followed, followers):
        with pytest.raises(ItemNotFound):
            ask(tx)


def test_a_setting_opts_in_to_all_of_it(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    follow(tx, JULIET, public=None)
    account = tx.accounts.get(ROMEO.localpart)
    assert account is not None
    tx.preferences.set(account.key, following.PUBLIC_LISTS, "on")
    listing.publish_all(tx, ROMEO, True)
    follow(tx, BENVOLIO, public=None)
    follow(tx, NURSE, public=False)
    assert followed(tx) == [BENVOLIO, JULIET, NURSE]
    listing.publish_all(tx, ROMEO, False)
    with pytest.raises(ItemNotFound):
        followed(tx)
