"""What a message says of another one: it corrects it, takes it back, or reacts to it (XEP-0308, XEP-0424, XEP-0444).

Each is the command that means the same, for the post that the other message became or showed.
"""

from collections.abc import Awaitable
from typing import Final, Protocol

from twisted.internet.defer import CancelledError

from microblog.commands.command import Call, Command, Table
from microblog.commands.parsing import Misread, Parser, Reading, bound
from microblog.commands.speaker import Names, Speaker
from microblog.commands.texts import say
from microblog.model.errors import Refusal
from microblog.model.item import Audience
from microblog.model.uri import ItemAddress
from microblog.store.database import Database
from microblog.usecases import chatting
from microblog.wire import chat
from microblog.wire.stanza import Stanza

EDIT: Final = "edit"


class Doing(Protocol):
    """Where commands are done and people are answered (``Talking``)."""

    def words(self, speaker: Speaker) -> Awaitable[None]:
        """Do what somebody says in words."""

    def run(
        self, speaker: Speaker, reading: Reading, *, confirmed: bool = False, became: ItemAddress | None = None
    ) -> Awaitable[None]:
        """Do what was read."""

    def tell(self, speaker: Speaker, text: str) -> None:
        """Answer."""

    def problem(self, command: Command | None, misread: Misread, language: str) -> str:
        """What could not be read."""

    def incident(self, message: Stanza, language: str) -> str:
        """What to say of a bug of ours."""


class Gestures:
    """All three, and which posts messages stand for."""

    def __init__(self, database: Database, table: Table, parser: Parser, doing: Doing) -> None:
        self._database = database
        self._table = table
        self._parser = parser
        self._doing = doing

    async def item_of(self, speaker: Speaker, message_id: str) -> ItemAddress | str | None:
        """The item of a line of ours, or of a message of theirs; "" for a message that became none."""
        number = chat.number_of(message_id)
        if number is not None:
            found = await self._database.read(chatting.item_of_number, speaker.key, number)
            if found is not None:
                return found
        return await self._item_said(speaker, message_id)

    async def _item_said(self, speaker: Speaker, message_id: str) -> ItemAddress | str | None:
        return await self._database.read(
            chatting.item_of_message, speaker.person.jid, speaker.key, speaker.by, message_id
        )

    async def correct(self, speaker: Speaker, message_id: str) -> None:
        """What they said shall have been something else."""
        item = await self._item_said(speaker, message_id)
        if item == "":
            await self._doing.words(speaker)
            return
        edit = self._table.find(EDIT)
        if not isinstance(item, ItemAddress) or edit is None:
            self._doing.tell(speaker, say(speaker.language, "chat.nothing_to_correct"))
            return
        try:
            reading = await self._parser.read(
                speaker.saying.text, Names(self._database, speaker.key, item), slash=speaker.slash
            )
        except Misread as misread:
            self._doing.tell(speaker, self._doing.problem(misread.command, misread, speaker.language))
            return
        if not reading.text or not await self._corrects(item, reading):
            self._doing.tell(speaker, say(speaker.language, "chat.no_correction"))
            return
        done = Reading(command=edit, arguments=bound(edit, target=item, text=reading.text))
        await self._doing.run(speaker, done, confirmed=True, became=item)

    async def _corrects(self, item: ItemAddress, reading: Reading) -> bool:
        """May that become the text of an item? What is private, only of an item that is."""
        if reading.command.private:
            return await self._database.read(chatting.audience_of, item) is Audience.DIRECT
        return reading.plain or reading.command.posting

    async def retract(self, speaker: Speaker, message_id: str) -> None:
        """They did not want to have said it."""
        item = await self._item_said(speaker, message_id)
        delete = self._table.find("delete")
        if item == "":
            return
        if not isinstance(item, ItemAddress) or delete is None:
            self._doing.tell(speaker, say(speaker.language, "chat.not_known"))
            return
        await self._doing.run(speaker, Reading(command=delete, arguments=bound(delete, target=item)), confirmed=True)

    async def react(self, speaker: Speaker, message_id: str) -> None:
        """They say emoji to it."""
        item = await self.item_of(speaker, message_id)
        if not isinstance(item, ItemAddress):
            self._doing.tell(speaker, say(speaker.language, "chat.not_known"))
            return
        command = self._table.find("react")
        if command is None:
            self._doing.tell(speaker, say(speaker.language, "chat.cannot"))
            return
        # What a client says is all there is from now on, and nothing takes everything back.
        arguments = {**bound(command, target=item), "reactions": speaker.saying.reactions}
        failure = await self._failure(command, Call(person=speaker.person, arguments=arguments), speaker)
        if failure:
            self._doing.tell(speaker, failure)

    async def _failure(self, command: Command, call: Call, speaker: Speaker) -> str:
        """What went wrong; a gesture that was understood has no other answer."""
        try:
            await command.function(call)
        except Refusal as refusal:
            return refusal.text or say(speaker.language, "chat.cannot")
        except Exception as error:
            if isinstance(error, CancelledError):
                raise
            return self._doing.incident(speaker.message, speaker.language)
        return ""
