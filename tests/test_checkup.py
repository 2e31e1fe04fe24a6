"""What `check` finds."""

import socket
import ssl
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from microblog import checkup, config

NOW = datetime(2026, 11, 20, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def a_certificate(*names, days=90, begins=NOW - timedelta(days=1), issuer="Verona CA"):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "montague")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(KEY, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def pem(key, password=None):
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


GOOD = a_certificate(x509.DNSName("montague.example"))


@pytest.fixture
def node(tmp_path):
    """A node with the given certificate and key."""

    def make(certificate=GOOD, key=None, **sections):
        (tmp_path / "c.pem").write_bytes(certificate)
        (tmp_path / "k.pem").write_bytes(key or pem(KEY))
        (tmp_path / "k.pem").chmod(0o600)
        mapping = {
            "node": {"domain": "montague.example"},
            "tls": {"certificate": "c.pem", "key": "k.pem"},
        }
        return config.parse(mapping | sections, tmp_path)

    return make


def said(findings, level):
    return [finding.sentence for finding in findings if finding.level == level]


def test_a_good_certificate_has_no_faults(node):
    findings = list(checkup.look_at_certificate(node(), NOW))
    assert {finding.level for finding in findings} == {"ok"}
    assert {finding.about for finding in findings} == {"tls.certificate", "tls.key"}


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("*.montague.example"),
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), b"\x16\x20_xmpp-server.im.montague.example"),
    ],
)
def test_a_wildcard_or_service_name_is_as_good(node, name):
    configuration = node(a_certificate(name), node={"domain": "im.montague.example"})
    assert said(checkup.look_at_certificate(configuration, NOW), "fault") == []


@pytest.mark.parametrize(
    ("certificate", "fault"),
    [
        (a_certificate(x509.DNSName("capulet.example")), "does not name montague.example"),
        (a_certificate(x509.IPAddress(ip_address("127.0.0.1"))), "does not name montague.example"),
        (a_certificate(x509.DNSName("montague.example"), days=0.5), "expired on 2026-11-19"),
        (
            a_certificate(x509.DNSName("montague.example"), begins=NOW + timedelta(days=2)),
            "is not valid before 2026-11-22",
        ),
        (b"no certificate", "holds no PEM certificate"),
    ],
)
def test_a_bad_certificate_is_a_fault(node, certificate, fault):
    (found,) = said(checkup.look_at_certificate(node(certificate), NOW), "fault")
    assert fault in found


def test_soon_and_self_signed_are_warnings(node):
    soon = a_certificate(x509.DNSName("montague.example"), days=10, issuer="montague")
    findings = list(checkup.look_at_certificate(node(soon), NOW))
    assert said(findings, "fault") == []
    assert [sentence.split(",")[0].split(":")[0] for sentence in said(findings, "warning")] == [
        "expires soon",
        "is self-signed",
    ]


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        (pem(OTHER_KEY), "is not the key of"),
        (pem(KEY, b"secret"), "is encrypted"),
        (b"no key", "holds no PEM key"),
    ],
)
def test_a_bad_key_is_a_fault(node, key, fault):
    (found,) = said(checkup.look_at_certificate(node(key=key), NOW), "fault")
    assert fault in found


def test_missing_files_are_all_told(node, tmp_path):
    configuration = node(tls={"certificate": "a.pem", "key": "b.pem", "trust_roots": "c.pem"})
    (tmp_path / "c.pem").unlink()
    found = said(checkup.look_at_certificate(configuration, NOW), "fault")
    assert [sentence.rsplit("/", 1)[1] for sentence in found] == [
        f"{name}.pem cannot be read: No such file or directory." for name in "abc"
    ]


def test_a_key_for_everybody_is_a_warning(node, tmp_path):
    configuration = node()
    (tmp_path / "k.pem").chmod(0o644)
    (found,) = said(checkup.look_at_certificate(configuration, NOW), "warning")
    assert "chmod 600" in found


def test_without_certificate_one_will_be_made(node):
    (finding,) = checkup.look_at_certificate(node(tls={}), NOW)
    assert finding.level == "ok"


def test_ports(node):
    with closing(socket.create_server(("127.91.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        answering = threading.Thread(target=close_next, args=(taken,))
        answering.start()
        configuration = node(
            c2s={"listen": [f"127.91.0.1:{port}"], "direct_tls": ["127.91.0.1:0"]},
            s2s={"listen": ["203.0.113.7:5269", f"127.91.0.1:{port}"]},
        )
        findings = list(checkup.look_at_ports(configuration))
        answering.join(10)
    assert [(finding.level, finding.sentence) for finding in findings] == [
        ("fault", "is in use by another program; stop it or choose another port."),
        ("fault", "is no address of this machine."),
        ("fault", "stands twice in the configuration; take one of them out."),
    ]


def close_next(server):
    connection, _ = server.accept()
    connection.close()


HEADER = b"<?xml version='1.0'?><stream:stream id='x' from=\"montague.example\" xmlns='jabber:client'>"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([HEADER, b"<stream:features/>"], True),
        ([HEADER[:40], HEADER[40:], b"<stream:error/>"], True),
        ([HEADER.replace(b"montague", b"capulet"), b"<stream:features/>"], False),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], False),
    ],
)
def test_our_own_node_is_known_by_its_answer(words, expected):
    with closing(socket.create_server(("127.91.0.1", 0))) as server:
        endpoint = config.Endpoint(*server.getsockname())

        def serve():
            connection, _ = server.accept()
            with closing(connection):
                assert b"to='montague.example'" in connection.recv(4096)
                for word in words:
                    connection.sendall(word)

        thread = threading.Thread(target=serve)
        thread.start()
        listener = checkup.Listener("c2s.listen", endpoint, "jabber:client", False)
        assert checkup.answers(listener, "montague.example") is expected
        thread.join(10)


def test_our_own_node_is_known_inside_direct_tls(node, tmp_path):
    node()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    with closing(socket.create_server(("127.91.0.1", 0))) as server:
        endpoint = config.Endpoint(*server.getsockname())

        def serve():
            connection, _ = server.accept()
            with closing(context.wrap_socket(connection, server_side=True)) as stream:
                stream.recv(4096)
                stream.sendall(HEADER + b"<stream:features/>")

        thread = threading.Thread(target=serve)
        thread.start()
        listener = checkup.Listener("c2s.direct_tls", endpoint, "jabber:client", True)
        assert checkup.answers(listener, "montague.example")
        thread.join(10)


def test_nobody_answers_on_a_free_port():
    with closing(socket.create_server(("127.91.0.1", 0))) as server:
        endpoint = config.Endpoint(*server.getsockname())
    assert not checkup.answers(checkup.Listener("c2s.listen", endpoint, "jabber:client", False), "montague.example")


def test_the_disk_is_measured_against_the_limit(node):
    roomy = list(checkup.look_at_data(node(limits={"free_disk_min_bytes": 0})))
    full = list(checkup.look_at_data(node(limits={"free_disk_min_bytes": 2**62})))
    assert said(roomy, "fault") == []
    assert len(said(full, "fault")) == 1


def test_a_data_folder_that_is_a_file_is_a_fault(node, tmp_path):
    (tmp_path / "file").touch()
    (found,) = said(checkup.look_at_data(node(node={"data": "file"})), "fault")
    assert found.endswith("is not a folder.")


def test_the_database_absent_good_and_damaged(node, tmp_path):
    configuration = node()
    (absent,) = checkup.look_at_database(configuration, NOW)
    assert absent.level == "ok"
    configuration.node.data.mkdir()
    file = configuration.node.data / "microblog.db"
    file.write_bytes(b"no database" * 100)
    (damaged,) = checkup.look_at_database(configuration, NOW)
    assert damaged.level == "fault"
    assert "damaged" in damaged.sentence


def test_a_node_on_loopback_asks_no_dns(node):
    (finding,) = checkup.look_at_dns(node())
    assert finding.level == "ok"
