"""Webhooks in the database: what is kept of each, and how far each is."""

from datetime import timedelta

import pytest

from microblog.model.errors import BadRequest, Conflict, ItemNotFound, ResourceConstraint
from microblog.model.program import Position, Source
from microblog.store.transaction import Transaction
from microblog.store.webhooks import Webhook
from microblog.usecases import hooking, informing, noticing, registering
from microblog.usecases.informing import Make
from microblog.wire import notification
from tests.usecases.pubsub import BENVOLIO, ROMEO, an_account

URL = "https://ci.montague.example/"


def a_hook(tx: Transaction, name: str = "ci", owner: str = "romeo", **how: object) -> Webhook:
    account = registering.get_account(tx, owner)
    return hooking.add(tx, account, name, URL, "whsec_", (Source.OWN,), **how)


@pytest.fixture(autouse=True)
def accounts(tx: Transaction) -> None:
    an_account(tx, ROMEO)
    an_account(tx, BENVOLIO)


def test_one_is_like_new(tx: Transaction) -> None:
    made = a_hook(tx)
    assert (made.localpart, made.name, made.url, made.secret) == ("romeo", "ci", URL, "whsec_")
    assert (made.failures, made.next_attempt, made.problem, made.is_given_up) == (0, None, "", False)
    assert hooking.find(tx, registering.get_account(tx, "romeo"), "ci") == made


def test_failures_are_further_and_further_apart(tx: Transaction) -> None:
    key = a_hook(tx).key
    pauses = []
    for number in range(1, hooking.FAILURES_MAX):
        failed = hooking.failed(tx, key, "the answer is 500", pause=None, final=False)
        assert failed.failures == number
        assert failed.next_attempt is not None
        pauses.append((failed.next_attempt - tx.now).total_seconds())
    assert pauses[:4] == [5, 10, 20, 40]
    assert set(pauses[10:]) == {3600}
    assert hooking.failed(tx, key, "the answer is 500", pause=None, final=False).is_given_up


def test_what_a_service_asks_for_is_heeded_within_bounds(tx: Transaction) -> None:
    key = a_hook(tx).key
    for asked, given in ((100, 100), (1, 10), (10**9, 3600), (-5, 40)):
        failed = hooking.failed(tx, key, "the answer is 429", pause=asked, final=False)
        assert failed.next_attempt == tx.now + timedelta(seconds=given)


def test_a_success_forgets_what_was_wrong_and_moves_on(tx: Transaction) -> None:
    made = a_hook(tx)
    hooking.failed(tx, made.key, "x" * 10_000, pause=None, final=False)
    assert len(hooking.find(tx, registering.get_account(tx, "romeo"), "ci").problem) == hooking.PROBLEM_MAX_CHARACTERS
    hooking.taken(tx, made.key, Position(seq=10**6, call=3, hit=4))
    webhook, program = hooking.everybodys(tx)[0]
    assert (webhook.failures, webhook.next_attempt, webhook.problem) == (0, None, "")
    assert webhook.acknowledged == tx.now
    assert program.position == Position(seq=10**6, call=3, hit=4)


def test_given_up_at_once_and_called_again(tx: Transaction) -> None:
    key = a_hook(tx).key
    assert hooking.failed(tx, key, "gone", pause=None, final=True).is_given_up
    assert not hooking.resume(tx, registering.get_account(tx, "romeo"), "ci").is_given_up


def test_those_of_whom_may_not_log_in_are_not_called(tx: Transaction) -> None:
    a_hook(tx)
    a_hook(tx, owner="benvolio")
    assert [webhook.localpart for webhook, _ in hooking.everybodys(tx)] == ["benvolio", "romeo"]
    registering.remove_account(tx, "romeo", notification)
    assert [webhook.localpart for webhook, _ in hooking.everybodys(tx)] == ["benvolio"]


def test_a_program_that_comes_itself_is_no_webhook(tx: Transaction) -> None:
    account = registering.get_account(tx, "romeo")
    informing.make(tx, Make(account=account, name="stream", sources=frozenset((Source.OWN,))))
    assert hooking.everybodys(tx) == []
    with pytest.raises(ItemNotFound):
        hooking.remove(tx, account, "stream")
    with pytest.raises(Conflict):
        a_hook(tx, "stream")
    a_hook(tx, "ci")
    with pytest.raises(Conflict):
        informing.make(tx, Make(account=account, name="ci", sources=frozenset((Source.HOME,))))


def test_nobody_has_anothers(tx: Transaction) -> None:
    a_hook(tx)
    for function in (hooking.find, hooking.remove, hooking.resume):
        with pytest.raises(ItemNotFound):
            function(tx, registering.get_account(tx, "benvolio"), "ci")


def test_bounds(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadRequest):
        a_hook(tx, "no name")
    with pytest.raises(BadRequest):
        hooking.add(tx, registering.get_account(tx, "romeo"), "ci", URL, "whsec_", ())
    for number in range(hooking.EACH_MAX):
        a_hook(tx, f"ci{number}")
    with pytest.raises(ResourceConstraint):
        a_hook(tx, "more")
    monkeypatch.setattr(hooking, "TOTAL_MAX", hooking.EACH_MAX)
    with pytest.raises(ResourceConstraint):
        a_hook(tx, "more", owner="benvolio")


def test_a_running_server_hears_of_the_command_line(tx: Transaction) -> None:
    for act in (
        lambda: a_hook(tx, outside=True),
        lambda: hooking.resume(tx, registering.get_account(tx, "romeo"), "ci", outside=True),
        lambda: hooking.remove(tx, registering.get_account(tx, "romeo"), "ci", outside=True),
    ):
        act()
        taken = noticing.take(tx)
        assert taken is not None
        assert taken.webhooks


def test_a_number_is_not_given_twice(tx: Transaction) -> None:
    numbers = set()
    for _ in range(3):
        numbers.add(a_hook(tx).key)
        hooking.remove(tx, registering.get_account(tx, "romeo"), "ci")
    assert len(numbers) == 3
