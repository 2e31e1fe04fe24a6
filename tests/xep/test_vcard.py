"""XEP-0054, 0292, 0172, 0084, 0153, 0398: who somebody is, in every form in which clients ask for it."""

import base64
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.commands.command import Answer, Call, Person, Table
from microblog.commands.profile import ProfileWords
from microblog.model.errors import NotAcceptable
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.model.node import AVATAR_METADATA, MICROBLOG, NICK, VCARD4
from microblog.model.profile import Avatar, Profile
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import profiling, registering, subscribing
from microblog.usecases.profiling import Change
from microblog.wire import ns, vcard
from microblog.wire.vcard import Nodes
from microblog.wire.xml import Element, to_text
from microblog.xep.avatar import Avatars
from microblog.xep.people import People
from microblog.xep.vcard import REMOTE_SECONDS, RemoteProfiles, VCards
from tests.conftest import DOMAIN, Time
from tests.im.town import Client, result
from tests.xep.square import Square, asks, error
from tests.xmltext import read

ROMEO = f"romeo@{DOMAIN}"
PNG = b"\x89PNG\r\n\x1a\nromeo"
AVATAR = Avatar(PNG, "image/png")
CARD = (
    "<vCard xmlns='vcard-temp'><FN>Romeo Montague</FN><NICKNAME>Romeo</NICKNAME><DESC>Too rash.</DESC>"
    f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{base64.b64encode(PNG).decode()}</BINVAL></PHOTO></vCard>"
)
NOT_FOUND = f"<error type='cancel'><item-not-found xmlns='{ns.STANZAS}'/></error>"
TEMP, VCARD = "<vCard xmlns='vcard-temp'/>", f"<vcard xmlns='{ns.VCARD4_XML}'/>"


class Studio(Square):
    """A square with painters."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self.avatars = Avatars(database, self.presence, self.sessions, self.tasks)
        self.presence.stamp = self.avatars.stamp
        database.listeners.append(self.avatars.hear)
        self.install(VCards(database, People(database, DOMAIN)), self.avatars)
        self.words = ProfileWords(
            database, RemoteProfiles(self.router, clock), {"capulet.example": Proof.CERTIFICATE}.get, Nobody()
        )


class Nobody:
    """Nobody moves here."""

    async def move(self, account: JID, to: JID) -> int:
        raise NotImplementedError

    async def take_back(self, account: JID) -> bool:
        raise NotImplementedError


@pytest.fixture
def studio(database: Database, clock: Clock) -> Studio:
    studio = Studio(database, clock)
    studio.settle("romeo", "benvolio")
    return studio


def iq(client: Client, type_: str, payload: str, to: str = "") -> Element:
    addressee = f" to='{to}'" if to else ""
    client.sends(f"<iq type='{type_}' id='card'{addressee}>{payload}</iq>")
    heard = client.hears()
    answers = [element for element in heard if element.name == "iq" and element.get("id") == "card"]
    for element in heard:
        if element not in answers:
            client.line.write(to_text(element).encode())
    (answer,) = answers
    return answer


def profile(studio: Studio, name: str = "romeo") -> Profile:
    return studio.database.run(profiling.own, JID(name, DOMAIN))


def item_of(client: Client, node: str, to: str = ROMEO) -> Element | None:
    """The payload of a node's item."""
    answer = asks(client, "get", f"<items node='{node}'/>", to=to).first()
    assert answer is not None
    items = answer.find(ns.PUBSUB, "items")
    assert items is not None
    (item,) = items.elements()
    return item.first()


# vCards


def test_a_vcard_is_set_and_read_by_everybody(studio: Studio) -> None:
    romeo, benvolio = studio.login("romeo", "a"), studio.login("benvolio", "a")
    assert iq(romeo, "get", TEMP).first() == read(TEMP)
    assert iq(romeo, "set", CARD).get("type") == "result"
    assert iq(romeo, "get", TEMP, ROMEO).first() == iq(benvolio, "get", TEMP, ROMEO).first() == read(CARD)
    card = read(
        f"<vcard xmlns='{ns.VCARD4_XML}'><fn><text>Romeo Montague</text></fn><nickname><text>Romeo</text></nickname>"
        "<note><text>Too rash.</text></note></vcard>"
    )
    assert iq(benvolio, "get", VCARD, ROMEO).first() == item_of(benvolio, VCARD4) == card
    assert item_of(benvolio, NICK) == read(f"<nick xmlns='{ns.NICK}'>Romeo</nick>")
    assert item_of(benvolio, ns.AVATAR_DATA) == read(
        f"<data xmlns='urn:xmpp:avatar:data'>{base64.b64encode(PNG).decode()}</data>"
    )
    assert item_of(benvolio, AVATAR_METADATA) == vcard.write_metadata(AVATAR)


def test_a_vcard_4_is_set(studio: Studio) -> None:
    romeo = studio.login("romeo", "a")
    iq(romeo, "set", CARD)
    new = f"<vcard xmlns='{ns.VCARD4_XML}'><fn><text>Romeo</text></fn></vcard>"
    assert iq(romeo, "set", new).get("type") == "result"
    found = profile(studio)
    assert (found.full_name, found.nickname, found.bio, found.avatar) == ("Romeo", "", "", AVATAR)
    assert item_of(romeo, NICK) == read(f"<nick xmlns='{ns.NICK}'/>")


def test_people_elsewhere_read_it(studio: Studio) -> None:
    iq(studio.login("romeo", "a"), "set", CARD)
    studio.inject(f"<iq type='get' id='1' from='juliet@capulet.example/a' to='{ROMEO}'>{TEMP}</iq>")
    (answer,) = studio.world_hears()
    assert answer.first() == read(CARD)
    studio.inject(f"<iq type='get' id='1' from='juliet@capulet.example/a' to='nobody@{DOMAIN}'>{TEMP}</iq>")
    (answer,) = studio.world_hears()
    assert error(answer) == ("service-unavailable", None)


def test_what_is_for_this_domain_only_stays_here(studio: Studio) -> None:
    studio.database.run(registering.create_account, "mercutio", "secret", audience=Audience.LOCAL)
    mercutio, benvolio = studio.login("mercutio", "a"), studio.login("benvolio", "a")
    iq(mercutio, "set", CARD)
    mine = f"mercutio@{DOMAIN}"
    assert iq(benvolio, "get", TEMP, mine).first() == read(CARD)
    for asked, nothing in ((TEMP, TEMP), (VCARD, VCARD)):
        studio.inject(f"<iq type='get' id='1' from='juliet@capulet.example/a' to='{mine}'>{asked}</iq>")
        (answer,) = studio.world_hears()
        assert answer.first() == read(nothing)
    items = f"<pubsub xmlns='{ns.PUBSUB}'><items node='{NICK}'/></pubsub>"
    studio.inject(f"<iq type='get' id='1' from='juliet@capulet.example/a' to='{mine}'>{items}</iq>")
    (answer,) = studio.world_hears()
    assert error(answer) == ("item-not-found", None)


def test_nobody_sets_anothers(studio: Studio) -> None:
    benvolio = studio.login("benvolio", "a")
    for payload in (CARD, f"<vcard xmlns='{ns.VCARD4_XML}'/>"):
        assert error(iq(benvolio, "set", payload, ROMEO)) == ("forbidden", None)
        studio.inject(f"<iq type='set' id='1' from='juliet@capulet.example/a' to='{ROMEO}'>{payload}</iq>")
        (answer,) = studio.world_hears()
        assert error(answer) == ("service-unavailable", None)
    assert profile(studio) == Profile()


@pytest.mark.parametrize("photo", ["&lt;svg/&gt;", "####", base64.b64encode(PNG + b"x" * 60_000).decode()])
def test_what_is_no_picture_or_too_big_changes_nothing(studio: Studio, photo: str) -> None:
    romeo = studio.login("romeo", "a")
    card = f"<vCard xmlns='vcard-temp'><FN>Romeo</FN><PHOTO><BINVAL>{photo}</BINVAL></PHOTO></vCard>"
    assert error(iq(romeo, "set", card))[0] == "not-acceptable"
    assert profile(studio) == Profile()


# Nodes


def publishes(client: Client, node: str, payload: str, item_id: str = "current") -> None:
    answer = asks(client, "set", f"<publish node='{node}'><item id='{item_id}'>{payload}</item></publish>")
    assert answer.get("type") == "result", answer


def test_what_a_client_publishes_is_in_its_vcard(studio: Studio) -> None:
    romeo, benvolio = studio.login("romeo", "a"), studio.login("benvolio", "a")
    publishes(romeo, NICK, f"<nick xmlns='{ns.NICK}'>Romeo</nick>")
    publishes(romeo, ns.AVATAR_DATA, to_text(vcard.write_data(AVATAR)), AVATAR.hash)
    publishes(romeo, AVATAR_METADATA, to_text(vcard.write_metadata(AVATAR)), AVATAR.hash)
    card = iq(benvolio, "get", TEMP, ROMEO).first()
    assert card is not None and vcard.read_temp(card) == Profile(nickname="Romeo", avatar=AVATAR)


# Presence


def hash_in(presence: Element) -> str | None:
    update = presence.find(ns.VCARD_UPDATE, "x")
    return None if update is None else update.child_text(ns.VCARD_UPDATE, "photo")


def presences(heard: list[Element], of: str = f"{ROMEO}/a") -> list[str | None]:
    return [hash_in(element) for element in heard if element.name == "presence" and element.get("from") == of]


def test_presence_has_the_hash_of_the_picture(studio: Studio) -> None:
    studio.befriend("romeo", "benvolio")
    benvolio, romeo = studio.online("benvolio", "a"), studio.login("romeo", "a")
    romeo.sends("<presence/>")
    assert presences(benvolio.hears()) == [None]
    iq(romeo, "set", CARD)
    assert presences(benvolio.hears()) == presences(romeo.hears()[-1:]) == [AVATAR.hash]
    for said in ("", "<x xmlns='vcard-temp:x:update'/>", "<x xmlns='vcard-temp:x:update'><photo>abc</photo></x>"):
        romeo.sends(f"<presence><show>away</show>{said}</presence>")
        assert presences(benvolio.hears()) == [AVATAR.hash]
    romeo.sends("<presence><x xmlns='vcard-temp:x:update'><photo/></x></presence>")
    assert presences(benvolio.hears()) == [""]


def test_presence_to_somebody_in_particular_has_it_too(studio: Studio) -> None:
    romeo = studio.login("romeo", "a")
    iq(romeo, "set", CARD)
    romeo.sends("<presence to='ball@chat.capulet.example/romeo'/>")
    (presence,) = studio.world_hears()
    assert hash_in(presence) == AVATAR.hash


def test_presence_says_when_the_picture_is_gone(studio: Studio) -> None:
    studio.befriend("romeo", "benvolio")
    romeo, benvolio = studio.login("romeo", "a"), studio.online("benvolio", "a")
    iq(romeo, "set", CARD)
    romeo.comes_online()
    benvolio.hears()
    publishes(romeo, AVATAR_METADATA, f"<metadata xmlns='{ns.AVATAR_METADATA}'/>")
    assert presences(benvolio.hears()) == [""]
    iq(romeo, "set", CARD)
    assert presences(benvolio.hears()) == [AVATAR.hash]
    iq(romeo, "set", CARD.replace("Too rash", "Too sudden"))
    assert presences(benvolio.hears()) == []


def test_who_wants_no_picture_shown_is_let_alone(studio: Studio) -> None:
    studio.befriend("romeo", "benvolio")
    romeo, benvolio = studio.login("romeo", "a"), studio.online("benvolio", "a")
    iq(romeo, "set", CARD)
    romeo.sends("<presence><x xmlns='vcard-temp:x:update'><photo/></x></presence>")
    assert presences(benvolio.hears()) == [""]
    other = base64.b64encode(PNG + b"!").decode()
    iq(romeo, "set", f"<vCard xmlns='vcard-temp'><PHOTO><BINVAL>{other}</BINVAL></PHOTO></vCard>")
    assert presences(benvolio.hears()) == []


def test_who_said_truly_that_there_was_none_is_corrected(studio: Studio) -> None:
    studio.befriend("romeo", "benvolio")
    romeo, benvolio = studio.login("romeo", "a"), studio.online("benvolio", "a")
    romeo.sends("<presence><x xmlns='vcard-temp:x:update'><photo/></x></presence>")
    assert presences(benvolio.hears()) == [""]
    iq(romeo, "set", CARD)
    assert presences(benvolio.hears()) == [AVATAR.hash]


def test_a_picture_for_few_is_in_nobodys_presence(studio: Studio) -> None:
    romeo = studio.login("romeo", "a")
    iq(romeo, "set", CARD)
    form = (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"
        f"{ns.PUBSUB_NODE_CONFIG}</value></field><field var='pubsub#access_model'><value>presence</value></field></x>"
    )
    asks(romeo, "set", f"<configure node='{AVATAR_METADATA}'>{form}</configure>", owner=True)
    romeo.sends("<presence to='ball@chat.capulet.example/romeo'/>")
    (presence,) = studio.world_hears()
    assert hash_in(presence) is None


# Words


def person(studio: Studio, name: str = "romeo", address: str = "") -> Person:
    account = studio.database.run(registering.get_account, name)
    jid = account.jid(DOMAIN)
    return Person(account=account, jid=jid, address=JID.parse(address or f"{jid}/a"), linked=bool(address))


def begins(studio: Studio, who: Person, word: str, **arguments: Any) -> "Deferred[Answer]":
    command = Table([studio.words]).commands[word]
    return Deferred.fromCoroutine(command.function(Call(person=who, arguments=arguments)))  # type: ignore[arg-type]


def says(studio: Studio, word: str, *, who: Person | None = None, **arguments: Any) -> Answer:
    command = Table([studio.words]).commands[word]
    answer: Answer = result(command.function(Call(person=who or person(studio), arguments=arguments)))  # type: ignore[arg-type]
    return answer


def test_names_and_words_about_oneself(studio: Studio) -> None:
    assert says(studio, "nick").text == "You have no nickname."
    assert says(studio, "nick", text="Romeo\nMontague ").text == "You are called Romeo Montague."
    assert says(studio, "nick").form == (("nick", "Romeo Montague"),)
    assert (
        says(studio, "bio", text="Too rash,\ntoo unadvised.").text == "You say of yourself: Too rash,\ntoo unadvised."
    )
    assert says(studio, "bio").text.endswith("too unadvised.")
    found = profile(studio)
    assert (found.nickname, found.bio) == ("Romeo Montague", "Too rash,\ntoo unadvised.")
    assert says(studio, "nick", text="-").text == "You have no nickname."
    assert says(studio, "bio", text="-").text == "You say nothing of yourself."
    for word, length in (("nick", 101), ("bio", 2001)):
        with pytest.raises(NotAcceptable):
            says(studio, word, text="x" * length)
    assert profile(studio) == Profile()


def test_who_is_here(studio: Studio) -> None:
    become = Change(account=JID("romeo", DOMAIN), become=lambda one: Profile(nickname="R", bio="!"), codec=Nodes())
    studio.database.run(profiling.change, become)
    benvolio, romeo = person(studio, "benvolio"), JID("romeo", DOMAIN)
    follow = subscribing.Subscribe(service=romeo, node=MICROBLOG, actor=benvolio.jid, jid=benvolio.jid)
    studio.database.run(subscribing.subscribe, follow)
    told = says(studio, "whois", who=benvolio, name=romeo)
    assert told.text == (f'{ROMEO} (R)\n"!"\nLives here, on {DOMAIN}.\nYou follow them.\nThey do not follow you.')
    assert dict(told.form) == {
        "address": ROMEO,
        "nick": "R",
        "bio": "!",
        "relation": "You follow them.\nThey do not follow you.",
    }
    assert says(studio, "whois", name=benvolio.jid).text.endswith("You do not follow them.\nThey follow you.")
    assert says(studio, "whois", name=romeo).text.endswith("That is you.")
    with pytest.raises(NotAcceptable):
        says(studio, "whois", name=JID("tybalt", DOMAIN))


def answers(studio: Studio, *payloads: str | None) -> list[str]:
    """What the world is asked, answered one by one; None is an error."""
    asked = []
    for payload in payloads:
        (request,) = studio.world_hears()
        first = request.first()
        assert first is not None and request.get("from") == ROMEO
        items = first.first()
        asked.append(first.name if items is None else items.attributes["node"])
        type_ = "error" if payload is None else "result"
        content = payload or NOT_FOUND
        studio.inject(
            f"<iq type='{type_}' id='{request.get('id')}' from='{request.get('to')}' to='{ROMEO}'>{content}</iq>"
        )
    assert studio.world_hears() == []
    return asked


def items(node: str, payload: str) -> str:
    return f"<pubsub xmlns='{ns.PUBSUB}'><items node='{node}'><item id='current'>{payload}</item></items></pubsub>"


JULIET = JID("juliet", "capulet.example")
JULIETS = (
    f"<vcard xmlns='{ns.VCARD4_XML}'><fn><text>Juliet Capulet</text></fn><nickname><text>Jule</text></nickname></vcard>"
)


def test_who_is_elsewhere_is_asked(studio: Studio) -> None:
    waiting = begins(studio, person(studio), "whois", name=JULIET)
    assert answers(studio, items(VCARD4, JULIETS)) == [VCARD4]
    assert waiting.result.text == (
        "juliet@capulet.example (Jule, Juliet Capulet)\n"
        "Lives on capulet.example, which is verified by its certificate.\n"
        "You do not follow them.\nThey do not follow you."
    )


def test_who_has_an_old_vcard_is_asked_for_it(studio: Studio) -> None:
    waiting = begins(studio, person(studio), "whois", name=JID("rosaline", "verona.example"))
    photo = "<PHOTO><BINVAL>no picture</BINVAL></PHOTO>"
    card = f"<vCard xmlns='vcard-temp'><FN>Rosaline</FN><DESC>{'Chaste. ' * 60}</DESC>{photo}</vCard>"
    nick = items(NICK, f"<nick xmlns='{ns.NICK}'>Rose</nick>")
    assert answers(studio, None, card, nick) == [VCARD4, "vCard", NICK]
    lines = waiting.result.text.split("\n")
    assert lines[0] == "rosaline@verona.example (Rose, Rosaline)"
    assert lines[1].startswith('"Chaste. ') and len(lines[1]) == 302
    assert lines[2] == "Lives on verona.example, which is not connected now and so not verified."


def test_who_does_not_answer_is_not_waited_for(studio: Studio, time: Time) -> None:
    waiting = begins(studio, person(studio), "whois", name=JULIET)
    assert len(studio.world_hears()) == 1 and not waiting.called
    time.advance(REMOTE_SECONDS)
    assert "Says nothing, or could not be asked." in waiting.result.text
    assert waiting.result.text.startswith("juliet@capulet.example\n")


def test_a_picture_is_fetched_from_an_address_elsewhere(studio: Studio) -> None:
    linked = person(studio, address="romeo@mantua.example/road")
    waiting = begins(studio, linked, "avatar")
    assert answers(studio, CARD) == ["vCard"]
    assert waiting.result.text == f"Your picture is the one of romeo@mantua.example now ({len(PNG)} bytes, image/png)."
    assert profile(studio) == Profile(avatar=AVATAR)
    assert says(studio, "avatar").text.startswith("Your picture is there.")
    waiting = begins(studio, linked, "avatar")
    answers(studio, None)
    failed: list[Any] = []
    waiting.addErrback(failed.append)
    assert failed[0].check(NotAcceptable) and profile(studio).avatar == AVATAR


def test_who_has_no_picture_is_told_so(studio: Studio) -> None:
    assert says(studio, "avatar").text.startswith("You have no picture.")
