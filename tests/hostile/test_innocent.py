"""One real node, the nastiest of everything at its ports, and somebody who only wants to talk.

After each of them the innocent is answered within a second on the stream that was open all the time; at the end the log
has no traceback and nobody's password, and whoever comes new can log in.
"""

import base64
import contextlib
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tests.interop.client import Client
from tests.interop.servers import MicroblogNode

DOMAIN = "hostile.zz"
CANARY = "canary-Wherefore-art-thou"
SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
BIND = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{}</resource></bind></iq>"


def header(content: str = "jabber:client", to: str = DOMAIN, more: str = "") -> str:
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='http://etherx.jabber.org/streams'"
        f" to='{to}' version='1.0'{more}>"
    )


def plain(user: str, password: str, authzid: str = "") -> str:
    data = base64.b64encode(f"{authzid}\0{user}\0{password}".encode()).decode()
    return f"<auth {SASL} mechanism='PLAIN'>{data}</auth>"


def scram(*messages: str) -> str:
    first, *others = [base64.b64encode(message.encode()).decode() for message in messages]
    more = "".join(f"<response {SASL}>{other}</response>" for other in others)
    return f"<auth {SASL} mechanism='SCRAM-SHA-256'>{first}</auth>{more}"


BOMB = (
    "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{n} '&a{n - 1};&a{n - 1};&a{n - 1};&a{n - 1};'>" for n in range(1, 20))
    + "]><a>&a19;</a>"
)
HELLO = bytes.fromhex("160301020001000001fc0303") + bytes(500)

# Where it is said, what, and what has to be among the answers.
ATTACKS: dict[str, tuple[str, str | bytes, str]] = {
    "A5 TLS on the port without": ("c2s", HELLO, "<not-well-formed "),
    "A5 TLS on the port of servers": ("s2s", HELLO, "<not-well-formed "),
    "A6 HTTP": ("c2s", f"GET / HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n", "<not-well-formed "),
    "A6 HTTP to servers": ("s2s", f"GET / HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n", "<not-well-formed "),
    "A11 behind starttls": ("c2s", header() + STARTTLS + plain("innocent", CANARY), "<proceed"),
    "A11 behind starttls, servers": ("s2s", header("jabber:server") + STARTTLS + "<message/>", "<proceed"),
    "A13 a password in the clear": ("c2s", header() + plain("innocent", CANARY), "<encryption-required/>"),
    "B22 another domain": ("c2s", header(to="elsewhere.example"), "<host-unknown "),
    "B25 another stream": ("c2s", header().replace("etherx", "other"), "<invalid-namespace "),
    "B24 a server among clients": ("c2s", header("jabber:server"), "<invalid-namespace "),
    "B29 a header of a mebibyte": ("c2s", header(more=f" a='{'x' * 1_048_576}'"), "<policy-violation "),
    "B29 and to servers": ("s2s", header("jabber:server", more=f" a='{'x' * 1_048_576}'"), "<policy-violation "),
    "C37 entity bomb": ("c2s", BOMB, "<restricted-xml "),
    "C37 entity bomb, servers": ("s2s", BOMB, "<restricted-xml "),
    "C38 external entity": ("c2s", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "<restricted-xml "),
    "C42 UTF-16": ("c2s", header().encode("utf-16"), "<unsupported-encoding "),
    "C45 in the header": ("c2s", header()[:-1].encode() + b" a='\xff'>", "<not-well-formed "),
    "C37 entity bomb under TLS": ("secured", BOMB.partition("?>")[2], "<not-well-formed "),
    "C45 before login": ("secured", b"<auth>\xed\xa0\x80</auth>", "<not-well-formed "),
    "C52 before login": ("secured", "<a>" * 2000, "<policy-violation "),
    "D69 before login": ("secured", "<message/>", "<not-authorized "),
    "F94 not offered": ("secured", f"<auth {SASL} mechanism='GSSAPI'/>", "<invalid-mechanism/>"),
    "F95 base64": ("secured", f"<auth {SASL} mechanism='PLAIN'>A!</auth>", "<incorrect-encoding/>"),
    "F95 after padding": ("secured", f"<auth {SASL} mechanism='PLAIN'>AGE=AA==</auth>", "<incorrect-encoding/>"),
    "F96 three NULs": ("secured", plain("inno\0cent", CANARY), "<malformed-request/>"),
    "F96 for somebody else": ("secured", plain("tybalt", CANARY, "innocent"), "<invalid-authzid/>"),
    "F97 a mebibyte": ("secured", plain("innocent", CANARY * 42_000), "<policy-violation "),
    "F97 what just fits": ("secured", plain("innocent", CANARY * 200), "<malformed-request/>"),
    "F98 bad first": ("secured", scram("n,,n=innocent"), "<malformed-request/>"),
    "F98 bad escape": ("secured", scram("n,,n=inno=2cent,r=abc"), "<malformed-request/>"),
    "F98 downgrade": ("secured", scram("y,,n=innocent,r=abc"), "<not-authorized/>"),
    "F98 changed nonce": ("secured", scram("n,,n=innocent,r=abc", "c=biws,r=xyz,p=AAAA"), "<malformed-request/>"),
    "F101 guessing": ("secured", plain("innocent", f"{CANARY}?") * 4, "<policy-violation "),
    "D70 resource": ("tybalt", BIND.format("x" * 2000), "<bad-request "),
    "C36 in a stream": ("bound", "<!DOCTYPE a>", "<not-well-formed "),
    "C45 bad UTF-8": ("bound", b"<message>\xc0\xbc</message>", "<not-well-formed "),
    "C52 depth": ("bound", "<message>" + "<a>" * 64, "<policy-violation "),
    "C53 attributes": ("bound", "<message" + "".join(f" a{n}=''" for n in range(65)) + "/>", "<policy-violation "),
    "C53 elements": ("bound", f"<message>{'<a/>' * 4096}</message>", "<policy-violation "),
    "C54 newlines": ("bound", "<message id='nl' to='nobody@hostile.zz'>" + "\n" * 262_000 + "</message>", "id='nl'"),
    "C54 references": ("bound", "<message id='lt' to='nobody@hostile.zz'>" + "&lt;" * 65_000 + "</message>", "id='lt'"),
    "C55 too big": ("bound", f"<message><body>{CANARY * 12_000}</body></message>", "<policy-violation "),
    "D67 an id of 100 KiB": ("bound", f"<message id='{'x' * 102_400}'/>", "<policy-violation "),
    "E76 somebody else": ("bound", f"<message from='innocent@{DOMAIN}' to='innocent@{DOMAIN}'/>", "<invalid-from "),
    "E85 no address": ("bound", "<message id='no' to='\u202e@hostile.zz'/>", "<jid-malformed "),
}


class Attacker:
    """A plain socket that has got as far as its place says."""

    def __init__(self, node: MicroblogNode, place: str) -> None:
        self.server = place == "s2s"
        port = node.s2s_port if self.server else node.c2s_port
        self.socket: socket.socket = socket.create_connection((node.address, port), 10)
        if place in ("secured", "tybalt", "bound"):
            self.say(header() + STARTTLS)
            self.hear("<proceed")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
            self.say(header())
            self.hear("</stream:features>")
        if place in ("tybalt", "bound"):
            self.say(plain("tybalt", CANARY))
            self.hear("<success")
            self.say(header())
            self.hear("</stream:features>")
        if place == "bound":
            self.say(BIND.format("street"))
            self.hear("</iq>")

    def say(self, data: str | bytes) -> None:
        with contextlib.suppress(OSError):  # whoever says too much is hung up on
            self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def hear(self, until: str) -> str:
        """What comes until something was said, or the end."""
        heard = b""
        with contextlib.suppress(OSError):
            while until.encode() not in heard and (data := self.socket.recv(65_536)):
                heard += data
        return heard.decode("utf-8", "replace")

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@pytest.fixture(scope="module")
def node(microblog_node: Callable[..., MicroblogNode]) -> MicroblogNode:
    node = microblog_node(DOMAIN)
    for name in ("innocent", "tybalt"):
        node.account(name, CANARY)
    return node


@pytest.fixture(scope="module")
def innocent(node: MicroblogNode) -> Iterator[Client]:
    client = Client.login(node, "innocent", CANARY)
    yield client
    client.close()


def answered(innocent: Client) -> None:
    began = time.monotonic()
    innocent.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=DOMAIN)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(("place", "said", "answer"), ATTACKS.values(), ids=ATTACKS.keys())
def test_the_attack_is_answered_and_so_is_the_innocent(
    node: MicroblogNode, innocent: Client, place: str, said: str | bytes, answer: str
) -> None:
    attacker = Attacker(node, place)
    attacker.say(said)
    answered(innocent)
    heard = attacker.hear(answer)
    assert answer in heard
    assert CANARY not in heard
    attacker.reset()
    answered(innocent)
    innocent.absent(lambda stanza: stanza.get("from", "").startswith("tybalt"))


def test_a16_connections_that_break_off_anywhere(node: MicroblogNode, innocent: Client) -> None:
    for n in range(20):
        attacker = Attacker(node, ("c2s", "s2s", "secured", "bound")[n % 4])
        attacker.say((header("jabber:server" if attacker.server else "jabber:client") + "<message><bo")[: 40 * n])
        attacker.reset()
    answered(innocent)


def test_the_log_tells_no_secrets_and_of_no_bug(node: MicroblogNode, innocent: Client) -> None:
    """The last in this module: everything has been tried by now."""
    late = node.login("innocent", CANARY, resource="late")
    answered(late)
    late.close()
    node.stop()
    log = (node.folder / "console.log").read_text()
    assert DOMAIN in log or "microblog" in log.lower()
    assert "Traceback" not in log and "Unhandled" not in log and "incident" not in log
    assert CANARY not in log
    assert base64.b64encode(f"\0innocent\0{CANARY}".encode()).decode()[:-4] not in log
    assert not re.search(r"[Aa] {60}|x{200}", log), "what strangers say does not fill the log"
    for path in (node.folder / "data").rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path
