"""What was reported to the moderators, and what they are done with."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from microblog.model.jid import JID
from microblog.model.report import Reason, Report
from microblog.model.uri import ItemAddress
from microblog.store import tables

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_REPORTS = tables.reports
_R = _REPORTS.c
_COLUMNS = (
    _R.id,
    _R.reporter,
    _R.jid,
    _R.service,
    _R.node,
    _R.item_id,
    _R.reason,
    _R.text,
    _R.created,
    _R.passed_on,
    _R.settled,
)
_KEY = _R.id == bindparam("key")
_OPEN = _R.settled.is_(None)
_BY = _R.reporter == bindparam("by")
_GET = select(*_COLUMNS).where(_KEY)
_FIND = (
    select(*_COLUMNS)
    .where(
        _OPEN,
        _BY,
        _R.jid == bindparam("about"),
        _R.service == bindparam("at_service"),
        _R.node == bindparam("at_node"),
        _R.item_id == bindparam("of_item"),
    )
    .order_by(_R.id)
    .limit(1)
)
_SOME_OPEN = select(*_COLUMNS).where(_OPEN, _R.id > bindparam("after")).order_by(_R.id).limit(bindparam("limit"))
_COUNT_OPEN = select(func.count()).where(_OPEN)
_COUNT_OPEN_BY = _COUNT_OPEN.where(_BY)
_COUNT_SINCE = select(func.count()).where(_BY, _R.created > bindparam("since", type_=_R.created.type))
_CHANGE = update(_REPORTS).where(_KEY).values(reason=bindparam("why"), text=bindparam("words"))
_PASS_ON = update(_REPORTS).where(_KEY).values(passed_on=bindparam("now", type_=_R.passed_on.type))
_SETTLE = update(_REPORTS).where(_KEY, _OPEN).values(settled=bindparam("now", type_=_R.settled.type))
_BEFORE = bindparam("before", type_=_R.created.type)
_FORGET = delete(_REPORTS).where(
    _R.id.in_(select(_R.id).where(_R.settled < _BEFORE).order_by(_R.settled).limit(bindparam("limit")))
)


class Reports:
    """By number, which is also how moderators know them."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now

    def add(self, reporter: JID, jid: JID, item: ItemAddress | None, reason: Reason, text: str) -> Report:
        """Write down a new one."""
        values = {"reporter": str(reporter), "jid": str(jid), "reason": reason.value, "text": text}
        if item is not None:
            values |= {"service": str(item.service), "node": item.node, "item_id": item.item_id or ""}
        result = self._connection.execute(insert(_REPORTS).values(**values, created=self._now))
        key = result.inserted_primary_key
        assert key is not None
        return Report(
            key=int(key[0]), reporter=reporter, jid=jid, item=item, reason=reason, text=text, created=self._now
        )

    def get(self, key: int) -> Report | None:
        """One, done with or not."""
        row = self._connection.execute(_GET, {"key": key}).one_or_none()
        return None if row is None else _report(row)

    def find(self, reporter: JID, jid: JID, item: ItemAddress | None) -> Report | None:
        """What somebody has reported of the same already, and nobody is done with."""
        wanted = {
            "by": str(reporter),
            "about": str(jid),
            "at_service": "" if item is None else str(item.service),
            "at_node": "" if item is None else item.node,
            "of_item": "" if item is None else item.item_id or "",
        }
        row = self._connection.execute(_FIND, wanted).one_or_none()
        return None if row is None else _report(row)

    def change(self, report: Report, reason: Reason, text: str) -> Report:
        """Other words for it."""
        self._connection.execute(_CHANGE, {"key": report.key, "why": reason.value, "words": text})
        return replace(report, reason=reason, text=text)

    def pass_on(self, report: Report) -> Report:
        """The node of who is reported is told."""
        self._connection.execute(_PASS_ON, {"key": report.key, "now": self._now})
        return replace(report, passed_on=self._now)

    def settle(self, key: int) -> bool:
        """A moderator is done with it; False if there is none, or one was before."""
        return self._connection.execute(_SETTLE, {"key": key, "now": self._now}).rowcount > 0

    def open(self, limit: int, after: int = 0) -> list[Report]:
        """Those that nobody is done with, the oldest first."""
        return [_report(row) for row in self._connection.execute(_SOME_OPEN, {"after": after, "limit": limit})]

    def count_open(self, reporter: JID | None = None) -> int:
        """How many that are, or how many of them by one reporter."""
        if reporter is None:
            return int(self._connection.execute(_COUNT_OPEN).scalar_one())
        return int(self._connection.execute(_COUNT_OPEN_BY, {"by": str(reporter)}).scalar_one())

    def count_since(self, reporter: JID, since: datetime) -> int:
        """How many a reporter has made since then."""
        return int(self._connection.execute(_COUNT_SINCE, {"by": str(reporter), "since": since}).scalar_one())

    def forget(self, before: datetime, limit: int) -> int:
        """Forget what was settled before; how many."""
        return self._connection.execute(_FORGET, {"before": before, "limit": limit}).rowcount


def _report(row: Sequence[Any]) -> Report:
    key, reporter, jid, service, node, item_id, reason, text, created, passed_on, settled = row
    return Report(
        key=key,
        reporter=JID.parse(reporter),
        jid=JID.parse(jid),
        item=ItemAddress(JID.parse(service), node, item_id) if service else None,
        reason=Reason(reason),
        text=text,
        created=created,
        passed_on=passed_on,
        settled=settled,
    )
