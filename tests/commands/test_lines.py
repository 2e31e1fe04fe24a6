"""How posts look as lines."""

from datetime import UTC, datetime
from typing import Any

import pytest

from microblog.commands.command import Post
from microblog.commands.lines import line
from microblog.model.entry import Entry, Link
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG, Node, profile
from microblog.model.uri import ItemAddress, item_uri

ROMEO = JID("romeo", "montague.example")
BENVOLIO = JID("benvolio", "montague.example")
JULIET = JID("juliet", "capulet.example")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BALCONY = item_uri(JULIET, MICROBLOG, "balcony")
MINE = item_uri(ROMEO, MICROBLOG, "mine")


def shows(
    service: JID = JULIET,
    *,
    node: str = MICROBLOG,
    publisher: JID | None = None,
    audience: Audience = Audience.PUBLIC,
    **entry: Any,
) -> str:
    item = Item(id="1", publisher=publisher or service, payload="", published=NOON, updated=NOON, audience=audience)
    said = Entry(**({"title": "Good night"} | entry))
    post = Post(node=Node(key=1, service=service, name=node, config=profile(node)), item=item, entry=said)
    numbers = {ItemAddress(JULIET, MICROBLOG, "balcony"): 9}
    return line(post, 12, numbers, reader=ROMEO, domain="montague.example", language="en")


@pytest.mark.parametrize(
    ("post", "said"),
    [
        ({}, "juliet@capulet.example: Good night  #12"),
        ({"service": BENVOLIO}, "benvolio: Good night  #12"),
        ({"publisher": BENVOLIO}, "juliet@capulet.example: Good night  #12"),
        ({"service": BENVOLIO, "via": BALCONY}, "juliet@capulet.example via benvolio: Good night  #12"),
        ({"service": BENVOLIO, "answers": BALCONY}, "benvolio > juliet@capulet.example #9: Good night  #12"),
        ({"answers": MINE}, "juliet@capulet.example > you: Good night  #12"),
        (
            {"service": ROMEO, "node": COMMENTS_PREFIX + "1", "publisher": JULIET, "answers": MINE},
            "juliet@capulet.example > you: Good night  #12",
        ),
        (
            {"answers": item_uri(BENVOLIO, COMMENTS_PREFIX + "1", "c")},
            "juliet@capulet.example > benvolio: Good night  #12",
        ),
        ({"audience": Audience.DIRECT}, "(private) juliet@capulet.example: Good night  #12"),
        ({"service": BENVOLIO, "audience": Audience.LOCAL}, "(local) benvolio: Good night  #12"),
        ({"warning": "last\nact"}, "juliet@capulet.example: [last act] Good night  #12"),
        (
            {
                "service": BENVOLIO,
                "via": BALCONY,
                "warning": "last act",
                "title": "last act",
                "content": "> so it ends\n\nno!",
            },
            "juliet@capulet.example via benvolio: [last act] > so it ends\n  \n  no!  #12",
        ),
        ({"title": "a", "content": "a\nb\r\nc\u2029d"}, "juliet@capulet.example: a\n  b\n  c\n  d  #12"),
        ({"title": "\u202eeb ot\u2066"}, "juliet@capulet.example: eb ot  #12"),
        (
            {"links": (Link(href="https://capulet.example/a.jpg", rel="enclosure"),)},
            "juliet@capulet.example: Good night https://capulet.example/a.jpg  #12",
        ),
        (
            {
                "title": "see https://capulet.example/a.jpg",
                "links": (Link(href="https://capulet.example/a.jpg", rel="enclosure"),),
            },
            "juliet@capulet.example: see https://capulet.example/a.jpg  #12",
        ),
    ],
)
def test_lines(post: dict[str, Any], said: str) -> None:
    assert shows(**post) == said
