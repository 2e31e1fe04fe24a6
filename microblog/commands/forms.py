"""A command as forms: what its parameters look like as fields, in which steps they are asked for, what was meant.

A person to be named is chosen first, among those whom it may well be; then everything else is filled in; what
cannot be undone is asked once more. What was given is kept as text until the command is run, and each step is checked
when it is taken, so that a wrong one is corrected where it was made.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

from microblog.commands.command import Command, Kind, Parameter, Person
from microblog.commands.parsing import read_span, read_tag
from microblog.commands.texts import has, say
from microblog.model.errors import JIDMalformed, NotAcceptable
from microblog.model.jid import JID, localpart
from microblog.model.uri import ItemAddress, read_uri
from microblog.wire import dialogue
from microblog.wire.dialogue import Field, FieldType
from microblog.wire.xml import Element

CHOICES_MAX: Final = 100
_OTHER: Final = "other"
_NUMBER: Final = re.compile(r"#?([0-9]{1,9})", re.ASCII)
_TYPES: Final[Mapping[Kind, FieldType]] = {
    Kind.TEXT: "text-multi",
    Kind.ADDRESS: "jid-single",
    Kind.CHOICE: "list-single",
    Kind.FLAG: "boolean",
}


class Lookup(Protocol):
    """What people refer to."""

    async def item(self, person: Person, number: int) -> ItemAddress | None:
        """The item that was shown to somebody under that number."""

    async def newest(self, person: Person) -> ItemAddress | None:
        """The item that was shown to somebody last, if that was just now."""

    async def account(self, name: str) -> JID | None:
        """Somebody here of that name."""

    async def people(self, person: Person, command: Command) -> Sequence[JID]:
        """Whom somebody may mean who uses that command."""


class Step(NamedTuple):
    """One form. ``choose``: ``parameters`` is one, a person; ``fill``: the rest; ``confirm``: none."""

    kind: Literal["choose", "fill", "confirm"]
    parameters: tuple[Parameter, ...] = ()


class Dialogue:
    """A command that is being filled in by somebody. ``people``: whom they may mean."""

    def __init__(self, command: Command, form_type: str, language: str, people: Sequence[JID], domain: str) -> None:
        self.command = command
        self.language = language
        self._form_type = form_type
        self._domain = domain
        self._people = tuple(people[:CHOICES_MAX])
        self._chosen: dict[str, str] = {}
        self._given: dict[str, tuple[str, ...]] = {}
        self._at = 0

    @staticmethod
    def asks_for_person(command: Command) -> bool:
        """Is there somebody to choose?"""
        return any(_is_choice(parameter) for parameter in command.parameters)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them, as far as is known at this one."""
        steps = []
        filled = []
        for parameter in self.command.parameters:
            chosen = self._people and _is_choice(parameter)
            if chosen:
                steps.append(Step("choose", (parameter,)))
            if not chosen or self._chosen.get(parameter.name) == _OTHER:
                filled.append(parameter)
        if filled:
            steps.append(Step("fill", tuple(filled)))
        if self.command.destructive:
            steps.append(Step("confirm"))
        return tuple(steps)

    @property
    def is_over(self) -> bool:
        """Nothing more is to be asked."""
        return self._at >= len(self.steps)

    @property
    def is_first(self) -> bool:
        """There is nothing to go back to."""
        return self._at == 0

    @property
    def is_last(self) -> bool:
        """The command is run after this step, unless somebody else is chosen in it."""
        return self._at == len(self.steps) - 1

    def back(self) -> None:
        """To the step before."""
        self._at -= 1

    def form(self) -> Element:
        """The form of this step."""
        step = self.steps[self._at]
        texts = {"choose": "forms.choose", "fill": "forms.fill_in"}
        instructions = say(self.language, texts[step.kind]) if step.kind in texts else self._confirmation()
        return dialogue.write(
            "form",
            self._fields(step),
            form_type=self._form_type,
            title=summary(self.command, self.language),
            instructions=instructions,
        )

    async def take(self, form: Element, person: Person, lookup: Lookup) -> None:
        """Take what was filled in, and go on to the next step. Raises NotAcceptable, and nothing has changed."""
        step = self.steps[self._at]
        found = dialogue.read(form, self._fields(step), self._form_type)
        if step.kind == "choose":
            (parameter,) = step.parameters
            self._given.pop(parameter.name, None)
            self._chosen.pop(parameter.name, None)
            if parameter.name in found:
                self._chosen[parameter.name] = found[parameter.name][0]
        else:
            for parameter in step.parameters:
                await self._value(parameter, found.get(parameter.name, ()), person, lookup)
            for parameter in step.parameters:
                self._given.pop(parameter.name, None)
            self._given.update(found)
        self._at += 1

    async def arguments(self, person: Person, lookup: Lookup) -> dict[str, Any]:
        """What was given in all steps. Raises NotAcceptable."""
        arguments = {}
        for parameter in self.command.parameters:
            value = await self._value(parameter, self._texts(parameter), person, lookup)
            if value is not None:
                arguments[parameter.name] = value
        return arguments

    def _texts(self, parameter: Parameter) -> tuple[str, ...]:
        chosen = self._chosen.get(parameter.name, _OTHER)
        return self._given.get(parameter.name, ()) if chosen == _OTHER else (chosen,)

    def _fields(self, step: Step) -> list[Field]:
        return [self._field(parameter, choose=step.kind == "choose") for parameter in step.parameters]

    def _field(self, parameter: Parameter, *, choose: bool) -> Field:
        label = self._label(parameter.name)
        if choose:
            options = [(str(jid), jid.localpart if jid.domainpart == self._domain else "") for jid in self._people]
            options += self._options(parameter)
            chosen = self._chosen.get(parameter.name)
            return Field(
                var=parameter.name,
                type="list-single",
                label=label,
                required=parameter.required,
                values=(chosen,) if chosen else (),
                options=(*options, (_OTHER, say(self.language, "forms.somebody_else"))),
            )
        values = () if parameter.secret else self._given.get(parameter.name, ())
        return Field(
            var=parameter.name,
            type=_field_type(parameter),
            label=label,
            required=(parameter.required or parameter.name in self._chosen) and not parameter.newest,
            values=values,
            options=tuple(self._options(parameter)) if parameter.kinds == (Kind.CHOICE,) else (),
        )

    def _options(self, parameter: Parameter) -> list[tuple[str, str]]:
        return [(choice, self._label(f"{parameter.name}_{choice}", choice)) for choice in parameter.choices]

    def _label(self, name: str, otherwise: str = "") -> str:
        return label(self.command, name, self.language) or otherwise or name

    def _confirmation(self) -> str:
        given = [
            f"{self._label(parameter.name)}: {' '.join(self._texts(parameter))}"
            for parameter in self.command.parameters
            if self._texts(parameter) and not parameter.secret
        ]
        if not given:
            return say(self.language, "forms.confirm")
        return say(self.language, "forms.confirm_given", given="\n".join(given))

    # values

    async def _value(self, parameter: Parameter, texts: tuple[str, ...], person: Person, lookup: Lookup) -> Any:
        """The argument; None if it was left out."""
        if not any(text.strip() for text in texts):
            if parameter.newest:
                newest = await lookup.newest(person)
                if newest is None and parameter.required:
                    raise self._wrong("which_item", parameter)
                return newest
            if parameter.required or parameter.name in self._chosen:
                raise self._wrong("needed", parameter)
            return None
        if parameter.many:
            return tuple([await self._one(parameter, text, person, lookup) for text in texts if text.strip()])
        if parameter.kinds == (Kind.TEXT,):
            return "\n".join(texts)
        return await self._one(parameter, texts[0], person, lookup)

    async def _one(self, parameter: Parameter, text: str, person: Person, lookup: Lookup) -> Any:
        refusal: NotAcceptable | None = None
        for kind in parameter.kinds:
            try:
                return await self._read(kind, parameter, text, person, lookup)
            except NotAcceptable as error:
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    async def _read(self, kind: Kind, parameter: Parameter, text: str, person: Person, lookup: Lookup) -> Any:
        word = text.strip()
        if kind is Kind.ITEM:
            return await self._item(parameter, word, person, lookup)
        if kind is Kind.PERSON:
            return await self._person(parameter, word, lookup)
        if kind is Kind.ADDRESS:
            return JID.parse(word).bare
        if kind is Kind.TAG:
            tag = read_tag(word)
            if tag is None:
                raise self._wrong("no_tag", parameter)
            return tag
        if kind is Kind.SPAN:
            span = read_span(word)
            if span is None:
                raise self._wrong("no_span", parameter)
            return span
        if kind is Kind.NUMBER:
            if not (word.isascii() and word.isdigit() and len(word) <= 9):
                raise self._wrong("no_number", parameter)
            return int(word)
        if kind is Kind.FLAG:
            return word == "1"
        if kind is Kind.CHOICE:
            found = next((choice for choice in parameter.choices if choice.casefold() == word.casefold()), None)
            if found is None:
                raise self._wrong("no_choice", parameter)
            return found
        if kind is Kind.WORD and len(word.split()) != 1:
            raise self._wrong("one_word", parameter)
        return text if kind is Kind.TEXT else word

    async def _item(self, parameter: Parameter, word: str, person: Person, lookup: Lookup) -> ItemAddress:
        number = _NUMBER.fullmatch(word)
        found = await lookup.item(person, int(number[1])) if number else read_uri(word)
        if found is None or found.item_id is None:
            raise self._wrong("unknown_item", parameter)
        return found

    async def _person(self, parameter: Parameter, word: str, lookup: Lookup) -> JID:
        name, at, domain = word.removeprefix("@").partition("@")
        try:
            jid = JID.parse(f"{name}@{domain}").bare if at else JID(localpart(name), self._domain)
        except JIDMalformed as error:
            raise self._wrong("no_person", parameter) from error
        if jid.domainpart == self._domain and await lookup.account(jid.localpart) is None:
            raise self._wrong("nobody", parameter)
        return jid

    def _wrong(self, text: str, parameter: Parameter) -> NotAcceptable:
        return NotAcceptable(say(self.language, f"forms.{text}", field=parameter.name))


def _is_choice(parameter: Parameter) -> bool:
    """A person, one of a few words, or a tag instead."""
    kinds = {Kind.PERSON, Kind.CHOICE, Kind.TAG}
    return Kind.PERSON in parameter.kinds and set(parameter.kinds) <= kinds and not parameter.many


def _field_type(parameter: Parameter) -> FieldType:
    kind = parameter.kinds[0] if len(parameter.kinds) == 1 else Kind.WORD
    if parameter.secret:
        return "text-private"
    if parameter.many:
        return "jid-multi" if kind is Kind.ADDRESS else "text-multi"
    return _TYPES.get(kind, "text-single")


def summary(command: Command, language: str) -> str:
    """What a command is called in a list."""
    return label(command, "summary", language) or command.name


def label(command: Command, name: str, language: str) -> str:
    """A text of a command; empty if there is none."""
    text = f"{command.group}.{command.name}.{name}"
    return say(language, text) if has(text) else ""
