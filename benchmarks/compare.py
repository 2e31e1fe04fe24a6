#!/usr/bin/env python3
"""Run one xmppload scenario against several servers in turn: A B A B ...

    compare.py --rounds 5 \\
      --target 'prosody=--host 127.0.0.2 --domain pros.test --pidfile P/server.pid' \\
      --target 'ours=--host 127.0.0.5 --domain ours.test --pidfile O/server.pid' \\
      -- fanout -n 1000 -m 50

Machines are noisy and drift: what is to be trusted is the ratio of the two
runs of one round.  For every figure the median, minimum and maximum per server
are printed, and of the ratios to the first server, round by round.

A run in which other programs used more than --max-other of a core is thrown
away and made again (at most --retries times; what is kept after that is marked).
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

LOAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "xmppload.py")
SKIP = {
    "followers",
    "messages",
    "authors",
    "readers",
    "items_in_node",
    "page",
    "logins",
    "publishes",
    "requests",
    "sessions",
    "p90_ms",
    "max_ms",
    "setup_s",
    "span_s",
    "login_phase_s",
    "connections",
    "connections_vanished",
    "bytes_other",
}


def flat(d, prefix=""):
    """The numbers of nested figures, with dotted names."""
    for k, v in d.items():
        if isinstance(v, dict):
            yield from flat(v, f"{prefix}{k}.")
        elif isinstance(v, (int, float)) and not isinstance(v, bool):
            yield prefix + k, v


def other_share(r):
    """How much of a core was used by neither generator nor server."""
    u = r["use"]
    return u.get("other_cpu_s", 0) / max(u["wall_s"], 1e-9)


def one_run(args, scenario, label):
    """One run of the generator: its JSON, or what it said when it failed."""
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        cmd = [sys.executable, LOAD, *args, "--label", label, "--json", f.name, *scenario]
        p = subprocess.run(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if p.returncode:
            return None, p.stderr.strip()[-500:]
        return json.load(open(f.name)), None


def spread(values):
    """Median and range, for people."""
    if not values:
        return "-"

    def n(x):
        return f"{x:.4g}" if abs(x) < 10000 else f"{x:.0f}"

    return f"{n(statistics.median(values))} [{n(min(values))} .. {n(max(values))}]"


def main():
    """Run the rounds and print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument(
        "--target",
        action="append",
        required=True,
        metavar="NAME=OPTIONS",
        help="options of xmppload.py before the scenario; repeat, the first is the base",
    )
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--warmup", type=int, default=1, help="rounds not counted")
    p.add_argument("--max-other", type=float, default=0.15, help="share of a core")
    p.add_argument("--retries", type=int, default=4, help="for one run")
    p.add_argument("--out", help="write everything there as JSON")
    p.add_argument("--all", action="store_true", help="print every figure")
    p.add_argument("scenario", nargs=argparse.REMAINDER, help="-- scenario and its options")
    a = p.parse_args()
    scenario = a.scenario[1:] if a.scenario[:1] == ["--"] else a.scenario
    targets = [(t.partition("=")[0], shlex.split(t.partition("=")[2])) for t in a.target]
    names = [n for n, _ in targets]
    runs = {n: [] for n in names}
    thrown = 0
    for rnd in range(-a.warmup, a.rounds):
        for name, args in targets:
            for attempt in range(a.retries + 1):
                r, err = one_run(args, scenario, name)
                if r is None:
                    print(f"# round {rnd} {name}: FAILED {err}", file=sys.stderr)
                    continue
                if rnd < 0 or other_share(r) <= a.max_other or attempt == a.retries:
                    break
                thrown += 1
                time.sleep(3)
            if r is None:
                return 1
            if rnd >= 0:
                runs[name].append(r)
    noisy = sum(other_share(r) > a.max_other for rs in runs.values() for r in rs)
    rows = []
    for rs in runs.values():
        for r in rs:
            for k, _ in flat(r["figures"]):
                if k not in rows:
                    rows.append(k)
    table = {}
    for k in rows:
        if not a.all and k.rpartition(".")[2] in SKIP:
            continue
        values = {n: [dict(flat(r["figures"])).get(k) for r in runs[n]] for n in names}
        table[k] = {n: [v for v in vs if v is not None] for n, vs in values.items()}
        for n in names[1:]:
            table[k][f"{n}/{names[0]}"] = [
                y / x for x, y in zip(values[names[0]], values[n], strict=False) if x and y is not None
            ]
    table["generator_busiest_process"] = {n: [r["use"]["generator_busiest_process"] for r in runs[n]] for n in names}
    table["other_cpu_share"] = {n: [other_share(r) for r in runs[n]] for n in names}
    print(f"# {' '.join(scenario)}; rounds {a.rounds}; thrown away for noise {thrown}; kept though noisy {noisy}")
    heads = names + [f"{n}/{names[0]}" for n in names[1:]]
    print("| figure | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for k, cols in table.items():
        if any(any(v for v in vs) for vs in cols.values()):
            print(f"| {k} | " + " | ".join(spread(cols.get(h, [])) for h in heads) + " |")
    warned = sorted(
        {w for rs in runs.values() for r in rs for w in r["warnings"] if not w.startswith("other programs")}
    )
    for w in warned:
        print(f"warning: {w}")
    if a.out:
        with open(a.out, "w") as f:
            json.dump(
                {"scenario": scenario, "names": names, "thrown": thrown, "runs": runs, "table": table},
                f,
                indent=1,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
