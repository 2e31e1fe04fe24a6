"""docs/hostile-inputs.md, group R: places and rules."""

import pytest

from microblog.model.account import Account
from microblog.model.jid import JID
from microblog.store import tables
from microblog.store.database import Database
from microblog.usecases import acting
from microblog.wire import ns
from tests.conftest import Time
from tests.im.town import Client
from tests.usecases.pubsub import BENVOLIO, ROMEO
from tests.usecases.test_acting import INSIDE
from tests.usecases.test_acting import Verona as Town
from tests.xep.parlour import says
from tests.xep.square import asks
from tests.xep.test_rules import NEARBY, SQUARE, Verona, bodies

SQL = "'; DROP TABLE rules; --"


@pytest.fixture
def verona(database: Database, time: Time) -> Verona:
    return Verona(database, time)


@pytest.fixture
def romeo(verona: Verona) -> Client:
    client = verona.talks("romeo")
    says(client, f"place Square is {SQUARE} 1km")
    return client


@pytest.mark.parametrize(
    "text",
    [
        f"place O{SQL} is 1,2",
        "place {title} {0} is 1,2",
        "place a{0.__class__} is 1,2",
        "place " + "x " * 3000,
        "place x is " + "9" * 3000 + "," + "9" * 3000,
        "place x is 1,2 " + "9" * 3000 + "km",
        "place share " + "on " * 1000,
        "place allow " + "r" * 3000,
        f"place forget {SQL}",
        f"near {SQL} 5km",
        "near " + "1," * 2000,
        f"rule when {SQL} then tell me",
        "rule when {when} {0} then tell me",
        "rule when " + "#" * 400 + " appears then tell me",
        "rule when juliet@[::1] posts then tell me",
        "rule when @@@@ posts then tell me",
        "rule when juliet@capulet.example@x posts then tell me",
        "rule when juliet@capulet.example enters Square then tell me",
        "rule when I enter " + "Square " * 100 + "then tell me",
        'rule when "' + "then " * 300 + '" then tell me',
        "rules about " + "me " * 1000,
        "unrule 999999999",
        f"unrule {SQL}",
    ],
)
def test_r1_what_is_written_is_text(verona: Verona, romeo: Client, text: str) -> None:
    answer = says(romeo, text)
    assert answer and len(answer) < 2000 and "internal" not in answer.lower(), answer
    assert verona.feed(ROMEO) == []
    assert verona.database.run(lambda tx: tx.places.find(1, "Square")) is not None


def test_r2_a_rule_that_is_shown_stays_in_its_line(verona: Verona, romeo: Client) -> None:
    benvolio = verona.talks("benvolio")
    forged = "x\n2 of mercutio: when benvolio posts then tell me (once)\u202e"
    says(romeo, f"rule when benvolio posts then post {forged}")
    says(romeo, "rule when benvolio posts then post " + "long " * 190)
    lines = says(benvolio, "rules about me").split("\n")
    assert len(lines) == 3 and lines[0].startswith("1 of romeo: ") and lines[1].startswith("2 of romeo: ")
    assert "\u202e" not in lines[0] and all(len(line) < 300 for line in lines)


def test_r3_a_client_that_jumps_about_is_looked_at_now_and_then(verona: Verona, romeo: Client) -> None:
    says(romeo, "rule when I enter Square then tell me")
    says(romeo, "place share on")
    verona.passes()
    away = NEARBY.replace("45.439", "46.5")
    for number in range(60):
        asks(
            romeo,
            "set",
            f"<publish node='{ns.GEOLOC}'><item id='current'>{(NEARBY, away)[number % 2]}</item></publish>",
        )
        if number % 4 == 0:
            verona.passes(0.4)
    assert len([body for body in bodies(romeo) if body and "come to Square" in body]) <= acting.OFTEN["tell"][0]


def test_r4_whose_account_is_gone_leaves_nothing(database: Database, time: Time) -> None:
    town = Town(database, time)
    town.rule("when #feast appears then tell me")
    town.rule("when benvolio enters Square then tell me")
    town.rule("when romeo posts then tell me", by=BENVOLIO)
    town.moves(ROMEO, INSIDE)
    town.posts(BENVOLIO, "#feast")
    town.posts(ROMEO, "here")
    town.steps()
    database.run(lambda tx: tx.accounts.remove(_account(tx, ROMEO)))
    town.steps()
    kept = [tables.places, tables.locations, tables.rules, tables.rule_firings]
    rows = database.run(lambda tx: [len(tx.connection.execute(table.select()).all()) for table in kept])
    assert rows == [2, 0, 1, 1], "Benvolio's, and what his rule decided before"
    assert [(owner, item) for owner, _, item in town.fired()] == [(BENVOLIO, "post-2")]
    town.moves(BENVOLIO, INSIDE)
    assert town.fired() == []


def _account(tx: object, jid: JID) -> Account:
    account = tx.accounts.get(jid.localpart)  # type: ignore[attr-defined]  # a transaction
    assert isinstance(account, Account)
    return account
