"""A node on PostgreSQL: one line of configuration, and the same promises."""

from collections.abc import Callable

import pytest

from tests.interop.microblogging import await_post, follow, items, publish
from tests.interop.servers import MicroblogNode

pytestmark = pytest.mark.interop


def test_a_confirmed_post_survives_the_server(
    microblog_node: Callable[..., MicroblogNode], postgresql_server: str
) -> None:
    node = microblog_node("verona.zz", settings={"database": {"url": postgresql_server}})
    author = node.account("romeo")
    node.account("juliet")
    romeo, juliet = node.login("romeo"), node.login("juliet")
    follow(juliet, author)
    publish(romeo, "one", "But, soft!")
    assert await_post(juliet, author, "one") == "But, soft!"
    publish(romeo, "two", "what light through yonder window breaks?")
    node.kill9()
    node.start()
    juliet = node.login("juliet")
    assert [item.get("id") for item in items(juliet, author)] == ["one", "two"]
    romeo = node.login("romeo")
    publish(romeo, "three", "It is the east")
    assert await_post(juliet, author, "three") == "It is the east"
    node.stop()  # its database goes with the test
