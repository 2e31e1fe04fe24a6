"""docs/features.md: whatever it says is there has a test, and every test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "features.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| (yes|in part: .+?|not yet) \|(.*)\|(.*)\|$", PAGE, re.MULTILINE)
GROUPS = ["Posting", "Reading", "Following", "Conversation", "Privacy", "Federation", "Clients", "Administration"]


@cache
def named_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def test_every_group_is_there_and_every_row_is_read() -> None:
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == GROUPS
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    assert len(lines) == len(ROWS) + 2 * len(GROUPS)
    assert len({feature for feature, *_ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("there", "tests"), [(row[1], row[3]) for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_is_there_has_tests_and_they_exist(there: str, tests: str) -> None:
    named = re.findall(r"`(tests/[\w/]*test_\w+\.py)::(test_\w+)`", tests)
    assert len(named) == tests.count("`") // 2
    assert bool(named) == (there != "not yet")
    for file, name in named:
        assert name in named_in(file), f"{file} has no {name}"
