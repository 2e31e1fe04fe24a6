"""Delivery to another node by its log: one for all who follow there, until it is stored there, whatever fails."""

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred, succeed

from microblog.model.errors import (
    BadRequest,
    PolicyViolation,
    Refusal,
    RemoteServerTimeout,
    ResourceConstraint,
    ServiceUnavailable,
)
from microblog.model.fanout import Told
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.usecases import delivering, forwarding
from microblog.wire import fanout, ns, stanza
from microblog.wire.errors import internal_error
from microblog.wire.fanout import Deliver, Entry, FanoutLimits, Stored
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, to_text
from microblog.xep.forwarding import Forwarder, Given
from microblog.xep.outbox import Outbox
from tests.conftest import Time
from tests.xep.square import Square, World, publishes, told
from tests.xep.test_outbox import ROMEO, backlog, followed_by, refusals
from tests.xmltext import read

CAPULET = "capulet.example"
JULIET, TYBALT = "juliet@capulet.example", "tybalt@capulet.example"


class Node(World):
    """Capulet keeps a delivery log: it stores what comes and says so, unless ``answers`` say something else."""

    def __init__(self) -> None:
        super().__init__()
        self.keeps = FanoutLimits(max_bytes=20_000, max_entries=10, epoch="theirs")
        self.keeps_log = True
        self.known = True
        self.delivered: list[Deliver] = []
        self.minimum: list[Proof] = []
        self.sizes: list[int] = []
        self.given = Given()
        self.answers: list[Callable[[Deliver], Element | Refusal | Deferred[Stanza]]] = []

    # what the outbox asks of others

    async def limits(self, domain: str) -> FanoutLimits | None:
        return self.keeps if self.keeps_log else None

    async def refused(self, domain: str) -> None:
        self.keeps_log = False

    async def proved(self, domain: str) -> bool:
        return self.known

    async def request(
        self, type_: str, from_: JID, to: JID, payload: Element, *, seconds: float, minimum_proof: Proof
    ) -> Stanza:
        asked = stanza.iq(type_, from_, to, "x", read(to_text(payload)))
        if to.domainpart in self.down:
            return asked.error(RemoteServerTimeout())
        assert asked.payload is not None
        delivered = fanout.read_deliver(asked.payload)
        self.delivered.append(delivered)
        self.minimum.append(minimum_proof)
        self.sizes.append(len(asked.to_bytes()))
        answer = self.answers.pop(0)(delivered) if self.answers else stored(delivered)
        if isinstance(answer, Deferred):
            return await answer
        made = asked.error(answer) if isinstance(answer, Refusal) else asked.result(answer)
        return stanza.read(made.element, from_=to, to=from_, proof=Proof.CERTIFICATE)

    def numbers(self) -> list[list[int]]:
        """Of each delivery."""
        return [[entry.number for entry in delivered.entries] for delivered in self.delivered]

    def entries(self) -> list[tuple[int, str]]:
        """Number, and id of the item or nothing."""
        return [(entry.number, item_of(entry)) for delivered in self.delivered for entry in delivered.entries]


def item_of(entry: Entry) -> str:
    if entry.event is None:
        return ""
    return entry.event.items[0].id if entry.event.items else entry.event.retracted[0]


def stored(delivered: Deliver, upto: int | None = None, **more: object) -> Element:
    upto = delivered.upto if upto is None else upto
    return fanout.write_stored(Stored(epoch=delivered.epoch, upto=upto, **more))  # type: ignore[arg-type]


@pytest.fixture
def node(square: Square) -> Node:
    """Juliet and Tybalt follow Romeo, from another node."""
    node = Node()
    square.world = node
    forwarder = Forwarder(square.database, node.request, node, square.clock, given=node.given)
    square.outbox = Outbox(square.database, node, square.clock, square.tasks, forwarder=forwarder)
    square.notifications._wake = square.outbox.wake
    followed_by(square, JULIET, TYBALT)
    return node


def test_a_post_goes_once_to_a_node(square: Square, node: Node) -> None:
    publishes(square.online("romeo", "orchard"), "1")
    (delivered,) = node.delivered
    (entry,) = delivered.entries
    assert (str(entry.author), entry.audience, item_of(entry)) == (ROMEO, Told.PUBLIC, "1")
    assert (delivered.prev, delivered.upto) == (0, 1)
    assert node.taken == []
    assert node.minimum == [Proof.DIALBACK]
    assert backlog(square) == {}
    assert square.tasks.names() == []


def test_one_delivery_is_under_way_and_takes_what_came_meanwhile(square: Square, node: Node) -> None:
    waiting: Deferred[Stanza] = Deferred()
    node.answers.append(lambda _: waiting)
    romeo = square.online("romeo", "orchard")
    for number in range(1, 6):
        publishes(romeo, str(number))
    assert node.numbers() == [[1]]
    answer = stanza.iq("result", JID("", CAPULET), JID("", "montague.example"), "x", stored(node.delivered[0]))
    waiting.callback(answer)
    assert node.numbers() == [[1], [2, 3, 4, 5]]


def test_no_answer_and_the_same_numbers_go_again(square: Square, node: Node, time: Time) -> None:
    waiting: Deferred[Stanza] = Deferred()
    node.answers.append(lambda _: waiting)
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    publishes(romeo, "2")
    waiting.errback(RemoteServerTimeout("no answer in time"))
    assert refusals(square) == [(CAPULET, "pending", "no answer in time")]
    time.advance(60)
    assert node.entries() == [(1, "1"), (1, "1"), (2, "2")]
    assert refusals(square) == [(CAPULET, "stored", "")]


def test_a_node_that_is_down_gets_it_when_it_is_up(square: Square, node: Node, time: Time) -> None:
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    node.down.add(CAPULET)
    publishes(romeo, "2")
    publishes(romeo, "3")
    assert backlog(square) == {CAPULET: 2}
    node.down.clear()
    time.advance(60)
    assert node.entries() == [(1, "1"), (2, "2"), (3, "3")]
    assert backlog(square) == {}


def test_a_restart_between_numbering_and_sending_loses_nothing(square: Square, node: Node) -> None:
    """K12: numbered, and then the process is gone."""
    square.database.listeners.clear()
    publishes(square.online("romeo", "orchard"), "1")
    turn = forwarding.Turn(domain=CAPULET, trusted=True, named=lambda payload: ())
    assert square.database.run(forwarding.next_entries, turn).pending
    square.tasks.spawn(square.outbox.start(), "start")
    assert node.entries() == [(1, "1")]
    assert backlog(square) == {}


def test_part_may_be_stored(square: Square, node: Node, time: Time) -> None:
    node.down.add(CAPULET)
    romeo = square.online("romeo", "orchard")
    for number in "123":
        publishes(romeo, number)
    node.down.clear()
    node.answers.append(lambda delivered: stored(delivered, 2))
    time.advance(60)
    assert node.numbers() == [[1, 2, 3], [3]]


@pytest.mark.parametrize(
    "answer",
    [
        lambda delivered: ResourceConstraint("later"),
        lambda delivered: stored(delivered, 0),
        lambda delivered: read(f"<stored xmlns='{ns.FANOUT}' epoch='other' upto='1'/>"),
        lambda delivered: read("<stored xmlns='urn:other'/>"),
        lambda delivered: read(f"<stored xmlns='{ns.FANOUT}' epoch='{delivered.epoch}' upto='-1'/>"),
        lambda delivered: read(f"<stored xmlns='{ns.FANOUT}' epoch='{delivered.epoch}' upto='99'/>"),
    ],
)
def test_who_answers_nonsense_is_left_alone_for_a_while(
    square: Square, node: Node, time: Time, answer: Callable[[Deliver], Element | Refusal]
) -> None:
    node.answers.append(answer)
    publishes(square.online("romeo", "orchard"), "1")
    assert len(node.delivered) == 1
    assert backlog(square) == {CAPULET: 1}
    time.advance(60)
    assert node.entries() == [(1, "1"), (1, "1")]
    assert backlog(square) == {}


def test_who_has_more_than_we_gave_gets_a_new_epoch(square: Square, node: Node, time: Time) -> None:
    node.answers.append(lambda delivered: stored(delivered, 150))
    publishes(square.online("romeo", "orchard"), "1")
    time.advance(60)
    first, second = node.delivered
    assert first.epoch != second.epoch
    assert first.prev == second.prev == 0


def test_what_a_node_fetched_while_it_was_under_way_begins_no_new_epoch(square: Square, node: Node, time: Time) -> None:
    def fetched_before(delivered: Deliver) -> Element:
        node.given.was_fetched(CAPULET, delivered.upto)
        return stored(delivered, had=delivered.upto)

    node.answers.append(fetched_before)
    publishes(square.online("romeo", "orchard"), "1")
    time.advance(60)
    assert len(node.delivered) == 1
    assert backlog(square) == {}


def test_what_is_not_public_waits_for_a_certificate(square: Square, node: Node) -> None:
    square.makes_contact("romeo", JULIET, "from")
    node.proofs[CAPULET] = Proof.DIALBACK
    romeo = square.online("romeo", "orchard")
    marked = "<audience xmlns='urn:x-microblog:audience:0'>followers</audience>"
    payload = f"<entry xmlns='http://www.w3.org/2005/Atom'><title>few</title>{marked}</entry>"
    romeo.sends(
        f"<iq type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
        f"<publish node='urn:xmpp:microblog:0'><item id='1'>{payload}</item></publish></pubsub></iq>"
    )
    publishes(romeo, "2")
    assert node.entries() == [(1, "2")]
    assert backlog(square) == {CAPULET: 1}
    node.proofs[CAPULET] = Proof.CERTIFICATE
    node.known = False
    square.outbox.contact(CAPULET)
    assert node.entries() == [(1, "2")], "it has proved to be another one"
    node.known = True
    square.outbox.contact(CAPULET)
    assert node.entries() == [(1, "2"), (2, "1")]
    assert node.delivered[-1].entries[0].audience is Told.FOLLOWERS
    assert node.minimum == [Proof.DIALBACK, Proof.CERTIFICATE]


def test_what_is_refused_is_in_the_report(square: Square, node: Node) -> None:
    node.answers.append(lambda delivered: stored(delivered, refused={1: "policy-violation"}))
    publishes(square.online("romeo", "orchard"), "1")
    assert refusals(square) == [(CAPULET, "refused", "policy-violation")]
    assert backlog(square) == {}


@pytest.mark.parametrize("refusal", [BadRequest(), PolicyViolation()])
def test_one_entry_that_is_not_understood_stops_nothing(
    square: Square, node: Node, time: Time, refusal: Refusal
) -> None:
    node.down.add(CAPULET)
    romeo = square.online("romeo", "orchard")
    for number in "123":
        publishes(romeo, number)
    node.down.clear()

    def judge(delivered: Deliver) -> Element | Refusal:
        return refusal if "2" in [item_of(entry) for entry in delivered.entries] else stored(delivered)

    node.answers = [judge] * 10
    time.advance(60)
    assert backlog(square) == {}
    assert node.entries()[-2:] == [(2, ""), (3, "3")]
    assert refusals(square, "1") == [(CAPULET, "stored", "")]
    assert [(domain, state) for domain, state, _ in refusals(square, "2")] == [(CAPULET, "refused")]
    publishes(romeo, "4")
    publishes(romeo, "5")
    assert node.numbers()[-2:] == [[4], [5]]


def broken(delivered: Deliver) -> Deferred[Stanza]:
    answer = stanza.build("iq", "error", JID("", CAPULET), JID("", "montague.example"), "x", internal_error("1"))
    made = stanza.read(answer.element, from_=answer.from_, to=answer.to, proof=Proof.CERTIFICATE)
    return succeed(made)


def test_an_entry_that_breaks_a_node_again_and_again_stops_nothing(square: Square, node: Node, time: Time) -> None:
    node.down.add(CAPULET)
    romeo = square.online("romeo", "orchard")
    for number in "123":
        publishes(romeo, number)
    node.down.clear()

    def judge(delivered: Deliver) -> Element | Deferred[Stanza]:
        return broken(delivered) if "2" in [item_of(entry) for entry in delivered.entries] else stored(delivered)

    node.answers = [judge] * 100
    for _ in range(40):
        time.advance(1000)
    assert backlog(square) == {}
    assert refusals(square, "1") == [(CAPULET, "stored", "")]
    assert refusals(square, "2") == [(CAPULET, "refused", "internal-server-error")]
    assert refusals(square, "3") == [(CAPULET, "stored", "")]


def test_a_node_that_breaks_on_everything_loses_no_more_than_a_few(square: Square, node: Node, time: Time) -> None:
    romeo = square.online("romeo", "orchard")
    node.down.add(CAPULET)
    for number in range(9):
        publishes(romeo, str(number + 1))
    node.down.clear()

    def judge(delivered: Deliver) -> Element | Deferred[Stanza]:
        return broken(delivered) if any(item_of(entry) for entry in delivered.entries) else stored(delivered)

    node.answers = [judge] * 1000
    for _ in range(200):
        time.advance(1000)
    assert backlog(square) == {CAPULET: 6}
    node.answers.clear()
    time.advance(40_000)
    assert backlog(square) == {}
    assert [item_of(entry) for entry in node.delivered[-1].entries][-1] == "9"


def test_a_node_that_understands_nothing_is_left_alone(square: Square, node: Node, time: Time) -> None:
    node.answers = [lambda _: BadRequest()] * 100
    publishes(square.online("romeo", "orchard"), "1")
    assert len(node.delivered) == 2, "once as it is, and once void"
    time.advance(20)
    assert len(node.delivered) == 2
    node.answers.clear()
    time.advance(60)
    assert backlog(square) == {}


def test_what_is_too_large_for_a_node_is_void(square: Square, node: Node) -> None:
    node.keeps = FanoutLimits(max_bytes=4000, max_entries=10)
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1", "a" * 3500)
    publishes(romeo, "2")
    assert node.entries() == [(1, ""), (2, "2")]
    ((domain, state, why),) = refusals(square)
    assert (domain, state) == (CAPULET, "refused")
    assert "4000 bytes" in why


def test_a_delivery_is_no_larger_than_a_node_takes(square: Square, node: Node, time: Time) -> None:
    node.keeps = FanoutLimits(max_bytes=12_000, max_entries=10)
    node.down.add(CAPULET)
    romeo = square.online("romeo", "orchard")
    for number in range(1, 6):
        publishes(romeo, str(number), "a" * 3000)
    node.down.clear()
    time.advance(60)
    assert [number for numbers in node.numbers() for number in numbers] == [1, 2, 3, 4, 5]
    assert max(map(len, node.numbers())) > 1
    assert max(node.sizes) <= 12_000


def test_who_keeps_no_log_any_more_is_told_as_any_server(square: Square, node: Node) -> None:
    node.answers.append(lambda _: ServiceUnavailable())
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    assert len(node.delivered) == 1
    assert told(node.hears()) == [(ROMEO, JULIET, "1"), (ROMEO, TYBALT, "1")]
    assert backlog(square) == {}
    publishes(romeo, "2")
    assert len(told(node.hears())) == 2
    node.keeps_log = True
    publishes(romeo, "3")
    assert node.entries() == [(1, "1"), (2, "3")]
    assert node.delivered[-1].prev == 1


def test_what_is_no_post_goes_beside_the_log_in_order(square: Square, node: Node, time: Time) -> None:
    node.down.add(CAPULET)
    romeo = square.online("romeo", "orchard")
    publishes(romeo, "1")
    square.database.run(lambda tx: tx.outbox.add_stanza(CAPULET, f"<message from='{ROMEO}' to='{JULIET}'/>"))
    publishes(romeo, "2")
    node.down.clear()
    time.advance(60)
    assert node.entries() == [(1, "1"), (2, "2")]
    assert len(node.hears()) == 1
    assert node.numbers() == [[1], [2]], "the message went in between"


def test_a_bug_is_a_failure_of_that_attempt_only(square: Square, node: Node, time: Time) -> None:
    def fails(delivered: Deliver) -> Element:
        raise RuntimeError

    node.answers.append(fails)
    publishes(square.online("romeo", "orchard"), "1")
    time.advance(60)
    assert node.entries() == [(1, "1"), (1, "1")]
    assert square.database.run(delivering.backlog) == {}
