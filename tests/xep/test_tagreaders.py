"""Lines of chat beside those of whom one follows: of tags, and of threads that are watched."""

from collections.abc import Coroutine
from typing import Any

import pytest

from microblog.model.account import Account
from microblog.model.errors import ItemNotFound, NotSubscribed, Refusal, ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.uri import ItemAddress, node_uri
from microblog.runtime import Clock
from microblog.store.database import Database, Transaction
from microblog.usecases import retracting, watching
from microblog.xep.tagreaders import TagReaders
from tests.im.town import Client
from tests.xep.parlour import NODE, Parlour, lines
from tests.xep.test_chatlines import comes, follow
from tests.xep.test_follows import begin, outcome_of

ROMEO, BENVOLIO, MERCUTIO = (JID(name, NODE) for name in ("romeo", "benvolio", "mercutio"))
VERONA = "<category term='Verona'/>"


@pytest.fixture
def parlour(database: Database, clock: Clock) -> Parlour:
    parlour = Parlour(database, clock)
    tags = TagReaders(parlour.readers, database, clock, parlour.tasks)
    parlour.lines.besides = tags.besides
    parlour.following.follows.tags_changed = tags.look_again
    return parlour


@pytest.fixture
def romeo(parlour: Parlour) -> Client:
    client = comes(parlour, "romeo")
    follow(parlour, client, "benvolio")
    return client


def waits(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return outcome_of(begin(coroutine))


def account(parlour: Parlour, name: str = "romeo") -> Account:
    found = parlour.database.run(lambda tx: tx.accounts.get(name))
    assert found is not None
    return found


def linked(parlour: Parlour) -> Account:
    """Romeo gets lines at an address elsewhere."""
    romeos = account(parlour)
    capulet = JID("romeo", "capulet.example")

    def link(tx: Transaction) -> None:
        tx.linked.add(capulet, romeos.key, asked_there=False, confirmed=True)
        tx.preferences.set(romeos.key, "chat", "on")

    parlour.database.run(link)
    parlour.lines.changed(ROMEO)
    return romeos


# tags


def test_what_has_a_tag_is_a_line_once(parlour: Parlour, romeo: Client) -> None:
    waits(parlour.following.follows.follow_tag(account(parlour), "verona"))
    parlour.publishes("mercutio", "A plague", inside=VERONA)
    assert lines(romeo) == [("n1", "mercutio: A plague  #1")]
    parlour.publishes("benvolio", "Good morrow", inside=VERONA)
    assert lines(romeo) == [("n2", "benvolio: Good morrow  #2")]
    parlour.publishes("mercutio", "On both your houses")
    parlour.publishes("romeo", "Mine", inside=VERONA)
    assert lines(romeo) == []
    waits(parlour.following.follows.leave_tag(account(parlour), "verona"))
    parlour.publishes("mercutio", "Again", inside=VERONA)
    assert lines(romeo) == []


def test_only_what_one_may_read(parlour: Parlour, romeo: Client) -> None:
    waits(parlour.following.follows.follow_tag(account(parlour), "verona"))
    parlour.publishes("mercutio", "For friends", inside=VERONA, audience=Audience.FOLLOWERS)
    parlour.publishes("mercutio", "For one", inside=VERONA, audience=Audience.DIRECT, readers=(BENVOLIO,))
    assert lines(romeo) == []
    parlour.publishes("mercutio", "For us", inside=VERONA, audience=Audience.LOCAL)
    assert lines(romeo) == [("n1", "(local) mercutio: For us  #1")]


def test_an_address_elsewhere_gets_them_but_not_what_is_for_this_node(parlour: Parlour) -> None:
    romeos = linked(parlour)
    waits(parlour.following.follows.follow_tag(romeos, "verona"))
    parlour.publishes("mercutio", "For all", inside=VERONA)
    parlour.publishes("mercutio", "For us", inside=VERONA, audience=Audience.LOCAL)
    heard = [element.child_text("jabber:client", "body") for element in parlour.world.hears()]
    assert heard == ["mercutio: For all  #1"]


# threads


def root(parlour: Parlour, **more: Any) -> ItemAddress:
    item = parlour.publishes("mercutio", "A plague", **more)
    return ItemAddress(MERCUTIO, MICROBLOG, item.id)


def thread(parlour: Parlour, address: ItemAddress, reader: JID = ROMEO) -> ItemAddress:
    return parlour.database.run(watching.thread_of, reader, address)


def replies(parlour: Parlour, name: str, text: str, address: ItemAddress, **more: Any) -> None:
    """In their own feed and in the comments, as an answer is."""
    comments = node_uri(address.service, COMMENTS_PREFIX + (address.item_id or ""))
    inside = (
        f"<link rel='replies' href='{comments}'/>"
        f"<in-reply-to xmlns='http://purl.org/syndication/thread/1.0' ref='{address.uri}'/>"
    ).replace("&", "&amp;")
    item = parlour.publishes(name, text, inside=inside, **more)
    parlour.publishes(
        name,
        text,
        inside=inside,
        item_id=item.id,
        node=COMMENTS_PREFIX + (address.item_id or ""),
        service=address.service,
        **more,
    )


def test_replies_of_a_thread_that_is_watched_are_lines_once(parlour: Parlour, romeo: Client) -> None:
    begun, other = root(parlour), root(parlour)
    follows = parlour.following.follows
    waits(follows.watch(ROMEO, thread(parlour, begun)))
    waits(follows.watch(ROMEO, thread(parlour, begun)))
    romeo.hears()
    assert parlour.database.run(watching.watched, ROMEO) == (begun,)
    replies(parlour, "mercutio", "Indeed", begun)
    replies(parlour, "benvolio", "Hush", begun)
    replies(parlour, "mercutio", "Elsewhere", other)
    found = [text for _, text in lines(romeo)]
    assert [text and text.partition(": ")[2] for text in found] == ["Indeed  #1", "Hush  #2"]
    waits(follows.unwatch(ROMEO, thread(parlour, begun)))
    replies(parlour, "mercutio", "No more", begun)
    assert lines(romeo) == []
    with pytest.raises(NotSubscribed):
        waits(follows.unwatch(ROMEO, thread(parlour, begun)))


def test_a_reply_of_the_thread_names_it_as_well(parlour: Parlour, romeo: Client) -> None:
    begun = root(parlour)
    replies(parlour, "benvolio", "Hush", begun)
    node = parlour.database.run(lambda tx: tx.nodes.find(BENVOLIO, MICROBLOG))
    assert node is not None
    (item,) = parlour.database.run(lambda tx: tx.items.newest(node.key, 1))
    expected = ItemAddress(MERCUTIO, f"{COMMENTS_PREFIX}{begun.item_id}")
    assert thread(parlour, ItemAddress(BENVOLIO, MICROBLOG, item.id)) == expected
    assert thread(parlour, ItemAddress(MERCUTIO, expected.node, item.id)) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "xmpp:romeo@montague.example?;node=secret",
        "xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0",
        "xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0%3Acomments%2F",
        "xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0%3Acomments%2F0",
        "xmpp:montague.example",
        "xmpp:",
        "http://montague.example/",
    ],
)
def test_a_thread_that_is_none_is_that_of_the_post_itself(parlour: Parlour, uri: str) -> None:
    begun = root(parlour, inside=f"<link rel='replies' href='{uri}'/>")
    assert thread(parlour, begun) == ItemAddress(MERCUTIO, f"{COMMENTS_PREFIX}{begun.item_id}")


def test_what_is_no_post_belongs_to_no_thread(parlour: Parlour) -> None:
    for address in (
        ItemAddress(JID.parse("juliet@capulet.example"), MICROBLOG, "0"),
        ItemAddress(JID.parse("juliet@capulet.example"), "urn:something", None),
    ):
        with pytest.raises(ItemNotFound):
            thread(parlour, address)


def test_what_one_may_not_read_cannot_be_watched_and_is_told_no_more(parlour: Parlour, romeo: Client) -> None:
    hidden = root(parlour, audience=Audience.FOLLOWERS)
    with pytest.raises(ItemNotFound):
        thread(parlour, hidden)
    with pytest.raises(ItemNotFound):
        thread(parlour, ItemAddress(MERCUTIO, MICROBLOG, "nothing"))
    comments = ItemAddress(MERCUTIO, f"{COMMENTS_PREFIX}{hidden.item_id}")
    with pytest.raises(Refusal):
        waits(parlour.following.follows.watch(ROMEO, comments))
    assert parlour.database.run(watching.watched, ROMEO) == ()


def test_others_do_not_see_what_one_watches(parlour: Parlour, romeo: Client) -> None:
    begun = root(parlour)
    key = account(parlour).key
    parlour.database.run(lambda tx: tx.preferences.set(key, "public-lists", "on"))
    waits(parlour.following.follows.watch(ROMEO, thread(parlour, begun)))
    public = parlour.database.run(lambda tx: tx.subscriptions.public_follows(ROMEO, 100))
    assert [follow.node.name for follow in public if follow.node.name != MICROBLOG] == []


def test_there_are_only_so_many(parlour: Parlour, romeo: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "WATCHED_MAX", 2)
    follows = parlour.following.follows
    roots = [root(parlour) for _ in range(3)]
    for begun in roots[:2]:
        waits(follows.watch(ROMEO, thread(parlour, begun)))
    with pytest.raises(ResourceConstraint):
        waits(follows.watch(ROMEO, thread(parlour, roots[2])))
    waits(follows.watch(ROMEO, thread(parlour, roots[0])))


def test_it_ends_with_the_post(parlour: Parlour, romeo: Client) -> None:
    begun = root(parlour)
    waits(parlour.following.follows.watch(ROMEO, thread(parlour, begun)))
    romeo.hears()
    gone = retracting.Retract(service=MERCUTIO, node=MICROBLOG, actor=MERCUTIO, item_id=begun.item_id or "")
    parlour.database.run(retracting.retract, gone)
    assert parlour.database.run(watching.watched, ROMEO) == ()
    with pytest.raises(ItemNotFound):
        thread(parlour, begun)


def test_a_thread_is_watched_from_an_address_elsewhere(parlour: Parlour) -> None:
    linked(parlour)
    begun = root(parlour)
    waits(parlour.following.follows.watch(ROMEO, thread(parlour, begun)))
    replies(parlour, "benvolio", "Hush", begun)
    (line,) = parlour.world.hears()
    assert (line.child_text("jabber:client", "body") or "").endswith("Hush  #1")
    assert line.get("to") == "romeo@capulet.example"
