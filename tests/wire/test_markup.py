"""XEP-0393 in a chat line: what it becomes, whom it names, its tags."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.jid import JID
from microblog.wire import html, ns
from microblog.wire.markup import MENTIONS_MAX, TAGS_MAX, style
from microblog.wire.xml import to_text


def styled(text: str) -> str | None:
    """The inside of the XHTML."""
    xhtml = style(text, "montague.example").xhtml
    if xhtml is None:
        return None
    return to_text(xhtml).removeprefix(f"<div xmlns='{ns.XHTML}'>").removesuffix("</div>")


@pytest.mark.parametrize(
    ("text", "xhtml"),
    [
        # the examples of XEP-0393 §5.2
        ("*strong span*", "<p><strong>strong span</strong></p>"),
        ("plain _emphasis_ plain", "<p>plain <em>emphasis</em> plain</p>"),
        ("`pre` plain *strong*", "<p><code>pre</code> plain <strong>strong</strong></p>"),
        ("*strong*plain*", "<p><strong>strong</strong>plain*</p>"),
        ("* plain *strong*", "<p>* plain <strong>strong</strong></p>"),
        ("Everyone ~dis~likes cake.", "<p>Everyone <del>dis</del>likes cake.</p>"),
        ("This is `*monospace*`", "<p>This is <code>*monospace*</code></p>"),
        ("This is *`monospace and bold`*", "<p>This is <strong><code>monospace and bold</code></strong></p>"),
        # and of §5.1
        ("```ignored\n(println)\n```\n\nafter", "<pre>(println)</pre><p>after</p>"),
        ("> ```\n> (println)\n\nplain", "<blockquote><pre>(println)</pre></blockquote><p>plain</p>"),
        (
            ">> That that is, is.\n> Said the old hermit of Prague.\n\nWho?",
            "<blockquote><blockquote><p>That that is, is.</p></blockquote><p>Said the old hermit of Prague.</p>"
            "</blockquote><p>Who?</p>",
        ),
        ("a\n*b*\n\nc", "<p>a<br/><strong>b</strong></p><p>c</p>"),
        ("*a _b_ c*", "<p><strong>a <em>b</em> c</strong></p>"),
    ],
)
def test_styles(text: str, xhtml: str) -> None:
    assert styled(text) == xhtml


@pytest.mark.parametrize(
    "text",
    ["not strong*", "*not strong", "*not \n strong*", "*not *strong", "**", "***", "****", "a_b_c", "2*3*4", "#12", ""],
)
def test_nothing_is_styled(text: str) -> None:
    found = style(text, "montague.example")
    assert (found.xhtml, found.tags, found.text) == (None, (), text)


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("see https://montague.example/a_b_c, please", ("https://montague.example/a_b_c",)),
        ("(https://en.example/wiki/A_(b))", ("https://en.example/wiki/A_(b)",)),
        ("*http://a.example*", ("http://a.example",)),
        ("mailto:romeo@montague.example", ("mailto:romeo@montague.example",)),
        (
            "at xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1.",
            ("xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1",),
        ),
        ("ends.Here and javascript:alert(1) and xmpp:nothing and //x.example", ()),
    ],
)
def test_addresses_become_links(text: str, links: tuple[str, ...]) -> None:
    found = style(text, "montague.example")
    assert found.links == links
    assert [to_text(found.xhtml).count("<a href=") if found.xhtml else 0] == [len(links)]


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("@juliet hello", ["juliet@montague.example"]),
        ("hello @Juliet.", ["juliet@montague.example"]),
        ("(@juliet@Capulet.Example), @juliet's", ["juliet@capulet.example", "juliet@montague.example"]),
        ("*@juliet* and _@nurse@capulet.example_", ["juliet@montague.example", "nurse@capulet.example"]),
        ("> @juliet@capulet.example.", ["juliet@capulet.example"]),
        ("@jos\u00e9@b\u00fccher.example", ["jos\u00e9@xn--bcher-kva.example"]),
        ("romeo@montague.example a@b @ @@ @@juliet /@juliet .@juliet `@juliet` https://x.example/@juliet", []),
    ],
)
def test_people_are_named(text: str, mentions: list[str]) -> None:
    found = style(text, "montague.example")
    assert [str(jid) for jid in found.mentions] == mentions
    assert (found.xhtml is not None) == bool(mentions or found.links)


def test_a_mention_is_a_link_to_them() -> None:
    assert styled("hi @juliet@capulet.example!") == (
        "<p>hi <a href='xmpp:juliet@capulet.example'>@juliet@capulet.example</a>!</p>"
    )


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("#Verona, #verona #night.", ("Verona", "night")),
        ("*#a* (#b) #c-d", ("a", "b", "c")),
        # The vowel signs of Devanagari are no letters to a regular expression.
        ("#\u0939\u093f\u0928\u094d\u0926\u0940 #日本語", ("\u0939\u093f\u0928\u094d\u0926\u0940", "日本語")),
        ("#e\u0301t\u00e9", ("\u00e9t\u00e9",)),
        ("#12 #1_2 # ## a#b https://x.example/#c `#d` &#39; #_", ()),
        ("```\n#a\n```", ()),
        (f"#{'a' * 101} #{'b' * 100}", ("b" * 100,)),
    ],
)
def test_tags(text: str, tags: tuple[str, ...]) -> None:
    assert style(text, "montague.example").tags == tags


def test_i156_the_first_twenty_count() -> None:
    found = style(" ".join(f"@n{n} #t{n}" for n in range(10_000)), "montague.example")
    assert found.mentions == tuple(JID.parse(f"n{n}@montague.example") for n in range(MENTIONS_MAX))
    assert found.tags == tuple(f"t{n}" for n in range(TAGS_MAX))
    assert found.xhtml is not None
    assert to_text(found.xhtml).count("<a ") == MENTIONS_MAX


@given(st.text("*_~` \n>@#a.b:/\u0301", max_size=300))
def test_nothing_that_was_written_is_lost(text: str) -> None:
    found = style(text, "montague.example")
    assert found.text == text.strip("\n").rstrip()
    if found.xhtml is not None:
        letters = html.xhtml_to_text(found.xhtml)
        if "```" not in text:
            assert [c for c in letters if c in "ab"] == [c for c in found.text if c in "ab"]


COSTLY = {
    "openers": "*a " * 20_000,
    "closers": " a*" * 20_000,
    "all": "*_~`" * 16_000,
    "fences": "```\n" * 16_000,
    "quotations": ">" * 60_000,
    "lines": ">a\n" * 20_000,
    "names": "@a " * 20_000,
    "signs": "@" * 60_000,
    "hashes": "#a" * 30_000,
    "http": "http://" * 9_000,
    "xmpp": "xmpp:" * 13_000,
    "a word": "a" * 60_000,
    "marks": "a" + "\u0301" * 60_000,
}


@pytest.mark.parametrize("text", COSTLY.values(), ids=COSTLY.keys())
def test_whatever_is_written_costs_little(text: str) -> None:
    begin = time.process_time()
    style(text, "montague.example")
    assert time.process_time() - begin < 2
