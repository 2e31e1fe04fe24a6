"""A renewed certificate is taken up by a running node; who is connected stays, and a bad one changes nothing."""

import shutil
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.ca import CertificateAuthority
from tests.interop.client import Client
from tests.interop.servers import MicroblogNode

pytestmark = pytest.mark.interop


def shown(node: MicroblogNode) -> bytes:
    """The certificate that a new client sees, in DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = Client.connect(node, direct_tls=True, tls=context)
    try:
        assert isinstance(client._socket, ssl.SSLSocket)
        return client._socket.getpeercert(binary_form=True) or b""
    finally:
        client.kill()


def hang_up(node: MicroblogNode) -> None:
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)


def test_renewal(microblog_node: Callable[..., MicroblogNode], ca: CertificateAuthority, tmp_path: Path) -> None:
    node = microblog_node("verona-renewed.zz")
    node.account("romeo")
    romeo = node.login("romeo")
    before = shown(node)

    good = Path(node.certificate).read_bytes()
    Path(node.certificate).write_text("no certificate")
    hang_up(node)
    node.logged("the old one stays")
    assert shown(node) == before

    certificate, key = ca.issue("verona-renewed.zz").write(tmp_path)
    shutil.copy(certificate, node.certificate)
    shutil.copy(key, node.key)
    assert Path(node.certificate).read_bytes() != good
    hang_up(node)
    deadline = time.monotonic() + 10
    while shown(node) == before:
        assert time.monotonic() < deadline, node.tail()
    romeo.ping()
    romeo.close()
