"""What people refer to when they fill in forms: numbers of posts, names, and whom they may mean."""

from collections.abc import Mapping, Sequence
from typing import Final

from microblog.commands.command import Command, Person
from microblog.commands.forms import CHOICES_MAX
from microblog.model.jid import JID
from microblog.model.uri import ItemAddress
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import chatting, choosing

# The commands that are not about those whom one follows.
_ABOUT: Final[Mapping[str, str]] = {"allow": "pending", "deny": "pending", "lose": "followers"}


class Known:
    """Looks it up; see ``forms.Lookup``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def item(self, person: Person, number: int) -> ItemAddress | None:
        """The item that was shown to somebody under that number."""
        return await self._database.read(chatting.item_of_number, person.account.key, number)

    async def newest(self, person: Person) -> ItemAddress | None:
        """The item that was shown to somebody last, if that was just now."""
        return await self._database.read(chatting.newest_shown, person.account.key)

    async def account(self, name: str) -> JID | None:
        """Somebody here of that name."""
        return await self._database.read(_account, name)

    async def people(self, person: Person, command: Command) -> Sequence[JID]:
        """Whom somebody may mean who uses that command."""
        match _ABOUT.get(command.name):
            case "pending":
                return await self._database.read(choosing.pending, person.jid, CHOICES_MAX)
            case "followers":
                return await self._database.read(choosing.followers, person.jid, CHOICES_MAX)
        return await self._database.read(choosing.followed, person.jid, CHOICES_MAX)


def _account(tx: Transaction, name: str) -> JID | None:
    account = tx.accounts.get(name)
    return None if account is None or account.disabled else account.jid(tx.domain)
