"""What the administrator and the lists that are followed say of other domains, and how much those take here.

How much our copies of a domain's items take is counted up as they are stored and down as they go, and counted anew from
time to time (``measured``), for not all that goes is counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, literal_column, or_, select, text, update

from microblog.model.policy import Grade, Rule, Rules, covering
from microblog.store import tables
from microblog.store.prepared import Prepared
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_POLICIES = tables.domain_policies
_LISTS = tables.policy_lists
_STORAGE = tables.remote_storage
_ITEM_COUNT = _STORAGE.c["items"]  # ``.items`` is a method of theirs
_NODES = tables.nodes
_ITEMS = tables.items
OWN = ""
DAY = timedelta(days=1)
_RULES = select(
    _POLICIES.c.domain, _POLICIES.c.source, _POLICIES.c.grade, _POLICIES.c.dialback, _POLICIES.c.reason
).order_by(_POLICIES.c.domain, _POLICIES.c.source)
_OF_DOMAIN = _RULES.where(_POLICIES.c.domain == bindparam("name"))
_COVERING = _RULES.where(_POLICIES.c.domain.in_(bindparam("names", expanding=True)))
_OF_SOURCE = _RULES.where(_POLICIES.c.source == bindparam("source_"))
_REMOVE = delete(_POLICIES).where(_POLICIES.c.domain == bindparam("name"), _POLICIES.c.source == bindparam("of"))
# Asked in every transaction that shows or takes what is from elsewhere. By a literal: the index is of these alone.
_SILENCED = select(_POLICIES.c.domain).where(_POLICIES.c.grade == literal_column("'silenced'")).limit(1)
_STORED = Prepared(
    text(
        """
INSERT INTO remote_storage (domain, items, bytes, since, taken, followed)
VALUES (:domain, :items, :bytes, :now, 0, false)
ON CONFLICT (domain) DO UPDATE SET
  items = remote_storage.items + excluded.items, bytes = remote_storage.bytes + excluded.bytes
"""
    ).bindparams(
        bindparam("domain", type_=_STORAGE.c.domain.type),
        bindparam("items", type_=_ITEM_COUNT.type),
        bindparam("bytes", type_=_STORAGE.c.bytes.type),
        bindparam("now", type_=_STORAGE.c.since.type),
    )
)
_GONE = Prepared(
    text(
        """
UPDATE remote_storage SET
  items = CASE WHEN items > :items THEN items - :items ELSE 0 END,
  bytes = CASE WHEN bytes > :bytes THEN bytes - :bytes ELSE 0 END
WHERE domain = :domain
"""
    ).bindparams(
        bindparam("domain", type_=_STORAGE.c.domain.type),
        bindparam("items", type_=_ITEM_COUNT.type),
        bindparam("bytes", type_=_STORAGE.c.bytes.type),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyList:
    """A list that this node goes by: a node of a pubsub service. ``problem``: why it could not be had last."""

    service: str
    node: str
    created: datetime
    fetched: datetime | None = None
    problem: str = ""

    @property
    def source(self) -> str:
        """As what its rules are written down."""
        return source(self.service, self.node)


@dataclass(frozen=True, slots=True)
class Storage:
    """What our copies of a domain's items take."""

    items: int = 0
    bytes: int = 0


def source(service: str, node: str) -> str:
    """The name of a list as a source of rules."""
    return f"{service} {node}"


def at_domain(column: ColumnElement[Any], domain: str, *, below: bool = False) -> ColumnElement[bool]:
    """An address of a domain, or also of one below it. Reads every row: not for each stanza."""
    found = [column == domain, column.endswith(f"@{domain}", autoescape=True)]
    return or_(*found, column.endswith(f".{domain}", autoescape=True)) if below else or_(*found)


def is_domain(column: ColumnElement[Any], domain: str) -> ColumnElement[bool]:
    """A domain or one below it."""
    return or_(column == domain, column.endswith(f".{domain}", autoescape=True))


class Policies:
    """By domain."""

    def __init__(self, transaction: "Transaction") -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._grades: dict[str, Grade] = {}

    # rules

    def rules(self) -> list[Rule]:
        """All of them."""
        return [_read(row) for row in self._connection.execute(_RULES)]

    def of(self, domain: str) -> list[Rule]:
        """What is said of exactly this domain, the administrator's first."""
        return [_read(row) for row in self._connection.execute(_OF_DOMAIN, {"name": domain})]

    def own(self) -> list[Rule]:
        """The administrator's."""
        return self.of_source(OWN)

    def of_source(self, source: str) -> list[Rule]:
        """What the administrator, or a list, says."""
        return [_read(row) for row in self._connection.execute(_OF_SOURCE, {"source_": source})]

    def set(self, rule: Rule) -> None:
        """Write a rule down in place of what its source said of the domain."""
        self._changed()
        self._connection.execute(
            delete(_POLICIES).where(_POLICIES.c.domain == rule.domain, _POLICIES.c.source == rule.source)
        )
        self._add([rule])

    def forget(self, domain: str) -> bool:
        """The administrator says nothing of a domain any more; had something been said?"""
        self._changed()
        gone = delete(_POLICIES).where(_POLICIES.c.domain == domain, _POLICIES.c.source == OWN)
        return bool(self._connection.execute(gone).rowcount)

    def _add(self, rules: Iterable[Rule]) -> None:
        rows = [
            {
                "domain": rule.domain,
                "source": rule.source,
                "grade": rule.grade or "",
                "dialback": rule.dialback,
                "reason": rule.reason,
                "created": self._transaction.now,
            }
            for rule in rules
        ]
        if rows:
            self._connection.execute(_POLICIES.insert(), rows)

    @cached_property
    def _silences(self) -> bool:
        return self._connection.execute(_SILENCED).first() is not None

    def silences(self, domain: str) -> bool:
        """Are a domain's posts only for those who follow their authors? Cheap where no domain is silenced."""
        if not self._silences or domain == self._transaction.domain:
            return False
        grade = self._grades.get(domain)
        if grade is None:
            grade = self._grades[domain] = Rules.of("open", self.covering(domain)).grade(domain)
        return grade is Grade.SILENCED

    def covering(self, domain: str) -> list[Rule]:
        """The rules for a domain and for those above it."""
        return [_read(row) for row in self._connection.execute(_COVERING, {"names": list(covering(domain))})]

    def _changed(self) -> None:
        self._grades.clear()
        self.__dict__.pop("_silences", None)

    # lists

    def lists(self) -> list[PolicyList]:
        """The lists that are followed."""
        found = self._connection.execute(select(_LISTS).order_by(_LISTS.c.service, _LISTS.c.node))
        return [PolicyList(**row._mapping) for row in found]

    def count(self, source: str) -> int:
        """Of how many domains a source says something."""
        found = select(func.count()).select_from(_POLICIES).where(_POLICIES.c.source == source)
        return int(self._connection.execute(found).scalar_one())

    def add_list(self, service: str, node: str) -> bool:
        """Follow one; False if it is followed already."""
        statement = insert(self._connection, _LISTS).on_conflict_do_nothing()
        values = {"service": service, "node": node, "created": self._transaction.now, "fetched": None, "problem": ""}
        return bool(self._connection.execute(statement, values).rowcount)

    def remove_list(self, service: str, node: str) -> bool:
        """Follow it no more; its rules go with it. False if it was not followed."""
        self._changed()
        self._connection.execute(delete(_POLICIES).where(_POLICIES.c.source == source(service, node)))
        gone = delete(_LISTS).where(_LISTS.c.service == service, _LISTS.c.node == node)
        return bool(self._connection.execute(gone).rowcount)

    def fetched(self, service: str, node: str, *, gone: Iterable[str], new: Iterable[Rule]) -> None:
        """A list was fetched: what it says no more goes, and then comes what it did not say before."""
        self._changed()
        rows = [{"name": domain, "of": source(service, node)} for domain in gone]
        if rows:
            self._connection.execute(_REMOVE, rows)
        self._add(new)
        self._set_list(service, node, fetched=self._transaction.now, problem="")

    def not_fetched(self, service: str, node: str, problem: str) -> None:
        """A list could not be had: what it said last goes on to count."""
        self._set_list(service, node, problem=problem)

    def _set_list(self, service: str, node: str, **columns: Any) -> None:
        which = update(_LISTS).where(_LISTS.c.service == service, _LISTS.c.node == node)
        self._connection.execute(which.values(**columns))

    # what they take

    def stored(self, domain: str, items: int, bytes: int) -> None:
        """Our copies of a domain's items are so many more."""
        values = {"domain": domain, "items": items, "bytes": bytes, "now": self._transaction.now}
        _STORED.run(self._connection, values)

    def gone(self, domain: str, items: int, bytes: int) -> None:
        """They are so many less."""
        _GONE.run(self._connection, {"domain": domain, "items": items, "bytes": bytes})

    def storage(self, domain: str) -> Storage:
        """What they take."""
        found = select(_ITEM_COUNT, _STORAGE.c.bytes).where(_STORAGE.c.domain == domain)
        row = self._connection.execute(found).first()
        return Storage() if row is None else Storage(row[0], row[1])

    def most(self, limit: int) -> list[str]:
        """The domains whose copies take most."""
        found = select(_STORAGE.c.domain).where(_ITEM_COUNT > 0).order_by(_STORAGE.c.bytes.desc()).limit(limit)
        return list(self._connection.execute(found).scalars())

    def measure(self, domain: str) -> Storage:
        """Count what they really take."""
        found = (
            select(func.count(), func.coalesce(func.sum(func.length(_ITEMS.c.payload)), 0))
            .select_from(_ITEMS.join(_NODES, _NODES.c.id == _ITEMS.c.node_id))
            .where(at_domain(_NODES.c.service, domain))
        )
        row = self._connection.execute(found).one()
        return Storage(row[0], row[1])

    def measured(self, domain: str, storage: Storage) -> None:
        """That is what they really take."""
        which = update(_STORAGE).where(_STORAGE.c.domain == domain)
        self._connection.execute(which.values(items=storage.items, bytes=storage.bytes))

    # strangers

    def first_seen(self, domain: str) -> datetime:
        """When a domain was first heard of, which may be now."""
        known = select(_STORAGE.c.since).where(_STORAGE.c.domain == domain)
        since: datetime | None = self._connection.execute(known).scalar_one_or_none()
        first = [seen for seen in (since, self._transaction.peers.get(domain).first_seen) if seen is not None]
        return min(first, default=self._transaction.now)

    def take_stranger(self, domain: str, count: int = 1) -> bool:
        """A domain brings so many items for people here who did not ask for them: may they come in?

        Domains that nobody here follows have a budget for each day, and a smaller one on their first. From those that
        are silenced nothing comes in.
        """
        tx = self._transaction
        if self.silences(domain):
            return False
        if not tx.limits.rates:
            return True
        known = select(_STORAGE.c.day, _STORAGE.c.taken, _STORAGE.c.followed).where(_STORAGE.c.domain == domain)
        row = self._connection.execute(known).first()
        if row is None:
            self.stored(domain, 0, 0)
        day, taken, followed = row or (None, 0, False)
        if day is None or tx.now - day >= DAY:
            day, taken, followed = tx.now, 0, False
        taken += count
        young = tx.now - self.first_seen(domain) < DAY
        budget = tx.limits.strangers_first_day if young else tx.limits.strangers_per_day
        if taken > budget and not followed:
            if row is not None and row[1] > budget and row[0] == day:
                return False  # it has been asked today
            followed = self._is_followed(domain)
        which = update(_STORAGE).where(_STORAGE.c.domain == domain)
        self._connection.execute(which.values(day=day, taken=taken, followed=followed))
        return taken <= budget or followed

    def _is_followed(self, domain: str) -> bool:
        """Does somebody here follow somebody there?"""
        follows = tables.subscriptions
        ours = exists().where(follows.c.node_id == _NODES.c.id, follows.c.domain == self._transaction.domain)
        found = select(_NODES.c.id).where(at_domain(_NODES.c.service, domain), ours).limit(1)
        return self._connection.execute(found).first() is not None


def _read(row: Any) -> Rule:
    return Rule(
        domain=row[0],
        source=row[1],
        grade=Grade(row[2]) if row[2] else None,
        dialback=bool(row[3]),
        reason=row[4],
    )
