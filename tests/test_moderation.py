"""The administrator's commands for reports."""

import json
from datetime import UTC, datetime

import pytest

from microblog.config import load
from microblog.model.jid import JID
from microblog.store.database import open_database
from microblog.usecases import registering, reporting_abuse
from microblog.usecases.reporting_abuse import Accuse
from tests.test_plugin import folder, say  # noqa: F401  # a fixture


@pytest.fixture
def here(folder):  # noqa: F811  # the fixture
    """The folder of a node where Romeo has reported so many."""
    assert say(folder, "report", "list").stdout == "No report waits to be looked at.\n"
    database = open_database(
        load(folder / "microblog.toml").database_url, domain="montague.example", now=lambda: datetime.now(UTC)
    )
    database.run(registering.create_account, "romeo", "secret")
    for number in range(reporting_abuse.PAGE + 2):
        wanted = Accuse(
            reporter=JID("romeo", "montague.example"), jid=JID(f"p{number}", "capulet.example"), text="he\nbites"
        )
        database.run(reporting_abuse.accuse, wanted)
    database.close()
    return folder


def test_they_are_listed_and_settled(here):
    rows = json.loads(say(here, "report", "list", "--json").stdout)
    assert [row["jid"] for row in rows] == [f"p{n}@capulet.example" for n in range(reporting_abuse.PAGE + 2)]
    assert (rows[0]["reporter"], rows[0]["reason"], rows[0]["text"]) == ("romeo@montague.example", "abuse", "he\nbites")
    assert "he bites" in say(here, "report", "list").stdout
    done = say(here, "report", "settle", "1")
    assert (done.returncode, done.stdout) == (0, "Report 1 about p0@capulet.example is settled.\n")
    assert len(json.loads(say(here, "report", "list", "--json").stdout)) == reporting_abuse.PAGE + 1


@pytest.mark.parametrize(("number", "status"), [("99", 1), ("one", 2), ("-1", 2), ("1" * 30, 2), ("\u0661", 2)])
def test_what_there_is_none_of(here, number, status):
    done = say(here, "report", "settle", "--", number)
    assert done.returncode == status and done.stderr.count("\n") >= 1
