"""What people look for in posts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.entry import Entry, Location
from microblog.model.jid import JID
from microblog.model.query import Circle, Content, Query, content, distance, micro, parse, point, tokens

ROMEO = JID.parse("romeo@montague.example")
JULIET = JID.parse("juliet@capulet.example")
PEOPLE = {"romeo": ROMEO, "juliet@capulet.example": JULIET}
PLACES = {"balcony": Circle(latitude=45_442_000, longitude=10_998_000, metres=300, name="balcony")}


def looks_for(text: str) -> Query:
    return parse(text, person=PEOPLE.get, place=PLACES.get)


def post(title: str, author: JID = ROMEO, tags: tuple[str, ...] = (), **more: object) -> Content:
    return content(Entry(title=title, tags=tags, **more), author)  # type: ignore[arg-type]  # fields of several types


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Lift 2 is back!", ("lift", "2", "is", "back")),
        ("CAFÉ Straße", ("cafe", "strasse")),
        ("cafe\u0301", ("cafe",)),
        ("on-line snake_case", ("on", "line", "snake", "case")),
        ("東京タワー tower", ("東", "京", "タ", "ワ", "ー", "tower")),
        ("한국어", ("한국어",)),
        ("\x00\ud7ff !?", ()),
        ("", ()),
    ],
)
def test_words_are_folded(text: str, words: tuple[str, ...]) -> None:
    assert tokens(text) == words


def test_an_endless_word_and_an_endless_text() -> None:
    assert tokens("a" * 1000) == ("a" * 64,)
    assert len(tokens("a " * 50_000)) == 10_000


def test_words_phrases_and_tags() -> None:
    query = looks_for('lift "is back" #Verona')
    assert query == Query(terms=(("lift",), ("is", "back")), tags=("verona",))
    assert query.matches(post("The LIFT is back", tags=("verona",)))
    assert not query.matches(post("The lift is back"))
    assert not query.matches(post("The lift, back it is", tags=("verona",)))
    assert not query.matches(post("The lifts is back", tags=("verona",)))


def test_what_is_written_in_one_piece_is_a_phrase() -> None:
    assert looks_for("on-line").matches(post("I am on-line"))
    assert not looks_for("on-line").matches(post("the line is on"))


def test_authors_domains_and_languages() -> None:
    assert looks_for("from romeo").matches(post("anything"))
    assert not looks_for("from romeo").matches(post("anything", JULIET))
    assert looks_for("@capulet.example hello").matches(post("hello", JULIET))
    assert not looks_for("@Capulet.Example. hello").matches(post("hello"))
    assert looks_for("from romeo @capulet.example").matches(post("hello", JULIET))
    assert looks_for("lang:de").matches(post("hallo", language="de-CH"))
    assert not looks_for("lang:de").matches(post("den", language="den"))


def test_near_a_place() -> None:
    near = Location(latitude=45.4425, longitude=10.9985)
    assert looks_for("near balcony").matches(post("here", location=near))
    assert not looks_for("near balcony").matches(post("here"))
    assert not looks_for("near balcony 50m").matches(post("here", location=near))
    assert looks_for("near 45.44,11.00 2km here").matches(post("here", location=near))
    assert looks_for("near balcony today") == Query(circle=PLACES["balcony"], terms=(("today",),))
    assert looks_for('near balcony "2km"') == Query(circle=PLACES["balcony"], terms=(("2km",),))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing to look for"),
        ('"" !!!', "nothing to look for"),
        ("from nobody", "nobody called nobody"),
        ("news from", 'Behind "from"'),
        ("near nowhere", "No place is called nowhere"),
        ("near 91.0,0.0", "No place is called"),
        ("lang:", "lang:de"),
        ("@@@ here", "not the name of a node"),
        ("x" * 501, "too long"),
        (" ".join(map(str, range(17))), "too much"),
        ("a-" * 100, "too much"),
    ],
)
def test_what_cannot_be_looked_for_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        looks_for(text)


def test_points_and_distances() -> None:
    assert point("52.52,13.40") == (52_520_000, 13_400_000)
    assert point("-33.9,-151") == (-33_900_000, -151_000_000)
    assert [point(text) for text in ("52.52", "91,0", "0,181", "1e9,0", "nan,nan", "٣,٤")] == [None] * 6
    assert [distance(text) for text in ("5km", "0.2KM", "200m", "500km")] == [5000, 200, 200, 500_000]
    assert [distance(text) for text in ("5", "0m", "501km", "km", "-1m")] == [None] * 5


@given(st.floats(-90, 90), st.floats(-180, 180), st.integers(1, 500_000), st.floats(0, 6.3), st.floats(0, 0.99))
def test_what_is_in_a_circle_is_in_its_box(lat: float, lon: float, metres: int, way: float, part: float) -> None:
    circle = Circle(latitude=micro(lat), longitude=micro(lon), metres=metres)
    far = part * metres / 111_195
    there = lat + far * math.cos(way)
    narrow = max(math.cos(math.radians(lat)), 1e-9)
    across = (lon + far * math.sin(way) / narrow + 180) % 360 - 180
    if abs(there) <= 90 and circle.contains(micro(there), micro(across)):
        south, north, west, east = circle.box()
        assert south <= micro(there) <= north
        assert west <= micro(across) <= east if west <= east else micro(across) >= west or micro(across) <= east


@given(st.text(max_size=200))
def test_whatever_is_written_is_looked_for_or_refused_and_kept_as_it_was(text: str) -> None:
    try:
        query = looks_for(text)
    except ValueError:
        return
    assert Query.from_json(query.to_json()) == query
    query.matches(post(text))


@given(
    st.lists(
        st.sampled_from(["lift", "from", "near", "#verona", '"is back"', "@capulet.example", "lang:de"]), min_size=1
    )
)
def test_a_query_can_be_written_back(pieces: list[str]) -> None:
    try:
        query = looks_for(" ".join(pieces))
    except ValueError:
        return
    assert parse(str(query), person=lambda name: JID.parse(name), place=PLACES.get) == query
