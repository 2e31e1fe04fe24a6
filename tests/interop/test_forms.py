"""Forms and profiles with a client that others wrote."""

from collections.abc import Callable

import pytest

from tests.interop import real_clients
from tests.interop.servers import MicroblogNode

pytestmark = pytest.mark.interop

DOMAIN = "mantua.example"
STEPS = ["login", "list", "fill", "administer", "vcard", "picture", "convert", "vcard4", "logout"]


def test_slixmpp_fills_in_forms_and_shows_who_one_is(microblog_node: Callable[..., MicroblogNode]) -> None:
    node = microblog_node(DOMAIN)
    node.administer("account", "add", "escalus", "--admin", "--password-file", "-", input="secret")
    node.account("romeo")
    assert real_clients.slixmpp_forms(node, f"escalus@{DOMAIN}", f"romeo@{DOMAIN}") == STEPS
