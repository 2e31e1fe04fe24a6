"""XEP-0377: what a report says, and how it goes to another node."""

from datetime import UTC, datetime

import pytest

from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.report import TEXT_MAX_CHARACTERS, Reason, Report
from microblog.model.uri import ItemAddress
from microblog.wire import ns, reporting
from microblog.wire.reporting import Said
from tests.xmltext import read

PARIS = JID.parse("paris@verona.example")
POST = ItemAddress(PARIS, MICROBLOG, "a/b c")


def found(inside: str, reason: str = "urn:xmpp:reporting:spam", uri: str = ns.REPORTING) -> Said | None:
    return reporting.find(read(f"<item jid='x'><report xmlns='{uri}' reason='{reason}'>{inside}</report></item>"))


def test_a_report_with_a_block() -> None:
    """Examples of the XEP."""
    said = found("<text xml:lang='en'> Never came trouble to my house like this. </text><report-origin/><third-party/>")
    assert said == Said(reason=Reason.SPAM, text="Never came trouble to my house like this.", origin=True)
    assert found("", "urn:xmpp:reporting:abuse") == Said(reason=Reason.ABUSE)
    assert reporting.find(read("<item jid='x'/>")) is None
    assert found("", uri="urn:xmpp:reporting:0") is None


@pytest.mark.parametrize("reason", ["", "spam", "urn:xmpp:reporting:ugliness"])
def test_an_unknown_reason_is_abuse(reason: str) -> None:
    assert found("", reason) == Said(reason=Reason.ABUSE)


@pytest.mark.parametrize(
    "inside",
    [
        "<jid xmlns='urn:xmpp:jid:0'>@@</jid>",
        "<jid xmlns='urn:xmpp:jid:0'/>",
        "<jid>paris@verona.example</jid>",
        "<reference xmlns='urn:xmpp:reference:0' uri='http://verona.example/'/>",
        "<reference xmlns='urn:xmpp:reference:0' uri='xmpp:paris@verona.example'/>",
        "<reference xmlns='urn:xmpp:reference:0'/>",
        "<text><b>x</b></text>",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='a' id='1'/>",
    ],
)
def test_what_makes_no_sense_is_left_out(inside: str) -> None:
    said = found(inside)
    assert said is not None and (said.jid, said.item) == (None, None)


def test_a_long_text_is_cut() -> None:
    said = found(f"<text>{'x' * 9999}</text>")
    assert said is not None and len(said.text) == TEXT_MAX_CHARACTERS


@pytest.mark.parametrize("item", [None, POST])
@pytest.mark.parametrize("text", ["", "He is <proud> & idle"])
def test_what_another_node_is_told_says_who_is_reported_and_not_by_whom(item: ItemAddress | None, text: str) -> None:
    report = Report(
        key=7,
        reporter=JID.parse("romeo@montague.example"),
        jid=PARIS,
        item=item,
        reason=Reason.SPAM,
        text=text,
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )
    message = reporting.pass_on("montague.example", report)
    assert (str(message.from_), str(message.to), message.type) == ("montague.example", "verona.example", "normal")
    written = message.to_bytes().decode()
    assert "romeo" not in written
    assert reporting.find(read(written)) == Said(reason=Reason.SPAM, text=text, jid=PARIS, item=item)
