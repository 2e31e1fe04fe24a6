"""What the administrator says of other domains, and what follows from it."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from microblog.model.errors import ItemNotFound, NotAcceptable
from microblog.model.event import ItemRetracted, NodeDeleted
from microblog.model.item import PageRequest, Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.policy import Grade, Rule
from microblog.model.uri import comments_uri
from microblog.store import policies, tables
from microblog.store.transaction import Transaction
from microblog.usecases import following, policing, queueing, reading
from microblog.usecases.reading import Reading
from tests.conftest import Time
from tests.usecases.pubsub import (
    BENVOLIO,
    JULIET,
    NURSE,
    PARIS,
    ROMEO,
    a_contact,
    an_account,
    an_entry,
    ids,
    post,
    put,
    retrieve,
    subscribe,
)
from tests.usecases.timelines import arrives

CAPULET, VERONA = "capulet.example", "verona.example"
BELOW = JID.parse("tybalt@chat.capulet.example")
DAY = 86_400


@pytest.fixture
def verona(tx: Transaction) -> Transaction:
    """Juliet and Paris follow Romeo and Benvolio follows them; both have posted, Juliet has also commented."""
    an_account(tx)
    an_account(tx, BENVOLIO)
    for friend in (JULIET, PARIS):
        subscribe(tx, friend)
        arrives(tx, friend, "1", tags=("love",), mentions=(ROMEO,))
    post(tx, "1")
    put(tx, f"{COMMENTS_PREFIX}1", "c1", actor=JULIET, proof=Proof.CERTIFICATE, **an_entry("O Romeo"))
    tx.emitted.clear()
    return tx


def cut(tx: Transaction, *domains: str, **more: Any) -> None:
    """What a running server does when domains are refused."""
    for domain in domains:
        for said in policing.said_by(tx, domain):
            policing.unsay(tx, said)
        while policing.sever(tx, domain, **more):
            pass


def titles(page: reading.TimelinePage) -> list[str]:
    return sorted(f"{one.node.service}/{one.item.id}" for one in page.posts)


def tagged(tx: Transaction, reader: JID = ROMEO) -> list[str]:
    return titles(reading.tag(tx, "love", Reading(actor=reader, page=PageRequest())))


def mentions(tx: Transaction, reader: JID = ROMEO) -> list[str]:
    page = reading.mentions(tx, Reading(actor=reader, page=PageRequest()))
    return sorted(f"{one.node.service}/{one.item.id}" for one in page.posts if one.node.name == MICROBLOG)


# rules


def test_a_rule_is_set_changed_and_reset(tx: Transaction) -> None:
    policing.set_grade(tx, CAPULET, Grade.SILENCED, " a  plague ")
    policing.set_dialback(tx, CAPULET, True)
    policing.set_grade(tx, CAPULET, Grade.REFUSED)
    assert tx.policies.rules() == [Rule(domain=CAPULET, grade=Grade.REFUSED, dialback=True)]
    policing.reset(tx, CAPULET)
    assert tx.policies.rules() == []
    with pytest.raises(ItemNotFound):
        policing.reset(tx, CAPULET)
    with pytest.raises(NotAcceptable):
        policing.set_grade(tx, tx.domain, Grade.REFUSED)


def test_all_there_is_to_say_of_a_domain(verona: Transaction) -> None:
    policing.set_grade(verona, "example", Grade.NO_MEDIA)
    shown = policing.show(verona, CAPULET, "open")
    assert (shown.grade, shown.follows, shown.followers) == (Grade.NO_MEDIA, 1, 1)
    assert [rule.domain for rule in shown.rules] == ["example"]
    assert policing.show(verona, "mantua.test", "allowlist").grade is Grade.REFUSED


# lists


def test_a_list_says_what_it_said_last(tx: Transaction) -> None:
    service, node = JID("", VERONA), "urn:x-microblog:policy:0"
    known = policing.add_list(tx, service, node)
    for names in (("spam.example", "rats.example"), ("rats.example",)):
        rules = [Rule(domain=name, grade=Grade.REFUSED, source=known.source) for name in names]
        policing.list_fetched(tx, VERONA, node, rules)
    assert [rule.domain for rule in tx.policies.rules()] == ["rats.example"]
    tx.policies.not_fetched(VERONA, node, "nobody answers")
    (listed,) = tx.policies.lists()
    assert (listed.fetched, listed.problem) == (tx.now, "nobody answers")
    assert tx.policies.count(known.source) == 1
    policing.remove_list(tx, service, node)
    assert tx.policies.rules() == [] and tx.policies.lists() == []
    policing.list_fetched(tx, VERONA, node, [Rule(domain="late.example", grade=Grade.REFUSED, source=known.source)])
    assert tx.policies.rules() == []


def test_of_a_long_list_only_what_changed_is_written(tx: Transaction, time: Time) -> None:
    policing.add_list(tx, JID("", VERONA), "list")
    (known,) = tx.policies.lists()
    rules = [Rule(domain=f"rat{n}.example", grade=Grade.REFUSED, source=known.source) for n in range(50)]
    assert policing.list_fetched(tx, VERONA, "list", rules)
    later = tx.now = tx.now + timedelta(hours=1)
    assert not policing.list_fetched(tx, VERONA, "list", rules)
    changed = [*rules[2:], Rule(domain="rat1.example", grade=Grade.SILENCED, source=known.source)]
    assert policing.list_fetched(tx, VERONA, "list", changed)
    assert {rule.domain: rule for rule in tx.policies.rules()} == {rule.domain: rule for rule in changed}
    written = select(tables.domain_policies.c.domain).where(tables.domain_policies.c.created == later)
    assert tx.connection.execute(written).scalars().all() == ["rat1.example"]


def test_whether_anybody_is_silenced_is_not_looked_for_in_all_rules(tx: Transaction) -> None:
    if tx.connection.dialect.name != "sqlite":
        pytest.skip("PostgreSQL reads a small table whole, whatever indexes there are")
    asked = str(policies._SILENCED.compile(tx.connection, compile_kwargs={"literal_binds": True}))
    (plan,) = tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}")
    assert "ix_domain_policies_silenced" in plan[3]


def test_only_so_many_lists_are_followed(tx: Transaction) -> None:
    for number in range(policing.LISTS_MAX):
        policing.add_list(tx, JID("", VERONA), str(number))
    with pytest.raises(NotAcceptable):
        policing.add_list(tx, JID("", VERONA), "another")


# refused


def test_who_is_present_here_at_all(verona: Transaction) -> None:
    verona.outbox.add_stanza("mantua.example", "<message/>")
    assert policing.present(verona) == [CAPULET, "mantua.example", VERONA]


def test_who_only_said_something_is_present_too(verona: Transaction) -> None:
    put(verona, f"{COMMENTS_PREFIX}1", "c2", actor=JID.parse("rat@mantua.example"), proof=Proof.DIALBACK, **an_entry())
    assert "mantua.example" in policing.present(verona)
    cut(verona, "mantua.example")
    assert "mantua.example" not in policing.present(verona)


def test_who_was_only_sent_something_is_present_too(verona: Transaction) -> None:
    """What was numbered in its log does not go when the domain is let in again."""
    verona.peers.set("mantua.example", number=2, acknowledged=1)
    assert "mantua.example" in policing.present(verona)
    cut(verona, "mantua.example")
    assert "mantua.example" not in policing.present(verona)
    assert verona.peers.owed() == []


def test_what_there_is_of_a_refused_domain_goes_and_of_others_stays(verona: Transaction) -> None:
    romeo = verona.nodes.find(ROMEO, MICROBLOG)
    assert romeo is not None
    verona.outbox.add_stanza(CAPULET, "<message/>")
    cut(verona, CAPULET)
    assert set(policing.present(verona)) == {VERONA}
    assert verona.subscriptions.domains(romeo, 10) == [VERONA]
    assert [followed.node.service for followed in following.follows(verona, BENVOLIO)] == [PARIS]
    assert verona.nodes.find(JULIET, MICROBLOG) is None
    assert ids(retrieve(verona, node=f"{COMMENTS_PREFIX}1")) == []
    gone = [event for event in verona.emitted if isinstance(event, NodeDeleted)]
    assert [(event.node.service, event.subscribers) for event in gone] == [(JULIET, (BENVOLIO,))]
    taken_back = [event.item_id for event in verona.emitted if isinstance(event, ItemRetracted)]
    assert taken_back == ["c1"]
    assert tagged(verona) == mentions(verona) == [f"{PARIS}/1"]


def test_a_domain_below_is_another_one_and_found_by_itself(verona: Transaction) -> None:
    arrives(verona, BELOW, "1")
    cut(verona, CAPULET)
    assert policing.present(verona) == ["chat.capulet.example", VERONA]


def test_much_goes_piece_by_piece(verona: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policing, "NODES_AT_ONCE", 2)
    monkeypatch.setattr(policing, "FOLLOWERS_AT_ONCE", 2)
    monkeypatch.setattr(queueing, "DROPPED_AT_ONCE", 2)
    for number in range(5):
        arrives(verona, JID(f"maid{number}", CAPULET), "1")
        subscribe(verona, JID(f"maid{number}", CAPULET))
        verona.outbox.add_stanza(CAPULET, "<message/>")
    steps = 1
    for said in policing.said_by(verona, CAPULET):
        policing.unsay(verona, said)
    while policing.sever(verona, CAPULET):
        steps += 1
    assert steps > 5 and policing.present(verona) == [VERONA]


def test_a_running_server_hears_of_it(verona: Transaction) -> None:
    cut(verona, CAPULET, outside=True)
    kinds = [kind for kind, _ in verona.outside_changes.take(10)]
    assert sorted(kinds) == ["dropped", "node"]


# silenced


def test_posts_of_a_silenced_domain_are_for_those_who_follow(verona: Transaction) -> None:
    both = [f"{JULIET}/1", f"{PARIS}/1"]
    assert tagged(verona) == tagged(verona, BENVOLIO) == mentions(verona) == both
    policing.set_grade(verona, CAPULET, Grade.SILENCED)
    assert tagged(verona) == mentions(verona) == [f"{PARIS}/1"]
    assert tagged(verona, BENVOLIO) == both
    assert titles(reading.home(verona, Reading(actor=BENVOLIO, page=PageRequest()))) == both
    policing.reset(verona, CAPULET)
    assert tagged(verona) == both


def test_who_subscribes_to_a_tag_hears_nothing_of_them(verona: Transaction) -> None:
    policing.set_grade(verona, CAPULET, Grade.SILENCED)
    node = verona.nodes.find(JULIET, MICROBLOG)
    assert node is not None
    item = verona.items.newest(node.key, 1)[0]
    readers = {reading.tag_node("love"): frozenset((ROMEO, BENVOLIO))}
    assert reading.told(verona, reading.Telling(node=node, item=item, readers=readers)) == {
        reading.tag_node("love"): {BENVOLIO}
    }


def test_a_rule_above_silences_too(verona: Transaction) -> None:
    arrives(verona, BELOW, "1", tags=("love",))
    policing.set_grade(verona, CAPULET, Grade.SILENCED)
    assert tagged(verona) == [f"{PARIS}/1"]
    policing.set_grade(verona, "chat.capulet.example", Grade.ALLOWED)
    assert tagged(verona) == [f"{PARIS}/1", f"{BELOW}/1"]


def test_answers_from_a_silenced_domain_are_in_no_thread(verona: Transaction) -> None:
    thread = comments_uri(ROMEO, "1")
    for friend in (JULIET, PARIS):
        arrives(
            verona,
            friend,
            "answer",
            thread=thread,
            answers="xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1",
        )
    policing.set_grade(verona, CAPULET, Grade.SILENCED)
    replies = [
        item.publisher
        for node, item in verona.timelines.replies(thread, 10)
        if reading.Sight(verona, ROMEO).readable(node, item)
    ]
    assert replies == [PARIS]


# strangers


def test_strangers_have_a_budget_for_the_day(tx: Transaction, time: Time) -> None:
    first, later = tx.limits.strangers_first_day, tx.limits.strangers_per_day
    assert tx.policies.take_stranger(CAPULET, first)
    assert not tx.policies.take_stranger(CAPULET)
    assert tx.policies.take_stranger(VERONA)
    tx.now = tx.now.replace(day=tx.now.day + 1)
    assert tx.policies.take_stranger(CAPULET, later)
    assert not tx.policies.take_stranger(CAPULET)
    assert not tx.policies.take_stranger(CAPULET)


def test_whom_somebody_follows_is_no_stranger(verona: Transaction) -> None:
    assert verona.policies.take_stranger(CAPULET, 10_000)
    assert verona.policies.take_stranger(CAPULET, 10_000)
    assert not verona.policies.take_stranger("chat.capulet.example", 10_000)


def test_a_silenced_domain_has_no_budget(verona: Transaction) -> None:
    policing.set_grade(verona, CAPULET, Grade.SILENCED)
    assert not verona.policies.take_stranger(CAPULET)


def test_who_is_known_to_an_account(verona: Transaction) -> None:
    assert not policing.is_known(verona, ROMEO, JULIET)
    assert policing.is_known(verona, BENVOLIO, JULIET.with_resource("balcony"))
    a_contact(verona, ROMEO, NURSE)
    assert policing.is_known(verona, ROMEO, NURSE)
