"""What real time needs: tracks, and quiet (mutes, blocks, lists of people, reports)."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As microblog.store.tables had them at this revision; later ones change what is here, not this file.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.BigInteger()


def upgrade() -> None:
    """Make the new tables."""
    op.create_table(
        "blocks",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("jid", sa.Text(), nullable=False, comment="full or bare JID, or a domain"),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_blocks_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "jid", name=op.f("pk_blocks")),
        comment="XEP-0191",
    )
    op.create_index(op.f("ix_blocks_jid"), "blocks", ["jid"])
    op.create_table(
        "mutes",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "value", sa.Text(), nullable=False, comment="bare JID, domain, folded tag, folded word, URI of a thread"
        ),
        sa.Column("until", INSTANT, nullable=True, comment="NULL: for ever"),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint("kind IN ('person', 'domain', 'tag', 'word', 'thread')", name=op.f("ck_mutes_kind")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_mutes_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "kind", "value", name=op.f("pk_mutes")),
        comment="what somebody does not want to read",
    )
    op.create_table(
        "people_lists",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="folded"),
        sa.Column("jid", sa.Text(), nullable=False, comment="bare JID of who is in it"),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_people_lists_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "name", "jid", name=op.f("pk_people_lists")),
        comment="lists of people, each with a timeline",
    )
    op.create_table(
        "reports",
        sa.Column("id", KEY, nullable=False),
        sa.Column(
            "reporter", sa.Text(), nullable=False, comment="bare JID of somebody here, or the domain that passed it on"
        ),
        sa.Column("jid", sa.Text(), nullable=False, comment="who is reported"),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("settled", INSTANT, nullable=True, comment="when an administrator was done with it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
        comment="XEP-0377: what moderators are to look at",
    )
    op.create_index(op.f("ix_reports_settled_created"), "reports", ["settled", "created"])
    op.create_table(
        "tracks",
        sa.Column("id", KEY, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False, comment="bare JID of somebody here, or elsewhere"),
        sa.Column("number", sa.Integer(), nullable=False, comment="by which its owner knows it: ~1"),
        sa.Column("service", sa.Text(), nullable=False, comment="the node elsewhere that tracks for somebody here"),
        sa.Column("query", sa.Text(), nullable=False, comment="JSON: what is looked for"),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column(
            "expires", INSTANT, nullable=True, comment="of somebody elsewhere: until when, unless it is asked for again"
        ),
        sa.UniqueConstraint("owner", "number", name=op.f("uq_tracks_owner_number")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracks")),
        comment="saved searches whose matches are told as they happen",
    )
    op.create_index(op.f("ix_tracks_expires"), "tracks", ["expires"])
