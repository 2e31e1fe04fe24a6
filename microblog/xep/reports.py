"""XEP-0377: reports, from people here with a block or by the word ``report``, and from other nodes.

The administrators are told by a line of chat; of what another node reports only of the first that waits, as it may
report as much as it likes. Their answer is not waited for, and there is none: who reported somebody learns nothing.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from microblog.commands.lines import brief, name_of
from microblog.model.jid import JID
from microblog.model.report import Reason, Report
from microblog.model.uri import ItemAddress
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import reporting_abuse
from microblog.usecases.reporting_abuse import Accuse, Accused, PassedOn
from microblog.wire import ns, reporting
from microblog.wire.stanza import Stanza
from microblog.xep.rates import Rate
from microblog.xmpp.dispatch import Extension, MessageRoute, Spec

REPORTS_PER_MINUTE: Final = 100  # of one other node; more are not even looked at
_TEXT_MAX: Final = 200


class Tell(Protocol):
    """What says a text to all administrators (``adminlines.AdminLines.tell``)."""

    def __call__(self, text: str, **values: str) -> None:
        """Say it."""


class Reports(Extension):
    """``tell`` tells the administrators, ``wake`` is the outbox's."""

    specs = (Spec(377, "0.4.1"),)
    features = (ns.REPORTING,)

    def __init__(self, database: Database, tell: Tell, wake: Callable[[str], None], clock: Clock) -> None:
        self._database = database
        self._rate = Rate(clock, REPORTS_PER_MINUTE, 60)
        self._tell = tell
        self._wake = wake

    def messages(self) -> Iterable[MessageRoute]:
        """What other nodes report."""
        yield MessageRoute(ns.REPORTING, "report", self.take)

    # from here

    async def accuse(self, reporter: JID, jid: JID, said: reporting.Said) -> Accused:
        """Somebody here reports whom they block. Raises NotAllowed, ResourceConstraint."""
        return await self.report(
            reporter, jid=jid, item=said.item, reason=said.reason, text=said.text, origin=said.origin
        )

    async def report(
        self,
        reporter: JID,
        *,
        jid: JID | None = None,
        item: ItemAddress | None = None,
        reason: Reason = Reason.ABUSE,
        text: str = "",
        origin: bool = False,
    ) -> Accused:
        """Somebody here reports somebody, or a post. ``origin``: the node of who that is, is told as well.

        Raises ItemNotFound, NotAllowed, ResourceConstraint.
        """

        def pass_on(report: Report) -> str:
            return reporting.pass_on(self._database.domain, report).to_bytes().decode()

        wanted = Accuse(
            reporter=reporter, jid=jid, item=item, reason=reason, text=text, pass_on=pass_on if origin else None
        )
        accused = await self._database.write(reporting_abuse.accuse, wanted)
        if accused.domain is not None:
            self._wake(accused.domain)
        if accused.new:
            self._told(accused.report)
        return accused

    # from elsewhere

    async def take(self, message: Stanza) -> bool:
        """Another node passes a report on; False for what comes from somebody and not from a node."""
        from_, to = message.from_, message.to
        if from_.localpart or from_.domainpart == self._database.domain or to.localpart or message.type == "error":
            return False
        said = reporting.find(message.element)
        if said is None or said.jid is None or not self._rate.allow(from_.domainpart):
            return True
        wanted = PassedOn(domain=from_.domainpart, jid=said.jid, item=said.item, reason=said.reason, text=said.text)
        noted = await self._database.write(reporting_abuse.note, wanted)
        if noted is not None and noted.first:
            self._told(noted.report)
        return True

    def _told(self, report: Report) -> None:
        self._tell(
            f"administration.reported_{report.reason}",
            number=str(report.key),
            reporter=name_of(report.reporter, self._database.domain),
            jid=name_of(report.jid, self._database.domain),
            words=_words(report.text),
        )


def _words(text: str) -> str:
    text = brief(text, _TEXT_MAX)
    return f": {text}" if text else ""
