"""RFC 6121 §3 and §4, as dialogues."""

import pytest
from twisted.internet.defer import Deferred

from microblog.im.presence import DIRECTED_MAX, REQUEST_MAX_BYTES
from microblog.im.roster import Rosters
from microblog.model.contact import Contact
from microblog.model.jid import JID
from microblog.usecases import registering, rostering
from microblog.wire import notification
from microblog.wire.errors import read_condition
from microblog.wire.stanza import Stanza
from microblog.xmpp.sessions import Session
from tests.im.town import SlowDatabase, Town, done, result
from tests.xmltext import read

JULIET = "juliet@capulet.example"
ROMEO = "romeo@montague.example"


class Ears:
    """An extension that lives by presence."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, ...]] = []

    def session_presence(self, session: Session, stanza: Stanza, initial: bool) -> None:
        self.heard.append(("session", str(session.jid), stanza.type, "initial" if initial else "later"))

    def contact_presence(self, account: JID, contact: Contact, stanza: Stanza) -> None:
        self.heard.append(("contact", str(account), str(stanza.from_), stanza.type, str(contact.subscription)))

    def contact_changed(self, account: JID, before: Contact | None, after: Contact | None) -> None:
        states = (str(contact.subscription) if contact else "-" for contact in (before, after))
        self.heard.append(("changed", str(account), *states))

    def hears(self) -> list[tuple[str, ...]]:
        heard, self.heard = self.heard, []
        return heard


@pytest.fixture
def ears(town: Town) -> Ears:
    ears = Ears()
    town.presence.listeners.append(ears)
    return ears


def roster_version(town: Town) -> str:
    return str(result(town.rosters.of(JID.parse(ROMEO))).version)


# On line and off


def test_initial_presence_tells_contacts_and_asks_for_theirs(town: Town) -> None:
    """§4.2.2: the audience is told, remote contacts that are seen are probed."""
    for name, subscription in (("juliet", "both"), ("nurse", "to"), ("tybalt", "from")):
        town.makes_contact("romeo", f"{name}@capulet.example", subscription)
    romeo = town.login("romeo", "orchard")
    romeo.sends("<presence id='p1'><show>away</show></presence>")
    own = "<presence {} from='romeo@montague.example/orchard' id='p1'><show>away</show></presence>"
    romeo.receives(own.format("to='romeo@montague.example'"))
    sent = sorted((element.get("type") or "", element.get("from"), element.get("to")) for element in town.world_hears())
    assert sent == [
        ("", "romeo@montague.example/orchard", "juliet@capulet.example"),
        ("", "romeo@montague.example/orchard", "tybalt@capulet.example"),
        ("probe", "romeo@montague.example", "juliet@capulet.example"),
        ("probe", "romeo@montague.example", "nurse@capulet.example"),
    ]


def test_our_people_see_each_other_come_change_and_go(town: Town) -> None:
    town.befriend("romeo", "benvolio")
    romeo = town.login("romeo", "orchard")
    romeo.sends("<presence><show>dnd</show></presence>")
    romeo.hears()
    benvolio = town.login("benvolio", "square")
    benvolio.sends("<presence/>")
    benvolio.receives(
        "<presence to='benvolio@montague.example' from='benvolio@montague.example/square'/>",
        "<presence to='benvolio@montague.example' from='romeo@montague.example/orchard'><show>dnd</show></presence>",
    )
    romeo.receives("<presence to='romeo@montague.example' from='benvolio@montague.example/square'/>")

    benvolio.sends("<presence><status>&lt;busy&gt;</status></presence>")
    romeo.receives(
        "<presence to='romeo@montague.example' from='benvolio@montague.example/square'>"
        "<status>&lt;busy&gt;</status></presence>"
    )
    benvolio.hears()
    benvolio.sends("<presence type='unavailable'><status>gone</status></presence>")
    gone = (
        "<presence to='{}@montague.example' from='benvolio@montague.example/square' type='unavailable'>"
        "<status>gone</status></presence>"
    )
    romeo.receives(gone.format("romeo"))
    benvolio.receives(gone.format("benvolio"))
    benvolio.sends("<presence type='unavailable'/>")
    benvolio.leaves()
    romeo.receives()
    benvolio.receives()
    town.world_receives()


def test_stream_that_ends_is_unavailable_presence(town: Town) -> None:
    town.makes_contact("romeo", JULIET, "both")
    orchard, street = town.online("romeo", "orchard"), town.online("romeo", "street")
    orchard.hears()
    street.leaves()
    gone = "<presence from='romeo@montague.example/street' to='{}' type='unavailable'/>"
    orchard.receives(gone.format(ROMEO))
    town.world_receives(gone.format(JULIET))


def test_sessions_of_one_account_see_each_other(town: Town) -> None:
    orchard = town.online("romeo", "orchard")
    street = town.login("romeo", "street")
    street.sends("<presence><priority>5</priority></presence>")
    here = (
        "<presence to='romeo@montague.example' from='romeo@montague.example/street'><priority>5</priority></presence>"
    )
    orchard.receives(here)
    street.receives(here, "<presence to='romeo@montague.example' from='romeo@montague.example/orchard'/>")


def test_new_session_of_the_same_name_keeps_the_presence_it_has_sent(town: Town) -> None:
    """A replaced stream ends after its successor came on line: nobody is to hear that it is gone."""
    town.makes_contact("romeo", JULIET, "from")
    old = town.online("romeo", "orchard")
    new = town.online("romeo", "orchard")
    assert old.line.failed is not None
    old.leaves()
    town.world_receives()
    assert new.session.available


def test_replaced_session_is_told_to_be_gone_when_the_new_one_is_silent(town: Town) -> None:
    town.makes_contact("romeo", JULIET, "from")
    old = town.online("romeo", "orchard")
    town.login("romeo", "orchard")
    old.leaves()
    assert [element.get("type") for element in town.world_hears()] == ["unavailable"]


@pytest.mark.parametrize(
    ("text", "priority"), [("5", 5), ("-128", -128), ("+3", 3), ("128", 0), ("-129", 0), ("x", 0), ("", 0), ("٣", 0)]
)
def test_priority_is_read_or_counts_as_none(town: Town, text: str, priority: int) -> None:
    romeo = town.login("romeo", "orchard")
    romeo.sends(f"<presence><priority>{text}</priority></presence>")
    assert romeo.session.priority == priority


def test_subscription_without_addressee_is_refused(town: Town) -> None:
    romeo = town.login("romeo", "orchard")
    romeo.sends("<presence type='subscribe' id='p'/>")
    (answer,) = romeo.hears()
    assert read_condition(answer)[0] == "bad-request"
    romeo.sends("<presence type='error'/>")
    romeo.receives()


def test_contact_who_withdrew_is_not_shown_though_the_other_roster_still_says_so(town: Town) -> None:
    """The rosters disagree; the one of who is looked at decides."""
    town.makes_contact("benvolio", ROMEO, "to")
    romeo = town.online("romeo", "orchard")
    benvolio = town.login("benvolio", "square")
    benvolio.sends("<presence/>")
    benvolio.receives("<presence to='benvolio@montague.example' from='benvolio@montague.example/square'/>")
    romeo.receives()


# Presence from elsewhere


def test_presence_from_elsewhere_goes_to_all_available_sessions(town: Town) -> None:
    town.makes_contact("romeo", JULIET, "to")
    orchard, street, silent = town.online("romeo", "orchard"), town.online("romeo", "street"), town.login("romeo", "x")
    orchard.hears()
    text = f"<presence from='{JULIET}/balcony' to='{ROMEO}'><show>chat</show></presence>"
    town.inject(text)
    orchard.receives(text)
    street.receives(text)
    silent.receives()


def test_presence_to_a_session_goes_there_and_nowhere_else(town: Town) -> None:
    orchard, street = town.online("romeo", "orchard"), town.online("romeo", "street")
    orchard.hears()
    text = f"<presence from='room@capulet.example/juliet' to='{ROMEO}/street'/>"
    town.inject(text)
    town.inject(f"<presence from='room@capulet.example/juliet' to='{ROMEO}/gone'/>")
    street.receives(text)
    orchard.receives()
    town.world_receives()


def test_presence_loses_a_delay_in_our_name(town: Town) -> None:
    romeo = town.online("romeo", "orchard")
    delay = "<delay xmlns='urn:xmpp:delay' from='montague.example' stamp='1597-01-01T00:00:00Z'/>"
    town.inject(f"<presence from='{JULIET}/balcony' to='{ROMEO}'>{delay}</presence>")
    romeo.receives(f"<presence from='{JULIET}/balcony' to='{ROMEO}'/>")


def test_listeners_hear_of_remote_contacts_whether_the_account_is_on_line_or_not(town: Town, ears: Ears) -> None:
    town.makes_contact("romeo", JULIET, "both")
    town.makes_contact("romeo", "tybalt@capulet.example", "from")
    ears.hears()
    town.inject(f"<presence from='{JULIET}/balcony' to='{ROMEO}'/>")
    town.inject(f"<presence from='tybalt@capulet.example/x' to='{ROMEO}'/>")
    town.inject(f"<presence from='stranger@capulet.example/x' to='{ROMEO}'/>")
    town.inject(f"<presence from='{JULIET}/balcony' to='nobody@montague.example'/>")
    assert ears.hears() == [
        ("contact", ROMEO, f"{JULIET}/balcony", "available", "both"),
        ("contact", ROMEO, "tybalt@capulet.example/x", "available", "from"),
    ]
    town.online("romeo", "orchard")
    ears.hears()
    town.inject(f"<presence from='{JULIET}/balcony' to='{ROMEO}' type='unavailable'/>")
    assert ears.hears() == [("contact", ROMEO, f"{JULIET}/balcony", "unavailable", "both")]


def test_listeners_hear_of_our_sessions_once(town: Town, ears: Ears) -> None:
    town.befriend("romeo", "benvolio")
    town.online("benvolio", "square")
    ears.hears()
    romeo = town.login("romeo", "orchard")
    for text in ("<presence/>", "<presence><show>away</show></presence>", "<presence type='unavailable'/>"):
        romeo.sends(text)
    romeo.sends("<presence to='benvolio@montague.example'/>")
    romeo.sends("<presence/>")
    romeo.leaves()
    assert ears.hears() == [
        ("session", f"{ROMEO}/orchard", "available", "initial"),
        ("session", f"{ROMEO}/orchard", "available", "later"),
        ("session", f"{ROMEO}/orchard", "unavailable", "later"),
        ("session", f"{ROMEO}/orchard", "available", "initial"),
        ("session", f"{ROMEO}/orchard", "unavailable", "later"),
    ]


def test_listeners_hear_of_subscriptions(town: Town, ears: Ears) -> None:
    town.makes_contact("romeo", JULIET, "both")
    town.inject(f"<presence type='unsubscribe' from='{JULIET}' to='{ROMEO}'/>")
    romeo = town.login("romeo", "orchard")
    romeo.sends(
        f"<iq type='set' id='1'><query xmlns='jabber:iq:roster'>"
        f"<item jid='{JULIET}' subscription='remove'/></query></iq>"
    )
    changes = [heard[2:] for heard in ears.hears()]
    assert [(before.replace("-", "none"), after.replace("-", "none")) for before, after in changes] == [
        ("none", "to"),
        ("to", "both"),
        ("both", "to"),
        ("to", "none"),
    ]


# Probes


def test_probe_by_a_subscriber_is_answered_with_the_presence_of_each_session(town: Town) -> None:
    town.makes_contact("romeo", JULIET, "from")
    town.online("romeo", "orchard")
    town.login("romeo", "street").sends("<presence><show>xa</show></presence>")
    town.world_hears()
    town.inject(f"<presence type='probe' from='{JULIET}/balcony' to='{ROMEO}'/>")
    town.world_receives(
        f"<presence from='{ROMEO}/orchard' to='{JULIET}/balcony'/>",
        f"<presence from='{ROMEO}/street' to='{JULIET}/balcony'><show>xa</show></presence>",
    )
    town.inject(f"<presence type='probe' from='{JULIET}' to='{ROMEO}/street'/>")
    town.world_receives(f"<presence from='{ROMEO}/street' to='{JULIET}'><show>xa</show></presence>")


def test_probe_by_a_subscriber_learns_that_nobody_is_there(town: Town) -> None:
    town.makes_contact("romeo", JULIET, "from")
    town.login("romeo", "silent")
    town.inject(f"<presence type='probe' from='{JULIET}' to='{ROMEO}'/>")
    town.world_receives(f"<presence from='{ROMEO}' to='{JULIET}' type='unavailable'/>")


@pytest.mark.parametrize("name", ["romeo", "nobody"])
def test_probe_by_a_stranger_learns_nothing(town: Town, name: str) -> None:
    """The same answer for somebody who does not share presence and for nobody."""
    town.makes_contact("romeo", JULIET, "to")
    town.online("romeo", "orchard")
    town.inject(f"<presence type='probe' from='{JULIET}' to='{name}@montague.example'/>")
    town.world_receives(f"<presence from='{name}@montague.example' to='{JULIET}' type='unsubscribed'/>")


def test_answers_to_our_own_probe_reach_the_listeners(town: Town, ears: Ears) -> None:
    town.makes_contact("romeo", JULIET, "both")
    ears.hears()
    done(town.presence.probe(JID.parse(ROMEO), JID.parse(JULIET)))
    town.world_receives(f"<presence from='{ROMEO}' to='{JULIET}' type='probe'/>")
    town.inject(f"<presence from='{JULIET}/balcony' to='{ROMEO}'/>")
    assert len(ears.hears()) == 1


# Directed presence


def test_whoever_got_directed_presence_hears_of_its_end(town: Town) -> None:
    """§4.6.3: in or out of the roster, and each once."""
    town.makes_contact("romeo", JULIET, "both")
    romeo = town.login("romeo", "orchard")
    for to in ("room@capulet.example/romeo", f"{JULIET}/balcony", "nurse@capulet.example"):
        romeo.sends(f"<presence to='{to}'/>")
    romeo.sends("<presence to='nurse@capulet.example' type='unavailable'/>")
    romeo.sends("<presence/>")
    romeo.hears()
    town.world_hears()
    romeo.leaves()
    gone = town.world_hears()
    assert {(element.get("from"), element.get("type")) for element in gone} == {(f"{ROMEO}/orchard", "unavailable")}
    assert sorted(str(element.get("to")) for element in gone) == [JULIET, "room@capulet.example/romeo"]


def test_directed_presence_ends_for_contacts_too_when_nothing_was_broadcast(town: Town) -> None:
    town.makes_contact("romeo", JULIET, "both")
    romeo = town.login("romeo", "orchard")
    romeo.sends(f"<presence to='{JULIET}'/>")
    town.world_hears()
    romeo.sends("<presence type='unavailable'/>")
    town.world_receives(f"<presence from='{ROMEO}/orchard' to='{JULIET}' type='unavailable'/>")
    romeo.receives()


def test_directed_presence_is_not_an_update_for_the_audience(town: Town) -> None:
    town.befriend("romeo", "benvolio")
    romeo, benvolio = town.online("romeo", "orchard"), town.online("benvolio", "square")
    romeo.hears()
    romeo.sends("<presence to='mercutio@montague.example'><show>chat</show></presence>")
    benvolio.receives()
    romeo.receives()
    assert romeo.session.presence is not None
    assert romeo.session.presence.element.children == []


def test_directed_presence_has_a_bound(town: Town) -> None:
    romeo = town.login("romeo", "orchard")
    for number in range(DIRECTED_MAX):
        romeo.sends(f"<presence to='room{number}@capulet.example/romeo'/>")
    assert len(town.world_hears()) == DIRECTED_MAX
    romeo.sends("<presence to='one.more@capulet.example/romeo' id='p'/>")
    (answer,) = romeo.hears()
    assert read_condition(answer)[0] == "resource-constraint"
    town.world_receives()
    romeo.sends("<presence to='room1@capulet.example/romeo'/>")
    assert len(town.world_hears()) == 1


def test_error_for_directed_presence_reaches_the_client_once(town: Town) -> None:
    romeo = town.online("romeo", "orchard")
    romeo.sends("<presence to='room@capulet.example/romeo' id='p'/>")
    town.world_hears()
    error = (
        f"<presence from='room@capulet.example/romeo' to='{ROMEO}/orchard' type='error' id='p'>"
        "<error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
    )
    town.inject(error)
    romeo.receives(error)
    town.inject(error)
    romeo.receives()
    romeo.leaves()
    town.world_receives()


def test_error_for_broadcast_presence_is_dropped(town: Town) -> None:
    town.makes_contact("romeo", JULIET, "both")
    romeo = town.online("romeo", "orchard")
    for to in (ROMEO, f"{ROMEO}/orchard", f"{ROMEO}/gone", "nobody@montague.example", "montague.example"):
        town.inject(f"<presence from='{JULIET}' to='{to}' type='error'/>")
    romeo.receives()
    town.world_receives()


# Subscriptions: our people ask


def test_request_is_sent_pushed_and_approved(town: Town) -> None:
    """§3.1.2 to §3.1.6, seen from the one who asks."""
    romeo = town.online("romeo", "orchard")
    romeo.sends(f"<presence type='subscribe' to='{JULIET}/balcony' id='x'/>")
    town.world_receives(f"<presence from='{ROMEO}' to='{JULIET}' type='subscribe' id='x'/>")
    push = (
        f"<iq from='{ROMEO}' to='{ROMEO}/orchard' type='set' id='*'><query xmlns='jabber:iq:roster' ver='{{}}'>"
        "<item jid='juliet@capulet.example' {}/></query></iq>"
    )
    romeo.receives(push.format(roster_version(town), "subscription='none' ask='subscribe'"))
    town.inject(f"<presence from='{JULIET}/balcony' to='{ROMEO}/orchard' type='subscribed'/>")
    romeo.receives(
        f"<presence from='{JULIET}' to='{ROMEO}' type='subscribed'/>",
        push.format(roster_version(town), "subscription='to'"),
    )
    town.inject(f"<presence from='{JULIET}' to='{ROMEO}' type='subscribed'/>")
    romeo.receives()


def test_request_without_answer_is_sent_again_at_the_next_login(town: Town) -> None:
    town.login("romeo", "orchard").sends(f"<presence type='subscribe' to='{JULIET}'/>")
    town.world_hears()
    town.login("romeo", "street").sends("<presence/>")
    town.world_receives(f"<presence from='{ROMEO}' to='{JULIET}' type='subscribe'/>")
    town.login("romeo", "cell").sends("<presence/>")
    town.world_receives()


@pytest.mark.parametrize("type_", ["subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe"])
@pytest.mark.parametrize("to", [ROMEO, "nobody@montague.example"])
def test_subscribing_to_oneself_or_nobody_harms_nothing(town: Town, type_: str, to: str) -> None:
    """And it changes nobody's roster but the asker's."""
    romeo = town.online("romeo", "orchard")
    romeo.sends(f"<presence type='{type_}' to='{to}'/>")
    assert romeo.line.failed is None
    assert [element.get("type") for element in romeo.hears() if element.name == "iq"] in ([], ["set"])
    assert town.find_contact("romeo", ROMEO) is None
    assert town.find_contact("nobody", ROMEO) is None
    town.world_receives()


@pytest.mark.parametrize("node", ["montague.example", "post@montague.example"])
def test_the_node_itself_is_a_contact_that_is_always_there(town: Town, node: str) -> None:
    romeo = town.login("romeo", "orchard").comes_online()
    romeo.sends(f"<presence type='subscribe' to='{node}'/>")
    assert [element.get("type") for element in romeo.hears() if element.name == "presence"] == [None]
    assert str(town.contact("romeo", node).subscription) == "to"
    later = town.login("romeo", "street")
    later.sends("<presence/>")
    assert node in [element.get("from") for element in later.hears()]
    romeo.hears()
    romeo.sends(f"<presence type='unsubscribe' to='{node}'/>")
    assert town.contact("romeo", node).subscription == "none"


def test_the_node_itself_is_there_for_strangers_too(town: Town) -> None:
    town.inject("<presence type='subscribe' from='juliet@capulet.example' to='post@montague.example'/>")
    town.world_receives(
        "<presence from='post@montague.example' to='juliet@capulet.example' type='subscribed'/>",
        "<presence from='post@montague.example' to='juliet@capulet.example'/>",
    )
    town.inject("<presence from='juliet@capulet.example/balcony' to='post@montague.example'/>")
    town.inject("<presence type='unsubscribed' from='juliet@capulet.example' to='post@montague.example'/>")
    town.world_receives()


def test_request_to_nobody_looks_like_a_request_to_somebody_who_is_silent(town: Town) -> None:
    for name in ("benvolio", "nobody"):
        town.inject(f"<presence type='subscribe' from='{JULIET}' to='{name}@montague.example'/>")
    town.world_receives()


def test_unsubscribing_is_told_to_the_contact(town: Town) -> None:
    town.makes_contact("romeo", JULIET, "both")
    romeo = town.online("romeo", "orchard")
    romeo.sends(f"<presence type='unsubscribe' to='{JULIET}'/>")
    town.world_receives(f"<presence from='{ROMEO}' to='{JULIET}' type='unsubscribe'/>")
    assert [element.name for element in romeo.hears()] == ["iq"]
    assert str(town.contact("romeo", JULIET).subscription) == "from"


# Subscriptions: our people are asked


def test_request_waits_for_those_who_are_off_line_and_is_delivered_until_it_is_answered(town: Town) -> None:
    """§3.1.3."""
    request = f"<presence type='subscribe' from='{JULIET}' to='{ROMEO}'><status>Let me see thee</status></presence>"
    town.inject(request)
    own = "<presence to='romeo@montague.example' from='romeo@montague.example/{}'/>"
    for _ in range(2):
        romeo = town.login("romeo", "orchard")
        assert romeo.asks_for_roster() == []
        romeo.sends("<presence/>")
        romeo.receives(own.format("orchard"), request)
        romeo.leaves()
    romeo = town.online("romeo", "orchard")
    romeo.sends(f"<presence type='subscribed' to='{JULIET}'/>")
    assert [element.name for element in romeo.hears()] == ["iq"]
    romeo.leaves()
    romeo = town.login("romeo", "orchard")
    romeo.sends("<presence/>")
    romeo.receives(own.format("orchard"))


def test_request_that_says_too_much_is_kept_without_it(town: Town) -> None:
    status = "x" * REQUEST_MAX_BYTES
    town.inject(f"<presence type='subscribe' from='{JULIET}' to='{ROMEO}'><status>{status}</status></presence>")
    romeo = town.login("romeo", "orchard")
    romeo.sends("<presence/>")
    assert romeo.hears()[1].children == []


def test_request_is_delivered_at_once_to_available_sessions(town: Town) -> None:
    romeo, silent = town.online("romeo", "orchard"), town.login("romeo", "silent")
    town.inject(f"<presence type='subscribe' from='{JULIET}/balcony' to='{ROMEO}'/>")
    romeo.receives(f"<presence type='subscribe' from='{JULIET}' to='{ROMEO}'/>")
    silent.receives()


def test_approval_shows_presence(town: Town) -> None:
    """§3.1.5."""
    romeo = town.online("romeo", "orchard")
    town.inject(f"<presence type='subscribe' from='{JULIET}' to='{ROMEO}'/>")
    romeo.sends(f"<presence type='subscribed' to='{JULIET}'/>")
    town.world_receives(
        f"<presence from='{ROMEO}' to='{JULIET}' type='subscribed'/>",
        f"<presence from='{ROMEO}/orchard' to='{JULIET}'/>",
    )
    assert str(town.contact("romeo", JULIET).subscription) == "from"


def test_denial_shows_nothing(town: Town) -> None:
    romeo = town.online("romeo", "orchard")
    town.inject(f"<presence type='subscribe' from='{JULIET}' to='{ROMEO}'/>")
    romeo.sends(f"<presence type='unsubscribed' to='{JULIET}'/>")
    town.world_receives(f"<presence from='{ROMEO}' to='{JULIET}' type='unsubscribed'/>")
    romeo.leaves()
    again = town.login("romeo", "orchard")
    again.sends("<presence/>")
    assert len(again.hears()) == 1


def test_subscriber_who_asks_again_is_told_again(town: Town) -> None:
    town.makes_contact("romeo", JULIET, "from")
    town.inject(f"<presence type='subscribe' from='{JULIET}' to='{ROMEO}'/>")
    town.world_receives(f"<presence from='{ROMEO}' to='{JULIET}' type='subscribed'/>")


def test_cancelling_a_subscription_hides_presence(town: Town) -> None:
    """§3.2.2."""
    town.makes_contact("romeo", JULIET, "both")
    romeo = town.online("romeo", "orchard")
    romeo.sends(f"<presence type='unsubscribed' to='{JULIET}'/>")
    town.world_receives(
        f"<presence from='{ROMEO}/orchard' to='{JULIET}' type='unavailable'/>",
        f"<presence from='{ROMEO}' to='{JULIET}' type='unsubscribed'/>",
    )
    romeo.sends("<presence><show>away</show></presence>")
    town.world_receives()


def test_subscriber_who_leaves_sees_no_more(town: Town) -> None:
    """§3.3.3."""
    town.makes_contact("romeo", JULIET, "from")
    romeo = town.online("romeo", "orchard")
    town.inject(f"<presence type='unsubscribe' from='{JULIET}' to='{ROMEO}'/>")
    assert [(element.name, element.get("type")) for element in romeo.hears()] == [
        ("presence", "unsubscribe"),
        ("iq", "set"),
    ]
    assert f"{ROMEO}/orchard" in [element.get("from") for element in town.world_hears()]
    romeo.sends("<presence><show>away</show></presence>")
    town.world_receives()


def test_subscription_between_our_people(town: Town) -> None:
    romeo, benvolio = town.online("romeo", "orchard"), town.online("benvolio", "square")
    romeo.sends("<presence type='subscribe' to='benvolio@montague.example'/>")
    assert [element.name for element in romeo.hears()] == ["iq"]
    benvolio.receives(f"<presence type='subscribe' from='{ROMEO}' to='benvolio@montague.example'/>")
    benvolio.sends(f"<presence type='subscribed' to='{ROMEO}'/>")
    assert [(element.name, element.get("type"), element.get("from")) for element in romeo.hears()] == [
        ("presence", "subscribed", "benvolio@montague.example"),
        ("iq", "set", ROMEO),
        ("presence", None, "benvolio@montague.example/square"),
    ]
    assert str(town.contact("romeo", "benvolio@montague.example").subscription) == "to"
    assert str(town.contact("benvolio", ROMEO).subscription) == "from"
    town.world_receives()


def test_account_that_is_removed_leaves_its_contacts(town: Town) -> None:
    town.makes_contact("romeo", JULIET, "both")
    romeo = town.online("romeo", "orchard")
    contact = town.contact("romeo", JULIET)
    town.database.run(registering.remove_account, "romeo", notification)
    done(town.presence.account_removed(JID.parse(ROMEO), [contact]))
    town.world_receives(
        f"<presence from='{ROMEO}/orchard' to='{JULIET}' type='unavailable'/>",
        f"<presence from='{ROMEO}' to='{JULIET}' type='unsubscribed'/>",
        f"<presence from='{ROMEO}' to='{JULIET}' type='unsubscribe'/>",
    )
    romeo.leaves()
    town.world_receives()


def test_full_roster_is_said_to_the_client(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rostering, "ROSTER_MAX", 1)
    romeo = town.login("romeo", "orchard")
    romeo.sends(f"<presence type='subscribe' to='{JULIET}'/>")
    romeo.hears()
    town.world_hears()
    romeo.sends("<presence type='subscribe' to='nurse@capulet.example' id='p'/>")
    (answer,) = romeo.hears()
    assert (read_condition(answer)[0], answer.get("id")) == ("resource-constraint", "p")
    town.world_receives()


def test_one_may_probe_oneself(town: Town) -> None:
    romeo = town.online("romeo", "orchard")
    romeo.sends(f"<presence type='probe' to='{ROMEO}'/>")
    romeo.receives(f"<presence from='{ROMEO}/orchard' to='{ROMEO}/orchard'/>")


def test_contacts_are_forgotten_with_the_last_session(town: Town) -> None:
    orchard, street = town.online("romeo", "orchard"), town.online("romeo", "street")
    assert len(town.rosters) == 1
    orchard.leaves()
    assert len(town.rosters) == 1
    street.leaves()
    assert len(town.rosters) == 0


def test_session_that_ends_while_its_contacts_are_read_was_never_there(town: Town, ears: Ears) -> None:
    town.makes_contact("romeo", JULIET, "both")
    ears.hears()
    slow = SlowDatabase(town.database)
    town.presence.rosters = Rosters(slow, town.sessions)  # type: ignore[arg-type]  # it has what Rosters use
    romeo = town.login("romeo", "orchard")
    Deferred.fromCoroutine(town.router.from_client(romeo.session, read("<presence/>")))
    romeo.leaves()
    slow.answer()
    town.world_receives()
    assert ears.hears() == []
    assert len(town.presence.rosters) == 0
