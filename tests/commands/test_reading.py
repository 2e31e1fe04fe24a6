"""Reading, as it is said."""

from collections.abc import Iterable
from typing import Any

import pytest

from microblog.commands.command import Answer, Call, Command, Person, Post, Table
from microblog.commands.parsing import Misread, Parser
from microblog.commands.reading import ReadingWords
from microblog.commands.texts import has
from microblog.model.errors import ItemNotFound, NotAcceptable, Refusal, RemoteServerTimeout
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.uri import ItemAddress, item_uri, node_uri
from microblog.store.database import Database
from microblog.usecases import reading, registering
from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, escape_attribute
from tests.conftest import DOMAIN, Time
from tests.im.town import result
from tests.usecases.pubsub import BENVOLIO, JULIET, ROMEO, an_account, configure, retract, subscribe
from tests.usecases.timelines import arrives, writes
from tests.xmltext import read

MERCUTIO = JID("mercutio", DOMAIN)
PHONE = "phone"


class Names:
    """Everybody who is ours, and one item."""

    def __init__(self, newest: ItemAddress | None = None) -> None:
        self._newest = newest

    async def person(self, name: str) -> JID | None:
        return JID(name, DOMAIN) if name in ("romeo", "benvolio", "mercutio") else None

    async def item(self, number: int) -> ItemAddress | None:
        return self._newest

    async def newest(self) -> ItemAddress | None:
        return self._newest


class Posts:
    """Where what is no command goes."""

    def commands(self) -> Iterable[Command]:
        async def post(call: Call) -> Answer:
            raise AssertionError("posted")

        yield Command(name="post", group="posting", function=post)


class Desk:
    """Benvolio, who reads. ``elsewhere``: what other services have, by node; what is not there is refused."""

    def __init__(self, database: Database, time: Time) -> None:
        self.database, self.time = database, time
        self.elsewhere: dict[tuple[str, str], list[str]] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.words = ReadingWords(database, self._ask, time.now)
        self.parser = Parser(table=Table([self.words, Posts()]), domain=DOMAIN)
        self.newest: ItemAddress | None = None
        self.last: Answer | None = None
        self.address = BENVOLIO.with_resource(PHONE)

    async def _ask(self, type_: str, from_: JID, to: JID, payload: Element) -> Stanza:
        items = payload.first()
        assert items is not None and type_ == "get"
        node = items.attributes["node"]
        self.asked.append((str(from_), str(to), node))
        if to.domainpart == "down.example":
            raise RemoteServerTimeout("no answer in time")
        found = self.elsewhere.get((str(to), node))
        wanted = [item.get("id") for item in items.elements()]
        if found is None:
            return stanza(f"<iq type='error' from='{to}' to='{from_}' id='1'/>")
        chosen = [text for text in found if not wanted or any(f"id='{id_}'" in text for id_ in wanted)]
        return answer(from_, to, node, "".join(chosen))

    def person(self) -> Person:
        account = self.database.run(registering.get_account, "benvolio")
        linked = self.address.domainpart != DOMAIN
        return Person(account=account, jid=BENVOLIO, address=self.address, linked=linked)

    def says(self, text: str) -> list[str]:
        """The ids of the posts that are shown."""
        said = result(self.parser.read(text, Names(self.newest)))
        return self._shown(said.command.function(Call(person=self.person(), arguments=said.arguments)))

    def more(self) -> list[str]:
        assert self.last is not None and self.last.more is not None, "there is no more"
        return self._shown(self.last.more(Call(person=self.person())))

    def _shown(self, answering: Any) -> list[str]:
        self.last = result(answering)
        assert self.last is not None
        return [post.item.id for post in self.last.posts]

    @property
    def text(self) -> str:
        assert self.last is not None
        return self.last.text

    def posts(self) -> tuple[Post, ...]:
        assert self.last is not None
        return self.last.posts


def answer(asker: JID, service: JID, node: str, items: str) -> Stanza:
    text = (
        f"<iq xmlns='{ns.CLIENT}' type='result' id='1' from='{service}' to='{asker}'>"
        f"<pubsub xmlns='{ns.PUBSUB}'><items node='{escape_attribute(node)}'>{items}</items></pubsub></iq>"
    )
    return stanza(text)


def stanza(text: str) -> Stanza:
    element = read(text)
    from_, to = JID.parse(element.attributes["from"]), JID.parse(element.attributes["to"])
    return Stanza("iq", element.attributes["type"], "1", from_, to, element, Proof.CERTIFICATE)


def noticed(item_id: str, publisher: JID, day: int, *, title: str = "", link: str = "") -> str:
    thread = f"<link rel='replies' href='{escape_attribute(link)}'/>" if link else ""
    return (
        f"<item id='{item_id}' publisher='{publisher}'><entry xmlns='{ns.ATOM}'><title>{title or item_id}</title>"
        f"<published>2025-12-{day:02}T00:00:00Z</published>{thread}</entry></item>"
    )


@pytest.fixture
def desk(database: Database, time: Time) -> Desk:
    def settle(tx: Any) -> None:
        for jid in (ROMEO, BENVOLIO, MERCUTIO):
            an_account(tx, jid)
        subscribe(tx, BENVOLIO)

    database.run(settle)
    return Desk(database, time)


def write(desk: Desk, by: JID, item_id: str, ago: float = 0, **more: Any) -> None:
    desk.database.run(writes, by, item_id, ago, **more)


# home


def test_home_goes_on_where_one_was(desk: Desk) -> None:
    for n in range(6):
        write(desk, ROMEO, f"p{n}", 60 - n)
    assert desk.says("home 2") == ["p4", "p5"]  # who begins, begins with the newest
    assert desk.says("home") == ["p0", "p1", "p2", "p3", "p4", "p5"] and "Nothing new" in desk.text
    for n in range(6, 11):
        write(desk, ROMEO, f"p{n}", 60 - n)
    write(desk, BENVOLIO, "mine", 1)
    write(desk, MERCUTIO, "to me", 1, mentions=(BENVOLIO,))
    assert desk.says("catchup 2") == ["p6", "p7"]
    assert desk.text == 'New posts: 5, to you: 1. "more" for more.'
    assert desk.more() == ["p8", "p9"] and desk.text == 'Still unread: 3. "more" for more.'
    assert desk.more() == ["p10"] and desk.text == "Still unread: 1."
    assert desk.says("missed 2") == ["p10", "mine"]
    assert desk.more() == ["p8", "p9"]


def test_who_never_read_is_shown_the_newest_and_then_what_is_before(desk: Desk) -> None:
    for n in range(5):
        write(desk, ROMEO, f"p{n}", 60 - n)
    assert desk.says("home 2") == ["p3", "p4"]
    assert desk.text == 'New posts: 5, to you: 0. "more" for older ones.'
    assert desk.more() == ["p1", "p2"] and desk.text == '"more" for older ones.'
    assert desk.more() == ["p0"]


def test_home_since(desk: Desk) -> None:
    """It is noon."""
    for hours in (30, 5, 2):
        write(desk, ROMEO, f"p{hours}", 60 * hours)
    assert desk.says("read") == [] and desk.text.startswith("All of your home")
    assert desk.says("home since 9:00") == ["p2"]
    assert desk.says("home since 6h") == ["p5", "p2"]
    assert desk.says("home since 13:00") == ["p5", "p2"]
    assert desk.says("home 1 since 2d") == ["p30"]
    assert desk.more() == ["p5"] and desk.more() == ["p2"]
    assert unread(desk) == (0, 0)  # a cursor does not go back
    for wrong in ("home since soon", "home since 25:00", "home since", "home 5 9:00"):
        with pytest.raises(NotAcceptable):
            desk.says(wrong)


def test_home_of_nobody(desk: Desk) -> None:
    assert desk.says("home") == [] and "follow NAME" in desk.text


def test_who_reads_when_there_is_nothing_begins_there(desk: Desk) -> None:
    assert desk.says("read") == []
    desk.time.advance(60)
    for n in range(3):
        write(desk, ROMEO, f"p{n}", -1)
    assert unread(desk)[0] == 3
    assert desk.says("home 2") == ["p0", "p1"] and desk.text.startswith("New posts: 3")
    assert desk.more() == ["p2"]


def test_what_begins_like_a_word_is_not_posted(desk: Desk) -> None:
    for text in ("home sweet home alone", "read the book", "mentions were made", "get well soon", "timeline of it all"):
        with pytest.raises(Misread):
            desk.says(text)


def test_what_is_read_is_what_was_shown(desk: Desk) -> None:
    write(desk, ROMEO, "p1", 2)
    write(desk, MERCUTIO, "m1", 1, mentions=(BENVOLIO,))
    assert desk.says("timeline") == ["p1"] and unread(desk) == (1, 1)
    assert desk.says("mentions") == ["m1"] and unread(desk) == (1, 0)
    assert desk.says("home") == ["p1"] and unread(desk) == (0, 0)
    write(desk, ROMEO, "p2", mentions=(BENVOLIO,))
    assert desk.says("read all") == [] and unread(desk) == (0, 0)


def unread(desk: Desk) -> tuple[int | None, int | None]:
    account = desk.person().account
    return (
        desk.database.run(reading.unread, account, reading.HOME),
        desk.database.run(reading.unread, account, reading.MENTIONS),
    )


# the newest


def test_timelines(desk: Desk) -> None:
    write(desk, ROMEO, "p1", 5)
    write(desk, MERCUTIO, "m1", 4, tags=("verona",))
    write(desk, MERCUTIO, "m2", 3, audience=Audience.LOCAL)
    assert desk.says("timeline") == desk.says("timeline home") == ["p1"]
    assert desk.says("timeline local") == ["p1", "m1", "m2"]
    assert desk.says("TIMELINE local 2") == ["m1", "m2"] and desk.text == '"more" for older ones.'
    assert desk.more() == ["p1"] and desk.text == ""
    assert desk.says("timeline #Verona") == ["m1"]
    assert desk.says("timeline romeo") == desk.says("get romeo") == ["p1"]
    assert desk.says("timeline #nothing") == [] and desk.text == "There is nothing."
    with pytest.raises(ItemNotFound, match="There is no timeline"):
        desk.says("timeline verona")


def test_nothing_local_goes_to_an_address_elsewhere(desk: Desk) -> None:
    for audience in (Audience.LOCAL, Audience.PUBLIC):
        write(desk, ROMEO, audience.value, audience=audience)
    desk.address = JID.parse("benvolio@capulet.example/phone")
    for said in ("home", "timeline local", "timeline romeo", "get romeo"):
        assert desk.says(said) == ["public"]
    desk.newest = ItemAddress(ROMEO, MICROBLOG, "local")
    with pytest.raises(Refusal):
        desk.says("thread")


def test_somebody_elsewhere(desk: Desk) -> None:
    """Our copy if it is complete, else what their service has."""
    desk.database.run(arrives, JULIET, "j1", 5)
    assert desk.says("get juliet@capulet.example") == ["j1"] and not desk.asked
    nurse = JID.parse("nurse@capulet.example")
    desk.elsewhere[str(nurse), MICROBLOG] = [noticed(f"n{n}", nurse, n) for n in (3, 1, 2)]
    assert desk.says("get nurse@capulet.example 2") == ["n2", "n3"]
    assert desk.asked == [(str(BENVOLIO), str(nurse), MICROBLOG)]
    for nobody in ("tybalt@capulet.example", "tybalt@down.example"):
        with pytest.raises(ItemNotFound, match="had just now"):
            desk.says(f"get {nobody}")
    desk.elsewhere["tybalt@capulet.example", MICROBLOG] = []
    with pytest.raises(ItemNotFound, match="nothing"):
        desk.says("get tybalt@capulet.example")


def test_somebody_who_shows_nothing(desk: Desk) -> None:
    write(desk, ROMEO, "p1")
    desk.database.run(lambda tx: configure(tx, access_model="whitelist"))
    with pytest.raises(ItemNotFound, match="romeo does not show you"):
        desk.says("get romeo")


# threads


def test_a_thread_here(desk: Desk) -> None:
    uri = node_uri(ROMEO, COMMENTS_PREFIX + "root")
    root = item_uri(ROMEO, MICROBLOG, "root")
    write(desk, ROMEO, "root", 90, thread=uri)
    for n in range(25):
        write(desk, MERCUTIO, f"r{n}", 60 - n, thread=uri, answers=root)
    desk.newest = ItemAddress(MERCUTIO, MICROBLOG, "r3")
    assert desk.says("thread") == ["root", *(f"r{n}" for n in range(19))]
    assert desk.text == 'The thread has 26, "more" for more:'
    assert desk.more() == [f"r{n}" for n in range(19, 25)]
    assert desk.says("thread #7")[:2] == ["root", "r0"]
    desk.database.run(lambda tx: retract(tx, "root"))
    with pytest.raises(ItemNotFound):
        desk.newest = ItemAddress(ROMEO, MICROBLOG, "gone")
        desk.says("thread")


def test_a_thread_that_is_kept_elsewhere(desk: Desk) -> None:
    """What is here, and what its author's service has; everything once."""
    comments = COMMENTS_PREFIX + "root"
    uri = node_uri(JULIET, comments)
    write(desk, MERCUTIO, "mine", 60, thread=uri, answers=item_uri(JULIET, MICROBLOG, "root"))
    nurse, tybalt = JID.parse("nurse@capulet.example"), JID.parse("tybalt@verona.example")
    desk.elsewhere[str(JULIET), MICROBLOG] = [noticed("root", JULIET, 1, link=uri), noticed("other", JULIET, 2)]
    desk.elsewhere[str(JULIET), comments] = [
        noticed("c1", nurse, 3),
        noticed("heart", nurse, 4, title="♥"),
        noticed("mine", MERCUTIO, 5),
        noticed("forged", ROMEO, 6),
        noticed("c2", tybalt, 7),
    ]
    desk.newest = ItemAddress(MERCUTIO, MICROBLOG, "mine")
    assert desk.says("thread") == ["root", "c1", "c2", "mine"]
    assert desk.posts()[0].address == ItemAddress(JULIET, MICROBLOG, "root")
    assert desk.posts()[1].address == ItemAddress(JULIET, comments, "c1")
    desk.newest = ItemAddress(JULIET, MICROBLOG, "root")
    assert desk.says("thread") == ["root", "c1", "c2", "mine"]
    del desk.elsewhere[str(JULIET), MICROBLOG], desk.elsewhere[str(JULIET), comments]
    desk.newest = ItemAddress(MERCUTIO, MICROBLOG, "mine")
    assert desk.says("thread") == ["mine"]
    desk.newest = ItemAddress(JULIET, MICROBLOG, "root")
    with pytest.raises(ItemNotFound, match="Nothing is known"):
        desk.says("thread")


def test_the_rest_of_a_thread_is_fetched_when_it_is_wanted(desk: Desk) -> None:
    """Nothing of it is kept until then. What has gone in between leaves no gap, what has come is there."""
    comments = COMMENTS_PREFIX + "root"
    uri, nurse = node_uri(JULIET, comments), JID.parse("nurse@capulet.example")
    desk.elsewhere[str(JULIET), MICROBLOG] = [noticed("root", JULIET, 1, link=uri)]
    said = [noticed(f"c{n}", nurse, 2 + n // 2) for n in range(42)]
    desk.elsewhere[str(JULIET), comments] = said
    desk.newest = ItemAddress(JULIET, MICROBLOG, "root")
    assert desk.says("thread") == ["root", *(f"c{n}" for n in range(19))]
    desk.elsewhere[str(JULIET), comments] = [*said[:3], *said[5:40], noticed("new", nurse, 28)]
    shown = [*desk.more(), *desk.more()]
    assert shown == [*(f"c{n}" for n in range(19, 40)), "new"]
    assert desk.says("thread")[0] == "root"
    del desk.elsewhere[str(JULIET), comments]
    with pytest.raises(ItemNotFound, match="There is nothing"):
        desk.more()


def test_a_service_that_does_not_answer_is_asked_once(desk: Desk) -> None:
    """Whoever waits for a thread has what is here, or a sentence, as soon as it is clear that there is no more."""
    juliet = JID.parse("juliet@down.example")
    uri = node_uri(juliet, COMMENTS_PREFIX + "root")
    write(desk, MERCUTIO, "mine", 60, thread=uri, answers=item_uri(juliet, MICROBLOG, "root"))
    desk.newest = ItemAddress(MERCUTIO, MICROBLOG, "mine")
    assert desk.says("thread") == ["mine"]
    desk.newest = ItemAddress(juliet, MICROBLOG, "root")
    with pytest.raises(ItemNotFound, match="Nothing is known"):
        desk.says("thread")
    assert len(desk.asked) == 2


# texts


def test_every_word_has_its_texts(desk: Desk) -> None:
    for command in desk.words.commands():
        for text in ("summary", "example", *(parameter.name for parameter in command.parameters)):
            assert has(f"reading.{command.name}.{text}"), f"{command.name}.{text}"
