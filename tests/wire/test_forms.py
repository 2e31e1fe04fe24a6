"""XEP-0004, XEP-0068: forms of publish-subscribe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.errors import BadRequest, NotAcceptable, PreconditionNotMet
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG_PROFILE, OPTIONS, NodeConfig, configured
from microblog.model.subscription import SubscribeOptions
from microblog.wire import forms, ns
from microblog.wire.xml import Element
from tests.xmltext import read


def submitted(form_type: str, *fields: str) -> Element:
    return read(
        f"""<x xmlns='jabber:x:data' type='submit'>
        <field var='FORM_TYPE' type='hidden'><value>{form_type}</value></field>{"".join(fields)}</x>"""
    )


def field(var: str, *values: str) -> str:
    return f"<field var='{var}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"


def test_what_movim_publishes_with() -> None:
    form = submitted(
        ns.PUBSUB_PUBLISH_OPTIONS,
        field("pubsub#persist_items", "true"),
        field("pubsub#max_items", "max"),
        field("pubsub#itemreply", "publisher"),
        field("pubsub#notify_sub", "true"),
        field("pubsub#notify_retract", "true"),
        field("pubsub#send_last_published_item", "never"),
        field("pubsub#deliver_payloads", "true"),
        field("pubsub#type", "urn:xmpp:microblog:0"),
        field("pubsub#title", "Romeo&apos;s"),
    )
    options = forms.read_options(form, ns.PUBSUB_PUBLISH_OPTIONS)
    assert options is not None
    assert options["max_items"] == ("max",)
    config = configured(MICROBLOG_PROFILE, options)
    assert (config.max_items, config.notify_sub, config.title) == (None, True, "Romeo's")


def test_a_cancelled_form_says_nothing() -> None:
    assert forms.read_options(read("<x xmlns='jabber:x:data' type='cancel'/>"), ns.PUBSUB_NODE_CONFIG) is None


@pytest.mark.parametrize(
    "form",
    [
        read("<x xmlns='jabber:x:data' type='result'/>"),
        read("<x xmlns='jabber:x:data'/>"),
        read("<x xmlns='urn:other' type='submit'/>"),
        submitted(ns.PUBSUB_SUBSCRIBE_OPTIONS),
        submitted(ns.PUBSUB_NODE_CONFIG, field("pubsub#title", "a"), field("pubsub#title", "b")),
        submitted(ns.PUBSUB_NODE_CONFIG, "<field var='pubsub#access_model'><option/></field>"),
    ],
    ids=["result", "no type", "no form", "other kind", "field twice", "option without value"],
)
def test_what_is_not_the_form_is_refused(form: Element) -> None:
    with pytest.raises(BadRequest):
        forms.read_options(form, ns.PUBSUB_NODE_CONFIG)


def test_a_field_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(NotAcceptable):
        forms.read_options(submitted(ns.PUBSUB_NODE_CONFIG, field("access_model", "open")), ns.PUBSUB_NODE_CONFIG)


def test_an_unknown_publish_option_is_never_ignored() -> None:
    """§7.1.5: unknown fields reject the publication."""
    with pytest.raises(PreconditionNotMet):
        forms.read_options(submitted(ns.PUBSUB_PUBLISH_OPTIONS, field("muc#secret", "1")), ns.PUBSUB_PUBLISH_OPTIONS)


def test_a_form_type_without_a_type_is_read() -> None:
    """XEP-0068 §3.1: a submitted FORM_TYPE need not be typed hidden; some leave it out."""
    untyped = read(
        f"""<x xmlns='jabber:x:data' type='submit'>
        {field("FORM_TYPE", ns.PUBSUB_NODE_CONFIG)}{field("pubsub#title", "a")}</x>"""
    )
    assert forms.read_options(untyped, ns.PUBSUB_NODE_CONFIG) == {"title": ("a",)}
    without = read(f"<x xmlns='jabber:x:data' type='submit'>{field('pubsub#title', 'a')}</x>")
    assert forms.read_options(without, ns.PUBSUB_NODE_CONFIG) == {"title": ("a",)}
    with pytest.raises(BadRequest):
        forms.read_options(untyped, ns.PUBSUB_SUBSCRIBE_OPTIONS)


def test_two_forms_are_not_taken_for_each_other() -> None:
    for title in ("a", "b", "a"):
        form = submitted(ns.PUBSUB_NODE_CONFIG, field("pubsub#title", title))
        assert forms.read_options(form, ns.PUBSUB_NODE_CONFIG) == {"title": (title,)}


def test_a_configuration_form_shows_every_option() -> None:
    form = forms.write_node_config(NodeConfig(title="Romeo"))
    shown = {one.get("var"): one for one in form.elements()}
    assert form.get("type") == "form"
    assert set(shown) == {"FORM_TYPE", *(f"pubsub#{name}" for name in OPTIONS)}
    access = shown["pubsub#access_model"]
    assert access.child_text(ns.DATA, "value") == "presence"
    assert [one.child_text(ns.DATA, "value") for one in access.find_all(ns.DATA, "option")] == [
        "open",
        "presence",
        "roster",
        "whitelist",
        "authorize",
    ]
    assert shown["pubsub#title"].child_text(ns.DATA, "value") == "Romeo"


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), max_size=30).map(str.strip)


@given(
    title=TEXTS,
    max_items=st.none() | st.integers(1, 10**9 - 1),
    persist=st.booleans(),
    groups=st.lists(TEXTS.filter(bool), unique=True, max_size=5),
)
def test_a_configuration_survives_its_form(title: str, max_items: int | None, persist: bool, groups: list[str]) -> None:
    config = NodeConfig(title=title, max_items=max_items, persist_items=persist, roster_groups_allowed=tuple(groups))
    form = forms.write_node_config(config, kind="submit")
    options = forms.read_options(form, ns.PUBSUB_NODE_CONFIG)
    assert options is not None
    assert configured(NodeConfig(), options) == config


def test_subscribe_options_survive_their_form() -> None:
    form = forms.write_subscribe_options(SubscribeOptions(deliver=False)).replaced(type="submit")
    options = forms.read_options(form, ns.PUBSUB_SUBSCRIBE_OPTIONS)
    assert SubscribeOptions().changed(options or {}) == SubscribeOptions(deliver=False)


def test_an_owner_is_asked_and_answers() -> None:
    """§8.6."""
    juliet = JID.parse("juliet@capulet.example")
    asked = forms.write_authorization("urn:xmpp:microblog:0", juliet, "s1")
    answered = asked.replaced(type="submit")
    assert forms.read_authorization(answered) == forms.Authorization(
        node="urn:xmpp:microblog:0", subscriber=juliet, subid="s1", allow=False
    )
    assert forms.read_authorization(asked.replaced(type="cancel")) is None


def test_an_answer_without_decision_is_refused() -> None:
    with pytest.raises(BadRequest):
        forms.read_authorization(submitted(ns.PUBSUB_SUBSCRIBE_AUTHORIZATION, field("pubsub#node", "a")))
