"""A town to play in."""

import pytest

from microblog.runtime import Clock
from microblog.store.database import Database
from tests.im.town import Town


@pytest.fixture
def town(database: Database, clock: Clock) -> Town:
    town = Town(database, clock)
    town.settle("romeo", "benvolio", "mercutio")
    return town
