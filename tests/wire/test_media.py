"""Entries of domains whose pictures are not wanted."""

import pytest

from microblog.wire.media import without_media
from microblog.wire.xml import parse, to_text

ATOM = "http://www.w3.org/2005/Atom"
XHTML = "http://www.w3.org/1999/xhtml"


def entry(content: str) -> str:
    return f"<entry xmlns='{ATOM}'><title>A rose</title>{content}</entry>"


def stripped(content: str) -> str:
    return to_text(without_media(parse(entry(content)))).removeprefix(f"<entry xmlns='{ATOM}'><title>A rose</title>")[
        :-8
    ]


@pytest.mark.parametrize(
    "medium",
    [
        "<link rel='enclosure' href='https://capulet.example/rose.jpg' type='image/jpeg'/>",
        "<link rel='enclosure' href='https://capulet.example/rose'/>",
        "<link rel='related' type='Video/mp4' href='https://capulet.example/rose'/>",
        "<logo>https://capulet.example/rose.png</logo>",
        "<content src='https://capulet.example/rose.png' type='image/png'/>",
        "<content type='image/png'>iVBORw0KGgo=</content>",
        "<x xmlns='jabber:x:oob'><url>https://capulet.example/rose.png</url></x>",
        "<file-sharing xmlns='urn:xmpp:sfs:0' disposition='inline'/>",
        "<reference xmlns='urn:xmpp:reference:0' type='data'><media-sharing xmlns='urn:xmpp:sims:1'/></reference>",
        "<content xmlns='http://search.yahoo.com/mrss/' url='https://capulet.example/rose.png'/>",
    ],
)
def test_media_go(medium: str) -> None:
    assert stripped(medium) == ""


def test_words_and_links_stay() -> None:
    words = entry(
        "<link rel='alternate' href='https://capulet.example/rose'/><category term='rose'/><content>By</content>"
    )
    read = parse(words)
    assert without_media(read) is read


def test_pictures_in_xhtml_go_and_what_is_around_them_stays() -> None:
    div = f"<div xmlns='{XHTML}'><p>By <b>any</b><img src='https://capulet.example/r.png' alt=''/> name</p></div>"
    clean = stripped(f"<content type='xhtml'>{div}</content>")
    assert "img" not in clean and "<p>By <b>any</b> name</p>" in clean


def test_html_as_text_is_read_first() -> None:
    clean = stripped(
        "<content type='html'>&lt;p&gt;By &lt;img src='https://capulet.example/r.png'&gt;name&lt;/p&gt;</content>"
    )
    assert "img" not in clean and "<p>By name</p>" in clean


def test_what_is_no_entry_is_left_alone() -> None:
    tune = parse("<tune xmlns='http://jabber.org/protocol/tune'><link rel='enclosure'/></tune>")
    assert without_media(tune) is tune
