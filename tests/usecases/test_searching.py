"""Search: the same answers on both databases, for whoever may read them."""

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from microblog.model.entry import Entry
from microblog.model.errors import ItemNotFound, NotAcceptable, ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.query import Circle, Content, Query, content, parse, tokens
from microblog.model.uri import item_uri
from microblog.store import search
from microblog.store.database import Database, open_database
from microblog.store.transaction import Transaction
from microblog.usecases import indexing, muting, publishing, registering, searching
from microblog.wire.atom import read_text
from microblog.wire.xml import escape_text
from tests.conftest import DOMAIN, Time
from tests.store.test_migrate import killed_after
from tests.usecases.pubsub import BENVOLIO, JULIET, NOON, PARIS, PHONE, ROMEO, an_account, retract, subscribe
from tests.usecases.timelines import arrives

MERCUTIO = JID.parse("mercutio@montague.example")


def says(tx: Transaction, text: str, item_id: str, by: JID = ROMEO, ago: float = 0, **more: Any) -> None:
    """A post so many minutes before noon. ``at``: latitude and longitude; ``lang``; ``tags``."""
    stamp = (NOON - timedelta(minutes=ago)).isoformat().replace("+00:00", "Z")
    lang, at = more.pop("lang", ""), more.pop("at", None)
    tags = "".join(f"<category term='{tag}'/>" for tag in more.pop("tags", ()))
    via = more.pop("via", "")
    parts = [f"<link rel='via' href='{via}'/>" if via else "", tags]
    if at is not None:
        parts.append(f"<geoloc xmlns='http://jabber.org/protocol/geoloc'><lat>{at[0]}</lat><lon>{at[1]}</lon></geoloc>")
    language = f" xml:lang='{lang}'" if lang else ""
    payload = (
        f"<entry xmlns='http://www.w3.org/2005/Atom'{language}><title>{escape_text(text)}</title>"
        f"<published>{stamp}</published><updated>{stamp}</updated>{''.join(parts)}</entry>"
    )
    entry = read_text(payload)
    assert entry is not None
    publishing.publish(
        tx,
        publishing.Publish(
            service=by,
            node=MICROBLOG,
            actor=by.with_resource(PHONE),
            item_id=item_id,
            payload=payload,
            entry=entry,
            **more,
        ),
    )


def indexed(tx: Transaction) -> None:
    while indexing.step(tx):
        pass


def found(tx: Transaction, text: str | Query, *, by: JID = ROMEO, **more: Any) -> list[str]:
    """The ids of all that is found, page by page."""
    query = parse(text, person=JID.parse) if isinstance(text, str) else text
    ids: list[str] = []
    before = ""
    for _ in range(100):
        page = searching.search(tx, searching.Search(actor=by, query=query, before=before, **more))
        ids += [one.item.id for one in page.posts]
        before = page.before
        if not before:
            return ids
    raise AssertionError("a search without end")


@pytest.fixture(autouse=True)
def people(tx: Transaction) -> None:
    for jid in (ROMEO, BENVOLIO, MERCUTIO):
        an_account(tx, jid)
    indexed(tx)


def test_words_phrases_and_order(tx: Transaction) -> None:
    says(tx, "The lift is broken", "a", ago=3)
    says(tx, "Lift 2 is back: is it?", "b", by=BENVOLIO, ago=1)
    says(tx, "It is a lark", "c", ago=2)
    indexed(tx)
    assert found(tx, "lift") == ["b", "a"]
    assert found(tx, "is") == ["b", "c", "a"]
    assert found(tx, "LIFT is") == ["b", "a"]
    assert found(tx, '"lift is"') == ["a"]
    assert found(tx, '"is it"') == ["b"]
    assert found(tx, "lift lark") == []
    assert found(tx, "lif") == []


def test_words_are_folded_alike(tx: Transaction) -> None:
    says(tx, "Café crème à l'Opéra", "fr", ago=1)
    says(tx, "東京の天気", "ja", ago=2)
    says(tx, "Straße ﬁn \uff37ide ΟΔΟΣ", "de", ago=3)
    says(tx, 'in\u0300 ꙮ \U0001d49c ² \u2167 a_b x\'y "q" 🎉x', "odd", ago=4)
    indexed(tx)
    for text, ids in (
        ("cafe", ["fr"]),
        ("CRÈME", ["fr"]),
        ("opera", ["fr"]),
        ("東京", ["ja"]),
        ("京東", []),
        ("天", ["ja"]),
        ("strasse", ["de"]),
        ("fin wide", ["de"]),
        ("οδος", ["de"]),
        ("in", ["odd"]),
        ("ꙮ", ["odd"]),
        ("viii", ["odd"]),
        ("a_b", ["odd"]),
        ("q", ["odd"]),
    ):
        assert found(tx, text) == ids, text


def test_tags_authors_domains_and_languages(tx: Transaction) -> None:
    says(tx, "one", "a", tags=("verona", "Sun day"), lang="en-GB", ago=1)
    says(tx, "two", "b", by=BENVOLIO, tags=("verona",), lang="en", ago=2)
    says(tx, "three", "c", by=MERCUTIO, lang="de", ago=3)
    arrives(tx, JULIET, "d", 4)
    indexed(tx)
    assert found(tx, "#verona") == ["a", "b"]
    assert found(tx, Query(tags=("verona", "sun day"))) == ["a"]
    assert found(tx, f"from {BENVOLIO}") == ["b"]
    assert found(tx, f"from {BENVOLIO} from {ROMEO} #verona") == ["a", "b"]
    assert found(tx, "@capulet.example") == ["d"]
    assert found(tx, f"from {MERCUTIO} @capulet.example") == ["c", "d"]
    assert found(tx, "lang:en") == ["a", "b"]
    assert found(tx, "lang:en-gb") == ["a"]
    assert found(tx, "verona") == []


def test_near(tx: Transaction) -> None:
    places = {
        "berlin": (52.52, 13.405),
        "potsdam": (52.39, 13.06),
        "fiji": (-17.8, 179.99),
        "taveuni": (-17.8, -179.99),
        "line": (-17.8, 180),
        "pole": (89.999, 10),
        "other side of the pole": (89.999, -170),
        "null": (0, 0),
    }
    for number, (name, at) in enumerate(places.items()):
        says(tx, "here", name, at=at, ago=number)
    says(tx, "here, somewhere", "nowhere", ago=100)
    indexed(tx)

    def near(latitude: float, longitude: float, metres: int, **more: Any) -> list[str]:
        circle = Circle(latitude=round(latitude * 1e6), longitude=round(longitude * 1e6), metres=metres)
        return found(tx, Query(circle=circle, **more))

    assert near(52.52, 13.40, 1_000) == ["berlin"]
    assert near(52.52, 13.40, 100) == []
    assert near(52.52, 13.40, 40_000) == ["berlin", "potsdam"]
    assert near(-17.8, 180, 5_000) == ["fiji", "taveuni", "line"]
    assert near(-17.8, -180, 5_000) == ["fiji", "taveuni", "line"]
    assert near(-17.8, -179.995, 1_000) == ["taveuni", "line"]
    assert near(90, 0, 1_000) == ["pole", "other side of the pole"]
    assert near(0, 0, 500_000) == ["null"]
    assert near(0, 0, 20_100_000) == list(places)
    assert near(0, 0, 1, terms=(("somewhere",),)) == []
    assert near(0, 0, 20_100_000, terms=(("here",),), authors=(ROMEO,)) == list(places)


def test_edits_and_retractions(tx: Transaction) -> None:
    says(tx, "the nightingale", "a", at=(1, 1))
    indexed(tx)
    says(tx, "the lark", "a")
    indexed(tx)
    assert found(tx, "nightingale") == [] and found(tx, "lark") == ["a"]
    circle = Circle(latitude=1_000_000, longitude=1_000_000, metres=1000)
    assert found(tx, Query(circle=circle)) == []
    retract(tx, "a")
    assert found(tx, "lark") == []
    indexed(tx)
    assert found(tx, "lark") == []
    says(tx, "lark again", "b")
    says(tx, "no bird", "b")
    indexed(tx)
    assert found(tx, "lark") == [] and found(tx, "bird") == ["b"]


def test_what_one_may_not_read_is_not_found(tx: Transaction) -> None:
    says(tx, "secret for all", "public", ago=1)
    says(tx, "secret for followers", "followers", audience=Audience.FOLLOWERS, ago=2)
    says(tx, "secret of the house", "local", audience=Audience.LOCAL, ago=3)
    says(tx, "secret for one", "direct", audience=Audience.DIRECT, readers=(MERCUTIO,), ago=4)
    subscribe(tx, BENVOLIO)
    indexed(tx)
    assert found(tx, "secret") == ["public", "followers", "local", "direct"]
    assert found(tx, "secret", by=BENVOLIO) == ["public", "followers", "local"]
    assert found(tx, "secret", by=MERCUTIO) == ["public", "local", "direct"]
    assert found(tx, "secret", by=PARIS) == ["public"]
    assert found(tx, "secret", by=MERCUTIO, audiences=frozenset({Audience.PUBLIC})) == ["public"]


def test_feeds_elsewhere(tx: Transaction) -> None:
    arrives(tx, JULIET, "parting", 1, to=BENVOLIO)
    indexed(tx)
    assert found(tx, "parting", by=BENVOLIO) == ["parting"]
    assert found(tx, "parting", by=ROMEO) == ["parting"]


def test_pages_and_floods_of_one_instant(tx: Transaction) -> None:
    """More posts of one instant than have room there: each is found, and once."""
    count = 1100
    for number in range(count):
        says(tx, "flood", f"p{number}", by=(ROMEO, BENVOLIO, MERCUTIO)[number % 3])
    indexed(tx)
    ids = found(tx, "flood", most=50)
    assert len(ids) == count and len(set(ids)) == count


def test_a_page_that_comes_to_no_end_says_how_far_it_came(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "CANDIDATES_MAX", 60)
    says(tx, "needle", "old", ago=500)
    for number in range(130):
        says(tx, "needle", f"p{number}", audience=Audience.FOLLOWERS, ago=number)
    indexed(tx)
    query = parse("needle", person=JID.parse)
    first = searching.search(tx, searching.Search(actor=BENVOLIO, query=query))
    assert first.posts == () and first.before and first.upto is not None
    assert NOON - timedelta(minutes=70) < first.upto < NOON - timedelta(minutes=50)
    assert found(tx, "needle", by=BENVOLIO) == ["old"]


def test_what_is_muted_or_blocked_is_not_found(tx: Transaction) -> None:
    says(tx, "bite my thumb", "a", by=MERCUTIO, ago=1)
    says(tx, "bite an apple", "b", by=BENVOLIO, ago=2)
    says(tx, "bite of sorrow", "c", by=ROMEO, ago=3)
    indexed(tx)
    account = registering.get_account(tx, "romeo").key
    muting.mute(tx, muting.MuteThis(account=account, actor=ROMEO, what="thumb"))
    assert found(tx, "bite") == ["b", "c"]
    muting.mute(tx, muting.MuteThis(account=account, actor=ROMEO, what=BENVOLIO))
    assert found(tx, "bite") == ["c"]
    assert found(tx, "bite", by=BENVOLIO) == ["a", "b", "c"]
    tx.blocks.add(registering.get_account(tx, "benvolio").key, MERCUTIO)
    assert found(tx, "bite", by=BENVOLIO) == ["b", "c"]
    assert found(tx, "bite", by=MERCUTIO) == ["a", "c"]


def test_repeats_are_found_once(tx: Transaction) -> None:
    says(tx, "a plague on both your houses", "plague", by=MERCUTIO, ago=2)
    says(tx, "a plague on both your houses", "again", by=ROMEO, ago=1, via=item_uri(MERCUTIO, MICROBLOG, "plague"))
    indexed(tx)
    assert found(tx, "plague") == ["plague"]
    assert found(tx, f"plague from {ROMEO}") == ["again"]


def test_what_was_there_before_the_index_is_indexed_in_pieces(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "PAST_MAX", 3)
    tx.connection.exec_driver_sql("DELETE FROM trails")
    for number in range(7):
        says(tx, "old", f"p{number}", ago=number + 1)
    assert indexing.step(tx) is True
    assert not indexing.is_complete(tx)
    says(tx, "old but new", "new")
    assert indexing.step(tx) is True
    page = searching.search(tx, searching.Search(actor=ROMEO, query=parse("old", person=JID.parse)))
    assert not page.complete and page.posts[0].item.id == "new"
    indexed(tx)
    assert indexing.is_complete(tx)
    assert found(tx, "old") == ["new", *(f"p{number}" for number in range(7))]
    assert indexing.step(tx) is False


def test_what_the_log_forgot_is_found_with_what_is_here(tx: Transaction) -> None:
    says(tx, "the lark", "before", ago=2)
    indexed(tx)
    says(tx, "the lark", "while the server was away", ago=1)
    tx.connection.exec_driver_sql("DELETE FROM events")
    says(tx, "the lark", "after")
    assert indexing.step(tx) is False
    assert found(tx, "lark") == ["after", "while the server was away", "before"]


@pytest.mark.parametrize("after", [0, 1, 2, 5, 11, 23, 40, 61])
def test_nothing_is_lost_or_doubled_by_kill_9(tmp_path: Path, time: Time, after: int) -> None:
    """Killed before some statement of its step, the index goes on where it was."""
    url = f"sqlite:///{tmp_path}/posts.db"

    def opened() -> Database:
        database = open_database(url, domain=DOMAIN, now=time.now, create=True)
        database.read_entry = read_text
        return database

    database = opened()
    database.run(lambda tx: an_account(tx, ROMEO) and None)
    database.run(indexing.step)
    for number in range(6):
        database.run(says, "lark", f"p{number}", ROMEO, number)
    database.run(says, "lark again", "p5", ROMEO, 5)
    database.close()

    def step() -> None:
        opened().run(indexing.step)

    killed_after(after, step)
    database = opened()
    while database.run(indexing.step):
        pass
    assert database.run(found, "lark") == [f"p{number}" for number in range(6)]
    assert database.run(found, "again") == ["p5"]
    database.close()


def test_accounts_that_are_removed_leave_nothing(tx: Transaction) -> None:
    says(tx, "o happy dagger", "a", at=(1, 1))
    indexed(tx)
    feed = tx.nodes.find(ROMEO, MICROBLOG)
    assert feed is not None
    tx.nodes.delete(feed)
    for table in ("item_words", "item_places"):
        assert tx.connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == 0
    assert found(tx, "dagger", by=BENVOLIO) == []
    indexed(tx)


HOSTILE = (
    '"', "'", "''", "\\", "a\\", "* OR *", "NEAR(a b)", "a AND b", "NOT a", "words:a", "{a b}:c", "a* ^b", "-a", "+a",
    "a & b", "a | !b", "a <-> b", ":*", "a:*", "%", "_", "_p", "_g10000_1_1", "\x00", "a\x00b", "\ud800", "\u202e",
    "'; DROP TABLE items; --", "item_index MATCH a", "((((((", "a" * 500, "a " * 15, '"' + "b " * 60 + '"',
    "lang:xx-yy", "near 91,181", "near 90,180 500km", "#" + "x" * 300, "@" + "x" * 300, "from from", "ﷺ" * 100,
    "\U0001f4a9" * 100,
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_query_does_harm(tx: Transaction, text: str) -> None:
    says(tx, "a b c words near not and or p g10000", "a")
    indexed(tx)
    account = registering.get_account(tx, "romeo")
    try:
        query = searching.query(tx, account, text)
    except NotAcceptable as refusal:
        assert str(refusal).endswith(".")
        return
    expected = read_text(tx.items.get(tx.nodes.find(ROMEO, MICROBLOG).key, "a").payload)  # type: ignore[union-attr]  # it is there
    assert expected is not None
    matches = query.matches(content(expected, ROMEO))
    assert found(tx, query) == (["a"] if matches else [])


@pytest.mark.parametrize("before", ["x", "-1", "1.5", "9" * 30, "٣", " 1"])
def test_pages_that_begin_nowhere(tx: Transaction, before: str) -> None:
    with pytest.raises(ItemNotFound):
        searching.search(tx, searching.Search(actor=ROMEO, query=Query(terms=(("a",),)), before=before))


def test_what_takes_too_long_is_ended(tx: Transaction) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    with pytest.raises(ResourceConstraint, match="more exactly"), tx.search.within(0.05):
        tx.connection.exec_driver_sql(endless).scalar_one()


def test_other_mistakes_of_the_database_are_not_hidden(tx: Transaction) -> None:
    with pytest.raises(DBAPIError), tx.search.within(1):
        tx.connection.exec_driver_sql("SELECT nothing FROM nowhere")


def test_the_limit_of_time_ends_with_the_search(tx: Transaction) -> None:
    with tx.search.within(0.05):
        pass
    count = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000) SELECT max(x) FROM n"
    assert tx.connection.exec_driver_sql(count).scalar_one() == 1_000_000


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u0915", "\U00010400"])
def test_posts_of_any_size_are_indexed(tx: Transaction, letter: str) -> None:
    """Ten thousand different words as long as they can be: what is beyond the bound is not found, and harms nobody."""
    says(tx, "long", "a")
    indexed(tx)
    feed = tx.nodes.find(ROMEO, MICROBLOG)
    assert feed is not None
    item = tx.items.get(feed.key, "a")
    assert item is not None
    words = tokens(" ".join(f"{letter}{number:05}".ljust(64, letter) for number in range(10_000)))
    tx.search.put([(item, Content(words=words, tags=frozenset(), author=ROMEO))])
    for word, places in ((words[0], 1), (words[2_000], 1), (words[-1], 0)):
        asked = search.wanted(Query(terms=((word,),)))
        assert len(tx.search.candidates(asked, search.END, 10).found) == places
    tx.search.remove([item.key])
    assert not tx.search.candidates(search.wanted(Query(terms=((words[0],),))), search.END, 10).found


def test_hundreds_of_tags_and_a_long_language(tx: Transaction) -> None:
    says(tx, "tagged", "a", tags=tuple(f"t{number}" for number in range(300)), lang="-".join(["en", *["x" * 8] * 200]))
    indexed(tx)
    assert found(tx, "#t0 lang:en lang:en tagged") == ["a"]


WORDS = ("lark", "nightingale", "night", "light", "Æther", "東", "京", "x1", "rose", "rosé")
PEOPLE = (ROMEO, BENVOLIO, MERCUTIO)


@pytest.mark.parametrize("many", [5_000, 20])
def test_what_is_found_is_what_fits(tx: Transaction, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    """Against a search without an index: hundreds of posts and queries, drawn from a seed.

    ``many``: from so many hits on, PostgreSQL looks through the newest posts.
    """
    monkeypatch.setattr(search, "_MANY", many)
    monkeypatch.setattr(search, "_WINDOW", 50)
    drawn = random.Random(7)
    posts: list[tuple[str, JID, Entry]] = []
    for number in range(300):
        by, text = drawn.choice(PEOPLE), " ".join(drawn.choices(WORDS, k=drawn.randint(0, 6)))
        more: dict[str, Any] = {}
        if drawn.random() < 0.3:
            east = drawn.uniform(178, 182)
            more["at"] = (round(drawn.uniform(-2, 2), 4), round(east if east <= 180 else east - 360, 4))
        if drawn.random() < 0.3:
            more["tags"] = drawn.sample(("verona", "mantua", "東"), k=2)
        if drawn.random() < 0.5:
            more["lang"] = drawn.choice(("de", "en", "en-GB", "ee"))
        says(tx, text, f"p{number}", by=by, ago=number, **more)
        node = tx.nodes.find(by, MICROBLOG)
        assert node is not None
        item = tx.items.get(node.key, f"p{number}")
        assert item is not None
        entry = read_text(item.payload)
        assert entry is not None
        posts.append((f"p{number}", by, entry))
    indexed(tx)
    for _ in range(150):
        query = a_query(drawn)
        expected = [item_id for item_id, by, entry in posts if query.matches(content(entry, by))]
        assert found(tx, query, most=drawn.randint(1, 40)) == expected, str(query)


def a_query(drawn: random.Random) -> Query:
    parts: list[str] = []
    while not parts:
        if drawn.random() < 0.6:
            parts += drawn.choices(WORDS, k=drawn.randint(1, 2))
        if drawn.random() < 0.3:
            parts.append(f'"{" ".join(drawn.choices(WORDS, k=2))}"')
        if drawn.random() < 0.2:
            parts.append(drawn.choice(("#verona", "#東")))
        if drawn.random() < 0.2:
            parts.append(f"from {drawn.choice(PEOPLE)}")
        if drawn.random() < 0.2:
            parts.append(drawn.choice(("lang:en", "lang:en-gb", "lang:ee")))
        if drawn.random() < 0.3:
            parts.append(
                f"near {drawn.uniform(-2, 2):.4f},{drawn.uniform(-180, -178):.4f} {drawn.choice((3, 40, 300))}km"
            )
    return parse(" ".join(parts), person=JID.parse)
