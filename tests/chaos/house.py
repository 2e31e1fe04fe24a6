"""I11 to I15: each node by itself: bounds, speed, restarts, clocks, logs."""

import math
from collections.abc import Iterator
from statistics import median

from tests.chaos.databases import grep
from tests.chaos.ledger import (
    WRITES,
    Ledger,
    story,
)
from tests.chaos.plan import PUBLIC, Op
from tests.chaos.run import Outcome
from tests.chaos.town import OURS

MEGABYTES_MAX, GROWTH_MEGABYTES, FILES_MAX = 200.0, 60.0, 120
ANSWER_SECONDS = 1.0


def i11_bounded(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I11: memory and files of each node stay within bounds and come back when all is quiet."""
    for domain, samples in outcome.samples.items():
        most, last = max(one.megabytes for one in samples), samples[-1]
        first = median(one.megabytes for one in samples[: max(30, len(samples) // 4)])
        files = max(one.files for one in samples)
        if most > MEGABYTES_MAX or last.megabytes > first + GROWTH_MEGABYTES:
            yield f"{domain} had {first:.0f} MB at first, {most:.0f} at most, {last.megabytes:.0f} at last"
        if files > FILES_MAX:
            yield f"{domain} had {files} files open"


def i12_others_do_not_suffer(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I12: whatever goes on between servers, people's own posts are answered at once, as fast as the machine is."""
    answered = [
        op
        for op in outcome.plan.ops
        if op.kind in WRITES and op.domain in OURS and op.answer == "result" and not _near_death(outcome, op)
    ]
    answered.sort(key=lambda op: op.answered - op.sent)
    times = [op.answered - op.sent for op in answered]
    if not times:
        yield "nobody was answered"
        return
    p99 = times[min(len(times) - 1, math.ceil(0.99 * len(times)) - 1)]
    if p99 > ANSWER_SECONDS * outcome.crowd:
        worst = ", ".join(f"{op.person} {story([op])}: {op.answered - op.sent:.2f} s" for op in answered[-5:])
        yield f"p99 of answers to posts was {p99:.2f} s, with {outcome.crowd:.1f} processes on each processor; {worst}"


def _near_death(outcome: Outcome, op: Op) -> bool:
    return any(down - 1 <= op.answered and op.sent <= up + 5 for down, up in outcome.downs.get(op.domain, []))


def i13_restarts_without_hand_repair(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I13: every start succeeds; databases are sound; no traceback in any log."""
    yield from outcome.troubles
    for domain, database in outcome.later.items():
        if not database.sound:
            yield f"the database of {domain} is damaged"
        log = (outcome.town.servers[domain].folder / "console.log").read_text(errors="replace")
        lines = log.splitlines()
        for number, line in enumerate(lines):
            if "Traceback (most recent call last)" in line:
                yield f"{domain} has a traceback in its log:\n" + "\n".join(lines[max(0, number - 1) : number + 40])
                break


def i14_no_clock_decides(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I14: whatever the clocks said, nothing waits for them: when all was quiet no attempt was left for later."""
    for domain, database in outcome.quiet.items():
        for waiting in database.waiting:
            if database.owed.get(waiting.partition(":")[0]):
                yield f"{domain} still waits with what it owes to {waiting}"


def i15_logs_keep_secrets(outcome: Outcome, ledger: Ledger) -> Iterator[str]:
    """I15: neither a password nor what is not public stands in a log of ours."""
    private = {ops[0].token: ops[0] for ops in ledger.items.values() if ops[0].audience != PUBLIC}
    for domain in outcome.town.ours:
        log = outcome.town.servers[domain].folder / "console.log"
        for word in grep([log], [outcome.password, *private]):
            op = private.get(word)
            what = "the password of everybody" if op is None else f"{op.person} {op.item} ({op.audience})"
            yield f"{what} is in the log of {domain}"
