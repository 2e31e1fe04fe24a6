"""RFC 6121 §3 and §4: presence and the subscriptions to it.

Who is on line is in memory only: each session keeps the last presence it sent. When it sends the first, its contacts
are told, remote contacts are probed, local contacts' presence is copied to it from memory, and the requests that wait
for its answer are delivered. Presence is rendered once and the address spliced in for each recipient.

Contacts and the moves of subscriptions (appendix A) are ``usecases.rostering``'s; here is what has to be said to whom
when one has moved. A stanza for an account of ours is handled the same from near and far: a subscription between two
of our people is two moves, one in each roster.

Nobody learns here who has an account: a subscription request to nobody is dropped, as one to somebody who does not
answer (§3.1.3), and a probe of nobody is refused, as one by somebody without subscription (§4.3.2).

Listeners hear of every change that extensions live by; a remote contact's presence also while its account has no
session, since the account's nodes then still have followers. What an extension has to say in everybody's presence it
writes into it before it goes anywhere (``stamp``). A request of somebody who says that they had another address is
shown to ``moved`` first, which may take it.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from microblog.im.roster import ContactList, Rosters
from microblog.model.contact import Contact
from microblog.model.errors import BadRequest, Refusal, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.quiet import Blocks
from microblog.store.database import Database
from microblog.usecases import rostering
from microblog.usecases.rostering import Change
from microblog.wire import ns
from microblog.wire import stanza as stanzas
from microblog.wire.stamps import without_false_stamps
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, escape_attribute, serialize, to_text
from microblog.xmpp.router import Router
from microblog.xmpp.sessions import Session

SUBSCRIPTIONS: Final = frozenset(("subscribe", "subscribed", "unsubscribe", "unsubscribed"))
DIRECTED_MAX: Final = 500  # addressees of directed presence that one session may have
REQUEST_MAX_BYTES: Final = 4096  # of a subscription request kept until it is answered
_TAG: Final = b"<presence"
_PRIORITY: Final = re.compile(r"[+-]?[0-9]{1,3}", re.ASCII)


class PresenceListener(Protocol):
    """An extension that lives by presence. Called after the stanza went on its way."""

    def session_presence(self, session: Session, stanza: Stanza, initial: bool) -> None:
        """A session of ours became available (``initial``), changed, or ended (``unavailable``)."""

    def contact_presence(self, account: JID, contact: Contact, stanza: Stanza) -> None:
        """A remote contact of that account, on line or not, became available, changed, or unavailable.

        ``contact.subscription`` says who may see whom.
        """

    def contact_changed(self, account: JID, before: Contact | None, after: Contact | None) -> None:
        """The subscription state of a contact changed."""


class Presence:
    """Who is on line, who may know, and who is told."""

    def __init__(self, router: Router, database: Database, rosters: Rosters) -> None:
        self._router = router
        self._sessions = router.sessions
        self._database = database
        self.rosters = rosters
        self.listeners: list[PresenceListener] = []
        self.stamp: Callable[[Stanza], Awaitable[Stanza]] | None = None
        self.moved: Callable[[Stanza], bool] = lambda request: False
        self.to_node: Callable[[Stanza], None] = lambda stanza: None

    # from our sessions

    async def broadcast(self, session: Session, stanza: Stanza) -> None:
        """Presence without an addressee (§4.2, §4.4, §4.5)."""
        stanza = without_false_stamps(stanza, self._router.domain)
        try:
            if stanza.type == "available":
                await self._available(session, await self._stamped(stanza))
            elif stanza.type == "unavailable":
                was_available = session.available
                await self._unavailable(session, stanza)
                if was_available:
                    session.send(stanza)
            elif stanza.type != "error":
                raise BadRequest("this presence needs an addressee")
        except Refusal as refusal:
            session.send(stanza.error(refusal))

    async def directed(self, session: Session, stanza: Stanza) -> None:
        """Presence with an addressee: a subscription's move, or presence for somebody in particular (§4.6)."""
        stanza = without_false_stamps(stanza, self._router.domain)
        try:
            if stanza.type in SUBSCRIPTIONS:
                await self._move_out(session.jid.bare, stanza)
                return
            if stanza.type == "available":
                if stanza.to not in session.directed and len(session.directed) >= DIRECTED_MAX:
                    raise ResourceConstraint("too many addressees of directed presence")
                session.directed.add(stanza.to)
                stanza = await self._stamped(stanza)
            elif stanza.type == "unavailable":
                session.directed.discard(stanza.to)
        except Refusal as refusal:
            session.send(stanza.error(refusal))
        else:
            await self._router.route(stanza)

    async def _stamped(self, stanza: Stanza) -> Stanza:
        return stanza if self.stamp is None else await self.stamp(stanza)

    async def gone(self, session: Session) -> None:
        """A session's stream has ended: whoever saw it available hears that it is not (§4.5.1)."""
        account = session.jid.bare
        try:
            successor = self._sessions.get(session.jid)
            if successor is not None and successor.presence is not None:
                # The same address is on line again already.
                session.presence = None
            await self._unavailable(session, stanzas.presence("unavailable", session.jid, account))
        finally:
            self.rosters.release(account)

    async def _available(self, session: Session, stanza: Stanza) -> None:
        account = session.jid.bare
        roster = await self.rosters.of(account)
        if self._sessions.get(session.jid) is not session:
            return
        initial = session.presence is None
        session.presence = stanza
        session.priority = _priority(stanza.element)
        self._tell_audience(account, stanza, roster)
        if initial:
            await self._arrived(session, roster)
        for listener in self.listeners:
            listener.session_presence(session, stanza, initial)

    async def _arrived(self, session: Session, roster: ContactList) -> None:
        """What initial presence brings a client: others' presence, and requests that wait (§3.1.3, §4.2.2)."""
        account = session.jid.bare
        siblings = [other for other in self._sessions.available(account) if other is not session]
        for sibling in siblings:
            _copy(sibling, session)
        for contact in list(roster.contacts.values()):
            if self._router.blocks(account, contact.jid):
                continue
            if contact.pending_in:
                session.write(_pending_request(account, contact))
            if contact.ask and not siblings:
                # §3.1.2: it may have been lost; asking again does no harm.
                self._router.send(stanzas.presence("subscribe", account, contact.jid))
            if not contact.is_seen:
                continue
            if contact.jid.domainpart != self._router.domain or self._router.is_node(contact.jid):
                await self.probe(account, contact.jid)
            elif self._sessions.available(contact.jid) and not self._router.blocks(contact.jid, account):
                theirs = await self.rosters.contact(contact.jid, account)
                if theirs is not None and theirs.sees_us:
                    for other in self._sessions.available(contact.jid):
                        _copy(other, session)

    async def _unavailable(self, session: Session, stanza: Stanza) -> None:
        account = session.jid.bare
        was, session.presence = session.presence, None
        session.priority = 0
        directed, session.directed = session.directed, set()
        if was is None and not directed:
            return
        roster = await self.rosters.of(account)
        if was is not None:
            self._tell_audience(account, stanza, roster)
        for jid in directed:
            if self._router.blocks(account, jid):
                continue
            contact = roster.get(jid.bare)
            if was is None or contact is None or not contact.sees_us:
                await self._router.route(stanza.readdressed(to=jid))
        if was is not None:
            for listener in self.listeners:
                listener.session_presence(session, stanza, False)

    def _tell_audience(self, account: JID, stanza: Stanza, roster: ContactList) -> None:
        """The same presence to everybody who may see the account, its own sessions first (§4.2.2)."""
        rendered = _Rendered(stanza)
        domain = self._router.domain
        own = rendered.to(account)
        for session in self._sessions.available(account):
            session.write(own)
        for contact in roster.contacts.values():
            if not contact.sees_us or self._router.blocks(account, contact.jid):
                continue
            if contact.jid.domainpart != domain:
                self._router.servers.send(rendered.stanza(contact.jid))
                continue
            sessions = self._sessions.available(contact.jid)
            if sessions and not self._router.blocks(contact.jid, account):
                data = rendered.to(contact.jid)
                for session in sessions:
                    session.write(data)

    # to our accounts

    async def inbound(self, stanza: Stanza) -> None:
        """Presence addressed to this domain, from near or far (§8.5)."""
        if self._router.is_node(stanza.to):
            await self._to_node(stanza)
            return
        if not stanza.to.localpart or self._router.blocks(stanza.to.bare, stanza.from_):
            # Of whom somebody blocked nothing is heard, and they hear nothing (XEP-0191 §3.3.3).
            return
        stanza = without_false_stamps(stanza, self._router.domain)
        try:
            if stanza.type in SUBSCRIPTIONS:
                await self._move_in(stanza.readdressed(from_=stanza.from_.bare, to=stanza.to.bare))
            elif stanza.type == "probe":
                await self._answer_probe(stanza)
            elif stanza.type == "error":
                self._error(stanza)
            else:
                await self._presence_in(stanza)
        except Refusal as refusal:
            # The database has too much to do: whoever wants something of us may try again, others need not know.
            if stanza.type in SUBSCRIPTIONS:
                self._router.bounce(stanza, refusal)

    async def _to_node(self, stanza: Stanza) -> None:
        """The node itself is there for everybody, and remembers nobody; ``to_node`` hears who shows themselves."""
        node, jid = stanza.to, stanza.from_.bare
        if stanza.type == "subscribe":
            await self._router.route(stanzas.presence("subscribed", node, jid))
        if stanza.type in ("subscribe", "probe"):
            await self._router.route(stanzas.presence("available", node, stanza.from_))
        elif stanza.type == "unsubscribe":
            await self._router.route(stanzas.presence("unsubscribed", node, jid))
        if stanza.type in ("available", "unavailable", "subscribe"):
            self.to_node(stanza)

    async def probe(self, account: JID, contact: JID) -> None:
        """Ask for a contact's presence in the account's name (§4.3.1), which need not be on line."""
        await self._router.route(stanzas.presence("probe", account, contact))

    async def _presence_in(self, stanza: Stanza) -> None:
        account = stanza.to.bare
        if stanza.to.resourcepart:
            session = self._sessions.get(stanza.to)
            if session is not None:
                session.send(stanza)
        else:
            sessions = self._sessions.available(account)
            if sessions:
                data = stanza.to_bytes()
                for session in sessions:
                    session.write(data)
        if not self.listeners or stanza.from_.domainpart == self._router.domain:
            return
        contact = await self.rosters.contact(account, stanza.from_.bare)
        if contact is not None and contact.subscription != "none":
            for listener in self.listeners:
                listener.contact_presence(account, contact, stanza)

    async def _answer_probe(self, probe: Stanza) -> None:
        """§4.3.2: the presence of each session, or that there is none, for those who may know."""
        account, asker = probe.to.bare, probe.from_.bare
        if asker != account:
            contact = await self.rosters.contact(account, asker)
            if contact is None or not contact.sees_us:
                await self._router.route(stanzas.presence("unsubscribed", account, asker))
                return
        sessions = self._sessions.available(account)
        if probe.to.resourcepart:
            sessions = [session for session in sessions if session.jid == probe.to]
        if not sessions:
            await self._router.route(stanzas.presence("unavailable", probe.to, probe.from_))
        for session in sessions:
            if session.presence is not None:
                await self._router.route(session.presence.readdressed(to=probe.from_))

    def _error(self, stanza: Stanza) -> None:
        """Errors that answer directed presence belong to the client; those that answer a broadcast, to nobody."""
        session = self._sessions.get(stanza.to) if stanza.to.resourcepart else None
        if session is not None and stanza.from_ in session.directed:
            session.directed.discard(stanza.from_)
            session.send(stanza)

    # subscriptions

    async def answer(self, account: JID, stanza: Stanza) -> None:
        """What one of our people would do, done for them. Raises ResourceConstraint."""
        await self._move_out(account, stanza)

    async def _move_out(self, account: JID, stanza: Stanza) -> None:
        """One of our people asks, approves, leaves or cancels (§3.1.2, §3.1.5, §3.2.2, §3.3.2)."""
        jid = stanza.to.bare
        if jid == account:
            return
        change = await self._database.write(rostering.send_subscription, account, jid, stanza.type)
        self._changed(change)
        if _was_seen(change) and not _is_seen(change):
            await self._withdraw_presence(account, jid)
        if change.route:
            await self._router.route(stanza.readdressed(from_=account, to=jid))
        if _is_seen(change) and not _was_seen(change):
            await self._show_presence(account, jid)

    async def _move_in(self, stanza: Stanza) -> None:
        """Somebody asks, approves, leaves or cancels (§3.1.3, §3.1.6, §3.2.3, §3.3.3); both addresses are bare."""
        account, jid = stanza.to, stanza.from_
        if account == jid:
            return
        if stanza.type == "subscribe" and self.moved(stanza):
            return
        await self.ask(stanza)

    async def ask(self, stanza: Stanza) -> None:
        """A move of a subscription as it stands (see ``moved``)."""
        account, jid = stanza.to, stanza.from_
        request = _keep(stanza) if stanza.type == "subscribe" else None
        change = await self._database.write(rostering.receive_subscription, account, jid, stanza.type, request)
        if change.route:
            self._hand_over(stanza)
        self._changed(change)
        if change.reply is not None:
            await self._router.route(stanzas.presence(change.reply, account, jid))
        if change.reply == "subscribed":
            await self._show_presence(account, jid)
        elif _was_seen(change) and not _is_seen(change):
            await self._withdraw_presence(account, jid)

    def _hand_over(self, stanza: Stanza) -> None:
        """A request to those who can answer it; what has become of a subscription to those who keep the roster."""
        data = stanza.to_bytes()
        for session in self._sessions.of(stanza.to):
            if session.available if stanza.type == "subscribe" else session.interested:
                session.write(data)

    async def contact_removed(self, change: Change) -> None:
        """A contact was removed from the roster: end the subscriptions both ways (§2.5.2)."""
        self._tell_listeners(change)
        if change.before is not None:
            await self._part(change.owner, change.before)

    async def account_removed(self, account: JID, contacts: Iterable[Contact]) -> None:
        """An account is no more: its sessions leave, its contacts are told as if each had been removed."""
        for session in self._sessions.available(account):
            await self._unavailable(session, stanzas.presence("unavailable", session.jid, account))
        for contact in contacts:
            await self._part(account, contact)

    async def _part(self, account: JID, contact: Contact) -> None:
        if contact.sees_us:
            await self._withdraw_presence(account, contact.jid)
        if contact.sees_us or contact.pending_in:
            await self._router.route(stanzas.presence("unsubscribed", account, contact.jid))
        if contact.is_seen or contact.ask:
            await self._router.route(stanzas.presence("unsubscribe", account, contact.jid))

    async def blocked(self, account: JID, jids: Iterable[JID]) -> None:
        """These are blocked now (XEP-0191 §3.3): whoever of them saw the account does not see it any more."""
        for jid in await self._matching(account, jids):
            await self._withdraw_presence(account, jid)
        blocks = Blocks.of(jids)
        for session in self._sessions.available(account):
            for jid in [jid for jid in session.directed if blocks.match(jid)]:
                session.directed.discard(jid)
                await self._router.route(stanzas.presence("unavailable", session.jid, jid))

    async def unblocked(self, account: JID, jids: Iterable[JID]) -> None:
        """These are not blocked any more (§3.4): each sees the other again, who did before."""
        for jid in await self._matching(account, jids):
            await self._show_presence(account, jid)
        contacts = (await self.rosters.of(account)).contacts.values() if self._sessions.available(account) else ()
        blocks = Blocks.of(jids)
        for contact in [one for one in contacts if one.is_seen and blocks.match(one.jid)]:
            await self.probe(account, contact.jid)

    async def _matching(self, account: JID, jids: Iterable[JID]) -> list[JID]:
        """Who of these may see an account that is on line: contacts, or single resources of theirs."""
        if not self._sessions.available(account):
            return []
        roster, blocks = await self.rosters.of(account), Blocks.of(jids)
        full = [jid for jid in blocks.full if (contact := roster.get(jid.bare)) is not None and contact.sees_us]
        contacts = [one.jid for one in roster.contacts.values() if one.sees_us and blocks.match(one.jid)]
        return [*contacts, *full]

    async def _show_presence(self, account: JID, jid: JID) -> None:
        for session in self._sessions.available(account):
            if session.presence is not None:
                await self._router.route(session.presence.readdressed(to=jid))

    async def _withdraw_presence(self, account: JID, jid: JID) -> None:
        for session in self._sessions.available(account):
            await self._router.route(stanzas.presence("unavailable", session.jid, jid))

    def _changed(self, change: Change) -> None:
        self.rosters.changed(change)
        self._tell_listeners(change)

    def _tell_listeners(self, change: Change) -> None:
        before = change.before.subscription if change.before is not None else "none"
        after = change.after.subscription if change.after is not None else "none"
        if before != after:
            for listener in self.listeners:
                listener.contact_changed(change.owner, change.before, change.after)


class _Rendered:
    """A presence stanza written once, to be addressed to many."""

    __slots__ = ("_rest", "_stanza")

    def __init__(self, stanza: Stanza) -> None:
        self._stanza = stanza
        self._rest = serialize(stanza.element.replaced(to=None), ns.CLIENT).encode()[len(_TAG) :]

    def to(self, jid: JID) -> bytes:
        """The bytes for that addressee."""
        return b"%b to='%b'%b" % (_TAG, escape_attribute(str(jid)).encode(), self._rest)

    def stanza(self, jid: JID) -> Stanza:
        """The stanza for that addressee, for another server."""
        return self._stanza.readdressed(to=jid)


def _was_seen(change: Change) -> bool:
    return change.before is not None and change.before.sees_us


def _is_seen(change: Change) -> bool:
    return change.after is not None and change.after.sees_us


def _priority(element: Element) -> int:
    """§4.7.2.3: from -128 to 127; anything else counts as none."""
    text = (element.child_text(ns.CLIENT, "priority") or "").strip()
    if not _PRIORITY.fullmatch(text):
        return 0
    number = int(text)
    return number if -128 <= number <= 127 else 0


def _copy(other: Session, session: Session) -> None:
    """Tell a session of another's presence."""
    if other.presence is not None:
        session.write(_Rendered(other.presence).to(session.jid.bare))


def _keep(request: Stanza) -> str | None:
    """The request as it will be delivered at a later login; None if it says too much to be kept."""
    text = to_text(request.element)
    return text if len(text.encode()) <= REQUEST_MAX_BYTES else None


def _pending_request(account: JID, contact: Contact) -> bytes:
    if contact.request:
        return contact.request.encode()
    return stanzas.presence("subscribe", contact.jid, account).to_bytes()
