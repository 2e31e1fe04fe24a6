"""The command line: its help, its mistakes, its exit statuses."""

import io
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import chdir, closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import microblog
from microblog import admin, plugin
from microblog.config import load

TREE = Path(microblog.__file__).parent.parent


TWISTD = Path(sys.executable).parent / "twistd"


def environment():
    """Ours, with the package that is being tested in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MICROBLOG")}
    return kept | {"PYTHONPATH": f"{TREE}:{TREE / 'twistd-plugins'}"}


def twistd(folder, *arguments, given="", before=("-n", "--pidfile=")):
    """Run `twistd microblog ...` as a person would."""
    command = [TWISTD, *before, "microblog", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), input=given, capture_output=True, text=True, timeout=60
    )


def say(folder, *arguments, given=""):
    """The same without a process of its own: faster, and all that commands need."""
    out, err = io.StringIO(), io.StringIO()
    stdin, sys.stdin = sys.stdin, io.StringIO(given)
    try:
        with chdir(folder), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
            plugin.Options().parseOptions(list(arguments))
    finally:
        sys.stdin = stdin
    return subprocess.CompletedProcess(arguments, caught.value.code, out.getvalue(), err.getvalue())


@pytest.fixture
def folder(tmp_path):
    """A folder with a configuration whose ports nobody else uses."""
    (tmp_path / "microblog.toml").write_text(
        '[node]\ndomain = "montague.example"\n'
        '[c2s]\nlisten = ["127.92.0.1:15222"]\ndirect_tls = []\n[s2s]\nlisten = ["127.92.0.1:15269"]\n'
    )
    return tmp_path


def parse(*arguments):
    """Parse in this process; the exit status."""
    with pytest.raises(SystemExit) as caught:
        plugin.Options().parseOptions(list(arguments))
    return caught.value.code


def levels(words=(), command=plugin.Options):
    """Every command there is, with the words that lead to it."""
    yield list(words), command
    for name, _, below, _ in getattr(command, "subCommands", ()):
        yield from levels((*words, name), below)


@pytest.mark.parametrize(("words", "command"), list(levels()))
def test_help_at_every_level_says_how_why_and_gives_an_example(words, command, capsys):
    assert parse(*words, "--help") == 0
    said = capsys.readouterr()
    assert said.err == ""
    first, *_ = said.out.splitlines()
    assert first.startswith("Usage: twistd ")
    assert all(word in first for word in words)
    # An example is a real one: it says this very command.
    *_, example = said.out.splitlines()
    assert example.strip().startswith("twistd ")
    assert all(word in example.split() for word in words)
    assert command.about.split()[0] in said.out


@pytest.mark.parametrize(("words", "command"), [pair for pair in levels() if issubclass(pair[1], plugin.Leaf)])
def test_every_command_has_a_function_behind_it(words, command):
    assert command.act is not plugin.Leaf.act or callable(getattr(admin, command.does))


@pytest.mark.parametrize("words", [[], ["account"], ["account", "add"]])
def test_version_at_every_level(words, capsys):
    assert parse(*words, "--version") == 0
    assert capsys.readouterr().out == f"Microblog {microblog.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said", "synopsis"),
    [
        (["post"], "Unknown command: post", "Usage: twistd [-n] microblog [options] [COMMAND]"),
        (["--colour"], "option --colour not recognized", "Usage: twistd [-n] microblog [options] [COMMAND]"),
        (["account"], "Say what to do: add, list", "Usage: twistd microblog account [options] COMMAND"),
        (["account", "ad"], "Unknown command: ad", "Usage: twistd microblog account [options] COMMAND"),
        (["account", "add"], "NAME is missing.", "Usage: twistd microblog account add [options] NAME"),
        (
            ["account", "add", "romeo", "secret"],
            '"secret" is one argument too many.',
            "Usage: twistd microblog account add [options] NAME",
        ),
        (
            ["account", "add", "romeo", "--password", "x"],
            "Option --password not recognized.",
            "Usage: twistd microblog account add [options] NAME",
        ),
        (["invite", "--days", "-1"], "--days needs", "Usage: twistd microblog invite [options]"),
        (["init", "--domain", "two..dots"], "--domain needs", "Usage: twistd microblog init [options]"),
        (["init", "--address", "here"], "--address needs", "Usage: twistd microblog init [options]"),
        (["db"], "Say what to do: upgrade or restored.", "Usage: twistd microblog db [options] COMMAND"),
    ],
)
def test_a_mistake_gets_one_line_and_the_synopsis(arguments, said, synopsis, capsys):
    assert parse(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith(f"twistd microblog: {said}")
    assert second == synopsis


def test_twistd_leaves_with_the_status_and_nothing_else(tmp_path):
    done = twistd(tmp_path, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Microblog {microblog.__version__}\n", "")
    wrong = twistd(tmp_path, "account", "add")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert len(wrong.stderr.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_configuration_is_told_whole_with_status_2(tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_text('[node]\ndomain = ""\n[c2s]\nlisten = "5222"\n')
    for arguments in (["--config", "wrong.toml"], ["account", "list", "--config", "wrong.toml"]):
        wrong = twistd(tmp_path, *arguments)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        lines = wrong.stderr.splitlines()
        assert [line.partition(" ")[0] for line in lines] == [f"{file}:2:", f"{file}:4:"]
    assert twistd(tmp_path, "--config", "absent.toml", "status").returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.toml"]


def test_an_account_from_beginning_to_end(folder):
    added = twistd(folder, "account", "add", "Romeo", "--password-file", "-", "--admin", given="wherefore art thou\n")
    assert (added.returncode, added.stderr) == (0, "")
    assert added.stdout == "romeo@montague.example can log in now.\n"
    (folder / "secret").write_text("what's in a name\n")
    # Options may stand before the arguments too, and the file may be named where one likes.
    again = say(folder, "--config", "microblog.toml", "account", "passwd", "--password-file", "secret", "romeo")
    assert again.returncode == 0
    shown = say(folder, "account", "list", "--json")
    (account,) = json.loads(shown.stdout)
    assert account["address"] == "romeo@montague.example"
    assert account["admin"] is True
    assert "romeo@montague.example" in say(folder, "account", "list").stdout
    conflict = say(folder, "account", "add", "romeo", "--password-file", "secret")
    assert conflict.returncode == 1
    assert conflict.stdout == ""
    assert len(conflict.stderr.splitlines()) == 1
    moved = say(folder, "account", "move", "romeo", "romeo@mantua.example")
    assert moved.returncode == 0 and "romeo@mantua.example now" in moved.stdout
    assert say(folder, "account", "move", "romeo", "romeo@mantua.example").returncode == 1
    assert say(folder, "account", "remove", "romeo").returncode == 0
    assert json.loads(say(folder, "account", "list", "--json").stdout) == []
    assert say(folder, "account", "remove", "romeo").returncode == 1
    # No pid file, no log: the folder of the node and what the test put there.
    assert {path.name for path in folder.iterdir()} == {"microblog.toml", "microblog-data", "secret"}
    assert stat.S_IMODE((folder / "microblog-data").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("arguments", "given", "status", "said"),
    [
        (["account", "add", "romeo"], "secret\n", 2, "no terminal"),
        (["account", "add", "romeo", "--password-file", "absent"], "", 1, "absent: No such file"),
        (["account", "add", "romeo", "--password-file", "-"], "\n", 1, "password is empty"),
        (["account", "add", "ro meo", "--password-file", "-"], "secret words\n", 1, "RFC 7622"),
        (["account", "passwd", "mercutio", "--password-file", "-"], "secret words\n", 1, ""),
    ],
)
def test_what_is_refused_gets_one_sentence(folder, arguments, given, status, said):
    refused = say(folder, *arguments, given=given)
    assert refused.returncode == status
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith("microblog: ")
    assert line.endswith(".")
    assert said in line


def test_invitations(folder):
    made = json.loads(say(folder, "invite", "--days", "3", "--admin", "--json").stdout)
    assert made["uri"] == f"xmpp:montague.example?register;preauth={made['token']}"
    assert len(made["token"]) >= 16
    assert say(folder, "invite").stdout.startswith("xmpp:montague.example?register;preauth=")


def test_upgrade_says_what_it_did(folder):
    first = say(folder, "db", "upgrade")
    assert first.returncode == 0
    assert "empty" in first.stdout
    assert "already" in say(folder, "db", "upgrade").stdout


def test_a_restored_database_begins_its_logs_anew(folder):
    say(folder, "db", "restored")
    path = folder / "microblog-data" / "microblog.db"
    epochs = []
    for _ in range(2):
        with closing(sqlite3.connect(path)) as connection:
            epochs += connection.execute("SELECT value FROM settings WHERE name = 'epoch'").fetchall()
        said = say(folder, "db", "restored", "--json")
        assert json.loads(said.stdout) == {"restored": True}
    assert len(set(epochs)) == 2


@pytest.mark.parametrize("arguments", [["account", "list"], ["db", "upgrade"], ["status"], []])
def test_a_newer_database_is_refused_untouched(folder, arguments):
    say(folder, "db", "upgrade")
    file = folder / "microblog-data" / "microblog.db"
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    refused = say(folder, *arguments) if arguments else twistd(folder)
    assert refused.returncode == 1
    # A server in the foreground says it in its log, which is on standard output.
    said = refused.stderr if arguments else refused.stdout + refused.stderr
    assert "newer" in said.splitlines()[-1]
    assert "Traceback" not in said
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    connection.close()


def test_init_makes_a_node_and_never_twice(tmp_path):
    made = say(tmp_path, "init", "--domain", "Montague.Example", "--address", "127.92.0.1")
    assert (made.returncode, made.stderr) == (0, "")
    assert "montague.example is ready" in made.stdout
    assert "xmpp:montague.example?register;preauth=" in made.stdout
    configuration = load(tmp_path / "microblog.toml")
    assert configuration.node.domain == "montague.example"
    assert {endpoint.host for endpoint in (*configuration.c2s.listen, *configuration.s2s.listen)} == {"127.92.0.1"}
    assert configuration.certificate_path.is_file()
    assert stat.S_IMODE(configuration.key_path.stat().st_mode) == 0o600
    before = (tmp_path / "microblog.toml").read_bytes()
    again = say(tmp_path, "init", "--domain", "capulet.example")
    assert again.returncode == 1
    assert "nothing is overwritten" in again.stderr
    assert (tmp_path / "microblog.toml").read_bytes() == before
    checked = say(tmp_path, "check", "--json")
    assert checked.returncode == 0
    assert {finding["level"] for finding in json.loads(checked.stdout)} == {"ok", "warning"}


def test_status_of_a_node_that_does_not_run(folder):
    absent = say(folder, "status")
    assert absent.returncode == 1
    assert "There is no database" in absent.stderr
    say(folder, "account", "add", "romeo", "--password-file", "-", given="wherefore art thou\n")
    stopped = say(folder, "status", "--json")
    assert stopped.returncode == 1
    status = json.loads(stopped.stdout)
    assert status["accounts"] == 1
    assert status["outbox"] == []
    assert [listener["answers"] for listener in status["listeners"]] == [False, False]
    assert "montague.example" in say(folder, "status").stdout


@contextmanager
def a_server(folder):
    """A node that runs; it is asked to end, and must."""
    command = [TWISTD, "-n", "--pidfile=", "microblog"]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 30
        while say(folder, "status").returncode and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_a_server_welcomes_answers_and_ends(folder):
    with a_server(folder) as process:
        status = json.loads(say(folder, "status", "--json").stdout)
        assert [listener["answers"] for listener in status["listeners"]] == [True, True]
        # Administration goes on beside it.
        assert say(folder, "account", "add", "romeo", "--password-file", "-", given="wherefore\n").returncode == 0
        checked = say(folder, "check")
        assert checked.returncode == 0
        assert "montague.example answers there" in checked.stdout
        # A second one on the same database is refused.
        second = twistd(folder)
        assert second.returncode == 1
        assert "Another server uses the database" in second.stdout + second.stderr
    # twistd cleans up, then ends as the signal would have ended it.
    assert process.returncode == -signal.SIGTERM
    log = (folder / "log").read_text()
    assert log.rstrip().endswith("Server Shut Down.")
    assert log.startswith("montague.example is ready.")
    assert "xmpp:montague.example?register;preauth=" in log
    assert stat.S_IMODE((folder / "microblog-data").stat().st_mode) == 0o700


def test_a_port_in_use_is_one_sentence(folder):
    with closing(socket.create_server(("127.92.0.1", 15269))):
        refused = twistd(folder)
        daemon = twistd(folder, before=("--pidfile=twistd.pid",))
    assert refused.returncode == 1
    assert "127.92.0.1:15269" in (refused.stdout + refused.stderr).splitlines()[-1]
    # A daemon is refused while there is a terminal to say it at.
    assert daemon.returncode == 1
    (line,) = daemon.stderr.splitlines()
    assert line.startswith("microblog: The port of s2s.listen 127.92.0.1:15269 is in use by another program")
    assert not (folder / "twistd.pid").exists()


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ('certificate = "absent.pem"\nkey = "absent.pem"', "absent.pem cannot be read: No such file or directory."),
        ('certificate = "microblog.toml"\nkey = "microblog.toml"', "is not PEM"),
    ],
)
def test_a_missing_certificate_is_one_sentence(folder, tls, said):
    with open(folder / "microblog.toml", "a") as file:
        file.write(f"[tls]\n{tls}\n")
    refused = twistd(folder)
    assert refused.returncode == 1
    assert said in (refused.stdout + refused.stderr).splitlines()[-1]
    assert "Traceback" not in refused.stdout + refused.stderr


@pytest.mark.slow
def test_the_demo_lets_two_nodes_follow_each_other(tmp_path):
    played = twistd(tmp_path, "demo", "--once", "--port", "24222")
    assert (played.returncode, played.stderr) == (0, "")
    events = [line.partition("  ")[2] for line in played.stdout.splitlines() if line[2:3] == ":"]
    assert [event.partition(" ")[2].partition(":")[0].partition('"')[0].strip() for event in events] == [
        "follows juliet@capulet.example",
        "follows romeo@montague.example",
        "posts",
        "hears from juliet@capulet.example",
        "posts",
        "hears from romeo@montague.example",
    ]
    assert list(tmp_path.iterdir()) == []
