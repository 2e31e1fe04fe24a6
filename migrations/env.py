"""Run by alembic; ``microblog.store.migrate`` hands in the connection.

One transaction a revision, on SQLite too (alembic would not by itself): an upgrade that is interrupted has either
done a revision with its mark or left no trace of it, and is simply run again.
"""

from alembic import context

from microblog.store import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    transactional_ddl=True,
    transaction_per_migration=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
