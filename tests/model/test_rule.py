"""Rules as people write them."""

import json

import pytest

from microblog.model.jid import JID
from microblog.model.place import Place, fold_place, rounded, title_of
from microblog.model.query import Circle, Query
from microblog.model.rule import Named, Rule, Then, What, read

ROMEO = JID.parse("romeo@montague.example")
JULIET = JID.parse("juliet@montague.example")
TYBALT = JID.parse("tybalt@capulet.example")
STAGE = Circle(latitude=52_520_000, longitude=13_400_000, metres=500, name="Stage")
TOWN = Circle(latitude=45_438_000, longitude=10_992_000, metres=2000, name="Old Town")
HERE = Circle(latitude=1_000_000, longitude=2_000_000, metres=5000, name="here")


def person(name: str) -> JID | None:
    return {"juliet": JULIET, str(TYBALT): TYBALT, "romeo": ROMEO}.get(name)


def place(name: str) -> Circle | None:
    return {"stage": STAGE, "old town": TOWN, "here": HERE, "1,2": Circle(latitude=1, longitude=2, metres=5000)}.get(
        fold_place(name)
    )


NAMES = Named(me=ROMEO, person=person, place=place)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("when juliet posts", {"query": Query(authors=(JULIET,))}),
        ("when juliet posts near Stage", {"query": Query(authors=(JULIET,), circle=STAGE)}),
        ("when tybalt@capulet.example posts #duel", {"query": Query(authors=(TYBALT,), tags=("duel",))}),
        ("when anyone posts near old town", {"query": Query(circle=TOWN), "followed": True}),
        ("when Someone posts near here", {"query": Query(circle=HERE), "followed": True, "here": True}),
        ("when #lift appears", {"query": Query(tags=("lift",))}),
        (
            "when #lift appears near stage 2km",
            {"query": Query(tags=("lift",), circle=Circle(latitude=52_520_000, longitude=13_400_000, metres=2000))},
        ),
        ('when "good night" juliet', {"query": Query(terms=(("good", "night"), ("juliet",)))}),
        ("when roses in old town", {"query": Query(terms=(("roses",),), circle=TOWN)}),
        ("when roses in winter", {"query": Query(terms=(("roses",), ("in",), ("winter",)))}),
        ("when juliet enters Stage", {"what": What.ENTERS, "who": JULIET, "circle": STAGE}),
        ("when juliet leaves old town", {"what": What.LEAVES, "who": JULIET, "circle": TOWN}),
        ("when I enter here", {"what": What.ENTERS, "who": ROMEO, "circle": HERE}),
        ("when I come online", {"what": What.ONLINE}),
        ("When I come on line at Stage", {"what": What.ONLINE, "circle": STAGE}),
    ],
)
def test_what_has_to_happen(text: str, expected: dict[str, object]) -> None:
    rule = read(f"{text} then tell me", NAMES)
    found = {name: getattr(rule, name) for name in ("what", "query", "followed", "here", "who", "circle")}
    default = {"what": What.POST, "query": None, "followed": False, "here": False, "who": None, "circle": None}
    assert found == default | expected
    assert rule.then is Then.TELL
    assert Rule.from_json(rule.what, json.loads(json.dumps(rule.to_json()))) == rule


def test_what_is_done() -> None:
    assert read("when #lift appears then tell me", NAMES).then is Then.TELL
    posts = read("when #lift appears, then post I wait\nand then I go", NAMES)
    assert (posts.then, posts.text, posts.when) == (Then.POST, "I wait\nand then I go", "#lift appears")
    calls = read("#lift appears THEN CALL doorbell.", NAMES)
    assert (calls.then, calls.text) == (Then.CALL, "doorbell")
    assert str(posts) == "when #lift appears then post I wait\nand then I go"


def test_of_two_thens_the_first_that_fits_counts() -> None:
    rule = read('when "now and then" then tell me', NAMES)
    assert rule.query == Query(terms=(("now", "and", "then"),))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "A rule is written"),
        ("when juliet posts", "A rule is written"),
        ("when juliet posts then laugh", "A rule is written"),
        ("when then tell me", "A rule is written"),
        ("when nobody enters stage then tell me", "nobody called nobody"),
        ("when juliet enters nowhere then tell me", "No place is called nowhere"),
        ("when anyone posts then tell me", "home timeline"),
        ("when juliet posts from romeo then tell me", None),
        ("when from juliet from romeo then tell me", "one person"),
        ("when #a near nowhere then tell me", "No place is called nowhere"),
        ("when … then tell me", "nothing to look for"),
        ("when a then post " + "x" * 1001, "too long"),
        ("when " + "x " * 1000 + "then tell me", "too long"),
        ("when " + " ".join(f"w{n}" for n in range(40)) + " then tell me", "too much"),
    ],
)
def test_what_is_no_rule_is_told(text: str, says: str | None) -> None:
    if says is None:
        assert read(text, NAMES).query == Query(authors=(JULIET,))
        return
    with pytest.raises(ValueError, match=says):
        read(text, NAMES)


@pytest.mark.parametrize("text", ["when " * 390 + "x", "when " + "then " * 380, "when a" + " ," * 900 + " then"])
def test_hostile_rules_are_read_in_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(text, NAMES)


def test_here_is_where_one_is_only_if_one_is_somewhere() -> None:
    lost = Named(me=ROMEO, person=person, place=lambda name: None)
    for text in ("anyone posts near here", "I come online at here"):
        with pytest.raises(ValueError, match="I do not know where you are"):
            read(f"when {text} then tell me", lost)


def test_places_have_names_that_are_no_coordinates_and_no_words_of_ours() -> None:
    assert title_of("  Old   Town ") == "Old Town"
    for bad in ("", "here", "HERE", "52.5,13.4", "a:b", "#tag", "x" * 65, "a\u202eb", "1st", 'the "Globe"', "\u0000"):
        assert title_of(bad) is None, bad
    assert fold_place("  Café   \uff2f\uff2b") == "café ok"


def test_coordinates_are_rounded_to_a_thousandth() -> None:
    assert rounded(52_520_499) == 52_520_000 and rounded(-13_400_501) == -13_401_000
    assert Place(title="Stage", latitude=52_520_000, longitude=13_400_000).circle == STAGE
