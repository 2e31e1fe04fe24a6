"""I1 to I5: what was confirmed is there, and everybody it is for is told of it, once and in order."""

import math
from collections.abc import Iterator
from itertools import pairwise

from tests.chaos.ledger import (
    Ledger,
    domain_of,
    expected_readers,
    our_people,
    story,
    was_told,
)
from tests.chaos.people import Seen, Session
from tests.chaos.plan import FOLLOWERS, PUBLIC
from tests.chaos.run import Outcome
from tests.chaos.town import OURS, PROSODY
from tests.interop.microblogging import MICROBLOG

REFRESHED = 20


def i1_nothing_acknowledged_is_lost(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I1: what was answered with a result is there, as it was last."""
    for (author, item), ops in ledger.items.items():
        if domain_of(author) not in OURS or ledger.lost(ops):
            continue
        found = outcome.quiet[domain_of(author)].items.get((author, item))
        possible = ledger.possible(ops)
        if (found.number if found else None) not in possible:
            what = f"is version {found.number}" if found else "is not there"
            yield f"{author} {item} {what}, and should be one of {possible}: {story(ops)}"


def i2_no_false_answer(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I2: what was refused has had no effect, anywhere."""
    for (author, item), ops in ledger.items.items():
        refused = {op.number for op in ops if op.answer not in ("", "result", "gone") and op.kind != "retract"}
        for domain, database in outcome.quiet.items():
            found = database.items.get((author, item))
            if found is not None and found.number in refused and domain_of(author) in OURS:
                yield f"{author} {item} at {domain} is version {found.number}, which was refused: {story(ops)}"


def i3_nothing_is_silently_absent(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I3: every item is at every domain of a follower, or somebody is told that it is not."""
    yield from outcome.unlevel
    for (author, item), ops in ledger.items.items():
        home = domain_of(author)
        if home not in OURS or ops[0].audience not in (PUBLIC, FOLLOWERS) or ledger.lost(ops):
            continue
        there = outcome.quiet[home].items.get((author, item))
        if there is None or ops[0].answer == "":
            continue
        for reader in expected_readers(ledger, ops):
            domain = domain_of(reader)
            if domain == home:
                continue
            # Who was restored may need somebody to say something before it knows what it missed.
            databases = outcome.later if domain in outcome.restored else outcome.quiet
            if domain in OURS and (author, item) not in databases[domain].items:
                yield f"{author} {item} ({ops[0].audience}) is not at {domain}, where {reader} follows: {story(ops)}"
            # What is read from the feeds anew, because a log began anew, is found in timelines and not told.
            elif not {domain, home} & outcome.restored.keys() and not was_told(
                outcome.persons[reader], author, item, there.number
            ):
                yield f"{author} {item} version {there.number} was never told to {reader}: {story(ops)}"
    yield from _mornings(outcome)
    yield from _stock_feeds(outcome, ledger)


def _mornings(outcome: Outcome) -> Iterator[str]:
    """The day after, when nothing is wrong any more, everything arrives."""
    for op in outcome.mornings:
        if op.answer != "result":
            yield f"{op.person} {op.item}: {op.answer or 'no answer'}"
        listed = [
            one for one in outcome.later[op.domain].follows if one.feed == op.person and one.state == "subscribed"
        ]
        for one in listed:
            if domain_of(one.reader) != op.domain and not was_told(
                outcome.persons[one.reader], op.person, op.item, op.number
            ):
                yield f"{op.person} {op.item} of the day after was never told to {one.reader}"


def _stock_feeds(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """What Prosody's people have is, the day after, where they are followed."""
    if not outcome.later or not outcome.plan.domains or PROSODY not in outcome.plan.domains:
        return
    for author, kept in outcome.kept.items():
        if domain_of(author) != PROSODY:
            continue
        newest = sorted(kept.items(), key=lambda pair: pair[1])[-REFRESHED:]
        for domain, database in outcome.later.items():
            follows = [one for one in database.follows if one.feed == author and one.state == "subscribed"]
            if not follows or all(one.problem == "remote-server-not-found" for one in follows):
                continue
            for item, _ in newest:
                if (author, item) not in database.items and (author, item) not in database.graves:
                    yield f"{author} {item} is not at {domain} the day after, though {follows[0].reader} follows"


def i4_nobody_is_told_twice(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I4: a session of ours sees each version of an item once, each retraction once; a timeline has each item once."""
    for person in our_people(outcome):
        for number, session in enumerate(person.sessions):
            told: dict[tuple[str, str, str, int | None], Seen] = {}
            for seen in session.seen():
                key = seen.node, seen.feed, seen.item, seen.number
                if key in told:
                    what = "the retraction" if seen.number is None else f"version {seen.number}"
                    apart = seen.at - told[key].at
                    where = f"{person.jid}, session {number}"
                    yield f"{where}: {what} of {seen.feed} {seen.item} twice, {apart:.1f} s apart"
                told[key] = seen
                if seen.number is not None:  # gone, and there again
                    told.pop((seen.node, seen.feed, seen.item, None), None)
    for reader, items in outcome.homes.items():
        if len(set(items)) != len(items):
            yield f"the timeline of {reader} has something twice"


def i5_the_author_s_order(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I5: in every session, what is new comes in the order in which its author wrote it."""
    for person in outcome.persons.values():
        for number, session in enumerate(person.sessions):
            for feed, seens in _by_feed(session).items():
                if domain_of(feed) not in OURS:
                    continue  # what they lost is found later, and told later
                new = _first_seen(seens) if person.stock else seens
                # What a restored node tells begins before what it has told.
                restored = outcome.restored.get(domain_of(feed), math.inf)
                for one, two in pairwise(new):
                    if one.at < restored <= two.at:
                        continue
                    if one.number > two.number and not _said_again(ledger, two):
                        yield (
                            f"{person.jid}, session {number}: {feed} {two.item} version {two.number} came after"
                            f" {one.item} version {one.number}"
                        )


def _by_feed(session: Session) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for seen in session.seen():
        if seen.number is not None and seen.number >= 0 and seen.node == MICROBLOG:
            found.setdefault(seen.feed, []).append(seen)
    return found


def _first_seen(seens: list[Seen]) -> list[Seen]:
    first: dict[int | None, Seen] = {}
    for seen in seens:
        first.setdefault(seen.number, seen)
    return list(first.values())


def _said_again(ledger: Ledger, seen: Seen) -> bool:
    """Is it what a stock server's contact is sent on presence: the last item, whatever came before?"""
    return seen.item == "first"
