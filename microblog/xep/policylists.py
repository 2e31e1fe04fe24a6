"""The lists of domains that this node goes by: fetched when they are new, and then once an hour.

A list is a pubsub node, here or elsewhere (``wire.policy``). What could be fetched takes the place of what it said
before, whole or not at all; what cannot be fetched goes on to count. No list waits for the service of another.
"""

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from microblog.model.errors import BadRequest, Refusal
from microblog.model.jid import JID
from microblog.model.policy import Rule
from microblog.runtime import Clock, Repetition, Tasks
from microblog.store.database import Database, Transaction
from microblog.store.policies import PolicyList
from microblog.usecases import policing
from microblog.wire import asking, pubsub
from microblog.wire.policy import read_rules
from microblog.xmpp.router import Router

EVERY_SECONDS: Final = 3600
PAGE: Final = 100


class PolicyLists:
    """``changed`` hears that rules are others now (``Policy.changed``)."""

    _log = Logger()

    def __init__(
        self, router: Router, database: Database, changed: Callable[[], None], clock: Clock, tasks: Tasks
    ) -> None:
        self._router = router
        self._database = database
        self._changed = changed
        self._clock = clock
        self._tasks = tasks
        self._fetching: set[str] = set()
        self._repetition: Repetition | None = None

    def start(self) -> None:
        """Fetch from now on."""
        self._repetition = self._clock.every(EVERY_SECONDS, self.fetch)
        self.fetch()

    def stop(self) -> None:
        """No more."""
        if self._repetition is not None:
            self._repetition.stop()

    def fetch(self) -> None:
        """Fetch them all."""
        self._begin(new=False)

    def fetch_new(self) -> None:
        """Fetch those that were never fetched nor tried."""
        self._begin(new=True)

    def _begin(self, *, new: bool) -> None:
        self._tasks.spawn(self._begin_each(new), "lists of domains")

    async def _begin_each(self, new: bool) -> None:
        try:
            lists = await self._database.read(_lists)
        except Refusal:
            return  # the database has too much to do: in an hour, then
        for known in lists:
            if known.source not in self._fetching and (not new or (known.fetched is None and not known.problem)):
                self._fetching.add(known.source)
                self._tasks.spawn(self._fetch(known), f"the list {known.source}")

    async def _fetch(self, known: PolicyList) -> None:
        try:
            await self._fetch_one(known)
        except Refusal:
            return  # the same
        finally:
            self._fetching.discard(known.source)

    async def _fetch_one(self, known: PolicyList) -> None:
        try:
            rules = await self._read(known)
        except Refusal as refusal:
            problem = refusal.text or type(refusal).__doc__ or type(refusal).__name__
            self._log.warn("The list {node} of {service} cannot be had: {why}", **_named(known), why=problem)
            await self._database.write(policing.list_not_fetched, known.service, known.node, problem)
            return
        if await self._database.write(policing.list_fetched, known.service, known.node, rules):
            self._log.info("The list {node} of {service} has {count} domains", **_named(known), count=len(rules))
            self._changed()

    async def _read(self, known: PolicyList) -> list[Rule]:
        """Page by page, from the newest on. Raises the other service's refusal, BadRequest for one too long."""
        service, host = JID.parse(known.service), JID("", self._router.domain)
        seen: set[str] = set()
        rules: dict[str, Rule] = {}
        before = ""
        while True:
            answer = await self._router.request(
                "get", host, service, asking.page_before_request(known.node, PAGE, before)
            )
            if answer.type == "error":
                raise pubsub.read_refusal(answer)
            items = pubsub.read_answered_items(answer.payload)
            new = [item for item in items if item.id not in seen]
            seen.update(item.id for item in new)
            if len(seen) > policing.LIST_ENTRIES_MAX:
                raise BadRequest(f"it has more than {policing.LIST_ENTRIES_MAX} domains")
            rules |= {rule.domain: rule for rule in read_rules(new, known.source)}
            if not new or (len(items) < PAGE and not asking.is_there_more(answer.payload, len(seen))):
                return list(rules.values())
            before = items[0].id


def _named(known: PolicyList) -> dict[str, str]:
    return {"service": known.service, "node": known.node}


def _lists(tx: Transaction) -> list[PolicyList]:
    return tx.policies.lists()
