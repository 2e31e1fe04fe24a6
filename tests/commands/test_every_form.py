"""Every command of the node is a form that says what it wants."""

from pathlib import Path

import pytest
from twisted.internet import task

from microblog.app import Node
from microblog.commands.command import Command, Kind
from microblog.commands.forms import Dialogue, label, summary
from microblog.config import Config, NodeSection
from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.wire import ns
from microblog.xep.commands import Commands
from microblog.xmpp.tls import Certificates
from tests.conftest import DOMAIN, Time


@pytest.fixture
def commands(database: Database, time: Time, tmp_path: Path) -> dict[str, Command]:
    """Of a node that is put together as when it serves."""
    node = Node(Config(node=NodeSection(domain=DOMAIN)), task.Clock())
    node.database = database
    node.certificates = Certificates(DOMAIN, None, None, None, tmp_path)
    node.compose()
    (extension,) = [extension for extension in node.extensions if isinstance(extension, Commands)]
    return extension.commands


def test_they_are_all_there(commands: dict[str, Command]) -> None:
    words = {
        "post",
        "local",
        "reply",
        "d",
        "fav",
        "repost",
        "edit",
        "delete",
        "follow",
        "leave",
        "allow",
        "home",
        "get",
    }
    assert words | {"thread", "whois", "nick", "link", "set", "invite", "help", "where"} <= set(commands)
    assert f"{ns.ADMIN}#add-user" in commands and not any(name.startswith("admin") for name in commands)


def test_every_command_has_a_name_and_its_fields_have_labels(commands: dict[str, Command]) -> None:
    for name, command in commands.items():
        assert summary(command, "en") != command.name, name
        for parameter in command.parameters:
            assert label(command, parameter.name, "en"), f"{name} {parameter.name}"


def test_every_step_of_every_command_is_a_form(commands: dict[str, Command]) -> None:
    people = (JID("juliet", "capulet.example"),)
    for name, command in commands.items():
        for known in ((), people):
            asking = Dialogue(command, ns.COMMAND_FORM, "en", known, DOMAIN)
            fields = [field for step in asking.steps for field in step.parameters]
            assert fields == list(command.parameters) or known, name
            if not asking.is_over:
                form = asking.form()
                assert form.child_text(ns.DATA, "title"), name
        if command.destructive:
            assert asking.steps[-1].kind == "confirm"


def test_what_is_secret_is_not_shown(commands: dict[str, Command]) -> None:
    secrets = [parameter for command in commands.values() for parameter in command.parameters if parameter.secret]
    assert {parameter.name for parameter in secrets} >= {"password", "code"}
    assert all(set(parameter.kinds) <= {Kind.TEXT, Kind.WORD} for parameter in secrets)
