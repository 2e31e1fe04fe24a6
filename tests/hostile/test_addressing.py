"""Stanzas that claim to be somebody else's, or for somebody else, inside a stream that is proven."""

import pytest

from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.errors import read_condition
from microblog.wire.xml import Element
from microblog.xep.ping import Ping
from tests.im.town import Client
from tests.xep.square import FEED, Square, asks, error, publishes, result, told
from tests.xep.test_following import JULIET, ROMEO, post, romeo_follows
from tests.xmltext import read

NURSE = "nurse@verona.example"


@pytest.fixture(autouse=True)
def innocent(square: Square) -> object:
    """After each test somebody who has nothing to do with it is answered."""
    square.install(Ping(square.router.settled))
    mercutio = square.login("mercutio", "innocent")
    yield
    mercutio.hears()
    mercutio.sends("<iq type='get' id='alive' to='montague.example'><ping xmlns='urn:xmpp:ping'/></iq>")
    (answer,) = mercutio.hears()
    assert (answer.get("id"), answer.get("type")) == ("alive", "result")


# E85, E86: what is no address


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("ju\u202eliet@capulet.example", "a direction override"),
        ("juliet\u200d@capulet.example", "a joiner that nobody sees"),
        ("\u00a0@capulet.example", "nothing but a space"),
        ("\u023a" * 511 + "@capulet.example", "a letter of two bytes whose small form has three"),
        ("juliet@capulet.example/" + "\u0958" * 341, "a letter of three bytes that is two of three in its normal form"),
        ("juliet@" + "\u00fc" * 60 + ".example", "a label that is longer in ASCII"),
        ("juliet@" + ".".join(["\u00fc" * 30] * 12), "a name that is longer in ASCII"),
    ],
    ids=lambda value: value if value.isascii() and " " in value else "",
)
def test_e86_addresses_that_grow_when_they_are_prepared(square: Square, text: str, condition: str) -> None:
    for part in text.split("/")[0].split("@") + text.split("/")[1:]:
        assert len(part.encode()) <= 1023, "as written it would fit"
    with pytest.raises(JIDMalformed):
        JID.parse(text)
    romeo = square.login("romeo", "orchard")
    romeo.sends(f"<message to='{text}' id='1'/>")
    (answer,) = romeo.hears()
    assert read_condition(answer)[0] == "jid-malformed"
    assert square.world_hears() == []


def test_e82_other_spellings_of_a_domain_are_one_domain_everywhere(square: Square) -> None:
    """A post of somebody followed is taken in however the address is spelt, and one of a lookalike domain is not."""
    romeo = romeo_follows(square)
    square.inject(post("1", from_="juliet@CAPULET.example."))
    square.inject(post("2", from_="juliet@\uff43apulet.example"))
    assert [id_ for _, _, id_ in told(romeo.hears())] == ["1", "2"]
    square.inject(post("3", from_="juliet@c\u0430pulet.example"))
    assert told(romeo.hears()) == []


# E87: stamps that only a server makes


def test_e87_stamps_in_our_name_do_not_leave_either(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    ours = (
        "<stanza-id xmlns='urn:xmpp:sid:0' id='x' by='romeo@montague.example'/>"
        "<stanza-id xmlns='urn:xmpp:sid:0' id='y' by='MONTAGUE.example.'/>"
        "<delay xmlns='urn:xmpp:delay' from='montague.example' stamp='1597-01-01T00:00:00Z'/>"
    )
    own = "<origin-id xmlns='urn:xmpp:sid:0' id='z'/>"  # XEP-0359 §3: this one is the client's

    def message(stamps: str, from_: str = "") -> str:
        return (
            f"<message {from_} to='{JULIET}' type='chat'>{stamps}<body>hi</body><forwarded xmlns='urn:xmpp:forward:0'>"
            f"{stamps}<message xmlns='jabber:client'>{stamps}<body>quoted</body></message></forwarded></message>"
        )

    romeo.sends(message(ours + own + ours))
    square.world_receives(message(own, "from='romeo@montague.example/orchard'"))
    romeo.sends(f"<presence to='{JULIET}'>{ours}</presence>")
    square.world_receives(f"<presence from='romeo@montague.example/orchard' to='{JULIET}'/>")


# E88: what is wrapped is what somebody says, not what has come

CARBON = (
    "<{direction} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></{direction}>"
)


@pytest.mark.parametrize("direction", ["received", "sent"])
def test_e88_a_carbon_that_no_server_of_ours_made(square: Square, direction: str) -> None:
    """It reaches the client as what it is: a message of the nurse, who says that Juliet said something."""
    romeo = romeo_follows(square)
    inner = post("1").replace("<message ", "<message xmlns='jabber:client' ")
    text = (
        f"<message from='{NURSE}' to='{ROMEO}' type='chat'>{CARBON.format(direction=direction, inner=inner)}</message>"
    )
    square.inject(text)
    (heard,) = romeo.hears()
    assert heard == read(text)
    assert heard.get("from") == NURSE
    assert asks_items(square) == []


def asks_items(square: Square) -> list[str]:
    """What is stored of Juliet's feed."""

    def ids(tx: object) -> list[str]:
        node = tx.nodes.find(JID.parse(JULIET), FEED)  # type: ignore[attr-defined]
        return [] if node is None else [item.id for item in tx.items.newest(node.key, 10)]  # type: ignore[attr-defined]

    return square.database.run(ids)


# E89: XEP-0033 is not offered, so a list of addresses is nothing to us


def test_e89_a_list_of_addressees_is_not_worked_off(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    addresses = "".join(
        f"<address type='{kind}' jid='{jid}'/>"
        for kind in ("to", "cc", "bcc")
        for jid in ("benvolio@montague.example", JULIET, NURSE)
    )
    list_ = f"<addresses xmlns='http://jabber.org/protocol/address'>{addresses}</addresses>"
    romeo.sends(f"<message to='montague.example' id='1'>{list_}<body>to all</body></message>")
    (answer,) = romeo.hears()
    assert read_condition(answer)[0] == "service-unavailable"
    square.world_receives()
    benvolio.receives()
    square.inject(f"<message from='{JULIET}' to='{ROMEO}'>{list_}<body>to all</body></message>")
    assert len(romeo.hears()) == 1
    benvolio.receives()
    square.world_receives()
    romeo.sends(f"<iq type='get' id='2' to='montague.example'><query xmlns='{ns.DISCO_INFO}'/></iq>")
    assert "http://jabber.org/protocol/address" not in str(romeo.hears()[0])


# E90, E91: whose post is it


@pytest.mark.parametrize("from_", ["capulet.example", "nurse@capulet.example", "juliet@x.capulet.example", NURSE])
def test_e90_an_event_for_somebody_elses_feed_is_dropped_and_counted(square: Square, from_: str) -> None:
    romeo = romeo_follows(square)
    before = square.following.dropped
    square.inject(post("1", from_=from_, publisher=JULIET))
    assert romeo.hears() == [] and asks_items(square) == []
    assert square.following.dropped == before + 1


AUTHOR = f"""<entry xmlns='{ns.ATOM}'><title>I am Benvolio</title><id>tag:benvolio@montague.example,2026:1</id>
<author><name>Benvolio</name><uri>xmpp:benvolio@montague.example</uri></author>
<source><author><uri>xmpp:benvolio@montague.example</uri></author></source></entry>"""


def test_e91_the_author_in_an_entry_is_text(square: Square) -> None:
    """What is stored, told and counted as the author is the feed, or the publisher that the server itself stamps."""
    romeo = square.online("romeo", "orchard")
    attempt = f"<publish node='{FEED}'><item id='1' publisher='benvolio@montague.example'>{AUTHOR}</item></publish>"
    result(asks(romeo, "set", attempt))
    items = result(asks(romeo, "get", f"<items node='{FEED}'/>"))
    assert items is not None
    (item,) = next(items.elements()).elements()
    assert item.get("publisher") in (None, ROMEO)
    stored = square.database.run(lambda tx: tx.items.newest(tx.nodes.find(JID.parse(ROMEO), FEED).key, 1))
    assert [str(found.publisher) for found in stored] == [ROMEO]
    benvolio = square.online("benvolio", "street")
    answer = asks(benvolio, "get", f"<items node='{FEED}'/>")
    assert list(next(result(answer).elements()).elements()) == []  # type: ignore[union-attr]


def test_e91_a_remote_post_is_its_feeds_whoever_it_names(square: Square) -> None:
    romeo = romeo_follows(square)
    square.inject(post("1").replace(f"<entry xmlns='{ns.ATOM}'><title>post 1</title></entry>", AUTHOR))
    assert told(romeo.hears()) == [(JULIET, ROMEO, "1")]
    stored = square.database.run(lambda tx: tx.items.newest(tx.nodes.find(JID.parse(JULIET), FEED).key, 1))
    assert [str(found.publisher) for found in stored] == [JULIET]


# E92: what only one's own server may push or set

PUSHES = {
    "a roster push": "<query xmlns='jabber:iq:roster'><item jid='tybalt@verona.example' subscription='both'/></query>",
    "a block list push": "<block xmlns='urn:xmpp:blocking'><item jid='juliet@capulet.example'/></block>",
    "a vCard": "<vCard xmlns='vcard-temp'><FN>Tybalt</FN></vCard>",
    "a vCard of today": "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>",
    "private storage": "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>",
    "registration": "<query xmlns='jabber:iq:register'><remove/></query>",
}


@pytest.mark.parametrize("payload", PUSHES.values(), ids=PUSHES.keys())
@pytest.mark.parametrize("to", [ROMEO, "nobody@montague.example", "montague.example"])
def test_e92_pushes_and_settings_from_elsewhere(square: Square, payload: str, to: str) -> None:
    romeo = square.online("romeo", "orchard")
    square.inject(f"<iq type='set' id='1' from='{NURSE}/x' to='{to}'>{payload}</iq>")
    (answer,) = square.world_hears()
    assert read_condition(answer)[0] == "service-unavailable"
    assert romeo.hears() == [] and romeo.asks_for_roster() == []


def test_e92_a_request_to_a_client_shows_whose_it_is(square: Square) -> None:
    """RFC 6121 §2.1.6 leaves it to the client to refuse a push that is not its server's: the sender must be true."""
    romeo = square.online("romeo", "orchard")
    square.inject(f"<iq type='set' id='1' from='{NURSE}/x' to='{ROMEO}/orchard'>{PUSHES['a roster push']}</iq>")
    (heard,) = romeo.hears()
    assert heard.get("from") == f"{NURSE}/x"
    assert romeo.asks_for_roster() == []


# D64 to D66: answers are never answered


def rooms(client: Client) -> list[str]:
    return [ROMEO, f"{ROMEO}/orchard", f"{ROMEO}/gone", "nobody@montague.example", "montague.example"]


NESTED = (
    "<error type='cancel'><error><error/></error><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>a</gone></error>"
)
ERRORS = {
    "without an error": "",
    "an error in an error": NESTED,
    "only text": "boo",
    "another namespace": "<error xmlns='urn:x'/>",
}


@pytest.mark.parametrize("content", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("kind", ["iq", "message", "presence"])
def test_d65_d66_errors_end_every_conversation(square: Square, kind: str, content: str) -> None:
    """Nobody answers, whoever it is for; between two servers nothing can go round in circles."""
    romeo = square.online("romeo", "orchard")
    for to in rooms(romeo):
        square.inject(f"<{kind} type='error' id='1' from='{NURSE}/x' to='{to}'>{content}</{kind}>")
    square.world_receives()
    heard = romeo.hears()
    assert all(element.get("type") == "error" and element.get("from") == f"{NURSE}/x" for element in heard)
    if kind == "message" and content != NESTED:
        assert heard == []
    romeo.sends(f"<{kind} type='error' id='2' to='montague.example'>{content}</{kind}>")
    romeo.sends(f"<{kind} type='error' id='2'>{content}</{kind}>")
    assert [element for element in romeo.hears() if element.get("from") == "montague.example"] == []


FOLLOW = f"""<iq type='set' id='c' to='{JULIET}'><pubsub xmlns='{ns.PUBSUB}'>
<subscribe node='{FEED}' jid='{ROMEO}'/></pubsub></iq>"""


@pytest.mark.parametrize("type_", ["result", "error"])
def test_d64_answers_that_nobody_waits_for(square: Square, type_: str) -> None:
    square.online("romeo", "orchard")
    for to in (ROMEO, f"{ROMEO}/gone", "nobody@montague.example", "montague.example"):
        square.inject(f"<iq type='{type_}' id='never-asked' from='{NURSE}/x' to='{to}'/>")
    square.world_receives()


def test_d66_an_error_that_says_nothing_still_ends_a_request_of_ours(square: Square) -> None:
    """It is dropped as a message; as an answer to a question it is one, or who asked would wait until the deadline."""
    romeo = square.online("romeo", "orchard")
    romeo.sends(FOLLOW)
    (request,) = square.world_hears()
    square.inject(f"<iq type='error' id='{request.get('id')}' from='{JULIET}' to='{ROMEO}/orchard'/>")
    (answer,) = romeo.hears()
    assert (answer.get("id"), answer.get("type"), error(answer)[0]) == ("c", "error", "service-unavailable")


def test_x12_ids_of_our_requests_cannot_be_guessed(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    ids = []
    for _ in range(50):
        romeo.sends(FOLLOW)
        (request,) = square.world_hears()
        ids.append(request.get("id") or "")
    assert len(set(ids)) == 50
    assert min(map(len, ids)) >= 16  # 96 bits in base64
    assert not {id_[:4] for id_ in ids} & {"H_1", "c"}


def test_d72_elements_stay_elements(square: Square) -> None:
    """A post survives the way in, the store and the way out although it looks like the end of its stream."""
    romeo = square.online("romeo", "orchard")
    title = "&lt;/stream:stream&gt;]]&gt;&lt;!DOCTYPE x&gt;&amp;#0;"
    result(publishes(romeo, "1", title))
    items = result(asks(romeo, "get", f"<items node='{FEED}'/>"))
    assert items is not None
    (item,) = next(items.elements()).elements()
    entry = item.first()
    assert isinstance(entry, Element)
    assert entry.child_text(ns.ATOM, "title") == "</stream:stream>]]><!DOCTYPE x>&#0;"
