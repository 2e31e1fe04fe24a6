"""Every table, index and constraint: the truth that migrations are compared with.

Instants are microseconds since 1970 in UTC (``Instant``), so that both databases store and order them alike.
Addresses are canonical text. Secrets are keys derived from passwords, never passwords.

``nodes`` holds our people's nodes and, under the same rules, our one copy of each remote feed that somebody here
follows: the service's domain tells which. ``subscriptions`` likewise has both sides: others at our nodes, and our
people at remote nodes. ``events`` is the log of what happened, in order; ``outbox`` says which domain has yet to be
told of which event (or is owed a ready-made stanza), and is written in the transaction of the event itself, or for
posts that very many domains follow behind it, as ``fan_outs`` says in that transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
    false,
    text,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Datetime to microseconds."""
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Microseconds to datetime."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


# SQLite counts only an INTEGER primary key up by itself.
Key = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    comment="what the node must remember about itself: secrets, epoch",
)

outside_changes = Table(
    "outside_changes",
    metadata,
    Column("id", Key, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False, comment="JSON"),
    CheckConstraint(
        "kind IN ('keys', 'contact', 'node', 'owed', 'policy', 'retry', 'dropped', 'program')", name="kind"
    ),
    comment="what was done beside the running server and it has not heard of yet",
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Key, primary_key=True),
    Column("localpart", Text, nullable=False, unique=True),
    Column("admin", Boolean, nullable=False, default=False),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("audience", Text, nullable=False),
    Column("roster_version", BigInteger, nullable=False, default=0),
    Column("created", Instant, nullable=False),
    CheckConstraint("audience IN ('public', 'followers', 'local')", name="audience"),
)

removed_accounts = Table(
    "removed_accounts",
    metadata,
    Column("localpart", Text, primary_key=True),
    Column("removed", Instant, nullable=False),
    comment="names that were somebody's and are not given out again",
)

credentials = Table(
    "credentials",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("iterations", Integer, nullable=False),
    Column("stored_key", LargeBinary, nullable=False),
    Column("server_key", LargeBinary, nullable=False),
    CheckConstraint("hash IN ('SHA-1', 'SHA-256')", name="hash"),
)

invites = Table(
    "invites",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("admin", Boolean, nullable=False, default=False),
    Column("created", Instant, nullable=False),
    Column("expires", Instant, nullable=False),
    Column("used_by", Text),
)

contacts = Table(
    "contacts",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("jid", Text, primary_key=True),
    Column("name", Text, nullable=False, default=""),
    Column("groups", Text, nullable=False, default="[]", comment="JSON list"),
    Column("subscription", Text, nullable=False, default="none"),
    Column("ask", Boolean, nullable=False, default=False, comment="our request is pending"),
    Column("pending_in", Boolean, nullable=False, default=False, comment="their request is pending"),
    Column("approved", Boolean, nullable=False, default=False, comment="RFC 6121 §3.4 pre-approval"),
    Column(
        "listed",
        Boolean,
        nullable=False,
        default=True,
        comment="False: only a pending request, not in the roster",
    ),
    Column("request", Text, comment="their pending request as it came, for delivery at login"),
    CheckConstraint("subscription IN ('none', 'to', 'from', 'both')", name="subscription"),
    Index(None, "jid"),
)

linked_addresses = Table(
    "linked_addresses",
    metadata,
    Column("jid", Text, primary_key=True, comment="bare JID elsewhere"),
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("confirmed", Boolean, nullable=False, default=False, comment="from both sides"),
    Column("asked_there", Boolean, nullable=False, default=False, comment="the address asked, not the account"),
    Column("created", Instant, nullable=False),
    Index(None, "account_id"),
)

preferences = Table(
    "preferences",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

profiles = Table(
    "profiles",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("nickname", Text, nullable=False, default=""),
    Column("bio", Text, nullable=False, default=""),
    Column("fields", Text, nullable=False, default="{}", comment="JSON: what else a vCard says"),
    Column("avatar", LargeBinary),
    Column("avatar_type", Text, nullable=False, default=""),
    Column("avatar_hash", Text, nullable=False, default="", comment="SHA-1, hexadecimal"),
    Column("updated", Instant, nullable=False),
)

held_messages = Table(
    "held_messages",
    metadata,
    Column("id", Key, primary_key=True),
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("stanza", Text, nullable=False),
    Column("created", Instant, nullable=False),
    Index(None, "account_id", "id"),
    Index(None, "created"),
    comment="XEP-0160: messages to people who were not there",
)

shown = Table(
    "shown",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("service", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("shown", Instant, nullable=False),
    UniqueConstraint("service", "node", "item_id", "account_id"),
    Index(None, "shown"),
    comment="the short numbers by which somebody was shown items in chat",
)

chat_messages = Table(
    "chat_messages",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("address", Text, primary_key=True, comment="bare JID that said it"),
    Column("message_id", Text, primary_key=True),
    Column("item_id", Text, nullable=False, default="", comment="the post it became"),
    Column("body_hash", LargeBinary, nullable=False),
    Column("created", Instant, nullable=False),
    Index(None, "created"),
    comment="what was said to the node in chat: done once, and corrected or retracted later",
)

cursors = Table(
    "cursors",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("timeline", Text, primary_key=True),
    Column("stands", Instant, nullable=False),
    Column("item", BigInteger, nullable=False),
    comment="how far somebody has read a timeline: up to and with the item that stands there",
)

nudges = Table(
    "nudges",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("jid", Text, primary_key=True),
    Column("nudged", Instant, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", Key, primary_key=True),
    Column("service", Text, nullable=False, comment="bare JID that owns the node"),
    Column("name", Text, nullable=False),
    Column("access_model", Text, nullable=False),
    Column("config", Text, nullable=False, default="{}", comment="JSON: what differs from the profile's defaults"),
    Column("created", Instant, nullable=False),
    UniqueConstraint("service", "name"),
    CheckConstraint("access_model IN ('open', 'presence', 'roster', 'whitelist', 'authorize')", name="access_model"),
    # A server remembers readers by this number: a later node must not have it.
    sqlite_autoincrement=True,
)

items = Table(
    "items",
    metadata,
    Column("id", Key, primary_key=True),
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False),
    Column("item_id", Text, nullable=False),
    Column("position", BigInteger, nullable=False, comment="sequence number of the event that last published it"),
    Column("publisher", Text, nullable=False),
    Column("payload", Text, nullable=False, comment="self-contained XML, empty if there is none"),
    Column("audience", Text, nullable=False, default="public"),
    Column("proof", Text, nullable=False, default="local", comment="how its origin was proven"),
    Column("published", Instant, nullable=False),
    Column("updated", Instant, nullable=False),
    Column("stands", Instant, comment="where a post of a feed stands in timelines; NULL for everything else"),
    Column("thread", Text, nullable=False, default="", server_default=text("''"), comment="URI of its comments node"),
    Column(
        "answers", Text, nullable=False, default="", server_default=text("''"), comment="URI of the item it answers"
    ),
    Column("via", Text, nullable=False, default="", server_default=text("''"), comment="URI of the item it repeats"),
    Column("expires", Instant),
    UniqueConstraint("node_id", "item_id"),
    # With the audience, so that what one may read is counted in the index alone.
    Index(None, "node_id", "position", "audience"),
    Index(None, "node_id", "stands", "id", "audience"),
    Index(
        "ix_items_local",
        "stands",
        "id",
        "audience",
        sqlite_where=text("proof = 'local' AND stands IS NOT NULL"),
        postgresql_where=text("proof = 'local' AND stands IS NOT NULL"),
    ),
    Index("ix_items_thread", "thread", sqlite_where=text("answers <> ''"), postgresql_where=text("answers <> ''")),
    Index("ix_items_via", "via", sqlite_where=text("via <> ''"), postgresql_where=text("via <> ''")),
    Index(
        "ix_items_expires",
        "expires",
        sqlite_where=text("expires IS NOT NULL"),
        postgresql_where=text("expires IS NOT NULL"),
    ),
    CheckConstraint("audience IN ('public', 'followers', 'direct', 'local')", name="audience"),
    CheckConstraint("proof IN ('local', 'certificate', 'dialback')", name="proof"),
)

item_tags = Table(
    "item_tags",
    metadata,
    Column("tag", Text, primary_key=True, comment="folded, without its #"),
    Column("stands", Instant, primary_key=True),
    Column("item", Key, ForeignKey("items.id", ondelete="CASCADE"), primary_key=True),
    Index(None, "item"),
)

item_mentions = Table(
    "item_mentions",
    metadata,
    Column("jid", Text, primary_key=True, comment="bare JID of somebody here or elsewhere"),
    Column("stands", Instant, primary_key=True),
    Column("item", Key, ForeignKey("items.id", ondelete="CASCADE"), primary_key=True),
    Column("reader", Boolean, nullable=False, default=False, comment="a direct item is for them"),
    Index(None, "item"),
)

reactions = Table(
    "reactions",
    metadata,
    Column("item", Key, ForeignKey("items.id", ondelete="CASCADE"), primary_key=True),
    Column("reaction", Text, primary_key=True),
    Column("place", Integer, nullable=False),
    comment="XEP-0470: what an attachment, or a comment that is only a heart, says",
)

holders = Table(
    "holders",
    metadata,
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("domain", Text, primary_key=True),
    Column("witness", Text, nullable=False, comment="somebody there who was told"),
    Column("refused", Text, nullable=False, default="", comment="why the domain did not take it"),
    Column("since", Instant, nullable=False),
    Index(None, "since"),
    comment="which domains were given an item, so that its retraction reaches them, and for the delivery report",
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("retracted", Instant, nullable=False),
    Index(None, "retracted"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Key, primary_key=True),
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False),
    Column("subscriber", Text, nullable=False, comment="as subscribed: bare or full JID"),
    Column("bare", Text, nullable=False, comment="the subscriber's bare JID"),
    Column("domain", Text, nullable=False, comment="the subscriber's domain"),
    Column("state", Text, nullable=False),
    Column("subid", Text, nullable=False),
    Column("options", Text, nullable=False, default="{}", comment="JSON"),
    Column("created", Instant, nullable=False),
    Column(
        "received",
        BigInteger,
        nullable=False,
        default=0,
        comment="ours at a remote node: last event that came",
    ),
    Column("delivered", BigInteger, nullable=False, default=0, comment="and the last one written to a session"),
    Column("public", Boolean, nullable=False, default=False, server_default=false(), comment="XEP-0465"),
    Column("checked", Instant, comment="ours at a remote node: when the other side was last asked about it"),
    Column("problem", Text, nullable=False, default="", server_default=text("''"), comment="why it does not work now"),
    UniqueConstraint("node_id", "subscriber"),
    Index(None, "node_id", "domain"),
    # With the state, so that what somebody follows is found in the index alone.
    Index(None, "bare", "node_id", "state"),
    Index(None, "domain"),
    Index(
        "ix_subscriptions_checked",
        "checked",
        sqlite_where=text("checked IS NOT NULL"),
        postgresql_where=text("checked IS NOT NULL"),
    ),
    Index(
        "ix_subscriptions_problem",
        "problem",
        "checked",
        sqlite_where=text("problem <> ''"),
        postgresql_where=text("problem <> ''"),
    ),
    Index("ix_subscriptions_public", "node_id", sqlite_where=text("public"), postgresql_where=text("public")),
    CheckConstraint("state IN ('pending', 'subscribed')", name="state"),
)

affiliations = Table(
    "affiliations",
    metadata,
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("jid", Text, primary_key=True),
    Column("affiliation", Text, nullable=False),
    Index(None, "jid"),
    CheckConstraint("affiliation IN ('owner', 'publisher', 'publish-only', 'member', 'outcast')", name="affiliation"),
)

interests = Table(
    "interests",
    metadata,
    Column("service", Text, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("jid", Text, primary_key=True, comment="full JID of a remote contact that is present with +notify"),
    Column("bare", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Index(None, "service", "node", "domain"),
    Index(None, "jid"),
    Index(None, "bare", "service"),
)

events = Table(
    "events",
    metadata,
    Column("seq", Key, primary_key=True),
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("item_id", Text),
    Column("audience", Text, nullable=False, default="public"),
    Column("created", Instant, nullable=False),
    Index(None, "node_id", "seq"),
    CheckConstraint("kind IN ('published', 'retracted', 'purged', 'configured')", name="kind"),
    sqlite_autoincrement=True,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Key, primary_key=True),
    Column("domain", Text, nullable=False),
    Column("event_seq", BigInteger, ForeignKey("events.seq", ondelete="CASCADE")),
    Column("stanza", Text, comment="a ready stanza, where the event's audience cannot be asked for any more"),
    Column("created", Instant, nullable=False),
    Column("audience", Text, nullable=False, default="public", server_default=text("'public'"), comment="of a stanza"),
    Index(None, "domain", "id"),
    Index(None, "event_seq", "domain"),
    CheckConstraint("(event_seq IS NULL) <> (stanza IS NULL)", name="one_content"),
    sqlite_autoincrement=True,
)

fan_outs = Table(
    "fan_outs",
    metadata,
    Column(
        "event_seq", BigInteger, ForeignKey("events.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False),
    Column("after", Text, nullable=False, comment="the last domain that was gone through, by name"),
    Column("again", Text, nullable=False, comment="the id of an item whose holders are to have it; may be empty"),
    Column("parts", Integer, nullable=False, comment="in how many parts it was owed, since the first"),
    Index(None, "node_id", "event_seq"),
    comment="posts that are not owed yet to all domains that follow",
)

remote_domains = Table(
    "remote_domains",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("failures", Integer, nullable=False, default=0),
    Column("failing_since", Instant),
    Column("next_attempt", Instant),
    Column("last_error", Text, nullable=False, default=""),
    Column("last_success", Instant),
    Column("permanent_since", Instant, comment="since when each failure was one that waiting does not heal"),
)

backlog_marks = Table(
    "backlog_marks",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("after", BigInteger, nullable=False, comment="the last event of the feed that the domain was told of"),
    Column("narrow_after", BigInteger, nullable=False, comment="likewise, of what is not public and may have to wait"),
    Column(
        "upto",
        BigInteger,
        nullable=False,
        comment="the last event that has no row of its own in the outbox; 2^62: all that come",
    ),
    Column("created", Instant, nullable=False),
    Index(None, "node_id"),
    comment="what stands for the rows of the outbox when they are too many: told anew from the items themselves",
)

delivery_log = Table(
    "delivery_log",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="SET NULL"), comment="NULL: there is nothing to tell"),
    Column("kind", Text, nullable=False),
    Column("item_id", Text),
    Column("event_seq", BigInteger, nullable=False),
    Column("audience", Text, nullable=False),
    Column("created", Instant, nullable=False),
    Index(None, "created"),
    Index(None, "event_seq"),
    Index(None, "node_id"),
    CheckConstraint("kind IN ('published', 'retracted', 'purged', 'configured')", name="kind"),
    # What is for this domain only is never in a log for another one.
    CheckConstraint("audience <> 'local'", name="leaves"),
    comment="what another node was or is being told, numbered without gaps; kept for a while after it was acknowledged",
)

peers = Table(
    "peers",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("asked", Instant, comment="when it was last asked whether it is a node with a delivery log"),
    Column("fanout", Boolean, nullable=False, default=False),
    Column("max_bytes", Integer, nullable=False, default=0),
    Column("max_entries", Integer, nullable=False, default=0),
    Column("epoch", Text, nullable=False, default="", comment="that it has told us last"),
    Column("key", Text, nullable=False, default="", comment="of its certificate: SHA-256, hexadecimal"),
    Column("doubted", Instant, comment="since when it seems to be somebody else: nothing private goes there"),
    Column("number", BigInteger, nullable=False, default=0, comment="the last that our log for it has given"),
    Column("acknowledged", BigInteger, nullable=False, default=0, comment="the last that it has stored"),
    Column("received", BigInteger, nullable=False, default=0, comment="the last of its log that we have stored"),
    Column("received_epoch", Text, nullable=False, default="", comment="the epoch of that number"),
    Column("heard", Instant, comment="when its log was last level with what we have"),
    Column("behind", Instant, comment="since when its feeds have to be fetched, as its log does not reach back"),
    Column("first_seen", Instant, nullable=False),
    comment="other nodes: what they can do, and how far each of us has come with the other's delivery log",
)

follower_sets = Table(
    "follower_sets",
    metadata,
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("domain", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("told", Instant, comment="when the domain last took an entry that names it"),
    comment="by which number a domain knows who of it reads one of our feeds",
)

domain_policies = Table(
    "domain_policies",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("source", Text, primary_key=True, comment="empty: the administrator; else the list it is from"),
    Column("grade", Text, nullable=False, comment="empty: it says nothing of that"),
    Column("dialback", Boolean, nullable=False, default=False, comment="what is private may go without a certificate"),
    Column("reason", Text, nullable=False, default=""),
    Column("created", Instant, nullable=False),
    CheckConstraint("grade IN ('', 'allowed', 'no-media', 'silenced', 'refused')", name="grade"),
    Index(
        "ix_domain_policies_silenced",
        "domain",
        sqlite_where=text("grade = 'silenced'"),
        postgresql_where=text("grade = 'silenced'"),
    ),
    comment="what the administrator, and lists that the administrator trusts, say of other domains",
)

policy_lists = Table(
    "policy_lists",
    metadata,
    Column("service", Text, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("created", Instant, nullable=False),
    Column("fetched", Instant),
    Column("problem", Text, nullable=False, default=""),
    comment="lists of domains, kept elsewhere or here as pubsub nodes, that this node goes by",
)

remote_storage = Table(
    "remote_storage",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("items", BigInteger, nullable=False, default=0),
    Column("bytes", BigInteger, nullable=False, default=0),
    Column("since", Instant, nullable=False, comment="when it was first heard of"),
    Column("day", Instant, comment="when the day began for which strangers' items are counted"),
    Column("taken", Integer, nullable=False, default=0, comment="how many of strangers on that day"),
    Column("followed", Boolean, nullable=False, default=False, comment="on that day somebody here follows it"),
    comment="how much other domains take here: our copies of their items, and what their strangers say to our people",
)

bounces = Table(
    "bounces",
    metadata,
    Column("node_id", Key, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("jid", Text, primary_key=True, comment="bare JID elsewhere that sends notifications back"),
    Column("count", Integer, nullable=False),
    Column("since", Instant, nullable=False),
    Column("last", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("seq", BigInteger, nullable=False, default=0, comment="the first event that is to be told again"),
    Column("due", Instant, comment="when that is to be done"),
    Column("suspended", Instant, comment="since when its subscription has ended for it"),
    Column("moved_to", Text, nullable=False, default="", comment="where it says to be now"),
    Index("ix_bounces_due", "due", sqlite_where=text("due IS NOT NULL"), postgresql_where=text("due IS NOT NULL")),
    comment="readers of our nodes whose servers answer with errors",
)

moved_accounts = Table(
    "moved_accounts",
    metadata,
    Column("jid", Text, primary_key=True, comment="bare JID, of ours or elsewhere, that moved or had moved"),
    Column("moved_to", Text, nullable=False, default="", comment="empty: it did not, after all"),
    Column("since", Instant, nullable=False),
    comment="XEP-0283",
)

trails = Table(
    "trails",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False, comment="the last event that it has done with"),
    comment="how far those have come who read the log of events behind the publishing: search, track, rules",
)

tracks = Table(
    "tracks",
    metadata,
    Column("id", Key, primary_key=True),
    Column("owner", Text, nullable=False, comment="bare JID of somebody here, or elsewhere"),
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), comment="of somebody here"),
    Column("number", Integer, nullable=False, comment="by which its owner knows it: ~1"),
    Column("query", Text, nullable=False, comment="JSON: what is looked for"),
    Column("urgent", Boolean, nullable=False, default=False),
    Column("deliver", Boolean, nullable=False, comment="its owner is sent notifications"),
    Column("hits", BigInteger, nullable=False, default=0),
    Column("subid", Text, nullable=False, comment="by which it is known as a subscription"),
    Column("service", Text, nullable=False, default="", comment="the node elsewhere that tracks for somebody here"),
    Column("lease", Text, nullable=False, default="", comment="by which that node knows it; empty: it does not"),
    Column("checked", Instant, comment="when that node was last asked"),
    Column("problem", Text, nullable=False, default="", comment="why it does not track"),
    Column("expires", Instant, comment="of somebody elsewhere: until when, unless it is asked for again"),
    Column("created", Instant, nullable=False),
    UniqueConstraint("owner", "number"),
    Index(None, "account_id"),
    Index(None, "service", "checked"),
    Index(None, "expires"),
    comment="saved searches whose matches are told as they happen",
)

track_hits = Table(
    "track_hits",
    metadata,
    Column("id", Key, primary_key=True),
    Column("track_id", Key, ForeignKey("tracks.id", ondelete="CASCADE"), nullable=False),
    Column("service", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("payload", Text, nullable=False, default="", comment="of an item of which there is no copy here"),
    Column("told", Boolean, nullable=False, comment="its owner was told, or nobody is to be"),
    Column("created", Instant, nullable=False),
    UniqueConstraint("track_id", "service", "node", "item_id"),
    Index(None, "track_id", "id"),
    Index(None, "item_id"),
    Index(None, "created"),
    Index("ix_track_hits_untold", "id", sqlite_where=text("NOT told"), postgresql_where=text("NOT told")),
    sqlite_autoincrement=True,
)

item_places = Table(
    "item_places",
    metadata,
    Column("item", Key, ForeignKey("items.id", ondelete="CASCADE"), primary_key=True),
    Column("latitude", Integer, nullable=False, comment="microdegrees"),
    Column("longitude", Integer, nullable=False, comment="microdegrees"),
    Index(None, "latitude", "longitude"),
    comment="where a post says that it is, for those who look for what is near",
)

item_words = Table(
    "item_words",
    metadata,
    Column("place", Key, primary_key=True, autoincrement=False, comment="greater for newer posts"),
    Column("item", Key, ForeignKey("items.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("words", Text, nullable=False, comment="folded, in order, with a space around each"),
    Column("keys", Text, nullable=False, comment="tags, author, language, place, each with a space behind it"),
    comment="what posts are found by; the index over it is the database's own (SEARCH)",
)

# The full text index over ``item_words``, which holds the words as they are there and nothing that a database makes
# of them. SQLite's follows the table by triggers. PostgreSQL's does not put off what is new, to work it off in one go
# for which everybody would wait.
SEARCH: Final[Mapping[str, Sequence[str]]] = {
    "sqlite": (
        "CREATE VIRTUAL TABLE item_index USING fts5("
        "words, keys, content='item_words', content_rowid='place', tokenize=\"ascii tokenchars '_'\", detail=none)",
        "CREATE TRIGGER item_index_insert AFTER INSERT ON item_words BEGIN"
        " INSERT INTO item_index (rowid, words, keys) VALUES (new.place, new.words, new.keys); END",
        "CREATE TRIGGER item_index_delete AFTER DELETE ON item_words BEGIN"
        " INSERT INTO item_index (item_index, rowid, words, keys)"
        " VALUES ('delete', old.place, old.words, old.keys); END",
        "CREATE TRIGGER item_index_update AFTER UPDATE ON item_words BEGIN"
        " INSERT INTO item_index (item_index, rowid, words, keys)"
        " VALUES ('delete', old.place, old.words, old.keys);"
        " INSERT INTO item_index (rowid, words, keys) VALUES (new.place, new.words, new.keys); END",
    ),
    "postgresql": (
        "CREATE INDEX item_index ON item_words"
        " USING gin (array_to_tsvector(string_to_array(btrim(words || keys), ' '))) WITH (fastupdate = off)",
    ),
}
for _dialect, _statements in SEARCH.items():
    for _statement in _statements:
        _ddl = DDL(_statement)  # type: ignore[no-untyped-call]  # SQLAlchemy's
        event.listen(item_words, "after_create", _ddl.execute_if(dialect=_dialect))

held_lines = Table(
    "held_lines",
    metadata,
    Column("id", Key, primary_key=True),
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False, comment="why it would have been told"),
    Column("service", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("item_id", Text, nullable=False, comment="of a line that shows no item: something that is only once"),
    Column("text", Text, nullable=False, default="", comment="what stands before the item, or the line itself"),
    Column("created", Instant, nullable=False),
    UniqueConstraint("service", "node", "item_id", "account_id"),
    Index(None, "account_id", "id"),
    Index(None, "created"),
    CheckConstraint("kind IN ('post', 'mention', 'direct', 'track', 'line')", name="kind"),
    sqlite_autoincrement=True,
    comment="lines of chat that wait until somebody has time for them",
)

absences = Table(
    "absences",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("since", Instant, comment="when the last session went; NULL: somebody is there"),
    Column("seen", Instant, nullable=False, comment="when it was last certain that somebody was there"),
    Column("missed", Instant, comment="since when there were no lines, as the last digest said"),
    Column("announced", BigInteger, nullable=False, default=0, comment="the last held line that a digest counted"),
    comment="when people who get lines of chat were there, for the digest on return",
)

paused_sources = Table(
    "paused_sources",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True, comment="bare JID, or #tag; empty: everything"),
    Column("until", Instant, comment="NULL: until it is turned on again"),
    comment="of what somebody wants no lines for now, though they follow it",
)

mutes = Table(
    "mutes",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True, comment="bare JID, domain, folded tag, folded word, URI of a thread"),
    Column("until", Instant, comment="NULL: for ever"),
    Column("created", Instant, nullable=False),
    CheckConstraint("kind IN ('person', 'domain', 'tag', 'word', 'thread')", name="kind"),
    comment="what somebody does not want to read",
)

blocks = Table(
    "blocks",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("jid", Text, primary_key=True, comment="full or bare JID, or a domain"),
    Column("created", Instant, nullable=False),
    Index(None, "jid"),
    comment="XEP-0191",
)

people_lists = Table(
    "people_lists",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True, comment="folded"),
    Column("jid", Text, primary_key=True, comment="bare JID of who is in it"),
    Column("created", Instant, nullable=False),
    comment="lists of people, each with a timeline",
)

followed_tags = Table(
    "followed_tags",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", Text, primary_key=True, comment="folded, without its #"),
    Column("created", Instant, nullable=False),
    Index(None, "tag"),
)

reports = Table(
    "reports",
    metadata,
    Column("id", Key, primary_key=True),
    Column("reporter", Text, nullable=False, comment="bare JID of somebody here, or the domain that passed it on"),
    Column("jid", Text, nullable=False, comment="who is reported"),
    Column("service", Text, nullable=False, default=""),
    Column("node", Text, nullable=False, default=""),
    Column("item_id", Text, nullable=False, default=""),
    Column("reason", Text, nullable=False),
    Column("text", Text, nullable=False, default=""),
    Column("created", Instant, nullable=False),
    Column("passed_on", Instant, comment="when the node of who is reported was told"),
    Column("settled", Instant, comment="when an administrator was done with it"),
    Index(None, "settled", "created"),
    comment="XEP-0377: what moderators are to look at",
)

places = Table(
    "places",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True, comment="folded"),
    Column("title", Text, nullable=False, comment="as it was written"),
    Column("latitude", Integer, nullable=False, comment="microdegrees"),
    Column("longitude", Integer, nullable=False, comment="microdegrees"),
    Column("radius", Integer, nullable=False, comment="metres"),
    Column("shared", Boolean, nullable=False, default=False, comment="an administrator named it for everybody here"),
    Column("created", Instant, nullable=False),
    Index("ix_places_shared", "name", sqlite_where=text("shared"), postgresql_where=text("shared")),
)

locations = Table(
    "locations",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("latitude", Integer, nullable=False, comment="microdegrees, rounded"),
    Column("longitude", Integer, nullable=False, comment="microdegrees, rounded"),
    Column("text", Text, nullable=False, default=""),
    Column("shared", Boolean, nullable=False, default=False, comment="by their client (XEP-0080), not said in chat"),
    Column("updated", Instant, nullable=False),
    comment="where people say that they are; known to this node only",
)

location_consents = Table(
    "location_consents",
    metadata,
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("jid", Text, primary_key=True, comment="bare JID of somebody here"),
    Column("state", Text, nullable=False),
    Column("created", Instant, nullable=False),
    Index(None, "jid", "created"),
    CheckConstraint("state IN ('asked', 'allowed', 'denied')", name="state"),
    comment="whose rules may go by where somebody is",
)

rules = Table(
    "rules",
    metadata,
    Column("id", Key, primary_key=True),
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("what", Text, nullable=False, comment="that has to happen"),
    Column("rule", Text, nullable=False, comment="JSON: when what happens, then what is done"),
    Column("subject", Text, nullable=False, default="", comment="bare JID of whom it is about"),
    Column("fired", BigInteger, nullable=False, default=0),
    Column("skipped", BigInteger, nullable=False, default=0, comment="how often it would have fired, but too often"),
    Column("last_fired", Instant),
    Column("minute", Instant, comment="the minute and the day in which it fired so often"),
    Column("in_minute", Integer, nullable=False, default=0),
    Column("day", Instant),
    Column("in_day", Integer, nullable=False, default=0),
    Column("created", Instant, nullable=False),
    Column("changed", Instant, nullable=False, comment="when it was made, or its owner moved if it goes by that"),
    UniqueConstraint("account_id", "number"),
    Index(None, "subject"),
    Index(None, "changed"),
    CheckConstraint("what IN ('post', 'enters', 'leaves', 'online')", name="what"),
)

rule_firings = Table(
    "rule_firings",
    metadata,
    Column("id", Key, primary_key=True),
    Column("rule_id", Key, ForeignKey("rules.id", ondelete="CASCADE"), nullable=False),
    Column("service", Text, nullable=False, default="", comment="of the post that fired it, if one did"),
    Column("node", Text, nullable=False, default=""),
    Column("item_id", Text, nullable=False, default=""),
    Column("waits", Boolean, nullable=False, default=False, comment="for its owner, who was not there to be told"),
    Column("created", Instant, nullable=False),
    Index(None, "rule_id"),
    Index("ix_rule_firings_due", "id", sqlite_where=text("NOT waits"), postgresql_where=text("NOT waits")),
    sqlite_autoincrement=True,
    comment="what rules have decided and is not yet said or posted",
)

programs = Table(
    "programs",
    metadata,
    Column("id", Key, primary_key=True),
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("sources", Text, nullable=False, comment="JSON list: home, mentions, own, track, local, calls"),
    Column("seq", BigInteger, nullable=False, comment="the last event that it acknowledged"),
    Column("call", BigInteger, nullable=False, comment="the last call that it acknowledged"),
    Column("hit", BigInteger, nullable=False, comment="the last match of a track that it acknowledged"),
    Column("acknowledged", Instant, comment="when it acknowledged something last"),
    Column("missed", Boolean, nullable=False, default=False, comment="what it had not acknowledged was forgotten"),
    Column("url", Text, nullable=False, default="", comment="of a webhook; empty: it asks by XMPP"),
    Column("secret", Text, nullable=False, default="", comment="that signs what is sent to the webhook"),
    Column("failures", Integer, nullable=False, default=0),
    Column("next_attempt", Instant),
    Column("problem", Text, nullable=False, default=""),
    Column("created", Instant, nullable=False),
    UniqueConstraint("account_id", "name"),
    # Whoever reads for a program that is gone must not find itself reading for another one.
    sqlite_autoincrement=True,
    comment="durable subscriptions of programs to what happens",
)

program_calls = Table(
    "program_calls",
    metadata,
    Column("id", Key, primary_key=True),
    Column("account_id", Key, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("program", Text, nullable=False, comment="the name of the subscription that is called"),
    Column("payload", Text, nullable=False, comment="JSON"),
    Column("created", Instant, nullable=False),
    Index(None, "account_id", "program", "id"),
    Index(None, "created"),
    sqlite_autoincrement=True,
    comment="what rules call out to programs",
)
