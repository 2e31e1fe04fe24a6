"""docs/protocol/: what is written there is what is spoken here."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from lxml import etree

from microblog.model.errors import AnotherEpoch, BadRequest, BeyondHorizon
from microblog.model.fanout import Told, set_digest
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import Node, profile
from microblog.model.subscription import SubscriptionState
from microblog.wire import disco, fanout, notification, ns, pubsub, track
from microblog.wire.fanout import Entry, FanoutLimits, FollowerSet, Stored
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, Raw, serialize
from tests.protocols import FOLDER, Protocol, examples, name
from tests.xmltext import read_all, read_stanza

PROTOCOL = Protocol("fanout", ns.FANOUT)
PAGE, EXAMPLES, ours, check = PROTOCOL.page, PROTOCOL.examples, PROTOCOL.ours, PROTOCOL.check
ROMEO, JULIET = JID.parse("romeo@montague.example"), JID.parse("juliet@capulet.example")
ORIGIN, RECEIVER = "montague.example", "capulet.example"
EVENT = Raw(f"<event xmlns='{ns.PUBSUB_EVENT}'><purge node='{ns.MICROBLOG}'/></event>")
DIGEST = set_digest([JULIET])


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_every_example_is_valid(example: str) -> None:
    PROTOCOL.check_example(example)


def test_the_examples_show_every_element_and_every_audience() -> None:
    assert not PROTOCOL.undocumented()
    assert all(f"audience='{told}'" in PAGE for told in Told)


def deliver(stanza: Stanza, payload: Element) -> None:
    read = fanout.read_deliver(payload) if stanza.type == "set" else fanout.read_page(payload)
    assert not [entry.problem for entry in read.entries if entry.problem]
    for entry in read.entries:
        assert entry.is_void or (entry.author is not None and entry.author.domainpart == stanza.from_.domainpart)
        assert all(jid.domainpart == stanza.to.domainpart for jid in entry.to)


def refusal(stanza: Stanza, payload: Element) -> None:
    assert stanza.type == "error"
    assert isinstance(fanout.read_fetch_refusal(stanza), BeyondHorizon | AnotherEpoch)


def followers(stanza: Stanza, payload: Element) -> None:
    if stanza.type == "get":
        fanout.read_followers_query(payload)
    else:
        assert fanout.read_follower_set(payload, fanout.read_followers_query(payload).author).jids


READERS: dict[str, Callable[[Stanza, Element], object]] = {
    "deliver": deliver,
    "stored": lambda stanza, payload: fanout.read_stored(payload),
    "fetch": lambda stanza, payload: fanout.read_fetch(payload),
    "followers": followers,
    "horizon": refusal,
    "epoch": refusal,
}


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_every_example_is_understood(example: str) -> None:
    stanza = read_stanza(example)
    assert {stanza.from_.domainpart, stanza.to.domainpart} == {ORIGIN, RECEIVER}
    found = ours(stanza.element)
    for element in found:
        READERS[element.name](stanza, element)
    payload = stanza.payload
    assert payload is not None
    if payload.is_(ns.DISCO_INFO, "query") and stanza.type == "result":
        assert fanout.read_limits(disco.read_info(payload)) == FanoutLimits(epoch="b7Kd02mQx-9_")
    elif not found:
        assert payload.uri in (ns.DISCO_INFO, ns.PUBSUB)


def test_the_digest_in_the_examples_is_of_the_set_in_the_examples() -> None:
    jids = {JID.parse(jid) for jid in re.findall("<jid>(.+?)</jid>", PAGE)}
    assert set(re.findall("digest='(.+?)'", PAGE)) == {set_digest(jids)}


@pytest.mark.parametrize(
    "element",
    [
        fanout.write_deliver(
            "e-1_",
            0,
            [
                fanout.write_entry(1, ROMEO, Told.FOLLOWERS, EVENT, version=2, digest=DIGEST, to=[JULIET]),
                fanout.write_void(2),
                *(fanout.write_entry(n, ROMEO, told, EVENT, to=[JULIET]) for n, told in enumerate(Told, 3)),
            ],
            last=9,
        ),
        fanout.write_stored(
            Stored(epoch="e", upto=1, stale={ROMEO: 1, JULIET: 0}, unwanted=(ROMEO,), refused={1: "bad-request"})
        ),
        fanout.write_fetch("e", 0),
        fanout.write_followers_query(ROMEO, JULIET),
        fanout.write_follower_set(FollowerSet(author=ROMEO, version=1, digest=DIGEST, jids=(JULIET,), more=True)),
    ],
    ids=lambda element: element.name,
)
def test_what_is_written_here_is_valid(element: Element) -> None:
    check(serialize(element))


@pytest.mark.parametrize(
    "text",
    [
        "<deliver xmlns='{0}' epoch='e'/>",
        "<deliver xmlns='{0}' epoch='e f' prev='1'/>",
        "<deliver xmlns='{0}' epoch='e' prev='01'/>",
        "<deliver xmlns='{0}' epoch='e' prev='9223372036854775808'/>",
        "<stored xmlns='{0}' epoch='e' upto='1'><refused seq='1' reason='Because'/></stored>",
        "<fetch xmlns='{0}' epoch='e' after='1' max='0'/>",
        "<followers xmlns='{0}' author='romeo@montague.example/orchard'/>",
        "<horizon xmlns='{0}'/>",
    ],
)
def test_schema_and_reader_refuse_the_same(text: str) -> None:
    with pytest.raises(etree.DocumentInvalid):
        check(text.format(ns.FANOUT))
    (element,) = read_all(text.format(ns.FANOUT))
    readers: dict[str, Callable[[Element], object]] = {
        "deliver": fanout.read_page,
        "stored": fanout.read_stored,
        "fetch": fanout.read_fetch,
        "followers": fanout.read_followers_query,
        "horizon": lambda _: _refused(text),
    }
    with pytest.raises(BadRequest):
        readers[element.name](element)


def _refused(text: str) -> None:
    error = f"<iq type='error' from='{ORIGIN}' to='{RECEIVER}' id='1'><error>{text.format(ns.FANOUT)}</error></iq>"
    raise fanout.read_fetch_refusal(read_stanza(error))


def test_a_void_entry_has_nothing_but_its_number() -> None:
    (element,) = read_all(f"<deliver xmlns='{ns.FANOUT}' epoch='e' prev='0' last='1'>{fanout.write_void(1)}</deliver>")
    assert fanout.read_page(element).entries == (Entry(number=1),)


def test_each_threat_has_its_test_and_each_test_its_threat() -> None:
    table = PAGE.partition("| threat | test |")[2].partition("##")[0]
    named = re.findall(r"`(test_\w+)`", table)
    file = (FOLDER.parent.parent / "tests" / "hostile" / "test_fanout.py").read_text()
    assert sorted(named) == sorted(re.findall(r"^def (test_\w+)", file, re.MULTILINE))


TRACK = examples((FOLDER / "track.md").read_text())


def test_tracks_are_asked_for_and_told_as_is_written() -> None:
    asked, answered, told = map(read_stanza, TRACK)
    subscribed = pubsub.read_subscribe(pubsub.verb(asked))
    assert (subscribed.node, subscribed.jid) == (ns.TRACK, JULIET)
    assert subscribed.options is not None
    assert track.read_options(subscribed.options).text == 'lift "is back" from romeo near "45.442,10.998" 5km'
    assert pubsub.read_subscription(answered.payload) == (SubscriptionState.SUBSCRIBED, "t7x2")
    event = told.element.find(ns.PUBSUB_EVENT, "event")
    assert event is not None
    notice = notification.read_notice(event)
    assert notice.node == ns.TRACK and [(item.id, item.publisher) for item in notice.items] == [("p1", ROMEO)]
    assert track.read_subids(told.element) == {"t7x2"}
    node = Node(key=1, service=ROMEO, name=ns.MICROBLOG, config=profile(ns.MICROBLOG))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    payload = f"<entry xmlns='{ns.ATOM}'><title>The lift is back</title></entry>"
    item = Item(id="p1", publisher=ROMEO, payload=payload, published=now, updated=now)
    ours = read_stanza(track.notification(JID("", ORIGIN), JULIET, ["t7x2"], node, item))
    assert squeezed(serialize(ours.element)) == squeezed(serialize(told.element))


def squeezed(text: str) -> str:
    """Without the space between elements, and with attributes in one order."""
    return etree.tostring(etree.fromstring(re.sub(r">\s+<", "><", text)), method="c14n").decode()
