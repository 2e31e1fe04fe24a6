import itertools
from collections.abc import Iterator

import pytest

from microblog.model import contact as states
from microblog.model.contact import Contact, State, Subscription
from microblog.model.errors import BadRequest, ItemNotFound, NotAcceptable, NotAllowed, ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.store.database import Transaction
from microblog.usecases import rostering
from microblog.usecases.rostering import receive_subscription, send_subscription

ROMEO = JID.parse("romeo@montague.example")
JULIET = JID.parse("juliet@capulet.example")
NURSE = JID.parse("nurse@capulet.example")


@pytest.fixture
def tx(tx: Transaction) -> Iterator[Transaction]:
    tx.accounts.add("romeo", (), admin=False, audience=Audience.PUBLIC)
    yield tx


def put(tx: Transaction, state: State, **more: object) -> Contact:
    contact = Contact(
        jid=JULIET,
        subscription=state.subscription,
        ask=state.ask,
        pending_in=state.pending_in,
        **more,  # type: ignore[arg-type]
    )
    tx.contacts.put(ROMEO, contact)
    return contact


def state_now(tx: Transaction) -> State:
    contact = tx.contacts.get(ROMEO, JULIET)
    return states.NONE if contact is None else contact.state


# Appendix A, written down once more as the RFC prints it: stanza, state, routed or delivered, new state.
N, NO, NI, NOI, T, TI, F, FO, B = states.STATES
YES, NO_ = True, False
A2 = """
subscribe    N yes NO  | NO yes NO | NI yes NOI | NOI yes NOI | T yes T | TI yes TI | F yes FO | FO yes FO | B yes B
unsubscribe  N yes N   | NO yes N  | NI yes NI  | NOI yes NI  | T yes N | TI yes NI | F yes F  | FO yes F  | B yes F
subscribed   N no N    | NO no NO  | NI yes F   | NOI yes FO  | T no T  | TI yes B  | F no F   | FO no FO  | B no B
unsubscribed N no N    | NO no NO  | NI yes N   | NOI yes NO  | T no T  | TI yes T  | F yes N  | FO yes NO | B yes T
"""
A3 = """
subscribe    N yes NI  | NO yes NOI | NI no NI | NOI no NOI | T yes TI | TI no TI | F no F  | FO no FO  | B no B
unsubscribe  N no N    | NO no NO   | NI yes N | NOI yes NO | T no T   | TI yes T | F yes N | FO yes NO | B yes T
subscribed   N no N    | NO yes T   | NI no NI | NOI yes TI | T no T   | TI no TI | F no F  | FO yes B  | B no B
unsubscribed N no N    | NO yes N   | NI no NI | NOI yes NI | T yes N  | TI yes NI | F no F | FO yes F  | B yes F
"""
NAMES = dict(zip(["N", "NO", "NI", "NOI", "T", "TI", "F", "FO", "B"], states.STATES, strict=True))


def rows(table: str) -> list[tuple[str, State, bool, State]]:
    found = []
    for line in table.strip().splitlines():
        type_, _, cells = line.partition(" ")
        for cell in cells.split("|"):
            before, passed, after = cell.split()
            found.append((type_, NAMES[before], passed == "yes", NAMES[after]))
    return found


def test_the_tables_are_complete() -> None:
    everything = set(itertools.product(states.OUTBOUND, states.STATES))
    assert {row[:2] for row in rows(A2)} == {row[:2] for row in rows(A3)} == everything


@pytest.mark.parametrize(("type_", "before", "routed", "after"), rows(A2))
def test_outbound(tx: Transaction, type_: str, before: State, routed: bool, after: State) -> None:
    """Appendix A.2."""
    put(tx, before)
    change = send_subscription(tx, ROMEO, JULIET, type_)
    assert (change.route, state_now(tx)) == (routed, after)


@pytest.mark.parametrize(("type_", "before", "delivered", "after"), rows(A3))
def test_inbound(tx: Transaction, type_: str, before: State, delivered: bool, after: State) -> None:
    """Appendix A.3, with its note: who is subscribed already is answered at once."""
    put(tx, before)
    change = receive_subscription(tx, ROMEO, JULIET, type_)
    assert (change.route, state_now(tx)) == (delivered, after)
    expected = "subscribed" if type_ == "subscribe" and before in (F, FO, B) else None
    assert change.reply == expected


def test_a_request_puts_the_contact_into_the_roster_and_is_pushed(tx: Transaction) -> None:
    """§3.1.2."""
    change = send_subscription(tx, ROMEO, JULIET, "subscribe")
    assert change.push and change.version == 1 and change.before is None
    assert change.after == Contact(jid=JULIET, ask=True)
    again = send_subscription(tx, ROMEO, JULIET, "subscribe")
    assert again.route and not again.push and again.version == 0


def test_a_strangers_request_is_kept_but_not_in_the_roster(tx: Transaction) -> None:
    """§3.1.3."""
    change = receive_subscription(tx, ROMEO, JULIET, "subscribe", "<presence/>")
    assert change.route and not change.push
    contact = rostering.read_contact(tx, ROMEO, JULIET)
    assert contact is not None and not contact.listed and contact.request == "<presence/>"
    assert tx.contacts.roster(ROMEO) == () and tx.contacts.pending(ROMEO) == (contact,)


def test_an_answered_request_is_forgotten(tx: Transaction) -> None:
    receive_subscription(tx, ROMEO, JULIET, "subscribe", "<presence/>")
    change = send_subscription(tx, ROMEO, JULIET, "subscribed")
    assert change.push and change.after == Contact(jid=JULIET, subscription=Subscription.FROM)
    assert tx.contacts.pending(ROMEO) == ()


def test_a_refused_stranger_leaves_no_row(tx: Transaction) -> None:
    receive_subscription(tx, ROMEO, JULIET, "subscribe")
    change = send_subscription(tx, ROMEO, JULIET, "unsubscribed")
    assert change.route and not change.push and change.after is None
    assert tx.contacts.all(ROMEO) == ()


def test_a_request_taken_back_leaves_no_row(tx: Transaction) -> None:
    receive_subscription(tx, ROMEO, JULIET, "subscribe")
    assert receive_subscription(tx, ROMEO, JULIET, "unsubscribe").route
    assert tx.contacts.all(ROMEO) == ()


def test_what_only_waits_is_not_pushed(tx: Transaction) -> None:
    put(tx, T)
    assert not receive_subscription(tx, ROMEO, JULIET, "subscribe").push


def test_answers_and_farewells_of_strangers_come_to_nothing(tx: Transaction) -> None:
    for type_ in ("unsubscribe", "subscribed", "unsubscribed"):
        change = receive_subscription(tx, ROMEO, JULIET, type_)
        assert not change.route and not change.push and change.reply is None
    for type_, routed in (("unsubscribe", True), ("unsubscribed", False)):
        change = send_subscription(tx, ROMEO, JULIET, type_)
        assert change.route is routed and not change.push
    assert tx.contacts.all(ROMEO) == ()


def test_a_request_to_nobody_leaves_nothing(tx: Transaction) -> None:
    """§3.1.3: no account, no answer."""
    nobody = JID.parse("tybalt@montague.example")
    change = receive_subscription(tx, nobody, JULIET, "subscribe")
    assert not change.route and change.reply is None and change.after is None
    assert rostering.read_roster(tx, nobody).contacts == ()


def test_nobody_subscribes_to_themselves(tx: Transaction) -> None:
    assert not send_subscription(tx, ROMEO, ROMEO, "subscribe").route
    assert not receive_subscription(tx, ROMEO, ROMEO, "subscribe").route
    assert tx.contacts.all(ROMEO) == ()


# §3.4


@pytest.mark.parametrize(("before", "after"), [(N, F), (NO, FO), (T, B)])
def test_approval_in_advance(tx: Transaction, before: State, after: State) -> None:
    put(tx, before)
    change = send_subscription(tx, ROMEO, JULIET, "subscribed")
    assert not change.route and change.push and change.after is not None and change.after.approved
    assert state_now(tx) == before
    later = receive_subscription(tx, ROMEO, JULIET, "subscribe", "<presence/>")
    assert (later.route, later.reply, later.push) == (False, "subscribed", True)
    assert state_now(tx) == after
    assert later.after is not None and later.after.approved and later.after.request is None


def test_approval_of_somebody_unknown_makes_a_contact(tx: Transaction) -> None:
    change = send_subscription(tx, ROMEO, JULIET, "subscribed")
    assert not change.route and change.after == Contact(jid=JULIET, approved=True)
    assert tx.contacts.roster(ROMEO) == (change.after,)


def test_approval_is_taken_back(tx: Transaction) -> None:
    send_subscription(tx, ROMEO, JULIET, "subscribed")
    change = send_subscription(tx, ROMEO, JULIET, "unsubscribed")
    assert not change.route and change.push and change.after == Contact(jid=JULIET)
    assert receive_subscription(tx, ROMEO, JULIET, "subscribe").reply is None


# §2


def test_set_keeps_the_subscription(tx: Transaction) -> None:
    put(tx, B)
    change = rostering.set_contact(tx, ROMEO, JULIET, "Juliet", ("Friends", "Verona"))
    assert change.push and change.after is not None
    assert change.after.name == "Juliet" and change.after.groups == ("Friends", "Verona")
    assert change.after.subscription is Subscription.BOTH
    assert rostering.read_contact(tx, ROMEO, JULIET) == change.after


def test_set_lists_who_only_waited(tx: Transaction) -> None:
    receive_subscription(tx, ROMEO, JULIET, "subscribe", "<presence/>")
    change = rostering.set_contact(tx, ROMEO, JULIET, "Juliet", ())
    assert change.after is not None and change.after.listed and change.after.pending_in


@pytest.mark.parametrize(
    ("name", "groups", "refusal"),
    [
        ("x" * 1024, (), NotAcceptable),
        ("", ("",), NotAcceptable),
        ("", ("é" * 512,), NotAcceptable),
        ("", tuple(map(str, range(51))), NotAcceptable),
        ("", ("Friends", "Friends"), BadRequest),
    ],
)
def test_bad_names_and_groups(tx: Transaction, name: str, groups: tuple[str, ...], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        rostering.set_contact(tx, ROMEO, JULIET, name, groups)
    assert tx.contacts.all(ROMEO) == ()


def test_nobody_is_their_own_contact(tx: Transaction) -> None:
    with pytest.raises(NotAllowed):
        rostering.set_contact(tx, ROMEO, ROMEO, "me", ())


def test_remove(tx: Transaction) -> None:
    known = put(tx, B)
    change = rostering.remove_contact(tx, ROMEO, JULIET)
    assert change.before == known and change.after is None and change.push and change.version == 1
    assert rostering.read_contact(tx, ROMEO, JULIET) is None


def test_only_what_is_in_the_roster_can_be_removed(tx: Transaction) -> None:
    with pytest.raises(ItemNotFound):
        rostering.remove_contact(tx, ROMEO, JULIET)
    receive_subscription(tx, ROMEO, JULIET, "subscribe")
    with pytest.raises(ItemNotFound):
        rostering.remove_contact(tx, ROMEO, JULIET)


def test_the_roster_has_its_version_and_order(tx: Transaction) -> None:
    rostering.set_contact(tx, ROMEO, NURSE, "", ())
    rostering.set_contact(tx, ROMEO, JULIET, "", ())
    roster = rostering.read_roster(tx, ROMEO)
    assert roster.version == 2
    assert [contact.jid for contact in roster.contacts] == [JULIET, NURSE]


def test_who_sees_whom(tx: Transaction) -> None:
    put(tx, T)
    tx.contacts.put(ROMEO, Contact(jid=NURSE, subscription=Subscription.BOTH))
    assert tx.contacts.seeing(ROMEO) == (NURSE,)
    assert tx.contacts.seen(ROMEO) == (JULIET, NURSE)


def test_the_roster_is_bounded(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rostering, "ROSTER_MAX", 1)
    rostering.set_contact(tx, ROMEO, NURSE, "", ())
    rostering.set_contact(tx, ROMEO, NURSE, "Nurse", ())
    for type_ in ("subscribe", "subscribed"):
        with pytest.raises(ResourceConstraint):
            send_subscription(tx, ROMEO, JULIET, type_)
    with pytest.raises(ResourceConstraint):
        rostering.set_contact(tx, ROMEO, JULIET, "", ())
    assert len(tx.contacts.all(ROMEO)) == 1


def test_strangers_requests_are_bounded(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rostering, "PENDING_MAX", 1)
    receive_subscription(tx, ROMEO, NURSE, "subscribe")
    change = receive_subscription(tx, ROMEO, JULIET, "subscribe")
    assert change.reply == "unsubscribed" and not change.route
    assert len(tx.contacts.all(ROMEO)) == 1


def test_a_long_request_is_not_kept_word_for_word(tx: Transaction) -> None:
    receive_subscription(tx, ROMEO, JULIET, "subscribe", "x" * 10_001)
    (contact,) = tx.contacts.pending(ROMEO)
    assert contact.pending_in and contact.request is None
