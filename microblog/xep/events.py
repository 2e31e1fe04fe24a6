"""docs/protocol/events.md: programs of our people come for what happens, over a stream that they opened outwards.

A program opens its durable subscription by name, from a client stream or from an address elsewhere that is linked to
its account; it is sent events, at most ``window`` that it has not acknowledged; what it acknowledges does not come
again. Whatever breaks, it opens anew and goes on. Events are read by ``usecases.informing`` when there is room for
them, a page at a time; nothing is kept here but how far a stream has come.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from twisted.internet.defer import CancelledError, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from microblog.commands.command import Person
from microblog.model.access import audiences_allowed, proof_for
from microblog.model.errors import BadRequest, Conflict, Forbidden, ItemNotFound, Refusal, UnexpectedRequest
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.model.program import Position, Program, ProgramEvent
from microblog.runtime import Clock, Repetition, Tasks
from microblog.store.database import Database
from microblog.usecases import informing
from microblog.usecases.informing import EventPage, Make, Next
from microblog.wire import events, ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.people import People
from microblog.xep.waking import Waking
from microblog.xmpp.dispatch import At, Extension, Route
from microblog.xmpp.router import Router
from microblog.xmpp.sessions import Session

PAGE: Final = 50
MESSAGE_MAX_CHARACTERS: Final = 65_536
# After a page as long a pause as it took: reading for programs is half of what one thread can do.
PAUSE_MAX_SECONDS: Final = 0.5
RETRY_MAX_SECONDS: Final = 30
SWEEP_SECONDS: Final = 60
# Somebody elsewhere who acknowledges nothing for so long has lost what was sent, or has gone.
SILENT_SECONDS: Final = 300
# A cursor that stays behind for want of anything to tell is moved when it is so far behind.
PASSED_OVER: Final = 1000
# And so often in any case, so that it is never older than what is forgotten.
SWEEPS_TO_PASS_OVER: Final = 1440


@dataclass(slots=True, eq=False)
class _Stream:
    """``session``: None for somebody elsewhere. ``upto``: what was sent; ``unacknowledged``: the cursors of it.

    ``done``: what is written down as done with. ``heard``: when it said something last. ``gap``: the cursor of the
    last event that said there was one.
    """

    program: Program
    account: JID
    address: JID
    session: Session | None
    window: int
    audiences: frozenset[Audience]
    done: Position
    upto: Position
    heard: float
    unacknowledged: deque[Position] = field(default_factory=deque)
    told_gap: bool = False
    gap: Position | None = None
    running: bool = False
    again: bool = False

    @property
    def key(self) -> tuple[JID, str]:
        return self.account, self.program.name

    @property
    def room(self) -> int:
        return self.window - len(self.unacknowledged)


class EventStreams(Extension):
    """``trusts``: domains that may be sent what is not public without a certificate."""

    _log = Logger()
    features = (ns.EVENTS,)

    def __init__(
        self,
        router: Router,
        database: Database,
        people: People,
        waking: Waking,
        clock: Clock,
        tasks: Tasks,
        *,
        trusts: Callable[[str], bool] = lambda domain: False,
    ) -> None:
        self._router = router
        self._database = database
        self._people = people
        self._waking = waking
        self._clock = clock
        self._tasks = tasks
        self._trusts = trusts
        # By account and name.
        self._streams: dict[tuple[JID, str], _Stream] = {}
        self._reads = DeferredLock()
        self._sweeps = 0
        self._pause: IDelayedCall | None = None
        self._sweep: Repetition | None = None

    def start(self) -> None:
        """Look now and then who is there still."""
        self._sweep = self._clock.every(SWEEP_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._sweep is not None:
            self._sweep.stop()
        if self._pause is not None and self._pause.active():
            self._pause.cancel()

    def routes(self) -> Iterable[Route]:
        """All to the node."""
        yield Route.set(ns.EVENTS, "open", self.open, at=At.HOST)
        yield Route.set(ns.EVENTS, "ack", self.acknowledge, at=At.HOST)
        yield Route.set(ns.EVENTS, "close", self.close, at=At.HOST)
        yield Route.set(ns.EVENTS, "delete", self.delete, at=At.HOST)
        yield Route.get(ns.EVENTS, "list", self.list, at=At.HOST)

    # requests

    async def open(self, request: Stanza) -> Element:
        """A program comes for its events. Raises Forbidden, BadRequest, Conflict, ResourceConstraint."""
        asked = events.read_open(_payload(request))
        person = await self._person(request)
        wanted = Make(account=person.account, name=asked.name, sources=asked.sources, start=asked.start)
        program = await self._database.write(informing.make, wanted)
        older = self._streams.get((person.jid, program.name))
        if older is not None:
            self._end(older, events.TAKEN if older.address != request.from_ else None)
        here = request.from_.domainpart == self._router.domain
        stream = _Stream(
            program=program,
            account=person.jid,
            address=request.from_,
            session=self._router.sessions.get(request.from_) if here else None,
            window=asked.window,
            audiences=audiences_allowed(request.from_.domainpart, local_domain=self._router.domain),
            done=program.position,
            upto=program.position,
            heard=self._clock.monotonic(),
        )
        if here and stream.session is None:
            raise UnexpectedRequest("nobody is there to be told")
        self._streams[stream.key] = stream
        self._waking.add(program, person.jid, lambda: self._wake(stream))
        # After the answer.
        self._clock.later(0, self._wake, stream)
        return events.write_opened(program, asked.window)

    async def acknowledge(self, request: Stanza) -> None:
        """A program has done with what it was told. Raises Forbidden, BadRequest, ItemNotFound, UnexpectedRequest."""
        name, position = events.read_ack(_payload(request))
        stream = self._held(await self._person(request), request, name)
        stream.heard = self._clock.monotonic()
        if stream.done.reaches(position):
            return
        if position not in stream.unacknowledged:
            raise BadRequest("that was not told here")
        heard_gap = stream.gap is not None and position.reaches(stream.gap)
        try:
            program = await self._database.write(
                informing.acknowledge, stream.program.key, position, heard_gap=heard_gap
            )
        except ItemNotFound:
            if self._is_there(stream):
                self._end(stream, events.DELETED)
            raise
        stream.done = program.position
        while stream.unacknowledged and stream.done.reaches(stream.unacknowledged[0]):
            stream.unacknowledged.popleft()
        self._clock.later(0, self._wake, stream)

    async def close(self, request: Stanza) -> None:
        """A program goes, and will come back. Raises Forbidden, BadRequest, UnexpectedRequest."""
        stream = self._held(await self._person(request), request, events.read_name(_payload(request)))
        self._end(stream, None)
        await self._pass_over(stream)

    async def delete(self, request: Stanza) -> None:
        """A program does not come back. Raises Forbidden, BadRequest, ItemNotFound, Conflict for a webhook."""
        name = events.read_name(_payload(request))
        person = await self._person(request)
        if (await self._database.read(informing.find, person.account, name)).url:
            raise Conflict("this is a webhook: it is ended where it was made")
        program = await self._database.write(informing.remove, person.account, name)
        stream = self._streams.get((person.jid, program.name))
        if stream is not None:
            self._end(stream, events.DELETED if stream.address != request.from_ else None)

    async def list(self, request: Stanza) -> Element:
        """The programs of somebody. Raises Forbidden."""
        person = await self._person(request)
        programs = await self._database.read(informing.programs, person.account)
        held = {one.name: stream.address for one in programs if (stream := self._streams.get((person.jid, one.name)))}
        return events.write_list(programs, held)

    async def _person(self, request: Stanza) -> Person:
        person = await self._people.person(request)
        if person is None:
            raise Forbidden("events are for the programs of people of this node")
        return person

    def _held(self, person: Person, request: Stanza, name: str) -> _Stream:
        stream = self._streams.get((person.jid, name))
        if stream is None or stream.address != request.from_:
            raise UnexpectedRequest("this stream of events is not open here: open it first")
        return stream

    # for others in this house

    def reader(self, account: JID, name: str) -> JID | None:
        """Who reads the events of a program of somebody now."""
        stream = self._streams.get((account, name))
        return None if stream is None else stream.address

    def changed(self, account: JID, program: Program) -> None:
        """A program of somebody has other sources."""
        stream = self._streams.get((account, program.name))
        if stream is not None:
            stream.program = program
            self._waking.add(program, account, lambda: self._wake(stream))
            self._wake(stream)

    def removed(self, account: JID, name: str) -> None:
        """A program of somebody is no more."""
        stream = self._streams.get((account, name))
        if stream is not None:
            self._end(stream, events.DELETED)

    def bounced(self, error: Stanza) -> None:
        """What was sent to somebody elsewhere came back."""
        for stream in [one for one in self._streams.values() if one.session is None and one.address == error.from_]:
            self._end(stream, None)

    # sending

    def _wake(self, stream: _Stream) -> None:
        stream.again = True
        if not stream.running and stream.room > 0 and self._is_there(stream):
            stream.running = True
            self._tasks.spawn(self._run(stream), f"events for {stream.program.name} of {stream.account}")

    async def _run(self, stream: _Stream) -> None:
        try:
            while stream.again and stream.room > 0 and self._is_there(stream):
                stream.again = False
                page = await self._page(stream)
                if page is None or not self._is_there(stream):
                    return
                self._send(stream, page)
                if not page.events:
                    await self._pass_over(stream, PASSED_OVER)
        finally:
            stream.running = False

    async def _page(self, stream: _Stream) -> EventPage | None:
        """The next events, if the stream is there still."""
        wanted = Next(
            program=stream.program.key,
            limit=min(stream.room, PAGE),
            after=stream.upto,
            audiences=stream.audiences,
            address=stream.address if stream.session is None else None,
            told_gap=stream.told_gap,
        )
        seconds = 1
        while self._is_there(stream):
            try:
                return await self._read(wanted)
            except (ItemNotFound, Forbidden):
                self._end(stream, events.DELETED)
            except Refusal:
                await self._clock.sleep(seconds)
                seconds = min(2 * seconds, RETRY_MAX_SECONDS)
            except CancelledError:
                raise
            except Exception:
                self._log.failure("Events for {name} cannot be read", name=stream.program.name)
                self._end(stream, events.LOST)
        return None

    async def _read(self, wanted: Next) -> EventPage:
        """One page at a time, for whomever."""
        await self._reads.acquire()
        began = self._clock.monotonic()
        try:
            return await self._database.read(informing.next_events, wanted)
        finally:
            pause = min(self._clock.monotonic() - began, PAUSE_MAX_SECONDS)
            if pause > 0 and self._reads.waiting:
                self._pause = self._clock.later(pause, self._reads.release)
            else:
                self._reads.release()

    def _send(self, stream: _Stream, page: EventPage) -> None:
        stream.upto = page.position
        stream.again = stream.again or page.more
        for event in page.events:
            if event.gap:
                stream.gap = event.cursor
        stream.told_gap = page.program.missed and (stream.told_gap or bool(page.events))
        if page.events and not stream.unacknowledged:
            stream.heard = self._clock.monotonic()
        stream.unacknowledged.extend(event.cursor for event in page.events)
        for together in _messages(page.events):
            told = events.write_events(stream.program.name, together)
            message = events.write_message(self._router.host, stream.address, told)
            if stream.session is not None:
                stream.session.send(message)
            else:
                self._router.servers.send(message, self._proof(stream, together))

    def _proof(self, stream: _Stream, together: Iterable[ProgramEvent]) -> Proof:
        if self._trusts(stream.address.domainpart):
            return Proof.DIALBACK
        # What a retraction or a call is about is not known here.
        public = all(event.item is not None and event.item.audience is Audience.PUBLIC for event in together)
        return proof_for(Audience.PUBLIC if public else Audience.FOLLOWERS)

    async def _pass_over(self, stream: _Stream, behind: int = 0) -> None:
        """What is not for the program is not looked through again when it comes back."""
        if stream.unacknowledged or stream.upto.seq - stream.done.seq <= behind:
            return
        stream.done = stream.done.beyond(stream.upto)
        try:
            await self._database.write(informing.pass_over, stream.program.key, stream.upto)
        except Refusal:
            return  # it is looked through again, then

    # who is there

    def _is_there(self, stream: _Stream) -> bool:
        """Ends it, if its session has gone."""
        if self._streams.get(stream.key) is not stream:
            return False
        if stream.session is not None and self._router.sessions.get(stream.address) is not stream.session:
            self._end(stream, None)
            return False
        return True

    def _end(self, stream: _Stream, reason: str | None) -> None:
        del self._streams[stream.key]
        self._waking.remove(stream.program.key)
        if reason is not None:
            closed = events.write_closed(stream.program.name, reason)
            self._router.send(events.write_message(self._router.host, stream.address, closed))

    def _look(self) -> None:
        now = self._clock.monotonic()
        self._sweeps += 1
        for stream in list(self._streams.values()):
            if not self._is_there(stream):
                continue
            if stream.session is None and stream.unacknowledged and now - stream.heard > SILENT_SECONDS:
                self._end(stream, events.LOST)
            elif self._sweeps % SWEEPS_TO_PASS_OVER == 0:
                self._tasks.spawn(self._pass_over(stream), f"the cursor of {stream.program.name}")


def _messages(page: Iterable[ProgramEvent]) -> Iterable[list[ProgramEvent]]:
    """Events that go together in one message."""
    together: list[ProgramEvent] = []
    size = 0
    for event in page:
        length = len(event.payload) + (0 if event.item is None else len(event.item.payload))
        if together and size + length > MESSAGE_MAX_CHARACTERS:
            yield together
            together, size = [], 0
        together.append(event)
        size += length
    if together:
        yield together


def _payload(request: Stanza) -> Element:
    assert request.payload is not None
    return request.payload
