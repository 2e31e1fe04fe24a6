"""Answers, repetitions, reactions, private words and nudges, as they are said."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.commands.command import Answer, Call, Person, Table
from microblog.commands.conversing import ConversationWords
from microblog.commands.parsing import Misread, Parser
from microblog.commands.posting import Posting, PostingWords
from microblog.commands.texts import has
from microblog.model.draft import Draft
from microblog.model.entry import HEART, Entry
from microblog.model.errors import (
    BadRequest,
    Conflict,
    ItemNotFound,
    NotAllowed,
    RecipientUnavailable,
    Refusal,
)
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.model.uri import ItemAddress, item_uri, node_uri
from microblog.runtime import Clock
from microblog.store.database import Database, Transaction
from microblog.usecases import conversing, copying, following, receiving, registering, retracting
from microblog.wire import atom, ns, pubsub
from microblog.wire.xml import Element
from microblog.xep.microblog import Prepared, prepare
from tests.conftest import DOMAIN, Time
from tests.im.town import Client, Town, result
from tests.xmltext import read, read_all

ROMEO, BENVOLIO = JID("romeo", DOMAIN), JID("benvolio", DOMAIN)
JULIET = JID.parse("juliet@capulet.example")
NIGHT = ItemAddress(JULIET, MICROBLOG, "night")
COMMENTS = COMMENTS_PREFIX + "night"


class Names:
    """Whom and what a person can mean: people here, and posts by number."""

    def __init__(self, verona: "Verona") -> None:
        self._verona = verona

    async def person(self, name: str) -> JID | None:
        return JID(name, DOMAIN) if name in ("romeo", "benvolio", "tybalt") else None

    async def item(self, number: int) -> ItemAddress | None:
        return self._verona.numbers.get(number)

    async def newest(self) -> ItemAddress | None:
        return self._verona.numbers[max(self._verona.numbers)] if self._verona.numbers else None


class Verona(Town):
    """People who talk to each other through the node."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self.settle("romeo", "benvolio")
        self.numbers: dict[int, ItemAddress] = {}
        self.woken: list[str] = []

        def prepared(service: JID, request: pubsub.Publish) -> Prepared:
            return prepare(service, request, 5000)

        self.posting = Posting(database, clock.now, prepared, lambda account: None)
        self.words = ConversationWords(database, self.posting, self.router, self.woken.append, clock.now)
        table = Table([self.words, PostingWords(database, self.posting)])
        self.parser = Parser(table=table, domain=DOMAIN)

    def person(self, name: str = "romeo", *, linked: bool = False) -> Person:
        account = self.database.run(registering.get_account, name)
        jid = account.jid(DOMAIN)
        address = JID.parse(f"{name}@verona.example/a") if linked else jid.with_resource("a")
        return Person(account=account, jid=jid, address=address, linked=linked)

    def says(self, text: str, name: str = "romeo", *, linked: bool = False) -> Answer:
        reading = result(self.parser.read(text, Names(self)))
        call = Call(person=self.person(name, linked=linked), arguments=reading.arguments)
        return result(reading.command.function(call))  # type: ignore[no-any-return]  # what the coroutine gives

    def posts(self, text: str, name: str = "benvolio", number: int = 1, **more: Any) -> ItemAddress:
        call = Call(person=self.person(name))
        done = result(self.posting.post(call, Draft(text=text, **more))).published
        address = self.numbers[number] = ItemAddress(done.node.service, done.node.name, done.item.id)
        return address

    def newest(self, name: str = "romeo", node: str = MICROBLOG) -> tuple[Item, Entry]:
        def newest(tx: Transaction) -> Item:
            found = tx.nodes.find(JID(name, DOMAIN), node)
            assert found is not None
            (item,) = tx.items.newest(found.key, 1)
            return item

        item = self.database.run(newest)
        entry = atom.read_text(item.payload)
        assert entry is not None
        return item, entry

    def owed(self) -> list[Element]:
        """What other servers are owed."""

        def rows(tx: Any) -> list[str]:
            return [row[0] for row in tx.connection.exec_driver_sql("SELECT stanza FROM outbox ORDER BY id") if row[0]]

        return read_all("".join(self.database.run(rows)))

    def hears_of_juliet(self, audience: Audience = Audience.PUBLIC, published: str = "2026-01-01T11:59:00Z") -> None:
        """Romeo follows Juliet, who has posted something."""
        self.database.run(receive_night, audience, published)
        self.numbers[7] = NIGHT


def night(published: str = "2026-01-01T11:59:00Z") -> str:
    return (
        f"<entry xmlns='{ns.ATOM}'><title>Good night!</title><id>tag:night</id><published>{published}</published>"
        f"<updated>{published}</updated><author><name>Juliet</name><uri>xmpp:{JULIET}</uri></author>"
        f"<link rel='replies' href='{node_uri(JULIET, COMMENTS)}'/>"
        "<geoloc xmlns='http://jabber.org/protocol/geoloc'><text>balcony</text></geoloc></entry>"
    )


def receive_night(tx: Transaction, audience: Audience, published: str) -> None:
    state = SubscriptionState.SUBSCRIBED
    following.record_subscribe(tx, following.Follow(account=ROMEO, service=JULIET, node=MICROBLOG, state=state))
    item = copying.ReceivedItem(id="night", payload=night(published), entry=atom.read_text(night(published)))
    received = receiving.Received(
        service=JULIET,
        node=MICROBLOG,
        recipient=ROMEO,
        sender_domain="capulet.example",
        proof=Proof.CERTIFICATE,
        published=(item,),
    )
    receiving.receive(tx, received)
    node = tx.nodes.find(JULIET, MICROBLOG)
    assert node is not None
    tx.items.set_audience(node.key, Audience.FOLLOWERS, audience)


@pytest.fixture
def verona(database: Database, clock: Clock) -> Verona:
    return Verona(database, clock)


def test_every_word_has_its_texts(verona: Verona) -> None:
    for command in verona.words.commands():
        names = ["summary", "example", *(parameter.name for parameter in command.parameters)]
        assert [name for name in names if not has(f"{command.group}.{command.name}.{name}")] == []


# answering


@pytest.mark.parametrize("text", ["reply #1 So it is.", "r benvolio So it is.", "#1 So it is.", "r So it is."])
def test_an_answer_is_in_the_thread_of_what_it_answers(verona: Verona, text: str) -> None:
    answered = verona.posts("Is it so?")
    answer = verona.says(text)
    item, entry = verona.newest()
    assert (entry.text, item.answers) == ("So it is.", answered.uri)
    assert item.thread == node_uri(BENVOLIO, f"{COMMENTS_PREFIX}{answered.item_id}")
    assert entry.mentions == (BENVOLIO,)
    assert answer.done == ItemAddress(ROMEO, MICROBLOG, item.id)
    assert verona.newest("benvolio", f"{COMMENTS_PREFIX}{answered.item_id}")[0].id == item.id


def test_an_answer_goes_to_the_thread_of_somebody_elsewhere(verona: Verona) -> None:
    verona.hears_of_juliet()
    verona.says("r #7 Parting is such sweet sorrow.")
    item, _ = verona.newest()
    # It is put where she hears of it; she need not be told in words as well.
    (copied,) = verona.owed()
    assert (copied.get("from"), copied.get("to"), copied.get("type")) == (str(ROMEO), str(JULIET), "set")
    publish = next(copied.find_all(ns.PUBSUB, "pubsub")).find(ns.PUBSUB, "publish")
    assert publish is not None and publish.get("node") == COMMENTS
    copy = publish.find(ns.PUBSUB, "item")
    assert copy is not None and copy.get("id") == item.id
    verona.says("delete last")
    (*_, withdrawn) = [stanza for stanza in verona.owed() if stanza.name == "iq"]
    retract = next(withdrawn.find_all(ns.PUBSUB, "pubsub")).find(ns.PUBSUB, "retract")
    assert retract is not None and retract.get("node") == COMMENTS


def test_an_answer_is_for_nobody_who_does_not_read_what_it_answers(verona: Verona) -> None:
    verona.posts("Between us", audience=Audience.LOCAL)
    verona.says("r #1 Yes")
    assert verona.newest()[0].audience is Audience.LOCAL
    assert verona.owed() == []


def test_what_is_said_to_somebody_answers_what_they_have_just_posted(verona: Verona, time: Time) -> None:
    answered = verona.posts("Is it so?")
    time.advance(599)
    verona.says("@benvolio It is.")
    item, entry = verona.newest()
    assert (item.answers, entry.text) == (answered.uri, "It is.")


@pytest.mark.parametrize("posted", [True, False])
def test_what_is_said_to_somebody_who_posted_nothing_lately_names_them(
    verona: Verona, time: Time, posted: bool
) -> None:
    if posted:
        verona.posts("Is it so?")
    time.advance(601)
    verona.says("@benvolio Good morrow!")
    item, entry = verona.newest()
    assert (item.answers, entry.text, entry.mentions) == ("", "@benvolio Good morrow!", (BENVOLIO,))


def test_what_is_said_to_somebody_elsewhere_reaches_them(verona: Verona) -> None:
    verona.says("@juliet@capulet.example Good morrow!")
    (told,) = verona.owed()
    assert (told.get("from"), told.get("to"), told.get("type")) == (str(ROMEO), str(JULIET), "chat")
    assert (told.child_text(ns.CLIENT, "body") or "").startswith("@juliet@capulet.example Good morrow!\nxmpp:romeo@")


def answers(verona: Verona, items: str, node: str = COMMENTS) -> None:
    """Juliet's service answers what it was asked for."""
    (asked,) = verona.world_hears()
    content = f"<pubsub xmlns='{ns.PUBSUB}'><items node='{node}'>{items}</items></pubsub>"
    kind = "result"
    if not items:
        kind, content = "error", f"<error type='cancel'><item-not-found xmlns='{ns.STANZAS}'/></error>"
    verona.inject(
        f"<iq type='{kind}' id='{asked.get('id')}' from='{asked.get('to')}' to='{asked.get('from')}'>{content}</iq>"
    )


def begin(verona: Verona, text: str) -> list[Any]:
    """Say something that is not answered at once."""
    reading = result(verona.parser.read(text, Names(verona)))
    outcome: list[Any] = []
    call = Call(person=verona.person(), arguments=reading.arguments)
    Deferred.fromCoroutine(reading.command.function(call)).addBoth(outcome.append)
    assert outcome == []
    return outcome


def comment(audience: str = "") -> str:
    mark = f"<audience xmlns='{ns.AUDIENCE}'>{audience}</audience>" if audience else ""
    return (
        f"<item id='c1' publisher='nurse@verona.example'><entry xmlns='{ns.ATOM}'><title>Madam!</title>"
        f"<link rel='replies' href='{node_uri(JULIET, COMMENTS)}'/>{mark}</entry></item>"
    )


def test_a_comment_elsewhere_is_fetched_to_be_answered(verona: Verona) -> None:
    verona.numbers[8] = ItemAddress(JULIET, COMMENTS, "c1")
    outcome = begin(verona, "r #8 Anon!")
    answers(verona, comment())
    answers(verona, comment())  # a stranger as well
    assert isinstance(outcome[0], Answer), outcome
    item, entry = verona.newest()
    assert (item.answers, item.thread) == (item_uri(JULIET, COMMENTS, "c1"), node_uri(JULIET, COMMENTS))
    assert entry.mentions == (JID.parse("nurse@verona.example"),)
    assert [stanza.get("to") for stanza in verona.owed()] == ["nurse@verona.example", str(JULIET)]


def test_what_says_of_itself_that_it_is_for_some_is_answered_for_some(verona: Verona) -> None:
    verona.numbers[8] = ItemAddress(JULIET, COMMENTS, "c1")
    begin(verona, "r #8 Anon!")
    answers(verona, comment("followers"))
    assert verona.newest()[0].audience is Audience.FOLLOWERS


def test_what_is_not_there_either_is_not_answered(verona: Verona) -> None:
    verona.numbers[8] = ItemAddress(JULIET, COMMENTS, "c1")
    outcome = begin(verona, "r #8 Anon!")
    answers(verona, "")
    assert outcome[0].check(ItemNotFound), outcome


def test_what_is_gone_is_not_answered(verona: Verona) -> None:
    verona.posts("Is it so?")
    verona.says("delete last", "benvolio")
    for text in ("r #1 It is.", "fav #1", "repost #1"):
        with pytest.raises(ItemNotFound):
            verona.says(text)


# repeating


@pytest.mark.parametrize("word", ["repost", "repeat", "rt", "rp", "rd"])
def test_a_repetition_has_its_author_s_name_and_not_the_place(verona: Verona, word: str) -> None:
    verona.hears_of_juliet()
    verona.says(f"{word} #7")
    item, entry = verona.newest()
    assert (item.via, entry.text, entry.author_name) == (NIGHT.uri, "Good night!", "Juliet")
    assert entry.author_uri == f"xmpp:{JULIET}" and entry.location is None


def test_one_repeats_once(verona: Verona) -> None:
    verona.hears_of_juliet()
    verona.says("rt #7")
    for number in (7, 8):
        with pytest.raises(Conflict):
            verona.says(f"rt #{number}")
        item, _ = verona.newest()
        verona.numbers[8] = ItemAddress(ROMEO, MICROBLOG, item.id)


def test_a_quotation_has_both(verona: Verona) -> None:
    verona.hears_of_juliet()
    verona.says("rt #7 Sleep dwell upon thine eyes!")
    item, entry = verona.newest()
    assert item.via == NIGHT.uri
    assert "Good night!" in entry.content and "Sleep dwell upon thine eyes!" in entry.content
    assert entry.author_uri == f"xmpp:{ROMEO}"


@pytest.mark.parametrize("audience", [Audience.FOLLOWERS, Audience.LOCAL, Audience.DIRECT])
def test_only_what_is_public_is_repeated(verona: Verona, audience: Audience) -> None:
    if audience is Audience.DIRECT:
        call = Call(person=verona.person("benvolio"))
        posted = result(verona.posting.post(call, Draft(text="Psst", audience=audience), readers=(ROMEO,)))
        verona.numbers[1] = ItemAddress(BENVOLIO, MICROBLOG, posted.published.item.id)
    else:
        verona.posts("Psst", audience=audience)
    with pytest.raises((NotAllowed, ItemNotFound)):
        verona.says("rt #1")
    with pytest.raises((NotAllowed, ItemNotFound)):
        verona.says("rt #1 He says")


def test_repetitions_go_with_what_they_repeat(verona: Verona) -> None:
    verona.posts("Is it so?")
    verona.says("rt #1")
    verona.says("rt #1 Well said")
    verona.says("delete last", "benvolio")

    def posts(tx: Transaction) -> int:
        node = tx.nodes.find(ROMEO, MICROBLOG)
        assert node is not None
        return tx.items.count(node.key)

    assert verona.database.run(posts) == 0


def test_what_is_said_to_a_repetition_is_said_to_what_it_repeats(verona: Verona) -> None:
    verona.hears_of_juliet()
    verona.says("rt #7")
    item, _ = verona.newest()
    verona.numbers[8] = ItemAddress(ROMEO, MICROBLOG, item.id)
    verona.says("r #8 Thou as well", "benvolio")
    assert verona.newest("benvolio")[0].answers == NIGHT.uri
    verona.says("fav #8", "benvolio")
    assert verona.database.run(conversing.reactions, NIGHT) == {HEART: 1}


# reacting


@pytest.mark.parametrize("text", ["fav #1", "like benvolio", "+1", "react #1 ❤️", "react ♥"])
def test_a_heart(verona: Verona, text: str) -> None:
    address = verona.posts("Is it so?")
    assert "benvolio" in verona.says(text).text
    assert verona.database.run(conversing.reactions, address) == {HEART: 1}
    again = verona.says("fav #1").text
    assert "already" in again
    verona.says("unfav #1")
    assert verona.database.run(conversing.reactions, address) == {}


def test_other_emoji(verona: Verona) -> None:
    address = verona.posts("Is it so?")
    for emoji in ("👏", "🇮🇹", "👩‍🚀", "1️⃣"):
        verona.says(f"react #1 {emoji}")
    assert verona.database.run(conversing.reactions, address) == dict.fromkeys(("👏", "🇮🇹", "👩‍🚀", "1️⃣"), 1)
    for text in ("yes", "<b>", "x" * 100):
        with pytest.raises(BadRequest):
            verona.says(f"react #1 {text}")
    verona.says("react #1 none")
    assert verona.database.run(conversing.reactions, address) == {}


def test_a_client_s_reactions_are_all_there_are(verona: Verona) -> None:
    address = verona.posts("Is it so?")
    verona.says("react #1 👏")
    result(verona.words.set_reactions(verona.person(), address, ("❤️", "🎉", "words")))
    assert verona.database.run(conversing.reactions, address) == dict.fromkeys((HEART, "🎉"), 1)
    with pytest.raises(BadRequest):
        result(verona.words.set_reactions(verona.person(), address, ("words",)))
    assert verona.database.run(conversing.reactions, address) == dict.fromkeys((HEART, "🎉"), 1)
    result(verona.words.set_reactions(verona.person(), address, ()))
    assert verona.database.run(conversing.reactions, address) == {}


def test_a_heart_for_somebody_elsewhere(verona: Verona) -> None:
    verona.hears_of_juliet()
    verona.says("fav #7")
    attached, heart = verona.owed()
    assert {stanza.get("to") for stanza in (attached, heart)} == {str(JULIET)}
    assert verona.woken == ["capulet.example"]
    (publish,) = next(attached.find_all(ns.PUBSUB, "pubsub")).elements()
    assert publish.get("node") == f"urn:xmpp:pubsub-attachments:1/{NIGHT.uri}"
    (item,) = publish.elements()
    assert item.get("id") == str(ROMEO)
    payload = item.first()
    assert payload is not None
    assert payload.find(ns.ATTACHMENTS, "reactions") is not None
    (publish,) = next(heart.find_all(ns.PUBSUB, "pubsub")).elements()
    payload = next(publish.elements()).first()
    assert payload is not None
    entry = atom.read_entry(payload)
    assert publish.get("node") == COMMENTS and entry is not None and entry.is_heart
    verona.says("unfav #7")
    withdrawals = [next(stanza.elements()).first() for stanza in verona.owed()[2:]]
    assert [verb.name if verb else "" for verb in withdrawals] == ["retract"] * 2


def test_at_an_address_elsewhere_there_is_nothing_local_to_react_to(verona: Verona) -> None:
    verona.posts("Between us", audience=Audience.LOCAL)
    verona.says("fav #1")
    for text in ("fav #1", "r #1 Yes", "fav benvolio"):
        with pytest.raises(ItemNotFound):
            verona.says(text, linked=True)


# from one to another


def test_a_private_word_is_an_ordinary_message(verona: Verona) -> None:
    benvolio = verona.online("benvolio", "phone")
    verona.says("d benvolio Meet me, and tell @juliet@capulet.example nothing.")
    benvolio.receives(
        f"<message type='chat' id='*' from='{ROMEO}' to='{BENVOLIO}'>"
        "<body>Meet me, and tell @juliet@capulet.example nothing.</body></message>"
    )
    assert verona.owed() == []


@pytest.mark.parametrize("word", ["d", "dm", "tell"])
def test_a_private_word_to_somebody_elsewhere_waits_until_it_is_taken(verona: Verona, word: str) -> None:
    verona.says(f"{word} juliet@capulet.example It is the east.")
    (message,) = verona.owed()
    expected = (
        f"<message type='chat' id='{message.get('id')}' from='{ROMEO}' to='{JULIET}'>"
        "<body>It is the east.</body></message>"
    )
    assert message == read(expected)
    assert verona.woken == ["capulet.example"]


@pytest.mark.parametrize("text", ["d", "d benvolio", "d mercutio Come!", "tell nobody"])
def test_a_private_word_that_is_not_understood_is_never_offered_as_a_post(verona: Verona, text: str) -> None:
    with pytest.raises(Misread) as misread:
        verona.says(text)
    assert misread.value.offer is False


def test_nobody_is_told_what_is_for_somebody_who_is_not_there(verona: Verona) -> None:
    with pytest.raises(Refusal):
        verona.says("d tybalt Come!")


def test_a_nudge_is_one_a_day(verona: Verona, time: Time) -> None:
    benvolio = verona.online("benvolio", "phone")
    verona.says("nudge benvolio")
    (nudged,) = benvolio.hears()
    assert nudged.get("from") == str(ROMEO)
    assert nudged.find(ns.ATTENTION, "attention") is not None
    assert (nudged.child_text(ns.CLIENT, "body") or "").startswith("romeo nudges you")
    with pytest.raises(Conflict):
        verona.says("nudge benvolio")
    time.advance(86_400)
    verona.says("nudge benvolio")
    with pytest.raises(NotAllowed):
        verona.says("nudge romeo")


def shows(client: Client, show: str) -> None:
    client.sends(f"<presence><show>{show}</show></presence>")
    client.hears()


def test_nobody_is_nudged_who_does_not_want_to_be_disturbed(verona: Verona) -> None:
    phone, desk = verona.online("benvolio", "phone"), verona.online("benvolio", "desk")
    shows(phone, "dnd")
    shows(desk, "dnd")
    with pytest.raises(RecipientUnavailable):
        verona.says("nudge benvolio")
    shows(desk, "away")
    desk.hears(), phone.hears()
    verona.says("nudge benvolio")
    assert len(phone.hears()) == len(desk.hears()) == 1


def test_a_nudge_goes_elsewhere(verona: Verona) -> None:
    verona.says("nudge juliet@capulet.example")
    (message,) = verona.owed()
    assert message.get("to") == str(JULIET)
    assert (message.child_text(ns.CLIENT, "body") or "").startswith(f"{ROMEO} nudges you")


def test_retracting_elsewhere_does_not_touch_what_is_of_others(verona: Verona) -> None:
    verona.hears_of_juliet()
    verona.says("fav #7")
    request = retracting.Retract(service=JULIET, node=MICROBLOG, actor=ROMEO, item_id="night")
    with pytest.raises(ItemNotFound):
        verona.database.run(retracting.retract, request)
