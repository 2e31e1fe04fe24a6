"""Following people of Debian's Prosody and ejabberd: what was before, and subscriptions that break."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.interop.client import Client
from tests.interop.microblogging import MICROBLOG, PUBSUB, await_post, follow, publish
from tests.interop.servers import Ejabberd, MicroblogNode, Prosody

pytestmark = pytest.mark.interop
POSTS = 25
# What publish() writes as the time of every post.
PUBLISHED = 1_777_636_800_000_000


class Servers(NamedTuple):
    ours: MicroblogNode
    theirs: Prosody | Ejabberd


@pytest.fixture(scope="module", params=["prosody", "ejabberd"])
def servers(request: pytest.FixtureRequest, microblog_node: Callable[..., MicroblogNode]) -> Servers:
    make = request.getfixturevalue(request.param)
    montague, capulet = f"montague-{request.param}.example", f"capulet-{request.param}.example"
    both = Servers(microblog_node(montague, peers=[capulet]), make(capulet))
    both.ours.account("romeo")
    return both


@pytest.fixture
def romeo(servers: Servers) -> Iterator[Client]:
    romeo = servers.ours.login("romeo")
    yield romeo
    romeo.close()


def lady(servers: Servers, name: str) -> Client:
    servers.theirs.account(name)
    return servers.theirs.login(name)


def table(servers: Servers, question: str, *values: object) -> list[tuple[object, ...]]:
    """Ask our node's database, which it keeps to itself while it runs."""
    connection = sqlite3.connect(servers.ours.folder / "data" / "microblog.db")
    try:
        found = connection.execute(question, values).fetchall()
        connection.commit()
        return found
    finally:
        connection.close()


def kept(servers: Servers, service: str) -> dict[str, tuple[object, ...]]:
    """Our copies of somebody's posts: when they stand, and for whom they are."""
    rows = table(
        servers,
        "SELECT item_id, stands, audience FROM items JOIN nodes ON nodes.id = items.node_id WHERE service = ?",
        service,
    )
    return {str(row[0]): row[1:] for row in rows}


def subscribers(owner: Client) -> list[str]:
    """Who is subscribed to somebody's feed, as their own server says."""
    reply = owner.iq("get", f"<pubsub xmlns='{PUBSUB}#owner'><subscriptions node='{MICROBLOG}'/></pubsub>")
    found = reply.iter(f"{{{PUBSUB}#owner}}subscription")
    return [one.get("jid", "") for one in found if one.get("subscription") == "subscribed"]


def forgets(owner: Client, subscriber: str) -> None:
    """The server loses a subscription."""
    change = f"<subscription jid='{subscriber}' subscription='none'/>"
    owner.iq(
        "set",
        f"<pubsub xmlns='{PUBSUB}#owner'><subscriptions node='{MICROBLOG}'>{change}</subscriptions></pubsub>",
    )


def keeps_all(owner: Client) -> None:
    """Both servers keep one item unless they are told otherwise, and ejabberd wants to be told like this."""
    fields = {"FORM_TYPE": f"{PUBSUB}#node_config", "pubsub#max_items": "100", "pubsub#access_model": "open"}
    form = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in fields.items())
    owner.iq(
        "set",
        f"<pubsub xmlns='{PUBSUB}#owner'><configure node='{MICROBLOG}'><x xmlns='jabber:x:data' type='submit'>{form}"
        "</x></configure></pubsub>",
    )


def becomes(question: Callable[[], object], wanted: object, seconds: float = 20) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while (found := question()) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_whoever_follows_finds_what_was_before(servers: Servers, romeo: Client) -> None:
    juliet = lady(servers, "juliet")
    for number in range(POSTS):
        publish(juliet, f"p{number:02}", f"Post {number}")
        if not number:
            keeps_all(juliet)
    assert follow(romeo, juliet.bare).get("subscription") == "subscribed"
    # What our node asks for next comes back behind this, on the same streams.
    for _ in range(5):
        romeo.ping(servers.theirs.domain)
    time.sleep(1)
    servers.ours.stop()
    found = kept(servers, juliet.bare)
    servers.ours.start()
    expected = {f"p{number:02}" for number in range(POSTS - 20, POSTS)}
    assert found.keys() == expected
    assert {stands for stands, _ in found.values()} == {PUBLISHED}
    assert {audience for _, audience in found.values()} == {"public"}


def test_a_subscription_that_was_forgotten_is_made_again(servers: Servers) -> None:
    if isinstance(servers.theirs, Ejabberd):
        pytest.skip("ejabberd 23.01 sends nothing to subscribers elsewhere")
    romeo, nurse = servers.ours.login("romeo"), lady(servers, "nurse")
    publish(nurse, "n1", "Before")
    follow(romeo, nurse.bare)
    publish(nurse, "n2", "Followed")
    await_post(romeo, nurse.bare, "n2")
    romeo.close()
    servers.ours.stop()
    forgets(nurse, romeo.bare)
    assert subscribers(nurse) == []
    publish(nurse, "n3", "Missed")
    # A day later.
    table(servers, "UPDATE subscriptions SET checked = checked - 90000000000 WHERE checked IS NOT NULL")
    servers.ours.start()
    becomes(lambda: subscribers(nurse), [romeo.bare])
    romeo = servers.ours.login("romeo")
    publish(nurse, "n4", "Heard again")
    assert await_post(romeo, nurse.bare, "n4") == "Heard again"
    romeo.close()
    servers.ours.stop()
    assert kept(servers, nurse.bare).keys() == {"n1", "n2", "n3", "n4"}
    servers.ours.start()
