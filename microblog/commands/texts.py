"""What the node says to people: all texts are in ``texts/``, one folder for each language, one file for each group.

A text is named ``group.name`` or ``group.command.name``, and has places for values in braces. A language that lacks a
text says it in English; English has them all.
"""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, Final

ENGLISH: Final = "en"


def say(language: str, text: str, **values: Any) -> str:
    """A text in a language, with its values. Raises KeyError for a text that is not there."""
    known = _texts(_known(language)).get(text)
    return (_texts(ENGLISH)[text] if known is None else known).format(**values)


def languages() -> tuple[str, ...]:
    """The languages there are texts for."""
    return tuple(sorted(folder.name for folder in _folder().iterdir() if folder.is_dir()))


def has(text: str) -> bool:
    """Is there such a text?"""
    return text in _texts(ENGLISH)


@cache
def _known(language: str) -> str:
    """The language we have that is nearest to the one that is wanted (BCP 47)."""
    base = language.partition("-")[0].casefold()
    return base if base in languages() else ENGLISH


@cache
def _texts(language: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in (_folder() / language).iterdir():
        if file.name.endswith(".toml"):
            _flatten(tomllib.loads(file.read_text("utf-8")), file.name.removesuffix(".toml"), found)
    return found


def _folder() -> Any:
    return files("microblog.commands") / "texts"


def _flatten(table: dict[str, Any], name: str, found: dict[str, str]) -> None:
    for key, value in table.items():
        if isinstance(value, dict):
            _flatten(value, f"{name}.{key}", found)
        else:
            found[f"{name}.{key}"] = value
