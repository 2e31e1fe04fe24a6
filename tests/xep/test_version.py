"""XEP-0092."""

import microblog
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.xep.version import Version
from tests.im.town import Town


def test_node_tells_name_and_version_and_no_more(database: Database, clock: Clock) -> None:
    town = Town(database, clock)
    town.install(Version())
    town.inject(
        "<iq from='juliet@capulet.example/balcony' to='montague.example' id='v' type='get'>"
        "<query xmlns='jabber:iq:version'/></iq>"
    )
    town.world_receives(
        "<iq from='montague.example' to='juliet@capulet.example/balcony' id='v' type='result'>"
        "<query xmlns='jabber:iq:version'><name>Microblog</name>"
        f"<version>{microblog.__version__}</version></query></iq>"
    )
