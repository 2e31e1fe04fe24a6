"""XEP-0202."""

from microblog.store.database import Database
from microblog.xep.time import Time as EntityTime
from tests.conftest import Time
from tests.im.town import Town


def test_node_tells_the_time_to_the_second(database: Database, time: Time) -> None:
    town = Town(database, time.clock)
    town.install(EntityTime(time.clock))
    time.advance(61.25)
    town.inject(
        "<iq from='juliet@capulet.example/balcony' to='montague.example' id='t' type='get'>"
        "<time xmlns='urn:xmpp:time'/></iq>"
    )
    town.world_receives(
        "<iq from='montague.example' to='juliet@capulet.example/balcony' id='t' type='result'>"
        "<time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>2026-01-01T12:01:01Z</utc></time></iq>"
    )
