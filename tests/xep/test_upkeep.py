"""What is looked after from time to time because of other domains."""

import pytest

from microblog.usecases import delivering, queueing
from microblog.wire import ns
from microblog.xep.outbox import Outbox
from microblog.xep.upkeep import AGAIN_SECONDS, ALARMS_SECONDS, STORAGE_SECONDS, Upkeep, named
from tests.conftest import Time
from tests.xep.square import FEED, Square, asks, publishes, result, told

JULIET = "juliet@capulet.example"
HOUR = 3600


class Lines:
    """What administrators are told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def tell(self, text: str, **values: str) -> None:
        self.told.append((text, values["domains"]))


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def upkeep(square: Square, lines: Lines) -> Upkeep:
    upkeep = Upkeep(square.database, lines, square.outbox.wake, square.clock, square.tasks)
    upkeep.start()
    return upkeep


def test_administrators_hear_of_a_domain_that_fails(square: Square, upkeep: Upkeep, lines: Lines, time: Time) -> None:
    time.advance(ALARMS_SECONDS)
    square.database.run(delivering.failed, "capulet.example", "nobody answers", 0)
    time.advance(3 * HOUR)
    assert lines.told == []
    time.advance(2 * HOUR)
    assert lines.told == [("chat.domains_failing", "capulet.example")]
    time.advance(40 * 24 * HOUR)
    assert lines.told[1:] == [("chat.domains_dormant", "capulet.example")]
    upkeep.stop()
    square.database.run(delivering.failed, "verona.example", "nobody answers", 0)
    time.advance(5 * HOUR)
    assert len(lines.told) == 2


def test_many_domains_are_named_in_part() -> None:
    assert named([f"{n}.example" for n in range(12)]).endswith("9.example and 2 more")
    assert named(["a.example"]) == "a.example"


def test_who_could_not_take_a_post_is_told_again(square: Square, upkeep: Upkeep, time: Time) -> None:
    romeo = square.online("romeo", "orchard")
    result(asks(romeo, "get", f"<items node='{FEED}'/>"))
    square.inject(
        f"""<iq type='set' id='s' from='{JULIET}' to='romeo@montague.example'><pubsub xmlns='{ns.PUBSUB}'>
        <subscribe node='{FEED}' jid='{JULIET}'/></pubsub></iq>"""
    )
    publishes(romeo, "1")
    (message,) = square.world.hears()
    square.messages.error_listeners.append(square.outbox.bounced)
    busy = f"<error type='wait'><resource-constraint xmlns='{ns.STANZAS}'/></error>"
    square.inject(
        f"<message type='error' id='{message.get('id')}' from='{JULIET}' to='romeo@montague.example'>{busy}</message>"
    )
    assert square.world.hears() == []
    time.advance(AGAIN_SECONDS)
    assert told(square.world.hears()) == [("romeo@montague.example", JULIET, "1")]
    time.advance(10 * AGAIN_SECONDS)
    assert square.world.hears() == []


def test_what_is_kept_is_measured(square: Square, upkeep: Upkeep, time: Time) -> None:
    square.database.run(lambda tx: tx.policies.stored("capulet.example", 5, 5000))
    time.advance(STORAGE_SECONDS)
    assert square.database.run(lambda tx: tx.policies.storage("capulet.example")).items == 0


def test_a_dormant_domain_is_tried_when_the_administrator_asks(square: Square, time: Time) -> None:
    square.world.down.add("capulet.example")
    square.database.run(lambda tx: tx.outbox.add_stanza("capulet.example", "<message/>"))
    square.outbox.wake("capulet.example")
    attempts = len(square.world.attempts)
    square.outbox.retry("capulet.example")
    assert len(square.world.attempts) == attempts + 1
    time.advance(31 * 24 * HOUR)
    attempts = len(square.world.attempts)
    time.advance(31 * 24 * HOUR)
    assert len(square.world.attempts) == attempts
    assert square.database.run(queueing.state, "capulet.example") is queueing.State.DORMANT
    square.outbox.retry("capulet.example")
    assert len(square.world.attempts) == attempts + 1
    square.world.down.clear()
    square.outbox.retry("capulet.example")
    assert len(square.world.hears()) == 1


def test_a_queue_that_was_dropped_is_not_tried(square: Square, time: Time) -> None:
    square.world.down.add("capulet.example")
    square.database.run(lambda tx: tx.outbox.add_stanza("capulet.example", "<message/>"))
    square.outbox.wake("capulet.example")
    attempts = len(square.world.attempts)
    square.database.run(queueing.drop, "capulet.example")
    square.outbox.dropped("capulet.example")
    time.advance(24 * HOUR)
    assert len(square.world.attempts) == attempts


def test_nothing_is_sent_to_a_refused_domain(square: Square) -> None:
    outbox = Outbox(
        square.database, square.world, square.clock, square.tasks, refuses=lambda domain: domain == "capulet.example"
    )
    for domain in ("capulet.example", "verona.example"):
        square.database.run(lambda tx, domain=domain: tx.outbox.add_stanza(domain, "<message/>"))
        outbox.wake(domain)
    assert set(square.world.attempts) == {"verona.example"}
