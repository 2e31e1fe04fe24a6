"""RFC 4287, XEP-0277, XEP-0472: reading entries."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.entry import Entry, Link, Location
from microblog.model.errors import InvalidPayload
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.uri import item_uri
from microblog.wire import atom, html, ns
from microblog.wire.harmless import sanitised
from microblog.wire.xml import Element, to_text
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


def test_a_link_to_itself_is_added_once() -> None:
    uri = item_uri(ROMEO, ns.MICROBLOG, "1")
    assert uri == "xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1"
    plain = entry("<title>a</title>")
    linked = atom.with_links(plain, own=uri, replies="")
    assert plain == entry("<title>a</title>")
    assert linked == entry(f"<title>a</title><link rel='alternate' href='{uri}'/>")
    assert atom.with_links(linked, own=uri, replies="") is linked


COMMENTS = "xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0%3Acomments%2F1"


def test_who_begins_a_conversation_gets_a_link_to_it() -> None:
    begun = atom.with_links(entry("<title>a</title>"), own="xmpp:a", replies=COMMENTS)
    found = atom.read_entry(begun)
    assert found is not None
    assert found.thread == COMMENTS
    assert atom.with_links(begun, own="xmpp:a", replies="xmpp:b") is begun
    for answering in (
        f"<in-reply-to xmlns='{ns.THREADING}' ref='a'/>",
        "<link rel='replies' href='xmpp:b?;node=c'/>",
        "<link rel='via' href='xmpp:b?;node=c;item=d'/>",
    ):
        linked = atom.with_links(entry(answering), own="", replies=COMMENTS)
        assert COMMENTS not in [link.get("href") for link in linked.elements()]


def test_everything_beside_atom_is_read() -> None:
    found = atom.read_entry(
        entry(
            "<title>a</title><category term=' #Verona '/><category term='verona'/><category term='#'/>"
            "<link rel='mentioned' href='xmpp:Juliet@capulet.example?message'/>"
            "<link rel='mentioned' href='xmpp:juliet@capulet.example/balcony'/>"
            "<link rel='mentioned' href='https://capulet.example/juliet'/><link rel='mentioned' href='xmpp:@'/>"
            "<link rel='replies' href='xmpp:romeo@montague.example?;node=urn:xmpp:microblog:0:comments/1'/>"
            "<link rel='via' href='xmpp:juliet@capulet.example?;node=urn:xmpp:microblog:0;item=a b'/>"
            f"<in-reply-to xmlns='{ns.THREADING}' href='xmpp:juliet@capulet.example?;node=n;item=1'/>"
            f"<geoloc xmlns='{ns.GEOLOC}'><lat>45.44</lat><lon>10.99</lon><locality>Verona</locality>"
            f"<country>Italy</country></geoloc><spoiler xmlns='{ns.SPOILER}'>the end</spoiler>"
            f"<audience xmlns='{ns.AUDIENCE}'>followers</audience>"
            f"<expires xmlns='{ns.AGE}'>2026-01-02T00:00:00Z</expires>"
            f"<securitylabel xmlns='{ns.SECURITY_LABEL}'><displaymarking>SECRET</displaymarking></securitylabel>"
            f"<securitylabel xmlns='{ns.SECURITY_LABEL}'><label/></securitylabel>"
        )
    )
    assert found is not None
    assert found.tags == ("verona",)
    assert found.mentions == (JID.parse("juliet@capulet.example"),)
    assert found.thread == COMMENTS
    assert found.via == "xmpp:juliet@capulet.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=a%20b"
    assert found.answers == "xmpp:juliet@capulet.example?;node=n;item=1"
    assert found.location == Location(latitude=45.44, longitude=10.99, text="Verona, Italy")
    assert found.warning == "the end"
    assert found.audience is Audience.FOLLOWERS
    assert found.expires == datetime(2026, 1, 2, tzinfo=UTC)
    assert found.labels == ("SECRET", "")


@pytest.mark.parametrize(
    ("place", "location"),
    [
        ("<lat>91</lat><lon>0</lon>", None),
        ("<lat>nan</lat><lon>0</lon><text>here</text>", Location(text="here")),
        ("<lat>1</lat>", None),
        ("", None),
        ("<lat>-90</lat><lon>180</lon>", Location(latitude=-90, longitude=180)),
    ],
)
def test_places_that_are_none(place: str, location: Location | None) -> None:
    found = atom.read_entry(entry(f"<geoloc xmlns='{ns.GEOLOC}'>{place}</geoloc>"))
    assert found is not None
    assert found.location == location


def test_what_says_nothing_clear_of_itself_is_taken_strictly() -> None:
    found = atom.read_entry(
        entry(f"<spoiler xmlns='{ns.SPOILER}'/><audience xmlns='{ns.AUDIENCE}'>everybody</audience>")
    )
    assert found is not None
    assert (found.warning, found.audience) == (atom.UNNAMED_WARNING, Audience.DIRECT)


def test_i157_text_stays_where_it_is_shown() -> None:
    above = "\u0351"
    found = atom.read_entry(
        entry(f"<title>Z{above * 500}algo \u202eevil\u2066</title><author><name>\u202eRomeo</name></author>")
    )
    assert found is not None
    assert (found.title, found.author_name) == (f"Z{above * 4}algo evil", "Romeo")


@pytest.mark.parametrize(
    "text", ["Ti\u1ebfng Vi\u1ec7t", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "❤️👨‍👩‍👧‍👦", "\u200fא\u200e"]
)
def test_what_scripts_need_stays(text: str) -> None:
    found = atom.read_entry(entry(f"<title>{text}</title>"))
    assert found is not None
    assert found.title == text


@pytest.mark.parametrize(
    ("href", "read_"),
    [
        ("https://x.example/", True),
        ("HTTPS://x.example/", True),
        (" https://x.example/ ", True),
        ("javascript:alert(1)", False),
        ("data:text/html,a", False),
        ("file:///etc/passwd", False),
        ("/relative", False),
        ("", False),
    ],
)
def test_i160_links_that_lead_nowhere_are_no_links(href: str, read_: bool) -> None:
    payload = entry(f"<link rel='enclosure' href='{href}'/>")
    found = atom.read_entry(payload)
    assert found is not None
    assert bool(found.links) == read_
    assert (sanitised(payload) is payload) == read_


def test_what_is_harmless_is_handed_on_as_it_came() -> None:
    for payload in (read(REPLY), Element("urn:x", "entry"), entry("<x xmlns='urn:x'><title type='html'/></x>")):
        assert sanitised(payload) is payload


def test_stored_entries() -> None:
    text = to_text(read(REPLY))
    assert atom.read_text(text) == atom.read_entry(read(REPLY))
    assert atom.read_text("<feed xmlns='http://www.w3.org/2005/Atom'/>") is None
    assert atom.read_text("") is None
    long = to_text(entry(f"<title>{'a' * 10_000}</title>"))
    assert atom.read_text(long) == atom.read_entry(read(long))


def test_whom_it_is_for_is_written_into_it_once() -> None:
    plain = to_text(entry("<title>a</title>"))
    local = atom.mark(plain, Audience.LOCAL)
    found = atom.read_text(local)
    assert found is not None
    assert (found.title, found.audience) == ("a", Audience.LOCAL)
    assert atom.mark(atom.mark(local, Audience.FOLLOWERS), Audience.LOCAL) == local
    assert atom.mark(local, Audience.PUBLIC) == plain
    assert atom.unmarked(read(local)) == read(plain)
    assert atom.read_text(atom.mark(f"<entry xmlns='{ns.ATOM}'/>", Audience.DIRECT)) == Entry(audience=Audience.DIRECT)
    assert atom.mark("<x/>", Audience.DIRECT) == "<x/>"
