"""XEP-0077: accounts are made, changed and cancelled by those who have them."""

from collections.abc import Sequence

import pytest

from microblog.config import Limits
from microblog.model.account import SHA_256, ScramKeys, derive_keys
from microblog.store.database import Database, open_database
from microblog.usecases import registering
from microblog.wire import notification, ns
from microblog.wire.errors import read_condition
from microblog.wire.xml import Element
from microblog.xep.registration import Enrolment, Mode, Registration
from microblog.xmpp.c2s import Applicant
from tests.conftest import DOMAIN, Time
from tests.im.town import Town, result
from tests.xmltext import read

PEER = Applicant("192.0.2.1")
FIELDS = "<username>juliet</username><password>R0m30 &amp; me</password>"


async def derive(password: str) -> Sequence[ScramKeys]:
    return derive_keys(password)


def an_iq(content: str, type_: str = "set", id_: str = "r1") -> Element:
    return read(f"<iq type='{type_}' id='{id_}'><query xmlns='jabber:iq:register'>{content}</query></iq>")


def an_enrolment(mode: Mode, database: Database, time: Time) -> Enrolment:
    return Enrolment(mode, database, derive, time.clock)


def condition(answer: Element) -> str:
    assert answer.get("type") == "error"
    return read_condition(answer)[0]


def password_of(database: Database, name: str, password: str) -> bool:
    return database.run(registering.keys_for_login, name, SHA_256).verify(password)


# Strangers


def test_closed_registration_is_not_offered_and_not_answered(database: Database, time: Time) -> None:
    enrolment = an_enrolment("closed", database, time)
    assert enrolment.stream_features == ()
    assert result(enrolment.preauth(an_iq(FIELDS), PEER)) is None
    assert database.run(registering.list_accounts) == ()


def test_open_registration_asks_for_name_and_password_and_makes_the_account(database: Database, time: Time) -> None:
    enrolment = an_enrolment("open", database, time)
    assert enrolment.stream_features == (read("<register xmlns='http://jabber.org/features/iq-register'/>"),)
    asked = result(enrolment.preauth(an_iq("", "get"), PEER))
    assert asked == read(
        "<iq type='result' from='montague.example' id='r1'><query xmlns='jabber:iq:register'>"
        "<instructions>Choose a username and a password.</instructions><username/><password/></query></iq>"
    )
    made = result(enrolment.preauth(an_iq(FIELDS, id_="r2"), PEER))
    assert made == read("<iq type='result' from='montague.example' id='r2'/>")
    assert [account.localpart for account in database.run(registering.list_accounts)] == ["juliet"]
    assert password_of(database, "juliet", "R0m30 & me")


def test_other_elements_are_not_for_it(database: Database, time: Time) -> None:
    enrolment = an_enrolment("open", database, time)
    for text in (
        "<iq type='get' id='x'><query xmlns='jabber:iq:roster'/></iq>",
        "<iq type='result' id='x'><query xmlns='jabber:iq:register'/></iq>",
        "<message id='x'><query xmlns='jabber:iq:register'/></message>",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    ):
        assert result(enrolment.preauth(read(text), PEER)) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "not-acceptable"),
        ("<username>juliet</username>", "not-acceptable"),
        ("<username>juliet</username><password/>", "not-acceptable"),
        ("<username>ju@liet</username><password>x</password>", "not-acceptable"),
        ("<username>admin</username><password>x</password>", "not-acceptable"),
        ("<username>rom\u0435o</username><password>x</password>", "not-acceptable"),
        ("<username>romeo</username><password>x</password>", "conflict"),
        ("<username>tybalt</username><password>x</password>", "conflict"),
        (f"<username>juliet</username><password>{'x' * 1024}</password>", "not-acceptable"),
    ],
)
def test_wrong_request_gets_the_error_of_the_specification(
    database: Database, time: Time, content: str, expected: str
) -> None:
    database.run(registering.create_account, "romeo", "secret")
    database.run(registering.create_account, "tybalt", "secret")
    database.run(registering.remove_account, "tybalt", notification)
    enrolment = an_enrolment("open", database, time)
    assert condition(result(enrolment.preauth(an_iq(content), PEER))) == expected
    assert [account.localpart for account in database.run(registering.list_accounts)] == ["romeo"]


@pytest.mark.parametrize("text", ["<iq type='set'>{}</iq>", "<iq type='set' id='1'>{}<x xmlns='urn:y'/></iq>"])
def test_malformed_iq_is_a_bad_request(database: Database, time: Time, text: str) -> None:
    element = read(text.format(f"<query xmlns='jabber:iq:register'>{FIELDS}</query>"))
    assert condition(result(an_enrolment("open", database, time).preauth(element, PEER))) == "bad-request"


def test_invitation_is_shown_first_on_the_same_stream(database: Database, time: Time) -> None:
    """XEP-0445, which is what a client does with the address that is printed."""
    enrolment = an_enrolment("invite", database, time)
    assert [feature.uri for feature in enrolment.stream_features] == [ns.REGISTER_FEATURE, ns.INVITE]
    token = database.run(registering.create_invite)

    def show(shown: str, applicant: Applicant) -> Element:
        preauth = f"<preauth xmlns='urn:xmpp:pars:0' token='{shown}'/>"
        return result(enrolment.preauth(read(f"<iq type='set' id='p' xmlns='jabber:client'>{preauth}</iq>"), applicant))

    mine, another = Applicant("192.0.2.7"), Applicant("192.0.2.8")
    assert condition(show("made up", mine)) == "item-not-found"
    assert show(token, mine).get("type") == "result"
    assert condition(result(enrolment.preauth(an_iq(FIELDS), another))) == "not-allowed"
    assert result(enrolment.preauth(an_iq(FIELDS), mine)).get("type") == "result"
    assert condition(show(token, another)) == "item-not-found"


def a_form(token: str) -> str:
    values = {"FORM_TYPE": "jabber:iq:register", "username": "juliet", "password": "secret", "token": token}
    fields = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in values.items())
    return f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"


def test_invitation_opens_the_door_once(database: Database, time: Time) -> None:
    enrolment = an_enrolment("invite", database, time)
    asked = result(enrolment.preauth(an_iq("", "get"), PEER))
    form = asked.first().find(ns.DATA, "x")
    assert [field.get("var") for field in form.find_all(ns.DATA, "field")] == [
        "FORM_TYPE",
        "username",
        "password",
        "token",
    ]
    assert condition(result(enrolment.preauth(an_iq(FIELDS), PEER))) == "not-allowed"
    assert condition(result(enrolment.preauth(an_iq(a_form("made up")), PEER))) == "not-allowed"

    token = database.run(registering.create_invite)
    assert result(enrolment.preauth(an_iq(a_form(token)), PEER)).get("type") == "result"
    assert [account.localpart for account in database.run(registering.list_accounts)] == ["juliet"]
    again = a_form(token).replace("juliet", "nurse")
    assert condition(result(enrolment.preauth(an_iq(again), PEER))) == "not-allowed"


def test_tries_of_one_address_are_counted(database: Database, time: Time) -> None:
    enrolment = an_enrolment("open", database, time)
    for _ in range(database.limits.login_failures_per_address):
        answer = result(enrolment.preauth(an_iq("<username>admin</username><password>x</password>"), PEER))
        assert condition(answer) == "not-acceptable"
    assert condition(result(enrolment.preauth(an_iq(FIELDS), PEER))) == "resource-constraint"
    assert result(enrolment.preauth(an_iq(FIELDS), Applicant("192.0.2.2"))).get("type") == "result"
    time.advance(database.limits.login_failure_window_seconds + 1)
    other = FIELDS.replace("juliet", "nurse")
    assert result(enrolment.preauth(an_iq(other), PEER)).get("type") == "result"


def test_tries_are_not_counted_without_rates(time: Time) -> None:
    limits = Limits(rates=False, login_failures_per_address=1)
    database = open_database("sqlite://", domain=DOMAIN, now=time.now, limits=limits)
    enrolment = an_enrolment("open", database, time)
    for name in ("juliet", "nurse", "tybalt"):
        assert result(enrolment.preauth(an_iq(FIELDS.replace("juliet", name)), PEER)).get("type") == "result"
    database.close()


# People who are logged in


@pytest.fixture
def town(database: Database, time: Time) -> Town:
    town = Town(database, time.clock)
    town.settle("romeo", "benvolio")
    town.install(Registration(database, derive, town.sessions, town.presence, time.clock))
    return town


def a_request(content: str, type_: str = "set", attributes: str = "to='montague.example'") -> str:
    return f"<iq type='{type_}' id='r' {attributes}><query xmlns='jabber:iq:register'>{content}</query></iq>"


@pytest.mark.parametrize("attributes", ["to='montague.example'", "", "to='romeo@montague.example'"])
def test_registered_people_are_told_so(town: Town, attributes: str) -> None:
    romeo = town.login("romeo", "orchard")
    romeo.sends(a_request("", "get", attributes))
    (answer,) = romeo.hears()
    assert answer.first() == read(
        "<query xmlns='jabber:iq:register'><registered/><username>romeo</username><password/></query>"
    )


def test_password_is_changed(town: Town) -> None:
    romeo = town.login("romeo", "orchard")
    romeo.sends(a_request("<username>Romeo</username><password>new</password>"))
    romeo.receives("<iq from='montague.example' to='romeo@montague.example/orchard' type='result' id='r'/>")
    assert password_of(town.database, "romeo", "new")
    assert not password_of(town.database, "romeo", "secret")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "bad-request"),
        ("<password>new</password>", "bad-request"),
        ("<username>romeo</username><password/>", "bad-request"),
        ("<username>benvolio</username><password>new</password>", "not-allowed"),
        ("<remove/><username>romeo</username>", "bad-request"),
        (f"<username>romeo</username><password>{'x' * 1024}</password>", "not-acceptable"),
    ],
)
def test_wrong_change_gets_the_error_of_the_specification(town: Town, content: str, expected: str) -> None:
    romeo = town.login("romeo", "orchard")
    romeo.sends(a_request(content))
    (answer,) = romeo.hears()
    assert condition(answer) == expected
    assert password_of(town.database, "romeo", "secret")
    assert password_of(town.database, "benvolio", "secret")


def test_a_changed_password_ends_the_other_sessions(town: Town) -> None:
    romeo, thief, benvolio = town.login("romeo", "a"), town.online("romeo", "b"), town.login("benvolio", "c")
    romeo.sends(a_request("<username>romeo</username><password>new</password>"))
    assert [answer.get("type") for answer in romeo.hears()] == ["result"]
    assert thief.line.failed is not None
    assert thief.line.failed.condition == "not-authorized"
    assert romeo.line.failed is None
    assert benvolio.line.failed is None


def test_a_password_that_is_not_changed_ends_nothing(town: Town) -> None:
    romeo, other = town.login("romeo", "a"), town.login("romeo", "b")
    romeo.sends(a_request(f"<username>romeo</username><password>{'x' * 1024}</password>"))
    assert condition(romeo.hears()[0]) == "not-acceptable"
    assert other.line.failed is None


def test_nobody_touches_another_account(town: Town) -> None:
    romeo = town.login("romeo", "orchard")
    romeo.sends(a_request("<remove/>", attributes="to='benvolio@montague.example'"))
    (answer,) = romeo.hears()
    assert condition(answer) == "forbidden"
    for to in ("montague.example", "romeo@montague.example", "nobody@montague.example"):
        for type_, content in (("get", ""), ("set", "<remove/>"), ("set", FIELDS)):
            town.inject(a_request(content, type_, f"from='romeo@capulet.example/x' to='{to}'"))
            (answer,) = town.world_hears()
            assert condition(answer) == "service-unavailable"
    assert len(town.database.run(registering.list_accounts)) == 2


def test_changes_of_password_are_counted(town: Town) -> None:
    romeo = town.login("romeo", "orchard")
    for _ in range(town.database.limits.login_failures_per_account):
        romeo.sends(a_request("<username>romeo</username><password>new</password>"))
    assert all(answer.get("type") == "result" for answer in romeo.hears())
    romeo.sends(a_request("<username>romeo</username><password>new</password>"))
    (answer,) = romeo.hears()
    assert condition(answer) == "resource-constraint"


def test_cancelled_account_says_goodbye_and_is_gone(town: Town, time: Time) -> None:
    town.makes_contact("romeo", "juliet@capulet.example", "both")
    town.befriend("romeo", "benvolio")
    romeo, silent, benvolio = town.online("romeo", "a"), town.login("romeo", "b"), town.online("benvolio", "c")
    romeo.hears()
    romeo.sends(a_request("<remove/>"))
    assert romeo.line.failed is None
    assert romeo.hears()[-1] == read("<iq from='montague.example' to='romeo@montague.example/a' type='result' id='r'/>")
    time.advance(0)
    for client in (romeo, silent):
        assert client.line.failed is not None
        assert client.line.failed.condition == "not-authorized"
        client.leaves()
    assert [account.localpart for account in town.database.run(registering.list_accounts)] == ["benvolio"]
    assert [(element.get("from"), element.get("type")) for element in town.world_hears()] == [
        ("romeo@montague.example/a", "unavailable"),
        ("romeo@montague.example", "unsubscribed"),
        ("romeo@montague.example", "unsubscribe"),
    ]
    heard = [element.get("type") for element in benvolio.hears() if element.name == "presence"]
    assert heard.count("unavailable") == 1
    assert "unsubscribed" in heard
    assert str(town.contact("benvolio", "romeo@montague.example").subscription) == "none"
