"""``hook``, as it is said."""

import pytest

from microblog.commands.command import Call, Person, Table
from microblog.commands.hooks import HookWords
from microblog.commands.parsing import Misread, Parser
from microblog.model.errors import Conflict, ItemNotFound, NotAcceptable, ResourceConstraint
from microblog.store.database import Database
from microblog.store.webhooks import Webhook
from microblog.usecases import hooking, registering
from microblog.wire import webhook as signing
from tests.commands.test_reading import Names, Posts
from tests.conftest import DOMAIN
from tests.im.town import result
from tests.usecases.pubsub import ROMEO, an_account

URL = "https://ci.montague.example/Events?a=1,2"


class Desk:
    """Romeo, who has a program."""

    def __init__(self, database: Database, *, private: bool = False) -> None:
        self.database = database
        self.changes = 0
        words = HookWords(database, self._changed, private=private)
        self.parser = Parser(table=Table([words, Posts()]), domain=DOMAIN)

    def _changed(self) -> None:
        self.changes += 1

    def says(self, text: str) -> str:
        said = result(self.parser.read(text, Names()))
        account = self.database.run(registering.get_account, "romeo")
        person = Person(account=account, jid=ROMEO, address=ROMEO, linked=False)
        return result(said.command.function(Call(person=person, arguments=said.arguments))).text

    def hooks(self) -> list[tuple[Webhook, set[str]]]:
        return [(webhook, set(program.sources)) for webhook, program in self.database.run(hooking.everybodys)]


@pytest.fixture
def desk(database: Database) -> Desk:
    database.run(an_account, ROMEO)
    return Desk(database)


def test_one_is_made_shown_and_ended(desk: Desk) -> None:
    said = desk.says(f"hook Builds {URL} calls mentions")
    ((webhook, sources),) = desk.hooks()
    assert (webhook.name, webhook.url, sources) == ("builds", URL, {"calls", "mentions"})
    assert said.endswith(webhook.secret)
    assert len(signing.read_secret(webhook.secret)) == signing.SECRET_BYTES
    shown = desk.says("hook builds")
    assert URL in shown
    assert webhook.secret not in shown
    assert desk.says("hook builds off") == "builds is called no more."
    assert desk.hooks() == []
    assert desk.changes == 2


def test_without_sources_it_is_told_what_most_programs_want(desk: Desk) -> None:
    desk.says(f"hook builds {URL}")
    assert desk.hooks()[0][1] == {"own", "mentions", "home"}


def test_one_that_was_given_up_is_called_again(desk: Desk) -> None:
    desk.says(f"hook builds {URL} own")
    key = desk.hooks()[0][0].key
    desk.database.run(lambda tx: hooking.failed(tx, key, "the answer is 503", pause=None, final=False))
    assert "not taken 1 times: the answer is 503" in desk.says("hook builds")
    desk.database.run(lambda tx: hooking.failed(tx, key, "the answer is 410", pause=None, final=True))
    assert "given up: the answer is 410" in desk.says("hook builds")
    assert desk.says("hook builds again") == "builds is called again."
    assert "goes well" in desk.says("hook builds")


@pytest.mark.parametrize(
    "text",
    [
        "hook builds http://ci.montague.example/",
        "hook builds ftp://ci.montague.example/",
        "hook builds file:///etc/passwd",
        "hook builds https://romeo:secret@ci.montague.example/",
        "hook builds me up",
        f"hook builds {URL} everything",
        f"hook ../builds {URL}",
        f"hook {'b' * 100} {URL}",
        f"hook builds https://{'a' * 3000}.example/",
    ],
)
def test_what_makes_none(desk: Desk, text: str) -> None:
    with pytest.raises(NotAcceptable):
        desk.says(text)
    assert desk.hooks() == []
    assert desk.changes == 0


def test_plain_http_where_the_administrator_allows_it(database: Database) -> None:
    database.run(an_account, ROMEO)
    desk = Desk(database, private=True)
    desk.says("hook builds http://127.0.0.1:8080/")
    assert desk.hooks()


def test_nobody_elses_and_not_very_many(desk: Desk) -> None:
    with pytest.raises(ItemNotFound):
        desk.says("hook builds")
    with pytest.raises(ItemNotFound):
        desk.says("hook builds off")
    for number in range(hooking.EACH_MAX):
        desk.says(f"hook builds{number} {URL}")
    with pytest.raises(ResourceConstraint):
        desk.says(f"hook another {URL}")
    with pytest.raises(Conflict):
        desk.says(f"hook builds0 {URL}")


def test_it_is_never_posted(desk: Desk) -> None:
    for text in ("hook", "hook "):
        with pytest.raises(Misread):
            result(desk.parser.read(text, Names()))
