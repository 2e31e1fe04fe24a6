"""The command line: options, one scenario a run, figures as text and JSON."""

import argparse
import json
import os
import platform
import ssl
import sys
import time

from loadgen import fanout, requests, sessions
from loadgen.accounts import register
from loadgen.common import XMPPError, aio_run, raise_fd_limit
from loadgen.connection import Target

VERSION = "1.0"

SCENARIOS = {
    "login": sessions.scenario_login,
    "idle": sessions.scenario_idle,
    "fanout": fanout.scenario_fanout,
    "publish": requests.scenario_publish,
    "timeline": requests.scenario_timeline,
}


def parser():
    """Every option with its default."""
    p = argparse.ArgumentParser(
        description="A neutral load generator for XMPP servers that carry a microblog.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = p.add_argument
    add("--host", default="127.0.0.1", help="address of the server")
    add("--port", type=int, default=5222)
    add("--domain", default="localhost", help="the XMPP domain it serves")
    add("--pid", help="server process ids, comma separated (for CPU and memory)")
    add("--pidfile", help="the same from pid files, comma separated")
    for name, what in (("host", "address"), ("domain", "domain"), ("pid", "pids"), ("pidfile", "pid files")):
        add(f"--{name}-b", help=f"federate: {what} of server B, where the followers are")
    add("--port-b", type=int, help="federate: port of server B")
    add("--s2s-port", type=int, default=5269, help="federate: for counting bytes")
    add("--user-prefix", default="u", help="accounts are PREFIX0, PREFIX1, ...")
    add("--password", default="secret", help="the one password of all accounts")
    add("--sasl", choices=("SCRAM-SHA-1", "PLAIN"), default="SCRAM-SHA-1")
    add("--no-tls", action="store_true", help="no STARTTLS")
    add("--direct-tls", action="store_true", help="TLS from the first byte")
    add("--json", metavar="FILE", help="write all figures there ('-': stdout)")
    add("--label", default="", help="a name for this run in the JSON")
    add("--procs", type=int, default=1, help="receiver (or login) processes")
    add("--first", type=int, default=1, help="number of the first follower/reader/worker")
    add("--author", type=int, default=0, help="number of the author")
    add("--settle", type=float, default=1.0, help="seconds of rest before measuring")
    add("--timeout", type=float, default=30.0, help="give up after so long a silence")
    add("--setup-timeout", type=float, default=600.0)
    add("--login-concurrency", type=int, default=16)
    add("--entry-size", type=int, default=600, help="bytes of an Atom entry, about")
    add("--max-items", default=1000, type=int, help="pubsub#max_items of the nodes")
    add("--prefill", type=int, default=0, help="entries put in a node before measuring")
    add("--subscribe-jid", choices=("bare", "full"), default="bare")
    add(
        "--show-values",
        type=lambda text: tuple(filter(None, text.split(","))),
        default=(),
        help="pubsub#show-values of the subscriptions, e.g. online,chat",
    )
    add("--keep", action="store_true", help="leave the nodes in place")
    add("--cpu", help="run the generator on these processors only, e.g. 1")
    add("--uvloop", action="store_true", help="asyncio on uvloop (set-up and login)")
    sub = p.add_subparsers(dest="scenario", required=True)

    def scenario(name, text):
        return sub.add_parser(name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)

    s = scenario("register", "make the accounts with in-band registration (XEP-0077)")
    s.add_argument("-n", "--count", type=int, default=100, help="accounts 0..N-1")
    s = scenario("login", "complete logins")
    s.add_argument("-c", "--concurrency", type=int, default=8)
    s.add_argument("-l", "--logins", type=int, default=400)
    s = scenario("idle", "memory of idle sessions")
    s.add_argument("-n", "--sessions", type=int, default=1000)
    s.add_argument("--hold", type=float, default=5.0, help="seconds to hold them")
    for name, text in (
        ("fanout", "one author, N followers on the same server"),
        ("federate", "author on server A, N followers on server B"),
    ):
        s = scenario(name, text)
        s.add_argument("-n", "--followers", type=int, default=100)
        s.add_argument("-m", "--messages", type=int, default=50)
        s.add_argument(
            "--follow",
            choices=("explicit", "presence"),
            default="explicit",
            help="explicit: pubsub subscription; presence: roster and +notify (leaves roster entries behind)",
        )
        s.add_argument("-w", "--window", type=int, default=4, help="publishes outstanding")
        s.add_argument(
            "--rate",
            type=float,
            help="publishes a second, not waiting for answers; latency then counts from the time it was due",
        )
    s = scenario("publish", "authors without followers")
    s.add_argument("-k", "--authors", type=int, default=8)
    s.add_argument("-m", "--messages", type=int, default=100)
    s = scenario("timeline", "fetch the newest page of a long node")
    s.add_argument("-c", "--readers", type=int, default=8)
    s.add_argument("-r", "--requests", type=int, default=100, help="of each reader")
    s.add_argument("--items", type=int, default=1000, help="in the node")
    s.add_argument("--page", type=int, default=20)
    s.add_argument("--page-mode", choices=("max_items", "rsm"), default="max_items")
    return p


def warnings_for(fig, use):
    """Reasons not to believe a run."""
    out = []
    if use.get("generator_busiest_process", 0) > 0.85:
        out.append("the generator was (nearly) the bottleneck: one of its processes used more than 85 % of a core")
    wall = use.get("wall_s") or 1
    if use.get("other_cpu_s", 0) / wall > 0.15:
        out.append(f"other programs used {use['other_cpu_s'] / wall:.0%} of a core meanwhile")
    if use.get("machine_steal_s", 0) / wall > 0.05:
        out.append("the hypervisor took time away (steal)")
    if wall < 1 and "sessions" not in fig:
        out.append("the measured phase was shorter than 1 s")
    for key in ("refused", "lost", "duplicates", "out_of_order", "closed_by_server"):
        if fig.get(key):
            out.append(f"{key}: {fig[key]}")
    if fig.get("newest_page_right") is False:
        out.append("the page fetched was not the newest one")
    if fig.get("s2s", {}).get("connections_vanished"):
        out.append("s2s connections closed during the run: bytes are too low")
    return out


def show(d, indent=""):
    """Figures as indented text."""
    for k, v in d.items():
        if isinstance(v, dict):
            print(f"{indent}{k}:")
            show(v, indent + "  ")
        else:
            print(f"{indent}{k:34} {v}")


def main(argv=None):
    """Run one scenario; exit status 0, or 1 with a sentence."""
    a = parser().parse_args(argv)
    raise_fd_limit()
    if a.cpu:
        os.sched_setaffinity(0, {int(x) for x in a.cpu.split(",")})
    target = Target(a)
    try:
        if a.scenario == "register":
            made = aio_run(register(target, 0, a.count), a)
            print(f"{made} accounts made, {a.count - made} were there")
            return 0
        if a.scenario == "federate":
            if not (a.host_b and a.domain_b):
                raise XMPPError("federate needs --host-b and --domain-b")
            b = Target(a, "_b")
            b.prefix = target.prefix
            fig, use, tls = fanout.scenario_fanout(a, target, b)
        else:
            b = None
            fig, use, tls = SCENARIOS[a.scenario](a, target)
    except (TimeoutError, XMPPError, OSError, ssl.SSLError) as e:
        print(f"xmppload: {type(e).__name__}: {e}", file=sys.stderr)
        return 1
    result = {
        "tool": f"xmppload {VERSION}",
        "scenario": a.scenario,
        "label": a.label,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "target": target.describe(),
        "target_b": b.describe() if b else None,
        "params": {k: v for k, v in vars(a).items() if k not in ("password", "json", "pidfile", "pidfile_b")},
        "figures": fig,
        "use": use,
        "tls": tls,
        "machine": {
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "openssl": ssl.OPENSSL_VERSION,
        },
        "warnings": warnings_for(fig, use),
    }
    if a.json:
        text = json.dumps(result, indent=1)
        if a.json == "-":
            print(text)
        else:
            with open(a.json, "w") as f:
                f.write(text + "\n")
    if a.json != "-":
        print(f"{a.scenario} {a.label} {target.domain}" + (f" -> {b.domain}" if b else "") + f"  tls={tls}")
        show(fig)
        show(use)
        for w in result["warnings"]:
            print("warning:", w)
    return 0
