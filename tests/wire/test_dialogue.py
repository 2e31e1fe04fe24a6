"""XEP-0004: what people fill in is read against what they were asked."""

import pytest

from microblog.model.errors import NotAcceptable
from microblog.wire import dialogue, ns
from microblog.wire.dialogue import Field
from microblog.wire.xml import Element
from tests.xmltext import read

FIELDS = (
    Field(var="who", label="Who?", required=True),
    Field(var="loud", type="boolean"),
    Field(var="where", type="list-single", options=(("balcony", "On the balcony"), ("tomb", ""))),
    Field(var="friends", type="jid-multi"),
    Field(var="words", type="text-multi"),
)
TYPE = "<field var='FORM_TYPE' type='hidden'><value>urn:x-verona</value></field>"


def a_form(fields: str, form_type: str = TYPE) -> Element:
    return read(f"<x xmlns='jabber:x:data' type='submit'>{form_type}{fields}</x>")


def a_field(var: str, *values: str) -> str:
    return f"<field var='{var}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"


def filled(fields: str, form_type: str = TYPE) -> dict[str, tuple[str, ...]]:
    return dialogue.read(a_form(fields, form_type), FIELDS, "urn:x-verona")


def test_a_form_asks() -> None:
    asked = dialogue.write(
        "form", FIELDS[:3], form_type="urn:x-verona", title="Call", instructions="Whom do you want to call?"
    )
    assert asked == read(
        "<x xmlns='jabber:x:data' type='form'><title>Call</title><instructions>Whom do you want to call?</instructions>"
        "<field type='hidden' var='FORM_TYPE'><value>urn:x-verona</value></field>"
        "<field type='text-single' var='who' label='Who?'><required/></field><field type='boolean' var='loud'/>"
        "<field type='list-single' var='where'><option label='On the balcony'><value>balcony</value></option>"
        "<option><value>tomb</value></option></field></x>"
    )


def test_results_stand_in_rows() -> None:
    assert dialogue.write_table({"name": "Name", "house": "House"}, [("Romeo", "Montague")]) == read(
        "<x xmlns='jabber:x:data' type='result'><reported><field type='text-single' var='name' label='Name'/>"
        "<field type='text-single' var='house' label='House'/></reported>"
        "<item><field var='name'><value>Romeo</value></field><field var='house'><value>Montague</value></field>"
        "</item></x>"
    )


def test_what_is_filled_in_is_read() -> None:
    fields = (
        a_field("words", "But", "soft")
        + a_field("who", "Romeo")
        + a_field("loud", "true")
        + a_field("where", "tomb")
        + a_field("friends", "Romeo@Montague.example", "")
        + "<field type='fixed'><value>Fill in all of it.</value></field>"
    )
    assert filled(fields) == {
        "who": ("Romeo",),
        "loud": ("1",),
        "where": ("tomb",),
        "friends": ("romeo@montague.example",),
        "words": ("But", "soft"),
    }


def test_what_was_left_empty_is_absent() -> None:
    assert filled(a_field("who", "Romeo") + a_field("where", "") + a_field("loud")) == {"who": ("Romeo",)}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (a_field("loud", "1"), "who"),
        (a_field("who", ""), "who"),
        (a_field("who", "Romeo") + a_field("who", "Paris"), "who"),
        (a_field("who", "Romeo", "Paris"), "who"),
        (a_field("who", "Romeo") + a_field("sword", "yes"), "sword"),
        (a_field("who", "Romeo") + a_field("where", "mantua"), "where"),
        (a_field("who", "Romeo") + a_field("loud", "maybe"), "loud"),
        (a_field("who", "Romeo") + a_field("friends", "paris@", "romeo@montague.example"), "friends"),
        (a_field("who", "Romeo") + a_field("words", *("word",) * 1001), "words"),
        (a_field("who", "Romeo") + "".join(a_field(f"v{n}", "1") for n in range(1500)), "v0"),
        (a_field("who", "Romeo") + "<field type='fixed'/>" * 4000, "at most 100 fields"),
    ],
)
def test_j168_what_is_wrong_is_named(fields: str, named: str) -> None:
    with pytest.raises(NotAcceptable, match=named):
        filled(fields)


@pytest.mark.parametrize("form_type", ["", a_field("FORM_TYPE", ns.ADMIN), a_field("FORM_TYPE"), TYPE + TYPE])
def test_j168_form_type_says_which_form_it_is(form_type: str) -> None:
    with pytest.raises(NotAcceptable, match="FORM_TYPE"):
        filled(a_field("who", "Romeo"), form_type)
