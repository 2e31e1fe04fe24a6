"""Scenarios about sessions: `login` (complete logins) and `idle` (the memory of sessions that do nothing)."""

import array
import asyncio
import multiprocessing
import ssl
import time

from loadgen.accounts import log_in
from loadgen.common import XMPPError, aio_run, expect, now_ns, shares
from loadgen.connection import Conn
from loadgen.meter import Meter, latency, proc_cpu, proc_rss_kib


def scenario_login(a, target):
    """C workers do L complete logins, each user logged in anew each time."""
    procs = max(1, a.procs)
    ctx = multiprocessing.get_context("fork")
    pipes = []
    first = a.first
    for n, logins in zip(shares(a.concurrency, procs), shares(a.logins, procs), strict=True):
        ours, theirs = ctx.Pipe()
        p = ctx.Process(target=login_process, args=(theirs, a, target, first, n, logins))
        p.start()
        theirs.close()
        pipes.append((ours, p))
        first += n
    for pipe, _ in pipes:
        expect(pipe, "ready")
    m = Meter(target.pids)
    t0 = t_end = now_ns()
    for pipe, _ in pipes:
        pipe.send("go")
    lat, cpus, tls = array.array("Q"), [], None
    for pipe, _ in pipes:
        _, data, cpu, tls, end = expect(pipe, "result", a.setup_timeout)
        t_end = max(t_end, end)
        lat.frombytes(data)
        cpus.append(cpu)
    use = m.stop(cpus)
    for _, p in pipes:
        p.join()
    n = len(lat)
    fig = {"logins": n, "logins_per_s": round(n / (t_end - t0) * 1e9, 1), **latency(lat)}
    if target.pids:
        fig["server_cpu_ms_per_login"] = round(1000 * use["server_cpu_s"] / n, 3)
    return fig, use, tls


def login_process(pipe, a, target, first, workers, logins):
    """A process with `workers` users who log in and out in turn."""

    async def main():
        lat, todo, info = array.array("Q"), iter(range(logins)), []
        for i in range(workers):  # fills the cache of salted passwords
            c = Conn(target, first + i)
            await c.login("xlwarm")
            await c.logout()
        pipe.send(("ready",))
        assert pipe.recv() == "go"
        cpu0 = time.process_time()
        leaving = set()

        async def worker(i):
            for n in todo:
                c = Conn(target, first + i)
                t0 = now_ns()
                await asyncio.wait_for(c.login(f"xl{n}"), a.timeout)
                lat.append((now_ns() - t0) // 1000)
                info[:] = [c.tls_info]
                # In the background: some servers take their time to say good-bye.
                leaving.add(asyncio.ensure_future(c.logout()))

        await asyncio.gather(*(worker(i) for i in range(workers)))
        end = now_ns()
        await asyncio.gather(*leaving)
        pipe.send(("result", lat.tobytes(), time.process_time() - cpu0, info[0], end))

    try:
        aio_run(main(), a)
    except (TimeoutError, XMPPError, OSError, ssl.SSLError) as e:
        pipe.send(("failed", f"{type(e).__name__}: {e}"))


def scenario_idle(a, target):
    """Hold N sessions and see what they cost."""
    if not target.pids:
        raise XMPPError("idle measures the server's memory: it needs --pid or --pidfile")

    async def main():
        warm = await log_in(target, a.first, min(20, a.sessions), "warm", a.login_concurrency)
        for c in warm:
            await c.logout()
        await asyncio.sleep(a.settle)
        before = proc_rss_kib(target.pids)
        t0 = time.monotonic()
        cpu0 = proc_cpu(target.pids)
        conns = await log_in(target, a.first, a.sessions, "idle", a.login_concurrency)
        took = time.monotonic() - t0
        cpu_login = proc_cpu(target.pids) - cpu0
        await asyncio.sleep(a.settle)
        after = proc_rss_kib(target.pids)
        m = Meter(target.pids)
        await asyncio.sleep(a.hold)
        use = m.stop()
        held = proc_rss_kib(target.pids)
        info = conns[0].tls_info
        for c in conns:
            c.close()
        n = len(conns)
        return (
            {
                "sessions": n,
                "rss_before_mib": round(before / 1024, 1),
                "rss_after_mib": round(after / 1024, 1),
                "rss_held_mib": round(held / 1024, 1),
                "rss_kib_per_session": round((held - before) / n, 2),
                "login_phase_s": round(took, 2),
                "logins_per_s": round(n / took, 1),
                "login_server_cpu_ms": round(1000 * cpu_login / n, 3),
                "idle_server_cpu_share": round(use["server_cpu_s"] / use["wall_s"], 4),
            },
            use,
            info,
        )

    return aio_run(main(), a)
