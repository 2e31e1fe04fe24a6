"""Words for when chat brings new posts by itself: ``when``, ``on`` and ``off``; and ``more``, which shows what waits.

``off`` and ``on`` are for all of it, for one author or one tag, or for a time; one goes on following, and what is for
oneself comes from a paused author as well.
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person, Post
from microblog.commands.lines import name_of
from microblog.commands.texts import say
from microblog.model.access import audiences_allowed
from microblog.model.entry import Entry
from microblog.model.errors import NotAcceptable, ResourceConstraint
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import Node, profile
from microblog.model.uri import ItemAddress
from microblog.model.when import MINUTES_MAX, Policy, When
from microblog.store.database import Database, Transaction
from microblog.usecases import chatting, deferring
from microblog.usecases.chatting import EVERYTHING
from microblog.usecases.deferring import Waiting
from microblog.usecases.settling import SETTINGS
from microblog.wire import atom

_GROUP: Final = "delivery"
# What is paused is listed as far as it fits.
_NAMED_MAX: Final = 10
Refresh = Callable[[JID], Awaitable[None]]


class DeliveryWords:
    """The commands. ``now`` is the clock's; ``refresh`` hears that an account wants its lines otherwise."""

    def __init__(self, database: Database, now: Callable[[], datetime], refresh: Refresh) -> None:
        self._database = database
        self._now = now
        self._refresh = refresh

    def commands(self) -> Iterable[Command]:
        """All of them."""
        policy = Parameter(name="policy", kinds=(Kind.CHOICE,), choices=tuple(Policy), required=False)
        every = Parameter(name="every", kinds=(Kind.SPAN,), required=False)
        yield Command(name="when", group=_GROUP, function=self.when, parameters=(policy, every))
        source = Parameter(name="source", kinds=(Kind.PERSON, Kind.TAG), required=False)
        parameters = (source, Parameter(name="for", kinds=(Kind.FLAG,), required=False), _span())
        yield Command(
            name="on", group=_GROUP, function=self.on, parameters=(source,), aliases=("start", "wake"), alone=True
        )
        yield Command(
            name="off",
            group=_GROUP,
            function=self.off,
            parameters=parameters,
            aliases=("stop", "quit", "end", "pause"),
            alone=True,
        )

    # when

    async def when(self, call: Call) -> Answer:
        """``when [online|away [15m]|always|never]``."""
        person, policy, every = call.person, call.get("policy"), call.get("every")
        key = person.account.key
        known = await self._database.read(deferring.when, key)
        if policy is None and every is None:
            return Answer(text=await self._described(person, known))
        wanted = When(Policy(policy) if policy else Policy.AWAY, known.minutes)
        if every is not None:
            minutes = every // timedelta(minutes=1)
            if wanted.policy is not Policy.AWAY or minutes > MINUTES_MAX:
                raise NotAcceptable(_text(person, "how_often"))
            wanted = When(Policy.AWAY, minutes)
        await self._database.write(deferring.set_when, key, wanted)
        await self._refresh(person.jid)
        return Answer(text=await self._described(person, wanted))

    async def _described(self, person: Person, when: When) -> str:
        """How it is, and what is paused."""
        parts = [_text(person, f"when_{when.policy}", minutes=when.minutes)]
        preferences, paused = await self._database.read(_state, person.account.key)
        if preferences.get(chatting.CHAT) != chatting.ON or EVERYTHING in paused:
            parts.append(self._off_text(person, paused.get(EVERYTHING)))
        sources = sorted(source for source in paused if source)
        if sources:
            named = [self._paused(person, source, paused[source]) for source in sources[:_NAMED_MAX]]
            if len(sources) > _NAMED_MAX:
                named.append("…")
            parts.append(_text(person, "paused", sources=", ".join(named)))
        return " ".join(parts)

    def _paused(self, person: Person, source: str, until: datetime | None) -> str:
        name = self._name(source)
        return name if until is None else _text(person, "until", name=name, time=_time(until))

    def _off_text(self, person: Person, until: datetime | None) -> str:
        return _text(person, "off_now") if until is None else _text(person, "off_until", time=_time(until))

    # on and off

    async def on(self, call: Call) -> Answer:
        """``on [NAME|#TAG]``: new posts come by chat."""
        person, source = call.person, _source(call.get("source"))
        if not source:
            await self._database.write(_on, person.account.key)
            await self._refresh(person.jid)
            return Answer(text=_text(person, "on.done"))
        was_paused = await self._database.write(deferring.resume, person.account.key, source)
        await self._refresh(person.jid)
        text = "on.back" if was_paused else "on.already"
        return Answer(text=_text(person, text, name=self._name(source)))

    async def off(self, call: Call) -> Answer:
        """``off [NAME|#TAG] [for 2h]``: they do not."""
        person, source, span = call.person, _source(call.get("source")), call.get("span")
        if call.get("for") and span is None:
            raise NotAcceptable(_text(person, "how_long"))
        until = None if span is None else self._now() + span
        if not source and until is None:
            await self._database.write(chatting.set_delivery, person.account.key, False)
        elif not await self._database.write(deferring.pause, person.account.key, source, until):
            raise ResourceConstraint(_text(person, "too_many"))
        await self._refresh(person.jid)
        name = self._name(source)
        if until is None:
            return Answer(text=_text(person, "off.named", name=name) if source else _text(person, "off.done"))
        text = "off.named_until" if source else "off.until"
        return Answer(text=_text(person, text, name=name, time=_time(until)))

    def _name(self, source: str) -> str:
        return source if source.startswith("#") or not source else name_of(JID.parse(source), self._database.domain)

    # more

    async def waiting(self, call: Call) -> Answer | None:
        """``more`` when nothing was begun: what waits; None if nothing does."""
        return await self._page(0, call)

    async def _page(self, after: int, call: Call) -> Answer | None:
        person = call.person
        audiences = audiences_allowed(person.address.domainpart, local_domain=self._database.domain)
        most = await self._database.read(_limit, person.account.key)
        key = person.account.key
        found = await self._database.read(deferring.waiting, key, person.jid, most + 1, after, audiences)
        page = found[:most]
        posts = tuple(post for one in page if (post := read_waiting(one)) is not None)
        if not posts:
            # A page of what is gone, or not for where they speak from: behind it there may be more.
            return await self._page(page[-1].held.key, call) if len(found) > most else None
        more = partial(self._more, page[-1].held.key) if len(found) > most else None
        return Answer(text=_text(person, "waiting_more" if more else "waiting"), posts=posts, more=more)

    async def _more(self, after: int, call: Call) -> Answer:
        answer = await self._page(after, call)
        return Answer(text=say(call.person.language, "chat.no_more")) if answer is None else answer


def _span() -> Parameter:
    return Parameter(name="span", kinds=(Kind.SPAN,), required=False)


def _source(value: JID | str | None) -> str:
    """As a pause is kept: a person, or a tag with its ``#``."""
    if value is None:
        return EVERYTHING
    return str(value) if isinstance(value, JID) else f"#{value}"


def _state(tx: Transaction, key: int) -> tuple[dict[str, str], dict[str, datetime | None]]:
    return tx.preferences.of(key), tx.deferred.pauses(key)


def _on(tx: Transaction, key: int) -> None:
    chatting.set_delivery(tx, key, True)
    deferring.resume(tx, key, EVERYTHING)


def _limit(tx: Transaction, key: int) -> int:
    return int(tx.preferences.get(key, "limit") or SETTINGS["limit"].default)


def read_waiting(waiting: Waiting) -> Post | None:
    """The post of a line that waited; None if there is none any more, or it is not for them."""
    if waiting.node is not None and waiting.item is not None:
        entry = atom.read_text(waiting.item.payload)
        return None if entry is None else Post(node=waiting.node, item=waiting.item, entry=entry)
    if waiting.address is None or not waiting.address.item_id or not waiting.payload:
        return None
    entry = atom.read_text(waiting.payload)
    return None if entry is None else _elsewhere(waiting, waiting.address, waiting.address.item_id, entry)


def _elsewhere(waiting: Waiting, address: ItemAddress, item_id: str, entry: Entry) -> Post:
    """A post of which there is no copy here."""
    service, node = address.service, address.node
    written = entry.published or entry.updated or waiting.held.created
    item = Item(
        id=item_id,
        publisher=service.bare,
        payload=waiting.payload,
        published=written,
        updated=entry.updated or written,
        audience=Audience.PUBLIC,
        thread=entry.thread,
        answers=entry.answers,
        via=entry.via,
    )
    return Post(node=Node(key=0, service=service, name=node, config=profile(node)), item=item, entry=entry)


def _time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{_GROUP}.{text}", **values)
