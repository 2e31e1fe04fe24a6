"""Entries that are wrong, or mean harm, as they are published and as they come from elsewhere."""

import itertools

import pytest

from microblog.model.item import PageRequest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress, item_uri
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import reading
from microblog.usecases.reading import Reading, TimelinePage
from microblog.wire import atom, ns
from microblog.wire.xml import Element, to_text
from tests.im.town import Client
from tests.xep.square import FEED, Square, address, asks, error, result
from tests.xmltext import read

ROMEO = address("romeo")
JULIET = "juliet@capulet.example"
HTML = f"<div xmlns='{ns.XHTML}'>"


@pytest.fixture
def square(database: Database, clock: Clock) -> Square:
    square = Square(database, clock)
    square.settle("romeo", "benvolio")
    return square


@pytest.fixture
def romeo(square: Square) -> Client:
    return square.online("romeo", "orchard")


def publishes(client: Client, item_id: str, content: str) -> Element:
    entry = f"<entry xmlns='{ns.ATOM}'>{content}</entry>"
    return asks(client, "set", f"<publish node='{FEED}'><item id='{item_id}'>{entry}</item></publish>")


def stored(square: Square, item_id: str, service: JID = ROMEO) -> Element:
    def payload(tx: Transaction) -> str:
        node = tx.nodes.find(service, FEED)
        item = None if node is None else tx.items.get(node.key, item_id)
        assert item is not None
        return item.payload

    return read(square.database.run(payload))


def home(square: Square) -> TimelinePage:
    return square.database.run(lambda tx: reading.home(tx, Reading(actor=ROMEO, page=PageRequest())))


def comes(square: Square, item_id: str, content: str) -> None:
    """Romeo follows Juliet, and this is what her server sends."""
    square.inject(
        f"<message from='{JULIET}' to='{ROMEO}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'><items node='{FEED}'>"
        f"<item id='{item_id}' publisher='{JULIET}'><entry xmlns='{ns.ATOM}'>{content}</entry></item></items></event>"
        "</message>"
    )


def follow(square: Square, client: Client) -> None:
    client.sends(
        f"<iq type='set' id='f' to='{JULIET}'><pubsub xmlns='{ns.PUBSUB}'>"
        f"<subscribe node='{FEED}' jid='{ROMEO}'/></pubsub></iq>"
    )
    (request,) = square.world_hears()
    square.inject(f"<iq type='result' id='{request.get('id')}' from='{JULIET}' to='{request.get('from')}'/>")
    client.hears()


# I150


@pytest.mark.parametrize("content", ["", "<id/><title/>", "<updated>soon</updated>", "<title type='text'/>"])
def test_i150_what_an_entry_lacks_it_lacks_each_time_alike(square: Square, romeo: Client, content: str) -> None:
    for _ in range(2):
        result(publishes(romeo, "1", content))
    (post,) = home(square).posts
    assert (post.item.id, post.item.published) == ("1", post.item.updated)
    # What its client did not say is not said for it, but for the links.
    said = [child for child in stored(square, "1").elements() if child.name != "link"]
    assert said == read(f"<entry xmlns='{ns.ATOM}'>{content}</entry>").children


# I151


@pytest.mark.parametrize(
    "stamp",
    [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-10:00",
        "2026-01-01T00:00:00+99:99",
        "2016-12-31T23:59:60Z",
        "1969-12-31T23:59:59Z",
        "yesterday",
        "٢٠٢٦-01-01T00:00:00Z",
    ],
)
def test_i151_impossible_times_are_ours(square: Square, romeo: Client, stamp: str) -> None:
    result(publishes(romeo, "1", "<title>first</title>"))
    result(publishes(romeo, "2", f"<title>a</title><published>{stamp}</published><updated>{stamp}</updated>"))
    result(publishes(romeo, "3", "<title>last</title>"))
    assert [one.item.id for one in home(square).posts] == ["3", "2", "1"]


def test_i151_ten_digits_of_a_second(square: Square, romeo: Client) -> None:
    result(publishes(romeo, "1", "<title>a</title><updated>2025-01-01T00:00:00.1234567891Z</updated>"))
    (post,) = home(square).posts
    assert post.item.updated.microsecond == 123456


def test_i151_the_far_future_is_refused_here_and_is_now_from_elsewhere(square: Square, romeo: Client) -> None:
    content = "<title>a</title><published>2999-01-01T00:00:00Z</published>"
    assert error(publishes(romeo, "1", content))[0] == "not-acceptable"
    follow(square, romeo)
    comes(square, "2", content)
    assert all(one.item.stands is not None and one.item.stands.year < 2999 for one in home(square).posts)


# I152


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("<content>a</content><content type='xhtml'>" + HTML + "<p>b</p></div></content>", ["text", "xhtml"]),
        ("<content type='html'>&lt;p&gt;b&lt;/p&gt;</content>", ["xhtml"]),
        ("<content type='image/svg+xml'><svg xmlns='http://www.w3.org/2000/svg'/></content>", []),
        ("<content type='application/octet-stream'>YQ==</content>", []),
        ("<content type='text/html' src='http://evil.example/'/><content>a</content>", ["text"]),
        ("<content src='http://evil.example/'/>", []),
        ("<content>a<script xmlns='http://www.w3.org/1999/xhtml'>b</script></content>", ["text"]),
    ],
)
def test_i152_only_text_and_xhtml_are_kept(square: Square, romeo: Client, content: str, kept: list[str]) -> None:
    result(publishes(romeo, "1", f"<title>a</title>{content}"))
    found = [child for child in stored(square, "1").elements() if child.name == "content"]
    assert [child.get("type") or "text" for child in found] == kept
    for child in found:
        assert "src" not in child.attributes
        assert all(one.uri == ns.XHTML and one.name != "script" for one in child.elements())


# I153


ACTING = (
    f"<title type='html'>&lt;script&gt;alert(1)&lt;/script&gt;t</title><content type='xhtml'>{HTML}"
    "<p onclick='alert(1)' style='background:url(javascript:alert(1))'>p</p><script>alert(1)</script>"
    "<a href='javascript:alert(1)'>a</a><iframe src='http://evil.example/'/></div></content>"
    "<link rel='alternate' href='javascript:alert(1)'/><link rel='enclosure' href='data:text/html,alert(1)'/>"
    f"<script xmlns='{ns.XHTML}'>alert(1)</script><svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    f"<source><title type='xhtml'>{HTML}<b onclick='alert(1)'>s</b></div></title><id>i</id></source>"
)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_i153_nothing_that_acts_is_stored(square: Square, romeo: Client, elsewhere: bool) -> None:
    if elsewhere:
        follow(square, romeo)
        comes(square, "1", ACTING)
        payload = stored(square, "1", JID.parse(JULIET))
    else:
        result(publishes(romeo, "1", ACTING))
        payload = stored(square, "1")
    text = to_text(payload)
    for bad in ("alert", "script", "onclick", "style", "iframe", "svg"):
        assert bad not in text
    entry = atom.read_entry(payload)
    assert entry is not None
    assert (entry.title, entry.content, entry.enclosures) == ("t", "p\na", ())


def test_i153_what_comes_is_not_told_as_it_came(square: Square, romeo: Client) -> None:
    """Our own clients see it only after it was made harmless."""
    result(publishes(romeo, "1", ACTING))
    answer = result(asks(romeo, "get", f"<items node='{FEED}'/>"))
    assert answer is not None
    assert "alert" not in to_text(answer)


# I156


def test_i156_of_very_many_the_first_twenty(square: Square, romeo: Client) -> None:
    names = "".join(
        f"<link rel='mentioned' href='xmpp:n{n}@montague.example'/><category term='t{n}'/>" for n in range(400)
    )
    result(publishes(romeo, "1", f"<title>a</title>{names}"))
    entry = atom.read_entry(stored(square, "1"))
    assert entry is not None
    assert entry.tags == tuple(f"t{n}" for n in range(20))
    assert entry.mentions == tuple(address(f"n{n}") for n in range(20))


# I158


def in_reply_to(service: JID, item_id: str) -> str:
    uri = item_uri(service, MICROBLOG, item_id).replace("&", "&amp;")
    return f"<in-reply-to xmlns='{ns.THREADING}' ref='{item_id}' href='{uri}'/>"


@pytest.mark.parametrize(
    "answers",
    [{"1": "1"}, {"1": "2", "2": "1"}, {"1": "never"}, {"1": "2", "2": "3", "3": "1"}, {"1": "0"}],
    ids=["itself", "each other", "nothing", "in a circle", "the feed"],
)
def test_i158_answers_that_go_round(square: Square, romeo: Client, answers: dict[str, str]) -> None:
    for item_id, answered in answers.items():
        result(publishes(romeo, item_id, f"<title>{item_id}</title>{in_reply_to(ROMEO, answered)}"))
    assert {one.item.id for one in home(square).posts} == answers.keys()
    for item_id in answers:
        where = ItemAddress(ROMEO, MICROBLOG, item_id)
        page = square.database.run(
            lambda tx, where=where: reading.thread(tx, reading.Thread(address=where, actor=ROMEO))
        )
        found = [one.item.id for one in page.posts]
        assert item_id in found
        assert len(found) == len(set(found))


# I160


@pytest.mark.parametrize(
    ("href", "kept"),
    [
        ("http://127.0.0.1:22/", True),
        ("http://localhost/a.png", True),
        ("http://[::1]/", True),
        ("file:///etc/passwd", False),
        ("gopher://127.0.0.1:25/x", False),
        ("https://x.example/" + "a" * 9_000, False),
    ],
)
def test_i160_enclosures_are_links_and_are_not_fetched(square: Square, romeo: Client, href: str, kept: bool) -> None:
    result(publishes(romeo, "1", f"<title>a</title><link rel='enclosure' type='image/png' href='{href}'/>"))
    entry = atom.read_entry(stored(square, "1"))
    assert entry is not None
    assert [link.href for link in entry.enclosures] == ([href] if kept else [])
    # Nobody was asked for anything.
    assert list(itertools.chain(square.world_hears(), square.world.attempts)) == []
