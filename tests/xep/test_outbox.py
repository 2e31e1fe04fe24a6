"""Delivery to other domains: at least once, in order, whatever fails."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from microblog.model.errors import ResourceConstraint
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.usecases import delivering, reporting, subscribing
from microblog.usecases.reporting import State, Where
from microblog.usecases.subscribing import Subscribe
from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xep.outbox import TRYING_MAX, Outbox
from microblog.xmpp.remote import DeliveryFailed
from microblog.xmpp.s2s_out import StanzaTooLarge
from tests.conftest import Time
from tests.im.town import SlowDatabase
from tests.xep.square import FEED, Square, World, option, publishes, told

ROMEO = "romeo@montague.example"
CAPULET = "capulet.example"


def followed_by(square: Square, *jids: str, node: str = FEED) -> None:
    for jid in jids:
        square.inject(
            f"""<iq type='set' id='1' from='{jid}/home' to='{ROMEO}'><pubsub xmlns='{ns.PUBSUB}'>
            <subscribe node='{node}' jid='{jid}'/></pubsub></iq>"""
        )
        (answer,) = square.world_hears()
        assert answer.get("type") == "result"


def ids(heard: list[Element]) -> list[str]:
    return [item for _, _, item in told(heard)]


def backlog(square: Square) -> dict[str, int]:
    return square.database.run(delivering.backlog)


def test_every_follower_of_a_domain_is_told(square: Square) -> None:
    followed_by(square, "juliet@capulet.example", "tybalt@capulet.example", "paris@verona.example")
    publishes(square.online("romeo", "orchard"), "1")
    assert told(square.world.hears()) == [
        (ROMEO, "juliet@capulet.example", "1"),
        (ROMEO, "tybalt@capulet.example", "1"),
    ]
    assert told(square.world.hears("verona.example")) == [(ROMEO, "paris@verona.example", "1")]
    assert backlog(square) == {}
    assert square.tasks.names() == []


def test_a_domain_that_is_down_gets_it_when_it_is_up(square: Square, time: Time) -> None:
    followed_by(square, "juliet@capulet.example")
    romeo = square.online("romeo", "orchard")
    square.world.down.add(CAPULET)
    publishes(romeo, "1")
    attempts = len(square.world.attempts)
    publishes(romeo, "2")
    assert len(square.world.attempts) == attempts
    assert backlog(square) == {CAPULET: 2}
    square.world.down.clear()
    time.advance(40)
    assert ids(square.world.hears()) == ["1", "2"]
    assert backlog(square) == {}


def test_those_that_do_not_answer_leave_room_for_others(square: Square, time: Time) -> None:
    """Very many are due at once, as after a night in which this node was off, and say nothing for a long time."""
    dead = [f"d{number}.example" for number in range(TRYING_MAX + 5)]
    followed_by(square, "juliet@capulet.example", *(f"paris@{domain}" for domain in dead))
    square.world.down.update(dead)
    publishes(square.online("romeo", "orchard"), "1")
    square.world.hears()
    square.world.silent = {domain: Deferred() for domain in dead}
    square.world.attempts.clear()
    time.advance(40)
    trying = list(square.world.attempts)
    assert len(trying) == TRYING_MAX == len(set(trying))
    # Who lives is told meanwhile; who shows itself is not kept waiting, and whoever gives up makes room.
    (shown,) = [domain for domain in dead if domain not in trying][-1:]
    publishes(square.online("romeo", "house"), "2")
    assert ids(square.world.hears()) == ["2"]
    square.world.down.discard(shown)
    square.world.silent.pop(shown).callback(None)
    square.outbox.contact(shown)
    assert ids(square.world.hears(shown)) == ["1", "2"]
    for domain in trying[:2]:
        square.world.silent.pop(domain).callback(None)
    time.advance(0)
    assert len(set(square.world.attempts) - set(trying) - {shown, CAPULET}) == 2
    # One that answers does not count any more, however much it has to be told.
    square.world.down.discard(trying[2])
    square.world.silent.pop(trying[2]).callback(None)
    time.advance(0)
    assert len(set(square.world.attempts) - set(trying) - {shown, CAPULET}) == 3
    square.outbox.stop()


def test_it_is_left_alone_for_longer_and_longer(square: Square, time: Time) -> None:
    followed_by(square, "juliet@capulet.example")
    square.world.down.add(CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    for _ in range(60):
        time.advance(60)
    assert 5 <= len(square.world.attempts) <= 10


def test_a_domain_that_shows_itself_is_served_at_once(square: Square) -> None:
    followed_by(square, "juliet@capulet.example")
    square.world.down.add(CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    square.world.down.clear()
    square.outbox.contact("verona.example")
    assert square.world.hears() == []
    square.outbox.contact(CAPULET)
    assert ids(square.world.hears()) == ["1"]


def test_after_thirty_days_only_a_sign_of_life_helps(square: Square, time: Time) -> None:
    followed_by(square, "juliet@capulet.example")
    square.world.down.add(CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    for _ in range(40):
        time.advance(86_400)
    attempts = len(square.world.attempts)
    time.advance(10 * 86_400)
    assert len(square.world.attempts) == attempts
    square.world.down.clear()
    square.outbox.contact(CAPULET)
    assert ids(square.world.hears()) == ["1"]


@pytest.mark.parametrize("failed_before", [False, True])
def test_what_is_left_at_the_end_is_sent_at_the_next_start(square: Square, time: Time, failed_before: bool) -> None:
    followed_by(square, "juliet@capulet.example")
    romeo = square.online("romeo", "orchard")
    if failed_before:
        square.world.down.add(CAPULET)
        publishes(romeo, "1")
        square.outbox.stop()
    else:
        # Dies before the domain is woken.
        square.database.listeners.clear()
        publishes(romeo, "1")
    world = World()
    outbox = Outbox(square.database, world, square.clock, square.tasks)
    square.tasks.spawn(outbox.start(), "start")
    assert world.taken == [] if failed_before else world.taken
    time.advance(60)
    assert ids(world.hears()) == ["1"]


def test_who_is_told_before_it_is_known_that_they_were_dormant_is_told_from_then_on(square: Square) -> None:
    """Something new is owed to them while the server has just been started."""
    followed_by(square, "juliet@capulet.example")
    romeo = square.online("romeo", "orchard")
    square.database.listeners.clear()
    publishes(romeo, "1")
    square.database.run(lambda tx: tx.domains.failed(CAPULET, "gone", None, permanent_since=None))
    world = World()
    world.silent[CAPULET] = there = Deferred()
    outbox = Outbox(square.database, world, square.clock, square.tasks)
    outbox.wake(CAPULET)
    square.tasks.spawn(outbox.start(), "start")
    del world.silent[CAPULET]
    there.callback(None)
    assert ids(world.hears()) == ["1"]
    publishes(romeo, "2")
    outbox.wake(CAPULET)
    assert ids(world.hears()) == ["2"]


def test_an_unconfirmed_batch_is_sent_again(square: Square, time: Time) -> None:
    """K6, K7: the rows go when the other side has confirmed, and not before."""
    followed_by(square, "juliet@capulet.example")
    square.database.listeners.clear()
    publishes(square.online("romeo", "orchard"), "1")
    batch = square.database.run(delivering.next_batch, CAPULET, True)
    assert len(batch.deliveries) == 1
    square.outbox.wake(CAPULET)
    assert ids(square.world.hears()) == ["1"]
    assert backlog(square) == {}


def test_what_is_not_public_waits_for_a_certificate(square: Square, time: Time) -> None:
    square.makes_contact("romeo", "juliet@capulet.example", "from")
    square.world.proofs[CAPULET] = Proof.DIALBACK
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1", "a", node="urn:tune", options=option("access_model", "presence"))
    followed_by(square, "juliet@capulet.example", node="urn:tune")
    followed_by(square, "juliet@capulet.example")
    publishes(romeo, "2", "b", node="urn:tune")
    publishes(romeo, "3")
    assert ids(square.world.hears()) == ["3"]
    assert backlog(square) == {CAPULET: 1}
    time.advance(86_400)
    publishes(romeo, "4")
    assert ids(square.world.hears()) == ["4"], "what is public goes on, however long something else waits"
    square.world.proofs[CAPULET] = Proof.CERTIFICATE
    square.outbox.contact(CAPULET)
    assert ids(square.world.hears()) == ["2"]


def test_the_administrator_may_do_without(square: Square, time: Time) -> None:
    square.makes_contact("romeo", "juliet@capulet.example", "from")
    square.world.proofs[CAPULET] = Proof.DIALBACK
    square.outbox._dialback_suffices = lambda domain: True
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1", "a", node="urn:tune", options=option("access_model", "presence"))
    followed_by(square, "juliet@capulet.example", node="urn:tune")
    publishes(romeo, "2", "b", node="urn:tune")
    assert ids(square.world.hears()) == ["2"]


class Narrow(World):
    """A server that takes small stanzas only."""

    async def deliver(self, domain: str, stanzas: Any, minimum_proof: Proof = Proof.DIALBACK) -> None:
        for position, stanza in enumerate(stanzas):
            if len(stanza) > 2000:
                raise StanzaTooLarge(position, 2000)
        await super().deliver(domain, stanzas, minimum_proof)


def test_what_is_too_large_for_a_peer_does_not_stop_the_rest(square: Square) -> None:
    followed_by(square, "juliet@capulet.example", "tybalt@capulet.example")
    square.database.listeners.clear()
    romeo = square.online("romeo", "orchard")
    for number, size in ((1, 10), (2, 3000), (3, 10)):
        publishes(romeo, str(number), "a" * size)
    world = Narrow()
    Outbox(square.database, world, square.clock, square.tasks).wake(CAPULET)
    assert ids(world.hears()) == ["1", "1", "3", "3"]
    assert backlog(square) == {}


class Faulty(World):
    """A server whose stream ends after so many batches, and again and again."""

    batches = 2

    async def deliver(self, domain: str, stanzas: Any, minimum_proof: Proof = Proof.DIALBACK) -> None:
        if stanzas:
            self.batches -= 1
            if self.batches < 0:
                self.streams.discard(domain)
                self.batches = 1
                raise DeliveryFailed("the stream ended")
        await super().deliver(domain, stanzas, minimum_proof)


def test_a_crowd_at_one_domain_is_told_on_from_where_it_was(square: Square, time: Time) -> None:
    guests = [f"guest{number}@capulet.example" for number in range(900)]

    def subscribe(tx: Any) -> None:
        for guest in guests:
            jid = JID.parse(guest)
            subscribing.subscribe(tx, Subscribe(service=JID.parse(ROMEO), node=FEED, actor=jid, jid=jid))

    square.database.run(subscribe)
    square.database.listeners.clear()
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    publishes(romeo, "2")
    world = Faulty()
    Outbox(square.database, world, square.clock, square.tasks).wake(CAPULET)
    assert len(world.taken) == 400
    for _ in range(60):
        time.advance(60)
    heard = [(item, to) for _, to, item in told(world.hears())]
    assert heard == [(item, guest) for item in ("1", "2") for guest in guests]
    assert backlog(square) == {}


class Broken(World):
    """What fails in a way that nobody thought of."""

    async def deliver(self, domain: str, stanzas: Any, minimum_proof: Proof = Proof.DIALBACK) -> None:
        if domain in self.down:
            raise RuntimeError
        await super().deliver(domain, stanzas, minimum_proof)


def test_a_bug_is_a_failure_of_that_attempt_only(square: Square, time: Time) -> None:
    followed_by(square, "juliet@capulet.example")
    square.database.listeners.clear()
    publishes(square.online("romeo", "orchard"), "1")
    world = Broken()
    world.down.add(CAPULET)
    Outbox(square.database, world, square.clock, square.tasks).wake(CAPULET)
    world.down.clear()
    time.advance(60)
    assert ids(world.hears()) == ["1"]


class Overloaded(SlowDatabase):
    """A database that refuses the next write."""

    refusals = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def read(self, fn: Any, *args: Any, **more: Any) -> Any:
        return self._database.read(fn, *args, **more)

    def write(self, fn: Any, *args: Any) -> Any:
        if self.refusals:
            self.refusals -= 1
            return fail(ResourceConstraint())
        return self._database.write(fn, *args)


def test_what_was_delivered_is_not_sent_again_because_the_database_is_busy(square: Square, time: Time) -> None:
    followed_by(square, "juliet@capulet.example")
    romeo = square.online("romeo", "orchard")
    square.outbox._database = database = Overloaded(square.database)  # type: ignore[assignment]
    database.refusals = 2
    publishes(romeo, "1")
    time.advance(60)
    time.advance(60)
    assert ids(square.world.hears()) == ["1"]
    assert backlog(square) == {}


def test_an_edit_overtakes_what_waited(square: Square, time: Time) -> None:
    followed_by(square, "juliet@capulet.example")
    romeo = square.online("romeo", "orchard")
    square.world.down.add(CAPULET)
    publishes(romeo, "1", "before")
    publishes(romeo, "1", "after")
    square.world.down.clear()
    time.advance(60)
    (message,) = square.world.hears()
    assert "after" in repr(message)


def test_a_stop_stops(square: Square, time: Time) -> None:
    followed_by(square, "juliet@capulet.example")
    square.world.down.add(CAPULET)
    publishes(square.online("romeo", "orchard"), "1")
    square.outbox.stop()
    square.world.down.clear()
    time.advance(100_000)
    square.outbox.wake(CAPULET)
    assert square.world.hears() == []


# what was not taken


def refusals(square: Square, item_id: str = "1") -> list[tuple[str, State, str]]:
    """What the author is told of a post."""
    wanted = Where(actor=JID.parse(ROMEO), service=JID.parse(ROMEO), node=FEED, item_id=item_id)
    return [(at.domain, at.state, at.why) for at in square.database.run(reporting.where, wanted).domains]


def bounces(square: Square, message: Element, condition: str, **changes: str) -> None:
    """A notification comes back."""
    attributes = {"from": message.attributes["to"], "to": ROMEO, "id": message.attributes["id"], **changes}
    written = "".join(f" {name}='{value}'" for name, value in attributes.items())
    error = f"<error type='cancel'><{condition} xmlns='{ns.STANZAS}'/></error>"
    square.inject(f"<message type='error'{written}>{error}</message>")


def test_a_bounce_is_in_the_delivery_report(square: Square) -> None:
    square.messages.error_listeners.append(square.outbox.bounced)
    followed_by(square, "juliet@capulet.example")
    publishes(square.online("romeo", "orchard"), "1")
    (message,) = square.world.hears()
    assert refusals(square) == [(CAPULET, State.STORED, "")]
    bounces(square, message, "not-allowed", id="event-x")
    bounces(square, message, "not-allowed", id="hello")
    bounces(square, message, "not-allowed", **{"from": "paris@verona.example"})
    assert refusals(square) == [(CAPULET, State.STORED, "")]
    bounces(square, message, "not-allowed")
    assert refusals(square) == [(CAPULET, State.REFUSED, "not-allowed")]


def test_what_is_too_large_is_in_the_delivery_report(square: Square) -> None:
    followed_by(square, "juliet@capulet.example")
    square.database.listeners.clear()
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1", "a" * 3000)
    publishes(romeo, "2", "short")
    Outbox(square.database, Narrow(), square.clock, square.tasks).wake(CAPULET)
    (large,) = refusals(square)
    assert large[:2] == (CAPULET, State.REFUSED) and "2000 bytes" in large[2]
    assert refusals(square, "2") == [(CAPULET, State.STORED, "")]
