"""Starting with something wrong: one clear sentence on stderr, the right exit status, nothing lost."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import microblog

TREE = Path(microblog.__file__).parent.parent
ADDRESS = "127.94.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


class Place:
    """A folder with a configuration and a database that is ready to be served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.c2s, self.s2s = free_port(), free_port()
        self.database = folder / "microblog-data" / "microblog.db"
        self.configure()

    def configure(self, more: str = "") -> None:
        (self.folder / "microblog.toml").write_text(
            f'[node]\ndomain = "montague.example"\n[c2s]\nlisten = ["{ADDRESS}:{self.c2s}"]\ndirect_tls = []\n'
            f'[s2s]\nlisten = ["{ADDRESS}:{self.s2s}"]\n{more}'
        )

    def twistd(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).parent / "twistd"), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MICROBLOG")}
        return {**kept, "PYTHONPATH": f"{TREE}:{TREE / 'twistd-plugins'}"}

    def administer(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.twistd("microblog", *arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def serve(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.twistd("-n", "--pidfile=", "microblog"),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def await_listening(self, server: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((ADDRESS, self.c2s), 1).close()
                return
            except OSError:
                assert server.poll() is None, server.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def served(self) -> str:
        """Start, and stop again; what it said."""
        server = self.serve()
        try:
            self.await_listening(server)
        finally:
            server.terminate()
            out, err = server.communicate(timeout=30)
        return out + err

    def epoch(self) -> str:
        """By what other nodes know its delivery logs."""
        with closing(sqlite3.connect(self.database)) as connection:
            rows = connection.execute("SELECT value FROM settings WHERE name = 'epoch'").fetchall()
        return "".join(value for (value,) in rows)

    def refused(self) -> str:
        """Start; it must end by itself with status 1 and say why in one sentence on stderr."""
        server = self.serve()
        try:
            out, err = server.communicate(timeout=60)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
        assert server.returncode == 1, (server.returncode, out, err)
        assert "Traceback" not in out + err, out + err
        (line,) = [line for line in err.splitlines() if line.strip()]
        return line


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    done = made.administer("db", "upgrade")
    assert done.returncode == 0, done.stderr
    return made


def test_a_certificate_that_is_not_there(place: Place) -> None:
    place.configure('[tls]\ncertificate = "nowhere.pem"\nkey = "nowhere.key"\n')
    assert "nowhere.pem" in place.refused()


def test_a_port_in_use(place: Place) -> None:
    with socket.socket() as other:
        other.bind((ADDRESS, place.c2s))
        other.listen()
        said = place.refused()
    assert f"{ADDRESS}:{place.c2s}" in said
    assert "in use" in said


def damage(database: Path) -> None:
    with open(database, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 3)


def age(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999_from_the_future'")


def no_database(database: Path) -> None:
    database.write_bytes(b"This is a diary and no database. " * 200)


@pytest.mark.parametrize(("harm", "word"), [(damage, "damaged"), (age, "newer"), (no_database, "not a")])
def test_a_database_that_cannot_be_used(place: Place, harm: Callable[[Path], None], word: str) -> None:
    for leftover in place.database.parent.glob(place.database.name + "-*"):
        leftover.unlink()
    harm(place.database)
    before = place.database.read_bytes()
    assert word in place.refused()
    assert place.database.read_bytes() == before


def test_a_database_that_another_node_serves(place: Place) -> None:
    first = place.serve()
    try:
        place.await_listening(first)
        place.c2s, place.s2s = free_port(), free_port()
        place.configure()
        assert "nother" in place.refused()
        assert first.poll() is None
    finally:
        first.terminate()
        out, err = first.communicate(timeout=30)
    assert first.returncode == -signal.SIGTERM, out + err  # twistd ends by the signal that ended it


def test_a_database_that_was_restored_from_a_backup(place: Place) -> None:
    place.administer("db", "restored")
    epoch = place.epoch()
    assert "restored" not in place.served()
    assert place.epoch() == epoch
    mark = place.database.with_name("watermark")
    assert int(mark.read_text()) == 0
    mark.write_text(f"{4107:020d}\n")
    assert "as if it was restored from a backup" in place.served()
    assert place.epoch() != epoch
    assert int(mark.read_text()) == 0


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anything")
def test_a_database_that_must_not_be_written(place: Place) -> None:
    place.database.chmod(0o400)
    assert "read" in place.refused()
