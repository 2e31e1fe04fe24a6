"""RFC 4287, XEP-0277, XEP-0472: reading entries."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.entry import Link
from microblog.model.errors import InvalidPayload
from microblog.model.jid import JID
from microblog.model.uri import item_uri, read_uri
from microblog.wire import atom, html, ns
from microblog.wire.xml import Element
from tests.xmltext import read

ROMEO = JID.parse("romeo@montague.example")
REPLY = """<entry xmlns='http://www.w3.org/2005/Atom' xml:lang='en'
    xmlns:thr='http://purl.org/syndication/thread/1.0'>
  <author><name>Benvolio Montague</name><uri>xmpp:benvolio@montague.example</uri></author>
  <title type='text'>@romeo cappuccino this late in the day?</title>
  <link rel='alternate' type='text/html' href='http://montague.example/posts/1'/>
  <link rel='alternate' href='xmpp:benvolio@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1'/>
  <link rel='enclosure' type='image/jpeg' title='Cup' href='https://montague.example/cup.jpg'/>
  <category term='coffee'/><category term='coffee'/><category term='verona'/>
  <id>tag:montague.example,2008-05-08:posts-1</id>
  <published>2008-05-08T18:31:21Z</published>
  <updated>2008-05-08T20:31:21+02:00</updated>
  <thr:in-reply-to ref='tag:a' href='http://montague.example/posts/0'/>
  <thr:in-reply-to ref='tag:a' href='xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=0a'/>
</entry>"""


def entry(content: str) -> Element:
    return read(f"<entry xmlns='{ns.ATOM}'>{content}</entry>")


def test_a_reply_is_read() -> None:
    found = atom.read_entry(read(REPLY))
    assert found is not None
    assert found.id == "tag:montague.example,2008-05-08:posts-1"
    assert found.title == "@romeo cappuccino this late in the day?"
    assert (found.author_name, found.author_uri) == ("Benvolio Montague", "xmpp:benvolio@montague.example")
    assert found.published == found.updated == datetime(2008, 5, 8, 18, 31, 21, tzinfo=UTC)
    assert found.categories == ("coffee", "verona")
    assert [link.rel for link in found.links] == ["alternate", "alternate", "enclosure"]
    assert found.links[2] == Link(
        href="https://montague.example/cup.jpg", rel="enclosure", type="image/jpeg", title="Cup"
    )
    assert found.in_reply_to is not None
    assert found.in_reply_to.href.startswith("xmpp:romeo@")
    assert found.language == "en"


def test_what_is_missing_stays_empty() -> None:
    found = atom.read_entry(entry(""))
    assert found is not None
    assert (found.id, found.title, found.updated, found.links, found.in_reply_to) == ("", "", None, (), None)


def test_another_payload_says_nothing() -> None:
    assert atom.read_entry(Element("urn:other", "entry")) is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<content>a &lt;b&gt;</content>", "a <b>"),
        ("<content type='html'>&lt;p&gt;a &amp;amp; b&lt;/p&gt;&lt;script&gt;c&lt;/script&gt;</content>", "a & b"),
        ("<content type='html'>a&lt;br&gt;b &lt;!-- c --&gt;d</content>", "a\nb d"),
        (
            "<content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'><p>a <b>b</b></p><p>c</p></div></content>",
            "a b\nc",
        ),
        ("<content type='xhtml'><div>a</div></content><content>b</content>", "b"),
        ("<content type='text/html' src='http://evil.example/'/>", ""),
        ("<content type='base64'>YQ==</content>", ""),
        ("<content src='http://evil.example/'/><content>b</content>", "b"),
    ],
)
def test_text_is_what_is_read(content: str, text: str) -> None:
    found = atom.read_entry(entry(content))
    assert found is not None
    assert found.content == text


@pytest.mark.parametrize(
    "stamp",
    ["", "0000-00-00T00:00:00Z", "2008-05-08", "+99:99", "2008-05-08T18:30:02+99:99", "9999-12-31T23:59:59-10:00"],
)
def test_an_impossible_instant_is_none(stamp: str) -> None:
    found = atom.read_entry(entry(f"<updated>{stamp}</updated>"))
    assert found is not None
    assert found.updated is None


def test_only_so_many_links_and_categories_count() -> None:
    links = "".join(f"<link href='http://a/{number}'/><category term='{number}'/>" for number in range(1000))
    found = atom.read_entry(entry(links))
    assert found is not None
    assert (len(found.links), len(found.categories)) == (atom.LINKS_MAX, atom.CATEGORIES_MAX)


@given(st.text("<>/!-abscript &;p'\"= ", max_size=200))
def test_any_markup_becomes_text(markup: str) -> None:
    text = html.html_to_text(markup)
    assert len(text) <= len(markup)


def test_the_microblog_node_takes_entries_only() -> None:
    atom.check_post(entry(""), "1")
    atom.check_post(Element(ns.ATOM, "feed"), "0")
    for payload, item_id in ((Element(ns.ATOM, "feed"), "1"), (Element("urn:other", "entry"), "0")):
        with pytest.raises(InvalidPayload):
            atom.check_post(payload, item_id)


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


def test_a_link_to_itself_is_added_once() -> None:
    uri = item_uri(ROMEO, ns.MICROBLOG, "1")
    assert uri == "xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1"
    plain = entry("<title>a</title>")
    linked = atom.with_links(plain, own=uri, replies="")
    assert plain == entry("<title>a</title>")
    assert linked == entry(f"<title>a</title><link rel='alternate' href='{uri}'/>")
    assert atom.with_links(linked, own=uri, replies="") is linked
