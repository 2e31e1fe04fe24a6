"""Posts at stated times, ours and of elsewhere, for the tests of timelines."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from microblog.model.entry import Entry
from microblog.model.item import Item, Proof
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, AccessModel
from microblog.model.subscription import SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases import copying, following, publishing, receiving
from tests.usecases.pubsub import BENVOLIO, NOON, PHONE


def payload_of(title: str) -> str:
    return f"<entry xmlns='http://www.w3.org/2005/Atom'><title>{title}</title></entry>"


def writes(tx: Transaction, /, by: JID, item_id: str, ago: float = 0, *, node: str = MICROBLOG, **more: Any) -> Item:
    """A post so many minutes before noon."""
    service = more.pop("service", by)
    said = {name: more.pop(name) for name in ("tags", "mentions", "thread", "answers", "title") if name in more}
    when = NOON - timedelta(minutes=ago)
    fields: dict[str, Any] = {"title": item_id, "published": when, "updated": when}
    entry = Entry(**fields | said)
    request = publishing.Publish(
        service=service,
        node=node,
        actor=by.with_resource(PHONE),
        item_id=item_id,
        payload=payload_of(entry.title),
        entry=entry,
        **more,
    )
    return publishing.publish(tx, request).item


def arrives(tx: Transaction, /, service: JID, item_id: str, ago: float = 0, *, to: JID = BENVOLIO, **said: Any) -> None:
    """A post of a feed elsewhere that is open to all and one of ours follows."""
    following.record_subscribe(
        tx, following.Follow(account=to, service=service, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
    )
    copy = tx.nodes.find(service, MICROBLOG)
    assert copy is not None
    tx.nodes.configure(copy, replace(copy.config, access_model=AccessModel.OPEN))
    when = NOON - timedelta(minutes=ago)
    entry = Entry(title=item_id, published=when, updated=when, **said)
    item = copying.ReceivedItem(id=item_id, payload=payload_of(item_id), entry=entry)
    receiving.receive(
        tx,
        receiving.Received(
            service=service,
            node=MICROBLOG,
            recipient=to,
            sender_domain=service.domainpart,
            proof=Proof.CERTIFICATE,
            published=(item,),
        ),
    )
