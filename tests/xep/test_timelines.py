"""Timelines as nodes: what a client asks and hears."""

from dataclasses import replace
from typing import Any

import pytest

from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, AccessModel
from microblog.model.subscription import SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases import listing_people, reading
from microblog.usecases.following import Follow, record_subscribe
from microblog.usecases.listing_people import ListChange
from microblog.wire import ns
from microblog.wire.xml import Element
from tests.im.town import Client
from tests.xep.square import FEED, Square, address, asks, error, option, publishes, result, told
from tests.xep.test_follows import begin, outcome_of

HOME, MENTIONS, LOCAL = reading.HOME, reading.MENTIONS, reading.LOCAL
VERONA = reading.tag_node("verona")
HERE = "montague.example"


def test_names_are_those_of_the_wire() -> None:
    assert (HOME, MENTIONS, LOCAL, reading.TAG_PREFIX) == (ns.HOME, ns.MENTIONS, ns.LOCAL, ns.TAG_PREFIX)


def read(client: Client, node: str = HOME, rsm: str = "", *, to: str = "", attributes: str = "") -> Element:
    page = f"<set xmlns='{ns.RSM}'>{rsm}</set>" if rsm else ""
    return asks(client, "get", f"<items node='{node}' {attributes}/>{page}", to=to)


def page(answer: Element) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Publisher and id of each item, and what XEP-0059 says."""
    found = result(answer)
    assert found is not None
    items = found.find(ns.PUBSUB, "items")
    assert items is not None
    rsm = found.find(ns.RSM, "set")
    said = {child.name: child.text for child in rsm.elements()} if rsm else {}
    first = rsm.find(ns.RSM, "first") if rsm else None
    if first is not None and first.get("index") is not None:
        said["index"] = first.attributes["index"]
    return [(item.attributes["publisher"], item.attributes["id"]) for item in items.elements()], said


def ids(answer: Element) -> list[str]:
    return [id_ for _, id_ in page(answer)[0]]


def follow(client: Client, to: str = "romeo@montague.example", node: str = FEED) -> Element:
    return asks(client, "set", f"<subscribe node='{node}' jid='{client.session.jid.bare}'/>", to=to)


def post(client: Client, item_id: str, published: str = "", *, tag: str = "", mentions: str = "") -> None:
    when = f"<published>{published}</published>" if published else ""
    category = f"<category term='{tag}'/>" if tag else ""
    link = f"<link rel='mentioned' href='xmpp:{mentions}'/>" if mentions else ""
    payload = f"<entry xmlns='{ns.ATOM}'><title>{item_id}</title>{when}{category}{link}</entry>"
    result(asks(client, "set", f"<publish node='{FEED}'><item id='{item_id}'>{payload}</item></publish>"))


@pytest.fixture
def people(square: Square) -> tuple[Client, Client]:
    """Romeo writes; Benvolio follows him."""
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    result(follow(benvolio))
    return romeo, benvolio


# reading


def test_home_is_paged_both_ways_with_counts(people: tuple[Client, Client]) -> None:
    romeo, benvolio = people
    for n in range(1, 6):
        post(romeo, f"p{n}", f"2025-12-0{n}T00:00:00Z")
    post(benvolio, "mine", "2025-12-03T12:00:00Z")
    benvolio.hears()
    items, said = page(read(benvolio, rsm="<max>2</max>"))
    assert items == [("romeo@montague.example", "p5"), ("romeo@montague.example", "p4")]
    assert (said["index"], said["count"]) == ("0", "6")
    items, older = page(read(benvolio, rsm=f"<max>2</max><after>{said['last']}</after>"))
    assert items == [("benvolio@montague.example", "mine"), ("romeo@montague.example", "p3")]
    assert older["index"] == "2"
    assert ids(read(benvolio, rsm=f"<max>2</max><before>{older['first']}</before>")) == ["p5", "p4"]
    assert ids(read(benvolio, rsm="<max>2</max><before/>")) == ["p2", "p1"]
    assert ids(read(benvolio, rsm="<max>2</max><index>3</index>")) == ["p3", "p2"]
    assert page(read(benvolio, rsm="<max>0</max>")) == ([], {"count": "6"})
    assert ids(read(benvolio)) == ["p5", "p4", "mine", "p3", "p2", "p1"] and page(read(benvolio))[1] == {}
    newest, said = page(read(benvolio, attributes="max_items='1'"))
    assert [id_ for _, id_ in newest] == ["p5"] and set(said) == {"first", "last"}


def test_items_have_their_payload_as_it_was_published(people: tuple[Client, Client]) -> None:
    romeo, benvolio = people
    post(romeo, "1", tag="Verona")
    benvolio.hears()
    answers = [
        read(benvolio),
        read(benvolio, LOCAL, to=HERE),
        read(benvolio, VERONA, to=HERE),
        asks(benvolio, "get", f"<items node='{FEED}'/>", to="romeo@montague.example"),
    ]
    payloads = []
    for answer in answers:
        found = result(answer)
        assert found is not None
        (items,) = found.elements()
        (item,) = items.elements()
        payloads.append(item.first())
    assert payloads[0] is not None and payloads.count(payloads[0]) == 4


@pytest.mark.parametrize(
    ("rsm", "expected"),
    [
        ("<max>-1</max>", "bad-request"),
        ("<max>ten</max>", "bad-request"),
        ("<after>p1</after>", "item-not-found"),
        ("<after>1.1'; DROP TABLE items; --</after>", "item-not-found"),
        ("<after>1.1</after><before>1.1</before>", "bad-request"),
        ("<index>100000</index>", "feature-not-implemented"),
    ],
)
def test_pages_that_cannot_be(people: tuple[Client, Client], rsm: str, expected: str) -> None:
    assert error(read(people[1], rsm=rsm))[0] == expected


def test_a_timeline_is_its_owners(people: tuple[Client, Client]) -> None:
    romeo, benvolio = people
    for node in (HOME, MENTIONS):
        assert error(read(romeo, node, to="benvolio@montague.example"))[0] == "item-not-found"
        assert error(follow(romeo, "benvolio@montague.example", node)) == ("not-allowed", "closed-node")
    assert benvolio.hears() == []


def test_a_timeline_is_computed(people: tuple[Client, Client]) -> None:
    """Nothing can be published there, and there is nothing to own."""
    romeo = people[0]
    kind = f"<field var='FORM_TYPE'><value>{ns.PUBSUB_NODE_CONFIG}</value></field>"
    form = f"<x xmlns='jabber:x:data' type='submit'>{kind}</x>"
    for content in (
        f"<publish node='{HOME}'><item><a xmlns='b'/></item></publish>",
        f"<retract node='{HOME}'><item id='1'/></retract>",
        f"<create node='{HOME}'/>",
    ):
        assert error(asks(romeo, "set", content))[0] == "forbidden"
        assert error(asks(romeo, "set", content.replace(HOME, LOCAL), to=HERE))[0] == "forbidden"
    for content in (f"<configure node='{HOME}'>{form}</configure>", f"<delete node='{HOME}'/>"):
        assert error(asks(romeo, "set", content, owner=True))[0] == "forbidden"
    by_id = f"<items node='{HOME}'><item id='1'/></items>"
    assert error(asks(romeo, "get", by_id))[0] == "feature-not-implemented"


def test_others_read_what_is_public_of_the_domain(square: Square, people: tuple[Client, Client]) -> None:
    post(people[0], "1")
    square.inject(
        "<iq from='juliet@capulet.example/balcony' to='montague.example' type='get' id='x'>"
        f"<pubsub xmlns='{ns.PUBSUB}'><items node='{LOCAL}'/></pubsub></iq>"
    )
    (answer,) = square.world_hears()
    assert ids(answer) == ["1"]
    square.inject(
        "<iq from='juliet@capulet.example/balcony' to='montague.example' type='set' id='x'>"
        f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='{LOCAL}' jid='juliet@capulet.example'/></pubsub></iq>"
    )
    (answer,) = square.world_hears()
    assert error(answer) == ("not-allowed", "closed-node")


# being told


def heard(client: Client, node: str) -> list[tuple[str, str, str]]:
    """Notifications of a node, and of no other."""
    mine: list[Element] = []
    for message in client.hears():
        event = message.find(ns.PUBSUB_EVENT, "event")
        items = None if event is None else event.find(ns.PUBSUB_EVENT, "items")
        if items is not None and items.get("node") == node:
            mine.append(message)
    return told(mine)


def test_subscribers_of_their_home_are_told(square: Square, people: tuple[Client, Client]) -> None:
    romeo, benvolio = people
    result(follow(benvolio, "benvolio@montague.example", HOME))
    benvolio.hears()
    post(romeo, "1")
    me = str(benvolio.session.jid.bare)
    assert heard(benvolio, HOME) == [(me, me, "1")]
    post(benvolio, "2")
    assert heard(benvolio, HOME) == [(me, me, "2")]
    asks(romeo, "set", f"<retract node='{FEED}' notify='1'><item id='1'/></retract>")
    assert heard(benvolio, HOME) == [(me, me, "-1")]
    mercutio = square.online("mercutio", "square")
    post(mercutio, "3")
    assert heard(benvolio, HOME) == []
    result(asks(benvolio, "set", f"<unsubscribe node='{HOME}' jid='{me}'/>"))
    assert square.readers.computed == {}
    post(romeo, "4")
    assert heard(benvolio, HOME) == []


def test_a_subscription_holds_at_the_next_login(square: Square, people: tuple[Client, Client]) -> None:
    romeo, benvolio = people
    result(follow(benvolio, "benvolio@montague.example", HOME))
    benvolio.sends("<presence type='unavailable'/>")
    assert square.readers.computed == {}
    benvolio.sends("<presence/>")
    assert list(square.readers.computed) == [HOME]
    benvolio.hears()
    post(romeo, "1")
    assert [id_ for _, _, id_ in heard(benvolio, HOME)] == ["1"]


def test_whoever_says_notify_for_their_own_timeline_is_told_there(
    square: Square, people: tuple[Client, Client]
) -> None:
    """XEP-0163 §4.3.2; and once, if the account subscribed as well."""
    romeo, benvolio = people
    other = square.online("benvolio", "tent")
    square.readers.interest(benvolio.session, frozenset((HOME, FEED)))
    square.readers.interest(romeo.session, frozenset((HOME,)))
    post(romeo, "1")
    me = "benvolio@montague.example"
    assert heard(benvolio, HOME) == [(me, str(benvolio.session.jid), "1")]
    assert heard(other, HOME) == []
    romeos = "romeo@montague.example"
    assert heard(romeo, HOME) == [(romeos, str(romeo.session.jid), "1")]
    result(follow(benvolio, me, HOME))
    benvolio.hears()
    post(romeo, "2")
    assert heard(benvolio, HOME) == [(me, me, "2")]
    assert heard(other, HOME) == [(me, me, "2")]


def test_what_is_for_some_is_told_to_those(square: Square, people: tuple[Client, Client]) -> None:
    romeo, benvolio = people
    mercutio = square.online("mercutio", "square")
    result(follow(mercutio))
    for client in (benvolio, mercutio):
        result(follow(client, str(client.session.jid.bare), HOME))
        result(follow(client, HERE, LOCAL))
        client.hears()
    reader = f"<field var='microblog#reader'><value>{benvolio.session.jid.bare}</value></field>"
    audience = "<field var='microblog#audience'><value>direct</value></field>"
    result(publishes(romeo, "1", options=audience + reader))
    assert [id_ for _, _, id_ in heard(benvolio, HOME)] == ["1"]
    assert heard(mercutio, HOME) == []
    form = f"""<configure node='{FEED}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>
        <value>{ns.PUBSUB_NODE_CONFIG}</value></field>{option("access_model", "presence")}</x></configure>"""
    result(asks(romeo, "set", form, owner=True))
    benvolio.hears()
    post(romeo, "2")
    assert heard(benvolio, HOME) == []


def test_tags_local_and_mentions_are_told(square: Square, people: tuple[Client, Client]) -> None:
    benvolio = people[1]
    for node in (LOCAL, VERONA):
        result(follow(benvolio, HERE, node))
    result(follow(benvolio, "benvolio@montague.example", MENTIONS))
    benvolio.hears()
    mercutio = square.online("mercutio", "square")
    post(mercutio, "1", tag="Verona")
    post(mercutio, "2", mentions="benvolio@montague.example")
    me = str(benvolio.session.jid.bare)
    notices = benvolio.hears()
    found = [
        (event.find(ns.PUBSUB_EVENT, "items").get("node"), *told([message])[0])  # type: ignore[union-attr]
        for message in notices
        if (event := message.find(ns.PUBSUB_EVENT, "event")) is not None
    ]
    assert sorted(map(str, found)) == sorted(
        map(
            str,
            [
                (LOCAL, HERE, me, "1"),
                (VERONA, HERE, me, "1"),
                (LOCAL, HERE, me, "2"),
                (MENTIONS, me, me, "2"),
            ],
        )
    )


def test_what_comes_from_elsewhere_is_told_once_for_each_reader(square: Square, people: tuple[Client, Client]) -> None:
    """A stock server sends one copy for each of its author's followers here."""
    benvolio, mercutio = people[1], square.online("mercutio", "square")
    juliet = JID.parse("juliet@capulet.example")
    for client in (benvolio, mercutio):
        record(square, client.session.jid.bare, juliet)
        result(follow(client, str(client.session.jid.bare), HOME))
        result(follow(client, HERE, VERONA))
        client.hears()
    for client in (benvolio, mercutio):
        square.inject(
            f"<message from='{juliet}' to='{client.session.jid.bare}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>"
            f"<items node='{FEED}'><item id='1' publisher='{juliet}'><entry xmlns='{ns.ATOM}'><title>1</title>"
            "<category term='verona'/><updated>2025-12-01T00:00:00Z</updated></entry></item></items></event></message>"
        )
    for client in (benvolio, mercutio):
        nodes = [
            event.find(ns.PUBSUB_EVENT, "items").get("node")  # type: ignore[union-attr]
            for message in client.hears()
            if (event := message.find(ns.PUBSUB_EVENT, "event")) is not None
        ]
        assert sorted(map(str, nodes)) == sorted([FEED, HOME, VERONA])


def record(square: Square, account: JID, service: JID) -> None:
    """Somebody here follows somebody elsewhere, whose feed is open."""

    def write(tx: Any) -> None:
        record_subscribe(
            tx, Follow(account=account, service=service, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
        )
        node = tx.nodes.find(service, MICROBLOG)
        tx.nodes.configure(node, replace(node.config, access_model=AccessModel.OPEN))

    square.database.run(write)
    square.readers.reload(account)


# discovery


def disco(client: Client, kind: str, node: str = "", to: str = HERE) -> Element:
    of = f"node='{node}'" if node else ""
    client.sends(f"<iq type='get' id='ask' to='{to}'><query xmlns='{kind}' {of}/></iq>")
    (answer,) = (element for element in client.hears() if element.get("id") == "ask")
    return answer


def nodes(answer: Element) -> list[str | None]:
    query = result(answer)
    assert query is not None
    return [item.get("node") for item in query.elements()]


def test_timelines_are_discovered(people: tuple[Client, Client]) -> None:
    romeo, benvolio = people
    post(romeo, "1")
    me = "benvolio@montague.example"
    result(follow(benvolio, me, HOME))
    assert nodes(disco(benvolio, ns.DISCO_ITEMS)) == [LOCAL]
    assert nodes(disco(benvolio, ns.DISCO_ITEMS, to=me)) == [HOME, MENTIONS, FEED]
    assert nodes(disco(romeo, ns.DISCO_ITEMS, to=me)) == [FEED]
    for node, to in ((HOME, me), (MENTIONS, me), (LOCAL, HERE), (VERONA, HERE)):
        info = result(disco(benvolio, ns.DISCO_INFO, node, to))
        assert info is not None and "leaf" in repr(info)
    items = result(disco(benvolio, ns.DISCO_ITEMS, HOME, me))
    assert items is not None and [item.get("name") for item in items.elements()] == ["1"]
    for kind in (ns.DISCO_INFO, ns.DISCO_ITEMS):
        assert error(disco(romeo, kind, HOME, me))[0] == "item-not-found"
        assert error(disco(romeo, kind, HOME, HERE))[0] == "item-not-found"


def test_nobody_on_line_wants_a_timeline(square: Square, people: tuple[Client, Client]) -> None:
    """Then nothing is done: not even a question to the database."""
    square.timelines._database = None  # type: ignore[assignment]  # nothing to ask
    post(people[0], "1")
    assert not square.timelines._queue and publishes(people[0], "2").get("type") == "result"


# lists of people, and tags that are followed


def put(square: Square, owner: str, name: str, *people: str, out: bool = False) -> None:
    def change(tx: Transaction) -> None:
        account = tx.accounts.get(owner)
        assert account is not None
        for person in people:
            wanted = ListChange(owner=address(owner), account=account.key, name=name, jid=JID.parse(person))
            (listing_people.take_out if out else listing_people.put)(tx, wanted)

    square.database.run(change)
    square.timelines.list_changed(address(owner), name)


ROMEOS, BENVOLIOS, MERCUTIOS = (str(address(name)) for name in ("romeo", "benvolio", "mercutio"))
FRIENDS = reading.list_node("friends")


def test_a_list_is_read_and_told_to_its_owner(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    mercutio = square.online("mercutio", "square")
    assert error(read(benvolio, FRIENDS))[0] == "item-not-found"
    assert error(follow(benvolio, BENVOLIOS, FRIENDS))[0] == "item-not-found"
    put(square, "benvolio", "friends", ROMEOS)
    assert error(follow(mercutio, BENVOLIOS, FRIENDS))[0] in ("not-allowed", "item-not-found")
    assert error(read(mercutio, FRIENDS, to=BENVOLIOS))[0] == "item-not-found"
    result(follow(benvolio, BENVOLIOS, FRIENDS))
    benvolio.hears()
    post(romeo, "1")
    post(mercutio, "2")
    assert heard(benvolio, FRIENDS) == [(BENVOLIOS, BENVOLIOS, "1")]
    assert ids(read(benvolio, FRIENDS)) == ["1"]
    put(square, "benvolio", "friends", MERCUTIOS)
    put(square, "benvolio", "friends", ROMEOS, out=True)
    post(romeo, "3")
    post(mercutio, "4")
    assert heard(benvolio, FRIENDS) == [(BENVOLIOS, BENVOLIOS, "4")]
    assert page(read(benvolio, FRIENDS, "<max>1</max>"))[1]["count"] == "2"
    asks(mercutio, "set", f"<retract node='{FEED}' notify='1'><item id='4'/></retract>")
    assert heard(benvolio, FRIENDS) == [(BENVOLIOS, BENVOLIOS, "-4")]


def test_a_list_is_told_again_after_a_login_and_never_when_it_is_gone(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    put(square, "benvolio", "friends", ROMEOS)
    result(follow(benvolio, BENVOLIOS, FRIENDS))
    benvolio.sends("<presence type='unavailable'/>")
    assert not square.timelines._lists
    benvolio.sends("<presence/>")
    benvolio.hears()
    post(romeo, "1")
    assert [id_ for _, _, id_ in heard(benvolio, FRIENDS)] == ["1"]
    put(square, "benvolio", "friends", ROMEOS, out=True)
    benvolio.hears()
    assert square.readers.computed == {} and not square.timelines._lists
    post(romeo, "2")
    assert heard(benvolio, FRIENDS) == []


def test_only_what_its_owner_may_read_is_told_in_a_list(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    put(square, "benvolio", "friends", ROMEOS)
    result(follow(benvolio, BENVOLIOS, FRIENDS))
    benvolio.hears()
    audience = "<field var='microblog#audience'><value>followers</value></field>"
    result(publishes(romeo, "1", options=audience))
    assert heard(benvolio, FRIENDS) == []
    result(follow(benvolio))
    benvolio.hears()
    result(publishes(romeo, "2", options=audience))
    assert [id_ for _, _, id_ in heard(benvolio, FRIENDS)] == ["2"]


def test_what_a_list_is_can_be_discovered_by_its_owner(square: Square) -> None:
    benvolio = square.online("benvolio", "street")
    mercutio = square.online("mercutio", "square")
    query = f"<query xmlns='{ns.DISCO_INFO}' node='{FRIENDS}'/>"
    benvolio.sends(f"<iq type='get' id='1' to='{BENVOLIOS}'>{query}</iq>")
    assert benvolio.hears()[-1].get("type") == "error"
    put(square, "benvolio", "friends", ROMEOS)
    benvolio.sends(f"<iq type='get' id='2' to='{BENVOLIOS}'>{query}</iq>")
    assert benvolio.hears()[-1].get("type") == "result"
    mercutio.sends(f"<iq type='get' id='3' to='{BENVOLIOS}'>{query}</iq>")
    assert mercutio.hears()[-1].get("type") == "error"


def test_home_is_told_of_tags_that_are_followed(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    result(follow(benvolio, BENVOLIOS, HOME))
    benvolio.hears()
    account = square.database.run(lambda tx: tx.accounts.get("benvolio"))
    assert account is not None
    post(romeo, "1", tag="Verona")
    waits(square.following.follows.follow_tag(account, "verona"))
    post(romeo, "2", tag="Verona")
    post(romeo, "3", tag="Mantua")
    assert [id_ for _, _, id_ in heard(benvolio, HOME)] == ["2"]
    assert ids(read(benvolio)) == ["2", "1"]
    waits(square.following.follows.leave_tag(account, "verona"))
    post(romeo, "4", tag="Verona")
    assert heard(benvolio, HOME) == [] and square.readers.tags == {}
    assert ids(read(benvolio)) == []


def test_tags_that_somebody_follows_are_forgotten_with_their_sessions(square: Square) -> None:
    benvolio = square.online("benvolio", "street")
    account = square.database.run(lambda tx: tx.accounts.get("benvolio"))
    assert account is not None
    waits(square.following.follows.follow_tag(account, "verona"))
    assert square.readers.tags == {"verona": {address("benvolio")}}
    benvolio.sends("<presence type='unavailable'/>")
    assert square.readers.tags == {}
    benvolio.sends("<presence/>")
    assert square.readers.tags == {"verona": {address("benvolio")}}


def waits(coroutine: Any) -> None:
    outcome_of(begin(coroutine))
