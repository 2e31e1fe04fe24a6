"""Lists of people, and their timelines."""

from typing import Any

import pytest

from microblog.model.account import Account
from microblog.model.errors import ClosedNode, ItemNotFound, NotAcceptable, ResourceConstraint
from microblog.model.event import NodeDeleted
from microblog.model.item import Audience, PageRequest
from microblog.model.jid import JID
from microblog.store.transaction import Transaction
from microblog.usecases import listing, listing_people, muting, reading, sources, subscribing
from microblog.usecases.listing_people import ListChange, Listed
from microblog.usecases.reading import Reading, Retrieve, TimelinePage
from tests.usecases.pubsub import BENVOLIO, JULIET, PARIS, ROMEO, an_account, subscribe
from tests.usecases.timelines import arrives, writes

MERCUTIO = JID.parse("mercutio@montague.example")


def account(tx: Transaction, jid: JID = BENVOLIO) -> Account:
    found = tx.accounts.get(jid.localpart)
    assert found is not None
    return found


def change(tx: Transaction, name: str, jid: JID | None, owner: JID = BENVOLIO) -> ListChange:
    return ListChange(owner=owner, account=account(tx, owner).key, name=name, jid=jid)


def put(tx: Transaction, name: str, jid: JID | None, owner: JID = BENVOLIO) -> Listed:
    return listing_people.put(tx, change(tx, name, jid, owner))


def take_out(tx: Transaction, name: str, jid: JID | None, owner: JID = BENVOLIO) -> Listed:
    return listing_people.take_out(tx, change(tx, name, jid, owner))


def people(tx: Transaction, name: str = "friends", reader: JID = BENVOLIO, **more: Any) -> TimelinePage:
    page = PageRequest(**{name_: more.pop(name_) for name_ in list(more) if name_ not in ("audiences", "counted")})
    return reading.people(tx, name, Reading(actor=reader, page=page, **more))


def ids(page: TimelinePage) -> list[str]:
    return [one.item.id for one in page.posts]


@pytest.fixture
def town(tx: Transaction) -> Transaction:
    for jid in (ROMEO, BENVOLIO, MERCUTIO):
        an_account(tx, jid)
    return tx


def test_a_list_is_there_as_long_as_somebody_is_in_it(town: Transaction) -> None:
    assert put(town, "Friends", ROMEO) == Listed(name="friends", people=1)
    assert put(town, "friends", ROMEO).people == 1
    assert put(town, "FRIENDS", MERCUTIO).people == 2
    put(town, "foes", PARIS)
    assert listing_people.lists(town, account(town).key) == (("foes", 1), ("friends", 2))
    assert listing_people.members(town, account(town).key, "Friends") == (MERCUTIO, ROMEO)
    assert take_out(town, "friends", ROMEO).people == 1
    with pytest.raises(ItemNotFound):
        take_out(town, "friends", ROMEO)
    take_out(town, "friends", None)
    assert listing_people.lists(town, account(town).key) == (("foes", 1),)
    with pytest.raises(ItemNotFound):
        people(town)
    with pytest.raises(ItemNotFound):
        listing_people.members(town, account(town).key, "friends")


def test_its_timeline_has_those_who_are_in_it_followed_or_not(town: Transaction) -> None:
    subscribe(town, BENVOLIO)
    for jid in (ROMEO, MERCUTIO, JULIET):
        put(town, "friends", jid)
    writes(town, ROMEO, "1", 5)
    writes(town, MERCUTIO, "2", 4)
    arrives(town, JULIET, "3", 3, to=ROMEO)
    arrives(town, PARIS, "4", 2)
    writes(town, BENVOLIO, "5", 1)
    page = people(town)
    assert ids(page) == ["3", "2", "1"] and (page.count, page.index, page.more) == (3, 0, False)
    newest = people(town, max=2)
    assert ids(newest) == ["3", "2"] and newest.more
    assert ids(people(town, max=2, after=newest.posts[-1].anchor)) == ["1"]
    assert ids(people(town, max=2, last_page=True)) == ["2", "1"]
    take_out(town, "friends", ROMEO)
    assert ids(people(town)) == ["3", "2"]


def test_only_what_one_may_read(town: Transaction) -> None:
    subscribe(town, BENVOLIO)
    for jid in (ROMEO, MERCUTIO):
        put(town, "friends", jid)
        for audience in (Audience.PUBLIC, Audience.LOCAL, Audience.FOLLOWERS):
            writes(town, jid, f"{jid.localpart} {audience.value}", audience=audience)
        writes(town, jid, f"{jid.localpart} direct", audience=Audience.DIRECT, readers=(JULIET,))
    page = people(town)
    assert set(ids(page)) == {
        "romeo public",
        "romeo local",
        "romeo followers",
        "mercutio public",
        "mercutio local",
    }
    assert page.count == 5
    abroad = people(town, audiences=frozenset((Audience.PUBLIC, Audience.FOLLOWERS)))
    assert set(ids(abroad)) == {"romeo public", "romeo followers", "mercutio public"} and abroad.count == 3


def test_it_is_nobody_elses(town: Transaction) -> None:
    put(town, "friends", ROMEO)
    node = reading.list_node("friends")
    for reader in (ROMEO, JULIET):
        with pytest.raises(ItemNotFound):
            reading.retrieve(town, Retrieve(service=BENVOLIO, node=node, actor=reader))
        with pytest.raises(ItemNotFound):
            people(town, reader=reader)
        with pytest.raises(ClosedNode):
            reading.subscribe(town, subscribing.Subscribe(service=BENVOLIO, node=node, actor=reader, jid=reader))
    assert ids(reading.retrieve(town, Retrieve(service=BENVOLIO, node=node, actor=BENVOLIO))) == []


def test_subscriptions_to_its_timeline_end_with_it(town: Transaction) -> None:
    node = reading.list_node("friends")
    wanted = subscribing.Subscribe(service=BENVOLIO, node=node, actor=BENVOLIO, jid=BENVOLIO)
    with pytest.raises(ItemNotFound):
        reading.subscribe(town, wanted)
    put(town, "friends", ROMEO)
    reading.subscribe(town, wanted)
    assert town.nodes.find(BENVOLIO, node) is not None
    take_out(town, "friends", ROMEO)
    assert town.nodes.find(BENVOLIO, node) is None
    (event,) = [event for event in town.emitted if isinstance(event, NodeDeleted)]
    assert event.node.name == node and event.subscribers == (BENVOLIO,)


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "#a", "@a", "a:b", "x" * 41, "a\n", "a\x00", "home", "Local", "all"]
)
def test_names(town: Transaction, name: str) -> None:
    with pytest.raises(NotAcceptable):
        put(town, name, ROMEO)
    assert listing_people.lists(town, account(town).key) == ()


@pytest.mark.parametrize("name", ["Küche", "мои-друзья", "朋友", "a.b_c-d", "हिन्दी", "İstanbul"])
def test_names_in_any_script(town: Transaction, name: str) -> None:
    kept = put(town, name, ROMEO).name
    assert reading.list_of(reading.list_node(name)) == kept
    assert reading.list_of(reading.list_node(kept)) == kept
    writes(town, ROMEO, "1")
    assert ids(people(town, name)) == ["1"]


def test_bounds(town: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_people, "LISTS_MAX", 2)
    monkeypatch.setattr(listing_people, "MEMBERS_MAX", 3)
    for number in range(3):
        put(town, "friends", JID(f"friend{number}", "capulet.example"))
    with pytest.raises(ResourceConstraint):
        put(town, "friends", ROMEO)
    put(town, "foes", PARIS)
    with pytest.raises(ResourceConstraint):
        put(town, "third", PARIS)
    put(town, "third", PARIS, MERCUTIO)
    assert listing_people.lists(town, account(town).key) == (("foes", 1), ("friends", 3))


def test_there_are_not_too_many_people_in_all_lists(town: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_people, "PEOPLE_MAX", 2)
    put(town, "friends", ROMEO)
    put(town, "foes", ROMEO)
    with pytest.raises(ResourceConstraint):
        put(town, "foes", PARIS)
    put(town, "foes", ROMEO)


def test_a_long_list_is_not_counted(town: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LOOKED_INTO_MAX", 1)
    put(town, "friends", ROMEO)
    writes(town, ROMEO, "1", 2)
    assert people(town).count == 1
    put(town, "friends", MERCUTIO)
    writes(town, MERCUTIO, "2", 1)
    page = people(town)
    assert ids(page) == ["2", "1"] and page.count is None


def test_whether_anything_is_heard_of_somebody(town: Transaction) -> None:
    assert put(town, "friends", ROMEO).heard
    assert not put(town, "friends", JULIET).heard
    arrives(town, JULIET, "1", to=ROMEO)
    assert put(town, "friends", JULIET).heard
    assert ids(people(town)) == ["1"]


def test_lists_go_with_the_account_and_so_do_people_who_are_gone(town: Transaction) -> None:
    put(town, "friends", ROMEO)
    writes(town, ROMEO, "1")
    town.nodes.delete(reading_node(town, ROMEO))
    assert ids(people(town)) == []
    town.accounts.remove(account(town))
    town.nodes.delete(reading_node(town, BENVOLIO))
    an_account(town, BENVOLIO)
    with pytest.raises(ItemNotFound):
        people(town)


def reading_node(tx: Transaction, jid: JID) -> Any:
    node = tx.nodes.find(jid, "urn:xmpp:microblog:0")
    assert node is not None
    return node


def test_what_lists_somebody_reads_is_not_among_what_they_let_others_see(town: Transaction) -> None:
    put(town, "friends", ROMEO)
    town.preferences.set(account(town).key, "public-lists", "on")
    node = reading.list_node("friends")
    reading.subscribe(town, subscribing.Subscribe(service=BENVOLIO, node=node, actor=BENVOLIO, jid=BENVOLIO))
    subscribe(town, BENVOLIO)
    for asker in (ROMEO, JULIET):
        shown = listing.public_follows(town, listing.PublicFollows(account=BENVOLIO, asker=asker))
        assert [found.name for found in shown] == ["urn:xmpp:microblog:0"]


def test_what_is_muted_is_not_in_it(town: Transaction) -> None:
    for jid in (ROMEO, MERCUTIO):
        put(town, "friends", jid)
        writes(town, jid, f"{jid.localpart} of love", 2)
        writes(town, jid, f"{jid.localpart} of war", 1)
    key = account(town).key
    muting.mute(town, muting.MuteThis(account=key, actor=BENVOLIO, what=MERCUTIO))
    muting.mute(town, muting.MuteThis(account=key, actor=BENVOLIO, what="love"))
    page = people(town)
    assert ids(page) == ["romeo of war"] and page.count in (None, 1)
