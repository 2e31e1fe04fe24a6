"""XEP-0050: every command as a form, at the node's own addresses.

What one may do is listed; a command that needs nothing is done at once, any other opens a session and asks for what it
needs in steps (``commands.forms``). A session belongs to the full address that opened it and ends ten minutes after
its last step; ten of one person are kept, the eldest makes room. Who somebody is and what they may do is looked up
anew at each step. A step that is refused can be taken again.

The commands of people and those for administrators (XEP-0133) come from two tables, since the latter's names are not
words for chat.
"""

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from microblog.commands.command import Answer, Call, Command, Person, Post, Table
from microblog.commands.forms import Dialogue, Lookup, label, summary
from microblog.commands.lines import author_of
from microblog.commands.texts import languages, say
from microblog.model.errors import (
    BadAction,
    BadLocale,
    BadPayload,
    BadRequest,
    BadSessionID,
    Forbidden,
    ItemNotFound,
    MalformedAction,
    Refusal,
    ServiceUnavailable,
    SessionExpired,
)
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.wire import dialogue, ns
from microblog.wire.dialogue import Field
from microblog.wire.disco import Identity, Info, Item
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, stamp
from microblog.xmpp.dispatch import At, Extension, Route, Spec
from microblog.xmpp.router import NODE_LOCALPARTS

SESSION_SECONDS: Final = 600
SESSIONS_PER_PERSON: Final = 10
# People without account share what their domain may have.
SESSIONS_MAX: Final = 10_000
ENDED_REMEMBERED: Final = 1000
_ACTIONS: Final = frozenset(("cancel", "complete", "execute", "next", "prev"))
_LANG: Final = "{" + ns.XML + "}lang"


class People(Protocol):
    """Who sends a stanza (``xep.people``)."""

    def person(self, stanza: Stanza) -> Awaitable[Person | None]:
        """Somebody with an account here."""

    def stranger(self, stanza: Stanza) -> Person | None:
        """Somebody without; None if it might be anybody."""


@dataclass(slots=True, eq=False)
class Session:
    """A command under way. ``more``: it was run, and what it answers goes on."""

    node: str
    jid: JID
    owner: JID | str
    dialogue: Dialogue
    answer: Answer | None = None
    used: float = 0
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))


class Commands(Extension):
    """Answers lists of commands, and runs them. ``commands``: by the names of their nodes."""

    specs = (Spec(50, "1.3.0"),)
    features = (ns.COMMANDS, ns.DATA)

    def __init__(
        self, domain: str, table: Table, administration: Table, people: People, lookup: Lookup, clock: Clock
    ) -> None:
        self._domain = domain
        self._people = people
        self._lookup = lookup
        self._clock = clock
        # The administrator's words for chat are the same things by shorter names.
        self.commands = {name: command for name, command in table.commands.items() if not command.admin}
        self.commands |= {_admin_node(name): command for name, command in administration.commands.items()}
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # by the time of their last step
        self._owned: dict[JID | str, OrderedDict[str, Session]] = {}
        self._ended: OrderedDict[str, JID] = OrderedDict()

    def routes(self) -> Iterable[Route]:
        """At the node, and at what is another name of it."""
        yield Route.set(ns.COMMANDS, "command", self.command, at=At.HOST | At.ACCOUNT, waits=True)

    # discovery (§2)

    async def node_info(self, request: Stanza, node: str) -> Info | None:
        """The list, or a command."""
        if node == ns.COMMANDS:
            return Info(identities=(Identity("automation", "command-list", say("en", "forms.commands")),))
        command = self.commands.get(node)
        if command is None:
            return None
        person = await self._person(request)
        if not _may(command, person):
            raise Forbidden("this command is not for you")
        assert person is not None
        identity = Identity("automation", "command-node", summary(command, person.language))
        return Info(identities=(identity,), features=(ns.COMMANDS, ns.DATA))

    async def node_items(self, request: Stanza, node: str) -> Sequence[Item] | None:
        """What the asker may do (§2.2)."""
        if node != ns.COMMANDS:
            return () if node in self.commands else None
        person = await self._person(request)
        if person is None:
            return ()
        return [
            Item(request.to.bare, name, summary(command, person.language))
            for name, command in self.commands.items()
            if _may(command, person)
        ]

    # execution (§3)

    async def command(self, request: Stanza) -> Element:
        """Take one step of a command."""
        if request.to.localpart not in NODE_LOCALPARTS:
            raise ServiceUnavailable
        element = request.payload
        assert element is not None  # the route was found by it
        node, action = element.get("node"), element.get("action") or "execute"
        if not node:
            raise BadRequest("which command?")
        if action not in _ACTIONS:
            raise MalformedAction("execute, next, prev, complete or cancel")
        command = self.commands.get(node)
        if command is None:
            raise ItemNotFound("no such command")
        person = await self._person(request)
        if not _may(command, person):
            raise Forbidden("this command is not for you")
        assert person is not None
        language = _language(element, person)
        form = _form(element)
        self._expire()
        id_ = element.get("sessionid")
        if id_ is None:
            return await self._begin(node, command, person, language, action, form)
        session = self._take(id_, node, person.address)
        try:
            return await self._go_on(session, person, action, form)
        except Refusal:
            self._keep(session)
            raise
        except BaseException:
            self._end(session)
            raise

    async def _begin(
        self, node: str, command: Command, person: Person, language: str, action: str, form: Element | None
    ) -> Element:
        if action not in ("execute", "next", "complete"):
            raise BadAction("nothing was begun")
        if form is not None:
            raise BadPayload("nothing was asked yet")
        people: Sequence[JID] = ()
        if Dialogue.asks_for_person(command):
            people = await self._lookup.people(person, command)
        begun = Dialogue(command, _form_type(command), language, people, self._domain)
        owner = person.jid if person.account.key else person.jid.domainpart
        session = Session(node, person.address, owner, begun)
        if begun.is_over:
            return await self._run(session, person)
        return self._ask(session)

    async def _go_on(self, session: Session, person: Person, action: str, form: Element | None) -> Element:
        if action == "cancel":
            self._end(session)
            return self._written(session, "canceled")
        if session.answer is not None:
            return await self._read_on(session, person, action, session.answer)
        asking = session.dialogue
        if action == "prev":
            if asking.is_first:
                raise BadAction("this is the first step")
            asking.back()
            return self._ask(session)
        if (action == "next" and asking.is_last) or (action == "complete" and not asking.is_last):
            raise BadAction("not at this step")
        if form is None:
            raise BadPayload("the form is missing")
        await asking.take(form, person, self._lookup)
        if not asking.is_over:
            return self._ask(session)
        try:
            return await self._run(session, person)
        except Refusal:
            asking.back()
            raise

    async def _run(self, session: Session, person: Person) -> Element:
        asked = session.dialogue
        arguments = await asked.arguments(person, self._lookup)
        answer = await asked.command.function(Call(person=person, arguments=arguments))
        return self._tell(session, answer)

    async def _read_on(self, session: Session, person: Person, action: str, answer: Answer) -> Element:
        """More of what a command said."""
        if action == "complete":
            self._end(session)
            return self._written(session, "completed")
        if action == "prev" or answer.more is None:
            raise BadAction("not at this step")
        return self._tell(session, await answer.more(Call(person=person)))

    # answers

    def _ask(self, session: Session) -> Element:
        self._keep(session)
        asking = session.dialogue
        forward = "complete" if asking.is_last else "next"
        actions = Element(ns.COMMANDS, "actions", {"execute": forward})
        if not asking.is_first:
            actions.append(Element(ns.COMMANDS, "prev"))
        actions.append(Element(ns.COMMANDS, forward))
        return self._written(session, "executing", actions, asking.form())

    def _tell(self, session: Session, answer: Answer) -> Element:
        asked = session.dialogue
        told = [*_notes(answer, asked.language), *_results(asked.command, answer, asked.language)]
        if answer.more is None:
            self._end(session)
            return self._written(session, "completed", *told)
        session.answer = answer
        self._keep(session)
        actions = Element(ns.COMMANDS, "actions", {"execute": "next"})
        actions.append(Element(ns.COMMANDS, "next")).append(Element(ns.COMMANDS, "complete"))
        return self._written(session, "executing", actions, *told)

    def _written(self, session: Session, status: str, *children: Element) -> Element:
        attributes = {"node": session.node, "sessionid": session.id, "status": status}
        return Element(ns.COMMANDS, "command", attributes | {_LANG: session.dialogue.language}, *children)

    # people

    async def _person(self, request: Stanza) -> Person | None:
        return await self._people.person(request) or self._people.stranger(request)

    # sessions

    def _take(self, id_: str, node: str, jid: JID) -> Session:
        """The session, which nobody else gets until it is kept again."""
        session = self._sessions.get(id_)
        if session is None:
            if self._ended.get(id_) == jid:
                raise SessionExpired("this session is over: begin again")
            raise BadSessionID("no such session")
        if session.jid != jid or session.node != node:
            raise BadSessionID("no such session")
        self._drop(session)
        return session

    def _keep(self, session: Session) -> None:
        owned = self._owned.setdefault(session.owner, OrderedDict())
        owned[session.id] = session
        session.used = self._clock.monotonic()
        self._sessions[session.id] = session
        if len(owned) > SESSIONS_PER_PERSON:
            self._end(next(iter(owned.values())))
        if len(self._sessions) > SESSIONS_MAX:
            self._end(next(iter(self._sessions.values())))

    def _expire(self) -> None:
        now = self._clock.monotonic()
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if session.used + SESSION_SECONDS > now:
                return
            self._end(session)

    def _end(self, session: Session) -> None:
        self._drop(session)
        self._ended[session.id] = session.jid
        while len(self._ended) > ENDED_REMEMBERED:
            self._ended.popitem(last=False)

    def _drop(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        owned = self._owned.get(session.owner)
        if owned is not None:
            owned.pop(session.id, None)
            if not owned:
                del self._owned[session.owner]


def _admin_node(name: str) -> str:
    """XEP-0133 §4; a command of another specification has its whole name already."""
    return name if ":" in name else f"{ns.ADMIN}#{name}"


def _form_type(command: Command) -> str:
    return ns.ADMIN if command.admin else ns.COMMAND_FORM


def _may(command: Command, person: Person | None) -> bool:
    """May they, as they are now? What is for administrators is not done from elsewhere."""
    if person is None:
        return False
    if command.admin:
        return person.account.admin and not person.account.disabled and not person.linked
    return bool(person.account.key) or command.strangers


def _language(element: Element, person: Person) -> str:
    """Of a language that was asked for outright, there are texts or not (§4.5)."""
    wanted = element.get(_LANG)
    if not wanted:
        base = person.language.partition("-")[0].casefold()
        return base if base in languages() else "en"
    if wanted.partition("-")[0].casefold() not in languages():
        raise BadLocale(say("en", "forms.not_in_that_language"))
    return wanted


def _form(element: Element) -> Element | None:
    """What was submitted. Raises BadPayload (§4.4)."""
    children = list(element.elements())
    if not children:
        return None
    form = children[0]
    # §4.4: a form of type cancel is to be taken for one of type submit.
    if len(children) > 1 or not form.is_(ns.DATA, "x") or form.get("type") not in ("submit", "cancel"):
        raise BadPayload("a data form of type submit is needed")
    return form


def _notes(answer: Answer, language: str) -> list[Element]:
    if not answer.text and (answer.posts or answer.form):
        return []
    return [Element(ns.COMMANDS, "note", {"type": "info"}, answer.text or say(language, "forms.done"))]


def _results(command: Command, answer: Answer, language: str) -> list[Element]:
    """Fields, or posts; not both, since clients show one form."""
    if answer.form:
        fields = [
            Field(
                var=name,
                type="text-multi" if "\n" in value else "text-single",
                label=label(command, name, language) or name,
                values=tuple(value.split("\n")),
            )
            for name, value in answer.form
        ]
        return [dialogue.write("result", fields, form_type=_form_type(command), title=summary(command, language))]
    if answer.posts:
        columns = {name: say(language, f"forms.post.{name}") for name in ("author", "text", "published", "address")}
        return [dialogue.write_table(columns, map(_row, answer.posts), title=summary(command, language))]
    return []


def _row(post: Post) -> tuple[str, ...]:
    return str(author_of(post)), post.entry.text, stamp(post.item.published), post.address.uri
