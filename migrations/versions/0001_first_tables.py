"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# As microblog.store.tables had them at this revision; later ones change what is here, not this file.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.BigInteger()


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "accounts",
        sa.Column("id", KEY, nullable=False),
        sa.Column("localpart", sa.Text(), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("roster_version", sa.BigInteger(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint("audience IN ('public', 'followers', 'local')", name=op.f("ck_accounts_audience")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("localpart", name=op.f("uq_accounts_localpart")),
    )
    op.create_table(
        "interests",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column(
            "jid", sa.Text(), nullable=False, comment="full JID of a remote contact that is present with +notify"
        ),
        sa.Column("bare", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("service", "node", "jid", name=op.f("pk_interests")),
    )
    op.create_index(op.f("ix_interests_bare_service"), "interests", ["bare", "service"])
    op.create_index(op.f("ix_interests_jid"), "interests", ["jid"])
    op.create_index(op.f("ix_interests_service_node_domain"), "interests", ["service", "node", "domain"])
    op.create_table(
        "invites",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("expires", INSTANT, nullable=False),
        sa.Column("used_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_invites")),
    )
    op.create_table(
        "nodes",
        sa.Column("id", KEY, nullable=False),
        sa.Column("service", sa.Text(), nullable=False, comment="bare JID that owns the node"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("access_model", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False, comment="JSON: what differs from the profile's defaults"),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint(
            "access_model IN ('open', 'presence', 'roster', 'whitelist', 'authorize')",
            name=op.f("ck_nodes_access_model"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
        sa.UniqueConstraint("service", "name", name=op.f("uq_nodes_service_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "outside_changes",
        sa.Column("id", KEY, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False, comment="JSON"),
        sa.CheckConstraint("kind IN ('keys', 'contact', 'node', 'owed')", name=op.f("ck_outside_changes_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outside_changes")),
        comment="what was done beside the running server and it has not heard of yet",
    )
    op.create_table(
        "remote_domains",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", INSTANT, nullable=True),
        sa.Column("next_attempt", INSTANT, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("last_success", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_remote_domains")),
    )
    op.create_table(
        "removed_accounts",
        sa.Column("localpart", sa.Text(), nullable=False),
        sa.Column("removed", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("localpart", name=op.f("pk_removed_accounts")),
        comment="names that were somebody's and are not given out again",
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
        comment="what the node must remember about itself: secrets, epoch",
    )
    op.create_table(
        "affiliations",
        sa.Column("node_id", KEY, nullable=False),
        sa.Column("jid", sa.Text(), nullable=False),
        sa.Column("affiliation", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "affiliation IN ('owner', 'publisher', 'publish-only', 'member', 'outcast')",
            name=op.f("ck_affiliations_affiliation"),
        ),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_affiliations_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node_id", "jid", name=op.f("pk_affiliations")),
    )
    op.create_index(op.f("ix_affiliations_jid"), "affiliations", ["jid"])
    op.create_table(
        "contacts",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("jid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("groups", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("subscription", sa.Text(), nullable=False),
        sa.Column("ask", sa.Boolean(), nullable=False, comment="our request is pending"),
        sa.Column("pending_in", sa.Boolean(), nullable=False, comment="their request is pending"),
        sa.Column("approved", sa.Boolean(), nullable=False, comment="RFC 6121 §3.4 pre-approval"),
        sa.Column("listed", sa.Boolean(), nullable=False, comment="False: only a pending request, not in the roster"),
        sa.Column(
            "request", sa.Text(), nullable=True, comment="their pending request as it came, for delivery at login"
        ),
        sa.CheckConstraint("subscription IN ('none', 'to', 'from', 'both')", name=op.f("ck_contacts_subscription")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_contacts_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "jid", name=op.f("pk_contacts")),
    )
    op.create_index(op.f("ix_contacts_jid"), "contacts", ["jid"])
    op.create_table(
        "credentials",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("iterations", sa.Integer(), nullable=False),
        sa.Column("stored_key", sa.LargeBinary(), nullable=False),
        sa.Column("server_key", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("hash IN ('SHA-1', 'SHA-256')", name=op.f("ck_credentials_hash")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_credentials_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "hash", name=op.f("pk_credentials")),
    )
    op.create_table(
        "events",
        sa.Column("seq", KEY, nullable=False),
        sa.Column("node_id", KEY, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=True),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint("kind IN ('published', 'retracted', 'purged', 'configured')", name=op.f("ck_events_kind")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_events_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_node_id_seq"), "events", ["node_id", "seq"])
    op.create_table(
        "items",
        sa.Column("id", KEY, nullable=False),
        sa.Column("node_id", KEY, nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column(
            "position", sa.BigInteger(), nullable=False, comment="sequence number of the event that last published it"
        ),
        sa.Column("publisher", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False, comment="self-contained XML, empty if there is none"),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False, comment="how its origin was proven"),
        sa.Column("published", INSTANT, nullable=False),
        sa.Column("updated", INSTANT, nullable=False),
        sa.CheckConstraint("audience IN ('public', 'followers', 'direct', 'local')", name=op.f("ck_items_audience")),
        sa.CheckConstraint("proof IN ('local', 'certificate', 'dialback')", name=op.f("ck_items_proof")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_items_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_items")),
        sa.UniqueConstraint("node_id", "item_id", name=op.f("uq_items_node_id_item_id")),
    )
    op.create_index(op.f("ix_items_node_id_position_audience"), "items", ["node_id", "position", "audience"])
    op.create_table(
        "subscriptions",
        sa.Column("id", KEY, nullable=False),
        sa.Column("node_id", KEY, nullable=False),
        sa.Column("subscriber", sa.Text(), nullable=False, comment="as subscribed: bare or full JID"),
        sa.Column("bare", sa.Text(), nullable=False, comment="the subscriber's bare JID"),
        sa.Column("domain", sa.Text(), nullable=False, comment="the subscriber's domain"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("subid", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False, comment="ours at a remote node: last event that came"),
        sa.Column("delivered", sa.BigInteger(), nullable=False, comment="and the last one written to a session"),
        sa.CheckConstraint("state IN ('pending', 'subscribed')", name=op.f("ck_subscriptions_state")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_subscriptions_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
        sa.UniqueConstraint("node_id", "subscriber", name=op.f("uq_subscriptions_node_id_subscriber")),
    )
    op.create_index(op.f("ix_subscriptions_bare_node_id"), "subscriptions", ["bare", "node_id"])
    op.create_index(op.f("ix_subscriptions_domain"), "subscriptions", ["domain"])
    op.create_index(op.f("ix_subscriptions_node_id_domain"), "subscriptions", ["node_id", "domain"])
    op.create_table(
        "tombstones",
        sa.Column("node_id", KEY, nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("retracted", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_tombstones_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node_id", "item_id", name=op.f("pk_tombstones")),
    )
    op.create_index(op.f("ix_tombstones_retracted"), "tombstones", ["retracted"])
    op.create_table(
        "outbox",
        sa.Column("id", KEY, nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=True),
        sa.Column(
            "stanza",
            sa.Text(),
            nullable=True,
            comment="a ready stanza, where the event's audience cannot be asked for any more",
        ),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint("(event_seq IS NULL) <> (stanza IS NULL)", name=op.f("ck_outbox_one_content")),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name=op.f("fk_outbox_event_seq"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_outbox_domain_id"), "outbox", ["domain", "id"])
    op.create_index(op.f("ix_outbox_event_seq"), "outbox", ["event_seq"])
