"""RFC 6121 §2, §3: rosters and presence subscriptions.

``read_roster``, ``read_contact``, ``set_contact``, ``remove_contact`` are the roster. ``send_subscription`` is a
presence of a subscription type that one of our accounts sends, ``receive_subscription`` one that comes for an account
of ours; between two of our people both happen, first the one, then the other. Addresses are bare JIDs. The states and
their moves are in ``model.contact``; here they are kept, and a ``Change`` says what follows.
"""

from dataclasses import dataclass, replace
from typing import Final

from microblog.model.contact import APPROVED, INBOUND, OUTBOUND, Contact, State
from microblog.model.errors import BadRequest, ItemNotFound, NotAcceptable, NotAllowed, ResourceConstraint
from microblog.model.jid import JID, PART_MAX_BYTES
from microblog.store.transaction import Transaction

ROSTER_MAX: Final = 2000
PENDING_MAX: Final = 1000
GROUPS_MAX: Final = 50
REQUEST_MAX_CHARACTERS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """An account's contacts, those not ``listed`` too, and the version they are of (§2.6)."""

    version: int
    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of a contact, and what follows.

    ``after`` is None when nothing is left of it. ``version`` is the roster's, or 0 if the roster shows no difference.
    ``push``: tell the clients that asked for the roster. ``route``: send the stanza on to the contact, or, when it came
    from there, give it to the account's sessions. ``reply``: answer the contact in the account's name with this type.
    """

    owner: JID
    jid: JID
    before: Contact | None
    after: Contact | None
    version: int = 0
    push: bool = False
    route: bool = False
    reply: str | None = None


# §2: the roster


def read_roster(tx: Transaction, account: JID) -> Roster:
    """§2.1.3: all contacts; of nobody's account, none."""
    return Roster(version=tx.contacts.version(account), contacts=tx.contacts.all(account))


def read_contact(tx: Transaction, account: JID, jid: JID) -> Contact | None:
    """One of them."""
    return tx.contacts.get(account, jid)


def set_contact(tx: Transaction, account: JID, jid: JID, name: str, groups: tuple[str, ...]) -> Change:
    """§2.3, §2.4: add a contact, or give it another name and other groups; subscriptions stay as they are.

    Raises: NotAllowed: oneself. NotAcceptable: a group without name, a name too long. BadRequest: a group twice.
    ResourceConstraint: the roster is full.
    """
    if jid == account:
        raise NotAllowed("you are not your own contact")
    if len(name.encode()) > PART_MAX_BYTES or len(groups) > GROUPS_MAX:
        raise NotAcceptable("the name is too long, or there are too many groups")
    if any(not group or len(group.encode()) > PART_MAX_BYTES for group in groups):
        raise NotAcceptable("the name of a group is empty or too long")
    if len(set(groups)) != len(groups):
        raise BadRequest("a group is named twice")
    before = tx.contacts.get(account, jid)
    _check_room(tx, account, before)
    after = replace(before or Contact(jid=jid), name=name, groups=groups, listed=True)
    tx.contacts.put(account, after)
    version = tx.contacts.next_version(account)
    return Change(owner=account, jid=jid, before=before, after=after, version=version, push=True)


def remove_contact(tx: Transaction, account: JID, jid: JID) -> Change:
    """§2.5: remove a contact, and with it what each sees of the other. Raises ItemNotFound."""
    before = tx.contacts.get(account, jid)
    if before is None or not before.listed:
        raise ItemNotFound("no such contact")
    tx.contacts.delete(account, jid)
    version = tx.contacts.next_version(account)
    return Change(owner=account, jid=jid, before=before, after=None, version=version, push=True)


# §3: subscriptions


def send_subscription(tx: Transaction, account: JID, jid: JID, type_: str) -> Change:
    """An account of ours asks (§3.1.2), approves (§3.1.5, or in advance §3.4), leaves (§3.3.2) or cancels (§3.2.2).

    Raises: ResourceConstraint: the roster is full.
    """
    before = tx.contacts.get(account, jid)
    if jid == account:
        return Change(owner=account, jid=jid, before=before, after=before)
    contact = before or Contact(jid=jid, listed=False)
    target = OUTBOUND[type_].get(contact.state)
    # Requests and farewells go out in every state, lest the two sides differ; answers only if there is a question.
    route = target is not None or type_ in ("subscribe", "unsubscribe")
    if type_ == "subscribed" and target is None and contact.state in APPROVED:
        contact = replace(contact, approved=True, listed=True)
    elif type_ == "unsubscribed":
        contact = replace(contact, approved=False)
    elif target is not None and type_ in ("subscribe", "subscribed"):
        contact = replace(contact, listed=True)
    if contact.listed:
        _check_room(tx, account, before)
    return replace(_keep(tx, account, before, contact, target), route=route)


def receive_subscription(tx: Transaction, account: JID, jid: JID, type_: str, request: str | None = None) -> Change:
    """Somebody asks (§3.1.3), approves (§3.1.6), leaves (§3.3.3) or cancels (§3.2.3).

    ``request`` is the stanza of a request, kept until it is answered. Nothing comes of a request to nobody's account.
    """
    before = tx.contacts.get(account, jid)
    nothing = Change(owner=account, jid=jid, before=before, after=before)
    if jid == account:
        return nothing
    contact = before or Contact(jid=jid, listed=False)
    target = INBOUND[type_].get(contact.state)
    if type_ != "subscribe":
        return nothing if target is None else replace(_keep(tx, account, before, contact, target), route=True)
    if contact.sees_us:
        return replace(nothing, reply="subscribed")
    if contact.approved and contact.state in APPROVED:
        return replace(_keep(tx, account, before, contact, APPROVED[contact.state]), reply="subscribed")
    if target is None or (before is None and not tx.accounts.exists(account.localpart)):
        return nothing
    if before is None and tx.contacts.count(account, listed=False) >= PENDING_MAX:
        # Requests are the one part of a contact list that strangers fill.
        return replace(nothing, reply="unsubscribed")
    if request is not None and len(request) <= REQUEST_MAX_CHARACTERS:
        contact = replace(contact, request=request)
    return replace(_keep(tx, account, before, contact, target), route=True)


def _keep(tx: Transaction, account: JID, before: Contact | None, contact: Contact, target: State | None) -> Change:
    """Keep a contact in its new state, or forget what is neither listed nor waiting."""
    after: Contact | None = contact if target is None else contact.moved(target)
    assert after is not None
    if not after.listed and not after.pending_in:
        if before is not None:
            tx.contacts.delete(account, after.jid)
        after = None
    elif after != before:
        tx.contacts.put(account, after)
    visible = after is not None and after.listed and (before is None or not after.looks_like(before))
    return Change(
        owner=account,
        jid=contact.jid,
        before=before,
        after=after,
        version=tx.contacts.next_version(account) if visible else 0,
        push=visible,
    )


def _check_room(tx: Transaction, account: JID, before: Contact | None) -> None:
    if (before is None or not before.listed) and tx.contacts.count(account) >= ROSTER_MAX:
        raise ResourceConstraint("the roster is full: remove a contact first")
