"""Our node and Debian's Prosody: people of both write to and follow one another, TLS and proof required.

Everything is done twice: with certificates of an authority that both believe (SASL EXTERNAL), and with
self-signed ones (dialback inside TLS).
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.interop.ca import CertificateAuthority
from tests.interop.client import CLIENT, Client
from tests.interop.microblogging import (
    MICROBLOG,
    await_post,
    await_retraction,
    follow,
    is_post,
    items,
    publish,
    retract,
    unfollow,
)
from tests.interop.servers import MicroblogNode, Prosody, Trust

pytestmark = pytest.mark.interop


class Servers(NamedTuple):
    ours: MicroblogNode
    theirs: Prosody


class People(NamedTuple):
    romeo: Client  # at our node
    juliet: Client  # at Prosody


@pytest.fixture(scope="module", params=list(Trust), ids=lambda trust: trust.value)
def servers(
    request: pytest.FixtureRequest,
    prosody: Callable[..., Prosody],
    microblog_node: Callable[..., MicroblogNode],
) -> Servers:
    trust = request.param
    montague, capulet = f"montague-{trust.value}.example", f"capulet-{trust.value}.example"
    both = Servers(microblog_node(montague, peers=[capulet], trust=trust), prosody(capulet, trust=trust))
    both.ours.account("romeo")
    both.theirs.account("juliet")
    return both


@pytest.fixture
def people(servers: Servers) -> Iterator[People]:
    both = People(servers.ours.login("romeo"), servers.theirs.login("juliet"))
    yield both
    for person in both:
        person.close()


def test_the_stream_is_proven_as_configured(servers: Servers, people: People) -> None:
    people.romeo.ping(servers.theirs.domain)
    people.juliet.ping(servers.ours.domain)
    ours, theirs = servers.ours.domain, servers.theirs.domain
    servers.theirs.logged(r"s2sin\w+\s+info\s+Stream encrypted \(TLSv1\.3")
    servers.theirs.logged(r"s2sout\w+\s+info\s+Stream encrypted \(TLSv1\.3")
    servers.theirs.logged(rf"Incoming s2s connection {ours}->{theirs} complete")
    servers.theirs.logged(rf"Outgoing s2s connection {theirs}->{ours} complete")
    if servers.ours.trust is Trust.EXTERNAL:
        servers.theirs.logged(rf"Accepting SASL EXTERNAL identity from {ours}")


def test_a_message_crosses_both_ways(people: People) -> None:
    romeo, juliet = people
    romeo.send(f"<message to='{juliet.bare}' type='chat'><body>But soft!</body></message>")
    assert juliet.message("But soft!").get("from") == romeo.jid
    juliet.send(f"<message to='{romeo.jid}' type='chat'><body>Ay me!</body></message>")
    assert romeo.message("Ay me!").get("from") == juliet.jid


def test_a_message_to_nobody_comes_back(people: People, servers: Servers) -> None:
    romeo, juliet = people
    romeo.send(f"<message to='nurse@{servers.theirs.domain}' type='chat' id='m1'><body>Nurse?</body></message>")
    assert _error(romeo, "m1") == "service-unavailable"
    juliet.send(f"<message to='friar@{servers.ours.domain}' type='chat' id='m2'><body>Friar?</body></message>")
    assert _error(juliet, "m2") == "service-unavailable"


def _error(client: Client, ident: str) -> str:
    stanza = client.wait(lambda s: s.get("id") == ident and s.get("type") == "error", what=f"an error for {ident}")
    error = stanza.find(f"{CLIENT}error")
    assert error is not None and len(error), ET.tostring(stanza, "unicode")
    return error[0].tag.rpartition("}")[2]


def test_a_follower_there_sees_a_post_its_edit_and_its_end(people: People) -> None:
    romeo, juliet = people
    assert follow(juliet, romeo.bare).get("subscription") == "subscribed"
    publish(romeo, "p1", "It is the east")
    assert await_post(juliet, romeo.bare, "p1") == "It is the east"
    publish(romeo, "p1", "and Juliet is the sun", version=1)
    assert await_post(juliet, romeo.bare, "p1") == "and Juliet is the sun"
    retract(romeo, "p1")
    await_retraction(juliet, romeo.bare, "p1")


def test_a_follower_there_fetches_what_was_before(people: People) -> None:
    romeo, juliet = people
    for ident in ("f1", "f2", "f3"):
        publish(romeo, ident, f"Post {ident}")
    assert {item.get("id") for item in items(juliet, romeo.bare, newest=2)} == {"f2", "f3"}


def test_who_stopped_following_there_hears_no_more(people: People) -> None:
    romeo, juliet = people
    follow(juliet, romeo.bare)
    publish(romeo, "u1", "You hear this")
    await_post(juliet, romeo.bare, "u1")
    unfollow(juliet, romeo.bare)
    publish(romeo, "u2", "You do not")
    # A message to her takes the same stream, behind what was to be sent before it.
    romeo.send(f"<message to='{juliet.jid}' type='chat'><body>after u2</body></message>")
    juliet.message("after u2")
    juliet.absent(is_post(romeo.bare, "u2"))


def test_a_follower_here_sees_a_post_its_edit_and_its_end(people: People) -> None:
    romeo, juliet = people
    publish(juliet, "q0", "Prosody makes the node")
    assert follow(romeo, juliet.bare).get("subscription") == "subscribed"
    publish(juliet, "q1", "Parting is such sweet sorrow")
    assert await_post(romeo, juliet.bare, "q1") == "Parting is such sweet sorrow"
    publish(juliet, "q1", "That I shall say good night", version=1)
    assert await_post(romeo, juliet.bare, "q1") == "That I shall say good night"
    retract(juliet, "q1")
    await_retraction(romeo, juliet.bare, "q1")


def test_followers_by_presence_hear_of_both(servers: Servers) -> None:
    romeo = servers.ours.login("romeo", resource="orchard", notify=[MICROBLOG])
    juliet = servers.theirs.login("juliet", resource="orchard", notify=[MICROBLOG])
    romeo.befriend(juliet.bare, juliet)
    publish(romeo, "n1", "With love's light wings")
    assert await_post(juliet, romeo.bare, "n1") == "With love's light wings"
    publish(juliet, "n2", "By whose direction found'st thou out this place?")
    assert await_post(romeo, juliet.bare, "n2").startswith("By whose direction")
    romeo.close()
    juliet.close()


@pytest.mark.parametrize("fault", ["no TLS", "expired", "another's name", "unknown authority"])
def test_a_server_that_proves_nothing_gets_nothing(
    fault: str,
    prosody: Callable[..., Prosody],
    microblog_node: Callable[..., MicroblogNode],
    ca: CertificateAuthority,
) -> None:
    slug = fault.replace(" ", "-").replace("'", "")
    montague, capulet = f"montague-{slug}.example", f"capulet-{slug}.example"
    ours = microblog_node(montague, peers=[capulet], trust=Trust.EXTERNAL)
    certificate = {
        "no TLS": ca.issue(capulet),
        "expired": ca.issue(capulet, expired=True),
        "another's name": ca.issue("paris.example"),
        "unknown authority": ca.issue(capulet, self_signed=True),
    }[fault]
    prosody(capulet, trust=Trust.EXTERNAL, certificate=certificate, tls=fault != "no TLS")
    ours.account("romeo")
    romeo = ours.login("romeo")
    romeo.send(f"<message to='juliet@{capulet}' type='chat' id='m1'><body>But soft!</body></message>")
    assert _error(romeo, "m1") in ("remote-server-not-found", "remote-server-timeout")
    romeo.close()


@pytest.mark.slow
def test_posts_wait_for_a_server_that_is_down(
    prosody: Callable[..., Prosody], microblog_node: Callable[..., MicroblogNode]
) -> None:
    montague, capulet = "montague-later.example", "capulet-later.example"
    # The next try comes late enough that Juliet is back on line: stock servers keep no headlines for who is not.
    retry = {"limits": {"outbox_retry_first_seconds": 8, "outbox_retry_max_seconds": 8}}
    ours = microblog_node(montague, peers=[capulet], settings=retry)
    theirs = prosody(capulet)
    author = ours.account("romeo")
    theirs.account("juliet")
    romeo, juliet = ours.login("romeo"), theirs.login("juliet")
    follow(juliet, author)
    publish(romeo, "d0", "Before")
    await_post(juliet, author, "d0")
    juliet.close()
    theirs.stop()
    publish(romeo, "d1", "Meanwhile")
    publish(romeo, "d2", "and after")
    theirs.start()
    juliet = theirs.login("juliet")
    assert await_post(juliet, author, "d1", timeout=30) == "Meanwhile"
    assert await_post(juliet, author, "d2") == "and after"
    juliet.absent(is_post(author, "d1"))
    juliet.absent(is_post(author, "d2"))
    romeo.close()
    juliet.close()
