"""Federation policy in a running node: what is let in of whom, and what happens when that changes."""

import pytest

from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX
from microblog.model.policy import Grade
from microblog.usecases import policing
from microblog.wire import ns
from microblog.wire.errors import read_condition
from microblog.xep.policy import Policy
from tests.conftest import Time
from tests.xep.square import FEED, Square, publishes
from tests.xep.test_following import JULIET, ROMEO, post, romeo_follows

CAPULET = "capulet.example"
NURSE = "nurse@capulet.example/market"
PICTURE = "<link rel='enclosure' href='https://capulet.example/rose.png'/>"


@pytest.fixture
def policy(square: Square) -> Policy:
    made = Policy(square.database, "open", square.clock, square.tasks)
    square.messages.admit = made.admit
    square.following.taken = square.following.follows.taken = made.taken
    square.pubsub._policy = made
    return made


def says(square: Square, policy: Policy, grade: Grade, domain: str = CAPULET) -> None:
    """The administrator, on the command line."""
    square.database.run(policing.set_grade, domain, grade)
    policy.changed()


def writes(square: Square, number: int = 1, from_: str = NURSE) -> str | None:
    """Somebody writes to Romeo; the error that comes back, if one does."""
    body = "<body>Peter!</body>"
    square.inject(f"<message type='chat' id='m{number}' from='{from_}' to='{ROMEO}'>{body}</message>")
    answers = [one for one in square.world_hears() if one.get("type") == "error"]
    return read_condition(answers[0])[0] if answers else None


def test_strangers_may_write_so_much_in_a_day(square: Square, policy: Policy, time: Time) -> None:
    square.online("romeo", "orchard").comes_online()
    most = square.database.limits.strangers_first_day
    assert [writes(square, number) for number in range(most)] == [None] * most
    assert writes(square) == "resource-constraint"
    assert writes(square, from_="paris@verona.example/x") is None
    time.advance(86_400)
    assert writes(square) is None


def test_strangers_of_a_silenced_domain_write_to_nobody(square: Square, policy: Policy) -> None:
    romeo_follows(square).comes_online()
    says(square, policy, Grade.SILENCED)
    assert writes(square) == "policy-violation"
    assert writes(square, from_=f"{JULIET}/balcony") is None


@pytest.mark.parametrize(("grade", "kept"), [(Grade.NO_MEDIA, False), (Grade.ALLOWED, True), (Grade.SILENCED, True)])
def test_posts_come_without_media_where_that_is_the_rule(
    square: Square, policy: Policy, grade: Grade, kept: bool
) -> None:
    romeo_follows(square)
    says(square, policy, grade)
    square.inject(post("1").replace("</entry>", f"{PICTURE}</entry>"))
    node = square.database.run(lambda tx: tx.nodes.find(JID.parse(JULIET), FEED))
    assert node is not None
    (item,) = square.database.run(lambda tx: tx.items.newest(node.key, 5))
    assert ("rose.png" in item.payload) is kept and "post 1" in item.payload


def comment(square: Square, id_: str) -> str:
    """Juliet's nurse comments on Romeo's post; the answer."""
    entry = f"<entry xmlns='{ns.ATOM}'><title>Peter!</title>{PICTURE}</entry>"
    square.inject(
        f"""<iq type='set' id='{id_}' from='{NURSE}' to='{ROMEO}'><pubsub xmlns='{ns.PUBSUB}'>
        <publish node='{COMMENTS_PREFIX}p'><item id='{id_}'>{entry}</item></publish></pubsub></iq>"""
    )
    answer = next(one for one in square.world_hears() if one.name == "iq" and one.get("id") == id_)
    return "result" if answer.get("type") == "result" else read_condition(answer)[0]


def test_comments_of_guests(square: Square, policy: Policy) -> None:
    publishes(square.online("romeo", "orchard"), "p")
    says(square, policy, Grade.NO_MEDIA)
    assert comment(square, "c1") == "result"
    node = square.database.run(lambda tx: tx.nodes.find(JID.parse(ROMEO), f"{COMMENTS_PREFIX}p"))
    assert node is not None
    (item,) = square.database.run(lambda tx: tx.items.newest(node.key, 5))
    assert "rose.png" not in item.payload
    says(square, policy, Grade.SILENCED)
    assert comment(square, "c2") == "policy-violation"


def test_f34_what_there_is_of_a_refused_domain_goes_at_once(square: Square, policy: Policy) -> None:
    heard: list[str] = []
    policy.listeners.append(lambda: heard.append("changed"))
    policy.severed.append(heard.append)
    romeo = romeo_follows(square)
    square.inject(post("1"))
    square.database.run(lambda tx: tx.outbox.add_stanza(CAPULET, "<message/>"))
    says(square, policy, Grade.REFUSED)
    assert heard == ["changed", CAPULET]
    assert policy.refuses("chat.capulet.example") and not policy.refuses("montague.example")
    assert square.database.run(lambda tx: (policing.present(tx), tx.outbox.count(CAPULET))) == ([], 0)
    # Romeo's client is told that the feed is gone.
    assert any(message.find(ns.PUBSUB_EVENT, "event") for message in romeo.hears())


def test_what_was_not_finished_is_taken_up_at_the_start(square: Square) -> None:
    romeo_follows(square)
    square.database.run(policing.set_grade, "example", Grade.REFUSED)
    policy = Policy(square.database, "open", square.clock, square.tasks)
    assert policy.refuses(CAPULET)
    policy.start()
    assert square.database.run(policing.present) == []


def test_only_those_who_are_allowed(square: Square) -> None:
    romeo_follows(square)
    policy = Policy(square.database, "allowlist", square.clock, square.tasks)
    says(square, policy, Grade.ALLOWED, "verona.example")
    assert policy.refuses(CAPULET) and not policy.refuses("verona.example")
    assert square.database.run(policing.present) == []


def test_private_posts_by_dialback(square: Square, policy: Policy) -> None:
    square.database.run(policing.set_dialback, CAPULET, True)
    assert not policy.dialback_suffices(CAPULET)
    policy.changed()
    assert policy.dialback_suffices(CAPULET) and not policy.dialback_suffices("verona.example")
    assert Policy(square.database, "open", square.clock, square.tasks, dialback=True).dialback_suffices("x.example")
