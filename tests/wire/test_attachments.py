"""XEP-0470: attachments and their summary."""

from datetime import UTC, datetime

import pytest

from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.attachments import (
    REACTIONS_MAX,
    Attached,
    Summary,
    is_reaction,
    read_attachments,
    write_attachments,
    write_summary,
)
from microblog.wire.xml import Element
from tests.xmltext import read

ROMEO = JID.parse("romeo@montague.example/orchard")
WHEN = datetime(2022, 7, 11, 12, 7, 48, tzinfo=UTC)
# The second example of XEP-0470 §4.1.
EXAMPLE = f"""<attachments xmlns='{ns.ATTACHMENTS}'>
  <noticed timestamp='2022-07-11T12:07:24Z'/>
  <reactions timestamp='2022-07-11T12:07:48Z'>
    <reaction>👷</reaction>
    <reaction>🔨</reaction>
  </reactions>
</attachments>"""


def test_the_example_is_read_and_written() -> None:
    found = read_attachments(read(EXAMPLE))
    assert found == Attached(noticed=True, reactions=("👷", "🔨"))
    before = read(f"<attachments xmlns='{ns.ATTACHMENTS}'><noticed timestamp='2022-07-11T12:07:24Z'/></attachments>")
    assert write_attachments(found, WHEN, before=before) == read(EXAMPLE)


def test_what_is_unknown_is_kept() -> None:
    before = read(f"<attachments xmlns='{ns.ATTACHMENTS}'><rsvp xmlns='urn:x'/><reactions/><noticed/></attachments>")
    written = write_attachments(Attached(reactions=("♥", "♥")), WHEN, before=before)
    assert written == read(
        f"<attachments xmlns='{ns.ATTACHMENTS}'><rsvp xmlns='urn:x'/>"
        "<reactions timestamp='2022-07-11T12:07:48Z'><reaction>♥</reaction></reactions></attachments>"
    )
    assert write_attachments(Attached(), WHEN) == Element(ns.ATTACHMENTS, "attachments")


def test_twice_is_once_and_words_are_no_reactions() -> None:
    texts = ["👍", " 👍 ", "lol", "", "👍" * 33, "<3", *(chr(0x1F600 + n) for n in range(100))]
    reactions = Element(ns.ATTACHMENTS, "reactions", None, *(_reaction(text) for text in texts))
    found = read_attachments(Element(ns.ATTACHMENTS, "attachments", None, reactions))
    assert found is not None
    assert found.reactions[:3] == ("👍", "<3", "\U0001f600")
    assert len(found.reactions) == REACTIONS_MAX


def _reaction(text: str) -> Element:
    return Element(ns.ATTACHMENTS, "reaction", None, text)


@pytest.mark.parametrize("text", ["♥", "❤️", "👍🏽", "👨‍👩‍👧‍👦", "🇮🇹", "1️⃣", "☎️", "+1"])
def test_reactions(text: str) -> None:
    assert is_reaction(text)


@pytest.mark.parametrize("text", ["", "a", "nice!", "\u200b", "👍 👍", "\x01!", "1", "👍" * 40])
def test_no_reactions(text: str) -> None:
    assert not is_reaction(text)


def test_a_summary() -> None:
    summary = Summary(noticed=5, reactions={"👷": 2, "🔨": 1})
    written = write_summary(summary)
    assert written == read(
        f"<summary xmlns='{ns.ATTACHMENTS_SUMMARY}'><noticed count='5'/>"
        "<reactions><reaction count='2'>👷</reaction><reaction>🔨</reaction></reactions></summary>"
    )
    assert write_summary(Summary()) == Element(ns.ATTACHMENTS_SUMMARY, "summary")


def test_what_is_no_attachments() -> None:
    assert read_attachments(Element("urn:x", "attachments")) is None
