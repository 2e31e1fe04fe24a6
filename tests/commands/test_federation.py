"""What administrators say of other domains in chat."""

import pytest

from microblog.commands.command import Call, Person, Table
from microblog.commands.federation import FederationWords
from microblog.commands.texts import say
from microblog.model.errors import Forbidden, ItemNotFound, NotAcceptable
from microblog.model.policy import Grade
from microblog.store.database import Database
from microblog.usecases import delivering, registering
from tests.conftest import DOMAIN
from tests.im.town import result


class Office:
    """An administrator's words, and what a running server hears of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.heard: list[str] = []
        self.words = FederationWords(database, "open", lambda: self.heard.append("changed"), self.heard.append)
        for name in ("escalus", "romeo"):
            database.run(registering.create_account, name, "secret", admin=name == "escalus")

    def says(self, word: str, *, by: str = "escalus", linked: bool = False, **arguments: str) -> str:
        account = self.database.run(registering.get_account, by)
        jid = account.jid(DOMAIN)
        call = Call(person=Person(account=account, jid=jid, address=jid, linked=linked), arguments=arguments)
        answer = result(Table([self.words]).commands[word].function(call))  # type: ignore[arg-type]  # a coroutine
        return str(answer.text)


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database)


def test_it_is_for_administrators_from_their_account_here(office: Office) -> None:
    for word in Table([office.words]).commands:
        for who in ({"by": "romeo"}, {"linked": True}):
            with pytest.raises(Forbidden):
                office.says(word, domain="capulet.example", **who)  # type: ignore[arg-type]  # words of several types
    assert office.heard == [] and office.database.run(lambda tx: tx.policies.rules()) == []


@pytest.mark.parametrize("grade", ["allowed", "no-media", "silenced", "refused"])
def test_a_grade_is_said_and_counts(office: Office, grade: str) -> None:
    words = ("admin refuse", {}) if grade == "refused" else ("admin grade", {"grade": grade})
    said = office.says(words[0], domain="Capulet.Example", reason="a plague", **words[1])
    assert "capulet.example" in said and office.heard == ["changed"]
    (rule,) = office.database.run(lambda tx: tx.policies.rules())
    assert (rule.domain, rule.grade, rule.reason) == ("capulet.example", Grade(grade), "a plague")
    assert f"capulet.example {grade}: a plague" in office.says("admin domains")
    assert office.says("admin domain", domain="chat.capulet.example").startswith(
        said.replace("capulet", "chat.capulet")
    )
    assert office.says("admin grade", domain="capulet.example", grade="reset").startswith("There is no rule")
    with pytest.raises(ItemNotFound):
        office.says("admin grade", domain="capulet.example", grade="reset")


def test_a_doubted_domain(office: Office) -> None:
    office.database.run(lambda tx: tx.peers.set("capulet.example", doubted=tx.now))
    assert '"admin trust capulet.example"' in office.says("admin domains")
    assert '"admin trust capulet.example"' in office.says("admin domain", domain="capulet.example")
    office.says("admin trust", domain="capulet.example")
    assert office.heard == ["capulet.example"]
    assert "trust" not in office.says("admin domains")


def test_what_waits_is_told_and_tried(office: Office) -> None:
    assert office.says("admin queue") == "Nothing waits for anybody."
    office.database.run(lambda tx: tx.outbox.add_stanza("capulet.example", "<message/>"))
    office.database.run(delivering.failed, "capulet.example", "nobody answers", 0)
    assert office.says("admin queue") == "capulet.example (retrying): 1 wait, 0 feeds behind. nobody answers"
    assert office.says("admin retry", domain="capulet.example") == "capulet.example is tried now."
    assert office.heard == ["capulet.example"]
    with pytest.raises(ItemNotFound):
        office.says("admin retry", domain="verona.example")


def test_what_is_no_domain_is_said(office: Office) -> None:
    with pytest.raises(NotAcceptable, match=r"two\.\.dots"):
        office.says("admin refuse", domain="two..dots")


def test_refusing_asks_first_and_nothing_of_it_becomes_a_post(office: Office) -> None:
    commands = Table([office.words]).commands.values()
    assert [command.name for command in commands if command.destructive] == ["admin refuse"]
    for command in commands:
        assert command.admin and command.private
        assert say("en", f"federation.{command.name}.example").startswith(command.name)
        for parameter in command.parameters:
            assert say("en", f"federation.{command.name}.{parameter.name}")
