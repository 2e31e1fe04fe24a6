"""XEP-0220 and XEP-0185: keys and elements, with the examples of the specifications."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xmpp.dialback import Dialback, DialbackMalformed, Keys, is_dialback, malformed, read

SECRET = bytes(range(32))
labels = st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){0,2}", fullmatch=True)
ids = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)


def element(name: str, text: str = "", **attributes: str) -> Element:
    return Element(ns.DIALBACK, name, {key.rstrip("_"): value for key, value in attributes.items()}, text)


def test_the_key_of_xep_0185(monkeypatch: pytest.MonkeyPatch) -> None:
    """§3: the example's secret is shorter than we permit, so it comes in by the back door."""
    keys = Keys(SECRET)
    keys._secret = b"a7136eb1f46c9ef18c5e78c36ca257067c69b3d518285f0b18a96c33beae9acc"
    key = keys.key(receiving="xmpp.example.com", originating="example.org", stream_id="D60000229F")
    assert key == "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Keys(b"d14lb4ck43v3r")


@given(labels, labels, ids, labels, labels, ids)
def test_two_dialogues_never_have_the_same_key(a: str, b: str, c: str, d: str, e: str, f: str) -> None:
    """CVE-2016-0756"""
    keys = Keys(SECRET)
    first = keys.key(receiving=a, originating=b, stream_id=c)
    second = keys.key(receiving=d, originating=e, stream_id=f)
    assert (first == second) == ((a, b, c) == (d, e, f))


def test_a_key_is_good_for_one_dialogue_only() -> None:
    keys = Keys(SECRET)
    key = keys.key(receiving="montague.example", originating="capulet.example", stream_id="s1")
    assert keys.made(key, receiving="montague.example", originating="capulet.example", stream_id="s1")
    assert not keys.made(key, receiving="montague.example", originating="capulet.example", stream_id="s2")
    assert not keys.made(key, receiving="capulet.example", originating="montague.example", stream_id="s1")
    assert not keys.made("", receiving="montague.example", originating="capulet.example", stream_id="s1")
    assert not keys.made("schlüssel", receiving="montague.example", originating="capulet.example", stream_id="s1")
    other = Keys(bytes(32))
    assert not other.made(key, receiving="montague.example", originating="capulet.example", stream_id="s1")


def test_elements_are_written_with_the_prefix_that_the_header_declares() -> None:
    claim = Dialback("result", "capulet.example", "montague.example", key="b4835385f37fe2895af6c196b59097b1")
    assert claim.to_bytes() == (
        b"<db:result from='capulet.example' to='montague.example'>b4835385f37fe2895af6c196b59097b1</db:result>"
    )
    question = Dialback("verify", "montague.example", "capulet.example", "417GAF25&", key="225c")
    assert question.to_bytes() == (
        b"<db:verify from='montague.example' to='capulet.example' id='417GAF25&amp;'>225c</db:verify>"
    )
    assert question.answer("valid").to_bytes() == (
        b"<db:verify from='capulet.example' to='montague.example' id='417GAF25&amp;' type='valid'/>"
    )


@pytest.mark.parametrize(
    ("condition", "type_"),
    [("item-not-found", "cancel"), ("resource-constraint", "wait"), ("not-authorized", "auth"), ("forbidden", "auth")],
)
def test_errors_have_the_type_of_their_condition(condition: str, type_: str) -> None:
    """§2.4.2"""
    answer = Dialback("result", "capulet.example", "montague.example").answer("error", condition)
    assert answer.to_bytes().decode() == (
        "<db:result from='montague.example' to='capulet.example' type='error'>"
        f"<error type='{type_}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>"
    )


def test_domains_are_read_in_canonical_form_and_keys_without_white_space() -> None:
    found = read(element("result", "\n  b4835385 \n", from_="Capulet.EXAMPLE.", to="straße.example"))
    assert found == Dialback("result", "capulet.example", "xn--strae-oqa.example", key="b4835385")


def test_an_error_is_read_whichever_namespace_it_inherits() -> None:
    for uri in (ns.CLIENT, ns.DIALBACK):
        answer = element("result", from_="a.example", to="b.example", type="error")
        answer.append(Element(uri, "error", {"type": "auth"}, Element(ns.STANZAS, "forbidden")))
        assert read(answer).condition == "forbidden"


@pytest.mark.parametrize(
    "attributes",
    [
        {"to": "b.example"},
        {"from": "a.example"},
        {"from": "", "to": "b.example"},
        {"from": "a..example", "to": "b.example"},
        {"from": "romeo@a.example", "to": "b.example"},
        {"from": "a.example", "to": "b.example", "type": "maybe"},
        {"from": "a.example", "to": "b.example", "id": "x" * 1024},
    ],
)
def test_an_element_that_belongs_to_no_dialogue(attributes: dict[str, str]) -> None:
    with pytest.raises(DialbackMalformed):
        read(Element(ns.DIALBACK, "result", attributes, "key"))


def test_an_overlong_key_is_refused() -> None:
    with pytest.raises(DialbackMalformed):
        read(element("result", "k" * 1024, from_="a.example", to="b.example"))


def test_the_answer_to_a_malformed_element_repeats_what_is_there() -> None:
    answer = malformed(element("verify", from_="a'b", id="1"), by="capulet.example").decode()
    assert answer.startswith(
        "<db:verify from='capulet.example' to='a&apos;b' id='1' type='error'><error type='modify'>"
    )
    assert malformed(element("result"), by="capulet.example").startswith(b"<db:result from='capulet.example' type=")


def test_only_result_and_verify_are_dialback() -> None:
    assert is_dialback(element("result"))
    assert is_dialback(element("verify"))
    assert not is_dialback(element("other"))
    assert not is_dialback(Element(ns.CLIENT, "result"))
