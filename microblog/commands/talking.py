"""Talking: what somebody with an account here says to the node is done, and answered.

A message that answers another (XEP-0461) is the command that means the same, as are those that correct it, take it back
or react to it (``gestures``). What came late, what destroys, and what looks like a command and is none is asked about
first; whatever is said next is the answer, or the question is forgotten. Each message has at most one answer.
"""

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.commands.command import Answer, Call, Command, Person, Post, Table
from microblog.commands.gestures import EDIT, Gestures
from microblog.commands.help import label, usage
from microblog.commands.lines import answered_by, line
from microblog.commands.parsing import Misread, Parser, Reading, bound
from microblog.commands.speaker import Names, Speaker
from microblog.commands.texts import say
from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import chatting
from microblog.usecases.chatting import SAME_SECONDS
from microblog.wire import chat
from microblog.wire.chat import Saying
from microblog.wire.stanza import Stanza

TALKS_MAX: Final = 5000
QUESTION_SECONDS: Final = 120
MORE_SECONDS: Final = 1800
LATE_SECONDS: Final = 600
QUOTED_MAX: Final = 80


@dataclass(slots=True)
class _Talk:
    """What was said last to somebody: a question that waits for ``yes``, and what ``more`` does, each until when; and
    what they said last in private."""

    question: Callable[[Speaker], Awaitable[None]] | None = None
    question_until: float = 0
    more: Callable[[Call], Awaitable[Answer]] | None = None
    more_until: float = 0
    whispered: str = ""
    whispered_until: float = 0


class _Failure(Answer):
    """Why something was not done."""

    __slots__ = ()


class Talking:
    """All talks. ``send`` takes stanzas to wherever their addressee is."""

    _log = Logger()

    def __init__(
        self, database: Database, clock: Clock, domain: str, table: Table, send: Callable[[Stanza], None]
    ) -> None:
        self._database = database
        self._clock = clock
        self._domain = domain
        self._table = table
        self._send = send
        self._talks: OrderedDict[JID, _Talk] = OrderedDict()
        # What ``more`` shows if nothing was begun.
        self.waiting: Callable[[Call], Awaitable[Answer | None]] = _nothing
        self._parser = Parser(table=table, domain=domain)
        self._gestures = Gestures(database, table, self._parser, self)

    def incident(self, message: Stanza, language: str) -> str:
        """Called while handling an exception that is our bug: what to say of it."""
        number = secrets.token_hex(4)
        self._log.failure("incident {number}: a chat message from {sender} failed", number=number, sender=message.from_)
        return say(language, "chat.incident", number=number)

    async def hear(self, speaker: Speaker) -> None:
        """Do what somebody says."""
        saying = speaker.saying
        if saying.encrypted:
            self.tell(speaker, say(speaker.language, "chat.encrypted"))
        elif saying.retracts is not None:
            await self._gestures.retract(speaker, saying.retracts)
        elif saying.reacts_to is not None:
            await self._gestures.react(speaker, saying.reacts_to)
        elif self._is_late(saying):
            self._ask(speaker, self._was_late, "chat.late", when=str(saying.written or "?")[:16])
        else:
            await self._was_said(speaker)

    async def hear_stranger(self, stranger: Person, message: Stanza, saying: Saying) -> str:
        """Do what somebody without an account says; what to answer, empty for what is not for them."""
        language = stranger.language
        try:
            reading = await self._parser.read(saying.text, Names(self._database, 0))
        except Misread as misread:
            command = misread.command
            return self.problem(command, misread, language) if command is not None and command.strangers else ""
        if reading.plain or not reading.command.strangers:
            return ""
        call = Call(person=stranger, arguments=reading.arguments, message_id=saying.id)
        return (await self._call(message, reading.command, call)).text

    async def _was_said(self, speaker: Speaker) -> None:
        if speaker.saying.corrects is not None:
            await self._gestures.correct(speaker, speaker.saying.corrects)
        else:
            await self.words(speaker)

    def _is_late(self, saying: Saying) -> bool:
        if not saying.late:
            return False
        return saying.written is None or self._clock.now() - saying.written > timedelta(seconds=LATE_SECONDS)

    async def _was_late(self, speaker: Speaker) -> None:
        await self._was_said(speaker)

    # words

    async def words(self, speaker: Speaker) -> None:
        """Do what somebody says in words."""
        talk = self._talks.get(speaker.by)
        now = self._clock.monotonic()
        question = talk.question if talk is not None and now < talk.question_until else None
        if talk is not None:
            # Whatever is said now is the answer, or is not about it.
            talk.question = None
        target: ItemAddress | None = None
        if speaker.saying.answers is not None:
            found = await self._gestures.item_of(speaker, speaker.saying.answers)
            target = found if isinstance(found, ItemAddress) else None
        word = speaker.saying.text.casefold()
        led = word[:1] in ("/", ":")
        if not led and (target is not None or (speaker.slash and question is None)):
            word = ""
        match word[1:] if led else word:
            case "yes" if question is not None:
                await question(speaker)
            case "no" if question is not None:
                self.tell(speaker, say(speaker.language, "chat.left_alone"))
            case "yes" | "no":
                self.tell(speaker, say(speaker.language, "chat.no_question"))
            case "more":
                await self._more(speaker, talk.more if talk is not None and now < talk.more_until else None)
            case _:
                await self._read(speaker, target)

    async def _more(self, speaker: Speaker, more: Callable[[Call], Awaitable[Answer]] | None) -> None:
        call = Call(person=speaker.person, message_id=speaker.ids[0])
        await self._answer(speaker, None, await self._call(speaker.message, more or self._wait, call))

    async def _wait(self, call: Call) -> Answer:
        return await self.waiting(call) or Answer(text=say(call.person.language, "chat.no_more"))

    async def _read(self, speaker: Speaker, target: ItemAddress | None) -> None:
        """``target``: the post that they answer by a gesture."""
        names = Names(self._database, speaker.key, target)
        text = speaker.saying.text
        try:
            reading = await self._parser.read(text, names, slash=speaker.slash)
        except Misread as misread:
            command = misread.command
            if target is None or (command is not None and command.private):
                self._misread(speaker, misread)
                return
            reading = self._parser.post(text)
        reply = self._table.find("reply") if target is not None else None
        if reply is not None and not reading.command.private and text[:1] != "/":
            said = reading.text if text[:1] == "\\" else text
            reading = Reading(command=reply, arguments=bound(reply, target=target, text=said))
        await self.run(speaker, reading)

    def _misread(self, speaker: Speaker, misread: Misread) -> None:
        language = speaker.language
        text = self.problem(misread.command, misread, language)
        if not misread.offer:
            self.tell(speaker, text)
            return
        post = self._parser.post(speaker.saying.text)

        async def post_it(later: Speaker) -> None:
            await self.run(replace(speaker, message=later.message, person=later.person), post, confirmed=True)

        self._wait_for_yes(speaker, post_it)
        self.tell(speaker, f"{text} {say(language, 'chat.offer')}")

    def problem(self, command: Command | None, misread: Misread, language: str) -> str:
        """What could not be read, and how it is said."""
        problem = misread.problem
        use = "" if command is None else usage(command, language)
        what = ""
        if command is not None and problem.parameter is not None:
            what = label(command, problem.parameter, language).upper()
        name = "" if command is None else command.name
        said = say(language, f"chat.{problem.text}", command=name, label=what, word=problem.word, usage=use)
        parts = [say(language, "common.nothing_posted"), said]
        if use and problem.text in ("missing", "wrong", "too_much"):
            parts.append(say(language, "chat.usage", usage=use))
        return " ".join(parts)

    # doing

    async def run(
        self, speaker: Speaker, reading: Reading, *, confirmed: bool = False, became: ItemAddress | None = None
    ) -> None:
        """Do what was read, or ask first. ``became``: the post that the message stands for."""
        command, language = reading.command, speaker.language
        if command.admin and not speaker.person.account.admin:
            self.tell(speaker, say(language, "chat.not_for_you", command=command.name))
            return
        if not confirmed and self._was_just_said(speaker, command):
            self.tell(speaker, say(language, "chat.same"))
            return
        if command.destructive and not confirmed:

            async def do_it(later: Speaker) -> None:
                await self.run(replace(speaker, message=later.message, person=later.person), reading, confirmed=True)

            self._ask(speaker, do_it, "chat.sure")
            return
        call = Call(
            person=speaker.person,
            arguments=reading.arguments,
            message_id=speaker.ids[0],
            enclosures=speaker.saying.enclosures,
        )
        answer = await self._call(speaker.message, command, call)
        if command.private and not isinstance(answer, _Failure):
            talk = self._talk(speaker)
            talk.whispered, talk.whispered_until = speaker.saying.text, self._clock.monotonic() + SAME_SECONDS
        await self._answer(speaker, command, answer, became)

    def _was_just_said(self, speaker: Speaker, command: Command) -> bool:
        """Posts are known by the database; what was said in private became none."""
        talk = self._talks.get(speaker.by)
        if command.private and talk is not None and talk.whispered == speaker.saying.text:
            return self._clock.monotonic() < talk.whispered_until
        return speaker.same and (command.posting or command.private)

    async def _call(self, message: Stanza, what: Command | Callable[[Call], Awaitable[Answer]], call: Call) -> Answer:
        """What it answers, or why not."""
        language = call.person.language
        function = what.function if isinstance(what, Command) else what
        try:
            return await function(call)
        except Refusal as refusal:
            text = _sentence(refusal.text or say(language, "chat.cannot"))
            if isinstance(what, Command) and what.posting:
                text = f"{say(language, 'common.nothing_posted')} {text}"
            return _Failure(text=text)
        except CancelledError:
            raise
        except Exception:
            return _Failure(text=self.incident(message, language))

    async def _answer(
        self, speaker: Speaker, command: Command | None, answer: Answer, became: ItemAddress | None = None
    ) -> None:
        done = answer.done
        posted = command is not None and command.posting and command.name != EDIT
        if became is None and posted:
            became = done
        if became is not None and (became.service != speaker.person.jid or became.node != MICROBLOG):
            became = None
        numbers: dict[ItemAddress, int] = {}
        if answer.posts or done is not None or became is not None:
            wanted = chatting.Answered(
                account=speaker.key,
                by=speaker.by,
                ids=speaker.ids,
                became=became,
                done=done,
                posts=tuple(post.address for post in answer.posts),
                answered=tuple(filter(None, map(answered_by, answer.posts))),
            )
            numbers = await self._database.write(chatting.answered, wanted)
        self._keep_more(speaker, answer)
        lines = [self._line(speaker, post, numbers) for post in answer.posts]
        parts = [answer.text, *lines] if answer.text else lines
        if parts:
            # The echo of a new post is also its line: one can answer it.
            id_ = chat.line_id(numbers[done]) if posted and done is not None else None
            self.tell(speaker, "\n".join(parts), id_=id_, echo=not answer.posts)

    def _line(self, speaker: Speaker, post: Post, numbers: dict[ItemAddress, int]) -> str:
        return line(
            post,
            numbers[post.address],
            numbers,
            reader=speaker.person.jid,
            domain=self._domain,
            language=speaker.language,
        )

    def _keep_more(self, speaker: Speaker, answer: Answer) -> None:
        if answer.more is not None:
            talk = self._talk(speaker)
            talk.more, talk.more_until = answer.more, self._clock.monotonic() + MORE_SECONDS
        elif answer.posts and speaker.by in self._talks:
            self._talks[speaker.by].more = None

    # saying

    def _ask(self, speaker: Speaker, act: Callable[[Speaker], Awaitable[None]], text: str, **values: str) -> None:
        """Ask whether to do something. ``act`` is given whoever says yes, then."""
        said = " ".join(speaker.saying.text.split())
        quoted = said if len(said) <= QUOTED_MAX else said[: QUOTED_MAX - 1] + "…"

        async def as_it_was(later: Speaker) -> None:
            await act(replace(speaker, message=later.message, person=later.person))

        self._wait_for_yes(speaker, as_it_was)
        self.tell(speaker, say(speaker.language, text, said=quoted, **values))

    def _wait_for_yes(self, speaker: Speaker, act: Callable[[Speaker], Awaitable[None]]) -> None:
        talk = self._talk(speaker)
        talk.question, talk.question_until = act, self._clock.monotonic() + QUESTION_SECONDS

    def _talk(self, speaker: Speaker) -> _Talk:
        talk = self._talks.setdefault(speaker.by, _Talk())
        self._talks.move_to_end(speaker.by)
        while len(self._talks) > TALKS_MAX:
            self._talks.popitem(last=False)
        return talk

    def tell(self, speaker: Speaker, text: str, *, id_: str | None = None, echo: bool = True) -> None:
        """Answer what somebody has said."""
        self.answer(speaker.message, text, speaker.language, id_=id_, echo=echo)

    def answer(self, message: Stanza, text: str, language: str = "en", *, id_: str | None = None, echo: bool) -> None:
        """Answer a message, from the address that it was written to."""
        answer = chat.write(
            text,
            message.to,
            message.from_,
            type_=message.type,
            id_=id_ or secrets.token_urlsafe(9),
            language=language,
            echo=echo,
        )
        self._send(answer)


def _sentence(text: str) -> str:
    """A reason as it is said to people; what ends like a sentence is one already, and addresses stay as they are."""
    if text.endswith((".", "!", "?", '"')):
        return text
    return f"{text}." if "@" in text.split(" ", 1)[0] else f"{text[:1].upper()}{text[1:]}."


async def _nothing(call: Call) -> None:
    """Nothing waits."""
