"""Words about following, on both sides."""

from collections.abc import Awaitable
from typing import Any

import pytest

from microblog.commands.command import Answer, Call, Person, Table
from microblog.commands.following import DECISIONS_MAX, PAGE, FollowingWords
from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.runtime import Clock
from microblog.store.database import Database, Transaction
from microblog.usecases import following, owning, subscribing, tending
from microblog.usecases.following import Follow
from microblog.usecases.tagging import TAGS_MAX
from microblog.usecases.tending import Due
from microblog.wire import ns
from microblog.xep.importing import FollowImporter
from tests.xep.service import JULIET, Service
from tests.xep.square import FEED, Square, address, publishes
from tests.xep.test_follows import begin, known, outcome_of

ROMEO, BENVOLIO = address("romeo"), address("benvolio")
JULIET_JID, PARIS = JID.parse(JULIET), JID.parse("paris@verona.example")


@pytest.fixture
def square(database: Database, clock: Clock) -> Square:
    square = Square(database, clock)
    square.settle("romeo", "benvolio")
    return square


@pytest.fixture
def juliet(square: Square) -> Service:
    return Service(square)


class Speaker:
    """Romeo, who says things; Juliet's server answers what it is asked meanwhile."""

    def __init__(self, square: Square, juliet: Service) -> None:
        self.square = square
        self.juliet = juliet
        follows = square.following.follows
        importer = FollowImporter(square.database, follows, square.clock, square.tasks)
        self.table = Table([FollowingWords(square.database, follows, importer)])
        account = square.database.run(lambda tx: tx.accounts.get("romeo"))
        assert account is not None
        self.person = Person(account=account, jid=ROMEO, address=ROMEO.with_resource("orchard"))

    def call(self, word: str, **arguments: Any) -> Answer:
        command = self.table.find(word)
        assert command is not None
        return self.run(command.function(Call(person=self.person, arguments=arguments)))

    def run(self, awaitable: Awaitable[Answer]) -> Answer:
        outcome = begin(awaitable)  # type: ignore[arg-type]  # a coroutine
        self.juliet.serves()
        answer = outcome_of(outcome)
        assert isinstance(answer, Answer)
        return answer

    def says(self, word: str, **arguments: Any) -> str:
        return self.call(word, **arguments).text

    def is_refused(self, word: str, **arguments: Any) -> str:
        with pytest.raises(Refusal) as refused:
            self.call(word, **arguments)
        return refused.value.text

    def goes_on(self, answer: Answer) -> Answer:
        assert answer.more is not None
        return self.run(answer.more(Call(person=self.person)))


@pytest.fixture
def romeo(square: Square, juliet: Service) -> Speaker:
    return Speaker(square, juliet)


def waits(square: Square, *people: JID) -> None:
    """Romeo wants to be asked, and they ask him."""

    def ask(tx: Transaction) -> None:
        options = {"access_model": ("authorize",)}
        owning.configure(tx, owning.Configure(service=ROMEO, node=MICROBLOG, actor=ROMEO, options=options))
        for person in people:
            subscribing.subscribe(tx, subscribing.Subscribe(service=ROMEO, node=MICROBLOG, actor=person, jid=person))

    square.database.run(ask)


def followers(square: Square, *people: JID) -> None:
    def subscribe(tx: Transaction) -> None:
        for person in people:
            wanted = subscribing.Subscribe(service=ROMEO, node=MICROBLOG, actor=person, jid=person)
            subscribing.subscribe(tx, wanted)

    square.database.run(subscribe)


def states(square: Square) -> dict[str, str]:
    def read(tx: Transaction) -> dict[str, str]:
        node = tx.nodes.find(ROMEO, MICROBLOG)
        assert node is not None
        people = [*tx.subscriptions.here(node, tx.domain), *tx.subscriptions.elsewhere(node, tx.domain)]
        return {str(jid): str(found.state) for jid in people if (found := tx.subscriptions.find(node, jid))}

    return square.database.run(read)


# whom one follows


def test_following_somebody_here_and_elsewhere(square: Square, romeo: Speaker) -> None:
    assert romeo.says("follow", person=BENVOLIO) == "You follow benvolio now."
    assert romeo.says("f", person=JULIET_JID, seen="public") == f"You follow {JULIET} now, and everybody may see it."
    assert known(square) == [("benvolio@montague.example", "subscribed", False), (JULIET, "subscribed", True)]
    assert romeo.says("following") == f"You follow 2:\nbenvolio\n{JULIET}"
    assert romeo.says("leave", person=BENVOLIO) == "You do not follow benvolio any more."
    assert romeo.says("unfollow", person=JULIET_JID) == f"You do not follow {JULIET} any more."
    assert romeo.says("subscriptions") == 'You follow nobody yet. "follow NAME" begins.'


def test_pending_is_said(square: Square, romeo: Speaker, juliet: Service) -> None:
    juliet.grants = "pending"
    assert romeo.says("follow", person=JULIET_JID).startswith(f"{JULIET} has to allow it first.")
    assert romeo.says("following") == f"You follow 1:\n{JULIET}: has not allowed it yet"


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("not-authorized presence-subscription-required", "posts for contacts only"),
        ("not-allowed closed-node", "does not let you follow"),
        ("forbidden", "does not let you follow"),
        ("item-not-found", "There is no"),
        ("remote-server-not-found", "cannot be reached"),
        ("remote-server-timeout", "cannot be reached"),
        ("service-unavailable", "has no feed"),
        ("feature-not-implemented", "has no feed"),
        ("not-authorized pending-subscription", "has not answered"),
    ],
)
def test_why_not_is_said(square: Square, romeo: Speaker, juliet: Service, condition: str, text: str) -> None:
    juliet.refuses = {"subscribe": condition}
    said = romeo.is_refused("follow", person=JULIET_JID)
    assert text in said and JULIET in said
    assert known(square) == []


def test_oneself_and_nobody(square: Square, romeo: Speaker) -> None:
    assert romeo.is_refused("follow", person=ROMEO) == "Your own posts reach you anyway."
    assert romeo.is_refused("follow", person=address("tybalt")).startswith("There is no tybalt")
    assert romeo.is_refused("leave", person=BENVOLIO) == "You do not follow benvolio."
    assert romeo.is_refused("leave", person=JULIET_JID) == f"You do not follow {JULIET}."


def test_who_is_read_by_presence_cannot_be_left(square: Square, romeo: Speaker) -> None:
    square.makes_contact("romeo", JULIET, "both")
    assert romeo.is_refused("leave", person=JULIET_JID).startswith(f"You read {JULIET} because")


def test_what_is_wrong_with_a_follow_stands_first(square: Square, romeo: Speaker) -> None:
    romeo.call("follow", person=BENVOLIO)
    romeo.call("follow", person=JULIET_JID)
    for problem, text in (
        ("item-not-found", "there is no such feed any more"),
        ("remote-server-not-found", "the server cannot be reached; it is tried every hour"),
        ("gone", "the account does not exist any more"),
        ("not-acceptable", "does not work (not-acceptable); it is tried again every day"),
    ):
        square.database.run(tending.trouble, Due(ROMEO, JULIET_JID), problem)
        assert romeo.says("following") == f"You follow 2:\n{JULIET}: {text}\nbenvolio"


def test_long_lists_come_in_pages(square: Square, romeo: Speaker) -> None:
    def follow(tx: Transaction) -> None:
        for number in range(2 * PAGE + 1):
            service = JID("capulet", f"house{number:02}.example")
            follow = Follow(account=ROMEO, service=service, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
            following.record_subscribe(tx, follow)

    square.database.run(follow)
    answer = romeo.call("following")
    pages = [answer.form]
    assert answer.text.endswith('"more" for more.')
    while answer.more is not None:
        answer = romeo.goes_on(answer)
        pages.append(answer.form)
    assert [len(page) for page in pages] == [PAGE, PAGE, 1]
    assert len({name for page in pages for name, _ in page}) == 2 * PAGE + 1


def test_a_list_is_followed(square: Square, romeo: Speaker, juliet: Service) -> None:
    payload = f"<subscription xmlns='{ns.ACTIVITY_LIST}:0' server='{BENVOLIO}' node='{FEED}'/>"
    juliet.lists = {ns.ACTIVITY_LIST: f"<item id='1'>{payload}</item>"}
    assert romeo.says("import", address=JULIET_JID) == "Followed from the list: 1."
    assert romeo.says("import", address=JULIET_JID) == "Followed from the list: 0. Followed already: 1."
    assert romeo.is_refused("import") == "There is no list to be had of whom romeo follows."
    juliet.unreachable = True
    assert "cannot be reached" in romeo.is_refused("import", address=JULIET_JID)


# who follows oneself


def test_requests_are_answered(square: Square, romeo: Speaker) -> None:
    waits(square, BENVOLIO, JULIET_JID, PARIS)
    assert romeo.says("requests").splitlines()[1:] == ["benvolio", JULIET, str(PARIS)]
    assert romeo.says("allow", person=JULIET_JID) == f"They may follow you now: {JULIET}."
    (told,) = square.world.hears("capulet.example")
    assert "subscribed" in repr(told) and told.get("to") == JULIET
    assert romeo.says("deny", person="all") == f"They may not follow you: benvolio, {PARIS}."
    (told,) = square.world.hears("verona.example")
    assert "none" in repr(told)
    assert states(square) == {JULIET: "subscribed"}
    assert romeo.says("requests") == "Nobody asks to follow you."
    assert romeo.is_refused("allow", person="all") == "Nobody waits for your answer."
    assert romeo.is_refused("deny", person=JULIET_JID) == f"{JULIET} does not wait for your answer."


def test_all_of_very_many_are_some_of_them(square: Square, romeo: Speaker) -> None:
    waits(square, *(JID("servant", f"house{number:03}.example") for number in range(DECISIONS_MAX)))
    romeo.call("allow", person="all")
    assert set(states(square).values()) == {"subscribed"}


def test_a_follower_is_lost_and_told(square: Square, romeo: Speaker) -> None:
    followers(square, BENVOLIO, JULIET_JID, JULIET_JID.with_resource("balcony"))
    benvolio = square.online("benvolio", "street")
    assert romeo.says("followers") == f"3 follow you:\nbenvolio\n{JULIET}"
    assert romeo.says("lose", person=JULIET_JID) == f"{JULIET} does not follow you any more, and was told."
    told = square.world.hears("capulet.example")
    assert [message.get("to") for message in told] == [JULIET, f"{JULIET}/balcony"]
    assert romeo.says("drop follower", person=BENVOLIO).startswith("benvolio does not follow you any more")
    assert "none" in repr(benvolio.hears())
    assert states(square) == {}
    assert romeo.is_refused("lose", person=JULIET_JID) == f"{JULIET} does not follow you."
    publisher = square.online("romeo", "orchard")
    publishes(publisher, "1")
    assert square.world.hears("capulet.example") == [] and benvolio.hears() == []


def test_who_sees_ones_presence_still_reads(square: Square, romeo: Speaker) -> None:
    square.makes_contact("romeo", JULIET, "both")
    followers(square, JULIET_JID)
    assert "still sees your presence" in romeo.says("lose", person=JULIET_JID)


def test_followers_in_pages(square: Square, romeo: Speaker) -> None:
    followers(square, *(JID("servant", f"house{number:03}.example") for number in range(2 * PAGE)))
    answer = romeo.call("subscribers")
    assert answer.text.startswith(f"{2 * PAGE} follow you:") and len(answer.form) == PAGE
    rest = romeo.goes_on(answer)
    assert rest.more is None and len({*answer.form, *rest.form}) == 2 * PAGE


def test_nobody_follows(romeo: Speaker) -> None:
    assert romeo.says("followers") == "Nobody follows you yet."


def test_numbers(square: Square, romeo: Speaker, juliet: Service) -> None:
    romeo.call("follow", person=BENVOLIO)
    juliet.grants = "pending"
    romeo.call("follow", person=JULIET_JID)
    waits(square, PARIS)
    assert romeo.says("stats").splitlines() == [
        "You follow: 1",
        "Follow you: 0",
        "Posts: 0",
        "Have not allowed you yet: 1",
        "Wait for your answer: 1",
    ]


# tags


def test_a_tag_is_followed_and_left(romeo: Speaker) -> None:
    assert romeo.says("follow", person="verona") == (
        "You follow #verona now: what has it and you may read is in your home timeline."
    )
    romeo.says("follow", person="verona")
    romeo.says("follow", person=BENVOLIO)
    assert romeo.says("following") == "You follow 2:\nbenvolio\n#verona"
    assert romeo.says("leave", person="verona") == "You do not follow #verona any more."
    assert romeo.is_refused("leave", person="verona") == "You do not follow #verona."
    assert romeo.says("following") == "You follow 1:\nbenvolio"


def test_which_tags_one_follows_is_not_shown_and_there_are_not_too_many(romeo: Speaker) -> None:
    assert "nobody else's business" in romeo.is_refused("follow", person="verona", seen="public")
    for number in range(TAGS_MAX):
        romeo.says("follow", person=f"tag{number}")
    assert "leave #TAG" in romeo.is_refused("follow", person="verona")
    romeo.says("follow", person="tag7")
    romeo.says("leave", person="tag7")
    romeo.says("follow", person="verona")
