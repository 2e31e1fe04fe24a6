"""``programs`` and ``program``, as they are said."""

from typing import Any

import pytest

from microblog.commands.command import Call, Person, Table
from microblog.commands.parsing import Parser
from microblog.commands.programs import ProgramWords
from microblog.model.errors import ItemNotFound, NotAcceptable, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.program import Program, Source
from microblog.store.database import Database
from microblog.usecases import informing, registering
from tests.commands.test_reading import Names
from tests.conftest import DOMAIN
from tests.im.town import result
from tests.usecases.pubsub import BENVOLIO, ROMEO, an_account

READER = JID.parse("benvolio@montague.example/ci")


class Desk:
    """Benvolio, and what the streams of events are told."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.reads: set[str] = set()
        self.heard: list[tuple[str, Any]] = []
        words = ProgramWords(
            database,
            lambda account, name: READER if account == BENVOLIO and name in self.reads else None,
            lambda account, program: self.heard.append(("changed", (account, program.name))),
            lambda account, name: self.heard.append(("removed", (account, name))),
        )
        self.parser = Parser(table=Table([words]), domain=DOMAIN)

    def says(self, text: str, jid: JID = BENVOLIO) -> str:
        said = result(self.parser.read(text, Names()))
        account = self.database.run(registering.get_account, jid.localpart)
        person = Person(account=account, jid=jid, address=jid.with_resource("phone"))
        return result(said.command.function(Call(person=person, arguments=said.arguments))).text  # type: ignore[no-any-return]  # what the coroutine gives

    def program(self, name: str = "ci") -> Program:
        account = self.database.run(registering.get_account, "benvolio")
        return self.database.run(informing.find, account, name)


@pytest.fixture
def desk(database: Database) -> Desk:
    for jid in (ROMEO, BENVOLIO):
        database.run(an_account, jid)
    return Desk(database)


def test_a_program_is_made_shown_and_ended(desk: Desk) -> None:
    assert desk.says("programs").startswith("You have no programs.")
    assert desk.says("program CI home, calls") == "ci is told of: home, calls."
    assert desk.program().sources == {Source.HOME, Source.CALLS}
    assert desk.says("programs") == "ci: home, calls. It has not come yet."
    desk.reads.add("ci")
    assert desk.says("program ci") == "ci: home, calls. Read by benvolio@montague.example/ci now."
    desk.reads.clear()
    desk.database.run(informing.acknowledge, desk.program().key, desk.program().position)
    assert desk.says("program ci") == "ci: home, calls. Last heard on 2026-01-01 12:00 (UTC)."
    assert desk.says("program ci own") == "ci is told of: own."
    assert desk.says("program ci off") == "ci is no more, nor what waited for it."
    ours = (BENVOLIO, "ci")
    assert desk.heard == [("changed", ours), ("changed", ours), ("removed", ours)]
    with pytest.raises(ItemNotFound):
        desk.says("program ci off")


def test_programs_are_ones_own(desk: Desk) -> None:
    desk.says("program ci home")
    assert desk.says("programs", ROMEO).startswith("You have no programs.")
    with pytest.raises(ItemNotFound):
        desk.says("program ci", ROMEO)


@pytest.mark.parametrize(
    "text", ["program ../ci home", "program ci everything", "program ci home off", "program é home"]
)
def test_what_makes_no_sense(desk: Desk, text: str) -> None:
    with pytest.raises(NotAcceptable):
        desk.says(text)
    assert not desk.heard


def test_a_webhook_is_shown_and_not_ended_here(desk: Desk) -> None:
    account = desk.database.run(registering.get_account, "benvolio")
    wanted = informing.Make(account=account, name="lift", sources=frozenset({Source.TRACK}), url="https://example.org/")
    desk.database.run(informing.make, wanted)
    assert desk.says("programs") == "lift: track. It is called by this node."
    with pytest.raises(NotAcceptable):
        desk.says("program lift off")


def test_one_has_only_so_many(desk: Desk) -> None:
    for number in range(informing.PROGRAMS_MAX):
        desk.says(f"program p{number} home")
    with pytest.raises(ResourceConstraint):
        desk.says("program more home")
    assert len(desk.says("programs").splitlines()) == informing.PROGRAMS_MAX
