"""RFC 7622: one canonical form, and what is no address at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID, domain


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("juliet@capulet.example", "juliet@capulet.example"),
        ("Juliet@CAPULET.example./Balcony", "juliet@capulet.example/Balcony"),
        ("capulet.example", "capulet.example"),
        ("a@b.example/c/d@e", "a@b.example/c/d@e"),
        ("\uff4auliet@\uff43apulet.example", "juliet@capulet.example"),
        ("juliet@bücher.example", "juliet@xn--bcher-kva.example"),
        ("juliet@xn--bcher-kva.example", "juliet@xn--bcher-kva.example"),
        ("juliet@[0:0::1]", "juliet@[::1]"),
        ("henryⅣ@montague.example", None),
    ],
)
def test_addresses_have_one_form(text: str, canonical: str | None) -> None:
    if canonical is None:
        with pytest.raises(JIDMalformed):
            JID.parse(text)
    else:
        assert str(JID.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@capulet.example",
        "juliet@",
        "juliet@capulet.example/",
        "/balcony",
        "a..b",
        "juliet@capulet..example",
        "@@",
        "@",
        "ju liet@capulet.example",
        "ju\0liet@capulet.example",
        "ju\u202eliet@capulet.example",
        "juliet\u200d@capulet.example",
        'ju"liet@capulet.example',
        "ju:liet@capulet.example",
        "juliet@[::1",
        "juliet@[not an address]",
        "juliet@capulet.example/bal\u0007cony",
        "j" * 1024 + "@capulet.example",
        "juliet@" + "c" * 64 + ".example",
        "juliet@capulet.example/" + "b" * 1024,
        "x" * 100_000,
    ],
)
def test_malformed_addresses_are_refused(text: str) -> None:
    with pytest.raises(JIDMalformed):
        JID.parse(text)


def test_sharp_s_is_not_double_s() -> None:
    assert domain("straße.example") != domain("strasse.example")


def test_all_spellings_of_a_domain_are_one() -> None:
    spellings = ("BÜCHER.example", "bücher.example.", "xn--bcher-kva.example", "XN--BCHER-KVA.EXAMPLE")
    assert {domain(text) for text in spellings} == {"xn--bcher-kva.example"}


@given(st.text(max_size=40))
def test_whatever_parses_parses_again_to_itself(text: str) -> None:
    try:
        jid = JID.parse(text)
    except JIDMalformed:
        return
    assert JID.parse(str(jid)) == jid
