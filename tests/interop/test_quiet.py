"""What is muted and blocked outlives the death of the server."""

from collections.abc import Callable

import pytest

from tests.interop.client import CLIENT, STANZAS
from tests.interop.servers import MicroblogNode
from tests.interop.test_chat import BODY, says

pytestmark = pytest.mark.interop


def test_kill_9_forgets_no_mute_and_no_block(microblog_node: Callable[..., MicroblogNode]) -> None:
    node = microblog_node("quiet.example")
    for name in ("romeo", "juliet", "paris"):
        node.account(name)
    romeo = node.login("romeo")
    says(romeo, "follow juliet")
    assert says(romeo, "mute county").startswith("Muted")
    assert says(romeo, "mute lark for 2h").startswith("Muted until")
    assert says(romeo, "block paris").startswith("paris is blocked")
    node.kill9()
    node.start()
    romeo, juliet, paris = (node.login(name) for name in ("romeo", "juliet", "paris"))
    paris.send(f"<message type='chat' id='m' to='romeo@{node.domain}'><body>Stop thy unhallowed toil</body></message>")
    error = paris.wait(lambda stanza: stanza.get("id") == "m").find(f"{CLIENT}error")
    assert error is not None and error.find(f"{STANZAS}service-unavailable") is not None
    for text in ("the county Paris", "it was the lark", "it is the nightingale"):
        says(juliet, text)
    shown = romeo.wait(lambda stanza: "juliet: " in (stanza.findtext(BODY) or ""))
    assert (shown.findtext(BODY) or "").startswith("juliet: it is the nightingale")
    assert '"county"' in says(romeo, "mutes") and "paris" in says(romeo, "blocks")
    home = says(romeo, "home")
    assert "nightingale" in home and "county" not in home and "lark" not in home
