"""XEP-0060 §8.6: owners decide who subscribes."""

import pytest

from microblog.wire import ns
from microblog.wire.xml import Element, to_text
from tests.im.town import Client
from tests.xep.square import Square, asks, error, option, publishes, result, told
from tests.xmltext import read

ROMEO = "romeo@montague.example"
JULIET = "juliet@capulet.example"


@pytest.fixture
def romeo(square: Square) -> Client:
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1", "a", node="urn:tune", options=option("access_model", "authorize"))
    return romeo


def benvolio_wants(square: Square) -> Client:
    benvolio = square.online("benvolio", "street")
    answer = result(asks(benvolio, "set", "<subscribe node='urn:tune' jid='benvolio@montague.example'/>", to=ROMEO))
    assert answer is not None
    assert next(answer.elements()).get("subscription") == "pending"
    return benvolio


def question(client: Client) -> Element:
    (message,) = client.hears()
    assert (message.get("from"), message.get("to")) == (ROMEO, ROMEO)
    form = message.find(ns.DATA, "x")
    assert form is not None
    return form


def submit(client: Client, form: Element, allow: str) -> None:
    text = to_text(form.replaced(type="submit")).replace("<value>false</value>", f"<value>{allow}</value>")
    client.sends(f"<message to='{ROMEO}'>{text}</message>")


def test_an_owner_who_is_there_is_asked_and_approves(square: Square, romeo: Client) -> None:
    benvolio = benvolio_wants(square)
    publishes(romeo, "2", "b", node="urn:tune")
    assert told(benvolio.hears()) == []
    submit(romeo, question(romeo), "1")
    (message,) = benvolio.hears()
    assert "subscription='subscribed'" in repr(message)
    publishes(romeo, "3", "c", node="urn:tune")
    assert told(benvolio.hears()) == [(ROMEO, "benvolio@montague.example", "3")]


def test_an_owner_denies(square: Square, romeo: Client) -> None:
    benvolio = benvolio_wants(square)
    submit(romeo, question(romeo), "0")
    (message,) = benvolio.hears()
    assert "subscription='none'" in repr(message)
    wanted = "<unsubscribe node='urn:tune' jid='benvolio@montague.example'/>"
    assert error(asks(benvolio, "set", wanted, to=ROMEO))[0] in ("item-not-found", "unexpected-request")


def test_an_owner_who_comes_is_asked(square: Square, romeo: Client) -> None:
    romeo.leaves()
    benvolio_wants(square)
    romeo = square.login("romeo", "orchard")
    romeo.sends("<presence/>")
    messages = [element for element in romeo.hears() if element.name == "message"]
    assert len(messages) == 1
    romeo.sends("<presence><show>away</show></presence>")
    assert [element for element in romeo.hears() if element.name == "message"] == []


def test_a_cancelled_form_decides_nothing(square: Square, romeo: Client) -> None:
    benvolio = benvolio_wants(square)
    form = question(romeo)
    romeo.sends(f"<message to='{ROMEO}'>{to_text(form.replaced(type='cancel'))}</message>")
    assert benvolio.hears() == []
    assert [one for one in romeo.hears() if one.get("type") == "error"] == []


def test_nobody_else_decides(square: Square, romeo: Client) -> None:
    benvolio = benvolio_wants(square)
    submit(benvolio, question(romeo), "1")
    (answer,) = benvolio.hears()
    assert answer.get("type") == "error"


def test_a_remote_subscriber_hears_of_it(square: Square, romeo: Client) -> None:
    square.inject(
        f"""<iq type='set' id='1' from='{JULIET}/balcony' to='{ROMEO}'><pubsub xmlns='{ns.PUBSUB}'>
        <subscribe node='urn:tune' jid='{JULIET}'/></pubsub></iq>"""
    )
    square.world_hears()
    form = question(romeo)
    subid = form.children[2].child_text(ns.DATA, "value")  # type: ignore[union-attr]
    submit(romeo, form, "true")
    (message,) = square.world.hears()
    subscribed = f"<subscription node='urn:tune' jid='{JULIET}' subscription='subscribed'"
    assert subscribed in repr(message)
    assert subid is not None


def test_another_form_is_an_ordinary_message(square: Square, romeo: Client) -> None:
    benvolio = square.online("benvolio", "street")
    field = "<field var='FORM_TYPE' type='hidden'><value>urn:dinner</value></field>"
    form = f"<x xmlns='jabber:x:data' type='submit'>{field}</x>"
    benvolio.sends(f"<message to='{ROMEO}'>{form}</message>")
    (message,) = romeo.hears()
    assert message.find(ns.DATA, "x") == read(form)
