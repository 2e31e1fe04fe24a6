"""XEP-0060 §6 and XEP-0059; XEP-0163 §4.3 for interest by presence."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microblog.model.errors import (
    BadRequest,
    ClosedNode,
    EntityNotSubscribed,
    Forbidden,
    InvalidJID,
    InvalidOptions,
    InvalidSubID,
    ItemNotFound,
    NodeIDRequired,
    NotInRosterGroup,
    NotSubscribed,
    PendingSubscription,
    PresenceSubscriptionRequired,
    Refusal,
    ResourceConstraint,
    TooManySubscriptions,
)
from microblog.model.event import SubscriptionChanged
from microblog.model.item import Audience, PageRequest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import Affiliation, Subscription, SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases import retrieving, subscribing
from microblog.usecases.subscribing import (
    Decide,
    Followers,
    GetOptions,
    Interest,
    LastItems,
    Pending,
    SetOptions,
    Subscribe,
    Unsubscribe,
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
    retract,
    retrieve,
    subscribe,
)

SUBSCRIBED, PENDING, NONE = SubscriptionState.SUBSCRIBED, SubscriptionState.PENDING, SubscriptionState.NONE


def changes(tx: Transaction) -> list[tuple[JID, str]]:
    return [(event.subscriber, event.state) for event in tx.emitted if isinstance(event, SubscriptionChanged)]


def limit(tx: Transaction, **limits: int) -> None:
    tx.limits = tx.limits.model_copy(update=limits)


# Subscribing


def test_anybody_subscribes_to_an_open_feed(tx: Transaction) -> None:
    an_account(tx)
    assert subscribe(tx, JULIET) is SUBSCRIBED
    assert subscribe(tx, NURSE.with_resource("kitchen")) is SUBSCRIBED
    assert changes(tx) == [(JULIET, "subscribed"), (NURSE.with_resource("kitchen"), "subscribed")]


def test_subscribing_again_changes_nothing(tx: Transaction) -> None:
    """§6.1.6."""
    an_account(tx)
    request = Subscribe(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET)
    first = subscribing.subscribe(tx, request)
    again = subscribing.subscribe(tx, request)
    assert first.new and not again.new
    assert first.subscription == again.subscription
    assert len(changes(tx)) == 1


def test_one_subscribes_oneself(tx: Transaction) -> None:
    an_account(tx)
    with pytest.raises(InvalidJID):
        subscribing.subscribe(tx, Subscribe(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=NURSE))


def test_a_node_that_is_not_there(tx: Transaction) -> None:
    an_account(tx)
    for request, refusal in (
        (Subscribe(service=ROMEO, node="none", actor=JULIET, jid=JULIET), ItemNotFound),
        (Subscribe(service=ROMEO, node="", actor=JULIET, jid=JULIET), NodeIDRequired),
        (Subscribe(service=PARIS, node=MICROBLOG, actor=JULIET, jid=JULIET), ItemNotFound),
    ):
        with pytest.raises(refusal):
            subscribing.subscribe(tx, request)


def test_presence_nodes_are_for_those_who_see_the_owner(tx: Transaction) -> None:
    an_account(tx)
    configure(tx, access_model="presence")
    for state in ("none", "to"):
        a_contact(tx, ROMEO, JULIET, state)
        with pytest.raises(PresenceSubscriptionRequired):
            subscribe(tx, JULIET)
    a_contact(tx, ROMEO, JULIET, "from")
    assert subscribe(tx, JULIET) is SUBSCRIBED


def test_roster_nodes_are_for_groups(tx: Transaction) -> None:
    an_account(tx)
    configure(tx, access_model="roster", roster_groups_allowed="friends")
    a_contact(tx, ROMEO, JULIET, "both", ("family",))
    with pytest.raises(NotInRosterGroup):
        subscribe(tx, JULIET)
    a_contact(tx, ROMEO, JULIET, "both", ("family", "friends"))
    assert subscribe(tx, JULIET) is SUBSCRIBED


def test_whitelists_and_outcasts(tx: Transaction) -> None:
    an_account(tx)
    affiliate(tx, PARIS, Affiliation.OUTCAST)
    with pytest.raises(Forbidden):
        subscribe(tx, PARIS)
    configure(tx, access_model="whitelist")
    with pytest.raises(ClosedNode):
        subscribe(tx, JULIET)
    affiliate(tx, JULIET, Affiliation.MEMBER)
    assert subscribe(tx, JULIET) is SUBSCRIBED


def test_a_remote_domain_has_only_so_many_subscriptions(tx: Transaction) -> None:
    an_account(tx)
    limit(tx, subscriptions_per_remote_domain=2)
    subscribe(tx, JULIET)
    subscribe(tx, NURSE)
    with pytest.raises(TooManySubscriptions):
        subscribe(tx, JULIET.with_resource("balcony"))
    assert subscribe(tx, PARIS) is SUBSCRIBED
    assert subscribe(tx, JULIET) is SUBSCRIBED


def test_one_of_ours_follows_only_so_many(tx: Transaction) -> None:
    an_account(tx)
    put(tx, "other", options={"access_model": ["open"]})
    limit(tx, follows_total=1)
    subscribe(tx, BENVOLIO)
    with pytest.raises(TooManySubscriptions):
        subscribe(tx, BENVOLIO, "other")


def test_the_last_item_comes_with_a_subscription_where_the_node_says_so(tx: Transaction) -> None:
    """§6.1.7."""
    put(tx, MOOD, options={"access_model": ["open"], "send_last_published_item": ["on_sub"]})
    an_account(tx)
    post(tx, "1")
    told = subscribing.subscribe(tx, Subscribe(service=ROMEO, node=MOOD, actor=JULIET, jid=JULIET))
    assert told.last and told.last.id == "current"
    told = subscribing.subscribe(tx, Subscribe(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET))
    assert told.last is None


# Approval


def a_pending_subscription(tx: Transaction) -> None:
    an_account(tx)
    configure(tx, access_model="authorize")
    post(tx, "1")
    assert subscribe(tx, JULIET) is PENDING


def test_a_pending_subscriber_reads_nothing_and_asks_once(tx: Transaction) -> None:
    a_pending_subscription(tx)
    with pytest.raises(PendingSubscription):
        subscribe(tx, JULIET)
    with pytest.raises(EntityNotSubscribed):
        retrieve(tx, JULIET)


def test_an_owner_approves(tx: Transaction) -> None:
    """§8.6."""
    a_pending_subscription(tx)
    waiting = subscribing.pending(tx, Pending(service=ROMEO, actor=ROMEO))
    assert [subscription.jid for subscription in waiting] == [JULIET]
    notices: list[Subscription] = []

    def notice(subscription: Subscription) -> str:
        notices.append(subscription)
        return "<message/>"

    decision = Decide(service=ROMEO, node=MICROBLOG, actor=ROMEO, jid=JULIET, allow=True, notice=notice)
    subscribing.decide(tx, decision)
    assert ids(retrieve(tx, JULIET)) == ["1"]
    assert [subscription.state for subscription in notices] == [SUBSCRIBED]
    assert tx.outbox.backlog() == {"capulet.example": 1}
    event = tx.emitted[-1]
    assert isinstance(event, SubscriptionChanged) and event.tell_subscriber
    assert event.domains == ("capulet.example",)
    assert subscribing.pending(tx, Pending(service=ROMEO, actor=ROMEO)) == ()
    with pytest.raises(NotSubscribed):
        subscribing.decide(tx, decision)


def test_an_owner_denies(tx: Transaction) -> None:
    a_pending_subscription(tx)
    decision = Decide(service=ROMEO, node=MICROBLOG, actor=ROMEO, jid=JULIET, allow=False)
    assert subscribing.decide(tx, decision).state is NONE
    assert subscribe(tx, JULIET) is PENDING


def test_only_owners_decide_and_know_who_waits(tx: Transaction) -> None:
    a_pending_subscription(tx)
    for refused in (
        lambda: subscribing.decide(tx, Decide(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET, allow=True)),
        lambda: subscribing.pending(tx, Pending(service=ROMEO, actor=JULIET)),
        lambda: subscribing.pending(tx, Pending(service=ROMEO, actor=JULIET, node=MICROBLOG)),
    ):
        with pytest.raises(Forbidden):
            refused()


def test_a_node_that_becomes_open_lets_in_who_waits_and_asks_again(tx: Transaction) -> None:
    a_pending_subscription(tx)
    configure(tx, access_model="open")
    assert subscribe(tx, JULIET) is SUBSCRIBED


# Unsubscribing and options


def test_unsubscribing(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    request = Unsubscribe(service=ROMEO, node=MICROBLOG, actor=JULIET.with_resource(PHONE), jid=JULIET)
    assert subscribing.unsubscribe(tx, request).state is NONE
    with pytest.raises(NotSubscribed):
        subscribing.unsubscribe(tx, request)
    assert changes(tx) == [(JULIET, "subscribed"), (JULIET, "none")]


REQUESTS: list[Callable[..., Any]] = [
    lambda tx, **more: subscribing.unsubscribe(tx, Unsubscribe(**more)),
    lambda tx, **more: subscribing.get_options(tx, GetOptions(**more)),
    lambda tx, **more: subscribing.set_options(tx, SetOptions(**more)),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_subscription_that_is_none_or_not_ones_own(tx: Transaction, request_: Callable[..., Any]) -> None:
    """§6.2.3, §6.3.4."""
    an_account(tx)
    subscribe(tx, JULIET)
    put(tx, "hidden", options={"access_model": ["whitelist"]})
    base = {"service": ROMEO, "node": MICROBLOG, "actor": JULIET, "jid": JULIET}
    refusals: list[tuple[dict[str, Any], type[Refusal]]] = [
        ({"actor": NURSE}, Forbidden),
        ({"actor": NURSE, "jid": NURSE}, NotSubscribed),
        ({"jid": JULIET.with_resource("balcony")}, NotSubscribed),
        ({"node": "none"}, ItemNotFound),
        ({"node": "hidden"}, ItemNotFound),
        ({"node": ""}, NodeIDRequired),
        ({"subid": "other"}, InvalidSubID),
    ]
    for more, refusal in refusals:
        with pytest.raises(refusal):
            request_(tx, **{**base, **more})


def test_options_are_kept(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    base: dict[str, Any] = {"service": ROMEO, "node": MICROBLOG, "actor": JULIET, "jid": JULIET}
    subscribing.set_options(tx, SetOptions(**base, options={"deliver": ["0"]}))
    subscription = subscribing.get_options(tx, GetOptions(**base))
    assert not subscription.options.deliver and subscription.state is SUBSCRIBED
    with pytest.raises(InvalidOptions):
        subscribing.set_options(tx, SetOptions(**base, options={"colour": ["red"]}))
    with pytest.raises(InvalidOptions):
        subscribing.subscribe(tx, Subscribe(**base, options={"deliver": ["perhaps"]}))


# Retrieving


def posts(tx: Transaction, number: int) -> list[str]:
    an_account(tx)
    names = [str(n) for n in range(number)]
    for name in names:
        post(tx, name, name)
    return names


def page(tx: Transaction, **request: Any) -> retrieving.Retrieved:
    return retrieve(tx, page=PageRequest(**request))


def test_all_items_oldest_first(tx: Transaction) -> None:
    assert posts(tx, 3) == ids(retrieve(tx, JULIET))


def test_the_newest_items_are_those_asked_for_by_number(tx: Transaction) -> None:
    """§6.5.7."""
    posts(tx, 5)
    retrieved = retrieve(tx, max_items=2)
    assert ids(retrieved) == ["3", "4"]
    assert retrieved.truncated and (retrieved.page.count, retrieved.page.index) == (5, 3)
    assert not retrieve(tx, max_items=5).truncated
    with pytest.raises(BadRequest):
        retrieve(tx, max_items=0)


def test_who_is_named_reads_a_direct_post_by_its_id(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    post(tx, "2", audience=Audience.DIRECT, readers=(NURSE, JULIET))
    post(tx, "3")
    for reader in (NURSE, JULIET):
        assert ids(retrieve(tx, reader, item_ids=("3", "2", "1"))) == ["1", "2", "3"]
    assert ids(retrieve(tx, PARIS, item_ids=("2", "3"))) == ["3"]
    untrusted = frozenset((Audience.PUBLIC,))
    assert ids(retrieve(tx, JULIET, item_ids=("2",), audiences=untrusted)) == []
    configure(tx, access_model="whitelist")
    assert ids(retrieve(tx, JULIET, item_ids=("2", "3"))) == ["2"], "the others are not for her"
    with pytest.raises(ItemNotFound):
        retrieve(tx, JULIET, item_ids=("3",))
    with pytest.raises(ItemNotFound):
        retrieve(tx, PARIS, item_ids=("2",))
    affiliate(tx, JULIET, Affiliation.OUTCAST)
    with pytest.raises(Forbidden):
        retrieve(tx, JULIET, item_ids=("2",))


def test_direct_posts_are_on_nobody_else_s_pages(tx: Transaction) -> None:
    an_account(tx)
    for n in range(6):
        direct: dict[str, Any] = {"audience": Audience.DIRECT, "readers": (NURSE,)} if n % 2 else {}
        post(tx, str(n), str(n), **direct)
    subscribe(tx, NURSE)
    subscribe(tx, JULIET)
    for reader in (NURSE, JULIET, PARIS):
        assert ids(retrieve(tx, reader)) == ["0", "2", "4"]
        assert ids(retrieve(tx, reader, max_items=1)) == ["4"]
        assert ids(retrieve(tx, reader, max_items=2)) == ["2", "4"]
        assert ids(retrieve(tx, reader, page=PageRequest(max=2))) == ["0", "2"]
        assert ids(retrieve(tx, reader, page=PageRequest(max=2, after="2"))) == ["4"]
        last = retrieve(tx, reader, page=PageRequest(max=2, last_page=True))
        assert (ids(last), last.page.count, last.page.index) == (["2", "4"], 3, 1)
        with pytest.raises(ItemNotFound):
            retrieve(tx, reader, page=PageRequest(max=2, before="3"))
        assert retrieve(tx, reader, page=PageRequest(max=0)).page.count == 3
    assert ids(retrieve(tx, ROMEO, max_items=3)) == ["3", "4", "5"], "they are the author's own"


def test_nobody_gets_more_than_a_page_at_once(tx: Transaction) -> None:
    posts(tx, 5)
    limit(tx, rsm_page_items=2, rsm_page_max_items=3)
    assert ids(retrieve(tx)) == ["2", "3", "4"]
    assert ids(retrieve(tx, max_items=10**20)) == ["2", "3", "4"]
    assert ids(page(tx, max=10**20)) == ["0", "1", "2"]
    assert ids(page(tx)) == ["0", "1"]


def test_items_by_id(tx: Transaction) -> None:
    posts(tx, 4)
    assert ids(retrieve(tx, item_ids=("3", "none", "1"))) == ["1", "3"]
    assert ids(retrieve(tx, item_ids=("none",))) == []
    with pytest.raises(BadRequest):
        retrieve(tx, item_ids=tuple(str(n) for n in range(101)))


def test_pages_forth_and_back(tx: Transaction) -> None:
    """XEP-0059 §2."""
    posts(tx, 5)
    assert ids(page(tx, max=2)) == ["0", "1"]
    assert ids(page(tx, max=2, after="1")) == ["2", "3"]
    assert ids(page(tx, max=2, after="3")) == ["4"]
    assert ids(page(tx, max=2, after="4")) == []
    assert ids(page(tx, max=2, last_page=True)) == ["3", "4"]
    assert ids(page(tx, max=2, before="3")) == ["1", "2"]
    assert ids(page(tx, max=2, before="0")) == []
    assert ids(page(tx, max=2, index=3)) == ["3", "4"]
    assert ids(page(tx, max=2, index=5)) == []
    assert ids(page(tx, max=2, index=10**18)) == []


def test_a_page_says_where_it_is(tx: Transaction) -> None:
    posts(tx, 5)
    for request, index in (
        ({"max": 2}, 0),
        ({"after": "1"}, 2),
        ({"max": 2, "last_page": True}, 3),
        ({"max": 1, "before": "3"}, 2),
        ({"max": 1, "index": 4}, 4),
        ({"after": "4"}, None),
        ({"max": 0}, None),
    ):
        found = page(tx, **request).page
        assert (found.count, found.index) == (5, index)


def test_max_zero_counts(tx: Transaction) -> None:
    posts(tx, 3)
    found = page(tx, max=0).page
    assert (found.items, found.count) == ((), 3)


@pytest.mark.parametrize("request_", [{"after": "none"}, {"before": "none"}, {"after": "' OR 1=1 --"}])
def test_a_page_from_an_item_that_is_not_there(tx: Transaction, request_: dict[str, str]) -> None:
    posts(tx, 2)
    with pytest.raises(ItemNotFound):
        page(tx, **request_)


@pytest.mark.parametrize(
    "request_",
    [
        {"after": "0", "before": "1"},
        {"after": "0", "index": 1},
        {"before": "0", "last_page": True},
        {"max": -1},
        {"index": -1},
    ],
)
def test_a_page_that_makes_no_sense(tx: Transaction, request_: dict[str, Any]) -> None:
    posts(tx, 2)
    with pytest.raises(BadRequest):
        page(tx, **request_)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    data=st.data(),
    number=st.integers(0, 12),
    size=st.integers(1, 5),
    backwards=st.booleans(),
)
def test_paging_misses_nothing_and_repeats_nothing(
    tx: Transaction, data: st.DataObject, number: int, size: int, backwards: bool
) -> None:
    """Items that are there all the while come exactly once, whatever else comes and goes."""
    node = tx.new_id()
    names = [str(n) for n in range(number)]
    put(tx, node, "first", "<first/>", options={"max_items": ["max"]})
    for name in names:
        put(tx, node, name, f"<x>{name}</x>")
    removed: set[str] = set()
    seen: list[str] = []
    request: dict[str, Any] = {"last_page": True} if backwards else {}
    while True:
        found = ids(retrieve(tx, node=node, page=PageRequest(max=size, **request)))
        seen = found + seen if backwards else seen + found
        if not found:
            break
        request = {"before": found[0]} if backwards else {"after": found[-1]}
        at = found[0] if backwards else found[-1]
        for name in data.draw(st.sets(st.sampled_from([*names, "first"]), max_size=2)) - removed - {at}:
            retract(tx, name, node=node)
            removed.add(name)
        if data.draw(st.booleans()) and len(names) < 30:
            new = f"new {len(names)}"
            put(tx, node, new, f"<x>{new}</x>")
            names.append(new)
    assert len(seen) == len(set(seen))
    original = ["first", *(str(n) for n in range(number))]
    survivors = [name for name in original if name not in removed]
    assert [name for name in seen if name in survivors] == survivors


@pytest.mark.parametrize("model", ["presence", "roster", "whitelist", "authorize"])
def test_strangers_are_told_the_same_of_a_private_node_and_of_none(tx: Transaction, model: str) -> None:
    put(tx, "private", options={"access_model": [model]})
    answers = []
    for node in ("private", "none"):
        with pytest.raises(ItemNotFound) as refused:
            retrieve(tx, JULIET, node)
        answers.append(refused.value.text)
    assert answers[0] == answers[1]


def test_who_has_the_right_retrieves(tx: Transaction) -> None:
    an_account(tx)
    put(tx, MOOD)
    a_contact(tx, ROMEO, JULIET, "from")
    assert ids(retrieve(tx, JULIET, MOOD)) == ["current"]
    affiliate(tx, JULIET, Affiliation.OUTCAST, MOOD)
    with pytest.raises(Forbidden):
        retrieve(tx, JULIET, MOOD)
    assert ids(retrieve(tx, ROMEO, MOOD)) == ["current"]


def test_a_local_feed_is_read_here_and_unknown_elsewhere(tx: Transaction) -> None:
    an_account(tx, audience=Audience.LOCAL)
    post(tx, "1")
    assert ids(retrieve(tx, BENVOLIO)) == ["1"]
    with pytest.raises(ItemNotFound):
        retrieve(tx, JULIET)
    with pytest.raises(ItemNotFound):
        subscribe(tx, JULIET)
    assert subscribe(tx, BENVOLIO) is SUBSCRIBED


def test_an_unknown_subid_is_refused(tx: Transaction) -> None:
    posts(tx, 1)
    with pytest.raises(InvalidSubID):
        retrieve(tx, JULIET, subid="other")


# Followers and local readers


def test_followers_by_pages(tx: Transaction) -> None:
    an_account(tx)
    for jid in (NURSE, JULIET, PARIS, BENVOLIO):
        subscribe(tx, jid)
    first = subscribing.followers(tx, Followers(service=ROMEO, max=3))
    rest = subscribing.followers(tx, Followers(service=ROMEO, after=str(first[-1]), max=3))
    assert first + rest == (BENVOLIO, JULIET, NURSE, PARIS)


def test_those_of_some_who_may_read(tx: Transaction) -> None:
    node = an_account(tx)
    people = [JID.parse(f"p{n}@montague.example") for n in range(5)]
    assert subscribing.may_read(tx, node.key, people) == set(people)
    a_contact(tx, ROMEO, people[1], "from")
    configure(tx, access_model="presence")
    assert subscribing.may_read(tx, node.key, people) == {people[1]}


# Interest by presence


def interest(tx: Transaction, jid: JID, *nodes: str) -> list[str]:
    found = subscribing.presence_interest(tx, Interest(service=ROMEO, jid=jid, nodes=frozenset(nodes)))
    return [item.id for _, item in found]


def domains(tx: Transaction) -> tuple[str, ...]:
    return tx.emitted[-1].domains


BALCONY = JULIET.with_resource("balcony")


def test_a_contact_that_is_present_is_told(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET, "from")
    put(tx, MOOD, "now", "<x>1</x>")
    assert interest(tx, BALCONY, MOOD, MICROBLOG) == ["now"]
    # Only once, not with every presence.
    assert interest(tx, BALCONY, MOOD, MICROBLOG) == []
    put(tx, MOOD, "now", "<x>2</x>")
    assert domains(tx) == ("capulet.example",)
    post(tx, "1")
    assert domains(tx) == ("capulet.example",)
    interest(tx, BALCONY, MICROBLOG)
    put(tx, MOOD, "now", "<x>3</x>")
    assert domains(tx) == ()
    subscribing.presence_gone(tx, BALCONY)
    post(tx, "2")
    assert domains(tx) == ()


def test_interest_outlives_one_service_only_where_it_was_taken_back(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET, "from")
    interest(tx, BALCONY, MICROBLOG)
    subscribing.presence_gone(tx, BALCONY, BENVOLIO)
    post(tx, "1")
    assert domains(tx) == ("capulet.example",)
    subscribing.presence_gone(tx, BALCONY, ROMEO)
    post(tx, "2")
    assert domains(tx) == ()


@pytest.mark.parametrize("state", ["none", "to"])
def test_who_does_not_see_our_presence_has_no_interest(tx: Transaction, state: str) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET, state)
    interest(tx, BALCONY, MICROBLOG)
    interest(tx, PARIS.with_resource(PHONE), MICROBLOG)
    post(tx, "1")
    assert domains(tx) == ()


def test_interests_are_bounded(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET, "from")
    interest(tx, BALCONY, *(f"n{n}" for n in range(1000)))
    assert len(tx.interests.of(ROMEO, BALCONY)) == subscribing.INTERESTS_PER_RESOURCE
    for n in range(subscribing.RESOURCES_PER_CONTACT - 1):
        interest(tx, JULIET.with_resource(f"r{n}"), MICROBLOG)
    with pytest.raises(ResourceConstraint):
        interest(tx, JULIET.with_resource("one-too-many"), MICROBLOG)
    interest(tx, JULIET.with_resource("one-too-many"))
    interest(tx, BALCONY, "n1")
    assert len(tx.interests.other_resources(ROMEO, JULIET)) == subscribing.RESOURCES_PER_CONTACT


def test_a_contact_that_is_lost_hears_no_more(tx: Transaction) -> None:
    an_account(tx)
    configure(tx, access_model="presence")
    a_contact(tx, ROMEO, JULIET, "from")
    subscribe(tx, JULIET)
    interest(tx, BALCONY, MICROBLOG)
    a_contact(tx, ROMEO, JULIET, "to")
    subscribing.contact_lost(tx, ROMEO, JULIET)
    assert changes(tx)[-1] == (JULIET, "none")
    post(tx, "1")
    assert domains(tx) == ()


def test_a_lost_contact_still_follows_what_is_open(tx: Transaction) -> None:
    an_account(tx)
    subscribe(tx, JULIET)
    subscribing.contact_lost(tx, ROMEO, JULIET)
    post(tx, "1")
    assert domains(tx) == ("capulet.example",)


def test_the_last_items_for_somebody_who_comes_on_line(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    put(tx, MOOD, "now")
    put(tx, "secret", "x", options={"access_model": ["whitelist"]})
    a_contact(tx, ROMEO, BENVOLIO, "both")
    tx.nodes.create(JULIET, MOOD, tx.nodes.defaults(JULIET, MOOD))
    request = LastItems(reader=BENVOLIO, services=(ROMEO, JULIET), nodes=frozenset([MOOD, MICROBLOG, "secret"]))
    assert [item.id for _, item in subscribing.last_items(tx, request)] == ["now"]
