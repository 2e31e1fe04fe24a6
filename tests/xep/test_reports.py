"""Reports from here and from other nodes, and who is told of them."""

from typing import Any

import pytest

from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.model.report import Reason
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import reporting_abuse
from microblog.usecases.reporting_abuse import Case
from microblog.wire import ns
from microblog.wire.reporting import Said
from microblog.wire.stanza import Stanza
from microblog.xep.reports import Reports
from tests.xep.square import Square, address
from tests.xep.test_follows import begin, outcome_of
from tests.xmltext import read

ROMEO, BENVOLIO, JULIET = address("romeo"), address("benvolio"), JID.parse("juliet@capulet.example")


class House:
    def __init__(self, square: Square) -> None:
        self.square = square
        self.said: list[tuple[str, dict[str, str]]] = []
        self.reports = Reports(square.database, self._tell, square.outbox.wake, square.clock)
        square.install(self.reports)

    def _tell(self, text: str, **values: str) -> None:
        self.said.append((text, values))

    def cases(self) -> tuple[Case, ...]:
        return self.square.database.run(reporting_abuse.cases)

    def hears(
        self, content: str, *, from_: str = "capulet.example", to: str = "montague.example", type_: str = ""
    ) -> bool:
        kind = f"type='{type_}'" if type_ else ""
        element = read(f"<message xmlns='{ns.CLIENT}' from='{from_}' to='{to}' {kind}>{content}</message>")
        message = Stanza(
            "message", type_ or "normal", None, JID.parse(from_), JID.parse(to), element, Proof.CERTIFICATE
        )
        return bool(outcome_of(begin(self.reports.take(message))))


@pytest.fixture
def house(database: Database, clock: Clock) -> House:
    square = Square(database, clock)
    square.settle("romeo", "benvolio")
    return House(square)


def report(jid: str = "romeo@montague.example", text: str = "naughty", reason: str = "abuse") -> str:
    return (
        f"<report xmlns='{ns.REPORTING}' reason='urn:xmpp:reporting:{reason}'><jid xmlns='{ns.JID}'>{jid}</jid>"
        f"<text>{text}</text></report>"
    )


def test_a_block_with_a_report_tells_the_administrators_and_the_other_node_if_wanted(house: House) -> None:
    said = Said(reason=Reason.SPAM, text="buy  my\npotions", origin=True)
    accused = outcome_of(begin(house.reports.accuse(ROMEO, JULIET, said)))
    assert accused.new and accused.domain == "capulet.example"
    values = {"number": "1", "reporter": "romeo", "jid": str(JULIET), "words": ": buy my potions"}
    assert house.said == [("administration.reported_spam", values)]
    (message,) = house.square.world.hears()
    assert (message.get("from"), message.get("to")) == ("montague.example", "capulet.example")
    assert "romeo" not in str(message.attributes) and message.find(ns.REPORTING, "report") is not None
    outcome_of(begin(house.reports.accuse(ROMEO, JULIET, said)))
    assert len(house.said) == 1 and house.square.world.hears() == []
    outcome_of(begin(house.reports.accuse(BENVOLIO, JULIET, Said(reason=Reason.ABUSE))))
    assert house.said[1][0] == "administration.reported_abuse" and house.square.world.hears() == []


def test_another_nodes_reports_are_written_down_and_the_first_is_told(house: House) -> None:
    assert house.hears(report())
    assert house.hears(report("benvolio@montague.example", reason="spam"))
    (first, second) = (case.report for case in house.cases())
    assert (str(first.reporter), first.jid, first.text) == ("capulet.example", ROMEO, "naughty")
    assert (second.jid, second.reason) == (BENVOLIO, Reason.SPAM)
    assert [text for text, _ in house.said] == ["administration.reported_abuse"]


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (report(), {"from_": "juliet@capulet.example"}),
        (report(), {"from_": "montague.example"}),
        (report(), {"from_": "romeo@montague.example/orchard"}),
        (report(), {"to": "romeo@montague.example"}),
        (report(), {"type_": "error"}),
    ],
)
def test_only_nodes_report_to_the_node(house: House, content: str, more: Any) -> None:
    assert not house.hears(content, **more)
    assert house.cases() == () and house.said == []


@pytest.mark.parametrize(
    "content",
    [
        report("juliet@capulet.example"),
        report("nobody@montague.example"),
        report("@@"),
        report(""),
        f"<report xmlns='{ns.REPORTING}'/>",
    ],
)
def test_what_is_about_nobody_of_here_is_dropped_without_a_word(house: House, content: str) -> None:
    assert house.hears(content)
    assert house.cases() == () and house.said == []


def test_a_flood_of_reports_costs_a_bounded_number_of_rows_and_one_line(house: House) -> None:
    names = [f"account{number}" for number in range(reporting_abuse.NODE_OPEN_MAX + 5)]
    house.square.settle(*names)
    for name in names:
        house.hears(report(f"{name}@montague.example", "x" * 3000))
        house.hears(report(f"{name}@montague.example", "again"))
    assert house.hears(report("romeo@montague.example"), from_="verona.example")
    count = house.square.database.run(lambda tx: tx.reports.count_open())
    assert count == reporting_abuse.NODE_OPEN_MAX + 1 and len(house.said) == 2


def test_words_stay_in_their_line(house: House) -> None:
    house.hears(report(text="a\n\u202eReport 2: nobody\u2067\u2028b" + "c" * 500))
    ((_, values),) = house.said
    words = values["words"]
    assert words.startswith(": a Report 2: nobody bc") and len(words) <= 202 and words.endswith("…")


def test_it_is_announced(house: House) -> None:
    assert ns.REPORTING in house.reports.features
    (route,) = house.reports.messages()
    assert (route.uri, route.name) == (ns.REPORTING, "report")
