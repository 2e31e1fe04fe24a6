"""The five servers of a run, each of which finds the others only through the links between them.

Every server has a view of the network of its own (`View`): itself where it is, everybody else where the link from it
to them listens. Our nodes are told by routes, Prosody and ejabberd by name servers of their own. All are proven by
certificates of one authority; dialback is not even there.

Each server is told by the kernel to die with the thread that started it, so that nothing outlives a run. Clocks are
libfaketime's, if it is installed: each node has an offset in a file, which may be changed while it runs.
"""

import glob
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.chaos.proxy import Link, Proxies
from tests.interop.ca import CertificateAuthority
from tests.interop.network import Network, Place, free_ports
from tests.interop.servers import Ejabberd, MicroblogNode, Prosody, Server

OURS = ("montague.example", "capulet.example", "verona.example")
PROSODY, EJABBERD = "mantua.example", "padua.example"
DOMAINS = (*OURS, PROSODY, EJABBERD)
ADDRESS = "127.0.87.{}"
# Short, so that a run of minutes has what else takes hours; small, so that five servers have what else takes thousands.
LIMITS = {
    "outbox_retry_first_seconds": 1,
    "outbox_retry_max_seconds": 4,
    "connect_seconds": 4,
    "tls_handshake_seconds": 8,
    "s2s_auth_seconds": 10,
    "iq_seconds": 15,
    "free_disk_min_bytes": 0,
    "fan_out_domains": 1,
}


def faketime() -> str | None:
    """The library that tells a process another time, if it is installed (Debian: faketime)."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    return found[0] if found else None


class View(Network):
    """The network as one server sees it."""

    def __init__(self, number: int) -> None:
        self._number = number
        super().__init__()

    def _address(self) -> str:
        return ADDRESS.format(10 + self._number)

    def know(self, place: Place) -> None:
        """Where a domain is for this server."""
        self._places[place.domain] = place


def _bound(command: list[str]) -> list[str]:
    """Let a command die with the thread that starts it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", *command] if setpriv else command


class OurNode(MicroblogNode):
    """A node of ours with a clock that may be wrong."""

    skew = 0.0

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        command, environment = super().command()
        library = faketime()
        if library is not None:
            environment = {
                **environment,
                "LD_PRELOAD": library,
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        return _bound(command), environment

    @property
    def _clock(self) -> Path:
        return self.folder / "clock"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "data" / "microblog.db"

    def set_clock(self, skew: float) -> None:
        """So many seconds ahead of everybody's time."""
        self.skew = skew
        new = self.folder / "clock.new"
        new.write_text(f"{skew:+.0f}s\n")
        new.replace(self._clock)

    def backup(self) -> None:
        """SQLite's online backup, while the node runs."""
        source, target = sqlite3.connect(self.database), sqlite3.connect(self.folder / "backup.db")
        with source, target:
            source.backup(target)
        source.close()
        target.close()

    def restore(self) -> None:
        """Put the backup in the place of the database; the node is down."""
        assert self.process is None
        for suffix in ("-wal", "-shm"):
            self.database.with_name(self.database.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(self.folder / "backup.db", self.database)

    def sample(self) -> tuple[float, int]:
        """Resident megabytes and open files; nothing if it is down."""
        if self.process is None or self.process.poll() is not None:
            return 0.0, 0
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            files = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        except OSError:
            return 0.0, 0
        kilobytes = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")), "0")
        return int(kilobytes) / 1024, files


class BoundProsody(Prosody):
    """As it is, but it dies with us."""

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        command, environment = super().command()
        return _bound(command), environment


class BoundEjabberd(Ejabberd):
    """As it is, but it dies with us."""

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        command, environment = super().command()
        return _bound(command), environment


class Town:
    """Servers, views and links; a context manager that leaves no process behind."""

    def __init__(self, folder: Path, domains: tuple[str, ...], settings: Mapping[str, Mapping[str, object]]) -> None:
        self.folder = folder
        self.domains = domains
        self.settings = settings
        self.proxies = Proxies()
        self.servers: dict[str, Server] = {}
        self._views: list[View] = []

    @property
    def ours(self) -> dict[str, OurNode]:
        """Those of them that are ours."""
        return {domain: server for domain, server in self.servers.items() if isinstance(server, OurNode)}

    def __enter__(self) -> "Town":
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.close()
        self.proxies.stop()
        for view in self._views:
            view.stop()

    def _make(self) -> None:
        authority = CertificateAuthority(self.folder / "authority")
        places = {}
        for number, domain in enumerate(self.domains):
            address = ADDRESS.format(20 + number)
            places[domain] = Place(domain, address, *free_ports(address, 3))
        for number, source in enumerate(self.domains):
            view = View(number)
            self._views.append(view)
            view.know(places[source])
            for target in self.domains:
                if target != source:
                    there = places[target]
                    # At the target's number in the source's row: a name in every log line of an address.
                    address = ADDRESS.format(100 + 10 * number + self.domains.index(target))
                    [port] = free_ports(address, 1)
                    view.know(Place(target, address, 0, 0, port))
                    link = Link(source, target, address, port, (there.address, there.s2s_port))
                    self.proxies.links[source, target] = link
            self.servers[source] = self._server(source, view, authority)

    def _server(self, domain: str, view: View, authority: CertificateAuthority) -> Server:
        folder = self.folder / domain.partition(".")[0]
        folder.mkdir()
        common: dict[str, Any] = {"folder": folder, "network": view, "authority": authority}
        if domain == PROSODY:
            return BoundProsody(domain, **common)
        if domain == EJABBERD:
            return BoundEjabberd(domain, **common)
        settings = {"limits": {**LIMITS, **self.settings.get("limits", {})}}
        settings |= {name: dict(values) for name, values in self.settings.items() if name != "limits"}
        peers = [other for other in self.domains if other != domain]
        node = OurNode(domain, peers=peers, settings=settings, **common)
        node.set_clock(0)
        return node


def missing() -> str | None:
    """What has to be installed for a whole run, in one sentence."""
    if not sys.platform.startswith("linux"):
        return "the addresses of 127/8 are all there on Linux only"
    return Prosody.missing() or Ejabberd.missing()


def end(signum: int = 0, frame: object = None) -> None:
    """Let a signal end the run as an exception does, so that everything is cleaned up."""
    raise SystemExit(128 + signum)


def ended_by_signals() -> None:
    """SIGTERM as well as Ctrl-C."""
    signal.signal(signal.SIGTERM, end)
