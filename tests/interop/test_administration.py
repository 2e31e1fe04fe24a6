"""What an administrator does on the command line while the node runs: it comes true without a restart."""

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from tests.interop.client import CLIENT, STREAMS, Client, Refused
from tests.interop.microblogging import EVENT, MICROBLOG, await_post, follow, publish
from tests.interop.servers import MicroblogNode

ERRORS = "{urn:ietf:params:xml:ns:xmpp-streams}"
DOMAINS = ("montague-office.zz", "capulet-office.zz")


@pytest.fixture(scope="module")
def nodes(microblog_node: Callable[..., MicroblogNode]) -> tuple[MicroblogNode, MicroblogNode]:
    """The one that is administered, and another."""
    one, other = DOMAINS
    montague, capulet = microblog_node(one, peers=[other]), microblog_node(other, peers=[one])
    capulet.account("juliet")
    return montague, capulet


def administer(node: MicroblogNode, *arguments: str, input: str = "") -> None:
    done = node.administer(*arguments, input=input)
    assert done.returncode == 0, done.stdout + done.stderr


def ended(client: Client) -> str:
    """Wait for the end of the stream; the condition it ended with."""
    error = client.wait(lambda stanza: stanza.tag == f"{STREAMS}error", what="the end of the stream")
    return next(child.tag for child in error if child.tag != f"{ERRORS}text").removeprefix(ERRORS)


def is_presence(kind: str, from_: str) -> Callable[[ET.Element], bool]:
    return lambda s: (
        s.tag == f"{CLIENT}presence" and s.get("type") == kind and s.get("from", "").partition("/")[0] == from_
    )


def is_deletion(author: str) -> Callable[[ET.Element], bool]:
    deletion = f"{EVENT}event/{EVENT}delete[@node='{MICROBLOG}']"
    return lambda s: s.get("from") == author and s.find(deletion) is not None


def is_push(contact: str, subscription: str) -> Callable[[ET.Element], bool]:
    item = f"{{jabber:iq:roster}}query/{{jabber:iq:roster}}item[@jid='{contact}'][@subscription='{subscription}']"
    return lambda s: s.get("type") == "set" and s.find(item) is not None


def test_a_new_account_logs_in_at_once(nodes: tuple[MicroblogNode, MicroblogNode]) -> None:
    node, _ = nodes
    with pytest.raises(Refused):
        node.login("rosaline")
    rosaline = node.login(node.account("rosaline").partition("@")[0])
    publish(rosaline, "one", "at once")
    rosaline.close()


def test_a_new_password_ends_streams_that_logged_in_with_the_old_one(
    nodes: tuple[MicroblogNode, MicroblogNode],
) -> None:
    node, _ = nodes
    for name in ("mercutio", "tybalt"):
        node.account(name)
    mercutio, tybalt = node.login("mercutio"), node.login("tybalt")
    idle = node.login("mercutio", resource="cell", presence=False)
    administer(node, "account", "passwd", "mercutio", "--password-file", "-", input="plague")
    later = node.login("mercutio", "plague", resource="street")
    for client in (mercutio, idle):
        assert ended(client) == "not-authorized"
    with pytest.raises(Refused) as refused:
        node.login("mercutio")
    assert refused.value.condition == "not-authorized"
    for client in (later, tybalt):
        client.ping()
        client.close()


def test_a_removed_account_leaves_while_the_node_runs(nodes: tuple[MicroblogNode, MicroblogNode]) -> None:
    """Its streams end; contacts and followers, here and elsewhere, hear that it is gone."""
    montague, capulet = nodes
    author = montague.account("romeo")
    montague.account("benvolio")
    romeo, benvolio, juliet = montague.login("romeo"), montague.login("benvolio"), capulet.login("juliet")
    for reader in (benvolio, juliet):
        romeo.befriend(reader.bare, reader)
        follow(reader, author)
    publish(romeo, "one", "Adieu")
    for reader in (benvolio, juliet):
        await_post(reader, author, "one")

    administer(montague, "account", "remove", "romeo")
    assert ended(romeo) == "not-authorized"
    for reader in (benvolio, juliet):
        reader.wait(is_presence("unavailable", author), what="that he left")
        reader.wait(is_presence("unsubscribed", author), what="that he is not to be seen")
        reader.wait(is_presence("unsubscribe", author), what="that he does not look")
        reader.wait(is_push(author, "none"), what="the roster's change")
        reader.wait(is_deletion(author), what="the end of the feed")
    with pytest.raises(Refused):
        montague.login("romeo")
    benvolio.close()
    juliet.close()


def test_an_account_removed_while_its_owner_is_away(nodes: tuple[MicroblogNode, MicroblogNode]) -> None:
    """Nothing of it is in the server's memory but what it owes to others."""
    montague, capulet = nodes
    author = montague.account("paris")
    paris, juliet = montague.login("paris"), capulet.login("juliet", resource="tomb")
    follow(juliet, author)
    publish(paris, "one", "Farewell")
    await_post(juliet, author, "one")
    paris.close()
    administer(montague, "account", "remove", "paris")
    juliet.wait(is_deletion(author), what="the end of the feed")
    juliet.close()
