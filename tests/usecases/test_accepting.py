"""Delivery logs of other nodes: taken in once and in order, believed from their own domain, for those who may read."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import text

from microblog.model.entry import Entry
from microblog.model.errors import ResourceConstraint
from microblog.model.event import ItemPublished, ItemRetracted, NodeDeleted, NodePurged, SubscriptionChanged
from microblog.model.fanout import Told, set_digest
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import accepting, agreeing, copying, following, receiving, refilling, tending
from microblog.usecases.accepting import Accepted, Arrival, Delivery
from microblog.usecases.agreeing import Differences, Feed, ToldSet
from microblog.usecases.copying import Backfill, ReceivedItem
from microblog.usecases.following import Follow
from microblog.usecases.receiving import delivered, undelivered
from microblog.usecases.sight import Sight
from tests.usecases.pubsub import BENVOLIO, JULIET, NOON, NURSE, PARIS, ROMEO, a_contact, an_account, an_entry

CAPULET = "capulet.example"
FEED = Feed(JULIET, MICROBLOG)
MERCUTIO = JID.parse("mercutio@montague.example")


@pytest.fixture
def tx(tx: Transaction) -> Iterator[Transaction]:
    """Romeo and Benvolio follow Juliet; Mercutio is there as well."""
    verona(tx)
    yield tx


def verona(tx: Transaction) -> None:
    for account in (ROMEO, BENVOLIO):
        an_account(tx, account)
        follow(tx, account)
    an_account(tx, MERCUTIO)


def follow(tx: Transaction, account: JID, service: JID = JULIET, node: str = MICROBLOG) -> None:
    following.record_subscribe(
        tx, Follow(account=account, service=service, node=node, state=SubscriptionState.SUBSCRIBED)
    )


def item(item_id: str, text: str = "hello", minutes: int = 0, **more: Any) -> ReceivedItem:
    return ReceivedItem(id=item_id, **{**an_entry(text, minutes), **more})


def says(number: int, what: ReceivedItem | None = None, **more: Any) -> Arrival:
    """An entry of Juliet's."""
    entry: dict[str, Any] = {"number": number, "author": JULIET, "node": MICROBLOG, "published": what}
    return Arrival(**(entry | more))


def deliver(tx: Transaction, *entries: Arrival, **more: Any) -> Accepted:
    numbers = [entry.number for entry in entries]
    request: dict[str, Any] = {
        "domain": CAPULET,
        "proof": Proof.CERTIFICATE,
        "trusted": True,
        "epoch": "e1",
        "prev": numbers[0] - 1 if numbers else 0,
        "entries": entries,
    }
    return accepting.accept(tx, Delivery(**{**request, **more}))


def for_followers(number: int, what: ReceivedItem, *jids: JID, **more: Any) -> Arrival:
    return says(number, what, audience=Told.FOLLOWERS, version=3, digest=set_digest(jids), **more)


def told(tx: Transaction) -> list[tuple[str, tuple[JID, ...] | None]]:
    return [(event.item.id, event.recipients) for event in tx.emitted if isinstance(event, ItemPublished)]


def stored(tx: Transaction, node: str = MICROBLOG, service: JID = JULIET) -> list[Item]:
    found = tx.nodes.find(service, node)
    return tx.items.newest(found.key, 100) if found else []


def ids(tx: Transaction) -> list[str]:
    return [kept.id for kept in stored(tx)]


def reads(tx: Transaction, reader: JID, item_id: str) -> bool:
    node = tx.nodes.find(JULIET, MICROBLOG)
    assert node is not None
    found = tx.items.get(node.key, item_id)
    return found is not None and Sight(tx, reader).readable(node.key, found) is not None


def waiting(tx: Transaction, reader: JID) -> list[str]:
    """What they will be told at their next login."""
    return [
        event.item.id if isinstance(event, ItemPublished) else f"-{event.item_id}"
        for event in undelivered(tx, reader).events
        if isinstance(event, ItemPublished | ItemRetracted)
    ]


# in order, once


def test_a_post_is_stored_once_and_told_to_all_who_follow_by_one_event(tx: Transaction) -> None:
    assert deliver(tx, says(1, item("1"))) == Accepted(upto=1, level=True)
    assert told(tx) == [("1", None)]
    (kept,) = stored(tx)
    assert (kept.publisher, kept.proof, kept.audience) == (JULIET, Proof.CERTIFICATE, Audience.PUBLIC)
    assert waiting(tx, ROMEO) == waiting(tx, BENVOLIO) == ["1"]
    assert waiting(tx, MERCUTIO) == []
    peer = tx.peers.get(CAPULET)
    assert (peer.received, peer.received_epoch, peer.heard, peer.behind) == (1, "e1", tx.now, None)


def test_what_was_written_to_a_session_is_told_to_nobody_at_their_login(tx: Transaction) -> None:
    deliver(tx, says(1, item("1")), says(2, item("2")))
    first, second = stored(tx)
    node = tx.nodes.find(JULIET, MICROBLOG)
    assert node is not None
    delivered(tx, [(node.key, ROMEO, first.position), (node.key, BENVOLIO, second.position)])
    assert (waiting(tx, ROMEO), waiting(tx, BENVOLIO)) == (["2"], [])
    deliver(tx, says(3, item("3")))
    assert (waiting(tx, ROMEO), waiting(tx, BENVOLIO)) == (["2", "3"], ["3"])


def test_a_delivery_that_comes_again_changes_nothing(tx: Transaction) -> None:
    entries = says(1, item("1")), says(2, item("2"))
    deliver(tx, *entries)
    assert deliver(tx, *entries).upto == 2
    assert deliver(tx, *entries, says(3, item("3"))).upto == 3
    assert deliver(tx, entries[0]).upto == 3
    assert told(tx) == [("1", None), ("2", None), ("3", None)]


def test_a_gap_is_fetched_before_anything_is_stored(tx: Transaction) -> None:
    deliver(tx, says(1, item("1")))
    assert deliver(tx, says(4, item("4"))) == Accepted(upto=1, gap=1)
    assert ids(tx) == ["1"] and tx.peers.get(CAPULET).received == 1
    deliver(tx, says(2, item("2")), says(3, item("3")), last=4)
    assert deliver(tx, says(4, item("4"))).upto == 4
    assert ids(tx) == ["1", "2", "3", "4"]


def test_a_page_that_is_not_the_last_does_not_make_the_log_level(tx: Transaction) -> None:
    assert not deliver(tx, says(1, item("1")), last=5).level
    assert tx.peers.get(CAPULET).heard is None
    assert deliver(tx, prev=1, last=1).level


def test_the_first_delivery_begins_wherever_the_log_is(tx: Transaction) -> None:
    # We may have known what came before: the feeds are read.
    assert deliver(tx, says(4107, item("1"))) == Accepted(upto=4107, level=True, behind=True)
    assert refilling.has_lost(tx, CAPULET)


def test_another_epoch_is_followed_and_the_feeds_are_to_be_fetched(tx: Transaction) -> None:
    deliver(tx, says(7, item("1")))
    assert deliver(tx, says(3, item("2")), epoch="e2").behind
    peer = tx.peers.get(CAPULET)
    assert (peer.received, peer.received_epoch, peer.behind) == (3, "e2", tx.now)
    assert ids(tx) == ["1", "2"]


def test_void_entries_take_up_their_numbers(tx: Transaction) -> None:
    assert deliver(tx, Arrival(number=1), Arrival(number=2), says(3, item("1"))).upto == 3
    assert ids(tx) == ["1"]


STORY = (
    says(1, item("a", "one")),
    says(2, item("b", "two", 1)),
    says(3, item("a", "one, better", 2)),
    says(4, retracted="b"),
    says(5, item("c", "three", 3)),
    says(6, item("c", "three, same time", 3)),
    says(7, retracted="unknown"),
)
PARTS = (STORY[:2], STORY[1:4], STORY[3:6], STORY[5:])


def test_whatever_comes_in_whatever_order_the_end_is_the_same(database: Database) -> None:
    """What is missing is fetched; whatever else is delivered before, again, or in parts that overlap."""
    ends = set()
    for order in permutations(PARTS):
        with database.trial() as tx:
            verona(tx)
            deliver(tx, Arrival(number=0), prev=-1)
            for part in (*order, *order):
                while (accepted := deliver(tx, *part)).gap is not None:
                    deliver(tx, *STORY[accepted.gap : accepted.gap + 2])
            ends.add(tuple((kept.id, kept.payload) for kept in stored(tx)))
            assert [item_id for item_id, _ in told(tx)] == ["a", "b", "a", "c", "c"]
            assert sum(isinstance(event, ItemRetracted) for event in tx.emitted) == 1
            assert waiting(tx, ROMEO) == ["a", "-b", "c"]
    (end,) = ends
    assert [(item_id, "better" in payload or "same time" in payload) for item_id, payload in end] == [
        ("a", True),
        ("c", True),
    ]


# versions


def test_the_order_of_the_log_decides_and_no_clock(tx: Transaction) -> None:
    deliver(tx, says(1, item("1", "ahead", 2)), says(2, item("1", "behind", 1)))
    assert "behind" in stored(tx)[0].payload and len(told(tx)) == 2


def test_what_was_fetched_is_only_as_new_as_it_says(tx: Transaction) -> None:
    deliver(tx, says(1, item("1", "newer", 2)))
    fetched = Delivery(
        domain=CAPULET, proof=Proof.CERTIFICATE, trusted=True, epoch="", prev=0, entries=(says(0, item("1", "old", 1)),)
    )
    accepting.complete(tx, fetched)
    accepting.complete(tx, replace(fetched, entries=(says(0, item("1", "something else", 2)),)))
    assert "newer" in stored(tx)[0].payload


def test_what_comes_later_in_the_log_is_newer_though_it_says_the_same_time(tx: Transaction) -> None:
    deliver(tx, says(1, item("1", "a typpo")), says(2, item("1", "a typo")))
    assert "a typo" in stored(tx)[0].payload


def test_a_set_is_summed_up_once_for_a_delivery(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many entries name it: of very many followers that takes a while."""
    entries = [for_followers(number, item(str(number)), ROMEO, BENVOLIO) for number in range(1, 11)]
    summed = []
    monkeypatch.setattr(accepting, "set_digest", lambda jids: summed.append(1) or set_digest(jids))
    assert deliver(tx, *entries).upto == len(stored(tx)) == 10
    assert len(summed) == 1


def test_what_is_retracted_stays_so(tx: Transaction) -> None:
    deliver(tx, says(1, item("1")), says(2, retracted="1"), says(3, item("1", "again", 5)))
    assert stored(tx) == []
    (gone,) = [event for event in tx.emitted if isinstance(event, ItemRetracted)]
    assert gone.recipients is None
    assert waiting(tx, BENVOLIO) == ["-1"]


def test_a_page_that_was_on_its_way_does_not_bring_back_what_is_retracted(tx: Transaction) -> None:
    deliver(tx, says(1, retracted="1"))
    page = Backfill(service=JULIET, node=MICROBLOG, proof=Proof.CERTIFICATE, items=(item("1"),))
    assert copying.backfill(tx, page) == 0 and stored(tx) == []


def test_a_page_of_the_feed_that_came_first_takes_no_news_from_anybody(tx: Transaction) -> None:
    page = Backfill(service=JULIET, node=MICROBLOG, proof=Proof.CERTIFICATE, items=(item("1"), item("2", "old", -60)))
    copying.backfill(tx, page)
    deliver(tx, says(1, item("1")), says(2, item("2", "old", -60)))
    # Though it says that it was written before they followed: it is delivered now.
    assert [(item_id, set(readers or ())) for item_id, readers in told(tx)] == [
        ("1", {BENVOLIO, ROMEO}),
        ("2", {BENVOLIO, ROMEO}),
    ]
    assert waiting(tx, ROMEO) == ["1", "2"]


def test_news_are_news_whatever_the_clock_said_when_they_followed(tx: Transaction) -> None:
    tx.connection.execute(text("UPDATE subscriptions SET created = created + 3600000000"))  # it went back since
    copying.backfill(tx, Backfill(service=JULIET, node=MICROBLOG, proof=Proof.CERTIFICATE, items=(item("1"),)))
    deliver(tx, says(1, item("1")))
    assert [(item_id, set(readers or ())) for item_id, readers in told(tx)] == [("1", {BENVOLIO, ROMEO})]


def test_a_log_that_begins_anew_has_no_news_for_who_follows_since(tx: Transaction) -> None:
    """The origin was restored from a backup, and tells all that it still knows."""
    deliver(tx, says(1, item("1", minutes=-60)))
    accepting.adopt(tx, CAPULET, "e2", 0)
    follow(tx, MERCUTIO)
    deliver(tx, says(1, item("1", minutes=-60)), says(2, item("2")), epoch="e2", last=2)
    assert waiting(tx, MERCUTIO) == ["2"] and waiting(tx, ROMEO) == ["1", "2"]


def test_a_notification_that_came_before_is_not_told_again(tx: Transaction) -> None:
    """The other side has only just become a node: some were told one by one."""
    receiving.receive(
        tx,
        receiving.Received(
            service=JULIET,
            node=MICROBLOG,
            recipient=ROMEO,
            sender_domain=CAPULET,
            proof=Proof.CERTIFICATE,
            published=(item("1"),),
        ),
    )
    deliver(tx, says(1, item("1")))
    assert told(tx) == [("1", (ROMEO,)), ("1", (BENVOLIO,))]


def test_purge_and_deletion(tx: Transaction) -> None:
    deliver(tx, says(1, item("1")), says(2, purged=True))
    assert stored(tx) == []
    assert [event.recipients for event in tx.emitted if isinstance(event, NodePurged)] == [None]
    deliver(tx, says(3, item("1", "anew", 1)), says(4, deleted=True))
    assert tx.nodes.find(JULIET, MICROBLOG) is None
    (deleted,) = [event for event in tx.emitted if isinstance(event, NodeDeleted)]
    assert set(deleted.subscribers) == {ROMEO, BENVOLIO}
    assert deliver(tx, says(5, item("2"))).unwanted == (JULIET,)


def test_who_may_read_a_feed_is_to_be_asked_when_it_was_configured(tx: Transaction) -> None:
    assert deliver(tx, says(1, configured=True)).configured == (FEED,)
    assert deliver(tx, says(2, configured=True, author=NURSE)).configured == ()


def test_a_post_without_its_words_is_to_be_fetched(tx: Transaction) -> None:
    bare = ReceivedItem(id="1")
    (missing,) = deliver(tx, says(1, bare)).missing
    assert missing.published == bare and stored(tx) == []
    fetched = Delivery(
        domain=CAPULET,
        proof=Proof.DIALBACK,
        trusted=False,
        epoch="",
        prev=0,
        entries=(replace(missing, published=item("1")),),
    )
    accepting.complete(tx, fetched)
    accepting.complete(tx, fetched)
    assert told(tx) == [("1", None)] and stored(tx)[0].proof is Proof.DIALBACK


# whose word it is


@pytest.mark.parametrize(
    "entry",
    [
        says(1, item("1"), author=PARIS),
        says(1, item("1"), author=JID.parse("juliet@x.capulet.example")),
        says(1, item("1"), author=JID.parse("juliet@evil-capulet.example")),
        says(1, item("1"), author=ROMEO),
        says(1, item("1", publisher=PARIS)),
        says(1, item("1", publisher=ROMEO)),
        says(1, item("1", entry=Entry(title="I am Paris", author_uri="xmpp:paris@verona.example"))),
        says(1, item("1", entry=Entry(title="nobody", author_uri="xmpp:@@"))),
        says(1, retracted="1", author=ROMEO),
    ],
)
def test_forged_authors_are_refused_and_the_log_goes_on(tx: Transaction, entry: Arrival) -> None:
    follow(tx, MERCUTIO, PARIS)
    assert deliver(tx, entry, says(2, item("2"))) == Accepted(upto=2, level=True, refused={1: "forbidden"})
    assert ids(tx) == ["2"] and stored(tx, service=PARIS) == []


def test_nobody_retracts_what_another_domain_has_published(tx: Transaction) -> None:
    deliver(tx, says(1, item("1")))
    assert deliver(tx, says(1, retracted="1"), domain="verona.example").refused == {1: "forbidden"}
    assert ids(tx) == ["1"]


def test_who_repeats_another_names_them_as_the_author(tx: Transaction) -> None:
    repeat = Entry(title="hear", author_uri="xmpp:paris@verona.example", via="xmpp:paris@verona.example?;node=n;item=1")
    assert deliver(tx, says(1, item("1", entry=repeat))).refused == {}
    assert ids(tx) == ["1"]


@pytest.mark.parametrize("entry", [says(1, problem="no author"), says(1, item("")), says(1, item("x" * 1024))])
def test_malformed_entries_are_refused_and_the_log_goes_on(tx: Transaction, entry: Arrival) -> None:
    assert deliver(tx, entry, says(2, item("2"))).refused == {1: "bad-request"}
    assert ids(tx) == ["2"]


def test_what_no_reader_can_take_is_refused(tx: Transaction) -> None:
    long = item("1", payload="<x>" + "y" * tx.limits.payload_max_bytes + "</x>")
    future = item("2", "tomorrow", 3 * 24 * 60)
    assert deliver(tx, says(1, long), says(2, future)).refused == {1: "not-acceptable", 2: "not-acceptable"}


def test_what_is_not_public_needs_a_certificate(tx: Transaction) -> None:
    entries = (
        for_followers(1, item("1"), ROMEO, BENVOLIO),
        says(2, item("2"), audience=Told.DIRECT, to=(ROMEO,)),
        says(3, item("3")),
        says(4, retracted="3"),
    )
    done = deliver(tx, *entries, proof=Proof.DIALBACK, trusted=False)
    assert done.refused == {1: "not-authorized", 2: "not-authorized"}
    assert stored(tx) == [] and [item_id for item_id, _ in told(tx)] == ["3"]


def test_an_edit_over_a_weak_stream_does_not_replace_what_is_for_followers(tx: Transaction) -> None:
    deliver(tx, for_followers(1, item("1", "for you"), ROMEO, BENVOLIO))
    forged = says(2, item("1", "for all", 1), audience=Told.HOLDERS)
    assert deliver(tx, forged, proof=Proof.DIALBACK, trusted=False).refused == {2: "not-authorized"}
    assert "for you" in stored(tx)[0].payload


def test_nothing_that_is_not_public_is_removed_over_a_weak_stream(tx: Transaction) -> None:
    weak: dict[str, Any] = {"proof": Proof.DIALBACK, "trusted": False}
    deliver(tx, for_followers(1, item("f"), ROMEO, BENVOLIO))
    deliver(tx, says(2, item("d"), audience=Told.DIRECT, to=(ROMEO,)), says(3, item("p")), says(4, item("q")))
    gone = [says(n, retracted=what, audience=Told.HOLDERS) for n, what in enumerate("fdp", start=5)]
    assert deliver(tx, *gone, **weak).refused == {5: "not-authorized", 6: "not-authorized"}
    assert ids(tx) == ["f", "d", "q"]
    ends = (says(8, purged=True), says(9, item("q", "anew", 1)), says(10, deleted=True))
    assert deliver(tx, *ends, **weak).refused == {8: "not-authorized", 10: "not-authorized"}
    assert ids(tx) == ["f", "d"]
    retracted = [event for event in tx.emitted if isinstance(event, ItemRetracted)]
    assert [(event.item_id, event.recipients) for event in retracted] == [("p", None), ("q", None), ("q", None)]
    assert waiting(tx, ROMEO) == ["f", "d", "-p", "-q", "-q"]
    # Where dialback is allowed, or a certificate is shown, it is believed.
    deliver(tx, says(11, retracted="f"), proof=Proof.DIALBACK, trusted=True)
    deliver(tx, says(12, retracted="d"))
    assert ids(tx) == []


def test_where_all_is_public_a_weak_stream_removes_it(tx: Transaction) -> None:
    weak: dict[str, Any] = {"proof": Proof.DIALBACK, "trusted": False}
    deliver(tx, says(1, item("1")), says(2, purged=True), says(3, item("2")), **weak)
    assert ids(tx) == ["2"]
    assert not deliver(tx, says(4, deleted=True), **weak).refused
    assert tx.nodes.find(JULIET, MICROBLOG) is None


def test_a_domain_that_seems_to_be_somebody_else_changes_nothing(tx: Transaction) -> None:
    deliver(tx, says(1, item("1", "hers")))
    tx.peers.set(CAPULET, doubted=tx.now)
    entries = (
        says(2, retracted="1"),
        says(3, item("1", "another's", 1)),
        says(4, purged=True),
        says(5, deleted=True),
        for_followers(6, item("6"), MERCUTIO),
        says(7, item("7"), audience=Told.DIRECT, to=(ROMEO,)),
        says(8, item("8"), version=1, digest=set_digest([MERCUTIO])),
    )
    done = deliver(tx, *entries)
    assert done.refused == dict.fromkeys(range(2, 8), "not-authorized") and not done.demoted and not done.stale
    assert ids(tx) == ["1", "8"] and "hers" in stored(tx)[0].payload
    # If it is who it was after all, what was not believed is fetched.
    assert tx.peers.get(CAPULET).behind == tx.now and refilling.behind(tx, CAPULET) is None
    tx.peers.set(CAPULET, doubted=None)
    assert refilling.behind(tx, CAPULET) == tx.now


def test_a_full_disk_leaves_the_whole_delivery_to_come_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run(verona)
    with monkeypatch.context() as full:
        full.setattr(Transaction, "disk_low", True)
        with pytest.raises(ResourceConstraint):
            database.run(lambda tx: deliver(tx, Arrival(number=1), says(2, item("1"))))
    assert database.run(lambda tx: tx.peers.get(CAPULET).received) == 0
    assert database.run(lambda tx: deliver(tx, Arrival(number=1), says(2, item("1"))).upto) == 2


# for whom it is


def test_nobody_follows(tx: Transaction) -> None:
    assert deliver(tx, says(1, item("1"), author=NURSE), says(2, item("2"))).unwanted == (NURSE,)
    assert tx.nodes.find(NURSE, MICROBLOG) is None


def test_an_author_is_wanted_for_another_of_their_nodes(tx: Transaction) -> None:
    assert deliver(tx, says(1, item("1"), node=COMMENTS_PREFIX + "1")).unwanted == ()


def test_followers_of_a_set_that_both_know(tx: Transaction) -> None:
    assert deliver(tx, for_followers(1, item("1"), ROMEO, BENVOLIO)).refused == {}
    assert told(tx) == [("1", None)] and stored(tx)[0].audience is Audience.FOLLOWERS
    assert reads(tx, ROMEO, "1") and not reads(tx, MERCUTIO, "1")


def test_a_set_that_is_not_ours_is_asked_for_before_anything_is_stored(tx: Transaction) -> None:
    entry = for_followers(1, item("1"), ROMEO)
    assert deliver(tx, entry) == Accepted(upto=0, ask=(FEED,))
    assert stored(tx) == [] and tx.peers.get(CAPULET).received_epoch == ""
    done = deliver(tx, entry, sets={FEED: frozenset({ROMEO, MERCUTIO})})
    assert (done.demoted, done.extra, done.stale) == (True, ((FEED, MERCUTIO),), {FEED: 0})
    assert reads(tx, ROMEO, "1") and not reads(tx, BENVOLIO, "1") and not reads(tx, MERCUTIO, "1")
    assert (waiting(tx, ROMEO), waiting(tx, BENVOLIO)) == (["1"], [])
    # Who is on line is told no more before the post is told.
    kinds = [type(event) for event in tx.emitted if isinstance(event, ItemPublished | SubscriptionChanged)]
    assert kinds == [SubscriptionChanged, ItemPublished]


def test_who_is_not_in_the_set_is_looked_after_at_once(tx: Transaction) -> None:
    deliver(tx, for_followers(1, item("1"), ROMEO), sets={FEED: frozenset({ROMEO})})
    assert [due.account for due in tending.due(tx, 10)] == [BENVOLIO]
    known = following.find(tx, BENVOLIO, JULIET, MICROBLOG)
    assert known is not None and (known.state, known.problem) == (SubscriptionState.PENDING, "not-subscribed")


def test_a_set_that_is_not_told_lets_nobody_read(tx: Transaction) -> None:
    done = deliver(tx, for_followers(1, item("1"), ROMEO), says(2, item("2")), sets={FEED: None})
    assert done.refused == {1: "forbidden"}
    assert ids(tx) == ["2"]


def test_a_false_digest_gives_nobody_more_than_the_set(tx: Transaction) -> None:
    lie = replace(for_followers(1, item("1"), ROMEO, BENVOLIO), digest=set_digest([MERCUTIO]))
    assert deliver(tx, lie).ask == (FEED,)
    assert deliver(tx, lie, sets={FEED: frozenset({MERCUTIO})}).demoted
    assert not any(reads(tx, reader, "1") for reader in (ROMEO, BENVOLIO, MERCUTIO))


def test_a_stale_set_of_a_public_feed_is_said_and_repaired_later(tx: Transaction) -> None:
    deliver(tx, says(1, item("1"), version=3, digest=set_digest([ROMEO, BENVOLIO])))
    done = deliver(tx, says(2, item("2"), version=4, digest=set_digest([ROMEO, MERCUTIO])))
    assert done.stale == {FEED: 3} and told(tx) == [("1", None), ("2", None)]
    found = agreeing.compare(tx, ToldSet(feed=FEED, listed=frozenset({ROMEO, MERCUTIO}), version=4))
    assert found == Differences(demoted=True, extra=(MERCUTIO,))
    assert agreeing.still_extra(tx, FEED, MERCUTIO)
    follow(tx, MERCUTIO)
    assert not agreeing.still_extra(tx, FEED, MERCUTIO)
    assert deliver(tx, says(3, item("3"), version=4, digest=set_digest([ROMEO, MERCUTIO]))).stale == {}


def test_a_set_of_nobody_here(tx: Transaction) -> None:
    """A backup was restored here: the other side knows followers of which nothing is left."""
    done = deliver(tx, for_followers(1, item("1"), MERCUTIO, author=NURSE))
    assert (done.unwanted, done.stale) == ((NURSE,), {Feed(NURSE, MICROBLOG): 0})


def test_who_began_to_follow_later_reads_what_is_for_followers_from_then_on_only_if_they_follow(
    tx: Transaction,
) -> None:
    deliver(tx, for_followers(1, item("1"), ROMEO, BENVOLIO))
    following.record_unsubscribe(tx, following.Unfollow(account=BENVOLIO, service=JULIET, node=MICROBLOG))
    assert not reads(tx, BENVOLIO, "1") and reads(tx, ROMEO, "1")


def test_direct_posts_are_for_those_they_name(tx: Transaction) -> None:
    deliver(tx, says(1, item("1"), audience=Told.DIRECT, to=(ROMEO, MERCUTIO)), says(2, item("2")))
    assert told(tx) == [("1", (ROMEO, MERCUTIO)), ("2", None)]
    assert stored(tx)[0].audience is Audience.DIRECT
    assert [reads(tx, reader, "1") for reader in (ROMEO, MERCUTIO, BENVOLIO)] == [True, True, False]
    # Benvolio is told at his login of what came, but of nothing that was between and for others.
    deliver(tx, says(3, item("3"), audience=Told.DIRECT, to=(ROMEO,)), says(4, item("4")))
    assert waiting(tx, ROMEO) == ["1", "2", "3", "4"]
    assert waiting(tx, BENVOLIO) == ["2", "4"]


def test_a_direct_post_is_edited_and_taken_back_for_its_readers(tx: Transaction) -> None:
    deliver(tx, says(1, item("1", "once"), audience=Told.DIRECT, to=(MERCUTIO,)))
    deliver(tx, says(2, item("1", "better", 1), audience=Told.DIRECT, to=(MERCUTIO,)))
    assert reads(tx, MERCUTIO, "1") and not reads(tx, ROMEO, "1")
    deliver(tx, says(3, retracted="1", audience=Told.HOLDERS))
    assert told(tx) == [("1", (MERCUTIO,))] * 2
    assert [event.recipients for event in tx.emitted if isinstance(event, ItemRetracted)] == [(MERCUTIO,)]


def test_a_direct_post_is_never_for_more(tx: Transaction) -> None:
    deliver(tx, says(1, item("1"), audience=Told.DIRECT, to=(ROMEO,)), says(2, item("1", "for all", 1)))
    assert not reads(tx, BENVOLIO, "1")


def test_a_direct_post_for_nobody_here(tx: Transaction) -> None:
    strangers = (JID.parse("rosaline@montague.example"), PARIS)
    assert deliver(tx, says(1, item("1"), audience=Told.DIRECT, to=strangers)).refused == {}
    assert stored(tx) == [] and told(tx) == []


def test_strangers_have_a_budget(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of domains that nobody follows so much is taken in; a follower is told whatever it is."""
    monkeypatch.setattr(type(tx.policies), "take_stranger", lambda self, domain, count=1: False)
    mention = item("1", entry=Entry(title="@mercutio", mentions=(MERCUTIO,)))
    done = deliver(
        tx,
        says(1, mention, author=NURSE, to=(MERCUTIO,)),
        says(2, item("2"), author=NURSE, audience=Told.DIRECT, to=(MERCUTIO,)),
        says(3, item("3"), audience=Told.DIRECT, to=(ROMEO, MERCUTIO)),
    )
    assert done.refused == {1: "policy-violation", 2: "policy-violation"}
    assert told(tx) == [("3", (ROMEO,))]


def test_a_mention_by_somebody_whom_nobody_follows(tx: Transaction) -> None:
    mention = item("1", entry=Entry(title="@mercutio", updated=NOON, mentions=(MERCUTIO,)))
    assert deliver(tx, says(1, mention, author=NURSE, to=(MERCUTIO,))).unwanted == ()
    (kept,) = stored(tx, service=NURSE)
    assert kept.audience is Audience.PUBLIC
    # Once it is here, so are its edits.
    deliver(tx, says(2, replace(mention, payload="<x/>"), author=NURSE, audience=Told.HOLDERS))
    assert stored(tx, service=NURSE)[0].payload == "<x/>"
    # Who is named only on the outside of the letter is not named.
    assert deliver(tx, says(3, item("3"), author=NURSE, to=(MERCUTIO,))).upto == 3
    deliver(tx, says(4, retracted="1", author=NURSE, audience=Told.HOLDERS))
    assert stored(tx, service=NURSE) == []


def test_contacts_are_told_besides_those_who_follow(tx: Transaction) -> None:
    a_contact(tx, MERCUTIO, JULIET)
    deliver(tx, says(1, item("1"), to=(MERCUTIO, ROMEO)), for_followers(2, item("2"), ROMEO, BENVOLIO, to=(MERCUTIO,)))
    published = [event for event in tx.emitted if isinstance(event, ItemPublished)]
    assert [(event.recipients, event.besides) for event in published] == [(None, (MERCUTIO,))] * 2
    assert waiting(tx, MERCUTIO) == ["1", "2"]
    deliver(tx, says(3, item("3")))
    assert waiting(tx, MERCUTIO) == ["1", "2"]


def test_other_nodes_of_contacts(tx: Transaction) -> None:
    a_contact(tx, MERCUTIO, JULIET)
    node = "urn:xmpp:avatar:metadata"
    deliver(tx, says(1, ReceivedItem(id="1", payload="<metadata/>"), node=node, to=(MERCUTIO, ROMEO)))
    assert [kept.id for kept in stored(tx, node)] == ["1"]
    assert waiting(tx, MERCUTIO) == ["1"] and waiting(tx, ROMEO) == []


def test_edits_for_holders_of_what_we_do_not_hold(tx: Transaction) -> None:
    deliver(tx, says(1, item("1"), audience=Told.HOLDERS))
    assert stored(tx) == [] and told(tx) == []


def test_what_the_author_meant_for_fewer_than_the_log_says(tx: Transaction) -> None:
    marked = item("1", entry=Entry(title="hush", audience=Audience.FOLLOWERS))
    deliver(tx, says(1, marked))
    assert stored(tx)[0].audience is Audience.FOLLOWERS
