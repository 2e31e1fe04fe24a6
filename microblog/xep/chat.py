"""The node as somebody to talk to: what people write to the domain, or to ``post@``, is posted or done.

Each message is written down before it is done, so that one that comes twice is done once; those of one sender are done
one after the other (``commands.talking``). Nobody can read here what is encrypted, and what stands beside it is never
posted. Machines are not answered (see ``wire.chat``), and nobody is answered more than twenty times a minute, unless
nothing is counted (``rates = false``).

A message from another server counts as handled (XEP-0198, XEP-0199) when it has been done: if the node dies before,
that server tells the sender. What takes longer than a few seconds waits for somebody elsewhere, as a rule, and is not
waited for; nor does anything else that the server sends wait meanwhile.
"""

import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall

from microblog.commands.command import Person, Table
from microblog.commands.help import Help
from microblog.commands.speaker import Speaker
from microblog.commands.talking import Talking
from microblog.commands.texts import say
from microblog.model.errors import Refusal, ResourceConstraint
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import chatting
from microblog.wire import chat, ns
from microblog.wire.chat import Saying
from microblog.wire.stanza import Stanza
from microblog.xep.rates import Rate
from microblog.xmpp.dispatch import Extension, Spec
from microblog.xmpp.router import Router

ANSWERS_PER_MINUTE: Final = 20
LANE_MAX: Final = 20
LANES_MAX: Final = 10_000
HELD_SECONDS: Final = 10
# Those that nobody reads.
_DEAF: Final = frozenset(("noreply", "no-reply", "donotreply", "do-not-reply"))


class People(Protocol):
    """Who sends a stanza (``xep.people``)."""

    def person(self, stanza: Stanza) -> Awaitable[Person | None]:
        """Somebody with an account here."""

    def stranger(self, stanza: Stanza) -> Person | None:
        """Somebody without; None if it might be anybody."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A message that waits to be done. ``held``: until then, or until ``patience`` is over."""

    message: Stanza
    held: Deferred[None] | None = None
    patience: IDelayedCall | None = None

    def done(self) -> None:
        self.forget()
        if self.held is not None and not self.held.called:
            self.held.callback(None)

    def forget(self) -> None:
        if self.patience is not None and self.patience.active():
            self.patience.cancel()


class Chat(Extension):
    """Takes messages to the node (``take`` is ``Messages.node``).

    ``help`` says what strangers can do. ``begins`` hears of accounts that talk for the first time or from another
    address of the node, which is given.
    """

    specs = (
        Spec(66, "1.5", "partial"),
        Spec(224, "1.0", "partial"),
        Spec(308, "1.2.1"),
        Spec(334, "1.0.0", "partial"),
        Spec(424, "0.4.2", "partial"),
        Spec(428, "0.2.1", "partial"),
        Spec(444, "0.2.1"),
        Spec(461, "0.2.1"),
    )
    features = (ns.CORRECT, ns.RETRACT, ns.REACTIONS, ns.REPLY)

    def __init__(
        self,
        router: Router,
        database: Database,
        clock: Clock,
        tasks: Tasks,
        people: People,
        table: Table,
        help_: Help,
        begins: Callable[[JID, int, JID], None],
    ) -> None:
        self._router = router
        self._database = database
        self._tasks = tasks
        self._people = people
        self._help = help_
        self._begins = begins
        self.talking = Talking(database, clock, router.domain, table, router.send)
        self._rate = Rate(clock, database.limits.rate(ANSWERS_PER_MINUTE - 1), 60)
        self._warned = Rate(clock, 1, 60)
        self._clock = clock
        self._lanes: dict[JID, deque[_Taken]] = {}

    # taking messages

    async def take(self, message: Stanza) -> bool:
        """A message to the node; False if it is of a kind that is not for talking. Raises ResourceConstraint."""
        if message.type not in ("chat", "normal"):
            return False
        sender = message.from_.bare
        if not sender.localpart or self._router.is_node(sender) or sender.localpart in _DEAF:
            return True
        if chat.read_saying(message) is None:
            return True
        if not self._rate.allow(sender):
            if self._warned.allow(sender):
                self.talking.answer(message, say("en", "chat.too_many"), echo=True)
            return True
        lane = self._lanes.get(sender)
        if lane is not None:
            if len(lane) >= LANE_MAX:
                raise ResourceConstraint("too much at once: wait for the answers")
            lane.append(self._taken(message))
            return True
        if len(self._lanes) >= LANES_MAX:
            raise ResourceConstraint("too many people talk here just now")
        self._lanes[sender] = deque((self._taken(message),))
        self._tasks.spawn(self._work(sender), f"chat with {sender}")
        return True

    def _taken(self, message: Stanza) -> "_Taken":
        if message.from_.domainpart == self._router.domain:
            return _Taken(message)
        held = self._router.hold(message.from_.domainpart)
        return _Taken(message, held, self._clock.later(HELD_SECONDS, held.callback, None))

    async def _work(self, sender: JID) -> None:
        lane = self._lanes[sender]
        try:
            while lane:
                await self._guarded(lane[0].message)
                lane.popleft().done()
        except CancelledError:
            # The node stops: what was not done is not said to be.
            for taken in lane:
                taken.forget()
            raise
        finally:
            del self._lanes[sender]

    async def _guarded(self, message: Stanza) -> None:
        try:
            await self._hear(message)
        except CancelledError:
            raise
        except Refusal as refusal:
            self._router.bounce(message, refusal)
        except Exception:
            self.talking.answer(message, self.talking.incident(message, "en"), echo=True)

    async def _hear(self, message: Stanza) -> None:
        saying = chat.read_saying(message)
        assert saying is not None
        person = await self._people.person(message)
        if person is None:
            await self._stranger(message, saying)
            return
        wanted = chatting.Message(
            account=person.account.key,
            by=person.address.bare,
            id=saying.id,
            body_hash=_hash(saying),
            to=message.to.localpart,
        )
        heard = await self._database.write(chatting.hear, wanted)
        if heard.begins:
            self._begins(person.jid, person.account.key, message.to)
        if heard.again:
            return
        slash = heard.preferences.get(chatting.COMMANDS) == chatting.SLASH
        speaker = Speaker(person=person, message=message, saying=saying, ids=(heard.id,), same=heard.same, slash=slash)
        await self.talking.hear(speaker)

    async def _stranger(self, message: Stanza, saying: Saying) -> None:
        stranger = self._people.stranger(message)
        language = "en" if stranger is None else stranger.language
        if saying.encrypted:
            text = say(language, "chat.encrypted")
        elif stranger is None or not saying.text:
            text = say(language, "chat.stranger")
        else:
            text = await self.talking.hear_stranger(stranger, message, saying) or self._help.overview(stranger)
        self.talking.answer(message, text, language, echo=True)


def _hash(saying: Saying) -> bytes:
    return hashlib.blake2b(saying.text.encode(), digest_size=16).digest()
