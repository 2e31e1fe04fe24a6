"""TLS of streams: certificates and whose names they have, sessions in memory, and what is refused."""

import contextlib
import os
import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from microblog.config import Limits
from microblog.wire import ns
from microblog.xmpp import tlslayer
from microblog.xmpp.s2s import why_not_trusted
from microblog.xmpp.stream import StreamClosed
from microblog.xmpp.tls import (
    Certificates,
    CertificateUnusable,
    certificate_matches,
    identities,
    self_signed,
    trusted_for,
)
from microblog.xmpp.tlslayer import TLSFailure, TLSInfo, TLSLayer
from tests.xmpp.lines import FOOTER, HEADER, Rig, TLSClient, result, start

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEM, PKCS8 = Encoding.PEM, PrivateFormat.PKCS8
SRV = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")


def srv(text: str) -> x509.OtherName:
    return x509.OtherName(SRV, asn1.encode_der(asn1.IA5String(text)))


def addr(text: str) -> x509.OtherName:
    return x509.OtherName(ADDR, asn1.encode_der(text))


Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Authority:
    """Signs certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Verona CA")])
        self.certificate = self._sign(self.name, self.key.public_key(), x509.BasicConstraints(True, None))

    def _sign(
        self,
        name: x509.Name,
        public: Any,
        *extensions: x509.ExtensionType,
        days: int = 3650,
        valid: tuple[datetime, datetime] | None = None,
    ) -> x509.Certificate:
        begins, ends = valid or (NOW - timedelta(days=400), NOW + timedelta(days=days))
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(
        self,
        *names: x509.GeneralName,
        usage: Any = None,
        days: int = 3650,
        key: Key | None = None,
        cn: str = "x",
        valid: tuple[datetime, datetime] | None = None,
    ) -> tuple[x509.Certificate, Key]:
        key = key or ec.generate_private_key(ec.SECP256R1())
        extensions: list[x509.ExtensionType] = [x509.SubjectAlternativeName(names)] if names else []
        if usage is not None:
            extensions.append(x509.ExtendedKeyUsage([usage]))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
        return self._sign(subject, key.public_key(), *extensions, days=days, valid=valid), key


AUTHORITY = Authority()


def installed(folder: Path, certificate: x509.Certificate, key: Key, domain: str = "montague.example") -> Certificates:
    """The certificate as that of a node which trusts the authority."""
    folder.mkdir(exist_ok=True)
    (folder / "c.pem").write_bytes(certificate.public_bytes(PEM))
    (folder / "k.pem").write_bytes(key.private_bytes(PEM, PKCS8, NoEncryption()))
    (folder / "roots.pem").write_bytes(AUTHORITY.certificate.public_bytes(PEM))
    return Certificates(domain, folder / "c.pem", folder / "k.pem", folder / "roots.pem", folder)


@pytest.fixture
def montague(tmp_path: Path) -> Certificates:
    return installed(tmp_path, *AUTHORITY.issue(x509.DNSName("montague.example")))


def shake(server: TLSLayer, client: TLSLayer) -> None:
    """Let two layers shake hands. Raises TLSFailure."""
    out = client.start()
    for _ in range(5):
        if out:
            server.receive(out)
        answer = server.outgoing()
        if answer:
            client.receive(answer)
        out = client.outgoing()
    assert server.established and client.established


def session(server: SSL.Context, client: SSL.Context) -> tuple[TLSLayer, TLSLayer]:
    pair = (
        TLSLayer(server, server=True, name=None, alpn=None),
        TLSLayer(client, server=False, name="montague.example", alpn=None),
    )
    shake(*pair)
    return pair


def plain_client(adjust: Callable[[SSL.Context], object]) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    adjust(context)
    return context


# our certificate


def test_a_node_without_certificate_makes_one(tmp_path: Path) -> None:
    certificates = Certificates("montague.example", None, None, None, tmp_path / "data")
    assert certificates.ensure(NOW)
    assert stat.S_IMODE((tmp_path / "data" / "key.pem").stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate((tmp_path / "data" / "certificate.pem").read_bytes())
    assert identities(certificate) == {"montague.example"}
    assert certificate_matches(certificate, "montague.example")
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc - timedelta(days=3000)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    before = certificates.key_path.read_bytes()
    assert not certificates.ensure(NOW)
    assert certificates.key_path.read_bytes() == before
    certificates.load()
    assert sorted(os.listdir(tmp_path / "data")) == ["certificate.pem", "key.pem"]


def test_a_configured_certificate_is_never_made(tmp_path: Path) -> None:
    certificates = Certificates("montague.example", tmp_path / "c.pem", tmp_path / "k.pem", None, tmp_path)
    assert not certificates.ensure(NOW)
    with pytest.raises(CertificateUnusable, match=r"c\.pem cannot be read: No such file"):
        certificates.load()


def break_certificate(folder: Path) -> None:
    (folder / "c.pem").write_text("nonsense")


def break_key(folder: Path) -> None:
    (folder / "k.pem").write_text("nonsense")


def other_key(folder: Path) -> None:
    (folder / "k.pem").write_bytes(self_signed("x", NOW)[1])


def locked_key(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "k.pem").write_bytes(key.private_bytes(PEM, PKCS8, BestAvailableEncryption(b"secret")))


def no_key(folder: Path) -> None:
    (folder / "k.pem").unlink()


def break_roots(folder: Path) -> None:
    (folder / "roots.pem").write_text("nonsense")


def no_roots(folder: Path) -> None:
    (folder / "roots.pem").unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_certificate, "is not PEM"),
        (break_key, "is not a PEM key"),
        (other_key, "is not its key"),
        (locked_key, "has a password"),
        (no_key, "cannot be read"),
        (break_roots, "are not PEM certificates"),
        (no_roots, "cannot be read"),
    ],
)
def test_a_reload_that_fails_keeps_the_old(
    montague: Certificates, tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    before = montague.server_context(s2s=True)
    damage(tmp_path)
    said = montague.reload()
    assert said is not None and says in said
    assert montague.server_context(s2s=True) is before
    session(before, montague.client_context())


def test_a_reload_is_for_new_connections(montague: Certificates, tmp_path: Path) -> None:
    old = session(montague.server_context(s2s=False), montague.client_context())
    installed(tmp_path, *AUTHORITY.issue(x509.DNSName("capulet.example")))
    assert montague.reload() is None
    new = session(montague.server_context(s2s=False), montague.client_context())
    names = [identities(pair[1].info().certificate) for pair in (old, new)]  # type: ignore[arg-type]
    assert names == [{"montague.example"}, {"capulet.example"}]
    assert old[1].receive(old[0].encrypt(b"still there")) == b"still there"


# whose name


DNS = x509.DNSName
MATCHES: dict[str, tuple[list[x509.GeneralName], str, bool]] = {
    "a name": ([DNS("capulet.example")], "capulet.example", True),
    "upper case": ([DNS("CAPULET.example")], "capulet.example", True),
    "a parent": ([DNS("capulet.example")], "house.capulet.example", False),
    "a child": ([DNS("house.capulet.example")], "capulet.example", False),
    "a suffix": ([DNS("capulet.example")], "evilcapulet.example", False),
    "a wildcard": ([DNS("*.capulet.example")], "house.capulet.example", True),
    "a wildcard for two labels": ([DNS("*.capulet.example")], "a.house.capulet.example", False),
    "a wildcard for the parent": ([DNS("*.capulet.example")], "capulet.example", False),
    "a wildcard in a label": ([DNS("h*.capulet.example")], "house.capulet.example", False),
    "a wildcard not at the left": ([DNS("house.*.example")], "house.capulet.example", False),
    "a wildcard for a top level": ([DNS("*.example")], "capulet.example", False),
    "nothing but a wildcard": ([DNS("*")], "capulet", False),
    "an A-label": ([DNS("xn--strae-oqa.example")], "xn--strae-oqa.example", True),
    "a service": ([srv("_xmpp-server.capulet.example")], "capulet.example", True),
    "a service for clients": ([srv("_xmpp-client.capulet.example")], "capulet.example", False),
    "an XMPP address": ([addr("capulet.example")], "capulet.example", True),
    "an XMPP address in U-labels": ([addr("straße.example")], "xn--strae-oqa.example", True),
    "an XMPP address of a person": ([addr("juliet@capulet.example")], "capulet.example", False),
    "any of several": ([DNS("verona.example"), addr("capulet.example")], "capulet.example", True),
    "the name, and another service": ([DNS("capulet.example"), srv("_imap.verona.example")], "capulet.example", True),
    "the name beside an odd one": ([DNS("a.*.b"), DNS("*"), DNS("capulet.example")], "capulet.example", True),
    "a NUL": ([DNS("capulet.example\0.evil.example")], "capulet.example", False),
    "a NUL in an address": ([addr("capulet.example\0.evil.example")], "capulet.example", False),
    "a mail address": ([x509.RFC822Name("juliet@capulet.example")], "capulet.example", False),
    "a web address": ([x509.UniformResourceIdentifier("https://capulet.example")], "capulet.example", False),
    "no names": ([], "capulet.example", False),
    "a number for an address": ([x509.OtherName(ADDR, b"\x02\x01\x05")], "capulet.example", False),
    "bad UTF-8 for an address": ([x509.OtherName(ADDR, b"\x0c\x01\xff")], "capulet.example", False),
    "garbage for a service": ([x509.OtherName(SRV, b"\x16\x00")], "capulet.example", False),
    "an address is no name": ([DNS("192.0.2.1")], "192.0.2.1", False),
    "an address as such": ([x509.IPAddress(ip_address("192.0.2.1"))], "192.0.2.1", False),
    "an IPv6 address": ([x509.IPAddress(ip_address("::1"))], "[::1]", False),
}


@pytest.mark.parametrize(("names", "domain", "expected"), MATCHES.values(), ids=MATCHES.keys())
def test_names(names: list[x509.GeneralName], domain: str, expected: bool) -> None:
    certificate, _ = AUTHORITY.issue(*names, cn="capulet.example")
    assert certificate_matches(certificate, domain) is expected


def test_identities_are_those_of_a_server() -> None:
    certificate, _ = AUTHORITY.issue(
        DNS("*.capulet.example"), srv("_xmpp-server.a.example"), srv("_imap.b.example"), addr("c.example")
    )
    assert identities(certificate) == {"*.capulet.example", "a.example", "c.example"}


# trust


def peer_of(montague: Certificates, folder: Path, certificate: x509.Certificate, key: Key) -> TLSInfo:
    """What montague knows of somebody who called with this certificate."""
    other = installed(folder / "other", certificate, key, "capulet.example")
    return session(montague.server_context(s2s=True), other.client_context())[0].info()


def test_trusted(montague: Certificates, tmp_path: Path) -> None:
    info = peer_of(montague, tmp_path, *AUTHORITY.issue(DNS("capulet.example")))
    assert info.verify_errors == ()
    assert trusted_for(info, "capulet.example")
    assert not trusted_for(info, "verona.example")


def test_a_certificate_for_web_servers_will_do(montague: Certificates, tmp_path: Path) -> None:
    """Authorities leave clientAuth out: OpenSSL's errno 26 is no objection of ours."""
    issued = AUTHORITY.issue(DNS("capulet.example"), usage=ExtendedKeyUsageOID.SERVER_AUTH)
    assert trusted_for(peer_of(montague, tmp_path, *issued), "capulet.example")


def test_g120_a_certificate_for_clients_will_do_for_a_server(montague: Certificates, tmp_path: Path) -> None:
    """Between servers either end may show it."""
    issued = AUTHORITY.issue(DNS("capulet.example"), usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    called = installed(tmp_path / "called", *issued, "capulet.example")
    info = session(called.server_context(s2s=True), montague.client_context())[1].info()
    assert trusted_for(info, "capulet.example")


def test_g118_a_certificate_counts_from_its_first_second_to_its_last(montague: Certificates, tmp_path: Path) -> None:
    now, day, second = datetime.now(UTC), timedelta(days=1), timedelta(seconds=1)
    for begins, ends, why in (
        (now - day, now - second, "it has expired"),
        (now + day, now + 2 * day, "its time has not come yet"),
        (now - second, now + day, None),
    ):
        issued = AUTHORITY.issue(DNS("capulet.example"), valid=(begins, ends))
        info = peer_of(montague, tmp_path, *issued)
        assert trusted_for(info, "capulet.example") is (why is None)
        assert why is None or why in why_not_trusted(info, "capulet.example")


def test_row_9_not_trusted_but_not_cut_off(montague: Certificates, tmp_path: Path) -> None:
    """Dialback may do: the handshake goes on, and what was wrong is known."""
    expired = peer_of(montague, tmp_path, *AUTHORITY.issue(DNS("capulet.example"), days=-1))
    unknown = peer_of(montague, tmp_path, *Authority().issue(DNS("capulet.example")))
    assert (10, 0) in expired.verify_errors  # X509_V_ERR_CERT_HAS_EXPIRED
    assert unknown.verify_errors != ()
    for info in (expired, unknown):
        assert info.certificate is not None and certificate_matches(info.certificate, "capulet.example")
        assert not trusted_for(info, "capulet.example")


def test_self_signed_is_not_trusted(montague: Certificates, tmp_path: Path) -> None:
    other = Certificates("capulet.example", None, None, None, tmp_path / "own")
    other.ensure(NOW)
    info = session(montague.server_context(s2s=True), other.client_context())[0].info()
    assert (18, 0) in info.verify_errors  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    assert not trusted_for(info, "capulet.example")


def test_clients_are_not_asked_for_a_certificate(montague: Certificates) -> None:
    info = session(montague.server_context(s2s=False), montague.client_context())[0].info()
    assert info.certificate is None
    assert not trusted_for(info, "montague.example")


def test_a18_a_chain_of_a_mebibyte(montague: Certificates, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    certificate, key = AUTHORITY.issue(DNS("capulet.example"))
    other = installed(folder, certificate, key)
    pem = certificate.public_bytes(PEM)
    other.certificate_path.write_bytes(pem * (1_048_576 // 500))
    with pytest.raises(TLSFailure, match="excessive message size"):
        session(montague.server_context(s2s=True), other.client_context())


# sessions


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["TLS 1.2", "TLS 1.3"])
def test_both_ends_have_the_same_bindings(montague: Certificates, version: int) -> None:
    client = plain_client(lambda context: context.set_max_proto_version(version))
    server_end, client_end = session(montague.server_context(s2s=False), client)
    a, b = server_end.info(), client_end.info()
    assert a.version == {SSL.TLS1_2_VERSION: "TLSv1.2", SSL.TLS1_3_VERSION: "TLSv1.3"}[version]
    assert a.exporter() == b.exporter() and len(a.exporter()) == 32
    assert b.certificate is not None
    assert a.server_end_point() == b.server_end_point() == b.certificate.fingerprint(hashes.SHA256())


def test_some_certificates_have_no_end_point_binding(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=3650))
        .sign(key, None)
    )
    certificates = installed(tmp_path, certificate, key)
    server_end, _ = session(certificates.server_context(s2s=False), certificates.client_context())
    assert server_end.info().server_end_point() is None


@pytest.mark.parametrize("size", [1, 910, 16_384, 16_385, 300_000])
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "by the public functions"])
def test_bytes_go_both_ways(montague: Certificates, size: int, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(tlslayer, "_lib", None)
    server_end, client_end = session(montague.server_context(s2s=False), montague.client_context())
    data = os.urandom(size)
    assert client_end.receive(server_end.encrypt(data)) == data
    assert server_end.receive(client_end.encrypt(data)) == data
    assert client_end.receive(server_end.encrypt(b"") + server_end.encrypt(b"more")) == b"more"


def test_the_fast_way_is_there() -> None:
    """The dependency has not moved it since; if this fails, writing is slower and nothing else."""
    assert tlslayer._lib is not None


def test_no_tickets(montague: Certificates) -> None:
    server_end, _ = session(montague.server_context(s2s=True), montague.client_context())
    assert server_end.outgoing() == b""


def test_close_notify(montague: Certificates) -> None:
    server_end, client_end = session(montague.server_context(s2s=False), montague.client_context())
    assert client_end.receive(server_end.encrypt(b"last") + server_end.shutdown()) == b"last"
    assert client_end.closed_by_peer
    assert client_end.shutdown() != b""


REFUSED: dict[str, Callable[[SSL.Context], object]] = {
    "A7 TLS 1.1": lambda context: (
        context.set_cipher_list(b"ALL:@SECLEVEL=0"),
        context.set_min_proto_version(SSL.TLS1_1_VERSION),
        context.set_max_proto_version(SSL.TLS1_1_VERSION),
    ),
    "A7 TLS 1.0": lambda context: (
        context.set_cipher_list(b"ALL:@SECLEVEL=0"),
        context.set_min_proto_version(SSL.TLS1_VERSION),
        context.set_max_proto_version(SSL.TLS1_VERSION),
    ),
    "A8 no forward secrecy": lambda context: (
        context.set_max_proto_version(SSL.TLS1_2_VERSION),
        context.set_cipher_list(b"AES128-GCM-SHA256:AES256-SHA"),
    ),
    "A8 CBC": lambda context: (
        context.set_max_proto_version(SSL.TLS1_2_VERSION),
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA"),
    ),
    "A8 NULL": lambda context: (
        context.set_max_proto_version(SSL.TLS1_2_VERSION),
        context.set_cipher_list(b"eNULL:@SECLEVEL=0"),
    ),
}


@pytest.mark.parametrize("adjust", REFUSED.values(), ids=REFUSED.keys())
def test_old_versions_and_weak_suites(montague: Certificates, adjust: Callable[[SSL.Context], object]) -> None:
    server_end = TLSLayer(montague.server_context(s2s=False), server=True, name=None, alpn=None)
    client_end = TLSLayer(plain_client(adjust), server=False, name=None, alpn=None)
    hello = client_end.start()
    with pytest.raises(TLSFailure):
        server_end.receive(hello)
    with pytest.raises(TLSFailure, match="alert"):
        client_end.receive(server_end.outgoing())


def test_a9_renegotiation(montague: Certificates) -> None:
    client = plain_client(lambda context: context.set_max_proto_version(SSL.TLS1_2_VERSION))
    server_end, client_end = session(montague.server_context(s2s=False), client)
    client_end._connection.renegotiate()
    with pytest.raises(SSL.WantReadError):
        client_end._connection.do_handshake()
    with pytest.raises(TLSFailure, match="renegotiation"):
        server_end.receive(client_end.outgoing())


# under a stream


def secured(certificates: Certificates, **more: Any) -> tuple[Rig, TLSClient]:
    rig = Rig(**more)
    client = TLSClient(rig.line, certificates.client_context())
    shaking = start(rig.stream.start_tls(certificates.server_context(s2s=False), server=True))
    client.shake_hands()
    assert shaking == [None]
    client.say(HEADER)
    result(rig.stream.read_header())
    rig.stream.send_header(to=None, from_="montague.example")
    rig.stream.authenticated()
    client.hear()
    return rig, client


def test_a_stream_knows_its_session(montague: Certificates) -> None:
    rig, _ = secured(montague)
    assert rig.stream.tls is not None
    assert rig.stream.tls.version == "TLSv1.3"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 7, 100_000], ids=["byte by byte", "by seven", "at once"])
def test_against_the_tls_of_python(montague: Certificates, version: ssl.TLSVersion, size: int) -> None:
    rig = Rig(limits=Limits(rates=False))
    shaking = start(rig.stream.start_tls(montague.server_context(s2s=False), server=True))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=AUTHORITY.certificate.public_bytes(PEM).decode())
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="montague.example")

    def exchange() -> None:
        out = outgoing.read()
        for place in range(0, len(out), size):
            rig.line.deliver(out[place : place + size])
        incoming.write(rig.line.sent)
        rig.line.sent = b""

    for _ in range(4):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        exchange()
    assert shaking == [None]
    reading = start(rig.stream.read_header())
    client.write(HEADER + b"<message><body>")
    client.write(b"x" * 3000 + b"</body></message>" + FOOTER)
    exchange()
    assert reading[0].to == "montague.example"
    rig.stream.send_header(to=None, from_="montague.example")
    assert len(result(rig.stream.read()).child_text(ns.CLIENT, "body")) == 3000
    with pytest.raises(StreamClosed):
        result(rig.stream.read())
    exchange()
    heard = b""
    while data := client.read():  # nothing more after close_notify; without it this raises
        heard += data
    assert heard.endswith(FOOTER)


def test_one_write_is_one_record_and_one_send(montague: Certificates) -> None:
    rig, client = secured(montague)
    sends = len(rig.line.sends)
    rig.stream.write(b"<message/>")
    assert len(rig.line.sends) == sends + 1
    assert client.hear() == "<message/>"


def test_what_waits_leaves_in_few_records(montague: Certificates) -> None:
    rig, client = secured(montague)
    rig.line.room = 3
    for n in range(100):
        rig.stream.write(f"<message id='{n}'/>".encode())
    sends = len(rig.line.sends)
    rig.line.drain()
    assert len(rig.line.sends) <= sends + 2
    assert client.hear() == "".join(f"<message id='{n}'/>" for n in range(100))


def test_a_burst_larger_than_a_record(montague: Certificates) -> None:
    rig, client = secured(montague, limits=Limits(rates=False))
    heard = rig.listen()
    assert client.say("<message><body>" + "x" * 200_000 + "</body></message>") == ""
    assert len(heard[0].child_text(ns.CLIENT, "body") or "") == 200_000


def test_the_end_of_a_stream_ends_its_session(montague: Certificates) -> None:
    rig, client = secured(montague)
    rig.listen()
    assert client.say(FOOTER) == FOOTER.decode()
    assert client.layer is not None and client.layer.closed_by_peer
    assert rig.line.fin


def test_a_session_closed_without_a_footer(montague: Certificates) -> None:
    rig, client = secured(montague)
    heard = rig.listen()
    assert client.layer is not None
    rig.line.deliver(client.layer.encrypt(b"<message/><mess") + client.layer.shutdown())
    assert len(heard) == 1
    assert rig.closed == ["the peer closed its TLS session"]
    assert rig.line.fin


def test_a17_a_connection_closed_without_close_notify(montague: Certificates) -> None:
    rig, client = secured(montague)
    heard = rig.listen()
    client.say("<message/>")
    rig.line.lose()
    assert len(heard) == 1
    assert rig.closed == ["Connection was closed cleanly."]


def test_a_bad_record_ends_the_stream(montague: Certificates) -> None:
    rig, client = secured(montague)
    heard = rig.listen()
    assert client.layer is not None
    record = bytearray(client.layer.encrypt(b"<message/>"))
    record[-1] ^= 1
    rig.line.deliver(bytes(record))
    assert heard == []
    assert rig.line.fin
    assert len(rig.closed) == 1
    assert b"stream:error" not in rig.line.sent, "nothing goes out in the clear"


def test_plain_xml_after_a_failed_handshake_is_not_read(montague: Certificates) -> None:
    rig = Rig()
    shaking = start(rig.stream.start_tls(montague.server_context(s2s=False), server=True))
    rig.line.deliver(HEADER)
    with pytest.raises(StreamClosed, match="TLS"):
        shaking[0].raiseException()
    rig.line.deliver(HEADER + b"<message/>")
    with pytest.raises(StreamClosed):
        result(rig.stream.read_header())
    assert rig.line.fin
    assert rig.time.getDelayedCalls() != []  # only the moment the peer has to close
    rig.time.advance(5)
    assert rig.time.getDelayedCalls() == []


def test_a_connection_lost_in_the_handshake(montague: Certificates) -> None:
    rig = Rig()
    shaking = start(rig.stream.start_tls(montague.server_context(s2s=False), server=True))
    rig.line.lose()
    with pytest.raises(StreamClosed):
        shaking[0].raiseException()
    assert rig.time.getDelayedCalls() == []
    with pytest.raises(StreamClosed):
        result(rig.stream.start_tls(montague.server_context(s2s=False), server=True))


def test_an_error_in_the_handshake_is_not_said_in_the_clear(montague: Certificates) -> None:
    rig = Rig()
    shaking = start(rig.stream.start_tls(montague.server_context(s2s=False), server=True))
    rig.stream.deadline(5)
    rig.time.advance(5)
    assert rig.line.sent == b""
    assert rig.line.fin
    with pytest.raises(StreamClosed):
        shaking[0].raiseException()
