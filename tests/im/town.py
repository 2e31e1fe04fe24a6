"""Verona as a node: people of one domain on line, and a world of other domains to talk to.

Dialogues read as the specification does: somebody sends, somebody receives, and nobody receives anything else.
"""

from collections.abc import Callable, Coroutine, Iterable
from itertools import zip_longest
from typing import Any

from twisted.internet.defer import Deferred

from microblog.im.held import HeldMessages
from microblog.im.message import Messages
from microblog.im.presence import Presence
from microblog.im.roster import Roster, Rosters
from microblog.model.contact import Contact
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import registering
from microblog.wire.errors import StreamError
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.dispatch import Dispatch, Extension
from microblog.xmpp.router import Router
from microblog.xmpp.sessions import Session, Sessions
from tests.xmltext import read, read_all

DOMAIN = "montague.example"


class Line:
    """A stream that remembers what was written on it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.failed: StreamError | None = None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def fail(self, error: StreamError) -> None:
        self.failed = error


class Client:
    """Somebody's session."""

    def __init__(self, town: "Town", session: Session, line: Line) -> None:
        self.town = town
        self.session = session
        self.line = line

    def sends(self, text: str) -> None:
        for element in read_all(text):
            done(self.town.router.from_client(self.session, element))

    def hears(self) -> list[Element]:
        """What has come since it was last asked."""
        written, self.line.written = self.line.written, []
        return read_all(b"".join(written).decode())

    def receives(self, *texts: str) -> None:
        compare(self.hears(), texts)

    def leaves(self) -> None:
        done(self.town.router.session_ended(self.session))

    def comes_online(self) -> "Client":
        """Initial presence; what comes of it is not looked at."""
        self.sends("<presence/>")
        self.hears()
        self.town.world_hears()
        return self

    def asks_for_roster(self) -> list[Element]:
        self.sends("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
        (answer,) = self.hears()
        assert answer.get("type") == "result"
        query = answer.first()
        assert query is not None
        return list(query.elements())


class Town:
    """A node with presence, messages and roster, as they are wired together when it serves."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.sessions = Sessions(10)
        self.dispatch = Dispatch(clock, 90)
        self.router = Router(DOMAIN, self.sessions, self.dispatch, Tasks())
        self.rosters = Rosters(database, self.sessions)
        self.presence = Presence(self.router, database, self.rosters)
        self.messages = Messages(self.router)
        self.roster = Roster(database, self.sessions, self.rosters, self.presence)
        self.held = HeldMessages(self.router, database, clock, Tasks())
        self.messages.keep = self.held.keep
        self.presence.listeners.append(self.held)
        self.router.presence = self.presence
        self.router.messages = self.messages
        self.router.servers = self
        self.dispatch.install([self.roster])
        self._abroad: list[Stanza] = []

    def install(self, *extensions: Extension) -> None:
        self.dispatch.install(extensions)

    def settle(self, *names: str) -> None:
        """Make accounts."""
        for name in names:
            self.database.run(registering.create_account, name, "secret")

    def login(self, name: str, resource: str) -> Client:
        line = Line()
        return Client(self, self.sessions.bind(JID(name, DOMAIN), resource, line), line)

    def online(self, name: str, resource: str) -> Client:
        """Log in, ask for the roster, send initial presence."""
        client = self.login(name, resource)
        client.asks_for_roster()
        return client.comes_online()

    def befriend(self, one: str, other: str) -> None:
        """Both see each other's presence; both are of this node."""
        for name, friend in ((one, other), (other, one)):
            self.makes_contact(name, f"{friend}@{DOMAIN}", "both")

    def makes_contact(self, name: str, jid: str, subscription: str) -> None:
        """A contact in that state, by the moves that lead there."""
        client = self.login(name, "setup")
        if subscription in ("to", "both"):
            client.sends(f"<presence type='subscribe' to='{jid}'/>")
            self.inject(f"<presence type='subscribed' from='{jid}' to='{name}@{DOMAIN}'/>")
        if subscription in ("from", "both"):
            self.inject(f"<presence type='subscribe' from='{jid}' to='{name}@{DOMAIN}'/>")
            client.sends(f"<presence type='subscribed' to='{jid}'/>")
        client.leaves()
        assert str(self.contact(name, jid).subscription) == subscription
        self.world_hears()

    def contact(self, name: str, jid: str) -> Contact:
        contact = self.find_contact(name, jid)
        assert contact is not None
        return contact

    def find_contact(self, name: str, jid: str) -> Contact | None:
        return result(self.rosters.contact(JID(name, DOMAIN), JID.parse(jid)))  # type: ignore[no-any-return]

    # other domains

    def send(self, stanza: Stanza, minimum_proof: Proof = Proof.DIALBACK) -> None:
        """What goes to other servers."""
        self._abroad.append(stanza)

    def inject(self, text: str, proof: Proof = Proof.CERTIFICATE) -> None:
        """A stanza to one of our people, on a stream that was proven; ours among them."""
        element = read(text)
        from_, to = JID.parse(element.attributes["from"]), JID.parse(element.attributes["to"])
        done(self.router.from_server(element, from_, to, proof))

    def world_hears(self) -> list[Element]:
        abroad, self._abroad = self._abroad, []
        return [stanza.element for stanza in abroad]

    def world_receives(self, *texts: str) -> None:
        compare(self.world_hears(), texts)


def compare(found: Iterable[Element], texts: Iterable[str]) -> None:
    """The same elements in the same order; an expected attribute of ``*`` may have any value."""
    found, expected = list(found), [read(text) for text in texts]
    assert [_masked(element, pattern) for element, pattern in zip(found, expected, strict=False)] + found[
        len(expected) :
    ] == expected


def _masked(element: Element, pattern: Element) -> Element:
    starred = {key: "*" for key, value in pattern.attributes.items() if value == "*" and key in element.attributes}
    copy = element.replaced(**starred)
    copy.children = [
        _masked(child, mate) if isinstance(child, Element) and isinstance(mate, Element) else child
        for child, mate in zip_longest(element.children, pattern.children[: len(element.children)])
    ]
    return copy


def result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What it returns; it must not wait for anything."""
    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    assert outcome, "it waits for something"
    if hasattr(outcome[0], "raiseException"):
        outcome[0].raiseException()
    return outcome[0]


def done(coroutine: Any) -> None:
    result(coroutine)


class SlowDatabase:
    """The database, with reads that are answered when the test says so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.waiting: list[tuple[Deferred[Any], Any]] = []

    def read(self, fn: Callable[..., Any], *args: Any) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self.waiting.append((waiting, result(_value(self._database.read(fn, *args)))))
        return waiting

    def answer(self) -> None:
        waiting, value = self.waiting.pop(0)
        waiting.callback(value)


async def _value(deferred: Deferred[Any]) -> Any:
    return await deferred
