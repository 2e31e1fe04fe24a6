"""What clients try on their streams that the tests of streams do not show yet; after each, somebody else logs in."""

import re
import secrets
from collections.abc import Iterator

import pytest
from twisted.internet.address import IPv4Address

from microblog.config import Limits
from microblog.wire import ns
from microblog.xmpp.tls import Certificates
from microblog.xmpp.tlslayer import TLSLayer
from tests.xmpp.lines import HEADER
from tests.xmpp.test_c2s import House, certificates, failed_with, header, plain

certificates = certificates  # the fixture

SM = "xmlns='urn:xmpp:sm:3'"


@pytest.fixture
def house(certificates: Certificates) -> Iterator[House]:
    house = House(certificates)
    yield house
    innocent = house.bound("innocent", "198.51.100.9")
    innocent.say("<message id='alive'/>")
    assert house.router.stanzas[-1][1].get("id") == "alive"


# A


def test_a4_a_flood_of_connections_leaves_those_alone_who_are_in(certificates: Certificates) -> None:
    house = House(certificates)
    inside = house.bound()
    refused = 0
    for n in range(300):
        refused += house.listener.buildProtocol(IPv4Address("TCP", f"203.0.113.{n % 250}", 1)) is None
    assert refused >= 250
    inside.say("<message id='1'/>")
    assert [element.get("id") for _, element in house.router.stanzas] == ["1"]
    house.time.advance(5)
    house.bound("later", "198.51.100.9")


@pytest.mark.parametrize("name", ["elsewhere.example", "localhost", "x" * 63 + ".example", None])
def test_a15_whatever_name_is_asked_for_there_is_one_certificate(house: House, name: str | None) -> None:
    """One node is one domain: no name in a ClientHello brings out anything that is not this node's."""
    client = house.connect(direct=True, alpn=b"xmpp-client")
    layer = TLSLayer(house.context, server=False, name=name, alpn=b"xmpp-client")
    out = layer.start()
    for _ in range(4):
        if out:
            client.line.deliver(out)
        answer, client.line.sent = client.line.sent, b""
        if answer:
            layer.receive(answer)
        out = layer.outgoing()
    assert layer.established
    shown = layer._connection.get_peer_certificate(as_cryptography=True)
    assert "montague.example" in str(shown.extensions) + str(shown.subject)
    client.layer = layer
    assert failed_with("host-unknown", client.say(header(to="elsewhere.example")))


# B


def test_b34_a_hundred_thousand_ids(house: House) -> None:
    client = house.connect()
    match = re.search(" id='([^']+)'", client.say(HEADER))
    assert match is not None
    assert len(match[1]) == len(secrets.token_urlsafe(18))  # 144 bits
    assert len({secrets.token_urlsafe(18) for _ in range(100_000)}) == 100_000


def test_b28_a_language_in_a_stanza_is_bounded_by_the_stanza(house: House) -> None:
    client = house.bound()
    client.say(f"<message id='1' xml:lang='{'x' * 36}'/>")
    assert [element.get("id") for _, element in house.router.stanzas] == ["1"]


# C


@pytest.mark.parametrize("place", ["connect", "secured", "authenticated", "bound"])
def test_c38_c55_nothing_of_what_was_refused_is_repeated(house: House, place: str) -> None:
    """An answer that echoes is an amplifier (XEP-0205 §4), and tells what a file says (CWE-611)."""
    client = getattr(house, place)()
    start = HEADER.decode() if place == "connect" else ""
    canary = "canary" * 60_000
    sent = client.say(f"{start}<message><body>{canary}</body></message>")
    assert failed_with("policy-violation", sent)
    assert "canary" not in sent and len(sent) < 1000


def test_c38_an_external_entity_reads_no_file(house: House, tmp_path: object) -> None:
    path = f"{tmp_path}/secret"
    with open(path, "w") as file:
        file.write("canary")
    for declaration in (f"<!DOCTYPE a [<!ENTITY x SYSTEM 'file://{path}'>]>", f"<!DOCTYPE a SYSTEM 'file://{path}'>"):
        sent = house.connect().say(f"<?xml version='1.0'?>{declaration}<a>&x;</a>")
        assert failed_with("restricted-xml", sent)
        assert "canary" not in sent and path not in sent


BAD_XML = {
    "C39 comment": ("<!-- -->", "restricted-xml"),
    "C40 processing instruction": ("<message><?x y?></message>", "restricted-xml"),
    "C41 undefined entity": ("<message>&foo;</message>", "not-well-formed"),
    "C44 a second declaration": ("<?xml version='1.0'?>", "not-well-formed"),
    "C47 unbound prefix": ("<x:message/>", "bad-namespace-prefix"),
    "C48 attribute twice": ("<message a='' a=''/>", "not-well-formed"),
    "C49 space in a namespace": ("<message xmlns='jabber:client x'/>", "not-well-formed"),
    "C50 text between stanzas": ("hello", "invalid-xml"),
    "C52 depth": ("<a>" * 65, "policy-violation"),
    "C53 attributes": ("<a" + "".join(f" a{n}=''" for n in range(65)) + "/>", "policy-violation"),
    "C57 xml prefix": ("<message xmlns:xml='urn:x'/>", "not-well-formed"),
}


@pytest.mark.parametrize(("text", "condition"), BAD_XML.values(), ids=BAD_XML.keys())
@pytest.mark.parametrize("place", ["secured", "bound"])
def test_bad_xml_under_tls(house: House, place: str, text: str, condition: str) -> None:
    client = getattr(house, place)()
    assert failed_with(condition, client.say(text))
    assert client.line.fin


def test_c51_cdata_is_text(house: House) -> None:
    house.bound().say("<message><body><![CDATA[<b>&amp;]]></body></message>")
    [(_, element)] = house.router.stanzas
    assert element.child_text(ns.CLIENT, "body") == "<b>&amp;"


# D: XEP-0198 is not offered, so its elements are as unknown as any others

SM_ELEMENTS = (
    f"<r {SM}/>",
    f"<a {SM} h='4294967296'/>",
    f"<a {SM} h='-1'/>",
    f"<enable {SM} resume='true'/>",
    f"<enable {SM}/><enable {SM}/>",
    f"<resume {SM} h='0' previd='{'0' * 22}'/>",
    "<enable xmlns='urn:xmpp:sm:2'/>",
)


@pytest.mark.parametrize("text", SM_ELEMENTS)
@pytest.mark.parametrize("place", ["authenticated", "bound"])
def test_d73_d74_stream_management_is_an_unknown_element(house: House, place: str, text: str) -> None:
    client = getattr(house, place)()
    sent = client.say(text)
    assert failed_with("unsupported-stanza-type", sent)
    assert "enabled" not in sent and "resumed" not in sent
    assert house.router.stanzas == []


def test_d73_stream_management_is_not_offered(house: House) -> None:
    client = house.connect()
    said = client.say(HEADER)
    client.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    client.shake_hands()
    said += client.say(HEADER)
    client = house.secured()
    client.say(plain())
    said += client.say(HEADER)
    assert said.count("<stream:features>") == 3
    assert "urn:xmpp:sm" not in said


def test_d75_two_that_would_resume_one_session_are_two_unknown_elements(house: House) -> None:
    """Nobody takes over a session but by binding its resource with the account's password."""
    first = house.bound()
    for _ in range(2):
        thief = house.authenticated("198.51.100.8")
        assert failed_with("unsupported-stanza-type", thief.say(f"<resume {SM} h='1' previd='orchard'/>"))
    first.say("<message id='mine'/>")
    assert [element.get("id") for _, element in house.router.stanzas] == ["mine"]


@pytest.mark.parametrize("limit", [1, 10])
def test_d71_sessions_of_an_account_are_counted_per_account(certificates: Certificates, limit: int) -> None:
    house = House(certificates, Limits(sessions_per_account=limit))
    for n in range(limit):
        house.bound(f"r{n}")
    assert len(list(house.router.sessions.all())) == limit
