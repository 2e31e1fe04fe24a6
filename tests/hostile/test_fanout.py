"""docs/protocol/fanout.md §10: each threat, and a hostile node that harms nobody else.

Our node, as it is composed when it serves, is montague.example. The node of capulet.example is hostile; that of
verona.example is innocent, and its people are to notice nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from microblog.model.errors import AnotherEpoch
from microblog.model.fanout import Told, set_digest
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.policy import Grade
from microblog.store import tables
from microblog.store.peers import Peer as Known
from microblog.store.transaction import Transaction
from microblog.usecases import forwarding, identity, policing, reading, registering
from microblog.usecases.identity import Answer, Learned
from microblog.wire import fanout, ns
from microblog.wire.errors import read_condition
from microblog.wire.fanout import ENTRIES_MAX, NUMBER_MAX
from microblog.wire.xml import to_text
from microblog.xep.peers import RECOGNISE_SECONDS
from microblog.xmpp import tls
from microblog.xmpp.remote import PAUSE_MAX_SECONDS
from microblog.xmpp.transport import LINGER_SECONDS
from tests.federation.abroad import CAPULET, HOME, VERONA, House, Person
from tests.federation.nodes import Authority
from tests.hostile.peer import SILENCE, Peer, gone, kept, post, publishes, retracts, stored, subscribes

ROMEO, BENVOLIO, MERCUTIO = (JID(name, HOME) for name in ("romeo", "benvolio", "mercutio"))
JULIET, TYBALT = JID("juliet", CAPULET), JID("tybalt", CAPULET)
PARIS, ROSALINE = JID("paris", VERONA), JID("rosaline", VERONA)
WAIT = f"<error type='wait'><resource-constraint xmlns='{ns.STANZAS}'/></error>"
NOT_SPOKEN = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZAS}'/></error>"


@dataclass
class Verona:
    """Romeo and Benvolio follow Juliet and Paris; Juliet and Paris follow Romeo."""

    house: House
    capulet: Peer
    verona: Peer
    romeo: Person
    benvolio: Person

    def peer(self, domain: str = CAPULET) -> Known:
        return self.house.database.run(lambda tx: tx.peers.get(domain))

    def innocent_hears(self, item_id: str, *, seconds: float = 0) -> None:
        """Romeo posts: it is at the innocent node at once, or after so many seconds."""
        before = len(self.verona.titles())
        publishes(self.romeo, item_id, f"for all {item_id}")
        if seconds:
            self.house.wait(seconds)
        assert self.verona.titles()[before:] == [f"for all {item_id}"]

    def innocent_is_heard(self, number: int) -> None:
        """Paris posts: it is here."""
        answer = self.verona.delivers(number - 1, post(number, f"p{number}", "I come to woo", author=str(PARIS)))
        assert stored(answer).upto == number
        assert f"p{number}" in kept(self.house, PARIS)

    def epoch(self, domain: str) -> str:
        """Of our log for a domain."""
        return self.house.database.run(forwarding.epoch, domain)

    def reads(self, reader: JID, item_id: str) -> bool:
        """Does somebody here find it in their home timeline?"""
        return item_id in self.house.database.run(_home, reader)

    def delivers(self, *entries: str, prev: int | None = None, **more: Any) -> fanout.Stored:
        return stored(self.capulet.delivers(self.peer().received if prev is None else prev, *entries, **more))


def _home(tx: Transaction, reader: JID) -> set[str]:
    return {placed.item.id for placed in reading.home(tx, reading.Reading(actor=reader)).posts}


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def certificates(authority: Authority) -> Callable[[str, str], tls.Certificates]:
    return cache(authority.certificates)


@pytest.fixture
def make(authority: Authority, certificates: Callable[[str, str], tls.Certificates]) -> Any:
    def made(trusted: bool = True, followed: Sequence[JID] = (JULIET, PARIS), **sections: Any) -> Verona:
        kinds = {HOME: "valid", CAPULET: "valid" if trusted else "self-signed", VERONA: "valid"}
        shown = {domain: certificates(domain, kind) for domain, kind in kinds.items()}
        house = House(authority, shown[HOME], authority.folder, **sections)
        for name in ("romeo", "benvolio", "mercutio"):
            house.account(name)
        capulet = Peer(house, CAPULET, shown[CAPULET], trusted=trusted)
        verona = Peer(house, VERONA, shown[VERONA])
        romeo, benvolio = house.online("romeo"), house.online("benvolio")
        world = Verona(house, capulet, verona, romeo, benvolio)
        for person, jid in ((romeo, ROMEO), (benvolio, BENVOLIO)):
            for author in followed:
                subscribes(person, jid, author)
        subscribes(capulet, JULIET, ROMEO)
        subscribes(verona, PARIS, ROMEO)
        for peer, author in ((capulet, JULIET), (verona, PARIS)):
            peer.sets[str(author)] = (BENVOLIO, ROMEO)
        return world

    return made


@pytest.fixture
def world(make: Any) -> Verona:
    return make()  # type: ignore[no-any-return]


# one test for each threat


@pytest.mark.parametrize(
    "forged",
    [
        {"author": str(PARIS)},
        {"author": str(ROMEO)},
        {"author": "juliet@orchard.capulet.example"},
        {"author": "juliet@capulet.example.verona.example"},
        {"author": str(JULIET), "publisher": str(PARIS)},
        {"author": str(JULIET), "uri": f"xmpp:{PARIS}"},
    ],
    ids=str,
)
def test_nobody_speaks_for_another_domain(world: Verona, forged: dict[str, Any]) -> None:
    world.innocent_is_heard(1)
    before = {author: kept(world.house, author) for author in (PARIS, ROMEO, JULIET)}
    answer = world.delivers(
        post(1, "p1", "Death to the Montagues", **forged),
        post(2, "own", "I am Juliet", author=str(JULIET)),
        prev=0,
    )
    assert answer.refused == {1: "forbidden"} and answer.upto == 2
    after = {author: kept(world.house, author) for author in (PARIS, ROMEO)}
    assert after == {author: before[author] for author in (PARIS, ROMEO)}
    assert list(kept(world.house, JULIET)) == ["own"]


@pytest.mark.parametrize("from_", [str(JULIET), f"{CAPULET}/orchard"])
def test_only_a_node_delivers(world: Verona, from_: str) -> None:
    answer = world.capulet.delivers(0, post(1, "1", "a", author=str(JULIET)), from_=from_)
    assert answer.type == "error"
    assert kept(world.house, JULIET) == {}


def test_what_is_not_public_needs_a_certificate_both_ways(make: Any) -> None:
    world = make(trusted=False)
    answer = world.delivers(
        post(1, "f", "for followers", author=str(JULIET), audience=Told.FOLLOWERS, followers=(BENVOLIO, ROMEO)),
        post(2, "d", "for Romeo", author=str(JULIET), audience=Told.DIRECT, to=(ROMEO,)),
        post(3, "p", "for all", author=str(JULIET)),
        prev=0,
    )
    assert answer.refused == {1: "not-authorized", 2: "not-authorized"} and answer.upto == 3
    assert list(kept(world.house, JULIET)) == ["p"]
    publishes(world.romeo, "1", "zq-public")
    publishes(world.romeo, "2", "zq-followers", audience="followers")
    publishes(world.romeo, "3", "zq-direct", audience="direct", to=(JULIET,))
    assert world.capulet.titles() == ["zq-public"]
    assert world.verona.titles() == ["zq-public", "zq-followers"]
    heard = b"".join(world.capulet.bytes_heard())
    assert b"zq-public" in heard and b"zq-followers" not in heard and b"zq-direct" not in heard


def test_what_is_for_here_is_in_no_log_and_leaves_no_trace(world: Verona) -> None:
    publishes(world.romeo, "here", "zq-local", audience="local")
    publishes(world.romeo, "1", "for all")
    for peer in (world.capulet, world.verona):
        assert peer.titles() == ["for all"]
        assert b"zq-local" not in b"".join(peer.bytes_heard())

    def write(tx: Transaction) -> None:
        row = {"domain": CAPULET, "number": 99, "kind": "published", "event_seq": 1, "created": tx.now}
        tx.connection.execute(tables.delivery_log.insert().values(audience=Audience.LOCAL, **row))

    with pytest.raises(IntegrityError):
        world.house.database.run(write)


def test_nothing_goes_to_a_domain_that_the_administrator_does_not_trust(world: Verona) -> None:
    """A receiver may lie about what it does: what can be done is not to tell it."""
    world.house.database.run(policing.set_grade, CAPULET, Grade.REFUSED)
    world.house.policy.changed()
    world.house.settle()
    publishes(world.romeo, "1", "zq-public")
    assert b"zq-public" not in b"".join(world.capulet.bytes_heard())
    assert world.verona.titles() == ["zq-public"]


def test_who_was_removed_is_not_shown_what_comes_after(world: Verona) -> None:
    """Their node says who follows, ours believes it, and no more than both know of."""
    followers = (BENVOLIO, ROMEO)
    entry = post(1, "1", "for both", author=str(JULIET), audience=Told.FOLLOWERS, followers=followers)
    assert not world.delivers(entry, prev=0).stale
    world.capulet.sets[str(JULIET)], world.capulet.grants = (BENVOLIO,), False
    entry = post(2, "2", "for one", author=str(JULIET), audience=Told.FOLLOWERS, followers=(BENVOLIO,), version=2)
    world.delivers(entry)
    assert "followers" in [asked.name for asked in world.capulet.asked]
    assert world.reads(BENVOLIO, "2") and not world.reads(ROMEO, "2")


def test_who_follows_no_more_is_not_in_the_set_of_the_next_entry(world: Verona) -> None:
    subscribes(world.capulet, TYBALT, ROMEO)
    publishes(world.romeo, "1", "for two", audience="followers")
    subscribes(world.capulet, TYBALT, ROMEO, "unsubscribe")
    publishes(world.romeo, "2", "for one", audience="followers")
    first, second = world.capulet.told()
    assert (first.digest, second.digest) == (set_digest((JULIET, TYBALT)), set_digest((JULIET,)))
    assert first.version is not None and second.version is not None and first.version < second.version


def test_strangers_are_unwanted_and_cost_no_room(world: Verona) -> None:
    entries = [post(n, f"s{n}", "Buy!", author=str(TYBALT)) for n in range(1, ENTRIES_MAX + 1)]
    answer = world.delivers(*entries, prev=0)
    assert answer.unwanted == (TYBALT,) and answer.upto == ENTRIES_MAX
    assert kept(world.house, TYBALT) == {}


def test_strangers_who_name_people_have_a_budget(make: Any) -> None:
    world, refused = make(limits={"rates": True}, followed=()), 0
    for start in range(0, 500, ENTRIES_MAX):
        entries = [
            post(n, f"s{n}", "Buy!", author=f"spammer{n}@{CAPULET}", audience=Told.DIRECT, to=(MERCUTIO,))
            for n in range(start + 1, start + ENTRIES_MAX + 1)
        ]
        refused += len(world.delivers(*entries, prev=start).refused)
    assert refused > 400
    # The budget is of that domain.
    entry = post(1, "1", "Good morrow", author=str(ROSALINE), audience=Told.DIRECT, to=(MERCUTIO,))
    assert not stored(world.verona.delivers(0, entry)).refused


def test_the_same_numbers_again_are_not_looked_at(world: Verona) -> None:
    assert world.delivers(post(1, "1", "first", author=str(JULIET)), prev=0).upto == 1
    before = kept(world.house, JULIET)
    assert world.delivers(post(1, "1", "another", author=str(JULIET)), prev=0).upto == 1
    assert world.delivers(gone(1, "1", author=str(JULIET)), prev=0).upto == 1
    assert kept(world.house, JULIET) == before


def test_what_was_retracted_does_not_come_back(world: Verona) -> None:
    world.delivers(post(1, "1", "first", author=str(JULIET)), gone(2, "1", author=str(JULIET)), prev=0)
    world.delivers(post(3, "1", "again", author=str(JULIET)))
    world.delivers(post(1, "1", "and again", author=str(JULIET)), prev=0, epoch="another")
    assert kept(world.house, JULIET) == {}


def test_nobody_deletes_what_is_anothers(world: Verona) -> None:
    world.innocent_is_heard(1)
    publishes(world.romeo, "mine", "Romeo's own")
    answer = world.delivers(gone(1, "p1", author=str(PARIS)), gone(2, "mine", author=str(ROMEO)), prev=0)
    assert answer.refused == {1: "forbidden", 2: "forbidden"}
    assert "p1" in kept(world.house, PARIS) and "mine" in kept(world.house, ROMEO)


def test_nothing_is_passed_on_to_a_third_domain(world: Verona) -> None:
    entries = (
        post(1, "p", "zq-public", author=str(JULIET), to=(PARIS,)),
        post(2, "f", "zq-followers", author=str(JULIET), audience=Told.FOLLOWERS, followers=(BENVOLIO, ROMEO)),
        post(3, "d", "zq-direct", author=str(JULIET), audience=Told.DIRECT, to=(ROMEO, PARIS)),
    )
    world.delivers(*entries, prev=0)
    assert list(kept(world.house, JULIET)) == ["p", "f", "d"]
    world.verona.asks(f"<fetch xmlns='{ns.FANOUT}' epoch='{world.epoch(VERONA)}' after='0'/>")
    world.house.wait(3600)
    assert b"zq-" not in b"".join(world.verona.bytes_heard())


def test_a_domain_with_another_owner_is_told_nothing_private(make: Any) -> None:
    """K185, F36."""
    world = make()
    house = world.house
    house.database.run(lambda tx: registering.create_account(tx, "escalus", "secret", admin=True))
    house.database.run(identity.learn, Learned(domain=CAPULET, key="of the one before", answer=FORMER))
    world.delivers(post(1, "old", "I am Juliet", author=str(JULIET)), prev=0)
    before = kept(house, JULIET)
    publishes(world.romeo, "1", "zq-followers", audience="followers")
    publishes(world.romeo, "2", "zq-public")
    assert world.peer().doubted is not None
    assert world.capulet.titles() == ["zq-public"]
    assert world.verona.titles() == ["zq-followers", "zq-public"]
    # Nor does it change what the one before has said.
    private: dict[str, Any] = {"audience": Told.FOLLOWERS, "followers": (BENVOLIO, ROMEO)}
    entries = (
        post(2, "old", "I am somebody else", author=str(JULIET)),
        gone(3, "old", author=str(JULIET)),
        post(4, "new", "Believe me", author=str(JULIET), **private),
        post(5, "public", "I say", author=str(JULIET)),
    )
    assert world.delivers(*entries).refused == dict.fromkeys((2, 3, 4), "not-authorized")
    assert kept(house, JULIET).keys() - before.keys() == {"public"}
    assert before.items() <= kept(house, JULIET).items()
    world.innocent_hears("3")
    house.database.run(identity.trust, CAPULET)
    house.outbox.contact(CAPULET)
    house.settle()
    assert set(world.capulet.titles()) == {"zq-followers", "zq-public", "for all 3"}
    assert not world.delivers(gone(6, "old", author=str(JULIET))).refused
    assert "old" not in kept(house, JULIET)


def test_a_domain_that_is_only_read_is_recognised_as_well(make: Any) -> None:
    """Nothing is owed to it, and the new owner speaks first."""
    world = make()
    subscribes(world.capulet, JULIET, ROMEO, "unsubscribe")
    world.delivers(post(1, "old", "I am Juliet", author=str(JULIET)), prev=0)
    world.house.database.run(identity.learn, Learned(domain=CAPULET, key="of the one before", answer=FORMER))
    world.house.database.run(lambda tx: tx.peers.set(CAPULET, key="of the one before", epoch=FORMER.epoch))
    world.house.wait(400)
    assert world.peer().doubted is None
    world.capulet.hang_up()
    answer = world.delivers(post(2, "old", "I am somebody else", author=str(JULIET)))
    assert world.peer().doubted is not None
    assert answer.refused == {2: "not-authorized"}


FORMER = Answer(fanout=True, max_bytes=100_000, max_entries=50, epoch="of the one before")


def _calls_with_another_key(world: Verona, certificates: tls.Certificates) -> None:
    """The streams to it go on; whoever has the domain now opens another to us."""
    mouth = world.capulet._mouth
    assert mouth is not None
    world.capulet.certificates = certificates
    mouth.close()
    world.house.settle()


def _is_known(world: Verona) -> str:
    """Our node has a stream to it, and knows it by its key and its log; the key."""
    world.delivers(post(1, "old", "I am Juliet", author=str(JULIET)), prev=0)
    publishes(world.romeo, "1", "for followers", audience="followers")
    assert world.capulet.titles() == ["for followers"] and world.peer().key and world.peer().epoch
    return world.peer().key


def test_a_new_owner_is_not_taken_for_the_one_before_while_an_old_stream_lives(
    world: Verona, authority: Authority
) -> None:
    """It calls with a valid certificate, and our stream to the one before would live for a day."""
    key = _is_known(world)
    before = kept(world.house, JULIET)
    world.capulet.epoch = "another"
    _calls_with_another_key(world, authority.certificates(CAPULET, "valid"))
    private: dict[str, Any] = {"audience": Told.FOLLOWERS, "followers": (BENVOLIO, ROMEO)}
    entries = (
        gone(2, "old", author=str(JULIET)),
        post(3, "old", "I am somebody else", author=str(JULIET)),
        post(4, "new", "Believe me", author=str(JULIET), **private),
    )
    assert world.delivers(*entries, prev=1, epoch="theirs").refused == dict.fromkeys((2, 3, 4), "not-authorized")
    assert kept(world.house, JULIET) == before
    assert world.peer().doubted is not None and world.peer().key != key
    world.innocent_hears("2")


def test_a_renewed_key_loses_nothing(world: Verona, authority: Authority) -> None:
    key = _is_known(world)
    _calls_with_another_key(world, authority.certificates(CAPULET, "valid"))
    private: dict[str, Any] = {"audience": Told.FOLLOWERS, "followers": (BENVOLIO, ROMEO)}
    entries = (gone(2, "old", author=str(JULIET)), post(3, "new", "Me still", author=str(JULIET), **private))
    answer = world.delivers(*entries, prev=1)
    assert not answer.refused and answer.upto == 3
    assert list(kept(world.house, JULIET)) == ["new"]
    assert world.peer().doubted is None and world.peer().key not in ("", key)
    publishes(world.romeo, "2", "for followers still", audience="followers")
    assert world.capulet.titles() == ["for followers", "for followers still"]


def test_who_has_another_key_and_does_not_say_who_it_is_is_not_heard(world: Verona, authority: Authority) -> None:
    key = _is_known(world)
    before = kept(world.house, JULIET)
    world.capulet.silent = True
    _calls_with_another_key(world, authority.certificates(CAPULET, "valid"))
    world.capulet.mutters(
        f"<iq type='set' id='d' from='{CAPULET}' to='{HOME}'><deliver xmlns='{ns.FANOUT}' epoch='theirs' prev='1'>"
        f"{gone(2, 'old', author=str(JULIET))}</deliver></iq>"
        f"<message type='headline' from='{JULIET}' to='{ROMEO}'><event xmlns='{ns.PUBSUB_EVENT}'>"
        f"<items node='{MICROBLOG}'><retract id='old'/></items></event></message>"
    )
    world.house.settle()
    world.innocent_is_heard(1)
    mouth = world.capulet._mouth
    assert mouth is not None and not mouth.closed
    world.house.wait(RECOGNISE_SECONDS)
    world.house.wait(LINGER_SECONDS)
    assert mouth.closed
    assert b"remote-connection-failed" in b"".join(world.capulet.bytes_heard())
    assert kept(world.house, JULIET) == before
    assert (world.peer().key, world.peer().received, world.peer().doubted) == (key, 1, None)
    # It tries again, and now it says.
    world.capulet.silent = False
    assert not world.delivers(gone(2, "old", author=str(JULIET)), prev=1).refused
    assert kept(world.house, JULIET) == {}


def test_nothing_private_is_deleted_by_dialback(world: Verona, authority: Authority) -> None:
    """Who deceives our resolver answers a dialback; what is public it could as well have published."""
    private: dict[str, Any] = {"audience": Told.FOLLOWERS, "followers": (BENVOLIO, ROMEO)}
    direct: dict[str, Any] = {"audience": Told.DIRECT, "to": (ROMEO,)}
    world.delivers(
        post(1, "f", "for followers", author=str(JULIET), **private),
        post(2, "d", "for Romeo", author=str(JULIET), **direct),
        post(3, "p", "for all", author=str(JULIET)),
        post(4, "q", "for all", author=str(JULIET)),
        prev=0,
    )
    assert list(kept(world.house, JULIET)) == ["f", "d", "p", "q"]
    # The same domain by dialback: its certificate is nobody's.
    world.capulet.certificates, world.capulet.trusted = authority.certificates(CAPULET, "self-signed"), False
    world.capulet.hang_up()
    world.house.wait(PAUSE_MAX_SECONDS)
    event = f"<event xmlns='{ns.PUBSUB_EVENT}'>{{}}</event>"
    event = f"<message type='headline' from='{JULIET}' to='{ROMEO}'>{event}</message>"
    for what in ("f", "d", "p"):
        world.capulet.says(event.format(f"<items node='{MICROBLOG}'><retract id='{what}'/></items>"))
    assert list(kept(world.house, JULIET)) == ["f", "d", "q"]
    world.capulet.says(event.format(f"<purge node='{MICROBLOG}'/>"))
    world.capulet.says(event.format(f"<delete node='{MICROBLOG}'/>"))
    assert list(kept(world.house, JULIET)) == ["f", "d"]
    gone_ = [gone(number, what, author=str(JULIET)) for number, what in ((5, "f"), (6, "d"))]
    assert world.delivers(*gone_).refused == {5: "not-authorized", 6: "not-authorized"}
    assert list(kept(world.house, JULIET)) == ["f", "d"]
    # The administrator says that its dialback is as good.
    world.house.database.run(policing.set_dialback, CAPULET, True)
    world.house.policy.changed()
    world.house.settle()
    world.capulet.says(event.format(f"<items node='{MICROBLOG}'><retract id='f'/></items>"))
    assert not world.delivers(gone(7, "d", author=str(JULIET))).refused
    assert kept(world.house, JULIET) == {}


def test_who_breaks_discovery_gains_nothing(world: Verona) -> None:
    """Notifications for each reader, with the same proof, and to the same readers."""
    subscribes(world.capulet, TYBALT, ROMEO)
    world.capulet.stores = lambda came: NOT_SPOKEN
    world.capulet.features = ()
    publishes(world.romeo, "1", "zq-followers", audience="followers")
    publishes(world.romeo, "2", "zq-direct", audience="direct", to=(JULIET,))
    told = [(one.get("to"), to_text(one)) for one in world.capulet.stanzas if one.name == "message"]
    assert {to for to, text in told if "zq-followers" in text} == {str(JULIET), str(TYBALT)}
    assert {to for to, text in told if "zq-direct" in text} == {str(JULIET)}
    assert not any("http://jabber.org/protocol/address" in text for _, text in told)
    world.innocent_hears("3")


def test_a_domain_learns_who_of_its_own_follows_and_of_nobody_else(world: Verona) -> None:
    subscribes(world.capulet, TYBALT, ROMEO)
    world.verona.asks(f"<followers xmlns='{ns.FANOUT}' author='{ROMEO}'/>")
    payload = world.verona.answer().payload
    assert payload is not None
    assert fanout.read_follower_set(payload, ROMEO).jids == (PARIS,)
    world.verona.asks(f"<followers xmlns='{ns.FANOUT}' author='{ROMEO}' after='{JULIET}'/>")
    payload = world.verona.answer().payload
    assert payload is not None and fanout.read_follower_set(payload, ROMEO).jids in ((PARIS,), ())
    world.verona.asks(f"<followers xmlns='{ns.FANOUT}' author='{ROMEO}'/>", from_=str(PARIS))
    assert world.verona.answer().type == "error"


def test_what_is_too_much_is_refused_and_not_kept(world: Verona) -> None:
    voids = [fanout.write_void(n) for n in range(1, ENTRIES_MAX + 2)]
    answer = world.capulet.delivers(0, *voids)
    assert read_condition(answer.element) == ("bad-request", "modify")
    big = post(1, "big", "x" * 200_000, author=str(JULIET))
    small = post(2, "small", "x", author=str(JULIET))
    assert list(world.delivers(big, small, prev=0).refused) == [1] and list(kept(world.house, JULIET)) == ["small"]


@pytest.mark.parametrize(
    ("published", "taken"),
    [
        ("1970-01-01T00:00:00Z", True),
        ("0001-01-01T00:00:00Z", True),
        ("+4 minutes", True),
        ("+10 minutes", True),
        ("+23 hours", True),
        ("9999-12-31T23:59:59Z", False),
    ],
)
def test_no_clock_puts_a_post_before_others(world: Verona, published: str, taken: bool) -> None:
    """F29."""
    now: datetime = world.house.clock.now()
    if published.startswith("+"):
        number, unit = published[1:].split()
        published = (now + timedelta(**{unit: int(number)})).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = world.delivers(post(1, "1", "late", author=str(JULIET), published=published), prev=0)
    assert answer.upto == 1
    assert ("1" in kept(world.house, JULIET)) is taken

    def times(tx: Transaction) -> list[datetime]:
        node = tx.nodes.find(JULIET, MICROBLOG)
        return [] if node is None else [item.stands or item.published for item in tx.items.newest(node.key, 10)]

    assert all(when <= now for when in world.house.database.run(times))


def test_the_order_of_versions_is_that_of_their_numbers(world: Verona) -> None:
    """A clock that was ahead and is right again edits what it has posted."""
    now: datetime = world.house.clock.now()
    ahead, right = ((now + timedelta(minutes=n)).strftime("%Y-%m-%dT%H:%M:%SZ") for n in (4, 0))
    world.delivers(post(1, "1", "first", author=str(JULIET), published=ahead), prev=0)
    world.delivers(post(2, "1", "second", author=str(JULIET), published=right))
    assert ">second<" in kept(world.house, JULIET)["1"]


def test_numbers_that_were_given_before_a_backup_was_restored_stand_for_nothing(world: Verona) -> None:
    """As many posts were written since as were lost: only what the receiver had before tells that they are others."""
    for number in range(1, 4):
        publishes(world.romeo, str(number), f"lost {number}")
    (*_, before) = world.capulet.came

    def restore(tx: Transaction) -> None:
        tx.connection.execute(tables.delivery_log.delete().where(tables.delivery_log.c.number > 2))
        tx.peers.set(CAPULET, number=2, acknowledged=2)

    world.house.database.run(restore)
    world.house.given.begin(world.house.database.run(lambda tx: tx.peers.numbers()))
    world.capulet.stores = lambda came: world.capulet.stored(came, had=3 if came.epoch == before.epoch else None)
    publishes(world.romeo, "new", "new")
    world.house.wait(60)
    *_, first, again = world.capulet.came
    assert first.epoch == before.epoch != again.epoch
    assert [entry.number for entry in again.entries] == [entry.number for entry in first.entries] == [3]
    assert world.capulet.titles()[-1] == "new"
    assert world.peer().acknowledged == 3
    # It knows what it was told since.
    world.capulet.stores = lambda came: world.capulet.stored(came, had=came.prev)
    publishes(world.romeo, "5", "and more")
    assert world.capulet.came[-1].epoch == again.epoch


def test_who_asks_for_what_comes_after_what_was_never_given_gets_another_log(world: Verona) -> None:
    publishes(world.romeo, "1", "one")
    epoch = world.epoch(CAPULET)
    world.house.given.begin({})
    world.house.database.run(lambda tx: tx.peers.set(CAPULET, acknowledged=0))
    world.capulet.asks(f"<fetch xmlns='{ns.FANOUT}' epoch='{epoch}' after='1'/>")
    refusal = fanout.read_fetch_refusal(world.capulet.answer())
    assert isinstance(refusal, AnotherEpoch) and refusal.epoch == world.epoch(CAPULET) != epoch


# a hostile node harms nobody else


def test_who_never_acknowledges_holds_up_nobody(world: Verona) -> None:
    world.capulet.stores = lambda came: SILENCE
    for number in range(30):
        world.innocent_hears(f"i{number}")
    first = world.capulet.came[0]
    world.house.wait(86_400)
    attempts = len(world.capulet.came)
    assert attempts < 60
    assert {came.prev for came in world.capulet.came} == {first.prev}
    world.innocent_hears("last")
    # As soon as it does, it has everything, in order and once.
    world.capulet.came.clear()
    world.capulet.stores = world.capulet.stored
    world.house.outbox.contact(CAPULET)
    world.house.settle()
    assert world.capulet.titles() == [*(f"for all i{number}" for number in range(30)), "for all last"]


@pytest.mark.parametrize(
    "answer",
    [
        WAIT,
        "",
        "<stored xmlns='urn:x-microblog:fanout:0'/>",
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='another' upto='1'/>",
        f"<stored xmlns='urn:x-microblog:fanout:0' epoch='EPOCH' upto='{NUMBER_MAX}'/>",
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='EPOCH' upto='0'/>",
        "<stored xmlns='urn:x-microblog:fanout:0' epoch='EPOCH' upto='UPTO'><refused seq='77' reason='gone'/>"
        "<unwanted author='paris@verona.example'/><unwanted author='romeo@montague.example'/>"
        "<stale author='romeo@montague.example' have='9'/></stored>",
    ],
    ids=["wait", "nothing", "no numbers", "another epoch", "everything", "less", "of others"],
)
def test_who_lies_about_what_is_stored_holds_up_nobody(world: Verona, answer: str) -> None:
    world.capulet.stores = lambda came: answer.replace("EPOCH", came.epoch).replace("UPTO", str(came.upto))
    for number in range(5):
        world.innocent_hears(f"i{number}")
    asked = len(world.capulet.came)
    world.house.wait(600)
    assert len(world.capulet.came) - asked < 20
    world.innocent_hears("last")
    world.innocent_is_heard(1)


@pytest.mark.parametrize("prev", [10, NUMBER_MAX - ENTRIES_MAX])
@pytest.mark.parametrize("how", ["silent", "endless", "nonsense", "far", "refused"])
def test_who_leaps_ahead_and_has_nothing_to_fetch_harms_nobody(world: Verona, how: str, prev: int) -> None:
    world.delivers(post(1, "1", "first", author=str(JULIET)), prev=0)
    pages = {
        "silent": SILENCE,
        "endless": f"<deliver xmlns='{ns.FANOUT}' epoch='theirs' prev='1' last='{NUMBER_MAX}'/>",
        "nonsense": "<what xmlns='urn:example'/>",
        "far": f"<deliver xmlns='{ns.FANOUT}' epoch='theirs' prev='700' last='{NUMBER_MAX}'/>",
        "refused": NOT_SPOKEN,
    }
    world.capulet.pages = lambda asked: pages[how]
    entry = post(prev + 1, "2", "far", author=str(JULIET))
    world.capulet.asks(f"<deliver xmlns='{ns.FANOUT}' epoch='theirs' prev='{prev}'>{entry}</deliver>", "set")
    world.innocent_is_heard(1)
    world.innocent_hears("i")
    world.house.wait(120)
    assert len(world.capulet.asked) < 50
    assert "2" not in kept(world.house, JULIET)
    assert world.peer().received in (1, prev)
    world.innocent_is_heard(2)


def test_who_has_another_log_each_time_it_is_asked_harms_nobody(world: Verona) -> None:
    world.delivers(post(1, "1", "first", author=str(JULIET)), prev=0)
    epochs = (f"e{number}" for number in range(10_000))
    conflict = f"<conflict xmlns='{ns.STANZAS}'/>"
    world.capulet.pages = lambda asked: (
        f"<error type='cancel'>{conflict}<epoch xmlns='{ns.FANOUT}' now='{next(epochs)}'/></error>"
    )
    entry = post(11, "2", "far", author=str(JULIET))
    world.capulet.asks(f"<deliver xmlns='{ns.FANOUT}' epoch='theirs' prev='10'>{entry}</deliver>", "set")
    world.innocent_is_heard(1)
    world.innocent_hears("i")
    world.house.wait(120)
    assert len(world.capulet.asked) < 50
    world.innocent_is_heard(2)


def test_who_lies_about_sets_is_asked_and_shown_to_nobody(world: Verona) -> None:
    """Once for a delivery. And what it says is of its own people's feeds only."""
    world.capulet.sets[str(JULIET)] = (MERCUTIO,)
    for number in range(1, 40):
        entry = post(
            number,
            str(number),
            "lies",
            author=str(JULIET),
            audience=Told.FOLLOWERS,
            followers=(MERCUTIO,),
            digest=set_digest([JID(f"nobody{number}", HOME)]),
            version=number,
        )
        world.delivers(entry, prev=number - 1)
    asked = [one for one in world.capulet.asked if one.name == "followers"]
    assert len(asked) < 50
    assert not any(world.reads(jid, "39") for jid in (ROMEO, BENVOLIO, MERCUTIO))
    world.innocent_is_heard(1)
    assert world.reads(ROMEO, "p1")


def test_who_changes_epochs_all_the_time_costs_only_itself(world: Verona) -> None:
    for number in range(1, 30):
        world.delivers(post(5, str(number), "a", author=str(JULIET)), prev=4, epoch=f"e{number}")
    world.innocent_is_heard(1)
    world.innocent_hears("i")
    epochs = world.house.database.run(lambda tx: tx.settings.get("epoch"))
    # Nor can it make our log for another domain begin anew.
    world.capulet.asks(f"<fetch xmlns='{ns.FANOUT}' epoch='{world.epoch(CAPULET)}' after='{NUMBER_MAX}'/>")
    assert read_condition(world.capulet.answer().element)[0] == "conflict"
    assert world.house.database.run(lambda tx: tx.settings.get("epoch")) == epochs
    world.innocent_hears("j")


def test_a_flood_of_deliveries_is_answered_and_the_innocent_as_well(world: Verona) -> None:
    world.capulet.stanzas.clear()
    for number in range(1, 301):
        entry = post(number, str(number % 7), f"flood {number}", author=str(JULIET))
        world.capulet.mutters(
            f"<iq type='set' id='f{number}' from='{CAPULET}' to='{HOME}'>"
            f"<deliver xmlns='{ns.FANOUT}' epoch='theirs' prev='{number - 1}'>{entry}</deliver></iq>"
        )
    world.verona.mutters(
        f"<iq type='set' id='innocent' from='{VERONA}' to='{HOME}'>"
        f"<deliver xmlns='{ns.FANOUT}' epoch='theirs' prev='0'>{post(1, 'p1', 'woo', author=str(PARIS))}</deliver></iq>"
    )
    world.house.settle()
    assert stored(world.verona.answer("innocent")).upto == 1
    world.house.wait(60)
    answers = [one for one in world.capulet.stanzas if (one.get("id") or "").startswith("f")]
    assert len(answers) == 300
    world.innocent_hears("i")


def test_retractions_reach_who_holds_the_post_and_not_who_says_so(world: Verona) -> None:
    publishes(world.romeo, "1", "for all")
    subscribes(world.capulet, JULIET, ROMEO, "unsubscribe")
    retracts(world.romeo, "1")
    *_, last = world.capulet.told()
    assert last.audience is Told.HOLDERS and last.event is not None and last.event.retracted == ("1",)
