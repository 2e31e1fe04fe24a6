"""Prosody and ejabberd federate through our fixtures: if this fails, no other test in this folder can say much."""

from collections.abc import Callable, Iterator

import pytest

from tests.interop.client import Client
from tests.interop.microblogging import MICROBLOG, await_post, await_retraction, follow, publish, retract
from tests.interop.servers import Ejabberd, Prosody, Trust

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module", params=list(Trust), ids=lambda trust: trust.value)
def servers(
    request: pytest.FixtureRequest, prosody: Callable[..., Prosody], ejabberd: Callable[..., Ejabberd]
) -> tuple[Prosody, Ejabberd]:
    trust = request.param
    montague = prosody(f"montague-{trust.value}.example", trust=trust)
    capulet = ejabberd(f"capulet-{trust.value}.example", trust=trust)
    montague.account("romeo")
    capulet.account("juliet")
    return montague, capulet


@pytest.fixture
def people(servers: tuple[Prosody, Ejabberd]) -> Iterator[tuple[Client, Client]]:
    montague, capulet = servers
    romeo = montague.login("romeo", notify=[MICROBLOG])
    juliet = capulet.login("juliet", notify=[MICROBLOG])
    yield romeo, juliet
    romeo.close()
    juliet.close()


def test_a_message_crosses_both_ways(people: tuple[Client, Client]) -> None:
    romeo, juliet = people
    romeo.send(f"<message to='{juliet.bare}' type='chat'><body>But soft!</body></message>")
    assert juliet.message("But soft!").get("from") == romeo.jid
    juliet.send(f"<message to='{romeo.jid}' type='chat'><body>Ay me!</body></message>")
    assert romeo.message("Ay me!").get("from") == juliet.jid


def test_they_prove_themselves_as_the_test_asked(
    servers: tuple[Prosody, Ejabberd], people: tuple[Client, Client]
) -> None:
    _, capulet = servers
    romeo, juliet = people
    romeo.ping(juliet.bare)
    juliet.ping(romeo.bare)
    proof = "EXTERNAL" if capulet.trust is Trust.EXTERNAL else "dialback"
    capulet.logged(rf"Accepted inbound s2s {proof} authentication")
    capulet.logged(rf"Accepted outbound s2s {proof} authentication")


def test_a_post_of_prosody_reaches_an_explicit_follower_at_ejabberd(people: tuple[Client, Client]) -> None:
    romeo, juliet = people
    publish(romeo, "one", "It is the east")
    assert follow(juliet, romeo.bare).get("subscription") == "subscribed"
    publish(romeo, "two", "and Juliet is the sun")
    assert await_post(juliet, romeo.bare, "two") == "and Juliet is the sun"
    retract(romeo, "two")
    await_retraction(juliet, romeo.bare, "two")


def test_a_post_of_ejabberd_reaches_a_follower_by_presence_at_prosody(people: tuple[Client, Client]) -> None:
    romeo, juliet = people
    romeo.befriend(juliet.bare, juliet)
    publish(juliet, "three", "Parting is such sweet sorrow")
    assert await_post(romeo, juliet.bare, "three") == "Parting is such sweet sorrow"
