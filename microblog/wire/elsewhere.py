"""What this server does at nodes of other services in its people's names: ready stanzas for the outbox.

They come from the account and not from a session, and are sent until the other server has taken them; then it is for
its service to agree or not. What it answers is dropped, but for refused copies of answers: their ids say which.
"""

import re
import secrets
from typing import Final

from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.wire import ns, stanza
from microblog.wire.xml import Element, Raw

_COPY: Final = re.compile(r"copy-([0-9]{1,18})-[0-9a-f]+")


def publication(actor: JID, service: JID, node: str, item_id: str, payload: str, *, prefix: str = "") -> str:
    """XEP-0060 §7.1: publish an item. ``prefix``: of the stanza's id."""
    item = Element(ns.PUBSUB, "item", {"id": item_id}, Raw(payload))
    return _request(actor, service, Element(ns.PUBSUB, "publish", {"node": node}, item), prefix)


def withdrawal(actor: JID, service: JID, node: str, item_id: str) -> str:
    """XEP-0060 §7.2: delete it."""
    item = Element(ns.PUBSUB, "item", {"id": item_id})
    return _request(actor, service, Element(ns.PUBSUB, "retract", {"node": node, "notify": "true"}, item))


def copy(service: JID, node: str, item: Item) -> str:
    """XEP-0277 §4: put an answer into the thread that it belongs to (``usecases.publishing.Publish.copy``)."""
    return publication(item.publisher.bare, service, node, item.id, item.payload, prefix=f"copy-{item.position}-")


def copied(stanza_id: str) -> int | None:
    """The event of what a copy is of, by the stanza's id."""
    found = _COPY.fullmatch(stanza_id)
    return int(found[1]) if found else None


def withdraw(service: JID, node: str, item: Item) -> str:
    """Take it out of there."""
    return withdrawal(item.publisher.bare, service, node, item.id)


def direct_message(actor: JID, to: JID, text: str, message_id: str) -> stanza.Stanza:
    """RFC 6121 §5: a chat message from one person to another."""
    return stanza.message("chat", actor.bare, to.bare, Element(ns.CLIENT, "body", None, text), id_=message_id)


def nudge(actor: JID, to: JID, text: str, message_id: str) -> stanza.Stanza:
    """XEP-0224: ask for somebody's attention, in words as well."""
    body = Element(ns.CLIENT, "body", None, text)
    return stanza.message("chat", actor.bare, to.bare, body, Element(ns.ATTENTION, "attention"), id_=message_id)


def _request(actor: JID, service: JID, verb: Element, prefix: str = "") -> str:
    id_ = f"{prefix}{secrets.token_hex(8)}"
    request = stanza.iq("set", actor.bare, service, id_, Element(ns.PUBSUB, "pubsub", None, verb))
    return request.to_bytes().decode()
