"""The administrator's commands for reports: what people here and other nodes have reported.

They work as those of ``microblog.admin`` do, and as the words ``admin reports`` and ``admin settle`` in chat.
"""

from typing import TYPE_CHECKING, Any

from microblog.admin import database
from microblog.config import Config
from microblog.terminal import Failure, Options, show, table

if TYPE_CHECKING:
    from microblog.usecases.reporting_abuse import Case

_WORDS_MAX = 60


def report_list(configuration: Config, options: Options) -> int:
    """`report list`."""
    from microblog.commands.lines import brief
    from microblog.usecases import reporting_abuse

    found: list[Case] = []
    with database(configuration) as opened:
        page = opened.run(reporting_abuse.cases)
        while page:
            found += page
            page = opened.run(reporting_abuse.cases, page[-1].report.key)
    rows = [_report(case) for case in found]

    def lines() -> None:
        if not rows:
            print("No report waits to be looked at.")
            return
        heads = ("Number", "Reported", "By", "For", "Since", "Words")
        table(heads, [[*list(row.values())[:5], brief(row["text"], _WORDS_MAX)] for row in rows])

    show(options, rows, lines)
    return 0


def _report(case: "Case") -> dict[str, Any]:
    from microblog.wire import atom

    report = case.report
    entry = None if case.item is None else atom.read_text(case.item.payload)
    return {
        "number": report.key,
        "jid": str(report.jid),
        "reporter": str(report.reporter),
        "reason": report.reason.value,
        "created": report.created,
        "text": report.text,
        "item": None if report.item is None else report.item.uri,
        "post": None if entry is None else entry.text,
        "passed_on": report.passed_on,
    }


def report_settle(configuration: Config, options: Options) -> int:
    """`report settle NUMBER`."""
    from microblog.usecases import reporting_abuse

    said = str(options["number"])
    if not (said.isascii() and said.isdigit() and len(said) <= 9):
        raise Failure(f'"{said}" is not the number of a report.', 2)
    with database(configuration) as opened:
        report = opened.run(reporting_abuse.settle, int(said))
    done = {"number": report.key, "jid": str(report.jid)}
    show(options, done, lambda: print(f"Report {report.key} about {report.jid} is settled."))
    return 0
