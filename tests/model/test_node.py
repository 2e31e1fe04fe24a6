"""Options as text and as values, and what is stored of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.errors import InvalidOptions, NotAcceptable, UnsupportedAccessModel
from microblog.model.item import Audience
from microblog.model.node import (
    FIXED,
    MICROBLOG,
    OPTIONS,
    AccessModel,
    NodeConfig,
    PublishModel,
    SendLast,
    configured,
    for_audience,
    profile,
    read_options,
    stored_config,
)
from microblog.model.subscription import SubscribeOptions

TEXT = st.text(max_size=20).map(str.strip)
NUMBER = st.none() | st.integers(1, 999_999_999)
CONFIGS = st.builds(
    NodeConfig,
    access_model=st.sampled_from(AccessModel),
    publish_model=st.sampled_from(PublishModel),
    persist_items=st.booleans(),
    max_items=NUMBER,
    max_payload_size=NUMBER,
    item_expire=NUMBER,
    notify_retract=st.booleans(),
    send_last_published_item=st.sampled_from(SendLast),
    itemreply=st.sampled_from(["owner", "publisher", "none"]),
    type=TEXT,
    title=TEXT,
    roster_groups_allowed=st.lists(TEXT, unique=True, max_size=3).map(tuple),
    audience=st.just(Audience.PUBLIC),
)


@given(CONFIGS)
def test_a_form_says_all_there_is_to_say(config: NodeConfig) -> None:
    assert configured(NodeConfig(), config.options()) == config


@given(CONFIGS, st.sampled_from([MICROBLOG, MICROBLOG + ":comments/1", "other"]))
def test_a_stored_configuration_comes_back(config: NodeConfig, name: str) -> None:
    assert stored_config(name, config.stored(profile(name))) == config


def test_only_what_differs_is_stored() -> None:
    assert profile(MICROBLOG).stored(profile(MICROBLOG)) == "{}"
    assert for_audience(MICROBLOG, Audience.LOCAL).stored(profile(MICROBLOG)) == '{"audience": "local"}'


def test_an_option_that_is_not_said_stays() -> None:
    base = NodeConfig(title="Feed")
    assert configured(base, {"max_items": ["3"]}) == NodeConfig(title="Feed", max_items=3)


@pytest.mark.parametrize(
    "options",
    [
        {"colour": ["red"]},
        {"max_items": ["0"]},
        {"max_items": ["-1"]},
        {"max_items": ["1e9"]},
        {"max_items": ["\uff19"]},
        {"max_items": ["1" * 5000]},
        {"persist_items": ["2"]},
        {"persist_items": []},
        {"title": ["one", "two"]},
        {"title": ["x" * 5000]},
        {"publish_model": ["friends"]},
        {"roster_groups_allowed": ["x"] * 101},
        {"node_type": ["collection"]},
        {"audience": ["public"]},
    ],
)
def test_bad_options_are_not_acceptable(options: dict[str, list[str]]) -> None:
    with pytest.raises(NotAcceptable):
        configured(NodeConfig(), options)


def test_an_access_model_that_is_none_has_its_own_refusal() -> None:
    with pytest.raises(UnsupportedAccessModel):
        configured(NodeConfig(), {"access_model": ["members"]})


@pytest.mark.parametrize("name", FIXED)
def test_the_one_answer_to_a_fixed_option_is_fine(name: str) -> None:
    for value in FIXED[name]:
        assert read_options({name: [value]}) == {}


def test_every_option_is_a_field() -> None:
    assert set(OPTIONS) <= set(NodeConfig.__slots__)


def test_feeds_follow_the_audience_of_their_account() -> None:
    assert for_audience(MICROBLOG, Audience.PUBLIC) == profile(MICROBLOG)
    assert for_audience(MICROBLOG, Audience.FOLLOWERS).access_model is AccessModel.AUTHORIZE
    assert for_audience(MICROBLOG, Audience.LOCAL).audience is Audience.LOCAL
    assert for_audience("http://jabber.org/protocol/mood", Audience.LOCAL) == profile("mood")


def test_subscribe_options() -> None:
    """§6.3.7.2."""
    assert SubscribeOptions().changed({"deliver": ["0"]}) == SubscribeOptions(deliver=False)
    assert SubscribeOptions(deliver=False).changed(SubscribeOptions().options()) == SubscribeOptions()
    for options in ({"deliver": ["maybe"]}, {"colour": ["red"]}):
        with pytest.raises(InvalidOptions):
            SubscribeOptions().changed(options)
