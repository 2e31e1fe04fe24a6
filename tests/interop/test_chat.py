"""Talking to a real node, with all its words: two nodes, people who know nothing of feeds."""

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from tests.interop.client import Client
from tests.interop.servers import MicroblogNode

pytestmark = pytest.mark.interop

BODY = "{jabber:client}body"
ECHO = "{urn:xmpp:hints}no-store"
RETRACT = "{urn:xmpp:message-retract:1}retract"
REPLACE = "{urn:xmpp:message-correct:0}replace"
MANTUA = "montague-talks.zz"
VERONA = "capulet-talks.zz"
ASKED, ASKING = "montague-asked.zz", "capulet-asks.zz"


def says(client: Client, text: str, *, id_: str = "", inside: str = "") -> str:
    """Say something to the node and have its answer."""
    to = client.bare.partition("@")[2]
    client.send(f"<message to='{to}' type='chat' id='{id_}'><body>{text}</body>{inside}</message>")
    answer = client.wait(
        lambda s: s.get("from") == to and (s.find(ECHO) is not None or "\n" in (s.findtext(BODY) or ""))
    )
    return answer.findtext(BODY) or ""


def line(client: Client, text: str) -> ET.Element:
    return client.wait(lambda s: s.get("type") == "chat" and text in (s.findtext(BODY) or ""), what=text)


def test_two_people_at_two_nodes_talk(microblog_node: Callable[..., MicroblogNode]) -> None:
    montague, capulet = (microblog_node(a, peers=[b]) for a, b in ((MANTUA, VERONA), (VERONA, MANTUA)))
    montague.account("romeo")
    capulet.account("juliet")
    romeo, juliet = montague.login("romeo"), capulet.login("juliet")
    assert "posts" in says(romeo, "help") or "posted" in says(romeo, "?")
    assert says(juliet, f"follow romeo@{MANTUA}").startswith(f"You follow romeo@{MANTUA}")

    assert says(romeo, "But sfot!", id_="m1").startswith("#1 sent to 1 person, 1 domain")
    shown = line(juliet, "But sfot!")
    assert shown.get("from") == VERONA
    assert shown.findtext(BODY) == f"romeo@{MANTUA}: But sfot!  #1"

    says(romeo, "But soft!", id_="m2", inside="<replace xmlns='urn:xmpp:message-correct:0' id='m1'/>")
    corrected = line(juliet, "But soft!")
    replaced = corrected.find(REPLACE)
    assert replaced is not None and replaced.get("id") == shown.get("id")

    says(juliet, "Ay me!", inside=f"<reply xmlns='urn:xmpp:reply:0' id='{shown.get('id')}'/>")
    answered = line(romeo, f"juliet@{VERONA} > you #1: Ay me!  #2")
    assert answered.get("id") == "n2"
    assert "Ay me!" in says(romeo, "thread #1")

    assert says(romeo, "d rosaline hush").startswith("Nothing was posted.")
    assert "Nothing was posted" in says(romeo, "get well soon")
    assert says(romeo, "no").startswith("Good.")

    assert says(romeo, "delete #1").startswith("Do you mean it")
    assert says(romeo, "yes").startswith("Deleted")
    gone = juliet.wait(lambda s: s.find(RETRACT) is not None)
    retracted = gone.find(RETRACT)
    assert retracted is not None and retracted.get("id") == shown.get("id")


def test_an_owner_who_lets_followers_in_is_asked_by_chat(microblog_node: Callable[..., MicroblogNode]) -> None:
    followers = {"accounts": {"audience": "followers"}}
    montague = microblog_node(ASKED, peers=[ASKING], settings=followers)
    capulet = microblog_node(ASKING, peers=[ASKED], settings=followers)
    montague.account("romeo")
    montague.account("benvolio")
    capulet.account("juliet")
    romeo, benvolio, juliet = montague.login("romeo"), montague.login("benvolio"), capulet.login("juliet")
    for client in (romeo, benvolio, juliet):
        says(client, "on")

    for asker, name in ((juliet, f"juliet@{ASKING}"), (benvolio, "benvolio")):
        assert "has to allow it first" in says(asker, f"follow romeo@{ASKED}")
        asked = line(romeo, f"{name} wants to follow you")
        assert f'"allow {name}"' in (asked.findtext(BODY) or "")
        assert says(romeo, f"allow {name}").startswith("They may follow you now")
        line(asker, "lets you follow: new posts come from now on.")
    assert says(romeo, "But soft!").startswith("#1 sent to 2 people")
    line(juliet, f"romeo@{ASKED}: But soft!")
    line(benvolio, "romeo: But soft!")

    assert "has to allow it first" in says(romeo, f"follow juliet@{ASKING}")
    line(juliet, f"romeo@{ASKED} wants to follow you")
    assert says(juliet, f"deny romeo@{ASKED}").startswith("They may not follow you")
    line(romeo, f"You do not follow juliet@{ASKING}: they do not allow it.")
