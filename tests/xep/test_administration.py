"""XEP-0133: administrators fill in forms, and what they want is so at once."""

from collections.abc import Sequence

import pytest

from microblog.commands.administration import AdministrationForms, AdministrationWords
from microblog.commands.command import Answer, Call, Person, Table
from microblog.commands.known import Known
from microblog.model.account import SHA_256, ScramKeys, derive_keys
from microblog.model.errors import Forbidden, ItemNotFound
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import administering, registering
from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xep.administration import Administration
from microblog.xep.commands import Commands
from microblog.xep.disco import Disco
from microblog.xep.people import People
from microblog.xep.registration import Registration
from tests.conftest import DOMAIN, Time
from tests.im.town import Client, Town, result
from tests.xep.test_commands import command, does, error, error_text, filled, form_of, listed, note, session_of


async def derive(password: str) -> Sequence[ScramKeys]:
    return derive_keys(password)


class Court(Town):
    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        registration = Registration(database, derive, self.sessions, self.presence, clock)
        self.house = Administration(database, derive, self.sessions, registration.cancel, clock)
        self.words = AdministrationWords(database, self.house)
        forms = Table([AdministrationForms(database, self.house)])
        commands = Commands(DOMAIN, Table([self.words]), forms, People(database, DOMAIN), Known(database), clock)
        disco = Disco(database)
        disco.extensions = (disco, commands, self.house)
        self.install(disco, commands, self.house)
        self.settle("romeo", "tybalt")
        database.run(registering.create_account, "escalus", "secret", admin=True)


@pytest.fixture
def court(database: Database, clock: Clock) -> Court:
    return Court(database, clock)


def fills(client: Client, name: str, **values: str | Sequence[str]) -> Element:
    node = f"{ns.ADMIN}#{name}"
    begun = does(client, node)
    if not values or begun.get("type") == "error":
        return begun
    return does(client, node, session=session_of(begun), form=filled(ns.ADMIN, **values))


def shows(answer: Element) -> dict[str, list[str]]:
    form = command(answer, "completed").find(ns.DATA, "x")
    assert form is not None
    fields = list(form.find_all(ns.DATA, "field"))
    assert fields[0].child_text(ns.DATA, "value") == ns.ADMIN
    return {field.attributes["var"]: [value.text for value in field.elements()] for field in fields[1:]}


def knows(database: Database, name: str, password: str) -> bool:
    return database.run(registering.keys_for_login, name, SHA_256).verify(password)


def names(database: Database) -> list[str]:
    return [account.localpart for account in database.run(registering.list_accounts)]


def test_only_administrators_see_and_do_it(court: Court) -> None:
    escalus, romeo = court.login("escalus", "a"), court.login("romeo", "a")
    nodes = listed(escalus)
    assert f"{ns.ADMIN}#add-user" in nodes and "urn:xmpp:invite#create-account" in nodes
    assert not [node for node in nodes if "admin " in node]
    assert listed(romeo) == []
    for node in nodes:
        assert error(does(romeo, node)) == ("forbidden", None)


def test_a_user_is_added(court: Court, database: Database) -> None:
    escalus = court.login("escalus", "a")
    fields = form_of(fills(escalus, "add-user"))
    assert [field.get("type") for field in fields.values()] == ["hidden", "jid-single", "text-private", "text-private"]
    wrong = fills(escalus, "add-user", accountjid=f"paris@{DOMAIN}", password="a b", **{"password-verify": "a"})
    assert error(wrong) == ("not-acceptable", None) and "differ" in error_text(wrong)
    for address, refused in (
        ("paris@capulet.example", "not-acceptable"),
        (DOMAIN, "not-acceptable"),
        (f"romeo@{DOMAIN}", "conflict"),
        (f"root@{DOMAIN}", "not-acceptable"),
    ):
        answer = fills(escalus, "add-user", accountjid=address, password="a b", **{"password-verify": "a b"})
        assert error(answer) == (refused, None)
    assert names(database) == ["escalus", "romeo", "tybalt"]
    done = fills(escalus, "add-user", accountjid=f"paris@{DOMAIN}", password="a b", **{"password-verify": "a b"})
    assert note(done) == "paris has an account now."
    assert knows(database, "paris", "a b")


def test_users_are_deleted_after_a_second_look(court: Court, database: Database, time: Time) -> None:
    escalus, tybalt = court.login("escalus", "a"), court.login("tybalt", "a")
    node = f"{ns.ADMIN}#delete-user"
    session = session_of(does(escalus, node))
    form = filled(ns.ADMIN, accountjids=[f"tybalt@{DOMAIN}", f"escalus@{DOMAIN}"])
    asked = does(escalus, node, session=session, form=form)
    text = command(asked).find(ns.DATA, "x")
    assert text is not None and "tybalt" in (text.child_text(ns.DATA, "instructions") or "")
    assert "tybalt" in names(database)
    done = does(escalus, node, session=session, form=filled(ns.ADMIN))
    assert note(done) == "Removed: tybalt.\nNot escalus: this is the last administrator: make another one first."
    time.advance(0)
    assert names(database) == ["escalus", "romeo"]
    assert tybalt.line.failed is not None and escalus.line.failed is None


def test_users_are_disabled_and_enabled(court: Court, database: Database, time: Time) -> None:
    escalus, romeo = court.login("escalus", "a"), court.login("romeo", "a")
    both = [f"romeo@{DOMAIN}", f"tybalt@{DOMAIN}", f"romeo@{DOMAIN}/a"]
    assert note(fills(escalus, "disable-user", accountjids=both)) == "Nobody can log in any more as romeo, tybalt."
    time.advance(0)
    assert romeo.line.failed is not None and romeo.line.failed.condition == "not-authorized"
    assert not knows(database, "romeo", "secret")
    assert shows(fills(escalus, "get-disabled-users-num")) == {"disabledusersnum": ["2"]}
    assert shows(fills(escalus, "get-disabled-users-list")) == {
        "disableduserjids": [f"romeo@{DOMAIN}", f"tybalt@{DOMAIN}"]
    }
    assert note(fills(escalus, "reenable-user", accountjids=both)) == "Can log in again: romeo, tybalt."
    assert knows(database, "romeo", "secret")
    last = fills(escalus, "disable-user", accountjids=f"escalus@{DOMAIN}")
    assert error(last) == ("not-allowed", None)


def test_nothing_is_done_if_one_is_not_there(court: Court, database: Database) -> None:
    escalus = court.login("escalus", "a")
    for name in ("disable-user", "end-user-session"):
        for stranger, refused in ((f"paris@{DOMAIN}", "item-not-found"), ("a@capulet.example", "not-acceptable")):
            answer = fills(escalus, name, accountjids=[f"romeo@{DOMAIN}", stranger])
            assert error(answer) == (refused, None)
    assert database.run(administering.count, disabled=True) == 0


def test_sessions_are_ended(court: Court, time: Time, database: Database) -> None:
    escalus, one, other = court.login("escalus", "a"), court.login("romeo", "a"), court.login("romeo", "b")
    assert note(fills(escalus, "end-user-session", accountjids=f"romeo@{DOMAIN}")) == "Sessions ended: 2."
    time.advance(0)
    assert one.line.failed and other.line.failed and not escalus.line.failed
    assert knows(database, "romeo", "secret")


def test_a_password_is_changed(court: Court, time: Time, database: Database) -> None:
    escalus, romeo = court.login("escalus", "a"), court.login("romeo", "a")
    fills(escalus, "change-user-password", accountjid=f"romeo@{DOMAIN}", password="what's in a name")
    time.advance(0)
    assert knows(database, "romeo", "what's in a name") and not knows(database, "romeo", "secret")
    assert romeo.line.failed is not None


def test_who_there_is(court: Court) -> None:
    escalus = court.login("escalus", "a")
    court.login("romeo", "a"), court.login("romeo", "b")
    assert shows(fills(escalus, "get-registered-users-num")) == {"registeredusersnum": ["3"]}
    assert shows(fills(escalus, "get-online-users-num")) == {"onlineusersnum": ["2"]}
    everybody = [f"{name}@{DOMAIN}" for name in ("escalus", "romeo", "tybalt")]
    assert shows(fills(escalus, "get-registered-users-list")) == {"registereduserjids": everybody}
    assert shows(fills(escalus, "get-online-users-list")) == {"onlineuserjids": everybody[:2]}


def test_a_long_list_goes_on(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administering, "PAGE", 2)
    escalus, node = court.login("escalus", "a"), f"{ns.ADMIN}#get-registered-users-list"
    session = session_of(does(escalus, node))
    assert shows(does(escalus, node, "next", session=session)) == {"registereduserjids": [f"tybalt@{DOMAIN}"]}


def test_everybody_on_line_is_told(court: Court) -> None:
    escalus, romeo, tybalt = court.login("escalus", "a"), court.online("romeo", "a"), court.login("tybalt", "a")
    done = fills(escalus, "announce", announcement=["Civil brawls", "will be punished."])
    assert note(done) == "Told to 1 on line."
    romeo.receives(
        f"<message from='{DOMAIN}' to='romeo@{DOMAIN}/a'><subject>Announcement</subject>"
        "<body>Civil brawls\nwill be punished.</body></message>"
    )
    tybalt.receives()


def test_somebody_is_invited(court: Court, database: Database) -> None:
    escalus = court.login("escalus", "a")
    shown = shows(does(escalus, "urn:xmpp:invite#create-account"))
    address, _, token = shown["uri"][0].partition(";preauth=")
    assert address == f"xmpp:{DOMAIN}?register" and shown["expire"] == ["2026-01-08T12:00:00Z"]
    assert not database.run(registering.check_invite, token).admin


# Chat


def says(court: Court, word: str, *, by: str = "escalus", linked: bool = False, **arguments: object) -> Answer:
    account = court.database.run(registering.get_account, by)
    jid = account.jid(DOMAIN)
    person = Person(account=account, jid=jid, address=jid, linked=linked)
    found = Table([court.words]).commands[word]
    answer: Answer = result(found.function(Call(person=person, arguments=arguments)))  # type: ignore[arg-type]
    return answer


def test_words_for_chat(court: Court, database: Database, time: Time) -> None:
    tybalt = court.online("tybalt", "a")
    assert "admin users" in says(court, "admin").text
    assert says(court, "admin users").text == f"escalus@{DOMAIN}\nromeo@{DOMAIN}\ntybalt@{DOMAIN}"
    assert says(court, "admin online").text == f"tybalt@{DOMAIN}"
    assert says(court, "admin announce", text="Peace!").text == "Told to 1 on line."
    assert tybalt.hears()[0].child_text(ns.CLIENT, "body") == "Peace!"
    name = JID("tybalt", DOMAIN)
    assert says(court, "admin end", name=name).text == "Sessions ended: 1."
    says(court, "admin disable", name=name)
    assert not knows(database, "tybalt", "secret")
    says(court, "admin enable", name=name)
    assert knows(database, "tybalt", "secret")
    says(court, "admin remove", name=name)
    assert names(database) == ["escalus", "romeo"]
    with pytest.raises(ItemNotFound):
        says(court, "admin remove", name=name)


def test_words_are_for_administrators_from_here(court: Court) -> None:
    for word in Table([court.words]).commands:
        with pytest.raises(Forbidden):
            says(court, word, by="romeo", name=JID("escalus", DOMAIN), text="!")
        with pytest.raises(Forbidden):
            says(court, word, linked=True, name=JID("tybalt", DOMAIN), text="!")


def test_nothing_that_begins_like_them_is_posted(court: Court) -> None:
    assert all(found.private and found.admin for found in court.words.commands())
