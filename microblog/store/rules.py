"""What people want done when something happens, how often it was, and what has yet to be said of it."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, delete, exists, func, insert, select, update

from microblog.model.account import Account
from microblog.model.jid import JID
from microblog.model.rule import KeptRule, Rule, What
from microblog.model.uri import ItemAddress
from microblog.store import tables
from microblog.store.accounts import ACCOUNT_COLUMNS, read_account
from microblog.store.places import Consent

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_R = tables.rules.c
_F = tables.rule_firings.c
_A = tables.accounts.c
_C = tables.location_consents.c
_COLUMNS = (
    _R.id,
    _R.account_id,
    _A.localpart,
    _R.number,
    _R.what,
    _R.rule,
    _R.fired,
    _R.skipped,
    _R.last_fired,
    _R.created,
)
_RULE = select(*_COLUMNS).join(tables.accounts, _A.id == _R.account_id)
_ACCOUNT: Any = bindparam("account")
_ENABLED = ~_A.disabled
_OF = _RULE.where(_R.account_id == _ACCOUNT).order_by(_R.number)
_GET = _RULE.where(_R.account_id == _ACCOUNT, _R.number == bindparam("number"))
_ABOUT = (
    _RULE.where(_R.subject == bindparam("subject"), _R.account_id != _ACCOUNT)
    .order_by(_A.localpart, _R.number)
    .limit(bindparam("limit"))
)
_SOME = _RULE.where(_R.id.in_(bindparam("keys", expanding=True)), _ENABLED)
_EXISTING = select(_R.id).where(_R.id.in_(bindparam("keys", expanding=True)))
_CHANGED = _RULE.where(_R.what == What.POST.value, _R.changed >= bindparam("since", type_=tables.Instant))
_ABOUT_POSTS = (
    _RULE.where(_R.what == What.POST.value, _R.id > bindparam("after")).order_by(_R.id).limit(bindparam("limit"))
)
_HERE = _RULE.where(_R.account_id == _ACCOUNT, _R.what == What.POST.value)
_ONLINE = _RULE.where(_R.account_id == _ACCOUNT, _R.what == What.ONLINE.value, _ENABLED).order_by(_R.number)
# Of those who go by where somebody is only they themselves, and whom they let.
_CROSSING = (
    _RULE.where(_R.subject == bindparam("subject"), _R.what.in_((What.ENTERS.value, What.LEAVES.value)), _ENABLED)
    .where(
        (_R.account_id == _ACCOUNT)
        | exists().where(
            _C.account_id == _ACCOUNT,
            _C.jid == _A.localpart + bindparam("at_domain", type_=_A.localpart.type),
            _C.state == Consent.ALLOWED.value,
        )
    )
    .order_by(_R.id)
    .limit(bindparam("limit"))
)
_COUNT = select(func.count()).where(_R.account_id == _ACCOUNT)
_NUMBER = select(func.max(_R.number)).where(_R.account_id == _ACCOUNT)
_ANY = select(_R.id).where(_R.what == bindparam("what")).limit(1)
_COMING = select(_A.localpart).join(tables.rules, _R.account_id == _A.id).where(_R.what == What.ONLINE.value).distinct()
_REMOVE = delete(tables.rules).where(_R.id == bindparam("key"))
_REMOVE_ABOUT = delete(tables.rules).where(
    _R.account_id == _ACCOUNT,
    _R.subject == bindparam("about"),
    _R.what.in_((What.ENTERS.value, What.LEAVES.value)),
)
_TOUCH = update(tables.rules).where(_R.id.in_(bindparam("keys", expanding=True)))
_COUNTS = select(_R.minute, _R.in_minute, _R.day, _R.in_day).where(_R.id == bindparam("key"))
_SKIP = update(tables.rules).where(_R.id == bindparam("key")).values(skipped=_R.skipped + 1)
_FIRED = update(tables.rules).where(_R.id == bindparam("key"))
_DUE = (
    select(_F.id, _F.created, _F.service, _F.node, _F.item_id, *_COLUMNS, *ACCOUNT_COLUMNS)
    .join(tables.rules, _R.id == _F.rule_id)
    .join(tables.accounts, _A.id == _R.account_id)
    .where(~_F.waits, _ENABLED, _F.rule_id.not_in(bindparam("besides", expanding=True)))
    .order_by(_F.id)
    .limit(bindparam("limit"))
)
_WAITING = select(func.count()).where(_F.rule_id == bindparam("key"))
_WAIT = update(tables.rule_firings).where(_F.id == bindparam("firing")).values(waits=True)
_WAITING_OF = (
    select(_F.id, _F.rule_id)
    .join(tables.rules, _R.id == _F.rule_id)
    .where(_R.account_id == _ACCOUNT, _F.waits)
    .order_by(_F.id)
)
_GO_ON = update(tables.rule_firings).where(_F.id.in_(bindparam("keys", expanding=True))).values(waits=False)
_DROP = delete(tables.rule_firings).where(_F.id.in_(bindparam("keys", expanding=True)))
_ABSENT = (
    select(_A.localpart)
    .join(tables.rules, _R.account_id == _A.id)
    .join(tables.rule_firings, _F.rule_id == _R.id)
    .where(_F.waits)
    .distinct()
)
_FORGET = delete(tables.rule_firings).where(_F.created < bindparam("before", type_=tables.Instant))
_IS_DUE = select(_F.id).where(_F.id == bindparam("firing"))
_DONE = delete(tables.rule_firings).where(_F.id == bindparam("firing"))


class Counts(NamedTuple):
    """How often a rule fired in the minute and the day that are counted; the instants are None before the first."""

    minute: datetime | None
    in_minute: int
    day: datetime | None
    in_day: int


class Firing(NamedTuple):
    """What a rule has decided. ``post``: that made it so, if one did."""

    key: int
    decided: datetime
    rule: KeptRule
    account: Account
    post: ItemAddress | None


class Rules:
    """By the key of the account whose they are, and number."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._domain = transaction.domain
        self._now = transaction.now

    def of(self, account: int) -> list[KeptRule]:
        """All of somebody's."""
        return self._read(_OF, account=account)

    def get(self, account: int, number: int) -> KeptRule | None:
        """One of them."""
        found = self._read(_GET, account=account, number=number)
        return found[0] if found else None

    def about(self, account: int, subject: JID, limit: int) -> list[KeptRule]:
        """Others' that are about somebody."""
        return self._read(_ABOUT, account=account, subject=str(subject.bare), limit=limit)

    def some(self, keys: Iterable[int]) -> list[KeptRule]:
        """Those of them that are there and whose owners may use the node."""
        return self._read(_SOME, keys=list(keys))

    def existing(self, keys: Iterable[int]) -> frozenset[int]:
        """Those of them that are there, whosever."""
        return frozenset(row[0] for row in self._connection.execute(_EXISTING, {"keys": list(keys)}))

    def changed(self, since: datetime) -> list[KeptRule]:
        """Those about posts that were made, or moved with their owner, since then."""
        return self._read(_CHANGED, since=since)

    def about_posts(self, after: int, limit: int) -> list[KeptRule]:
        """Those about posts, by key, from one on."""
        return self._read(_ABOUT_POSTS, after=after, limit=limit)

    def online(self, account: int) -> list[KeptRule]:
        """Those for when somebody comes on line."""
        return self._read(_ONLINE, account=account)

    def coming(self) -> frozenset[str]:
        """Who has such, by name."""
        return frozenset(row[0] for row in self._connection.execute(_COMING))

    def crossing(self, account: int, subject: JID, limit: int) -> list[KeptRule]:
        """Those that go by where somebody is, and may."""
        wanted = {"account": account, "subject": str(subject), "at_domain": f"@{self._domain}", "limit": limit}
        return self._read(_CROSSING, **wanted)

    def any(self, what: What) -> bool:
        """Is there a rule of a kind?"""
        return self._connection.execute(_ANY, {"what": what.value}).first() is not None

    def count(self, account: int) -> int:
        """How many somebody has."""
        return int(self._connection.execute(_COUNT, {"account": account}).scalar_one())

    def add(self, account: int, rule: Rule, subject: JID | None) -> int:
        """Keep one more; its number."""
        number = int(self._connection.execute(_NUMBER, {"account": account}).scalar_one() or 0) + 1
        values = {
            "account_id": account,
            "number": number,
            "what": rule.what.value,
            "rule": json.dumps(rule.to_json()),
            "subject": "" if subject is None else str(subject),
            "created": self._now,
            "changed": self._now,
        }
        self._connection.execute(insert(tables.rules), values)
        return number

    def remove(self, key: int) -> None:
        """Forget a rule, and what it has not said yet."""
        self._connection.execute(_REMOVE, {"key": key})

    def remove_about(self, account: int, subject: JID) -> int:
        """Forget somebody's rules that go by where another is; how many."""
        return int(self._connection.execute(_REMOVE_ABOUT, {"account": account, "about": str(subject)}).rowcount)

    def moved(self, account: int) -> bool:
        """Somebody is elsewhere now: their rules that go by that have changed. False if there are none."""
        keys = [kept.key for kept in self._read(_HERE, account=account) if kept.rule.here]
        if keys:
            self._connection.execute(_TOUCH, {"keys": keys, "changed": self._now})
        return bool(keys)

    # firing

    def counts(self, key: int) -> Counts:
        """How often it fired of late."""
        return Counts(*self._connection.execute(_COUNTS, {"key": key}).one())

    def skip(self, key: int) -> None:
        """It would have fired, but too often."""
        self._connection.execute(_SKIP, {"key": key})

    def fire(self, key: int, counts: Counts) -> None:
        """It fires, with this so often of late."""
        values: dict[str, Any] = counts._asdict() | {"fired": _R.fired + 1, "last_fired": self._now}
        self._connection.execute(_FIRED.values(values), {"key": key})

    def decide(self, key: int, post: ItemAddress | None) -> None:
        """What it does has yet to be done."""
        values: dict[str, Any] = {"rule_id": key, "created": self._now}
        if post is not None:
            values |= {"service": str(post.service), "node": post.node, "item_id": post.item_id or ""}
        self._connection.execute(insert(tables.rule_firings).values(values))

    def waiting(self, key: int) -> int:
        """How often it has decided what is not yet done."""
        return int(self._connection.execute(_WAITING, {"key": key}).scalar_one())

    def due(self, limit: int, besides: Iterable[int] = ()) -> list[Firing]:
        """What is to be done, the oldest first; not for these rules, by their keys."""
        found = []
        for row in self._connection.execute(_DUE, {"limit": limit, "besides": list(besides)}):
            post = ItemAddress(JID.parse(row[2]), row[3], row[4]) if row[2] else None
            rule, account = row[5 : 5 + len(_COLUMNS)], row[5 + len(_COLUMNS) :]
            found.append(Firing(row[0], row[1], self._kept(rule), read_account(account), post))
        return found

    def is_due(self, firing: int) -> bool:
        """Is it not yet done?"""
        return self._connection.execute(_IS_DUE, {"firing": firing}).first() is not None

    def done(self, firing: int) -> bool:
        """It is done; False if it was already."""
        return bool(self._connection.execute(_DONE, {"firing": firing}).rowcount)

    def wait(self, firing: int) -> None:
        """Its owner is not there to be told."""
        self._connection.execute(_WAIT, {"firing": firing})

    def absent(self) -> frozenset[str]:
        """For whom something waits, by name."""
        return frozenset(row[0] for row in self._connection.execute(_ABSENT))

    def waiting_for(self, account: int) -> dict[int, list[int]]:
        """What waits for somebody: of each rule, by its key, the oldest first."""
        found: dict[int, list[int]] = {}
        for firing, rule in self._connection.execute(_WAITING_OF, {"account": account}):
            found.setdefault(rule, []).append(firing)
        return found

    def go_on(self, firings: Iterable[int]) -> None:
        """Their owner is there now."""
        self._connection.execute(_GO_ON, {"keys": list(firings)})

    def drop(self, firings: Iterable[int]) -> None:
        """They are not to be done any more."""
        self._connection.execute(_DROP, {"keys": list(firings)})

    def forget(self, before: datetime) -> int:
        """Nobody came for them; how many."""
        return int(self._connection.execute(_FORGET, {"before": before}).rowcount)

    def _read(self, statement: Any, **values: Any) -> list[KeptRule]:
        return [self._kept(row) for row in self._connection.execute(statement, values)]

    def _kept(self, row: Sequence[Any]) -> KeptRule:
        return KeptRule(
            key=row[0],
            account=row[1],
            owner=JID(row[2], self._domain),
            number=row[3],
            rule=Rule.from_json(row[4], json.loads(row[5])),
            fired=row[6],
            skipped=row[7],
            last_fired=row[8],
            created=row[9],
        )
