"""A city of two houses for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features.verona import Verona
from tests.federation.nodes import Authority


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.remove()


@pytest.fixture
def verona(authority: Authority, tmp_path: Path) -> Verona:
    return Verona(authority, tmp_path)
