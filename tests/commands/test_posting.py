"""Words for posts: what is published, what the author is told, and where it would go."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.commands.command import Answer, Call, Person, Table
from microblog.commands.posting import Posting, PostingWords
from microblog.commands.texts import has
from microblog.model.border import Border
from microblog.model.draft import Draft, Reference
from microblog.model.entry import Entry
from microblog.model.errors import BadRequest, Forbidden, ItemNotFound, NotAllowed, PayloadTooBig, ResourceConstraint
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.uri import ItemAddress
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import delivering, publishing
from microblog.wire import atom
from microblog.xep.microblog import prepare
from tests.conftest import Time
from tests.usecases.pubsub import BENVOLIO, JULIET, PARIS, PHONE, ROMEO, an_account, an_entry, post, subscribe

CAPULET = "capulet.example"


class Chat:
    """Romeo says words."""

    def __init__(self, database: Database, time: Time, who: JID = ROMEO) -> None:
        self.database, self.time = database, time
        self.refused = False
        prepared = partial(prepare, characters_max=100, border=Border(words=("project balcony",)))
        posting = Posting(database, time.now, prepared, self._may_post)
        self.posting = posting
        self.table = Table([PostingWords(database, posting)])
        account = database.run(lambda tx: tx.accounts.get(who.localpart))
        assert account is not None
        self.person = Person(account=account, jid=who, address=who.with_resource(PHONE))

    def _may_post(self, account: JID) -> None:
        if self.refused:
            raise ResourceConstraint("wait")

    async def say(self, word: str, *, enclosures: tuple[str, ...] = (), **arguments: Any) -> Answer:
        command = self.table.find(word)
        assert command is not None
        return await command.function(Call(person=self.person, arguments=arguments, enclosures=enclosures))

    def posts(self) -> list[tuple[Item, Entry]]:
        """Romeo's feed, oldest first."""
        node = self.database.run(lambda tx: tx.nodes.find(ROMEO, MICROBLOG))
        assert node is not None
        items = self.database.run(lambda tx: tx.items.newest(node.key, 99))
        found = []
        for item in items:
            entry = atom.read_text(item.payload)
            assert entry is not None
            found.append((item, entry))
        return found

    def newest(self) -> ItemAddress:
        return ItemAddress(ROMEO, MICROBLOG, self.posts()[-1][0].id)


@pytest.fixture
def chat(database: Database, time: Time) -> Chat:
    def people(tx: Any) -> None:
        an_account(tx)
        an_account(tx, BENVOLIO)
        for follower in (JULIET, BENVOLIO):
            subscribe(tx, follower)

    database.run(people)
    return Chat(database, time)


def run(awaitable: Any) -> Any:
    """The result of a coroutine that waits for nothing: the database runs inline."""
    results: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(awaitable).addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    return results[0]


def test_a_post_has_markup_tags_and_mentions(chat: Chat) -> None:
    answer = run(chat.say("post", text="*Soft*, what light? #balcony @benvolio"))
    [(item, entry)] = chat.posts()
    assert item.audience is Audience.PUBLIC and item.stands == chat.time.now()
    assert entry.text == "*Soft*, what light? #balcony @benvolio"
    assert entry.tags == ("balcony",) and entry.mentions == (BENVOLIO,)
    assert entry.thread.startswith("xmpp:romeo@montague.example?;node=urn%3Axmpp%3Amicroblog%3A0%3Acomments%2F")
    assert answer.text == "#1 sent to 2 people, 1 domain."
    assert answer.done == chat.newest()


@pytest.mark.parametrize(
    ("word", "audience", "said"),
    [
        ("local", Audience.LOCAL, "#1 sent to 1 person here; it does not leave this node."),
        ("l:", Audience.LOCAL, "#1 sent to 1 person here; it does not leave this node."),
        ("friends", Audience.FOLLOWERS, "#1 sent to 2 people, 1 domain."),
        ("public", Audience.PUBLIC, "#1 sent to 2 people, 1 domain."),
    ],
)
def test_a_word_says_for_whom(chat: Chat, word: str, audience: Audience, said: str) -> None:
    assert run(chat.say(word, text="Soft!")).text == said
    [(item, _)] = chat.posts()
    assert item.audience is audience
    assert ("audience" in item.payload) == (audience is not Audience.PUBLIC)


def test_what_the_border_keeps_in_is_said(chat: Chat) -> None:
    answer = run(chat.say("public", text="Project  Balcony begins tonight"))
    assert chat.posts()[0][0].audience is Audience.LOCAL
    assert answer.text.endswith("It is for this node only: it cannot go further.")


def test_a_content_warning(chat: Chat) -> None:
    run(chat.say("cw", topic="last act", text="They both die."))
    assert chat.posts()[0][1].warning == "last act"


def test_files_come_with_it(chat: Chat) -> None:
    run(chat.say("post", text="https://files.example/moon.jpg", enclosures=("https://files.example/moon.jpg",)))
    run(chat.say("post", text="Look!", enclosures=("https://files.example/moon.jpg",)))
    assert [[link.href for link in entry.enclosures] for _, entry in chat.posts()] == [
        ["https://files.example/moon.jpg"]
    ] * 2


def test_what_is_refused_is_not_posted(chat: Chat) -> None:
    with pytest.raises(BadRequest):
        run(chat.say("post", text=" \n"))
    with pytest.raises(PayloadTooBig):
        run(chat.say("post", text="a" * 101))
    chat.refused = True
    with pytest.raises(ResourceConstraint):
        run(chat.say("post", text="hello"))
    assert chat.posts() == []


def test_somebody_elsewhere_who_is_named_is_told(chat: Chat) -> None:
    answer = run(chat.say("post", text="Good day, @paris@verona.example & all"))
    assert answer.text == "#1 sent to 3 people, 2 domains."
    [delivery] = chat.database.run(lambda tx: delivering.next_batch(tx, "verona.example", False)).deliveries
    assert delivery.stanza is not None
    uri = chat.newest().uri
    assert f"<body>Good day, @paris@verona.example &amp; all\n{uri}</body>" in delivery.stanza
    assert "type='chat'" in delivery.stanza and "from='romeo@montague.example'" in delivery.stanza
    assert f"uri='xmpp:{PARIS}' begin='10' end='31'" in delivery.stanza


def test_nobody_is_told_of_a_local_post(chat: Chat) -> None:
    run(chat.say("local", text="Good day, @paris@verona.example"))
    run(chat.say("friends", text="Good day, @paris@verona.example"))
    assert chat.database.run(lambda tx: tx.outbox.count("verona.example")) == 0


# changing and taking back


def test_an_edit_changes_the_words_and_nothing_else(chat: Chat) -> None:
    run(chat.say("friends", text="Sofd"))
    first, entry = chat.posts()[0]
    chat.time.advance(60)
    answer = run(chat.say("edit", item=chat.newest(), text="Soft"))
    [(second, after)] = chat.posts()
    assert answer.text == "#1 was changed." and answer.done == chat.newest()
    assert after.text == "Soft" and after.thread == entry.thread and after.id == entry.id
    assert second.audience is Audience.FOLLOWERS and second.stands == first.stands
    assert after.published == entry.published and after.updated == chat.time.now()


def test_an_edit_keeps_the_warning_and_the_files(chat: Chat) -> None:
    posted = Draft(text="a", warning="b", expires=datetime(2026, 2, 1, tzinfo=UTC), language="it")
    call = Call(person=chat.person, enclosures=("https://files.example/moon.jpg",))
    run(chat.posting.post(call, posted))
    run(chat.say("edit", item=chat.newest(), text="c"))
    [(_, entry)] = chat.posts()
    assert (entry.text, entry.warning, entry.language) == ("c", "b", "it")
    assert entry.expires == posted.expires and [link.href for link in entry.enclosures] == list(call.enclosures)


def test_only_ones_own_posts_are_changed(chat: Chat) -> None:
    run(chat.say("post", text="hello"))
    other = Chat(chat.database, chat.time, BENVOLIO)
    words: list[tuple[str, dict[str, Any]]] = [("edit", {"text": "mine"}), ("delete", {}), ("where", {})]
    for word, arguments in words:
        with pytest.raises(Forbidden):
            run(other.say(word, item=chat.newest(), **arguments))
        with pytest.raises(ItemNotFound):
            run(other.say(word, item=ItemAddress(ROMEO, MICROBLOG, "x"), **arguments))
    assert chat.posts()[0][1].text == "hello"


def test_what_is_repeated_has_no_words_to_edit(chat: Chat) -> None:
    run(chat.say("post", text="hello"))
    [(item, entry)] = chat.posts()
    node = chat.database.run(lambda tx: tx.nodes.find(ROMEO, MICROBLOG))
    assert node is not None
    other = Chat(chat.database, chat.time, BENVOLIO)
    call = Call(person=other.person)
    posted = run(other.posting.post(call, Draft(via=Reference.to(node, item, entry))))
    with pytest.raises(NotAllowed):
        run(other.say("edit", item=ItemAddress(BENVOLIO, MICROBLOG, posted.published.item.id), text="mine"))


def test_undo_takes_back_the_last_post_within_five_minutes(chat: Chat) -> None:
    run(chat.say("post", text="one"))
    chat.time.advance(10)
    run(chat.say("post", text="two"))
    chat.time.advance(10)
    run(chat.say("edit", item=ItemAddress(ROMEO, MICROBLOG, chat.posts()[0][0].id), text="one!"))
    assert run(chat.say("undo")).text == "Taken back: two"
    assert [entry.text for _, entry in chat.posts()] == ["one!"]
    chat.time.advance(300)
    with pytest.raises(ItemNotFound):
        run(chat.say("undo"))
    assert run(chat.say("delete", item="last")).text == "Deleted: one!"
    with pytest.raises(ItemNotFound):
        run(chat.say("delete", item="last"))


def test_what_is_local_is_not_repeated_to_its_author_elsewhere(chat: Chat) -> None:
    chat.person = replace(chat.person, address=JULIET, linked=True)
    run(chat.say("local", text="secret"))
    run(chat.say("post", text="hello"))
    assert run(chat.say("undo")).text == "Taken back: hello"
    assert run(chat.say("delete", item="last")).text == "Deleted."


def test_a_deletion_is_told_to_those_who_were_told(chat: Chat) -> None:
    run(chat.say("post", text="hello"))
    run(chat.say("delete", item=chat.newest()))
    assert chat.posts() == []
    assert chat.database.run(lambda tx: tx.outbox.count(CAPULET)) == 2


# where


def test_where_says_of_a_comment_in_the_thread_of_another_that_it_is_there(chat: Chat) -> None:
    thread = COMMENTS_PREFIX + "1"

    def comment(tx: Transaction) -> None:
        post(tx, "1")
        publish = publishing.Publish(service=ROMEO, node=thread, actor=BENVOLIO, item_id="c1", **an_entry("yes"))
        publishing.publish(tx, publish)

    chat.database.run(comment)
    other = Chat(chat.database, chat.time, BENVOLIO)
    answer = run(other.say("where", item=ItemAddress(ROMEO, thread, "c1")))
    assert answer.text == "For everybody. It is there. Where it went then, romeo@montague.example can ask."


def test_where_reports_what_became_of_a_post(chat: Chat) -> None:
    run(chat.say("post", text="hello"))
    chat.database.run(lambda tx: delivering.failed(tx, CAPULET, "no route", 0))
    answer = run(chat.say("where", item=chat.newest()))
    assert answer.text.splitlines() == [
        "For everybody. Stored: 0, pending: 1, refused: 0.",
        "capulet.example: pending (no route)",
    ]
    chat.database.run(lambda tx: delivering.done(tx, delivering.next_batch(tx, CAPULET, True).deliveries))
    assert run(chat.say("where", item=chat.newest())).text.endswith("capulet.example: stored")
    run(chat.say("local", text="hello"))
    assert run(chat.say("where", item=chat.newest())).text == "For this node only. It was not sent to any other domain."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "It would go to 2 people, 1 domain. Nothing was posted.\ncapulet.example"),
        ("local: hello", "It would go to 1 person here; it does not leave this node. Nothing was posted."),
        ("LOCAL hello", "It would go to 1 person here; it does not leave this node. Nothing was posted."),
        ("local", "It would go to 1 person here; it does not leave this node. Nothing was posted."),
        (
            "public: @paris@verona.example hello",
            "It would go to 3 people, 2 domains. Nothing was posted.\ncapulet.example, verona.example",
        ),
        (
            "public: the Project Balcony",
            "It would go to 1 person here; it does not leave this node. Nothing was posted.\n"
            "It is for this node only: it cannot go further.",
        ),
    ],
)
def test_where_previews_and_posts_nothing(chat: Chat, text: str, said: str) -> None:
    assert run(chat.say("where", item=text)).text == said
    assert chat.posts() == []


def test_many_domains_are_not_all_listed(chat: Chat) -> None:
    def crowd(tx: Any) -> None:
        for number in range(30):
            subscribe(tx, JID("nurse", f"c{number:02}.example"))

    chat.database.run(crowd)
    run(chat.say("post", text="hello"))
    report = run(chat.say("where", item=chat.newest())).text.splitlines()
    assert len(report) == 22 and report[-1] == "… and 11 more."
    assert run(chat.say("where", item="x")).text.endswith("c19.example and 11 more")


def test_every_command_has_its_texts(chat: Chat) -> None:
    for command in chat.table.commands.values():
        for name in ("summary", "example", *(parameter.name for parameter in command.parameters)):
            assert has(f"{command.group}.{command.name}.{name}")
