"""XEP-0465: who lets everybody see whom they follow, and who lets everybody see that they follow a node.

A list has what its people have opted in to, follow by follow, and nothing that the asker could not see otherwise: who
asks from elsewhere does not learn of nodes that are for this domain only. Where there is nothing to tell the answer is
the same as for somebody who does not exist.
"""

from dataclasses import dataclass
from typing import Final

from microblog.model.access import NO_SUCH_NODE, audience_of, visible
from microblog.model.errors import ItemNotFound
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.naming import check_node_name
from microblog.model.node import Node
from microblog.store.transaction import Transaction

LIST_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFollows:
    """§4.2: somebody asks whom an account follows."""

    account: JID
    asker: JID


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFollowers:
    """§4.4: somebody asks who follows a node."""

    service: JID
    node: str
    asker: JID


def public_follows(tx: Transaction, request: PublicFollows) -> tuple[Node, ...]:
    """The nodes that an account follows for everybody to see. Raises ItemNotFound if there are none."""
    found: list[Node] = []
    if request.account.domainpart == tx.domain:
        follows = tx.subscriptions.public_follows(request.account, LIST_MAX)
        found = [one.node for one in follows if _may_know(tx, one.node, request.asker)]
    if not found:
        raise ItemNotFound(NO_SUCH_NODE)
    return tuple(found)


def public_followers(tx: Transaction, request: PublicFollowers) -> tuple[JID, ...]:
    """Who follows a node for everybody to see. Raises ItemNotFound if there is nobody, or no node for the asker."""
    check_node_name(request.node)
    node = tx.nodes.find(request.service, request.node) if request.service.domainpart == tx.domain else None
    if node is None or not _may_know(tx, node, request.asker):
        raise ItemNotFound(NO_SUCH_NODE)
    found = tuple(dict.fromkeys(tx.subscriptions.public_subscribers(node, LIST_MAX)))
    if not found:
        raise ItemNotFound(NO_SUCH_NODE)
    return found


def publish_all(tx: Transaction, account: JID, public: bool) -> None:
    """Somebody wants everybody to see all whom they follow, or none of them."""
    tx.subscriptions.set_all_public(account, public)


def _may_know(tx: Transaction, node: Node, asker: JID) -> bool:
    if node.service.domainpart != tx.domain or audience_of(node.config) is Audience.PUBLIC:
        return True
    return visible(node.config, tx.affiliations.facts(node, asker))
