"""Reports to the moderators (XEP-0377): what people here report, and what other nodes pass on.

Moderators are the administrators. What somebody here reports is written down with their name; if they want that, the
node of who is reported is told too, without it. To report the same again, as long as nobody is done with it, changes
the words of the report.

What another node passes on is about somebody of this one, and is kept apart by its domain: so many at most, and so many
a day. It changes nothing by itself, whatever it says; it is for people to look at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from microblog.model.errors import ItemNotFound, NotAllowed, ResourceConstraint
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.quiet import Quiet
from microblog.model.report import TEXT_MAX_CHARACTERS, Reason, Report
from microblog.model.uri import ItemAddress
from microblog.store.transaction import Transaction
from microblog.usecases.sight import Sight

PAGE: Final = 10
DAYS: Final = 90
OPEN_MAX: Final = 50  # of one person
DAY_MAX: Final = 20
NODE_OPEN_MAX: Final = 50  # of one other node
NODE_DAY_MAX: Final = 50
NODES_OPEN_MAX: Final = 5000  # of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuse:
    """Somebody here reports somebody, or one of their posts. ``jid`` may be left out for a post that is known here.

    ``pass_on``: makes the stanza for the node of who is reported, if that is to be told.
    """

    reporter: JID
    jid: JID | None = None
    item: ItemAddress | None = None
    reason: Reason = Reason.ABUSE
    text: str = ""
    pass_on: Callable[[Report], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accused:
    """``new``: it was not reported by them before. ``domain``: the other node that is owed it, to be woken."""

    report: Report
    new: bool
    domain: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOn:
    """Another node reports somebody here."""

    domain: str
    jid: JID
    item: ItemAddress | None = None
    reason: Reason = Reason.ABUSE
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """``first``: nothing else of that node waits to be looked at."""

    report: Report
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A report with the post it is about, if that is here still and its reporter may read it."""

    report: Report
    item: Item | None = None


def accuse(tx: Transaction, request: Accuse) -> Accused:
    """Report somebody.

    Raises: ItemNotFound for a post that is unknown or not for the reporter, and nobody is named; NotAllowed for
    oneself; ResourceConstraint for too many.
    """
    reporter = request.reporter.bare
    jid, item = _about(tx, reporter, request)
    if jid == reporter:
        raise NotAllowed("that is you")
    text = request.text.strip()[:TEXT_MAX_CHARACTERS]
    report = tx.reports.find(reporter, jid, item)
    new = report is None
    if report is None:
        if tx.reports.count_open(reporter) >= OPEN_MAX:
            raise ResourceConstraint("the moderators have yet to look at what you reported before")
        a_day = tx.limits.rate(DAY_MAX)
        if a_day is not None and tx.reports.count_since(reporter, tx.now - timedelta(days=1)) >= a_day:
            raise ResourceConstraint("that is enough for one day")
        report = tx.reports.add(reporter, jid, item, request.reason, text)
    elif text and (text, request.reason) != (report.text, report.reason):
        report = tx.reports.change(report, request.reason, text)
    away = jid.domainpart != tx.domain
    if request.pass_on is None or not away or report.passed_on is not None:
        return Accused(report=report, new=new)
    tx.outbox.add_stanza(jid.domainpart, request.pass_on(report))
    return Accused(report=tx.reports.pass_on(report), new=new, domain=jid.domainpart)


def _about(tx: Transaction, reporter: JID, request: Accuse) -> tuple[JID, ItemAddress | None]:
    """Who is reported, and what of theirs."""
    jid = None if request.jid is None else request.jid.bare
    if request.item is None:
        if jid is None:
            raise ItemNotFound("who is reported?")
        return jid, None
    item = _item(tx, reporter, request.item)
    if item is not None:
        return item.publisher.bare, request.item
    if jid is None and (request.item.node != MICROBLOG or request.item.service.domainpart == tx.domain):
        # Of what is elsewhere and not here, only the author of a feed is certain.
        raise ItemNotFound("no such post")
    return jid or request.item.service.bare, request.item if request.item.service.domainpart != tx.domain else None


def _item(tx: Transaction, reader: JID, address: ItemAddress) -> Item | None:
    """A post as far as somebody may read it."""
    found = tx.nodes.look_up(address.service, address.node, address.item_id or "")
    # Also of somebody whom they have blocked already.
    sight = Sight(tx, reader, quiet=Quiet(reader=reader))
    if found is None or found.item is None or sight.readable(found.node.key, found.item) is None:
        return None
    return found.item


def note(tx: Transaction, request: PassedOn) -> Noted | None:
    """Another node reports somebody here; None if it is about nobody, known already, or too much."""
    jid, reporter = request.jid.bare, JID("", request.domain)
    if jid.domainpart != tx.domain or not jid.localpart or not tx.accounts.exists(jid.localpart):
        return None
    item = request.item if _is_theirs(tx, request, jid) else None
    if tx.reports.find(reporter, jid, item) is not None:
        return None
    waiting = tx.reports.count_open(reporter)
    today = tx.reports.count_since(reporter, tx.now - timedelta(days=1))
    if waiting >= NODE_OPEN_MAX or today >= NODE_DAY_MAX or tx.reports.count_open() >= NODES_OPEN_MAX:
        return None
    report = tx.reports.add(reporter, jid, item, request.reason, request.text.strip()[:TEXT_MAX_CHARACTERS])
    return Noted(report=report, first=not waiting)


def _is_theirs(tx: Transaction, request: PassedOn, jid: JID) -> bool:
    """Is a post that another node speaks of one of who is reported, as far as that is to be known there?"""
    if request.item is None or request.item.service.domainpart != tx.domain:
        return False
    found = _item(tx, JID("", request.domain), request.item)
    return request.item.service == jid if found is None else found.publisher.bare == jid


# moderators; whether somebody is one is for the caller to say


def cases(tx: Transaction, after: int = 0) -> tuple[Case, ...]:
    """The reports that nobody is done with, the oldest first, ``PAGE`` at a time."""
    return tuple(_case(tx, report) for report in tx.reports.open(PAGE, after))


def _case(tx: Transaction, report: Report) -> Case:
    return Case(report=report, item=None if report.item is None else _item(tx, report.reporter, report.item))


def settle(tx: Transaction, number: int) -> Report:
    """A moderator is done with one. Raises ItemNotFound."""
    report = tx.reports.get(number)
    if report is None or not tx.reports.settle(number):
        raise ItemNotFound(f"no report {number} waits to be looked at")
    return report


def forget(tx: Transaction, limit: int) -> int:
    """Forget what was settled long ago; how many."""
    return tx.reports.forget(tx.now - timedelta(days=DAYS), limit)
