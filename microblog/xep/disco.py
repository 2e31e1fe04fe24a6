"""XEP-0030, XEP-0128: what this node is, what its accounts are, and which nodes they have.

Features are not written down here: each extension names its own. An account answers as the PEP service it is
(XEP-0163 §6); whoever may not know of a node is told that there is none, and an account that does not exist answers
like one that does not speak.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

from microblog.model.errors import ItemNotFound, ServiceUnavailable
from microblog.model.jid import JID
from microblog.store.database import Database, Transaction
from microblog.usecases import browsing, retrieving
from microblog.wire import disco, forms, ns
from microblog.wire.disco import Caps, Identity, Info, Item
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, stamp
from microblog.xmpp.dispatch import At, Extension, Route, Spec
from microblog.xmpp.router import NODE_LOCALPARTS

CAPS_NODE: Final = "urn:x-microblog:server"
ITEMS_MAX: Final = 200
HOST_IDENTITIES: Final = (Identity("server", "im", "Microblog"), Identity("pubsub", "service", "Microblog"))
ACCOUNT_IDENTITIES: Final = (Identity("account", "registered"), Identity("pubsub", "pep"))


class Disco(Extension):
    """Answers discovery; ``extensions`` are all that this node has, set by whoever puts them together."""

    specs = (Spec(30, "2.5.0"), Spec(128, "1.0.1"))
    features = account_features = (ns.DISCO_INFO, ns.DISCO_ITEMS)
    extensions: Sequence[Extension] = ()

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> Iterable[Route]:
        """Information and items, of the node and of accounts."""
        yield Route.get(ns.DISCO_INFO, "query", self.host_info, at=At.HOST)
        yield Route.get(ns.DISCO_ITEMS, "query", self.host_items, at=At.HOST)
        yield Route.get(ns.DISCO_INFO, "query", self.account_info, at=At.ACCOUNT)
        yield Route.get(ns.DISCO_ITEMS, "query", self.account_items, at=At.ACCOUNT)

    @cached_property
    def host(self) -> Info:
        """What this node says of itself."""
        features = (feature for extension in self.extensions for feature in extension.features)
        forms = (form for extension in self.extensions for form in extension.disco_forms())
        return Info(identities=HOST_IDENTITIES, features=tuple(sorted(set(features))), forms=tuple(forms))

    @cached_property
    def account(self) -> Info:
        """What every account says of itself."""
        features = (feature for extension in self.extensions for feature in extension.account_features)
        return Info(identities=ACCOUNT_IDENTITIES, features=tuple(sorted(set(features))))

    @cached_property
    def caps(self) -> Caps:
        """The hash of ``host`` (XEP-0115)."""
        return Caps(CAPS_NODE, "sha-1", disco.verification(self.host))

    async def host_info(self, request: Stanza) -> Element:
        """This node, or a node of an extension. Raises ItemNotFound for any other."""
        node = _node(request)
        if node in (None, self.caps.disco_node):
            return disco.write_info(self.host, node)
        return disco.write_info(await self._extension_info(request, node or ""), node)

    async def host_items(self, request: Stanza) -> Element:
        """The nodes of extensions, and what those have. Raises ItemNotFound for any other."""
        node = _node(request)
        if node is None:
            return disco.write_items(self._listed(request))
        return disco.write_items(await self._extension_items(request, node), node)

    def _listed(self, request: Stanza) -> list[Item]:
        return [item for extension in self.extensions for item in extension.listed(request)]

    async def _extension_info(self, request: Stanza, node: str) -> Info:
        for extension in self.extensions:
            info = await extension.node_info(request, node)
            if info is not None:
                return info
        raise ItemNotFound("no such node")

    async def _extension_items(self, request: Stanza, node: str) -> Sequence[Item]:
        for extension in self.extensions:
            items = await extension.node_items(request, node)
            if items is not None:
                return items
        raise ItemNotFound("no such node")

    async def account_info(self, request: Stanza) -> Element:
        """An account, or one of its nodes (XEP-0060 §5.3, §5.4). Raises ServiceUnavailable, ItemNotFound."""
        node = _node(request)
        service = request.to.bare
        if service.localpart in NODE_LOCALPARTS:
            return await self.host_info(request)
        if not await self._database.read(_exists, service):
            raise ServiceUnavailable
        if node is None:
            return disco.write_info(self.account)
        for extension in self.extensions:
            info = await extension.node_info(request, node)
            if info is not None:
                return disco.write_info(info, node)
        about = browsing.Metadata(service=service, node=node, asker=request.from_)
        found = await self._database.read(browsing.metadata, about)
        return disco.write_info(_node_info(found), node)

    async def account_items(self, request: Stanza) -> Element:
        """An account's nodes, or a node's items (XEP-0060 §5.2, §5.5). Raises ServiceUnavailable, ItemNotFound."""
        node = _node(request)
        service = request.to.bare
        if service.localpart in NODE_LOCALPARTS:
            return await self.host_items(request)
        if not await self._database.read(_exists, service):
            raise ServiceUnavailable
        if node is None:
            nodes = await self._database.read(browsing.nodes, browsing.Nodes(service=service, asker=request.from_))
            listed = {one.node: one for one in self._listed(request)}
            listed |= {one.name: Item(service, one.name, one.config.title) for one in nodes if one.name not in listed}
            return disco.write_items(listed[name] for name in sorted(listed))
        for extension in self.extensions:
            items = await extension.node_items(request, node)
            if items is not None:
                return disco.write_items(items, node)
        asked = retrieving.Retrieve(service=service, node=node, actor=request.from_, max_items=ITEMS_MAX)
        found = await self._database.read(retrieving.retrieve, asked)
        return disco.write_items((Item(service, name=item.id) for item in found.page.items), node)


def _node(request: Stanza) -> str | None:
    query = request.payload
    return None if query is None else query.get("node") or None


def _exists(tx: Transaction, account: JID) -> bool:
    return tx.accounts.exists(account.localpart)


def _node_info(found: browsing.NodeMetadata) -> Info:
    config = found.node.config
    fields: dict[str, tuple[str, Sequence[str]]] = {
        "pubsub#type": ("text-single", [config.type]),
        "pubsub#title": ("text-single", [config.title]),
        "pubsub#description": ("text-single", [config.description]),
        "pubsub#language": ("text-single", [config.language]),
        "pubsub#access_model": ("list-single", [str(config.access_model)]),
        "pubsub#publish_model": ("list-single", [str(config.publish_model)]),
        "pubsub#creation_date": ("text-single", [stamp(found.created)]),
        "pubsub#owner": ("text-multi", [str(owner) for owner in found.owners]),
        "pubsub#num_subscribers": ("text-single", [str(found.subscribers)]),
        "pubsub#num_items": ("text-single", [str(found.items)]),
    }
    told = {name: field for name, field in fields.items() if any(field[1])}
    return Info(
        identities=(Identity("pubsub", "leaf", config.title),),
        features=(ns.PUBSUB, ns.DISCO_INFO, ns.DISCO_ITEMS),
        forms=(forms.write_fields(ns.PUBSUB_META_DATA, told),),
    )
