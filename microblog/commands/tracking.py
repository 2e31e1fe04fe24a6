"""Being told of what fits as it is written: ``track``, ``untrack``, ``tracks``."""

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from microblog.commands.command import Answer, Call, Command, Function, Kind, Parameter, Person
from microblog.commands.lines import plain
from microblog.commands.texts import has, say
from microblog.model.errors import NotSubscribed, TooManySubscriptions
from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.store.tracks import Track
from microblog.usecases import tracking
from microblog.usecases.tracking import Begun, Ended

PAGE: Final = 20
ASK_SECONDS: Final = 10
_GROUP: Final = "realtime"
_OFF: Final = "off"


class Tracks(Protocol):
    """How things are tracked, here and elsewhere."""

    def begin(self, owner: JID, text: str, *, urgent: bool = False, deliver: bool = False) -> Awaitable[Begun]:
        """Track. Raises Refusal."""

    def end(self, owner: JID, tracks: Iterable[Track]) -> Awaitable[Ended]:
        """Track no more."""

    def ask(self, track: Track, seconds: float | None = None) -> Awaitable[str]:
        """Ask the node elsewhere that is to look; what is wrong."""


class TrackingWords:
    """The commands. ``timeline``: shows what met a track, by ``which``."""

    def __init__(self, database: Database, tracks: Tracks, timeline: Function) -> None:
        self._database = database
        self._tracks = tracks
        self._timeline = timeline

    def commands(self) -> Iterable[Command]:
        """All of them."""
        urgent = Parameter(name="urgent", kinds=(Kind.FLAG,), required=False)
        words = Parameter(name="words", kinds=(Kind.TEXT,), required=False)
        which = Parameter(name="which", kinds=(Kind.TEXT,))
        yield Command(name="track", group=_GROUP, function=self.track, parameters=(urgent, words))
        yield Command(name="untrack", group=_GROUP, function=self.untrack, parameters=(which,))
        number = Parameter(name="which", kinds=(Kind.WORD,), required=False)
        yield Command(name="tracks", group=_GROUP, function=self.tracks, parameters=(number,), aliases=("tracking",))

    async def track(self, call: Call) -> Answer:
        """``track [urgent] WORDS``; alone it shows what is tracked, ``track off`` ends it all."""
        person, words = call.person, call.get("words", "").strip()
        if not words:
            return await self.tracks(call)
        if words.casefold() == _OFF:
            return await self._end(person, "all")
        try:
            begun = await self._tracks.begin(person.jid, words, urgent=bool(call.get("urgent")))
        except TooManySubscriptions:
            raise TooManySubscriptions(_text(person, "too_many", number=tracking.TRACKS_MAX)) from None
        said = []
        for track in begun.tracks:
            said.append(_text(person, "tracked" if begun.new else "known", number=track.number, query=_query(track)))
            if track.service and not track.lease:
                problem = await self._tracks.ask(track, ASK_SECONDS)
                said.append(_problem(person, track, problem) if problem else _text(person, "there", node=track.service))
        return Answer(text=" ".join(said))

    async def untrack(self, call: Call) -> Answer:
        """``untrack WORDS``, ``untrack ~2``, ``untrack all``."""
        return await self._end(call.person, call.arguments["which"])

    async def _end(self, person: Person, which: str) -> Answer:
        named = await self._named(person, which)
        ended = await self._tracks.end(person.jid, named)
        queries = ", ".join(f"~{track.number} {_query(track)}" for track in ended.tracks[:PAGE])
        return Answer(text=_text(person, "ended", queries=queries))

    async def tracks(self, call: Call, at: int = 0) -> Answer:
        """``tracks``: what is tracked, and how much has met it; ``tracks ~2``, ``tracks all``: what that was."""
        person, which = call.person, call.get("which")
        if which is not None:
            return await self._timeline(replace(call, arguments={"which": f"~{which.removeprefix('~')}"}))
        known = [
            track
            for track in await self._database.read(tracking.tracks_of, person.jid)
            if tracking.is_configured(track)
        ]
        if not known:
            return Answer(text=_text(person, "none"))
        page = known[at : at + PAGE]
        rows = tuple((f"~{track.number} {_query(track)}", _state(person, track)) for track in page)
        lines = [f"{name}: {note}" for name, note in rows]
        if not at:
            lines.insert(0, _text(person, "all", number=len(known)))
        more = None
        if len(known) > at + PAGE:
            lines.append(_text(person, "more"))
            more = partial(self.tracks, at=at + PAGE)
        return Answer(text="\n".join(lines), more=more, form=rows)

    async def _named(self, person: Person, which: str) -> tuple[Track, ...]:
        try:
            return await self._database.read(tracking.named, person.jid, person.account.key, which)
        except NotSubscribed:
            raise NotSubscribed(_text(person, "not_tracked", query=plain(which[:80]))) from None


def _query(track: Track) -> str:
    return plain(str(track.query))


def _state(person: Person, track: Track) -> str:
    notes: Sequence[str] = [_text(person, "hits", number=track.hits)]
    if track.urgent:
        notes = [*notes, _text(person, "urgent")]
    if track.problem:
        notes = [*notes, _problem(person, track, track.problem)]
    return ", ".join(notes)


def _problem(person: Person, track: Track, problem: str) -> str:
    text = f"problem.{problem}"
    known = has(f"{_GROUP}.tracks.{text}")
    return _text(person, text if known else "problem.other", node=track.service, problem=problem)


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{_GROUP}.tracks.{text}", **values)
