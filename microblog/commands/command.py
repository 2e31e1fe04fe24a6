"""A command: its word, what it takes, and what does it. From the table of them chat, forms and help are made.

A module of words has a class with a method for each of its commands and ``commands()`` that lists them, as extensions
list their routes; ``app`` puts the lists together. A command's texts are in ``texts/LANGUAGE/GROUP.toml``: under its
name its ``summary``, an ``example``, and a label for each parameter.

A function is given a ``Call`` and returns an ``Answer``, or raises a ``Refusal`` whose text says why not. It does not
know by which way it was called. Arguments have the type that ``Kind`` names; those that were left out are absent.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from microblog.model.account import Account
from microblog.model.entry import Entry
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.uri import ItemAddress


class Kind(Enum):
    """What an argument is, and the type of its value.

    WORD: str without space. TEXT: str, the rest of the message with its line breaks. TOPIC: str, what stands before a
    colon. PERSON: JID (bare), written as a local name or an address. ITEM: ItemAddress, written ``#12`` or as an
    ``xmpp:`` URI. ADDRESS: JID (bare), always written in full. NUMBER: int, not negative. CHOICE: str, one of the
    parameter's choices. FLAG: bool. TAG: str, a tag without its ``#`` and folded, written ``#verona``. SPAN: timedelta,
    written ``15m``, ``2h``, ``3d``.
    """

    WORD = auto()
    TEXT = auto()
    TOPIC = auto()
    PERSON = auto()
    ITEM = auto()
    ADDRESS = auto()
    NUMBER = auto()
    CHOICE = auto()
    FLAG = auto()
    TAG = auto()
    SPAN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One thing a command takes. ``kinds``: more than one if it may be this or that (PERSON or ITEM).

    ``newest``: an ITEM that was left out is the newest that was shown. ``form_only``: too much for one line of chat.
    ``secret``: not to be shown or repeated. ``many``: several in a form; then the argument is a tuple.
    """

    name: str
    kinds: tuple[Kind, ...]
    required: bool = True
    choices: tuple[str, ...] = ()
    newest: bool = False
    form_only: bool = False
    secret: bool = False
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who speaks. ``address``: the full JID they speak from; ``linked``: it is an address elsewhere.

    ``language``: in which they are answered.
    """

    account: Account
    jid: JID
    address: JID
    linked: bool = False
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A command as called. ``message_id``: of the chat message, where it was one. ``enclosures``: addresses of files
    that came with it."""

    person: Person
    arguments: Mapping[str, Any] = field(default_factory=dict)
    message_id: str | None = None
    enclosures: tuple[str, ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or the default if it was left out."""
        return self.arguments.get(name, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A post as it is shown: the item with its node, and what it says. Items of elsewhere have key 0."""

    node: Node
    item: Item
    entry: Entry

    @property
    def address(self) -> ItemAddress:
        """Where it is."""
        return ItemAddress(self.node.service, self.node.name, self.item.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``text``: what is said, in the person's language; ``posts``: shown below it with their numbers, in this order.

    ``more``: what ``more`` does next. ``done``: the post that was made or touched, for the chat to remember what a
    message became. ``form``: for forms, what the text says as fields, label to value.
    """

    text: str = ""
    posts: tuple[Post, ...] = ()
    more: Callable[["Call"], Awaitable["Answer"]] | None = None
    done: ItemAddress | None = None
    form: tuple[tuple[str, str], ...] = ()


Function = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """``group``: the texts' file and the place in help. ``private``: what does not parse is never offered as a post.

    ``destructive``: asks for ``yes`` first. ``posting``: a refusal says that nothing was posted. ``admin``: for
    administrators. ``strangers``: also for people without an account. ``alone``: a word only when nothing follows it.
    """

    name: str
    group: str
    function: Function
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()
    private: bool = False
    destructive: bool = False
    posting: bool = False
    admin: bool = False
    strangers: bool = False
    alone: bool = False


class Words(Protocol):
    """A module of words."""

    def commands(self) -> Iterable[Command]:
        """Its commands."""


class Table:
    """All commands, by name and alias. Raises ValueError if two claim the same word."""

    def __init__(self, modules: Iterable[Words]) -> None:
        self.commands: dict[str, Command] = {}
        self._words: dict[str, Command] = {}
        for module in modules:
            for command in module.commands():
                self.commands[command.name] = command
                for word in (command.name, *command.aliases):
                    if word in self._words:
                        raise ValueError(f"two commands for {word}")
                    self._words[word] = command

    def find(self, word: str) -> Command | None:
        """The command of a word, however it is capitalised."""
        return self._words.get(word.casefold())
