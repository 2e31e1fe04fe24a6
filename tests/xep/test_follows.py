"""Following, in the background and by commands: what was before, for whom it is, and leaving."""

from collections.abc import Coroutine
from datetime import datetime
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.model.errors import ItemNotFound, NotSubscribed, PresenceSubscriptionRequired, Refusal
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.usecases import following
from microblog.usecases.following import Followed
from microblog.wire import ns
from tests.xep.service import JULIET, Service, post
from tests.xep.square import FEED, Square, address, publishes
from tests.xmltext import read

ROMEO = address("romeo")
BENVOLIO = address("benvolio")
JULIET_JID = JID.parse(JULIET)


@pytest.fixture
def juliet(square: Square) -> Service:
    return Service(square)


def begin(coroutine: Coroutine[Any, Any, Any]) -> list[Any]:
    """Start; the list has the outcome as soon as there is one."""
    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    return outcome


def outcome_of(outcome: list[Any]) -> Any:
    (found,) = outcome
    if hasattr(found, "raiseException"):
        found.raiseException()
    return found


def follow(square: Square, service: Service, who: JID = ROMEO, **more: Any) -> Followed:
    outcome = begin(square.following.follows.follow(who, JID.parse(service.jid), **more))
    service.serves()
    followed = outcome_of(outcome)
    assert isinstance(followed, Followed)
    return followed


def leave(square: Square, service: Service, who: JID = ROMEO) -> None:
    outcome = begin(square.following.follows.unfollow(who, JID.parse(service.jid)))
    service.serves()
    outcome_of(outcome)


def copies(square: Square, service: JID = JULIET_JID) -> list[Item]:
    def read_copies(tx: Any) -> list[Item]:
        node = tx.nodes.find(service, FEED)
        return [] if node is None else tx.items.newest(node.key, 99)

    return square.database.run(read_copies)


def known(square: Square, who: JID = ROMEO) -> list[tuple[str, str, bool]]:
    return [(str(one.node.service), str(one.state), one.public) for one in square.database.run(following.follows, who)]


def test_whoever_follows_finds_what_was_before_at_its_own_date(square: Square, juliet: Service) -> None:
    juliet.items = [post(f"p{day:02}", f"2025-12-{day:02}T10:00:00Z") for day in range(1, 26)]
    romeo = square.online("romeo", "orchard")
    assert follow(square, juliet).state == "subscribed"
    assert juliet.asked == ["subscribe", "disco", "items"]
    found = {item.id: item for item in copies(square)}
    assert sorted(found) == [f"p{day:02}" for day in range(6, 26)], "the newest 20"
    assert found["p07"].stands == datetime.fromisoformat("2025-12-07T10:00:00Z")
    assert {str(item.proof) for item in found.values()} == {"certificate"}
    assert romeo.hears() == [], "nobody is told of what is old"


def test_a_client_that_subscribes_gets_the_same(square: Square, juliet: Service) -> None:
    juliet.items = [post("p1", "2025-12-01T10:00:00Z")]
    romeo = square.online("romeo", "orchard")
    romeo.sends(
        f"<iq type='set' id='1' to='{JULIET}'><pubsub xmlns='{ns.PUBSUB}'>"
        f"<subscribe node='{FEED}' jid='{ROMEO}'/></pubsub></iq>"
    )
    juliet.serves()
    assert [item.id for item in copies(square)] == ["p1"]


@pytest.mark.parametrize(
    ("access", "audience"),
    [
        ("open", "public"),
        ("presence", "followers"),
        ("authorize", "followers"),
        ("", "followers"),
        ("odd", "followers"),
    ],
)
def test_a_copy_is_for_whom_the_feed_is(square: Square, juliet: Service, access: str, audience: str) -> None:
    juliet.access, juliet.items = access, [post("p1", "2025-12-01T10:00:00Z")]
    follow(square, juliet)
    assert [str(item.audience) for item in copies(square)] == [audience]


@pytest.mark.parametrize(("access", "audience"), [("open", "public"), ("presence", "followers")])
@pytest.mark.parametrize("refusal", ["", "service-unavailable"])
def test_where_it_is_not_said_what_a_stranger_is_shown_is_public(
    square: Square, juliet: Service, access: str, audience: str, refusal: str
) -> None:
    juliet.access, juliet.items, juliet.says_access = access, [post("p1", "2025-12-01T10:00:00Z")], False
    juliet.refuses = {"disco": refusal} if refusal else {}
    follow(square, juliet)
    assert juliet.asked == ["subscribe", "disco", "items", "items"]
    assert [str(item.audience) for item in copies(square)] == [audience]


def test_a_feed_of_which_a_stranger_is_shown_nothing_is_not_for_everybody(square: Square, juliet: Service) -> None:
    juliet.access, juliet.hides, juliet.says_access = "whitelist", True, False
    juliet.items = [post("p1", "2025-12-01T10:00:00Z")]
    follow(square, juliet)
    assert [str(item.audience) for item in copies(square)] == ["followers"]


@pytest.mark.parametrize("said", [True, False])
def test_a_feed_that_closes_takes_what_was_public_with_it_and_one_that_opens_what_was_not_for_fewer(
    square: Square, juliet: Service, said: bool
) -> None:
    juliet.says_access = said
    juliet.items = [post("p1", "2025-12-01T10:00:00Z"), post("p2", "2025-12-02T10:00:00Z", audience="followers")]
    follow(square, juliet)
    for access, audiences in (
        ("open", {"p1": "public", "p2": "followers"}),
        ("whitelist", {"p1": "followers", "p2": "followers"}),
        ("open", {"p1": "public", "p2": "followers"}),
    ):
        juliet.access = access
        follow(square, juliet)
        square.following.follows.fill(ROMEO, JULIET_JID, FEED)
        juliet.serves()
        assert {item.id: str(item.audience) for item in copies(square)} == audiences


def test_what_the_other_side_does_not_show_is_left_out(square: Square, juliet: Service) -> None:
    juliet.refuses = {"items": "forbidden"}
    assert follow(square, juliet).state == "subscribed"
    assert copies(square) == []
    assert square.tasks.names() == []


def test_items_of_others_and_with_bad_dates_are_not_taken(square: Square, juliet: Service) -> None:
    juliet.items = [
        post("p1", "2025-12-01T10:00:00Z"),
        post("p2", "2031-01-01T10:00:00Z"),
        post("p3", "2025-12-03T10:00:00Z").replace("<item ", "<item publisher='paris@verona.example' "),
        "<item id='p4'/>",
    ]
    follow(square, juliet)
    assert [item.id for item in copies(square)] == ["p1"]


def test_pending_brings_nothing_until_it_is_approved(square: Square, juliet: Service) -> None:
    juliet.grants, juliet.items = "pending", [post("p1", "2025-12-01T10:00:00Z")]
    assert follow(square, juliet).state == "pending"
    assert juliet.asked == ["subscribe"]
    square.inject(
        f"<message from='{JULIET}' to='{ROMEO}'><event xmlns='{ns.PUBSUB_EVENT}'>"
        f"<subscription node='{FEED}' jid='{ROMEO}' subscription='subscribed'/></event></message>"
    )
    juliet.serves()
    assert [item.id for item in copies(square)] == ["p1"]
    assert known(square) == [(JULIET, "subscribed", False)]


def test_a_contact_whose_feed_comes_by_presence_brings_what_was_before(square: Square, juliet: Service) -> None:
    """XEP-0163 §4.2: nobody subscribed, and the first post comes."""
    square.makes_contact("romeo", JULIET, "both")
    juliet.items = [post("p1", "2025-12-01T10:00:00Z")]
    for item_id in ("p2", "p3"):
        item = post(item_id, "2026-01-01T11:00:00Z")
        square.inject(
            f"<message from='{JULIET}' to='{ROMEO}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'>"
            f"<items node='{FEED}'>{item}</items></event></message>"
        )
        juliet.serves()
    assert juliet.asked == ["disco", "items"]
    assert {item.id: str(item.audience) for item in copies(square)} == {
        "p1": "public",
        "p2": "public",
        "p3": "public",
    }


def test_refusals_are_the_other_services(square: Square, juliet: Service) -> None:
    juliet.refuses = {"subscribe": "not-authorized presence-subscription-required"}
    with pytest.raises(PresenceSubscriptionRequired):
        follow(square, juliet)
    assert known(square) == []


def test_following_and_leaving_somebody_here(square: Square) -> None:
    benvolio = square.online("benvolio", "street")
    publishes(benvolio, "b1")
    outcome = begin(square.following.follows.follow(ROMEO, BENVOLIO))
    assert outcome_of(outcome).state == "subscribed"
    assert square.world_hears() == []
    outcome_of(begin(square.following.follows.unfollow(ROMEO, BENVOLIO)))
    assert known(square) == []
    with pytest.raises(NotSubscribed):
        outcome_of(begin(square.following.follows.unfollow(ROMEO, BENVOLIO)))
    with pytest.raises(ItemNotFound):
        outcome_of(begin(square.following.follows.follow(ROMEO, address("tybalt"))))


def test_leaving_ends_it_there_and_here(square: Square, juliet: Service) -> None:
    follow(square, juliet)
    leave(square, juliet)
    assert juliet.subscribers == {} and known(square) == []
    with pytest.raises(NotSubscribed):
        leave(square, juliet)


def test_leaving_one_who_cannot_be_reached_is_told_later(square: Square, juliet: Service) -> None:
    follow(square, juliet)
    square.world.down.add("capulet.example")
    juliet.unreachable = True
    leave(square, juliet)
    assert known(square) == []
    square.world.down.clear()
    square.outbox.contact("capulet.example")
    (late,) = square.world.hears()
    assert (late.get("from"), late.get("to"), late.get("type")) == (str(ROMEO), JULIET, "set")
    assert late.first() == read(f"<pubsub xmlns='{ns.PUBSUB}'><unsubscribe node='{FEED}' jid='{ROMEO}'/></pubsub>")


def test_leaving_where_a_subscription_id_is_asked_for(square: Square, juliet: Service) -> None:
    follow(square, juliet)
    juliet.refuses = {"unsubscribe": "bad-request subid-required"}
    leave(square, juliet)
    assert juliet.asked[-2:] == ["unsubscribe", "unsubscribe"] and known(square) == []


def test_whether_everybody_may_know_is_said_there_too(square: Square, juliet: Service) -> None:
    follow(square, juliet, public=True)
    assert juliet.public == {str(ROMEO)} and known(square) == [(JULIET, "subscribed", True)]
    juliet.public.clear()
    follow(square, juliet)
    assert juliet.public == {str(ROMEO)}, "again, and it stays as it was"
    follow(square, juliet, public=False)
    assert known(square) == [(JULIET, "subscribed", False)]


def test_a_list_of_follows_of_either_kind(square: Square, juliet: Service) -> None:
    """XEP-0330 as Movim writes it, XEP-0465."""
    old = f"<subscription xmlns='{ns.ACTIVITY_LIST}:0' server='{{}}' node='{FEED}'><title>t</title></subscription>"
    new = f"<subscription xmlns='{ns.PUBLIC_SUBSCRIPTIONS}' jid='{{}}' node='{FEED}'/>"
    juliet.lists = {
        ns.ACTIVITY_LIST: "".join(
            f"<item id='{number}'>{old.format(jid)}</item>"
            for number, jid in enumerate(("nurse@capulet.example", "no address@", "paris@verona.example"))
        ),
        ns.PUBLIC_FOLLOWS: f"<item id='1'>{new.format('paris@verona.example')}</item><item id='2'><other/></item>",
    }
    outcome = begin(square.following.follows.listed(ROMEO, JULIET_JID))
    juliet.serves()
    found = [(str(one.service), one.node) for one in outcome_of(outcome)]
    assert found == [("paris@verona.example", FEED), ("nurse@capulet.example", FEED)]


def test_no_list_at_all(square: Square, juliet: Service) -> None:
    juliet.refuses = {"items": "item-not-found"}
    outcome = begin(square.following.follows.listed(ROMEO, JULIET_JID))
    juliet.serves()
    with pytest.raises(Refusal):
        outcome_of(outcome)
