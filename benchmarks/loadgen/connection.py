"""One client connection: RFC 6120 as far as a client must, on asyncio, never parsing XML.

The measured loops read the socket directly (`Conn.read`); here is what comes before and after.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import select
import socket
import ssl

from loadgen.common import NODE, READ, XMPPError


def pids_of(pids, pidfiles):
    """Process ids from the options --pid and --pidfile."""
    out = [int(p) for p in (pids or "").replace(",", " ").split()]
    for name in (pidfiles or "").split(","):
        if name:
            with open(name) as f:
                out.append(int(f.read().split()[0]))
    return out


class Target:
    """Where to connect and how, from the command line."""

    def __init__(self, a, suffix=""):
        def opt(name, default=None):
            v = getattr(a, name + suffix, None)
            return default if v is None else v

        self.host, self.port = opt("host"), opt("port", a.port)
        self.domain, self.pids = opt("domain"), pids_of(opt("pid"), opt("pidfile"))
        self.prefix, self.password = a.user_prefix, a.password
        self.tls, self.direct, self.sasl = not a.no_tls, a.direct_tls, a.sasl
        self.ctx = None
        if self.tls:
            # Whether the certificate is to be trusted is not under test.
            self.ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.ctx.check_hostname = False
            self.ctx.verify_mode = ssl.CERT_NONE
            if self.direct:
                self.ctx.set_alpn_protocols(["xmpp-client"])

    def describe(self):
        """For the JSON."""
        return {
            "host": self.host,
            "port": self.port,
            "domain": self.domain,
            "pids": self.pids,
            "tls": self.tls,
            "sasl": self.sasl,
        }

    def user(self, i):
        """The localpart of user number `i`."""
        return f"{self.prefix}{i}"

    def bare(self, i):
        """The bare JID of user number `i`."""
        return f"{self.prefix}{i}@{self.domain}"


# What a follower by presence announces (XEP-0115), so that PEP sends it events.
CAPS_NODE = "https://xmppload.invalid/"
CAPS_FEATURES = ("http://jabber.org/protocol/caps", "http://jabber.org/protocol/disco#info", NODE + "+notify")
CAPS_VER = base64.b64encode(
    hashlib.sha1(("client/bot//xmppload<" + "".join(f + "<" for f in CAPS_FEATURES)).encode()).digest()
).decode()
CAPS_PRESENCE = (
    "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' "
    f"node='{CAPS_NODE}' ver='{CAPS_VER}'/></presence>"
)

_scram_cache = {}  # (user@domain, salt, iterations) -> ClientKey, ServerKey


class Conn:
    """A client's stream; the slots after `tls_info` belong to the scenarios."""

    __slots__ = (
        "accepted",
        "answers",
        "buf",
        "fd",
        "jid",
        "last",
        "left",
        "n_iq",
        "read",
        "seen",
        "sent_at",
        "sock",
        "t",
        "tail",
        "tls_info",
        "user",
    )

    def __init__(self, target, i):
        self.t, self.user = target, target.user(i)
        self.sock = None
        self.buf = bytearray()
        self.n_iq = 0
        self.jid = self.tls_info = None
        self.tail = b""
        self.answers = False  # whether to answer disco#info and subscribe
        self.accepted = set()

    # --- bytes ------------------------------------------------------------

    async def _wait(self, write=False):
        loop = asyncio.get_running_loop()
        fut = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        add(self.fd, lambda: fut.done() or fut.set_result(None))
        try:
            await fut
        finally:
            remove(self.fd)

    def send(self, data):
        """Write all of it; what the tests write fits the socket's buffer, so
        the poll below is a rare case."""
        if isinstance(data, str):
            data = data.encode()
        while data:
            try:
                data = data[self.sock.send(data) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                p = select.poll()
                p.register(self.fd, select.POLLOUT)
                if not p.poll(30000):
                    raise XMPPError("the server takes no data") from None

    async def _fill(self):
        while True:
            try:
                data = self.sock.recv(READ)
            except (ssl.SSLWantReadError, BlockingIOError):
                await self._wait()
                continue
            if not data:
                raise XMPPError(f"{self.user}: connection closed by the server; last bytes {bytes(self.buf[-200:])!r}")
            self.buf += data
            if self.answers:
                self._answer()
            return

    _disco = re.compile(
        rb"<iq\b([^>]*)>\s*<query\b([^>]*disco#info[^>]*?)"
        rb"(/>|>[^<]*</query>)\s*</iq>"
    )
    _wish = re.compile(
        rb"<presence\b([^>]*\btype=['\"]subscribe['\"][^>]*?)"
        rb"(/>|>.*?</presence>)",
        re.S,
    )

    def _answer(self):
        """Answer questions for our features, and accept who wants to follow."""

        def attr(text, name):
            m = re.search(rb"\b" + name + rb"=['\"]([^'\"]*)['\"]", text)
            return m.group(1).decode() if m else ""

        for m in list(self._disco.finditer(self.buf)):
            dest = attr(m.group(1), b"from")
            to, node = dest and f" to='{dest}'", attr(m.group(2), b"node")
            self.send(
                f"<iq type='result' id='{attr(m.group(1), b'id')}'{to}>"
                "<query xmlns='http://jabber.org/protocol/disco#info'"
                + (f" node='{node}'" if node else "")
                + "><identity category='client' type='bot' name='xmppload'/>"
                + "".join(f"<feature var='{f}'/>" for f in CAPS_FEATURES)
                + "</query></iq>"
            )
        self.buf = bytearray(self._disco.sub(b"", self.buf))
        for m in list(self._wish.finditer(self.buf)):
            who = attr(m.group(1), b"from").partition("/")[0]
            self.send(f"<presence type='subscribed' to='{who}'/>")
            if self.answers == "mutual" and who not in self.accepted:
                self.send(f"<presence type='subscribe' to='{who}'/>")
            self.accepted.add(who)
        self.buf = bytearray(self._wish.sub(b"", self.buf))

    async def attend(self):
        """Read and answer until cancelled."""
        while True:
            await self._fill()
            if len(self.buf) > 65536:
                del self.buf[:-4096]

    async def until(self, pattern):
        """Read up to a match of the compiled pattern and take it out."""
        while True:
            m = pattern.search(self.buf)
            if m:
                out = bytes(self.buf[: m.end()])
                del self.buf[: m.end()]
                return out
            await self._fill()

    # --- the stream ---------------------------------------------------------

    async def connect(self):
        """TCP, without Nagle."""
        infos = socket.getaddrinfo(self.t.host, self.t.port, type=socket.SOCK_STREAM)
        family, kind, proto, _, addr = infos[0]
        self.sock = socket.socket(family, kind, proto)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self.sock.fileno()
        try:
            self.sock.connect(addr)
        except BlockingIOError:
            await self._wait(write=True)
        err = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if err:
            raise OSError(err, os.strerror(err))
        self.read = self.sock.recv

    async def handshake(self):
        """TLS on the socket."""
        self.sock = self.t.ctx.wrap_socket(self.sock, server_hostname=self.t.domain, do_handshake_on_connect=False)
        self.fd = self.sock.fileno()
        while True:
            try:
                self.sock.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._wait()
            except ssl.SSLWantWriteError:
                await self._wait(write=True)
        self.tls_info = (self.sock.version(), self.sock.cipher()[0])
        self.read = self.sock.read

    _features = re.compile(rb"</stream:features>|<stream:features\s*/>|</stream:stream>")
    _proceed = re.compile(rb"<proceed\b[^>]*>|<failure\b[^>]*>")
    _sasl = re.compile(rb"<(challenge|success|failure)\b[^>]*?(/>|>([^<]*)<)")
    _stream_end = re.compile(rb"</stream:stream>")

    async def stream(self):
        """Open a stream and return its features."""
        self.buf.clear()
        self.send(
            f"<?xml version='1.0'?><stream:stream to='{self.t.domain}' "
            "version='1.0' xml:lang='en' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        f = await self.until(self._features)
        if f.endswith(b"</stream:stream>"):
            raise XMPPError(f"stream refused: {f[-300:]!r}")
        return f

    async def open_stream(self):
        """TCP, TLS, and the stream on which one may authenticate or register."""
        await self.connect()
        if self.t.tls and self.t.direct:
            await self.handshake()
        features = await self.stream()
        if self.t.tls and not self.t.direct:
            if b"urn:ietf:params:xml:ns:xmpp-tls" not in features:
                raise XMPPError("the server offers no STARTTLS (use --no-tls?)")
            self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            if b"<proceed" not in await self.until(self._proceed):
                raise XMPPError("STARTTLS failed")
            await self.handshake()
            features = await self.stream()
        return features

    async def _sasl_step(self, send):
        self.send(send)
        while True:
            m = self._sasl.search(self.buf)
            if m:
                kind, text = m.group(1).decode(), bytes(m.group(3) or b"")
                if kind == "failure":
                    raise XMPPError(f"{self.user}: authentication failed: {bytes(self.buf)!r}")
                self.buf.clear()
                return kind, base64.b64decode(text) if text.strip() else b""
            await self._fill()

    async def authenticate(self, features):
        """SASL: SCRAM-SHA-1 (salted passwords are cached) or PLAIN."""
        ns = "urn:ietf:params:xml:ns:xmpp-sasl"
        pw = self.t.password.encode()
        if self.t.sasl == "PLAIN":
            msg = base64.b64encode(b"\0" + self.user.encode() + b"\0" + pw).decode()
            kind, _ = await self._sasl_step(f"<auth xmlns='{ns}' mechanism='PLAIN'>{msg}</auth>")
            if kind != "success":
                raise XMPPError("no success after PLAIN")
            return
        if b">SCRAM-SHA-1<" not in features:
            raise XMPPError("the server offers no SCRAM-SHA-1 (use --sasl PLAIN?)")
        bare = f"n={self.user},r={secrets.token_hex(12)}"
        msg = base64.b64encode(b"n,," + bare.encode()).decode()
        kind, first = await self._sasl_step(f"<auth xmlns='{ns}' mechanism='SCRAM-SHA-1'>{msg}</auth>")
        if kind != "challenge":
            raise XMPPError("no SCRAM challenge")
        parts = dict(p.split("=", 1) for p in first.decode().split(","))
        key = (self.user, self.t.domain, parts["s"], parts["i"])
        if key not in _scram_cache:
            salted = hashlib.pbkdf2_hmac("sha1", pw, base64.b64decode(parts["s"]), int(parts["i"]))
            _scram_cache[key] = (
                hmac.digest(salted, b"Client Key", "sha1"),
                hmac.digest(salted, b"Server Key", "sha1"),
            )
        client_key, server_key = _scram_cache[key]
        final = f"c=biws,r={parts['r']}"
        auth = f"{bare},{first.decode()},{final}".encode()
        signature = hmac.digest(hashlib.sha1(client_key).digest(), auth, "sha1")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        final += ",p=" + base64.b64encode(proof).decode()
        response = base64.b64encode(final.encode()).decode()
        kind, data = await self._sasl_step(f"<response xmlns='{ns}'>{response}</response>")
        if kind == "challenge":
            kind, _ = await self._sasl_step(f"<response xmlns='{ns}'/>")
        want = base64.b64encode(hmac.digest(server_key, auth, "sha1"))
        if kind != "success" or b"v=" + want not in data:
            raise XMPPError("the server's SCRAM signature is wrong")

    async def login(self, resource, presence="<presence/>"):
        """All of a login.  Its end is the answer to an IQ sent after the
        initial presence (stanzas of one stream are handled in order)."""
        features = await self.open_stream()
        await self.authenticate(features)
        await self.stream()
        reply = await self.iq(
            "set", f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>"
        )
        self.jid = re.search(rb"<jid[^>]*>([^<]+)</jid>", reply).group(1).decode()
        if presence:
            self.send(presence)
            # Any answer will do, an error too.
            await self.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=self.t.domain, ok=None)
        return self

    async def iq(self, kind, payload, to=None, ok=True):
        """Send an IQ and return the bytes of its answer.
        ok: True: an error answer raises; None: any answer."""
        self.n_iq += 1
        ident = f"xlq{self.n_iq}"
        dest = f" to='{to}'" if to else ""
        self.send(f"<iq type='{kind}' id='{ident}'{dest}>{payload}</iq>")
        start = re.compile(rb"<iq\b[^>]*\bid=['\"]" + ident.encode() + rb"['\"][^>]*>")
        while True:
            m = start.search(self.buf)
            if m:
                end = m.end() if m.group().endswith(b"/>") else self.buf.find(b"</iq>", m.end()) + 5
                if end >= m.end():
                    reply = bytes(self.buf[m.start() : end])
                    del self.buf[:end]
                    break
            await self._fill()
        if ok and re.search(rb"\btype=['\"]error['\"]", reply[: m.end() - m.start()]):
            raise XMPPError(f"{self.user}: IQ refused: {payload[:120]} ... -> {reply[:120]!r} ... {reply[-400:]!r}")
        return reply

    def close(self):
        """Close without waiting."""
        if self.sock:
            with contextlib.suppress(OSError, ssl.SSLError):
                self.sock.send(b"</stream:stream>")
            self.sock.close()
            self.sock = None

    async def logout(self):
        """Close the stream in the orderly way."""
        try:
            self.send("</stream:stream>")
            await asyncio.wait_for(self.until(self._stream_end), 5)
        except (TimeoutError, XMPPError, OSError, ssl.SSLError):
            pass
        self.sock.close()
        self.sock = None
