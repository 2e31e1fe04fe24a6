"""XEP-0084, XEP-0153, XEP-0398: pictures. That one form becomes the other is the profile's doing (``profiling``).

Here is what presence has to do with it: the hash of an account's picture is written into its presence, in place of
what a client says that does not know better; a client that says there is none is let alone. When the picture changes,
the presence of those who are on line is sent again.
"""

from collections import OrderedDict
from typing import Final

from microblog.im.presence import Presence
from microblog.model.errors import Refusal
from microblog.model.event import Event, ItemPublished
from microblog.model.jid import JID
from microblog.model.node import AVATAR_DATA, AVATAR_METADATA
from microblog.runtime import Tasks
from microblog.store.database import Database
from microblog.usecases import profiling
from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.dispatch import Extension, Spec
from microblog.xmpp.sessions import Sessions

REMEMBERED: Final = 10_000


class Avatars(Extension):
    """A database listener, and ``Presence.stamp``."""

    specs = (Spec(84, "1.1.4"), Spec(153, "1.1.1"), Spec(398, "1.0.0"))
    account_features = (ns.PEP_VCARD_CONVERSION,)

    def __init__(self, database: Database, presence: Presence, sessions: Sessions, tasks: Tasks) -> None:
        self._database = database
        self._presence = presence
        self._sessions = sessions
        self._tasks = tasks
        self._hashes: OrderedDict[JID, str] = OrderedDict()

    async def stamp(self, presence: Stanza) -> Stanza:
        """The presence with the hash of its sender's picture (XEP-0398 §4)."""
        update = presence.element.find(ns.VCARD_UPDATE, "x")
        photo = None if update is None else update.find(ns.VCARD_UPDATE, "photo")
        said = None if photo is None else photo.text.strip()
        # Asked in any case: whoever says that there is none says it of the picture that there is now.
        hash_ = await self._hash(presence.from_.bare)
        if hash_ is None or said in ("", hash_) or (update is None and not hash_):
            return presence
        return _with(presence, hash_)

    def hear(self, event: Event) -> None:
        """A picture, or who may see it, may have changed."""
        if event.node.name not in (AVATAR_DATA, AVATAR_METADATA):
            return
        if event.node.name == AVATAR_DATA and isinstance(event, ItemPublished):
            return  # Nothing yet: what tells of it follows.
        account = event.node.service
        if account.domainpart == self._database.domain:
            before = self._hashes.pop(account, None)
            if self._sessions.available(account):
                self._tasks.spawn(self._again(account, before), f"picture of {account}")

    async def _again(self, account: JID, before: str | None) -> None:
        hash_ = await self._hash(account)
        if hash_ is None or hash_ == before:
            return
        for session in self._sessions.available(account):
            presence = session.presence
            update = None if presence is None else presence.element.find(ns.VCARD_UPDATE, "x")
            photo = None if update is None else update.find(ns.VCARD_UPDATE, "photo")
            # Empty by the client's own will, unless there was none.
            if presence is None or (photo is not None and not photo.text.strip() and before != ""):
                continue
            await self._presence.broadcast(session, _with(presence, hash_))

    async def _hash(self, account: JID) -> str | None:
        """What the picture is called, empty if there is none; None if that cannot be known just now."""
        known = self._hashes.get(account)
        if known is not None:
            return known
        try:
            known = await self._database.read(profiling.avatar_hash, account)
        except Refusal:
            return None
        self._hashes[account] = known
        while len(self._hashes) > REMEMBERED:
            self._hashes.popitem(last=False)
        return known


def _with(presence: Stanza, hash_: str) -> Stanza:
    element = presence.element.replaced()
    others = [
        child
        for child in presence.element.children
        if not (isinstance(child, Element) and child.is_(ns.VCARD_UPDATE, "x"))
    ]
    photo = Element(ns.VCARD_UPDATE, "photo", {}, *([hash_] if hash_ else []))
    element.children = [*others, Element(ns.VCARD_UPDATE, "x", {}, photo)]
    return Stanza(presence.kind, presence.type, presence.id, presence.from_, presence.to, element, presence.proof)
