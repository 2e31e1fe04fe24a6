"""``list``, ``unlist``, ``lists``: lists of people. What those in one write is shown by ``timeline LIST``."""

from collections.abc import Callable, Iterable
from typing import Final

from microblog.commands.command import Answer, Call, Command, Kind, Parameter
from microblog.commands.lines import name_of
from microblog.commands.texts import say
from microblog.model.errors import ItemNotFound, NotAcceptable, ResourceConstraint
from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.usecases import listing_people
from microblog.usecases.listing_people import LISTS_MAX, MEMBERS_MAX, PEOPLE_MAX, ListChange

_GROUP: Final = "quiet"
_ALL: Final = "all"


class ListWords:
    """The commands. ``changed`` hears of the lists that are not as they were: whose, and their names."""

    def __init__(self, database: Database, changed: Callable[[JID, str], None]) -> None:
        self._database = database
        self._changed = changed

    def commands(self) -> Iterable[Command]:
        """All of them."""
        person = Parameter(name="person", kinds=(Kind.PERSON,))
        anybody = Parameter(name="person", kinds=(Kind.CHOICE, Kind.PERSON), choices=(_ALL,))
        name = Parameter(name="name", kinds=(Kind.WORD,))
        one = Parameter(name="name", kinds=(Kind.WORD,), required=False)
        yield Command(name="list", group=_GROUP, function=self.list, parameters=(person, name))
        yield Command(name="unlist", group=_GROUP, function=self.unlist, parameters=(anybody, name))
        yield Command(name="lists", group=_GROUP, function=self.lists, parameters=(one,))

    async def list(self, call: Call) -> Answer:
        """``list NAME LIST``: put somebody into a list."""
        jid = call.arguments["person"]
        try:
            done = await self._database.write(listing_people.put, self._change(call, jid))
        except NotAcceptable:
            raise NotAcceptable(_text(call, "list_name", name=_quoted(call))) from None
        except ResourceConstraint:
            text = _text(call, "list_full", lists=LISTS_MAX, people=MEMBERS_MAX, all=PEOPLE_MAX)
            raise ResourceConstraint(text) from None
        self._changed(call.person.jid, done.name)
        who = self._name(jid)
        parts = [_text(call, "listed", who=who, name=done.name, number=done.people)]
        parts += [] if done.heard else [_text(call, "list_unheard", who=who)]
        return Answer(text=" ".join(parts))

    async def unlist(self, call: Call) -> Answer:
        """``unlist NAME LIST``, ``unlist all LIST``: take somebody or everybody out of it."""
        jid = call.arguments["person"]
        everybody = jid == _ALL
        try:
            done = await self._database.write(listing_people.take_out, self._change(call, None if everybody else jid))
        except (ItemNotFound, NotAcceptable):
            if everybody:
                raise ItemNotFound(_text(call, "list_none", name=_quoted(call))) from None
            raise ItemNotFound(_text(call, "list_not_in", who=self._name(jid), name=_quoted(call))) from None
        self._changed(call.person.jid, done.name)
        if not done.people:
            return Answer(text=_text(call, "list_ended", name=done.name))
        return Answer(text=_text(call, "unlisted", who=self._name(jid), name=done.name, number=done.people))

    async def lists(self, call: Call) -> Answer:
        """``lists``: which there are; ``lists LIST``: who is in one."""
        name, key = call.get("name"), call.person.account.key
        if name is not None:
            try:
                people = await self._database.read(listing_people.members, key, name)
            except (ItemNotFound, NotAcceptable):
                raise ItemNotFound(_text(call, "list_none", name=_quoted(call))) from None
            names = [self._name(jid) for jid in people]
            text = _text(call, "list_people", name=name, number=len(names), names=", ".join(names))
            return Answer(text=text, form=tuple((one, "") for one in names))
        found = await self._database.read(listing_people.lists, key)
        if not found:
            return Answer(text=_text(call, "lists_none"))
        lines = [_text(call, "lists_one", name=name, number=number) for name, number in found]
        form = tuple((name, str(number)) for name, number in found)
        return Answer(text="\n".join((_text(call, "lists_all"), *lines)), form=form)

    def _change(self, call: Call, jid: JID | None) -> ListChange:
        person = call.person
        return ListChange(owner=person.jid, account=person.account.key, name=call.arguments["name"], jid=jid)

    def _name(self, jid: JID) -> str:
        return name_of(jid, self._database.domain)


def _quoted(call: Call) -> str:
    return str(call.arguments["name"])[:40]


def _text(call: Call, text: str, **values: object) -> str:
    return say(call.person.language, f"{_GROUP}.{text}", **values)
