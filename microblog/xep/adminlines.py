"""What the administrators of this node should know, as a line of chat for each of them."""

from collections.abc import Callable
from functools import partial

from twisted.logger import Logger

from microblog.commands.texts import say
from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.runtime import Tasks
from microblog.store.database import Database
from microblog.usecases import administering, reaching
from microblog.usecases.chatting import Delivery
from microblog.usecases.reaching import Reach
from microblog.wire import chat
from microblog.wire.stanza import Stanza


class AdminLines:
    """``send`` takes stanzas to people here, ``wake`` is the outbox's."""

    _log = Logger()

    def __init__(
        self, database: Database, tasks: Tasks, send: Callable[[Stanza], None], wake: Callable[[str], None]
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._send = send
        self._wake = wake

    def doubted(self, domain: str) -> None:
        """A domain seems to be somebody else now."""
        self.tell("chat.domain_doubted", domain=domain)

    def tell(self, text: str, **values: str) -> None:
        """Say a text to all of them."""
        self._tasks.spawn(self._tell(text, values), f"administrators are told {text}")

    async def _tell(self, text: str, values: dict[str, str]) -> None:
        try:
            for administrator in await self._database.read(administering.administrators):
                await self._say(administrator, text, values)
        except Refusal as refusal:
            self._log.warn("Administrators are not told {text}: {why}", text=text, why=refusal.text)

    async def _say(self, administrator: JID, text: str, values: dict[str, str]) -> None:
        line = partial(self._line, text, values)
        wanted = Reach(account=administrator, write=lambda delivery, to: line(delivery, to).to_bytes().decode())
        reached = await self._database.write(reaching.reach, wanted)
        if reached is None:
            return
        self._send(line(reached.delivery, administrator))
        for domain in reached.domains:
            self._wake(domain)

    def _line(self, text: str, values: dict[str, str], delivery: Delivery, to: JID) -> Stanza:
        sender = JID(delivery.sender, self._database.domain)
        return chat.write(say(delivery.language, text, **values), sender, to, language=delivery.language)
