"""RFC 6120 §8: headers of stanzas."""

import pytest

from microblog.model.errors import BadRequest, ItemNotFound
from microblog.model.jid import JID
from microblog.wire import ns, stanza
from microblog.wire.xml import Element

ROMEO = JID.parse("romeo@montague.example/orchard")
JULIET = JID.parse("juliet@capulet.example")


def element(name: str, *children: Element, **attributes: str) -> Element:
    return Element(ns.CLIENT, name, attributes, *children)


@pytest.mark.parametrize(
    "bad",
    [
        element("iq", element("a"), type="get"),
        element("iq", element("a"), id="1"),
        element("iq", element("a"), id="1", type="ask"),
        element("iq", id="1", type="get"),
        element("iq", element("a"), element("b"), id="1", type="set"),
        element("presence", type="available"),
        element("presence", type="dreaming"),
    ],
    ids=repr,
)
def test_malformed_headers_are_bad_requests(bad: Element) -> None:
    with pytest.raises(BadRequest):
        stanza.read(bad, from_=ROMEO, to=JULIET)


def test_an_unknown_message_type_is_normal() -> None:
    assert stanza.read(element("message", type="shout"), from_=ROMEO, to=JULIET).type == "normal"


def test_the_verified_addresses_replace_what_was_claimed() -> None:
    claimed = element("message", **{"from": "tybalt@capulet.example", "to": "x"})
    read = stanza.read(claimed, from_=ROMEO, to=JULIET)
    assert read.to_bytes() == b"<message from='romeo@montague.example/orchard' to='juliet@capulet.example'/>"
    assert claimed.get("from") == "tybalt@capulet.example"


def test_replies_go_back_to_the_sender() -> None:
    request = stanza.read(element("iq", element("q"), id="7", type="get"), from_=ROMEO, to=JULIET)
    assert request.result().to_bytes() == (
        b"<iq from='juliet@capulet.example' to='romeo@montague.example/orchard' id='7' type='result'/>"
    )
    error = request.error(ItemNotFound("nothing here"))
    assert (error.type, error.to, error.id) == ("error", ROMEO, "7")
