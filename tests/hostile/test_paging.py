"""Group J of the hostile inputs: asking for pages (XEP-0059)."""

import pytest

from microblog.wire import ns
from microblog.wire.xml import Element
from tests.im.town import Client
from tests.xep.square import FEED, Square, asks, error, publishes, result

ROMEO = "romeo@montague.example"
POSTS = [f"p{number}" for number in range(5)]


@pytest.fixture
def reader(square: Square) -> Client:
    romeo = square.login("romeo", "a")
    for post in POSTS:
        publishes(romeo, post)
    return square.login("benvolio", "a")


def page(client: Client, rsm: str) -> Element:
    return asks(client, "get", f"<items node='{FEED}'/><set xmlns='{ns.RSM}'>{rsm}</set>", to=ROMEO)


def ids(answer: Element) -> list[str]:
    payload = result(answer)
    items = None if payload is None else payload.find(ns.PUBSUB, "items")
    assert items is not None
    return [item.attributes["id"] for item in items.elements()]


@pytest.mark.parametrize(
    ("rsm", "expected"),
    [
        ("<max>-1</max>", "bad-request"),
        ("<max>100000000000000000000</max>", "bad-request"),
        ("<max>two</max>", "bad-request"),
        ("<max>1e3</max>", "bad-request"),
        ("<max>٣</max>", "bad-request"),
        ("<max>2</max><max>3</max>", "bad-request"),
        ("<index>-1</index>", "bad-request"),
        ("<index>first</index>", "bad-request"),
        ("<after>p1</after><before>p3</before>", "bad-request"),
        ("<after>p1</after><index>1</index>", "bad-request"),
        ("<after>nobody</after>", "item-not-found"),
        ("<before>p1' OR '1'='1</before>", "item-not-found"),
        ("<after>1); DROP TABLE items; --</after>", "item-not-found"),
        ("<after>%</after>", "item-not-found"),
    ],
)
def test_j169_what_makes_no_sense_is_refused(reader: Client, rsm: str, expected: str) -> None:
    assert error(page(reader, rsm))[0] == expected
    assert ids(page(reader, "<max>9</max>")) == POSTS


@pytest.mark.parametrize(
    ("rsm", "expected"),
    [
        ("<max>0</max>", []),
        ("<max>100000000000000000</max>", POSTS),
        ("<max>2</max>", POSTS[:2]),
        ("<max>2</max><before/>", POSTS[3:]),
        ("<max>2</max><before></before>", POSTS[3:]),
        ("<max>2</max><after>p1</after>", POSTS[2:4]),
        ("<max>2</max><before>p1</before>", POSTS[:1]),
        ("<max>2</max><after>p4</after>", []),
        ("<max>2</max><index>4</index>", POSTS[4:]),
        ("<max>2</max><index>99</index>", []),
    ],
)
def test_j169_the_edges_are_pages(reader: Client, rsm: str, expected: list[str]) -> None:
    assert ids(page(reader, rsm)) == expected


def test_j170_what_is_gone_between_two_pages_is_no_page_to_go_on_from(square: Square, reader: Client) -> None:
    romeo = square.login("romeo", "b")
    assert ids(page(reader, "<max>2</max>")) == POSTS[:2]
    result(asks(romeo, "set", f"<retract node='{FEED}'><item id='p1'/></retract>"))
    publishes(romeo, "p5")
    assert error(page(reader, "<max>2</max><after>p1</after>"))[0] == "item-not-found"
    assert ids(page(reader, "<max>2</max><after>p0</after>")) == ["p2", "p3"]
    assert ids(page(reader, "<max>2</max><after>p3</after>")) == ["p4", "p5"]
