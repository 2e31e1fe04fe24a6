"""XEP-0160: messages to people who are not there."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.model.account import derive_keys
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import following, forgetting, holding, registering
from microblog.wire import notification, ns
from microblog.wire import stanza as stanzas
from microblog.wire.xml import Element
from tests.conftest import Time
from tests.im.town import Client, Town
from tests.xmltext import read

FROM_JULIET = "from='juliet@capulet.example/balcony'"
ROMEO = JID("romeo", "montague.example")
DELAY = "<delay xmlns='urn:xmpp:delay' from='montague.example' stamp='2026-01-01T12:00:00Z'>Offline Storage</delay>"


def says(town: Town, body: str, to: str = "romeo@montague.example", *, type_: str = "chat", more: str = "") -> None:
    town.inject(f"<message {FROM_JULIET} to='{to}' type='{type_}' id='m1'><body>{body}</body>{more}</message>")


def held(body: str, to: str = "romeo@montague.example", *, type_: str = "chat", more: str = "") -> str:
    return f"<message {FROM_JULIET} to='{to}' type='{type_}' id='m1'><body>{body}</body>{more}{DELAY}</message>"


def comes(client: Client, priority: int = 0) -> list[str]:
    """Send presence; the bodies of what is handed over."""
    client.sends(f"<presence><priority>{priority}</priority></presence>")
    return bodies(client)


def bodies(client: Client) -> list[str]:
    found = [element.child_text("jabber:client", "body") for element in client.hears() if element.name == "message"]
    return [body for body in found if body is not None]


def waiting(town: Town) -> int:
    return len(town.database.run(holding.waiting, ROMEO))


def test_what_was_said_meanwhile_is_handed_over_in_order_and_once(town: Town) -> None:
    says(town, "By whose direction found'st thou out this place?")
    says(town, "Romeo?", type_="normal")
    romeo = town.login("romeo", "orchard")
    romeo.receives()
    assert comes(romeo) == ["By whose direction found'st thou out this place?", "Romeo?"]
    assert waiting(town) == 0
    romeo.leaves()
    assert comes(town.login("romeo", "orchard")) == []
    town.world_hears()


def test_it_comes_as_it_was_with_the_time_at_which_it_came(town: Town, time: Time) -> None:
    more = "<delay xmlns='urn:xmpp:delay' from='capulet.example' stamp='1597-01-01T00:00:00Z'/><x xmlns='urn:x'/>"
    says(town, "Good night", more=more)
    time.advance(3600)
    romeo = town.login("romeo", "orchard")
    romeo.sends("<presence/>")
    presence, message = romeo.hears()
    assert presence.name == "presence"
    assert message == read(held("Good night", more=more))


def test_nobody_forges_the_time_in_our_name(town: Town) -> None:
    says(
        town, "Good night", more="<delay xmlns='urn:xmpp:delay' from='montague.example' stamp='1597-01-01T00:00:00Z'/>"
    )
    (message,) = town.database.run(holding.waiting, ROMEO)
    assert "1597" not in message.stanza and message.stanza.count("<delay") == 1


def test_what_is_said_to_a_session_that_is_gone_is_kept_for_the_account(town: Town) -> None:
    says(town, "Romeo!", "romeo@montague.example/gone")
    assert comes(town.login("romeo", "orchard")) == ["Romeo!"]


def test_who_is_there_for_others_only_gets_nothing_until_they_are_there(town: Town) -> None:
    """RFC 6121 §8.5.2.1.1: a negative priority is for nothing that is said to the account."""
    romeo = town.login("romeo", "orchard")
    assert comes(romeo, -1) == []
    says(town, "Romeo!")
    assert bodies(romeo) == [] and waiting(town) == 1
    assert comes(romeo, -5) == []
    assert comes(romeo, 1) == ["Romeo!"]
    assert comes(romeo, 0) == [] and waiting(town) == 0


def test_one_who_has_come_takes_all(town: Town) -> None:
    says(town, "Romeo!")
    orchard, street = town.login("romeo", "orchard"), town.login("romeo", "street")
    assert comes(orchard) == ["Romeo!"]
    assert comes(street) == [] and bodies(orchard) == []


@pytest.mark.parametrize(
    "message",
    [
        "<message {} type='groupchat'><body>All!</body></message>",
        "<message {} type='headline'><body>News!</body></message>",
        "<message {} type='error'><body>x</body><error type='cancel'/></message>",
        "<message {} type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message {} type='chat'><body>Hist!</body><no-store xmlns='urn:xmpp:hints'/></message>",
    ],
)
def test_what_is_not_kept(town: Town, message: str) -> None:
    town.inject(message.format(f"{FROM_JULIET} to='romeo@montague.example'"))
    assert waiting(town) == 0
    assert len(town.world_hears()) == ("groupchat" in message or "type='chat'" in message)


def test_what_says_that_it_is_to_be_kept_needs_no_body(town: Town) -> None:
    town.inject(
        f"<message {FROM_JULIET} to='romeo@montague.example' type='chat'><sealed xmlns='urn:x'/>"
        "<store xmlns='urn:xmpp:hints'/></message>"
    )
    assert waiting(town) == 1


def settle_rosaline(town: Town, audience: Audience) -> None:
    """Somebody whose feed is not for everybody."""
    town.database.run(registering.create_account, "rosaline", (), audience=audience)


def rosaline_has(town: Town) -> int:
    return len(town.database.run(holding.waiting, JID("rosaline", "montague.example")))


@pytest.mark.parametrize("audience", [Audience.FOLLOWERS, Audience.LOCAL])
@pytest.mark.parametrize(
    "from_", ["juliet@capulet.example/balcony", "romeo@montague.example/orchard", "capulet.example"]
)
def test_whoever_may_not_know_of_an_account_does_not_learn_of_it(town: Town, audience: Audience, from_: str) -> None:
    settle_rosaline(town, audience)
    may_know = audience is Audience.LOCAL and "montague" in from_
    for name in ("rosaline", "nobody"):
        town.inject(f"<message from='{from_}' to='{name}@montague.example' type='chat'><body>Hist!</body></message>")
    assert rosaline_has(town) == may_know
    if "capulet" in from_:
        answers = [element.replaced(**{"from": "*"}) for element in town.world_hears()]
        assert len(answers) == 2 and answers[0] == answers[1]


@pytest.mark.parametrize("state", ["from", "to", "both"])
def test_who_has_to_do_with_an_account_is_heard_later(town: Town, state: str) -> None:
    settle_rosaline(town, Audience.FOLLOWERS)
    town.makes_contact("rosaline", "juliet@capulet.example", state)
    says(town, "Rosaline!", "rosaline@montague.example")
    assert rosaline_has(town) == 1


def test_whom_the_account_asked_is_heard_later_and_who_only_asks_is_not(town: Town) -> None:
    settle_rosaline(town, Audience.FOLLOWERS)
    town.inject("<presence from='juliet@capulet.example' to='rosaline@montague.example' type='subscribe'/>")
    says(town, "Rosaline!", "rosaline@montague.example")
    assert rosaline_has(town) == 0
    rosaline = town.login("rosaline", "garden")
    rosaline.sends("<presence type='subscribe' to='juliet@capulet.example'/>")
    rosaline.leaves()
    says(town, "Rosaline!", "rosaline@montague.example")
    assert rosaline_has(town) == 1


def test_whom_the_account_follows_is_heard_later(town: Town) -> None:
    settle_rosaline(town, Audience.FOLLOWERS)

    def follow(tx: Transaction) -> None:
        account = JID("rosaline", "montague.example")
        juliet = JID.parse("juliet@capulet.example")
        following.record_subscribe(
            tx,
            following.Follow(account=account, service=juliet, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED),
        )

    town.database.run(follow)
    says(town, "Rosaline!", "rosaline@montague.example")
    assert rosaline_has(town) == 1


def test_an_accounts_own_address_elsewhere_is_heard_later(town: Town) -> None:
    settle_rosaline(town, Audience.FOLLOWERS)

    def ask(tx: Transaction) -> int:
        account = tx.accounts.get("rosaline")
        assert account is not None
        tx.linked.add(JID.parse("juliet@capulet.example"), account.key, asked_there=True)
        return account.key

    key = town.database.run(ask)
    says(town, "Rosaline!", "rosaline@montague.example")
    assert rosaline_has(town) == 0
    town.database.run(lambda tx: tx.linked.confirm(JID.parse("juliet@capulet.example"), key))
    says(town, "Rosaline!", "rosaline@montague.example")
    assert rosaline_has(town) == 1


def test_what_the_node_says_is_heard_later(town: Town) -> None:
    settle_rosaline(town, Audience.LOCAL)
    host = JID("", "montague.example")
    body = Element(ns.CLIENT, "body", {}, "Somebody says to be you.")
    town.router.send(stanzas.message("chat", host, JID("rosaline", "montague.example"), body))
    assert rosaline_has(town) == 1


def test_what_is_too_much_comes_back(town: Town) -> None:
    long = "o" * (holding.CHARACTERS_MAX // 3)
    for _ in range(2):
        says(town, long)
    town.world_receives()
    says(town, long)
    assert [element.get("type") for element in town.world_hears()] == ["error"]
    says(town, "Romeo?")
    town.world_receives()


def test_there_is_room_again_when_it_was_handed_over(town: Town) -> None:
    for number in range(holding.MESSAGES_MAX + 1):
        says(town, str(number))
    assert len(town.world_hears()) == 1
    romeo = town.login("romeo", "orchard")
    assert comes(romeo) == [str(number) for number in range(holding.MESSAGES_MAX)]
    romeo.leaves()
    says(town, "again")
    assert waiting(town) == 1


def test_what_nobody_comes_for_is_forgotten(town: Town, time: Time) -> None:
    says(town, "Romeo!")
    time.advance(timedelta(days=holding.DAYS).total_seconds())
    town.database.run(forgetting.forget)
    assert waiting(town) == 1
    time.advance(1)
    town.database.run(forgetting.forget)
    assert waiting(town) == 0


def test_a_message_that_comes_while_they_come_is_not_left_behind(town: Town) -> None:
    """It is being written down while they come on line and nothing is found for them."""
    slow = SlowWrites(town.database)
    town.held._database = slow  # type: ignore[assignment]
    inject_slowly(town, "Romeo!")
    romeo = town.login("romeo", "orchard")
    assert comes(romeo) == []
    slow.go_on()
    assert bodies(romeo) == ["Romeo!"]
    slow.go_on()
    assert waiting(town) == 0


def test_a_message_that_was_not_removed_comes_again(town: Town) -> None:
    says(town, "Romeo!")
    slow = SlowWrites(town.database)
    town.held._database = slow  # type: ignore[assignment]
    romeo = town.login("romeo", "orchard")
    assert comes(romeo) == ["Romeo!"]
    # The server ends here.
    again = Town(town.database, town.clock)
    assert comes(again.login("romeo", "orchard")) == ["Romeo!"]


def test_an_account_that_is_removed_leaves_nothing(town: Town) -> None:
    says(town, "Romeo!")
    town.database.run(registering.remove_account, "romeo", notification)
    with town.database.trial() as tx:
        assert tx.connection.exec_driver_sql("SELECT count(*) FROM held_messages").scalar() == 0


def test_an_account_that_is_disabled_gets_nothing(town: Town) -> None:
    town.database.run(registering.create_account, "admin", derive_keys("secret"), admin=True)
    town.database.run(registering.disable, "romeo")
    says(town, "Romeo!")
    assert [element.get("type") for element in town.world_hears()] == ["error"]
    assert waiting(town) == 0


def test_a_full_disk_keeps_nothing_for_anybody(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microblog.store.transaction.Transaction.disk_low", True)
    for name in ("romeo", "nobody"):
        says(town, "Romeo!", f"{name}@montague.example")
    assert [element.get("type") for element in town.world_hears()] == ["error", "error"]


class SlowWrites:
    """The database, whose writes are done and confirmed when the test says so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Deferred[Any], Any]] = []

    def read(self, fn: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return self._database.read(fn, *args)

    def write(self, fn: Callable[..., Any], *args: Any) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self._waiting.append((waiting, lambda: self._database.run(fn, *args)))
        return waiting

    def go_on(self) -> None:
        waiting, do = self._waiting.pop(0)
        waiting.callback(do())


def inject_slowly(town: Town, body: str) -> None:
    element = read(f"<message {FROM_JULIET} to='{ROMEO}' type='chat' id='m1'><body>{body}</body></message>")
    from_, to = JID.parse(element.attributes["from"]), JID.parse(element.attributes["to"])
    Deferred.fromCoroutine(town.router.from_server(element, from_, to, Proof.CERTIFICATE))
