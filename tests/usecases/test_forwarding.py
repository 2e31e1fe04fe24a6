"""The origin's side of the delivery log: what is numbered, what an entry says when it is sent, what is acknowledged."""

import re
from datetime import timedelta

import pytest

from microblog.model.entry import Entry as EntryOf
from microblog.model.errors import AnotherEpoch, BeyondHorizon, Forbidden, ItemNotFound
from microblog.model.event import ItemPublished, ItemRetracted, NodePurged
from microblog.model.fanout import Told, set_digest
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.subscription import Affiliation
from microblog.store.transaction import Transaction
from microblog.usecases import (
    collapsing,
    delivering,
    forwarding,
    owning,
    publishing,
    refetching,
    reporting,
    retracting,
    subscribing,
)
from microblog.usecases.entries import Entries, Entry
from microblog.usecases.forwarding import Next, Taken, Turn
from microblog.usecases.refetching import Asked, Followers
from microblog.usecases.reporting import State
from tests.usecases.pubsub import (
    JULIET,
    MOOD,
    NOON,
    NURSE,
    ROMEO,
    a_contact,
    affiliate,
    an_account,
    configure,
    post,
    put,
    retract,
    subscribe,
)

CAPULET = "capulet.example"
FOLLOWERS = Audience.FOLLOWERS


def nobody(payload: str) -> tuple[JID, ...]:
    return ()


def turn(trusted: bool = True, **more: object) -> Turn:
    return Turn(domain=CAPULET, trusted=trusted, named=nobody, **more)  # type: ignore[arg-type]  # fields of several types


def unfollow(tx: Transaction, jid: JID) -> None:
    subscribing.unsubscribe(tx, subscribing.Unsubscribe(service=ROMEO, node=MICROBLOG, actor=jid, jid=jid))


def sends(tx: Transaction, trusted: bool = True, **more: object) -> Entries:
    """What is sent now; nothing is answered."""
    assert forwarding.next_entries(tx, turn(trusted, **more)).pending
    sent = forwarding.pending(tx, turn(trusted, **more))
    forwarding.write_down(tx, CAPULET, sent.changed)
    return sent


def delivers(tx: Transaction, trusted: bool = True, **taken: object) -> Entries:
    """All of what is sent now is stored there."""
    sent = sends(tx, trusted)
    assert forwarding.acknowledged(tx, CAPULET, sent, Taken(upto=sent.entries[-1].number, **taken))  # type: ignore[arg-type]  # fields of several types
    return sent


def said(entry: Entry) -> tuple[int, str, str]:
    """Number, for whom, and what: an item's id and title, or what is gone."""
    match entry.event:
        case ItemPublished(item=item):
            return entry.number, str(entry.told), f"{item.id} {item.payload.split('title>')[1][:-2]}"
        case ItemRetracted(item_id=item_id):
            return entry.number, str(entry.told), f"{item_id} is gone"
        case NodePurged():
            return entry.number, str(entry.told), "all is gone"
    return entry.number, "", "void"


def words(sent: Entries) -> list[tuple[int, str, str]]:
    return [said(entry) for entry in sent.entries]


def fetched(tx: Transaction, after: int, trusted: bool = True, epoch: str = "", max_: int = 50) -> Entries:
    asked = Asked(
        domain=CAPULET,
        epoch=epoch or forwarding.epoch(tx, CAPULET),
        after=after,
        max=max_,
        trusted=trusted,
        named=nobody,
    )
    return refetching.fetch(tx, asked)


def states(tx: Transaction, item_id: str = "1") -> dict[str, tuple[State, str]]:
    wanted = reporting.Where(actor=ROMEO, service=ROMEO, node=MICROBLOG, item_id=item_id)
    return {at.domain: (at.state, at.why) for at in reporting.where(tx, wanted).domains}


def nothing(tx: Transaction, trusted: bool = True) -> Next:
    found = forwarding.next_entries(tx, turn(trusted))
    assert not found.pending and found.batch is None
    return found


@pytest.fixture
def feed(tx: Transaction) -> Transaction:
    """Juliet and her nurse follow Romeo."""
    an_account(tx)
    subscribe(tx, JULIET)
    subscribe(tx, NURSE)
    return tx


# numbers


def test_a_post_is_one_entry_for_all_who_follow(feed: Transaction) -> None:
    post(feed, "1", "first")
    post(feed, "2", "second")
    assert words(delivers(feed)) == [(1, "public", "1 first"), (2, "public", "2 second")]
    nothing(feed)
    post(feed, "3", "third")
    sent = delivers(feed)
    assert (sent.prev, words(sent)) == (2, [(3, "public", "3 third")])
    peer = feed.peers.get(CAPULET)
    assert (peer.number, peer.acknowledged) == (3, 3)


def test_what_was_not_answered_keeps_its_number(feed: Transaction) -> None:
    post(feed, "1", "first")
    first = sends(feed)
    post(feed, "2", "second")
    assert words(sends(feed)) == words(first)
    forwarding.acknowledged(feed, CAPULET, first, Taken(upto=1))
    assert words(sends(feed)) == [(2, "public", "2 second")]


def test_no_more_is_numbered_than_goes_into_one_delivery(feed: Transaction) -> None:
    for number in range(5):
        post(feed, str(number), "x", minutes=number)
    assert [entry.number for entry in sends(feed, max_entries=2).entries] == [1, 2]
    assert feed.peers.get(CAPULET).number == 2
    assert [entry.number for entry in delivers(feed).entries] == [1, 2]
    assert len(sends(feed, max_bytes=1).entries) == 1


def test_part_of_a_delivery_may_be_stored(feed: Transaction) -> None:
    for number in range(3):
        post(feed, str(number), "x", minutes=number)
    sent = sends(feed)
    forwarding.acknowledged(feed, CAPULET, sent, Taken(upto=2))
    assert [entry.number for entry in sends(feed).entries] == [3]
    assert states(feed, "1") == {CAPULET: (State.STORED, "")}
    assert states(feed, "2") == {CAPULET: (State.PENDING, "")}


def test_thousand_followers_are_not_read(tx: Transaction) -> None:
    an_account(tx)
    for number in range(30):
        subscribe(tx, JID.parse(f"guest{number}@{CAPULET}"))
    post(tx, "1")
    delivers(tx)
    post(tx, "2")
    read: list[int] = []
    page = tx.subscriptions.readers_page
    tx.subscriptions.readers_page = lambda *args, **more: read.append(more["limit"]) or page(*args, **more)  # type: ignore[method-assign, func-returns-value]
    delivers(tx)
    assert set(read) == {1}


# what is told


def test_an_entry_tells_the_item_as_it_is_now(feed: Transaction) -> None:
    post(feed, "1", "before")
    sends(feed)
    post(feed, "1", "after", minutes=1)
    sent = sends(feed)
    assert words(sent) == [(1, "", "void")], "the edit is told by its own entry"
    forwarding.acknowledged(feed, CAPULET, sent, Taken(upto=1))
    assert words(delivers(feed)) == [(2, "public", "1 after")]


def test_much_that_need_not_be_told_any_more_holds_up_nothing(feed: Transaction) -> None:
    for number in range(forwarding.PAGES_MAX + 5):
        post(feed, "1", f"draft {number}", minutes=number - 60)
    post(feed, "2", "second")
    post(feed, "1", "done", minutes=1)
    assert forwarding.next_entries(feed, turn(max_entries=1)).pending
    assert words(sends(feed, max_entries=1)) == [(1, "public", "2 second")]


def test_what_is_given_back_goes_before_what_marks_stand_for(feed: Transaction) -> None:
    post(feed, "1", "first")
    post(feed, "2", "second", minutes=1)
    sends(feed)
    post(feed, "3", "third", minutes=2)
    collapsing.collapse(feed, CAPULET)
    forwarding.back_to_outbox(feed, CAPULET)
    assert [title for _, _, title in words(sends(feed))] == ["1 first", "2 second", "3 third"]


def test_an_edit_that_waits_is_one_entry(feed: Transaction) -> None:
    post(feed, "1", "before")
    post(feed, "1", "after", minutes=1)
    assert words(delivers(feed)) == [(1, "public", "1 after")]


def test_a_retraction_goes_to_whoever_holds_the_item(feed: Transaction) -> None:
    post(feed, "1")
    delivers(feed)
    for jid in (JULIET, NURSE):
        unfollow(feed, jid)
    retract(feed, "1")
    sent = sends(feed)
    assert words(sent) == [(2, "holders", "1 is gone")]
    forwarding.acknowledged(feed, CAPULET, sent, Taken(upto=2))
    assert feed.holders.of(sent.entries[0].event.node.key, "1") == []  # type: ignore[union-attr]  # it is not void
    nothing(feed)


def test_what_is_retracted_before_it_went_is_not_told(feed: Transaction) -> None:
    post(feed, "1", "never")
    sends(feed)
    retract(feed, "1")
    assert words(sends(feed)) == [(1, "", "void")]


def test_what_is_retracted_while_it_is_on_its_way_is_taken_back(feed: Transaction) -> None:
    post(feed, "1", "once")
    sent = sends(feed)
    for jid in (JULIET, NURSE):
        unfollow(feed, jid)
    retract(feed, "1")
    forwarding.acknowledged(feed, CAPULET, sent, Taken(upto=1))
    assert words(delivers(feed)) == [(2, "holders", "1 is gone")]


def test_a_purge_goes_to_holders(feed: Transaction) -> None:
    configure(feed, notify_retract="true")
    post(feed, "1")
    delivers(feed)
    owning.purge(feed, owning.Purge(service=ROMEO, node=MICROBLOG, actor=ROMEO.with_resource("phone")))
    assert words(delivers(feed)) == [(2, "holders", "all is gone")]


def test_who_is_not_followed_any_more_is_not_told_of(feed: Transaction) -> None:
    post(feed, "1")
    for jid in (JULIET, NURSE):
        unfollow(feed, jid)
    nothing(feed)
    assert feed.peers.get(CAPULET).number == 0
    assert feed.outbox.count(CAPULET) == 0


def test_contacts_are_named(feed: Transaction) -> None:
    unfollow(feed, NURSE)
    a_contact(feed, ROMEO, NURSE, "from")
    feed.interests.set(ROMEO, NURSE.with_resource("garden"), (MICROBLOG,))
    feed.interests.set(ROMEO, NURSE.with_resource("kitchen"), (MICROBLOG,))
    post(feed, "1")
    (entry,) = delivers(feed).entries
    assert (entry.told, entry.to) == (Told.PUBLIC, (NURSE,))


# who is named


def mention(to: JID, node: Node, item: Item) -> str:
    return f"<message to='{to}'/>"


def names(tx: Transaction, item_id: str, *jids: JID, minutes: int = 0) -> Item:
    """Romeo publishes what names people."""
    updated = NOON + timedelta(minutes=minutes)
    payload = "".join(f"<link href='xmpp:{jid}'/>" for jid in jids)
    entry = EntryOf(title="hello", updated=updated, mentions=jids)
    request = publishing.Publish(
        service=ROMEO,
        node=MICROBLOG,
        actor=ROMEO.with_resource("phone"),
        item_id=item_id,
        payload=f"<entry><title>hello {minutes}</title>{payload}</entry>",
        entry=entry,
        mention=mention,
    )
    return publishing.publish(tx, request).item


def named(payload: str) -> tuple[JID, ...]:
    return tuple(map(JID.parse, re.findall("href='xmpp:([^']+)'", payload)))


NAMING = Turn(domain=CAPULET, trusted=True, named=named)


@pytest.fixture
def neighbour(tx: Transaction) -> Transaction:
    """Capulet is known for a node that keeps a log; nobody there follows."""
    an_account(tx)
    tx.peers.set(CAPULET, fanout=True)
    return tx


def goes(tx: Transaction) -> list[tuple[Told, tuple[JID, ...]]]:
    """For whom what is sent now is, and whom it names; it is stored."""
    assert forwarding.next_entries(tx, NAMING).pending
    sent = forwarding.pending(tx, NAMING)
    forwarding.acknowledged(tx, CAPULET, sent, Taken(upto=sent.last))
    return [(entry.told, entry.to) for entry in sent.entries if entry.event is not None]


def goes_as_to_any_server(tx: Transaction) -> list[tuple[tuple[JID, ...], tuple[JID, ...], str | None]]:
    batch = delivering.next_batch(tx, CAPULET, True, named=named)
    delivering.done(tx, batch.deliveries)
    return [(one.recipients, one.named, one.stanza) for one in batch.deliveries]


def test_who_is_mentioned_is_named_once(neighbour: Transaction) -> None:
    names(neighbour, "1", NURSE, JULIET, ROMEO)
    assert goes(neighbour) == [(Told.PUBLIC, (NURSE, JULIET))]
    names(neighbour, "1", NURSE, minutes=1)
    assert goes(neighbour) == [(Told.HOLDERS, ())]
    subscribe(neighbour, JULIET)
    names(neighbour, "1", NURSE, minutes=2)
    assert goes(neighbour) == [(Told.PUBLIC, ())]
    names(neighbour, "2", NURSE, JULIET, minutes=3)
    assert goes(neighbour) == [(Told.PUBLIC, (NURSE,))], "who follows need not be named"
    assert states(neighbour) == states(neighbour, "2") == {CAPULET: (State.STORED, "")}


def test_who_lost_it_is_told_again_whom_it_named(neighbour: Transaction) -> None:
    names(neighbour, "1", NURSE)
    goes(neighbour)
    asked = Asked(
        domain=CAPULET, epoch=forwarding.epoch(neighbour, CAPULET), after=0, max=50, trusted=True, named=named
    )
    assert [entry.to for entry in refetching.fetch(neighbour, asked).entries] == [(NURSE,)]


def test_a_mention_is_a_message_where_no_log_is_kept(neighbour: Transaction) -> None:
    neighbour.peers.set(CAPULET, fanout=False)
    names(neighbour, "1", NURSE)
    assert goes_as_to_any_server(neighbour) == [((), (), f"<message to='{NURSE}'/>")]
    assert goes_as_to_any_server(neighbour) == []


def test_a_mention_is_a_message_where_no_log_is_kept_any_more(neighbour: Transaction) -> None:
    names(neighbour, "1", NURSE)
    forwarding.next_entries(neighbour, NAMING)
    forwarding.back_to_outbox(neighbour, CAPULET)
    assert goes_as_to_any_server(neighbour) == [((), (NURSE,), None)]
    assert states(neighbour) == {CAPULET: (State.STORED, "")}


def test_an_edit_goes_to_whoever_was_told_by_message(neighbour: Transaction) -> None:
    neighbour.peers.set(CAPULET, fanout=False)
    names(neighbour, "1", NURSE)
    goes_as_to_any_server(neighbour)
    names(neighbour, "1", NURSE, minutes=1)
    assert goes_as_to_any_server(neighbour) == [((NURSE,), (), None)]


def a_secret(tx: Transaction, text: str = "only you", minutes: int = 0) -> Item:
    return post(tx, "1", text, minutes=minutes, audience=Audience.DIRECT, readers=(NURSE, JULIET), mention=mention)


def takes_back(tx: Transaction) -> None:
    retracting.retract(
        tx,
        retracting.Retract(
            service=ROMEO,
            node=MICROBLOG,
            actor=ROMEO.with_resource("phone"),
            item_id="1",
            notify=True,
            unsay=lambda by, to, position: f"<unsaid to='{to}'/>",
        ),
    )


def test_what_is_direct_names_its_readers(neighbour: Transaction) -> None:
    a_secret(neighbour)
    assert nothing(neighbour, trusted=False).held
    (entry,) = sends(neighbour).entries
    assert (entry.told, entry.to, entry.private) == (Told.DIRECT, (JULIET, NURSE), True)
    assert goes(neighbour) == [(Told.DIRECT, (JULIET, NURSE))]
    a_secret(neighbour, "only you two", 1)
    assert goes(neighbour) == [(Told.DIRECT, (JULIET, NURSE))]
    takes_back(neighbour)
    assert goes(neighbour) == [(Told.HOLDERS, ())]
    assert neighbour.outbox.count(CAPULET) == 0


def test_what_was_direct_and_never_went_is_not_taken_back(neighbour: Transaction) -> None:
    a_secret(neighbour)
    takes_back(neighbour)
    nothing(neighbour)
    assert neighbour.outbox.count(CAPULET) == 0


def test_what_was_direct_and_may_have_come_is_taken_back(neighbour: Transaction) -> None:
    a_secret(neighbour)
    sent = sends(neighbour)
    takes_back(neighbour)
    forwarding.acknowledged(neighbour, CAPULET, sent, Taken(upto=1))
    assert goes(neighbour) == [(Told.HOLDERS, ())]


def test_what_was_direct_and_came_unconfirmed_is_taken_back(neighbour: Transaction) -> None:
    a_secret(neighbour)
    sends(neighbour)
    takes_back(neighbour)
    assert words(delivers(neighbour)) == [(1, "", "void")]
    assert words(sends(neighbour)) == [(2, "holders", "1 is gone")]


def test_what_was_direct_and_is_edited_on_its_way_goes_again(neighbour: Transaction) -> None:
    a_secret(neighbour)
    sent = sends(neighbour)
    a_secret(neighbour, "only you two", 1)
    forwarding.acknowledged(neighbour, CAPULET, sent, Taken(upto=1))
    assert words(sends(neighbour)) == [(2, "direct", "1 only you two")]


def test_what_was_a_message_is_taken_back_by_one(neighbour: Transaction) -> None:
    neighbour.peers.set(CAPULET, fanout=False)
    a_secret(neighbour)
    goes_as_to_any_server(neighbour)
    neighbour.peers.set(CAPULET, fanout=True)
    takes_back(neighbour)
    found = forwarding.next_entries(neighbour, NAMING)
    assert found.batch is not None
    assert {one.stanza for one in found.batch.deliveries} == {f"<unsaid to='{jid}'/>" for jid in (JULIET, NURSE)}


# for followers


def test_what_is_for_followers_names_their_set(feed: Transaction) -> None:
    post(feed, "1", audience=FOLLOWERS)
    (entry,) = delivers(feed).entries
    assert (entry.told, entry.version, entry.digest) == (Told.FOLLOWERS, 1, set_digest([JULIET, NURSE]))
    post(feed, "2", audience=FOLLOWERS)
    assert delivers(feed).entries[0].version == 1
    unfollow(feed, NURSE)
    post(feed, "3", audience=FOLLOWERS)
    (entry,) = delivers(feed).entries
    assert (entry.version, entry.digest) == (2, set_digest([JULIET]))


def test_only_those_who_may_read_are_in_the_set(tx: Transaction) -> None:
    an_account(tx)
    a_contact(tx, ROMEO, JULIET, "from")
    a_contact(tx, ROMEO, NURSE, "from")
    configure(tx, access_model="presence")
    subscribe(tx, JULIET)
    subscribe(tx, NURSE)
    a_contact(tx, ROMEO, NURSE, "none")
    post(tx, "1")
    (entry,) = delivers(tx).entries
    assert (entry.told, entry.digest) == (Told.FOLLOWERS, set_digest([JULIET]))
    a_contact(tx, ROMEO, JULIET, "none")
    post(tx, "2")
    nothing(tx)


def test_the_set_of_a_public_feed_is_told_once_a_day(feed: Transaction) -> None:
    post(feed, "1")
    post(feed, "2")
    assert [bool(entry.digest) for entry in sends(feed).entries] == [True, False]
    assert [bool(entry.digest) for entry in delivers(feed).entries] == [True, False], "it has not been told yet"
    post(feed, "3")
    assert [bool(entry.digest) for entry in delivers(feed).entries] == [False]
    feed.now += timedelta(hours=25)
    post(feed, "4")
    assert [bool(entry.digest) for entry in delivers(feed).entries] == [True]


def test_what_nobody_wants_there_is_not_held_there(feed: Transaction) -> None:
    post(feed, "1")
    delivers(feed, unwanted=(ROMEO,))
    assert states(feed) == {}
    post(feed, "2")
    (entry,) = delivers(feed).entries
    assert entry.digest == set_digest([JULIET, NURSE]), "so that they can say who does not follow any more"


def test_what_is_not_public_waits_for_a_certificate(feed: Transaction) -> None:
    post(feed, "1", audience=FOLLOWERS)
    post(feed, "2", "for all")
    assert words(delivers(feed, trusted=False)) == [(1, "public", "2 for all")]
    assert nothing(feed, trusted=False).held == 1
    assert words(delivers(feed)) == [(2, "followers", "1 hello")]


def test_a_doubtful_domain_is_told_what_is_public(feed: Transaction) -> None:
    feed.peers.set(CAPULET, doubted=feed.now)
    post(feed, "1", audience=FOLLOWERS)
    post(feed, "2", "for all")
    assert words(delivers(feed)) == [(1, "public", "2 for all")]
    nothing(feed)


def test_a_certificate_that_is_lost_takes_its_entries_back(feed: Transaction) -> None:
    post(feed, "1", "for all")
    post(feed, "2", "for few", audience=FOLLOWERS)
    sends(feed)
    post(feed, "3", "for all too")
    sent = delivers(feed, trusted=False)
    assert (sent.prev, words(sent)) == (2, [(3, "public", "1 for all"), (4, "public", "3 for all too")])
    assert words(delivers(feed)) == [(5, "followers", "2 for few")]
    found = fetched(feed, 0, trusted=False)
    assert [text for *_, text in words(found)] == ["void", "void", "1 for all", "3 for all too", "void"]


def test_an_access_model_that_is_narrowed_holds_at_once(feed: Transaction) -> None:
    post(feed, "1", "for all")
    sends(feed, trusted=False)
    a_contact(feed, ROMEO, JULIET, "from")
    configure(feed, access_model="presence")
    assert nothing(feed, trusted=False).held == 1
    sent = sends(feed)
    assert words(sent) == [(2, "followers", "1 for all")]
    assert sent.entries[0].digest == set_digest([JULIET])


def test_outcasts_are_no_readers(feed: Transaction) -> None:
    affiliate(feed, JULIET, Affiliation.OUTCAST)
    affiliate(feed, NURSE, Affiliation.OUTCAST)
    post(feed, "1")
    nothing(feed)


# beside the log


def test_what_is_not_of_a_feed_goes_as_to_any_server(feed: Transaction) -> None:
    put(feed, MOOD, "current")
    configure(feed, MOOD, access_model="open")
    subscribe(feed, JULIET, MOOD)
    post(feed, "1")
    put(feed, MOOD, "current", "<y/>")
    feed.outbox.add_stanza(CAPULET, "<message/>")
    post(feed, "2")
    assert words(delivers(feed)) == [(1, "public", "1 hello")]
    found = forwarding.next_entries(feed, turn())
    assert found.batch is not None and not found.pending
    assert [(one.recipients, one.stanza) for one in found.batch.deliveries] == [
        ((JULIET,), None),
        ((), "<message/>"),
    ]
    delivering.done(feed, found.batch.deliveries)
    assert words(delivers(feed)) == [(2, "public", "2 hello")]


def test_what_waits_beside_the_log_does_not_hold_it_up(feed: Transaction) -> None:
    a_contact(feed, ROMEO, JULIET, "from")
    put(feed, MOOD, "current")
    configure(feed, MOOD, access_model="presence")
    subscribe(feed, JULIET, MOOD)
    put(feed, MOOD, "current", "<y/>")
    post(feed, "1")
    assert words(delivers(feed, trusted=False)) == [(1, "public", "1 hello")]
    found = forwarding.next_entries(feed, turn())
    assert found.batch is not None and len(found.batch.deliveries) == 1


def test_a_domain_that_keeps_no_log_any_more_is_told_as_before_in_order(feed: Transaction) -> None:
    post(feed, "1")
    post(feed, "2")
    forwarding.next_entries(feed, turn(max_entries=1))
    post(feed, "3")
    feed.outbox.add_stanza(CAPULET, "<message/>")
    forwarding.back_to_outbox(feed, CAPULET)
    batch = delivering.next_batch(feed, CAPULET, True)
    told = [one.event.item.id if isinstance(one.event, ItemPublished) else one.stanza for one in batch.deliveries]
    assert told == ["1", "2", "3", "<message/>"]
    assert not forwarding.is_pending(feed, CAPULET)
    delivering.done(feed, batch.deliveries)
    assert feed.outbox.count(CAPULET) == 0
    assert words(fetched(feed, 0)) == [(1, "", "void")]


# what became of it


def test_the_report_says_what_became_of_it(feed: Transaction) -> None:
    post(feed, "1")
    assert states(feed) == {CAPULET: (State.PENDING, "")}
    sent = sends(feed)
    assert states(feed) == {CAPULET: (State.PENDING, "")}
    assert feed.outbox.count(CAPULET) == 1
    assert delivering.backlog(feed) == {CAPULET: 1}
    assert [state.domain for state in delivering.domains_due(feed)] == [CAPULET]
    forwarding.acknowledged(feed, CAPULET, sent, Taken(upto=1, refused={1: "policy-violation"}))
    assert states(feed) == {CAPULET: (State.REFUSED, "policy-violation")}
    assert delivering.backlog(feed) == {}
    assert delivering.domains_due(feed) == ()


# catching up


def test_what_was_lost_there_is_fetched(feed: Transaction) -> None:
    for number in range(1, 5):
        post(feed, str(number), f"n{number}", minutes=number)
    delivers(feed)
    retract(feed, "2")
    delivers(feed)
    page = fetched(feed, 1, max_=2)
    assert (page.prev, page.last, words(page)) == (1, 5, [(2, "", "void"), (3, "public", "3 n3")])
    assert words(fetched(feed, 3)) == [(4, "public", "4 n4"), (5, "holders", "2 is gone")]
    assert words(fetched(feed, 5)) == []


def test_what_is_gone_is_gone_for_who_asks_again(feed: Transaction) -> None:
    post(feed, "1")
    delivers(feed)
    for jid in (JULIET, NURSE):
        unfollow(feed, jid)
    retract(feed, "1")
    delivers(feed)
    assert words(fetched(feed, 1)) == [(2, "holders", "1 is gone")]


def test_who_has_no_certificate_fetches_what_is_public(feed: Transaction) -> None:
    post(feed, "1", audience=FOLLOWERS)
    post(feed, "2")
    delivers(feed)
    post(feed, "3", audience=FOLLOWERS)
    sends(feed)
    assert words(fetched(feed, 0, trusted=False)) == [(1, "", "void"), (2, "public", "2 hello")], "3 is still to come"
    assert len(fetched(feed, 0).entries) == 3


def test_the_log_does_not_reach_back_for_ever(feed: Transaction) -> None:
    post(feed, "1")
    delivers(feed)
    feed.now += timedelta(days=29)
    post(feed, "2")
    delivers(feed)
    assert feed.logs.forget(feed.now - timedelta(days=30), 10) == 0
    feed.now += timedelta(days=2)
    assert feed.logs.forget(feed.now - timedelta(days=30), 10) == 1
    with pytest.raises(BeyondHorizon) as refusal:
        fetched(feed, 0)
    assert refusal.value.number == 1
    assert len(fetched(feed, 1).entries) == 1


def test_what_is_pending_is_not_forgotten(feed: Transaction) -> None:
    post(feed, "1")
    sends(feed)
    assert feed.logs.forget(feed.now + timedelta(days=365), 10) == 0


def test_another_epoch_is_another_log(feed: Transaction) -> None:
    post(feed, "1")
    sent = delivers(feed)
    with pytest.raises(AnotherEpoch) as refusal:
        fetched(feed, 0, epoch="other")
    assert refusal.value.epoch == sent.epoch


def test_who_has_more_than_we_gave_gets_a_new_epoch(feed: Transaction) -> None:
    post(feed, "1")
    sent = sends(feed)
    assert not forwarding.acknowledged(feed, CAPULET, sent, Taken(upto=150))
    again = sends(feed)
    assert again.epoch != sent.epoch and words(again) == words(sent)
    assert forwarding.epoch(feed, "verona.example") == sent.epoch, "their word is about their log"
    assert fetched(feed, 150).beyond


# who follows


def test_a_domain_hears_of_its_own_people_only(feed: Transaction) -> None:
    subscribe(feed, JID.parse("paris@verona.example"))
    page = refetching.followers(feed, Followers(domain=CAPULET, author=ROMEO))
    assert page.jids == (JULIET, NURSE)
    assert page.known.digest == set_digest([JULIET, NURSE])
    assert refetching.followers(feed, Followers(domain=CAPULET, author=ROMEO, after=JULIET)).jids == (NURSE,)
    assert refetching.followers(feed, Followers(domain="athens.example", author=ROMEO)).jids == ()


def test_the_answer_has_the_version_of_what_is_sent(feed: Transaction) -> None:
    post(feed, "1", audience=FOLLOWERS)
    (entry,) = delivers(feed).entries
    page = refetching.followers(feed, Followers(domain=CAPULET, author=ROMEO))
    assert (page.known.version, page.changed) == (entry.version, {})
    unfollow(feed, NURSE)
    page = refetching.followers(feed, Followers(domain=CAPULET, author=ROMEO))
    assert page.known.version == 2
    forwarding.write_down(feed, CAPULET, page.changed)
    post(feed, "2", audience=FOLLOWERS)
    assert delivers(feed).entries[0].version == 2


def test_who_follows_in_private_is_said_to_those_with_a_certificate(feed: Transaction) -> None:
    a_contact(feed, ROMEO, JULIET, "from")
    configure(feed, access_model="presence")
    with pytest.raises(Forbidden):
        refetching.followers(feed, Followers(domain=CAPULET, author=ROMEO))
    assert refetching.followers(feed, Followers(domain=CAPULET, author=ROMEO, trusted=True)).jids == (JULIET,)
    with pytest.raises(ItemNotFound):
        refetching.followers(feed, Followers(domain="verona.example", author=ROMEO, trusted=True))
    nobody_here = JID.parse("tybalt@montague.example")
    with pytest.raises(Forbidden):
        refetching.followers(feed, Followers(domain=CAPULET, author=nobody_here))
    with pytest.raises(ItemNotFound):
        refetching.followers(feed, Followers(domain=CAPULET, author=nobody_here, trusted=True))


def test_asking_leaves_nothing_behind_where_nobody_follows(feed: Transaction) -> None:
    page = refetching.followers(feed, Followers(domain="athens.example", author=ROMEO))
    assert (page.jids, page.changed) == ((), {})
    page = refetching.followers(feed, Followers(domain=CAPULET, author=ROMEO))
    assert len(page.changed) == 1
    forwarding.write_down(feed, CAPULET, page.changed)
    unfollow(feed, JULIET)
    unfollow(feed, NURSE)
    page = refetching.followers(feed, Followers(domain=CAPULET, author=ROMEO))
    assert (page.jids, page.known.version, len(page.changed)) == ((), 2, 1)
