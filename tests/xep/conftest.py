"""A town square to play on."""

import pytest

from microblog.runtime import Clock
from microblog.store.database import Database
from tests.xep.square import Square


@pytest.fixture
def square(database: Database, clock: Clock) -> Square:
    square = Square(database, clock)
    square.settle("romeo", "benvolio", "mercutio")
    return square
