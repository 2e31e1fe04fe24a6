"""Strangers, nonsense, machines and repetitions in chat."""

import pytest

from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.wire import ns
from microblog.wire.xml import Element, serialize
from tests.conftest import Time
from tests.im.town import Client, done
from tests.xep.parlour import NODE, Parlour, says
from tests.xmltext import read

JULIET = "juliet@capulet.example/balcony"


@pytest.fixture
def parlour(database: Database, clock: Clock) -> Parlour:
    return Parlour(database, clock)


@pytest.fixture
def romeo(parlour: Parlour) -> Client:
    return parlour.online("romeo", "orchard")


def stranger_says(parlour: Parlour, text: str, *, from_: str = JULIET, to: str = NODE, inside: str = "") -> list[str]:
    parlour.inject(f"<message from='{from_}' to='{to}' type='chat'><body>{text}</body>{inside}</message>")
    return [element.child_text(ns.CLIENT, "body") or "" for element in parlour.world_hears()]


# J161


@pytest.mark.parametrize(
    "text",
    [
        "peers",
        "/peers",
        "admin suspend romeo",
        "delete #1",
        "d romeo hush",
        "follow romeo",
        "follow nobody",
        "hello",
        "x",
    ],
)
@pytest.mark.parametrize("from_", [JULIET, "romeo@capulet.example", "admin@capulet.example/montague.example"])
def test_j161_strangers_are_told_what_strangers_can_do(parlour: Parlour, text: str, from_: str) -> None:
    (answer,) = stranger_says(parlour, text, from_=from_)
    assert answer == (
        'This is a microblog. You have no account here. You can say: join, help. "help join" says how to get one.'
    )
    assert parlour.words.done == []


def test_j161_strangers_can_do_what_is_for_strangers(parlour: Parlour) -> None:
    assert stranger_says(parlour, "join code") == ["join done"]
    assert stranger_says(parlour, "join") == ['Nothing was posted. "join" needs CODE. Usage: join CODE']
    (answer,) = stranger_says(parlour, "help join")
    assert answer == "join CODE"
    assert stranger_says(parlour, "help follow") == ['There is no word "follow". "help" lists all there are.']


def test_j161_an_address_that_is_not_proven_is_nobodys(parlour: Parlour) -> None:
    def link(tx):  # type: ignore[no-untyped-def]
        juliet = JID("juliet", "capulet.example")
        tx.linked.add(juliet, tx.accounts.get("romeo").key, asked_there=True, confirmed=True)

    parlour.database.run(link)
    message = read("<message type='chat'><body>hello</body></message>")
    answers = []
    for proof in (Proof.DIALBACK, Proof.CERTIFICATE):
        done(parlour.router.from_server(message, JID.parse(JULIET), JID("", NODE), proof))
        answers += [element.child_text(ns.CLIENT, "body") for element in parlour.world_hears()]
    assert answers == ["You have no account here.", "sent"]
    assert len(parlour.words.done) == 1


# J162


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("delete 1 OR 1=1", "#1"),
        ("delete --flag=", '"delete" needs ITEM; "--flag=" is none.'),
        ("delete \u2014item", '"delete" needs ITEM; "\u2014item" is none.'),
        ("delete #1\npeers", "#1"),
        ("follow benvolio\npeers", '"follow" does not take "peers".'),
        ("follow " + "x" * 100 * 1024, '"follow" needs PERSON; "' + "x" * 39 + '\u2026" is none.'),
        ("follow {0.__class__}", '"follow" needs PERSON; "{0.__class__}" is none.'),
        ("home; peers", ""),
        ("follow '; DROP TABLE accounts; --", '"follow" needs PERSON; "\';" is none.'),
    ],
    ids=lambda value: value[:20],
)
def test_j162_arguments_are_text(parlour: Parlour, romeo: Client, text: str, named: str) -> None:
    said = says(romeo, text)
    if named:
        assert said.startswith("Nothing was posted.")
        assert named in said
        assert parlour.words.done == []
    else:
        assert parlour.words.done == [("post", {"text": text})]


# J163


@pytest.mark.parametrize(
    ("from_", "type_", "inside"),
    [
        (JULIET, "chat", "<no-store xmlns='urn:xmpp:hints'/>"),
        (JULIET, "error", "<error type='cancel'/>"),
        (JULIET, "groupchat", ""),
        (JULIET, "headline", ""),
        ("capulet.example", "chat", ""),
        ("noreply@capulet.example", "chat", ""),
        (JULIET, "chat", "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></sent>"),
        (JULIET, "chat", "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>"),
    ],
)
def test_j163_machines_are_not_answered(parlour: Parlour, from_: str, type_: str, inside: str) -> None:
    parlour.inject(f"<message from='{from_}' to='{NODE}' type='{type_}'><body>help</body>{inside}</message>")
    answers = [element for element in parlour.world_hears() if element.get("type") != "error"]
    assert answers == []


@pytest.mark.parametrize(
    "content",
    [
        "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
        "<received xmlns='urn:xmpp:receipts' id='n1'/>",
        "<displayed xmlns='urn:xmpp:chat-markers:0' id='n1'/>",
        "<body/>",
        "<body>  </body>",
        "<subject>hello</subject>",
    ],
)
def test_j163_what_says_nothing_is_not_answered(parlour: Parlour, romeo: Client, content: str) -> None:
    romeo.sends(f"<message to='{NODE}' type='chat'>{content}</message>")
    assert romeo.hears() == []


def test_j163_the_node_does_not_talk_to_itself(parlour: Parlour) -> None:
    for from_ in (NODE, f"post@{NODE}", f"post@{NODE}/x"):
        parlour.inject(f"<message from='{from_}' to='post@{NODE}' type='chat'><body>help</body></message>")
    assert parlour.world_hears() == []
    assert parlour.words.done == []


def test_j163_two_nodes_that_answer_each_other_stop_at_once(parlour: Parlour) -> None:
    """What one of our nodes says in answer, said to another, is not answered."""
    parlour.inject(f"<message from='{JULIET}' to='{NODE}' type='chat'><body>hello</body></message>")
    (answer,) = parlour.world_hears()
    back = answer.replaced(**{"from": JULIET, "to": NODE})
    parlour.inject(_written(back))
    assert parlour.world_hears() == []


def test_j163_nobody_has_more_than_twenty_answers_a_minute(parlour: Parlour, romeo: Client, time: Time) -> None:
    answers = [says(romeo, f"post {number}") for number in range(50)]
    assert answers == ["sent"] * 19 + ["These are too many messages. This one was not read; wait a minute."] + [""] * 30
    assert len(parlour.words.done) == 19
    assert says(parlour.online("benvolio", "street"), "hello") == "sent"
    assert [len(stranger_says(parlour, "x")) for _ in range(30)] == [1] * 20 + [0] * 10
    time.advance(61)
    assert says(romeo, "post again") == "sent"


# J164


def test_j164_the_same_message_again_is_done_once(parlour: Parlour, romeo: Client, time: Time) -> None:
    says(romeo, "post Ay me", id_="m1")
    assert says(romeo, "post Ay me", id_="m1") == ""
    time.advance(3600)
    assert says(romeo, "post Ay me", id_="m1") == ""
    street = parlour.online("romeo", "street")
    assert says(street, "delete #1", id_="m1") == "", "whatever it says now"
    assert says(parlour.online("benvolio", "street"), "hello", id_="m1") == "sent", "an id is its sender's own"
    assert len(parlour.words.done) == 2


def test_j164_what_was_confirmed_is_confirmed_once(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "post Ay me", id_="m1")
    says(romeo, "delete #1", id_="m2")
    says(romeo, "yes", id_="m3")
    assert says(romeo, "yes", id_="m3") == ""
    assert [name for name, _ in parlour.words.done] == ["post", "delete"]


def _written(element: Element) -> str:
    return serialize(element, ns.CLIENT)
