"""Federation policy for administrators: what ``twistd microblog domain`` and ``queue`` do, as words for chat.

An account may do this only from here, as with all of ``administration``. Rules hold as soon as they are said.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from microblog.commands.administration import administrator
from microblog.commands.command import Answer, Call, Command, Kind, Parameter
from microblog.commands.texts import say
from microblog.model import jid
from microblog.model.errors import JIDMalformed, NotAcceptable
from microblog.model.policy import FederationMode, Grade, Rule
from microblog.store.database import Database, Transaction
from microblog.usecases import policing, queueing
from microblog.usecases.queueing import Queue

GROUP: Final = "federation"
LISTED_MAX: Final = 30
RESET: Final = "reset"
_DOMAIN: Final = Parameter(name="domain", kinds=(Kind.WORD,))
# What is refused is asked for again: that has a word of its own.
_GRADE: Final = Parameter(
    name="grade", kinds=(Kind.CHOICE,), choices=(*(one.value for one in Grade if one is not Grade.REFUSED), RESET)
)
_REASON: Final = Parameter(name="reason", kinds=(Kind.TEXT,), required=False)


class FederationWords:
    """``changed``: the rules are others now; ``retry``: a domain is to be tried at once."""

    def __init__(
        self,
        database: Database,
        mode: FederationMode,
        changed: Callable[[], None],
        retry: Callable[[str], None],
    ) -> None:
        self._database = database
        self._mode = mode
        self._changed = changed
        self._retry = retry

    def commands(self) -> Iterable[Command]:
        """All of them."""
        yield _word("admin domains", self.domains)
        yield _word("admin domain", self.domain, _DOMAIN)
        yield _word("admin grade", self.grade, _DOMAIN, _GRADE, _REASON)
        yield _word("admin refuse", self.refuse, _DOMAIN, _REASON, destructive=True)
        yield _word("admin trust", self.trust, _DOMAIN)
        yield _word("admin queue", self.queue)
        yield _word("admin retry", self.retry, _DOMAIN)

    async def domains(self, call: Call) -> Answer:
        """The rules, and the domains that are doubted."""
        rules, doubted = await self._database.read(_rules)
        lines = [_text(call, f"mode_{self._mode}")]
        lines += [self._line(call, rule) for rule in rules[:LISTED_MAX]]
        lines += [_text(call, "doubted", domain=domain) for domain in doubted[:LISTED_MAX]]
        if len(rules) > LISTED_MAX:
            lines.append(_text(call, "more", number=len(rules) - LISTED_MAX))
        return Answer(text="\n".join(lines))

    async def domain(self, call: Call) -> Answer:
        """What there is to say of a domain."""
        domain = _domain(call)
        shown = await self._database.read(policing.show, domain, self._mode)
        lines = [
            _text(call, f"is_{shown.grade}", domain=domain),
            _text(call, "between", follows=shown.follows, followers=shown.followers),
            _text(call, "stored", items=shown.storage.items),
            self._waiting(call, shown.queue),
        ]
        lines += [self._line(call, rule) for rule in shown.rules if rule.grade is not None]
        if shown.doubted is not None:
            lines.append(_text(call, "doubted", domain=domain))
        return Answer(text="\n".join(lines))

    async def grade(self, call: Call) -> Answer:
        """How much of a domain is let in, or what lists and the default say."""
        domain, grade = _domain(call), call.get("grade")
        if grade != RESET:
            return await self._set(call, domain, Grade(grade))
        await self._database.write(policing.reset, domain)
        self._changed()
        return Answer(text=_text(call, "was_reset", domain=domain))

    async def refuse(self, call: Call) -> Answer:
        """Have nothing to do with a domain."""
        return await self._set(call, _domain(call), Grade.REFUSED)

    async def _set(self, call: Call, domain: str, grade: Grade) -> Answer:
        await self._database.write(policing.set_grade, domain, grade, call.get("reason", ""))
        self._changed()
        return Answer(text=_text(call, f"is_{grade}", domain=domain))

    async def trust(self, call: Call) -> Answer:
        """It is the same as before."""
        domain = _domain(call)
        await self._database.write(policing.trust, domain)
        self._retry(domain)
        return Answer(text=_text(call, "trusted", domain=domain))

    async def queue(self, call: Call) -> Answer:
        """What waits for whom."""
        queues = await self._database.read(queueing.queues)
        lines = [self._waiting(call, queue) for queue in queues[:LISTED_MAX]]
        if len(queues) > LISTED_MAX:
            lines.append(_text(call, "more", number=len(queues) - LISTED_MAX))
        return Answer(text="\n".join(lines) or _text(call, "nothing_waits"))

    async def retry(self, call: Call) -> Answer:
        """Try a domain now."""
        domain = _domain(call)
        await self._database.read(queueing.retry, domain)
        self._retry(domain)
        return Answer(text=_text(call, "tried", domain=domain))

    def _line(self, call: Call, rule: Rule) -> str:
        grade = rule.grade or "-"
        return _text(call, "rule", domain=rule.domain, grade=grade, reason=rule.reason, list=rule.source).strip(" :")

    def _waiting(self, call: Call, queue: Queue) -> str:
        waiting = queue.rows + queue.sent
        text = _text(call, "waiting", domain=queue.domain, state=queue.state, number=waiting, feeds=queue.feeds)
        return f"{text} {queue.last_error}".strip()


def _domain(call: Call) -> str:
    """Raises NotAcceptable."""
    try:
        return jid.domain(call.get("domain"))
    except JIDMalformed:
        raise NotAcceptable(_text(call, "no_domain", domain=call.get("domain"))) from None


def _rules(tx: Transaction) -> tuple[list[Rule], list[str]]:
    return tx.policies.own(), [peer.domain for peer in tx.peers.doubted()]


def _word(
    name: str, function: Callable[[Call], Awaitable[Answer]], *parameters: Parameter, destructive: bool = False
) -> Command:
    async def run(call: Call) -> Answer:
        administrator(call)
        return await function(call)

    return Command(
        name=name,
        group=GROUP,
        function=run,
        parameters=parameters,
        private=True,
        admin=True,
        destructive=destructive,
    )


def _text(call: Call, text: str, **values: object) -> str:
    return say(call.person.language, f"{GROUP}.{text}", **values)
