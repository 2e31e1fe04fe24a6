"""Real clients at our node: what people will log in with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop import real_clients
from tests.interop.real_clients import STEPS
from tests.interop.servers import MicroblogNode

pytestmark = pytest.mark.interop

DOMAIN = "verona.example"


@pytest.fixture(scope="module")
def verona(microblog_node: Callable[..., MicroblogNode]) -> MicroblogNode:
    node = microblog_node(DOMAIN)
    for name in ("romeo", "juliet"):
        node.account(name)
    return node


def test_slixmpp(verona: MicroblogNode) -> None:
    assert real_clients.slixmpp_story(verona, f"romeo@{DOMAIN}", f"juliet@{DOMAIN}") == STEPS


def test_slixmpp_blocks(verona: MicroblogNode) -> None:
    steps = ["login", "list", "block", "silence", "unblock", "logout"]
    assert real_clients.slixmpp_blocking(verona, f"romeo@{DOMAIN}", f"juliet@{DOMAIN}") == steps


def test_aioxmpp(verona: MicroblogNode) -> None:
    if missing := real_clients.aioxmpp_missing():
        pytest.skip(missing)
    assert real_clients.aioxmpp_story(verona, f"romeo@{DOMAIN}", f"juliet@{DOMAIN}") == STEPS


def test_profanity_chats(verona: MicroblogNode, tmp_path: Path) -> None:
    if missing := real_clients.profanity_missing():
        pytest.skip(missing)
    juliet = verona.login("juliet")
    with real_clients.profanity(tmp_path, verona, "romeo") as terminal:
        terminal.wait("logged in")
        terminal.type(f"/msg juliet@{DOMAIN} But soft!")
        assert juliet.message("But soft!").get("from") == f"romeo@{DOMAIN}/profanity"
        juliet.send(f"<message type='chat' to='romeo@{DOMAIN}'><body>Ay me there</body></message>")
        terminal.wait("Ay me there")
    juliet.close()
