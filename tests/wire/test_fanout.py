"""docs/protocol/fanout.md: the delivery log, read and written."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microblog.model.errors import AnotherEpoch, BadRequest, BeyondHorizon, ResourceConstraint
from microblog.model.event import ItemPublished, ItemRetracted, NodeConfigured, NodePurged
from microblog.model.fanout import Told, set_digest
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG_PROFILE, Node
from microblog.wire import disco, fanout, notification, ns, stanza
from microblog.wire.disco import Info
from microblog.wire.fanout import (
    ENTRIES_MAX,
    FOLLOWERS_MAX,
    NUMBER_MAX,
    TO_MAX,
    Deliver,
    Entry,
    FanoutLimits,
    Fetch,
    FollowerSet,
    FollowersQuery,
    Stored,
)
from microblog.wire.xml import Element, Raw, serialize
from tests.xmltext import read as read_xml

ROMEO = JID.parse("romeo@montague.example")
BENVOLIO = JID.parse("benvolio@montague.example")
JULIET = JID.parse("juliet@capulet.example")
TYBALT = JID.parse("tybalt@capulet.example")
MONTAGUE, CAPULET = JID.parse("montague.example"), JID.parse("capulet.example")
NODE = Node(key=1, service=ROMEO, name=ns.MICROBLOG, config=MICROBLOG_PROFILE)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAYLOAD = "<entry xmlns='http://www.w3.org/2005/Atom'><title>a &amp; b</title></entry>"
ITEM = Item(id="1", publisher=ROMEO, payload=PAYLOAD, published=NOW, updated=NOW, position=7)
DIGEST = set_digest([JULIET])


def over_the_wire(element: Element) -> Element:
    """As the other node's parser has it."""
    return read_xml(serialize(element, ns.CLIENT))


def published(payload: str = PAYLOAD) -> Raw:
    item = Item(id="1", publisher=ROMEO, payload=payload, published=NOW, updated=NOW, position=7)
    event = notification.write_event(ItemPublished(seq=7, node=NODE, item=item))
    assert event is not None
    return event


# deliveries


def test_a_delivery() -> None:
    retracted = notification.write_event(ItemRetracted(seq=8, node=NODE, item_id="0"))
    assert retracted is not None
    entries = (
        fanout.write_entry(42, ROMEO, Told.FOLLOWERS, published(), version=17, digest=DIGEST, to=[TYBALT]),
        fanout.write_void(43),
        fanout.write_entry(44, ROMEO, Told.HOLDERS, retracted),
    )
    written = fanout.write_deliver("f3a9", 41, entries)
    assert over_the_wire(written) == read_xml(f"""
        <deliver xmlns='urn:x-microblog:fanout:0' epoch='f3a9' prev='41'>
        <entry seq='42' author='romeo@montague.example' audience='followers' set='17' digest='{DIGEST}'>
        <to jid='tybalt@capulet.example'/>
        <event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:microblog:0'>
        <item id='1' publisher='romeo@montague.example'>
        <entry xmlns='http://www.w3.org/2005/Atom'><title>a &amp; b</title></entry>
        </item></items></event>
        </entry>
        <entry seq='43'/>
        <entry seq='44' author='romeo@montague.example' audience='holders'>
        <event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:microblog:0'>
        <retract id='0'/></items></event>
        </entry>
        </deliver>""")
    read = fanout.read_deliver(over_the_wire(written))
    assert (read.epoch, read.prev, read.last, read.upto) == ("f3a9", 41, None, 44)
    first, void, last = read.entries
    assert (first.number, first.author, first.audience, first.version, first.digest, first.to) == (
        42,
        ROMEO,
        Told.FOLLOWERS,
        17,
        DIGEST,
        (TYBALT,),
    )
    assert first.event is not None and first.event.items[0].payload_text == PAYLOAD
    assert void == Entry(number=43) and void.is_void
    assert last.event is not None and last.event.retracted == ("0",) and not last.is_void


def test_the_payload_is_put_in_as_the_text_that_it_is() -> None:
    # No serialiser writes this: it is there only if nobody parsed and wrote it again.
    odd = '<entry  xmlns = "http://www.w3.org/2005/Atom"><title>a</title ></entry>'
    written = serialize(fanout.write_deliver("e", 0, [fanout.write_entry(1, ROMEO, Told.PUBLIC, published(odd))]))
    assert odd in written


def test_what_the_node_does_not_tell_of_has_no_event() -> None:
    assert notification.write_event(NodeConfigured(seq=1, node=NODE)) is None


@pytest.mark.parametrize("event", [NodePurged(seq=9, node=NODE), ItemRetracted(seq=9, node=NODE, item_id="x")])
def test_other_events(event: NodePurged | ItemRetracted) -> None:
    text = notification.write_event(event)
    assert text is not None
    written = fanout.write_deliver("e", 8, [fanout.write_entry(9, ROMEO, Told.PUBLIC, text)])
    (entry,) = fanout.read_deliver(over_the_wire(written)).entries
    assert entry.event is not None
    assert entry.event.purged is isinstance(event, NodePurged)
    assert entry.event.retracted == (() if isinstance(event, NodePurged) else ("x",))


EVENT = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='n'><retract id='1'/></items></event>"
ENTRY = f"<entry seq='2' author='romeo@montague.example' audience='public'>{EVENT}</entry>"


def deliver(entries: str, attributes: str = "epoch='e' prev='1'") -> Element:
    return read_xml(f"<deliver xmlns='urn:x-microblog:fanout:0' {attributes}>{entries}</deliver>")


@pytest.mark.parametrize(
    ("attributes", "entries", "sentence"),
    [
        ("prev='1'", ENTRY, "an epoch has 1 to 64"),
        ("epoch='' prev='1'", ENTRY, "an epoch has 1 to 64"),
        (f"epoch='{'e' * 65}' prev='1'", ENTRY, "an epoch has 1 to 64"),
        ("epoch='a b' prev='1'", ENTRY, "an epoch has 1 to 64"),
        ("epoch='e'", ENTRY, "prev is a number"),
        *(
            (f"epoch='e' prev='{prev}'", ENTRY, "prev is a number")
            for prev in ("", "-1", "+1", "01", "1.0", " 1", "1e3", "\u0661", str(NUMBER_MAX + 1), "9" * 10_000)
        ),
        ("epoch='e' prev='1'", "", "at least one entry"),
        ("epoch='e' prev='1'", ENTRY.replace("'2'", "'3'"), "without a gap"),
        ("epoch='e' prev='1'", ENTRY.replace("'2'", "'1'"), "without a gap"),
        ("epoch='e' prev='1'", ENTRY + ENTRY, "without a gap"),
        ("epoch='e' prev='1'", "<entry/>", "seq is a number"),
        ("epoch='e' prev='1'", "<entry seq='two'/>", "seq is a number"),
        (f"epoch='e' prev='{NUMBER_MAX}'", f"<entry seq='{NUMBER_MAX + 1}'/>", "seq is a number"),
        ("epoch='e' prev='0'", "".join(f"<entry seq='{n + 1}'/>" for n in range(ENTRIES_MAX + 1)), "more than 50"),
    ],
)
def test_an_envelope_that_nothing_can_be_said_of(attributes: str, entries: str, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        fanout.read_deliver(deliver(entries, attributes))


HEAD = "author='romeo@montague.example' audience='public'"


@pytest.mark.parametrize(
    ("attributes", "children", "sentence"),
    [
        ("audience='public'", EVENT, "author is an address"),
        ("author='' audience='public'", EVENT, "author is an address"),
        ("author='romeo@montague.example/x' audience='public'", EVENT, "without a resource"),
        ("author='@' audience='public'", EVENT, "author is an address"),
        (f"author='{'r' * 5000}@montague.example' audience='public'", EVENT, "author is an address"),
        ("author='romeo@montague.example'", EVENT, "audience is"),
        ("author='romeo@montague.example' audience='local'", EVENT, "audience is"),
        ("author='romeo@montague.example' audience='Public'", EVENT, "audience is"),
        ("author='romeo@montague.example' audience='followers'", EVENT, "names their set"),
        ("author='romeo@montague.example' audience='direct'", EVENT, "names its readers"),
        (f"{HEAD} set='1'", EVENT, "come together"),
        (f"{HEAD} digest='{DIGEST}'", EVENT, "come together"),
        (f"{HEAD} set='-1' digest='{DIGEST}'", EVENT, "set is a number"),
        (f"{HEAD} set='1' digest='{DIGEST[:-4]}'", EVENT, "a digest is"),
        (f"{HEAD} set='1' digest='{'!' * 44}'", EVENT, "a digest is"),
        (f"{HEAD} set='1' digest='{'A' * 42}B='", EVENT, "a digest is"),
        (f"{HEAD} set='1' digest='{'A' * 44}'", EVENT, "a digest is"),
        (f"{HEAD} set='1' digest=''", EVENT, "a digest is"),
        (HEAD, "<to/>" + EVENT, "to is an address"),
        (HEAD, "<to jid='juliet@capulet.example/balcony'/>" + EVENT, "to is an address"),
        (HEAD, "<to jid='a@b.example'/>" * (TO_MAX + 1) + EVENT, "more than 1000"),
        (HEAD, "", "one event"),
        (HEAD, EVENT + EVENT, "one event"),
        (HEAD, "<event/>", "one event"),
        (HEAD, "<event xmlns='http://jabber.org/protocol/pubsub#event'/>", "one thing"),
        (HEAD, EVENT.replace("</event>", "<purge node='n'/></event>"), "one thing"),
        (HEAD, EVENT.replace("<retract id='1'/>", "<retract id='1'/><retract id='2'/>"), "one thing"),
        (HEAD, EVENT.replace("<retract id='1'/>", "<item id='1'/><retract id='2'/>"), "one thing"),
        (HEAD, EVENT.replace("<retract id='1'/>", ""), "one thing"),
        (HEAD, EVENT.replace("<retract id='1'/>", "<retract/>"), "no id"),
        (HEAD, EVENT.replace("<retract id='1'/>", "<item/>"), "no id"),
        (HEAD, EVENT.replace("id='1'", f"id='{'i' * 1024}'"), "at most 1023"),
        (HEAD, EVENT.replace("node='n'", f"node='{'n' * 1024}'"), "at most 1023"),
        (HEAD, EVENT.replace(" node='n'", ""), "names its node"),
        (HEAD, EVENT.replace("items", "things"), "not an event"),
        (
            HEAD,
            "<event xmlns='http://jabber.org/protocol/pubsub#event'>"
            "<subscription node='n' jid='juliet@capulet.example' subscription='subscribed'/></event>",
            "told to the subscriber",
        ),
    ],
)
def test_one_bad_entry_is_refused_by_its_number_and_stops_nothing(
    attributes: str, children: str, sentence: str
) -> None:
    bad = f"<entry seq='3' {attributes}>{children}</entry>"
    read = fanout.read_deliver(deliver(ENTRY + bad + ENTRY.replace("seq='2'", "seq='4'")))
    assert [entry.number for entry in read.entries] == [2, 3, 4]
    before, between, behind = read.entries
    assert before.event is not None and behind.event is not None and not before.problem and not behind.problem
    assert sentence in between.problem and between.event is None and not between.is_void
    with pytest.raises(BadRequest, match=sentence):
        fanout.read_entry(deliver(bad).elements().__next__())


def test_no_more_is_taken_out_of_an_entry_than_what_it_is() -> None:
    read = fanout.read_deliver(deliver(ENTRY.replace("<event", "<later xmlns='urn:example'/><event") + "<other/>text"))
    assert read.entries[0].event is not None and not read.entries[0].problem


def test_names_twice_are_one_reader() -> None:
    to = "<to jid='juliet@capulet.example'/><to jid='JULIET@capulet.example'/>"
    (entry,) = fanout.read_deliver(deliver(ENTRY.replace("<event", to + "<event"))).entries
    assert entry.to == (JULIET,)


# fetching


def test_a_page_of_the_log() -> None:
    page = fanout.write_deliver("e", 8, [fanout.write_void(9)], last=30)
    assert fanout.read_page(over_the_wire(page)) == Deliver(epoch="e", prev=8, entries=(Entry(number=9),), last=30)
    level = fanout.write_deliver("e", 30, [], last=30)
    assert fanout.read_page(over_the_wire(level)) == Deliver(epoch="e", prev=30, entries=(), last=30)


@pytest.mark.parametrize(
    "page",
    [
        "<deliver xmlns='urn:x-microblog:fanout:0' epoch='e' prev='1'/>",
        "<deliver xmlns='urn:x-microblog:fanout:0' epoch='e' prev='1' last='0'/>",
        "<deliver xmlns='urn:x-microblog:fanout:0' epoch='e' prev='1' last='x'/>",
        "<deliver xmlns='urn:x-microblog:fanout:0' epoch='e' prev='1' last='1'><entry seq='2'/></deliver>",
        "<deliver xmlns='urn:example' epoch='e' prev='1' last='1'/>",
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='e' prev='1' last='1'/>",
    ],
)
def test_a_page_that_says_nothing(page: str) -> None:
    with pytest.raises(BadRequest):
        fanout.read_page(read_xml(page))


def test_a_fetch() -> None:
    assert fanout.read_fetch(over_the_wire(fanout.write_fetch("e-1_X", 0))) == Fetch("e-1_X", 0, ENTRIES_MAX)
    assert fanout.read_fetch(read_xml("<fetch xmlns='urn:x-microblog:fanout:0' epoch='e' after='7' max='9999'/>")) == (
        Fetch("e", 7, ENTRIES_MAX)
    )
    assert fanout.read_fetch(read_xml("<fetch xmlns='urn:x-microblog:fanout:0' epoch='e' after='7' max='3'/>")).max == 3


@pytest.mark.parametrize(
    "attributes", ["", "epoch='e'", "after='1'", "epoch='e' after='1' max='0'", "epoch='e' after=''"]
)
def test_a_fetch_of_nothing(attributes: str) -> None:
    with pytest.raises(BadRequest):
        fanout.read_fetch(read_xml(f"<fetch xmlns='urn:x-microblog:fanout:0' {attributes}/>"))


def test_why_a_fetch_is_refused() -> None:
    fetch = stanza.iq("get", CAPULET, MONTAGUE, "1", fanout.write_fetch("e", 1))
    beyond = fetch.error(BeyondHorizon("the log begins later", number=4000))
    assert serialize(beyond.element, ns.CLIENT) == (
        "<iq from='montague.example' to='capulet.example' id='1' type='error'><error type='cancel'>"
        "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>the log begins later</text>"
        "<horizon xmlns='urn:x-microblog:fanout:0' seq='4000'/></error></iq>"
    )
    refusal = fanout.read_fetch_refusal(beyond)
    assert isinstance(refusal, BeyondHorizon) and refusal.number == 4000
    refusal = fanout.read_fetch_refusal(fetch.error(AnotherEpoch(epoch="9b2c")))
    assert isinstance(refusal, AnotherEpoch) and refusal.epoch == "9b2c"
    assert isinstance(fanout.read_fetch_refusal(fetch.error(ResourceConstraint())), ResourceConstraint)


@pytest.mark.parametrize("said", ["<horizon {0} seq='-1'/>", "<horizon {0}/>", "<epoch {0}/>", "<epoch {0} now=''/>"])
def test_a_refusal_that_makes_no_sense_is_no_horizon(said: str) -> None:
    error = said.format("xmlns='urn:x-microblog:fanout:0'")
    answer = read_xml(f"<iq type='error'><error type='cancel'>{error}</error></iq>")
    refusal = fanout.read_fetch_refusal(stanza.Stanza("iq", "error", "1", MONTAGUE, CAPULET, answer))
    assert not isinstance(refusal, BeyondHorizon | AnotherEpoch)


# acknowledgements


def test_what_is_stored() -> None:
    stored = Stored(
        epoch="f3a9",
        upto=44,
        had=41,
        stale={ROMEO: 16, BENVOLIO: 0},
        unwanted=(BENVOLIO,),
        refused={43: "policy-violation"},
    )
    written = fanout.write_stored(stored)
    assert over_the_wire(written) == read_xml("""
        <stored xmlns='urn:x-microblog:fanout:0' epoch='f3a9' upto='44' had='41'>
        <stale author='romeo@montague.example' have='16'/>
        <stale author='benvolio@montague.example'/>
        <unwanted author='benvolio@montague.example'/>
        <refused seq='43' reason='policy-violation'/>
        </stored>""")
    assert fanout.read_stored(over_the_wire(written)) == stored


@pytest.mark.parametrize(
    "answer",
    [
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='e'/>",
        "<stored xmlns='urn:x-microblog:fanout:0' upto='1'/>",
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='e' upto='1' had='-1'/>",
        "<stored xmlns='urn:example' epoch='e' upto='1'/>",
        "<deliver xmlns='urn:x-microblog:fanout:0' epoch='e' upto='1'/>",
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='e' upto='1'><stale/></stored>",
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='e' upto='1'><stale author='a@b.example' have='x'/></stored>",
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='e' upto='1'><unwanted author='a@b.example/c'/></stored>",
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='e' upto='1'><refused seq='1'/></stored>",
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='e' upto='1'><refused seq='1' reason='No!'/></stored>",
        f"<stored xmlns='urn:x-microblog:fanout:0' epoch='e' upto='1'><refused seq='1' reason='{'r' * 65}'/></stored>",
        f"<stored xmlns='urn:x-microblog:fanout:0' epoch='e' upto='1'>{'<x/>' * 151}</stored>",
    ],
)
def test_an_acknowledgement_that_is_none(answer: str) -> None:
    with pytest.raises(BadRequest):
        fanout.read_stored(read_xml(answer))


# sets


def test_the_digest_of_a_set() -> None:
    # printf 'juliet@capulet.example\0tybalt@capulet.example' | openssl dgst -sha256 -binary | base64
    assert set_digest([TYBALT, JULIET.with_resource("balcony"), JULIET]) == (
        "71szj2+bUmOuf+T5G2OhYiA0trina6vT7SJ394I3oVA="
    )
    # Nothing cancels out: one twice is one.
    assert set_digest([JULIET, JULIET]) == set_digest([JULIET])
    assert set_digest([JULIET]) != set_digest([]) != set_digest([TYBALT])


def test_asking_for_followers() -> None:
    assert fanout.read_followers_query(over_the_wire(fanout.write_followers_query(ROMEO))) == FollowersQuery(ROMEO)
    query = fanout.write_followers_query(ROMEO, JULIET)
    assert fanout.read_followers_query(over_the_wire(query)) == FollowersQuery(ROMEO, JULIET)


@pytest.mark.parametrize("attributes", ["", "author=''", "author='a@b.example/c'", "author='a@b.example' after='/'"])
def test_a_question_about_nobody(attributes: str) -> None:
    with pytest.raises(BadRequest):
        fanout.read_followers_query(read_xml(f"<followers xmlns='urn:x-microblog:fanout:0' {attributes}/>"))


@pytest.mark.parametrize("more", [True, False])
def test_a_set_of_followers(more: bool) -> None:
    page = FollowerSet(author=ROMEO, version=17, digest=DIGEST, jids=(JULIET, TYBALT), more=more)
    assert fanout.read_follower_set(over_the_wire(fanout.write_follower_set(page)), ROMEO) == page


@pytest.mark.parametrize(
    ("attributes", "jids"),
    [
        (f"author='benvolio@montague.example' set='1' digest='{DIGEST}'", ""),
        (f"set='1' digest='{DIGEST}'", ""),
        (f"author='romeo@montague.example' digest='{DIGEST}'", ""),
        ("author='romeo@montague.example' set='1'", ""),
        (f"author='romeo@montague.example' set='1' digest='{DIGEST}' more='perhaps'", ""),
        (f"author='romeo@montague.example' set='1' digest='{DIGEST}'", "<jid/>"),
        (f"author='romeo@montague.example' set='1' digest='{DIGEST}'", "<jid>a@b.example/c</jid>"),
        (f"author='romeo@montague.example' set='1' digest='{DIGEST}'", "<jid>a@b.example</jid>" * (FOLLOWERS_MAX + 1)),
    ],
)
def test_a_set_that_is_none(attributes: str, jids: str) -> None:
    answer = read_xml(f"<followers xmlns='urn:x-microblog:fanout:0' {attributes}>{jids}</followers>")
    with pytest.raises(BadRequest):
        fanout.read_follower_set(answer, ROMEO)


# discovery


def test_what_a_node_says_of_itself() -> None:
    limits = FanoutLimits(max_bytes=100_000, max_entries=20, log_days=7, epoch="f3a9")
    info = Info(features=(ns.FANOUT,), forms=(fanout.write_limits(limits),))
    read = disco.read_info(over_the_wire(disco.write_info(info)))
    assert fanout.read_limits(read) == limits


def test_the_limits_are_part_of_the_hash() -> None:
    one, other = (
        disco.verification(Info(features=(ns.FANOUT,), forms=(fanout.write_limits(FanoutLimits(epoch=epoch)),)))
        for epoch in ("a", "b")
    )
    assert one != other


def field(name: str, value: str) -> str:
    return f"<field var='{name}'><value>{value}</value></field>"


def limits_of(change: Callable[[str], str], *, feature: str = ns.FANOUT) -> FanoutLimits | None:
    fields = field("FORM_TYPE", ns.FANOUT) + "".join(
        field(*pair) for pair in (("max-bytes", "262144"), ("max-entries", "50"), ("log-days", "30"), ("epoch", "e"))
    )
    form = read_xml(f"<x xmlns='jabber:x:data' type='result'>{change(fields)}</x>")
    return fanout.read_limits(Info(features=(feature,), forms=(form,)))


def test_who_does_not_keep_to_the_protocol_does_not_speak_it() -> None:
    assert limits_of(lambda fields: fields) == FanoutLimits(epoch="e")
    assert limits_of(lambda fields: fields, feature="urn:example") is None
    assert fanout.read_limits(Info(features=(ns.FANOUT,))) is None
    for old, new in (
        (ns.FANOUT, "urn:example"),
        ("262144", "9999"),
        ("262144", "-1"),
        ("262144", "many"),
        (">50<", ">0<"),
        (">30<", ">0<"),
        ("<value>e</value>", "<value/>"),
        ("<value>e</value>", "<value>e e</value>"),
    ):
        assert limits_of(lambda fields, old=old, new=new: fields.replace(old, new)) is None, new  # type: ignore[misc]
    assert limits_of(lambda fields: fields.replace("262144", "9" * 18)) == FanoutLimits(epoch="e")


# anything

NUMBERS = st.integers(0, NUMBER_MAX - ENTRIES_MAX)
PEOPLE = st.sampled_from([ROMEO, BENVOLIO, JULIET, TYBALT, MONTAGUE])
EPOCHS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(
    EPOCHS,
    NUMBERS,
    st.lists(st.tuples(PEOPLE, st.sampled_from(Told), NUMBERS, st.lists(PEOPLE, min_size=1)), min_size=1, max_size=50),
)
def test_what_is_written_is_read(epoch: str, prev: int, told: list[tuple[JID, Told, int, list[JID]]]) -> None:
    entries = [
        fanout.write_entry(
            prev + n, author, audience, published(), version=version, digest=set_digest(to), to=dict.fromkeys(to)
        )
        for n, (author, audience, version, to) in enumerate(told, 1)
    ]
    read = fanout.read_deliver(over_the_wire(fanout.write_deliver(epoch, prev, entries)))
    assert (read.epoch, read.prev, read.upto) == (epoch, prev, prev + len(told))
    assert [(entry.author, entry.audience, entry.version, entry.to, entry.problem) for entry in read.entries] == [
        (author, audience, version, tuple(dict.fromkeys(to)), "") for author, audience, version, to in told
    ]


@given(
    EPOCHS,
    NUMBERS,
    st.dictionaries(PEOPLE, NUMBERS),
    st.lists(PEOPLE),
    st.dictionaries(NUMBERS, st.from_regex(r"[a-z]{1,20}-[a-z]{1,20}", fullmatch=True), max_size=50),
)
def test_what_is_stored_is_read(
    epoch: str, upto: int, stale: dict[JID, int], unwanted: list[JID], refused: dict[int, str]
) -> None:
    stored = Stored(epoch=epoch, upto=upto, stale=stale, unwanted=tuple(unwanted), refused=refused)
    assert fanout.read_stored(over_the_wire(fanout.write_stored(stored))) == stored


_NAMES = st.sampled_from(["deliver", "entry", "event", "items", "item", "retract", "purge", "to", "jid", "stale"])
_URIS = st.sampled_from([ns.FANOUT, ns.PUBSUB_EVENT])
_VALUES = st.one_of(st.sampled_from(["0", "1", "2", "public", "e", "a@b.example"]), st.text(max_size=8))
_ATTRIBUTES = st.dictionaries(
    st.sampled_from(["seq", "epoch", "prev", "last", "author", "audience", "set", "digest", "id", "node", "jid"]),
    _VALUES,
)
_ELEMENTS = st.recursive(
    st.builds(Element, _URIS, _NAMES, _ATTRIBUTES),
    lambda children: st.builds(
        lambda uri, name, attributes, inner: Element(uri, name, attributes, *inner),
        _URIS,
        _NAMES,
        _ATTRIBUTES,
        st.lists(st.one_of(children, st.text(max_size=5)), max_size=3),
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "reader",
    [
        fanout.read_deliver,
        fanout.read_page,
        fanout.read_entry,
        fanout.read_stored,
        fanout.read_fetch,
        fanout.read_followers_query,
        lambda element: fanout.read_follower_set(element, ROMEO),
    ],
)
@given(element=_ELEMENTS)
def test_nothing_that_anybody_sends_is_more_than_a_bad_request(
    reader: Callable[[Element], object], element: Element
) -> None:
    try:
        reader(element)
    except BadRequest as refusal:
        assert refusal.text
