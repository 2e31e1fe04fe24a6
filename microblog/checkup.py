"""What a start needs and what other servers will find: looked at without starting.

Each look yields findings. A fault keeps the node from starting or from being reached; a warning does not count for
the exit status. The looks do not stop at the first fault: whoever repairs a node wants the whole list.
"""

import errno
import ipaddress
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from microblog.config import Config, Endpoint

EXPIRES_SOON = timedelta(days=14)
ANSWER_SECONDS = 3.0


class Finding(NamedTuple):
    """One thing looked at."""

    about: str
    level: Literal["ok", "warning", "fault"]
    sentence: str


class Listener(NamedTuple):
    """A configured place where we listen."""

    about: str
    endpoint: Endpoint
    namespace: str
    direct_tls: bool


def look(config: Config, now: datetime) -> Iterator[Finding]:
    """Everything, in the order in which a start needs it."""
    yield from look_at_data(config)
    yield from look_at_database(config, now)
    yield from look_at_certificate(config, now)
    yield from look_at_ports(config)
    yield from look_at_dns(config)


def listeners(config: Config) -> list[Listener]:
    """All of them, those whose port the system chooses (port 0) left out."""
    found = [
        *(Listener("c2s.listen", endpoint, "jabber:client", False) for endpoint in config.c2s.listen),
        *(Listener("c2s.direct_tls", endpoint, "jabber:client", True) for endpoint in config.c2s.direct_tls),
        *(Listener("s2s.listen", endpoint, "jabber:server", False) for endpoint in config.s2s.listen),
        *(Listener("s2s.direct_tls", endpoint, "jabber:server", True) for endpoint in config.s2s.direct_tls),
    ]
    return [listener for listener in found if listener.endpoint.port]


def answers(listener: Listener, domain: str) -> bool:
    """Does our domain answer there? Opens a stream and reads its header."""
    header = (
        f"<?xml version='1.0'?><stream:stream xmlns='{listener.namespace}' "
        f"xmlns:stream='http://etherx.jabber.org/streams' to='{domain}' version='1.0'>"
    )
    wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    host = wildcards.get(listener.endpoint.host, listener.endpoint.host)
    try:
        raw = socket.create_connection((host, listener.endpoint.port), timeout=ANSWER_SECONDS)
        with closing(raw), closing(_unverified(raw, listener, domain)) as stream:
            stream.sendall(header.encode())
            heard = b""
            while b"<stream:features" not in heard and b"<stream:error" not in heard and len(heard) < 20_000:
                more = stream.recv(4096)
                if not more:
                    break
                heard += more
    except OSError:
        return False
    heard = heard.replace(b'"', b"'")
    return b"<stream:stream" in heard and f" from='{domain}'".encode() in heard


def _unverified(raw: socket.socket, listener: Listener, domain: str) -> socket.socket:
    """The connection inside TLS where TLS begins at once. Who is there matters not: it is our own node or nobody."""
    if not listener.direct_tls:
        return raw
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["xmpp-client" if listener.namespace == "jabber:client" else "xmpp-server"])
    return context.wrap_socket(raw, server_hostname=domain)


def look_at_ports(config: Config) -> Iterator[Finding]:
    """Each listener: free, or taken by this very node."""
    seen: set[Endpoint] = set()
    for listener in listeners(config):
        about, endpoint = f"{listener.about} {listener.endpoint}", listener.endpoint
        if endpoint in seen:
            yield Finding(about, "fault", "stands twice in the configuration; take one of them out.")
            continue
        seen.add(endpoint)
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        try:
            with closing(socket.socket(family, socket.SOCK_STREAM)) as candidate:
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                candidate.bind((endpoint.host, endpoint.port))
                candidate.listen(1)
        except OSError as error:
            yield _port_finding(about, error, listener, config.node.domain)
        else:
            yield Finding(about, "ok", "is free.")


def _port_finding(about: str, error: OSError, listener: Listener, domain: str) -> Finding:
    match error.errno:
        case errno.EADDRINUSE if answers(listener, domain):
            return Finding(about, "ok", f"{domain} answers there: the node is running.")
        case errno.EADDRINUSE:
            return Finding(about, "fault", "is in use by another program; stop it or choose another port.")
        case errno.EACCES | errno.EPERM:
            return Finding(about, "fault", "needs the right to low ports: CAP_NET_BIND_SERVICE, or a port above 1023.")
        case errno.EADDRNOTAVAIL:
            return Finding(about, "fault", "is no address of this machine.")
        case _:
            return Finding(about, "fault", f"cannot be listened on: {error.strerror}.")


def look_at_data(config: Config) -> Iterator[Finding]:
    """The data folder and the disk below it."""
    about, data = "node.data", config.node.data
    if not data.exists():
        yield Finding(about, "ok", f"{data} is made at the first start.")
    elif not data.is_dir():
        yield Finding(about, "fault", f"{data} is not a folder.")
        return
    elif data.stat().st_mode & 0o007:
        yield Finding(about, "warning", f"{data} is open to every user of this machine: chmod 700 it.")
    else:
        yield Finding(about, "ok", f"{data} is there.")
    existing = next(folder for folder in (data, *data.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    floor = config.limits.free_disk_min_bytes
    level: Literal["ok", "fault"] = "ok" if free >= floor else "fault"
    sentence = f"{free // 2**20} MiB are free" + ("." if free >= floor else f", {floor // 2**20} MiB are needed.")
    yield Finding("disk", level, sentence)


def look_at_certificate(config: Config, now: datetime) -> Iterator[Finding]:
    """Certificate and key: readable, of one pair, for our domain, today."""
    about, path = "tls.certificate", config.certificate_path
    if config.own_certificate and not path.exists():
        yield Finding(about, "ok", "none is configured: a self-signed one is made at the first start.")
        return
    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        yield Finding(about, "fault", f"{path} cannot be read: {error.strerror}.")
        certificate = None
    except ValueError:
        yield Finding(about, "fault", f"{path} holds no PEM certificate.")
        certificate = None
    if certificate is not None:
        yield from _dates(certificate, now)
        yield from _names(certificate, config.node.domain)
        if certificate.issuer == certificate.subject:
            yield Finding(
                about,
                "warning",
                "is self-signed: clients ask their users, and other servers accept it by dialback or not at all.",
            )
    yield from _key(config, certificate)
    if config.tls.trust_roots is not None:
        yield _roots(config)


def _dates(certificate: x509.Certificate, now: datetime) -> Iterator[Finding]:
    about, ends = "tls.certificate", certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        yield Finding(about, "fault", f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}.")
    elif now > ends:
        yield Finding(about, "fault", f"expired on {ends:%Y-%m-%d}; put a new one in its place.")
    elif now + EXPIRES_SOON > ends:
        yield Finding(about, "warning", f"expires soon, on {ends:%Y-%m-%d}.")
    else:
        yield Finding(about, "ok", f"is valid until {ends:%Y-%m-%d}.")


def _names(certificate: x509.Certificate, domain: str) -> Iterator[Finding]:
    from microblog.xmpp.tls import certificate_matches

    if not certificate_matches(certificate, domain):
        yield Finding("tls.certificate", "fault", f"does not name {domain}; get one that has it as a DNS name.")


def _key(config: Config, certificate: x509.Certificate | None) -> Iterator[Finding]:
    about, path = "tls.key", config.key_path
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        yield Finding(about, "fault", f"{path} cannot be read: {error.strerror}.")
        return
    except TypeError:
        yield Finding(about, "fault", f"{path} is encrypted; store it without a password.")
        return
    except ValueError:
        yield Finding(about, "fault", f"{path} holds no PEM key.")
        return
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if certificate is not None and certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        yield Finding(about, "fault", f"{path} is not the key of {config.certificate_path}.")
    elif path.stat().st_mode & 0o007:
        yield Finding(about, "warning", f"{path} is open to every user of this machine: chmod 600 it.")
    else:
        yield Finding(about, "ok", f"{path} is readable.")


def _roots(config: Config) -> Finding:
    about, path = "tls.trust_roots", config.tls.trust_roots
    assert path is not None
    if path.is_dir():
        return Finding(about, "ok", f"the authorities in {path} are trusted.")
    try:
        count = len(x509.load_pem_x509_certificates(path.read_bytes()))
    except OSError as error:
        return Finding(about, "fault", f"{path} cannot be read: {error.strerror}.")
    except ValueError:
        return Finding(about, "fault", f"{path} holds no PEM certificates.")
    return Finding(about, "ok", f"{count} authorities are trusted.")


def look_at_database(config: Config, now: datetime) -> Iterator[Finding]:
    """Reachable, writable, of this version or an older one."""
    from microblog.store.database import DatabaseError, DatabaseOutdated, open_database

    about = "database"
    try:
        open_database(config.database_url, domain=config.node.domain, now=lambda: now).close()
    except DatabaseOutdated as error:
        yield Finding(about, "ok", f"{error} The next start does it.")
    except DatabaseError as error:
        yield Finding(about, "fault", str(error))
    else:
        yield Finding(about, "ok", "is there, can be written and has this version's tables.")


def look_at_dns(config: Config) -> Iterator[Finding]:
    """What other servers and clients find when they look for our domain."""
    domain = config.node.domain
    open_to_others = [place for place in listeners(config) if not _is_loopback(place.endpoint)]
    if domain == "localhost" or domain.endswith(".localhost") or not open_to_others:
        yield Finding("DNS", "ok", "is not asked: the node listens on this machine only.")
        return
    from microblog.lookup import look_up

    found = look_up(config)
    ports = {place.endpoint.port for place in open_to_others if place.namespace == "jabber:server"}
    for address in found.servers:
        if address.port in ports:
            yield Finding("DNS for servers", "ok", f"leads to {address}.")
        else:
            yield Finding("DNS for servers", "warning", f"leads to {address}, a port that is not listened on here.")
    for trouble in found.troubles:
        yield Finding("DNS for servers", "warning", f"{trouble}.")
    if found.clients:
        yield Finding("DNS for clients", "ok", f"leads to {', '.join(found.clients)}.")
    else:
        yield Finding(
            "DNS for clients", "warning", f"has no SRV record _xmpp-client._tcp.{domain}: clients try {domain}:5222."
        )


def _is_loopback(endpoint: Endpoint) -> bool:
    return ipaddress.ip_address(endpoint.host).is_loopback
