"""RFC 1035 §7.4, RFC 2308: what name servers said, remembered as long as they said that it is true.

An answer counts for the shortest TTL of its records. That there is no such name, or nothing of that kind under it,
counts as long as the zone says (its SOA record comes with such an answer), but no longer than five minutes; where
nothing says how long, it is not remembered. A name server that failed, or was silent, has said nothing.

Names come from strangers, so what is remembered is bounded: the oldest goes first, and an answer of very many records
is asked for again each time.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.names import dns, error
from twisted.names.common import ResolverBase
from twisted.python.failure import Failure

from microblog.runtime import Clock

REMEMBERED_MAX: Final = 5000
RECORDS_MAX: Final = 64  # of one answer
TTL_MAX_SECONDS: Final = 86_400
NEGATIVE_MAX_SECONDS: Final = 300

_Question = tuple[bytes, int, int]


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer, or None for a name that does not exist; ``until`` when it is true."""

    records: tuple[Any, ...] | None
    until: float


class Remembering(ResolverBase):
    """An ``IResolver`` in front of another one, whose answers it remembers; only the answer section of them."""

    def __init__(self, resolver: Any, clock: Clock) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types here
        self._resolver = resolver
        self._clock = clock
        self._said: OrderedDict[_Question, _Said] = OrderedDict()

    def __len__(self) -> int:
        return len(self._said)

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> "Deferred[Any]":
        question = (name.lower(), cls, type)
        said = self._said.get(question)
        if said is not None and self._clock.monotonic() < said.until:
            if said.records is None:
                return fail(error.DNSNameError(name))
            return succeed((list(said.records), [], []))
        answer: Deferred[Any] = self._resolver.query(dns.Query(name, type, cls), timeout)
        return answer.addCallbacks(self._answered, self._failed, callbackArgs=(question,), errbackArgs=(question,))

    def _answered(self, answer: Any, question: _Question) -> Any:
        records, authority, _ = answer
        seconds = min((record.ttl for record in records), default=NEGATIVE_MAX_SECONDS)
        if not any(record.type == question[2] for record in records):  # at most an alias of what has none
            seconds = min(seconds, _negative_seconds(authority))
        if len(records) <= RECORDS_MAX:
            self._remember(question, tuple(records), seconds)
        return answer

    def _failed(self, failure: Failure, question: _Question) -> Failure:
        if isinstance(failure.value, error.DNSNameError):
            said = failure.value.args[0] if failure.value.args else None
            self._remember(question, None, _negative_seconds(said.authority if isinstance(said, dns.Message) else ()))
        return failure

    def _remember(self, question: _Question, records: tuple[Any, ...] | None, seconds: int) -> None:
        self._said.pop(question, None)
        if seconds > 0:
            self._said[question] = _Said(records, self._clock.monotonic() + min(seconds, TTL_MAX_SECONDS))
            if len(self._said) > REMEMBERED_MAX:
                self._said.popitem(last=False)


def _negative_seconds(authority: Any) -> int:
    """RFC 2308 §5."""
    zones = [record for record in authority if record.type == dns.SOA]
    return min((min(record.ttl, record.payload.minimum, NEGATIVE_MAX_SECONDS) for record in zones), default=0)
