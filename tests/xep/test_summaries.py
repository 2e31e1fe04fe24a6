"""XEP-0470 §4.2.4: the summary of what people attached to the items of a node."""

import pytest

from microblog.model.entry import HEART
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import retracting
from microblog.wire import ns
from microblog.wire.attachments import Summary, write_summary
from microblog.wire.xml import Element, parse, to_text
from microblog.xep.attachments import Attachments
from tests.im.town import Client
from tests.xep.square import FEED, Square, address, asks, entry, error, option, publishes, result
from tests.xep.test_conversation import ATTACHMENTS, COMMENTS, JULIET, ROMEO, attached, juliet_asks, publish

SUMMARIES = f"urn:xmpp:pubsub-attachments:summary:1/{FEED}"
NOTICED = (
    f"<attachments xmlns='{ns.ATTACHMENTS}'><noticed/><reactions><reaction>👏</reaction></reactions></attachments>"
)


@pytest.fixture
def square(database: Database, clock: Clock) -> Square:
    square = Square(database, clock)
    square.settle("romeo", "benvolio")
    return square


@pytest.fixture
def romeo(square: Square) -> Client:
    """Romeo posted three times, and something was said to the first two."""
    romeo = square.online("romeo", "phone")
    for item_id in "123":
        publishes(romeo, item_id, f"Post {item_id}")
    benvolio = square.online("benvolio", "phone")
    result(asks(benvolio, "set", publish(ATTACHMENTS, "benvolio@montague.example", attached("👏", "🎉")), to=ROMEO))
    result(juliet_asks(square, "set", publish(ATTACHMENTS, JULIET, NOTICED)))
    result(juliet_asks(square, "set", publish(COMMENTS.replace("/1", "/2"), "h", entry(HEART))))
    romeo.hears()
    return romeo


def read(answer: Element) -> dict[str, Element | None]:
    content = result(parse(to_text(answer)))
    assert content is not None
    items = next(content.elements())
    assert items.get("node") == SUMMARIES
    return {item.get("id") or "": item.first() for item in items.elements()}


FIRST = write_summary(Summary(noticed=1, reactions={"👏": 2, "🎉": 1}))
SECOND = write_summary(Summary(reactions={HEART: 1}))


def test_each_item_has_its_summary(square: Square, romeo: Client) -> None:
    wanted = {"1": FIRST, "2": SECOND, "3": write_summary(Summary())}
    assert read(asks(romeo, "get", f"<items node='{SUMMARIES}'/>")) == wanted
    assert read(juliet_asks(square, "get", f"<items node='{SUMMARIES}'/>")) == wanted
    result(juliet_asks(square, "set", f"<retract node='{ATTACHMENTS}'><item id='{JULIET}'/></retract>"))
    (one,) = read(asks(romeo, "get", f"<items node='{SUMMARIES}'><item id='1'/></items>")).values()
    assert one == write_summary(Summary(reactions={"🎉": 1, "👏": 1}))


def test_by_id_and_by_page(romeo: Client) -> None:
    assert read(asks(romeo, "get", f"<items node='{SUMMARIES}'><item id='2'/><item id='9'/></items>")) == {"2": SECOND}
    assert list(read(asks(romeo, "get", f"<items node='{SUMMARIES}' max_items='1'/>"))) == ["3"]
    page = f"<items node='{SUMMARIES}'/><set xmlns='{ns.RSM}'><max>1</max><after>1</after></set>"
    answer = asks(romeo, "get", page)
    assert read(answer) == {"2": SECOND}
    content = result(answer)
    assert content is not None
    said = content.find(ns.RSM, "set")
    assert said is not None and said.child_text(ns.RSM, "count") == "3"
    first = said.find(ns.RSM, "first")
    assert first is not None and first.get("index") == "1"


def test_only_of_what_one_may_read(square: Square, romeo: Client) -> None:
    followers = option("x", "").replace("pubsub#x", "microblog#audience").replace("<value>", "<value>followers")
    publishes(romeo, "4", options=followers)
    assert list(read(asks(romeo, "get", f"<items node='{SUMMARIES}'/>"))) == ["1", "2", "3", "4"]
    assert list(read(juliet_asks(square, "get", f"<items node='{SUMMARIES}'/>"))) == ["1", "2", "3"]
    assert read(juliet_asks(square, "get", f"<items node='{SUMMARIES}'><item id='4'/></items>")) == {}
    publishes(romeo, "t", node="urn:tune", options=option("access_model", "whitelist"))
    for node in ("urn:tune", "none", ATTACHMENTS, SUMMARIES):
        asked = f"<items node='{SUMMARIES.replace(FEED, node)}'/>"
        assert error(juliet_asks(square, "get", asked))[0] == "item-not-found"


@pytest.mark.parametrize(
    ("content", "owner", "condition"),
    [
        (f"<publish node='{SUMMARIES}'><item id='1'/></publish>", False, "forbidden"),
        (f"<retract node='{SUMMARIES}'><item id='1'/></retract>", False, "forbidden"),
        (f"<create node='{SUMMARIES}'/>", False, "not-allowed"),
        (f"<delete node='{SUMMARIES}'/>", True, "forbidden"),
        (f"<purge node='{SUMMARIES}'/>", True, "forbidden"),
        (f"<subscribe node='{SUMMARIES}' jid='{ROMEO}'/>", False, "feature-not-implemented"),
    ],
)
def test_nobody_makes_one(romeo: Client, content: str, owner: bool, condition: str) -> None:
    assert error(asks(romeo, "set", content, owner=owner))[0] == condition


def test_what_is_gone_has_none(square: Square, romeo: Client) -> None:
    gone = retracting.Retract(service=address("romeo"), node=FEED, actor=address("romeo"), item_id="1")
    square.database.run(retracting.retract, gone)
    assert list(read(asks(romeo, "get", f"<items node='{SUMMARIES}'/>"))) == ["2", "3"]


def test_accounts_say_that_they_take_care_of_attachments() -> None:
    assert ns.ATTACHMENTS in Attachments.account_features
