"""A certificate authority for tests, and certificates good and bad (RFC 6120 §13.7.1).

XMPP names in a certificate: DNS names, SRVName (RFC 4985) and XmppAddr (RFC 6120 §13.7.1.4), the latter two
as otherName, whose DER is written here by hand.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
IA5STRING, UTF8STRING = b"\x16", b"\x0c"
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM, and as files where asked for."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str = "server") -> tuple[Path, Path]:
        """The paths of certificate and key, written to the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        paths[0].write_bytes(self.certificate)
        paths[1].write_bytes(self.key)
        return paths


def _other(oid: x509.ObjectIdentifier, tag: bytes, text: str) -> x509.OtherName:
    value = text.encode()
    assert len(value) < 128, "one length byte is enough for tests"
    return x509.OtherName(oid, tag + bytes([len(value)]) + value)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


class CertificateAuthority:
    """Issues certificates; `path` is its own, for those who are to trust it."""

    def __init__(self, folder: Path, name: str = "Authority of the tests") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        usage = x509.KeyUsage(*[False] * 5, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False)
        own = self._builder(self._name, self._key.public_key(), self._name, expired=False)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        own = own.add_extension(usage, critical=True)
        self.certificate = own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        self.path = folder / "authority.crt"
        folder.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(self.certificate)

    @staticmethod
    def _builder(
        subject: x509.Name, public: ec.EllipticCurvePublicKey, issuer: x509.Name, *, expired: bool
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * DAY)
            .not_valid_after(now - DAY if expired else now + 30 * DAY)
        )

    def issue(
        self,
        domain: str,
        *others: str,
        self_signed: bool = False,
        expired: bool = False,
        common_name_only: bool = False,
        srv_name: bool = True,
        xmpp_addr: bool = False,
        client_auth: bool = True,
    ) -> Certificate:
        """A certificate for the domain (an A-label) and other DNS names.

        For a wrong name ask for another domain. Without `client_auth` it is as public authorities issue
        them now: for servers alone.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = _name(domain) if self_signed else self._name
        builder = self._builder(_name(domain), key.public_key(), issuer, expired=expired)
        if not common_name_only:
            names: list[x509.GeneralName] = [x509.DNSName(name) for name in (domain, *others)]
            if srv_name:
                names.append(_other(SRV_NAME, IA5STRING, f"_xmpp-server.{domain}"))
                names.append(_other(SRV_NAME, IA5STRING, f"_xmpp-client.{domain}"))
            if xmpp_addr:
                names.append(_other(XMPP_ADDR, UTF8STRING, domain))
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH]
        if client_auth:
            purposes.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        certificate = builder.sign(key if self_signed else self._key, hashes.SHA256())
        return Certificate(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))
