"""Delivery logs of other nodes at the stanzas: answered when stored, fetched where something is missing, told once."""

from collections.abc import Callable

import pytest

from microblog.model.fanout import Told, set_digest
from microblog.model.item import Item, Proof
from microblog.model.jid import JID
from microblog.model.policy import Grade
from microblog.model.subscription import SubscriptionState
from microblog.runtime import Clock
from microblog.store.database import Database, Transaction
from microblog.store.peers import Peer
from microblog.store.transaction import Transaction as StoredTransaction
from microblog.usecases import following, identity
from microblog.usecases.following import Follow
from microblog.wire import fanout, ns
from microblog.wire.fanout import FollowerSet
from microblog.wire.notification import Notice
from microblog.wire.xml import Element, Raw, to_text
from microblog.xep import intake, refills
from microblog.xep.health import FollowHealth
from microblog.xep.intake import Intake
from microblog.xep.letters import Letters
from tests.conftest import Time
from tests.im.town import Client
from tests.xep.parlour import Parlour, lines, says
from tests.xep.square import FEED, address, told

CAPULET = "capulet.example"
JULIET = JID.parse("juliet@capulet.example")
PRIVATE = f"<audience xmlns='{ns.AUDIENCE}'>followers</audience>"
ROMEO, BENVOLIO, MERCUTIO = address("romeo"), address("benvolio"), address("mercutio")


def event(content: str) -> Raw:
    return Raw(f"<event xmlns='{ns.PUBSUB_EVENT}'><items node='{FEED}'>{content}</items></event>")


def post(item_id: str, title: str = "", updated: str = "2026-01-01T11:59:00Z", inside: str = "") -> str:
    return (
        f"<item id='{item_id}' publisher='{JULIET}'><entry xmlns='{ns.ATOM}'><title>{title or item_id}</title>"
        f"<published>{updated}</published><updated>{updated}</updated>{inside}</entry></item>"
    )


class Origin:
    """Capulet's node. It has a log of (audience, event, more) by number, and answers what it is asked.

    ``pages``: how many entries a fetch brings; ``set``: whom it knows as Juliet's followers; ``feed``: her items.
    """

    def __init__(self, parlour: "Receiver") -> None:
        self.parlour = parlour
        self.epoch = "e1"
        self.log: list[Raw] = []
        self.first = 1
        self.pages = 50
        self.set: list[JID] = [ROMEO, BENVOLIO]
        self.feed: list[str] = []
        self.away = False
        self.proof = Proof.CERTIFICATE  # of its answers
        self.fetched: list[tuple[str, int]] = []
        self.asked: list[str] = []
        self.unsubscribed: list[str] = []

    def says(self, content: str, audience: Told = Told.PUBLIC, *, to: tuple[JID, ...] = (), named: bool = False) -> int:
        """Something happens; its number."""
        number = self.first + len(self.log)
        more = {"version": 7, "digest": set_digest(self.set)} if named or audience is Told.FOLLOWERS else {}
        self.log.append(fanout.write_entry(number, JULIET, audience, event(content), to=to, **more))  # type: ignore[arg-type]  # fields of several types
        return number

    def delivers(self, *numbers: int, proof: Proof = Proof.CERTIFICATE) -> Element:
        """These entries, and the answer."""
        self.sends(*numbers, proof=proof)
        return self.hears_answer()

    def sends(self, *numbers: int, proof: Proof = Proof.CERTIFICATE) -> None:
        entries = [self.log[number - self.first] for number in numbers]
        self._inject("set", fanout.write_deliver(self.epoch, numbers[0] - 1, entries), proof)

    def _inject(self, type_: str, payload: Element, proof: Proof = Proof.CERTIFICATE, id_: str = "d") -> None:
        text = Element(ns.CLIENT, "iq", {"type": type_, "id": id_, "from": CAPULET, "to": self.parlour.router.domain})
        text.append(payload)
        self.parlour.inject(to_text(text), proof)

    def hears_answer(self) -> Element:
        """Answer whatever is asked, until the delivery is answered."""
        answers = self.serves()
        (answer,) = answers
        return answer

    def serves(self) -> list[Element]:
        """Answer everything that is asked; what is an answer itself."""
        answers: list[Element] = []
        while heard := self.parlour.world_hears():
            for element in heard:
                if element.get("type") in ("result", "error"):
                    answers.append(element)
                elif element.name == "iq" and not self.away:
                    self._serve(element)
        return answers

    def _serve(self, request: Element) -> None:
        payload = request.first()
        assert payload is not None
        name = payload.name if payload.uri != ns.PUBSUB else next(iter(payload.elements())).name
        self.asked.append(name)
        kind, answer = getattr(self, f"_{name}")(request, payload)
        to, from_, id_ = request.attributes["from"], request.attributes["to"], request.attributes["id"]
        self.parlour.inject(f"<iq type='{kind}' id='{id_}' from='{from_}' to='{to}'>{answer}</iq>", self.proof)

    def _fetch(self, request: Element, payload: Element) -> tuple[str, str]:
        asked = fanout.read_fetch(payload)
        self.fetched.append((asked.epoch, asked.after))
        last = self.first + len(self.log) - 1
        if asked.epoch != self.epoch or asked.after > last:
            return _error("conflict", f"<epoch xmlns='{ns.FANOUT}' now='{self.epoch}'/>")
        if asked.after < self.first - 1:
            return _error("item-not-found", f"<horizon xmlns='{ns.FANOUT}' seq='{self.first - 1}'/>")
        start = asked.after - self.first + 1
        page = self.log[start : start + min(asked.max, self.pages)]
        return "result", _text(fanout.write_deliver(self.epoch, asked.after, page, last=last))

    def _followers(self, request: Element, payload: Element) -> tuple[str, str]:
        query = fanout.read_followers_query(payload)
        rest = [jid for jid in sorted(self.set, key=str) if query.after is None or str(jid) > str(query.after)]
        page = FollowerSet(
            author=JULIET, version=7, digest=set_digest(self.set), jids=tuple(rest[:2]), more=len(rest) > 2
        )
        return "result", _text(fanout.write_follower_set(page))

    def _items(self, request: Element, payload: Element) -> tuple[str, str]:
        items = payload.find(ns.PUBSUB, "items")
        assert items is not None
        ids = [item.attributes["id"] for item in items.elements()]
        found = self.feed
        rsm = payload.find(ns.RSM, "set")
        if ids:
            found = [item for item in self.feed if any(f"id='{item_id}'" in item for item_id in ids)]
        elif rsm is not None:
            before = rsm.child_text(ns.RSM, "before")
            at = next((n for n, item in enumerate(self.feed) if before and f"id='{before}'" in item), len(self.feed))
            size = int(rsm.child_text(ns.RSM, "max") or 0)
            found = self.feed[max(0, at - size) : at]
        content = "".join(found)
        return "result", f"<pubsub xmlns='{ns.PUBSUB}'><items node='{FEED}'>{content}</items></pubsub>"

    def _query(self, request: Element, payload: Element) -> tuple[str, str]:
        return "result", (
            f"<query xmlns='{ns.DISCO_INFO}' node='{FEED}'><identity category='pubsub' type='leaf'/>"
            f"<x xmlns='{ns.DATA}' type='result'><field var='FORM_TYPE' type='hidden'>"
            f"<value>{ns.PUBSUB_META_DATA}</value></field>"
            f"<field var='pubsub#access_model'><value>open</value></field></x></query>"
        )

    def _unsubscribe(self, request: Element, payload: Element) -> tuple[str, str]:
        self.unsubscribed.append(request.attributes["from"])
        return "result", ""

    def _subscribe(self, request: Element, payload: Element) -> tuple[str, str]:
        jid = request.attributes["from"].partition("/")[0]
        self.set.append(JID.parse(jid))
        return "result", (
            f"<pubsub xmlns='{ns.PUBSUB}'><subscription node='{FEED}' jid='{jid}' subscription='subscribed'/></pubsub>"
        )

    def _subscriptions(self, request: Element, payload: Element) -> tuple[str, str]:
        asker = JID.parse(request.attributes["from"])
        mine = f"<subscription node='{FEED}' jid='{asker}' subscription='subscribed'/>" if asker in self.set else ""
        return "result", f"<pubsub xmlns='{ns.PUBSUB}'><subscriptions>{mine}</subscriptions></pubsub>"


def _text(element: Element) -> str:
    return to_text(element)


def _error(condition: str, detail: str = "") -> tuple[str, str]:
    return "error", f"<error type='cancel'><{condition} xmlns='{ns.STANZAS}'/>{detail}</error>"


class Receiver(Parlour):
    """A parlour that takes in logs. ``grade``: of every domain."""

    def __init__(self, database: Database, clock: Clock, *, settled: bool = False) -> None:
        self._settled = settled
        super().__init__(database, clock)
        self.grade = Grade.ALLOWED
        self.health = FollowHealth(self.router, database, self.following.follows, clock, self.tasks)
        self.intake = Intake(
            self.router,
            database,
            self.readers.backlog,
            self.following.follows,
            clock,
            self.tasks,
            refuses=lambda domain: self.grade is Grade.REFUSED,
            taken=self._take,
            suspect=self.health.look,
        )
        self.install(self.intake)
        self.intake.letters = Letters(self.sessions, database, self.held, self.lines, self.tasks).hand_over
        self.taken: list[Notice] = []

    def settle(self, *names: str) -> None:
        if not self._settled:
            super().settle(*names)

    def _take(self, domain: str, notice: Notice) -> Notice:
        self.taken.append(notice)
        return notice

    def follow(self, *accounts: JID) -> None:
        """As if it had been granted long ago."""
        for account in accounts:
            follow = Follow(account=account, service=JULIET, node=FEED, state=SubscriptionState.SUBSCRIBED)
            self.database.run(following.record_subscribe, follow)

    def copies(self) -> list[Item]:
        def read(tx: Transaction) -> list[Item]:
            node = tx.nodes.find(JULIET, FEED)
            return [] if node is None else tx.items.newest(node.key, 10_000)

        return self.database.run(read)

    def ids(self) -> list[str]:
        return [item.id for item in self.copies()]

    @property
    def peer(self) -> Peer:
        return self.database.run(lambda tx: tx.peers.get(CAPULET))


@pytest.fixture
def receiver(database: Database, clock: Clock) -> Receiver:
    """Romeo and Benvolio follow Juliet, and are not there."""
    receiver = Receiver(database, clock)
    receiver.follow(ROMEO, BENVOLIO)
    return receiver


@pytest.fixture
def origin(receiver: Receiver) -> Origin:
    return Origin(receiver)


def stored(answer: Element) -> fanout.Stored:
    payload = answer.first()
    assert answer.get("type") == "result" and payload is not None, answer
    return fanout.read_stored(payload)


def refusal(answer: Element) -> tuple[str | None, str]:
    error = answer.find(ns.CLIENT, "error")
    assert error is not None, answer
    condition = next(child.name for child in error.elements() if child.uri == ns.STANZAS)
    return error.get("type"), condition


def titles(client: Client) -> list[str]:
    return [item_id for _, _, item_id in told(client.hears())]


# what is delivered


def test_a_delivery_is_answered_when_it_is_stored(receiver: Receiver, origin: Origin) -> None:
    origin.says(post("1"))
    origin.says(post("2"))
    assert stored(origin.delivers(1, 2)) == fanout.Stored(epoch="e1", upto=2)
    assert receiver.ids() == ["1", "2"] and (receiver.peer.received, receiver.peer.received_epoch) == (2, "e1")


def test_followers_who_are_there_are_told_once_and_the_others_when_they_come(
    receiver: Receiver, origin: Origin
) -> None:
    romeo = receiver.online("romeo", "phone")
    origin.says(post("1"))
    for _ in range(2):
        origin.delivers(1)
    assert told(romeo.hears()) == [(str(JULIET), str(ROMEO), "1")]
    benvolio = receiver.online("benvolio", "phone")
    benvolio.leaves()
    again = receiver.login("benvolio", "phone")
    again.sends("<presence/>")
    assert titles(again) == []
    romeo.leaves()
    returned = receiver.login("romeo", "phone")
    returned.sends("<presence/>")
    assert titles(returned) == []


def test_what_came_while_nobody_was_there_is_told_at_the_login_in_order(receiver: Receiver, origin: Origin) -> None:
    for name in ("1", "2"):
        origin.says(post(name))
    origin.says("<retract id='1'/>", Told.HOLDERS)
    origin.delivers(1, 2, 3)
    romeo = receiver.login("romeo", "phone")
    romeo.sends("<presence/>")
    assert titles(romeo) == ["2", "-1"]
    origin.says(post("3"))
    origin.delivers(4)
    assert titles(romeo) == ["3"]


def test_a_crash_behind_the_commit_leaves_readers_who_are_told_at_their_login(
    database: Database, clock: Clock, receiver: Receiver, origin: Origin
) -> None:
    """K9, K10: stored, and then neither answered nor told."""
    receiver.online("romeo", "phone")
    database.listeners.clear()
    origin.says(post("1"))
    origin.delivers(1)
    reborn = Receiver(database, clock, settled=True)
    origin.parlour = reborn
    romeo = reborn.login("romeo", "phone")
    romeo.sends("<presence/>")
    assert titles(romeo) == ["1"]
    assert stored(origin.delivers(1)).upto == 1
    assert titles(romeo) == []


def test_contacts_and_clients_for_chat_are_told_once(receiver: Receiver, origin: Origin) -> None:
    receiver.makes_contact("mercutio", str(JULIET), "to")
    mercutio = receiver.online("mercutio", "phone")
    says(mercutio, "on")
    mercutio.hears()
    origin.says(post("1"), to=(MERCUTIO,))
    origin.delivers(1)
    (line,) = lines(mercutio)
    assert line[1] is not None and "1" in line[1]
    benvolio = receiver.online("benvolio", "phone")
    says(benvolio, "on")
    benvolio.hears()
    origin.says(post("2", "second"), to=(MERCUTIO,))
    origin.delivers(2)
    heard = benvolio.hears()
    assert [item_id for *_, item_id in told(heard)] == ["2"]
    assert sum(element.get("type") == "chat" for element in heard) == 1
    assert len(lines(mercutio)) == 1


def test_a_direct_post_is_an_event_and_a_line_once_for_those_it_names(receiver: Receiver, origin: Origin) -> None:
    talkers = {}
    for name in ("romeo", "benvolio", "mercutio"):
        talkers[name] = receiver.online(name, "phone")
        says(talkers[name], "on")
        talkers[name].hears()
    origin.says(post("1", "for you"), Told.DIRECT, to=(ROMEO, MERCUTIO))
    for _ in range(2):
        origin.delivers(1)
    heard = {name: client.hears() for name, client in talkers.items()}
    assert [item_id for *_, item_id in told(heard["romeo"])] == ["1"] and told(heard["mercutio"]) == []
    count = {name: sum(element.get("type") == "chat" for element in found) for name, found in heard.items()}
    assert count == {"romeo": 1, "benvolio": 0, "mercutio": 1}
    origin.says("<retract id='1'/>", Told.HOLDERS)
    origin.delivers(2)
    assert titles(talkers["romeo"]) == ["-1"] and titles(talkers["benvolio"]) == []


def test_somebody_who_is_named_by_a_stranger_hears_of_it(receiver: Receiver, origin: Origin) -> None:
    mercutio = receiver.online("mercutio", "phone")
    says(mercutio, "on")
    mercutio.hears()
    inside = f"<link rel='mentioned' href='xmpp:{MERCUTIO}'/>"
    origin.says(post("1", "@mercutio come", inside=inside), to=(MERCUTIO,))
    origin.delivers(1)
    assert len(lines(mercutio)) == 1


def words(client: Client) -> list[str | None]:
    """Of messages from Juliet herself."""
    found = [element for element in client.hears() if element.name == "message" and element.get("type") == "chat"]
    return [one.child_text(ns.CLIENT, "body") for one in found if one.get("from") == str(JULIET)]


def test_who_never_spoke_to_the_node_gets_what_names_them_as_a_message(receiver: Receiver, origin: Origin) -> None:
    mercutio = receiver.online("mercutio", "phone")
    origin.says(post("1", "for you"), Told.DIRECT, to=(MERCUTIO, BENVOLIO))
    inside = f"<link rel='mentioned' href='xmpp:{MERCUTIO}'/><link rel='mentioned' href='xmpp:{BENVOLIO}'/>"
    origin.says(post("2", "come", inside=inside), to=(MERCUTIO,))
    for _ in range(2):
        origin.delivers(1, 2)
    direct, mention = words(mercutio)
    assert direct == "for you" and mention is not None and mention.startswith("come\nxmpp:juliet@")
    mercutio.leaves()
    assert words(receiver.online("mercutio", "tablet")) == []
    # Benvolio follows, and was not there: of the post that was meant for him he gets the words.
    benvolio = receiver.login("benvolio", "phone")
    benvolio.sends("<presence/>")
    heard = benvolio.hears()
    assert [item_id for *_, item_id in told(heard)] == ["1", "2"]
    (message,) = [element for element in heard if element.get("type") == "chat"]
    assert message.child_text(ns.CLIENT, "body") == "for you" and message.find(ns.DELAY, "delay") is not None


def test_what_was_direct_is_not_read_when_it_was_taken_back(receiver: Receiver, origin: Origin) -> None:
    benvolio = receiver.online("benvolio", "phone")
    origin.says(post("1", "for you"), Told.DIRECT, to=(MERCUTIO, BENVOLIO))
    origin.delivers(1)
    assert words(benvolio) == ["for you"]
    origin.says("<retract id='1'/>", Told.HOLDERS)
    origin.delivers(2)
    (unsaid,) = [element for element in benvolio.hears() if element.get("type") == "chat"]
    assert unsaid.find(ns.RETRACT, "retract") is not None
    mercutio = receiver.login("mercutio", "phone")
    mercutio.sends("<presence/>")
    assert words(mercutio) == []


def test_who_else_delivers_is_refused(receiver: Receiver, origin: Origin) -> None:
    origin.says(post("1"))
    text = _text(fanout.write_deliver("e1", 0, origin.log))
    to = receiver.router.domain
    for from_ in (str(JULIET), f"{CAPULET}/node"):
        receiver.inject(f"<iq type='set' id='x' from='{from_}' to='{to}'>{text}</iq>")
        (answer,) = origin.serves()
        assert refusal(answer)[1] == "forbidden"
    receiver.grade = Grade.REFUSED
    assert refusal(origin.delivers(1))[1] == "forbidden"
    assert receiver.ids() == []


def test_another_domain_cannot_speak_for_hers(receiver: Receiver, origin: Origin) -> None:
    origin.says(post("1"))
    text = _text(fanout.write_deliver("e1", 0, origin.log))
    receiver.inject(f"<iq type='set' id='x' from='verona.example' to='{receiver.router.domain}'>{text}</iq>")
    (answer,) = origin.serves()
    assert stored(answer).refused == {1: "forbidden"} and receiver.ids() == []


def test_a_malformed_entry_does_not_stop_the_log(receiver: Receiver, origin: Origin) -> None:
    origin.log.append(Raw(f"<entry seq='1' author='{JULIET}' audience='everybody'/>"))
    origin.says(post("2"))
    assert stored(origin.delivers(1, 2)).refused == {1: "bad-request"} and receiver.ids() == ["2"]


def test_what_is_taken_in_is_as_the_administrator_wants_it(receiver: Receiver, origin: Origin) -> None:
    origin.says(post("1"))
    origin.delivers(1)
    assert [notice.node for notice in receiver.taken] == [FEED]


def test_while_nothing_can_be_stored_it_is_to_come_again(
    receiver: Receiver, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.says(post("1"))
    with monkeypatch.context() as full:
        full.setattr(StoredTransaction, "disk_low", True)
        assert refusal(origin.delivers(1)) == ("wait", "resource-constraint")
    assert receiver.peer.received_epoch == ""
    assert stored(origin.delivers(1)).upto == 1


def test_what_is_not_public_over_dialback_is_refused(receiver: Receiver, origin: Origin) -> None:
    origin.says(post("1"), Told.FOLLOWERS)
    assert stored(origin.delivers(1, proof=Proof.DIALBACK)).refused == {1: "not-authorized"}
    assert receiver.ids() == []


# what is missing


def test_what_is_missing_is_fetched_before(receiver: Receiver, origin: Origin) -> None:
    romeo = receiver.online("romeo", "phone")
    for name in range(1, 8):
        origin.says(post(str(name)))
    origin.pages = 2
    origin.delivers(1)
    assert stored(origin.delivers(7)).upto == 7
    assert origin.fetched == [("e1", 1), ("e1", 3), ("e1", 5)]
    assert receiver.ids() == list("1234567") == titles(romeo)


def test_deliveries_that_overtake_each_other(receiver: Receiver, origin: Origin) -> None:
    for name in range(1, 7):
        origin.says(post(str(name)))
    origin.delivers(1)
    for numbers in ((5, 6), (3, 4), (2,), (4, 5)):
        origin.sends(*numbers)
    answers = origin.serves()
    assert [stored(answer).upto for answer in answers] == [6, 6, 6, 6]
    assert receiver.ids() == list("123456")


def test_an_origin_that_does_not_answer_is_to_deliver_again(receiver: Receiver, origin: Origin, time: Time) -> None:
    for name in range(1, 4):
        origin.says(post(str(name)))
    origin.delivers(1)
    origin.away = True
    origin.sends(3)
    assert origin.serves() == []
    time.advance(100)
    (answer,) = origin.serves()
    assert refusal(answer) == ("wait", "unexpected-request")
    assert receiver.ids() == ["1"]
    origin.away = False
    assert stored(origin.delivers(3)).upto == 3


def test_an_origin_whose_pages_lie_hurts_itself_alone(
    receiver: Receiver, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in range(1, 4):
        origin.says(post(str(name)))
    origin.delivers(1)
    monkeypatch.setattr(origin, "_fetch", lambda *_: ("result", _text(fanout.write_deliver("e1", 0, (), last=9))))
    assert refusal(origin.delivers(3)) == ("wait", "unexpected-request")
    monkeypatch.setattr(origin, "_fetch", lambda *_: ("result", _text(fanout.write_deliver("e1", 1, (), last=9))))
    assert refusal(origin.delivers(3)) == ("wait", "unexpected-request")
    assert receiver.ids() == ["1"]


def test_not_too_many_deliveries_wait(receiver: Receiver, origin: Origin) -> None:
    for name in range(1, 4):
        origin.says(post(str(name)))
    origin.delivers(1)
    origin.away = True
    for _ in range(intake.WAITING_MAX + 1):
        origin.sends(3)
    assert origin.serves() == []
    assert refusal(origin.delivers(3)) == ("wait", "resource-constraint")


def test_a_silent_log_is_asked_once_an_hour_and_on_contact(receiver: Receiver, origin: Origin, time: Time) -> None:
    origin.says(post("1"))
    origin.delivers(1)
    receiver.intake.start()
    origin.says(post("2"))
    time.advance(1800)
    receiver.intake.contact(CAPULET)
    origin.serves()
    assert receiver.ids() == ["1", "2"] and len(origin.fetched) == 1
    origin.says(post("3"))
    for _ in range(59):
        time.advance(60)
        origin.serves()
    assert receiver.ids() == ["1", "2"]
    for _ in range(2):
        time.advance(60)
        origin.serves()
    assert receiver.ids() == ["1", "2", "3"] and len(origin.fetched) == 2
    receiver.intake.contact(CAPULET)
    receiver.intake.contact("verona.example")
    assert origin.serves() == [] and len(origin.fetched) == 2
    receiver.intake.stop()


def test_a_log_that_cannot_be_fetched_is_left_for_an_hour(receiver: Receiver, origin: Origin, time: Time) -> None:
    origin.says(post("1"))
    origin.delivers(1)
    time.advance(2 * 3600)
    origin.away = True
    receiver.intake.start()
    asked = len([element for element in receiver.world_hears() if element.name == "iq"])
    for _ in range(50):
        time.advance(60)
        asked += len([element for element in receiver.world_hears() if element.name == "iq"])
    assert asked == 1
    receiver.intake.stop()


def asked_of(receiver: Receiver, origin: Origin, domain: str) -> int:
    """How often a log is asked for that never answers, while the origin answers what it has just been asked."""
    asked = 0
    for element in receiver.world_hears():
        if element.get("to") == domain:
            asked += 1
        elif element.get("to") == CAPULET and element.get("type") == "get":
            origin._serve(element)
    return asked


def test_a_log_that_never_ends_keeps_no_other_from_being_asked(receiver: Receiver, origin: Origin, time: Time) -> None:
    origin.says(post("1"))
    origin.delivers(1)
    receiver.database.run(lambda tx: tx.peers.set("verona.example", received_epoch="v", received=1))
    origin.pages = 1
    origin.log += [fanout.write_void(number) for number in range(2, 2000)]
    time.advance(2 * 3600)
    receiver.intake.start()
    asked = asked_of(receiver, origin, "verona.example")
    for _ in range(3 * 3600 // 20):
        time.advance(20)
        asked += asked_of(receiver, origin, "verona.example")
    assert asked == 4
    assert receiver.peer.received > 400
    receiver.intake.stop()


def test_logs_that_do_not_answer_leave_room_for_others(
    receiver: Receiver, origin: Origin, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "SWEEP_MAX", 2)
    origin.says(post("1"))
    origin.delivers(1)

    def never_answer(tx: Transaction) -> None:
        for name in "abc":
            tx.peers.set(f"{name}.example", received_epoch="x", received=1, heard=tx.now - intake.SILENT * 5)

    receiver.database.run(never_answer)
    time.advance(2 * 3600)
    origin.says(post("2"))
    receiver.intake.start()
    for _ in range(10):
        asked_of(receiver, origin, "a.example")
        time.advance(60)
    assert receiver.ids() == ["1", "2"]
    receiver.intake.stop()


# what no log has


def test_beyond_the_horizon_the_feeds_are_read(receiver: Receiver, origin: Origin) -> None:
    romeo = receiver.online("romeo", "phone")
    origin.says(post("1"))
    origin.says(post("2"))
    origin.delivers(1, 2)
    titles(romeo)
    # Of what happened then the log has no more: 3 was published, 1 edited, 2 retracted, and 4 is the last.
    origin.first, origin.log = 40, []
    origin.says(post("4", updated="2026-01-01T11:59:50Z"))
    edited = post("1", "better", "2026-01-01T11:59:30Z")
    origin.feed = [post("3", updated="2026-01-01T11:59:20Z"), edited, post("4", updated="2026-01-01T11:59:50Z")]
    assert stored(origin.delivers(40)).upto == 40
    origin.serves()
    assert sorted(receiver.ids()) == ["1", "3", "4"]
    assert any("better" in item.payload for item in receiver.copies())
    assert (receiver.peer.received, receiver.peer.behind) == (40, None)
    # It is no news any more, but what is gone is gone.
    assert titles(romeo) == ["4", "-2"]


def test_that_retractions_may_be_missing_outlives_a_restart(
    receiver: Receiver, origin: Origin, time: Time, database: Database, clock: Clock
) -> None:
    origin.says(post("1"))
    origin.says(post("2"))
    origin.delivers(1, 2)
    origin.first, origin.log = 40, []
    origin.says(post("4"))
    serve, origin._query = origin._query, lambda *_: _error("remote-server-not-found")  # type: ignore[method-assign]  # answers otherwise for a while
    origin.delivers(40)
    origin.serves()
    assert receiver.peer.behind is not None
    again = Receiver(database, clock, settled=True)
    origin.parlour, origin._query, origin.feed = again, serve, [post("1"), post("4")]  # type: ignore[method-assign]  # as it was
    time.advance(3600)
    again.intake.start()
    origin.serves()
    assert again.ids() == ["1", "4"] and again.peer.behind is None
    again.intake.stop()


def test_what_was_retracted_while_a_domain_was_doubted_is_gone_when_it_is_trusted(
    receiver: Receiver, origin: Origin, time: Time
) -> None:
    origin.says(post("1"))
    origin.says(post("2"))
    origin.says("<retract id='1'/>", Told.HOLDERS)
    origin.delivers(1, 2)
    receiver.database.run(lambda tx: tx.peers.set(CAPULET, doubted=tx.now))
    assert stored(origin.delivers(3)).refused == {3: "not-authorized"}
    origin.serves()
    assert receiver.ids() == ["1", "2"]
    origin.feed = [post("2")]
    receiver.database.run(identity.trust, CAPULET)
    time.advance(3600)
    receiver.intake.start()
    origin.serves()
    assert receiver.ids() == ["2"]
    receiver.intake.stop()


def test_what_a_feed_does_not_show_just_now_is_not_gone(receiver: Receiver, origin: Origin) -> None:
    """We are shown no posts for followers: our certificate has expired, or who asks is no follower any more."""
    origin.says(post("1"))
    origin.says(post("2", inside=PRIVATE), Told.FOLLOWERS)
    origin.says(post("3"))
    origin.delivers(1, 2, 3)
    assert receiver.ids() == ["1", "2", "3"]
    origin.first, origin.log = 40, []
    origin.says(post("4"))
    origin.feed = [post("1"), post("4")]
    origin.delivers(40)
    origin.serves()
    assert receiver.ids() == ["1", "2", "4"]


def test_what_a_feed_that_shows_posts_for_followers_has_not_is_gone(receiver: Receiver, origin: Origin) -> None:
    for name in ("1", "2", "3"):
        origin.says(post(name, inside=PRIVATE), Told.FOLLOWERS)
    origin.delivers(1, 2, 3)
    origin.first, origin.log = 40, []
    origin.says(post("4"))
    origin.feed = [post("2", inside=PRIVATE), post("4")]
    origin.delivers(40)
    origin.serves()
    assert receiver.ids() == ["2", "4"]


@pytest.mark.parametrize(
    ("proof", "ids", "title"),
    [(Proof.CERTIFICATE, ["2", "4"], "changed"), (Proof.DIALBACK, ["1", "2", "3", "4"], "2")],
)
def test_what_is_not_public_is_not_changed_by_a_feed_that_dialback_vouches_for(
    receiver: Receiver, origin: Origin, proof: Proof, ids: list[str], title: str
) -> None:
    for name in ("1", "2", "3"):
        origin.says(post(name, inside=PRIVATE), Told.FOLLOWERS)
    origin.delivers(1, 2, 3)
    origin.first, origin.log = 40, []
    origin.says(post("4"))
    origin.feed = [post("2", "changed", "2026-01-01T11:59:30Z", inside=PRIVATE), post("4")]
    origin.proof = proof
    origin.delivers(40)
    origin.serves()
    assert sorted(receiver.ids()) == ids
    (second,) = [item for item in receiver.copies() if item.id == "2"]
    assert f"<title>{title}</title>" in second.payload


def test_another_epoch_is_followed_and_the_feeds_are_read(receiver: Receiver, origin: Origin) -> None:
    for name in ("1", "2", "3"):
        origin.says(post(name))
    origin.delivers(1, 2, 3)
    # The origin was restored from a backup: it knows nothing of 3, and gives its number again.
    origin.epoch, origin.log = "e2", origin.log[:2]
    origin.feed = [post("1"), post("2"), post("0"), post("4")]
    origin.says(post("4"))
    assert stored(origin.delivers(3)) == fanout.Stored(epoch="e2", upto=3)
    origin.serves()
    # What was ours already is not taken away because somebody's disk died.
    assert sorted(receiver.ids()) == ["0", "1", "2", "3", "4"]
    assert (receiver.peer.received_epoch, receiver.peer.behind) == ("e2", None)


def test_another_epoch_is_learnt_of_by_asking(receiver: Receiver, origin: Origin, time: Time) -> None:
    origin.says(post("1"))
    origin.delivers(1)
    origin.epoch = "e2"
    origin.says(post("2"))
    time.advance(1800)
    receiver.intake.contact(CAPULET)
    origin.serves()
    assert receiver.ids() == ["1", "2"] and receiver.peer.received_epoch == "e2"


def test_a_feed_without_an_end_is_read_so_far_a_day_and_goes_on(
    receiver: Receiver, origin: Origin, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refills, "ITEMS_PER_DAY", 100)
    origin.says(post("known"))
    origin.delivers(1)
    origin.epoch = "e2"
    origin.feed = [post("known"), *(post(f"n{number}") for number in range(170))]
    origin.delivers(1)
    origin.serves()
    assert len(receiver.copies()) == 101 and receiver.peer.behind is not None
    receiver.intake.start()
    for _ in range(25):
        time.advance(3600)
        origin.serves()
    assert len(receiver.copies()) == 171 and receiver.peer.behind is None
    receiver.intake.stop()


def test_what_is_missing_is_not_forgotten_when_the_origin_goes_away(
    receiver: Receiver, origin: Origin, time: Time
) -> None:
    origin.says(post("1"))
    origin.delivers(1)
    origin.epoch, origin.feed = "e2", [post("1"), post("2")]
    serve, origin._query = origin._query, lambda *_: _error("remote-server-not-found")  # type: ignore[method-assign]
    origin.delivers(1)
    origin.serves()
    assert receiver.ids() == ["1"] and receiver.peer.behind is not None
    origin._query = serve  # type: ignore[method-assign]
    receiver.intake.start()
    for _ in range(61):
        time.advance(60)
        origin.serves()
    assert receiver.ids() == ["1", "2"] and receiver.peer.behind is None
    receiver.intake.stop()


# sets of followers


def settle(origin: Origin, time: Time) -> None:
    for _ in range(4):
        origin.serves()
        time.advance(30)
    origin.serves()


def test_a_set_that_differs_is_asked_for_before_a_post_for_followers_is_shown(
    receiver: Receiver, origin: Origin, time: Time
) -> None:
    """Benvolio's subscription was lost there, Mercutio's here, and more than fits a page is asked for."""
    origin.set = [ROMEO, MERCUTIO, address("paris"), address("rosaline")]
    clients = {name: receiver.online(name, "phone") for name in ("romeo", "benvolio", "mercutio")}
    origin.says(post("1"), Told.FOLLOWERS)
    origin.sends(1)
    assert receiver.ids() == []
    answer = origin.serves()[0]
    assert list(stored(answer).stale) == [JULIET]
    assert {name: titles(client) for name, client in clients.items()} == {
        "romeo": ["1"],
        "benvolio": [],
        "mercutio": [],
    }
    # He is subscribed again, and those who do not follow are unsubscribed.
    settle(origin, time)
    assert sorted(origin.unsubscribed) == [str(address(name)) for name in ("mercutio", "paris", "rosaline")]
    assert BENVOLIO in origin.set and len(set(origin.unsubscribed)) == 3
    origin.set = [ROMEO, BENVOLIO]
    origin.says(post("2"), Told.FOLLOWERS)
    assert stored(origin.delivers(2)).stale == {}
    assert titles(clients["benvolio"]) == ["2"]


def test_who_is_just_about_to_follow_is_not_unsubscribed(receiver: Receiver, origin: Origin, time: Time) -> None:
    origin.set = [ROMEO, BENVOLIO, MERCUTIO]
    origin.says(post("1"), named=True)
    origin.delivers(1)
    origin.serves()
    receiver.follow(MERCUTIO)
    settle(origin, time)
    assert origin.unsubscribed == []


def test_a_digest_that_lies_is_asked_about_and_shows_nothing_to_others(
    receiver: Receiver, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = {name: receiver.online(name, "phone") for name in ("romeo", "mercutio")}
    real, origin.set = origin.set, [MERCUTIO]
    origin.says(post("1"), Told.FOLLOWERS)
    origin.set = real
    assert stored(origin.delivers(1)).stale == {}
    assert {name: titles(client) for name, client in clients.items()} == {"romeo": ["1"], "mercutio": []}
    # A list that is not the one of its digest is none.
    monkeypatch.setattr(origin, "_followers", lambda *_: ("result", _text(_lying())))
    origin.set = [ROMEO]
    origin.says(post("2"), Told.FOLLOWERS)
    assert stored(origin.delivers(2)).refused == {2: "forbidden"}


def _lying() -> Element:
    return fanout.write_follower_set(
        FollowerSet(author=JULIET, version=9, digest=set_digest([ROMEO]), jids=(ROMEO, MERCUTIO))
    )


def test_an_origin_that_does_not_tell_its_set_is_to_deliver_again(
    receiver: Receiver, origin: Origin, time: Time
) -> None:
    origin.set = [ROMEO]
    origin.says(post("1"), Told.FOLLOWERS)
    origin.away = True
    origin.sends(1)
    assert origin.serves() == []
    time.advance(100)
    (answer,) = origin.serves()
    assert refusal(answer) == ("wait", "resource-constraint") and receiver.ids() == []


def test_an_author_of_whom_nothing_is_known_there_is_followed_by_nobody(
    receiver: Receiver, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    romeo = receiver.online("romeo", "phone")
    monkeypatch.setattr(origin, "_followers", lambda *_: _error("item-not-found"))
    origin.set = [MERCUTIO]
    origin.says(post("1"), Told.FOLLOWERS)
    origin.delivers(1)
    assert titles(romeo) == []


def test_a_public_set_is_repaired_but_not_again_and_again(receiver: Receiver, origin: Origin, time: Time) -> None:
    origin.set = [ROMEO, BENVOLIO, MERCUTIO]
    for name in range(1, 6):
        origin.says(post(str(name)), named=True)
        origin.delivers(name)
        origin.serves()
    assert receiver.ids() == list("12345") and origin.asked.count("followers") <= 2


def test_words_that_did_not_come_are_fetched(receiver: Receiver, origin: Origin) -> None:
    romeo = receiver.online("romeo", "phone")
    origin.feed = [post("1")]
    origin.says(f"<item id='1' publisher='{JULIET}'/>")
    origin.delivers(1)
    origin.serves()
    assert receiver.ids() == ["1"] and titles(romeo) == ["1"]


def test_a_crowd_is_told_with_few_statements(receiver: Receiver, origin: Origin, count: Callable[[], int]) -> None:
    names = [f"reader{number}" for number in range(60)]
    receiver.settle(*names)
    receiver.follow(*map(address, names))
    clients = [receiver.online(name, "phone") for name in names]
    origin.set = [*map(address, names), ROMEO, BENVOLIO]
    origin.says(post("1"), Told.FOLLOWERS)
    before = count()
    origin.delivers(1)
    assert count() - before < 40
    assert all(titles(client) == ["1"] for client in clients)


@pytest.fixture
def count(database: Database) -> Callable[[], int]:
    """How many statements were executed."""
    statements: list[str] = []
    connection = database._writer.connection.connection.driver_connection
    assert connection is not None
    connection.set_trace_callback(statements.append)
    return lambda: len(statements)
