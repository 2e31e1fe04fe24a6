"""XEP-0470 in somebody's hands; what may be repeated; messages and nudges."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from microblog.model.account import Account
from microblog.model.entry import HEART, Entry
from microblog.model.errors import Conflict, ItemNotFound, NotAllowed, ResourceConstraint
from microblog.model.event import ItemPublished
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.model.uri import ItemAddress, node_uri
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import conversing, copying, depending, following, publishing, receiving
from microblog.usecases.conversing import Direct, React, Reacted, reactions
from microblog.usecases.publishing import Publish
from tests.conftest import Time
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    NURSE,
    ROMEO,
    an_account,
    an_entry,
    post,
    retract,
    retrieve,
    subscribe,
)

POST = ItemAddress(ROMEO, MICROBLOG, "1")
THERE = ItemAddress(JULIET, MICROBLOG, "7")
COMMENTS_THERE = COMMENTS_PREFIX + "7"
CLAP = "👏"


def attach(before: str, said: tuple[str, ...]) -> str:
    """A payload that shows what it was made of; of an attachment that says more, the rest stays."""
    rest = "noticed" if "noticed" in before else ""
    return f"<attachments>{rest}{''.join(said)}</attachments>" if said or rest else ""


def react(
    tx: Transaction,
    change: Callable[[tuple[str, ...]], tuple[str, ...]],
    address: ItemAddress = POST,
    by: JID = ROMEO,
    thread: str = "",
) -> Reacted:
    return conversing.react(
        tx,
        React(
            actor=by,
            address=address,
            change=change,
            attach=attach,
            send=lambda service, node, item_id, payload: f"publish {service} {node} {item_id} {payload}",
            withdraw=lambda service, node, item_id: f"retract {service} {node} {item_id}",
            heart="heart",
            thread=thread,
        ),
    )


def say(*said: str) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    return lambda before: (*before, *said)


def silent(before: tuple[str, ...]) -> tuple[str, ...]:
    return ()


def owed(tx: Transaction, domain: str = "capulet.example", *audiences: Audience) -> list[str | None]:
    return [row.stanza for row in tx.outbox.owed(domain, frozenset(audiences or Audience), limit=20)]


def received(tx: Transaction, item_id: str = "7", audience: Audience = Audience.PUBLIC, **said: str) -> None:
    """Romeo follows Juliet, whose feed is open, and gets a post."""
    follow = following.Follow(account=ROMEO, service=JULIET, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
    following.record_subscribe(tx, follow)
    said = {"thread": node_uri(JULIET, COMMENTS_THERE)} | said
    item = copying.ReceivedItem(
        id=item_id,
        payload="<entry/>",
        entry=Entry(title="Good night!", audience=audience, **said),  # type: ignore[arg-type]
    )
    request = receiving.Received(
        service=JULIET,
        node=MICROBLOG,
        recipient=ROMEO,
        sender_domain="capulet.example",
        proof=Proof.CERTIFICATE,
        published=(item,),
    )
    receiving.receive(tx, request)
    node = tx.nodes.find(JULIET, MICROBLOG)
    assert node is not None
    tx.items.set_audience(node.key, Audience.FOLLOWERS, audience)


# here


def test_a_reaction_is_attached_to_the_post_and_told(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    assert react(tx, say(HEART), by=BENVOLIO) == Reacted(reactions=(HEART,), new=True)
    event = tx.emitted[-1]
    assert isinstance(event, ItemPublished)
    assert (event.node.service, event.node.name, event.item.id) == (
        ROMEO,
        depending.attachments_of(POST),
        str(BENVOLIO),
    )
    assert reactions(tx, POST) == {HEART: 1}


def test_saying_it_again_says_nothing_new(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    react(tx, say(HEART))
    emitted = len(tx.emitted)
    assert react(tx, say(HEART)) == Reacted(reactions=(HEART,), new=False)
    assert len(tx.emitted) == emitted


def test_what_is_taken_back_is_gone(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    react(tx, say(HEART, CLAP))
    assert react(tx, lambda said: tuple(one for one in said if one != HEART)).reactions == (CLAP,)
    assert reactions(tx, POST) == {CLAP: 1}
    react(tx, silent)
    assert reactions(tx, POST) == {}
    assert retrieve(tx, ROMEO, depending.attachments_of(POST)).page.items == ()


def test_what_else_was_attached_stays(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    name = depending.attachments_of(POST)
    payload = "<attachments>noticed</attachments>"
    publishing.publish(tx, Publish(service=ROMEO, node=name, actor=ROMEO, item_id=str(ROMEO), payload=payload))
    react(tx, say(CLAP))
    react(tx, silent)
    assert [item.payload for item in retrieve(tx, ROMEO, name).page.items] == [payload]


def test_reactions_are_counted_by_people_the_most_frequent_first(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1")
    react(tx, say(CLAP))
    react(tx, say(HEART))
    react(tx, say(HEART), by=BENVOLIO)
    name = depending.attachments_of(POST)
    said = ("\u2764\ufe0f", CLAP, CLAP)
    request = Publish(service=ROMEO, node=name, actor=NURSE, item_id=str(NURSE), payload="<x/>", reactions=said)
    publishing.publish(tx, request)
    assert list(reactions(tx, POST).items()) == [(HEART, 3), (CLAP, 2)]


def test_a_comment_that_is_a_heart_counts_and_nobody_counts_twice(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    name = depending.attachments_of(POST)
    for by in (JULIET, NURSE):
        comment = Publish(service=ROMEO, node=COMMENTS_PREFIX + "1", actor=by, item_id=by.localpart, **an_entry(HEART))
        publishing.publish(tx, comment)
    request = Publish(service=ROMEO, node=name, actor=JULIET, item_id=str(JULIET), payload="<x/>", reactions=(HEART,))
    publishing.publish(tx, request)
    assert reactions(tx, POST) == {HEART: 2}
    retract(tx, "nurse", by=NURSE, node=COMMENTS_PREFIX + "1")
    assert reactions(tx, POST) == {HEART: 1}


def test_what_one_may_not_read_one_does_not_react_to(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1", audience=Audience.FOLLOWERS)
    with pytest.raises(ItemNotFound):
        react(tx, say(HEART), by=BENVOLIO)
    with pytest.raises(ItemNotFound):
        react(tx, say(HEART), ItemAddress(ROMEO, MICROBLOG, "none"))
    subscribe(tx, BENVOLIO)
    react(tx, say(HEART), by=BENVOLIO)
    assert reactions(tx, POST) == {HEART: 1}


def test_reactions_are_not_without_end(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    with pytest.raises(ResourceConstraint):
        react(tx, say(*(chr(0x1F600 + number) for number in range(21))))


def test_reactions_go_with_the_post(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    react(tx, say(HEART))
    retract(tx, "1")
    assert reactions(tx, POST) == {}


# elsewhere


def test_a_heart_for_somebody_elsewhere_goes_there_in_both_forms(tx: Transaction) -> None:
    an_account(tx)
    received(tx)
    reacted = react(tx, say(HEART), THERE)
    assert reacted.domains == ("capulet.example",)
    attached, heart = owed(tx)
    name = depending.attachments_of(THERE)
    assert attached == f"publish {JULIET} {name} {ROMEO} <attachments>{HEART}</attachments>"
    assert heart is not None and heart.startswith(f"publish {JULIET} {COMMENTS_THERE} heart-")
    assert reactions(tx, THERE) == {HEART: 1}
    assert react(tx, say(HEART), THERE).new is False
    react(tx, silent, THERE)
    assert owed(tx)[2:] == [
        f"retract {JULIET} {name} {ROMEO}",
        f"retract {JULIET} {COMMENTS_THERE} {heart.split()[3]}",
    ]
    assert reactions(tx, THERE) == {}
    react(tx, say(CLAP), THERE)
    assert owed(tx)[4:] == [f"publish {JULIET} {name} {ROMEO} <attachments>{CLAP}</attachments>"]


def test_what_is_an_answer_gets_no_heart_in_the_thread_of_another(tx: Transaction) -> None:
    an_account(tx)
    received(tx, answers=ItemAddress(NURSE, MICROBLOG, "1").uri)
    react(tx, say(HEART), THERE)
    assert len(owed(tx)) == 1


def test_what_is_not_kept_here_can_be_reacted_to(tx: Transaction) -> None:
    an_account(tx)
    react(tx, say(HEART), THERE, thread=node_uri(JULIET, COMMENTS_THERE))
    assert len(owed(tx)) == 2
    react(tx, say(CLAP), ItemAddress(JULIET, COMMENTS_THERE, "c1"), thread=node_uri(JULIET, COMMENTS_THERE))
    assert len(owed(tx)) == 3


def test_a_reaction_to_what_is_for_followers_waits_for_a_certificate(tx: Transaction) -> None:
    an_account(tx)
    received(tx, audience=Audience.FOLLOWERS)
    react(tx, say(HEART), THERE)
    assert owed(tx, "capulet.example", Audience.PUBLIC) == []
    assert len(owed(tx)) == 2


def test_only_followers_react_to_what_is_for_followers(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    received(tx, audience=Audience.FOLLOWERS)
    with pytest.raises(ItemNotFound):
        react(tx, say(HEART), THERE, by=BENVOLIO)


def test_what_went_elsewhere_has_no_reactions(tx: Transaction) -> None:
    an_account(tx)
    received(tx)
    react(tx, say(HEART), THERE)
    gone = receiving.Received(
        service=JULIET,
        node=MICROBLOG,
        recipient=ROMEO,
        sender_domain="capulet.example",
        proof=Proof.CERTIFICATE,
        retracted=("7",),
    )
    receiving.receive(tx, gone)
    assert reactions(tx, THERE) == {}
    with pytest.raises(ItemNotFound):
        react(tx, say(HEART), THERE)


# repeating


def test_what_is_public_is_repeated(tx: Transaction) -> None:
    an_account(tx)
    received(tx)
    assert conversing.repeatable(tx, ROMEO, THERE).address == THERE
    assert conversing.repeated_by(tx, ROMEO, THERE.uri) is None
    entry = Entry(title="Good night!", via=THERE.uri)
    repeat = Publish(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id="r1", payload="<entry/>", entry=entry)
    publishing.publish(tx, repeat)
    assert conversing.repeated_by(tx, ROMEO, THERE.uri) == ItemAddress(ROMEO, MICROBLOG, "r1")
    assert conversing.repeated_by(tx, BENVOLIO, THERE.uri) is None
    # Who repeats a repetition repeats what it repeats.
    assert conversing.repeatable(tx, ROMEO, ItemAddress(ROMEO, MICROBLOG, "r1")).address == THERE


@pytest.mark.parametrize("audience", [Audience.FOLLOWERS, Audience.LOCAL])
def test_what_is_not_public_is_not_repeated(tx: Transaction, audience: Audience) -> None:
    an_account(tx)
    post(tx, "1", audience=audience)
    with pytest.raises(NotAllowed):
        conversing.repeatable(tx, ROMEO, POST)


def test_what_is_gone_or_never_was_is_not_repeated(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    retract(tx, "1")
    for address in (POST, THERE, ItemAddress(ROMEO, MICROBLOG, "none")):
        with pytest.raises(ItemNotFound):
            conversing.repeatable(tx, ROMEO, address)


def test_somebody_s_private_post_is_not_there_for_others(tx: Transaction) -> None:
    an_account(tx)
    an_account(tx, BENVOLIO)
    post(tx, "1", audience=Audience.DIRECT, readers=(JULIET,))
    with pytest.raises(ItemNotFound):
        conversing.repeatable(tx, BENVOLIO, POST)
    with pytest.raises(NotAllowed):
        conversing.repeatable(tx, ROMEO, POST)


def test_at_an_address_elsewhere_nothing_local_is_there(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1", audience=Audience.LOCAL)
    assert conversing.see(tx, ROMEO, POST) is not None
    with pytest.raises(ItemNotFound):
        conversing.see(tx, ROMEO, POST, audiences=conversing.EVERYTHING - {Audience.LOCAL})


# from one to another


def account(tx: Transaction, jid: JID) -> Account:
    an_account(tx, jid)
    found = tx.accounts.get(jid.localpart)
    assert found is not None
    return found


def to(jid: JID) -> Direct:
    return Direct(actor=ROMEO, to=jid, message=lambda address: f"message to {address}")


def test_a_message_to_somebody_here_is_owed_to_nobody(tx: Transaction) -> None:
    account(tx, BENVOLIO)
    assert conversing.direct(tx, to(BENVOLIO)) == conversing.Directed(here=BENVOLIO)
    with pytest.raises(ItemNotFound):
        conversing.direct(tx, to(JID.parse("nobody@montague.example")))


def test_a_message_to_somebody_elsewhere_waits_for_a_certificate(tx: Transaction) -> None:
    assert conversing.direct(tx, to(JULIET)).domains == ("capulet.example",)
    assert owed(tx, "capulet.example", Audience.PUBLIC) == []
    assert owed(tx) == [f"message to {JULIET}"]


def test_a_message_reaches_confirmed_addresses_elsewhere_too(tx: Transaction) -> None:
    key = account(tx, BENVOLIO).key
    home, work = JID.parse("benvolio@capulet.example"), JID.parse("benvolio@verona.example")
    tx.linked.add(home, key, asked_there=True, confirmed=True)
    tx.linked.add(work, key, asked_there=False)
    assert conversing.direct(tx, to(BENVOLIO)) == conversing.Directed(here=BENVOLIO, domains=("capulet.example",))
    assert owed(tx) == [f"message to {home}"]


def test_one_is_nudged_once_a_day(database: Database, time: Time) -> None:
    key = database.run(lambda tx: (account(tx, BENVOLIO), account(tx, ROMEO))[1].key)

    def nudge(jid: JID) -> conversing.Directed:
        return database.run(conversing.nudge, key, to(jid))

    assert nudge(BENVOLIO).here == BENVOLIO
    assert nudge(JULIET).domains == ("capulet.example",)
    for again in (BENVOLIO, JULIET):
        with pytest.raises(Conflict):
            nudge(again)
    time.advance(timedelta(days=1).total_seconds())
    assert nudge(BENVOLIO).here == BENVOLIO
    with pytest.raises(Conflict):
        nudge(BENVOLIO)
    with pytest.raises(NotAllowed):
        nudge(ROMEO)
    with pytest.raises(ItemNotFound):
        nudge(JID.parse("nobody@montague.example"))
