"""Many connections at once: logging in, in-band registration (XEP-0077), and following an author."""

import asyncio
import re

from loadgen.common import NODE, NS_PUBSUB, XMPPError
from loadgen.connection import CAPS_PRESENCE, Conn


async def limited(coros, limit):
    """Run the coroutines, at most `limit` at a time; the first error is raised."""
    it = iter(coros)
    results = []

    async def worker():
        for c in it:
            results.append(await c)

    tasks = [asyncio.ensure_future(worker()) for _ in range(limit)]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for t in tasks:
            t.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for c in it:
            c.close()
        raise
    return results


async def log_in(target, first, count, tag, limit=32, presence="<presence/>", timeout=120):
    """Log in `count` users from number `first` on, in the order of their numbers."""

    async def one(i):
        c = Conn(target, i)
        c.answers = presence == CAPS_PRESENCE
        try:
            return await asyncio.wait_for(c.login(f"xl{tag}", presence), timeout)
        except BaseException:
            c.close()
            raise

    conns = await limited((one(i) for i in range(first, first + count)), limit)
    return sorted(conns, key=lambda c: int(c.user[len(target.prefix) :]))


async def register(target, first, count, limit=8):
    """XEP-0077 in-band registration, one connection an account."""

    async def one(i):
        c = Conn(target, i)
        await c.open_stream()
        reply = await c.iq(
            "set",
            "<query xmlns='jabber:iq:register'>"
            f"<username>{c.user}</username>"
            f"<password>{target.password}</password></query>",
            to=target.domain,
            ok=None,
        )
        c.close()
        if re.search(rb"^<iq\b[^>]*\btype=['\"]result['\"]", reply):
            return 1
        if b"conflict" in reply:  # there already
            return 0
        raise XMPPError(f"registration of {c.user} refused: {reply[:400]!r}")

    return sum(await limited((one(i) for i in range(first, first + count)), limit))


async def subscribe(conn, author_jid, which, show_values=()):
    """Follow the author explicitly (XEP-0060 §6.1), if it is said so only with such a presence (§6.3.7)."""
    jid = conn.jid if which == "full" else conn.jid.partition("/")[0]
    options = ""
    if show_values:
        values = "".join(f"<value>{v}</value>" for v in show_values)
        options = (
            "<options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
            f"<value>{NS_PUBSUB}#subscribe_options</value></field>"
            f"<field var='pubsub#show-values'>{values}</field></x></options>"
        )
    request = f"<pubsub xmlns='{NS_PUBSUB}'><subscribe node='{NODE}' jid='{jid}'/>{options}</pubsub>"
    await conn.iq("set", request, to=author_jid)


async def befriend(conn, author_jid):
    """Mutual presence subscription with the author, unless it is there."""
    roster = await conn.iq("get", "<query xmlns='jabber:iq:roster'/>")
    for m in re.finditer(rb"<item\b[^>]*>", roster):
        item = m.group().replace(b'"', b"'")
        if f"jid='{author_jid}'".encode() in item and b"subscription='both'" in item:
            return
    conn.send(f"<presence type='subscribe' to='{author_jid}'/>")

    async def settled():
        while author_jid not in conn.accepted:
            await conn._fill()

    await asyncio.wait_for(settled(), 60)
