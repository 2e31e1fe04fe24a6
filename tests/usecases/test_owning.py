"""XEP-0060 §8."""

from typing import Any

import pytest

from microblog.model.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    ItemNotFound,
    MaxNodesExceeded,
    NotAcceptable,
    PersistentItemsUnsupported,
    Refusal,
    ResourceConstraint,
    UnsupportedAccessModel,
)
from microblog.model.event import NodeConfigured, NodeDeleted, NodePurged, SubscriptionChanged
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, AccessModel
from microblog.model.subscription import Affiliation, SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases import owning
from microblog.usecases.owning import (
    Affiliations,
    Configuration,
    Configure,
    Create,
    DefaultConfiguration,
    Delete,
    Purge,
    SetAffiliations,
    SetSubscriptions,
    Subscriptions,
)
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    MOOD,
    NURSE,
    PARIS,
    PHONE,
    ROMEO,
    a_contact,
    affiliate,
    an_account,
    configure,
    ids,
    post,
    put,
    retrieve,
    subscribe,
)


def create(tx: Transaction, node: str | None, actor: JID = ROMEO, **options: str) -> str:
    values = {name: [value] for name, value in options.items()}
    request = Create(service=ROMEO, actor=actor.with_resource(PHONE), node=node, options=values)
    return owning.create(tx, request).name


def test_making_a_node(tx: Transaction) -> None:
    assert create(tx, MOOD) == MOOD
    node = tx.nodes.find(ROMEO, MOOD)
    assert node and node.config.access_model is AccessModel.PRESENCE


def test_making_and_configuring_a_node(tx: Transaction) -> None:
    """§8.1.3."""
    create(tx, MOOD, access_model="whitelist", title="Mood")
    node = tx.nodes.find(ROMEO, MOOD)
    assert node and (node.config.access_model, node.config.title) == (AccessModel.WHITELIST, "Mood")


def test_a_node_without_name_gets_one(tx: Transaction) -> None:
    assert create(tx, None) != create(tx, None)


def test_making_has_its_refusals(tx: Transaction) -> None:
    create(tx, MOOD)
    for node, actor, options, refusal in (
        (MOOD, ROMEO, {}, Conflict),
        ("x", JULIET, {}, Forbidden),
        ("x", ROMEO, {"access_model": "members"}, UnsupportedAccessModel),
        ("x", ROMEO, {"colour": "red"}, NotAcceptable),
        ("x" * 1024, ROMEO, {}, BadRequest),
    ):
        with pytest.raises(refusal):
            create(tx, node, actor, **options)  # type: ignore[arg-type]
    tx.limits = tx.limits.model_copy(update={"nodes_per_account": 1})
    with pytest.raises(MaxNodesExceeded):
        create(tx, "x")


def test_a_feed_that_is_made_again_keeps_the_audience_of_its_account(tx: Transaction) -> None:
    an_account(tx, audience=Audience.LOCAL)
    owning.delete(tx, Delete(service=ROMEO, node=MICROBLOG, actor=ROMEO))
    create(tx, MICROBLOG, access_model="open")
    assert post(tx, "1").audience is Audience.LOCAL


def test_the_feed_of_an_account_is_made_once(tx: Transaction) -> None:
    node = an_account(tx, audience=Audience.FOLLOWERS)
    assert node.config.access_model is AccessModel.AUTHORIZE
    assert owning.create_microblog_node(tx, ROMEO, Audience.PUBLIC) == node


def test_the_defaults_say_what_a_new_node_gets(tx: Transaction) -> None:
    assert owning.default_configuration(tx, DefaultConfiguration(service=ROMEO, actor=ROMEO)).max_items == 1
    request = DefaultConfiguration(service=ROMEO, actor=ROMEO, node=MICROBLOG)
    assert owning.default_configuration(tx, request).max_items is None
    with pytest.raises(Forbidden):
        owning.default_configuration(tx, DefaultConfiguration(service=ROMEO, actor=JULIET))


def test_configuring(tx: Transaction) -> None:
    an_account(tx)
    changed = configure(tx, title="Love letters", notify_config="1")
    assert owning.configuration(tx, Configuration(service=ROMEO, node=MICROBLOG, actor=ROMEO)) == changed
    assert changed.config.title == "Love letters" and changed.config.max_items is None


def test_a_configuration_is_told_where_the_node_says_so(tx: Transaction) -> None:
    """§8.2.5.4."""
    an_account(tx)
    subscribe(tx, JULIET)
    configure(tx, title="one")
    assert tx.outbox.backlog() == {}
    configure(tx, title="two", notify_config="1")
    event = tx.emitted[-1]
    assert isinstance(event, NodeConfigured) and event.domains == ("capulet.example",)


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"access_model": ["members"]}, UnsupportedAccessModel),
        ({"colour": ["red"]}, NotAcceptable),
        ({"max_items": ["many"]}, NotAcceptable),
        ({"title": ["good"], "persist_items": ["2"]}, NotAcceptable),
    ],
)
def test_a_bad_configuration_changes_nothing(
    tx: Transaction, options: dict[str, list[str]], refusal: type[Refusal]
) -> None:
    node = an_account(tx)
    with pytest.raises(refusal):
        owning.configure(tx, Configure(service=ROMEO, node=MICROBLOG, actor=ROMEO, options=options))
    assert tx.nodes.find(ROMEO, MICROBLOG) == node


def test_items_follow_the_node_when_it_opens_and_closes(tx: Transaction) -> None:
    """Clients publish first and open the node then; who could read may not any more when it closes."""
    an_account(tx)
    put(tx, "keys", "1")
    configure(tx, "keys", access_model="open")
    assert ids(retrieve(tx, JULIET, "keys")) == ["1"]
    configure(tx, "keys", access_model="whitelist")
    with pytest.raises(ItemNotFound):
        retrieve(tx, JULIET, "keys")
    node = tx.nodes.find(ROMEO, "keys")
    assert node
    item = tx.items.get(node.key, "1")
    assert item and item.audience is Audience.FOLLOWERS


def test_fewer_items_are_kept_at_once(tx: Transaction) -> None:
    an_account(tx)
    for n in range(4):
        post(tx, str(n), str(n))
    configure(tx, max_items="2")
    assert ids(retrieve(tx)) == ["2", "3"]


OWNERS_ONLY: list[Any] = [
    lambda tx, **who: owning.configuration(tx, Configuration(**who)),
    lambda tx, **who: owning.configure(tx, Configure(**who)),
    lambda tx, **who: owning.delete(tx, Delete(**who)),
    lambda tx, **who: owning.purge(tx, Purge(**who)),
    lambda tx, **who: owning.affiliations(tx, Affiliations(**who)),
    lambda tx, **who: owning.set_affiliations(tx, SetAffiliations(changes=((JULIET, Affiliation.OWNER),), **who)),
    lambda tx, **who: owning.subscriptions(tx, Subscriptions(**who)),
    lambda tx, **who: owning.set_subscriptions(tx, SetSubscriptions(changes=(), **who)),
]


@pytest.mark.parametrize("request_", OWNERS_ONLY)
def test_what_only_owners_do(tx: Transaction, request_: Any) -> None:
    an_account(tx)
    put(tx, "hidden", options={"access_model": ["whitelist"]})
    affiliate(tx, NURSE, Affiliation.PUBLISHER)
    for actor in (JULIET, NURSE, BENVOLIO):
        with pytest.raises(Forbidden):
            request_(tx, service=ROMEO, node=MICROBLOG, actor=actor.with_resource(PHONE))
    for node in ("hidden", "none"):
        with pytest.raises(ItemNotFound):
            request_(tx, service=ROMEO, node=node, actor=JULIET)
    request_(tx, service=ROMEO, node=MICROBLOG, actor=ROMEO.with_resource(PHONE))


def test_a_second_owner_owns(tx: Transaction) -> None:
    an_account(tx)
    affiliate(tx, JULIET, Affiliation.OWNER)
    owning.configure(tx, Configure(service=ROMEO, node=MICROBLOG, actor=JULIET, options={"title": ["Ours"]}))


def test_a_deleted_node_is_gone_with_all_it_had(tx: Transaction) -> None:
    """§8.4."""
    an_account(tx)
    for jid in (BENVOLIO, JULIET, PARIS):
        subscribe(tx, jid)
    a_contact(tx, ROMEO, NURSE, "from")
    tx.interests.set(ROMEO, NURSE.with_resource("kitchen"), [MICROBLOG])
    post(tx, "1")
    request = Delete(service=ROMEO, node=MICROBLOG, actor=ROMEO, redirect="xmpp:x", notice=lambda jid: f"to {jid}")
    owning.delete(tx, request)
    event = tx.emitted[-1]
    assert isinstance(event, NodeDeleted)
    assert (event.subscribers, event.redirect) == ((BENVOLIO,), "xmpp:x")
    assert event.domains == ("capulet.example", "verona.example")
    # What was owed of the node itself is nobody's any more; the notices are.
    assert tx.outbox.backlog() == {"capulet.example": 2, "verona.example": 1}
    with pytest.raises(ItemNotFound):
        retrieve(tx)


def test_a_purged_node_is_empty_and_tells_once(tx: Transaction) -> None:
    """§8.5."""
    an_account(tx)
    subscribe(tx, JULIET)
    for n in range(3):
        post(tx, str(n))
    owning.purge(tx, Purge(service=ROMEO, node=MICROBLOG, actor=ROMEO))
    assert ids(retrieve(tx)) == []
    event = tx.emitted[-1]
    assert isinstance(event, NodePurged) and event.domains == ("capulet.example",)
    assert tx.outbox.backlog() == {"capulet.example": 4}
    post(tx, "1")
    assert ids(retrieve(tx)) == ["1"]
    create(tx, "news", persist_items="0")
    with pytest.raises(PersistentItemsUnsupported):
        owning.purge(tx, Purge(service=ROMEO, node="news", actor=ROMEO))


# Affiliations and subscriptions of others


def affiliations(tx: Transaction) -> dict[JID, Affiliation]:
    found = owning.affiliations(tx, Affiliations(service=ROMEO, node=MICROBLOG, actor=ROMEO))
    return {one.jid: one.affiliation for one in found}


def test_affiliations_are_listed_with_the_account_itself(tx: Transaction) -> None:
    an_account(tx)
    affiliate(tx, JULIET.with_resource("balcony"), Affiliation.MEMBER)
    affiliate(tx, PARIS, Affiliation.OUTCAST)
    assert affiliations(tx) == {
        ROMEO: Affiliation.OWNER,
        JULIET: Affiliation.MEMBER,
        PARIS: Affiliation.OUTCAST,
    }
    affiliate(tx, PARIS, Affiliation.NONE)
    assert PARIS not in affiliations(tx)


def test_nobody_takes_a_node_from_its_account(tx: Transaction) -> None:
    an_account(tx)
    for affiliation in (Affiliation.NONE, Affiliation.OUTCAST, Affiliation.MEMBER):
        with pytest.raises(NotAcceptable):
            affiliate(tx, ROMEO, affiliation)
    affiliate(tx, ROMEO, Affiliation.OWNER)
    assert affiliations(tx) == {ROMEO: Affiliation.OWNER}


def test_affiliations_change_all_or_none(tx: Transaction) -> None:
    an_account(tx)
    for changes in (
        ((JULIET, Affiliation.MEMBER), (ROMEO, Affiliation.NONE)),
        ((JULIET, Affiliation.MEMBER), (JULIET.with_resource("balcony"), Affiliation.OUTCAST)),
    ):
        with pytest.raises((NotAcceptable, BadRequest)):
            owning.set_affiliations(tx, SetAffiliations(service=ROMEO, node=MICROBLOG, actor=ROMEO, changes=changes))
        assert affiliations(tx) == {ROMEO: Affiliation.OWNER}


def test_affiliations_are_bounded(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    an_account(tx)
    monkeypatch.setattr(owning, "AFFILIATIONS_PER_NODE", 1)
    affiliate(tx, JULIET, Affiliation.MEMBER)
    with pytest.raises(ResourceConstraint):
        affiliate(tx, NURSE, Affiliation.MEMBER)
    monkeypatch.setattr(owning, "LIST_MAX", 1)
    with pytest.raises(ResourceConstraint):
        affiliations(tx)


def test_an_outcast_loses_the_subscription_and_is_told(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    affiliate(tx, JULIET, Affiliation.OUTCAST)
    event = tx.emitted[-1]
    assert isinstance(event, SubscriptionChanged)
    assert (event.subscriber, event.state, event.tell_subscriber) == (JULIET, "none", True)
    post(tx, "1")
    assert tx.emitted[-1].domains == ()


def test_a_new_member_waits_no_more(tx: Transaction) -> None:
    """§8.7."""
    an_account(tx)
    configure(tx, access_model="authorize")
    subscribe(tx, JULIET)
    subscribe(tx, NURSE)
    affiliate(tx, JULIET, Affiliation.MEMBER)
    affiliate(tx, NURSE, Affiliation.OUTCAST)
    found = owning.subscriptions(tx, Subscriptions(service=ROMEO, node=MICROBLOG, actor=ROMEO))
    assert [one.jid for one in found] == [JULIET]
    assert subscribing_state(tx, NURSE) is None


def test_who_is_taken_off_the_whitelist_is_subscribed_no_more(tx: Transaction) -> None:
    an_account(tx)
    configure(tx, access_model="whitelist")
    affiliate(tx, JULIET, Affiliation.MEMBER)
    subscribe(tx, JULIET)
    affiliate(tx, JULIET, Affiliation.NONE)
    assert subscribing_state(tx, JULIET) is None


def subscribing_state(tx: Transaction, jid: JID) -> SubscriptionState | None:
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node
    found = tx.subscriptions.find(node, jid)
    return found.state if found else None


def test_an_owner_ends_and_approves_subscriptions(tx: Transaction) -> None:
    """§8.8.2."""
    an_account(tx)
    configure(tx, access_model="authorize")
    subscribe(tx, JULIET)
    subscribe(tx, NURSE)
    changes = ((JULIET, SubscriptionState.SUBSCRIBED, None), (NURSE, SubscriptionState.NONE, None))
    request = SetSubscriptions(
        service=ROMEO, node=MICROBLOG, actor=ROMEO, changes=changes, notice=lambda one: f"{one.jid} {one.state}"
    )
    owning.set_subscriptions(tx, request)
    assert subscribing_state(tx, JULIET) is SubscriptionState.SUBSCRIBED
    assert subscribing_state(tx, NURSE) is None
    assert tx.outbox.backlog() == {"capulet.example": 2}


def test_nobody_is_subscribed_who_has_not_asked(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    for changes in (
        ((JULIET, SubscriptionState.NONE, None), (PARIS, SubscriptionState.SUBSCRIBED, None)),
        ((JULIET, SubscriptionState.PENDING, None),),
        ((JULIET, SubscriptionState.NONE, "other"),),
    ):
        with pytest.raises(NotAcceptable):
            owning.set_subscriptions(tx, SetSubscriptions(service=ROMEO, node=MICROBLOG, actor=ROMEO, changes=changes))
    assert subscribing_state(tx, JULIET) is SubscriptionState.SUBSCRIBED
