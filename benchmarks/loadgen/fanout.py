"""Scenarios with followers: `fanout` (on the same server) and `federate` (on another)."""

import array
import asyncio
import multiprocessing
import select
import ssl
import time

from loadgen.common import READ, SEQ_LEN, XMPPError, expect, now_ns, run_id, shares
from loadgen.connection import CAPS_PRESENCE, Conn
from loadgen.entries import AckScan, Entries, drop_node, fresh_node
from loadgen.meter import Meter, latency
from loadgen.receivers import receiver_process
from loadgen.traffic import s2s_counters, s2s_figures


def scenario_fanout(a, target, target_b=None):
    """One author, N followers (at server B for `federate`)."""
    at = target_b or target
    run = run_id()
    n_procs = max(1, min(a.procs, a.followers))
    entries = Entries(target, a.author, run, a.entry_size)
    loop = asyncio.new_event_loop()

    async def author_up():
        c = Conn(target, a.author)
        c.answers = a.follow == "presence" and "mutual"
        await c.login("xlauthor", CAPS_PRESENCE if c.answers else "<presence/>")
        if c.answers:
            await c.iq("get", "<query xmlns='jabber:iq:roster'/>")
        await fresh_node(c, Entries(target, a.author, "setup0", a.entry_size), a.max_items, a.prefill)
        return c

    author = loop.run_until_complete(asyncio.wait_for(author_up(), 120))
    author_jid = target.bare(a.author)

    ctx = multiprocessing.get_context("fork")
    pipes, first = [], a.first
    t_setup = time.monotonic()
    for n in shares(a.followers, n_procs):
        ours, theirs = ctx.Pipe()
        p = ctx.Process(target=receiver_process, args=(theirs, a, at, author_jid, first, n, run, f"rx{run}"))
        p.start()
        theirs.close()
        pipes.append((ours, p, n))
        first += n
    tls = None

    async def wait_ready():
        attending = asyncio.ensure_future(author.attend())
        for pipe, _, _ in pipes:
            msg = await loop.run_in_executor(None, expect, pipe, "ready", a.setup_timeout)
        attending.cancel()
        await asyncio.wait([attending])
        return msg[1]

    tls = loop.run_until_complete(wait_ready())
    t_setup = time.monotonic() - t_setup
    time.sleep(a.settle)

    # --- measured ---------------------------------------------------------
    ack = AckScan("xlp-")
    ep = select.epoll()
    ep.register(author.fd, select.EPOLLIN)
    for pipe, _, _ in pipes:
        ep.register(pipe.fileno(), select.EPOLLIN)
    by_fd = {pipe.fileno(): (pipe, i) for i, (pipe, _, _) in enumerate(pipes)}
    for pipe, _, _ in pipes:
        pipe.send("go")
    time.sleep(0.05)
    s2s0 = s2s_counters([target.host, at.host], a.s2s_port) if target_b else None
    meter = Meter(target.pids, target_b.pids if target_b else ())
    progress = [0] * len(pipes)
    want = a.followers * a.messages
    sent_ns, ack_lat = {}, array.array("Q")
    seq = acked = 0
    t_first = now_ns()
    idle_since = time.monotonic()
    interval = int(1e9 / a.rate) if a.rate else 0
    timed_out = False
    while sum(progress) < want or acked < a.messages:
        while seq < a.messages:
            if interval:
                due = t_first + seq * interval
                if now_ns() < due:
                    break
            elif seq - acked >= a.window:
                break
            else:
                due = now_ns()
            sent_ns[seq] = due
            author.send(f"<iq type='set' id='xlp-{seq:0{SEQ_LEN}d}'>{entries.publish(seq, due)}</iq>")
            seq += 1
        wait = 0.2
        if interval and seq < a.messages:
            wait = max(0.0, min(wait, (t_first + seq * interval - now_ns()) / 1e9))
        for fd, _ in ep.poll(wait):
            idle_since = time.monotonic()
            if fd == author.fd:
                try:
                    data = author.read(READ)
                except (ssl.SSLWantReadError, BlockingIOError):
                    continue
                if not data:
                    raise XMPPError("the server closed the author's connection")
                t = now_ns()
                for s in ack.feed(data):
                    acked += 1
                    ack_lat.append((t - sent_ns[s]) // 1000)
                want = a.followers * (a.messages - ack.errors)
            else:
                pipe, i = by_fd[fd]
                msg = pipe.recv()
                if msg[0] == "failed":
                    raise XMPPError(msg[1])
                progress[i] = msg[1]
        if time.monotonic() - idle_since > a.timeout:
            timed_out = True
            break
    s2s1 = s2s_counters([target.host, at.host], a.s2s_port) if target_b else None
    for pipe, _, _ in pipes:
        pipe.send("stop")
    lat, cpus, total = array.array("Q"), [], {}
    # The children's CPU time runs from their "go"; the server's is read now.
    srv = meter.stop()
    for pipe, _, _ in pipes:
        _, res, data, cpu = expect(pipe, "result")
        lat.frombytes(data)
        cpus.append(cpu)
        for k, v in res.items():
            total[k] = max(total.get(k, 0), v) if k == "last_ns" else total.get(k, 0) + v
    srv["generator_cpu_s"] = round(srv["generator_cpu_s"] + sum(cpus), 4)
    srv["generator_busiest_process"] = round(
        max([srv["generator_busiest_process"]] + [c / srv["wall_s"] for c in cpus]), 3
    )
    if "other_cpu_s" in srv:
        srv["other_cpu_s"] = round(max(0.0, srv["other_cpu_s"] - sum(cpus)), 2)
    span = (total["last_ns"] - t_first) / 1e9 if total["deliveries"] else srv["wall_s"]
    got = total["deliveries"]
    fig = {
        "followers": a.followers,
        "messages": a.messages,
        "deliveries": got,
        "lost": total["lost"],
        "duplicates": total["duplicates"],
        "out_of_order": total["out_of_order"],
        "closed_by_server": total["closed_by_server"],
        "span_s": round(span, 4),
        "deliveries_per_s": round(got / span, 1),
        "publishes_per_s": round(acked / span, 2),
        "refused": ack.errors,
        "delivery_latency": latency(lat),
        "ack_latency": latency(ack_lat),
        "bytes_per_delivery": round(total["bytes"] / got, 1) if got else None,
        "deliveries_per_read": round(got / total["reads"], 2) if total["reads"] else None,
        "setup_s": round(t_setup, 2),
    }
    if timed_out:
        fig["timed_out"] = True
    if ack.errors:
        fig["first_error"] = ack.first_error
    if target.pids and got:
        fig["server_cpu_s_per_1000_deliveries"] = round(1000 * srv["server_cpu_s"] / got, 4)
        if target_b and target_b.pids:
            fig["server_b_cpu_s_per_1000_deliveries"] = round(1000 * srv["server_b_cpu_s"] / got, 4)
    if target_b:
        fig["s2s"] = s2s_figures(s2s0, s2s1, at, a, got, fig["bytes_per_delivery"])

    # --- put away ---------------------------------------------------------
    for pipe, _, _ in pipes:
        pipe.send("bye")
    for _, p, _ in pipes:
        p.join(30)
    if not a.keep:
        loop.run_until_complete(asyncio.wait_for(drop_node(author), 60))
    author.close()
    loop.close()
    return fig, srv, tls
