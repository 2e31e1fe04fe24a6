"""Follow health: what another service has forgotten is found out and repaired; what cannot be repaired is known."""

from typing import Any

import pytest

from microblog.model.jid import JID
from microblog.usecases import following, identity
from microblog.usecases.following import Followed
from microblog.wire import ns
from microblog.xep.health import SWEEP_SECONDS, FollowHealth
from tests.conftest import Time
from tests.xep.service import JULIET, Service, post, serve
from tests.xep.square import FEED, Square, address
from tests.xep.test_follows import copies, follow

ROMEO = address("romeo")
HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
def juliet(square: Square) -> Service:
    return Service(square)


@pytest.fixture
def health(square: Square) -> FollowHealth:
    health = FollowHealth(square.router, square.database, square.following.follows, square.clock, square.tasks)
    health.start()
    return health


def passes(time: Time, seconds: int, *services: Service) -> None:
    """So much time, with the answers of these services to what is asked meanwhile."""
    for _ in range(0, seconds, SWEEP_SECONDS):
        time.advance(SWEEP_SECONDS)
        if services:
            serve(services[0].square, *services)


def health_of(square: Square) -> Followed:
    (found,) = square.database.run(following.follows, ROMEO)
    return found


def test_a_service_is_asked_once_a_day(square: Square, juliet: Service, health: FollowHealth, time: Time) -> None:
    follow(square, juliet)
    juliet.asked.clear()
    passes(time, DAY - HOUR, juliet)
    assert juliet.asked == []
    passes(time, DAY + HOUR, juliet)
    assert juliet.asked == ["subscriptions", "disco", "items"]
    assert health_of(square).problem == "" and health_of(square).checked is not None
    health.stop()
    passes(time, 2 * DAY, juliet)
    assert len(juliet.asked) == 3


def test_what_was_forgotten_is_subscribed_again_and_what_was_missed_is_fetched(
    square: Square, juliet: Service, health: FollowHealth, time: Time
) -> None:
    follow(square, juliet, public=True)
    juliet.subscribers.clear()
    juliet.public.clear()
    juliet.items = [post("missed", "2026-01-01T14:00:00Z")]
    passes(time, DAY + HOUR, juliet)
    assert juliet.subscribers == {str(ROMEO): "subscribed"} and juliet.public == {str(ROMEO)}
    assert [item.id for item in copies(square)] == ["missed"]
    assert health_of(square).problem == ""


def test_who_follows_later_finds_what_was_edited_while_nobody_did(square: Square, juliet: Service) -> None:
    juliet.items = [post("edited", "2026-01-01T10:00:00Z"), post("same", "2026-01-01T10:01:00Z")]
    follow(square, juliet)
    juliet.items = [post("edited", "2026-01-01T11:00:00Z"), post("same", "2026-01-01T09:00:00Z")]
    follow(square, juliet, address("benvolio"))
    assert {item.id: item.payload.count("T11:00") for item in copies(square)} == {"edited": 2, "same": 0}
    assert len(copies(square)) == 2


@pytest.mark.parametrize(
    ("log", "edited_at", "found"), [(False, "11", "11"), (False, "08", "10"), (True, "08", "08"), (None, "08", "10")]
)
def test_what_was_edited_meanwhile_is_read_again(
    square: Square, juliet: Service, health: FollowHealth, time: Time, log: bool | None, edited_at: str, found: str
) -> None:
    """Whatever the clock of another node says, unless it may have been restored (``None``).

    What is there no more is kept: it may have been lost there.
    """
    domain = juliet.jid.partition("@")[2]
    epochs = {"epoch": "e1", "received_epoch": "e0" if log is None else "e1"} if log is not False else {}
    square.database.run(lambda tx: tx.peers.set(domain, fanout=log is not False, **epochs))
    juliet.items = [post("old", "2026-01-01T09:00:00Z"), post("edited", "2026-01-01T10:00:00Z")]
    follow(square, juliet)
    juliet.subscribers.clear()
    juliet.items = [post("edited", f"2026-01-01T{edited_at}:00:00Z")]
    passes(time, DAY + HOUR, juliet)
    old, edited = sorted(copies(square), key=lambda item: item.id, reverse=True)
    assert (old.id, edited.id) == ("old", "edited")
    assert f"T{found}:00:00" in edited.payload
    assert edited.published.hour == 10


@pytest.mark.parametrize(
    ("refusal", "problem"),
    [
        ("item-not-found", "item-not-found"),
        ("forbidden", "forbidden"),
        ("not-allowed closed-node", "closed-node"),
        ("not-authorized presence-subscription-required", "presence-subscription-required"),
    ],
)
def test_what_cannot_be_repaired_is_known_and_tried_every_day(
    square: Square, juliet: Service, health: FollowHealth, time: Time, refusal: str, problem: str
) -> None:
    follow(square, juliet)
    juliet.subscribers.clear()
    juliet.refuses = {"subscribe": refusal}
    juliet.asked.clear()
    passes(time, 2 * DAY + HOUR, juliet)
    assert juliet.asked == ["subscriptions", "subscribe"] * 2
    assert health_of(square).problem == problem
    juliet.refuses = {}
    passes(time, DAY, juliet)
    assert health_of(square).problem == "" and juliet.subscribers == {str(ROMEO): "subscribed"}


def test_a_service_that_does_not_say_is_subscribed_to_again(
    square: Square, juliet: Service, health: FollowHealth, time: Time
) -> None:
    follow(square, juliet)
    juliet.refuses = {"subscriptions": "feature-not-implemented"}
    juliet.subscribers.clear()
    passes(time, DAY + HOUR, juliet)
    assert juliet.subscribers == {str(ROMEO): "subscribed"} and health_of(square).problem == ""


def test_a_service_that_is_away_is_asked_every_hour(
    square: Square, juliet: Service, health: FollowHealth, time: Time
) -> None:
    follow(square, juliet)
    juliet.unreachable = True
    passes(time, DAY + 60, juliet)
    juliet.asked.clear()
    passes(time, 4 * HOUR, juliet)
    assert health_of(square).problem == "remote-server-not-found"
    assert 3 <= len(juliet.asked) <= 4 and set(juliet.asked) == {"subscriptions"}
    juliet.unreachable = False
    passes(time, HOUR + 60, juliet)
    assert health_of(square).problem == ""


def test_a_domain_that_is_away_is_asked_once(square: Square, juliet: Service, health: FollowHealth, time: Time) -> None:
    nurse = Service(square, "nurse@capulet.example")
    others = [Service(square, f"servant{number}@capulet.example") for number in range(10)]
    for service in (juliet, nurse, *others):
        follow(square, service)
        service.unreachable = True
        service.asked.clear()
    passes(time, DAY + 120, juliet, nurse, *others)
    asked = [verb for service in (juliet, nurse, *others) for verb in service.asked]
    assert len(asked) <= 5, "those that were under way"
    found = square.database.run(following.follows, ROMEO)
    assert {one.problem for one in found} == {"remote-server-not-found"}


def test_an_answer_that_was_missed_is_learnt(square: Square, juliet: Service, health: FollowHealth, time: Time) -> None:
    juliet.grants, juliet.items = "pending", [post("p1", "2025-12-01T10:00:00Z")]
    follow(square, juliet)
    juliet.subscribers[str(ROMEO)] = "subscribed"
    passes(time, DAY + HOUR, juliet)
    assert str(health_of(square).state) == "subscribed"
    assert [item.id for item in copies(square)] == ["p1"]


def test_what_is_told_of_and_then_not_shown_is_looked_into_at_once(
    square: Square, juliet: Service, health: FollowHealth, time: Time
) -> None:
    follow(square, juliet)
    juliet.subscribers.clear()
    juliet.refuses = {"items": "item-not-found"}
    juliet.asked.clear()
    square.inject(
        f"<message from='{JULIET}' to='{ROMEO}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>"
        f"<items node='{FEED}'><item id='1'/></items></event></message>"
    )
    juliet.serves()
    passes(time, 2 * SWEEP_SECONDS, juliet)
    assert juliet.asked[:3] == ["items", "subscriptions", "subscribe"]
    assert juliet.subscribers == {str(ROMEO): "subscribed"}


def test_a_service_that_sends_nothing_is_found_out(
    square: Square, juliet: Service, health: FollowHealth, time: Time
) -> None:
    """It says that there is a subscription, and posts do not come."""
    follow(square, juliet)
    juliet.items = [post("p1", "2026-01-01T14:00:00Z")]
    passes(time, DAY + HOUR, juliet)
    assert [item.id for item in copies(square)] == ["p1"]
    assert health_of(square).problem == "silent"
    juliet.items.append(post("p2", "2026-01-02T13:00:00Z"))
    passes(time, HOUR + 120, juliet)
    assert {item.id for item in copies(square)} == {"p1", "p2"}, "every hour from now on"
    assert health_of(square).problem == "silent"
    passes(time, HOUR + 120, juliet)
    assert health_of(square).problem == ""


def test_k175_what_a_service_swallowed_for_a_day_is_found_by_its_ids(
    square: Square, juliet: Service, health: FollowHealth, time: Time
) -> None:
    """It took what was given to it, confirmed, and showed it to nobody: two of it come, and very much does not."""
    juliet.items = [post(f"old{n}", f"2026-01-01T11:{n:02}:00Z") for n in range(5)]
    follow(square, juliet)
    juliet.serves()
    assert len(copies(square)) == 5
    juliet.items += [post(f"new{n}", f"2026-01-01T12:{n:02}:00Z") for n in range(50)]
    for lucky in (7, 49):
        square.inject(
            f"<message from='{JULIET}' to='{ROMEO}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>"
            f"<items node='{FEED}'>{juliet.items[5 + lucky]}</items></event></message>"
        )
    assert len(copies(square)) == 7
    passes(time, DAY + HOUR, juliet)
    # The newest twenty say that more may be missing, though the last is known.
    assert len(copies(square)) == 55
    juliet.items += [post(f"last{n}", f"2026-01-02T12:{n:02}:00Z") for n in range(60)]
    passes(time, HOUR + 120, juliet)
    assert {item.id for item in copies(square)} >= {f"last{n}" for n in range(60)}
    assert health_of(square).problem == "silent"


def test_a_feed_that_many_follow_is_fetched_for_one_of_them(
    square: Square, juliet: Service, health: FollowHealth, time: Time
) -> None:
    for name in ("romeo", "benvolio", "mercutio"):
        follow(square, juliet, address(name))
    juliet.asked.clear()
    passes(time, DAY + HOUR, juliet)
    assert sorted(juliet.asked) == ["disco", "items", *["subscriptions"] * 3]


def test_who_left_meanwhile_is_not_subscribed_again(
    square: Square, juliet: Service, health: FollowHealth, time: Time
) -> None:
    follow(square, juliet)
    square.inject(
        f"<message from='{JULIET}' to='{ROMEO}'><event xmlns='{ns.PUBSUB_EVENT}'>"
        f"<subscription node='{FEED}' jid='{ROMEO}' subscription='none'/></event></message>"
    )
    juliet.asked.clear()
    passes(time, DAY + HOUR, juliet)
    assert juliet.asked == [] and square.database.run(following.follows, ROMEO) == ()


def test_subscriptions_that_are_older_than_all_this_are_looked_after(
    square: Square, juliet: Service, health: FollowHealth, time: Time
) -> None:
    follow(square, juliet)

    def age(tx: Any) -> None:
        tx.connection.exec_driver_sql("UPDATE subscriptions SET checked = NULL")

    square.database.run(age)
    health.start()
    juliet.asked.clear()
    passes(time, DAY + HOUR, juliet)
    assert "subscriptions" in juliet.asked


def test_a_silent_service_ends_nothing(square: Square, juliet: Service, health: FollowHealth, time: Time) -> None:
    follow(square, juliet)
    passes(time, DAY + 10 * SWEEP_SECONDS)
    assert health_of(square).problem == "remote-server-not-found"
    assert JID.parse(JULIET) == health_of(square).node.service


def test_who_may_be_somebody_else_is_not_asked_and_nobody_is_subscribed_there(
    square: Square, juliet: Service, health: FollowHealth, time: Time
) -> None:
    """K185: whoever has the domain now does not learn who follows by our asking for it."""
    follow(square, juliet)
    juliet.subscribers.clear()
    juliet.asked.clear()
    before, now = (identity.Answer(fanout=True, max_bytes=100_000, max_entries=50, epoch=epoch) for epoch in "ab")
    for key, answer in (("k1", before), ("k2", now)):
        learned = identity.Learned(domain="capulet.example", key=key, answer=answer)
        square.database.run(identity.learn, learned)
    assert health_of(square).problem == identity.CHANGED
    passes(time, DAY + HOUR, juliet)
    assert juliet.asked == [] and health_of(square).problem == identity.CHANGED
    square.database.run(identity.trust, "capulet.example")
    passes(time, HOUR, juliet)
    assert juliet.subscribers == {str(ROMEO): "subscribed"} and health_of(square).problem == ""
