"""XEP-0191: Blocking Command.

One asks for one's list, blocks, unblocks; the clients that asked for the list hear of every change (§3.2, §3.3). What a
block means is said where it is felt: ``xmpp.router`` and ``im`` for stanzas, ``usecases.blocking`` for feeds,
``usecases.muting`` for what is read, ``quiet`` for what is told. A block with a report (XEP-0377 §3) is also one to the
moderators.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple, Protocol

from twisted.logger import Logger

from microblog.model.account import Account
from microblog.model.errors import BadRequest, Forbidden, ItemNotFound, Refusal, ServiceUnavailable
from microblog.model.jid import JID
from microblog.model.quiet import Blocks
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database, Transaction
from microblog.usecases import blocking
from microblog.usecases.blocking import Block, Blocked, Notices
from microblog.wire import asking, notification, ns, reporting
from microblog.wire.reporting import Said
from microblog.wire.stanza import Stanza, iq
from microblog.wire.xml import Element
from microblog.xep.quiet import Quiet
from microblog.xmpp.dispatch import At, Extension, Route, Spec
from microblog.xmpp.router import NODE_LOCALPARTS
from microblog.xmpp.sessions import Sessions

RETRY_SECONDS: Final = 5


class PresenceOf(Protocol):
    """What presence does about blocks."""

    async def blocked(self, account: JID, jids: Iterable[JID]) -> None:
        """They do not see the account any more."""

    async def unblocked(self, account: JID, jids: Iterable[JID]) -> None:
        """They see it again."""


class _Done(NamedTuple):
    """What was done to which addresses, and all that are blocked now."""

    blocked: Blocked
    blocks: Blocks


class Blocking(Extension):
    """The command, and what follows from it; chat and forms do the same by ``block`` and ``unblock``.

    ``accuse`` takes a report that came with a block: who reports, whom, and what they say.
    """

    _log = Logger()
    specs = (Spec(191, "1.3"),)
    features = (ns.BLOCKING,)

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        presence: PresenceOf,
        quiet: Quiet,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._presence = presence
        self._quiet = quiet
        self._clock = clock
        self._tasks = tasks
        self._own = frozenset(JID(name, database.domain) for name in NODE_LOCALPARTS)
        self.accuse: Callable[[JID, JID, Said], Awaitable[object]] | None = None

    def start(self) -> None:
        """Go on with what was not done when this server ended."""
        self._tasks.spawn(self._finish(), "blocks that were not done")

    def routes(self) -> Iterable[Route]:
        """At one's own account."""
        yield Route.get(ns.BLOCKING, "blocklist", self.get, at=At.ACCOUNT)
        yield Route.set(ns.BLOCKING, "block", self.take_block, at=At.ACCOUNT)
        yield Route.set(ns.BLOCKING, "unblock", self.take_unblock, at=At.ACCOUNT)

    async def get(self, request: Stanza) -> Element:
        """The list (§3.2); from now on this session hears of changes."""
        account = _owner(request)
        jids = await self._database.read(_listed, account)
        session = self._sessions.get(request.from_)
        if session is not None:
            session.blocklist = True
        return _write("blocklist", jids)

    async def take_block(self, request: Stanza) -> None:
        """Block (§3.3); with a report, if there is one."""
        account = _owner(request)
        items = _items(request)
        if not items:
            raise BadRequest("there is nobody to block")
        jids = tuple(_jid(item) for item in items)
        # Before: what somebody blocked they cannot see any more.
        for jid, item in zip(jids, items, strict=True):
            said = reporting.find(item)
            if said is not None and self.accuse is not None:
                try:
                    await self.accuse(account, jid, said)
                except Refusal as refusal:
                    self._log.debug("A report of {jid} was not taken: {why}", jid=jid, why=refusal.text)
        await self.block(account, jids)

    async def take_unblock(self, request: Stanza) -> None:
        """Unblock some (§3.4), or all (§3.5)."""
        account = _owner(request)
        jids = tuple(_jid(item) for item in _items(request))
        await self.unblock(account, jids or None)

    async def block(self, account: JID, jids: tuple[JID, ...]) -> tuple[JID, ...]:
        """Block addresses; those that were not blocked before. Raises NotAllowed, ResourceConstraint."""
        done = await self._database.write(_block, account, jids, self._own)
        self._quiet.set_blocks(account, done.blocks)
        if done.blocked.new:
            self._push(account, _write("block", done.blocked.new))
            await self._presence.blocked(account, done.blocked.new)
        if done.blocked.more:
            self._tasks.spawn(self._sever(account, done.blocked.more), f"what {account} has to do with whom they block")
        return done.blocked.new

    async def unblock(self, account: JID, jids: tuple[JID, ...] | None) -> tuple[JID, ...]:
        """Unblock addresses, or all; those that were blocked."""
        done = await self._database.write(_unblock, account, jids)
        self._quiet.set_blocks(account, done.blocks)
        if done.blocked.new:
            self._push(account, _write("unblock", () if jids is None else done.blocked.new))
            await self._presence.unblocked(account, done.blocked.new)
        return done.blocked.new

    def _push(self, account: JID, payload: Element) -> None:
        for session in self._sessions.of(account):
            if session.blocklist:
                session.send(iq("set", account, session.jid, secrets.token_urlsafe(9), payload))

    # what takes longer

    async def _finish(self) -> None:
        try:
            unfinished = await self._database.read(blocking.unfinished)
        except Refusal:
            return  # at the next start
        for account, jids in unfinished.items():
            await self._sever(account, jids)

    async def _sever(self, account: JID, jids: tuple[JID, ...]) -> None:
        """End the subscriptions between somebody and whom they blocked, a slice at a time."""
        more = True
        while more:
            try:
                more = await self._database.write(_sever, account, jids)
            except Refusal:
                await self._clock.sleep(RETRY_SECONDS)


def left(account: JID, service: JID, node: str, subid: str) -> str:
    """The stanza that ends a subscription of ours elsewhere."""
    request = asking.unsubscribe_request(node, account, subid)
    return iq("set", account, service, secrets.token_urlsafe(12), request).to_bytes().decode()


NOTICES: Final = Notices(ended=notification.decision, left=left)


def _account(tx: Transaction, jid: JID) -> Account:
    account = tx.accounts.get(jid.localpart)
    if account is None:
        raise ItemNotFound("there is no such account")
    return account


def _listed(tx: Transaction, account: JID) -> tuple[JID, ...]:
    return blocking.blocked(tx, _account(tx, account).key)


def _block(tx: Transaction, account: JID, jids: tuple[JID, ...], own: frozenset[JID]) -> _Done:
    wanted = Block(account=_account(tx, account).key, actor=account, jids=jids, notices=NOTICES, own=own)
    done = blocking.block(tx, wanted)
    return _Done(done, tx.blocks.of_name(account.localpart))


def _unblock(tx: Transaction, account: JID, jids: tuple[JID, ...] | None) -> _Done:
    key = _account(tx, account).key
    gone = blocking.unblock_all(tx, key) if jids is None else blocking.unblock(tx, key, jids)
    return _Done(Blocked(new=gone), tx.blocks.of_name(account.localpart))


def _sever(tx: Transaction, account: JID, jids: tuple[JID, ...]) -> bool:
    known = tx.accounts.get(account.localpart)
    # They may have changed their mind.
    still = frozenset(tx.blocks.of(known.key)) if known is not None else frozenset()
    return blocking.sever(tx, account, [jid for jid in jids if jid in still], NOTICES)


def _owner(request: Stanza) -> JID:
    """The account whose list is meant; only its owner may ask. Strangers learn nothing of who has one."""
    account = request.to.bare
    if request.from_.bare == account:
        return account
    if request.from_.domainpart == account.domainpart:
        raise Forbidden("this is another person's list")
    raise ServiceUnavailable


def _items(request: Stanza) -> list[Element]:
    payload = request.payload
    items = list(payload.find_all(ns.BLOCKING, "item")) if payload is not None else []
    if len(items) > blocking.BLOCKS_MAX:
        raise BadRequest("not so many at once")
    if payload is not None and len(items) != sum(1 for _ in payload.elements()):
        raise BadRequest("there is something else than items")
    return items


def _jid(item: Element) -> JID:
    text = item.get("jid")
    if text is None:
        raise BadRequest("the item has no jid")
    return JID.parse(text)


def _write(name: str, jids: Iterable[JID]) -> Element:
    return Element(ns.BLOCKING, name, None, *(Element(ns.BLOCKING, "item", {"jid": str(jid)}) for jid in jids))
