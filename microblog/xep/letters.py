"""Posts of other nodes that name somebody here, as messages from their author.

Whoever reads feeds or gets lines of chat is told of such a post there. To everybody else it is what a server without
feeds would have been sent: an ordinary message (``wire.mention``). It was kept in the transaction that stored the post
(``usecases.accepting``), so that no crash can lose it; here it is decided whether they need it. Who is not there gets
it when they come, as any message that was kept for them (``im.held``).
"""

from collections.abc import Sequence

from microblog.im.held import HeldMessages
from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.runtime import Tasks
from microblog.store.database import Database
from microblog.usecases import holding
from microblog.usecases.accepting import Letter
from microblog.wire import ns
from microblog.xep.chatlines import ChatLines
from microblog.xmpp.sessions import Sessions


class Letters:
    """``hand_over`` hears of them (``Intake.letters``)."""

    def __init__(
        self, sessions: Sessions, database: Database, held: HeldMessages, lines: ChatLines, tasks: Tasks
    ) -> None:
        self._sessions = sessions
        self._database = database
        self._held = held
        self._lines = lines
        self._tasks = tasks

    def hand_over(self, letters: Sequence[Letter]) -> None:
        """They are kept; to whoever is there they are given, or not needed."""
        for letter in letters:
            if self._is_told(letter):
                self._tasks.spawn(self._drop(letter), f"a message for {letter.account}")
            else:
                self._held.hand_over(letter.account)

    def _is_told(self, letter: Letter) -> bool:
        return self._lines.listens(letter.account) or (letter.direct and self._reads_feeds(letter.account))

    def _reads_feeds(self, account: JID) -> bool:
        sessions = self._sessions.available(account)
        return any(ns.MICROBLOG in session.notify for session in sessions if session.priority >= 0)

    async def _drop(self, letter: Letter) -> None:
        try:
            await self._database.write(holding.delivered, letter.account, (letter.key,))
        except Refusal:
            return  # then they are told twice
