"""What microblog clients write and read (XEP-0060, XEP-0163, XEP-0277): used against every server alike."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from xml.sax.saxutils import escape

from tests.interop.client import CLIENT, DEADLINE, Client

MICROBLOG = "urn:xmpp:microblog:0"
PUBSUB = "http://jabber.org/protocol/pubsub"
EVENT = f"{{{PUBSUB}#event}}"
ATOM = "{http://www.w3.org/2005/Atom}"

OPEN = (
    "<publish-options><x xmlns='jabber:x:data' type='submit'>"
    f"<field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#publish-options</value></field>"
    "<field var='pubsub#persist_items'><value>true</value></field>"
    "<field var='pubsub#access_model'><value>open</value></field></x></publish-options>"
)


def publish(author: Client, ident: str, title: str, options: str = OPEN, *, version: int = 0) -> None:
    """Publish an entry to one's own microblog; an edit is a later version of it (RFC 4287 §4.2.15)."""
    stamp = "2026-05-01T12:00:00Z"
    updated = f"2026-05-01T12:00:{version:02}Z"
    author.iq(
        "set",
        f"<pubsub xmlns='{PUBSUB}'><publish node='{MICROBLOG}'><item id='{ident}'>"
        f"<entry xmlns='http://www.w3.org/2005/Atom'><title type='text'>{escape(title)}</title>"
        f"<id>tag:{author.domain},2026:{ident}</id><published>{stamp}</published><updated>{updated}</updated>"
        f"<author><name>{escape(author.bare)}</name><uri>xmpp:{escape(author.bare)}</uri></author></entry>"
        f"</item></publish>{options}</pubsub>",
    )


def retract(author: Client, ident: str) -> None:
    """Take an entry back and tell the followers."""
    author.iq(
        "set",
        f"<pubsub xmlns='{PUBSUB}'><retract node='{MICROBLOG}' notify='true'><item id='{ident}'/></retract></pubsub>",
    )


def follow(reader: Client, author: str) -> ET.Element:
    """Subscribe explicitly to the author's microblog; the subscription element."""
    subscribe = f"<subscribe node='{MICROBLOG}' jid='{reader.bare}'/>"
    reply = reader.iq("set", f"<pubsub xmlns='{PUBSUB}'>{subscribe}</pubsub>", to=author)
    subscription = reply.find(f"{{{PUBSUB}}}pubsub/{{{PUBSUB}}}subscription")
    assert subscription is not None, ET.tostring(reply, "unicode")
    return subscription


def unfollow(reader: Client, author: str) -> None:
    """Unsubscribe."""
    unsubscribe = f"<unsubscribe node='{MICROBLOG}' jid='{reader.bare}'/>"
    reader.iq("set", f"<pubsub xmlns='{PUBSUB}'>{unsubscribe}</pubsub>", to=author)


def items(reader: Client, author: str, newest: int | None = None) -> list[ET.Element]:
    """Fetch the author's items."""
    limit = f" max_items='{newest}'" if newest else ""
    reply = reader.iq("get", f"<pubsub xmlns='{PUBSUB}'><items node='{MICROBLOG}'{limit}/></pubsub>", to=author)
    return reply.findall(f"{{{PUBSUB}}}pubsub/{{{PUBSUB}}}items/{{{PUBSUB}}}item")


def event_item(stanza: ET.Element, author: str, ident: str) -> ET.Element | None:
    """The item, if the stanza is the author's notification of it."""
    return _in_event(stanza, author, f"{EVENT}item[@id='{ident}']")


def is_post(author: str, ident: str) -> Callable[[ET.Element], bool]:
    """Predicate for `Client.wait` and `Client.absent`."""
    return lambda stanza: event_item(stanza, author, ident) is not None


def is_retraction(author: str, ident: str) -> Callable[[ET.Element], bool]:
    """Predicate: the notification that an item is gone."""
    return lambda stanza: _in_event(stanza, author, f"{EVENT}retract[@id='{ident}']") is not None


def _in_event(stanza: ET.Element, author: str, what: str) -> ET.Element | None:
    if stanza.tag != f"{CLIENT}message" or stanza.get("from", "").partition("/")[0] != author:
        return None
    return stanza.find(f"{EVENT}event/{EVENT}items[@node='{MICROBLOG}']/{what}")


def await_post(reader: Client, author: str, ident: str, *, timeout: float = DEADLINE) -> str:
    """Wait for the notification of an item and return its title."""
    stanza = reader.wait(is_post(author, ident), timeout=timeout, what=f"item {ident} of {author}")
    item = event_item(stanza, author, ident)
    assert item is not None
    return item.findtext(f"{ATOM}entry/{ATOM}title") or ""


def await_retraction(reader: Client, author: str, ident: str, *, timeout: float = DEADLINE) -> None:
    """Wait for the notification that an item is gone."""
    reader.wait(is_retraction(author, ident), timeout=timeout, what=f"retraction of {ident} of {author}")
