"""What every command needs: a guard that turns failures into sentences, output for people and scripts, passwords.

Text that came from elsewhere (remote domains, their errors) is printed as text, never as markup, and without control
characters.
"""

import getpass
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Options = Mapping[str, Any]


class Failure(Exception):
    """A command cannot do what it was asked; the text is a sentence for the administrator."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


def guarded(act: Callable[[], int]) -> int:
    """The exit status of what `act` does."""
    try:
        return act()
    except BrokenPipeError:
        # Whoever read our output has seen enough; nor must the interpreter complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        said = sentence(error)
        if said is None:
            raise
        print(f"microblog: {said}", file=sys.stderr)
        return error.status if isinstance(error, Failure) else 1


def sentence(error: BaseException) -> str | None:
    """What to tell the administrator; None for what is a bug of ours and needs its traceback."""
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
    if type(error).__module__.startswith("microblog."):
        # Our own exceptions are made with a sentence; a bare refusal has that of its class.
        text = str(error) or type(error).__doc__ or ""
        return _sentence(" ".join(text.split()))
    if isinstance(error, OSError):
        said = _sentence(str(error.strerror or error))
        return f"{error.filename}: {said}" if error.filename else said
    sqlalchemy = sys.modules.get("sqlalchemy.exc")
    if sqlalchemy is not None and isinstance(error, (sqlalchemy.OperationalError, sqlalchemy.DatabaseError)):
        return _sentence(f"The database cannot be used: {' '.join(str(error.orig).split())}")
    internet = sys.modules.get("twisted.internet.error")
    if internet is not None and isinstance(error, internet.CannotListenError):
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        return _sentence(f"Cannot listen on {error.interface}:{error.port}: {reason}")
    return None


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


# Output


def show(options: Options, value: Any, lines: Callable[[], None]) -> None:
    """The value as JSON for scripts, or what `lines` prints for people."""
    if options["json"]:
        print(json.dumps(value, ensure_ascii=False, default=_plain))
    else:
        lines()


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return str(value)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people; plain columns when nobody looks at a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console() if sys.stdout.isatty() else Console(width=200)
    drawn = Table(box=SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False)
    for head in heads:
        drawn.add_column(Text(head), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_cell(value)) for value in row))
    console.print(drawn, markup=False, highlight=False)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = _plain(value)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def program() -> str:
    """What to type for twistd: its path, when the name alone would not find it."""
    running = sys.argv[0]
    if os.path.basename(running) != "twistd" or shutil.which("twistd") == os.path.abspath(running):
        return "twistd"
    return running


# Input


def read_password(options: Options) -> str:
    """From the file named, from standard input, or asked for twice; never from the command line."""
    source = options["password-file"]
    if source == "-":
        password = sys.stdin.readline().rstrip("\r\n")
    elif source is not None:
        with open(source, encoding="utf-8") as file:
            password = file.readline().rstrip("\r\n")
    elif not sys.stdin.isatty():
        raise Failure("There is no terminal to ask for the password at: give --password-file FILE, or - for input.", 2)
    else:
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("The same again: "):
            raise Failure("The two passwords differ.")
    if not password:
        raise Failure("The password is empty.")
    return password
