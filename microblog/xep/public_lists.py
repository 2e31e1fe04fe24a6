"""XEP-0465: Pubsub Public Subscriptions. XEP-0376: Pubsub Account Management, the part that XEP-0465 subscribes by.

Two kinds of nodes that every account seems to have, read-only and made from the subscriptions themselves: whom it
follows, and who follows one of its nodes; of both only what was opted in to. ``<public/>`` in a request to subscribe
opts in, to subscribe again without it takes that back.

COMPAT: the examples of XEP-0465 and XEP-0376 say ``xmln`` for ``xmlns``, and the latter speaks of a ``service``
attribute and shows ``jid``; ``jid`` is meant.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from microblog.model.errors import BadRequest, FeatureNotImplemented, Forbidden, InvalidJID, ItemNotFound, JIDMalformed
from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.usecases import listing
from microblog.usecases.listing import PublicFollowers, PublicFollows
from microblog.wire import ns, pubsub
from microblog.wire.pubsub import Items
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.follows import Follows
from microblog.xmpp.dispatch import At, Extension, Route, Spec

PAGE_MAX: Final = 1000


class PublicLists(Extension):
    """Subscribes for clients that ask their account to. ``xep.pubsub`` answers for the nodes, by ``items``."""

    specs = (Spec(330, "0.1", "partial"), Spec(376, "0.1.1", "partial"), Spec(465, "0.1.1", "partial"))
    account_features = (ns.PUBLIC_SUBSCRIPTIONS, ns.ACCOUNT_MANAGEMENT)

    def __init__(self, follows: Follows) -> None:
        self._follows = follows

    def routes(self) -> Iterable[Route]:
        """Requests of our clients to their own accounts."""
        yield Route.set(ns.ACCOUNT_MANAGEMENT, "pam", self.manage, at=At.ACCOUNT, waits=True)

    async def manage(self, request: Stanza) -> None:
        """XEP-0376 §4.2, §4.3: subscribe or unsubscribe, here or elsewhere, by one's own account."""
        account, pam = request.from_.bare, request.payload
        if pam is None or request.to != account:
            raise InvalidJID("one's own account only")
        try:
            service = JID.parse(pam.get("jid") or pam.get("service") or "").bare
        except JIDMalformed as error:
            raise BadRequest("the jid of the service is missing") from error
        for name in ("subscribe", "unsubscribe"):
            verb = pam.find(ns.PUBSUB, name)
            if verb is None:
                continue
            asked = pubsub.Verb(name, verb, pam)
            node = pubsub.node_required(asked)
            if pubsub.jid_required(asked, InvalidJID) != account:
                raise InvalidJID("one subscribes oneself")
            if name == "subscribe":
                public = verb.find(ns.PUBLIC_SUBSCRIPTIONS, "public") is not None
                await self._follows.follow(account, service, node=node, public=public)
            else:
                await self._follows.unfollow(account, service, node=node)
            return
        raise FeatureNotImplemented("subscribe and unsubscribe only")


def claims(node: str) -> bool:
    """Is that a node of public subscriptions? Nobody publishes, configures or removes those (§5)."""
    return node == ns.PUBLIC_FOLLOWS or node.startswith(ns.PUBLIC_FOLLOWERS)


async def items(database: Database, request: Stanza, asked: Items) -> Element:
    """A list (§4.2, §4.4). Raises ItemNotFound."""
    service, asker = request.to.bare, request.from_
    if asked.node == ns.PUBLIC_FOLLOWS:
        nodes = await database.read(listing.public_follows, PublicFollows(account=service, asker=asker))
        entries = [("subscription", {"node": node.name, "jid": str(node.service)}) for node in nodes]
    else:
        node = asked.node.removeprefix(ns.PUBLIC_FOLLOWERS)
        people = await database.read(listing.public_followers, PublicFollowers(service=service, node=node, asker=asker))
        entries = [("subscriber", {"jid": str(jid)}) for jid in people]
    found = {_id(attributes): Element(ns.PUBLIC_SUBSCRIPTIONS, name, attributes) for name, attributes in entries}
    return _page(asked, found)


def check(request: Stanza, verb: str) -> None:
    """May that be asked of such a node? Raises Forbidden (§5), FeatureNotImplemented."""
    if verb == "subscribe":
        raise FeatureNotImplemented("these lists are only read")
    if (request.type, verb) != ("get", "items"):
        raise Forbidden("this list is made by the service")


def _id(attributes: dict[str, str]) -> str:
    """The same for the same, and no name of ours."""
    return hashlib.sha256("<".join(attributes.values()).encode()).hexdigest()[:32]


def _page(asked: Items, found: dict[str, Element]) -> Element:
    """What was asked for of a list (XEP-0060 §6.5, XEP-0059)."""
    ids: Sequence[str] = list(found)
    chosen, index = ids, 0
    page = asked.page
    if page is not None and min(page.max or 0, page.index or 0) < 0:
        raise BadRequest("no negative numbers")
    if asked.item_ids:
        chosen = [id_ for id_ in asked.item_ids if id_ in found]
    elif page is not None:
        most = PAGE_MAX if page.max is None else min(page.max, PAGE_MAX)
        if page.after is not None:
            index = _position(ids, page.after) + 1
        elif page.before is not None:
            index = max(0, _position(ids, page.before) - most)
            most = min(most, _position(ids, page.before) - index)
        elif page.last_page:
            index = max(0, len(ids) - most)
        else:
            index = page.index or 0
        chosen = ids[index : index + most]
    elif asked.max_items is not None:
        index = max(0, len(ids) - asked.max_items)
        chosen = ids[index:]
    items = Element(ns.PUBSUB, "items", {"node": asked.node})
    for id_ in chosen:
        items.append(Element(ns.PUBSUB, "item", {"id": id_}, found[id_]))
    answer = Element(ns.PUBSUB, "pubsub", None, items)
    if page is None:
        return answer
    rsm = Element(ns.RSM, "set")
    if chosen:
        rsm.append(Element(ns.RSM, "first", {"index": str(index)}, chosen[0]))
        rsm.append(Element(ns.RSM, "last", None, chosen[-1]))
    return answer.append(rsm.append(Element(ns.RSM, "count", None, str(len(ids)))))


def _position(ids: Sequence[str], id_: str) -> int:
    if id_ not in ids:
        raise ItemNotFound("no such item to go on from")
    return ids.index(id_)
