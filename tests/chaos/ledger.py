"""What was asked for and what was answered: which states may follow from it, and who was to hear of it."""

import math
from collections.abc import Iterator

from tests.chaos.people import Person
from tests.chaos.plan import DIRECT, LOCAL, Op
from tests.chaos.run import Outcome

WRITES = ("post", "edit", "retract")


def domain_of(jid: str) -> str:
    return jid.partition("@")[2]


class Ledger:
    """What was asked and answered, by item and by follow."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.items: dict[tuple[str, str], list[Op]] = {}
        self.follows: dict[tuple[str, str], list[Op]] = {}
        for op in outcome.ops:
            if op.sent and op.kind in WRITES:
                self.items.setdefault((op.person, op.item), []).append(op)
            elif op.sent:
                self.follows.setdefault((op.person, op.target), []).append(op)

    def forgotten(self, op: Op) -> bool:
        """Was it done between a backup and its restore?"""
        return self.restored_after(op.person, op)

    def lost(self, ops: list[Op]) -> bool:
        """Did the restore take any of this, and nothing that was confirmed came after it?"""
        last = max((number for number, op in enumerate(ops) if op.answer == "result"), default=-1)
        return any(self.forgotten(op) for op in ops[max(last, 0) :])

    @staticmethod
    def possible(ops: list[Op]) -> set[int | None]:
        """The versions of an item that there may be at last; None: it is not there."""
        states: set[int | None] = {None}
        for op in ops:
            result = None if op.kind == "retract" else op.number
            if op.answer == "result":
                states = {result}
            elif op.answer == "" or op.answer == "gone":
                states |= {result}
        return states

    def follower(self, reader: str, author: str, since: float, until: float = math.inf) -> bool:
        """Did they follow for certain, all of the time?"""
        ops = self.follows.get((reader, author), [])
        before = [op for op in ops if op.answered and op.answered < since]
        during = [op for op in ops if op not in before and op.sent < until]
        if not before or before[-1].kind != "follow" or before[-1].answer != "result":
            return False
        if any(self.forgotten(op) or self.restored_after(author, op) for op in ops):
            return False
        return all(op.kind == "follow" for op in during) and not any(
            op.kind == "unfollow" and not op.answer for op in before
        )

    def perhaps(self, reader: str, author: str, since: float, until: float) -> bool:
        """May they have followed at any moment of the time?"""
        if (reader, author) in self.outcome.plan.friends or (author, reader) in self.outcome.plan.friends:
            return True
        following = False
        for op in self.follows.get((reader, author), []):
            if op.sent > until:
                break
            if op.kind == "follow" and op.answer in ("result", "", "remote-server-timeout", "remote-server-not-found"):
                following = True
            elif op.kind == "unfollow" and op.answer == "result" and op.answered < since:
                following = following and (self.restored_after(author, op) or self.forgotten(op))
        return following

    def restored_after(self, author: str, op: Op) -> bool:
        """Did the author's node forget this in a restored backup?"""
        restored = self.outcome.restored.get(domain_of(author))
        return restored is not None and self.outcome.backup[domain_of(author)] - 1 <= op.sent <= restored


def our_people(outcome: Outcome) -> list[Person]:
    return [person for person in outcome.persons.values() if not person.stock]


def expected_readers(ledger: Ledger, ops: list[Op]) -> Iterator[str]:
    """Who followed an item's author from before its first version to the end."""
    author, since = ops[0].person, ops[0].sent
    for reader in ledger.outcome.persons:
        if reader != author and ledger.follower(reader, author, since):
            yield reader


def was_told(person: Person, author: str, item: str, number: int) -> bool:
    return any(
        seen.feed == author and seen.item == item and seen.number == number
        for session in person.sessions
        for seen in session.seen()
    )


def may_read(ledger: Ledger, ops: list[Op], reader: str) -> bool:
    author, audience = ops[0].person, ops[0].audience
    if reader == author:
        return True
    if audience == DIRECT:
        return reader in ops[0].readers
    if audience == LOCAL and domain_of(reader) != domain_of(author):
        return False
    if domain_of(reader) == domain_of(author) and audience == LOCAL:
        return True
    # A follower of any moment since it was written may be told of it, or of what it became.
    return ledger.perhaps(reader, author, ops[0].sent, math.inf)


def was_present(person: Person, op: Op) -> bool:
    """Was their session there before an op, and some seconds after?"""
    return any(session.began < op.sent and session.lasted(op.answered + 3) for session in person.sessions)


def story(ops: list[Op]) -> str:
    return ", ".join(f"{op.kind} {op.number} {op.answer or '?'} at {op.sent:.1f}" for op in ops)


def follow_story(ledger: Ledger, reader: str, author: str) -> str:
    return story(ledger.follows.get((reader, author), [])) or "nobody asked"
