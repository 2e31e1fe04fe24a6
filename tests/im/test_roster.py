"""RFC 6121 §2: a roster is shown, changed and pushed."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.im.roster import Rosters
from microblog.model.jid import JID
from microblog.usecases import rostering
from microblog.wire.errors import read_condition
from tests.im.town import SlowDatabase, Town, result

ROMEO = JID.parse("romeo@montague.example")
JULIET = JID.parse("juliet@capulet.example")


def a_set(item: str, *, to: str = "") -> str:
    return f"<iq type='set' id='s' {to}><query xmlns='jabber:iq:roster'>{item}</query></iq>"


def a_push(item: str, *, resource: str = "orchard", ver: str = "*") -> str:
    return (
        f"<iq from='romeo@montague.example' to='romeo@montague.example/{resource}' type='set' id='*'>"
        f"<query xmlns='jabber:iq:roster' ver='{ver}'>{item}</query></iq>"
    )


OK = "<iq from='romeo@montague.example' to='romeo@montague.example/orchard' type='result' id='s'/>"


def version(town: Town) -> int:
    return int(result(town.rosters.of(ROMEO)).version)


def test_new_roster_is_empty(town: Town) -> None:
    assert town.login("romeo", "orchard").asks_for_roster() == []


def test_contact_is_added_changed_and_pushed_to_every_session_that_asked(town: Town) -> None:
    orchard, street, silent = (town.login("romeo", name) for name in ("orchard", "street", "silent"))
    orchard.asks_for_roster()
    street.asks_for_roster()
    item = "<item jid='juliet@capulet.example' name='Juliet'><group>Verona</group></item>"
    orchard.sends(a_set(item))
    shown = "<item jid='juliet@capulet.example' subscription='none' name='Juliet'><group>Verona</group></item>"
    ver = str(version(town))
    orchard.receives(a_push(shown, ver=ver), OK)
    street.receives(a_push(shown, ver=ver, resource="street"))
    silent.receives()

    orchard.sends(a_set("<item jid='Juliet@capulet.example/balcony' name=''/>"))
    shown = "<item jid='juliet@capulet.example' subscription='none'/>"
    assert version(town) > int(ver)
    orchard.receives(a_push(shown, ver=str(version(town))), OK)
    assert [item.get("jid") for item in orchard.asks_for_roster()] == ["juliet@capulet.example"]


def test_client_cannot_set_its_own_subscription(town: Town) -> None:
    romeo = town.login("romeo", "orchard")
    romeo.sends(a_set("<item jid='juliet@capulet.example' subscription='both' ask='subscribe'/>"))
    (item,) = (romeo.hears(), romeo.asks_for_roster())[1]
    assert (item.get("subscription"), item.get("ask")) == ("none", None)


@pytest.mark.parametrize(
    ("item", "condition"),
    [
        ("", "bad-request"),
        ("<item jid='a@b.example'/><item jid='c@d.example'/>", "bad-request"),
        ("<item name='Juliet'/>", "bad-request"),
        ("<item jid='@'/>", "jid-malformed"),
        ("<item jid='a@b.example'><group>x</group><group>x</group></item>", "bad-request"),
        ("<item jid='a@b.example'><group/></item>", "not-acceptable"),
        (f"<item jid='a@b.example' name='{'n' * 1024}'/>", "not-acceptable"),
        (f"<item jid='a@b.example'><group>{'n' * 1024}</group></item>", "not-acceptable"),
        ("<item jid='romeo@montague.example'/>", "not-allowed"),
        ("<item jid='nobody@b.example' subscription='remove'/>", "item-not-found"),
    ],
)
def test_wrong_item_is_refused(town: Town, item: str, condition: str) -> None:
    romeo = town.login("romeo", "orchard")
    romeo.sends(a_set(item))
    (answer,) = romeo.hears()
    assert read_condition(answer)[0] == condition
    assert romeo.asks_for_roster() == []


def test_nobody_else_touches_a_roster(town: Town) -> None:
    """Neither our people nor others, and no answer tells whether the account exists."""
    romeo = town.login("romeo", "orchard")
    romeo.asks_for_roster()
    benvolio = town.login("benvolio", "square")
    for name in ("romeo", "nobody"):
        benvolio.sends(a_set("<item jid='tybalt@capulet.example'/>", to=f"to='{name}@montague.example'"))
        (answer,) = benvolio.hears()
        assert read_condition(answer)[0] == "forbidden"
        town.inject(
            a_set(
                "<item jid='tybalt@capulet.example'/>",
                to=f"from='juliet@capulet.example/balcony' to='{name}@montague.example'",
            )
        )
        (answer,) = town.world_hears()
        assert read_condition(answer)[0] == "service-unavailable"
    romeo.receives()
    assert romeo.asks_for_roster() == []


def test_push_from_a_stranger_goes_nowhere(town: Town) -> None:
    """A set to the full JID reaches the client, whose task it is to refuse it; the server's roster stays as it is."""
    romeo = town.login("romeo", "orchard")
    push = a_set(
        "<item jid='tybalt@capulet.example'/>",
        to="from='tybalt@capulet.example/x' to='romeo@montague.example/orchard'",
    )
    town.inject(push)
    romeo.receives(push)
    assert romeo.asks_for_roster() == []


def test_current_version_is_answered_with_nothing(town: Town) -> None:
    """§2.6.3."""
    romeo = town.login("romeo", "orchard")
    romeo.sends(a_set("<item jid='juliet@capulet.example'/>"))
    romeo.hears()
    current = version(town)
    get = "<iq type='get' id='s'><query xmlns='jabber:iq:roster' ver='{}'/></iq>"
    romeo.sends(get.format(current))
    romeo.receives(OK)
    romeo.sends(get.format(current - 1))
    (answer,) = romeo.hears()
    assert answer.first() is not None
    # It asked, so it is told of changes, whatever the answer was.
    romeo.sends(a_set("<item jid='juliet@capulet.example' subscription='remove'/>"))
    romeo.receives(a_push("<item jid='juliet@capulet.example' subscription='remove'/>"), OK)


def test_removal_ends_both_subscriptions(town: Town) -> None:
    """§2.5.2."""
    town.makes_contact("romeo", "juliet@capulet.example", "both")
    romeo = town.online("romeo", "orchard")
    romeo.sends(a_set("<item jid='juliet@capulet.example' subscription='remove'/>"))
    romeo.receives(a_push("<item jid='juliet@capulet.example' subscription='remove'/>"), OK)
    town.world_receives(
        "<presence from='romeo@montague.example/orchard' to='juliet@capulet.example' type='unavailable'/>",
        "<presence from='romeo@montague.example' to='juliet@capulet.example' type='unsubscribed'/>",
        "<presence from='romeo@montague.example' to='juliet@capulet.example' type='unsubscribe'/>",
    )
    assert romeo.asks_for_roster() == []
    assert town.find_contact("romeo", "juliet@capulet.example") is None


def test_removal_reaches_the_other_roster_of_our_own(town: Town) -> None:
    town.befriend("romeo", "benvolio")
    romeo, benvolio = town.online("romeo", "orchard"), town.online("benvolio", "square")
    romeo.hears()
    romeo.sends(a_set("<item jid='benvolio@montague.example' subscription='remove'/>"))
    received = [(element.name, element.get("type")) for element in benvolio.hears()]
    assert ("presence", "unavailable") in received
    assert ("presence", "unsubscribed") in received
    assert str(town.contact("benvolio", "romeo@montague.example").subscription) == "none"
    assert town.find_contact("romeo", "benvolio@montague.example") is None


def test_contacts_changed_while_they_are_read_are_read_again(town: Town) -> None:
    slow = SlowDatabase(town.database)
    rosters = Rosters(slow, town.sessions)  # type: ignore[arg-type]  # it has what Rosters use
    town.login("romeo", "orchard")
    got: list[Any] = []
    Deferred.fromCoroutine(rosters.of(ROMEO)).addCallback(got.append)
    rosters.changed(town.database.run(rostering.set_contact, ROMEO, JULIET, "", ()))
    slow.answer()
    assert not got
    slow.answer()
    assert list(got[0].contacts) == [JULIET]
    assert not slow.waiting


def test_contacts_are_kept_in_memory_only_while_somebody_is_on_line(town: Town) -> None:
    slow = SlowDatabase(town.database)
    rosters = Rosters(slow, town.sessions)  # type: ignore[arg-type]  # it has what Rosters use

    def reads() -> int:
        Deferred.fromCoroutine(rosters.of(ROMEO))
        count = len(slow.waiting)
        while slow.waiting:
            slow.answer()
        return count

    assert [reads(), reads()] == [1, 1]
    romeo = town.login("romeo", "orchard")
    assert [reads(), reads()] == [1, 0]
    town.sessions.unbind(romeo.session)
    rosters.release(ROMEO)
    assert reads() == 1
