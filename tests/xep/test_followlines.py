"""Who wants to follow whom, as lines of chat."""

import pytest

from microblog.model.access import AccessModel
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import following, linking, owning, policing, subscribing
from microblog.wire import notification, ns
from tests.im.town import Client
from tests.xep.parlour import NODE, Parlour, lines
from tests.xep.service import JULIET
from tests.xep.test_chatlines import comes, follow

BENVOLIO, ROMEO, JULIET_JID = JID("benvolio", NODE), JID("romeo", NODE), JID.parse(JULIET)
ASKS_BENVOLIO = 'romeo wants to follow you: "allow romeo" or "deny romeo".'


@pytest.fixture
def parlour(database: Database, clock: Clock) -> Parlour:
    """Benvolio lets only those follow him whom he has allowed to."""
    parlour = Parlour(database, clock)
    options = {"access_model": (AccessModel.AUTHORIZE.value,)}
    parlour.database.run(
        owning.configure, owning.Configure(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, options=options)
    )
    return parlour


@pytest.fixture
def benvolio(parlour: Parlour) -> Client:
    return comes(parlour, "benvolio")


@pytest.fixture
def romeo(parlour: Parlour) -> Client:
    return comes(parlour, "romeo")


def texts(client: Client) -> list[str | None]:
    return [text for _, text in lines(client)]


def decides(parlour: Parlour, follower: JID, allow: bool) -> None:
    wanted = subscribing.Decide(
        service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, jid=follower, allow=allow, notice=notification.decision
    )
    parlour.database.run(subscribing.decide, wanted)


def asks_from_elsewhere(parlour: Parlour, jid: JID) -> None:
    wanted = subscribing.Subscribe(service=BENVOLIO, node=MICROBLOG, actor=jid, jid=jid)
    parlour.database.run(subscribing.subscribe, wanted)


def test_the_owner_is_asked_and_the_follower_hears_the_decision(
    parlour: Parlour, benvolio: Client, romeo: Client
) -> None:
    follow(parlour, romeo, "benvolio")
    assert texts(benvolio) == [ASKS_BENVOLIO]
    assert lines(romeo) == []
    decides(parlour, ROMEO, True)
    assert texts(romeo) == ["benvolio lets you follow: new posts come from now on."]
    parlour.publishes("benvolio", "Good morrow", audience=Audience.FOLLOWERS)
    assert lines(romeo) == [("n1", "benvolio: Good morrow  #1")]
    ended = owning.SetSubscriptions(
        service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, changes=((ROMEO, subscribing.SubscriptionState.NONE, None),)
    )
    parlour.database.run(owning.set_subscriptions, ended)
    assert texts(romeo) == ["You do not follow benvolio: they do not allow it."]
    assert lines(benvolio) == []


def test_people_elsewhere_ask_with_their_address_once_a_day(parlour: Parlour, benvolio: Client) -> None:
    for _ in range(2):
        asks_from_elsewhere(parlour, JULIET_JID)
        assert [text for text in texts(benvolio) if text] in (
            [f'{JULIET} wants to follow you: "allow {JULIET}" or "deny {JULIET}".'],
            [],
        )
        decides(parlour, JULIET_JID, False)
    asks_from_elsewhere(parlour, JULIET_JID)
    assert lines(benvolio) == []


def test_a_crowd_that_asks_does_not_flood_the_owner(parlour: Parlour, benvolio: Client) -> None:
    for number in range(30):
        asks_from_elsewhere(parlour, JID(f"guest{number}", "capulet.example"))
    assert len(lines(benvolio)) == 20


def test_who_does_not_talk_to_the_node_is_not_told(parlour: Parlour, romeo: Client) -> None:
    silent = parlour.online("benvolio", "street")
    follow(parlour, romeo, "benvolio")
    told = [message for message in silent.hears() if message.name == "message"]
    assert [message.child_text(ns.CLIENT, "body") for message in told] == [None], "the form only"


def test_addresses_elsewhere_are_told_too(parlour: Parlour, benvolio: Client, romeo: Client) -> None:
    def link(tx):  # type: ignore[no-untyped-def]
        tx.linked.add(JID("ben", "mantua.example"), tx.accounts.get("benvolio").key, asked_there=True, confirmed=True)
        tx.linked.add(JID("tybalt", "mantua.example"), tx.accounts.get("benvolio").key, asked_there=True)

    parlour.database.run(link)
    benvolio.leaves()
    follow(parlour, romeo, "benvolio")
    heard = parlour.world.hears("mantua.example")
    assert [(one.get("to"), one.child_text(ns.CLIENT, "body")) for one in heard] == [
        ("ben@mantua.example", ASKS_BENVOLIO)
    ]
    account = parlour.database.run(lambda tx: tx.accounts.get("benvolio"))
    unlink = linking.Unlink(account=account, jid=JID("ben", "mantua.example"), notice=notification.decision)
    parlour.database.run(linking.unlink, unlink)
    asks_from_elsewhere(parlour, JULIET_JID)
    assert parlour.world.hears("mantua.example") == []


def test_a_decision_elsewhere_is_told(parlour: Parlour, romeo: Client) -> None:
    def says_state(kind: str, id_: str, from_: str, state: str) -> str:
        inner = f"<subscription node='{MICROBLOG}' jid='{ROMEO}' subscription='{state}'/>"
        if kind == "iq":
            inner = f"<pubsub xmlns='{ns.PUBSUB}'>{inner}</pubsub>"
            return f"<iq type='result' id='{id_}' from='{from_}' to='{ROMEO}'>{inner}</iq>"
        return f"<message from='{from_}' to='{ROMEO}'><event xmlns='{ns.PUBSUB_EVENT}'>{inner}</event></message>"

    romeo.sends(
        f"<iq type='set' id='f' to='{JULIET}'><pubsub xmlns='{ns.PUBSUB}'>"
        f"<subscribe node='{MICROBLOG}' jid='{ROMEO}'/></pubsub></iq>"
    )
    (request,) = [element for element in parlour.world_hears() if element.name == "iq"]
    parlour.inject(says_state("iq", request.get("id") or "", JULIET, "pending"))
    parlour.inject(says_state("message", "", "paris@verona.example", "subscribed"))
    assert lines(romeo) == []
    parlour.inject(says_state("message", "", JULIET, "subscribed"))
    assert texts(romeo) == [f"{JULIET} lets you follow: new posts come from now on."]
    parlour.inject(says_state("message", "", JULIET, "subscribed"))
    assert texts(romeo) == []
    parlour.inject(says_state("message", "", JULIET, "none"))
    assert texts(romeo) == [f"You do not follow {JULIET}: they do not allow it."]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("<gone xmlns='{0}'/>", "juliet@capulet.example is gone, says their server, and does not follow you any more."),
        (
            "<gone xmlns='{0}'>xmpp:juliet@mantua.example</gone>",
            "juliet@capulet.example is gone, says their server, and is juliet@mantua.example now; they do not follow "
            "you there unless they ask.",
        ),
    ],
)
def test_the_owner_hears_that_a_follower_is_gone(parlour: Parlour, benvolio: Client, error: str, said: str) -> None:
    asks_from_elsewhere(parlour, JULIET_JID)
    decides(parlour, JULIET_JID, True)
    parlour.publishes("benvolio", "Good morrow", audience=Audience.PUBLIC)
    (message,) = [one for one in parlour.world.hears() if (one.get("id") or "").startswith("event-")]
    texts(benvolio)
    condition = error.format(ns.STANZAS)
    parlour.inject(
        f"""<message type='error' id='{message.get("id")}' from='{JULIET}' to='benvolio@{NODE}'>
        <error type='cancel'>{condition}</error></message>"""
    )
    assert texts(benvolio) == [said]
    node = parlour.database.run(lambda tx: tx.nodes.find(BENVOLIO, MICROBLOG))
    assert node is not None
    assert parlour.database.run(lambda tx: tx.subscriptions.find(node, JULIET_JID)) is None


def test_followers_hear_that_this_server_has_nothing_to_do_with_a_domain_any_more(
    parlour: Parlour, romeo: Client
) -> None:
    wanted = following.Follow(account=ROMEO, service=JULIET_JID, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
    parlour.database.run(following.record_subscribe, wanted)
    parlour.follow_lines.refuses = lambda domain: domain == "capulet.example"
    parlour.database.run(policing.sever, "capulet.example")
    assert texts(romeo) == [
        "This server has nothing to do with that of juliet@capulet.example any more; you do not follow it now."
    ]
