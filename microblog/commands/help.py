"""``help``: what one can say.

It is made from the table of commands: a line for each group of words, and for one word how it is used. It fits on a
small screen: at most twelve lines.
"""

from collections.abc import Iterable

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person, Table
from microblog.commands.people import Stranger
from microblog.commands.texts import has, say


class Help:
    """``table`` is set once, when all words are together."""

    table: Table

    def commands(self) -> Iterable[Command]:
        """Its commands."""
        yield Command(
            name="help",
            group="help",
            function=self.help,
            parameters=(Parameter(name="word", kinds=(Kind.WORD,), required=False),),
            aliases=("?",),
            strangers=True,
        )

    async def help(self, call: Call) -> Answer:
        """All words, or one."""
        language = call.person.language
        wanted = str(call.get("word", "")).lstrip("/:")
        if not wanted:
            return Answer(text=self.overview(call.person))
        command = self.table.find(wanted)
        if command is None or not _may(call.person, command):
            return Answer(text=say(language, "help.no_word", word=wanted[:40]))
        return Answer(text=explain(command, language))

    def overview(self, person: Person) -> str:
        """What somebody can say, in a few lines."""
        language = person.language
        groups: dict[str, list[str]] = {}
        for command in self.table.commands.values():
            # ``admin`` says what administrators can do.
            if _may(person, command) and not command.name.startswith("admin "):
                groups.setdefault(command.group, []).append(command.name)
        if isinstance(person, Stranger):
            words = ", ".join(word for names in groups.values() for word in names)
            return say(language, "help.stranger", words=words)
        # Groups of the same title share a line.
        titles: dict[str, list[str]] = {}
        for group, names in groups.items():
            titles.setdefault(_title(group, language), []).extend(names)
        rows = [f"{title}: {', '.join(names)}" for title, names in titles.items()]
        head, foot = say(language, "help.head"), say(language, "help.foot")
        return "\n".join((head, *rows, foot))


def explain(command: Command, language: str) -> str:
    """How a command is used."""
    name = f"{command.group}.{command.name}"
    lines = [usage(command, language)]
    if has(f"{name}.summary"):
        lines.append(say(language, f"{name}.summary"))
    if has(f"{name}.note"):
        lines.append(say(language, f"{name}.note"))
    if has(f"{name}.example"):
        lines.append(say(language, "help.example", example=say(language, f"{name}.example")))
    if command.aliases:
        lines.append(say(language, "help.aliases", words=", ".join(command.aliases)))
    return "\n".join(lines)


def usage(command: Command, language: str) -> str:
    """A command with what it takes: ``get NAME [NUMBER]``, as its texts say it or as its parameters are called."""
    written_down = f"{command.group}.{command.name}.usage"
    if has(written_down):
        return say(language, written_down)
    parts = [command.name]
    for parameter in command.parameters:
        if not parameter.form_only:
            written = label(command, parameter, language).upper()
            parts.append(written if parameter.required and not parameter.newest else f"[{written}]")
    return " ".join(parts)


def label(command: Command, parameter: Parameter, language: str) -> str:
    """What a parameter is called."""
    name = f"{command.group}.{command.name}.{parameter.name}"
    return say(language, name) if has(name) else parameter.name


def _title(group: str, language: str) -> str:
    return say(language, f"{group}.title") if has(f"{group}.title") else group.capitalize()


def _may(person: Person, command: Command) -> bool:
    if command.admin and not person.account.admin:
        return False
    return command.strangers or not isinstance(person, Stranger)
