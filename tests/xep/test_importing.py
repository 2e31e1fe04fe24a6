"""Following whom a list names."""

from microblog.commands.following import Imported
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.xep.importing import PATIENCE_SECONDS, FollowImporter
from tests.conftest import Time
from tests.xep.service import JULIET, Service, serve
from tests.xep.square import FEED, Square, address, asks, result
from tests.xep.test_follows import begin, known, outcome_of

ROMEO = address("romeo")
PARIS = "paris@verona.example"
NURSE = "nurse@capulet.example"


def entry(number: int, jid: str, node: str = FEED) -> str:
    return f"<item id='{number}'><subscription xmlns='{ns.ACTIVITY_LIST}:0' server='{jid}' node='{node}'/></item>"


def test_the_people_of_a_list_are_followed(square: Square, time: Time) -> None:
    importer = FollowImporter(square.database, square.following.follows, square.clock, square.tasks)
    services = [Service(square, jid) for jid in (JULIET, NURSE, PARIS)]
    juliet, nurse, paris = services
    nurse.grants, paris.refuses = "pending", {"subscribe": "forbidden"}
    names = (NURSE, PARIS, "benvolio@montague.example", "romeo@montague.example")
    listed = "".join(entry(number, jid) for number, jid in enumerate(names))
    juliet.lists = {ns.ACTIVITY_LIST: listed + entry(9, "pubsub.verona.example", "wine")}
    outcome = begin(importer.take(ROMEO, JID.parse(JULIET)))
    serve(square, *services)
    assert outcome_of(outcome) == Imported(followed=1, pending=1, known=1, failed=(JID.parse(PARIS),), left=0)
    assert known(square) == [("benvolio@montague.example", "subscribed", False), (NURSE, "pending", False)]


def test_ones_own_list_that_another_client_keeps(square: Square, time: Time) -> None:
    importer = FollowImporter(square.database, square.following.follows, square.clock, square.tasks)
    romeo = square.online("romeo", "orchard")
    payload = entry(1, "benvolio@montague.example")
    result(asks(romeo, "set", f"<publish node='{ns.ACTIVITY_LIST}'>{payload}</publish>"))
    outcome = begin(importer.take(ROMEO, ROMEO))
    assert outcome_of(outcome).followed == 1
    assert known(square) == [("benvolio@montague.example", "subscribed", False)]


def test_nobody_is_waited_for_for_ever(square: Square, time: Time) -> None:
    importer = FollowImporter(square.database, square.following.follows, square.clock, square.tasks)
    juliet, nurse = Service(square), Service(square, NURSE)
    juliet.lists = {ns.ACTIVITY_LIST: entry(1, NURSE)}
    outcome = begin(importer.take(ROMEO, JID.parse(JULIET)))
    heard = square.world_hears()
    juliet.answer(heard[0])
    juliet.answer(square.world_hears()[0])
    assert outcome == []
    time.advance(PATIENCE_SECONDS)
    assert outcome_of(outcome) == Imported(followed=0, pending=0, known=0, failed=(), left=1)
    nurse.serves()
    assert known(square) == [(NURSE, "subscribed", False)], "what was under way goes on"
