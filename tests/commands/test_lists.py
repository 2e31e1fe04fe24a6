"""Lists of people, as they are said; and reading them."""

from collections.abc import Iterable
from typing import Any

import pytest

from microblog.commands.command import Answer, Call, Command, Person, Table
from microblog.commands.lists import ListWords
from microblog.commands.parsing import Parser
from microblog.commands.reading import ReadingWords
from microblog.model.errors import ItemNotFound, Refusal
from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.usecases import registering
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from tests.conftest import DOMAIN, Time
from tests.im.town import result
from tests.usecases.pubsub import BENVOLIO, JULIET, ROMEO, an_account
from tests.usecases.timelines import arrives, writes

PEOPLE = ("romeo", "benvolio", "mercutio")


class Names:
    async def person(self, name: str) -> JID | None:
        return JID(name, DOMAIN) if name in PEOPLE else None

    async def item(self, number: int) -> None:
        return None

    async def newest(self) -> None:
        return None


class Posts:
    """Where what is no command goes."""

    def commands(self) -> Iterable[Command]:
        async def post(call: Call) -> Answer:
            raise AssertionError("posted")

        yield Command(name="post", group="posting", function=post)


class Desk:
    """Benvolio, who has lists."""

    def __init__(self, database: Database, time: Time) -> None:
        self.database = database
        self.changed: list[tuple[str, str]] = []
        words = ListWords(database, lambda owner, name: self.changed.append((str(owner), name)))
        self.parser = Parser(table=Table([words, ReadingWords(database, self._ask, time.now), Posts()]), domain=DOMAIN)
        self.last = Answer()

    async def _ask(self, type_: str, from_: JID, to: JID, payload: Element) -> Stanza:
        raise ItemNotFound("nothing is elsewhere")

    def says(self, text: str) -> str:
        account = self.database.run(registering.get_account, "benvolio")
        person = Person(account=account, jid=BENVOLIO, address=BENVOLIO.with_resource("street"))
        said = result(self.parser.read(text, Names()))
        self.last = result(said.command.function(Call(person=person, arguments=said.arguments)))
        return self.last.text

    def ids(self, text: str) -> list[str]:
        self.says(text)
        return [post.item.id for post in self.last.posts]

    def is_refused(self, text: str) -> str:
        with pytest.raises(Refusal) as refused:
            self.says(text)
        return refused.value.text


@pytest.fixture
def desk(database: Database, time: Time) -> Desk:
    def people(tx: Any) -> None:
        for name in PEOPLE:
            an_account(tx, JID(name, DOMAIN))

    database.run(people)
    return Desk(database, time)


def test_putting_people_into_lists_and_reading_them(desk: Desk) -> None:
    assert desk.says("lists") == 'You have no lists. "list NAME LIST" puts somebody into one.'
    assert desk.says("list romeo Friends") == (
        'romeo is in "friends" now (1). "timeline friends" shows what they write.'
    )
    assert "so that nothing of theirs comes here" in desk.says(f"list {JULIET} friends")
    desk.database.run(lambda tx: arrives(tx, JULIET, "far", 5, to=ROMEO))
    assert "nothing of theirs" not in desk.says(f"list {JULIET} friends")
    desk.database.run(lambda tx: writes(tx, ROMEO, "near", 4))
    desk.database.run(lambda tx: writes(tx, JID("mercutio", DOMAIN), "other", 3))
    assert desk.ids("timeline friends") == ["far", "near"]
    assert desk.ids("timeline FRIENDS 1") == ["near"] and desk.last.more is not None
    assert desk.says("lists").splitlines()[1:] == ["friends (2)"]
    assert desk.says("lists friends") == f"In friends (2): {JULIET}, romeo."
    assert desk.says("unlist romeo friends") == 'romeo is not in "friends" any more (1 are).'
    assert desk.ids("timeline friends") == ["far"]
    assert desk.says("unlist all friends") == 'There is no list "friends" any more.'
    assert "There is no timeline" in desk.is_refused("timeline friends")
    assert desk.changed == [(str(BENVOLIO), "friends")] * 5


def test_what_cannot_be_done(desk: Desk) -> None:
    assert desk.is_refused("unlist romeo friends") == 'romeo is not in a list "friends" of yours.'
    assert desk.is_refused("unlist all friends") == desk.is_refused("lists friends") == 'You have no list "friends".'
    for name in ("home", "a/b", "#tag", "x" * 41):
        assert desk.is_refused(f"list romeo {name}").startswith(f'A list cannot be called "{name[:40]}"')
    assert desk.changed == []


def test_a_list_that_is_called_like_somebody_is_meant_first(desk: Desk) -> None:
    desk.database.run(lambda tx: writes(tx, ROMEO, "his", 4))
    desk.database.run(lambda tx: writes(tx, JID("mercutio", DOMAIN), "other", 3))
    assert desk.ids("timeline romeo") == ["his"]
    desk.says("list mercutio romeo")
    assert desk.ids("timeline romeo") == ["other"]
    assert desk.ids("get romeo") == ["his"]
    desk.says("unlist mercutio romeo")
    assert desk.ids("timeline romeo") == ["his"]
