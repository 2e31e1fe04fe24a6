"""What the chat remembers."""

import pytest

from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress
from microblog.store.database import Database, Transaction
from microblog.usecases import chatting
from microblog.usecases.chatting import Answered, Message, Reader, Told
from tests.conftest import Time
from tests.usecases.pubsub import BENVOLIO, JULIET, ROMEO, an_account, subscribe

DAY = 86_400
MANTUA = JID("romeo", "mantua.example")


def post(name: str, service: JID = JULIET) -> ItemAddress:
    return ItemAddress(service, MICROBLOG, name)


@pytest.fixture
def key(database: Database) -> int:
    """Romeo's account; benvolio has one, too."""

    def make(tx: Transaction) -> int:
        an_account(tx)
        an_account(tx, BENVOLIO)
        account = tx.accounts.get("romeo")
        assert account is not None
        return account.key

    return database.run(make)


def says(database: Database, key: int, id_: str | None, body: bytes = b"", **more: str) -> chatting.Heard:
    message = Message(account=key, by=ROMEO, id=id_, body_hash=body, **more)
    return database.run(chatting.hear, message)


def answers(database: Database, key: int, id_: str, became: ItemAddress | None, *posts: ItemAddress) -> None:
    answer = Answered(account=key, by=ROMEO, ids=(id_,), became=became, done=became, posts=posts, answered=())
    database.run(chatting.answered, answer)


def test_messages_are_known_again(database: Database, key: int) -> None:
    assert not says(database, key, "m1").again
    assert says(database, key, "m1").again
    assert not says(database, key, None).again
    assert not says(database, key, None).again, "without an id they are all different"


def test_what_became_a_post_is_the_same_for_a_minute(database: Database, key: int, time: Time) -> None:
    says(database, key, "m1", b"ay me")
    assert not says(database, key, "m2", b"ay me").same, "the first became no post"
    answers(database, key, "m2", post("1", ROMEO))
    assert says(database, key, "m3", b"ay me").same
    assert not says(database, key, "m4", b"but soft").same
    time.advance(61)
    assert not says(database, key, "m5", b"ay me").same


def test_messages_lead_to_their_posts(database: Database, key: int, time: Time) -> None:
    says(database, key, "m1")
    answers(database, key, "m1", post("1", ROMEO))
    says(database, key, "m2")

    def item(id_: str, by: JID = ROMEO) -> ItemAddress | str | None:
        return database.run(chatting.item_of_message, ROMEO, key, by, id_)

    assert item("m1") == post("1", ROMEO)
    assert item("m2") == ""
    assert item("m3") is None
    assert item("m1", MANTUA) is None
    time.advance(2 * DAY)
    assert database.run(chatting.forget, 100) == 1
    assert item("m1") == post("1", ROMEO)
    assert item("m2") is None, "what became no post is forgotten sooner"
    time.advance(29 * DAY)
    database.run(chatting.forget, 100)
    assert item("m1") is None


def test_numbers_are_counted_and_stay(database: Database, key: int, time: Time) -> None:
    def show(*names: str) -> list[int]:
        addresses = [post(name) for name in names]
        numbers = database.run(chatting.show, key, addresses, [])
        return [numbers[address] for address in addresses]

    def newest() -> ItemAddress | None:
        return database.run(chatting.newest_shown, key)

    assert newest() is None
    assert show("a", "b", "c") == [1, 2, 3]
    assert newest() == post("c")
    time.advance(1)
    assert show("d", "a") == [4, 1]
    assert newest() == post("a"), "the last that was shown, not the highest number"
    time.advance(601)
    assert newest() is None
    assert database.run(chatting.item_of_number, key, 4) == post("d")
    assert database.run(chatting.item_of_number, key, 5) is None
    assert database.run(chatting.item_of_number, key + 1, 4) is None, "numbers are everybody's own"
    time.advance(20 * DAY)
    assert show("b") == [2]
    time.advance(11 * DAY)
    assert database.run(chatting.forget, 1) == 1
    assert database.run(chatting.forget, 2) == 1
    assert database.run(chatting.item_of_number, key, 1) is database.run(chatting.item_of_number, key, 3) is None
    assert database.run(chatting.item_of_number, key, 2) == post("b"), "seen not long ago"
    assert show("e") == [5]


def test_a_number_never_means_another_item(database: Database, key: int, time: Time) -> None:
    """Not even when nothing was shown for long: lines of then may still be there to be answered."""
    assert database.run(chatting.show, key, [post("a"), post("b")], []) == {post("a"): 1, post("b"): 2}
    time.advance(31 * DAY)
    assert database.run(chatting.forget, 100) == 1
    assert database.run(chatting.forget, 100) == 0
    assert database.run(chatting.show, key, [post("c"), post("a")], []) == {post("c"): 3, post("a"): 4}
    assert database.run(chatting.forget, 100) == 1


def test_what_an_item_answers_has_a_number_if_it_was_shown(database: Database, key: int) -> None:
    assert database.run(chatting.show, key, [post("a")], []) == {post("a"): 1}
    assert database.run(chatting.show, key, [post("b")], [post("a"), post("x")]) == {post("b"): 2, post("a"): 1}


def test_the_first_message_begins_the_delivery(database: Database, key: int) -> None:
    def delivery() -> chatting.Delivery | None:
        return database.run(chatting.delivery, "romeo")

    assert delivery() is None
    assert says(database, key, "m1").begins
    assert delivery() == chatting.Delivery(key=key, sender="", language="en")
    assert not says(database, key, "m2").begins
    assert says(database, key, "m3", to="post").begins, "from another address from now on"
    assert delivery() == chatting.Delivery(key=key, sender="post", language="en")
    database.run(chatting.set_delivery, key, False)
    assert delivery() is None
    assert not says(database, key, "m4", to="").begins
    assert delivery() is None
    database.run(chatting.set_delivery, key, True)
    assert delivery() is not None
    assert database.run(chatting.delivery, "nobody") is None


def test_addresses_elsewhere_and_whom_they_follow(database: Database, key: int) -> None:
    def link(tx: Transaction) -> tuple[int, int]:
        tx.linked.add(MANTUA, key, asked_there=True, confirmed=True)
        tx.linked.add(JULIET, key, asked_there=True)
        subscribe(tx, ROMEO, service=BENVOLIO)
        subscribe(tx, BENVOLIO, service=ROMEO)
        nodes = [tx.nodes.find(service, MICROBLOG) for service in (BENVOLIO, ROMEO)]
        assert nodes[0] is not None and nodes[1] is not None
        return nodes[0].key, nodes[1].key

    benvolios, romeos = database.run(link)
    assert database.run(chatting.elsewhere) == ()
    says(database, key, "m1")
    (found,) = database.run(chatting.elsewhere)
    assert (found.key, found.account, found.address) == (key, ROMEO, MANTUA)
    assert database.run(chatting.followers_among, [key], [benvolios, romeos]) == [(benvolios, key)]


def told(key: int, name: str, *, copies: tuple[ItemAddress, ...] = (), recent: bool = True) -> Told:
    return Told(
        address=post(name),
        copies=copies,
        answered=None,
        audience=Audience.PUBLIC,
        readers=(Reader(key=key, account=ROMEO),),
        recent=recent,
        write=lambda line, to: "",
    )


def test_lines_are_new_or_again_and_copies_are_none(database: Database, key: int) -> None:
    def tell(one: Told) -> list[tuple[int, bool]]:
        (lines,) = database.run(chatting.tell, [one]).lines
        return [(line.number, line.again) for line in lines]

    assert tell(told(key, "a", recent=False)) == []
    assert tell(told(key, "a")) == [(1, False)]
    assert tell(told(key, "a", recent=False)) == [(1, True)]
    assert tell(told(key, "b", copies=(post("a"),))) == []
    assert tell(told(key, "c", copies=(post("x"),))) == [(2, False)]
    assert database.run(chatting.shown_to, [post("a"), post("b")]) == {
        post("a"): frozenset((key,)),
        post("b"): frozenset(),
    }
