"""Every refusal has its stanza error."""

from collections.abc import Iterator

import pytest

from microblog.model import errors
from microblog.wire import ns
from microblog.wire.errors import TABLE, condition, error_element, internal_error, read_condition
from microblog.wire.xml import Element


def refusals(cls: type[errors.Refusal] = errors.Refusal) -> Iterator[type[errors.Refusal]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from refusals(sub)


@pytest.mark.parametrize("refusal", list(refusals()), ids=lambda cls: cls.__name__)
def test_every_refusal_becomes_a_stanza_error(refusal: type[errors.Refusal]) -> None:
    found = condition(refusal)
    assert found.type in ("auth", "cancel", "continue", "modify", "wait")
    error = error_element(refusal("because"))
    assert error.find(ns.STANZAS, found.name) is not None
    assert error.child_text(ns.STANZAS, "text") == "because"


def test_a_refusal_with_its_own_row_is_not_read_from_its_parent() -> None:
    for cls, row in TABLE.items():
        assert condition(cls) is row


def test_our_bugs_show_an_incident_and_nothing_else() -> None:
    error = internal_error("c0ffee")
    assert error.find(ns.STANZAS, "internal-server-error") is not None
    assert error.child_text(ns.STANZAS, "text") == "incident c0ffee"


def test_reading_a_received_error() -> None:
    message = Element(ns.CLIENT, "message", {"type": "error"}, error_element(errors.Gone("moved")))
    assert read_condition(message) == ("gone", "cancel")
    assert read_condition(Element(ns.CLIENT, "message", {"type": "error"})) == (
        "undefined-condition",
        "cancel",
    )
