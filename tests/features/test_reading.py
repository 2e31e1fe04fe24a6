"""Reading: timelines, lines that come by themselves, what one has missed."""

from microblog.wire import ns
from tests.features.verona import HOME, LOCAL, MONTAGUE, Verona, entry


def test_home_has_all_whom_one_follows_by_chat_and_by_feed(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet), (verona.romeo, verona.nurse), (verona.romeo, verona.benvolio))
    for second, (somebody, text) in enumerate(
        ((verona.juliet, "one"), (verona.nurse, "two"), (verona.benvolio, "three"), (verona.romeo, "four"))
    ):
        verona.later(1 + second)
        somebody.says(text)
    first = verona.romeo.finds(HOME, inside=f"<set xmlns='{ns.RSM}'><max>3</max></set>")
    assert list(first.values()) == ["four", "three", "two"]
    assert len(verona.romeo.finds(HOME)) == 4
    assert verona.juliet.finds(HOME, str(verona.romeo.jid)) == {}
    verona.romeo.hears()
    (shown,) = verona.romeo.says("timeline")
    assert [line.partition("  #")[0] for line in shown.splitlines()] == [
        "juliet@capulet.example: one",
        "nurse@capulet.example: two",
        "benvolio: three",
        "romeo: four",
    ]


def test_the_local_timeline_has_this_node_and_is_for_this_node(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    verona.benvolio.says("I am here")
    verona.later(1)
    verona.benvolio.says("local lift 2 is back")
    verona.juliet.says("I am not")
    assert sorted(verona.romeo.finds(LOCAL, MONTAGUE).values()) == ["I am here", "lift 2 is back"]
    assert list(verona.juliet.finds(LOCAL, MONTAGUE).values()) == ["I am here"]
    verona.romeo.hears()
    (shown,) = verona.romeo.says("timeline local")
    assert shown.splitlines() == ["benvolio: I am here  #2", "(local) benvolio: lift 2 is back  #3"]


def test_what_was_missed_is_counted_and_shown_though_it_was_pushed(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    verona.juliet.says("zero")
    verona.romeo.says("read")
    for text in ("one", "two", "three, @romeo@montague.example"):
        verona.later(1)
        verona.juliet.says(text)
    assert len(verona.romeo.hears()) == 3
    (shown,) = verona.romeo.says("home 2")
    assert shown.splitlines()[0] == 'New posts: 3, to you: 1. "more" for more.'
    assert [line.partition("  #")[0] for line in shown.splitlines()[1:]] == [
        "juliet@capulet.example: one",
        "juliet@capulet.example: two",
    ]
    (rest,) = verona.romeo.says("more")
    assert "three" in rest
    (nothing,) = verona.romeo.says("home")
    assert nothing.startswith("Nothing new")


def test_old_posts_are_there_when_one_follows(verona: Verona) -> None:
    for number in range(25):
        day = f"<published>2025-12-{number + 1:02}T00:00:00Z</published>"
        verona.juliet.publishes(f"p{number:02}", entry(f"day {number + 1}", day))
    verona.romeo.says("It is today")
    (said,) = verona.romeo.says("follow juliet@capulet.example")
    assert said == "You follow juliet@capulet.example now."
    found = list(verona.romeo.finds(HOME).values())
    assert found == ["It is today", *(f"day {number}" for number in range(25, 5, -1))]
    assert verona.romeo.hears() == []


def test_lines_stop_and_go_on_and_following_stays(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    verona.romeo.says("off")
    verona.juliet.says("one")
    assert verona.romeo.hears() == []
    assert list(verona.romeo.finds(HOME).values()) == ["one"]
    verona.romeo.says("on")
    verona.juliet.says("two")
    assert [line for line in verona.romeo.hears() if "two" in line]
