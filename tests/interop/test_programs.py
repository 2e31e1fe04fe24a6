"""Programs told by a whole node: by webhooks, and by a tap in a process of its own that only dials outwards.

The program is a real HTTP server, which may refuse, be gone, and come back. Node and tap are killed with SIGKILL.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from hmac import digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.interop.client import Client
from tests.interop.microblogging import publish
from tests.interop.servers import MicroblogNode

pytestmark = pytest.mark.interop
DEADLINE = 30
ADDRESSES = count(20)


class Program:
    """A service on loopback: takes calls, answers with ``status``."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.hangs = threading.Event()
        self.hangs.set()  # cleared: no answer until it is set again
        self.address = f"127.78.{os.getpid() % 200 + 1}.{next(ADDRESSES)}"
        self.port = 0
        self._news = threading.Condition()
        self.start()

    def start(self) -> None:
        program = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with program._news:
                    status = program.status
                    program.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
                    program._news.notify_all()
                program.hangs.wait(2 * DEADLINE)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def handle(self) -> None:
                with suppress(OSError):  # whoever called has gone
                    super().handle()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((self.address, self.port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nobody listens any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}/events"

    def wait(self, what: Callable[[], Any]) -> Any:
        """Until it is true."""
        with self._news:
            deadline = time.monotonic() + DEADLINE
            while not (found := what()):
                left = deadline - time.monotonic()
                assert left > 0, self.told()
                self._news.wait(min(left, 0.2))
            return found

    def told(self) -> list[dict[str, Any]]:
        """All events, as they came."""
        return [json.loads(body) for _, body in self.calls]

    def texts(self) -> list[str]:
        return [event["item"]["text"] for event in self.told() if "item" in event]

    def once(self) -> list[str]:
        """The texts, of each event the first time."""
        found = {event["id"]: event["item"]["text"] for event in reversed(self.told())}
        return [text for _, text in reversed(found.items())]

    def await_text(self, text: str) -> None:
        self.wait(lambda: text in self.texts())


class Tap:
    """`twistd microblog tap` in a process of its own."""

    def __init__(self, node: MicroblogNode, program: Program, folder: Path, **options: str) -> None:
        self.node, self.folder = node, folder
        folder.mkdir(exist_ok=True)
        (folder / "password").write_text("secret\n")
        given = {
            "jid": f"ci@{node.domain}",
            "password-file": str(folder / "password"),
            "node": f"{node.address}:{node.c2s_port}",
            "to": program.url,
            "trust-roots": str(node.authority.path),
            "source": "home,own,mentions",
        } | options
        self.arguments = [f"--{name}={value}" for name, value in given.items() if value]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.folder / "tap.log", "ab") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("twistd")), "microblog", "tap", *self.arguments],
                env=os.environ | self.node._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill9(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def await_line(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + DEADLINE
        while self.log().count(text) < times:
            assert time.monotonic() < deadline, self.log()
            assert self.process is None or self.process.poll() is None or text in self.log(), self.log()
            time.sleep(0.05)

    def log(self) -> str:
        path = self.folder / "tap.log"
        return path.read_text() if path.exists() else ""

    def end(self) -> int:
        """It ends by itself; its status."""
        assert self.process is not None
        status = self.process.wait(DEADLINE)
        self.process = None
        return status


@pytest.fixture(scope="module")
def node(microblog_node: Callable[..., MicroblogNode]) -> MicroblogNode:
    made = microblog_node("montague.zz", settings={"programs": {"private_addresses": True}})
    made.account("ci")
    return made


@pytest.fixture
def author(node: MicroblogNode) -> Iterator[Client]:
    client = node.login("ci")
    yield client
    client.kill()


@pytest.fixture
def program() -> Iterator[Program]:
    made = Program()
    yield made
    made.stop()


@pytest.fixture
def tap(node: MicroblogNode, program: Program, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Tap]:
    made = Tap(node, program, tmp_path / "tap", name=f"t{abs(hash(request.node.name)) % 10**6}")
    yield made
    made.kill9()


def test_a_tap_hands_over_what_happens(author: Client, program: Program, tap: Tap) -> None:
    tap.start()
    tap.await_line("hears as")
    publish(author, "first", "The first")
    program.await_text("The first")
    headers, body = program.calls[0]
    told = json.loads(body)
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == told["id"]
    assert "webhook-signature" not in headers
    assert told["kind"] == "published"
    assert told["author"] == author.bare
    assert told["item"]["audience"] == "public"
    assert told["address"].startswith(f"xmpp:{author.bare}?;node=")
    tap.process.send_signal(signal.SIGTERM)
    assert tap.end() == 0


def test_what_is_not_taken_waits_in_order(author: Client, program: Program, tap: Tap) -> None:
    tap.start()
    tap.await_line("hears as")
    program.status = 503
    for number in range(5):
        publish(author, f"w{number}", f"Waits {number}")
    program.wait(lambda: len(program.calls) >= 2)
    assert set(program.texts()) == {"Waits 0"}
    program.stop()
    program.status = 200
    program.start()
    program.await_text("Waits 4")
    assert program.once() == [f"Waits {number}" for number in range(5)]
    assert "is not taken" in tap.log()


def test_a_killed_tap_goes_on_where_it_was(author: Client, program: Program, tap: Tap) -> None:
    tap.start()
    tap.await_line("hears as")
    for number in range(10):
        publish(author, f"k{number}", f"Killed {number}")
        if number == 4:
            program.await_text("Killed 2")
            tap.kill9()
    assert "Killed 9" not in program.texts()
    tap.start()
    program.await_text("Killed 9")
    assert program.once() == [f"Killed {number}" for number in range(10)]


def test_a_killed_node_loses_no_event_and_no_cursor(node: MicroblogNode, program: Program, tap: Tap) -> None:
    tap.start()
    tap.await_line("hears as")
    author = node.login("ci")
    for number in range(5):
        publish(author, f"n{number}", f"Node {number}")
    program.await_text("Node 1")
    node.kill9()
    node.start()
    author = node.login("ci")
    for number in range(5, 10):
        publish(author, f"n{number}", f"Node {number}")
    program.await_text("Node 9")
    assert program.once() == [f"Node {number}" for number in range(10)]
    tap.await_line("hears as", 2)


def test_a_signed_tap(author: Client, program: Program, tap: Tap) -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    (tap.folder / "hmac").write_text("whsec_" + b64encode(secret).decode() + "\n")
    tap.arguments.append(f"--secret-file={tap.folder / 'hmac'}")
    tap.start()
    tap.await_line("hears as")
    publish(author, "signed", "Signed")
    program.await_text("Signed")
    check(secret, *program.calls[0])


def check(secret: bytes, headers: dict[str, str], body: bytes) -> None:
    """As a receiver does."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == "v1," + b64encode(digest(secret, signed, hashlib.sha256)).decode()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


def test_a_certificate_nobody_vouches_for_is_refused_unless_it_is_pinned(
    author: Client, program: Program, tap: Tap
) -> None:
    tap.arguments = [argument for argument in tap.arguments if not argument.startswith("--trust-roots")]
    tap.start()
    assert tap.end() == 1
    assert "the certificate does not prove montague.zz" in tap.log()
    pin = tap.log().rpartition("pin it: ")[2].split(".")[0]
    tap.arguments.append(f"--fingerprint={pin}")
    tap.start()
    tap.await_line("hears as")
    publish(author, "pinned", "Pinned")
    program.await_text("Pinned")
    tap.kill9()
    tap.arguments[-1] = f"--fingerprint={'0' * 64}"
    tap.start()
    tap.await_line("the certificate is another one")


def test_a_wrong_password_ends_it_with_a_sentence(tap: Tap) -> None:
    (tap.folder / "password").write_text("wrong\n")
    tap.start()
    assert tap.end() == 1
    assert "the password of ci@montague.zz is another one" in tap.log()


def test_direct_tls(node: MicroblogNode, author: Client, program: Program, tap: Tap) -> None:
    tap.arguments = [argument for argument in tap.arguments if not argument.startswith("--node")]
    tap.arguments.append(f"--node=xmpps://{node.address}:{node.direct_tls_port}")
    tap.start()
    tap.await_line("hears as")
    publish(author, "direct", "Direct")
    program.await_text("Direct")


def test_another_tap_of_the_same_name_takes_over(
    node: MicroblogNode, author: Client, program: Program, tap: Tap, tmp_path: Path
) -> None:
    tap.start()
    tap.await_line("hears as")
    another = Tap(node, program, tmp_path / "another")
    another.arguments = list(tap.arguments)
    another.start()
    try:
        assert tap.end() == 1
        assert "Somebody else hears as" in tap.log()
        publish(author, "taken", "Taken over")
        program.await_text("Taken over")
    finally:
        another.kill9()


def test_a_tap_waits_for_a_node_that_is_not_there(node: MicroblogNode, program: Program, tap: Tap) -> None:
    """A node that is down when the tap starts is no mistake of anybody."""
    node.kill9()
    tap.start()
    tap.await_line("again in")
    node.start()
    tap.await_line("hears as")
    publish(node.login("ci"), "waited", "Waited")
    program.await_text("Waited")


def hook(node: MicroblogNode, *arguments: str) -> Any:
    done = node.administer("hook", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_webhook_is_called_by_the_running_node(node: MicroblogNode, author: Client, program: Program) -> None:
    made = hook(node, "add", "ci", "builds", program.url, "--source", "own")
    assert hook(node, "test", "ci", "builds")["status"] == 204
    assert program.told()[0]["kind"] == "test"
    program.calls.clear()
    program.status = 500

    def heard() -> bool:
        # The node looks every few seconds whether the command line did something.
        return bool(program.calls)

    publish(author, "h0", "Hook 0")
    program.wait(heard)
    node.kill9()
    program.status = 200
    node.start()
    again = node.login("ci")
    for number in range(1, 4):
        publish(again, f"h{number}", f"Hook {number}")
    program.await_text("Hook 3")
    assert program.once() == [f"Hook {number}" for number in range(4)]
    check(b64decode(made["secret"].removeprefix("whsec_")), *program.calls[-1])
    (row,) = hook(node, "list")
    assert (row["account"], row["name"], row["sources"]) == ("ci", "builds", "own")
    hook(node, "remove", "ci", "builds")
    assert hook(node, "list") == []
    gone = node.administer("hook", "remove", "ci", "builds")
    assert (gone.returncode, "no webhook of the name builds" in gone.stderr) == (1, True)


def test_a_webhook_test_says_why_it_does_not_work(node: MicroblogNode, program: Program) -> None:
    hook(node, "add", "ci", "broken", program.url)
    program.status = 404
    answer = node.administer("hook", "test", "ci", "broken")
    assert (answer.returncode, "answers 404" in answer.stderr) == (1, True)
    program.stop()
    try:
        answer = node.administer("hook", "test", "ci", "broken")
        assert (answer.returncode, "cannot be called" in answer.stderr) == (1, True)
    finally:
        program.start()
        hook(node, "remove", "ci", "broken")


def test_a_program_that_hangs_holds_up_neither_posts_nor_the_end(
    node: MicroblogNode, author: Client, program: Program, tap: Tap
) -> None:
    hook(node, "add", "ci", "hanging", program.url, "--source", "own")
    tap.start()
    tap.await_line("hears as")
    program.hangs.clear()
    publish(author, "hang0", "Hangs")
    program.wait(lambda: len(program.calls) >= 2)  # the tap and the webhook
    for number in range(1, 20):
        publish(author, f"hang{number}", "Goes on")
    tap.process.send_signal(signal.SIGTERM)
    assert tap.end() == 0
    assert node.process is not None
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(DEADLINE) == -signal.SIGTERM
    node.process = None
    program.hangs.set()
    node.start()
    hook(node, "remove", "ci", "hanging")


def test_nothing_listens_where_a_tap_runs(tap: Tap) -> None:
    """It only dials: no socket of its process is a listening one."""
    tap.start()
    tap.await_line("hears as")
    assert tap.process is not None
    inodes = {
        os.readlink(entry)[8:-1]
        for entry in Path(f"/proc/{tap.process.pid}/fd").iterdir()
        if entry.is_symlink() and os.readlink(entry).startswith("socket:[")
    }
    listening = {
        line.split()[9]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    }
    assert inodes
    assert not inodes & listening
