"""Tags that are followed, and what they bring to a home timeline."""

from random import Random
from typing import Any

import pytest

from microblog.model.account import Account
from microblog.model.errors import NotAcceptable, NotSubscribed, ResourceConstraint
from microblog.model.item import Audience, PageRequest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.transaction import Transaction
from microblog.usecases import reading, sources, tagging
from microblog.usecases.reading import CatchUp, Reading, TimelinePage
from tests.usecases.pubsub import BENVOLIO, JULIET, ROMEO, an_account, subscribe
from tests.usecases.timelines import arrives, writes

MERCUTIO = JID.parse("mercutio@montague.example")


def account(tx: Transaction, jid: JID = BENVOLIO) -> Account:
    found = tx.accounts.get(jid.localpart)
    assert found is not None
    return found


@pytest.fixture
def town(tx: Transaction) -> Transaction:
    """Benvolio follows Romeo and a tag; Mercutio writes as well."""
    for jid in (ROMEO, BENVOLIO, MERCUTIO):
        an_account(tx, jid)
    subscribe(tx, BENVOLIO)
    tagging.follow(tx, account(tx).key, "Verona")
    return tx


def home(tx: Transaction, reader: JID = BENVOLIO, **more: Any) -> TimelinePage:
    page = PageRequest(**{name: more.pop(name) for name in list(more) if name not in ("audiences", "own", "counted")})
    return reading.home(tx, Reading(actor=reader, page=page, **more))


def ids(page: TimelinePage) -> list[str]:
    return [one.item.id for one in page.posts]


def test_what_has_the_tag_is_in_home_once(town: Transaction) -> None:
    tagging.follow(town, account(town).key, "#love")
    writes(town, MERCUTIO, "tagged", 10, tags=("verona",))
    writes(town, MERCUTIO, "twice", 9, tags=("verona", "love"))
    writes(town, MERCUTIO, "other", 8, tags=("mantua",))
    writes(town, ROMEO, "followed", 7, tags=("verona",))
    writes(town, BENVOLIO, "mine", 6, tags=("verona",))
    arrives(town, JULIET, "far", 5, to=MERCUTIO, tags=("verona",))
    page = home(town)
    assert ids(page) == ["far", "mine", "followed", "twice", "tagged"]
    assert (page.count, page.index, page.more) == (5, 0, False)
    others = home(town, own=False)
    assert ids(others) == ["far", "followed", "twice", "tagged"] and others.count == 4
    assert ids(home(town, MERCUTIO)) == ["far", "other", "twice", "tagged"]


def test_only_what_one_may_read(town: Transaction) -> None:
    for audience in (Audience.PUBLIC, Audience.LOCAL, Audience.FOLLOWERS):
        writes(town, MERCUTIO, audience.value, tags=("verona",), audience=audience)
    writes(town, MERCUTIO, "for romeo", tags=("verona",), audience=Audience.DIRECT, readers=(ROMEO,))
    writes(town, MERCUTIO, "for benvolio", tags=("verona",), audience=Audience.DIRECT, readers=(BENVOLIO,))
    assert set(ids(home(town))) == {"public", "local", "for benvolio"} and home(town).count == 3
    abroad = home(town, audiences=frozenset((Audience.PUBLIC, Audience.FOLLOWERS)))
    assert ids(abroad) == ["public"] and abroad.count == 1


def test_an_edit_without_the_tag_and_leaving_it_take_it_out(town: Transaction) -> None:
    writes(town, MERCUTIO, "1", 2, tags=("verona",))
    writes(town, MERCUTIO, "2", 1, tags=("verona",))
    writes(town, MERCUTIO, "2", 1, title="changed")
    assert ids(home(town)) == ["1"]
    assert tagging.leave(town, account(town).key, "VERONA") == "verona"
    assert ids(home(town)) == [] and home(town).count == 0
    with pytest.raises(NotSubscribed):
        tagging.leave(town, account(town).key, "verona")


def test_unread_posts_have_those_of_tags(town: Transaction) -> None:
    writes(town, MERCUTIO, "1", 30, tags=("verona",))
    reading.read_all(town, account(town), reading.HOME)
    writes(town, MERCUTIO, "2", 20, tags=("verona",))
    writes(town, BENVOLIO, "mine", 15, tags=("verona",))
    writes(town, ROMEO, "3", 10)
    assert reading.unread(town, account(town)) == 2
    found = reading.catch_up(town, CatchUp(account=account(town), most=10))
    assert ids(found.page) == ["3", "2"] and found.unread == 2
    assert reading.unread(town, account(town)) == 0


@pytest.mark.parametrize(
    ("seed", "busy"), [(0, sources.BUSY), (1, sources.BUSY), (2, 0), (3, 0), (4, 1), (4, 10), (4, 0), (5, 1)]
)
def test_pages_are_those_of_a_merge_that_looks_at_everything(
    town: Transaction, monkeypatch: pytest.MonkeyPatch, seed: int, busy: int
) -> None:
    # With none at once, tag by tag.
    monkeypatch.setattr(sources, "BUSY", busy)
    random = Random(seed)
    people = [JID("person" + str(n), "montague.example") for n in range(8)]
    for person in people:
        an_account(town, person)
    for person in people[:3]:
        subscribe(town, BENVOLIO, service=person)
    tagging.follow(town, account(town).key, "love")
    expected, feeds = {}, {}
    for number in range(120):
        by = random.choice([*people, BENVOLIO])
        tags = tuple(tag for tag in ("verona", "love", "mantua") if random.random() < 0.3)
        audience = random.choice((Audience.PUBLIC, Audience.LOCAL, Audience.FOLLOWERS))
        ago = random.randrange(40)
        item = writes(town, by, f"p{number}", ago, tags=tags, audience=audience)
        feed = town.nodes.find(by, MICROBLOG)
        assert feed is not None
        feeds[item.id] = feed.key
        follows = by in people[:3] or by == BENVOLIO
        if follows or ({"verona", "love"} & set(tags) and audience is not Audience.FOLLOWERS):
            expected[item.id] = (-ago, item.key)
    for number in random.sample(range(120), 10):
        town.items.retract(feeds[f"p{number}"], f"p{number}")
        expected.pop(f"p{number}", None)
    wanted = sorted(expected, key=lambda id_: expected[id_], reverse=True)
    size = random.choice((1, 3, 7))
    assert home(town).count == len(wanted)
    found: list[str] = []
    page = home(town, max=size)
    while page.posts:
        found += ids(page)
        page = home(town, max=size, after=page.posts[-1].anchor)
    assert found == wanted
    back: list[str] = []
    page = home(town, max=size, last_page=True)
    while page.posts:
        back = ids(page) + back
        page = home(town, max=size, before=page.posts[0].anchor)
    assert back == wanted


def test_very_many_posts_under_tags_are_not_counted(town: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TAGGED_MAX", 5)
    for number in range(4):
        writes(town, MERCUTIO, f"p{number}", number, tags=("verona",))
    assert home(town).count == 4
    writes(town, MERCUTIO, "p5", tags=("verona",))
    assert home(town).count is None and len(home(town).posts) == 5


def test_there_are_only_so_many(town: Transaction) -> None:
    key = account(town).key
    for number in range(tagging.TAGS_MAX - 1):
        tagging.follow(town, key, f"tag{number}")
    with pytest.raises(ResourceConstraint):
        tagging.follow(town, key, "mantua")
    assert tagging.follow(town, key, "tag0") == "tag0"
    assert len(tagging.tags(town, BENVOLIO)) == tagging.TAGS_MAX
    assert tagging.tags(town, JULIET) == ()
    for wrong in ("", "#", "x" * 101):
        with pytest.raises(NotAcceptable):
            tagging.follow(town, key, wrong)


def test_they_go_with_the_account(town: Transaction) -> None:
    town.accounts.remove(account(town))
    feed = town.nodes.find(BENVOLIO, MICROBLOG)
    assert feed is not None
    town.nodes.delete(feed)
    an_account(town, BENVOLIO)
    assert tagging.tags(town, BENVOLIO) == ()
