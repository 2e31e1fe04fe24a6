"""RFC 6121 §2: the roster.

``usecases.rostering`` keeps contacts and their rules; here they are shown to clients. A client that asked for its
roster hears of every later change by a push (§2.1.6), whoever made it. Versions (§2.6) are plain counters: a client
that has the current one gets an empty answer, any other the whole roster.

``Rosters`` holds the contacts of accounts that have a session, and of nobody else, because presence needs them for
every stanza.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from microblog.model.contact import Contact
from microblog.model.errors import BadRequest, Forbidden, ServiceUnavailable
from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.usecases import rostering
from microblog.usecases.rostering import Change
from microblog.wire import ns
from microblog.wire import stanza as stanzas
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.dispatch import At, Extension, Route, Spec
from microblog.xmpp.sessions import Sessions


@dataclass(slots=True)
class ContactList:
    """An account's contacts as they are now; ``listed`` ones are the roster, the others only wait for an answer."""

    version: int
    contacts: dict[JID, Contact]

    def get(self, jid: JID) -> Contact | None:
        """The contact with that bare JID."""
        return self.contacts.get(jid)


class Rosters:
    """The contact lists of accounts that have sessions, and the pushes that tell clients of changes."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions
        self._lists: dict[JID, ContactList] = {}
        self._reads: dict[JID, list[_Read]] = {}

    def __len__(self) -> int:
        """How many accounts' contacts are in memory."""
        return len(self._lists)

    async def of(self, account: JID) -> ContactList:
        """The contacts of an account of ours, current at the moment this returns."""
        found = self._lists.get(account)
        while found is None:
            read = _Read()
            self._reads.setdefault(account, []).append(read)
            try:
                roster = await self._database.read(rostering.read_roster, account)
            finally:
                self._ended(account, read)
            found = self._lists.get(account)
            if found is None and not read.outdated:
                found = ContactList(roster.version, {contact.jid: contact for contact in roster.contacts})
                if self._sessions.of(account):
                    self._lists[account] = found
        return found

    async def contact(self, account: JID, jid: JID) -> Contact | None:
        """One contact of an account, which may be off line."""
        found = self._lists.get(account)
        if found is not None:
            return found.get(jid)
        return await self._database.read(rostering.read_contact, account, jid)

    def changed(self, change: Change) -> None:
        """A change was committed: remember it, and tell the clients that asked for the roster (§2.1.6)."""
        for read in self._reads.get(change.owner, ()):
            read.outdated = True
        found = self._lists.get(change.owner)
        if found is not None:
            if change.after is None:
                found.contacts.pop(change.jid, None)
            else:
                found.contacts[change.jid] = change.after
            found.version = change.version or found.version
        if change.push:
            self._push(change)

    def release(self, account: JID) -> None:
        """Forget the contacts of an account whose last session has ended."""
        if not self._sessions.of(account):
            self._lists.pop(account, None)

    def _push(self, change: Change) -> None:
        contact = change.after
        if contact is not None and contact.listed:
            item = write_item(contact)
        else:
            item = Element(ns.ROSTER, "item", {"jid": str(change.jid), "subscription": "remove"})
        query = Element(ns.ROSTER, "query", {"ver": str(change.version)}, item)
        id_ = secrets.token_urlsafe(9)
        for session in self._sessions.of(change.owner):
            if session.interested:
                session.send(stanzas.iq("set", change.owner, session.jid, id_, query))

    def _ended(self, account: JID, read: "_Read") -> None:
        reads = self._reads[account]
        reads.remove(read)
        if not reads:
            del self._reads[account]


@dataclass(slots=True, eq=False)
class _Read:
    """A contact list on its way from the database; outdated when a change was committed meanwhile."""

    outdated: bool = False


class Withdrawal(Protocol):
    """What presence does when a contact was removed."""

    async def contact_removed(self, change: Change) -> None:
        """End both subscriptions (§2.5.2)."""


class Roster(Extension):
    """Shows the roster to its owner's clients and takes their changes."""

    # Both XEPs live on in RFC 6121: versions (§2.6) and the words for it in the stream features.
    specs = (Spec(237, "1.3"),)
    stream_features = (Element(ns.ROSTER_VERSIONING, "ver"), Element(ns.PRE_APPROVAL, "sub"))

    def __init__(self, database: Database, sessions: Sessions, rosters: Rosters, presence: Withdrawal) -> None:
        self._database = database
        self._sessions = sessions
        self._rosters = rosters
        self._presence = presence

    def routes(self) -> Iterable[Route]:
        """Get and set, at one's own account."""
        yield Route.get(ns.ROSTER, "query", self.get, at=At.ACCOUNT)
        yield Route.set(ns.ROSTER, "query", self.set, at=At.ACCOUNT)

    async def get(self, request: Stanza) -> Element | None:
        """The roster, or nothing if the client's version is the current one (§2.1.3, §2.6.3)."""
        account = _owner(request)
        roster = await self._rosters.of(account)
        session = self._sessions.get(request.from_)
        if session is not None:
            session.interested = True
        query = request.payload
        version = str(roster.version)
        if query is not None and query.get("ver") == version:
            return None
        items = (write_item(contact) for contact in roster.contacts.values() if contact.listed)
        return Element(ns.ROSTER, "query", {"ver": version}, *items)

    async def set(self, request: Stanza) -> None:
        """Add, change or remove one contact (§2.3 to §2.5)."""
        account = _owner(request)
        jid, item = _read_item(request)
        if item.get("subscription") == "remove":
            change = await self._database.write(rostering.remove_contact, account, jid)
            self._rosters.changed(change)
            await self._presence.contact_removed(change)
            return
        groups = tuple(group.text for group in item.find_all(ns.ROSTER, "group"))
        name = item.get("name") or ""
        self._rosters.changed(await self._database.write(rostering.set_contact, account, jid, name, groups))


def write_item(contact: Contact) -> Element:
    """A contact as clients see it (§2.1.2)."""
    attributes = {"jid": str(contact.jid), "subscription": str(contact.subscription)}
    if contact.name:
        attributes["name"] = contact.name
    if contact.ask:
        attributes["ask"] = "subscribe"
    if contact.approved:
        attributes["approved"] = "true"
    groups = (Element(ns.ROSTER, "group", {}, group) for group in contact.groups)
    return Element(ns.ROSTER, "item", attributes, *groups)


def _owner(request: Stanza) -> JID:
    """The account whose roster is meant; only its owner may ask. Strangers learn nothing of who has one."""
    account = request.to.bare
    if request.from_.bare == account:
        return account
    if request.from_.domainpart == account.domainpart:
        raise Forbidden("this is another person's roster")
    raise ServiceUnavailable


def _read_item(request: Stanza) -> tuple[JID, Element]:
    query = request.payload
    items = list(query.find_all(ns.ROSTER, "item")) if query is not None else []
    if len(items) != 1:
        raise BadRequest("a roster set has exactly one item")
    text = items[0].get("jid")
    if text is None:
        raise BadRequest("the item has no jid")
    return JID.parse(text).bare, items[0]
