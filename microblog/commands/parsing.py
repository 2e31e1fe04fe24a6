"""From a line of chat to a command and its arguments.

The first word, however it is capitalised, is looked up in the table; a lead-in ``/`` or ``:`` says that it is a
command, ``\\`` that it is none, and what does not begin with a command is a post. ``@NAME text`` and ``#12 text`` speak
to somebody, or of something.

What begins like a command and does not parse is never posted: it is a ``Misread``, which says what is wrong with it and
whether it may be offered as a post. A private word is never offered, and not taken for another word because of a comma
or a wide letter either: what was meant for one reader does not become public.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from microblog.commands.command import Command, Kind, Parameter, Table
from microblog.model.entry import fold_tag
from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID
from microblog.model.uri import ItemAddress, read_uri

POST: Final = "post"
REPLY: Final = "reply"
THREAD: Final = "thread"
TO_NAME: Final = "@"
WORD_MAX_CHARACTERS: Final = 1023
TOPIC_MAX_CHARACTERS: Final = 200
TAG_MAX_CHARACTERS: Final = 100
SPAN_MAX: Final = timedelta(days=366)
_QUOTED_MAX: Final = 40
_WORD: Final = re.compile(r"\S+")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_ITEM: Final = re.compile(r"#([0-9]{1,9})[,:;.!?]?")
_TAG: Final = re.compile(r"#([^\s#]+?)[,:;.!?]*")
_SPAN: Final = re.compile(r"([0-9]{1,4})([mhdw])[,:;.!?]*")
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_NAME: Final = re.compile(r"@(\w[^\s,:;!?]*)[,:;!?]?")
_TOPIC: Final = re.compile(rf"([^:\n]{{1,{TOPIC_MAX_CHARACTERS}}}):(?=\s)")
_ME: Final = "me"
_ENDS: Final = ",:;.!?"


class Names(Protocol):
    """Whom and what a person can mean."""

    async def person(self, name: str) -> JID | None:
        """Somebody here of that name."""

    async def item(self, number: int) -> ItemAddress | None:
        """The item that was shown to them by that number."""

    async def newest(self) -> ItemAddress | None:
        """The item that was shown to them last, if that was just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a text asks for. ``plain``: it names no command; it is what somebody has to say."""

    command: Command
    arguments: Mapping[str, Any]
    plain: bool = False

    @property
    def text(self) -> str:
        """The text in it, if there is any."""
        for parameter in self.command.parameters:
            if Kind.TEXT in parameter.kinds and isinstance(self.arguments.get(parameter.name), str):
                return str(self.arguments[parameter.name])
        return ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong: the name of a text of the group ``chat``, the argument it is about, and the word that was met."""

    text: str
    parameter: Parameter | None = None
    word: str = ""


class Misread(Exception):
    """A text that begins like a command and is none. ``offer``: it may be posted if the person says so."""

    def __init__(self, command: Command | None, problem: Problem, *, offer: bool) -> None:
        super().__init__(problem.text)
        self.command = command
        self.problem = problem
        self.offer = offer


class _Wrong(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


@dataclass(slots=True)
class _Rest:
    """What is left of a text."""

    text: str
    at: int = 0

    @property
    def left(self) -> str:
        return self.text[self.at :].strip()

    def peek(self) -> re.Match[str] | None:
        return _WORD.search(self.text, self.at)

    def word(self) -> str:
        found = self.peek()
        return "" if found is None else found[0]

    def skip(self) -> None:
        found = self.peek()
        if found is not None:
            self.at = found.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parser:
    """Reads what people write. ``domain``: of the names without one."""

    table: Table
    domain: str

    async def read(self, text: str, names: Names, *, slash: bool = False) -> Reading:
        """What a text asks for. ``slash``: only what begins with a lead-in is a command. Raises Misread."""
        text = _visible(text)
        if text.startswith("\\"):
            return self._post(text[1:].strip(), plain=True)
        led = _is_led(text)
        rest = _Rest(text[1:] if led else text)
        if led and rest.word() == _ME:
            return self._post(text, plain=True)
        spoken = None if led else await self._spoken_to(text, names)
        if spoken is not None:
            return spoken
        command = self._command(rest, led=led)
        if command is None:
            private = self._private(text)
            if private is not None and _several_words(text):
                raise Misread(private, Problem("unclear", word=_quoted(rest.word())), offer=False)
            if led:
                raise Misread(None, Problem("unknown", word=_quoted(rest.word())), offer=True)
            return self._post(text, plain=True)
        if slash and not led:
            return await self._without_slash(command, rest, text, names)
        if command.alone and rest.left and not (led and command.parameters):
            if led:
                raise Misread(command, Problem("too_much", word=_quoted(rest.left)), offer=not command.private)
            return await self._alone(command, rest, text, names)
        return await self._arguments(command, rest, names)

    async def _alone(self, command: Command, rest: _Rest, text: str, names: Names) -> Reading:
        """A word that stands alone or before what it takes.

        ``on the way home`` is a post, ``off julia`` is none even if there is no Julia.
        """
        if not command.parameters:
            return self._post(text, plain=True)
        word, several = rest.word(), _several_words(rest.left)
        try:
            return await self._arguments(command, rest, names)
        except Misread:
            flags = {parameter.name for parameter in command.parameters if Kind.FLAG in parameter.kinds}
            meant = word[:1] in ("#", "@") or "@" in word or _folded(word) in flags
            if meant or not several or await names.person(word) is not None:
                raise
            return self._post(text, plain=True)

    def post(self, text: str) -> Reading:
        """A text as a post, whatever it begins with."""
        return self._post(_visible(text), plain=True)

    async def _without_slash(self, command: Command, rest: _Rest, text: str, names: Names) -> Reading:
        """Words are no commands for this person; but a private one that would be right is too likely to be meant."""
        if command.private:
            try:
                await self._arguments(command, rest, names)
            except Misread:
                return self._post(text, plain=True)
            raise Misread(command, Problem("needs_slash"), offer=False)
        return self._post(text, plain=True)

    def _post(self, text: str, *, plain: bool) -> Reading:
        command = self.table.find(POST)
        if command is None:
            raise Misread(None, Problem("unknown", word=POST), offer=False)
        return Reading(command=command, arguments=bound(command, text=text), plain=plain)

    def _command(self, rest: _Rest, *, led: bool) -> Command | None:
        """The command that the text begins with; its words are taken off."""
        first = rest.peek()
        if first is None or first[0] == TO_NAME:
            return None
        second = _WORD.search(rest.text, first.end())
        if second is not None:
            command = self.table.find(f"{_folded(first[0])} {_folded(second[0])}")
            if command is not None:
                rest.at = second.end()
                return command
        command = self.table.find(_folded(first[0]))
        if command is not None:
            rest.at = first.end()
            return command
        # ``l:text``, where the word that ends with a colon is one.
        short, colon, _ = first[0].partition(":")
        command = self.table.find(_folded(short + colon)) if colon else None
        if command is not None:
            rest.at = first.start() + len(short) + 1
        return command

    def _private(self, text: str) -> Command | None:
        """The private command that the first word would be without its punctuation."""
        command = self.table.find(_folded(_Rest(text).word()).strip(_ENDS + "/\\([{\"'"))
        return command if command is not None and command.private else None

    async def _spoken_to(self, text: str, names: Names) -> Reading | None:
        """``#12 text``, ``#12`` and ``@NAME text``."""
        word = _Rest(text).word()
        after = text[len(word) :].strip()
        numbered = _ITEM.fullmatch(word)
        if numbered is not None:
            command = self.table.find(REPLY if after else THREAD)
            if command is None:
                return None
            item = await names.item(int(numbered[1]))
            if item is None:
                raise Misread(command, Problem("no_number", word=f"#{numbered[1]}"), offer=True)
            return Reading(command=command, arguments=bound(command, target=item, text=after))
        named = _NAME.fullmatch(word)
        command = self.table.find(TO_NAME) if named is not None and after else None
        if named is None or command is None:
            return None
        person = await self._person(named[1], names)
        if person is None:
            raise Misread(command, Problem("no_name", word=_quoted(word)), offer=True)
        return Reading(command=command, arguments=bound(command, target=person, text=after))

    async def _arguments(self, command: Command, rest: _Rest, names: Names) -> Reading:
        arguments: dict[str, Any] = {}
        parameters = [parameter for parameter in command.parameters if not parameter.form_only]
        try:
            for place, parameter in enumerate(parameters, start=1):
                value = await self._argument(parameter, rest, names, last=place == len(parameters))
                if value is not None:
                    arguments[parameter.name] = value
            if rest.left:
                raise _Wrong(Problem("too_much", word=_quoted(rest.left)))
        except _Wrong as wrong:
            raise Misread(command, wrong.problem, offer=not command.private) from None
        return Reading(command=command, arguments=arguments)

    async def _argument(self, parameter: Parameter, rest: _Rest, names: Names, *, last: bool) -> Any:
        """The value of a parameter, None if it was left out."""
        word = rest.word()
        if word:
            for kind in parameter.kinds:
                value = await self._value(kind, parameter, rest, names, last=last)
                if value is not None:
                    return value
        if parameter.newest and not (word and last):
            newest = await names.newest()
            if newest is not None:
                return newest
            raise _Wrong(Problem("which", parameter))
        if not word and not parameter.required:
            return None
        if not word:
            raise _Wrong(Problem("missing", parameter))
        if parameter.required or last:
            raise _Wrong(Problem("wrong", parameter, _quoted(word)))
        return None

    async def _value(self, kind: Kind, parameter: Parameter, rest: _Rest, names: Names, *, last: bool) -> Any:
        """What stands next as a value of a kind, taken off; None if it is none."""
        if kind is Kind.TEXT:
            text, rest.at = rest.left, len(rest.text)
            return text or None
        if kind is Kind.TOPIC:
            topic = _TOPIC.match(rest.left)
            if topic is None:
                return None
            rest.at = rest.text.index(topic[0], rest.at) + len(topic[0])
            return topic[1].strip() or None
        word = rest.word()
        value: Any = None
        match kind:
            case Kind.WORD:
                value = word if len(word) <= WORD_MAX_CHARACTERS else None
            case Kind.NUMBER:
                value = int(word) if _NUMBER.fullmatch(word) else None
            case Kind.CHOICE:
                value = next((choice for choice in parameter.choices if choice.casefold() == _folded(word)), None)
            case Kind.FLAG:
                value = True if _folded(word) == parameter.name.casefold() else None
            case Kind.ITEM:
                value = await self._item(word, parameter, names, last=last)
            case Kind.PERSON:
                value = await self._named(word, parameter, names)
            case Kind.ADDRESS:
                value = _address(word)
            case Kind.TAG:
                value = read_tag(word)
            case Kind.SPAN:
                value = read_span(word)
        if value is not None:
            rest.skip()
        return value

    async def _item(self, word: str, parameter: Parameter, names: Names, *, last: bool) -> ItemAddress | None:
        uri = read_uri(word)
        if uri is not None and uri.item_id is not None:
            return uri
        number = _ITEM.fullmatch(word)
        digits = number[1] if number else ""
        if not digits and last and Kind.NUMBER not in parameter.kinds and _NUMBER.fullmatch(word):
            digits = word
        if not digits:
            return None
        item = await names.item(int(digits))
        if item is None:
            raise _Wrong(Problem("no_number", parameter, f"#{digits}"))
        return item

    async def _named(self, word: str, parameter: Parameter, names: Names) -> JID | None:
        """Somebody; what is written like an address has to be one."""
        name = word.removeprefix("xmpp:").rstrip(",:;!?")
        certain = "@" in name
        person = await self._person(name.removeprefix("@"), names)
        if person is None and certain:
            raise _Wrong(Problem("no_name", parameter, _quoted(word)))
        return person

    async def _person(self, name: str, names: Names) -> JID | None:
        if len(name) > WORD_MAX_CHARACTERS:
            return None
        if "@" not in name:
            return await names.person(name)
        jid = _address(name)
        if jid is None or jid.domainpart != self.domain:
            return jid
        return await names.person(jid.localpart)


def bound(command: Command, *, target: ItemAddress | JID | None = None, text: str = "") -> dict[str, Any]:
    """The arguments of a command that is called with an item or a person, and a text."""
    wanted = Kind.ITEM if isinstance(target, ItemAddress) else Kind.PERSON
    arguments: dict[str, Any] = {}
    for parameter in command.parameters:
        if parameter.form_only:
            continue
        if target is not None and wanted in parameter.kinds and target not in arguments.values():
            arguments[parameter.name] = target
        elif text and (Kind.TEXT in parameter.kinds or Kind.WORD in parameter.kinds) and text not in arguments.values():
            arguments[parameter.name] = text
    return arguments


def read_tag(word: str) -> str | None:
    """A tag as it is kept, from ``#verona``; digits alone are the number of a post."""
    found = _TAG.fullmatch(word)
    tag = fold_tag(found[1]) if found else ""
    return tag if 0 < len(tag) <= TAG_MAX_CHARACTERS and not tag.isdecimal() else None


def read_span(word: str) -> timedelta | None:
    """How long ``2h`` is; a year at most."""
    found = _SPAN.fullmatch(word.casefold())
    span = int(found[1]) * _UNITS[found[2]] if found else timedelta(0)
    return span if timedelta(0) < span <= SPAN_MAX else None


def _address(word: str) -> JID | None:
    if "@" not in word or len(word) > WORD_MAX_CHARACTERS:
        return None
    try:
        return JID.parse(word.removeprefix("xmpp:").rstrip(",:;!?")).bare
    except JIDMalformed:
        return None


def _visible(text: str) -> str:
    """The text without what nobody sees at its ends."""
    start, end = 0, len(text)
    while start < end and (text[start].isspace() or unicodedata.category(text[start]) == "Cf"):
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return text[start:end]


def _folded(word: str) -> str:
    """A word as it is looked up: without what nobody sees in it, and wide letters as plain ones."""
    if word.isascii():
        return word.casefold()
    plain = "".join(character for character in word if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", plain).casefold()


def _quoted(word: str) -> str:
    """A word as it is repeated in an answer."""
    word = " ".join(word.split())
    return word if len(word) <= _QUOTED_MAX else word[: _QUOTED_MAX - 1] + "…"


def _is_led(text: str) -> bool:
    """Does it begin with a lead-in? ``:D`` alone is a face."""
    if text[:1] not in ("/", ":") or len(text) < 2 or (text[0] == ":" and len(text) == 2):
        return False
    return text[1].isalpha() or text[1] in "+?@#"


def _several_words(text: str) -> bool:
    return len(text.split(None, 1)) > 1
