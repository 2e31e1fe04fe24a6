"""Real servers for tests: Debian's Prosody and ejabberd as they are packaged, and our own node.

Each runs in a folder and at a `Place` of its own, requires TLS of clients and servers, and is ended by its
process id. How they believe one another is the test's choice:

- `Trust.EXTERNAL`: certificates of the tests' authority, SASL EXTERNAL; dialback is not even there.
- `Trust.DIALBACK`: self-signed certificates, so that dialback inside TLS (XEP-0220) is what is left.
"""

import contextlib
import enum
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from microblog.admin import database
from microblog.config import load
from microblog.usecases import registering
from tests.interop.ca import Certificate, CertificateAuthority
from tests.interop.client import Client, register
from tests.interop.network import Network

CHECKOUT = Path(__file__).resolve().parents[2]


class Trust(enum.Enum):
    """How servers prove to one another who they are."""

    EXTERNAL = "external"
    DIALBACK = "dialback"


class Server:
    """A server process; the subclasses know its configuration and its command line."""

    kind: ClassVar[str]
    logs: ClassVar[tuple[str, ...]] = ("console.log",)

    def __init__(
        self,
        domain: str,
        *,
        folder: Path,
        network: Network,
        authority: CertificateAuthority,
        trust: Trust = Trust.EXTERNAL,
        certificate: Certificate | None = None,
    ) -> None:
        self.domain, self.folder, self.network, self.trust = domain, folder, network, trust
        self.place = network.place(domain)
        self.address = self.place.address
        self.c2s_port, self.s2s_port = self.place.c2s_port, self.place.s2s_port
        self.direct_tls_port = self.place.direct_tls_port
        self.authority = authority
        if certificate is None:
            certificate = authority.issue(domain, self_signed=trust is Trust.DIALBACK)
        self.certificate, self.key = certificate.write(folder)
        self.process: subprocess.Popen[bytes] | None = None
        self._clients: list[Client] = []
        self.configure()

    def configure(self) -> None:
        """Write the configuration."""
        raise NotImplementedError

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        """Command line and what it adds to the environment."""
        raise NotImplementedError

    # Life

    def start(self, timeout: float = 60) -> None:
        """Start, and wait until clients and servers can connect."""
        assert self.process is None, f"{self.domain} runs already"
        command, environment = self.command()
        with open(self.folder / "console.log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + timeout
        waiting = {self.c2s_port, self.s2s_port}
        while waiting:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.kind} ended at once\n{self.tail()}")
            if time.monotonic() > deadline:
                self.kill9()
                raise RuntimeError(f"{self.kind} does not listen on {waiting}\n{self.tail()}")
            for port in tuple(waiting):
                with contextlib.suppress(OSError):
                    socket.create_connection((self.address, port), 1).close()
                    waiting.discard(port)
            time.sleep(0.02)

    def stop(self) -> None:
        """End politely, data kept; after 15 seconds not so politely."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill9(self) -> None:
        """End as a lost machine ends."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Stop and start again on the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """The end of the test: nobody will ask for the data any more."""
        for client in self._clients:
            client.kill()
        self.kill9()

    # People

    def account(self, name: str, password: str = "secret") -> str:
        """Make an account; its bare JID."""
        register(self, name, password)
        return f"{name}@{self.domain}"

    def login(self, name: str, password: str = "secret", **how: Any) -> Client:
        """A client of an account, closed at the end of the test if not before; `how` is for `Client.login`."""
        client = Client.login(self, name, password, **how)
        self._clients.append(client)
        return client

    def logged(self, pattern: str, timeout: float = 5) -> None:
        """Wait until a line of the logs fits: they are written a little later."""
        deadline = time.monotonic() + timeout
        paths = [self.folder / name for name in self.logs]
        while not any(re.search(pattern, path.read_text(errors="replace")) for path in paths if path.exists()):
            assert time.monotonic() < deadline, f"{pattern!r} is not in the logs\n{self.tail()}"
            time.sleep(0.05)

    def tail(self, lines: int = 60) -> str:
        """The end of each log."""
        parts = []
        for name in self.logs:
            path = self.folder / name
            if path.exists():
                text = path.read_text(errors="replace").splitlines()[-lines:]
                parts.append(f"--- {self.domain}: {name}\n" + "\n".join(text))
        return "\n".join(parts)


PROSODY = """
run_as_root = true
daemonize = false
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}"
interfaces = {{ "{address}" }}
local_interfaces = {{ "{address}" }}
c2s_ports = {{ {c2s_port} }}
s2s_ports = {{ {s2s_port} }}
c2s_direct_tls_ports = {{ }}
s2s_direct_tls_ports = {{ {s2s_direct_tls} }}
s2s_direct_tls_ssl = {{ cafile = "{authority}" }}
http_ports = {{ }}
https_ports = {{ }}
unbound = {{
    resolvconf = false; hoststxt = false; forward = {{ "{nameserver}" }};
    options = {{ ["do-not-query-localhost:"] = "no" }};
}}
modules_disabled = {{ "admin_shell" }}
modules_enabled = {{
    "disco"; "roster"; "saslauth"; "pep"; "ping"; "register"; "time"; "version"; "offline"; "smacks";
    {dialback} {tls_module} {modules}
}}
c2s_require_encryption = {tls}
s2s_require_encryption = {tls}
s2s_secure_auth = {secure}
allow_registration = true
authentication = "internal_hashed"
network_settings = {{ nagle = false }}
log = {{ {level} = "{folder}/server.log" }}

VirtualHost "{domain}"
    ssl = {{ key = "{key}"; certificate = "{certificate}"; cafile = "{authority}" }}
"""


class Prosody(Server):
    """Debian's Prosody; it resolves by libunbound, which asks our name server.

    `tls=False` makes it a server of the past, which offers no TLS to other servers. `modules` are loaded beside the
    usual ones. `s2s_direct_tls` takes streams of servers with TLS from the first byte only. `level` is that of the log.
    """

    kind = "Prosody"
    logs = ("console.log", "server.log")

    @staticmethod
    def missing() -> str | None:
        """A sentence naming what has to be installed, if anything."""
        if shutil.which("prosody") and glob.glob("/usr/lib/*/lua/5.*/lunbound.so"):
            return None
        return "Prosody is not here: apt-get install --no-install-recommends prosody lua-unbound"

    def __init__(
        self,
        domain: str,
        *,
        tls: bool = True,
        modules: Iterable[str] = (),
        s2s_direct_tls: bool = False,
        level: str = "info",
        **common: Any,
    ) -> None:
        self.tls, self.level, self.direct_tls = tls, level, s2s_direct_tls
        self.modules = " ".join(f'"{name}";' for name in modules)
        super().__init__(domain, **common)

    def configure(self) -> None:
        external = self.trust is Trust.EXTERNAL
        (self.folder / "data").mkdir(exist_ok=True)
        text = PROSODY.format(
            **vars(self) | {"authority": self.authority.path, "tls": "true" if self.tls else "false"},
            tls_module='"tls";' if self.tls else "",
            nameserver="{}@{}".format(*self.network.nameserver),
            dialback="" if external else '"dialback";',
            secure="true" if external else "false",
            s2s_direct_tls=self.direct_tls_port if self.direct_tls else "",
        )
        (self.folder / "prosody.cfg.lua").write_text(text)

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        return ["prosody", "-F", "--config", str(self.folder / "prosody.cfg.lua")], {}


EJABBERD = """
hosts: ["{domain}"]
loglevel: {level}
log_rotate_count: 0
certfiles: ["{folder}/both.pem"]
ca_file: "{authority}"
listen:
  - {{ip: "{address}", port: {c2s_port}, module: ejabberd_c2s, starttls_required: true, shaper: none}}
  - {{ip: "{address}", port: {direct_tls_port}, module: ejabberd_c2s, tls: true, shaper: none}}
  - {{ip: "{address}", port: {s2s_port}, module: ejabberd_s2s_in, shaper: none}}
{listen}
s2s_use_starttls: required
s2s_max_retry_delay: 1
outgoing_s2s_families: [ipv4]
auth_password_format: scram
registration_timeout: infinity
modules:
  mod_caps: {{}}
  mod_disco: {{}}
  mod_offline: {{}}
  mod_ping: {{}}
  mod_pubsub: {{access_createnode: all, plugins: [flat, pep]}}
  mod_register: {{ip_access: all, access: all}}
  mod_roster: {{}}
  mod_stream_mgmt: {{}}
  mod_version: {{}}
{modules}
"""

# SRV look-ups go to our name server; the target of the answer is a written address.
INETRC = """{{lookup, [file, native]}}.
{{resolv_conf, ""}}.
{{nameserver, {{{address}}}, {port}}}.
"""


class Ejabberd(Server):
    """Debian's ejabberd, as its own script starts it less the node name: no epmd, no distribution.

    `multicast`: the options of a service for XEP-0033 at `multicast.DOMAIN`, which is a place of its own in the
    network. `level` is that of the log.
    """

    kind = "ejabberd"
    logs = ("console.log", "server.log")

    @staticmethod
    def missing() -> str | None:
        """A sentence naming what has to be installed, if anything."""
        if shutil.which("erl") and glob.glob("/usr/lib/*/ejabberd-*"):
            return None
        return "ejabberd is not here: apt-get install --no-install-recommends ejabberd"

    def __init__(
        self, domain: str, *, multicast: Mapping[str, object] | None = None, level: str = "info", **common: Any
    ) -> None:
        self.multicast, self.level = multicast, level
        super().__init__(domain, **common)

    def configure(self) -> None:
        (self.folder / "both.pem").write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        modules = [] if self.trust is Trust.EXTERNAL else ["  mod_s2s_dialback: {}"]
        listen = ""
        if self.multicast is not None:
            modules.append(f"  mod_multicast: {json.dumps(self.multicast)}")
            place = self.network.place(f"multicast.{self.domain}")
            listen = f'  - {{ip: "{place.address}", port: {place.s2s_port}, module: ejabberd_s2s_in, shaper: none}}'
        text = EJABBERD.format(
            **vars(self) | {"authority": self.authority.path}, modules="\n".join(modules), listen=listen
        )
        (self.folder / "ejabberd.yml").write_text(text)
        address, port = self.network.nameserver
        (self.folder / "inetrc").write_text(INETRC.format(address=address.replace(".", ","), port=port))

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        libraries = Path(sorted(glob.glob("/usr/lib/*/ejabberd-*"))[-1]).parent
        environment = {
            "EJABBERD_CONFIG_PATH": self.folder / "ejabberd.yml",
            "EJABBERD_LOG_PATH": self.folder / "server.log",
            "ERL_CRASH_DUMP_BYTES": "0",
            "ERL_INETRC": self.folder / "inetrc",
            "ERL_LIBS": libraries,
            "ERL_MAX_PORTS": "4000",
            "HOME": self.folder,
        }
        command = ["erl", "+K", "true", "-noinput", "-mnesia", "dir", f'"{self.folder / "spool"}"', "-s", "ejabberd"]
        return command, {name: str(value) for name, value in environment.items()}


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case Mapping():
            return "{ " + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


class MicroblogNode(Server):
    """Our node, as an administrator starts it. `peers` are the domains it has to find, by routes."""

    kind = "Microblog"

    def __init__(
        self,
        domain: str,
        *,
        peers: Iterable[str] = (),
        settings: Mapping[str, Mapping[str, object]] | None = None,
        environment: Mapping[str, str] | None = None,
        **common: Any,
    ) -> None:
        self.peers, self.settings = tuple(peers), settings or {}
        self.environment = dict(environment or {})
        self.config = common["folder"] / "microblog.toml"
        super().__init__(domain, **common)

    def configure(self) -> None:
        places = [self.network.place(peer) for peer in self.peers]
        config: dict[str, dict[str, object]] = {
            "node": {"domain": self.domain, "data": self.folder / "data"},
            "c2s": {
                "listen": [f"{self.address}:{self.c2s_port}"],
                "direct_tls": [f"{self.address}:{self.direct_tls_port}"],
            },
            "s2s": {
                "listen": [f"{self.address}:{self.s2s_port}"],
                "routes": {place.domain: f"{place.address}:{place.s2s_port}" for place in places},
                "dialback": "never" if self.trust is Trust.EXTERNAL else "always",
            },
            "tls": {"certificate": self.certificate, "key": self.key, "trust_roots": self.authority.path},
            "accounts": {"registration": "closed"},
            "limits": {"rates": False, "outbox_retry_first_seconds": 1, "outbox_retry_max_seconds": 2},
        }
        for section, values in self.settings.items():
            config.setdefault(section, {}).update(values)
        lines = []
        for section, values in config.items():
            lines += [f"[{section}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def _environment(self) -> dict[str, str]:
        paths = [str(CHECKOUT), str(CHECKOUT / "twistd-plugins"), os.environ.get("PYTHONPATH", "")]
        return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), **self.environment}

    def _twistd(self, *arguments: str) -> list[str]:
        script = Path(sys.executable).with_name("twistd")
        run = (
            [str(script)]
            if script.exists()
            else [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
        )
        return [*run, *arguments]

    def command(self) -> tuple[list[str], Mapping[str, str]]:
        return self._twistd("-n", "--pidfile=", "microblog", "--config", str(self.config)), self._environment()

    def administer(self, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        """Run a subcommand; it is for the caller to look at its status."""
        return subprocess.run(
            self._twistd("microblog", "--config", str(self.config), *arguments),
            input=input,
            env={**os.environ, **self._environment()},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def account(self, name: str, password: str = "secret") -> str:
        """Make an account as the command line does, without the process; its bare JID."""
        with database(load(self.config)) as opened:
            opened.run(registering.create_account, name, password, admin=False)
        return f"{name}@{self.domain}"
