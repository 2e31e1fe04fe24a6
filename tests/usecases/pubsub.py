"""People and posts for the tests of pubsub: Romeo is ours, Juliet is of capulet.example."""

from datetime import UTC, datetime, timedelta
from typing import Any

from microblog.model.account import ScramKeys
from microblog.model.contact import Contact
from microblog.model.contact import Subscription as ContactState
from microblog.model.entry import Entry
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.subscription import Affiliation, SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases import owning, publishing, retracting, retrieving, subscribing

ROMEO = JID.parse("romeo@montague.example")
BENVOLIO = JID.parse("benvolio@montague.example")
JULIET = JID.parse("juliet@capulet.example")
NURSE = JID.parse("nurse@capulet.example")
PARIS = JID.parse("paris@verona.example")
PHONE = "phone"
MOOD = "http://jabber.org/protocol/mood"
KEYS = ScramKeys(hash_name="SHA-256", salt=b"salt", iterations=4096, stored_key=b"stored", server_key=b"server")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def an_account(tx: Transaction, jid: JID = ROMEO, audience: Audience = Audience.PUBLIC) -> Node:
    """An account and its feed."""
    tx.accounts.add(jid.localpart, (KEYS,), admin=False, audience=audience)
    return owning.create_microblog_node(tx, jid, audience)


def a_contact(
    tx: Transaction, account: JID, jid: JID, subscription: str = "both", groups: tuple[str, ...] = ()
) -> None:
    tx.contacts.put(account, Contact(jid=jid, subscription=ContactState(subscription), groups=groups))


def an_entry(text: str = "hello", minutes: int = 0) -> dict[str, Any]:
    """Payload and entry of a post, written so many minutes after noon."""
    updated = NOON + timedelta(minutes=minutes)
    payload = f"<entry xmlns='http://www.w3.org/2005/Atom'><title>{text}</title><updated>{updated}</updated></entry>"
    return {"payload": payload, "entry": Entry(title=text, updated=updated)}


def post(
    tx: Transaction, item_id: str | None, text: str = "hello", *, minutes: int = 0, by: JID = ROMEO, **more: Any
) -> Item:
    """Publish to the feed."""
    request = publishing.Publish(
        service=by, node=MICROBLOG, actor=by.with_resource(PHONE), item_id=item_id, **an_entry(text, minutes), **more
    )
    return publishing.publish(tx, request).item


def put(tx: Transaction, node: str, item_id: str | None = "current", payload: str = "<x/>", **more: Any) -> Item:
    """Publish to one of Romeo's nodes."""
    more.setdefault("actor", ROMEO.with_resource(PHONE))
    request = publishing.Publish(service=ROMEO, node=node, item_id=item_id, payload=payload, **more)
    return publishing.publish(tx, request).item


def retract(tx: Transaction, item_id: str, by: JID = ROMEO, node: str = MICROBLOG, notify: bool = True) -> None:
    retracting.retract(
        tx, retracting.Retract(service=ROMEO, node=node, actor=by.with_resource(PHONE), item_id=item_id, notify=notify)
    )


def subscribe(tx: Transaction, jid: JID, node: str = MICROBLOG, service: JID = ROMEO) -> SubscriptionState:
    request = subscribing.Subscribe(service=service, node=node, actor=jid.bare.with_resource(PHONE), jid=jid)
    return subscribing.subscribe(tx, request).subscription.state


def configure(tx: Transaction, node: str = MICROBLOG, **options: str) -> Node:
    """Change Romeo's node; option names without their prefix."""
    values = {name: (value,) for name, value in options.items()}
    return owning.configure(
        tx, owning.Configure(service=ROMEO, node=node, actor=ROMEO.with_resource(PHONE), options=values)
    )


def affiliate(tx: Transaction, jid: JID, affiliation: Affiliation, node: str = MICROBLOG) -> None:
    owning.set_affiliations(
        tx, owning.SetAffiliations(service=ROMEO, node=node, actor=ROMEO, changes=((jid, affiliation),))
    )


def retrieve(tx: Transaction, asker: JID = ROMEO, node: str = MICROBLOG, **more: Any) -> retrieving.Retrieved:
    request = retrieving.Retrieve(service=ROMEO, node=node, actor=asker.bare.with_resource(PHONE), **more)
    return retrieving.retrieve(tx, request)


def ids(retrieved: retrieving.Retrieved) -> list[str]:
    return [item.id for item in retrieved.page.items]
