"""Our node and Debian's ejabberd: people of both write to and follow one another, TLS and proof required.

ejabberd (23.01) accepts an explicit subscription from another server to a PEP node and then never sends; its
people are followed by presence, with `+notify` in our client's capabilities. It tells those of posts, and not of
retractions.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.interop.client import Client
from tests.interop.microblogging import (
    MICROBLOG,
    await_post,
    await_retraction,
    follow,
    items,
    publish,
    retract,
)
from tests.interop.servers import Ejabberd, MicroblogNode, Trust

pytestmark = pytest.mark.interop


class Servers(NamedTuple):
    ours: MicroblogNode
    theirs: Ejabberd


class People(NamedTuple):
    romeo: Client  # at our node
    juliet: Client  # at ejabberd


@pytest.fixture(scope="module", params=list(Trust), ids=lambda trust: trust.value)
def servers(
    request: pytest.FixtureRequest,
    ejabberd: Callable[..., Ejabberd],
    microblog_node: Callable[..., MicroblogNode],
) -> Servers:
    trust = request.param
    montague, capulet = f"montague-{trust.value}.example", f"capulet-{trust.value}.example"
    both = Servers(microblog_node(montague, peers=[capulet], trust=trust), ejabberd(capulet, trust=trust))
    both.ours.account("romeo")
    both.theirs.account("juliet")
    return both


@pytest.fixture
def people(servers: Servers) -> Iterator[People]:
    both = People(servers.ours.login("romeo", notify=[MICROBLOG]), servers.theirs.login("juliet", notify=[MICROBLOG]))
    yield both
    for person in both:
        person.close()


def test_the_streams_are_proven_as_configured(servers: Servers, people: People) -> None:
    people.romeo.ping(servers.theirs.domain)
    people.juliet.ping(servers.ours.domain)
    proof = "EXTERNAL" if servers.ours.trust is Trust.EXTERNAL else "dialback"
    ours, theirs = servers.ours.domain, servers.theirs.domain
    servers.theirs.logged(rf"\(tls\|.*Accepted inbound s2s {proof} authentication {ours} -> {theirs} ")
    servers.theirs.logged(rf"\(tls\|.*Accepted outbound s2s {proof} authentication {theirs} -> {ours} ")


def test_a_message_crosses_both_ways(people: People) -> None:
    romeo, juliet = people
    romeo.send(f"<message to='{juliet.bare}' type='chat'><body>But soft!</body></message>")
    assert juliet.message("But soft!").get("from") == romeo.jid
    juliet.send(f"<message to='{romeo.jid}' type='chat'><body>Ay me!</body></message>")
    assert romeo.message("Ay me!").get("from") == juliet.jid


def test_a_follower_there_sees_a_post_its_edit_and_its_end(people: People) -> None:
    romeo, juliet = people
    assert follow(juliet, romeo.bare).get("subscription") == "subscribed"
    publish(romeo, "p1", "It is the east")
    assert await_post(juliet, romeo.bare, "p1") == "It is the east"
    publish(romeo, "p1", "and Juliet is the sun", version=1)
    assert await_post(juliet, romeo.bare, "p1") == "and Juliet is the sun"
    retract(romeo, "p1")
    await_retraction(juliet, romeo.bare, "p1")
    for ident in ("f1", "f2", "f3"):
        publish(romeo, ident, f"Post {ident}")
    assert {item.get("id") for item in items(juliet, romeo.bare, newest=2)} == {"f2", "f3"}


def test_a_friend_here_sees_a_post_and_its_edit(people: People) -> None:
    romeo, juliet = people
    romeo.befriend(juliet.bare, juliet)
    publish(juliet, "q1", "Parting is such sweet sorrow")
    assert await_post(romeo, juliet.bare, "q1") == "Parting is such sweet sorrow"
    publish(juliet, "q1", "That I shall say good night", version=1)
    assert await_post(romeo, juliet.bare, "q1") == "That I shall say good night"


def test_a_friend_there_hears_without_following(servers: Servers) -> None:
    benvolio, rosaline = servers.ours.account("benvolio"), servers.theirs.account("rosaline")
    ours = servers.ours.login("benvolio", notify=[MICROBLOG])
    theirs = servers.theirs.login("rosaline", notify=[MICROBLOG])
    ours.befriend(rosaline, theirs)
    publish(ours, "n1", "At this same ancient feast")
    assert await_post(theirs, benvolio, "n1") == "At this same ancient feast"
    ours.close()
    theirs.close()
