"""`python -m tests.chaos --seed 7 --minutes 5`: one run, or several, and what they found.

Three nodes of ours, Debian's Prosody and Debian's ejabberd live through cut links, kills, wrong clocks and a restored
backup, all drawn from the seed; then the invariants are checked. The exit status is the number of runs that were not
clean. What a failed run leaves (databases, logs, configurations) is kept and named.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import invariants, town
from tests.chaos.plan import make
from tests.chaos.run import Outcome, Run

EXAMPLE = """
example:
  python -m tests.chaos --seed 7 --minutes 5
  python -m tests.chaos --seeds 1-10 --minutes 3 --keep /tmp/chaos
"""


def main(arguments: list[str] | None = None) -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Chaos between three nodes of ours, a Prosody and an ejabberd; then the invariants are checked.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, action="append", default=[], help="what all chance is drawn from")
    parser.add_argument("--seeds", help="several runs one after the other: FIRST-LAST")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long the chaos lasts (default: %(default)g)")
    parser.add_argument("--only-ours", action="store_true", help="without Prosody and ejabberd")
    parser.add_argument("--no-kills", action="store_true", help="no node dies, no backup is restored")
    parser.add_argument("--no-restore", action="store_true", help="no backup is restored")
    parser.add_argument("--no-clocks", action="store_true", help="all clocks are right")
    parser.add_argument("--no-next-day", action="store_true", help="check when all is level, not a day later as well")
    parser.add_argument("--keep", type=Path, help="folder in which the remains of each run are kept")
    options = parser.parse_args(arguments)
    seeds = list(options.seed)
    if options.seeds:
        first, _, last = options.seeds.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    if not options.only_ours and (lacking := town.missing()):
        parser.error(lacking)
    if not options.no_clocks and town.faketime() is None:
        print("All clocks are right in this run: libfaketime is not here (apt-get install faketime)", file=sys.stderr)
        options.no_clocks = True
    town.ended_by_signals()
    return sum(not one(seed, options) for seed in seeds or [int(time.time())])


def one(seed: int, options: argparse.Namespace) -> bool:
    """One run; True if it was clean."""
    domains = town.OURS if options.only_ours else town.DOMAINS
    plan = make(
        seed,
        options.minutes * 60,
        domains,
        kills=not options.no_kills,
        clocks=not options.no_clocks,
        restore=not (options.no_kills or options.no_restore),
    )
    if options.keep:
        folder = options.keep / f"seed-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    clean = False
    try:
        run = Run(plan, folder, sys.stdout, next_day=not options.no_next_day and not options.no_clocks)
        with run.lived() as outcome:
            found = invariants.check(outcome)
            report(outcome, found)
        clean = not any(found.values())
    finally:
        if clean and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"What is left of the run: {folder}")
    return clean


def report(outcome: Outcome, found: dict[str, list[str]]) -> None:
    """The summary."""
    plan = outcome.plan
    ops = outcome.plan.ops
    kinds = ("post", "edit", "retract", "follow", "unfollow")
    done = {kind: [op for op in ops if op.kind == kind] for kind in kinds}
    links = outcome.town.proxies.links.values()
    faults = sum(1 for step in plan.steps if step.what in ("link", "reset"))
    deaths = [step for step in plan.steps if step.what in ("kill", "stop")]
    print(f"\nseed {plan.seed}, chaos of {plan.seconds:.0f} s\n")
    for kind, some in done.items():
        yes, no = sum(op.answer == "result" for op in some), sum(op.answer not in ("", "result") for op in some)
        sent = sum(bool(op.sent) for op in some)
        counts = f"{len(some):5} planned {sent:5} sent {yes:5} confirmed {no:5} refused {sent - yes - no:5} unanswered"
        print(f"  {kind:<10}{counts}")
    resets, lost = sum(link.traffic.resets for link in links), sum(link.traffic.lost for link in links)
    carried = sum(link.traffic.carried for link in links)
    print(f"  links     {faults:5} faults, {resets} resets, {carried:,} bytes carried, {lost:,} lost")
    print(f"  nodes     {len(deaths):5} deaths, {', '.join(outcome.restored) or 'none'} restored, clocks {plan.skew}")
    for domain, samples in outcome.samples.items():
        most = max(one.megabytes for one in samples)
        print(
            f"  {domain:<18} {most:4.0f} MB at most, {samples[-1].megabytes:.0f} MB at last, {samples[-1].files} files"
        )
    print("  seconds   " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in outcome.seconds.items()))
    told = sum(len(session.seen()) for person in outcome.persons.values() for session in person.sessions)
    print(f"  readers   {told:5} notifications in {sum(len(p.sessions) for p in outcome.persons.values())} sessions\n")
    for name, violations in found.items():
        doc = (invariants.INVARIANTS[name].__doc__ or "").splitlines()[0]
        print(f"  {'FAIL' if violations else 'ok  '} {doc}")
        for violation in violations[:12]:
            print(f"         - seed {plan.seed}: {violation}")
        if len(violations) > 12:
            print(f"         - and {len(violations) - 12} more")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
