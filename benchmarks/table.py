#!/usr/bin/env python3
"""Make the tables of docs/benchmarks.md from the results of run.sh.

table.py WORKDIR/results                      print them
table.py WORKDIR/results docs/benchmarks.md   put them between the document's two marks
"""

import json
import pathlib
import re
import statistics
import sys

BEGIN, END = "<!-- figures: made by benchmarks/table.py -->", "<!-- end of figures -->"

LATENCY = [("delivery_latency.p50_ms", "delivery p50, ms"), ("delivery_latency.p99_ms", "delivery p99, ms")]
CPU_DELIVERY = ("server_cpu_s_per_1000_deliveries", "CPU ms/delivery")
PUBLISHES = [("publishes_per_s", "publishes/s"), ("p50_ms", "p50, ms"), ("p99_ms", "p99, ms")]
FANOUT = [("deliveries_per_s", "deliveries/s"), *LATENCY, CPU_DELIVERY]
WRONG = [("lost", "lost"), ("duplicates", "duplicates"), ("out_of_order", "out of order"), ("refused", "refused")]

# Files of run.sh, what they are called, and which of their figures are shown.
SCENARIOS = [
    (
        "login",
        "login, 8 at a time",
        [
            ("logins_per_s", "logins/s"),
            ("p50_ms", "p50, ms"),
            ("p99_ms", "p99, ms"),
            ("server_cpu_ms_per_login", "CPU ms/login"),
        ],
    ),
    ("fanout100", "fanout, 100 followers, window 4", FANOUT),
    ("fanout1000", "fanout, 1000 followers, window 4", FANOUT),
    ("fanout100-rate10", "fanout, 100 followers, 10 posts/s", LATENCY),
    ("fanout1000-rate2", "fanout, 1000 followers, 2 posts/s", LATENCY),
    (
        "publish",
        "publish, 8 authors without followers",
        [*PUBLISHES, ("server_cpu_s_per_1000_publishes", "CPU ms/publish")],
    ),
    (
        "timeline",
        "timeline, newest 20 of 1000, 8 readers",
        [
            ("requests_per_s", "requests/s"),
            ("p50_ms", "p50, ms"),
            ("p99_ms", "p99, ms"),
            ("server_cpu_s_per_1000_requests", "CPU ms/request"),
        ],
    ),
]
FEDERATION = [
    ("deliveries_per_s", "deliveries/s"),
    *LATENCY,
    ("server_cpu_s_per_1000_deliveries", "CPU ms/delivery at A"),
    ("server_b_cpu_s_per_1000_deliveries", "CPU ms/delivery at B"),
    ("s2s.bytes_to_b_per_delivery", "bytes/delivery between the servers"),
    ("s2s.event_stanzas_per_publish_estimate", "stanzas/post between the servers, about"),
]
FEDERATED = [
    ("federate100", "100 followers, explicit"),
    ("federate1000", "1000 followers, explicit"),
    ("federate100-presence", "100 followers, by presence"),
]


def number(value):
    """Three figures, as people write them."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def figure(run, name):
    """A figure of one run, by its dotted name."""
    value = run["figures"]
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def median(runs, name):
    """The median of a figure over the runs; None where it was not measured."""
    values = [value for run in runs if (value := figure(run, name)) is not None]
    return statistics.median(values) if values else None


def rows(result, title, figures, servers):
    """Lines of a table: one a figure; the title on the first. What went wrong is always said."""
    shown = [f for f in figures if any(median(result["runs"].get(s, []), f[0]) is not None for s in servers)]
    wrong = [f for f in WRONG if any(figure(r, f[0]) for runs in result["runs"].values() for r in runs)]
    for index, (name, words) in enumerate([*shown, *wrong]):
        cells = [number(median(result["runs"].get(server, []), name)) for server in servers]
        yield f"| {title if index == 0 else ''} | {words} | " + " | ".join(cells) + " |"


def head(words, names):
    """The two first lines of a table."""
    yield f"| {words} | figure | " + " | ".join(names) + " |"
    yield "|---" * (len(names) + 2) + "|"


def idle(folder, servers):
    """The rows of the scenario idle, whose runs are files of their own."""
    runs = {s: [json.loads(f.read_text()) for f in sorted(folder.glob(f"idle-{s}-*.json"))] for s in servers}
    if any(runs.values()):
        figures = [("rss_kib_per_session", "RSS KiB/session"), ("rss_before_mib", "RSS MiB before")]
        yield from rows({"runs": runs}, "idle, 1000 sessions", figures, servers)


def tables(folder):
    """All of it."""
    results = {f.stem: json.loads(f.read_text()) for f in folder.glob("*.json") if not f.stem.startswith("idle-")}
    one = [results[name] for name, _, _ in SCENARIOS if name in results]
    servers = list(dict.fromkeys(server for result in one for server in result["names"]))
    versions = folder / "versions.md"
    if versions.exists():
        yield versions.read_text()
    if servers:
        yield from head("scenario", servers)
        for name, title, figures in SCENARIOS:
            if name in results:
                yield from rows(results[name], title, figures, servers)
        yield from idle(folder, servers)
        yield ""
    for name, title in FEDERATED:
        if name in results:
            pairs = results[name]["names"]
            yield from head(f"federate: {title}", pairs)
            yield from rows(results[name], "", FEDERATION, pairs)
            yield ""
    busy = [
        (run["use"].get("other_cpu_s", 0) / run["use"]["wall_s"], run["use"]["generator_busiest_process"])
        for result in results.values()
        for runs in result["runs"].values()
        for run in runs
    ]
    if busy:
        yield (
            f"Of {len(busy)} runs other programs used more than 0.15 of a core in "
            f"{sum(other > 0.15 for other, _ in busy)}, and the generator's busiest process more than 0.85 in "
            f"{sum(own > 0.85 for _, own in busy)}; its median was {statistics.median(o for _, o in busy):.2f}."
        )


def main():
    """The command line."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    text = "\n".join(tables(pathlib.Path(sys.argv[1])))
    if len(sys.argv) == 2:
        print(text)
        return
    document = pathlib.Path(sys.argv[2])
    marks = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    old = document.read_text()
    if not marks.search(old):
        sys.exit(f"{document} has no marks for the figures")
    document.write_text(marks.sub(lambda _: f"{BEGIN}\n{text}\n{END}", old))


if __name__ == "__main__":
    main()
