"""Other people's clients against a server: slixmpp and aioxmpp act a story, profanity is typed at.

Each story is done by two people of the server with the programs in `clients/`; what they print is what worked.
"""

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from tests.interop.screen import Screen
from tests.interop.servers import Server

CLIENTS = Path(__file__).parent / "clients"
STEPS = ["login", "publish", "follow", "receive", "retrieve", "retract", "chat", "logout"]

AIOXMPP_PYTHON = "/usr/bin/python3"


def aioxmpp_missing() -> str | None:
    """A sentence naming what has to be installed, if anything."""
    with contextlib.suppress(OSError):
        if subprocess.run([AIOXMPP_PYTHON, "-c", "import aioxmpp"], capture_output=True).returncode == 0:
            return None
    return "aioxmpp is not here: apt-get install --no-install-recommends python3-aioxmpp"


def profanity_missing() -> str | None:
    """A sentence naming what has to be installed, if anything."""
    return None if shutil.which("profanity") else "profanity is not here: apt-get install profanity"


def slixmpp_story(server: Server, author: str, reader: str, password: str = "secret") -> list[str]:
    """The steps two slixmpp clients did; certificates are verified against the authority."""
    arguments = [server.address, str(server.c2s_port), str(server.authority.path), password, author, reader]
    return _act([sys.executable, str(CLIENTS / "slixmpp_story.py"), *arguments])


def slixmpp_forms(server: Server, administrator: str, person: str, password: str = "secret") -> list[str]:
    """The steps an administrator and somebody did with forms, vCards and pictures."""
    arguments = [server.address, str(server.c2s_port), str(server.authority.path), password, administrator, person]
    return _act([sys.executable, str(CLIENTS / "slixmpp_forms.py"), *arguments])


def slixmpp_blocking(server: Server, person: str, other: str, password: str = "secret") -> list[str]:
    """The steps somebody did with two slixmpp clients who blocked somebody else."""
    arguments = [server.address, str(server.c2s_port), str(server.authority.path), password, person, other]
    return _act([sys.executable, str(CLIENTS / "slixmpp_blocking.py"), *arguments])


def aioxmpp_story(server: Server, author: str, reader: str, password: str = "secret") -> list[str]:
    """The steps two aioxmpp clients did, in Debian's Python."""
    arguments = [server.address, str(server.c2s_port), password, author, reader]
    return _act([AIOXMPP_PYTHON, "-I", str(CLIENTS / "aioxmpp_story.py"), *arguments])


def _act(command: list[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return [line.split()[0] for line in done.stdout.splitlines() if line[:1] not in ("", "#")]


class Profanity:
    """profanity on a terminal of its own: type at it, and wait for what it shows."""

    def __init__(
        self, folder: Path, server: Server, name: str, password: str = "secret", screen: Screen | None = None
    ) -> None:
        self.shown, self.screen = "", screen
        home = folder / f"profanity-{name}"
        (home / "data" / "profanity").mkdir(parents=True)
        (home / "config" / "profanity").mkdir(parents=True)
        jid = f"{name}@{server.domain}"
        account = {
            "enabled": "true",
            "jid": jid,
            "server": server.address,
            "port": server.c2s_port,
            "resource": "profanity",
            "password": password,
            "tls.policy": "trust",  # TLS it must be, whoever signed the certificate
        }
        lines = [f"[{jid}]", *(f"{key}={value}" for key, value in account.items())]
        (home / "data" / "profanity" / "accounts").write_text("\n".join(lines) + "\n")
        self._terminal, theirs = pty.openpty()
        size = (40, 160) if screen is None else (screen.rows, screen.columns)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TERM": "xterm" if screen is None else "vt52",
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
        }
        self.process = subprocess.Popen(
            ["profanity", "-l", "DEBUG", "-a", jid],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            cwd=home,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        os.write(self._terminal, line.encode() + b"\r")

    def wait(self, text: str, timeout: float = 15) -> None:
        """Wait until it shows the text, which is then looked at no more."""
        deadline = time.monotonic() + timeout
        while text not in self.shown:
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"profanity did not show {text!r}:\n{self.shown[-4000:]}")
        self.shown = self.shown.partition(text)[2]

    def sees(self, text: str, timeout: float = 15) -> None:
        """Wait until the text is on the screen."""
        assert self.screen is not None
        deadline = time.monotonic() + timeout
        while text not in "\n".join(self.screen.lines()):
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"profanity did not show {text!r}:\n" + "\n".join(self.screen.lines()))

    def _read(self, timeout: float) -> bool:
        if not select.select([self._terminal], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # it has ended
            return False
        text = data.decode("utf-8", "replace")
        if self.screen is not None:
            self.screen.feed(text)
        self.shown += re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78])", "", text)
        return bool(data)

    def close(self) -> None:
        """Quit, and make sure of it."""
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.type("/quit")
            deadline = time.monotonic() + 3
            while self.process.poll() is None and time.monotonic() < deadline:
                self._read(0.1)
            if self.process.poll() is None:
                self.process.kill()
        self.process.wait()
        os.close(self._terminal)


@contextlib.contextmanager
def profanity(folder: Path, server: Server, name: str, screen: Screen | None = None) -> Iterator[Profanity]:
    """profanity for as long as the block lasts."""
    client = Profanity(folder, server, name, screen=screen)
    try:
        yield client
    finally:
        client.close()
