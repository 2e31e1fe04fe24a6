"""XEP-0012."""

from microblog.store.database import Database
from microblog.wire.errors import read_condition
from microblog.xep.last import Last
from tests.conftest import Time
from tests.im.town import Town


def a_query(to: str) -> str:
    return f"<iq from='juliet@capulet.example/balcony' to='{to}' id='l' type='get'><query xmlns='jabber:iq:last'/></iq>"


def test_node_tells_its_uptime(database: Database, time: Time) -> None:
    time.advance(1000)
    town = Town(database, time.clock)
    town.install(Last(time.clock))
    time.advance(90.9)
    town.inject(a_query("montague.example"))
    town.world_receives(
        "<iq from='montague.example' to='juliet@capulet.example/balcony' id='l' type='result'>"
        "<query xmlns='jabber:iq:last' seconds='90'/></iq>"
    )


def test_nothing_is_told_of_people(database: Database, time: Time) -> None:
    town = Town(database, time.clock)
    town.settle("romeo")
    town.install(Last(time.clock))
    for name in ("romeo", "nobody"):
        town.inject(a_query(f"{name}@montague.example"))
        (answer,) = town.world_hears()
        assert read_condition(answer)[0] == "service-unavailable"
