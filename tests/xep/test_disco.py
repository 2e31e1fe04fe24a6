"""XEP-0030 and XEP-0060 §5: what is found out by whom."""

from microblog.wire import disco, ns
from microblog.wire.disco import Identity, Info
from microblog.wire.xml import Element
from tests.im.town import Client
from tests.xep.square import FEED, Square, error, option, publishes, result

ROMEO = "romeo@montague.example"
HOST = "montague.example"


def ask(client: Client, uri: str, to: str, node: str | None = None) -> Element:
    attribute = f" node='{node}'" if node else ""
    client.sends(f"<iq type='get' id='1' to='{to}'><query xmlns='{uri}'{attribute}/></iq>")
    (answer,) = client.hears()
    return answer


def info(client: Client, to: str, node: str | None = None) -> Info:
    query = result(ask(client, ns.DISCO_INFO, to, node))
    assert query is not None
    assert query.get("node") == node
    return disco.read_info(query)


def test_the_node_says_what_it_is(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    found = info(romeo, HOST)
    assert found.identities == (Identity("server", "im", "Microblog"), Identity("pubsub", "service", "Microblog"))
    assert {ns.DISCO_INFO, ns.DISCO_ITEMS, ns.CAPS} <= set(found.features)
    assert ns.PUBSUB in found.features  # its timelines


def test_the_hash_in_the_stream_features_is_of_what_it_says(square: Square) -> None:
    """XEP-0115 §6.3."""
    romeo = square.online("romeo", "orchard")
    caps = disco.read_caps(Element(ns.CLIENT, "presence", None, square.capabilities.stream_feature))
    assert caps is not None
    assert disco.verification(info(romeo, HOST, caps.disco_node)) == caps.ver
    assert error(ask(romeo, ns.DISCO_INFO, HOST, "another")) == ("item-not-found", None)


def test_an_account_is_a_pep_service(square: Square) -> None:
    """XEP-0163 §6.1; strangers have to find it too, to follow without presence."""
    found = info(square.online("benvolio", "street"), ROMEO)
    assert Identity("pubsub", "pep") in found.identities
    assert {FEED, ns.PUBSUB, f"{ns.PUBSUB}#publish-options", ns.RSM} <= set(found.features)


def test_an_account_that_is_not_there_does_not_speak(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    for uri in (ns.DISCO_INFO, ns.DISCO_ITEMS):
        assert error(ask(romeo, uri, "nobody@montague.example")) == ("service-unavailable", None)


def test_nodes_are_seen_by_those_who_may_read_them(square: Square) -> None:
    """XEP-0060 §5.2."""
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    publishes(romeo, "1", "a", node="urn:secret", options=option("access_model", "whitelist"))
    own = result(ask(romeo, ns.DISCO_ITEMS, ROMEO))
    seen = result(ask(benvolio, ns.DISCO_ITEMS, ROMEO))
    assert own is not None
    assert seen is not None
    assert {item.get("node") for item in own.elements()} == {FEED, "urn:secret", ns.HOME, ns.MENTIONS}
    assert [item.get("node") for item in seen.elements()] == [FEED]
    assert error(ask(benvolio, ns.DISCO_INFO, ROMEO, "urn:secret")) == ("item-not-found", None)
    assert error(ask(benvolio, ns.DISCO_ITEMS, ROMEO, "urn:secret")) == ("item-not-found", None)


def test_a_node_says_what_it_is_for(square: Square) -> None:
    """XEP-0060 §5.4: pubsub#type tells a feed from other nodes (XEP-0472 §4)."""
    romeo, benvolio = square.online("romeo", "orchard"), square.online("benvolio", "street")
    publishes(romeo, "1")
    found = info(benvolio, ROMEO, FEED)
    assert found.identities == (Identity("pubsub", "leaf"),)
    (form,) = found.forms
    fields = {field.get("var"): field.child_text(ns.DATA, "value") for field in form.elements()}
    assert fields["FORM_TYPE"] == ns.PUBSUB_META_DATA
    assert fields["pubsub#type"] == FEED
    assert fields["pubsub#access_model"] == "open"
    assert fields["pubsub#owner"] == ROMEO
    assert fields["pubsub#num_items"] == "1"


def test_a_nodes_items_are_listed_by_name(square: Square) -> None:
    """XEP-0060 §5.5."""
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    query = result(ask(romeo, ns.DISCO_ITEMS, ROMEO, FEED))
    assert query is not None
    assert [(item.get("jid"), item.get("name")) for item in query.elements()] == [(ROMEO, "1")]


def test_the_node_lists_its_timeline(square: Square) -> None:
    romeo = square.online("romeo", "orchard")
    found = result(ask(romeo, ns.DISCO_ITEMS, HOST))
    assert found is not None
    assert [(item.get("jid"), item.get("node")) for item in found.elements()] == [(HOST, ns.LOCAL)]
    assert error(ask(romeo, ns.DISCO_ITEMS, HOST, "a")) == ("item-not-found", None)
