"""Conversation across two nodes, as all who take part see it."""

import re

from microblog.wire import ns
from tests.features.verona import FEED, HOME, MONTAGUE, Verona, entry

NOBODY: list[str] = []


def number(lines: list[str], words: str) -> str:
    (line,) = (line for line in lines if words in line)
    found = re.search(r"#(\d+)$", line)
    assert found, line
    return f"#{found[1]}"


def texts(said: list[str]) -> list[str]:
    """What a thread says, without who says it and by what number."""
    (shown,) = said
    return [line.partition("  #")[0].rpartition(": ")[2] for line in shown.splitlines() if "  #" in line]


def test_a_thread_is_whole_for_every_reader(verona: Verona) -> None:
    """Romeo, Juliet, Benvolio and the nurse say something; nobody follows the nurse, and she nobody."""
    verona.follow((verona.juliet, verona.romeo), (verona.benvolio, verona.romeo))
    verona.romeo.publishes("1", entry("Shall I hear more?"))
    root = {who: number(who.hears(), "Shall I") for who in (verona.juliet, verona.benvolio)}
    (shown,) = verona.nurse.says("get romeo@montague.example")
    root[verona.nurse] = number(shown.splitlines(), "Shall I")
    verona.later(1)
    verona.juliet.says(f"{root[verona.juliet]} A rose")
    verona.later(1)
    verona.nurse.says(f"{root[verona.nurse]} Madam!")
    verona.later(1)
    (shown,) = verona.benvolio.says(f"thread {root[verona.benvolio]}")
    verona.benvolio.says(f"{number(shown.splitlines(), 'A rose')} Blind is his love")
    verona.quiet()
    whole = ["Shall I hear more?", "A rose", "Madam!", "Blind is his love"]
    for who, beginning in root.items():
        assert texts(who.says(f"thread {beginning}")) == whole, who.jid
    for who in root:
        assert sorted(who.finds(f"{FEED}:comments/1", str(verona.romeo.jid)).values()) == sorted(whole[1:])


def test_a_comment_by_a_client_is_in_the_thread(verona: Verona) -> None:
    """As Movim writes it: into the thread alone, and not into a feed."""
    verona.follow((verona.juliet, verona.romeo))
    verona.romeo.publishes("1", entry("Shall I hear more?"))
    verona.juliet.publishes("c1", entry("A rose"), to=str(verona.romeo.jid), node=f"{FEED}:comments/1")
    assert any("A rose" in line for line in verona.romeo.hears())
    (shown,) = verona.benvolio.says("get romeo")
    assert texts(verona.benvolio.says(f"thread {number(shown.splitlines(), 'Shall I')}")) == [
        "Shall I hear more?",
        "A rose",
    ]
    assert list(verona.nurse.finds(f"{FEED}:comments/1", str(verona.romeo.jid)).values()) == ["A rose"]
    # Her own node knows it for hers.
    (shown,) = verona.nurse.says("get romeo@montague.example")
    assert "A rose" in texts(verona.nurse.says(f"thread {number(shown.splitlines(), 'Shall I')}"))


def test_a_private_word_is_read_by_those_alone_to_whom_it_is_said(verona: Verona) -> None:
    verona.follow((verona.benvolio, verona.romeo), (verona.nurse, verona.romeo), (verona.juliet, verona.romeo))
    verona.romeo.says("d juliet@capulet.example Tell @nurse@capulet.example and @benvolio nothing")
    assert verona.juliet.hears() == ["Tell @nurse@capulet.example and @benvolio nothing"]
    verona.romeo.publishes(
        "1",
        entry("Not to @nurse@capulet.example or @benvolio either"),
        audience="direct",
        reader="juliet@capulet.example",
    )
    assert any("either" in line for line in verona.juliet.hears())
    assert verona.nurse.hears() == NOBODY == verona.benvolio.hears()
    for somebody in (verona.nurse, verona.benvolio):
        assert somebody.finds(FEED, str(verona.romeo.jid)) == {}
        assert somebody.finds(HOME) == {}
        assert somebody.finds("urn:x-microblog:mentions:0") == {}


def test_who_is_named_elsewhere_hears_of_it(verona: Verona) -> None:
    verona.romeo.publishes("1", entry("Good morrow, @nurse@capulet.example!"))
    (line,) = verona.nurse.lines()
    assert line.get("from") == f"romeo@{MONTAGUE}"
    assert (line.child_text(ns.CLIENT, "body") or "").startswith("Good morrow, @nurse@capulet.example!\nxmpp:romeo@")
    assert verona.juliet.hears() == []


def test_reactions_of_a_client_count_where_the_post_is(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo))
    verona.romeo.publishes("1", entry("It is the east"))
    verona.juliet.hears()
    verona.juliet.reacts("n1", "👏")
    node = "urn:xmpp:pubsub-attachments:1/xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1"
    (item,) = verona.romeo.items(node).values()
    assert item.get("id") == "juliet@capulet.example" and "<reaction>👏</reaction>" in repr(item)
    verona.juliet.reacts("n1")
    assert "<reaction>" not in repr(verona.romeo.items(node))


def test_a_repetition_has_its_author_and_private_posts_are_not_repeated(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo), (verona.nurse, verona.juliet), (verona.romeo, verona.juliet))
    for text in ("public: for all", "friends: for some"):
        verona.romeo.says(text)
    all_, some = (number([line], "for") for line in verona.juliet.hears())
    (refused,) = verona.juliet.says(f"repost {some}")
    assert refused.startswith("Nothing was posted")
    (refused,) = verona.juliet.says(f"repost {some} He says")
    assert refused.startswith("Nothing was posted")
    assert verona.nurse.hears() == []
    verona.juliet.says(f"repost {all_}")
    (line,) = verona.nurse.hears()
    assert line.startswith("romeo@montague.example via juliet: for all")
    verona.juliet.says(f"repost {all_} Hear him!")
    assert any("Hear him!" in line and "for all" in line for line in verona.nurse.hears())


def test_who_somebody_elsewhere_is_and_how_many_follow(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    verona.juliet.says("nick Lady Juliet")
    (said,) = verona.romeo.says("whois juliet@capulet.example")
    assert "Lady Juliet" in said
    (numbers,) = verona.romeo.says("stats")
    assert "You follow: 1" in numbers.splitlines()
    verona.romeo.says("nudge juliet@capulet.example")
    assert any("nudges you" in line for line in verona.juliet.hears())
