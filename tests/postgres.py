"""A PostgreSQL cluster of the tests' own, from the programs of the distribution's package.

`start_postgresql(directory)` makes a cluster in the directory and serves it on an unusual port of a loopback
address and on a socket in the directory. Everything is flushed (fsync is on): what the tests say about lost
power must hold. PostgreSQL refuses to run as root, so root lends it the user `postgres` or `nobody`.
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Two runs of the tests at once keep apart.
ADDRESS = f"127.54.{os.getpid() % 256}.1"

PACKAGE = "PostgreSQL's programs are not here: apt-get install --no-install-recommends postgresql"

SETTINGS = """
listen_addresses = '{address}'
port = {port}
unix_socket_directories = '{directory}'
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = 32MB
max_connections = 60
timezone = 'UTC'
log_min_messages = warning
"""


class Postgresql(NamedTuple):
    """A running cluster: where it is, and how it is ended."""

    url: str
    stop: Callable[[], None]


def postgresql_programs() -> Path | None:
    """The folder that holds initdb and postgres, the newest version first; None where there is none."""
    versions = glob.glob("/usr/lib/postgresql/*/bin")  # Debian keeps them off the path
    found = sorted(versions, key=lambda name: int(name.split("/")[4]), reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        found.append(str(Path(on_path).resolve().parent))
    return next((Path(f) for f in found if all((Path(f) / p).exists() for p in ("initdb", "postgres"))), None)


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _unprivileged() -> dict[str, Any]:
    """Arguments for subprocess: another user, if we are root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def start_postgresql(directory: Path) -> Postgresql:
    """Make a cluster in an empty directory and serve it; the URL is SQLAlchemy's, for psycopg 3."""
    programs = postgresql_programs()
    if programs is None:
        raise FileNotFoundError(PACKAGE)
    address = ADDRESS
    try:
        port = _free_port(address)
    except OSError:  # only Linux has all of 127/8 on loopback
        address = "127.0.0.1"
        port = _free_port(address)
    who = _unprivileged()
    if who:
        home = Path(tempfile.mkdtemp(prefix="microblog-postgresql-"))
        os.chown(home, who["user"], who["group"])
    else:
        home = Path(directory) / "postgresql"
        home.mkdir(parents=True)
    data, log_file = home / "data", Path(directory) / "postgresql.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"HOME": str(home)}

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, *arguments],
            check=True, capture_output=True, cwd=home, env=environment, timeout=120, **who,
        )  # fmt: skip

    # The cluster is thrown away, so only its start need not be flushed; the server itself flushes.
    run("initdb", "-D", str(data), "-U", "microblog", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    sockets = home if len(str(home)) < 80 else ""  # a socket's path has at most 107 bytes
    with open(data / "postgresql.conf", "a") as settings:
        settings.write(SETTINGS.format(address=address, port=port, directory=sockets))
    with open(log_file, "wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", str(data)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home, env=environment, **who,
        )  # fmt: skip

    def stop() -> None:
        if server.poll() is None:
            server.send_signal(signal.SIGINT)  # fast shutdown: rolls back and leaves
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        if who:
            shutil.rmtree(home, ignore_errors=True)

    deadline = time.monotonic() + 60
    while True:
        if server.poll() is not None or time.monotonic() > deadline:
            stop()
            raise RuntimeError("PostgreSQL did not start:\n" + log_file.read_text(errors="replace"))
        question = f"-q -h {address} -p {port} -U microblog -d postgres".split()
        ready = subprocess.run([programs / "pg_isready", *question])
        if ready.returncode == 0:
            break
        time.sleep(0.05)
    return Postgresql(f"postgresql+psycopg://microblog@{address}:{port}/postgres", stop)
