"""``hook``: have the node call a program of one's own with what happens (docs/programs.md)."""

from collections.abc import Callable, Iterable
from typing import Final

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person
from microblog.commands.texts import say
from microblog.http import check_url
from microblog.model.errors import NotAcceptable
from microblog.model.program import Source, is_name
from microblog.store.database import Database
from microblog.store.webhooks import Webhook
from microblog.usecases import hooking
from microblog.wire import webhook as signing

GROUP: Final = "hooks"
OFF: Final = "off"
AGAIN: Final = "again"
USUAL: Final = (Source.OWN, Source.MENTIONS, Source.HOME)


class HookWords:
    """``changed``: there are others than before, or one is to be called again. ``private``: plain http will do."""

    def __init__(self, database: Database, changed: Callable[[], None], *, private: bool) -> None:
        self._database = database
        self._changed = changed
        self._private = private

    def commands(self) -> Iterable[Command]:
        """The one."""
        yield Command(
            name="hook",
            group=GROUP,
            function=self.hook,
            parameters=(
                Parameter(name="name", kinds=(Kind.WORD,)),
                Parameter(name="url", kinds=(Kind.TEXT,), required=False),
            ),
            private=True,
        )

    async def hook(self, call: Call) -> Answer:
        """``hook NAME``, ``hook NAME URL home calls``, ``hook NAME again``, ``hook NAME off``."""
        person, name = call.person, str(call.arguments["name"]).casefold()
        if not is_name(name):
            raise NotAcceptable(_text(person, "no_name"))
        url, *words = str(call.get("url") or "").split() or [""]
        if url.casefold() == OFF and not words:
            await self._database.write(hooking.remove, person.account, name)
            self._changed()
            return Answer(text=_text(person, "ended", name=name))
        if url.casefold() == AGAIN and not words:
            await self._database.write(hooking.resume, person.account, name)
            self._changed()
            return Answer(text=_text(person, "resumed", name=name))
        if url:
            return await self._add(person, name, url, " ".join(words).casefold().replace(",", " ").split())
        return _shown(person, await self._database.read(hooking.find, person.account, name))

    async def _add(self, person: Person, name: str, url: str, words: list[str]) -> Answer:
        try:
            sources = tuple(map(Source, words)) or USUAL
        except ValueError:
            raise NotAcceptable(_text(person, "no_source", sources=", ".join(Source))) from None
        try:
            check_url(url, plain=self._private)
        except ValueError as error:
            raise NotAcceptable(str(error)) from None
        secret = signing.new_secret()
        made = await self._database.write(hooking.add, person.account, name, url, secret, sources)
        self._changed()
        told = ", ".join(source for source in Source if source in sources)
        return Answer(text=_text(person, "made", name=made.name, url=made.url, sources=told, secret=secret))


def _shown(person: Person, webhook: Webhook) -> Answer:
    values = {"name": webhook.name, "url": webhook.url, "problem": webhook.problem, "number": webhook.failures}
    if webhook.is_given_up:
        return Answer(text=_text(person, "shown_given_up", **values))
    return Answer(text=_text(person, "shown_failing" if webhook.failures else "shown", **values))


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{GROUP}.{text}", **values)
