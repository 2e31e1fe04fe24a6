"""People who stay at Debian's Prosody and post by our node: their address there is linked to an account here.

They write to the node as to anybody, and their clients publish to and read from their account's own nodes, all of it
server to server. Certificates prove who they are; by dialback alone nobody acts for an account.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.interop.client import CLIENT, Client, Refused
from tests.interop.microblogging import MICROBLOG, await_post, follow, items
from tests.interop.servers import MicroblogNode, Prosody, Trust

pytestmark = pytest.mark.interop

PUBSUB = "http://jabber.org/protocol/pubsub"
ATOM = "http://www.w3.org/2005/Atom"


class Servers(NamedTuple):
    ours: MicroblogNode
    theirs: Prosody


@pytest.fixture(scope="module")
def servers(prosody: Callable[..., Prosody], microblog_node: Callable[..., MicroblogNode]) -> Servers:
    montague, capulet = "montague-linked.example", "capulet-linked.example"
    settings = {"accounts": {"registration": "invite", "enrol_domains": [capulet]}}
    both = Servers(
        microblog_node(montague, peers=[capulet], trust=Trust.EXTERNAL, settings=settings),
        prosody(capulet, trust=Trust.EXTERNAL),
    )
    both.ours.account("romeo")
    for name in ("juliet", "nurse"):
        both.theirs.account(name)
    return both


@pytest.fixture
def romeo(servers: Servers) -> Iterator[Client]:
    client = servers.ours.login("romeo")
    yield client
    client.close()


def say(client: Client, domain: str, text: str) -> str:
    """Say something to a node; its answer."""
    client.send(f"<message to='{domain}' type='chat'><body>{text}</body></message>")
    answer = client.wait(
        lambda s: s.tag == f"{CLIENT}message" and s.get("from") == domain and s.find(f"{CLIENT}body") is not None,
        what=f"an answer to {text!r}",
    )
    return answer.findtext(f"{CLIENT}body") or ""


def post(client: Client, account: str, ident: str, title: str, audience: str = "") -> None:
    """Publish to an account's feed that is not the client's own address."""
    options = ""
    if audience:
        options = (
            "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
            f"<value>{PUBSUB}#publish-options</value></field>"
            f"<field var='microblog#audience'><value>{audience}</value></field></x></publish-options>"
        )
    entry = f"<entry xmlns='{ATOM}'><title>{title}</title></entry>"
    item = f"<publish node='{MICROBLOG}'><item id='{ident}'>{entry}</item></publish>"
    client.iq("set", f"<pubsub xmlns='{PUBSUB}'>{item}{options}</pubsub>", to=account)


def ids(client: Client, account: str, node: str = MICROBLOG) -> set[str | None]:
    answer = client.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>", to=account)
    return {item.get("id") for item in answer.iter(f"{{{PUBSUB}}}item")}


def test_whose_domain_is_named_joins_as_they_are_and_posts(servers: Servers, romeo: Client) -> None:
    domain = servers.ours.domain
    juliet = servers.theirs.login("juliet")
    account = f"juliet@{domain}"
    assert account in say(juliet, domain, "join")
    follow(romeo, account)
    post(juliet, account, "p1", "O Romeo, Romeo!")
    assert await_post(romeo, account, "p1") == "O Romeo, Romeo!"
    (item,) = items(romeo, account)
    assert item.get("publisher") in (None, account)
    # What she says to the node is posted as well.
    assert "#1" in say(juliet, domain, "Wherefore art thou Romeo?")
    assert len(ids(juliet, account)) == 2
    juliet.close()


def test_what_is_for_this_domain_only_never_goes_to_their_own_server(servers: Servers, romeo: Client) -> None:
    domain = servers.ours.domain
    nurse = servers.theirs.login("nurse")
    account = f"nurse@{domain}"
    assert account in say(nurse, domain, "join")
    post(nurse, account, "far", "Madam!")
    post(nurse, account, "near", "Anon, anon!", audience="local")
    assert {item.get("id") for item in items(romeo, account)} == {"far", "near"}
    assert ids(nurse, account) == {"far"}
    assert "near" not in {*ids(nurse, account, "urn:x-microblog:home:0")}
    assert "Anon" not in "".join(text for _, text in nurse.transcript if "<publish" not in text)
    nurse.close()


def test_both_sides_confirm_before_an_address_acts_for_an_account(servers: Servers) -> None:
    domain = servers.ours.domain
    servers.ours.account("benvolio")
    servers.theirs.account("tybalt")
    benvolio, tybalt = servers.ours.login("benvolio"), servers.theirs.login("tybalt")
    account = benvolio.bare
    with pytest.raises(Refused) as refused:
        post(tybalt, account, "p1", "Peace?")
    assert refused.value.condition == "forbidden"
    assert "asked" in say(benvolio, domain, f"link {tybalt.bare}")
    question = tybalt.wait(lambda s: s.get("from") == domain, what="a question").findtext(f"{CLIENT}body") or ""
    answer = re.search(r'answer "(link [^"]+)"', question)
    assert answer is not None
    with pytest.raises(Refused):
        post(tybalt, account, "p1", "Peace?")
    assert "belong together" in say(tybalt, domain, answer[1])
    post(tybalt, account, "p1", "Peace?")
    assert ids(benvolio, account) == {"p1"}
    benvolio.wait(lambda s: "belong together" in (s.findtext(f"{CLIENT}body") or ""), what="news of it")
    assert "any more" in say(benvolio, domain, f"unlink {tybalt.bare}")
    with pytest.raises(Refused):
        post(tybalt, account, "p2", "I hate the word")
    benvolio.close()
    tybalt.close()


def test_a_message_from_there_waits_for_who_is_not_here(servers: Servers) -> None:
    juliet = servers.theirs.login("juliet", resource="window")
    juliet.send(f"<message to='romeo@{servers.ours.domain}' type='chat'><body>Hist!</body></message>")
    # Behind it on the same stream.
    juliet.ping(servers.ours.domain)
    romeo = servers.ours.login("romeo", resource="street")
    message = romeo.message("Hist!")
    delay = message.find("{urn:xmpp:delay}delay")
    assert delay is not None and delay.get("from") == servers.ours.domain, ET.tostring(message)
    romeo.close()
    again = servers.ours.login("romeo", resource="street")
    again.absent(lambda stanza: stanza.tag == f"{CLIENT}message")
    again.close()
    juliet.close()


def test_dialback_alone_makes_nobody_a_person(
    prosody: Callable[..., Prosody], microblog_node: Callable[..., MicroblogNode]
) -> None:
    montague, capulet = "montague-unproven.example", "capulet-unproven.example"
    settings = {"accounts": {"registration": "invite", "enrol_domains": [capulet]}, "s2s": {"dialback": "public"}}
    ours = microblog_node(montague, peers=[capulet], trust=Trust.DIALBACK, settings=settings)
    theirs = prosody(capulet, trust=Trust.DIALBACK)
    theirs.account("juliet")
    juliet = theirs.login("juliet")
    for word in ("join", "link romeo"):
        assert "Welcome" not in say(juliet, montague, word)
    done = ours.administer("account", "list", "--json")
    assert "juliet" not in done.stdout
    juliet.close()
