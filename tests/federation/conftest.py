"""One authority for the certificates of all nodes."""

from collections.abc import Iterator

import pytest

from tests.federation.nodes import Authority


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.remove()
