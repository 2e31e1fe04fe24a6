"""The delivery log between two nodes of ours: one delivery for all who follow there, nothing lost or told twice."""

from datetime import timedelta
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from microblog.model.entry import Entry
from microblog.model.fanout import Told
from microblog.model.item import Audience, Item, Proof
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store import tables
from microblog.store.peers import Peer
from microblog.store.transaction import Transaction
from microblog.usecases import forgetting, publishing, reporting
from microblog.usecases.reporting import State
from microblog.wire import fanout, mention, ns
from microblog.wire.fanout import Deliver
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.intake import SILENT
from microblog.xmpp.dispatch import At
from tests.federation.nodes import Authority
from tests.federation.twins import CAPULET, MONTAGUE, Twin, Twins

ROMEO = JID("romeo", MONTAGUE)
CROWD = 12
_DELIVER = (At.HOST, "set", ns.FANOUT, "deliver")


class Wire:
    """What a twin is delivered by log, and how many notifications come to it one by one."""

    def __init__(self, twin: Twin) -> None:
        self.delivered: list[Deliver] = []
        self.notifications = 0
        self.answers_lost = 0
        self._routes = twin.router.dispatch._routes
        self._deliver = self._routes[_DELIVER]
        self._routes[_DELIVER] = self._take
        self._inbound = twin.router.messages.inbound
        twin.router.messages.inbound = self._message  # type: ignore[assignment]  # hears what comes

    async def _take(self, request: Stanza) -> Element | None:
        assert request.payload is not None
        self.delivered.append(fanout.read_deliver(request.payload))
        answer = await self._deliver(request)
        if self.answers_lost:
            self.answers_lost -= 1
            await Deferred()
        return answer

    async def _message(self, message: Stanza) -> None:
        self.notifications += message.element.find(ns.PUBSUB_EVENT, "event") is not None
        await self._inbound(message)

    def numbers(self) -> list[list[int]]:
        return [[entry.number for entry in delivered.entries] for delivered in self.delivered]


class Verona(Twins):
    """Romeo, and at the other node a crowd that follows him."""

    def __init__(self, authority: Authority, folder: Path, crowd: int = 2, hidden: str = "") -> None:
        super().__init__(authority, folder, hidden)
        self.romeo = self.montague.talker("romeo")
        self.crowd = [self.capulet.talker(f"guest{number}") for number in range(crowd)]
        self.wire = Wire(self.capulet)
        for guest in self.crowd:
            guest.says("follow romeo@montague.example")
        self.settle()
        self.hear()

    def hear(self) -> list[list[str]]:
        """What each of the crowd is told."""
        return [guest.hears() for guest in self.crowd]

    def posts(self, item_id: str, text: str = "", *, followers: bool = False) -> None:
        few = "<audience xmlns='urn:x-microblog:audience:0'>followers</audience>" if followers else ""
        entry = f"<entry xmlns='{ns.ATOM}'><title>{text or item_id}</title>{few}</entry>"
        self._asks(f"<publish node='{MICROBLOG}'><item id='{item_id}'>{entry}</item></publish>")

    def retracts(self, item_id: str) -> None:
        self._asks(f"<retract node='{MICROBLOG}' notify='true'><item id='{item_id}'/></retract>")

    def _asks(self, content: str) -> None:
        self.romeo._sends(f"<iq type='set' id='p'><pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub></iq>")
        self.romeo.receives()
        self.settle()

    def get_to_know(self) -> None:
        """Nothing is said for a while: by now each has asked the other who it is."""
        for _ in range(3):
            self.time.advance(SILENT.total_seconds())
            self.settle()

    def copies(self) -> list[str]:
        """What the other node has of Romeo's feed, oldest first."""
        return sorted(item.id for item in self.kept())

    def kept(self) -> list[Item]:
        return self.capulet.items(ROMEO, MICROBLOG)

    def origin(self) -> Peer:
        """What Romeo's node knows of the other."""
        return self.montague.database.run(lambda tx: tx.peers.get(CAPULET))

    def receiver(self) -> Peer:
        return self.capulet.database.run(lambda tx: tx.peers.get(MONTAGUE))

    def state(self, item_id: str) -> list[tuple[State, str]]:
        wanted = reporting.Where(actor=ROMEO, service=ROMEO, node=MICROBLOG, item_id=item_id)
        return [(at.state, at.why) for at in self.montague.database.run(reporting.where, wanted).domains]

    def loses(self, received: int, *item_ids: str) -> None:
        """The other node is restored from a backup in which some of what it stored is not."""

        def lose(tx: Transaction) -> None:
            tx.peers.set(MONTAGUE, received=received)
            node = tx.nodes.find(ROMEO, MICROBLOG)
            assert node is not None
            for item_id in item_ids:
                tx.connection.execute(tables.items.delete().where(tables.items.c.item_id == item_id))

        self.capulet.database.run(lose)


@pytest.fixture
def verona(authority: Authority, tmp_path: Path) -> Verona:
    return Verona(authority, tmp_path)


def said(lines: list[str]) -> list[str]:
    return [line.split(": ", 1)[1].partition(" #")[0].strip() for line in lines]


def test_one_delivery_for_all_who_follow(authority: Authority, tmp_path: Path) -> None:
    verona = Verona(authority, tmp_path, CROWD)
    verona.wire.notifications = 0
    for number in "123":
        verona.posts(number, f"post {number}")
    assert [[heard.partition(" ")[0] for heard in said(lines)] for lines in verona.hear()] == [["post"] * 3] * CROWD
    assert verona.wire.numbers() == [[1], [2], [3]]
    assert verona.wire.notifications == 0
    assert verona.copies() == ["1", "2", "3"]
    assert [item.proof for item in verona.kept()] == [Proof.CERTIFICATE] * 3
    assert verona.state("1") == [(State.STORED, "")]
    assert (verona.origin().acknowledged, verona.receiver().received) == (3, 3)


def renew(twin: Twin, authority: Authority) -> str:
    """Another key, for streams that begin from now on; the one before, as the other side knows it."""
    other = twin.twins.capulet if twin is twin.twins.montague else twin.twins.montague
    made = authority.certificates(twin.domain)
    twin.certificates.certificate_path, twin.certificates.key_path = made.certificate_path, made.key_path
    assert twin.certificates.reload() is None
    return other.database.run(lambda tx: tx.peers.get(twin.domain)).key


def knows(twin: Twin, of: Twin) -> Peer:
    return twin.database.run(lambda tx: tx.peers.get(of.domain))


@pytest.mark.parametrize("hidden", ["", CAPULET])
def test_both_renew_their_keys_at_once(authority: Authority, tmp_path: Path, hidden: str) -> None:
    """Each holds what comes until the other has said who it is; one of them may be such that nobody can call it."""
    verona = Verona(authority, tmp_path, hidden=hidden)
    montague, capulet = verona.montague, verona.capulet
    verona.posts("1")
    verona.posts("2", followers=True)
    verona.get_to_know()
    before = [renew(twin, authority) for twin in (montague, capulet)]
    assert all(before)
    verona.part()
    verona.posts("3", followers=True)
    verona.retracts("2")
    verona.meet()
    verona.posts("4", followers=True)
    assert verona.copies() == ["1", "3", "4"]
    for ours, theirs, key in ((capulet, montague, before[0]), (montague, capulet, before[1])):
        known = knows(ours, theirs)
        assert known.doubted is None and known.key not in ("", key)


def test_a_key_is_renewed_while_old_streams_go_on(verona: Verona, authority: Authority) -> None:
    montague, capulet = verona.montague, verona.capulet
    verona.posts("1", followers=True)
    verona.get_to_know()
    verona.posts("2", followers=True)
    before = renew(montague, authority)
    assert before
    stream = capulet.server_streams._by_domain[MONTAGUE][0].stream
    montague.servers._remote(CAPULET)._own = None  # the other side knows nothing of its being forgotten
    montague.servers._remote(CAPULET)._carrier = None
    verona.posts("3", followers=True)
    verona.retracts("1")
    verona.time.advance(1)  # nobody is dialled again at once
    verona.settle()
    assert not stream.closed
    assert verona.copies() == ["2", "3"]
    known = knows(capulet, montague)
    assert known.doubted is None and known.key not in ("", before)


def test_a_lost_answer_is_no_second_notification(verona: Verona) -> None:
    verona.wire.answers_lost = 1
    verona.posts("1")
    assert [len(lines) for lines in verona.hear()] == [1, 1]
    assert verona.state("1") == [(State.PENDING, "")]
    verona.posts("2")
    verona.meet()
    assert [len(lines) for lines in verona.hear()] == [1, 1], "of the second"
    assert verona.wire.numbers() == [[1], [1], [2]]
    assert verona.state("1") == [(State.STORED, "")]


def test_what_was_written_while_they_could_not_meet_comes_in_order(verona: Verona) -> None:
    verona.posts("1")
    verona.hear()
    verona.part()
    for number in "234":
        verona.posts(number, f"post {number}")
    verona.posts("3", "post 3, better")
    verona.retracts("2")
    assert verona.copies() == ["1"]
    verona.meet()
    assert verona.copies() == ["1", "3", "4"]
    heard = [[words for words in lines if "post 2" in words or "post 3 " in words] for lines in verona.hear()]
    assert heard == [[], []]
    assert verona.state("3") == [(State.STORED, "")]


def test_a_retraction_reaches_who_holds_the_post(verona: Verona) -> None:
    verona.posts("1")
    verona.posts("2")
    for guest in verona.crowd:
        guest.says("unfollow romeo@montague.example")
    verona.settle()
    assert verona.copies() == ["1", "2"]
    verona.retracts("1")
    assert verona.wire.delivered[-1].entries[0].audience is Told.HOLDERS
    assert verona.copies() == ["2"]


def test_what_is_for_followers_goes_to_a_certificate_only(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority()
    try:
        verona = Verona(stranger, tmp_path)
    finally:
        stranger.remove()
    certified = authority.certificates(MONTAGUE)
    verona.montague.certificates.__dict__.update(certified.__dict__)
    verona.part()
    verona.meet()
    verona.posts("1", followers=True)
    verona.posts("2")
    assert verona.copies() == ["2"]
    assert [state for state, _ in verona.state("1")] == [State.PENDING]
    verona.capulet.certificates.__dict__.update(authority.certificates(CAPULET).__dict__)
    verona.part()
    verona.meet()
    verona.montague.outbox.contact(CAPULET)
    verona.meet()
    assert verona.copies() == ["1", "2"]
    assert {item.id: item.audience for item in verona.kept()}["1"] is Audience.FOLLOWERS
    assert verona.state("1") == [(State.STORED, "")]


def test_what_was_lost_is_fetched_from_the_log(verona: Verona) -> None:
    for number in "123":
        verona.posts(number)
    verona.hear()
    verona.loses(1, "2", "3")
    assert verona.copies() == ["1"]
    verona.posts("4")
    assert verona.wire.numbers() == [[1], [2], [3], [4]], "the others are fetched"
    assert verona.copies() == ["1", "2", "3", "4"]
    assert verona.receiver().received == 4


def test_what_the_log_has_no_more_is_read_from_the_feed(verona: Verona) -> None:
    for number in "123":
        verona.posts(number)
    verona.loses(1, "2", "3")
    verona.montague.database.run(lambda tx: _later(tx))
    verona.posts("4")
    verona.meet()
    assert verona.copies() == ["1", "2", "3", "4"]
    assert verona.receiver().received == 4


def _later(tx: Transaction) -> None:
    tx.now += timedelta(days=forgetting.LOG_DAYS + 1)
    forgetting.forget(tx)
    assert tx.logs.first(CAPULET) is None


def test_a_node_that_was_restored_begins_another_log(verona: Verona) -> None:
    for number in "123":
        verona.posts(number)
    epoch = verona.receiver().received_epoch

    def restore(tx: Transaction) -> None:
        tx.connection.execute(tables.delivery_log.delete().where(tables.delivery_log.c.number > 1))
        tx.peers.set(CAPULET, number=1, acknowledged=1)

    verona.montague.database.run(restore)
    verona.posts("4")
    verona.meet()
    assert "4" in verona.copies()
    assert verona.receiver().received_epoch != epoch
    verona.posts("5")
    assert "5" in verona.copies()
    assert verona.origin().number == verona.receiver().received


def test_who_does_not_follow_is_told_that_a_post_names_them(verona: Verona) -> None:
    stranger, other = verona.capulet.talker("stranger"), verona.capulet.talker("other")
    for somebody in (stranger, other):
        somebody.says("stats")
    verona.posts("first")
    verona.romeo.says("I saw @stranger@capulet.example at the feast")
    (entry,) = verona.wire.delivered[-1].entries
    assert (entry.audience, entry.to) == (Told.PUBLIC, (stranger.jid,))
    (line,) = stranger.hears()
    assert line.startswith("romeo@montague.example: I saw")
    assert other.hears() == []
    assert [len(lines) for lines in verona.hear()] == [2, 2]
    assert verona.wire.notifications == 0


def test_what_is_direct_is_for_its_readers_and_is_taken_back(verona: Verona) -> None:
    stranger = verona.capulet.talker("stranger")
    stranger.says("stats")
    verona.posts("first")
    verona.hear()

    def publish(tx: Transaction) -> None:
        publishing.publish(
            tx,
            publishing.Publish(
                service=ROMEO,
                node=MICROBLOG,
                actor=ROMEO.with_resource("phone"),
                item_id="1",
                payload=f"<entry xmlns='{ns.ATOM}'><title>a secret</title></entry>",
                entry=Entry(title="a secret"),
                audience=Audience.DIRECT,
                readers=(stranger.jid,),
                mention=mention.write_mention,
            ),
        )

    verona.montague.database.run(publish)
    verona.settle()
    assert verona.wire.delivered[-1].entries[0].audience is Told.DIRECT
    (line,) = stranger.hears()
    assert "a secret" in line
    assert verona.hear() == [[], []]
    assert verona.copies() == ["1", "first"]
    verona.retracts("1")
    assert verona.copies() == ["first"]


def test_a_follower_that_only_one_side_knows_is_found(verona: Verona) -> None:
    """The receiver lost a subscription: the origin is told that nobody follows for them there."""
    verona.posts("1")
    guest = verona.crowd[0].jid

    def forget_one(tx: Transaction) -> None:
        node = tx.nodes.find(ROMEO, MICROBLOG)
        assert node is not None
        tx.subscriptions.remove(node, guest)

    verona.capulet.database.run(forget_one)
    verona.posts("2", followers=True)
    verona.meet()

    def followers(tx: Transaction) -> list[JID]:
        node = tx.nodes.find(ROMEO, MICROBLOG)
        assert node is not None
        return tx.subscriptions.elsewhere(node, MONTAGUE)

    assert verona.montague.database.run(followers) == [verona.crowd[1].jid]
