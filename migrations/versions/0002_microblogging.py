"""What microblogging needs beyond publish-subscribe: timelines, conversation, chat, profiles, linked addresses."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As microblog.store.tables had them at this revision; later ones change what is here, not this file.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.BigInteger()


def upgrade() -> None:
    """Make the new tables and columns; posts that are there get their place in timelines."""
    op.create_table(
        "chat_messages",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("address", sa.Text(), nullable=False, comment="bare JID that said it"),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False, comment="the post it became"),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_chat_messages_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "address", "message_id", name=op.f("pk_chat_messages")),
        comment="what was said to the node in chat: done once, and corrected or retracted later",
    )
    op.create_index(op.f("ix_chat_messages_created"), "chat_messages", ["created"])
    op.create_table(
        "cursors",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("timeline", sa.Text(), nullable=False),
        sa.Column("stands", INSTANT, nullable=False),
        sa.Column("item", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_cursors_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "timeline", name=op.f("pk_cursors")),
        comment="how far somebody has read a timeline: up to and with the item that stands there",
    )
    op.create_table(
        "held_messages",
        sa.Column("id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("stanza", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_held_messages_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_held_messages")),
        comment="XEP-0160: messages to people who were not there",
    )
    op.create_index(op.f("ix_held_messages_account_id_id"), "held_messages", ["account_id", "id"])
    op.create_index(op.f("ix_held_messages_created"), "held_messages", ["created"])
    op.create_table(
        "holders",
        sa.Column("node_id", KEY, nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("witness", sa.Text(), nullable=False, comment="somebody there who was told"),
        sa.Column("refused", sa.Text(), nullable=False, comment="why the domain did not take it"),
        sa.Column("since", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_holders_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node_id", "item_id", "domain", name=op.f("pk_holders")),
        comment="which domains were given an item, so that its retraction reaches them, and for the delivery report",
    )
    op.create_index(op.f("ix_holders_since"), "holders", ["since"])
    op.create_table(
        "linked_addresses",
        sa.Column("jid", sa.Text(), nullable=False, comment="bare JID elsewhere"),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False, comment="from both sides"),
        sa.Column("asked_there", sa.Boolean(), nullable=False, comment="the address asked, not the account"),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_linked_addresses_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("jid", "account_id", name=op.f("pk_linked_addresses")),
    )
    op.create_index(op.f("ix_linked_addresses_account_id"), "linked_addresses", ["account_id"])
    op.create_table(
        "nudges",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("jid", sa.Text(), nullable=False),
        sa.Column("nudged", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_nudges_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "jid", name=op.f("pk_nudges")),
    )
    op.create_table(
        "preferences",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_preferences_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "name", name=op.f("pk_preferences")),
    )
    op.create_table(
        "profiles",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("nickname", sa.Text(), nullable=False),
        sa.Column("bio", sa.Text(), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False, comment="JSON: what else a vCard says"),
        sa.Column("avatar", sa.LargeBinary(), nullable=True),
        sa.Column("avatar_type", sa.Text(), nullable=False),
        sa.Column("avatar_hash", sa.Text(), nullable=False, comment="SHA-1, hexadecimal"),
        sa.Column("updated", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_profiles_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_profiles")),
    )
    op.create_table(
        "shown",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("shown", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_shown_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "number", name=op.f("pk_shown")),
        sa.UniqueConstraint(
            "service", "node", "item_id", "account_id", name=op.f("uq_shown_service_node_item_id_account_id")
        ),
        comment="the short numbers by which somebody was shown items in chat",
    )
    op.create_index(op.f("ix_shown_shown"), "shown", ["shown"])
    op.create_table(
        "item_mentions",
        sa.Column("jid", sa.Text(), nullable=False, comment="bare JID of somebody here or elsewhere"),
        sa.Column("stands", INSTANT, nullable=False),
        sa.Column("item", KEY, nullable=False),
        sa.Column("reader", sa.Boolean(), nullable=False, comment="a direct item is for them"),
        sa.ForeignKeyConstraint(["item"], ["items.id"], name=op.f("fk_item_mentions_item"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("jid", "stands", "item", name=op.f("pk_item_mentions")),
    )
    op.create_index(op.f("ix_item_mentions_item"), "item_mentions", ["item"])
    op.create_table(
        "item_tags",
        sa.Column("tag", sa.Text(), nullable=False, comment="folded, without its #"),
        sa.Column("stands", INSTANT, nullable=False),
        sa.Column("item", KEY, nullable=False),
        sa.ForeignKeyConstraint(["item"], ["items.id"], name=op.f("fk_item_tags_item"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tag", "stands", "item", name=op.f("pk_item_tags")),
    )
    op.create_index(op.f("ix_item_tags_item"), "item_tags", ["item"])
    op.create_table(
        "reactions",
        sa.Column("item", KEY, nullable=False),
        sa.Column("reaction", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["item"], ["items.id"], name=op.f("fk_reactions_item"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("item", "reaction", name=op.f("pk_reactions")),
        comment="XEP-0470: what an attachment, or a comment that is only a heart, says",
    )
    op.add_column(
        "items",
        sa.Column(
            "stands",
            INSTANT,
            nullable=True,
            comment="where a post of a feed stands in timelines; NULL for everything else",
        ),
    )
    op.add_column(
        "items",
        sa.Column(
            "thread", sa.Text(), server_default=sa.text("''"), nullable=False, comment="URI of its comments node"
        ),
    )
    op.add_column(
        "items",
        sa.Column(
            "answers", sa.Text(), server_default=sa.text("''"), nullable=False, comment="URI of the item it answers"
        ),
    )
    op.add_column(
        "items",
        sa.Column("via", sa.Text(), server_default=sa.text("''"), nullable=False, comment="URI of the item it repeats"),
    )
    op.add_column("items", sa.Column("expires", INSTANT, nullable=True))
    op.create_index(
        "ix_items_expires",
        "items",
        ["expires"],
        sqlite_where=sa.text("expires IS NOT NULL"),
        postgresql_where=sa.text("expires IS NOT NULL"),
    )
    op.create_index(
        "ix_items_local",
        "items",
        ["stands", "id", "audience"],
        sqlite_where=sa.text("proof = 'local' AND stands IS NOT NULL"),
        postgresql_where=sa.text("proof = 'local' AND stands IS NOT NULL"),
    )
    op.create_index(op.f("ix_items_node_id_stands_id_audience"), "items", ["node_id", "stands", "id", "audience"])
    op.create_index(
        "ix_items_thread",
        "items",
        ["thread"],
        sqlite_where=sa.text("answers <> ''"),
        postgresql_where=sa.text("answers <> ''"),
    )
    op.create_index(
        "ix_items_via", "items", ["via"], sqlite_where=sa.text("via <> ''"), postgresql_where=sa.text("via <> ''")
    )
    op.add_column(
        "subscriptions",
        sa.Column("public", sa.Boolean(), server_default=sa.false(), nullable=False, comment="XEP-0465"),
    )
    op.add_column(
        "subscriptions",
        sa.Column(
            "checked",
            INSTANT,
            nullable=True,
            comment="ours at a remote node: when the other side was last asked about it",
        ),
    )
    op.add_column(
        "subscriptions",
        sa.Column(
            "problem", sa.Text(), server_default=sa.text("''"), nullable=False, comment="why it does not work now"
        ),
    )
    op.create_index(
        "ix_subscriptions_checked",
        "subscriptions",
        ["checked"],
        sqlite_where=sa.text("checked IS NOT NULL"),
        postgresql_where=sa.text("checked IS NOT NULL"),
    )
    op.create_index(
        "ix_subscriptions_problem",
        "subscriptions",
        ["problem", "checked"],
        sqlite_where=sa.text("problem <> ''"),
        postgresql_where=sa.text("problem <> ''"),
    )
    op.create_index(
        "ix_subscriptions_public",
        "subscriptions",
        ["node_id"],
        sqlite_where=sa.text("public"),
        postgresql_where=sa.text("public"),
    )
    op.add_column(
        "outbox",
        sa.Column("audience", sa.Text(), server_default=sa.text("'public'"), nullable=False, comment="of a stanza"),
    )
    op.drop_index(op.f("ix_subscriptions_bare_node_id"), table_name="subscriptions")
    op.create_index(op.f("ix_subscriptions_bare_node_id_state"), "subscriptions", ["bare", "node_id", "state"])
    op.execute(
        "UPDATE items SET stands = published WHERE item_id <> '0'"
        " AND node_id IN (SELECT id FROM nodes WHERE name = 'urn:xmpp:microblog:0')"
    )
