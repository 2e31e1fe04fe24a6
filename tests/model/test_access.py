"""XEP-0060 §4.1 and §4.5 as a table, and what must hold whatever the facts are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.access import (
    Action,
    Facts,
    audience_of,
    audiences_allowed,
    audiences_readable,
    check,
    may_leave,
    narrower,
    publishable,
    readable,
    subscription_verdict,
    visible,
)
from microblog.model.errors import (
    ClosedNode,
    EntityNotSubscribed,
    Forbidden,
    ItemNotFound,
    NotInRosterGroup,
    PresenceSubscriptionRequired,
    Refusal,
)
from microblog.model.item import Audience
from microblog.model.node import AccessModel, NodeConfig, PublishModel
from microblog.model.subscription import Affiliation, SubscriptionState

FACTS = st.builds(
    Facts,
    affiliation=st.sampled_from(Affiliation),
    subscribed=st.sampled_from(SubscriptionState),
    presence=st.booleans(),
    groups=st.frozensets(st.sampled_from(["friends", "family"])),
    here=st.booleans(),
)
CONFIGS = st.builds(
    NodeConfig,
    access_model=st.sampled_from(AccessModel),
    publish_model=st.sampled_from(PublishModel),
    roster_groups_allowed=st.sampled_from([(), ("friends",)]),
    audience=st.sampled_from([Audience.PUBLIC, Audience.FOLLOWERS, Audience.LOCAL]),
)
STRANGER = Facts()
FRIEND = Facts(presence=True, groups=frozenset(["friends"]))
SUBSCRIBED = SubscriptionState.SUBSCRIBED


def node(model: str, **more: object) -> NodeConfig:
    return NodeConfig(access_model=AccessModel(model), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "facts", "verdict"),
    [
        (node("open"), STRANGER, SUBSCRIBED),
        (node("presence"), STRANGER, PresenceSubscriptionRequired),
        (node("presence"), FRIEND, SUBSCRIBED),
        (node("roster"), FRIEND, NotInRosterGroup),
        (node("roster", roster_groups_allowed=("friends",)), FRIEND, SUBSCRIBED),
        (
            node("roster", roster_groups_allowed=("friends",)),
            Facts(groups=frozenset(["friends"])),
            NotInRosterGroup,
        ),
        (node("whitelist"), FRIEND, ClosedNode),
        (node("whitelist"), Facts(affiliation=Affiliation.MEMBER), SUBSCRIBED),
        (node("authorize"), STRANGER, SubscriptionState.PENDING),
        (node("authorize"), Facts(affiliation=Affiliation.MEMBER), SUBSCRIBED),
        (node("open"), Facts(affiliation=Affiliation.OUTCAST), Forbidden),
        (node("open"), Facts(affiliation=Affiliation.PUBLISH_ONLY), Forbidden),
        (node("open", audience=Audience.LOCAL), STRANGER, ItemNotFound),
        (node("open", audience=Audience.LOCAL), Facts(here=True), SUBSCRIBED),
    ],
)
def test_who_may_subscribe(config: NodeConfig, facts: Facts, verdict: SubscriptionState | type[Refusal]) -> None:
    """§6.1.3."""
    if isinstance(verdict, SubscriptionState):
        assert subscription_verdict(config, facts) is verdict
    else:
        with pytest.raises(verdict):
            subscription_verdict(config, facts)


@pytest.mark.parametrize("model", ["presence", "roster", "whitelist", "authorize"])
def test_a_private_node_and_none_are_answered_alike(model: str) -> None:
    answers = []
    for config in (node(model), None):
        with pytest.raises(ItemNotFound) as refused:
            check(Action.RETRIEVE, config, STRANGER)
        answers.append((type(refused.value), refused.value.text))
    assert answers[0] == answers[1]


def test_who_is_known_to_a_node_hears_why() -> None:
    with pytest.raises(Forbidden):
        check(Action.RETRIEVE, node("open"), Facts(affiliation=Affiliation.OUTCAST))
    with pytest.raises(EntityNotSubscribed):
        check(Action.RETRIEVE, node("authorize"), Facts(subscribed=SubscriptionState.PENDING))


def test_somebody_elses_node_and_none_are_answered_alike_to_a_publisher() -> None:
    answers = []
    for config in (node("whitelist"), node("open"), None):
        with pytest.raises(Forbidden) as refused:
            check(Action.PUBLISH, config, STRANGER)
        answers.append(refused.value.text)
    assert len(set(answers)) == 1


def test_owning_a_node_that_one_can_see_is_forbidden_and_else_it_is_not_there() -> None:
    with pytest.raises(Forbidden):
        check(Action.OWN, node("open"), STRANGER)
    for config in (node("whitelist"), None):
        with pytest.raises(ItemNotFound):
            check(Action.OWN, config, STRANGER)
    check(Action.OWN, node("whitelist"), Facts(affiliation=Affiliation.OWNER, here=True))


@given(CONFIGS, FACTS)
def test_outcasts_do_nothing(config: NodeConfig, facts: Facts) -> None:
    outcast = Facts(
        affiliation=Affiliation.OUTCAST,
        subscribed=facts.subscribed,
        presence=facts.presence,
        groups=facts.groups,
        here=facts.here,
    )
    assert not readable(config, outcast) and not publishable(config, outcast)
    with pytest.raises((Forbidden, ItemNotFound)):
        subscription_verdict(config, outcast)


@given(CONFIGS, FACTS)
def test_nobody_publishes_at_a_node_they_cannot_know(config: NodeConfig, facts: Facts) -> None:
    if publishable(config, facts):
        assert visible(config, facts)


@given(CONFIGS, FACTS)
def test_what_is_readable_is_visible_and_retrievable(config: NodeConfig, facts: Facts) -> None:
    if readable(config, facts):
        assert visible(config, facts)
        check(Action.RETRIEVE, config, facts)
    else:
        assert audiences_readable(config, facts) == frozenset()
        with pytest.raises(Refusal):
            check(Action.RETRIEVE, config, facts)


@given(CONFIGS, FACTS)
def test_a_local_node_is_nothing_to_other_domains(config: NodeConfig, facts: Facts) -> None:
    if config.audience is Audience.LOCAL and not facts.here:
        assert not readable(config, facts) and not visible(config, facts) and not publishable(config, facts)


@given(CONFIGS, FACTS)
def test_others_read_a_local_item_only_here(config: NodeConfig, facts: Facts) -> None:
    if not facts.here and not facts.capability.own:
        assert Audience.LOCAL not in audiences_readable(config, facts)


@given(CONFIGS, FACTS)
def test_a_subscriber_by_verdict_may_read(config: NodeConfig, facts: Facts) -> None:
    try:
        state = subscription_verdict(config, facts)
    except Refusal:
        return
    then = Facts(
        affiliation=facts.affiliation,
        subscribed=state,
        presence=facts.presence,
        groups=facts.groups,
        here=facts.here,
    )
    assert readable(config, then) is (state is SUBSCRIBED)
    if state is SUBSCRIBED:
        assert audience_of(config) in audiences_readable(config, then)


@given(st.sampled_from(Audience), st.booleans())
def test_local_items_leave_for_no_domain_but_ours(audience: Audience, trusted: bool) -> None:
    assert may_leave(audience, "montague.example", local_domain="montague.example", trusted=trusted)
    leaves = may_leave(audience, "capulet.example", local_domain="montague.example", trusted=trusted)
    assert leaves is (audience is Audience.PUBLIC or (trusted and audience is not Audience.LOCAL))


@given(CONFIGS)
def test_the_access_model_is_the_ceiling(config: NodeConfig) -> None:
    if config.access_model is not AccessModel.OPEN:
        assert audience_of(config) is not Audience.PUBLIC
    assert narrower(audience_of(config), config.audience) is audience_of(config)


def test_less_trust_never_lets_more_out() -> None:
    for domain in ("capulet.example", "montague.example"):
        less = audiences_allowed(domain, local_domain="montague.example", trusted=False)
        assert less <= audiences_allowed(domain, local_domain="montague.example", trusted=True)
