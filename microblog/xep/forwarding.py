"""docs/protocol/fanout.md §5: what waits in a domain's delivery log is sent to it until the domain has stored it.

One delivery is under way for a domain, as much as goes into one. What was not answered is sent again under the same
numbers. An entry that the domain can never take, for its size, because it does not understand it or because it breaks
on it again and again, is void from then on, and its author's delivery report says why: no log stands still for ever for
one of its entries. A node that breaks on everything loses a few of them, and then nothing more.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from microblog.model.errors import BadRequest, Refusal
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.store.crashpoint import crashpoint
from microblog.store.database import Database, Transaction
from microblog.usecases import delivering, forwarding
from microblog.usecases.delivering import Batch, Progress
from microblog.usecases.entries import Entries, Entry
from microblog.usecases.forwarding import Taken, Turn
from microblog.wire import atom, fanout, notification
from microblog.wire.errors import read_condition
from microblog.wire.fanout import FanoutLimits, Stored
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, Raw
from microblog.xmpp.remote import DeliveryFailed

ANSWER_SECONDS: Final = 60
OVERLOAD_SECONDS: Final = 5
ENVELOPE_BYTES: Final = 1000  # what stands around the entries, at most
_NOT_SPOKEN: Final = ("feature-not-implemented", "service-unavailable")
_NOT_UNDERSTOOD: Final = ("bad-request", "not-acceptable", "policy-violation")
_BROKEN: Final = "internal-server-error"
BROKEN_TRIES: Final = 3
BROKEN_ENTRIES_MAX: Final = 3  # in a row: then it is not for the entries that a node breaks

# Sends an IQ of ours and waits for the answer (``Router.request``).
Request = Callable[..., Awaitable[Stanza]]


class Peers(Protocol):
    """What is known of other nodes (``xep.peers.Peers``)."""

    def limits(self, domain: str) -> Awaitable[FanoutLimits | None]:
        """What a node takes at once; None for a server that keeps no log."""

    def refused(self, domain: str) -> Awaitable[None]:
        """It did not understand what a node understands."""

    def proved(self, domain: str) -> Awaitable[bool]:
        """Is it still the one that it was?"""


class Sent(Enum):
    """What became of a delivery from a log. ``LEVEL``: with it all that is owed was taken; ``AGAIN``: it is to go in
    another form.
    """

    TAKEN = auto()
    LEVEL = auto()
    AGAIN = auto()
    NO_LOG = auto()


class Way(NamedTuple):
    """How a domain is told: ``limits`` of its log, if it keeps one; ``trusted``: also of what is not public."""

    trusted: bool
    limits: FanoutLimits | None = None


class _Broken(NamedTuple):
    """What broke a node last (first number, and whether others were with it), how often, and how many entries did."""

    what: tuple[int, bool] = (0, False)
    tries: int = 0
    entries: int = 0


class Written(NamedTuple):
    """Entries as text; ``unsent``: those that are void because they cannot be sent, and why."""

    texts: list[Raw]
    unsent: dict[int, str]


class Given:
    """How far each domain can have come with its log: what had been numbered when this server began, and what was sent
    since.

    Who has more knows another log under our numbers: we were restored from a backup. That more were numbered since says
    nothing, as the same numbers may have been given before.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._fetched: dict[str, int] = {}

    def begin(self, numbers: Mapping[str, int]) -> None:
        """So many had been numbered."""
        self._numbers = dict(numbers)

    def upto(self, domain: str) -> int:
        """The last number that a domain can have."""
        return self._numbers.get(domain, 0)

    def gave(self, domain: str, number: int) -> None:
        """A domain may have a number from now on."""
        if number > self.upto(domain):
            self._numbers[domain] = number

    def was_fetched(self, domain: str, number: int) -> None:
        """A domain has asked for it, and may have it while it is delivered as well."""
        self.gave(domain, number)
        self._fetched[domain] = max(number, self._fetched.get(domain, 0))

    def fetched(self, domain: str) -> int:
        """The last number that a domain has asked for."""
        return self._fetched.get(domain, 0)


class Forwarder:
    """Sends from the logs. ``room``: how large a stanza a domain takes on its stream now, if it says so; ``given``: how
    far each can have come."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        request: Request,
        peers: Peers,
        clock: Clock,
        *,
        room: Callable[[str], int | None] = lambda domain: None,
        given: Given | None = None,
    ) -> None:
        self._database = database
        self._request = request
        self._peers = peers
        self._clock = clock
        self._room = room
        self._given = given or Given()
        self._host = JID("", database.domain)
        self._one_by_one: set[str] = set()  # domains that did not take a delivery as it was
        self._hopeless: dict[str, dict[int, str]] = {}
        self._broken: dict[str, _Broken] = {}

    async def way(self, domain: str, trusted: bool) -> Way:
        """How a domain is told, asked when a stream to it has been opened."""
        limits = await self._peers.limits(domain)
        if limits is None and await self._database.read(forwarding.is_pending, domain):
            await self._database.write(forwarding.back_to_outbox, domain)
        return Way(trusted and await self._peers.proved(domain), limits)

    async def forward(self, domain: str, way: Way, progress: Progress | None, failing: bool) -> Batch | Sent:
        """Send what comes next in the log; or else what goes to each of its recipients. Raises DeliveryFailed."""
        limits = way.limits
        assert limits is not None
        room = self._room(domain)
        turn = Turn(
            domain=domain,
            trusted=way.trusted,
            named=named,
            max_entries=limits.max_entries,
            max_bytes=limits.max_bytes if room is None else min(room, limits.max_bytes),
            progress=progress,
        )
        found = await self._database.write(forwarding.next_entries, turn)
        if not found.pending:
            return found.batch or Batch(deliveries=(), held=found.held)
        crashpoint("K12")
        return await self._send(domain, turn, failing)

    async def _send(self, domain: str, turn: Turn, failing: bool) -> Sent:
        """Send what is pending, once. Raises DeliveryFailed."""
        entries = await self._database.read(forwarding.pending, turn)
        if entries.changed:
            await self._database.write(forwarding.write_down, domain, entries.changed)
        if domain in self._one_by_one:
            entries = replace(entries, entries=entries.entries[:1])
        if not entries.entries:
            return Sent.AGAIN
        written = write_entries(entries.entries, turn.max_bytes, self._hopeless.get(domain))
        sent = replace(entries, entries=entries.entries[: len(written.texts)])
        for number, reason in written.unsent.items():
            self._log.warn("Entry {number} is not for {domain}: {reason}", number=number, domain=domain, reason=reason)
        given = max(sent.prev, self._given.upto(domain))
        self._given.gave(domain, sent.prev + len(written.texts))
        answer = await self._answer(domain, sent, written.texts)
        if answer.type == "error":
            return await self._refused(domain, sent, answer)
        stored = _stored(answer, sent)
        crashpoint("K7")
        refused = {**stored.refused, **written.unsent}
        # It may have fetched them while they were under way.
        beyond = stored.had is not None and stored.had > max(given, self._given.fetched(domain))
        taken = Taken(upto=stored.upto, beyond=beyond, unwanted=stored.unwanted, refused=refused)
        level = await self._acknowledged(domain, sent, taken, failing)
        if level is None:
            raise DeliveryFailed("it has more than it was told; its log begins anew, as after a backup was restored")
        if stored.upto <= sent.prev:
            raise DeliveryFailed("it stored nothing")
        self._one_by_one.discard(domain)
        self._hopeless.pop(domain, None)
        if len(written.unsent) < len(sent.entries):
            self._broken.pop(domain, None)
        return Sent.LEVEL if level else Sent.TAKEN

    async def _answer(self, domain: str, sent: Entries, texts: Sequence[Raw]) -> Stanza:
        payload = fanout.write_deliver(sent.epoch, sent.prev, texts)
        minimum = Proof.CERTIFICATE if sent.private else Proof.DIALBACK
        try:
            # Started here and not only awaited: it writes before it waits for the answer.
            asking = Deferred.fromCoroutine(self._ask(JID("", domain), payload, minimum))
            crashpoint("K6")
            return await asking
        except Refusal as refusal:
            raise DeliveryFailed(refusal.text or "no answer to a delivery") from refusal

    async def _ask(self, to: JID, payload: Element, minimum: Proof) -> Stanza:
        return await self._request("set", self._host, to, payload, seconds=ANSWER_SECONDS, minimum_proof=minimum)

    async def _refused(self, domain: str, sent: Entries, answer: Stanza) -> Sent:
        """A delivery as a whole was answered with an error. Raises DeliveryFailed."""
        condition, type_ = read_condition(answer.element)
        entry, hopeless = sent.entries[0], self._hopeless.get(domain, {})
        if answer.proof is not Proof.LOCAL and condition in _NOT_SPOKEN:
            self._log.info("{domain} keeps no delivery log any more: {condition}", domain=domain, condition=condition)
            await self._peers.refused(domain)
            return Sent.NO_LOG
        if answer.proof is Proof.LOCAL or type_ == "wait" or condition not in (*_NOT_UNDERSTOOD, _BROKEN):
            raise DeliveryFailed(f"a delivery was not taken: {condition}")
        if condition == _BROKEN and not self._breaks(domain, sent):
            raise DeliveryFailed(f"a delivery was not taken: {condition}")
        if len(sent.entries) > 1:
            self._one_by_one.add(domain)
        elif entry.event is None or entry.number in hopeless:
            raise DeliveryFailed(f"a delivery was not taken: {condition}")
        else:
            self._hopeless[domain] = {entry.number: condition}
        return Sent.AGAIN

    def _breaks(self, domain: str, sent: Entries) -> bool:
        """Did a delivery break a node so often that it is likely to be for what is in it?"""
        known, what = self._broken.get(domain, _Broken()), (sent.entries[0].number, len(sent.entries) > 1)
        tries = known.tries + 1 if what == known.what else 1
        is_entry = tries == BROKEN_TRIES and not what[1]
        self._broken[domain] = _Broken(what, tries, known.entries + is_entry)
        return tries == BROKEN_TRIES and (not is_entry or known.entries < BROKEN_ENTRIES_MAX)

    async def _acknowledged(self, domain: str, sent: Entries, taken: Taken, failing: bool) -> bool | None:
        while True:
            try:
                return await self._database.write(_acknowledged, domain, sent, taken, failing)
            except Refusal:
                # They have been delivered: better to wait here than to send them a second time.
                await self._clock.sleep(OVERLOAD_SECONDS)


def write_entries(entries: Iterable[Entry], max_bytes: int, hopeless: dict[int, str] | None = None) -> Written:
    """As many entries as fit into one delivery. What is larger than that alone is void."""
    texts: list[Raw] = []
    unsent: dict[int, str] = {}
    room = size = max_bytes - ENVELOPE_BYTES
    for entry in entries:
        text, reason = _write(entry), (hopeless or {}).get(entry.number)
        if len(text.encode()) > room:
            reason = f"larger than the {max_bytes} bytes that are taken at once"
        if reason is not None:
            unsent[entry.number] = reason
            text = fanout.write_void(entry.number)
        size -= len(text.encode())
        if size < 0 and texts:
            unsent.pop(entry.number, None)
            break
        texts.append(text)
    return Written(texts, unsent)


def _write(entry: Entry) -> Raw:
    event = None if entry.event is None else notification.write_event(entry.event)
    if entry.event is None or event is None:
        return fanout.write_void(entry.number)
    return fanout.write_entry(
        entry.number,
        entry.event.node.service,
        entry.told,
        event,
        version=entry.version,
        digest=entry.digest,
        to=entry.to,
    )


def named(payload: str) -> Iterable[JID]:
    """Whom a post names."""
    entry = atom.read_text(payload) if "mentioned" in payload else None
    return () if entry is None else entry.mentions


def _stored(answer: Stanza, sent: Entries) -> Stored:
    payload = answer.payload
    try:
        if payload is None:
            raise BadRequest("there is none")
        stored = fanout.read_stored(payload)
    except BadRequest as error:
        raise DeliveryFailed(f"the answer to a delivery is not understood: {error.text}") from error
    if stored.epoch != sent.epoch:
        raise DeliveryFailed("the answer to a delivery is of another log")
    return stored


def _acknowledged(tx: Transaction, domain: str, sent: Entries, taken: Taken, failing: bool) -> bool | None:
    """Is nothing owed any more? None: it has more than it was told."""
    if not forwarding.acknowledged(tx, domain, sent, taken):
        return None
    if failing:
        delivering.succeeded(tx, domain)
    return tx.outbox.count(domain) == 0
