"""Fixtures that start real servers. They live until the module that asked for them is done.

`prosody(domain)`, `ejabberd(domain)` and `microblog_node(domain)` return running servers (tests.interop.servers);
what they take is in the signatures below. `ca` issues certificates; `network` knows where everybody is. When
a test fails, the ends of the logs of all servers then running are in its report.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.interop.ca import CertificateAuthority
from tests.interop.network import Network
from tests.interop.servers import Ejabberd, MicroblogNode, Prosody, Server

_running: list[Server] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed:
        report.sections += [(f"{server.kind} of {server.domain}", server.tail()) for server in _running]
    return report


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.stop()


@pytest.fixture(scope="module")
def _start(
    ca: CertificateAuthority, network: Network, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    mine: list[Server] = []

    def start(make: Callable[..., Server], domain: str, *, started: bool = True, **how: Any) -> Server:
        folder = tmp_path_factory.mktemp(domain)
        server = make(domain, folder=folder, network=network, **{"authority": ca} | how)
        mine.append(server)
        _running.append(server)
        if started:
            server.start()
        return server

    yield start
    for server in mine:
        server.close()
        _running.remove(server)


def _need(missing: str | None) -> None:
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="module")
def prosody(_start: Callable[..., Prosody]) -> Callable[..., Prosody]:
    """prosody(domain, trust=Trust.EXTERNAL, certificate=None, authority=ca, tls=True, started=True)"""
    _need(Prosody.missing())
    return lambda domain, **how: _start(Prosody, domain, **how)


@pytest.fixture(scope="module")
def ejabberd(_start: Callable[..., Ejabberd]) -> Callable[..., Ejabberd]:
    """ejabberd(domain, trust=Trust.EXTERNAL, certificate=None, authority=ca, started=True)"""
    _need(Ejabberd.missing())
    return lambda domain, **how: _start(Ejabberd, domain, **how)


@pytest.fixture(scope="module")
def microblog_node(_start: Callable[..., MicroblogNode]) -> Callable[..., MicroblogNode]:
    """microblog_node(domain, peers=(), settings={section: {key: value}}, environment={}, and as prosody)"""
    return lambda domain, **how: _start(MicroblogNode, domain, **how)
