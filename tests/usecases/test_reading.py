"""Timelines: what is in them, in which order, page by page, and who sees what."""

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from microblog.model.access import audiences_allowed
from microblog.model.errors import BadRequest, FeatureNotImplemented, ItemNotFound
from microblog.model.item import Audience, Item, PageRequest
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG, AccessModel
from microblog.model.subscription import Affiliation, Subscription, SubscriptionState
from microblog.model.uri import ItemAddress, item_uri, node_uri
from microblog.store.transaction import Transaction
from microblog.usecases import reading, sources
from microblog.usecases.reading import HOME, LOCAL, MENTIONS, Reading, TimelinePage
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    ROMEO,
    a_contact,
    affiliate,
    an_account,
    configure,
    retract,
    subscribe,
)
from tests.usecases.timelines import arrives, writes

MERCUTIO = JID.parse("mercutio@montague.example")
ABROAD = audiences_allowed("capulet.example", local_domain="montague.example")
DOMAIN = JID.parse("montague.example")


def ids(page: TimelinePage) -> list[str]:
    return [one.item.id for one in page.posts]


def home(tx: Transaction, reader: JID = BENVOLIO, **more: Any) -> TimelinePage:
    page = PageRequest(**{name: more.pop(name) for name in list(more) if name not in ("audiences", "own", "counted")})
    return reading.home(tx, Reading(actor=reader, page=page, **more))


def pages(tx: Transaction, size: int, *, forward: bool, read: Any = home) -> Iterable[TimelinePage]:
    """All pages, from the newest on or from the oldest back."""
    page = read(tx, max=size) if forward else read(tx, max=size, last_page=True)
    while page.posts:
        yield page
        if not page.more:
            return
        page = (
            read(tx, max=size, after=page.posts[-1].anchor)
            if forward
            else read(tx, max=size, before=page.posts[0].anchor)
        )


@pytest.fixture
def town(tx: Transaction) -> Transaction:
    """Romeo and Mercutio write, Benvolio follows Romeo."""
    for jid in (ROMEO, BENVOLIO, MERCUTIO):
        an_account(tx, jid)
    subscribe(tx, BENVOLIO)
    return tx


# home


def test_home_has_those_who_are_followed_and_oneself_newest_first(town: Transaction) -> None:
    writes(town, ROMEO, "old", 30)
    writes(town, BENVOLIO, "mine", 20)
    writes(town, MERCUTIO, "not followed", 15)
    arrives(town, JULIET, "far", 25)
    writes(town, ROMEO, "new", 10)
    page = home(town)
    assert ids(page) == ["new", "mine", "far", "old"]
    assert (page.count, page.index, page.more) == (4, 0, False)
    assert [str(one.node.service) for one in page.posts][:2] == [str(ROMEO), str(BENVOLIO)]
    assert ids(home(town, own=False)) == ["new", "far", "old"]


def test_what_comes_late_stands_at_its_own_date_and_an_edit_does_not_move_a_post(town: Transaction) -> None:
    writes(town, ROMEO, "first", 30)
    writes(town, ROMEO, "second", 20)
    writes(town, ROMEO, "back-filled", 25)
    writes(town, ROMEO, "first", 30, title="changed")
    assert ids(home(town)) == ["second", "back-filled", "first"]


def test_what_was_retracted_is_gone_and_pages_go_on_from_its_place(town: Transaction) -> None:
    for n in range(4):
        writes(town, ROMEO, f"p{n}", n)
    page = home(town, max=2)
    retract(town, "p1")
    assert ids(page) == ["p0", "p1"] and page.more
    assert ids(home(town, max=2, after=page.posts[-1].anchor)) == ["p2", "p3"]


def test_the_description_of_a_feed_and_nodes_that_are_no_feed_are_in_no_timeline(town: Transaction) -> None:
    writes(town, ROMEO, "0")
    assert ids(home(town)) == []


def test_audiences(town: Transaction) -> None:
    """A follower here reads everything but what is for others."""
    for audience in (Audience.PUBLIC, Audience.FOLLOWERS, Audience.LOCAL):
        writes(town, ROMEO, audience.value, audience=audience)
    writes(town, ROMEO, "for benvolio", audience=Audience.DIRECT, readers=(BENVOLIO,))
    writes(town, ROMEO, "for mercutio", audience=Audience.DIRECT, readers=(MERCUTIO,))
    page = home(town)
    assert set(ids(page)) == {"public", "followers", "local", "for benvolio"} and page.count == 4
    abroad = home(town, audiences=ABROAD)
    assert set(ids(abroad)) == {"public", "followers", "for benvolio"} and abroad.count == 3
    assert len(ids(home(town, reader=ROMEO))) == 5
    assert "local" not in ids(home(town, reader=ROMEO, audiences=ABROAD))


def test_outcasts_and_those_who_wait_read_nothing(town: Transaction) -> None:
    writes(town, ROMEO, "1")
    affiliate(town, BENVOLIO, Affiliation.OUTCAST)
    subscribe_anyway(town, BENVOLIO)
    assert ids(home(town)) == [] and home(town).count == 0
    affiliate(town, BENVOLIO, Affiliation.NONE)
    configure(town, access_model="authorize")
    town.subscriptions.remove(feed(town), BENVOLIO)
    subscribe(town, BENVOLIO)
    assert ids(home(town)) == [] and home(town).count == 0


def feed(tx: Transaction, jid: JID = ROMEO) -> Any:
    node = tx.nodes.find(jid, MICROBLOG)
    assert node is not None
    return node


def subscribe_anyway(tx: Transaction, jid: JID) -> None:
    if tx.subscriptions.find(feed(tx), jid) is None:
        tx.subscriptions.add(
            feed(tx), Subscription(service=ROMEO, node=MICROBLOG, jid=jid, state=SubscriptionState.SUBSCRIBED)
        )


def test_a_feed_that_was_closed_since_is_not_read_any_more(town: Transaction) -> None:
    """A subscription alone opens no node that is for the owner's contacts or a list."""
    writes(town, ROMEO, "1")
    configure(town, access_model="presence")
    assert ids(home(town)) == [] and home(town).count == 0
    a_contact(town, ROMEO, BENVOLIO, "from")
    assert ids(home(town)) == ["1"] and home(town).count == 1
    configure(town, access_model="whitelist")
    assert ids(home(town)) == []
    affiliate(town, BENVOLIO, Affiliation.MEMBER)
    assert ids(home(town)) == ["1"]


def test_feeds_of_which_the_newest_is_for_others_do_not_hide_what_is_older(town: Transaction) -> None:
    """Every feed seems to have something new, and nothing of it is for this reader."""
    people = [JID(f"servant{n}", "montague.example") for n in range(6)]
    for n, jid in enumerate(people):
        an_account(town, jid)
        subscribe(town, BENVOLIO, service=jid)
        writes(town, jid, f"old {n}", 100 + n)
        writes(town, jid, f"secret {n}", n, audience=Audience.DIRECT, readers=(MERCUTIO,))
    assert ids(home(town, max=2)) == ["old 0", "old 1"]
    assert ids(home(town, max=2, last_page=True)) == ["old 4", "old 5"]


def test_a_busy_feed_does_not_hide_others(town: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BUSY", 2)
    subscribe(town, BENVOLIO, service=MERCUTIO)
    writes(town, MERCUTIO, "rare", 50)
    for n in range(60):
        writes(town, ROMEO, f"p{n}", n)
    for size in (1, 7):
        found = [id_ for page in pages(town, size, forward=True) for id_ in ids(page)]
        # Of what stands at the same time, what came later is newer.
        assert found == [*(f"p{n}" for n in range(51)), "rare", *(f"p{n}" for n in range(51, 60))]


@pytest.mark.parametrize("seed", range(8))
def test_pages_both_ways_are_the_whole_timeline(town: Transaction, seed: int) -> None:
    """Whatever the feeds, the times (with ties) and the audiences: every post once, in order, and counted."""
    random = Random(seed)
    people = [JID(f"servant{n}", "montague.example") for n in range(random.randint(1, 12))]
    expected = []
    for jid in people:
        an_account(town, jid)
        followed = random.random() < 0.7
        if followed:
            subscribe(town, BENVOLIO, service=jid)
        for n in range(random.randint(0, 9)):
            audience = random.choice(list(Audience))
            reader = random.choice((BENVOLIO, MERCUTIO))
            item = writes(
                town,
                jid,
                f"{jid.localpart} {n}",
                random.randint(0, 6),
                audience=audience,
                readers=(reader,) if audience is Audience.DIRECT else (),
            )
            if followed and (audience is not Audience.DIRECT or reader == BENVOLIO):
                expected.append((item.stands, item.key, item.id))
    wanted = [id_ for _, _, id_ in sorted(expected, reverse=True)]
    size = random.randint(1, 7)
    forward = list(pages(town, size, forward=True))
    assert [id_ for page in forward for id_ in ids(page)] == wanted
    backward = list(pages(town, size, forward=False))
    assert [id_ for page in reversed(backward) for id_ in ids(page)] == wanted
    assert all(page.count == len(wanted) for page in forward + backward)
    assert all(page.index == wanted.index(ids(page)[0]) for page in forward + backward)
    for index in range(len(wanted)):
        assert ids(home(town, max=size, index=index)) == wanted[index : index + size]


def test_pages_as_xep_0059_has_them(town: Transaction) -> None:
    writes(town, ROMEO, "1")
    only_count = home(town, max=0)
    assert (ids(only_count), only_count.count) == ([], 1)
    assert ids(home(town, index=5)) == []
    assert ids(home(town, max=10**9)) == ["1"]
    for wrong in ({"max": -1}, {"index": -1}, {"after": "1.1", "before": "1.1"}):
        with pytest.raises(BadRequest):
            home(town, **wrong)
    for nowhere in ("1", "", "x.1", "1.", "1.1' OR ''='", "9" * 30 + ".1", "\u0661.\u0661"):
        with pytest.raises(ItemNotFound):
            home(town, after=nowhere)
    with pytest.raises(FeatureNotImplemented):
        home(town, index=1001)


def test_more_than_a_thousand_are_not_counted(town: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "COUNT_MAX", 5)
    for n in range(6):
        writes(town, ROMEO, f"p{n}", n)
        writes(town, BENVOLIO, f"mine {n}", n)
    assert home(town).count is None and home(town).index is None
    assert home(town, own=False).count is None
    retract(town, "p5")
    assert home(town, own=False).count == 5
    assert reading.local(town, Reading(actor=BENVOLIO)).count is None


def test_feeds_that_have_to_be_looked_into_are_counted_while_they_are_few(
    town: Transaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open to some only, or with somebody who is something there."""
    for jid in (ROMEO, MERCUTIO):
        subscribe(town, BENVOLIO, service=jid)
        town.nodes.configure(feed(town, jid), replace(feed(town, jid).config, access_model=AccessModel.PRESENCE))
        a_contact(town, jid, BENVOLIO, "both")
        writes(town, jid, "post", 5)
        writes(town, jid, "other", 3)
    page = home(town, max=1, after=home(town, max=2).posts[-1].anchor)
    assert (page.count, page.index) == (4, 2)
    assert home(town, max=0).count == 4
    monkeypatch.setattr(sources, "LOOKED_INTO_MAX", 1)
    page = home(town, max=1)
    assert (page.count, page.index, ids(page)) == (None, None, ["other"])
    assert home(town, max=0).more


def test_who_subscribed_several_times_reads_and_counts_once(town: Transaction) -> None:
    for resource in ("phone", "tablet"):
        subscribe(town, BENVOLIO.with_resource(resource))
    writes(town, ROMEO, "1")
    assert ids(home(town)) == ["1"] and home(town).count == 1


# the other timelines


def test_the_local_timeline(town: Transaction) -> None:
    """What our people wrote for all or for the domain; others read what is for all."""
    writes(town, ROMEO, "public", 3)
    writes(town, MERCUTIO, "local", 2, audience=Audience.LOCAL)
    writes(town, ROMEO, "followers", 1, audience=Audience.FOLLOWERS)
    arrives(town, JULIET, "far")
    here = reading.local(town, Reading(actor=BENVOLIO))
    assert ids(here) == ["local", "public"] and here.count == 2
    assert ids(reading.local(town, Reading(actor=BENVOLIO, audiences=ABROAD))) == ["public"]
    assert ids(reading.local(town, Reading(actor=JULIET))) == ["public"]


def test_local_posts_of_a_closed_feed_are_not_for_the_whole_domain(town: Transaction) -> None:
    configure(town, access_model="whitelist")
    town.nodes.configure(feed(town), replace(feed(town).config, audience=Audience.LOCAL))
    writes(town, ROMEO, "listed only")
    writes(town, MERCUTIO, "for all", 1)
    assert ids(reading.local(town, Reading(actor=BENVOLIO))) == ["for all"]
    affiliate(town, BENVOLIO, Affiliation.MEMBER)
    assert ids(reading.local(town, Reading(actor=BENVOLIO))) == ["listed only", "for all"]


def test_a_page_full_of_what_one_may_not_see_does_not_end_the_timeline(town: Transaction) -> None:
    affiliate(town, BENVOLIO, Affiliation.OUTCAST)
    for n in range(10):
        writes(town, ROMEO, f"p{n}", n)
    writes(town, MERCUTIO, "visible", 60)
    page = reading.local(town, Reading(actor=BENVOLIO, page=PageRequest(max=2)))
    assert ids(page) == ["visible"] and page.count == 1


def test_tags(town: Transaction) -> None:
    """Of all we know; who does not follow reads what is for all."""
    writes(town, ROMEO, "public", 5, tags=("verona",))
    writes(town, ROMEO, "followers", 4, tags=("verona",), audience=Audience.FOLLOWERS)
    writes(town, ROMEO, "local", 3, tags=("verona", "fair"), audience=Audience.LOCAL)
    writes(town, ROMEO, "direct", 2, tags=("verona",), audience=Audience.DIRECT, readers=(MERCUTIO,))
    writes(town, ROMEO, "other", 1, tags=("mantua",))
    arrives(town, JULIET, "far", 6, tags=("verona",))

    def read(reader: JID, word: str = "#Verona", **more: Any) -> list[str]:
        return ids(reading.tag(town, word, Reading(actor=reader, **more)))

    assert read(BENVOLIO) == ["local", "followers", "public", "far"]
    assert read(MERCUTIO) == ["direct", "local", "public", "far"]
    assert read(ROMEO) == ["direct", "local", "followers", "public", "far"]
    assert read(ROMEO, audiences=ABROAD) == ["direct", "followers", "public", "far"]
    subscribe(town, JULIET)
    assert read(JULIET) == ["public", "far"]
    assert read(BENVOLIO, "fair") == ["local"]
    assert reading.tag(town, "verona", Reading(actor=BENVOLIO)).count == 4
    assert len(list(pages(town, 1, forward=True, read=lambda tx, **page: tag_page(tx, **page)))) == 4


def tag_page(tx: Transaction, **page: Any) -> TimelinePage:
    return reading.tag(tx, "verona", Reading(actor=BENVOLIO, page=PageRequest(**page)))


def test_mentions(town: Transaction) -> None:
    """What names one, comments on one's posts, direct posts; a reply that is in two nodes counts once."""
    writes(town, ROMEO, "named", 5, mentions=(BENVOLIO,))
    writes(town, MERCUTIO, "closed", 4, mentions=(BENVOLIO,), audience=Audience.FOLLOWERS)
    writes(town, MERCUTIO, "direct", 3, audience=Audience.DIRECT, readers=(BENVOLIO,))
    writes(town, MERCUTIO, "not for me", 3, mentions=(BENVOLIO,), audience=Audience.DIRECT, readers=(ROMEO,))
    writes(town, BENVOLIO, "mine", 9, mentions=(BENVOLIO,))
    comments = COMMENTS_PREFIX + "mine"
    town.nodes.create(BENVOLIO, comments, town.nodes.defaults(BENVOLIO, comments))
    writes(town, MERCUTIO, "reply", 2, mentions=(BENVOLIO,), thread=node_uri(BENVOLIO, comments))
    writes(town, MERCUTIO, "reply", 2, service=BENVOLIO, node=comments)
    writes(town, ROMEO, "comment", 1, service=BENVOLIO, node=comments)
    page = reading.mentions(town, Reading(actor=BENVOLIO))
    assert ids(page) == ["comment", "reply", "direct", "named"] and page.count == 4
    assert [one.node.name == MICROBLOG for one in page.posts] == [False, True, True, True]


def test_a_heart_in_a_comment_is_no_mention_and_no_reply(town: Transaction) -> None:
    mine = item_uri(BENVOLIO, MICROBLOG, "mine")
    comments = COMMENTS_PREFIX + "mine"
    writes(town, BENVOLIO, "mine", 9, thread=node_uri(BENVOLIO, comments))
    for item_id, title in (("heart", "♥"), ("words", "♥ indeed")):
        writes(
            town,
            ROMEO,
            item_id,
            5,
            service=BENVOLIO,
            node=comments,
            title=title,
            answers=mine,
            mentions=(BENVOLIO, MERCUTIO),
        )
    for reader in (BENVOLIO, MERCUTIO):
        assert ids(reading.mentions(town, Reading(actor=reader))) == ["words"]
    page = reading.thread(town, reading.Thread(address=ItemAddress(BENVOLIO, MICROBLOG, "mine"), actor=ROMEO))
    assert [one.item.id for one in page.posts] == ["mine", "words"]
    direct = writes(town, BENVOLIO, "direct", 4, audience=Audience.DIRECT, readers=(ROMEO, MERCUTIO))
    writes(town, ROMEO, "heart", 3, service=BENVOLIO, node=COMMENTS_PREFIX + direct.id, title="♥")
    assert ids(reading.mentions(town, Reading(actor=MERCUTIO))) == ["direct", "words"]


def test_a_comment_is_a_mention_where_the_reply_in_the_feed_may_not_be_read(town: Transaction) -> None:
    """Our copy of that feed is for those who follow it."""
    comments = COMMENTS_PREFIX + "mine"
    thread = node_uri(BENVOLIO, comments)
    writes(town, BENVOLIO, "mine", 9, thread=thread)
    arrives(town, JULIET, "reply", 5, to=MERCUTIO, mentions=(BENVOLIO,), thread=thread)
    writes(town, JULIET, "reply", 5, service=BENVOLIO, node=comments, mentions=(BENVOLIO, MERCUTIO))

    def read(reader: JID) -> list[tuple[str, bool]]:
        page = reading.mentions(town, Reading(actor=reader))
        return [(one.item.id, one.node.name == MICROBLOG) for one in page.posts]

    assert read(BENVOLIO) == [("reply", True)]
    copy = town.nodes.find(JULIET, MICROBLOG)
    assert copy is not None
    town.items.set_audience(copy.key, Audience.PUBLIC, Audience.FOLLOWERS)
    assert read(BENVOLIO) == [("reply", False)]
    arrives(town, JULIET, "other", 5)
    assert read(BENVOLIO) == [("reply", True)]


def test_mentions_come_once_on_whatever_page(town: Transaction) -> None:
    comments = COMMENTS_PREFIX + "mine"
    thread = node_uri(BENVOLIO, comments)
    writes(town, BENVOLIO, "mine", 20, thread=thread)
    for n in range(4):
        writes(town, MERCUTIO, f"reply {n}", n, mentions=(BENVOLIO,), thread=thread)
        # The copy came later, or earlier.
        writes(town, MERCUTIO, f"reply {n}", 6 - n, service=BENVOLIO, node=comments, mentions=(BENVOLIO,))

    def read(tx: Transaction, **page: Any) -> TimelinePage:
        return reading.mentions(tx, Reading(actor=BENVOLIO, page=PageRequest(**page)))

    for forward in (True, False):
        found = [one for page in pages(town, 1, forward=forward, read=read) for one in ids(page)]
        assert sorted(found) == [f"reply {n}" for n in range(4)]


def test_one_author(town: Transaction) -> None:
    writes(town, ROMEO, "public", 2)
    writes(town, ROMEO, "followers", 1, audience=Audience.FOLLOWERS)
    arrives(town, JULIET, "far")

    def read(reader: JID, service: JID = ROMEO) -> list[str]:
        return ids(reading.author(town, service, Reading(actor=reader)))

    assert read(BENVOLIO) == ["followers", "public"]
    assert read(MERCUTIO) == ["public"]
    assert read(MERCUTIO, JULIET) == ["far"]
    assert reading.is_followed(town, JULIET) and not reading.is_followed(town, JID.parse("paris@verona.example"))
    configure(town, access_model="whitelist")
    for service in (ROMEO, JID.parse("paris@verona.example")):
        with pytest.raises(ItemNotFound):
            read(MERCUTIO, service)


def test_somebody_elses_timelines_are_not_there(town: Transaction) -> None:
    for node in (HOME, MENTIONS):
        reading.retrieve(town, reading.Retrieve(service=BENVOLIO, node=node, actor=BENVOLIO))
        for reader in (ROMEO, JULIET):
            with pytest.raises(ItemNotFound):
                reading.retrieve(town, reading.Retrieve(service=BENVOLIO, node=node, actor=reader))
    for service, node in ((BENVOLIO, LOCAL), (DOMAIN, HOME), (DOMAIN, reading.TAG_PREFIX), (JULIET, HOME)):
        with pytest.raises(ItemNotFound):
            reading.retrieve(town, reading.Retrieve(service=service, node=node, actor=BENVOLIO))


# threads


def test_a_thread_has_its_beginning_replies_and_comments_each_once(town: Transaction) -> None:
    comments = COMMENTS_PREFIX + "root"
    uri = node_uri(ROMEO, comments)
    root = item_uri(ROMEO, MICROBLOG, "root")
    writes(town, ROMEO, "root", 9, thread=uri)
    town.nodes.create(ROMEO, comments, town.nodes.defaults(ROMEO, comments))
    writes(town, BENVOLIO, "reply", 5, thread=uri, answers=root)
    writes(town, BENVOLIO, "reply", 5, service=ROMEO, node=comments, answers=root)
    writes(town, MERCUTIO, "comment", 7, service=ROMEO, node=comments)
    writes(town, MERCUTIO, "direct", 6, thread=uri, answers=root, audience=Audience.DIRECT, readers=(ROMEO,))
    arrives(town, JULIET, "far", 3, thread=uri, answers=root)
    for node, item_id in ((MICROBLOG, "root"), (comments, "comment"), (comments, "gone")):
        page = reading.thread(town, reading.Thread(address=ItemAddress(ROMEO, node, item_id), actor=BENVOLIO))
        assert [one.item.id for one in page.posts] == ["root", "comment", "reply", "far"]
        assert page.root == ItemAddress(ROMEO, MICROBLOG, "root")
        assert page.comments == ItemAddress(ROMEO, comments)
    by_reply = reading.Thread(address=ItemAddress(BENVOLIO, MICROBLOG, "reply"), actor=ROMEO)
    assert [one.item.id for one in reading.thread(town, by_reply).posts] == [
        "root",
        "comment",
        "direct",
        "reply",
        "far",
    ]


def test_a_thread_nothing_is_known_of(town: Transaction) -> None:
    unknown = ItemAddress(JULIET, MICROBLOG, "1")
    with pytest.raises(ItemNotFound):
        reading.thread(town, reading.Thread(address=unknown, actor=BENVOLIO))
    uri = node_uri(JULIET, COMMENTS_PREFIX + "1")
    page = reading.thread(town, reading.Thread(address=unknown, actor=BENVOLIO, thread=uri))
    assert (page.posts, page.root, page.comments) == ((), unknown, ItemAddress(JULIET, COMMENTS_PREFIX + "1"))


# how far somebody has read


def test_a_cursor_moves_forward_by_reading_and_says_what_is_unread(town: Transaction) -> None:
    account = town.accounts.get("benvolio")
    assert account is not None
    for n in range(4):
        writes(town, ROMEO, f"p{n}", n)
    writes(town, BENVOLIO, "mine")
    assert reading.cursor(town, account, HOME) is None
    assert reading.unread(town, account) == 4
    page = home(town, own=False)
    reading.read_to(town, account, HOME, page.posts[1].place)
    assert reading.unread(town, account) == 1
    reading.read_to(town, account, HOME, page.posts[3].place)
    assert reading.unread(town, account) == 1
    reading.read_all(town, account, HOME)
    assert reading.unread(town, account) == 0
    writes(town, ROMEO, "named", mentions=(BENVOLIO,))
    assert (reading.unread(town, account), reading.unread(town, account, MENTIONS)) == (1, 1)
    assert reading.unread(town, account, LOCAL) == 6
    reading.read_all(town, account, LOCAL)
    assert reading.unread(town, account, LOCAL) == 0


def test_more_than_a_thousand_unread_are_not_counted(town: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "COUNT_MAX", 2)
    account = town.accounts.get("benvolio")
    assert account is not None
    for n in range(3):
        writes(town, ROMEO, f"p{n}", n)
    assert reading.unread(town, account) is None


# telling


def test_a_timelines_node_is_made_when_somebody_subscribes(town: Transaction) -> None:
    own = reading.timeline_node(town, BENVOLIO, HOME)
    assert own == reading.timeline_node(town, BENVOLIO, HOME)
    shared = reading.timeline_node(town, DOMAIN, reading.tag_node("#Verona"))
    assert subscribe(town, BENVOLIO, HOME, BENVOLIO) is SubscriptionState.SUBSCRIBED
    assert subscribe(town, BENVOLIO, shared.name, DOMAIN) is SubscriptionState.SUBSCRIBED
    for jid, node in ((ROMEO, own), (JULIET, own), (JULIET, shared)):
        with pytest.raises(Exception) as raised:
            subscribe(town, jid, node.name, node.service)
        assert type(raised.value).__name__ in ("ClosedNode", "ItemNotFound")
    nobody = JID.parse("nobody@montague.example")
    for service, name in ((nobody, HOME), (DOMAIN, reading.TAG_PREFIX + "Verona"), (DOMAIN, "urn:other")):
        with pytest.raises(ItemNotFound):
            reading.timeline_node(town, service, name)
    assert ids(home(town)) == []


def test_who_is_told_of_what(town: Transaction) -> None:
    everybody = frozenset((BENVOLIO, MERCUTIO))
    tag = reading.tag_node("verona")

    def told(item: Item) -> dict[str, frozenset[JID]]:
        wanted = {HOME: frozenset((BENVOLIO,)), MENTIONS: everybody, LOCAL: everybody, tag: everybody}
        return reading.told(town, reading.Telling(node=feed(town), item=item, readers=wanted))

    public = writes(town, ROMEO, "1", tags=("verona",), mentions=(MERCUTIO,))
    assert told(public) == {
        HOME: frozenset((BENVOLIO,)),
        MENTIONS: frozenset((MERCUTIO,)),
        LOCAL: everybody,
        tag: everybody,
    }
    assert told(writes(town, ROMEO, "2")) == {HOME: frozenset((BENVOLIO,)), LOCAL: everybody}
    followers = writes(town, ROMEO, "3", tags=("verona",), mentions=(MERCUTIO,), audience=Audience.FOLLOWERS)
    assert told(followers)[tag] == frozenset((BENVOLIO,)) and MENTIONS not in told(followers)
    direct = writes(town, ROMEO, "4", audience=Audience.DIRECT, readers=(MERCUTIO,))
    assert told(direct)[MENTIONS] == frozenset((MERCUTIO,)) and HOME not in told(direct)
    affiliate(town, MERCUTIO, Affiliation.OUTCAST)
    assert told(public)[LOCAL] == frozenset((BENVOLIO,))


def test_what_others_wrote_is_not_left_out_for_old_posts_of_ones_own(town: Transaction) -> None:
    """Where a feed's newest post in the span is not for the reader, or stands just outside it."""
    subscribe(town, BENVOLIO, service=MERCUTIO)
    for number in range(4):
        writes(town, BENVOLIO, f"mine{number}", 50 + number)
    for jid in (ROMEO, MERCUTIO):
        writes(town, jid, f"{jid.localpart} for others", 10, audience=Audience.DIRECT, readers=(JULIET,))
        writes(town, jid, f"{jid.localpart} for all", 20)
    found = home(town, max=1)
    names = []
    while found.posts:
        names += ids(found)
        found = home(town, max=1, after=found.posts[-1].anchor)
    assert set(names[:2]) == {"romeo for all", "mercutio for all"}
    assert names[2:] == ["mine0", "mine1", "mine2", "mine3"]
