"""Timelines: posts of many feeds in one order, newest first, as far as their reader may see them.

What an audience means to a reader is said by the rules of the node that the post is in, for each node once
(``Sight``), whatever timeline it is read in. A post for named readers is read by those, and by its author.

Pages are those of XEP-0059, both ways. A page begins at a place and not at an item: the item may be gone, the page
goes on. How many there are in all is said if it is at most ``COUNT_MAX``, and if that does not cost more than reading.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from microblog.model.access import NO_SUCH_NODE, Action, check
from microblog.model.account import Account
from microblog.model.entry import fold_tag
from microblog.model.errors import BadRequest, ClosedNode, FeatureNotImplemented, ItemNotFound, NotAcceptable
from microblog.model.item import Audience, Item, PageRequest
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG, AccessModel, Node, NodeConfig, SendLast
from microblog.model.quiet import Quiet
from microblog.model.uri import ItemAddress, node_uri, read_uri
from microblog.store.timelines import FIRST, LAST, Place, Span
from microblog.store.transaction import Transaction
from microblog.usecases import subscribing
from microblog.usecases.depending import is_dependent
from microblog.usecases.sight import Sight
from microblog.usecases.sources import Feed, Filtered, Home, Listed, Source, Wanted, by_place

HOME: Final = "urn:x-microblog:home:0"
MENTIONS: Final = "urn:x-microblog:mentions:0"
LOCAL: Final = "urn:x-microblog:local:0"
TAG_PREFIX: Final = "urn:x-microblog:tag:0:"
LIST_PREFIX: Final = "urn:x-microblog:list:0:"
COUNT_MAX: Final = 1000
THREAD_MAX: Final = 200
TAG_MAX_CHARACTERS: Final = 100
LIST_MAX_CHARACTERS: Final = 40
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# One's own are for oneself, those of the domain for its people; nobody else subscribes to either.
_OWN_CONFIG: Final = NodeConfig(
    access_model=AccessModel.WHITELIST, send_last_published_item=SendLast.NEVER, max_items=None, type=MICROBLOG
)
_DOMAIN_CONFIG: Final = NodeConfig(
    access_model=AccessModel.OPEN,
    audience=Audience.LOCAL,
    send_last_published_item=SendLast.NEVER,
    max_items=None,
    type=MICROBLOG,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A page of a timeline for somebody. ``audiences``: of what may go to where they read it.

    ``own``: with what they wrote themselves. ``counted``: with how many there are.
    """

    actor: JID
    page: PageRequest = field(default_factory=PageRequest)
    audiences: frozenset[Audience] = frozenset(Audience)
    own: bool = True
    counted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieve(Reading):
    """The same by the timeline's node."""

    service: JID
    node: str


class Placed(NamedTuple):
    """A post, the node it is of, and where it stands in the timeline."""

    node: Node
    item: Item
    place: Place

    @property
    def anchor(self) -> str:
        """The place as a text, to go on from."""
        return self.place.anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelinePage:
    """Posts, newest first. ``count``: None if it is not said; ``index``: of the first of the page.

    ``more``: there are others behind the page, in the direction in which it was asked for.
    """

    posts: tuple[Placed, ...]
    count: int | None = None
    index: int | None = None
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """Everything that answers a post. ``thread``: the URI of its thread, if the post itself is not kept here."""

    address: ItemAddress
    actor: JID
    thread: str = ""
    audiences: frozenset[Audience] = frozenset(Audience)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadPage:
    """What is here of a thread: its beginning, if that is known, and then the oldest first.

    ``root``: where it begins. ``comments``: the node in which its author's service keeps all of it.
    """

    posts: tuple[Placed, ...]
    root: ItemAddress | None
    comments: ItemAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """Somebody reads on in their home timeline: from where they are, or from an instant or place on."""

    account: Account
    most: int
    since: datetime | None = None
    after: Place | None = None
    audiences: frozenset[Audience] = frozenset(Audience)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """``page``: what they read now, newest first. ``fresh``: they had not read it; otherwise nothing is new.

    ``begun``: they had never read anything; these are the newest, and what is left is older.

    ``unread``, ``mentions``: how many there were before, of all and of what names them; None for very many.
    """

    page: TimelinePage
    fresh: bool
    begun: bool
    unread: int | None
    mentions: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """An item, and who wants to hear of it in which timeline, by the timeline's name."""

    node: Node
    item: Item
    readers: Mapping[str, frozenset[JID]]


def tag_node(tag: str) -> str:
    """The name of a tag's timeline."""
    return TAG_PREFIX + fold_tag(tag)


def tag_of(node: str) -> str | None:
    """The tag of a timeline, if it is one; folded."""
    tag = fold_tag(node.removeprefix(TAG_PREFIX)) if node.startswith(TAG_PREFIX) else ""
    return tag if 0 < len(tag) <= TAG_MAX_CHARACTERS else None


def list_node(name: str) -> str:
    """The name of the timeline of a list of people. Raises NotAcceptable for what is no name for one."""
    return LIST_PREFIX + fold_list(name)


def list_of(node: str) -> str | None:
    """The list of a timeline, if it is that of one; folded."""
    try:
        return fold_list(node.removeprefix(LIST_PREFIX)) if node.startswith(LIST_PREFIX) else None
    except NotAcceptable:
        return None


def fold_list(name: str) -> str:
    """The name of a list as it is kept. Raises NotAcceptable: it is a word of letters, digits, ``-``, ``_``, ``.``."""
    name = unicodedata.normalize("NFC", name.casefold())
    if not 0 < len(name) <= LIST_MAX_CHARACTERS or not all(
        unicodedata.category(one)[0] in "LMN" or one in "-_." for one in name
    ):
        raise NotAcceptable("that is no name for a list")
    return name


def is_timeline(service: JID, node: str) -> bool:
    """Is that a node which is computed: one's own home, mentions and lists, the domain's local timeline and tags?"""
    if service.localpart:
        return node in (HOME, MENTIONS) or list_of(node) is not None
    return node == LOCAL or tag_of(node) is not None


def retrieve(tx: Transaction, request: Retrieve) -> TimelinePage:
    """A page of a timeline by its node. Raises ItemNotFound for somebody else's, and as ``home``."""
    return _timeline(tx, request.service, request.node, request)


def _timeline(tx: Transaction, service: JID, node: str, request: Reading) -> TimelinePage:
    mine = not service.localpart or service == request.actor.bare
    if service.domainpart != tx.domain or not is_timeline(service, node) or not mine:
        raise ItemNotFound(NO_SUCH_NODE)
    name = list_of(node)
    if name is not None and not tx.people_lists.exists(service, name):
        raise ItemNotFound(NO_SUCH_NODE)
    sight = Sight(tx, request.actor, request.audiences, unmuted=True)
    return _page(tx, _source(tx, node, request, sight), request, sight)


def home(tx: Transaction, request: Reading) -> TimelinePage:
    """What those wrote whom somebody follows, and oneself.

    Raises: ItemNotFound for a page that begins nowhere, BadRequest, FeatureNotImplemented for too high an index.
    """
    return _timeline(tx, request.actor.bare, HOME, request)


def mentions(tx: Transaction, request: Reading) -> TimelinePage:
    """What names somebody, and comments on what they wrote. Raises as ``home``."""
    return _timeline(tx, request.actor.bare, MENTIONS, request)


def local(tx: Transaction, request: Reading) -> TimelinePage:
    """What our own people wrote for all, or for this domain. Raises as ``home``."""
    return _timeline(tx, JID("", tx.domain), LOCAL, request)


def tag(tx: Transaction, word: str, request: Reading) -> TimelinePage:
    """What has a tag, of all we know. Who is not of this domain reads what is public. Raises as ``home``."""
    return _timeline(tx, JID("", tx.domain), tag_node(word), request)


def people(tx: Transaction, name: str, request: Reading) -> TimelinePage:
    """What those wrote who are in one of somebody's lists. Raises as ``home``, and for a list that they have not."""
    return _timeline(tx, request.actor.bare, list_node(name), request)


def author(tx: Transaction, service: JID, request: Reading) -> TimelinePage:
    """What somebody wrote, or our copy of it.

    Raises: as ``home``, and the refusals of XEP-0060 §6.5.9 for a feed that the reader may not read.
    """
    node = tx.nodes.find(service, MICROBLOG)
    if node is None:
        raise ItemNotFound(NO_SUCH_NODE)
    if service.domainpart == tx.domain:
        check(Action.RETRIEVE, node.config, tx.affiliations.facts(node, request.actor))
    sight = Sight(tx, request.actor, request.audiences)
    return _page(tx, Feed(tx, node.key, request.actor, sight), request, sight)


def is_followed(tx: Transaction, service: JID) -> bool:
    """Is a feed of somewhere else sent to us, so that our copy of it is complete?"""
    node = tx.nodes.find(service, MICROBLOG)
    return node is not None and tx.subscriptions.count(node) > 0


def thread(tx: Transaction, request: Thread) -> ThreadPage:
    """What is here of a thread that a post belongs to, as far as the reader may see it.

    A reply is in its author's feed, and again in the comments of the post that began the thread: it comes once.

    Raises: ItemNotFound if nothing is known of the post, or it is not for the reader.
    """
    found = tx.nodes.look_up(*request.address[:2], request.address.item_id or "")
    sight = Sight(tx, request.actor, request.audiences)
    item = found.item if found and found.item and sight.readable(found.node.key, found.item) else None
    uri = request.thread
    if item is not None:
        uri = item.thread or request.address.uri
    elif request.address.node.startswith(COMMENTS_PREFIX):
        uri = node_uri(request.address.service, request.address.node)
    address = read_uri(uri)
    if address is None:
        raise ItemNotFound("nothing is known of this post")
    comments = address if address.node.startswith(COMMENTS_PREFIX) else None
    root = ItemAddress(address.service, MICROBLOG, address.node.removeprefix(COMMENTS_PREFIX)) if comments else address
    candidates = tx.timelines.replies(uri, THREAD_MAX)
    if comments is not None:
        candidates += tx.timelines.comments(comments.service, comments.node, THREAD_MAX)
    candidates.sort(key=lambda one: (one[1].published, one[1].key))
    first = tx.nodes.look_up(root.service, root.node, root.item_id or "")
    if first is not None and first.item is not None:
        candidates.insert(0, (first.node.key, first.item))
    posts: dict[tuple[JID, str], Placed] = {}
    for node_key, candidate in candidates:
        key = candidate.publisher, candidate.id
        known = posts.get(key)
        if known is not None and known.node.name == MICROBLOG:
            continue
        node = None if sight.quiet.avoids(candidate.publisher) else sight.readable(node_key, candidate)
        if node is not None:
            posts[key] = Placed(node, candidate, Place(0, candidate.key))
    return ThreadPage(posts=tuple(posts.values())[:THREAD_MAX], root=root, comments=comments)


# how far somebody has read


def cursor(tx: Transaction, account: Account, timeline: str) -> Place | None:
    """How far somebody has read a timeline; None if they never did."""
    return tx.timelines.cursor(account.key, timeline)


def read_to(tx: Transaction, account: Account, timeline: str, place: Place) -> None:
    """Somebody has read a timeline up to and with a place; never goes back."""
    tx.timelines.move_cursor(account.key, timeline, place)


def read_all(tx: Transaction, account: Account, timeline: str) -> None:
    """Somebody wants to see nothing again of what stands in a timeline now. Raises as ``retrieve``."""
    reader = account.jid(tx.domain)
    service = reader if timeline in (HOME, MENTIONS) else JID("", tx.domain)
    newest = _timeline(tx, service, timeline, Reading(actor=reader, page=PageRequest(max=1), counted=False))
    # Who has read nothing, as there was nothing, goes on from now.
    read_to(tx, account, timeline, newest.posts[0].place if newest.posts else _at(tx.now))
    if timeline == HOME:
        tx.deferred.settle_all(account.key)


def unread(tx: Transaction, account: Account, timeline: str = HOME) -> int | None:
    """How many posts of others stand in a timeline that somebody has not read; None for very many.

    Who never read has everything before them.
    """
    after = tx.timelines.cursor(account.key, timeline) or FIRST
    return _count_since(tx, timeline, after, Reading(actor=account.jid(tx.domain), own=False))


def count_after(tx: Transaction, account: Account, timeline: str, instant: datetime) -> int | None:
    """How many posts of others stand in a timeline later than an instant; None for very many."""
    return _count_since(tx, timeline, _at(instant), Reading(actor=account.jid(tx.domain), own=False))


def _at(instant: datetime) -> Place:
    """Before all that stands at an instant."""
    return Place((instant - _EPOCH) // timedelta(microseconds=1), 0)


def _count_since(tx: Transaction, timeline: str, place: Place, request: Reading) -> int | None:
    source = _source(tx, timeline, request, Sight(tx, request.actor, request.audiences, unmuted=True))
    count = source.count(Span(place, LAST), COUNT_MAX + 1)
    return None if count is None else count.posts


def catch_up(tx: Transaction, request: CatchUp) -> CaughtUp:
    """The oldest of what somebody has not read; with this they have. What they wrote themselves is left out.

    Who never read anything begins with the newest. Who was away begins with what they missed: what was before that came
    as lines of chat.
    """
    account, reader = request.account, request.account.jid(tx.domain)
    after = request.after or (_at(request.since) if request.since is not None else _read_up_to(tx, account))
    wanted = PageRequest(max=request.most, before=None if after is None else after.anchor)
    reading = Reading(actor=reader, page=wanted, audiences=request.audiences, own=False, counted=False)
    count = _count_since(tx, HOME, after or FIRST, reading)
    page = home(tx, reading)
    if page.posts:
        read_to(tx, account, HOME, page.posts[0].place)
        if tx.deferred.waits(account.key):
            for one in page.posts:
                tx.deferred.settle(account.key, ItemAddress(one.node.service, one.node.name, one.item.id))
    fresh = bool(page.posts)
    if not fresh:
        page = home(tx, replace(reading, page=PageRequest(max=request.most), own=True))
    return CaughtUp(page=page, fresh=fresh, begun=after is None, unread=count, mentions=unread(tx, account, MENTIONS))


def _read_up_to(tx: Transaction, account: Account) -> Place | None:
    cursor, absence = tx.timelines.cursor(account.key, HOME), tx.deferred.absence(account.key)
    if absence is None or absence.missed is None:
        return cursor
    missed = _at(absence.missed)
    return missed if cursor is None else max(cursor, missed)


# telling


def timeline_node(tx: Transaction, service: JID, name: str) -> Node:
    """The node that subscriptions to a timeline hang on, made if need be. Raises ItemNotFound."""
    if service.domainpart != tx.domain or not is_timeline(service, name) or name != _canonical(name):
        raise ItemNotFound(NO_SUCH_NODE)
    if service.localpart and not tx.accounts.exists(service.localpart):
        raise ItemNotFound(NO_SUCH_NODE)
    called = list_of(name) if service.localpart else None
    if called is not None and not tx.people_lists.exists(service, called):
        raise ItemNotFound(NO_SUCH_NODE)
    known = tx.nodes.find(service, name)
    return known or tx.nodes.create(service, name, timeline_config(service))


def forget(tx: Transaction, limit: int) -> int:
    """Forget the nodes of tags that nobody subscribes to any more; how many."""
    return tx.nodes.forget_unused(JID("", tx.domain), TAG_PREFIX, limit)


def subscribe(tx: Transaction, request: subscribing.Subscribe) -> subscribing.Subscribed:
    """Subscribe to a timeline. Raises ClosedNode for those of others, and as ``subscribing.subscribe``."""
    mine = request.actor.bare == request.service if request.service.localpart else request.actor.domainpart == tx.domain
    if not mine:
        raise ClosedNode("this timeline is not for you")
    timeline_node(tx, request.service, request.node)
    return subscribing.subscribe(tx, request)


def timeline_config(service: JID) -> NodeConfig:
    """What a timeline's node is like."""
    return _OWN_CONFIG if service.localpart else _DOMAIN_CONFIG


def _canonical(name: str) -> str:
    tag_, list_ = tag_of(name), list_of(name)
    if list_ is not None:
        return list_node(list_)
    return name if tag_ is None else tag_node(tag_)


def told(tx: Transaction, request: Telling) -> dict[str, frozenset[JID]]:
    """Who of them is told of an item in which timeline, by the timeline's name."""
    node, item = request.node, request.item
    mentioned = tx.items.mentioned(item.key)
    wanted = dict(request.readers)
    if MENTIONS in wanted:
        wanted[MENTIONS] &= mentioned.keys() - {item.publisher}
    tagged = {name for name in wanted if name.startswith(TAG_PREFIX)}
    if tagged:
        kept = {tag_node(one) for one in tx.timelines.tags(item.key)} & tagged
        wanted = {name: readers for name, readers in wanted.items() if name not in tagged or name in kept}
    readers = frozenset().union(*wanted.values()) if wanted else frozenset()
    if not _for_all_here(tx, node, item):
        readers = frozenset(reader for reader in readers if _sees(tx, reader, node, item, mentioned))
    found = {name: some & readers for name, some in wanted.items()}
    return {name: some for name, some in found.items() if some}


def _sees(tx: Transaction, reader: JID, node: Node, item: Item, mentioned: Mapping[JID, bool]) -> bool:
    # Who does not want it is known to whoever asks.
    return Sight(tx, reader, quiet=Quiet(reader=reader)).readable(node.key, item, mentioned) is not None


def _for_all_here(tx: Transaction, node: Node, item: Item) -> bool:
    """Nobody needs to be looked up: everybody of this domain may read it."""
    if item.audience not in (Audience.PUBLIC, Audience.LOCAL) or node.config.access_model is not AccessModel.OPEN:
        return False
    if is_dependent(node.name):
        return False  # that is said by what it depends on
    if node.service.domainpart != tx.domain:
        return not tx.policies.silences(node.service.domainpart)
    return tx.affiliations.count(node) == 0


# how pages are made


def _source(tx: Transaction, timeline: str, request: Reading, sight: Sight) -> Source:
    """A timeline by its name, without what its reader does not want."""
    source = _everything(tx, timeline, request, sight)
    return Wanted(tx, source, sight) if sight.quiet else source


def _everything(tx: Transaction, timeline: str, request: Reading, sight: Sight) -> Source:
    timelines, reader, everybodys = tx.timelines, request.actor.bare, sight.everybodys
    if timeline == HOME:
        return Home(tx, reader, sight, own=request.own)
    if timeline == MENTIONS:
        return Filtered(sight, lambda span, n: timelines.mentioning(reader, span, n, everybodys))
    if timeline == LOCAL:
        return Filtered(
            sight,
            lambda span, n: timelines.local(span, n, everybodys),
            lambda span, n: timelines.count_local(span, n, everybodys),
        )
    name = list_of(timeline)
    if name is not None:
        return Listed(tx, reader, name, sight)
    word = tag_of(timeline) or ""
    if not sight.here:
        reader = JID("", tx.domain)
    return Filtered(sight, lambda span, n: timelines.tagged(word, reader, span, n, everybodys))


def _page(tx: Transaction, source: Source, request: Reading, sight: Sight) -> TimelinePage:
    page = request.page
    if sum((page.after is not None, page.before is not None, page.last_page, page.index is not None)) > 1:
        raise BadRequest("after, before or index: one of them")
    if (page.max is not None and page.max < 0) or (page.index is not None and page.index < 0):
        raise BadRequest("no negative numbers")
    limit = min(tx.limits.rsm_page_items if page.max is None else page.max, tx.limits.rsm_page_max_items)
    span = Span(FIRST, LAST)
    if limit == 0:
        count = source.count(span, COUNT_MAX + 1)
        return TimelinePage(posts=(), count=count and count.posts, more=count is None or count.posts > 0)
    skip = page.index or 0
    if skip > COUNT_MAX:
        raise FeatureNotImplemented(f"no pages by index beyond {COUNT_MAX}")
    if page.after is not None:
        span = Span(FIRST, read_anchor(page.after))
    elif page.before is not None:
        span = Span(read_anchor(page.before), LAST, descending=False)
    elif page.last_page:
        span = Span(FIRST, LAST, descending=False)
    found = source.scan(span, skip + limit + 1)[skip:]
    standing, more = found[:limit], len(found) > limit
    standing.sort(key=by_place, reverse=True)
    count = None
    if request.counted and not isinstance(source, Wanted):
        count = source.count(Span(FIRST, LAST), COUNT_MAX + 1, standing[0].place if standing else LAST)
    items = tx.timelines.items([one.place.item for one in standing])
    posts = (
        Placed(node, items[one.place.item][1], one.place)
        for one in standing
        if one.place.item in items and (node := sight.node(items[one.place.item][0])) is not None
    )
    if count is None:
        return TimelinePage(posts=tuple(posts), more=more)
    return TimelinePage(posts=tuple(posts), count=count.posts, index=count.above if standing else None, more=more)


def read_anchor(text: str) -> Place:
    """A place from the text that ``Placed.anchor`` gave out. Raises ItemNotFound for any other."""
    stands, _, item = text.partition(".")
    digits = stands.removeprefix("-"), item
    if not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in digits):
        raise ItemNotFound("no such place to go on from")
    return Place(int(stands), int(item))
