"""XEP-0470: Pubsub Attachments: what is attached to items has its nodes by itself (``usecases.depending``).

Beside them every node seems to have another one, read-only, with a summary for each of its items. ``xep.pubsub``
answers for that by ``items``. Nobody subscribes to a summary: who wants to hear what is said subscribes to the
attachments.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from twisted.internet.defer import Deferred

from microblog.model.errors import FeatureNotImplemented, Forbidden
from microblog.model.item import Item
from microblog.model.node import Node
from microblog.store.transaction import Transaction
from microblog.usecases import depending, retrieving, summing
from microblog.usecases.summing import Summaries, Summed
from microblog.wire import attachments, ns, pubsub
from microblog.wire.attachments import Summary
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, to_text
from microblog.xmpp.dispatch import Extension, Spec

T = TypeVar("T")
UseCase = Callable[[Transaction, retrieving.Retrieve], T]
Read = Callable[[UseCase[Summaries], retrieving.Retrieve], Deferred[Summaries]]


class Attachments(Extension):
    """Says that accounts take care of attachments."""

    specs = (Spec(470, "0.2.0", "partial"),)
    account_features = (ns.ATTACHMENTS,)


def claims(node: str) -> bool:
    """Is that a node of summaries?"""
    return depending.is_summary(node)


def check(request: Stanza, verb: str) -> None:
    """May that be asked of such a node? Raises Forbidden (§4.2.4), FeatureNotImplemented."""
    if verb == "subscribe":
        raise FeatureNotImplemented("subscribe to the attachments of an item instead")
    # Who would make one is told so where nodes are made (§4.2.2).
    if (request.type, verb) not in (("get", "items"), ("set", "create")):
        raise Forbidden("a summary is made by the service")


async def items(wanted: retrieving.Retrieve, read: Read) -> Element:
    """Summaries (§4.2.4). Raises as ``summing.retrieve``."""
    of = replace(wanted, node=wanted.node.removeprefix(depending.SUMMARY_PREFIX))
    found = await read(summing.retrieve, of)
    node = replace(found.node, name=wanted.node)
    page = replace(found.page, items=tuple(_item(node, summed) for summed in found.summed))
    return pubsub.write_items(node, page, paged=wanted.page is not None or found.truncated)


def _item(node: Node, summed: Summed) -> Item:
    payload = attachments.write_summary(Summary(noticed=summed.noticed, reactions=summed.reactions))
    return replace(summed.item, publisher=node.service, payload=to_text(payload))
