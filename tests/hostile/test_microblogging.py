"""Microblogging among people who mean no good: what they may not learn, send in others' names, or keep from others."""

from collections.abc import Iterable

import pytest
from sqlalchemy import select

from microblog.commands.command import Answer, Command, Post
from microblog.model.entry import HEART, Entry
from microblog.model.errors import ItemNotFound
from microblog.model.event import ItemRetracted
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.node import ATTACHMENTS_PREFIX, COMMENTS_PREFIX, MICROBLOG, AccessModel, Node, profile
from microblog.model.subscription import Affiliation, SubscriptionState
from microblog.model.uri import ItemAddress, item_uri, node_uri
from microblog.runtime import Clock
from microblog.store import tables
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import (
    authoring,
    conversing,
    following,
    forgetting,
    owning,
    publishing,
    reading,
    receiving,
    reporting,
    retracting,
)
from microblog.usecases.following import Described, Follow
from microblog.usecases.publishing import Publish
from microblog.usecases.reading import Thread
from microblog.usecases.receiving import Received
from microblog.wire import elsewhere, ns
from microblog.wire.mention import write_mention, write_unsaid
from microblog.wire.xml import to_text
from microblog.xep.commands import _results as results
from tests.commands.test_conversing import COMMENTS as THREAD
from tests.commands.test_conversing import Verona, answers, begin, comment
from tests.conftest import Time
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    NOON,
    NURSE,
    PARIS,
    PHONE,
    ROMEO,
    a_contact,
    affiliate,
    an_account,
    an_entry,
    configure,
    ids,
    post,
    retract,
    retrieve,
)
from tests.usecases.test_conversing import THERE, react, received, say
from tests.xep.parlour import NODE, Parlour, lines
from tests.xep.parlour import says as chat
from tests.xep.square import Square, error, publishes

COMMENTS = COMMENTS_PREFIX + "1"
POST = item_uri(ROMEO, MICROBLOG, "1")


def says(
    tx: Transaction, by: JID, item_id: str, node: str = MICROBLOG, service: JID | None = None, **more: object
) -> Item:
    """Publish an entry that says more than a title."""
    names = {name: more.pop(name) for name in ("title", "answers", "thread", "via", "mentions") if name in more}
    entry = Entry(**names)  # type: ignore[arg-type]
    request = Publish(
        service=service or by,
        node=node,
        actor=by.with_resource(PHONE),
        item_id=item_id,
        payload=f"<entry xmlns='http://www.w3.org/2005/Atom'><title>{entry.title}</title></entry>",
        entry=entry,
        **more,  # type: ignore[arg-type]
    )
    return publishing.publish(tx, request).item


def owed(tx: Transaction) -> list[tuple[str, str]]:
    """The stanzas in the outbox, with their domains."""
    rows = tx.connection.execute(select(tables.outbox.c.domain, tables.outbox.c.stanza))
    return [(domain, stanza) for domain, stanza in rows if stanza is not None]


# in others' names


@pytest.mark.parametrize("audience", [Audience.PUBLIC, Audience.DIRECT])
def test_nobody_has_this_server_write_in_the_name_of_somebody_elsewhere(tx: Transaction, audience: Audience) -> None:
    """A stanza of a domain that is not ours ends the stream that it goes out by, and with it everybody's posts."""
    an_account(tx)
    readers = (JULIET, PARIS) if audience is Audience.DIRECT else ()
    post(tx, "1", audience=audience, readers=readers)
    more = {"mentions": (PARIS, NURSE), "mention": write_mention, "proof": Proof.CERTIFICATE}
    says(tx, JULIET, "c1", COMMENTS, ROMEO, **more)
    assert [stanza for _, stanza in owed(tx) if "from='romeo@montague.example'" not in stanza] == []


def test_our_own_people_are_told_in_comments_whom_they_name(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    an_account(tx, BENVOLIO)
    says(tx, BENVOLIO, "c1", COMMENTS, ROMEO, mentions=(PARIS,), mention=write_mention)
    ((domain, stanza),) = owed(tx)
    assert domain == "verona.example" and "from='benvolio@montague.example'" in stanza


def test_answers_of_somebody_elsewhere_in_a_feed_here_are_not_sent_in_their_name(tx: Transaction) -> None:
    an_account(tx)
    affiliate(tx, JULIET, Affiliation.PUBLISHER)
    more = {"answers": item_uri(PARIS, MICROBLOG, "7"), "thread": node_uri(PARIS, COMMENTS_PREFIX + "7")}
    says(tx, JULIET, "a", MICROBLOG, ROMEO, **more, copy=elsewhere.copy, proof=Proof.CERTIFICATE)
    wanted = retracting.Retract(service=ROMEO, node=MICROBLOG, actor=JULIET, item_id="a", withdraw=elsewhere.withdraw)
    retracting.retract(tx, wanted)
    assert owed(tx) == []


# to delete one's own, whatever others did with it


def test_a_post_is_deleted_whatever_repeats_what_repeats_it(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    via = POST
    for number in range(600):
        says(tx, BENVOLIO, f"r{number}", via=via)
        via = item_uri(BENVOLIO, MICROBLOG, f"r{number}")
    retract(tx, "1")
    feed = tx.nodes.find(BENVOLIO, MICROBLOG)
    assert feed is not None and tx.items.count(feed.key) == 0


def test_a_post_is_deleted_though_who_repeats_it_keeps_no_items(tx: Transaction) -> None:
    an_account(tx, BENVOLIO)
    an_account(tx)
    post(tx, "1", by=BENVOLIO)
    says(tx, ROMEO, "r", via=item_uri(BENVOLIO, MICROBLOG, "1"))
    configure(tx, persist_items="0")
    retracting.retract(tx, retracting.Retract(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, item_id="1"))
    feed = tx.nodes.find(ROMEO, MICROBLOG)
    assert feed is not None and tx.items.get(feed.key, "r") is None


def test_an_answer_is_deleted_though_its_thread_keeps_no_items(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    says(tx, BENVOLIO, "a", answers=POST, thread=node_uri(ROMEO, COMMENTS))
    configure(tx, node=COMMENTS, persist_items="0")
    retracting.retract(tx, retracting.Retract(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, item_id="a"))
    thread = tx.nodes.find(ROMEO, COMMENTS)
    assert thread is not None and tx.items.get(thread.key, "a") is None


def test_an_answer_that_moves_to_another_thread_leaves_no_copy(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    post(tx, "2")
    says(tx, BENVOLIO, "a", answers=POST, thread=node_uri(ROMEO, COMMENTS))
    assert ids(retrieve(tx, BENVOLIO, COMMENTS)) == ["a"]
    second = COMMENTS_PREFIX + "2"
    says(tx, BENVOLIO, "a", answers=item_uri(ROMEO, MICROBLOG, "2"), thread=node_uri(ROMEO, second), title="again")
    retracting.retract(tx, retracting.Retract(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, item_id="a"))
    assert ids(retrieve(tx, BENVOLIO, COMMENTS)) == []


@pytest.mark.parametrize("end", [owning.Purge, owning.Delete])
def test_repetitions_go_with_the_feed(tx: Transaction, end: type[owning.Purge] | type[owning.Delete]) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    says(tx, BENVOLIO, "r", via=POST)
    says(tx, BENVOLIO, "other", via=item_uri(PARIS, MICROBLOG, "1"))
    wanted = end(service=ROMEO, node=MICROBLOG, actor=ROMEO)
    (owning.purge if isinstance(wanted, owning.Purge) else owning.delete)(tx, wanted)  # type: ignore[arg-type]
    feed = tx.nodes.find(BENVOLIO, MICROBLOG)
    assert feed is not None and [item.id for item in tx.items.newest(feed.key, 9)] == ["other"]


@pytest.mark.parametrize("how", ["purged", "deleted"])
@pytest.mark.parametrize("recipient", [ROMEO, BENVOLIO])
def test_repetitions_go_with_the_feed_elsewhere(tx: Transaction, how: str, recipient: JID) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    received(tx, "7", audience=Audience.PUBLIC)
    says(tx, BENVOLIO, "r", via=THERE.uri)
    said = Received(
        service=JULIET,
        node=MICROBLOG,
        recipient=recipient,
        sender_domain="capulet.example",
        proof=Proof.CERTIFICATE,
        **{how: True},  # type: ignore[arg-type]
    )
    receiving.receive(tx, said)
    feed = tx.nodes.find(BENVOLIO, MICROBLOG)
    assert feed is not None and tx.items.get(feed.key, "r") is None


# what one may not know of


def test_who_was_shut_out_is_not_told_of_comments_that_name_them(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    comment = says(tx, ROMEO, "c1", COMMENTS, ROMEO, mentions=(BENVOLIO,))
    node = tx.nodes.find(ROMEO, COMMENTS)
    assert node is not None
    wanted = reading.Telling(node=node, item=comment, readers={reading.MENTIONS: frozenset((BENVOLIO,))})
    assert reading.told(tx, wanted) == {reading.MENTIONS: frozenset((BENVOLIO,))}
    affiliate(tx, BENVOLIO, Affiliation.OUTCAST)
    assert reading.told(tx, wanted) == {}


@pytest.fixture
def hidden(tx: Transaction) -> Iterable[str]:
    """The address of a post of Romeo's that Benvolio may not read, and that of one that is not there."""
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "hidden", audience=Audience.FOLLOWERS)
    return item_uri(ROMEO, MICROBLOG, "hidden"), item_uri(ROMEO, MICROBLOG, "nothing")


@pytest.mark.parametrize("by", [BENVOLIO, JULIET])
def test_repeating_does_not_tell_whether_a_post_is_there(tx: Transaction, hidden: tuple[str, str], by: JID) -> None:
    post(tx, "1")
    said = []
    for uri in hidden:
        with pytest.raises(Exception) as refused:
            if by is BENVOLIO:
                says(tx, by, "r", via=uri)
            else:
                says(tx, by, "r", COMMENTS, ROMEO, via=uri, proof=Proof.CERTIFICATE)
        said.append((type(refused.value), str(refused.value)))
    assert said[0] == said[1]


def test_reports_and_edits_do_not_tell_whether_a_post_is_there(tx: Transaction, hidden: tuple[str, str]) -> None:
    for item_id in ("hidden", "nothing"):
        wanted = reporting.Where(actor=BENVOLIO, service=ROMEO, node=MICROBLOG, item_id=item_id)
        with pytest.raises(ItemNotFound):
            reporting.where(tx, wanted)
        with pytest.raises(ItemNotFound):
            authoring.own(tx, BENVOLIO, ItemAddress(ROMEO, MICROBLOG, item_id))


def test_a_thread_is_not_found_by_a_post_that_one_may_not_read(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    said = says(tx, ROMEO, "2", answers=POST, thread=node_uri(ROMEO, COMMENTS), audience=Audience.FOLLOWERS)
    assert said.audience is Audience.FOLLOWERS
    with pytest.raises(ItemNotFound):
        reading.thread(tx, Thread(address=ItemAddress(ROMEO, MICROBLOG, "2"), actor=BENVOLIO))
    assert reading.thread(tx, Thread(address=ItemAddress(ROMEO, MICROBLOG, "2"), actor=ROMEO)).posts


@pytest.mark.parametrize("reader", [JULIET, BENVOLIO])
def test_a_comment_for_followers_is_not_for_whoever_reads_the_post(tx: Transaction, reader: JID) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    more = {"audience": Audience.FOLLOWERS, **an_entry("for few")}
    request = Publish(service=ROMEO, node=COMMENTS, actor=ROMEO.with_resource(PHONE), item_id="c1", **more)
    assert publishing.publish(tx, request).item.audience is Audience.FOLLOWERS
    assert ids(retrieve(tx, reader, COMMENTS)) == []
    a_contact(tx, ROMEO, reader)
    assert ids(retrieve(tx, reader, COMMENTS)) == ["c1"]


def test_who_may_read_may_react_though_the_other_side_says_that_it_stays_there(tx: Transaction) -> None:
    an_account(tx)
    received(tx, audience=Audience.LOCAL)
    assert react(tx, say(HEART), THERE).new
    assert [domain for domain, _ in owed(tx)] == ["capulet.example"] * 2


# floods


def test_a_post_of_elsewhere_is_one_line_for_whom_it_names(database: Database, clock: Clock) -> None:
    """It comes once for each of its followers here."""
    parlour = Parlour(database, clock)
    clients = {name: parlour.online(name, PHONE) for name in ("romeo", "benvolio", "mercutio")}
    for name, client in clients.items():
        chat(client, "on")
        if name != "mercutio":
            follow = Follow(
                account=client.session.jid.bare, service=JULIET, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED
            )
            database.run(following.record_subscribe, follow)
        client.hears()
    database.run(following.describe, Described(service=JULIET, node=MICROBLOG, access_model=AccessModel.OPEN))
    payload = f"<link rel='mentioned' href='xmpp:mercutio@{NODE}'/>"
    for name in ("romeo", "benvolio"):
        parlour.inject(
            f"<message from='{JULIET}' to='{name}@{NODE}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>"
            f"<items node='{MICROBLOG}'><item id='1'><entry xmlns='{ns.ATOM}'><title>hear</title>{payload}</entry>"
            f"</item></items></event></message>"
        )
    assert {name: len(lines(client)) for name, client in clients.items()} == dict.fromkeys(clients, 1)


def test_nudges_are_forgotten(database: Database, time: Time) -> None:
    def nudge(tx: Transaction) -> None:
        account = tx.accounts.get("romeo")
        assert account is not None
        wanted = conversing.Direct(actor=ROMEO, to=JULIET, message=lambda to: "<message/>")
        conversing.nudge(tx, account.key, wanted)

    def known(tx: Transaction) -> int:
        return len(tx.connection.execute(select(tables.nudges)).all())

    database.run(an_account)
    database.run(nudge)
    database.run(forgetting.forget)
    assert database.run(known) == 1
    time.advance(conversing.NUDGE_SECONDS + 1)
    database.run(forgetting.forget)
    assert database.run(known) == 0


def test_a_domain_has_only_so_many_guests_here_whatever_it_calls_them(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microblog.xep.rates.GUESTS_PER_HOUR", 20)
    square = Square(database, clock)
    romeo = square.online("romeo", PHONE)
    publishes(romeo, "1")
    node = f"{ATTACHMENTS_PREFIX}{POST}"

    def reacts(number: int, domain: str = "capulet.example") -> str | None:
        guest = f"guest{number}@{domain}"
        attached = "<attachments xmlns='urn:xmpp:pubsub-attachments:1'/>"
        square.inject(
            f"<iq type='set' id='1' from='{guest}/x' to='{ROMEO}'><pubsub xmlns='{ns.PUBSUB}'><publish node='{node}'>"
            f"<item id='{guest}'>{attached}</item></publish></pubsub></iq>"
        )
        (answer,) = [one for one in square.world_hears() if one.get("to") == f"{guest}/x"]
        return None if answer.get("type") == "result" else error(answer)[0]

    assert {reacts(number) for number in range(20)} == {None}
    assert reacts(20) == "resource-constraint"
    assert reacts(1, "verona.example") is None


def test_what_is_fetched_from_a_feed_is_its_owners_whoever_is_named_as_publisher() -> None:
    item = Item(id="1", publisher=ROMEO, payload="", published=NOON, updated=NOON)
    feed = Node(key=0, service=JULIET, name=MICROBLOG, config=profile(MICROBLOG))
    answer = Answer(posts=(Post(node=feed, item=item, entry=Entry(title="x")),))
    nothing = Command(name="get", group="reading", function=lambda call: None)  # type: ignore[arg-type,return-value]
    (form,) = results(nothing, answer, "en")
    assert str(JULIET) in to_text(form) and f"<value>{ROMEO}</value>" not in to_text(form)


# what becomes of what was said to few


@pytest.mark.parametrize("stranger", ["", comment()])
def test_an_answer_to_what_strangers_may_not_read_is_not_for_them(
    database: Database, clock: Clock, stranger: str
) -> None:
    """It has no word of whom it is for; whoever asked may be one of few."""
    verona = Verona(database, clock)
    verona.numbers[8] = ItemAddress(JULIET, THREAD, "c1")
    begin(verona, "r #8 Anon!")
    answers(verona, comment())
    answers(verona, stranger)
    assert verona.newest()[0].audience is (Audience.PUBLIC if stranger else Audience.FOLLOWERS)


def test_an_answer_to_a_feed_that_is_not_open_is_not_for_all(database: Database, clock: Clock) -> None:
    verona = Verona(database, clock)
    verona.numbers[8] = ItemAddress(JULIET, MICROBLOG, "old")
    follow = Follow(account=verona.person().jid, service=JULIET, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
    database.run(following.record_subscribe, follow)
    database.run(following.describe, Described(service=JULIET, node=MICROBLOG, access_model=AccessModel.PRESENCE))
    begin(verona, "r #8 Anon!")
    answers(verona, comment().replace("id='c1'", "id='old'"), MICROBLOG)
    assert verona.newest()[0].audience is Audience.FOLLOWERS


@pytest.mark.parametrize("options", [{"access_model": "presence"}, {"access_model": "whitelist"}])
def test_what_is_not_for_all_any_more_is_not_repeated_any_more(tx: Transaction, options: dict[str, str]) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    says(tx, JULIET, "c1", COMMENTS, ROMEO, proof=Proof.CERTIFICATE)
    says(tx, BENVOLIO, "r", via=POST)
    says(tx, BENVOLIO, "rc", via=item_uri(ROMEO, COMMENTS, "c1"))
    says(tx, BENVOLIO, "other", via=item_uri(PARIS, MICROBLOG, "1"))
    configure(tx, title="Romeo")
    feed = tx.nodes.find(BENVOLIO, MICROBLOG)
    assert feed is not None and tx.items.count(feed.key) == 3
    configure(tx, **options)
    assert [item.id for item in tx.items.newest(feed.key, 9)] == ["other"]


def test_what_turns_out_not_to_be_for_all_elsewhere_is_not_repeated_any_more(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    received(tx, "7", audience=Audience.PUBLIC)
    says(tx, BENVOLIO, "r", via=THERE.uri)
    for model, left in ((AccessModel.OPEN, 1), (AccessModel.PRESENCE, 0)):
        following.describe(tx, Described(service=JULIET, node=MICROBLOG, access_model=model))
        feed = tx.nodes.find(BENVOLIO, MICROBLOG)
        assert feed is not None and tx.items.count(feed.key) == left


def test_who_was_written_to_directly_hears_that_it_is_taken_back(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    direct = {"audience": Audience.DIRECT, "readers": (BENVOLIO, JULIET), "mention": write_mention}
    first = says(tx, ROMEO, "1", title="psst", **direct)
    says(tx, ROMEO, "1", title="hush", **direct)
    heard: list[ItemRetracted] = []
    tx.emit = lambda event: heard.append(event)  # type: ignore[method-assign,assignment]
    wanted = retracting.Retract(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id="1", unsay=write_unsaid)
    retracting.retract(tx, wanted)
    assert [event.recipients for event in heard] == [(ROMEO, BENVOLIO)]
    (domain, said), (domain_again, unsaid) = owed(tx)
    assert domain == domain_again == "capulet.example"
    assert f"id='post-{first.position}'" in said
    assert f"<retract xmlns='urn:xmpp:message-retract:1' id='post-{first.position}'" in unsaid
    assert "psst" not in unsaid and "hush" not in unsaid and f"to='{JULIET}'" in unsaid


def test_an_answer_that_leaves_a_thread_elsewhere_is_taken_out_of_it(tx: Transaction) -> None:
    an_account(tx)
    more = {"copy": elsewhere.copy, "withdraw": elsewhere.withdraw}
    answer = {"answers": item_uri(PARIS, MICROBLOG, "7"), "thread": node_uri(PARIS, COMMENTS_PREFIX + "7")}
    says(tx, ROMEO, "a", **answer, **more)
    says(tx, ROMEO, "a", title="again", **answer, **more)
    assert [("retract" in stanza) for _, stanza in owed(tx)] == [False, False]
    says(tx, ROMEO, "a", title="to nobody", **more)
    domain, stanza = owed(tx)[-1]
    assert domain == PARIS.domainpart and f"<retract node='{COMMENTS_PREFIX}7'" in stanza and "id='a'" in stanza


@pytest.mark.parametrize("end", [owning.Purge, owning.Delete])
def test_answers_in_others_threads_go_with_the_feed(
    tx: Transaction, end: type[owning.Purge] | type[owning.Delete]
) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    for number in range(3):
        says(tx, BENVOLIO, f"a{number}", answers=POST, thread=node_uri(ROMEO, COMMENTS))
    there = {"answers": item_uri(PARIS, MICROBLOG, "7"), "thread": node_uri(PARIS, COMMENTS_PREFIX + "7")}
    says(tx, BENVOLIO, "b", **there, copy=elsewhere.copy)
    says(tx, JULIET, "c", COMMENTS, ROMEO, proof=Proof.CERTIFICATE)
    wanted = end(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, withdraw=elsewhere.withdraw)
    (owning.purge if isinstance(wanted, owning.Purge) else owning.delete)(tx, wanted)  # type: ignore[arg-type]
    assert ids(retrieve(tx, ROMEO, COMMENTS)) == ["c"]
    domain, stanza = owed(tx)[-1]
    assert domain == PARIS.domainpart and "<retract" in stanza and "id='b'" in stanza
    assert len(owed(tx)) == 2


def test_repetitions_of_comments_go_with_the_post(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    post(tx, "2")
    for number in "12":
        says(tx, JULIET, f"c{number}", COMMENTS_PREFIX + number, ROMEO, proof=Proof.CERTIFICATE)
        says(tx, BENVOLIO, f"r{number}", via=item_uri(ROMEO, COMMENTS_PREFIX + number, f"c{number}"))
    retract(tx, "1")
    feed = tx.nodes.find(BENVOLIO, MICROBLOG)
    assert feed is not None and [item.id for item in tx.items.newest(feed.key, 9)] == ["r2"]
