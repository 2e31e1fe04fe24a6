"""XEP-0277 §4, XEP-0470 on the wire: comments and attachments by clients, here and elsewhere."""

import pytest

from microblog.model.entry import HEART
from microblog.model.item import Proof
from microblog.model.uri import ItemAddress
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import conversing
from microblog.wire import ns
from microblog.wire.xml import Element
from tests.xep.square import FEED, Square, address, asks, entry, error, publishes, result, told

ROMEO = "romeo@montague.example"
JULIET = "juliet@capulet.example"
COMMENTS = f"{FEED}:comments/1"
ATTACHMENTS = "urn:xmpp:pubsub-attachments:1/xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1"
POST = ItemAddress(address("romeo"), FEED, "1")


@pytest.fixture
def square(database: Database, clock: Clock) -> Square:
    square = Square(database, clock)
    square.settle("romeo", "benvolio")
    return square


def attached(*reactions: str) -> str:
    said = "".join(f"<reaction>{reaction}</reaction>" for reaction in reactions)
    return f"<attachments xmlns='{ns.ATTACHMENTS}'><reactions>{said}</reactions></attachments>"


def publish(node: str, item_id: str, payload: str) -> str:
    return f"<publish node='{node}'><item id='{item_id}'>{payload}</item></publish>"


def juliet_asks(
    square: Square, type_: str, content: str, *, proof: Proof = Proof.CERTIFICATE, by: str = JULIET
) -> Element:
    """Juliet's client asks Romeo's service, and is answered."""
    square.inject(
        f"<iq type='{type_}' id='far' from='{by}/balcony' to='{ROMEO}'>"
        f"<pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub></iq>",
        proof,
    )
    (answer,) = [stanza for stanza in square.world_hears() if stanza.get("id") == "far"]
    return answer


def test_a_post_says_where_its_comments_are_and_everybody_finds_them(square: Square) -> None:
    romeo = square.online("romeo", "phone")
    publishes(romeo, "1", "But, soft!")
    items = result(asks(romeo, "get", f"<items node='{FEED}'/>"))
    assert items is not None
    (item,) = next(items.elements()).elements()
    payload = item.first()
    assert payload is not None
    replies = [link.get("href") for link in payload.find_all(ns.ATOM, "link") if link.get("rel") == "replies"]
    assert replies == [f"xmpp:{ROMEO}?;node=urn%3Axmpp%3Amicroblog%3A0%3Acomments%2F1"]
    empty = result(juliet_asks(square, "get", f"<items node='{COMMENTS}'/>"))
    assert empty is not None and list(next(empty.elements()).elements()) == []


def test_comments_come_from_everywhere_and_go_to_those_who_subscribed(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "phone"), square.online("benvolio", "phone")
    publishes(romeo, "1", "But, soft!")
    asks(benvolio, "set", f"<subscribe node='{COMMENTS}' jid='benvolio@montague.example'/>", to=ROMEO)
    juliet_asks(square, "set", f"<subscribe node='{COMMENTS}' jid='{JULIET}'/>")
    result(juliet_asks(square, "set", publish(COMMENTS, "c1", entry("Ay me!"))))
    result(asks(benvolio, "set", publish(COMMENTS, "c2", entry("Romeo!")), to=ROMEO))
    here = [(by, item) for by, _, item in told(benvolio.hears())]
    assert here == [(ROMEO, "c1"), (ROMEO, "c2")]
    assert [item for _, to, item in told(square.world.hears()) if to == JULIET] == ["c1", "c2"]
    result(juliet_asks(square, "set", f"<retract node='{COMMENTS}' notify='1'><item id='c1'/></retract>"))
    assert [item for _, _, item in told(benvolio.hears())] == ["-c1"]
    assert error(juliet_asks(square, "set", f"<retract node='{COMMENTS}'><item id='c2'/></retract>"))[0] == "forbidden"


def test_a_comment_s_publisher_is_who_sent_it(square: Square) -> None:
    romeo = square.online("romeo", "phone")
    publishes(romeo, "1", "But, soft!")
    forged = f"<author><uri>xmpp:{ROMEO}</uri></author></entry>"
    result(juliet_asks(square, "set", publish(COMMENTS, "c1", entry("I am Romeo").replace("</entry>", forged))))
    items = result(asks(romeo, "get", f"<items node='{COMMENTS}'/>"))
    assert items is not None
    assert [item.get("publisher") for item in next(items.elements()).elements()] == [JULIET]


def test_reactions_from_everywhere_are_counted(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "phone"), square.online("benvolio", "phone")
    publishes(romeo, "1", "But, soft!")
    asks(romeo, "set", f"<subscribe node='{ATTACHMENTS}' jid='{ROMEO}'/>")
    result(juliet_asks(square, "set", publish(ATTACHMENTS, JULIET, attached("👏", "❤️"))))
    mine = publish(ATTACHMENTS, "benvolio@montague.example", attached("👏"))
    result(asks(benvolio, "set", mine, to=ROMEO))
    assert [item for _, _, item in told(romeo.hears())] == [JULIET, "benvolio@montague.example"]
    assert square.database.run(conversing.reactions, POST) == {"👏": 2, HEART: 1}


@pytest.mark.parametrize(
    ("item_id", "payload", "condition"),
    [
        ("nurse@capulet.example", attached("👏"), "bad-request"),
        (f"{JULIET}/balcony", attached("👏"), "bad-request"),
        (JULIET, "<tune xmlns='urn:tune'/>", "bad-request"),
        (JULIET, f"<entry xmlns='{ns.ATOM}'><title>♥</title></entry>", "bad-request"),
    ],
)
def test_what_is_no_attachment_is_refused(square: Square, item_id: str, payload: str, condition: str) -> None:
    publishes(square.online("romeo", "phone"), "1", "But, soft!")
    assert error(juliet_asks(square, "set", publish(ATTACHMENTS, item_id, payload)))[0] == condition


def test_what_is_no_post_is_no_comment(square: Square) -> None:
    publishes(square.online("romeo", "phone"), "1", "But, soft!")
    assert error(juliet_asks(square, "set", publish(COMMENTS, "c1", "<tune xmlns='urn:tune'/>"))) == (
        "bad-request",
        "invalid-payload",
    )


def test_nobody_makes_a_node_of_attachments(square: Square) -> None:
    romeo = square.online("romeo", "phone")
    publishes(romeo, "1", "But, soft!")
    assert error(asks(romeo, "set", f"<create node='{ATTACHMENTS}'/>"))[0] == "not-allowed"


def test_an_answer_by_any_client_is_put_into_the_thread(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "phone"), square.online("benvolio", "phone")
    publishes(romeo, "1", "But, soft!")
    more = (
        f"<in-reply-to xmlns='{ns.THREADING}' ref='x' href='{POST.uri}'/>"
        f"<link rel='replies' href='xmpp:{ROMEO}?;node=urn:xmpp:microblog:0:comments/1'/></entry>"
    )
    answer = entry("What light?").replace("</entry>", more)
    result(asks(benvolio, "set", publish(FEED, "a1", answer)))
    items = result(juliet_asks(square, "get", f"<items node='{COMMENTS}'/>"))
    assert items is not None
    assert [item.get("id") for item in next(items.elements()).elements()] == ["a1"]
    result(asks(benvolio, "set", f"<retract node='{FEED}'><item id='a1'/></retract>"))
    items = result(juliet_asks(square, "get", f"<items node='{COMMENTS}'/>"))
    assert items is not None and list(next(items.elements()).elements()) == []


def test_who_is_named_fetches_a_direct_post_and_what_is_said_to_it(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "phone"), square.online("benvolio", "phone")
    wishes = "".join(
        f"<field var='microblog#{name}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"
        for name, values in (("audience", ("direct",)), ("reader", (JULIET, "benvolio@montague.example")))
    )
    publishes(romeo, "1", "But, soft!", options=wishes)
    result(juliet_asks(square, "set", publish(COMMENTS, "c1", entry("Ay me!"))))
    one, all_of_it = f"<items node='{FEED}'><item id='1'/></items>", f"<items node='{COMMENTS}'/>"

    def found(answer: Element) -> list[str | None]:
        content = result(answer)
        assert content is not None
        return [item.get("id") for item in next(content.elements()).elements()]

    assert found(asks(benvolio, "get", one, to=ROMEO)) == ["1"]
    assert found(asks(benvolio, "get", all_of_it, to=ROMEO)) == ["c1"]
    assert found(juliet_asks(square, "get", one)) == ["1"]
    assert found(juliet_asks(square, "get", all_of_it)) == ["c1"]
    assert found(juliet_asks(square, "get", f"<items node='{FEED}'/>")) == []
    for content in (one, all_of_it):
        answer = juliet_asks(square, "get", content, proof=Proof.DIALBACK)
        assert answer.get("type") == "error" or found(answer) == []
    nurse = juliet_asks(square, "get", one, by="nurse@capulet.example")
    assert found(nurse) == []
    assert error(juliet_asks(square, "get", all_of_it, by="nurse@capulet.example"))[0] == "item-not-found"
