"""What is written about the house is true of it."""

import configparser
import re
from pathlib import Path

import pytest

from microblog import plugin

TREE = Path(__file__).parent.parent
PAGES = [TREE / "README.md", *sorted((TREE / "docs").rglob("*.md"))]
SETUP = configparser.ConfigParser(interpolation=None)
SETUP.read(TREE / "setup.cfg")


def test_every_package_is_in_the_wheel():
    listed = set(SETUP["options"]["packages"].split())
    found = {".".join(file.parent.relative_to(TREE).parts) for file in (TREE / "microblog").rglob("__init__.py")}
    assert listed == found | {
        "microblog.etc",
        "microblog.migrations",
        "microblog.migrations.versions",
        "twisted.plugins",
    }


def test_twisted_keeps_its_own_plugin_package():
    assert not list((TREE / "twistd-plugins").rglob("__init__.py"))


def test_package_modules_have_nothing_but_a_docstring():
    for file in (TREE / "microblog").rglob("__init__.py"):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("__version__")]
        assert lines[0].startswith('"""'), file
        assert lines[-1].endswith('"""'), file


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_are_named_exist(page):
    packages = "im|model|store|usecases|wire|xep|xmpp"
    for name in re.findall(rf"`(?:microblog/)?((?:{packages})/\w+)", page.read_text()):
        assert (TREE / "microblog" / f"{name}.py").is_file(), name


def test_the_readme_names_every_command():
    table = (TREE / "README.md").read_text().partition("## Administer it")[2]
    for name, *_ in plugin.Options.subCommands:
        assert f"| `{name}" in table, name


def test_the_readme_names_no_command_that_is_not_there():
    names = {name for name, *_ in plugin.Options.subCommands}
    text = (TREE / "README.md").read_text()
    said = re.findall(r"twistd microblog (?!--)([a-z]+)", text) + re.findall(r"^\| `([a-z]+)", text, re.MULTILINE)
    assert said
    assert set(said) <= names
