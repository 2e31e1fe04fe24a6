"""RFC 6121 §8.5: who gets a message."""

import pytest

from microblog.model.errors import Forbidden
from microblog.model.item import Audience
from microblog.usecases import registering
from microblog.wire.stanza import Stanza
from microblog.xmpp.dispatch import Extension, MessageRoute
from tests.im.town import Town

FROM_JULIET = "from='juliet@capulet.example/balcony'"
UNAVAILABLE = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"


def test_message_to_a_full_jid_goes_to_that_session_only(town: Town) -> None:
    orchard, street = town.online("romeo", "orchard"), town.online("romeo", "street")
    orchard.hears()
    town.inject(f"<message {FROM_JULIET} to='romeo@montague.example/orchard' type='chat'><body>Ay me!</body></message>")
    orchard.receives(
        f"<message {FROM_JULIET} to='romeo@montague.example/orchard' type='chat'><body>Ay me!</body></message>"
    )
    street.receives()


def test_message_to_a_full_jid_reaches_a_session_that_has_sent_no_presence(town: Town) -> None:
    romeo = town.login("romeo", "orchard")
    text = f"<message {FROM_JULIET} to='romeo@montague.example/orchard'><body>Hist!</body></message>"
    town.inject(text)
    romeo.receives(text)


@pytest.mark.parametrize("type_", ["", "type='chat'", "type='headline'"])
def test_message_to_an_account_goes_to_all_sessions_of_priority_not_negative(town: Town, type_: str) -> None:
    orchard, street, cell = (town.online("romeo", resource) for resource in ("orchard", "street", "cell"))
    silent = town.login("romeo", "silent")
    cell.sends("<presence><priority>-1</priority></presence>")
    for client in (orchard, street, cell):
        client.hears()
    text = f"<message {FROM_JULIET} to='romeo@montague.example' {type_}><body>Romeo!</body></message>"
    town.inject(text)
    orchard.receives(text)
    street.receives(text)
    cell.receives()
    silent.receives()
    town.world_receives()


@pytest.mark.parametrize(
    "to", ["rosaline@montague.example", "rosaline@montague.example/gone", "nobody@montague.example"]
)
@pytest.mark.parametrize("type_", ["normal", "chat", "groupchat"])
def test_message_that_nobody_can_get_is_refused_alike_with_and_without_account(town: Town, to: str, type_: str) -> None:
    """As far as Juliet may know, nobody has an account of that name."""
    town.database.run(registering.create_account, "rosaline", (), audience=Audience.FOLLOWERS)
    town.inject(f"<message {FROM_JULIET} to='{to}' type='{type_}' id='m1'><body>Romeo!</body></message>")
    town.world_receives(
        f"<message from='{to}' to='juliet@capulet.example/balcony' type='error' id='m1'>{UNAVAILABLE}</message>"
    )


@pytest.mark.parametrize("to", ["romeo@montague.example", "romeo@montague.example/gone", "nobody@montague.example"])
def test_headline_that_nobody_can_get_is_dropped(town: Town, to: str) -> None:
    town.inject(f"<message {FROM_JULIET} to='{to}' type='headline'><body>Romeo!</body></message>")
    town.world_receives()


def test_chat_to_a_session_that_is_gone_goes_to_the_account(town: Town) -> None:
    """§8.5.3.2.1; any other type does not."""
    romeo = town.online("romeo", "orchard")
    text = f"<message {FROM_JULIET} to='romeo@montague.example/gone' type='chat'><body>Romeo!</body></message>"
    town.inject(text)
    romeo.receives(text)
    town.inject(f"<message {FROM_JULIET} to='romeo@montague.example/gone' id='m2'><body>Romeo!</body></message>")
    romeo.receives()
    assert [element.get("type") for element in town.world_hears()] == ["error"]


def test_groupchat_never_goes_to_an_account(town: Town) -> None:
    romeo = town.online("romeo", "orchard")
    town.inject(f"<message {FROM_JULIET} to='romeo@montague.example' type='groupchat'><body>All!</body></message>")
    romeo.receives()
    assert [element.get("type") for element in town.world_hears()] == ["error"]


def test_error_is_never_answered(town: Town) -> None:
    for to in ("romeo@montague.example", "romeo@montague.example/gone", "nobody@montague.example", "montague.example"):
        town.inject(f"<message {FROM_JULIET} to='{to}' type='error' id='m1'>{UNAVAILABLE}</message>")
        town.inject(f"<message {FROM_JULIET} to='{to}' type='error' id='m2'/>")
    town.world_receives()


def test_error_to_a_session_is_delivered_and_one_without_error_child_is_dropped(town: Town) -> None:
    romeo = town.online("romeo", "orchard")
    text = f"<message {FROM_JULIET} to='romeo@montague.example/orchard' type='error' id='m1'>{UNAVAILABLE}</message>"
    town.inject(text)
    town.inject(f"<message {FROM_JULIET} to='romeo@montague.example/orchard' type='error' id='m2'/>")
    romeo.receives(text)


def test_error_to_an_account_or_the_node_is_told_to_listeners(town: Town) -> None:
    romeo = town.online("romeo", "orchard")
    heard: list[Stanza] = []
    town.messages.error_listeners.append(heard.append)
    for to in ("romeo@montague.example", "montague.example", "romeo@montague.example/orchard"):
        town.inject(f"<message {FROM_JULIET} to='{to}' type='error' id='m1'>{UNAVAILABLE}</message>")
    assert [str(stanza.to) for stanza in heard] == ["romeo@montague.example", "montague.example"]
    assert len(romeo.hears()) == 1


def test_message_between_our_people(town: Town) -> None:
    romeo, benvolio = town.online("romeo", "orchard"), town.online("benvolio", "square")
    romeo.sends("<message to='benvolio@montague.example' type='chat'><body>Good morrow.</body></message>")
    benvolio.receives(
        "<message from='romeo@montague.example/orchard' to='benvolio@montague.example' type='chat'>"
        "<body>Good morrow.</body></message>"
    )
    benvolio.leaves()
    romeo.sends("<message to='benvolio@montague.example/square' id='2'><body>Cousin?</body></message>")
    romeo.receives(
        "<message from='benvolio@montague.example/square' to='romeo@montague.example/orchard' type='error' id='2'>"
        f"{UNAVAILABLE}</message>"
    )


def test_message_to_the_node_is_refused(town: Town) -> None:
    town.inject(f"<message {FROM_JULIET} to='montague.example' id='m1'><body>Who is there?</body></message>")
    town.world_receives(
        "<message from='montague.example' to='juliet@capulet.example/balcony' type='error' id='m1'>"
        f"{UNAVAILABLE}</message>"
    )


def test_stamps_in_our_name_are_removed_wherever_they_hide(town: Town) -> None:
    romeo = town.online("romeo", "orchard")
    ours = (
        "<stanza-id xmlns='urn:xmpp:sid:0' id='x' by='romeo@montague.example'/>"
        "<stanza-id xmlns='urn:xmpp:sid:0' id='y' by='MONTAGUE.example'/>"
        "<delay xmlns='urn:xmpp:delay' from='montague.example' stamp='1597-01-01T00:00:00Z'/>"
    )
    theirs = (
        "<stanza-id xmlns='urn:xmpp:sid:0' id='z' by='room@capulet.example'/>"
        "<stanza-id xmlns='urn:xmpp:sid:0' id='z' by='@@'/>"
        "<delay xmlns='urn:xmpp:delay' from='capulet.example' stamp='1597-01-01T00:00:00Z'/>"
    )

    def message(stamps: str) -> str:
        return (
            f"<message {FROM_JULIET} to='romeo@montague.example' type='chat'>{stamps}<body>It is the east</body>"
            f"<forwarded xmlns='urn:xmpp:forward:0'>{stamps}<message xmlns='jabber:client' from='a@b.example'>{stamps}"
            f"<body>quoted</body></message></forwarded></message>"
        )

    town.inject(message(ours + theirs + ours))
    romeo.receives(message(theirs))


def test_stamps_of_the_server_itself_stay(town: Town) -> None:
    romeo = town.online("romeo", "orchard")
    text = (
        "<message from='montague.example' to='romeo@montague.example' type='headline'>"
        "<delay xmlns='urn:xmpp:delay' from='montague.example' stamp='1597-01-01T00:00:00Z'/></message>"
    )
    town.inject(text)
    romeo.receives(text)


class Letters(Extension):
    """Takes letters that are sealed; refuses those that are poisoned."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def messages(self) -> list[MessageRoute]:
        return [MessageRoute("urn:example:letter", "letter", self.take)]

    async def take(self, message: Stanza) -> bool:
        letter = message.payload
        assert letter is not None
        if letter.get("poisoned"):
            raise Forbidden("no poison")
        self.seen.append(str(message.to))
        return letter.get("sealed") is not None


def test_extension_is_offered_messages_before_people(town: Town) -> None:
    letters = Letters()
    town.install(letters)
    romeo = town.online("romeo", "orchard")
    sealed = "<letter xmlns='urn:example:letter' sealed='1'/>"
    for to in ("romeo@montague.example", "romeo@montague.example/orchard", "montague.example"):
        town.inject(f"<message {FROM_JULIET} to='{to}'>{sealed}</message>")
    assert letters.seen == ["romeo@montague.example", "romeo@montague.example/orchard", "montague.example"]
    romeo.receives()
    town.world_receives()

    opened = f"<message {FROM_JULIET} to='romeo@montague.example'><letter xmlns='urn:example:letter'/></message>"
    town.inject(opened)
    romeo.receives(opened)


def test_extension_may_refuse_a_message_but_is_not_offered_errors(town: Town) -> None:
    letters = Letters()
    town.install(letters)
    poison = "<letter xmlns='urn:example:letter' poisoned='1'/>"
    town.inject(f"<message {FROM_JULIET} to='romeo@montague.example' id='m1'>{poison}</message>")
    (answer,) = town.world_hears()
    assert (answer.get("type"), answer.get("id")) == ("error", "m1")
    town.inject(f"<message {FROM_JULIET} to='romeo@montague.example' type='error'>{poison}{UNAVAILABLE}</message>")
    town.world_receives()
