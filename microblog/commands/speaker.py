"""Who speaks to the node, and whom and what they can mean by what they say."""

from dataclasses import dataclass

from microblog.commands.command import Person
from microblog.model.jid import JID
from microblog.model.uri import ItemAddress
from microblog.store.database import Database
from microblog.usecases import chatting
from microblog.wire.chat import Saying
from microblog.wire.stanza import Stanza


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Somebody who has said something, and under which ids they will refer to it."""

    person: Person
    message: Stanza
    saying: Saying
    ids: tuple[str, ...] = ()
    same: bool = False
    slash: bool = False

    @property
    def key(self) -> int:
        """Of the account."""
        return self.person.account.key

    @property
    def by(self) -> JID:
        """The address that talks."""
        return self.person.address.bare

    @property
    def language(self) -> str:
        """In which they are answered."""
        return self.person.language


@dataclass(slots=True)
class Names:
    """Whom and what somebody can mean. ``target``: what they speak of, instead of what was shown last."""

    database: Database
    account: int
    target: ItemAddress | None = None

    async def person(self, name: str) -> JID | None:
        """Somebody here of that name."""
        return await self.database.read(chatting.account_named, name) if self.account else None

    async def item(self, number: int) -> ItemAddress | None:
        """What they were shown under a number."""
        return await self.database.read(chatting.item_of_number, self.account, number)

    async def newest(self) -> ItemAddress | None:
        """What they speak of, if they do not say of what."""
        return self.target or await self.database.read(chatting.newest_shown, self.account)
