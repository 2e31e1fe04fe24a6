"""Talking to the node."""

import pytest

from microblog.config import Limits
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import chatting
from microblog.wire import ns
from tests.conftest import Time
from tests.im.town import Client
from tests.xep.parlour import NODE, Parlour, answered, lines, says

ROMEO = JID("romeo", NODE)
BENVOLIO = JID("benvolio", NODE)
OFFER = 'Say "yes" within 2 minutes to post it as it is.'


@pytest.fixture
def parlour(database: Database, clock: Clock) -> Parlour:
    return Parlour(database, clock)


@pytest.fixture
def romeo(parlour: Parlour) -> Client:
    return parlour.online("romeo", "orchard")


def posts(parlour: Parlour) -> list[str]:
    return [arguments["text"] for name, arguments in parlour.words.done if name == "post"]


def item(parlour: Parlour, number: int) -> ItemAddress:
    """The item that romeo knows by a number."""

    def find(tx):  # type: ignore[no-untyped-def]
        return chatting.item_of_number(tx, tx.accounts.get("romeo").key, number)

    found = parlour.database.run(find)
    assert isinstance(found, ItemAddress)
    return found


@pytest.mark.parametrize("to", ["montague.example", "post@montague.example"])
@pytest.mark.parametrize("type_", ["chat", "normal"])
def test_what_is_written_to_the_node_is_posted(parlour: Parlour, romeo: Client, to: str, type_: str) -> None:
    answer = answered(romeo, "But soft!", to=to, type_=type_)
    assert answer is not None
    assert answer.get("from") == to
    assert answer.get("to") == "romeo@montague.example/orchard"
    assert (answer.get("type") or "normal") == type_
    assert answer.get("id") == "n1"
    assert answer.find(ns.HINTS, "no-store") is not None, "an echo"
    assert posts(parlour) == ["But soft!"]


def test_a_message_to_one_of_the_nodes_resources_is_not_for_the_chat(parlour: Parlour, romeo: Client) -> None:
    answer = answered(romeo, "hello", to="montague.example/x")
    assert answer is not None
    assert answer.get("type") == "error"
    assert parlour.words.done == []


def test_words_of_one_person_are_done_in_order_and_nobody_else_waits(parlour: Parlour, romeo: Client) -> None:
    assert says(romeo, "slow") == ""
    assert says(romeo, "Ay me") == ""
    assert says(parlour.online("benvolio", "street"), "Good morrow") == "sent"
    assert posts(parlour) == ["Good morrow"]
    parlour.words.wait.callback(None)
    assert [text for _, text in lines(romeo)] == ["at last", "sent"]
    assert says(romeo, "But soft") == "sent"


# questions


def test_what_does_not_parse_is_posted_if_that_is_confirmed(parlour: Parlour, romeo: Client) -> None:
    said = says(romeo, "follow me, Benvolio")
    assert said.startswith('Nothing was posted. "follow" needs PERSON; "me," is none. Usage: follow PERSON')
    assert said.endswith(OFFER)
    assert parlour.words.done == []
    assert says(romeo, "Yes") == "sent"
    assert parlour.words.done == [("post", {"text": "follow me, Benvolio"})]


def test_a_question_waits_two_minutes_and_for_nothing_else(parlour: Parlour, romeo: Client, time: Time) -> None:
    says(romeo, "follow me")
    time.advance(121)
    assert says(romeo, "yes").startswith("There was no question")
    says(romeo, "follow me")
    says(romeo, "help")
    assert says(romeo, "yes").startswith("There was no question")
    says(romeo, "follow me")
    assert says(romeo, "no") == "Good. Nothing was done."
    assert says(romeo, "yes").startswith("There was no question")
    assert posts(parlour) == []


def test_nobody_answers_somebody_elses_question(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "follow me")
    assert says(parlour.online("benvolio", "street"), "yes").startswith("There was no question")
    assert posts(parlour) == []


@pytest.mark.parametrize("text", ["d rosaline I love thee", "tell me more", "dd, rosaline", "d: benvolio hush"])
def test_what_was_meant_for_one_is_never_offered_to_all(parlour: Parlour, romeo: Client, text: str) -> None:
    if text.startswith("dd"):
        text = text[1:]
    said = says(romeo, text)
    assert said.startswith("Nothing was posted.")
    assert OFFER not in said
    says(romeo, "yes")
    assert parlour.words.done == []


def test_destructive_words_are_asked_about(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "But soft!", id_="m1")
    assert says(romeo, "delete #1") == 'Do you mean it: "delete #1"? Say "yes" within 2 minutes.'
    assert parlour.words.done[1:] == []
    assert says(romeo, "yes") == "delete done"
    assert parlour.words.done[1][0] == "delete"


def test_words_for_administrators(parlour: Parlour, romeo: Client) -> None:
    assert says(romeo, "peers") == '"peers" is for administrators. Nothing was done.'
    assert parlour.words.done == []


def test_refusals_and_bugs(parlour: Parlour, romeo: Client) -> None:
    assert says(romeo, "refuse") == "Nothing was posted. Not today."
    assert says(romeo, "fail").startswith("Something went wrong here (incident ")
    assert says(romeo, "But soft!") == "sent"


def test_more_goes_on_and_ends(parlour: Parlour, romeo: Client) -> None:
    for number in range(5):
        parlour.publishes("benvolio", f"post {number}")
    assert says(romeo, "more") == "There is no more."
    assert says(romeo, "home") == "home\nbenvolio: post 4  #1\nbenvolio: post 3  #2"
    assert says(romeo, "MORE") == "home\nbenvolio: post 2  #3\nbenvolio: post 1  #4"
    assert says(romeo, "more") == "home\nbenvolio: post 0  #5"
    assert says(romeo, "more") == "There is no more."
    assert says(romeo, "home") == "home\nbenvolio: post 4  #1\nbenvolio: post 3  #2", "numbers stay"


def test_the_newest_shown_is_meant_for_ten_minutes(parlour: Parlour, romeo: Client, time: Time) -> None:
    for number in range(3):
        parlour.publishes("benvolio", f"post {number}", item_id=str(number))
    says(romeo, "home")
    says(romeo, "fav")
    assert parlour.words.done[-1] == ("fav", {"target": ItemAddress(BENVOLIO, MICROBLOG, "1")}), "the last in the list"
    time.advance(601)
    assert says(romeo, "fav").startswith("Nothing was posted. Which post?")


def test_only_a_slash_is_a_command_for_those_who_set_that(parlour: Parlour, romeo: Client) -> None:
    def set_it(tx):  # type: ignore[no-untyped-def]
        tx.preferences.set(tx.accounts.get("romeo").key, "commands", "slash")

    parlour.database.run(set_it)
    says(romeo, "home")
    says(romeo, "yes")
    says(romeo, "more")
    assert posts(parlour) == ["home", "yes", "more"]
    assert says(romeo, "/more") == "There is no more."
    assert says(romeo, "/follow me").endswith(OFFER)
    says(romeo, "yes")
    assert posts(parlour)[3:] == ["/follow me"]


# gestures


def replace(id_: str) -> str:
    return f"<replace xmlns='urn:xmpp:message-correct:0' id='{id_}'/>"


def test_a_correction_edits(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "But sfot!", id_="m1")
    post = item(parlour, 1)
    says(romeo, "But soft!", id_="m2", inside=replace("m1"))
    assert parlour.words.done[1:] == [("edit", {"item": post, "text": "But soft!"})]
    says(romeo, "But soft, what light?", id_="m3", inside=replace("m1"))
    says(romeo, "But soft! What light?", id_="m4", inside=replace("m3"))
    assert [(name, arguments["item"]) for name, arguments in parlour.words.done[1:]] == [("edit", post)] * 3


def test_a_correction_of_a_command_is_the_command(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "follow bnevolio", id_="m1")
    says(romeo, "follow benvolio", id_="m2", inside=replace("m1"))
    assert parlour.words.done == [("follow", {"person": BENVOLIO})]


@pytest.mark.parametrize("text", ["follow benvolio", "d benvolio hush", "d rosaline hush"])
def test_a_post_is_not_corrected_into_something_else(parlour: Parlour, romeo: Client, text: str) -> None:
    says(romeo, "f benvolio", id_="m1")
    assert "Nothing was" in says(romeo, text, id_="m2", inside=replace("m1"))
    assert len(parlour.words.done) == 1


def test_what_is_private_stays_private_when_it_is_corrected(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "dm benvolio hsuh", id_="m1")
    post = item(parlour, 1)
    says(romeo, "dm benvolio hush", id_="m2", inside=replace("m1"))
    assert parlour.words.done[1:] == [("edit", {"item": post, "text": "hush"})]


def test_a_correction_of_what_is_not_known_is_not_posted(parlour: Parlour, romeo: Client) -> None:
    assert says(romeo, "But soft!", inside=replace("m1")).startswith("The post of that message is not known")
    says(parlour.online("benvolio", "street"), "Good morrow", id_="m1")
    assert says(romeo, "But soft!", inside=replace("m1")).startswith("The post of that message is not known")
    assert posts(parlour) == ["Good morrow"]


@pytest.mark.parametrize(
    "retraction",
    [
        "<retract xmlns='urn:xmpp:message-retract:1' id='m1'/><fallback xmlns='urn:xmpp:fallback:0'/>",
        "<apply-to xmlns='urn:xmpp:fasten:0' id='m1'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to>",
    ],
)
def test_a_retraction_deletes_and_its_text_is_not_posted(parlour: Parlour, romeo: Client, retraction: str) -> None:
    says(romeo, "But soft!", id_="m1")
    post = item(parlour, 1)
    says(romeo, "I tried to retract a message", inside=retraction)
    assert parlour.words.done[1:] == [("delete", {"item": post})]
    benvolio = parlour.online("benvolio", "street")
    assert "not known" in says(benvolio, "I tried to retract a message", inside=retraction)
    assert len(parlour.words.done) == 2


def test_reactions(parlour: Parlour, romeo: Client) -> None:
    parlour.publishes("benvolio", "Good morrow", item_id="1")
    says(romeo, "home")
    target = ItemAddress(BENVOLIO, MICROBLOG, "1")
    del parlour.words.done[:]

    def react(*reactions: str, to: str = "n1") -> str:
        inside = "".join(f"<reaction>{reaction}</reaction>" for reaction in reactions)
        return says(romeo, "fallback", inside=f"<reactions xmlns='urn:xmpp:reactions:0' id='{to}'>{inside}</reactions>")

    assert react("❤️") == ""
    assert react("♥", "👍", "🎉") == ""
    assert react() == ""
    assert parlour.words.done == [
        ("react", {"item": target, "reactions": reactions}) for reactions in (("❤️",), ("♥", "👍", "🎉"), ())
    ]
    assert "not known" in react("👍", to="n99")
    assert "not known" in react("👍", to="elsewhere")


def reply(to: str, quote: str = "") -> str:
    fallback = (
        f"<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='{len(quote)}'/></fallback>"
    )
    return f"<reply xmlns='urn:xmpp:reply:0' to='montague.example' id='{to}'/>{fallback if quote else ''}"


def test_a_reply_answers_without_its_quotation(parlour: Parlour, romeo: Client) -> None:
    parlour.publishes("benvolio", "Good morrow", item_id="1")
    says(romeo, "home")
    quote = "> Good morrow, \N{FACE WITH TEARS OF JOY}\n"
    says(romeo, f"{quote}Is the day so young?", inside=reply("n1", quote))
    target = ItemAddress(BENVOLIO, MICROBLOG, "1")
    assert parlour.words.done[1:] == [("reply", {"target": target, "text": "Is the day so young?"})]


@pytest.mark.parametrize("text", ["no", "yes", "on", "follow me", "home", "more"])
def test_a_reply_is_what_it_says_and_not_a_word(parlour: Parlour, romeo: Client, text: str) -> None:
    parlour.publishes("benvolio", "Good morrow", item_id="1")
    says(romeo, "home")
    says(romeo, text, inside=reply("n1"))
    assert parlour.words.done[1:] == [("reply", {"target": ItemAddress(BENVOLIO, MICROBLOG, "1"), "text": text})]


def test_a_reply_with_a_lead_in_is_a_command_about_that_post(parlour: Parlour, romeo: Client) -> None:
    for number in range(2):
        parlour.publishes("benvolio", "Good morrow", item_id=str(number))
    says(romeo, "home")
    says(romeo, "/fav", inside=reply("n1"))
    assert parlour.words.done[1:] == [("fav", {"target": ItemAddress(BENVOLIO, MICROBLOG, "1")})]


def test_private_words_in_a_reply_are_private(parlour: Parlour, romeo: Client) -> None:
    parlour.publishes("benvolio", "Good morrow")
    says(romeo, "home")
    says(romeo, "d benvolio hush", inside=reply("n1"))
    assert parlour.words.done[-1] == ("d", {"person": BENVOLIO, "text": "hush"})
    assert says(romeo, "d rosaline hush", inside=reply("n1")).startswith("Nothing was posted.")
    assert len(parlour.words.done) == 2


def test_one_can_reply_to_the_echo_of_ones_own_post(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "But soft!", id_="m1")
    for to in ("n1", "m1"):
        says(romeo, f"Ay me, {to}", inside=reply(to))
        assert parlour.words.done[-1] == ("reply", {"target": item(parlour, 1), "text": f"Ay me, {to}"})


# what cannot be read, or comes late


@pytest.mark.parametrize(
    "inside",
    [
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/><payload>x</payload></encrypted>",
        "<encrypted xmlns='urn:xmpp:omemo:2'><payload>x</payload></encrypted>",
        "<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>",
        "<x xmlns='jabber:x:encrypted'>x</x>",
        "<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:otr:0'/>",
    ],
)
def test_what_is_encrypted_is_refused_and_its_fallback_is_not_posted(
    parlour: Parlour, romeo: Client, inside: str
) -> None:
    said = says(romeo, "I sent you an encrypted message", inside=inside)
    assert "encrypted" in said and "Nothing was posted" in said
    assert "encrypted" in says(romeo, "?OTRv3?")
    assert parlour.words.done == []


def test_keys_without_a_word_are_not_answered(parlour: Parlour, romeo: Client) -> None:
    keys = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>"
    assert says(romeo, "", inside=keys) == ""


def delay(stamp: str) -> str:
    return f"<delay xmlns='urn:xmpp:delay' from='capulet.example' stamp='{stamp}'/>"


@pytest.mark.parametrize("stamp", ["2026-01-01T11:49:00Z", "yesterday", "2020-01-01T00:00:00Z"])
def test_what_comes_late_is_asked_about(parlour: Parlour, romeo: Client, stamp: str) -> None:
    said = says(romeo, "I am coming now", inside=delay(stamp), id_="m1")
    assert said.startswith("This comes late") and "I am coming now" in said
    assert posts(parlour) == []
    assert says(romeo, "yes") == "sent"
    assert posts(parlour) == ["I am coming now"]
    says(romeo, "I am not coming", inside=replace("m1"))
    assert parlour.words.done[-1] == ("edit", {"item": item(parlour, 1), "text": "I am not coming"})


def test_what_was_delayed_a_little_is_done(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "I am coming", inside=delay("2026-01-01T11:51:00Z"))
    assert posts(parlour) == ["I am coming"]


def test_the_same_words_again_are_one_post(parlour: Parlour, romeo: Client, time: Time) -> None:
    says(romeo, "Ay me", id_="m1")
    assert says(romeo, "Ay me", id_="m2") == "You said that just now. It was done once."
    says(romeo, "home", id_="m3")
    says(romeo, "home", id_="m4")
    assert [name for name, _ in parlour.words.done] == ["post", "home", "home"]
    time.advance(61)
    says(romeo, "Ay me", id_="m5")
    assert posts(parlour) == ["Ay me", "Ay me"]


def test_the_same_in_private_again_is_said_once(parlour: Parlour, romeo: Client, time: Time) -> None:
    says(romeo, "tell benvolio hush")
    assert says(romeo, "tell benvolio hush") == "You said that just now. It was done once."
    says(romeo, "tell benvolio hush now")
    time.advance(61)
    says(romeo, "tell benvolio hush now")
    assert [arguments["text"] for _, arguments in parlour.words.done] == ["hush", "hush now", "hush now"]


def test_files_come_with_a_post(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "look", inside="<x xmlns='jabber:x:oob'><url>https://montague.example/a.jpg</url></x>")
    says(romeo, "see", inside="<x xmlns='jabber:x:oob'><url>javascript:alert(1)</url></x>")
    assert parlour.words.enclosures == [("https://montague.example/a.jpg",), ()]


# help, on and off


def test_help_fits_on_a_screen(parlour: Parlour, romeo: Client) -> None:
    text = says(romeo, "?")
    assert len(text.splitlines()) <= 12
    assert ": when, on, off" in text
    assert says(romeo, "help follow").startswith("follow PERSON")
    assert says(romeo, "help on").splitlines()[0] == "on [NAME | #TAG]"
    assert says(romeo, "help frobnicate").startswith('There is no word "frobnicate"')
    assert says(romeo, "help peers").startswith('There is no word "peers"')


def test_speaking_begins_the_delivery_and_off_ends_it(parlour: Parlour, romeo: Client) -> None:
    def preference() -> str | None:
        def get(tx):  # type: ignore[no-untyped-def]
            return tx.preferences.get(tx.accounts.get("romeo").key, "chat")

        return parlour.database.run(get)  # type: ignore[no-any-return]

    assert preference() is None
    says(romeo, "But soft!")
    assert preference() == "on"
    says(romeo, "stop")
    assert preference() == "off"
    says(romeo, "Ay me")
    assert preference() == "off"
    says(romeo, "start")
    assert preference() == "on"


def test_an_answer_to_a_session_that_has_gone_goes_to_another(parlour: Parlour, romeo: Client) -> None:
    street = parlour.online("romeo", "street")
    street.hears()
    element = f"<message to='{NODE}' type='chat'><body>But soft!</body></message>"
    parlour.sessions.unbind(romeo.session)
    romeo.sends(element)
    assert [text for _, text in lines(street)] == ["sent"]


def test_without_rates_everybody_is_answered(database: Database, clock: Clock) -> None:
    database.limits = Limits(rates=False)
    romeo = Parlour(database, clock).online("romeo", "orchard")
    assert [says(romeo, f"post {number}") for number in range(30)] == ["sent"] * 30
