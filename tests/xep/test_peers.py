"""docs/protocol/fanout.md §4, §8.2: which domains are nodes, and whether they are the same as before."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.model.item import Proof
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.store.peers import Peer
from microblog.usecases import identity, registering
from microblog.wire import disco, fanout, ns
from microblog.wire.disco import Info
from microblog.wire.fanout import FanoutLimits
from microblog.wire.xml import Element, serialize
from microblog.xep.adminlines import AdminLines
from microblog.xep.peers import ASKING_MAX, NO_HOURS, RECOGNISE_SECONDS, YES_HOURS, Peers
from tests.xep.parlour import Parlour, lines
from tests.xep.square import Square
from tests.xep.test_chatlines import comes

CAPULET = "capulet.example"
HOST = "montague.example"
LIMITS = FanoutLimits(max_bytes=100_000, max_entries=20, epoch="first")
RESTORED = FanoutLimits(max_bytes=100_000, max_entries=20, epoch="second")
REFUSED = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZAS}'/></error>"
BUSY = f"<error type='wait'><resource-constraint xmlns='{ns.STANZAS}'/></error>"


class Streams:
    """To other domains, with what they have proved to be."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.there: dict[str, str] = {}
        self.left: list[str] = []
        self.proofs: dict[str, Proof] = {}

    def proof(self, domain: str) -> Proof | None:
        return self.proofs.get(domain, Proof.CERTIFICATE) if domain in self.keys else None

    def key(self, domain: str) -> str:
        return self.keys.get(domain, "")

    def leave(self, domain: str, key: str) -> None:
        """The next stream shows who is there now."""
        self.left.append(key)
        if self.proof(domain) is not None and self.key(domain) != key:
            self.keys[domain] = self.there.get(domain, key)


class Abroad:
    """Another domain, asked by ours."""

    def __init__(self, square: Square) -> None:
        self.square = square
        self.streams = Streams()
        self.doubted: list[str] = []
        self.peers = Peers(
            square.router, self.streams, square.database, square.clock, epoch="ours", doubts=self.doubted.append
        )
        square.disco.extensions = (*square.disco.extensions, self.peers)

    def answers(self, says: FanoutLimits | str | None) -> int:
        """Answer all questions; how many there were."""
        asked = [element for element in self.square.world_hears() if element.name == "iq"]
        for element in asked:
            assert (element.get("from"), element.get("to"), element.get("type")) == (HOST, CAPULET, "get")
            content, type_ = says, "error"
            if not isinstance(says, str):
                forms = () if says is None else (fanout.write_limits(says),)
                info = Info(features=(ns.FANOUT,) if says else (ns.DISCO_INFO,), forms=forms)
                content, type_ = serialize(disco.write_info(info), ns.CLIENT), "result"
            self.square.inject(
                f"<iq type='{type_}' id='{element.get('id')}' from='{CAPULET}' to='{HOST}'>{content}</iq>"
            )
        return len(asked)

    def limits(self, says: FanoutLimits | str | None, *, asked: int = 1) -> Any:
        waiting = Deferred.fromCoroutine(self.peers.limits(CAPULET))
        assert self.answers(says) == asked
        return result(waiting)

    def proved(self, key: str, says: FanoutLimits | str | None = None, *, asked: int = 0) -> Any:
        self.streams.keys[CAPULET] = key
        waiting = Deferred.fromCoroutine(self.peers.proved(CAPULET))
        assert self.answers(says) == asked
        return result(waiting)

    def recognises(self, key: str, says: FanoutLimits | str | None = None, *, asked: int = 0) -> Any:
        """Something has come under a certificate with that key."""
        waiting = Deferred.fromCoroutine(self.peers.recognises(CAPULET, key))
        assert self.answers(says) == asked
        return result(waiting)

    def known(self) -> Peer:
        return self.square.database.run(lambda tx: tx.peers.get(CAPULET))


def result(waiting: Deferred[Any]) -> Any:
    found: list[Any] = []
    waiting.addBoth(found.append)
    (only,) = found
    return only


@pytest.fixture
def abroad(square: Square) -> Abroad:
    return Abroad(square)


def test_this_node_says_what_it_takes(square: Square, abroad: Abroad) -> None:
    """XEP-0128, and XEP-0115 §5.1: the form is in the hash."""
    square.inject(f"<iq type='get' id='1' from='{CAPULET}' to='{HOST}'><query xmlns='{ns.DISCO_INFO}'/></iq>")
    (answer,) = square.world_hears()
    query = answer.first()
    assert query is not None
    info = disco.read_info(query)
    assert fanout.read_limits(info) == FanoutLimits(max_bytes=262_144, max_entries=50, log_days=30, epoch="ours")
    caps = disco.read_caps(Element(ns.CLIENT, "presence", None, square.capabilities.stream_feature))
    assert caps is not None and caps.ver == disco.verification(info)
    (form,) = info.forms
    assert caps.ver != disco.verification(Info(identities=info.identities, features=info.features))
    assert next(form.elements()).get("var") == "FORM_TYPE"


def test_a_node_is_asked_once_a_day(abroad: Abroad, clock: Clock) -> None:
    assert abroad.limits(LIMITS) == LIMITS
    assert abroad.limits(None, asked=0) == LIMITS
    clock.reactor.advance(YES_HOURS * 3600 - 1)  # type: ignore[attr-defined]  # of a test's clock
    assert abroad.limits(None, asked=0) == LIMITS
    clock.reactor.advance(1)  # type: ignore[attr-defined]
    assert abroad.limits(RESTORED) == RESTORED


@pytest.mark.parametrize("says", [None, REFUSED])
def test_another_server_is_asked_every_six_hours(abroad: Abroad, clock: Clock, says: str | None) -> None:
    assert abroad.limits(says) is None
    assert abroad.limits(LIMITS, asked=0) is None
    clock.reactor.advance(NO_HOURS * 3600)  # type: ignore[attr-defined]
    assert abroad.limits(LIMITS) == LIMITS


def test_who_cannot_be_asked_is_what_it_was(abroad: Abroad, clock: Clock) -> None:
    assert abroad.limits(BUSY) is None
    assert abroad.known().asked is None
    assert abroad.limits(LIMITS) == LIMITS
    clock.reactor.advance(YES_HOURS * 3600)  # type: ignore[attr-defined]
    assert abroad.limits(BUSY) == LIMITS
    waiting = Deferred.fromCoroutine(abroad.peers.limits(CAPULET))
    clock.reactor.advance(90)  # type: ignore[attr-defined]
    assert result(waiting) == LIMITS  # no answer at all


def test_a_refusal_is_a_no_at_once(abroad: Abroad, clock: Clock) -> None:
    assert abroad.limits(LIMITS) == LIMITS
    assert result(Deferred.fromCoroutine(abroad.peers.refused(CAPULET))) is None
    assert abroad.limits(LIMITS, asked=0) is None
    clock.reactor.advance(NO_HOURS * 3600)  # type: ignore[attr-defined]
    assert abroad.limits(LIMITS) == LIMITS


def test_many_who_want_to_know_ask_once(abroad: Abroad) -> None:
    waiting = [Deferred.fromCoroutine(abroad.peers.limits(CAPULET)) for _ in range(5)]
    assert abroad.answers(LIMITS) == 1
    assert [result(one) for one in waiting] == [LIMITS] * 5


def test_so_many_are_asked_at_once_and_no_more(square: Square, abroad: Abroad) -> None:
    for number in range(ASKING_MAX + 5):
        Deferred.fromCoroutine(abroad.peers.limits(f"c{number}.example"))
    assert len(square.world_hears()) == ASKING_MAX


def test_a_renewed_certificate_and_a_restored_node_are_the_same_node(abroad: Abroad) -> None:
    abroad.streams.keys[CAPULET] = "k1"
    assert abroad.limits(LIMITS) == LIMITS
    assert abroad.proved("k1") is True
    assert abroad.proved("k2", LIMITS, asked=1) is True
    assert abroad.proved("k2") is True
    assert not abroad.doubted and abroad.known().key == "k2"


def test_who_has_another_key_and_another_log_is_doubted(abroad: Abroad) -> None:
    """K185, F36."""
    abroad.streams.keys[CAPULET] = "k1"
    assert abroad.limits(LIMITS) == LIMITS
    assert abroad.proved("k2", RESTORED, asked=1) is False
    assert abroad.doubted == [CAPULET]
    assert abroad.proved("k2") is False
    assert abroad.doubted == [CAPULET]
    abroad.square.database.run(identity.trust, CAPULET)
    assert abroad.proved("k2") is True


def test_who_shows_itself_is_asked_who_it_is(abroad: Abroad) -> None:
    """Perhaps there is nothing for it here, and so no stream to it."""
    abroad.streams.keys[CAPULET] = "k1"
    assert abroad.limits(LIMITS) == LIMITS
    del abroad.streams.keys[CAPULET]
    waiting = Deferred.fromCoroutine(abroad.peers.recognise(CAPULET))
    abroad.streams.keys[CAPULET] = "k2"  # the question opens a stream
    assert abroad.answers(RESTORED) == 1
    assert result(waiting) is False
    assert abroad.doubted == [CAPULET]


def test_who_never_proved_anything_is_not_asked(abroad: Abroad) -> None:
    assert result(Deferred.fromCoroutine(abroad.peers.recognise(CAPULET))) is True
    assert abroad.answers(LIMITS) == 0


def test_whose_log_we_are_told_from_is_asked_though_nothing_goes_there(abroad: Abroad) -> None:
    """So that it is known who tells us."""
    abroad.square.database.run(lambda tx: tx.peers.set(CAPULET, received_epoch="e1"))
    waiting = Deferred.fromCoroutine(abroad.peers.recognise(CAPULET))
    abroad.streams.keys[CAPULET] = "k1"
    assert abroad.answers(LIMITS) == 1
    assert result(waiting) is True
    assert (abroad.known().key, abroad.known().epoch) == ("k1", "first")
    assert result(Deferred.fromCoroutine(abroad.peers.recognise(CAPULET))) is True
    assert abroad.answers(LIMITS) == 0
    assert abroad.recognises("k2", RESTORED, asked=1) is True and abroad.doubted == [CAPULET]


def test_until_it_has_answered_nothing_that_is_not_public_goes_there(abroad: Abroad) -> None:
    abroad.streams.keys[CAPULET] = "k1"
    assert abroad.limits(LIMITS) == LIMITS
    assert abroad.proved("k2", BUSY, asked=1) is False
    assert not abroad.doubted
    assert abroad.proved("k2", LIMITS, asked=1) is True


def test_a_stock_server_is_not_asked_for_its_certificate(abroad: Abroad) -> None:
    assert abroad.limits(None) is None
    assert abroad.proved("k1") is True
    assert abroad.proved("k2") is True
    assert abroad.known().key == "k2"


def test_a_key_without_a_certificate_proves_nothing(abroad: Abroad) -> None:
    abroad.streams.keys[CAPULET] = "k1"
    assert abroad.limits(LIMITS) == LIMITS
    abroad.streams.proofs[CAPULET] = Proof.DIALBACK
    assert abroad.proved("k2") is True
    assert abroad.known().key == "k1"


def is_known(abroad: Abroad) -> None:
    """There is a stream to it, with the key that it always had."""
    abroad.streams.keys[CAPULET] = "k1"
    assert abroad.limits(LIMITS) == LIMITS


def test_what_comes_under_the_key_that_is_known_is_looked_at_at_once(abroad: Abroad) -> None:
    assert abroad.recognises("k1") is True  # nothing is known of it
    assert abroad.limits(None) is None
    assert abroad.proved("k1") is True
    assert abroad.recognises("k2") is True  # a server without a log, which has nothing to be known by
    assert not abroad.streams.left


def test_what_comes_under_another_key_is_not_looked_at_before_its_domain_was_asked(abroad: Abroad) -> None:
    """On another stream than the old one, however long that lives."""
    is_known(abroad)
    assert abroad.recognises("k1") is True
    waiting = Deferred.fromCoroutine(abroad.peers.recognises(CAPULET, "k2"))
    assert not waiting.called and abroad.streams.left == ["k2"]
    assert abroad.answers(LIMITS) == 1
    assert result(waiting) is True and not abroad.doubted
    assert abroad.known().key == "k2"
    assert abroad.recognises("k2") is True


def test_who_sends_with_another_key_and_has_another_log_is_doubted_before_it_is_heard(abroad: Abroad) -> None:
    is_known(abroad)
    assert abroad.recognises("k2", RESTORED, asked=1) is True  # and goes by what the doubt lets it do
    assert abroad.doubted == [CAPULET] and abroad.known().doubted is not None
    assert abroad.recognises("k3") is True
    assert abroad.proved("k2") is False


@pytest.mark.parametrize("says", [None, REFUSED])
def test_who_sends_with_another_key_and_has_no_log_is_doubted(abroad: Abroad, says: str | None) -> None:
    is_known(abroad)
    assert abroad.recognises("k2", says, asked=1) is True
    assert abroad.doubted == [CAPULET]


def test_who_does_not_answer_is_not_recognised_for_now(abroad: Abroad, clock: Clock) -> None:
    is_known(abroad)
    assert abroad.recognises("k2", BUSY, asked=1) is False
    waiting = Deferred.fromCoroutine(abroad.peers.recognises(CAPULET, "k2"))
    clock.reactor.advance(RECOGNISE_SECONDS)  # type: ignore[attr-defined]
    assert result(waiting) is False
    assert len(abroad.square.world_hears()) == 1
    abroad.streams.proofs[CAPULET] = Proof.DIALBACK
    assert abroad.recognises("k2", LIMITS, asked=1) is False
    del abroad.streams.proofs[CAPULET]
    assert abroad.known().key == "k1" and not abroad.doubted
    assert abroad.recognises("k2", LIMITS, asked=1) is True


def test_a_domain_may_have_a_key_to_call_with_and_one_where_it_is_called(abroad: Abroad) -> None:
    is_known(abroad)
    abroad.streams.there[CAPULET] = "k1"
    assert abroad.recognises("k2", LIMITS, asked=1) is True
    assert abroad.recognises("k2") is True  # it is asked once
    assert abroad.known().key == "k1"
    # Until it is another.
    abroad.square.database.run(lambda tx: tx.peers.set(CAPULET, epoch="second"))
    assert abroad.recognises("k2", RESTORED, asked=1) is True


def test_many_streams_with_another_key_are_one_question(abroad: Abroad) -> None:
    is_known(abroad)
    waiting = [Deferred.fromCoroutine(abroad.peers.recognises(CAPULET, "k2")) for _ in range(5)]
    assert abroad.answers(LIMITS) == 1
    assert [result(one) for one in waiting] == [True] * 5


def test_administrators_get_one_line(database: Database, clock: Clock) -> None:
    parlour = Parlour(database, clock)
    parlour.database.run(lambda tx: registering.create_account(tx, "escalus", "secret", admin=True))
    escalus, romeo = comes(parlour, "escalus"), comes(parlour, "romeo")
    told = AdminLines(database, parlour.tasks, parlour.router.send, parlour.outbox.wake)
    told.doubted(CAPULET)
    ((_, text),) = lines(escalus)
    assert text == (
        "capulet.example has another key and another delivery log than before: it may belong to somebody else now. "
        'What is not public is not sent there until "twistd microblog domain trust capulet.example" says that it is '
        "the same."
    )
    assert lines(romeo) == []
