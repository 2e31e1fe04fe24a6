"""Who speaks; and what people do from an address elsewhere that is linked to their account."""

import pytest

from microblog.commands.people import Stranger
from microblog.model.account import derive_keys
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import linking, registering
from microblog.wire import ns
from microblog.wire import stanza as stanzas
from microblog.wire.notification import decision
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.people import People
from tests.im.town import done
from tests.im.town import result as outcome
from tests.xep.square import FEED, Square, asks, entry, error, publishes, result, told
from tests.xmltext import read

DOMAIN = "montague.example"
HOME = JID.parse("romeo@capulet.example/orchard")
KEYS = derive_keys("pencil")


def account(database: Database, name: str = "romeo", audience: Audience = Audience.PUBLIC) -> None:
    database.run(registering.create_account, name, KEYS, audience=audience)


def link(database: Database, name: str = "romeo", jid: JID = HOME) -> None:
    def both(tx: Transaction) -> None:
        found = tx.accounts.get(name)
        assert found is not None
        tx.linked.add(jid, found.key, asked_there=True)
        tx.linked.confirm(jid, found.key)

    database.run(both)


def said(from_: str, proof: Proof = Proof.CERTIFICATE, lang: str = "") -> Stanza:
    element = read(f"<message{f' xml:lang={lang!r}' if lang else ''}><body>Hist!</body></message>")
    return stanzas.read(element, from_=JID.parse(from_), to=JID("", DOMAIN), proof=proof)


# Who speaks


def test_people_who_are_logged_in(database: Database) -> None:
    account(database)
    person = outcome(People(database, DOMAIN).person(said("romeo@montague.example/orchard", Proof.LOCAL)))
    assert (str(person.jid), str(person.address)) == ("romeo@montague.example", "romeo@montague.example/orchard")
    assert not person.linked and person.account.localpart == "romeo" and person.language == "en"


def test_people_elsewhere_are_known_when_their_domain_has_proven_itself(database: Database) -> None:
    account(database)
    people = People(database, DOMAIN)
    assert outcome(people.person(said(str(HOME)))) is None
    link(database)
    person = outcome(people.person(said(str(HOME))))
    assert person.linked and person.jid == JID("romeo", DOMAIN) and person.address == HOME
    assert outcome(people.person(said(str(HOME), Proof.DIALBACK))) is None
    trusting = People(database, DOMAIN, dialback_suffices=True)
    assert outcome(trusting.person(said(str(HOME), Proof.DIALBACK))) == person


@pytest.mark.parametrize("sender", ["nobody@montague.example/x", "montague.example", "capulet.example", "a@b.example"])
def test_nobody_else_is_a_person(database: Database, sender: str) -> None:
    account(database)
    link(database)
    assert outcome(People(database, DOMAIN).person(said(sender))) is None


def test_whose_account_is_disabled_is_nobody(database: Database) -> None:
    account(database)
    link(database)
    database.run(registering.disable, "romeo")
    for sender in (str(HOME), "romeo@montague.example/x"):
        assert outcome(People(database, DOMAIN).person(said(sender))) is None


def test_strangers_are_somebody_if_their_domain_has_proven_itself(database: Database) -> None:
    people = People(database, DOMAIN)
    stranger = people.stranger(said(str(HOME), lang="it"))
    assert isinstance(stranger, Stranger) and stranger.proof is Proof.CERTIFICATE and stranger.language == "it"
    assert (stranger.jid, stranger.address, stranger.account.key) == (HOME.bare, HOME, 0)
    assert people.stranger(said(str(HOME), Proof.DIALBACK)) is None
    for sender in ("capulet.example", "romeo@montague.example/x"):
        assert people.stranger(said(sender)) is None


def test_people_are_answered_in_the_language_they_chose_or_speak(database: Database) -> None:
    account(database)
    people = People(database, DOMAIN)
    assert outcome(people.person(said("romeo@montague.example/x", lang="it-CH"))).language == "it-CH"
    assert len(outcome(people.person(said("romeo@montague.example/x", lang="x" * 9999))).language) < 100
    database.run(lambda tx: tx.preferences.set(1, "lang", "en"))
    assert outcome(people.person(said("romeo@montague.example/x", lang="it-CH"))).language == "en"


# What they do


@pytest.fixture
def square(database: Database, clock: Clock) -> Square:
    square = Square(database, clock)
    square.settle("romeo", "benvolio")
    link(database)
    return square


def request(
    square: Square,
    type_: str,
    content: str,
    *,
    to: str = "romeo@montague.example",
    from_: JID = HOME,
    proof: Proof = Proof.CERTIFICATE,
    owner: bool = False,
) -> Element:
    """A pubsub request from elsewhere, and its answer."""
    pubsub = f"<pubsub xmlns='{ns.PUBSUB_OWNER if owner else ns.PUBSUB}'>{content}</pubsub>"
    element = read(f"<iq type='{type_}' id='ask' from='{from_}' to='{to}'>{pubsub}</iq>")
    done(square.router.from_server(element, from_, JID.parse(to), proof))
    (answer,) = square.world_hears()
    return answer


def ids(answer: Element) -> list[str]:
    pubsub = result(answer)
    items = None if pubsub is None else pubsub.find(ns.PUBSUB, "items")
    assert items is not None
    return [item.attributes["id"] for item in items.elements() if item.name == "item"]


def item(item_id: str) -> str:
    return f"<publish node='{FEED}'><item id='{item_id}'>{entry(item_id)}</item></publish>"


def test_they_publish_as_their_account(square: Square) -> None:
    benvolio = square.online("benvolio", "square")
    asks(benvolio, "set", f"<subscribe node='{FEED}' jid='benvolio@montague.example'/>", to="romeo@montague.example")
    benvolio.hears()
    assert request(square, "set", item("post")).get("type") == "result"
    stored = square.database.run(
        lambda tx: tx.items.some(tx.nodes.find(JID("romeo", DOMAIN), FEED).key, ["post"])  # type: ignore[union-attr]
    )
    assert [(str(one.publisher), one.proof) for one in stored] == [("romeo@montague.example", Proof.LOCAL)]
    assert told(benvolio.hears()) == [("romeo@montague.example", "benvolio@montague.example", "post")]


def test_they_edit_and_retract_what_they_published_at_home(square: Square) -> None:
    romeo = square.online("romeo", "room")
    publishes(romeo, "post")
    edited = item("post").replace("<title>post", "<title>Post")
    assert request(square, "set", edited).get("type") == "result"
    retract = f"<retract node='{FEED}'><item id='post'/></retract>"
    assert request(square, "set", retract).get("type") == "result"
    assert ids(request(square, "get", f"<items node='{FEED}'/>")) == []


@pytest.mark.parametrize(
    ("from_", "proof"),
    [
        (JID.parse("romeo@capulet.example/orchard"), Proof.DIALBACK),
        (JID.parse("juliet@capulet.example/balcony"), Proof.CERTIFICATE),
        (JID.parse("capulet.example"), Proof.CERTIFICATE),
    ],
)
def test_nobody_else_acts_as_them(square: Square, from_: JID, proof: Proof) -> None:
    assert error(request(square, "set", item("post"), from_=from_, proof=proof))[0] == "forbidden"
    configure = f"<configure node='{FEED}'/>"
    assert request(square, "get", configure, from_=from_, proof=proof, owner=True).get("type") == "error"
    assert request(square, "get", configure, owner=True).get("type") == "result"


def test_what_they_act_on_is_their_own(square: Square) -> None:
    assert error(request(square, "set", item("post"), to="benvolio@montague.example"))[0] == "forbidden"


def write_one_of_each(tx: Transaction) -> None:
    node = tx.nodes.find(JID("romeo", DOMAIN), FEED)
    assert node is not None
    for position, audience in enumerate(Audience, 1):
        written = Item(
            id=str(audience),
            publisher=node.service,
            payload=entry(str(audience)),
            published=tx.now,
            updated=tx.now,
            position=position,
            audience=audience,
        )
        tx.items.put(node.key, written, replaces=False)


def test_they_read_what_is_theirs_but_for_what_is_for_this_domain_only(square: Square) -> None:
    square.database.run(write_one_of_each)
    romeo = square.online("romeo", "room")
    everything = ["direct", "followers", "local", "public"]
    read_all = f"<items node='{FEED}'/>"
    assert sorted(ids(asks(romeo, "get", read_all))) == everything
    assert sorted(ids(request(square, "get", read_all))) == ["direct", "followers", "public"]
    by_id = f"<items node='{FEED}'><item id='local'/></items>"
    assert ids(request(square, "get", by_id)) == []
    assert ids(request(square, "get", read_all, proof=Proof.DIALBACK)) == ["public"]
    disco = read(
        f"<iq type='get' id='ask' from='{HOME}' to='romeo@montague.example'>"
        f"<query xmlns='{ns.DISCO_ITEMS}' node='{FEED}'/></iq>"
    )
    done(square.router.from_server(disco, HOME, JID("romeo", DOMAIN), Proof.CERTIFICATE))
    assert "local" not in [one.get("name") for one in square.world_hears()[0].first().elements()]  # type: ignore[union-attr]


def test_they_are_told_under_their_own_address_until_it_is_unlinked(square: Square) -> None:
    subscribe = f"<subscribe node='{FEED}' jid='{HOME.bare}'/>"
    assert request(square, "set", subscribe).get("type") == "result"
    romeo = square.online("romeo", "room")
    publishes(romeo, "post")
    assert told(square.world.hears()) == [("romeo@montague.example", str(HOME.bare), "post")]

    def unlink(tx: Transaction) -> None:
        found = tx.accounts.get("romeo")
        assert found is not None
        linking.unlink(tx, linking.Unlink(account=found, jid=HOME.bare, notice=decision))

    square.database.run(unlink)
    assert error(request(square, "set", item("again")))[0] == "forbidden"
