"""Our node and Debian's ejabberd (23.01) with mod_multicast: one notification for all who follow there (XEP-0033).

The service is a domain of its own, with streams of its own. What was on the wire is in ejabberd's log.
"""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.interop.ca import CertificateAuthority
from tests.interop.client import Client
from tests.interop.microblogging import (
    await_post,
    await_retraction,
    follow,
    is_post,
    publish,
    retract,
)
from tests.interop.servers import Ejabberd, MicroblogNode, Trust

pytestmark = pytest.mark.interop

FOLLOWERS = ("juliet", "nurse", "tybalt")
ADDRESSES = "{http://jabber.org/protocol/address}addresses"


class Scene(NamedTuple):
    ours: MicroblogNode
    theirs: Ejabberd
    romeo: Client
    followers: list[Client]

    @property
    def service(self) -> str:
        return f"multicast.{self.theirs.domain}"

    def each_is_told(self, ident: str, title: str) -> None:
        """Of a post, by its author, once."""
        for follower in self.followers:
            stanza = follower.wait(is_post(self.romeo.bare, ident), what=f"{ident} of {self.romeo.bare}")
            assert (stanza.get("from"), stanza.get("to")) == (self.romeo.bare, follower.bare)
            assert stanza.find(ADDRESSES) is None, "it is seen who else follows"
            follower.unread.insert(0, stanza)
            assert await_post(follower, self.romeo.bare, ident) == title
            follower.absent(is_post(self.romeo.bare, ident))

    def on_the_wire(self, ident: str) -> Counter[str]:
        """How many notifications of a post ejabberd has read from our node, by whom they were for."""
        juliet = self.followers[0]
        self.romeo.send(f"<message to='{juliet.bare}' type='chat'><body>after {ident}</body></message>")
        juliet.message(f"after {ident}")
        deadline = time.monotonic() + 5
        while f"after {ident}<" not in (log := (self.theirs.folder / "server.log").read_text(errors="replace")):
            assert time.monotonic() < deadline, "the log is written a little later, but not so late"
            time.sleep(0.05)
        streams: defaultdict[str, str] = defaultdict(str)  # what was read in pieces, put together
        for stream, piece in re.findall(r"\(tls\|(\S+)\) Received XML on stream = <<\"(.*)\">>", log):
            streams[stream] += piece
        messages = re.findall(r"<message .*?</message>", "".join(streams.values()))
        opening = re.compile(rf"<message from='{re.escape(self.romeo.bare)}'[^>]* to='([^']*)'>.*<item id='{ident}'")
        return Counter(found.group(1) for message in messages if (found := opening.match(message)))

    def nothing_waits(self) -> None:
        deadline = time.monotonic() + 10
        while (said := self.ours.administer("queue", "list").stdout) != "Nothing waits for anybody.\n":
            assert time.monotonic() < deadline, said


Opens = Callable[..., Scene]


@pytest.fixture
def opens(
    ejabberd: Callable[..., Ejabberd], microblog_node: Callable[..., MicroblogNode], ca: CertificateAuthority
) -> Iterator[Opens]:
    """opens(name, options of mod_multicast, trust): both servers, and people of ejabberd who follow Romeo.

    Without `certified`, the certificate of ejabberd's domain does not name the service.
    """
    scenes: list[Scene] = []

    def open_(name: str, options: dict[str, object], trust: Trust = Trust.EXTERNAL, *, certified: bool = True) -> Scene:
        montague, capulet = f"montague-{name}.example", f"capulet-{name}.example"
        service = f"multicast.{capulet}"
        certificate = ca.issue(capulet, service) if trust is Trust.EXTERNAL and certified else None
        theirs = ejabberd(capulet, multicast=options, level="debug", certificate=certificate, trust=trust)
        settings = {"s2s": {"multicast": [capulet], "dialback": "never" if trust is Trust.EXTERNAL else "always"}}
        ours = microblog_node(montague, peers=[capulet, service], settings=settings, trust=trust)
        ours.account("romeo")
        for follower in FOLLOWERS:
            theirs.account(follower)
        followers = [theirs.login(follower) for follower in FOLLOWERS]
        for follower in followers:
            assert follow(follower, f"romeo@{montague}").get("subscription") == "subscribed"
        scenes.append(Scene(ours, theirs, ours.login("romeo"), followers))
        return scenes[-1]

    yield open_
    for scene in scenes:
        scene.ours.close()
        scene.theirs.close()


@pytest.mark.parametrize("trust", list(Trust), ids=lambda trust: trust.value)
def test_one_for_all(opens: Opens, trust: Trust) -> None:
    scene = opens(f"all-{trust.value}", {}, trust)
    publish(scene.romeo, "p1", "It is the east")
    scene.each_is_told("p1", "It is the east")
    assert scene.on_the_wire("p1") == {scene.service: 1}
    publish(scene.romeo, "p2", "Arise, fair sun")
    scene.each_is_told("p2", "Arise, fair sun")
    assert scene.on_the_wire("p2") == {scene.service: 1}
    retract(scene.romeo, "p1")
    for follower in scene.followers:
        await_retraction(follower, scene.romeo.bare, "p1")
    scene.nothing_waits()


def test_no_more_at_once_than_the_service_says(opens: Opens) -> None:
    scene = opens("two", {"limits": {"remote": {"message": 2}}})
    publish(scene.romeo, "p1", "It is the east")
    scene.each_is_told("p1", "It is the east")
    assert scene.on_the_wire("p1") == {scene.service: 2}
    scene.nothing_waits()


def test_a_service_that_is_not_for_strangers(opens: Opens) -> None:
    """It says what it takes, and answers each stanza with an error (forbidden): all are told one by one."""
    scene = opens("none", {"access": "none"})
    each = {follower.bare: 1 for follower in scene.followers}
    publish(scene.romeo, "p1", "It is the east")
    scene.each_is_told("p1", "It is the east")
    assert scene.on_the_wire("p1") == {scene.service: 1, **each}
    publish(scene.romeo, "p2", "Arise, fair sun")
    scene.each_is_told("p2", "Arise, fair sun")
    assert scene.on_the_wire("p2") == each
    scene.nothing_waits()


def test_a_service_without_a_certificate(opens: Opens) -> None:
    """It cannot prove to be what its domain says that it is: nobody's address goes there."""
    scene = opens("doubtful", {}, certified=False)
    publish(scene.romeo, "p1", "It is the east")
    scene.each_is_told("p1", "It is the east")
    assert scene.on_the_wire("p1") == {follower.bare: 1 for follower in scene.followers}
    scene.nothing_waits()
