"""From a draft to an entry."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.draft import Byline, Draft, Reference
from microblog.model.entry import HEART, Entry, Link, Location
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG, Node, profile
from microblog.model.uri import item_uri, node_uri
from microblog.wire import atom, ns
from microblog.wire.drafting import TITLE_MAX_CHARACTERS, shortened, write_entry
from microblog.wire.xml import parse, to_text
from tests.xmltext import read

ROMEO = JID.parse("romeo@montague.example")
JULIET = JID.parse("juliet@capulet.example")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BYLINE = Byline(author=ROMEO, item_id="a/1", published=NOON, updated=NOON, name="Romeo")
THREAD = node_uri(JULIET, COMMENTS_PREFIX + "1")
# What Juliet wrote; of her place nobody else is to know.
ORIGINAL = f"""<entry xmlns='{ns.ATOM}' xml:lang='it'><author><name>Juliet</name></author><title>O *Romeo*</title>
<content type='xhtml'><div xmlns='{ns.XHTML}'><p onclick='x'>O <b>Romeo</b></p></div></content><id>tag:x</id>
<published>2025-01-01T00:00:00Z</published><category term='balcony'/>
<link rel='enclosure' href='https://capulet.example/moon.png'/><link rel='mentioned' href='xmpp:{ROMEO}'/>
<link rel='replies' href='{THREAD}'/><geoloc xmlns='{ns.GEOLOC}'><text>balcony</text></geoloc>
<spoiler xmlns='{ns.SPOILER}'>love</spoiler><securitylabel xmlns='{ns.SECURITY_LABEL}'/></entry>"""
REFERENCE = Reference(
    uri=item_uri(JULIET, MICROBLOG, "1"),
    author=JULIET,
    author_name="Juliet",
    thread=THREAD,
    id="tag:x",
    payload=to_text(read(ORIGINAL)),
)


def written(draft: Draft, byline: Byline = BYLINE) -> Entry:
    found = atom.read_entry(write_entry(draft, byline))
    assert found is not None
    return found


def test_a_short_text_is_a_title() -> None:
    assert write_entry(Draft(text=" But soft! #night "), BYLINE) == read(
        f"""<entry xmlns='{ns.ATOM}'><author><name>Romeo</name><uri>xmpp:romeo@montague.example</uri></author>
        <title type='text'> But soft! #night</title><id>tag:montague.example,2026-01-01:romeo/a%2F1</id>
        <published>2026-01-01T12:00:00Z</published><updated>2026-01-01T12:00:00Z</updated><category term='night'/>
        </entry>"""
    )


def test_a_styled_text_has_its_words_and_xhtml() -> None:
    entry = write_entry(Draft(text="O *Romeo*, @romeo!\nsee https://x.example/", language="en"), BYLINE)
    content, xhtml = entry.find_all(ns.ATOM, "content")
    assert content.text == "O *Romeo*, @romeo!\nsee https://x.example/"
    div = xhtml.first()
    assert div is not None
    assert to_text(div) == (
        f"<div xmlns='{ns.XHTML}'><p>O <strong>Romeo</strong>, <a href='xmpp:romeo@montague.example'>@romeo</a>!<br/>"
        "see <a href='https://x.example/'>https://x.example/</a></p></div>"
    )
    found = atom.read_entry(entry)
    assert found is not None
    assert (found.title, found.text, found.language) == ("O *Romeo*, @romeo!…", content.text, "en")
    # Nobody is told that they named themselves.
    assert found.mentions == ()


@pytest.mark.parametrize(
    "text",
    [
        "one\ntwo",
        "a" * (TITLE_MAX_CHARACTERS + 1),
        "word " * 100 + "end",
        "*strong*",
        "> quoted\nsaid",
        "\n\n  first\n\nsecond",
        "<b>&amp;</b> ]]>",
    ],
)
def test_words_stay_as_they_were_written(text: str) -> None:
    assert written(Draft(text=text)).text == text.strip()


@given(st.text(max_size=400))
def test_whatever_is_written_is_an_entry(text: str) -> None:
    try:
        entry = write_entry(Draft(text=text, warning=text[:10]), BYLINE)
    except ValueError:
        assert not text.strip("\n\r\t \x00\x1f") or not any(c.isprintable() and not c.isspace() for c in text)
        return
    assert parse(to_text(entry)) == entry


def test_everything_else_comes_back() -> None:
    draft = Draft(
        text="x",
        enclosures=(Link(href="https://x.example/a.png", rel="enclosure", type="image/png", title="A"),),
        location=Location(latitude=45.43839, longitude=10.99167, text="Verona"),
        expires=datetime(2026, 2, 1, tzinfo=UTC),
        mentions=(JULIET, JULIET),
        tags=("#Night", "night"),
    )
    found = written(draft)
    assert found.enclosures == draft.enclosures
    assert found.location == Location(latitude=45.438, longitude=10.992, text="Verona")
    assert found.expires == draft.expires
    assert found.mentions == (JULIET,)
    assert found.tags == ("night",)


def test_who_knows_no_warnings_sees_the_warning_only() -> None:
    found = written(Draft(text="both die", warning="the end"))
    assert (found.title, found.content, found.warning, found.text) == ("the end", "both die", "the end", "both die")


def test_a_file_alone_is_a_post() -> None:
    files = (Link(href="https://x.example/a.png", rel="enclosure"), Link(href="https://x.example/", title="B"))
    assert written(Draft(enclosures=files)).title == "a.png, B"
    for nothing in ("", " \n "):
        with pytest.raises(ValueError, match="says something"):
            write_entry(Draft(text=nothing), BYLINE)


def test_a_reply() -> None:
    found = written(Draft(text="I take thee at thy word @nurse", reply_to=REFERENCE))
    assert found.answers == REFERENCE.uri
    assert found.in_reply_to == Link(href=REFERENCE.uri, rel="in-reply-to", ref="tag:x")
    assert found.thread == THREAD
    assert found.mentions == (JULIET, JID.parse("nurse@montague.example"))
    heart = written(Draft(text=HEART, reply_to=replace(REFERENCE, thread="", id="")))
    assert heart.is_heart
    assert (heart.thread, heart.in_reply_to and heart.in_reply_to.ref) == ("", REFERENCE.uri)


def test_who_answers_themselves_names_nobody() -> None:
    assert written(Draft(text="and", reply_to=replace(REFERENCE, author=ROMEO))).mentions == ()


def test_repeating() -> None:
    """XEP-0277 §2.6."""
    entry = write_entry(Draft(via=REFERENCE, location=Location(text="here")), BYLINE)
    found = atom.read_entry(entry)
    assert found is not None
    assert (found.author_name, found.author_uri) == ("Juliet", "xmpp:juliet@capulet.example")
    assert (found.title, found.content, found.tags) == ("O *Romeo*", "O Romeo", ("balcony",))
    assert (found.via, found.thread, found.warning) == (REFERENCE.uri, THREAD, "love")
    assert (found.location, found.mentions, found.published) == (None, (), NOON)
    assert [link.href for link in found.enclosures] == ["https://capulet.example/moon.png"]
    assert found.labels == ("",)
    assert "onclick" not in to_text(entry)


def test_quoting() -> None:
    entry = write_entry(Draft(text="so *true*", via=REFERENCE), BYLINE)
    found = atom.read_entry(entry)
    assert found is not None
    assert (found.author_uri, found.via, found.thread) == ("xmpp:romeo@montague.example", REFERENCE.uri, "")
    assert found.text == "> Juliet: O *Romeo*\n> O Romeo\n\nso *true*"
    # What was behind a warning stays behind it.
    assert (found.title, found.warning, found.tags, found.mentions) == ("love", "love", (), ())
    xhtml = list(entry.find_all(ns.ATOM, "content"))[1].first()
    assert xhtml is not None
    assert [child.name for child in xhtml.elements()] == ["blockquote", "p"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("one", "one"),
        ("one\ntwo", "one…"),
        ("\n one \n", "one"),
        ("a" * 200, "a" * 120 + "…"),
        ("word " * 40, "word " * 23 + "word…"),
        ("", ""),
    ],
)
def test_titles(text: str, title: str) -> None:
    assert shortened(text) == title


def test_references() -> None:
    def to(service: JID, name: str, publisher: JID, thread: str) -> Reference:
        node = Node(key=1, service=service, name=name, config=profile(name))
        item = Item(id="1", publisher=publisher, payload="<x/>", published=NOON, updated=NOON, thread=thread)
        return Reference.to(node, item, Entry(id="tag:x", author_name="J"))

    own = item_uri(JULIET, MICROBLOG, "1")
    assert to(JULIET, MICROBLOG, JULIET, THREAD) == replace(REFERENCE, author_name="J", payload="<x/>")
    assert to(JULIET, MICROBLOG, JULIET, own).thread == ""
    comment = to(JULIET, COMMENTS_PREFIX + "1", ROMEO, THREAD)
    assert (comment.author, comment.thread, comment.uri) == (
        ROMEO,
        THREAD,
        item_uri(JULIET, COMMENTS_PREFIX + "1", "1"),
    )
