"""XEP-0191: whom somebody blocked has nothing to do with them, nor they with those."""

from dataclasses import replace
from typing import Any

import pytest

from microblog.model.errors import (
    Blocking,
    Forbidden,
    ItemNotFound,
    NotAllowed,
    Refusal,
    ResourceConstraint,
    ServiceUnavailable,
)
from microblog.model.fanout import Told
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.quiet import Blocks
from microblog.model.subscription import SubscriptionState
from microblog.model.uri import ItemAddress
from microblog.store.transaction import Transaction
from microblog.usecases import (
    accepting,
    addressing,
    blocking,
    conversing,
    copying,
    following,
    linking,
    muting,
    publishing,
    reading,
    receiving,
    subscribing,
)
from microblog.usecases.blocking import Block, Blocked, Notices
from microblog.usecases.sight import Sight
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    MOOD,
    NURSE,
    PARIS,
    ROMEO,
    a_contact,
    an_account,
    an_entry,
    post,
    put,
    retrieve,
    subscribe,
)
from tests.usecases.timelines import arrives, writes

MERCUTIO = JID.parse("mercutio@montague.example")
CAPULET = JID("", "capulet.example")
NOTICES = Notices(ended=lambda subscription: f"<ended to='{subscription.jid}'/>", left=lambda *left: f"<left {left}/>")


@pytest.fixture
def people(tx: Transaction) -> Transaction:
    for jid in (ROMEO, MERCUTIO, BENVOLIO):
        an_account(tx, jid)
    return tx


def key(tx: Transaction, jid: JID = ROMEO) -> int:
    account = tx.accounts.get(jid.localpart)
    assert account is not None
    return account.key


def blocks(tx: Transaction, *jids: JID, by: JID = ROMEO) -> Blocked:
    return blocking.block(tx, Block(account=key(tx, by), actor=by, jids=jids, notices=NOTICES))


def followers(tx: Transaction) -> set[JID]:
    return set(subscribing.followers(tx, subscribing.Followers(service=ROMEO)))


def follows(tx: Transaction, reader: JID, author: JID) -> bool:
    return any(one.node.service == author for one in following.follows(tx, reader))


def home(tx: Transaction, reader: JID) -> list[str]:
    return [one.item.id for one in reading.home(tx, reading.Reading(actor=reader)).posts]


def test_what_matches() -> None:
    found = Blocks.of(map(JID.parse, ("a@b.example", "c.example", "d@e.example/r")))
    for text in ("a@b.example", "a@b.example/any", "c.example", "x@c.example", "x@c.example/y", "d@e.example/r"):
        assert found.match(JID.parse(text)), text
    for text in ("b.example", "x@b.example", "a.c.example", "d@e.example", "d@e.example/q"):
        assert not found.match(JID.parse(text)), text


def test_subscriptions_end_both_ways(people: Transaction) -> None:
    tx = people
    subscribe(tx, BENVOLIO)
    subscribe(tx, ROMEO, service=BENVOLIO)
    subscribe(tx, JULIET)
    subscribe(tx, NURSE)
    arrives(tx, JULIET, "j1", to=ROMEO)
    assert blocks(tx, BENVOLIO, JULIET) == Blocked(new=(BENVOLIO, JULIET))
    assert not follows(tx, BENVOLIO, ROMEO) and not follows(tx, ROMEO, BENVOLIO) and not follows(tx, ROMEO, JULIET)
    assert followers(tx) == {NURSE}
    written = "".join(text for (text,) in tx.connection.exec_driver_sql("SELECT stanza FROM outbox").all() if text)
    assert "<ended to='juliet@capulet.example'/>" in written and "<left " in written
    assert blocking.blocked(tx, key(tx)) == (BENVOLIO, JULIET)
    assert blocks(tx, JULIET) == Blocked(new=())


def test_nor_are_they_made_again(people: Transaction) -> None:
    tx = people
    blocks(tx, BENVOLIO, JULIET)
    for reader in (BENVOLIO, JULIET):
        with pytest.raises(Forbidden):
            subscribe(tx, reader)
    with pytest.raises(Blocking):
        subscribe(tx, ROMEO, service=BENVOLIO)
    with pytest.raises(Blocking):
        following.may_follow(tx, ROMEO, JULIET, MICROBLOG)
    assert blocking.unblock(tx, key(tx), (BENVOLIO, NURSE)) == (BENVOLIO,)
    subscribe(tx, BENVOLIO)
    subscribe(tx, ROMEO, service=BENVOLIO)


def test_a_domain(people: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    tx = people
    monkeypatch.setattr(blocking, "SLICE", 2)
    for jid in (*(JID(f"f{n}", "capulet.example") for n in range(5)), PARIS):
        subscribe(tx, jid)
    for name in ("a", "b", "c"):
        arrives(tx, JID(name, "capulet.example"), name, to=ROMEO)
    arrives(tx, PARIS, "p", to=ROMEO)
    assert blocks(tx, CAPULET) == Blocked(new=(CAPULET,), more=(CAPULET,))
    assert blocking.unfinished(tx) == {ROMEO: (CAPULET,)}
    rounds = 0
    while blocking.sever(tx, ROMEO, (CAPULET,), NOTICES):
        rounds += 1
    assert followers(tx) == {PARIS} and rounds == 2
    assert {one.node.service for one in following.follows(tx, ROMEO)} == {PARIS}
    with pytest.raises(Forbidden):
        subscribe(tx, NURSE)


def test_they_read_nothing(people: Transaction) -> None:
    tx = people
    post(tx, "1")
    blocks(tx, BENVOLIO, JULIET)
    for reader in (BENVOLIO, JULIET):
        with pytest.raises(Refusal):
            retrieve(tx, reader)
    assert [item.id for item in retrieve(tx, MERCUTIO).page.items] == ["1"]
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    assert subscribing.may_read(tx, node.key, (BENVOLIO, MERCUTIO, JULIET)) == {MERCUTIO}


def test_neither_sees_the_other_anywhere(people: Transaction) -> None:
    tx = people
    subscribe(tx, MERCUTIO)
    subscribe(tx, MERCUTIO, service=BENVOLIO)
    writes(tx, ROMEO, "r", 3, mentions=(BENVOLIO,))
    writes(tx, BENVOLIO, "b", 2, mentions=(ROMEO,))
    blocks(tx, BENVOLIO)
    local = {
        jid: [one.item.id for one in reading.local(tx, reading.Reading(actor=jid)).posts]
        for jid in (ROMEO, BENVOLIO, MERCUTIO)
    }
    assert local == {ROMEO: ["r"], BENVOLIO: ["b"], MERCUTIO: ["b", "r"]}
    for jid in (ROMEO, BENVOLIO):
        assert reading.mentions(tx, reading.Reading(actor=jid)).posts == ()
    for reader, author in ((ROMEO, BENVOLIO), (BENVOLIO, ROMEO)):
        try:
            found = reading.author(tx, author, reading.Reading(actor=reader)).posts
        except Refusal:
            found = ()
        assert found == ()
    assert home(tx, MERCUTIO) == ["b", "r"]


def test_nor_in_the_threads_of_others(people: Transaction) -> None:
    tx = people
    root = ItemAddress(MERCUTIO, MICROBLOG, "root")
    thread = f"xmpp:{MERCUTIO}?;node=urn%3Axmpp%3Amicroblog%3A0%3Acomments%2Froot"
    writes(tx, MERCUTIO, "root", 9, thread=thread)
    for n, jid in enumerate((ROMEO, BENVOLIO)):
        writes(tx, jid, f"by {jid.localpart}", 5 - n, thread=thread, answers=root.uri, mentions=(MERCUTIO,))
    blocks(tx, BENVOLIO)
    seen = {
        reader: [one.item.id for one in reading.thread(tx, reading.Thread(address=root, actor=reader)).posts]
        for reader in (ROMEO, BENVOLIO, MERCUTIO)
    }
    assert seen[ROMEO] == ["root", "by romeo"]
    assert seen[BENVOLIO] == ["root", "by benvolio"]
    assert seen[MERCUTIO] == ["root", "by romeo", "by benvolio"]


def test_they_cannot_answer_or_react(people: Transaction) -> None:
    tx = people
    post(tx, "1")
    address = ItemAddress(ROMEO, MICROBLOG, "1")
    blocks(tx, BENVOLIO, JULIET)
    with pytest.raises(ItemNotFound):
        conversing.see(tx, BENVOLIO, address)
    comments = "urn:xmpp:microblog:0:comments/1"
    for actor in (BENVOLIO, JULIET, MERCUTIO):
        comment = publishing.Publish(service=ROMEO, node=comments, actor=actor, item_id="c", **an_entry("no"))
        if actor == MERCUTIO:
            publishing.publish(tx, comment)
            continue
        with pytest.raises(Refusal):
            publishing.publish(tx, comment)
    with pytest.raises(Refusal):
        conversing.repeatable(tx, BENVOLIO, address)


def test_nor_write_or_nudge(people: Transaction) -> None:
    tx = people
    blocks(tx, BENVOLIO, JULIET)

    def direct(by: JID, to: JID) -> conversing.Direct:
        return conversing.Direct(actor=by, to=to, message=lambda jid: f"<message to='{jid}'/>")

    with pytest.raises(ServiceUnavailable):
        conversing.direct(tx, direct(BENVOLIO, ROMEO))
    with pytest.raises(ServiceUnavailable):
        conversing.nudge(tx, key(tx, BENVOLIO), direct(BENVOLIO, ROMEO))
    for to in (BENVOLIO, JULIET):
        with pytest.raises(Blocking):
            conversing.direct(tx, direct(ROMEO, to))
    # What failed does not count as today's nudge.
    blocking.unblock_all(tx, key(tx))
    conversing.nudge(tx, key(tx, BENVOLIO), direct(BENVOLIO, ROMEO))


def test_what_a_contacts_feed_brings_is_not_for_them(people: Transaction) -> None:
    tx = people
    a_contact(tx, ROMEO, JULIET, "both")
    blocks(tx, JULIET)
    payload = an_entry("sweet")
    item = copying.ReceivedItem(id="j", payload=payload["payload"], entry=payload["entry"])
    notice = receiving.Received(
        service=JULIET,
        node=MICROBLOG,
        recipient=ROMEO,
        sender_domain="capulet.example",
        proof=Proof.CERTIFICATE,
        published=(item,),
    )
    assert receiving.receive(tx, notice).ignored
    assert home(tx, ROMEO) == []


def test_all_addresses_of_somebody(people: Transaction) -> None:
    """Benvolio has an address elsewhere, and is blocked by one or the other."""
    tx = people
    elsewhere = JID.parse("ben@verona.example")
    tx.linked.add(elsewhere, key(tx, BENVOLIO), asked_there=True, confirmed=True)
    writes(tx, BENVOLIO, "b", 1)
    for blocked, other in ((BENVOLIO, elsewhere), (elsewhere, BENVOLIO)):
        subscribe(tx, other)
        blocks(tx, blocked)
        assert followers(tx) == set()
        assert tx.blocks.has(ROMEO, BENVOLIO)
        assert {jid for _, jid in tx.blocks.all()} == {BENVOLIO, elsewhere}
        assert reading.local(tx, reading.Reading(actor=ROMEO)).posts == ()
        assert linking.owner(tx, elsewhere) is not None
        blocking.unblock_all(tx, key(tx))
        assert len(reading.local(tx, reading.Reading(actor=ROMEO)).posts) == 1


def test_whom_one_cannot_block(people: Transaction) -> None:
    tx = people
    post_ = JID("post", tx.domain)
    own: dict[str, Any] = {"account": key(tx), "actor": ROMEO, "notices": NOTICES, "own": frozenset((post_,))}
    for jid in (ROMEO, ROMEO.with_resource("x"), JID("", tx.domain), JID("", tx.domain, "x"), post_):
        with pytest.raises(NotAllowed):
            blocking.block(tx, Block(jids=(BENVOLIO, jid), **own))
    assert blocking.blocked(tx, key(tx)) == ()


def test_there_is_an_end(people: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "BLOCKS_MAX", 2)
    with pytest.raises(ResourceConstraint):
        blocks(people, BENVOLIO, JULIET, PARIS)
    assert blocking.blocked(people, key(people)) == ()
    blocks(people, BENVOLIO, JULIET, JULIET)


def test_what_is_direct(people: Transaction) -> None:
    """A post for somebody who has blocked its author is not shown to them."""
    tx = people
    blocks(tx, BENVOLIO)
    writes(tx, BENVOLIO, "d", 1, audience=Audience.DIRECT, readers=(ROMEO,), mentions=(ROMEO,))
    assert reading.mentions(tx, reading.Reading(actor=ROMEO)).posts == () and home(tx, ROMEO) == []


def test_a_node_that_names_them(people: Transaction) -> None:
    """What another node delivers for somebody by name does not reach who has blocked its author."""
    tx = people
    blocks(tx, JULIET)

    def delivers(number: int, audience: Told) -> accepting.Accepted:
        entry = an_entry(f"to {number}")
        mentioned = replace(entry["entry"], mentions=(ROMEO, MERCUTIO))
        item = copying.ReceivedItem(id=f"j{number}", payload=entry["payload"], entry=mentioned)
        arrival = accepting.Arrival(
            number=number,
            author=JULIET,
            node=MICROBLOG,
            audience=audience,
            to=(ROMEO, MERCUTIO),
            published=item,
        )
        delivery = accepting.Delivery(
            domain="capulet.example",
            proof=Proof.CERTIFICATE,
            trusted=True,
            epoch="e",
            prev=number - 1,
            entries=(arrival,),
            write=lambda jid, node, item: f"<message to='{jid}'/>",
        )
        return accepting.accept(tx, delivery)

    for number, audience in ((1, Told.PUBLIC), (2, Told.DIRECT)):
        assert {letter.account for letter in delivers(number, audience).letters} == {MERCUTIO}
    assert reading.mentions(tx, reading.Reading(actor=ROMEO)).posts == ()
    assert len(reading.mentions(tx, reading.Reading(actor=MERCUTIO)).posts) == 2


def test_whom_one_blocked_is_not_written_to_when_one_names_them(people: Transaction) -> None:
    tx = people
    blocks(tx, JULIET)
    request = publishing.Publish(
        service=ROMEO,
        node=MICROBLOG,
        actor=ROMEO,
        item_id="1",
        payload=an_entry()["payload"],
        entry=replace(an_entry()["entry"], mentions=(JULIET, PARIS)),
        mention=lambda jid, node, item: f"<message to='{jid}'/>",
    )
    publishing.publish(tx, request)
    written = [stanza for (stanza,) in tx.connection.exec_driver_sql("SELECT stanza FROM outbox").all() if stanza]
    assert written == [f"<message to='{PARIS}'/>"]


def test_last_items_are_not_for_them(people: Transaction) -> None:
    """Nor of somebody who is muted, when a client comes on line that asks for what contacts published last."""
    tx = people
    put(tx, MOOD)
    a_contact(tx, ROMEO, BENVOLIO, "both")
    wanted = subscribing.LastItems(reader=BENVOLIO.with_resource("x"), services=(ROMEO,), nodes=frozenset((MOOD,)))
    assert [item.id for _, item in subscribing.last_items(tx, wanted)] == ["current"]
    blocks(tx, BENVOLIO)
    assert subscribing.last_items(tx, wanted) == ()
    blocking.unblock_all(tx, key(tx))
    assert [item.id for _, item in subscribing.last_items(tx, wanted)] == ["current"]
    muting.mute(tx, muting.MuteThis(account=key(tx, BENVOLIO), actor=BENVOLIO, what=ROMEO))
    assert subscribing.last_items(tx, wanted) == ()


def test_who_is_blocked_while_they_are_asked(people: Transaction) -> None:
    """The answer to a subscription that was asked for before."""
    tx = people
    blocks(tx, JULIET)
    granted = following.Follow(account=ROMEO, service=JULIET, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
    with pytest.raises(Blocking):
        following.record_subscribe(tx, granted)
    assert not follows(tx, ROMEO, JULIET)


def test_answers_do_not_go_to_a_thread_of_theirs(people: Transaction) -> None:
    tx = people

    def answers(item_id: str) -> list[str]:
        thread = f"xmpp:{JULIET}?;node=urn%3Axmpp%3Amicroblog%3A0%3Acomments%2Froot"
        entry = an_entry("to the nurse")
        said = replace(entry["entry"], answers=ItemAddress(NURSE, MICROBLOG, "n").uri, thread=thread)
        request = publishing.Publish(
            service=ROMEO,
            node=MICROBLOG,
            actor=ROMEO,
            item_id=item_id,
            payload=entry["payload"],
            entry=said,
            copy=lambda service, node, item: f"<copy to='{service}' id='{item.id}'/>",
        )
        publishing.publish(tx, request)
        return [stanza for (stanza,) in tx.connection.exec_driver_sql("SELECT stanza FROM outbox").all() if stanza]

    assert answers("1") == [f"<copy to='{JULIET}' id='1'/>"]
    blocks(tx, JULIET)
    assert answers("2") == [f"<copy to='{JULIET}' id='1'/>"]


def test_many_are_severed_together(people: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many one blocks at once: what one follows is looked through once, and no slice is longer for it."""
    tx = people
    domains = [JID("", f"d{n}.example") for n in range(4)]
    for n, domain in enumerate(domains):
        for name in ("a", "b"):
            subscribe(tx, JID(f"{name}{n}", domain.domainpart))
    monkeypatch.setattr(blocking, "SLICE", 3)
    looked = []
    follows_of = type(tx.subscriptions).follows

    def spy(store: Any, jid: JID) -> Any:
        looked.append(jid)
        return follows_of(store, jid)

    monkeypatch.setattr(type(tx.subscriptions), "follows", spy)
    done = blocks(tx, *domains)
    assert len(followers(tx)) == 5 and set(done.more) == set(domains)
    assert blocking.sever(tx, ROMEO, done.more, NOTICES)
    assert not blocking.sever(tx, ROMEO, done.more, NOTICES)
    assert followers(tx) == set()
    looked.clear()
    assert not blocks(tx, *(JID(f"f{n}", "verona.example") for n in range(50))).more
    assert looked == [ROMEO]


def test_a_longer_domain_is_another(people: Transaction) -> None:
    tx = people
    evil = JID("romeo.evil", "montague.example")
    an_account(tx, evil)
    elsewhere = JID.parse("x@verona.example")
    tx.linked.add(elsewhere, key(tx, evil), asked_there=False, confirmed=True)
    blocks(tx, JID("romeo", "montague.example.evil"), by=BENVOLIO)
    assert not tx.blocks.of_name("benvolio").match(elsewhere)
    assert not [jid for _, jid in tx.blocks.all() if jid == elsewhere]
    blocks(tx, evil, by=BENVOLIO)
    assert tx.blocks.of_name("benvolio").match(elsewhere)


def test_what_they_say_at_others_is_not_there(people: Transaction) -> None:
    """Whichever way one comes to it: by its number, from a line that waited, to watch it or to answer it."""
    tx = people
    writes(tx, MERCUTIO, "root", 9)
    comments = "urn:xmpp:microblog:0:comments/root"
    for author in (BENVOLIO, MERCUTIO):
        comment = publishing.Publish(
            service=MERCUTIO, node=comments, actor=author, item_id=f"by {author.localpart}", **an_entry("so")
        )
        publishing.publish(tx, comment)

    def seen(reader: JID) -> set[str]:
        found = [tx.nodes.look_up(MERCUTIO, comments, f"by {name}") for name in ("benvolio", "mercutio")]
        return {one.item.id for one in found if one and one.item and Sight(tx, reader).readable(one.node.key, one.item)}

    assert seen(ROMEO) == {"by benvolio", "by mercutio"}
    blocks(tx, BENVOLIO)
    assert seen(ROMEO) == {"by mercutio"} and seen(BENVOLIO) == {"by benvolio", "by mercutio"}


def test_what_is_direct_is_not_for_whom_its_author_blocked(people: Transaction) -> None:
    tx = people
    blocks(tx, JULIET)
    item = writes(tx, ROMEO, "d", 1, audience=Audience.DIRECT, readers=(JULIET, NURSE), mentions=(JULIET, NURSE))
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    assert addressing.named_elsewhere(tx, node, item, "capulet.example", lambda payload: ()) == (NURSE,)
