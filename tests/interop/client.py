"""A small XMPP client for tests, of the tests' own making: it shares no code with the server it tries.

A test writes raw XML and waits, with a deadline, for a stanza that fits a predicate:

    juliet = Client.login(server, "juliet", "secret", notify=[MICROBLOG])
    juliet.send("<message to='romeo@montague.example'><body>Good night</body></message>")
    juliet.wait(lambda s: s.findtext("{jabber:client}body") == "Good night to you")

Elements are ElementTree's, names in Clark's notation. A thread reads and answers what every client must
answer (pings, disco#info, roster pushes), so a waiting test holds up nobody. What went over the wire is in
`transcript`, and in the message of every failure.
"""

import base64
import contextlib
import hashlib
import hmac
import itertools
import secrets
import select
import socket
import ssl
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from typing import Protocol
from xml.sax.saxutils import escape, quoteattr

CLIENT = "{jabber:client}"
STREAMS = "{http://etherx.jabber.org/streams}"
TLS = "{urn:ietf:params:xml:ns:xmpp-tls}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"
BIND = "{urn:ietf:params:xml:ns:xmpp-bind}"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
DISCO_INFO = "http://jabber.org/protocol/disco#info"
CAPS = "http://jabber.org/protocol/caps"
PING = "urn:xmpp:ping"

HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
DEADLINE = 10.0


class Reachable(Protocol):
    """A server as the client needs it: the properties of `tests.interop.servers.Server`."""

    domain: str
    address: str
    c2s_port: int
    direct_tls_port: int


class Refused(AssertionError):
    """The server answered with an error: `condition` is its name, `element` all of it."""

    def __init__(self, element: ET.Element, what: str) -> None:
        super().__init__(f"{what}: {ET.tostring(element, 'unicode')}")
        self.element = element
        error = element.find(f"{CLIENT}error")
        conditions = element if error is None else error
        self.condition = next((child.tag.rpartition("}")[2] for child in conditions), "")


class Client:
    """One client stream. Use `Client.login` or, without an account, `Client.connect`."""

    def __init__(self, domain: str, *, notify: Iterable[str] = ()) -> None:
        self.domain, self.jid = domain, ""
        self.features = ET.Element("none")
        self.transcript: list[tuple[str, str]] = []
        self.unread: list[ET.Element] = []
        self.closed = False
        self._disco = sorted({CAPS, DISCO_INFO, PING, *(f"{node}+notify" for node in notify)})
        self._ids = itertools.count(1)
        self._news = threading.Condition()
        self._wire = threading.Lock()  # an SSL object must not be read and written at once
        self._reader: threading.Thread | None = None
        self._stop = False
        self._socket: socket.socket
        self._parser: ET.XMLPullParser
        self._depth = 0

    # Beginning and end

    @classmethod
    def connect(
        cls,
        server: Reachable,
        *,
        direct_tls: bool = False,
        tls: ssl.SSLContext | None = None,
        notify: Iterable[str] = (),
    ) -> "Client":
        """TCP, TLS and the stream on which one may log in or register."""
        client = cls(server.domain, notify=notify)
        if tls is None:  # most tests do not ask whose certificate it is
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        port = server.direct_tls_port if direct_tls else server.c2s_port
        client._socket = socket.create_connection((server.address, port), DEADLINE)
        client._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if direct_tls:
                tls.set_alpn_protocols(["xmpp-client"])
            else:
                client._open()
                if client.features.find(f"{TLS}starttls") is None:
                    raise AssertionError(f"no STARTTLS offered\n{client._heard()}")
                client._write(f"<starttls xmlns='{TLS[1:-1]}'/>")
                client._expect(f"{TLS}proceed")
            client._socket = tls.wrap_socket(client._socket, server_hostname=server.domain)
            client._open()
        except BaseException:
            client._socket.close()
            raise
        return client

    @classmethod
    def login(
        cls,
        server: Reachable,
        name: str,
        password: str = "secret",
        *,
        resource: str = "balcony",
        mechanism: str | None = None,
        direct_tls: bool = False,
        notify: Iterable[str] = (),
        presence: bool = True,
    ) -> "Client":
        """Everything until the client is bound and, if wanted, available."""
        client = cls.connect(server, direct_tls=direct_tls, notify=notify)
        try:
            client.authenticate(name, password, mechanism)
            client._open()
            client._start_reading()
            bind = f"<bind xmlns='{BIND[1:-1]}'><resource>{escape(resource)}</resource></bind>"
            client.jid = client.iq("set", bind).findtext(f"{BIND}bind/{BIND}jid") or ""
            if presence:
                client.iq("get", "<query xmlns='jabber:iq:roster'/>")  # whoever asks gets the pushes
                client.available()
        except BaseException:
            client.kill()
            raise
        return client

    @property
    def bare(self) -> str:
        """The bare JID of the account."""
        return self.jid.partition("/")[0]

    def close(self) -> None:
        """Leave politely: what was sent before is read by the server."""
        if not self.closed:
            try:
                self.send("</stream:stream>")
            except OSError:
                pass
            else:
                with self._news:
                    self._news.wait_for(lambda: self.closed, 2)
        self.kill()

    def kill(self) -> None:
        """Leave without a word."""
        self._stop = True
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join()
        self._socket.close()
        self.closed = True

    # What tests do

    def send(self, xml: str) -> None:
        """Write raw XML."""
        self._write(xml)

    def iq(self, kind: str, payload: str, to: str | None = None, *, timeout: float = DEADLINE) -> ET.Element:
        """Ask and return the result; an error answer raises Refused."""
        ident = f"q{next(self._ids)}"
        to_attribute = f" to={quoteattr(to)}" if to else ""
        self.send(f"<iq type='{kind}' id='{ident}'{to_attribute}>{payload}</iq>")

        def answers(stanza: ET.Element) -> bool:
            return (
                stanza.tag == f"{CLIENT}iq" and stanza.get("id") == ident and stanza.get("type") in ("result", "error")
            )

        reply = self.wait(answers, timeout=timeout, what=f"an answer to {payload[:200]}")
        if reply.get("type") == "error":
            raise Refused(reply, payload[:200])
        return reply

    def wait(
        self,
        predicate: Callable[[ET.Element], object],
        *,
        timeout: float = DEADLINE,
        what: str = "a stanza",
    ) -> ET.Element:
        """The first unread stanza that fits, which is then read; others stay."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for index, stanza in enumerate(self.unread):
                    if predicate(stanza):
                        return self.unread.pop(index)
                left = deadline - time.monotonic()
                if self.closed or left <= 0:
                    end = "the stream ended" if self.closed else f"in {timeout} s"
                    raise AssertionError(f"{self.jid}: {what} did not come ({end})\n{self._heard()}")
                self._news.wait(left)

    def message(self, body: str, *, timeout: float = DEADLINE) -> ET.Element:
        """The message with this body."""
        return self.wait(lambda s: s.findtext(f"{CLIENT}body") == body, timeout=timeout, what=f"message {body!r}")

    def absent(self, predicate: Callable[[ET.Element], object]) -> None:
        """Nothing that fits has come, up to the answer to a ping of our own server now."""
        self.ping()
        for stanza in self.unread:
            assert not predicate(stanza), f"{self.jid}: unexpected {ET.tostring(stanza, 'unicode')}"

    def ping(self, to: str | None = None) -> None:
        """Ask and wait for any answer: what was sent before it has been handled."""
        with contextlib.suppress(Refused):  # an answer all the same
            self.iq("get", f"<ping xmlns='{PING}'/>", to=to or self.domain)

    def available(self, inner: str = "") -> None:
        """Send presence with what we want to be notified of (XEP-0115)."""
        features = "".join(f"{feature}<" for feature in self._disco)
        digest = hashlib.sha1(f"client/bot//tests<{features}".encode()).digest()
        ver = base64.b64encode(digest).decode()
        caps = f"<c xmlns='{CAPS}' hash='sha-1' node='https://tests.example/' ver='{ver}'/>"
        self.send(f"<presence>{inner}{caps}</presence>")
        self.ping()

    def befriend(self, jid: str, other: "Client") -> None:
        """Subscribe to one another's presence; both are online."""
        for one, two in ((self, other), (other, self)):
            one.send(f"<presence type='subscribe' to='{two.bare}'/>")
            two.wait(_presence("subscribe", one.bare), what=f"a wish of {one.bare}")
            two.send(f"<presence type='subscribed' to='{one.bare}'/>")
            one.wait(_presence("subscribed", two.bare), what=f"consent of {two.bare}")
        for one, two in ((self, other), (other, self)):
            one.wait(lambda s, two=two: s.tag == f"{CLIENT}presence" and s.get("from") == two.jid and not s.get("type"))

    # SASL

    def authenticate(self, name: str, password: str, mechanism: str | None = None) -> None:
        """Log in by the mechanism wanted, or by the best of ours that is offered."""
        offered = [m.text or "" for m in self.features.iterfind(f"{SASL}mechanisms/{SASL}mechanism")]
        ours = [mechanism] if mechanism else [*HASHES, "PLAIN"]
        chosen = next((m for m in ours if m in offered), None)
        if chosen is None:
            raise AssertionError(f"none of {ours} among {offered}")
        if chosen == "PLAIN":
            self._auth(chosen, f"\0{name}\0{password}")
            self._expect(f"{SASL}success")
        else:
            self._scram(chosen, name, password)

    def _scram(self, mechanism: str, name: str, password: str) -> None:
        algorithm = HASHES[mechanism]
        first = f"n={name.replace('=', '=3D').replace(',', '=2C')},r={secrets.token_hex(12)}"
        self._auth(mechanism, f"n,,{first}")
        challenge = base64.b64decode(self._expect(f"{SASL}challenge").text or "").decode()
        values = dict(part.split("=", 1) for part in challenge.split(","))
        assert values["r"].startswith(first.partition(",r=")[2]), "the server's nonce is not ours continued"
        salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), base64.b64decode(values["s"]), int(values["i"]))
        client_key = hmac.digest(salted, b"Client Key", algorithm)
        final = f"c=biws,r={values['r']}"
        signed = f"{first},{challenge},{final}".encode()
        signature = hmac.digest(hashlib.new(algorithm, client_key).digest(), signed, algorithm)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
        response = base64.b64encode(f"{final},p={proof}".encode()).decode()
        self._write(f"<response xmlns='{SASL[1:-1]}'>{response}</response>")
        success = base64.b64decode(self._expect(f"{SASL}success").text or "")
        server_key = hmac.digest(salted, b"Server Key", algorithm)
        wanted = b"v=" + base64.b64encode(hmac.digest(server_key, signed, algorithm))
        assert wanted in success.split(b","), "the server does not know the password itself"

    def _auth(self, mechanism: str, initial: str) -> None:
        text = base64.b64encode(initial.encode()).decode()
        self._write(f"<auth xmlns='{SASL[1:-1]}' mechanism='{mechanism}'>{text}</auth>")

    # The stream

    def _open(self) -> None:
        self._parser = ET.XMLPullParser(["start", "end"])
        self._depth = 0
        self._write(
            f"<?xml version='1.0'?><stream:stream to='{self.domain}' version='1.0' xml:lang='en'"
            f" xmlns='jabber:client' xmlns:stream='{STREAMS[1:-1]}'>"
        )
        self.features = self._expect(f"{STREAMS}features")

    def _expect(self, tag: str) -> ET.Element:
        """While negotiating: the next element, which must be this one."""
        while not self.unread:
            data = self._socket.recv(16384)
            self._feed(data)
            if self.closed:
                raise AssertionError(f"the stream ended before {tag}\n{self._heard()}")
        element = self.unread.pop(0)
        if element.tag != tag:
            raise Refused(element, f"instead of {tag}")
        return element

    def _write(self, text: str) -> None:
        data = text.encode()
        self.transcript.append((">", text))
        while data:
            with self._wire:
                try:
                    data = data[self._socket.send(data) :]
                    continue
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                    pass
            select.select([], [self._socket], [], 1)

    def _feed(self, data: bytes) -> None:
        if not data:
            self.closed = True
            return
        self.transcript.append(("<", data.decode("utf-8", "replace")))
        self._parser.feed(data)
        for event, element in self._parser.read_events():
            self._depth += 1 if event == "start" else -1
            if event == "end" and self._depth == 1:
                self.unread.append(element)
            elif event == "end" and self._depth == 0:
                self.closed = True

    def _start_reading(self) -> None:
        self._socket.setblocking(False)
        self._reader = threading.Thread(target=self._read, name=f"client of {self.domain}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while not self._stop and not self.closed:
                if not select.select([self._socket], [], [], 0.1)[0]:
                    continue
                with self._wire:
                    try:
                        data = self._socket.recv(65536)
                    except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                        continue
                with self._news:
                    known = len(self.unread)
                    self._feed(data)
                    self.unread[known:] = [stanza for stanza in self.unread[known:] if self._answer(stanza)]
                    self._news.notify_all()
        except (OSError, ET.ParseError) as error:
            self.transcript.append(("<", f"[{type(error).__name__}: {error}]"))
        finally:
            with self._news:
                self.closed = True
                self._news.notify_all()

    def _answer(self, stanza: ET.Element) -> bool:
        """Answer what needs no test's attention; True if the test may want to read the stanza."""
        if stanza.tag != f"{CLIENT}iq" or stanza.get("type") not in ("get", "set") or not len(stanza):
            return True
        to = f" to={quoteattr(stanza.get('from', ''))}" if stanza.get("from") else ""
        head = f"<iq type='result' id={quoteattr(stanza.get('id', ''))}{to}"
        match stanza[0].tag:
            case "{urn:xmpp:ping}ping":
                self._write(f"{head}/>")
                return False
            case "{http://jabber.org/protocol/disco#info}query":
                node = f" node={quoteattr(stanza[0].get('node', ''))}" if stanza[0].get("node") else ""
                features = "".join(f"<feature var={quoteattr(feature)}/>" for feature in self._disco)
                identity = "<identity category='client' type='bot' name='tests'/>"
                self._write(f"{head}><query xmlns='{DISCO_INFO}'{node}>{identity}{features}</query></iq>")
                return False
            case "{jabber:iq:roster}query":
                self._write(f"{head}/>")  # a push; a test may look at it
        return True

    def _heard(self) -> str:
        lines = [f"{'C' if way == '>' else 'S'}: {text}" for way, text in self.transcript[-40:]]
        return "\n".join(lines)


def _presence(kind: str, bare: str) -> Callable[[ET.Element], bool]:
    def fits(stanza: ET.Element) -> bool:
        return (
            stanza.tag == f"{CLIENT}presence"
            and stanza.get("type") == kind
            and stanza.get("from", "").partition("/")[0] == bare
        )

    return fits


def register(server: Reachable, name: str, password: str = "secret") -> None:
    """Make an account in band (XEP-0077)."""
    client = Client.connect(server)
    try:
        client._start_reading()
        form = f"<username>{escape(name)}</username><password>{escape(password)}</password>"
        client.iq("set", f"<query xmlns='jabber:iq:register'>{form}</query>", to=server.domain)
    finally:
        client.close()
