"""XEP-0060 at accounts, as clients see it."""

import pytest

from microblog.wire import ns
from tests.xep.square import FEED, Square, asks, entry, error, option, publishes, result, told
from tests.xmltext import read

ROMEO = "romeo@montague.example"


def test_what_is_published_can_be_retrieved(square: Square) -> None:
    """§7.1.2, §6.5.2: with its publisher and a link to itself (XEP-0472 §3.3)."""
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    answer = result(publishes(romeo, "1", "Soft!"))
    assert answer == read(f"<pubsub xmlns='{ns.PUBSUB}'><publish node='{FEED}'><item id='1'/></publish></pubsub>")
    found = result(asks(benvolio, "get", f"<items node='{FEED}'/>", to=ROMEO))
    assert found == read(
        f"""<pubsub xmlns='{ns.PUBSUB}'><items node='{FEED}'><item id='1' publisher='{ROMEO}'>
        <entry xmlns='{ns.ATOM}'><title>Soft!</title>
        <link rel='alternate' href='xmpp:{ROMEO}?;node=urn%3Axmpp%3Amicroblog%3A0;item=1'/>
        <link rel='replies' title='comments'
        href='xmpp:{ROMEO}?;node=urn%3Axmpp%3Amicroblog%3A0%3Acomments%2F1'/></entry>
        </item></items></pubsub>"""
    )


def test_the_service_names_what_has_no_name(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    answer = result(asks(romeo, "set", f"<publish node='{FEED}'><item>{entry('a')}</item></publish>"))
    assert answer is not None
    id_ = next(next(answer.elements()).elements()).get("id")
    found = result(asks(romeo, "get", f"<items node='{FEED}'><item id='{id_}'/></items>"))
    assert found is not None
    assert f"item={id_}'" in repr(found)


def test_what_movim_does(square: Square) -> None:
    """Publish with preconditions that hold for a feed; configure the node when they do not, and publish again."""
    romeo = square.online("romeo", "orchard")
    options = (
        option("persist_items", "true")
        + option("max_items", "max")
        + option("itemreply", "publisher")
        + option("notify_retract", "true")
        + option("send_last_published_item", "never")
        + option("deliver_payloads", "true")
        + option("type", FEED)
    )
    result(publishes(romeo, "1", options=options))
    options += option("notify_sub", "true") + option("title", "Romeo")
    assert error(publishes(romeo, "2", options=options)) == ("conflict", "precondition-not-met")
    form = f"""<configure node='{FEED}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>
        <value>{ns.PUBSUB_NODE_CONFIG}</value></field>{option("notify_sub", "1")}{option("title", "Romeo")}</x>
        </configure>"""
    result(asks(romeo, "set", form, owner=True))
    result(publishes(romeo, "2", options=options))


def test_a_node_is_made_by_publishing_to_it(square: Square) -> None:
    """XEP-0163 §3, XEP-0060 §7.1.5."""
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    result(publishes(romeo, "1", "a", node="urn:tune", options=option("access_model", "open")))
    result(publishes(romeo, "2", "b", node="urn:tune"))
    found = result(asks(benvolio, "get", "<items node='urn:tune'/>", to=ROMEO))
    assert found is not None
    (items,) = found.elements()
    assert [item.get("id") for item in items.elements()] == ["2"]


@pytest.mark.parametrize(
    ("type_", "content", "owner", "expected"),
    [
        ("set", "<publish><item/></publish>", False, ("bad-request", "nodeid-required")),
        ("set", f"<publish node='{FEED}'/>", False, ("bad-request", "item-required")),
        ("set", f"<publish node='{FEED}'><item/></publish>", False, ("bad-request", "payload-required")),
        (
            "set",
            f"<publish node='{FEED}'><item><a xmlns='b'/></item></publish>",
            False,
            ("bad-request", "invalid-payload"),
        ),
        ("set", f"<publish node='{FEED}'><item/><item/></publish>", False, ("bad-request", None)),
        (
            "set",
            f"<publish node='{FEED}'><item>{entry('a' * 70_000)}</item></publish>",
            False,
            ("not-acceptable", "payload-too-big"),
        ),
        ("set", f"<retract node='{FEED}'/>", False, ("bad-request", "item-required")),
        ("set", f"<retract node='{FEED}'><item id='9'/></retract>", False, ("item-not-found", None)),
        ("get", "<items/>", False, ("bad-request", "nodeid-required")),
        ("get", "<items node='nothing'/>", False, ("item-not-found", None)),
        ("get", f"<items node='{FEED}' max_items='-5'/>", False, ("bad-request", None)),
        ("set", f"<subscribe node='{FEED}' jid='benvolio@montague.example'/>", False, ("bad-request", "invalid-jid")),
        ("set", f"<unsubscribe node='{FEED}'/>", False, ("bad-request", "jid-required")),
        ("set", f"<unsubscribe node='{FEED}' jid='{ROMEO}'/>", False, ("unexpected-request", "not-subscribed")),
        ("set", "<collection node='a'/>", False, ("feature-not-implemented", None)),
        ("set", f"<create node='{FEED}'/>", False, ("conflict", None)),
        ("set", f"<configure node='{FEED}'/>", True, ("bad-request", None)),
        ("set", "<delete node='nothing'/>", True, ("item-not-found", None)),
        ("get", "<configure/>", True, ("bad-request", "nodeid-required")),
    ],
)
def test_refusals(square: Square, type_: str, content: str, owner: bool, expected: tuple[str, str | None]) -> None:
    assert error(asks(square.online("romeo", "orchard"), type_, content, owner=owner)) == expected


def test_nobody_publishes_for_another(square: Square) -> None:
    benvolio = square.online("benvolio", "street")
    content = f"<publish node='{FEED}'><item id='1'>{entry('a')}</item></publish>"
    assert error(asks(benvolio, "set", content, to=ROMEO)) == ("forbidden", None)


def test_the_node_itself_has_no_nodes(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    assert error(asks(romeo, "get", "<items node='a'/>", to="montague.example")) == ("item-not-found", None)


def test_pages(square: Square) -> None:
    """XEP-0059 §2."""
    romeo = square.online("romeo", "orchard")
    for number in range(5):
        publishes(romeo, f"i{number}")
    rsm = f"<items node='{FEED}'/><set xmlns='{ns.RSM}'>{{}}</set>"

    def page(content: str) -> tuple[list[str | None], str | None]:
        found = result(asks(romeo, "get", rsm.format(content)))
        assert found is not None
        items, told_ = found.elements()
        return [item.get("id") for item in items.elements()], told_.child_text(ns.RSM, "count")

    assert page("<max>2</max><before/>") == (["i3", "i4"], "5")
    assert page("<max>2</max><before>i3</before>") == (["i1", "i2"], "5")
    assert page("<max>2</max><after>i0</after>") == (["i1", "i2"], "5")
    assert page("<max>0</max>") == ([], "5")
    assert error(asks(romeo, "get", rsm.format("<after>i9</after>"))) == ("item-not-found", None)
    newest = result(asks(romeo, "get", f"<items node='{FEED}' max_items='2'/>"))
    assert newest is not None
    assert newest.find(ns.RSM, "set") is not None


def test_subscribing_and_leaving(square: Square) -> None:
    """§6.1, §6.2, §5.6, §8.8.1."""
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    wanted = f"<subscribe node='{FEED}' jid='benvolio@montague.example'/>"
    answer = result(asks(benvolio, "set", wanted, to=ROMEO))
    assert answer is not None
    subscription = next(answer.elements())
    assert subscription.get("subscription") == "subscribed"
    mine = result(asks(benvolio, "get", "<subscriptions/>", to=ROMEO))
    assert mine is not None
    assert list(next(mine.elements()).elements()) == [subscription]
    theirs = result(asks(romeo, "get", f"<subscriptions node='{FEED}'/>", owner=True))
    assert theirs is not None
    assert [one.get("jid") for one in next(theirs.elements()).elements()] == ["benvolio@montague.example"]
    assert error(asks(benvolio, "get", f"<subscriptions node='{FEED}'/>", to=ROMEO, owner=True)) == ("forbidden", None)
    result(asks(benvolio, "set", f"<unsubscribe node='{FEED}' jid='benvolio@montague.example'/>", to=ROMEO))
    mine = result(asks(benvolio, "get", "<subscriptions/>", to=ROMEO))
    assert mine is not None
    assert list(next(mine.elements()).elements()) == []


def test_the_last_item_follows_the_answer(square: Square) -> None:
    """§6.1.7."""
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    publishes(romeo, "1", "a", node="urn:tune", options=option("access_model", "open"))
    result(asks(benvolio, "set", "<subscribe node='urn:tune' jid='benvolio@montague.example'/>", to=ROMEO))
    assert told(benvolio.hears()) == []
    square.clock.reactor.advance(0)  # type: ignore[attr-defined]
    (message,) = benvolio.hears()
    assert told([message]) == [(ROMEO, "benvolio@montague.example", "1")]
    assert message.find(ns.DELAY, "delay") is not None


def test_options_of_a_subscription(square: Square) -> None:
    """§6.3: who does not want to be told is not, and may still read."""
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    form = f"""<options{{}}><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>
        <value>{ns.PUBSUB_SUBSCRIBE_OPTIONS}</value></field>{option("deliver", "{}")}</x></options>"""
    jid = f" node='{FEED}' jid='benvolio@montague.example'"
    result(asks(benvolio, "set", f"<subscribe{jid}/>{form.format('', '0')}", to=ROMEO))
    publishes(romeo, "1")
    assert told(benvolio.hears()) == []
    assert "<value>false</value>" in repr(asks(benvolio, "get", f"<options{jid}/>", to=ROMEO))
    result(asks(benvolio, "set", form.format(jid, "1"), to=ROMEO))
    publishes(romeo, "2")
    assert told(benvolio.hears()) == [(ROMEO, "benvolio@montague.example", "2")]
    assert error(asks(benvolio, "set", form.format(jid, "9"), to=ROMEO)) == ("bad-request", "invalid-options")
    assert result(asks(benvolio, "get", "<default/>", to=ROMEO)) is not None


def test_owners_do_as_they_like(square: Square) -> None:
    """§8.1 to §8.5, §8.9."""
    romeo = square.online("romeo", "orchard")
    result(asks(romeo, "set", "<create node='urn:tune'/>"))
    assert "pubsub#access_model" in repr(asks(romeo, "get", "<configure node='urn:tune'/>", owner=True))
    assert "pubsub#access_model" in repr(asks(romeo, "get", "<default/>", owner=True))
    result(
        asks(
            romeo,
            "set",
            """<affiliations node='urn:tune'>
            <affiliation jid='juliet@capulet.example' affiliation='member'/></affiliations>""",
            owner=True,
        )
    )
    listed = result(asks(romeo, "get", "<affiliations node='urn:tune'/>", owner=True))
    assert "juliet@capulet.example" in repr(listed)
    assert "owner" in repr(result(asks(romeo, "get", "<affiliations/>")))
    publishes(romeo, "1", "a", node="urn:tune")
    result(asks(romeo, "set", "<purge node='urn:tune'/>", owner=True))
    found = result(asks(romeo, "get", "<items node='urn:tune'/>"))
    assert found is not None
    assert list(next(found.elements()).elements()) == []
    result(asks(romeo, "set", "<delete node='urn:tune'/>", owner=True))
    assert error(asks(romeo, "get", "<items node='urn:tune'/>")) == ("item-not-found", None)


def test_a_remote_subscriber_hears_of_a_deletion(square: Square) -> None:
    """§8.4.2."""
    romeo = square.online("romeo", "orchard")
    square.inject(
        f"""<iq type='set' id='1' from='juliet@capulet.example/balcony' to='{ROMEO}'><pubsub xmlns='{ns.PUBSUB}'>
        <subscribe node='{FEED}' jid='juliet@capulet.example'/></pubsub></iq>"""
    )
    (answer,) = square.world_hears()
    assert answer.get("type") == "result"
    content = f"<delete node='{FEED}'><redirect uri='xmpp:romeo@verona.example'/></delete>"
    result(asks(romeo, "set", content, owner=True))
    (notice,) = square.world.hears()
    assert notice == read(
        f"""<message from='{ROMEO}' to='juliet@capulet.example' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>
        <delete node='{FEED}'><redirect uri='xmpp:romeo@verona.example'/></delete></event></message>"""
    )
