"""XEP-0060 from the subscriber's side: following people of other services."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from microblog.model.errors import ResourceConstraint
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.usecases import following
from microblog.usecases.following import Followed
from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xep.following import STORE_SECONDS
from microblog.xmpp.remote import BARRIER_SECONDS
from tests.conftest import Time
from tests.im.town import Client, SlowDatabase
from tests.xep.square import FEED, Square, address, error, told
from tests.xmltext import read

ROMEO = "romeo@montague.example"
JULIET = "juliet@capulet.example"


def follows(square: Square, name: str = "romeo") -> list[Followed]:
    return list(square.database.run(following.follows, address(name)))


def asks(square: Square, client: Client, content: str, to: str = JULIET) -> Element:
    """Send a request elsewhere; how it left this house."""
    client.sends(f"<iq type='set' id='client1' to='{to}'><pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub></iq>")
    assert client.hears() == []
    (request,) = square.world_hears()
    return request


def answers(square: Square, request: Element, payload: str, type_: str = "result") -> None:
    from_, to, id_ = (request.get(name) for name in ("from", "to", "id"))
    square.inject(f"<iq type='{type_}' id='{id_}' from='{to}' to='{from_}'>{payload}</iq>")


def subscription(state: str) -> str:
    return f"""<pubsub xmlns='{ns.PUBSUB}'>
        <subscription node='{FEED}' jid='{ROMEO}' subscription='{state}' subid='s1'/></pubsub>"""


SUBSCRIBE = f"<subscribe node='{FEED}' jid='{ROMEO}'/>"
UNSUBSCRIBE = f"<unsubscribe node='{FEED}' jid='{ROMEO}'/>"


def romeo_follows(square: Square) -> Client:
    romeo = square.online("romeo", "orchard")
    answers(square, asks(square, romeo, SUBSCRIBE), subscription("subscribed"))
    romeo.hears()
    square.world_hears()
    return romeo


def post(item_id: str = "1", *, from_: str = JULIET, to: str = ROMEO, payload: bool = True, publisher: str = "") -> str:
    entry = f"<entry xmlns='{ns.ATOM}'><title>post {item_id}</title></entry>" if payload else ""
    return f"""<message from='{from_}' to='{to}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>
        <items node='{FEED}'><item id='{item_id}' publisher='{publisher or from_}'>{entry}</item></items>
        </event></message>"""


def test_what_the_other_side_grants_is_remembered_before_the_client_knows(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    request = asks(square, romeo, SUBSCRIBE)
    assert request.get("from") == f"{ROMEO}/orchard"
    assert request.first() == read(f"<pubsub xmlns='{ns.PUBSUB}'>{SUBSCRIBE}</pubsub>")
    assert request.get("id") != "client1"
    answers(square, request, subscription("subscribed"))
    (answer,) = romeo.hears()
    assert answer == read(
        f"<iq type='result' id='client1' from='{JULIET}' to='{ROMEO}/orchard'>{subscription('subscribed')}</iq>"
    )
    (follow,) = follows(square)
    assert (follow.node.service, follow.node.name, str(follow.state)) == (JID.parse(JULIET), FEED, "subscribed")


def test_an_empty_answer_is_a_subscription(square: Square) -> None:
    """§6.1.2: the answer need not say anything."""
    romeo = square.online("romeo", "orchard")
    answers(square, asks(square, romeo, SUBSCRIBE), "")
    (answer,) = romeo.hears()
    assert answer.get("type") == "result"
    assert len(follows(square)) == 1


@pytest.mark.parametrize(
    ("condition", "application"),
    [("not-authorized", "presence-subscription-required"), ("not-allowed", "closed-node"), ("item-not-found", None)],
)
def test_a_refusal_is_passed_on(square: Square, condition: str, application: str | None) -> None:
    romeo = square.online("romeo", "orchard")
    detail = f"<{application} xmlns='{ns.PUBSUB_ERRORS}'/>" if application else ""
    refused = f"<error type='auth'><{condition} xmlns='{ns.STANZAS}'/>{detail}</error>"
    answers(square, asks(square, romeo, SUBSCRIBE), refused, "error")
    (answer,) = romeo.hears()
    assert error(answer) == (condition, application)
    assert (answer.get("id"), answer.get("from")) == ("client1", JULIET)
    assert follows(square) == []


def test_one_follows_for_oneself_only(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    jid = "benvolio@montague.example"
    romeo.sends(
        f"""<iq type='set' id='1' to='{JULIET}'><pubsub xmlns='{ns.PUBSUB}'>
        <subscribe node='{FEED}' jid='{jid}'/></pubsub></iq>"""
    )
    (answer,) = romeo.hears()
    assert error(answer) == ("bad-request", "invalid-jid")
    assert square.world_hears() == []


def test_leaving(square: Square) -> None:
    romeo = romeo_follows(square)
    answers(square, asks(square, romeo, UNSUBSCRIBE), "")
    (answer,) = romeo.hears()
    assert answer.get("type") == "result"
    assert follows(square) == []


def test_leaving_where_one_is_not_known_any_more(square: Square) -> None:
    romeo = romeo_follows(square)
    refused = f"""<error type='cancel'><unexpected-request xmlns='{ns.STANZAS}'/>
        <not-subscribed xmlns='{ns.PUBSUB_ERRORS}'/></error>"""
    answers(square, asks(square, romeo, UNSUBSCRIBE), refused, "error")
    (answer,) = romeo.hears()
    assert error(answer) == ("unexpected-request", "not-subscribed")
    assert follows(square) == []


@pytest.mark.parametrize(
    "content",
    [
        f"<publish node='{FEED}'><item/></publish>",
        "<something node='a'/>",
        f"<subscribe node='{FEED}' jid='{ROMEO}/orchard'/>",
        f"<retract node='{FEED}'><item id='1'/></retract>",
    ],
)
def test_other_requests_go_their_way_as_they_are(square: Square, content: str) -> None:
    romeo = square.online("romeo", "orchard")
    request = asks(square, romeo, content)
    assert request.get("id") == "client1"
    answers(square, request, "")
    (answer,) = romeo.hears()
    assert answer.get("id") == "client1"
    assert follows(square) == []


# what comes


def test_a_post_reaches_its_reader_and_is_kept(square: Square) -> None:
    romeo = romeo_follows(square)
    square.inject(post())
    assert told(romeo.hears()) == [(JULIET, ROMEO, "1")]
    node = follows(square)[0].node
    (item,) = square.database.run(lambda tx: tx.items.newest(node.key, 9))
    assert (item.id, str(item.publisher), str(item.proof)) == ("1", JULIET, "certificate")


def test_what_nobody_asked_for_is_dropped(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    square.inject(post())
    assert romeo.hears() == []
    assert square.following.dropped == 1


def test_nobody_speaks_for_another_domain(square: Square) -> None:
    romeo = romeo_follows(square)
    square.inject(post(publisher="paris@verona.example"))
    assert told(romeo.hears()) == []


def test_only_a_service_notifies(square: Square) -> None:
    """A person's client is no service: what looks like a notification of hers is a message like any other."""
    romeo = romeo_follows(square)
    square.inject(post(from_=f"{JULIET}/balcony"))
    (message,) = romeo.hears()
    assert message.get("from") == f"{JULIET}/balcony"
    node = follows(square)[0].node
    assert square.database.run(lambda tx: tx.items.newest(node.key, 9)) == []


def test_our_own_people_cannot_notify_either(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    benvolio.sends(post(from_="benvolio@montague.example").replace("from='benvolio@montague.example'", "", 1))
    (message,) = romeo.hears()
    assert message.get("from") == "benvolio@montague.example/street"


def test_a_notification_to_one_resource_that_nobody_keeps_is_that_resources_own(square: Square) -> None:
    orchard, street = square.online("romeo", "orchard"), square.online("romeo", "street")
    orchard.hears()
    square.inject(post(to=f"{ROMEO}/street"))
    assert told(street.hears()) == [(JULIET, f"{ROMEO}/street", "1")]
    assert orchard.hears() == []


def test_retractions_come_through(square: Square) -> None:
    romeo = romeo_follows(square)
    square.inject(post())
    square.inject(
        f"""<message from='{JULIET}' to='{ROMEO}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>
        <items node='{FEED}'><retract id='1'/></items></event></message>"""
    )
    assert told(romeo.hears()) == [(JULIET, ROMEO, "1"), (JULIET, ROMEO, "-1")]


def test_a_node_that_is_gone_is_followed_no_more(square: Square) -> None:
    romeo = romeo_follows(square)
    square.inject(
        f"""<message from='{JULIET}' to='{ROMEO}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>
        <delete node='{FEED}'/></event></message>"""
    )
    assert "<delete" in repr(romeo.hears())
    assert follows(square) == []


def test_a_malformed_event_is_refused(square: Square) -> None:
    romeo_follows(square)
    square.inject(f"<message from='{JULIET}' to='{ROMEO}'><event xmlns='{ns.PUBSUB_EVENT}'/></message>")
    (answer,) = square.world_hears()
    assert error(answer) == ("bad-request", None)


def test_what_came_without_content_is_fetched_once_for_all(square: Square) -> None:
    """deliver_payloads=false: the notification says only that there is something."""
    romeo = romeo_follows(square)
    benvolio = square.online("benvolio", "street")
    jid = "benvolio@montague.example"
    request = asks(square, benvolio, f"<subscribe node='{FEED}' jid='{jid}'/>")
    answers(square, request, subscription("subscribed").replace(ROMEO, jid))
    benvolio.hears()
    square.world_hears()
    square.inject(post(payload=False))
    square.inject(post(payload=False, to=jid))
    (question,) = square.world_hears()
    assert question == read(
        f"""<iq type='get' id='{question.get("id")}' from='{ROMEO}' to='{JULIET}'><pubsub xmlns='{ns.PUBSUB}'>
        <items node='{FEED}'><item id='1'/></items></pubsub></iq>"""
    )
    content = f"<item id='1'><entry xmlns='{ns.ATOM}'><title>a</title></entry></item>"
    answers(square, question, f"<pubsub xmlns='{ns.PUBSUB}'><items node='{FEED}'>{content}</items></pubsub>")
    assert told(romeo.hears()) == [(JULIET, ROMEO, "1")]
    assert told(benvolio.hears()) == [(JULIET, jid, "1")]


def test_the_other_side_decides_later(square: Square) -> None:
    """§8.6: pending, then approved; then taken back."""
    romeo = square.online("romeo", "orchard")
    answers(square, asks(square, romeo, SUBSCRIBE), subscription("pending"))
    romeo.hears()
    square.inject(post())
    assert told(romeo.hears()) == []
    decision = f"""<message from='{JULIET}' to='{ROMEO}'><event xmlns='{ns.PUBSUB_EVENT}'>
        <subscription node='{FEED}' jid='{ROMEO}' subscription='{{}}'/></event></message>"""
    square.inject(decision.format("subscribed"))
    assert len(romeo.hears()) == 1
    square.inject(post("2"))
    assert told(romeo.hears()) == [(JULIET, ROMEO, "2")]
    square.inject(decision.format("none"))
    assert follows(square) == []


def test_nobody_is_subscribed_by_another(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    square.inject(
        f"""<message from='{JULIET}' to='{ROMEO}'><event xmlns='{ns.PUBSUB_EVENT}'>
        <subscription node='{FEED}' jid='{ROMEO}' subscription='subscribed'/></event></message>"""
    )
    assert follows(square) == []
    assert len(romeo.hears()) == 1


class FullDisk(SlowDatabase):
    """A database that can store nothing for a while."""

    full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def read(self, fn: Any, *args: Any, **more: Any) -> Any:
        return self._database.read(fn, *args, **more)

    def write(self, fn: Any, *args: Any) -> Any:
        return fail(ResourceConstraint()) if self.full else self._database.write(fn, *args)


def arrives(square: Square, text: str) -> Deferred[None]:
    element = read(text)
    to = JID.parse(element.attributes["to"])
    sender = JID.parse(element.attributes["from"])
    return Deferred.fromCoroutine(square.router.from_server(element, sender, to, Proof.CERTIFICATE))


PING = "<iq type='get' id='ping' from='capulet.example' to='montague.example'><ping xmlns='urn:xmpp:ping'/></iq>"


def test_what_cannot_be_stored_just_now_is_not_confirmed_and_not_lost(square: Square, time: Time) -> None:
    romeo = romeo_follows(square)
    square.following._database = disk = FullDisk(square.database)  # type: ignore[assignment]
    for number in ("1", "2", "3"):
        arrives(square, post(number))
    ping = arrives(square, PING)
    time.advance(1)
    assert not ping.called and square.world_hears() == []
    assert arrives(square, PING.replace("capulet", "verona")).called, "another domain does not wait"
    square.world_hears()
    disk.full = False
    arrives(square, post("4"))
    for _ in range(5):
        time.advance(1)
    assert [item for _, _, item in told(romeo.hears())] == ["1", "2", "3", "4"]
    assert ping.called
    assert [answer.get("type") for answer in square.world_hears()] == ["error"], "the ping's; nothing was bounced"
    assert not square.following._stuck


def test_a_disk_that_stays_full_holds_nobody_for_ever(square: Square, time: Time) -> None:
    romeo_follows(square)
    square.following._database = FullDisk(square.database)  # type: ignore[assignment]
    for number in ("1", "2", "3"):
        arrives(square, post(number))
    ping = arrives(square, PING)
    for _ in range(BARRIER_SECONDS + 5):
        time.advance(1)
    assert not ping.called, "whoever waits for the answer has given up before"
    for _ in range(STORE_SECONDS):
        time.advance(1)
    assert ping.called
    bounced = [answer.get("type") for answer in square.world_hears()]
    assert bounced == ["error"] * 4
    assert square.tasks.names() == [] and not square.following._stuck
