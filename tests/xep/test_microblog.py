"""XEP-0277, XEP-0472: what becomes of a post when it is published."""

from datetime import UTC, datetime

import pytest

from microblog.model.border import Border
from microblog.model.errors import InvalidPayload, NotAcceptable, PayloadTooBig
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.uri import item_uri, node_uri, read_uri
from microblog.wire import forms, ns
from microblog.wire.pubsub import Publish
from microblog.wire.xml import Element
from microblog.xep.microblog import READERS_MAX, Microblog, Wishes, prepare, split_options
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


@pytest.mark.parametrize(
    ("content", "long"),
    [
        ("<title>12345</title><content>12345</content>", 5),
        ("<title>123…</title><content>12345</content>", 5),
        ("<title>1</title><content>2</content>", 3),
        ("<title>1</title><summary>23</summary>", 3),
        ("<title/><summary>12</summary>", 2),
        (f"<title>1</title><content type='xhtml'><div xmlns='{ns.XHTML}'>1234</div></content><content>1</content>", 4),
    ],
)
def test_what_is_said_twice_counts_once(content: str, long: int) -> None:
    payload = read(f"<entry xmlns='{ns.ATOM}'>{content}</entry>")
    prepare(ROMEO, publish(payload), long)
    with pytest.raises(PayloadTooBig):
        prepare(ROMEO, publish(payload), long - 1)


def test_a_post_that_has_its_links_is_stored_as_it_came() -> None:
    payload = prepare(ROMEO, publish(ENTRY), 5000).payload
    assert prepare(ROMEO, publish(read(payload)), 5000).payload == payload


@pytest.mark.parametrize("item_id", ["a b", "a;item=b", "x/\u00e9%2F"])
def test_its_comments_have_the_address_of_a_node(item_id: str) -> None:
    ready = prepare(ROMEO, publish(ENTRY, item_id=item_id), 5000)
    assert ready.entry is not None
    assert ready.entry.thread == node_uri(ROMEO, f"{ns.MICROBLOG}:comments/{item_id}")
    assert ready.entry.links[0].href == item_uri(ROMEO, ns.MICROBLOG, item_id)


def test_tags_and_names_that_a_client_left_in_the_text() -> None:
    payload = read(f"<entry xmlns='{ns.ATOM}'><title>@juliet@capulet.example @romeo #Balcony</title></entry>")
    ready = prepare(ROMEO, publish(payload), 5000)
    assert ready.entry is not None
    assert ready.entry.tags == ("balcony",)
    assert ready.entry.mentions == (JID.parse("juliet@capulet.example"),)
    assert prepare(ROMEO, publish(read(ready.payload)), 5000).payload == ready.payload
    said = f"<entry xmlns='{ns.ATOM}'><title>@mercutio #Balcony</title><category term='a'/>"
    for more in ("<link rel='via' href='xmpp:juliet@capulet.example?;node=a;item=b'/></entry>", "</entry>"):
        found = prepare(ROMEO, publish(read(said + more)), 5000).entry
        assert found is not None
        assert found.tags == ("a",)
        # Whoever repeats a post names nobody.
        assert len(found.mentions) == (0 if "via" in more else 1)
    comment = prepare(ROMEO, publish(payload, node=f"{ns.MICROBLOG}:comments/1"), 5000).entry
    assert comment is not None
    assert comment.tags == ()


def options(**values: str) -> dict[str, tuple[str, ...]]:
    return {"access_model": ("open",), **{f"microblog#{name}": (value,) for name, value in values.items()}}


def test_wishes_are_no_expectations() -> None:
    wanted = options(audience="direct", expires="2026-01-02T00:00:00Z") | {
        "microblog#reader": ("juliet@capulet.example/balcony", "juliet@capulet.example", "benvolio@montague.example")
    }
    request = Publish(node=ns.MICROBLOG, item_id="1", payload=ENTRY, options=wanted, has_item=True)
    ready = prepare(ROMEO, request, 5000)
    assert ready.options == {"access_model": ("open",)}
    assert ready.wishes == Wishes(
        audience=Audience.DIRECT,
        readers=(JID.parse("juliet@capulet.example"), JID.parse("benvolio@montague.example")),
        expires=datetime(2026, 1, 2, tzinfo=UTC),
    )
    assert ready.entry is not None
    assert ready.entry.expires == ready.wishes.expires
    assert split_options(None) == (None, Wishes())
    assert split_options({"access_model": ("open",)}) == ({"access_model": ("open",)}, Wishes())


@pytest.mark.parametrize(
    "wrong",
    [
        options(audience="everybody"),
        options(reader="@"),
        options(expires="tomorrow"),
        options(colour="red"),
        {"microblog#reader": tuple(f"a{n}@montague.example" for n in range(READERS_MAX + 1))},
    ],
)
def test_wishes_that_are_none(wrong: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(NotAcceptable):
        split_options(wrong)


def test_a_form_carries_them() -> None:
    def form(form_type: str) -> Element:
        return read(
            f"<x xmlns='{ns.DATA}' type='submit'>"
            f"<field var='FORM_TYPE' type='hidden'><value>{form_type}</value></field>"
            "<field var='pubsub#access_model'><value>open</value></field>"
            "<field var='microblog#audience'><value>local</value></field></x>"
        )

    read_ = forms.read_options(form(ns.PUBSUB_PUBLISH_OPTIONS), ns.PUBSUB_PUBLISH_OPTIONS)
    assert split_options(read_) == ({"access_model": ("open",)}, Wishes(audience=Audience.LOCAL))
    with pytest.raises(NotAcceptable):
        forms.read_options(form(ns.PUBSUB_NODE_CONFIG), ns.PUBSUB_NODE_CONFIG)


def test_what_an_entry_says_of_itself_is_a_wish() -> None:
    marked = read(f"<entry xmlns='{ns.ATOM}'><title>a</title><audience xmlns='{ns.AUDIENCE}'>local</audience></entry>")
    ready = prepare(ROMEO, publish(marked), 5000)
    assert ready.wishes.audience is Audience.LOCAL
    assert ns.AUDIENCE not in ready.payload
    request = Publish(
        node=ns.MICROBLOG, item_id="1", payload=marked, options=options(audience="followers"), has_item=True
    )
    assert prepare(ROMEO, request, 5000).wishes.audience is Audience.FOLLOWERS


@pytest.mark.parametrize(
    ("content", "ceiling"),
    [
        ("<title>the falcon</title>", Audience.LOCAL),
        (
            "<title>a</title><content>b</content><content type='html'>the fal&lt;b&gt;con&lt;/b&gt;</content>",
            Audience.LOCAL,
        ),
        (
            f"<title>a</title><securitylabel xmlns='{ns.SECURITY_LABEL}'><displaymarking>Secret</displaymarking>"
            "</securitylabel>",
            Audience.LOCAL,
        ),
        ("<title>a dove</title>", None),
    ],
)
def test_what_never_leaves_is_recognised(content: str, ceiling: Audience | None) -> None:
    border = Border(words=("falcon",), labels=("SECRET",))
    payload = read(f"<entry xmlns='{ns.ATOM}'>{content}</entry>")
    assert prepare(ROMEO, publish(payload), 5000, border=border).ceiling is ceiling
    assert prepare(ROMEO, publish(payload), 5000).ceiling is None
