"""kill -9 at every step of a post's way from one node to another, and what must hold after the restart.

Two nodes as processes of their own. One of them ends itself (with SIGKILL) when it passes the named point; it is
started again without that wish, its people log in again, and then:

I1  whatever was confirmed is there;
I2  nothing is there that was answered with an error, and what was not confirmed is there once or not at all;
I4  the reader's session was told of the item once, however often the author or the origin tried again;
I5  in the author's order.

The reader hears of the item and then of a second one, the fence: after the fence no second copy can be on its way.
"""

import signal
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.interop.client import Client
from tests.interop.microblogging import await_post, event_item, follow, is_post, items, publish
from tests.interop.servers import MicroblogNode

pytestmark = pytest.mark.interop

# What the author may have seen when the origin died there. K6 and K7 come after the answer. The origin tells the other
# node by its delivery log: K12 is between the number and the delivery.
ORIGIN = {
    "K1": "nothing",
    "K2": "nothing",
    "K3": "nothing",
    "K4": "nothing",
    "K5": "either",
    "K6": "confirmed",
    "K7": "confirmed",
    "K12": "either",
}
RECEIVER = ("K8", "K9", "K10")


class Pair:
    """Romeo at one node, Juliet who follows him at another."""

    def __init__(self, make: Callable[..., MicroblogNode], point: str) -> None:
        names = [f"{name}-{point.lower()}.zz" for name in ("montague", "capulet")]
        self.origin, self.receiver = (
            make(name, peers=[peer], started=False) for name, peer in (names, reversed(names))
        )
        for node in (self.origin, self.receiver):
            dying = (node is self.origin) == (point in ORIGIN)
            node.environment = {"MICROBLOG_CRASH": f"{point}:{node.folder / 'now'}"} if dying else {}
            node.start()
        self.author = self.origin.account("romeo")
        self.receiver.account("juliet")
        self.romeo = self.origin.login("romeo")
        self.juliet = self.receiver.login("juliet")
        follow(self.juliet, self.author)
        # A first post crosses, so that both streams stand and what comes next is about the post alone.
        publish(self.romeo, "before", "before")
        await_post(self.juliet, self.author, "before")
        if point == "K7":
            # Juliet reads it before her node has said so: that word is not to be the one that kills.
            for _ in range(20):
                if self.origin.administer("queue", "list").stdout == "Nothing waits for anybody.\n":
                    break
            else:
                raise AssertionError("the first post is not acknowledged")

    def arm(self, node: MicroblogNode) -> None:
        """From now on the node dies when it passes the point."""
        (node.folder / "now").touch()

    def disarm(self, node: MicroblogNode) -> None:
        """It has died; start it again to live."""
        assert node.process is not None
        assert node.process.wait(30) == -signal.SIGKILL
        node.process = None
        (node.folder / "now").unlink()
        node.start()

    def close(self) -> None:
        for client in (self.romeo, self.juliet):
            with suppress(OSError, AssertionError):
                client.kill()


@pytest.fixture
def pair(microblog_node: Callable[..., MicroblogNode], request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(microblog_node, request.node.callspec.params["point"])
    yield made
    made.close()


def try_to_publish(author: Client, ident: str) -> bool:
    """True if the post was confirmed; False if the connection died before an answer."""
    try:
        publish(author, ident, ident)
    except (AssertionError, OSError):
        if not author.closed:
            raise
        return False
    return True


def stored(reader: Client, author: str) -> list[str | None]:
    return [item.get("id") for item in items(reader, author)]


def fence(pair: Pair) -> None:
    """The post came once, and before a second one that is made now."""
    publish(pair.romeo, "fence", "fence")
    pair.juliet.wait(is_post(pair.author, "fence"), timeout=30, what="the fence")
    pair.juliet.ping()
    told = [_ident(stanza, pair.author) for stanza in pair.juliet.unread]
    assert [ident for ident in told if ident] == ["post"]


def _ident(stanza: ET.Element, author: str) -> str | None:
    return next((ident for ident in ("post", "fence") if event_item(stanza, author, ident) is not None), None)


@pytest.mark.parametrize("point", ORIGIN)
def test_the_origin_dies(pair: Pair, point: str) -> None:
    pair.arm(pair.origin)
    confirmed = try_to_publish(pair.romeo, "post")
    if ORIGIN[point] != "either":
        assert confirmed == (ORIGIN[point] == "confirmed")
    pair.disarm(pair.origin)
    pair.romeo = pair.origin.login("romeo")
    if confirmed:
        assert "post" in stored(pair.romeo, pair.author)
    else:
        publish(pair.romeo, "post", "post")  # what a client does that had no answer
    assert stored(pair.romeo, pair.author).count("post") == 1
    fence(pair)


@pytest.mark.parametrize("point", RECEIVER)
def test_the_receiver_dies(pair: Pair, point: str) -> None:
    pair.arm(pair.receiver)
    assert try_to_publish(pair.romeo, "post")
    pair.disarm(pair.receiver)
    pair.juliet = pair.receiver.login("juliet")
    fence(pair)
