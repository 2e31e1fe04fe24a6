"""A node's own rules for other domains as a list that others can go by, at the node's own address.

Each domain that is refused, silenced or taken without media is an item, whose id is the domain. What the lists say that
this node follows itself is not passed on.
"""

from collections.abc import Callable

from microblog.model.jid import JID
from microblog.model.node import AccessModel, NodeConfig, SendLast
from microblog.model.policy import Grade, Rule
from microblog.store.transaction import Transaction
from microblog.usecases import noticing
from microblog.usecases.publishing import Publish, publish
from microblog.usecases.retracting import Retract, retract

NODE = "urn:x-microblog:policy:0"
PUBLISHED = "policy.published"
_CONFIG = NodeConfig(
    access_model=AccessModel.OPEN, send_last_published_item=SendLast.NEVER, max_items=None, notify_retract=True
)


def is_published(tx: Transaction) -> bool:
    """Are the rules for others to read?"""
    return tx.settings.get(PUBLISHED) == "on"


def set_published(tx: Transaction, published: bool, *, outside: bool = False) -> None:
    """Shall they be?"""
    tx.settings.set(PUBLISHED, "on" if published else "off")
    if outside:
        noticing.policy_changed(tx)


def disclose(tx: Transaction, write: Callable[[Rule], str]) -> None:
    """Make the list say what the rules say. ``write``: an item's payload."""
    host = JID("", tx.domain)
    node = tx.nodes.find(host, NODE)
    rules = {rule.domain: rule for rule in tx.policies.own() if rule.grade not in (None, Grade.ALLOWED)}
    if not is_published(tx):
        rules = {}
    if node is None:
        if not rules:
            return
        node = tx.nodes.create(host, NODE, _CONFIG)
    for item_id in tx.items.ids(node.key):
        if item_id not in rules:
            retract(tx, Retract(service=host, node=NODE, actor=host, item_id=item_id, notify=True))
    for domain, rule in rules.items():
        payload, known = write(rule), tx.items.get(node.key, domain)
        if known is None or known.payload != payload:
            publish(tx, Publish(service=host, node=NODE, actor=host, item_id=domain, payload=payload))
