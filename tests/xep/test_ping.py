"""XEP-0199: pings are answered, whoever sends them."""

import pytest

from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.xep.ping import Ping
from tests.im.town import Town


@pytest.fixture
def town(database: Database, clock: Clock) -> Town:
    town = Town(database, clock)
    town.settle("romeo")
    town.install(Ping(town.router.settled))
    return town


@pytest.mark.parametrize("to", ["montague.example", "romeo@montague.example", "nobody@montague.example"])
def test_ping_from_elsewhere_is_answered(town: Town, to: str) -> None:
    town.inject(f"<iq from='capulet.example' to='{to}' id='s2s1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
    town.world_receives(f"<iq from='{to}' to='capulet.example' id='s2s1' type='result'/>")


def test_client_pings_its_server(town: Town) -> None:
    romeo = town.login("romeo", "orchard")
    romeo.sends("<iq to='montague.example' id='c2s1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
    romeo.receives("<iq from='montague.example' to='romeo@montague.example/orchard' id='c2s1' type='result'/>")
    romeo.sends("<iq id='c2s2' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
    romeo.receives("<iq from='romeo@montague.example' to='romeo@montague.example/orchard' id='c2s2' type='result'/>")
