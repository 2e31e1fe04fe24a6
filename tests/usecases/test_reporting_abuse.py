"""Reports: what people here report, and what other nodes pass on."""

from datetime import timedelta
from typing import Any

import pytest

from microblog.model.errors import ItemNotFound, NotAllowed, ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.report import TEXT_MAX_CHARACTERS, Reason, Report
from microblog.model.uri import ItemAddress
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import forgetting, reporting_abuse
from microblog.usecases.reporting_abuse import Accuse, Accused, Noted, PassedOn
from tests.conftest import Time
from tests.usecases.pubsub import BENVOLIO, JULIET, PARIS, ROMEO, an_account
from tests.usecases.timelines import arrives, writes

MERCUTIO = JID.parse("mercutio@montague.example")


@pytest.fixture
def town(tx: Transaction) -> Transaction:
    for jid in (ROMEO, BENVOLIO, MERCUTIO):
        an_account(tx, jid)
    return tx


def stanza(report: Report) -> str:
    return f"<message about='{report.jid}'/>"


def accuse(tx: Transaction, /, jid: JID | None = JULIET, text: str = "a villain", **more: Any) -> Accused:
    return reporting_abuse.accuse(tx, Accuse(reporter=more.pop("by", BENVOLIO), jid=jid, text=text, **more))


def passes_on(tx: Transaction, /, domain: str = "capulet.example", jid: JID = ROMEO, **more: Any) -> Noted | None:
    return reporting_abuse.note(tx, PassedOn(domain=domain, jid=jid, **more))


def at(jid: JID, item_id: str, node: str = MICROBLOG) -> ItemAddress:
    return ItemAddress(jid, node, item_id)


def owed(tx: Transaction) -> list[tuple[str, str]]:
    return [
        (row.domain, row.stanza or "") for row in tx.connection.exec_driver_sql("SELECT domain, stanza FROM outbox")
    ]


def waiting(tx: Transaction) -> list[int]:
    return [case.report.key for case in reporting_abuse.cases(tx)]


# from here


def test_somebody_is_reported_and_the_same_again_changes_the_words(town: Transaction) -> None:
    first = accuse(town)
    assert first.new and first.domain is None and first.report.text == "a villain"
    again = accuse(town, text="a fiend", reason=Reason.SPAM)
    assert not again.new and again.report.key == first.report.key
    (case,) = reporting_abuse.cases(town)
    assert (case.report.text, case.report.reason, case.report.jid) == ("a fiend", Reason.SPAM, JULIET)
    assert not accuse(town, text="").new
    assert reporting_abuse.cases(town)[0].report.text == "a fiend"
    assert accuse(town, by=MERCUTIO).new and accuse(town, jid=PARIS).new
    assert len(waiting(town)) == 3
    assert owed(town) == []


def test_a_post_is_shown_to_moderators_as_far_as_its_reporter_reads_it(town: Transaction) -> None:
    writes(town, ROMEO, "1", audience=Audience.DIRECT, readers=(BENVOLIO,))
    accused = accuse(town, None, item=at(ROMEO, "1"))
    assert accused.report.jid == ROMEO
    (case,) = reporting_abuse.cases(town)
    assert case.item is not None and case.item.id == "1" and case.report.item == at(ROMEO, "1")
    with pytest.raises(ItemNotFound):
        accuse(town, None, item=at(ROMEO, "1"), by=MERCUTIO)
    with pytest.raises(ItemNotFound):
        accuse(town, None, item=at(ROMEO, "2"))
    passes_on(town, jid=ROMEO, item=at(ROMEO, "1"))
    assert [case.item is None for case in reporting_abuse.cases(town)] == [False, True]


def test_a_post_of_elsewhere_need_not_be_here(town: Transaction) -> None:
    assert accuse(town, None, item=at(JULIET, "1")).report.jid == JULIET
    arrives(town, PARIS, "2", to=ROMEO)
    found = accuse(town, None, item=at(PARIS, "2")).report
    assert (found.jid, found.item) == (PARIS, at(PARIS, "2"))
    with pytest.raises(ItemNotFound):
        accuse(town, None, item=at(JULIET, "3", "urn:xmpp:microblog:0:comments/1"))


def test_the_other_node_is_told_if_that_is_wanted_and_once(town: Transaction) -> None:
    assert accuse(town, pass_on=stanza).domain == "capulet.example"
    assert owed(town) == [("capulet.example", f"<message about='{JULIET}'/>")]
    again = accuse(town, text="more", pass_on=stanza)
    assert again.domain is None and again.report.passed_on is not None
    assert accuse(town, ROMEO, pass_on=stanza).domain is None
    assert len(owed(town)) == 1
    later = accuse(town, PARIS)
    assert later.report.passed_on is None
    assert accuse(town, PARIS, pass_on=stanza).domain == "verona.example"


def test_what_is_refused(town: Transaction) -> None:
    with pytest.raises(NotAllowed):
        accuse(town, BENVOLIO)
    writes(town, BENVOLIO, "mine")
    with pytest.raises(NotAllowed):
        accuse(town, None, item=at(BENVOLIO, "mine"))
    with pytest.raises(ItemNotFound):
        accuse(town, None)
    assert len(accuse(town, text="x" * 5000).report.text) == TEXT_MAX_CHARACTERS


def test_nobody_reports_without_end(town: Transaction) -> None:
    for number in range(reporting_abuse.DAY_MAX):
        accuse(town, JID(f"p{number}", "capulet.example"))
    with pytest.raises(ResourceConstraint):
        accuse(town, JULIET)
    accuse(town, JID("p0", "capulet.example"), "again")
    accuse(town, JULIET, by=MERCUTIO)
    assert len(waiting(town)) == reporting_abuse.PAGE


def test_nobody_has_more_reports_open_than_that(database: Database, time: Time) -> None:
    database.run(an_account, BENVOLIO)
    for number in range(reporting_abuse.OPEN_MAX):
        if number % reporting_abuse.DAY_MAX == 0:
            time.advance(25 * 3600)
        database.run(accuse, JID(f"p{number}", "capulet.example"))
    time.advance(25 * 3600)
    with pytest.raises(ResourceConstraint):
        database.run(accuse, JULIET)
    database.run(reporting_abuse.settle, 1)
    database.run(accuse, JULIET)


# from elsewhere


def test_another_node_passes_on_and_only_the_first_is_worth_a_line(town: Transaction) -> None:
    first = passes_on(town, text="naughty")
    assert first is not None and first.first
    assert (first.report.reporter, first.report.jid) == (JID("", "capulet.example"), ROMEO)
    assert passes_on(town) is None
    second = passes_on(town, jid=MERCUTIO)
    assert second is not None and not second.first
    other = passes_on(town, "verona.example")
    assert other is not None and other.first
    reporting_abuse.settle(town, first.report.key)
    reporting_abuse.settle(town, second.report.key)
    again = passes_on(town)
    assert again is not None and again.first


@pytest.mark.parametrize(
    "jid", ["juliet@capulet.example", "nobody@montague.example", "montague.example", "romeo@verona.example"]
)
def test_only_about_somebody_of_here(town: Transaction, jid: str) -> None:
    assert passes_on(town, jid=JID.parse(jid)) is None and waiting(town) == []


def test_a_post_that_is_not_of_here_is_left_out(town: Transaction) -> None:
    noted = passes_on(town, item=at(JULIET, "1"))
    assert noted is not None and noted.report.item is None


def test_a_post_of_somebody_else_is_no_proof(town: Transaction) -> None:
    writes(town, MERCUTIO, "1")
    writes(town, ROMEO, "2")
    writes(town, ROMEO, "3", audience=Audience.LOCAL)
    for number, item in enumerate((at(MERCUTIO, "1"), at(ROMEO, "2"), at(ROMEO, "3"), at(ROMEO, "gone"))):
        noted = passes_on(town, f"d{number}.example", item=item)
        assert noted is not None and (noted.report.item is None) == (number == 0)
    assert [case.item is not None for case in reporting_abuse.cases(town)] == [False, True, False, False]


def test_a_node_that_reports_everybody_does_not_fill_the_database(
    town: Transaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting_abuse, "NODE_OPEN_MAX", 2)
    for jid in (ROMEO, BENVOLIO, MERCUTIO):
        passes_on(town, jid=jid)
    assert len(waiting(town)) == 2
    monkeypatch.setattr(reporting_abuse, "NODE_DAY_MAX", 2)
    for key in waiting(town):
        reporting_abuse.settle(town, key)
    assert passes_on(town, jid=MERCUTIO) is None
    assert passes_on(town, "verona.example") is not None
    monkeypatch.setattr(reporting_abuse, "NODES_OPEN_MAX", 1)
    assert passes_on(town, "mantua.example") is None


# moderators


def test_a_report_is_settled_once(town: Transaction) -> None:
    key = accuse(town).report.key
    assert reporting_abuse.settle(town, key).jid == JULIET
    assert waiting(town) == []
    for number in (key, key + 1, 0, 1 << 40):
        with pytest.raises(ItemNotFound):
            reporting_abuse.settle(town, number)
    assert accuse(town).report.key != key


def test_pages(town: Transaction) -> None:
    for number in range(reporting_abuse.PAGE + 2):
        accuse(town, JID(f"p{number}", "capulet.example"))
    first = reporting_abuse.cases(town)
    rest = reporting_abuse.cases(town, first[-1].report.key)
    assert (len(first), len(rest)) == (reporting_abuse.PAGE, 2)


def test_what_was_settled_is_forgotten_in_time_and_what_was_not_is_not(database: Database, time: Time) -> None:
    database.run(an_account, BENVOLIO)
    database.run(accuse)
    database.run(accuse, PARIS)
    database.run(reporting_abuse.settle, 1)
    time.advance(timedelta(days=reporting_abuse.DAYS + 1).total_seconds())
    database.run(forgetting.forget)
    assert database.run(lambda tx: tx.reports.get(1)) is None
    assert [case.report.key for case in database.run(reporting_abuse.cases)] == [2]
