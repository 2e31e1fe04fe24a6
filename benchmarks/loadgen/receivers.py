"""Followers: the hot path, which looks for the author's marker and never parses XML."""

import array
import asyncio
import select
import ssl
import time

from loadgen.accounts import befriend, limited, log_in, subscribe
from loadgen.common import MARK_LEN, NS_LEN, READ, SEQ_LEN, XMPPError, aio_run, now_ns
from loadgen.connection import CAPS_PRESENCE


class Receivers:
    """Followers' connections, read without parsing.

    Every marker found is checked off per connection, so that losses,
    duplicates and a changed order are all noticed."""

    def __init__(self, conns, run, messages):
        self.mark = f"XLM{run}".encode()
        self.messages = messages
        self.latencies = array.array("Q")  # microseconds
        self.bytes = self.reads = self.order = self.closed = 0
        self.last_ns = 0
        self.table = {}
        for c in conns:
            c.seen, c.last, c.tail = bytearray(messages), -1, b""
            self.table[c.fd] = c
        self.conns = conns

    def register(self, ep):
        """Watch all connections."""
        for fd in self.table:
            ep.register(fd, select.EPOLLIN)

    def unregister(self, ep):
        """Stop watching."""
        for c in self.conns:
            if c.sock:
                ep.unregister(c.fd)

    def readable(self, fd):
        """Read once and tick off the markers found."""
        c = self.table[fd]
        try:
            data = c.read(READ)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except (OSError, ssl.SSLError):
            data = b""
        now = now_ns()
        if not data:
            self.closed += 1
            c.close()
            return
        self.bytes += len(data)
        self.reads += 1
        if c.tail:
            data = c.tail + data
        mark = self.mark
        p = data.find(mark)
        end = 0
        while p >= 0:
            t = p + MARK_LEN + SEQ_LEN
            if t + NS_LEN > len(data):
                break
            end = t + NS_LEN
            seq = int(data[p + MARK_LEN : t])
            self.latencies.append((now - int(data[t:end])) // 1000)
            if seq <= c.last:
                self.order += 1
            c.last = seq
            if c.seen[seq] < 255:
                c.seen[seq] += 1
            p = data.find(mark, end)
        self.last_ns = now
        # Keep what may be the beginning of a marker: it has no '>' in it.
        if p >= 0:
            c.tail = data[p:]
        elif data[-1] == 62:
            c.tail = b""
        else:
            c.tail = data[max(end, len(data) - MARK_LEN - SEQ_LEN - NS_LEN) :]

    def result(self):
        """Deliveries, and what was wrong with them."""
        got = lost = dup = 0
        for c in self.conns:
            lost += c.seen.count(0)
            once = c.seen.count(1)
            more = [x for x in c.seen if x > 1] if once + c.seen.count(0) < self.messages else ()
            got += once + len(more)
            dup += sum(more) - len(more)
        return {
            "deliveries": got,
            "lost": lost,
            "duplicates": dup,
            "out_of_order": self.order,
            "closed_by_server": self.closed,
            "bytes": self.bytes,
            "reads": self.reads,
            "last_ns": self.last_ns,
        }


def receiver_process(pipe, a, target, author_jid, first, count, run, tag):
    """A process that holds `count` followers.  Talks with the main process
    over the pipe: ready -> go -> progress... -> result -> stop."""
    conns = []
    try:

        async def setup():
            if a.follow == "explicit":
                c = await log_in(target, first, count, tag, a.login_concurrency)
                await limited((subscribe(x, author_jid, a.subscribe_jid, a.show_values) for x in c), 32)
                return c
            c = await log_in(target, first, count, tag, a.login_concurrency, CAPS_PRESENCE)
            await limited((befriend(x, author_jid) for x in c), 32)
            # The author's server now asks for our features.
            await asyncio.wait([asyncio.ensure_future(x.attend()) for x in c], timeout=max(2.0, 2 * a.settle))
            for t in asyncio.all_tasks() - {asyncio.current_task()}:
                t.cancel()
            return c

        conns = aio_run(setup(), a)
        pipe.send(("ready", conns[0].tls_info if conns else None))
        assert pipe.recv() == "go"
        rx = Receivers(conns, run, a.messages)
        cpu0 = time.process_time()
        ep = select.epoll()
        rx.register(ep)
        ep.register(pipe.fileno(), select.EPOLLIN)
        want, told, pfd = count * a.messages, 0, pipe.fileno()
        readable, lat = rx.readable, rx.latencies
        last_told = 0.0
        stop = False
        while not stop:
            for fd, _ in ep.poll(0.2, 1024):
                if fd == pfd:
                    stop = True
                else:
                    readable(fd)
            n = len(lat)
            if n != told:
                t = time.monotonic()
                if n >= want or t - last_told > 0.2:
                    pipe.send(("progress", n))
                    told, last_told = n, t
        cpu = time.process_time() - cpu0
        pipe.recv()
        pipe.send(("result", rx.result(), lat.tobytes(), cpu))
        pipe.recv()
    except (TimeoutError, XMPPError, OSError, ssl.SSLError, AssertionError) as e:
        pipe.send(("failed", f"{type(e).__name__}: {e}"))
    finally:
        for c in conns:
            c.close()
