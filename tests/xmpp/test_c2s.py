"""RFC 6120 §4-8 as a client meets it: from the connection to the last stanza, and everything out of its time."""

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from twisted.internet import task
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred

from microblog.config import Limits
from microblog.model.account import ScramKeys
from microblog.model.errors import ResourceConstraint
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element
from microblog.xmpp.admission import Admission, LoginFailures, address_key
from microblog.xmpp.c2s import Applicant, Clients
from microblog.xmpp.sessions import Session, Sessions
from microblog.xmpp.tls import Certificates
from microblog.xmpp.tlslayer import TLSFailure
from tests.xmpp.lines import FOOTER, HEADER, Line, TLSClient, plug

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = {name: ScramKeys.derive("soft", name, b"0123456789abcdef", 4096) for name in ("SHA-1", "SHA-256")}
NOBODY = {name: ScramKeys.derive("\x7f", name, b"fedcba9876543210", 4096) for name in ("SHA-1", "SHA-256")}
SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
BIND = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


def plain(user: str = "romeo", password: str = "soft", authzid: str = "") -> str:
    data = base64.b64encode(f"{authzid}\0{user}\0{password}".encode()).decode()
    return f"<auth {SASL} mechanism='PLAIN'>{data}</auth>"


class People:
    """Romeo, whose password is "soft"; until he is gone, or the database has too much to do."""

    def __init__(self) -> None:
        self.gone = self.busy = False

    async def keys(self, localpart: str, hash_name: str) -> ScramKeys:
        if self.busy:
            raise ResourceConstraint("too much to do")
        if self.gone:
            return NOBODY[hash_name]
        return (KEYS if localpart == "romeo" else NOBODY)[hash_name]

    async def verify(self, keys: ScramKeys, password: str) -> bool:
        return keys.verify(password)


class Collector:
    """A router that keeps what it gets."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.stanzas: list[tuple[str, Element]] = []
        self.ended: list[str] = []
        self.answer: Callable[[Session, Element], None] = lambda session, element: None
        self.hold: Deferred[None] | None = None

    async def from_client(self, session: Session, element: Element) -> None:
        self.stanzas.append((str(session.jid), element))
        self.answer(session, element)
        if self.hold is not None:
            await self.hold

    async def session_ended(self, session: Session) -> None:
        self.sessions.unbind(session)
        self.ended.append(str(session.jid))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    made = Certificates("montague.example", None, None, folder / "certificate.pem", folder)
    made.ensure(NOW)
    return made


class House:
    """A listener for clients, and what is behind it."""

    def __init__(self, certificates: Certificates, limits: Limits | None = None, **more: object) -> None:
        self.time = task.Clock()
        self.tasks = Tasks()
        self.limits = limits or Limits()
        self.router = Collector(Sessions(self.limits.sessions_per_account))
        self.people = People()
        self.clients = Clients(
            domain="montague.example",
            clock=Clock(self.time),
            tasks=self.tasks,
            limits=self.limits,
            certificates=certificates,
            accounts=self.people,
            router=self.router,
            **more,  # type: ignore[arg-type]
        )
        self.listener = self.clients.listener()
        self.direct = self.clients.listener(direct_tls=True)
        self.context = certificates.client_context()

    def connect(self, host: str = "192.0.2.1", *, direct: bool = False, alpn: bytes | None = None) -> TLSClient:
        listener = self.direct if direct else self.listener
        stream = listener.buildProtocol(IPv4Address("TCP", host, 49152))
        assert stream is not None, "refused"
        return TLSClient(plug(stream, Line(host)), self.context, alpn=alpn)

    def secured(self, host: str = "192.0.2.1") -> TLSClient:
        """Under TLS, with the features read."""
        client = self.connect(host)
        client.say(HEADER)
        client.say(STARTTLS)
        client.shake_hands()
        client.say(HEADER)
        return client

    def authenticated(self, host: str = "192.0.2.1") -> TLSClient:
        client = self.secured(host)
        assert "<success" in client.say(plain())
        client.say(HEADER)
        return client

    def bound(self, resource: str = "orchard", host: str = "192.0.2.1") -> TLSClient:
        client = self.authenticated(host)
        assert "type='result'" in client.say(bind(resource))
        return client


def bind(resource: str | None) -> str:
    inner = "" if resource is None else f"<resource>{resource}</resource>"
    return f"<iq type='set' id='b1'>{BIND}{inner}</bind></iq>"


def failed_with(condition: str, sent: str) -> bool:
    """True if this is the end of a stream with that error."""
    return f"<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" in re.sub(
        "<text .*?</text>", "", sent
    ) and sent.endswith("</stream:error></stream:stream>")


@pytest.fixture
def house(certificates: Certificates) -> House:
    return House(certificates)


# the whole way


def test_a_client_logs_in(house: House) -> None:
    client = house.connect()
    sent = client.say(HEADER)
    assert sent.startswith("<?xml version='1.0'?><stream:stream xmlns='jabber:client'")
    assert sent.endswith(
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
    )
    assert client.say(STARTTLS) == "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    client.shake_hands()
    sent = client.say(HEADER)
    assert re.findall("<mechanism>(.*?)</mechanism>", sent) == [
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-256",
        "SCRAM-SHA-1",
        "PLAIN",
    ]
    assert re.findall("<channel-binding type='(.*?)'/>", sent) == ["tls-exporter", "tls-server-end-point"]
    assert "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes></limits>" in sent
    assert client.say(plain()) == f"<success {SASL}/>"
    sent = client.say(HEADER)
    assert "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>" in sent
    assert "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>" in sent
    assert "<max-bytes>262144</max-bytes><idle-seconds>900</idle-seconds>" in sent
    assert "mechanism" not in sent
    assert client.say(bind("orchard")) == (
        f"<iq type='result' id='b1'>{BIND}<jid>romeo@montague.example/orchard</jid></bind></iq>"
    )
    session = "<iq type='set' id='s1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>"
    assert client.say(session) == "<iq type='result' id='s1'/>"
    assert client.say("<message to='juliet@capulet.example'><body>hi</body></message>") == ""
    assert house.router.stanzas == [
        (
            "romeo@montague.example/orchard",
            Element(ns.CLIENT, "message", {"to": "juliet@capulet.example"}, Element(ns.CLIENT, "body", None, "hi")),
        )
    ]
    assert client.say(FOOTER) == FOOTER.decode()
    assert client.line.fin
    assert house.router.ended == ["romeo@montague.example/orchard"]
    assert (len(house.clients), len(house.tasks)) == (0, 0)


def test_direct_tls(house: House) -> None:
    client = house.connect(direct=True, alpn=b"xmpp-client")
    client.shake_hands()
    assert "<mechanism>PLAIN</mechanism>" in client.say(HEADER)
    assert "<starttls" not in client.say(plain())


@pytest.mark.parametrize("alpn", [b"xmpp-server", b"h2"])
def test_a15_direct_tls_with_another_protocol(house: House, alpn: bytes) -> None:
    client = house.connect(direct=True, alpn=alpn)
    with pytest.raises(TLSFailure, match="no application protocol"):
        client.shake_hands()
    assert client.line.fin
    assert len(house.clients) == 0


# headers


def header(**changes: str | None) -> bytes:
    attributes = {"to": "montague.example", "version": "1.0", **changes}
    text = "".join(f" {key.rstrip('_')}='{value}'" for key, value in attributes.items() if value is not None)
    return (
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
        f"{text}>"
    ).encode()


BAD_HEADERS = {
    "B21 no to": (header(to=None), "improper-addressing"),
    "B22 unknown to": (header(to="capulet.example"), "host-unknown"),
    "B22 a subdomain": (header(to="x.montague.example"), "host-unknown"),
    "B23 malformed to": (header(to="@@"), "improper-addressing"),
    "B23 an account": (header(to="romeo@montague.example"), "improper-addressing"),
    "B23 dots": (header(to="a..b"), "improper-addressing"),
    "B23 long": (header(to="a" * 2000), "improper-addressing"),
    "B24 server namespace": (header().replace(b"jabber:client", b"jabber:server"), "invalid-namespace"),
    "B25 stream namespace": (header().replace(b"etherx", b"other"), "invalid-namespace"),
    "B27 version 0.9": (header(version="0.9"), "unsupported-version"),
    "B27 no version": (header(version=None), "unsupported-version"),
    "B27 no number": (header(version="x.y"), "unsupported-version"),
    "B27 no minor": (header(version="1"), "unsupported-version"),
    "B29 a mebibyte": (header(version="1" * 1_048_576), "policy-violation"),
    "A5 TLS on the wrong port": (bytes.fromhex("160301020001000001fc0303"), "not-well-formed"),
    "A6 HTTP": (b"GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
    "C36 document type": (b"<!DOCTYPE x>", "restricted-xml"),
}


@pytest.mark.parametrize(("data", "condition"), BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_bad_headers(house: House, data: bytes, condition: str) -> None:
    client = house.connect()
    sent = client.say(data)
    assert sent.startswith("<?xml version='1.0'?><stream:stream xmlns='jabber:client'")
    assert failed_with(condition, sent)
    assert client.line.fin
    assert len(house.clients) == 0


@pytest.mark.parametrize("version", ["1.0", "1.1", "2.0", "01.0", "99999999999.0", "9" * 5000 + ".0"])
def test_b27_versions_above_ours(house: House, version: str) -> None:
    assert "version='1.0'" in house.connect().say(header(version=version))


@pytest.mark.parametrize("to", ["MONTAGUE.example", "montague.example.", "\uff4dontague.example"])
def test_one_domain_in_many_spellings(house: House, to: str) -> None:
    assert "<stream:features>" in house.connect().say(header(to=to))


AFTER_LOGIN = {
    "B30 another to": (header(to="capulet.example"), "improper-addressing"),
    "B30 another from": (header(from_="mercutio@montague.example"), "not-authorized"),
    "B30 malformed from": (header(from_="@@"), "not-authorized"),
}


@pytest.mark.parametrize(("data", "condition"), AFTER_LOGIN.values(), ids=AFTER_LOGIN.keys())
def test_b30_the_header_after_login(house: House, data: bytes, condition: str) -> None:
    client = house.secured()
    client.say(plain())
    assert failed_with(condition, client.say(data))


def test_the_header_after_login_may_say_who_it_is(house: House) -> None:
    client = house.secured()
    client.say(plain())
    assert "to='romeo@montague.example'" in client.say(header(from_="romeo@montague.example"))


def test_b32_the_header_twice(house: House) -> None:
    client = house.connect()
    client.say(HEADER)
    assert failed_with("bad-format", client.say(HEADER[21:] + b"</stream:stream>"))


# before TLS


BEFORE_TLS = {
    "A14 iq": ("<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>", "policy-violation"),
    "A14 message": ("<message/>", "policy-violation"),
    "A14 presence": ("<presence/>", "policy-violation"),
    "D59 unknown": ("<hello xmlns='urn:x'/>", "unsupported-stanza-type"),
    "compression": ("<compress xmlns='http://jabber.org/protocol/compress'/>", "unsupported-stanza-type"),
}


@pytest.mark.parametrize(("text", "condition"), BEFORE_TLS.values(), ids=BEFORE_TLS.keys())
def test_before_tls(house: House, text: str, condition: str) -> None:
    client = house.connect()
    client.say(HEADER)
    assert failed_with(condition, client.say(text))


def test_a13_login_before_tls(house: House) -> None:
    client = house.connect()
    assert "mechanism" not in client.say(HEADER)
    assert client.say(plain()) == f"<failure {SASL}><encryption-required/></failure>"
    assert "<proceed" in client.say(STARTTLS)


@pytest.mark.parametrize("more", ["<message/>", "<auth", plain(), HEADER.decode()])
def test_a11_what_is_slipped_in_behind_starttls(house: House, more: str) -> None:
    client = house.connect()
    client.say(HEADER)
    sent = client.say(STARTTLS + more)
    assert sent in ("", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    assert client.line.fin
    assert client.say(b"\x16\x03\x01") == ""
    assert (house.router.stanzas, len(house.clients)) == ([], 0)


@pytest.mark.parametrize("place", ["secured", "authenticated"])
def test_a12_starttls_twice(house: House, place: str) -> None:
    client = getattr(house, place)()
    assert client.say(STARTTLS) == "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"
    client.say(FOOTER)
    assert client.line.fin


# SASL


def test_stanzas_before_login(house: House) -> None:
    assert failed_with("not-authorized", house.secured().say("<message/>"))
    assert failed_with("not-authorized", house.secured().say(bind("orchard")))
    assert failed_with("unsupported-stanza-type", house.secured().say("<x xmlns='urn:x'/>"))


BAD_LOGINS = {
    "F94 not offered": (f"<auth {SASL} mechanism='DIGEST-MD5'/>", "invalid-mechanism"),
    "F94 ANONYMOUS": (f"<auth {SASL} mechanism='ANONYMOUS'/>", "invalid-mechanism"),
    "F94 EXTERNAL": (f"<auth {SASL} mechanism='EXTERNAL'>=</auth>", "invalid-mechanism"),
    "F94 none named": (f"<auth {SASL}/>", "invalid-mechanism"),
    "F95 bad alphabet": (f"<auth {SASL} mechanism='PLAIN'>AHJv!W8AeA==</auth>", "incorrect-encoding"),
    "F95 no padding": (f"<auth {SASL} mechanism='PLAIN'>AHJvbWVvAHg</auth>", "incorrect-encoding"),
    "F95 after padding": (f"<auth {SASL} mechanism='PLAIN'>AHJvbWVvAHg=AA==</auth>", "incorrect-encoding"),
    "F95 not ASCII": (f"<auth {SASL} mechanism='PLAIN'>ü</auth>", "incorrect-encoding"),
    "F96 empty": (f"<auth {SASL} mechanism='PLAIN'>=</auth>", "malformed-request"),
    "F96 another": (plain(authzid="juliet"), "invalid-authzid"),
    "F99 nobody": (plain("nobody"), "not-authorized"),
    "wrong password": (plain(password="wrong"), "not-authorized"),
}


@pytest.mark.parametrize(("auth", "condition"), BAD_LOGINS.values(), ids=BAD_LOGINS.keys())
def test_logins_that_fail(house: House, auth: str, condition: str) -> None:
    client = house.secured()
    assert client.say(auth) == f"<failure {SASL}><{condition}/></failure>"
    assert "<success" in client.say(plain()), "a try that failed leaves nothing behind"


def test_a_client_that_waits_to_be_asked(house: House) -> None:
    client = house.secured()
    assert client.say(f"<auth {SASL} mechanism='PLAIN'/>") == f"<challenge {SASL}/>"
    response = plain().replace("auth", "response").replace(" mechanism='PLAIN'", "")
    assert client.say(response) == f"<success {SASL}/>"


SCRAM_FIRST = f"<auth {SASL} mechanism='SCRAM-SHA-256'>{base64.b64encode(b'n,,n=romeo,r=abc').decode()}</auth>"
IN_BETWEEN = {
    "F100 abort": (f"<abort {SASL}/>", "aborted"),
    "F100 a second auth": (plain(), "malformed-request"),
    "F95 bad base64": (f"<response {SASL}>!</response>", "incorrect-encoding"),
    "F98 nonsense": (f"<response {SASL}>AAAA</response>", "malformed-request"),
    "F98 empty": (f"<response {SASL}/>", "malformed-request"),
}


@pytest.mark.parametrize(("text", "condition"), IN_BETWEEN.values(), ids=IN_BETWEEN.keys())
def test_in_the_middle_of_an_exchange(house: House, text: str, condition: str) -> None:
    client = house.secured()
    assert client.say(SCRAM_FIRST).startswith(f"<challenge {SASL}>")
    assert client.say(text) == f"<failure {SASL}><{condition}/></failure>"
    assert "<success" in client.say(plain())


def test_a_stanza_in_the_middle_of_an_exchange(house: House) -> None:
    client = house.secured()
    client.say(SCRAM_FIRST)
    assert failed_with("not-authorized", client.say("<message/>"))


def test_f101_one_try_too_many(house: House) -> None:
    client = house.secured()
    for _ in range(3):
        assert "<failure" in client.say(plain(password="wrong"))
    assert failed_with("policy-violation", client.say(plain()))


def test_f97_a_password_of_a_mebibyte(house: House) -> None:
    assert failed_with("policy-violation", house.secured().say(plain(password="x" * 1_048_576)))


def test_f102_an_address_that_fails_often(certificates: Certificates) -> None:
    house = House(certificates, Limits(connections_per_second=1000, connections_burst=1000))
    for n in range(20):
        client = house.secured("192.0.2.7")
        assert "<not-authorized/>" in client.say(plain(f"nobody{n}"))
        client.say(FOOTER)
    client = house.secured("192.0.2.7")
    assert client.say(plain()) == f"<failure {SASL}><temporary-auth-failure/></failure>"
    client.say(FOOTER)
    assert "<success" in house.secured("192.0.2.8").say(plain())
    house.time.advance(3600)
    assert "<success" in house.secured("192.0.2.7").say(plain())


def test_an_account_for_which_many_fail_is_answered_later_and_not_locked(certificates: Certificates) -> None:
    house = House(certificates, Limits(connections_per_second=1000, connections_burst=1000))
    for n in range(10):
        client = house.secured(f"192.0.2.{n}")
        assert "<not-authorized/>" in client.say(plain(password="wrong"))
        client.say(FOOTER)
    client = house.secured("198.51.100.1")
    assert client.say(plain()) == ""
    house.time.advance(0.5)
    assert "<success" in client.hear()


@pytest.mark.parametrize("more", ["<message/>", HEADER.decode(), "<pre"])
def test_x6_what_is_slipped_in_behind_the_login(house: House, more: str) -> None:
    client = house.secured()
    client.say(plain() + more)
    assert client.line.fin
    assert (house.router.stanzas, len(house.clients)) == ([], 0)


# registration


class Office:
    """Registers whoever asks."""

    def __init__(self) -> None:
        self.asked: list[tuple[Element, str]] = []

    async def preauth(self, element: Element, applicant: Applicant) -> Element | None:
        if element.find(ns.REGISTER, "query") is None:
            return None
        self.asked.append((element, applicant.host))
        return Element(ns.CLIENT, "iq", {"type": "result", "id": "r1"})


def test_registration_before_login(certificates: Certificates) -> None:
    office = Office()
    feature = Element(ns.REGISTER_FEATURE, "register")
    house = House(certificates, preauth=office.preauth, preauth_features=[feature])
    client = house.connect("192.0.2.9")
    assert "iq-register" not in client.say(HEADER)
    client.say(STARTTLS)
    client.shake_hands()
    assert "<register xmlns='http://jabber.org/features/iq-register'/>" in client.say(HEADER)
    request = "<iq type='get' id='r1'><query xmlns='jabber:iq:register'/></iq>"
    assert client.say(request) == "<iq type='result' id='r1'/>"
    assert [peer for _, peer in office.asked] == ["192.0.2.9"]
    assert "<success" in client.say(plain())
    assert failed_with("not-authorized", house.secured().say("<message/>"))
    assert failed_with("not-authorized", House(certificates).secured().say(request))


# resources


def test_d69_a_stanza_before_a_resource(house: House) -> None:
    assert failed_with("not-authorized", house.authenticated().say("<message to='juliet@capulet.example'/>"))
    assert failed_with("not-authorized", house.authenticated().say("<iq type='get' id='1'><x xmlns='urn:x'/></iq>"))
    assert failed_with("unsupported-stanza-type", house.authenticated().say("<x xmlns='urn:x'/>"))
    assert house.router.stanzas == []


@pytest.mark.parametrize("resource", ["x" * 2000, "", "a&#9;b"], ids=["long", "empty", "control character"])
def test_d70_bad_resources(house: House, resource: str) -> None:
    client = house.authenticated()
    sent = client.say(bind(resource))
    assert "type='error' id='b1'" in sent and "<bad-request xmlns=" in sent
    assert "<jid>romeo@montague.example/orchard</jid>" in client.say(bind("orchard"))


def test_a_resource_of_ours(house: House) -> None:
    first, second = house.authenticated(), house.authenticated()
    jids = [re.findall("<jid>(.*?)</jid>", client.say(bind(None))) for client in (first, second)]
    assert all(len(found) == 1 and len(found[0]) > len("romeo@montague.example/") + 10 for found in jids)
    assert jids[0] != jids[1]


def test_d70_the_newer_of_two_equal_resources_stays(house: House) -> None:
    older = house.bound()
    newer = house.bound()
    assert failed_with("conflict", older.hear())
    newer.say("<presence/>")
    assert len(house.router.stanzas) == 1
    assert house.router.ended == ["romeo@montague.example/orchard"]
    session = house.router.sessions.get(JID.parse("romeo@montague.example/orchard"))
    assert session is not None and session.stream is newer.line.protocol


def test_d71_the_eleventh_resource(house: House) -> None:
    for n in range(10):
        house.bound(f"r{n}")
    client = house.authenticated()
    sent = client.say(bind("r10"))
    assert "<resource-constraint xmlns=" in sent
    assert "<resource-limit-exceeded xmlns='urn:xmpp:errors'/>" in sent
    assert "type='result'" in client.say(bind("r3"))


# stanzas


def test_d59_something_that_is_no_stanza(house: House) -> None:
    for text in ("<hello xmlns='urn:x'/>", "<enable xmlns='urn:xmpp:sm:3'/>", "<hello/>", plain()):
        assert failed_with("unsupported-stanza-type", house.bound().say(text))
    assert house.router.stanzas == []
    assert len(house.router.ended) == 4


def test_a_router_that_refuses_the_sender(house: House) -> None:
    def refuse(session: Session, element: Element) -> None:
        raise StreamError("invalid-from")

    house.router.answer = refuse
    assert failed_with("invalid-from", house.bound().say("<message/><message/>"))
    assert len(house.router.stanzas) == 1


def test_x13_a_bug_behind_the_router(house: House) -> None:
    def crash(session: Session, element: Element) -> None:
        raise KeyError("secret")

    house.router.answer = crash
    sent = house.bound().say("<message/>")
    assert failed_with("internal-server-error", sent)
    assert "secret" not in sent
    assert len(house.router.ended) == 1


def test_a16_a_connection_lost_in_the_middle_of_a_stanza(house: House) -> None:
    client = house.bound()
    client.say("<message/><message")
    client.line.lose()
    assert len(house.router.stanzas) == 1
    assert house.router.ended == ["romeo@montague.example/orchard"]
    assert len(house.tasks) == 0


def test_what_was_said_before_hanging_up_is_heard(house: House) -> None:
    client = house.bound()
    house.router.hold = Deferred()
    client.say("<message id='1'/><message id='2'/><message id='3'/>")
    client.line.lose()
    assert len(house.router.stanzas) == 1
    hold, house.router.hold = house.router.hold, None
    hold.callback(None)
    assert [element.get("id") for _, element in house.router.stanzas] == ["1", "2", "3"]
    assert len(house.router.ended) == 1


# time


@pytest.mark.parametrize("place", ["connect", "secured", "authenticated"])
def test_a1_who_does_not_get_on_is_sent_away(house: House, place: str) -> None:
    client = getattr(house, place)()
    house.time.advance(59)
    assert client.hear() == ""
    house.time.advance(1)
    assert failed_with("connection-timeout", client.hear())
    assert client.line.fin


def test_a10_a_handshake_that_does_not_go_on(house: House) -> None:
    client = house.connect()
    client.say(HEADER)
    client.say(STARTTLS)
    house.time.advance(19)
    assert not client.line.fin
    house.time.advance(1)
    assert client.line.fin
    assert len(house.clients) == 0
    assert client.hear() == ""


def test_a_silent_client_is_pinged_and_then_sent_away(house: House) -> None:
    client = house.bound()
    house.time.pump([15] * 19)
    assert client.hear() == ""
    house.time.pump([15])
    ping = client.hear()
    assert "from='montague.example' to='romeo@montague.example/orchard'><ping xmlns='urn:xmpp:ping'/>" in ping
    house.time.pump([15] * 39)
    assert client.hear() == "", "one ping is enough"
    house.time.pump([15])
    assert failed_with("connection-timeout", client.hear())
    assert len(house.router.ended) == 1


def test_an_answer_to_the_ping_is_a_sign_of_life(house: House) -> None:
    client = house.bound()
    for _ in range(5):
        house.time.pump([15] * 20)
        match = re.search("id='(.*?)'", client.hear())
        assert match is not None
        client.say(f"<iq type='result' id='{match[1]}' to='montague.example'/>")
    house.time.pump([15] * 20)
    client.say(" ")
    house.time.pump([15] * 19)
    assert house.router.ended == []


def test_the_house_closes(house: House) -> None:
    clients = [house.connect(), house.secured(), house.authenticated(), house.bound()]
    house.clients.stop()
    assert all(failed_with("system-shutdown", client.hear()) for client in clients)
    assert (len(house.clients), len(house.tasks), len(house.router.ended)) == (0, 0, 1)


def test_a_client_whose_task_is_cancelled(house: House) -> None:
    client = house.bound()
    house.tasks.stop()
    assert failed_with("system-shutdown", client.hear())
    assert len(house.router.ended) == 1


# the door


def test_a3_strangers_from_one_address(certificates: Certificates) -> None:
    house = House(certificates, Limits(connections_per_second=1000, connections_burst=1000))
    strangers = [house.connect() for _ in range(10)]
    assert house.listener.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)) is None
    known = house.connect("192.0.2.2")
    strangers[0].say(FOOTER)
    strangers[1].line.lose()
    client = house.authenticated()
    assert house.connect() and house.connect()
    assert house.listener.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)) is None
    client.say(FOOTER)  # who had logged in was not counted
    assert house.listener.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)) is None
    known.say(FOOTER)


def test_a3_an_ipv6_network_is_one_address() -> None:
    assert address_key("2001:db8:0:1::1") == address_key("2001:db8:0:1:ffff::2") != address_key("2001:db8:0:2::1")
    assert address_key("::ffff:192.0.2.1") == address_key("192.0.2.1") == "192.0.2.1"
    assert address_key("fe80::1%eth0") == address_key("fe80::2")
    time = task.Clock()
    admission = Admission(Clock(time), Limits())
    assert [admission.admit(f"2001:db8::{n:x}") for n in range(11)] == [True] * 10 + [False]
    admission.settled("2001:db8::ffff")
    assert admission.admit("2001:db8::1")


def test_a4_connections_above_the_rate() -> None:
    time = task.Clock()
    admission = Admission(Clock(time), Limits(unauthenticated_per_address=10_000))
    assert [admission.admit("192.0.2.1") for _ in range(60)].count(True) == 50
    time.advance(0.5)
    assert [admission.admit("192.0.2.2") for _ in range(60)].count(True) == 10
    time.advance(100)
    assert [admission.admit("192.0.2.2") for _ in range(60)].count(True) == 50


def test_the_door_is_open_when_rates_are_off() -> None:
    admission = Admission(Clock(task.Clock()), Limits(rates=False))
    assert all(admission.admit("192.0.2.1") for _ in range(1000))


def test_the_door_forgets_who_has_left() -> None:
    admission = Admission(Clock(task.Clock()), Limits(rates=False))
    for n in range(100):
        admission.admit(f"192.0.2.{n}")
        admission.settled(f"192.0.2.{n}")
    assert admission._strangers == {}


def test_failures_are_forgotten_after_a_while() -> None:
    time = task.Clock()
    failures = LoginFailures(Clock(time), Limits())
    for _ in range(19):
        failures.failed("192.0.2.1", "romeo")
    assert not failures.refused("192.0.2.1")
    assert failures.delay("romeo") == 10
    time.advance(900)
    failures.failed("192.0.2.1", "romeo")
    assert not failures.refused("192.0.2.1")
    assert failures.delay("romeo") == 0


def test_tables_of_failures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microblog.xmpp.admission._TABLE_MAX", 100)
    failures = LoginFailures(Clock(task.Clock()), Limits(login_failures_per_address=1))
    for n in range(1000):
        failures.failed(f"address {n}", f"account {n}")
    assert len(failures._refused) == len(failures._accounts._counts) == 100
    assert failures.refused("address 999")


def test_an_ipv6_client(house: House) -> None:
    stream = house.listener.buildProtocol(IPv6Address("TCP", "2001:db8::1", 49152))
    client = TLSClient(plug(stream, Line("2001:db8::1")), house.context)
    assert "<stream:features>" in client.say(HEADER)


# what somebody logged in with

ROMEO = JID("romeo", "montague.example")


def test_streams_of_another_password_are_ended(house: House) -> None:
    """F103. Those who log in with the new one stay, and so does everybody else."""
    client = house.bound()
    house.clients.recheck([ROMEO])
    assert client.say("<presence/>") == ""
    house.people.gone = True
    house.clients.recheck([JID("benvolio", "montague.example")])
    assert client.say("<presence/>") == ""
    house.clients.recheck([ROMEO])
    assert failed_with("not-authorized", client.say(""))
    assert house.router.ended == ["romeo@montague.example/orchard"]


def test_a_login_during_which_the_password_changes_fails(house: House) -> None:
    """Between its proof and its resource a stream is no session, and so nobody finds it to end it."""
    client = house.authenticated()
    house.people.gone = True
    assert failed_with("not-authorized", client.say(bind("orchard")))
    assert len(house.router.sessions) == 0


def test_who_cannot_be_checked_may_come_again(house: House) -> None:
    client = house.bound()
    house.people.busy = True
    house.clients.recheck([ROMEO])
    assert failed_with("resource-constraint", client.say(""))
