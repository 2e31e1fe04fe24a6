"""People and what their clients saw: the only witnesses of a run beside the databases.

A `Person` does what the plan says, and never waits for the answer: what was heard is read when all is over. Whoever's
connection ends comes back as soon as the server is there, and says again what was not answered, as clients do.

What stock servers cannot do is not asked of them: people at Prosody and ejabberd stay on line throughout, because a
headline for somebody who is not there is dropped there; nobody kills those servers.
"""

import contextlib
import datetime
import socket
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from tests.chaos.plan import DIRECT, FOLLOWERS, PUBLIC, Op
from tests.chaos.town import OURS, PROSODY
from tests.interop.client import CLIENT, Client
from tests.interop.microblogging import ATOM, EVENT, MICROBLOG, PUBSUB
from tests.interop.servers import Server

_zero = time.monotonic()


def begin_time() -> None:
    """A run begins now."""
    global _zero
    _zero = time.monotonic()


def now() -> float:
    """Seconds since the run began, whatever any clock says."""
    return time.monotonic() - _zero


OPTIONS = f"<field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#publish-options</value></field>"
STOCK = (
    "<field var='pubsub#persist_items'><value>true</value></field>"
    "<field var='pubsub#access_model'><value>open</value></field>"
)
MANY = "<field var='pubsub#max_items'><value>200</value></field>"  # ejabberd does not know this one there


class Witness(Client):
    """A client that remembers when it heard what."""

    def _answer(self, stanza: ET.Element) -> bool:
        self.__dict__.setdefault("record", []).append((now(), stanza))
        return super()._answer(stanza)

    @property
    def record(self) -> list[tuple[float, ET.Element]]:
        """Everything, in order."""
        return self.__dict__.setdefault("record", [])


@dataclass(frozen=True, slots=True)
class Seen:
    """What one notification told a session: of the item `item` of a feed; `number` of the version, or gone."""

    at: float
    feed: str
    item: str
    token: str
    number: int | None
    node: str


@dataclass(slots=True)
class Session:
    """From a login to the end of the connection."""

    client: Witness
    began: float
    said: dict[str, Op] = field(default_factory=dict)  # by the id of the request

    def seen(self) -> list[Seen]:
        """What it was told of items, in order."""
        found = []
        for at, stanza in self.client.record:
            if stanza.tag == f"{CLIENT}message":
                found += _read(at, stanza)
        return found

    def lasted(self, moment: float) -> bool:
        """Was anything heard after that moment, or is it still there?"""
        return not self.client.closed or (bool(self.client.record) and self.client.record[-1][0] > moment)

    def texts(self) -> Iterator[tuple[float, str]]:
        """Everything it was told, as text."""
        for at, stanza in self.client.record:
            if stanza.get("type") != "error":
                yield at, ET.tostring(stanza, "unicode")


def _read(at: float, stanza: ET.Element) -> Iterator[Seen]:
    feed = stanza.get("from", "").partition("/")[0]
    for items in stanza.iterfind(f"{EVENT}event/{EVENT}items"):
        node = items.get("node", "")
        for item in items.iterfind(f"{EVENT}item"):
            token, number = read_title(item.findtext(f"{ATOM}entry/{ATOM}title") or "")
            yield Seen(at, feed, item.get("id", ""), token, number, node)
        for item in items.iterfind(f"{EVENT}retract"):
            yield Seen(at, feed, item.get("id", ""), "", None, node)


def title(op: Op) -> str:
    """What a version says: whose it is can be searched for, and which version it is."""
    return f"{op.token} version {op.number}"


def read_title(text: str) -> tuple[str, int]:
    """The token and the number of the version; nothing and -1 for what is not of the run."""
    words = text.split()
    if len(words) == 3 and words[1] == "version":
        return words[0], int(words[2])
    return "", -1


class Person:
    """Somebody with an account; used by the thread of their server only."""

    def __init__(self, server: Server, name: str, password: str) -> None:
        self.server, self.name, self.password = server, name, password
        self.jid = f"{name}@{server.domain}"
        self.sessions: list[Session] = []
        self.wanted = True  # on line, as far as it is theirs to say
        self._count = 0

    @property
    def stock(self) -> bool:
        """At a server that is not ours."""
        return self.server.domain not in OURS

    @property
    def session(self) -> Session | None:
        """The one that stands."""
        last = self.sessions[-1] if self.sessions else None
        return last if last is not None and not last.client.closed else None

    def come(self) -> bool:
        """Log in and say again what was not answered; False if the server is not there."""
        if self.session is not None:
            return True
        try:
            client = Witness.login(self.server, self.name, self.password, notify=[MICROBLOG])
        except (OSError, AssertionError):
            return False
        before = self.sessions[-1] if self.sessions else None
        self.sessions.append(Session(client, now()))
        if before is not None:
            _resolve(before)
            for op in before.said.values():
                if not op.answer and op.kind in ("post", "edit", "retract"):
                    self.do(op)
        return True

    def leave(self) -> None:
        """Politely: what the server has written is read."""
        if self.session is not None:
            with contextlib.suppress(OSError):
                self.session.client.send("</stream:stream>")
            self.lost()

    def lost(self) -> None:
        """The server closes the stream, or has died: read what it had written."""
        if self.sessions:
            client = self.sessions[-1].client
            deadline = now() + 15
            while not client.closed and now() < deadline:
                time.sleep(0.02)
            client.kill()

    def do(self, op: Op) -> None:
        """Ask for it."""
        session = self.session
        if session is None:
            return
        self._count += 1
        ident = f"c{len(self.sessions)}-{self._count}"
        to = f" to={quoteattr(op.target)}" if op.target else ""
        op.payload = op.payload or self._payload(op)  # said again, it is the same
        session.said[ident] = op
        op.sent = now()
        try:
            session.client.send(f"<iq type='set' id='{ident}'{to}>{op.payload}</iq>")
        except (OSError, ValueError):
            return

    def _payload(self, op: Op) -> str:
        if op.kind in ("follow", "unfollow"):
            verb = "subscribe" if op.kind == "follow" else "unsubscribe"
            return f"<pubsub xmlns='{PUBSUB}'><{verb} node='{MICROBLOG}' jid='{self.jid}'/></pubsub>"
        if op.kind == "retract":
            return (
                f"<pubsub xmlns='{PUBSUB}'><retract node='{MICROBLOG}' notify='true'><item id='{op.item}'/></retract>"
                "</pubsub>"
            )
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        fields = OPTIONS
        if self.stock:
            fields += STOCK + (MANY if self.server.domain == PROSODY else "")
        elif op.audience != PUBLIC:
            fields += f"<field var='microblog#audience'><value>{op.audience}</value></field>"
            if op.audience == DIRECT:
                values = "".join(f"<value>{reader}</value>" for reader in op.readers)
                fields += f"<field var='microblog#reader' type='jid-multi'>{values}</field>"
        return (
            f"<pubsub xmlns='{PUBSUB}'><publish node='{MICROBLOG}'><item id='{op.item}'>"
            f"<entry xmlns='http://www.w3.org/2005/Atom'><title type='text'>{escape(title(op))}</title>"
            f"<id>tag:{self.server.domain},2026:{op.item}</id><published>{stamp}</published><updated>{stamp}</updated>"
            f"<author><name>{self.name}</name><uri>xmpp:{self.jid}</uri></author></entry></item></publish>"
            f"<publish-options><x xmlns='jabber:x:data' type='submit'>{fields}</x></publish-options></pubsub>"
        )

    def resolve(self) -> None:
        """Write down beside every op what was answered."""
        for session in self.sessions:
            _resolve(session)


def _resolve(session: Session) -> None:
    for at, stanza in session.client.record:
        op = session.said.get(stanza.get("id", "")) if stanza.tag == f"{CLIENT}iq" else None
        if op is None or stanza.get("type") not in ("result", "error") or op.answered >= at:
            continue
        answer = "result" if stanza.get("type") == "result" else _condition(stanza)
        # Retracted before, as the first answer would have said, if it had come.
        again = op.kind == "retract" and answer == "item-not-found" and op.answer == "" and op.answered == 0
        op.answered = at
        if op.answer != "result":
            op.answer = "gone" if again else answer


def _condition(stanza: ET.Element) -> str:
    error = stanza.find(f"{CLIENT}error")
    return "error" if error is None or not len(error) else error[0].tag.rpartition("}")[2]


def befriend(one: Person, two: Person) -> None:
    """Each sees the other's presence; both are on line."""
    assert one.session is not None and two.session is not None
    one.session.client.befriend(two.jid, two.session.client)


def ask(person: Person, payload: str, to: str | None = None) -> ET.Element:
    """One question, waited for."""
    assert person.session is not None
    return person.session.client.iq("get", payload, to, timeout=20)


def home(person: Person) -> list[tuple[str, str]]:
    """The newest of their home timeline: feed and id of each item."""
    node = "urn:x-microblog:home:0"
    payload = f"<pubsub xmlns='{PUBSUB}'><items node='{node}' max_items='100'/></pubsub>"
    reply = ask(person, payload, person.jid)
    items = reply.findall(f"{{{PUBSUB}}}pubsub/{{{PUBSUB}}}items/{{{PUBSUB}}}item")
    return [(item.get("publisher", "").partition("/")[0], item.get("id", "")) for item in items]


def kept(person: Person) -> dict[str, int]:
    """What their own server has in their microblog: id, and number of the version."""
    reply = ask(person, f"<pubsub xmlns='{PUBSUB}'><items node='{MICROBLOG}'/></pubsub>", person.jid)
    found = {}
    for item in reply.iterfind(f"{{{PUBSUB}}}pubsub/{{{PUBSUB}}}items/{{{PUBSUB}}}item"):
        token, number = read_title(item.findtext(f"{ATOM}entry/{ATOM}title") or "")
        if token:
            found[item.get("id", "")] = number
    return found


def reachable(server: Server) -> bool:
    """Does somebody listen there?"""
    try:
        socket.create_connection((server.address, server.c2s_port), 1).close()
    except OSError:
        return False
    return True


NARROW = (FOLLOWERS, DIRECT, "local")
