"""Notifications from elsewhere: believed from their own domain, kept once, told to each follower once."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from microblog.model.entry import Entry
from microblog.model.errors import ResourceConstraint
from microblog.model.event import ItemPublished, ItemRetracted, NodeDeleted, NodePurged
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, AccessModel
from microblog.model.subscription import SubscriptionState
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import following, reading, receiving
from microblog.usecases.copying import ReceivedItem
from microblog.usecases.following import Described, Follow
from microblog.usecases.reading import Reading
from microblog.usecases.receiving import Receipt, Received, delivered, undelivered
from tests.usecases.pubsub import BENVOLIO, JULIET, MOOD, NOON, NURSE, PHONE, ROMEO, a_contact, an_account, an_entry

CAPULET = "capulet.example"


@pytest.fixture
def tx(tx: Transaction) -> Iterator[Transaction]:
    """Romeo and Benvolio follow Juliet."""
    for account in (ROMEO, BENVOLIO):
        an_account(tx, account)
        follow(tx, account)
    yield tx


def follow(tx: Transaction, account: JID, service: JID = JULIET, node: str = MICROBLOG) -> None:
    following.record_subscribe(
        tx, Follow(account=account, service=service, node=node, state=SubscriptionState.SUBSCRIBED)
    )


def receive(tx: Transaction, recipient: JID = ROMEO, **more: Any) -> Receipt:
    request: dict[str, Any] = {
        "service": JULIET,
        "node": MICROBLOG,
        "recipient": recipient,
        "sender_domain": CAPULET,
        "proof": Proof.CERTIFICATE,
    }
    return receiving.receive(tx, Received(**{**request, **more}))


def item(item_id: str, text: str = "hello", minutes: int = 0, **more: Any) -> ReceivedItem:
    return ReceivedItem(id=item_id, **{**an_entry(text, minutes), **more})


def arrives(tx: Transaction, *items: ReceivedItem, recipient: JID = ROMEO, **more: Any) -> Receipt:
    return receive(tx, recipient, published=items, **more)


def told(tx: Transaction) -> list[tuple[str, tuple[JID, ...] | None]]:
    return [(event.item.id, event.recipients) for event in tx.emitted if isinstance(event, ItemPublished)]


def stored(tx: Transaction, node: str = MICROBLOG) -> list[Item]:
    found = tx.nodes.find(JULIET, node)
    return tx.items.newest(found.key, 100) if found else []


def test_a_post_is_stored_once_and_told_to_each_follower_once(tx: Transaction) -> None:
    for _ in range(2):
        arrives(tx, item("1"))
        arrives(tx, item("1"), recipient=BENVOLIO.with_resource(PHONE))
    assert told(tx) == [("1", (ROMEO,)), ("1", (BENVOLIO,))]
    (kept,) = stored(tx)
    assert (kept.publisher, kept.proof) == (JULIET, Proof.CERTIFICATE)


def test_the_receipt_says_what_is_new(tx: Transaction) -> None:
    assert arrives(tx, item("1"), item("2")) == Receipt(new=("1", "2"))
    assert arrives(tx, item("1"), item("2")) == Receipt()
    assert arrives(tx, item("1"), recipient=BENVOLIO) == Receipt(new=("1",))


def test_who_follows_later_is_told_of_what_comes_then(tx: Transaction) -> None:
    arrives(tx, item("1"))
    follow(tx, NURSE_HERE)
    assert arrives(tx, item("1"), recipient=NURSE_HERE).new == ("1",)


NURSE_HERE = JID.parse("nurse@montague.example")


@pytest.mark.parametrize(
    "more",
    [
        {"sender_domain": "verona.example"},
        {"sender_domain": "evil-capulet.example"},
        {"service": JID.parse("juliet@x.capulet.example")},
        {"service": BENVOLIO, "sender_domain": "montague.example"},
        {"recipient": NURSE},
        {"node": ""},
        {"published": (item(""),)},
        {"published": (item("x" * 1024),)},
    ],
)
def test_what_is_not_the_senders_is_ignored(tx: Transaction, more: dict[str, Any]) -> None:
    request: dict[str, Any] = {"published": (item("1"),)}
    assert receive(tx, **{**request, **more}).ignored
    assert told(tx) == [] and stored(tx) == []


def test_a_publisher_of_another_domain_is_not_believed(tx: Transaction) -> None:
    arrives(tx, item("1", publisher=JID.parse("paris@verona.example")))
    arrives(tx, item("2", publisher=ROMEO))
    assert stored(tx) == []
    arrives(tx, item("3", publisher=NURSE.with_resource("kitchen")))
    assert [kept.publisher for kept in stored(tx)] == [NURSE]


def test_a_feed_that_the_recipient_does_not_follow_is_not_taken_in(tx: Transaction) -> None:
    assert arrives(tx, item("1"), service=NURSE).ignored
    assert arrives(tx, item("1"), recipient=NURSE_HERE).ignored
    assert arrives(tx, item("1"), node=MOOD).ignored
    assert tx.nodes.find(NURSE, MICROBLOG) is None and tx.nodes.find(JULIET, MOOD) is None


def test_a_pending_follow_is_none_yet(tx: Transaction) -> None:
    following.record_subscribe(
        tx, Follow(account=ROMEO, service=JULIET, node=MICROBLOG, state=SubscriptionState.PENDING)
    )
    assert arrives(tx, item("1")).ignored


def test_an_edit_replaces_what_was_there(tx: Transaction) -> None:
    arrives(tx, item("1", "one"))
    arrives(tx, item("2", "two"))
    assert arrives(tx, item("1", "one, better", 1)).new == ("1",)
    assert [kept.id for kept in stored(tx)] == ["2", "1"]
    assert "better" in stored(tx)[1].payload


def test_an_older_version_is_dropped(tx: Transaction) -> None:
    arrives(tx, item("1", "newer", 2))
    for recipient in (ROMEO, BENVOLIO):
        assert arrives(tx, item("1", "older", 1), recipient=recipient) == Receipt()
    assert "newer" in stored(tx)[0].payload


def test_an_edit_may_leave_the_time_as_it_was(tx: Transaction) -> None:
    """Clients and servers that publish an item again with a corrected text and its old ``updated``."""
    for recipient in (ROMEO, BENVOLIO):
        arrives(tx, item("1", "a typpo"), recipient=recipient)
    for recipient in (ROMEO, BENVOLIO, ROMEO, BENVOLIO):
        arrives(tx, item("1", "a typo"), recipient=recipient)
    assert "a typo" in stored(tx)[0].payload
    assert told(tx) == [("1", (ROMEO,)), ("1", (BENVOLIO,))] * 2


def test_two_texts_of_one_time_in_no_order_keep_the_first(tx: Transaction) -> None:
    arrives(tx, item("1", "one thing"))
    assert arrives(tx, item("1", "another thing"), recipient=BENVOLIO, live=False) == Receipt(equivocal=("1",))
    assert "one thing" in stored(tx)[0].payload


def test_several_in_one_notification_are_looked_up_as_they_are_by_then(tx: Transaction) -> None:
    assert arrives(tx, item("1"), item("2"), item("1", "better", 1), item("1", "better", 1)).new == ("1", "2", "1")
    receive(tx, retracted=("1", "1"), published=(item("3"), item("1", "again", 2)))
    assert [kept.id for kept in stored(tx)] == ["2", "3"]


def test_a_retracted_item_does_not_come_back(tx: Transaction) -> None:
    arrives(tx, item("1"))
    arrives(tx, item("1"), recipient=BENVOLIO)
    for _ in range(2):
        receive(tx, retracted=("1",))
        receive(tx, BENVOLIO, retracted=("1",))
        assert arrives(tx, item("1", "again", 5)) == Receipt()
    assert stored(tx) == []
    retractions = [event.recipients for event in tx.emitted if isinstance(event, ItemRetracted)]
    assert retractions == [(ROMEO,), (BENVOLIO,)]


def test_a_retraction_that_comes_before_its_post(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "UNKNOWN_MAX", 2)
    for name in ("1", "2", "3"):
        assert receive(tx, retracted=(name,)) == Receipt()
    assert [arrives(tx, item(name)).new for name in ("1", "2", "3", "4")] == [(), (), ("3",), ("4",)]


def test_a_retraction_at_a_node_that_is_no_feed_stands_for_itself(tx: Transaction) -> None:
    follow(tx, ROMEO, node=MOOD)
    receive(tx, node=MOOD, retracted=("current",))
    assert receive(tx, node=MOOD, published=(ReceivedItem(id="current", payload="<x/>"),)).new == ("current",)


# What is said again, and in another order


def _post(item_id: str, hour: int, text: str = "", edited: int = 0) -> ReceivedItem:
    published, updated = NOON - timedelta(hours=30 - hour), NOON - timedelta(hours=30 - hour, minutes=-edited)
    words = text or item_id
    payload = f"<entry xmlns='http://www.w3.org/2005/Atom'><title>{words}</title><updated>{updated}</updated></entry>"
    return ReceivedItem(id=item_id, payload=payload, entry=Entry(title=words, published=published, updated=updated))


YESTERDAY: list[dict[str, Any]] = [
    {"published": (_post("1", 1),)},
    {"published": (_post("2", 2),)},
    {"published": (_post("1", 1, "better", 10),)},
    {"retracted": ("2",)},
    {"published": (_post("3", 3),)},
]


def _is_as_it_should_be(tx: Transaction) -> None:
    found = {one.id: one for one in stored(tx)}
    assert sorted(found) == ["1", "3"]
    assert "better" in found["1"].payload


def test_k176_what_is_replayed_is_known_and_what_was_deleted_stays_so(tx: Transaction) -> None:
    for what in YESTERDAY:
        for reader in (ROMEO, BENVOLIO):
            receive(tx, reader, **what)
    _is_as_it_should_be(tx)
    before = [(one.id, one.position) for one in stored(tx)]
    tx.emitted.clear()
    for again in (YESTERDAY, YESTERDAY[::-1], [YESTERDAY[1]] * 3):
        for what in again:
            for reader in (ROMEO, BENVOLIO):
                assert receive(tx, reader, **what).new == ()
    assert tx.emitted == []
    assert [(one.id, one.position) for one in stored(tx)] == before


def test_k177_in_whatever_order_it_comes_it_ends_the_same(database: Database) -> None:
    """And people read it in the order in which it was said."""
    for order in permutations(YESTERDAY):
        with database.trial() as tx:
            an_account(tx, ROMEO)
            follow(tx, ROMEO)
            for what in (*order, order[0]):
                receive(tx, **what)
            _is_as_it_should_be(tx)
            assert [one.item.id for one in reading.home(tx, Reading(actor=ROMEO)).posts] == ["3", "1"]


def test_nobody_retracts_at_somebody_elses_feed(tx: Transaction) -> None:
    arrives(tx, item("1"))
    assert receive(tx, retracted=("1",), sender_domain="verona.example").ignored
    follow(tx, ROMEO, NURSE)
    receive(tx, service=NURSE, retracted=("1",))
    assert [kept.id for kept in stored(tx)] == ["1"]


def test_a_purge_empties_our_copy(tx: Transaction) -> None:
    arrives(tx, item("1"))
    receive(tx, purged=True)
    receive(tx, BENVOLIO, purged=True)
    assert stored(tx) == []
    assert [event.recipients for event in tx.emitted if isinstance(event, NodePurged)] == [(ROMEO,), (BENVOLIO,)]
    assert receive(tx, purged=True) == Receipt()


def test_a_deleted_feed_is_forgotten(tx: Transaction) -> None:
    arrives(tx, item("1"))
    receive(tx, deleted=True)
    event = tx.emitted[-1]
    assert isinstance(event, NodeDeleted) and set(event.subscribers) == {ROMEO, BENVOLIO}
    assert following.follows(tx, ROMEO) == ()
    assert receive(tx, BENVOLIO, deleted=True).ignored


def test_contacts_are_followed_by_presence(tx: Transaction) -> None:
    """XEP-0163 §4.2: no subscription was ever asked for."""
    a_contact(tx, ROMEO, NURSE, "to")
    assert arrives(tx, item("1"), service=NURSE).new == ("1",)
    assert arrives(tx, item("1"), service=NURSE) == Receipt()
    (implicit,) = [one for one in following.follows(tx, ROMEO) if one.node.service == NURSE]
    assert implicit.implicit
    a_contact(tx, ROMEO, NURSE, "from")
    assert arrives(tx, item("2"), service=NURSE).ignored


def test_a_follow_that_was_implicit_becomes_one_of_its_own(tx: Transaction) -> None:
    a_contact(tx, ROMEO, NURSE, "both")
    arrives(tx, item("1"), service=NURSE)
    follow(tx, ROMEO, NURSE)
    a_contact(tx, ROMEO, NURSE, "none")
    assert arrives(tx, item("1"), service=NURSE) == Receipt()
    assert arrives(tx, item("2"), service=NURSE).new == ("2",)


def test_a_contacts_other_nodes_keep_what_their_kind_keeps(tx: Transaction) -> None:
    a_contact(tx, ROMEO, JULIET, "to")
    for n in range(3):
        arrives(tx, ReceivedItem(id=str(n), payload=f"<mood>{n}</mood>"), node=MOOD)
    assert [kept.id for kept in stored(tx, MOOD)] == ["2"]


def test_a_post_without_payload_is_to_be_fetched(tx: Transaction) -> None:
    assert arrives(tx, ReceivedItem(id="1")) == Receipt(missing=("1",))
    assert stored(tx) == []
    arrives(tx, item("1"))
    assert arrives(tx, ReceivedItem(id="1")) == Receipt()


def test_times_ahead_are_clamped_or_refused(tx: Transaction) -> None:
    arrives(tx, item("1", "an hour ahead", 60))
    arrives(tx, item("2", "two days ahead", 60 * 48))
    (kept,) = stored(tx)
    assert kept.updated == tx.now
    assert arrives(tx, item("1", "an hour ahead", 60)) == Receipt()


def test_too_long_a_payload_is_not_kept(tx: Transaction) -> None:
    arrives(tx, item("1", "x" * tx.limits.payload_max_bytes))
    assert stored(tx) == []


def test_a_full_disk_takes_nothing_in(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(tx), "disk_low", property(lambda _: True))
    with pytest.raises(ResourceConstraint):
        arrives(tx, item("1"))


# What was cut off


def waiting(tx: Transaction, recipient: JID = ROMEO) -> list[str]:
    return [
        event.item.id if isinstance(event, ItemPublished) else f"-{event.item_id}"
        for event in undelivered(tx, recipient).events
        if isinstance(event, (ItemPublished, ItemRetracted))
    ]


def test_what_was_not_written_to_a_session_waits(tx: Transaction) -> None:
    follow(tx, ROMEO, NURSE)
    arrives(tx, item("1"))
    arrives(tx, item("a"), service=NURSE)
    arrives(tx, item("2"))
    assert waiting(tx) == ["1", "a", "2"]
    assert waiting(tx, BENVOLIO) == []
    found = undelivered(tx, ROMEO.with_resource(PHONE))
    delivered(tx, found.marks)
    assert waiting(tx) == []
    arrives(tx, item("3"))
    assert waiting(tx) == ["3"]


def test_marks_never_go_back(tx: Transaction) -> None:
    arrives(tx, item("1"))
    arrives(tx, item("2"))
    events = [event for event in tx.emitted if isinstance(event, ItemPublished)]
    node = events[0].node.key
    delivered(tx, [(node, ROMEO, events[1].seq), (node, ROMEO, events[0].seq)])
    assert waiting(tx) == []


def test_half_of_what_came_was_written(tx: Transaction) -> None:
    for n in range(4):
        arrives(tx, item(str(n), str(n)))
    events = [event for event in tx.emitted if isinstance(event, ItemPublished)]
    delivered(tx, [(events[1].node.key, ROMEO, events[1].seq)])
    assert waiting(tx) == ["2", "3"]


def test_what_came_for_others_is_not_mine(tx: Transaction) -> None:
    for n in range(3):
        arrives(tx, item(str(n), str(n)), recipient=BENVOLIO)
    arrives(tx, item("3", "3"))
    assert waiting(tx) == ["3"]


def test_what_was_edited_or_retracted_meanwhile_is_told_as_it_is(tx: Transaction) -> None:
    arrives(tx, item("1", "one"))
    arrives(tx, item("2", "two"))
    arrives(tx, item("1", "one, better", 1))
    receive(tx, retracted=("2",))
    assert waiting(tx) == ["1", "-2"]


def test_only_the_newest_of_very_much_is_told(tx: Transaction) -> None:
    for n in range(8):
        arrives(tx, item(str(n), str(n)))
    found = undelivered(tx, ROMEO, max=3)
    assert [event.item.id for event in found.events if isinstance(event, ItemPublished)] == ["5", "6", "7"]
    delivered(tx, found.marks)
    assert waiting(tx) == []


def test_only_the_newest_of_very_long_posts_is_told(tx: Transaction) -> None:
    """All of them at once would end the stream of whoever comes, and be lost with it."""
    for n in range(20):
        arrives(tx, item(str(n), "x" * 60_000, n))
    assert waiting(tx) == [str(n) for n in range(12, 20)]


def test_a_clock_that_goes_back_changes_nothing(tx: Transaction) -> None:
    arrives(tx, item("1"))
    tx.now -= timedelta(days=1)
    assert arrives(tx, item("1")) == Receipt()
    assert arrives(tx, item("2", "two", -60 * 24)).new == ("2",)
    assert [kept.id for kept in stored(tx)] == ["1", "2"]


def test_who_may_have_another_owner_adds_and_changes_nothing(tx: Transaction) -> None:
    """F36."""
    arrives(tx, item("1", "one"))
    tx.peers.set(JULIET.domainpart, doubted=tx.now)
    arrives(tx, item("1", "another", 1))
    assert arrives(tx, item("2", "two", 2)).new == ("2",)
    assert receive(tx, retracted=("1",)).ignored
    assert receive(tx, purged=True).ignored
    assert [(kept.id, "another" in kept.payload) for kept in stored(tx)] == [("1", False), ("2", False)]
    tx.peers.set(JULIET.domainpart, doubted=None)
    assert receive(tx, retracted=("1",)).new == ("1",)


WEAK: dict[str, Any] = {"proof": Proof.DIALBACK}


@pytest.fixture
def feed(tx: Transaction) -> None:
    """Juliet's, which everybody may read."""
    following.describe(tx, Described(service=JULIET, node=MICROBLOG, access_model=AccessModel.OPEN))


def private(tx: Transaction, item_id: str) -> None:
    arrives(tx, item(item_id, entry=Entry(id=item_id, title=item_id, audience=Audience.FOLLOWERS)))


def ids(tx: Transaction) -> list[str]:
    return [kept.id for kept in stored(tx)]


def retractions(tx: Transaction) -> list[str]:
    return [event.item_id for event in tx.emitted if isinstance(event, ItemRetracted)]


@pytest.mark.usefixtures("feed")
def test_what_is_not_public_is_not_retracted_by_dialback(tx: Transaction) -> None:
    private(tx, "f")
    arrives(tx, item("p"))
    assert receive(tx, retracted=("f", "p"), **WEAK).new == ("p",)
    assert ids(tx) == ["f"] and retractions(tx) == ["p"]
    arrives(tx, item("f", "another", 5), **WEAK)
    assert "another" not in stored(tx)[0].payload
    # Nor by a notification to somebody who does not follow.
    receive(tx, MERCUTIO, retracted=("f",), **WEAK)
    receive(tx, MERCUTIO, purged=True, **WEAK)
    receive(tx, MERCUTIO, deleted=True, **WEAK)
    assert ids(tx) == ["f"]
    assert receive(tx, retracted=("f",), dialback_suffices=True, **WEAK).new == ("f",)
    assert ids(tx) == []


MERCUTIO = JID.parse("mercutio@montague.example")


@pytest.mark.usefixtures("feed")
@pytest.mark.parametrize("what", ["purged", "deleted"])
@pytest.mark.parametrize("recipient", [ROMEO, MERCUTIO])
def test_of_a_feed_that_ends_by_dialback_what_is_not_public_stays(tx: Transaction, what: str, recipient: JID) -> None:
    arrives(tx, item("p"), item("q"))
    private(tx, "f")
    receive(tx, recipient, **{what: True}, **WEAK)
    assert ids(tx) == ["f"] and retractions(tx) == ["p", "q"]
    arrives(tx, item("p", "anew", 1))
    assert ids(tx) == ["f", "p"]
    receive(tx, recipient, **{what: True})
    assert stored(tx) == []


def test_what_came_by_dialback_goes_by_dialback(tx: Transaction) -> None:
    """Nobody has said yet that everybody may read it."""
    arrives(tx, item("1"), item("2"), item("3"), **WEAK)
    assert {kept.audience for kept in stored(tx)} == {Audience.FOLLOWERS}
    assert receive(tx, retracted=("1",), **WEAK).new == ("1",)
    receive(tx, purged=True, **WEAK)
    assert stored(tx) == []


@pytest.mark.usefixtures("feed")
def test_a_public_feed_ends_by_dialback(tx: Transaction) -> None:
    arrives(tx, item("p"))
    receive(tx, purged=True, **WEAK)
    assert stored(tx) == [] and isinstance(tx.emitted[-1], NodePurged)
    receive(tx, deleted=True, **WEAK)
    assert tx.nodes.find(JULIET, MICROBLOG) is None
