"""Where things are, as people call it; where people are, as far as they say; and whom they let go by that.

A place is its owner's, or an administrator's for everybody here. Where somebody is is known to this node only, and no
more exactly than a hundred metres; it is told nobody. Others' rules may go by it if the person said so by name.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from microblog.model.account import Account
from microblog.model.errors import Forbidden, ItemNotFound, NotAcceptable, ResourceConstraint
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.place import FRESH, HERE, METRES_MAX, METRES_MIN, Located, Place, fold_place, rounded
from microblog.model.query import NEAR_METRES, Circle, point
from microblog.store.places import Consent
from microblog.store.transaction import Transaction
from microblog.usecases import muting
from microblog.usecases.sight import Sight

PLACES_MAX: Final = 100
SHARED_SHOWN: Final = 100
CONSENTS_MAX: Final = 200
ASKED_PER_DAY: Final = 20
ASKED_DAYS: Final = 30
LOCATION_DAYS: Final = 30
NEAR_LOOKS_MAX: Final = 10
NEAR_SECONDS: Final = 2.0
_NEAR_LOOKED_AT: Final = 100
# A preference: whether one's client tells the node where one is (XEP-0080).
SHARING: Final = "location"
ON: Final = "on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What somebody has told of places. ``everybodys``: named by administrators; ``consents``: whom they let."""

    own: tuple[Place, ...]
    everybodys: tuple[Place, ...]
    located: Located | None
    sharing: bool
    consents: tuple[tuple[JID, Consent], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """Somebody looks for posts in a circle, and may see them; ``before``: older than the item of this key.

    ``audiences``: what may be sent to where they read it.
    """

    actor: JID
    circle: Circle
    most: int
    before: int = 1 << 62
    audiences: frozenset[Audience] = frozenset(Audience)


@dataclass(frozen=True, slots=True, kw_only=True)
class NearPage:
    """Newest first. ``more``: the key to go on from; None if that was all."""

    posts: tuple[tuple[Node, Item], ...]
    more: int | None = None


# places


def find(tx: Transaction, account: int, name: str) -> Circle | None:
    """What somebody means by a place: its name, ``here``, or its coordinates."""
    written = point(name.strip())
    if written is not None:
        return Circle(latitude=rounded(written[0]), longitude=rounded(written[1]), metres=NEAR_METRES)
    if fold_place(name) == HERE:
        located = tx.locations.of(account)
        if located is None or tx.now - located.updated > FRESH:
            return None
        return Circle(latitude=located.latitude, longitude=located.longitude, metres=NEAR_METRES, name=HERE)
    place = tx.places.find(account, name)
    return None if place is None else place.circle


def name_place(tx: Transaction, account: Account, place: Place) -> Place:
    """Name a place, or say anew where it is; as it is kept.

    Raises: NotAcceptable for a size that no place has, Forbidden, ResourceConstraint.
    """
    if not METRES_MIN <= place.metres <= METRES_MAX:
        raise NotAcceptable(f"a place is {METRES_MIN} m to {METRES_MAX // 1000} km wide")
    if place.shared and not account.admin:
        raise Forbidden("only administrators name places for everybody")
    if not tx.places.has(account.key, place.title) and tx.places.count(account.key) >= PLACES_MAX:
        raise ResourceConstraint(f"one may name {PLACES_MAX} places")
    place = replace(place, latitude=rounded(place.latitude), longitude=rounded(place.longitude))
    tx.places.put(account.key, place)
    return place


def forget_place(tx: Transaction, account: Account, name: str) -> None:
    """Forget a place of one's own; rules that were made with it stay as they are. Raises ItemNotFound."""
    if not tx.places.has(account.key, name):
        raise ItemNotFound("no such place")
    tx.places.remove(account.key, name)


def known(tx: Transaction, account: Account) -> Known:
    """All that somebody has told."""
    return Known(
        own=tuple(tx.places.own(account.key)),
        everybodys=tuple(tx.places.shared(SHARED_SHOWN)),
        located=tx.locations.of(account.key),
        sharing=is_sharing(tx, account.key),
        consents=tuple(tx.locations.consents(account.key)),
    )


# people


def is_sharing(tx: Transaction, account: int) -> bool:
    """Does somebody's client tell the node where they are?"""
    return tx.preferences.get(account, SHARING) == ON


def nowhere(tx: Transaction, account: Account) -> bool:
    """Nobody is to know any more where somebody is; False if nobody did."""
    return tx.locations.remove(account.key)


def consented(tx: Transaction, account: Account, by: JID) -> Consent | None:
    """What somebody says to another's rules about where they are; oneself needs not be asked."""
    return Consent.ALLOWED if by == account.jid(tx.domain) else tx.locations.consent(account.key, by)


def check_ask(tx: Transaction, account: Account, by: JID) -> bool:
    """May another ask whether their rules may go by where somebody is? True if they have to, and have not yet.

    Raises: Forbidden if it was denied, ResourceConstraint for one who asks too many.
    """
    consent = consented(tx, account, by)
    if consent is Consent.DENIED:
        raise Forbidden("they do not want that")
    if consent is not None:
        return False
    if tx.locations.asked_since(by, tx.now - timedelta(days=1)) >= ASKED_PER_DAY:
        raise ResourceConstraint("you ask too many")
    return True


def answer(tx: Transaction, account: Account, by: JID, allowed: bool) -> int:
    """Somebody allows another's rules to go by where they are, or not; how many rules ended by that.

    Raises: ItemNotFound for somebody who is not here, ResourceConstraint.
    """
    other = tx.accounts.get(by.localpart) if by.domainpart == tx.domain else None
    if other is None:
        raise ItemNotFound("nobody here is called so")
    if tx.locations.consent(account.key, by) is None and len(tx.locations.consents(account.key)) >= CONSENTS_MAX:
        raise ResourceConstraint(f"one may name {CONSENTS_MAX} people")
    tx.locations.set_consent(account.key, by, Consent.ALLOWED if allowed else Consent.DENIED)
    return 0 if allowed else tx.rules.remove_about(other.key, account.jid(tx.domain))


def forget(tx: Transaction) -> None:
    """Where somebody was a month ago is nobody's business, and who has not answered by then will not."""
    tx.locations.forget(tx.now - timedelta(days=LOCATION_DAYS))
    tx.locations.forget_asked(tx.now - timedelta(days=ASKED_DAYS))


# posts


def near(tx: Transaction, request: Near) -> NearPage:
    """The newest posts that say to be in a circle, as far as somebody may see them.

    Raises: ResourceConstraint if that takes too long.
    """
    with tx.search.within(NEAR_SECONDS):
        return _near(tx, request)


def _near(tx: Transaction, request: Near) -> NearPage:
    sight = Sight(tx, request.actor, request.audiences)
    unwanted = muting.quiet(tx, request.actor)
    posts: list[tuple[Node, Item]] = []
    before = request.before
    for _ in range(NEAR_LOOKS_MAX):
        found = tx.places.near(request.circle, before, _NEAR_LOOKED_AT)
        inside = [one for one in found if request.circle.contains(one.latitude, one.longitude)]
        items = tx.timelines.items([one.item for one in inside])
        sight.look({one.node for one in inside})
        for one in inside:
            item = items[one.item][1]
            node = sight.readable(one.node, item)
            if node is None or node.name != MICROBLOG or muting.hides(tx, unwanted, node, item):
                continue
            posts.append((node, item))
            if len(posts) == request.most:
                return NearPage(posts=tuple(posts), more=one.item)
        if len(found) < _NEAR_LOOKED_AT:
            return NearPage(posts=tuple(posts))
        before = found[-1].item
    return NearPage(posts=tuple(posts), more=before)
