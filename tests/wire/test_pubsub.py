"""XEP-0060 §5 to §8, XEP-0059: the grammar."""

from datetime import UTC, datetime

import pytest

from microblog.model import errors
from microblog.model.errors import Refusal
from microblog.model.item import Item, Page, PageRequest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG_PROFILE, Node
from microblog.model.subscription import Affiliated, Affiliation, Subscription, SubscriptionState
from microblog.wire import ns, pubsub
from microblog.wire.pubsub import Verb
from microblog.wire.xml import Element, Raw, to_text
from tests.xmltext import read, read_stanza

ROMEO = JID.parse("romeo@montague.example")
JULIET = JID.parse("juliet@capulet.example")
NODE = Node(key=1, service=ROMEO, name="urn:xmpp:microblog:0", config=MICROBLOG_PROFILE)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FORM = """<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>{}</value></field>
<field var='pubsub#{}'><value>{}</value></field></x>"""


def asked(type_: str, content: str, owner: bool = False) -> Verb:
    uri = ns.PUBSUB_OWNER if owner else ns.PUBSUB
    return pubsub.verb(
        read_stanza(
            f"""<iq type='{type_}' id='1' from='romeo@montague.example/orchard' to='romeo@montague.example'>
            <pubsub xmlns='{uri}'>{content}</pubsub></iq>"""
        )
    )


def test_publish() -> None:
    """§7.1.1, example 99, and §7.1.5."""
    verb = asked(
        "set",
        f"""<publish node='princely_musings'><item id='bnd81g37d61f49fgn581'>
        <entry xmlns='http://www.w3.org/2005/Atom'><title>Soliloquy</title></entry></item></publish>
        <publish-options>{FORM.format(ns.PUBSUB_PUBLISH_OPTIONS, "access_model", "presence")}</publish-options>""",
    )
    request = pubsub.read_publish(verb)
    assert verb.name == "publish"
    assert (request.node, request.item_id, request.has_item) == ("princely_musings", "bnd81g37d61f49fgn581", True)
    assert request.options == {"access_model": ("presence",)}
    assert request.payload is not None
    assert to_text(request.payload) == "<entry xmlns='http://www.w3.org/2005/Atom'><title>Soliloquy</title></entry>"


def test_publish_without_much() -> None:
    bare = pubsub.read_publish(asked("set", "<publish node='a'/>"))
    assert (bare.has_item, bare.item_id, bare.payload, bare.options) == (False, None, None, None)
    empty = pubsub.read_publish(asked("set", "<publish node='a'><item id=''/></publish>"))
    assert (empty.has_item, empty.item_id, empty.payload) == (True, None, None)


LONG = "a" * 1024


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        ("<publish><item/></publish>", errors.NodeIDRequired),
        ("<publish node=''><item/></publish>", errors.NodeIDRequired),
        ("<publish node='a'><item/><item/></publish>", errors.BadRequest),
        ("<publish node='a'><item><a xmlns='urn:a'/><b xmlns='urn:b'/></item></publish>", errors.InvalidPayload),
        ("<publish node='a'><item>text</item></publish>", errors.InvalidPayload),
        ("<publish node='a'><item><a xmlns=''/></item></publish>", errors.InvalidPayload),
        (f"<publish node='{LONG}'><item/></publish>", errors.BadRequest),
        (f"<publish node='a'><item id='{LONG}'/></publish>", errors.BadRequest),
        ("<publish node='a'><item/></publish><publish-options/>", errors.BadRequest),
    ],
)
def test_publish_of_the_wrong_form(content: str, refusal: type[Refusal]) -> None:
    """§7.1.3."""
    with pytest.raises(refusal) as caught:
        pubsub.read_publish(asked("set", content))
    assert type(caught.value) is refusal


def test_retract() -> None:
    """§7.2.1."""
    verb = asked("set", "<retract node='a' notify='true'><item id='1'/></retract>")
    assert pubsub.read_retract(verb) == ("a", "1", True)
    assert pubsub.read_retract(asked("set", "<retract node='a'><item id='1'/></retract>")) == ("a", "1", False)


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        ("<retract><item id='1'/></retract>", errors.NodeIDRequired),
        ("<retract node='a'/>", errors.ItemRequired),
        ("<retract node='a'><item/></retract>", errors.ItemRequired),
        ("<retract node='a'><item id='1'/><item id='2'/></retract>", errors.BadRequest),
    ],
)
def test_retract_of_the_wrong_form(content: str, refusal: type[Refusal]) -> None:
    """§7.2.3."""
    with pytest.raises(refusal) as caught:
        pubsub.read_retract(asked("set", content))
    assert type(caught.value) is refusal


def test_items() -> None:
    """§6.5."""
    assert pubsub.read_items(asked("get", "<items node='a'/>")) == ("a", (), None, None, None)
    request = pubsub.read_items(asked("get", "<items node='a' subid='s' max_items='2'/>"))
    assert (request.max_items, request.subid) == (2, "s")
    request = pubsub.read_items(asked("get", "<items node='a'><item id='1'/><item id='2'/></items>"))
    assert request.item_ids == ("1", "2")


RSM = "<set xmlns='http://jabber.org/protocol/rsm'>{}</set>"


@pytest.mark.parametrize(
    ("content", "page"),
    [
        ("", PageRequest()),
        ("<max>10</max>", PageRequest(max=10)),
        ("<max>0</max>", PageRequest(max=0)),
        ("<max>10</max><after>1</after>", PageRequest(max=10, after="1")),
        ("<max>10</max><before>1</before>", PageRequest(max=10, before="1")),
        ("<max>10</max><before/>", PageRequest(max=10, last_page=True)),
        ("<max>10</max><index>371</index>", PageRequest(max=10, index=371)),
    ],
)
def test_pages(content: str, page: PageRequest) -> None:
    """XEP-0059 §2."""
    assert pubsub.read_items(asked("get", f"<items node='a'/>{RSM.format(content)}")).page == page


@pytest.mark.parametrize(
    "content",
    [
        "<items node='a' max_items='-5'/>",
        "<items node='a' max_items='0'/>",
        "<items node='a' max_items='many'/>",
        "<items node='a' max_items='\u0663'/>",
        "<items node='a' max_items='9999999999999999999999'/>",
        "<items node='a'><item/></items>",
        "<items node='a'>" + "<item id='1'/>" * 1001 + "</items>",
        f"<items node='a'/>{RSM.format('<max>-1</max>')}",
        f"<items node='a'/>{RSM.format('<max>ten</max>')}",
        f"<items node='a'/>{RSM.format('<max>1</max><max>2</max>')}",
        f"<items node='a'/>{RSM.format('<before>1</before><after>2</after>')}",
        f"<items node='a'/>{RSM.format('<index>-1</index>')}",
    ],
)
def test_items_of_the_wrong_form(content: str) -> None:
    with pytest.raises(errors.BadRequest):
        pubsub.read_items(asked("get", content))


def test_subscribe() -> None:
    """§6.1.1 and §6.3.7."""
    request = pubsub.read_subscribe(asked("set", "<subscribe node='a' jid='juliet@capulet.example'/>"))
    assert request == ("a", JULIET, None, False)
    form = FORM.format(ns.PUBSUB_SUBSCRIBE_OPTIONS, "deliver", "0")
    for content in ("<subscribe node='a' jid='juliet@capulet.example'/>{}", "{}<subscribe node='a' jid='a@b'/>"):
        verb = asked("set", content.format(f"<options>{form}</options>"))
        assert verb.name == "subscribe"
        assert pubsub.read_subscribe(verb).options == {"deliver": ("0",)}


def test_subscribing_nobody() -> None:
    for content in ("<subscribe node='a'/>", "<subscribe node='a' jid='@'/>"):
        with pytest.raises(errors.InvalidJID):
            pubsub.read_subscribe(asked("set", content))
    with pytest.raises(errors.JIDRequired):
        pubsub.jid_required(asked("get", "<options node='a'/>"))


def test_create_and_configure() -> None:
    """§8.1.3."""
    form = FORM.format(ns.PUBSUB_NODE_CONFIG, "access_model", "open")
    assert pubsub.read_create(asked("set", "<create/>")) == (None, None)
    assert pubsub.read_create(asked("set", "<create node='a'/><configure/>")) == ("a", None)
    verb = asked("set", f"<create node='a'/><configure>{form}</configure>")
    assert pubsub.read_create(verb) == ("a", {"access_model": ("open",)})
    verb = asked("set", f"<configure node='a'>{form}</configure>", owner=True)
    assert pubsub.node_required(verb) == "a"
    assert pubsub.read_configure(verb) == {"access_model": ("open",)}
    with pytest.raises(errors.BadRequest):
        pubsub.read_configure(asked("set", "<configure node='a'/>", owner=True))


def test_delete() -> None:
    """§8.4."""
    assert pubsub.read_redirect(asked("set", "<delete node='a'/>", owner=True)) is None
    verb = asked("set", "<delete node='a'><redirect uri='xmpp:b@c?;node=d'/></delete>", owner=True)
    assert pubsub.read_redirect(verb) == "xmpp:b@c?;node=d"
    with pytest.raises(errors.BadRequest):
        pubsub.read_redirect(asked("set", "<delete node='a'><redirect uri='javascript:a'/></delete>", owner=True))


def test_what_an_owner_sets() -> None:
    """§8.8.2, §8.9.2."""
    verb = asked(
        "set",
        "<affiliations node='a'><affiliation jid='juliet@capulet.example' affiliation='member'/></affiliations>",
        True,
    )
    assert pubsub.read_affiliations(verb) == ((JULIET, Affiliation.MEMBER),)
    verb = asked(
        "set",
        """<subscriptions node='a'>
        <subscription jid='juliet@capulet.example' subscription='none' subid='s'/></subscriptions>""",
        True,
    )
    assert pubsub.read_subscriptions(verb) == ((JULIET, SubscriptionState.NONE, "s"),)
    for wrong in ("jid='a@b' affiliation='king'", "jid='a@b'"):
        with pytest.raises(errors.BadRequest):
            pubsub.read_affiliations(
                asked("set", f"<affiliations node='a'><affiliation {wrong}/></affiliations>", owner=True)
            )
    with pytest.raises(errors.InvalidJID):
        pubsub.read_affiliations(
            asked("set", "<affiliations node='a'><affiliation affiliation='none'/></affiliations>", owner=True)
        )


@pytest.mark.parametrize(
    ("type_", "content", "owner", "refusal"),
    [
        ("set", "", False, errors.BadRequest),
        ("set", "<publish xmlns='urn:other' node='a'/>", False, errors.BadRequest),
        (
            "set",
            "<publish node='a'><item/></publish><retract node='a'><item id='1'/></retract>",
            False,
            errors.BadRequest,
        ),
        ("set", "<publish node='a'/><publish node='b'/>", False, errors.BadRequest),
        ("set", "<publish-options/>", False, errors.FeatureNotImplemented),
        ("set", "<create node='a'/><configure/><configure/>", False, errors.BadRequest),
        ("get", "<publish node='a'/>", False, errors.BadRequest),
        ("set", "<items node='a'/>", False, errors.BadRequest),
        ("set", "<purge node='a'/>", False, errors.BadRequest),
        ("set", "<publish node='a'/>", True, errors.BadRequest),
        ("set", f"<publish node='a'><item/></publish>{RSM.format('')}", False, errors.BadRequest),
        ("get", f"<items node='a'>{RSM.format('')}</items>", False, errors.BadRequest),
        ("get", f"<items node='a'/>{RSM.format('')}{RSM.format('')}", False, errors.BadRequest),
        ("set", "<collection node='a'/>", False, errors.FeatureNotImplemented),
    ],
)
def test_requests_of_the_wrong_shape(type_: str, content: str, owner: bool, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        asked(type_, content, owner)


# answers


def item(number: int) -> Item:
    return Item(id=f"i{number}", publisher=ROMEO, payload=f"<a xmlns='urn:a'>{number}</a>", published=NOW, updated=NOW)


def test_items_and_their_page() -> None:
    """§6.5.3, XEP-0059 §2.6."""
    page = Page(items=(item(1), item(2)), count=800, index=0)
    written = pubsub.write_items(NODE, page, paged=True)
    assert read(to_text(written)) == read(
        """<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:microblog:0'>
        <item id='i1' publisher='romeo@montague.example'><a xmlns='urn:a'>1</a></item>
        <item id='i2' publisher='romeo@montague.example'><a xmlns='urn:a'>2</a></item></items>
        <set xmlns='http://jabber.org/protocol/rsm'><first index='0'>i1</first><last>i2</last><count>800</count></set>
        </pubsub>"""
    )
    assert isinstance(next(next(written.elements()).elements()).children[0], Raw)
    assert pubsub.write_items(NODE, page, paged=False).find(ns.RSM, "set") is None


def test_an_empty_page_has_a_count_only() -> None:
    """XEP-0059 §2.5, §2.7."""
    assert pubsub.write_page(Page(items=(), count=8)) == read(
        "<set xmlns='http://jabber.org/protocol/rsm'><count>8</count></set>"
    )


SUBSCRIPTION = Subscription(service=ROMEO, node="a", jid=JULIET, state=SubscriptionState.SUBSCRIBED, subid="s")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (pubsub.write_published("a", "1"), "<publish node='a'><item id='1'/></publish>"),
        (
            pubsub.write_subscription(SUBSCRIPTION),
            "<subscription node='a' jid='juliet@capulet.example' subscription='subscribed' subid='s'/>",
        ),
        (
            pubsub.write_my_subscriptions(None, [SUBSCRIPTION]),
            """<subscriptions><subscription node='a' jid='juliet@capulet.example' subscription='subscribed' subid='s'/>
            </subscriptions>""",
        ),
        (
            pubsub.write_my_affiliations(
                "a", [Affiliated(service=ROMEO, node="a", jid=ROMEO, affiliation=Affiliation.OWNER)]
            ),
            "<affiliations node='a'><affiliation node='a' affiliation='owner'/></affiliations>",
        ),
        (pubsub.write_created("a"), "<create node='a'/>"),
    ],
)
def test_answers(written: Element, expected: str) -> None:
    assert written == read(f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{expected}</pubsub>")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            pubsub.write_affiliations(
                "a", [Affiliated(service=ROMEO, node="a", jid=JULIET, affiliation=Affiliation.MEMBER)]
            ),
            "<affiliations node='a'><affiliation jid='juliet@capulet.example' affiliation='member'/></affiliations>",
        ),
        (
            pubsub.write_subscriptions("a", [SUBSCRIPTION]),
            """<subscriptions node='a'>
            <subscription jid='juliet@capulet.example' subscription='subscribed' subid='s'/></subscriptions>""",
        ),
    ],
)
def test_answers_to_owners(written: Element, expected: str) -> None:
    assert written == read(f"<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>{expected}</pubsub>")


def test_forms_in_answers() -> None:
    for written, name in (
        (pubsub.write_configuration(NODE), "configure"),
        (pubsub.write_default_configuration(NODE.config), "default"),
        (pubsub.write_subscription_options(SUBSCRIPTION), "options"),
    ):
        child = written.first()
        assert child is not None
        assert child.name == name
        assert child.find(ns.DATA, "x") is not None


def test_asking_elsewhere() -> None:
    assert pubsub.subscribe_request("a", JULIET) == read(
        f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='a' jid='juliet@capulet.example'/></pubsub>"
    )
    assert pubsub.read_subscription(pubsub.write_subscription(SUBSCRIPTION)) == (SubscriptionState.SUBSCRIBED, "s")
    assert pubsub.read_subscription(None) is None
    unconfigured = read(f"<pubsub xmlns='{ns.PUBSUB}'><subscription subscription='unconfigured'/></pubsub>")
    assert pubsub.read_subscription(unconfigured) == (SubscriptionState.PENDING, "")
