"""The Atom entry of the measurements and the stanzas around it (XEP-0060, XEP-0277)."""

import asyncio
import time

from loadgen.common import NODE, NS_LEN, NS_PUBSUB, SEQ_LEN, XMPPError

WORDS = (
    "The night train to the coast was late again, but the light over the "
    "marshes made up for it. Somebody at the far end of the carriage was "
    "playing the accordion, badly and with great joy, and nobody minded. "
)


class Entries:
    """Makes the Atom entries of one run.  The marker in the title is what the
    receivers look for: XLM<run><sequence number><time of sending, ns>."""

    def __init__(self, target, author, run, size):
        self.mark = f"XLM{run}"
        self.run, self.bare = run, target.bare(author)
        self.author, self.domain = target.user(author), target.domain
        self.text = ""
        short = len(self.entry(0, 0))
        self.text = (WORDS * 40)[: max(0, size - short)]

    def item_id(self, seq):
        """The id of an item."""
        return f"xli-{self.run}-{seq}"

    def entry(self, seq, t_ns):
        """An Atom entry of about the size wanted."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return (
            f"<entry xmlns='http://www.w3.org/2005/Atom'>"
            f"<title type='text'>{self.mark}{seq:0{SEQ_LEN}d}{t_ns:0{NS_LEN}d} {self.text}</title>"
            f"<id>tag:{self.domain},2026:posts-{self.item_id(seq)}</id>"
            f"<published>{stamp}</published><updated>{stamp}</updated>"
            f"<author><name>{self.author}</name><uri>xmpp:{self.bare}</uri></author>"
            f"</entry>"
        )

    def publish(self, seq, t_ns):
        """The payload of the publish request, with publish-options."""
        return (
            f"<pubsub xmlns='{NS_PUBSUB}'><publish node='{NODE}'>"
            f"<item id='{self.item_id(seq)}'>{self.entry(seq, t_ns)}</item>"
            f"</publish>{PUBLISH_OPTIONS}</pubsub>"
        )


def form(kind, **fields):
    """A submitted data form (XEP-0004) of one of XEP-0060's types."""
    return (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{NS_PUBSUB}#{kind}</value></field>"
        + "".join(f"<field var='pubsub#{var}'><value>{value}</value></field>" for var, value in fields.items())
        + "</x>"
    )


# What a microblog client sends with each entry (XEP-0277).  max_items is left
# to the node's configuration: not every server takes it as a precondition.
PUBLISH_OPTIONS = (
    "<publish-options>" + form("publish-options", persist_items="true", access_model="open") + "</publish-options>"
)


async def fresh_node(conn, entries, max_items, prefill=0):
    """Delete the author's node, make it anew, open to all, with some entries."""
    await drop_node(conn)
    config = form("node_config", persist_items="true", access_model="open", max_items=max_items)
    create = f"<pubsub xmlns='{NS_PUBSUB}'><create node='{NODE}'/><configure>{config}</configure></pubsub>"
    for attempt in range(5):
        try:
            await conn.iq("set", create)
            break
        except XMPPError:  # a server may fail when others create nodes too
            if attempt == 4:
                raise
            await asyncio.sleep(0.2)
    for i in range(1 + prefill):
        await conn.iq("set", entries.publish(i, 0))


async def drop_node(conn):
    """Delete the author's node if it is there."""
    await conn.iq("set", f"<pubsub xmlns='{NS_PUBSUB}#owner'><delete node='{NODE}'/></pubsub>", ok=None)


class AckScan:
    """Counts the answers to IQs with ids PREFIX + 7 digits in a byte stream."""

    def __init__(self, prefix):
        self.prefix = prefix.encode()
        self.size = len(self.prefix) + SEQ_LEN
        self.tail = b""
        self.errors = 0
        self.first_error = None

    def feed(self, data):
        """The sequence numbers answered in these bytes."""
        buf = self.tail + data
        seqs = []
        p = buf.find(self.prefix)
        end = 0
        while p >= 0 and p + self.size <= len(buf):
            end = p + self.size
            seqs.append(int(buf[p + len(self.prefix) : end]))
            p = buf.find(self.prefix, end)
        self.tail = buf[max(end, len(buf) - self.size + 1) :]
        if b"type='error'" in data or b'type="error"' in data:
            self.errors += data.count(b"type='error'") + data.count(b'type="error"')
            self.first_error = self.first_error or data[-400:].decode("utf-8", "replace")
        return seqs
