"""Joining, linking, settings and invitations, as they are said."""

from collections.abc import Iterable
from typing import Any

import pytest

from microblog.commands.command import Answer, Call, Command, Person, Table
from microblog.commands.parsing import Misread, Parser
from microblog.commands.people import PeopleWords, Stranger
from microblog.commands.texts import has
from microblog.model.account import derive_keys
from microblog.model.errors import Conflict, ItemNotFound, NotAcceptable, NotAllowed, Refusal, ResourceConstraint
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.model.uri import ItemAddress
from microblog.store.database import Database
from microblog.usecases import linking, registering
from microblog.wire.stanza import Stanza
from tests.conftest import DOMAIN
from tests.im.town import result
from tests.xmltext import read

ROMEO = JID("romeo", DOMAIN)
HOME = JID.parse("romeo@capulet.example")
KEYS = derive_keys("pencil")


class Nothing:
    """People who have been shown nothing and name nobody."""

    async def person(self, name: str) -> JID | None:
        return None

    async def item(self, number: int) -> ItemAddress | None:
        return None

    async def newest(self) -> ItemAddress | None:
        return None


class Posts:
    """Where what is no command goes."""

    def commands(self) -> Iterable[Command]:
        async def post(call: Call) -> Answer:
            raise AssertionError("posted")

        yield Command(name="post", group="posting", function=post)


class Verona:
    """People who talk to the node, and what it says to others."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.database = database
        self.sent: list[Stanza] = []
        self.woken: list[str] = []
        self.invitations = self.asking = 100
        self.changed: list[JID] = []
        self.words = PeopleWords(database, self.sent.append, self.woken.append, self, self.changed.append, **options)
        self.parser = Parser(table=Table([self.words, Posts()]), domain=DOMAIN)

    def invite(self, account: JID) -> None:
        self.invitations -= 1
        if self.invitations < 0:
            raise ResourceConstraint("too many")

    def link(self, account: JID) -> None:
        if not self.asked(account):
            raise ResourceConstraint("too many")

    def asked(self, account: JID) -> bool:
        self.asking -= 1
        return self.asking >= 0

    def says(self, person: Person, text: str) -> Answer:
        reading = result(self.parser.read(text, Nothing()))
        assert reading.command.strangers or not isinstance(person, Stranger)
        return result(reading.command.function(Call(person=person, arguments=reading.arguments)))  # type: ignore[no-any-return]  # what the coroutine gives

    def person(self, name: str = "romeo", address: JID | None = None) -> Person:
        account = self.database.run(registering.get_account, name)
        jid = account.jid(DOMAIN)
        return Person(account=account, jid=jid, address=address or jid.with_resource("a"), linked=address is not None)

    def owed(self) -> list[tuple[str, str]]:
        """What people elsewhere are told, and whom."""

        def rows(tx: Any) -> list[Any]:
            found = tx.connection.exec_driver_sql("SELECT domain, stanza FROM outbox ORDER BY id")
            return [tuple(row) for row in found]

        said = []
        for domain, text in self.database.run(rows):
            assert "xmlns" not in text  # a server's stream has another namespace
            stanza = read(text)
            assert stanza.get("from") == DOMAIN and JID.parse(stanza.attributes["to"]).domainpart == domain
            said.append((stanza.attributes["to"], stanza.child_text("jabber:client", "body") or ""))
        return said


def stranger(jid: JID = HOME, proof: Proof = Proof.CERTIFICATE) -> Stranger:
    return Stranger(jid=jid, address=jid.with_resource("orchard"), proof=proof)


@pytest.fixture
def verona(database: Database) -> Verona:
    database.run(registering.create_account, "benvolio", KEYS)
    return Verona(database)


def account_of(verona: Verona, jid: JID = HOME) -> str | None:
    account = verona.database.run(lambda tx: tx.linked.account_of(jid))
    return None if account is None else account.localpart


def test_every_word_has_its_texts(verona: Verona) -> None:
    for command in verona.words.commands():
        names = ["summary", "example", *(parameter.name for parameter in command.parameters)]
        assert all(has(f"people.{command.name}.{name}") for name in names), command.name


# Joining


def invitation(verona: Verona) -> str:
    return verona.database.run(registering.create_invite)


def test_a_stranger_joins(verona: Verona) -> None:
    answer = verona.says(stranger(), f"join {invitation(verona)}")
    assert "romeo@montague.example" in answer.text
    assert account_of(verona) == "romeo"


@pytest.mark.parametrize(
    "text", ["join {}  Mercutio", "Join {} mercutio", "/join xmpp:montague.example?register;preauth={} mercutio"]
)
def test_a_stranger_joins_by_another_name(verona: Verona, text: str) -> None:
    verona.says(stranger(), text.format(invitation(verona)))
    assert account_of(verona) == "mercutio"


@pytest.mark.parametrize("text", ["join", "join romeo", "join wrong romeo", "join benvolio"])
def test_nobody_joins_without_invitation(verona: Verona, text: str) -> None:
    with pytest.raises(NotAllowed):
        verona.says(stranger(), text)
    assert account_of(verona) is None


def test_a_name_that_is_taken_costs_no_invitation(verona: Verona) -> None:
    token = invitation(verona)
    with pytest.raises(Conflict):
        verona.says(stranger(), f"join {token} benvolio")
    verona.says(stranger(), f"join {token}")
    assert account_of(verona) == "romeo"


def test_who_has_an_account_does_not_join(verona: Verona) -> None:
    token = invitation(verona)
    assert "benvolio@montague.example" in verona.says(verona.person("benvolio"), f"join {token}").text
    assert verona.database.run(linking.is_invitation, token)


@pytest.mark.parametrize(("text", "name"), [("join", "romeo"), ("join mercutio", "mercutio")])
def test_people_of_a_domain_that_enrols_its_own_join_as_they_are(database: Database, text: str, name: str) -> None:
    verona = Verona(database, enrol_domains=("capulet.example",))
    verona.says(stranger(), text)
    assert account_of(verona) == name


@pytest.mark.parametrize(
    "person",
    [
        stranger(proof=Proof.DIALBACK),
        stranger(JID.parse("romeo@sub.capulet.example")),
        stranger(JID.parse("romeo@notcapulet.example")),
    ],
)
def test_nobody_else_does(database: Database, person: Stranger) -> None:
    verona = Verona(database, enrol_domains=("capulet.example",))
    with pytest.raises(NotAllowed):
        verona.says(person, "join")
    assert database.run(lambda tx: tx.accounts.count()) == 0


def test_whoever_is_enrolled_may_use_an_invitation_and_has_one_name(database: Database) -> None:
    verona = Verona(database, enrol_domains=("capulet.example",))
    with pytest.raises(NotAcceptable):
        verona.says(stranger(), "join romeo montague")
    token = invitation(verona)
    verona.says(stranger(), f"join {token} mercutio")
    assert account_of(verona) == "mercutio" and not database.run(linking.is_invitation, token)


# Linking


def test_an_account_links_an_address(verona: Verona) -> None:
    benvolio = verona.person("benvolio")
    assert "romeo@capulet.example was asked" in verona.says(benvolio, "link romeo@capulet.example").text
    ((to, question),) = verona.owed()
    assert to == "romeo@capulet.example" and '"link benvolio@montague.example"' in question
    assert verona.woken == ["capulet.example"] and verona.sent == [] == verona.changed
    assert "belong together" in verona.says(stranger(), "link benvolio@montague.example").text
    assert account_of(verona) == "benvolio"
    assert verona.changed == [benvolio.jid]
    # Wherever the account is, it hears of it.
    assert [str(stanza.to) for stanza in verona.sent] == ["benvolio@montague.example"]
    assert verona.owed()[1][0] == "romeo@capulet.example"


def test_an_address_asks_for_an_account(verona: Verona) -> None:
    assert "If there is such an account" in verona.says(stranger(), "link benvolio").text
    (stanza,) = verona.sent
    body = stanza.element.child_text("jabber:client", "body") or ""
    assert (str(stanza.from_), str(stanza.to), stanza.type) == (DOMAIN, "benvolio@montague.example", "chat")
    assert '"link romeo@capulet.example"' in body
    assert "asks to be yours" in verona.says(verona.person("benvolio"), "link").text
    assert verona.changed == []
    assert "belong together" in verona.says(verona.person("benvolio"), "link romeo@capulet.example").text
    assert verona.changed == [JID("benvolio", DOMAIN)]
    assert account_of(verona) == "benvolio"


def test_nobody_is_asked_again_and_again(verona: Verona) -> None:
    """Not even when what was asked is withdrawn each time."""
    benvolio = verona.person("benvolio")
    verona.asking = 2
    for _ in range(2):
        verona.says(benvolio, f"link {HOME}")
        verona.says(benvolio, f"unlink {HOME}")
    with pytest.raises(ResourceConstraint):
        verona.says(benvolio, f"link {HOME}")
    assert len(verona.owed()) == 2
    verona.asking = 2
    said = [verona.says(stranger(), f"link benvolio@{DOMAIN}").text]
    for _ in range(3):
        verona.says(stranger(), f"unlink benvolio@{DOMAIN}")
        said.append(verona.says(stranger(), f"link benvolio@{DOMAIN}").text)
    assert len(set(said)) == 1, "who asks is told nothing of it"
    assert len(verona.sent) == 2


def test_a_stranger_cannot_tell_who_has_an_account(verona: Verona) -> None:
    answers = [
        verona.says(stranger(), f"{word} {name}") for word in ("link", "unlink") for name in ("benvolio", "nobody")
    ]
    assert answers[0].text.replace("benvolio", "nobody") == answers[1].text
    assert answers[2].text.replace("benvolio", "nobody") == answers[3].text
    assert verona.owed() == []


@pytest.mark.parametrize("text", ["link", "unlink", "link romeo@capulet.example", "link @", "link a@b@c", "link a@@"])
def test_what_a_stranger_cannot_link(verona: Verona, text: str) -> None:
    with pytest.raises(NotAcceptable):
        verona.says(stranger(), text)


@pytest.mark.parametrize("text", ["link benvolio", "link mercutio@montague.example", "link capulet.example", "unlink"])
def test_what_an_account_cannot_link(verona: Verona, text: str) -> None:
    with pytest.raises(NotAcceptable):
        verona.says(verona.person("benvolio"), text)


def linked(verona: Verona) -> Person:
    verona.says(verona.person("benvolio"), "link romeo@capulet.example")
    verona.says(stranger(), "link benvolio")
    return verona.person("benvolio", HOME.with_resource("orchard"))


@pytest.mark.parametrize(
    ("text", "at_home"),
    [
        ("unlink romeo@capulet.example", False),
        ("unlink romeo@capulet.example", True),
        ("unlink", True),
        ("unlink benvolio", True),
        ("unlink benvolio@montague.example", True),
    ],
)
def test_either_side_unlinks(verona: Verona, text: str, at_home: bool) -> None:
    person = linked(verona)
    verona.changed.clear()
    verona.says(verona.person("benvolio") if not at_home else person, text)
    assert verona.changed == [JID("benvolio", DOMAIN)]
    assert account_of(verona) is None


def test_an_address_refuses_an_account_that_asked(verona: Verona) -> None:
    verona.says(verona.person("benvolio"), "link romeo@capulet.example")
    verona.says(stranger(), "unlink benvolio")
    with pytest.raises(ItemNotFound):
        verona.says(verona.person("benvolio"), "unlink romeo@capulet.example")


def test_what_is_linked_is_listed(verona: Verona) -> None:
    benvolio = verona.person("benvolio")
    assert "No address" in verona.says(benvolio, "link").text
    linked(verona)
    verona.says(benvolio, "link juliet@capulet.example")
    lines = verona.says(benvolio, "link").text.splitlines()
    assert sorted(lines) == ["juliet@capulet.example: has not confirmed yet", "romeo@capulet.example: yours"]


# Settings


def test_settings_are_shown_and_set(verona: Verona) -> None:
    benvolio = verona.person("benvolio")
    assert "audience: public" in verona.says(benvolio, "set").text.splitlines()
    assert verona.says(benvolio, "set Audience friends").text == "audience is followers now."
    assert verona.says(benvolio, "set AUDIENCE").text == "audience: followers"
    assert dict(verona.says(benvolio, "set").form)["audience"] == "followers"
    assert verona.changed == []
    verona.says(benvolio, "set lang en")
    assert verona.changed == [benvolio.jid]


@pytest.mark.parametrize(
    ("text", "refusal"),
    [("set sail", NotAcceptable), ("set colour red", ItemNotFound), ("set audience everyone", NotAcceptable)],
)
def test_what_cannot_be_set(verona: Verona, text: str, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        verona.says(verona.person("benvolio"), text)


@pytest.mark.parametrize("text", ["set the table for two", "invite all your friends", "join us at the feast"])
def test_what_only_begins_like_a_word_may_be_a_post(verona: Verona, text: str) -> None:
    with pytest.raises(Misread) as misread:
        verona.says(verona.person("benvolio"), text)
    assert misread.value.offer


# Invitations


@pytest.mark.parametrize(
    ("text", "label", "days"),
    [
        ("invite", "", 7),
        ("invite 14 days", "", 14),
        ("invite 14", "", 14),
        ("invite mercutio", "mercutio", 7),
        ("invite mercutio@capulet.example 1 day", "mercutio@capulet.example", 1),
        ("invite mercutio 30 d", "mercutio", 30),
    ],
)
def test_people_invite_others(verona: Verona, text: str, label: str, days: int) -> None:
    answer = verona.says(verona.person("benvolio"), text)
    token, uri = dict(answer.form)["join"], dict(answer.form)["uri"]
    assert f"join {token}" in answer.text and uri == f"xmpp:montague.example?register;preauth={token}"
    assert f"{days} days" in answer.text and (not label or f"for {label}," in answer.text)
    invite = verona.database.run(registering.check_invite, token)
    assert (invite.expires - invite.created).days == days and not invite.admin
    verona.says(stranger(), f"join {token}")
    assert account_of(verona) == "romeo"


def test_an_invitation_for_no_day_or_for_ever_is_none(verona: Verona) -> None:
    for text in ("invite mercutio 0 days", "invite 9999 days", "invite mercutio 999999999"):
        with pytest.raises(NotAcceptable):
            verona.says(verona.person("benvolio"), text)


def test_nobody_invites_the_world(verona: Verona) -> None:
    verona.invitations = 1
    verona.says(verona.person("benvolio"), "invite")
    with pytest.raises(ResourceConstraint):
        verona.says(verona.person("benvolio"), "invite")


def test_where_accounts_are_made_by_hand_nobody_invites_or_joins(database: Database) -> None:
    database.run(registering.create_account, "escalus", KEYS, admin=True)
    verona = Verona(database, invites=False)
    for person, text in ((verona.person("escalus"), "invite"), (stranger(), f"join {invitation(verona)}")):
        with pytest.raises(NotAllowed):
            verona.says(person, text)
    assert account_of(verona) is None


def test_and_still_people_of_a_domain_that_enrols_its_own_join(database: Database) -> None:
    verona = Verona(database, invites=False, enrol_domains=("capulet.example",))
    verona.says(stranger(), "join")
    assert account_of(verona) == "romeo"
