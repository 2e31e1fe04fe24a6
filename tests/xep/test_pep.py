"""XEP-0163: following by presence."""

import pytest

from microblog.model.jid import JID
from microblog.store.transaction import Transaction
from microblog.usecases import subscribing
from microblog.usecases.subscribing import RESOURCES_PER_CONTACT, Interest
from microblog.wire import disco, ns
from microblog.wire.disco import Caps, Identity, Info
from microblog.wire.xml import Element, to_text
from tests.im.town import Client
from tests.xep.square import FEED, Square, address, option, publishes, told

ROMEO = "romeo@montague.example"
JULIET = "juliet@capulet.example"
TUNE = "urn:tune"
LISTENS = Info(identities=(Identity("client", "pc", "Psi"),), features=(f"{TUNE}+notify",))
IGNORES = Info(identities=(Identity("client", "pc", "Exodus"),))


def presence(info: Info | None, addresses: str = "") -> str:
    if info is None:
        return f"<presence{addresses}/>"
    caps = Caps("http://client.example", "sha-1", disco.verification(info))
    return f"<presence{addresses}>{to_text(disco.write_caps(caps))}</presence>"


def answer(question: Element, info: Info) -> str:
    query = question.first()
    assert query is not None
    assert query.is_(ns.DISCO_INFO, "query")
    payload = to_text(disco.write_info(info, query.get("node")))
    from_, to, id_ = (question.get(name) for name in ("from", "to", "id"))
    return f"<iq type='result' id='{id_}' to='{from_}' from='{to}'>{payload}</iq>"


def arrives(client: Client, info: Info) -> list[Element]:
    """Send presence and answer what the server asks about it; what came besides."""
    client.sends(presence(info))
    heard = client.hears()
    for question in [element for element in heard if element.name == "iq"]:
        client.sends(answer(question, info))
    return [element for element in [*heard, *client.hears()] if element.name == "message"]


def test_a_client_is_asked_and_told_the_last_item_of_its_own_account(square: Square) -> None:
    """§4.3.4: once, not at every presence."""
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1", "a", node=TUNE)
    street = square.login("romeo", "street")
    (message,) = arrives(street, LISTENS)
    assert told([message]) == [(ROMEO, f"{ROMEO}/street", "1")]
    assert message.find(ns.DELAY, "delay") is not None
    assert arrives(street, LISTENS) == []
    publishes(romeo, "2", "b", node=TUNE)
    assert told(street.hears()) == [(ROMEO, f"{ROMEO}/street", "2")]


def test_a_local_contact_is_told_the_last_item(square: Square) -> None:
    square.befriend("romeo", "benvolio")
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1", "a", node=TUNE)
    benvolio, mercutio = square.login("benvolio", "street"), square.login("mercutio", "street")
    assert told(arrives(benvolio, LISTENS)) == [(ROMEO, "benvolio@montague.example/street", "1")]
    assert arrives(mercutio, LISTENS) == []


def test_a_client_that_changes_its_mind_is_told_no_more(square: Square) -> None:
    romeo, street = square.online("romeo", "orchard"), square.login("romeo", "street")
    arrives(street, LISTENS)
    arrives(street, IGNORES)
    publishes(romeo, "1", "a", node=TUNE)
    assert told(street.hears()) == []
    arrives(street, LISTENS)
    street.sends("<presence/>")
    publishes(romeo, "2", "b", node=TUNE)
    assert told(street.hears()) == []


def test_an_answer_that_comes_too_late_counts_no_more(square: Square) -> None:
    romeo, street = square.online("romeo", "orchard"), square.login("romeo", "street")
    street.sends(presence(LISTENS))
    (question,) = [element for element in street.hears() if element.name == "iq"]
    street.sends("<presence/>")
    street.sends(answer(question, LISTENS))
    publishes(romeo, "1", "a", node=TUNE)
    assert told(street.hears()) == []


def test_a_new_contact_is_told_the_last_item(square: Square) -> None:
    """§4.5: access is looked at again when the roster changes."""
    romeo, benvolio = square.online("romeo", "orchard"), square.login("benvolio", "street")
    publishes(romeo, "1", "a", node=TUNE)
    arrives(benvolio, LISTENS)
    benvolio.sends(f"<presence type='subscribe' to='{ROMEO}'/>")
    romeo.sends("<presence type='subscribed' to='benvolio@montague.example'/>")
    assert told(benvolio.hears()) == [(ROMEO, "benvolio@montague.example/street", "1")]
    romeo.sends("<presence type='unsubscribed' to='benvolio@montague.example'/>")
    benvolio.hears()
    publishes(romeo, "2", "b", node=TUNE)
    assert told(benvolio.hears()) == []


# contacts elsewhere


def juliet_arrives(square: Square, info: Info = LISTENS) -> list[Element]:
    """Her presence comes; her client is asked and answers."""
    square.inject(presence(info, f" from='{JULIET}/balcony' to='{ROMEO}'"))
    heard = square.world_hears()
    for question in [element for element in heard if element.name == "iq"]:
        assert question.get("from") == ROMEO
        square.inject(answer(question, info))
    return [element for element in [*heard, *square.world_hears()] if element.name == "message"]


def interests(square: Square, jid: str = f"{JULIET}/balcony") -> frozenset[str]:
    return square.database.run(lambda tx: tx.interests.of(address("romeo"), JID.parse(jid)))


def test_a_remote_contact_is_remembered_and_told(square: Square) -> None:
    square.makes_contact("romeo", JULIET, "both")
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1", "a", node=TUNE)
    (message,) = juliet_arrives(square)
    assert told([message]) == [(ROMEO, f"{JULIET}/balcony", "1")]
    assert interests(square) == {TUNE}
    publishes(romeo, "2", "b", node=TUNE)
    assert told(square.world.hears()) == [(ROMEO, f"{JULIET}/balcony", "2")]
    assert juliet_arrives(square) == []


def test_she_is_told_also_after_this_server_was_away(square: Square) -> None:
    square.makes_contact("romeo", JULIET, "both")
    juliet_arrives(square)
    square.database.listeners.clear()
    again = Square(square.database, square.clock)
    publishes(again.online("romeo", "orchard"), "1", "a", node=TUNE)
    assert told(again.world.hears()) == [(ROMEO, f"{JULIET}/balcony", "1")]


def test_resources_that_went_without_a_word_do_not_keep_her_out(square: Square) -> None:
    """Her server died, more than once, and her client has another resource each time."""
    square.makes_contact("romeo", JULIET, "both")
    gone = [f"{JULIET}/{number}" for number in range(RESOURCES_PER_CONTACT)]
    for jid in gone:
        interest = Interest(service=address("romeo"), jid=JID.parse(jid), nodes=frozenset([TUNE]))
        square.database.run(subscribing.presence_interest, interest)
    juliet_arrives(square)
    assert interests(square) == {TUNE}
    assert not any(interests(square, jid) for jid in gone)


def test_she_leaves(square: Square) -> None:
    square.makes_contact("romeo", JULIET, "both")
    for leaving in (f"{JULIET}/balcony", JULIET):
        juliet_arrives(square)
        assert interests(square) == {TUNE}
        square.inject(f"<presence type='unavailable' from='{leaving}' to='{ROMEO}'/>")
        assert interests(square) == frozenset()
    publishes(square.online("romeo", "orchard"), "1", "a", node=TUNE)
    assert square.world.hears() == []


def test_a_stranger_is_not_asked(square: Square) -> None:
    assert juliet_arrives(square) == []
    assert interests(square) == frozenset()


def test_a_contact_who_may_not_see_the_owner_has_no_interest(square: Square) -> None:
    """Until she may."""
    square.makes_contact("romeo", JULIET, "to")
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1", "a", node=TUNE)
    juliet_arrives(square)
    assert interests(square) == frozenset()
    square.inject(f"<presence type='subscribe' from='{JULIET}' to='{ROMEO}'/>")
    romeo.sends(f"<presence type='subscribed' to='{JULIET}'/>")
    messages = [element for element in square.world_hears() if element.name == "message"]
    assert told(messages) == [(ROMEO, f"{JULIET}/balcony", "1")]
    assert interests(square) == {TUNE}
    romeo.sends(f"<presence type='unsubscribed' to='{JULIET}'/>")
    assert interests(square) == frozenset()


def test_a_notification_that_finds_nobody_ends_the_interest(square: Square) -> None:
    square.makes_contact("romeo", JULIET, "both")
    juliet_arrives(square)
    error = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    square.inject(f"<message type='error' id='event-1' from='{JULIET}/balcony' to='{ROMEO}'>{error}</message>")
    assert interests(square) == frozenset()
    juliet_arrives(square)
    error = error.replace("service-unavailable", "policy-violation")
    square.inject(f"<message type='error' id='event-1' from='{JULIET}/balcony' to='{ROMEO}'>{error}</message>")
    assert interests(square) == {TUNE}


def test_a_follower_whose_account_is_gone_follows_no_more(square: Square) -> None:
    def subscribers(tx: Transaction) -> list[JID]:
        node = tx.nodes.find(address("romeo"), FEED)
        assert node is not None
        return tx.subscriptions.elsewhere(node, tx.domain)

    square.inject(
        f"<iq type='set' id='1' from='{JULIET}/balcony' to='{ROMEO}'><pubsub xmlns='{ns.PUBSUB}'>"
        f"<subscribe node='{FEED}' jid='{JULIET}'/></pubsub></iq>"
    )
    for id_, condition, left in (
        ("event-1", "service-unavailable", 1),
        ("event-1", "item-not-found", 1),
        ("m1", "gone", 1),
        ("event-1", "gone", 0),
    ):
        error = f"<error type='cancel'><{condition} xmlns='{ns.STANZAS}'/></error>"
        square.inject(f"<message type='error' id='{id_}' from='{JULIET}' to='{ROMEO}'>{error}</message>")
        assert len(square.database.run(subscribers)) == left


@pytest.mark.parametrize("options", ["", option("send_last_published_item", "never")])
def test_a_node_may_keep_its_last_item_to_itself(square: Square, options: str) -> None:
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1", "a", node=TUNE, options=options)
    assert len(arrives(square.login("romeo", "street"), LISTENS)) == (0 if options else 1)
