"""XEP-0465: lists of follows that are public by choice; XEP-0376, by which they are made."""

import pytest

from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xep.public_lists import PublicLists
from tests.im.town import Client
from tests.xep.service import JULIET, Service
from tests.xep.square import FEED, Square, asks, error, result
from tests.xep.test_follows import known

ROMEO = "romeo@montague.example"
BENVOLIO = "benvolio@montague.example"
FOLLOWERS = ns.PUBLIC_FOLLOWERS + FEED
PUBLIC = f"<public xmlns='{ns.PUBLIC_SUBSCRIPTIONS}'/>"


@pytest.fixture
def romeo(square: Square) -> Client:
    square.install(PublicLists(square.following.follows))
    return square.online("romeo", "orchard")


def follows(client: Client, service: str, public: str = PUBLIC) -> Element:
    return asks(client, "set", f"<subscribe node='{FEED}' jid='{ROMEO}'>{public}</subscribe>", to=service)


def listed(client: Client, service: str, node: str, more: str = "") -> list[tuple[str, str]]:
    """Element and address of each in a list."""
    answer = result(asks(client, "get", f"<items node='{node}'/>{more}", to=service))
    assert answer is not None
    items = answer.find(ns.PUBSUB, "items")
    assert items is not None and items.get("node") == node
    payloads = [item.first() for item in items.elements()]
    return [(one.name, one.attributes["jid"]) for one in payloads if one is not None]


def test_whom_one_follows_and_who_follows_one(square: Square, romeo: Client) -> None:
    mercutio = square.online("mercutio", "street")
    follows(romeo, BENVOLIO)
    follows(romeo, "mercutio@montague.example", public="")
    assert listed(mercutio, ROMEO, ns.PUBLIC_FOLLOWS) == [("subscription", BENVOLIO)]
    assert listed(mercutio, BENVOLIO, FOLLOWERS) == [("subscriber", ROMEO)]
    follows(romeo, BENVOLIO, public="")
    answer = asks(mercutio, "get", f"<items node='{FOLLOWERS}'/>", to=BENVOLIO)
    assert error(answer) == ("item-not-found", None)


def test_nobody_there_and_nothing_public_are_answered_alike(square: Square, romeo: Client) -> None:
    follows(romeo, BENVOLIO, public="")
    answers = []
    for account in (ROMEO, "tybalt@montague.example"):
        for node in (ns.PUBLIC_FOLLOWS, FOLLOWERS):
            answer = asks(romeo, "get", f"<items node='{node}'/>", to=account)
            answers.append((answer.get("type"), answer.children))
    assert all(answer == answers[0] for answer in answers) and answers[0][0] == "error"


def test_pages(square: Square, romeo: Client) -> None:
    square.settle("tybalt", "nurse")
    names = [f"{name}@montague.example" for name in ("benvolio", "mercutio", "tybalt", "nurse")]
    for name in names:
        follows(romeo, name)

    def page(content: str) -> list[str]:
        rsm = f"<set xmlns='{ns.RSM}'>{content}</set>"
        return [jid for _, jid in listed(romeo, ROMEO, ns.PUBLIC_FOLLOWS, rsm)]

    answer = result(
        asks(romeo, "get", f"<items node='{ns.PUBLIC_FOLLOWS}'/><set xmlns='{ns.RSM}'><max>2</max></set>", to=ROMEO)
    )
    assert answer is not None
    rsm = answer.find(ns.RSM, "set")
    assert rsm is not None and rsm.child_text(ns.RSM, "count") == "4"
    last = rsm.child_text(ns.RSM, "last")
    assert page("<max>2</max>") == names[:2]
    assert page(f"<max>2</max><after>{last}</after>") == names[2:]
    assert page("<max>1</max><before/>") == names[3:]
    assert page(f"<max>5</max><before>{last}</before>") == names[:1]
    assert page("<max>0</max>") == []
    for negative in ("<max>-1</max>", "<max>1</max><index>-2</index>"):
        rsm = f"<set xmlns='{ns.RSM}'>{negative}</set>"
        refused = asks(romeo, "get", f"<items node='{ns.PUBLIC_FOLLOWS}'/>{rsm}", to=ROMEO)
        assert error(refused) == ("bad-request", None)
    wrong = asks(
        romeo,
        "get",
        f"<items node='{ns.PUBLIC_FOLLOWS}'/><set xmlns='{ns.RSM}'><after>nothing</after></set>",
        to=ROMEO,
    )
    assert error(wrong) == ("item-not-found", None)


@pytest.mark.parametrize(
    ("type_", "content", "owner"),
    [
        ("set", "<publish node='{}'><item><a xmlns='b'/></item></publish>", False),
        ("set", "<retract node='{}'><item id='1'/></retract>", False),
        ("set", "<create node='{}'/>", False),
        ("set", "<delete node='{}'/>", True),
        ("set", "<purge node='{}'/>", True),
        ("get", "<configure node='{}'/>", True),
    ],
)
def test_the_service_makes_these_lists(square: Square, romeo: Client, type_: str, content: str, owner: bool) -> None:
    """§5."""
    for node in (ns.PUBLIC_FOLLOWS, FOLLOWERS):
        assert error(asks(romeo, type_, content.format(node), to=ROMEO, owner=owner)) == ("forbidden", None)


def manages(client: Client, content: str, jid: str = JULIET, to: str = "") -> None:
    addressee = f"to='{to}'" if to else ""
    client.sends(
        f"<iq type='set' id='pam' {addressee}><pam xmlns='{ns.ACCOUNT_MANAGEMENT}' jid='{jid}'>{content}</pam></iq>"
    )


def test_subscribing_by_ones_account(square: Square, romeo: Client) -> None:
    juliet = Service(square)
    subscribe = f"<subscribe xmlns='{ns.PUBSUB}' node='{FEED}' jid='{ROMEO}'>{PUBLIC}</subscribe>"
    manages(romeo, subscribe)
    juliet.serves()
    (answer,) = romeo.hears()
    assert answer.get("type") == "result" and answer.first() is None
    assert known(square) == [(JULIET, "subscribed", True)] and juliet.public == {ROMEO}
    manages(romeo, f"<unsubscribe xmlns='{ns.PUBSUB}' node='{FEED}' jid='{ROMEO}'/>")
    juliet.serves()
    assert [answer.get("type") for answer in romeo.hears()] == ["result"]
    assert known(square) == [] and juliet.subscribers == {}


@pytest.mark.parametrize(
    ("content", "jid", "to", "condition"),
    [
        (f"<subscribe xmlns='{ns.PUBSUB}' node='{FEED}' jid='{BENVOLIO}'/>", JULIET, "", "bad-request"),
        (f"<subscribe xmlns='{ns.PUBSUB}' node='{FEED}' jid='{ROMEO}'/>", JULIET, BENVOLIO, "bad-request"),
        (f"<subscribe xmlns='{ns.PUBSUB}' jid='{ROMEO}'/>", JULIET, "", "bad-request"),
        (f"<subscribe xmlns='{ns.PUBSUB}' node='{FEED}' jid='{ROMEO}'/>", "", "", "bad-request"),
        ("<other xmlns='other'/>", JULIET, "", "feature-not-implemented"),
    ],
)
def test_what_is_wrong_is_said(square: Square, romeo: Client, content: str, jid: str, to: str, condition: str) -> None:
    manages(romeo, content, jid, to)
    (answer,) = romeo.hears()
    assert error(answer)[0] == condition
    assert square.world_hears() == [] and known(square) == []
