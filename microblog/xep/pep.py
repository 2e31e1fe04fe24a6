"""XEP-0163: Personal Eventing. An account is a publish-subscribe service of its own; its contacts follow by presence.

A client says in its capabilities which nodes it wants to hear of (``caps``). What our own sessions want is kept with
them in memory (``readers``); what remote contacts want is kept in the database, because their servers tell us of their
presence once and believe that we remember. Whoever has just come is sent the last items of the nodes that do so.

Who may see an account's presence decides who hears of its nodes, so all of this is looked at again when a subscription
to presence begins or ends (§4.5, XEP-0060 §12.1).
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from twisted.logger import Logger

from microblog.im.roster import ContactList
from microblog.model.access import audience_of, narrower, proof_for
from microblog.model.contact import Contact
from microblog.model.errors import Refusal, ResourceConstraint
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.runtime import Tasks
from microblog.store.database import Database, Transaction
from microblog.usecases import subscribing
from microblog.usecases.subscribing import Interest, LastItems
from microblog.wire import notification
from microblog.wire.disco import Caps, read_caps
from microblog.wire.errors import read_condition
from microblog.wire.stanza import Stanza
from microblog.xep.caps import Capabilities
from microblog.xep.readers import Readers
from microblog.xmpp.dispatch import Extension, Spec
from microblog.xmpp.router import Router
from microblog.xmpp.sessions import Session

PRESENT_MAX: Final = 50_000
# What an error must say to mean that this resource is not there any more.
_GONE: Final = frozenset(("gone", "item-not-found", "recipient-unavailable", "service-unavailable"))


class RosterSource(Protocol):
    """Where contacts are looked up."""

    async def of(self, account: JID) -> ContactList:
        """The contacts of an account of ours."""


class PersonalEventing(Extension):
    """A presence listener: learns who wants what, and greets them with the last items."""

    _log = Logger()
    specs = (Spec(163, "1.2.2"),)
    # §6.1 has the identity; the features are those of XEP-0060.

    def __init__(
        self,
        router: Router,
        database: Database,
        rosters: RosterSource,
        capabilities: Capabilities,
        readers: Readers,
        tasks: Tasks,
    ) -> None:
        self._router = router
        self._database = database
        self._rosters = rosters
        self._capabilities = capabilities
        self._readers = readers
        self._tasks = tasks
        self._caps: dict[Session, Caps] = {}
        # Remote contacts that are present: the account, their full address -> what they said, and what it means.
        self._present: OrderedDict[tuple[JID, JID], tuple[Caps, frozenset[str]]] = OrderedDict()

    # presence

    def session_presence(self, session: Session, stanza: Stanza, initial: bool) -> None:
        """One of our own comes, changes or goes."""
        caps = read_caps(stanza.element) if session.available else None
        if caps is None:
            self._caps.pop(session, None)
            self._wants(session, frozenset())
        elif caps != self._caps.get(session):
            self._caps[session] = caps
            self._tasks.spawn(self._learn_session(session, caps), f"capabilities of {session.jid}")

    def contact_presence(self, account: JID, contact: Contact, stanza: Stanza) -> None:
        """A remote contact comes, changes or goes."""
        jid = stanza.from_
        caps = read_caps(stanza.element) if stanza.type == "available" else None
        if caps is not None and not jid.is_bare:
            known = self._present.get((account, jid))
            if known is None or known[0] != caps:
                self._remember(account, jid, caps, frozenset())
                self._tasks.spawn(self._learn_contact(account, jid, caps), f"capabilities of {jid}")
            return
        gone = [key for key in self._present if key[0] == account and key[1].bare == jid] if jid.is_bare else []
        for key in gone or [(account, jid)]:
            self._present.pop(key, None)
        if _sees_owner(contact):
            self._tasks.spawn(self._gone(account, jid), f"absence of {jid}")

    def contact_changed(self, account: JID, before: Contact | None, after: Contact | None) -> None:
        """A contact of an account may see its presence from now on, or no longer."""
        contact = after or before
        if contact is None or _sees_owner(before) == _sees_owner(after):
            return
        if _sees_owner(after):
            self._tasks.spawn(self._welcome(account, contact.jid), f"new contact of {account}")
        else:
            self._tasks.spawn(self._part(account, contact.jid), f"lost contact of {account}")

    def bounced(self, error: Stanza) -> None:
        """An error message to an account of ours: a notification that found nobody."""
        if error.from_.domainpart == self._router.domain:
            return
        condition = read_condition(error.element)[0]
        if error.from_.is_bare:
            # Everything else that is said of an account may be over tomorrow.
            if condition == "gone" and error.to.localpart and (error.id or "").startswith("event-"):
                self._tasks.spawn(self._lost(error.to.bare, error.from_), f"end of {error.from_}")
            return
        if condition in _GONE:
            self._present.pop((error.to.bare, error.from_), None)
            self._tasks.spawn(self._gone(error.to.bare, error.from_), f"absence of {error.from_}")

    async def _lost(self, account: JID, follower: JID) -> None:
        await self._database.write(subscribing.subscriber_gone, account, follower)

    # our own sessions

    async def _learn_session(self, session: Session, caps: Caps) -> None:
        account = session.jid.bare
        nodes = await self._capabilities.notify(caps, account, session.jid)
        if self._caps.get(session) != caps:
            return
        new = nodes - session.notify
        self._wants(session, nodes)
        if not new:
            return
        roster = await self._rosters.of(account)
        services = [jid for jid, contact in roster.contacts.items() if self._is_here(jid) and contact.is_seen]
        await self._send_last(session, (account, *services), new)

    async def _send_last(self, session: Session, services: Sequence[JID], nodes: frozenset[str]) -> None:
        asked = LastItems(reader=session.jid, services=tuple(services), nodes=nodes)
        for node, item in await self._database.read(subscribing.last_items, asked):
            splice = notification.render_last(node, item)
            if splice is not None and session.available:
                session.write(splice.to(session.jid))

    def _wants(self, session: Session, nodes: frozenset[str]) -> None:
        session.notify = nodes
        self._readers.interest(session, nodes)

    # remote contacts

    async def _learn_contact(self, account: JID, jid: JID, caps: Caps) -> None:
        nodes = await self._capabilities.notify(caps, account, jid)
        known = self._present.get((account, jid))
        if known is None or known[0] != caps:
            return
        self._remember(account, jid, caps, nodes)
        await self._note(account, jid, nodes)

    async def _note(self, account: JID, jid: JID, nodes: frozenset[str]) -> None:
        """Write down what a contact wants; who may not have it is not written down."""
        interest = Interest(service=account, jid=jid, nodes=nodes)
        try:
            try:
                last = await self._database.write(subscribing.presence_interest, interest)
            except ResourceConstraint:
                await self._forget_absent(account, jid)
                last = await self._database.write(subscribing.presence_interest, interest)
        except Refusal:
            # At the next presence, then.
            self._present.pop((account, jid), None)
            return
        self._greet(jid, last)

    async def _forget_absent(self, account: JID, contact: JID) -> None:
        """Make room: some of a contact's resources have gone without a word, as when their server died."""
        for jid in await self._database.read(subscribing.interested_resources, account, contact):
            if (account, jid) not in self._present:
                await self._gone(account, jid)

    def _greet(self, jid: JID, last: Iterable[tuple[Node, Item]]) -> None:
        for node, item in last:
            stanza = notification.last_message(node, item, jid)
            if stanza is not None:
                self._router.servers.send(stanza, proof_for(narrower(audience_of(node.config), item.audience)))

    async def _gone(self, account: JID, jid: JID) -> None:
        if jid.is_bare:
            await self._database.write(_all_gone, account, jid)
        else:
            await self._database.write(subscribing.presence_gone, jid, account)

    def _remember(self, account: JID, jid: JID, caps: Caps, nodes: frozenset[str]) -> None:
        self._present[account, jid] = (caps, nodes)
        self._present.move_to_end((account, jid))
        while len(self._present) > PRESENT_MAX:
            self._present.popitem(last=False)

    # contacts

    async def _welcome(self, account: JID, contact: JID) -> None:
        if self._is_here(contact):
            for session in self._router.sessions.available(contact):
                if session.notify:
                    await self._send_last(session, (account,), session.notify)
            return
        present = [(jid, nodes) for (owner, jid), (_, nodes) in self._present.items() if owner == account]
        for jid, nodes in present:
            if jid.bare == contact and nodes:
                await self._note(account, jid, nodes)

    async def _part(self, account: JID, contact: JID) -> None:
        await self._database.write(subscribing.contact_lost, account, contact)

    def _is_here(self, jid: JID) -> bool:
        return jid.domainpart == self._router.domain


def _sees_owner(contact: Contact | None) -> bool:
    return contact is not None and contact.sees_us


def _all_gone(tx: Transaction, account: JID, contact: JID) -> None:
    tx.interests.lost(account, contact)
