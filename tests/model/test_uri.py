"""Addresses of nodes and items."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.jid import JID
from microblog.model.uri import ItemAddress, canonical, item_uri, node_uri, read_uri

ROMEO = JID.parse("romeo@montague.example")


@pytest.mark.parametrize(
    "uri",
    [
        "xmpp:romeo@montague.example?;node=urn:xmpp:microblog:0;item=a b",
        "xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=a%20b",
        "xmpp:romeo@montague.example?pubsub;action=retrieve;node=urn:xmpp:microblog:0;item=a b",
        "xmpp:romeo@montague.example?; node=urn:xmpp:microblog:0; item=a b",
    ],
)
def test_both_ways_of_writing_an_address_are_read(uri: str) -> None:
    assert read_uri(uri) == (ROMEO, "urn:xmpp:microblog:0", "a b")


@pytest.mark.parametrize(
    "uri", ["http://a", "xmpp:romeo@montague.example", "xmpp:@?;node=a", "xmpp:a b@c?;node=a;item=b"]
)
def test_what_is_no_address_of_an_item(uri: str) -> None:
    assert read_uri(uri) is None


@given(
    node=st.text(st.characters(codec="utf-8"), min_size=1), item_id=st.text(st.characters(codec="utf-8"), min_size=1)
)
def test_addresses_there_and_back_again(node: str, item_id: str) -> None:
    assert read_uri(item_uri(ROMEO, node, item_id)) == (ROMEO, node, item_id)
    assert canonical(item_uri(ROMEO, node, item_id)) == item_uri(ROMEO, node, item_id)


@given(st.text("aZ1%23AF5Eb;:=?.-~ \xe9'", max_size=20), st.text("aZ1%23AF;:=?&+ \xe9", max_size=20))
def test_what_is_taken_for_canonical_is(node: str, item_id: str) -> None:
    """However it is written, what is read and written again is what canonical says."""
    for uri in (
        f"xmpp:romeo@montague.example?;node={node};item={item_id}",
        f"xmpp:romeo@montague.example?;node={node}",
    ):
        found = read_uri(uri)
        assert canonical(uri) == (uri if found is None else found.uri)


@pytest.mark.parametrize(
    ("uri", "one"),
    [
        ("xmpp:Romeo@Montague.Example?;node=a", "xmpp:romeo@montague.example?;node=a"),
        ("xmpp:romeo@montague.example?;node=%3a;item=%41", "xmpp:romeo@montague.example?;node=%3A;item=A"),
        ("xmpp:romeo@montague.example/?pubsub;item=b;node=a", "xmpp:romeo@montague.example?;node=a;item=b"),
        ("xmpp:montague.example?;node=a;item=", "xmpp:montague.example?;node=a"),
        ("https://montague.example", "https://montague.example"),
        ("xmpp:romeo@montague.example", "xmpp:romeo@montague.example"),
    ],
)
def test_one_text_for_each(uri: str, one: str) -> None:
    assert canonical(uri) == one
    assert canonical(one) == one


def test_a_node_is_an_address_too() -> None:
    assert ItemAddress(ROMEO, "a").uri == node_uri(ROMEO, "a") == "xmpp:romeo@montague.example?;node=a"
    assert ItemAddress(ROMEO, "a", "b").uri == item_uri(ROMEO, "a", "b")
