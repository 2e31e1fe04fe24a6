"""docs/hostile-inputs.md: every case is there, and every test that it names."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "hostile-inputs.md").read_text()
ROWS = re.findall(r"^\| ([A-Z]\d+) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
GROUPS = (
    ("A", 1, 20),
    ("B", 21, 35),
    ("C", 36, 58),
    ("D", 59, 75),
    ("E", 76, 93),
    ("F", 94, 104),
    ("G", 105, 127),
    ("I", 150, 160),
    ("J", 161, 170),
    ("S", 1, 5),
    ("L", 1, 8),
    ("K", 171, 186),
    ("T", 1, 13),
    ("W", 1, 19),
    ("R", 1, 9),
    ("M", 1, 10),
    ("X", 1, 16),
)


@cache
def named_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_case_is_there_once_and_in_order() -> None:
    expected = [f"{group}{n}" for group, first, last in GROUPS for n in range(first, last + 1)]
    assert [case for case, *_ in ROWS] == expected


@pytest.mark.parametrize(("case", "tests"), [(row[0], row[3]) for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_tests_of_a_case_exist(case: str, tests: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
    assert named and len(named) == tests.count("`") // 2
    for file, name in named:
        assert name in named_in(file), f"{case}: {file} has no {name}"


def test_pages_that_are_named_exist() -> None:
    for file in re.findall(r"`((?:\w+/)*test_\w+\.py)`", PAGE):
        assert (ROOT / file).is_file(), file
