"""Scenarios of request and answer: `publish` (authors without followers) and `timeline` (newest page)."""

import array
import re
import select
import ssl
import time

from loadgen.accounts import log_in
from loadgen.common import NODE, NS_PUBSUB, READ, SEQ_LEN, XMPPError, aio_run, now_ns, run_id
from loadgen.connection import Conn
from loadgen.entries import AckScan, Entries, drop_node, fresh_node
from loadgen.meter import Meter, latency, proc_rss_kib


def closed_loop(conns, prefix, make, count, on_done, timeout):
    """Window-1 request loop over the connections: `make(conn, seq)` gives the
    bytes of the next request, `on_done(conn, data)` tells how many requests
    the data just read completes (0 or 1)."""
    ep = select.epoll()
    table = {}
    lat = array.array("Q")
    for c in conns:
        c.left, c.n_iq = count, 0
        table[c.fd] = c
        ep.register(c.fd, select.EPOLLIN)
    open_ = len(conns)
    for c in conns:
        c.sent_at = now_ns()
        c.send(make(c, 0))
    while open_:
        events = ep.poll(timeout, 1024)
        if not events:
            raise XMPPError(f"no answer in {timeout} s; {open_} connections wait")
        for fd, _ in events:
            c = table[fd]
            try:
                data = c.read(READ)
            except (ssl.SSLWantReadError, BlockingIOError):
                continue
            if not data:
                raise XMPPError("the server closed a connection")
            if not on_done(c, data):
                continue
            t = now_ns()
            lat.append((t - c.sent_at) // 1000)
            c.left -= 1
            c.n_iq += 1
            if c.left:
                c.sent_at = now_ns()
                c.send(make(c, c.n_iq))
            else:
                open_ -= 1
    for c in conns:
        ep.unregister(c.fd)
    return lat


def scenario_publish(a, target):
    """K authors without followers publish M entries each, window 1."""
    run = run_id()
    by_user = {target.user(i): Entries(target, i, run, a.entry_size) for i in range(a.first, a.first + a.authors)}

    async def up():
        conns = await log_in(target, a.first, a.authors, "pub", a.login_concurrency)

        async def prepare(c, i):
            await fresh_node(c, Entries(target, i, "setup0", a.entry_size), a.max_items, a.prefill)

        for k, c in enumerate(conns):  # one at a time: see the README on ejabberd
            await prepare(c, a.first + k)
        return conns

    conns = aio_run(up(), a)
    time.sleep(a.settle)
    acks = {c.fd: AckScan("xlp-") for c in conns}

    def make(c, seq):
        return (f"<iq type='set' id='xlp-{seq:0{SEQ_LEN}d}'>{by_user[c.user].publish(seq, now_ns())}</iq>").encode()

    def done(c, data):
        return len(acks[c.fd].feed(data))

    m = Meter(target.pids)
    lat = closed_loop(conns, "xlp-", make, a.messages, done, a.timeout)
    use = m.stop()
    n = len(lat)
    errors = sum(x.errors for x in acks.values())
    fig = {
        "authors": len(conns),
        "messages": a.messages,
        "publishes": n,
        "refused": errors,
        "publishes_per_s": round(n / use["wall_s"], 1),
        **latency(lat),
    }
    if errors:
        fig["first_error"] = next(x.first_error for x in acks.values() if x.errors)
    if target.pids:
        fig["server_cpu_s_per_1000_publishes"] = round(1000 * use["server_cpu_s"] / n, 4)
        fig["rss_mib"] = round(proc_rss_kib(target.pids) / 1024, 1)
    info = conns[0].tls_info

    async def down():
        if not a.keep:
            for c in conns:
                await drop_node(c)

    # The measured loop may have left half-read answers: none is outstanding.
    for c in conns:
        c.buf.clear()
    aio_run(down(), a)
    for c in conns:
        c.close()
    return fig, use, info


def scenario_timeline(a, target):
    """C readers fetch the last 20 items of a node that holds 1000."""
    run = run_id()
    entries = Entries(target, a.author, run, a.entry_size)

    async def up():
        author = await Conn(target, a.author).login("xlauthor")
        await fresh_node(author, Entries(target, a.author, "setup0", a.entry_size), max(a.max_items, a.items))
        for i in range(a.items):
            await author.iq("set", entries.publish(i, 0))
        readers = await log_in(target, a.first, a.readers, "tl", a.login_concurrency)
        reply = await readers[0].iq("get", query(a), to=target.bare(a.author))
        return author, readers, reply

    author, readers, sample = aio_run(up(), a)
    seqs = [int(x) for x in re.findall(f"XLM{run}(\\d{{{SEQ_LEN}}})".encode(), sample)]
    right = sorted(seqs) == list(range(a.items - a.page, a.items))
    time.sleep(a.settle)
    body = query(a)
    to = target.bare(a.author)
    state = {"bytes": 0, "items": 0}

    def make(c, seq):
        c.tail = b""
        return f"<iq type='get' id='xlt{seq:0{SEQ_LEN}d}' to='{to}'>{body}</iq>".encode()

    def done(c, data):
        state["bytes"] += len(data)
        state["items"] += data.count(b"</entry>")
        joined = c.tail + data
        if b"</iq>" in joined:
            c.tail = b""
            return 1
        if b"type='error'" in joined or b'type="error"' in joined:
            raise XMPPError(f"refused: {joined[:500]!r}")
        c.tail = data[-8:]
        return 0

    m = Meter(target.pids)
    lat = closed_loop(readers, "xlt", make, a.requests, done, a.timeout)
    use = m.stop()
    n = len(lat)
    fig = {
        "items_in_node": a.items,
        "page": a.page,
        "readers": len(readers),
        "requests": n,
        "requests_per_s": round(n / use["wall_s"], 1),
        **latency(lat),
        "bytes_per_reply": round(state["bytes"] / n),
        "items_per_reply_about": round(state["items"] / n, 1),
        "newest_page_right": right,
    }
    if target.pids:
        fig["server_cpu_s_per_1000_requests"] = round(1000 * use["server_cpu_s"] / n, 4)
    info = readers[0].tls_info

    async def down():
        if not a.keep:
            await drop_node(author)

    aio_run(down(), a)
    author.close()
    for c in readers:
        c.close()
    return fig, use, info


def query(a):
    """The request for the newest page."""
    if a.page_mode == "rsm":
        return (
            f"<pubsub xmlns='{NS_PUBSUB}'><items node='{NODE}'/>"
            f"<set xmlns='http://jabber.org/protocol/rsm'><max>{a.page}</max><before/></set></pubsub>"
        )
    return f"<pubsub xmlns='{NS_PUBSUB}'><items node='{NODE}' max_items='{a.page}'/></pubsub>"
