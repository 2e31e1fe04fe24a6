"""Timelines as nodes (XEP-0060 §5 to §7, XEP-0059): read page by page, and told of as things happen.

Their nodes are computed: home, mentions and lists at one's own address, the local timeline and tags at the domain. What
is in them is for ``usecases.reading`` to say; ``pubsub`` asks there and writes the answer with what is here. An item
keeps its id and carries its author as ``publisher``, as ids are unique only together with their author.

Our people who are on line and subscribed to a timeline, or say ``+notify`` for one of their own, are told of what is
new in it. As long as nobody is, an event costs one look into an empty table. Events are told one after the other, in
their order; while many wait, those who publish wait as well (``readers.Backlog``).
"""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from microblog.model.errors import ItemNotFound, Refusal
from microblog.model.event import Event, ItemPublished, ItemRetracted, NodeEvent
from microblog.model.jid import JID
from microblog.model.node import Node, is_feed
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database, Transaction
from microblog.usecases import reading
from microblog.usecases.placing import FEED_ITEM
from microblog.usecases.reading import HOME, LIST_PREFIX, LOCAL, MENTIONS, TAG_PREFIX, Telling, TimelinePage
from microblog.wire import forms, ns
from microblog.wire.disco import Identity, Info, Item
from microblog.wire.notification import Splice, render, write_item
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.listreaders import ListReaders
from microblog.xep.readers import PickyAddress, Readers
from microblog.xmpp.dispatch import Extension
from microblog.xmpp.sessions import Session

_Asked = TypeVar("_Asked")
SLICE: Final = 200
RETRY_MAX_SECONDS: Final = 30
# Of how many items it is known who was told, so that those hear of their retraction; of how many nodes, how far.
REMEMBERED_ITEMS: Final = 500
REMEMBERED_NODES: Final = 10_000
# What can be asked of a node that is computed.
VERBS: Final = frozenset(
    (ns.PUBSUB, type_, name)
    for type_, name in (
        ("get", "items"),
        ("set", "subscribe"),
        ("set", "unsubscribe"),
        ("get", "options"),
        ("set", "options"),
        ("get", "default"),
        ("get", "subscriptions"),
        ("get", "affiliations"),
    )
)
_TITLES: Final = {
    HOME: "What those wrote whom you follow",
    MENTIONS: "What names you",
    LOCAL: "What people wrote here",
}


def write_page(node: str, page: TimelinePage, *, paged: bool) -> Element:
    """The answer with a page of a timeline; with what XEP-0059 says of it if ``paged``."""
    items = Element(ns.PUBSUB, "items", {"node": node})
    for one in page.posts:
        items.append(write_item(ns.PUBSUB, one.node, one.item, payload=True))
    return Element(ns.PUBSUB, "pubsub", None, items, _write_set(page) if paged else None)


def _write_set(page: TimelinePage) -> Element:
    rsm = Element(ns.RSM, "set")
    if page.posts:
        index = {} if page.index is None else {"index": str(page.index)}
        rsm.append(Element(ns.RSM, "first", index, page.posts[0].anchor))
        rsm.append(Element(ns.RSM, "last", None, page.posts[-1].anchor))
    if page.count is not None:
        rsm.append(Element(ns.RSM, "count", None, str(page.count)))
    return rsm


class Timelines(Extension):
    """Hears what happened (``hear`` is a database listener) and tells it to the readers of timelines; discovery."""

    _log = Logger()
    features = (ns.PUBSUB, *(f"{ns.PUBSUB}#{name}" for name in ("retrieve-items", "subscribe", "item-ids")), ns.RSM)

    def __init__(self, readers: Readers, database: Database, clock: Clock, tasks: Tasks) -> None:
        self._readers = readers
        self._database = database
        self._clock = clock
        self._tasks = tasks
        self._domain = JID("", database.domain)
        # Who does not want to hear of a post.
        self.hushes: Callable[[ItemPublished], frozenset[JID]] = lambda event: frozenset()
        self._queue: deque[NodeEvent] = deque()
        self._telling = False
        self._lists = ListReaders(database)
        readers.timeline_wanted = self._timeline_wanted
        # The timelines of tags that somebody who is on line subscribed to.
        self._tags: set[str] = set()
        # By node and item, who was told of it in which timeline.
        self._told: OrderedDict[tuple[int, str], Mapping[str, frozenset[JID]]] = OrderedDict()
        # By node, the last event: of a feed elsewhere one event comes for each of its followers here.
        self._last: OrderedDict[int, int] = OrderedDict()

    # discovery

    async def node_info(self, request: Stanza, node: str) -> Info | None:
        """What a timeline is."""
        service = request.to.bare
        if not self._has(service, node):
            return None
        self._check(request)
        name = reading.list_of(node)
        if name is not None and not await self._database.read(_has_list, service, name):
            raise ItemNotFound("no such node")
        title = _TITLES.get(node) or reading.list_of(node) or f"#{reading.tag_of(node)}"
        fields: dict[str, tuple[str, Sequence[str]]] = {
            "pubsub#type": ("text-single", [ns.MICROBLOG]),
            "pubsub#title": ("text-single", [title]),
            "pubsub#access_model": ("list-single", [str(reading.timeline_config(service).access_model)]),
        }
        return Info(
            identities=(Identity("pubsub", "leaf", title),),
            features=(ns.PUBSUB, ns.DISCO_INFO, ns.DISCO_ITEMS),
            forms=(forms.write_fields(ns.PUBSUB_META_DATA, fields),),
        )

    async def node_items(self, request: Stanza, node: str) -> Sequence[Item] | None:
        """The items of a timeline (XEP-0060 §5.5): those of its first page."""
        service = request.to.bare
        if not self._has(service, node):
            return None
        self._check(request)
        wanted = reading.Retrieve(service=service, node=node, actor=request.from_, counted=False)
        page = await self._database.read(reading.retrieve, wanted)
        return [Item(service, name=one.item.id) for one in page.posts]

    def listed(self, request: Stanza) -> Sequence[Item]:
        """The timelines at an address, for whoever asks: one's own two, and the domain's."""
        service = request.to.bare
        if not service.localpart:
            return [Item(service, LOCAL, _TITLES[LOCAL])]
        if service != request.from_.bare:
            return ()
        return [Item(service, name, _TITLES[name]) for name in (HOME, MENTIONS)]

    def _timeline_wanted(self, service: JID, name: str, is_wanted: bool) -> None:
        if service.localpart:
            self._lists.wanted(service, name, is_wanted)
        elif name.startswith(TAG_PREFIX) and is_wanted:
            self._tags.add(name)
        else:
            self._tags.discard(name)

    def list_changed(self, owner: JID, name: str) -> None:
        """Others are in one of somebody's lists now."""
        self._lists.changed(owner, name)

    def _has(self, service: JID, node: str) -> bool:
        return service.domainpart == self._domain.domainpart and reading.is_timeline(service, node)

    def _check(self, request: Stanza) -> None:
        if request.to.localpart and request.to.bare != request.from_.bare:
            raise ItemNotFound("no such node")

    # events

    def hear(self, event: Event) -> None:
        """Something happened and was committed."""
        if not self._anybody() or not is_feed(event.node.name):
            return
        if isinstance(event, ItemPublished):
            if event.item.id == FEED_ITEM:
                return
        elif not (isinstance(event, ItemRetracted) and event.notify and self._key(event) in self._told):
            return
        self._readers.backlog.add(event.node.service)
        self._queue.append(event)
        if not self._telling:
            self._telling = True
            self._tasks.spawn(self._tell_all(), "notifications of timelines")

    def _anybody(self) -> bool:
        readers = self._readers
        return bool(readers.computed or readers.is_loading or readers.interested(HOME) or readers.interested(MENTIONS))

    @staticmethod
    def _key(event: ItemRetracted) -> tuple[int, str]:
        return event.node.key, event.item_id

    async def _tell_all(self) -> None:
        try:
            while self._queue:
                event = self._queue[0]
                try:
                    await self._tell(event)
                except CancelledError:
                    raise
                except Exception:
                    self._log.failure("An event of {node} cannot be told in timelines", node=event.node.name)
                self._queue.popleft()
                self._readers.backlog.done(event.node.service)
        finally:
            for event in self._queue:
                self._readers.backlog.done(event.node.service)
            self._queue.clear()
            self._telling = False

    async def _tell(self, event: NodeEvent) -> None:
        if isinstance(event, ItemRetracted):
            found = self._told.pop(self._key(event), None) or {}
        else:
            assert isinstance(event, ItemPublished)
            await self._readers.loaded()
            first = self._is_first(event)
            wanted = self._wanted(event, first)
            if first and event.item.stands is not None:
                if self._lists:
                    wanted.update(await self._patiently(lambda: self._lists.having(event.node.service)))
                await self._add_tags(event, wanted)
            hushed = self.hushes(event) if wanted else None
            if hushed:
                wanted = {name: some for name, accounts in wanted.items() if (some := accounts - hushed)}
            telling = Telling(node=event.node, item=event.item, readers=wanted)
            found = await self._patiently(lambda: self._database.read(reading.told, telling)) if wanted else {}
            self._remember(event, found)
        number = 0
        for name, accounts in found.items():
            for splice, sessions in self._targets(event, name, accounts):
                for session, address in sessions.items():
                    if session.available:
                        session.write(splice.to(address))
                    number += 1
                    if number % SLICE == 0:
                        await self._clock.sleep(0)

    async def _add_tags(self, event: ItemPublished, wanted: dict[str, frozenset[JID]]) -> None:
        """The timelines of its tags, and the homes of those who follow them."""
        homes = self._own(HOME) if self._readers.tags else frozenset()
        if not homes and not self._tags:
            return
        tags = await self._patiently(lambda: self._database.read(_tags_of, event.item.key))
        by_tags = homes & frozenset().union(*(self._readers.tags.get(tag, ()) for tag in tags))
        if by_tags:
            wanted[HOME] = wanted.get(HOME, frozenset()) | by_tags
        for name in map(reading.tag_node, tags):
            if name in self._tags:
                wanted[name] = self._shared(name)

    async def _patiently(self, ask: Callable[[], Awaitable[_Asked]]) -> _Asked:
        seconds = 1
        while True:
            try:
                return await ask()
            except Refusal:
                self._log.warn("Readers of timelines have to wait: the database is busy")
            await self._clock.sleep(seconds)
            seconds = min(2 * seconds, RETRY_MAX_SECONDS)

    def _remember(self, event: ItemPublished, found: Mapping[str, frozenset[JID]]) -> None:
        self._last[event.node.key] = max(event.seq, self._last.get(event.node.key, 0))
        self._last.move_to_end(event.node.key)
        if len(self._last) > REMEMBERED_NODES:
            self._last.popitem(last=False)
        if not found:
            return
        key = (event.node.key, event.item.id)
        known = self._told.pop(key, {})
        self._told[key] = {
            name: known.get(name, frozenset()) | found.get(name, frozenset()) for name in {*known, *found}
        }
        if len(self._told) > REMEMBERED_ITEMS:
            self._told.popitem(last=False)

    # who

    def _is_first(self, event: ItemPublished) -> bool:
        """Only the first of the events of a post tells those who do not follow."""
        here = event.node.service.domainpart == self._domain.domainpart
        return here or event.seq > self._last.get(event.node.key, 0)

    def _wanted(self, event: ItemPublished, first: bool) -> dict[str, frozenset[JID]]:
        """Who might be told in which timeline; tags and lists apart."""
        node, only = event.node, event.recipients
        wanted: dict[str, frozenset[JID]] = {}
        here = node.service.domainpart == self._domain.domainpart
        if event.item.stands is not None:
            subscribed = {jid.bare for jid in self._readers.subscribed(node.key)}
            followers = subscribed | {node.service, *event.besides}
            if only is not None:
                followers &= {jid.bare for jid in only}
            wanted[HOME] = self._own(HOME) & followers
        if first:
            wanted[MENTIONS] = self._own(MENTIONS)
            if here and event.item.stands is not None:
                wanted[LOCAL] = self._shared(LOCAL)
        return {name: accounts for name, accounts in wanted.items() if accounts}

    def _own(self, name: str) -> frozenset[JID]:
        """Those who want to be told of their own timeline of a name."""
        subscribed = self._readers.computed.get(name, {}).keys()
        return frozenset(subscribed) | {session.jid.bare for session in self._readers.interested(name)}

    def _shared(self, name: str) -> frozenset[JID]:
        """Those who want to be told of one of the domain's timelines."""
        key = self._readers.computed.get(name, {}).get(self._domain)
        return frozenset() if key is None else frozenset(jid.bare for jid in self._readers.subscribed(key))

    def _targets(
        self, event: NodeEvent, name: str, accounts: Iterable[JID]
    ) -> Iterable[tuple[Splice, dict[Session, JID]]]:
        """The notification from each service that has the timeline, and the sessions it is for with their addresses."""
        own = name in (HOME, MENTIONS) or name.startswith(LIST_PREFIX)
        services = accounts if own else (self._domain,)
        wanted = frozenset(accounts)
        for service in services:
            splice = _render(event, service, name)
            if splice is None:
                continue
            sessions: dict[Session, JID] = {}
            key = self._readers.computed.get(name, {}).get(service)
            for address in () if key is None else self._readers.subscribed(key).values():
                if address.jid.bare in wanted:
                    if isinstance(address, PickyAddress) and not address.sessions:
                        address.miss(event)
                    for session in address.sessions:
                        sessions.setdefault(session, address.jid)
            if service.localpart:
                for session in self._readers.interested(name):
                    if session.jid.bare == service:
                        sessions.setdefault(session, session.jid)
            yield splice, sessions


def _has_list(tx: Transaction, owner: JID, name: str) -> bool:
    return tx.people_lists.exists(owner, name)


def _tags_of(tx: Transaction, item: int) -> tuple[str, ...]:
    return tx.timelines.tags(item)


def _render(event: NodeEvent, service: JID, name: str) -> Splice | None:
    """What happened at a feed, as if it had happened at a timeline."""
    node = Node(key=event.node.key, service=service, name=name, config=reading.timeline_config(service))
    if isinstance(event, ItemPublished):
        return render(ItemPublished(seq=event.seq, node=node, item=event.item))
    assert isinstance(event, ItemRetracted)
    return render(ItemRetracted(seq=event.seq, node=node, item_id=event.item_id))
