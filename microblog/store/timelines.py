"""Posts in the order in which people read them, whatever node they are of.

A post stands at a place: a time, and its key where times are the same. Places are compared as pairs, so that pages
never skip or repeat what stands at the same time. What one reads lies in a span between two places, both excluded.

A home timeline is not kept anywhere. Of each feed that somebody follows one step in an index tells how new its newest
post in the span is, and only the feeds that can contribute to a page are looked into: the cost grows with the number
of feeds, not with what they have. The index has everything that decides whether a post may be read; only the posts of
the page itself are fetched. Which audiences somebody may read at a node is the rules' to say and comes in.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    type_coerce,
)

from microblog.model.access import Facts
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.store import tables
from microblog.store.affiliations import FACT_COLUMNS, read_facts
from microblog.store.items import ITEM_COLUMNS, read_item
from microblog.store.nodes import NODE_COLUMNS, read_node
from microblog.store.prepared import Prepared
from microblog.store.upsert import insert

if TYPE_CHECKING:
    from microblog.store.transaction import Transaction


class Place(NamedTuple):
    """Where a post stands: microseconds since 1970, and its key."""

    stands: int
    item: int

    @property
    def anchor(self) -> str:
        """As a text, for those who go on from there."""
        return f"{self.stands}.{self.item}"


class Span(NamedTuple):
    """What stands between two places. ``descending``: read from the newest on."""

    low: Place
    high: Place
    descending: bool = True


class Standing(NamedTuple):
    """A post in a timeline, the node it is of, and whom it is for, where that is not clear already."""

    place: Place
    node: int
    audience: Audience | None = None


class FeedCount(NamedTuple):
    """How many posts a feed has, and how many of them above a mark. ``plain``: everybody may read it who follows."""

    node: int
    posts: int
    above: int
    plain: bool


FIRST: Final = Place(-(1 << 62), 0)
LAST: Final = Place(1 << 62, 0)
EVERYTHING: Final = Span(FIRST, LAST)
_BATCH: Final = 20

_I = tables.items.c
_S = tables.subscriptions
_M = tables.item_mentions
_NAMED = _M.alias("named")
_T = tables.item_tags
_N = tables.nodes
_A = tables.affiliations
_F = tables.followed_tags.c
_L = tables.people_lists.c
_ACCOUNTS = tables.accounts
_CURSORS = tables.cursors


def _number(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=BigInteger)


def _text(name: str) -> ColumnElement[str]:
    return bindparam(name, type_=_N.c.service.type)


def _whole(column: ColumnElement[Any]) -> ColumnElement[int]:
    """An instant as the number that it is stored as."""
    return type_coerce(column, BigInteger)


def _within(stands: ColumnElement[Any], item: ColumnElement[Any]) -> ColumnElement[bool]:
    """In the span."""
    place = tuple_(_whole(stands), item)
    low, high = (tuple_(_number(f"{end}_stands"), _number(f"{end}_item")) for end in ("low", "high"))
    return and_(place > low, place < high)


def _ordered(statement: Select[Any], stands: ColumnElement[Any], item: ColumnElement[Any]) -> dict[bool, Prepared]:
    """Both directions, by ``descending``."""
    limited = statement.where(_within(stands, item)).limit(_number("limit"))
    return {
        True: Prepared(limited.order_by(stands.desc(), item.desc())),
        False: Prepared(limited.order_by(stands, item)),
    }


def _counted(statement: Select[Any]) -> Prepared:
    return Prepared(select(func.count()).select_from(statement.limit(_number("limit")).subquery()))


_READER = _text("reader")
_NAME = _text("account_name")
_DIRECT = Audience.DIRECT.value
# Four places for the four audiences there are; fewer are repeated.
_ALLOWED = _I.audience.in_([_text(f"audience_{n}") for n in range(len(Audience))])
_FOR_READER = and_(
    _I.audience == literal_column(f"'{_DIRECT}'"),
    exists().where(_NAMED.c.item == _I.id, _NAMED.c.jid == _READER, _NAMED.c.reader),
)
_SUBSCRIBED = _S.c.state == literal_column("'subscribed'")

# home


def _reaching(
    source: Select[Any], stands: ColumnElement[Any], among: ColumnElement[bool], descending: bool
) -> Select[Any]:
    """Sources, each with how far into the span it reaches: one step in the index for each, of those that it is among.

    Those that reach furthest to the span's beginning come first.
    """
    column = _whole(stands)
    reaches = (
        select(column)
        .where(among, column <= _number("high_stands"), column >= _number("low_stands"))
        .order_by(stands.desc() if descending else stands)
        .limit(1)
        .scalar_subquery()
    )
    edge = reaches.label("edge")
    return source.add_columns(edge).order_by((edge.desc() if descending else edge).nulls_last())


def _edge(descending: bool) -> Prepared:
    """The feeds somebody follows."""
    followed = select(_S.c.node_id).where(_S.c.bare == _READER)
    return Prepared(_reaching(followed, _I.stands, _I.node_id == _S.c.node_id, descending).limit(_number("feeds")))


def _tag_edge(descending: bool) -> Prepared:
    """The tags somebody follows."""
    followed = select(_F.tag).join(_ACCOUNTS, _ACCOUNTS.c.id == _F.account_id).where(_ACCOUNTS.c.localpart == _NAME)
    return Prepared(_reaching(followed, _T.c.stands, _T.c.tag == _F.tag, descending))


def _list_edge(descending: bool) -> Prepared:
    """The feeds of those who are in a list."""
    people = (
        select(_N.c.id)
        .select_from(tables.people_lists)
        .join(_ACCOUNTS, _ACCOUNTS.c.id == _L.account_id)
        .join(_N, and_(_N.c.service == _L.jid, _N.c.name == literal_column(f"'{MICROBLOG}'")))
        .where(_ACCOUNTS.c.localpart == _NAME, _L.name == _text("list"))
    )
    return Prepared(_reaching(people, _I.stands, _I.node_id == _N.c.id, descending).limit(_number("feeds")))


_EDGES = {True: _edge(True), False: _edge(False)}
_TAG_EDGES = {True: _tag_edge(True), False: _tag_edge(False)}
_LIST_EDGES = {True: _list_edge(True), False: _list_edge(False)}
_IN_FEED = select(_whole(_I.stands), _I.id).where(_I.node_id == _number("node"), or_(_ALLOWED, _FOR_READER))
_OF_FEED = _ordered(_IN_FEED, _I.stands, _I.id)
_OF_FEEDS = Prepared(
    select(_whole(_I.stands), _I.id, _I.node_id, _I.audience)
    .where(
        _I.node_id.in_([_number(f"key_{n}") for n in range(_BATCH)]),
        or_(_I.audience != literal_column(f"'{_DIRECT}'"), _FOR_READER),
        _within(_I.stands, _I.id),
    )
    .limit(_number("limit"))
)
_COUNT_FEED = _counted(_IN_FEED.where(_within(_I.stands, _I.id)))
# How many posts each feed has, and how many of them above a mark, until there are too many: that is in the indexes.
# Then the nodes of those that have any: most are open to everybody, and that is all there is to know of them.
_ABOVE = tuple_(_whole(_I.stands), _I.id) > tuple_(_number("mark_stands"), _number("mark_item"))
_POSTS = (
    select(_S.c.node_id, case((_ABOVE, 1), else_=0).label("above"))
    .select_from(_S.join(tables.items, _I.node_id == _S.c.node_id))
    .where(
        _S.c.bare == _READER,
        _S.c.node_id != _number("own"),
        or_(_ALLOWED, _FOR_READER),
        _within(_I.stands, _I.id),
    )
    .limit(_number("limit"))
    .subquery("posts")
)
_FEEDS = (
    select(_POSTS.c.node_id, func.count().label("posts"), func.sum(_POSTS.c.above).label("above"))
    .group_by(_POSTS.c.node_id)
    .subquery("feeds")
)
_COUNTS = Prepared(
    select(
        _FEEDS.c.node_id,
        _FEEDS.c.posts,
        _FEEDS.c.above,
        case((_N.c.access_model == literal_column("'open'"), 1), else_=0),
    ).join_from(_FEEDS, _N, _N.c.id == _FEEDS.c.node_id)
)
# Where it is not enough to know the node.
_PARTICULAR = (
    Prepared(select(_A.c.node_id).where(_A.c.jid == _READER)),
    Prepared(select(_S.c.node_id).where(_S.c.bare == _READER, or_(~_SUBSCRIBED, _S.c.subscriber != _S.c.bare))),
)

# local, tags, mentions

_STANDING = _I.stands.is_not(None)
_LOCAL = select(_whole(_I.stands), _I.id, _I.node_id, _I.audience).where(
    # In these words, so that the index of such items is found.
    text("items.proof = 'local' AND items.stands IS NOT NULL"),
    _ALLOWED,
)
_LOCAL_PAGE = _ordered(_LOCAL, _I.stands, _I.id)
_LOCAL_COUNT = _counted(_LOCAL.with_only_columns(_I.id).where(_within(_I.stands, _I.id)))
_MAY_SEE = or_(
    _ALLOWED,
    _FOR_READER,
    _I.publisher == _READER,
    and_(
        _I.audience == literal_column("'followers'"),
        exists().where(_S.c.bare == _READER, _S.c.node_id == _I.node_id, _SUBSCRIBED),
    ),
)
_TAGGED = (
    select(_whole(_T.c.stands), _T.c.item, _I.node_id, _I.audience)
    .join(tables.items, _I.id == _T.c.item)
    .where(_T.c.tag == _text("tag"), _MAY_SEE)
)
_TAG_PAGE = _ordered(_TAGGED, _T.c.stands, _T.c.item)
# What the tags that somebody follows bring to their home timeline beside the feeds.
_BY_TAGS = Prepared(
    select(_whole(_T.c.stands), _T.c.item, _I.node_id, _I.audience)
    .join(tables.items, _I.id == _T.c.item)
    .where(
        _T.c.tag.in_(
            select(_F.tag).join(_ACCOUNTS, _ACCOUNTS.c.id == _F.account_id).where(_ACCOUNTS.c.localpart == _NAME)
        ),
        _I.node_id != _number("own"),
        ~exists().where(_S.c.bare == _READER, _S.c.node_id == _I.node_id),
        _MAY_SEE,
        _within(_T.c.stands, _T.c.item),
    )
    .limit(_number("limit"))
)
# A like as Movim writes it is a comment, and nothing that is read.
_R = tables.reactions.c
_NO_HEART = ~exists().where(_R.item == _I.id)
# A reply is in its author's feed and again in the comments of the post: that is one mention, if both may be read.
_FEED_ITEM = tables.items.alias("feed_item")
_FEED_MENTION = _M.alias("feed_mention")
_TWICE = (
    exists()
    .where(
        _N.c.service == _I.publisher,
        _N.c.name == literal_column(f"'{MICROBLOG}'"),
        _FEED_ITEM.c.node_id == _N.c.id,
        _FEED_ITEM.c.item_id == _I.item_id,
        _FEED_MENTION.c.item == _FEED_ITEM.c.id,
        _FEED_MENTION.c.jid == _READER,
        or_(
            _FEED_ITEM.c.audience.in_([_text(f"audience_{n}") for n in range(len(Audience))]),
            exists().where(_S.c.bare == _READER, _S.c.node_id == _FEED_ITEM.c.node_id, _SUBSCRIBED),
        ),
    )
    .correlate(tables.items)
)
_MENTIONING = (
    select(_whole(_M.c.stands), _M.c.item, _I.node_id, _I.audience)
    .join(tables.items, _I.id == _M.c.item)
    .where(_M.c.jid == _READER, _MAY_SEE, _I.publisher != _READER, or_(_STANDING, and_(_NO_HEART, ~_TWICE)))
)
_MENTIONS_PAGE = _ordered(_MENTIONING, _M.c.stands, _M.c.item)
_MENTIONS_AMONG = Prepared(_MENTIONING.where(_M.c.item.in_([_number(f"key_{n}") for n in range(_BATCH)])))

# threads, items, nodes

_REPLIES = (
    select(_I.node_id, *ITEM_COLUMNS)
    # In these words, so that the index of replies is found.
    .where(_I.thread == _text("thread"), text("answers <> ''"), _NO_HEART)
    .order_by(_I.published, _I.id)
    .limit(_number("limit"))
)
_COMMENTS = (
    select(_I.node_id, *ITEM_COLUMNS)
    .join(_N, _N.c.id == _I.node_id)
    .where(_N.c.service == _text("service"), _N.c.name == _text("name"), _NO_HEART)
    .order_by(_I.position)
    .limit(_number("limit"))
)
_ITEMS = Prepared(select(_I.node_id, *ITEM_COLUMNS).where(_I.id.in_([_number(f"key_{n}") for n in range(_BATCH)])))
_STATE = (
    select(func.max(_S.c.state)).where(_S.c.node_id == _N.c.id, _S.c.bare == _READER).correlate(_N).scalar_subquery()
)
_CONTACTS = tables.contacts
_AT_NODES = Prepared(
    select(*NODE_COLUMNS, _STATE, *FACT_COLUMNS)
    .select_from(_N)
    .outerjoin(_A, and_(_A.c.node_id == _N.c.id, _A.c.jid == _READER))
    # The owner's account, if it is one of ours: no localpart has an @ in it.
    .outerjoin(_ACCOUNTS, _ACCOUNTS.c.localpart == func.replace(_N.c.service, _text("at_domain"), ""))
    .outerjoin(_CONTACTS, and_(_CONTACTS.c.account_id == _ACCOUNTS.c.id, _CONTACTS.c.jid == _READER))
    .where(_N.c.id.in_([_number(f"key_{n}") for n in range(_BATCH)]))
)
_TAGS = select(_T.c.tag).where(_T.c.item == _number("item"))
_CURSOR = Prepared(
    select(_whole(_CURSORS.c.stands), _CURSORS.c.item).where(
        _CURSORS.c.account_id == _number("account"), _CURSORS.c.timeline == _text("timeline")
    )
)


def _span(span: Span) -> dict[str, Any]:
    return {
        "low_stands": span.low.stands,
        "low_item": span.low.item,
        "high_stands": span.high.stands,
        "high_item": span.high.item,
    }


def _audiences(audiences: Iterable[Audience]) -> dict[str, str]:
    # None at all: a word that no item has.
    names = [audience.value for audience in audiences] or [""]
    return {f"audience_{n}": names[n % len(names)] for n in range(len(Audience))}


class Timelines:
    """``reader``: the bare JID of whoever reads. Audiences are those of which everything may be read."""

    def __init__(self, transaction: "Transaction") -> None:
        self._connection = transaction.connection
        self._domain = transaction.domain

    def followed(self, reader: JID, span: Span, feeds: int) -> list[tuple[int, int]]:
        """Feeds that somebody follows and that have posts in a span, those that reach furthest to its beginning first.

        Each with its node's key and the time of the post that stands there. Pending ones are among them.
        """
        parameters = {
            "reader": str(reader),
            "low_stands": span.low.stands,
            "high_stands": span.high.stands,
            "feeds": feeds,
        }
        rows = _EDGES[span.descending].rows(self._connection, parameters)
        return [(row[0], row[1]) for row in rows if row[1] is not None]

    def followed_tags(self, reader: JID, span: Span) -> list[tuple[str, int]]:
        """Tags that somebody here follows and that have posts in a span, in the same order."""
        parameters = {
            "account_name": reader.localpart,
            "low_stands": span.low.stands,
            "high_stands": span.high.stands,
        }
        rows = _TAG_EDGES[span.descending].rows(self._connection, parameters)
        return [(row[0], row[1]) for row in rows if row[1] is not None]

    def listed(self, owner: JID, name: str, span: Span, feeds: int) -> list[tuple[int, int]]:
        """The feeds of those who are in a list of somebody here and have posts in a span; as ``followed``."""
        parameters = {
            "account_name": owner.localpart,
            "list": name,
            "low_stands": span.low.stands,
            "high_stands": span.high.stands,
            "feeds": feeds,
        }
        rows = _LIST_EDGES[span.descending].rows(self._connection, parameters)
        return [(row[0], row[1]) for row in rows if row[1] is not None]

    def of_feed(
        self, node_key: int, reader: JID, span: Span, limit: int, audiences: Iterable[Audience]
    ) -> list[Standing]:
        """The posts of a feed, and those direct ones that are for the reader."""
        parameters = {"node": node_key, "reader": str(reader), "limit": limit, **_span(span), **_audiences(audiences)}
        rows = _OF_FEED[span.descending].rows(self._connection, parameters)
        return [Standing(Place(row[0], row[1]), node_key) for row in rows]

    def of_feeds(self, node_keys: Sequence[int], reader: JID, span: Span, limit: int) -> list[Standing] | None:
        """The posts of several feeds for whomever, but of direct ones those for the reader; None if they are too many.

        In no order.
        """
        found = []
        for batch in _batches(node_keys):
            rows = _OF_FEEDS.rows(self._connection, {"reader": str(reader), "limit": limit, **_span(span), **batch})
            if len(rows) == limit:
                return None
            found += _standing(rows)
        return found

    def count_feed(self, node_key: int, reader: JID, span: Span, limit: int, audiences: Iterable[Audience]) -> int:
        """How many these are, counted up to a limit."""
        parameters = {"node": node_key, "reader": str(reader), "limit": limit, **_span(span), **_audiences(audiences)}
        return int(_COUNT_FEED.scalar(self._connection, parameters))

    def counts(
        self, reader: JID, own: int, span: Span, mark: Place, limit: int, audiences: Iterable[Audience]
    ) -> list[FeedCount] | None:
        """How many posts there are in the feeds that somebody follows; None if they are too many together.

        ``own``: the feed that is not to be counted.
        """
        parameters = {
            "reader": str(reader),
            "own": own,
            "limit": limit,
            "mark_stands": mark.stands,
            "mark_item": mark.item,
            **_span(span),
            **_audiences(audiences),
        }
        rows = _COUNTS.rows(self._connection, parameters)
        if sum(row[1] for row in rows) >= limit:
            return None
        reads = {"reader": str(reader)}
        particular = {row[0] for one in _PARTICULAR for row in one.rows(self._connection, reads)}
        return [FeedCount(row[0], row[1], int(row[2]), bool(row[3]) and row[0] not in particular) for row in rows]

    def local(self, span: Span, limit: int, audiences: Iterable[Audience]) -> list[Standing]:
        """Posts of our own people."""
        parameters = {"limit": limit, **_span(span), **_audiences(audiences)}
        return _standing(_LOCAL_PAGE[span.descending].rows(self._connection, parameters))

    def count_local(self, span: Span, limit: int, audiences: Iterable[Audience]) -> int:
        """How many these are, counted up to a limit."""
        return int(_LOCAL_COUNT.scalar(self._connection, {"limit": limit, **_span(span), **_audiences(audiences)}))

    def tagged(self, tag: str, reader: JID, span: Span, limit: int, audiences: Iterable[Audience]) -> list[Standing]:
        """Posts under a tag; also of those the reader follows, the reader's own, and direct ones for the reader."""
        parameters = {"tag": tag, "reader": str(reader), "limit": limit, **_span(span), **_audiences(audiences)}
        return _standing(_TAG_PAGE[span.descending].rows(self._connection, parameters))

    def by_tags(
        self, reader: JID, own: int, span: Span, limit: int, audiences: Iterable[Audience]
    ) -> list[Standing] | None:
        """Posts under the tags that somebody here follows, of feeds that they do not follow; None if they are too many.

        ``own``: the feed that is theirs. In no order, and one under two tags comes twice.
        """
        parameters = {
            "account_name": reader.localpart,
            "own": own,
            "reader": str(reader),
            "limit": limit,
            **_span(span),
            **_audiences(audiences),
        }
        rows = _BY_TAGS.rows(self._connection, parameters)
        return None if len(rows) >= limit else _standing(rows)

    def mentioning(self, reader: JID, span: Span, limit: int, audiences: Iterable[Audience]) -> list[Standing]:
        """What names somebody: posts of others, comments, and direct ones for them."""
        parameters = {"reader": str(reader), "limit": limit, **_span(span), **_audiences(audiences)}
        return _standing(_MENTIONS_PAGE[span.descending].rows(self._connection, parameters))

    def mentions_among(self, keys: Sequence[int], reader: JID, audiences: Iterable[Audience]) -> set[int]:
        """Which of these items are among those."""
        parameters = {"reader": str(reader), **_audiences(audiences)}
        return {
            row[1] for batch in _batches(keys) for row in _MENTIONS_AMONG.rows(self._connection, parameters | batch)
        }

    def replies(self, thread: str, limit: int) -> list[tuple[int, Item]]:
        """The replies of a thread, wherever they are, oldest first, each with its node's key; no hearts."""
        rows = self._connection.execute(_REPLIES, {"thread": thread, "limit": limit})
        return [(row[0], read_item(row, 1)) for row in rows]

    def comments(self, service: JID, node: str, limit: int) -> list[tuple[int, Item]]:
        """The comments in a node, oldest first, each with the node's key; no hearts."""
        rows = self._connection.execute(_COMMENTS, {"service": str(service), "name": node, "limit": limit})
        return [(row[0], read_item(row, 1)) for row in rows]

    def items(self, keys: Sequence[int]) -> Mapping[int, tuple[int, Item]]:
        """Items by key, each with its node's key."""
        found = {}
        for batch in _batches(keys):
            for row in _ITEMS.rows(self._connection, batch):
                item = read_item(row, 1)
                found[item.key] = (row[0], item)
        return found

    def at_nodes(self, node_keys: Sequence[int], reader: JID) -> dict[int, tuple[Node, Facts]]:
        """Nodes, and what the access rules have to know of somebody there."""
        found, at = {}, len(NODE_COLUMNS)
        for batch in _batches(node_keys):
            parameters = {"reader": str(reader), "at_domain": f"@{self._domain}", **batch}
            for row in _AT_NODES.rows(self._connection, parameters):
                node = read_node(row)
                found[node.key] = node, read_facts(node, reader, self._domain, *row[at : at + 4])
        return found

    def tags(self, item_key: int) -> tuple[str, ...]:
        """The tags that an item is found under."""
        return tuple(self._connection.execute(_TAGS, {"item": item_key}).scalars())

    def cursor(self, account: int, timeline: str) -> Place | None:
        """How far somebody has read a timeline."""
        row = _CURSOR.first(self._connection, {"account": account, "timeline": timeline})
        return None if row is None else Place(row[0], row[1])

    def move_cursor(self, account: int, timeline: str, place: Place) -> None:
        """Somebody has read a timeline up to and with a place. A cursor never goes back."""
        known = self.cursor(account, timeline)
        if known is not None and known >= place:
            return
        statement = insert(self._connection, _CURSORS).values(
            account_id=bindparam("account_id"),
            timeline=bindparam("timeline"),
            stands=bindparam("stands", type_=BigInteger),
            item=bindparam("item"),
        )
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["account_id", "timeline"],
                set_={"stands": statement.excluded.stands, "item": statement.excluded.item},
            ),
            {"account_id": account, "timeline": timeline, "stands": place.stands, "item": place.item},
        )


def _batches(keys: Sequence[int]) -> Iterable[dict[str, int]]:
    """Keys as parameters, so many at a time; what is left over is repeated."""
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        yield {f"key_{n}": batch[n % len(batch)] for n in range(_BATCH)}


def _standing(rows: Iterable[Sequence[Any]]) -> list[Standing]:
    return [Standing(Place(row[0], row[1]), row[2], Audience(row[3])) for row in rows]
