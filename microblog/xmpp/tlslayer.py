"""TLS between two memory buffers (RFC 6120 §5, RFC 9325): bytes in, bytes out, no socket.

The connection owns the socket and decides when to write; this layer only turns plain bytes into records and back.
That is what makes a write to an idle client one ``SSL_write`` and one ``send``, without a turn of the reactor.

Verification never ends a handshake: whether a certificate is good enough is asked later, when it is known which name
it has to prove, and dialback may do instead. What OpenSSL objected to is recorded in ``Handshake.errors``.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

try:
    # What ``send`` and ``bio_read`` call, without what they check each time: a third of the cost of a record.
    from OpenSSL._util import ffi as _ffi
    from OpenSSL._util import lib as _lib
except ImportError:  # not promised to us: without it ``encrypt`` is only slower
    _ffi = _lib = None

_RECORD: Final = 16_384
_READ: Final = 2 * _RECORD  # a full record of ours and whatever else OpenSSL had to say


_buffer: Any = None if _ffi is None else _ffi.new("char[]", _READ)


class TLSFailure(Exception):
    """The handshake failed, or a record was wrong; the text is for the log."""


@dataclass(slots=True)
class Handshake:
    """What the callbacks of a context need to know of a connection, and what they found out.

    ``alpn``: the protocol this listener speaks; None where the stream itself says so (STARTTLS).
    """

    alpn: bytes | None = None
    errors: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """An established session. ``verify_errors``: what OpenSSL objected to, as (errno, depth)."""

    version: str
    cipher: str
    certificate: x509.Certificate | None
    verify_errors: tuple[tuple[int, int], ...]
    server: bool
    _connection: SSL.Connection

    def exporter(self) -> bytes:
        """Channel binding tls-exporter (RFC 9266)."""
        # The empty context is not the same as none in TLS 1.2.
        return self._connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")

    def server_end_point(self) -> bytes | None:
        """Channel binding tls-server-end-point (RFC 5929 §4); None where that is not defined."""
        connection = self._connection
        certificate = connection.get_certificate(as_cryptography=True) if self.server else self.certificate
        if certificate is None:
            return None
        try:
            algorithm = certificate.signature_hash_algorithm
        except UnsupportedAlgorithm:
            return None
        if algorithm is None:
            return None
        name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
        return hashlib.new(name, certificate.public_bytes(Encoding.DER)).digest()


class TLSLayer:
    """One side of one TLS session."""

    __slots__ = (
        "_bio",
        "_connection",
        "_handshake",
        "_server",
        "_ssl",
        "_watch_alerts",
        "closed_by_peer",
        "established",
    )

    def __init__(self, context: SSL.Context, *, server: bool, name: str | None, alpn: bytes | None) -> None:
        self._server = server
        self._handshake = Handshake(alpn)
        self._connection = connection = SSL.Connection(context, None)
        connection.set_app_data(self._handshake)
        self._ssl = getattr(connection, "_ssl", None) if _lib is not None else None
        self._bio = getattr(connection, "_from_ssl", None)
        if server:
            connection.set_accept_state()
        else:
            if name is not None:
                connection.set_tlsext_host_name(name.encode("ascii"))
            if alpn is not None:
                connection.set_alpn_protos([alpn])
            connection.set_connect_state()
        self.established = False
        self.closed_by_peer = False
        self._watch_alerts = False

    def start(self) -> bytes:
        """The first bytes to send."""
        self._shake()
        return self.outgoing()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the peer and return what was in them. Raises TLSFailure; ``outgoing`` then has an alert."""
        connection = self._connection
        connection.bio_write(data)
        was_established = self.established
        if not was_established:
            self._shake()
            if not self.established:
                return b""
        plain = b""
        try:
            plain = connection.recv(_RECORD)
            while True:
                plain += connection.recv(_RECORD)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed_by_peer = True
        except SSL.Error as error:
            raise TLSFailure(_reason(error)) from None
        if self._watch_alerts and was_established and self.outgoing():
            # In TLS 1.2 we have nothing to say unasked but "no renegotiation".
            raise TLSFailure("renegotiation refused")
        return plain

    def encrypt(self, data: bytes) -> bytes:
        """Turn plain bytes into records. Raises TLSFailure."""
        size = len(data)
        if size > _RECORD:
            return b"".join(self.encrypt(data[start : start + _RECORD]) for start in range(0, size, _RECORD))
        if not data:
            return b""
        ssl = self._ssl
        if ssl is not None and _lib.SSL_write(ssl, data, size) == size:
            return bytes(_ffi.buffer(_buffer, _lib.BIO_read(self._bio, _buffer, _READ)))
        try:
            self._connection.send(data)
            return self._connection.bio_read(_READ)
        except SSL.Error as error:
            raise TLSFailure(_reason(error)) from None

    def shutdown(self) -> bytes:
        """The bytes of close_notify."""
        if not self.established:
            return b""
        try:
            self._connection.shutdown()
        except SSL.Error:
            return b""
        return self.outgoing()

    def outgoing(self) -> bytes:
        """What OpenSSL wants sent."""
        out = b""
        try:
            while True:
                out += self._connection.bio_read(_READ)
        except SSL.WantReadError:
            return out

    def info(self) -> TLSInfo:
        """Describe the established session."""
        connection = self._connection
        return TLSInfo(
            version=connection.get_protocol_version_name(),
            cipher=connection.get_cipher_name() or "",
            certificate=connection.get_peer_certificate(as_cryptography=True),
            verify_errors=tuple(self._handshake.errors),
            server=self._server,
            _connection=connection,
        )

    def _shake(self) -> None:
        connection = self._connection
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise TLSFailure(_reason(error)) from None
        except TLSFailure:  # out of one of our callbacks
            raise
        self.established = True
        self._watch_alerts = self._server and connection.get_protocol_version_name() == "TLSv1.2"


def _reason(error: SSL.Error) -> str:
    details = error.args[0] if error.args else ""
    if isinstance(details, list):
        return "; ".join(str(detail[-1]) for detail in details) or "TLS error"
    return "closed without close_notify" if isinstance(error, SSL.SysCallError) else str(details) or "TLS error"
