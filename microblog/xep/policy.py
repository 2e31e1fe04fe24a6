"""Federation policy as the running server holds it: a snapshot of all rules, asked for each stream and each stanza.

The rules are in the database, where administrators and followed lists write them (``usecases.policing``). When they
change, the snapshot is replaced at once, streams of what is refused from now on end, and then what there is of such
domains - queues, followers, follows, copies - is removed piece by piece.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from twisted.logger import Logger

from microblog.model.errors import PolicyViolation, Refusal, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.policy import FederationMode, Grade, Rules
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database, Transaction
from microblog.usecases import disclosing, policing
from microblog.wire.media import without_media
from microblog.wire.notification import Notice, NoticedItem
from microblog.wire.policy import write_rule
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element

T = TypeVar("T")
BUSY_SECONDS: Final = 5


class Policy:
    """Made before anything that asks it. ``listeners`` hear that the rules have changed, ``severed`` of which domains
    things were removed."""

    _log = Logger()

    def __init__(
        self, database: Database, mode: FederationMode, clock: Clock, tasks: Tasks, *, dialback: bool = False
    ) -> None:
        self._database = database
        self._mode = mode
        self._clock = clock
        self._tasks = tasks
        self._dialback = dialback
        self.rules: Rules = database.run(self._read)
        self.listeners: list[Callable[[], None]] = []
        self.severed: list[Callable[[str], None]] = []
        self._changing = self._again = False

    def _read(self, tx: Transaction) -> Rules:
        return Rules.of(self._mode, tx.policies.rules())

    def grade(self, domain: str) -> Grade:
        """How much of a domain is let in. Of our own all is, whatever is said of it or of what is above it."""
        return Grade.ALLOWED if domain == self._database.domain else self.rules.grade(domain)

    def refuses(self, domain: str) -> bool:
        """Nothing goes there, and nothing comes."""
        return self.grade(domain) is Grade.REFUSED

    def silences(self, domain: str) -> bool:
        """What comes from there is for those who follow."""
        return self.grade(domain) is Grade.SILENCED

    def dialback_suffices(self, domain: str) -> bool:
        """May what is not public go there without a certificate?"""
        return self._dialback or self.rules.dialback_suffices(domain)

    def taken(self, domain: str, notice: Notice) -> Notice:
        """What a domain tells of as it is taken in: without media where that is the rule."""
        if not notice.items or self.grade(domain) is not Grade.NO_MEDIA:
            return notice
        return replace(notice, items=tuple(map(_without_media, notice.items)))

    async def admit(self, message: Stanza) -> None:
        """Somebody elsewhere writes to an account here. Raises PolicyViolation, ResourceConstraint."""
        domain = message.from_.domainpart
        if await self._database.read(policing.is_known, message.to.bare, message.from_.bare):
            return
        if self.grade(domain) is Grade.SILENCED:
            raise PolicyViolation(f"this node takes nothing from {domain} for people who do not follow you")
        if not await self._database.write(policing.take_stranger, domain):
            raise ResourceConstraint("strangers of your domain have written enough here today: go on tomorrow")

    async def visit(self, guest: JID, host: JID) -> None:
        """Somebody elsewhere says something at a node of an account here. Raises PolicyViolation."""
        silenced = self.grade(guest.domainpart) is Grade.SILENCED
        if silenced and not await self._database.read(policing.is_known, host.bare, guest.bare):
            raise PolicyViolation(f"this node takes nothing from {guest.domainpart} for people who do not follow you")

    def payload(self, domain: str, payload: Element) -> Element:
        """A payload as it is taken from a domain."""
        return without_media(payload) if self.grade(domain) is Grade.NO_MEDIA else payload

    def start(self) -> None:
        """Take up what was not finished."""
        self.changed()

    def changed(self) -> None:
        """The rules in the database may be others now."""
        self._again = True
        if not self._changing:
            self._changing = True
            self._tasks.spawn(self._change(), "federation policy")

    async def _change(self) -> None:
        try:
            while self._again:
                self._again = False
                self.rules = await self._database.read(self._read)
                for listener in self.listeners:
                    listener()
                await self._write(disclosing.disclose, write_rule)
                await self._sever()
        finally:
            self._changing = False

    async def _sever(self) -> None:
        """Remove what there is of the domains that are refused."""
        if not self.rules.refuses_any:
            return  # what there is need not be read
        for domain in await self._database.read(policing.present):
            if not self.refuses(domain):
                continue
            self._log.info("What there is of {domain} is removed: it is refused", domain=domain)
            for said in await self._database.read(policing.said_by, domain):
                await self._write(policing.unsay, said)
            while await self._write(policing.sever, domain):
                if not self.refuses(domain):
                    return
            for listener in self.severed:
                listener(domain)

    async def _write(self, function: Callable[..., T], *arguments: object) -> T:
        while True:
            try:
                return await self._database.write(function, *arguments)
            except Refusal:
                await self._clock.sleep(BUSY_SECONDS)


def _without_media(item: NoticedItem) -> NoticedItem:
    return item if item.payload is None else replace(item, payload=without_media(item.payload))
