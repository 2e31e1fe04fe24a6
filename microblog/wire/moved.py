"""XEP-0283: the statement that somebody has another address now, and the request of who has moved."""

from typing import Final
from urllib.parse import unquote

from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID
from microblog.wire import ns, stanza
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, to_text

ITEM: Final = "current"


def write_statement(new: JID) -> str:
    """§4.1: the payload that the old account publishes."""
    return to_text(_statement(new))


def read_statement(payload: Element | None) -> JID | None:
    """The new address, bare, in a payload; None if it says none."""
    if payload is None or not payload.is_(ns.MOVED, "moved"):
        return None
    return _address(payload.child_text(ns.MOVED, "new-jid"))


def read_old_address(request: Stanza) -> JID | None:
    """§4.2: who somebody says they were before, in their request for a presence subscription."""
    moved = request.element.find(ns.MOVED, "moved")
    return None if moved is None else _address(moved.child_text(ns.MOVED, "old-jid"))


def read_gone(uri: str) -> JID | None:
    """§4.3: the address in the ``xmpp:`` URI of a ``<gone/>``."""
    return _address(unquote(uri.removeprefix("xmpp:").partition("?")[0])) if uri.startswith("xmpp:") else None


def write_notice(old: JID, new: JID, to: JID) -> str:
    """The ready notification of a statement, for a follower who did not subscribe to such news."""
    item = Element(ns.PUBSUB_EVENT, "item", {"id": ITEM}, _statement(new))
    items = Element(ns.PUBSUB_EVENT, "items", {"node": ns.MOVED}, item)
    event = Element(ns.PUBSUB_EVENT, "event", None, items)
    return stanza.message("headline", old, to, event).to_bytes().decode()


def _statement(new: JID) -> Element:
    return Element(ns.MOVED, "moved", None, Element(ns.MOVED, "new-jid", None, str(new)))


def _address(text: str | None) -> JID | None:
    try:
        found = JID.parse((text or "").strip())
    except JIDMalformed:
        return None
    return found if found.is_bare and found.localpart else None
