"""What every command prints and how failures become sentences."""

import json
from datetime import UTC, datetime

import pytest
from twisted.internet.error import CannotListenError

from microblog import terminal
from microblog.model.errors import Conflict, Refusal
from microblog.terminal import Failure, guarded, sentence


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Conflict("romeo exists already"), "Romeo exists already."),
        (Conflict(), "It exists already, or contradicts what exists."),
        (Failure("Both passwords differ."), "Both passwords differ."),
        (FileNotFoundError(2, "No such file or directory", "secret"), "secret: No such file or directory."),
        (
            CannotListenError("127.0.0.1", 5222, OSError(98, "Address already in use")),
            "Cannot listen on 127.0.0.1:5222: Address already in use.",
        ),
        (KeyboardInterrupt(), "Interrupted."),
        (ZeroDivisionError(), None),
    ],
)
def test_known_failures_have_a_sentence_and_bugs_have_none(error, said):
    assert sentence(error) == said


def test_a_refusal_is_one_line_and_status_1(capsys):
    def refuse():
        raise Refusal("not\ntoday")

    assert guarded(refuse) == 1
    assert capsys.readouterr() == ("", "microblog: Not today.\n")


def test_a_failure_may_bring_its_status(capsys):
    def fail():
        raise Failure("Say it better.", 2)

    assert guarded(fail) == 2


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


def test_text_of_others_is_neither_markup_nor_control(capsys):
    terminal.table(("Domain", "Last error"), [("south.example", "[bold]no[/bold] \x1b[31mred")])
    out = capsys.readouterr().out
    assert "[bold]no[/bold]" in out
    assert "\x1b" not in out


def test_cells_read_as_words(capsys):
    terminal.table(("A", "B", "C"), [(True, None, datetime(2026, 11, 20, 12, tzinfo=UTC))])
    assert capsys.readouterr().out.split() == ["A", "B", "C", "yes", "-", "2026-11-20T12:00:00Z"]


def test_json_is_one_line_with_instants_in_utc(capsys):
    terminal.show({"json": True}, {"since": datetime(2026, 11, 20, tzinfo=UTC)}, lambda: None)
    assert json.loads(capsys.readouterr().out) == {"since": "2026-11-20T00:00:00Z"}


@pytest.mark.parametrize("content", ["wherefore\n", "wherefore\r\nart thou\n", "wherefore"])
def test_a_password_is_the_first_line_of_its_file(tmp_path, content):
    (tmp_path / "secret").write_bytes(content.encode())
    assert terminal.read_password({"password-file": str(tmp_path / "secret")}) == "wherefore"
