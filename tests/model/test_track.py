"""Saved searches in memory: all that a post meets are found, and nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from microblog.model.jid import JID
from microblog.model.query import Circle, Content, Query
from microblog.model.track import HEARD_MAX, Index

ROMEO, JULIET = JID.parse("romeo@montague.example"), JID.parse("juliet@capulet.example")
MICRO = 1_000_000


def post(*words: str, **more: object) -> Content:
    values: dict[str, object] = {"tags": frozenset(), "author": ROMEO, **more}
    return Content(words=words, **values)  # type: ignore[arg-type]  # fields of several types


def words(*terms: str) -> Query:
    return Query(terms=tuple((term,) for term in terms))


def test_each_condition_finds() -> None:
    index: Index[int] = Index()
    circle = Circle(latitude=52 * MICRO, longitude=13 * MICRO, metres=5000)
    queries = {
        1: words("lift"),
        2: Query(terms=(("is", "back"),)),
        3: Query(tags=("verona",)),
        4: Query(authors=(ROMEO, JULIET)),
        5: Query(domains=("montague.example",)),
        6: Query(language="de"),
        7: Query(circle=circle),
        8: Query(terms=(("lift",),), authors=(JULIET,)),
        9: Query(),
    }
    for key, query in queries.items():
        index.add(key, query)
    whole = post(
        "lift", "is", "back", tags=frozenset({"verona"}), language="de-ch", latitude=52 * MICRO, longitude=13 * MICRO
    )
    assert sorted(index.matching(whole)) == [1, 2, 3, 4, 5, 6, 7, 9]
    assert sorted(index.matching(post("back", "is", author=JULIET))) == [4, 9]
    assert sorted(index.matching(post("lift", author=JULIET))) == [1, 4, 8, 9]


def test_equal_queries_are_one_and_each_owner_has_it() -> None:
    index: Index[str] = Index()
    for owner in ("romeo", "juliet", "benvolio"):
        index.add(owner, words("lift"))
    assert sorted(index.matching(post("lift"))) == ["benvolio", "juliet", "romeo"]
    index.remove("juliet")
    index.remove("juliet")
    assert sorted(index.matching(post("lift"))) == ["benvolio", "romeo"]
    index.add("romeo", words("stairs"))
    assert index.matching(post("lift")) == ["benvolio"]
    index.remove("benvolio")
    index.remove("romeo")
    assert not len(index) and "romeo" not in index and not index.matching(post("lift", "stairs"))
    assert not index._filed and not index._groups and not index._levels


def test_what_is_frequent_is_not_looked_at() -> None:
    """Of two words a track is filed under the one that posts have seldom."""
    index: Index[int] = Index()
    for _ in range(100):
        index.hear(post("the", "is"))
    for number in range(1000):
        index.add(number, words("the", f"word{number}"))
    assert "the" not in index._filed
    assert index.matching(post("the", "word7", "is")) == [7]


def test_what_is_heard_does_not_fill_memory() -> None:
    index: Index[int] = Index()
    index.add(1, words("lift"))
    for number in range(0, 3 * HEARD_MAX, 100):
        index.hear(post("lift", *(f"w{number + n}" for n in range(100))))
    assert len(index._heard) <= HEARD_MAX


POINTS = st.tuples(
    st.one_of(st.integers(-90 * MICRO, 90 * MICRO), st.sampled_from([-90 * MICRO, 90 * MICRO, 89_990_000, 0])),
    st.one_of(st.integers(-180 * MICRO, 180 * MICRO), st.sampled_from([-180 * MICRO, 180 * MICRO, 179_999_999, 0])),
)
WORDS = st.sampled_from(["lift", "is", "back", "verona", "de"])
QUERIES = st.builds(
    Query,
    terms=st.lists(st.lists(WORDS, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple),
    tags=st.lists(WORDS, max_size=1).map(tuple),
    authors=st.lists(st.sampled_from([ROMEO, JULIET]), max_size=2, unique=True).map(tuple),
    domains=st.lists(st.sampled_from(["montague.example", "north.example"]), max_size=1).map(tuple),
    language=st.sampled_from(["", "", "de", "de-ch"]),
    circle=st.one_of(
        st.none(),
        st.builds(
            lambda at, metres: Circle(latitude=at[0], longitude=at[1], metres=metres),
            POINTS,
            st.sampled_from([1, 500, 5000, 500_000]),
        ),
    ),
)
POSTS = st.builds(
    lambda said, tags, author, language, at: post(
        *said,
        tags=frozenset(tags),
        author=author,
        language=language,
        latitude=at and at[0],
        longitude=at and at[1],
    ),
    st.lists(WORDS, max_size=4),
    st.lists(WORDS, max_size=2),
    st.sampled_from([ROMEO, JULIET]),
    st.sampled_from(["", "de", "de-ch", "de-ch-1996", "deu", "en"]),
    st.one_of(st.none(), POINTS),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(QUERIES, max_size=12), st.lists(POSTS, min_size=1, max_size=5), st.sets(st.integers(0, 11)))
def test_the_same_is_found_as_by_looking_at_every_query(
    queries: list[Query], posts: list[Content], removed: set[int]
) -> None:
    index: Index[int] = Index()
    for number, query in enumerate(queries):
        index.add(number, query)
    for number in removed:
        index.remove(number)
    for one in posts:
        expected = [n for n, query in enumerate(queries) if n not in removed and query.matches(one)]
        assert sorted(index.matching(one)) == expected


@settings(max_examples=300, deadline=None)
@given(POINTS, st.sampled_from([1, 30, 5000, 500_000]), st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_every_point_of_a_circle_is_found(at: tuple[int, int], metres: int, up: int, right: int) -> None:
    """Also around the poles and across 180°."""
    circle = Circle(latitude=at[0], longitude=at[1], metres=metres)
    index: Index[int] = Index()
    index.add(1, Query(circle=circle))
    south, north, west, east = circle.box()
    width = east - west if east >= west else east - west + 360 * MICRO
    latitude = south + (north - south) * (up + 1000) // 2000
    longitude = (west + width * (right + 1000) // 2000 + 180 * MICRO) % (360 * MICRO) - 180 * MICRO
    said = post(latitude=latitude, longitude=longitude)
    assert bool(index.matching(said)) == circle.contains(latitude, longitude)
