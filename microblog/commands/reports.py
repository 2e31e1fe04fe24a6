"""``report``, for everybody; ``admin reports`` and ``admin settle`` for those who look at what was reported.

The moderators of this node are always told. Those of the node of who is reported only if that is said, as the report
is read there by people whom nobody here knows; the reporter is not named to them.
"""

from collections.abc import Awaitable, Iterable
from functools import partial
from typing import Final, Protocol

from microblog.commands.administration import GROUP as ADMINISTRATION
from microblog.commands.administration import administrator
from microblog.commands.command import Answer, Call, Command, Function, Kind, Parameter
from microblog.commands.lines import brief, name_of
from microblog.commands.texts import say
from microblog.model.errors import ItemNotFound, NotAllowed, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.report import Reason
from microblog.model.uri import ItemAddress
from microblog.store.database import Database
from microblog.usecases import reporting_abuse
from microblog.usecases.reporting_abuse import Accused, Case
from microblog.wire import atom

_GROUP: Final = "quiet"
_EXCERPT_MAX: Final = 200


class Reporting(Protocol):
    """What takes reports (``xep.reports``)."""

    def report(
        self,
        reporter: JID,
        *,
        jid: JID | None = None,
        item: ItemAddress | None = None,
        reason: Reason = Reason.ABUSE,
        text: str = "",
        origin: bool = False,
    ) -> Awaitable[Accused]:
        """Report somebody, or a post. Raises ItemNotFound, NotAllowed, ResourceConstraint."""


class ReportWords:
    """The commands."""

    def __init__(self, database: Database, reports: Reporting) -> None:
        self._database = database
        self._reports = reports

    def commands(self) -> Iterable[Command]:
        """All of them."""
        target = Parameter(name="target", kinds=(Kind.ITEM, Kind.PERSON))
        there = Parameter(name="there", kinds=(Kind.FLAG,), required=False)
        text = Parameter(name="text", kinds=(Kind.TEXT,), required=False)
        yield Command(name="report", group=_GROUP, function=self.report, parameters=(target, there, text))
        yield _word("admin reports", self.reports)
        yield _word("admin settle", self.settle, Parameter(name="number", kinds=(Kind.NUMBER,)))

    async def report(self, call: Call) -> Answer:
        """``report NAME|#ID [there] [TEXT]``."""
        person, target, there = call.person, call.arguments["target"], bool(call.get("there"))
        is_item = isinstance(target, ItemAddress)
        try:
            accused = await self._reports.report(
                person.jid,
                jid=None if is_item else target,
                item=target if is_item else None,
                text=call.get("text", ""),
                origin=there,
            )
        except ItemNotFound:
            raise ItemNotFound(_text(call, "report_nothing")) from None
        except NotAllowed:
            raise NotAllowed(_text(call, "report_oneself")) from None
        except ResourceConstraint:
            raise ResourceConstraint(_text(call, "report_enough")) from None
        jid = accused.report.jid
        parts = [_text(call, "reported" if accused.new else "reported_again", name=self._name(jid))]
        if jid.domainpart != self._database.domain:
            text = "reported_there" if accused.report.passed_on is not None else "report_there"
            parts.append(_text(call, text, domain=jid.domainpart))
        return Answer(text=" ".join(parts))

    # for administrators

    async def reports(self, call: Call) -> Answer:
        """``admin reports``: what nobody is done with."""
        return await self._page(0, call)

    async def _page(self, after: int, call: Call) -> Answer:
        administrator(call)
        found = await self._database.read(reporting_abuse.cases, after)
        if not found:
            return Answer(text=say(call.person.language, f"{ADMINISTRATION}.reports_none"))
        more = None
        lines = [self._line(call, case) for case in found]
        if len(found) == reporting_abuse.PAGE:
            more = partial(self._page, found[-1].report.key)
            lines.append(say(call.person.language, f"{ADMINISTRATION}.reports_more"))
        return Answer(text="\n".join(lines), more=more)

    def _line(self, call: Call, case: Case) -> str:
        report, language = case.report, call.person.language
        text = say(
            language,
            f"{ADMINISTRATION}.report",
            number=report.key,
            reporter=self._name(report.reporter),
            jid=self._name(report.jid),
            reason=say(language, f"{ADMINISTRATION}.reason_{report.reason}"),
            when=f"{report.created:%Y-%m-%d %H:%M}",
        )
        lines = [f"{text} {brief(report.text, _EXCERPT_MAX)}".strip()]
        if report.item is not None:
            lines.append(f"  {report.item.uri}")
        entry = None if case.item is None else atom.read_text(case.item.payload)
        if entry is not None and entry.text:
            lines.append(f"  > {brief(entry.text, _EXCERPT_MAX)}")
        return "\n".join(lines)

    async def settle(self, call: Call) -> Answer:
        """``admin settle N``: a report has been looked at."""
        number = call.arguments["number"]
        try:
            report = await self._database.write(reporting_abuse.settle, number)
        except ItemNotFound:
            raise ItemNotFound(say(call.person.language, f"{ADMINISTRATION}.report_none", number=number)) from None
        return Answer(
            text=say(call.person.language, f"{ADMINISTRATION}.settled", number=number, jid=self._name(report.jid))
        )

    def _name(self, jid: JID) -> str:
        return name_of(jid, self._database.domain)


def _word(name: str, function: Function, *parameters: Parameter) -> Command:
    async def run(call: Call) -> Answer:
        administrator(call)
        return await function(call)

    return Command(name=name, group=ADMINISTRATION, function=run, parameters=parameters, admin=True, private=True)


def _text(call: Call, text: str, **values: object) -> str:
    return say(call.person.language, f"{_GROUP}.{text}", **values)
