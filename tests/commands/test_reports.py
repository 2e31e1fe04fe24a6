"""The word ``report``, and those of who looks at what was reported."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from microblog.commands.command import Answer, Call, Person, Table
from microblog.commands.reports import ReportWords
from microblog.model.account import Account
from microblog.model.errors import Forbidden, Refusal
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import registering, reporting_abuse
from microblog.xep.reports import Reports
from tests.conftest import DOMAIN
from tests.im.town import result
from tests.usecases.pubsub import BENVOLIO, JULIET, ROMEO, an_account
from tests.usecases.timelines import writes


def run(answering: Awaitable[Answer]) -> Answer:
    answer = result(answering)  # type: ignore[arg-type]  # a coroutine
    assert isinstance(answer, Answer)
    return answer


class Desk:
    """Benvolio reports; Romeo looks after the node."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.told: list[str] = []
        self.woken: list[str] = []
        reports = Reports(database, lambda text, **values: self.told.append(text), self.woken.append, clock)
        self.table = Table([ReportWords(database, reports)])

    def person(self, name: str, *, admin: bool = False, linked: bool = False) -> Person:
        account: Account = self.database.run(registering.get_account, name)
        jid = JID(name, DOMAIN)
        return Person(account=replace(account, admin=admin), jid=jid, address=jid, linked=linked)

    def call(self, word: str, person: Person | None = None, **arguments: Any) -> Answer:
        command = self.table.find(word)
        assert command is not None
        person = person or self.person("benvolio")
        answer = run(command.function(Call(person=person, arguments=arguments)))
        return answer

    def says(self, word: str, person: Person | None = None, **arguments: Any) -> str:
        return self.call(word, person, **arguments).text

    def is_refused(self, word: str, person: Person | None = None, **arguments: Any) -> Refusal:
        with pytest.raises(Refusal) as refused:
            self.call(word, person, **arguments)
        return refused.value


@pytest.fixture
def desk(database: Database, clock: Clock) -> Desk:
    def people(tx: Any) -> None:
        an_account(tx, ROMEO)
        an_account(tx, BENVOLIO)

    database.run(people)
    return Desk(database, clock)


def test_reporting_somebody_and_telling_their_node_later(desk: Desk) -> None:
    assert desk.says("report", target=ROMEO, text="He sighs.") == (
        "Those who look after this node will look at what you said of romeo."
    )
    said = desk.says("report", target=JULIET, text="She sighs.")
    assert said.endswith(
        'They do not know of it at capulet.example. The same with "there" before your words tells them too, '
        "without your name."
    )
    assert desk.woken == [] and len(desk.told) == 2
    again = desk.says("report", target=JULIET, there=True)
    assert again.startswith("You reported") and again.endswith(
        "Those of capulet.example were told too, without your name."
    )
    assert desk.woken == ["capulet.example"] and len(desk.told) == 2
    assert "were told too" in desk.says("report", target=JULIET, there=True) and len(desk.woken) == 1


def test_what_cannot_be_reported(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "yourself" in desk.is_refused("report", target=BENVOLIO).text
    assert "by name" in desk.is_refused("report", target=ItemAddress(ROMEO, MICROBLOG, "none")).text
    monkeypatch.setattr(reporting_abuse, "OPEN_MAX", 0)
    assert "tomorrow" in desk.is_refused("report", target=ROMEO).text


def test_who_looks_after_the_node_sees_and_settles(desk: Desk) -> None:
    romeo = desk.person("romeo", admin=True)
    assert desk.says("admin reports", romeo) == "No report waits to be looked at."
    desk.database.run(lambda tx: writes(tx, ROMEO, "1", title="O, she doth teach the torches to burn bright!"))
    desk.says("report", target=ItemAddress(ROMEO, MICROBLOG, "1"), text="Too\nbright")
    desk.says("report", target=JULIET)
    assert desk.says("admin reports", romeo).splitlines() == [
        "1: benvolio reports romeo, abuse, 2026-01-01 12:00. Too bright",
        "  xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1",
        "  > O, she doth teach the torches to burn bright!",
        "2: benvolio reports juliet@capulet.example, abuse, 2026-01-01 12:00.",
    ]
    assert desk.says("admin settle", romeo, number=1) == "Report 1 about romeo is settled."
    assert desk.is_refused("admin settle", romeo, number=1).text == "No report 1 waits to be looked at."
    assert len(desk.says("admin reports", romeo).splitlines()) == 1


def test_many_come_in_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting_abuse, "PAGE", 2)
    romeo = desk.person("romeo", admin=True)
    for number in range(3):
        desk.says("report", target=JID(f"p{number}", "capulet.example"))
    first = desk.call("admin reports", romeo)
    assert len(first.text.splitlines()) == 3 and first.more is not None
    second = run(first.more(Call(person=romeo)))
    assert second.text.startswith("3: ") and second.more is None
    with pytest.raises(Forbidden):
        run(first.more(Call(person=desk.person("benvolio"))))


@pytest.mark.parametrize("word", ["admin reports", "admin settle"])
def test_nobody_else_does_nor_from_elsewhere(desk: Desk, word: str) -> None:
    desk.says("report", target=JULIET)
    for person in (desk.person("benvolio"), desk.person("romeo", admin=True, linked=True)):
        assert isinstance(desk.is_refused(word, person, number=1), Forbidden)
    assert len(desk.database.run(reporting_abuse.cases)) == 1
