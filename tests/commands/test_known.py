"""Whom and what people refer to in forms."""

from microblog.commands.command import Answer, Call, Command, Person
from microblog.commands.known import Known
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.model.uri import ItemAddress
from microblog.store.database import Database
from microblog.usecases import chatting, following, owning, registering, subscribing
from tests.conftest import DOMAIN
from tests.im.town import result

ROMEO, JULIET, PARIS = (JID(name, DOMAIN) for name in ("romeo", "juliet", "paris"))
ROSALINE = JID("rosaline", "capulet.example")


async def nothing(call: Call) -> Answer:
    return Answer()


def the_person(database: Database, name: str = "romeo") -> Person:
    account = database.run(registering.get_account, name)
    jid = account.jid(DOMAIN)
    return Person(account=account, jid=jid, address=jid.with_resource("a"))


def people(database: Database, command: str) -> list[JID]:
    about = Command(name=command, group="verona", function=nothing)
    return list(result(Known(database).people(the_person(database), about)))


def subscribes(database: Database, service: JID, jid: JID) -> None:
    database.run(subscribing.subscribe, subscribing.Subscribe(service=service, node=MICROBLOG, actor=jid, jid=jid))


def test_people_are_those_whom_the_command_is_about(database: Database) -> None:
    for name in ("romeo", "juliet", "paris"):
        database.run(registering.create_account, name, "secret")
    subscribes(database, JULIET, ROMEO)
    follow = following.Follow(account=ROMEO, service=ROSALINE, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
    database.run(following.record_subscribe, follow)
    subscribes(database, ROMEO, JULIET)
    options = {"access_model": ("authorize",)}
    configure = owning.Configure(service=ROMEO, node=MICROBLOG, actor=ROMEO, options=options)
    database.run(owning.configure, configure)
    subscribes(database, ROMEO, PARIS)
    assert people(database, "leave") == people(database, "whois") == [JULIET, ROSALINE]
    assert people(database, "lose") == [JULIET]
    assert people(database, "allow") == people(database, "deny") == [PARIS]


def test_names_are_of_those_who_are_here(database: Database) -> None:
    database.run(registering.create_account, "romeo", "secret")
    database.run(registering.create_account, "paris", "secret")
    database.run(registering.disable, "paris")
    known = Known(database)
    assert [result(known.account(name)) for name in ("romeo", "paris", "tybalt")] == [ROMEO, None, None]


def test_numbers_are_of_items_that_were_shown(database: Database) -> None:
    database.run(registering.create_account, "romeo", "secret")
    romeo, known, item = the_person(database), Known(database), ItemAddress(JULIET, MICROBLOG, "balcony")
    assert result(known.newest(romeo)) is None
    (number,) = database.run(chatting.show, romeo.account.key, [item], []).values()
    assert result(known.item(romeo, number)) == result(known.newest(romeo)) == item
    assert result(known.item(romeo, number + 1)) is None
