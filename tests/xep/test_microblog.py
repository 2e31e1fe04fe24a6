"""XEP-0277, XEP-0472: what becomes of a post when it is published."""

import pytest

from microblog.model.errors import InvalidPayload, PayloadTooBig
from microblog.model.jid import JID
from microblog.model.uri import read_uri
from microblog.wire import ns
from microblog.wire.pubsub import Publish
from microblog.wire.xml import Element
from microblog.xep.microblog import Microblog, prepare
from tests.xmltext import read

ROMEO = JID.parse("romeo@montague.example")


def publish(payload: Element | None, *, item_id: str | None = "1", node: str = ns.MICROBLOG) -> Publish:
    return Publish(node=node, item_id=item_id, payload=payload, options=None, has_item=True)


ENTRY = read(f"<entry xmlns='{ns.ATOM}'><title>Soft!</title><x xmlns='urn:x'/></entry>")


def test_a_post_is_stored_as_it_came_and_links_to_itself() -> None:
    ready = prepare(ROMEO, publish(ENTRY), 5000)
    node = "xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0"
    uri, comments = f"{node};item=1", f"{node}%3Acomments%2F1"
    assert read(ready.payload) == read(
        f"<entry xmlns='{ns.ATOM}'><title>Soft!</title><x xmlns='urn:x'/><link rel='alternate' href='{uri}'/>"
        f"<link rel='replies' title='comments' href='{comments}'/></entry>"
    )
    assert ready.entry is not None
    assert ready.entry.thread == comments
    assert ready.item_id == "1"
    assert ready.entry is not None
    assert (ready.entry.title, ready.entry.links[0].href) == ("Soft!", uri)


def test_the_same_again_is_the_same() -> None:
    """A client that never saw our answer publishes again, and that must not be an edit."""
    assert prepare(ROMEO, publish(ENTRY), 5000) == prepare(ROMEO, publish(ENTRY), 5000)


def test_a_post_without_a_name_gets_one_that_its_link_has() -> None:
    ready = prepare(ROMEO, publish(ENTRY, item_id=None), 5000)
    assert ready.item_id
    assert ready.entry is not None
    assert read_uri(ready.entry.links[0].href) == (ROMEO, ns.MICROBLOG, ready.item_id)


def test_comments_are_posts_too() -> None:
    assert "<link" in prepare(ROMEO, publish(ENTRY, node=f"{ns.MICROBLOG}:comments/1"), 5000).payload


def test_only_entries_are_posts() -> None:
    with pytest.raises(InvalidPayload):
        prepare(ROMEO, publish(Element("urn:x", "entry")), 5000)
    feed = prepare(ROMEO, publish(Element(ns.ATOM, "feed"), item_id="0"), 5000)
    assert (feed.payload, feed.entry) == (f"<feed xmlns='{ns.ATOM}'/>", None)


def test_other_nodes_take_what_they_get() -> None:
    ready = prepare(ROMEO, publish(Element("urn:tune", "tune"), item_id=None, node="urn:tune"), 5000)
    assert (ready.item_id, ready.payload, ready.entry) == (None, "<tune xmlns='urn:tune'/>", None)
    assert prepare(ROMEO, publish(None), 5000).payload == ""


def test_accounts_say_that_they_have_one() -> None:
    assert Microblog().account_features == (ns.MICROBLOG, ns.SOCIAL_FEED)


def test_a_post_is_no_longer_than_the_administrator_allows() -> None:
    assert prepare(ROMEO, publish(ENTRY), 5).entry is not None
    with pytest.raises(PayloadTooBig):
        prepare(ROMEO, publish(ENTRY), 4)
