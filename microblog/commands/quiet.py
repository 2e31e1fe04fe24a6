"""``mute``, ``unmute``, ``mutes``; ``block``, ``unblock``, ``blocks``: what and whom one does not want to hear of.

To mute is for one's own eyes: a person, a domain, a tag, words, or the conversation of a post, for ever or for a time.
To block somebody, or all of a domain, works in all directions (XEP-0191). Neither is told to whom it is about. They are
private words: what was not understood is not offered as a post, and names whom it names to nobody.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person
from microblog.commands.lines import name_of
from microblog.commands.parsing import read_span
from microblog.commands.texts import say
from microblog.model.errors import (
    BadRequest,
    ItemNotFound,
    JIDMalformed,
    NotAcceptable,
    NotAllowed,
    ResourceConstraint,
)
from microblog.model.jid import JID
from microblog.model.jid import domain as domain_of
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.quiet import Mute, MuteKind
from microblog.model.uri import ItemAddress, read_uri
from microblog.store.database import Database, Transaction
from microblog.usecases import blocking, muting
from microblog.usecases.muting import MuteThis

PAGE: Final = 20
_GROUP: Final = "quiet"
_ALL: Final = "all"
_FOR: Final = "for"
_DOMAIN_MAX_CHARACTERS: Final = 255
_QUOTES: Final = '"\u201c\u201d\u201e'


class Blocks(Protocol):
    """How addresses are blocked."""

    def block(self, account: JID, jids: tuple[JID, ...]) -> Awaitable[tuple[JID, ...]]:
        """Block them; those that were not. Raises NotAllowed, ResourceConstraint."""

    def unblock(self, account: JID, jids: tuple[JID, ...] | None) -> Awaitable[tuple[JID, ...]]:
        """Unblock them, or all; those that were."""


class QuietWords:
    """The commands. ``now`` is the clock's; ``set_mutes`` hears what somebody mutes now."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        set_mutes: Callable[[JID, Iterable[Mute]], None],
        blocks: Blocks,
    ) -> None:
        self._database = database
        self._now = now
        self._set_mutes = set_mutes
        self._blocks = blocks

    def commands(self) -> Iterable[Command]:
        """All of them."""
        kinds = (Kind.ITEM, Kind.PERSON, Kind.TEXT)
        what = Parameter(name="what", kinds=kinds)
        muted = Parameter(name="what", kinds=(Kind.CHOICE, *kinds), choices=(_ALL,))
        for_ = Parameter(name=_FOR, kinds=(Kind.FLAG,), required=False)
        span = Parameter(name="span", kinds=(Kind.SPAN,), required=False)
        whom = Parameter(name="person", kinds=(Kind.PERSON, Kind.WORD))
        blocked = Parameter(name="person", kinds=(Kind.CHOICE, Kind.PERSON, Kind.WORD), choices=(_ALL,))
        yield self._command("mute", self.mute, what, for_, span)
        yield self._command("unmute", self.unmute, muted)
        yield Command(name="mutes", group=_GROUP, function=self.mutes, alone=True)
        yield self._command("block", self.block, whom)
        yield self._command("unblock", self.unblock, blocked)
        yield Command(name="blocks", group=_GROUP, function=self.blocks, alone=True)

    def _command(self, name: str, function: Callable[[Call], Awaitable[Answer]], *parameters: Parameter) -> Command:
        return Command(name=name, group=_GROUP, function=function, parameters=parameters, private=True)

    # mutes

    async def mute(self, call: Call) -> Answer:
        """``mute NAME|DOMAIN|#TAG|#NUMBER|WORDS [for 2h]``."""
        person, what, span = call.person, call.arguments["what"], call.get("span")
        if isinstance(what, str) and span is None:
            what, span = _timed(what)
        if call.get(_FOR) and span is None:
            raise NotAcceptable(_text(person, "mute_how_long"))
        until = None if span is None else self._now() + span
        try:
            done, mutes = await self._database.write(_mute, self._wanted(call, what, until))
        except (NotAllowed, BadRequest, ResourceConstraint) as refusal:
            raise _told(person, refusal) from None
        self._set_mutes(person.jid, mutes)
        name = self._described(person, done, None)
        if until is None:
            return Answer(text=_text(person, "muted", what=name))
        return Answer(text=_text(person, "muted_until", what=name, time=_time(until)))

    async def unmute(self, call: Call) -> Answer:
        """``unmute`` what was muted, or ``all``."""
        person, what = call.person, call.arguments["what"]
        if what == _ALL:
            number = await self._database.write(muting.unmute_all, person.account.key)
            self._set_mutes(person.jid, ())
            return Answer(text=_text(person, "unmuted_all", number=number))
        try:
            done, mutes = await self._database.write(_unmute, self._wanted(call, what), self._others(what))
        except ItemNotFound:
            raise ItemNotFound(_text(person, "not_muted")) from None
        except BadRequest as refusal:
            raise _told(person, refusal) from None
        self._set_mutes(person.jid, mutes)
        return Answer(text=_text(person, "unmuted", what=self._described(person, done, None)))

    def _wanted(self, call: Call, what: Any, until: datetime | None = None) -> MuteThis:
        if isinstance(what, str):
            what = _read(what)
        return MuteThis(account=call.person.account.key, actor=call.person.jid, what=what, until=until)

    def _others(self, what: Any) -> tuple[Mute, ...]:
        """What else may be meant: somebody who is not here any more."""
        if not isinstance(what, str) or " " in what:
            return ()
        return (
            Mute(kind=MuteKind.PERSON, value=f"{what}@{self._database.domain}"),
            Mute(kind=MuteKind.THREAD, value=what),
            Mute(kind=MuteKind.WORD, value=what),
        )

    async def mutes(self, call: Call) -> Answer:
        """``mutes``: everything."""
        rows = await self._database.read(_listed, call.person.account.key)
        lines = [
            (self._described(call.person, mute, number), "" if mute.until is None else _time(mute.until))
            for mute, number in rows
        ]
        return self._list(lines, "mutes", 0, call)

    def _described(self, person: Person, mute: Mute, number: int | None) -> str:
        match mute.kind:
            case MuteKind.PERSON:
                return self._name(JID.parse(mute.value))
            case MuteKind.DOMAIN:
                return _text(person, "mute_domain", name=mute.value)
            case MuteKind.TAG:
                return f"#{mute.value}"
            case MuteKind.WORD:
                return f'"{mute.value}"'
        root = read_uri(mute.value)
        name = mute.value if root is None else self._name(root.service)
        return _text(person, "mute_thread" if number is None else "mute_thread_number", name=name, number=number)

    # blocks

    async def block(self, call: Call) -> Answer:
        """``block NAME|DOMAIN``."""
        person, jid = call.person, self._whom(call)
        try:
            new = await self._blocks.block(person.jid, (jid,))
        except (NotAllowed, ResourceConstraint) as refusal:
            raise _told(person, refusal, "block") from None
        text = "blocked_domain" if not jid.localpart else "blocked" if new else "blocked_before"
        return Answer(text=_text(person, text, name=self._name(jid)))

    async def unblock(self, call: Call) -> Answer:
        """``unblock NAME|DOMAIN``, or ``all``."""
        person = call.person
        if call.arguments["person"] == _ALL:
            gone = await self._blocks.unblock(person.jid, None)
            return Answer(text=_text(person, "unblocked_all", number=len(gone)))
        jid = self._whom(call, gone=True)
        if not await self._blocks.unblock(person.jid, (jid,)):
            raise ItemNotFound(_text(person, "not_blocked", name=self._name(jid)))
        return Answer(text=_text(person, "unblocked", name=self._name(jid)))

    def _whom(self, call: Call, *, gone: bool = False) -> JID:
        """Somebody, or a domain; with ``gone`` somebody who was here once."""
        who = call.arguments["person"]
        if isinstance(who, JID):
            return who
        found = _domain(who)
        if found is None and gone:
            try:
                found = JID.parse(f"{who}@{self._database.domain}")
            except JIDMalformed:
                found = None
        if found is None:
            raise ItemNotFound(_text(call.person, "nobody", name=who[:80]))
        return found

    async def blocks(self, call: Call) -> Answer:
        """``blocks``: everybody."""
        jids = await self._database.read(blocking.blocked, call.person.account.key)
        return self._list([(self._name(jid), "") for jid in jids], "blocks", 0, call)

    # lists

    def _list(self, rows: Sequence[tuple[str, str]], text: str, at: int, call: Call) -> Answer:
        person = call.person
        if not rows:
            return Answer(text=_text(person, f"{text}_none"))
        page = rows[at : at + PAGE]
        lines = [_text(person, "until", what=what, time=until) if until else what for what, until in page]
        if not at:
            lines.insert(0, _text(person, f"{text}_all", number=len(rows)))
        more = None
        if len(rows) > at + PAGE:
            lines.append(_text(person, "more"))
            more = partial(self._go_on, rows, text, at + PAGE)
        return Answer(text="\n".join(lines), more=more, form=tuple(page))

    async def _go_on(self, rows: Sequence[tuple[str, str]], text: str, at: int, call: Call) -> Answer:
        return self._list(rows, text, at, call)

    def _name(self, jid: JID) -> str:
        return name_of(jid, self._database.domain) if jid.localpart and not jid.resourcepart else str(jid)


def _read(text: str) -> muting.What:
    """A tag, a domain, or words; what is in quotation marks is words."""
    if len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        return text[1:-1]
    return _domain(text) or text


def _domain(text: str) -> JID | None:
    """A domain, if that is what was written: its name has a dot in it."""
    text = text.strip().removeprefix("@")
    if (
        len(text) > _DOMAIN_MAX_CHARACTERS
        or "." not in text.strip(".")
        or any(character.isspace() or character in "@/" for character in text)
    ):
        return None
    try:
        return JID("", domain_of(text))
    except JIDMalformed:
        return None


def _timed(text: str) -> tuple[str, timedelta | None]:
    """What was written before ``for 2h``, and how long that is."""
    words, _, last = text.rpartition(" ")
    span = read_span(last)
    words, _, for_ = words.rstrip().rpartition(" ")
    if span is None or not words.strip() or for_.casefold() != _FOR:
        return text, None
    return words.strip(), span


def _time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def _told(person: Person, refusal: Exception, word: str = "mute") -> Exception:
    """A refusal in the person's words."""
    if isinstance(refusal, NotAllowed):
        return NotAllowed(_text(person, "oneself"))
    if isinstance(refusal, ResourceConstraint):
        most = muting.MUTES_MAX if word == "mute" else blocking.BLOCKS_MAX
        return ResourceConstraint(_text(person, f"{word}_enough", number=most))
    return BadRequest(_text(person, "mute_what"))


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{_GROUP}.{text}", **values)


def _mute(tx: Transaction, request: MuteThis) -> tuple[Mute, tuple[Mute, ...]]:
    return muting.mute(tx, request), muting.mutes(tx, request.account)


def _unmute(tx: Transaction, request: MuteThis, others: Iterable[Mute]) -> tuple[Mute, tuple[Mute, ...]]:
    try:
        done = muting.unmute(tx, request)
    except ItemNotFound:
        found = [one for one in others if tx.mutes.remove(request.account, one.kind, one.value)]
        if not found:
            raise
        done = found[0]
    return done, muting.mutes(tx, request.account)


def _listed(tx: Transaction, account: int) -> list[tuple[Mute, int | None]]:
    """What somebody muted; of threads the number of the post with which they began, if it has one."""
    return [(mute, _number(tx, account, mute)) for mute in muting.mutes(tx, account)]


def _number(tx: Transaction, account: int, mute: Mute) -> int | None:
    address = read_uri(mute.value) if mute.kind is MuteKind.THREAD else None
    if address is None:
        return None
    if address.item_id is None and address.node.startswith(COMMENTS_PREFIX):
        address = ItemAddress(address.service, MICROBLOG, address.node.removeprefix(COMMENTS_PREFIX))
    return tx.shown.number(account, address)
