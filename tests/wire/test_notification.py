"""XEP-0060 §4.3, §7.1.2: notifications."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from microblog.model.errors import BadRequest
from microblog.model.event import (
    ItemPublished,
    ItemRetracted,
    NodeConfigured,
    NodeDeleted,
    NodeEvent,
    NodePurged,
    SubscriptionChanged,
)
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG_PROFILE, Node
from microblog.model.subscription import SubscriptionState
from microblog.wire import notification
from microblog.wire.xml import to_text
from tests.xmltext import read

ROMEO = JID.parse("romeo@montague.example")
JULIET = JID.parse("juliet@capulet.example")
NODE = Node(key=1, service=ROMEO, name="urn:xmpp:microblog:0", config=MICROBLOG_PROFILE)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAYLOAD = "<entry xmlns='http://www.w3.org/2005/Atom'><title>a &amp; b</title></entry>"
ITEM = Item(id="1", publisher=ROMEO.with_resource("phone"), payload=PAYLOAD, published=NOW, updated=NOW, position=7)


def configured(**options: object) -> Node:
    return replace(NODE, config=replace(NODE.config, **options))  # type: ignore[arg-type]


def sent(event: NodeEvent, to: JID = JULIET, *, body: str | None = None) -> str:
    splice = notification.render(event, body=body)
    assert splice is not None
    return splice.to(to).decode()


def test_an_item() -> None:
    assert read(sent(ItemPublished(seq=7, node=NODE, item=ITEM))) == read(
        """<message from='romeo@montague.example' to='juliet@capulet.example' type='headline' id='event-7'>
        <event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:microblog:0'>
        <item id='1' publisher='romeo@montague.example'>
        <entry xmlns='http://www.w3.org/2005/Atom'><title>a &amp; b</title></entry>
        </item></items></event></message>"""
    )


def test_every_address_fits_the_hole() -> None:
    strange = JID.parse("juliet@capulet.example/'\"<&> \u00e9")
    assert read(sent(ItemPublished(seq=7, node=NODE, item=ITEM), strange)).get("to") == str(strange)


def test_an_item_as_its_node_is_configured() -> None:
    event = ItemPublished(
        seq=7,
        node=configured(deliver_payloads=False, itemreply="none", notification_type="normal"),
        item=ITEM,
    )
    assert read(sent(event, body="a & b")) == read(
        """<message from='romeo@montague.example' to='juliet@capulet.example' id='event-7'>
        <body>a &amp; b</body><event xmlns='http://jabber.org/protocol/pubsub#event'>
        <items node='urn:xmpp:microblog:0'><item id='1'/></items></event></message>"""
    )


def test_an_item_from_earlier_is_stamped() -> None:
    """§6.1.7."""
    splice = notification.render_last(NODE, ITEM)
    assert splice is not None
    delay = read(splice.to(JULIET).decode()).find("urn:xmpp:delay", "delay")
    assert delay is not None
    assert delay.attributes == {"from": "romeo@montague.example", "stamp": "2026-01-01T12:00:00Z"}
    message = notification.last_message(NODE, ITEM, JULIET)
    assert message is not None
    assert read(message.to_bytes().decode()) == read(splice.to(JULIET).decode())
    assert notification.last_message(configured(deliver_notifications=False), ITEM, JULIET) is None


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            ItemRetracted(seq=1, node=NODE, item_id="1"),
            "<items node='urn:xmpp:microblog:0'><retract id='1'/></items>",
        ),
        (NodePurged(seq=1, node=NODE), "<purge node='urn:xmpp:microblog:0'/>"),
        (NodeDeleted(seq=1, node=NODE), "<delete node='urn:xmpp:microblog:0'/>"),
        (
            NodeDeleted(seq=1, node=NODE, redirect="xmpp:a@b"),
            "<delete node='urn:xmpp:microblog:0'><redirect uri='xmpp:a@b'/></delete>",
        ),
        (
            NodeConfigured(seq=1, node=configured(notify_config=True, deliver_payloads=False)),
            "<configuration node='urn:xmpp:microblog:0'/>",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_events(event: NodeEvent, told: str) -> None:
    (found,) = read(sent(event)).elements()
    assert found == read(f"<event xmlns='http://jabber.org/protocol/pubsub#event'>{told}</event>")


@pytest.mark.parametrize(
    "event",
    [
        ItemRetracted(seq=1, node=NODE, item_id="1", notify=False),
        NodePurged(seq=1, node=configured(notify_retract=False)),
        NodeDeleted(seq=1, node=configured(notify_delete=False)),
        NodeConfigured(seq=1, node=NODE),
        ItemPublished(seq=1, node=configured(deliver_notifications=False), item=ITEM),
        SubscriptionChanged(seq=1, node=NODE, subscriber=JULIET, state="subscribed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_node_does_not_tell(event: NodeEvent) -> None:
    assert notification.render(event) is None


def test_a_subscription_that_changed() -> None:
    """§8.6: the subscriber hears of the owner's decision."""
    event = SubscriptionChanged(seq=3, node=NODE, subscriber=JULIET, state="subscribed")
    message = notification.subscription_change(event).to(JULIET).decode()
    notice = notification.read_notice(next(read(message).elements()))
    assert notice.subscription == (JULIET, SubscriptionState.SUBSCRIBED)


def test_a_deletion_for_each_subscriber() -> None:
    message = read(notification.deletion(ROMEO, "a", "xmpp:romeo@verona.example")(JULIET))
    assert message == read(
        """<message from='romeo@montague.example' to='juliet@capulet.example' type='headline'>
        <event xmlns='http://jabber.org/protocol/pubsub#event'><delete node='a'>
        <redirect uri='xmpp:romeo@verona.example'/></delete></event></message>"""
    )


def event_of(content: str) -> notification.Notice:
    return notification.read_notice(read(f"<event xmlns='http://jabber.org/protocol/pubsub#event'>{content}</event>"))


def test_what_was_sent_is_read_again() -> None:
    (event,) = read(sent(ItemPublished(seq=7, node=NODE, item=ITEM))).elements()
    notice = notification.read_notice(event)
    (item,) = notice.items
    assert (notice.node, item.id, item.publisher) == ("urn:xmpp:microblog:0", "1", ROMEO)
    assert item.payload_text == PAYLOAD


def test_other_notices() -> None:
    assert event_of("<items node='a'><retract id='1'/><retract id='2'/></items>").retracted == ("1", "2")
    assert event_of("<purge node='a'/>").purged
    assert event_of("<delete node='a'><redirect uri='xmpp:a'/></delete>").deleted
    assert event_of("<configuration node='a'/>").configured
    (item,) = event_of("<items node='a'><item id='1' publisher='@'/></items>").items
    assert (item.publisher, item.payload, item.payload_text) == (None, None, "")
    assert to_text(read(PAYLOAD)) == PAYLOAD


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<items/>",
        "<items node=''/>",
        "<collection node='a'/>",
        "<other xmlns='urn:other' node='a'/>",
        "<subscription node='a' subscription='subscribed'/>",
        "<subscription node='a' jid='a@b' subscription='devoted'/>",
        "<items node='a'>" + "<item id='1'/>" * 101 + "</items>",
        "<items node='a'>" + "<retract id='1'/>" * 101 + "</items>",
    ],
)
def test_what_is_no_event_is_refused(content: str) -> None:
    with pytest.raises(BadRequest):
        event_of(content)
