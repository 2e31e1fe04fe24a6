"""XEP-0283: Moved.

Our people who leave publish a statement, by the word ``move`` or with their client; their followers hear of it
(``usecases.moving``): those here in chat, those elsewhere by a notification. What comes like that from elsewhere is
told those here who follow the old address, by the word of its own server and nobody else's.

Who moved here, or anywhere, asks their contacts anew for a presence subscription and says who they were. If the
contact of ours let the old address see their presence, the old account is asked for its statement; and if that names
the new one, the new address gets the right and the old one loses it, without anybody being asked (§4.4). In every
other case it is a request like any other.
"""

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from microblog.im.presence import Presence
from microblog.model.errors import Gone, Refusal
from microblog.model.event import Event, ItemPublished, ItemRetracted, NodeDeleted, NodePurged
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Tasks
from microblog.store.database import Database
from microblog.usecases import moving
from microblog.usecases.moving import Announce, Announced, Learned, Move
from microblog.wire import moved, ns, pubsub, stanza
from microblog.wire.notification import Notice
from microblog.wire.stanza import Stanza
from microblog.wire.xml import parse
from microblog.xep.followlines import FollowLines
from microblog.xmpp.dispatch import Extension, Spec
from microblog.xmpp.router import Router

ASKING_MAX: Final = 50  # old accounts that are being asked for their statements


class Moved(Extension):
    """``hear`` is a database listener; ``asked`` hears requests for presence (``Presence.moved``), ``noticed``
    notifications (``Following.moved``), ``gone`` answers (``FollowHealth.gone``).
    """

    specs = (Spec(283, "0.2.0"),)
    _log = Logger()

    def __init__(
        self,
        router: Router,
        database: Database,
        presence: Presence,
        lines: FollowLines,
        wake: Callable[[str], None],
        tasks: Tasks,
    ) -> None:
        self._router = router
        self._database = database
        self._presence = presence
        self._lines = lines
        self._wake = wake
        self._tasks = tasks
        self._asking: set[tuple[JID, JID]] = set()

    # who leaves

    async def move(self, account: JID, to: JID) -> int:
        """One of ours has another address; how many here are told. Raises Refusal."""
        statement = moved.write_statement(to)
        wanted = Move(
            account=account,
            to=to,
            node=ns.MOVED,
            item_id=moved.ITEM,
            statement=statement,
            notice=moved.write_notice,
        )
        announced = await self._database.write(moving.move, wanted)
        self._told(account, to, announced)
        return len(announced.here)

    async def take_back(self, account: JID) -> bool:
        """One of ours is where they were; False if they had not moved."""
        return await self._database.write(moving.take_back, account, ns.MOVED, moved.ITEM)

    def hear(self, event: Event) -> None:
        """A statement of one of ours was published by a client, or taken back."""
        account = event.node.service
        if event.node.name != ns.MOVED or account.domainpart != self._database.domain:
            return
        match event:
            case ItemPublished(item=item):
                to = moved.read_statement(parse(item.payload)) if item.payload else None
                if to is not None:
                    self._tasks.spawn(self._announce(account, to), f"the move of {account}")
            case ItemRetracted() | NodePurged() | NodeDeleted():
                self._tasks.spawn(self._took_back(account), f"the move of {account}")

    async def _announce(self, account: JID, to: JID) -> None:
        wanted = Announce(account=account, to=to, notice=moved.write_notice)
        try:
            announced = await self._database.write(moving.announce, wanted)
        except Refusal as refusal:
            self._log.warn("The move of {account} is not told: {why}", account=account, why=refusal.text)
            return
        self._told(account, to, announced)

    async def _took_back(self, account: JID) -> None:
        # Of an account that has ended as well the address stays known.
        if await self._database.read(moving.is_account, account):
            await self.take_back(account)

    def _told(self, old: JID, new: JID, announced: Announced) -> None:
        for domain in announced.domains:
            self._wake(domain)
        self._lines.moved(announced.here, old, new)

    # who left elsewhere

    def noticed(self, message: Stanza, notice: Notice) -> None:
        """What an account elsewhere says of itself."""
        new = next((found for item in notice.items if (found := moved.read_statement(item.payload))), None)
        if new is None and not (notice.retracted or notice.purged or notice.deleted):
            return
        if message.from_.is_bare and message.from_.localpart and message.proof is not Proof.LOCAL:
            self._tasks.spawn(self._learn(message.from_, new), f"where {message.from_} is")

    def gone(self, service: JID, refusal: Gone) -> None:
        """A service says that an account is gone, and perhaps where to (RFC 6120 §8.3.3.5)."""
        new = moved.read_gone(refusal.uri)
        if new is not None:
            self._tasks.spawn(self._learn(service.bare, new), f"where {service} is")

    async def _learn(self, old: JID, new: JID | None) -> None:
        try:
            followers = await self._database.write(moving.learn, Learned(old=old, new=new))
        except Refusal as refusal:
            self._log.warn("Where {old} is now is not written down: {why}", old=old, why=refusal.text)
            return
        if new is not None:
            self._lines.moved(followers, old, new)

    # who asks under another address

    def asked(self, request: Stanza) -> bool:
        """A request for presence to one of ours, between bare addresses: is it looked into, and handled later?"""
        old = moved.read_old_address(request)
        key = request.to, request.from_
        if old is None or old == request.from_ or key in self._asking or len(self._asking) >= ASKING_MAX:
            return False
        self._asking.add(key)
        self._tasks.spawn(self._look_into(request, old), f"the move of {old}")
        return True

    async def _look_into(self, request: Stanza, old: JID) -> None:
        account, new = request.to, request.from_
        try:
            vouched = await self._vouched(account, old, new)
            before = await self._database.write(moving.pass_right, account, old, new) if vouched else None
            if before is None:
                await self._presence.ask(request)
                return
        except Refusal:
            # The database has too much to do: they may try again.
            return
        finally:
            self._asking.discard((account, new))
        await self._presence.answer(account, stanza.presence("subscribed", account, new))
        await self._presence.answer(account, stanza.presence("unsubscribed", account, old))
        if before.is_seen:
            await self._presence.answer(account, stanza.presence("subscribe", account, new))

    async def _vouched(self, account: JID, old: JID, new: JID) -> bool:
        """Does the old account, which has a right here, say that it is the new one?"""
        if await self._database.read(moving.may_vouch, account, old) is None:
            return False
        try:
            return await self._statement(account, old) == new
        except Refusal:
            return False

    async def _statement(self, account: JID, old: JID) -> JID | None:
        request = pubsub.items_request(ns.MOVED, (moved.ITEM,))
        answer = await self._router.request("get", account, old, request)
        if answer.type == "error":
            refusal = pubsub.read_refusal(answer)
            return moved.read_gone(refusal.uri) if isinstance(refusal, Gone) else None
        items = pubsub.read_answered_items(answer.payload)
        return next((moved.read_statement(item.payload) for item in items if item.id == moved.ITEM), None)
