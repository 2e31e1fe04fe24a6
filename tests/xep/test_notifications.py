"""XEP-0060 §7.1.2, XEP-0163 §4.3: who is told what, under which address, in which order."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.model.errors import ResourceConstraint
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import registering, subscribing
from microblog.usecases.subscribing import Subscribe
from microblog.wire import ns
from microblog.xep.notifications import SLICE
from microblog.xep.readers import EVENTS_MAX, ROOM_SECONDS
from tests.conftest import Time
from tests.im.town import Client, SlowDatabase
from tests.xep.square import FEED, Square, address, asks, error, option, publishes, result, told
from tests.xmltext import read

ROMEO = "romeo@montague.example"


def follows(client: Client, node: str = FEED, *, whom: str = ROMEO, resource: bool = False) -> None:
    jid = client.session.jid if resource else client.session.jid.bare
    result(asks(client, "set", f"<subscribe node='{node}' jid='{jid}'/>", to=whom))


def wants(square: Square, client: Client, *nodes: str) -> None:
    """As if its capabilities said so."""
    client.session.notify = frozenset(nodes)
    square.readers.interest(client.session, frozenset(nodes))


def test_every_session_of_a_follower_is_told(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    street, cell = square.online("benvolio", "street"), square.online("benvolio", "cell")
    silent = square.login("benvolio", "silent")
    follows(street)
    publishes(romeo, "1")
    for client in (street, cell):
        assert told(client.hears()) == [(ROMEO, "benvolio@montague.example", "1")]
    assert silent.hears() == []
    assert told(romeo.hears()) == []


def test_a_session_of_negative_priority_is_left_alone(square: Square) -> None:
    """RFC 6121 §8.5.2.1.1."""
    romeo, street = square.online("romeo", "orchard"), square.online("benvolio", "street")
    follows(street)
    street.sends("<presence><priority>-1</priority></presence>")
    publishes(romeo, "1")
    assert told(street.hears()) == []


def test_one_session_may_follow_for_itself(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    street, cell = square.online("benvolio", "street"), square.online("benvolio", "cell")
    follows(street, resource=True)
    publishes(romeo, "1")
    assert told(street.hears()) == [(ROMEO, "benvolio@montague.example/street", "1")]
    assert told(cell.hears()) == []


def test_whoever_comes_later_is_told_from_then_on(square: Square) -> None:
    romeo, street = square.online("romeo", "orchard"), square.online("benvolio", "street")
    follows(street)
    street.leaves()
    publishes(romeo, "1")
    street = square.online("benvolio", "street")
    publishes(romeo, "2")
    assert told(street.hears()) == [(ROMEO, "benvolio@montague.example", "2")]


def test_whoever_leaves_is_told_no_more(square: Square) -> None:
    romeo, street = square.online("romeo", "orchard"), square.online("benvolio", "street")
    follows(street)
    result(asks(street, "set", f"<unsubscribe node='{FEED}' jid='benvolio@montague.example'/>", to=ROMEO))
    publishes(romeo, "1")
    assert told(street.hears()) == []


def test_a_session_that_went_is_forgotten(square: Square) -> None:
    street = square.online("benvolio", "street")
    follows(street)
    wants(square, street, FEED)
    street.sends("<presence type='unavailable'/>")
    assert not square.readers.interested(FEED)
    node = square.database.run(lambda tx: tx.nodes.find(address("romeo"), FEED))
    assert node is not None
    assert not square.readers.subscribed(node.key)


def test_contacts_who_want_it_are_told_and_strangers_not(square: Square) -> None:
    """XEP-0163 §4.3.2: at the resource that says +notify; the owner's own as well."""
    square.befriend("romeo", "benvolio")
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    cell, mercutio = square.online("benvolio", "cell"), square.online("mercutio", "street")
    for client in (romeo, benvolio, mercutio):
        wants(square, client, "urn:tune")
    publishes(romeo, "1", "a", node="urn:tune")
    assert told(romeo.hears()) == [(ROMEO, f"{ROMEO}/orchard", "1")]
    assert told(benvolio.hears()) == [(ROMEO, "benvolio@montague.example/street", "1")]
    assert told(cell.hears()) == []
    assert told(mercutio.hears()) == []


def test_nobody_is_told_twice(square: Square) -> None:
    square.befriend("romeo", "benvolio")
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    follows(benvolio)
    wants(square, benvolio, FEED)
    publishes(romeo, "1")
    assert told(benvolio.hears()) == [(ROMEO, "benvolio@montague.example", "1")]


def test_who_lost_access_is_told_no_more(square: Square) -> None:
    """A subscription to a node for contacts ends to be of use when they are contacts no more."""
    square.befriend("romeo", "benvolio")
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    publishes(romeo, "1", "a", node="urn:tune")
    follows(benvolio, "urn:tune")
    romeo.sends("<presence type='unsubscribed' to='benvolio@montague.example'/>")
    benvolio.hears()
    publishes(romeo, "2", "b", node="urn:tune")
    assert told(benvolio.hears()) == []


def test_the_members_of_a_closed_node_are_told(square: Square) -> None:
    romeo, benvolio, mercutio = (square.online(name, "street") for name in ("romeo", "benvolio", "mercutio"))
    publishes(romeo, "1", "a", node="urn:tune", options=option("access_model", "open"))
    follows(benvolio, "urn:tune")
    follows(mercutio, "urn:tune")
    member = "<affiliation jid='benvolio@montague.example' affiliation='member'/>"
    result(asks(romeo, "set", f"<affiliations node='urn:tune'>{member}</affiliations>", owner=True))
    form = f"""<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>
        <value>{ns.PUBSUB_NODE_CONFIG}</value></field>{option("access_model", "whitelist")}</x>"""
    result(asks(romeo, "set", f"<configure node='urn:tune'>{form}</configure>", owner=True))
    benvolio.hears()
    mercutio.hears()
    publishes(romeo, "2", "b", node="urn:tune")
    assert told(benvolio.hears()) == [(ROMEO, "benvolio@montague.example", "2")]
    assert told(mercutio.hears()) == []


def test_retractions_and_edits_are_told_in_order(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    follows(benvolio)
    publishes(romeo, "1", "a")
    publishes(romeo, "1", "b")
    publishes(romeo, "1", "b")
    result(asks(romeo, "set", f"<retract node='{FEED}' notify='1'><item id='1'/></retract>"))
    assert [item for _, _, item in told(benvolio.hears())] == ["1", "1", "-1"]


def test_a_deleted_node_says_goodbye(square: Square) -> None:
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    follows(benvolio)
    node = square.database.run(lambda tx: tx.nodes.find(address("romeo"), FEED))
    assert node is not None
    result(asks(romeo, "set", f"<delete node='{FEED}'/>", owner=True))
    (message,) = benvolio.hears()
    assert "<delete node=" in repr(message)
    assert not square.readers.subscribed(node.key)


def test_owners_who_want_it_hear_of_followers(square: Square) -> None:
    """pubsub#notify_sub."""
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    form = f"""<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>
        <value>{ns.PUBSUB_NODE_CONFIG}</value></field>{option("notify_sub", "1")}</x>"""
    result(asks(romeo, "set", f"<configure node='{FEED}'>{form}</configure>", owner=True))
    follows(benvolio)
    (message,) = romeo.hears()
    assert "<subscription node='urn:xmpp:microblog:0' jid='benvolio@montague.example'" in repr(message)


@pytest.fixture
def crowd(square: Square) -> list[Client]:
    """More followers than are told in one turn."""

    def make(tx: Any) -> None:
        for number in range(SLICE + 2):
            tx.accounts.add(f"guest{number}", [], admin=False, audience=registering.Audience.PUBLIC)
            jid = address(f"guest{number}")
            subscribing.subscribe(tx, Subscribe(service=address("romeo"), node=FEED, actor=jid, jid=jid))

    square.database.run(make)
    return [square.login(f"guest{number}", "hall") for number in range(SLICE + 2)]


def test_a_crowd_is_told_in_slices_and_others_have_their_turn(square: Square, crowd: list[Client], time: Time) -> None:
    for client in crowd:
        client.sends("<presence/>")
        client.hears()
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    mercutio = square.online("mercutio", "street")
    follows(mercutio, whom="benvolio@montague.example")
    publishes(romeo, "1")
    assert sum(1 for client in crowd if client.line.written) == SLICE
    publishes(romeo, "2")
    publishes(benvolio, "3")
    assert told(mercutio.hears()) == [("benvolio@montague.example", "mercutio@montague.example", "3")]
    crowd[0].leaves()
    for _ in range(4):
        time.advance(0)
    for client in crowd[1:]:
        assert [item for _, _, item in told(client.hears())] == ["1", "2"]
    assert [item for _, _, item in told(crowd[0].hears())] == ["1"]
    assert square.tasks.names() == []


class Overloaded(SlowDatabase):
    """A database that has too much to do for some reads."""

    def __init__(self, database: Database, refusals: int) -> None:
        super().__init__(database)
        self.refusals = refusals
        self.domain = database.domain
        self.write = database.write

    def read(self, fn: Callable[..., Any], *args: Any) -> Any:
        if self.refusals:
            self.refusals -= 1
            raise ResourceConstraint
        return self._database.read(fn, *args)


def test_a_busy_database_is_asked_again_who_may_read(square: Square, time: Time) -> None:
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    square.befriend("romeo", "benvolio")
    publishes(romeo, "1", "a", node="urn:tune")
    follows(benvolio, "urn:tune")
    time.advance(0)
    benvolio.hears()
    square.notifications._database = Overloaded(square.database, 2)  # type: ignore[assignment]
    publishes(romeo, "2", "b", node="urn:tune")
    assert told(benvolio.hears()) == []
    time.advance(1)
    time.advance(2)
    assert [item for _, _, item in told(benvolio.hears())] == ["2"]


def test_what_happens_while_subscriptions_are_read_is_not_lost(square: Square) -> None:
    romeo, street = square.online("romeo", "orchard"), square.online("benvolio", "street")
    follows(street)
    street.leaves()
    slow = SlowDatabase(square.database)
    square.readers._database = slow  # type: ignore[assignment]
    street = square.online("benvolio", "street")
    publishes(romeo, "1")
    assert told(street.hears()) == []
    slow.answer()
    publishes(romeo, "2")
    assert [item for _, _, item in told(street.hears())] == ["1", "2"]


def test_unsubscribing_while_subscriptions_are_read_is_not_lost(square: Square) -> None:
    romeo, street = square.online("romeo", "orchard"), square.online("benvolio", "street")
    follows(street)
    street.leaves()
    slow = SlowDatabase(square.database)
    square.readers._database = slow  # type: ignore[assignment]
    street = square.online("benvolio", "street")
    result(asks(street, "set", f"<unsubscribe node='{FEED}' jid='benvolio@montague.example'/>", to=ROMEO))
    slow.answer()
    publishes(romeo, "1")
    assert told(street.hears()) == []


def slowly(square: Square) -> SlowDatabase:
    slow = square.readers._database = SlowDatabase(square.database)  # type: ignore[assignment]
    return slow


def test_subscriptions_that_cannot_be_read_just_now_are_read_later(square: Square, time: Time) -> None:
    romeo, street = square.online("romeo", "orchard"), square.online("benvolio", "street")
    follows(street)
    street.leaves()
    square.readers._database = Overloaded(square.database, 2)  # type: ignore[assignment]
    street = square.online("benvolio", "street")
    publishes(romeo, "1")
    assert told(street.hears()) == []
    time.advance(1)
    time.advance(2)
    assert [item for _, _, item in told(street.hears())] == ["1"]


def test_who_loses_access_while_subscriptions_are_read_is_not_told(square: Square) -> None:
    square.befriend("romeo", "benvolio")
    romeo, street = square.online("romeo", "orchard"), square.online("benvolio", "street")
    publishes(romeo, "1", "a", node="urn:tune", options=option("access_model", "whitelist"))
    member = "<affiliation jid='benvolio@montague.example' affiliation='member'/>"
    result(asks(romeo, "set", f"<affiliations node='urn:tune'>{member}</affiliations>", owner=True))
    follows(street, "urn:tune")
    street.leaves()
    slow = slowly(square)
    street = square.online("benvolio", "street")
    publishes(romeo, "2", "b", node="urn:tune")
    none = member.replace("'member'", "'none'")
    result(asks(romeo, "set", f"<affiliations node='urn:tune'>{none}</affiliations>", owner=True))
    slow.answer()
    assert told(street.hears()) == []


def test_who_subscribes_while_events_wait_has_the_last_item_once(square: Square, time: Time) -> None:
    romeo, street = square.online("romeo", "orchard"), square.online("benvolio", "street")
    publishes(romeo, "0", node="urn:tune", options=option("access_model", "open"))
    slow = slowly(square)
    square.online("mercutio", "street")
    publishes(romeo, "1", node="urn:tune")
    follows(street, "urn:tune")
    publishes(romeo, "2", node="urn:tune")
    time.advance(0)
    slow.answer()
    assert [item for _, _, item in told(street.hears())] == ["1", "2"]


def test_while_much_waits_publishers_wait_and_nothing_is_lost(square: Square, time: Time) -> None:
    romeo, street = square.online("romeo", "orchard"), square.online("benvolio", "street")
    publishes(romeo, "first", node="urn:tune", options=option("access_model", "open"))
    follows(street, "urn:tune")
    time.advance(0)
    street.hears()
    slow = slowly(square)
    square.online("mercutio", "street")
    for number in range(EVENTS_MAX):
        publishes(romeo, str(number), node="urn:tune")
    post = f"""<iq type='set' id='{{}}'><pubsub xmlns='{ns.PUBSUB}'><publish node='urn:tune'><item id='{{}}'>
        <tune xmlns='urn:tune'/></item></publish></pubsub></iq>"""
    for id_ in ("late", "later"):
        Deferred.fromCoroutine(square.router.from_client(romeo.session, read(post.format(id_, id_))))
    assert romeo.hears() == [] and told(street.hears()) == []
    # Whoever asks, and whoever publishes elsewhere, does not wait.
    result(asks(romeo, "get", "<items node='urn:tune' max_items='1'/>"))
    publishes(street, "elsewhere")
    time.advance(ROOM_SECONDS - 1)
    slow.answer()
    assert [answer.get("type") for answer in romeo.hears()] == ["result", "result"]
    expected = [*map(str, range(EVENTS_MAX)), "late", "later"]
    assert [item for _, _, item in told(street.hears())] == expected


def test_nobody_waits_for_ever(square: Square, time: Time) -> None:
    romeo = square.online("romeo", "orchard")
    slow = slowly(square)
    square.online("mercutio", "street")
    for number in range(EVENTS_MAX):
        publishes(romeo, str(number), node="urn:tune")
    Deferred.fromCoroutine(
        square.router.from_client(
            romeo.session,
            read(f"<iq type='set' id='1'><pubsub xmlns='{ns.PUBSUB}'><create node='urn:mood'/></pubsub></iq>"),
        )
    )
    time.advance(ROOM_SECONDS)
    (answer,) = romeo.hears()
    assert error(answer) == ("resource-constraint", None)
    slow.answer()
    assert square.tasks.names() == []


# feeds that are kept elsewhere

JULIET = "juliet@capulet.example"
POST = """<message from='juliet@capulet.example' to='{}@montague.example' type='headline'>
    <event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:microblog:0'>
    <item id='{}' publisher='juliet@capulet.example'><entry xmlns='http://www.w3.org/2005/Atom'><title>{}</title></entry>
    </item></items></event></message>"""


def follow_juliet(square: Square, *names: str) -> None:
    from microblog.model.subscription import SubscriptionState
    from microblog.usecases import following

    for name in names:
        follow = following.Follow(
            account=address(name), service=JID.parse(JULIET), node=FEED, state=SubscriptionState.SUBSCRIBED
        )
        square.database.run(following.record_subscribe, follow)


def test_each_copy_of_a_remote_post_is_for_one_reader(square: Square) -> None:
    follow_juliet(square, "romeo", "benvolio")
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    square.inject(POST.format("romeo", "1", "a"))
    assert told(romeo.hears()) == [(JULIET, ROMEO, "1")]
    assert told(benvolio.hears()) == []
    square.inject(POST.format("benvolio", "1", "a"))
    square.inject(POST.format("romeo", "1", "a"))
    assert told(romeo.hears()) == []
    assert told(benvolio.hears()) == [(JULIET, "benvolio@montague.example", "1")]


def test_what_came_while_nobody_was_there_is_told_once_at_login(square: Square) -> None:
    follow_juliet(square, "romeo")
    romeo = square.online("romeo", "orchard")
    square.inject(POST.format("romeo", "1", "a"))
    assert [item for _, _, item in told(romeo.hears())] == ["1"]
    romeo.leaves()
    square.inject(POST.format("romeo", "2", "b"))
    square.inject(POST.format("romeo", "3", "c"))
    romeo = square.login("romeo", "orchard")
    romeo.sends("<presence/>")
    assert told(romeo.hears()) == [(JULIET, ROMEO, "2"), (JULIET, ROMEO, "3")]
    romeo.leaves()
    romeo = square.login("romeo", "orchard")
    romeo.sends("<presence/>")
    assert told(romeo.hears()) == []


def test_a_post_after_a_crash_is_told_by_the_next_server(database: Database, clock: Clock, square: Square) -> None:
    """Received and confirmed, and nobody told: what is in the database is all that is left."""
    follow_juliet(square, "romeo")
    database.listeners.clear()
    square.inject(POST.format("romeo", "1", "a"))
    again = Square(database, clock)
    romeo = again.login("romeo", "orchard")
    romeo.sends("<presence/>")
    assert [item for _, _, item in told(romeo.hears())] == ["1"]


def test_a_remote_contacts_post_goes_to_sessions_that_want_it(square: Square) -> None:
    """ejabberd sends to followers by presence only, to each of their resources; each hears it once."""
    square.makes_contact("romeo", JULIET, "both")
    orchard, street = square.online("romeo", "orchard"), square.online("romeo", "street")
    wants(square, orchard, FEED)
    for resource in ("orchard", "street"):
        to = POST.replace("@montague.example", f"@montague.example/{resource}", 1)
        square.inject(to.format("romeo", "1", "a"))
    assert told(orchard.hears()) == [(JULIET, f"{ROMEO}/orchard", "1")]
    assert told(street.hears()) == []
