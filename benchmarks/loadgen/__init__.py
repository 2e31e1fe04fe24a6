"""A neutral load generator for XMPP servers that carry a microblog.

It speaks plain RFC 6120/6121, XEP-0060, XEP-0163 and XEP-0277 to any server and knows nothing of the
server's inside.  Connections are set up with asyncio; the measured phase runs in a bare epoll loop that
never parses XML: it looks for a marker that the author wrote into the entry and reads the sequence number
and the time of sending from it.  Only the standard library is needed (and uvloop for --uvloop), and Linux.
"""
