"""What others say in emoji to somebody's posts, as lines of chat."""

import pytest

from microblog.model.entry import HEART
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import ATTACHMENTS_PREFIX, COMMENTS_PREFIX, MICROBLOG
from microblog.model.quiet import Mute, MuteKind
from microblog.model.uri import item_uri
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.wire import ns
from microblog.xep.quiet import Quiet
from microblog.xep.reactionlines import ReactionLines
from tests.im.town import Client
from tests.xep.parlour import NODE, Parlour, lines, says
from tests.xep.square import asks, result
from tests.xep.test_chatlines import answer_to, comes
from tests.xep.test_conversation import attached, publish

ROMEO = JID("romeo", NODE)
COMMENTS = COMMENTS_PREFIX + "1"


def attachments(service: JID = ROMEO, node: str = MICROBLOG, item_id: str = "1") -> str:
    return ATTACHMENTS_PREFIX + item_uri(service, node, item_id)


@pytest.fixture
def parlour(database: Database, clock: Clock) -> Parlour:
    return Parlour(database, clock)


@pytest.fixture
def romeo(parlour: Parlour) -> Client:
    client = comes(parlour, "romeo")
    parlour.publishes("romeo", "Ay me", item_id="1")
    client.hears()
    return client


def reacts(client: Client, *reactions: str, node: str = "") -> None:
    jid = str(client.session.jid.bare)
    result(asks(client, "set", publish(node or attachments(), jid, attached(*reactions)), to=str(ROMEO)))


def texts(client: Client) -> list[str | None]:
    return [text for _, text in lines(client)]


def test_the_author_is_told_each_reaction_once(parlour: Parlour, romeo: Client) -> None:
    benvolio, mercutio = parlour.online("benvolio", "street"), parlour.online("mercutio", "street")
    reacts(benvolio, "❤️")
    assert texts(romeo) == ["benvolio likes #1."]
    reacts(benvolio, "❤️", "🎉", "👏")
    assert texts(romeo) == ["benvolio: 🎉 👏 for #1."]
    reacts(benvolio)
    reacts(benvolio, "🎉", "❤")
    assert texts(romeo) == []
    reacts(mercutio, "♥", "🎉")
    assert texts(romeo) == ["mercutio likes #1.\nmercutio: 🎉 for #1."]
    assert lines(benvolio) == [] == lines(mercutio)


def test_a_heart_in_a_comment_is_the_same_like(parlour: Parlour, romeo: Client) -> None:
    mercutio = parlour.online("mercutio", "street")
    inside = answer_to(ROMEO, "1")
    parlour.publishes("mercutio", HEART, item_id="h", inside=inside, node=COMMENTS, service=ROMEO)
    assert texts(romeo) == ["mercutio likes #1."]
    reacts(mercutio, HEART)
    assert texts(romeo) == []


def test_one_does_not_hear_of_oneself(parlour: Parlour, romeo: Client) -> None:
    reacts(romeo, HEART)
    assert texts(romeo) == []


def test_who_wrote_a_comment_hears_what_is_said_to_it(parlour: Parlour, romeo: Client) -> None:
    benvolio = comes(parlour, "benvolio")
    inside = answer_to(ROMEO, "1")
    parlour.publishes("benvolio", "What sadness?", item_id="r", inside=inside, node=COMMENTS, service=ROMEO)
    romeo.hears()
    reacts(romeo, HEART, node=attachments(node=COMMENTS, item_id="r"))
    assert texts(benvolio) == ["romeo likes #1."]
    assert texts(romeo) == []


def test_it_is_for_the_author_of_a_comment_not_to_hear_of_somebody(parlour: Parlour, romeo: Client) -> None:
    """And not for the one in whose thread the comment is."""
    found = [getattr(one, "__self__", None) for one in parlour.database.listeners]
    (reaction_lines,) = [one for one in found if isinstance(one, ReactionLines)]
    quiet = Quiet(parlour.database, parlour.clock, parlour.tasks)
    reaction_lines.hushes = quiet.hushes_author
    benvolio, mercutio = comes(parlour, "benvolio"), parlour.online("mercutio", "street")
    for item_id in ("r", "s"):
        inside = answer_to(ROMEO, "1")
        parlour.publishes("benvolio", "What sadness?", item_id=item_id, inside=inside, node=COMMENTS, service=ROMEO)
    romeo.hears()
    mute = Mute(kind=MuteKind.PERSON, value=f"mercutio@{NODE}")
    quiet.set_mutes(JID("benvolio", NODE), [mute])
    reacts(mercutio, HEART, node=attachments(node=COMMENTS, item_id="r"))
    assert texts(benvolio) == []
    quiet.set_mutes(JID("benvolio", NODE), [])
    quiet.set_mutes(ROMEO, [mute])
    reacts(mercutio, HEART, node=attachments(node=COMMENTS, item_id="s"))
    assert texts(benvolio) == ["mercutio likes #1."]
    reacts(mercutio, HEART)
    assert texts(romeo) == []


def test_an_answer_to_the_line_answers_the_post(parlour: Parlour, romeo: Client) -> None:
    reacts(parlour.online("benvolio", "street"), HEART)
    ((id_, _),) = lines(romeo)
    assert says(romeo, "So it is", inside=f"<reply xmlns='{ns.REPLY}' id='{id_}'/>") == "reply done"
    assert parlour.words.done[-1][1]["target"].item_id == "1"


def test_people_elsewhere_react_and_addresses_elsewhere_are_told(parlour: Parlour, romeo: Client) -> None:
    def link(tx):  # type: ignore[no-untyped-def]
        tx.linked.add(JID("romeo", "mantua.example"), tx.accounts.get("romeo").key, asked_there=True, confirmed=True)

    parlour.database.run(link)
    said = publish(attachments(), "juliet@capulet.example", attached("🎉"))
    parlour.inject(
        f"<iq type='set' id='far' from='juliet@capulet.example/balcony' to='{ROMEO}'>"
        f"<pubsub xmlns='{ns.PUBSUB}'>{said}</pubsub></iq>"
    )
    assert texts(romeo) == ["juliet@capulet.example: 🎉 for #1."]
    assert [one.child_text(ns.CLIENT, "body") for one in parlour.world.hears("mantua.example")] == [
        "juliet@capulet.example: 🎉 for #1."
    ]


def test_what_is_for_this_domain_is_not_spoken_of_elsewhere(parlour: Parlour, romeo: Client) -> None:
    def link(tx):  # type: ignore[no-untyped-def]
        tx.linked.add(JID("romeo", "mantua.example"), tx.accounts.get("romeo").key, asked_there=True, confirmed=True)

    parlour.database.run(link)
    parlour.publishes("romeo", "Ay me", item_id="2", audience=Audience.LOCAL)
    parlour.world.hears("mantua.example")
    romeo.hears()
    reacts(parlour.online("benvolio", "street"), HEART, node=attachments(item_id="2"))
    assert texts(romeo) == ["benvolio likes #1."]
    assert parlour.world.hears("mantua.example") == []


def test_who_has_a_client_for_feeds_or_never_talked_is_not_told(parlour: Parlour, romeo: Client) -> None:
    romeo.session.notify = frozenset((MICROBLOG,))
    mercutio = parlour.online("mercutio", "street")
    reacts(mercutio, HEART)
    assert texts(romeo) == []
    parlour.publishes("mercutio", "Nay", item_id="m")
    mercutio.hears()
    node = attachments(JID("mercutio", NODE), item_id="m")
    result(asks(romeo, "set", publish(node, str(ROMEO), attached(HEART)), to=f"mercutio@{NODE}"))
    assert lines(mercutio) == []


def test_reactions_wait_while_one_does_not_want_to_be_disturbed(parlour: Parlour, romeo: Client) -> None:
    benvolio, mercutio = parlour.online("benvolio", "street"), parlour.online("mercutio", "street")
    romeo.sends("<presence><show>dnd</show></presence>")
    romeo.hears()
    reacts(benvolio, HEART)
    assert texts(romeo) == []
    romeo.sends("<presence/>")
    assert texts(romeo) == ["benvolio likes #1."]
    says(romeo, "when never")
    reacts(mercutio, HEART)
    assert texts(romeo) == []
