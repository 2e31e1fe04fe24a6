"""A post that very many domains follow is owed to them part by part."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the new table; the rows of one event are found by domain, too."""
    op.create_table(
        "fan_outs",
        sa.Column("event_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("node_id", KEY, nullable=False),
        sa.Column("after", sa.Text(), nullable=False, comment="the last domain that was gone through, by name"),
        sa.Column(
            "again", sa.Text(), nullable=False, comment="the id of an item whose holders are to have it; may be empty"
        ),
        sa.Column("parts", sa.Integer(), nullable=False, comment="in how many parts it was owed, since the first"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name=op.f("fk_fan_outs_event_seq"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_fan_outs_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("event_seq", name=op.f("pk_fan_outs")),
        comment="posts that are not owed yet to all domains that follow",
    )
    op.create_index(op.f("ix_fan_outs_node_id_event_seq"), "fan_outs", ["node_id", "event_seq"])
    op.create_index(op.f("ix_outbox_event_seq_domain"), "outbox", ["event_seq", "domain"])
    op.drop_index(op.f("ix_outbox_event_seq"), table_name="outbox")
