"""What people write, and what it asks for."""

from collections.abc import Iterable
from typing import Any

import pytest

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Table
from microblog.commands.parsing import Misread, Parser, Reading, bound
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress

BENVOLIO = JID("benvolio", "montague.example")
JULIET = JID("juliet", "capulet.example")
TWELVE = ItemAddress(JULIET, MICROBLOG, "balcony")
NEWEST = ItemAddress(BENVOLIO, MICROBLOG, "newest")
TEXT = Parameter(name="text", kinds=(Kind.TEXT,))
ITEM = Parameter(name="item", kinds=(Kind.ITEM,))
PERSON = Parameter(name="person", kinds=(Kind.PERSON,))
SOMETHING = Parameter(name="target", kinds=(Kind.ITEM, Kind.PERSON), newest=True)


async def nothing(call: Call) -> Answer:
    return Answer()


class Words:
    def commands(self) -> Iterable[Command]:
        def word(name: str, *parameters: Parameter, **more: Any) -> Command:
            return Command(name=name, group="test", function=nothing, parameters=parameters, **more)

        form_only = Parameter(name="topic", kinds=(Kind.WORD,), required=False, form_only=True)
        yield word("post", form_only, TEXT)
        yield word("local", TEXT, aliases=("l", "l:"))
        yield word("d", PERSON, TEXT, private=True, aliases=("dm", "tell"))
        yield word("reply", SOMETHING, TEXT, aliases=("r",))
        yield word("@", PERSON, TEXT)
        yield word("cw", Parameter(name="topic", kinds=(Kind.TOPIC,)), TEXT)
        yield word("fav", SOMETHING, aliases=("+1",))
        yield word("get", PERSON, Parameter(name="number", kinds=(Kind.NUMBER,), required=False))
        yield word("delete", Parameter(name="item", kinds=(Kind.ITEM, Kind.CHOICE), choices=("last",)))
        yield word("lose", PERSON, aliases=("drop follower",))
        yield word("link", Parameter(name="address", kinds=(Kind.ADDRESS,)))
        yield word("follow", Parameter(name="person", kinds=(Kind.PERSON, Kind.TAG)))
        yield word("read", Parameter(name="all", kinds=(Kind.FLAG,), required=False))
        yield word("thread", ITEM)
        yield word("stats")
        yield word("on", alone=True)


class Names:
    def __init__(self, newest: ItemAddress | None = NEWEST) -> None:
        self._newest = newest

    async def person(self, name: str) -> JID | None:
        return BENVOLIO if name.casefold() == "benvolio" else None

    async def item(self, number: int) -> ItemAddress | None:
        return TWELVE if number == 12 else None

    async def newest(self) -> ItemAddress | None:
        return self._newest


PARSER = Parser(table=Table([Words()]), domain="montague.example")


def read(text: str, *, newest: ItemAddress | None = NEWEST, slash: bool = False) -> Reading:
    coroutine = PARSER.read(text, Names(newest), slash=slash)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # what the coroutine gives
    raise AssertionError("it waits")


def asks(text: str, **more: Any) -> tuple[str, dict[str, Any]]:
    reading = read(text, **more)
    return reading.command.name, dict(reading.arguments)


def misread(text: str, **more: Any) -> tuple[str, str, bool]:
    """What is wrong, the argument it is about, and whether it may be posted."""
    with pytest.raises(Misread) as caught:
        read(text, **more)
    problem = caught.value.problem
    return problem.text, problem.parameter.name if problem.parameter else "", caught.value.offer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("But soft!", "But soft!"),
        ("  two\n\n  lines  ", "two\n\n  lines"),
        ("post d benvolio hm", "d benvolio hm"),
        ("\\d benvolio hm", "d benvolio hm"),
        ("\\ get well", "get well"),
        ("> a quote is no reply", "> a quote is no reply"),
        ("on the way home", "on the way home"),
        ("/me waves", "/me waves"),
        (":D", ":D"),
        (":-) fine", ":-) fine"),
        ("#verona is fair", "#verona is fair"),
        ("12 plays", "12 plays"),
        ("telling tales", "telling tales"),
        ("@ noon", "@ noon"),
    ],
)
def test_posts(text: str, said: str) -> None:
    assert asks(text) == ("post", {"text": said})


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("LOCAL lunch is ready", "local", {"text": "lunch is ready"}),
        ("l: lunch", "local", {"text": "lunch"}),
        ("l:lunch", "local", {"text": "lunch"}),
        ("/stats", "stats", {}),
        (":stats", "stats", {}),
        ("On", "on", {}),
        ("d Benvolio  meet me\nat noon", "d", {"person": BENVOLIO, "text": "meet me\nat noon"}),
        ("dm @benvolio: hush", "d", {"person": BENVOLIO, "text": "hush"}),
        ("d juliet@capulet.example hush", "d", {"person": JULIET, "text": "hush"}),
        ("d JULIET@CAPULET.example/balcony, hush", "d", {"person": JULIET, "text": "hush"}),
        ("\u200bd benvolio hush", "d", {"person": BENVOLIO, "text": "hush"}),
        ("\uff44 benvolio hush", "d", {"person": BENVOLIO, "text": "hush"}),
        ("\u00a0d\u00a0benvolio\u00a0hush", "d", {"person": BENVOLIO, "text": "hush"}),
        ("@benvolio, good morrow", "@", {"person": BENVOLIO, "text": "good morrow"}),
        ("#12 so do I", "reply", {"target": TWELVE, "text": "so do I"}),
        ("#12", "thread", {"item": TWELVE}),
        ("reply #12 so do I", "reply", {"target": TWELVE, "text": "so do I"}),
        ("r benvolio aye", "reply", {"target": BENVOLIO, "text": "aye"}),
        ("r aye, so it is", "reply", {"target": NEWEST, "text": "aye, so it is"}),
        ("cw the end: they die", "cw", {"topic": "the end", "text": "they die"}),
        ("fav", "fav", {"target": NEWEST}),
        ("+1 #12", "fav", {"target": TWELVE}),
        ("fav 12", "fav", {"target": TWELVE}),
        (f"fav {TWELVE.uri}", "fav", {"target": TWELVE}),
        ("get benvolio 5", "get", {"person": BENVOLIO, "number": 5}),
        ("get benvolio", "get", {"person": BENVOLIO}),
        ("delete last", "delete", {"item": "last"}),
        ("drop  Follower benvolio", "lose", {"person": BENVOLIO}),
        ("link romeo@capulet.example", "link", {"address": JID("romeo", "capulet.example")}),
        ("follow #Verona", "follow", {"person": "verona"}),
        ("follow #ÉTÉ,", "follow", {"person": "été"}),
        ("follow benvolio", "follow", {"person": BENVOLIO}),
        ("read all", "read", {"all": True}),
        ("read", "read", {}),
    ],
)
def test_commands(text: str, name: str, arguments: dict[str, Any]) -> None:
    assert asks(text) == (name, arguments)


@pytest.mark.parametrize(
    ("text", "problem", "parameter"),
    [
        ("get well soon, Benvolio", "wrong", "person"),
        ("get", "missing", "person"),
        ("get benvolio soon", "wrong", "number"),
        ("get benvolio 5 more", "too_much", ""),
        ("get benvolio 99999999999999999999", "wrong", "number"),
        ("stats please", "too_much", ""),
        ("/on the way", "too_much", ""),
        ("/frobnicate", "unknown", ""),
        ("delete 1 OR 1=1", "no_number", "item"),
        ("delete \u2014all", "wrong", "item"),
        ("delete --item=12", "wrong", "item"),
        ("delete #13", "no_number", "item"),
        ("fav @rosaline", "no_name", "target"),
        ("fav that thing", "wrong", "target"),
        ("#13 so do I", "no_number", ""),
        ("@rosaline good morrow", "no_name", ""),
        ("cw no colon here", "wrong", "topic"),
        ("link romeo", "wrong", "address"),
        ("link @", "wrong", "address"),
        ("read it", "wrong", "all"),
        ("get rosaline@montague.example", "no_name", "person"),
        ("get @@", "no_name", "person"),
        ("follow #", "wrong", "person"),
        ("follow #12", "wrong", "person"),
        ("follow ##", "wrong", "person"),
        ("follow #a#b", "wrong", "person"),
        (f"follow #{'x' * 101}", "wrong", "person"),
        ("follow rosaline", "wrong", "person"),
    ],
)
def test_what_begins_like_a_command_and_is_none_is_offered_and_not_posted(
    text: str, problem: str, parameter: str
) -> None:
    assert misread(text) == (problem, parameter, True)


@pytest.mark.parametrize(
    "text",
    [
        "d rosaline hush",
        "d benvolio",
        "d",
        "/d rosaline hush",
        "tell me more",
        "dm: benvolio hush",
        "/dm: benvolio hush",
        "d, benvolio hush",
        "(dm benvolio hush)",
        "D. benvolio hush",
    ],
)
def test_a_private_word_never_becomes_a_post(text: str) -> None:
    assert misread(text)[2] is False


def test_what_was_shown_long_ago_is_not_meant() -> None:
    assert misread("fav", newest=None) == ("which", "target", True)
    assert misread("r aye", newest=None) == ("which", "target", True)
    assert asks("fav #12", newest=None) == ("fav", {"target": TWELVE})


def test_only_what_begins_with_a_slash_is_a_command_for_those_who_want_that() -> None:
    assert asks("get well soon", slash=True) == ("post", {"text": "get well soon"})
    assert asks("stats", slash=True) == ("post", {"text": "stats"})
    assert asks("/stats", slash=True) == ("stats", {})
    assert asks("tell me more", slash=True) == ("post", {"text": "tell me more"})
    assert misread("d benvolio hush", slash=True) == ("needs_slash", "", False)
    assert asks("\\d benvolio hush", slash=True) == ("post", {"text": "d benvolio hush"})
    assert asks("#12 so do I", slash=True) == ("reply", {"target": TWELVE, "text": "so do I"})


def test_what_is_repeated_in_an_answer_is_short_and_one_line() -> None:
    with pytest.raises(Misread) as caught:
        read("delete " + "x" * 100_000)
    assert len(caught.value.problem.word) == 40
    with pytest.raises(Misread) as caught:
        read("stats a\nb")
    assert caught.value.problem.word == "a b"


def test_arguments_by_their_kind() -> None:
    react = Command(
        name="react",
        group="test",
        function=nothing,
        parameters=(ITEM, Parameter(name="emoji", kinds=(Kind.WORD,)), Parameter(name="x", kinds=(Kind.WORD,))),
    )
    assert bound(react, target=TWELVE, text="👍") == {"item": TWELVE, "emoji": "👍"}
    assert bound(react, target=BENVOLIO) == {}
