"""RFC 5122, XEP-0060 §12.22, XEP-0277 §2.2: the addresses of nodes and items as ``xmpp:`` URIs.

One canonical text for each, so that two addresses are of the same thing if and only if they are equal.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG

URI_MAX_CHARACTERS: Final = 8192
# What may stand in a node or an item of an xmpp: URI without being escaped (RFC 5122 §2.2, XEP-0147).
_SAFE: Final = "-._~!$'()*+,"
# What follows the address of the microblog node in that of a comments node.
_COMMENTS: Final = quote(COMMENTS_PREFIX.removeprefix(MICROBLOG), safe=_SAFE)
# An address of plain letters, and only those escapes that are needed.
_NAME: Final = r"(?:[A-Za-z0-9\-._~!$'()*+,]|%(?:2[02356F]|3[A-F]|40|5[B-E]|60|7[BCD]))+"
_CANONICAL: Final = re.compile(rf"xmpp:(?:[a-z0-9._\-]+@)?[a-z0-9.\-]*[a-z0-9]\?;node={_NAME}(?:;item={_NAME})?\Z")


class ItemAddress(NamedTuple):
    """Where an item is; without ``item_id`` it is the whole node."""

    service: JID
    node: str
    item_id: str | None = None

    @property
    def uri(self) -> str:
        """The canonical ``xmpp:`` URI."""
        node = node_uri(self.service, self.node)
        return node if self.item_id is None else f"{node};item={quote(self.item_id, safe=_SAFE)}"


def item_uri(service: JID, node: str, item_id: str) -> str:
    """The address of an item."""
    return f"{node_uri(service, node)};item={quote(item_id, safe=_SAFE)}"


def comments_uri(service: JID, item_id: str) -> str:
    """The address of the node of the comments on a post."""
    return f"{node_uri(service, MICROBLOG)}{_COMMENTS}{quote(item_id, safe=_SAFE)}"


def account_uri(jid: JID) -> str:
    """The address of somebody."""
    return f"xmpp:{quote(jid.localpart, safe=_SAFE)}@{jid.domainpart}"


@lru_cache(maxsize=1024)
def node_uri(service: JID, node: str) -> str:
    """The address of a node."""
    local = f"{quote(service.localpart, safe=_SAFE)}@" if service.localpart else ""
    return f"xmpp:{local}{service.domainpart}?;node={quote(node, safe=_SAFE)}"


def read_uri(uri: str) -> ItemAddress | None:
    """The service, node and item of an ``xmpp:`` URI; None for any other.

    COMPAT: Movim does not escape the colons of the node, others do; both are read.
    """
    if not uri.startswith("xmpp:") or len(uri) > URI_MAX_CHARACTERS:
        return None
    address, _, query = uri.removeprefix("xmpp:").partition("?")
    pairs = dict(pair.strip().partition("=")[::2] for pair in query.split(";"))
    node, item_id = unquote(pairs.get("node", "")), unquote(pairs.get("item", ""))
    try:
        service = JID.parse(unquote(address.strip("/")))
    except JIDMalformed:
        return None
    return ItemAddress(service, node, item_id or None) if node else None


def canonical(uri: str) -> str:
    """An ``xmpp:`` URI of a node or item in its canonical form; any other stays as it is."""
    # Nearly all are, and reading them costs ten times as much.
    if _CANONICAL.match(uri):
        return uri
    address = read_uri(uri)
    return uri if address is None else address.uri
