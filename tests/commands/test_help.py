"""Help, as somebody new reads it: of a node that is put together as when it serves."""

from dataclasses import replace
from pathlib import Path

import pytest
from twisted.internet import task

from microblog.app import Node
from microblog.commands.command import Call, Command, Person
from microblog.commands.help import Help, explain
from microblog.commands.parsing import Parser
from microblog.commands.texts import has, say
from microblog.config import Config, NodeSection
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress
from microblog.store.database import Database
from microblog.usecases import registering
from microblog.xep.chat import Chat
from microblog.xmpp.tls import Certificates
from tests.conftest import DOMAIN, Time
from tests.im.town import result

LINES_MAX = 12
LINE_MAX_CHARACTERS = 120


class Everybody:
    """All names and numbers there might be."""

    async def person(self, name: str) -> JID | None:
        return JID(name, DOMAIN)

    async def item(self, number: int) -> ItemAddress | None:
        return ItemAddress(JID("juliet", DOMAIN), MICROBLOG, str(number))

    async def newest(self) -> ItemAddress | None:
        return await self.item(1)


@pytest.fixture
def help_(database: Database, time: Time, tmp_path: Path) -> Help:
    node = Node(Config(node=NodeSection(domain=DOMAIN)), task.Clock())
    node.database = database
    node.certificates = Certificates(DOMAIN, None, None, None, tmp_path)
    node.compose()
    (chat,) = [extension for extension in node.extensions if isinstance(extension, Chat)]
    return chat._help


@pytest.fixture
def romeo(database: Database) -> Person:
    database.run(registering.create_account, "romeo", "secret")
    account = database.run(registering.get_account, "romeo")
    return Person(account=account, jid=JID("romeo", DOMAIN), address=JID("romeo", DOMAIN))


def asked(help_: Help, person: Person, word: str = "") -> str:
    return result(help_.help(Call(person=person, arguments={"word": word}))).text  # type: ignore[no-any-return]  # what the coroutine gives


def commands(help_: Help) -> list[Command]:
    return list(help_.table.commands.values())


@pytest.mark.parametrize("admin", [False, True])
def test_help_fits_on_a_small_screen_and_says_how_to_begin(help_: Help, romeo: Person, admin: bool) -> None:
    lines = asked(help_, replace(romeo, account=replace(romeo.account, admin=admin))).splitlines()
    assert len(lines) <= LINES_MAX
    assert all(len(line) <= LINE_MAX_CHARACTERS for line in lines)
    assert lines[0] == "Whatever you write here is posted, unless it begins with one of these words."
    said = " ".join(lines)
    for command in commands(help_):
        told = say("en", "administration.words") if command.name.startswith("admin ") else said
        name = f'"{command.name}' if command.name.startswith("admin ") else f" {command.name}"
        assert name in told or (command.admin and not admin), command.name
    for taught in ('"follow juliet@capulet.example"', '"#12 text"', '"fav #12"', '"more"', '"help follow"', '"\\"'):
        assert taught in said


def test_every_word_is_explained(help_: Help, romeo: Person) -> None:
    assert asked(help_, romeo, "follow") == (
        "follow NAME [public|private], or follow #TAG\n"
        'read what somebody posts, here or anywhere; with "public" everybody can see that you follow them\n'
        "For example: follow juliet@capulet.example\n"
        "Also: sub, f, add"
    )
    for command in commands(help_):
        lines = explain(command, "en").splitlines()
        assert has(f"{command.group}.{command.name}.summary"), command.name
        assert len(lines[0]) <= 60, lines[0]
        # They stand beside each other, and are the names of forms.
        summary = lines[1]
        assert summary[:1].islower() and not summary.endswith("."), summary


def test_every_example_is_what_it_says(help_: Help) -> None:
    parser = Parser(table=help_.table, domain=DOMAIN)
    for command in commands(help_):
        example = say("en", f"{command.group}.{command.name}.example")
        reading = result(parser.read(example, Everybody()))
        assert reading.command.name == command.name, example
        assert not reading.plain, example
