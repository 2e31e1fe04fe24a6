"""I6 to I10: what nodes hold of one another agrees, is whose it says, and is nowhere else."""

from collections.abc import Iterator
from pathlib import Path

from tests.chaos.databases import disagreements, grep
from tests.chaos.ledger import (
    Ledger,
    domain_of,
    expected_readers,
    follow_story,
    may_read,
    story,
    was_present,
)
from tests.chaos.plan import DIRECT, FOLLOWERS, PUBLIC, Op
from tests.chaos.run import Outcome
from tests.chaos.town import OURS
from tests.interop.microblogging import MICROBLOG


def i6_edits_converge(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I6: whoever has an item has its newest version."""
    for (author, item), ops in ledger.items.items():
        home = domain_of(author)
        if home not in OURS or ledger.lost(ops):
            continue
        origin = outcome.quiet[home].items.get((author, item))
        if origin is None:
            continue
        for domain in outcome.quiet:
            database = (outcome.later if domain in outcome.restored else outcome.quiet)[domain]
            copy = database.items.get((author, item))
            if copy is not None and copy.number != origin.number:
                followed = any(one.feed == author for one in database.follows)
                if origin.audience == FOLLOWERS and not followed:
                    continue  # what is for followers does not go where there are none any more
                whose = "" if followed else ", where nobody follows any more"
                yield (
                    f"{author} {item} is version {origin.number} at home and {copy.number} at {domain}{whose}:"
                    f" {story(ops)}"
                )


def i7_gone_is_gone(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I7: what was retracted is nowhere; nor in a timeline; and who was told of it was told of its end."""
    for (author, item), ops in ledger.items.items():
        home = domain_of(author)
        if home not in OURS or ledger.lost(ops) or ledger.possible(ops) != {None}:
            continue
        for when, databases in (("", outcome.quiet), (" the day after", outcome.later)):
            for domain, database in databases.items():
                if (author, item) in database.items:
                    yield f"{author} {item} was retracted and is at {domain}{when}: {story(ops)}"
        for reader, items in outcome.homes.items():
            if (author, item) in items:
                yield f"{author} {item} was retracted and is in the timeline of {reader}"
        if ops[0].audience == DIRECT:
            continue  # told and taken back by messages
        for reader in expected_readers(ledger, ops):
            person = outcome.persons[reader]
            if domain_of(reader) == home and not was_present(person, ops[-1]):
                continue  # what is here is read, and not told later
            seens = [seen for session in person.sessions for seen in session.seen()]
            mine = [seen for seen in seens if (seen.feed, seen.item) == (author, item) and seen.node == MICROBLOG]
            if mine and mine[-1].number is not None and domain_of(reader) not in outcome.restored:
                yield f"{reader} was told of {author} {item} and never of its end: {story(ops)}"


def i8_nothing_goes_where_it_may_not(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I8: what is not public is in no row, file or session of a domain, or of a reader, that it is not for."""
    forbidden: dict[str, dict[str, Op]] = {domain: {} for domain in outcome.plan.domains}
    for (author, _), ops in ledger.items.items():
        audience = ops[0].audience
        if audience == PUBLIC:
            continue
        for domain in forbidden:
            allowed = [
                reader for reader in outcome.persons if domain_of(reader) == domain and may_read(ledger, ops, reader)
            ]
            if domain != domain_of(author) and not allowed:
                forbidden[domain][ops[0].token] = ops[0]
        for reader, person in outcome.persons.items():
            if reader == author or may_read(ledger, ops, reader):
                continue
            for session in person.sessions:
                for _, text in session.texts():
                    if ops[0].token in text:
                        yield (
                            f"{reader} was told of {author} {ops[0].item}, which is {audience}"
                            f" ({follow_story(ledger, reader, author)}): {text[:200]}"
                        )
                        break
    for domain, ops_by_token in forbidden.items():
        folder = outcome.town.servers[domain].folder
        for token, where in grep(_files(folder), ops_by_token).items():
            op = ops_by_token[token]
            yield f"{op.person} {op.item}, which is {op.audience} {op.readers}, is in {where} of {domain}"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def i9_everything_is_its_author_s(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I9: what is stored of others was published by their own domain, proven by certificate, and they did write it."""
    tokens = {op.token: op for ops in ledger.items.values() for op in ops}
    for domain, database in outcome.later.items():
        for (feed, item), stored in database.items.items():
            home = domain_of(feed)
            if domain_of(stored.publisher) != home:
                yield f"{feed} {item} at {domain} was published by {stored.publisher}"
            if (home == domain) != (stored.proof == "local") or (home != domain and stored.proof != "certificate"):
                yield f"{feed} {item} at {domain} is proven by {stored.proof}"
            op = tokens.get(stored.token)
            if op is not None and (op.person, op.item) != (feed, item):
                yield f"{feed} {item} at {domain} has what {op.person} wrote in {op.item}"


def i10_follower_lists_agree(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I10: whom a node takes for followers elsewhere are those who believe it there, the day after at the latest."""
    for one in disagreements(outcome.later):
        asked = follow_story(ledger, one.reader, one.feed)
        if one.listed:
            yield f"{one.at} lists {one.reader} as a follower of {one.feed}, and {one.other} knows of none: {asked}"
        else:
            yield f"{one.other} believes that {one.reader} follows {one.feed}, and {one.at} does not: {asked}"
    yield from _acknowledged_follows(outcome, ledger)


def _acknowledged_follows(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """And those of Prosody's and ejabberd's people are what they were told last."""
    for (reader, author), ops in ledger.follows.items():
        at = domain_of(author)
        if domain_of(reader) in OURS or at not in OURS or at in outcome.restored:
            continue
        possible = {False}
        for op in ops:
            if op.answer == "result":
                possible = {op.kind == "follow"}
            elif op.answer in ("", "remote-server-timeout", "remote-server-not-found", "service-unavailable"):
                possible |= {op.kind == "follow"}
        found = any((one.feed, one.reader) == (author, reader) for one in outcome.quiet[at].follows)
        if found not in possible:
            what = "has" if found else "does not have"
            yield f"{at} {what} {reader} as a follower of {author}: {follow_story(ledger, reader, author)}"
