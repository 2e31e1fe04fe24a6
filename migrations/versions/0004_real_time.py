"""What real time needs: search, tracks, held lines, quiet, places and rules, events for programs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As microblog.store.tables had them at this revision; later ones change what is here, not this file.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.BigInteger()
SEARCH = {
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


def upgrade() -> None:
    """Make the new tables."""
    # What a command has just left there matters to a running server only, and none runs now.
    op.drop_table("outside_changes")
    op.create_table(
        "outside_changes",
        sa.Column("id", KEY, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False, comment="JSON"),
        sa.CheckConstraint(
            "kind IN ('keys', 'contact', 'node', 'owed', 'policy', 'retry', 'dropped', 'program')",
            name=op.f("ck_outside_changes_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outside_changes")),
        comment="what was done beside the running server and it has not heard of yet",
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
        sa.Column("passed_on", INSTANT, nullable=True, comment="when the node of who is reported was told"),
        sa.Column("settled", INSTANT, nullable=True, comment="when an administrator was done with it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
        comment="XEP-0377: what moderators are to look at",
    )
    op.create_index(op.f("ix_reports_settled_created"), "reports", ["settled", "created"])
    op.create_table(
        "trails",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the last event that it has done with"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_trails")),
        comment="how far those have come who read the log of events behind the publishing: search, track, rules",
    )
    op.create_table(
        "absences",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("since", INSTANT, nullable=True, comment="when the last session went; NULL: somebody is there"),
        sa.Column("seen", INSTANT, nullable=False, comment="when it was last certain that somebody was there"),
        sa.Column("missed", INSTANT, nullable=True, comment="since when there were no lines, as the last digest said"),
        sa.Column("announced", sa.BigInteger(), nullable=False, comment="the last held line that a digest counted"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_absences_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_absences")),
        comment="when people who get lines of chat were there, for the digest on return",
    )
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
        "followed_tags",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("tag", sa.Text(), nullable=False, comment="folded, without its #"),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_followed_tags_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "tag", name=op.f("pk_followed_tags")),
    )
    op.create_index(op.f("ix_followed_tags_tag"), "followed_tags", ["tag"])
    op.create_table(
        "held_lines",
        sa.Column("id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="why it would have been told"),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column(
            "item_id", sa.Text(), nullable=False, comment="of a line that shows no item: something that is only once"
        ),
        sa.Column("text", sa.Text(), nullable=False, comment="what stands before the item, or the line itself"),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint("kind IN ('post', 'mention', 'direct', 'track', 'line')", name=op.f("ck_held_lines_kind")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_held_lines_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_held_lines")),
        sa.UniqueConstraint(
            "service", "node", "item_id", "account_id", name=op.f("uq_held_lines_service_node_item_id_account_id")
        ),
        sqlite_autoincrement=True,
        comment="lines of chat that wait until somebody has time for them",
    )
    op.create_index(op.f("ix_held_lines_account_id_id"), "held_lines", ["account_id", "id"])
    op.create_index(op.f("ix_held_lines_created"), "held_lines", ["created"])
    op.create_table(
        "location_consents",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("jid", sa.Text(), nullable=False, comment="bare JID of somebody here"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.CheckConstraint("state IN ('asked', 'allowed', 'denied')", name=op.f("ck_location_consents_state")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_location_consents_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "jid", name=op.f("pk_location_consents")),
        comment="whose rules may go by where somebody is",
    )
    op.create_index(op.f("ix_location_consents_jid_created"), "location_consents", ["jid", "created"])
    op.create_table(
        "locations",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("latitude", sa.Integer(), nullable=False, comment="microdegrees, rounded"),
        sa.Column("longitude", sa.Integer(), nullable=False, comment="microdegrees, rounded"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False, comment="by their client (XEP-0080), not said in chat"),
        sa.Column("updated", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_locations_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_locations")),
        comment="where people say that they are; known to this node only",
    )
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
        "paused_sources",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="bare JID, or #tag; empty: everything"),
        sa.Column("until", INSTANT, nullable=True, comment="NULL: until it is turned on again"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_paused_sources_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "source", name=op.f("pk_paused_sources")),
        comment="of what somebody wants no lines for now, though they follow it",
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
        "places",
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="folded"),
        sa.Column("title", sa.Text(), nullable=False, comment="as it was written"),
        sa.Column("latitude", sa.Integer(), nullable=False, comment="microdegrees"),
        sa.Column("longitude", sa.Integer(), nullable=False, comment="microdegrees"),
        sa.Column("radius", sa.Integer(), nullable=False, comment="metres"),
        sa.Column("shared", sa.Boolean(), nullable=False, comment="an administrator named it for everybody here"),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_places_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", "name", name=op.f("pk_places")),
    )
    op.create_index(
        "ix_places_shared", "places", ["name"], sqlite_where=sa.text("shared"), postgresql_where=sa.text("shared")
    )
    op.create_table(
        "program_calls",
        sa.Column("id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("program", sa.Text(), nullable=False, comment="the name of the subscription that is called"),
        sa.Column("payload", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_program_calls_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_program_calls")),
        comment="what rules call out to programs",
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_program_calls_account_id_program_id"), "program_calls", ["account_id", "program", "id"])
    op.create_index(op.f("ix_program_calls_created"), "program_calls", ["created"])
    op.create_table(
        "programs",
        sa.Column("id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sources", sa.Text(), nullable=False, comment="JSON list: home, mentions, own, track, local, calls"),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the last event that it acknowledged"),
        sa.Column("call", sa.BigInteger(), nullable=False, comment="the last call that it acknowledged"),
        sa.Column("hit", sa.BigInteger(), nullable=False, comment="the last match of a track that it acknowledged"),
        sa.Column("acknowledged", INSTANT, nullable=True, comment="when it acknowledged something last"),
        sa.Column("missed", sa.Boolean(), nullable=False, comment="what it had not acknowledged was forgotten"),
        sa.Column("url", sa.Text(), nullable=False, comment="of a webhook; empty: it asks by XMPP"),
        sa.Column("secret", sa.Text(), nullable=False, comment="that signs what is sent to the webhook"),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_attempt", INSTANT, nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_programs_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_programs")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_programs_account_id_name")),
        comment="durable subscriptions of programs to what happens",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rules",
        sa.Column("id", KEY, nullable=False),
        sa.Column("account_id", KEY, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False, comment="that has to happen"),
        sa.Column("rule", sa.Text(), nullable=False, comment="JSON: when what happens, then what is done"),
        sa.Column("subject", sa.Text(), nullable=False, comment="bare JID of whom it is about"),
        sa.Column("fired", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False, comment="how often it would have fired, but too often"),
        sa.Column("last_fired", INSTANT, nullable=True),
        sa.Column("minute", INSTANT, nullable=True, comment="the minute and the day in which it fired so often"),
        sa.Column("in_minute", sa.Integer(), nullable=False),
        sa.Column("day", INSTANT, nullable=True),
        sa.Column("in_day", sa.Integer(), nullable=False),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column(
            "changed", INSTANT, nullable=False, comment="when it was made, or its owner moved if it goes by that"
        ),
        sa.CheckConstraint("what IN ('post', 'enters', 'leaves', 'online')", name=op.f("ck_rules_what")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_rules_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rules")),
        sa.UniqueConstraint("account_id", "number", name=op.f("uq_rules_account_id_number")),
    )
    op.create_index(op.f("ix_rules_changed"), "rules", ["changed"])
    op.create_index(op.f("ix_rules_subject"), "rules", ["subject"])
    op.create_table(
        "rule_firings",
        sa.Column("id", KEY, nullable=False),
        sa.Column("rule_id", KEY, nullable=False),
        sa.Column("service", sa.Text(), nullable=False, comment="of the post that fired it, if one did"),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("waits", sa.Boolean(), nullable=False, comment="for its owner, who was not there to be told"),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["rule_id"], ["rules.id"], name=op.f("fk_rule_firings_rule_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rule_firings")),
        comment="what rules have decided and is not yet said or posted",
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_rule_firings_rule_id"), "rule_firings", ["rule_id"])
    op.create_index(
        "ix_rule_firings_due",
        "rule_firings",
        ["id"],
        sqlite_where=sa.text("NOT waits"),
        postgresql_where=sa.text("NOT waits"),
    )
    op.create_table(
        "tracks",
        sa.Column("id", KEY, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False, comment="bare JID of somebody here, or elsewhere"),
        sa.Column("account_id", KEY, nullable=True, comment="of somebody here"),
        sa.Column("number", sa.Integer(), nullable=False, comment="by which its owner knows it: ~1"),
        sa.Column("query", sa.Text(), nullable=False, comment="JSON: what is looked for"),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("deliver", sa.Boolean(), nullable=False, comment="its owner is sent notifications"),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("subid", sa.Text(), nullable=False, comment="by which it is known as a subscription"),
        sa.Column("service", sa.Text(), nullable=False, comment="the node elsewhere that tracks for somebody here"),
        sa.Column("lease", sa.Text(), nullable=False, comment="by which that node knows it; empty: it does not"),
        sa.Column("checked", INSTANT, nullable=True, comment="when that node was last asked"),
        sa.Column("problem", sa.Text(), nullable=False, comment="why it does not track"),
        sa.Column(
            "expires", INSTANT, nullable=True, comment="of somebody elsewhere: until when, unless it is asked for again"
        ),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_tracks_account_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracks")),
        sa.UniqueConstraint("owner", "number", name=op.f("uq_tracks_owner_number")),
        comment="saved searches whose matches are told as they happen",
    )
    op.create_index(op.f("ix_tracks_account_id"), "tracks", ["account_id"])
    op.create_index(op.f("ix_tracks_expires"), "tracks", ["expires"])
    op.create_index(op.f("ix_tracks_service_checked"), "tracks", ["service", "checked"])
    op.create_table(
        "item_places",
        sa.Column("item", KEY, nullable=False),
        sa.Column("latitude", sa.Integer(), nullable=False, comment="microdegrees"),
        sa.Column("longitude", sa.Integer(), nullable=False, comment="microdegrees"),
        sa.ForeignKeyConstraint(["item"], ["items.id"], name=op.f("fk_item_places_item"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("item", name=op.f("pk_item_places")),
        comment="where a post says that it is, for those who look for what is near",
    )
    op.create_index(op.f("ix_item_places_latitude_longitude"), "item_places", ["latitude", "longitude"])
    op.create_table(
        "item_words",
        sa.Column("place", KEY, autoincrement=False, nullable=False, comment="greater for newer posts"),
        sa.Column("item", KEY, nullable=False),
        sa.Column("words", sa.Text(), nullable=False, comment="folded, in order, with a space around each"),
        sa.Column(
            "keys", sa.Text(), nullable=False, comment="tags, author, language, place, each with a space behind it"
        ),
        sa.ForeignKeyConstraint(["item"], ["items.id"], name=op.f("fk_item_words_item"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_item_words")),
        sa.UniqueConstraint("item", name=op.f("uq_item_words_item")),
        comment="what posts are found by; the index over it is the database's own (SEARCH)",
    )
    for statement in SEARCH[op.get_bind().dialect.name]:
        op.execute(statement)
    op.create_table(
        "track_hits",
        sa.Column("id", KEY, nullable=False),
        sa.Column("track_id", KEY, nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False, comment="of an item of which there is no copy here"),
        sa.Column("told", sa.Boolean(), nullable=False, comment="its owner was told, or nobody is to be"),
        sa.Column("created", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["track_id"], ["tracks.id"], name=op.f("fk_track_hits_track_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_track_hits")),
        sa.UniqueConstraint(
            "track_id", "service", "node", "item_id", name=op.f("uq_track_hits_track_id_service_node_item_id")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_track_hits_created"), "track_hits", ["created"])
    op.create_index(op.f("ix_track_hits_item_id"), "track_hits", ["item_id"])
    op.create_index(op.f("ix_track_hits_track_id_id"), "track_hits", ["track_id", "id"])
    op.create_index(
        "ix_track_hits_untold",
        "track_hits",
        ["id"],
        sqlite_where=sa.text("NOT told"),
        postgresql_where=sa.text("NOT told"),
    )
