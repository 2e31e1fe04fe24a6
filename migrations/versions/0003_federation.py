"""What federation needs: delivery logs between nodes, marks for backlogs, policy, accounts that moved."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# As microblog.store.tables had them at this revision; later ones change what is here, not this file.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.BigInteger()


def upgrade() -> None:
    """Make the new tables and columns."""
    # What a command has just left there matters to a running server only, and none runs now.
    op.drop_table("outside_changes")
    op.create_table(
        "outside_changes",
        sa.Column("id", KEY, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False, comment="JSON"),
        sa.CheckConstraint(
            "kind IN ('keys', 'contact', 'node', 'owed', 'policy', 'retry', 'dropped')",
            name=op.f("ck_outside_changes_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outside_changes")),
        comment="what was done beside the running server and it has not heard of yet",
    )
    op.create_table(
        "backlog_marks",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("node_id", KEY, nullable=False),
        sa.Column(
            "after", sa.BigInteger(), nullable=False, comment="the last event of the feed that the domain was told of"
        ),
        sa.Column(
            "narrow_after",
            sa.BigInteger(),
            nullable=False,
            comment="likewise, of what is not public and may have to wait",
        ),
        sa.Column(
            "upto",
            sa.BigInteger(),
            nullable=False,
            comment="the last event that has no row of its own in the outbox; 2^62: all that come",
        ),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_backlog_marks_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("domain", "node_id", name=op.f("pk_backlog_marks")),
        comment="what stands for the rows of the outbox when they are too many: told anew from the items themselves",
    )
    op.create_index(op.f("ix_backlog_marks_node_id"), "backlog_marks", ["node_id"])
    op.create_table(
        "delivery_log",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("node_id", KEY, nullable=True, comment="NULL: there is nothing to tell"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=True),
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint(
            "kind IN ('published', 'retracted', 'purged', 'configured')", name=op.f("ck_delivery_log_kind")
        ),
        sa.CheckConstraint("audience <> 'local'", name=op.f("ck_delivery_log_leaves")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_delivery_log_node_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("domain", "number", name=op.f("pk_delivery_log")),
        comment="what another node was or is being told, numbered without gaps; "
        "kept for a while after it was acknowledged",
    )
    op.create_index(op.f("ix_delivery_log_created"), "delivery_log", ["created"])
    op.create_index(op.f("ix_delivery_log_event_seq"), "delivery_log", ["event_seq"])
    op.create_index(op.f("ix_delivery_log_node_id"), "delivery_log", ["node_id"])
    op.create_table(
        "domain_policies",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="empty: the administrator; else the list it is from"),
        sa.Column("grade", sa.Text(), nullable=False, comment="empty: it says nothing of that"),
        sa.Column("dialback", sa.Boolean(), nullable=False, comment="what is private may go without a certificate"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint(
            "grade IN ('', 'allowed', 'no-media', 'silenced', 'refused')", name=op.f("ck_domain_policies_grade")
        ),
        sa.PrimaryKeyConstraint("domain", "source", name=op.f("pk_domain_policies")),
        comment="what the administrator, and lists that the administrator trusts, say of other domains",
    )
    op.create_index(
        "ix_domain_policies_silenced",
        "domain_policies",
        ["domain"],
        sqlite_where=sa.text("grade = 'silenced'"),
        postgresql_where=sa.text("grade = 'silenced'"),
    )
    op.create_table(
        "follower_sets",
        sa.Column("node_id", KEY, nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("told", INSTANT, nullable=True, comment="when the domain last took an entry that names it"),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_follower_sets_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node_id", "domain", name=op.f("pk_follower_sets")),
        comment="by which number a domain knows who of it reads one of our feeds",
    )
    op.create_table(
        "moved_accounts",
        sa.Column("jid", sa.Text(), nullable=False, comment="bare JID, of ours or elsewhere, that moved or had moved"),
        sa.Column("moved_to", sa.Text(), nullable=False, comment="empty: it did not, after all"),
        sa.Column("since", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("jid", name=op.f("pk_moved_accounts")),
        comment="XEP-0283",
    )
    op.create_table(
        "peers",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column(
            "asked", INSTANT, nullable=True, comment="when it was last asked whether it is a node with a delivery log"
        ),
        sa.Column("fanout", sa.Boolean(), nullable=False),
        sa.Column("max_bytes", sa.Integer(), nullable=False),
        sa.Column("max_entries", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Text(), nullable=False, comment="that it has told us last"),
        sa.Column("key", sa.Text(), nullable=False, comment="of its certificate: SHA-256, hexadecimal"),
        sa.Column(
            "doubted",
            INSTANT,
            nullable=True,
            comment="since when it seems to be somebody else: nothing private goes there",
        ),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="the last that our log for it has given"),
        sa.Column("acknowledged", sa.BigInteger(), nullable=False, comment="the last that it has stored"),
        sa.Column("received", sa.BigInteger(), nullable=False, comment="the last of its log that we have stored"),
        sa.Column("received_epoch", sa.Text(), nullable=False, comment="the epoch of that number"),
        sa.Column("heard", INSTANT, nullable=True, comment="when its log was last level with what we have"),
        sa.Column(
            "behind",
            INSTANT,
            nullable=True,
            comment="since when its feeds have to be fetched, as its log does not reach back",
        ),
        sa.Column("first_seen", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_peers")),
        comment="other nodes: what they can do, and how far each of us has come with the other's delivery log",
    )
    op.create_table(
        "policy_lists",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("fetched", INSTANT, nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("service", "node", name=op.f("pk_policy_lists")),
        comment="lists of domains, kept elsewhere or here as pubsub nodes, that this node goes by",
    )
    op.create_table(
        "remote_storage",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("items", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("since", INSTANT, nullable=False, comment="when it was first heard of"),
        sa.Column("day", INSTANT, nullable=True, comment="when the day began for which strangers' items are counted"),
        sa.Column("taken", sa.Integer(), nullable=False, comment="how many of strangers on that day"),
        sa.Column("followed", sa.Boolean(), nullable=False, comment="on that day somebody here follows it"),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_remote_storage")),
        comment="how much other domains take here: "
        "our copies of their items, and what their strangers say to our people",
    )
    op.create_table(
        "bounces",
        sa.Column("node_id", KEY, nullable=False),
        sa.Column("jid", sa.Text(), nullable=False, comment="bare JID elsewhere that sends notifications back"),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("last", INSTANT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the first event that is to be told again"),
        sa.Column("due", INSTANT, nullable=True, comment="when that is to be done"),
        sa.Column("suspended", INSTANT, nullable=True, comment="since when its subscription has ended for it"),
        sa.Column("moved_to", sa.Text(), nullable=False, comment="where it says to be now"),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_bounces_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node_id", "jid", name=op.f("pk_bounces")),
        comment="readers of our nodes whose servers answer with errors",
    )
    op.add_column(
        "remote_domains",
        sa.Column(
            "permanent_since",
            INSTANT,
            nullable=True,
            comment="since when each failure was one that waiting does not heal",
        ),
    )
    op.create_index(
        "ix_bounces_due",
        "bounces",
        ["due"],
        sqlite_where=sa.text("due IS NOT NULL"),
        postgresql_where=sa.text("due IS NOT NULL"),
    )
