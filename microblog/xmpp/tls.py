"""Certificates: ours, those we trust, and whose name is in one (RFC 6120 §13.7, RFC 6125, XEP-0178).

A node without a certificate makes itself a self-signed one at first start. Changing the files and calling ``reload``
builds new contexts and puts them in place of the old: connections already made keep theirs, and files that do not fit
together change nothing. A certificate proves a name if *any* of its identifiers is that name; the common name is
never looked at, nor are addresses.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from service_identity import CertificateError
from service_identity.hazmat import DNS_ID, SRV_ID, DNSPattern, SRVPattern

from microblog.model import jid
from microblog.model.errors import JIDMalformed
from microblog.xmpp.tlslayer import Handshake, TLSFailure, TLSInfo

XMPP_CLIENT: Final = b"xmpp-client"
XMPP_SERVER: Final = b"xmpp-server"
_SRV_NAME: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
_XMPP_ADDR: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
# X509_V_ERR_INVALID_PURPOSE: authorities stopped putting clientAuth into the certificates of servers.
_INVALID_PURPOSE: Final = 26
_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all as good
_YEARS: Final = timedelta(days=3650)


class CertificateUnusable(Exception):
    """Our certificate, its key or the trust roots cannot be used; the text says which and why."""


class Certificates:
    """Our certificate and key, and the contexts made of them.

    Without paths the pair is ``certificate.pem`` and ``key.pem`` in the data folder, made by ``ensure``.
    """

    def __init__(
        self,
        domain: str,
        certificate_path: Path | None,
        key_path: Path | None,
        trust_roots: Path | None,
        data: Path,
    ) -> None:
        self._domain = domain
        self.certificate_path = certificate_path or data / "certificate.pem"
        self.key_path = key_path or data / "key.pem"
        self._own = self.certificate_path == data / "certificate.pem"
        self._trust_roots = trust_roots
        self._contexts: tuple[SSL.Context, SSL.Context, SSL.Context] | None = None

    def ensure(self, now: datetime) -> bool:
        """Make the self-signed pair if this node needs one; True if it did. Raises OSError."""
        if not self._own or self.certificate_path.exists():
            return False
        certificate, key = self_signed(self._domain, now)
        self.certificate_path.parent.mkdir(parents=True, exist_ok=True)
        _write_new(self.key_path, key, 0o600)
        _write_new(self.certificate_path, certificate, 0o644)
        return True

    def load(self) -> None:
        """Build the contexts. Raises CertificateUnusable and leaves the old ones."""
        self._contexts = (self._server(False), self._server(True), self._client())

    def reload(self) -> str | None:
        """Build the contexts anew from the files; if that fails, keep the old and say why."""
        try:
            self.load()
        except CertificateUnusable as error:
            return str(error)
        return None

    def server_context(self, *, s2s: bool) -> SSL.Context:
        """For connections coming in; on server streams the peer is asked for its certificate."""
        return self._loaded()[1 if s2s else 0]

    def client_context(self) -> SSL.Context:
        """For connections to other servers."""
        return self._loaded()[2]

    def _loaded(self) -> tuple[SSL.Context, SSL.Context, SSL.Context]:
        if self._contexts is None:
            self.load()
        assert self._contexts is not None
        return self._contexts

    def _server(self, s2s: bool) -> SSL.Context:
        context = self._context(trusting=s2s)
        context.set_alpn_select_callback(_select_protocol)
        return context

    def _client(self) -> SSL.Context:
        return self._context(trusting=True)

    def _context(self, *, trusting: bool) -> SSL.Context:
        context = _bare_context()
        try:
            self.certificate_path.open("rb").close()
            context.use_certificate_chain_file(str(self.certificate_path))
            key = load_pem_private_key(self.key_path.read_bytes(), None)
            if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
                raise CertificateUnusable(f"the key {self.key_path} is of a kind that TLS does not use")
            context.use_privatekey(key)
            context.check_privatekey()
        except OSError as error:
            raise CertificateUnusable(f"{error.filename} cannot be read: {error.strerror}") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CertificateUnusable(f"the key {self.key_path} is not a PEM key") from error
        except TypeError as error:
            raise CertificateUnusable(f"the key {self.key_path} has a password") from error
        except SSL.Error as error:
            raise CertificateUnusable(
                f"the certificate {self.certificate_path} is not PEM, or the key {self.key_path} is not its key"
            ) from error
        if trusting:
            context.set_verify(SSL.VERIFY_PEER, _record)
            self._trust(context)
        return context

    def _trust(self, context: SSL.Context) -> None:
        _trust(context, self._trust_roots)


def anonymous_context(trust_roots: Path | None) -> SSL.Context:
    """For whoever connects without a certificate, as clients do. Raises CertificateUnusable: the roots are none."""
    context = _bare_context()
    context.set_verify(SSL.VERIFY_PEER, _record)
    _trust(context, trust_roots)
    return context


def _bare_context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_CIPHERS)
    context.set_options(
        SSL.OP_NO_COMPRESSION
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_NO_TICKET
        | SSL.OP_CIPHER_SERVER_PREFERENCE
        | SSL.OP_SINGLE_ECDH_USE
    )
    # A resumed session would bring no certificate to look at.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


def _trust(context: SSL.Context, roots: Path | None) -> None:
    if roots is None:
        context.set_default_verify_paths()
        return
    try:
        if roots.is_dir():
            context.load_verify_locations(None, str(roots))
        else:
            roots.open("rb").close()
            context.load_verify_locations(str(roots))
    except OSError as error:
        raise CertificateUnusable(f"the trust roots {roots} cannot be read: {error.strerror}") from error
    except SSL.Error as error:
        raise CertificateUnusable(f"the trust roots {roots} are not PEM certificates") from error


def _record(connection: SSL.Connection, certificate: object, errno: int, depth: int, ok: int) -> bool:
    if not ok and errno != _INVALID_PURPOSE:
        handshake = connection.get_app_data()
        if isinstance(handshake, Handshake) and len(handshake.errors) < 16:
            handshake.errors.append((errno, depth))
    return True


def _select_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    handshake = connection.get_app_data()
    if not isinstance(handshake, Handshake) or handshake.alpn is None:
        return SSL.NO_OVERLAPPING_PROTOCOLS
    if handshake.alpn in offered:
        return handshake.alpn
    raise TLSFailure("the peer speaks another protocol")  # OpenSSL then sends no_application_protocol


def self_signed(domain: str, now: datetime) -> tuple[bytes, bytes]:
    """A certificate for a domain and its key, as PEM: ECDSA on P-256, ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain[:64])])
    names: list[x509.GeneralName] = [x509.DNSName(domain)]
    for service in ("_xmpp-server.", "_xmpp-client."):
        names.append(x509.OtherName(_SRV_NAME, asn1.encode_der(asn1.IA5String(service + domain))))
    names.append(x509.OtherName(_XMPP_ADDR, asn1.encode_der(domain)))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _YEARS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), key_pem


def _write_new(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _alternative_names(certificate: x509.Certificate) -> Iterator[x509.GeneralName]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return iter(())
    return iter(extension.value)


def _patterns(certificate: x509.Certificate) -> Iterator[DNSPattern | SRVPattern | str]:
    """The identifiers in a certificate; one that is odd is passed over, the others stand."""
    for name in _alternative_names(certificate):
        try:
            if isinstance(name, x509.DNSName):
                yield DNSPattern.from_bytes(name.value.encode("ascii"))
            elif isinstance(name, x509.OtherName) and name.type_id == _SRV_NAME:
                yield SRVPattern.from_bytes(asn1.decode_der(asn1.IA5String, name.value).as_str().encode("ascii"))
            elif isinstance(name, x509.OtherName) and name.type_id == _XMPP_ADDR:
                yield jid.domain(asn1.decode_der(str, name.value))
        except (CertificateError, JIDMalformed, ValueError, IndexError):
            continue


def identities(certificate: x509.Certificate) -> frozenset[str]:
    """The names a certificate is for, as an administrator may want to read them."""
    names = set()
    for pattern in _patterns(certificate):
        if isinstance(pattern, DNSPattern):
            names.add(pattern.pattern.decode())
        elif isinstance(pattern, SRVPattern):
            if pattern.name_pattern == b"xmpp-server":
                names.add(pattern.dns_pattern.pattern.decode())
        else:
            names.add(pattern)
    return frozenset(names)


def certificate_matches(certificate: x509.Certificate, domain: str, service: str = "_xmpp-server") -> bool:
    """True if any identifier of the certificate proves this (canonical) domain as an XMPP server.

    ``service``: what it serves, as SRV records name it.
    """
    try:
        wanted = (DNS_ID(domain), SRV_ID(f"{service}.{domain}"))
    except ValueError:  # an address: nothing proves one
        return False
    return any(
        pattern == domain if isinstance(pattern, str) else any(identifier.verify(pattern) for identifier in wanted)
        for pattern in _patterns(certificate)
    )


def trusted_for(info: TLSInfo, domain: str, service: str = "_xmpp-server") -> bool:
    """True if the peer's certificate proves this domain and leads to an authority we trust."""
    certificate = info.certificate
    return certificate is not None and not info.verify_errors and certificate_matches(certificate, domain, service)


def fingerprint(info: TLSInfo) -> str:
    """SHA-256 of the peer's certificate, in hexadecimal; nothing without one."""
    certificate = info.certificate
    return "" if certificate is None else certificate.fingerprint(hashes.SHA256()).hex()
