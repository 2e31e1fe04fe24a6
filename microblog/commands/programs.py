"""Programs that are told what happens: ``programs`` and ``program``.

A program makes its own subscription when it opens its stream (docs/protocol/events.md); here its owner sees what there
is, makes one beforehand, gives it other sources, or ends it. Webhooks are listed, and have a word of their own.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person
from microblog.commands.texts import say
from microblog.model.errors import NotAcceptable
from microblog.model.jid import JID
from microblog.model.program import Program, Source, is_name
from microblog.store.database import Database
from microblog.usecases import informing
from microblog.usecases.informing import Make

GROUP: Final = "programs"
OFF: Final = "off"
_ORDER: Final = list(Source)


class ProgramWords:
    """``reader``: who reads the events of somebody's program now. ``changed``: it has other sources; ``removed``: it is
    no more.
    """

    def __init__(
        self,
        database: Database,
        reader: Callable[[JID, str], JID | None],
        changed: Callable[[JID, Program], None],
        removed: Callable[[JID, str], None],
    ) -> None:
        self._database = database
        self._reader = reader
        self._changed = changed
        self._removed = removed

    def commands(self) -> Iterable[Command]:
        """Both."""
        yield Command(name="programs", group=GROUP, function=self.programs, alone=True)
        yield Command(
            name="program",
            group=GROUP,
            function=self.program,
            parameters=(
                Parameter(name="name", kinds=(Kind.WORD,)),
                Parameter(name="sources", kinds=(Kind.TEXT,), required=False),
            ),
            private=True,
        )

    async def programs(self, call: Call) -> Answer:
        """All that somebody has."""
        person = call.person
        found = await self._database.read(informing.programs, person.account)
        if not found:
            return Answer(text=_text(person, "none"))
        return Answer(text="\n".join(self._line(person, program) for program in found))

    async def program(self, call: Call) -> Answer:
        """``program NAME``, ``program NAME home calls``, ``program NAME off``. Raises what ``informing`` does."""
        person, name = call.person, str(call.arguments["name"]).casefold()
        if not is_name(name):
            raise NotAcceptable(_text(person, "no_name"))
        words = str(call.get("sources") or "").replace(",", " ").casefold().split()
        if not words:
            return Answer(text=self._line(person, await self._database.read(informing.find, person.account, name)))
        if words == [OFF]:
            return await self._end(person, name)
        try:
            sources = frozenset(map(Source, words))
        except ValueError:
            raise NotAcceptable(_text(person, "no_source", sources=", ".join(_ORDER))) from None
        made = await self._database.write(informing.make, Make(account=person.account, name=name, sources=sources))
        self._changed(person.jid, made)
        return Answer(text=_text(person, "made", name=name, sources=_listed(made)))

    async def _end(self, person: Person, name: str) -> Answer:
        found = await self._database.read(informing.find, person.account, name)
        if found.url:
            raise NotAcceptable(_text(person, "webhook_stays", name=name))
        await self._database.write(informing.remove, person.account, name)
        self._removed(person.jid, name)
        return Answer(text=_text(person, "ended", name=name))

    def _line(self, person: Person, program: Program) -> str:
        reader = self._reader(person.jid, program.name)
        if program.url:
            state = _text(person, "webhook")
        elif reader is not None:
            state = _text(person, "there", jid=reader)
        elif program.acknowledged is not None:
            state = _text(person, "away", since=_written(program.acknowledged))
        else:
            state = _text(person, "never")
        line = _text(person, "line", name=program.name, sources=_listed(program), state=state)
        return f"{line} {program.problem}".strip()


def _listed(program: Program) -> str:
    return ", ".join(source for source in _ORDER if source in program.sources)


def _written(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{GROUP}.{text}", **values)
