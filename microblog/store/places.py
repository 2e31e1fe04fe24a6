"""Places that people have named, where people are, and whose rules may go by that: by the account's key."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Select, and_, bindparam, delete, func, literal_column, or_, select

from microblog.model.jid import JID
from microblog.model.place import Located, Place, fold_place
from microblog.model.query import Circle
from microblog.store import tables
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction

_P = tables.places.c
_L = tables.locations.c
_C = tables.location_consents.c
_A = tables.accounts.c
_I = tables.items.c
_IP = tables.item_places.c
_ACCOUNT: Any = bindparam("account")
_COLUMNS = (_P.title, _P.latitude, _P.longitude, _P.radius, _P.shared)
# One's own before those of everybody, and of those the oldest.
_FIND = (
    select(*_COLUMNS)
    .where(_P.name == bindparam("called"), or_(_P.account_id == _ACCOUNT, _P.shared))
    .order_by(_P.account_id != _ACCOUNT, _P.created, _P.account_id)
    .limit(1)
)
_OWN = select(*_COLUMNS).where(_P.account_id == _ACCOUNT).order_by(_P.name)
_SHARED = select(*_COLUMNS).where(_P.shared).order_by(_P.name).limit(bindparam("limit"))
_HAS = select(_P.shared).where(_P.account_id == _ACCOUNT, _P.name == bindparam("called"))
_COUNT = select(func.count()).where(_P.account_id == _ACCOUNT)
_REMOVE = delete(tables.places).where(_P.account_id == _ACCOUNT, _P.name == bindparam("called"))
_LOCATION = select(_L.latitude, _L.longitude, _L.text, _L.shared, _L.updated).where(_L.account_id == _ACCOUNT)
_NOWHERE = delete(tables.locations).where(_L.account_id == _ACCOUNT)
_FORGET = delete(tables.locations).where(_L.updated < bindparam("before", type_=tables.Instant))
_CONSENT = select(_C.state).where(_C.account_id == _ACCOUNT, _C.jid == bindparam("by"))
_CONSENTS = select(_C.jid, _C.state).where(_C.account_id == _ACCOUNT).order_by(_C.jid)
_ASKED_BY = select(func.count()).where(
    _C.jid == bindparam("by"), _C.state == "asked", _C.created > bindparam("since", type_=tables.Instant)
)
_UNASKED = delete(tables.location_consents).where(
    _C.state == "asked", _C.created < bindparam("before", type_=tables.Instant)
)
# How many posts in a circle are all looked at; where there are more, the newest posts of anywhere are.
_FEW: Final = 2000


class Consent(StrEnum):
    """What somebody says to another's rules that go by where they are."""

    ASKED = "asked"
    ALLOWED = "allowed"
    DENIED = "denied"


class Near(NamedTuple):
    """A post that says where it is: its key, its node's, and where."""

    item: int
    node: int
    latitude: int
    longitude: int


class Places:
    """By the key of the account that named them, and name."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now

    def find(self, account: int, name: str) -> Place | None:
        """What somebody calls so, or else everybody here."""
        row = self._connection.execute(_FIND, {"account": account, "called": fold_place(name)}).first()
        return None if row is None else _place(row)

    def own(self, account: int) -> list[Place]:
        """What somebody named, by name."""
        return [_place(row) for row in self._connection.execute(_OWN, {"account": account})]

    def shared(self, limit: int) -> list[Place]:
        """What is named for everybody here, by name."""
        return [_place(row) for row in self._connection.execute(_SHARED, {"limit": limit})]

    def has(self, account: int, name: str) -> bool:
        """Did somebody name a place so themselves?"""
        return self._connection.execute(_HAS, {"account": account, "called": fold_place(name)}).first() is not None

    def count(self, account: int) -> int:
        """How many somebody has."""
        return int(self._connection.execute(_COUNT, {"account": account}).scalar_one())

    def put(self, account: int, place: Place) -> None:
        """Name a place, or say anew where it is."""
        values = {
            "title": place.title,
            "latitude": place.latitude,
            "longitude": place.longitude,
            "radius": place.metres,
            "shared": place.shared,
        }
        statement = insert(self._connection, tables.places).values(
            account_id=account, name=fold_place(place.title), created=self._now, **values
        )
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["account_id", "name"], set_=dict(values))
        )

    def remove(self, account: int, name: str) -> bool:
        """Forget a place; False if there is none."""
        done = self._connection.execute(_REMOVE, {"account": account, "called": fold_place(name)})
        return bool(done.rowcount)

    # posts

    def near(self, circle: Circle, before: int, limit: int) -> list[Near]:
        """The newest posts in what a circle lies in, of those with a smaller key; the caller looks closer."""
        box = _box(circle)
        few = select(_IP.item).where(box, _IP.item < before).limit(_FEW + 1)
        keys = [row[0] for row in self._connection.execute(few)]
        if len(keys) > _FEW:
            # By the posts' keys: going through all in the circle to find the newest would take too long.
            by_key = _near(and_(_plain(circle), _IP.item < before)).limit(limit)
            return [Near(*row) for row in self._connection.execute(by_key)]
        found: list[Near] = []
        keys.sort(reverse=True)
        for start in range(0, min(len(keys), limit), 500):
            some = _near(_IP.item.in_(keys[start : min(start + 500, limit)]))
            found += [Near(*row) for row in self._connection.execute(some)]
        return found


class Locations:
    """Where people are, by the account's key, and whom they allow to go by that."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._now = transaction.now

    def of(self, account: int) -> Located | None:
        """Where somebody is, as they said last."""
        row = self._connection.execute(_LOCATION, {"account": account}).first()
        if row is None:
            return None
        return Located(latitude=row[0], longitude=row[1], text=row[2], shared=row[3], updated=row[4])

    def put(self, account: int, located: Located) -> None:
        """Somebody is somewhere."""
        values: dict[str, Any] = {
            "latitude": located.latitude,
            "longitude": located.longitude,
            "text": located.text,
            "shared": located.shared,
            "updated": located.updated,
        }
        statement = insert(self._connection, tables.locations).values(account_id=account, **values)
        self._connection.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))

    def remove(self, account: int) -> bool:
        """Nobody knows any more; False if nobody did."""
        return bool(self._connection.execute(_NOWHERE, {"account": account}).rowcount)

    def forget(self, before: datetime) -> int:
        """Forget where people were who have not said so since; how many."""
        return int(self._connection.execute(_FORGET, {"before": before}).rowcount)

    # consent

    def consent(self, account: int, by: JID) -> Consent | None:
        """What somebody says to another's rules; None if they were never asked."""
        state = self._connection.execute(_CONSENT, {"account": account, "by": str(by)}).scalar_one_or_none()
        return None if state is None else Consent(state)

    def consents(self, account: int) -> list[tuple[JID, Consent]]:
        """All that somebody said, by address."""
        rows = self._connection.execute(_CONSENTS, {"account": account})
        return [(JID.parse(row[0]), Consent(row[1])) for row in rows]

    def set_consent(self, account: int, by: JID, consent: Consent) -> None:
        """Somebody was asked, or says something to it."""
        statement = insert(self._connection, tables.location_consents).values(
            account_id=account, jid=str(by), state=consent.value, created=self._now
        )
        values = {"state": statement.excluded.state, "created": statement.excluded.created}
        self._connection.execute(statement.on_conflict_do_update(index_elements=["account_id", "jid"], set_=values))

    def asked_since(self, by: JID, since: datetime) -> int:
        """How many people somebody has asked lately who have not answered."""
        return int(self._connection.execute(_ASKED_BY, {"by": str(by), "since": since}).scalar_one())

    def forget_asked(self, before: datetime) -> int:
        """Forget what nobody answered; how many questions."""
        return int(self._connection.execute(_UNASKED, {"before": before}).rowcount)


def _place(row: Any) -> Place:
    return Place(title=row[0], latitude=row[1], longitude=row[2], metres=row[3], shared=row[4])


def _box(circle: Circle) -> Any:
    south, north, west, east = circle.box()
    across: Any = _IP.longitude.between(west, east)
    if west > east:
        across = or_(_IP.longitude >= west, _IP.longitude <= east)
    return and_(_IP.latitude.between(south, north), across)


def _plain(circle: Circle) -> Any:
    """The same, in a way that no index has anything to do with."""
    south, north, west, east = circle.box()
    nothing: Any = literal_column("0")
    latitude, longitude = _IP.latitude + nothing, _IP.longitude + nothing
    across: Any = longitude.between(west, east)
    if west > east:
        across = or_(longitude >= west, longitude <= east)
    return and_(latitude.between(south, north), across)


def _near(where: Any) -> Select[Any]:
    found = select(_IP.item, _I.node_id, _IP.latitude, _IP.longitude).join(tables.items, _I.id == _IP.item)
    return found.where(where, _I.stands.is_not(None)).order_by(_IP.item.desc())
