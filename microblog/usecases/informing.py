"""Programs are told what happens, from where they are: at least once, in order, as far as their owner may see it.

What happened at nodes is read out of the log of events, what matched and what was called out of tables of their own.
Nothing is written for a program when something happens: it has a cursor, moved by its acknowledgements, and what is
behind that is read when it asks. What an event is about is looked up when it is told, and whether the owner may see it
is asked then. An item that was edited since is told once, with the later event; one that is gone is not told at all,
and then that it went.

Nothing is told of whom the owner has muted or blocked, nor of what has a word or tag that is muted.

A retraction is told of what was in the program's own, home or local source. Whom an item named that is gone nobody
knows any more.

While some of the log is still to be looked through, matches and calls of a later time wait, so that what a program is
told keeps its order. Where things come from that were forgotten meanwhile, the next event says that there is a gap.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import takewhile
from typing import Final, NamedTuple

from microblog.model.account import Account
from microblog.model.errors import BadRequest, Conflict, Forbidden, ItemNotFound, ResourceConstraint
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node, NodeConfig
from microblog.model.program import EventKind, Position, Program, ProgramEvent, Source, is_name
from microblog.store import events
from microblog.store.programlogs import Hit, Logged, Stretch
from microblog.store.programs import CallRow
from microblog.store.transaction import Transaction
from microblog.usecases import linking, muting
from microblog.usecases.calling import AUDIENCE
from microblog.usecases.placing import FEED_ITEM
from microblog.usecases.sight import Sight

PROGRAMS_MAX: Final = 20  # of one account
CALL_DAYS: Final = 30
# Of a feed elsewhere that is followed the last posts are fetched; what is older than the follow by more is no news.
FOLLOWED_SLACK: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """Somebody wants a program of that name to be told of these sources; ``start``: of what is in the log already.

    No sources: those that it has. ``url``: of a webhook.
    """

    account: Account
    name: str
    sources: frozenset[Source] = frozenset()
    start: bool = False
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The next events of a program, behind ``after`` or, without that, behind what it acknowledged.

    ``audiences``: of what may go to where it reads them; ``address``: where that is, if it is elsewhere.
    ``told_gap``: it was told of a gap since it came.
    """

    program: int
    limit: int
    after: Position | None = None
    audiences: frozenset[Audience] = frozenset(Audience)
    address: JID | None = None
    told_gap: bool = False


class Concerned(NamedTuple):
    """People here whom items name, and the tags that items are under."""

    named: frozenset[JID]
    tags: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """``position``: up to where was looked, which may be behind the last event. ``more``: there may be more already."""

    program: Program
    events: tuple[ProgramEvent, ...]
    position: Position
    more: bool


# programs


def make(tx: Transaction, request: Make) -> Program:
    """Make a program, or give one other sources. Raises BadRequest, Conflict, Forbidden, ResourceConstraint."""
    if not is_name(request.name):
        raise BadRequest("a program's name is of small letters, digits, dots and hyphens")
    account = request.account
    known = tx.programs.find(account.key, request.name)
    if known is not None:
        if known.url != request.url:
            raise Conflict("there is a webhook of this name" if known.url else "there is a program of this name")
        if request.sources and request.sources != known.sources:
            tx.programs.set_sources(known.key, request.sources)
            known = replace(known, sources=request.sources)
        return known
    if not request.sources:
        raise BadRequest("there is no such program yet: say what it is to be told of")
    if not tx.accounts.exists(account.localpart):
        raise Forbidden("there is no such account any more")
    if tx.programs.count(account.key) >= PROGRAMS_MAX:
        raise ResourceConstraint(f"an account has at most {PROGRAMS_MAX} programs")
    now = Position() if request.start else Position(seq=tx.events.last(), hit=tx.program_logs.last_hit())
    key = tx.programs.add(account.key, request.name, request.sources, now, url=request.url)
    return _get(tx, key)


def remove(tx: Transaction, account: Account, name: str) -> Program:
    """End a program, with what waits for it. Raises ItemNotFound."""
    program = find(tx, account, name)
    tx.programs.remove(program.key)
    tx.programs.called(account.key, name)
    return program


def find(tx: Transaction, account: Account, name: str) -> Program:
    """A program by its name. Raises ItemNotFound."""
    program = tx.programs.find(account.key, name)
    if program is None:
        raise ItemNotFound("there is no such program")
    return program


def programs(tx: Transaction, account: Account) -> list[Program]:
    """All that somebody has."""
    return tx.programs.of(account.key)


# how far they are


def acknowledge(tx: Transaction, key: int, position: Position, *, heard_gap: bool = False) -> Program:
    """A program has done with everything up to a position; it never goes back. Raises ItemNotFound.

    ``heard_gap``: among that was an event which said that something had been forgotten.
    """
    program = _get(tx, key)
    moved = program.position.beyond(position)
    missed = program.missed and not heard_gap
    if moved != program.position or missed != program.missed:
        tx.programs.move(key, moved, missed=missed)
    tx.programs.acknowledged(key)
    if moved.call > program.position.call:
        tx.programs.called(program.account, program.name, moved.call)
    return replace(program, position=moved, missed=missed, acknowledged=tx.now)


def pass_over(tx: Transaction, key: int, position: Position) -> None:
    """A program that has acknowledged all that it was told has nothing to do with what is up to there."""
    program = tx.programs.get(key)
    if program is not None and program.position.beyond(position) != program.position:
        tx.programs.move(key, program.position.beyond(position), missed=program.missed)


def forget(tx: Transaction, limit: int) -> int:
    """Forget the calls that nobody came for, not all at once; how many."""
    return tx.programs.forget_calls(tx.now - timedelta(days=CALL_DAYS), limit)


# whom something may concern


def followed(tx: Transaction, account: int, jid: JID) -> tuple[frozenset[int], frozenset[str]]:
    """The nodes, by key, and the tags that somebody follows."""
    return tx.program_logs.feeds(jid), tx.program_logs.followed_tags(account)


def concerned(tx: Transaction, items: Sequence[int], tags: bool) -> Concerned:
    """Whom some items name, and their tags if anybody wants to know."""
    logs = tx.program_logs
    named = (JID.parse(jid) for jid in logs.named(items))
    here = frozenset(jid for jid in named if jid.domainpart == tx.domain)
    return Concerned(here, frozenset(logs.tags(items)) if tags else frozenset())


class Calling(NamedTuple):
    """A call by its number, and whose program was called."""

    id: int
    account: JID


def calls_behind(tx: Transaction, after: int, limit: int) -> tuple[Calling, ...]:
    """The calls behind one that wait, in order."""
    return tuple(Calling(key, JID(localpart, tx.domain)) for key, localpart in tx.programs.calls_behind(after, limit))


# what they are told


def next_events(tx: Transaction, request: Next) -> EventPage:
    """What happened next.

    Raises ItemNotFound if there is no such program, Forbidden if its owner may not log in or where it is read is not
    theirs any more.
    """
    owned = tx.programs.owned(request.program)
    if owned is None:
        raise ItemNotFound("there is no such program")
    program, localpart, disabled = owned
    if disabled:
        raise Forbidden("this account is disabled")
    if request.address is not None:
        acts_for = linking.owner(tx, request.address.bare)
        if acts_for is None or acts_for.key != program.account:
            raise Forbidden("this address is not linked to the account any more")
    reader = JID(localpart, tx.domain)
    start = request.after or program.position
    limit = request.limit
    sources = program.sources
    stretch = tx.program_logs.events(program.account, reader, start.seq, sources, limit)
    calls = tx.programs.calls(program.account, program.name, start.call, limit) if Source.CALLS in sources else []
    hits = tx.program_logs.hits(program.account, start.hit, limit) if Source.TRACK in sources else []
    more = stretch.more or limit in (len(calls), len(hits))
    sight = Sight(tx, reader, request.audiences, unmuted=True)
    horizon = _horizon(tx, stretch)

    def has_come(one: Hit | CallRow) -> bool:
        return horizon is None or one.created <= horizon

    steps = merge(
        _logged(tx, stretch, sources, sight, reader),
        # In their order, even if the clock was set back.
        (_matched(tx, hit, sight) for hit in takewhile(has_come, hits)),
        (_called(call, sight) for call in takewhile(has_come, calls)),
        key=lambda step: step.time,
    )
    found: list[ProgramEvent] = []
    position = start
    for step in steps:
        if len(found) == limit:
            more = True
            break
        position = position.beyond(step.upto)
        if step.event is not None:
            gap = program.missed and not request.told_gap and not found
            found.append(replace(step.event, cursor=position, gap=gap))
    else:
        position = position._replace(seq=max(position.seq, stretch.end))
    return EventPage(program=program, events=tuple(found), position=position, more=more)


class _Step(NamedTuple):
    """``upto``: what is done with when it is told. ``event``: None for what the program is not told."""

    time: datetime
    upto: Position
    event: ProgramEvent | None


def _get(tx: Transaction, key: int) -> Program:
    program = tx.programs.get(key)
    if program is None:
        raise ItemNotFound("there is no such program")
    return program


def _horizon(tx: Transaction, stretch: Stretch) -> datetime | None:
    """Up to which time things may be told now: until the log is level, that of the last event that was looked at."""
    return tx.events.created(stretch.end) if stretch.more else None


def _logged(
    tx: Transaction, stretch: Stretch, sources: frozenset[Source], sight: Sight, reader: JID
) -> Iterator[_Step]:
    """What happened at nodes."""
    keys = [row.item for row in stretch.events if row.item is not None]
    items = tx.timelines.items(keys)
    naming: set[int] = set()
    if Source.MENTIONS in sources and keys:
        naming = tx.timelines.mentions_among(keys, reader, sight.everybodys)
    sight.look({row.node for row in stretch.events})
    for row in stretch.events:
        item = items[row.item][1] if row.item is not None and row.item in items else None
        source = _source(tx, row, item, sources, reader, names=row.item in naming)
        event = None if source is None else _happened(tx, row, item, source, sight)
        yield _Step(row.created, Position(seq=row.seq), event)


def _source(
    tx: Transaction, row: Logged, item: Item | None, sources: frozenset[Source], reader: JID, *, names: bool
) -> Source | None:
    """The source that an event comes from for this program."""
    post = row.name == MICROBLOG and row.item_id != FEED_ITEM and (item is None or item.stands is not None)
    own = row.service == reader
    having = (
        (Source.OWN, post and own),
        (Source.MENTIONS, names),
        (Source.HOME, post and not own and _is_news(tx, row, item)),
        (Source.LOCAL, post and row.service.domainpart == tx.domain),
    )
    return next((source for source, has in having if has and source in sources), None)


def _is_news(tx: Transaction, row: Logged, item: Item | None) -> bool:
    """Is it in home, and not fetched from elsewhere because somebody has begun to follow?"""
    since = [start for start in (row.followed, row.tagged) if start is not None]
    if not since or item is None or item.stands is None or row.service.domainpart == tx.domain:
        return bool(since)
    return item.stands >= min(since) - FOLLOWED_SLACK


def _happened(tx: Transaction, row: Logged, item: Item | None, source: Source, sight: Sight) -> ProgramEvent | None:
    """An event, if they may know of it."""
    found = sight.at(row.node)
    if found is None or found[1] is None:
        return None
    if row.kind == events.PUBLISHED:
        if item is None or sight.readable(row.node, item) is None:
            return None
        if source is not Source.OWN and muting.hides(tx, sight.quiet, found[0], item):
            return None
    elif row.audience not in found[1]:
        return None
    return ProgramEvent(
        id=f"e{row.seq}",
        cursor=Position(seq=row.seq),
        kind=EventKind(row.kind),
        source=source,
        time=row.created,
        node=found[0],
        item_id=row.item_id,
        item=item,
        author=row.service if item is None else item.publisher,
    )


def _matched(tx: Transaction, hit: Hit, sight: Sight) -> _Step:
    """What matched a track, if it is there still."""
    if hit.payload:
        node: Node | None = Node(key=0, service=hit.service, name=hit.node, config=NodeConfig())
        item: Item | None = Item(
            id=hit.item_id, publisher=hit.service, payload=hit.payload, published=hit.created, updated=hit.created
        )
    else:
        found = tx.nodes.look_up(hit.service, hit.node, hit.item_id)
        item = None if found is None else found.item
        node = None if found is None or item is None else sight.readable(found.node.key, item)
    upto = Position(hit=hit.id)
    if node is None or item is None or muting.hides(tx, sight.quiet, node, item):
        return _Step(hit.created, upto, None)
    event = ProgramEvent(
        id=f"m{hit.id}",
        cursor=upto,
        kind=EventKind.MATCHED,
        source=Source.TRACK,
        time=hit.created,
        node=node,
        item_id=hit.item_id,
        item=item,
        author=item.publisher,
        track=hit.track,
    )
    return _Step(hit.created, upto, event)


def _called(call: CallRow, sight: Sight) -> _Step:
    """What a rule called out, if it may go where the program is."""
    upto = Position(call=call.id)
    audience = json.loads(call.payload).get(AUDIENCE, Audience.PUBLIC)
    if audience not in sight.audiences:
        return _Step(call.created, upto, None)
    event = ProgramEvent(
        id=f"c{call.id}",
        cursor=upto,
        kind=EventKind.CALLED,
        source=Source.CALLS,
        time=call.created,
        payload=call.payload,
    )
    return _Step(call.created, upto, event)
