"""Constants and small helpers that every scenario uses."""

import asyncio
import resource
import secrets
import time

NODE = "urn:xmpp:microblog:0"
NS_PUBSUB = "http://jabber.org/protocol/pubsub"
READ = 16384  # a TLS record is never larger
MARK_LEN = 9  # "XLM" + 6 hex digits of the run
SEQ_LEN, NS_LEN = 7, 19


now_ns = time.monotonic_ns  # CLOCK_MONOTONIC: one clock for all processes


class XMPPError(Exception):
    """The server did not do what the scenario needs."""

    pass


def raise_fd_limit():
    """Allow as many sockets as the hard limit does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def aio_run(coro, a):
    """`asyncio.run`, on uvloop when asked for."""
    if a.uvloop:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as r:
            return r.run(coro)
    return asyncio.run(coro)


def shares(total, parts):
    """Divide a total evenly."""
    base, extra = divmod(total, parts)
    return [base + (i < extra) for i in range(parts)]


def run_id():
    """Six hex digits that tell this run's entries from others'."""
    return secrets.token_hex(3)


def expect(pipe, kind, timeout=600):
    """The next message of a process, past its progress reports."""
    if not pipe.poll(timeout):
        raise XMPPError(f"timed out waiting for a process to be {kind}")
    msg = pipe.recv()
    if msg[0] == "failed":
        raise XMPPError(msg[1])
    if msg[0] == "progress" and kind != "progress":
        return expect(pipe, kind, timeout)
    return msg
